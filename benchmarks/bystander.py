"""Somebody who uses the server while others attack it: one echo after the other, each timed.

    python -m benchmarks.bystander HOST PORT [--certificate=PEM]

A process of its own, so that no attacker can starve it. It writes ``ready`` when it has had its first echo,
measures from the line ``begin`` on standard input to the end of that input, and writes one line of JSON. An
echo that is awaited then is still waited for: the end of an attack, when the server throws away what it
kept, is part of it.
"""

from __future__ import annotations

import argparse
import json
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.peer import PING, PONG, TEXT, Ended, Peer, frame
from benchmarks.processes import CLIENT_CORES, Address, environment, pin

__all__ = ["Bystander", "Served", "bystander"]

_PATH = "/echo"
_PAUSE_SECONDS = 0.004
_ECHO_SECONDS = 20.0
_WAIT_SECONDS = 60.0
_PAYLOAD = b"are you still there?"


@dataclass(frozen=True, slots=True)
class Served:
    """How a bystander was served.

    :ivar worst_seconds: the longest that it waited for an echo
    :ivar median_seconds: what it usually waited
    :ivar echoes: how many it got
    :ivar was_ended: whether the server ended its connection
    """

    worst_seconds: float
    median_seconds: float
    echoes: int
    was_ended: bool


class Bystander:
    """The bystander's process, seen from who started it."""

    def __init__(self, address: Address) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bystander", *_arguments(address)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        pin(self._process.pid, CLIENT_CORES)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the bystander was not served before the attack began")

    def begin(self) -> None:
        """Measure from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write("begin\n")
        self._process.stdin.flush()

    def finish(self) -> Served:
        """Measure no longer; tell how it was."""
        told, _ = self._process.communicate(timeout=_WAIT_SECONDS)
        return Served(**json.loads(told))

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def bystander(address: Address) -> Iterator[Bystander]:
    """A bystander that has had its first echo."""
    made = Bystander(address)
    try:
        yield made
    finally:
        made.kill()


def _arguments(address: Address) -> list[str]:
    tls = [] if address.certificate is None else [f"--certificate={address.certificate}"]
    return [address.host, str(address.port), *tls]


def _echo(peer: Peer) -> None:
    """Have one echo, or wait in vain."""
    peer.send_whole(frame(TEXT, _PAYLOAD))
    deadline = time.monotonic() + _ECHO_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        peer.wait(select.POLLIN, left)
        for one in peer.frames.feed(peer.read()):
            if one.opcode == TEXT:
                return
            if one.opcode == PING:
                peer.send_whole(frame(PONG, one.payload))


def _use(peer: Peer, begin: threading.Event, over: threading.Event) -> Served:
    waited: list[float] = []
    was_ended = False
    while not over.is_set():
        started = time.monotonic()
        begun = begin.is_set()
        try:
            _echo(peer)
        except Ended:
            was_ended = True
            break
        if begun:
            waited.append(time.monotonic() - started)
        over.wait(_PAUSE_SECONDS)
    ordered = sorted(waited) or [float("inf")]
    return Served(ordered[-1], ordered[len(ordered) // 2], len(waited), was_ended)


def main(arguments: Sequence[str]) -> None:
    """Be one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bystander")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--certificate")
    options = parser.parse_args(arguments)
    begin, over = threading.Event(), threading.Event()
    peer = Peer(Address(options.host, options.port, options.certificate)).open(_PATH)
    _echo(peer)
    print("ready", flush=True)

    def listen() -> None:
        for _ in sys.stdin:
            begin.set()
        over.set()

    threading.Thread(target=listen, daemon=True).start()
    served = _use(peer, begin, over)
    print(json.dumps({name: getattr(served, name) for name in Served.__slots__}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
