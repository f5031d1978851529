"""The ports of a running server, closed and opened again as an operator says.

Rules of this file: it closes ports, never connections; and opens the same ports again, with whatever stands
between them and the factory. The listeners cannot do that: of a port number that the kernel chose they know
nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred
from twisted.internet.tcp import Port as TcpPort
from twisted.internet.unix import Port as UnixPort

from wsecho.app.listeners import ListenError, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IListeningPort, IProtocolFactory

__all__ = ["Ports"]


class _IsServer(Protocol):
    @property
    def ports(self) -> Sequence[IListeningPort]: ...

    def listen_through(self, open_ports: Callable[[IProtocolFactory], Deferred[Any]]) -> Deferred[Any]: ...

    def close(self) -> Deferred[Any]: ...


class Ports:
    """Open at first.

    :ivar are_open: whether they are, or are being opened
    """

    def __init__(self) -> None:
        self.are_open = True
        self._closed: list[tuple[_IsServer, Sequence[IListeningPort]]] = []

    def close(self, servers: Sequence[_IsServer]) -> Deferred[None]:
        """Close the ports of servers; fails with `ListenError` when they could not be opened again."""
        closed = [(server, server.ports) for server in servers]
        every = [port for _, ports in closed for port in ports]
        if any(_is_handed_over(port) for port in every):
            line = "a socket that was handed over cannot be closed and opened again; pause accepting instead"
            return fail(ListenError(line))
        for port in every:
            if isinstance(port, TcpPort) and not isinstance(port, UnixPort):
                port.port = port.getHost().port  # type: ignore[no-untyped-call]
        self._closed, self.are_open = closed, False
        return gatherResults([maybeDeferred(server.close) for server in servers]).addCallback(lambda _: None)

    def open(self) -> Deferred[None]:
        """Open them again; fails with `ListenError`, and then all are closed."""
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        opened: list[_IsServer] = []
        try:
            for server, ports in self._closed:
                await server.listen_through(partial(_start_again, ports))
                opened.append(server)
        except ListenError:
            for server in opened:
                await server.close()
            raise
        self.are_open = True


def _is_handed_over(port: Any) -> bool:
    # Of a socket that was adopted, Twisted knows no number.
    return getattr(port, "is_handed_over", False) or (isinstance(port, TcpPort) and port.port is None)


def _start_again(
    ports: Sequence[IListeningPort], factory: IProtocolFactory
) -> Deferred[Sequence[IListeningPort]]:
    # They have the factory, behind whatever is in front of it.
    return Deferred.fromCoroutine(_start(ports))


async def _start(ports: Sequence[IListeningPort]) -> Sequence[IListeningPort]:
    opened: list[IListeningPort] = []
    try:
        for port in ports:
            port.startListening()
            opened.append(port)
    except Exception as error:
        for port in opened:
            await maybeDeferred(port.stopListening)
        raise ListenError(f"cannot listen: {reason_of(error)}") from None
    return opened
