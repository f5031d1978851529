"""The certificate that a peer showed, read from its TLS connection.

Rules: nothing is verified here; OpenSSL did that in the handshake, or there is no connection. A certificate
that cannot be read is none.
"""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from wsecho.policy.clients import PeerCertificate

__all__ = ["peer_certificate"]


def peer_certificate(handle: Any) -> PeerCertificate | None:
    """The peer's certificate; None when it showed none, and for a connection without TLS.

    :param handle: of the transport: the pyOpenSSL connection over TLS
    """
    get = getattr(handle, "get_peer_certificate", None)
    certificate: x509.Certificate | None = None if get is None else get(as_cryptography=True)
    if certificate is None:
        return None
    try:
        return _read(certificate)
    except ValueError:
        return None


def _read(certificate: x509.Certificate) -> PeerCertificate:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        found = x509.SubjectAlternativeName([])
    return PeerCertificate(
        certificate.subject.rfc4514_string(),
        common_names=tuple(
            str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        ),
        dns_names=tuple(found.get_values_for_type(x509.DNSName)),
        uris=tuple(found.get_values_for_type(x509.UniformResourceIdentifier)),
        emails=tuple(found.get_values_for_type(x509.RFC822Name)),
        ip_addresses=tuple(map(str, found.get_values_for_type(x509.IPAddress))),
        serial_number=certificate.serial_number,
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        pem=certificate.public_bytes(Encoding.PEM).decode("ascii"),
    )
