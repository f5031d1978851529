"""Pre-shared keys (RFC 4279, RFC 8446 section 2.2): TLS without certificates.

Rules: a context with pre-shared keys has no certificate, or a client whose identity is unknown would be let
in by it. No session tickets either: a key that is withdrawn is withdrawn at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from OpenSSL import SSL

from wsecho.policy.authenticators import PreSharedKeyAuthenticator
from wsecho.tls.beneath import (
    has_pre_shared_keys,
    set_identity_hint,
    set_psk_client_callback,
    set_psk_server_callback,
)
from wsecho.tls.connections import key_asked

__all__ = ["PSK_CIPHERS", "PSK_SUITES", "PreSharedKeys", "offer_keys", "take_keys"]

#: For TLS 1.2, forward secrecy first. Devices that are made for pre-shared keys often know no other suites
#: than the plain ones behind it.
PSK_CIPHERS = "ECDHE-PSK-CHACHA20-POLY1305:PSK-AES256-GCM-SHA384:PSK-AES128-GCM-SHA256:PSK-CHACHA20-POLY1305"
#: For TLS 1.3: a key that was not agreed on by TLS itself goes with SHA-256 (RFC 8446 section 4.2.11).
PSK_SUITES = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"

# What every peer can take (RFC 4279 section 5.3); OpenSSL would send more.
_LONGEST_HINT = 128


@dataclass(frozen=True, slots=True)
class PreSharedKeys:
    """How identities get their keys.

    :param hint: of a server, shown to clients of TLS 1.2; at most 128 bytes without NUL
    :param answer: called with a `PreSharedKeyAuthenticator` to fill in: a server's says the identity and
        wants the key, a client's says the hint and wants both. When None, the signal
        ``pre_shared_key_authentication_required`` asks. Left empty, the handshake fails
    :raises TypeError: for a hint that is no bytes, or an answer that is not callable
    :raises ValueError: for a hint that cannot be sent, and where OpenSSL has no pre-shared keys
    """

    hint: bytes = b""
    answer: Callable[[PreSharedKeyAuthenticator], object] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.hint, bytes):
            raise TypeError(f"hint must be bytes, not {type(self.hint).__name__}")
        if self.answer is not None and not callable(self.answer):
            raise TypeError(f"answer must be callable or None, not {type(self.answer).__name__}")
        if len(self.hint) > _LONGEST_HINT or b"\0" in self.hint:
            raise ValueError(f"hint must be at most {_LONGEST_HINT} bytes, without NUL")
        if not has_pre_shared_keys():
            raise ValueError(
                "pre_shared_keys: this installation of cryptography or OpenSSL has none (OPENSSL_NO_PSK)"
            )


def take_keys(context: SSL.Context, keys: PreSharedKeys) -> None:
    """Let a server's context find the keys of identities."""

    def find(connection: SSL.Connection | None, identity: bytes) -> bytes:
        question = PreSharedKeyAuthenticator(keys.hint, identity)
        return key_asked(connection, question, keys.answer)[1]

    set_psk_server_callback(context, find)
    if keys.hint:
        set_identity_hint(context, keys.hint)


def offer_keys(context: SSL.Context, keys: PreSharedKeys) -> None:
    """Let a client's context give identity and key."""

    def choose(connection: SSL.Connection | None, hint: bytes) -> tuple[bytes, bytes]:
        return key_asked(connection, PreSharedKeyAuthenticator(hint), keys.answer)

    set_psk_client_callback(context, choose)
