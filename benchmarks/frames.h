/* Frame headers (RFC 6455, section 5.2), for load and limit. */
#ifndef BENCHMARKS_FRAMES_H
#define BENCHMARKS_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LONGEST_HEADER 14

static size_t put_header(uint8_t *to, uint8_t first, size_t length, bool masked) {
    uint8_t mask_bit = masked ? 0x80 : 0;
    to[0] = first;
    if (length < 126) {
        to[1] = mask_bit | (uint8_t)length;
        return 2;
    }
    int bytes = length < 65536 ? 2 : 8;
    to[1] = mask_bit | (bytes == 2 ? 126 : 127);
    for (int i = 0; i < bytes; i++) to[2 + i] = (uint8_t)((uint64_t)length >> (8 * (bytes - 1 - i)));
    return 2 + (size_t)bytes;
}

#endif
