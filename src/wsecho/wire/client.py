"""Connecting as a client: one attempt, from the host's name to the open WebSocket.

Rules of this file: an attempt ends once, with an open connection or a `ConnectFailed`, at the latest after
the handshake timeout; when it has failed, nothing of it is left but, for a moment, a transport that was told
to abort. It reads and writes no bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, unique
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import (
    IDelayedCall,
    IOpenSSLClientConnectionCreator,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure

from wsecho.policy.end_reasons import EndReason
from wsecho.policy.settings import Settings
from wsecho.wire.client_protocol import ClientFactory, ClientProtocol, response_reader
from wsecho.wire.endpoints import host_endpoint, verifying_creator
from wsecho.wire.failures import ConnectError, ConnectFailed, transport_failed
from wsecho.wire.interfaces import IService
from wsecho.wire.request import ClientRequest
from wsecho.wire.tunnel import HttpProxy, TunnelEndpoint

__all__ = [
    "ClientFactory",
    "ClientPhase",
    "ClientProtocol",
    "ClientRequest",
    "ConnectError",
    "ConnectFailed",
    "HttpProxy",
    "connect",
]


@unique
class ClientPhase(Enum):
    """How far an attempt to connect is."""

    HOST_LOOKUP = "host lookup"
    """The name is looked up; passed over for an address."""
    CONNECTING = "connecting"
    """TCP, proxy, TLS and the opening handshake."""


def connect(
    reactor: Any,
    request: ClientRequest,
    *,
    service: IService | None,
    settings: Settings | None = None,
    tls: IOpenSSLClientConnectionCreator | None = None,
    proxy: HttpProxy | None = None,
    mask: Callable[[], int] | None = None,
    on_phase: Callable[[ClientPhase], None] | None = None,
    protocol: type[ClientProtocol] = ClientProtocol,
) -> Deferred[ClientProtocol]:
    """Connect to a WebSocket server (RFC 6455 section 4.1).

    :param reactor: ``IReactorTCP``, ``IReactorTime`` and ``IReactorPluggableNameResolver``
    :param request: what is asked
    :param service: what happens to messages; None when ``protocol`` does that
    :param settings: limits and timers, wsecho's defaults when None. ``handshake_timeout`` bounds the whole
        attempt, ``max_head_*`` the answer; ``compression`` says whether it is offered
    :param tls: makes the TLS connections of wss; None for one that trusts the system's authorities and checks
        the name. Not used for ws
    :param proxy: to connect through
    :param mask: gives the 32-bit mask of each frame, 0 included; None for one that cannot be predicted
    :param on_phase: told of each phase, the first before this function returns
    :param protocol: the connection's class
    :raises TypeError: when ``tls`` makes no TLS connections for clients
    :returns: fires when the connection is open, after the service's ``opened`` and before the first message;
        fails with `ConnectFailed`. Cancelling it gives the attempt up
    """
    if tls is not None and not IOpenSSLClientConnectionCreator.providedBy(tls):
        raise TypeError(f"tls: {type(tls).__name__} provides no IOpenSSLClientConnectionCreator")
    settings = Settings() if settings is None else settings
    attempt = _Attempt(reactor, request.authority, settings.handshake_timeout, on_phase)
    factory = ClientFactory(
        request,
        reactor=reactor,
        service=service,
        settings=settings,
        mask=mask,
        protocol=protocol,
        on_made=attempt.made,
        on_open=attempt.opened,
        on_failed=attempt.failed,
    )
    try:
        endpoint = _endpoint(reactor, request, settings, tls, proxy, attempt.reached)
    except ConnectFailed as failed:
        attempt.failed(failed)
    else:
        attempt.begin(endpoint, factory)
    return attempt.result


def _endpoint(
    reactor: Any,
    request: ClientRequest,
    settings: Settings,
    tls: IOpenSSLClientConnectionCreator | None,
    proxy: HttpProxy | None,
    tell: Callable[[ClientPhase], None],
) -> IStreamClientEndpoint:
    if request.is_secure and tls is None:
        try:
            tls = verifying_creator(request.host)
        except ValueError:
            text = f"{request.authority}: TLS can check no certificate for this name"
            raise ConnectFailed(ConnectError.TLS, text) from None
    endpoint = host_endpoint(
        reactor,
        request.host if proxy is None else proxy.host,
        request.port if proxy is None else proxy.port,
        partial(tell, ClientPhase.HOST_LOOKUP),
        partial(tell, ClientPhase.CONNECTING),
    )
    if proxy is not None:
        endpoint = TunnelEndpoint(endpoint, proxy, request.authority, partial(response_reader, settings))
    if request.is_secure:
        assert tls is not None
        endpoint = wrapClientTLS(tls, endpoint, reactor)
    return endpoint


class _Attempt:
    """One attempt: whoever ends it first decides. The factory knows it until there is nothing to tell."""

    def __init__(
        self, reactor: Any, target: str, seconds: float, on_phase: Callable[[ClientPhase], None] | None
    ) -> None:
        self.result: Deferred[ClientProtocol] = Deferred(lambda _: self._cancelled())
        self._target = target
        self._seconds = seconds
        self._timer: IDelayedCall | None = reactor.callLater(seconds, self._timed_out) if seconds else None
        self._on_phase = on_phase
        self._factory: ClientFactory | None = None
        self._connecting: Deferred[Any] | None = None
        self._connection: ClientProtocol | None = None
        self._given_up: ConnectFailed | None = None
        self._is_over = False

    def begin(self, endpoint: IStreamClientEndpoint, factory: ClientFactory) -> None:
        self._factory = factory
        self._connecting = endpoint.connect(factory)
        self._connecting.addErrback(self._unreachable)

    def reached(self, phase: ClientPhase) -> None:
        if self._on_phase is not None:
            self._on_phase(phase)

    def made(self, connection: ClientProtocol) -> None:
        self._connection = connection

    def opened(self, connection: ClientProtocol) -> None:
        self._ends()
        self.result.callback(connection)

    def failed(self, failed: ConnectFailed) -> None:
        if self._ends():
            if self._factory is not None:
                self._factory.forget()
            self.result.errback(failed)

    def _ends(self) -> bool:
        is_first = not self._is_over
        self._is_over = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        return is_first

    def _unreachable(self, failure: Failure) -> None:
        self.failed(self._given_up or transport_failed(failure, self._target))

    def _timed_out(self) -> None:
        self._timer = None
        text = f"{self._target}: not connected within {self._seconds:g} seconds"
        self._give_up(ConnectFailed(ConnectError.TIMEOUT, text), EndReason.HANDSHAKE_TIMEOUT)

    def _cancelled(self) -> None:
        failed = ConnectFailed(ConnectError.CANCELLED, f"{self._target}: the attempt was given up")
        self._give_up(failed, EndReason.ABORTED)
        # The transport ends a moment later; whoever cancels must not have to wait for that.
        self.failed(failed)

    def _give_up(self, failed: ConnectFailed, why: EndReason) -> None:
        self._given_up = failed
        if self._connection is not None:
            self._connection.reject(failed, why)
            # A service that gives up while it is told of the opening has an open connection.
            self._connection.dropConnection(abort=True)
        else:
            assert self._connecting is not None
            self._connecting.cancel()
