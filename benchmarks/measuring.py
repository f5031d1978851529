"""One measurement: a server that is started for it, the load against it, and what others did meanwhile."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.building import Tools
from benchmarks.contestants import Certificate, Contestant
from benchmarks.processes import CLIENT_CORES, SERVER_CORES, Running, on_cores, resident_bytes, running
from benchmarks.scenarios import Scenario
from conformance.server import ServerError

__all__ = ["Measurement", "Times", "load_command", "measure", "raise_descriptor_limit", "run_load"]

_KIB = 1024
#: Seconds for a server to come to rest after many connections were opened.
_SETTLE_SECONDS = 0.5
#: Seconds more than the load was told to take, until it is taken for hanging.
_PATIENCE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Times:
    """How long a measurement takes, and what makes it one too many.

    :ivar foreign: the share of a core that others may take; above it, the measurement is disturbed
    :ivar retries: how often a disturbed one is repeated
    """

    time: float = 2.0
    warmup: float = 0.5
    foreign: float = 0.1
    retries: int = 2


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came out.

    :ivar value: in the unit of the scenario
    :ivar per_cpu_second: the same for each second that the server computed; None where that means nothing
    :ivar p50_us: half of all round trips (or handshakes) took at most this many microseconds
    :ivar client_cpu: the share of its core that the load itself needed
    :ivar foreign: the larger share of the two cores that others took meanwhile
    :ivar error: why there is no value; empty when there is one
    """

    contestant: str
    scenario: str
    round: int
    value: float = 0.0
    per_cpu_second: float | None = None
    p50_us: float = 0.0
    p99_us: float = 0.0
    server_cpu: float = 0.0
    client_cpu: float = 0.0
    foreign: float = 0.0
    tls: str = ""
    attempts: int = 1
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        return asdict(self)


def raise_descriptor_limit() -> None:
    """Let this process, and those that it starts, have as many connections as the system allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def load_command(tools: Tools, target: Running, scenario: Scenario, **more: object) -> list[str]:
    """The command of the load; `more` are further options of ``load.c``, with ``_`` for ``-``."""
    options: dict[str, object] = {
        "mode": scenario.mode,
        "path": scenario.path,
        "connections": scenario.connections,
        "window": scenario.window,
        "size": scenario.size,
        "at-once": scenario.at_once,
        "port": target.address.port,
        "server": target.pid,
        "server-core": min(SERVER_CORES),
        "client-core": min(CLIENT_CORES),
    }
    options |= {name.replace("_", "-"): value for name, value in more.items()}
    words = [f"--{name}={value}" for name, value in options.items()]
    return [str(tools.load), *words, *(["--tls"] if scenario.tls else [])]


def run_load(command: Sequence[str], seconds: float) -> dict[str, Any]:
    """Run the load to its end; what it reports, or ``error``."""
    try:
        with on_cores(CLIENT_CORES):
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                timeout=seconds + _PATIENCE_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return {"error": "the load did not end"}
    lines = done.stdout.splitlines()
    if not lines:
        return {"error": f"the load ended with status {done.returncode} and said nothing"}
    report: dict[str, Any] = json.loads(lines[-1])
    return report


@contextmanager
def _held(tools: Tools, target: Running, scenario: Scenario, number: int) -> Iterator[None]:
    """Hold that many idle connections open meanwhile."""
    if not number:
        yield
        return
    command = load_command(tools, target, scenario, mode="hold", connections=number)
    with on_cores(CLIENT_CORES):
        holding = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holding.stdin is not None and holding.stdout is not None
    try:
        said = json.loads(holding.stdout.readline() or '{"error": "the load said nothing"}')
        if "error" in said:
            raise ServerError(said["error"])
        time.sleep(_SETTLE_SECONDS)
        yield
        holding.stdin.close()
        if "error" in (said := json.loads(holding.stdout.readline() or "{}")):
            raise ServerError(f"while idle: {said['error']}")
    finally:
        holding.kill()
        holding.wait()
        holding.stdout.close()


def foreign_share(report: Mapping[str, float]) -> float:
    """Of the larger of the two cores' shares that others took; ticks of 10 ms make it coarse."""
    server, client = report["server_cpu"], report["client_cpu"]
    if SERVER_CORES == CLIENT_CORES:
        return max(0.0, report["server_core"] - server - client)
    return max(0.0, report["server_core"] - server, report["client_core"] - client)


def _memory(tools: Tools, target: Running, scenario: Scenario) -> float:
    """KiB of resident memory for each further idle connection."""
    with ExitStack() as stack:
        stack.enter_context(_held(tools, target, scenario, scenario.held))
        before = resident_bytes(target.pid)
        stack.enter_context(_held(tools, target, scenario, scenario.connections))
        return (resident_bytes(target.pid) - before) / scenario.connections / _KIB


def _measure_once(
    contestant: Contestant, scenario: Scenario, tools: Tools, certificate: Certificate, times: Times
) -> Measurement:
    found = Measurement(contestant.name, scenario.name, 0)
    command = contestant.command(tools, certificate if scenario.tls else None)
    with tempfile.TemporaryDirectory(prefix="wsecho-benchmarks-") as folder:
        shown = certificate.certificate if scenario.tls else None
        with running(command, Path(folder), shown, contestant.environ) as target:
            if scenario.mode == "hold":
                return replace(found, value=_memory(tools, target, scenario))
            with _held(tools, target, scenario, scenario.held):
                load = load_command(tools, target, scenario, time=times.time, warmup=times.warmup)
                report = run_load(load, times.time + times.warmup)
            if target.server.died:
                raise ServerError(f"the server died:\n{target.server.tail()}")
    if "error" in report:
        return replace(found, error=report["error"])
    if not report["count"]:
        return replace(found, error="nothing came back")
    return replace(
        found,
        value=report["rate"],
        per_cpu_second=report["rate"] / report["server_cpu"] if report["server_cpu"] else None,
        p50_us=report["p50_us"],
        p99_us=report["p99_us"],
        server_cpu=report["server_cpu"],
        client_cpu=report["client_cpu"],
        foreign=foreign_share(report),
        tls=report["tls"],
    )


def measure(
    contestant: Contestant, scenario: Scenario, tools: Tools, certificate: Certificate, times: Times
) -> Measurement:
    """Measure; again while others disturb it, and then the least disturbed counts.

    What goes wrong, on either side, is the measurement's error: one server that fails does not end a run.
    """
    best: Measurement | None = None
    for attempt in range(1, times.retries + 2):
        try:
            found = _measure_once(contestant, scenario, tools, certificate, times)
        except (ServerError, OSError) as error:
            text = " | ".join(str(error).splitlines())
            found = Measurement(contestant.name, scenario.name, 0, error=text or repr(error))
        if best is None or (not found.error and (best.error or found.foreign < best.foreign)):
            best = found
        best = replace(best, attempts=attempt)
        if found.error or best.foreign <= times.foreign:
            break
    assert best is not None
    return best


def pinned() -> str:
    """Where server and load run, in words."""
    if SERVER_CORES == CLIENT_CORES:
        return "server and load share the only core"
    return f"server on core {min(SERVER_CORES)}, load on core {min(CLIENT_CORES)}"


def load_average() -> float:
    """Of the last minute, for those who judge the figures."""
    return os.getloadavg()[0]
