"""What runs in the process of a `wsecho.testing.Server`: wsecho, until the process that started it is gone.

A test run that is killed stops nothing any more. The pipe that it held is closed all the same, by the system,
and that is told here.
"""

from __future__ import annotations

import os
import signal
import sys
from threading import Thread

from wsecho.app import commands

__all__ = ["main"]


def _watch(descriptor: int) -> None:
    # Not sys.stdin: a thread that is inside its lock when Python ends makes Python fail.
    while os.read(descriptor, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Serve until SIGTERM, or until nobody holds the other end of standard input."""
    Thread(target=_watch, args=(0,), daemon=True).start()
    return commands.main(["serve", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
