"""A connection's life on the wire: its transport, its closing handshake, its end, its two log lines.

Rules of this file: it turns bytes into calls and calls into bytes, and moves along ``policy.lifecycle``; each
connection ends with one reason of ``policy.end_reasons``. What happens to messages is
:mod:`wsecho.wire.messages`, how a connection opens :mod:`wsecho.wire.protocol` and :mod:`wsecho.wire.client`,
all built on this.

What is overridden of Autobahn, and why, is listed in :mod:`wsecho.wire.beneath`.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

from autobahn.exception import Disconnected
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsecho.policy.close_codes import cut_reason, may_be_received, may_be_sent
from wsecho.policy.end_reasons import End, EndReason, reason_for_code
from wsecho.policy.lifecycle import Event, Phase, follow
from wsecho.policy.proxies import PeerAddress
from wsecho.wire.beneath import SilentLogger
from wsecho.wire.failures import is_tls_failure
from wsecho.wire.intake import Intake
from wsecho.wire.interfaces import IService
from wsecho.wire.link import Hold, Link
from wsecho.wire.log_lines import log_end
from wsecho.wire.start import Start

__all__ = ["Connection", "next_id", "number_from"]

_log = Logger("wsecho")
_HAS_ENDED = object()
_ids = itertools.count(1)


def next_id() -> int:
    """A number for a connection, counted over all factories of the process, so that a log has each once."""
    return next(_ids)


def number_from(first: int) -> None:
    """Number the connections that come from `first` on: of several processes that serve as one, no two may
    have a connection of the same number."""
    global _ids
    _ids = itertools.count(first)


@implementer(IHalfCloseableProtocol)
class Connection(Start, Intake):
    """What all connections have, before and after they are open, on the server's side and on the client's.

    To be mixed in before Autobahn's protocol class of that side.

    :ivar id: number of the connection in its process, as in the log
    :ivar peer_address: where the connection comes from; behind trusted proxies the client, from the request
        on
    :ivar peer: the same as text, ``127.0.0.1:40000``, ``[::1]:40000``, ``192.0.2.1`` or ``unix``
    :ivar end: how the connection ended or is about to; None while it lives
    """

    factory: Any
    peer: str
    peer_address: PeerAddress
    message_data: Any
    frame_data: Any
    control_frame_data: Any
    maxMessagePayloadSize: int

    log = SilentLogger()
    service: IService | None = None
    """What happens to messages; the factory's route sets it. Without one, override ``onMessage``."""

    end: End | None = None
    phase: Phase = Phase.CONNECTING
    closed_cleanly: bool = True
    """Whether our last word, a Close frame or an HTTP answer, was said and then the peer ended its side.
    False when the peer left before that, reset the connection, or had to be cut off."""

    own_close: EndReason = EndReason.SERVER_CLOSE
    """The reason of an end that the program on this side began with a Close frame."""

    _opened_at: float | None = None
    _octets_received = 0
    _octets_at_ping = 0
    _output_at_ping = (0, 0)
    _frame_before_pong: Any = None
    _named_after: Any = None
    _described_path: str | None = None
    _described_origin: str | None = None

    # -- what the opening handshake does with bytes --------------------------------------------------

    def _feed_head(self, data: bytes) -> None:
        """Bytes arrived before the request head is complete."""
        raise NotImplementedError

    def _feed_pending(self, data: bytes) -> None:
        """Bytes arrived while the connection is decided on."""
        raise NotImplementedError

    def _cancel_decision(self) -> None:
        """Nobody waits for the decision any more."""
        raise NotImplementedError

    # -- transport --------------------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """Put the link between the transport and everything else."""
        self.link = Link(transport, self.factory.reactor, self, self.factory.settings.send_queue)
        super().makeConnection(self.link)
        self.link.begin()
        # Most have their handshake behind them already.
        if self.phase is Phase.CONNECTING or self.phase is Phase.DECIDING:
            self._start_open_timeout()

    def connectionMade(self) -> None:
        # Autobahn's own would collect process id, thread id and certificate of each connection.
        self.id = self.factory.next_id()
        self._name_peer()
        self.link.set_no_delay(self.factory.tcpNoDelay)
        self._started_at = self.factory.reactor.seconds()
        self._connectionMade()
        self.factory.connection_made(self)

    def dataReceived(self, data: bytes) -> None:
        phase = self.phase
        self._octets_received += len(data)
        if phase is Phase.OPEN or phase is Phase.CLOSING:
            self.take_input(data)
        elif phase is Phase.CONNECTING:
            self._feed_head(data)
        elif phase is Phase.DECIDING:
            self._feed_pending(data)
        # Flushing or gone: read so that the peer's end is seen, and discarded (RFC 6455 section 7.1.1).

    def readConnectionLost(self) -> None:
        """The peer ended its half of the stream. Nothing more can come, so what is queued is flushed and the
        connection ends; closing at once would lose the echo of a client that sends and then shuts down."""
        if self.phase is not Phase.FLUSHING:
            self.closed_cleanly = False
        self._ends(EndReason.HANDSHAKE_ABANDONED if self._opened_at is None else EndReason.PEER_GONE)
        self._advance(Event.PEER_FINISHED)
        self._cancel_decision()
        self._mark_dropped()
        self.link.peer_finished(self.close_timeout)

    def writeConnectionLost(self) -> None:
        """Our own half close is done; the peer's end is waited for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.phase is Phase.OPEN and self.has_backlog:
            # TLS reports the end although it was paused: what the peer sent before that counts.
            self.link.ended()
            self.end_after_input = partial(self._transport_ended, reason)
            self.factory.turns.add(self)
        else:
            self._transport_ended(reason)

    def _transport_ended(self, reason: Failure) -> None:
        if self.end is None:
            if is_tls_failure(reason):
                self._ends(EndReason.TLS_FAILED)
            elif self._opened_at is None:
                self._ends(EndReason.HANDSHAKE_ABANDONED)
            else:
                self._ends(EndReason.PEER_GONE)
        # Over TLS a peer that ends without close_notify, as many do after ours, looks like a reset.
        was_reset = not (self.link.is_secure or isinstance(reason.value, ConnectionDone))
        if self.phase is not Phase.FLUSHING or was_reset:
            self.closed_cleanly = False
        if not self._octets_received:
            self._name_peer()
        # First: the program hears of the end in what follows, and may call the link.
        self.link.ended()
        self._advance(Event.TRANSPORT_ENDED)
        self._cancel_decision()
        if self.wasNotCleanReason is None and not self.wasClean:
            # Autobahn would take the text of the transport's failure, in which OpenSSL may quote the peer.
            self.wasNotCleanReason = self.end.reason.value if self.end is not None else None
        self._forget_input()
        self._connectionLost(reason)
        self.factory.connection_lost(self)
        log_end(self, self.factory.reactor.seconds())

    def _connectionLost(self, reason: Failure) -> None:
        # What Autobahn's own does, which on the way colours words of debug lines that nobody sees.
        self._stop_pings()
        self._cancel_open_timeout()
        if self.state != self.STATE_CLOSED:
            self.state = self.STATE_CLOSED
            self._tell_closed()
        if self.wasClean:
            self._onClose(True, self.remoteCloseCode, self.remoteCloseReason)
        else:
            self._onClose(False, 1006, f'connection was closed uncleanly ("{self.wasNotCleanReason}")')

    def close_timed_out(self) -> None:
        """The link's close timer fired: the peer did not answer Close, did not read, or did not end."""
        self.closed_cleanly = False
        self.wasClean = False
        self.wasCloseHandshakeTimeout = True
        self.wasNotCleanReason = "closing handshake timeout"
        self._advance(Event.ABORTED)
        self._mark_dropped()

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Write; nothing, once Close was sent.

        ``sync`` and ``chopsize``, by which Autobahn spreads bytes over turns of the global reactor, are for
        its test suite and have no effect: what waits there when a connection ends would be lost.
        """
        if self.state == self.STATE_OPEN:
            self.trafficStats.outgoingOctetsWireLevel += len(data)
        elif self.state == self.STATE_CONNECTING:
            self.trafficStats.preopenOutgoingOctetsWireLevel += len(data)
        else:
            return
        self.link.write(data)

    @property
    def close_timeout(self) -> float:
        """Seconds from our Close frame to the end of the transport: Autobahn's option
        ``closeHandshakeTimeout``, where 0, which there means for ever, leaves it to the settings."""
        timeout: float = self.closeHandshakeTimeout or self.factory.settings.close_timeout
        return timeout

    # -- the closing handshake --------------------------------------------------------------------------

    def sendPing(self, payload: bytes | None = None) -> None:
        """Send a ping, ahead of messages that wait for a peer that reads slowly; only the latest waits.
        Nothing happens unless the connection is open.

        :param payload: 125 bytes at most
        :raises ValueError: for a longer one
        """
        # A ping of the program's must not take the place of the one whose pong decides about the connection.
        is_keepalive = payload is not None and payload is self.autoPingPending
        self._send_urgent("keepalive" if is_keepalive else "ping", 9, payload or b"")

    def sendPong(self, payload: bytes | None = None) -> None:
        """Send a pong, likewise: while output is blocked, only the latest ping is answered (RFC 6455 section
        5.5.3).

        :param payload: 125 bytes at most
        :raises ValueError: for a longer one
        """
        self._send_urgent("pong", 10, payload or b"")

    def _send_urgent(self, kind: str, opcode: int, payload: bytes) -> None:
        if len(payload) > 125:
            raise ValueError(f"a {kind} has 125 bytes of payload at most (RFC 6455 section 5.5)")
        if self.phase is Phase.OPEN:
            data = self._frame(opcode, payload)
            self.trafficStats.outgoingOctetsWireLevel += len(data)
            self.link.write_urgent(kind, data)

    def _frame(self, opcode: int, payload: bytes, rsv: int = 0) -> bytes:
        """A whole frame, as this side of a connection sends it."""
        raise NotImplementedError

    def sendClose(self, code: int | None = None, reason: str | None = None) -> None:
        """Begin the closing handshake.

        :param code: any code that may be sent (RFC 6455 section 7.4); None sends an empty Close
        :param reason: text; cut to 123 bytes without splitting a character
        :raises ValueError: for a code that must not be on the wire, or a reason without code
        :raises TypeError: for a reason that is no text
        :raises Disconnected: when the connection is not open yet. Once it is closing, nothing happens
        """
        if reason is not None and not isinstance(reason, str):
            raise TypeError(f"close reason {reason!r} is not a str")
        is_number = isinstance(code, int) and not isinstance(code, bool)
        if code is not None and not (is_number and self._may_send(code)):
            raise ValueError(f"close code {code!r} must not be sent; see RFC 6455 section 7.4")
        if self.phase in (Phase.CONNECTING, Phase.DECIDING):
            raise Disconnected("the connection is not open yet: it cannot be closed, only dropped")
        self.close_with(self.own_close, code, reason)

    def _may_send(self, code: int) -> bool:
        return may_be_sent(code)

    def close_with(
        self, why: EndReason, code: int | None, reason: str | None = None, *, at_least: float = 0.0
    ) -> None:
        """Begin the closing handshake for a reason of the table; does nothing unless the connection is open.

        :param at_least: seconds to the end of the transport, where the close timeout is shorter
        """
        self._begin_closing(why, code, None if reason is None else cut_reason(reason), at_least)

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """Autobahn's way to begin the closing handshake; does nothing unless the connection is open.

        :param isReply: has no effect: :meth:`onCloseFrame` answers a peer's Close
        :raises ValueError: for a frame that must not be on the wire
        """
        self._begin_closing(self.own_close, code, reasonUtf8)

    def _begin_closing(
        self, why: EndReason, code: int | None, reason: bytes | None, at_least: float = 0.0
    ) -> None:
        if self.phase is Phase.OPEN:
            self._send_close(why, code, reason)
            self._advance(Event.CLOSE_SENT)
            # Whoever held reading wants no message any more, but the peer's Close must be seen.
            self.link.release(Hold.PROGRAM | Hold.OUTPUT)
            # Autobahn's own timer ends with the peer's Close. This one goes on, to the end of TCP.
            self.link.start_close_timer(max(self.close_timeout, at_least))

    def _send_close(self, why: EndReason, code: int | None, reason: bytes | None) -> None:
        """Write the Close frame of an open connection.

        :raises ValueError: for one that must not be on the wire
        """
        if code is None:
            payload = b""
        elif may_be_received(code):
            payload = code.to_bytes(2, "big") + (reason or b"")
        else:
            raise ValueError(f"close code {code!r} must not be sent; see RFC 6455 section 7.4")
        if len(payload) > 125 or (reason and not payload):
            raise ValueError("a close reason needs a close code, and is 123 bytes at most")
        self._ends(why, code=code)
        self.sendFrame(opcode=8, payload=payload)
        self.localCloseCode, self.localCloseReason = code, reason
        self.closedByMe = why is not EndReason.PEER_CLOSE
        self.state = self.STATE_CLOSING

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> bool:
        # Autobahn's own queues 1002 for an illegal code, takes that for its own Close in the same call, and
        # resets the connection before the frame is on the wire.
        if code is not None and not may_be_received(code):
            return self._protocol_violation("invalid close code")
        try:
            reason = None if reasonRaw is None else reasonRaw.decode("utf-8")
        except UnicodeDecodeError:
            return self._invalid_payload("close reason is not UTF-8")
        self.remoteCloseCode, self.remoteCloseReason = code, reason
        self.wasClean = True
        self._ends(EndReason.PEER_CLOSE, code=code)
        if self.phase is Phase.OPEN:
            echoed = self.echoCloseCodeReason
            self._send_close(EndReason.PEER_CLOSE, code if echoed else 1000, reasonRaw if echoed else None)
        self._advance(Event.CLOSE_RECEIVED)
        self._end_after_close()
        return True

    def _end_after_close(self) -> None:
        """Close was sent and nothing more is read: end the transport. On the server's side, first (RFC 6455
        section 7.1.1)."""
        self.dropConnection(abort=False)

    def _max_message_size_exceeded(self, msg_size: int, max_msg_size: int, reason: str) -> None:
        option = "max-frame-size" if self.wasMaxFramePayloadSizeExceeded else "max-message-size"
        self._fail_connection(1009, f"larger than {option} ({max_msg_size} bytes)")

    def _protocol_violation(self, reason: str) -> bool:
        self._fail_connection(1002, reason)
        return True

    def _invalid_payload(self, reason: str) -> bool:
        self._fail_connection(1007, reason)
        return True

    def _fail_connection(self, code: int = 1001, reason: str = "going away") -> None:
        """Fail the connection (RFC 6455 section 7.1.7): Close, flush, and nothing is read any more, not even
        an answer."""
        self.fail_with(reason_for_code(code), code, reason)

    def fail_with(self, why: EndReason, code: int, reason: str) -> None:
        """Fail the connection for a reason of the table."""
        if self.phase not in (Phase.OPEN, Phase.CLOSING):
            return
        if self.phase is Phase.OPEN:
            self._send_close(why, code, cut_reason(reason))
        self.failedByMe = True
        self.wasClean = False
        self.wasNotCleanReason = reason
        self._advance(Event.FAILED)
        self._end_after_close()

    def onAutoPingTimeout(self) -> None:
        self.autoPingTimeoutCall = None
        if self._pong_may_be_behind_a_frame():
            self.autoPingTimeoutCall = self.factory.timer.call_later(
                self.autoPingTimeout, self.onAutoPingTimeout
            )
        else:
            self.fail_with(EndReason.PING_TIMEOUT, 1001, "no pong within ping-timeout")

    def _sendAutoPing(self) -> None:
        self._octets_at_ping = self._octets
        self._output_at_ping = self.link.outbox.progress
        self._frame_before_pong = None
        super()._sendAutoPing()

    def _pong_may_be_behind_a_frame(self) -> bool:
        """Whether a pong that has not come may still come: it cannot overtake the frame on its way before it,
        and a large message over a slow line is no silence.

        That holds for one frame, and for the timeout after it. A peer that sends frame after frame but never
        answers is not alive in both directions.
        """
        if self._peer_reads_what_waits():
            return True
        if self._octets == self._octets_at_ping:
            return False
        self._octets_at_ping = self._octets
        before = self._frame_before_pong
        if before is None:
            self._frame_before_pong = self.frame_on_its_way
            return self._frame_before_pong is not None
        if before == self.frame_on_its_way:
            return True
        self._frame_before_pong = _HAS_ENDED
        return before is not _HAS_ENDED

    @property
    def _octets(self) -> int:
        """Bytes of the peer's, whoever read them."""
        return self._octets_received + (0 if self.lane is None else self.lane.octets)

    def _peer_reads_what_waits(self) -> bool:
        """Whether the peer took something of what waits for it, in the last timeout: it is slow, but there,
        and what it answers may not be read before it has taken more."""
        before, self._output_at_ping = self._output_at_ping, self.link.outbox.progress
        return self.link.outbox.is_blocked and self._output_at_ping != before

    def dropConnection(self, abort: bool = False) -> None:
        """End the transport: in order (flush, half close, close timer), or at once with ``abort``."""
        self.drop_with(EndReason.ABORTED, abort=abort)

    def drop_with(self, why: EndReason, *, abort: bool = False) -> None:
        """End the transport for a reason of the table, likewise, without a Close frame."""
        if abort:
            self._abort(why)
            return
        if self.phase not in (Phase.FLUSHING, Phase.GONE):
            # Called by a program, without a handshake's end.
            self._ends(why)
            self._advance(Event.FAILED)
            self._cancel_decision()
        self._mark_dropped()
        self.link.finish(self.close_timeout)

    def _abort(self, why: EndReason) -> None:
        if self.phase is not Phase.GONE:
            self._ends(why)
            self._advance(Event.ABORTED)
            self._cancel_decision()
            self._mark_dropped()
            self.link.abort()

    def _closeConnection(self, abort: bool = False) -> None:
        self.dropConnection(abort)

    # -- bookkeeping ------------------------------------------------------------------------------------

    def _advance(self, event: Event) -> None:
        before = self.phase
        self.phase = follow(before, event)
        if before is Phase.OPEN:
            self._left_open()

    def _left_open(self) -> None:
        """No message goes in or out any more: a broadcast must skip this connection from now on, not from the
        end of TCP on."""
        self._stop_pings()
        self._stop_watching_for_stall()
        if self.lane is not None:
            self.lane.close()
        self.factory.connection_closing(self)
        try:
            if self.service is not None:
                self.service.closed(self)
        except Exception:
            _log.failure("{id} closed failed", id=self.id)

    def _name_peer(self) -> None:
        """Take over the peer's address from the transport. A transport behind a proxy has the client's only
        when its first bytes have arrived."""
        address = self.link.getPeer()
        if address is self._named_after:
            return
        self._named_after = address
        self._is_from(PeerAddress.of(getattr(address, "host", None), getattr(address, "port", None)))

    def _is_from(self, address: PeerAddress) -> None:
        self.peer_address = address
        self.peer = str(address)

    def _ends(self, reason: EndReason, *, code: int | None = None, status: int | None = None) -> None:
        # The first cause decides.
        if self.end is None:
            self.end = End(reason, code, status)

    def _mark_dropped(self) -> None:
        """Autobahn's idea of an ended connection: it processes no more data and keeps none."""
        self._forget_input()
        if self.state != self.STATE_CLOSED:
            self.state = self.STATE_CLOSED
            self.droppedByMe = True
            self._tell_closed()
        self._cancel_open_timeout()

    def _forget_input(self) -> None:
        # Lists, not None: Autobahn may be in the middle of a frame, and append to them once more.
        self.data = b""
        self._forget_backlog()
        self.message_data, self.frame_data, self.control_frame_data = [], [], []

    def _stop_pings(self) -> None:
        # A pong that comes later would start the next one's timer.
        self.autoPingPending = None
        for name in ("autoPingPendingCall", "autoPingTimeoutCall"):
            call = getattr(self, name)
            if call is not None:
                call.cancel()
                setattr(self, name, None)
