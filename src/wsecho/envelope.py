"""A client of a channel that keeps its place: ``wsecho.v1.json`` from the other side.

Rules of this file: it connects, and connects again, until it is stopped. What it hands out it hands out once,
in the order of the channel; where something is missing it says so, by the offsets, whatever the server says.
A message that it was given to publish is published, or its Deferred fails; until one of both is known it is
sent again, with the same id, on each new connection. Where the channel keeps no history, the server cannot
recognize the id: there it is not sent twice, and the Deferred fails with `Unsure`.

Reconnecting waits twice as long with each failure, half of that at random, so that those who lost the same
server do not come back together. A connection that did not last is a failure, too. Clock, random source and
the way to connect are arguments.
"""

from __future__ import annotations

import base64
import random
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsecho.hub.engine import Position
from wsecho.policy.envelopes import (
    SUBPROTOCOL,
    ErrorCode,
    NoEnvelope,
    content,
    place,
    read_from_server,
    write,
)
from wsecho.policy.settings import Settings
from wsecho.policy.signals import Signal
from wsecho.policy.text import escape_peer_text
from wsecho.wire.client import ClientRequest, ConnectFailed, connect
from wsecho.wire.interfaces import IService

__all__ = [
    "Backoff",
    "EnvelopeClient",
    "Gap",
    "NotPublished",
    "ReceivedMessage",
    "Unsure",
    "Welcome",
]

_log = Logger("wsecho")

MOST_PENDING = 10_000
"""Messages that wait for their acknowledgement, or for a connection."""

_OWN_NAMES = 64
_RETRIED = frozenset({ErrorCode.ENGINE_AWAY, ErrorCode.ENGINE_FAILED})


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message of the channel.

    :ivar content: ``str`` or ``bytes``
    :ivar sender: the name of the connection that sent it; empty for the server
    :ivar position: its place; None on a channel that keeps no history
    """

    content: str | bytes
    sender: str
    position: Position | None


@dataclass(frozen=True, slots=True)
class Welcome:
    """A connection is open.

    :ivar id: its name
    :ivar position: the place behind which its messages begin; None on a channel that keeps no history
    :ivar recovered: whether nothing is missing since the last connection; None for the first
    :ivar presence: how many are on the channel; None when that comes later
    """

    id: str
    position: Position | None
    recovered: bool | None
    presence: int | None


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages are missing.

    :ivar after: the last place before them; None when it is not known
    :ivar missing: how many; None when it is not known
    """

    after: Position | None
    missing: int | None


class NotPublished(Exception):
    """A message was not published.

    :ivar code: of the server's error; empty when it is the client's own
    """

    def __init__(self, code: str, line: str) -> None:
        super().__init__(line)
        self.code = code


class Unsure(NotPublished):
    """Nobody knows whether a message was published, and to send it again could publish it twice."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before connecting again.

    :param first: seconds, at most, after the first failure
    :param most: seconds, at most, ever
    :param random: a number from 0 to 1
    """

    first: float = 0.5
    most: float = 30.0
    random: Callable[[], float] = random.random

    def seconds(self, failures: int) -> float:
        """The wait after so many failures in a row: half of it for sure, the rest at random."""
        # A power beyond the floats is no wait, but an exception.
        longest = min(self.most, self.first * 2.0 ** min(failures - 1, 60))
        return longest * (0.5 + self.random() / 2)


@dataclass(slots=True)
class _Pending:
    message_id: str
    envelope: bytes
    done: Deferred[Position | None]
    was_sent: bool = False


def _new_id() -> str:
    return uuid.uuid4().hex


@implementer(IService)
class EnvelopeClient:
    """A client of one channel.

    :param url: of the channel, ``ws://HOST/broadcast/NAME``
    :param reactor: Twisted's; the global one when None
    :param settings: limits and timers; wsecho's defaults when None
    :param tls: as for `wsecho.wire.client.connect`
    :param backoff: how long to wait before connecting again
    :param position: where to begin, as `position` of an earlier client said; None for what comes from now on
    :param with_own: whether messages of its own are handed out as well
    :param make_id: a name for a message, which no other message has
    :param connect: makes a connection, given the reactor and what `wsecho.wire.client.connect` takes
    """

    message_received = Signal[[ReceivedMessage]]()
    """The next message of the channel."""
    opened_channel = Signal[[Welcome]]()
    """A connection is open, the first one or another."""
    gap_found = Signal[[Gap]]()
    """Told before the message behind the gap."""
    presence_changed = Signal[[int]]()
    """How many connections the channel has now."""
    dropped = Signal[[int]]()
    """The server dropped so many messages, because this client did not read fast enough. On a channel with
    history ``gap_found`` tells of the same."""
    engine_changed = Signal[[str]]()
    """``away`` or ``up``."""
    disconnected = Signal[[str]]()
    """A connection has ended, or could not be made; why, in one line. The next one follows."""

    def __init__(
        self,
        url: str,
        *,
        reactor: Any = None,
        settings: Settings | None = None,
        tls: Any = None,
        backoff: Backoff | None = None,
        position: Position | None = None,
        with_own: bool = False,
        make_id: Callable[[], str] = _new_id,
        connect: Callable[..., Deferred[Any]] = connect,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self._reactor: Any = reactor
        self._url = ClientRequest(url=url).url
        self._settings = settings
        self._tls = tls
        self._backoff = Backoff() if backoff is None else backoff
        self._with_own = with_own
        self._make_id = make_id
        self._connect = connect
        self._pending: dict[str, _Pending] = {}
        self._own_names: deque[str] = deque(maxlen=_OWN_NAMES)
        self._connection: Any = None
        self._connecting: Deferred[Any] | None = None
        self._is_welcome = False
        self._is_running = False
        self._has_history = False
        self._takes_any = False
        self._failures = 0
        self._retries = 0
        self._again: Any = None
        self._retry: Any = None
        self._welcome_at = 0.0
        self.position = position
        """The place of the last message that was handed out, or skipped as one's own; None when there is
        none."""

    # -- what a program does ---------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether it is connected, and the server has said welcome."""
        return self._is_welcome

    @property
    def pending(self) -> int:
        """How many messages are not acknowledged yet."""
        return len(self._pending)

    def start(self) -> None:
        """Connect, and stay connected."""
        if not self._is_running:
            self._is_running = True
            self._dial()

    def stop(self) -> Deferred[None]:
        """Close the connection and make no other; what is not acknowledged fails.

        :returns: fires when the connection is closed
        """
        self._is_running = False
        for name in ("_again", "_retry"):
            timer = getattr(self, name)
            setattr(self, name, None)
            if timer is not None:
                timer.cancel()
        pending, self._pending = list(self._pending.values()), {}
        for one in pending:
            one.done.errback(
                Unsure("", "the client was stopped")
                if one.was_sent
                else NotPublished("", "the client was stopped")
            )
        if self._connecting is not None:
            self._connecting.cancel()
        connection = self._connection
        if connection is None:
            return succeed(None)
        stopped: Deferred[None] = Deferred()

        def is_closed(result: Any) -> Any:
            stopped.callback(None)
            return result

        connection.is_closed.addBoth(is_closed)
        connection.sendClose(1000)
        return stopped

    def publish(self, message: str | bytes) -> Deferred[Position | None]:
        """Publish a message, now or when there is a connection.

        :param message: ``str`` as text, ``bytes`` as binary
        :returns: fires once, with the place of the message when the server has it; fails with `NotPublished`,
            or `Unsure`. Cancelling it means that it is not sent again
        :raises TypeError: for what is neither
        :raises ValueError: for a text with half of a surrogate pair
        """
        if isinstance(message, str):
            said = {"text": message}
        elif isinstance(message, bytes):
            said = {"binary": base64.b64encode(message).decode("ascii")}
        else:
            raise TypeError(f"message must be str or bytes, not {type(message).__name__}")
        message_id = self._make_id()
        one = _Pending(
            message_id, write("publish", id=message_id, **said), Deferred(partial(self._give_up, message_id))
        )
        if len(self._pending) >= MOST_PENDING:
            one.done.errback(NotPublished("", f"{MOST_PENDING} messages wait already"))
            return one.done
        self._pending[message_id] = one
        if self._is_welcome:
            self._send(one)
        return one.done

    def _give_up(self, message_id: str, deferred: object) -> None:
        self._pending.pop(message_id, None)

    # -- connecting ------------------------------------------------------------------------------------------

    def _dial(self) -> None:
        self._again = None
        url = self._url
        if self.position is not None:
            joint = "&" if "?" in url else "?"
            url += f"{joint}epoch={quote(self.position.epoch)}&since={self.position.offset}"
        request = ClientRequest(url=url, subprotocols=(SUBPROTOCOL,))
        connecting = self._connecting = self._connect(
            self._reactor, request, service=self, settings=self._settings, tls=self._tls
        )
        connecting.addCallbacks(self._connected, self._failed)

    def _connected(self, connection: Any) -> None:
        self._connecting = None

    def _failed(self, failure: Failure) -> None:
        self._connecting = None
        if not isinstance(failure.value, ConnectFailed | CancelledError):
            _log.failure("the attempt to connect failed", failure)
        self._lost(str(failure.value))

    def _lost(self, why: str) -> None:
        if not self._is_running:
            return
        self._failures += 1
        self._again = self._reactor.callLater(self._backoff.seconds(self._failures), self._dial)
        self.disconnected.emit(why)

    # -- what the wire tells (IService) ----------------------------------------------------------------------

    def opened(self, connection: Any) -> None:
        """A connection is open; nothing is said before the server has."""
        self._connection = connection
        if not self._is_running:
            connection.sendClose(1000)
        elif connection.websocket_protocol_in_use != SUBPROTOCOL:
            connection.sendClose(1000, f"this client speaks {SUBPROTOCOL}")

    def closed(self, connection: Any) -> None:
        """It takes no more messages."""
        self._connection = None
        if self._is_welcome and self._reactor.seconds() - self._welcome_at >= self._backoff.most:
            self._failures = 0
        self._is_welcome = False
        retry, self._retry = self._retry, None
        if retry is not None:
            retry.cancel()
        end = connection.end
        why = "" if end is None else end.reason.value
        code = connection.remoteCloseCode
        reason = escape_peer_text(connection.remoteCloseReason or "")
        self._lost(why if code is None else f"{why}: Close {code} {reason}".rstrip())

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        """Read an envelope; what is none ends the connection."""
        try:
            if is_binary:
                raise NoEnvelope("a binary message")
            found = read_from_server(payload)
        except NoEnvelope as error:
            connection.sendClose(1007, f"no envelope of {SUBPROTOCOL}: {error}")
            return
        take = getattr(self, f"_take_{found['type']}", None)
        if take is not None and (self._is_welcome or found["type"] == "welcome"):
            take(found)

    # -- envelopes -------------------------------------------------------------------------------------------

    def _take_welcome(self, found: dict[str, Any]) -> None:
        before, position = self.position, _position(found)
        welcome = Welcome(found["id"], position, found["recovered"], found["presence"])
        self._own_names.append(welcome.id)
        self._has_history = position is not None
        self._takes_any = False
        self._is_welcome = True
        self._welcome_at = self._reactor.seconds()
        if position is not None:
            self.position = position
        self.opened_channel.emit(welcome)
        if welcome.recovered is False:
            missing = None
            if before is not None and position is not None and before.epoch == position.epoch:
                missing = max(0, position.offset - before.offset) or None
            self.gap_found.emit(Gap(before, missing))
        self._send_pending()

    def _take_message(self, found: dict[str, Any]) -> None:
        payload, is_binary = content(found)
        position, sender = _position(found), found["sender"]
        if position is not None and not self._is_next(position):
            return
        if self._with_own or sender not in self._own_names:
            text = payload if is_binary else payload.decode()
            self.message_received.emit(ReceivedMessage(text, sender, position))

    def _is_next(self, position: Position) -> bool:
        """Take the place of a message; False for one that was there before."""
        last = self.position
        if last is None or self._takes_any:
            pass
        elif position.epoch != last.epoch:
            self.gap_found.emit(Gap(last, None))
        elif position.offset <= last.offset:
            return False
        elif position.offset > last.offset + 1:
            self.gap_found.emit(Gap(last, position.offset - last.offset - 1))
        self._takes_any = False
        self.position = position
        return True

    def _take_gap(self, found: dict[str, Any]) -> None:
        if _position(found) is None:
            # The next message says where it is. Until then the old place stands, so that another connection
            # asks for what is behind it.
            self._takes_any = True
            self.gap_found.emit(Gap(self.position, None))
        # Otherwise the offset of the next message tells the same.

    def _take_join(self, found: dict[str, Any]) -> None:
        self.presence_changed.emit(found["count"])

    _take_leave = _take_presence = _take_join

    def _take_dropped(self, found: dict[str, Any]) -> None:
        self.dropped.emit(found["count"])

    def _take_engine(self, found: dict[str, Any]) -> None:
        self.engine_changed.emit(found["state"])

    def _take_ack(self, found: dict[str, Any]) -> None:
        self._retries = 0
        one = self._pending.pop(found["id"], None)
        if one is not None:
            one.done.callback(_position(found))

    def _take_error(self, found: dict[str, Any]) -> None:
        message_id, code, line = found["id"], found["code"], escape_peer_text(found["line"])
        if message_id not in self._pending:
            return
        if code not in _RETRIED:
            self._pending.pop(message_id).done.errback(NotPublished(code, line))
        elif not self._has_history:
            self._pending.pop(message_id).done.errback(Unsure(code, line))
        elif self._retry is None:
            self._retries += 1
            self._retry = self._reactor.callLater(self._backoff.seconds(self._retries), self._send_pending)

    # -- publishing ------------------------------------------------------------------------------------------

    def _send_pending(self) -> None:
        self._retry = None
        for one in list(self._pending.values()):
            if one.was_sent and not self._has_history:
                del self._pending[one.message_id]
                one.done.errback(Unsure("", "the connection was lost before the acknowledgement"))
            else:
                self._send(one)

    def _send(self, one: _Pending) -> None:
        one.was_sent = True
        self._connection.sendMessage(one.envelope, False)


def _position(found: dict[str, Any]) -> Position | None:
    named = place(found)
    return None if named is None else Position(*named)
