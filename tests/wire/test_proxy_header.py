"""wire/proxy_header.py: PROXY headers of trusted peers, and of nobody else."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.wire.harness import Transport
from wsecho.policy.proxies import TrustedProxies
from wsecho.wire.proxy_header import LONGEST_HEADER, HeaderReader, ProxyHeaderEndpoint, ProxyHeaderFactory

LINE = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
CLIENT = IPv4Address("TCP", "203.0.113.7", 4711)
CLIENT6 = IPv6Address("TCP", "2001:db8::7", 4711)
PROXY = IPv4Address("TCP", "10.0.0.1", 50000)
STRANGER = IPv4Address("TCP", "198.51.100.1", 50000)


def binary(block: bytes, *, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    """A header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(block) if length is None else length) + block


TCP4 = struct.pack("!4s4sHH", bytes((203, 0, 113, 7)), bytes((192, 0, 2, 1)), 4711, 443)
TCP6 = struct.pack("!16s16sHH", bytes.fromhex("20010db8" + "00" * 11 + "07"), bytes(16), 4711, 443)
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")

#: Headers, and whom they name.
VALID = {
    LINE: CLIENT,
    b"PROXY TCP6 2001:DB8:0::7 ::1 4711 443\r\n": CLIENT6,
    b"PROXY TCP4 203.0.113.7 192.0.2.1 0 65535\r\n": IPv4Address("TCP", "203.0.113.7", 0),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff::1 whatever follows\r\n": None,
    binary(TCP4): CLIENT,
    binary(TCP6, family=0x21): CLIENT6,
    binary(UNIX, family=0x31): UNIXAddress(b"/run/client"),
    binary(TCP4 + b"\x01\x00\x02h2\x03\x00\x04abcd"): CLIENT,
    binary(b"", family=0x00): None,
    binary(b"", command=0x20, family=0x00): None,
    binary(TCP4, command=0x20): None,
    binary(b"\xff" * 3, command=0x20, family=0x7F): None,
    binary(TCP4.ljust(LONGEST_HEADER - 16, b"\0")): CLIENT,
}

#: What looks like a header and is none.
INVALID = [
    b"PROXY TCP4 203.0.113.7 192.0.2.1 4711\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443 \r\n",
    b"PROXY TCP4  203.0.113.7 192.0.2.1 4711 443\r\n",
    b"PROXY  TCP4 203.0.113.7 192.0.2.1 4711 443\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 04711 443\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 65536\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 -1 443\r\n",
    b"PROXY TCP4 203.0.113.07 192.0.2.1 4711 443\r\n",
    b"PROXY TCP4 203.0.113 192.0.2.1 4711 443\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2 4711 443\r\n",
    b"PROXY TCP4 ::1 ::1 4711 443\r\n",
    b"PROXY TCP6 203.0.113.7 192.0.2.1 4711 443\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 4711 443\r\n",
    b"PROXY TCP5 203.0.113.7 192.0.2.1 4711 443\r\n",
    b"PROXY tcp4 203.0.113.7 192.0.2.1 4711 443\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\n\r\n",
    b"PROXY TCP4\t203.0.113.7 192.0.2.1 4711 443\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY \r\n",
    b"PROXY /x HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"proxy TCP4 203.0.113.7 192.0.2.1 4711 443\r\n",
    b"PROXYTCP4",
    binary(TCP4, command=0x11),
    binary(TCP4, command=0x31),
    binary(TCP4, command=0x22),
    binary(TCP4, family=0x12),
    binary(TCP4, family=0x10),
    binary(TCP6, family=0x22),
    binary(TCP4[:-1]),
    binary(TCP6[:-1], family=0x21),
    binary(UNIX[:-1], family=0x31),
    binary(TCP4.ljust(LONGEST_HEADER - 15, b"\0")),
    binary(b"", length=65535),
    SIGNATURE[:-1] + b"X",
    b"\r\n\r\nGET",
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01",
    b"PUT / HTTP/1.1\r\n",
]


class HeaderReaderTests(SynchronousTestCase):
    """The bytes of a header."""

    def test_valid(self) -> None:
        """A header is taken off, what follows is left, and the client is the one it names."""
        for header, source in VALID.items():
            reader = HeaderReader()
            self.assertEqual(reader.feed(header + b"rest"), b"rest", header)
            self.assertEqual(reader.source, source, header)

    def test_invalid(self) -> None:
        """What is no valid header stays, to the byte, and names nobody."""
        for data in INVALID:
            reader = HeaderReader()
            self.assertEqual(reader.feed(data + b"rest"), data + b"rest", data)
            self.assertIsNone(reader.source, data)

    def test_byte_by_byte(self) -> None:
        """A header may come in any segments; nothing is given back before its last byte."""
        for header, source in VALID.items():
            reader = HeaderReader()
            given_back = [reader.feed(bytes([byte])) for byte in header]
            self.assertEqual(given_back, [None] * (len(header) - 1) + [b""], header)
            self.assertEqual(reader.source, source, header)

    def test_first_wrong_byte(self) -> None:
        """What cannot become a header is given back at the byte that shows it."""
        for data, place in ((b"GET", 0), (b"POST", 1), (b"\r\n\r\nX", 4), (b"\x16\x03", 0)):
            reader = HeaderReader()
            for byte in data[:place]:
                self.assertIsNone(reader.feed(bytes([byte])), data)
            self.assertEqual(reader.feed(data[place : place + 1]), data[: place + 1], data)

    def test_longest_line(self) -> None:
        """A line of version 1 is given up when 107 bytes have no end."""
        longest = b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"
        self.assertEqual(len(longest), 107)
        self.assertEqual(HeaderReader().feed(longest), b"")
        reader = HeaderReader()
        self.assertIsNone(reader.feed(longest[:-2] + b"x"))
        self.assertEqual(reader.feed(b"x"), longest[:-2] + b"xx")

    def test_longest_header(self) -> None:
        """A header of version 2 that announces too much is given up at its 16th byte."""
        reader = HeaderReader()
        head = binary(b"", length=LONGEST_HEADER - 15)
        self.assertIsNone(reader.feed(head[:15]))
        self.assertEqual(reader.feed(head[15:]), head)

    def test_only_one(self) -> None:
        """A second header is not read: it would be the client's."""
        reader = HeaderReader()
        forged = LINE.replace(b"203.0.113.7", b"127.0.0.1")
        self.assertEqual((reader.feed(LINE + forged), reader.source), (forged, CLIENT))

    @settings(deadline=None)
    @given(st.sampled_from([*VALID, *INVALID]), st.integers(0, 200), st.integers(0, 200))
    def test_any_cut(self, data: bytes, one: int, other: int) -> None:
        """However it is cut, the same is taken off and the same is left."""
        whole = HeaderReader()
        expected = whole.feed(data + b"rest")
        reader = HeaderReader()
        stream, rest, given_back = data + b"rest", b"", False
        for begin, end in ((0, min(one, other)), (min(one, other), max(one, other)), (max(one, other), None)):
            piece = stream[begin:end]
            if given_back:
                rest += piece
            elif (found := reader.feed(piece)) is not None:
                rest, given_back = found, True
        self.assertEqual((rest, reader.source), (expected, whole.source))


class Recorder(Protocol):
    """Notes what it gets, and from whom."""

    def __init__(self) -> None:
        self.received = b""
        self.peers: list[Any] = []
        self.lost = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.peers.append(self.transport.getPeer())

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.received += data
        self.peers.append(self.transport.getPeer())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """Bears the end of one half."""

    def __init__(self) -> None:
        super().__init__()
        self.halves: list[str] = []

    def readConnectionLost(self) -> None:
        self.halves.append("read")

    def writeConnectionLost(self) -> None:
        self.halves.append("write")


class ProxyHeaderFactoryTests(SynchronousTestCase):
    """Connections through the factory."""

    def connect(self, peer: Any, protocol: Any = Recorder, trusted: tuple[str, ...] = ("10.0.0.0/8",)) -> Any:
        """The protocol that the transport sees, and the wrapped one."""
        inner = protocol()
        factory = Factory.forProtocol(lambda: inner)
        outer = ProxyHeaderFactory(factory, TrustedProxies(trusted)).buildProtocol(peer)
        self.transport = Transport(Clock(), peer)
        self.transport.protocol = outer
        outer.makeConnection(self.transport)
        return outer, inner

    def test_trusted(self) -> None:
        """A trusted peer's header is taken off, and from its end on the peer is the client."""
        outer, inner = self.connect(PROXY)
        outer.dataReceived(LINE[:10])
        outer.dataReceived(LINE[10:])
        outer.dataReceived(b"GET")
        outer.dataReceived(b" /")
        self.assertEqual(inner.received, b"GET /")
        # Once at the beginning, then for each segment that is not all header.
        self.assertEqual(inner.peers, [PROXY, CLIENT, CLIENT])

    def test_no_header(self) -> None:
        """A trusted peer may come without a header, and is then the peer itself."""
        outer, inner = self.connect(PROXY)
        outer.dataReceived(b"GET /")
        self.assertEqual((inner.received, inner.peers), (b"GET /", [PROXY, PROXY]))

    def test_names_nobody(self) -> None:
        """After a header that names nobody the peer is the proxy: a health check of its own."""
        outer, inner = self.connect(PROXY)
        outer.dataReceived(binary(b"", command=0x20, family=0) + b"GET /")
        self.assertEqual((inner.received, inner.peers), (b"GET /", [PROXY, PROXY]))

    def test_stranger(self) -> None:
        """The header of anybody else stays where it is, and there is nothing between them and the server."""
        outer, inner = self.connect(STRANGER)
        self.assertIs(outer, inner)
        outer.dataReceived(LINE + b"GET /")
        self.assertEqual((inner.received, inner.peers), (LINE + b"GET /", [STRANGER, STRANGER]))

    def test_unix(self) -> None:
        """Peers on a unix socket are trusted when such peers are named."""
        address = UNIXAddress(None)
        for trusted, peer in ((("unix",), CLIENT), (("0.0.0.0/0", "::/0"), address)):
            outer, inner = self.connect(address, trusted=trusted)
            outer.dataReceived(LINE + b"GET /")
            self.assertEqual(inner.peers[-1], peer)

    def test_beneath_another_wrapper(self) -> None:
        """Where an endpoint has told by now that the client is not the proxy, the client's bytes are read as
        they are: it would name itself whatever it likes."""
        outer, inner = self.connect(PROXY)
        self.transport.peerAddr = STRANGER
        outer.dataReceived(LINE + b"GET /")
        self.assertEqual((inner.received, inner.peers[-1]), (LINE + b"GET /", STRANGER))
        self.transport.peerAddr = PROXY
        outer.dataReceived(LINE)
        self.assertEqual(inner.peers[-1], PROXY)

    def test_header_is_read_once(self) -> None:
        """What looks like a header later in the stream is none."""
        outer, inner = self.connect(PROXY)
        outer.dataReceived(b"GET /")
        outer.dataReceived(LINE)
        self.assertEqual((inner.received, inner.peers[-1]), (b"GET /" + LINE, PROXY))

    def test_half_close(self) -> None:
        """The end of one half is told to a protocol that can bear it, and to no other."""
        outer, inner = self.connect(PROXY, HalfCloseable)
        half_closeable = IHalfCloseableProtocol(outer)
        half_closeable.readConnectionLost()
        half_closeable.writeConnectionLost()
        self.assertEqual(inner.halves, ["read", "write"])
        self.assertFalse(IHalfCloseableProtocol.providedBy(self.connect(PROXY)[0]))

    def test_end(self) -> None:
        """The end of the connection is told, also before the header is complete; then its bytes are gone."""
        outer, inner = self.connect(PROXY)
        outer.dataReceived(LINE[:10])
        outer.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(inner.lost)
        self.assertEqual(inner.received, b"")

    def test_transport(self) -> None:
        """The wrapped protocol reaches all that its transport can do."""
        _, inner = self.connect(PROXY)
        inner.transport.write(b"answer")
        inner.transport.pauseProducing()
        inner.transport.resumeProducing()
        inner.transport.loseWriteConnection()
        inner.transport.abortConnection()
        self.assertEqual(
            self.transport.done,
            ["write", "pauseProducing", "resumeProducing", "loseWriteConnection", "abortConnection"],
        )
        self.assertEqual(inner.transport.getHost(), self.transport.getHost())

    def test_nobody_is_served(self) -> None:
        """A factory that takes no connection takes none through this one."""
        factory = Factory()
        factory.buildProtocol = lambda _: None  # type: ignore[method-assign, assignment]
        wrapped = ProxyHeaderFactory(factory, TrustedProxies(["10.0.0.0/8"]))
        self.assertIsNone(wrapped.buildProtocol(PROXY))
        self.assertIsNone(wrapped.buildProtocol(None))


class _Endpoint:
    """Notes what listens."""

    def listen(self, factory: Any) -> Any:
        self.factory = factory
        return succeed("port")


class ProxyHeaderEndpointTests(SynchronousTestCase):
    """The endpoint."""

    def test_listen(self) -> None:
        """What listens on the endpoint is wrapped, and the port is the wrapped endpoint's."""
        inner = _Endpoint()
        factory = Factory.forProtocol(Recorder)
        listening = ProxyHeaderEndpoint(inner, TrustedProxies(["10.0.0.0/8"])).listen(factory)  # type: ignore[arg-type]
        self.assertEqual(self.successResultOf(listening), "port")
        self.assertIs(inner.factory.wrappedFactory, factory)
        self.assertTrue(inner.factory.trusts(PROXY))
        self.assertFalse(inner.factory.trusts(STRANGER))
