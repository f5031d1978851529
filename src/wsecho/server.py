"""WebSocketServer: listens, upgrades, and hands out connections, as QWebSocketServer does.

Rules of this file: it has Qt's members in snake_case, getters as properties; what takes time returns a
Deferred. It owns the factory and the ports, and knows no frames. With no slot on
``origin_authentication_required`` every origin is accepted, as in Qt; the ready factories and the command
line keep the same origin.

A listening server is kept alive by the reactor, not by the name it has in a program: ``close`` ends it, and
so does leaving ``async with``. (In Qt, where the object owns the sockets, deleting it closes them.)
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import (
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    wrapServerTLS,
)
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from zope.interface import implementer

from wsecho.policy.authenticators import CorsAuthenticator, PreSharedKeyAuthenticator
from wsecho.policy.enumerations import CloseCode, SocketError, SslMode, Version
from wsecho.policy.origins import OriginRequest
from wsecho.policy.settings import Settings
from wsecho.policy.signals import Signal
from wsecho.websocket import WebSocket
from wsecho.wire.admission import HeadRefused
from wsecho.wire.factory import ServerFactory
from wsecho.wire.interfaces import IService
from wsecho.wire.observed import IObserver, ObservedServerProtocol

__all__ = ["ListenError", "WebSocketServer"]

ANY = "any"
_MAX_PENDING = 30


class ListenError(Exception):
    """The server cannot listen; one line."""


class _Factory(ServerFactory):
    """The server's factory: it also counts pending connections and reports refusals."""

    protocol = ObservedServerProtocol

    def __init__(self, server: WebSocketServer, **options: Any) -> None:
        self._server = server
        super().__init__(**options)

    def check_room(self) -> None:
        super().check_room()
        self._server._check_room()

    def handshake_refused(self, status: int, detail: str) -> None:
        self._server._refused(status, detail)


@implementer(IObserver)
class _Intake:
    """Receives the connections of a server and makes a ``WebSocket`` of each."""

    def __init__(self, server: WebSocketServer) -> None:
        self._server = server
        self._socket: WebSocket | None = None

    def opened(self, connection: Any) -> None:
        socket_ = WebSocket.of_server(connection, self._server._reactor, self._server._settings)
        connection.service = socket_
        self._server._arrived(socket_)

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        """Never called: the socket took this place when the connection opened."""

    frame_arrived = pong_arrived = message_arrived

    def closed(self, connection: Any) -> None:
        """Never called, likewise."""

    def ended(self, connection: Any) -> None:
        """The connection was not opened: there is no socket to tell."""


class WebSocketServer:
    """A WebSocket server.

    :param server_name: value of the ``Server`` header; empty sends none
    :param secure_mode: wss or ws, fixed from here on
    :param reactor: Twisted's; the global one when None
    :param settings: limits and timers; wsecho's defaults when None
    :param route: for services that take connections themselves, without the pending queue: from a path to its
        service
    :param factory_options: further options of :class:`wsecho.ServerFactory`, ``page`` or ``hosts`` for
        example
    """

    new_connection = Signal[[]]()
    """A connection is pending: take it with ``next_pending_connection``."""
    closed = Signal[[]]()
    """``close`` has done its work."""
    accept_error = Signal[[SocketError]]()
    server_error = Signal[[CloseCode]]()
    """Listening failed (1006), a request was refused (1002), an origin was (1008), a head too large (1009),
    or too many connections are pending (1006)."""
    origin_authentication_required = Signal[[CorsAuthenticator]]()
    """Asked for every valid request, also without Origin; without a slot every origin is accepted."""
    peer_verify_error = Signal[[Any]]()
    ssl_errors = Signal[[list[Any]]]()
    pre_shared_key_authentication_required = Signal[[PreSharedKeyAuthenticator]]()
    alert_sent = Signal[[int, int, str]]()
    alert_received = Signal[[int, int, str]]()
    handshake_interrupted_on_error = Signal[[Any]]()

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
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self._settings = Settings() if settings is None else settings
        self._secure_mode = SslMode(secure_mode)
        self._ssl_configuration: Any = None
        self._ports: list[IListeningPort] = []
        self._pending: deque[WebSocket] = deque()
        self._max_pending = _MAX_PENDING
        self._taker: Deferred[None] | None = None
        self._is_paused = False
        self._error = CloseCode.NORMAL
        self._error_string = ""
        self._has_pending_queue = route is None
        factory_options.setdefault("origins", self._ask_origin)
        self.factory = _Factory(
            self,
            reactor=reactor,
            settings=self._settings,
            server_name=_header_text("server_name", server_name),
            is_secure=self._secure_mode is SslMode.SECURE_MODE,
            route=(lambda path: _Intake(self)) if route is None else route,
            **factory_options,
        )

    # -- listening -------------------------------------------------------------------------------------------

    def listen(self, address: str | IStreamServerEndpoint = ANY, port: int = 0) -> Deferred[WebSocketServer]:
        """Listen.

        :param address: ``"any"`` (all interfaces, IPv4 and IPv6), an IP address, or a Twisted endpoint
        :param port: 0 picks one
        :returns: fires with this object; fails with :class:`ListenError`, after ``error``, ``error_string``
            and ``server_error``
        """
        if self._ports:
            return self._cannot_listen("the server is listening already")
        if isinstance(address, str):
            if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
                raise ValueError(f"port must be 0 to 65535, not {port!r}")
            endpoints = _endpoints(self._reactor, address, port)
        else:
            endpoints = [address]
        if self._secure_mode is SslMode.SECURE_MODE and self._ssl_configuration is None:
            return self._cannot_listen("a secure server needs ssl_configuration")
        return Deferred.fromCoroutine(self._listen(endpoints))

    async def _listen(self, endpoints: Sequence[IStreamServerEndpoint]) -> WebSocketServer:
        problem: Exception | None = None
        is_secure = self._secure_mode is SslMode.SECURE_MODE
        for plain in endpoints:
            endpoint = wrapServerTLS(self._ssl_configuration, plain) if is_secure else plain
            try:
                port = await endpoint.listen(self.factory)
            except Exception as error:
                problem = error
                continue
            self._add_port(port)
            return self
        return await self._cannot_listen(_why_not(problem))

    def _add_port(self, port: IListeningPort) -> None:
        self._ports.append(port)
        if self._is_paused:
            port.pauseProducing()  # type: ignore[attr-defined]

    def _cannot_listen(self, text: str) -> Deferred[WebSocketServer]:
        self._set_error(CloseCode.ABNORMAL_DISCONNECTION, text)
        failed: Deferred[WebSocketServer] = Deferred()
        failed.errback(ListenError(text))
        return failed

    def set_socket_descriptor(self, descriptor: int) -> bool:
        """Listen on a socket that is listening already, an inherited one for example. The descriptor is
        duplicated; close yours.

        :returns: whether it could be adopted
        """
        if self._ports:
            return False
        try:
            with closing(socket.socket(fileno=socket.dup(descriptor))) as given:
                family = given.family
                if not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    raise OSError("the descriptor is no listening socket")
                # A blocking one would stop the reactor in its second accept.
                given.setblocking(False)
        except OSError as error:
            self._set_error(CloseCode.ABNORMAL_DISCONNECTION, error.strerror or str(error))
            return False
        factory: Factory = self.factory
        if self._secure_mode is SslMode.SECURE_MODE:
            from twisted.protocols.tls import TLSMemoryBIOFactory

            factory = TLSMemoryBIOFactory(self._ssl_configuration, False, factory)
        self._add_port(self._reactor.adoptStreamPort(descriptor, family, factory))
        return True

    @property
    def socket_descriptor(self) -> int:
        """The descriptor of the listening socket; -1 when not listening."""
        return self._ports[0].fileno() if self._ports else -1  # type: ignore[attr-defined]

    def handle_connection(self, transport: Any, data: bytes = b"") -> None:
        """Upgrade a connection that was accepted elsewhere: Twisted's transport of it, and what was read of
        it already.

        The handshake timeout applies, which Qt does not do here.
        """
        protocol: Any = self.factory.buildProtocol(transport.getPeer())
        if protocol is None:
            transport.abortConnection()
            return
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if data:
            protocol.dataReceived(data)

    def close(self) -> Deferred[None]:
        """Stop listening. Pending connections are closed with 1001; connections that were taken go on.

        ``closed`` is emitted in a later turn of the reactor, also when the server never listened (Qt).

        :returns: fires when the ports are closed
        """
        ports, self._ports = self._ports, []
        while self._pending:
            self._pending.popleft().close(CloseCode.GOING_AWAY, "Server closed.")
        self._wake_taker()
        stopped = gatherResults([maybeDeferred(port.stopListening) for port in ports])
        self._reactor.callLater(0, self.closed.emit)
        return stopped.addCallback(lambda _: None)

    def is_listening(self) -> bool:
        """Whether connections are accepted, or would be if accepting were not paused."""
        return bool(self._ports)

    def pause_accepting(self) -> None:
        """Leave new connections in the kernel's backlog."""
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

    def _arrived(self, arrived: WebSocket) -> None:
        arrived.wait_to_be_taken()
        self._pending.append(arrived)
        # One that leaves before it is taken takes no place.
        arrived.disconnected.connect(lambda: self._left(arrived))
        self._wake_taker()
        self.new_connection.emit()

    def _left(self, one: WebSocket) -> None:
        if one in self._pending:
            self._pending.remove(one)

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

    async def __aiter__(self) -> AsyncIterator[WebSocket]:
        """Pending connections as they come, until the server closes."""
        while True:
            while (taken := self.next_pending_connection()) is not None:
                yield taken
            if not self._ports:
                return
            if self._taker is None:
                self._taker = Deferred()
            await self._taker

    def _wake_taker(self) -> None:
        taker, self._taker = self._taker, None
        if taker is not None:
            taker.callback(None)

    async def __aenter__(self) -> WebSocketServer:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close, and end every connection with 1001."""
        await self.close()
        await self.factory.shutdown()

    # -- decisions -------------------------------------------------------------------------------------------

    def _ask_origin(self, request: OriginRequest) -> bool:
        question = CorsAuthenticator(request.origin or "")
        self.origin_authentication_required.emit(question)
        return question.allowed

    def _refused(self, status: int, detail: str) -> None:
        if status == 403:
            self._set_error(CloseCode.POLICY_VIOLATED, "the origin is not allowed")
        elif status == 431:
            self._set_error(CloseCode.TOO_MUCH_DATA, detail)
        elif status not in (500, 503):
            self._set_error(CloseCode.PROTOCOL_ERROR, detail)

    def _set_error(self, code: CloseCode, text: str) -> None:
        # Qt emits only when code or text changes; who counts refusals would miss most of them, so each is
        # told here.
        self._error, self._error_string = code, text
        self.server_error.emit(code)

    @property
    def error(self) -> CloseCode:
        """The last error; ``NORMAL`` at rest."""
        return self._error

    @property
    def error_string(self) -> str:
        """What failed and why, one line; empty at rest."""
        return self._error_string

    # -- settings: they apply to connections that come later -------------------------------------------------

    @property
    def server_name(self) -> str:
        """Value of the ``Server`` header; empty sends none."""
        name: str = self.factory.server
        return name

    @server_name.setter
    def server_name(self, name: str) -> None:
        self.factory.server = _header_text("server_name", name)

    @property
    def secure_mode(self) -> SslMode:
        """wss or ws."""
        return self._secure_mode

    @property
    def ssl_configuration(self) -> Any:
        """An ``IOpenSSLServerConnectionCreator``, such as ``wsecho.tls.contexts.server_creator`` makes;
        ignored without ``SECURE_MODE``, as in Qt."""
        return self._ssl_configuration

    @ssl_configuration.setter
    def ssl_configuration(self, configuration: Any) -> None:
        if self._secure_mode is SslMode.SECURE_MODE:
            self._ssl_configuration = configuration

    @property
    def max_pending_connections(self) -> int:
        """Connections that may wait to be taken; the next is refused with 503 before its origin is asked.
        Default 30 (Qt)."""
        return self._max_pending

    @max_pending_connections.setter
    def max_pending_connections(self, number: int) -> None:
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ValueError(f"max_pending_connections must be an int of 0 or more, not {number!r}")
        self._max_pending = number

    @property
    def handshake_timeout(self) -> float:
        """Seconds from accept to open, TLS included; default 10 (Qt). Negative is off, as in Qt; so is 0."""
        return self._settings.handshake_timeout or -1.0

    @handshake_timeout.setter
    def handshake_timeout(self, seconds: float) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"handshake_timeout must be a number, not {type(seconds).__name__}")
        self._settings = replace(self._settings, handshake_timeout=max(0.0, float(seconds)))
        self.factory.use_settings(self._settings)

    @property
    def supported_subprotocols(self) -> list[str]:
        """The client's first that is among these is spoken; default none."""
        return list(self.factory.protocols)

    @supported_subprotocols.setter
    def supported_subprotocols(self, names: Sequence[str]) -> None:
        if isinstance(names, str):
            raise TypeError("supported_subprotocols must be a list of names, not one str")
        self.factory.protocols = list(names)

    @property
    def supported_versions(self) -> list[Version]:
        """``[Version.VERSION_13]``."""
        return [Version.VERSION_13]

    # -- where it listens ------------------------------------------------------------------------------------

    @property
    def server_address(self) -> str:
        """The IP address, or the path of a unix socket; empty when not listening."""
        if not self._ports:
            return ""
        host: Any = self._ports[0].getHost()
        return str(getattr(host, "host", None) or host.name.decode("utf-8", "surrogateescape"))

    @property
    def server_port(self) -> int:
        """The port; 0 when not listening, and of a unix socket."""
        return int(getattr(self._ports[0].getHost(), "port", 0)) if self._ports else 0

    @property
    def server_url(self) -> str:
        """``ws://host:port`` or ``wss://…``, with 127.0.0.1 when bound to all interfaces; empty when not
        listening."""
        if not self.server_port:
            return ""
        address = self.server_address
        if address in ("0.0.0.0", "::"):
            address = "127.0.0.1"
        scheme = "wss" if self._secure_mode is SslMode.SECURE_MODE else "ws"
        return f"{scheme}://{f'[{address}]' if ':' in address else address}:{self.server_port}"


def _endpoints(reactor: Any, address: str, port: int) -> list[IStreamServerEndpoint]:
    """The endpoints to try in turn: for all interfaces IPv6 first, whose socket takes IPv4 as well."""
    if address == ANY:
        return [
            TCP6ServerEndpoint(reactor, port, interface="::"),
            TCP4ServerEndpoint(reactor, port, interface="0.0.0.0"),
        ]
    if ":" in address:
        return [TCP6ServerEndpoint(reactor, port, interface=address)]
    return [TCP4ServerEndpoint(reactor, port, interface=address)]


def _why_not(problem: Exception | None) -> str:
    if isinstance(problem, CannotListenError):
        cause: Any = problem.socketError
        return str(getattr(cause, "strerror", None) or cause)
    return str(problem)


def _header_text(name: str, text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, not {type(text).__name__}")
    if not all(0x20 <= ord(character) <= 0x7E for character in text):
        raise ValueError(f"{name} must be printable ASCII")
    return text
