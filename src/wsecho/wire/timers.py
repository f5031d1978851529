"""One timer of the reactor for all connections that wait equally long.

Each connection waits for its opening handshake, then for its next ping, then for the pong: the same few
delays for all of them. What is to happen after equal delays happens in the order in which it was asked for,
so a queue for each delay is enough, and the reactor knows only the first of it. A timer of the reactor's own
costs five times as much to make and to cancel, and three times the memory while it waits.

Rules of this file: it knows no connections. It is in the place of Autobahn's ``_batched_timer``, which counts
on the global reactor and rounds to 200 ms; this one rounds nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["SharedTimer"]

_log = Logger("wsecho")

# Seconds. The difference of two times is not exact; a call that is due by then is not worth waiting for.
_ROUNDING = 1e-6
# Cancelled calls that a queue keeps before it looks whether they are most of it.
_FEW = 64


class _Call:
    """A call that can be cancelled at any time, also after it was made: Autobahn does both."""

    __slots__ = ("_queue", "due", "function")

    def __init__(self, queue: _Queue, due: float, function: Callable[[], object]) -> None:
        self._queue = queue
        self.due = due
        self.function: Callable[[], object] | None = function

    def cancel(self) -> None:
        if self.function is not None:
            self.function = None
            self._queue.one_was_cancelled()


class _Queue:
    """Calls after one delay, the first due first."""

    __slots__ = ("_calls", "_cancelled", "_clock", "_delay", "_is_calling", "_timer")

    def __init__(self, clock: IReactorTime, delay: float) -> None:
        self._clock = clock
        self._delay = delay
        self._calls: deque[_Call] = deque()
        self._cancelled = 0
        self._timer: IDelayedCall | None = None
        self._is_calling = False

    def add(self, function: Callable[[], object]) -> _Call:
        call = _Call(self, self._clock.seconds() + self._delay, function)
        self._calls.append(call)
        if self._timer is None and not self._is_calling:
            self._timer = self._clock.callLater(self._delay, self._is_due)
        return call

    def one_was_cancelled(self) -> None:
        self._cancelled += 1
        if self._cancelled == len(self._calls):
            self._calls.clear()
            self._cancelled = 0
            timer, self._timer = self._timer, None
            if timer is not None:
                timer.cancel()
        elif self._cancelled > _FEW and self._cancelled * 2 > len(self._calls):
            self._calls = deque(call for call in self._calls if call.function is not None)
            self._cancelled = 0

    def _is_due(self) -> None:
        self._timer = None
        self._is_calling = True
        now = self._clock.seconds()
        # Not those that the calls ask for: after no time at all, there would be no end to them.
        for _ in range(len(self._calls)):
            # Any call may cancel others, and so make this another deque.
            if not self._calls or (
                self._calls[0].function is not None and self._calls[0].due > now + _ROUNDING
            ):
                break
            call = self._calls.popleft()
            function, call.function = call.function, None
            if function is None:
                self._cancelled -= 1
                continue
            try:
                function()
            except Exception:
                _log.failure("what was to happen after {delay} seconds failed", delay=self._delay)
        self._is_calling = False
        if self._calls:
            wait = max(0.0, self._calls[0].due - now - _ROUNDING)
            self._timer = self._clock.callLater(wait, self._is_due)


class SharedTimer:
    """Makes calls later.

    :param clock: the reactor
    """

    __slots__ = ("_clock", "_queues")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # As many as there are settings of time: a handful.
        self._queues: dict[float, _Queue] = {}

    def call_later(self, delay: float, function: Callable[..., object], *args: Any, **kwargs: Any) -> _Call:
        """Like ``IReactorTime.callLater``; ``delay`` in seconds."""
        queue = self._queues.get(delay)
        if queue is None:
            queue = self._queues[delay] = _Queue(self._clock, delay)
        return queue.add(partial(function, *args, **kwargs) if args or kwargs else function)
