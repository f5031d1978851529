"""Tests for wsecho.engines.shared_answers."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsecho.engines.shared_answers import SharedAnswers
from wsecho.hub.engine import EngineAway, EngineError


class SharingTests(SynchronousTestCase):
    """Who shares a question with whom, and when it is put."""

    def setUp(self) -> None:
        """Make a clock, and note what is asked."""
        self.clock = Clock()
        self.put: list[tuple[str, list[int]]] = []
        self.open: list[Deferred[str]] = []

    def answers(self, *, gathers: bool) -> SharedAnswers[int, str]:
        """Answers that come when the test gives them."""

        def put(channel: str, wishes: list[int]) -> Deferred[str]:
            self.put.append((channel, wishes))
            self.open.append(Deferred())
            return self.open[-1]

        return SharedAnswers(put, self.clock, gathers=gathers)

    def answer(self, result: str | Failure) -> None:
        """Answer the oldest question."""
        self.open.pop(0).callback(result)

    def test_gathers(self) -> None:
        """All of a turn take part in the first question, with what each of them wishes."""
        answers = self.answers(gathers=True)
        asked = [answers.ask("c", number) for number in range(3)]
        self.assertEqual(self.put, [])
        self.clock.advance(0)
        self.assertEqual(self.put, [("c", [0, 1, 2])])
        self.answer("x")
        self.assertEqual([self.successResultOf(one) for one in asked], ["x"] * 3)

    def test_at_once(self) -> None:
        """Without gathering, the first question is put at once for the one who asks, and the others of the
        turn share the next."""
        answers = self.answers(gathers=False)
        first, *others = [answers.ask("c", number) for number in range(3)]
        self.assertEqual(self.put, [("c", [0])])
        self.answer("x")
        self.assertEqual(self.successResultOf(first), "x")
        self.clock.advance(0.06)
        self.assertEqual(self.put[1:], [("c", [1, 2])])
        self.answer("y")
        self.assertEqual([self.successResultOf(one) for one in others], ["y"] * 2)

    def test_on_its_way(self) -> None:
        """Who asks while a question is on its way is not given its answer; the next question leaves a moment
        after the answer, and not before."""
        for gathers in (True, False):
            self.put.clear()
            answers = self.answers(gathers=gathers)
            answers.ask("c", 1)
            self.clock.advance(0)
            later = answers.ask("c", 2)
            self.clock.advance(10)
            self.assertEqual(len(self.put), 1)
            self.answer("old")
            self.assertNoResult(later)
            self.clock.advance(0.04)
            self.assertEqual(len(self.put), 1)
            self.clock.advance(0.02)
            self.assertEqual(self.put[1:], [("c", [2])])
            self.answer("new")
            self.assertEqual(self.successResultOf(later), "new")

    def test_rest(self) -> None:
        """A channel that nobody asked about for a moment is as new: nothing is kept of it, no timer runs, and
        the next who asks need not wait."""
        answers = self.answers(gathers=False)
        answers.ask("c", 1)
        self.answer("x")
        self.clock.advance(0.06)
        self.assertEqual((self.clock.getDelayedCalls(), answers._waiting, answers._timers), ([], {}, set()))
        answers.ask("c", 2)
        self.assertEqual(len(self.put), 2)

    def test_channels(self) -> None:
        """Channels do not wait for each other."""
        answers = self.answers(gathers=False)
        answers.ask("c", 1)
        answers.ask("d", 2)
        self.assertEqual(self.put, [("c", [1]), ("d", [2])])

    def test_failure(self) -> None:
        """When a question fails, all who took part fail, and the next is put."""
        answers = self.answers(gathers=True)
        asked = [answers.ask("c", number) for number in range(2)]
        self.clock.advance(0)
        again = answers.ask("c", 2)
        self.answer(Failure(EngineError("x")))
        for one in asked:
            self.failureResultOf(one, EngineError)
        self.clock.advance(0.06)
        self.answer("y")
        self.assertEqual(self.successResultOf(again), "y")

    def test_cancelled(self) -> None:
        """One that gave up waiting keeps nobody else from the answer."""
        answers = self.answers(gathers=True)
        impatient, patient = answers.ask("c", 1), answers.ask("c", 2)
        self.clock.advance(0)
        impatient.cancel()
        self.failureResultOf(impatient, CancelledError)
        self.answer("x")
        self.assertEqual(self.successResultOf(patient), "x")

    def test_stopped(self) -> None:
        """When it stops, those fail whose question was not put, and no timer is left; those whose question is
        on its way have its answer, and no other question follows."""
        answers = self.answers(gathers=True)
        on_its_way = answers.ask("c", 1)
        self.clock.advance(0)
        waits, gathered, impatient = answers.ask("c", 2), answers.ask("d", 3), answers.ask("d", 4)
        impatient.cancel()
        self.failureResultOf(impatient, CancelledError)
        answers.stop()
        self.failureResultOf(waits, EngineAway)
        self.failureResultOf(gathered, EngineAway)
        self.answer("x")
        self.assertEqual(self.successResultOf(on_its_way), "x")
        self.assertEqual((self.clock.getDelayedCalls(), self.put), ([], [("c", [1])]))
