"""The outbox: what waits to be written to one peer, counted and bounded.

Rules of this file: it is the link's output side, and knows chunks, not frames. What happens when it is full
is decided by whoever writes; only ``make_room`` drops, and only what was written as droppable. It writes in
the order in which it was told to, but for pings and pongs, which RFC 6455 section 5.4 lets pass between
messages.

How it bounds. A transport of Twisted's buffers whatever it is given. So it is given a window of bytes, and
the next only when the kernel has taken that (it asks its pull producer for more when its buffer is empty).
The rest waits here, as the very objects that were written: a frame that a thousand peers wait for is held
once. Registered as a push producer, a transport would say nothing before 64 KiB wait in it, and no queue
could be smaller; TLS would ask a pull producer in every turn of the reactor, which is why it is the
transport at the bottom that is asked.

What is counted. Every byte that the kernel has not taken. A waiting chunk counts as ``LEAST_COST`` at
least, because a queue of empty messages must have an end as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPullProducer, IWriteDescriptor
from zope.interface import implementer

from wsecho.wire.beneath import bottom_transport, hand_over, queued_bytes

__all__ = ["LEAST_COST", "WINDOW", "Outbox"]

WINDOW = 128 * 1024
"""Bytes that a transport is given at a time: what Twisted hands to the kernel in one call."""

LEAST_COST = 64
"""Bytes that a waiting chunk counts as at least: about what it costs to keep one, however small."""


@implementer(IPullProducer)
class Outbox:
    """The output of one connection.

    :param transport: what is written to, TLS or plain
    :param limit: bytes from which on the outbox is full
    """

    __slots__ = (
        "_bottom",
        "_cost",
        "_given",
        "_is_handing_over",
        "_is_kernel_full",
        "_on_empty",
        "_on_low",
        "_program",
        "_program_is_paused",
        "_program_is_push",
        "_transport",
        "_urgent",
        "_waiting",
        "_waiting_bytes",
        "_window",
        "_writing",
        "dropped",
        "limit",
        "turns",
        "writer",
    )

    def __init__(self, transport: Any, limit: int) -> None:
        self.limit = limit
        # What the transport has cannot be dropped any more: keep that less than half.
        self._window = max(1, min(WINDOW, limit // 2))
        self.dropped = 0
        """Messages for the peer that were dropped, here or before they came here."""
        self.turns = 0
        """How often the kernel has taken a whole window."""
        self.writer: Any = None
        """What writes at once, while nothing waits: a lane, or :class:`wsecho.wire.at_once.AtOnce`; None
        where only the transport can write."""
        self._transport = transport
        self._bottom: Any = None
        self._given = 0
        # None, not an empty deque, of which each takes 760 bytes: most connections never wait.
        self._waiting: deque[tuple[bytes, int, bool]] | None = None
        self._waiting_bytes = 0
        self._cost = 0
        self._urgent: dict[str, bytes] | None = None
        self._writing = False
        self._is_handing_over = self._is_kernel_full = False
        self._on_low: tuple[Callable[[], object], ...] = ()
        self._on_empty: Callable[[], object] | None = None
        self._program: Any = None
        self._program_is_push = False
        self._program_is_paused = False

    # -- how much waits --------------------------------------------------------------------------------------

    @property
    def is_blocked(self) -> bool:
        """Whether something waits here: the peer reads more slowly than is written."""
        return bool(self._waiting)

    @property
    def is_clear(self) -> bool:
        """Whether nothing waits, here or in the transport."""
        return not self._given and not self._waiting

    @property
    def queued_bytes(self) -> int:
        """Bytes that the kernel has not taken, whether they wait here or in the transport."""
        collected = 0 if self.writer is None else self.writer.waiting_bytes
        return collected + self._waiting_bytes + queued_bytes(self._transport)

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached: no further message should be written."""
        if self._cost + self._given < self.limit:
            # The transport has at most what it was given: it need not be looked into, which takes longer.
            return False
        return self._cost + queued_bytes(self._transport) >= self.limit

    def has_room(self) -> bool:
        """Whether a further message may be written.

        What was written since the reactor's last turn makes no peer slow: before the answer is no, the kernel
        is given what there is; not again when it has taken nothing, until it has.
        """
        if self.is_full and not self._is_kernel_full:
            self._hand_over()
        return not self.is_full

    def _hand_over(self) -> None:
        bottom = self._bottom
        if self._is_handing_over or self._writing or not IWriteDescriptor.providedBy(bottom):
            return
        self._is_handing_over = True
        try:
            while self.is_full and self._bottom is bottom and not bottom.disconnecting:
                turns, before = self.turns, queued_bytes(self._transport)
                hand_over(self._transport)
                if queued_bytes(bottom):
                    # A failure is the reactor's to find: it writes as well, later.
                    bottom.doWrite()
                if self.turns == turns and queued_bytes(self._transport) >= before:
                    self._is_kernel_full = True
                    return
        finally:
            self._is_handing_over = False

    @property
    def is_low(self) -> bool:
        """Whether half of the limit or less waits."""
        return self._cost <= self.limit // 2 and self._cost + queued_bytes(self._transport) <= self.limit // 2

    @property
    def progress(self) -> tuple[int, int]:
        """Something that has changed whenever the kernel took something meanwhile, unless as much was
        written."""
        return self.turns, queued_bytes(self._transport)

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, data: bytes, *, is_droppable: bool = False) -> None:
        """Write ``data``, now or in its turn, whether the outbox is full or not.

        :param is_droppable: whether :meth:`make_room` may drop it, a whole message, until its first byte is
            written
        """
        if self.writer is None or not self.writer.put(data):
            self.queue(data, is_droppable=is_droppable)

    def queue(self, data: bytes, *, is_droppable: bool = False) -> None:
        """Write ``data`` by the transport: what was not written at once."""
        if self._transport is None:
            return
        if not self._waiting and self._given + len(data) <= self._window:
            self._give(data)
        else:
            self._wait(data, is_droppable)

    def queue_sealed(self, records: bytes) -> None:
        """Give bytes to the transport at the bottom: TLS has made them already, and nothing may overtake
        them."""
        if self._transport is None:
            return
        if self._bottom is None:
            self._ask_to_be_asked()
        self._given += len(records)
        self._bottom.write(records)

    def make_room(self) -> bool:
        """Drop messages, the oldest first, until the outbox is not full.

        :returns: whether that was possible
        """
        while self.is_full:
            if not self._drop_oldest():
                return False
        return True

    def write_urgent(self, kind: str, data: bytes) -> None:
        """Write a control frame as soon as the chunk on its way is written; it replaces one of its ``kind``
        that still waits (RFC 6455 section 5.5.3: only the latest ping need be answered)."""
        if self.writer is not None and self.writer.put(data):
            return
        if not self._waiting and self._given + len(data) <= self._window:
            self._give(data)
            return
        if self._urgent is None:
            self._urgent = {}
        before = self._urgent.pop(kind, b"")
        self._urgent[kind] = data
        self._count(len(data) - len(before), 0)
        if not self._waiting:
            self._wait(b"", False)

    def _give(self, data: bytes) -> None:
        if self._bottom is None:
            self._ask_to_be_asked()
        self._given += len(data)
        self._transport.write(data)

    def _ask_to_be_asked(self) -> None:
        self._bottom = bottom_transport(self._transport)
        # A pull producer is asked for more at once: there is nothing yet.
        self._writing = True
        try:
            self._bottom.registerProducer(self, False)
        finally:
            self._writing = False

    def _wait(self, data: bytes, droppable: bool) -> None:
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append((data, 0, droppable))
        self._count(len(data), 1)
        if self._program_is_push and not self._program_is_paused:
            self._program_is_paused = True
            self._program.pauseProducing()
        if not self._given:
            # Nothing is on its way, so nobody would ask: a chunk larger than the window.
            self._write_waiting()
            if not self._waiting:
                self._has_emptied()

    def _count(self, size: int, chunks: int) -> None:
        self._waiting_bytes += size
        self._cost += max(size, LEAST_COST) if chunks > 0 else -max(-size, LEAST_COST) if chunks < 0 else size

    def _drop_oldest(self) -> bool:
        waiting = self._waiting
        for index, (data, begun, droppable) in enumerate(waiting or ()):
            if droppable and not begun:
                assert waiting is not None
                del waiting[index]
                self._count(-len(data), -1)
                self.dropped += 1
                if self._urgent and not waiting:
                    # It goes ahead of a chunk, and there is none left.
                    self._wait(b"", False)
                return True
        return False

    # -- what the transport asks (IPullProducer) -------------------------------------------------------------

    def resumeProducing(self) -> None:
        """The transport has nothing left: give it the next window."""
        self._given = 0
        self._is_kernel_full = False
        if self._writing:
            # Asked in the middle of being given something: whoever gives looks whether there is more.
            return
        if self._bottom is not None and self._bottom.disconnecting:
            # TLS ends the transport by itself when the peer has said close_notify.
            self._detach()
            return
        self.turns += 1
        self._write_waiting()
        if self._on_low and self.is_low:
            calls, self._on_low = self._on_low, ()
            for call in calls:
                call()
        if not self._waiting:
            self._has_emptied()

    def stopProducing(self) -> None:
        """The transport has ended; the link is told in its own way."""

    def _write_waiting(self) -> None:
        self._writing = True
        try:
            while self._waiting and self._given < self._window:
                self._give(self._next_window(self._waiting))
                if self._given:
                    break
        finally:
            self._writing = False

    def _next_window(self, waiting: deque[tuple[bytes, int, bool]]) -> bytes:
        """Take what fits into the window, several chunks in one piece."""
        pieces: list[bytes] = []
        room = self._window - self._given
        while waiting and room > 0:
            data, begun, droppable = waiting[0]
            if not begun:
                room -= self._take_urgent(pieces)
            left = len(data) - begun
            if left <= room:
                waiting.popleft()
                pieces.append(data[begun:] if begun else data)
                room -= left
                self._waiting_bytes -= left
                self._cost -= max(len(data), LEAST_COST) - begun
            elif pieces and not begun:
                # It begins with the next window, and can be dropped until then.
                break
            else:
                pieces.append(data[begun : begun + room])
                waiting[0] = (data, begun + room, droppable)
                self._waiting_bytes -= room
                self._cost -= room
                room = 0
        if not waiting:
            self._waiting = None
            self._take_urgent(pieces)
        return b"".join(pieces)

    def _take_urgent(self, pieces: list[bytes]) -> int:
        """Append the control frames that wait; how many bytes they have."""
        urgent, self._urgent = self._urgent, None
        if not urgent:
            return 0
        pieces += urgent.values()
        size = sum(map(len, urgent.values()))
        self._count(-size, 0)
        return size

    def _has_emptied(self) -> None:
        wants_more = self._program_is_paused if self._program_is_push else not self._given
        if self._program is not None and wants_more:
            self._program_is_paused = False
            self._program.resumeProducing()
        on_empty = self._on_empty
        if on_empty is not None and not self._waiting:
            self._on_empty = None
            on_empty()

    # -- who waits for it ------------------------------------------------------------------------------------

    def call_when_low(self, call: Callable[[], object]) -> None:
        """Call once, when half of the limit or less waits: in a later call of the transport's. Not at all
        when the connection ends before that."""
        self._on_low += (call,)

    def register_producer(self, producer: Any, is_push: bool) -> None:
        """Let ``producer`` follow the pace of the peer: a push producer is paused while something waits, a
        pull producer is asked when nothing does.

        :raises RuntimeError: when there is one already, as in Twisted
        """
        if self._program is not None:
            raise RuntimeError(f"cannot register {producer!r}: {self._program!r} was never unregistered")
        self._program, self._program_is_push = producer, is_push
        if is_push and self._waiting:
            self._program_is_paused = True
            producer.pauseProducing()
        elif not is_push and not self._waiting:
            if self._bottom is None:
                self._ask_to_be_asked()
            producer.resumeProducing()

    def unregister_producer(self) -> Any:
        """Forget the producer and return it; None when there is none."""
        producer, self._program = self._program, None
        self._program_is_push = self._program_is_paused = False
        return producer

    # -- the end ---------------------------------------------------------------------------------------------

    def finish(self, then: Callable[[], object]) -> None:
        """Call ``then`` when the transport has been given everything: at once when nothing waits. The
        transport asks no more then, so that it can be shut down: it flushes what it has been given."""

        def has_flushed() -> None:
            self._detach()
            then()

        self._on_low = ()
        if self.writer is not None:
            self.writer.flush()
        if self._waiting:
            self._on_empty = has_flushed
        else:
            has_flushed()

    def discard(self) -> None:
        """Forget everything that waits: the connection is dropped."""
        self._detach()
        self.ended()

    def ended(self) -> None:
        """The transport has ended and is not touched any more."""
        self.writer = None
        self._bottom = self._transport = None
        self._waiting = self._urgent = self._on_empty = None
        self._on_low = ()
        self._waiting_bytes = self._cost = self._given = 0

    def _detach(self) -> None:
        # Twisted would wait for its producer before it shuts anything down.
        bottom, self._bottom = self._bottom, None
        if bottom is not None:
            bottom.unregisterProducer()
