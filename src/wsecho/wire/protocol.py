"""The server's side of one connection: how it opens.

Rules of this file: what is allowed stands in ``policy`` and is asked through the factory. What both sides do
with messages is :mod:`wsecho.wire.messages`; how a connection closes and ends is
:mod:`wsecho.wire.connection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from autobahn.exception import Disconnected
from autobahn.websocket.compress import PerMessageDeflateOffer
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsecho.policy.end_reasons import EndReason, reason_for_status
from wsecho.policy.http import HttpAnswer, render
from wsecho.policy.lifecycle import Event, Phase
from wsecho.policy.origins import OriginRequest
from wsecho.policy.proxies import ForwardingConflict
from wsecho.policy.slow_consumers import SlowConsumer
from wsecho.policy.text import escape_peer_text
from wsecho.wire.admission import HeadBuffer, HeadRefused, RequestHead, check_upgrade, parse_head
from wsecho.wire.asked import Asked, OpeningRequest
from wsecho.wire.beneath import AutobahnServerProtocol
from wsecho.wire.deflate import Acceptance, ServerDeflate
from wsecho.wire.frames import Prepared, unmasked_frame
from wsecho.wire.lane import lane_for
from wsecho.wire.link import Hold
from wsecho.wire.log_lines import log_message
from wsecho.wire.messages import Messages
from wsecho.wire.peer_certificate import peer_certificate
from wsecho.wire.start import Lazy
from wsecho.wire.switching import render_switching

if TYPE_CHECKING:
    from wsecho.wire.factory import ServerFactory
    from wsecho.wire.room import Place

__all__ = ["OpeningRequest", "OriginDenied", "ServerProtocol"]

_log = Logger("wsecho")
_PLAIN_TEXT = (("Content-Type", "text/plain; charset=utf-8"),)
_offer: Any = PerMessageDeflateOffer


def _accept_first(offers: Sequence[Any]) -> Any:
    return Acceptance(offers[0])


async def _result_of(answer: Any) -> Any:
    return await answer


class OriginDenied(ConnectionDeny):
    """The origin policy said no: 403 (RFC 6455 section 4.2.2), never Autobahn's 400."""

    def __init__(self) -> None:
        super().__init__(ConnectionDeny.FORBIDDEN, "origin not allowed")  # type: ignore[no-untyped-call]


class ServerProtocol(Asked, Messages, AutobahnServerProtocol):  # type: ignore[misc]
    """One connection of a :class:`wsecho.ServerFactory`.

    Subclass it as you would Autobahn's class: ``onConnect``, ``onOpen``, ``onMessage``, ``onClose``,
    ``sendMessage``, ``sendClose`` keep their meaning, but

    - ``onOpen`` is never called for a peer that has left, and an exception of yours ends this one connection
      with 1011;
    - messages that arrive after wsecho sent Close are discarded;
    - ``sendClose`` takes every code that may be sent (RFC 6455 section 7.4), 1001 and 1013 among them.

    :ivar request: the opening handshake's ``ConnectionRequest``, with ``peer_certificate``; None before it
    :ivar peer_certificate: the client's verified certificate, from the opening handshake on; None when it
        showed none
    """

    factory: ServerFactory
    websocket_protocol_in_use: str | None = None
    websocket_extensions_in_use: Any = Lazy(lambda self: [])

    compression: str | None = None
    """What a service wants here, ``"deflate"`` or ``"off"``; None for what the settings say."""

    fault: Any = None
    """What is to be wrong with the answer: see :mod:`wsecho.wire.misbehaviour`. None, as it always is where
    nobody asked for it."""

    place: Place | None = None
    """Where the factory counts this connection; None while it does not."""

    _head: HeadBuffer | None = None
    _pending: bytes | bytearray = b""
    _decision: Deferred[Any] | None = None

    def _connectionMade(self) -> None:
        super()._connectionMade()
        self.factory.countConnections += 1

    def _connectionLost(self, reason: Failure) -> None:
        super()._connectionLost(reason)
        self.factory.countConnections -= 1

    def shut_down(self, at_least: float = 0.0) -> None:
        """The server stops: Close 1001 to an open connection, 503 or an abort to one that is not open yet.

        :param at_least: seconds that the peer of an open connection has for reading and for its answer, where
            the close timeout is shorter
        """
        if self.phase is Phase.OPEN:
            self.close_with(EndReason.SHUTDOWN, 1001, "server is stopping", at_least=at_least)
        elif self.phase is Phase.DECIDING or (self.phase is Phase.CONNECTING and self._head is not None):
            self._refuse(503, "the server is stopping", reason=EndReason.SHUTDOWN)
        elif self.phase is Phase.CONNECTING:
            self._abort(EndReason.SHUTDOWN)

    def cut_off(self) -> None:
        """The server waits no longer."""
        self._abort(EndReason.SHUTDOWN)

    def _enter_lane(self) -> None:
        lane = lane_for(self, ServerProtocol, self.link.descriptor)
        if lane is not None:
            self.lane = lane
            self.link.attach(lane)
            if type(self).sendMessage is ServerProtocol.sendMessage and "sendMessage" not in vars(self):
                # The same without a call of Python's: half of what an answer costs.
                self.sendMessage = lane.sendMessage  # type: ignore[method-assign]
        if self.factory.sampler is not None:
            self.factory.sampler.opened(self)

    # -- the opening handshake -------------------------------------------------------------------------------

    def _feed_head(self, data: bytes) -> None:
        head = self._head
        if head is None:
            self._name_peer()
            head = self._head = HeadBuffer(self.factory.settings.max_head_size)
        try:
            complete = head.feed(data)
            if complete is not None:
                self._head = None
                self._take_head(*complete)
        except HeadRefused as refusal:
            self._refuse(refusal.status, refusal.detail, headers=refusal.headers, more=refusal.more)
        except Exception:
            # Of a route, a page, or a check that the program brings.
            _log.failure("{id} handshake failed", id=self.id)
            self._refuse(500, "internal error")

    def _take_head(self, head_bytes: bytes, rest: bytes) -> None:
        settings = self.factory.settings
        head = parse_head(head_bytes, max_line=settings.max_head_line, max_lines=settings.max_head_lines)
        self._described_path = escape_peer_text(head.path)
        self._described_origin = escape_peer_text(head.headers.get("origin", "")) or None
        self._name_client(head)
        self._admit(head, head_bytes, rest)

    def _name_client(self, head: RequestHead) -> None:
        """Take over whom trusted proxies name in their headers."""
        try:
            client = self.factory.proxies.client(self.peer_address, head.headers)
        except ForwardingConflict:
            raise HeadRefused(400, "the forwarding headers name different clients") from None
        if client is not self.peer_address:
            self._is_from(client)

    def _admit(self, head: RequestHead, head_bytes: bytes, rest: bytes) -> None:
        factory = self.factory
        path = unquote(head.path, errors="replace")
        if not factory.hosts.allows(head.host):
            raise HeadRefused(421, "the Host header names no host that is served here")
        if self.link.is_secure:
            self.peer_certificate = peer_certificate(self.link.getHandle())
        # "is not True": what forgets to decide opens no door.
        if factory.clients is not None and factory.clients(self.peer_certificate) is not True:
            self._refuse(403, "the client certificate is not allowed", reason=EndReason.DENIED)
            return
        if head.method not in ("GET", "HEAD"):
            raise HeadRefused(405, "the method is neither GET nor HEAD", [("Allow", "GET, HEAD")])
        if not head.wants_websocket or head.method == "HEAD":
            self._answer_plain(path, head_only=head.method == "HEAD")
            return
        service = factory.route(path)
        if service is None:
            raise HeadRefused(404, "nothing is served at this path")
        upgrade = check_upgrade(head, self.versions)
        asked = getattr(service, "asked", None)
        if asked is not None:
            asked(self, head)
        factory.check_room(self)
        if service is not factory.no_service:
            self.service = service
        self._keep_request(head_bytes, head, upgrade)
        self._begin_decision(path, rest)

    def _answer_plain(self, path: str, *, head_only: bool) -> None:
        page = self.factory.page(path)
        if page is not None:
            self._answer(page, head_only=head_only)
        elif self.factory.route(path) is not None:
            needed = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
            self._refuse(426, "this path is for WebSocket clients", headers=needed, head_only=head_only)
        else:
            self._refuse(404, "nothing is served at this path", head_only=head_only)

    def _begin_decision(self, path: str, rest: bytes) -> None:
        """Ask the origin policy and ``onConnect``."""
        self._advance(Event.HEAD_ACCEPTED)
        if rest:
            self._pending = bytearray(rest)
        try:
            answer = self._ask(path)
        except Exception:
            decision: Deferred[Any] = fail()
        else:
            if not hasattr(answer, "__await__"):
                # As a rule nobody has to be waited for.
                try:
                    self._decided(answer)
                except Exception:
                    self._decision_broke(Failure())  # type: ignore[no-untyped-call]
                return
            decision = Deferred.fromCoroutine(_result_of(answer))
        self._decision = decision
        decision.addCallbacks(self._decided, self._refused)
        decision.addErrback(self._decision_broke)

    def _ask(self, path: str) -> Any:
        # Not in onConnect: a program that overrides it, as programs on Autobahn do, and does not call it
        # upwards would let every origin in.
        headers = self._read()[0].headers
        allowed: object = self.factory.origins(
            OriginRequest(headers.get("origin"), headers["host"], path, self.peer)
        )
        return self._ask_later(allowed) if isinstance(allowed, Deferred) else self._ask_program(allowed)

    async def _ask_later(self, allowed: Deferred[Any]) -> Any:
        answer = self._ask_program(await allowed)
        return await answer if hasattr(answer, "__await__") else answer

    def _ask_program(self, allowed: object) -> Any:
        # A policy that forgets its return statement, or returns a truthy mistake, opens no door.
        if not isinstance(allowed, bool):
            raise TypeError(f"the origin policy returned {allowed!r}, not True or False")
        if not allowed:
            raise OriginDenied()
        if getattr(self.onConnect, "__func__", None) is ServerProtocol.onConnect:
            # Which does not look at the request: nothing needs to be made of it.
            answer: Any = self._choose_subprotocol(self._read()[1].subprotocols)
        else:
            request = self.request
            assert request is not None
            answer = self.onConnect(request)
        ready = getattr(self.service, "ready", None)
        return answer if ready is None else self._when_ready(answer, ready(self))

    async def _when_ready(self, answer: Any, ready: Deferred[None]) -> Any:
        if hasattr(answer, "__await__"):
            answer = await answer
        await ready
        return answer

    def _choose_subprotocol(self, offered: Sequence[str]) -> str | None:
        """The client's first that the factory supports, or the service speaks by itself."""
        choose = self.factory.choose_subprotocol
        spoken = getattr(self.service, "subprotocols", ())
        if not spoken:
            return choose(offered)
        return next((name for name in offered if name in spoken or choose((name,)) is not None), None)

    def _usable_extensions(self, header: str) -> list[tuple[str, dict[str, Any]]]:
        """The offers that can be accepted. One that is unknown or invalid is declined, not answered by 400
        (RFC 7692 section 5); Autobahn's other codecs (brotli, snappy, bzip2) are never offered to it."""
        if not header or (self.compression or self.factory.settings.compression) == "off":
            return []
        return self.factory.valid_offers(self._parseExtensionsHeader(header))

    def _feed_pending(self, data: bytes) -> None:
        # Read on while the connection is decided on, so that the peer's leaving is seen; only a full buffer
        # pauses.
        if not self._pending:
            self._pending = bytearray()
        self._pending += data
        if len(self._pending) >= self.factory.settings.max_head_size:
            self.link.hold(Hold.DECISION)

    def _decided(self, accepted: Any) -> None:
        if self.phase is not Phase.DECIDING:
            return
        if self.link.is_held_by(Hold.DECISION):
            # The end of a peer is not seen while reading is held: read again, and decide when the reactor has
            # looked twice.
            self.link.release(Hold.DECISION)
            later = self.factory.reactor.callLater
            later(0, later, 0, self._decided_after_pause, accepted)
            return
        self._open(accepted)

    def _decided_after_pause(self, accepted: Any) -> None:
        self.link.release(Hold.DECISION)
        if self.phase is Phase.DECIDING:
            succeed(accepted).addCallback(self._open).addErrback(self._decision_broke)

    def _open(self, accepted: Any) -> None:
        self._decision = None
        early, self._pending = bytes(self._pending), b""
        if self.fault is not None and self.fault.answer is not None:
            self._answer(self.fault.answer, reason=EndReason.AS_ASKED)
            return
        self.succeedHandshake(accepted)
        if early and self.phase in (Phase.OPEN, Phase.CLOSING):
            self.take_input(early)

    def succeedHandshake(self, res: Any) -> None:
        """Answer 101, and open.

        :param res: what ``onConnect`` returned
        """
        subprotocol, *more = res if isinstance(res, tuple) else (res,)
        _, upgrade = self._read()
        if subprotocol is not None:
            if subprotocol not in upgrade.subprotocols:
                raise ValueError(
                    f"onConnect chose {subprotocol!r}, a subprotocol that the client did not offer"
                )
            self.websocket_protocol_in_use = subprotocol
        factory = self.factory
        answer = render_switching(
            upgrade.key,
            server_name=factory.server,
            headers=(factory.headers, *more[:1]),
            subprotocol=subprotocol,
            extensions=self._agree_on_compression(upgrade.extensions) if upgrade.extensions else "",
        )
        self.link.write(answer if self.fault is None else self.fault.spoil(answer))
        self.state = self.STATE_OPEN
        self._cancel_open_timeout()
        if self.autoPingInterval:
            self.autoPingPendingCall = factory.timer.call_later(self.autoPingInterval, self._sendAutoPing)
        self._onOpen()
        self._tell_open()
        self._forget_what_was_read()

    def _agree_on_compression(self, header: str) -> str:
        """The header that answers the client's offers; empty when none is accepted."""
        offers = [_offer.parse(parameters) for _, parameters in self._usable_extensions(header)]
        accept = self.perMessageCompressionAccept if self.compression is None else _accept_first
        accepted = accept(offers) if offers else None
        if accepted is None:
            return ""
        self._perMessageCompress = ServerDeflate.create_from_offer_accept(True, accepted)
        self.websocket_extensions_in_use = [self._perMessageCompress]
        answer: str = accepted.get_extension_string()
        return answer

    def _refused(self, failure: Failure) -> None:
        # A decision that nobody waits for any more was cancelled.
        expected = (ConnectionDeny,) if self.phase is Phase.DECIDING else (ConnectionDeny, CancelledError)
        if isinstance(failure.value, HeadRefused):
            self._refuse(failure.value.status, failure.value.detail)
        elif not isinstance(failure.value, expected):
            self._decision_broke(failure)
        elif isinstance(failure.value, OriginDenied):
            self.factory.origin_refused(self._read()[0].headers.get("origin"))
            self._refuse(403, "the origin is not allowed", reason=EndReason.ORIGIN_DENIED)
        elif isinstance(failure.value, ConnectionDeny):
            self._refuse(failure.value.code, "the connection is not allowed", reason=EndReason.DENIED)

    def _decision_broke(self, failure: Failure) -> None:
        """The origin policy or ``onConnect`` raised something else than ``ConnectionDeny``: our fault, and a
        closed door."""
        _log.failure("{id} decision failed", failure=failure, id=self.id)
        if self.phase is Phase.DECIDING:
            self._refuse(500, "internal error")
        else:
            self._fail_connection(1011, "internal error")

    def _cancel_decision(self) -> None:
        decision, self._decision = self._decision, None
        if decision is not None:
            decision.cancel()
        self._pending = b""
        self._head = None

    def onConnect(self, request: ConnectionRequest) -> Any:
        """Decide on the connection, whose origin is allowed; chooses the subprotocol.

        Override it to decide more, as a function or a coroutine.

        :returns: the subprotocol, or None; or a pair of it and a dictionary of header fields for the answer;
            or an awaitable of either
        :raises ConnectionDeny: to refuse, with an HTTP status
        """
        return self._choose_subprotocol(self.websocket_protocols)

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        """Answer the opening handshake with an HTTP status. ``reason``, in which Autobahn quotes the peer,
        stays out of the answer."""
        self._refuse(code, "the opening handshake failed", headers=tuple(responseHeaders or ()))

    def _refuse(
        self,
        status: int,
        detail: str,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        head_only: bool = False,
        reason: EndReason | None = None,
        more: str = "",
    ) -> None:
        """Answer with another HTTP status than 101. ``detail`` is a fixed sentence: it is the answer's
        body, with ``more`` below it."""
        if self.phase in (Phase.CONNECTING, Phase.DECIDING):
            self.wasNotCleanReason = detail
            answer = HttpAnswer(status, (*headers, *_PLAIN_TEXT), f"{detail}\n{more}".encode("ascii"))
            self._answer(answer, head_only=head_only, reason=reason)
            self.factory.handshake_refused(status, detail)

    def _answer(
        self, answer: HttpAnswer, *, head_only: bool = False, reason: EndReason | None = None
    ) -> None:
        """Write a complete HTTP answer and end the connection.

        :raises ValueError: when it cannot be sent; then nothing has changed
        """
        data = render(answer, head_only=head_only, server_name=self.factory.server or "")
        self._ends(reason or reason_for_status(answer.status), status=answer.status)
        self._advance(Event.ANSWERED)
        self._cancel_decision()
        self.link.write(data)
        self.dropConnection(abort=False)

    def onOpenHandshakeTimeout(self) -> None:
        self.openHandshakeTimeoutCall = None
        self.wasOpenHandshakeTimeout = True
        if self.phase is Phase.DECIDING:
            self._refuse(503, "the decision took too long")
        elif self._head is not None:
            self._refuse(408, "the opening handshake took too long")
        else:
            # Not one byte of HTTP, or TLS unfinished: there is nobody to answer.
            self._abort(EndReason.HANDSHAKE_TIMEOUT)

    def _frame(self, opcode: int, payload: bytes, rsv: int = 0) -> bytes:
        return unmasked_frame(opcode, payload, rsv)

    def sendPreparedMessage(self, preparedMsg: Any) -> None:
        """Send a message that was framed once for many receivers (``factory.prepareMessage``). For a peer
        whose send queue is full, see :meth:`sendMessage`.

        :raises Disconnected: when the connection is not open; Autobahn's own would write behind the Close
            frame
        """
        self.offer(preparedMsg, SlowConsumer.CLOSE)

    def offer(self, prepared: Any, policy: SlowConsumer) -> bool:
        """Send a prepared message, unless the peer does not read.

        :param policy: what happens when its send queue is full
        :returns: whether the message was taken
        :raises Disconnected: when the connection is not open
        """
        if self.lane is not None and self.lane.post(prepared.payloadHybi):
            return True
        if self.phase is not Phase.OPEN:
            raise Disconnected("the connection is not open")
        outbox = self.link.outbox
        if not outbox.has_room():
            if policy is SlowConsumer.CLOSE:
                self.close_slow()
                return False
            if policy is SlowConsumer.DROP_NEWEST or not outbox.make_room():
                outbox.dropped += 1
                return False
        frame, size = self._prepared_frame(prepared)
        outbox.write(frame, is_droppable=True)
        self._count_sent(prepared, frame, size)
        return True

    def insert(self, prepared: Any) -> None:
        """Send a prepared message whether the send queue is full or not: something that was promised, and of
        which whoever promised it bounds how much can wait. Nothing happens unless the connection is open.
        """
        if self.phase is not Phase.OPEN or (self.lane is not None and self.lane.post(prepared.payloadHybi)):
            return
        frame, size = self._prepared_frame(prepared)
        self.link.outbox.write(frame)
        self._count_sent(prepared, frame, size)

    def _prepared_frame(self, prepared: Any) -> tuple[bytes, int]:
        """The frame of a prepared message for this connection, and how large its payload is in it."""
        compress = self._perMessageCompress
        if compress is None or prepared.doNotCompress:
            frame: bytes = prepared.payloadHybi
        elif isinstance(prepared, Prepared) and compress.server_no_context_takeover:
            frame = prepared.compressed_frame(compress.server_max_window_bits)
        else:
            # Of Autobahn's, or for a peer with whom a program agreed on something of its own.
            compress.start_compress_message()
            compressed = compress.compress_message_data(prepared.payload) + compress.end_compress_message()
            frame = unmasked_frame(2 if prepared.binary else 1, compressed, rsv=4)
        # One that is not to be compressed keeps nothing but its frame.
        return frame, len(frame) - {126: 4, 127: 10}.get(frame[1], 2)

    def _count_sent(self, prepared: Any, frame: bytes, size: int) -> None:
        is_compressed = bool(frame[0] & 0x40)
        if self.factory.debug:
            payload = prepared.payload if is_compressed else frame[len(frame) - size :]
            log_message(self, "sent", payload, frame[0] & 0x0F == 2)
        stats = self.trafficStats
        stats.outgoingWebSocketFrames += 1
        stats.outgoingWebSocketMessages += 1
        stats.outgoingOctetsAppLevel += len(prepared.payload) if is_compressed else size
        stats.outgoingOctetsWebSocketLevel += size
        stats.outgoingOctetsWireLevel += len(frame)
