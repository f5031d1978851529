"""The drain: who is told when, and until when all are waited for."""

from __future__ import annotations

import math
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.lifecycle import Phase
from wsecho.wire.drain import Drain, Spread, check_drain, spread_seconds


class Connection:
    """Notes when it was told to go, with how much time, and when it was cut off."""

    def __init__(self, clock: Clock, number: int, phase: Phase = Phase.OPEN) -> None:
        self.id = number
        self.phase = phase
        self.told: list[tuple[float, float]] = []
        self.cut: list[float] = []
        self._clock = clock

    def shut_down(self, at_least: float) -> None:
        self.told.append((self._clock.seconds(), at_least))
        if self.phase is Phase.OPEN:
            self.phase = Phase.CLOSING

    def cut_off(self) -> None:
        self.cut.append(self._clock.seconds())


class DrainTestCase(SynchronousTestCase):
    """A clock and connections that do not end by themselves."""

    def setUp(self) -> None:
        self.clock = Clock()
        # Whole numbers hide what is counted from 0 instead of from the beginning.
        self.clock.advance(1000)
        self.connections: list[Connection] = []

    def drain(self, timeout: float | None, *, spread: bool = False) -> Drain:
        """A drain that ends with the test."""
        drain = Drain(self.clock, timeout, spread=spread)
        self.addCleanup(self.end, drain)
        return drain

    def end(self, drain: Drain) -> None:
        """Have all connections leave; no timer may be left."""
        for connection in self.connections:
            drain.ended(connection)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def connect(self, number: int, phase: Phase = Phase.OPEN) -> list[Connection]:
        """So many more connections."""
        first = len(self.connections)
        more = [Connection(self.clock, first + index, phase) for index in range(number)]
        self.connections += more
        return more

    def run_clock(self, seconds: float) -> None:
        """Let time pass in small steps, as in a reactor."""
        # A power of two, so that nothing is rounded.
        self.clock.pump([1 / 64] * round(seconds * 64))

    def seconds_of_close(self, connections: list[Connection]) -> list[float]:
        """When each was told, after the beginning; each must have been told once."""
        times = []
        for connection in connections:
            ((at, _),) = connection.told
            times.append(at - 1000)
        return times


class SpreadTests(DrainTestCase):
    """Telling one after the other."""

    def test_evenly(self) -> None:
        """Few connections are told evenly over the first half of the time, the first at once."""
        connections = self.connect(5)
        self.drain(10, spread=True).begin(connections)
        self.run_clock(5)
        self.assertEqual(self.seconds_of_close(connections), [0, 1, 2, 3, 4])

    def test_oldest_first(self) -> None:
        """The oldest is told first, in whatever order they are given."""
        connections = self.connect(40)
        self.drain(2, spread=True).begin(connections[::-1])
        self.run_clock(1)
        times = self.seconds_of_close(connections)
        self.assertEqual(times, sorted(times))
        self.assertLess(times[0], times[-1])

    def test_batches(self) -> None:
        """Of 10,000 connections, many are told in one turn: there are at most 20 turns a second, and no batch
        is larger than its share."""
        connections = self.connect(10_000)
        self.drain(10, spread=True).begin(connections)
        # One timer is for the next batch, the other for the end.
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)
        self.run_clock(5)
        times = self.seconds_of_close(connections)
        self.assertEqual(times[0], 0)
        self.assertTrue(4.9 < times[-1] <= 5, times[-1])
        turns = sorted(set(times))
        self.assertLessEqual(len(turns), 5 * 20)
        self.assertLessEqual(max(times.count(turn) for turn in turns), 2 * 100)

    def test_time_for_each(self) -> None:
        """Whoever is told has the time to the end of all, at least."""
        connections = self.connect(2)
        self.drain(8, spread=True).begin(connections)
        self.run_clock(4)
        self.assertEqual([one.told for one in connections], [[(1000, 8)], [(1002, 6)]])

    def test_late_reactor(self) -> None:
        """A reactor that was busy catches up."""
        connections = self.connect(64)
        self.drain(8, spread=True).begin(connections)
        self.clock.advance(2)
        self.assertEqual([bool(one.told) for one in connections], [True] * 33 + [False] * 31)
        self.clock.advance(5)
        self.assertTrue(all(one.told for one in connections))

    def test_left_meanwhile(self) -> None:
        """Who left before its turn is not told, and the others keep theirs."""
        connections = self.connect(4)
        drain = self.drain(8, spread=True)
        drain.begin(connections)
        self.assertFalse(drain.ended(connections[1]))
        self.run_clock(4)
        self.assertEqual(connections[1].told, [])
        self.assertEqual(self.seconds_of_close([connections[0], *connections[2:]]), [0, 2, 3])

    def test_not_open(self) -> None:
        """Connections that are not open are told at once, and take no turn."""
        handshakes = self.connect(2, Phase.CONNECTING) + self.connect(1, Phase.DECIDING)
        connections = self.connect(2)
        self.drain(4, spread=True).begin([*connections, *handshakes])
        self.assertEqual(self.seconds_of_close(handshakes), [0, 0, 0])
        self.run_clock(2)
        self.assertEqual(self.seconds_of_close(connections), [0, 1])

    def test_share(self) -> None:
        """The spread is the first half."""
        self.assertEqual(spread_seconds(10), 5)


class SpreadOfOthersTests(SynchronousTestCase):
    """`Spread` by itself."""

    def test_others(self) -> None:
        """Anybody can be told over a span, evenly, the first at once; it is over when all have been told."""
        clock, told = Clock(), []
        spread = Spread[str](clock, 3.0, lambda name: told.append((name, clock.seconds())))
        self.assertTrue(spread.is_over)
        spread.begin(["a", "b", "c"])
        self.assertFalse(spread.is_over)
        clock.pump([0.5] * 8)
        self.assertEqual(told, [("a", 0.0), ("b", 1.0), ("c", 2.0)])
        self.assertTrue(spread.is_over)

    def test_stop(self) -> None:
        """Nobody is told any more when it is stopped."""
        clock = Clock()
        told: list[str] = []
        spread = Spread[str](clock, 3.0, told.append)
        spread.begin(["a", "b"])
        spread.stop()
        spread.stop()
        self.assertEqual((told, clock.getDelayedCalls()), (["a"], []))


class WithoutSpreadTests(DrainTestCase):
    """Telling all at once."""

    def test_at_once(self) -> None:
        """Without spread all are told at once, with all the time there is."""
        connections = self.connect(3)
        self.drain(10).begin(connections)
        self.assertEqual([one.told for one in connections], [[(1000, 10)]] * 3)

    def test_without_timeout(self) -> None:
        """Without timeout there is no end but each connection's own, and no timer."""
        connections = self.connect(3)
        self.drain(None).begin(connections)
        self.assertEqual([one.told for one in connections], [[(1000, 0)]] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connection_that_raises(self) -> None:
        """One that raises harms no other; the log has the traceback."""
        connections = self.connect(3)

        def fail(at_least: float) -> None:
            raise ZeroDivisionError

        connections[1].shut_down = fail  # type: ignore[method-assign]
        self.drain(10).begin(connections)
        self.assertEqual([len(one.told) for one in connections], [1, 0, 1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class EndTests(DrainTestCase):
    """When it is over."""

    def test_deadline(self) -> None:
        """What is left at the end of the time is cut off, once; who ended before is left alone."""
        connections = self.connect(3)
        drain = self.drain(10)
        drain.begin(connections)
        drain.ended(connections[1])
        self.clock.advance(9.9)
        self.assertEqual([one.cut for one in connections], [[], [], []])
        self.clock.advance(0.1)
        self.clock.advance(100)
        self.assertEqual([one.cut for one in connections], [[1010], [], [1010]])

    def test_zero(self) -> None:
        """With 0, all are cut off at once, and nobody is told first."""
        connections = self.connect(2) + self.connect(1, Phase.CONNECTING)
        self.drain(0).begin(connections)
        self.assertEqual([(one.told, one.cut) for one in connections], [([], [1000])] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_last_one(self) -> None:
        """The last one that ends is told from the others, and no timer outlives it."""
        connections = self.connect(3)
        drain = self.drain(10, spread=True)
        drain.begin(connections)
        self.assertEqual([drain.ended(one) for one in connections], [False, False, True])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stranger(self) -> None:
        """A connection that came after it counts for nothing."""
        connections = self.connect(1)
        drain = self.drain(10)
        drain.begin(connections)
        (stranger,) = self.connect(1)
        self.assertFalse(drain.ended(stranger))
        self.assertTrue(drain.ended(connections[0]))
        self.assertFalse(drain.ended(stranger))

    def test_added(self) -> None:
        """One that is added is waited for, and not told: it knows."""
        connections = self.connect(2)
        drain = self.drain(10)
        drain.begin(connections[:1])
        drain.add(connections[1])
        self.assertFalse(drain.ended(connections[0]))
        self.assertTrue(drain.ended(connections[1]))
        self.assertEqual(connections[1].told, [])

    def test_end_of_all_in_the_middle(self) -> None:
        """Connections that end the moment they are told leave no timer behind."""
        connections = self.connect(3)
        drain = self.drain(10, spread=True)
        ends: list[bool] = []

        def end_all(at_least: float) -> None:
            ends.extend(map(drain.ended, connections))

        for connection in connections:
            connection.shut_down = end_all  # type: ignore[method-assign]
        drain.begin(connections)
        self.assertEqual(ends, [False, False, True])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class CheckTests(SynchronousTestCase):
    """The arguments of a shutdown."""

    def test_accepted(self) -> None:
        """No timeout, or seconds; a spread only with them."""
        for timeout in (None, 0, 0.5, 10):
            check_drain(timeout, spread=False)
        check_drain(10, spread=True)
        check_drain(0, spread=True)

    def test_refused(self) -> None:
        """What is no time is refused, in words that name the argument."""
        wrong: Any
        for wrong, error, words in (
            ("10", TypeError, "timeout must be a number of seconds or None, not str"),
            (True, TypeError, "timeout must be a number of seconds or None, not bool"),
            (-1, ValueError, "timeout must be finite and not negative: -1"),
            (math.inf, ValueError, "timeout must be finite and not negative: inf"),
            (math.nan, ValueError, "timeout must be finite and not negative: nan"),
        ):
            self.assertEqual(str(self.assertRaises(error, check_drain, wrong, spread=False)), words)
        error = self.assertRaises(ValueError, check_drain, None, spread=True)
        self.assertIn("spread needs a timeout", str(error))
        self.assertRaises(ValueError, Drain, Clock(), -1, spread=False)
