"""What can be wrong with a peer's certificate, as OpenSSL numbers it.

This file knows no connection; who decides what happens then stands elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum, unique

from cryptography import x509

from wsecho.policy.text import escape_peer_text
from wsecho.tls.beneath import verify_error_text

__all__ = ["Verification", "VerifyCode", "VerifyError"]


@unique
class Verification(StrEnum):
    """What a server asks of its clients (``QSslSocket::PeerVerifyMode``)."""

    NONE = "none"
    """No certificate (``VerifyNone``)."""
    OPTIONAL = "optional"
    """A certificate if the client has one; a wrong one is refused. (``QueryPeer`` lets it pass.)"""
    REQUIRED = "required"
    """A certificate (``VerifyPeer``)."""


@unique
class VerifyCode(IntEnum):
    """The errors that are met most, with OpenSSL's numbers (``x509_vfy.h``), under the names of
    ``QSslError::SslError``."""

    CERTIFICATE_SIGNATURE_FAILED = 7
    CERTIFICATE_NOT_YET_VALID = 9
    CERTIFICATE_EXPIRED = 10
    SELF_SIGNED_CERTIFICATE = 18
    SELF_SIGNED_CERTIFICATE_IN_CHAIN = 19
    UNABLE_TO_GET_LOCAL_ISSUER_CERTIFICATE = 20
    UNABLE_TO_VERIFY_FIRST_CERTIFICATE = 21
    CERTIFICATE_REVOKED = 23
    INVALID_PURPOSE = 26
    HOST_NAME_MISMATCH = 62


@dataclass(frozen=True, slots=True)
class VerifyError:
    """One thing that is wrong with a peer's certificate (``QSslError``)."""

    code: int
    """OpenSSL's number; a `VerifyCode` where it has a name there."""
    certificate: x509.Certificate = field(repr=False)
    """The certificate that it is about."""
    depth: int = 0
    """0 for the peer's own certificate, 1 for its issuer's, and so on."""
    peer: str = field(default="", compare=False)
    """The peer's address, ``host:port``; empty when it has none."""
    detail: str = field(default="", compare=False)
    """More than OpenSSL says; for people."""

    @property
    def text(self) -> str:
        """What is wrong, one line; for people."""
        whose = escape_peer_text(self.certificate.subject.rfc4514_string())
        return f"{self.detail or verify_error_text(self.code)} (certificate of {whose or 'nobody'})"

    def __str__(self) -> str:
        return f"{self.peer}: {self.text}" if self.peer else self.text
