"""What counts as passed, from the suite's own reports.

Each case has two findings of the suite: `behavior` (were the right messages received?) and `behaviorClose`
(did the connection end as it must?). Both must be OK. The suite has no opinion in three cases and says
INFORMATIONAL there; anywhere else that word, and everywhere NON-STRICT, UNIMPLEMENTED, a case that is missing
or one that nobody asked for, is a failure.

Pure: takes parsed JSON, does no reading. The reports hold bytes of the server, so whatever is quoted is ASCII
and of bounded length.
"""

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from conformance.cases import case_key

__all__ = [
    "WITHOUT_VERDICT",
    "Outcome",
    "ReportError",
    "Verdict",
    "explain",
    "judge",
    "judge_case",
    "read_index",
]

WITHOUT_VERDICT: frozenset[str] = frozenset({"7.1.6", "7.13.1", "7.13.2"})
"""Where the suite only informs: a close right behind 256 KiB of data, and the close codes 5000 and 65535."""

_LONGEST_QUOTE = 400


class ReportError(Exception):
    """The suite left no usable report; the text says what is wrong with it."""


class Outcome(enum.Enum):
    """What this judge makes of a case."""

    OK = "OK"
    INFORMATIONAL = "informational"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one case; `reason` is empty unless it failed."""

    case: str
    outcome: Outcome
    reason: str = ""


def read_index(text: str, agent: str) -> Mapping[str, object]:
    """Return the entries, by case, of the suite's ``index.json``.

    :param agent: the name that the suite was given for the server; another server's report is refused.
    :raises ReportError: *text* is not the report of that agent alone.
    """
    try:
        index = json.loads(text)
    except ValueError as error:
        raise ReportError(f"index.json is no JSON: {error}") from error
    if not isinstance(index, dict) or list(index) != [agent] or not isinstance(index[agent], dict):
        found = ", ".join(map(_quote, index)) if isinstance(index, dict) else type(index).__name__
        raise ReportError(f"index.json should report on {agent} alone, it has: {found or 'nothing'}")
    entries: dict[str, object] = index[agent]
    return entries


def judge_case(case: str, entry: object) -> Verdict:
    """Judge one case by its entry in ``index.json``; an entry that is no mapping is a failure too."""
    if not isinstance(entry, Mapping):
        return Verdict(case, Outcome.FAILED, f"no entry that can be read: {_quote(entry)}")
    findings = (entry.get("behavior"), entry.get("behaviorClose"))
    if findings == ("OK", "OK"):
        return Verdict(case, Outcome.OK)
    if case in WITHOUT_VERDICT and all(word in ("OK", "INFORMATIONAL") for word in findings):
        return Verdict(case, Outcome.INFORMATIONAL)
    behavior, close = map(_quote, findings)
    return Verdict(case, Outcome.FAILED, f"behavior {behavior}, behaviorClose {close}")


def judge(asked: Iterable[str], entries: Mapping[str, object]) -> tuple[Verdict, ...]:
    """Judge every case in *asked*, and whatever else the report holds, in the suite's order.

    A case that was asked for and is not there has failed, and so has one that was not asked for: this judge's
    list of cases and the suite's would no longer be the same.
    """
    wanted = set(asked)
    verdicts = [
        judge_case(case, entries[case])
        if case in entries
        else Verdict(case, Outcome.FAILED, "missing from the report: the suite did not run it to its end")
        for case in sorted(wanted, key=case_key)
    ]
    verdicts += [
        Verdict(case, Outcome.FAILED, "in the report although nobody asked for it")
        for case in sorted(set(entries) - wanted)
    ]
    return tuple(verdicts)


def explain(report: Mapping[str, object]) -> list[str]:
    """Return what was expected and received, a line each, from the suite's report of a failed case."""
    lines = []
    for label, key in (
        ("should", "expectation"),
        ("expected", "expected"),
        ("received", "received"),
        ("result", "result"),
        ("close", "resultClose"),
        ("close code", "remoteCloseCode"),
        ("not clean", "wasNotCleanReason"),
    ):
        value = report.get(key)
        if value not in (None, "", [], {}):
            lines.append(f"{label}: {_quote(value)}")
    return lines


def _quote(value: object) -> str:
    """Return *value* in printable ASCII, cut to a length that a terminal stands."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    # A case report may quote 16 MiB; it is cut first, so that only what is shown gets escaped.
    cut = text[:_LONGEST_QUOTE]
    shown = " ".join(cut.split()).encode("unicode_escape").decode("ascii")
    return f"{shown} ... ({len(text)} characters)" if len(text) > len(cut) else shown
