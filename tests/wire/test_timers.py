"""Timers that connections share."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsecho.wire.timers import SharedTimer


class SharedTimerTests(SynchronousTestCase):
    """Calls in their time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.timer = SharedTimer(self.clock)
        self.calls: list[Any] = []

    def later(self, delay: float, what: Any) -> Any:
        """Note `what` later."""
        return self.timer.call_later(delay, self.calls.append, what)

    def test_arguments(self) -> None:
        """A call is made in its time, not before, with its arguments."""
        self.timer.call_later(0.25, lambda *args, **more: self.calls.append((args, more)), 1, b=2)
        self.clock.advance(0.249)
        self.assertEqual(self.calls, [])
        self.clock.advance(0.001)
        self.assertEqual(self.calls, [((1,), {"b": 2})])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_timer(self) -> None:
        """Calls after the same delay have one timer of the reactor, each at its own time."""
        for at in range(3):
            self.later(10, at)
            self.clock.advance(1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.later(5, "sooner")
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)
        seen = []
        for _ in range(10):
            self.clock.advance(1)
            seen.append(list(self.calls))
            self.calls.clear()
        self.assertEqual(seen, [[], [], [], [], ["sooner"], [], [0], [1], [2], []][: len(seen)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancel(self) -> None:
        """A call can be cancelled before it was made, after it was made, and twice; the last one that is
        cancelled leaves no timer."""
        early, late = self.later(1, "early"), self.later(1, "late")
        early.cancel()
        early.cancel()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        late.cancel()
        self.assertEqual(self.calls, ["late"])
        self.later(1, "never").cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_calls_in_calls(self) -> None:
        """A call may ask for the next one after the same delay, and cancel those behind it."""

        def first() -> None:
            self.calls.append("first")
            behind.cancel()
            self.later(1, "next")

        self.timer.call_later(1, first)
        behind = self.later(1, "behind")
        self.clock.advance(1)
        self.assertEqual(self.calls, ["first"])
        self.clock.advance(1)
        self.assertEqual(self.calls, ["first", "next"])

    def test_exception(self) -> None:
        """A call that raises is logged and keeps no other from being made."""
        self.timer.call_later(1, lambda: 1 // 0)
        self.later(1, "other")
        self.clock.advance(1)
        self.assertEqual(self.calls, ["other"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cancelled_calls_are_forgotten(self) -> None:
        """Of calls that were cancelled long before their time, no more are kept than of those that wait."""
        waiting = self.later(10, "waiting")
        for _ in range(10_000):
            self.later(10, "never").cancel()
        (queue,) = self.timer._queues.values()
        self.assertLess(len(queue._calls), 200)
        self.clock.advance(10)
        self.assertEqual(self.calls, ["waiting"])
        waiting.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("call"), st.sampled_from([1, 2, 3])),
                st.tuples(st.just("cancel"), st.integers(0, 30)),
                st.tuples(st.just("wait"), st.sampled_from([1, 2])),
            ),
            max_size=60,
        )
    )
    def test_like_the_reactor_s(self, steps: list[tuple[str, int]]) -> None:
        """Whatever is asked for, waited for and cancelled, the same calls are made at the same times as by
        the reactor itself, and no timer is left when nothing waits."""
        clocks = Clock(), Clock()
        notes: tuple[list[Any], list[Any]] = ([], [])
        timer = SharedTimer(clocks[0])
        handles: list[tuple[Any, Any]] = []
        for what, number in [*steps, ("wait", 3)]:
            if what == "call":
                ours = timer.call_later(number, notes[0].append, len(handles))
                handles.append((ours, clocks[1].callLater(number, notes[1].append, len(handles))))
            elif what == "cancel" and number < len(handles):
                ours, theirs = handles[number]
                ours.cancel()
                if theirs.active():
                    theirs.cancel()
            elif what == "wait":
                for clock, note in zip(clocks, notes, strict=True):
                    clock.advance(number)
                    note.append("waited")
        for note in notes:
            # Of one moment, in any order.
            note[:] = [sorted(part.split()) for part in " ".join(map(str, note)).split("waited")]
        self.assertEqual(*notes)
        self.assertEqual(clocks[0].getDelayedCalls(), [])
