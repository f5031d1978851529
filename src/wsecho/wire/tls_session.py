"""What TLS agreed on for a connection, as texts for people."""

from __future__ import annotations

from typing import Any

__all__ = ["tls_session"]


def tls_session(handle: Any) -> dict[str, str | None] | None:
    """Version, cipher and the server name that the client asked for (SNI); None for a connection without TLS.

    :param handle: of the transport: the pyOpenSSL connection over TLS
    """
    if not hasattr(handle, "get_protocol_version_name"):
        return None
    name: bytes | None = handle.get_servername()
    return {
        "version": handle.get_protocol_version_name(),
        "cipher": handle.get_cipher_name(),
        "server_name": None if name is None else name.decode("ascii", "backslashreplace"),
    }
