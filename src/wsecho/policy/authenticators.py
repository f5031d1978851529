"""What a slot fills in when it is asked: whether an origin may connect, or which user and password to send.

This file knows no connection; the questions are asked by ``server.py`` and ``websocket.py``.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

__all__ = ["Authenticator", "CorsAuthenticator", "PreSharedKeyAuthenticator"]


class CorsAuthenticator:
    """The question of ``WebSocketServer.origin_authentication_required`` (``QWebSocketCorsAuthenticator``).

    :param origin: the Origin header as sent; empty when there was none
    """

    __slots__ = ("_allowed", "_origin")

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._allowed = True

    @property
    def origin(self) -> str:
        """The Origin header; a program that is no browser can send any."""
        return self._origin

    @property
    def allowed(self) -> bool:
        """Whether the connection is accepted; True unless a slot says otherwise."""
        return self._allowed

    def set_allowed(self, allowed: bool) -> None:
        """Decide.

        :raises TypeError: when ``allowed`` is no bool: a truthy mistake must not open the door
        """
        if not isinstance(allowed, bool):
            raise TypeError(f"allowed must be a bool, not {type(allowed).__name__}")
        self._allowed = allowed

    def __copy__(self) -> CorsAuthenticator:
        copied = CorsAuthenticator(self._origin)
        copied._allowed = self._allowed
        return copied


@dataclass(slots=True)
class Authenticator:
    """The question of ``WebSocket.authentication_required`` and ``proxy_authentication_required``
    (``QAuthenticator``).

    :param realm: what the server calls the protected space; the peer's text
    :param user: to be set by the slot; empty gives up
    :param password: to be set by the slot
    """

    realm: str = ""
    user: str = ""
    password: str = ""

    @property
    def is_null(self) -> bool:
        """Whether nobody answered."""
        return not self.user and not self.password

    def basic(self) -> str:
        """The value of an ``Authorization`` header with Basic credentials (RFC 7617)."""
        pair = f"{self.user}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


@dataclass(slots=True)
class PreSharedKeyAuthenticator:
    """The question of ``pre_shared_key_authentication_required`` (``QSslPreSharedKeyAuthenticator``).

    :param identity_hint: what the server says to help the client choose
    :param identity: the client's; on the client's side to be set by the slot
    :param key: to be set by the slot; empty refuses
    """

    identity_hint: bytes = b""
    identity: bytes = b""
    key: bytes = b""
