"""Limits over real sockets, each at the limit and one beyond: plain, over TLS, and compressed."""

from __future__ import annotations

import fcntl
import random
import socket
import struct
import termios
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from tests.behaviours.limited import Client, LimitsTestCase
from tests.wire.harness import BINARY, PING, PONG, TEXT, Certificates, certificates, close, frame
from wsecho import (
    BroadcastServerFactory,
    BroadcastServerProtocol,
    BroadcastService,
    SlowConsumer,
    WebSocket,
    WebSocketServer,
)
from wsecho.policy.end_reasons import End, EndReason
from wsecho.wire.beneath import bottom_transport

QUEUE = 64 * 1024
"""Of the servers here, bytes."""

SIZE = 8 * 1024
"""Of a message here, bytes."""

OVERHEAD = 64
"""Bytes by which a frame with a message of SIZE that cannot be compressed may be larger than it."""


def waiting(end: Any, what: int) -> int:
    """Bytes that the kernel has for a socket."""
    return int(struct.unpack("i", fcntl.ioctl(end.fileno(), what, bytes(4)))[0])


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that cannot be compressed, always the same."""
    return random.Random(seed).randbytes(size)


class Noting(BroadcastServerProtocol):
    """Counts pings."""

    pings = 0

    def onPing(self, payload: bytes) -> None:
        self.pings += 1
        super().onPing(payload)


class PlainTests(LimitsTestCase):
    """Over TCP, and below over TLS, and compressed."""

    async def refused(self, data: bytes, code: int, reason: bytes) -> None:
        """A client that sends this after a message that comes back is closed with this code and reason."""
        client, server = await self.open()
        client.send(self.message(b"before"), data)
        self.assertEqual(await self.close_of(client), (code, reason))
        self.assertEqual(client.payloads(), [b"before"])
        self.assertEqual(server.end.code, code)

    async def echoed(self, data: bytes, payload: bytes) -> None:
        """A client that sends this has the payload back, and is not closed."""
        client, _ = await self.open()
        client.send(data, self.message(b"after"))
        await self.until(lambda: len(client.frames) > 1)
        self.assertEqual(client.payloads(), [payload, b"after"])

    # -- sizes -----------------------------------------------------------------------------------------------

    async def test_max_message_size(self) -> None:
        """A message of max-message-size comes back, in one frame and in several, whether it can be compressed
        or not; one byte more is 1009."""
        self.listen(max_message_size=1000)
        reason = b"larger than max-message-size (1000 bytes)"
        for payload in (bytes(1001), noise(1001)):
            await self.echoed(self.message(payload[:1000]), payload[:1000])
            await self.echoed(self.fragments([payload[:600], b"", payload[600:1000]]), payload[:1000])
            await self.refused(self.message(payload), 1009, reason)
            await self.refused(self.fragments([payload[:600], b"", payload[600:]]), 1009, reason)

    async def test_default_max_message_size(self) -> None:
        """With the defaults that is 1 MiB."""
        self.listen()
        payload = noise(1024 * 1024 + 1)
        await self.echoed(self.message(payload[:-1]), payload[:-1])
        await self.refused(self.message(payload), 1009, b"larger than max-message-size (1048576 bytes)")

    async def test_max_frame_size(self) -> None:
        """A frame of max-frame-size is taken, of a message that is larger; one byte more is 1009."""
        self.listen(max_frame_size=500, max_message_size=1200)
        reason = b"larger than max-frame-size (500 bytes)"
        for payload in (bytes(1001), noise(1001)):
            await self.echoed(self.fragments([payload[:500], payload[500:1000]]), payload[:1000])
            await self.refused(self.message(payload[:501]), 1009, reason)
            await self.refused(self.fragments([payload[:10], payload[10:511]]), 1009, reason)

    # -- numbers ---------------------------------------------------------------------------------------------

    async def test_max_fragments(self) -> None:
        """As many fragments as max-fragments are taken, empty ones counted; one more is 1008."""
        self.listen(max_fragments=4)
        reason = b"more fragments than max-fragments (4)"
        await self.echoed(self.fragments([b"a", b"", b"b", b""]), b"ab")
        await self.refused(self.fragments([b"a", b"", b"b", b"", b""]), 1008, reason)
        await self.echoed(self.fragments([b"a"] * 4) * 1, b"aaaa")
        await self.refused(self.fragments([b"a"] * 5), 1008, reason)

    async def test_default_max_fragments(self) -> None:
        """With the defaults these are 16384, and the one too many is refused before the message ends."""
        self.listen()
        await self.echoed(self.fragments([b"x"] * 16384), b"x" * 16384)
        endless = self.fragments([b"x"] * 20000)
        await self.refused(
            endless[: len(endless) // 20000 * 19000], 1008, b"more fragments than max-fragments (16384)"
        )

    async def test_max_message_rate(self) -> None:
        """As many messages as max-message-rate are taken within a second, empty ones counted, and again in
        the next; one more is 1008. Pings do not count."""
        self.listen(max_message_rate=5)
        burst = self.message(b"") + self.message(b"x") * 3 + frame(PING) * 10 + self.message(b"last", TEXT)
        client, server = await self.open()
        for number in (1, 2, 3):
            client.send(burst)
            await self.has(client, 5 * number)
            self.clock.advance(1)
        client.send(burst, self.message(b"one too many"))
        self.assertEqual(
            await self.close_of(client), (1008, b"more messages than max-message-rate (5 per second)")
        )
        self.assertEqual(len(client.payloads()), 20)
        self.assertEqual(server.end, End(EndReason.POLICY_VIOLATION, 1008))

    # -- silence ---------------------------------------------------------------------------------------------

    async def test_stall_timeout(self) -> None:
        """Silence inside a frame, or between two fragments, is 1001 after stall-timeout, not before."""
        self.listen(stall_timeout=7)
        whole = self.fragments([noise(200), noise(200)])
        for size in (1, 100, len(whole) - 1):
            await self.stalls(whole[:size])

    async def stalls(self, begun: bytes) -> None:
        """A client that falls silent behind these bytes is closed at the stall timeout of 7 seconds."""
        client, server = await self.open()
        client.send(self.message(b"before"), begun)
        await self.until(lambda: client.frames and server._is_inside and not server.has_backlog)
        await self.turns()
        self.clock.advance(6.9)
        await self.turns()
        self.assertIsNone(server.end)
        self.clock.advance(0.1)
        self.assertEqual(
            await self.close_of(client), (1001, b"silent inside a message for stall-timeout (7 s)")
        )
        self.assertEqual(server.end, End(EndReason.STALLED, 1001))

    # -- an echo client that does not read -------------------------------------------------------------------

    async def held(self, server: Any) -> int:
        """Wait until a client that sends and does not read is not read any more.

        :returns: the most that waited for it
        """
        most, before = 0, None
        while (now := (server._octets_received, server.link.queued_bytes)) != before or not most:
            before = now
            for _ in range(50):
                await self.turns(1)
                most = max(most, server.link.queued_bytes)
        self.assertFalse(server.link.takes_input)
        return most

    async def test_echo_to_client_that_does_not_read(self) -> None:
        """It is not read either: no more waits for it than the queue and one message, whatever it sends; and
        when it reads on, nothing is lost."""
        self.listen(send_queue=QUEUE)
        client, server = await self.open()
        client.stop_reading()
        payloads = [noise(SIZE, number) for number in range(500)]
        client.send(*map(self.message, payloads))
        most = await self.held(server)
        self.assertTrue(QUEUE // 2 < most <= QUEUE + SIZE + OVERHEAD, most)
        self.assertLess(server.trafficStats.incomingWebSocketMessages, 250)
        client.read_on()
        while len(client.frames) < len(payloads):
            await self.turns(1)
            self.assertLessEqual(server.link.queued_bytes, QUEUE + SIZE + OVERHEAD)
        self.assertEqual(client.payloads(), payloads)
        self.assertTrue(server.link.is_reading)

    async def test_low_mark(self) -> None:
        """A client that was held is read again when half of the queue waits, not earlier."""
        self.listen(send_queue=QUEUE)
        client, server = await self.open()
        client.stop_reading()
        client.send(self.message(noise(SIZE)) * 500)
        await self.held(server)
        seen: list[int] = []
        resume = server.input_released

        def resumed() -> None:
            seen.append(server.link.queued_bytes)
            resume()

        self.patch(server, "input_released", resumed)
        client.read_on()
        await self.until(lambda: len(client.frames) == 500)
        self.assertGreater(len(seen), 3)
        self.assertLessEqual(max(seen), QUEUE // 2)

    async def test_message_larger_than_the_queue(self) -> None:
        """A message is taken while the queue is not full, however large: then it is one message more."""
        self.listen(send_queue=10_000)
        client, server = await self.open()
        client.stop_reading()
        large = noise(900_000)
        client.send(self.message(large) * 3)
        await self.held(server)
        self.assertLessEqual(server.link.queued_bytes, 10_000 + len(large) + 1000)
        client.read_on()
        await self.until(lambda: len(client.frames) == 3)
        self.assertEqual(client.payloads(), [large] * 3)

    async def test_close_behind_what_waits(self) -> None:
        """A client that sends, closes, and only then reads gets every echo before the Close."""
        self.listen(send_queue=QUEUE)
        client, server = await self.open()
        client.stop_reading()
        client.send(self.message(noise(SIZE)) * 100, close(4000, b"done"))
        await self.held(server)
        self.assertIsNone(server.end)
        client.read_on()
        self.assertEqual(await self.close_of(client), (4000, b"done"))
        self.assertEqual(client.payloads(), [noise(SIZE)] * 100)

    # -- a broadcast receiver that does not read -------------------------------------------------------------

    async def channel(
        self, policy: SlowConsumer, protocol: Any = BroadcastServerProtocol, queue: int = QUEUE
    ) -> tuple[Any, list[tuple[Client, Any]]]:
        """A sender, a receiver that does not read, and one that does."""
        service = BroadcastService(slow_consumer=policy)
        self.listen(BroadcastServerFactory, broadcast=service, send_queue=queue).protocol = protocol
        ends = [await self.open() for _ in range(3)]
        ends[1][0].stop_reading()
        return service, ends

    async def publish(self, ends: list[tuple[Client, Any]], payloads: list[bytes]) -> None:
        """Send these to the channel, at the pace of the receiver that reads, which has them all; the queue of
        the slow one holds no more than it may."""
        (sender, _), (_, slow), (other, _) = ends
        most = slow.link.outbox.limit + SIZE + OVERHEAD
        had = len(other.frames)
        for at, payload in enumerate(payloads):
            sender.send(self.message(payload))
            while len(other.frames) < had + at - 2:
                await self.turns(1)
                self.assertLessEqual(slow.link.queued_bytes, most)
        await self.until(lambda: len(other.frames) == had + len(payloads))
        self.assertEqual(other.payloads()[had:], payloads)

    async def test_slow_receiver_is_closed(self) -> None:
        """With slow-consumer=close, a receiver whose queue is full is off the channel, and gets what waited
        and then 1013 when it reads; the others get everything."""
        service, ends = await self.channel(SlowConsumer.CLOSE)
        payloads = [noise(SIZE, number) for number in range(200)]
        await self.publish(ends, payloads)
        client, server = ends[1]
        self.assertEqual(server.end, End(EndReason.SLOW_CONSUMER, 1013))
        self.assertEqual(service.hub.members(""), 2)
        client.read_on()
        code, reason = await self.close_of(client)
        self.assertEqual((code, reason), (1013, b"does not read: send-queue (65536 bytes) is full"))
        got = client.payloads()
        self.assertTrue(QUEUE // SIZE <= len(got) < 200, len(got))
        self.assertEqual(got, payloads[: len(got)])
        client.send(close(1013))
        await self.until(lambda: len(self._factory._alive) == 2)
        (line,) = [line for line in self.log if "closed:" in line]
        self.assertIn(" reason=slow-consumer code=1013 ", line)
        self.assertIn(" dropped=0 ", line)

    async def test_receiver_that_reads(self) -> None:
        """What is published before the reactor has had a turn closes nobody, as long as the kernel takes it:
        a receiver is slow when the kernel's buffer is full, not when the queue is."""
        service, ends = await self.channel(SlowConsumer.CLOSE, queue=4 * QUEUE)
        for client, server in ends:
            client.read_on()
            for name in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                for end in (client.transport, server.link._transport):
                    bottom_transport(end).socket.setsockopt(socket.SOL_SOCKET, name, 32 * QUEUE)
        payloads = [noise(SIZE, number) for number in range(6 * QUEUE // SIZE)]
        for payload in payloads:
            service.publish("", payload)
        for client, server in ends:
            await self.has(client, len(payloads))
            self.assertEqual((client.payloads(), server.end), (payloads, None))

    async def dropped(self, policy: SlowConsumer) -> tuple[list[bytes], list[bytes]]:
        """What was sent while a receiver did not read, and afterwards, and what it got; what was dropped is
        counted, and in the log."""
        service, ends = await self.channel(policy)
        payloads = [noise(SIZE, number) for number in range(200)]
        await self.publish(ends, payloads)
        client, server = ends[1]
        client.read_on()
        await self.until(lambda: not server.link.queued_bytes)
        later = [noise(SIZE, number) for number in range(200, 205)]
        await self.publish(ends, later)
        await self.until(lambda: client.frames and client.frames[-1].payload == later[-1])
        dropped = 205 - len(client.frames)
        self.assertEqual((server.link.outbox.dropped, service.dropped), (dropped, dropped))
        client.send(close(1000))
        await self.until(lambda: len(self._factory._alive) == 2)
        (line,) = [line for line in self.log if "closed:" in line]
        self.assertIn(f" dropped={dropped} ", line)
        return payloads + later, client.payloads()

    async def test_drop_oldest(self) -> None:
        """With slow-consumer=drop-oldest, a receiver that did not read gets the newest messages, behind those
        that were on their way, in order; then it goes on as the others."""
        sent, got = await self.dropped(SlowConsumer.DROP_OLDEST)
        numbers = [sent.index(payload) for payload in got]
        self.assertEqual(numbers, sorted(numbers))
        self.assertEqual(numbers[0], 0)
        newest = QUEUE // 2 // (SIZE + OVERHEAD) + 5
        self.assertEqual(numbers[-newest:], list(range(205 - newest, 205)))

    async def test_drop_newest(self) -> None:
        """With slow-consumer=drop-newest, a receiver that did not read gets what was sent first; then it goes
        on as the others."""
        sent, got = await self.dropped(SlowConsumer.DROP_NEWEST)
        numbers = [sent.index(payload) for payload in got]
        self.assertEqual(numbers, sorted(numbers))
        first = QUEUE // (SIZE + OVERHEAD)
        self.assertEqual(numbers[:first], list(range(first)))
        self.assertEqual(numbers[-5:], list(range(200, 205)))

    # -- pings -----------------------------------------------------------------------------------------------

    async def test_pings(self) -> None:
        """A client that reads has an answer to every ping."""
        self.listen()
        client, _ = await self.open()
        client.send(*(frame(PING, b"%d" % number) for number in range(1000)))
        await self.until(lambda: len(client.frames) == 1000)
        self.assertEqual(client.of(PONG), [b"%d" % number for number in range(1000)])

    async def test_pings_of_client_that_does_not_read(self) -> None:
        """While its output is blocked, a client is owed the latest pong only, which overtakes messages."""

        _, ends = await self.channel(SlowConsumer.DROP_NEWEST, Noting, 4 * QUEUE)
        client, server = ends[1]
        await self.publish(ends, [noise(SIZE)] * 200)
        client.send(*(frame(PING, b"%d" % number) for number in range(1000)))
        await self.until(lambda: server.pings == 1000)
        self.assertLessEqual(server.link.queued_bytes, 4 * QUEUE + SIZE + OVERHEAD)
        client.read_on()
        await self.until(lambda: not server.link.queued_bytes and b"999" in client.of(PONG))
        # A window that the kernel took meanwhile had one with it.
        self.assertLess(len(client.of(PONG)), 5)
        self.assertEqual(client.frames[-1].opcode, BINARY)

    # -- a program that sends --------------------------------------------------------------------------------

    async def program(self, queue: int = QUEUE) -> tuple[Client, Any, WebSocket]:
        """A client, the server's end, and the socket that the program has of it."""
        server = WebSocketServer(reactor=self.clock, settings=self.settings(send_queue=queue))
        self.listen_with(server.factory)
        self.addCleanup(server.shutdown)
        client, end = await self.open()
        socket = server.next_pending_connection()
        assert socket is not None
        return client, end, socket

    async def test_program_that_waits(self) -> None:
        """A program that waits before each message sends more than the queue holds to a client that reads
        late, and loses nothing."""
        client, _, socket = await self.program()
        client.stop_reading()
        payloads = [noise(SIZE, number) for number in range(300)]

        async def send_all() -> None:
            for payload in payloads:
                self.assertTrue(await socket.drained())
                self.assertEqual(socket.send_binary_message(payload), SIZE)
                self.assertLessEqual(socket.bytes_to_write, QUEUE + SIZE + OVERHEAD)

        sending = Deferred.fromCoroutine(send_all())
        await self.turns()
        self.assertFalse(sending.called)
        client.read_on()
        await sending
        await self.until(lambda: len(client.frames) == len(payloads))
        self.assertEqual(client.payloads(), payloads)

    async def test_program_that_does_not_wait(self) -> None:
        """A message too many is not taken, and the client closed with 1013 behind those that were."""
        client, end, socket = await self.program()
        client.stop_reading()
        taken = 0
        while socket.send_binary_message(noise(SIZE, taken)):
            taken += 1
        self.assertEqual(end.end, End(EndReason.SLOW_CONSUMER, 1013))
        client.read_on()
        self.assertEqual((await self.close_of(client))[0], 1013)
        self.assertEqual(client.payloads(), [noise(SIZE, number) for number in range(taken)])
        client.send(close(1013))
        await socket.when_disconnected()

    async def test_bytes_to_write(self) -> None:
        """It is what was sent and not taken by the kernel, in whose buffers the rest is found."""
        client, end, socket = await self.program(4 * QUEUE)
        theirs, ours = (bottom_transport(one).socket for one in (client.transport, end.link._transport))
        client.stop_reading()
        before = end.trafficStats.outgoingOctetsWireLevel
        while not end.is_output_full:
            socket.send_binary_message(noise(SIZE))
            await self.turns(2)
        sent = end.trafficStats.outgoingOctetsWireLevel - before

        def in_the_kernel() -> int:
            return waiting(ours, termios.TIOCOUTQ) + waiting(theirs, termios.FIONREAD)

        # TLS adds some to each record; a segment may be on its way, and counted twice until it is known to
        # have arrived.
        extra = 0.02 * sent if end.link.is_secure else 0
        await self.until(
            lambda: 0 <= socket.bytes_to_write + in_the_kernel() - sent <= extra and in_the_kernel()
        )
        self.assertGreater(socket.bytes_to_write, QUEUE)
        client.read_on()
        await self.until(socket.flush)

    # -- fairness --------------------------------------------------------------------------------------------

    async def bystander(self, flood: bytes, is_over: Callable[[Client], bool]) -> None:
        """While one client's flood is worked off, another's message comes back, again and again."""
        flooding, busy = await self.open()
        other, _ = await self.open()
        flooding.send(flood)
        await self.until(lambda: busy.has_backlog)
        for number in range(1, 4):
            other.send(self.message(b"hello"))
            await self.has(other, number)
            self.assertFalse(is_over(flooding), number)
        await self.until(lambda: is_over(flooding))

    async def test_small_messages(self) -> None:
        """The messages of another come back before the last of very many small ones."""
        self.listen()
        await self.bystander(self.message(b"x") * 20_000, lambda client: len(client.frames) == 20_000)

    async def test_small_fragments(self) -> None:
        """The messages of another come back before one of very many fragments."""
        self.listen()
        await self.bystander(self.fragments([b"x"] * 16_384), lambda client: len(client.frames) == 1)

    async def test_pings_without_end(self) -> None:
        """The messages of another come back before the last of very many pongs."""
        self.listen()
        await self.bystander(frame(PING) * 20_000, lambda client: len(client.frames) == 20_000)


class TlsTests(PlainTests):
    """The same over TLS."""

    def tls_of_the_test(self) -> Certificates | None:
        return certificates(self.mktemp())


class CompressedTests(PlainTests):
    """The same with permessage-deflate."""

    compresses = True
