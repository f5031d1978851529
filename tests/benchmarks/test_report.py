"""Tests of the tables, from measurements that are given."""

import itertools
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.figures import Figures
from benchmarks.report import number, page, scenario_table, share_table
from benchmarks.scenarios import SCENARIOS
from tests.benchmarks.samples import CIRCUMSTANCES, SAMPLES

FIGURES = Figures(SAMPLES)


class NumberTests(SynchronousTestCase):
    """`number`."""

    def test_digits(self) -> None:
        """Three that count, or all of a large number."""
        self.assertEqual(
            [number(value) for value in (0.123, 1.234, 12.34, 123.4, 1234567.8)],
            ["0.12", "1.23", "12.3", "123", "1,234,568"],
        )


class TableTests(SynchronousTestCase):
    """The tables."""

    def test_rates(self) -> None:
        """Best first by computing time; medians, and ratios with the range of the rounds."""
        table = scenario_table(FIGURES, SCENARIOS["e2"])
        self.assertEqual([row.split(" | ")[0] for row in table[2:]], ["| limit", "| wsecho", "| aiohttp"])
        self.assertIn(
            "| wsecho | 180 | 0.75 (0.50-0.90) | 1.00 | 200 | 0.75 (0.50-0.80) | 1.00 | 10.0 |", table
        )

    def test_memory(self) -> None:
        """Least first."""
        table = scenario_table(FIGURES, SCENARIOS["m1"])
        self.assertEqual(table[2], "| limit | 0.50 | 1.00 | 0.08 |")
        self.assertEqual(table[-1], "| aiohttp | 12.0 | 24.0 | 2.00 |")

    def test_busy_load(self) -> None:
        """A rate at which the load itself was at its end is marked."""
        busy = [replace(one, client_cpu=0.97) for one in SAMPLES if one.contestant == "limit"]
        table = scenario_table(Figures([*SAMPLES[:2], *busy]), SCENARIOS["e2"])
        self.assertRegex(table[2], r"^\| limit \| 200\\\* ")
        self.assertNotIn("*", table[3])

    def test_shares(self) -> None:
        """The overview has a column for each rate; what was not measured is empty."""
        table = share_table(FIGURES, [SCENARIOS[name] for name in ("e2", "m1", "g1")])
        self.assertEqual(table[0], "| server | e2 | g1 |")
        self.assertIn("| aiohttp | 0.23 |  |", table)

    def test_every_row_has_every_cell(self) -> None:
        """All rows of a table have as many cells as its head."""
        lines = page(FIGURES, CIRCUMSTANCES, {}).splitlines()
        for above, line in itertools.pairwise(lines):
            if above.startswith("|") and line.startswith("|"):
                self.assertEqual(above.count("|"), line.count("|"), line)


class PageTests(SynchronousTestCase):
    """The page."""

    def test_circumstances(self) -> None:
        """It tells the machine, versions, command, who else computed, and what is not there and why."""
        text = page(FIGURES, CIRCUMSTANCES, {})
        for part in (
            "a machine; server on core 0, load on core 1",
            "3 interleaved rounds of 2 s, on 2026-11-27: `python -m benchmarks.compare --rounds 3`",
            "| aiohttp | aiohttp on uvloop | aiohttp 3.14.5 |",
            "Others took 2% of a core in the median of all measurements, 2% in the worst",
            "* Not measured: qt: no PySide6-Addons: install it",
            "* Not measured: TLS: the load was compiled without OpenSSL: apt-get install libssl-dev",
            "* Failed in 1 of 3 rounds: aiohttp in e2: connection 3: the server closed, code 1011",
            "| wsecho | 1,000 | 900 | 0.90 |",
        ):
            self.assertIn(part, text)
        self.assertNotIn("not quiet", text)

    def test_disturbed(self) -> None:
        """Figures of a machine that was not quiet are called that."""
        noisy = Figures([replace(one, foreign=0.5) for one in SAMPLES])
        self.assertIn("**The machine was not quiet.**", page(noisy, CIRCUMSTANCES, {}))

    def test_images(self) -> None:
        """A drawing stands at the head of its section."""
        self.assertIn("## Echo\n\n![Echo: ", page(FIGURES, CIRCUMSTANCES, {"echo": "echo.svg"}))
