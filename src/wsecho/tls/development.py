"""Certificates for development: an authority of one's own and a server certificate from it.

Rules: the authority's key is used once and never written, so whoever trusts the authority trusts this one
certificate and nothing that could be made later; a new certificate means a new authority. Files that exist
are never touched unless that is asked for. Not for the internet: nobody else trusts the authority.
"""

import ipaddress
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wsecho.policy.hosts import canonical_host, list_of_texts, parse_wildcard
from wsecho.policy.text import escape_peer_text
from wsecho.tls.certificates import CertificateError

__all__ = ["LONGEST_DAYS", "DevelopmentCertificate", "make_development_certificate"]

#: Apple's systems refuse a server certificate that is valid for longer, also from an authority that the user
#: added.
LONGEST_DAYS = 825

# A client whose clock is slow must not find a certificate of the future.
_CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class DevelopmentCertificate:
    """The files that were written."""

    #: The authority's certificate, for clients to trust.
    ca: Path
    #: The server's certificate, for ``--certificate``; the authority's is left out, as clients must have it
    #: anyway.
    certificate: Path
    #: The server's key, for ``--private-key``; readable by its owner only.
    private_key: Path


def make_development_certificate(
    directory: str | Path,
    names: Iterable[str] = ("localhost", "127.0.0.1", "::1"),
    *,
    now: datetime,
    days: int = 365,
    force: bool = False,
) -> DevelopmentCertificate:
    """Write ``ca.pem``, ``certificate.pem`` and ``private-key.pem`` for a server into a directory.

    The keys are P-256, which every client knows.

    :param directory: made, with its parents, if it is not there.
    :param names: what the server is called: host names, names with a wildcard (``*.example.test``), IPv4 and
        IPv6 addresses. At least one.
    :param now: aware; the certificates are valid from an hour before.
    :param days: how long they are valid, 1 to `LONGEST_DAYS`.
    :param force: replace files that exist. A server that reads them meanwhile finds the old or the new one,
        never half of one.
    :raises CertificateError: a name is none, the number of days is out of range, a file exists, or one cannot
        be written. Then nothing new is left, except for a file that was already replaced.
    """
    subjects = _subjects(list_of_texts(names, "names"))
    if not 1 <= days <= LONGEST_DAYS:
        raise CertificateError(f"{days} days of validity: accepted are 1 to {LONGEST_DAYS}")

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    # The date tells several authorities in a client's list apart.
    ca_name = _name(f"wsecho development authority of {now:%Y-%m-%d %H:%M:%S}")
    ca = (
        _builder(ca_name, ca_name, ca_key, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    certificate = (
        _builder(_name("wsecho development server"), ca_name, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(subjects), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )

    folder = Path(directory)
    files = DevelopmentCertificate(folder / "ca.pem", folder / "certificate.pem", folder / "private-key.pem")
    _write(
        {
            files.ca: (ca.public_bytes(Encoding.PEM), 0o644),
            files.certificate: (certificate.public_bytes(Encoding.PEM), 0o644),
            files.private_key: (key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600),
        },
        force=force,
    )
    return files


def _subjects(names: Iterable[str]) -> list[x509.GeneralName]:
    # A dict keeps the order and drops what was named twice.
    subjects = dict.fromkeys(_subject(name) for name in names)
    if not subjects:
        raise CertificateError("a certificate needs at least one name")
    return list(subjects)


def _subject(name: str) -> x509.GeneralName:
    # A zone ("fe80::1%eth0") is part of no address in a certificate.
    if "%" not in name:
        with suppress(ValueError):
            return x509.IPAddress(ipaddress.ip_address(name))
    try:
        if name.startswith("*."):
            behind = parse_wildcard(name)
            if behind.port is None:
                return x509.DNSName(f"*.{behind.host}")
        elif not name.startswith("["):
            return x509.DNSName(canonical_host(name))
    except ValueError:
        pass
    raise CertificateError(
        f'"{escape_peer_text(name)}" is no name for a certificate: accepted are host names (international '
        "ones as xn--...), *.example.com, and IPv4 and IPv6 addresses without brackets"
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        # The period counts from not_valid_before, and both ends belong to it (RFC 5280 4.1.2.5).
        .not_valid_after(now - _CLOCK_SKEW + timedelta(days=days) - timedelta(seconds=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(contents: dict[Path, tuple[bytes, int]], *, force: bool) -> None:
    # All are looked for before the first is written, to name each; O_EXCL below is what makes sure.
    present = [] if force else [path for path in contents if os.path.lexists(path)]
    if present:
        listed = ", ".join(f'"{escape_peer_text(str(path))}"' for path in present)
        raise CertificateError(f"{listed}: not overwritten; --force replaces files that exist")
    # What replaces a file is complete before it has its name: a server may be reading.
    targets = {path: path.with_name(f".{path.name}.{os.getpid()}") if force else path for path in contents}
    written: list[Path] = []
    path = next(iter(contents)).parent
    try:
        path.mkdir(parents=True, exist_ok=True)
        for path, (data, mode) in contents.items():
            descriptor = os.open(targets[path], os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            written.append(targets[path])
            with open(descriptor, "wb") as file:
                file.write(data)
        if force:
            for path in contents:
                os.replace(targets[path], path)
    except OSError as error:
        for one in written:
            one.unlink(missing_ok=True)
        raise CertificateError(f'"{escape_peer_text(str(path))}": {error.strerror}') from None
