"""Many sockets, plain or with TLS of ours, behind one descriptor; a part of ``_lane.pyx``.

Rules of this file: an event is believed only when its generation is that of the connection in the table, since
numbers of descriptors are used again; a descriptor is unregistered before it is closed; whatever is not a frame
for the lane, and the end of a connection, is given to the transport and to Autobahn.
"""

cdef class Pump:
    """Many sockets in one loop, behind one descriptor.

    A subclass tells the reactor: :meth:`begin_watching`, :meth:`end_watching`, :meth:`need_turn`.

    :ivar reactor: a ``ReactorBase`` of Twisted's
    :ivar seconds_between_turns: when turns follow each other this soon, the next message is worth waiting for
    :ivar seconds_without_reactor: for how long the pump goes on while nothing else is ready; the reactor may have
        been stopped meanwhile, of which no descriptor tells
    """

    cdef int epoll
    cdef int around
    cdef readonly object reactor
    cdef object next_call
    cdef double ended, next_time, next_at
    cdef list lanes, free, generations, pending
    cdef Py_ssize_t watched
    cdef Lane sole
    cdef uint8_t *buffer
    cdef readonly bint is_turning
    cdef public double seconds_between_turns, seconds_without_reactor

    def __cinit__(self):
        self.epoll = -1
        self.around = -1
        self.buffer = NULL

    def __init__(self, reactor=None, int around=-1):
        """
        :param reactor: see above
        :param around: the descriptor of the epoll in which that watches the pump; -1 when it has none, and the pump
            then awaits nothing
        """
        self.reactor = reactor
        self.around = around
        self.seconds_between_turns = 0.001
        self.seconds_without_reactor = 0.005
        self.lanes = []
        self.free = []
        self.generations = []
        self.pending = []
        self.epoll = lane_epoll_open()
        if self.epoll < 0:
            raise OSError(errno, os.strerror(errno))
        self.buffer = <uint8_t *>malloc(PLAIN_ROOM)
        if self.buffer == NULL:
            raise MemoryError()

    def __dealloc__(self):
        self.dispose()
        free(self.buffer)

    cdef void dispose(self) noexcept:
        cdef int epoll = self.epoll
        self.epoll = -1
        if epoll >= 0:
            close_descriptor(epoll)

    def __len__(self):
        """How many connections the pump reads."""
        return len(self.lanes) - len(self.free)

    def fileno(self):
        """The descriptor that is readable when a socket is; -1 when the pump has ended."""
        return self.epoll

    # -- for the subclass ----------------------------------------------------------------------------------------

    def begin_watching(self):
        """The first connection came."""

    def end_watching(self):
        """The last connection left."""

    def need_turn(self):
        """Call :meth:`turn` soon: there is work that no socket will tell of."""

    def broke(self, lane):
        """An exception came out of a connection's own code."""
        raise NotImplementedError

    # -- members -------------------------------------------------------------------------------------------------

    def adopt(self, Lane lane not None):
        """Read this connection from now on.

        :returns: False when the pump cannot
        """
        if self.epoll < 0 or lane.pump is not None or lane.fd < 0:
            return False
        if self.free:
            lane.index = self.free.pop()
        else:
            lane.index = len(self.lanes)
            self.lanes.append(None)
            self.generations.append(0)
        lane.generation = self.generations[lane.index]
        self.lanes[lane.index] = lane
        lane.pump = self
        if len(self) == 1:
            self.begin_watching()
        if not lane.paused and not self.watch(lane):
            self.forget(lane)
            return False
        return True

    cdef bint watch(self, Lane lane) except -1:
        if lane.is_watched or self.epoll < 0:
            return True
        if lane_epoll_add(self.epoll, lane.fd, <uint64_t>lane.generation << 32 | lane.index) < 0:
            return False
        lane.is_watched = True
        lane.watched_fd = lane.fd
        self.watched += 1
        self.sole = lane if self.watched == 1 else None
        return True

    cdef int unwatch(self, Lane lane) except -1:
        if lane.is_watched:
            self.unmark(lane)
            if self.epoll >= 0:
                # Not lane.fd: a lane that writes no more has forgotten that.
                lane_epoll_remove(self.epoll, lane.watched_fd)
        return 0

    cdef void unmark(self, Lane lane):
        lane.is_watched = False
        self.watched -= 1
        # With one left, it is known when it has been read.
        self.sole = None

    cdef int forget(self, Lane lane) except -1:
        """Drop what is known of a lane; an event of it that is on its way already means nobody."""
        lane.pump = None
        if lane.is_watched:
            self.unmark(lane)
        self.lanes[lane.index] = None
        self.generations[lane.index] = (<uint32_t>self.generations[lane.index] + 1) & 0xFFFFFFFF
        self.free.append(lane.index)
        if not len(self):
            self.end_watching()
        return 0

    cdef int give_back(self, Lane lane) except -1:
        """Let the transport read again."""
        if lane.pump is None:
            return 0
        self.unwatch(lane)
        self.forget(lane)
        if lane.link is not None:
            lane.link.read_by_transport()
        return 0

    def stop(self):
        """Give every connection back, and end."""
        cdef Lane lane
        for lane in [one for one in self.lanes if one is not None]:
            lane.flush_pending()
            self.give_back(lane)
        self.dispose()

    def forget_all(self):
        """This is another process, after a fork: the registrations are the parent's, and are not touched."""
        cdef Lane lane
        self.dispose()
        for lane in self.lanes:
            if lane is not None:
                lane.pump = None
                lane.is_watched = False
                lane.fd = -1
        self.lanes, self.free, self.generations, self.pending = [], [], [], []
        self.watched, self.sole = 0, None

    # -- a turn --------------------------------------------------------------------------------------------------

    def turn(self):
        """Serve every socket that is ready, and send what was published meanwhile; again, while there are more,
        for a slice of time.

        A turn of the reactor costs as much as several messages: with few connections, one for each round of
        theirs would be most of the work. When the turn before has just ended, the next message is awaited here,
        for as long as the reactor has nothing else to do.
        """
        cdef double begins, ends
        cdef bint awaits
        if self.is_turning or self.epoll < 0:
            return
        begins = lane_now()
        awaits = self.around >= 0 and begins - self.ended < self.seconds_between_turns
        ends = begins + SECONDS_OF_A_TURN
        self.is_turning = True
        try:
            while True:
                if self.round() >= FEW and lane_now() < ends:
                    continue
                self.ended = lane_now()
                if not awaits or self.ended - begins > self.seconds_without_reactor or not self.is_next():
                    break
                ends = self.ended + SECONDS_OF_A_TURN
        finally:
            self.is_turning = False
            self.next_call = None

    cdef bint is_next(self) except -1:
        """Wait, not for long, for a socket of the pump's; False when it is not the only one to be served then."""
        cdef int milliseconds
        cdef bint is_next
        if self.epoll < 0 or not self.watched:
            return False
        milliseconds = self.milliseconds_to_next_call()
        if milliseconds <= 0:
            return False
        with nogil:
            is_next = lane_epoll_only(self.around, self.epoll, milliseconds)
        return is_next

    cdef int milliseconds_to_next_call(self) except? -1:
        """For how long the reactor has nothing to do unless a descriptor is ready.

        It is asked again when that may have changed, not each time: its answer takes as long as a message.
        """
        cdef list calls = self.reactor._pendingTimedCalls
        next_call = calls[0] if calls else None
        if (
            next_call is None
            or next_call is not self.next_call
            or next_call.time != self.next_time
            or self.reactor._newTimedCalls
        ):
            seconds = self.reactor.timeout()
            if seconds is None:
                return MILLISECONDS_TO_WAIT
            self.next_call = self.reactor._pendingTimedCalls[0]
            self.next_time = self.next_call.time
            self.next_at = self.ended + seconds
        return <int>min(<double>MILLISECONDS_TO_WAIT, (self.next_at - self.ended) * 1000)

    cdef int round(self) except -1:
        """Serve each socket that is ready once.

        :returns: how many there were
        """
        cdef lane_event events[LANE_EVENTS]
        cdef Lane lane
        cdef uint32_t index
        cdef int i, n
        cdef list pending
        if self.epoll < 0:
            return 0
        lane = self.sole
        if lane is not None:
            # Nobody else can be meant: asking who it is would be a third of the system calls.
            n = 0
            try:
                self.read(lane)
            except Exception:
                self.broke(lane)
        else:
            n = lane_epoll_ready(self.epoll, events)
        for i in range(n):
            index = <uint32_t>events[i].number
            found = self.lanes[index] if index < <size_t>len(self.lanes) else None
            if found is None:
                continue
            lane = <Lane>found
            if lane.generation != <uint32_t>(events[i].number >> 32) or not lane.is_watched:
                # Held, left, or replaced by another connection since the kernel told of it.
                continue
            try:
                if events[i].has_ended:
                    self.give_back(lane)
                else:
                    self.read(lane)
            except Exception:
                self.broke(lane)
            if self.watched == 1 and lane.is_watched and lane.pump is self:
                self.sole = lane
        while self.pending:
            pending = self.pending
            self.pending = []
            for lane in pending:
                lane.is_pending = False
                lane.flush_pending()
        return max(n, 0)

    cdef int read(self, Lane lane) except -1:
        cdef ssize_t n
        cdef size_t room
        cdef bint is_valid = True
        if lane.ssl != NULL:
            return self.read_sealed(lane)
        if lane.partial != NULL and lane.head.length - lane.filled >= LARGE:
            # Into its place, without a copy; what follows goes into the buffer.
            lane.grow_part()
            room = lane.partial_room - lane.filled
            n = lane_receive(
                lane.fd,
                _bytes_data(lane.partial) + lane.filled,
                room,
                self.buffer,
                READ_SIZE if lane.partial_room == lane.head.length else 0,
            )
        else:
            room = 0
            n = lane_receive(lane.fd, self.buffer, READ_SIZE, NULL, 0)
        if n <= 0:
            if n < 0 and (errno == EAGAIN or errno == EINTR):
                return 0
            # The transport reads the end once more, and reports it.
            self.give_back(lane)
            return 0
        if room:
            room = min(room, <size_t>n)
            lane.octets += room
            lane.part_at = lane_now()
            is_valid = lane.add(<uint8_t *>_bytes_data(lane.partial) + lane.filled, room)
            n -= room
            if not is_valid:
                self.hand_over(lane, self.buffer, n)
                return 0
            if n == 0 and lane.filled < lane.head.length:
                return 0
        self.serve(lane, self.buffer, n)
        return 0

    cdef int read_sealed(self, Lane lane) except -1:
        """The same for a connection over TLS."""
        cdef ssize_t n = lane_receive(lane.fd, _received, READ_SIZE, NULL, 0)
        cdef size_t got
        cdef int ended
        tls, error = lane.tls, None
        if n <= 0:
            if n < 0 and (errno == EAGAIN or errno == EINTR):
                return 0
            self.give_back(lane)
            return 0
        got = tls_open(lane.ssl, lane.into, _received, n, self.buffer, PLAIN_ROOM, &ended)
        if ended <= 0:
            error = tls.error(ended)
        send_said(lane)
        if got:
            self.serve(lane, self.buffer, got)
        if error is not None and lane.tls is tls:
            # The stream has ended, or broke: that is told behind what came before.
            self.give_back(lane)
            tls.stopped(error)
        return 0

    cdef int serve(self, Lane lane, const uint8_t *at, Py_ssize_t n) except -1:
        """Take n bytes, or hand them over."""
        cdef Py_ssize_t taken
        cdef int budget = BUDGET_OF_A_TURN
        while True:
            if lane.unusual:
                if not lane.owner.stands_between_messages():
                    self.hand_over(lane, at, n)
                    break
                lane.unusual = False
            taken = lane.feed(at, n, budget)
            at += taken
            n -= taken
            if lane.owner is None:
                break
            if lane.why == UNUSUAL and lane.partial == NULL and not lane.early_size:
                # A ping among messages: what follows it need not go the long way.
                taken = control_frame(at, n)
            else:
                taken = n
            # Nothing may be left and yet not all be said: what was taken of a text that then ended wrong.
            if taken or (lane.why == UNUSUAL and (lane.partial != NULL or lane.early_size)):
                self.hand_over(lane, at, taken)
                at += taken
                n -= taken
                budget -= 1
            if not n or lane.owner is None:
                break
        if lane.pump is self:
            if not lane.open or lane.fd < 0:
                self.give_back(lane)
            elif not lane.paused:
                self.watch(lane)
        return 0

    cdef int hand_over(self, Lane lane, const uint8_t *at, Py_ssize_t n) except -1:
        """Give bytes to the protocol, behind those of an unfinished frame that cannot be taken."""
        cdef bytes data = PyBytes_FromStringAndSize(<const char *>at, n)
        if lane.why == UNUSUAL or not lane.open:
            data = lane.give_up() + data
        lane.unusual = True
        if data:
            lane.owner.dataReceived(data)
        return 0


cdef Py_ssize_t control_frame(const uint8_t *at, Py_ssize_t n) noexcept:
    """The size of the control frame that n bytes begin with; n when there is none, or not all of it."""
    if n < 6 or at[0] < 0x88 or at[0] > 0x8A or at[1] < 0x80 or at[1] > 0x80 + 125:
        return n
    return min(n, 6 + <Py_ssize_t>(at[1] & 0x7F))
