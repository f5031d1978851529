"""The PROXY protocol, versions 1 and 2: what a proxy says about its client before the first byte of it.

A `ProxyHeaderFactory` stands beneath everything else, TLS included, since the header comes before TLS. It
takes the header off and lets ``transport.getPeer()`` tell the client's address; what is above needs to know
nothing of it.

Rules of this file:

- only a trusted peer is listened to. Twisted's own ``haproxy:`` endpoints believe everybody, want the first
  16 bytes of the header in one segment, and take up to 64 KiB of it;
- a trusted peer *may* begin with a header: its health checks, and a proxy that writes ``X-Forwarded-For``
  instead, come without. A proxy that does neither, and passes the client's bytes on from the first, must not
  be trusted: its client would write the header;
- what is no valid header is not taken off: it meets what is above as it came, and HTTP and TLS refuse it in
  their own ways;
- it reads no HTTP and no TLS, and decides nothing but who is there.

The specification is HAProxy's ``doc/proxy-protocol.txt``. Of version 2 the type-length-value fields, the
checksum among them, are skipped, and addresses of datagram sockets refused.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IStreamServerEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import alsoProvides, implementer

from wsecho.policy.proxies import TrustedProxies

__all__ = ["LONGEST_HEADER", "HeaderReader", "ProxyHeaderEndpoint", "ProxyHeaderFactory"]

#: Bytes that a header may have. Version 1 ends at 107; of version 2 the addresses take 232, and the rest is
#: room for fields such as a certificate's subject.
LONGEST_HEADER = 4096

_LONGEST_LINE = 107
_LINE_BEGIN = b"PROXY "
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_LINE = re.compile(
    rb"PROXY (?:(?P<unknown>UNKNOWN(?: [^\r\n]*)?)"
    rb"|(?P<family>TCP[46]) (?P<source>[0-9A-Fa-f:.]+) (?P<destination>[0-9A-Fa-f:.]+)"
    rb" (?P<source_port>0|[1-9][0-9]{0,4}) (?P<destination_port>0|[1-9][0-9]{0,4}))\r\n"
)
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31


class _NoHeader(Exception):
    """What came is not a PROXY header."""


class HeaderReader:
    """Reads a header at the beginning of a stream, however the stream is cut.

    :ivar source: the client's address, once the header has been read; None when there is no header, or one
        that names nobody (a health check of the proxy's own, ``UNKNOWN``)
    """

    __slots__ = ("_data", "source")

    def __init__(self) -> None:
        self._data = b""
        self.source: IAddress | None = None

    def feed(self, data: bytes) -> bytes | None:
        """Take ``data``; None while it is open what it is, else all that follows the header, which is
        everything when there is none. Not to be called again after that."""
        self._data += data
        try:
            size = self._read()
        except _NoHeader:
            size = 0
        if size is None:
            return None
        rest, self._data = self._data[size:], b""
        return rest

    def _read(self) -> int | None:
        """The size of the header; None while it is open.

        :raises _NoHeader: there is none
        """
        data = self._data
        if data.startswith(_LINE_BEGIN):
            return self._read_line()
        if data.startswith(_SIGNATURE):
            return self._read_binary()
        if _LINE_BEGIN.startswith(data) or _SIGNATURE.startswith(data):
            return None
        raise _NoHeader

    def _read_line(self) -> int | None:
        end = self._data.find(b"\r\n", 0, _LONGEST_LINE)
        if end < 0:
            if len(self._data) < _LONGEST_LINE:
                return None
            raise _NoHeader
        match = _LINE.fullmatch(self._data, 0, end + 2)
        if match is None:
            raise _NoHeader
        if match["unknown"] is None:
            kind = ipaddress.IPv4Address if match["family"] == b"TCP4" else ipaddress.IPv6Address
            try:
                kind(match["destination"].decode("ascii"))
                host = str(kind(match["source"].decode("ascii")))
            except ValueError:
                raise _NoHeader from None
            port = int(match["source_port"])
            if max(port, int(match["destination_port"])) > 65535:
                raise _NoHeader
            self.source = _tcp_address(host, port)
        return end + 2

    def _read_binary(self) -> int | None:
        data = self._data
        if len(data) < 16:
            return None
        command, family, length = struct.unpack_from("!BBH", data, 12)
        size: int = 16 + length
        if size > LONGEST_HEADER or command not in (_LOCAL, _PROXY):
            raise _NoHeader
        needed = {_UNSPECIFIED: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}.get(family)
        if command == _PROXY and (needed is None or length < needed):
            raise _NoHeader
        if len(data) < size:
            return None
        if command == _PROXY:
            self.source = _binary_source(family, data[16:size])
        return size


def _binary_source(family: int, block: bytes) -> IAddress | None:
    if family == _TCP4:
        host, port = struct.unpack_from("!4s4xH", block)
        return _tcp_address(str(ipaddress.IPv4Address(host)), port)
    if family == _TCP6:
        host, port = struct.unpack_from("!16s16xH", block)
        return _tcp_address(str(ipaddress.IPv6Address(host)), port)
    if family == _UNIX:
        return UNIXAddress(block[:108].rstrip(b"\0"))
    return None


def _tcp_address(host: str, port: int) -> IAddress:
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


class _Connection(ProtocolWrapper):
    """A connection of a trusted peer."""

    transport: Any
    _source: IAddress | None = None

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self._reader: HeaderReader | None = HeaderReader()
        self._trusts = factory.trusts

    def makeConnection(self, transport: Any) -> None:
        is_half_closeable = IHalfCloseableProtocol.providedBy(self.wrappedProtocol)
        super().makeConnection(transport)  # type: ignore[no-untyped-call]
        if is_half_closeable:
            # Twisted asks the protocol that it sees.
            alsoProvides(self, IHalfCloseableProtocol)

    def dataReceived(self, data: bytes) -> None:
        reader = self._reader
        rest: bytes | None = data
        if reader is not None:
            # Beneath a haproxy: endpoint the peer is by now the client that somebody has named.
            if self._trusts(self.transport.getPeer()):
                rest = reader.feed(data)
            if rest is not None:
                self._reader = None
                self._source = reader.source
        if rest:
            self.wrappedProtocol.dataReceived(rest)

    def getPeer(self) -> IAddress:
        """The client's address; the peer's own before the header has been read, and when there is none."""
        if self._source is not None:
            return self._source
        peer: IAddress = self.transport.getPeer()
        return peer

    def readConnectionLost(self) -> None:
        """The peer ended its half of the stream. What is left of an unfinished header nobody can use."""
        cast(IHalfCloseableProtocol, self.wrappedProtocol).readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Our own half close is done."""
        cast(IHalfCloseableProtocol, self.wrappedProtocol).writeConnectionLost()


class ProxyHeaderFactory(WrappingFactory):
    """Lets trusted peers begin with a PROXY header.

    :param factory: what serves, or the TLS factory in front of it; its connections'
        ``transport.getPeer()`` is the client's address from the end of the header on
    :param proxies: who is trusted; the connections of others come to ``factory`` without a detour
    """

    protocol = _Connection
    noisy = False

    def __init__(self, factory: Any, proxies: TrustedProxies) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self._proxies = proxies

    def trusts(self, address: IAddress) -> bool:
        """Whether a peer at ``address`` may begin with a header."""
        return self._proxies.trusts(getattr(address, "host", None))

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A protocol for an accepted connection; None when the factory takes none."""
        protocol = self.wrappedFactory.buildProtocol(addr)
        if protocol is None or addr is None or not self.trusts(addr):
            return protocol
        return self.protocol(self, protocol)


@implementer(IStreamServerEndpoint)
class ProxyHeaderEndpoint:
    """Another endpoint, with a :class:`ProxyHeaderFactory` in front of whatever listens on it.

    With TLS, wrap this and not the other way round: ``wrapServerTLS(creator, ProxyHeaderEndpoint(...))``.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, proxies: TrustedProxies) -> None:
        self._endpoint = endpoint
        self._proxies = proxies

    def listen(self, protocolFactory: Any) -> Any:
        """See ``IStreamServerEndpoint``."""
        return self._endpoint.listen(ProxyHeaderFactory(protocolFactory, self._proxies))
