"""The relay: members of channels on one side, the engine on the other.

Rules of this file: what is published goes to the engine, and what the engine tells of goes to the members; so
all members of a channel, on whatever node, see one order. Two exceptions are made elsewhere, in
:mod:`wsecho.services.broadcast`, for the sake of speed: where the engine neither shares nor keeps anything,
there is nothing for it to do.

A member is told of what it may have missed. Who speaks envelopes is told in an envelope; others are closed
with 1012, so that they connect again, one after the other, because all at once would be a storm.

A channel of a shared engine is subscribed to before the first connection on it opens, so that whoever is open
gets everything, and for `LINGER_SECONDS` after the last has gone, so that one that connects again is no
traffic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsecho.hub.channels import Hub, IMember
from wsecho.hub.engine import (
    EngineError,
    EngineState,
    Entry,
    History,
    IEngine,
    IEngineListener,
    Position,
    Publication,
)
from wsecho.services.publications import Relayed
from wsecho.wire.drain import Spread

__all__ = ["LINGER_SECONDS", "MOST_REPLAYED", "MOST_REPLAYED_BYTES", "REPLAYED_SECONDS", "Relay"]

_log = Logger("wsecho")

LINGER_SECONDS = 5.0
"""For so long a channel that nobody is on is listened to."""

REPLAYED_SECONDS = 5.0
"""For so long the frames of a history are kept."""

MOST_REPLAYED, MOST_REPLAYED_BYTES = 1024, 4 * 1024**2
"""Messages of histories that are kept framed, and the bytes of their payloads."""

_LONGEST_SPREAD = 5.0
_TOLD_PER_SECOND = 100


def _now(deferred: Deferred[Any]) -> Any:
    """The result of a Deferred that has fired; None of one that has not."""
    found: list[Any] = []
    deferred.addCallback(found.append)
    return found[0] if found else None


def _nobody_cares(channel: str) -> None:
    """Nobody wants to know."""


class _Subscription:
    """A channel of a shared engine that somebody here is on, was on, or is about to be on."""

    __slots__ = ("is_live", "position", "timer", "waiting")

    def __init__(self) -> None:
        self.is_live = False
        self.position: Position | None = None
        self.waiting: list[Deferred[None]] = []
        self.timer: Any = None


@implementer(IEngineListener)
class Relay:
    """Joins a hub to an engine.

    :param hub: the members
    :param engine: an `IEngine`
    :param clock: an ``IReactorTime``; a shared engine needs one
    """

    def __init__(self, hub: Hub[Any], engine: Any, clock: Any = None) -> None:
        self.hub = hub
        self.engine: Any = IEngine(engine)
        self.counts: Counter[str] = Counter()
        """What happened, by name of ``ENGINE_EVENTS``; what the engine counts itself is not among it."""
        self.on_presence: Callable[[str], object] = _nobody_cares
        """Called with the name of a channel whose number of members changed elsewhere."""
        self._replayed: dict[tuple[str, Position | None], Relayed] = {}
        self._replayed_bytes = 0
        self._forgetting: Any = None
        self._clock = clock
        self._subscriptions: dict[str, _Subscription] = {}
        self._senders: dict[str, IMember] = {}
        self._affected: list[Any] = []
        self._spreads: list[Spread[Any]] = []
        self._spreading: Any = None

    def start(self) -> Deferred[None]:
        """Start the engine; fires when it is up."""
        started: Deferred[None] = self.engine.start(self)
        return started

    def stop(self) -> Deferred[None]:
        """Stop the engine."""
        for subscription in self._subscriptions.values():
            self._cancel(subscription)
        self._subscriptions.clear()
        for name in ("_spreading", "_forgetting"):
            timer = getattr(self, name)
            setattr(self, name, None)
            if timer is not None:
                timer.cancel()
        for spread in self._spreads:
            spread.stop()
        stopped: Deferred[None] = self.engine.stop()
        return stopped

    @property
    def is_away(self) -> bool:
        """Whether the engine cannot be reached now."""
        return self.engine.state is EngineState.AWAY

    # -- members ---------------------------------------------------------------------------------------------

    def ready(self, channel: str) -> Deferred[None]:
        """Listen to a channel of a shared engine.

        :returns: fires when it is so; fails with `EngineError`
        """
        subscription = self._subscriptions.get(channel)
        if subscription is None:
            subscription = self._subscriptions[channel] = _Subscription()
            self.engine.subscribe(channel).addCallbacks(
                self._subscribed,
                self._not_subscribed,
                callbackArgs=(channel, subscription),
                errbackArgs=(channel, subscription),
            )
        self._linger(channel, subscription)
        if subscription.is_live:
            return succeed(None)
        waiting = subscription.waiting
        deferred: Deferred[None] = Deferred(waiting.remove)
        waiting.append(deferred)
        return deferred

    def _subscribed(self, position: Position | None, channel: str, subscription: _Subscription) -> None:
        subscription.is_live = True
        subscription.position = position
        waiting, subscription.waiting = subscription.waiting, []
        for deferred in waiting:
            deferred.callback(None)

    def _not_subscribed(self, failure: Failure, channel: str, subscription: _Subscription) -> None:
        self._cancel(subscription)
        # Gone already, when the relay was stopped.
        self._subscriptions.pop(channel, None)
        waiting, subscription.waiting = subscription.waiting, []
        for deferred in waiting:
            deferred.errback(failure)
        if not isinstance(failure.value, EngineError):
            _log.failure("the engine failed to subscribe", failure)

    def joined(self, channel: str, member_id: str) -> None:
        """A member is on a channel."""
        if self.engine.is_shared:
            self.engine.present(channel, member_id)

    def left(self, channel: str, member_id: str) -> None:
        """A member is on a channel no longer."""
        if self.engine.is_shared:
            self.engine.absent(channel, member_id)
            subscription = self._subscriptions.get(channel)
            if subscription is not None and not self.hub.members(channel):
                self._linger(channel, subscription)

    def keep_from(self, member_id: str, member: IMember) -> None:
        """Do not give to this member what it publishes itself."""
        self._senders[member_id] = member

    def forget(self, member_id: str) -> None:
        """A member that `keep_from` was told of is gone."""
        self._senders.pop(member_id, None)

    def _linger(self, channel: str, subscription: _Subscription) -> None:
        if subscription.timer is None:
            subscription.timer = self._clock.callLater(LINGER_SECONDS, self._look, channel, subscription)
        else:
            subscription.timer.reset(LINGER_SECONDS)

    def _look(self, channel: str, subscription: _Subscription) -> None:
        subscription.timer = None
        if self.hub.members(channel):
            return
        if subscription.waiting:
            self._linger(channel, subscription)
            return
        del self._subscriptions[channel]
        self.engine.unsubscribe(channel)

    @staticmethod
    def _cancel(subscription: _Subscription) -> None:
        timer, subscription.timer = subscription.timer, None
        if timer is not None:
            timer.cancel()

    # -- asking ----------------------------------------------------------------------------------------------

    def publish(self, channel: str, publication: Publication) -> Deferred[Position | None]:
        """Publish; see `IEngine.publish`."""
        published: Deferred[Position | None] = self.engine.publish(channel, publication)
        return published.addErrback(self._not_published)

    def _not_published(self, failure: Failure) -> Failure:
        self.counts["publish-failed"] += 1
        return failure

    def position(self, channel: str) -> Position | None:
        """Behind which position of a channel the next message comes; None without history."""
        if self.engine.is_shared:
            subscription = self._subscriptions.get(channel)
            return None if subscription is None else subscription.position
        position: Position | None = _now(self.engine.subscribe(channel))
        return position

    def history(self, channel: str, since: Position) -> Deferred[History]:
        """See `IEngine.history`."""
        history: Deferred[History] = self.engine.history(channel, since)
        return history

    def replayed(self, channel: str, entry: Entry) -> Relayed:
        """An entry of the history as what members get. Those who go on after the same break get the same, so
        the latest are kept for a moment, where there is a clock."""
        if self._clock is None:
            return Relayed(entry)
        if self._forgetting is None:
            self._forgetting = self._clock.callLater(REPLAYED_SECONDS, self._forget_replayed)
        key = channel, entry.position
        found = self._replayed.pop(key, None)
        if found is None:
            found = Relayed(entry)
            self._replayed_bytes += len(entry.publication.payload)
        self._replayed[key] = found
        while len(self._replayed) > MOST_REPLAYED or self._replayed_bytes > MOST_REPLAYED_BYTES:
            forgotten = self._replayed.pop(next(iter(self._replayed)))
            self._replayed_bytes -= len(forgotten.entry.publication.payload)
        return found

    def _forget_replayed(self) -> None:
        # What is too old for the history must not live on here.
        self._forgetting = None
        self._replayed.clear()
        self._replayed_bytes = 0

    def presence(self, channel: str) -> Deferred[int]:
        """How many are on a channel, over all nodes."""
        if self.engine.is_shared:
            presence: Deferred[int] = self.engine.presence(channel)
            return presence
        return succeed(self.hub.members(channel))

    # -- what the engine tells (IEngineListener) -------------------------------------------------------------

    def arrived(self, channel: str, entry: Entry) -> None:
        """See `IEngineListener`."""
        if entry.position is not None:
            subscription = self._subscriptions.get(channel)
            if subscription is not None:
                subscription.position = entry.position
        if self.hub.members(channel):
            self.hub.publish(channel, Relayed(entry), but=self._senders.get(entry.publication.sender))

    def lost(self, channel: str, since: Position | None) -> None:
        """See `IEngineListener`."""
        self.counts["gap"] += 1
        for member in self.hub.on(channel):
            missed = getattr(member, "missed", None)
            if missed is None or missed(since):
                continue
            self._affected.append(member)
            if self._spreading is None:
                # Those of other channels are told in the same turn.
                self._spreading = self._clock.callLater(0, self._close_affected)

    def _close_affected(self) -> None:
        self._spreading = None
        affected, self._affected = self._affected, []
        seconds = min(_LONGEST_SPREAD, len(affected) / _TOLD_PER_SECOND)
        _log.warn(
            "engine {name}: messages may be missing; connections that get Close 1012: {number}",
            name=self.engine.name,
            number=len(affected),
        )
        spread: Spread[Any] = Spread(self._clock, seconds, lambda member: member.give_up())
        self._spreads = [one for one in self._spreads if not one.is_over]
        self._spreads.append(spread)
        spread.begin(affected)

    def state_changed(self, state: EngineState) -> None:
        """See `IEngineListener`."""
        log = _log.warn if state is EngineState.AWAY else _log.info
        log("engine {name}: {state}", name=self.engine.name, state=str(state))
        for member in self._members():
            tell = getattr(member, "engine_changed", None)
            if tell is not None:
                tell(state)

    def presence_changed(self, channel: str, count: int) -> None:
        """See `IEngineListener`."""
        self.on_presence(channel)

    def _members(self) -> Iterator[IMember]:
        return (member for channel in self.hub for member in self.hub.on(channel))
