"""A stream of samples: messages as they pass, a line of JSON for each, to one watcher.

Rules of this file: what a watcher costs is bounded. There are few at a time; each ends after the time or the
number that it asked for; and while one does not read as fast as samples come, they are left out and counted,
never kept. It knows a request by what Twisted's has, and what passes by its overseer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from wsecho.policy.facts import MessageSample
from wsecho.web.beneath import BoundedRequest
from wsecho.web.interfaces import IOverseer

__all__ = ["MOST_WATCHERS", "SampleStream", "Watchers"]

MOST_WATCHERS: Final = 4
"""At a time; the next is told to come later."""


class Watchers:
    """Who watches.

    :param overseer: of the server whose messages they are
    :param now: the time, aware
    """

    def __init__(self, overseer: IOverseer, now: Callable[[], datetime]) -> None:
        self.overseer = overseer
        self.now = now
        self.streams: set[_Running] = set()

    @property
    def are_full(self) -> bool:
        """Whether nobody else may watch."""
        return len(self.streams) >= MOST_WATCHERS

    def end(self) -> None:
        """End all streams."""
        for stream in tuple(self.streams):
            stream.end()


@dataclass(frozen=True, slots=True)
class SampleStream:
    """What a watcher asked for."""

    watchers: Watchers
    seconds: int
    count: int | None
    """Samples until the end; None for no such end."""
    connection: int | None
    channel: str | None

    def begin(self, request: BoundedRequest) -> None:
        """Send it, as the body of an answer whose head is written."""
        _Running(self, request).begin()


@implementer(IPushProducer)
class _Running:
    def __init__(self, asked: SampleStream, request: BoundedRequest) -> None:
        self._asked = asked
        self._request = request
        self._left = asked.count
        self._dropped = 0
        self._is_held = False
        self._has_ended = False
        self._call: Any = None
        self._stop: Callable[[], None] | None = None

    def begin(self) -> None:
        asked, watchers, request = self._asked, self._asked.watchers, self._request
        watchers.streams.add(self)
        request.notifyFinish().addBoth(lambda _: self._forget())
        request.registerProducer(self, True)  # type: ignore[no-untyped-call]
        self._call = request.clock.callLater(asked.seconds, self.end)
        request.stay(asked.seconds)
        # Whoever asked sees that it has begun, and how it ends, before anything has passed.
        request.write(b"\n")  # type: ignore[no-untyped-call]
        self._stop = watchers.overseer.watch(self._passes, asked.connection, asked.channel)

    def _passes(self, sample: MessageSample) -> None:
        if self._has_ended:
            return
        if self._is_held:
            self._dropped += 1
            return
        now = self._asked.watchers.now().astimezone(UTC)
        line = {
            "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "connection": sample.connection,
            "peer": sample.peer,
            "service": sample.service,
            "channel": sample.channel,
            "kind": "binary" if sample.is_binary else "text",
            "size": sample.size,
            "beginning": sample.beginning,
            "dropped": self._dropped,
        }
        self._dropped = 0
        self._request.write(json.dumps(line).encode("ascii") + b"\n")  # type: ignore[no-untyped-call]
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self.end()

    def end(self) -> None:
        """The answer is complete."""
        if self._forget():
            self._request.unregisterProducer()  # type: ignore[no-untyped-call]
            self._request.finish()  # type: ignore[no-untyped-call]

    def _forget(self) -> bool:
        """Take no more samples.

        :returns: whether any were taken before
        """
        if self._has_ended:
            return False
        self._has_ended = True
        self._asked.watchers.streams.discard(self)
        if self._call.active():
            self._call.cancel()
        if self._stop is not None:
            self._stop()
        return True

    def pauseProducing(self) -> None:
        """The watcher does not read as fast."""
        self._is_held = True

    def resumeProducing(self) -> None:
        """It has caught up."""
        self._is_held = False

    def stopProducing(self) -> None:
        """It has left."""
        self._forget()
