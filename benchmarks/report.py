"""Figures as texts: Markdown tables, for a terminal as well as for the documentation.

Pure: the machine, the versions and the day are arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contestants import CONTESTANTS, LIMIT, WSECHO
from benchmarks.figures import Figures, Kind, Ratio, growth, median, ratio
from benchmarks.scenarios import GROUPS, SCENARIOS, Scenario

__all__ = ["Circumstances", "body", "number", "page", "scenario_table", "share_table"]

#: From this share of its core on, the load may be what limits the rate.
BUSY = 0.93


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Of a run.

    :ivar day: as ISO 8601 has it
    :ivar command: that repeats the run
    :ivar versions: by contestant
    :ivar missing: by contestant, why it is not in the tables
    """

    day: str
    command: str
    machine: str
    pinned: str
    rounds: int
    seconds: float
    load_average: float
    versions: Mapping[str, str]
    missing: Mapping[str, str]
    tls: bool


def number(value: float) -> str:
    """Three digits that count, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(found: Ratio | None) -> str:
    if found is None:
        return ""
    if found.least == found.most:
        return number(found.median)
    return f"{number(found.median)} ({number(found.least)}-{number(found.most)})"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", "|" + "|".join(["---", *["--:"] * (len(heads) - 1)]) + "|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _ratios(figures: Figures, scenario: str, name: str, kind: Kind) -> list[str]:
    mine = figures.of(scenario, name)
    return [_ratio(ratio(mine, figures.of(scenario, base), kind)) for base in (LIMIT, WSECHO)]


def scenario_table(figures: Figures, scenario: Scenario) -> list[str]:
    """What each reached, best first."""
    kind: Kind = "value" if scenario.less_is_better else "per_cpu_second"
    ranked = [name for name, _ in figures.ranked(scenario.name, kind)]
    if scenario.less_is_better:
        rows = []
        for name in reversed(ranked):
            middle = median(figures.of(scenario.name, name)) or 0
            rows.append([name, number(middle), *_ratios(figures, scenario.name, name, "value")])
        return _table([scenario.unit, "median", "of the limit", "of wsecho"], rows)
    rows = []
    for name in ranked:
        mine = figures.of(scenario.name, name)
        busy = [one for one in mine if not one.error and one.client_cpu > BUSY]
        p50 = sorted(one.p50_us for one in mine if not one.error)
        rows.append(
            [
                name,
                number(median(mine) or 0) + ("\\*" if len(busy) * 2 > len(mine) else ""),
                *_ratios(figures, scenario.name, name, "value"),
                number(median(mine, "per_cpu_second") or 0),
                *_ratios(figures, scenario.name, name, "per_cpu_second"),
                number(p50[len(p50) // 2]),
            ]
        )
    heads = [
        scenario.unit,
        "reached",
        "of the limit",
        "of wsecho",
        "per CPU second",
        "of the limit",
        "of wsecho",
        "median µs",
    ]
    return _table(heads, rows)


def share_table(figures: Figures, scenarios: Sequence[Scenario]) -> list[str]:
    """For those that count a rate: what a second of computing does, as a share of the limit's."""
    counted = [one for one in scenarios if not one.less_is_better]
    rows = []
    for name in figures.contestants:
        shares = [
            ratio(figures.of(one.name, name), figures.of(one.name, LIMIT), "per_cpu_second")
            for one in counted
        ]
        rows.append([name, *("" if found is None else number(found.median) for found in shares)])
    return _table(["server", *(one.name for one in counted)], rows)


def growth_table(figures: Figures) -> list[str]:
    """What many open connections cost."""
    rows = []
    for name in figures.contestants:
        found = growth(figures, name)
        if found is not None:
            rates = [median(figures.of(scenario, name), "per_cpu_second") or 0 for scenario in ("g1", "g2")]
            rows.append([name, *map(number, rates), _ratio(found)])
    return _table(["messages per CPU second", "1,000 open", "10,000 open", "ratio"], rows) if rows else []


def _sections(figures: Figures) -> list[tuple[str, str, list[Scenario]]]:
    """Group, title, and the scenarios that were measured."""
    titles = {
        "echo": "Echo",
        "broadcast": "Broadcast",
        "open": "Handshakes and open connections",
        "tls": "TLS",
    }
    found = []
    for group, names in GROUPS.items():
        measured = [SCENARIOS[name] for name in names if name in figures.scenarios]
        if measured:
            found.append((group, titles[group], measured))
    return found


def body(figures: Figures, images: Mapping[str, str]) -> list[str]:
    """The tables, section by section; `images` names the drawing of a group, where there is one."""
    lines: list[str] = []
    if LIMIT in figures.contestants:
        lines += [
            "## Overview",
            "",
            "What a second of computing does, as a share of what the limit does in it:",
            "",
        ]
        for _, _, scenarios in _sections(figures):
            if any(not one.less_is_better for one in scenarios):
                lines += [*share_table(figures, scenarios), ""]
    for group, title, scenarios in _sections(figures):
        lines += [f"## {title}", ""]
        if group in images:
            lines += [f"![{title}: what each server does in a second of computing]({images[group]})", ""]
        for scenario in scenarios:
            lines += [f"### {scenario.name}: {scenario.title}", "", *scenario_table(figures, scenario), ""]
        if group == "open" and (table := growth_table(figures)):
            lines += ["### Growth", "", *table, ""]
    return lines


def notes(figures: Figures, circumstances: Circumstances) -> list[str]:
    """What has to be said beside the tables."""
    middle, worst = figures.foreign
    repeated = sum(one.attempts > 1 for one in figures.all)
    lines = [
        f"* Machine: {circumstances.machine}; {circumstances.pinned}; loopback.",
        f"* {circumstances.rounds} interleaved rounds of {circumstances.seconds:g} s, "
        f"on {circumstances.day}: `{circumstances.command}`",
        f"* Others took {middle:.0%} of a core in the median of all measurements, {worst:.0%} in the worst; "
        f"{repeated} of {len(figures.all)} were repeated for that. "
        f"The load average at the end was {circumstances.load_average:.1f}.",
    ]
    if middle > 0.1:
        lines.append(
            "* **The machine was not quiet.** What was *reached* says little then; go by the columns "
            "*per CPU second*."
        )
    lines += [f"* Not measured: {name}: {why}" for name, why in circumstances.missing.items()]
    if not circumstances.tls:
        lines.append("* Not measured: TLS: the load was compiled without OpenSSL: apt-get install libssl-dev")
    failures: dict[tuple[str, str], list[str]] = {}
    for one in figures.errors():
        failures.setdefault((one.contestant, one.scenario), []).append(one.error.strip(" :"))
    lines += [
        f"* Failed in {len(errors)} of {circumstances.rounds} rounds: {name} in {scenario}: {errors[0]}"
        for (name, scenario), errors in failures.items()
    ]
    return lines


def page(figures: Figures, circumstances: Circumstances, images: Mapping[str, str]) -> str:
    """The page of results."""
    lines = [
        "# Results",
        "",
        f"<!-- Written by {circumstances.command}; see index.md. -->",
        "",
        "What each server reached in each scenario, and what it took of the processor and of memory.",
        "",
        *notes(figures, circumstances),
        "",
        "| server | is | version |",
        "|---|---|---|",
        *(
            f"| {name} | {CONTESTANTS[name].what} | {circumstances.versions.get(name, '')} |"
            for name in figures.contestants
        ),
        "",
        "\\*: the load was itself near what its core can do; the server may be faster than shown.",
        "",
        *body(figures, images),
    ]
    return "\n".join(lines).rstrip() + "\n"
