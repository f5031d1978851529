"""Connections over real sockets, plain and over TLS: what the kernel, OpenSSL and Twisted add to the rest."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from tests.wire.harness import (
    BINARY,
    TEXT,
    Certificates,
    Frame,
    Loopback,
    Program,
    certificates,
    close,
    closing,
    frame,
    handshake,
    parse_answer,
    parse_frames,
)
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.lifecycle import Phase
from wsecho.policy.settings import Settings
from wsecho.wire.factory import ServerFactory

#: The end of what a peer gets from a server that stops.
CLOSE_1001 = b"\x88\x14\x03\xe9server is stopping"


class Watched(Program):
    """A program that can be waited for.

    :ivar answered: fires when the first message was echoed
    :ivar gone: fires when the transport has ended
    """

    factory: Any

    def __init__(self) -> None:
        super().__init__()
        self.answered: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.accepted.append(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        super().onMessage(payload, isBinary)
        if not self.answered.called:
            self.answered.callback(None)

    def _transport_ended(self, reason: Any) -> None:
        super()._transport_ended(reason)
        self.gone.callback(None)


class SocketClock(Clock):
    """The time is the test's; what is to be done in the next turn is done by the reactor."""

    def callLater(self, delay: float, *args: Any, **kw: Any) -> Any:
        if delay:
            return super().callLater(delay, *args, **kw)
        return cast(IReactorTime, reactor).callLater(0, *args, **kw)


class SocketTestCase(TestCase):
    """A server whose timers are the test's, on real sockets."""

    timeout = 10

    def setUp(self) -> None:
        self.clock = SocketClock()
        self.factory: Any = ServerFactory(
            reactor=self.clock,
            settings=Settings(max_message_size=16 << 20, close_timeout=5, ping_interval=0),
        )
        self.factory.protocol = Watched
        self.factory.accepted = []
        self.tls: Certificates | None = None
        self.loopback = Loopback(self, self.factory, self.tls_of_the_test())

    def tls_of_the_test(self) -> Certificates | None:
        """The certificates; None for plain TCP."""
        return None

    async def open(self) -> tuple[Any, Any]:
        """The client's end of a connection that is open, and the server's."""
        client = await self.loopback.connect()
        client.transport.write(handshake())
        await client.until(lambda data: data.endswith(b"\r\n\r\n"))
        return client, self.factory.accepted[-1]

    def frames(self, client: Any) -> list[Frame]:
        """The frames that a client received."""
        return list(parse_frames(parse_answer(client.received).rest))

    async def until(self, condition: Callable[[], Any]) -> None:
        """Let the reactor turn until the condition holds."""
        while not condition():
            await deferLater(cast(IReactorTime, reactor), 0)

    def end_half(self, client: Any) -> None:
        """Let a client end its half of the stream."""
        client.transport.loseWriteConnection()

    async def stuck(self) -> tuple[Any, Any]:
        """The two ends of a connection on which the client has asked for more echoes than the kernel holds,
        and reads none."""
        client, server = await self.open()
        # Read on, so that the Close of a peer is seen that does not read.
        server.holds_back = False
        client.transport.pauseProducing()
        client.transport.write(frame(BINARY, bytes(12 << 20)))
        await server.answered
        self.assertGreater(server.link.queued_bytes, 1 << 20)
        return client, server


class PlainTests(SocketTestCase):
    """Over TCP, and in `TlsTests` over TLS."""

    async def test_echo(self) -> None:
        """Messages of every size come back."""
        client, _ = await self.open()
        payloads = [b"x" * size for size in (0, 1, 126, 70_000, 3 << 20)]
        client.transport.write(b"".join(frame(BINARY, payload) for payload in payloads))
        await client.until(lambda data: len(data) > sum(map(len, payloads)) + 150)
        self.assertEqual(self.frames(client), [Frame(BINARY, payload) for payload in payloads])

    async def test_closing_handshake(self) -> None:
        """The peer's Close is answered, then the connection ends in order on both sides; no timer is left."""
        client, server = await self.open()
        client.transport.write(close(4000, b"bye"))
        self.assertIsInstance(await client.ended, ConnectionDone)
        await server.gone
        self.assertEqual(self.frames(client), [closing(4000, b"bye")])
        self.assertEqual((server.end, server.closed_cleanly), (End(EndReason.PEER_CLOSE, 4000), True))
        self.assertEqual(server.told[-1], ("close", True, 4000, "bye"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_violation(self) -> None:
        """The code of a violation arrives, though the peer goes on sending what nobody reads any more: no
        reset overtakes it."""
        client, server = await self.open()
        client.transport.write(frame(TEXT, b"x", mask=b"") + bytes(4 << 20))
        self.assertIsInstance(await client.ended, ConnectionDone)
        (one,) = self.frames(client)
        self.assertEqual(one.payload[:2], (1002).to_bytes(2, "big"))
        await server.gone
        self.assertEqual(server.end, End(EndReason.PROTOCOL_ERROR, 1002))

    async def test_refusal(self) -> None:
        """An answer other than 101 arrives whole, though the peer goes on sending."""
        client = await self.loopback.connect()
        client.transport.write(handshake("/", "Origin: https://other.example") + bytes(1 << 20))
        self.assertIsInstance(await client.ended, ConnectionDone)
        answer = parse_answer(client.received)
        self.assertEqual(answer.status, "HTTP/1.1 403 Forbidden")
        self.assertEqual(len(answer.rest), int(answer.headers["content-length"]))
        (server,) = self.factory.accepted
        await server.gone
        self.assertTrue(server.closed_cleanly)

    async def test_peer_that_ends_its_half(self) -> None:
        """A peer that sends and then ends its half gets its echoes."""
        client, server = await self.open()
        client.transport.write(frame(BINARY, bytes(1 << 20)) + frame(TEXT, b"last"))
        self.end_half(client)
        await client.ended
        await server.gone
        self.assertEqual(self.frames(client), [Frame(BINARY, bytes(1 << 20)), Frame(TEXT, b"last")])
        self.assertEqual(server.end, End(EndReason.PEER_GONE))

    async def test_peer_that_reads_nothing(self) -> None:
        """A peer that sends Close, but does not read, is aborted after the close timeout."""
        client, server = await self.stuck()
        client.transport.write(close(1000))
        await self.until(lambda: server.phase is Phase.FLUSHING)
        self.clock.advance(4.9)
        self.assertFalse(server.gone.called)
        self.clock.advance(0.1)
        await server.gone
        self.assertEqual((server.end, server.closed_cleanly), (End(EndReason.PEER_CLOSE, 1000), False))
        self.assertEqual(self.factory.getConnectionCount(), 0)

    async def test_unanswered_close(self) -> None:
        """A peer that reads nothing and does not answer our Close is aborted after the close timeout."""
        _, server = await self.stuck()
        server.sendClose(1000)
        self.clock.advance(5)
        await server.gone
        self.assertEqual((server.end, server.closed_cleanly), (End(EndReason.SERVER_CLOSE, 1000), False))

    async def test_shutdown(self) -> None:
        """A shutdown tells an open peer 1001, and is over when a peer that reads nothing has had its time."""
        client, _ = await self.open()
        await self.stuck()
        gone = self.factory.shutdown()
        await client.until(lambda data: len(data) > 150)
        self.assertEqual(self.frames(client), [closing(1001, b"server is stopping")])
        client.transport.write(close(1001))
        await client.ended
        self.assertFalse(gone.called)
        self.clock.advance(5)
        await gone
        self.assertEqual(self.factory.getConnectionCount(), 0)

    async def test_drain(self) -> None:
        """A drain loses nothing that is queued: a peer that reads late gets all of it and then Close 1001,
        long after the close timeout."""
        client, server = await self.stuck()
        gone = self.factory.shutdown(timeout=60)
        self.clock.advance(50)
        client.transport.resumeProducing()
        await client.until(lambda data: data.endswith(CLOSE_1001))
        message, last = self.frames(client)
        self.assertEqual(message, Frame(BINARY, bytes(12 << 20)))
        self.assertEqual(last, closing(1001, b"server is stopping"))
        client.transport.write(close(1001))
        await client.ended
        await gone
        self.assertEqual((server.end, server.closed_cleanly), (End(EndReason.SHUTDOWN, 1001), True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_drain_of_peer_that_reads_nothing(self) -> None:
        """A peer that reads nothing is dropped at the end of a drain, not at the close timeout."""
        _, server = await self.stuck()
        gone = self.factory.shutdown(timeout=60, spread=True)
        self.clock.advance(59)
        self.assertFalse(gone.called)
        self.clock.advance(1)
        await gone
        self.assertEqual((server.end, server.closed_cleanly), (End(EndReason.SHUTDOWN, 1001), False))

    async def test_reset(self) -> None:
        """A peer that resets is gone at once."""
        client, server = await self.open()
        client.transport.abortConnection()
        await server.gone
        self.assertEqual((server.end, server.closed_cleanly), (End(EndReason.PEER_GONE), False))

    async def test_abort(self) -> None:
        """An abort of ours resets."""
        client, server = await self.open()
        server.dropConnection(abort=True)
        self.assertIsInstance(await client.ended, ConnectionLost)
        await server.gone
        self.assertEqual(server.end, End(EndReason.ABORTED))

    async def test_silence(self) -> None:
        """A peer that never speaks, not even TLS, is cut off when the time for the handshake is over."""
        raw = socket.create_connection(("127.0.0.1", await self.loopback.port()))
        self.addCleanup(raw.close)
        await self.until(lambda: self.factory.accepted)
        (server,) = self.factory.accepted
        self.clock.advance(10)
        await server.gone
        self.assertEqual(server.end, End(EndReason.HANDSHAKE_TIMEOUT))


class TlsTests(PlainTests):
    """The same over TLS."""

    def tls_of_the_test(self) -> Certificates | None:
        return certificates(self.mktemp())

    def end_half(self, client: Any) -> None:
        # Says close_notify, and goes on reading until the other side has said it.
        client.transport.loseConnection()

    async def test_peer_that_ends_tls_but_does_not_read(self) -> None:
        """A peer that says close_notify, but does not read, is aborted after the close timeout."""
        client, server = await self.stuck()
        self.end_half(client)
        await self.until(lambda: server.end is not None)
        self.clock.advance(4.9)
        self.assertFalse(server.gone.called)
        self.clock.advance(0.1)
        await server.gone
        self.assertEqual(server.end, End(EndReason.PEER_GONE))

    async def test_peer_without_tls(self) -> None:
        """A peer that speaks no TLS is told so by TLS, and the end has its reason."""
        raw = socket.create_connection(("127.0.0.1", await self.loopback.port()))
        self.addCleanup(raw.close)
        raw.sendall(handshake())
        await self.until(lambda: self.factory.accepted)
        (server,) = self.factory.accepted
        await server.gone
        self.assertEqual(server.end, End(EndReason.TLS_FAILED))
