"""The link to a Redis: two connections that live and die together, and a sign of life through both.

Rules of this file: one connection carries commands, the other subscriptions, and both lead to the same
process of Redis. A sign of life goes out as a command and has to come back as a message: nothing less shows
that publications would arrive. Whoever hears anything at all is patient, so that a slow link is not taken for
a dead one. It knows no channels: what is to be done before a link counts as up is the owner's.

No line says more than that the link broke, why, and when it is there again; one a minute at most.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.error import TimeoutError as DialTimeout
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsecho.engines.redis_connection import ConnectionFactory, ConnectionGone, RedisError, connect
from wsecho.engines.redis_scripts import BEAT, SCRIPTS
from wsecho.engines.redis_url import RedisAddress
from wsecho.hub.engine import EngineError
from wsecho.policy.text import escape_peer_text

__all__ = ["TURNED_AWAY", "NodeNames", "RedisLink", "Refusal"]

_log = Logger("wsecho")

OLDEST = (6, 2)
"""The oldest Redis: XTRIM and ZRANGE as they are used came with it."""

_FIRST_RETRY, _LONGEST_RETRY = 0.25, 10.0
_QUIET_SECONDS = 60.0
#: What no waiting mends, by the first word of the error.
_REFUSALS = frozenset({"WRONGPASS", "NOAUTH", "NOPERM"})
#: The first words of errors after which there is nothing to hope for from this connection.
TURNED_AWAY = frozenset({"READONLY", "LOADING", "MASTERDOWN", "NOSCRIPT", "UNBLOCKED"})


class Refusal(EngineError):
    """Redis will not have us, or is not what it must be; one line."""


@dataclass(frozen=True, slots=True)
class NodeNames:
    """What this node is called in Redis."""

    node: str
    listens: bytes
    """Where it publishes its signs of life."""


@dataclass(slots=True)
class _Pair:
    """The two connections of one link."""

    command: Any = None
    follower: Any = None
    run: str = ""
    is_durable: bool = False

    def abort(self) -> None:
        for connection in (self.command, self.follower):
            if connection is not None:
                connection.abort()


class RedisLink:
    """Keeps a link.

    :param reactor: connects and keeps the time
    :param names: who this node is
    :param largest: bytes of an answer or a message
    :param prepare: called when both connections are open; the link is up when it is done
    :param up: called then
    :param down: called when a link that was open, up or not, is over
    :param heard: called with where a message was published, and the message
    :param forgotten: called when Redis did not know this node any more, while the link lasted
    :param oversized: called when something was larger than `largest`
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        reactor: Any,
        names: NodeNames,
        largest: int,
        prepare: Callable[[], Awaitable[None]],
        up: Callable[[], None],
        down: Callable[[], None],
        heard: Callable[[bytes, bytes], None],
        forgotten: Callable[[], None],
        oversized: Callable[[], None],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.address = address
        self.returns = 0
        """How often the link was up again after it broke."""
        self.is_up = False
        self.failures = 0
        """Attempts in a row that came to nothing."""
        self._reactor = reactor
        self._names = names
        self._prepare = prepare
        self._tell_up = up
        self._tell_down = down
        self._tell_heard = heard
        self._tell_forgotten = forgotten
        self._draw = draw
        self._factory = ConnectionFactory(reactor, largest, self._heard, self._ended, oversized)
        self._pair = _Pair()
        self._is_open = False
        self._is_running = False
        self._attempt: Deferred[None] | None = None
        self._timers: dict[str, Any] = {}
        self._started: Deferred[None] | None = None
        self._beats = 0
        self._beats_answered = 0
        self._beats_back = 0
        self._last_line = -_QUIET_SECONDS * 2
        self._is_away_told = False

    # -- the owner's side ------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent, if only to prepare."""
        return self._is_open

    @property
    def run(self) -> str:
        """The process of Redis at the other end."""
        return self._pair.run

    @property
    def is_durable(self) -> bool:
        """Whether what it answered for is on its disk."""
        return self._pair.is_durable

    def start(self) -> Deferred[None]:
        """Begin; fires when up for the first time, or fails with `Refusal`."""
        self._is_running = True
        self._started = Deferred()
        started = self._started
        self._dial()
        return started

    def stop(self) -> Deferred[None]:
        """End for good. Nothing is told any more."""
        self._is_running = self.is_up = self._is_open = False
        self._started = None
        for name in list(self._timers):
            self._cancel(name)
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        self._pair.abort()
        return succeed(None)

    def ask(self, *words: Any) -> Deferred[Any]:
        """Send a command over the first connection."""
        return self._asked(self._pair.command, words)

    def script(self, text: str, keys: tuple[bytes, ...], *arguments: Any) -> Deferred[Any]:
        """Run one of `SCRIPTS`."""
        return self.ask("EVALSHA", _digest(text), len(keys), *keys, *arguments)

    def subscribe(self, where: bytes) -> Deferred[Any]:
        """Hear what is published there; fires when it is so."""
        return self._asked(self._pair.follower, ("SUBSCRIBE", where))

    def unsubscribe(self, where: bytes) -> None:
        """Hear it no longer."""
        if self._is_open:
            self._asked(self._pair.follower, ("UNSUBSCRIBE", where)).addErrback(lambda _: None)

    def give_up(self, reason: str) -> None:
        """Break the link; it is made again."""
        self._break(reason)

    def _asked(self, connection: Any, words: tuple[Any, ...]) -> Deferred[Any]:
        if connection is None:
            return fail(ConnectionGone("not connected"))
        answer: Deferred[Any] = connection.ask(*words)
        return answer.addErrback(self._judge, connection)

    def _judge(self, failure: Failure, connection: Any) -> Failure:
        error = failure.value
        if isinstance(error, RedisError) and error.kind in TURNED_AWAY and self._is_open:
            self._reactor.callLater(0, self._give_up_on, connection, str(error))
        return failure

    def _give_up_on(self, connection: Any, reason: str) -> None:
        if connection is self._pair.command:
            self._break(reason)

    # -- dialling --------------------------------------------------------------------------------------------

    def _dial(self) -> None:
        self._timers.pop("retry", None)
        attempt = self._attempt = Deferred.fromCoroutine(self._open())
        # Of its own accord a half-open host would keep us for minutes.
        self._timers["dial"] = self._reactor.callLater(self.address.wait, attempt.cancel)
        attempt.addCallbacks(self._opened, self._failed)

    async def _open(self) -> None:
        pair = self._pair = _Pair()
        try:
            pair.command = await connect(self._reactor, self.address, self._factory)
            pair.run = await self._greet(pair.command)
            if self.address.database:
                await pair.command.ask("SELECT", self.address.database)
            pair.is_durable = await self._writes_first(pair.command)
            for text in SCRIPTS:
                await pair.command.ask("SCRIPT", "LOAD", text)
            pair.follower = await connect(self._reactor, self.address, self._factory)
            if await self._greet(pair.follower) != pair.run:
                # A name with several addresses, or a failover just now.
                raise ConnectionGone("two connections led to two processes of Redis")
            await pair.follower.ask("SUBSCRIBE", self._names.listens)
        except BaseException:
            pair.abort()
            raise

    async def _greet(self, connection: Any) -> str:
        address = self.address
        if address.password:
            words = ("AUTH", address.user, address.password) if address.user else ("AUTH", address.password)
            try:
                await connection.ask(*words)
            except RedisError as error:
                # "ERR AUTH <password> called without any password configured": it is not refused, but a
                # mistake. The text is not repeated, in case some version quotes what it was given.
                if error.kind == "WRONGPASS" or "without any password" in str(error):
                    raise RedisError(
                        "WRONGPASS it does not take the user or the password of the URL"
                    ) from None
                raise
        facts = _facts(await connection.ask("INFO", "server"))
        version = facts.get("redis_version", "")
        numbers = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", version)
        if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST:
            raise Refusal(
                f"Redis at {address} is version {escape_peer_text(version, 32) or 'unknown'}; "
                f"{'.'.join(map(str, OLDEST))} or newer is needed"
            )
        if facts.get("redis_mode") == "cluster":
            raise Refusal(f"Redis at {address} is a cluster, which is not supported")
        return facts.get("run_id", "")

    async def _writes_first(self, command: Any) -> bool:
        """Whether it writes what it answers for to disk before it answers, and was no replica before."""
        facts = _facts(await command.ask("INFO", "replication"))
        if facts.get("role") != "master":
            raise RedisError("READONLY it is a replica")
        if set(facts.get("master_replid2", "")) != {"0"}:
            return False
        try:
            answer = await command.ask("CONFIG", "GET", "append*")
        except RedisError:
            return False
        values = dict(zip(answer[::2], answer[1::2], strict=False))
        return values.get(b"appendonly") == b"yes" and values.get(b"appendfsync") == b"always"

    def _opened(self, _: None) -> None:
        self._cancel("dial")
        if not self._is_running:
            return
        if not (self._pair.command.connected and self._pair.follower.connected):
            self._failed(_failure("the connection was lost"))
            return
        self._is_open = True
        pair = self._pair
        self._beat()
        attempt = self._attempt = Deferred.fromCoroutine(_awaited(self._prepare()))
        attempt.addCallbacks(self._prepared, self._unprepared, callbackArgs=(pair,), errbackArgs=(pair,))

    def _prepared(self, _: None, pair: _Pair) -> None:
        if pair is not self._pair or not self._is_open:
            return
        self._attempt = None
        self.failures = 0
        self.is_up = True
        if self._is_away_told:
            self._is_away_told = False
            _log.info("Redis at {address} is there again", address=str(self.address))
        self._tell_up()
        started, self._started = self._started, None
        if started is None:
            self.returns += 1
        else:
            started.callback(None)

    def _unprepared(self, failure: Failure, pair: _Pair) -> None:
        if pair is not self._pair or not self._is_open:
            return
        self._break(failure)

    def _failed(self, failure: Failure) -> None:
        """An attempt came to nothing."""
        self._cancel("dial")
        self._attempt = None
        if not self._is_running:
            return
        refusal = _refusal(failure, self.address)
        if refusal is not None and self._started is not None:
            started, self._started = self._started, None
            self.stop()
            started.errback(refusal)
            return
        self._say(failure)
        self.failures += 1
        # The time between attempts grows, and nodes do not come back all at once.
        longest = min(_FIRST_RETRY * 2 ** min(self.failures, 20), _LONGEST_RETRY, self.address.heartbeat * 2)
        delay = longest * (0.5 + self._draw() / 2)
        self._timers["retry"] = self._reactor.callLater(delay, self._dial)

    # -- breaking --------------------------------------------------------------------------------------------

    def _ended(self, connection: Any, reason: Failure) -> None:
        if self._is_open and connection in (self._pair.command, self._pair.follower):
            self._break(reason)

    def _break(self, reason: Failure | str) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self.is_up = False
        self._cancel("beat")
        self._cancel("check")
        pair, self._pair = self._pair, _Pair()
        attempt, self._attempt = self._attempt, None
        pair.abort()
        if attempt is not None:
            attempt.addErrback(lambda _: None)
            attempt.cancel()
        self._tell_down()
        if self._is_running:
            self._failed(reason if isinstance(reason, Failure) else _failure(reason))

    def _say(self, failure: Failure) -> None:
        now = self._reactor.seconds()
        self._is_away_told = True
        # A clock that was set back does not silence us.
        if 0 <= now - self._last_line < _QUIET_SECONDS:
            return
        self._last_line = now
        _log.warn("Redis at {address} is away: {reason}", address=str(self.address), reason=_reason(failure))

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None and timer.active():
            timer.cancel()

    # -- signs of life ---------------------------------------------------------------------------------------

    def _beat(self) -> None:
        heartbeat = self.address.heartbeat
        now = self._reactor.seconds()
        self._timers["beat"] = self._reactor.callLater(heartbeat, self._beat)
        self._beats += 1
        expires = int(heartbeat * 3000)
        beat = self.script(
            BEAT, (b"wsecho:nodes",), self._names.node, expires, self._names.listens, self._beats
        )
        beat.addCallbacks(self._beat_answered, lambda _: None, callbackArgs=(self._beats,))
        if "check" not in self._timers:
            self._check_in(self._beats, now)

    def _check_in(self, beat: int, since: float) -> None:
        bound = self.address.heartbeat * 0.8
        due = self._reactor.seconds() + bound
        self._timers["check"] = self._reactor.callLater(bound, self._check, beat, since, due)

    def _check(self, beat: int, since: float, due: float) -> None:
        self._timers.pop("check", None)
        if self._beats_back >= beat:
            return
        now = self._reactor.seconds()
        # This process was stopped, or somebody set the clock: what has come meanwhile was not read yet.
        if now - due > self.address.heartbeat / 2:
            self._check_in(beat, now)
            return
        for connection, reached in (
            (self._pair.command, self._beats_answered),
            (self._pair.follower, self._beats_back),
        ):
            if reached < beat and connection.last_heard <= since:
                self._break(f"no sign of life for {self.address.heartbeat * 0.8:g} s")
                return
        self._check_in(beat, now)

    def _beat_answered(self, answer: list[int], beat: int) -> None:
        self._beats_answered = max(self._beats_answered, beat)
        if not answer[0] and self.is_up:
            self._tell_forgotten()

    def _heard(self, where: bytes, message: bytes) -> None:
        if where != self._names.listens:
            self._tell_heard(where, message)
        elif message.isdigit() and len(message) < 16:
            self._beats_back = max(self._beats_back, min(int(message), self._beats))


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable


def _failure(reason: str) -> Failure:
    return Failure(ConnectionGone(reason))  # type: ignore[no-untyped-call]


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _facts(answer: bytes) -> dict[str, str]:
    lines = answer.decode("utf-8", "replace").splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}


def _refusal(failure: Failure, address: RedisAddress) -> Refusal | None:
    """What no waiting mends, as one line; else None."""
    error = failure.value
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RedisError):
        text = str(error)
        if error.kind in _REFUSALS or "DB index" in text or "unknown command" in text:
            return Refusal(f"Redis at {address} refuses: {_reason(failure)}")
    return None


def _reason(failure: Failure) -> str:
    error = failure.value
    if isinstance(error, CancelledError):
        return "no answer in time"
    if isinstance(error, ConnectionClosed):
        return "the connection was lost"
    if isinstance(error, ConnectionGone | EngineError):
        return str(error)
    if isinstance(error, DialTimeout):
        return "nobody answers"
    if isinstance(error, ConnectError | DNSLookupError):
        return escape_peer_text(
            str(error.osError or error) if isinstance(error, ConnectError) else str(error)
        )
    return escape_peer_text(str(error) or type(error).__name__)
