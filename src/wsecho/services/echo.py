"""Echo: what a peer sends comes back to it, text as text and binary as binary."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from wsecho.wire.factory import ServerFactory
from wsecho.wire.interfaces import IService
from wsecho.wire.lane import ECHO
from wsecho.wire.protocol import ServerProtocol

__all__ = ["EchoServerFactory", "EchoServerProtocol", "EchoService"]


@implementer(IService)
class EchoService:
    """Sends every message back. It has no state: one object serves all connections."""

    name = "echo"
    """What its messages are counted under."""

    native_action = ECHO
    """The compiled part may do this by itself."""

    def opened(self, connection: Any) -> None:
        """Nothing is said unasked: a greeting would break clients that compare what they sent with what they
        get."""

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        """Send it back."""
        connection.sendMessage(payload, is_binary)

    def closed(self, connection: Any) -> None:
        """There is nothing to forget."""


class EchoServerProtocol(ServerProtocol):
    """A connection that echoes."""

    service = EchoService()


class EchoServerFactory(ServerFactory):
    """Echoes on every path."""

    protocol = EchoServerProtocol
