"""The other end of a connection, for tests: a client that writes raw bytes and reads what the server wrote.

Without sockets, unless a test asks for them (`Loopback`): a `Transport` notes what the link does to it and
ends as Twisted's do, a `Peer` speaks through it, and a `WireTestCase` holds every test to leaving no timer.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import trustme
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from wsecho.policy.settings import Settings
from wsecho.tls.contexts import server_creator
from wsecho.wire.factory import ServerFactory
from wsecho.wire.protocol import ServerProtocol
from wsecho.wire.tls_transport import TlsEndpoint

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

#: Any mask will do; this one changes every byte.
MASK = b"\x37\xfa\x21\x3d"

#: Of RFC 6455 section 1.3, and the answer to it.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


# -- bytes of a client ---------------------------------------------------------------------------------------


def handshake(path: str = "/", *headers: str) -> bytes:
    """A client's opening handshake, with further header lines."""
    lines = (
        f"GET {path} HTTP/1.1",
        "Host: example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *headers,
    )
    return "\r\n".join([*lines, "", ""]).encode("iso-8859-1")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes = MASK) -> bytes:
    """A client's frame (RFC 6455 section 5.2); unmasked with an empty `mask`."""
    masked = 0x80 if mask else 0
    size = len(payload)
    if size < 126:
        length = struct.pack("!B", masked | size)
    elif size < 65536:
        length = struct.pack("!BH", masked | 126, size)
    else:
        length = struct.pack("!BQ", masked | 127, size)
    return (
        bytes([fin << 7 | rsv << 4 | opcode]) + length + mask + (masking(payload, mask) if mask else payload)
    )


def masking(payload: bytes, mask: bytes = MASK) -> bytes:
    """The payload, masked."""
    whole = mask * (len(payload) // 4 + 1)
    number = int.from_bytes(payload, "big") ^ int.from_bytes(whole[: len(payload)], "big")
    return number.to_bytes(len(payload), "big")


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    """A client's Close frame."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


# -- bytes of a server ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it came from the server."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


def closing(code: int | None = None, reason: bytes = b"") -> Frame:
    """A server's Close frame."""
    return Frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def parse_frames(data: bytes) -> Iterator[Frame]:
    """Every frame; AssertionError when one is masked, not of the shortest form, or incomplete."""
    at = 0
    while at < len(data):
        first, second = data[at : at + 2]
        assert second < 0x80, "a server masks no frames"
        at += 2
        size = second
        if second == 126:
            (size,) = struct.unpack_from("!H", data, at)
            at += 2
            assert size > 125, "length is not in the shortest form"
        elif second == 127:
            (size,) = struct.unpack_from("!Q", data, at)
            at += 8
            assert size > 65535, "length is not in the shortest form"
        payload = data[at : at + size]
        assert len(payload) == size, "the last frame is incomplete"
        at += size
        yield Frame(first & 15, payload, bool(first & 0x80), first >> 4 & 7)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer's status line, headers by lower-case name, and what followed the head."""

    status: str
    headers: dict[str, str]
    rest: bytes


def parse_answer(data: bytes) -> Answer:
    """The HTTP answer at the start of `data`; AssertionError when its head is incomplete."""
    head, end, rest = data.partition(b"\r\n\r\n")
    assert end, f"no complete head in {data!r}"
    status, *lines = head.decode("ascii").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        assert name.lower() not in headers, f"{name} twice"
        headers[name.lower()] = value
    return Answer(status, headers, rest)


# -- a connection without a socket ---------------------------------------------------------------------------


@implementer(ITCPTransport)
class Transport(StringTransport):
    """Notes what is done to it, in order, and ends as a TCP transport of Twisted does: a turn later.

    :ivar done: the calls; consecutive writes are one ``"write"``
    :ivar reads_nothing: the peer does not read: flushing never ends, only an abort does
    """

    def __init__(self, clock: Clock, peer: Any = None) -> None:
        super().__init__(peerAddress=peer or IPv4Address("TCP", "127.0.0.1", 40000))
        self.done: list[str] = []
        self.reads_nothing = False
        # What the kernel has not taken, by the name that Twisted's transports have for it.
        self.dataBuffer = b""
        self.has_ended = False
        self.no_delay: bool | None = None
        self.protocol: Any = None
        self._clock = clock

    def _note(self, what: str) -> None:
        assert not self.has_ended, f"{what} on a transport that has ended"
        if not (what == "write" and self.done and self.done[-1] == "write"):
            self.done.append(what)

    def write(self, data: bytes) -> None:
        self._note("write")
        super().write(data)
        # The kernel takes at once what a peer that reads is sent: Twisted then asks its pull producer.
        if self.reads_nothing:
            self.dataBuffer += data
        elif self.producer is not None and not self.streaming:
            self.producer.resumeProducing()

    def read(self) -> None:
        """The peer reads everything, and goes on reading."""
        self.reads_nothing = False
        self.read_once()

    def read_once(self) -> None:
        """The peer reads what the transport has been given."""
        self.dataBuffer = b""
        if self.producer is not None and not self.streaming:
            self.producer.resumeProducing()

    def loseConnection(self) -> None:
        self._note("loseConnection")
        self.disconnecting = True
        if not self.reads_nothing:
            self._clock.callLater(0, self.end, ConnectionDone())

    def loseWriteConnection(self) -> None:
        self._note("loseWriteConnection")

    def abortConnection(self) -> None:
        if "abortConnection" not in self.done:
            self._note("abortConnection")
            self.disconnecting = True
            self._clock.callLater(0, self.end, ConnectionAborted())

    def end(self, reason: Exception) -> None:
        """Report the end of the transport; the first call counts."""
        if not self.has_ended:
            self.has_ended = True
            if self.producer is not None:
                # As twisted.internet.abstract.FileDescriptor does.
                self.producer.stopProducing()
            self.protocol.connectionLost(Failure(reason))

    def pauseProducing(self) -> None:
        self._note("pauseProducing")
        super().pauseProducing()

    def resumeProducing(self) -> None:
        self._note("resumeProducing")
        super().resumeProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        # As twisted.internet.abstract.FileDescriptor does: a pull producer is asked at once. Not noted, since
        # each outbox does it with its first byte.
        super().registerProducer(producer, streaming)
        if not streaming:
            producer.resumeProducing()

    def getTcpNoDelay(self) -> bool:
        return bool(self.no_delay)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def getTcpKeepAlive(self) -> bool:
        raise NotImplementedError

    def setTcpKeepAlive(self, enabled: bool) -> None:
        raise NotImplementedError


class Peer:
    """A client at the other end of a connection of `factory`."""

    def __init__(self, factory: Any, clock: Clock, transport: Transport | None = None) -> None:
        self.transport = Transport(clock) if transport is None else transport
        protocol = factory.buildProtocol(self.transport.getPeer())
        self.protocol: Any = protocol
        self.transport.protocol = protocol
        self._clock = clock
        protocol.makeConnection(self.transport)

    def send(self, *pieces: bytes) -> None:
        """Send each piece in a segment of its own."""
        for piece in pieces:
            assert self.transport.producerState == "producing", "the server does not read"
            self.protocol.dataReceived(piece)

    def work_off(self) -> None:
        """Let the server have the turns that it needs for what it has read."""
        while self.protocol.has_backlog and self.protocol.link.takes_input:
            self._clock.advance(0)

    def open(self, path: str = "/", *headers: str) -> Peer:
        """Do the opening handshake and forget the server's answer."""
        self.send(handshake(path, *headers))
        answer = parse_answer(self.transport.value())
        assert answer.status == "HTTP/1.1 101 Switching Protocols", answer
        self.transport.io.seek(0)
        self.transport.io.truncate()
        self.transport.io.write(answer.rest)
        return self

    @property
    def answer(self) -> Answer:
        """The HTTP answer that the server wrote."""
        return parse_answer(self.transport.value())

    @property
    def frames(self) -> list[Frame]:
        """The frames that the server wrote since the connection is open."""
        return list(parse_frames(self.transport.value()))

    def messages(self) -> list[bytes | str]:
        """The payloads of the server's frames: text as str."""
        return [one.payload.decode() if one.opcode == TEXT else one.payload for one in self.frames]

    def finish(self) -> None:
        """End the sending half: FIN. The server's transport then ends in its own time."""
        self.protocol.readConnectionLost()
        self._clock.advance(0)

    def leave(self) -> None:
        """End both halves."""
        self.transport.end(ConnectionDone())

    def reset(self) -> None:
        """End with a reset: RST."""
        self.transport.end(ConnectionLost())


class WireTestCase(SynchronousTestCase):
    """A test with a clock, peers and log lines; it fails when a timer outlives its connections.

    :ivar clock: the reactor of factories made here
    :ivar log: the lines of wsecho's log
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.peers: list[Peer] = []
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.addCleanup(self._end_all)

    def _observe(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "wsecho":
            self.events.append(event)

    def _end_all(self) -> None:
        for peer in self.peers:
            peer.leave()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [], "timers that outlive their connection")

    @property
    def log(self) -> list[str]:
        return [formatEvent(event) for event in self.events]

    def factory(
        self, protocol: Callable[[], ServerProtocol] | None = None, make: Any = ServerFactory, **options: Any
    ) -> Any:
        """A factory on the test's clock. Names of `Settings` among the options become its settings."""
        settings = {name: options.pop(name) for name in list(options) if name in Settings.__slots__}
        options.setdefault("reactor", self.clock)
        factory = make(settings=Settings(**settings), **options)
        if protocol is not None:
            factory.protocol = protocol
        return factory

    def peer(self, factory: Any, transport: Transport | None = None) -> Peer:
        """A client that has connected to `factory`, and has sent nothing."""
        peer = Peer(factory, self.clock, transport)
        self.peers.append(peer)
        return peer


class Program(ServerProtocol):
    """A program's protocol that notes what it is told, and echoes.

    :ivar told: the callbacks with their arguments
    """

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []

    def onOpen(self) -> None:
        self.told.append(("open",))

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.told.append(("message", payload, isBinary))
        self.sendMessage(payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.told.append(("close", wasClean, code, reason))


# -- a connection over loopback ------------------------------------------------------------------------------


class Socket(Protocol):
    """A client's end of a real connection; its bytes are collected.

    :ivar received: what came so far
    :ivar ended: fires with the reason when the connection has ended
    """

    def __init__(self) -> None:
        self.received = b""
        self.ended: Deferred[Exception] = Deferred()
        self._waiting: list[tuple[Callable[[bytes], bool], Deferred[bytes]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for entry in list(self._waiting):
            condition, deferred = entry
            if condition(self.received):
                self._waiting.remove(entry)
                deferred.callback(self.received)

    def until(self, condition: Callable[[bytes], bool]) -> Deferred[bytes]:
        """Fires when `condition` holds for what was received."""
        deferred: Deferred[bytes] = Deferred()
        self._waiting.append((condition, deferred))
        self.dataReceived(b"")
        return deferred

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        for _, deferred in self._waiting:
            deferred.errback(reason)
        self.ended.callback(cast(Exception, reason.value))


@dataclass(frozen=True, slots=True)
class Certificates:
    """A server's TLS, and a client that trusts it."""

    server: Any
    client: Any


def certificates(directory: str) -> Certificates:
    """A certificate for ``localhost`` in `directory`, which is made."""
    os.makedirs(directory)
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    files = []
    for name, contents in (
        ("server.pem", b"".join(pem.bytes() for pem in leaf.cert_chain_pems)),
        ("server-key.pem", leaf.private_key_pem.bytes()),
    ):
        files.append(os.path.join(directory, name))
        with open(files[-1], "wb") as file:
            file.write(contents)
    trusted = Certificate.loadPEM(authority.cert_pem.bytes())
    return Certificates(server_creator(*files), optionsForClientTLS("localhost", trusted))


class Loopback:
    """A factory that listens on loopback for the time of a test, with or without TLS.

    :param secure: puts TLS on an endpoint
    """

    def __init__(
        self, test: TestCase, factory: Any, tls: Certificates | None = None, secure: Any = TlsEndpoint
    ) -> None:
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self._test = test
        self._factory = factory
        self._tls = tls
        self._secure = secure
        self._port: Any = None

    async def port(self) -> int:
        """The port that is listened on."""
        if self._port is None:
            server: Any = TCP4ServerEndpoint(self._reactor, 0, interface="127.0.0.1")
            if self._tls is not None:
                server = self._secure(self._tls.server, server)
            self._port = await server.listen(self._factory)
            self._test.addCleanup(self._port.stopListening)
        port: int = self._port.getHost().port
        return port

    async def connect(self, protocol: Callable[[], Socket] = Socket) -> Any:
        """A client's `Socket`, connected; it is aborted should it outlive the test."""
        client: Any = TCP4ClientEndpoint(self._reactor, "127.0.0.1", await self.port())
        if self._tls is not None:
            client = wrapClientTLS(self._tls.client, client)
        socket = await client.connect(Factory.forProtocol(protocol))
        self._test.addCleanup(self._end, socket)
        return socket

    def _end(self, socket: Any) -> Deferred[Exception]:
        if not socket.ended.called:
            socket.transport.abortConnection()
        return socket.ended  # type: ignore[no-any-return]


def statuses(sockets: Sequence[Any]) -> list[str]:
    """The status lines that the sockets received."""
    return [parse_answer(socket.received).status for socket in sockets]
