"""Certificates and their keys: from files, PEM or objects to what a context takes.

Rules: what is wrong is one `CertificateError` with one line that names the file and never shows what is in
it. Nothing is remembered: whoever loads again reads again, which is how a renewed certificate comes in. This
file knows no contexts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from os import PathLike, fspath
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from twisted.logger import Logger

from wsecho.policy.text import escape_peer_text

__all__ = [
    "CertificateAndKey",
    "CertificateError",
    "CertificateSource",
    "KeySource",
    "LoadedCertificate",
    "load_authorities",
    "names_of",
    "utc_now",
]

_log = Logger(namespace="wsecho")

#: A path, PEM, or objects: the own certificate first, then those that lead to its authority.
CertificateSource = str | PathLike[str] | bytes | Sequence[x509.Certificate]
#: A path, PEM, or a key object.
KeySource = str | PathLike[str] | bytes | PrivateKeyTypes

_WARNING = timedelta(days=14)


class CertificateError(ValueError):
    """A certificate or key cannot be used; the message is one line that names the file."""


def utc_now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class LoadedCertificate:
    """A certificate with its key, checked to belong together."""

    name: str
    """How lines call it: ``certificate file "server.pem"``."""
    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes

    @property
    def server_names(self) -> tuple[str, ...]:
        """The host names that it is for, in lower case, ``*.example.com`` among them."""
        alternatives = _alternatives(self.chain[0])
        names = alternatives.get_values_for_type(x509.DNSName) if alternatives else []
        return tuple(dict.fromkeys(name.lower() for name in names))

    def tell_time(self, now: datetime) -> None:
        """Log for whom and how long it is valid: a warning when it is out of its time, or has less left than
        14 days or, of a short life, than a third of it."""
        own = self.chain[0]
        begin, end = own.not_valid_before_utc, own.not_valid_after_utc
        if now > end:
            _log.warn("{name}: expired on {limit}; clients will refuse it", name=self.name, limit=end)
        elif now < begin:
            _log.warn("{name}: valid from {limit} only; clients will refuse it", name=self.name, limit=begin)
        else:
            tell = _log.warn if end - now < min(_WARNING, (end - begin) / 3) else _log.info
            tell(
                "{name}: for {names}; {days} days left, until {limit}",
                name=self.name,
                names=names_of(own),
                days=(end - now).days,
                limit=end,
            )


def _alternatives(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def names_of(certificate: x509.Certificate) -> str:
    """The host names and addresses that a certificate is for, as a text: five at most."""
    alternatives = _alternatives(certificate)
    if alternatives is None:
        return _listed([])
    addresses = map(str, alternatives.get_values_for_type(x509.IPAddress))
    return _listed([*alternatives.get_values_for_type(x509.DNSName), *addresses])


def _listed(names: Sequence[str]) -> str:
    shown = [escape_peer_text(name) for name in names[:5]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "") if names else "no name"


@dataclass(frozen=True, slots=True)
class CertificateAndKey:
    """A certificate, the intermediate ones that lead to its authority, and its key.

    :param certificate: path of a PEM file, PEM, or certificates; one's own first
    :param private_key: path of a PEM file, which may be the same, PEM, or a key; not encrypted
    :raises TypeError: for something else
    """

    certificate: CertificateSource
    private_key: KeySource

    def __post_init__(self) -> None:
        certificate: Any = self.certificate
        key: Any = self.private_key
        if not isinstance(certificate, str | PathLike | bytes):
            if not isinstance(certificate, Sequence) or not all(
                isinstance(one, x509.Certificate) for one in certificate
            ):
                raise TypeError("certificate must be a path, PEM as bytes, or a list of certificates")
            object.__setattr__(self, "certificate", tuple(certificate))
        if not isinstance(key, str | PathLike | bytes) and not hasattr(key, "public_key"):
            raise TypeError("private_key must be a path, PEM as bytes, or a private key")

    def __repr__(self) -> str:
        # The key may be in here.
        return f"CertificateAndKey({_named(self.certificate, 'certificate')})"

    def load(self) -> LoadedCertificate:
        """Read what is in files, and check that certificate and key belong together.

        :raises CertificateError: a file is missing, unreadable or not PEM, the key is encrypted or belongs to
            another certificate
        """
        name, key_name = _named(self.certificate, "certificate"), _named(self.private_key, "private key")
        chain = load_chain(self.certificate, name)
        key = _private_key(self.private_key, key_name)
        _check_pair(chain, key, name, key_name)
        return LoadedCertificate(name, chain, key)


def load_authorities(source: CertificateSource, what: str) -> tuple[x509.Certificate, ...]:
    """Read the certificates of authorities.

    :param what: what they are, for error lines: ``client CA``
    :raises CertificateError: see `CertificateAndKey.load`
    """
    return load_chain(source, _named(source, what))


def _named(source: object, what: str) -> str:
    if isinstance(source, str | PathLike):
        return f'{what} file "{escape_peer_text(fspath(source))}"'
    return what


def load_chain(source: CertificateSource, name: str) -> tuple[x509.Certificate, ...]:
    """Read certificates; at least one."""
    if not isinstance(source, str | PathLike | bytes):
        if not source:
            raise CertificateError(f"{name}: holds no certificate")
        return tuple(source)
    try:
        return tuple(x509.load_pem_x509_certificates(_content(source, name)))
    except CertificateError:
        raise
    except ValueError:
        raise CertificateError(
            f"{name}: holds no readable PEM certificate (-----BEGIN CERTIFICATE-----)"
        ) from None


def _content(source: str | PathLike[str] | bytes, name: str) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        with open(source, "rb") as file:
            return file.read()
    except OSError as error:
        raise CertificateError(f"{name}: {error.strerror}") from None
    except ValueError:
        raise CertificateError(f"{name}: not a file name") from None


def _private_key(source: KeySource, name: str) -> PrivateKeyTypes:
    if not isinstance(source, str | PathLike | bytes):
        return source
    data = _content(source, name)
    # Read here and not by OpenSSL, which would ask on the terminal for the passphrase of an encrypted key.
    try:
        return load_pem_private_key(data, None)
    except TypeError:
        raise CertificateError(
            f"{name}: the key is encrypted; wsecho takes it without passphrase only"
        ) from None
    except ValueError:
        raise CertificateError(
            f"{name}: holds no readable PEM private key (-----BEGIN PRIVATE KEY-----)"
        ) from None


def _check_pair(
    chain: Sequence[x509.Certificate], key: PrivateKeyTypes, certificate_name: str, key_name: str
) -> None:
    wanted = _public_bytes(key.public_key())
    for position, certificate in enumerate(chain):
        if _public_bytes(certificate.public_key()) == wanted:
            if position == 0:
                return
            place = f"it is number {position + 1}"
            raise CertificateError(
                f"{certificate_name}: the server's own certificate must come first; {place}"
            )
    raise CertificateError(f"{key_name}: the key does not belong to the certificate in {certificate_name}")


def _public_bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
