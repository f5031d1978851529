"""A message that is sent as fragments, one at a time, at whatever pace (RFC 6455 section 5.4).

Rules of this file: it knows frames, not time. Autobahn's own writes all fragments at once, which for a large
message in small ones keeps every other connection waiting. Between two fragments control frames may pass,
but no other message may be sent: that is up to whoever sends.
"""

from __future__ import annotations

from typing import Any

from wsecho.wire.log_lines import log_message

__all__ = ["Fragments"]


class Fragments:
    """The fragments of one message.

    :param connection: an open one, the server's side
    :param payload: UTF-8 when ``is_binary`` is false
    """

    __slots__ = ("_at", "_connection", "_opcode", "_payload", "_rsv", "is_sent")

    def __init__(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        if connection.factory.debug:
            log_message(connection, "sent", payload, is_binary)
        stats = connection.trafficStats
        stats.outgoingWebSocketMessages += 1
        stats.outgoingOctetsAppLevel += len(payload)
        compress = connection._perMessageCompress
        self._rsv = 0
        if compress is not None:
            compress.start_compress_message()
            payload = compress.compress_message_data(payload) + compress.end_compress_message()
            self._rsv = 4
        stats.outgoingOctetsWebSocketLevel += len(payload)
        self._connection = connection
        self._payload = payload
        self._opcode = 2 if is_binary else 1
        self._at = 0
        self.is_sent = False
        """Whether all of them are."""

    def __len__(self) -> int:
        """Bytes of payload that the frames have together."""
        return len(self._payload)

    def send(self, size: int) -> int:
        """Send the next fragment, with ``size`` bytes of payload at most.

        :returns: how many it has
        """
        part = self._payload[self._at : self._at + size]
        self._at += len(part)
        self.is_sent = self._at >= len(self._payload)
        self._connection.sendFrame(opcode=self._opcode, payload=part, fin=self.is_sent, rsv=self._rsv)
        # Of the first fragment alone (RFC 7692 section 6.1).
        self._opcode = self._rsv = 0
        return len(part)
