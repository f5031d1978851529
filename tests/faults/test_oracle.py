"""Tests for tests.faults.oracle: it passes what is right, and finds each kind of wrong."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.oracle import (
    Connected,
    Judgement,
    Message,
    Place,
    PublisherLog,
    Received,
    SubscriberLog,
    Told,
    judge,
)


def connected(offset: int = 0, recovered: bool | None = None, epoch: str = "e") -> Connected:
    """A connection that begins behind a place."""
    return Connected(Place(epoch, offset), recovered)


def got(*offsets: int, epoch: str = "e", publisher: str = "p") -> list[Received]:
    """Messages whose numbers are one below their offsets."""
    return [Received(Place(epoch, offset), Message(publisher, offset - 1)) for offset in offsets]


def judged(*events: Any, acked: int = 5, may_lose: bool = False, epoch: str = "e") -> Judgement:
    """The judgement over one subscriber, and one publisher of whom so many were acknowledged."""
    publisher = PublisherLog("p", acked, {number: Place(epoch, number + 1) for number in range(acked)})
    subscriber = SubscriberLog("s")
    for event in events:
        subscriber.events += event if isinstance(event, list) else [event]
    return judge([publisher], [subscriber], may_lose=may_lose)


class RightTests(SynchronousTestCase):
    """What passes."""

    def test_everything(self) -> None:
        """Everything, in order, also what was never acknowledged."""
        found = judged(connected(), got(1, 2, 3, 4, 5, 6))
        self.assertEqual((found.violations, found.acknowledged, found.missing), ([], 5, 0))

    def test_from_the_middle(self) -> None:
        """Who came later lacks only what was before."""
        self.assertEqual(judged(connected(3), got(4, 5)).violations, [])

    def test_again_after_reconnect(self) -> None:
        """What comes again on a new connection."""
        found = judged(connected(), got(1, 2, 3), connected(1, True), got(2, 3, 4, 5))
        self.assertEqual((found.violations, found.duplicates, found.reconnects), ([], 2, 1))

    def test_told(self) -> None:
        """A gap that was told, where that may be: by an envelope, by a welcome, by another epoch."""
        for word in (Told(), connected(3, False)):
            found = judged(connected(), got(1, 2), word, got(4, 5), may_lose=True)
            self.assertEqual((found.violations, found.missing, found.gaps), ([], 1, 1))
        found = judged(connected(), got(1, 2), Told(), got(1, epoch="f", publisher="q"), may_lose=True)
        self.assertEqual((found.violations, found.missing), ([], 3))

    def test_overtaken_when_repeated(self) -> None:
        """A message that its publisher had to send again may come behind later ones."""
        publisher = PublisherLog("p", 2, {0: Place("e", 2), 1: Place("e", 1)}, repeated={0})
        subscriber = SubscriberLog("s")
        first, second = got(1, 2)
        swapped = [Received(first.place, second.message), Received(second.place, first.message)]
        subscriber.events += [connected(), *swapped]
        self.assertEqual(judge([publisher], [subscriber]).violations, [])

    def test_epoch_given_up(self) -> None:
        """What is retained of an epoch that was given up comes again under the next one's name."""
        again = [Received(Place("f", offset), Message("p", offset - 1)) for offset in (1, 2, 3, 4, 5)]
        found = judged(connected(), got(1, 2, 3), connected(0, False, epoch="f"), again, may_lose=True)
        self.assertEqual((found.violations, found.missing), ([], 0))

    def test_told_at_the_end(self) -> None:
        """A gap that was told, after which nothing came any more."""
        self.assertEqual(judged(connected(), got(1, 2, 3), Told(), may_lose=True).violations, [])


class WrongTests(SynchronousTestCase):
    """What does not."""

    def assertFound(self, judgement: Judgement, words: str) -> None:
        """There is a violation with these words."""
        self.assertTrue([one for one in judgement.violations if words in one], judgement.violations)

    def test_missing(self) -> None:
        """An acknowledged message that is missing, in the middle or at the end."""
        self.assertFound(judged(connected(), got(1, 2, 4, 5)), "nothing was said")
        self.assertFound(judged(connected(), got(1, 2, 4, 5)), "is missing")
        self.assertFound(judged(connected(), got(1, 2, 3, 4)), "is missing")
        self.assertFound(judged(connected(), got(1, 2, 3, 4), may_lose=True), "is missing")

    def test_missing_though_told(self) -> None:
        """One that is missing where nothing may be."""
        self.assertFound(judged(connected(), got(1, 2), Told(), got(4, 5)), "is missing")

    def test_word_counts_once(self) -> None:
        """A gap that was told covers the next jump, and no other."""
        found = judged(connected(), got(1), Told(), got(3, 5), may_lose=True)
        self.assertFound(found, "Place(epoch='e', offset=5) came after Place(epoch='e', offset=3)")

    def test_epoch_in_silence(self) -> None:
        """Another epoch without a word."""
        self.assertFound(judged(connected(), got(1, 2), got(1, epoch="f", publisher="q")), "nothing was said")

    def test_recovered_is_a_promise(self) -> None:
        """A connection that says it recovered, and did not."""
        found = judged(connected(), got(1, 2), connected(2, True), got(4, 5), may_lose=True)
        self.assertFound(found, "nothing was said")

    def test_twice(self) -> None:
        """The same again on one connection."""
        self.assertFound(judged(connected(), got(1, 2, 2, 3, 4, 5)), "twice on one connection")

    def test_back(self) -> None:
        """A place that lies before the last, told or not."""
        self.assertFound(judged(connected(), got(1, 4), Told(), got(3), may_lose=True), "came after")

    def test_stored_twice(self) -> None:
        """One message at two places."""
        twice = Received(Place("e", 6), Message("p", 2))
        self.assertFound(judged(connected(), got(1, 2, 3, 4, 5), twice), "stored twice")

    def test_place_reused(self) -> None:
        """Two messages at one place, as two subscribers saw it, or a publisher and a subscriber."""
        other = Received(Place("e", 5), Message("q", 9))
        self.assertFound(judged(connected(), got(1, 2, 3, 4), other), "is of both")

    def test_order(self) -> None:
        """A publisher's messages the wrong way round."""
        first, second = got(1, 2)
        swapped = [Received(first.place, second.message), Received(second.place, first.message)]
        self.assertFound(judged(connected(), swapped, acked=0), "came after p's 1")

    def test_never_connected(self) -> None:
        """A subscriber that was told nothing proves nothing."""
        self.assertFound(judged(acked=0), "never connected")
