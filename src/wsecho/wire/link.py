"""The link: the one owner of reading, writing and ending of a connection, plain or TLS.

Rules of this file: nothing else in wsecho calls the transport. The protocol, and Autobahn under it, have the
link as their ``transport``; the link has the real one. So whatever replaces the inside of a connection later
(another reader, a bounded output queue) replaces it here and nowhere else. The link knows no frames, no HTTP
and no policy: it is told to write, to finish or to abort, and who holds reading. What waits to be written,
and how much may, is :mod:`wsecho.wire.outbox`.

How a connection ends (RFC 6455 section 7.1.1). ``finish`` flushes what was written, then shuts down the
writing half and goes on reading, discarding, until the peer ends: closing at once with unread bytes in the
kernel makes it answer with RST, which destroys the Close frame or HTTP answer on its way. Over TLS,
close_notify takes the place of the half close. A peer that never ends, or never reads, meets the close timer,
and the connection is aborted: ``loseConnection`` alone waits for a full buffer, or for the peer's
close_notify, for ever.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Any, Protocol

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ISSLTransport, ITransport
from twisted.logger import Logger
from zope.interface import implementer

from wsecho.wire.accepted import Accepted, hasten
from wsecho.wire.at_once import AtOnce
from wsecho.wire.beneath import bottom_transport, can_learn_peer
from wsecho.wire.lane import seals
from wsecho.wire.outbox import Outbox
from wsecho.wire.pump import plain_socket, pump_of
from wsecho.wire.tls_transport import TlsTransport

__all__ = ["Hold", "Link", "LinkOwner"]

_log = Logger("wsecho")


class Hold(IntFlag):
    """Who wants reading to pause. Reading goes on when nobody does."""

    NONE = 0
    DECISION = 1
    """The buffer for what arrives while the connection is decided on is full."""
    PROGRAM = 2
    """The embedding program called ``pause_reading``."""
    OUTPUT = 4
    """The peer does not read what it is sent: what it sends would make more of it."""
    INPUT = 8
    """What was read already is not worked off yet."""


_NOT_INPUT = ~Hold.INPUT.value


class LinkOwner(Protocol):
    """What the link asks of the protocol above it."""

    def close_timed_out(self) -> None:
        """The close timer fired; the link aborts after this call."""

    def input_released(self) -> None:
        """Nobody but the work on what was read already holds reading any more."""


@implementer(ITransport)
class Link:
    """One connection's way to its transport.

    :param transport: the transport that Twisted made: ``tcp.Server``, ``unix.Server``, TLS, or a wrapper of
        one
    :param clock: source of the close timer
    :param owner: told when the close timer fires, and when reading goes on
    :param send_queue: bytes from which on no further message is taken for the peer

    :ivar outbox: what waits to be written
    """

    __slots__ = (
        "_aborted",
        "_clock",
        "_finishing",
        "_holds",
        "_host",
        "_lane",
        "_owner",
        "_peer",
        "_timer",
        "_tls",
        "_transport",
        "is_secure",
        "outbox",
    )

    disconnecting = False  # of ITransport's implementations; Twisted's own producers read it

    def __init__(self, transport: Any, clock: IReactorTime, owner: LinkOwner, send_queue: int) -> None:
        self._transport: Any = transport
        self.outbox = Outbox(transport, send_queue)
        # Programs ask for the addresses in onClose as well, when Twisted has forgotten its own.
        self._host: IAddress = transport.getHost()
        self._peer: IAddress = transport.getPeer()
        self._clock = clock
        self._owner: LinkOwner | None = owner
        # A plain int: Python takes a microsecond for an operation on flags, and this is asked for each frame.
        self._holds = 0
        self._finishing = False
        self._aborted = False
        self._timer: IDelayedCall | None = None
        self._lane: Any = None
        self._tls: Any = None
        if plain_socket(transport) is not None:
            self.outbox.writer = AtOnce(self, transport, send_queue)
        self.is_secure: bool = ISSLTransport.providedBy(transport)

    # -- who is there ----------------------------------------------------------------------------------------

    def getPeer(self) -> IAddress:
        """The peer's address; behind ``haproxy:`` endpoints the client's, not the proxy's."""
        if self._transport is not None and can_learn_peer(self._transport):
            self._peer = self._transport.getPeer()
        return self._peer

    def getHost(self) -> IAddress:
        """The local address."""
        if self._transport is not None:
            self._host = self._transport.getHost()
        return self._host

    def getHandle(self) -> Any:
        """The pyOpenSSL connection over TLS, else the socket; None once the transport has ended. Only to look
        at."""
        return None if self._transport is None else self._transport.getHandle()

    def set_no_delay(self, enabled: bool) -> None:
        """Switch Nagle's algorithm off (``True``) or on, where the transport is TCP."""
        setter = getattr(self._transport, "setTcpNoDelay", None)
        if setter is None:
            return
        try:
            setter(enabled)
        except (AttributeError, OSError):
            # A Unix socket, or a wrapper of one, has the method but not the option; a peer may be gone
            # already.
            return

    # -- reading ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The protocol is ready: read what has come with the connection."""
        transport = self._transport
        if isinstance(transport, Accepted):
            transport.begin()
        else:
            hasten(transport)

    @property
    def is_reading(self) -> bool:
        """Whether nobody holds reading."""
        return not self._holds

    def hold(self, holder: Hold) -> None:
        """Stop reading on behalf of ``holder``. The peer's leaving is not seen while reading is held: the
        close timer and the pings notice it."""
        if self._finishing or self._transport is None:
            return
        if not self._holds:
            self._pause()
        self._holds |= holder.value
        if self._lane is not None and not self.takes_input:
            self._lane.hold()

    def release(self, holder: Hold) -> None:
        """Take back the hold of ``holder``; reading goes on when it was the last."""
        held = self._holds
        self._holds = left = held & ~holder.value
        if left == held or self._transport is None:
            return
        if self._lane is not None and self.takes_input:
            self._lane.release()
        if not left:
            self._resume()
        if held & _NOT_INPUT and not left & _NOT_INPUT and self._owner is not None:
            self._owner.input_released()

    def _pause(self) -> None:
        if self._lane is not None and self._lane.is_in_pump:
            self._lane.pause()
        else:
            self._transport.pauseProducing()

    def _resume(self) -> None:
        if self._lane is not None and self._lane.is_in_pump:
            self._lane.resume()
        else:
            self._transport.resumeProducing()

    def is_held_by(self, holder: Hold) -> bool:
        """Whether ``holder`` holds reading."""
        return bool(self._holds & holder.value)

    @property
    def takes_input(self) -> bool:
        """Whether what was read already may be worked on."""
        # Asked for each message, and the operators of enumerations take a microsecond.
        return not self._holds & _NOT_INPUT

    # -- the lane: another way to read and write the same socket; see wsecho.wire.lane -----------------------

    @property
    def descriptor(self) -> int:
        """The number of the socket, when nothing is between it and the link; else -1."""
        handle = plain_socket(self._transport)
        return -1 if handle is None else handle.fileno()

    def attach(self, lane: Any) -> None:
        """Write through ``lane`` from now on, and let the reactor's pump read, if it can."""
        self._lane = self.outbox.writer = lane
        transport = self._transport
        may_be_pumped = plain_socket(transport) is not None
        if seals and type(transport) is TlsTransport and transport.can_lend:
            self._tls = transport
            may_be_pumped = transport.lend(lane)
        if not self.has_flushed:
            lane.block()
        if not self.takes_input:
            lane.hold()
        pump = pump_of(bottom_transport(transport).reactor) if may_be_pumped else None
        if pump is None:
            return
        if self._holds:
            lane.pause()
        else:
            transport.pauseProducing()
        if not pump.adopt(lane) and not self._holds:
            transport.resumeProducing()

    def read_by_transport(self) -> None:
        """The pump does not read this connection any more."""
        if self._transport is not None and not self._aborted and not self._holds:
            self._transport.resumeProducing()

    def queue(self, data: bytes) -> None:
        """Write what the lane could not write at once."""
        self.outbox.queue(data)

    def queue_sealed(self, records: bytes) -> None:
        """Write what the lane has encrypted, and could not write at once."""
        self.outbox.queue_sealed(records)

    @property
    def has_flushed(self) -> bool:
        """Whether the lane may write again: nothing waits any more."""
        return self.outbox.is_clear and (self._tls is None or self._tls.has_sent_all)

    @property
    def is_full(self) -> bool:
        """Whether no further message may be written."""
        return self.outbox.is_full

    # -- writing ---------------------------------------------------------------------------------------------

    @property
    def queued_bytes(self) -> int:
        """Bytes that were written but not handed to the kernel yet."""
        return self.outbox.queued_bytes

    def write(self, data: bytes) -> None:
        """Write ``data``, now or when the peer has read what was written before. Ignored once the connection
        is ending: the Close frame or HTTP answer is the last word."""
        if not self._finishing and self._transport is not None:
            self.outbox.write(data)

    def write_urgent(self, kind: str, data: bytes) -> None:
        """Write a control frame, ahead of what waits; see :meth:`wsecho.wire.outbox.Outbox.write_urgent`."""
        if not self._finishing and self._transport is not None:
            self.outbox.write_urgent(kind, data)

    def writeSequence(self, data: Any) -> None:
        """Queue the joined chunks."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let the program's producer follow the pace of the peer (Twisted's IConsumer)."""
        if self._finishing or self._transport is None:
            producer.stopProducing()
            return
        self.outbox.register_producer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Forget the program's producer. Harmless without one: Autobahn calls it at every end."""
        self.outbox.unregister_producer()

    # -- ending ----------------------------------------------------------------------------------------------

    def start_close_timer(self, seconds: float) -> None:
        """Abort the connection in ``seconds`` unless it has ended. The first call decides: one timer covers
        the peer's answer to our Close, the flush and the end of the transport."""
        if self._timer is None and self._transport is not None and not self._aborted:
            self._timer = self._clock.callLater(seconds, self._close_timer_fired)

    def _close_timer_fired(self) -> None:
        self._timer = None
        owner = self._owner
        assert owner is not None, "the timer ends with the transport"
        owner.close_timed_out()
        self.abort()

    def finish(self, seconds: float) -> None:
        """Flush, tell the peer that nothing more comes, and wait up to ``seconds`` for its end."""
        if self._finishing or self._transport is None:
            return
        producer = self._stop_output()
        self.start_close_timer(seconds)
        self.outbox.finish(self._end_output)
        if producer is not None:
            producer.stopProducing()

    def _end_output(self) -> None:
        half_close = None if self.is_secure else getattr(self._transport, "loseWriteConnection", None)
        if half_close is not None:
            half_close()
        else:
            self._transport.loseConnection()

    def peer_finished(self, seconds: float) -> None:
        """The peer ended its writing half: flush what is queued, then close."""
        if self._transport is None or self._aborted:
            return
        self._holds = 0
        producer = self._stop_output()
        self.start_close_timer(seconds)
        self.outbox.finish(self._transport.loseConnection)
        if producer is not None:
            producer.stopProducing()

    def await_peer(self, seconds: float) -> None:
        """Write nothing more and wait up to ``seconds`` for the peer to end the transport: a client leaves
        that to the server, which so keeps the TIME_WAIT (RFC 6455 section 7.1.1)."""
        if self._finishing or self._transport is None:
            return
        producer = self._stop_output()
        self.start_close_timer(seconds)
        if producer is not None:
            producer.stopProducing()

    def loseConnection(self) -> None:
        """Twisted's name for the orderly end; the protocol's ``dropConnection`` is the way to it."""
        raise NotImplementedError("end a connection by sendClose or dropConnection")

    def abort(self) -> None:
        """Drop the connection now; what is queued is lost."""
        self._cancel_timer()
        if self._transport is not None and not self._aborted:
            self._aborted = True
            self._holds = 0
            producer = self._stop_output()
            self.outbox.discard()
            self._transport.abortConnection()
            if producer is not None:
                producer.stopProducing()

    def ended(self) -> None:
        """The transport reported its end. Nothing of it is touched after this."""
        self._cancel_timer()
        self._finishing = True
        self._holds = 0
        if self._lane is not None:
            # The socket is closed, and its number may be another's: before the program hears of anything.
            self._lane.abandon()
            self._lane = self._tls = None
        producer = self.outbox.unregister_producer()
        self.outbox.ended()
        self._transport = None
        self._owner = None
        if producer is not None:
            try:
                producer.stopProducing()
            except Exception:
                # The connection's own end is still to be told.
                _log.failure("a producer failed to stop")

    def _stop_output(self) -> Any:
        """Take no more bytes; unregister the program's producer, if there is one, and return it.

        Left registered, it would be asked for more. Whoever calls this stops it: last, since it is code of
        the program, which may raise.
        """
        self._finishing = True
        producer = self.outbox.unregister_producer()
        # While reading is held the peer's end would not be seen.
        self.release(Hold(self._holds))
        return producer

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
