/* One connection of the load: what is asked for, what it remembers, how it reads, writes and answers control frames.
 * Part of load.c, which alone includes it. */
#include "accept.h"
#include "clocks.h"
#include "frames.h"
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

#define SECOND 1000000000ull
#define LONGEST_CONTROL 127
#define SHORTEST_BROADCAST 16

enum mode { ECHO, BROADCAST, CONNECT, HOLD };
static const char *const MODE_NAMES[] = {"echo", "broadcast", "connect", "hold"};

static struct {
    enum mode mode;
    int port, connections, window, at_once, server_core, client_core;
    size_t size;
    uint64_t messages; /* 0: go by time */
    double warmup, time, stall;
    pid_t server;
    bool tls;
    const char *path;
} option = {.path = "/", .connections = 1, .window = 1, .at_once = 64, .size = 64, .time = 1, .stall = 10,
            .server_core = -1, .client_core = -1};

enum stage { CONNECTING, SECURING, ASKING, OPEN };

struct connection {
    int descriptor, number;
    enum stage stage;
    bool waits_to_write;
    uint64_t began;
#ifdef WITH_TLS
    SSL *tls;
#endif
    char key[KEY_LENGTH + 1], *head;
    size_t head_length, asked;
    /* Echo. The ring of masked frames, where each ends, and the server's frames that must answer them. */
    uint8_t *ring, *expected;
    size_t *ends, ring_length, expected_length, places, next_place;
    size_t ring_at, due, expected_at;
    uint64_t *sent_at;
    unsigned sent_head, sent_tail, in_flight;
    /* Pongs, and what is published. */
    uint8_t *queue;
    size_t queue_length, queue_at, queue_room;
    uint8_t control[LONGEST_CONTROL];
    size_t control_length;
    /* Broadcast. The frame that has not come whole, and the number of the message that must come next. */
    uint8_t *part;
    size_t part_length;
    uint64_t next;
};

static struct connection *connections;
static int total, opened, started;
static int poller;
static uint8_t *input;
static size_t input_room;
static bool measuring, finishing;
static uint64_t arrived, measured, begun, first_asked, last_opened;
static char tls_name[80] = "";

/* ---- small things --------------------------------------------------------------------------------------- */

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < 32 || (unsigned char)*c > 126) *c = '?';
    printf("{\"mode\": \"%s\", \"error\": \"%s\"}\n", MODE_NAMES[option.mode], text);
    fflush(stdout);
    _exit(2);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static void *reserve(size_t size) {
    void *memory = calloc(1, size ? size : 1);
    if (!memory) fail("out of memory: %zu bytes", size);
    return memory;
}

/* xorshift: keys and masks need to differ, not to be secret. */
static uint64_t some_bits(void) {
    static uint64_t state = 0x9E3779B97F4A7C15ull;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

/* ---- frames --------------------------------------------------------------------------------------------- */

static size_t put_masked(uint8_t *to, uint8_t first, const uint8_t *payload, size_t length) {
    size_t at = put_header(to, first, length, true);
    uint32_t bits = (uint32_t)(some_bits() >> 16);
    uint8_t *mask = to + at;
    memcpy(mask, &bits, 4);
    at += 4;
    for (size_t i = 0; i < length; i++) to[at + i] = payload[i] ^ mask[i & 3];
    return at + length;
}

/* Words, as in the messages of a market: text that a server must check to be UTF-8. */
static void fill_text(uint8_t *text, size_t length, uint64_t seed) {
    static const char *const words[] = {"price", "volume", "bid", "ask", "EURUSD", "0.125", "{\"id\":", "true"};
    size_t at = 0;
    while (at < length) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        for (const char *c = words[seed >> 61]; *c && at < length; c++) text[at++] = (uint8_t)*c;
        if (at < length) text[at++] = ' ';
    }
}

static void put_number(uint8_t *text, uint64_t number) {
    for (int i = 15; i >= 0; i--, number >>= 4) text[i] = (uint8_t)"0123456789abcdef"[number & 15];
}

/* ---- reading and writing -------------------------------------------------------------------------------- */

/* -1: nothing now; 0: the peer has ended; otherwise the number of bytes. */
static ssize_t take(struct connection *c, void *to, size_t room) {
    ssize_t got;
#ifdef WITH_TLS
    if (c->tls) {
        got = SSL_read(c->tls, to, room > 1 << 30 ? 1 << 30 : (int)room);
        if (got > 0) return got;
        int error = SSL_get_error(c->tls, (int)got);
        ERR_clear_error();
        return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? -1 : 0;
    }
#endif
    got = recv(c->descriptor, to, room, 0);
    return got >= 0 ? got : errno == EAGAIN || errno == EINTR ? -1 : 0;
}

/* -1: nothing fits now; otherwise the number of bytes. */
static ssize_t give(struct connection *c, const void *from, size_t length) {
    ssize_t gone;
#ifdef WITH_TLS
    if (c->tls) {
        gone = SSL_write(c->tls, from, length > 1 << 20 ? 1 << 20 : (int)length);
        if (gone > 0) return gone;
        int error = SSL_get_error(c->tls, (int)gone);
        ERR_clear_error();
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return -1;
        fail("connection %d: the TLS connection broke while sending", c->number);
    }
#endif
    gone = send(c->descriptor, from, length, MSG_NOSIGNAL);
    if (gone < 0 && errno != EAGAIN && errno != EINTR)
        fail("connection %d: sending failed: %s", c->number, strerror(errno));
    return gone;
}

static void wait_to_write(struct connection *c, bool wanted) {
    if (c->waits_to_write == wanted) return;
    c->waits_to_write = wanted;
    struct epoll_event event = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->descriptor, &event);
}

static void flush(struct connection *c) {
    for (;;) {
        bool from_ring = c->due > 0;
        size_t length = from_ring ? c->ring_length - c->ring_at : c->queue_length - c->queue_at;
        if (from_ring && length > c->due) length = c->due;
        if (!length) break;
        ssize_t gone = give(c, from_ring ? c->ring + c->ring_at : c->queue + c->queue_at, length);
        if (gone < 0) {
            wait_to_write(c, true);
            return;
        }
        if (from_ring) {
            c->due -= (size_t)gone;
            c->ring_at = (c->ring_at + (size_t)gone) % c->ring_length;
        } else
            c->queue_at += (size_t)gone;
    }
    c->queue_at = c->queue_length = 0;
    wait_to_write(c, false);
}

static void queue_frame(struct connection *c, uint8_t first, const uint8_t *payload, size_t length) {
    size_t needed = c->queue_length + length + LONGEST_HEADER;
    if (needed > c->queue_room) {
        c->queue_room = 2 * needed;
        if (!(c->queue = realloc(c->queue, c->queue_room))) fail("out of memory");
    }
    c->queue_length += put_masked(c->queue + c->queue_length, first, payload, length);
}

/* ---- control frames ------------------------------------------------------------------------------------- */

/* Takes bytes of the control frame at `bytes` and returns how many; what is incomplete waits in the connection. */
static size_t take_control(struct connection *c, const uint8_t *bytes, size_t length) {
    for (size_t used = 0; used < length;) {
        c->control[c->control_length++] = bytes[used++];
        if (c->control_length < 2) continue;
        size_t payload = c->control[1];
        if (payload > 125) fail("connection %d: a control frame that is masked or too long", c->number);
        if (c->control_length < 2 + payload) continue;
        c->control_length = 0;
        switch (c->control[0]) {
        case 0x89:
            queue_frame(c, 0x8A, c->control + 2, payload);
            /* A pong in the middle of a message would be garbage: flush sends it after what is due. */
            if (!c->waits_to_write) flush(c);
            break;
        case 0x8A: break;
        case 0x88:
            fail("connection %d: the server closed, code %d", c->number,
                 payload >= 2 ? c->control[2] << 8 | c->control[3] : 1005);
        default: fail("connection %d: unknown control frame 0x%02x", c->number, c->control[0]);
        }
        return used;
    }
    return length;
}
