"""Tests of the command `python -m benchmarks.compare`."""

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import compare
from benchmarks.figures import Figures
from tests.benchmarks.samples import CIRCUMSTANCES, SAMPLES
from tests.benchmarks.tools import tools


def run(*arguments: str) -> tuple[int, str, str]:
    """The status of the command, what it wrote, and what it told meanwhile."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = compare.main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
    return status, out.getvalue(), err.getvalue()


class RunTests(SynchronousTestCase):
    """A whole run, as short as may be."""

    def test_end_to_end(self) -> None:
        """It measures in rounds, prints tables, and writes what was measured, which prints them again."""
        tools()
        file = Path(self.mktemp())
        given = ["--scenarios", "e2", "--servers", "wsecho", "limit", "--rounds", "2", "--retries", "0"]
        status, out, err = run(*given, "--time", "0.2", "--warmup", "0.1", "--json", str(file))
        self.assertEqual(status, 0, out + err)
        self.assertRegex(out, r"\| wsecho \| [\d,]+(\\\*)? \| [\d.]+ \([\d.]+-[\d.]+\) \| 1\.00 \|")
        told = json.loads(file.read_text(encoding="utf-8"))
        order = [(one["round"], one["contestant"]) for one in told["measurements"]]
        self.assertEqual(order, [(1, "wsecho"), (1, "limit"), (2, "wsecho"), (2, "limit")])
        self.assertIn("--time 0.2", told["command"])
        self.assertEqual(run("--from-json", str(file)), (0, out, ""))

    def test_list(self) -> None:
        """--list tells what can be measured here."""
        tools()
        status, out, _ = run("--list")
        self.assertEqual(status, 0)
        self.assertRegex(out, r"^servers: wsecho, wsecho-onmessage, ")
        self.assertRegex(out, r"\nscenarios: e1, e2, ")

    def test_failures(self) -> None:
        """The status is 1 when wsecho failed and 2 when all did; another server's failure is only told."""
        cases = (((), 0), (("aiohttp",), 0), (("wsecho",), 1), (("wsecho", "limit", "aiohttp"), 2))
        for names, status in cases:
            measured = [replace(one, error="no" * (one.contestant in names)) for one in SAMPLES]
            with patch.object(compare, "_measure_all", return_value=(CIRCUMSTANCES, measured)):
                self.assertEqual(run()[0], status)


class OptionTests(SynchronousTestCase):
    """Wrong options."""

    def test_wrong(self) -> None:
        """Each ends the command with status 2 and a line that says what is wrong."""
        for arguments, line in (
            (["--scenarios", "x"], "there is no scenario 'x'"),
            (["--servers", "x"], "there is no server 'x'; there are wsecho, "),
            (["--rounds", "0"], "--rounds is at least 1"),
        ):
            status, _, err = run(*arguments)
            self.assertEqual(status, 2)
            self.assertIn(line, err.splitlines()[-1])


class DocsTests(SynchronousTestCase):
    """`--write-docs`."""

    def test_page_and_drawings(self) -> None:
        """The page shows each drawing that is written, and each section that was measured has one."""
        folder = Path(self.mktemp())
        with contextlib.redirect_stderr(io.StringIO()):
            compare.write_docs(Figures(SAMPLES), CIRCUMSTANCES, folder)
        self.assertEqual({file.name for file in folder.iterdir()}, {"results.md", "echo.svg", "open.svg"})
        page = (folder / "results.md").read_text(encoding="utf-8")
        self.assertIn("(echo.svg)", page)
        self.assertIn("(open.svg)", page)
        drawing = (folder / "echo.svg").read_text(encoding="utf-8")
        self.assertIn('class="ours"', drawing)
        self.assertIn("messages in a second of computing", drawing)
