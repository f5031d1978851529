"""Tests for `wsecho.wire.sampling`: what watchers see, and that nobody pays for them when there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.wire.harness import BINARY, CONTINUATION, TEXT, Peer, Program, WireTestCase, close, frame
from wsecho.policy.facts import MessageSample
from wsecho.services.broadcast import BroadcastServerFactory
from wsecho.services.echo import EchoService
from wsecho.wire.lane import native
from wsecho.wire.sampling import SAMPLES_PER_SECOND, Sampler


class SamplerTestCase(WireTestCase):
    """A factory that echoes, and one with channels, with a sampler for both."""

    def setUp(self) -> None:
        super().setUp()
        service = EchoService()
        self.echo = self.factory(route=lambda path: service)
        self.channels = self.factory(make=BroadcastServerFactory)
        self.sampler = Sampler(self.clock, lambda: [self.echo, self.channels])
        self.seen: list[MessageSample] = []

    def watch(self, **filters: Any) -> Callable[[], None]:
        """Watch, as long as the test lasts."""
        stop = self.sampler.watch(self.seen.append, **filters)
        # Before the test's clock is asked for timers that were left.
        self.addCleanup(stop)
        return stop

    @property
    def beginnings(self) -> list[str]:
        """What was shown of messages."""
        return [sample.beginning for sample in self.seen]

    def says(self, peer: Peer, *texts: str) -> None:
        """A client sends texts, each in a segment of its own."""
        peer.send(*(frame(TEXT, text.encode()) for text in texts))

    def is_looked_at(self, peer: Peer) -> bool:
        """Whether a message of the client's goes by the sampler."""
        return "onMessage" in vars(peer.protocol)


class SeenTests(SamplerTestCase):
    """What is seen."""

    def test_sample(self) -> None:
        """A sample tells who sent it, on which channel, of what kind and size, and how it begins."""
        one, two = self.peer(self.echo).open(), self.peer(self.channels).open("/broadcast/kitchen")
        self.watch()
        self.says(one, "hello")
        two.send(frame(BINARY, b"\x00\xff"))
        self.assertEqual(
            self.seen,
            [
                MessageSample(one.protocol.id, "127.0.0.1:40000", "echo", None, False, 5, "hello"),
                MessageSample(two.protocol.id, "127.0.0.1:40000", "broadcast", "kitchen", True, 2, "00 ff"),
            ],
        )

    def test_goes_on(self) -> None:
        """Whoever is looked at is served as always, in order, fragments included."""
        peer = self.peer(self.echo).open()
        self.watch()
        peer.send(
            frame(TEXT, b"1") + frame(TEXT, b"2", fin=False) + frame(CONTINUATION, b"3"), frame(TEXT, b"4")
        )
        self.assertEqual((peer.messages(), self.beginnings), (["1", "23", "4"], ["1", "23", "4"]))

    def test_escaped(self) -> None:
        """Text is escaped, and long content shortened, so that a sample is bounded."""
        peer = self.peer(self.echo).open()
        self.watch()
        self.says(peer, "\x1b[2J\u202e", "x" * 1000)
        peer.send(frame(BINARY, bytes(1000)))
        control, text, binary = self.beginnings
        self.assertEqual(control, "\\x1b[2J\\u202e")
        self.assertEqual(text, "x" * 256 + "\\...(1000 bytes in all)")
        self.assertEqual(binary, "00 " * 63 + "00 ...(1000 bytes in all)")

    def test_who_comes_later(self) -> None:
        """A connection that opens while somebody watches is seen from its first message on."""
        self.watch()
        peer = self.peer(self.echo).open()
        self.says(peer, "first")
        self.assertEqual(self.beginnings, ["first"])

    def test_filters(self) -> None:
        """A watcher may want one connection, or one channel; others are not even looked at."""
        one, two = self.peer(self.echo).open(), self.peer(self.echo).open()
        kitchen = self.peer(self.channels).open("/broadcast/kitchen")
        stop = self.watch(connection=two.protocol.id)
        for peer, text in ((one, "a"), (two, "b"), (kitchen, "c")):
            self.says(peer, text)
        self.assertEqual(self.beginnings, ["b"])
        self.assertFalse(self.is_looked_at(one))
        stop()
        self.watch(channel="kitchen")
        for peer, text in ((one, "d"), (two, "e"), (kitchen, "f")):
            self.says(peer, text)
        self.sampler.published("kitchen", "g")
        self.sampler.published("cellar", "h")
        self.assertEqual(self.beginnings, ["b", "f", "g"])

    def test_published(self) -> None:
        """What an operator publishes is seen, too."""
        self.sampler.published("kitchen", "nobody watches")
        self.watch()
        self.sampler.published("kitchen", "tea?")
        self.sampler.published("", b"\x01")
        self.assertEqual(
            self.seen,
            [
                MessageSample(None, None, "broadcast", "kitchen", False, 4, "tea?"),
                MessageSample(None, None, "broadcast", "", True, 1, "01"),
            ],
        )

    def test_own_method(self) -> None:
        """An onMessage that a program has set on one connection stays, and is not looked at."""
        peer = self.peer(self.factory(Program)).open()
        told: list[bytes] = []
        peer.protocol.onMessage = lambda payload, isBinary: told.append(payload)
        sampler = Sampler(self.clock, lambda: [peer.protocol.factory])
        stop = sampler.watch(self.seen.append)
        self.says(peer, "a")
        stop()
        self.says(peer, "b")
        self.assertEqual((told, self.seen), ([b"a", b"b"], []))


class PaceTests(SamplerTestCase):
    """How much is seen, and what it costs."""

    def test_rate(self) -> None:
        """After a burst, a watcher gets its samples for each second and no more; the rest passes by."""
        peer = self.peer(self.echo).open()
        self.watch()
        self.says(peer, *(str(number) for number in range(100)))
        self.assertEqual(self.beginnings, [str(number) for number in range(SAMPLES_PER_SECOND)])
        for _ in range(10):
            self.clock.advance(0.1)
            self.says(peer, *"abcdefgh")
        self.assertEqual(len(self.seen), 2 * SAMPLES_PER_SECOND)
        self.assertEqual(len(peer.messages()), 100 + 80)

    def test_left_alone(self) -> None:
        """A connection is left alone as long as nobody wants more, and looked at again after that."""
        busy, silent = self.peer(self.echo).open(), self.peer(self.echo).open()
        self.watch()
        self.says(busy, *"x" * SAMPLES_PER_SECOND)
        self.assertFalse(self.is_looked_at(busy))
        self.assertTrue(self.is_looked_at(silent))
        self.clock.advance(0.1)
        self.assertTrue(self.is_looked_at(busy))

    def test_each_has_its_own(self) -> None:
        """One watcher's samples are not taken from another's."""
        peer, other = self.peer(self.echo).open(), self.peer(self.echo).open()
        self.watch(connection=peer.protocol.id)
        self.says(peer, *"x" * (SAMPLES_PER_SECOND + 5))
        seen: list[MessageSample] = []
        self.addCleanup(self.sampler.watch(seen.append))
        self.says(other, "y")
        self.assertEqual([sample.beginning for sample in seen], ["y"])
        self.assertEqual(len(self.seen), SAMPLES_PER_SECOND)

    def test_gone(self) -> None:
        """A connection that has ended is not looked at again."""
        peer = self.peer(self.echo).open()
        self.watch()
        self.says(peer, *"x" * SAMPLES_PER_SECOND)
        peer.send(close(1000))
        self.clock.advance(0.1)
        self.assertFalse(self.is_looked_at(peer))

    def test_end(self) -> None:
        """When the last watcher has left, no connection is looked at, the next ones neither, and no timer
        runs."""
        peer = self.peer(self.echo).open()
        first, last = self.watch(), self.watch()
        first()
        first()
        self.says(peer, "seen once")
        last()
        later = self.peer(self.echo).open()
        self.says(peer, "a")
        self.says(later, "b")
        self.assertEqual(self.beginnings, ["seen once"])
        self.assertFalse(self.is_looked_at(peer) or self.is_looked_at(later))
        self.assertIsNone(self.echo.sampler)

    def test_failing_watcher(self) -> None:
        """A watcher that fails is logged and told nothing more; the client is served."""

        def fail(sample: MessageSample) -> None:
            raise RuntimeError("a watcher's")

        peer = self.peer(self.echo).open()
        self.sampler.watch(fail)
        self.says(peer, "a", "b")
        self.assertEqual(peer.messages(), ["a", "b"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertFalse(self.is_looked_at(peer))


if native is not None:

    class LaneTests(SamplerTestCase):
        """Connections whose messages the lane sends back by itself."""

        def test_not_asked(self) -> None:
            """Between samples the lane sends back by itself again, and no message is lost or doubled."""
            peer = self.peer(self.echo).open()
            calls: list[bytes] = []
            self.watch()
            peer.send(frame(TEXT, b"x") * 300)
            peer.work_off()
            arrived = EchoService.message_arrived

            def count(service: Any, connection: Any, payload: bytes, is_binary: bool) -> None:
                calls.append(payload)
                arrived(service, connection, payload, is_binary)

            self.patch(EchoService, "message_arrived", count)
            peer.send(frame(TEXT, b"y") * 300)
            peer.work_off()
            self.assertEqual(calls, [])
            self.assertEqual(peer.messages(), ["x"] * 300 + ["y"] * 300)
            self.assertEqual(len(self.seen), SAMPLES_PER_SECOND)
