"""What the admin endpoint asks of the server that it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Interface

from wsecho.policy.facts import ConnectionFacts, LagFacts, MessageSample, ServerState, Totals, WorkerFacts

__all__ = ["IOverseer", "ServerFacts"]


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server as a whole."""

    state: ServerState
    is_listening: bool
    is_accepting: bool
    uptime_seconds: float
    urls: Sequence[str]
    """What is listened on."""
    versions: Mapping[str, str]
    """Of wsecho and what it builds on, by name."""
    connections: int
    channels: int
    engine: str
    is_engine_up: bool
    engine_events: Mapping[str, int]
    """How often each of ``ENGINE_EVENTS`` happened."""
    certificates: Sequence[tuple[str, datetime]]
    """The names of each certificate in use, and when it ends."""
    workers: Sequence[WorkerFacts] = ()
    """The processes that serve, where there are several."""


class IOverseer(Interface):
    """Looks at a server, and acts on it for an operator.

    What it sees of several processes is what they told when `gather` was last called.
    """

    def gather(*, connections: bool) -> Deferred[None]:
        """Bring what is asked next up to date; never fails.

        :param connections: whether that is about single connections
        """

    def state() -> ServerState:
        """Whether new connections are welcome."""

    def server() -> ServerFacts:
        """The server as a whole."""

    def totals() -> Totals:
        """What all connections have done together."""

    def lag() -> LagFacts:
        """How late the reactor is."""

    def connections(after: int = 0, limit: int | None = None) -> Iterable[ConnectionFacts]:
        """The open connections with a higher number than ``after``: all in no order, or the first ``limit``
        in the order of their numbers, which takes less where there are many."""

    def connection(number: int) -> ConnectionFacts | None:
        """One open connection, by its id."""

    def channels() -> Mapping[str, int]:
        """The channels that somebody is on, and how many are."""

    def publish(channel: str, message: str | bytes) -> int | None:
        """Send a message to everybody on a channel; how many that are here, or None when the engine is away
        and nothing was sent."""

    def close(number: int, code: int, reason: str) -> bool:
        """Begin the closing handshake of an open connection; whether there is one of this id."""

    def set_accepting(accepting: bool) -> bool:
        """Pause or resume accepting; whether that is possible: not while the server stops."""

    def set_listening(listening: bool) -> Deferred[str]:
        """Close the ports, or open them again; fires with the line that says why that cannot be, empty when
        it is done."""

    def watch(
        tell: Callable[[MessageSample], object], connection: int | None, channel: str | None
    ) -> Callable[[], None]:
        """Tell of some of the messages that pass from now on; what is returned ends it.

        :param connection: only those of this one
        :param channel: only those on this channel
        """

    def configuration() -> Mapping[str, Any]:
        """The effective configuration, as JSON knows it, without secrets."""
