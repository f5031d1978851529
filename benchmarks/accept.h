/* Sec-WebSocket-Accept (RFC 6455, section 4.2.2): SHA-1 and base64, so that a server without TLS needs no library. */
#ifndef BENCHMARKS_ACCEPT_H
#define BENCHMARKS_ACCEPT_H

#include <stdint.h>
#include <string.h>

#define KEY_LENGTH 24
#define ACCEPT_LENGTH 28

static const char WEBSOCKET_GUID[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

static uint32_t rotate_left(uint32_t word, int bits) { return word << bits | word >> (32 - bits); }

static void sha1_block(uint32_t state[5], const uint8_t *block) {
    uint32_t schedule[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 16; i++)
        schedule[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
                      (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        schedule[i] = rotate_left(schedule[i - 3] ^ schedule[i - 8] ^ schedule[i - 14] ^ schedule[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t mixed, constant;
        if (i < 20) {
            mixed = (b & c) | (~b & d);
            constant = 0x5A827999;
        } else if (i < 40) {
            mixed = b ^ c ^ d;
            constant = 0x6ED9EBA1;
        } else if (i < 60) {
            mixed = (b & c) | (b & d) | (c & d);
            constant = 0x8F1BBCDC;
        } else {
            mixed = b ^ c ^ d;
            constant = 0xCA62C1D6;
        }
        uint32_t next = rotate_left(a, 5) + mixed + e + constant + schedule[i];
        e = d;
        d = c;
        c = rotate_left(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

static void base64(const uint8_t *bytes, size_t length, char *text) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16;
        if (i + 1 < length) group |= (uint32_t)bytes[i + 1] << 8;
        if (i + 2 < length) group |= bytes[i + 2];
        *text++ = alphabet[group >> 18 & 63];
        *text++ = alphabet[group >> 12 & 63];
        *text++ = i + 1 < length ? alphabet[group >> 6 & 63] : '=';
        *text++ = i + 2 < length ? alphabet[group & 63] : '=';
    }
    *text = 0;
}

/* The answer to a key of KEY_LENGTH characters; `accept` takes ACCEPT_LENGTH characters and a zero. */
static void accept_for(const char *key, char *accept) {
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    /* Key and GUID are always 60 bytes: with the padding of SHA-1, two blocks. */
    uint8_t message[128] = {0}, digest[20];
    const unsigned bits = 8 * (KEY_LENGTH + sizeof WEBSOCKET_GUID - 1);
    memcpy(message, key, KEY_LENGTH);
    memcpy(message + KEY_LENGTH, WEBSOCKET_GUID, sizeof WEBSOCKET_GUID - 1);
    message[bits / 8] = 0x80;
    message[126] = (uint8_t)(bits >> 8);
    message[127] = (uint8_t)bits;
    sha1_block(state, message);
    sha1_block(state, message + 64);
    for (int i = 0; i < 20; i++) digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
    base64(digest, sizeof digest, accept);
}

#endif
