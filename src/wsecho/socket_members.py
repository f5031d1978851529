"""What is known and set of a WebSocket: its signals, its settings, its facts, as QWebSocket names them.

Rules of this file: reading a member changes nothing, and setting one changes that one setting; what a socket
does is :mod:`wsecho.websocket`, built on this.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

from wsecho.inbox import Inbox
from wsecho.policy.authenticators import Authenticator, PreSharedKeyAuthenticator
from wsecho.policy.clients import PeerCertificate
from wsecho.policy.end_reasons import End
from wsecho.policy.enumerations import CloseCode, PauseMode, SocketError, SocketState, Version
from wsecho.policy.proxies import PeerAddress
from wsecho.policy.settings import Settings
from wsecho.policy.signals import Signal
from wsecho.tls.client import ClientTls
from wsecho.tls.verification import VerifyError
from wsecho.tls_events import SocketTlsEvents
from wsecho.waiting import Bell
from wsecho.wire.client import HttpProxy
from wsecho.wire.peer_certificate import peer_certificate

__all__ = ["MAX_SIZE", "HandshakeOptions", "SocketMembers"]

MAX_SIZE = 2_147_483_646
"""The largest frame or message size that Qt allows (``QWebSocket::maxIncomingFrameSize()``), in bytes."""

_OUTGOING_FRAME_SIZE = 512 * 1024
_READ_BUFFER_SIZE = 1024 * 1024
_NOBODY = PeerAddress(None)


class HandshakeOptions:
    """What a client offers beyond the URL (``QWebSocketHandshakeOptions``).

    :param subprotocols: in the order of preference. Names that are no tokens (RFC 9110 section 5.6.2) are
        kept here, but dropped with a warning when the request is made, as Qt does
    :raises TypeError: for one text, and for what is no list of texts
    """

    __slots__ = ("_subprotocols",)

    def __init__(self, subprotocols: Iterable[str] = ()) -> None:
        if isinstance(subprotocols, str):
            raise TypeError("subprotocols must be a list of names, not one str")
        self._subprotocols = tuple(subprotocols)
        for name in self._subprotocols:
            if not isinstance(name, str):
                raise TypeError(f"subprotocols must be a list of str, not of {type(name).__name__}")

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The names offered."""
        return self._subprotocols

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HandshakeOptions) and other._subprotocols == self._subprotocols

    def __hash__(self) -> int:
        return hash(self._subprotocols)

    def __repr__(self) -> str:
        return f"HandshakeOptions({list(self._subprotocols)!r})"


class SocketMembers:
    """Signals, settings and facts of a :class:`wsecho.WebSocket`.

    :param origin: the Origin header that a client sends; empty sends none
    :param version: only ``Version.LATEST``, 13, is spoken
    :param reactor: Twisted's; the global one when None
    :param settings: limits and timers; wsecho's defaults when None
    :raises ValueError: for another version, or an origin that is not printable ASCII
    """

    connected = Signal[[]]()
    """The opening handshake is complete."""
    disconnected = Signal[[]]()
    """The connection has ended, or could not be made; the last signal of it. The addresses are known until
    its slots have been called."""
    about_to_close = Signal[[]]()
    """The closing handshake began, on either side, or the peer is gone: nothing more can be sent, and no
    message comes any more."""
    state_changed = Signal[[SocketState]]()
    text_frame_received = Signal[[str, bool]]()
    """A data frame of a text message and whether it is the last; a character that frames split comes with the
    later one."""
    binary_frame_received = Signal[[bytes, bool]]()
    """A data frame of a binary message, decompressed, and whether it is the last."""
    text_message_received = Signal[[str]]()
    """A whole text message, after its last frame."""
    binary_message_received = Signal[[bytes]]()
    """A whole binary message, after its last frame."""
    pong = Signal[[int, bytes]]()
    """Milliseconds since the last ``ping``, -1 when there was none, and the payload."""
    bytes_written = Signal[[int]]()
    """How many payload bytes were handed to the kernel since the last emission."""
    read_channel_finished = Signal[[]]()
    """The peer sends nothing more."""
    error_occurred = Signal[[SocketError]]()
    """An attempt to connect failed, or the connection ended without a Close frame; Qt's ``errorOccurred``."""
    authentication_required = Signal[[Authenticator]]()
    """The server answered 401 and takes Basic authentication; a slot sets user and password, or the attempt
    fails. A slot may be a coroutine function: it is waited for."""
    proxy_authentication_required = Signal[[HttpProxy, Authenticator]]()
    """The proxy answered 407; likewise."""
    pre_shared_key_authentication_required = Signal[[PreSharedKeyAuthenticator]]()
    """The server takes a pre-shared key: fill in identity and key. For an ``ssl_configuration`` with
    ``pre_shared_keys`` that have no ``answer`` of their own; not a coroutine function."""
    ssl_errors = Signal[[list[VerifyError]]]()
    """The server's certificate is not good: what was found so far. Call ``ignore_ssl_errors`` in the slot to
    go on; else the attempt ends with ``SSL_HANDSHAKE_FAILED``. Emitted again for the next error."""
    peer_verify_error = Signal[[VerifyError]]()
    """One thing that is wrong with it; before ``ssl_errors``."""
    alert_sent = Signal[[int, int, str]]()
    """Level (1 warning, 2 fatal), type and description of a TLS alert."""
    alert_received = Signal[[int, int, str]]()
    """Likewise, of an alert that the peer sent."""
    handshake_interrupted_on_error = Signal[[VerifyError]]()
    """After ``ssl_errors``: call ``continue_interrupted_handshake`` in the slot to go on."""

    def __init__(
        self,
        origin: str = "",
        version: Version = Version.LATEST,
        *,
        reactor: Any = None,
        settings: Settings | None = None,
    ) -> None:
        if version != Version.LATEST:
            raise ValueError(f"version must be Version.LATEST (13), not {version!r}")
        if not isinstance(origin, str):
            raise TypeError(f"origin must be a str, not {type(origin).__name__}")
        if not all(0x20 <= ord(character) <= 0x7E for character in origin):
            raise ValueError("origin must be printable ASCII")
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self._origin = origin
        self._settings = Settings() if settings is None else settings
        self._connection: Any = None
        self._attempt: Any = None
        self._openings = 0
        self._request: Any = None
        self._request_url = ""
        self._resource_name = ""
        self._options = HandshakeOptions()
        self._state = SocketState.UNCONNECTED
        self._close_code = int(CloseCode.NORMAL)
        self._close_reason = ""
        self._error = SocketError.UNKNOWN_SOCKET_ERROR
        self._error_string = ""
        self._end: End | None = None
        self._outgoing_frame_size = _OUTGOING_FRAME_SIZE
        self._max_frame = self._settings.max_frame_size or MAX_SIZE
        self._max_message = self._settings.max_message_size or MAX_SIZE
        self._mask_generator: Any = None
        self._proxy: HttpProxy | None = None
        self._ssl_configuration: Any = None
        self._pause_mode = PauseMode.PAUSE_NEVER
        self._left: Callable[[], object] | None = None
        self._keeps_messages = False
        self._inbox = Inbox(_READ_BUFFER_SIZE)
        self._is_held_by_program = False
        self._frame_decoder = getincrementaldecoder("utf-8")("ignore")
        self._ping_at: float | None = None
        self._sent_bytes = 0
        self._reported_bytes = 0
        self._look: Any = None
        self._is_server_side = False
        self._ignores_ssl_errors = False
        self._ignored_ssl_errors: frozenset[VerifyError | int] = frozenset()
        self._tls_events: SocketTlsEvents | None = None
        self._local = self._peer = _NOBODY
        self._end_bell = Bell()
        self._low_bell = Bell()
        self._is_low_awaited = False

    def _apply_holds(self) -> None:
        """Pause or resume reading as the inbox and the program want."""
        raise NotImplementedError

    # -- who and what ----------------------------------------------------------------------------------------

    @property
    def state(self) -> SocketState:
        """Where the connection stands."""
        return self._state

    def is_valid(self) -> bool:
        """Whether messages can be sent."""
        return self._state is SocketState.CONNECTED

    @property
    def origin(self) -> str:
        """The Origin header: the client's own, on the server's side what was sent; empty when there is
        none."""
        return self._origin

    @property
    def version(self) -> Version:
        """Always 13 (RFC 6455)."""
        return Version.LATEST

    @property
    def close_code(self) -> int:
        """The code of the Close frame that began the closing handshake; 1000 before, 1005 when the peer gave
        none, 1006 when there was no Close frame (RFC 6455 section 7.1.5)."""
        return self._close_code

    @property
    def close_reason(self) -> str:
        """The reason with it; empty when there was none."""
        return self._close_reason

    @property
    def end(self) -> End | None:
        """Why the last connection ended, by wsecho's closed list; None while there was none."""
        return self._end

    @property
    def error(self) -> SocketError:
        """The last error; ``UNKNOWN_SOCKET_ERROR`` at rest (Qt)."""
        return self._error

    @property
    def error_string(self) -> str:
        """What failed and why, one line; empty at rest."""
        return self._error_string

    @property
    def request(self) -> Any:
        """The opening handshake: the ``ClientRequest`` last sent; on the server's side Autobahn's
        ``ConnectionRequest``, with ``headers``, ``path`` and ``params``; None before any."""
        return self._request

    @property
    def request_url(self) -> str:
        """Its URL; empty before any."""
        return self._request_url

    @property
    def resource_name(self) -> str:
        """Path and query as they were sent (RFC 6455 section 3); empty before any."""
        return self._resource_name

    @property
    def handshake_options(self) -> HandshakeOptions:
        """What was offered beside the URL."""
        return self._options

    @property
    def subprotocol(self) -> str:
        """The subprotocol spoken; empty when none."""
        connection = self._connection
        return "" if connection is None else connection.websocket_protocol_in_use or ""

    @property
    def local_address(self) -> str:
        """The local IP address; empty when not connected, and for a unix socket."""
        return self._local.host or ""

    @property
    def local_port(self) -> int:
        """The local port; 0 when not connected."""
        return self._local.port or 0

    @property
    def peer_address(self) -> str:
        """The peer's IP address, or what a trusted proxy says of it; empty when not connected, and for a unix
        socket."""
        return self._peer.host or ""

    @property
    def peer_port(self) -> int:
        """The peer's port; 0 when not connected, and when a trusted proxy does not say."""
        return self._peer.port or 0

    @property
    def peer_name(self) -> str:
        """The host name of the URL that was opened; on the server's side empty, as in Qt."""
        return "" if self._is_server_side else urlsplit(self._request_url).hostname or ""

    def _meet(self, connection: Any) -> None:
        """Note who is at both ends of a connection."""
        host = connection.link.getHost()
        self._local = PeerAddress.of(getattr(host, "host", None), getattr(host, "port", None))
        self._peer = connection.peer_address

    @property
    def peer_certificate(self) -> PeerCertificate | None:
        """The peer's certificate: on the server's side it was verified, on the client's unless errors were
        ignored. None when it showed none, and when not connected."""
        link = None if self._connection is None else self._connection.link
        return None if link is None or not link.is_secure else peer_certificate(link.getHandle())

    def _part(self) -> None:
        self._local = self._peer = _NOBODY

    # -- settings --------------------------------------------------------------------------------------------

    @property
    def bytes_to_write(self) -> int:
        """Bytes, frames' headers included, that were sent but not handed to the kernel yet."""
        return 0 if self._connection is None else int(self._connection.link.queued_bytes)

    @property
    def read_buffer_size(self) -> int:
        """Bytes of messages that may wait for ``async for``, or for a pending connection to be taken, before
        reading pauses; 0: no limit. Default 1 MiB (Qt: no limit)."""
        return self._inbox.limit

    @read_buffer_size.setter
    def read_buffer_size(self, size: int) -> None:
        self._inbox.limit = _checked("read_buffer_size", size, 0)
        self._apply_holds()

    @property
    def max_allowed_incoming_frame_size(self) -> int:
        """Bytes; above it, close 1009. Default 1 MiB (Qt: 2,147,483,646)."""
        return self._max_frame

    @max_allowed_incoming_frame_size.setter
    def max_allowed_incoming_frame_size(self, size: int) -> None:
        self._max_frame = _checked("max_allowed_incoming_frame_size", size, 1)
        if self._connection is not None:
            self._connection.maxFramePayloadSize = size

    @property
    def max_allowed_incoming_message_size(self) -> int:
        """Bytes after decompression; above it, close 1009. Default 1 MiB (Qt: 2,147,483,646)."""
        return self._max_message

    @max_allowed_incoming_message_size.setter
    def max_allowed_incoming_message_size(self, size: int) -> None:
        self._max_message = _checked("max_allowed_incoming_message_size", size, 1)
        if self._connection is not None:
            self._connection.maxMessagePayloadSize = size

    @staticmethod
    def max_incoming_frame_size() -> int:
        """The largest value of ``max_allowed_incoming_frame_size``: 2,147,483,646, as in Qt."""
        return MAX_SIZE

    @staticmethod
    def max_incoming_message_size() -> int:
        """The largest value of ``max_allowed_incoming_message_size``."""
        return MAX_SIZE

    @staticmethod
    def max_outgoing_frame_size() -> int:
        """The largest value of ``outgoing_frame_size``."""
        return MAX_SIZE

    @property
    def outgoing_frame_size(self) -> int:
        """Bytes; larger messages are sent in fragments of this size. Default 512 KiB, as in Qt."""
        return self._outgoing_frame_size

    @outgoing_frame_size.setter
    def outgoing_frame_size(self, size: int) -> None:
        self._outgoing_frame_size = _checked("outgoing_frame_size", size, 1)

    @property
    def mask_generator(self) -> Callable[[], int] | None:
        """Gives the 32-bit mask of each frame that a client sends; None for the system's random source. Used
        by the next ``open``."""
        generator: Callable[[], int] | None = self._mask_generator
        return generator

    @mask_generator.setter
    def mask_generator(self, generator: Callable[[], int] | None) -> None:
        if generator is not None and not callable(generator):
            raise TypeError(f"mask_generator must be callable or None, not {type(generator).__name__}")
        self._mask_generator = generator

    @property
    def proxy(self) -> HttpProxy | None:
        """The HTTP proxy that a client connects through (CONNECT); None for none. Used by the next
        ``open``."""
        return self._proxy

    @proxy.setter
    def proxy(self, proxy: HttpProxy | None) -> None:
        if proxy is not None and not isinstance(proxy, HttpProxy):
            raise TypeError(f"proxy must be an HttpProxy or None, not {type(proxy).__name__}")
        self._proxy = proxy

    @property
    def pause_mode(self) -> PauseMode:
        """What stops a connection until :meth:`resume`. Without effect yet: TLS errors end an attempt, they
        do not pause it."""
        return self._pause_mode

    @pause_mode.setter
    def pause_mode(self, mode: PauseMode) -> None:
        self._pause_mode = PauseMode(mode)

    @property
    def ssl_configuration(self) -> Any:
        """A ``wsecho.tls.client.ClientTls`` for the next ``open``, or an ``IOpenSSLClientConnectionCreator``,
        of which the signals about TLS tell nothing; None is ``ClientTls()``, which verifies the server's name
        against the system's authorities. On the server's side None: see :class:`wsecho.WebSocketServer`.

        :raises TypeError: when set to something else
        """
        return self._ssl_configuration

    @ssl_configuration.setter
    def ssl_configuration(self, configuration: Any) -> None:
        is_creator = IOpenSSLClientConnectionCreator.providedBy(configuration)
        if configuration is not None and not is_creator and not isinstance(configuration, ClientTls):
            raise TypeError("ssl_configuration must be ClientTls, an IOpenSSLClientConnectionCreator or None")
        self._ssl_configuration = configuration


def _checked(name: str, size: object, least: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"{name} must be an int, not {type(size).__name__}")
    if not least <= size <= MAX_SIZE:
        raise ValueError(f"{name} must be {least} to {MAX_SIZE}, not {size}")
    return size
