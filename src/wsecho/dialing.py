"""Dialing: one attempt of a client to connect, with the questions it may meet on the way.

Rules of this file: it asks for credentials, a bounded number of times, and never sends the same answer twice;
it changes nothing of the socket it dials for. Credentials go out only when they were asked for (RFC 7617),
and only to who asked.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from wsecho.policy.authenticators import Authenticator
from wsecho.policy.enumerations import SocketError
from wsecho.wire.client import ClientRequest, ConnectError, ConnectFailed, HttpProxy

__all__ = ["Attempt", "Questions", "dial", "socket_error"]

_MOST_QUESTIONS = 3
_BASIC = re.compile(r"(?:^|,)\s*basic(?:\s|,|$)", re.IGNORECASE)
_REALM = re.compile(r'realm="((?:[^"\\]|\\.)*)"', re.IGNORECASE)

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
    """Who answers for the user: fills the authenticator in, and gives whether that is to be relied on."""

    def ask_user(self, authenticator: Authenticator) -> Awaitable[bool]:
        """The server answered 401."""

    def ask_proxy_user(self, proxy: HttpProxy, authenticator: Authenticator) -> Awaitable[bool]:
        """The proxy answered 407."""


class Attempt:
    """An attempt to connect that can be given up at any time, also before it has properly begun."""

    __slots__ = ("_dialing", "_is_cancelled")

    def __init__(self) -> None:
        self._dialing: Deferred[Any] | None = None
        self._is_cancelled = False

    def run(self, dialing: Coroutine[Deferred[Any], Any, Any]) -> Deferred[Any]:
        """Begin; fires with what ``dialing`` gives."""
        self._dialing = Deferred.fromCoroutine(dialing)
        if self._is_cancelled:
            # By a slot that was told how the attempt began.
            self._dialing.cancel()
        return self._dialing

    def cancel(self) -> None:
        """Give it up; does nothing when it is over."""
        self._is_cancelled = True
        if self._dialing is not None:
            self._dialing.cancel()


async def dial(
    connect: Callable[[ClientRequest, HttpProxy | None], Awaitable[Any]],
    request: ClientRequest,
    proxy: HttpProxy | None,
    questions: Questions,
) -> Any:
    """Connect, and connect again with credentials when they are asked for (RFC 7617): first those of the URL,
    then what the questions give.

    :param connect: one try
    :returns: what ``connect`` gave
    :raises ConnectFailed: when it failed, or a question stayed without a new answer
    """
    sent = Authenticator()
    own = Authenticator(user=request.user, password=request.password)
    questions_left = _MOST_QUESTIONS
    while True:
        try:
            return await connect(_with_credentials(request, sent), proxy)
        except ConnectFailed as failed:
            asking_proxy = proxy if failed.error is ConnectError.PROXY_AUTHENTICATION else None
            challenge = _challenge(failed)
            if not _BASIC.search(challenge):
                raise
            if asking_proxy is None and sent.is_null() and not own.is_null():
                sent = own
                continue
            if not questions_left:
                raise
            questions_left -= 1
            answer = Authenticator(_realm(challenge))
            if asking_proxy is None:
                answered = await questions.ask_user(answer)
                known = (sent.user, sent.password)
            else:
                answered = await questions.ask_proxy_user(asking_proxy, answer)
                known = (asking_proxy.user or "", asking_proxy.password or "")
            if not answered or answer.is_null() or (answer.user, answer.password) == known:
                raise
            if asking_proxy is None:
                sent = answer
            else:
                proxy = replace(asking_proxy, user=answer.user, password=answer.password)


def _challenge(failed: ConnectFailed) -> str:
    """What asks for credentials; empty when nothing does. A 401 of a proxy is not the server's."""
    if failed.error is ConnectError.PROXY_AUTHENTICATION:
        return failed.headers.get("proxy-authenticate", "")
    if failed.error is ConnectError.HTTP_STATUS and failed.status == 401:
        return failed.headers.get("www-authenticate", "")
    return ""


def _with_credentials(request: ClientRequest, credentials: Authenticator) -> ClientRequest:
    if credentials.is_null():
        return request
    others = [field for field in request.headers if field[0].lower() != "authorization"]
    return replace(request, headers=(*others, ("Authorization", credentials.basic())))


def _realm(challenge: str) -> str:
    found = _REALM.search(challenge)
    return "" if found is None else re.sub(r"\\(.)", r"\1", found[1])
