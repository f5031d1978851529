"""Several judgements at a time, and an end to all that they have started when the run ends early.

Each judgement is a thread that waits for processes; only the main thread hears signals. So it ends the
processes, and the threads, whose waiting is over, clean up as they always do.
"""

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO, TypeVar

__all__ = ["Children", "RunIsOver", "side_by_side"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class RunIsOver(Exception):
    """Nothing is started any more."""


class Children:
    """Starts processes until the run is over; may be shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started: list[subprocess.Popen[bytes]] = []
        self.is_over = False
        """Whether nothing is started any more."""

    def start(
        self, command: Sequence[str], folder: Path, environ: Mapping[str, str] | None, output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start *command* in *folder*, in a session of its own, without input.

        :param environ: its environment; None for that of the judge.
        :raises OSError: there is no such command.
        :raises RunIsOver: it is too late.
        """
        with self._lock:
            if self.is_over:
                raise RunIsOver
            child = subprocess.Popen(
                command,
                cwd=folder,
                env=None if environ is None else dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._started.append(child)
        return child

    def end(self) -> None:
        """Kill all that runs, and start nothing any more."""
        with self._lock:
            self.is_over = True
        for child in self._started:
            # Does nothing to one that has ended.
            child.kill()


def side_by_side(
    do: Callable[[_Item], _Result], items: Sequence[_Item], number: int, children: Children
) -> list[_Result]:
    """Do *number* of *items* at a time; return their results, in the order of *items*.

    The first exception of one of them, or in the main thread, ends the others by their *children*.
    """
    with ThreadPoolExecutor(number) as pool:
        futures = [pool.submit(do, item) for item in items]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            children.end()
            raise
    return [future.result() for future in futures]
