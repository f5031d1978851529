"""Verdicts as texts: lines for a terminal, tables for the documentation.

Pure: the date and the versions are arguments.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from conformance.cases import SECTIONS
from conformance.verdict import WITHOUT_VERDICT, Outcome, Verdict

__all__ = ["Tally", "failure_lines", "has_passed", "markdown_page", "summary_line", "tally"]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many cases there were, and how many of them had which outcome."""

    cases: int
    ok: int
    informational: int
    failed: int


def tally(verdicts: Iterable[Verdict]) -> Tally:
    """Count *verdicts* by outcome."""
    outcomes = [verdict.outcome for verdict in verdicts]
    return Tally(
        cases=len(outcomes),
        ok=outcomes.count(Outcome.OK),
        informational=outcomes.count(Outcome.INFORMATIONAL),
        failed=outcomes.count(Outcome.FAILED),
    )


def has_passed(results: Mapping[str, Sequence[Verdict]], faults: Sequence[str]) -> bool:
    """Tell whether all is well: every transport was judged, nothing failed, and there is no fault.

    :param results: the verdicts of each transport that was to be judged.
    :param faults: what went wrong besides the cases, in any number.
    """
    counts = [tally(verdicts) for verdicts in results.values()]
    return bool(counts) and not faults and all(count.cases > 0 and count.failed == 0 for count in counts)


def summary_line(results: Mapping[str, Sequence[Verdict]], faults: Sequence[str]) -> str:
    """Return the closing line of a run; the parameters are those of :func:`has_passed`."""
    parts = []
    for transport, verdicts in results.items():
        counts = tally(verdicts)
        parts.append(
            f"{transport} {counts.cases} cases: {counts.ok} OK, {counts.informational} informational, "
            f"{counts.failed} failed"
        )
    if faults:
        parts.append(f"{len(faults)} other fault{'s' if len(faults) > 1 else ''}")
    word = "PASSED" if has_passed(results, faults) else "FAILED"
    return f"conformance {word}: {'; '.join(parts) or 'nothing was judged'}"


def failure_lines(
    transport: str, verdicts: Iterable[Verdict], explanations: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return the lines that tell about each failed case.

    :param explanations: by case, what the suite expected and received.
    """
    lines = []
    for verdict in verdicts:
        if verdict.outcome is Outcome.FAILED:
            lines.append(f"{transport} {verdict.case} FAILED: {verdict.reason}")
            lines += [f"    {line}" for line in explanations.get(verdict.case, ())]
    return lines


def markdown_page(
    results: Mapping[str, Sequence[Verdict]],
    versions: Mapping[str, str],
    date: dt.date,
    *,
    title: str = "Results",
    options: str = "",
) -> str:
    """Return the page of results for the documentation.

    :param title: the page's heading.
    :param options: what chose this run, beside ``--write-docs``.
    :param results: the verdicts of a full run, by transport (``ws``, ``wss``).
    :param versions: what was judged and by what, in the order to show.
    :param date: the day of the run.
    """
    lines = [
        f"<!-- Written by `tox -e conformance -- {options}--write-docs`; "
        "changes made here by hand are lost. -->",
        f"# {title}",
        "",
        f"The verdict on every case of the suite on each transport, in a run of {date.isoformat()}.",
        "",
        "| what | version |",
        "|---|---|",
        *(f"| {name} | {version} |" for name, version in versions.items()),
        "",
    ]
    for transport, verdicts in results.items():
        lines += [f"## {transport}", "", *_table(verdicts), ""]
        failed = [verdict for verdict in verdicts if verdict.outcome is Outcome.FAILED]
        if failed:
            lines += ["Failed:", "", *(f"- {verdict.case}: `{verdict.reason}`" for verdict in failed), ""]
    *first, last = sorted(WITHOUT_VERDICT)
    lines += [
        f"*Informational*: the suite has no verdict in the cases {', '.join(first)} and {last}. "
        "NON-STRICT, UNIMPLEMENTED and a missing case count as failed.",
        "",
    ]
    return "\n".join(lines)


def _table(verdicts: Sequence[Verdict]) -> list[str]:
    """Return a table with a row for each section, also for one that no case came from."""
    lines = [
        "| section | subject | cases | OK | informational | failed |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for section, subject in SECTIONS.items():
        counts = tally(verdict for verdict in verdicts if verdict.case.startswith(f"{section}."))
        lines.append(f"| {section} | {subject} | {_cells(counts)} |")
    lines.append(f"| | **all** | {_cells(tally(verdicts))} |")
    return lines


def _cells(counts: Tally) -> str:
    return f"{counts.cases} | {counts.ok} | {counts.informational} | {counts.failed}"
