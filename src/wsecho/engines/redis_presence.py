"""Who is on a channel: a node tells how many of its members are, and Redis adds up.

Rules of this file: names of members stay on their node. Changes leave together, at most once a second for a
channel, and everything is told again when Redis may have forgotten it. A node that gives no sign of life is
not counted (`wsecho.engines.redis_scripts.COUNT`).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from wsecho.engines.redis_frames import Presence
from wsecho.engines.redis_link import RedisLink
from wsecho.engines.redis_store import RedisStore
from wsecho.engines.shared_answers import SharedAnswers

__all__ = ["Presences"]

_SECONDS_BETWEEN = 1.0


class Presences:
    """The members of one node, and what others tell of theirs.

    :param clock: an ``IReactorTime``
    """

    def __init__(self, store: RedisStore, clock: Any, link: RedisLink, node: str) -> None:
        self._store = store
        self._clock = clock
        self._link = link
        self._node = node
        self._members: dict[str, set[str]] = {}
        self._changed: dict[str, None] = {}
        self._timer: Any = None
        self._last = -_SECONDS_BETWEEN
        # What others told within the last second; told on when it is over.
        self._told: dict[str, int] = {}
        self._telling: Any = None
        self._counts: SharedAnswers[None, int] = SharedAnswers(self._ask, clock, gathers=False)

    def present(self, channel: str, member: str) -> None:
        """A member is on the channel."""
        members = self._members.setdefault(channel, set())
        if member not in members:
            members.add(member)
            self._change(channel)

    def absent(self, channel: str, member: str) -> None:
        """It is no longer."""
        members = self._members.get(channel)
        if members is None or member not in members:
            return
        members.discard(member)
        if not members:
            del self._members[channel]
        self._change(channel)

    def count(self, channel: str) -> Deferred[int]:
        """How many there are over all nodes."""
        return self._counts.ask(channel, None)

    def _ask(self, channel: str, _: list[None]) -> Deferred[int]:
        # What changed on this node is told before it is asked.
        changed = self._changed.pop(channel, 0) is None
        return self._announce(channel) if changed else self._store.count(channel)

    def announce_all(self) -> None:
        """Tell everything again."""
        self._changed.update(dict.fromkeys(self._members))
        self._flush()

    def heard(self, channel: str, told: Presence, listener: Any) -> None:
        """Another node has changed the number."""
        if told.node == self._node:
            return
        self._told[channel] = told.count
        if self._telling is None:
            self._telling = self._clock.callLater(_SECONDS_BETWEEN, self._tell, listener)

    def stop(self) -> None:
        """Tell nothing any more."""
        self._counts.stop()
        for timer in (self._timer, self._telling):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._telling = None
        if self._link.is_open:
            # So that nobody has to wait until this node expires.
            for channel in self._members:
                self._store.announce(channel, 0).addErrback(lambda _: None)
        self._members.clear()
        self._changed.clear()

    def _change(self, channel: str) -> None:
        self._changed[channel] = None
        if self._timer is None:
            waited = self._clock.seconds() - self._last
            delay = min(max(0.0, _SECONDS_BETWEEN - waited), _SECONDS_BETWEEN)
            self._timer = self._clock.callLater(delay, self._flush)

    def _flush(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self._last = self._clock.seconds()
        if not self._link.is_open:
            return
        changed, self._changed = self._changed, {}
        for channel in changed:
            self._announce(channel).addErrback(lambda _: None)

    def _announce(self, channel: str) -> Deferred[int]:
        return self._store.announce(channel, len(self._members.get(channel, ())))

    def _tell(self, listener: Any) -> None:
        self._telling = None
        told, self._told = self._told, {}
        for channel, count in told.items():
            listener.presence_changed(channel, count)
