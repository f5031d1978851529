# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The compiled part: frames that are whole and ordinary, in batches, and many sockets in one loop.

Rules of this file: it is a short cut, never a second protocol. It takes whole, unfragmented, uncompressed,
valid data frames of an open connection; from the first byte of anything else, bytes go to Autobahn as they
came. What is allowed, and what happens to a message, stands elsewhere. Without this module wsecho does the
same, more slowly; wsecho.wire.lane is its face, docs/topics/path-of-a-frame.md tells how it works.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_REFCNT, Py_XDECREF
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

import os
from weakref import ref

cdef extern from "Python.h":
    object PyObject_VectorcallMethod(object name, PyObject *const *args, size_t nargsf, PyObject *kwnames)
    int _PyBytes_Resize(PyObject **bytes, Py_ssize_t size) except -1
    PyObject *_new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    char *_bytes_data "PyBytes_AS_STRING"(PyObject *bytes)

cdef extern from "unistd.h":
    int close_descriptor "close"(int fd)

cdef extern from *:
    """
    /* Only for an object that nobody else has a reference to, and that has room for so many bytes. */
    static void lane_bytes_reuse(PyObject *bytes, Py_ssize_t size)
    {
        PyBytesObject *object = (PyBytesObject *)bytes;
        Py_SET_SIZE(object, size);
        object->ob_sval[size] = 0;
    #if defined(__GNUC__)
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    #endif
        object->ob_shash = -1;
    #if defined(__GNUC__)
    #pragma GCC diagnostic pop
    #endif
    }
    """
    void lane_bytes_reuse(PyObject *bytes, Py_ssize_t size) noexcept

cdef extern from "_lane.h":
    enum: LANE_WHOLE_HEAD, LANE_MORE, LANE_UNUSUAL
    enum: LANE_TEXT, LANE_BINARY
    enum: LANE_UTF8_ACCEPT, LANE_UTF8_REJECT
    enum: LANE_EVENTS
    ctypedef struct lane_head:
        uint64_t length
        uint32_t size
        uint8_t opcode
        uint8_t key[4]
        uint8_t raw[14]
    ctypedef struct lane_event:
        uint64_t number
        int has_ended
    int lane_read_head(const uint8_t *at, size_t n, uint64_t limit, lane_head *head)
    size_t lane_write_head(uint8_t *to, int opcode, uint64_t length)
    void lane_unmask(uint8_t *to, const uint8_t *source, size_t n, const uint8_t *key, uint64_t offset)
    uint32_t lane_utf8(const uint8_t *at, size_t n, uint32_t state)
    uint32_t lane_unmask_text(
        uint8_t *to, const uint8_t *source, size_t n, const uint8_t *key, uint64_t offset, uint32_t state
    )
    double lane_now()
    int lane_epoll_open()
    int lane_epoll_add(int epoll, int fd, uint64_t number)
    int lane_epoll_remove(int epoll, int fd)
    int lane_epoll_ready(int epoll, lane_event *ready)
    int lane_epoll_only(int epoll, int fd, int milliseconds) nogil
    ssize_t lane_send(int fd, const void *a, size_t na, const void *b, size_t nb, const void *c, size_t nc)
    ssize_t lane_receive(int fd, void *a, size_t na, void *b, size_t nb)

cdef extern from "_tls.h":
    enum: TLS_RECORD
    ctypedef struct tls_functions:
        int (*read)(void *ssl, void *to, int n) noexcept
        int (*write)(void *ssl, const void *source, int n) noexcept
        int (*error_of)(const void *ssl, int result) noexcept
        int (*feed)(void *bio, const void *source, int n) noexcept
        int (*fetch)(void *bio, void *to, int n) noexcept
        void (*forget_errors)() noexcept
        int wants_more
    ctypedef struct tls_piece:
        const uint8_t *at
        size_t n
    tls_functions tls_openssl
    size_t tls_open(void *ssl, void *into, const uint8_t *at, size_t n, uint8_t *to, size_t room, int *ended)
    size_t tls_said(void *source, uint8_t *to, size_t room)
    int tls_seal(void *ssl, const uint8_t *source, size_t n)
    const uint8_t *tls_in_one(const tls_piece *piece, size_t skip, size_t n, uint8_t *together)


cdef enum:
    # The largest head of a frame.
    FRAME_ROOM = 14
    READ_SIZE = 256 * 1024
    # What may come of one read over TLS: a record may have been there in part.
    PLAIN_ROOM = READ_SIZE + 32 * 1024
    # Messages of one connection in one turn, and after how many of them the clock is looked at, at last.
    BUDGET_OF_A_TURN = 256
    MESSAGES_PER_LOOK = 8
    # How long the pump waits for the next message before it leaves that to the reactor. Longer than a tick of the
    # kernel's clock: to set a timer that is due before it costs more than all else that a message needs.
    MILLISECONDS_TO_WAIT = 20
    # When fewer sockets were ready in a round, another is not likely to find any.
    FEW = 4
    # What replies of a turn to one peer may grow to before they are sent.
    CORK_SIZE = 256 * 1024
    # What publications of a turn to one peer may grow to before they are sent.
    PENDING_SIZE = 64 * 1024
    # From here on a payload is sent from where it is, not copied next to its neighbours.
    LARGE = 16 * 1024
    # Objects get memory in such steps.
    ALLOCATED_IN = 16
    # What is first set aside for a frame that does not arrive in one piece.
    FIRST_PART = 64 * 1024
    # What is encrypted before it is sent, as the outbox's window; and with what TLS adds, however small records are.
    SEALED_SIZE = 128 * 1024
    SEALED_ROOM = 2 * SEALED_SIZE + 64 * 1024

cdef enum Why:
    ALL_TAKEN
    UNUSUAL
    BUDGET
    STOPPED

# How long sockets are served before it is looked whether the reactor has something else to do.
cdef double SECONDS_OF_A_TURN = 0.002


cdef class Counters:
    """Autobahn's traffic statistics, by its names, as numbers that compiled code counts without a dictionary."""

    cdef public long long outgoingOctetsWireLevel
    cdef public long long outgoingOctetsWebSocketLevel
    cdef public long long outgoingOctetsAppLevel
    cdef public long long outgoingWebSocketFrames
    cdef public long long outgoingWebSocketMessages
    cdef public long long incomingOctetsWireLevel
    cdef public long long incomingOctetsWebSocketLevel
    cdef public long long incomingOctetsAppLevel
    cdef public long long incomingWebSocketFrames
    cdef public long long incomingWebSocketMessages
    cdef public long long preopenOutgoingOctetsWireLevel
    cdef public long long preopenIncomingOctetsWireLevel


cdef class Pump


cdef struct Cork:
    uint8_t *data
    size_t n
    size_t room

cdef Cork _shared_cork
_shared_cork.data = NULL
_shared_cork.n = _shared_cork.room = 0
cdef bint _shared_cork_is_used = False


cdef int make_room(Cork *cork, size_t more) except -1:
    cdef size_t room = cork.room
    cdef void *data
    if cork.n + more <= room:
        return 0
    room = max(2 * room, cork.n + more, <size_t>4096)
    data = realloc(cork.data, room)
    if data == NULL:
        raise MemoryError()
    cork.data = <uint8_t *>data
    cork.room = room
    return 0


def encode(bytes payload not None, bint is_binary):
    """The message as one unmasked frame (RFC 6455 section 5.2)."""
    return encoded(payload, is_binary)


cdef bytes encoded(bytes payload, bint is_binary):
    cdef uint8_t head[14]
    cdef Py_ssize_t n = PyBytes_GET_SIZE(payload)
    cdef size_t size = lane_write_head(head, LANE_BINARY if is_binary else LANE_TEXT, n)
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, size + n)
    memcpy(PyBytes_AS_STRING(frame), head, size)
    memcpy(PyBytes_AS_STRING(frame) + size, PyBytes_AS_STRING(payload), n)
    return frame


# Memory for large messages, kept for the next: the system's allocator would give it back, and ask for it again
# page by page, for each of them. A bytes object that nobody else has can be filled anew.

cdef enum:
    SPARES = 4
    LARGEST_SPARE = 2 * 1024 * 1024

cdef PyObject *_spares[SPARES]
cdef size_t _spare_rooms[SPARES]
cdef int _spare
for _spare in range(SPARES):
    _spares[_spare] = NULL


cdef PyObject *take_spare(size_t size) noexcept:
    """A bytes object of this size that was used before, with one reference; NULL when none fits."""
    cdef PyObject *found
    cdef int i
    for i in range(SPARES):
        if _spares[i] != NULL and size <= _spare_rooms[i] <= 4 * size:
            found = _spares[i]
            _spares[i] = NULL
            lane_bytes_reuse(found, size)
            return found
    return NULL


cdef void keep_spare(bytes used) noexcept:
    """Keep ``used``, unless somebody has it besides the caller."""
    cdef size_t size = PyBytes_GET_SIZE(used)
    cdef int i
    if Py_REFCNT(used) != 1 or size <= FIRST_PART or size > LARGEST_SPARE:
        return
    for i in range(SPARES):
        if _spares[i] == NULL:
            Py_INCREF(used)
            _spares[i] = <PyObject *>used
            _spare_rooms[i] = size
            return


cdef ssize_t send_all(
    int fd, const void *a, size_t na, const void *b, size_t nb, const void *c, size_t nc
) noexcept:
    """What the kernel has taken of three pieces; less than 0 when it takes nothing."""
    cdef ssize_t sent
    while True:
        sent = lane_send(fd, a, na, b, nb, c, nc)
        if sent >= 0 or errno != EINTR:
            return sent


cdef bytes rest_of(const void *a, size_t na, const void *b, size_t nb, const void *c, size_t nc, size_t skip):
    """What is behind the first ``skip`` bytes of three pieces."""
    cdef bytes rest = PyBytes_FromStringAndSize(NULL, na + nb + nc - skip)
    cdef char *to = PyBytes_AS_STRING(rest)
    if skip < na:
        memcpy(to, <const char *>a + skip, na - skip)
        to += na - skip
        skip = 0
    else:
        skip -= na
    if skip < nb:
        memcpy(to, <const char *>b + skip, nb - skip)
        to += nb - skip
        skip = 0
    else:
        skip -= nb
    memcpy(to, <const char *>c + skip, nc - skip)
    return rest


cdef size_t payload_size(bytes frame) noexcept:
    """What an unmasked, unfragmented frame carries."""
    cdef size_t n = PyBytes_GET_SIZE(frame)
    cdef int first = <uint8_t>PyBytes_AS_STRING(frame)[1] if n > 1 else 0
    return n - min(n, <size_t>(10 if first == 127 else 4 if first == 126 else 2))


cdef class Lane:
    """One connection's short cut.

    :param owner: the protocol; see ``wsecho.wire.lane.LaneOwner``
    :param link: its link; see ``wsecho.wire.lane.LaneLink``
    :param counters: what is counted
    :param method: name of the owner's method that is told of messages; None to send them back without asking
    :param limit: largest payload that is taken
    :param fd: a plain socket, to be written to at once; -1 when output goes through the link alone
    :param send_queue: bytes of output that may be held here before they are written
    :param slice_seconds: how long messages are told of at a time
    :param clock: for that; None for the system's

    :ivar octets: bytes that were taken here
    """

    cdef object owner, former, link
    cdef Counters counters
    cdef Pump pump
    cdef Cork *cork
    cdef PyObject *partial
    cdef size_t filled, partial_room
    cdef bytes pending
    cdef list more_pending
    cdef size_t pending_size
    cdef object method
    cdef uint64_t limit
    cdef size_t cork_size, window
    cdef int fd, watched_fd
    cdef uint32_t index, generation, utf8
    cdef bint open, held, paused, queued, spilled, may_echo, echoes, unusual, is_pending, is_watched
    cdef uint8_t early_size
    cdef lane_head head
    cdef Why why
    cdef readonly long long octets
    cdef long long started
    cdef long long told_of
    cdef double part_at, slice_seconds
    cdef object clock
    # OpenSSL's connection and its two buffers, and whose they are, who keeps them alive; NULL without TLS.
    cdef void *ssl
    cdef void *into
    cdef void *source
    cdef object tls, ssl_owner

    def __init__(
        self,
        owner,
        link,
        Counters counters not None,
        str method,
        uint64_t limit,
        int fd,
        size_t send_queue,
        double slice_seconds,
        clock,
    ):
        self.owner = owner
        self.link = link
        self.counters = counters
        self.method = "onMessage" if method is None else method
        self.may_echo = self.echoes = method is None
        self.limit = limit
        self.fd = fd
        self.slice_seconds = slice_seconds
        self.clock = clock
        self.cork_size = min(<size_t>CORK_SIZE, send_queue)
        # What is sealed can be dropped no more, as what the outbox gives the transport.
        self.window = max(<size_t>1, min(<size_t>SEALED_SIZE, send_queue // 2))
        self.open = True
        self.unusual = True

    def __dealloc__(self):
        Py_XDECREF(self.partial)

    def seal(self, tls, ssl, int fd, size_t ssl_address, size_t into, size_t source):
        """Write to a socket at once, over TLS: before the first message, and not without :func:`use_openssl`.

        :param tls: who has the connection otherwise; see ``wsecho.wire.lane.LaneTls``
        :param ssl: what keeps OpenSSL's connection alive
        :param fd: the socket
        :param ssl_address: of OpenSSL's connection, as ``into`` and ``source`` of the buffers that it reads from and
            writes to
        """
        make_room_for_records()
        self.tls, self.ssl_owner = tls, ssl
        self.ssl, self.into, self.source = <void *>ssl_address, <void *>into, <void *>source
        self.fd = fd

    # -- facts ---------------------------------------------------------------------------------------------------

    @property
    def is_open(self):
        """Whether messages are taken here."""
        return self.open

    @property
    def is_in_pump(self):
        """Whether the pump reads this connection."""
        return self.pump is not None

    @property
    def waiting_bytes(self):
        """Bytes that are written at the end of the turn."""
        return self.pending_size + (self.cork.n if self.cork != NULL else 0)

    @property
    def silence(self):
        """Seconds since more came of a frame of which a part was taken."""
        return lane_now() - self.part_at

    @property
    def frame_on_its_way(self):
        """A number for the frame of which a part was taken; None when there is none."""
        return self.started if self.partial != NULL or self.early_size else None

    # -- reading: what came --------------------------------------------------------------------------------------

    @property
    def is_taking(self):
        """Whether it is being fed in a call that has not returned."""
        return self.cork != NULL

    def take(self, bytes data not None, Py_ssize_t at, int budget):
        """Take what is ordinary in ``data`` from ``at`` on, and tell the owner of the messages.

        :param budget: largest number of messages
        :returns: where it ended: at something unusual, behind the message that made the program hold or close
            the connection, or when the budget was used up. What :meth:`untaken` returns then stands before
            that place
        """
        cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
        if self.cork != NULL:
            raise RuntimeError("the lane is taking already")
        if not self.open or at >= n:
            return at
        return at + self.feed(<const uint8_t *>PyBytes_AS_STRING(data) + at, n - at, budget)

    def untaken(self):
        """Give back the bytes of a part of a frame, as they came, unless more of it may be taken here."""
        return self.give_up() if self.why == UNUSUAL or not self.open else b""

    cdef bytes give_up(self):
        # Masking twice is not masking.
        cdef bytes data
        cdef uint8_t *at
        if self.early_size:
            data = PyBytes_FromStringAndSize(<char *>self.head.raw, self.early_size)
            self.early_size = 0
        elif self.partial != NULL:
            data = PyBytes_FromStringAndSize(NULL, self.head.size + self.filled)
            at = <uint8_t *>PyBytes_AS_STRING(data)
            memcpy(at, self.head.raw, self.head.size)
            lane_unmask(at + self.head.size, <uint8_t *>_bytes_data(self.partial), self.filled, self.head.key, 0)
            Py_XDECREF(self.partial)
            self.partial = NULL
        else:
            return b""
        self.octets -= PyBytes_GET_SIZE(data)
        self.counters.incomingOctetsWireLevel -= PyBytes_GET_SIZE(data)
        return data

    cdef double now(self) except? -1:
        return lane_now() if self.clock is None else self.clock()

    cdef Py_ssize_t feed(self, const uint8_t *at, Py_ssize_t n, int budget) except -1:
        """Take from n bytes, and say in ``why`` what ended it. Replies leave before it returns."""
        global _shared_cork_is_used
        cdef Cork own
        cdef bint shared = not _shared_cork_is_used
        cdef Py_ssize_t taken
        if shared:
            _shared_cork_is_used = True
            self.cork = &_shared_cork
        else:
            own.data = NULL
            own.n = own.room = 0
            self.cork = &own
        self.cork.n = 0
        try:
            taken = self.work(at, n, budget)
            self.flush_cork()
            if self.queued or self.spilled:
                self.tell_of_output()
        finally:
            if shared:
                _shared_cork_is_used = False
            else:
                free(own.data)
            self.cork = NULL
        self.octets += taken
        if self.partial != NULL or self.early_size:
            self.part_at = lane_now()
            if self.told_of != self.started and self.owner is not None:
                self.told_of = self.started
                self.owner.lane_part_began()
        return taken

    cdef Py_ssize_t work(self, const uint8_t *at, Py_ssize_t n, int budget) except -1:
        cdef Py_ssize_t done = 0
        cdef lane_head head
        cdef uint8_t *to
        cdef bytes payload = None
        cdef size_t size, room = 0
        cdef int found
        cdef Counters counters = self.counters
        # The clock is looked at after one message, after two, four, eight, and then every eight: whoever takes
        # long for a message must not have as many of them as others, and looking takes time as well.
        cdef int until_look = 1, step = 1
        cdef double ends = self.now() + self.slice_seconds
        while True:
            if not self.open or self.held:
                self.why = STOPPED
                return done
            if self.early_size or self.partial != NULL:
                done += self.go_on(at + done, n - done)
                if self.why != BUDGET:
                    return done
                budget -= 1
                continue
            if done == n:
                self.why = ALL_TAKEN
                return done
            if budget <= 0:
                self.why = BUDGET
                return done
            found = lane_read_head(at + done, n - done, self.limit, &head)
            if found == LANE_WHOLE_HEAD and head.length <= <uint64_t>(n - done) - head.size:
                size = <size_t>head.length
                if self.echoes:
                    make_room(self.cork, size + FRAME_ROOM)
                    to = self.cork.data + self.cork.n
                    to += lane_write_head(to, head.opcode, size)
                else:
                    # The last message's memory, where nobody has kept it and it would be given out for this size.
                    if 1 < size <= room < size + ALLOCATED_IN and Py_REFCNT(payload) == 1:
                        lane_bytes_reuse(<PyObject *>payload, size)
                    else:
                        payload = PyBytes_FromStringAndSize(NULL, size)
                        room = size
                    to = <uint8_t *>PyBytes_AS_STRING(payload)
                if head.opcode == LANE_BINARY:
                    lane_unmask(to, at + done + head.size, size, head.key, 0)
                elif lane_unmask_text(
                    to, at + done + head.size, size, head.key, 0, LANE_UTF8_ACCEPT
                ) != LANE_UTF8_ACCEPT:
                    self.why = UNUSUAL
                    return done
                done += head.size + size
                counters.incomingOctetsWireLevel += head.size + size
                self.count_in(size)
                if self.echoes:
                    size = to + size - self.cork.data - self.cork.n
                    self.cork.n += size
                    self.count_out(head.length, size)
                    if self.queued or self.cork.n >= self.cork_size:
                        self.flush_cork()
                        if self.queued or self.spilled:
                            self.tell_of_output()
                else:
                    self.tell(payload, head.opcode == LANE_BINARY)
                budget -= 1
                until_look -= 1
                if not until_look:
                    until_look = step
                    if step < MESSAGES_PER_LOOK:
                        step *= 2
                    if self.now() >= ends:
                        budget = 0
            elif found == LANE_UNUSUAL:
                self.why = UNUSUAL
                return done
            else:
                # A part of a frame.
                self.started += 1
                if found == LANE_MORE:
                    self.early_size = <uint8_t>(n - done)
                    memcpy(self.head.raw, at + done, n - done)
                    counters.incomingOctetsWireLevel += n - done
                    self.why = ALL_TAKEN
                    return n
                self.begin_part(&head, n - done - head.size)
                counters.incomingOctetsWireLevel += head.size
                done += head.size

    cdef int begin_part(self, lane_head *head, size_t there) except -1:
        # Not at once as large as the peer says: what is held for it is at most twice what it has sent.
        self.head = head[0]
        self.filled = 0
        self.utf8 = LANE_UTF8_ACCEPT
        if head.length > FIRST_PART:
            self.partial = take_spare(head.length)
            if self.partial != NULL:
                self.partial_room = head.length
                return 0
        self.partial_room = min(<size_t>head.length, max(there, <size_t>FIRST_PART))
        self.partial = _new_bytes(NULL, self.partial_room)
        return 0

    cdef int grow_part(self) except -1:
        if self.filled == self.partial_room and self.filled < self.head.length:
            self.partial_room = min(<size_t>self.head.length, 2 * self.partial_room)
            _PyBytes_Resize(&self.partial, self.partial_room)
        return 0

    cdef Py_ssize_t go_on(self, const uint8_t *at, Py_ssize_t n) except -1:
        """Go on with a part of a frame; ``why`` is BUDGET when it became a message."""
        cdef Py_ssize_t done = 0
        cdef size_t size
        cdef uint32_t had
        cdef int found
        cdef lane_head head
        if self.early_size:
            had = self.early_size
            size = min(<size_t>(FRAME_ROOM - had), <size_t>n)
            memcpy(self.head.raw + had, at, size)
            found = lane_read_head(self.head.raw, had + size, self.limit, &head)
            if found == LANE_UNUSUAL:
                # What was taken before goes back, and what is new was never taken.
                self.why = UNUSUAL
                return 0
            if found == LANE_MORE:
                self.early_size += <uint8_t>size
                self.counters.incomingOctetsWireLevel += size
                self.why = ALL_TAKEN
                return size
            self.early_size = 0
            done = head.size - had
            self.counters.incomingOctetsWireLevel += done
            self.begin_part(&head, n - done)
        while done < n and self.filled < self.head.length:
            self.grow_part()
            size = min(self.partial_room - self.filled, <size_t>(n - done))
            done += size
            if not self.add(at + done - size, size):
                return done
        self.end_part()
        return done

    cdef bint add(self, const uint8_t *at, size_t size) except -1:
        """Unmask bytes of a part, which may be in their place, and count them; false when they cannot be
        UTF-8."""
        cdef uint8_t *to = <uint8_t *>_bytes_data(self.partial) + self.filled
        cdef size_t offset = self.filled
        self.filled += size
        self.counters.incomingOctetsWireLevel += size
        if self.head.opcode == LANE_BINARY:
            lane_unmask(to, at, size, self.head.key, offset)
        else:
            self.utf8 = lane_unmask_text(to, at, size, self.head.key, offset, self.utf8)
            if self.utf8 == LANE_UTF8_REJECT or (
                self.utf8 != LANE_UTF8_ACCEPT and self.filled == self.head.length
            ):
                self.why = UNUSUAL
                return False
        return True

    cdef int end_part(self) except -1:
        """Make the part a message, when nothing is missing."""
        cdef bytes payload
        if self.filled < self.head.length:
            self.why = ALL_TAKEN
            return 0
        payload = <bytes>self.partial
        Py_XDECREF(self.partial)
        self.partial = NULL
        self.count_in(self.filled)
        if self.echoes:
            self.put_message(payload, self.head.opcode == LANE_BINARY)
            if self.queued or self.spilled:
                self.tell_of_output()
        else:
            self.tell(payload, self.head.opcode == LANE_BINARY)
        keep_spare(payload)
        self.why = BUDGET
        return 0

    cdef void count_in(self, size_t size) noexcept:
        self.counters.incomingOctetsWebSocketLevel += size
        self.counters.incomingOctetsAppLevel += size
        self.counters.incomingWebSocketFrames += 1
        self.counters.incomingWebSocketMessages += 1

    cdef int tell(self, bytes payload, bint is_binary) except -1:
        cdef PyObject *arguments[3]
        cdef object flag = True if is_binary else False
        arguments[0] = <PyObject *>self.owner
        arguments[1] = <PyObject *>payload
        arguments[2] = <PyObject *>flag
        try:
            PyObject_VectorcallMethod(self.method, arguments, 3, NULL)
        except Exception:
            self.owner.lane_failed()
        if self.queued or self.spilled:
            self.tell_of_output()
        return 0

    cdef int tell_of_output(self) except -1:
        self.spilled = False
        if self.owner is not None:
            self.owner.lane_output_waits()
        return 0

    # -- writing -------------------------------------------------------------------------------------------------

    cdef void count_out(self, size_t payload, size_t frame) noexcept:
        self.counters.outgoingOctetsAppLevel += payload
        self.counters.outgoingOctetsWebSocketLevel += payload
        self.counters.outgoingOctetsWireLevel += frame
        self.counters.outgoingWebSocketFrames += 1
        self.counters.outgoingWebSocketMessages += 1

    def send(self, payload, is_binary):
        """Send a message as one frame, and count it.

        :returns: False when it is not for the lane, and nothing was done
        """
        return self.try_send(payload, is_binary)

    @cython.binding(False)
    def sendMessage(self, payload, isBinary=False, fragmentSize=None, sync=False, doNotCompress=False):
        """The owner's method of that name, in whose place this one may stand: what is not for the lane is for
        that."""
        if fragmentSize is None and self.try_send(payload, isBinary):
            return
        owner = self.owner if self.former is None else self.former()
        if owner is None:
            # The program has kept nothing of the connection but this.
            return
        type(owner).sendMessage(owner, payload, isBinary, fragmentSize, sync, doNotCompress)

    cdef bint try_send(self, payload, is_binary) except -1:
        if not self.open or type(payload) is not bytes or type(is_binary) is not bool:
            return False
        if (self.queued or self.fd < 0) and self.link.is_full:
            # What happens then, the protocol knows.
            return False
        self.put_message(<bytes>payload, is_binary is True)
        return True

    cdef int put_message(self, bytes payload, bint is_binary) except -1:
        cdef size_t n = PyBytes_GET_SIZE(payload), size
        cdef uint8_t head[14]
        cdef Cork *cork = self.cork
        if cork == NULL:
            frame = encoded(payload, is_binary)
            self.count_out(n, PyBytes_GET_SIZE(frame))
            self.put_whole(frame)
            return 0
        size = lane_write_head(head, LANE_BINARY if is_binary else LANE_TEXT, n)
        self.count_out(n, size + n)
        if n >= LARGE and self.fd >= 0 and not self.is_queued():
            self.flush_pending()
            self.send_pieces(cork.data, cork.n, head, size, PyBytes_AS_STRING(payload), n)
            cork.n = 0
            return 0
        make_room(cork, n + size)
        memcpy(cork.data + cork.n, head, size)
        memcpy(cork.data + cork.n + size, PyBytes_AS_STRING(payload), n)
        cork.n += n + size
        if self.queued or cork.n >= self.cork_size:
            self.flush_cork()
        return 0

    def put(self, bytes data not None):
        """Write bytes that were counted, in their turn.

        :returns: False when they are not for the lane: the link then queues them
        """
        cdef Cork *cork = self.cork
        if self.is_queued():
            if cork != NULL:
                self.flush_cork()
            return False
        if cork != NULL:
            make_room(cork, PyBytes_GET_SIZE(data))
            memcpy(cork.data + cork.n, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            cork.n += PyBytes_GET_SIZE(data)
            if cork.n >= self.cork_size:
                self.flush_cork()
            return True
        if self.fd < 0:
            return False
        self.put_whole(data)
        return True

    def post(self, bytes frame not None):
        """Send a whole frame that many receivers share, at the end of the turn, and count it.

        :returns: False when it is not for the lane, and nothing was done
        """
        if not self.open or self.fd < 0 or self.pump is None or self.is_queued():
            return False
        self.count_out(payload_size(frame), PyBytes_GET_SIZE(frame))
        if self.cork != NULL:
            self.put(frame)
        else:
            self.collect(frame)
        return True

    cdef int put_whole(self, bytes data) except -1:
        if self.fd < 0:
            self.link.queue(data)
        elif self.pending is not None or (self.pump is not None and self.pump.is_turning):
            if self.pump is None or self.is_queued():
                self.flush_pending()
                self.send_pieces(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), NULL, 0, NULL, 0)
            else:
                self.collect(data)
        else:
            self.send_pieces(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), NULL, 0, NULL, 0)
        return 0

    cdef int collect(self, bytes data) except -1:
        if self.pending is None:
            self.pending = data
            self.pending_size = PyBytes_GET_SIZE(data)
            if not self.is_pending:
                self.is_pending = True
                self.pump.pending.append(self)
                if not self.pump.is_turning:
                    self.pump.need_turn()
        else:
            if self.more_pending is None:
                self.more_pending = [data]
            else:
                self.more_pending.append(data)
            self.pending_size += PyBytes_GET_SIZE(data)
        if self.pending_size >= PENDING_SIZE or self.pending_size >= self.cork_size:
            self.flush_pending()
        return 0

    cdef bint is_queued(self) except -1:
        """Whether output waits in the outbox, so that nothing may be sent around it."""
        if self.queued and self.link.has_flushed:
            self.queued = False
        return self.queued

    cdef int flush_cork(self) except -1:
        cdef size_t n = self.cork.n
        if n:
            self.flush_pending()
            self.cork.n = 0
            if self.fd < 0:
                self.spilled = True
                self.link.queue(PyBytes_FromStringAndSize(<char *>self.cork.data, n))
            else:
                self.send_pieces(self.cork.data, n, NULL, 0, NULL, 0)
        return 0

    cdef int flush_pending(self) except -1:
        cdef bytes frame = self.pending
        if frame is None:
            return 0
        self.pending = None
        self.pending_size = 0
        if self.more_pending is not None:
            # Each of them is small, or there would not be several.
            frame += b"".join(self.more_pending)
            self.more_pending = None
        self.send_pieces(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame), NULL, 0, NULL, 0)
        return 0

    cdef int send_pieces(
        self, const void *a, size_t na, const void *b, size_t nb, const void *c, size_t nc
    ) except -1:
        """Send now what the kernel takes; the rest goes to the outbox."""
        cdef ssize_t sent = 0
        cdef size_t n = na + nb + nc
        if self.is_queued():
            return self.queue_rest(a, na, b, nb, c, nc, 0)
        if self.ssl != NULL:
            return send_sealed(self, a, na, b, nb, c, nc)
        sent = send_all(self.fd, a, na, b, nb, c, nc)
        # Whatever is wrong with the socket, the transport finds out.
        return 0 if sent == <ssize_t>n else self.queue_rest(a, na, b, nb, c, nc, max(sent, 0))

    cdef int queue_rest(
        self, const void *a, size_t na, const void *b, size_t nb, const void *c, size_t nc, size_t skip
    ) except -1:
        """Give the outbox what is behind the first ``skip`` bytes."""
        self.queued = True
        self.link.queue(rest_of(a, na, b, nb, c, nc, skip))
        return 0

    cdef int leave_tls(self, int result, bytes kept, bytes rest) except -1:
        """OpenSSL has not encrypted ``rest``: whoever has the connection otherwise takes over."""
        tls = self.tls
        # What OpenSSL's result means is asked first: whatever calls OpenSSL again changes that.
        error = tls.error(result)
        self.fd = -1
        self.ssl = NULL
        if kept is not None:
            self.link.queue_sealed(kept)
        tls.refused(error, rest)
        if self.pump is not None and self.cork == NULL:
            self.pump.give_back(self)
        return 0

    def block(self):
        """Something was queued that did not come through here."""
        self.queued = True

    def flush(self):
        """Write what was collected."""
        if self.cork != NULL:
            self.flush_cork()
        self.flush_pending()

    # -- who is told ---------------------------------------------------------------------------------------------

    def tell_owner(self):
        """Tell the owner of messages that would be sent back without asking, until ``echo_again``."""
        self.echoes = False

    def echo_again(self):
        """Send messages back without asking, if that is what this lane was made for."""
        self.echoes = self.may_echo

    # -- who reads -----------------------------------------------------------------------------------------------

    def hold(self):
        """Tell of nothing until ``release``."""
        self.held = True

    def release(self):
        """Tell of messages again."""
        self.held = False

    def pause(self):
        """Read nothing until ``resume``."""
        self.paused = True
        if self.pump is not None:
            self.pump.unwatch(self)

    def resume(self):
        """Read again."""
        self.paused = False
        if self.pump is not None and self.cork == NULL:
            self.pump.watch(self)

    def close(self):
        """The connection carries no more messages: everything goes through Autobahn and the transport from now
        on."""
        if not self.open:
            return
        self.flush()
        self.open = False
        self.fd = -1
        if self.pump is not None and self.cork == NULL:
            self.pump.give_back(self)

    def drop(self):
        """An exception came out of the connection's own code."""
        if self.owner is not None:
            self.owner.lane_broke()

    def abandon(self):
        """The socket has been closed: its number may be somebody else's."""
        self.open = False
        self.fd = -1
        self.pending = self.more_pending = None
        self.pending_size = 0
        if self.cork != NULL:
            self.cork.n = 0
        if self.pump is not None:
            self.pump.forget(self)
        if self.owner is not None:
            self.former = ref(self.owner)
        self.owner = self.link = self.tls = self.ssl_owner = None
        self.ssl = self.into = self.source = NULL


include "_tls.pxi"
include "_pump.pxi"
