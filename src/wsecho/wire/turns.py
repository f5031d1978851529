"""Turns: whose input is worked on next, and for how long, so that no peer keeps the others waiting.

Rules of this file: it knows those who have work left, and the clock; not what the work is.

Everybody may work ``SLICE_SECONDS``, or ``SLICE_UNITS`` units of work, on what was just read. What is left
waits here: those with work left go one after the other, a slice each, but all of them together at most
``TURN_SECONDS`` in a turn of the reactor, which then looks for whoever else has something to say. They are
not read meanwhile, so what waits is one read for each. However many peers send without end, the delay of
another is a turn: this time, and one slice of each that was read anew in it.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["SLICE_SECONDS", "SLICE_UNITS", "TURN_SECONDS", "Turns", "Worker"]

_log = Logger("wsecho")

SLICE_SECONDS = 0.002
"""A slice of work, for one connection. Reading the clock for each unit is cheap against any unit."""

SLICE_UNITS = 512
"""Units of work, frames, in a slice: an end that does not depend on the clock."""

TURN_SECONDS = 0.010
"""All work that was left over, in one turn of the reactor."""


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

    def __len__(self) -> int:
        return len(self._waiting)

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
        until = seconds() + TURN_SECONDS
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
