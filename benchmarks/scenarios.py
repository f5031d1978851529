"""What is measured: the table of scenarios.

Nothing here knows a server. A scenario is a load: how many connections, how many messages are in flight on
each, how large they are, and what else is open meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["DEFAULT", "GROUPS", "SCENARIOS", "Scenario", "select"]

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load.

    :ivar mode: of ``load.c``; ``hold`` measures the memory of idle connections
    :ivar connections: of a broadcast: the receivers; one more connection publishes
    :ivar window: messages in flight on each connection; of a broadcast: those not yet received by everybody
    :ivar size: of a payload, in bytes
    :ivar held: idle connections that are open besides
    """

    name: str
    title: str
    mode: Literal["echo", "broadcast", "connect", "hold"]
    connections: int
    window: int = 1
    size: int = 64
    at_once: int = 64
    held: int = 0
    tls: bool = False

    @property
    def path(self) -> str:
        """Where every server serves it."""
        return "/broadcast" if self.mode == "broadcast" else "/"

    @property
    def unit(self) -> str:
        """What is counted."""
        return {
            "echo": "messages/s",
            "broadcast": "deliveries/s",
            "connect": "handshakes/s",
            "hold": "KiB for a connection",
        }[self.mode]

    @property
    def less_is_better(self) -> bool:
        """Of memory; more of anything else."""
        return self.mode == "hold"


#: Enough that what a server makes for its first connections is not counted.
HELD_FIRST = 300

_ALL = (
    Scenario("e1", "echo, 1 connection, 64 B", "echo", 1),
    Scenario("e2", "echo, 64 connections, 64 B", "echo", 64),
    Scenario("e3", "echo, 64 connections, 32 in flight, 64 B", "echo", 64, window=32),
    Scenario("e4", "echo, 16 connections, 4 in flight, 4 KiB", "echo", 16, window=4, size=4 * _KIB),
    Scenario("e5", "echo, 8 connections, 2 in flight, 64 KiB", "echo", 8, window=2, size=64 * _KIB),
    Scenario("e6", "echo, 4 connections, 1 MiB", "echo", 4, size=_KIB * _KIB),
    Scenario("b1", "broadcast to 100, 128 B", "broadcast", 100, size=128),
    Scenario("b2", "broadcast to 1000, 128 B", "broadcast", 1000, size=128),
    Scenario("c1", "2000 handshakes, 64 at a time", "connect", 2000),
    Scenario("m1", "memory, 3000 idle connections", "hold", 3000, held=HELD_FIRST),
    Scenario("g1", "as e2, 1,000 connections open", "echo", 64, held=1_000 - 64),
    Scenario("g2", "as e2, 10,000 connections open", "echo", 64, held=10_000 - 64),
    Scenario("t2", "TLS echo, 64 connections, 64 B", "echo", 64, tls=True),
    Scenario("t3", "TLS echo, 64 connections, 32 in flight, 64 B", "echo", 64, window=32, tls=True),
    Scenario(
        "t4", "TLS echo, 16 connections, 4 in flight, 4 KiB", "echo", 16, window=4, size=4 * _KIB, tls=True
    ),
    Scenario(
        "t5", "TLS echo, 8 connections, 2 in flight, 64 KiB", "echo", 8, window=2, size=64 * _KIB, tls=True
    ),
    Scenario("tb1", "TLS broadcast to 100, 128 B", "broadcast", 100, size=128, tls=True),
    Scenario("tc1", "500 whole TLS handshakes, 32 at a time", "connect", 500, at_once=32, tls=True),
    Scenario("tm1", "memory, 1000 idle TLS connections", "hold", 1000, held=HELD_FIRST, tls=True),
)

SCENARIOS = {scenario.name: scenario for scenario in _ALL}

#: Names that stand for several.
GROUPS = {
    "echo": ("e1", "e2", "e3", "e4", "e5", "e6"),
    "broadcast": ("b1", "b2"),
    "open": ("c1", "m1", "g1", "g2"),
    "tls": ("t2", "t3", "t4", "t5", "tb1", "tc1", "tm1"),
}

DEFAULT = tuple(GROUPS)


def select(names: Sequence[str]) -> tuple[Scenario, ...]:
    """The scenarios that names of scenarios and groups stand for, in the order of the table.

    :raises ValueError: there is no such name
    """
    wanted: set[str] = set()
    for name in names:
        if name not in GROUPS and name not in SCENARIOS:
            known = ", ".join([*GROUPS, *SCENARIOS])
            raise ValueError(f"there is no scenario {name!r}; there are {known}")
        wanted.update(GROUPS.get(name, (name,)))
    return tuple(scenario for scenario in _ALL if scenario.name in wanted)
