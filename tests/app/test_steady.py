"""Tests for wsecho.app.steady."""

from __future__ import annotations

from typing import Any

from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsecho.app.steady import make_steady


class Set:
    """Two clocks, one of which can be set."""

    def __init__(self) -> None:
        self.passed = 100.0
        self.set_by = 0.0

    def monotonic(self) -> float:
        """What has passed."""
        return self.passed

    def wall(self) -> float:
        """The time of day."""
        return 1_000_000.0 + self.passed + self.set_by


class SteadyTests(SynchronousTestCase):
    """The reactor's clock."""

    def setUp(self) -> None:
        """Make a reactor that does not run."""
        self.clocks = Set()
        self.reactor: Any = SelectReactor()
        self.addCleanup(self.reactor.disconnectAll)
        make_steady(self.reactor, self.clocks.wall, self.clocks.monotonic)

    def test_time_of_day(self) -> None:
        """It begins with the time of day, and goes on with what passes."""
        self.assertEqual(self.reactor.seconds(), self.clocks.wall())
        self.clocks.passed += 5
        self.assertEqual(self.reactor.seconds(), self.clocks.wall())

    def test_set(self) -> None:
        """A timer is due when its time has passed, however the clock was set meanwhile."""
        for hour in (-3600.0, 3600.0):
            due: list[int] = []
            self.reactor.callLater(10, due.append, 1)
            self.clocks.set_by = hour
            self.clocks.passed += 9
            self.reactor.runUntilCurrent()
            self.assertEqual(due, [])
            self.clocks.passed += 2
            self.reactor.runUntilCurrent()
            self.assertEqual(due, [1])

    def test_once(self) -> None:
        """Doing it again changes nothing, so that time never jumps."""
        self.clocks.set_by = 3600
        before = self.reactor.seconds()
        make_steady(self.reactor, self.clocks.wall, self.clocks.monotonic)
        self.assertEqual(self.reactor.seconds(), before)

    def test_others(self) -> None:
        """A clock of a test, or a reactor with timers of its own, stays what it is."""
        clock = Clock()
        make_steady(clock)
        self.assertEqual(clock.seconds(), 0)
