"""The client's side of one connection: how it opens, and what a client does otherwise than a server.

Rules of this file: what is asked stands in a `ClientRequest`; what came is checked in
:mod:`wsecho.wire.response`. What both sides do with messages is :mod:`wsecho.wire.messages`; how a connection
closes and ends is :mod:`wsecho.wire.connection`. It does not know how its transport came to be.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)
from autobahn.websocket.types import ConnectionResponse
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsecho.policy.close_codes import CLOSE_CODES, Sender, may_be_sent
from wsecho.policy.end_reasons import EndReason
from wsecho.policy.lifecycle import Event, Phase
from wsecho.policy.settings import Settings
from wsecho.policy.text import escape_peer_text
from wsecho.wire.beneath import AutobahnClientFactory, AutobahnClientProtocol, ReactorTimer
from wsecho.wire.connection import next_id
from wsecho.wire.failures import ConnectError, ConnectFailed, connection_lost, is_tls_failure
from wsecho.wire.interfaces import IService
from wsecho.wire.masking import MaskSource, masked_frame, random_mask
from wsecho.wire.messages import Messages
from wsecho.wire.options import common_options
from wsecho.wire.request import ClientRequest, render_request
from wsecho.wire.response import BadResponse, ResponseHead, ResponseReader, check_response
from wsecho.wire.turns import Turns

__all__ = ["ClientFactory", "ClientProtocol", "response_reader"]

_log = Logger("wsecho")
_offer: Any = PerMessageDeflateOffer
_accept: Any = PerMessageDeflateResponseAccept
_CLIENT_CODES = frozenset(row.first for row in CLOSE_CODES if row.sender is Sender.CLIENT)


def response_reader(settings: Settings) -> ResponseReader:
    """A reader with the limits that the settings have for heads."""
    return ResponseReader(
        max_size=settings.max_head_size, max_line=settings.max_head_line, max_lines=settings.max_head_lines
    )


class ClientProtocol(Messages, AutobahnClientProtocol):  # type: ignore[misc]
    """One connection to a server.

    Subclass it as you would Autobahn's class: ``onConnect``, ``onOpen``, ``onMessage``, ``onClose``,
    ``sendMessage``, ``sendClose`` keep their meaning, but

    - ``onConnect`` decides at once: an exception ends the attempt, a Deferred is not waited for;
    - messages that arrive after Close was sent are discarded;
    - ``sendClose`` takes every code that may be sent (RFC 6455 section 7.4), 1001, 1010 and 1013 among them;
    - a message is sent whole, or in fragments by ``sendMessage``: there is no ``beginMessage``.

    :ivar request: what was asked
    :ivar response_headers: the header fields of the 101 answer, by lower-case name; empty before it. The
        server's text, not escaped
    :ivar failure: why the connection did not open; None while it may, and when it did
    """

    factory: ClientFactory
    own_close = EndReason.CLIENT_CLOSE
    # A server that holds us back and is held back by us waits for ever.
    holds_back = False
    websocket_protocol_in_use: str | None = None
    websocket_extensions_in_use: tuple[Any, ...] = ()
    response_headers: Mapping[str, str] = MappingProxyType({})
    failure: ConnectFailed | None = None

    @property
    def request(self) -> ClientRequest:
        return self.factory.request

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server chose; None when it chose none."""
        return self.websocket_protocol_in_use

    # -- the opening handshake -------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self.service = self.factory.service
        self._reader = response_reader(self.factory.settings)
        self._described_path = escape_peer_text(self.request.resource.partition("?")[0])
        self._described_origin = escape_peer_text(self.request.origin) or None
        super().connectionMade()

    def _connectionMade(self) -> None:
        super()._connectionMade()
        self.startHandshake()

    def startHandshake(self) -> None:
        self._key = base64.b64encode(os.urandom(16)).decode("ascii")
        self.websocket_key = self._key.encode("ascii")
        extensions = ",".join(offer.get_extension_string() for offer in self.perMessageCompressionOffers)
        self.sendData(render_request(self.request, key=self._key, extensions=extensions))

    def _feed_head(self, data: bytes) -> None:
        try:
            complete = self._reader.feed(data)
            if complete is None:
                return
            head, rest = complete
            if head.status != 101:
                self._refused(head)
                return
            agreement = check_response(
                head,
                key=self._key,
                offered=self.request.offered,
                offers_compression=bool(self.perMessageCompressionOffers),
            )
        except BadResponse as bad:
            self.failHandshake(str(bad))
            return
        self.response_headers = head.headers
        self._advance(Event.HEAD_ACCEPTED)
        self.data = agreement.render()
        self.processHandshake()
        if rest and self.phase in (Phase.OPEN, Phase.CLOSING):
            self.take_input(rest)

    def _refused(self, head: ResponseHead) -> None:
        text = f"{self.request.authority}: the server answered {head.shown}"
        failure = ConnectFailed(ConnectError.HTTP_STATUS, text, status=head.status, headers=head.headers)
        self.reject(failure, EndReason.REFUSED)

    def failHandshake(self, reason: str) -> None:
        """The answer is not one to our request."""
        text = f"{self.request.authority}: {escape_peer_text(reason)}"
        self.reject(ConnectFailed(ConnectError.BAD_RESPONSE, text), EndReason.BAD_RESPONSE)

    def reject(self, failure: ConnectFailed, why: EndReason) -> None:
        """End the connection before it is open; ``failure`` is what the attempt to connect learns. Does
        nothing afterwards."""
        if self.phase in (Phase.CONNECTING, Phase.DECIDING):
            self.failure = failure
            self.wasNotCleanReason = failure.text
            self._ends(why, status=failure.status)
            self._abort(why)

    def _cancel_decision(self) -> None:
        """A client decides at once."""

    def _onConnect(self, response: Any) -> None:
        answer: Any = ConnectionResponse
        try:
            self.onConnect(
                answer(
                    self.peer,
                    self.response_headers,
                    13,  # Autobahn has the number of the last draft here
                    self.websocket_protocol_in_use,
                    self.websocket_extensions_in_use,
                )
            )
        except Exception:
            _log.failure("{id} onConnect failed", id=self.id)
            text = f"{self.request.authority}: the program refused the connection in onConnect"
            self.reject(ConnectFailed(ConnectError.CANCELLED, text), EndReason.ABORTED)

    def _onOpen(self) -> None:
        super()._onOpen()
        if self._opened_at is not None:
            self.factory.opened(self)

    # -- frames ----------------------------------------------------------------------------------------------

    def sendFrame(
        self, opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0, sync: bool = False
    ) -> None:
        """Send a frame, masked; see :mod:`wsecho.wire.masking`. Autobahn's parameters for sending illegal
        frames are not there."""
        if opcode < 8:
            self.trafficStats.outgoingWebSocketFrames += 1
        self.sendData(masked_frame(opcode, payload, self.factory.masks.next_key(), fin=fin, rsv=rsv), sync)

    def _frame(self, opcode: int, payload: bytes, rsv: int = 0) -> bytes:
        return masked_frame(opcode, payload, self.factory.masks.next_key(), rsv=rsv)

    def sendPreparedMessage(self, preparedMsg: Any) -> None:
        """Send a prepared message. Its frame is not used: each frame of a client has a mask of its own.

        :raises Disconnected: when the connection is not open
        """
        self.sendMessage(preparedMsg.payload, preparedMsg.binary)

    def beginMessage(self, isBinary: bool = False, doNotCompress: bool = False) -> None:
        raise NotImplementedError("a client sends whole messages: sendMessage(payload, fragmentSize=...)")

    # -- the end ---------------------------------------------------------------------------------------------

    def _may_send(self, code: int) -> bool:
        return may_be_sent(code) or code in _CLIENT_CODES

    def _end_after_close(self) -> None:
        self._mark_dropped()
        self.link.await_peer(self.factory.settings.close_timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._opened_at is None and self.failure is None:
            handle = None
            if is_tls_failure(reason):
                self._ends(EndReason.TLS_FAILED)
                handle = self.link.getHandle()
            self.failure = connection_lost(reason, self.request.authority, handle)
        super().connectionLost(reason)
        # Autobahn's protocols live until the garbage collector comes; their service must not.
        self.service = None


class ClientFactory(AutobahnClientFactory):  # type: ignore[misc]
    """What one attempt to connect hands to its connection.

    :param request: what is asked
    :param reactor: ``IReactorTime``
    :param service: what happens to messages; None when a subclass of the protocol does that
    :param settings: limits and timers; wsecho's defaults when None
    :param mask: gives the 32-bit mask of each frame; None for one that cannot be predicted
    :param protocol: the connection's class
    :param on_made: called with the connection when it has a transport
    :param on_open: called when the opening handshake is complete, after the service's ``opened``
    :param on_failed: called instead, when the transport has ended before that
    """

    noisy = False
    debug = False
    """Whether every message is logged, escaped and shortened."""

    def __init__(
        self,
        request: ClientRequest,
        *,
        reactor: Any,
        service: IService | None = None,
        settings: Settings | None = None,
        mask: Callable[[], int] | None = None,
        protocol: type[ClientProtocol] = ClientProtocol,
        on_made: Callable[[Any], None] | None = None,
        on_open: Callable[[Any], None] | None = None,
        on_failed: Callable[[ConnectFailed], None] | None = None,
    ) -> None:
        self.settings = Settings() if settings is None else settings
        self.request = request
        super().__init__(
            url="wss://localhost" if request.is_secure else "ws://localhost",
            protocols=list(request.offered),
            useragent=None,
            reactor=reactor,
        )
        self.protocol = protocol
        self.service = service
        self.masks = MaskSource(random_mask if mask is None else mask)
        self.timer = ReactorTimer(self.reactor)
        self._batched_timer = self.timer
        self.turns = Turns(self.reactor)
        self._on_made = on_made
        self._on_open = on_open
        self._on_failed = on_failed

    # -- Autobahn's options ----------------------------------------------------------------------------------

    def resetProtocolOptions(self) -> None:
        """Set every option of Autobahn, from :class:`wsecho.policy.settings.Settings` or with the reason
        beside it."""
        super().resetProtocolOptions()
        for name, value in self._options().items():
            setattr(self, name, value)

    def _options(self) -> Mapping[str, Any]:
        settings = self.settings
        return {
            **common_options(settings),
            "version": self.protocol.DEFAULT_SPEC_VERSION,  # RFC 6455, Sec-WebSocket-Version 13
            "acceptMaskedServerFrames": False,  # section 5.1
            "maskClientFrames": True,  # section 5.1
            "serverConnectionDropTimeout": 0,  # the link keeps this time: Connection._end_after_close
            "openHandshakeTimeout": 0,  # connect() bounds the whole attempt, look-up and TLS included
            "perMessageCompressionOffers": [_offer()] if settings.compression == "deflate" else [],
            "perMessageCompressionAccept": self._accept_compression,
        }

    @staticmethod
    def _accept_compression(response: PerMessageDeflateResponse) -> Any:
        return _accept(response)

    # -- the connection --------------------------------------------------------------------------------------

    def next_id(self) -> int:
        """A number for a connection; see :func:`wsecho.wire.connection.next_id`."""
        return next_id()

    def connection_made(self, connection: ClientProtocol) -> None:
        """There is a transport; the request is on its way."""
        if self._on_made is not None:
            self._on_made(connection)

    def connection_opened(self, connection: ClientProtocol) -> None:
        """The opening handshake is complete; the service does not know yet."""

    def opened(self, connection: ClientProtocol) -> None:
        """The service knows."""
        if self._on_open is not None:
            self._on_open(connection)

    def connection_closing(self, connection: ClientProtocol) -> None:
        """The connection carries no more messages."""

    def connection_lost(self, connection: ClientProtocol) -> None:
        """The transport has ended."""
        on_failed = self._on_failed
        self.forget()
        if on_failed is not None and connection.failure is not None:
            on_failed(connection.failure)

    def forget(self) -> None:
        """Let go of the program: there is nothing more to tell."""
        self.service = self._on_made = self._on_open = self._on_failed = None
