"""The life of a connection, as a table.

Rules of this file: every transition stands in ``TRANSITIONS``; the protocol moves only along it, and the
diagram in the documentation is drawn from it. The file does not know what makes an event happen.

::

    connecting -> deciding -> open -> closing -> flushing -> gone

*connecting*: the request head is not complete. *deciding*: the head was checked; the policy or program has
not answered. *open*: messages flow. *closing*: we sent Close and wait for the peer's. *flushing*: nothing is
read any more; what was written, the Close frame or the HTTP answer last, is flushed, and the transport ends
when the peer ends or the close timeout does. *gone*: the transport has ended or was aborted.

RFC 6455 section 7.1.7 is why ``FAILED`` leads from *open* to *flushing* and not to *closing*: after failing a
connection an endpoint must not go on reading, not even for the peer's Close.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, unique
from types import MappingProxyType

__all__ = ["TRANSITIONS", "Event", "IllegalTransition", "Phase", "follow"]


@unique
class Phase(Enum):
    """Where a connection stands."""

    # The enum's own hash is a call of Python's, and there are two for each step of each connection.
    __hash__ = object.__hash__

    CONNECTING = "connecting"
    DECIDING = "deciding"
    OPEN = "open"
    CLOSING = "closing"
    FLUSHING = "flushing"
    GONE = "gone"


@unique
class Event(Enum):
    """What happened to it."""

    __hash__ = object.__hash__

    HEAD_ACCEPTED = "head accepted"
    ANSWERED = "answered without upgrade"
    OPENED = "opened"
    CLOSE_SENT = "Close sent"
    CLOSE_RECEIVED = "Close received"
    FAILED = "failed by us"
    PEER_FINISHED = "end of stream from the peer"
    ABORTED = "aborted"
    TRANSPORT_ENDED = "transport ended"


TRANSITIONS: Mapping[tuple[Phase, Event], Phase] = MappingProxyType(
    {
        (Phase.CONNECTING, Event.HEAD_ACCEPTED): Phase.DECIDING,
        (Phase.CONNECTING, Event.ANSWERED): Phase.FLUSHING,
        (Phase.CONNECTING, Event.FAILED): Phase.FLUSHING,
        (Phase.CONNECTING, Event.PEER_FINISHED): Phase.FLUSHING,
        (Phase.CONNECTING, Event.ABORTED): Phase.GONE,
        (Phase.CONNECTING, Event.TRANSPORT_ENDED): Phase.GONE,
        (Phase.DECIDING, Event.OPENED): Phase.OPEN,
        (Phase.DECIDING, Event.ANSWERED): Phase.FLUSHING,
        (Phase.DECIDING, Event.FAILED): Phase.FLUSHING,
        (Phase.DECIDING, Event.PEER_FINISHED): Phase.FLUSHING,
        (Phase.DECIDING, Event.ABORTED): Phase.GONE,
        (Phase.DECIDING, Event.TRANSPORT_ENDED): Phase.GONE,
        (Phase.OPEN, Event.CLOSE_SENT): Phase.CLOSING,
        (Phase.OPEN, Event.CLOSE_RECEIVED): Phase.FLUSHING,
        (Phase.OPEN, Event.FAILED): Phase.FLUSHING,
        (Phase.OPEN, Event.PEER_FINISHED): Phase.FLUSHING,
        (Phase.OPEN, Event.ABORTED): Phase.GONE,
        (Phase.OPEN, Event.TRANSPORT_ENDED): Phase.GONE,
        (Phase.CLOSING, Event.CLOSE_RECEIVED): Phase.FLUSHING,
        (Phase.CLOSING, Event.FAILED): Phase.FLUSHING,
        (Phase.CLOSING, Event.PEER_FINISHED): Phase.FLUSHING,
        (Phase.CLOSING, Event.ABORTED): Phase.GONE,
        (Phase.CLOSING, Event.TRANSPORT_ENDED): Phase.GONE,
        (Phase.FLUSHING, Event.PEER_FINISHED): Phase.FLUSHING,
        (Phase.FLUSHING, Event.ABORTED): Phase.GONE,
        (Phase.FLUSHING, Event.TRANSPORT_ENDED): Phase.GONE,
        # abortConnection() reports the end of the transport a reactor turn later.
        (Phase.GONE, Event.TRANSPORT_ENDED): Phase.GONE,
    }
)


class IllegalTransition(AssertionError):
    """An event that the table does not allow in that phase: a defect of wsecho, never a peer's doing."""


def follow(phase: Phase, event: Event) -> Phase:
    """The phase after ``event``.

    :raises IllegalTransition: when the table has no such row
    """
    try:
        return TRANSITIONS[phase, event]
    except KeyError:
        raise IllegalTransition(
            f"{event.value!r} cannot happen to a connection that is {phase.value}"
        ) from None
