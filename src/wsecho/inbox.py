"""The inbox: messages of one peer that wait for ``async for``.

Rules of this file: it counts bytes, and says when it is full and when there is room again; whoever owns it
stops reading in between, so that TCP holds the peer back and nothing is dropped. It knows no connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable

from twisted.internet.defer import Deferred

__all__ = ["Inbox"]


class Inbox:
    """Messages in the order of arrival.

    :param limit: bytes; the inbox is full when as many wait. 0: never
    :param changed: called when it becomes full, and when there is room again
    """

    __slots__ = ("_bytes", "_changed", "_reader", "_waiting", "is_full", "is_over", "limit")

    def __init__(self, limit: int, changed: Callable[[], object]) -> None:
        self.limit = limit
        self.is_full = False
        self.is_over = False
        self._changed = changed
        self._waiting: deque[tuple[str | bytes, int]] = deque()
        self._bytes = 0
        self._reader: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: str | bytes, size: int) -> None:
        """Keep ``message``, which had ``size`` bytes on the wire."""
        self._waiting.append((message, size))
        self._bytes += size
        self._judge()
        self._wake()

    def start(self) -> None:
        """A connection begins: what an earlier one left is forgotten, half of its messages must not leak into
        the new one."""
        self._waiting.clear()
        self._bytes = 0
        self.is_over = False
        self._judge()

    def finish(self) -> None:
        """Nothing more comes; what waits can still be read."""
        self.is_over = True
        self._wake()

    async def messages(self) -> AsyncIterator[str | bytes]:
        """The messages, until nothing waits and nothing more comes."""
        while True:
            while self._waiting:
                message, size = self._waiting.popleft()
                self._bytes -= size
                self._judge()
                yield message
            if self.is_over:
                return
            if self._reader is None:
                self._reader = Deferred()
            await self._reader

    def _judge(self) -> None:
        is_full = 0 < self.limit <= self._bytes
        if is_full is not self.is_full:
            self.is_full = is_full
            self._changed()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)
