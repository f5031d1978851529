"""Why a client did not connect: a closed list, and one clear line for each case.

Rules of this file: the texts are for people, one line, the peer's bytes in it escaped; programs look at
`ConnectError`. It must not know who tried to connect, nor how.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, unique
from types import MappingProxyType
from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error
from twisted.python.failure import Failure

from wsecho.policy.text import escape_peer_text
from wsecho.wire.beneath import certificate_problem

__all__ = ["ConnectError", "ConnectFailed", "connection_lost", "is_tls_failure", "transport_failed"]


@unique
class ConnectError(Enum):
    """What kept a client from connecting."""

    HOST_NOT_FOUND = "host not found"
    CONNECTION_REFUSED = "connection refused"
    NETWORK = "network error"
    """No route, a reset, or the server ended the connection before it had answered."""
    TIMEOUT = "timeout"
    TLS = "TLS failed"
    """The certificate was not accepted, or the server speaks no TLS that we speak."""
    PROXY = "proxy error"
    """The proxy was not reached, or refused."""
    PROXY_AUTHENTICATION = "proxy authentication required"
    """The proxy answered 407."""
    HTTP_STATUS = "HTTP status"
    """The server answered another status than 101."""
    BAD_RESPONSE = "bad response"
    """What came is no HTTP, or agrees to what was not asked (RFC 6455 section 4.1)."""
    CANCELLED = "cancelled"
    """The program gave the attempt up."""


class ConnectFailed(Exception):
    """A client did not connect.

    :ivar error: what kept it from it
    :ivar text: one line: who, what and why
    :ivar status: the HTTP status of the server's, or the proxy's, answer; None when there was none
    :ivar headers: the answer's header fields by lower-case name, several of one name joined by ``", "``:
        ``www-authenticate`` of a 401, ``proxy-authenticate`` of a 407. The peer's text, not escaped
    """

    def __init__(
        self,
        error: ConnectError,
        text: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(text)
        self.error = error
        self.text = text
        self.status = status
        self.headers = headers


def transport_failed(failure: Failure, target: str) -> ConnectFailed:
    """Why no transport came up.

    :param failure: of an endpoint's ``connect``
    :param target: who was to be reached, ``host:port``
    """
    cause = failure.value
    if isinstance(cause, ConnectFailed):
        return cause
    if isinstance(cause, error.DNSLookupError):
        return ConnectFailed(ConnectError.HOST_NOT_FOUND, f"{target}: host not found")
    if isinstance(cause, error.ConnectionRefusedError):
        return ConnectFailed(ConnectError.CONNECTION_REFUSED, f"{target}: connection refused")
    if isinstance(cause, error.TimeoutError | error.TCPTimedOutError):
        return ConnectFailed(ConnectError.TIMEOUT, f"{target}: the host does not answer")
    why = escape_peer_text(str(cause)) or type(cause).__name__
    return ConnectFailed(ConnectError.NETWORK, f"{target}: {why}")


def connection_lost(failure: Failure, target: str, handle: Any) -> ConnectFailed:
    """Why a transport ended before the WebSocket was open.

    :param failure: the reason that ``connectionLost`` was given
    :param handle: of the transport: the pyOpenSSL connection over TLS
    """
    if is_tls_failure(failure):
        return ConnectFailed(ConnectError.TLS, f"{target}: {_tls_text(failure.value, handle)}")
    if isinstance(failure.value, error.ConnectionDone):
        why = "the connection was ended before the opening handshake was answered"
    else:
        why = "the connection was lost before the opening handshake was answered"
    return ConnectFailed(ConnectError.NETWORK, f"{target}: {why}")


def is_tls_failure(failure: Failure) -> bool:
    """Whether a connection ended because TLS failed."""
    return isinstance(failure.value, SSL.Error | VerificationError)


def _tls_text(cause: BaseException | None, handle: Any) -> str:
    if isinstance(cause, VerificationError):
        return "the server's certificate is for another name"
    # A list of (library, function, reason), or of SysCallError a number and a text.
    stack = cause.args[0] if cause is not None and cause.args and isinstance(cause.args[0], list) else []
    if stack and stack[0][0] == "wsecho":
        # Of ClientTls, which knows more than OpenSSL.
        own: str = stack[0][2]
        return own
    problem = certificate_problem(handle)
    if problem:
        return f"the server's certificate is not accepted: {problem}"
    reasons = ", ".join(reason for _, _, reason in stack)
    return f"TLS failed: {reasons or 'the server ended the connection'}"
