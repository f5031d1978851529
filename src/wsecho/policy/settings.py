"""The limits and timers of a server's connections, all in one block.

Defaults are those of the option table for the library. A `Settings` that exists is valid: whoever gets one
needs no further check. This file knows nothing of Autobahn, nor of where the values come from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from wsecho.policy.options import NOT_ALLOWED, option

__all__ = ["SAME_AS_MESSAGE_SIZE", "Settings", "option_name"]

#: As `Settings.max_frame_size`: take the value of `Settings.max_message_size`.
SAME_AS_MESSAGE_SIZE = -1


def option_name(field: str) -> str:
    """Return the option's name for a field of `Settings`: ``max-message-size`` for ``max_message_size``."""
    return field.replace("_", "-")


def _size(name: str) -> int:
    default = option(name).library
    assert isinstance(default, int)
    return default


def _seconds(name: str) -> float:
    default = option(name).library
    assert isinstance(default, float)
    return default


def _text(name: str) -> str:
    default = option(name).library
    assert isinstance(default, str)
    return default


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits and timers of one server.

    Raises `ValueError`, naming the field, for a value that is negative, not finite or of another kind; for 0
    where 0 is not allowed; and for compression without a limit of size, because 260 kB of deflate can be
    256 MiB of message.
    """

    max_message_size: int = _size("max-message-size")
    """Bytes, after decompression; 0: no limit. Above it, close 1009."""
    max_frame_size: int = SAME_AS_MESSAGE_SIZE
    """Bytes; 0: no limit. By default what `max_message_size` is when the object is made, so that reading it
    gives a limit, never the marker; `dataclasses.replace` keeps that number. Above it, close 1009."""
    max_head_size: int = _size("max-head-size")
    """Bytes of the request head; above it, HTTP 431."""
    max_head_line: int = _size("max-head-line")
    """Bytes of one line of the request head; above it, HTTP 431."""
    max_head_lines: int = _size("max-head-lines")
    """Header lines of the request head; above it, HTTP 431."""
    max_connections: int = _size("max-connections")
    """Connections at a time; 0: no limit. Above it, HTTP 503."""
    max_connections_per_address: int = _size("max-connections-per-address")
    """Connections of one address at a time, IPv6 counted by /64; 0: no limit. Above it, HTTP 429."""
    max_fragments: int = _size("max-fragments")
    """Fragments of one message, empty ones counted; 0: no limit. Above it, close 1008."""
    max_message_rate: int = _size("max-message-rate")
    """Messages of one connection within a second; 0: no limit. Above it, close 1008."""
    send_queue: int = _size("send-queue")
    """Bytes that wait for one peer, from which on no further message is taken for it; so what waits is this
    and one message at most. A peer that does not read what it is answered is not read, either; one that is
    sent more unasked is closed with 1013, unless a broadcast's policy drops messages."""
    handshake_timeout: float = _seconds("handshake-timeout")
    """Seconds from the accepted TCP connection to the open WebSocket, TLS included; 0: no timeout."""
    close_timeout: float = _seconds("close-timeout")
    """Seconds from the Close frame sent to the end of TCP, then abort."""
    stall_timeout: float = _seconds("stall-timeout")
    """Seconds of silence inside a frame or a message, then close 1001; 0: no timeout."""
    ping_interval: float = _seconds("ping-interval")
    """Seconds between pings; 0: no pings."""
    ping_timeout: float = _seconds("ping-timeout")
    """Seconds for a pong to come, then close 1001; 0: no pings."""
    compression: str = _text("compression")
    """``"off"`` or ``"deflate"``."""

    def __post_init__(self) -> None:
        if self.max_frame_size == SAME_AS_MESSAGE_SIZE:
            object.__setattr__(self, "max_frame_size", self.max_message_size)
        for field in fields(self):
            self._check(field.name, getattr(self, field.name))
        if self.compression == "deflate":
            for name in ("max_message_size", "max_frame_size"):
                if getattr(self, name) == 0:
                    raise ValueError(f"{name} = 0: compression needs a limit; accepted is a size above 0")

    @property
    def sends_pings(self) -> bool:
        """Whether peers are pinged at all: a ping whose pong nobody waits for finds no dead peer."""
        return self.ping_interval > 0 and self.ping_timeout > 0

    @staticmethod
    def _check(name: str, value: object) -> None:
        row = option(option_name(name))
        if row.choices:
            if value not in row.choices:
                raise ValueError(f"{name} = {value!r}: accepted is {row.accepted}")
            return
        wanted = float if isinstance(row.library, float) else int
        # An int is as good as a float; a bool is an int to Python, but not to a reader.
        numbers = (int, float) if wanted is float else (int,)
        if isinstance(value, bool) or not isinstance(value, numbers) or not math.isfinite(value) or value < 0:
            raise ValueError(f"{name} = {value!r}: accepted is a finite {wanted.__name__}, not negative")
        if value == 0 and row.zero == NOT_ALLOWED:
            raise ValueError(f"{name} = 0: accepted is a {wanted.__name__} above 0")
