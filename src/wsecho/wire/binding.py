"""Where a server listens: an address, an endpoint, or a socket that it was handed.

Rules of this file: it is told a factory and hands back a port, or one `CannotBind` whose text is one line.
It knows no WebSocket, and keeps nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from errno import EADDRNOTAVAIL, EAFNOSUPPORT, EPROTONOSUPPORT
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint

from wsecho.policy.proxies import TrustedProxies
from wsecho.wire.proxy_header import ProxyHeaderEndpoint, ProxyHeaderFactory
from wsecho.wire.tls_transport import TlsEndpoint, TlsFactory

__all__ = ["ANY", "BACKLOG", "CannotBind", "Place", "adopt", "bind", "places"]

ANY = "any"
"""All interfaces, IPv4 and IPv6."""

BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted, where it allows as many. With Twisted's 50, a
burst of a hundred clients loses some of their SYNs, and these wait a second until they try again."""

Place = tuple[str, IStreamServerEndpoint]
"""Something to listen on, and how an error names it."""

_NO_IPV6 = frozenset({EAFNOSUPPORT, EADDRNOTAVAIL, EPROTONOSUPPORT})
_endpoint4: Any = TCP4ServerEndpoint
_endpoint6: Any = TCP6ServerEndpoint


class CannotBind(Exception):
    """Nothing is listened on; one line."""


def places(reactor: Any, address: object, port: object) -> list[Place]:
    """Where to listen, to be tried in turn: for all interfaces IPv6, whose socket takes IPv4 as well, then
    IPv4 alone, for machines without IPv6.

    :param address: ``ANY``, an IP address, or an endpoint, which has a port of its own
    :param port: 0 picks one
    :raises TypeError: when ``address`` is no text and no endpoint, or ``port`` no int
    :raises ValueError: for a text that is no IP address, and a port that is none
    """
    if not isinstance(address, str):
        if not IStreamServerEndpoint.providedBy(address):
            raise TypeError(f"address must be a str or an endpoint, not {type(address).__name__}")
        return [("", address)]
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"port must be an int, not {type(port).__name__}")
    if not 0 <= port <= 65535:
        raise ValueError(f"port must be 0 to 65535, not {port}")
    if address == ANY:
        return [*places(reactor, "::", port), *places(reactor, "0.0.0.0", port)]
    if isIPv6Address(address):
        return [(f" on [{address}]:{port}", _endpoint6(reactor, port, BACKLOG, address))]
    if isIPAddress(address):
        return [(f" on {address}:{port}", _endpoint4(reactor, port, BACKLOG, address))]
    raise ValueError(f'address must be "any" or an IP address, not {address!r}')


async def bind(
    where: Sequence[Place], factory: Any, tls: Any, proxies: TrustedProxies | None = None
) -> IListeningPort:
    """Listen on the first place that the machine has.

    :param tls: gives connections their TLS; None for none
    :param proxies: whose PROXY headers are believed, which come before TLS
    :raises CannotBind: when that is none, or somebody else's, or when it is cancelled
    """
    for name, plain in where:
        endpoint = plain if proxies is None else ProxyHeaderEndpoint(plain, proxies)
        if tls is not None:
            endpoint = TlsEndpoint(tls, endpoint)
        try:
            return await endpoint.listen(factory)
        except CancelledError:
            raise CannotBind(f"cannot listen{name}: the server was closed") from None
        except Exception as error:
            problem = f"cannot listen{name}: {_why(error)}"
            if _errno(error) not in _NO_IPV6:
                break
    raise CannotBind(problem)


def adopt(
    reactor: Any, descriptor: int, factory: Any, tls: Any, proxies: TrustedProxies | None = None
) -> IListeningPort:
    """Listen on a socket that listens already. The descriptor is duplicated; the caller closes its own.

    :param tls: as for `bind`; so are ``proxies``
    :raises CannotBind: when it is no listening stream socket
    """
    try:
        family = _family_of_listener(descriptor)
    except OSError as error:
        raise CannotBind(f"cannot listen on descriptor {descriptor}: {_why(error)}") from None
    if tls is not None:
        factory = TlsFactory(tls, False, factory)
    if proxies is not None:
        factory = ProxyHeaderFactory(factory, proxies)
    port: IListeningPort = reactor.adoptStreamPort(descriptor, family, factory)
    return port


def _family_of_listener(descriptor: int) -> int:
    """The address family of a listening socket, which is made not to block: it would stop the reactor in the
    second accept."""
    duplicate = os.dup(descriptor)
    try:
        given = socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        raise
    with given:
        if not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError("it is no listening socket")
        given.setblocking(False)
        return given.family


def _cause(error: Exception) -> BaseException:
    return error.socketError if isinstance(error, CannotListenError) else error


def _errno(error: Exception) -> int | None:
    cause = _cause(error)
    if isinstance(cause, socket.gaierror):
        # Addresses are in digits: this is one of IPv6 where there is none.
        return EAFNOSUPPORT
    return cause.errno if isinstance(cause, OSError) else None


def _why(error: Exception) -> str:
    cause = _cause(error)
    return str(getattr(cause, "strerror", None) or cause) or type(cause).__name__
