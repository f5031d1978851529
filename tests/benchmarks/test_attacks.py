"""The attacks: how they are judged, and a quick choice of them against a server of its own.

What is asserted of the real attacks is how much memory the server took and how the attackers ended. Of time
only that the bystander was served at all: how fast a machine is that runs tests is not wsecho's doing.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import attackers
from benchmarks.attackers import Report
from benchmarks.attacks import (
    ATTACKS,
    CONSTANT,
    FAIR_SECONDS,
    PAGE,
    TLS_BYTES,
    Attack,
    Outcome,
    Row,
    bound,
    complaints,
    fairest,
    main,
    page,
    play_against_autobahn,
    play_against_wsecho,
    table,
)
from benchmarks.bystander import Served

#: Those that are over soon.
QUICK = (
    "echo_unread",
    "pings_unread",
    "broadcast_unread",
    "broadcast_inflated",
    "empty_fragments",
    "deflate_bomb",
    "endless_head",
    "close_unanswered",
    "stalled",
)


def attack(name: str) -> Attack:
    """The attack of this name."""
    return next(one for one in ATTACKS if one.name == name)


def outcome(**changes: Any) -> Outcome:
    """An outcome with which nothing is wrong, but for the changes."""
    good = Outcome(1000, Served(0.01, 0.001, 100, False), Report({"held back": 1}, 5000))
    return dataclasses.replace(good, **changes)


ECHO = Attack("echo_unread", 1, {"held back"}, is_about_time=True)


class JudgementTests(SynchronousTestCase):
    """What is wrong with an outcome."""

    def assert_wrong(self, text: str, **changes: Any) -> None:
        """One thing is wrong, and the line says so."""
        (line,) = complaints(ECHO, outcome(**changes))
        self.assertIn(text, line)

    def test_nothing(self) -> None:
        """A server that did what is asked of it held, up to the bound itself."""
        self.assertEqual(complaints(ECHO, outcome()), [])
        self.assertEqual(complaints(ECHO, outcome(grown_bytes=bound(ECHO))), [])

    def test_memory(self) -> None:
        """One byte more than the bound is too much; the bound counts each attacker once, and the constant
        once."""
        self.assert_wrong("grew by", grown_bytes=bound(ECHO) + 1)
        six = dataclasses.replace(ECHO, attackers=6)
        self.assertEqual(bound(six) - CONSTANT, 6 * (bound(ECHO) - CONSTANT))
        self.assertEqual(bound(six, tls=True) - bound(six), 6 * TLS_BYTES)

    def test_bystander(self) -> None:
        """The bystander must be served; its waiting counts in attacks on time only."""
        self.assert_wrong("not served", served=Served(0.01, 0.01, 0, False))
        self.assert_wrong("not served", served=Served(0.01, 0.01, 5, True))
        late = Served(FAIR_SECONDS, 0.01, 5, False)
        self.assert_wrong("waited", served=late)
        other = dataclasses.replace(ECHO, is_about_time=False)
        self.assertEqual(complaints(other, outcome(served=late)), [])

    def test_ends(self) -> None:
        """Each attacker must end as it should."""
        self.assert_wrong("took all", report=Report({"held back": 5, "took all": 1}))

    def test_others(self) -> None:
        """Who took part and did no harm must have got everything."""
        self.assert_wrong("did not get", report=Report({"held back": 1}, 0, 3, 4))

    def test_faults(self) -> None:
        """An exception in the server's log is wrong, whatever else happened."""
        self.assert_wrong("Traceback", faults=("Traceback (most recent call last)",))


class FairestTests(SynchronousTestCase):
    """What counts of an attack that is played again."""

    def played(self, *outcomes: Outcome) -> tuple[Outcome, int]:
        """The outcome that counts, and how often the attack was played."""
        left = list(outcomes)
        counts = fairest(ECHO, lambda: left.pop(0))
        return counts, len(outcomes) - len(left)

    def waited(self, seconds: float) -> Outcome:
        """An outcome in which the bystander waited so long."""
        return outcome(served=Served(seconds, 0.001, 100, False))

    def test_once(self) -> None:
        """When nothing is wrong, it is played once."""
        self.assertEqual(self.played(self.waited(0.02), self.waited(0.01)), (self.waited(0.02), 1))

    def test_machine(self) -> None:
        """What another process of the machine has caused does not happen again."""
        self.assertEqual(self.played(self.waited(0.5), self.waited(0.02)), (self.waited(0.02), 2))

    def test_attack(self) -> None:
        """What the attack causes happens each time, and the least counts."""
        late = [self.waited(seconds) for seconds in (0.5, 0.3, 0.4, 0.01)]
        self.assertEqual(self.played(*late), (late[1], 3))

    def test_anything_else(self) -> None:
        """Anything else that is wrong counts, even if it is wrong once."""
        grown = outcome(grown_bytes=1024**3)
        self.assertEqual(self.played(grown, outcome()), (grown, 1))
        self.assertEqual(self.played(self.waited(0.5), grown, outcome()), (grown, 2))


class TableTests(SynchronousTestCase):
    """The table and the page."""

    def test_each_has_attackers(self) -> None:
        """Each attack is played by a function of the same name that says in its docstring what it does, and
        each function is an attack."""
        self.assertEqual(sorted(attackers.ATTACKS), sorted(one.name for one in ATTACKS))
        for one in ATTACKS:
            self.assertRegex(one.what, r"\A[A-Z0-9].*\.\Z", one.name)

    def test_row(self) -> None:
        """A row tells growth, waiting and ends of both servers, and marks what fell."""
        good = table([Row(ECHO, outcome(grown_bytes=5 * 1024**2), outcome())])
        self.assertIn("| 5.0 MiB | **0.0 MiB** | 11.0 MiB | 10 ms | **10 ms** |", good)
        self.assertNotIn("✗", good)
        self.assertIn("✗", table([Row(ECHO, None, outcome(grown_bytes=1024**3))]))

    def test_page(self) -> None:
        """The page tells the day, the machine and the versions."""
        text = page([Row(ECHO, None, outcome())], [], date=dt.date(2026, 11, 27))
        self.assertRegex(text, r"Measured on 2026-11-27: .*CPython .*autobahn ")

    def test_committed(self) -> None:
        """The committed page has each attack in its present wording, twice, and wsecho held in all of
        them."""
        text = PAGE.read_text(encoding="utf-8")
        for one in ATTACKS:
            self.assertEqual(text.count(f"| {one.what} |"), 2, one.name)
        self.assertNotIn("✗", text)

    def test_unknown_attack(self) -> None:
        """An attack that there is not is an error."""
        self.assertRaises(SystemExit, main, ["--attack=unheard_of"])


class AutobahnTests(SynchronousTestCase):
    """Plain Autobahn, which shows that an attack can tell."""

    def test_echo_unread(self) -> None:
        """Plain Autobahn takes whatever a peer that reads nothing sends to echo, and keeps the answer."""
        wrong = complaints(attack("echo_unread"), play_against_autobahn(attack("echo_unread")))
        self.assertTrue(any("grew by" in line for line in wrong), wrong)
        self.assertTrue(any("took all" in line for line in wrong), wrong)


class WsechoTests(SynchronousTestCase):
    """wsecho, quickly."""


def _holds(one: Attack, tls: bool) -> Callable[[Any], None]:
    def test(self: SynchronousTestCase) -> None:
        # Without the clock: it is the machine's.
        untimed = dataclasses.replace(one, is_about_time=False)
        self.assertEqual(complaints(untimed, play_against_wsecho(one, tls=tls), tls=tls), [])

    test.__doc__ = f"wsecho holds{' over TLS' if tls else ''}: {one.what}"
    return test


#: Those of them in which TLS takes a way of its own.
QUICK_OVER_TLS = ("echo_unread", "deflate_bomb", "stalled")

for _name in QUICK:
    setattr(WsechoTests, f"test_{_name}", _holds(attack(_name), False))
for _name in QUICK_OVER_TLS:
    setattr(WsechoTests, f"test_{_name}_over_tls", _holds(attack(_name), True))
