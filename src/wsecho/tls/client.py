"""A client's TLS: whom it trusts, what it shows, and under which name it expects the server.

Rules: the server's certificate is verified, its name included, before the client says anything, its own
certificate included. What is wrong is asked about one by one (an observer may accept it) and nothing is
weaker for the rest. The name is compared by service-identity (RFC 6125): common names do not count.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from OpenSSL import SSL, crypto
from service_identity import CertificateError as NamesUnreadable
from service_identity import VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from service_identity.hazmat import DNS_ID
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from wsecho.policy.text import escape_peer_text
from wsecho.tls.certificates import (
    CertificateAndKey,
    CertificateSource,
    load_authorities,
    names_of,
)
from wsecho.tls.configuration import CIPHERS, TlsVersion, check_suites, checked_alpn, checked_authorities
from wsecho.tls.connections import ObservedConnection, is_accepted, verify_error
from wsecho.tls.contexts import trust, use_certificate, use_common_options
from wsecho.tls.interfaces import ITlsObserver
from wsecho.tls.preshared import PSK_CIPHERS, PSK_SUITES, PreSharedKeys, offer_keys
from wsecho.tls.verification import VerifyCode, VerifyError

__all__ = ["CertificateRefused", "ClientTls"]


class CertificateRefused(SSL.Error):
    """The server's certificate is for another name.

    :ivar error: what is wrong
    """

    def __init__(self, error: VerifyError) -> None:
        # As pyOpenSSL's own errors: a list of (library, function, reason).
        super().__init__([("wsecho", "verify", error.detail)])
        self.error = error


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """A client's TLS (``QSslConfiguration`` of a client).

    :param ca: the authorities to trust, in place of the system's: a PEM file, PEM, or certificates
    :param certificate: what to show to servers that ask for one
    :param verify: False accepts any certificate of anybody; the connection is then encrypted, but with whom
        is not known
    :param server_name: expected of the certificate and asked for (SNI), in place of the URL's host
    :param minimum_version: default TLS 1.2
    :param ciphers: of TLS 1.2, in OpenSSL's notation; default Mozilla's intermediate list, or, with
        pre-shared keys, suites for these
    :param suites: of TLS 1.3, likewise; empty for OpenSSL's own
    :param alpn: application protocols to offer
    :param pre_shared_keys: who we are and with which key. A server that answers with a certificate instead
        has it verified
    :raises TypeError: for a value of another type
    :raises ValueError: for a name that no certificate can have, or suites that OpenSSL does not know
    """

    ca: CertificateSource | None = None
    certificate: CertificateAndKey | None = None
    verify: bool = True
    server_name: str = ""
    minimum_version: TlsVersion = TlsVersion.TLS_1_2
    ciphers: str = ""
    suites: str = ""
    alpn: tuple[str, ...] = ("http/1.1",)
    pre_shared_keys: PreSharedKeys | None = None

    def __post_init__(self) -> None:
        kind: type
        for name, kind in (("verify", bool), ("server_name", str)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}")
        optional: dict[str, type] = {"certificate": CertificateAndKey, "pre_shared_keys": PreSharedKeys}
        for name, kind in optional.items():
            if not isinstance(getattr(self, name), kind | None):
                raise TypeError(f"{name} must be {kind.__name__} or None")
        if self.server_name:
            _check_name(self.server_name)
        with_keys = self.pre_shared_keys is not None
        values: dict[str, Any] = {
            "ca": checked_authorities(self.ca, "ca"),
            "minimum_version": TlsVersion(self.minimum_version),
            "ciphers": self.ciphers or (PSK_CIPHERS if with_keys else CIPHERS),
            "suites": self.suites or (PSK_SUITES if with_keys else ""),
            "alpn": checked_alpn(self.alpn),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        check_suites(self.ciphers, self.suites)

    def creator(self, host: str, observer: ITlsObserver | None = None) -> IOpenSSLClientConnectionCreator:
        """Return what makes TLS connections to a host; files are read now.

        :param host: name or address, IPv6 without brackets; `server_name` counts instead when it is given
        :param observer: told of everything, and asked about what is wrong with a certificate
        :raises CertificateError: a file cannot be used
        :raises ValueError: no certificate can name ``host``
        """
        expected = self.server_name or host
        _check_name(expected)
        context = SSL.Context(SSL.TLS_METHOD)
        use_common_options(context, self.minimum_version, self.ciphers, self.suites)
        if self.ca is None:
            context.set_default_verify_paths()
        else:
            trust(context, load_authorities(self.ca, "CA"))
        if self.certificate is not None:
            use_certificate(context, self.certificate.load())
        if self.alpn:
            context.set_alpn_protos([name.encode("ascii") for name in self.alpn])
        if self.pre_shared_keys is not None:
            offer_keys(context, self.pre_shared_keys)

        def verified(
            connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
        ) -> bool:
            if not self.verify:
                return True
            if not ok:
                return is_accepted(connection, verify_error(connection, certificate, code, depth))
            # OpenSSL calls for each certificate that is good, the server's own last.
            if depth == 0:
                _check_server(connection, certificate, expected)
            return True

        context.set_verify(SSL.VERIFY_PEER, verified)
        return _Creator(context, expected, observer)


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    def __init__(self, context: SSL.Context, name: str, observer: ITlsObserver | None) -> None:
        self._context = context
        # Addresses are no server names (RFC 6066 section 3).
        self._server_name = None if _is_address(name) else name.encode("ascii")
        self._observer = observer

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return a new connection."""
        connection = ObservedConnection(self._context, tlsProtocol, self._observer)
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name)
        return connection


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _check_name(name: str) -> None:
    if not _is_address(name):
        try:
            name.encode("ascii")
            DNS_ID(name)
        except ValueError:
            shown = escape_peer_text(name)
            raise ValueError(f'"{shown}" is no name that a certificate can have') from None


def _check_server(connection: SSL.Connection, certificate: crypto.X509, expected: str) -> None:
    own = certificate.to_cryptography()
    verify = verify_certificate_ip_address if _is_address(expected) else verify_certificate_hostname
    try:
        verify(own, expected)
    except (VerificationError, NamesUnreadable):
        detail = f"the server's certificate is for {names_of(own)}, not for {escape_peer_text(expected)}"
        error = verify_error(connection, certificate, VerifyCode.HOST_NAME_MISMATCH, 0, detail)
        if not is_accepted(connection, error):
            raise CertificateRefused(error) from None
