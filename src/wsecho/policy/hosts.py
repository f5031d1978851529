"""Host names: the strict grammar of ``host[:port]``, and which Host header values a server answers to.

A page whose name is made to resolve to this machine (DNS rebinding) is of the *same* origin as the connection
it opens; only the name in the Host header gives it away. So servers that trust their network place, above all
those on loopback, list the names they go by.

Rules: one grammar, used for Host headers, for origins and for the values an operator writes; what it does not
know is refused, never repaired, because a value that two programs read differently is how checks are passed
by. A wrong value raises `ValueError` with one line and never widens what is allowed.
"""

import ipaddress
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from wsecho.policy.text import escape_peer_text

__all__ = [
    "LOOPBACK_HOSTS",
    "AllowedHosts",
    "HostPort",
    "canonical_host",
    "is_loopback",
    "list_of_texts",
    "parse_host",
    "parse_wildcard",
]

#: The value of *allowed* for a server that listens on loopback or on a unix socket only.
LOOPBACK_HOSTS = ("loopback",)

_LONGEST_NAME = 253  # RFC 1035 2.3.4, without the root's dot
# Letter classes are spelled out: with re.IGNORECASE, [a-z] also matches U+017F and U+212A. The underscore is
# no LDH letter, but browsers and container networks use it.
_NAME = re.compile(r"(?:(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\.)*(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([1-9][0-9]{0,4}))?")

# Names below which no stranger can register one (RFC 6761, RFC 6762, ICANN's .internal): the only single
# labels that may stand behind a wildcard. `*.com` or `*.co` would let in whoever buys a name there.
_PRIVATE_SUFFIXES = frozenset({"internal", "local", "localhost", "test"})

_ACCEPTED = "accepted are a host name or address, host:port, *.example.com, loopback, or * for any"


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host and the port that was written with it, both canonical: equal values mean the same."""

    #: Lower case; an IPv6 address is in brackets and compressed.
    host: str
    #: 1 to 65535; None when none was written.
    port: int | None = None

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


def canonical_host(value: str) -> str:
    """Return the one spelling of a host: equal results mean the same host.

    A name comes back in lower case, an IPv4 address as it is, an IPv6 address compressed and in brackets.
    Names are ASCII labels of letters, digits, hyphens and underscores (international names as A-labels,
    ``xn--...``), without a trailing dot: ``example.com.`` is to a browser another origin than
    ``example.com``, and here refused. What ends in a number must be an IPv4 address of four decimal parts:
    ``127.1`` and ``0x7f.0.0.1`` are read as addresses by some and as names by others. Zone identifiers and
    IPvFuture are refused.

    :raises ValueError: *value* is none of these.
    """
    # IPv6Address also takes a zone ("%eth0"), which browsers do not.
    if value.startswith("[") and value.endswith("]") and "%" not in value:
        with suppress(ValueError):
            return f"[{ipaddress.IPv6Address(value[1:-1]).compressed}]"
    elif _is_number(value.rpartition(".")[2]):
        with suppress(ValueError):
            return str(ipaddress.IPv4Address(value))
    elif len(value) <= _LONGEST_NAME and _NAME.fullmatch(value):
        return value.lower()
    raise ValueError(f'"{escape_peer_text(value)}" is not a host name or address')


def _is_number(label: str) -> bool:
    # The URL standard's test for "this must be an IPv4 address"; 0x counts as a number there.
    return _NUMBER.fullmatch(label) is not None


@lru_cache(maxsize=256)  # what clients call a server is always the same, and none that is read is long
def parse_host(value: str) -> HostPort:
    """Read a Host header's value, strictly ``host[:port]``.

    Refused are a user, a path, blanks, percent signs, an empty port, one with leading zeros or beyond 65535.
    RFC 9110 7.2 allows an empty value and RFC 3986 an empty port; no client that reaches a WebSocket server
    sends them.

    :raises ValueError: *value* is anything else.
    """
    match = _HOST_AND_PORT.fullmatch(value)
    if match is not None:
        host, port = match.groups()
        if port is None or int(port) <= 65535:
            return HostPort(canonical_host(host), None if port is None else int(port))
    raise ValueError(f'"{escape_peer_text(value)}" is not host or host:port')


def parse_wildcard(value: str) -> HostPort:
    """Read ``*.example.com[:port]`` and return what stands behind the ``*.``.

    The asterisk takes the place of one or more whole labels, so ``*.example.com`` covers ``a.example.com``
    and ``b.a.example.com``, but neither ``example.com`` nor ``badexample.com``. At least two labels must
    follow, or one of ``localhost``, ``local``, ``internal``, ``test``; an address has no wildcard.

    :raises ValueError: *value* has no such form, or would cover names that anybody can register.
    """
    if not value.startswith("*."):
        raise ValueError(f'"{escape_peer_text(value)}" has no "*." in front')
    behind = parse_host(value[2:])
    if behind.host.startswith("[") or _is_number(behind.host.rpartition(".")[2]):
        raise ValueError(f'"{escape_peer_text(value)}" puts a wildcard before an address')
    if "." not in behind.host and behind.host not in _PRIVATE_SUFFIXES:
        raise ValueError(f'"{escape_peer_text(value)}" would cover every name under .{behind.host}')
    return behind


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Tell whether a canonical host is ``localhost``, in 127.0.0.0/8, or ``[::1]``.

    Not ``*.localhost``, which some resolvers ask the network for, and not the IPv4-mapped
    ``[::ffff:127.0.0.1]``.
    """
    if host in ("localhost", "[::1]"):
        return True
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False


def list_of_texts(values: Iterable[str], what: str) -> tuple[str, ...]:
    """Return *values* as a tuple; a single text in place of a list of texts, or anything else in it, is a
    `ValueError`.

    A text is iterable too: taken letter by letter it once turned an allow-list into "allow all" elsewhere.
    """
    # Not TypeError: whoever reports a wrong configuration catches one kind of error.
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ValueError(f"{what} must be a list of texts, not {type(values).__name__}")
    texts = tuple(values)
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"{what} must hold texts only, not {type(text).__name__}")
    return texts


class AllowedHosts:
    """The Host header values that a server answers to.

    :param allowed: None for any well-formed value; else the values to accept: ``example.com`` (with any
        port), ``example.com:8443`` (with this port; for 80 and 443 also without one, since browsers leave the
        default out), ``*.example.com`` (see `parse_wildcard`), ``loopback`` (see `is_loopback`), ``*``. An
        empty list accepts nothing.
    :raises ValueError: one of the values is none of these, or *allowed* is no list of texts.
    """

    __slots__ = ("_any", "_behind_wildcards", "_hosts", "_loopback", "allowed")

    def __init__(self, allowed: Iterable[str] | None = None) -> None:
        #: The values as they were given; None for any.
        self.allowed = None if allowed is None else list_of_texts(allowed, "allowed hosts")
        self._any = self.allowed is None
        self._loopback = False
        self._hosts: list[HostPort] = []
        self._behind_wildcards: list[HostPort] = []
        for value in self.allowed or ():
            try:
                self._add(value)
            except ValueError as error:
                raise ValueError(f"not a Host value: {error}; {_ACCEPTED}") from None

    def _add(self, value: str) -> None:
        if value == "*":
            self._any = True
        elif value == "loopback":
            self._loopback = True
        elif value.startswith("*."):
            self._behind_wildcards.append(parse_wildcard(value))
        else:
            self._hosts.append(parse_host(value))

    def allows(self, host_header: str) -> bool:
        """Tell whether a Host header's value names this server; a malformed one never does."""
        try:
            named = parse_host(host_header)
        except ValueError:
            return False
        return (
            self._any
            or (self._loopback and is_loopback(named.host))
            or any(named.host == one.host and _port_fits(one, named) for one in self._hosts)
            or any(
                named.host.endswith("." + one.host) and _port_fits(one, named)
                for one in self._behind_wildcards
            )
        )

    def __repr__(self) -> str:
        return f"AllowedHosts({self.allowed!r})"


def _port_fits(allowed: HostPort, named: HostPort) -> bool:
    return allowed.port in (None, named.port) or (named.port is None and allowed.port in (80, 443))
