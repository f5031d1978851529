"""The inbox: messages of one peer that wait for ``async for``.

Rules of this file: it counts bytes and knows whether it is full; whoever owns it stops reading then, so that
TCP holds the peer back and nothing is dropped. It knows no connection.
"""

from __future__ import annotations

from collections import deque

from wsecho.waiting import Bell

__all__ = ["Inbox"]


class Inbox:
    """Messages in the order of arrival. At first nothing is expected to come.

    :param limit: bytes; the inbox is full when as many wait. 0: never
    """

    __slots__ = ("_bell", "_bytes", "_is_over", "_waiting", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._is_over = True
        self._waiting: deque[tuple[str | bytes, int]] = deque()
        self._bytes = 0
        self._bell = Bell()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether the peer must be held back."""
        return 0 < self.limit <= self._bytes

    def start(self) -> None:
        """A connection begins: what an earlier one left is forgotten, and who waits for more of it is told
        that there is none: no message must leak into the next connection."""
        self._waiting.clear()
        self._bytes = 0
        self.finish()
        self._is_over = False

    def put(self, message: str | bytes, size: int) -> None:
        """Keep ``message``, which had ``size`` bytes on the wire."""
        self._waiting.append((message, size))
        self._bytes += size
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
        return message

    async def next(self) -> str | bytes | None:
        """The message that waits longest, or comes next; None when nothing more comes."""
        while True:
            message = self.take()
            if message is not None or self._is_over:
                return message
            await self._bell.wait()
