"""Broadcast: what a peer sends on a channel reaches everybody else on it, framed once.

Rules of this file: it joins the hub, which knows no connections, to connections, which know no channels.
Which path is which channel is decided in :mod:`wsecho.services.routes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from wsecho.hub.channels import DEFAULT_CHANNEL, Hub, IMember, is_channel_name
from wsecho.policy.slow_consumers import SlowConsumer
from wsecho.services.routes import broadcast_channel
from wsecho.wire.factory import ServerFactory
from wsecho.wire.frames import prepare
from wsecho.wire.interfaces import IService
from wsecho.wire.protocol import ServerProtocol

__all__ = ["BroadcastServerFactory", "BroadcastServerProtocol", "BroadcastService", "ChannelMember"]


class BroadcastService:
    """The channels of a server.

    :param hub: where channels live; a new one when None. Factories of several listeners share it
    :param include_sender: whether a message comes back to its sender, too
    :param include_sender_on: the same for single channels, by name
    :param slow_consumer: what happens to a message for a member whose send queue is full
    :param slow_consumer_on: the same for single channels, by name
    """

    def __init__(
        self,
        hub: Hub[Any] | None = None,
        include_sender: bool = False,
        include_sender_on: Mapping[str, bool] | None = None,
        slow_consumer: SlowConsumer = SlowConsumer.CLOSE,
        slow_consumer_on: Mapping[str, SlowConsumer] | None = None,
    ) -> None:
        self.hub: Hub[Any] = Hub() if hub is None else hub
        self.include_sender = include_sender
        self._include_sender_on = dict(include_sender_on or {})
        self.slow_consumer = slow_consumer
        self._slow_consumer_on = dict(slow_consumer_on or {})
        self.dropped = 0
        """Messages that were dropped, counted for each member that did not get one."""

    def member(self, channel: str) -> ChannelMember:
        """A place on the channel for one connection."""
        return ChannelMember(
            self,
            channel,
            self._include_sender_on.get(channel, self.include_sender),
            self._slow_consumer_on.get(channel, self.slow_consumer),
        )

    def publish(self, channel: str, message: object) -> None:
        """Send a message to everybody on the channel.

        :param channel: its name; ``""`` is that of ``/broadcast``
        :param message: ``str`` is sent as text, ``bytes`` as binary
        :raises ValueError: when ``channel`` is no channel name
        :raises TypeError: when ``message`` is neither
        """
        if channel != DEFAULT_CHANNEL and not is_channel_name(channel):
            raise ValueError(f"channel {channel!r} is not 1 to 128 of A-Z a-z 0-9 . _ ~ -")
        if isinstance(message, str):
            self.hub.publish(channel, prepare(message.encode("utf-8"), False))
        elif isinstance(message, bytes):
            self.hub.publish(channel, prepare(message, True))
        else:
            raise TypeError(f"message must be str or bytes, not {type(message).__name__}")


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

    @property
    def slow_consumer(self) -> SlowConsumer:
        """What happens to a message for this member while its send queue is full."""
        return self._slow_consumer

    def __repr__(self) -> str:
        number = None if self._connection is None else self._connection.id
        return f"<connection {number} on channel {self.channel!r}>"

    def opened(self, connection: Any) -> None:
        """Join the channel."""
        self._connection = connection
        self._hub.join(self.channel, self)

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        """Publish it, framed once for all."""
        self._hub.publish(
            self.channel, prepare(payload, is_binary), but=None if self._include_sender else self
        )

    def closed(self, connection: Any) -> None:
        """Leave the channel."""
        self._hub.leave(self.channel, self)

    def deliver(self, publication: Any) -> None:
        """Write the frame, or do what the slow-consumer policy says; nobody waits."""
        lane = self._connection.lane
        if lane is not None and lane.post(publication.payloadHybi):
            return
        outbox = self._connection.link.outbox
        before = outbox.dropped
        self._connection.offer(publication, self._slow_consumer)
        self._broadcast.dropped += outbox.dropped - before


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

    def publish(self, channel: str, message: str | bytes) -> None:
        """See :meth:`BroadcastService.publish`."""
        self.broadcast.publish(channel, message)
