"""What a server's TLS is to be like: a value, checked when it is made (``QSslConfiguration`` of a server).

Rules: a configuration that exists is consistent, and OpenSSL knows its suites. Files are named here and read
by whoever makes contexts of it, so that making them again reads what was renewed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from enum import IntEnum, unique
from os import PathLike
from typing import Any

from cryptography import x509
from OpenSSL import SSL

from wsecho.tls.certificates import CertificateAndKey, CertificateSource
from wsecho.tls.preshared import PSK_CIPHERS, PSK_SUITES, PreSharedKeys
from wsecho.tls.verification import Verification

__all__ = ["CIPHERS", "TlsConfiguration", "TlsVersion"]

#: The "intermediate" list of Mozilla's guidelines, version 5.7, for TLS 1.2: forward secrecy and
#: authenticated encryption only. Its two finite-field Diffie-Hellman suites are left out, which only clients
#: without elliptic curves need.
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)


@unique
class TlsVersion(IntEnum):
    """The versions that wsecho speaks (RFC 8996 forbids older ones), by their numbers on the wire."""

    TLS_1_2 = 0x0303
    TLS_1_3 = 0x0304


@dataclass(frozen=True, slots=True)
class TlsConfiguration:
    """A server's TLS.

    :param certificates: with their keys; which one a client sees is chosen by the name it asks for (SNI)
        among the DNS names of each, exact ones before wildcards, and the first is for everybody else
    :param client_ca: the authorities of clients' certificates: a PEM file, PEM, or certificates
    :param verification: whether clients must have one; with a ``client_ca`` ``REQUIRED``, unless said
        otherwise
    :param minimum_version: default TLS 1.2
    :param ciphers: of TLS 1.2, in OpenSSL's notation and the server's order; default Mozilla's intermediate
        list, or, with pre-shared keys, suites for these
    :param suites: of TLS 1.3, likewise; empty for OpenSSL's own, all of which are good
    :param alpn: application protocols that are chosen where a client offers them, the first first. A client
        that offers others only is served without one
    :param session_tickets: whether clients may come back without a whole handshake; never with
        pre-shared keys
    :param pre_shared_keys: instead of certificates
    :param key_log: called with each line for Wireshark (``SSLKEYLOGFILE``); whoever has them can read all
    :raises TypeError: for a value of another type
    :raises ValueError: for values that do not go together, or suites that OpenSSL does not know
    """

    certificates: tuple[CertificateAndKey, ...] = ()
    _: KW_ONLY
    client_ca: CertificateSource | None = None
    verification: Verification | None = None
    minimum_version: TlsVersion = TlsVersion.TLS_1_2
    ciphers: str = ""
    suites: str = ""
    alpn: tuple[str, ...] = ("http/1.1",)
    session_tickets: bool = True
    pre_shared_keys: PreSharedKeys | None = None
    key_log: Callable[[bytes], object] | None = None

    def __post_init__(self) -> None:
        certificates: Iterable[Any] = self.certificates
        if isinstance(certificates, CertificateAndKey):
            certificates = (certificates,)
        certificates = tuple(certificates)
        for one in certificates:
            _is(one, CertificateAndKey, "certificates")
        keys = self.pre_shared_keys
        if keys is not None:
            _is(keys, PreSharedKeys, "pre_shared_keys")
        if not certificates and keys is None:
            raise ValueError("certificates: at least one is needed, or pre_shared_keys")
        if certificates and keys is not None:
            raise ValueError(
                "pre_shared_keys: not with certificates, by which an unknown identity would get in"
            )
        verification = self.verification
        if verification is None:
            verification = Verification.NONE if self.client_ca is None else Verification.REQUIRED
        _is(verification, Verification, "verification")
        if self.client_ca is None and verification is not Verification.NONE:
            raise ValueError(f"verification: {verification} needs client_ca")
        if self.client_ca is not None and verification is Verification.NONE:
            raise ValueError("client_ca: nothing uses it with verification none")
        if self.client_ca is not None and keys is not None:
            raise ValueError("client_ca: with pre_shared_keys there is no certificate to verify")
        if self.key_log is not None and not callable(self.key_log):
            raise TypeError(f"key_log must be callable or None, not {type(self.key_log).__name__}")
        _is(self.session_tickets, bool, "session_tickets")
        values = {
            "certificates": certificates,
            "client_ca": checked_authorities(self.client_ca, "client_ca"),
            "verification": verification,
            "minimum_version": TlsVersion(self.minimum_version),
            "ciphers": self.ciphers or (CIPHERS if keys is None else PSK_CIPHERS),
            "suites": self.suites or ("" if keys is None else PSK_SUITES),
            "alpn": checked_alpn(self.alpn),
            "session_tickets": self.session_tickets and keys is None,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        check_suites(self.ciphers, self.suites)


def _is(value: object, kind: type, name: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name}: {kind.__name__} is wanted, not {type(value).__name__}")


def checked_authorities(source: Any, name: str) -> CertificateSource | None:
    """Certificates as a tuple; a path, PEM and None as they are.

    :raises TypeError: for anything else
    """
    if source is None or isinstance(source, str | PathLike | bytes):
        return source
    certificates = tuple(source)
    for one in certificates:
        _is(one, x509.Certificate, name)
    return certificates


def checked_alpn(names: Iterable[str]) -> tuple[str, ...]:
    """Names of protocols as a tuple.

    :raises TypeError: for one text
    :raises ValueError: for a name that cannot be sent (RFC 7301 section 3.1)
    """
    if isinstance(names, str):
        raise TypeError("alpn must be a list of names, not one str")
    found = tuple(names)
    for name in found:
        _is(name, str, "alpn")
        if not name.isascii() or not 1 <= len(name) <= 255:
            raise ValueError(f"alpn: {name!r} is not 1 to 255 ASCII characters")
    return found


def check_suites(ciphers: str, suites: str) -> None:
    """Raise `ValueError` when OpenSSL does not know, or allow, one of the lists; empty ones are not looked
    at."""
    context = SSL.Context(SSL.TLS_METHOD)
    for name, value, use in (
        ("ciphers", ciphers, context.set_cipher_list),
        ("suites", suites, context.set_tls13_ciphersuites),
    ):
        _is(value, str, name)
        try:
            if value:
                use(value.encode("ascii"))
        except (SSL.Error, UnicodeEncodeError):
            raise ValueError(f"{name}: OpenSSL knows no suite in {value!r}") from None
