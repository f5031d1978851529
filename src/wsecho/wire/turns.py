"""Turns: whose input is worked on next, and for how long, so that no peer keeps the others waiting.

Rules of this file: it knows those who have work left, and the clock; not what the work is.

Everybody may work ``SLICE_SECONDS``, or ``SLICE_UNITS`` units of work, on what was just read. What is left
waits here: those with work left go one after the other, a slice each, but all of them together at most
``TURN_SECONDS`` in a turn of the reactor, which then looks for whoever else has something to say. They are
not read meanwhile, so what waits is one read for each. However many peers send without end, the delay of
another is a turn: this time, and as much for those that were read anew in it; when that is used up, large
reads wait here at once, and only little ones, which cannot be much work, are still worked on.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["ONE_GO_SECONDS", "SLICE_SECONDS", "SLICE_UNITS", "TURN_SECONDS", "Turns", "Worker"]

_log = Logger("wsecho")

SLICE_SECONDS = 0.002
"""A slice of work, for one connection. Reading the clock for each unit is cheap against any unit."""

SLICE_UNITS = 512
"""Units of work, frames, in a slice: an end that does not depend on the clock."""

TURN_SECONDS = 0.010
"""All work that was left over, in one turn of the reactor; and all that was read in one, but for little
reads."""

ONE_GO_SECONDS = 0.001
"""Work that is not further apart than this may be in one call, or one turn, of the reactor: TLS delivers each
record of a read by itself, and hundreds may have sent in the same moment."""


class Worker(Protocol):
    """Somebody with work left."""

    def work(self) -> bool:
        """Work for a slice.

        :returns: whether there is more that can be done now
        """


class Turns:
    """Those who have work left.

    :param clock: the reactor
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # A dict for its order, and because one that ends must be found at once among thousands.
        self._waiting: dict[Worker, None] = {}
        self._call: IDelayedCall | None = None
        self._busy_since = self._busy_until = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def worked(self, begun: float, ended: float) -> None:
        """Somebody has worked, from ``begun`` to ``ended`` on the clock."""
        if begun - self._busy_until > ONE_GO_SECONDS:
            self._busy_since = begun
        self._busy_until = ended

    def is_used_up(self, now: float) -> bool:
        """Whether as much was worked as a turn has, without a pause: what can wait should. That the reactor
        has turned meanwhile is known only when somebody has waited for it: who does so in vain pays little,
        and for all that come next."""
        return now - self._busy_until <= ONE_GO_SECONDS and now - self._busy_since > TURN_SECONDS

    def add(self, worker: Worker) -> None:
        """Let ``worker`` have its slice in a later turn. Harmless when it waits for one already."""
        self._waiting[worker] = None
        if self._call is None:
            self._call = self._clock.callLater(0, self._turn)

    def remove(self, worker: Worker) -> None:
        """``worker`` has ended. Harmless when it does not wait."""
        if worker in self._waiting:
            del self._waiting[worker]
            if not self._waiting and self._call is not None and self._call.active():
                self._call.cancel()
                self._call = None

    def _turn(self) -> None:
        seconds = self._clock.seconds
        self._busy_since = seconds()
        until = self._busy_since + TURN_SECONDS
        # Those who come back meanwhile have had their slice of this turn.
        for _ in range(len(self._waiting)):
            worker = next(iter(self._waiting), None)
            if worker is None:
                break
            del self._waiting[worker]
            try:
                has_more = worker.work()
            except Exception:
                # A defect of ours must not keep the others waiting for ever.
                _log.failure("{worker!r} could not work", worker=worker)
            else:
                if has_more:
                    self._waiting[worker] = None
            if seconds() >= until:
                break
        # Last: one that adds another during this turn finds it under way.
        self._call = self._clock.callLater(0, self._turn) if self._waiting else None
