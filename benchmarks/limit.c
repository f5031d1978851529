/* The limit of the benchmarks: the least that a WebSocket server can do, in C on epoll, one thread.
 *
 * Echo answers each read with one send. Broadcast gives the whole messages of a read to everybody but the sender,
 * one send each. Nothing is checked, no UTF-8, no size, no masking bit: this is a bound to compare servers with, and
 * no server. It listens on a free port of 127.0.0.1 and says so as the other servers do.
 *
 *     limit [CERTIFICATE KEY]
 *
 * /broadcast is the one channel; every other path echoes.
 */
#define _GNU_SOURCE
#include "accept.h"
#include "frames.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
static SSL_CTX *context;
#endif

enum { READ_SIZE = 1 << 18, MOST_QUEUED = 1 << 22 };

struct buffer {
    uint8_t *bytes;
    size_t from, to, room;
};

struct connection {
    int descriptor, place;
    bool open, broadcasts, waits_to_write;
#ifdef WITH_TLS
    SSL *tls;
#endif
    /* The frame that is being read: what came of its header, its mask, what is missing of its payload. */
    uint8_t header[LONGEST_HEADER], mask[4];
    size_t header_length, masked;
    uint64_t missing;
    bool dropped; /* a pong, which nobody answers */
    struct buffer output, part;
};

static int poller, count, room;
static struct connection **all;
static uint8_t input[READ_SIZE], *answer;

static void add(struct buffer *buffer, const uint8_t *bytes, size_t length) {
    if (buffer->to + length > buffer->room) {
        buffer->room = 2 * (buffer->to + length);
        buffer->bytes = realloc(buffer->bytes, buffer->room);
    }
    memcpy(buffer->bytes + buffer->to, bytes, length);
    buffer->to += length;
}

#ifdef WITH_TLS
static ssize_t outcome(SSL *tls, int result) {
    int error = SSL_get_error(tls, result);
    ERR_clear_error();
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? -1 : 0;
}
#endif

/* -1: nothing now; 0: the end; otherwise the number of bytes, of all records that have come. */
static ssize_t take(struct connection *c) {
#ifdef WITH_TLS
    if (c->tls) {
        size_t total = 0;
        do {
            int got = SSL_read(c->tls, input + total, (int)(READ_SIZE - total));
            if (got <= 0) return total ? (ssize_t)total : outcome(c->tls, got);
            total += (size_t)got;
        } while (total < READ_SIZE && SSL_has_pending(c->tls));
        return (ssize_t)total;
    }
#endif
    ssize_t got = recv(c->descriptor, input, READ_SIZE, 0);
    return got >= 0 ? got : errno == EAGAIN ? -1 : 0;
}

/* How many bytes went; fewer than asked for when the peer does not read. */
static size_t give(struct connection *c, const uint8_t *bytes, size_t length) {
    ssize_t gone = send(c->descriptor, bytes, length, MSG_NOSIGNAL);
    return gone < 0 ? 0 : (size_t)gone;
}

static void wait_to_write(struct connection *c, bool wanted) {
    if (c->waits_to_write == wanted) return;
    c->waits_to_write = wanted;
    struct epoll_event event = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->descriptor, &event);
}

static void send_plain(struct connection *c, const uint8_t *bytes, size_t length) {
    size_t gone = c->output.to ? 0 : give(c, bytes, length);
    if (gone == length) return;
    add(&c->output, bytes + gone, length - gone);
    wait_to_write(c, true);
}

#ifdef WITH_TLS
/* Sends what OpenSSL has made, all records at once. */
static void send_records(struct connection *c) {
    char *records;
    long length = BIO_get_mem_data(SSL_get_wbio(c->tls), &records);
    if (length > 0) send_plain(c, (uint8_t *)records, (size_t)length);
    (void)BIO_reset(SSL_get_wbio(c->tls));
}
#endif

static void send_all(struct connection *c, const uint8_t *bytes, size_t length) {
#ifdef WITH_TLS
    if (c->tls) {
        /* Into memory, which never refuses. */
        SSL_write(c->tls, bytes, (int)length);
        send_records(c);
        return;
    }
#endif
    send_plain(c, bytes, length);
}

static void send_rest(struct connection *c) {
    c->output.from += give(c, c->output.bytes + c->output.from, c->output.to - c->output.from);
    if (c->output.from < c->output.to) return;
    c->output.from = c->output.to = 0;
    wait_to_write(c, false);
}

static void end(struct connection *c) {
#ifdef WITH_TLS
    SSL_free(c->tls);
#endif
    close(c->descriptor);
    all[c->place] = all[--count];
    all[c->place]->place = c->place;
    free(c->output.bytes);
    free(c->part.bytes);
    free(c);
}

static void unmask(uint8_t *to, const uint8_t *from, size_t length, const uint8_t mask[4], size_t offset) {
    uint8_t turned[8];
    uint64_t word, wide;
    for (int i = 0; i < 8; i++) turned[i] = mask[(offset + (size_t)i) & 3];
    memcpy(&wide, turned, 8);
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= wide;
        memcpy(to + i, &word, 8);
    }
    for (; i < length; i++) to[i] = from[i] ^ turned[i & 7];
}

static size_t header_size(const struct connection *c) {
    if (c->header_length < 2) return 2;
    size_t length = c->header[1] & 127;
    return 6 + (length == 126 ? 2u : length == 127 ? 8u : 0u);
}

/* Turns what came into what is sent, in `answer`, and returns its length; -1: the peer closes. */
static ssize_t turn_round(struct connection *c, const uint8_t *bytes, size_t length) {
    size_t made = 0;
    while (length) {
        if (!c->missing) {
            while (length && c->header_length < header_size(c)) {
                c->header[c->header_length++] = *bytes++;
                length--;
            }
            if (c->header_length < header_size(c)) break;
            size_t size = c->header_length, opcode = c->header[0] & 15;
            c->missing = c->header[1] & 127;
            if (size > 6) {
                c->missing = 0;
                for (size_t i = 2; i < size - 4; i++) c->missing = c->missing << 8 | c->header[i];
            }
            memcpy(c->mask, c->header + size - 4, 4);
            c->masked = c->header_length = 0;
            if (opcode == 8) return -1;
            c->dropped = opcode == 10;
            if (!c->dropped)
                made += put_header(answer + made, opcode == 9 ? 0x8A : c->header[0], (size_t)c->missing, false);
        }
        size_t now = c->missing < length ? (size_t)c->missing : length;
        if (!c->dropped) {
            unmask(answer + made, bytes, now, c->mask, c->masked);
            made += now;
        }
        c->masked += now;
        c->missing -= now;
        bytes += now;
        length -= now;
    }
    return (ssize_t)made;
}

/* The request; false: it is not whole yet. */
static bool greet(struct connection *c, size_t length) {
    static const char name[] = "Sec-WebSocket-Key:";
    char accept[ACCEPT_LENGTH + 1], text[256], *key;
    add(&c->part, input, length);
    add(&c->part, (const uint8_t *)"", 1);
    c->part.to--;
    if (!strstr((char *)c->part.bytes, "\r\n\r\n")) return false;
    if (!(key = strcasestr((char *)c->part.bytes, name))) return false;
    for (key += sizeof name - 1; *key == ' ';) key++;
    if (strlen(key) < KEY_LENGTH) return false;
    c->broadcasts = !strncmp((char *)c->part.bytes, "GET /broadcast ", 15);
    accept_for(key, accept);
    int answered = snprintf(text, sizeof text,
                            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Accept: %s\r\n\r\n",
                            accept);
    send_all(c, (uint8_t *)text, (size_t)answered);
    free(c->part.bytes);
    c->part = (struct buffer){0};
    return c->open = true;
}

static void share(struct connection *from, size_t made) {
    const uint8_t *bytes = answer;
    /* What is not whole waits, or two senders would be mixed in the middle of a message. */
    if (from->part.to || from->missing || from->header_length) {
        add(&from->part, answer, made);
        if (from->missing || from->header_length) return;
        bytes = from->part.bytes;
        made = from->part.to;
        from->part.to = 0;
    }
    for (int i = 0; i < count; i++)
        if (all[i] != from && all[i]->broadcasts) send_all(all[i], bytes, made);
}

static void serve(struct connection *c) {
    if (!c->broadcasts && c->output.to - c->output.from > MOST_QUEUED) return;
    ssize_t got = take(c);
#ifdef WITH_TLS
    if (c->tls) send_records(c);
#endif
    if (got < 0) return;
    if (!got) {
        end(c);
        return;
    }
    if (!c->open) {
        greet(c, (size_t)got);
        return;
    }
    ssize_t made = turn_round(c, input, (size_t)got);
    if (made < 0) {
        send_all(c, (const uint8_t *)"\x88\x02\x03\xe8", 4);
        end(c);
    } else if (c->broadcasts)
        share(c, (size_t)made);
    else if (made)
        send_all(c, answer, (size_t)made);
}

static void accept_all(int listener) {
    const int on = 1;
    for (int descriptor; (descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        struct connection *c = calloc(1, sizeof *c);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        c->descriptor = descriptor;
#ifdef WITH_TLS
        if (context) {
            c->tls = SSL_new(context);
            SSL_set0_rbio(c->tls, BIO_new_socket(descriptor, BIO_NOCLOSE));
            SSL_set0_wbio(c->tls, BIO_new(BIO_s_mem()));
            SSL_set_accept_state(c->tls);
        }
#endif
        if (count == room) all = realloc(all, (size_t)(room += 1024) * sizeof *all);
        c->place = count;
        all[count++] = c;
        epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event);
    }
}

static int listener_on_a_free_port(bool secure) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&address, &length)) {
        perror("limit");
        exit(1);
    }
    printf("listening on %s://127.0.0.1:%d/\n", secure ? "wss" : "ws", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int words, char **word) {
    static struct epoll_event events[1024];
    if (words == 3) {
#ifdef WITH_TLS
        context = SSL_CTX_new(TLS_server_method());
        SSL_CTX_set_read_ahead(context, 1);
        SSL_CTX_set_default_read_buffer_len(context, 1 << 16);
        if (SSL_CTX_use_certificate_chain_file(context, word[1]) != 1 ||
            SSL_CTX_use_PrivateKey_file(context, word[2], SSL_FILETYPE_PEM) != 1)
            return 1;
#else
        fprintf(stderr, "limit: built without TLS: %s cannot be used\n", word[1]);
        return 1;
#endif
    }
    signal(SIGPIPE, SIG_IGN);
    /* Each frame grows by at most as much as its mask and header shrink, and one header may be left over. */
    answer = malloc(READ_SIZE + LONGEST_HEADER);
    poller = epoll_create1(0);
    int listener = listener_on_a_free_port(words == 3);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poller, events, 1024, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) {
                accept_all(listener);
                continue;
            }
            if (events[i].events & EPOLLOUT) send_rest(c);
            if (events[i].events & ~(uint32_t)EPOLLOUT) serve(c);
        }
    }
}
