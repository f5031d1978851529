"""wire/protocol.py behind proxies: log, policies and program see who is really there."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from tests.wire.harness import (
    TEXT,
    Peer,
    Program,
    Socket,
    Transport,
    WireTestCase,
    certificates,
    close,
    frame,
    handshake,
    parse_answer,
)
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.origins import OriginRequest
from wsecho.policy.proxies import PeerAddress, TrustedProxies
from wsecho.wire.factory import ServerFactory
from wsecho.wire.proxy_header import ProxyHeaderEndpoint, ProxyHeaderFactory
from wsecho.wire.tls_transport import TlsEndpoint

PROXY = IPv4Address("TCP", "10.0.0.1", 50000)
STRANGER = IPv4Address("TCP", "198.51.100.1", 50000)
LINE = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"
TRUSTED = TrustedProxies(["10.0.0.0/8"])


class PeerAddressTests(WireTestCase):
    """The peer without proxies."""

    def test_text(self) -> None:
        """The peer is shown with its port, IPv6 in brackets, IPv4 on a socket for both as IPv4."""
        for address, text in (
            (IPv4Address("TCP", "127.0.0.1", 40000), "127.0.0.1:40000"),
            (IPv6Address("TCP", "::1", 40000), "[::1]:40000"),
            (IPv6Address("TCP", "::ffff:127.0.0.1", 40000), "127.0.0.1:40000"),
            (UNIXAddress(None), "unix"),
        ):
            peer = self.peer(self.factory(), Transport(self.clock, address))
            self.assertEqual((peer.protocol.peer, str(peer.protocol.peer_address)), (text, text))

    def test_nobody_is_trusted(self) -> None:
        """Without trusted proxies no header is believed."""
        peer = self.peer(self.factory())
        peer.open("/", "X-Forwarded-For: 203.0.113.7", "Forwarded: for=192.0.2.1")
        self.assertEqual(peer.protocol.peer, "127.0.0.1:40000")


class ForwardedTests(WireTestCase):
    """Headers of proxies."""

    def visit(self, address: Any, *headers: str, **options: Any) -> Peer:
        """A peer at that address that has sent a handshake with these headers."""
        factory = self.factory(Program, proxies=TRUSTED, **options)
        peer = self.peer(factory, Transport(self.clock, address))
        peer.send(handshake("/", *headers))
        return peer

    def test_log(self) -> None:
        """Both log lines show the client."""
        peer = self.visit(PROXY, "X-Forwarded-For: 203.0.113.7")
        peer.leave()
        self.assertEqual(["peer=203.0.113.7 " in line for line in self.log], [True, True])

    def test_program_and_policy(self) -> None:
        """The origin policy and the program are told of the client."""
        asked: list[OriginRequest] = []

        def policy(request: OriginRequest) -> bool:
            asked.append(request)
            return True

        peer = self.visit(PROXY, 'Forwarded: for="[2001:db8::7]:4711"', origins=policy)
        self.assertEqual(asked[0].peer, "[2001:db8::7]:4711")
        self.assertEqual(peer.protocol.request.peer, "[2001:db8::7]:4711")
        self.assertEqual(peer.protocol.peer_address, PeerAddress("2001:db8::7", 4711))

    def test_two_fields(self) -> None:
        """Of two fields the later one is the proxy's, which appends."""
        peer = self.visit(PROXY, "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 203.0.113.7")
        self.assertEqual(peer.protocol.peer, "203.0.113.7")

    def test_stranger(self) -> None:
        """The headers of anybody else are not believed."""
        peer = self.visit(STRANGER, "X-Forwarded-For: 203.0.113.7", "Forwarded: for=192.0.2.1")
        self.assertEqual(peer.protocol.peer, "198.51.100.1:50000")
        self.assertEqual(parse_answer(peer.transport.value()).status, "HTTP/1.1 101 Switching Protocols")

    def test_conflict(self) -> None:
        """Headers that name different clients are a 400, logged with the proxy."""
        peer = self.visit(PROXY, "X-Forwarded-For: 203.0.113.7", "Forwarded: for=192.0.2.1")
        self.assertEqual(peer.answer.status, "HTTP/1.1 400 Bad Request")
        self.assertIn(b"forwarding headers name different clients", peer.answer.rest)
        peer.leave()
        self.assertEqual(peer.protocol.end, End(EndReason.BAD_REQUEST, status=400))
        self.assertIn("peer=10.0.0.1:50000 ", self.log[0])

    def test_plain_requests(self) -> None:
        """A request that is no handshake is logged with its client, too."""
        peer = self.peer(self.factory(proxies=TRUSTED), Transport(self.clock, PROXY))
        peer.send(b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n")
        peer.leave()
        self.assertIn("peer=203.0.113.7 ", self.log[0])


class ProxyHeaderTests(WireTestCase):
    """PROXY headers before the request."""

    def visit(self, address: Any) -> Peer:
        """A peer at that address of a server that takes PROXY headers."""
        factory = ProxyHeaderFactory(self.factory(Program, proxies=TRUSTED), TRUSTED)
        transport = Transport(self.clock, address)
        peer = Peer(factory, self.clock, transport)
        self.peers.append(peer)
        return peer

    def test_open(self) -> None:
        """A connection with a PROXY header is its client's, from the first line of the log on."""
        peer = self.visit(PROXY)
        peer.send(LINE[:20], LINE[20:] + handshake(), frame(TEXT, b"hello"))
        self.assertTrue(peer.transport.value().endswith(b"\x81\x05hello"))
        peer.leave()
        self.assertEqual(["peer=203.0.113.7:4711 " in line for line in self.log], [True, True])

    def test_headers_of_the_client(self) -> None:
        """What the client of the PROXY header says of others is not believed unless it is trusted, too."""
        for line, expected in (
            (LINE, "203.0.113.7:4711"),
            (LINE.replace(b"203.0.113.7", b"10.0.0.2"), "192.0.2.1"),
        ):
            peer = self.visit(PROXY)
            peer.send(line + handshake("/", "X-Forwarded-For: 192.0.2.1"))
            self.assertEqual(peer.protocol.wrappedProtocol.peer, expected)

    def test_malformed_request(self) -> None:
        """A refused request is logged with the client as well."""
        peer = self.visit(PROXY)
        peer.send(LINE + b"nonsense\r\n\r\n")
        peer.leave()
        self.assertIn("peer=203.0.113.7:4711 ", self.log[0])

    def test_silent_client(self) -> None:
        """A client that says nothing after the header is logged, and is cut off in time like any other."""
        peer = self.visit(PROXY)
        peer.send(LINE)
        self.clock.advance(10)
        self.clock.advance(0)
        self.assertIn("reason=handshake-timeout", self.log[0])
        self.assertIn("peer=203.0.113.7:4711 ", self.log[0])

    def test_unfinished_header(self) -> None:
        """A trusted peer that never finishes its header is cut off by the handshake timeout."""
        peer = self.visit(PROXY)
        peer.send(LINE[:20])
        self.clock.advance(10)
        self.clock.advance(0)
        self.assertTrue(peer.transport.has_ended)
        self.assertIn("peer=10.0.0.1:50000 ", self.log[0])

    def test_stranger(self) -> None:
        """From anybody else a PROXY header is a malformed request line: 400."""
        for header in (LINE, b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12)):
            peer = self.visit(STRANGER)
            peer.send(header + handshake())
            self.assertEqual(peer.answer.status, "HTTP/1.1 400 Bad Request")

    def test_half_close(self) -> None:
        """The end of a proxied peer's stream is seen, and what was echoed is flushed before the end."""
        peer = self.visit(PROXY)
        peer.send(LINE + handshake() + frame(TEXT, b"last"))
        peer.finish()
        self.assertTrue(peer.transport.value().endswith(b"\x81\x04last"))
        self.assertTrue(peer.transport.has_ended)
        self.assertIn("reason=peer-gone", self.log[1])


class LoopbackTests(TestCase):
    """PROXY headers over real connections."""

    async def test_tls(self) -> None:
        """Beneath TLS the header comes first, in the clear, and names the client to all above."""
        from twisted.internet import reactor

        tls = certificates(self.mktemp())
        proxies = TrustedProxies(["127.0.0.1"])
        factory = ServerFactory(reactor=reactor, proxies=proxies)
        factory.protocol = Program
        made: list[Any] = []
        factory.connection_opened = made.append  # type: ignore[method-assign, assignment]
        listening: Any = ProxyHeaderEndpoint(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), proxies)
        port: Any = await TlsEndpoint(tls.server, listening).listen(factory)
        self.addCleanup(port.stopListening)
        client = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        socket: Any = await client.connect(Factory.forProtocol(Socket))
        socket.transport.write(LINE)
        socket.transport.startTLS(tls.client)
        socket.transport.write(handshake() + frame(TEXT, b"hello"))
        await socket.until(lambda received: received.endswith(b"\x81\x05hello"))
        self.assertEqual([connection.peer for connection in made], ["203.0.113.7:4711"])
        socket.transport.write(close(1000))
        await socket.ended
