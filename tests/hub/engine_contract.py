"""What every engine must do: tests to be mixed into the test case of one.

An engine that talks to a process of its own needs time for everything; so nothing here looks before it has
waited (`until`), and nothing counts on how long that takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from zope.interface import implementer
from zope.interface.verify import verifyObject

from wsecho.hub.engine import (
    EngineState,
    Entry,
    IEngine,
    IEngineListener,
    Position,
    Publication,
    Retention,
)

__all__ = ["EngineContract", "Heard", "publication"]

SEVERAL = 5


def publication(payload: bytes | str, message_id: str = "", sender: str = "node-1") -> Publication:
    """A publication: text as text, bytes as binary."""
    if isinstance(payload, str):
        return Publication(payload.encode(), False, sender, message_id)
    return Publication(payload, True, sender, message_id)


@implementer(IEngineListener)
class Heard:
    """A listener that keeps what it was told.

    :ivar entries: by channel, what arrived
    """

    def __init__(self) -> None:
        self.entries: dict[str, list[Entry]] = {}
        self.losses: list[tuple[str, Position | None]] = []
        self.states: list[EngineState] = []
        self.presences: list[tuple[str, int]] = []

    def arrived(self, channel: str, entry: Entry) -> None:
        self.entries.setdefault(channel, []).append(entry)

    def lost(self, channel: str, since: Position | None) -> None:
        self.losses.append((channel, since))

    def state_changed(self, state: EngineState) -> None:
        self.states.append(state)

    def presence_changed(self, channel: str, count: int) -> None:
        self.presences.append((channel, count))

    def payloads(self, channel: str) -> list[bytes]:
        """What arrived on a channel, in order."""
        return [entry.publication.payload for entry in self.entries.get(channel, [])]


class EngineContract:
    """The tests. To be mixed in before a `twisted.trial.unittest.TestCase`, which says how its engine is
    made, how time passes and how one waits."""

    assertEqual: Callable[..., Any]
    assertNotEqual: Callable[..., Any]
    assertIsNone: Callable[..., Any]
    assertTrue: Callable[..., Any]
    assertFalse: Callable[..., Any]

    async def engine(self, retention: Retention, listener: Heard) -> Any:
        """An engine that has started, all of whose channels keep this much. It is stopped when the test
        ends."""
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Let so much time pass for the engine."""
        raise NotImplementedError

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds."""
        raise NotImplementedError

    async def settle(self) -> None:
        """Wait until whatever is on its way has surely arrived."""
        raise NotImplementedError

    async def started(
        self, size: int = 0, age: float = 0.0, channels: Sequence[str] = ("c",)
    ) -> tuple[Any, Heard]:
        """An engine that tells of these channels, and who it tells."""
        heard = Heard()
        engine = await self.engine(Retention(size, age), heard)
        for channel in channels:
            await engine.subscribe(channel)
        return engine, heard

    async def published(self, engine: Any, *payloads: str, channel: str = "c") -> list[Position]:
        """Publish one after the other, and return their positions."""
        return [await engine.publish(channel, publication(payload)) for payload in payloads]

    # -- publishing ------------------------------------------------------------------------------------------

    async def test_interface(self) -> None:
        """It has the interface, and is up once it has started."""
        engine, _ = await self.started()
        verifyObject(IEngine, engine)
        self.assertEqual(engine.state, EngineState.UP)

    async def test_arrives(self) -> None:
        """What is published arrives as it was, sender and type included."""
        engine, heard = await self.started()
        sent = [publication("grün"), publication(b"\xff\x00"), publication(""), publication("x", sender="")]
        for one in sent:
            await engine.publish("c", one)
        await self.until(lambda: len(heard.entries.get("c", ())) == len(sent))
        self.assertEqual([entry.publication for entry in heard.entries["c"]], sent)

    async def test_without_history(self) -> None:
        """A channel that keeps nothing has no positions, and its history is empty."""
        engine, heard = await self.started()
        self.assertEqual(await self.published(engine, "x"), [None])
        await self.until(lambda: "c" in heard.entries)
        self.assertIsNone(heard.entries["c"][0].position)
        for since, is_whole in ((None, True), (Position("e", 0), False)):
            history = await engine.history("c", since)
            self.assertEqual((list(history.entries), history.position), ([], None))
            self.assertEqual(history.is_whole, is_whole)
        self.assertIsNone(await engine.subscribe("other"))

    async def test_positions(self) -> None:
        """Offsets count up by one from 1 in one epoch, and what arrives has the position that was
        acknowledged."""
        engine, heard = await self.started(size=10)
        positions = await self.published(engine, "a", "b", "c")
        epoch = positions[0].epoch
        self.assertEqual(positions, [Position(epoch, number) for number in (1, 2, 3)])
        self.assertTrue(0 < len(epoch) <= 64)
        await self.until(lambda: len(heard.payloads("c")) == 3)
        self.assertEqual([entry.position for entry in heard.entries["c"]], positions)

    async def test_order(self) -> None:
        """Publications that are on their way at the same time arrive in the order of their positions."""
        engine, heard = await self.started(size=100)
        waiting = [engine.publish("c", publication(str(number))) for number in range(50)]
        positions = [await one for one in waiting]
        self.assertEqual([one.offset for one in positions], list(range(1, 51)))
        await self.until(lambda: len(heard.payloads("c")) == 50)
        self.assertEqual(heard.payloads("c"), [b"%d" % number for number in range(50)])
        self.assertEqual([one.position for one in heard.entries["c"]], positions)

    async def test_channels_apart(self) -> None:
        """Channels are numbered each by itself, and know nothing of each other."""
        engine, heard = await self.started(size=10, channels=("c", "d", ""))
        await self.published(engine, "1", "2")
        (other,) = await self.published(engine, "3", channel="d")
        (unnamed,) = await self.published(engine, "4", channel="")
        self.assertEqual((other.offset, unnamed.offset), (1, 1))
        await self.until(lambda: len(heard.entries) == 3 and len(heard.payloads("c")) == 2)
        self.assertEqual([heard.payloads(name) for name in ("c", "d", "")], [[b"1", b"2"], [b"3"], [b"4"]])
        history = await engine.history("d", None)
        self.assertEqual([entry.publication.payload for entry in history.entries], [b"3"])

    async def test_same_id(self) -> None:
        """The same id again, whoever sends it, is acknowledged with the position of the first, and neither
        stored nor delivered; on another channel it is another."""
        engine, heard = await self.started(size=10, channels=("c", "d"))
        first = await engine.publish("c", publication("x", "0123456789abcdef"))
        await self.published(engine, "between")
        again = await engine.publish("c", publication("y", "0123456789abcdef", sender="node-2"))
        self.assertEqual(again, first)
        elsewhere = await engine.publish("d", publication("x", "0123456789abcdef"))
        self.assertEqual(elsewhere.offset, 1)
        last = await engine.publish("c", publication("last"))
        self.assertEqual(last.offset, 3)
        await self.until(lambda: b"last" in heard.payloads("c"))
        self.assertEqual(heard.payloads("c"), [b"x", b"between", b"last"])

    async def test_same_id_at_once(self) -> None:
        """The same holds when the first is not acknowledged yet."""
        engine, heard = await self.started(size=10)
        waiting = [engine.publish("c", publication("x", "0123456789abcdef")) for _ in range(3)]
        positions = [await one for one in waiting]
        self.assertEqual(len(set(positions)), 1)
        await self.published(engine, "last")
        await self.until(lambda: b"last" in heard.payloads("c"))
        self.assertEqual(heard.payloads("c"), [b"x", b"last"])

    async def test_id_forgotten(self) -> None:
        """An id is remembered as long as its message, and no longer."""
        engine, _ = await self.started(size=2)
        first = await engine.publish("c", publication("x", "0123456789abcdef"))
        await self.published(engine, "a", "b")
        again = await engine.publish("c", publication("x", "0123456789abcdef"))
        self.assertEqual((first.offset, again.offset), (1, 4))

    # -- who is told -----------------------------------------------------------------------------------------

    async def test_subscribe_position(self) -> None:
        """Subscribing tells the position behind which arrivals begin: nothing is told twice, nothing
        skipped."""
        engine, heard = await self.started(size=10, channels=())
        before = await self.published(engine, "before", channel="new")
        position = await engine.subscribe("new")
        self.assertEqual(position, before[0])
        heard.entries.clear()
        await self.published(engine, "after", channel="new")
        await self.until(lambda: "new" in heard.entries)
        self.assertEqual([entry.position.offset for entry in heard.entries["new"] if entry.position], [2])

    async def test_subscribe_to_new(self) -> None:
        """A channel on which nothing was published begins at offset 0, in the epoch that it then has."""
        engine, _ = await self.started(size=10, channels=())
        position = await engine.subscribe("new")
        self.assertEqual(position.offset, 0)
        (first,) = await self.published(engine, "x", channel="new")
        self.assertEqual(first, Position(position.epoch, 1))

    async def test_subscribe_again(self) -> None:
        """Who unsubscribed and subscribes again is told once of each publication."""
        engine, heard = await self.started(size=10)
        engine.unsubscribe("c")
        await engine.subscribe("c")
        await self.published(engine, "x")
        await self.until(lambda: bool(heard.payloads("c")))
        await self.settle()
        self.assertEqual(heard.payloads("c"), [b"x"])

    # -- history ---------------------------------------------------------------------------------------------

    async def test_history_since(self) -> None:
        """History has what came after a position, in order, with positions, and says where it ends."""
        engine, _ = await self.started(size=10)
        positions = await self.published(engine, *map(str, range(SEVERAL)))
        for since in range(SEVERAL + 1):
            history = await engine.history("c", Position(positions[0].epoch, since))
            self.assertTrue(history.is_whole)
            self.assertEqual([entry.position for entry in history.entries], positions[since:])
            self.assertEqual(
                [entry.publication.payload for entry in history.entries],
                [b"%d" % number for number in range(since, SEVERAL)],
            )
            self.assertEqual(history.position, positions[-1])

    async def test_history_of_all(self) -> None:
        """Without a position it has all that is retained, and is whole."""
        engine, _ = await self.started(size=3)
        positions = await self.published(engine, *map(str, range(SEVERAL)))
        history = await engine.history("c", None)
        self.assertEqual([entry.position for entry in history.entries], positions[-3:])
        self.assertTrue(history.is_whole)

    async def test_history_of_nothing(self) -> None:
        """A channel on which nothing was published has an epoch, and an empty history that is whole."""
        engine, _ = await self.started(size=3)
        history = await engine.history("c", None)
        self.assertEqual((list(history.entries), history.position.offset), ([], 0))
        again = await engine.history("c", history.position)
        self.assertEqual((list(again.entries), again.position, again.is_whole), ([], history.position, True))

    async def test_trimmed_by_size(self) -> None:
        """A channel keeps its newest, as many as its retention says; who asks for more is told that something
        is gone, and exactly then."""
        engine, _ = await self.started(size=3)
        positions = await self.published(engine, *map(str, range(SEVERAL)))
        for since, is_whole in ((0, False), (1, False), (2, True), (3, True)):
            history = await engine.history("c", Position(positions[0].epoch, since))
            self.assertEqual(history.is_whole, is_whole, since)
            self.assertEqual([entry.position for entry in history.entries], positions[max(since, 2) :])

    async def test_trimmed_by_age(self) -> None:
        """A channel keeps nothing longer than its retention says, and tells that something is gone."""
        engine, _ = await self.started(size=10, age=2.0)
        old = await self.published(engine, "old")
        await self.pass_time(2.5)
        new = await self.published(engine, "new")
        history = await engine.history("c", Position(old[0].epoch, 0))
        self.assertFalse(history.is_whole)
        self.assertEqual([entry.position for entry in history.entries], new)
        self.assertEqual(new[0].offset, 2)
        history = await engine.history("c", old[0])
        self.assertTrue(history.is_whole)

    async def test_foreign_epoch(self) -> None:
        """A position of an epoch that is not the channel's gets all that is retained, and the word that it is
        not whole."""
        engine, _ = await self.started(size=3)
        positions = await self.published(engine, "x")
        history = await engine.history("c", Position("another", 1))
        self.assertFalse(history.is_whole)
        self.assertEqual([entry.position for entry in history.entries], positions)
        self.assertNotEqual(history.position.epoch, "another")

    async def test_position_of_the_future(self) -> None:
        """So does one that the channel has not reached: an offset is never given to other data in silence."""
        engine, _ = await self.started(size=3)
        positions = await self.published(engine, "x")
        history = await engine.history("c", Position(positions[0].epoch, 7))
        self.assertFalse(history.is_whole)
        self.assertEqual([entry.position for entry in history.entries], positions)

    # -- presence --------------------------------------------------------------------------------------------

    async def test_presence(self) -> None:
        """Members are counted by channel, each once, until they are absent."""
        engine, _ = await self.started(channels=("c", "d"))
        for member in ("node-1", "node-2", "node-2"):
            engine.present("c", member)
        self.assertEqual(await engine.presence("c"), 2)
        self.assertEqual(await engine.presence("d"), 0)
        engine.absent("c", "node-1")
        engine.absent("c", "node-1")
        engine.absent("d", "node-1")
        self.assertEqual(await engine.presence("c"), 1)
        engine.absent("c", "node-2")
        self.assertEqual(await engine.presence("c"), 0)
