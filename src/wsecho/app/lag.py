"""How late the reactor is: a timer of one second, and how much later it came.

Rules of this file: it knows a clock, nothing else. Whatever keeps the reactor from its timers keeps it from
everybody's bytes, too.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from wsecho.policy.facts import LagFacts

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["LagMeter"]

INTERVAL: Final = 1.0
_KEPT: Final = 60


class LagMeter:
    """Measures, from `start` to `stop`.

    :param clock: of the timer
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._due = 0.0
        self._count = 0
        self._sum = 0.0
        self._latest: deque[float] = deque(maxlen=_KEPT)

    def start(self) -> None:
        """Begin to measure."""
        self._due = self._clock.seconds() + INTERVAL
        self._call = self._clock.callLater(INTERVAL, self._measure)

    def stop(self) -> None:
        """Measure no more; harmless when it does not."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _measure(self) -> None:
        late = max(0.0, self._clock.seconds() - self._due)
        self._count += 1
        self._sum += late
        self._latest.append(late)
        self.start()

    @property
    def facts(self) -> LagFacts:
        """What was measured."""
        return LagFacts(self._count, self._sum, max(self._latest, default=0.0))
