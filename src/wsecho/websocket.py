"""WebSocket: one peer, on the server's side or the client's, as QWebSocket shows it.

Rules of this file: it has Qt's members in snake_case, getters as properties, and the Python way on the same
object (``await socket.open(...)``, ``async for message in socket``, ``async with socket``). It talks to the
wire through a connection and is told by it as an ``IObserver``; it knows no frames and no transport. Nothing
a peer does raises into a slot's caller.

Messages go to the slots of the message signals. While nobody is connected to any of these, nor to the frame
signals, messages wait for ``async for``; when ``read_buffer_size`` bytes wait, reading pauses: the peer is
held back by TCP, nothing is lost and nothing grows. A program that goes by signals gets the kinds it listens
to, and the others are dropped, as in Qt.

A slot may do anything, ``open`` included: whatever is told of a connection is told after the socket's own
state is right, and nothing more is told of a connection that another one has replaced.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsecho.dialing import Attempt, dial, socket_error
from wsecho.policy.authenticators import Authenticator
from wsecho.policy.close_codes import cut_reason, may_be_sent
from wsecho.policy.end_reasons import EndReason
from wsecho.policy.enumerations import CloseCode, SocketError, SocketState
from wsecho.policy.settings import Settings
from wsecho.policy.text import escape_peer_text
from wsecho.socket_members import HandshakeOptions, SocketMembers
from wsecho.tls.client import ClientTls
from wsecho.tls.verification import VerifyError
from wsecho.tls_events import SocketTlsEvents
from wsecho.waiting import told_by_signal
from wsecho.wire.client import ClientPhase, ClientRequest, ConnectError, ConnectFailed, HttpProxy, connect
from wsecho.wire.observed import IObserver, ObservedClientProtocol
from wsecho.wire.request import is_token

__all__ = ["WebSocket"]

_log = Logger("wsecho")
_SECONDS_BETWEEN_LOOKS = 0.01
_MAX_PING = 125

_ERRORS_OF_ENDS = {
    EndReason.PEER_GONE: (
        SocketError.REMOTE_HOST_CLOSED,
        "the peer ended the connection without a Close frame",
    ),
    EndReason.STALLED: (SocketError.SOCKET_TIMEOUT, "the peer was silent inside a message for too long"),
    EndReason.PING_TIMEOUT: (SocketError.SOCKET_TIMEOUT, "the peer did not answer a ping in time"),
}


@implementer(IObserver)
class WebSocket(SocketMembers):
    """A WebSocket (RFC 6455).

    :param origin: the Origin header that a client sends; empty sends none
    :param version: only ``Version.LATEST``, 13, is spoken
    :param reactor: Twisted's; the global one when None
    :param settings: limits and timers; wsecho's defaults when None
    :raises ValueError: for another version, or an origin that is not printable ASCII
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
        socket._resource_name = connection.http_request_uri
        socket._options = HandshakeOptions(request.protocols)
        socket._request = request
        socket._connection = connection
        socket._meet(connection)
        socket._state = SocketState.CONNECTED
        socket._inbox.start()
        return socket

    # -- opening ---------------------------------------------------------------------------------------------

    def open(self, url: str | ClientRequest, options: HandshakeOptions | None = None) -> Deferred[WebSocket]:
        """Connect to a server. A connection that is there already is aborted first and, as in Qt, no signal
        tells of its end.

        :param url: ``ws://`` or ``wss://``, with user and password for a server that asks; or a whole request
            with headers of its own
        :param options: subprotocols to offer, before those of the request
        :returns: fires with this object when open, fails with ``ConnectFailed``. ``error_occurred`` is
            emitted first; when that has slots, and nobody has asked the Deferred within a turn of the
            reactor, the failure counts as handled
        :raises TypeError: for what is no URL, request or options
        :raises ValueError: for a URL, header or origin that cannot be sent
        :raises RuntimeError: on the server's side of a connection
        """
        if self._is_server_side:
            raise RuntimeError("the server's side of a connection cannot be opened again")
        request = self._make_request(url, HandshakeOptions() if options is None else options)
        self._drop_silently()
        self._request = request
        self._request_url, self._resource_name = request.url, request.resource
        self._options = HandshakeOptions(request.offered)
        self._close_code, self._close_reason = int(CloseCode.NORMAL), ""
        self._error, self._error_string = SocketError.UNKNOWN_SOCKET_ERROR, ""
        self._end = None
        self._part()
        self._inbox.start()
        opened: Deferred[WebSocket] = Deferred(lambda _: self.abort())
        attempt = self._attempt = Attempt()
        self._openings += 1
        dialing = attempt.run(dial(partial(self._try, attempt), request, self._proxy, self))
        dialing.addCallbacks(
            self._attempt_succeeded,
            self._attempt_failed,
            callbackArgs=(opened,),
            errbackArgs=(attempt, opened),
        )
        return opened

    def _make_request(self, url: str | ClientRequest, options: HandshakeOptions) -> ClientRequest:
        if not isinstance(url, str | ClientRequest):
            raise TypeError(f"url must be a str or a ClientRequest, not {type(url).__name__}")
        if not isinstance(options, HandshakeOptions):
            raise TypeError(f"options must be HandshakeOptions, not {type(options).__name__}")
        given = ClientRequest(url=url) if isinstance(url, str) else url
        try:
            Authenticator(user=given.user, password=given.password)
        except ValueError as error:
            raise ValueError(f"url: {error}") from None
        for name in options.subprotocols:
            if not is_token(name):
                _log.warn('subprotocol "{name}" is no token: not offered', name=escape_peer_text(name))
        wanted = filter(is_token, (*options.subprotocols, *given.subprotocols))
        return replace(given, origin=given.origin or self._origin, subprotocols=tuple(dict.fromkeys(wanted)))

    def _drop_silently(self) -> None:
        attempt, self._attempt = self._attempt, None
        connection, self._connection = self._connection, None
        if connection is not None:
            self._forget()
            connection.dropConnection(abort=True)
            self._wake_senders()
            self._end_bell.ring()
        if attempt is not None:
            attempt.cancel()

    def _try(self, attempt: Attempt, request: ClientRequest, proxy: HttpProxy | None) -> Deferred[Any]:
        return connect(
            self._reactor,
            request,
            service=self,
            settings=self._own_settings(),
            tls=self._make_tls(request.host) if request.is_secure else None,
            proxy=proxy,
            mask=self._mask_generator,
            on_phase=partial(self._phase_reached, attempt),
            protocol=ObservedClientProtocol,
        )

    def _make_tls(self, host: str) -> IOpenSSLClientConnectionCreator:
        configuration = self._ssl_configuration
        if configuration is None or (self._ignores_ssl_errors and not isinstance(configuration, ClientTls)):
            configuration = ClientTls()
        if not isinstance(configuration, ClientTls):
            creator: IOpenSSLClientConnectionCreator = configuration
            return creator
        self._forget_tls()
        events = self._tls_events = SocketTlsEvents(self, self._is_ignored)
        try:
            return configuration.creator(host, events)
        except ValueError as error:
            # A file that cannot be used, or a name that no certificate can have.
            raise ConnectFailed(ConnectError.TLS, f"{host}: {error}") from None

    def _is_ignored(self, error: VerifyError) -> bool:
        ignored = self._ignored_ssl_errors
        return self._ignores_ssl_errors or error in ignored or error.code in ignored

    def _forget_tls(self) -> None:
        events, self._tls_events = self._tls_events, None
        if events is not None:
            events.forget()

    def ask_user(self, authenticator: Authenticator) -> Deferred[bool]:
        """The server answered 401."""
        return self.authentication_required.ask(authenticator)

    def ask_proxy_user(self, proxy: HttpProxy, authenticator: Authenticator) -> Deferred[bool]:
        """The proxy answered 407."""
        return self.proxy_authentication_required.ask(proxy, authenticator)

    def _own_settings(self) -> Settings:
        return replace(self._settings, max_frame_size=self._max_frame, max_message_size=self._max_message)

    def _phase_reached(self, attempt: Attempt, phase: ClientPhase) -> None:
        if self._attempt is attempt:
            lookup = phase is ClientPhase.HOST_LOOKUP
            self._set_state(SocketState.HOST_LOOKUP if lookup else SocketState.CONNECTING)

    def _attempt_succeeded(self, _: object, opened: Deferred[WebSocket]) -> None:
        self._attempt = None
        opened.callback(self)

    def _attempt_failed(self, failure: Failure, attempt: Attempt, opened: Deferred[WebSocket]) -> None:
        # Given up by open() or abort(), it was told already.
        is_told = self._attempt is not attempt
        if not is_told:
            self._forget_tls()
            self._attempt = None
            if isinstance(failure.value, ConnectFailed):
                self._tell_end(socket_error(failure.value.error), failure.value.text)
            else:
                _log.failure("connecting failed", failure)
                self._tell_end(SocketError.OPERATION, "internal error")
        opened.errback(failure)
        if is_told or self.error_occurred:
            told_by_signal(self._reactor, opened, self)

    # -- what the connection tells (IObserver) ---------------------------------------------------------------

    def opened(self, connection: Any) -> None:
        """The opening handshake is complete."""
        self._connection = connection
        self._meet(connection)
        connection.maxFramePayloadSize = self._max_frame
        connection.maxMessagePayloadSize = self._max_message
        self._apply_holds()
        self._set_state(SocketState.CONNECTED)
        if self._state is SocketState.CONNECTED:
            self.connected.emit()

    def frame_arrived(self, connection: Any, payload: bytes, is_binary: bool, is_last: bool) -> None:
        """A data frame arrived."""
        if is_binary:
            self.binary_frame_received.emit(payload, is_last)
        elif self.text_frame_received:
            self.text_frame_received.emit(self._frame_decoder.decode(payload, is_last), is_last)

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        """A message arrived."""
        message = payload if is_binary else payload.decode("utf-8")
        if self._keeps_messages or not self._goes_by_signals():
            self._inbox.put(message, len(payload))
            self._apply_holds()
        else:
            self._deliver(message)

    def _goes_by_signals(self) -> bool:
        return bool(
            self.text_message_received
            or self.binary_message_received
            or self.text_frame_received
            or self.binary_frame_received
        )

    def _deliver(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.text_message_received.emit(message)
        else:
            self.binary_message_received.emit(message)

    def pong_arrived(self, connection: Any, payload: bytes) -> None:
        """A pong arrived."""
        sent = self._ping_at
        elapsed = -1 if sent is None else round((self._reactor.seconds() - sent) * 1000)
        self.pong.emit(elapsed, payload)

    def closed(self, connection: Any) -> None:
        """The closing handshake began, or the transport ended."""
        if connection is not self._connection:
            return
        self._deliver_kept()
        end = connection.end
        self._end = end
        if end.code is not None:
            self._close_code = end.code
        elif end.reason is EndReason.PEER_CLOSE:
            self._close_code = int(CloseCode.MISSING_STATUS_CODE)
        else:
            self._close_code = int(CloseCode.ABNORMAL_DISCONNECTION)
        reason = connection.remoteCloseReason
        if reason is None and connection.localCloseReason:
            reason = connection.localCloseReason.decode("utf-8")
        self._close_reason = reason or ""
        self._set_state(SocketState.CLOSING)
        self.about_to_close.emit()
        self._wake_senders()

    def ended(self, connection: Any) -> None:
        """The transport has ended."""
        if connection is not self._connection:
            return
        self._connection = None
        self._forget()
        error = None if self._end is None else _ERRORS_OF_ENDS.get(self._end.reason)
        if error is None:
            self._tell_end()
        else:
            self._tell_end(*error)

    def _forget(self) -> None:
        """Nothing of one connection may leak into the next."""
        self._forget_tls()
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._is_held_by_program = False
        self._frame_decoder.reset()
        self._ping_at = None
        self._sent_bytes = self._reported_bytes = 0

    def _tell_end(self, error: SocketError | None = None, text: str = "") -> None:
        was_connected = self._end is not None
        self._state = SocketState.UNCONNECTED
        self._inbox.finish()
        steps: list[Callable[[], None]] = []
        if error is not None:
            self._error, self._error_string = error, text
            steps.append(partial(self.error_occurred.emit, error))
        steps.append(partial(self.state_changed.emit, self._state))
        if was_connected:
            steps.append(self.read_channel_finished.emit)
        steps.append(self.disconnected.emit)
        opening = self._openings
        for step in steps:
            step()
            if self._openings != opening:
                break
        else:
            self._part()
        left, self._left = self._left, None
        if left is not None:
            left()
        self._end_bell.ring()

    def _set_state(self, state: SocketState) -> None:
        if state is not self._state:
            self._state = state
            self.state_changed.emit(state)

    # -- sending ---------------------------------------------------------------------------------------------

    def send_text_message(self, message: str) -> int:
        """Send a text message.

        :returns: bytes accepted, of its UTF-8; 0 when not connected, and when ``Settings.send_queue`` is
            full: the connection is closed with 1013 then. :meth:`drained` waits
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

        :returns: bytes accepted; 0 when not connected, and when ``Settings.send_queue`` is full: the
            connection is closed with 1013 then. :meth:`drained` waits
        :raises TypeError: when ``message`` is not bytes-like
        """
        if not isinstance(message, bytes | bytearray | memoryview):
            raise TypeError(f"message must be bytes, not {type(message).__name__}")
        return self._send(bytes(message), True)

    def _send(self, payload: bytes, is_binary: bool) -> int:
        if self._state is not SocketState.CONNECTED:
            return 0
        if not self._connection.link.outbox.has_room():
            self._connection.close_slow()
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

    def drained(self) -> Deferred[bool]:
        """Wait until the peer has read enough to be sent more.

        :returns: fires with True when half of ``Settings.send_queue`` or less waits, at once when it is not
            full; with False when nothing can be sent on this connection any more
        """
        return Deferred.fromCoroutine(self._until_drained(self._connection))

    async def _until_drained(self, connection: Any) -> bool:
        while self._connection is connection and self._state is SocketState.CONNECTED:
            if not connection.is_output_full:
                return True
            if not self._is_low_awaited:
                self._is_low_awaited = True
                connection.link.outbox.call_when_low(self._wake_senders)
            # Of many who wait, the first to be woken may fill it again.
            await self._low_bell.wait()
        return False

    def _wake_senders(self) -> None:
        self._is_low_awaited = False
        self._low_bell.ring()

    def flush(self) -> bool:
        """Whether nothing waits to be written: the reactor writes as soon as the kernel takes it."""
        return self.bytes_to_write == 0

    # -- closing ---------------------------------------------------------------------------------------------

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begin the closing handshake. Unlike Qt, which ends TCP at once, the peer's answer is waited for, up
        to the close timeout. Nothing happens when not connected; an attempt to connect is given up.

        :param code: a code that may be sent (RFC 6455 section 7.4); 1010 only by a client
        :param reason: cut to 123 bytes of UTF-8 without splitting a character
        :raises ValueError: for a code that must not be on the wire
        """
        if isinstance(code, bool) or not isinstance(code, int):
            raise TypeError(f"code must be an int, not {type(code).__name__}")
        if not isinstance(reason, str):
            raise TypeError(f"reason must be a str, not {type(reason).__name__}")
        is_for_clients = code == CloseCode.MISSING_EXTENSION and not self._is_server_side
        if not may_be_sent(code) and not is_for_clients:
            raise ValueError(f"code {int(code)} must not be sent; see RFC 6455 section 7.4")
        if self._state is SocketState.CONNECTED:
            self._connection.sendClose(int(code), cut_reason(reason).decode("utf-8"))
        elif self._connection is None:
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once, or give up the attempt to connect; what waits to be written is
        lost."""
        self._forget_tls()
        attempt, self._attempt = self._attempt, None
        if self._connection is not None:
            self._connection.dropConnection(abort=True)
        elif attempt is not None:
            self._tell_end()
        if attempt is not None:
            attempt.cancel()

    # -- reading ---------------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """Read nothing from the peer until :meth:`resume_reading`, or the end of the connection: TCP holds it
        back. Its leaving is not seen meanwhile. Called before :meth:`open`, it holds from the first byte."""
        self._is_held_by_program = True
        self._apply_holds()

    def resume_reading(self) -> None:
        """Read again."""
        self._is_held_by_program = False
        self._apply_holds()

    def _apply_holds(self) -> None:
        # A connection that is closing must be read: the peer's Close has to be seen.
        if self._connection is not None and self._state is not SocketState.CLOSING:
            if self._is_held_by_program or self._inbox.is_full:
                self._connection.pause_reading()
            else:
                self._connection.resume_reading()

    def wait_to_be_taken(self, left: Callable[[], object]) -> None:
        """Keep messages: a pending connection has no slots yet.

        :param left: called when the connection ends before it is taken
        """
        self._keeps_messages = True
        self._left = left

    def taken(self) -> None:
        """Somebody has this socket: what came early is delivered in the next turn, when slots are
        connected."""
        self._left = None
        if len(self._inbox):
            self._reactor.callLater(0, self._deliver_kept)
        else:
            self._keeps_messages = False

    def _deliver_kept(self) -> None:
        if self._keeps_messages and self._left is None:
            self._keeps_messages = False
            while self._goes_by_signals() and (message := self._inbox.take()) is not None:
                self._deliver(message)
            self._apply_holds()

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """The messages, text as ``str`` and binary as ``bytes``, until the connection ends. ``await
        anext(socket)`` gives one."""
        return self

    async def __anext__(self) -> str | bytes:
        message = await self._inbox.next()
        self._apply_holds()
        if message is None:
            raise StopAsyncIteration
        return message

    async def __aenter__(self) -> WebSocket:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close, and wait for the end of the connection."""
        self.close()
        await self.when_disconnected()

    def when_disconnected(self) -> Deferred[None]:
        """Fires when the connection has ended; at once when there is none."""
        if self._connection is None and self._attempt is None:
            return succeed(None)
        return self._end_bell.wait()

    # -- TLS -------------------------------------------------------------------------------------------------

    def ignore_ssl_errors(self, errors: Iterable[Any] | None = None) -> None:
        """Go on in spite of what is wrong with the server's certificate, at this handshake and later ones.
        The connection is then encrypted, but with whom is not known. An ``IOpenSSLClientConnectionCreator``
        in ``ssl_configuration`` tells of no errors: it is not used when all are to be ignored.

        :param errors: these only, in place of those named before: a ``VerifyError`` that ``ssl_errors`` told,
            for that one certificate, or a ``VerifyCode`` for any; None for all that there is
        :raises TypeError: for something else
        """
        if errors is None:
            self._ignores_ssl_errors = True
            return
        named = frozenset(errors)
        for one in named:
            if not isinstance(one, VerifyError | int):
                raise TypeError(f"errors must be VerifyError or VerifyCode, not {type(one).__name__}")
        self._ignored_ssl_errors = named

    def continue_interrupted_handshake(self) -> None:
        """Go on with a TLS handshake, in spite of the error that ``handshake_interrupted_on_error`` told of.

        :raises RuntimeError: when no handshake is interrupted: it is only while that signal's slots run
        """
        if self._tls_events is None or not self._tls_events.go_on():
            raise RuntimeError("no handshake is interrupted")

    def resume(self) -> None:
        """Go on with a connection that ``pause_mode`` has stopped; see :meth:`resume_reading` for flow
        control.

        :raises RuntimeError: when it is not stopped, which is always so yet: see ``pause_mode``
        """
        raise RuntimeError("nothing is paused by pause_mode; resume_reading ends pause_reading")
