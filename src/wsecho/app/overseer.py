"""The overseer of a running service: what the admin endpoint sees of it, and does to it.

Rules of this file: it keeps nothing. Every answer is made from the service, its servers, the channels and
the tally as they are at that moment.
"""

from __future__ import annotations

import heapq
import platform
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from wsecho.app.listeners import ListenError
from wsecho.app.options import version
from wsecho.hub.engine import EngineError, EngineState
from wsecho.policy.facts import ServerState
from wsecho.policy.options import TABLE, Kind, option
from wsecho.policy.text import without_password
from wsecho.web.interfaces import IOverseer, ServerFacts
from wsecho.wire.tally import facts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from wsecho.app.configuration import Configuration, Setting
    from wsecho.app.lag import LagMeter
    from wsecho.app.service import WebSocketService
    from wsecho.policy.facts import ConnectionFacts, LagFacts, MessageSample, Totals
    from wsecho.policy.options import Option, Value
    from wsecho.services.broadcast import BroadcastService
    from wsecho.tls.contexts import ConfiguredCreator
    from wsecho.wire.sampling import Sampler
    from wsecho.wire.tally import Tally

__all__ = ["Overseer", "described", "versions"]

_log = Logger(namespace="wsecho")


@implementer(IOverseer)
@dataclass(frozen=True, slots=True)
class Overseer:
    """Sees one service."""

    service: WebSocketService
    reactor: Any
    broadcast: BroadcastService
    tally: Tally
    meter: LagMeter
    sampler: Sampler
    effective: Configuration
    tls: ConfiguredCreator | None

    def gather(self, *, connections: bool) -> Deferred[None]:
        """See `IOverseer`."""
        return succeed(None)

    def state(self) -> ServerState:
        """See `IOverseer`."""
        return self.service.state

    def server(self) -> ServerFacts:
        """See `IOverseer`."""
        service, engine = self.service, self.broadcast.relay.engine
        return ServerFacts(
            state=service.state,
            is_listening=service.is_listening,
            is_accepting=service.is_accepting,
            uptime_seconds=service.uptime_seconds,
            urls=service.urls,
            versions=versions(),
            connections=sum(len(server.factory.connections) for server in service.servers),
            channels=len(self.broadcast.hub),
            engine=engine.name,
            is_engine_up=engine.state is EngineState.UP,
            engine_events={**engine.counts, **self.broadcast.relay.counts},
            certificates=() if self.tls is None else self.tls.validity,
        )

    def totals(self) -> Totals:
        """See `IOverseer`."""
        return self.tally.totals(one for server in self.service.servers for one in server.factory.alive)

    def lag(self) -> LagFacts:
        """See `IOverseer`."""
        return self.meter.facts

    def connections(self, after: int = 0, limit: int | None = None) -> Iterator[ConnectionFacts]:
        """See `IOverseer`."""
        now = self.reactor.seconds()
        found: Iterable[Any] = (one for one in self._open() if one.id > after)
        if limit is not None:
            found = heapq.nsmallest(limit, found, key=lambda one: one.id)
        return (facts_of(one, now) for one in found)

    def connection(self, number: int) -> ConnectionFacts | None:
        """See `IOverseer`."""
        found = self._find(number)
        return None if found is None else facts_of(found, self.reactor.seconds())

    def channels(self) -> Mapping[str, int]:
        """See `IOverseer`."""
        hub = self.broadcast.hub
        return {name: hub.members(name) for name in hub}

    def publish(self, channel: str, message: str | bytes) -> int | None:
        """See `IOverseer`."""
        if self.broadcast.relay.is_away:
            return None
        members = self.broadcast.hub.members(channel)
        self.broadcast.publish(channel, message).addErrback(_not_published, channel)
        self.sampler.published(channel, message)
        return members

    def close(self, number: int, code: int, reason: str) -> bool:
        """See `IOverseer`."""
        found = self._find(number)
        if found is None:
            return False
        found.sendClose(code, reason or None)
        return True

    def set_accepting(self, accepting: bool) -> bool:
        """See `IOverseer`."""
        return self.service.set_accepting(accepting)

    def set_listening(self, listening: bool) -> Deferred[str]:
        """See `IOverseer`."""
        done: Deferred[Any] = self.service.set_listening(listening)
        return done.addCallbacks(lambda _: "", _line_of)

    def watch(
        self, tell: Callable[[MessageSample], object], connection: int | None, channel: str | None
    ) -> Callable[[], None]:
        """See `IOverseer`."""
        return self.sampler.watch(tell, connection=connection, channel=channel)

    def configuration(self) -> Mapping[str, Any]:
        """See `IOverseer`."""
        return described(self.effective)

    def _open(self) -> Iterator[Any]:
        return (one for server in self.service.servers for one in tuple(server.factory.connections))

    def _find(self, number: int) -> Any:
        return next((one for one in self._open() if one.id == number), None)


def _line_of(failure: Failure) -> str:
    failure.trap(ListenError)  # type: ignore[no-untyped-call]
    return failure.getErrorMessage()


def _not_published(failure: Failure, channel: str) -> None:
    """The engine broke away in the moment after the answer."""
    if not isinstance(failure.value, EngineError):
        failure.raiseException()
    _log.error('admin: the message on channel "{channel}" was not published', channel=channel)


@cache
def versions() -> dict[str, str]:
    """The versions of wsecho and what it builds on, by name."""
    # Read from files, which a scrape need not do each time.
    return {
        "wsecho": version(),
        "python": platform.python_version(),
        "twisted": metadata.version("twisted"),
        "autobahn": metadata.version("autobahn"),
    }


def described(configuration: Configuration) -> dict[str, Any]:
    """The effective configuration, as JSON knows it: what ``wsecho show-config`` writes as TOML.

    Files are named, what is in them is not told; of a URL, the password is left out.
    """
    return {
        "options": [_option(configuration, row, configuration.values[row.name]) for row in TABLE],
        "channels": {
            channel: [_option(configuration, option(name), setting) for name, setting in table.items()]
            for channel, table in configuration.channels.items()
        },
    }


def _option(configuration: Configuration, row: Option, setting: Setting) -> dict[str, Any]:
    value: Value = setting.value
    if row.name == "max-frame-size" and value is None:
        value = configuration.settings().max_frame_size
    elif row.name == "port":
        value = configuration.port
    elif row.kind is Kind.URL and isinstance(value, str):
        value = without_password(value)
    return {
        "name": row.name,
        "value": list(value) if isinstance(value, tuple) else value,
        "shown": row.default_text if row.default_text and value is None else row.format(value),
        "source": setting.source,
    }
