"""WebSocket: one peer, on the server's side or the client's, as QWebSocket shows it.

Rules of this file: it has Qt's members in snake_case, getters as properties, and the Python way on the same
object (``await socket.open(...)``, ``async for message in socket``, ``async with socket``). It talks to the
wire through a connection and is told by it as an ``IObserver``; it knows no frames and no transport. Nothing
a peer does raises into a slot's caller.

Messages go to the slots of ``text_message_received`` and ``binary_message_received``; where nobody is
connected to the signal of its kind, a message waits for ``async for``, and when ``read_buffer_size`` bytes
wait, reading pauses: the peer is held back by TCP, nothing is lost and nothing grows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from wsecho.dialing import dial, socket_error
from wsecho.policy.authenticators import Authenticator
from wsecho.policy.close_codes import cut_reason, may_be_sent
from wsecho.policy.end_reasons import EndReason
from wsecho.policy.enumerations import CloseCode, SocketError, SocketState
from wsecho.policy.settings import Settings
from wsecho.socket_members import HandshakeOptions, SocketMembers
from wsecho.wire.client import ClientPhase, ClientRequest, ConnectFailed, HttpProxy, connect
from wsecho.wire.observed import IObserver, ObservedClientProtocol

__all__ = ["WebSocket"]

_SECONDS_BETWEEN_LOOKS = 0.01
_MAX_PING = 125


@implementer(IObserver)
class WebSocket(SocketMembers):
    """A WebSocket (RFC 6455).

    :param origin: the Origin header that a client sends; empty sends none
    :param version: only ``Version.LATEST``, 13, is spoken
    :param reactor: Twisted's; the global one when None
    :param settings: limits and timers; wsecho's defaults when None
    :raises ValueError: for another version, or an origin with control characters
    """

    @classmethod
    def of_server(cls, connection: Any, reactor: Any, settings: Settings) -> WebSocket:
        """The server's side of an open connection."""
        request = connection.request
        scheme = "wss" if connection.link.is_secure else "ws"
        socket = cls(reactor=reactor, settings=settings)
        socket._is_server_side = True
        socket._origin = request.origin
        socket._request_url = f"{scheme}://{request.headers['host']}{connection.http_request_uri}"
        socket._options = HandshakeOptions(request.protocols)
        socket._request = request
        socket._connection = connection
        socket._state = SocketState.CONNECTED
        return socket

    # -- opening ---------------------------------------------------------------------------------------------

    def open(self, url: str | ClientRequest, options: HandshakeOptions | None = None) -> Deferred[WebSocket]:
        """Connect to a server. An open connection is aborted first.

        :param url: ``ws://`` or ``wss://``; or a whole request with headers of its own
        :param options: subprotocols to offer
        :returns: fires with this object when open, fails with ``ConnectFailed``. ``error_occurred`` is
            emitted first; when it has slots and nothing was added to the Deferred by then, the failure counts
            as handled
        :raises ValueError: for a URL, header or origin that cannot be sent
        """
        request = self._make_request(url, HandshakeOptions() if options is None else options)
        self.abort()
        self._request = request
        self._request_url = request.url
        self._options = HandshakeOptions(request.subprotocols)
        self._close_code, self._close_reason = int(CloseCode.NORMAL), ""
        self._error, self._error_string = SocketError.UNKNOWN_SOCKET_ERROR, ""
        self._end = None
        opened: Deferred[WebSocket] = Deferred(lambda _: self.abort())
        attempt = Deferred.fromCoroutine(self._dial(request))
        self._attempt = attempt
        attempt.addCallbacks(
            self._attempt_succeeded,
            self._attempt_failed,
            callbackArgs=(opened,),
            errbackArgs=(attempt, opened),
        )
        return opened

    def _make_request(self, url: str | ClientRequest, options: HandshakeOptions) -> ClientRequest:
        if isinstance(url, ClientRequest):
            offered = options.subprotocols or url.subprotocols
            return ClientRequest(
                url=url.url, headers=url.headers, origin=url.origin or self._origin, subprotocols=offered
            )
        if not isinstance(url, str):
            raise TypeError(f"url must be a str or a ClientRequest, not {type(url).__name__}")
        return ClientRequest(url=url, origin=self._origin, subprotocols=options.subprotocols)

    async def _dial(self, request: ClientRequest) -> None:
        self._connection = await dial(self._try, request, self._proxy, self)

    def _try(self, request: ClientRequest, proxy: HttpProxy | None) -> Deferred[Any]:
        return connect(
            self._reactor,
            request,
            service=self,
            settings=self._own_settings(),
            tls=self._ssl_configuration,
            proxy=proxy,
            mask=self._mask_generator,
            on_phase=self._phase_reached,
            protocol=ObservedClientProtocol,
        )

    def ask_user(self, authenticator: Authenticator) -> None:
        """The server answered 401."""
        self.authentication_required.emit(authenticator)

    def ask_proxy_user(self, proxy: HttpProxy, authenticator: Authenticator) -> None:
        """The proxy answered 407."""
        self.proxy_authentication_required.emit(proxy, authenticator)

    def _own_settings(self) -> Settings:
        return replace(self._settings, max_frame_size=self._max_frame, max_message_size=self._max_message)

    def _phase_reached(self, phase: ClientPhase) -> None:
        lookup = phase is ClientPhase.HOST_LOOKUP
        self._set_state(SocketState.HOST_LOOKUP if lookup else SocketState.CONNECTING)

    def _attempt_succeeded(self, _: None, opened: Deferred[WebSocket]) -> None:
        self._attempt = None
        opened.callback(self)

    def _attempt_failed(self, failure: Failure, attempt: Deferred[None], opened: Deferred[WebSocket]) -> None:
        # A later open() or abort() took the place of this attempt: its state is not ours to change.
        if self._attempt is attempt:
            self._attempt = None
            if isinstance(failure.value, ConnectFailed):
                self._fail(socket_error(failure.value.error), failure.value.text)
            else:
                self._fail(SocketError.OPERATION, "the attempt was given up")
            self._set_state(SocketState.UNCONNECTED)
            self._tell_end()
        opened.errback(failure)
        if self.error_occurred and not opened.callbacks:
            opened.addErrback(lambda _: self)

    def _fail(self, error: SocketError, text: str) -> None:
        self._error, self._error_string = error, text
        self.error_occurred.emit(error)

    # -- what the connection tells (IObserver) ---------------------------------------------------------------

    def opened(self, connection: Any) -> None:
        """The opening handshake is complete."""
        self._connection = connection
        connection.maxFramePayloadSize = self._max_frame
        connection.maxMessagePayloadSize = self._max_message
        self._sent_bytes = self._reported_bytes = 0
        self._inbox.start()
        self._set_state(SocketState.CONNECTED)
        self.connected.emit()

    def frame_arrived(self, connection: Any, payload: bytes, is_binary: bool, is_last: bool) -> None:
        """A data frame arrived."""
        if is_binary:
            self.binary_frame_received.emit(payload, is_last)
        elif self.text_frame_received:
            whole = self._partial_text + payload
            text = whole.decode("utf-8", "ignore") if is_last else _decode_whole_characters(whole)
            self._partial_text = b"" if is_last else whole[len(text.encode("utf-8")) :]
            self.text_frame_received.emit(text, is_last)

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        """A message arrived."""
        if self._early is not None:
            self._early.append((payload, is_binary))
        elif is_binary:
            self._deliver_binary(payload)
        else:
            self._deliver_text(payload.decode("utf-8"), len(payload))

    def _deliver_text(self, text: str, size: int) -> None:
        if self.text_message_received:
            self.text_message_received.emit(text)
        else:
            self._inbox.put(text, size)

    def _deliver_binary(self, payload: bytes) -> None:
        if self.binary_message_received:
            self.binary_message_received.emit(payload)
        else:
            self._inbox.put(payload, len(payload))

    def pong_arrived(self, connection: Any, payload: bytes) -> None:
        """A pong arrived."""
        sent = self._ping_at
        elapsed = -1 if sent is None else round((self._reactor.seconds() - sent) * 1000)
        self.pong.emit(elapsed, payload)

    def closed(self, connection: Any) -> None:
        """The closing handshake began, or the transport ended."""
        end = connection.end
        self._end = end
        self._close_code = int(CloseCode.ABNORMAL_DISCONNECTION)
        if end is not None and end.code is not None:
            self._close_code = end.code
        elif end is not None and end.reason is EndReason.PEER_CLOSE:
            self._close_code = int(CloseCode.MISSING_STATUS_CODE)
        reason = connection.remoteCloseReason
        if reason is None and connection.localCloseReason:
            reason = connection.localCloseReason.decode("utf-8")
        self._close_reason = reason or ""
        self._set_state(SocketState.CLOSING)
        self.about_to_close.emit()

    def ended(self, connection: Any) -> None:
        """The transport has ended."""
        if connection is not self._connection:
            return
        self._connection = None
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._is_held_by_program = False
        self._partial_text = b""
        self.read_channel_finished.emit()
        if self._end is not None and self._end.reason is EndReason.PEER_GONE:
            self._fail(SocketError.REMOTE_HOST_CLOSED, "the peer ended the connection without a Close frame")
        self._set_state(SocketState.UNCONNECTED)
        self._tell_end()

    def _tell_end(self) -> None:
        if not self._early:
            self._inbox.finish()
        self.disconnected.emit()
        waiters, self._end_waiters = self._end_waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def _set_state(self, state: SocketState) -> None:
        if state is not self._state:
            self._state = state
            self.state_changed.emit(state)

    # -- sending ---------------------------------------------------------------------------------------------

    def send_text_message(self, message: str) -> int:
        """Send a text message.

        :returns: bytes accepted, of its UTF-8; 0 when not connected
        :raises TypeError: when ``message`` is no str
        :raises ValueError: when it holds a surrogate, which UTF-8 cannot express
        """
        if not isinstance(message, str):
            raise TypeError(f"message must be a str, not {type(message).__name__}")
        try:
            payload = message.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("message holds a surrogate, which is no character") from None
        return self._send(payload, False)

    def send_binary_message(self, message: bytes | bytearray | memoryview) -> int:
        """Send a binary message.

        :returns: bytes accepted; 0 when not connected
        :raises TypeError: when ``message`` is not bytes-like
        """
        if not isinstance(message, bytes | bytearray | memoryview):
            raise TypeError(f"message must be bytes, not {type(message).__name__}")
        return self._send(bytes(message), True)

    def _send(self, payload: bytes, is_binary: bool) -> int:
        if self._state is not SocketState.CONNECTED:
            return 0
        self._connection.sendMessage(payload, is_binary, fragmentSize=self._outgoing_frame_size)
        self._sent_bytes += len(payload)
        if self.bytes_written and self._look is None:
            self._look = self._reactor.callLater(0, self._look_at_output)
        return len(payload)

    def _look_at_output(self) -> None:
        # The transport does not say what it has written, only how much waits.
        self._look = None
        written = max(0, self._sent_bytes - self.bytes_to_write - self._reported_bytes)
        if self.bytes_to_write:
            self._look = self._reactor.callLater(_SECONDS_BETWEEN_LOOKS, self._look_at_output)
        if written:
            self._reported_bytes += written
            self.bytes_written.emit(written)

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping; the answer comes as ``pong``. Nothing happens when not connected.

        :param payload: cut to 125 bytes (RFC 6455 section 5.5), as Qt does
        :raises TypeError: when ``payload`` is no bytes
        """
        if not isinstance(payload, bytes):
            raise TypeError(f"payload must be bytes, not {type(payload).__name__}")
        if self._state is SocketState.CONNECTED:
            self._ping_at = self._reactor.seconds()
            self._connection.sendPing(payload[:_MAX_PING])

    def flush(self) -> bool:
        """Whether nothing waits to be written: the reactor writes as soon as the kernel takes it."""
        return self.bytes_to_write == 0

    # -- closing ---------------------------------------------------------------------------------------------

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begin the closing handshake. Unlike Qt, which ends TCP at once, the peer's answer is waited for, up
        to the close timeout. Nothing happens when not connected; an attempt to connect is given up.

        :param code: a code that may be sent (RFC 6455 section 7.4)
        :param reason: cut to 123 bytes of UTF-8 without splitting a character
        :raises ValueError: for a code that must not be on the wire
        """
        if isinstance(code, bool) or not isinstance(code, int) or not may_be_sent(int(code)):
            raise ValueError(f"code {code!r} must not be sent; see RFC 6455 section 7.4")
        if not isinstance(reason, str):
            raise TypeError(f"reason must be a str, not {type(reason).__name__}")
        if self._state is SocketState.CONNECTED:
            self._connection.sendClose(int(code), cut_reason(reason).decode("utf-8"))
        elif self._attempt is not None:
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once; what waits to be written is lost."""
        if self._attempt is not None:
            self._attempt.cancel()
        if self._connection is not None:
            self._connection.dropConnection(abort=True)

    # -- reading ---------------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """Read nothing from the peer until :meth:`resume_reading`: TCP holds it back. Its leaving is not seen
        meanwhile."""
        self._is_held_by_program = True
        self._apply_holds()

    def resume_reading(self) -> None:
        """Read again."""
        self._is_held_by_program = False
        self._apply_holds()

    def _apply_holds(self) -> None:
        if self._connection is not None:
            if self._is_held_by_program or self._inbox.is_full or self._early is not None:
                self._connection.pause_reading()
            else:
                self._connection.resume_reading()

    def wait_to_be_taken(self) -> None:
        """Keep messages, and read nothing, until :meth:`taken`: a pending connection has no slots yet."""
        self._early = []
        self._apply_holds()

    def taken(self) -> None:
        """Somebody has this socket: what came early is delivered in the next turn, when slots are
        connected."""
        if self._early is not None:
            self._reactor.callLater(0, self._deliver_early)

    def _deliver_early(self) -> None:
        early, self._early = self._early, None
        for payload, is_binary in early or ():
            self.message_arrived(self._connection, payload, is_binary)
        self._apply_holds()
        if self._connection is None:
            self._inbox.finish()

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """The messages, text as ``str`` and binary as ``bytes``, until the connection ends."""
        return self._inbox.messages()

    async def __aenter__(self) -> WebSocket:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close, and wait for the end of the connection."""
        self.close()
        await self.when_disconnected()

    def when_disconnected(self) -> Deferred[None]:
        """Fires when the connection has ended; at once when there is none."""
        if self._state is SocketState.UNCONNECTED:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._end_waiters.append(waiter)
        return waiter


def _decode_whole_characters(data: bytes) -> str:
    """``data``, valid UTF-8 but for a character cut at its end, without that."""
    for cut in range(min(3, len(data)) + 1):
        try:
            return data[: len(data) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
    return ""
