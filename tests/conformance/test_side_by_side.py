"""Tests of doing several things at a time."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from conformance.side_by_side import Children, RunIsOver, side_by_side

#: Far more than anything here takes.
PATIENCE = 60.0


class SideBySideTestCase(SynchronousTestCase):
    """A test with children, none of which outlives it."""

    def setUp(self) -> None:
        """Make them."""
        self.children = Children()
        self.addCleanup(self.children.end)

    def start(self, script: str) -> "subprocess.Popen[bytes]":
        """Start a script of Python."""
        with Path(self.mktemp()).open("wb") as output:
            return self.children.start([sys.executable, "-c", script], Path.cwd(), None, output)


class ChildrenTests(SideBySideTestCase):
    """`Children` starts processes and ends them."""

    def test_start(self) -> None:
        """A child runs in its folder and environment, with its output where it is wanted."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        script = "import os, sys; print(os.getcwd(), os.environ['A'], sys.stdin.read() == '')"
        with (folder / "output").open("wb") as output:
            child = self.children.start([sys.executable, "-c", script], folder, {"A": "b"}, output)
        self.assertEqual(child.wait(PATIENCE), 0)
        self.assertEqual((folder / "output").read_text(), f"{folder} b True\n")

    def test_its_own_session(self) -> None:
        """A child does not hear what is typed at the judge's terminal."""
        child = self.start("import signal; signal.pause()")
        self.assertEqual(os.getsid(child.pid), child.pid)

    def test_end(self) -> None:
        """All that runs is killed, what has ended is left alone, and nothing is started any more."""
        ended, running = self.start(""), self.start("import signal; signal.pause()")
        ended.wait(PATIENCE)
        self.assertFalse(self.children.is_over)
        self.children.end()
        self.assertEqual((ended.returncode, running.wait(PATIENCE)), (0, -9))
        self.assertTrue(self.children.is_over)
        self.assertRaises(RunIsOver, self.start, "")


class SideBySideTests(SideBySideTestCase):
    """`side_by_side` shares the work."""

    def test_results_in_order(self) -> None:
        """Results come in the order of the items, whichever is done first."""
        second = threading.Event()

        def do(item: int) -> int:
            if item == 1:
                second.wait(PATIENCE)
            else:
                second.set()
            return item * 10

        self.assertEqual(side_by_side(do, [1, 2], 2, self.children), [10, 20])
        self.assertFalse(self.children.is_over)

    def test_at_a_time(self) -> None:
        """As many as were asked for are done at a time, and no more."""
        lock = threading.Lock()
        for number in (1, 3):
            barrier = threading.Barrier(number)
            now: list[int] = []
            most: list[int] = []

            def do(
                item: int,
                barrier: threading.Barrier = barrier,
                now: list[int] = now,
                most: list[int] = most,
            ) -> None:
                with lock:
                    now.append(item)
                    most.append(len(now))
                barrier.wait(PATIENCE)
                with lock:
                    now.remove(item)

            side_by_side(do, range(2 * number), number, self.children)
            self.assertEqual(max(most), number)

    def test_an_exception_ends_the_others(self) -> None:
        """What one raises is raised at once, because the children of the others are ended."""
        waits = threading.Event()

        def do(item: str) -> None:
            if item == "waits":
                child = self.start("import signal; signal.pause()")
                waits.set()
                child.wait()
            else:
                waits.wait(PATIENCE)
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, side_by_side, do, ["waits", "raises"], 2, self.children)
        self.assertTrue(self.children.is_over)
