"""A server in a process of its own, for tests that block, run on asyncio, or have no reactor.

Rules of this file:

- every wait is bounded, and the process is always waited for: no test hangs, and no zombie stays;
- its output is read all the time, or a full pipe would stop it;
- no reactor: a thread reads.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import deque
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from wsecho.testing.served import Served, ServerFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

__all__ = ["Server"]

_START_LINE = re.compile(r"listening on (wss?://\S+)")
_MOST_LINES = 10_000
_LINES_SHOWN = 20


class Server(Served):
    """A wsecho on a free port of 127.0.0.1, for as long as the ``with`` block lasts.

    :param tls: serve wss, with a certificate that was made for this server
    :param mode: what ``/`` serves, ``"echo"`` or ``"broadcast"``
    :param test_endpoints: whether there is ``/test``, the programmable echo
    :param options: more of the command line; what they name counts
    :param environment: of the process; this one's when None
    :param timeout: seconds until a process that says nothing, or does not end, is taken for broken
    :param command: what runs, in place of this Python's wsecho
    """

    def __init__(
        self,
        *,
        tls: bool = False,
        mode: str = "echo",
        test_endpoints: bool = True,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        command: Sequence[str] = (sys.executable, "-m", "wsecho.testing.child"),
    ) -> None:
        super().__init__(tls=tls, mode=mode, test_endpoints=test_endpoints, options=options)
        self._environment = environment
        self._timeout = timeout
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._reader: Thread | None = None
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._urls: list[str] = []
        self._has_come = Event()

    @property
    def log(self) -> str:
        """What it has written, the last 10,000 lines of it; also when it has ended."""
        return "".join(tuple(self._lines))

    @property
    def pid(self) -> int:
        """The id of its process."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until clients may connect.

        :raises ServerFailed: it ended, or did not listen in time; with its own line, where it wrote one
        """
        if self._process is not None:
            raise RuntimeError("the server is running")
        self._lines.clear()
        self._urls.clear()
        self._has_come.clear()
        try:
            self._process = subprocess.Popen(
                [*self._command, *self._arguments()],
                env=None if self._environment is None else dict(self._environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            )
            self._reader = Thread(target=self._read, args=(self._process,), daemon=True)
            self._reader.start()
            in_time = self._has_come.wait(self._timeout)
            if not self._listens(self._urls):
                if not in_time:
                    raise ServerFailed(f"no start line within {self._timeout:g} s:\n{self._last_lines()}")
                raise ServerFailed(self._why())
        except BaseException:
            self._end(0.0)
            raise

    def stop(self) -> None:
        """Stop it with SIGTERM, and wait for its end; harmless when it was stopped.

        :raises ServerFailed: it had to be killed, had ended before, or ended with another status than 0
        """
        process = self._process
        if process is None:
            return
        had_ended = process.poll()
        status = self._end(self._timeout)
        if had_ended is not None:
            raise ServerFailed(f"the server had ended with status {had_ended}:\n{self._last_lines()}")
        if status is None:
            raise ServerFailed(f"killed, {self._timeout:g} s after SIGTERM:\n{self._last_lines()}")
        if status != 0:
            raise ServerFailed(f"the server ended with status {status}:\n{self._last_lines()}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, error: object, traceback: Any) -> None:
        try:
            self.stop()
        except ServerFailed:
            # What went wrong in the block comes first.
            if kind is None:
                raise

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        prefix = "wss" if self.is_secure else "ws"
        for line in process.stdout:
            self._lines.append(line)
            found = _START_LINE.search(line)
            if found is not None and not self._has_come.is_set():
                self._urls.append(found[1])
                if found[1].startswith(f"{prefix}://"):
                    self._has_come.set()
        self._has_come.set()

    def _end(self, timeout: float) -> int | None:
        """End the process within a time; its status, None when it was killed."""
        process, self._process = self._process, None
        status: int | None = None
        if process is not None:
            # Of a process that has ended and that nobody else waits for: no other has its id meanwhile.
            process.terminate()
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if self._reader is not None:
                # A grandchild, which wsecho has none of, could hold the pipe open.
                self._reader.join(self._timeout)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        self._is_gone()
        return status

    def _why(self) -> str:
        """The line that says why it did not start."""
        if self._reader is not None:
            self._reader.join(self._timeout)
        lines = list(self._lines)
        for line in reversed(lines):
            if line.startswith("wsecho: "):
                return line.removeprefix("wsecho: ").strip()
        for line in lines:
            if "#critical] " in line:
                return line.partition("#critical] ")[2].strip()
        return f"the server ended before it listened:\n{self._last_lines()}"

    def _last_lines(self) -> str:
        return "".join(tuple(self._lines)[-_LINES_SHOWN:]).rstrip()
