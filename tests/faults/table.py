"""Run all drills, and write the table of faults with what came of each: ``python -m tests.faults.table``.

Rules of this file: a row passes when each of its tests has, and trial says which. What cannot be tried here
(no root, no redis-server, no faketime) is written as not run, never as passed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.checkout import CHECKOUT
from tests.engines.redis_server import PROGRAM

__all__ = ["Row", "main", "read_trial", "rows", "table"]

REPORT = "WSECHO_DRILL_REPORT"
MODULES = ("tests.faults.test_drills", "tests.faults.test_failover", "tests.faults.namespaces")
_RESULT = re.compile(r"^    (test_\w+) \.\.\. +\[(\w+)\]$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """One drill."""

    fault: str
    """F1 to F16."""
    what: str
    result: str
    """``passed``, ``FAILED`` or ``not run``."""
    facts: tuple[str, ...]


def read_trial(output: str) -> dict[str, str]:
    """By name of a test, what trial says of it."""
    results: dict[str, str] = {}
    for name, word in _RESULT.findall(output):
        result = {"OK": "passed", "SKIPPED": "not run"}.get(word, "FAILED")
        # A test that fails twice, itself and in its clean-up, has two lines.
        if results.get(name) != "FAILED":
            results[name] = result
    return results


def rows(results: Mapping[str, str], reports: Sequence[str]) -> list[Row]:
    """The rows of the table, from what trial said and what drills reported, as lines of JSON."""
    found = []
    for line in reports:
        report = json.loads(line)
        name = report["test"].rpartition(".")[2]
        found.append(Row(report["row"], report["what"], results.get(name, "FAILED"), tuple(report["facts"])))
    return sorted(found, key=lambda row: (int(row.fault[1:]), row.what))


def table(found: Sequence[Row]) -> str:
    """The table in Markdown."""
    lines = ["| | what is done, and what must come of it | result | what came of it |", "|---|---|---|---|"]
    for row in found:
        facts = "; ".join(row.facts) if row.result == "passed" else ""
        lines.append(f"| {row.fault} | {row.what} | {row.result} | {facts} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and write the table; 1 when a drill failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.table")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "docs" / "topics" / "failure-drills.txt")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        report.touch()
        done = subprocess.run(
            [sys.executable, "-m", "twisted.trial", f"--temp-directory={folder}/trial", *MODULES],
            cwd=CHECKOUT,
            env=os.environ | {REPORT: str(report)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        found = rows(read_trial(done.stdout), report.read_text(encoding="utf-8").splitlines())
    version = subprocess.run([PROGRAM or "false", "--version"], capture_output=True, text=True, check=False)
    server = re.search(r"v=([0-9.]+)", version.stdout)
    passed = sum(row.result == "passed" for row in found)
    note = (
        f"\n{passed} of {len(found)} passed; Python {platform.python_version()}, "
        f"Redis {server[1] if server else 'missing'}, {platform.system()}, {os.cpu_count()} CPUs.\n"
    )
    options.output.write_text(table(found) + note, encoding="utf-8")
    sys.stdout.write(table(found) + note)
    if passed < len(found):
        sys.stdout.write(done.stdout[-20_000:])
    return int(passed < len(found))


if __name__ == "__main__":
    sys.exit(main())
