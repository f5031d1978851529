"""TLS to whoever answers: what ``WebSocket.ignore_ssl_errors`` asks for.

Rules of this file: nothing is checked, and nothing else is weaker than where certificates are checked. Only a
program that asked for it by name gets it.
"""

from __future__ import annotations

import ipaddress

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

__all__ = ["unverified_creator"]


@implementer(IOpenSSLClientConnectionCreator)
class _UnverifiedCreator:
    def __init__(self, context: SSL.Context, server_name: bytes | None) -> None:
        self._context = context
        self._server_name = server_name

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name)
        return connection


def unverified_creator(host: str) -> IOpenSSLClientConnectionCreator:
    """Return what makes TLS connections without looking at the server's certificate: TLS 1.2 at least.

    :param host: name or address, sent as the server name when it is a name (RFC 6066 section 3)
    """
    context = CertificateOptions(verify=False, raiseMinimumTo=TLSVersion.TLSv1_2).getContext()
    # A server that also speaks HTTP/2 must not choose it: RFC 8441 is another protocol.
    context.set_alpn_protos([b"http/1.1"])
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _UnverifiedCreator(context, host.encode("ascii"))
    return _UnverifiedCreator(context, None)
