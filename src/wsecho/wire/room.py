"""Room for connections: how many there may be at a time, in all and of one address.

Rules of this file:

- whoever is admitted is counted once, and again leaves once, with the place that it was given: the place
  says what was counted, so that neither a changed limit nor a changed address puts a count wrong;
- both take the same time however many are there, and an address that has left is forgotten;
- it counts and knows no transport. When a connection enters, and that it leaves, is the factory's affair.

One `Room` may be shared by the factories of several listeners: then the limits hold for all together.
"""

from __future__ import annotations

import socket
from typing import Final

from twisted.logger import Logger

from wsecho.policy.proxies import PeerAddress
from wsecho.policy.text import escape_peer_text
from wsecho.wire.admission import HeadRefused

__all__ = ["Place", "Room"]

_log = Logger("wsecho")
_SECONDS_BETWEEN_LINES: Final = 60.0

#: What a connection is counted under besides the total: an IPv4 address, or the first 64 bits of an IPv6 one;
#: `NO_ADDRESS` when it is in the total only.
Place = str | bytes
NO_ADDRESS: Final[Place] = ""


class Room:
    """Counts connections, and refuses those beyond the limits.

    :param max_connections: in all; 0: no limit
    :param max_connections_per_address: of one IPv4 address or IPv6 /64; 0: no limit, and nothing is counted
        by address
    """

    __slots__ = ("_count", "_counts", "_told_at", "max_connections", "max_connections_per_address")

    def __init__(self, max_connections: int = 0, max_connections_per_address: int = 0) -> None:
        #: May be changed; whoever is there stays.
        self.max_connections = max_connections
        #: May be changed; those who entered while it was 0 are counted in all only.
        self.max_connections_per_address = max_connections_per_address
        self._count = 0
        self._counts: dict[Place, int] = {}
        self._told_at: dict[str, float] = {}

    def __len__(self) -> int:
        """How many connections are there."""
        return self._count

    @property
    def addresses(self) -> int:
        """Of how many addresses, among those that are counted."""
        return len(self._counts)

    def enter(self, address: PeerAddress, now: float) -> Place:
        """Count a connection.

        :param now: seconds of a clock, for the log, which is told of refusals once a minute at most
        :returns: to be given to `leave`
        :raises HeadRefused: 503 when no further connection is taken, 429 when none of this address is
        """
        # No Retry-After: nobody knows when somebody leaves, and one time for all who were refused makes them
        # come back together.
        if 0 < self.max_connections <= self._count:
            self._tell(f"max-connections={self.max_connections}", now)
            raise HeadRefused(503, "too many connections")
        place = NO_ADDRESS
        if self.max_connections_per_address > 0 and address.host is not None:
            place = place_of(address.host)
            count = self._counts.get(place, 0)
            if count >= self.max_connections_per_address:
                whose = f" of {escape_peer_text(address.host)}"
                self._tell(f"max-connections-per-address={self.max_connections_per_address}", now, whose)
                raise HeadRefused(429, "too many connections of one address")
            self._counts[place] = count + 1
        self._count += 1
        return place

    def leave(self, place: Place) -> None:
        """A connection that had entered is gone."""
        self._count -= 1
        if place != NO_ADDRESS:
            left = self._counts[place] - 1
            if left:
                self._counts[place] = left
            else:
                del self._counts[place]

    def _tell(self, limit: str, now: float, whose: str = "") -> None:
        name = limit.partition("=")[0]
        told_at = self._told_at.get(name)
        if told_at is None or now - told_at >= _SECONDS_BETWEEN_LINES:
            self._told_at[name] = now
            _log.warn("refused a connection{whose}: {limit} is reached", whose=whose, limit=limit)


def place_of(host: str) -> Place:
    """What an address is counted under."""
    if ":" in host:
        try:
            # Whoever has one IPv6 address has all of its /64 (RFC 4291 section 2.5.4, RFC 6177).
            return socket.inet_pton(socket.AF_INET6, host)[:8]
        except OSError:
            pass
    return host
