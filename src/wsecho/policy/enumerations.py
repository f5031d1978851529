"""The enumerations of Qt's classes, with Qt's values: what the library's properties hold.

This file knows no behaviour; which close codes may be on the wire stands in ``policy.close_codes``.
"""

from __future__ import annotations

from enum import IntEnum, unique

__all__ = ["CloseCode", "PauseMode", "SocketError", "SocketState", "SslMode", "Version"]


@unique
class CloseCode(IntEnum):
    """``QWebSocketProtocol::CloseCode``. Codes of one's own, 3000 to 4999, are plain integers."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    DATATYPE_NOT_SUPPORTED = 1003
    RESERVED_1004 = 1004
    MISSING_STATUS_CODE = 1005
    ABNORMAL_DISCONNECTION = 1006
    WRONG_DATATYPE = 1007
    POLICY_VIOLATED = 1008
    TOO_MUCH_DATA = 1009
    MISSING_EXTENSION = 1010
    BAD_OPERATION = 1011
    TLS_HANDSHAKE_FAILED = 1015


class Version(IntEnum):
    """``QWebSocketProtocol::Version``; only 13, RFC 6455, is spoken."""

    UNKNOWN = -1
    VERSION_0 = 0
    VERSION_4 = 4
    VERSION_5 = 5
    VERSION_6 = 6
    VERSION_7 = 7
    VERSION_8 = 8
    VERSION_13 = 13
    LATEST = 13


@unique
class SslMode(IntEnum):
    """``QWebSocketServer::SslMode``."""

    SECURE_MODE = 0
    NON_SECURE_MODE = 1


@unique
class SocketState(IntEnum):
    """``QAbstractSocket::SocketState``, as far as a WebSocket has them."""

    UNCONNECTED = 0
    HOST_LOOKUP = 1
    CONNECTING = 2
    CONNECTED = 3
    CLOSING = 6


@unique
class PauseMode(IntEnum):
    """``QAbstractSocket::PauseMode``: what stops a connection until ``resume``."""

    PAUSE_NEVER = 0
    PAUSE_ON_SSL_ERRORS = 1


@unique
class SocketError(IntEnum):
    """``QAbstractSocket::SocketError``, as far as a WebSocket meets them."""

    CONNECTION_REFUSED = 0
    REMOTE_HOST_CLOSED = 1
    HOST_NOT_FOUND = 2
    SOCKET_RESOURCE = 4
    SOCKET_TIMEOUT = 5
    NETWORK = 7
    PROXY_AUTHENTICATION_REQUIRED = 12
    SSL_HANDSHAKE_FAILED = 13
    PROXY_PROTOCOL = 18
    OPERATION = 19
    UNKNOWN_SOCKET_ERROR = -1
