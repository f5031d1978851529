"""One answer for all who ask the same of a channel at the same time.

Rules of this file: of each channel one question is on its way, and the next leaves a moment after its answer
came. Who asks meanwhile waits for the next question, and shares that answer: the one that is on its way may
be older than what they have seen. So when a thousand clients come back at once, Redis is asked for each
channel, and not for each client. What is asked, and of whom, is the asker's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred

from wsecho.hub.engine import EngineAway

__all__ = ["SharedAnswers"]

#: From an answer to the next question. Clients that come back after an outage do not come in one moment.
_SECONDS_BETWEEN = 0.05

Wish = TypeVar("Wish")
Answer = TypeVar("Answer")


class SharedAnswers(Generic[Wish, Answer]):
    """Questions about channels.

    :param put: puts one question about a channel for all who take part, given what each of them wishes
    :param clock: an ``IReactorTime``
    :param gathers: whether the first question about a channel waits for the next turn, so that all who ask in
        this one take part in it; else the first who asks has an answer alone
    """

    def __init__(
        self, put: Callable[[str, list[Wish]], Deferred[Answer]], clock: Any, *, gathers: bool
    ) -> None:
        self._put = put
        self._clock = clock
        self._gathers = gathers
        # Of each channel that was asked about lately, those who take part in the next question.
        self._waiting: dict[str, list[tuple[Wish, Deferred[Answer]]]] = {}
        self._timers: set[Any] = set()

    def ask(self, channel: str, wish: Wish) -> Deferred[Answer]:
        """Take part in the next question about a channel."""
        deferred: Deferred[Answer] = Deferred()
        waiting = self._waiting.get(channel)
        if waiting is not None:
            waiting.append((wish, deferred))
            return deferred
        self._waiting[channel] = [(wish, deferred)]
        if self._gathers:
            self._later(0, channel)
        else:
            self._begin(channel)
        return deferred

    def stop(self) -> None:
        """Fail all who wait for a question that was not put."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        all_waiting, self._waiting = self._waiting, {}
        for waiting in all_waiting.values():
            for _, deferred in waiting:
                deferred.errback(EngineAway("the engine has stopped"))

    def _later(self, delay: float, channel: str) -> None:
        def due() -> None:
            self._timers.discard(timer)
            self._begin(channel)

        timer: Any = self._clock.callLater(delay, due)
        self._timers.add(timer)

    def _begin(self, channel: str) -> None:
        taken = self._waiting[channel]
        if not taken:
            # Nobody came in the meantime: the next who does need not wait.
            del self._waiting[channel]
            return
        self._waiting[channel] = []
        self._put(channel, [wish for wish, _ in taken]).addBoth(self._ended, channel, taken)

    def _ended(self, result: Any, channel: str, taken: list[tuple[Wish, Deferred[Answer]]]) -> None:
        if channel in self._waiting:
            self._later(_SECONDS_BETWEEN, channel)
        for _, deferred in taken:
            # One that was cancelled bears it, once.
            deferred.callback(result)
