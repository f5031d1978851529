"""The way to a server, as one endpoint: its name, TCP, perhaps a proxy, perhaps TLS.

Rules of this file: it knows no WebSocket. Timeouts are its caller's, who bounds the whole attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IOpenSSLClientConnectionCreator,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import TLSVersion, optionsForClientTLS
from zope.interface import implementer

__all__ = ["host_endpoint", "verifying_creator"]

# HostnameEndpoint wants a name that passes for an international one, which is no matter of a resolver: names
# with underscores, or two hyphens in the third place, exist. It gets this one, and the resolver the real one.
_ANY_NAME = "name.invalid"
_NO_TIMEOUT: Any = None
_TCP6ClientEndpoint: Any = TCP6ClientEndpoint  # not annotated


def host_endpoint(
    reactor: Any, host: str, port: int, on_lookup: Callable[[], None], on_connecting: Callable[[], None]
) -> IStreamClientEndpoint:
    """Return an endpoint without a timeout of its own; all addresses of a name are tried, the first that
    connects is taken (RFC 8305).

    :param reactor: ``IReactorTCP``, ``IReactorTime`` and, for names, ``IReactorPluggableNameResolver``
    :param host: name or address, IPv6 without brackets
    :param on_lookup: called when a name is looked up
    :param on_connecting: called before the first address is connected to
    """
    if isIPv6Address(host):
        on_connecting()
        endpoint: IStreamClientEndpoint = _TCP6ClientEndpoint(reactor, host, port, _NO_TIMEOUT)
        return endpoint
    if isIPAddress(host):
        on_connecting()
        return TCP4ClientEndpoint(reactor, host, port, _NO_TIMEOUT)
    on_lookup()
    watched = _WatchedReactor(reactor, host, on_connecting)
    return HostnameEndpoint(watched, _ANY_NAME, port, _NO_TIMEOUT)


@implementer(IReactorPluggableNameResolver)
class _WatchedReactor:
    """What ``HostnameEndpoint`` uses of a reactor; it tells nobody when it has looked a name up."""

    def __init__(self, reactor: Any, host: str, on_resolved: Callable[[], None]) -> None:
        self.connectTCP = reactor.connectTCP
        self.callLater = reactor.callLater
        self.seconds = reactor.seconds
        self.nameResolver = _WatchedResolver(reactor.nameResolver, host, on_resolved)

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        raise NotImplementedError("install a resolver into the reactor itself")


@implementer(IHostnameResolver)
class _WatchedResolver:
    def __init__(self, resolver: IHostnameResolver, host: str, on_resolved: Callable[[], None]) -> None:
        self._resolver = resolver
        self._host = host
        self._on_resolved = on_resolved

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Look the real name up, whatever ``hostName`` is."""
        receiver = _WatchedReceiver(resolutionReceiver, self._on_resolved)
        return self._resolver.resolveHostName(
            receiver, self._host, portNumber, addressTypes, transportSemantics
        )


@implementer(IResolutionReceiver)
class _WatchedReceiver:
    def __init__(self, receiver: IResolutionReceiver, on_resolved: Callable[[], None]) -> None:
        self.resolutionBegan = receiver.resolutionBegan
        self._receiver = receiver
        self._on_resolved = on_resolved
        self._found = False

    def addressResolved(self, address: IAddress) -> None:
        self._found = True
        self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        if self._found:
            self._on_resolved()
        self._receiver.resolutionComplete()


def verifying_creator(host: str) -> IOpenSSLClientConnectionCreator:
    """Return what makes TLS connections to ``host``: TLS 1.2 at least, the system's authorities, the name or
    address checked by service-identity.

    :raises ValueError: no certificate can name ``host``
    """
    return optionsForClientTLS(
        host,
        # A server that also speaks HTTP/2 must not choose it: RFC 8441 is another protocol.
        acceptableProtocols=[b"http/1.1"],
        extraCertificateOptions={"raiseMinimumTo": TLSVersion.TLSv1_2},
    )
