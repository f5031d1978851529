"""The Redis engine: nodes that share channels through one Redis, and never miss anything in silence.

Rules of this file: it knows no WebSocket, and Redis only through `wsecho.engines.redis_store`. What is
acknowledged, Redis has. What is published in one turn of the reactor leaves as one script for each channel,
and reaches each node as one message. A node's own members are served by what comes back, as everybody else's,
so that all see one order. Whatever waits is bounded in bytes and in seconds.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from zope.interface import implementer

from wsecho.engines.redis_connection import ConnectionGone, RedisError, endpoint
from wsecho.engines.redis_following import Following
from wsecho.engines.redis_frames import Batch, Foreign, pack_body, read_message
from wsecho.engines.redis_histories import Histories
from wsecho.engines.redis_link import TURNED_AWAY, NodeNames, RedisLink
from wsecho.engines.redis_presence import Presences
from wsecho.engines.redis_store import RedisStore
from wsecho.engines.redis_url import RedisAddress, parse_redis_url
from wsecho.hub.engine import (
    EngineAway,
    EngineError,
    EngineState,
    History,
    IEngine,
    IEngineListener,
    Position,
    Publication,
    PublicationTooLarge,
    Retention,
)

__all__ = ["MOST_WAITING_BYTES", "RedisEngine", "engine_from_url"]

# Importing it would choose the reactor; that it is there can be asked without.
for _package in ("txredisapi", "hiredis"):
    if find_spec(_package) is None:
        raise ImportError(f"{_package} is not installed; it comes with the extra redis", name=_package)

_log = Logger("wsecho")

MOST_WAITING_BYTES = 16 * 1024**2
"""Bytes of publications that Redis has not answered for. What comes beyond fails at once."""

_LEAST_COST = 256
_BATCH_MESSAGES, _BATCH_BYTES = 256, 256 * 1024
_LEAST_REPLY = 4 * 1024**2
_TOUCH_SECONDS = 6 * 3600
_QUIET_SECONDS = 60.0


class _Waiting:
    """A publication that Redis has not answered for."""

    __slots__ = ("body", "channel", "cost", "deferred", "due", "keeps", "message_id")

    def __init__(self, channel: str, message_id: str, body: bytes, keeps: bool, due: float) -> None:
        self.channel = channel
        self.message_id = message_id
        self.body = body
        self.keeps = keeps
        self.due = due
        self.cost = max(len(body), _LEAST_COST)
        self.deferred: Deferred[Position | None] | None = Deferred()


@implementer(IEngine)
class RedisEngine:
    """Carries publications between nodes.

    :param reactor: connects and keeps the time
    :param node: what this node is called; some random characters are added
    :param retention: what each channel keeps
    :param max_payload: bytes of a publication; 0 for no limit
    :param most_waiting: see `MOST_WAITING_BYTES`
    """

    name = "redis"
    is_shared = True

    def __init__(
        self,
        address: RedisAddress,
        *,
        reactor: Any,
        node: str,
        retention: Callable[[str], Retention],
        max_payload: int = 0,
        most_waiting: int = MOST_WAITING_BYTES,
    ) -> None:
        self.state = EngineState.AWAY
        self._address = address
        self._reactor = reactor
        self._retention = retention
        self._max_payload = max_payload
        self._most_waiting = most_waiting
        self._listener: Any = None
        self._is_stopped = False
        self._foreign = 0
        self._last_line = -_QUIET_SECONDS * 2
        node = f"{node}.{secrets.token_hex(4)}"
        largest = 512 * 1024**2 if max_payload == 0 else _LEAST_REPLY + 2 * max_payload
        self._link = RedisLink(
            address,
            reactor=reactor,
            names=NodeNames(node, b"wsecho:%d:n:%s" % (address.database, node.encode())),
            largest=largest,
            prepare=self._prepare,
            up=self._up,
            down=self._down,
            heard=self._heard,
            forgotten=self._forgotten,
            oversized=self._oversized,
        )
        self._store = RedisStore(self._link, address.database, node, retention, max_payload, self._dropped)
        self._following = Following(self._link, self._store, self)
        self._histories = Histories(self._store, reactor)
        self._presences = Presences(self._store, reactor, self._link, node)
        # In the order of their deadlines, answered ones in front removed.
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        # Not yet sent: of this turn, or while the engine is away.
        self._unsent: list[_Waiting] = []
        self._sending: Any = None
        self._expiring: Any = None
        self._touching: Any = None

    # -- IEngine ---------------------------------------------------------------------------------------------

    @property
    def counts(self) -> Mapping[str, int]:
        """See `IEngine`."""
        return {
            "foreign-entry": self._foreign,
            "reconnect": self._link.returns,
            "replayed": self._following.replayed,
        }

    @property
    def waiting_bytes(self) -> int:
        """Bytes that Redis has not answered for."""
        return self._waiting_bytes

    @property
    def attempts(self) -> int:
        """How often in a row no link could be made."""
        return self._link.failures

    def retention(self, channel: str) -> Retention:
        """See `IEngine`."""
        return self._retention(channel)

    def start(self, listener: object) -> Deferred[None]:
        """See `IEngine`."""
        self._listener = IEngineListener(listener)
        self._touching = self._reactor.callLater(_TOUCH_SECONDS, self._touch)
        return self._link.start().addErrback(self._not_started)

    def _not_started(self, failure: Any) -> Any:
        self._let_go()
        return failure

    def stop(self) -> Deferred[None]:
        """See `IEngine`."""
        self._let_go()
        return self._link.stop()

    def _let_go(self) -> None:
        self._is_stopped = True
        self.state = EngineState.AWAY
        for timer in (self._sending, self._expiring, self._touching):
            if timer is not None and timer.active():
                timer.cancel()
        self._sending = self._expiring = self._touching = None
        self._presences.stop()
        self._following.stop()
        self._histories.stop()
        self._unsent.clear()
        self._fail_all("the engine has stopped")

    def publish(self, channel: str, publication: Publication) -> Deferred[Position | None]:
        """See `IEngine`."""
        if self._is_stopped:
            return fail(EngineAway("the engine has stopped"))
        if self._max_payload and len(publication.payload) > self._max_payload:
            return fail(PublicationTooLarge(f"the publication is larger than {self._max_payload} bytes"))
        try:
            body = pack_body(publication)
        except ValueError as error:
            return fail(EngineError(str(error)))
        due = self._reactor.seconds() + self._address.wait
        waiting = _Waiting(channel, publication.message_id, body, self._store.keeps(channel), due)
        if self._waiting_bytes + waiting.cost > self._most_waiting and self._waiting:
            return fail(EngineAway("too much waits for Redis already"))
        self._waiting_bytes += waiting.cost
        self._waiting.append(waiting)
        self._unsent.append(waiting)
        if self._expiring is None:
            self._expiring = self._reactor.callLater(self._address.wait, self._expire)
        if self._sending is None and self.state is EngineState.UP:
            self._sending = self._reactor.callLater(0, self._send)
        deferred = waiting.deferred
        assert deferred is not None
        return deferred

    def subscribe(self, channel: str) -> Deferred[Position | None]:
        """See `IEngine`."""
        if self._is_stopped:
            return fail(EngineAway("the engine has stopped"))
        return self._following.begin(channel)

    def unsubscribe(self, channel: str) -> None:
        """See `IEngine`."""
        self._following.end(channel)

    def history(self, channel: str, since: Position | None) -> Deferred[History]:
        """See `IEngine`."""
        if self.state is not EngineState.UP:
            return fail(EngineAway("Redis is away"))
        return self._bounded(self._histories.read(channel, since))

    def present(self, channel: str, member: str) -> None:
        """See `IEngine`."""
        self._presences.present(channel, member)

    def absent(self, channel: str, member: str) -> None:
        """See `IEngine`."""
        self._presences.absent(channel, member)

    def presence(self, channel: str) -> Deferred[int]:
        """See `IEngine`."""
        if self.state is not EngineState.UP:
            return fail(EngineAway("Redis is away"))
        return self._bounded(self._presences.count(channel))

    def _bounded(self, answer: Deferred[Any]) -> Deferred[Any]:
        answer.addTimeout(
            self._address.wait, self._reactor, lambda _result, _wait: fail(EngineAway("no answer in time"))
        )
        return answer.addErrback(_as_engine_error)

    # -- publishing ------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Send what this turn brought, one script for each channel and batch."""
        self._sending = None
        if self.state is not EngineState.UP:
            return
        unsent, self._unsent = self._unsent, []
        channels: dict[str, list[_Waiting]] = {}
        for waiting in unsent:
            if waiting.deferred is not None:
                channels.setdefault(waiting.channel, []).append(waiting)
        for channel, waitings in channels.items():
            batch: list[_Waiting] = []
            size = 0
            for waiting in waitings:
                if batch and (len(batch) == _BATCH_MESSAGES or size + len(waiting.body) > _BATCH_BYTES):
                    self._send_batch(channel, batch)
                    batch, size = [], 0
                batch.append(waiting)
                size += len(waiting.body)
            self._send_batch(channel, batch)

    def _send_batch(self, channel: str, batch: list[_Waiting]) -> None:
        messages = [(waiting.message_id, waiting.body) for waiting in batch]
        answer = Deferred.fromCoroutine(self._store.publish(channel, messages))
        answer.addCallbacks(self._stored, self._refused, callbackArgs=(batch,), errbackArgs=(batch,))

    def _stored(self, positions: list[Position], batch: list[_Waiting]) -> None:
        for waiting, position in zip(batch, positions, strict=True):
            self._waiting_bytes -= waiting.cost
            deferred = self._done(waiting)
            if deferred is not None:
                deferred.callback(position if waiting.keeps else None)
        self._forget_done()

    def _refused(self, failure: Any, batch: list[_Waiting]) -> None:
        for waiting in batch:
            self._waiting_bytes -= waiting.cost
            self._fail(waiting, _engine_error(failure.value))
        self._forget_done()

    def _done(self, waiting: _Waiting) -> Deferred[Position | None] | None:
        deferred, waiting.deferred = waiting.deferred, None
        waiting.body = b""
        return deferred

    def _fail(self, waiting: _Waiting, error: EngineError) -> None:
        deferred = self._done(waiting)
        if deferred is not None:
            deferred.errback(error)

    def _forget_done(self) -> None:
        while self._waiting and self._waiting[0].deferred is None:
            self._waiting.popleft()

    def _expire(self) -> None:
        """Fail what Redis has not answered for in time. It may have it all the same."""
        self._expiring = None
        now = self._reactor.seconds()
        late: list[_Waiting] = []
        while self._waiting and (self._waiting[0].deferred is None or self._waiting[0].due <= now):
            late.append(self._waiting.popleft())
        unsent = set(map(id, self._unsent))
        self._unsent = [waiting for waiting in self._unsent if waiting.due > now]
        for waiting in late:
            if id(waiting) in unsent:
                # Those that were sent count until the answer comes, or the link breaks.
                self._waiting_bytes -= waiting.cost
            self._fail(waiting, EngineAway(f"Redis has not taken it within {self._address.wait:g} s"))
        if self._waiting and self._expiring is None:
            delay = min(max(self._waiting[0].due - now, 0.01), self._address.wait)
            self._expiring = self._reactor.callLater(delay, self._expire)

    def _fail_all(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        self._waiting_bytes = 0
        for one in waiting:
            self._fail(one, EngineAway(reason))

    # -- the link's side -------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        await self._store.connected()
        self._presences.announce_all()
        await self._following.resume()

    def _up(self) -> None:
        if self._is_stopped:
            return
        self.state = EngineState.UP
        if self._unsent and self._sending is None:
            self._sending = self._reactor.callLater(0, self._send)
        self._listener.state_changed(EngineState.UP)

    def _down(self) -> None:
        was_up = self.state is EngineState.UP
        self.state = EngineState.AWAY
        self._following.broken()
        if was_up and not self._is_stopped:
            self._listener.state_changed(EngineState.AWAY)

    def _forgotten(self) -> None:
        self._presences.announce_all()

    def _heard(self, where: bytes, message: bytes) -> None:
        channel = self._store.channel(where)
        if channel is None or channel not in self._following:
            return
        try:
            told = read_message(message, self._max_payload)
        except Foreign:
            self._dropped(1)
            return
        if isinstance(told, Batch):
            self._following.heard(channel, told)
        else:
            self._presences.heard(channel, told, self._listener)

    def _dropped(self, count: int) -> None:
        self._foreign += count
        self._say_foreign()

    def _oversized(self) -> None:
        self._foreign += 1
        self._say_foreign()

    def _say_foreign(self) -> None:
        now = self._reactor.seconds()
        if 0 <= now - self._last_line < _QUIET_SECONDS:
            return
        self._last_line = now
        _log.warn(
            "Redis at {address}: {count} entries that no wsecho wrote, or too large ones, dropped so far",
            address=str(self._address),
            count=self._foreign,
        )

    def _touch(self) -> None:
        """Repeat what Redis would forget: channels on which nothing happens for a long time."""
        self._touching = self._reactor.callLater(_TOUCH_SECONDS, self._touch)
        if self.state is not EngineState.UP:
            return
        names = list(self._following)
        for begin in range(0, len(names), _BATCH_MESSAGES):
            self._store.touch(names[begin : begin + _BATCH_MESSAGES]).addErrback(lambda _: None)
        self._presences.announce_all()

    # -- IEngineListener, for `Following` --------------------------------------------------------------------

    def arrived(self, channel: str, entry: Any) -> None:
        """Pass it on."""
        if not self._is_stopped:
            self._listener.arrived(channel, entry)

    def lost(self, channel: str, since: Position | None) -> None:
        """Pass it on."""
        if not self._is_stopped:
            self._listener.lost(channel, since)


def _engine_error(error: BaseException) -> EngineError:
    if isinstance(error, EngineError):
        return error
    if isinstance(error, ConnectionGone):
        return EngineAway("Redis went away; nobody knows whether it has it")
    if isinstance(error, RedisError):
        if error.kind in TURNED_AWAY:
            return EngineAway(f"Redis refuses: {str(error)[:200]}")
        return EngineError(f"Redis refuses: {str(error)[:200]}")
    return EngineError(f"Redis: {type(error).__name__}")


def _as_engine_error(failure: Any) -> Any:
    raise _engine_error(failure.value)


def engine_from_url(
    url: str,
    *,
    reactor: Any,
    node: str,
    retention: Callable[[str], Retention],
    max_payload: int,
    most_waiting: int = MOST_WAITING_BYTES,
) -> RedisEngine:
    """Make an engine for a URL; see `RedisEngine`.

    Raises:
        ValueError: one line, for a URL that cannot be used; its password is not in it.
    """
    address = parse_redis_url(url)
    endpoint(reactor, address)  # A file of certificates that cannot be read is told now.
    return RedisEngine(
        address,
        reactor=reactor,
        node=node,
        retention=retention,
        max_payload=max_payload,
        most_waiting=most_waiting,
    )
