"""A pseudo terminal with a program on it, and what a user sees and types there."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tests.serving import TIMEOUT

CTRL_C = "\x03"
CTRL_D = "\x04"

#: Where :func:`termios.tcgetattr` has ICANON, with which a terminal gives whole lines only.
_LOCAL_FLAGS = 3

#: Runs what follows on a terminal of its own: only there keys such as Ctrl-C are signals. Whoever runs the
#: tests in the background of a shell ignores SIGINT, and what is started here would inherit that.
_ON_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A program on a terminal of its own, which is the program's standard input, output and error."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.before: list[Any] = termios.tcgetattr(slave)
        self._slave = slave
        self.seen = ""
        # No settings of whoever runs the tests.
        plain = {"TERM": "xterm", "INPUTRC": os.path.abspath("no-such-file"), "NO_COLOR": ""}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(environment) | plain,
            start_new_session=True,
        )

    def settings(self) -> list[Any]:
        """The settings of the terminal now."""
        return termios.tcgetattr(self._slave)

    def type(self, keys: str) -> None:
        """Press keys, when the program reads them one by one.

        Between two lines readline gives the terminal back, and a key such as Ctrl-V would have the
        terminal's own meaning.
        """
        end = time.monotonic() + TIMEOUT
        while self.settings()[_LOCAL_FLAGS] & termios.ICANON:
            with contextlib.suppress(AssertionError):
                self._read(min(end, time.monotonic() + 0.01), "")
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"does not read keys: {self.seen!r}")
        os.write(self._master, keys.encode())

    def sees(self, words: str) -> str:
        """Wait for words that were not waited for before; return all that was seen until then."""
        end = time.monotonic() + TIMEOUT
        while words not in self.seen:
            has_ended = self._process.poll() is not None
            self._read(time.monotonic() if has_ended else end, f"no {words!r}")
        before, _, self.seen = self.seen.partition(words)
        return before + words

    def ends(self) -> int:
        """Wait for the end of the program, and return its status."""
        end = time.monotonic() + TIMEOUT
        while self._process.poll() is None:
            # It must not wait for a terminal that nobody reads.
            with contextlib.suppress(AssertionError):
                self._read(min(end, time.monotonic() + 0.05), "")
            if time.monotonic() > end:
                raise AssertionError(f"does not end: {self.seen!r}")
        with contextlib.suppress(AssertionError):
            while True:
                self._read(time.monotonic(), "")
        return self._process.returncode

    def close(self) -> None:
        """End the program, if it goes on, and the terminal."""
        self._process.kill()
        self._process.wait()
        os.close(self._slave)
        os.close(self._master)

    def _read(self, end: float, problem: str) -> None:
        ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise AssertionError(f"{problem} in {self.seen!r}")
        self.seen += os.read(self._master, 65536).decode()
