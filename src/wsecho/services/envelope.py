"""A member of a channel that speaks ``wsecho.v1.json``: it knows what it has got, and is told what it has
not.

Rules of this file: what an envelope looks like stands in :mod:`wsecho.policy.envelopes`; here is when each is
sent. The first is ``welcome``. On a channel with history every message has the offset after that of the one
before it, from the position that the welcome names, or ``gap`` or ``dropped`` says that something is missing:
replayed messages and live ones are one sequence, and this file makes it so by comparing offsets, whatever the
engine does.

Replay goes at the pace of the client. While it has not caught up, a few live messages are kept for it
(`MOST_EARLY`, and a send queue of bytes); when there are more they are forgotten, since the history has them,
and it is asked again. So what waits for a client is its send queue twice, and what one question brought.

What a client is promised (acknowledgements, errors, notices) is written even when its send queue is full.
That is bounded: by the messages that it has on their way (`MOST_IN_FLIGHT`), and because it is not read while
its queue is full.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsecho.hub.channels import IMember
from wsecho.hub.engine import (
    EngineAway,
    EngineError,
    EngineState,
    Entry,
    History,
    Position,
    Publication,
    PublicationTooLarge,
)
from wsecho.policy.end_reasons import EndReason
from wsecho.policy.envelopes import (
    BadRequest,
    ErrorCode,
    NoEnvelope,
    PresenceQuery,
    Publish,
    read_request,
    read_resume,
)
from wsecho.policy.slow_consumers import SlowConsumer
from wsecho.services.publications import Relayed, envelope
from wsecho.wire.interfaces import IService

if TYPE_CHECKING:
    from wsecho.services.broadcast import BroadcastService

__all__ = ["MOST_EARLY", "MOST_IN_FLIGHT", "REPLAYED_AT_ONCE", "EnvelopeMember"]

_log = Logger("wsecho")

MOST_IN_FLIGHT = 256
"""Messages of one client that are not acknowledged yet. Beyond that it is not read."""

MOST_EARLY = 64
"""Live messages that are kept for a client while it is given the history."""

REPLAYED_AT_ONCE = 64
"""Messages of the history that are written before everybody else has a turn."""


def _no_matter(failure: Failure) -> None:
    """The number is not known now; it will be told when it changes."""
    if not isinstance(failure.value, EngineError):
        _log.failure("the engine cannot count", failure)


@implementer(IService, IMember)
class EnvelopeMember:
    """One connection on one channel.

    :param broadcast: the channels
    :param channel: the name of the channel
    :param slow_consumer: what happens to a message while the send queue is full
    :ivar id: what others see as its name; empty before it is open
    """

    __slots__ = (
        "_broadcast",
        "_connection",
        "_dropped_told",
        "_early",
        "_early_bytes",
        "_has_begun",
        "_in_flight",
        "_is_behind",
        "_is_joined",
        "_is_live",
        "_is_telling",
        "_last",
        "_replay",
        "channel",
        "id",
        "slow_consumer",
    )

    name = "broadcast"
    """What its messages are counted under."""

    def __init__(self, broadcast: BroadcastService, channel: str, slow_consumer: SlowConsumer) -> None:
        self._broadcast = broadcast
        self._connection: Any = None
        self._has_begun = False
        self._is_joined = self._is_live = self._is_behind = self._is_telling = False
        self._last: Position | None = None
        self._replay: deque[Entry | Relayed] = deque()
        self._early: list[Relayed] = []
        self._early_bytes = 0
        self._dropped_told = 0
        self._in_flight = 0
        self.channel = channel
        self.slow_consumer = slow_consumer
        self.id = ""

    def __repr__(self) -> str:
        return f"<connection {self.id} with envelopes on channel {self.channel!r}>"

    # -- beginning and end -----------------------------------------------------------------------------------

    def opened(self, connection: Any) -> None:
        """Join the channel, and go on where the client wants to."""
        self._connection = connection
        self.id = self._broadcast.member_id(connection)
        try:
            since = read_resume(connection.http_request_uri.partition("?")[2])
        except ValueError as error:
            connection.close_with(EndReason.POLICY_VIOLATION, 1008, str(error))
            return
        self._is_joined = True
        self._broadcast.envelope_joined(self, connection)
        if since is None or not self._broadcast.relay.engine.retention(self.channel).size:
            self._begin(self._broadcast.relay.position(self.channel), None if since is None else False, ())
            return
        # Read no message before the welcome is out.
        connection.pause_reading()
        position = Position(*since)
        asked = self._broadcast.relay.history(self.channel, position)
        asked.addCallbacks(self._resume, self._cannot_resume, callbackArgs=(position,))

    def _resume(self, history: History, since: Position) -> None:
        if self._connection is None:
            return
        start = since
        if not history.is_whole and history.position is not None:
            # What is left follows.
            start = Position(history.position.epoch, history.position.offset - len(history.entries))
        position = None if history.position is None else start
        self._begin(position, history.is_whole, history.entries)
        self._connection.resume_reading()

    def _cannot_resume(self, failure: Failure) -> None:
        if not isinstance(failure.value, EngineError):
            _log.failure("{member!r} could not go on", failure, member=self)
        self._lose_for_now("the history cannot be reached now")

    def _begin(self, position: Position | None, recovered: bool | None, entries: Any) -> None:
        self._has_begun = True
        presence = self._broadcast.relay.presence(self.channel)
        counted: list[int] = []
        presence.addCallback(counted.append)
        self._tell(
            "welcome",
            id=self.id,
            epoch=None if position is None else position.epoch,
            offset=None if position is None else position.offset,
            recovered=recovered,
            replayed=len(entries),
            presence=counted[0] if counted else None,
        )
        if not counted:
            presence.addCallback(lambda _: self._tell("presence", count=counted[0]))
        presence.addErrback(_no_matter)
        self._last = position
        self._replay.extend(entries)
        self._pump()

    def closed(self, connection: Any) -> None:
        """Leave the channel."""
        self._connection = None
        self._replay.clear()
        self._early.clear()
        if self._is_joined:
            self._is_joined = False
            self._broadcast.envelope_left(self)

    def _lose_for_now(self, line: str) -> None:
        if self._connection is not None:
            self._connection.close_with(EndReason.ENGINE_AWAY, 1013, line)

    # -- what the channel says -------------------------------------------------------------------------------

    def deliver(self, publication: Any) -> None:
        """Take a publication in its place, or leave it to the replay."""
        if not isinstance(publication, Relayed):
            # Of a program that publishes on the hub by itself, past the engine.
            said = Publication(publication.payload, publication.binary)
            publication = Relayed(Entry(said, None))
        position = publication.entry.position
        if not self._is_live:
            self._keep(publication)
            return
        if position is not None and not self._takes(position):
            return
        self._send(publication)

    def _keep(self, publication: Relayed) -> None:
        """Have a live message ready for when the history has been given."""
        if self._is_behind:
            return
        self._early.append(publication)
        self._early_bytes += len(publication.payloadHybi)
        if len(self._early) > MOST_EARLY or self._early_bytes > self._connection.link.outbox.limit:
            self._is_behind = True
            self._forget_early()

    def _forget_early(self) -> None:
        self._early.clear()
        self._early_bytes = 0

    def _takes(self, position: Position) -> bool:
        """Whether a message of this position comes next, after having told of what is missing before it."""
        last, self._last = self._last, position
        if last is None or position == Position(last.epoch, last.offset + 1):
            return True
        if position.epoch == last.epoch and position.offset <= last.offset:
            self._last = last
            return False
        self._tell("gap", epoch=position.epoch, offset=position.offset - 1)
        return True

    def _send(self, publication: Relayed) -> None:
        connection = self._connection
        outbox = connection.link.outbox
        before = outbox.dropped
        connection.offer(publication.envelope, self.slow_consumer)
        if outbox.dropped != before:
            self._broadcast.dropped += outbox.dropped - before
            if not self._is_telling:
                # Now there is no room for it.
                self._is_telling = True
                outbox.call_when_low(self._tell_dropped)

    def _tell_dropped(self) -> None:
        self._is_telling = False
        if self._connection is not None:
            dropped = self._connection.link.outbox.dropped
            count, self._dropped_told = dropped - self._dropped_told, dropped
            self._tell("dropped", count=count)

    def _pump(self) -> None:
        """Write of the history what the client takes now, a slice at once and the rest in turns."""
        if self.work():
            self._connection.factory.turns.add(self)

    def work(self) -> bool:
        """Write a slice of the history; see `wsecho.wire.turns.Worker`.

        :returns: whether the client takes more now
        """
        for _ in range(REPLAYED_AT_ONCE):
            connection = self._connection
            if connection is None or not (self._replay or self._has_more()):
                return False
            outbox = connection.link.outbox
            if not outbox.has_room():
                outbox.call_when_low(self._pump)
                return False
            publication = self._replay.popleft()
            if isinstance(publication, Entry):
                publication = self._broadcast.relay.replayed(self.channel, publication)
            position = publication.entry.position
            if position is None or self._takes(position):
                self._send(publication)
        return True

    def _has_more(self) -> bool:
        """Whether more of the history is at hand, when all that was has been given. Else it is asked for, or
        the client has caught up."""
        if self._early:
            self._replay.extend(self._early)
            self._forget_early()
            return True
        if self._is_behind and self._last is not None:
            self._is_behind = False
            asked = self._broadcast.relay.history(self.channel, self._last)
            asked.addCallbacks(self._more, self._cannot_resume)
        else:
            self._is_live = True
        return False

    def _more(self, history: History) -> None:
        if self._connection is None:
            return
        if not history.is_whole and not history.entries and history.position is not None:
            # Otherwise the first entry shows it.
            self._takes_nothing_before(history.position)
        self._replay.extend(history.entries)
        self._pump()

    def _takes_nothing_before(self, position: Position) -> None:
        self._last = position
        self._tell("gap", epoch=position.epoch, offset=position.offset)

    def missed(self, since: Position | None) -> bool:
        """The engine cannot say what is missing. Told at once.

        :returns: True: nothing more is to be done about it
        """
        if self._is_live:
            self._last = None
            self._tell("gap", epoch=None, offset=None)
        return True

    def engine_changed(self, state: EngineState) -> None:
        """The engine is away, or is back."""
        self._tell("engine", state=str(state))

    def notice(self, prepared: Any) -> None:
        """Send something that is of no use later; nothing when much waits already."""
        if self._has_begun and self._connection is not None and not self._connection.is_output_full:
            self._connection.insert(prepared)

    def _tell(self, kind: str, /, **members: object) -> None:
        # The welcome is the first word.
        if self._has_begun and self._connection is not None:
            self._connection.insert(envelope(kind, **members))

    # -- what the client says --------------------------------------------------------------------------------

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        """Do what an envelope asks for."""
        try:
            if is_binary:
                raise NoEnvelope("a binary message")
            request = read_request(payload)
        except NoEnvelope as error:
            connection.fail_with(EndReason.INVALID_PAYLOAD, 1007, f"no envelope of wsecho.v1.json: {error}")
        except BadRequest as error:
            self._tell("error", id=error.message_id, code=error.code, line=str(error))
        else:
            if isinstance(request, Publish):
                self._publish(request)
            elif isinstance(request, PresenceQuery):
                asked = self._broadcast.relay.presence(self.channel)
                asked.addCallbacks(
                    lambda count: self._tell("presence", count=count), self._failed, errbackArgs=(None,)
                )
            else:
                self._tell("pong")

    def _publish(self, request: Publish) -> None:
        self._in_flight += 1
        if self._in_flight >= MOST_IN_FLIGHT:
            self._connection.pause_reading()
        publication = Publication(request.payload, request.is_binary, self.id, request.message_id)
        published: Deferred[Position | None] = self._broadcast.relay.publish(self.channel, publication)
        published.addBoth(self._landed)
        published.addCallbacks(
            self._acknowledge,
            self._failed,
            callbackArgs=(request.message_id,),
            errbackArgs=(request.message_id,),
        )

    def _landed(self, result: Any) -> Any:
        self._in_flight -= 1
        if self._in_flight == MOST_IN_FLIGHT // 2 and self._connection is not None:
            self._connection.resume_reading()
        return result

    def _acknowledge(self, position: Position | None, message_id: str) -> None:
        self._tell(
            "ack",
            id=message_id,
            epoch=None if position is None else position.epoch,
            offset=None if position is None else position.offset,
        )

    def _failed(self, failure: Failure, message_id: str | None) -> None:
        error = failure.value
        if not isinstance(error, EngineError):
            _log.failure("the engine failed", failure)
        if isinstance(error, PublicationTooLarge):
            code, line = ErrorCode.TOO_LARGE, str(error)
        elif isinstance(error, EngineAway):
            code, line = ErrorCode.ENGINE_AWAY, "the engine cannot be reached"
        else:
            code, line = ErrorCode.ENGINE_FAILED, "the engine failed"
        self._tell("error", id=message_id, code=code, line=line)
