"""What is retained of a channel, read once for all who ask at the same time.

Rules of this file: a channel is read by one at a time, and not again at once. Who asks meanwhile waits for
the next reading, and shares it: when a thousand clients come back at once, Redis is asked for each channel,
and not for each client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from wsecho.engines.redis_store import RedisStore
from wsecho.hub.engine import EngineAway, Entry, History, Position

__all__ = ["Histories"]

#: Between two readings of a channel. Clients that come back after an outage do not come in one moment.
_SECONDS_BETWEEN = 0.05


class Histories:
    """Reads histories.

    :param clock: an ``IReactorTime``
    """

    def __init__(self, store: RedisStore, clock: Any) -> None:
        self._store = store
        self._clock = clock
        self._asked: dict[str, list[tuple[Position | None, Deferred[History]]]] = {}
        self._timers: set[Any] = set()
        self.readings = 0
        """How often a channel was read."""

    def read(self, channel: str, since: Position | None) -> Deferred[History]:
        """What is retained after a position; see `IEngine`."""
        deferred: Deferred[History] = Deferred()
        asked = self._asked.get(channel)
        if asked is not None:
            asked.append((since, deferred))
            return deferred
        self._asked[channel] = [(since, deferred)]
        # All of this turn share one reading.
        self._later(0, channel)
        return deferred

    def _later(self, delay: float, channel: str) -> None:
        def due() -> None:
            self._timers.discard(timer)
            self._begin(channel)

        timer: Any = self._clock.callLater(delay, due)
        self._timers.add(timer)

    def stop(self) -> None:
        """Fail all who wait."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        waiting, self._asked = self._asked, {}
        for asked in waiting.values():
            for _, deferred in asked:
                _fire(deferred, None, EngineAway("the engine has stopped"))

    def _begin(self, channel: str) -> None:
        asked = self._asked[channel]
        if not asked:
            # Nobody came in the meantime: the next who does is served at once.
            del self._asked[channel]
            return
        taken = asked[:]
        asked.clear()
        reading = Deferred.fromCoroutine(self._read(channel, [since for since, _ in taken]))
        reading.addBoth(self._ended, channel, taken)

    def _ended(
        self, result: Any, channel: str, taken: list[tuple[Position | None, Deferred[History]]]
    ) -> None:
        if channel in self._asked:
            self._later(_SECONDS_BETWEEN, channel)
        for since, deferred in taken:
            if isinstance(result, tuple):
                entries, newest = result
                _fire(deferred, _slice(entries, newest, since), None)
            else:
                _fire(deferred, None, result)

    async def _read(self, channel: str, sinces: list[Position | None]) -> tuple[list[Entry], Position | None]:
        if not self._store.keeps(channel):
            return [], None
        self.readings += 1
        epochs = {None if since is None else since.epoch for since in sinces}
        after: Position | None = None
        if len(epochs) == 1 and None not in epochs:
            # The one who has seen least decides.
            after = min((since for since in sinces if since), key=lambda since: since.offset)
        is_partial = after is not None
        entries: list[Entry] = []
        while True:
            page = await self._store.page(channel, after, goes_on=False)
            if entries and page.position.epoch != _position(entries[-1]).epoch:
                entries.clear()
            entries += page.entries
            if not page.is_last:
                after = Position(page.position.epoch, page.reached)
                continue
            newest = page.position
            if is_partial and any(since and since.offset > newest.offset for since in sinces):
                # Who is ahead of Redis gets all there is.
                is_partial, after = False, None
                entries.clear()
                continue
            return _without_hole(entries, newest), newest


def _position(entry: Entry) -> Position:
    assert entry.position is not None
    return entry.position


def _without_hole(entries: Sequence[Entry], newest: Position) -> list[Entry]:
    """Those at the end that follow each other up to the newest."""
    expected = newest.offset
    begin = len(entries)
    while begin and _position(entries[begin - 1]).offset == expected:
        begin -= 1
        expected -= 1
    return list(entries[begin:])


def _slice(entries: list[Entry], newest: Position | None, since: Position | None) -> History:
    if newest is None:
        return History([], None, since is None)
    if since is None:
        return History(entries, newest, True)
    if since.epoch != newest.epoch or since.offset > newest.offset:
        return History(entries, newest, False)
    first = newest.offset - len(entries) + 1
    return History(entries[max(0, since.offset + 1 - first) :], newest, since.offset + 1 >= first)


def _fire(deferred: Deferred[History], history: History | None, error: Any) -> None:
    # One that gave up waiting has been called already.
    if deferred.called:
        return
    if history is not None:
        deferred.callback(history)
    else:
        deferred.errback(error)
