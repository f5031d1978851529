"""The end of all connections of a factory: who is told when, and until when they are waited for.

Rules of this file: it counts connections and seconds, and knows neither bytes nor frames. What an end looks
like is the connection's affair; here is only its time.

Clients reconnect when they are told to go. Told all at once, they come back all at once, to servers that
have others to serve. So those that are open may be told one after the other, evenly, the oldest first; each
goes on working until its turn. They are told in batches, because a timer for each of 10,000 connections costs
more than it spreads.

The span is the first half of the time: the second half is what the last one told has for reading what was
queued for it, and for answering.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from wsecho.policy.lifecycle import Phase

__all__ = ["Drain", "Drainable", "Spread", "check_drain", "spread_seconds"]

_log = Logger("wsecho")

T = TypeVar("T")

#: Who is due within so many seconds is told in the same turn of the reactor.
_SECONDS_OF_A_BATCH = 0.05


def spread_seconds(timeout: float) -> float:
    """Return over how many seconds open connections are told, of `timeout` that all have together."""
    return timeout / 2


def check_drain(timeout: float | None, *, spread: bool) -> None:
    """Judge the arguments of a shutdown.

    :raises TypeError: for a timeout that is no number
    :raises ValueError: for one that is negative or not finite; and for a spread without timeout
    """
    if timeout is None:
        if spread:
            raise ValueError("spread needs a timeout: connections are told over its first half")
    elif isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds or None, not {type(timeout).__name__}")
    elif not math.isfinite(timeout) or timeout < 0:
        raise ValueError(f"timeout must be finite and not negative: {timeout}")


class Spread(Generic[T]):
    """Tells some, one after the other, evenly over a span of time.

    :param clock: source of its timer
    :param seconds: the span
    :param tell: is given each of them in turn; whoever has left meanwhile, too
    """

    __slots__ = ("_began", "_clock", "_due", "_number", "_seconds", "_tell", "_waiting")

    def __init__(self, clock: IReactorTime, seconds: float, tell: Callable[[T], object]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._tell = tell
        self._waiting: deque[T] = deque()
        self._number = 0
        self._began = 0.0
        self._due: IDelayedCall | None = None

    def begin(self, everybody: Iterable[T]) -> None:
        """Tell the first at once."""
        self._began = self._clock.seconds()
        self._waiting.extend(everybody)
        self._number = len(self._waiting)
        self._tell_next()

    def _tell_next(self) -> None:
        self._due = None
        elapsed = self._clock.seconds() - self._began
        while self._waiting:
            # Those that left meanwhile keep their place: closing up would tell the others sooner than needed.
            told = self._number - len(self._waiting)
            until_due = told * self._seconds / self._number - elapsed
            if until_due >= _SECONDS_OF_A_BATCH:
                self._due = self._clock.callLater(until_due, self._tell_next)
                return
            self._tell(self._waiting.popleft())

    @property
    def is_over(self) -> bool:
        """Whether everybody has been told."""
        return not self._waiting

    def stop(self) -> None:
        """Tell nobody any more."""
        self._waiting.clear()
        due, self._due = self._due, None
        if due is not None:
            due.cancel()


class Drainable(Protocol):
    """What a drain asks of a connection."""

    id: int
    phase: Phase

    def shut_down(self, at_least: float) -> None:
        """Begin to end; the peer has `at_least` so many seconds for its part."""

    def cut_off(self) -> None:
        """End now."""


class Drain:
    """One shutdown of a factory.

    :param clock: source of its timers
    :param timeout: seconds until what is left is dropped; 0 drops at once; with None each connection has its
        own time, and nothing else ends it
    :param spread: whether open connections are told one after the other
    :raises TypeError: see :func:`check_drain`; likewise ``ValueError``
    """

    __slots__ = ("_began", "_clock", "_deadline", "_left", "_spread", "_timeout")

    def __init__(self, clock: IReactorTime, timeout: float | None, *, spread: bool) -> None:
        check_drain(timeout, spread=spread)
        self._clock = clock
        self._timeout = timeout
        seconds = spread_seconds(timeout) if spread and timeout is not None else 0.0
        self._spread = Spread[Drainable](clock, seconds, self._tell)
        self._left: set[Drainable] = set()
        self._began = 0.0
        self._deadline: IDelayedCall | None = None

    def begin(self, connections: Iterable[Drainable]) -> None:
        """End `connections`, one at least: those that are not open at once, open ones in their turn."""
        everybody = sorted(connections, key=lambda connection: connection.id)
        self._left.update(everybody)
        self._began = self._clock.seconds()
        if self._timeout == 0:
            self._time_is_over()
            return
        if self._timeout is not None:
            self._deadline = self._clock.callLater(self._timeout, self._time_is_over)
        are_open = [one for one in everybody if one.phase is Phase.OPEN]
        for connection in everybody:
            if connection.phase is not Phase.OPEN:
                self._tell(connection)
        self._spread.begin(are_open)

    def add(self, connection: Drainable) -> None:
        """Wait for a connection, too, that came meanwhile and is being ended already."""
        self._left.add(connection)

    def ended(self, connection: Drainable) -> bool:
        """Forget a connection, and tell whether it was the last."""
        if connection not in self._left:
            return False
        self._left.discard(connection)
        if self._left:
            return False
        self._spread.stop()
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()
        return True

    def _tell(self, connection: Drainable) -> None:
        if connection not in self._left:
            return
        at_least = 0.0 if self._timeout is None else self._began + self._timeout - self._clock.seconds()
        try:
            connection.shut_down(max(at_least, 0.0))
        except Exception:
            # Of a program's subclass, perhaps. Everybody else is told all the same.
            _log.failure("{id} shutting down failed", id=connection.id)

    def _time_is_over(self) -> None:
        self._deadline = None
        self._spread.stop()
        left = sorted(self._left, key=lambda connection: connection.id)
        _log.warn("shutdown: the time is over; connections dropped: {number}", number=len(left))
        for connection in left:
            connection.cut_off()
