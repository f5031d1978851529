"""Broadcast: what a peer sends on a channel reaches everybody else on it, framed once.

Rules of this file: it joins the hub, which knows no connections, to connections, which know no channels.
Which path is which channel is decided in :mod:`wsecho.services.routes`, what clients with envelopes get in
:mod:`wsecho.services.envelope`.

What is published goes to the engine, and comes to the members from there (:mod:`wsecho.services.relay`). On a
channel of plain clients for which the engine would neither keep nor share it, it goes to them directly.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsecho.hub.channels import DEFAULT_CHANNEL, Hub, IMember, is_channel_name
from wsecho.hub.engine import EngineError, Entry, Position, Publication, PublicationTooLarge
from wsecho.hub.memory import MemoryEngine
from wsecho.policy.end_reasons import EndReason
from wsecho.policy.envelopes import SUBPROTOCOL
from wsecho.policy.slow_consumers import SlowConsumer
from wsecho.services.announcing import Announcer
from wsecho.services.envelope import MOST_IN_FLIGHT, EnvelopeMember
from wsecho.services.publications import Relayed, envelope
from wsecho.services.relay import Relay
from wsecho.services.routes import broadcast_channel
from wsecho.wire.admission import HeadRefused, RequestHead
from wsecho.wire.factory import ServerFactory
from wsecho.wire.frames import prepare
from wsecho.wire.interfaces import IService
from wsecho.wire.protocol import ServerProtocol

__all__ = [
    "BroadcastServerFactory",
    "BroadcastServerProtocol",
    "BroadcastService",
    "ChannelMember",
    "EngineMember",
]

_log = Logger("wsecho")


class BroadcastService:
    """The channels of a server.

    :param hub: where channels live; a new one when None. Factories of several listeners share it
    :param include_sender: whether a message comes back to its sender, too
    :param include_sender_on: the same for single channels, by name
    :param slow_consumer: what happens to a message for a member whose send queue is full
    :param slow_consumer_on: the same for single channels, by name
    :param engine: an ``IEngine``, which keeps what is published, or shares it with others; one that does
        neither when None. One that shares is to be started and stopped by ``relay``
    :param clock: an ``IReactorTime``; an engine that shares needs one
    :param node: the name of this process among those that share the engine; a random one when None
    """

    def __init__(
        self,
        hub: Hub[Any] | None = None,
        include_sender: bool = False,
        include_sender_on: Mapping[str, bool] | None = None,
        slow_consumer: SlowConsumer = SlowConsumer.CLOSE,
        slow_consumer_on: Mapping[str, SlowConsumer] | None = None,
        engine: Any = None,
        clock: Any = None,
        node: str | None = None,
    ) -> None:
        self.hub: Hub[Any] = Hub() if hub is None else hub
        self.include_sender = include_sender
        self._include_sender_on = dict(include_sender_on or {})
        self.slow_consumer = slow_consumer
        self._slow_consumer_on = dict(slow_consumer_on or {})
        self.dropped = 0
        """Messages that were dropped, counted for each member that did not get one."""
        self.node = secrets.token_hex(4) if node is None else node
        self.relay = Relay(self.hub, MemoryEngine() if engine is None else engine, clock)
        self.relay.on_presence = self._presence_changed
        self.enveloped: dict[str, dict[EnvelopeMember, None]] = {}
        """By channel, the members that speak envelopes."""
        self._announcers: dict[str, Announcer] = {}
        if not self.relay.engine.is_shared:
            # It has nothing to wait for.
            self.relay.start()

    def member(self, channel: str) -> ChannelMember:
        """A place on the channel for one connection."""
        make: Callable[..., ChannelMember] = ChannelMember if self.is_direct(channel) else EngineMember
        return make(
            self,
            channel,
            self._include_sender_on.get(channel, self.include_sender),
            self._slow_consumer_on.get(channel, self.slow_consumer),
        )

    def is_direct(self, channel: str) -> bool:
        """Whether the engine has nothing to do for a channel."""
        engine = self.relay.engine
        return not engine.is_shared and not engine.retention(channel).size

    def member_id(self, connection: Any) -> str:
        """The name of a connection, over all nodes."""
        return f"{self.node}-{connection.id}"

    def publish(self, channel: str, message: object) -> Deferred[Position | None]:
        """Send a message to everybody on the channel.

        :param channel: its name; ``""`` is that of ``/broadcast``
        :param message: ``str`` is sent as text, ``bytes`` as binary
        :returns: fires with the message's position once the engine has it, None where the channel keeps no
            history; fails with ``EngineError``
        :raises ValueError: when ``channel`` is no channel name
        :raises TypeError: when ``message`` is neither
        """
        if channel != DEFAULT_CHANNEL and not is_channel_name(channel):
            raise ValueError(f"channel {channel!r} is not 1 to 128 of A-Z a-z 0-9 . _ ~ -")
        if isinstance(message, str):
            payload, is_binary = message.encode("utf-8"), False
        elif isinstance(message, bytes):
            payload, is_binary = message, True
        else:
            raise TypeError(f"message must be str or bytes, not {type(message).__name__}")
        if self.is_direct(channel) and channel not in self.enveloped:
            self.hub.publish(channel, prepare(payload, is_binary))
            return succeed(None)
        return self.relay.publish(channel, Publication(payload, is_binary))

    # -- members with envelopes, and who comes and goes ------------------------------------------------------

    def with_envelopes(self, member: ChannelMember) -> EnvelopeMember:
        """The place of a connection that speaks envelopes."""
        return EnvelopeMember(self, member.channel, member.slow_consumer)

    def envelope_joined(self, member: EnvelopeMember, connection: Any) -> None:
        """A member with envelopes is there."""
        channel = member.channel
        # First: what the others are told counts it.
        self.hub.join(channel, member)
        self.joined(channel, member.id)
        others = self.enveloped.get(channel)
        if others is None:
            others = self.enveloped[channel] = {}
            clock = connection.factory.reactor
            self._announcers[channel] = Announcer(
                clock, lambda kind, **members: self._notify(channel, kind, members), self._counting(channel)
            )
        # Afterwards: it need not be told of itself.
        others[member] = None

    def envelope_left(self, member: EnvelopeMember) -> None:
        """A member with envelopes is gone."""
        channel = member.channel
        self.hub.leave(channel, member)
        others = self.enveloped[channel]
        del others[member]
        if not others:
            del self.enveloped[channel]
            self._announcers.pop(channel).stop()
        self.left(channel, member.id)

    def joined(self, channel: str, member_id: str) -> None:
        """A member is there."""
        self.relay.joined(channel, member_id)
        announcer = self._announcers.get(channel)
        if announcer is not None:
            announcer.came(member_id)

    def left(self, channel: str, member_id: str) -> None:
        """A member is gone."""
        self.relay.left(channel, member_id)
        announcer = self._announcers.get(channel)
        if announcer is not None:
            announcer.left(member_id)

    def _presence_changed(self, channel: str) -> None:
        announcer = self._announcers.get(channel)
        if announcer is not None:
            announcer.changed()

    def _counting(self, channel: str) -> Callable[[Callable[[int], object]], object]:
        def count(tell: Callable[[int], object]) -> None:
            asked: Deferred[Any] = self.relay.presence(channel)
            asked.addCallback(tell).addErrback(_no_matter)

        return count

    def _notify(self, channel: str, kind: str, members: Mapping[str, object]) -> int:
        prepared = envelope(kind, **members)
        everybody = tuple(self.enveloped.get(channel, ()))
        for member in everybody:
            member.notice(prepared)
        return len(everybody)


def _no_matter(failure: Failure) -> None:
    if not isinstance(failure.value, EngineError):
        _log.failure("the engine cannot count", failure)


@implementer(IService, IMember)
class ChannelMember:
    """One connection on one channel.

    :ivar channel: the name of the channel
    """

    __slots__ = ("_broadcast", "_connection", "_hub", "_include_sender", "_slow_consumer", "channel")

    name = "broadcast"
    """What its messages are counted under."""

    holds_back = False
    """What waits for a member is not of its own making, and its Close must be seen: it is read anyway."""

    def __init__(
        self,
        broadcast: BroadcastService,
        channel: str,
        include_sender: bool,
        slow_consumer: SlowConsumer,
    ) -> None:
        self._broadcast = broadcast
        self._hub: Hub[Any] = broadcast.hub
        self._include_sender = include_sender
        self._slow_consumer = slow_consumer
        self._connection: Any = None
        self.channel = channel

    subprotocols = (SUBPROTOCOL,)
    """Spoken on channels, and nowhere else."""

    @property
    def slow_consumer(self) -> SlowConsumer:
        """What happens to a message for this member while its send queue is full."""
        return self._slow_consumer

    def __repr__(self) -> str:
        number = None if self._connection is None else self._connection.id
        return f"<connection {number} on channel {self.channel!r}>"

    def opened(self, connection: Any) -> None:
        """Join the channel, or leave that to a member that speaks envelopes."""
        if connection.websocket_protocol_in_use == SUBPROTOCOL:
            member = connection.service = self._broadcast.with_envelopes(self)
            member.opened(connection)
            return
        self._connection = connection
        self._hub.join(self.channel, self)
        if self.channel in self._broadcast.enveloped:
            self._broadcast.joined(self.channel, self._broadcast.member_id(connection))

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        """Publish it, framed once for all."""
        publication = (
            prepare(payload, is_binary)
            if self.channel not in self._broadcast.enveloped
            else Relayed(Entry(Publication(payload, is_binary, self._broadcast.member_id(connection)), None))
        )
        self._hub.publish(self.channel, publication, but=None if self._include_sender else self)

    def closed(self, connection: Any) -> None:
        """Leave the channel."""
        self._hub.leave(self.channel, self)
        if self.channel in self._broadcast.enveloped:
            self._broadcast.left(self.channel, self._broadcast.member_id(connection))

    def deliver(self, publication: Any) -> None:
        """Write the frame, or do what the slow-consumer policy says; nobody waits."""
        lane = self._connection.lane
        if lane is not None and lane.post(publication.payloadHybi):
            return
        outbox = self._connection.link.outbox
        before = outbox.dropped
        self._connection.offer(publication, self._slow_consumer)
        self._broadcast.dropped += outbox.dropped - before


class EngineMember(ChannelMember):
    """A plain connection on a channel that the engine keeps or shares."""

    __slots__ = ("_id", "_in_flight")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._id = ""
        self._in_flight = 0

    def asked(self, connection: Any, head: RequestHead) -> None:
        """Let nobody in who would hear nothing.

        :raises HeadRefused: 503, while the engine is away
        """
        if self._broadcast.relay.is_away:
            raise HeadRefused(503, "the engine is away")

    def ready(self, connection: Any) -> Deferred[None]:
        """Listen to the channel before the connection opens; see `IService`."""
        if not self._broadcast.relay.engine.is_shared:
            return succeed(None)
        return self._broadcast.relay.ready(self.channel).addErrback(self._not_ready)

    @staticmethod
    def _not_ready(failure: Failure) -> None:
        if isinstance(failure.value, EngineError):
            raise HeadRefused(503, "the engine is away") from None
        failure.raiseException()

    def opened(self, connection: Any) -> None:
        """Join the channel."""
        super().opened(connection)
        if connection.service is self:
            self._id = self._broadcast.member_id(connection)
            if not self._include_sender:
                self._broadcast.relay.keep_from(self._id, self)
            if self.channel not in self._broadcast.enveloped:
                self._broadcast.relay.joined(self.channel, self._id)

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        """Hand it to the engine, from which it comes to everybody."""
        self._in_flight += 1
        if self._in_flight >= MOST_IN_FLIGHT:
            connection.pause_reading()
        publication = Publication(payload, is_binary, self._id)
        self._broadcast.relay.publish(self.channel, publication).addBoth(self._published, connection)

    def _published(self, result: object, connection: Any) -> None:
        self._in_flight -= 1
        if self._in_flight == MOST_IN_FLIGHT // 2:
            connection.resume_reading()
        if isinstance(result, Failure):
            if not isinstance(result.value, EngineError):
                _log.failure("{id} the engine failed", result, id=connection.id)
            if isinstance(result.value, PublicationTooLarge):
                connection.close_with(EndReason.MESSAGE_TOO_BIG, 1009, "larger than the engine takes")
            else:
                connection.close_with(
                    EndReason.ENGINE_AWAY, 1013, "the engine is away: a message may be lost"
                )

    def closed(self, connection: Any) -> None:
        """Leave the channel."""
        self._broadcast.relay.forget(self._id)
        super().closed(connection)
        if self.channel not in self._broadcast.enveloped:
            self._broadcast.relay.left(self.channel, self._id)

    def missed(self, since: Position | None) -> bool:
        """Messages may be missing.

        :returns: False: `give_up` is to be called, in its turn
        """
        return False

    def give_up(self) -> None:
        """Close the connection, so that the client knows."""
        self._connection.close_with(EndReason.MESSAGES_MISSED, 1012, "messages may be missing: connect again")


class BroadcastServerProtocol(ServerProtocol):
    """A connection on a channel. Override ``onMessage`` to choose what is relayed."""

    @property
    def channel(self) -> str:
        """The name of the channel; ``""`` is that of ``/`` and ``/broadcast``."""
        member: Any = self.service
        channel: str = member.channel
        return channel


class BroadcastServerFactory(ServerFactory):
    """Broadcasts on ``/``, ``/broadcast`` and ``/broadcast/CHANNEL``.

    :param broadcast: the channels; new ones when None
    :param options: as for :class:`wsecho.ServerFactory`
    """

    protocol = BroadcastServerProtocol

    def __init__(self, *, broadcast: BroadcastService | None = None, **options: Any) -> None:
        self.broadcast = BroadcastService() if broadcast is None else broadcast
        options.setdefault("route", self._route)
        super().__init__(**options)

    def _route(self, path: str) -> IService | None:
        channel = DEFAULT_CHANNEL if path == "/" else broadcast_channel(path)
        return None if channel is None else self.broadcast.member(channel)

    def publish(self, channel: str, message: str | bytes) -> Deferred[Position | None]:
        """See :meth:`BroadcastService.publish`."""
        return self.broadcast.publish(channel, message)
