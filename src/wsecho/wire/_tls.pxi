"""TLS of a lane's connection; a part of ``_lane.pyx``.

Rules of this file: it seals and opens records of a connection whose handshake is done, with OpenSSL's objects that
pyOpenSSL made, and nothing else. What a result means that is not bytes, and what then happens to the connection, is
decided where the connection is made, which is asked before OpenSSL is called again. Records that were sealed must be
sent in that order: what the kernel does not take goes ahead of everything that waits.
"""

# Memory that is filled and emptied without anybody being called meanwhile: one of each serves the process.
cdef uint8_t *_received = NULL
cdef uint8_t *_sealed = NULL
cdef uint8_t *_together = NULL


def use_openssl(
    size_t read,
    size_t write,
    size_t get_error,
    size_t bio_write,
    size_t bio_read,
    size_t clear_error,
    int want_read,
):
    """Call OpenSSL's functions at these addresses from now on."""
    tls_openssl.read = <int (*)(void *, void *, int) noexcept><void *>read
    tls_openssl.write = <int (*)(void *, const void *, int) noexcept><void *>write
    tls_openssl.error_of = <int (*)(const void *, int) noexcept><void *>get_error
    tls_openssl.feed = <int (*)(void *, const void *, int) noexcept><void *>bio_write
    tls_openssl.fetch = <int (*)(void *, void *, int) noexcept><void *>bio_read
    tls_openssl.forget_errors = <void (*)() noexcept><void *>clear_error
    tls_openssl.wants_more = want_read


cdef int make_room_for_records() except -1:
    global _received, _sealed, _together
    if tls_openssl.read == NULL:
        raise RuntimeError("nobody has said where OpenSSL is")
    if _together == NULL:
        _received = <uint8_t *>malloc(READ_SIZE)
        _sealed = <uint8_t *>malloc(SEALED_ROOM)
        _together = <uint8_t *>malloc(TLS_RECORD)
        if _received == NULL or _sealed == NULL or _together == NULL:
            free(_received)
            free(_sealed)
            free(_together)
            _received = _sealed = _together = NULL
            raise MemoryError()
    return 0


cdef int send_sealed(
    Lane lane, const void *a, size_t na, const void *b, size_t nb, const void *c, size_t nc
) except -1:
    """Encrypt and send three pieces, in full records as far as there can be; the rest goes to the outbox."""
    cdef tls_piece pieces[3]
    cdef size_t n = na + nb + nc, done = 0, end, filled
    cdef ssize_t sent
    cdef int result = 1
    cdef bytes kept = None, rest = None
    pieces[0].at, pieces[0].n = <const uint8_t *>a, na
    pieces[1].at, pieces[1].n = <const uint8_t *>b, nb
    pieces[2].at, pieces[2].n = <const uint8_t *>c, nc
    while done < n and result > 0 and kept is None:
        end = min(n, done + lane.window)
        filled = 0
        while done < end and filled < SEALED_SIZE:
            result = tls_seal(lane.ssl, tls_in_one(pieces, done, min(end - done, <size_t>TLS_RECORD), _together),
                              min(end - done, <size_t>TLS_RECORD))
            filled += tls_said(lane.source, _sealed + filled, SEALED_ROOM - filled)
            if result <= 0:
                break
            done += result
        sent = max(send_all(lane.fd, _sealed, filled, NULL, 0, NULL, 0), 0) if filled else 0
        if sent < <ssize_t>filled:
            kept = PyBytes_FromStringAndSize(<char *>_sealed + sent, filled - sent)
    if done < n:
        # Before anybody is called, who may want to write as well.
        rest = rest_of(a, na, b, nb, c, nc, done)
    if result <= 0:
        lane.leave_tls(result, kept, rest)
        return 0
    if kept is not None:
        lane.queued = True
        lane.link.queue_sealed(kept)
        if rest is not None:
            lane.link.queue(rest)
    return 0


cdef int send_said(Lane lane) except -1:
    """Send what OpenSSL has to say by itself, if anything: the answer to a key update, an alert."""
    cdef size_t filled = tls_said(lane.source, _sealed, SEALED_ROOM)
    cdef ssize_t sent = 0
    if not filled:
        return 0
    if not lane.is_queued():
        sent = max(send_all(lane.fd, _sealed, filled, NULL, 0, NULL, 0), 0)
    if sent < <ssize_t>filled:
        lane.queued = True
        lane.link.queue_sealed(PyBytes_FromStringAndSize(<char *>_sealed + sent, filled - sent))
    return 0
