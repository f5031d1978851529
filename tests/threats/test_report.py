"""tests/threats/report.py and the page it wrote."""

from __future__ import annotations

import datetime as dt

from twisted.trial.unittest import SynchronousTestCase

from tests.threats.answers import CHECKS, answer_to, table
from tests.threats.catalogue import CHAPTERS, SCENARIOS
from tests.threats.report import ANSWERS, PAGE, Row, is_as_said, main, page
from tests.threats.scenario import Outcome, Scenario
from tests.threats.subjects import SUBJECTS


def row(*withstood: bool, threat: str = "A threat", falls: tuple[str, ...] = ()) -> Row:
    """A row with such outcomes."""
    scenario = Scenario("name", threat, "RFC 1", frozenset(falls), lambda _: Outcome(True, ""))
    return Row(scenario, [Outcome(one, f"seen {one}") for one in withstood])


def as_played() -> dict[str, list[Row]]:
    """All scenarios with outcomes as they are said to be."""
    return {
        title: [
            Row(one, [Outcome(subject.name not in one.falls, "...") for subject in SUBJECTS])
            for one in scenarios
        ]
        for title, scenarios in CHAPTERS.items()
    }


class PageTests(SynchronousTestCase):
    """The text of a page."""

    def page(self, *rows: Row) -> list[str]:
        """The lines of a page with one chapter."""
        return page({"Chapter": rows}, date=dt.date(2026, 11, 21), versions=["A 1", "B 2"]).splitlines()

    def test_rows(self) -> None:
        """A row tells the threat, the rule, and of each server whether it withstood and what was seen."""
        lines = self.page(row(False, True, True))
        self.assertIn("| A threat | RFC 1 | ✗ seen False | ✓ seen True | ✓ seen True |", lines)
        self.assertIn("## Chapter", lines)

    def test_when_and_with_what(self) -> None:
        """The page tells the day and the versions, and that it is written by a program."""
        lines = self.page(row(True, True, True))
        self.assertIn("Played on 2026-11-21 with A 1 and B 2.", lines)
        self.assertIn("Written by `python -m tests.threats.report`", lines[0])

    def test_sums(self) -> None:
        """The page counts for each server what it withstood."""
        lines = self.page(row(False, False, True), row(False, True, True))
        counts = [line.rpartition(" | ")[2] for line in lines if " of 2 |" in line]
        self.assertEqual(counts, ["0 of 2 |", "1 of 2 |", "2 of 2 |"])

    def test_markup(self) -> None:
        """Characters of a text that Markdown would take for markup are shown as they are."""
        self.assertIn(
            "A \\| \\* \\\\ \\[b\\] \\<i>",
            "\n".join(self.page(row(True, True, True, threat="A | * \\ [b] <i>"))),
        )

    def test_as_said(self) -> None:
        """A row is as said when those fell who are said to, and nobody else."""
        self.assertTrue(is_as_said(row(False, True, True, falls=("autobahn",))))
        self.assertFalse(is_as_said(row(True, True, True, falls=("autobahn",))))
        self.assertFalse(is_as_said(row(True, True, False)))

    def test_arguments(self) -> None:
        """Arguments are refused, since there are none."""
        self.assertRaises(SystemExit, main, ["--help"])


class AnswerTests(SynchronousTestCase):
    """The checks and their answers."""

    def test_a_good_request(self) -> None:
        """The request without a fault is answered with 101."""
        self.assertEqual(answer_to([]).status, "HTTP/1.1 101 Switching Protocols")

    def test_order(self) -> None:
        """A request with the fault of a check, and with those of all checks behind it, gets the answer of the
        first: the checks are made in this order."""
        for place, check in enumerate(CHECKS):
            expected = answer_to([check])
            self.assertNotEqual(expected.status, "HTTP/1.1 101 Switching Protocols", check.fault)
            self.assertEqual(answer_to(CHECKS[place:]), expected, check.fault)

    def test_complete(self) -> None:
        """Each answer has its length, says that the connection closes, and tells in a line what is wrong."""
        for check in CHECKS:
            answer = answer_to([check])
            self.assertEqual(int(answer.headers["content-length"]), len(answer.rest), check.fault)
            self.assertTrue(answer.headers["connection"].startswith("close"), check.fault)
            self.assertRegex(answer.rest, rb"\A[A-Za-z0-9 ,.-]+\n\Z")

    def test_committed(self) -> None:
        """The table in the documentation is what the server answers."""
        self.assertEqual(ANSWERS.read_text(encoding="utf-8"), table())


class CommittedPageTests(SynchronousTestCase):
    """docs/threats/results.md."""

    def test_every_scenario(self) -> None:
        """The page has each scenario, in order, with its present wording, and the outcomes that are said."""

        def short(lines: list[str]) -> list[list[str]]:
            cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
            return [one[:2] + [cell[:1] for cell in one[2:]] for one in cells if len(one) == 5]

        committed = PAGE.read_text(encoding="utf-8").splitlines()
        expected = page(as_played(), date=dt.date.min, versions=["", ""]).splitlines()
        self.assertEqual(short(committed), short(expected))
        self.assertEqual(len(short(committed)), len(SCENARIOS) + len(CHAPTERS))
