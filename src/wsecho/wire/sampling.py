"""Samples of the messages that clients send, for whoever watches.

Rules of this file: while nobody watches, no message costs anything, not even a question. A connection is
looked at by an attribute of its own in place of its ``onMessage``; one whose messages the lane sends back by
itself asks for that long. When all who watch have had enough for now, a connection that sends is left alone
until there is room for more, so that a busy one goes through Python for single messages, not for all. Those
who are silent stay looked at: what is rare is seen first.

What a service sends by itself is not seen, nor is a message of a connection whose ``onMessage`` was set on
that one connection by a program.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from wsecho.policy.facts import MessageSample
from wsecho.policy.lifecycle import Phase
from wsecho.policy.metrics import OTHER_SERVICE
from wsecho.policy.text import escape_peer_text

__all__ = ["BYTES_SHOWN", "CHARACTERS_SHOWN", "SAMPLES_PER_SECOND", "Sampler", "sample_of"]

_log = Logger("wsecho")

SAMPLES_PER_SECOND: Final = 20
"""For each who watches; as many may come at once after silence."""

CHARACTERS_SHOWN: Final = 256
"""Of a text, escaped."""

BYTES_SHOWN: Final = 64
"""Of a binary message."""

_TICK_SECONDS: Final = 0.1
_MOST_LOOKED_AT_AGAIN: Final = 64
"""Connections in one tick: the work stays bounded, however many send."""

Tell = Callable[[MessageSample], object]


class _Watch:
    __slots__ = ("_channel", "_connection", "budget", "tell")

    def __init__(self, tell: Tell, connection: int | None, channel: str | None) -> None:
        self.tell = tell
        self.budget = float(SAMPLES_PER_SECOND)
        self._connection = connection
        self._channel = channel

    def wants(self, number: int | None, channel: str | None) -> bool:
        return (self._connection is None or self._connection == number) and (
            self._channel is None or self._channel == channel
        )


def sample_of(connection: Any, payload: bytes, is_binary: bool) -> MessageSample:
    """What is shown of a message that a connection sent."""
    service = connection.service
    return MessageSample(
        connection=connection.id,
        peer=connection.peer,
        service=getattr(service, "name", OTHER_SERVICE),
        channel=getattr(service, "channel", None),
        is_binary=is_binary,
        size=len(payload),
        beginning=_beginning(payload, is_binary),
    )


def _beginning(payload: bytes, is_binary: bool) -> str:
    if not is_binary:
        return escape_peer_text(payload, CHARACTERS_SHOWN)
    rest = len(payload) - BYTES_SHOWN
    shown = payload[:BYTES_SHOWN].hex(" ")
    return f"{shown} ...({len(payload)} bytes in all)" if rest > 0 else shown


class _Look:
    """Stands before the ``onMessage`` of one connection."""

    __slots__ = ("_connection", "_sampler")

    def __init__(self, sampler: Sampler, connection: Any) -> None:
        self._sampler = sampler
        self._connection = connection

    def __call__(self, payload: bytes, isBinary: bool) -> None:
        connection = self._connection
        self._sampler.passes(connection, payload, isBinary)
        type(connection).onMessage(connection, payload, isBinary)


class Sampler:
    """Looks at the connections of some factories while somebody watches.

    :param clock: of the pace
    :param factories: those there are now, `wsecho.ServerFactory`
    """

    def __init__(self, clock: IReactorTime, factories: Callable[[], Iterable[Any]]) -> None:
        self._clock = clock
        self._factories = factories
        self._watches: list[_Watch] = []
        self._left_alone: deque[Any] = deque()
        self._call: IDelayedCall | None = None

    def watch(
        self, tell: Tell, *, connection: int | None = None, channel: str | None = None
    ) -> Callable[[], None]:
        """Tell of messages from now on.

        :param connection: of this one only
        :param channel: of those on this channel only
        :returns: ends it; harmless when it has ended
        """
        watch = _Watch(tell, connection, channel)
        self._watches.append(watch)
        for factory in self._factories():
            factory.sampler = self
            for one in tuple(factory.connections):
                self.opened(one)
        if self._call is None:
            self._call = self._clock.callLater(_TICK_SECONDS, self._tick)
        return partial(self._end, watch)

    def published(self, channel: str, message: str | bytes) -> None:
        """Somebody who is no client published a message."""
        if self._watches:
            is_binary = isinstance(message, bytes)
            payload = message if isinstance(message, bytes) else message.encode("utf-8", "replace")
            beginning = _beginning(payload, is_binary)
            sample = MessageSample(None, None, "broadcast", channel, is_binary, len(payload), beginning)
            self._show(None, channel, lambda: sample)

    def opened(self, connection: Any) -> None:
        """A connection is open, and may be looked at."""
        if self._is_wanted(connection) and "onMessage" not in vars(connection):
            connection.onMessage = _Look(self, connection)
            if connection.lane is not None:
                connection.lane.tell_owner()

    def _is_wanted(self, connection: Any) -> bool:
        channel = getattr(connection.service, "channel", None)
        return any(watch.wants(connection.id, channel) for watch in self._watches)

    def passes(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        """A connection that is looked at sent a message."""
        channel = getattr(connection.service, "channel", None)
        if not self._show(connection.id, channel, partial(sample_of, connection, payload, is_binary)):
            _leave_alone(connection)
            self._left_alone.append(connection)

    def _show(self, number: int | None, channel: str | None, make: Callable[[], MessageSample]) -> bool:
        """Tell all who want to know, and have not had enough.

        :returns: whether one of them wants more
        """
        sample = None
        wants_more = False
        for watch in tuple(self._watches):
            if not watch.wants(number, channel):
                continue
            if watch.budget >= 1:
                watch.budget -= 1
                sample = make() if sample is None else sample
                try:
                    watch.tell(sample)
                except Exception:
                    # Of whoever watches; the client whose message it is has no part in it.
                    _log.failure("a watcher of messages failed")
                    self._end(watch)
            wants_more = wants_more or watch.budget >= 1
        return wants_more

    def _tick(self) -> None:
        self._call = self._clock.callLater(_TICK_SECONDS, self._tick)
        for watch in self._watches:
            watch.budget = min(float(SAMPLES_PER_SECOND), watch.budget + SAMPLES_PER_SECOND * _TICK_SECONDS)
        again = 0
        while self._left_alone and again < _MOST_LOOKED_AT_AGAIN:
            connection = self._left_alone.popleft()
            if connection.phase is Phase.OPEN:
                self.opened(connection)
                again += 1

    def _end(self, watch: _Watch) -> None:
        if watch not in self._watches:
            return
        self._watches.remove(watch)
        if self._watches:
            return
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        self._left_alone.clear()
        for factory in self._factories():
            factory.sampler = None
            for connection in tuple(factory.connections):
                _leave_alone(connection)


def _leave_alone(connection: Any) -> None:
    if isinstance(vars(connection).get("onMessage"), _Look):
        del connection.onMessage
        if connection.lane is not None:
            connection.lane.echo_again()
