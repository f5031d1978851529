"""What wsecho uses of OpenSSL below pyOpenSSL's public interface, in one list.

pyOpenSSL documents contexts and connections. Pre-shared keys, the groups of a key exchange, and OpenSSL's
texts for what is wrong with a certificate, are in the bindings below it only. One test asserts that the names
are there, so that an upgrade fails there first, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from OpenSSL import SSL, _util

__all__ = [
    "BENEATH",
    "connection_of",
    "has_pre_shared_keys",
    "missing",
    "set_alert_callback",
    "set_groups",
    "set_identity_hint",
    "set_psk_client_callback",
    "set_psk_server_callback",
    "verify_error_text",
]

_lib: Any = _util.lib
_ffi: Any = _util.ffi

BENEATH: Mapping[tuple[Any, str], str] = {
    (_lib, "X509_verify_cert_error_string"): "called: what is wrong with a certificate, in OpenSSL's words",
    (_lib, "SSL_CTX_set1_curves_list"): "called: the groups that a key exchange may use",
    (_lib, "ERR_clear_error"): "called: an error that was dealt with must not be found by somebody else",
    (_lib, "Cryptography_HAS_PSK"): "read: whether OpenSSL was built with pre-shared keys",
    (_lib, "SSL_CTX_set_psk_server_callback"): "called: finds the key of an identity",
    (_lib, "SSL_CTX_set_psk_client_callback"): "called: chooses identity and key",
    (_lib, "SSL_CTX_use_psk_identity_hint"): "called: the server's hint, in TLS 1.2",
    (
        _lib,
        "SSL_set_info_callback",
    ): "called: tells of alerts; of one connection, not of all",
    (_ffi, "callback"): "called: makes a function that OpenSSL can call",
    (_ffi, "memmove"): "called: hands a key over",
    (_ffi, "string"): "called: reads an identity, a hint or a text",
    (SSL.Connection, "_reverse_mapping"): "read: the connection that a callback is for",
}

# SSL_CB_ALERT of OpenSSL's ssl.h, and what the info callback looks like there.
_ALERT = 0x4000
_INFO = "void (*)(const SSL *, int, int)"
_info_callbacks: dict[Callable[[Any, int, int], None], Any] = {}

# What the two callbacks of a key exchange look like in OpenSSL's ssl.h.
_SERVER = "unsigned int(SSL *, const char *, unsigned char *, unsigned int)"
_CLIENT = "unsigned int(SSL *, const char *, char *, unsigned int, unsigned char *, unsigned int)"


def missing() -> list[str]:
    """One line for each name of :data:`BENEATH` that is not there; empty when all is well."""
    return [f"{name} is gone" for owner, name in BENEATH if not hasattr(owner, name)]


def verify_error_text(code: int) -> str:
    """What a verification error of OpenSSL's means, in its own words."""
    text: bytes = _ffi.string(_lib.X509_verify_cert_error_string(code))
    return text.decode("ascii", "replace")


def set_groups(context: SSL.Context, *choices: bytes) -> bytes:
    """Let key exchanges use the first list of groups, in OpenSSL's notation, all of which OpenSSL knows.

    :returns: that list; empty when it knows none, and has its defaults still
    """
    for groups in choices:
        if _lib.SSL_CTX_set1_curves_list(context._context, groups) == 1:
            return groups
        _lib.ERR_clear_error()
    return b""


def has_pre_shared_keys() -> bool:
    """Whether this OpenSSL, and the bindings to it, know pre-shared keys."""
    return bool(getattr(_lib, "Cryptography_HAS_PSK", 0))


def connection_of(ssl: Any) -> SSL.Connection | None:
    """The connection that OpenSSL calls back for; None when it is gone."""
    found: SSL.Connection | None = SSL.Connection._reverse_mapping.get(ssl)
    return found


def set_alert_callback(connection: SSL.Connection, tell: Callable[[Any, int, int], None]) -> None:
    """Let ``tell``, which must not raise, hear of one connection's alerts, as OpenSSL's info callback
    does."""
    callback = _info_callbacks.get(tell)
    if callback is None:

        @_ffi.callback(_INFO)  # type: ignore[untyped-decorator]
        def info(ssl: Any, where: int, value: int) -> None:
            # Of each handshake twenty calls are of no interest to anybody.
            if where & _ALERT:
                tell(connection_of(ssl), where, value)

        # OpenSSL keeps the address only.
        callback = _info_callbacks[tell] = info
    _lib.SSL_set_info_callback(connection._ssl, callback)


def set_psk_server_callback(
    context: SSL.Context, find: Callable[[SSL.Connection | None, bytes], bytes]
) -> None:
    """Let ``find`` give the key of an identity, empty to refuse. It must not raise.

    A key that is longer than OpenSSL takes is refused.
    """

    @_ffi.callback(_SERVER)  # type: ignore[untyped-decorator]
    def server(ssl: Any, identity: Any, key: Any, longest: int) -> int:
        found = find(connection_of(ssl), _text(identity))
        return _give(key, found, longest)

    # OpenSSL keeps the address only.
    context._wsecho_psk_server = server  # type: ignore[attr-defined]
    _lib.SSL_CTX_set_psk_server_callback(context._context, server)


def set_psk_client_callback(
    context: SSL.Context, choose: Callable[[SSL.Connection | None, bytes], tuple[bytes, bytes]]
) -> None:
    """Let ``choose`` give identity and key for a hint, empty to go without. It must not raise."""

    @_ffi.callback(_CLIENT)  # type: ignore[untyped-decorator]
    def client(ssl: Any, hint: Any, identity: Any, longest_name: int, key: Any, longest: int) -> int:
        name, found = choose(connection_of(ssl), _text(hint))
        # With the NUL that ends it.
        if not _give(identity, name + b"\0", longest_name + 1):
            return 0
        return _give(key, found, longest)

    context._wsecho_psk_client = client  # type: ignore[attr-defined]
    _lib.SSL_CTX_set_psk_client_callback(context._context, client)


def set_identity_hint(context: SSL.Context, hint: bytes) -> bool:
    """Give the hint that clients of TLS 1.2 see; whether OpenSSL takes it."""
    return bool(_lib.SSL_CTX_use_psk_identity_hint(context._context, hint))


def _text(value: Any) -> bytes:
    if value == _ffi.NULL:
        return b""
    text: bytes = _ffi.string(value)
    return text


def _give(place: Any, data: bytes, longest: int) -> int:
    if len(data) > longest:
        return 0
    _ffi.memmove(place, data, len(data))
    return len(data)
