"""The tally: how many connections came, what they carried, and how they ended.

Rules of this file: nothing is counted for each message here. A connection counts its own messages anyway;
when it has ended they are added to the sums, and whoever asks gets these plus what the living ones have by
then. A connection is either among the living or in the sums, so that no count ever goes down.

One `Tally` may be shared by the factories of several listeners.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from wsecho.policy.end_reasons import EndReason
from wsecho.policy.facts import ConnectionFacts, Totals, Traffic
from wsecho.policy.lifecycle import Phase
from wsecho.policy.metrics import OPENED, OTHER_SERVICE

__all__ = ["Tally", "facts_of"]


def _service_name(connection: Any) -> str:
    name: str = getattr(connection.service, "name", OTHER_SERVICE)
    return name


def _traffic(connection: Any) -> Traffic:
    stats = connection.trafficStats
    return Traffic(
        stats.incomingWebSocketMessages,
        stats.incomingOctetsAppLevel,
        stats.outgoingWebSocketMessages,
        stats.outgoingOctetsAppLevel,
    )


def facts_of(connection: Any, now: float) -> ConnectionFacts:
    """What there is to tell of an open connection.

    :param now: the factory's clock
    """
    origin = connection._described_origin
    return ConnectionFacts(
        id=connection.id,
        peer=connection.peer,
        address=connection.peer_address.host,
        path=connection._described_path,
        origin=None if origin == "-" else origin,
        service=_service_name(connection),
        channel=getattr(connection.service, "channel", None),
        subprotocol=connection.websocket_protocol_in_use,
        is_secure=connection.link.is_secure,
        seconds_open=max(0.0, now - connection._opened_at),
        traffic=_traffic(connection),
        queued_bytes=connection.link.queued_bytes,
        dropped_messages=connection.link.outbox.dropped,
    )


class Tally:
    """Counts of connections."""

    __slots__ = ("_dropped", "_ends", "_handshakes", "_opened", "_traffic")

    def __init__(self) -> None:
        self._opened = 0
        self._handshakes: Counter[tuple[str, str]] = Counter()
        self._ends: Counter[EndReason] = Counter()
        self._traffic: dict[str, list[int]] = {}
        self._dropped: Counter[str] = Counter()

    def opened(self) -> None:
        """An opening handshake was answered with 101."""
        self._opened += 1

    def ended(self, connection: Any) -> None:
        """The transport of a connection has ended."""
        end = connection.end
        if connection._opened_at is None:
            self._handshakes[end.reason.value, "" if end.status is None else str(end.status)] += 1
            return
        self._ends[end.reason] += 1
        _add(connection, self._traffic)
        dropped = connection.link.outbox.dropped
        if dropped:
            self._dropped[_policy(connection)] += dropped

    def totals(self, alive: Iterable[Any]) -> Totals:
        """What was counted, together with what the connections that have not ended have counted.

        :param alive: those connections, of all factories that share this tally
        """
        traffic = {name: sums.copy() for name, sums in self._traffic.items()}
        dropped, now_open = self._dropped.copy(), Counter[str]()
        queued_sum = queued_most = 0
        for connection in alive:
            if connection._opened_at is None:
                continue
            name = _add(connection, traffic)
            link = connection.link
            if link.outbox.dropped:
                dropped[_policy(connection)] += link.outbox.dropped
            if connection.phase is Phase.OPEN:
                now_open[name] += 1
            queued = link.queued_bytes
            queued_sum += queued
            queued_most = max(queued_most, queued)
        return Totals(
            handshakes={(OPENED, "101"): self._opened, **self._handshakes},
            ends={reason.value: number for reason, number in self._ends.items()},
            traffic={name: Traffic(*sums) for name, sums in traffic.items()},
            dropped=dict(dropped),
            open=dict(now_open),
            queued_bytes=queued_sum,
            largest_queue_bytes=queued_most,
        )


def _add(connection: Any, traffic: dict[str, list[int]]) -> str:
    """Add what a connection carried to the sums of its service, whose name comes back."""
    name = _service_name(connection)
    sums = traffic.get(name)
    if sums is None:
        sums = traffic[name] = [0, 0, 0, 0]
    stats = connection.trafficStats
    sums[0] += stats.incomingWebSocketMessages
    sums[1] += stats.incomingOctetsAppLevel
    sums[2] += stats.outgoingWebSocketMessages
    sums[3] += stats.outgoingOctetsAppLevel
    return name


def _policy(connection: Any) -> str:
    return str(getattr(connection.service, "slow_consumer", OTHER_SERVICE))
