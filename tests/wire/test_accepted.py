"""Tests for wsecho.wire.accepted, with ports of Twisted's reactor and clients that do not wait for it."""

import errno
import os
import socket
import struct
from typing import Any

from twisted.internet import reactor, tcp, unix
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from wsecho.wire.accepted import (
    MOST_ACCEPTS,
    SOCKETS,
    Accepted,
    AcceptedTcp,
    AcceptedUnix,
    ListeningSocket,
    hasten,
)

the_reactor: Any = reactor


class Peer(Protocol):
    """Begins as a link does, and notes what happens."""

    def __init__(self) -> None:
        self.received = b""
        self.ended: Deferred[Any] = Deferred()

    def makeConnection(self, transport: Any) -> None:
        self.factory.peers.append(self)
        super().makeConnection(transport)
        if isinstance(transport, Accepted):
            transport.begin()
        else:
            hasten(transport)
        come, self.factory.come = self.factory.come, Deferred()
        come.callback(self)

    def connectionMade(self) -> None:
        self.factory.made(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.factory.received(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.ended.callback(reason.value)


@implementer(IHalfCloseableProtocol)
class HalfPeer(Peer):
    """Hears of the end of the other's half."""

    def readConnectionLost(self) -> None:
        self.received += b"<end>"
        self.transport.loseConnection()  # type: ignore[union-attr]

    def writeConnectionLost(self) -> None:
        """Not in these tests."""


def has_no_delay(peer: Any) -> bool:
    """Whether Nagle's algorithm is off for a connection."""
    handle: socket.socket = peer.transport.getHandle()
    return bool(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


class AcceptedTests(TestCase):
    """Connections that a port accepts after it was hastened."""

    timeout = 20

    def setUp(self) -> None:
        """Note what the reactor is asked to read."""
        self.registered: list[Any] = []
        add = the_reactor.addReader

        def note(reader: Any) -> None:
            self.registered.append(reader)
            add(reader)

        self.patch(the_reactor, "addReader", note)

    def prepare(self, kind: Any = Peer, interface: str = "127.0.0.1") -> Any:
        """A port; its factory."""
        factory: Any = Factory.forProtocol(kind)
        factory.noisy = False
        factory.peers = []
        factory.come = Deferred()
        factory.made = factory.received = lambda peer: None
        if interface.startswith("/"):
            self.port = the_reactor.listenUNIX(interface, factory)
        else:
            self.port = the_reactor.listenTCP(0, factory, interface=interface)
        self.addCleanup(self.port.stopListening)
        self.factory = factory
        return factory

    async def listen(self, kind: Any = Peer, interface: str = "127.0.0.1") -> Any:
        """A port that was hastened by a first connection."""
        factory = self.prepare(kind, interface)
        await self.client()
        return factory.peers[0]

    def connect(self) -> socket.socket:
        """A client, which the reactor has not accepted yet."""
        if isinstance(self.port, unix.Port):
            client = socket.socket(socket.AF_UNIX)
            client.connect(self.port.getHost().name)
        else:
            client = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        self.addCleanup(client.close)
        return client

    async def client(self, data: bytes = b"", *, then: str = "") -> Any:
        """Connect, and do all of it before the reactor accepts; the server's side of it."""
        come = self.factory.come
        client = self.connect()
        if data:
            client.sendall(data)
        if then == "end":
            client.shutdown(socket.SHUT_WR)
        elif then == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        peer = await come
        peer.client = client
        self.end_later(peer)
        return peer

    def end_later(self, peer: Any) -> None:
        """Abort the connection when the test is over."""

        def end() -> Any:
            if not peer.ended.called:
                peer.transport.abortConnection()
            return peer.ended

        self.addCleanup(end)

    async def test_first(self) -> None:
        """The first connection is Twisted's own; those after it are read before the reactor hears of them."""
        first = await self.listen()
        self.assertIs(type(first.transport), tcp.Server)
        self.registered.clear()
        peer = await self.client(b"request")
        self.assertIs(type(peer.transport), AcceptedTcp)
        self.assertEqual(peer.received, b"request")
        self.assertEqual(self.registered, [peer.transport])

    async def test_reader_elsewhere(self) -> None:
        """Who stops reading when the request is there is never registered; who reads again is."""
        await self.listen()
        self.factory.received = lambda peer: peer.transport.pauseProducing()
        self.registered.clear()
        peer = await self.client(b"request")
        self.assertEqual((peer.received, self.registered), (b"request", []))
        more: Deferred[None] = Deferred()
        self.factory.received = lambda peer: more.callback(None)
        peer.client.sendall(b" more")
        peer.transport.resumeProducing()
        await more
        self.assertEqual(peer.received, b"request more")

    async def test_nothing_yet(self) -> None:
        """Who has sent nothing yet is registered, and read when something comes."""
        await self.listen()
        peer = await self.client()
        self.assertEqual(self.registered[-1:], [peer.transport])
        more: Deferred[None] = Deferred()
        self.factory.received = lambda peer: more.callback(None)
        peer.client.sendall(b"late")
        await more
        self.assertEqual(peer.received, b"late")

    async def test_paused_from_the_start(self) -> None:
        """Who stops reading before anything was read is not read."""
        await self.listen()
        self.factory.made = lambda peer: peer.transport.pauseProducing()
        self.registered.clear()
        peer = await self.client(b"request")
        self.assertEqual((peer.received, self.registered), (b"", []))

    async def test_aborted(self) -> None:
        """Who is aborted before anything was read is not read, and ends."""
        await self.listen()
        self.factory.made = lambda peer: peer.transport.abortConnection()
        peer = await self.client(b"request")
        self.assertIsInstance(await peer.ended, ConnectionAborted)
        self.assertEqual(peer.received, b"")

    async def test_end(self) -> None:
        """An end that has come already is told after what came before it, whether halves count or not."""
        for kind, expected in ((Peer, b""), (HalfPeer, b"<end>")):
            await self.listen(kind)
            peer = await self.client(b"", then="end")
            self.assertIsInstance(await peer.ended, ConnectionDone)
            self.assertEqual(peer.received, expected)
            peer = await self.client(b"last", then="end")
            self.assertIsInstance(await peer.ended, ConnectionDone)
            self.assertEqual(peer.received, b"last" + expected)

    async def test_reset(self) -> None:
        """A reset that has come already is one."""
        await self.listen()
        peer = await self.client(then="reset")
        self.assertIsInstance(await peer.ended, ConnectionLost)

    async def test_broken(self) -> None:
        """An exception of the protocol's ends its connection, as in the reactor, and no other."""
        await self.listen()

        def fail(peer: Any) -> None:
            raise ZeroDivisionError

        self.factory.received = fail
        peer = await self.client(b"request")
        self.assertIsInstance(await peer.ended, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.factory.received = lambda peer: None
        self.assertEqual((await self.client(b"request")).received, b"request")

    async def test_addresses(self) -> None:
        """The addresses are those of the connection, also where a port listens on all."""
        for interface in ("127.0.0.1", "0.0.0.0", ""):
            await self.listen(interface=interface)
            peer = await self.client(b"request")
            local, remote = peer.client.getsockname(), peer.client.getpeername()
            self.assertEqual((peer.transport.getPeer().host, peer.transport.getPeer().port), local)
            self.assertEqual((peer.transport.getHost().host, peer.transport.getHost().port), remote)

    async def test_no_delay(self) -> None:
        """Nagle's algorithm is off or on as the protocol says, whatever was asked for before."""
        await self.listen()
        peer = await self.client(b"request")
        for wanted in (True, False, False, True):
            peer.transport.setTcpNoDelay(wanted)
            self.assertEqual(has_no_delay(peer), wanted)

    async def test_no_delay_of_the_first(self) -> None:
        """So it is for those who were there before the port was hastened, and have not the options that its
        socket has since."""
        factory: Any = self.prepare()
        factory.made = lambda peer: peer.transport.setTcpNoDelay(True)
        for _ in range(3):
            self.connect()
        while len(factory.peers) < 3:
            await factory.come
        for peer in factory.peers:
            self.end_later(peer)
        self.assertEqual([type(peer.transport) for peer in factory.peers[1:]], [AcceptedTcp] * 2)
        self.assertEqual([has_no_delay(peer) for peer in factory.peers], [True] * 3)

    async def test_burst(self) -> None:
        """A port accepts a bounded number in one turn."""
        await self.listen()
        self.port.numberAccepts = 10 * MOST_ACCEPTS
        await self.client(b"request")
        self.assertLessEqual(self.port.numberAccepts, MOST_ACCEPTS)

    async def test_unix(self) -> None:
        """So are connections of a unix socket."""
        path = os.path.relpath(self.mktemp())
        first = await self.listen(interface=os.path.abspath(path))
        self.assertIs(type(first.transport), unix.Server)
        peer = await self.client(b"request")
        self.assertIs(type(peer.transport), AcceptedUnix)
        self.assertEqual(peer.received, b"request")


class HastenTests(SynchronousTestCase):
    """Which ports are changed."""

    def test_others(self) -> None:
        """A port that was told what to make, one of another kind, and what has no port stay as they are."""

        class Mine(tcp.Server):
            """Somebody's own."""

        class MyPort(tcp.Port):
            """Likewise."""

        for kind, port_kind, makes in ((tcp.Server, tcp.Port, Mine), (tcp.Server, MyPort, tcp.Server)):
            transport: Any = kind.__new__(kind)
            transport.server = port_kind.__new__(port_kind)
            transport.server.transport = makes
            hasten(transport)
            self.assertIs(transport.server.transport, makes)
        adopted: Any = tcp.Server.__new__(tcp.Server)
        adopted.server = None
        for nothing in (adopted, object(), None):
            hasten(nothing)

    def test_sockets(self) -> None:
        """Nothing but a socket are Twisted's own transports and these."""
        self.assertEqual(SOCKETS, {tcp.Server, unix.Server, AcceptedTcp, AcceptedUnix})

    def test_listening_socket(self) -> None:
        """What a listening socket accepts is what Python's own would be, and its failures are the same."""
        listening = socket.socket()
        self.addCleanup(listening.close)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        quick = ListeningSocket(listening)
        self.assertEqual(self.assertRaises(OSError, quick.accept).errno, errno.EAGAIN)
        with socket.create_connection(quick.getsockname()) as client:
            accepted, address = quick.accept()
            with accepted:
                self.assertEqual(address, client.getsockname())
                self.assertIs(type(accepted), socket.socket)
                self.assertEqual(accepted.getpeername(), address)
                self.assertEqual(
                    (accepted.family, accepted.type, accepted.proto),
                    (listening.family, listening.type, listening.proto),
                )
                self.assertFalse(os.get_inheritable(accepted.fileno()))

    def test_failure_while_reading(self) -> None:
        """What has ended while it was read is not ended twice."""

        class Ended:
            disconnected = True
            stopReading = readConnectionLost = connectionLost = None

            def doRead(self) -> Any:
                return ConnectionDone()

        read: Any = Accepted.read_now
        read(Ended())
