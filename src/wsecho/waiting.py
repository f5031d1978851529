"""Deferreds that many wait for, and failures that are told in two ways.

Rules of this file: who waits can be cancelled at any time, and takes nobody with it. It knows no connection.
"""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Bell", "told_by_signal"]

T = TypeVar("T")


class Bell:
    """Wakes those who wait for something that happens again and again."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def wait(self) -> Deferred[None]:
        """Fires at the next :meth:`ring`."""
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiter)
        return waiter

    def _forget(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def ring(self) -> None:
        """Wake those who wait; who waits again because of it waits for the next time."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            # One that is woken may cancel another.
            if not waiter.called:
                waiter.callback(None)


def told_by_signal(reactor: Any, failed: Deferred[T], instead: T) -> None:
    """A signal with slots has told of this failure already: unless somebody asks the Deferred as well, within
    the reactor's turn, it counts as handled, and its result is ``instead``.

    Without this, programs that go by signals, as in Qt, would find "Unhandled error in Deferred" in the log.
    """

    def handle() -> None:
        if isinstance(getattr(failed, "result", None), Failure):
            failed.addErrback(lambda _: instead)

    reactor.callLater(0, handle)
