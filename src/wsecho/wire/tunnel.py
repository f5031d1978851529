"""The way through an HTTP proxy: CONNECT (RFC 9110 section 9.3.6), then whatever the connection is for.

Rules of this file: it speaks to the proxy until the tunnel stands and then hands the transport on; it does
not know what goes through. What comes from the proxy is as bounded and as strictly read as any answer.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from wsecho.policy.hosts import canonical_host
from wsecho.wire.failures import ConnectError, ConnectFailed, transport_failed
from wsecho.wire.response import BadResponse, ResponseHead, ResponseReader

__all__ = ["HttpProxy", "TunnelEndpoint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProxy:
    """An HTTP proxy that connects by CONNECT.

    :param host: name or address, IPv6 without brackets
    :param port: 1 to 65535
    :param user: for Basic authentication (RFC 7617), without a colon; None sends no credentials
    :param password: with it; left out of ``repr``
    :raises ValueError: for anything else; the message names the argument
    """

    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            canonical_host(f"[{self.host}]" if ":" in self.host else self.host)
        except (TypeError, ValueError):
            raise ValueError(f"host: {self.host!r} is not a host name or address") from None
        if not _is_port(self.port):
            raise ValueError(f"port: {self.port!r} is not a port; accepted is 1 to 65535")
        if self.user is None and self.password is not None:
            raise ValueError("user: a password needs a user")
        for name, text in (("user", self.user), ("password", self.password)):
            if text is not None and not _is_credential(text):
                raise ValueError(f"{name}: accepted is a text without control characters")
        if ":" in (self.user or ""):
            raise ValueError("user: Basic authentication knows no user with a colon (RFC 7617 section 2)")

    @property
    def authority(self) -> str:
        """``host:port``, with brackets around IPv6."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authorization(self) -> str:
        """The ``Proxy-Authorization`` header; empty without a user."""
        if self.user is None:
            return ""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password or ''}".encode()).decode("ascii")


def _is_port(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 < number <= 65535


def _is_credential(text: object) -> bool:
    # isprintable is false for surrogates too, which have no UTF-8.
    return isinstance(text, str) and all(character.isprintable() for character in text)


@implementer(IStreamClientEndpoint)
class TunnelEndpoint:
    """Connects to a server through a proxy.

    :param endpoint: leads to the proxy
    :param authority: the server, ``host:port``
    :param make_reader: gives the reader of the proxy's answer
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        proxy: HttpProxy,
        authority: str,
        make_reader: Callable[[], ResponseReader],
    ) -> None:
        self._endpoint = endpoint
        self._proxy = proxy
        self._authority = authority
        self._make_reader = make_reader

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect a protocol of ``protocolFactory`` to the server.

        :returns: fires when the tunnel stands; fails with ``ConnectFailed``. Cancelling ends the connection
            to the proxy
        """
        tunnel = _Tunnel(self._proxy, self._authority, self._make_reader(), protocolFactory)
        reaching: Deferred[Any] = self._endpoint.connect(_Once(tunnel))
        reaching.addErrback(self._not_reached)
        return reaching.addCallback(lambda _: tunnel.established)

    def _not_reached(self, failure: Failure) -> None:
        failed = transport_failed(failure, self._proxy.authority)
        # The time of the whole attempt is not the proxy's fault.
        error = failed.error if failed.error is ConnectError.TIMEOUT else ConnectError.PROXY
        raise ConnectFailed(error, f"proxy {failed.text}")


class _Once(Factory):
    """Gives the one protocol that was made for the one connection."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._protocol


class _Tunnel(Protocol):
    """Asks the proxy for a tunnel and, when it stands, leaves the transport to another protocol."""

    transport: Any

    def __init__(
        self, proxy: HttpProxy, authority: str, reader: ResponseReader, factory: IProtocolFactory
    ) -> None:
        self.established: Deferred[Any] = Deferred(lambda _: self.transport.abortConnection())
        self._proxy = proxy
        self._authority = authority
        self._reader = reader
        self._factory = factory
        self._failed: ConnectFailed | None = None

    def connectionMade(self) -> None:
        lines = [f"CONNECT {self._authority} HTTP/1.1", f"Host: {self._authority}"]
        if self._proxy.authorization:
            lines.append(f"Proxy-Authorization: {self._proxy.authorization}")
        self.transport.write("\r\n".join([*lines, "", ""]).encode("ascii"))

    def dataReceived(self, data: bytes) -> None:
        if self._failed is not None:
            return
        try:
            complete = self._reader.feed(data)
        except BadResponse as bad:
            self._fail(ConnectError.PROXY, str(bad))
            return
        if complete is None:
            return
        head, rest = complete
        if 200 <= head.status < 300:
            self._hand_over(rest)
        elif head.status == 407:
            self._fail(ConnectError.PROXY_AUTHENTICATION, f"answered {head.shown}", head)
        else:
            self._fail(ConnectError.PROXY, f"answered {head.shown}", head)

    def _hand_over(self, rest: bytes) -> None:
        protocol: Any = self._factory.buildProtocol(self.transport.getPeer())
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        self.established.callback(protocol)
        if rest:
            protocol.dataReceived(rest)

    def _fail(self, error: ConnectError, what: str, head: ResponseHead | None = None) -> None:
        self._failed = ConnectFailed(
            error,
            f"proxy {self._proxy.authority}: {what}",
            status=None if head is None else head.status,
            headers={} if head is None else head.headers,
        )
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.established.called:
            return
        what = f"proxy {self._proxy.authority}: the connection was ended before CONNECT was answered"
        self.established.errback(self._failed or ConnectFailed(ConnectError.PROXY, what))
