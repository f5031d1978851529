"""Tests for the pump in Twisted's reactor: who reads a connection, when, and that every end is reported."""

import os
import shutil
import socket
import struct
from collections.abc import Callable
from typing import Any

from autobahn.exception import Disconnected
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.wire.harness import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
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
from wsecho.policy.settings import Settings
from wsecho.wire import link, pump
from wsecho.wire.beneath import bottom_transport
from wsecho.wire.factory import ServerFactory
from wsecho.wire.lane import native, seals

reactor: Any = _reactor


def answered(data: bytes) -> bool:
    """Whether the handshake's answer is there."""
    return b"\r\n\r\n" in data


def has_frames(count: int) -> Callable[[bytes], bool]:
    """Whether so many whole frames followed the handshake's answer."""

    def holds(data: bytes) -> bool:
        try:
            return len(list(parse_frames(parse_answer(data).rest))) >= count
        except (AssertionError, ValueError, struct.error):
            return False

    return holds


def frames_of(client: Any) -> list[Frame]:
    """The frames that the client received."""
    return list(parse_frames(parse_answer(client.received).rest))


if native is not None:

    class SocketTestCase(TestCase):
        """A server on loopback, with connections that a program echoes on."""

        timeout = 20
        is_secure = False

        async def opened(self, protocol: Any = Program, **limits: Any) -> tuple[Any, Any]:
            """A client's socket, and the server's protocol for it."""
            tls = certificates(self.mktemp()) if self.is_secure else None
            self.factory = ServerFactory(reactor=reactor, settings=Settings(**limits))
            made: list[Any] = []

            def make() -> Any:
                made.append(protocol())
                return made[-1]

            self.factory.protocol = make  # type: ignore[assignment]
            client = await Loopback(self, self.factory, tls).connect()
            client.transport.write(handshake())
            await client.until(answered)
            return client, made[0]

        async def turns(self, count: int = 3) -> None:
            """Let the reactor turn."""
            for _ in range(count):
                await deferLater(reactor, 0)

        def descriptor(self, protocol: Any) -> int:
            """The number of a connection's socket."""
            number: int = bottom_transport(protocol.link._transport).fileno()
            return number

        def is_read_by_twisted(self, protocol: Any) -> bool:
            """Whether the transport is among the reactor's readers."""
            handle = bottom_transport(protocol.link._transport).getHandle()
            return any(getattr(one, "socket", None) is handle for one in reactor.getReaders())

    class SendMessageTests(SocketTestCase):
        """Which `sendMessage` a program calls."""

        async def test_own(self) -> None:
            """A class that overrides it has its own called, which may call the one above; another's is the
            lane's, with or without arguments by name. Both raise when the connection has gone."""
            calls: list[bytes] = []

            class Overriding(Program):
                def sendMessage(
                    self, payload: bytes, isBinary: bool = False, *more: Any, **named: Any
                ) -> None:
                    calls.append(payload)
                    super().sendMessage(payload, isBinary, *more, **named)

            for kind, expected in ((Program, []), (Overriding, [b"one", b"two"])):
                client, protocol = await self.opened(kind)
                self.assertEqual("sendMessage" in vars(protocol), kind is Program)
                protocol.sendMessage(b"one", isBinary=True)
                protocol.sendMessage(b"two")
                await client.until(has_frames(2))
                self.assertEqual(frames_of(client), [Frame(BINARY, b"one"), Frame(TEXT, b"two")])
                self.assertEqual(calls, expected)
                client.transport.abortConnection()
                while protocol.end is None:
                    await self.turns()
                self.assertRaises(Disconnected, protocol.sendMessage, b"late")

    class ReadingTests(SocketTestCase):
        """Who reads."""

        async def test_wrong_text_in_two_reads(self) -> None:
            """A wrong text that was read in two parts is answered at once, though nothing follows it."""
            wrong = frame(TEXT, b"\xff")
            for at in (1, 5, len(wrong) - 1):
                client, protocol = await self.opened()
                client.transport.write(wrong[:at])
                while protocol.lane.frame_on_its_way is None:
                    await self.turns()
                client.transport.write(wrong[at:])
                await client.until(has_frames(1))
                self.assertEqual(frames_of(client)[0].payload[:2], b"\x03\xef")

        async def test_pump_reads(self) -> None:
            """The pump, and only the pump, reads an open plain connection, and the program's echo arrives."""
            client, protocol = await self.opened()
            self.assertTrue(protocol.lane.is_in_pump)
            self.assertFalse(self.is_read_by_twisted(protocol))
            client.transport.write(frame(TEXT, b"one") + frame(BINARY, b"two"))
            await client.until(has_frames(2))
            self.assertEqual(frames_of(client), [Frame(TEXT, b"one"), Frame(BINARY, b"two")])
            self.assertEqual(
                protocol.told, [("open",), ("message", b"one", False), ("message", b"two", True)]
            )

        async def test_classes_that_look_at_frames(self) -> None:
            """A program that overrides what is between frames and messages has no lane, and sees every
            frame."""
            seen: list[int] = []

            class Curious(Program):
                def onMessageFrameBegin(self, length: int) -> None:
                    seen.append(length)
                    super().onMessageFrameBegin(length)

            client, protocol = await self.opened(protocol=Curious)
            self.assertIsNone(protocol.lane)
            client.transport.write(frame(TEXT, b"one"))
            await client.until(has_frames(1))
            self.assertEqual(seen, [3])

        async def test_unusual_frames(self) -> None:
            """Pings and fragments among ordinary messages are answered in their order."""
            client, _ = await self.opened()
            client.transport.write(
                frame(TEXT, b"one")
                + frame(PING, b"?")
                + frame(TEXT, b"tw", fin=False)
                + frame(PING, b"!")
                + frame(CONTINUATION, b"o")
                + frame(TEXT, b"three")
            )
            await client.until(has_frames(5))
            self.assertEqual(
                frames_of(client),
                [
                    Frame(TEXT, b"one"),
                    Frame(PONG, b"?"),
                    Frame(PONG, b"!"),
                    Frame(TEXT, b"two"),
                    Frame(TEXT, b"three"),
                ],
            )

        async def test_large_messages(self) -> None:
            """Messages larger than every buffer on the way come back whole, whoever carries their rest."""
            client, _ = await self.opened(max_message_size=1 << 24, max_frame_size=1 << 24)
            payload = os.urandom(3_000_000)
            client.transport.write(frame(BINARY, payload) * 3)
            await client.until(lambda data: len(data) > 3 * len(payload) and has_frames(3)(data))
            self.assertEqual(frames_of(client), [Frame(BINARY, payload)] * 3)

        async def test_paused(self) -> None:
            """Nobody reads a connection that the program paused; resumed, it is read by the pump, not by
            Twisted, which would steal from it."""
            client, protocol = await self.opened()
            protocol.pause_reading()
            client.transport.write(frame(TEXT, b"one"))
            await self.turns()
            self.assertEqual(protocol.told, [("open",)])
            self.assertFalse(self.is_read_by_twisted(protocol))
            protocol.resume_reading()
            self.assertFalse(self.is_read_by_twisted(protocol))
            await client.until(has_frames(1))

        async def test_statistics(self) -> None:
            """Autobahn's statistics say the same as without the lane."""
            client, protocol = await self.opened()
            client.transport.write(frame(TEXT, b"one") + frame(PING, b"?") + frame(BINARY, b"x" * 200))
            await client.until(has_frames(3))
            stats = protocol.trafficStats
            received, sent = 9 + 7 + 208, 5 + 3 + 204
            self.assertEqual(
                (
                    stats.incomingWebSocketMessages,
                    stats.incomingWebSocketFrames,
                    stats.incomingOctetsAppLevel,
                    stats.incomingOctetsWebSocketLevel,
                    stats.incomingOctetsWireLevel,
                ),
                (2, 2, 203, 203, received),
            )
            self.assertEqual(
                (
                    stats.outgoingWebSocketMessages,
                    stats.outgoingWebSocketFrames,
                    stats.outgoingOctetsAppLevel,
                    stats.outgoingOctetsWebSocketLevel,
                    stats.outgoingOctetsWireLevel,
                ),
                (2, 2, 203, 203, sent),
            )

    class EndTests(SocketTestCase):
        """How connections leave the pump."""

        async def ended(self, protocol: Any) -> None:
            """Wait until the server has forgotten the connection, and see that the pump has, too."""
            while protocol in self.factory._alive:
                await deferLater(reactor, 0.001)
            self.assertFalse(protocol.lane.is_open)
            self.assertFalse(protocol.lane.is_in_pump)

        async def test_close_by_the_peer(self) -> None:
            """A peer's Close behind messages is answered behind their echoes."""
            client, protocol = await self.opened()
            client.transport.write(frame(TEXT, b"one") + close(1000) + frame(TEXT, b"late"))
            await client.until(has_frames(2))
            self.assertEqual(frames_of(client), [Frame(TEXT, b"one"), closing(1000)])
            client.transport.loseConnection()
            await self.ended(protocol)
            self.assertEqual(protocol.told[-1], ("close", True, 1000, None))

        async def test_close_by_the_program(self) -> None:
            """A program's Close follows what it sent, and the peer's answer is seen."""
            client, protocol = await self.opened()
            protocol.sendMessage(b"last")
            protocol.sendClose(1000)
            self.assertFalse(protocol.lane.is_in_pump)
            await client.until(has_frames(2))
            self.assertEqual(frames_of(client), [Frame(TEXT, b"last"), closing(1000)])
            client.transport.write(close(1000))
            client.transport.loseConnection()
            await self.ended(protocol)
            self.assertEqual(protocol.told[-1], ("close", True, 1000, None))

        async def test_close_in_a_message(self) -> None:
            """A Close that the program sends while it handles a message leaves the rest to Autobahn, which
            finds the peer's answer in it."""

            class Closing(Program):
                def onMessage(self, payload: bytes, isBinary: bool) -> None:
                    super().onMessage(payload, isBinary)
                    self.sendClose(1000)

            client, protocol = await self.opened(protocol=Closing)
            client.transport.write(frame(TEXT, b"one") + frame(TEXT, b"two") + close(1000))
            await client.until(has_frames(2))
            self.assertEqual(frames_of(client), [Frame(TEXT, b"one"), closing(1000)])
            client.transport.loseConnection()
            await self.ended(protocol)
            self.assertEqual(protocol.told[-1], ("close", True, 1000, None))

        async def test_peer_finishes(self) -> None:
            """A peer that sends and ends its half gets its echo, and its end is reported."""
            client, protocol = await self.opened()
            client.transport.write(frame(TEXT, b"one"))
            # Over TLS its half is all that ends so, too: what comes is still read.
            end = "loseConnection" if self.is_secure else "loseWriteConnection"
            getattr(client.transport, end)()
            self.assertIsInstance(await client.ended, ConnectionDone)
            self.assertEqual(frames_of(client), [Frame(TEXT, b"one")])
            await self.ended(protocol)
            self.assertEqual(protocol.told[-1][0], "close")

        async def test_peer_resets(self) -> None:
            """A reset is reported, although nothing is being written."""
            client, protocol = await self.opened()
            linger = struct.pack("ii", 1, 0)
            bottom_transport(client.transport).getHandle().setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            client.transport.abortConnection()
            await self.ended(protocol)

        async def test_dropped_with_output_that_nobody_reads(self) -> None:
            """A connection with output that the peer does not read ends when the close timer fires."""
            client, protocol = await self.opened(
                close_timeout=0.1, send_queue=1 << 24, max_message_size=1 << 24, max_frame_size=1 << 24
            )
            client.transport.pauseProducing()
            for _ in range(12):
                protocol.sendMessage(bytes(1 << 20), True)
            self.assertGreater(protocol.link.queued_bytes, 0)
            protocol.dropConnection(abort=False)
            await self.ended(protocol)
            client.transport.resumeProducing()
            await client.ended

        async def test_aborted_in_a_message(self) -> None:
            """A connection that the program drops while it handles a message is gone, and what was on its way
            reaches nobody."""

            class Dropping(Program):
                def onMessage(self, payload: bytes, isBinary: bool) -> None:
                    super().onMessage(payload, isBinary)
                    self.dropConnection(abort=True)

            client, protocol = await self.opened(protocol=Dropping)
            client.transport.write(frame(TEXT, b"one") + frame(TEXT, b"two"))
            await client.ended
            await self.ended(protocol)
            self.assertEqual([one[0] for one in protocol.told], ["open", "message", "close"])

        async def test_exception(self) -> None:
            """An exception of the program's ends its connection with 1011, and no other."""

            class Failing(Program):
                def onMessage(self, payload: bytes, isBinary: bool) -> None:
                    raise ValueError(payload)

            client, protocol = await self.opened(protocol=Failing)
            client.transport.write(frame(TEXT, b"one"))
            await client.until(has_frames(1))
            self.assertEqual(frames_of(client), [closing(1011, b"internal error")])
            client.transport.loseConnection()
            await self.ended(protocol)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

        async def test_number_used_again(self) -> None:
            """A connection that takes the descriptor's number of one that has ended gets its own messages."""
            first, gone = await self.opened()
            number = self.descriptor(gone)
            gone.dropConnection(abort=True)
            await first.ended
            second, protocol = await self.opened()
            for _ in range(20):
                if self.descriptor(protocol) == number:
                    break
                second, protocol = await self.opened()
            second.transport.write(frame(TEXT, b"mine"))
            await second.until(has_frames(1))
            self.assertEqual(frames_of(second), [Frame(TEXT, b"mine")])
            self.assertEqual([one[0] for one in gone.told], ["open", "close"])

        async def test_reactor_ends(self) -> None:
            """When the reactor stops, the pump gives its connections back: Twisted reads them from then on,
            reports their ends, and frames of which a part was taken go on."""
            client, protocol = await self.opened()
            data = frame(TEXT, b"in two parts")
            client.transport.write(data[:9])
            while protocol.lane.frame_on_its_way is None:
                await deferLater(reactor, 0.001)
            its_pump = pump.pump_of(reactor)
            assert its_pump is not None
            its_pump.stop()
            self.addCleanup(pump._pumps.pop, reactor)
            self.assertTrue(self.is_read_by_twisted(protocol))
            client.transport.write(data[9:])
            await client.until(has_frames(1))
            self.assertEqual(frames_of(client), [Frame(TEXT, b"in two parts")])
            client.transport.abortConnection()
            await self.ended(protocol)

        async def test_nobody_left(self) -> None:
            """A pump without connections is not watched."""
            client, protocol = await self.opened()
            self.assertIn(pump.pump_of(reactor), reactor.getReaders())
            client.transport.abortConnection()
            await self.ended(protocol)
            self.assertNotIn(pump.pump_of(reactor), reactor.getReaders())

    class StallTests(SocketTestCase):
        """Silence and slowness inside a frame that the lane has taken a part of."""

        async def test_stalled(self) -> None:
            """A peer that falls silent inside a frame is told so after the stall timeout, not before."""
            client, protocol = await self.opened(stall_timeout=1)
            data = frame(BINARY, bytes(100))
            for at in range(5):
                client.transport.write(data[at * 8 : at * 8 + 8])
                # A machine that is busy with other things takes a few tenths of a second now and then.
                await deferLater(reactor, 0.25)
            self.assertIsNone(protocol.end)
            await client.until(has_frames(1))
            self.assertEqual(frames_of(client)[0].payload[:2], struct.pack("!H", 1001))

        async def test_pong_behind_a_large_frame(self) -> None:
            """A peer whose frame takes longer than the ping timeout is not cut off: its pong comes behind."""
            client, protocol = await self.opened(ping_interval=0.1, ping_timeout=0.1)
            payload = bytes(100_000)
            data = frame(BINARY, payload)
            # Until the timeout has passed once.
            while protocol._frame_before_pong is None and protocol.end is None:
                client.transport.write(data[:100])
                data = data[100:]
                await deferLater(reactor, 0.01)
            client.transport.write(data)
            await client.until(lambda got: Frame(BINARY, payload) in self.whole_frames(got))
            self.assertIsNone(protocol.end)

        def whole_frames(self, data: bytes) -> list[Frame]:
            """The frames of an answer; none while the last is not whole."""
            try:
                return list(parse_frames(parse_answer(data).rest))
            except (AssertionError, ValueError, struct.error):
                return []


if seals:

    class SecureReadingTests(ReadingTests):
        """Who reads over TLS: the same, and everything else is the same as well."""

        is_secure = True

    class SecureEndTests(EndTests):
        """How connections over TLS leave the pump."""

        is_secure = True

        async def test_end_behind_messages(self) -> None:
            """A peer's close_notify in the same segment as messages and half a frame ends the connection
            behind the echoes."""
            client, protocol = await self.opened()
            protocol.pause_reading()
            client.transport.write(frame(TEXT, b"one") + frame(TEXT, b"two") + frame(TEXT, b"half")[:8])
            client.transport.loseConnection()
            await self.turns(10)
            protocol.resume_reading()
            self.assertIsInstance(await client.ended, ConnectionDone)
            self.assertEqual(frames_of(client), [Frame(TEXT, b"one"), Frame(TEXT, b"two")])
            await self.ended(protocol)

        async def test_end_behind_a_pause(self) -> None:
            """A program that pauses in a message is told of the end that came behind it when it reads on."""

            class Pausing(Program):
                def onMessage(self, payload: bytes, isBinary: bool) -> None:
                    super().onMessage(payload, isBinary)
                    if payload == b"one":
                        self.pause_reading()

            client, protocol = await self.opened(protocol=Pausing)
            protocol.pause_reading()
            client.transport.write(frame(TEXT, b"one") + frame(TEXT, b"two"))
            client.transport.loseConnection()
            await self.turns(10)
            protocol.resume_reading()
            while len(protocol.told) < 2:
                await self.turns(1)
            await self.turns(10)
            self.assertEqual(protocol.told, [("open",), ("message", b"one", False)])
            protocol.resume_reading()
            await client.ended
            self.assertEqual(frames_of(client), [Frame(TEXT, b"one"), Frame(TEXT, b"two")])
            await self.ended(protocol)

        async def test_handed_over_in_the_middle(self) -> None:
            """Messages that are on their way while the connection changes hands, and while the peer does not
            read, arrive once each, and in order."""
            client, protocol = await self.opened(send_queue=1 << 24)
            payloads = [b"%06d" % number * 500 for number in range(2000)]
            data = b"".join(frame(BINARY, payload) for payload in payloads)
            its_pump = pump.pump_of(reactor)
            assert its_pump is not None
            self.addCleanup(pump._pumps.pop, reactor)
            client.transport.pauseProducing()
            client.transport.write(data[: len(data) // 2])
            await self.turns(20)
            its_pump.stop()
            self.assertFalse(protocol.lane.is_in_pump)
            client.transport.write(data[len(data) // 2 :])
            await self.turns(20)
            client.transport.resumeProducing()
            size = sum(map(len, payloads))
            await client.until(lambda got: len(got) > size and has_frames(len(payloads))(got))
            self.assertTrue(frames_of(client) == [Frame(BINARY, payload) for payload in payloads])

    class SecureStallTests(StallTests):
        """Silence over TLS."""

        is_secure = True

    class SlowTests(SocketTestCase):
        """A peer that does not read, over TLS."""

        is_secure = True

        async def test_order(self) -> None:
            """What waits for it, in the transport and in the outbox, and what is written when that has
            drained, arrives once and in order; the queue is bounded in the meantime."""
            client, protocol = await self.opened(send_queue=1 << 18, ping_interval=0)
            client.transport.pauseProducing()
            payloads = [b"%08d" % number * 2500 for number in range(400)]
            sent = 0

            def more() -> None:
                nonlocal sent
                while sent < len(payloads) and not protocol.link.is_full:
                    protocol.sendMessage(payloads[sent], True)
                    sent += 1
                protocol.link.outbox.call_when_low(more)

            more()
            self.assertLess(sent, len(payloads))
            await self.turns(5)
            client.transport.resumeProducing()
            while sent < len(payloads):
                await self.turns(1)
                self.assertLess(protocol.link.queued_bytes, 1 << 19)
            size = sum(map(len, payloads))
            await client.until(lambda got: len(got) > size and has_frames(len(payloads))(got))
            self.assertTrue(frames_of(client) == [Frame(BINARY, payload) for payload in payloads])
            self.assertTrue(protocol.link.has_flushed)

        async def test_not_around_what_is_not_encrypted(self) -> None:
            """What was given to our transport, and waits there for the end of the turn, is not overtaken,
            although the socket's transport has said in the meantime that it has sent everything."""
            client, protocol = await self.opened()
            protocol.lane.block()
            protocol.link.queue(native.encode(b"first", False))
            protocol.link.outbox.resumeProducing()
            protocol.sendMessage(b"second")
            await client.until(has_frames(2))
            self.assertEqual(frames_of(client), [Frame(TEXT, b"first"), Frame(TEXT, b"second")])

    class UnpumpedTests(SocketTestCase):
        """Over TLS, where there is no pump, or a lane cannot do it."""

        is_secure = True

        async def exchange(self) -> Any:
            """Messages of several sizes there and back; the server's protocol."""
            client, protocol = await self.opened(max_message_size=1 << 24, max_frame_size=1 << 24)
            self.assertFalse(protocol.lane.is_in_pump)
            payloads = [b"", b"one", bytes(200_000), os.urandom(3_000_000), b"last"]
            client.transport.write(b"".join(frame(BINARY, payload) for payload in payloads))
            await client.until(lambda got: len(got) > 3_200_000 and has_frames(5)(got))
            protocol.sendMessage(b"more")
            await client.until(has_frames(6))
            self.assertEqual(
                frames_of(client), [*(Frame(BINARY, one) for one in payloads), Frame(TEXT, b"more")]
            )
            client.transport.loseConnection()
            await client.ended
            return protocol

        async def test_without_a_pump(self) -> None:
            """Twisted reads, and the lane writes."""
            self.patch(link, "pump_of", lambda reactor: None)
            protocol = await self.exchange()
            self.assertEqual(protocol.trafficStats.incomingWebSocketMessages, 5)

        async def test_without_addresses(self) -> None:
            """When nobody knows where OpenSSL is, Twisted reads, and our transport writes."""
            self.patch(link, "seals", False)
            await self.exchange()

    class KeyUpdateTests(SocketTestCase):
        """A client of OpenSSL's own that changes keys."""

        is_secure = True

        async def test_key_update(self) -> None:
            """A client that asks for new keys in the middle gets them ahead of the next message (RFC 8446
            section 4.6.3), and messages go on."""
            openssl = shutil.which("openssl")
            assert openssl is not None
            _, protocol = await self.opened()
            port = protocol.link.getHost().port
            client = Client()
            reactor.spawnProcess(
                client, openssl, ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3", "-msg"]
            )
            self.addCleanup(client.kill)
            await client.until(b"Extended master secret")
            client.transport.write(handshake())
            await client.until(b"101 Switching")
            client.transport.write(frame(TEXT, b"before"))
            await client.until(b"\x81\x06before")
            client.transport.write(b"K\n")
            await client.until(b">>> TLS 1.3, Handshake [length 0005], KeyUpdate")
            client.transport.write(frame(TEXT, b"behind"))
            await client.until(b"<<< TLS 1.3, Handshake [length 0005], KeyUpdate")
            await client.until(b"\x81\x06behind")

    class Client(ProcessProtocol):
        """A process, and what it writes."""

        transport: Any

        def __init__(self) -> None:
            self.written = b""
            self.ended: Deferred[None] = Deferred()

        def outReceived(self, data: bytes) -> None:
            self.written += data

        errReceived = outReceived

        def processEnded(self, reason: Failure) -> None:
            self.ended.callback(None)

        async def until(self, text: bytes) -> None:
            """Wait until the process has written this."""
            while text not in self.written:
                await deferLater(reactor, 0.005)

        def kill(self) -> Deferred[None]:
            """End the process, and wait for that."""
            self.transport.signalProcess("KILL")
            return self.ended
