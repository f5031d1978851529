"""Who a client is by its certificate, and which clients are admitted.

Rules: names are compared whole. A common name is free text that an authority may hand to anybody, so it
counts only where it is asked for as such. This file reads no certificates; who verified one stands elsewhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from wsecho.policy.hosts import canonical_host, list_of_texts
from wsecho.policy.text import escape_peer_text

__all__ = ["AllowedClients", "PeerCertificate"]

_ACCEPTED = (
    "accepted are a DNS name (device.example), a URI (spiffe://example/device), an email address "
    "(anna@example.com) or a common name (CN=device 7), as they stand in the certificate"
)


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A peer's certificate that was verified; all texts are the authority's."""

    subject: str
    """The whole subject (RFC 4514)."""
    common_names: tuple[str, ...] = ()
    """Those of the subject; a good certificate has one at most."""
    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    serial_number: int = 0
    fingerprint: str = ""
    """SHA-256 of the certificate, in hexadecimal digits."""
    pem: str = ""
    """The certificate itself."""


class AllowedClients:
    """Admits clients by a name of their certificate: the policy of ``--allow-client``.

    A name with a colon is a URI, one with an at sign an email address, ``CN=`` begins a common name, and
    everything else is a DNS name. DNS names are compared without regard to case, and so is the domain of an
    email address; all else exactly. ``*.example.com`` in a certificate is not any name of that domain.

    :param allowed: names; at least one
    :raises ValueError: for what is no name, in one line that says what is accepted
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(_named(name) for name in list_of_texts(allowed, "allowed"))

    def __call__(self, certificate: PeerCertificate | None) -> bool:
        """Whether a client is admitted; None for one without a certificate."""
        if certificate is None:
            return False
        # Of several common names nobody knows which one is meant.
        common_names = certificate.common_names if len(certificate.common_names) == 1 else ()
        return not self._allowed.isdisjoint(
            [
                *(("CN", name) for name in common_names),
                *(("dns", name.lower()) for name in certificate.dns_names),
                *(("uri", name) for name in certificate.uris),
                *(("email", _email(name)) for name in certificate.emails),
            ]
        )


def _named(name: str) -> tuple[str, str]:
    kind, _, rest = name.partition("=")
    if name.isprintable():
        if kind == "CN" and rest.strip():
            return "CN", rest
        if ":" in name and not name.startswith(":") and " " not in name and not _is_address(name):
            return "uri", name
        local, _, domain = name.rpartition("@")
        if local and domain and " " not in name and "@" not in local and ":" not in name:
            return "email", _email(name)
        if not {"@", ":", "="} & set(name) and not _is_address(name):
            try:
                return "dns", canonical_host(name)
            except ValueError:
                pass
    raise ValueError(f'"{escape_peer_text(name, 80)}" is no name of a client; {_ACCEPTED}')


def _email(name: str) -> str:
    local, _, domain = name.rpartition("@")
    return f"{local}@{domain.lower()}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
