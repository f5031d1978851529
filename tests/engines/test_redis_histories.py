"""Tests for wsecho.engines.redis_histories, with a store that counts."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.hub.engine_contract import publication
from wsecho.engines.redis_connection import ConnectionGone
from wsecho.engines.redis_histories import Histories
from wsecho.engines.redis_store import Page
from wsecho.hub.engine import EngineAway, Entry, Position


def entries(first: int, last: int, epoch: str = "e") -> list[Entry]:
    """Entries with these offsets."""
    return [Entry(publication(str(number)), Position(epoch, number)) for number in range(first, last + 1)]


class Store:
    """Answers with pages, when told."""

    def __init__(self, *pages: Page) -> None:
        self.pages = list(pages)
        self.asked: list[Position | None] = []
        self.waiting: list[Deferred[None]] = []

    def keeps(self, channel: str) -> bool:
        return True

    async def page(self, channel: str, after: Position | None, *, goes_on: bool) -> Page:
        self.asked.append(after)
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        await waiting
        return self.pages.pop(0)

    def answer(self) -> None:
        self.waiting.pop(0).callback(None)


def page(first: int, last: int, newest: int, *, is_last: bool = True, epoch: str = "e") -> Page:
    """A page with these entries."""
    return Page(b"g", Position(epoch, newest), first - 1, last, entries(first, last, epoch), is_last)


class ReadingTests(SynchronousTestCase):
    """How often Redis is asked, and what each gets."""

    def setUp(self) -> None:
        """Make a clock."""
        self.clock = Clock()

    def histories(self, *pages: Page) -> tuple[Histories, Any]:
        """With a store that answers so."""
        store = Store(*pages)
        return Histories(store, self.clock), store  # type: ignore[arg-type]

    def test_herd(self) -> None:
        """A thousand who ask at once are served by one reading, each with what it lacks."""
        histories, store = self.histories(page(4, 9, 9))
        asked = [histories.read("c", Position("e", 3 + number % 5)) for number in range(1000)]
        self.clock.advance(0)
        store.answer()
        self.assertEqual((store.asked, histories.readings), ([Position("e", 3)], 1))
        for number, one in enumerate(asked):
            history = self.successResultOf(one)
            self.assertEqual(list(history.entries), entries(4 + number % 5, 9))
            self.assertTrue(history.is_whole)

    def test_who_comes_later(self) -> None:
        """Who asks while a reading is on its way shares the next: the first may lack what they saw."""
        histories, store = self.histories(page(1, 2, 2), page(1, 3, 3))
        first = histories.read("c", None)
        self.clock.advance(0)
        later = [histories.read("c", Position("e", 1)), histories.read("c", None)]
        self.clock.advance(0)
        self.assertEqual(len(store.asked), 1)
        store.answer()
        self.assertEqual(len(self.successResultOf(first).entries), 2)
        self.clock.advance(0.04)
        self.assertEqual(len(store.asked), 1)
        self.clock.advance(0.02)
        store.answer()
        self.assertEqual([len(self.successResultOf(one).entries) for one in later], [2, 3])
        self.clock.advance(0.06)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pages(self) -> None:
        """A long history is read page by page; a new epoch in between begins it anew."""
        histories, store = self.histories(
            page(1, 2, 4, is_last=False), page(1, 1, 2, is_last=False, epoch="f"), page(2, 2, 2, epoch="f")
        )
        asked = histories.read("c", None)
        self.clock.advance(0)
        for _ in range(3):
            store.answer()
        self.assertEqual(list(self.successResultOf(asked).entries), entries(1, 2, "f"))
        self.assertEqual(store.asked, [None, Position("e", 2), Position("f", 1)])

    def test_hole(self) -> None:
        """Where something in the middle is gone, what is behind it is told, and that it is not whole."""
        holed = Page(b"g", Position("e", 6), 0, 6, entries(1, 3) + entries(5, 6), True)
        histories, store = self.histories(holed)
        asked = [histories.read("c", Position("e", since)) for since in (0, 3, 4)]
        self.clock.advance(0)
        store.answer()
        results = [self.successResultOf(one) for one in asked]
        self.assertEqual([list(one.entries) for one in results], [entries(5, 6)] * 3)
        self.assertEqual([one.is_whole for one in results], [False, False, True])

    def test_ahead(self) -> None:
        """Who is ahead of Redis gets all there is, also when asking together with others."""
        histories, store = self.histories(page(3, 3, 3), page(1, 3, 3))
        asked = [histories.read("c", Position("e", since)) for since in (2, 7)]
        self.clock.advance(0)
        store.answer()
        store.answer()
        ahead = self.successResultOf(asked[1])
        self.assertEqual((list(ahead.entries), ahead.is_whole), (entries(1, 3), False))
        self.assertEqual(list(self.successResultOf(asked[0]).entries), entries(3, 3))

    def test_failure(self) -> None:
        """When Redis does not answer, all who asked fail, and the next reading is tried."""
        histories, store = self.histories(page(1, 1, 1))
        asked = [histories.read("c", None) for _ in range(2)]
        self.clock.advance(0)
        store.waiting.pop().errback(ConnectionGone("x"))
        for one in asked:
            self.failureResultOf(one, ConnectionGone)
        again = histories.read("c", None)
        self.clock.advance(0.06)
        store.answer()
        self.successResultOf(again)

    def test_stopped(self) -> None:
        """Who waits when the engine stops fails."""
        histories, _ = self.histories()
        asked = histories.read("c", None)
        histories.stop()
        self.failureResultOf(asked, EngineAway)
        self.clock.advance(0)
