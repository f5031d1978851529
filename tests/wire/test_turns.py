"""Turns: whose work is done next."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsecho.wire.turns import ONE_GO_SECONDS, TURN_SECONDS, Turns


class Peer:
    """Somebody with slices of work left, each of which takes its time."""

    def __init__(self, test: TurnsTests, name: str, slices: int, seconds: float = 0.0) -> None:
        self.test = test
        self.name = name
        self.slices = slices
        self.seconds = seconds

    def work(self) -> bool:
        self.test.worked.append(self.name)
        self.test.clock.rightNow += self.seconds
        self.slices -= 1
        return self.slices > 0


class Defect(Peer):
    """Somebody whose work raises."""

    def work(self) -> bool:
        raise ZeroDivisionError


class TurnsTests(SynchronousTestCase):
    """`Turns`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.worked: list[str] = []

    def turn(self) -> str:
        """Let the reactor turn once; who has worked."""
        self.worked.clear()
        due, self.clock.calls = self.clock.calls, []
        for call in due:
            if call.active():
                call.called = 1
                call.func(*call.args, **call.kw)
        return "".join(self.worked)

    def test_one_slice_each(self) -> None:
        """Everybody has one slice in a turn, in the order of coming, until the work is done."""
        for name, slices in (("a", 3), ("b", 1), ("c", 2)):
            self.turns.add(Peer(self, name, slices))
        self.assertEqual([self.turn(), self.turn(), self.turn()], ["abc", "ac", "a"])
        self.assertEqual((len(self.turns), self.clock.getDelayedCalls()), (0, []))

    def test_a_turn_has_an_end(self) -> None:
        """However many wait, a turn ends when its time is over; the next begins with those who had none."""
        for name in "abcdef":
            self.turns.add(Peer(self, name, 2, TURN_SECONDS / 4))
        self.assertEqual([self.turn(), self.turn(), self.turn()], ["abcd", "efab", "cdef"])

    def test_slow_work(self) -> None:
        """Work that takes longer than a turn is the only one of its turn."""
        self.turns.add(Peer(self, "a", 2, TURN_SECONDS))
        self.turns.add(Peer(self, "b", 1))
        self.assertEqual([self.turn(), self.turn()], ["a", "ba"])

    def test_used_up(self) -> None:
        """A turn's time is used up by work without a pause, whoever does it; a pause begins anew."""
        half = TURN_SECONDS / 2
        self.assertFalse(self.turns.is_used_up(0))
        self.turns.worked(0, half)
        self.turns.worked(half + ONE_GO_SECONDS / 2, 2 * half)
        self.assertFalse(self.turns.is_used_up(2 * half))
        self.turns.worked(2 * half, 3 * half)
        self.assertTrue(self.turns.is_used_up(3 * half + ONE_GO_SECONDS / 2))
        self.assertFalse(self.turns.is_used_up(3 * half + 2 * ONE_GO_SECONDS))
        self.turns.worked(4 * half, 5 * half)
        self.assertFalse(self.turns.is_used_up(5 * half))

    def test_used_up_until_the_next_turn(self) -> None:
        """A turn of the reactor begins anew, as those who waited for it show, though nobody has paused."""
        self.clock.advance(1)
        self.turns.worked(1, 1 + 2 * TURN_SECONDS)
        self.clock.advance(2 * TURN_SECONDS)
        now = self.clock.seconds()
        self.assertTrue(self.turns.is_used_up(now))
        self.turns.add(Peer(self, "a", 1))
        self.turn()
        self.assertFalse(self.turns.is_used_up(now))

    def test_add_twice(self) -> None:
        """Who waits already keeps the one place."""
        peer = Peer(self, "a", 1)
        self.turns.add(peer)
        self.turns.add(peer)
        self.assertEqual((len(self.turns), self.turn(), self.turn()), (1, "a", ""))

    def test_remove(self) -> None:
        """Who has ended is not called, and takes the timer along when nobody else waits."""
        first, second = Peer(self, "a", 1), Peer(self, "b", 1)
        self.turns.add(first)
        self.turns.add(second)
        self.turns.remove(first)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.turns.remove(second)
        self.turns.remove(second)
        self.assertEqual((self.clock.getDelayedCalls(), self.turn()), ([], ""))

    def test_removes_another(self) -> None:
        """One who ends another while it works keeps it from its slice."""
        other = Peer(self, "b", 1)

        class Ending(Peer):
            def work(self) -> bool:
                self.test.turns.remove(other)
                return super().work()

        self.turns.add(Ending(self, "a", 1))
        self.turns.add(other)
        self.assertEqual((self.turn(), self.turn()), ("a", ""))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_adds_another(self) -> None:
        """One who comes while others work has its slice in the next turn."""
        other = Peer(self, "b", 1)

        class Adding(Peer):
            def work(self) -> bool:
                self.test.turns.add(other)
                return super().work()

        self.turns.add(Adding(self, "a", 1))
        self.assertEqual((self.turn(), self.turn(), self.turn()), ("a", "b", ""))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_defect(self) -> None:
        """Work that raises is logged, and keeps nobody from theirs."""
        self.turns.add(Defect(self, "a", 1))
        self.turns.add(Peer(self, "b", 1))
        self.assertEqual((self.turn(), self.turn()), ("b", ""))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
