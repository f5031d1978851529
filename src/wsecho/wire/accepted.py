"""Connections of a port as they are accepted: read at once, before the reactor hears of them.

Twisted registers each socket that it accepts, and reads it in a later turn. A client's request is as a rule
there when the connection is accepted, and once that is answered the pump reads the socket; so the reactor
would register it, call for it once, and forget it again, which is a third of the time that a handshake takes.

Rules of this file: it is Twisted's transport of a server, TCP or Unix, which does everything as before, but

- it is registered only when the first attempt to read is over, and reading is still wanted then;
- what its listening socket knows is not asked for, or set, once more for each connection.

It knows no protocol but what the transport is given. A port gets these transports when a connection that has
nothing between it and its socket asks for it: :func:`hasten`.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Final

from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = [
    "MOST_ACCEPTS",
    "SOCKETS",
    "Accepted",
    "AcceptedTcp",
    "AcceptedUnix",
    "ListeningSocket",
    "can_be_quick",
    "hasten",
]

_log = Logger("wsecho")

#: Connections that a port accepts in a turn at most. Each has its answer in the same turn, so that this is
#: some milliseconds; Twisted's own number grows with a burst, without end.
MOST_ACCEPTS: Final = 64

_Base: Any = object
_TcpServer: Any = tcp.Server
_UnixServer: Any = unix.Server
_TcpPort: Any = tcp.Port


class ListeningSocket:
    """A listening socket that makes what it accepts without asking itself of which kind that is.

    :param listening: a plain one
    """

    def __init__(self, listening: socket.socket) -> None:
        self._socket: Any = listening
        self._kind = int(listening.family), int(listening.type), listening.proto

    def accept(self) -> tuple[socket.socket, Any]:
        """As a socket does."""
        descriptor, address = self._socket._accept()
        return socket.socket(*self._kind, fileno=descriptor), address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def can_be_quick(listening: object) -> bool:
    """Whether something is a listening socket of this Python's that `ListeningSocket` may stand for."""
    return type(listening) is socket.socket and hasattr(socket.socket, "_accept")


class Accepted(_Base):  # type: ignore[misc]
    """To be mixed in before a transport of Twisted's."""

    _is_new = True
    _wants_to_read = False

    def __init__(
        self, handle: Any, protocol: Any, client: Any, server: Any, number: int, reactor: Any
    ) -> None:
        super().__init__(handle, protocol, client, server, number, reactor)
        server.numberAccepts = min(server.numberAccepts, MOST_ACCEPTS)

    def startReading(self) -> None:
        if self._is_new:
            self._wants_to_read = True
        else:
            super().startReading()

    def stopReading(self) -> None:
        if self._is_new:
            self._wants_to_read = False
        else:
            super().stopReading()

    def begin(self) -> None:
        """Read what there is; then let the reactor tell of more, if more is wanted. Called by the protocol,
        once, when it is ready; nothing is read before."""
        if self._wants_to_read and self.connected and not self.disconnecting:
            self.read_now()
        self._is_new = False
        if self._wants_to_read and self.connected and not self.disconnecting:
            super().startReading()

    def read_now(self) -> None:
        """Read once, as the reactor does when the socket is readable."""
        try:
            end = self.doRead()
        except Exception as error:
            _log.failure("a connection broke while it was read")
            end = error
        if end is None or self.disconnected:
            return
        self.stopReading()
        if isinstance(end, ConnectionDone):
            self.readConnectionLost(Failure(end))  # type: ignore[no-untyped-call]
        else:
            self.connectionLost(Failure(end))  # type: ignore[no-untyped-call]


class AcceptedTcp(Accepted, _TcpServer):  # type: ignore[misc]
    """``tcp.Server``."""

    _has_no_delay: bool | None = None

    def getHost(self) -> Any:
        host = self.server.accepts_at
        return super().getHost() if host is None else host

    def setTcpNoDelay(self, enabled: Any) -> None:
        if self._has_no_delay is None:
            self._has_no_delay = self.server.accepts_without_delay or self._accepted_without_delay()
        if bool(enabled) is not self._has_no_delay:
            super().setTcpNoDelay(enabled)
            self._has_no_delay = bool(enabled)

    def _accepted_without_delay(self) -> bool:
        """Whether Nagle's algorithm is off for this connection. Those after it need not be asked then: a
        port accepts connections in the order in which they took over the options of its socket."""
        has = bool(self.getTcpNoDelay())
        self.server.accepts_without_delay = has
        return has


class AcceptedUnix(Accepted, _UnixServer):  # type: ignore[misc]
    """``unix.Server``."""


#: Transports that are nothing but a socket, as long as they have not been told to speak TLS.
SOCKETS: Final = frozenset({tcp.Server, unix.Server, AcceptedTcp, AcceptedUnix})


def hasten(transport: Any) -> None:
    """Let the port that has accepted this connection make transports of this file from now on. Nothing is
    done with other ports than Twisted's own, nor with those that have been told what to make.

    :param transport: of a connection
    """
    kind: Any = type(transport)
    if kind is tcp.Server:
        port: Any = transport.server
        if type(port) is _TcpPort and port.transport is tcp.Server:
            if can_be_quick(port.socket):
                port.socket = ListeningSocket(port.socket)
            port.accepts_at = _bound_to(port)
            # Not so for those who have connected already; elsewhere than on Linux, perhaps for none.
            port.accepts_without_delay = False
            with contextlib.suppress(OSError):
                port.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            port.transport = AcceptedTcp
    elif kind is unix.Server:
        port = transport.server
        if type(port) is unix.Port and port.transport is unix.Server:
            port.transport = AcceptedUnix


def _bound_to(port: Any) -> IPv4Address | IPv6Address | None:
    """The address at which all connections of a port arrive; None when they arrive at several."""
    host = port.getHost()
    return None if host.host in ("0.0.0.0", "::", "") else host
