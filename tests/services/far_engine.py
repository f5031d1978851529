"""An engine that several nodes share, and whose every word takes its time: a test says how much of it has
passed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from wsecho.hub.engine import (
    EngineAway,
    EngineState,
    Entry,
    History,
    IEngine,
    IEngineListener,
    Position,
    Publication,
    Retention,
)
from wsecho.hub.memory import MemoryEngine


@implementer(IEngineListener)
class Broker:
    """What the nodes share.

    :ivar waiting: what is on its way, in order
    """

    def __init__(self, size: int = 0, clock: Any = None) -> None:
        self.keeps = Retention(size)
        self.storage = MemoryEngine(lambda channel: self.keeps, clock)
        self.storage.start(self)
        self.nodes: list[FarEngine] = []
        self.waiting: deque[Callable[[], object]] = deque()

    def node(self) -> FarEngine:
        """An engine of one more node."""
        engine = FarEngine(self)
        self.nodes.append(engine)
        return engine

    def pump(self, steps: int = 10**6) -> None:
        """Let so much of what is on its way arrive."""
        while self.waiting and steps:
            steps -= 1
            self.waiting.popleft()()

    def answer(self, deferred: Deferred[Any], ask: Callable[[], Deferred[Any]]) -> None:
        """Ask the storage, later, and answer, later still."""

        def answered(result: Any) -> None:
            self.waiting.append(lambda: deferred.callback(result))

        def asked() -> None:
            ask().addCallback(answered)

        self.waiting.append(asked)

    # -- what the storage tells ------------------------------------------------------------------------------

    def arrived(self, channel: str, entry: Entry) -> None:
        for node in self.nodes:
            self.waiting.append(partial(node.hear, channel, entry))

    def lost(self, channel: str, since: Position | None) -> None:
        raise AssertionError("memory loses nothing")

    def state_changed(self, state: EngineState) -> None:
        raise AssertionError("memory is always up")

    def presence_changed(self, channel: str, count: int) -> None:
        raise AssertionError("memory has one node")


@implementer(IEngine)
class FarEngine:
    """One node's.

    :ivar subscribed: the channels that it tells of
    :ivar members: by channel, who is present
    """

    name = "far"
    is_shared = True

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.state = EngineState.UP
        self.counts: dict[str, int] = {}
        self.subscribed: set[str] = set()
        self.members: dict[str, set[str]] = {}
        self.listener: Any = None
        self.failure: Exception | None = None
        self.questions: list[Position | None] = []

    def retention(self, channel: str) -> Retention:
        return self._broker.keeps

    def start(self, listener: object) -> Deferred[None]:
        self.listener = IEngineListener(listener)
        return succeed(None)

    def stop(self) -> Deferred[None]:
        self.listener = None
        return succeed(None)

    def publish(self, channel: str, publication: Publication) -> Deferred[Position | None]:
        deferred: Deferred[Position | None] = Deferred()
        if self.failure is not None:
            failure = self.failure
            self._broker.waiting.append(lambda: deferred.errback(failure))
        else:
            self._broker.answer(deferred, lambda: self._broker.storage.publish(channel, publication))
        return deferred

    def subscribe(self, channel: str) -> Deferred[Position | None]:
        deferred: Deferred[Position | None] = Deferred()

        def asked() -> None:
            if self.failure is not None:
                deferred.errback(self.failure)
                return
            self.subscribed.add(channel)
            position = self._broker.storage.subscribe(channel)
            self._broker.waiting.append(lambda: position.addCallback(deferred.callback))

        self._broker.waiting.append(asked)
        return deferred

    def unsubscribe(self, channel: str) -> None:
        self.subscribed.remove(channel)

    def history(self, channel: str, since: Position | None) -> Deferred[History]:
        self.questions.append(since)
        deferred: Deferred[History] = Deferred()
        if self.failure is not None:
            failure = self.failure
            self._broker.waiting.append(lambda: deferred.errback(failure))
        else:
            self._broker.answer(deferred, lambda: self._broker.storage.history(channel, since))
        return deferred

    def present(self, channel: str, member: str) -> None:
        self.members.setdefault(channel, set()).add(member)

    def absent(self, channel: str, member: str) -> None:
        self.members[channel].remove(member)

    def presence(self, channel: str) -> Deferred[int]:
        deferred: Deferred[int] = Deferred()
        if self.failure is not None:
            failure = self.failure
            self._broker.waiting.append(lambda: deferred.errback(failure))
        else:
            self._broker.answer(
                deferred,
                lambda: succeed(sum(len(node.members.get(channel, ())) for node in self._broker.nodes)),
            )
        return deferred

    # -- what a test does to it ------------------------------------------------------------------------------

    def hear(self, channel: str, entry: Entry) -> None:
        """Tell the listener, if it is to be told."""
        if self.listener is not None and channel in self.subscribed:
            self.listener.arrived(channel, entry)

    def go_away(self) -> None:
        """Break the link."""
        self.state = EngineState.AWAY
        self.failure = EngineAway("gone")
        self.listener.state_changed(self.state)

    def come_back(self) -> None:
        """Have it again."""
        self.state, self.failure = EngineState.UP, None
        self.listener.state_changed(self.state)
