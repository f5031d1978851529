"""Writing at once: to the socket of a plain connection, while nothing waits, instead of in the reactor's next
turn.

Rules of this file: it knows a transport and a link, no frames. What the kernel does not take goes to the
link's queue, and from then on everything does, until that has been flushed: order stands above speed. An
error of the socket is left to the transport, which meets it with its next write and reports the end.

A transport of Twisted's keeps what it is given until the reactor says that the socket is writable: two system
calls, and a turn of the reactor, for each answer. A connection that has a lane has this in compiled form.
"""

from __future__ import annotations

from typing import Any

from wsecho.wire.beneath import send_now
from wsecho.wire.lane import LaneLink

__all__ = ["AtOnce"]

_MUCH = 64 * 1024


class AtOnce:
    """Writes to one socket.

    :param link: where what cannot be written goes
    :param transport: one with nothing between it and its socket
    :param send_queue: bytes that may be collected at most
    """

    __slots__ = ("_collected", "_link", "_much", "_transport", "waiting_bytes")

    def __init__(self, link: LaneLink, transport: Any, send_queue: int) -> None:
        self._link = link
        self._transport = transport
        self._much = min(_MUCH, send_queue)
        self._collected: list[bytes] | None = None
        self.waiting_bytes = 0
        """Bytes that are collected."""

    def collect(self) -> None:
        """Write nothing until :meth:`flush`: then in one piece."""
        if self._collected is None:
            self._collected = []

    def put(self, data: bytes) -> bool:
        """Write ``data``.

        :returns: False when something waits, or the socket fails: the link then queues it
        """
        if self._collected is None:
            return self._send(data)
        if not self._collected and not self._link.has_flushed:
            # Collected, it would pass by the bound of what waits, and pongs by the rule that the latest does.
            return False
        self._collected.append(data)
        self.waiting_bytes += len(data)
        if self.waiting_bytes >= self._much:
            self.flush()
            self._collected = []
        return True

    def flush(self) -> None:
        """Write what was collected, and collect no more."""
        collected, self._collected = self._collected, None
        if collected:
            self.waiting_bytes = 0
            data = b"".join(collected)
            if not self._send(data):
                self._link.queue(data)

    def _send(self, data: bytes) -> bool:
        if not self._link.has_flushed:
            return False
        sent = send_now(self._transport, data)
        if not sent:
            return False
        if sent < len(data):
            self._link.queue(data[sent:])
        return True
