"""What is told of connections and of the server, to whoever watches: values, each true of one moment.

Rules of this file: nothing here leads back to a connection, so that a list of these may be kept, sorted and
sent; text of a peer's is escaped already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "ConnectionFacts",
    "LagFacts",
    "MessageSample",
    "ServerState",
    "Totals",
    "Traffic",
    "WorkerFacts",
]


class ServerState(StrEnum):
    """Whether new connections are welcome, and if not, why."""

    STARTING = "starting"
    """Not every listener listens yet."""
    READY = "ready"
    PAUSED = "paused"
    """An operator paused accepting: new connections wait in the kernel."""
    CLOSED = "closed"
    """An operator closed the ports: new connections are refused."""
    DRAINING = "draining"
    """The server is stopping."""
    ENGINE_AWAY = "engine-away"
    """What connects the channels of several processes cannot be reached."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Messages and the bytes of their payloads, decompressed."""

    received_messages: int = 0
    received_bytes: int = 0
    sent_messages: int = 0
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """One open connection."""

    id: int
    """As in the log."""
    peer: str
    """``127.0.0.1:40000``, ``[::1]:40000`` or ``unix``."""
    address: str | None
    """The peer's address alone; None on a unix socket."""
    path: str
    """As it was requested, with its query; escaped."""
    origin: str | None
    """Escaped; None when there was none."""
    service: str
    channel: str | None
    """None where the service has no channels; empty for the one without a name."""
    subprotocol: str | None
    is_secure: bool
    seconds_open: float
    traffic: Traffic
    queued_bytes: int
    """What the kernel has not taken yet."""
    dropped_messages: int


@dataclass(frozen=True, slots=True)
class MessageSample:
    """One of the messages that pass."""

    connection: int | None
    """Who sent it; None when an operator published it."""
    peer: str | None
    """Likewise."""
    service: str
    channel: str | None
    is_binary: bool
    size: int
    """Bytes."""
    beginning: str
    """Of its content: text escaped, bytes in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Totals:
    """All connections of a server together, ended ones included: counts never go down."""

    handshakes: Mapping[tuple[str, str], int]
    """By outcome, ``opened`` or an end reason, and HTTP status, empty where there was none."""
    ends: Mapping[str, int]
    """Of open connections, by end reason."""
    traffic: Mapping[str, Traffic]
    """By service."""
    dropped: Mapping[str, int]
    """Messages, by slow-consumer policy."""
    open: Mapping[str, int]
    """Connections that are open now, by service."""
    queued_bytes: int
    """What waits for all of them now."""
    largest_queue_bytes: int
    """What waits for the one for which most does."""


@dataclass(frozen=True, slots=True)
class LagFacts:
    """How late the reactor was with a timer, in seconds."""

    count: int
    sum: float
    largest: float
    """Of the last minute."""


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """One place among the processes of a server, and the process that has it now."""

    number: int
    """From 1."""
    pid: int | None
    """None while there is no process."""
    state: str
    """``starting``, ``ready``, ``stopping``, ``waiting`` to be started again, or ``gone``."""
    restarts: int
    """How often a process of this place ended while the server did not stop."""
    connections: int
    received_messages: int
    """Of the process that has the place now; so is what follows."""
    sent_messages: int
    lag_largest: float
    """Seconds; of the last minute."""
    cpu_seconds: float
