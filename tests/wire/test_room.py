"""Room: counting connections, in all and by address, and refusing those beyond the limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autobahn.websocket.types import ConnectionDeny
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.wire.harness import (
    Loopback,
    Peer,
    Program,
    Transport,
    WireTestCase,
    certificates,
    close,
    frame,
    handshake,
    statuses,
)
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.proxies import PeerAddress, TrustedProxies
from wsecho.policy.settings import Settings
from wsecho.server import WebSocketServer
from wsecho.wire.admission import HeadRefused
from wsecho.wire.factory import ServerFactory
from wsecho.wire.protocol import ServerProtocol
from wsecho.wire.room import NO_ADDRESS, Room, place_of

ANN, BOB = PeerAddress.of("192.0.2.1", 1), PeerAddress.of("192.0.2.2", 1)


class RoomTests(SynchronousTestCase):
    """`Room` by itself."""

    def refused(self, room: Room, address: PeerAddress) -> int:
        """Assert that a connection of `address` is refused; the status."""
        refusal: HeadRefused = self.assertRaises(HeadRefused, room.enter, address, 0.0)
        self.assertEqual(refusal.headers, ())
        return refusal.status

    def test_limit(self) -> None:
        """As many connections as the limit are admitted and the next one gets 503, until one has left."""
        room = Room(2)
        places = [room.enter(address, 0) for address in (ANN, BOB)]
        self.assertEqual(self.refused(room, ANN), 503)
        self.assertEqual(len(room), 2)
        room.leave(places[0])
        room.enter(ANN, 0)
        self.assertEqual(self.refused(room, BOB), 503)

    def test_limit_of_an_address(self) -> None:
        """As many connections of an address are admitted and its next one gets 429; others are not kept
        out."""
        room = Room(0, 2)
        places = [room.enter(ANN, 0) for _ in range(2)]
        self.assertEqual(self.refused(room, PeerAddress.of("192.0.2.1", 2)), 429)
        room.enter(BOB, 0)
        self.assertEqual(len(room), 3)
        room.leave(places[0])
        room.enter(ANN, 0)

    def test_both_limits(self) -> None:
        """Where both are reached, it is the server that is full."""
        room = Room(1, 1)
        room.enter(ANN, 0)
        self.assertEqual(self.refused(room, ANN), 503)

    def test_refused_is_not_counted(self) -> None:
        """Who is refused takes no place, neither in all nor of its address."""
        room = Room(3, 1)
        place = room.enter(ANN, 0)
        for _ in range(5):
            self.refused(room, ANN)
        self.assertEqual(len(room), 1)
        room.leave(place)
        self.assertEqual((len(room), room.addresses), (0, 0))

    def test_no_limit(self) -> None:
        """0 is no limit, and then nothing is kept of addresses."""
        room = Room()
        for number in range(100):
            room.enter(PeerAddress.of(f"192.0.2.{number}"), 0)
        self.assertEqual((len(room), room.addresses), (100, 0))

    def test_addresses_are_forgotten(self) -> None:
        """An address of which nobody is left takes no memory."""
        room = Room(0, 1)
        for number in range(100):
            room.leave(room.enter(PeerAddress.of(f"192.0.2.{number}"), 0))
        self.assertEqual((len(room), room.addresses), (0, 0))

    def test_changed_limits(self) -> None:
        """Limits may change while connections are there, and the counts stay right."""
        room = Room()
        before = room.enter(ANN, 0)
        room.max_connections_per_address = 1
        counted = room.enter(ANN, 0)
        self.assertEqual(self.refused(room, ANN), 429)
        room.max_connections = 1
        self.assertEqual(self.refused(room, BOB), 503)
        room.max_connections = room.max_connections_per_address = 0
        for place in (before, counted, room.enter(ANN, 0)):
            room.leave(place)
        self.assertEqual((len(room), room.addresses), (0, 0))

    def test_places(self) -> None:
        """IPv4 is counted by address, IPv6 by /64, and a host that is no address by itself."""
        for host in ("192.0.2.1", "192.0.2.2", "localhost", "not:an:address"):
            self.assertEqual(place_of(host), host)
        one, same, other = (
            place_of(f"2001:db8:0:{network}") for network in ("1::1", "1:ffff:ffff:ffff:ffff", "2::1")
        )
        self.assertEqual(one, same)
        self.assertNotEqual(one, other)

    def test_one_address_in_several_forms(self) -> None:
        """An IPv4 address that a socket for both kinds gives as IPv6 is the same address, and a zone of a
        link-local one changes nothing."""
        room = Room(0, 1)
        room.enter(ANN, 0)
        self.assertEqual(self.refused(room, PeerAddress.of("::ffff:192.0.2.1")), 429)
        room.enter(PeerAddress.of("fe80::1%eth0"), 0)
        self.assertEqual(self.refused(room, PeerAddress.of("fe80::2%eth1")), 429)

    def test_unix(self) -> None:
        """Peers on unix sockets have no address: they are counted in all only."""
        room = Room(2, 1)
        unix = PeerAddress.of(None)
        self.assertEqual([room.enter(unix, 0) for _ in range(2)], [NO_ADDRESS, NO_ADDRESS])
        self.assertEqual(self.refused(room, unix), 503)


class LogTests(WireTestCase):
    """Log lines about refusals."""

    def refuse(self, room: Room, address: PeerAddress, now: float) -> None:
        """Have a connection refused."""
        self.assertRaises(HeadRefused, room.enter, address, now)

    def test_once_a_minute(self) -> None:
        """That a limit refuses is told at once, then once a minute at most, for each limit."""
        room = Room(2, 1)
        room.enter(ANN, 0)
        for now in (0.0, 1.0, 59.0):
            self.refuse(room, ANN, now)
        self.assertEqual(
            self.log, ["refused a connection of 192.0.2.1: max-connections-per-address=1 is reached"]
        )
        room.enter(BOB, 59.0)
        for now in (59.0, 60.0, 118.0):
            self.refuse(room, BOB, now)
        self.assertEqual(self.log[1:], ["refused a connection: max-connections=2 is reached"])
        self.refuse(room, BOB, 119.0)
        self.assertEqual(self.log[2:], self.log[1:2])

    def test_escaped(self) -> None:
        """A host that is no address is escaped."""
        room = Room(0, 1)
        strange = PeerAddress.of("a\x1b[2J")
        room.enter(strange, 0)
        self.refuse(room, strange, 0)
        self.assertNotIn("\x1b", self.log[0])


class FactoryTests(WireTestCase):
    """Connections of a factory: who is counted, and until when."""

    def assert_refused(self, peer: Peer, status: str, end: End) -> None:
        """Assert that an opening handshake of `peer` is refused, with a complete answer."""
        peer.send(handshake())
        self.assertEqual(peer.answer.status, f"HTTP/1.1 {status}")
        self.assertEqual(peer.answer.headers["connection"], "close")
        self.assertNotIn("retry-after", peer.answer.headers)
        self.assertEqual(peer.protocol.end, end)

    def assert_full(self, factory: Any) -> None:
        """Assert that there is no room."""
        self.assert_refused(
            self.peer(factory), "503 Service Unavailable", End(EndReason.UNAVAILABLE, None, 503)
        )

    def peer_from(self, factory: Any, address: Any) -> Peer:
        """A client with this address."""
        return self.peer(factory, Transport(self.clock, address))

    def test_limit(self) -> None:
        """One connection more than max-connections is answered 503, and nobody is asked about it."""
        asked: list[Any] = []

        def origins(request: Any) -> bool:
            asked.append(request)
            return True

        factory = self.factory(Program, max_connections=2, origins=origins)
        first, second = (self.peer(factory).open() for _ in range(2))
        self.assert_full(factory)
        self.assertEqual(len(asked), 2)
        for peer in (first, second):
            peer.send(frame(1, b"hello"))
            self.assertEqual(peer.messages(), ["hello"])
        first.leave()
        self.peer(factory).open()
        self.assert_full(factory)

    def test_limit_of_an_address(self) -> None:
        """One connection more than max-connections-per-address is answered 429."""
        factory = self.factory(Program, max_connections_per_address=1)
        self.peer_from(factory, IPv4Address("TCP", "192.0.2.1", 1)).open()
        again = self.peer_from(factory, IPv4Address("TCP", "192.0.2.1", 2))
        self.assert_refused(again, "429 Too Many Requests", End(EndReason.ADDRESS_LIMIT, None, 429))
        self.peer_from(factory, IPv4Address("TCP", "192.0.2.2", 1)).open()
        self.peer_from(factory, IPv6Address("TCP", "2001:db8::1", 1)).open()
        neighbour = self.peer_from(factory, IPv6Address("TCP", "2001:db8::2", 1))
        self.assert_refused(neighbour, "429 Too Many Requests", End(EndReason.ADDRESS_LIMIT, None, 429))
        for _ in range(3):
            self.peer_from(factory, UNIXAddress(None)).open()

    def test_behind_a_proxy(self) -> None:
        """Behind a trusted proxy it is the client's address that counts; another's word is not taken."""
        proxies = TrustedProxies(["127.0.0.1", "unix"])
        factory = self.factory(Program, max_connections_per_address=1, proxies=proxies)
        for proxy, client in ((None, "192.0.2.1"), (UNIXAddress(None), "192.0.2.2")):
            named = f"X-Forwarded-For: 198.51.100.7, {client}"
            self.peer_from(factory, proxy).open("/", named)
            again = self.peer_from(factory, proxy)
            again.send(handshake("/", named))
            self.assertEqual(again.protocol.end, End(EndReason.ADDRESS_LIMIT, None, 429))
        stranger = IPv4Address("TCP", "203.0.113.1", 1)
        self.peer_from(factory, stranger).open("/", "X-Forwarded-For: 192.0.2.3")
        again = self.peer_from(factory, stranger)
        again.send(handshake("/", "X-Forwarded-For: 192.0.2.4"))
        self.assertEqual(again.protocol.end, End(EndReason.ADDRESS_LIMIT, None, 429))

    def test_shared(self) -> None:
        """Factories that share a room share its limits, not those of their settings."""
        room = Room(2, 0)
        one, other = (self.factory(Program, max_connections=1, room=room) for _ in range(2))
        first = self.peer(one).open()
        self.peer(one).open()
        self.assert_full(other)
        first.leave()
        self.peer(other).open()
        self.assert_full(one)

    def test_limits_of_the_settings(self) -> None:
        """A factory without a shared room takes its limits from the settings, also from later ones; a shared
        room keeps its own."""
        factory = ServerFactory(reactor=self.clock)
        self.assertEqual((factory.room.max_connections, factory.room.max_connections_per_address), (10000, 0))
        factory.use_settings(Settings(max_connections=2, max_connections_per_address=1))
        self.assertEqual((factory.room.max_connections, factory.room.max_connections_per_address), (2, 1))
        sharing = ServerFactory(reactor=self.clock, room=Room(7, 3))
        sharing.use_settings(Settings(max_connections=2, max_connections_per_address=1))
        self.assertEqual((sharing.room.max_connections, sharing.room.max_connections_per_address), (7, 3))

    def test_not_counted(self) -> None:
        """Silent connections, half a head, wrong handshakes and plain GETs take no place."""
        factory = self.factory(max_connections=1, max_connections_per_address=1)
        for data in (
            b"",
            handshake()[:40],
            b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
            b"nonsense\r\n\r\n",
            handshake().replace(b"Version: 13", b"Version: 8"),
        ):
            peer = self.peer(factory)
            peer.transport.reads_nothing = True
            if data:
                peer.send(data)
            self.assertEqual((len(factory.room), factory.room.addresses), (0, 0))
        self.peer(factory).open()

    def test_refused_once_more(self) -> None:
        """Who was refused has no place to give back when it leaves."""
        factory = self.factory(Program, max_connections=1)
        self.peer(factory).open()
        for _ in range(3):
            refused = self.peer(factory)
            refused.send(handshake())
            refused.leave()
        self.assertEqual(len(factory.room), 1)
        self.assert_full(factory)

    def ends(self) -> dict[str, Callable[[Any, Peer], None]]:
        """Ways in which a connection that was counted comes to its end, each up to the moment in which the
        transport has not ended yet."""
        return {
            "closed by the peer": lambda factory, peer: peer.send(close(1000)),
            "closed by the program": lambda factory, peer: peer.protocol.sendClose(1000),
            "failed": lambda factory, peer: peer.send(frame(1, b"\xff")),
            "dropped": lambda factory, peer: peer.protocol.dropConnection(),
            "aborted": lambda factory, peer: peer.protocol.dropConnection(abort=True),
            "half closed": lambda factory, peer: peer.protocol.readConnectionLost(),
            "shut down": lambda factory, peer: factory.shutdown(),
            "nothing": lambda factory, peer: None,
        }

    def test_until_the_transport_has_ended(self) -> None:
        """However an open connection ends, it is counted until its transport has ended, and no longer."""
        for name, end in self.ends().items():
            factory = self.factory(Program, max_connections=1, max_connections_per_address=1)
            peer = self.peer(factory)
            peer.transport.reads_nothing = True
            peer.open()
            end(factory, peer)
            self.assertEqual((len(factory.room), factory.room.addresses), (1, 1), name)
            if name != "shut down":
                self.assert_full(factory)
            self.clock.advance(0)
            peer.leave()
            self.assertEqual((len(factory.room), factory.room.addresses), (0, 0), name)

    def test_deciding(self) -> None:
        """A connection that is decided on has its place already, and loses it with its transport, whatever
        becomes of the decision."""

        def no_answer(decision: Deferred[Any], peer: Peer) -> None:
            self.clock.advance(10)

        becomes: dict[str, Callable[[Deferred[Any], Peer], None]] = {
            "allowed": lambda decision, peer: decision.callback(True),
            "refused": lambda decision, peer: decision.callback(False),
            "denied": lambda decision, peer: decision.errback(ConnectionDeny(403, "no")),
            "broken": lambda decision, peer: decision.callback("yes"),
            "too late": no_answer,
            "aborted": lambda decision, peer: peer.protocol.dropConnection(abort=True),
            "half closed": lambda decision, peer: peer.protocol.readConnectionLost(),
            "reset": lambda decision, peer: peer.reset(),
            "shut down": lambda decision, peer: peer.protocol.factory.shutdown(),
        }
        for name, become in becomes.items():
            decision: Deferred[Any] = Deferred()
            factory = self.factory(
                Program,
                max_connections=1,
                max_connections_per_address=1,
                origins=lambda request, decision=decision: decision,
            )
            peer = self.peer(factory)
            peer.transport.reads_nothing = True
            peer.send(handshake())
            self.assertEqual((len(factory.room), factory.room.addresses), (1, 1), name)
            become(decision, peer)
            self.flushLoggedErrors(TypeError)
            self.assertEqual(len(factory.room), 0 if peer.transport.has_ended else 1, name)
            peer.leave()
            self.assertEqual((len(factory.room), factory.room.addresses), (0, 0), name)
            self.assertIsNone(peer.protocol.place, name)

    def test_decision_that_raises(self) -> None:
        """What the program raises while it decides, also at once, costs no place for good."""

        class Broken(Program):
            def onConnect(self, request: Any) -> Any:
                raise ZeroDivisionError

        factory = self.factory(Broken, max_connections=1)
        for _ in range(3):
            peer = self.peer(factory)
            peer.send(handshake())
            self.assertEqual(peer.protocol.end, End(EndReason.INTERNAL_ERROR, None, 500))
            peer.leave()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        self.assertEqual(len(factory.room), 0)

    def test_program_that_raises_at_the_end(self) -> None:
        """An exception in onClose costs no place."""

        class Broken(Program):
            def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
                raise ZeroDivisionError

        factory = self.factory(Broken, max_connections=1)
        self.peer(factory).open().leave()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(factory.room), 0)


class ServerTests(WireTestCase):
    """`WebSocketServer` with limits."""

    def server(self, **options: Any) -> WebSocketServer:
        """A server that tells its errors to `errors`."""
        server = WebSocketServer(reactor=self.clock, **options)
        self.errors: list[Any] = []
        server.server_error.connect(self.errors.append)
        return server

    def refused(self, server: WebSocketServer) -> int | None:
        """Have a connection refused; the status."""
        peer = self.peer(server.factory)
        peer.send(handshake())
        status: int | None = peer.protocol.end.status
        return status

    def test_settings(self) -> None:
        """The limits of its settings hold, for connections that were taken as well; each refusal is told
        once, as 1006."""
        for settings, status in (
            (Settings(max_connections=1), 503),
            (Settings(max_connections_per_address=1), 429),
        ):
            server = self.server(settings=settings)
            self.peer(server.factory).open()
            self.assertIsNotNone(server.next_pending_connection())
            self.assertEqual(self.refused(server), status)
            self.assertEqual(self.errors, [1006])
            self.assertEqual(server.error_string, "Too many connections.")

    def test_pending_first(self) -> None:
        """Who is refused because too many are pending takes no place."""
        room = Room(5)
        server = self.server(room=room)
        server.max_pending_connections = 1
        self.peer(server.factory).open()
        self.assertEqual(self.refused(server), 503)
        self.assertEqual((len(room), self.errors), (1, [1006]))
        self.assertEqual(server.error_string, "Too many pending connections.")


class Noting(ServerFactory):
    """Tells when nobody is there any more."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.is_empty: Deferred[None] = Deferred()

    def connection_lost(self, connection: ServerProtocol) -> None:
        super().connection_lost(connection)
        if not len(self.room) and not self.is_empty.called:
            self.is_empty.callback(None)


class LoopbackTests(TestCase):
    """With sockets, plain and TLS."""

    timeout = 30

    async def test_sockets(self) -> None:
        """Of two connections the second is refused; one that is reset makes room."""
        for tls in (None, certificates(self.mktemp())):
            factory = Noting(settings=Settings(max_connections=1, max_connections_per_address=1))
            loopback = Loopback(self, factory, tls)
            first = await loopback.connect()
            first.transport.write(handshake())
            await first.until(lambda data: b"\r\n\r\n" in data)
            second = await loopback.connect()
            second.transport.write(handshake())
            await second.ended
            self.assertEqual(statuses([second]), ["HTTP/1.1 503 Service Unavailable"])
            first.transport.abortConnection()
            await factory.is_empty
            factory.is_empty = Deferred()
            third = await loopback.connect()
            third.transport.write(handshake())
            await third.until(lambda data: b"\r\n\r\n" in data)
            self.assertEqual(statuses([third]), ["HTTP/1.1 101 Switching Protocols"])
