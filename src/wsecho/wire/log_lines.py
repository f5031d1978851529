"""The lines that a connection logs: one when it opens, one when it ends, with ``debug`` one for each message.

Rules of this file: the fields are those of ``wsecho.policy.log_keys``, by name; the text says the same. Text
of the peer is escaped. The event is Twisted's, for every observer; but it is put together here, since
``Logger.info`` and the formatting of text by its observers take ten times as long as the rest of a line, and
a handshake is little more than that.
"""

from __future__ import annotations

from time import time
from typing import Any

from twisted.logger import Logger, LogLevel

from wsecho.policy.text import escape_peer_text

__all__ = ["log_end", "log_message", "log_open"]

_log = Logger("wsecho")


def _tell(line: str, event: dict[str, Any]) -> None:
    # What Logger.emit adds.
    event["log_logger"] = _log
    event["log_level"] = LogLevel.info
    event["log_namespace"] = "wsecho"
    event["log_source"] = None
    event["log_format"] = "{line}"
    event["log_time"] = time()
    event["line"] = line
    _log.observer(event)


def log_open(connection: Any) -> None:
    """Log that a connection has opened."""
    number, peer = connection.id, connection.peer
    path, origin = connection._described_path, connection._described_origin
    subprotocol = connection.websocket_protocol_in_use
    if subprotocol is not None:
        subprotocol = escape_peer_text(subprotocol) or None
    _tell(
        f'{number} open: peer={peer} path="{path}" '
        f'origin="{origin or "-"}" subprotocol="{subprotocol or "-"}"',
        {
            "event": "open",
            "id": number,
            "peer": peer,
            "path": path,
            "origin": origin,
            "subprotocol": subprotocol,
        },
    )


def log_end(connection: Any, now: float) -> None:
    """Log how a connection has ended.

    :param now: the factory's clock
    """
    number, peer, end = connection.id, connection.peer, connection.end
    path, origin = connection._described_path, connection._described_origin
    stats = connection.trafficStats
    opened_at = connection._opened_at
    was_open = opened_at is not None
    # Not ".value", which an enumeration computes by a call.
    reason, code, status = end.reason._value_, end.code, end.status
    ended = "clean" if connection.closed_cleanly else "cut"
    seconds = now - (opened_at if was_open else connection._started_at)
    received, received_bytes = stats.incomingWebSocketMessages, stats.incomingOctetsAppLevel
    sent, sent_bytes = stats.outgoingWebSocketMessages, stats.outgoingOctetsAppLevel
    dropped = connection.link.outbox.dropped
    close_reason = connection.remoteCloseReason
    if close_reason is not None:
        close_reason = escape_peer_text(close_reason) or None
    _tell(
        f"{number} {'closed' if was_open else 'not opened'}: reason={reason} "
        f"code={code or '-'} status={status or '-'} ended={ended} "
        f'peer={peer} path="{path or "-"}" origin="{origin or "-"}" '
        f"seconds={seconds:.3f} received={received}/{received_bytes} sent={sent}/{sent_bytes} "
        f'dropped={dropped} close_reason="{close_reason or "-"}"',
        {
            "event": "closed" if was_open else "not-opened",
            "id": number,
            "reason": reason,
            "code": code,
            "status": status,
            "ended": ended,
            "peer": peer,
            "path": path,
            "origin": origin,
            "seconds": round(seconds, 6),
            "received": received,
            "received_bytes": received_bytes,
            "sent": sent,
            "sent_bytes": sent_bytes,
            "dropped": dropped,
            "close_reason": close_reason,
        },
    )


def log_message(connection: Any, direction: str, payload: bytes, is_binary: bool) -> None:
    """Log a message, shortened.

    :param direction: ``"received"`` or ``"sent"``
    """
    number, shown = connection.id, escape_peer_text(payload)
    kind, size = "binary" if is_binary else "text", len(payload)
    _tell(
        f'{number} {direction} {kind} {size}: "{shown}"',
        {
            "event": "message",
            "id": number,
            "direction": direction,
            "type": kind,
            "size": size,
            "payload": shown,
        },
    )
