"""The channels that a node follows: what came, in order, each offset once, and what is missing.

Rules of this file: every message has its channel's epoch and a number, with history or without, so that
nothing can be missing unseen. A gap is closed from history, where there is one, and told by ``lost`` where
there is not. Nothing is kept meanwhile: what arrives while history is read is in it, and is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger

from wsecho.engines.redis_connection import ConnectionGone, RedisError
from wsecho.engines.redis_frames import Batch
from wsecho.engines.redis_link import RedisLink
from wsecho.engines.redis_store import RedisStore
from wsecho.hub.engine import EngineAway, EngineError, Entry, Position

__all__ = ["Following"]

_log = Logger("wsecho")

#: Channels that are caught up at the same time after a break.
_AT_ONCE = 100


class _Channel:
    """One channel that is followed."""

    __slots__ = ("is_live", "is_opening", "name", "opening", "position", "seen", "start")

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_live = False
        self.is_opening = False
        self.position: Position | None = None
        """Of what was told last."""
        self.start: Position | None = None
        """Without history: where it was when we began to listen. What is heard may be of before."""
        self.seen: Position | None = None
        """Of the last that was not told because history is being read."""
        self.opening: Deferred[Position | None] | None = Deferred()


class Following:
    """All channels of a node.

    :param listener: an `IEngineListener`
    """

    def __init__(self, link: RedisLink, store: RedisStore, listener: Any) -> None:
        self._link = link
        self._store = store
        self._listener = listener
        self._channels: dict[str, _Channel] = {}
        self.replayed = 0
        """How many came from history."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._channels)

    def __contains__(self, name: str) -> bool:
        return name in self._channels

    # -- the engine's side -----------------------------------------------------------------------------------

    def begin(self, name: str) -> Deferred[Position | None]:
        """Follow a channel; fires with where it begins. While the link is down, it waits."""
        channel = self._channels.get(name)
        if channel is not None:
            raise ValueError("the channel is followed already")
        channel = self._channels[name] = _Channel(name)
        opening = channel.opening
        assert opening is not None
        if self._link.is_open:
            self._quietly(self._open(channel))
        return opening

    def end(self, name: str) -> None:
        """Follow it no longer."""
        channel = self._channels.pop(name, None)
        if channel is None:
            return
        self._link.unsubscribe(self._store.where(name))
        self._fail_opening(channel, "nobody wants the channel any more")

    def stop(self) -> None:
        """Follow nothing."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            self._fail_opening(channel, "the engine has stopped")

    def broken(self) -> None:
        """The link is down: nothing is heard."""
        for channel in self._channels.values():
            channel.is_live = False

    async def resume(self) -> None:
        """The link is open again: listen to all channels, and catch each up."""
        names = iter(list(self._channels))
        while some := list(islice(names, _AT_ONCE)):
            channels = [self._channels[name] for name in some if name in self._channels]
            await gatherResults(
                [Deferred.fromCoroutine(self._open(channel)) for channel in channels], consumeErrors=True
            ).addErrback(_first_of_several)

    def heard(self, name: str, batch: Batch) -> None:
        """Something came over the subscription."""
        channel = self._channels.get(name)
        if channel is None:
            return
        last = Position(batch.epoch, batch.last)
        if not channel.is_live:
            channel.seen = last
            return
        at = channel.position
        keeps = self._store.keeps(name)
        if at is None:
            # Without history, the first: it may lie before where we asked, and is ours all the same.
            if keeps or (channel.start is not None and channel.start.epoch != batch.epoch):
                self._lose(channel, None)
        elif at.epoch != batch.epoch or batch.first > at.offset + 1:
            if keeps:
                channel.seen = last
                channel.is_live = False
                self._quietly(self._catch_up(channel))
                return
            self._lose(channel, None)
        elif batch.last <= at.offset:
            return
        skipped = at.offset + 1 - batch.first if at is not None and at.epoch == batch.epoch else 0
        channel.position = last
        for number, publication in enumerate(batch.publications):
            if number >= skipped:
                position = Position(batch.epoch, batch.first + number) if keeps else None
                self._tell(channel, Entry(publication, position))

    # -- catching up -----------------------------------------------------------------------------------------

    def _quietly(self, work: Any) -> None:
        # The link breaking underneath is no error here: all is done again when it is back.
        Deferred.fromCoroutine(work).addErrback(self._unexpected)

    def _unexpected(self, failure: Any) -> None:
        if failure.check(ConnectionGone) is None:
            _log.failure("A channel could not be followed", failure=failure)
            self._link.give_up("a channel could not be followed")

    def _is_followed(self, channel: _Channel) -> bool:
        return self._channels.get(channel.name) is channel

    async def _open(self, channel: _Channel) -> None:
        if channel.is_opening:
            return
        channel.is_opening = True
        try:
            await self._listen(channel)
        finally:
            channel.is_opening = False

    async def _listen(self, channel: _Channel) -> None:
        keeps = self._store.keeps(channel.name)
        channel.seen = None
        is_new = channel.opening is not None
        await self._link.subscribe(self._store.where(channel.name))
        if is_new and not keeps:
            # Whatever is heard from here on is told: nobody was promised anything of before.
            channel.is_live = True
            self._opened(channel, None)
        try:
            position = await self._store.position(channel.name)
        except RedisError as error:
            self._unreadable(channel, error)
            return
        if not self._is_followed(channel):
            return
        if is_new and not keeps:
            channel.start = position
        elif is_new:
            channel.position = position
            self._opened(channel, position)
            if self._is_behind(channel, position):
                await self._catch_up(channel)
            else:
                channel.is_live = True
        elif keeps:
            await self._catch_up(channel)
        else:
            was = channel.position or channel.start
            channel.position, channel.start = None, position
            channel.is_live = True
            if was != position or channel.seen is not None:
                self._lose(channel, None)

    def _is_behind(self, channel: _Channel, position: Position) -> bool:
        """Whether something came by that is not of before `position`."""
        seen = channel.seen
        return seen is not None and (seen.epoch != position.epoch or seen.offset > position.offset)

    def _opened(self, channel: _Channel, position: Position | None) -> None:
        opening, channel.opening = channel.opening, None
        if opening is not None and not opening.called:
            opening.callback(position)

    async def _catch_up(self, channel: _Channel) -> None:
        """Read from history until nothing is left, and go live."""
        is_lost = False
        while True:
            since = channel.position
            channel.seen = None
            try:
                page = await self._store.page(channel.name, since, goes_on=True)
                if (
                    since is not None
                    and since.epoch == page.position.epoch
                    and since.offset > page.position.offset
                ):
                    # Redis has lost what we have seen, and would number other data the same.
                    await self._store.lost_writes(page.generation)
                    continue
            except RedisError as error:
                self._unreadable(channel, error)
                return
            if not self._is_followed(channel):
                return
            if since is None or since.epoch != page.position.epoch:
                if not is_lost:
                    is_lost = True
                    self._lose(channel, since)
                # Where this epoch begins; not told of any entry.
                channel.position = Position(page.position.epoch, page.after)
            is_lost = self._tell_page(channel, page.entries, is_lost)
            at = channel.position
            assert at is not None
            reached = page.position.offset if page.is_last else page.reached
            if at.offset < reached:
                # The newest of it are gone, or are too large for this node.
                if not is_lost:
                    is_lost = True
                    self._lose(channel, at)
                channel.position = Position(at.epoch, reached)
            if page.is_last and not self._is_behind(channel, page.position):
                channel.is_live = True
                return

    def _tell_page(self, channel: _Channel, entries: Iterable[Entry], is_lost: bool) -> bool:
        for entry in entries:
            at, position = channel.position, entry.position
            assert at is not None and position is not None
            if position.offset <= at.offset:
                continue
            if position.offset > at.offset + 1 and not is_lost:
                is_lost = True
                self._lose(channel, at)
            channel.position = position
            self.replayed += 1
            self._tell(channel, entry)
        return is_lost

    def _unreadable(self, channel: _Channel, error: RedisError) -> None:
        """Redis answers, but not with a history: somebody else's key stands there, as a rule."""
        _log.warn("Redis cannot tell of a channel: {reason}", reason=str(error)[:200])
        if self._is_followed(channel):
            since, channel.position = channel.position, None
            channel.is_live = True
            opening, channel.opening = channel.opening, None
            if opening is not None:
                del self._channels[channel.name]
                self._link.unsubscribe(self._store.where(channel.name))
                opening.errback(EngineError(f"Redis: {str(error)[:200]}"))
            else:
                self._lose(channel, since)

    def _fail_opening(self, channel: _Channel, reason: str) -> None:
        opening, channel.opening = channel.opening, None
        if opening is not None and not opening.called:
            opening.errback(EngineAway(reason))

    # -- telling ---------------------------------------------------------------------------------------------

    def _tell(self, channel: _Channel, entry: Entry) -> None:
        if not self._is_followed(channel):
            return
        try:
            self._listener.arrived(channel.name, entry)
        except Exception:
            _log.failure("A publication could not be passed on")

    def _lose(self, channel: _Channel, since: Position | None) -> None:
        try:
            self._listener.lost(channel.name, since)
        except Exception:
            _log.failure("A loss could not be passed on")


def _first_of_several(failure: Any) -> Any:
    failure.trap(FirstError)
    return failure.value.subFailure
