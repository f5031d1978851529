"""Play every scenario against every server and write the table of the documentation.

`python -m tests.threats.report` writes docs/threats/results.md, and beside it answers.txt, the table of
checks. It fails when wsecho falls, or when plain Autobahn does not fall where it is said to: then the
scenario says something else than it should.
"""

from __future__ import annotations

import datetime as dt
import gc
import platform
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from tests.checkout import CHECKOUT
from tests.threats.answers import table
from tests.threats.catalogue import CHAPTERS
from tests.threats.scenario import Outcome, Scenario
from tests.threats.subjects import SUBJECTS, Subject

__all__ = ["ANSWERS", "PAGE", "Row", "is_as_said", "main", "page"]

PAGE = CHECKOUT / "docs" / "threats" / "results.md"
#: No page of its own, but a part of one.
ANSWERS = PAGE.with_name("answers.txt")
_SPECIAL = re.compile(r"[*_<\[\]|\\`]")
_PACKAGES = ("autobahn", "Twisted", "pyOpenSSL")


@dataclass(frozen=True, slots=True)
class Row:
    """A scenario and how each of the servers did, in the order of `SUBJECTS`."""

    scenario: Scenario
    outcomes: Sequence[Outcome]


def is_as_said(row: Row) -> bool:
    """Whether those fell, and only those, of whom the scenario says so."""
    return all(
        outcome.withstood == (subject.name not in row.scenario.falls)
        for subject, outcome in zip(SUBJECTS, row.outcomes, strict=True)
    )


def _text(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)


def _cell(outcome: Outcome) -> str:
    return f"{'✓' if outcome.withstood else '✗'} {_text(outcome.happened)}"


def page(chapters: Mapping[str, Sequence[Row]], *, date: dt.date, versions: Sequence[str]) -> str:
    """The page.

    :param date: when the scenarios were played
    :param versions: of what they were played with
    """
    rows = [row for chapter in chapters.values() for row in chapter]
    lines = [
        "<!-- Written by `python -m tests.threats.report`; not to be edited. -->",
        "",
        "# What happened",
        "",
        "Which server withstood (✓) which threat, and which fell (✗).",
        f"Played on {date.isoformat()} with {', '.join(versions[:-1])} and {versions[-1]}.",
        "",
        "| server | withstood |",
        "|---|---|",
    ]
    for place, subject in enumerate(SUBJECTS):
        withstood = sum(row.outcomes[place].withstood for row in rows)
        lines.append(f"| {_text(subject.title)} | {withstood} of {len(rows)} |")
    for title, chapter in chapters.items():
        heads = ["threat", "rule, or where it went wrong before", *(subject.title for subject in SUBJECTS)]
        lines += ["", f"## {title}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for row in chapter:
            cells = [_text(row.scenario.threat), _text(row.scenario.clause), *map(_cell, row.outcomes)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


async def _play(scenario: Scenario, subject: Subject) -> Outcome:
    with tempfile.TemporaryDirectory() as directory:
        outcome = await scenario.play(subject, str(Path(directory) / "certificates"))
    # What plain Autobahn leaves unhandled is reported here, and not in the middle of the next scenario.
    gc.collect()
    return outcome


async def _main() -> None:
    chapters = {
        title: [
            Row(scenario, [await _play(scenario, subject) for subject in SUBJECTS]) for scenario in scenarios
        ]
        for title, scenarios in CHAPTERS.items()
    }
    versions = [f"CPython {platform.python_version()}", *(f"{name} {version(name)}" for name in _PACKAGES)]
    PAGE.parent.mkdir(exist_ok=True)
    ANSWERS.write_text(table(), encoding="utf-8")
    PAGE.write_text(page(chapters, date=dt.datetime.now(dt.UTC).date(), versions=versions), encoding="utf-8")
    wrong = [row for chapter in chapters.values() for row in chapter if not is_as_said(row)]
    if wrong:
        raise SystemExit(f"not as said: {', '.join(row.scenario.name for row in wrong)}")


def main(arguments: Sequence[str]) -> None:
    """Play, write, and end the process."""
    if arguments:
        raise SystemExit("python -m tests.threats.report takes no arguments")
    run: Any = task.react
    run(lambda _reactor: Deferred.fromCoroutine(_main()))


if __name__ == "__main__":
    main(sys.argv[1:])
