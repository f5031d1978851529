"""Tests for wsecho.inbox."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from wsecho.inbox import Inbox


class InboxTests(SynchronousTestCase):
    """Messages that wait."""

    def setUp(self) -> None:
        self.inbox = Inbox(10)
        self.inbox.start()

    def next(self) -> Deferred[Any]:
        """Ask for the next message."""
        return Deferred.fromCoroutine(self.inbox.next())

    def test_in_order(self) -> None:
        """Messages come out in the order in which they came in."""
        self.inbox.put("one", 3)
        self.inbox.put(b"two", 3)
        self.assertEqual(len(self.inbox), 2)
        self.assertEqual([self.inbox.take(), self.inbox.take(), self.inbox.take()], ["one", b"two", None])

    def test_empty_messages_count(self) -> None:
        """An empty message is a message."""
        self.inbox.put("", 0)
        self.inbox.put(b"", 0)
        self.assertEqual([self.successResultOf(self.next()), self.inbox.take()], ["", b""])

    def test_waits(self) -> None:
        """Who asks before a message is there gets it when it comes, and it is then gone."""
        asked, later = self.next(), self.next()
        self.assertNoResult(asked)
        self.inbox.put("one", 3)
        self.assertEqual(self.successResultOf(asked), "one")
        self.assertNoResult(later)
        self.inbox.put("two", 3)
        self.assertEqual(self.successResultOf(later), "two")

    def test_cancelled(self) -> None:
        """Who is cancelled while waiting takes no message away."""
        asked = self.next()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.inbox.put("one", 3)
        self.assertEqual(self.successResultOf(self.next()), "one")

    def test_full(self) -> None:
        """It is full as long as no less than the limit waits."""
        full = []
        for size in (9, 1, 100):
            self.inbox.put(b"", size)
            full.append(self.inbox.is_full)
        while self.inbox.take() is not None:
            full.append(self.inbox.is_full)
        self.assertEqual(full, [False, True, True, True, True, False])

    def test_limit_changes(self) -> None:
        """Another limit counts at once, also for what waits already; 0 is none."""
        self.inbox.put("a", 5)
        for limit, is_full in ((5, True), (6, False), (1, True), (0, False)):
            self.inbox.limit = limit
            self.assertEqual(self.inbox.is_full, is_full, limit)

    def test_finish(self) -> None:
        """After the end, what waits can be taken, and then nothing more comes."""
        self.inbox.put("a", 1)
        self.inbox.finish()
        self.assertEqual(self.successResultOf(self.next()), "a")
        self.assertIsNone(self.successResultOf(self.next()))

    def test_finish_wakes(self) -> None:
        """The end is told to those who wait."""
        asked = self.next()
        self.inbox.finish()
        self.assertIsNone(self.successResultOf(asked))

    def test_before_the_start(self) -> None:
        """Where nothing is expected, nobody waits."""
        self.inbox = Inbox(10)
        self.assertFalse(self.inbox.is_full)
        self.assertIsNone(self.successResultOf(self.next()))

    def test_starts_again(self) -> None:
        """What one connection left does not leak into the next, and who waits for it is told that it is
        over."""
        asked = self.next()
        self.inbox.start()
        self.assertIsNone(self.successResultOf(asked))
        self.inbox.put("a", 10)
        self.inbox.start()
        self.assertEqual((len(self.inbox), self.inbox.is_full), (0, False))
        asked = self.next()
        self.assertNoResult(asked)
        self.inbox.put("b", 1)
        self.assertEqual(self.successResultOf(asked), "b")
