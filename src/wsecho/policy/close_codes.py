"""Close codes: what each means, which may be on the wire, and when wsecho sends it.

The table is the only place for these facts; the documentation's table is made from it. Its names are those of
the IANA registry "WebSocket Close Code Number Registry", its rules those of RFC 6455 7.4.

A code may be received if Autobahn takes it (a test holds both to each other), since Autobahn answers the
Close frame. The Autobahn suite demands that 1000 to 1003, 1007 to 1011 and 3000 to 4999 are taken (cases
7.7.*) and that 0, 999, 1004 to 1006, 1016, 1100, 2000 and 2999 are not (7.9.*); about 1012 to 1015 and above
4999 it has no verdict.
"""

from dataclasses import dataclass
from enum import Enum

__all__ = [
    "CLOSE_CODES",
    "LONGEST_REASON",
    "CloseCodeRow",
    "Sender",
    "cut_reason",
    "may_be_received",
    "may_be_sent",
]

#: Most bytes of UTF-8 in a reason: a control frame holds 125, the code takes two (RFC 6455 5.5, 5.5.1).
LONGEST_REASON = 123


class Sender(Enum):
    """Who may begin the closing handshake with a code; an answer repeats the code that came."""

    EITHER = "server or client"
    CLIENT = "client"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class CloseCodeRow:
    """One row: a code, or a range of codes with the same rules."""

    #: First and last code of the row, equal but for ranges.
    first: int
    last: int
    #: The registry's name.
    name: str
    #: What it tells the one who receives it.
    meaning: str
    #: Who may begin to close with it. What nobody may send makes a Close frame a protocol error (1002).
    sender: Sender
    #: When wsecho sends it of itself; empty if never.
    sent: str = ""


#: Every code that has a meaning, in ascending order. What is not here (0 to 999, 1016 to 2999, 5000 and
#: above) may be neither received nor sent.
CLOSE_CODES = (
    CloseCodeRow(
        1000,
        1000,
        "Normal Closure",
        "the connection has done what it was opened for",
        Sender.EITHER,
        sent="the program closes the connection and gives no other code",
    ),
    CloseCodeRow(
        1001,
        1001,
        "Going Away",
        "a server stops, or a page is left",
        Sender.EITHER,
        sent=(
            "the server stops; or no pong came within --ping-timeout; or nothing came for --stall-timeout "
            "inside a message"
        ),
    ),
    CloseCodeRow(
        1002,
        1002,
        "Protocol error",
        "the other side broke RFC 6455",
        Sender.EITHER,
        sent="a frame that RFC 6455 forbids",
    ),
    CloseCodeRow(
        1003,
        1003,
        "Unsupported Data",
        "a message of a type (text or binary) that the receiver does not take",
        Sender.EITHER,
    ),
    CloseCodeRow(
        1004,
        1004,
        "Reserved",
        "nothing: a meaning may be given to it one day",
        Sender.NOBODY,
    ),
    CloseCodeRow(
        1005,
        1005,
        "No Status Rcvd",
        "for programs only: the Close frame held no code",
        Sender.NOBODY,
    ),
    CloseCodeRow(
        1006,
        1006,
        "Abnormal Closure",
        "for programs only: the connection ended without a Close frame",
        Sender.NOBODY,
    ),
    CloseCodeRow(
        1007,
        1007,
        "Invalid frame payload data",
        "content that does not fit its type",
        Sender.EITHER,
        sent=(
            "a text message or a close reason that is not UTF-8; with wsecho.v1.json, a message that is no "
            "envelope"
        ),
    ),
    CloseCodeRow(
        1008,
        1008,
        "Policy Violation",
        "a rule of the receiver's own was broken, and no other code fits",
        Sender.EITHER,
        sent=(
            "more than --max-fragments or --max-message-rate; the reason names the option; with "
            "wsecho.v1.json, a position in the URL that is none"
        ),
    ),
    CloseCodeRow(
        1009,
        1009,
        "Message Too Big",
        "a message larger than the receiver takes",
        Sender.EITHER,
        sent="more than --max-message-size or --max-frame-size; the reason names the option",
    ),
    CloseCodeRow(
        # "not used by the server, because it can fail the WebSocket handshake instead" (RFC 6455 7.4.1)
        1010,
        1010,
        "Mandatory Ext.",
        "a client needs an extension that the server did not accept",
        Sender.CLIENT,
    ),
    CloseCodeRow(
        1011,
        1011,
        "Internal Error",
        "the sender failed in a way it did not foresee",
        Sender.EITHER,
        sent="a service raised an exception while it handled the connection",
    ),
    CloseCodeRow(
        1012,
        1012,
        "Service Restart",
        "the service restarts; a client may come back after some seconds, at random",
        Sender.EITHER,
        sent="the link to the engine broke, and messages of the channel may be missing",
    ),
    CloseCodeRow(
        1013,
        1013,
        "Try Again Later",
        "the service is overloaded; a client should use another address or wait for its user",
        Sender.EITHER,
        sent=(
            "the client does not read, and --send-queue is full; or it published, or asked for history, "
            "and the engine was away"
        ),
    ),
    CloseCodeRow(
        # Registered, but Autobahn takes it for invalid, and a gateway's code has no sense from a client.
        1014,
        1014,
        "Bad Gateway",
        "a gateway got a wrong answer from the server behind it",
        Sender.NOBODY,
    ),
    CloseCodeRow(
        1015,
        1015,
        "TLS handshake",
        "for programs only: there was no connection, because TLS failed",
        Sender.NOBODY,
    ),
    CloseCodeRow(
        3000,
        3999,
        "Registered",
        "what a library or framework has registered with IANA",
        Sender.EITHER,
    ),
    CloseCodeRow(
        4000,
        4999,
        "Private Use",
        "what the program on both sides has agreed on",
        Sender.EITHER,
    ),
)

_RECEIVABLE = frozenset(
    code for row in CLOSE_CODES if row.sender is not Sender.NOBODY for code in range(row.first, row.last + 1)
)
_SENDABLE = frozenset(
    code for row in CLOSE_CODES if row.sender is Sender.EITHER for code in range(row.first, row.last + 1)
)


def may_be_received(code: int) -> bool:
    """Tell whether a Close frame of a peer may hold this code."""
    return code in _RECEIVABLE


def may_be_sent(code: int) -> bool:
    """Tell whether a server may begin the closing handshake with this code."""
    return code in _SENDABLE


def cut_reason(text: str) -> bytes:
    """Return a close reason as UTF-8, cut to `LONGEST_REASON` bytes but never inside a character.

    A lone surrogate, which has no UTF-8, becomes a question mark: a reason is for people, and no cause to
    fail.
    """
    data = text[:LONGEST_REASON].encode("utf-8", "replace")
    # What the cut leaves of a character is the only thing here that does not decode.
    return data[:LONGEST_REASON].decode("utf-8", "ignore").encode()
