"""Tests of counting system calls and instructions."""

import contextlib
import io
from unittest.mock import patch

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from benchmarks import cost
from benchmarks.contestants import CONTESTANTS
from benchmarks.cost import (
    LOADS,
    Cost,
    Load,
    count_calls,
    count_instructions,
    counters,
    difference,
    instructions_in,
    page,
    system_calls_in,
)
from benchmarks.scenarios import Scenario
from tests.benchmarks.tools import tools

STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           1       600           epoll_ctl
 40.00    0.000400           1       301         1 recvfrom
  0.00    0.000000           0         2           sendto
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000                   903         1 total
"""

SMALL = Load(Scenario("small", "", "echo", 2), "message", 20, 120)


class ReadingTests(SynchronousTestCase):
    """What the counting programs write."""

    def test_strace(self) -> None:
        """Calls by name, with and without errors, and not their sum."""
        self.assertEqual(system_calls_in(STRACE), {"epoll_ctl": 600, "recvfrom": 301, "sendto": 2})

    def test_callgrind(self) -> None:
        """The total; a file without one is an error."""
        self.assertEqual(instructions_in("events: Ir\nfn=(1)\n5 100\ntotals: 12345\n"), 12345)
        self.assertRaises(ValueError, instructions_in, "events: Ir\n")


class CountingTests(SynchronousTestCase):
    """Real counts, of the limit, which are known."""

    def test_calls(self) -> None:
        """Each message is received and sent once; opening the connections is not counted."""
        if "calls" not in counters(None)[0]:
            raise SkipTest("strace not found: apt-get install strace")
        calls = count_calls(CONTESTANTS["limit"], SMALL, tools())
        self.assertAlmostEqual(calls["recvfrom"], 1, delta=0.1)
        self.assertAlmostEqual(calls["sendto"], 1, delta=0.1)
        self.assertNotIn("accept4", calls)

    def test_instructions(self) -> None:
        """A message of a few bytes takes some hundreds, whatever the start took."""
        if "instructions" not in counters(None)[0]:
            raise SkipTest("valgrind not found: apt-get install valgrind")
        self.assertTrue(100 < count_instructions(CONTESTANTS["limit"], SMALL, tools()) < 2000)


class DifferenceTests(SynchronousTestCase):
    """`difference`."""

    def counted(self, fixed: int, each: int) -> tuple[float, list[int]]:
        """What comes out where opening costs `fixed` and a message `each`, and the loads that it took."""
        loads = []

        def count(number: int) -> int:
            loads.append(number)
            return fixed + each * number

        return difference(count, SMALL), loads

    def test_dear_messages(self) -> None:
        """Two loads do."""
        self.assertEqual(self.counted(100, 1000), (1000, [20, 120]))

    def test_cheap_messages(self) -> None:
        """Where opening costs most, the larger load grows until messages do."""
        self.assertEqual(self.counted(100_000, 10), (10, [20, 120, 960, 7680, 61440]))

    def test_bounded(self) -> None:
        """It does not grow without end."""
        self.assertEqual(self.counted(100_000, 0)[0], 0)


class PageTests(SynchronousTestCase):
    """The page."""

    def test_rows(self) -> None:
        """Loads in the order of the table, servers as they were counted; what was not counted is empty."""
        costs = [
            Cost("wsecho", "fan-out", {"sendto": 1.0, "epoll_ctl": 1.96}, 40_000.4),
            Cost("limit", "one", None, 404),
            Cost("wsecho", "one", {"sendto": 1.0}),
        ]
        text = page(costs, "2026-11-27", {"wsecho": "wsecho 0.1.0"})
        self.assertIn(" on 2026-11-27.\n", text)
        self.assertIn("* wsecho: wsecho 0.1.0.\n", text)
        rows = [line for line in text.splitlines() if line.startswith("| ") and "for each" not in line]
        self.assertEqual(
            rows,
            [
                "| limit | 404 |  |  |",
                "| wsecho |  | 1.00 | `sendto` 1.00 |",
                "| wsecho | 40,000 | 2.96 | `epoll_ctl` 1.96, `sendto` 1.00 |",
            ],
        )

    def test_loads(self) -> None:
        """The larger load of each pair is larger, and enough to count."""
        for load in LOADS:
            self.assertGreaterEqual(load.many, 2 * load.few)


class CommandTests(SynchronousTestCase):
    """`python -m benchmarks.cost`."""

    def test_nothing_to_count_with(self) -> None:
        """Without the counting programs the status is 2, and the commands that install them are told."""
        tools()
        err = io.StringIO()
        with (
            contextlib.redirect_stderr(err),
            contextlib.redirect_stdout(io.StringIO()),
            patch(
                "benchmarks.cost.shutil.which",
                lambda name: None if name in ("strace", "valgrind") else name,
            ),
        ):
            self.assertEqual(cost.main(["--servers", "limit"]), 2)
        self.assertIn("no strace: apt-get install strace", err.getvalue())
        self.assertIn("no valgrind: apt-get install valgrind", err.getvalue())
