"""Tests for wsecho.waiting."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsecho.waiting import Bell, told_by_signal


class BellTests(SynchronousTestCase):
    """Waiting for what happens again and again."""

    def test_wakes_all(self) -> None:
        """All who wait are woken, in order, and nobody who comes later."""
        bell, woken = Bell(), list[str]()
        bell.wait().addCallback(lambda _: woken.append("first"))
        bell.wait().addCallback(lambda _: woken.append("second"))
        bell.ring()
        self.assertEqual(woken, ["first", "second"])
        self.assertNoResult(bell.wait())

    def test_waits_again(self) -> None:
        """Who waits again because of being woken waits for the next time."""
        bell, woken = Bell(), list[int]()

        def wait(_: object = None) -> None:
            woken.append(len(woken))
            bell.wait().addCallback(wait)

        wait()
        bell.ring()
        self.assertEqual(woken, [0, 1])

    def test_cancelled(self) -> None:
        """Who is cancelled is not woken, and the others are."""
        bell = Bell()
        gone, there = bell.wait(), bell.wait()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.assertEqual(bell._waiting, [there])
        bell.ring()
        self.successResultOf(there)

    def test_cancelled_by_another(self) -> None:
        """One that is woken may cancel another that is about to be."""
        bell, others = Bell(), list[Deferred[None]]()
        bell.wait().addCallback(lambda _: others[0].cancel())
        others.append(bell.wait())
        bell.ring()
        self.failureResultOf(others[0], CancelledError)


class ToldBySignalTests(SynchronousTestCase):
    """Failures that a signal has told of."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.deferred: Deferred[str] = Deferred()

    def test_nobody_asks(self) -> None:
        """After a turn, a failure that nobody asked for counts as handled, and is not logged."""
        self.deferred.errback(LookupError())
        told_by_signal(self.clock, self.deferred, "instead")
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(self.deferred), "instead")
        del self.deferred
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_somebody_asks(self) -> None:
        """Who asks within the turn gets the failure."""
        self.deferred.errback(LookupError())
        told_by_signal(self.clock, self.deferred, "instead")
        failures: list[object] = []
        self.deferred.addErrback(failures.append)
        self.clock.advance(0)
        self.assertEqual(len(failures), 1)
        self.assertIsNone(self.successResultOf(self.deferred))

    def test_somebody_waits(self) -> None:
        """A coroutine that waits gets the failure, also when it comes later."""

        async def wait() -> None:
            await self.deferred

        waiting = Deferred.fromCoroutine(wait())
        told_by_signal(self.clock, self.deferred, "instead")
        self.clock.advance(0)
        self.deferred.errback(LookupError())
        self.failureResultOf(waiting, LookupError)
