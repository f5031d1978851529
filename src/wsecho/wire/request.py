"""What a client asks for: the URL, the headers and subprotocols of an opening handshake.

Rules of this file: a `ClientRequest` that exists can be sent. Whatever could put a line of its own into the
request head, or mean two things to two readers, is a `ValueError` that names the argument; nothing is
repaired but what a URL's own rules repair (characters that are not written literally are percent-encoded).
It knows no transport and no answer.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

import idna

from wsecho.policy.hosts import canonical_host
from wsecho.policy.text import escape_peer_text
from wsecho.wire.admission import TOKEN

__all__ = ["ClientRequest", "is_token", "render_request"]

_URL = re.compile(r"([^:/?#]*)://([^/?#]*)([^#]*)(#.*)?", re.DOTALL)
_SCHEMES = {"ws": 80, "wss": 443}
_AUTHORITY = re.compile(r"(?:([^@]*)@)?(\[[^\[\]@]*\]|[^:@\[\]]*)(?::([0-9]{0,5}))?")
_ENCODED_LINE_END = re.compile(r"%0d%0a", re.IGNORECASE)
# What QUrl leaves as it is in path and query; a percent sign must begin an encoded byte.
_UNSAFE = re.compile(r"[^!$&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~%]|%(?![0-9A-Fa-f]{2})")
_TOKEN = re.compile(TOKEN)
_ORIGIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
# ISO 8859-1 without its controls; what RFC 9110 section 5.5 calls obs-text.
_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")

# Written by the handshake itself, or they would announce a body, which is read as frames (RFC 6455 section
# 4.1).
_OWN_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "origin",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-version",
        "transfer-encoding",
        "upgrade",
    }
)
_SUBPROTOCOLS = "sec-websocket-protocol"


@dataclass(frozen=True, slots=True)
class _Target:
    is_secure: bool
    host: str
    port: int
    resource: str
    user: str
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRequest:
    """The request of an opening handshake (RFC 6455 section 4.1).

    :param url: ``ws://`` or ``wss://``, absolute, without fragment. Path and query are sent encoded as given;
        characters that a URL does not write literally (blanks, ``"<>\\^`{|}``, everything beyond ASCII, a
        lone ``%``) are percent-encoded as UTF-8, as ``QUrl`` does. An international host name is looked up by
        its A-labels. User and password are not sent; see :attr:`user`
    :param headers: more header fields, in this order. ``Sec-WebSocket-Protocol`` is merged into what is
        offered; the handshake's own names are refused
    :param origin: the ``Origin`` header, printable ASCII; empty sends none
    :param subprotocols: offered in this order
    :raises ValueError: for anything that cannot be sent so; the message names the argument
    """

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    origin: str = ""
    subprotocols: tuple[str, ...] = ()
    _target: _Target = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_target", _parse_url(self.url))
        object.__setattr__(self, "headers", _checked_headers(self.headers))
        object.__setattr__(self, "subprotocols", _checked_subprotocols(self.subprotocols))
        _check_origin(self.origin)

    @property
    def is_secure(self) -> bool:
        """Whether the URL is a wss one."""
        return self._target.is_secure

    @property
    def host(self) -> str:
        """The host to connect to: a name in lower case and ASCII, or an address, IPv6 without brackets."""
        return self._target.host

    @property
    def port(self) -> int:
        """The port to connect to; 80 or 443 where the URL has none."""
        return self._target.port

    @property
    def authority(self) -> str:
        """``host:port``, with brackets around IPv6."""
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def host_header(self) -> str:
        """The ``Host`` header: the port only when it is not the scheme's own (RFC 6455 section 4.1)."""
        default = _SCHEMES["wss" if self.is_secure else "ws"]
        return _bracketed(self.host) if self.port == default else self.authority

    @property
    def resource(self) -> str:
        """Path and query as they are sent (RFC 6455 section 3)."""
        return self._target.resource

    @property
    def user(self) -> str:
        """The URL's user, decoded; empty when there is none. It is not sent before a server asks."""
        return self._target.user

    @property
    def password(self) -> str:
        """The URL's password, decoded; empty when there is none."""
        return self._target.password

    @property
    def offered(self) -> tuple[str, ...]:
        """The subprotocols that are offered: :attr:`subprotocols`, then those of a raw
        ``Sec-WebSocket-Protocol`` header that are tokens, each once (``QWebSocketHandshakeOptions``)."""
        raw = [
            name.strip(" \t")
            for field_name, value in self.headers
            if field_name.lower() == _SUBPROTOCOLS
            for name in value.split(",")
        ]
        return tuple(dict.fromkeys((*self.subprotocols, *filter(is_token, raw))))


def is_token(name: object) -> bool:
    """Tell whether a text may name a subprotocol (RFC 6455 section 4.1)."""
    return isinstance(name, str) and _TOKEN.fullmatch(name) is not None


def render_request(request: ClientRequest, *, key: str, extensions: str = "") -> bytes:
    """Return the request head.

    :param key: the ``Sec-WebSocket-Key``
    :param extensions: the ``Sec-WebSocket-Extensions`` header; empty sends none
    """
    fields = [
        ("Host", request.host_header),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
    ]
    if request.origin:
        fields.append(("Origin", request.origin))
    if request.offered:
        fields.append(("Sec-WebSocket-Protocol", ", ".join(request.offered)))
    if extensions:
        fields.append(("Sec-WebSocket-Extensions", extensions))
    fields += [(name, value) for name, value in request.headers if name.lower() != _SUBPROTOCOLS]
    lines = [f"GET {request.resource} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("iso-8859-1")


def _shown(value: object) -> str:
    return f'"{escape_peer_text(value)}"' if isinstance(value, str | bytes) else repr(value)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _has_control(text: str) -> bool:
    return any(character < " " or "\x7f" <= character < "\xa0" for character in text)


def _parse_url(url: str) -> _Target:
    if not isinstance(url, str):
        raise ValueError(f"url: accepted is a text, not {type(url).__name__}")
    if _has_control(url):
        raise ValueError("url: it has a control character")
    parts = _URL.fullmatch(url)
    if parts is None or parts[1].lower() not in _SCHEMES:
        raise ValueError("url: accepted is ws://host[:port][/path][?query], or the same with wss")
    scheme, authority, rest, fragment = parts[1].lower(), parts[2], parts[3], parts[4]
    if fragment is not None:
        raise ValueError("url: a fragment (#...) has no meaning to WebSocket (RFC 6455 section 3)")
    path = rest.partition("?")[0]
    if _ENCODED_LINE_END.search(path) is not None:
        # Harmless to HTTP, but no name of a resource; Qt refuses it as well.
        raise ValueError("url: the path has an encoded line end (%0D%0A)")
    split = _AUTHORITY.fullmatch(authority)
    if split is None:
        raise ValueError("url: what follows :// is not [user[:password]@]host[:port]")
    user, _, password = (split[1] or "").partition(":")
    return _Target(
        is_secure=scheme == "wss",
        host=_parse_host(split[2]),
        port=_parse_port(split[3], _SCHEMES[scheme]),
        resource=_encode(rest if path else "/" + rest),
        user=unquote(user),
        password=unquote(password),
    )


def _parse_host(text: str) -> str:
    if not text:
        raise ValueError("url: there is no host")
    try:
        name = text if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
        host = canonical_host(name)
    except UnicodeError:
        raise ValueError(f"url: {_shown(text)} is not an international host name") from None
    except ValueError:
        raise ValueError(f"url: {_shown(text)} is not a host name or address") from None
    return str(ipaddress.IPv6Address(host[1:-1])) if host.startswith("[") else host


def _parse_port(text: str | None, default: int) -> int:
    port = int(text) if text else default
    if not 0 < port <= 65535:
        raise ValueError(f"url: {port} is not a port; accepted is 1 to 65535")
    return port


def _encode(resource: str) -> str:
    try:
        return _UNSAFE.sub(lambda match: quote(match[0], safe=""), resource)
    except UnicodeEncodeError:
        raise ValueError("url: it has a surrogate, which is no character") from None


def _check_origin(origin: object) -> None:
    if not isinstance(origin, str) or (origin and _ORIGIN.fullmatch(origin) is None):
        raise ValueError(f"origin: {_shown(origin)} is not printable ASCII")


def _checked_subprotocols(names: object) -> tuple[str, ...]:
    if not isinstance(names, Iterable) or isinstance(names, str | bytes):
        raise ValueError(f"subprotocols: accepted is a list of names, not {type(names).__name__}")
    checked = tuple(names)
    for name in checked:
        if not is_token(name):
            raise ValueError(f"subprotocols: {_shown(name)} is not a token (RFC 9110 section 5.6.2)")
    return checked


def _checked_headers(headers: object) -> tuple[tuple[str, str], ...]:
    pairs = tuple(headers) if isinstance(headers, Iterable) else (None,)
    # A text of two characters would unpack as well.
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise ValueError("headers: accepted is a list of (name, value)")
    for name, value in pairs:
        if not is_token(name):
            raise ValueError(f"headers: {_shown(name)} is not a token (RFC 9110 section 5.6.2)")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"headers: {name} is the handshake's own to write")
        if not isinstance(value, str) or _VALUE.fullmatch(value) is None:
            raise ValueError(f"headers: the value of {name} is not text of ISO 8859-1 without controls")
    return tuple((name, value.strip(" \t")) for name, value in pairs)
