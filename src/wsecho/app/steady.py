"""A reactor's clock that nobody can set.

Rules of this file: Twisted's timers go by the time of day. When somebody sets it back by an hour, every ping,
timeout and heartbeat waits for an hour, and when somebody sets it ahead, all are due at once. So the clock of
the reactor becomes the time of day as it was at the start, plus what has passed since, which the system's
monotonic clock knows. What is logged goes on telling the time of day.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.base import ReactorBase

__all__ = ["make_steady"]


def make_steady(
    reactor: Any,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Give a reactor that keeps its own timers a clock that cannot be set; leave any other as it is.

    asyncio's loop, for one, has timers of its own, which go by the monotonic clock already.
    """
    is_own = getattr(type(reactor), "callLater", None) is ReactorBase.callLater
    if is_own and "seconds" not in vars(reactor):
        begin = wall() - monotonic()
        reactor.seconds = lambda: begin + monotonic()
