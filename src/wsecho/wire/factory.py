"""The factory: options of all connections of one listener, every Autobahn default set on purpose, and who is
connected.

Rules of this file: no bytes, no messages. It holds what the connections share; the protocol asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from autobahn.websocket.compress import PerMessageDeflateOffer
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from wsecho.policy.clients import PeerCertificate
from wsecho.policy.hosts import AllowedHosts
from wsecho.policy.http import HttpAnswer
from wsecho.policy.origins import AllowedOrigins, OriginPolicy, admitting_option
from wsecho.policy.proxies import TrustedProxies
from wsecho.policy.settings import Settings
from wsecho.policy.text import escape_peer_text
from wsecho.wire.beneath import AutobahnFactory, AutobahnServerProtocol
from wsecho.wire.connection import next_id
from wsecho.wire.deflate import Acceptance
from wsecho.wire.drain import Drain
from wsecho.wire.frames import Prepared, prepare
from wsecho.wire.interfaces import IService
from wsecho.wire.options import common_options
from wsecho.wire.protocol import ServerProtocol
from wsecho.wire.room import Room
from wsecho.wire.start import with_options
from wsecho.wire.tally import Tally
from wsecho.wire.timers import SharedTimer
from wsecho.wire.turns import Turns

__all__ = ["ServerFactory"]

_log = Logger("wsecho")
_offer: Any = PerMessageDeflateOffer
_DEFLATE = "permessage-deflate"
_SECONDS_BETWEEN_ORIGIN_HINTS = 60.0
_OPTIONS = tuple(AutobahnServerProtocol.CONFIG_ATTRS)


class ServerFactory(AutobahnFactory):  # type: ignore[misc]
    """Makes the connections of one listener.

    :param reactor: ``IReactorTime``; the global reactor when None
    :param settings: limits and timers; wsecho's defaults when None
    :param origins: who may connect; same origin only when None
    :param hosts: accepted Host headers; any when None
    :param proxies: whose ``Forwarded`` and ``X-Forwarded-For`` headers are believed; nobody's when None. For
        the PROXY protocol see ``wsecho.wire.proxy_header.ProxyHeaderEndpoint``
    :param clients: who may connect by its certificate, asked with the verified one or None before anything
        else is answered; everybody when None
    :param subprotocols: supported subprotocols; the client's first that is among them is spoken (as in Qt's
        ``QWebSocketServer::setSupportedSubprotocols``), none is fine
    :param server_name: value of the ``Server`` header; empty sends none
    :param is_secure: whether the listener speaks TLS
    :param route: from a decoded path to its service, None for 404; without a route every path is accepted and
        messages go to the protocol's ``onMessage``
    :param page: from the decoded path of a plain GET to its answer, None for no page
    :param room: counts connections, for all factories that share it; one of its own, with the limits of the
        settings, when None
    :param tally: counts what the connections carry and how they end, for all factories that share it; one of
        its own when None
    :param debug: log every message, escaped and shortened
    """

    protocol = ServerProtocol
    noisy = False
    no_service: Any = object()
    """What a path has on which messages go to the protocol's own ``onMessage``."""
    sampler: Any = None
    """Shown some of the messages; see :mod:`wsecho.wire.sampling`. None while nobody watches."""
    _made_of: Any = None
    _made: Any = None

    def __init__(
        self,
        *,
        reactor: Any = None,
        settings: Settings | None = None,
        origins: OriginPolicy | None = None,
        hosts: AllowedHosts | None = None,
        proxies: TrustedProxies | None = None,
        clients: Callable[[PeerCertificate | None], bool] | None = None,
        subprotocols: Sequence[str] = (),
        server_name: str = "",
        is_secure: bool = False,
        route: Callable[[str], IService | None] | None = None,
        page: Callable[[str], HttpAnswer | None] | None = None,
        room: Room | None = None,
        tally: Tally | None = None,
        debug: bool = False,
    ) -> None:
        self.settings = Settings() if settings is None else settings
        super().__init__(
            url="wss://localhost" if is_secure else "ws://localhost",
            protocols=list(subprotocols),
            server=server_name,
            reactor=reactor,
        )
        self.origins: OriginPolicy = AllowedOrigins() if origins is None else origins
        self.hosts = AllowedHosts() if hosts is None else hosts
        self.proxies = TrustedProxies() if proxies is None else proxies
        self.clients = clients
        self.debug = debug
        self.route: Callable[[str], IService | None] = self._any_path if route is None else route
        self.page: Callable[[str], HttpAnswer | None] = _no_page if page is None else page
        self._has_own_room = room is None
        self.room = Room() if room is None else room
        self._limit_own_room()
        self.tally = Tally() if tally is None else tally
        self.timer = SharedTimer(self.reactor)
        self._batched_timer = self.timer
        self.turns = Turns(self.reactor)
        self.connections: set[ServerProtocol] = set()
        """The open connections."""
        self._alive: set[ServerProtocol] = set()
        self._drains: dict[Drain, Deferred[None]] = {}
        self._is_shutting_down = False
        self._origin_hint_at: float | None = None

    def _any_path(self, path: str) -> IService:
        service: IService = self.no_service
        return service

    def __setattr__(self, name: str, value: object) -> None:
        if name in _OPTIONS:
            # Open connections keep the options that they have begun with.
            self._made_of = None
        super().__setattr__(name, value)

    def buildProtocol(self, addr: object) -> Any:
        """Make a connection. Its class is one that is made of ``protocol`` and has the options of now."""
        given = self.protocol
        if given is not self._made_of:
            self._made_of = given
            self._made = with_options(given, _OPTIONS, self)
        connection = self._made()
        connection.factory = self
        return connection

    # -- Autobahn's options ----------------------------------------------------------------------------------

    def resetProtocolOptions(self) -> None:
        """Set every option of Autobahn, from :class:`wsecho.policy.settings.Settings` or with the reason
        beside it."""
        super().resetProtocolOptions()
        for name, value in self._options().items():
            setattr(self, name, value)

    def _options(self) -> Mapping[str, Any]:
        settings = self.settings
        return {
            **common_options(settings),
            "versions": [13],  # Autobahn also takes 8, a draft whose Origin header has another name
            "webStatus": False,  # its page mirrors ?redirect= and shows a version
            "requireMaskedClientFrames": True,  # section 5.1
            "maskServerFrames": False,  # section 5.1
            "openHandshakeTimeout": settings.handshake_timeout,
            "serveFlashSocketPolicy": False,
            "flashSocketPolicy": "",
            "perMessageCompressionAccept": self._accept_compression,
            # Decided by the origin policy, with 403; Autobahn's check answers 400 and parses loosely.
            "allowedOrigins": ["*"],
            "allowNullOrigin": True,  # likewise
            "maxConnections": 0,  # Autobahn counts connections that are not open yet
            "trustXForwardedFor": 0,
        }

    def setProtocolOptions(self, *args: Any, **options: Any) -> None:
        """Change options of Autobahn. Its own silently switches ``allowNullOrigin`` off whenever it is not
        given."""
        options.setdefault("allowNullOrigin", self.allowNullOrigin)
        super().setProtocolOptions(*args, **options)

    def valid_offers(
        self, extensions: Sequence[tuple[str, dict[str, Any]]]
    ) -> list[tuple[str, dict[str, Any]]]:
        """The client's permessage-deflate offers that are well formed (RFC 7692 section 7.1)."""
        valid = []
        for name, parameters in extensions:
            if name == _DEFLATE:
                try:
                    _offer.parse(parameters)
                except Exception:  # Autobahn raises bare Exception for a bad parameter
                    continue
                valid.append((name, parameters))
        return valid

    def _accept_compression(self, offers: Sequence[Any]) -> Any:
        if self.settings.compression == "deflate":
            for offer in offers:
                if isinstance(offer, PerMessageDeflateOffer):
                    return Acceptance(offer)
        return None

    def prepareMessage(self, payload: bytes, isBinary: bool = False, doNotCompress: bool = False) -> Prepared:
        """Frame a message once for many receivers, which get it by ``sendPreparedMessage``."""
        return prepare(payload, isBinary, is_compressible=not doNotCompress)

    def choose_subprotocol(self, offered: Sequence[str]) -> str | None:
        """The client's first subprotocol that is supported; None when there is none."""
        return next((name for name in offered if name in self.protocols), None) if offered else None

    # -- connections -----------------------------------------------------------------------------------------

    def next_id(self) -> int:
        """A number for a connection; see :func:`wsecho.wire.connection.next_id`."""
        return next_id()

    @property
    def alive(self) -> Collection[ServerProtocol]:
        """The connections whose transport has not ended, open or not."""
        return self._alive

    def connection_made(self, connection: ServerProtocol) -> None:
        """A transport was accepted."""
        self._alive.add(connection)
        if self._is_shutting_down:
            # Not by a buildProtocol that returns None: Twisted's TLS, which wraps this factory, raises then.
            for drain in self._drains:
                drain.add(connection)
            connection.shut_down()

    def connection_opened(self, connection: ServerProtocol) -> None:
        """The opening handshake is complete."""
        self.connections.add(connection)
        self.tally.opened()

    def connection_closing(self, connection: ServerProtocol) -> None:
        """The connection carries no more messages; its transport may still flush, or wait for the peer's
        Close."""
        self.connections.discard(connection)

    def connection_lost(self, connection: ServerProtocol) -> None:
        """The transport has ended."""
        self.connections.discard(connection)
        self._alive.discard(connection)
        self.tally.ended(connection)
        place, connection.place = connection.place, None
        if place is not None:
            self.room.leave(place)
        for drain in list(self._drains):
            if drain.ended(connection):
                self._drains.pop(drain).callback(None)

    def shutdown(self, *, timeout: float | None = None, spread: bool = False) -> Deferred[None]:
        """End every connection: Close 1001 to open ones, 503 to those in handshake; nobody is accepted any
        more. Asked for again, it may end them sooner, never later.

        :param timeout: seconds until all have ended: what is queued for a peer that reads reaches it, and
            what is left then is dropped; 0 drops all at once. None gives each the close timeout, from its
            Close on
        :param spread: tell open connections one after the other, the oldest first, over the first half of
            ``timeout``; until its turn each goes on working
        :returns: fires when all transports have ended
        :raises TypeError: for a timeout that is no number
        :raises ValueError: for one that is negative or not finite; and for ``spread`` without ``timeout``
        """
        drain = Drain(self.reactor, timeout, spread=spread)
        self._is_shutting_down = True
        if not self._alive:
            return succeed(None)
        deferred = self._drains[drain] = Deferred()
        drain.begin(self._alive)
        return deferred

    def check_room(self, connection: ServerProtocol) -> None:
        """Asked before a valid opening handshake is decided on. From here to the end of its transport, the
        connection is counted.

        :raises HeadRefused: 503 or 429 when no further connection is taken
        """
        connection.place = self.room.enter(connection.peer_address, self.reactor.seconds())

    def handshake_refused(self, status: int, detail: str) -> None:
        """An opening handshake was answered with ``status`` instead of 101."""

    def use_settings(self, settings: Settings) -> None:
        """Take other limits and timers for the connections that come."""
        self.settings = settings
        self.resetProtocolOptions()
        self._limit_own_room()

    def _limit_own_room(self) -> None:
        if self._has_own_room:
            self.room.max_connections = self.settings.max_connections
            self.room.max_connections_per_address = self.settings.max_connections_per_address

    def origin_refused(self, origin: str | None) -> None:
        """Log a refused origin, once a minute at most, with the option that would admit it.

        :param origin: the header's value; None when there was none
        """
        now = self.reactor.seconds()
        if self._origin_hint_at is not None and now - self._origin_hint_at < _SECONDS_BETWEEN_ORIGIN_HINTS:
            return
        self._origin_hint_at = now
        if origin is None:
            _log.warn("refused a connection without an Origin header")
            return
        option = admitting_option(origin)
        if option is None:
            _log.warn('refused origin "{origin}", which is no origin', origin=escape_peer_text(origin))
        else:
            _log.warn(
                'refused origin "{origin}"; --allow-origin={option} would admit it',
                origin=escape_peer_text(origin),
                option=option,
            )


def _no_page(path: str) -> HttpAnswer | None:
    return None
