"""The servers under attack: plain Autobahn as it comes, with its options set well, and wsecho.

All three echo, and note in `told` what their program is told. Nothing of Autobahn is changed but where it
takes the time from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.defer import Deferred
from twisted.protocols.haproxy import proxyEndpoint

from wsecho.policy.hosts import AllowedHosts
from wsecho.policy.origins import AllowedOrigins
from wsecho.policy.proxies import TrustedProxies
from wsecho.policy.settings import Settings
from wsecho.wire.beneath import ReactorTimer
from wsecho.wire.factory import ServerFactory
from wsecho.wire.protocol import ServerProtocol
from wsecho.wire.proxy_header import ProxyHeaderFactory

__all__ = ["SUBJECTS", "TUNED", "UNTOUCHED", "WSECHO", "Situation", "Subject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a server is told about its place in the world.

    :ivar origins: whose pages may connect, each with its port; None for whatever the server does by itself
    :ivar hosts: by which names the server goes; None for any
    :ivar proxies: the addresses of the proxies in front
    :ivar decide: what the program answers in ``onConnect``; None for no opinion
    :ivar handshake_timeout: seconds; the same for the others
    """

    origins: Sequence[str] | None = None
    hosts: Sequence[str] | None = None
    proxies: Sequence[str] = ()
    decide: Callable[[], Deferred[None]] | None = None
    handshake_timeout: float = 10.0
    close_timeout: float = 5.0
    ping_interval: float = 20.0
    ping_timeout: float = 20.0


class _Autobahn(WebSocketServerProtocol):
    """An echo server as Autobahn's documentation shows it."""

    factory: Any

    def onConnect(self, request: Any) -> Any:
        decide = self.factory.situation.decide
        return None if decide is None else decide()

    def onOpen(self) -> None:
        self.factory.told.append("onOpen")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.told.append("onMessage")
        self.sendMessage(payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.told.append("onClose")


class _Wsecho(ServerProtocol):
    """The same program on wsecho."""

    factory: Any

    def onConnect(self, request: Any) -> Any:
        decide = self.factory.situation.decide
        verdict = super().onConnect(request)
        return verdict if decide is None else decide().addCallback(lambda _: verdict)

    def onOpen(self) -> None:
        self.factory.told.append("onOpen")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.told.append("onMessage")
        self.sendMessage(payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.told.append("onClose")


class Subject(ABC):
    """A kind of server.

    :ivar name: for test methods
    :ivar title: for the table
    """

    name: str
    title: str

    def factory(self, reactor: Any, situation: Situation) -> Any:
        """A factory in that situation, with what its programs were `told`."""
        factory = self._make(reactor, situation)
        factory.situation = situation
        factory.told = []
        factory.noisy = False
        return factory

    @abstractmethod
    def taking_proxy_headers(self, factory: Any) -> Any:
        """The factory behind what reads PROXY headers."""

    @abstractmethod
    def peer(self, protocol: Any) -> str:
        """The address that the program finds for its peer."""

    @abstractmethod
    def _make(self, reactor: Any, situation: Situation) -> Any:
        """The factory itself."""


class _Unbound:
    """An endpoint that listens nowhere."""

    def listen(self, factory: Any) -> Any:
        """The factory itself."""
        return factory


class _Untouched(Subject):
    name = "autobahn"
    title = "Autobahn, untouched"

    def _make(self, reactor: Any, situation: Situation) -> Any:
        make: Any = WebSocketServerFactory
        factory = make("ws://localhost:9000", reactor=reactor)
        factory.protocol = _Autobahn
        # Its own timer asks the global reactor, also when it is given another one.
        factory._batched_timer = ReactorTimer(reactor)
        return factory

    def taking_proxy_headers(self, factory: Any) -> Any:
        # As a haproxy: endpoint does it.
        return proxyEndpoint(_Unbound()).listen(factory)  # type: ignore[arg-type]

    def peer(self, protocol: Any) -> str:
        told: str = protocol.peer  # tcp4:ADDRESS:PORT, or what a header said
        if not told.startswith("tcp"):
            return told
        address: str = protocol.transport.getPeer().host
        return address


class _Tuned(_Untouched):
    name = "autobahn_tuned"
    title = "Autobahn, every option set"

    def _make(self, reactor: Any, situation: Situation) -> Any:
        factory = super()._make(reactor, situation)
        factory.server = ""
        factory.setProtocolOptions(
            versions=[13],
            webStatus=False,
            maxFramePayloadSize=1024**2,
            maxMessagePayloadSize=1024**2,
            failByDrop=False,
            echoCloseCodeReason=True,
            openHandshakeTimeout=situation.handshake_timeout,
            closeHandshakeTimeout=situation.close_timeout,
            autoPingInterval=situation.ping_interval,
            autoPingTimeout=situation.ping_timeout,
            allowedOrigins=["*"] if situation.origins is None else list(situation.origins),
            allowNullOrigin=False,
            maxConnections=10_000,
            # The only way to see a proxy's clients: how many proxies there are, not which.
            trustXForwardedFor=len(situation.proxies),
        )
        return factory


class _Ours(Subject):
    name = "wsecho"
    title = "wsecho"

    def _make(self, reactor: Any, situation: Situation) -> Any:
        factory = ServerFactory(
            reactor=reactor,
            settings=Settings(
                handshake_timeout=situation.handshake_timeout,
                close_timeout=situation.close_timeout,
                ping_interval=situation.ping_interval,
                ping_timeout=situation.ping_timeout,
            ),
            origins=AllowedOrigins(situation.origins or ()),
            hosts=AllowedHosts(situation.hosts),
            proxies=TrustedProxies(situation.proxies),
        )
        factory.protocol = _Wsecho
        return factory

    def taking_proxy_headers(self, factory: Any) -> Any:
        return ProxyHeaderFactory(factory, factory.proxies)

    def peer(self, protocol: Any) -> str:
        return str(protocol.peer_address.host)


UNTOUCHED: Subject = _Untouched()
TUNED: Subject = _Tuned()
WSECHO: Subject = _Ours()
SUBJECTS = (UNTOUCHED, TUNED, WSECHO)
