"""Attack plain Autobahn and wsecho, each anew for every attack, and judge how wsecho did.

    python -m benchmarks.attacks [--attack=NAME]... [--tls] [--write-docs]

Three things are measured while an attack lasts (:mod:`benchmarks.attackers`): how the server's resident
memory grows, how long a bystander waits for its echo at most, and how the attackers end. The exit status is
0 when wsecho held:

* memory: each attacker may cost the send queue and twice the largest message (one that is sent, one that is
  received), and all of them together :data:`CONSTANT` more. Those who never send a message are held to
  :data:`BYTES_WITHOUT_MESSAGE` each instead, those who send only little ones to two :data:`READ`. Over TLS,
  :data:`TLS_BYTES` are added for each;
* fairness: in attacks on everybody's time, the bystander waits less than :data:`FAIR_SECONDS`. Other
  processes of the machine can make it wait as well, so an attack in which it waited longer is played again,
  twice at most: what the attack causes happens each time;
* the end: each attacker ends as the table says.

``--write-docs`` writes the table of docs/threats/attacks.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import attackers
from benchmarks.attackers import Report
from benchmarks.bystander import Served, bystander
from benchmarks.processes import (
    CLIENT_CORES,
    Address,
    MemoryWatch,
    Running,
    environment,
    machine,
    pin,
    running_autobahn,
    running_wsecho,
)
from conformance.server import log_faults

__all__ = [
    "ATTACKS",
    "BYTES_WITHOUT_MESSAGE",
    "CONSTANT",
    "FAIR_SECONDS",
    "TLS_BYTES",
    "Attack",
    "Outcome",
    "Row",
    "bound",
    "complaints",
    "fairest",
    "main",
    "play",
    "play_against_wsecho",
    "table",
]

_KIB = 1024
_MIB = 1024 * 1024
PAGE = Path(__file__).resolve().parent.parent / "docs" / "threats" / "attacks.txt"

SEND_QUEUE = 1 * _MIB
LARGEST_MESSAGE = 1 * _MIB
READ = 64 * _KIB
"""What a transport reads at a time."""
CONSTANT = 8 * _MIB
"""What may be added once, however many attack: the allocators' share. CPython gives memory back by arenas of
1 MiB and only whole ones, glibc's heap shrinks from its end only, a process that does something for the first
time (inflates, logs an end) imports and compiles for it, and the bytes on their way through one turn of the
reactor (a read, its frames, the messages of one budget) belong to whoever is served in that turn."""
BYTES_WITHOUT_MESSAGE = 16 * _KIB
"""A connection without a message: the objects of transport, link and protocol, and part of a head."""
TLS_BYTES = 36 * _KIB
"""What OpenSSL, and Twisted around it, keep for a connection."""
FAIR_SECONDS = 0.1
_PLAY_SECONDS = 90.0
_REPEATS = 2


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack and what is asked of wsecho in it.

    :ivar name: of the function in :mod:`benchmarks.attackers`, whose docstring says what the attackers do
    :ivar attackers: how many do harm
    :ivar ends: how an attacker may end
    :ivar is_about_time: whether the bystander's waiting is judged
    :ivar bytes_each: what one attacker may cost
    :ivar options: of wsecho, where its defaults would make the attack long, or let it do nothing
    :ivar deflate: whether the servers accept compression
    """

    name: str
    attackers: int
    ends: Collection[str]
    is_about_time: bool = False
    bytes_each: int = SEND_QUEUE + 2 * LARGEST_MESSAGE
    options: tuple[str, ...] = ()
    deflate: bool = False

    @property
    def what(self) -> str:
        """What the attackers do, in a sentence."""
        text = attackers.ATTACKS[self.name].__doc__ or ""
        return " ".join(text.split())


ATTACKS: tuple[Attack, ...] = (
    Attack("echo_unread", 1, {"held back"}),
    Attack("echo_unread_by_six", 6, {"held back"}),
    # One pong is owed, the latest (RFC 6455 section 5.5.3), so there is no need to stop reading.
    Attack("pings_unread", 1, {"held back", "took all", "kept busy"}, is_about_time=True),
    Attack("broadcast_unread", 1, {"close 1013"}, options=("--close-timeout=20s",)),
    Attack("broadcast_unread_by_twenty", 20, {"close 1013"}, options=("--close-timeout=20s",)),
    Attack("broadcast_inflated", 5, {"close 1013"}, options=("--close-timeout=20s",), deflate=True),
    Attack("fragments", 1, {"close 1008"}, is_about_time=True),
    Attack("empty_fragments", 1, {"close 1008"}, is_about_time=True),
    Attack("tiny_messages", 1, {"served"}, is_about_time=True),
    Attack("tiny_messages_unread", 1, {"held back", "kept busy"}, is_about_time=True),
    # No large messages: what one of them may cost is a read, and its echo.
    Attack("tiny_messages_in_bursts", 200, {"served"}, is_about_time=True, bytes_each=2 * READ),
    Attack("trickle", 1, {"served"}, is_about_time=True),
    Attack("deflate_bomb", 1, {"close 1009"}, deflate=True),
    Attack(
        "deflate_echo_unread", 1, {"held back", "took all", "kept busy"}, is_about_time=True, deflate=True
    ),
    Attack(
        "slow_heads",
        50,
        {"HTTP 408"},
        bytes_each=BYTES_WITHOUT_MESSAGE,
        options=("--handshake-timeout=5s",),
    ),
    Attack("endless_head", 1, {"HTTP 431"}, is_about_time=True),
    Attack(
        "silent_peers",
        2000,
        {"end", "reset"},
        bytes_each=BYTES_WITHOUT_MESSAGE,
        options=("--handshake-timeout=5s",),
    ),
    Attack(
        "close_unread",
        6,
        {"reset"},
        options=("--close-timeout=2s", "--ping-interval=2s", "--ping-timeout=2s", "--stall-timeout=2s"),
    ),
    Attack("close_unanswered", 5, {"close 1002"}, options=("--close-timeout=2s",)),
    Attack("stalled", 10, {"close 1001"}, options=("--stall-timeout=2s",)),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured in one attack.

    :ivar grown_bytes: growth of the server's resident memory at its peak
    :ivar served: how the bystander fared
    :ivar report: how the attackers did
    :ivar faults: lines of the server's log about exceptions that nobody handled
    """

    grown_bytes: int
    served: Served
    report: Report
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """An attack and how both servers did; None for one that was not attacked."""

    attack: Attack
    autobahn: Outcome | None
    wsecho: Outcome
    tls: bool = False

    @property
    def complaints(self) -> list[str]:
        """What is wrong with how wsecho did."""
        return complaints(self.attack, self.wsecho, tls=self.tls)


def bound(attack: Attack, *, tls: bool = False) -> int:
    """How many bytes the server may grow by."""
    return attack.attackers * (attack.bytes_each + (TLS_BYTES if tls else 0)) + CONSTANT


def complaints(attack: Attack, outcome: Outcome, *, tls: bool = False) -> list[str]:
    """What is wrong, a line for each; empty when the server held."""
    wrong = []
    most = bound(attack, tls=tls)
    if outcome.grown_bytes > most:
        wrong.append(f"grew by {_mib(outcome.grown_bytes)}, more than {_mib(most)}")
    if not outcome.served.echoes or outcome.served.was_ended:
        wrong.append("the bystander was not served")
    if attack.is_about_time and outcome.served.worst_seconds >= FAIR_SECONDS:
        wrong.append(f"the bystander waited {_time(outcome.served.worst_seconds)}")
    unexpected = {end: count for end, count in outcome.report.ends.items() if end not in attack.ends}
    if unexpected:
        wrong.append(f"attackers ended otherwise than by {' or '.join(sorted(attack.ends))}: {unexpected}")
    if outcome.report.others != outcome.report.expected_others:
        wrong.append("who took part and read did not get everything")
    wrong += outcome.faults
    return wrong


def _attack(name: str, address: Address) -> Report:
    command = [sys.executable, "-m", "benchmarks.attackers", name, address.host, str(address.port)]
    if address.certificate is not None:
        command.append(f"--certificate={address.certificate}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        pin(process.pid, CLIENT_CORES)
        try:
            told, _ = process.communicate(timeout=_PLAY_SECONDS)
        finally:
            process.kill()
    return Report(**json.loads(told))


def play(attack: Attack, running: Running) -> Outcome:
    """Play an attack against a server that has just been started."""
    with bystander(running.address) as witness:
        memory = MemoryWatch(running.pid)
        witness.begin()
        report = _attack(attack.name, running.address)
        served = witness.finish()
        grown = memory.finish()
    return Outcome(grown, served, report, tuple(log_faults(running.server.text())))


def play_against_wsecho(attack: Attack, *, tls: bool = False) -> Outcome:
    """Start wsecho and play an attack against it."""
    compression = ("--compression=deflate",) if attack.deflate else ()
    with running_wsecho(*attack.options, *compression, tls=tls) as running:
        return play(attack, running)


def play_against_autobahn(attack: Attack, *, tls: bool = False) -> Outcome:
    """Start plain Autobahn and play an attack against it."""
    with running_autobahn(*(("--deflate",) if attack.deflate else ()), tls=tls) as running:
        return play(attack, running)


def _play_fairly(attack: Attack, *, tls: bool) -> Outcome:
    return fairest(attack, lambda: play_against_wsecho(attack, tls=tls), tls=tls)


def fairest(attack: Attack, again: Callable[[], Outcome], *, tls: bool = False) -> Outcome:
    """Play until the bystander is not late or it has been late often enough; the outcome in which it waited
    least, or the first with which something else is wrong."""
    untimed = dataclasses.replace(attack, is_about_time=False)
    outcomes: list[Outcome] = []
    while len(outcomes) <= _REPEATS:
        outcomes.append(again())
        if complaints(untimed, outcomes[-1], tls=tls):
            return outcomes[-1]
        if not complaints(attack, outcomes[-1], tls=tls):
            break
    return min(outcomes, key=lambda one: one.served.worst_seconds)


# -- the table -----------------------------------------------------------------------------------------------


def _mib(size: int) -> str:
    return f"{max(0, size) / _MIB:.1f} MiB"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _ends(report: Report) -> str:
    total = sum(report.ends.values())
    ends = ", ".join(
        end if count == total else f"{count} {end}" for end, count in sorted(report.ends.items())
    )
    if "held back" in report.ends:
        ends += f" after {_mib(report.sent_bytes)}"
    if report.others != report.expected_others:
        ends += "; who read did not get everything"
    return ends


def _cells(outcome: Outcome | None) -> list[str]:
    if outcome is None:
        return ["", "", ""]
    served = outcome.served
    worst = "ended" if served.was_ended else _time(served.worst_seconds)
    return [_mib(outcome.grown_bytes), worst, _ends(outcome.report)]


def table(rows: Sequence[Row]) -> str:
    """The attacks as a Markdown table."""
    heads = ["attack", "memory: Autobahn", "wsecho", "bound", "bystander: Autobahn", "wsecho"]
    heads += ["attackers: Autobahn", "wsecho"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        plain, ours = _cells(row.autobahn), _cells(row.wsecho)
        mark = "" if not row.complaints else " ✗"
        worst = f"**{ours[1]}**" if row.attack.is_about_time else ours[1]
        cells = [row.attack.what, plain[0], f"**{ours[0]}**", _mib(bound(row.attack, tls=row.tls))]
        cells += [plain[1], worst, plain[2], f"{ours[2]}{mark}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(rows: Sequence[Row], tls_rows: Sequence[Row], *, date: dt.date) -> str:
    """The part of docs/threats/attacks.md that is measured."""
    lines = [
        "<!-- Written by `python -m benchmarks.attacks --write-docs`; not to be edited. -->",
        "",
        f"Measured on {date.isoformat()}: {machine()}.",
        "",
        table(rows),
        "",
    ]
    if tls_rows:
        lines += ["The same over TLS:", "", table(tls_rows), ""]
    return "\n".join(lines)


def _run(attacks: Sequence[Attack], *, tls: bool, compare: bool) -> tuple[list[Row], bool]:
    rows, has_held = [], True
    for attack in attacks:
        plain = play_against_autobahn(attack, tls=tls) if compare else None
        ours = _play_fairly(attack, tls=tls)
        rows.append(Row(attack, plain, ours, tls))
        wrong = rows[-1].complaints
        has_held = has_held and not wrong
        print(f"{attack.name}{' over TLS' if tls else ''}: {attack.what}")
        if plain is not None:
            print(f"    Autobahn  {'; '.join(_cells(plain))}")
        print(f"    wsecho    {'; '.join(_cells(ours))}")
        print(f"    {'held' if not wrong else 'FELL: ' + '; '.join(wrong)}", flush=True)
    return rows, has_held


def main(arguments: Sequence[str]) -> int:
    """Attack; return 0 when wsecho held."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks")
    parser.add_argument("--attack", action="append", choices=[one.name for one in ATTACKS])
    parser.add_argument("--tls", action="store_true", help="attack over TLS")
    parser.add_argument("--only-wsecho", action="store_true", help="leave plain Autobahn in peace")
    parser.add_argument(
        "--write-docs", action="store_true", help="write docs/threats/attacks.txt: all, plain and TLS"
    )
    options = parser.parse_args(arguments)
    chosen = [one for one in ATTACKS if options.attack is None or one.name in options.attack]
    if options.write_docs:
        plain, held = _run(ATTACKS, tls=False, compare=True)
        tls, held_tls = _run(ATTACKS, tls=True, compare=True)
        PAGE.write_text(page(plain, tls, date=dt.datetime.now(dt.UTC).date()), encoding="utf-8")
        return 0 if held and held_tls else 1
    _, held = _run(chosen, tls=options.tls, compare=not options.only_wsecho)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
