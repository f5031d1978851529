"""Mixed load with churn on one wsecho for a while, and whether it is as small afterwards as it was.

    python -m benchmarks.soak [--seconds=N] [--write-docs]

The load is that of :mod:`benchmarks.scenes`, on a plain and a TLS listener, with compression and channels
under each policy for slow consumers. Resident memory and descriptors of the server are sampled. The exit
status is 0 when

* each scene got what it must get;
* memory is flat: the line through its floor (the least of each :data:`BUCKET_SECONDS`), over the time after
  the warm-up, rises by no more than :data:`MAY_RISE`. The floor, since what one slow consumer is owed comes
  and goes by the megabyte, but a leak lifts the floor;
* after the load the server has as many descriptors as before, and its log no exception that nobody handled.

``--write-docs`` writes the curves of docs/topics/soak.md.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.curves import Panel, curves
from benchmarks.peer import Peer
from benchmarks.processes import (
    CLIENT_CORES,
    Running,
    cpu_seconds,
    descriptors,
    machine,
    on_cores,
    resident_bytes,
    running_wsecho,
)
from benchmarks.scenes import SCENES, Stage, Wrong, configuration
from conformance.server import log_faults

__all__ = [
    "BUCKET_SECONDS",
    "MAY_RISE",
    "Sample",
    "Soak",
    "complaints",
    "floor",
    "main",
    "page",
    "rise",
    "soak",
    "soaked_wsecho",
]

_MIB = 1024 * 1024
PAGE = Path(__file__).resolve().parent.parent / "docs" / "topics" / "soak.txt"
BUCKET_SECONDS = 5.0
"""Longer than a scene with a slow consumer, so that each bucket has a moment without one."""
WARM_UP = 0.4
"""The share of the time in which the process may still grow: imports, caches, arenas that fill up once."""
MAY_RISE = 3 * _MIB
"""The noise of the floor. A hundred bytes lost with each connection or message are more than this in two
minutes of this load."""
_SAMPLE_SECONDS = 0.25
_SETTLE_SECONDS = 20.0
_QUIET_SECONDS = 0.5
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Has glibc give back what is free: left alone it keeps what it needed once, and what is resident is the
largest burst of the past, not what is held."""
_OPTIONS = ("--compression=deflate", "--close-timeout=2s", "--handshake-timeout=5s")


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one moment."""

    seconds: float
    resident: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Soak:
    """What came of it.

    :ivar before: descriptors before the load
    :ivar after: and once all connections of it had time to end
    :ivar wrong: what scenes got that they must not get
    :ivar cpu_seconds: that the server computed
    """

    samples: Sequence[Sample]
    before: int
    after: int
    counts: Counter[str]
    wrong: Sequence[str]
    faults: Sequence[str]
    cpu_seconds: float = 0.0


def floor(samples: Sequence[Sample]) -> list[tuple[float, int]]:
    """The least resident memory of each whole bucket of time after the warm-up, at the middle of the
    bucket."""
    begin = samples[-1].seconds * WARM_UP
    whole = int((samples[-1].seconds - begin) / BUCKET_SECONDS)
    least: dict[int, int] = {}
    for one in samples:
        if one.seconds >= begin:
            bucket = int((one.seconds - begin) / BUCKET_SECONDS)
            if bucket < whole:
                least[bucket] = min(one.resident, least.get(bucket, one.resident))
    return [(begin + (bucket + 0.5) * BUCKET_SECONDS, size) for bucket, size in sorted(least.items())]


def rise(points: Sequence[tuple[float, int]]) -> float:
    """By how many bytes the straight line through the points (least squares) rises from the first to the
    last; 0 for fewer than two."""
    if len(points) < 2:
        return 0.0
    middle = sum(at for at, _ in points) / len(points)
    mean = sum(size for _, size in points) / len(points)
    spread = sum((at - middle) ** 2 for at, _ in points)
    slope = sum((at - middle) * (size - mean) for at, size in points) / spread
    return slope * (points[-1][0] - points[0][0])


def complaints(done: Soak) -> list[str]:
    """What is wrong, a line for each; empty when all is well."""
    wrong = [*done.wrong, *done.faults]
    risen = rise(floor(done.samples))
    if risen > MAY_RISE:
        wrong.append(f"memory rose by {risen / _MIB:.1f} MiB after the warm-up")
    if done.after != done.before:
        wrong.append(f"{done.after} descriptors after the load, {done.before} before")
    if not done.counts["echoes"] or not done.counts["deliveries"]:
        wrong.append("nothing was echoed, or nothing delivered")
    return wrong


async def _sample(pid: int, samples: list[Sample], begun: float) -> None:
    while True:
        samples.append(Sample(time.monotonic() - begun, resident_bytes(pid), descriptors(pid)))
        await asyncio.sleep(_SAMPLE_SECONDS)


async def _repeat(
    scene: Callable[[Stage], Awaitable[None]], stage: Stage, until: float, wrong: list[str]
) -> None:
    while time.monotonic() < until:
        try:
            await scene(stage)
        except (Wrong, TimeoutError, OSError, EOFError, asyncio.IncompleteReadError) as error:
            wrong.append(f"{scene.__name__}: {str(error) or type(error).__name__}")
            if len(wrong) > 20:
                return


async def _load(pid: int, stage: Stage, seconds: float) -> tuple[list[Sample], list[str]]:
    samples: list[Sample] = []
    wrong: list[str] = []
    begun = time.monotonic()
    sampler = asyncio.ensure_future(_sample(pid, samples, begun))
    scenes = [scene for scene, number in SCENES.items() for _ in range(number)]
    try:
        await asyncio.gather(*(_repeat(scene, stage, begun + seconds, wrong) for scene in scenes))
    finally:
        sampler.cancel()
    return samples, wrong


def _descriptors_in_use(running: Running) -> int:
    """How many it has once it has served: some are opened with the first connection, and stay."""
    for address in running.addresses:
        Peer(address).open("/echo").close()
    before, since = 0, time.monotonic()
    while time.monotonic() - since < _QUIET_SECONDS:
        now = descriptors(running.pid)
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.05)
    return before


def _settled(pid: int, before: int) -> int:
    """The descriptors once they are as many as before, or after a while."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while (now := descriptors(pid)) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    return now


def soaked_wsecho() -> AbstractContextManager[Running]:
    """A server for a soak."""
    return running_wsecho(*_OPTIONS, tls=True, plain=True, configuration=configuration(), environ=_MALLOC)


def soak(running: Running, seconds: float, seed: int = 0) -> Soak:
    """Load a server that has just been started.

    :param seed: of what scenes choose by chance
    """
    before = _descriptors_in_use(running)
    stage = Stage(running.addresses, random.Random(seed))
    with on_cores(CLIENT_CORES):
        samples, wrong = asyncio.run(_load(running.pid, stage, seconds))
    after = _settled(running.pid, before)
    faults = log_faults(running.server.text())
    return Soak(samples, before, after, stage.counts, wrong, faults, cpu_seconds(running.pid))


def page(done: Soak, *, date: dt.date) -> str:
    """The part of docs/topics/soak.md that is measured."""
    seconds = done.samples[-1].seconds
    risen = rise(floor(done.samples))
    counts = "\n".join(f"| {what} | {number:,} |" for what, number in sorted(done.counts.items()))
    drawing = curves(
        "Resident memory and descriptors of the server over the time of the soak",
        [
            Panel("Resident memory, MiB", [(one.seconds, one.resident / _MIB) for one in done.samples]),
            Panel("Descriptors", [(one.seconds, one.descriptors) for one in done.samples]),
        ],
    )
    return "\n".join(
        [
            "<!-- Written by `python -m benchmarks.soak --write-docs`; not to be edited. -->",
            "",
            f"{seconds:.0f} seconds on {date.isoformat()}: {machine()}.",
            "",
            drawing,
            "",
            f"After the warm-up ({WARM_UP:.0%} of the time) the floor of the memory changed by "
            f"{risen / _MIB:+.1f} MiB. Descriptors: {done.before} before the load, {done.after} after it.",
            "",
            "| what | how often |",
            "|---|---|",
            counts,
            "",
        ]
    )


def main(arguments: Sequence[str]) -> int:
    """Soak; return 0 when all is well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--seconds", type=float, default=75.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write-docs", action="store_true", help="write the curves of docs/topics/soak.md")
    options = parser.parse_args(arguments)
    with soaked_wsecho() as running:
        done = soak(running, options.seconds, options.seed)
    for what, number in sorted(done.counts.items()):
        print(f"{number:>10,} {what}")
    risen = rise(floor(done.samples)) / _MIB
    print(f"memory: {done.samples[-1].resident / _MIB:.1f} MiB, risen by {risen:+.1f} MiB")
    print(f"descriptors: {done.before} before, {done.after} after; {done.cpu_seconds:.0f} s of CPU time")
    wrong = complaints(done)
    for line in wrong:
        print(f"WRONG: {line}")
    if options.write_docs and not wrong:
        PAGE.write_text(page(done, date=dt.datetime.now(dt.UTC).date()), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
