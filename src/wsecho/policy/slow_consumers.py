"""What happens to a message for a peer that does not read: the choices of the option ``slow-consumer``."""

from __future__ import annotations

from enum import StrEnum, unique

__all__ = ["SlowConsumer"]


@unique
class SlowConsumer(StrEnum):
    """What happens to a message when the send queue of its receiver is full."""

    CLOSE = "close"
    """The receiver is closed with 1013: it learns that it missed something."""
    DROP_OLDEST = "drop-oldest"
    """The messages that wait longest make room: the receiver gets the latest."""
    DROP_NEWEST = "drop-newest"
    """The message is dropped for this receiver: it gets what was sent first."""
