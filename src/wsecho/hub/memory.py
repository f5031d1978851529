"""The memory engine: one process that keeps what was said, within bounds.

Rules of this file: everything happens within the call. What is kept is bounded four times over: by the
channel's own `Retention` (messages and seconds), by bytes over all channels, and by channels, because anybody
may make up names. Whatever is given up early is what is oldest, and is told: a `History` that lacks it is not
whole, and a channel that was forgotten begins with another epoch. The clock is an argument, and so is what
makes epochs; a timer runs only while something is kept that has an age.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from wsecho.hub.engine import (
    EngineState,
    Entry,
    History,
    IEngine,
    IEngineListener,
    Position,
    Publication,
    Retention,
    Retentions,
)

__all__ = ["MOST_CHANNELS", "MOST_HISTORY_BYTES", "OVERHEAD", "MemoryEngine", "new_epoch"]

MOST_CHANNELS = 10_000
"""Channels of which history or numbering is kept. Beyond it the one is forgotten on which nothing was
published or asked for longest."""

MOST_HISTORY_BYTES = 256 * 1024**2
"""Bytes of history over all channels. Beyond it what was stored first goes first."""

OVERHEAD = 600
"""Bytes that an entry counts as beside its payload: what Python needs to keep one, its id and its place."""

_SHORTEST_SWEEP, _LONGEST_SWEEP = 0.25, 60.0


def new_epoch() -> str:
    """A name that no epoch had before."""
    return secrets.token_urlsafe(12)


class _Kept:
    """One entry, and when it was stored."""

    __slots__ = ("at", "cost", "entry")

    def __init__(self, entry: Entry, at: float, cost: int) -> None:
        self.entry = entry
        self.at = at
        self.cost = cost


class _Channel:
    __slots__ = ("epoch", "ids", "kept", "newest", "retention")

    def __init__(self, epoch: str, retention: Retention) -> None:
        self.epoch = epoch
        self.retention = retention
        self.newest = 0
        self.kept: deque[_Kept] = deque()
        self.ids: dict[str, int] = {}

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.newest)


@implementer(IEngine)
class MemoryEngine:
    """Carries publications within one process.

    :param retention: what each channel keeps; nothing when None
    :param clock: an ``IReactorTime``; needed where a channel bounds its history by age
    :param make_epoch: a name that was never used before
    :param most_channels: see `MOST_CHANNELS`
    :param most_bytes: see `MOST_HISTORY_BYTES`
    """

    name = "memory"
    state = EngineState.UP
    is_shared = False
    counts: Mapping[str, int] = {}

    def __init__(
        self,
        retention: Retentions | None = None,
        clock: Any = None,
        *,
        make_epoch: Callable[[], str] = new_epoch,
        most_channels: int = MOST_CHANNELS,
        most_bytes: int = MOST_HISTORY_BYTES,
    ) -> None:
        self._retentions = _nothing if retention is None else retention
        self._clock = clock
        self._make_epoch = make_epoch
        self._most_channels = most_channels
        self._most_bytes = most_bytes
        self._listener: Any = None
        # In the order in which they were used last.
        self._channels: OrderedDict[str, _Channel] = OrderedDict()
        self._present: dict[str, set[str]] = {}
        # Every entry in the order of storing, as channel and offset; some of them gone by their channel's own
        # bounds.
        self._order: deque[tuple[_Channel, int]] = deque()
        self._entries = 0
        self._sweeping: Any = None
        self._sweep_seconds = _LONGEST_SWEEP
        self.history_bytes = 0
        """What all histories count as now."""

    def retention(self, channel: str) -> Retention:
        """See `IEngine`."""
        return self._retentions(channel)

    def start(self, listener: object) -> Deferred[None]:
        """See `IEngine`."""
        self._listener = IEngineListener(listener)
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """See `IEngine`."""
        self._listener = None
        sweeping, self._sweeping = self._sweeping, None
        if sweeping is not None:
            sweeping.cancel()
        self._channels.clear()
        self._order.clear()
        self._present.clear()
        self._entries = self.history_bytes = 0
        return succeed(None)

    def publish(self, channel: str, publication: Publication) -> Deferred[Position | None]:
        """See `IEngine`; ``arrived`` is called before this returns."""
        retention = self._retentions(channel)
        position = None
        if retention.size:
            record = self._record(channel, retention)
            message_id = publication.message_id
            if message_id:
                self._expire(record)
                before = record.ids.get(message_id)
                if before is not None:
                    return succeed(Position(record.epoch, before))
            position = self._store(record, publication)
        if self._listener is not None:
            self._listener.arrived(channel, Entry(publication, position))
        return succeed(position)

    def subscribe(self, channel: str) -> Deferred[Position | None]:
        """See `IEngine`; ``arrived`` tells of the channel anyway."""
        retention = self._retentions(channel)
        return succeed(self._record(channel, retention).position if retention.size else None)

    def unsubscribe(self, channel: str) -> None:
        """See `IEngine`."""

    def history(self, channel: str, since: Position | None) -> Deferred[History]:
        """See `IEngine`."""
        retention = self._retentions(channel)
        if not retention.size:
            return succeed(History((), None, since is None))
        record = self._record(channel, retention)
        self._expire(record)
        kept, position = record.kept, record.position
        if since is None:
            return succeed(History([one.entry for one in kept], position, True))
        first = record.newest - len(kept) + 1
        if since.epoch != record.epoch or not 0 <= since.offset <= record.newest:
            return succeed(History([one.entry for one in kept], position, False))
        begin = max(0, since.offset + 1 - first)
        entries = [kept[index].entry for index in range(begin, len(kept))]
        return succeed(History(entries, position, since.offset + 1 >= first))

    def present(self, channel: str, member: str) -> None:
        """See `IEngine`."""
        self._present.setdefault(channel, set()).add(member)

    def absent(self, channel: str, member: str) -> None:
        """See `IEngine`."""
        members = self._present.get(channel)
        if members is not None:
            members.discard(member)
            if not members:
                del self._present[channel]

    def presence(self, channel: str) -> Deferred[int]:
        """See `IEngine`."""
        return succeed(len(self._present.get(channel, ())))

    # -- what is kept ----------------------------------------------------------------------------------------

    def _record(self, channel: str, retention: Retention) -> _Channel:
        record = self._channels.get(channel)
        if record is None:
            record = self._channels[channel] = _Channel(self._make_epoch(), retention)
            while len(self._channels) > self._most_channels:
                _, forgotten = self._channels.popitem(last=False)
                while forgotten.kept:
                    self._drop_first(forgotten)
        else:
            self._channels.move_to_end(channel)
        return record

    def _store(self, record: _Channel, publication: Publication) -> Position:
        record.newest += 1
        position = record.position
        cost = OVERHEAD + len(publication.payload)
        retention = record.retention
        at = self._clock.seconds() if retention.age else 0.0
        record.kept.append(_Kept(Entry(publication, position), at, cost))
        if publication.message_id:
            record.ids[publication.message_id] = position.offset
        self.history_bytes += cost
        self._entries += 1
        self._order.append((record, position.offset))
        if len(record.kept) > retention.size:
            self._drop_first(record)
        while self.history_bytes > self._most_bytes:
            self._drop_oldest()
        if len(self._order) > 2 * self._entries + 64:
            self._order = deque(pair for pair in self._order if _is_kept(*pair))
        if retention.age:
            self._sweep_later(retention.age)
        return position

    def _drop_oldest(self) -> None:
        record, offset = self._order.popleft()
        if _is_kept(record, offset):
            self._drop_first(record)

    def _drop_first(self, record: _Channel) -> None:
        kept = record.kept.popleft()
        self.history_bytes -= kept.cost
        self._entries -= 1
        message_id = kept.entry.publication.message_id
        if message_id:
            del record.ids[message_id]

    def _expire(self, record: _Channel) -> None:
        age = record.retention.age
        if age:
            kept, until = record.kept, self._clock.seconds() - age
            while kept and kept[0].at <= until:
                self._drop_first(record)

    def _sweep_later(self, age: float) -> None:
        """What is too old is given to nobody; it is forgotten soon after, too, when nobody asks."""
        wanted = min(max(age / 4, _SHORTEST_SWEEP), _LONGEST_SWEEP)
        if self._sweeping is None:
            self._sweep_seconds = wanted
            self._sweeping = self._clock.callLater(wanted, self._sweep)
        elif wanted < self._sweep_seconds:
            self._sweep_seconds = wanted
            self._sweeping.reset(wanted)

    def _sweep(self) -> None:
        self._sweeping = None
        for record in self._channels.values():
            self._expire(record)
        if any(record.kept and record.retention.age for record in self._channels.values()):
            self._sweeping = self._clock.callLater(self._sweep_seconds, self._sweep)


def _nothing(channel: str) -> Retention:
    return Retention()


def _is_kept(record: _Channel, offset: int) -> bool:
    """Whether the entry has not gone by its channel's own bounds."""
    return offset > record.newest - len(record.kept)
