"""Tests for tests.tally: CI's closing line is only as honest as this."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.tally import Tally, tally_steps, tally_trial


class TrialTests(SynchronousTestCase):
    """Reading the numbers of one trial run."""

    def test_all_pass(self) -> None:
        """A run that passed counts its successes."""
        output = "Ran 3 tests in 0.010s\n\nPASSED (successes=3)\n"
        self.assertEqual(tally_trial(output, 0), Tally(passed=3))

    def test_each_outcome(self) -> None:
        """Errors and unexpected successes count as failed, known failures as skipped."""
        outcomes = "skips=1, failures=2, errors=4, expectedFailures=8, unexpectedSuccesses=16, successes=32"
        self.assertEqual(tally_trial(f"FAILED ({outcomes})\n", 1), Tally(passed=32, failed=22, skipped=9))

    def test_skips_alone(self) -> None:
        """trial calls a run with nothing but skips passed; its skips are counted all the same."""
        self.assertEqual(tally_trial("PASSED (skips=2, successes=1)\n", 0), Tally(passed=1, skipped=2))

    def test_last_summary_counts(self) -> None:
        """Only the closing line counts, not one that a test printed before it."""
        output = "PASSED (successes=100)\nmore\nPASSED (successes=1)\n"
        self.assertEqual(tally_trial(output, 0), Tally(passed=1))

    def test_no_summary(self) -> None:
        """A run that ended without a closing line is one failure."""
        self.assertEqual(tally_trial("Traceback (most recent call last):\n", 0), Tally(failed=1))

    def test_summary_inside_a_line(self) -> None:
        """Words in the middle of a line are no closing line."""
        self.assertEqual(tally_trial("it PASSED (successes=3)\n", 0), Tally(failed=1))

    def test_status_without_failure(self) -> None:
        """A bad exit status after a passing run is one failure."""
        self.assertEqual(tally_trial("PASSED (successes=3)\n", 1), Tally(passed=3, failed=1))

    def test_unknown_outcome(self) -> None:
        """An outcome this module does not know counts as failed."""
        self.assertEqual(tally_trial("PASSED (successes=3, novelties=2)\n", 0), Tally(passed=3, failed=2))


class StepsTests(SynchronousTestCase):
    """Adding up the steps of a whole run."""

    def test_sum(self) -> None:
        """Trial runs add their numbers; a check adds one failure when it failed, nothing when not."""
        log = Path(self.mktemp())
        log.write_text("PASSED (successes=3)\n", encoding="utf-8")
        steps = [
            f"trial 0 {log} the tests",
            f"trial 0 {log} the wheel",
            f"check 0 {log} types",
            f"check 2 {log} docs",
        ]
        self.assertEqual(str(tally_steps(steps)), "6 passed, 1 failed, 0 skipped")

    def test_unknown_kind(self) -> None:
        """A step of an unknown kind is an error, not a step that passed."""
        self.assertRaises(ValueError, tally_steps, ["chekc 0 /dev/null docs"])

    def test_clean(self) -> None:
        """A run is clean when something passed and nothing failed or was skipped."""
        verdicts = [tally.is_clean for tally in (Tally(1), Tally(0), Tally(1, failed=1), Tally(1, skipped=1))]
        self.assertEqual(verdicts, [True, False, False, False])
