"""What is known and set of a WebSocketServer: its signals, its settings, its facts, as QWebSocketServer names
them.

Rules of this file: members are Qt's in snake_case, getters as properties. Reading one changes nothing, and
setting one changes that one setting; what a server does is :mod:`wsecho.server`, built on this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator

from wsecho.policy.authenticators import CorsAuthenticator, PreSharedKeyAuthenticator
from wsecho.policy.enumerations import CloseCode, SocketError, SslMode, Version
from wsecho.policy.proxies import TrustedProxies
from wsecho.policy.signals import Signal
from wsecho.tls.configuration import TlsConfiguration
from wsecho.tls.verification import VerifyError
from wsecho.wire.factory import ServerFactory
from wsecho.wire.request import is_token

__all__ = ["ServerMembers", "header_text"]

_MAX_PENDING = 30


class ServerMembers:
    """Signals, settings and facts of a :class:`wsecho.WebSocketServer`.

    :param secure_mode: wss or ws, fixed from here on
    :param reactor: Twisted's; the global one when None
    :ivar factory: made by who builds on this
    """

    new_connection = Signal[[]]()
    """A connection is pending: take it with ``next_pending_connection``."""
    closed = Signal[[]]()
    """``close`` has done its work."""
    accept_error = Signal[[SocketError]]()
    """A connection could not be accepted: ``SOCKET_RESOURCE`` when the process or the system has no
    descriptors or no memory left, ``NETWORK`` when the peer was faster. Accepting goes on."""
    server_error = Signal[[CloseCode]]()
    """Listening failed (1006), a request was refused (1002), an origin was (1008), a head too large (1009),
    or too many connections are pending, or there (1006). Unlike Qt, emitted each time, not only at a
    change."""
    origin_authentication_required = Signal[[CorsAuthenticator]]()
    """Asked for every valid request, also without Origin; without a slot every origin is accepted. A slot may
    be a coroutine function: it is waited for. When one raises, the connection is refused."""
    peer_verify_error = Signal[[VerifyError]]()
    """A client's certificate is not good; the error names its address. The client is refused."""
    ssl_errors = Signal[[list[VerifyError]]]()
    """Likewise, after that; one error, at which the handshake ends."""
    pre_shared_key_authentication_required = Signal[[PreSharedKeyAuthenticator]]()
    """A client named its identity: fill in the key, or it is refused. For an ``ssl_configuration`` with
    ``pre_shared_keys`` that have no ``answer`` of their own; not a coroutine function."""
    alert_sent = Signal[[int, int, str, str]]()
    """Level (1 warning, 2 fatal), type and description of a TLS alert, and, unlike Qt, the client's
    address."""
    alert_received = Signal[[int, int, str, str]]()
    """Likewise, of an alert that a client sent."""
    handshake_interrupted_on_error = Signal[[VerifyError]]()
    """Likewise, after ``ssl_errors``; a server does not go on in spite of an error."""

    def __init__(self, secure_mode: SslMode, reactor: Any) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self.factory: ServerFactory
        self._reactor = reactor
        self._secure_mode = SslMode(secure_mode)
        self._ssl_configuration: Any = None
        self._proxy: TrustedProxies | None = None
        self._ports: list[IListeningPort] = []
        self._max_pending = _MAX_PENDING
        self._error = CloseCode.NORMAL
        self._error_string = ""

    # -- settings: they apply to connections that come later -------------------------------------------------

    @property
    def server_name(self) -> str:
        """Value of the ``Server`` header; empty sends none."""
        name: str = self.factory.server
        return name

    @server_name.setter
    def server_name(self, name: str) -> None:
        self.factory.server = header_text("server_name", name)

    @property
    def secure_mode(self) -> SslMode:
        """wss or ws."""
        return self._secure_mode

    @property
    def ssl_configuration(self) -> Any:
        """A ``wsecho.tls.configuration.TlsConfiguration``; or an ``IOpenSSLServerConnectionCreator``, such as
        ``wsecho.tls.contexts.server_creator`` makes, or what Twisted takes in its place
        (``CertificateOptions``), of which the signals about TLS tell nothing. Used from the next ``listen``,
        or ``reload_tls``, on. Without ``SECURE_MODE``, setting it changes nothing, as in Qt.

        :raises TypeError: when set to something else, None excepted
        """
        return self._ssl_configuration

    @ssl_configuration.setter
    def ssl_configuration(self, configuration: Any) -> None:
        is_creator = IOpenSSLServerConnectionCreator.providedBy(configuration)
        is_ours = is_creator or isinstance(configuration, TlsConfiguration)
        if configuration is not None and not is_ours and not hasattr(configuration, "getContext"):
            raise TypeError(
                "ssl_configuration must be a TlsConfiguration, an IOpenSSLServerConnectionCreator or None"
            )
        if self._secure_mode is SslMode.SECURE_MODE:
            self._ssl_configuration = configuration

    @property
    def proxy(self) -> TrustedProxies | None:
        """The proxies in front of the server that are believed about their clients; None for nobody. Their
        ``Forwarded`` and ``X-Forwarded-For`` headers count at once, for connections that come; the PROXY
        protocol, versions 1 and 2, from the next ``listen`` on. In Qt a SOCKS5 proxy that listens for the
        server, which nobody has.

        :raises TypeError: when set to something else
        """
        return self._proxy

    @proxy.setter
    def proxy(self, proxy: TrustedProxies | None) -> None:
        if proxy is not None and not isinstance(proxy, TrustedProxies):
            raise TypeError(f"proxy must be TrustedProxies or None, not {type(proxy).__name__}")
        self._proxy = proxy
        self.factory.proxies = TrustedProxies() if proxy is None else proxy

    @property
    def max_pending_connections(self) -> int:
        """Connections that may wait to be taken; the next is refused with 503 before its origin is asked.
        Default 30 (Qt)."""
        return self._max_pending

    @max_pending_connections.setter
    def max_pending_connections(self, number: int) -> None:
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"max_pending_connections must be an int, not {type(number).__name__}")
        if number < 0:
            raise ValueError(f"max_pending_connections must not be negative: {number}")
        self._max_pending = number

    @property
    def handshake_timeout(self) -> float:
        """Seconds (in Qt milliseconds) from accept to open, TLS included; default 10, as in Qt. Negative is
        off, as in Qt; so is 0."""
        return self.factory.settings.handshake_timeout or -1.0

    @handshake_timeout.setter
    def handshake_timeout(self, seconds: float) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"handshake_timeout must be a number, not {type(seconds).__name__}")
        if not math.isfinite(seconds):
            raise ValueError(f"handshake_timeout must be finite, not {seconds}; negative is off")
        settings = replace(self.factory.settings, handshake_timeout=max(0.0, float(seconds)))
        self.factory.use_settings(settings)

    @property
    def supported_subprotocols(self) -> list[str]:
        """The client's first that is among these is spoken; default none. Names are tokens (RFC 9110 section
        5.6.2)."""
        return list(self.factory.protocols)

    @supported_subprotocols.setter
    def supported_subprotocols(self, names: Sequence[str]) -> None:
        if isinstance(names, str):
            raise TypeError("supported_subprotocols must be a list of names, not one str")
        wanted = list(names)
        for name in wanted:
            if not is_token(name):
                raise ValueError(f"supported_subprotocols: {name!r} is not a token")
        self.factory.protocols = wanted

    @property
    def supported_versions(self) -> list[Version]:
        """``[Version.VERSION_13]``."""
        return [Version.VERSION_13]

    # -- what went wrong -------------------------------------------------------------------------------------

    @property
    def error(self) -> CloseCode:
        """The last error; ``NORMAL`` at rest."""
        return self._error

    @property
    def error_string(self) -> str:
        """What failed and why, one line; empty at rest."""
        return self._error_string

    # -- where it listens ------------------------------------------------------------------------------------

    @property
    def socket_descriptor(self) -> int:
        """The descriptor of the listening socket; -1 when not listening."""
        return self._ports[0].fileno() if self._ports else -1  # type: ignore[attr-defined]

    @property
    def ports(self) -> tuple[IListeningPort, ...]:
        """The ports that are listened on; empty when not listening."""
        return tuple(self._ports)

    @property
    def server_address(self) -> str:
        """The IP address, or the path of a unix socket; empty when not listening."""
        if not self._ports:
            return ""
        host: Any = self._ports[0].getHost()
        return str(getattr(host, "host", None) or host.name.decode("utf-8", "surrogateescape"))

    @property
    def server_port(self) -> int:
        """The port; 0 when not listening, and of a unix socket."""
        return int(getattr(self._ports[0].getHost(), "port", 0)) if self._ports else 0

    @property
    def server_url(self) -> str:
        """``ws://host:port`` or ``wss://…``, with 127.0.0.1 when bound to all interfaces; empty when not
        listening."""
        if not self.server_port:
            return ""
        address = self.server_address
        if address in ("0.0.0.0", "::"):
            address = "127.0.0.1"
        scheme = "wss" if self._secure_mode is SslMode.SECURE_MODE else "ws"
        return f"{scheme}://{f'[{address}]' if ':' in address else address}:{self.server_port}"


def header_text(name: str, text: str) -> str:
    """The text of a setting, when it can stand in a header.

    :raises TypeError: when it is no text
    :raises ValueError: when it is not printable ASCII
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, not {type(text).__name__}")
    if not all(0x20 <= ord(character) <= 0x7E for character in text):
        raise ValueError(f"{name} must be printable ASCII")
    return text
