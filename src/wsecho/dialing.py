"""Dialing: one attempt of a client to connect, with the questions it may meet on the way.

Rules of this file: it asks for credentials, a bounded number of times, and never asks the same answer twice;
it changes nothing of the socket it dials for.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol

from wsecho.policy.authenticators import Authenticator
from wsecho.policy.enumerations import SocketError
from wsecho.wire.client import ClientRequest, ConnectError, ConnectFailed, HttpProxy

__all__ = ["Questions", "dial", "socket_error"]

_MOST_QUESTIONS = 3
_REALM = re.compile(r'realm="([^"]*)"', re.IGNORECASE)

_ERRORS = {
    ConnectError.HOST_NOT_FOUND: SocketError.HOST_NOT_FOUND,
    ConnectError.CONNECTION_REFUSED: SocketError.CONNECTION_REFUSED,
    ConnectError.NETWORK: SocketError.NETWORK,
    ConnectError.TIMEOUT: SocketError.SOCKET_TIMEOUT,
    ConnectError.TLS: SocketError.SSL_HANDSHAKE_FAILED,
    ConnectError.PROXY: SocketError.PROXY_PROTOCOL,
    ConnectError.PROXY_AUTHENTICATION: SocketError.PROXY_AUTHENTICATION_REQUIRED,
    ConnectError.HTTP_STATUS: SocketError.CONNECTION_REFUSED,
    ConnectError.BAD_RESPONSE: SocketError.CONNECTION_REFUSED,
    ConnectError.CANCELLED: SocketError.OPERATION,
}


def socket_error(error: ConnectError) -> SocketError:
    """Qt's name for what failed; a refusal by HTTP status counts as ``CONNECTION_REFUSED``, as in Qt."""
    return _ERRORS[error]


class Questions(Protocol):
    """Who answers for the user."""

    def ask_user(self, authenticator: Authenticator) -> None:
        """The server answered 401."""

    def ask_proxy_user(self, proxy: HttpProxy, authenticator: Authenticator) -> None:
        """The proxy answered 407."""


async def dial(
    connect: Callable[[ClientRequest, HttpProxy | None], Awaitable[Any]],
    request: ClientRequest,
    proxy: HttpProxy | None,
    questions: Questions,
) -> Any:
    """Connect, and connect again with credentials when they are asked for (RFC 7617).

    :param connect: one try
    :returns: what ``connect`` gave
    :raises ConnectFailed: when it failed, or a question stayed without a new answer
    """
    tried = Authenticator()
    for left in reversed(range(_MOST_QUESTIONS)):
        try:
            return await connect(_with_credentials(request, tried), proxy)
        except ConnectFailed as failed:
            if not left:
                raise
            if failed.error is ConnectError.PROXY_AUTHENTICATION and proxy is not None:
                asked = Authenticator(_realm(failed.headers.get("proxy-authenticate", "")))
                questions.ask_proxy_user(proxy, asked)
                if asked.is_null or (asked.user, asked.password) == (proxy.user, proxy.password):
                    raise
                proxy = replace(proxy, user=asked.user, password=asked.password)
            elif _asks_for_basic(failed):
                asked = Authenticator(_realm(failed.headers["www-authenticate"]))
                questions.ask_user(asked)
                if asked.is_null or (asked.user, asked.password) == (tried.user, tried.password):
                    raise
                tried = asked
            else:
                raise
    raise AssertionError("unreachable")


def _with_credentials(request: ClientRequest, credentials: Authenticator) -> ClientRequest:
    if credentials.is_null:
        return request
    return replace(request, headers=(*request.headers, ("Authorization", credentials.basic())))


def _asks_for_basic(failed: ConnectFailed) -> bool:
    return failed.status == 401 and failed.headers.get("www-authenticate", "").lower().startswith("basic")


def _realm(challenge: str) -> str:
    found = _REALM.search(challenge)
    return "" if found is None else found[1]
