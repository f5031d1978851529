"""The table of what a connection costs."""

from __future__ import annotations

import dataclasses
import datetime as dt

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.memory import PAGE, ROWS, Measured, main, measure, page


class PageTests(SynchronousTestCase):
    """The part of docs/topics/memory.md that is measured."""

    def test_rows(self) -> None:
        """Each row tells what it is, on how many it was measured, and how much each took."""
        text = page([Measured(ROWS[0], 6553.6), Measured(ROWS[1], 1024**2 * 1.5)], date=dt.date(2026, 11, 27))
        self.assertIn(f"| {ROWS[0].what} | {ROWS[0].number:,} | 6.4 KiB |", text)
        self.assertIn(f"| {ROWS[1].what} | {ROWS[1].number:,} | 1.50 MiB |", text)
        self.assertIn("Measured on 2026-11-27: ", text)

    def test_committed(self) -> None:
        """The committed page has each row in its present wording."""
        text = PAGE.read_text(encoding="utf-8")
        for row in ROWS:
            self.assertIn(f"| {row.what} | {row.number:,} |", text)

    def test_arguments(self) -> None:
        """An unknown argument is an error."""
        self.assertRaises(SystemExit, main, ["--fast"])


class MeasuringTests(SynchronousTestCase):
    """One row, quickly."""

    def test_idle(self) -> None:
        """An idle connection costs something, and not much."""
        each = measure(dataclasses.replace(ROWS[0], number=300, warm=100)).each_bytes
        self.assertTrue(1024 < each < 16 * 1024, each)
