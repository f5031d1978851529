"""What a slot fills in when it is asked: whether an origin may connect, or which user and password to send.

Rules of this file: a value that cannot be used is refused where it is set, in the slot, not where it is sent.
Secrets stay out of ``repr``, and so out of logs. This file knows no connection; the questions are asked by
``server.py`` and ``websocket.py``.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

__all__ = ["Authenticator", "CorsAuthenticator", "PreSharedKeyAuthenticator"]


class CorsAuthenticator:
    """The question of ``WebSocketServer.origin_authentication_required`` (``QWebSocketCorsAuthenticator``).

    A copy (``copy.copy``) is independent.

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
        """Whether the connection is accepted; True unless a slot says otherwise.

        :raises TypeError: when set to what is no bool: a truthy mistake must not open the door
        """
        return self._allowed

    @allowed.setter
    def allowed(self, allowed: bool) -> None:
        if not isinstance(allowed, bool):
            raise TypeError(f"allowed must be a bool, not {type(allowed).__name__}")
        self._allowed = allowed

    def set_allowed(self, allowed: bool) -> None:
        """Set :attr:`allowed`; as a call, which fits into a lambda."""
        self.allowed = allowed

    def __repr__(self) -> str:
        return f"CorsAuthenticator({self._origin!r}, allowed={self._allowed})"


class Authenticator:
    """The question of ``WebSocket.authentication_required`` and ``proxy_authentication_required``
    (``QAuthenticator``).

    :param realm: what the server calls the protected space; the peer's text
    :param user: to be set by the slot
    :param password: to be set by the slot
    :raises ValueError: for what Basic authentication cannot express (RFC 7617 section 2): control characters,
        or a colon in ``user``
    """

    __slots__ = ("_password", "_user", "realm")

    def __init__(self, realm: str = "", user: str = "", password: str = "") -> None:
        self.realm = realm
        self.user = user
        self.password = password

    @property
    def user(self) -> str:
        """The user; empty when nobody answered."""
        return self._user

    @user.setter
    def user(self, user: str) -> None:
        if ":" in _credential("user", user):
            raise ValueError("user must not hold a colon (RFC 7617 section 2)")
        self._user = user

    @property
    def password(self) -> str:
        """The password."""
        return self._password

    @password.setter
    def password(self, password: str) -> None:
        self._password = _credential("password", password)

    def is_null(self) -> bool:
        """Whether nobody answered."""
        return not self._user and not self._password

    def basic(self) -> str:
        """The value of an ``Authorization`` header with Basic credentials (RFC 7617)."""
        pair = f"{self._user}:{self._password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")

    def __repr__(self) -> str:
        return f"Authenticator({self.realm!r}, user={self._user!r})"


def _credential(name: str, text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, not {type(text).__name__}")
    if not text.isprintable():
        raise ValueError(f"{name} must hold printable characters only")
    return text


@dataclass(slots=True)
class PreSharedKeyAuthenticator:
    """The question of ``pre_shared_key_authentication_required`` (``QSslPreSharedKeyAuthenticator``).

    :param identity_hint: what the server says to help the client choose
    :param identity: the client's; on the client's side to be set by the slot
    :param key: to be set by the slot; empty refuses
    """

    identity_hint: bytes = b""
    identity: bytes = b""
    key: bytes = field(default=b"", repr=False)
