"""Channels: what is published on one reaches everybody on it, in one order.

Rules of this file: it knows members, never connections, frames or paths; what a publication is, only those
who publish and receive know. It has no clock and no reactor: a publication is delivered before ``publish``
returns, unless one is being delivered on that channel already.

Order. A member may publish while it receives, and that publication must not overtake the one in delivery:
receivers further down the list would see the second before the first, from the same sender. So a channel
delivers one publication at a time, to the members it had when its turn came, and queues what is published
meanwhile.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from twisted.logger import Logger
from zope.interface import Interface

__all__ = ["DEFAULT_CHANNEL", "Hub", "IMember", "is_channel_name"]

_log = Logger("wsecho")

DEFAULT_CHANNEL = ""
"""The channel without a name: that of ``/broadcast``."""

_NAME = re.compile(r"[A-Za-z0-9._~-]{1,128}")

P = TypeVar("P")


def is_channel_name(text: str) -> bool:
    """Whether ``text`` names a channel: 1 to 128 of the characters that a path needs not encode (RFC 3986
    section 2.3)."""
    return _NAME.fullmatch(text) is not None


class IMember(Interface):
    """Somebody on a channel."""

    def deliver(publication: object) -> None:
        """Take a publication, without waiting. An exception is logged and reaches nobody else."""


class _Channel(Generic[P]):
    __slots__ = ("is_delivering", "members", "waiting")

    def __init__(self) -> None:
        # A dict for its order: members receive in the order in which they joined.
        self.members: dict[IMember, None] = {}
        self.waiting: deque[tuple[P, IMember | None]] = deque()
        self.is_delivering = False


class Hub(Generic[P]):
    """All channels of a server. A channel exists while somebody is on it."""

    def __init__(self) -> None:
        self._channels: dict[str, _Channel[P]] = {}

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[str]:
        """The names of the channels that somebody is on."""
        return iter(tuple(self._channels))

    def members(self, name: str) -> int:
        """How many are on the channel; 0 when nobody is."""
        channel = self._channels.get(name)
        return 0 if channel is None else len(channel.members)

    def on(self, name: str) -> tuple[IMember, ...]:
        """Who is on the channel now."""
        channel = self._channels.get(name)
        return () if channel is None else tuple(channel.members)

    def join(self, name: str, member: IMember) -> None:
        """Put ``member`` on the channel: it receives what is published from now on. Harmless when it is on it
        already."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel()
        channel.members[member] = None

    def leave(self, name: str, member: IMember) -> None:
        """Take ``member`` off the channel: it receives nothing more, not even of a publication in delivery.
        The last one to leave takes the channel along."""
        channel = self._channels.get(name)
        if channel is None:
            return
        channel.members.pop(member, None)
        if not channel.members:
            del self._channels[name]

    def publish(self, name: str, publication: P, *, but: IMember | None = None) -> None:
        """Give ``publication`` to everybody on the channel.

        :param but: a member that does not receive it: its sender, as a rule
        """
        channel = self._channels.get(name)
        if channel is None:
            return
        channel.waiting.append((publication, but))
        if channel.is_delivering:
            return
        channel.is_delivering = True
        try:
            while channel.waiting:
                self._deliver(channel, *channel.waiting.popleft())
        finally:
            channel.is_delivering = False

    def _deliver(self, channel: _Channel[P], publication: P, but: IMember | None) -> None:
        members = channel.members
        for member in tuple(members):
            # One that left, or died, while others received is skipped.
            if member is but or member not in members:
                continue
            try:
                member.deliver(publication)
            except Exception:
                _log.failure("{member!r} could not take a publication", member=member)
