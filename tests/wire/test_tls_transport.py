"""TLS of a server's connections, over loopback, with a client that says each word of TLS itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
)
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IReactorTime,
    ISSLTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.wire.harness import certificates
from wsecho.policy.proxies import TrustedProxies
from wsecho.wire.beneath import openssl, openssl_memory, queued_bytes
from wsecho.wire.proxy_header import ProxyHeaderEndpoint
from wsecho.wire.tls_transport import READ_SIZE, TlsEndpoint

_APPLICATION_DATA = 23
_FULL = 16 * 1024


class Program(Protocol):
    """What serves: it notes what it is told, and does what the test says.

    :ivar told: deliveries and, last, the reason of the end
    :ivar on_data: what it does with a delivery
    """

    factory: Any
    transport: Any

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.ended: Deferred[Any] = Deferred()
        self.on_data: Callable[[bytes], object] = self.echo

    def connectionMade(self) -> None:
        self.factory.served.append(self)

    def echo(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        self.told.append(data)
        self.on_data(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.told.append(reason.value)
        self.ended.callback(reason.value)

    @property
    def heard(self) -> bytes:
        """All that was delivered."""
        return b"".join(item for item in self.told if isinstance(item, bytes))


@implementer(IHalfCloseableProtocol)
class HalfProgram(Program):
    """One that knows that a stream has two halves."""

    def readConnectionLost(self) -> None:
        self.told.append("half")

    def writeConnectionLost(self) -> None:
        """Never."""


@implementer(IHandshakeListener)
class PausingProgram(Program):
    """One that pauses reading as soon as TLS is there."""

    def handshakeCompleted(self) -> None:
        self.transport.pauseProducing()


class Client(Protocol):
    """A peer over TCP, whose TLS is the test's.

    :ivar tls: the connection
    :ivar heard: what came, decrypted
    :ivar records: the kinds of records that came, in order, with their sizes
    :ivar said_close: whether the server has said close_notify
    """

    transport: Any

    def __init__(self, context: SSL.Context) -> None:
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()
        self.heard = b""
        self.pieces: list[bytes] = []
        self.raw = b""
        self.records: list[tuple[int, int]] = []
        self.said_close = False
        self.error: SSL.Error | None = None
        self.is_open = False
        self.ended: Deferred[Any] = Deferred()

    def connectionMade(self) -> None:
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.proceed()

    def proceed(self) -> None:
        """Go on with the handshake, and send what it says."""
        if not self.is_open:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                pass
            else:
                self.is_open = True
        self.transport.write(self.said())

    def said(self) -> bytes:
        """Records to be sent."""
        said = b""
        while True:
            try:
                said += self.tls.bio_read(1 << 20)
            except SSL.WantReadError:
                return said

    def sealed(self, *pieces: bytes) -> bytes:
        """A record, or more, for each piece."""
        for piece in pieces:
            at = 0
            while at < len(piece):
                at += self.tls.send(piece[at : at + _FULL])
        return self.said()

    def send(self, *pieces: bytes) -> None:
        """Send them, by one call."""
        self.transport.write(self.sealed(*pieces))

    def close_notify(self) -> bytes:
        """The record that ends our half."""
        self.tls.shutdown()
        return self.said()

    def dataReceived(self, data: bytes) -> None:
        self.raw += data
        while len(self.raw) >= 5 and len(self.raw) >= 5 + int.from_bytes(self.raw[3:5], "big"):
            size = 5 + int.from_bytes(self.raw[3:5], "big")
            self.records.append((self.raw[0], size))
            self.raw = self.raw[size:]
        self.tls.bio_write(data)
        self.proceed()
        while self.is_open and not self.said_close:
            try:
                self.pieces.append(self.tls.recv(1 << 16))
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self.said_close = True
            except SSL.Error as error:
                self.error = error
                break
        self.heard = b"".join(self.pieces)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(reason.value)


class TransportTestCase(TestCase):
    """A server, and clients of it."""

    timeout = 20
    version = SSL.TLS1_3_VERSION
    program: type[Program] = Program

    def setUp(self) -> None:
        self.certificates = certificates(self.mktemp())
        made: Any = Factory.forProtocol(self.program)
        self.factory = made
        self.factory.served = []
        self.factory.noisy = False
        self.port: Any = None

    def endpoint(self) -> Any:
        """What is listened on."""
        return TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")

    def way(self) -> Any:
        """The endpoint that leads to it."""
        return TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)

    async def connect(self, *, prefix: bytes = b"", is_silent: bool = False) -> tuple[Any, Any]:
        """A client that has finished its handshake, and what serves it.

        :param prefix: sent ahead of TLS
        :param is_silent: whether what ends the handshake is not sent: the test does that
        """
        if self.port is None:
            self.port = await TlsEndpoint(self.certificates.server, self.endpoint()).listen(self.factory)
            self.addCleanup(self.port.stopListening)
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(self.version)
        context.set_max_proto_version(self.version)
        context.set_alpn_protos([b"http/1.1"])
        client = Client(context)
        if prefix:
            made = client.connectionMade

            def with_prefix() -> None:
                client.transport.write(prefix)
                made()

            client.connectionMade = with_prefix  # type: ignore[method-assign]
        if is_silent:

            def hold_back() -> None:
                if client.is_open:
                    return
                try:
                    client.tls.do_handshake()
                except SSL.WantReadError:
                    client.transport.write(client.said())
                else:
                    client.is_open = True

            client.proceed = hold_back  # type: ignore[method-assign]
        factory: Any = Factory()
        factory.noisy = False
        factory.protocol = lambda: client
        await self.way().connect(factory)
        self.addCleanup(self.end, client)
        await self.until(lambda: client.is_open)
        if not is_silent:
            await self.until(lambda: self.factory.served and self.factory.served[-1].transport._handshakeDone)
            # Tickets come behind the handshake.
            await self.turns()
            client.records.clear()
        return client, self.factory.served[-1]

    def end(self, client: Client) -> Deferred[Any]:
        if not client.ended.called:
            client.transport.abortConnection()
        return client.ended

    async def until(self, condition: Callable[[], Any]) -> None:
        """Let the reactor turn until the condition holds."""
        while not condition():
            await self.turns(1)

    async def turns(self, number: int = 10) -> None:
        """Let the reactor turn."""
        for _ in range(number):
            await deferLater(cast(IReactorTime, reactor), 0)


class WayTests(TransportTestCase):
    """Bytes, there and back, over TLS 1.3; in `OldTlsTests` over TLS 1.2."""

    async def test_sizes(self) -> None:
        """What is sent comes back, below, at and above the size of a record and of a read."""
        client, _ = await self.connect()
        total = b""
        for size in (1, _FULL - 1, _FULL, _FULL + 1, READ_SIZE + 1, 3 << 20):
            data = os.urandom(size)
            client.send(data)
            total += data
            await self.until(lambda: len(client.heard) == len(total))  # noqa: B023
        self.assertEqual(client.heard, total)

    async def test_one_delivery(self) -> None:
        """Records that are read at once are delivered at once."""
        client, program = await self.connect()
        client.send(*[b"%d" % number for number in range(100)])
        await self.until(lambda: program.told)
        self.assertEqual(program.told, [b"".join(b"%d" % number for number in range(100))])

    async def test_one_record(self) -> None:
        """What is written during a delivery leaves with it, in one record."""
        client, program = await self.connect()

        def answer(data: bytes) -> None:
            for _ in range(10):
                program.transport.write(data)
            program.transport.writeSequence([b"a", b"b"])

        program.on_data = answer
        client.send(b"x")
        await self.until(lambda: client.heard)
        self.assertEqual(client.heard, b"x" * 10 + b"ab")
        self.assertEqual([kind for kind, _ in client.records], [_APPLICATION_DATA])
        self.assertEqual(queued_bytes(program.transport), 0)

    async def test_full_records(self) -> None:
        """A large piece leaves in full records."""
        client, program = await self.connect()
        program.transport.write(bytes(10 * _FULL))
        await self.until(lambda: len(client.heard) == 10 * _FULL)
        self.assertEqual(len(client.records), 10)

    async def test_next_turn(self) -> None:
        """What is written at another time leaves in the next turn, in one record, and counts until then."""
        client, program = await self.connect()
        program.transport.write(b"one")
        program.transport.write(bytearray(b"two"))
        program.transport.write(b"")
        self.assertEqual((program.transport.plain_bytes, queued_bytes(program.transport)), (6, 6))
        await self.until(lambda: client.heard)
        self.assertEqual((client.heard, len(client.records)), (b"onetwo", 1))
        self.assertEqual(queued_bytes(program.transport), 0)

    async def test_no_bytes(self) -> None:
        """Text is refused when it is written."""
        _, program = await self.connect()
        self.assertRaises(TypeError, program.transport.write, "text")

    async def test_cut_records(self) -> None:
        """Records may be cut anywhere."""
        client, program = await self.connect()
        data = client.sealed(b"first", b"x" * 300, b"last")
        for cut in (1, 4, 5, 6, 20, 27, 28, 33, 300, len(data)):
            piece, data = data[:cut], data[cut:]
            client.transport.write(piece)
            await self.turns(3)
        await self.until(lambda: client.heard.endswith(b"last"))
        self.assertEqual(program.heard, b"first" + b"x" * 300 + b"last")

    async def test_both_directions(self) -> None:
        """Large streams in both directions, neither of which waits for the other."""
        client, program = await self.connect()
        program.on_data = lambda data: None
        program.transport.write(bytes(2 << 20))
        client.send(b"x" * (2 << 20))
        await self.until(lambda: len(client.heard) == 2 << 20 and len(program.heard) == 2 << 20)

    async def test_facts(self) -> None:
        """The transport tells what Twisted's does."""
        client, program = await self.connect()
        transport = program.transport
        self.assertTrue(ISSLTransport.providedBy(transport))
        self.assertIsInstance(transport.getHandle(), SSL.Connection)
        self.assertEqual(transport.negotiatedProtocol, b"http/1.1")
        self.assertIsNone(transport.getPeerCertificate())
        self.assertEqual(transport.getPeer().port, client.transport.getHost().port)


class OldTlsTests(WayTests):
    """Over TLS 1.2, where the sizes of records differ."""

    version = SSL.TLS1_2_VERSION

    async def test_renegotiation(self) -> None:
        """A client that wants another handshake is told no, and the connection goes on."""
        client, _ = await self.connect()
        client.tls.renegotiate()
        with self.assertRaises(SSL.Error):
            client.tls.do_handshake()
        client.transport.write(client.said())
        await self.until(lambda: client.records)
        self.assertEqual([kind for kind, _ in client.records], [21])


class UnixTests(WayTests):
    """Over a Unix socket."""

    def endpoint(self) -> Any:
        self.path = self.mktemp()
        return UNIXServerEndpoint(reactor, self.path)

    def way(self) -> Any:
        return UNIXClientEndpoint(reactor, self.path)

    async def test_facts(self) -> None:
        """There is no port to tell of."""
        _, program = await self.connect()
        self.assertTrue(ISSLTransport.providedBy(program.transport))


class ProxyTests(WayTests):
    """Behind a PROXY header, with a wrapper between TLS and the socket."""

    def endpoint(self) -> Any:
        return ProxyHeaderEndpoint(super().endpoint(), TrustedProxies(["127.0.0.1"]))

    async def connect(self, **options: Any) -> tuple[Any, Any]:
        return await super().connect(prefix=b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 443\r\n", **options)

    async def test_facts(self) -> None:
        """The peer is the one that the header names."""
        _, program = await self.connect()
        self.assertEqual(program.transport.getPeer().host, "192.0.2.7")


class PauseTests(TransportTestCase):
    """Reading that is paused, and peers that do not read."""

    program = HalfProgram

    async def test_pause(self) -> None:
        """Nothing is delivered while reading is paused, and all of it afterwards."""
        client, program = await self.connect()
        program.on_data = lambda data: program.transport.pauseProducing()
        client.send(b"one", b"two")
        await self.until(lambda: program.told)
        client.send(b"three")
        await self.turns()
        self.assertEqual(program.told, [b"onetwo"])
        program.transport.resumeProducing()
        await self.until(lambda: len(program.told) == 2)
        self.assertEqual(program.told, [b"onetwo", b"three"])

    async def test_end_while_paused(self) -> None:
        """A close_notify that came with the bytes that made the program pause is told when it reads on."""
        client, program = await self.connect()
        program.on_data = lambda data: program.transport.pauseProducing()
        client.transport.write(client.sealed(b"last") + client.close_notify())
        await self.until(lambda: program.told)
        await self.turns()
        self.assertEqual(program.told, [b"last"])
        program.transport.resumeProducing()
        self.assertEqual(program.told, [b"last"])
        await self.until(lambda: len(program.told) == 2)
        self.assertEqual(program.told, [b"last", "half"])

    async def test_paused_again(self) -> None:
        """Whoever pauses again before that turn is told nothing."""
        client, program = await self.connect()
        program.on_data = lambda data: program.transport.pauseProducing()
        client.transport.write(client.sealed(b"last") + client.close_notify())
        await self.until(lambda: program.told)
        program.transport.resumeProducing()
        program.transport.pauseProducing()
        await self.turns()
        self.assertEqual(program.told, [b"last"])

    async def test_reset_while_paused(self) -> None:
        """A connection that breaks meanwhile is reported when reading goes on."""
        client, program = await self.connect()
        program.on_data = lambda data: program.transport.pauseProducing()
        client.send(b"last")
        await self.until(lambda: program.told)
        client.transport.abortConnection()
        await self.turns()
        self.assertEqual(program.told, [b"last"])
        program.transport.resumeProducing()
        self.assertIsInstance(await program.ended, ConnectionLost)

    async def test_peer_that_does_not_read(self) -> None:
        """What the kernel does not take waits, in order, and counts; writing goes on when the peer reads."""
        client, program = await self.connect()
        client.transport.pauseProducing()
        data = os.urandom(12 << 20)
        program.transport.write(data[: 8 << 20])
        await self.turns()
        self.assertGreater(queued_bytes(program.transport), 1 << 20)
        program.transport.write(data[8 << 20 :])
        await self.turns()
        self.assertEqual(program.transport.plain_bytes, 0)
        self.assertGreater(queued_bytes(program.transport), 5 << 20)
        client.transport.resumeProducing()
        await self.until(lambda: len(client.heard) == len(data))
        self.assertEqual(client.heard, data)
        self.assertEqual(queued_bytes(program.transport), 0)

    async def test_producer_at_the_socket(self) -> None:
        """A pull producer of the socket's is asked whenever the kernel has taken everything, though it was
        not through the transport, and not from inside ``write``."""
        client, program = await self.connect()
        asked: list[int] = []
        is_writing = False

        class Producer:
            def resumeProducing(self) -> None:
                self_test.assertFalse(is_writing)
                asked.append(len(client.heard))
                if 1 < len(asked) < 5:
                    write(b"x" * 1000)

            def stopProducing(self) -> None:
                """The end."""

        def write(data: bytes) -> None:
            nonlocal is_writing
            is_writing = True
            program.transport.write(data)
            is_writing = False

        self_test = self
        program.transport.transport.registerProducer(Producer(), False)
        self.assertEqual(len(asked), 1)
        write(b"x" * 1000)
        await self.until(lambda: len(client.heard) == 4000)
        self.assertEqual(len(asked), 5)
        program.transport.transport.unregisterProducer()

    async def test_producer_of_tls(self) -> None:
        """A push producer of the transport's own follows the pace of the peer, as Twisted's."""
        client, program = await self.connect()
        told: list[str] = []

        class Producer:
            def pauseProducing(self) -> None:
                told.append("pause")

            def resumeProducing(self) -> None:
                told.append("resume")

            def stopProducing(self) -> None:
                """The end."""

        client.transport.pauseProducing()
        program.transport.registerProducer(Producer(), True)
        program.transport.write(bytes(8 << 20))
        await self.until(lambda: told)
        self.assertEqual(told, ["pause"])
        client.transport.resumeProducing()
        await self.until(lambda: len(told) == 2)
        self.assertEqual(told, ["pause", "resume"])
        program.transport.unregisterProducer()


class LentTests(TransportTestCase):
    """A connection whose records a lane makes as well."""

    program = HalfProgram

    class Lane:
        """Stands for a lane: it notes what it is told."""

        def __init__(self) -> None:
            self.sealed: tuple[Any, ...] = ()
            self.blocked = 0

        def seal(self, *arguments: Any) -> None:
            self.sealed = arguments

        def block(self) -> None:
            self.blocked += 1

    async def test_lent(self) -> None:
        """A lane gets OpenSSL's connection, its buffers and the socket, and may read."""
        client, program = await self.connect()
        transport, lane = program.transport, self.Lane()
        self.assertTrue(transport.can_lend)
        self.assertTrue(transport.lend(lane))
        tls, ssl, fd, *addresses = lane.sealed
        handle = transport.getHandle()
        self.assertEqual((ssl, fd), (handle._ssl, transport.transport.getHandle().fileno()))
        for address, owner in zip(addresses, (handle._ssl, handle._into_ssl, handle._from_ssl), strict=True):
            self.assertEqual(openssl_memory.cast("void *", address), openssl_memory.cast("void *", owner))
        self.assertIsInstance(tls.error(-1), SSL.Error)
        client.transport.loseConnection()
        await program.ended
        self.assertFalse(transport.can_lend)

    async def test_not_before_the_handshake(self) -> None:
        """Before the handshake there is nothing to lend, nor at the end."""
        client, program = await self.connect(is_silent=True)
        self.assertFalse(program.transport.can_lend)
        client.transport.write(client.said())
        await self.until(lambda: program.transport._handshakeDone)
        self.assertTrue(program.transport.can_lend)
        program.transport.loseConnection()
        self.assertFalse(program.transport.can_lend)

    async def test_unread(self) -> None:
        """While something waits that was read, nobody else may read on."""
        client, program = await self.connect()
        program.on_data = lambda data: program.transport.pauseProducing()
        client.transport.write(client.sealed(b"last") + client.close_notify())
        await self.until(lambda: program.told)
        self.assertFalse(program.transport.lend(self.Lane()))
        program.transport.resumeProducing()
        await self.until(lambda: "half" in program.told)

    async def test_what_waits(self) -> None:
        """Nothing may be sent around what was written and is not encrypted, though the socket's transport
        has nothing, nor around what that has; and a lane hears of the latter."""
        client, program = await self.connect()
        transport, lane = program.transport, self.Lane()
        transport.lend(lane)
        self.assertTrue(transport.has_sent_all)
        transport.write(b"one")
        self.assertFalse(transport.has_sent_all)
        await self.until(lambda: client.heard == b"one")
        self.assertTrue(transport.has_sent_all)
        self.assertEqual(lane.blocked, 0)
        client.transport.pauseProducing()
        transport.write(bytes(8 << 20))
        transport.flush_written()
        self.assertEqual((transport.plain_bytes, transport.has_sent_all), (0, False))
        self.assertGreater(lane.blocked, 0)
        client.transport.resumeProducing()
        await self.until(lambda: transport.has_sent_all)

    async def test_refused(self) -> None:
        """What OpenSSL did not encrypt for a lane is written as soon as it can be; the connection ends for
        any other reason."""
        client, program = await self.connect()
        transport, lane = program.transport, self.Lane()
        transport.lend(lane)
        tls = lane.sealed[0]
        tls.refused(SSL.WantReadError(), b"one")
        self.assertFalse(transport.has_sent_all)
        client.send(b"go on")
        await self.until(lambda: client.heard.startswith(b"one"))
        tls.refused(SSL.Error([("", "", "broken")]), b"two")
        self.assertIsInstance(await program.ended, SSL.Error)
        await client.ended

    async def test_closed(self) -> None:
        """A lane writes no more once TLS has failed, or was told to end: behind the last word there is
        nothing."""
        for broken in (True, False):
            client, program = await self.connect()
            transport, lane = program.transport, self.Lane()
            transport.lend(lane)
            if broken:
                lane.sealed[0].stopped(SSL.Error([("", "", "broken")]))
            else:
                transport.loseConnection()
            self.assertGreater(lane.blocked, 0)
            self.assertFalse(transport.has_sent_all)
            client.transport.loseConnection()
            await program.ended
            await client.ended

    async def test_stopped(self) -> None:
        """An end that a lane has read is acted on, unless reading is paused: then later."""
        _, program = await self.connect()
        transport, lane = program.transport, self.Lane()
        transport.lend(lane)
        transport.pauseProducing()
        lane.sealed[0].stopped(SSL.ZeroReturnError())
        await self.turns()
        self.assertEqual(program.told, [])
        transport.resumeProducing()
        await self.until(lambda: program.told)
        self.assertEqual(program.told, ["half"])


class PausedAtOnceTests(TransportTestCase):
    """A program that pauses reading before it has read anything."""

    program = PausingProgram

    async def test_bytes_behind_the_handshake(self) -> None:
        """Bytes that come with the end of the handshake wait until the program reads."""
        client, program = await self.connect(is_silent=True)
        client.transport.write(client.said() + client.sealed(b"first"))
        await self.until(lambda: program.transport._handshakeDone)
        await self.turns()
        self.assertEqual(program.told, [])
        program.transport.resumeProducing()
        await self.until(lambda: program.told)
        self.assertEqual(program.told, [b"first"])


class EndTests(TransportTestCase):
    """How connections end, with a program that does not know of halves."""

    async def test_peer_first(self) -> None:
        """The peer's close_notify is answered, behind the echo of what came with it, and TCP ends."""
        client, program = await self.connect()
        client.transport.write(client.sealed(b"last") + client.close_notify())
        self.assertIsInstance(await program.ended, ConnectionDone)
        self.assertIsInstance(await client.ended, ConnectionDone)
        self.assertEqual((client.heard, client.said_close), (b"last", True))

    async def test_server_first(self) -> None:
        """Ours is said behind what was written; what the peer sends before its own is delivered."""
        client, program = await self.connect()
        program.on_data = lambda data: None
        program.transport.write(b"last")
        program.transport.loseConnection()
        program.transport.write(b"too late")
        await self.until(lambda: client.said_close)
        self.assertEqual(client.heard, b"last")
        self.assertFalse(program.ended.called)
        client.transport.write(client.sealed(b"more") + client.close_notify())
        self.assertIsInstance(await program.ended, ConnectionDone)
        self.assertEqual(program.heard, b"more")

    async def test_both_at_once(self) -> None:
        """Two close_notify that cross each other end the connection."""
        client, program = await self.connect()
        client.transport.write(client.close_notify())
        program.transport.loseConnection()
        self.assertIsInstance(await program.ended, ConnectionDone)
        await client.ended
        self.assertTrue(client.said_close)

    async def test_inside_a_delivery(self) -> None:
        """A program that answers and ends in one go has its answer sent."""
        client, program = await self.connect()

        def answer(data: bytes) -> None:
            program.transport.write(b"answer")
            program.transport.loseConnection()

        program.on_data = answer
        client.send(b"question")
        await self.until(lambda: client.said_close)
        self.assertEqual(client.heard, b"answer")

    async def test_tcp_alone(self) -> None:
        """A peer that ends TCP without close_notify ends the connection; what it sent before counts."""
        client, program = await self.connect()
        client.send(b"last")
        client.transport.loseConnection()
        self.assertIsInstance(await program.ended, ConnectionDone)
        self.assertEqual(program.heard, b"last")

    async def test_tcp_alone_after_ours(self) -> None:
        """As many do, in place of an answer to ours."""
        client, program = await self.connect()
        program.transport.loseConnection()
        await self.until(lambda: client.said_close)
        client.transport.loseConnection()
        self.assertIsInstance(await program.ended, ConnectionDone)

    async def test_abort(self) -> None:
        """An aborted connection says nothing more, not even what was written."""
        client, program = await self.connect()
        program.transport.write(b"lost")
        program.transport.abortConnection()
        program.transport.write(b"lost")
        self.assertIsInstance(await program.ended, ConnectionAborted)
        self.assertIsInstance(await client.ended, ConnectionLost)
        self.assertEqual((client.heard, client.said_close), (b"", False))
        program.transport.write(b"lost")
        self.assertEqual(queued_bytes(program.transport), 0)

    async def test_abort_inside_a_delivery(self) -> None:
        """Nothing is sent then either."""
        client, program = await self.connect()

        def abort(data: bytes) -> None:
            program.transport.write(data)
            program.transport.abortConnection()

        program.on_data = abort
        client.send(b"x")
        self.assertIsInstance(await program.ended, ConnectionAborted)
        await client.ended
        self.assertEqual(client.heard, b"")

    async def test_before_the_handshake(self) -> None:
        """A connection whose handshake is not done can be ended."""
        client, program = await self.connect(is_silent=True)
        program.transport.loseConnection()
        self.assertIsInstance(await program.ended, ConnectionAborted)
        await client.ended

    async def test_early_write(self) -> None:
        """What is written before the handshake is done follows it."""
        client, program = await self.connect(is_silent=True)
        program.transport.write(b"early ")
        await self.turns()
        self.assertEqual(queued_bytes(program.transport), 6)
        program.transport.write(b"bird")
        client.transport.write(client.said())
        await self.until(lambda: client.heard == b"early bird")

    async def test_early_last_word(self) -> None:
        """So does the end, of a connection to which something was written before."""
        client, program = await self.connect(is_silent=True)
        program.transport.write(b"early")
        program.transport.loseConnection()
        client.transport.write(client.said())
        await self.until(lambda: client.said_close)
        self.assertEqual(client.heard, b"early")


class HalfTests(TransportTestCase):
    """How connections end, with a program that knows of halves."""

    program = HalfProgram

    async def test_peer_first(self) -> None:
        """The peer's close_notify ends its half; the program may go on, and ends the rest."""
        client, program = await self.connect()
        client.transport.write(client.sealed(b"last") + client.close_notify())
        await self.until(lambda: "half" in program.told)
        self.assertEqual(program.told, [b"last", "half"])
        await self.turns()
        self.assertFalse(client.said_close)
        program.transport.write(b" word")
        program.transport.loseConnection()
        self.assertIsInstance(await program.ended, ConnectionDone)
        await client.ended
        self.assertEqual((client.heard, client.said_close), (b"last word", True))

    async def test_with_tcp(self) -> None:
        """A peer that ends its half of TCP as well gets all that waits for it."""
        client, program = await self.connect()
        program.on_data = lambda data: program.transport.write(bytes(8 << 20))
        client.transport.write(client.sealed(b"send me much") + client.close_notify())
        client.transport.loseWriteConnection()
        await self.until(lambda: "half" in program.told)
        await self.turns()
        program.transport.loseConnection()
        self.assertIsInstance(await program.ended, ConnectionDone)
        await client.ended
        self.assertEqual((len(client.heard), client.said_close), (8 << 20, True))

    async def test_bytes_behind_the_end(self) -> None:
        """What follows a close_notify is nobody's, and is not kept."""
        client, program = await self.connect()
        last = client.close_notify()
        client.transport.write(last)
        await self.until(lambda: program.told)
        client.transport.write(b"\x17\x03\x03\x00\x10" + bytes(16))
        await self.turns()
        self.assertEqual(program.told, ["half"])
        into = program.transport.getHandle()._into_ssl
        self.assertLess(openssl.BIO_read(into, openssl_memory.new("char[]", 1), 1), 1)

    async def test_server_first(self) -> None:
        """Once ours is said there is no half left to be told of."""
        client, program = await self.connect()
        program.transport.loseConnection()
        await self.until(lambda: client.said_close)
        client.transport.write(client.close_notify())
        self.assertIsInstance(await program.ended, ConnectionDone)
        self.assertEqual(program.told[:-1], [])

    async def test_tcp_alone(self) -> None:
        """The end of TCP alone is no half: anybody may have cut the stream."""
        client, program = await self.connect()
        client.transport.loseWriteConnection()
        self.assertIsInstance(await program.ended, ConnectionDone)
        self.assertEqual(program.told[:-1], [])


class ErrorTests(TransportTestCase):
    """What goes wrong ends one connection."""

    async def test_program_raises(self) -> None:
        """An exception in a delivery ends that connection with it; others go on."""
        client, program = await self.connect()
        other, _ = await self.connect()

        def fail(data: bytes) -> None:
            raise ZeroDivisionError

        program.on_data = fail
        client.send(b"x")
        self.assertIsInstance(await program.ended, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        other.send(b"still there")
        await self.until(lambda: other.heard == b"still there")

    async def test_program_raises_in_a_turn(self) -> None:
        """So it does in a turn in which others write, too."""
        client, program = await self.connect()
        other, second = await self.connect()
        program.on_data = lambda data: program.transport.pauseProducing()
        client.transport.write(client.sealed(b"last") + client.close_notify())
        await self.until(lambda: program.told)

        def fail(error: Exception) -> None:
            raise ZeroDivisionError

        program.transport.stream_ended = fail
        program.transport.resumeProducing()
        second.transport.write(b"still there")
        self.assertIsInstance(await program.ended, ConnectionAborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await self.until(lambda: other.heard == b"still there")

    async def test_refused_write(self) -> None:
        """What OpenSSL does not take now, as in the middle of a second handshake of a program's own context,
        leaves in order when it does."""
        client, program = await self.connect()
        program.transport.write_failed(SSL.WantReadError(), b"one")
        program.transport.write(b"two")
        await self.turns()
        self.assertEqual((client.heard, queued_bytes(program.transport)), (b"", 6))
        client.send(b"three")
        await self.until(lambda: len(client.heard) == 11)
        client.send(b"four")
        await self.until(lambda: len(client.heard) == 15)
        self.assertEqual(client.heard, b"onetwothreefour")

    async def test_failed_write(self) -> None:
        """Any other failure of OpenSSL's ends the connection."""
        client, program = await self.connect()
        program.transport.write_failed(SSL.Error([("", "", "broken")]), b"one")
        self.assertIsInstance(await program.ended, SSL.Error)
        await client.ended

    async def test_forged_record(self) -> None:
        """A record that nobody has sealed ends the connection; what came before it is delivered, and the peer
        is told."""
        client, program = await self.connect()
        program.on_data = lambda data: None
        forged = b"\x17\x03\x03\x00\x20" + bytes(32)
        client.transport.write(client.sealed(b"true") + forged)
        self.assertIsInstance(await program.ended, SSL.Error)
        await client.ended
        self.assertEqual(program.told[0], b"true")
        self.assertIsNotNone(client.error)

    async def test_forged_record_while_paused(self) -> None:
        """It is acted on when reading goes on, and a reset in the meantime does not hide it."""
        client, program = await self.connect()
        program.on_data = lambda data: program.transport.pauseProducing()
        client.transport.write(client.sealed(b"true") + b"\x17\x03\x03\x00\x20" + bytes(32))
        await self.until(lambda: program.told)
        await self.turns()
        self.assertFalse(program.ended.called)
        program.transport.transport.connectionLost(Failure(ConnectionLost()))
        self.assertIsInstance(await program.ended, SSL.Error)

    async def test_no_tls(self) -> None:
        """A peer without TLS gets an alert, and the end has its reason."""
        client, program = await self.connect(is_silent=True)
        client.transport.write(b"GET / HTTP/1.1\r\n\r\n")
        self.assertIsInstance(await program.ended, SSL.Error)
        await client.ended
