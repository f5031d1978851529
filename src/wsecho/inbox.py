"""The inbox: messages of one peer that wait for ``async for``.

Rules of this file: it counts bytes, and says when it is full and when there is room again; whoever owns it
stops reading in between, so that TCP holds the peer back and nothing is dropped. It knows no connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from wsecho.waiting import Bell

__all__ = ["Inbox"]


class Inbox:
    """Messages in the order of arrival. At first nothing is expected to come.

    :param limit: bytes; the inbox is full when as many wait. 0: never
    :param changed: called when it becomes full, and when there is room again
    """

    __slots__ = ("_bell", "_bytes", "_changed", "_is_over", "_limit", "_waiting", "is_full")

    def __init__(self, limit: int, changed: Callable[[], object]) -> None:
        self.is_full = False
        self._limit = limit
        self._is_over = True
        self._changed = changed
        self._waiting: deque[tuple[str | bytes, int]] = deque()
        self._bytes = 0
        self._bell = Bell()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def limit(self) -> int:
        """Bytes; 0: none."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._judge()

    def start(self) -> None:
        """A connection begins: what an earlier one left is forgotten, and who waits for more of it is told
        that there is none: no message must leak into the next connection."""
        self._waiting.clear()
        self._bytes = 0
        self.finish()
        self._is_over = False
        self._judge()

    def put(self, message: str | bytes, size: int) -> None:
        """Keep ``message``, which had ``size`` bytes on the wire."""
        self._waiting.append((message, size))
        self._bytes += size
        self._judge()
        self._bell.ring()

    def finish(self) -> None:
        """Nothing more comes; what waits can still be taken."""
        self._is_over = True
        self._bell.ring()

    def take(self) -> str | bytes | None:
        """The message that waits longest; None when none does."""
        if not self._waiting:
            return None
        message, size = self._waiting.popleft()
        self._bytes -= size
        self._judge()
        return message

    async def next(self) -> str | bytes | None:
        """The message that waits longest, or comes next; None when nothing more comes."""
        while True:
            message = self.take()
            if message is not None or self._is_over:
                return message
            await self._bell.wait()

    def _judge(self) -> None:
        is_full = 0 < self._limit <= self._bytes
        if is_full is not self.is_full:
            self.is_full = is_full
            self._changed()
