"""Origins: which web pages may open a connection.

A browser lets any page open a WebSocket to any server and sends the user's cookies along; the Origin header,
which a page cannot set, is the only thing that tells whose page it is (RFC 6455 10.2). A program that is no
browser can send any Origin, so this protects users of browsers, and nothing else.

Rules: an origin is read into (scheme, host, port) or not at all, and these are compared, never texts or parts
of texts; what RFC 6454 6.1 would not write is not an origin, though a lenient parser might find a good host
in it. A wrong pattern raises `ValueError`: it never opens the door. This module sees the values of a request,
never the connection.

Same origin is decided from the Host header, which in a browser is the name in the address bar's URL of the
connection. Under DNS rebinding both carry the attacker's name and agree: against that there is
`wsecho.policy.hosts`, not this module.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from twisted.internet.defer import Deferred

from wsecho.policy.hosts import is_loopback, list_of_texts, parse_host, parse_wildcard
from wsecho.policy.text import escape_peer_text

__all__ = ["AllowedOrigins", "Origin", "OriginPolicy", "OriginRequest", "admitting_option", "parse_origin"]

# The schemes whose hosts are reached over the network. No page has a ws or wss origin, so taking them opens
# nothing to a browser; but a client library (Starscream, on iOS) sends the URL it connects to as its Origin.
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

_SCHEME_AND_REST = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)")

_ACCEPTED = (
    "accepted are scheme://host[:port] with nothing after it, https://*.example.com[:port], "
    "loopback, null, or * for any"
)


@dataclass(frozen=True, slots=True)
class OriginRequest:
    """What a policy is asked about: one opening handshake, as far as it concerns the origin."""

    #: The Origin header's value, unchanged; None when there is none.
    origin: str | None
    #: The Host header's value, unchanged.
    host: str
    #: The decoded path of the request target.
    path: str
    #: The peer's address, for logs and for policies that look at it.
    peer: str


#: Decides about an opening handshake: True lets it pass, False answers 403. It may take its time and return a
#: Deferred.
OriginPolicy: TypeAlias = Callable[[OriginRequest], bool | Deferred[bool]]


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin in canonical form: two are the same if and only if they are equal. Its text is RFC 6454's."""

    #: Lower case.
    scheme: str
    #: As `wsecho.policy.hosts.canonical_host` gives it; empty for a scheme without hosts, as in ``file://``.
    host: str
    #: As written, else the scheme's default; None when there is neither.
    port: int | None

    def __str__(self) -> str:
        port = "" if self.port == _DEFAULT_PORTS.get(self.scheme) else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


def parse_origin(value: str) -> Origin:
    """Read ``scheme://host[:port]``, and nothing else.

    Refused are a path (also a single ``/``), a user, blanks, percent signs, an empty port. Scheme and host
    may be in any case; the host follows `wsecho.policy.hosts.canonical_host`. Any scheme is taken, since
    extensions and embedded browsers have their own (``chrome-extension://...``). Except for http, https, ws
    and wss the host may be missing: ``file://`` and ``qrc://`` are what some embedded browsers send. ``null``
    is no origin.

    :raises ValueError: *value* is anything else.
    """
    match = _SCHEME_AND_REST.fullmatch(value)
    if match is not None:
        scheme, rest = match[1].lower(), match[2]
        default = _DEFAULT_PORTS.get(scheme)
        if not rest and default is None:
            return Origin(scheme, "", None)
        try:
            place = parse_host(rest)
        except ValueError:
            pass
        else:
            return Origin(scheme, place.host, place.port or default)
    raise ValueError(f'"{escape_peer_text(value)}" is not scheme://host[:port]')


def admitting_option(origin: str) -> str | None:
    """Return the value of ``--allow-origin`` that admits just this origin, for the line that logs its
    refusal.

    None when only ``*`` would. What comes back is of the strict grammar, so it can be logged as it is.
    """
    if origin == "null":
        return origin
    try:
        return str(parse_origin(origin))
    except ValueError:
        return None


class AllowedOrigins:
    """The policy of a list of origins, to be called with an `OriginRequest`.

    The same origin is always allowed: the Origin's host and port equal the Host header's, where a port that
    is not written is the default of the *Origin's* scheme. The connection's own scheme does not count, so
    that TLS may end at a proxy; it follows that ``http://example.com`` and ``https://example.com`` both pass
    to a ``Host: example.com``. Only http, https, ws and wss have a same origin.

    :param allowed: what passes besides. An origin (see `parse_origin`): exactly this one.
        ``https://*.example.com[:port]``: names below example.com with this scheme and port, see
        `wsecho.policy.hosts.parse_wildcard`. ``loopback``: any port of localhost, 127.0.0.0/8 and ::1, by
        http, https, ws or wss. ``null``: the Origin ``null``, which sandboxed frames, local files and data
        URLs of *any* site send. ``*``: every Origin, even one that is no origin.
    :param allow_missing: whether a request without Origin passes, which is what programs that are no browsers
        send. It alone decides about them: ``*`` speaks of Origins that are there, and an empty one is there.
    :raises ValueError: one of *allowed* is none of these, or *allowed* is no list of texts.
    """

    __slots__ = ("_any", "_behind_wildcards", "_exact", "_loopback", "_null", "allow_missing", "allowed")

    def __init__(self, allowed: Iterable[str] = (), *, allow_missing: bool = True) -> None:
        #: The patterns as they were given.
        self.allowed = list_of_texts(allowed, "allowed origins")
        self.allow_missing = allow_missing
        self._any = self._loopback = self._null = False
        self._exact: set[Origin] = set()
        self._behind_wildcards: list[Origin] = []
        for pattern in self.allowed:
            try:
                self._add(pattern)
            except ValueError as error:
                raise ValueError(f"not an origin: {error}; {_ACCEPTED}") from None

    def _add(self, pattern: str) -> None:
        if pattern == "*":
            self._any = True
        elif pattern == "loopback":
            self._loopback = True
        elif pattern == "null":
            self._null = True
        elif (match := _SCHEME_AND_REST.fullmatch(pattern)) is not None and match[2].startswith("*."):
            scheme, behind = match[1].lower(), parse_wildcard(match[2])
            port = behind.port or _DEFAULT_PORTS.get(scheme)
            self._behind_wildcards.append(Origin(scheme, behind.host, port))
        else:
            self._exact.add(parse_origin(pattern))

    def __call__(self, request: OriginRequest) -> bool:
        """Tell whether the request may open a connection."""
        if request.origin is None:
            return self.allow_missing
        if self._any:
            return True
        if request.origin == "null":
            return self._null
        try:
            origin = parse_origin(request.origin)
        except ValueError:
            return False
        return (
            _is_same(origin, request.host)
            or origin in self._exact
            or (self._loopback and origin.scheme in _DEFAULT_PORTS and is_loopback(origin.host))
            or any(_is_below(origin, behind) for behind in self._behind_wildcards)
        )

    def __repr__(self) -> str:
        return f"AllowedOrigins({self.allowed!r}, allow_missing={self.allow_missing!r})"


def _is_same(origin: Origin, host_header: str) -> bool:
    default = _DEFAULT_PORTS.get(origin.scheme)
    if default is None:
        return False
    try:
        place = parse_host(host_header)
    except ValueError:
        return False
    return (origin.host, origin.port) == (place.host, place.port or default)


def _is_below(origin: Origin, behind: Origin) -> bool:
    return (
        (origin.scheme, origin.port) == (behind.scheme, behind.port)
        # No label is empty, so a dot in front is the end of at least one whole label.
        and origin.host.endswith("." + behind.host)
    )
