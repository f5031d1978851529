"""Why a connection ended: the closed list.

Every connection, opened or not, ends with exactly one of these. The name is the ``reason`` field of the log
line, and the test's expectation; a reason is added here or nowhere. The first cause decides: what happens to
a connection afterwards (an unanswered Close, a peer that resets) changes how it ended, clean or cut, never
why.

This file knows no protocol class and no transport.
"""

# A table reads best with a row in a line.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

__all__ = ["END_REASONS", "Blame", "End", "EndReason", "ReasonRow", "reason_for_code", "reason_for_status"]


@unique
class Blame(Enum):
    """Whose doing an end was: nobody's fault, the peer's, ours, or the network's."""

    NOBODY = "nobody"
    PEER = "peer"
    SERVER = "server"
    NETWORK = "network"


@unique
class EndReason(Enum):
    """The name of an end, as logs and metrics show it."""

    # The enum's own hash is a call of Python's, and ends are counted by it.
    __hash__ = object.__hash__

    PEER_CLOSE = "peer-close"
    SERVER_CLOSE = "server-close"
    SHUTDOWN = "shutdown"
    PEER_GONE = "peer-gone"
    ABORTED = "aborted"
    AS_ASKED = "as-asked"
    PROTOCOL_ERROR = "protocol-error"
    INVALID_PAYLOAD = "invalid-payload"
    MESSAGE_TOO_BIG = "message-too-big"
    POLICY_VIOLATION = "policy-violation"
    PING_TIMEOUT = "ping-timeout"
    STALLED = "stalled"
    SLOW_CONSUMER = "slow-consumer"
    MESSAGES_MISSED = "messages-missed"
    ENGINE_AWAY = "engine-away"
    INTERNAL_ERROR = "internal-error"
    PAGE_SERVED = "page-served"
    BAD_REQUEST = "bad-request"
    NOT_FOUND = "not-found"
    UPGRADE_REQUIRED = "upgrade-required"
    HEAD_TOO_LARGE = "head-too-large"
    HOST_DENIED = "host-denied"
    ORIGIN_DENIED = "origin-denied"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"
    ADDRESS_LIMIT = "address-limit"
    HANDSHAKE_TIMEOUT = "handshake-timeout"
    HANDSHAKE_ABANDONED = "handshake-abandoned"
    TLS_FAILED = "tls-failed"
    CLIENT_CLOSE = "client-close"
    REFUSED = "refused"
    BAD_RESPONSE = "bad-response"


@dataclass(frozen=True, slots=True)
class ReasonRow:
    """One row of the table.

    ``code`` is the close code that wsecho sends for this reason, ``status`` the HTTP status it answers; None
    where neither is fixed by the reason.
    """

    reason: EndReason
    blame: Blame
    code: int | None
    status: int | None
    meaning: str


END_REASONS: tuple[ReasonRow, ...] = (
    ReasonRow(EndReason.PEER_CLOSE, Blame.NOBODY, None, None, "The peer sent Close; its code and reason were echoed."),
    ReasonRow(EndReason.SERVER_CLOSE, Blame.NOBODY, None, None, "The service or the embedding program closed the connection."),
    ReasonRow(EndReason.SHUTDOWN, Blame.NOBODY, 1001, 503, "The server is stopping."),
    ReasonRow(EndReason.PEER_GONE, Blame.NETWORK, None, None, "The open connection ended without a Close frame: end of stream or reset."),
    ReasonRow(EndReason.ABORTED, Blame.SERVER, None, None, "The embedding program dropped the connection without a Close frame."),
    ReasonRow(EndReason.AS_ASKED, Blame.NOBODY, None, None, "The client asked the programmable echo for this end."),
    ReasonRow(EndReason.PROTOCOL_ERROR, Blame.PEER, 1002, None, "The peer broke RFC 6455: an illegal frame or Close."),
    ReasonRow(EndReason.INVALID_PAYLOAD, Blame.PEER, 1007, None, "A text message or close reason was not UTF-8, compressed data was corrupt, or a message of a client with envelopes was none."),
    ReasonRow(EndReason.MESSAGE_TOO_BIG, Blame.PEER, 1009, None, "A message or frame was larger than the limit that the close reason names."),
    ReasonRow(EndReason.POLICY_VIOLATION, Blame.PEER, 1008, None, "The peer went beyond a limit that is not about size."),
    ReasonRow(EndReason.PING_TIMEOUT, Blame.NETWORK, 1001, None, "A ping was not answered within the ping timeout."),
    ReasonRow(EndReason.STALLED, Blame.NETWORK, 1001, None, "The peer was silent inside a frame or a message for the stall timeout."),
    ReasonRow(EndReason.SLOW_CONSUMER, Blame.PEER, 1013, None, "The peer did not read, and its send queue was full."),
    ReasonRow(EndReason.MESSAGES_MISSED, Blame.SERVER, 1012, None, "The link to the engine broke, and messages of the channel may be missing."),
    ReasonRow(EndReason.ENGINE_AWAY, Blame.SERVER, 1013, None, "The peer published, or asked for history, and the engine did not take the message or the question."),
    ReasonRow(EndReason.INTERNAL_ERROR, Blame.SERVER, 1011, 500, "Code of the service or the embedding program raised; the log has the traceback."),
    ReasonRow(EndReason.PAGE_SERVED, Blame.NOBODY, None, 200, "A plain GET was answered with a page."),
    ReasonRow(EndReason.BAD_REQUEST, Blame.PEER, None, 400, "The request head was malformed, or no valid opening handshake (400, 405, 505)."),
    ReasonRow(EndReason.NOT_FOUND, Blame.PEER, None, 404, "Nothing is served at the path."),
    ReasonRow(EndReason.UPGRADE_REQUIRED, Blame.PEER, None, 426, "A plain GET of a WebSocket path, or an unsupported protocol version."),
    ReasonRow(EndReason.HEAD_TOO_LARGE, Blame.PEER, None, 431, "The request head, one of its lines, or their number was beyond the limit."),
    ReasonRow(EndReason.HOST_DENIED, Blame.PEER, None, 421, "The Host header names a host that is not served here."),
    ReasonRow(EndReason.ORIGIN_DENIED, Blame.PEER, None, 403, "The origin policy refused the connection."),
    ReasonRow(EndReason.DENIED, Blame.PEER, None, None, "The embedding program refused the connection in onConnect, with a status of its own, or the client's certificate was not one that is admitted."),
    ReasonRow(EndReason.UNAVAILABLE, Blame.SERVER, None, 503, "There are as many connections as there may be (max-connections, or those that nobody has taken yet), the decision on the connection took too long, or the engine was away."),
    ReasonRow(EndReason.ADDRESS_LIMIT, Blame.PEER, None, 429, "The peer's address has as many connections as one may have (max-connections-per-address)."),
    ReasonRow(EndReason.HANDSHAKE_TIMEOUT, Blame.PEER, None, 408, "The opening handshake, TLS included, was not finished in time."),
    ReasonRow(EndReason.HANDSHAKE_ABANDONED, Blame.NETWORK, None, None, "The peer left before the connection was open."),
    ReasonRow(EndReason.TLS_FAILED, Blame.PEER, None, None, "The TLS handshake or a TLS record was refused."),
    # Of connections on which wsecho is the client.
    ReasonRow(EndReason.CLIENT_CLOSE, Blame.NOBODY, None, None, "The embedding program, which opened the connection as a client, closed it."),
    ReasonRow(EndReason.REFUSED, Blame.PEER, None, None, "The server answered the opening handshake with another status than 101."),
    ReasonRow(EndReason.BAD_RESPONSE, Blame.PEER, None, None, "The server's answer to the opening handshake was malformed, or agreed to what was not asked."),
)  # fmt: skip

_FOR_CODE = {
    1002: EndReason.PROTOCOL_ERROR,
    1007: EndReason.INVALID_PAYLOAD,
    1008: EndReason.POLICY_VIOLATION,
    1009: EndReason.MESSAGE_TOO_BIG,
    1011: EndReason.INTERNAL_ERROR,
}

_FOR_STATUS = {
    200: EndReason.PAGE_SERVED,
    400: EndReason.BAD_REQUEST,
    404: EndReason.NOT_FOUND,
    405: EndReason.BAD_REQUEST,
    408: EndReason.HANDSHAKE_TIMEOUT,
    421: EndReason.HOST_DENIED,
    426: EndReason.UPGRADE_REQUIRED,
    429: EndReason.ADDRESS_LIMIT,
    431: EndReason.HEAD_TOO_LARGE,
    500: EndReason.INTERNAL_ERROR,
    503: EndReason.UNAVAILABLE,
    505: EndReason.BAD_REQUEST,
}


def reason_for_code(code: int) -> EndReason:
    """The reason of an end in which wsecho failed the connection with ``code`` (RFC 6455 section 7.1.7)."""
    return _FOR_CODE.get(code, EndReason.SERVER_CLOSE)


def reason_for_status(status: int) -> EndReason:
    """The reason of an end in which wsecho answered the opening handshake with the HTTP ``status``."""
    return _FOR_STATUS.get(status, EndReason.DENIED)


@dataclass(frozen=True, slots=True)
class End:
    """How a connection ended.

    :param reason: the one reason
    :param code: the close code on the wire, ours or the peer's; None when there was none
    :param status: the HTTP status that was answered instead of 101; None when there was none
    """

    reason: EndReason
    code: int | None = None
    status: int | None = None
