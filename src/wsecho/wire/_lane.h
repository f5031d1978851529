/* The frames of RFC 6455, as far as bytes go: heads, masks, UTF-8; and epoll, where there is one. No Python, and no memory
 * of its own.
 *
 * Loops are written for the compiler to vectorise, and compiled twice where it can choose at load time which fits
 * the processor. */
#ifndef WSECHO_LANE_H
#define WSECHO_LANE_H

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__)
#define LANE_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define LANE_CLONES
#endif

enum { LANE_WHOLE_HEAD, LANE_MORE, LANE_UNUSUAL };
enum { LANE_TEXT = 1, LANE_BINARY = 2 };
enum { LANE_UTF8_ACCEPT = 0, LANE_UTF8_REJECT = 12 };

typedef struct {
    uint64_t length; /* of the payload */
    uint32_t size;   /* of the head itself */
    uint8_t opcode;
    uint8_t key[4];
    uint8_t raw[14]; /* as it came, for Autobahn should it have to take over */
} lane_head;

/* Read the head of a client's frame that is whole, unfragmented, uncompressed, masked, of minimal length and of at most
 * `limit` bytes. LANE_UNUSUAL as soon as it can only be something else: Autobahn judges that. */
static inline int lane_read_head(const uint8_t *at, size_t n, uint64_t limit, lane_head *head)
{
    uint64_t length;
    uint32_t size;
    if (n < 1)
        return LANE_MORE;
    if (at[0] != 0x81 && at[0] != 0x82)
        return LANE_UNUSUAL;
    if (n < 2)
        return LANE_MORE;
    if (!(at[1] & 0x80))
        return LANE_UNUSUAL;
    length = at[1] & 0x7F;
    if (length < 126) {
        size = 6;
    } else if (length == 126) {
        if (n < 4)
            return LANE_MORE;
        length = (uint64_t)at[2] << 8 | at[3];
        if (length < 126)
            return LANE_UNUSUAL;
        size = 8;
    } else {
        int i;
        if (n < 10)
            return LANE_MORE;
        for (length = 0, i = 2; i < 10; i++)
            length = length << 8 | at[i];
        if (length < 65536)
            return LANE_UNUSUAL;
        size = 14;
    }
    if (length > limit)
        return LANE_UNUSUAL;
    if (n < size)
        return LANE_MORE;
    head->length = length;
    head->size = size;
    head->opcode = at[0] & 15;
    memcpy(head->key, at + size - 4, 4);
    memcpy(head->raw, at, size);
    return LANE_WHOLE_HEAD;
}

/* The size of the head of an unmasked frame. */
static inline size_t lane_head_size(uint64_t length)
{
    return length < 126 ? 2 : length < 65536 ? 4 : 10;
}

/* Write the head of an unmasked, unfragmented frame, and return its size. */
static inline size_t lane_write_head(uint8_t *to, int opcode, uint64_t length)
{
    int i;
    to[0] = 0x80 | opcode;
    if (length < 126) {
        to[1] = (uint8_t)length;
        return 2;
    }
    if (length < 65536) {
        to[1] = 126;
        to[2] = (uint8_t)(length >> 8);
        to[3] = (uint8_t)length;
        return 4;
    }
    to[1] = 127;
    for (i = 0; i < 8; i++)
        to[2 + i] = (uint8_t)(length >> (56 - 8 * i));
    return 10;
}

LANE_CLONES
static void lane_unmask_long(uint8_t *to, const uint8_t *from, size_t words, uint64_t key)
{
    size_t i;
    for (i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, from + 8 * i, 8);
        word ^= key;
        memcpy(to + 8 * i, &word, 8);
    }
}

/* Unmask (or mask) n bytes, of which the first is the payload's number `offset`. `to` may be `from`. */
static inline void lane_unmask(uint8_t *to, const uint8_t *from, size_t n, const uint8_t key[4], uint64_t offset)
{
    uint8_t turned[8];
    uint64_t key8;
    size_t i, words = n / 8;
    for (i = 0; i < 8; i++)
        turned[i] = key[(offset + i) & 3];
    memcpy(&key8, turned, 8);
    if (words > 16) {
        lane_unmask_long(to, from, words, key8);
    } else {
        for (i = 0; i < words; i++) {
            uint64_t word;
            memcpy(&word, from + 8 * i, 8);
            word ^= key8;
            memcpy(to + 8 * i, &word, 8);
        }
    }
    for (i = words * 8; i < n; i++)
        to[i] = from[i] ^ turned[i & 7];
}

/* How many bytes are ASCII, at the start and in steps of a block. */
LANE_CLONES
static size_t lane_ascii_blocks(const uint8_t *at, size_t n)
{
    size_t done = 0;
    while (n - done >= 64) {
        uint64_t any = 0;
        int i;
        for (i = 0; i < 8; i++) {
            uint64_t word;
            memcpy(&word, at + done + 8 * i, 8);
            any |= word;
        }
        if (any & UINT64_C(0x8080808080808080))
            break;
        done += 64;
    }
    return done;
}

/* Bjoern Hoehrmann's automaton, http://bjoern.hoehrmann.de/utf-8/decoder/dfa/ (MIT): classes of bytes, then states. */
static const uint8_t lane_utf8_table[] = {
    0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0, 0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,
    0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0, 0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,
    1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9, 7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,
    8,8,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2, 10,3,3,3,3,3,3,3,3,3,3,3,3,4,3,3,11,6,6,6,5,8,8,8,8,8,8,8,8,8,8,8,
    0,12,24,36,60,96,84,12,12,12,48,72, 12,12,12,12,12,12,12,12,12,12,12,12, 12,0,12,12,12,12,12,0,12,0,12,12, 12,24,12,12,12,12,12,24,12,24,12,12,
    12,12,12,12,12,12,12,24,12,12,12,12, 12,24,12,12,12,12,12,12,12,24,12,12, 12,12,12,12,12,12,12,36,12,36,12,12, 12,36,12,12,12,12,12,36,12,36,12,12,
    12,36,12,12,12,12,12,12,12,12,12,12,
};

/* Go on validating in `state`, and return the new state: LANE_UTF8_ACCEPT between characters, LANE_UTF8_REJECT as soon as
 * no further byte can make it UTF-8, anything else inside a character. */
static inline uint32_t lane_utf8(const uint8_t *at, size_t n, uint32_t state)
{
    size_t i = 0;
    while (i < n) {
        if (state == LANE_UTF8_ACCEPT) {
            if (n - i >= 64)
                i += lane_ascii_blocks(at + i, n - i);
            while (n - i >= 8) {
                uint64_t word;
                memcpy(&word, at + i, 8);
                if (word & UINT64_C(0x8080808080808080))
                    break;
                i += 8;
            }
            while (i < n && at[i] < 0x80)
                i++;
            if (i == n)
                break;
        }
        state = lane_utf8_table[256 + state + lane_utf8_table[at[i++]]];
        if (state == LANE_UTF8_REJECT)
            break;
    }
    return state;
}

/* Unmask n bytes, and go on validating them as UTF-8 in `state`, block by block, while each is near. */
static inline uint32_t lane_unmask_text(
    uint8_t *to, const uint8_t *from, size_t n, const uint8_t key[4], uint64_t offset, uint32_t state)
{
    enum { BLOCK = 16384 };
    size_t done = 0;
    while (done < n) {
        size_t size = n - done < BLOCK ? n - done : BLOCK;
        lane_unmask(to + done, from + done, size, key, offset + done);
        if (state != LANE_UTF8_REJECT)
            state = lane_utf8(to + done, size, state);
        done += size;
    }
    return state;
}

/* Seconds of a clock that is never set. */
static inline double lane_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* epoll, with a number in each registration; elsewhere there is none, and nothing is ever registered. */
typedef struct {
    uint64_t number;
    int has_ended; /* reset or hung up: what is left to read, and the end, is for others */
} lane_event;

enum { LANE_EVENTS = 256 };

#ifdef __linux__

static inline int lane_epoll_open(void)
{
    return epoll_create1(EPOLL_CLOEXEC);
}

static inline int lane_epoll_add(int epoll, int fd, uint64_t number)
{
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.u64 = number;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static inline int lane_epoll_remove(int epoll, int fd)
{
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event);
}

static inline int lane_epoll_ready(int epoll, lane_event *ready)
{
    struct epoll_event events[LANE_EVENTS];
    int i, n = epoll_wait(epoll, events, LANE_EVENTS, 0);
    for (i = 0; i < n; i++) {
        ready[i].number = events[i].data.u64;
        ready[i].has_ended = (events[i].events & (EPOLLERR | EPOLLHUP)) != 0;
    }
    return n;
}

/* Whether, within so many milliseconds, fd is all that is ready in an epoll that has data.fd as CPython sets it. */
static inline int lane_epoll_only(int epoll, int fd, int milliseconds)
{
    struct epoll_event events[2];
    return epoll_wait(epoll, events, 2, milliseconds) == 1 && events[0].data.fd == fd;
}

#else

static inline int lane_epoll_open(void)
{
    errno = ENOSYS;
    return -1;
}

static inline int lane_epoll_add(int epoll, int fd, uint64_t number)
{
    errno = ENOSYS;
    return -1;
}

static inline int lane_epoll_remove(int epoll, int fd)
{
    errno = ENOSYS;
    return -1;
}

static inline int lane_epoll_ready(int epoll, lane_event *ready)
{
    errno = ENOSYS;
    return -1;
}

static inline int lane_epoll_only(int epoll, int fd, int milliseconds)
{
    return 0;
}

#endif

/* send() of up to three pieces, of which any may be empty: what was taken, or -1. */
static inline ssize_t lane_send(int fd, const void *a, size_t na, const void *b, size_t nb, const void *c, size_t nc)
{
    struct iovec pieces[3];
    struct msghdr message;
    if (!nb && !nc)
        return send(fd, a, na, MSG_NOSIGNAL | MSG_DONTWAIT);
    memset(&message, 0, sizeof message);
    pieces[0].iov_base = (void *)a;
    pieces[0].iov_len = na;
    pieces[1].iov_base = (void *)b;
    pieces[1].iov_len = nb;
    pieces[2].iov_base = (void *)c;
    pieces[2].iov_len = nc;
    message.msg_iov = pieces;
    message.msg_iovlen = 3;
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* recv() into two pieces of memory, the first first. */
static inline ssize_t lane_receive(int fd, void *a, size_t na, void *b, size_t nb)
{
    struct iovec pieces[2];
    if (!nb)
        return recv(fd, a, na, MSG_DONTWAIT);
    pieces[0].iov_base = a;
    pieces[0].iov_len = na;
    pieces[1].iov_base = b;
    pieces[1].iov_len = nb;
    return readv(fd, pieces, 2);
}

#endif
