"""WebSocketServer: listens, upgrades, and hands out connections, as QWebSocketServer does.

Rules of this file: what a server does stands here, what is known and set of it in
:mod:`wsecho.server_members`. What takes time returns a Deferred. It owns the factory and the ports, and knows
no frames. With no slot on ``origin_authentication_required`` every origin is accepted, as in Qt; the ready
factories and the command line keep the same origin.

A listening server is kept alive by the reactor, not by the name it has in a program: ``close`` ends it, and
so does leaving ``async with``. (In Qt, where the object owns the sockets, deleting it closes them.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from errno import ECONNABORTED
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from wsecho.policy.authenticators import CorsAuthenticator
from wsecho.policy.enumerations import CloseCode, SocketError, SslMode
from wsecho.policy.origins import OriginRequest
from wsecho.policy.settings import Settings
from wsecho.server_members import ServerMembers, header_text
from wsecho.tls.certificates import CertificateError
from wsecho.tls.configuration import TlsConfiguration
from wsecho.tls.contexts import ConfiguredCreator, ServerConnectionCreator
from wsecho.tls_events import ServerTlsEvents
from wsecho.waiting import Bell, told_by_signal
from wsecho.websocket import WebSocket
from wsecho.wire.accepting import watch_accepts
from wsecho.wire.admission import HeadRefused
from wsecho.wire.binding import ANY, CannotBind, adopt, bind, places
from wsecho.wire.drain import check_drain
from wsecho.wire.factory import ServerFactory
from wsecho.wire.interfaces import IService
from wsecho.wire.observed import IObserver, ObservedServerProtocol
from wsecho.wire.protocol import ServerProtocol

__all__ = ["ListenError", "WebSocketServer"]

# The statuses of refusals that Qt does not tell of: what we cannot do, and peers that take too long. Of too
# many connections it is told where they are counted.
_UNTOLD = frozenset({408, 429, 500, 503})

_TRY_AGAIN_LATER = 1013


class ListenError(Exception):
    """The server cannot listen; one line."""


class _Factory(ServerFactory):
    """The server's factory: it also counts pending connections and reports refusals."""

    def __init__(self, server: WebSocketServer, **options: Any) -> None:
        self._server = server
        super().__init__(**options)

    def logPrefix(self) -> str:
        return "WebSocketServer"

    def check_room(self, connection: ServerProtocol) -> None:
        # In this order: who is refused for the pending ones is not counted.
        self._server._check_room()
        try:
            super().check_room(connection)
        except HeadRefused:
            self._server._set_error(CloseCode.ABNORMAL_DISCONNECTION, "Too many connections.")
            raise

    def handshake_refused(self, status: int, detail: str) -> None:
        self._server._refused(status, detail)

    def origin_refused(self, origin: str | None) -> None:
        # The hint in the log names an option of the command line, which does not ask the signal's slots.
        if self.origins != self._server._ask_origin:
            super().origin_refused(origin)

    def open_again(self) -> None:
        """Accept connections after a shutdown."""
        self._is_shutting_down = False


@implementer(IObserver)
class _Intake:
    """The service of connections that are decided on: makes a ``WebSocket`` of each that opens, which then
    takes its place."""

    def __init__(self, server: WebSocketServer) -> None:
        self._server = server

    def opened(self, connection: Any) -> None:
        self._server._arrived(connection)

    def _never(self, connection: Any, *details: Any) -> None:
        raise NotImplementedError("the WebSocket is told of this")

    message_arrived = frame_arrived = pong_arrived = closed = _never

    def ended(self, connection: Any) -> None:
        """The connection was refused: there is no ``WebSocket`` to tell."""


class WebSocketServer(ServerMembers):
    """A WebSocket server.

    :param server_name: value of the ``Server`` header, printable ASCII; empty sends none
    :param secure_mode: wss or ws, fixed from here on
    :param reactor: Twisted's; the global one when None
    :param settings: limits and timers; wsecho's defaults when None
    :param route: for services that take connections themselves, without the pending queue: from a path to its
        service
    :param factory_options: further options of :class:`wsecho.ServerFactory`: ``page``, ``hosts``, ``debug``;
        with ``origins``, ``origin_authentication_required`` is not asked
    """

    def __init__(
        self,
        server_name: str = "",
        secure_mode: SslMode = SslMode.NON_SECURE_MODE,
        *,
        reactor: Any = None,
        settings: Settings | None = None,
        route: Callable[[str], IService | None] | None = None,
        **factory_options: Any,
    ) -> None:
        super().__init__(secure_mode, reactor)
        self._creator: Any = None
        self._tls: Any = None
        self._binding: Deferred[Any] | None = None
        self._pending: deque[WebSocket] = deque()
        self._bell = Bell()
        self._is_paused = False
        intake = _Intake(self)
        self._has_pending_queue = route is None
        factory_options.setdefault("origins", self._ask_origin)
        self.factory: _Factory = _Factory(
            self,
            reactor=self._reactor,
            settings=settings,
            server_name=header_text("server_name", server_name),
            is_secure=self._secure_mode is SslMode.SECURE_MODE,
            route=(lambda path: intake) if route is None else route,
            **factory_options,
        )
        self.factory.protocol = ObservedServerProtocol if route is None else ServerProtocol

    # -- listening -------------------------------------------------------------------------------------------

    def listen(self, address: str | IStreamServerEndpoint = ANY, port: int = 0) -> Deferred[WebSocketServer]:
        """Listen.

        :param address: ``"any"`` (all interfaces, IPv4 and IPv6), an IP address, or a Twisted endpoint, which
            has its own port and, in ``SECURE_MODE``, gets TLS in front
        :param port: 0 picks one
        :returns: fires with this object; fails with :class:`ListenError`, after ``error``, ``error_string``
            and ``server_error``. When that has slots, and nobody has asked the Deferred within a turn of the
            reactor, the failure counts as handled
        :raises TypeError: when ``address`` is no text and no endpoint, or ``port`` no int
        :raises ValueError: for a text that is no IP address, and a port that is none
        """
        where = places(self._reactor, address, port)
        result: Deferred[WebSocketServer] = Deferred(lambda _: self._give_up_binding())
        unready = self._not_ready()
        if unready:
            self._cannot_listen(unready, result)
            return result
        binding = self._binding = Deferred.fromCoroutine(bind(where, self.factory, self._tls, self._proxy))
        binding.addCallbacks(self._bound, self._not_bound, callbackArgs=(result,), errbackArgs=(result,))
        return result

    def listen_through(
        self, open_ports: Callable[[IProtocolFactory], Deferred[Sequence[IListeningPort]]]
    ) -> Deferred[WebSocketServer]:
        """Listen on ports that somebody else opens: several for one server, or of a kind that no endpoint is.

        :param open_ports: given the factory, opens them; in ``SECURE_MODE`` TLS is its to put in front
        :returns: fires with this object; fails with what ``open_ports`` failed with, after ``error``,
            ``error_string`` and ``server_error``
        """
        result: Deferred[WebSocketServer] = Deferred(lambda _: self._give_up_binding())
        if self._ports or self._binding is not None:
            self._cannot_listen("the server is listening already", result)
            return result
        binding = self._binding = maybeDeferred(open_ports, self.factory)
        binding.addCallbacks(
            self._ports_opened, self._ports_failed, callbackArgs=(result,), errbackArgs=(result,)
        )
        return result

    def _ports_opened(self, ports: Sequence[IListeningPort], result: Deferred[WebSocketServer]) -> None:
        self._binding = None
        for port in ports:
            self._add_port(port)
        result.callback(self)

    def _ports_failed(self, failure: Failure, result: Deferred[WebSocketServer]) -> None:
        self._binding = None
        self._set_error(CloseCode.ABNORMAL_DISCONNECTION, failure.getErrorMessage())
        result.errback(failure)

    def _not_ready(self) -> str:
        if self._ports or self._binding is not None:
            return "the server is listening already"
        if self._secure_mode is SslMode.SECURE_MODE and self._ssl_configuration is None:
            return "a secure server needs ssl_configuration"
        try:
            self._make_tls()
        except CertificateError as error:
            return str(error)
        return ""

    def _make_tls(self) -> None:
        creator = self._ssl_configuration
        if isinstance(creator, TlsConfiguration):
            creator = ConfiguredCreator(creator)
        self._creator = self._tls = creator
        if isinstance(creator, ServerConnectionCreator):
            self._tls = creator.observed_by(ServerTlsEvents(self))

    def reload_tls(self) -> None:
        """Read the certificates of ``ssl_configuration`` again, or take another ``TlsConfiguration`` that was
        set meanwhile, for the connections that come; those that are open go on.

        :raises CertificateError: when a file cannot be used; then the old ones stay
        :raises RuntimeError: when the server has not listened with a configuration that can be read again
        """
        if not isinstance(self._creator, ConfiguredCreator):
            raise RuntimeError("there is no TLS to reload: ssl_configuration is no TlsConfiguration in use")
        if isinstance(self._ssl_configuration, TlsConfiguration):
            self._creator.use(self._ssl_configuration)
        else:
            self._creator.reload()

    def _bound(self, port: IListeningPort, result: Deferred[WebSocketServer]) -> None:
        self._binding = None
        self._add_port(port)
        result.callback(self)

    def _not_bound(self, failure: Failure, result: Deferred[WebSocketServer]) -> None:
        self._binding = None
        self._cannot_listen(failure.getErrorMessage(), result)

    def _give_up_binding(self) -> None:
        if self._binding is not None:
            self._binding.cancel()

    def _add_port(self, port: IListeningPort) -> None:
        self.factory.open_again()
        self._ports.append(port)
        watch_accepts(port, self._reactor, self._accept_failed, lambda: self._is_paused)
        if self._is_paused:
            port.pauseProducing()  # type: ignore[attr-defined]

    def _cannot_listen(self, text: str, result: Deferred[WebSocketServer]) -> None:
        self._set_error(CloseCode.ABNORMAL_DISCONNECTION, text)
        result.errback(ListenError(text))
        if self.server_error:
            told_by_signal(self._reactor, result, self)

    def _accept_failed(self, error: OSError) -> None:
        is_of_peer = error.errno == ECONNABORTED
        self.accept_error.emit(SocketError.NETWORK if is_of_peer else SocketError.SOCKET_RESOURCE)

    def set_socket_descriptor(self, descriptor: int) -> bool:
        """Listen on a socket that is listening already, an inherited one for example. The descriptor is
        duplicated; close yours.

        :returns: whether it could be adopted; if not, ``error``, ``error_string`` and ``server_error`` say
            why
        :raises TypeError: when ``descriptor`` is no int
        """
        if isinstance(descriptor, bool) or not isinstance(descriptor, int):
            raise TypeError(f"descriptor must be an int, not {type(descriptor).__name__}")
        problem = self._not_ready()
        if not problem:
            try:
                port = adopt(self._reactor, descriptor, self.factory, self._tls, self._proxy)
            except CannotBind as error:
                problem = str(error)
        if problem:
            self._set_error(CloseCode.ABNORMAL_DISCONNECTION, problem)
            return False
        self._add_port(port)
        return True

    def handle_connection(self, transport: Any, data: bytes = b"") -> None:
        """Upgrade a connection that was accepted elsewhere. Of ``SECURE_MODE``, the transport must be one
        that speaks TLS already.

        The handshake timeout applies, which Qt does not do here.

        :param transport: Twisted's transport of it; the protocol that it had is replaced
        :param data: what was read of it already
        """
        protocol: Any = self.factory.buildProtocol(transport.getPeer())
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if data:
            protocol.dataReceived(data)

    def close(self) -> Deferred[None]:
        """Stop listening. Pending connections are closed with 1001; connections that were taken go on.

        ``closed`` is emitted after that, also when the server never listened (Qt).

        :returns: fires when the ports are closed
        """
        self._give_up_binding()
        ports, self._ports = self._ports, []
        pending, self._pending = self._pending, deque()
        for socket_ in pending:
            socket_.close(CloseCode.GOING_AWAY, "Server closed.")
        self._bell.ring()
        stopped = gatherResults([maybeDeferred(port.stopListening) for port in ports])
        return stopped.addCallback(self._tell_closed)

    def _tell_closed(self, _: object) -> None:
        if self.closed:
            self._reactor.callLater(0, self.closed.emit)

    def shutdown(self, *, timeout: float | None = None, spread: bool = False) -> Deferred[None]:
        """Close, and end every connection, taken ones too, with 1001; those in handshake get 503. The server
        may listen again.

        :param timeout: seconds until all have ended; see :meth:`wsecho.ServerFactory.shutdown`
        :param spread: end connections that were taken one after the other, over the first half of ``timeout``
        :returns: fires when all have ended; without a ``timeout`` at the latest after the close timeout
        :raises TypeError: for a timeout that is no number
        :raises ValueError: for one that is negative or not finite; and for ``spread`` without ``timeout``
        """
        # Now, because a call that is refused must have closed nothing.
        check_drain(timeout, spread=spread)
        ended = gatherResults([self.close(), self.factory.shutdown(timeout=timeout, spread=spread)])
        return ended.addCallback(lambda _: None)

    def is_listening(self) -> bool:
        """Whether connections are accepted, or would be if accepting were not paused."""
        return bool(self._ports)

    def pause_accepting(self) -> None:
        """Leave new connections in the kernel's backlog, until :meth:`resume_accepting`."""
        if not self._is_paused:
            self._is_paused = True
            for port in self._ports:
                port.pauseProducing()  # type: ignore[attr-defined]

    def resume_accepting(self) -> None:
        """Accept again."""
        if self._is_paused:
            self._is_paused = False
            for port in self._ports:
                port.resumeProducing()  # type: ignore[attr-defined]

    # -- pending connections ---------------------------------------------------------------------------------

    def _check_room(self) -> None:
        if self._has_pending_queue and len(self._pending) >= self._max_pending:
            self._set_error(CloseCode.ABNORMAL_DISCONNECTION, "Too many pending connections.")
            raise HeadRefused(503, "too many connections are pending")

    def _arrived(self, connection: Any) -> None:
        arrived = WebSocket.of_server(connection, self._reactor, self.factory.settings)
        connection.service = arrived
        if len(self._pending) >= self._max_pending:
            # There was room when its origin was asked about; others had their answer earlier.
            self._set_error(CloseCode.ABNORMAL_DISCONNECTION, "Too many pending connections.")
            arrived.close(_TRY_AGAIN_LATER, "too many connections are pending")
            return
        # One that leaves before it is taken takes no place.
        arrived.wait_to_be_taken(lambda: self._left(arrived))
        self._pending.append(arrived)
        self._bell.ring()
        self.new_connection.emit()

    def _left(self, socket_: WebSocket) -> None:
        if socket_ in self._pending:
            self._pending.remove(socket_)

    def has_pending_connections(self) -> bool:
        """Whether ``next_pending_connection`` would give one."""
        return bool(self._pending)

    def next_pending_connection(self) -> WebSocket | None:
        """The connection that waits longest; None when none does. It is the caller's now: it outlives
        ``close``."""
        if not self._pending:
            return None
        taken = self._pending.popleft()
        taken.taken()
        return taken

    def __aiter__(self) -> AsyncIterator[WebSocket]:
        """Pending connections as they come, until the server closes. ``await anext(server)`` gives one."""
        return self

    async def __anext__(self) -> WebSocket:
        while True:
            taken = self.next_pending_connection()
            if taken is not None:
                return taken
            if not self._ports:
                raise StopAsyncIteration
            await self._bell.wait()

    async def __aenter__(self) -> WebSocketServer:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close, and end every connection with 1001."""
        await self.shutdown()

    # -- decisions -------------------------------------------------------------------------------------------

    def _ask_origin(self, request: OriginRequest) -> Deferred[bool]:
        question = CorsAuthenticator(request.origin or "")
        return self.origin_authentication_required.ask(question).addCallback(_verdict, question)

    def _refused(self, status: int, detail: str) -> None:
        if status == 403:
            self._set_error(CloseCode.POLICY_VIOLATED, detail)
        elif status == 431:
            self._set_error(CloseCode.TOO_MUCH_DATA, detail)
        elif status not in _UNTOLD:
            self._set_error(CloseCode.PROTOCOL_ERROR, detail)

    def _set_error(self, code: CloseCode, text: str) -> None:
        # Whoever counts refusals would miss most of them if, as in Qt, only changes were told.
        self._error, self._error_string = code, text
        self.server_error.emit(code)


def _verdict(none_failed: bool, question: CorsAuthenticator) -> bool:
    if not none_failed:
        # It may have meant to refuse: a closed door.
        raise RuntimeError("a slot of origin_authentication_required failed")
    return question.allowed
