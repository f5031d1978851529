"""Channels that are not served: why, is what everybody who asks for one is told.

Rules of this file: nobody gets beyond the opening handshake, so that no message is taken that would not reach
everybody.
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from wsecho.wire.admission import HeadRefused
from wsecho.wire.interfaces import IService

__all__ = ["Unserved", "UnservedChannels"]


@implementer(IService)
class Unserved:
    """A service that refuses.

    :param line: why, for the answer's body
    """

    name = "broadcast"
    """What its refusals would be counted under."""

    def __init__(self, line: str) -> None:
        self._line = line

    def asked(self, connection: Any, head: Any) -> None:
        """Refuse; 503, for another configuration would serve it (RFC 9110 section 15.6.4)."""
        raise HeadRefused(503, self._line)

    def opened(self, connection: Any) -> None:
        """Nobody comes so far."""

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        """Nobody comes so far."""

    def closed(self, connection: Any) -> None:
        """Nobody comes so far."""


class UnservedChannels:
    """What gives connections their places, in place of a `BroadcastService`.

    :param line: why there are none
    """

    def __init__(self, line: str) -> None:
        self._service = Unserved(line)

    def member(self, channel: str) -> Unserved:
        """What refuses."""
        return self._service
