"""Compares wsecho with the servers that are installed here: ``python -m benchmarks.compare``; ``--help``.

Interleaved: in each round every server has its turn in every scenario, so that what the machine does slowly
meets all of them. Exit status: 0; 1 when a measurement of wsecho failed; 2 when nothing could be measured.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import contestants as who
from benchmarks.building import BuildError, Tools, build
from benchmarks.charts import Bar, Panel, draw
from benchmarks.figures import Figures, Kind
from benchmarks.measuring import (
    Measurement,
    Times,
    load_average,
    measure,
    pinned,
    raise_descriptor_limit,
)
from benchmarks.report import Circumstances, body, notes, number, page
from benchmarks.scenarios import DEFAULT, GROUPS, SCENARIOS, Scenario, select
from conformance.server import ServerError, make_certificate

__all__ = ["main"]

DOCS = who.ROOT / "docs" / "performance"
_TITLES = {"echo": "Echo", "broadcast": "Broadcast", "open": "Open connections", "tls": "TLS"}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; wrong ones end the process with status 2 and one line."""
    default = Times()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description="Compare wsecho with the WebSocket servers that are installed, in one interleaved run.",
    )
    parser.add_argument(
        "--scenarios",
        nargs="+",
        metavar="NAME",
        default=list(DEFAULT),
        help=f"of {', '.join(SCENARIOS)}; {', '.join(GROUPS)} stand for several (all)",
    )
    parser.add_argument(
        "--servers",
        nargs="+",
        metavar="NAME",
        default=list(who.CONTESTANTS),
        help=f"of {', '.join(who.CONTESTANTS)} (all that are installed)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--time", type=float, default=default.time, help="seconds (%(default)s)")
    parser.add_argument("--warmup", type=float, default=default.warmup, help="seconds before (%(default)s)")
    parser.add_argument(
        "--foreign",
        type=float,
        default=default.foreign,
        metavar="SHARE",
        help="repeat a measurement when others took more than this share of a core (%(default)s)",
    )
    parser.add_argument(
        "--retries", type=int, default=default.retries, help="how often at most (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    parser.add_argument(
        "--from-json", type=Path, metavar="FILE", help="measure nothing; tables and charts of an earlier run"
    )
    parser.add_argument("--write-docs", action="store_true", help="write the page and charts of results")
    parser.add_argument("--list", action="store_true", help="tell what can be measured here, and end")
    options = parser.parse_args(arguments)
    try:
        options.scenarios = select(options.scenarios)
    except ValueError as error:
        parser.error(str(error))
    for name in options.servers:
        if name not in who.CONTESTANTS:
            parser.error(f"there is no server {name!r}; there are {', '.join(who.CONTESTANTS)}")
    options.servers = [one for name, one in who.CONTESTANTS.items() if name in options.servers]
    if options.rounds < 1 or options.time <= 0 or options.warmup < 0 or options.retries < 0:
        parser.error("--rounds is at least 1, --time more than 0, --warmup and --retries are not negative")
    return options


def run(
    servers: Sequence[who.Contestant],
    scenarios: Sequence[Scenario],
    tools: Tools,
    certificate: who.Certificate,
    rounds: int,
    times: Times,
) -> list[Measurement]:
    """Measure all, round by round."""
    found = []
    for place in range(1, rounds + 1):
        for scenario in scenarios:
            for server in servers:
                one = replace(measure(server, scenario, tools, certificate, times), round=place)
                found.append(one)
                said = one.error or (
                    f"{number(one.value)} {scenario.unit}"
                    + (f", {number(one.per_cpu_second)} per CPU second" if one.per_cpu_second else "")
                    + f", others {one.foreign:.0%}"
                )
                print(
                    f"round {place}  {scenario.name:<4} {server.name:<17} {said}", file=sys.stderr, flush=True
                )
    return found


def charts(figures: Figures) -> dict[str, str]:
    """By group, the drawing of what was measured."""
    found = {}
    for group, names in GROUPS.items():
        panels = []
        for name in names:
            scenario = SCENARIOS[name]
            kind: Kind = "value" if scenario.less_is_better else "per_cpu_second"
            ranked = figures.ranked(name, kind)
            if scenario.less_is_better:
                ranked.reverse()
            if ranked:
                unit = (
                    f"{scenario.unit}, less is better"
                    if scenario.less_is_better
                    else f"{scenario.unit.removesuffix('/s')} in a second of computing"
                )
                bars = tuple(Bar(who_it_is, value, _kind(who_it_is)) for who_it_is, value in ranked)
                panels.append(Panel(f"{name}: {scenario.title}", unit, bars))
        if panels:
            found[group] = draw(_TITLES[group], panels)
    return found


def _kind(name: str) -> str:
    return "limit" if name == who.LIMIT else "ours" if name.startswith(who.WSECHO) else "bar"


def write_docs(figures: Figures, circumstances: Circumstances, folder: Path) -> None:
    """The page of results, and a drawing for each group."""
    folder.mkdir(parents=True, exist_ok=True)
    images = {}
    for group, drawing in charts(figures).items():
        images[group] = f"{group}.svg"
        (folder / images[group]).write_text(drawing, encoding="utf-8")
    (folder / "results.md").write_text(page(figures, circumstances, images), encoding="utf-8")
    print(f"written: {folder / 'results.md'} and {', '.join(images.values())}", file=sys.stderr)


def _save(file: Path, circumstances: Circumstances, measurements: Iterable[Measurement]) -> None:
    told: dict[str, Any] = {name: getattr(circumstances, name) for name in Circumstances.__dataclass_fields__}
    told["measurements"] = [one.as_json() for one in measurements]
    file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _read(file: Path) -> tuple[Circumstances, list[Measurement]]:
    told = json.loads(file.read_text(encoding="utf-8"))
    measurements = [Measurement(**one) for one in told.pop("measurements")]
    return Circumstances(**told), measurements


def _measure_all(
    options: argparse.Namespace, arguments: Sequence[str]
) -> tuple[Circumstances, list[Measurement]]:
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory(prefix="wsecho-benchmarks-") as name:
        folder = Path(name)
        tools = build(folder)
        certificate = who.Certificate(*make_certificate(folder))
        gone = who.missing(options.servers)
        servers = [one for one in options.servers if one.name not in gone]
        scenarios = [one for one in options.scenarios if tools.tls or not one.tls]
        for absent, why in gone.items():
            print(f"not measured: {absent}: {why}", file=sys.stderr)
        if options.list:
            servers_here = ", ".join(one.name for one in servers)
            print(f"servers: {servers_here}\nscenarios: {', '.join(one.name for one in scenarios)}")
            sys.exit(0)
        times = Times(options.time, options.warmup, options.foreign, options.retries)
        measurements = run(servers, scenarios, tools, certificate, options.rounds, times)
    circumstances = Circumstances(
        day=dt.datetime.now(dt.UTC).date().isoformat(),
        command=" ".join(["python -m benchmarks.compare", *arguments]),
        machine=who.machine(),
        pinned=pinned(),
        rounds=options.rounds,
        seconds=options.time,
        load_average=load_average(),
        versions=who.versions(servers),
        missing=gone,
        tls=tools.tls,
    )
    return circumstances, measurements


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with *arguments* (those of the process, when None) and return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parse(given)
    try:
        circumstances, measurements = (
            _read(options.from_json) if options.from_json else _measure_all(options, given)
        )
    except (BuildError, ServerError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    figures = Figures(measurements)
    if options.json:
        _save(options.json, circumstances, measurements)
    if options.write_docs:
        write_docs(figures, circumstances, DOCS)
    print("\n".join([*notes(figures, circumstances), "", *body(figures, {})]))
    if all(one.error for one in measurements):
        return 2
    return 1 if any(one.error for one in measurements if one.contestant.startswith(who.WSECHO)) else 0


if __name__ == "__main__":
    sys.exit(main())
