"""What a node asks Redis about one channel: scripts with their keys, and what they answer.

Rules of this file: no state but counts. Answers are checked, not trusted; what is in a stream and is not ours
is dropped and counted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from wsecho.engines.redis_frames import Foreign, read_body
from wsecho.engines.redis_link import RedisLink
from wsecho.engines.redis_scripts import (
    ANNOUNCE,
    CONNECT,
    COUNT,
    HISTORY,
    POSITION,
    PUBLISH,
    ROTATE,
    TOUCH,
)
from wsecho.hub.engine import Entry, Position, Retention

__all__ = ["META_SECONDS", "PRESENCE_SECONDS", "Page", "RedisStore"]

META_SECONDS = 30 * 24 * 3600
"""Seconds that Redis knows a channel on which nobody is and nothing is published; then it begins with a new
epoch. Anybody may make up names, so that they cannot be kept for ever."""

PRESENCE_SECONDS = 24 * 3600
"""Seconds that the counts of a channel stay when nobody repeats them."""

_SERVER, _NODES = b"wsecho:server", b"wsecho:nodes"
_PAGE_ENTRIES, _PAGE_BYTES = 500, 1024**2


def fresh() -> str:
    """A name that no epoch and no generation had before."""
    return secrets.token_urlsafe(12)


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of a channel's history."""

    generation: bytes
    position: Position
    """Of what was published last, when the page was read."""
    after: int
    """The offset after which it was read: that which was asked for, unless the epoch was another."""
    reached: int
    """The offset up to which it was read."""
    entries: Sequence[Entry]
    """In order; there may be holes."""
    is_last: bool


class RedisStore:
    """Asks Redis over a link.

    :param database: the number of the database
    :param retention: what each channel keeps
    :param largest: bytes of a payload; 0 for no limit
    :param dropped: called with how many foreign entries were dropped
    """

    def __init__(
        self,
        link: RedisLink,
        database: int,
        node: str,
        retention: Callable[[str], Retention],
        largest: int,
        dropped: Callable[[int], None],
    ) -> None:
        self._link = link
        self._node = node
        self._prefix = b"wsecho:%d:c:" % database
        self._retention = retention
        self._largest = largest
        self._dropped = dropped

    def keeps(self, channel: str) -> bool:
        """Whether the channel has a history."""
        return self._retention(channel).size > 0

    def where(self, channel: str) -> bytes:
        """Where the channel's publications are heard."""
        return self._prefix + channel.encode()

    def channel(self, where: bytes) -> str | None:
        """The opposite; None when it is no channel's."""
        name = where.removeprefix(self._prefix)
        return None if name is where or len(name) == len(where) else name.decode("ascii", "replace")

    def connected(self) -> Deferred[Any]:
        """Tell Redis which of its runs we met."""
        link = self._link
        return link.script(CONNECT, (_SERVER,), fresh(), link.run, "1" if link.is_durable else "0")

    def lost_writes(self, generation: bytes) -> Deferred[Any]:
        """Tell Redis that it lost what it knew in this generation; once, whoever says it."""
        return self._link.script(ROTATE, (_SERVER,), fresh(), generation)

    async def position(self, channel: str) -> Position:
        """Of what was published last."""
        answer = await self._link.script(POSITION, self._keys(channel)[:2], fresh(), META_SECONDS * 1000)
        return Position(answer[1].decode(), int(answer[2]))

    async def publish(self, channel: str, messages: Sequence[tuple[str, bytes]]) -> list[Position]:
        """Store and tell some messages, ids and bodies; their positions."""
        retention = self._retention(channel)
        words = [word for message in messages for word in message]
        answer = await self._link.script(
            PUBLISH,
            self._keys(channel),
            *self._first_words(retention),
            retention.size,
            self.where(channel),
            *words,
        )
        self._count(int(answer[1]))
        epoch = answer[0].decode()
        return [Position(epoch, int(offset)) for offset in answer[2:]]

    async def page(self, channel: str, after: Position | None, *, goes_on: bool) -> Page:
        """Read what was stored after a position.

        :param goes_on: where that position is of an epoch that is over, begin where the new one began, and
        not
            with what is oldest
        """
        answer = await self._link.script(
            HISTORY,
            self._keys(channel),
            *self._first_words(self._retention(channel)),
            "" if after is None else after.epoch,
            0 if after is None else after.offset,
            "1" if goes_on else "0",
            _PAGE_ENTRIES,
            _PAGE_BYTES,
            # The body has some bytes of head, and names; `read_body` is not asked to be exact here.
            self._largest + 1024 if self._largest else 0,
        )
        self._count(int(answer[6]))
        position = Position(answer[1].decode(), int(answer[2]))
        entries = []
        for number, body in zip(answer[7::2], answer[8::2], strict=True):
            try:
                publication = read_body(body)
            except Foreign:
                self._count(1)
            else:
                entries.append(Entry(publication, Position(position.epoch, int(number))))
        return Page(answer[0], position, int(answer[3]), int(answer[4]), entries, answer[5] != b"1")

    def announce(self, channel: str, count: int) -> Deferred[Any]:
        """Tell how many of this node's members are on the channel; fires with how many there are in all."""
        return self._link.script(
            ANNOUNCE,
            (_NODES, b"wsecho:p:" + channel.encode()),
            self._node,
            count,
            PRESENCE_SECONDS * 1000,
            self.where(channel),
        )

    def count(self, channel: str) -> Deferred[Any]:
        """How many members the channel has."""
        return self._link.script(COUNT, (_NODES, b"wsecho:p:" + channel.encode()))

    def touch(self, channels: Sequence[str]) -> Deferred[Any]:
        """Keep Redis from forgetting channels that somebody is on."""
        keys = tuple(self._keys(channel)[1] for channel in channels)
        return self._link.script(TOUCH, keys, META_SECONDS * 1000)

    def _keys(self, channel: str) -> tuple[bytes, bytes, bytes, bytes]:
        name = channel.encode()
        return (_SERVER, b"wsecho:m:" + name, b"wsecho:s:" + name, b"wsecho:i:" + name)

    def _first_words(self, retention: Retention) -> tuple[str, int, int]:
        return (fresh(), META_SECONDS * 1000, int(retention.age * 1000))

    def _count(self, foreign: int) -> None:
        if foreign:
            self._dropped(foreign)
