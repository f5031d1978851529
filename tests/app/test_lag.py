"""Tests for `wsecho.app.lag`: how late a timer was."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsecho.app.lag import INTERVAL, LagMeter
from wsecho.policy.facts import LagFacts


class LagTests(SynchronousTestCase):
    """`LagMeter`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.meter = LagMeter(self.clock)

    def test_nothing(self) -> None:
        """Before it was measured there is no lag."""
        self.assertEqual(self.meter.facts, LagFacts(0, 0.0, 0.0))

    def test_late(self) -> None:
        """What a timer comes too late is added up, and the largest kept."""
        self.meter.start()
        for late in (0.0, 0.5, 0.25):
            self.clock.advance(INTERVAL + late)
        self.assertEqual(self.meter.facts, LagFacts(3, 0.75, 0.5))

    def test_forgets(self) -> None:
        """The largest is of the last minute; the sum goes on."""
        self.meter.start()
        self.clock.advance(INTERVAL + 0.5)
        for _ in range(60):
            self.clock.advance(INTERVAL)
        self.assertEqual(self.meter.facts, LagFacts(61, 0.5, 0.0))

    def test_clock_set_back(self) -> None:
        """A clock that was set back makes no negative lag, which a counter must not have."""
        self.meter.start()
        (call,) = self.clock.calls
        self.clock.rightNow = -5.0
        call.func()
        call.cancel()
        self.assertEqual(self.meter.facts, LagFacts(1, 0.0, 0.0))

    def test_stop(self) -> None:
        """Stopped, it leaves no timer; twice does no harm."""
        self.meter.start()
        self.meter.stop()
        self.meter.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
