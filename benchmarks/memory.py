"""What a connection costs in memory, measured on a running wsecho.

    python -m benchmarks.memory [--write-docs]

Each row starts a server of its own, lets peers do one thing, waits until the memory no longer grows, and
divides the growth of resident memory by their number. The first peers are not counted: what the process
needs once is theirs. Kernel memory is not in it. ``--write-docs`` writes the table of docs/topics/memory.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import select
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attackers import deflated
from benchmarks.peer import BINARY, DEFLATE, Ended, Peer, frame
from benchmarks.processes import CLIENT_CORES, Address, Running, machine, pin, resident_bytes, running_wsecho

__all__ = ["ROWS", "Measured", "Row", "main", "measure", "page"]

_KIB = 1024
_MIB = 1024 * 1024
PAGE = Path(__file__).resolve().parent.parent / "docs" / "topics" / "memory.txt"
_SETTLED_SECONDS = 0.5
_HELD_SECONDS = 1.0
_SMALL_WINDOW = 16 * _KIB


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured.

    :ivar what: for the table; each is one of these
    :ivar number: how many are counted
    :ivar warm: how many before, which are not
    :ivar act: makes one, or the given number of them at once; what it returns is kept until the end
    """

    what: str
    number: int
    warm: int
    act: Callable[[Address, int], object]
    tls: bool = False
    options: tuple[str, ...] = ()
    #: Of the TOML file.
    configuration: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """A row and how many bytes each of it took."""

    row: Row
    each_bytes: float


def _idle(path: str, *headers: str, talk: bytes = b"") -> Callable[[Address, int], object]:
    def act(address: Address, number: int) -> list[Peer]:
        peers = []
        for _ in range(number):
            peer = Peer(address).open(path, *headers)
            if talk:
                peer.send_whole(talk)
                while not any(peer.frames.feed(peer.read())):
                    peer.wait(select.POLLIN, 5)
            peers.append(peer)
        return peers

    return act


def _held_back(address: Address, number: int) -> list[Peer]:
    """Peers that send to echo, do not read, and are held back."""
    data = frame(BINARY, bytes(64 * _KIB))
    peers = [Peer(address, receive_buffer=_SMALL_WINDOW).open("/echo") for _ in range(number)]
    for peer in peers:
        view, moved = memoryview(data), time.monotonic()
        try:
            while time.monotonic() - moved < _HELD_SECONDS:
                if peer.wait(select.POLLOUT, 0.1):
                    taken = peer.send(view)
                    view = view[taken:] or memoryview(data)
                    moved = time.monotonic() if taken else moved
        except Ended:
            pass
    return peers


#: A channel on which a member that does not read keeps what fits its queue, and stays.
_ROOM = '[channel."room"]\nslow-consumer = "drop-newest"\n'


def _behind(size: int, messages: int) -> Callable[[Address, int], object]:
    """Members of a channel that read nothing, with more published than they may keep."""

    def act(address: Address, number: int) -> list[Peer]:
        slow = [Peer(address, receive_buffer=_SMALL_WINDOW).open("/broadcast/room") for _ in range(number)]
        publisher = Peer(address).open("/broadcast/room")
        data = frame(BINARY, bytes(size))
        batch = max(1, 64 * _KIB // len(data))
        for _ in range(messages // batch):
            publisher.send_whole(data * batch)
        return [*slow, publisher]

    return act


ROWS: tuple[Row, ...] = (
    Row("open and idle, plain", 2000, 500, _idle("/echo")),
    Row("open and idle, TLS", 1000, 250, _idle("/echo"), tls=True),
    Row(
        "open and idle, permessage-deflate agreed on",
        1000,
        250,
        _idle("/echo", DEFLATE),
        options=("--compression=deflate",),
    ),
    Row(
        "the same after its first message",
        500,
        100,
        _idle("/echo", DEFLATE, talk=frame(BINARY, deflated(1000), rsv=4)),
        options=("--compression=deflate",),
    ),
    Row("a member of a channel, idle", 2000, 500, _idle("/broadcast/room")),
    Row("an echo peer that does not read, held back", 20, 2, _held_back),
    Row(
        "a member that does not read, messages of 16 KiB, its queue full",
        20,
        2,
        _behind(16 * _KIB, 1024),
        configuration=_ROOM,
    ),
    Row(
        "a member that does not read, messages of 100 bytes, its queue full",
        5,
        1,
        _behind(100, 60_000),
        configuration=_ROOM,
    ),
)


def _settled(pid: int) -> int:
    """The resident memory once it has not grown for a moment."""
    size, deadline = 0, time.monotonic() + 20
    while time.monotonic() < deadline:
        now = resident_bytes(pid)
        if now <= size:
            return now
        size = now
        time.sleep(_SETTLED_SECONDS)
    return size


def measure(row: Row) -> Measured:
    """Measure one row."""
    with running_wsecho(*row.options, tls=row.tls, configuration=row.configuration) as running:
        return Measured(row, _growth(row, running) / row.number)


def _growth(row: Row, running: Running) -> int:
    kept = [row.act(running.address, row.warm)]
    before = _settled(running.pid)
    kept.append(row.act(running.address, row.number))
    return _settled(running.pid) - before


def _size(size: float) -> str:
    return f"{size / _MIB:.2f} MiB" if size >= _MIB / 4 else f"{size / _KIB:.1f} KiB"


def page(measured: Sequence[Measured], *, date: dt.date) -> str:
    """The part of docs/topics/memory.md that is measured."""
    rows = "\n".join(f"| {one.row.what} | {one.row.number:,} | {_size(one.each_bytes)} |" for one in measured)
    return "\n".join(
        [
            "<!-- Written by `python -m benchmarks.memory --write-docs`; not to be edited. -->",
            "",
            f"Measured on {date.isoformat()}: {machine()}.",
            "",
            "| each | measured on | resident memory |",
            "|---|---|---|",
            rows,
            "",
        ]
    )


def main(arguments: Sequence[str]) -> None:
    """Measure, tell, and write if told to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--write-docs", action="store_true", help="write the table of docs/topics/memory.md")
    options = parser.parse_args(arguments)
    pin(0, CLIENT_CORES)
    measured = []
    for row in ROWS:
        measured.append(measure(row))
        print(f"{_size(measured[-1].each_bytes):>12}  {row.what}", flush=True)
    if options.write_docs:
        PAGE.write_text(page(measured, date=dt.datetime.now(dt.UTC).date()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
