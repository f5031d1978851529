"""What a further node costs, and what it carries, measured on nodes that share a Redis.

    python -m benchmarks.scale [--write-docs]

Each row starts a Redis and so many ``twistd wsecho`` on it, and has one publisher on each node publish at a
rate that all of them keep up with. What is told is the CPU that each process took, which hardly depends on
how many cores the nodes, the Redis and the receivers have to share here. Every receiver gets every message
once, or the row fails.
``--write-docs`` writes the table of docs/topics/scaling.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import math
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.peer import BINARY, Ended, Peer, frame
from benchmarks.processes import (
    CLIENT_CORES,
    Running,
    cpu_seconds,
    machine,
    pin,
    resident_bytes,
    running_wsecho,
)

__all__ = [
    "PLANS",
    "ROWS",
    "Costs",
    "Measured",
    "Row",
    "ScaleError",
    "main",
    "measure",
    "page",
    "running_redis",
]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "topics" / "scaling.txt"
_MIB = 1024 * 1024
_PATH = "/broadcast/all"
_SIZE = 128
_SECONDS = 8.0
_WARM_SECONDS = 1.0
_PATIENCE_SECONDS = 20.0


class ScaleError(Exception):
    """A row cannot be measured, or what was measured is wrong; one line."""


@dataclass(frozen=True, slots=True)
class Row:
    """One arrangement.

    :ivar nodes: how many there are
    :ivar receivers: on each
    :ivar rate: publications a second, of all publishers together
    :ivar is_shared: whether the nodes have a Redis; one alone need not
    :ivar options: more of them for each node
    """

    what: str
    nodes: int
    receivers: int
    rate: int
    is_shared: bool = True
    options: tuple[str, ...] = ()


ROWS: tuple[Row, ...] = (
    Row("1 node, memory:", 1, 200, 100, is_shared=False),
    Row("1 node", 1, 200, 100),
    Row("2 nodes", 2, 200, 100),
    Row("3 nodes", 3, 200, 100),
    Row("1 node, 1,000 messages of history", 1, 200, 100, options=("--history-size=1000",)),
    Row("3 nodes, 1,000 messages of history", 3, 200, 100, options=("--history-size=1000",)),
    Row("1 node, nobody listens", 1, 0, 100),
    Row("3 nodes, nobody listens", 3, 0, 100),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a row took.

    :ivar publications: how many there were
    :ivar node_seconds: of CPU, of all nodes together
    :ivar redis_seconds: of CPU; 0 without one
    :ivar latencies: seconds from sending to receiving, sorted, of one receiver on each node
    :ivar resident: of the largest node, at the end
    """

    row: Row
    publications: int
    node_seconds: float
    redis_seconds: float
    resident: int
    latencies: Sequence[float] = field(default=())

    @property
    def node_microseconds(self) -> float:
        """CPU of a node for each publication, with its deliveries."""
        return self.node_seconds / self.row.nodes / self.publications * 1e6

    @property
    def redis_microseconds(self) -> float:
        """CPU of the Redis for each publication."""
        return self.redis_seconds / self.publications * 1e6

    def latency(self, share: float) -> float | None:
        """Of so large a share of the messages, at most; None when nobody listened."""
        if not self.latencies:
            return None
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


@contextmanager
def running_redis() -> Iterator[tuple[int, str]]:
    """A Redis without persistence: the number of its process, and the path of its socket.

    :raises ScaleError: there is none
    """
    with tempfile.TemporaryDirectory() as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            raise ScaleError("there is no redis-server: apt-get install redis-server") from None
        try:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise ScaleError("the Redis does not start") from None
                    time.sleep(0.01)
            yield process.pid, f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait()


class _Receivers:
    """Everybody who listens: counts what came, and times what the first of each node got."""

    def __init__(self, peers: Sequence[Peer], timed: Sequence[Peer]) -> None:
        self._counts = dict.fromkeys((peer.fileno() for peer in peers), 0)
        self._peers = {peer.fileno(): peer for peer in peers}
        self._timed = {peer.fileno() for peer in timed}
        self._poll = select.epoll()
        for number in self._peers:
            self._poll.register(number, select.EPOLLIN)
        self.latencies: list[float] = []

    def read(self, seconds: float) -> None:
        """Take what comes within that time."""
        for number, _ in self._poll.poll(seconds):
            peer = self._peers[number]
            for one in peer.frames.feed(peer.read()):
                if len(one.payload) != _SIZE:
                    raise ScaleError(f"a receiver got {len(one.payload)} bytes where all have {_SIZE}")
                self._counts[number] += 1
                if number in self._timed:
                    (sent,) = struct.unpack_from("!d", one.payload)
                    self.latencies.append(time.perf_counter() - sent)

    def read_all(self, publications: int) -> None:
        """Wait until everybody has so many.

        :raises ScaleError: somebody does not get them, or more
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while any(count < publications for count in self._counts.values()):
            if time.monotonic() > deadline:
                raise ScaleError(f"of {publications} messages a receiver got {min(self._counts.values())}")
            self.read(0.1)
        if any(count > publications for count in self._counts.values()):
            raise ScaleError(f"of {publications} messages a receiver got {max(self._counts.values())}")

    def close(self) -> None:
        """End all connections."""
        self._poll.close()
        for peer in self._peers.values():
            peer.close()


def measure(row: Row, seconds: float = _SECONDS) -> Measured:
    """Measure a row.

    :raises ScaleError: see there
    """
    with ExitStack() as stack:
        redis, options = 0, list(row.options)
        if row.is_shared:
            redis, url = stack.enter_context(running_redis())
            options.append(f"--engine={url}")
        nodes = [stack.enter_context(running_wsecho(*options)) for _ in range(row.nodes)]
        publishers = [_first(node) for node in nodes]
        receivers: list[Peer] = []
        timed: list[Peer] = []
        for node in nodes:
            there = [Peer(node.address).open(_PATH) for _ in range(row.receivers)]
            receivers += there
            timed += there[:1]
        listening = _Receivers(receivers, timed)
        stack.callback(listening.close)
        sent = _publish(publishers, listening, row.rate, _WARM_SECONDS)
        listening.read_all(sent)
        listening.latencies.clear()
        before, before_redis = _cpu(nodes), cpu_seconds(redis) if redis else 0.0
        more = _publish(publishers, listening, row.rate, seconds)
        listening.read_all(sent + more)
        return Measured(
            row,
            more,
            _cpu(nodes) - before,
            (cpu_seconds(redis) if redis else 0.0) - before_redis,
            max(resident_bytes(node.pid) for node in nodes),
            sorted(listening.latencies),
        )


def _first(node: Running) -> Peer:
    """Connect to a node as soon as it has its engine; it listens before."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return Peer(node.address).open(_PATH)
        except Ended:
            if time.monotonic() > deadline:
                raise ScaleError("a node does not reach the Redis") from None
            time.sleep(0.05)


def _cpu(nodes: Sequence[Running]) -> float:
    return sum(cpu_seconds(node.pid) for node in nodes)


def _publish(publishers: Sequence[Peer], listening: _Receivers, rate: int, seconds: float) -> int:
    """Publish at a rate, one publisher after the other; how many that were."""
    begin, sent = time.monotonic(), 0
    while True:
        now = time.monotonic() - begin
        if now >= seconds:
            return sent
        while sent < now * rate:
            payload = struct.pack("!d", time.perf_counter()).ljust(_SIZE, b".")
            publishers[sent % len(publishers)].send_whole(frame(BINARY, payload))
            sent += 1
        listening.read(max(0.0, sent / rate - (time.monotonic() - begin)))
        for publisher in publishers:
            # What the others publish.
            publisher.read()


def page(measured: Sequence[Measured], *, date: dt.date) -> str:
    """The part of docs/topics/scaling.md that is measured."""
    rows = "\n".join(_line(one) for one in measured)
    return "\n".join(
        [
            "<!-- Written by `python -m benchmarks.scale --write-docs`; not to be edited. -->",
            "",
            f"Measured on {date.isoformat()}: {machine()}. Messages of {_SIZE} bytes, "
            f"{measured[0].row.rate} published each second on one channel.",
            "",
            "| arrangement | receivers on each node | CPU of a node for each message | for each delivery "
            "| CPU of the Redis for each message | latency, median and 99 % | memory of a node |",
            "|---|---|---|---|---|---|---|",
            rows,
            "",
            planned(costs(measured)),
        ]
    )


@dataclass(frozen=True, slots=True)
class Costs:
    """What follows from the rows, in microseconds of CPU.

    :ivar publication: of a node, for a message that reaches it, before anybody gets it
    :ivar delivery: of a node, for each member
    :ivar redis: of the Redis, for a message
    :ivar redis_node: of the Redis, for each further node that a message goes to
    """

    publication: float
    delivery: float
    redis: float
    redis_node: float


def costs(measured: Sequence[Measured]) -> Costs:
    """Return what the rows with the most nodes, without history, tell."""
    plain = [one for one in measured if one.row.is_shared and not one.row.options]
    full = max((one for one in plain if one.row.receivers), key=lambda one: one.row.nodes)
    empty = max((one for one in plain if not one.row.receivers), key=lambda one: one.row.nodes)
    single = min((one for one in plain if one.row.receivers), key=lambda one: one.row.nodes)
    further = (full.redis_microseconds - single.redis_microseconds) / (full.row.nodes - single.row.nodes)
    return Costs(
        empty.node_microseconds,
        (full.node_microseconds - empty.node_microseconds) / full.row.receivers,
        single.redis_microseconds,
        # Less than the ticks of the clock can tell apart, for a few nodes.
        max(0.0, further),
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """A use of a million connections.

    :ivar channels: how many there are, of equal size
    :ivar rate: messages a second on each
    :ivar spread: over how many nodes the members of a channel are; 0: over all
    """

    what: str
    channels: int
    rate: float
    spread: int = 0


PLANNED: Final = 1_000_000
PLANS: tuple[Plan, ...] = (
    Plan("one channel, a message each second", 1, 1),
    Plan("1,000 channels of 1,000, a message each second on each, members anywhere", 1000, 1),
    Plan("1,000 channels of 1,000, likewise, the members of a channel on one node", 1000, 1, 1),
    Plan("10,000 channels of 100, likewise, members anywhere", 10_000, 1),
    Plan("10,000 channels of 100, likewise, the members of a channel on one node", 10_000, 1, 1),
)
#: How busy a node or a Redis is planned to be, of a core.
_BUSY: Final = 0.5
#: How many connections a process is planned to have at most.
_MOST_CONNECTIONS: Final = 50_000


def needs(plan: Plan, cost: Costs) -> tuple[int, float]:
    """Return how many nodes (processes, a core each) a plan needs, and how many Redis."""
    published = plan.channels * plan.rate
    nodes = -(-PLANNED // _MOST_CONNECTIONS)
    while nodes < 100_000:
        reached = min(nodes, plan.spread or nodes, PLANNED // plan.channels)
        # A second of a node: its share of the messages that reach it, and of the deliveries.
        seconds = published * reached / nodes * cost.publication / 1e6
        seconds += PLANNED * plan.rate / nodes * cost.delivery / 1e6
        if seconds <= _BUSY:
            break
        nodes += max(1, nodes // 20)
    reached = min(nodes, plan.spread or nodes, PLANNED // plan.channels)
    redis = published * (cost.redis + cost.redis_node * (reached - 1)) / 1e6
    return nodes, redis / _BUSY


def planned(cost: Costs) -> str:
    """The part of docs/topics/scaling.md that is worked out, not measured."""
    rows = []
    for plan in PLANS:
        nodes, redis = needs(plan, cost)
        shown = "no limit of ours" if nodes >= 100_000 else f"{nodes:,}"
        rows.append(f"| {plan.what} | {shown} | {max(1, math.ceil(redis)):,} |")
    return "\n".join(
        [
            f"A message costs a node that it reaches {cost.publication:.0f} µs, and {cost.delivery:.1f} µs "
            f"for each member there; the Redis {cost.redis:.0f} µs, and {cost.redis_node:.0f} µs for each "
            "further node that it reaches.",
            "",
            f"| {PLANNED:,} connections | nodes | Redis servers |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _line(one: Measured) -> str:
    each = f"{one.node_microseconds / one.row.receivers:.2f} µs" if one.row.receivers else "-"
    median, most = one.latency(0.5), one.latency(0.99)
    latency = "-" if median is None or most is None else f"{median * 1e3:.1f} and {most * 1e3:.1f} ms"
    redis = f"{one.redis_microseconds:.0f} µs" if one.row.is_shared else "-"
    return (
        f"| {one.row.what} | {one.row.receivers} | {one.node_microseconds:.0f} µs | {each} | {redis} "
        f"| {latency} | {one.resident / _MIB:.0f} MiB |"
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, tell, and write if told to; the exit status is 1 when a row cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("--write-docs", action="store_true", help="write the table of docs/topics/scaling.md")
    options = parser.parse_args(arguments)
    pin(0, CLIENT_CORES)
    measured = []
    try:
        for row in ROWS:
            measured.append(measure(row))
            print(_line(measured[-1]), flush=True)
    except ScaleError as error:
        print(f"benchmarks.scale: {row.what}: {error}", file=sys.stderr)
        return 1
    if options.write_docs:
        PAGE.write_text(page(measured, date=dt.datetime.now(dt.UTC).date()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
