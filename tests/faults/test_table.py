"""Tests for tests.faults.table: what did not pass is never written as passed."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.table import Row, read_trial, rows, table

OUTPUT = """tests.faults.test_drills
  NodeDrills
    test_f1_kill ...                                                       [OK]
    test_f10_failover ...                                             [SKIPPED]
    test_f2_stop ...                                                       [OK]
    test_f2_stop ...                                                    [ERROR]
    test_f3 ...                                                          [FAIL]
"""


class TableTests(SynchronousTestCase):
    """From trial's words to a table."""

    def test_results(self) -> None:
        """A test passes only when trial has said nothing else of it."""
        self.assertEqual(
            read_trial(OUTPUT),
            {
                "test_f1_kill": "passed",
                "test_f10_failover": "not run",
                "test_f2_stop": "FAILED",
                "test_f3": "FAILED",
            },
        )

    def test_rows(self) -> None:
        """Rows stand in the order of their numbers; one that trial does not know has failed."""
        reports = [
            json.dumps({"row": row, "what": "x", "test": f"m.C.{name}", "facts": ["a", "b"]})
            for row, name in (("F10", "test_f10_failover"), ("F2", "test_gone"), ("F1", "test_f1_kill"))
        ]
        found = rows(read_trial(OUTPUT), reports)
        self.assertEqual(
            [(row.fault, row.result) for row in found],
            [("F1", "passed"), ("F2", "FAILED"), ("F10", "not run")],
        )

    def test_facts(self) -> None:
        """What came of a drill stands there only when it passed."""
        text = table([Row("F1", "x", "passed", ("a", "b")), Row("F2", "y", "FAILED", ("c",))])
        self.assertIn("| F1 | x | passed | a; b |", text)
        self.assertIn("| F2 | y | FAILED |  |", text)
