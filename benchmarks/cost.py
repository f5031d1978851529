"""Counts what a message costs the server, in system calls and instructions: ``python -m benchmarks.cost``.

Counts, unlike times, are hardly moved by what else the machine does. Each is the difference of two: a server
that is up serves a load, and then a larger one on as many connections; what opening and closing them costs,
and what the server does by itself, cancels out.

strace counts system calls, valgrind's callgrind the instructions in user mode; the kernel's are in neither.
Both slow the server down, so that more messages may be waiting when it looks: with many connections it sees
larger batches than otherwise.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import contestants as who
from benchmarks.building import BuildError, Tools, build
from benchmarks.measuring import load_command, raise_descriptor_limit, run_load
from benchmarks.processes import Running, descriptors, running
from benchmarks.scenarios import Scenario
from conformance.server import ServerError

__all__ = ["LOADS", "Cost", "Load", "instructions_in", "main", "page", "system_calls_in"]

PAGE = who.ROOT / "docs" / "performance" / "cost.md"

#: For what is slow already to start and to answer under valgrind.
_SECONDS = 120.0
#: How many times the smaller load a larger one must cost, and messages of which there are never more.
_BY_FAR = 3
_MOST = 1_000_000

#: For a server to notice that its peers have gone, and how often is looked.
_END_SECONDS = 10.0
_POLL_SECONDS = 0.05
_SERVERS = ("wsecho", "wsecho-onmessage", "autobahn", "limit")


@dataclass(frozen=True, slots=True)
class Load:
    """What is counted.

    :ivar unit: what one is
    :ivar few: how many there are in the smaller load; of handshakes, this and `many` are connections
    :ivar each: how many of the unit one message makes
    """

    scenario: Scenario
    unit: str
    few: int
    many: int
    each: int = 1

    @property
    def is_handshakes(self) -> bool:
        """Whether connections are counted, not messages."""
        return self.scenario.mode == "connect"


LOADS = (
    Load(Scenario("one", "echo, 1 connection", "echo", 1), "message", 200, 1000),
    Load(Scenario("many", "echo, 64 connections", "echo", 64), "message", 640, 3200),
    Load(
        Scenario("stream", "echo, 16 connections, 32 in flight", "echo", 16, window=32), "message", 2048, 8192
    ),
    Load(
        Scenario("large", "echo, 8 connections, 64 KiB", "echo", 8, window=2, size=65536), "message", 32, 160
    ),
    Load(Scenario("fan-out", "broadcast to 100", "broadcast", 100, size=128), "delivery", 10, 40, each=100),
    Load(
        Scenario(
            "open", "handshakes, 16 at a time, and the ends of their connections", "connect", 1, at_once=16
        ),
        "handshake",
        50,
        200,
    ),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one unit, for one server.

    :ivar calls: system calls by name; None when they were not counted
    :ivar instructions: None when they were not counted
    """

    server: str
    load: str
    calls: Mapping[str, float] | None = None
    instructions: float | None = None


def system_calls_in(summary: str) -> dict[str, int]:
    """By name, the calls in the table that ``strace -c`` writes."""
    found = {}
    for line in summary.splitlines():
        words = line.split()
        # % time, seconds, microseconds for each, calls, perhaps errors, name
        if len(words) in (5, 6) and words[3].isdigit() and words[-1] != "total":
            found[words[-1]] = int(words[3])
    return found


def instructions_in(dump: str) -> int:
    """The total of a file that callgrind writes.

    :raises ValueError: there is none
    """
    found = re.search(r"^(?:totals|summary): (\d+)", dump, re.MULTILINE)
    if found is None:
        raise ValueError("no total in what callgrind wrote")
    return int(found[1])


def _serve(tools: Tools, target: Running, load: Load, number: int) -> None:
    """Let the server serve that many."""
    if load.is_handshakes:
        command = load_command(tools, target, replace(load.scenario, connections=number), stall=_SECONDS)
    else:
        command = load_command(tools, target, load.scenario, messages=number, stall=_SECONDS)
    before = descriptors(target.pid)
    report = run_load(command, _SECONDS)
    if "error" in report:
        raise ServerError(report["error"])
    # The ends of its connections belong to it, or they would be counted with the next load, or by half.
    deadline = time.monotonic() + _END_SECONDS
    while descriptors(target.pid) > before and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _calls_of(tools: Tools, target: Running, load: Load, number: int, file: Path) -> dict[str, int]:
    """What strace counts meanwhile."""
    command = ["strace", "-f", "-c", "-S", "calls", "-o", str(file), "-p", str(target.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        try:
            assert strace.stderr is not None
            said = strace.stderr.readline()
            if "attached" not in said:
                raise ServerError(f"strace cannot count: {said.strip()}")
            _serve(tools, target, load, number)
        finally:
            strace.send_signal(signal.SIGINT)
    return system_calls_in(file.read_text(encoding="utf-8"))


def count_calls(server: who.Contestant, load: Load, tools: Tools) -> dict[str, float]:
    """System calls for one unit, by name; those that do not grow with the load are left out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running(server.command(tools, None), folder, None, server.environ) as target:
            few, many = (
                _calls_of(tools, target, load, number, folder / "calls") for number in (load.few, load.many)
            )
    units = (load.many - load.few) * load.each
    found = {call: (many[call] - few.get(call, 0)) / units for call in many}
    return {call: value for call, value in found.items() if value >= 0.005}


def count_instructions(server: who.Contestant, load: Load, tools: Tools) -> float:
    """Instructions in user mode for one unit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dump = folder / "dump"
        command = server.command(tools, None)
        if command[0] != str(tools.limit) and command[0] != sys.executable:
            command = [sys.executable, *command]
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={dump}"]
        # Equal hashes: a dictionary that happens to collide is no difference between two loads.
        environ = server.environ | {"PYTHONHASHSEED": "0"}
        with running([*valgrind, *command], folder, None, environ, _SECONDS) as target:
            # What an interpreter does for the first messages only is no part of it.
            _serve(tools, target, load, load.few)
            _control("-i", "on", target.pid)
            dumps = itertools.count(1)

            def count(number: int) -> int:
                _control("-z", "", target.pid)
                _serve(tools, target, load, number)
                _control("-d", "", target.pid)
                return instructions_in(Path(f"{dump}.{next(dumps)}").read_text(encoding="utf-8"))

            return difference(count, load)


def difference(count: Callable[[int], int], load: Load) -> float:
    """For one unit, from counts of two loads of which the larger costs by far more.

    Opening and closing connections never costs exactly the same twice. Where messages are cheap beside that,
    it takes many of them until the difference is theirs.
    """
    few, number = count(load.few), load.many
    while (many := count(number)) < _BY_FAR * few and number < _MOST:
        number *= 8
    return (many - few) / ((number - load.few) * load.each)


def _control(option: str, value: str, pid: int) -> None:
    command = ["callgrind_control", *([option, value] if value else [option]), str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise ServerError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


def table(costs: Sequence[Cost], load: Load) -> list[str]:
    """One row for each server that was counted under this load."""
    rows = [one for one in costs if one.load == load.scenario.name]
    lines = [f"| for each {load.unit} | instructions | system calls | which |", "|---|--:|--:|---|"]
    for one in rows:
        instructions = "" if one.instructions is None else f"{one.instructions:,.0f}"
        total, which = "", ""
        if one.calls is not None:
            ordered = sorted(one.calls.items(), key=lambda pair: -pair[1])
            total = f"{sum(one.calls.values()):.2f}"
            which = ", ".join(f"`{name}` {value:.2f}" for name, value in ordered)
        lines.append(f"| {one.server} | {instructions} | {total} | {which} |")
    return lines


def tables(costs: Sequence[Cost]) -> list[str]:
    """All of them."""
    lines: list[str] = []
    for load in LOADS:
        if any(one.load == load.scenario.name for one in costs):
            lines += [f"## {load.scenario.title}", "", *table(costs, load), ""]
    return lines


def page(costs: Sequence[Cost], day: str, versions: Mapping[str, str]) -> str:
    """The page for the documentation."""
    servers = dict.fromkeys(one.server for one in costs)
    lines = [
        "# What a message costs",
        "",
        "System calls and instructions in user mode, counted by strace and valgrind; what the kernel does is",
        "in neither.",
        "",
        f"* Counted by `python -m benchmarks.cost --write-docs` on {day}.",
        f"* Machine: {who.machine()}.",
        *(f"* {name}: {versions[name]}." for name in servers if versions.get(name)),
        "",
        *tables(costs),
    ]
    return "\n".join(lines).rstrip() + "\n"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; wrong ones end the process with status 2 and one line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cost",
        description="Count what a message costs a server, in system calls and in instructions.",
    )
    names = [load.scenario.name for load in LOADS]
    parser.add_argument("--servers", nargs="+", choices=who.CONTESTANTS, default=_SERVERS, metavar="NAME")
    parser.add_argument("--loads", nargs="+", choices=names, default=names, help="(all)")
    parser.add_argument("--only", choices=("calls", "instructions"), help="count these only")
    parser.add_argument("--write-docs", action="store_true", help="write the page of the documentation")
    return parser.parse_args(arguments)


def _count(server: who.Contestant, load: Load, tools: Tools, kinds: Sequence[str]) -> tuple[Cost, list[str]]:
    cost, errors = Cost(server.name, load.scenario.name), []
    try:
        if "calls" in kinds:
            cost = replace(cost, calls=count_calls(server, load, tools))
    except (ServerError, OSError) as error:
        errors.append(f"{server.name}, {load.scenario.title}: system calls: {error}")
    try:
        if "instructions" in kinds:
            cost = replace(cost, instructions=count_instructions(server, load, tools))
    except (ServerError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        errors.append(f"{server.name}, {load.scenario.title}: instructions: {error}")
    return cost, errors


def counters(only: str | None) -> tuple[list[str], list[str]]:
    """What can be counted here, and what is missing for the rest."""
    kinds, gone = [], []
    for kind, program in (("calls", "strace"), ("instructions", "valgrind")):
        if only in (None, kind):
            if shutil.which(program):
                kinds.append(kind)
            else:
                gone.append(f"not counted: {kind}: no {program}: apt-get install {program}")
    return kinds, gone


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, 1 when something could not be counted, 2 when nothing could."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    raise_descriptor_limit()
    kinds, complaints = counters(options.only)
    chosen = [who.CONTESTANTS[name] for name in options.servers]
    gone = who.missing(chosen)
    complaints += [f"not counted: {name}: {why}" for name, why in gone.items()]
    servers = [server for server in chosen if server.name not in gone]
    costs: list[Cost] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            tools = build(Path(folder))
            for load in LOADS:
                for server in servers if load.scenario.name in options.loads and kinds else ():
                    cost, errors = _count(server, load, tools, kinds)
                    costs.append(cost)
                    complaints += errors
                    print("\n".join(table([cost], load)[2:]), file=sys.stderr, flush=True)
    except BuildError as error:
        complaints.append(str(error))
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    if options.write_docs and costs:
        with suppress(FileExistsError):
            PAGE.parent.mkdir(parents=True)
        day = dt.datetime.now(dt.UTC).date().isoformat()
        PAGE.write_text(page(costs, day, who.versions(servers)), encoding="utf-8")
    print("\n".join(tables(costs)))
    if not any(cost.calls or cost.instructions for cost in costs):
        return 2
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
