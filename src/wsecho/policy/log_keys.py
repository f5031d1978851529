"""The keys of a log line in JSON: what each line has, of which type, and what it means.

Rules of this file:

- a line is an object without anything nested in it, so that it can be searched by any tool;
- lines that tell of something in `EVENTS` have exactly the keys of their row, with null where there is
  nothing to tell; every other line is text, with the keys of `OTHER_LINES`;
- a key means the same wherever it stands. Whoever logs an event gives its fields by these names.

How a line is written stands in `wsecho.app.json_log`; what the text says instead, where it is logged.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "EVENTS",
    "EVERY_LINE",
    "LOG_KEYS",
    "OTHER_LINES",
    "WORKER_LINE",
    "EventRow",
    "LogKey",
    "Scalar",
    "keys_of",
]

Scalar: TypeAlias = str | int | float


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key."""

    name: str
    type: type[str] | type[int] | type[float]
    meaning: str
    may_be_null: bool = False
    """Whether it can be null in a line that has it."""

    @property
    def shown_type(self) -> str:
        """The type in JSON's words."""
        name = {str: "string", int: "integer", float: "number"}[self.type]
        return f"{name} or null" if self.may_be_null else name


@dataclass(frozen=True, slots=True)
class EventRow:
    """What a line can tell of."""

    name: str
    """The value of the key ``event``."""
    meaning: str
    keys: tuple[str, ...]
    """What the line has besides `EVERY_LINE` and ``event``, in this order."""


#: What every line has.
EVERY_LINE: Final = ("time", "level", "system")
#: What follows in a line of a worker's.
WORKER_LINE: Final = "worker"
#: What a line that tells of no event has besides; ``id`` only when it is about one connection, ``traceback``
#: only when something raised.
OTHER_LINES: Final = ("id", "text", "traceback")

_PEER = ("id", "peer", "path", "origin")
_END = (
    *("id", "reason", "code", "status", "ended", "peer", "path", "origin", "seconds"),
    *("received", "received_bytes", "sent", "sent_bytes", "dropped", "close_reason"),
)

_EVENTS = (
    EventRow("listening", "A listener takes connections.", ("url", "text")),
    EventRow("open", "A connection is open.", (*_PEER, "subprotocol")),
    EventRow("closed", "A connection that was open has ended.", _END),
    EventRow("not-opened", "A connection has ended that was never open.", _END),
    EventRow(
        "message",
        "A message came, or was sent; only with --debug.",
        ("id", "direction", "type", "size", "payload"),
    ),
)

#: By the value of the key ``event``.
EVENTS: Final[Mapping[str, EventRow]] = MappingProxyType({row.name: row for row in _EVENTS})

_KEYS = (
    LogKey("time", str, "When, in UTC (RFC 3339), with microseconds."),
    LogKey("level", str, "debug, info, warn, error or critical."),
    LogKey("system", str, "Who tells: wsecho, or a part of Twisted."),
    LogKey("worker", int, "The number of the worker that tells; not there without --workers."),
    LogKey("event", str, "What the line tells of, when it is one of the events below."),
    LogKey("id", int, "The number of the connection in its process."),
    LogKey("text", str, "The line as the text format has it."),
    LogKey("traceback", str, "The traceback of what was raised, with its line ends."),
    LogKey("url", str, "Where a listener can be reached."),
    LogKey("peer", str, "The client: address and port, or unix."),
    LogKey("path", str, "The path that was asked for, escaped; null before a request.", True),
    LogKey("origin", str, "The Origin header, escaped; null without one.", True),
    LogKey("subprotocol", str, "The subprotocol that is spoken, escaped; null for none.", True),
    LogKey("reason", str, "Why the connection ended: one of the reasons."),
    LogKey("code", int, "The close code on the wire; null when there was none.", True),
    LogKey("status", int, "The HTTP status answered instead of 101; null when there was none.", True),
    LogKey("ended", str, "clean or cut."),
    LogKey("seconds", float, "How long it was open; of one that never was, how long it lasted."),
    LogKey("received", int, "Messages that came."),
    LogKey("received_bytes", int, "Their payload, decompressed."),
    LogKey("sent", int, "Messages that were sent."),
    LogKey("sent_bytes", int, "Their payload, before compression."),
    LogKey("dropped", int, "Messages for a slow client that were dropped."),
    LogKey("close_reason", str, "The text of the client's Close, escaped; null without one.", True),
    LogKey("direction", str, "received or sent."),
    LogKey("type", str, "text or binary."),
    LogKey("size", int, "The payload's bytes."),
    LogKey("payload", str, "The payload, escaped and shortened."),
)

#: Every key, by name, in the order in which lines have them.
LOG_KEYS: Final[Mapping[str, LogKey]] = MappingProxyType({key.name: key for key in _KEYS})


def keys_of(event: str) -> tuple[str, ...]:
    """Return the keys of a line that tells of `event`, in order; raises `KeyError` for an unknown one."""
    return (*EVERY_LINE, "event", *EVENTS[event].keys)
