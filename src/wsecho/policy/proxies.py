"""Trusted proxies: who is really there when a proxy stands in front.

To a server behind a proxy every connection comes from the proxy. What the proxy knows of its client it writes
into ``Forwarded`` (RFC 7239) or ``X-Forwarded-For``, each proxy at the end of what it got; but so can anybody
else. So a list of addresses is read from its end, and each entry is believed only as far as the one who wrote
it: the peer itself if it is trusted, then the entry before if that one is trusted, and so on. The first
address that is not trusted is the client, however much it claims about others.

Rules of this file: what does not follow the grammar is not repaired; it ends the walk, and the client is the
last one who is known: the proxy that wrote it. Two headers that name different clients are an error, because
a proxy writes one of them and passes on the other, and nobody here knows which. This file sees addresses and
header values, never a connection; the PROXY protocol's bytes are read in the wire.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from wsecho.policy.hosts import list_of_texts
from wsecho.policy.text import escape_peer_text

__all__ = ["UNIX", "ForwardingConflict", "PeerAddress", "TrustedProxies"]

#: The value of *trusted* for peers on unix sockets, which have no address: who may connect to the socket is
#: decided by the permissions of its file.
UNIX = "unix"

_ACCEPTED = f"accepted are an address, a network such as 10.0.0.0/8 or fd00::/8, or {UNIX}"

# An IPv4 address in its one spelling, as it comes from the kernel: there is nothing to bring into form.
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_CANONICAL_V4 = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}")

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = re.compile(
    rf"""({_TOKEN})=(?:({_TOKEN})|"([\t \x21\x23-\x5b\x5d-\x7e]*)")""",  # a backslash ends the walk
)
_PORT = r"(?::([0-9]{1,5}|_[0-9A-Za-z._-]+))?"
# RFC 7239 section 6; _obfuscated names and "unknown" are nodes that nobody can find, and so not here.
_NODE = re.compile(rf"([0-9.]+){_PORT}|\[([0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\]{_PORT}")


class ForwardingConflict(ValueError):
    """``Forwarded`` and ``X-Forwarded-For`` name different clients."""


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a connection comes from.

    Its text is what logs show: ``127.0.0.1:40000``, ``[::1]:40000``, ``192.0.2.1``, ``[2001:db8::1]``,
    ``unix``.
    """

    #: The address, an IPv6 one compressed, an IPv4-mapped one as IPv4; None on a unix socket.
    host: str | None
    #: 0 to 65535; None when it is not known.
    port: int | None = None

    @classmethod
    def of(cls, host: str | None, port: int | None = None) -> PeerAddress:
        """Return the address in canonical form; a host that is no IP address is taken as it is."""
        if host is not None and _CANONICAL_V4.fullmatch(host) is None:
            with suppress(ValueError):
                host = str(_address(host))
        return cls(host, port)

    def __str__(self) -> str:
        if self.host is None:
            return UNIX
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an address, without the zone that link-local ones come with.

    :raises ValueError: *text* is none.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        # A socket for both kinds gives IPv4 peers in this form.
        return address.ipv4_mapped
    return address


class TrustedProxies:
    """The proxies whose word about their clients is taken.

    :param trusted: their addresses or networks, or `UNIX` for peers on unix sockets; by default nobody
    :raises ValueError: one of them is none of these, or *trusted* is no list of texts
    """

    __slots__ = ("_networks", "_unix", "trusted")

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        #: The values as they were given.
        self.trusted = list_of_texts(trusted, "trusted proxies")
        self._unix = UNIX in self.trusted
        self._networks = tuple(_network(text) for text in self.trusted if text != UNIX)

    def trusts(self, host: str | None) -> bool:
        """Tell whether an address is a proxy's.

        :param host: the address; None for a peer on a unix socket
        """
        if host is None:
            return self._unix
        if not self._networks:
            return False
        try:
            address = _address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def client(self, peer: PeerAddress, headers: Mapping[str, str]) -> PeerAddress:
        """Return who is really there.

        :param peer: who has connected, or, according to a PROXY header that was believed, who had connected
            to the proxy
        :param headers: of the request, by lower-case name, fields of one name joined by commas
        :raises ForwardingConflict: the two headers name different clients
        """
        if not self.trusts(peer.host):
            return peer
        found = [
            self._walk(peer, [read(element) for element in headers[name].split(",")])
            for name, read in (("forwarded", _forwarded_node), ("x-forwarded-for", _plain_node))
            if name in headers
        ]
        if len({client.host for client in found}) > 1:
            raise ForwardingConflict("Forwarded and X-Forwarded-For name different clients")
        # Forwarded more often tells the port.
        return found[0] if found else peer

    def _walk(self, peer: PeerAddress, elements: Iterable[PeerAddress | None]) -> PeerAddress:
        client = peer
        for element in reversed(tuple(elements)):
            if element is None:
                break
            client = element
            if not self.trusts(client.host):
                break
        return client

    def __repr__(self) -> str:
        return f"TrustedProxies({self.trusted!r})"


def _network(text: str) -> _Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        hint = f" ({error})" if "host bits" in str(error) else ""
        raise ValueError(f'not a proxy: "{escape_peer_text(text)}"{hint}; {_ACCEPTED}') from None
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        # Peers of this form count as IPv4: such a network would never match.
        raise ValueError(f'not a proxy: "{escape_peer_text(text)}" is IPv4, written as IPv6; {_ACCEPTED}')
    return network


def _forwarded_node(element: str) -> PeerAddress | None:
    """Return the address in an element of Forwarded; None for an element that has none, or is malformed.

    Elements were split at every comma, also of quoted strings: no address has one, and to look for quotation
    marks from the left would let a client's open one swallow what the proxy appended.
    """
    node = None
    for pair in element.strip(" \t").split(";"):
        match = _PAIR.fullmatch(pair)
        if match is None:
            return None
        if match[1].lower() == "for":
            if node is not None:
                return None
            node = match[2] or match[3]
    return None if node is None else _node(node)


def _plain_node(element: str) -> PeerAddress | None:
    """Return the address in an element of X-Forwarded-For: as in Forwarded, or an IPv6 address without
    brackets; None for anything else."""
    text = element.strip(" \t")
    node = _node(text)
    if node is None and ":" in text and "%" not in text:
        with suppress(ValueError):
            node = PeerAddress(str(_address(text)))
    return node


def _node(text: str) -> PeerAddress | None:
    match = _NODE.fullmatch(text)
    if match is None:
        return None
    port_text = match[2] or match[4] or ""
    port = int(port_text) if port_text.isdecimal() else None
    if port is not None and port > 65535:
        return None
    try:
        address = _address(match[1] or match[3])
    except ValueError:
        return None
    return PeerAddress(str(address), port)
