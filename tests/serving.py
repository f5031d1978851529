"""A server as a process of its own, for tests that look at it from outside, as its users do."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import wsecho
from tests.checkout import CHECKOUT

#: Seconds until a process that says nothing, or does not end, is taken for broken.
TIMEOUT = 60

#: What programs that start wsecho search its output for.
LISTENING = re.compile(r"listening on (wss?(?:\+unix)?:\S+)")


@contextmanager
def serving(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    listeners: int = 1,
    start_line: re.Pattern[str] = LISTENING,
    seconds: float = TIMEOUT,
) -> Iterator[list[str]]:
    """Run `command`, give the URLs of its start lines, and stop it with SIGTERM.

    Args:
        listeners: how many start lines are waited for.
        start_line: how one looks, with the URL as its group.
        seconds: after which it is killed.

    Raises:
        AssertionError: it ended before it listened, or did not end with status 0; with what it wrote.
    """
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        assert server.stdout is not None
        # Reading has no timeout of its own: a killed process ends it.
        watchdog = threading.Timer(seconds, server.kill)
        # A daemon: at the end of the process, clean-ups come after the other threads.
        watchdog.daemon = True
        watchdog.start()
        written: list[str] = []
        urls: list[str] = []
        try:
            while len(urls) < listeners:
                line = server.stdout.readline()
                if not line:
                    raise AssertionError(f"no start line from {command}:\n{''.join(written)}")
                written.append(line)
                urls += start_line.findall(line)
            # A server whose log nobody reads stands still when the pipe is full.
            reader = threading.Thread(target=written.extend, args=[server.stdout], daemon=True)
            reader.start()
            yield urls
            server.send_signal(signal.SIGTERM)
            status = server.wait(TIMEOUT)
            reader.join(TIMEOUT)
            if status != 0:
                raise AssertionError(f"{command} ended with {status}:\n{''.join(written)}")
        finally:
            watchdog.cancel()
            server.kill()


def run_python(*arguments: str, cwd: Path | None = None) -> str:
    """Run this Python with `arguments` and return what it writes; AssertionError with it when that fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=python_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"python {arguments} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def python_environment() -> dict[str, str]:
    """The environment for a Python in another folder that is to use the wsecho that these tests import.

    The checkout comes second, for its plugin: twistd must find one even where nothing is installed.
    """
    source = Path(wsecho.__file__).resolve().parent.parent
    return dict(os.environ, PYTHONPATH=f"{source}{os.pathsep}{CHECKOUT}", PYTHONUNBUFFERED="1")
