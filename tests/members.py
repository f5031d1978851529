"""For tests of `WebSocketServer` and `WebSocket`: what their signals told, and the other end of a connection
without sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred

from tests.wire.client_harness import Reactor, ServerEnd
from tests.wire.harness import Peer, Transport, WireTestCase
from wsecho.policy.settings import Settings
from wsecho.policy.signals import Signal
from wsecho.server import WebSocketServer
from wsecho.websocket import WebSocket

#: Nothing is pinged where a test does not want it: such a timer would outlive what it is about.
QUIET = Settings(ping_interval=0.0)


def signals_of(kind: type) -> list[str]:
    """The names of a class's signals."""
    return [name for name in dir(kind) if isinstance(getattr(kind, name), Signal)]


class Record:
    """What the signals of an object told.

    :param names: of the signals to listen to; all of them when empty
    :ivar told: the name of a signal and its arguments, in the order of emission
    """

    def __init__(self, source: Any, *names: str) -> None:
        self.told: list[tuple[Any, ...]] = []
        for name in names or signals_of(type(source)):
            getattr(source, name).connect(self._slot(name))

    def _slot(self, name: str) -> Any:
        return lambda *arguments: self.told.append((name, *arguments))

    @property
    def names(self) -> list[str]:
        """The names alone."""
        return [one[0] for one in self.told]

    def count(self, name: str) -> int:
        """How often a signal was emitted."""
        return self.names.count(name)

    def clear(self) -> None:
        """Forget what was told."""
        self.told.clear()


class MembersTestCase(WireTestCase):
    """A test of servers and sockets on a reactor without sockets.

    :ivar reactor: the clock, too
    """

    def setUp(self) -> None:
        super().setUp()
        self.reactor = Reactor()
        self.clock = self.reactor

    def turn(self) -> None:
        """Let the reactor do what is due."""
        self.reactor.advance(0)

    # -- the server's side -----------------------------------------------------------------------------------

    def server(self, *arguments: Any, **options: Any) -> WebSocketServer:
        """A server on the test's reactor. Names of `Settings` among the options become its settings."""
        names = [name for name in options if name in Settings.__slots__]
        settings = Settings(**{"ping_interval": 0.0, **{name: options.pop(name) for name in names}})
        return WebSocketServer(*arguments, reactor=self.reactor, settings=settings, **options)

    def visit(self, server: WebSocketServer, host: str = "127.0.0.1", port: int = 40000) -> Peer:
        """A client that has connected to a server, and has sent nothing."""
        return self.peer(server.factory, Transport(self.reactor, IPv4Address("TCP", host, port)))

    def pair(self, server: WebSocketServer | None = None, *headers: str) -> tuple[WebSocket, Peer]:
        """A connection that was taken: the server's side of it, and the client."""
        server = self.server() if server is None else server
        peer = self.visit(server).open("/", *headers)
        socket = server.next_pending_connection()
        assert socket is not None
        return socket, peer

    # -- the client's side -----------------------------------------------------------------------------------

    def client(self, *arguments: Any, **options: Any) -> WebSocket:
        """A client on the test's reactor."""
        options.setdefault("settings", QUIET)
        return WebSocket(*arguments, reactor=self.reactor, **options)

    def reach(self) -> ServerEnd:
        """The connection that a client asked for last is made."""
        factory: Any = self.reactor.tcpClients[-1][2]
        end: Any = ServerEnd(factory, self.reactor)
        self.peers.append(end)
        return end  # type: ignore[no-any-return]

    def connected(self, socket: WebSocket | None = None) -> tuple[WebSocket, ServerEnd]:
        """A client that is open, and the server."""
        socket = self.client() if socket is None else socket
        opened: Deferred[WebSocket] = socket.open("ws://192.0.2.1:9000/chat?room=1")
        end = self.reach().open()
        self.assertIs(self.successResultOf(opened), socket)
        return socket, end
