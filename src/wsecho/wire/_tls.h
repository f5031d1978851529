/* TLS of connections whose handshake is done: OpenSSL's own functions on its own objects. No Python, and OpenSSL is not
 * linked: the functions are called by the addresses that the bindings beneath pyOpenSSL give, on the connections that
 * pyOpenSSL made. */
#ifndef WSECHO_TLS_H
#define WSECHO_TLS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    int (*read)(void *ssl, void *to, int n);
    int (*write)(void *ssl, const void *from, int n);
    int (*error_of)(const void *ssl, int result);
    int (*feed)(void *bio, const void *from, int n);
    int (*fetch)(void *bio, void *to, int n);
    void (*forget_errors)(void);
    int wants_more; /* SSL_ERROR_WANT_READ */
} tls_functions;

/* One of each for the process: without addresses no connection comes here. */
static tls_functions tls_openssl;

enum {
    TLS_RECORD = 16 * 1024,     /* the largest payload of a record (RFC 8446 section 5.1) */
    TLS_FED = TLS_RECORD + 512, /* bytes that OpenSSL is fed at a time: its memory for them never shrinks */
};

/* Decrypt n bytes, and what OpenSSL had of an unfinished record, into `to`. What did not fit waits in OpenSSL.
 *
 * `ended` becomes OpenSSL's last result when that means something else than "not yet": what it means must be asked for
 * before OpenSSL is called again. Otherwise it becomes 1. */
static inline size_t tls_open(
    void *ssl, void *into, const uint8_t *at, size_t n, uint8_t *to, size_t room, int *ended)
{
    size_t fed = 0, got = 0, size;
    int result = 1;
    /* Somebody else's would be taken for ours. */
    tls_openssl.forget_errors();
    *ended = 1;
    do {
        size = n - fed < TLS_FED ? n - fed : TLS_FED;
        if (tls_openssl.feed(into, at + fed, (int)size) != (int)size) {
            *ended = -1;
            return got;
        }
        fed += size;
        while (got < room) {
            size = room - got < TLS_RECORD ? room - got : TLS_RECORD;
            result = tls_openssl.read(ssl, to + got, (int)size);
            if (result <= 0)
                break;
            got += (size_t)result;
        }
        if (result <= 0 && tls_openssl.error_of(ssl, result) != tls_openssl.wants_more) {
            *ended = result;
            return got;
        }
    } while (fed < n);
    return got;
}

/* What OpenSSL has to say. */
static inline size_t tls_said(void *source, uint8_t *to, size_t room)
{
    int got = tls_openssl.fetch(source, to, (int)room);
    return got > 0 ? (size_t)got : 0;
}

/* Encrypt at most n bytes, not more than fit into a record: OpenSSL's result. */
static inline int tls_seal(void *ssl, const uint8_t *from, size_t n)
{
    return tls_openssl.write(ssl, from, (int)n);
}

typedef struct {
    const uint8_t *at;
    size_t n;
} tls_piece;

/* n bytes behind the first `skip` of some pieces, which have as many: in their place, or copied together. */
static inline const uint8_t *tls_in_one(const tls_piece *piece, size_t skip, size_t n, uint8_t *together)
{
    size_t done, size;
    for (; skip >= piece->n; piece++)
        skip -= piece->n;
    if (n <= piece->n - skip)
        return piece->at + skip;
    for (done = 0; done < n; done += size, skip = 0, piece++) {
        size = piece->n - skip < n - done ? piece->n - skip : n - done;
        memcpy(together + done, piece->at + skip, size);
    }
    return together;
}

#endif
