"""The first hour: every command of a page, pasted as written, in order, in a fresh copy of the checkout.

    python -m tests.walk README.md docs/tutorial.md

A page is walked as a reader does: in one terminal, with further ones for servers that are left running. What
a command writes is compared with what the page shows; which fences are commands, files and logs is in
`docs/_ext/commands.py`. Everything that is pasted and written goes to the standard output; the first
difference ends the walk with status 1.

As written means with the ports as written. So that they are free, the walk makes a network of its own that
has nothing but loopback, where the system allows it (`unshare`); elsewhere they have to be free. One thing is
not done again: the pages install wsecho from the network, and here `python3 -m pip install` only looks
whether the environment of this Python has what is asked for, and `.venv` is that environment.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from docs._ext.commands import MARKS, Fence, fences
from tests.checkout import CHECKOUT, copy_checkout
from tests.serving import LISTENING, TIMEOUT

__all__ = ["Terminal", "Walk", "WalkError", "is_same", "without_log"]

#: Seconds until a line is in the log of a server that runs.
LOG_TIMEOUT = TIMEOUT

#: A line of the log of a server, which is nothing that a command writes. It may come inside a command's line.
_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\S+ \[.*\n?")
_ISOLATED = "--isolated"
_AS_PYTHON = "--as-python3"


class WalkError(Exception):
    """What a page says is not what happens."""


def without_log(text: str) -> str:
    """What was written without the log of servers in the background."""
    return _LOG_LINE.sub("", text)


def is_same(shown: str, written: str) -> bool:
    """Whether a page shows what was written; an ellipsis stands for anything.

    A client's port stands for any, and so does the time of a line of the log.
    """
    pattern = re.escape(shown.strip("\n")).replace("…", ".*")
    pattern = re.sub(
        r"\d{4}(?:\\-\d\d){2}T\d\d(?::\d\d){2}", r"\\d{4}(?:-\\d\\d){2}T\\d\\d(?::\\d\\d){2}", pattern
    )
    pattern = re.sub(r"(127\\\.0\\\.0\\\.1:)[3-6]\d{4}\b", r"\g<1>\\d+", pattern)
    return re.fullmatch(pattern, written.strip("\n")) is not None


class Terminal:
    """A shell that does what is pasted into it, and what was written meanwhile."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], news: threading.Condition | None = None
    ) -> None:
        #: Told of each line; several terminals may have one.
        self._news = threading.Condition() if news is None else news
        # In the background of a shell SIGINT is ignored, and a child would inherit that;
        # a handler it does not.
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self._shell = subprocess.Popen(
                ["bash", "--norc"],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                # So that Ctrl-C reaches it and what it runs, and nobody else.
                start_new_session=True,
            )
        finally:
            signal.signal(signal.SIGINT, previous)
        self._clipboard = tempfile.TemporaryDirectory(prefix="wsecho-walk-")
        self._end = f"end of the command {os.urandom(8).hex()}"
        self._lines: list[str] = []
        self._seen = 0
        self._is_gone = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._is_gone = True
            self._news.notify_all()

    @property
    def written(self) -> str:
        """All that was written so far."""
        with self._news:
            return "".join(line for line in self._lines if self._end not in line)

    def listens(self, times: int = 1) -> bool:
        """Wait until servers said so as often, or what was pasted has ended; tell whether they did."""

        def listening() -> int:
            return sum(LISTENING.search(line) is not None for line in self._lines)

        def is_clear() -> bool:
            return listening() >= times or any(self._end in line for line in self._lines[self._seen :])

        with self._news:
            self._news.wait_for(is_clear, TIMEOUT)
            return listening() >= times

    def type(self, text: str) -> None:
        """Paste text, and do not wait for what it does."""
        assert self._shell.stdin is not None
        # In a file of its own, so that no command reads the commands after it from the standard input.
        pasted = Path(self._clipboard.name, "pasted.sh")
        pasted.write_text(text, encoding="utf-8")
        self._shell.stdin.write(f". {shlex.quote(str(pasted))} </dev/null; echo {self._end} $?\n")
        self._shell.stdin.flush()

    def result(self) -> tuple[int, str]:
        """Wait until what was pasted has ended; its exit status, and what was written since the last time.

        Raises:
            WalkError: it does not end.
        """
        with self._news:
            begin = self._seen
            marks: list[int] = []

            def is_over() -> bool:
                marks[:] = [
                    place for place, line in enumerate(self._lines[begin:], begin) if self._end in line
                ]
                return bool(marks) or self._is_gone

            if not self._news.wait_for(is_over, TIMEOUT) or not marks:
                raise WalkError(f"it did not end within {TIMEOUT} seconds:\n{''.join(self._lines[begin:])}")
            self._seen = marks[0] + 1
            # What was written may lack the end of its last line.
            rest, _, status = self._lines[marks[0]].partition(self._end)
            return int(status), "".join([*self._lines[begin : marks[0]], rest])

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.killpg(self._shell.pid, signal.SIGINT)

    def close(self) -> None:
        """Close the window: nothing of it is left."""
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait(TIMEOUT)
        self._clipboard.cleanup()
        for stream in (self._shell.stdin, self._shell.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()


class Walk:
    """The way through one page, in a folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str], say: Callable[[str], object]) -> None:
        self._folder = folder
        self._environment = environment
        self._say = say
        self._news = threading.Condition()
        self._terminals: list[Terminal] = []
        self._serving: list[Terminal] = []
        self._main = self._open()

    def _open(self) -> Terminal:
        terminal = Terminal(self._folder, self._environment, self._news)
        self._terminals.append(terminal)
        return terminal

    def step(self, fence: Fence) -> None:
        """Do what a fence says.

        Raises:
            WalkError: what happens is not what the page shows.
        """
        if fence.mark == "file":
            (self._folder / fence.argument).write_text(fence.text, encoding="utf-8")
        elif fence.mark == "log":
            self._log(fence.text)
        elif fence.mark == "stop":
            self._stop()
        elif fence.language == "shell":
            self._command(fence)
        elif fence.language == "text":
            raise WalkError("is this an output, a log or a file?")

    def _command(self, fence: Fence) -> None:
        if fence.mark not in MARKS:
            raise WalkError(f"unknown mark {fence.mark!r}")
        if fence.mark in ("curl", "watch", "test", "not run"):
            return
        if fence.beyond is not None:
            raise WalkError(f"this reaches beyond the folder ({fence.beyond}); say <!-- not run: REASON -->")
        self._say(f"$ {fence.text}")
        if fence.mark == "serve":
            self._serve(fence)
            return
        listening = len(LISTENING.findall(self._main.written))
        self._main.type(fence.text)
        status, written = self._main.result()
        self._say(written)
        # On a busy machine the page's two seconds may be too few.
        if "& sleep" in fence.text and not self._main.listens(listening + 1):
            raise WalkError("the server in the background does not listen")
        wanted = int(fence.argument or 0)
        if status != wanted:
            raise WalkError(f"exit status {status}, not {wanted}")
        if fence.output is not None and not is_same(fence.output, without_log(written)):
            raise WalkError(f"the page shows another output:\n{fence.output}")

    def _serve(self, fence: Fence) -> None:
        terminal = self._open()
        terminal.type(fence.text)
        if not terminal.listens():
            raise WalkError(f"it does not listen:\n{terminal.written}")
        self._say(terminal.written)
        self._serving.append(terminal)
        if fence.output is not None:
            self._log(fence.output)

    def _log(self, text: str) -> None:
        for line in text.splitlines():
            if "[::1]" in line and not has_ipv6():
                self._say(f"(there is no IPv6 here, so this was not looked for: {line})\n")
                continue

            def is_there(line: str = line) -> bool:
                return any(is_same(f"…{line}…", one) for one in self._written().splitlines())

            with self._news:
                if not self._news.wait_for(is_there, LOG_TIMEOUT):
                    raise WalkError(f"no server has logged {line!r}, but\n{self._written()}")

    def _written(self) -> str:
        return "".join(terminal.written for terminal in self._terminals)

    def _stop(self) -> None:
        terminal = self._serving.pop()
        self._say("(Ctrl-C)\n")
        terminal.interrupt()
        status, _ = terminal.result()
        if status != 0:
            raise WalkError(f"the server ended with status {status}:\n{terminal.written}")

    def end(self) -> None:
        """Stop every server that still runs."""
        while self._serving:
            self._stop()

    def close(self) -> None:
        """Close all terminals."""
        for terminal in self._terminals:
            terminal.close()


@contextmanager
def fresh_folder() -> Iterator[tuple[Path, dict[str, str]]]:
    """A copy of the checkout to walk in, and the environment for its terminals."""
    with tempfile.TemporaryDirectory(prefix="wsecho-walk-") as outer:
        folder = copy_checkout(Path(outer) / "wsecho")
        programs = Path(outer) / "bin"
        programs.mkdir()
        stand_in = programs / "python3"
        command = f"{shlex.quote(sys.executable)} -m tests.walk {_AS_PYTHON}"
        stand_in.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(CHECKOUT))} exec {command} "$@"\n')
        stand_in.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
        path = os.pathsep.join([str(programs), str(folder / ".venv" / "bin"), os.environ["PATH"]])
        yield folder, kept | {"PATH": path, "TERM": "dumb"}


def walk(pages: Sequence[str], say: Callable[[str], object]) -> None:
    """Walk through pages, one after the other, in one folder; recipes need that wsecho is installed.

    Raises:
        WalkError: with the place.
    """
    with fresh_folder() as (folder, environment), ExitStack() as stack:
        if not pages[0].startswith("README"):
            as_python(["-m", "venv", str(folder / ".venv")])
        for page in pages:
            say(f"===== {page}\n")
            way = Walk(folder, environment, say)
            stack.callback(way.close)
            for fence in fences((CHECKOUT / page).read_text(encoding="utf-8"), page):
                try:
                    way.step(fence)
                except WalkError as error:
                    raise WalkError(f"{fence}: {error}") from None
            way.end()


def as_python(arguments: Sequence[str]) -> None:
    """Stand for `python3`: what would install looks whether it is there, and a new environment is this one.

    Raises:
        importlib.metadata.PackageNotFoundError: what is to be installed is not there.
    """
    if [*arguments[:2]] == ["-m", "venv"]:
        folder = Path(arguments[-1])
        if not folder.exists():
            folder.symlink_to(sys.prefix)
    elif [*arguments[:2]] == ["-m", "pip"]:
        for wanted in arguments[arguments.index("install") + 1 :]:
            if not wanted.startswith("-"):
                _assert_installed(wanted)
    else:
        os.execv(sys.executable, [sys.executable, *arguments])


def _assert_installed(wanted: str) -> None:
    name, _, extras = wanted.rstrip("]").partition("[")
    distribution = importlib.metadata.distribution("wsecho" if name == "." else name)
    known = distribution.metadata.get_all("Provides-Extra") or []
    for extra in filter(None, extras.split(",")):
        if extra not in known:
            raise importlib.metadata.PackageNotFoundError(wanted)
        for requirement in distribution.requires or []:
            package, _, marker = requirement.partition(";")
            if re.search(rf"extra == ['\"]{extra}['\"]", marker):
                importlib.metadata.distribution(re.split(r"[\[<>=~! ]", package)[0])


def raise_loopback() -> None:
    """Switch on the one interface of a new network."""
    up_and_running = 0x41
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", up_and_running))  # SIOCSIFFLAGS


def has_ipv6() -> bool:
    """Whether this machine has ::1."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as any_socket:
            any_socket.bind(("::1", 0))
    except OSError:
        return False
    return True


def isolation() -> list[str]:
    """The command that runs another in a network of its own; empty where that is not allowed."""
    command = ["unshare", "--user", "--map-root-user", "--net"]
    with suppress(OSError):
        if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return command
    return []


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """The command; its exit status."""
    if [*arguments[:1]] == [_AS_PYTHON]:
        as_python(arguments[1:])
        return 0
    parser = ArgumentParser("python -m tests.walk", description="Walk through pages as a reader does.")
    parser.add_argument("pages", nargs="+", metavar="PAGE", help="from the top of the checkout")
    parser.add_argument(_ISOLATED, action="store_true", help="the network is the walk's own")
    chosen = parser.parse_args(arguments)
    if chosen.isolated:
        raise_loopback()
    elif around := isolation():
        os.execvp(around[0], [*around, sys.executable, "-m", "tests.walk", _ISOLATED, *chosen.pages])
    try:
        walk(chosen.pages, _write)
    except WalkError as error:
        _write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
