"""The memory engine: the contract, and the bounds of what it keeps."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.hub.engine_contract import EngineContract, Heard, publication
from wsecho.hub.engine import Entry, Position, Retention
from wsecho.hub.memory import OVERHEAD, MemoryEngine, new_epoch

SHORT = OVERHEAD + 1
"""What a message of one byte counts as."""


class MemoryEngineContractTests(EngineContract, TestCase):
    """`MemoryEngine`, as every engine."""

    def setUp(self) -> None:
        self.clock = Clock()

    async def engine(self, retention: Retention, listener: Heard) -> Any:
        engine = MemoryEngine(lambda channel: retention, self.clock)
        await engine.start(listener)
        self.addCleanup(engine.stop)
        return engine

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def until(self, condition: Callable[[], bool]) -> None:
        self.assertTrue(condition())

    async def settle(self) -> None:
        """Everything has happened when the call returns."""


class MemoryEngineTests(SynchronousTestCase):
    """`MemoryEngine`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.heard = Heard()
        self.epochs = map("epoch{}".format, itertools.count(1))

    def engine(self, retention: Retention | None = None, **bounds: int) -> MemoryEngine:
        """An engine that has started."""
        engine = MemoryEngine(
            None if retention is None else lambda channel: retention,
            self.clock,
            make_epoch=self.epochs.__next__,
            **bounds,
        )
        self.successResultOf(engine.start(self.heard))
        return engine

    def publish(self, engine: MemoryEngine, payload: str, channel: str = "c") -> Position:
        """Publish, and return the position."""
        position = self.successResultOf(engine.publish(channel, publication(payload)))
        assert position is not None
        return position

    def kept(self, engine: MemoryEngine, channel: str = "c") -> list[bytes]:
        """What is retained."""
        history = self.successResultOf(engine.history(channel, None))
        return [entry.publication.payload for entry in history.entries]

    def test_before_it_returns(self) -> None:
        """A publication has arrived when ``publish`` returns; without a listener it goes nowhere."""
        engine = self.engine()
        engine.publish("c", publication("x"))
        self.assertEqual(self.heard.payloads("c"), [b"x"])
        engine.stop()
        engine.publish("c", publication("y"))
        self.assertEqual(self.heard.payloads("c"), [b"x"])

    def test_published_by_the_listener(self) -> None:
        """A listener may publish when it is told: positions are in the order of publishing."""
        engine = self.engine(Retention(9))

        def arrived(channel: str, entry: Entry) -> None:
            Heard.arrived(self.heard, channel, entry)
            if entry.publication.payload == b"a":
                self.publish(engine, "b")

        self.heard.arrived = arrived  # type: ignore[method-assign]
        self.assertEqual(self.publish(engine, "a").offset, 1)
        self.assertEqual(self.kept(engine), [b"a", b"b"])

    def test_retention_of_a_channel(self) -> None:
        """Each channel has its own retention."""
        engine = MemoryEngine({"c": Retention(2), "d": Retention()}.__getitem__, self.clock)
        for channel in "cd":
            for payload in "xyz":
                engine.publish(channel, publication(payload))
        self.assertEqual((self.kept(engine), self.kept(engine, "d")), ([b"y", b"z"], []))

    def test_bound_in_bytes(self) -> None:
        """Beyond the bytes for all channels, what was stored first goes first, on whatever channel."""
        engine = self.engine(Retention(100), most_bytes=3 * SHORT)
        for channel, payload in ("a1", "b2", "a3", "a4", "b5"):
            self.publish(engine, payload, channel)
        self.assertEqual((self.kept(engine, "a"), self.kept(engine, "b")), ([b"3", b"4"], [b"5"]))
        self.assertEqual(engine.history_bytes, 3 * SHORT)
        self.publish(engine, "x" * (2 * SHORT - OVERHEAD), "c")
        self.assertEqual((self.kept(engine, "a"), self.kept(engine, "b")), ([], [b"5"]))

    def test_bound_in_bytes_of_short_histories(self) -> None:
        """What a channel has forgotten by itself is passed over when the oldest is looked for."""
        engine = self.engine(Retention(1), most_bytes=2 * SHORT)
        for channel, payload in ("a1", "a2", "b3", "c4"):
            self.publish(engine, payload, channel)
        self.assertEqual([self.kept(engine, name) for name in "abc"], [[], [b"3"], [b"4"]])

    def test_larger_than_the_bound(self) -> None:
        """A message that is larger than all histories may be is delivered, and not kept."""
        engine = self.engine(Retention(100), most_bytes=SHORT)
        position = self.publish(engine, "xx")
        self.assertEqual((position.offset, self.kept(engine), engine.history_bytes), (1, [], 0))
        history = self.successResultOf(engine.history("c", Position(position.epoch, 0)))
        self.assertFalse(history.is_whole)

    def test_busy_beside_quiet(self) -> None:
        """What is remembered of a busy channel's order does not grow while a quiet one keeps an old
        message."""
        engine = self.engine(Retention(1))
        self.publish(engine, "old", "quiet")
        for number in range(1000):
            self.publish(engine, str(number), "busy")
        self.assertEqual(self.kept(engine, "quiet"), [b"old"])
        self.assertLess(len(engine._order), 100)

    def test_bound_in_channels(self) -> None:
        """Beyond the channels that may be, the one that was used least recently is forgotten: its history is
        not whole any more, and its epoch another one."""
        engine = self.engine(Retention(9), most_channels=2)
        first = self.publish(engine, "1", "a")
        self.publish(engine, "2", "b")
        self.publish(engine, "3", "a")
        self.publish(engine, "4", "c")
        self.assertEqual((self.kept(engine, "a"), self.kept(engine, "c")), ([b"1", b"3"], [b"4"]))
        again = self.publish(engine, "5", "b")
        self.assertEqual(again, Position("epoch4", 1))
        self.publish(engine, "6", "c")
        history = self.successResultOf(engine.history("a", first))
        self.assertEqual((list(history.entries), history.is_whole), ([], False))
        self.assertEqual(engine.history_bytes, 2 * SHORT)

    def test_forgotten_in_time(self) -> None:
        """What is too old is forgotten, asked for or not; then no timer runs any more."""
        engine = self.engine(Retention(9, 8.0))
        self.publish(engine, "x")
        self.clock.advance(4)
        self.publish(engine, "y", "d")
        self.clock.pump([2.0] * 2)
        self.assertEqual(engine.history_bytes, SHORT)
        self.clock.pump([2.0] * 2)
        self.assertEqual(engine.history_bytes, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.publish(engine, "z").offset, 2)
        engine.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_shortest_age_decides(self) -> None:
        """A message with a short age does not wait for the rounds of those with a long one."""
        engine = MemoryEngine({"c": Retention(9, 1000.0), "d": Retention(9, 1.0)}.__getitem__, self.clock)
        engine.publish("c", publication("x"))
        engine.publish("d", publication("y"))
        self.clock.pump([0.25] * 5)
        self.assertEqual(engine.history_bytes, SHORT)
        engine.stop()

    def test_id_after_its_age(self) -> None:
        """An id is new again when its message is too old, in that very moment."""
        engine = self.engine(Retention(9, 60.0))
        for expected in (1, 2):
            position = self.successResultOf(engine.publish("c", publication("x", "0123456789abcdef")))
            assert position is not None
            self.assertEqual(position.offset, expected)
            self.clock.advance(60)
        engine.stop()

    def test_overhead(self) -> None:
        """What an entry counts as is what it takes: the bound of all histories is one of memory."""
        engine = MemoryEngine(lambda channel: Retention(10_000), self.clock)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(2000):
            engine.publish("c", publication(b"%064d" % number, f"{number:032}", f"node-{number}"))
        taken = tracemalloc.get_traced_memory()[0] - before
        self.assertLess(taken, 1.1 * engine.history_bytes)
        self.assertGreater(taken, 0.7 * engine.history_bytes)

    def test_epochs(self) -> None:
        """No two epochs are the same, and each can stand in a URL."""
        epochs = {new_epoch() for _ in range(100)}
        self.assertEqual(len(epochs), 100)
        for epoch in epochs:
            self.assertRegex(epoch, r"\A[A-Za-z0-9_-]{16}\Z")
