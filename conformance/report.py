"""Verdicts as texts: lines for a terminal, tables for the documentation.

Pure: the date and the versions are arguments.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from conformance.cases import SECTIONS
from conformance.verdict import WITHOUT_VERDICT, Outcome, Verdict

__all__ = ["Finding", "Tally", "failure_lines", "has_passed", "markdown_page", "summary_line", "tally"]

_COMPILED_PART = "../topics/path-of-a-frame.md#building-it"


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


@dataclass(slots=True)
class Finding:
    """What came to light about one combination of transport and mode."""

    verdicts: tuple[Verdict, ...] = ()
    """None where the suite left no report."""
    faults: list[str] = field(default_factory=list)
    """What went wrong besides the cases."""
    told: str = ""
    """What wsecho said of its compiled part."""


def has_passed(findings: Mapping[str, Finding]) -> bool:
    """Tell whether all is well: every combination was judged, nothing failed, and there is no fault.

    :param findings: by the name of each combination that was to be judged.
    """
    return bool(findings) and all(
        finding.verdicts and not finding.faults and tally(finding.verdicts).failed == 0
        for finding in findings.values()
    )


def summary_line(findings: Mapping[str, Finding]) -> str:
    """Return the closing line of a run; the parameter is that of :func:`has_passed`."""
    parts = []
    for name, finding in findings.items():
        counts = tally(finding.verdicts)
        parts.append(
            f"{name} {counts.cases} cases: {counts.ok} OK, {counts.informational} informational, "
            f"{counts.failed} failed"
        )
    faults = sum(len(finding.faults) for finding in findings.values())
    if faults:
        parts.append(f"{faults} other fault{'s' if faults > 1 else ''}")
    word = "PASSED" if has_passed(findings) else "FAILED"
    return f"conformance {word}: {'; '.join(parts) or 'nothing was judged'}"


def failure_lines(
    name: str, verdicts: Iterable[Verdict], explanations: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return the lines that tell about each failed case.

    :param name: the combination's.
    :param explanations: by case, what the suite expected and received.
    """
    lines = []
    for verdict in verdicts:
        if verdict.outcome is Outcome.FAILED:
            lines.append(f"{name} {verdict.case} FAILED: {verdict.reason}")
            lines += [f"    {line}" for line in explanations.get(verdict.case, ())]
    return lines


def markdown_page(
    findings: Mapping[str, Finding],
    versions: Mapping[str, str],
    date: dt.date,
    *,
    title: str = "Results",
    options: str = "",
) -> str:
    """Return the page of results for the documentation.

    :param title: the page's heading.
    :param options: what chose this run, beside ``--write-docs``.
    :param findings: those of a full run, by the name of each combination.
    :param versions: what was judged and by what, in the order to show.
    :param date: the day of the run.
    """
    lines = [
        f"<!-- Written by `tox -e conformance -- {options}--write-docs`; "
        "changes made here by hand are lost. -->",
        f"# {title}",
        "",
        f"The verdict on every case of the suite, in a run of {date.isoformat()}: with wsecho's "
        f"[compiled part]({_COMPILED_PART}) and in pure Python, each on ws and on wss.",
        "",
        "| judged | the process said | cases | OK | informational | failed | other faults |",
        "|---|---|---:|---:|---:|---:|---:|",
        *(
            f"| [{name}](#{name.replace(' ', '-')}) | {finding.told} | {_cells(tally(finding.verdicts))} "
            f"| {len(finding.faults)} |"
            for name, finding in findings.items()
        ),
        "",
        "| what | version |",
        "|---|---|",
        *(f"| {name} | {version} |" for name, version in versions.items()),
        "",
    ]
    for name, finding in findings.items():
        lines += [f"## {name}", "", *_table(finding.verdicts), ""]
        failed = [verdict for verdict in finding.verdicts if verdict.outcome is Outcome.FAILED]
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
