"""Tests of the texts and tables."""

import datetime as dt

from twisted.trial.unittest import SynchronousTestCase

from conformance.cases import ALL_CASES
from conformance.report import Finding, Tally, failure_lines, has_passed, markdown_page, summary_line, tally
from conformance.verdict import WITHOUT_VERDICT, Outcome, Verdict

OK = Verdict("1.1.1", Outcome.OK)
INFORMATIONAL = Verdict("7.1.6", Outcome.INFORMATIONAL)
FAILED = Verdict("9.1.2", Outcome.FAILED, "behavior FAILED, behaviorClose OK")


class TallyTests(SynchronousTestCase):
    """`tally` counts."""

    def test_verdicts_are_counted_by_outcome(self) -> None:
        """Each outcome has its own number and all have one together."""
        self.assertEqual(tally([OK, OK, INFORMATIONAL, FAILED]), Tally(4, 2, 1, 1))

    def test_nothing_counts_nothing(self) -> None:
        """No verdicts give zeros."""
        self.assertEqual(tally([]), Tally(0, 0, 0, 0))


class SummaryTests(SynchronousTestCase):
    """The closing line and the exit status have one source."""

    def test_all_well(self) -> None:
        """OK and informational cases in each combination are a pass."""
        findings = {"pure ws": Finding((OK, INFORMATIONAL)), "pure wss": Finding((OK,))}
        self.assertTrue(has_passed(findings))
        self.assertEqual(
            summary_line(findings),
            "conformance PASSED: pure ws 2 cases: 1 OK, 1 informational, 0 failed; "
            "pure wss 1 cases: 1 OK, 0 informational, 0 failed",
        )

    def test_one_failed_case_fails_the_run(self) -> None:
        """The success of the other transport or mode does not help."""
        findings = {"ws": Finding((OK,)), "wss": Finding((OK, FAILED))}
        self.assertFalse(has_passed(findings))
        self.assertTrue(summary_line(findings).startswith("conformance FAILED: "))

    def test_a_fault_besides_the_cases_fails_the_run(self) -> None:
        """A server that died or logged an unhandled error has not passed, and the line counts such faults."""
        self.assertFalse(has_passed({"ws": Finding((OK,), ["the server ended by itself"])}))
        findings = {"ws": Finding((OK,), ["a"]), "wss": Finding((OK,), ["b"])}
        self.assertTrue(summary_line(findings).endswith("; 2 other faults"))

    def test_a_combination_without_verdicts_fails_the_run(self) -> None:
        """A client that left no report has not found the server faultless."""
        self.assertFalse(has_passed({"ws": Finding((OK,)), "wss": Finding()}))

    def test_a_run_that_judged_nothing_has_not_passed(self) -> None:
        """Nothing judged is a failure and says so."""
        self.assertFalse(has_passed({}))
        self.assertEqual(summary_line({}), "conformance FAILED: nothing was judged")


class FailureLinesTests(SynchronousTestCase):
    """`failure_lines` tells about failed cases only."""

    def test_each_failed_case_is_told_with_its_explanation(self) -> None:
        """A failed case has a line with transport, case and reason, and its explanation indented below."""
        self.assertEqual(
            failure_lines("wss", [OK, FAILED, INFORMATIONAL], {"9.1.2": ["received: []"]}),
            ["wss 9.1.2 FAILED: behavior FAILED, behaviorClose OK", "    received: []"],
        )

    def test_a_case_without_explanation_is_told_too(self) -> None:
        """A case that the suite left no details about still has its line."""
        self.assertEqual(len(failure_lines("ws", [FAILED], {})), 1)


class MarkdownPageTests(SynchronousTestCase):
    """`markdown_page` is the page of results in the documentation."""

    def setUp(self) -> None:
        """Render a full run in which one case failed on one transport in one mode."""
        good = tuple(
            Verdict(case, Outcome.INFORMATIONAL if case in WITHOUT_VERDICT else Outcome.OK)
            for case in ALL_CASES
        )
        bad = tuple(FAILED if verdict.case == FAILED.case else verdict for verdict in good)
        findings = {
            "compiled ws": Finding(good, told="with its compiled part"),
            "pure wss": Finding(bad, ["the server ended by itself"], "pure Python"),
        }
        versions = {"wsecho": "1.2.3", "suite": "autobahntestsuite"}
        self.page = markdown_page(findings, versions, dt.date(2026, 2, 3))
        self.before, self.ws, self.wss = self.page.split("\n## ")

    def test_date_and_versions_are_told(self) -> None:
        """The page says when it was made, of what and by what."""
        self.assertIn("in a run of 2026-02-03", self.before)
        self.assertIn("| wsecho | 1.2.3 |\n| suite | autobahntestsuite |", self.before)

    def test_each_combination_is_told_with_the_words_of_the_process(self) -> None:
        """Each transport and mode has a row: what the process said of itself, the verdicts, other faults."""
        rows = (
            "| [compiled ws](#compiled-ws) | with its compiled part | 517 | 514 | 3 | 0 | 0 |\n"
            "| [pure wss](#pure-wss) | pure Python | 517 | 513 | 3 | 1 | 1 |\n"
        )
        self.assertIn(rows, self.before)
        self.assertTrue(self.ws.startswith("compiled ws\n"))
        self.assertTrue(self.wss.startswith("pure wss\n"))

    def test_each_combination_has_a_table_by_section(self) -> None:
        """A row for each section and one for all: cases, OK, informational, failed."""
        self.assertIn("| 7 | Close handling | 37 | 34 | 3 | 0 |", self.ws)
        self.assertIn("| 13 | Compression, different parameters | 126 | 126 | 0 | 0 |", self.ws)
        self.assertIn("| | **all** | 517 | 514 | 3 | 0 |", self.ws)

    def test_section_1_has_nothing_of_section_10_to_13(self) -> None:
        """Sections are told apart by number, not by first digit."""
        self.assertIn("| 1 | Framing | 16 | 16 | 0 | 0 |", self.ws)

    def test_failures_are_listed(self) -> None:
        """The page hides no failure: its section counts it, and it is named below the table."""
        self.assertIn("| 9 | Limits and performance | 54 | 53 | 0 | 1 |", self.wss)
        self.assertIn("- 9.1.2: `behavior FAILED, behaviorClose OK`", self.wss)
        self.assertNotIn("Failed:", self.ws)

    def test_the_page_ends_with_one_newline(self) -> None:
        """The file is a proper text file."""
        self.assertTrue(self.page.endswith("failed.\n"))
