"""What is retained of a channel, read once for all who ask at the same time.

Rules of this file: one reading has what each of those who ask lacks, and no hole; what that is for each is
cut from it. When it is read stands in `wsecho.engines.shared_answers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred

from wsecho.engines.redis_store import RedisStore
from wsecho.engines.shared_answers import SharedAnswers
from wsecho.hub.engine import Entry, History, Position

__all__ = ["Histories"]

#: Entries, and the newest position, which is None where nothing is kept.
_Reading: TypeAlias = tuple[list[Entry], Position | None]


class Histories:
    """Reads histories.

    :param clock: an ``IReactorTime``
    """

    def __init__(self, store: RedisStore, clock: Any) -> None:
        self._store = store
        # All of a turn share one reading.
        self._shared: SharedAnswers[Position | None, _Reading] = SharedAnswers(
            lambda channel, sinces: Deferred.fromCoroutine(self._read(channel, sinces)), clock, gathers=True
        )
        self.readings = 0
        """How often a channel was read."""

    def read(self, channel: str, since: Position | None) -> Deferred[History]:
        """What is retained after a position; see `IEngine`."""
        return self._shared.ask(channel, since).addCallback(_slice, since)

    def stop(self) -> None:
        """Fail all who wait."""
        self._shared.stop()

    async def _read(self, channel: str, sinces: list[Position | None]) -> _Reading:
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


def _slice(reading: _Reading, since: Position | None) -> History:
    entries, newest = reading
    if newest is None:
        return History([], None, since is None)
    if since is None:
        return History(entries, newest, True)
    if since.epoch != newest.epoch or since.offset > newest.offset:
        return History(entries, newest, False)
    first = newest.offset - len(entries) + 1
    return History(entries[max(0, since.offset + 1 - first) :], newest, since.offset + 1 >= first)
