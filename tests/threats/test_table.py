"""docs/threats/threats.md: the tests that it names are there."""

from __future__ import annotations

import re
import unittest

from twisted.trial.runner import TestLoader
from twisted.trial.unittest import SynchronousTestCase

from tests.checkout import CHECKOUT
from tests.threats.catalogue import SCENARIOS

PAGE = CHECKOUT / "docs" / "threats" / "threats.md"
_ROW = re.compile(r"^\| (?P<threat>[^|]+) \| (?P<happens>[^|]+) \| (?P<tests>[^|]+) \|$", re.MULTILINE)


def rows() -> list[re.Match[str]]:
    """The rows of all tables, without their heads."""
    text = PAGE.read_text(encoding="utf-8")
    return [row for row in _ROW.finditer(text) if row["threat"] != "threat"]


class TableTests(SynchronousTestCase):
    """The table of threats."""

    def test_each_names_tests(self) -> None:
        """Each threat names tests, and nothing else in that column."""
        self.assertGreater(len(rows()), 30)
        for row in rows():
            self.assertRegex(row["tests"], r"\A`tests\.[\w.]+`(, `tests\.[\w.]+`)*\Z", row["threat"])

    def test_tests_exist(self) -> None:
        """Trial finds each test, class or module that is named, with at least one test in it."""
        # trial's loader has no annotations.
        find = TestLoader().loadByName
        for name in {name for row in rows() for name in re.findall(r"`([^`]+)`", row["tests"])}:
            suite: unittest.TestSuite = find(name)
            self.assertGreater(suite.countTestCases(), 0, name)
            self.assertNotIn("ErrorHolder", repr(suite), name)

    def test_options(self) -> None:
        """Each row is a sentence or two, without markup that Markdown would not close."""
        for row in rows():
            for cell in (row["threat"], row["happens"]):
                self.assertEqual(cell.count("`") % 2, 0, cell)
                self.assertEqual(cell.count("["), cell.count("]"), cell)

    def test_scenarios(self) -> None:
        """The worst scenarios are in the table; those that are not are on the page of results."""
        named = {name for row in rows() for name in re.findall(r"WsechoTests\.test_(\w+)`", row["tests"])}
        scenarios = {one.name for one in SCENARIOS}
        self.assertGreater(len(named & scenarios), 20)
