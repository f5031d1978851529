"""Connections that tell their service of more than messages: frames, pongs and the end of the transport.

The library's ``WebSocket`` needs these for Qt's signals. Echo and broadcast do without, and so do not pay for
them. Mixed in before the protocol class of either side.
"""

from __future__ import annotations

from typing import Any

from wsecho.policy.lifecycle import Phase
from wsecho.wire.client_protocol import ClientProtocol
from wsecho.wire.interfaces import IService
from wsecho.wire.protocol import ServerProtocol

__all__ = ["IObserver", "ObservedClientProtocol", "ObservedServerProtocol"]


class IObserver(IService):
    """A service that is told of everything. An exception ends the connection, as with :class:`IService`.

    ``ended`` is called also for a connection whose opening handshake was not accepted, then without any other
    call before.
    """

    def frame_arrived(connection: Any, payload: bytes, is_binary: bool, is_last: bool) -> None:
        """One data frame of a message; ``payload`` is decompressed, and may split a character of a text
        message."""

    def pong_arrived(connection: Any, payload: bytes) -> None:
        """A pong that answers no keepalive ping of ours."""

    def ended(connection: Any) -> None:
        """The transport has ended; the last call for ``connection``."""


_Protocol: Any = object  # the class that stands behind this one in the order of bases: of either side


class _Observed(_Protocol):  # type: ignore[misc]
    service: Any
    _is_keepalive = False

    def onMessageFrame(self, payload: list[bytes]) -> None:
        super().onMessageFrame(payload)
        # Once Close was sent, frames are discarded, as messages are.
        if self.phase is Phase.OPEN:
            try:
                self.service.frame_arrived(
                    self, b"".join(payload), self.message_is_binary, self.current_frame.fin
                )
            except Exception:
                self._program_failed("frame_arrived")

    def onAutoPong(self, *args: Any) -> None:
        # Autobahn calls onPong for it as well, next.
        self._is_keepalive = True

    def onPong(self, payload: bytes) -> None:
        if self._is_keepalive:
            self._is_keepalive = False
        elif self.phase is Phase.OPEN:
            self.service.pong_arrived(self, payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        # Autobahn's protocols live until the garbage collector comes; their service must not.
        service, self.service = self.service, None
        if service is not None:
            service.ended(self)


class ObservedServerProtocol(_Observed, ServerProtocol):
    """A server's connection whose service is an :class:`IObserver`."""


class ObservedClientProtocol(_Observed, ClientProtocol):
    """A client's connection whose service is an :class:`IObserver`."""
