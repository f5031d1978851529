"""The subprotocol ``wsecho.v1.json``: every type of envelope, once, and how a client's are read.

Rules of this file: the page about the protocol comes from the tables, and so do both clients' and the
server's names. Envelopes are JSON objects in text messages. Each side reads the other's strictly, since what
two readers could understand differently is refused; what is wrong is a line without a byte of it. Types and
members that are not known are passed over, in both directions, so that later versions may add some.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NoReturn, TypeAlias
from urllib.parse import parse_qsl

__all__ = [
    "ENVELOPES",
    "ERRORS",
    "LONGEST_ID",
    "SHORTEST_ID",
    "SUBPROTOCOL",
    "BadRequest",
    "Direction",
    "EnvelopeType",
    "ErrorCode",
    "Field",
    "NoEnvelope",
    "Ping",
    "PresenceQuery",
    "Publish",
    "Request",
    "content",
    "is_message_id",
    "place",
    "read_from_server",
    "read_request",
    "read_resume",
    "write",
]

SUBPROTOCOL: Final = "wsecho.v1.json"

SHORTEST_ID, LONGEST_ID = 16, 64
"""Characters of a message's id: too many to be a client's own count, which other clients have as well."""

_ID = re.compile(rf"[A-Za-z0-9_-]{{{SHORTEST_ID},{LONGEST_ID}}}")
_EPOCH = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OFFSET = re.compile(r"[0-9]{1,15}")
_MOST = 10**15 - 1


class Direction(StrEnum):
    """Who sends an envelope."""

    SERVER = "server"
    CLIENT = "client"


class ErrorCode(StrEnum):
    """What is wrong, for programs."""

    UNKNOWN_TYPE = "unknown-type"
    BAD_FIELD = "bad-field"
    TOO_LARGE = "too-large"
    ENGINE_AWAY = "engine-away"
    ENGINE_FAILED = "engine-failed"


ERRORS: Final = {
    ErrorCode.UNKNOWN_TYPE: "the type is none that a client sends",
    ErrorCode.BAD_FIELD: "a member is missing, or is not what it has to be; the line names it",
    ErrorCode.TOO_LARGE: "the message is larger than the engine takes",
    ErrorCode.ENGINE_AWAY: (
        "the engine cannot be reached: the message may be stored or not; send it again, with the same id"
    ),
    ErrorCode.ENGINE_FAILED: "the engine could not say that it has stored the message; likewise",
}
"""The codes of ``error``."""


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an envelope."""

    name: str
    kind: str
    meaning: str
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class EnvelopeType:
    """A row of the table."""

    name: str
    direction: Direction
    meaning: str
    fields: tuple[Field, ...] = ()


_EPOCH_FIELD = Field(
    "epoch", "text or null", "the channel's numbering; null on a channel that keeps no history"
)
_OFFSET_FIELD = Field("offset", "number or null", "the place in it; null likewise")
_TEXT = Field("text", "text", "the message, when it is text; else it is missing", is_optional=True)
_BINARY = Field(
    "binary",
    "text",
    "the message in base64 (RFC 4648 section 4, with padding), when it is binary; else it is missing",
    is_optional=True,
)
_MEMBER = Field("member", "text", "the id of the connection, as in `sender`")
_COUNT = Field("count", "number", "connections on the channel, over all processes")
_ID_FIELD = Field(
    "id",
    "text",
    f"the client's name for the message, {SHORTEST_ID} to {LONGEST_ID} of A-Z a-z 0-9 _ -, such as a UUID: "
    "one that no other client uses",
)
_S, _C = Direction.SERVER, Direction.CLIENT

ENVELOPES: Final = (
    EnvelopeType(
        "welcome",
        _S,
        "The first envelope. The next message has the offset that follows.",
        (
            Field("id", "text", "of this connection: what others see as `sender`"),
            _EPOCH_FIELD,
            _OFFSET_FIELD,
            Field(
                "recovered",
                "true, false or null",
                "whether everything after the position that was asked for follows; false when something "
                "is gone: "
                "what is left follows. null when nothing was asked for",
            ),
            Field("replayed", "number", "how many of the messages that follow come from the history"),
            Field(
                "presence",
                "number or null",
                "connections on the channel, this one included; null: comes later",
            ),
        ),
    ),
    EnvelopeType(
        "message",
        _S,
        "A message of the channel, of one's own, too.",
        (
            _EPOCH_FIELD,
            _OFFSET_FIELD,
            Field("sender", "text", "the id of the connection that sent it; empty for the server"),
            _TEXT,
            _BINARY,
        ),
    ),
    EnvelopeType("join", _S, "Somebody came. Under load, `presence` comes instead.", (_MEMBER, _COUNT)),
    EnvelopeType("leave", _S, "Somebody left; likewise.", (_MEMBER, _COUNT)),
    EnvelopeType(
        "presence", _S, "How many there are: an answer, or the sum of many comings and goings.", (_COUNT,)
    ),
    EnvelopeType(
        "gap",
        _S,
        "Something may be missing before the next message, and the server cannot fill it.",
        (
            _EPOCH_FIELD,
            Field("offset", "number or null", "the one before the next message's; null: not known"),
        ),
    ),
    EnvelopeType(
        "dropped",
        _S,
        "Messages were dropped, because this client did not read: see the option slow-consumer.",
        (Field("count", "number", "since this was told last"),),
    ),
    EnvelopeType(
        "ack",
        _S,
        "A message of this client is stored, and has this place; for the same id again, that of the first.",
        (Field("id", "text", "of the message"), _EPOCH_FIELD, _OFFSET_FIELD),
    ),
    EnvelopeType(
        "error",
        _S,
        "Something was not done.",
        (
            Field("id", "text or null", "of the message; null when it is about none, or its id is wrong"),
            Field("code", "text", "one of the codes below"),
            Field("line", "text", "for people"),
        ),
    ),
    EnvelopeType(
        "engine",
        _S,
        "What connects the processes cannot be reached, or can again. After `up` comes a `gap` where it "
        "could not "
        "be closed.",
        (Field("state", "text", "`away` or `up`"),),
    ),
    EnvelopeType("pong", _S, "The answer to `ping`."),
    EnvelopeType(
        "publish",
        _C,
        "Send a message to the channel. Answered once, by `ack` or `error`.",
        (_ID_FIELD, _TEXT, _BINARY),
    ),
    EnvelopeType("presence", _C, "Ask how many there are."),
    EnvelopeType("ping", _C, "Ask whether the server is there: browsers cannot send pings of WebSocket."),
)


_OF_SERVER: Final = {row.name: row for row in ENVELOPES if row.direction is Direction.SERVER}


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, which JSON can name: it could be neither printed nor sent on.
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


_KINDS: Final[Mapping[str, Callable[[object], bool]]] = {
    "text": _is_text,
    "text or null": lambda value: value is None or _is_text(value),
    "number": _is_number,
    "number or null": lambda value: value is None or _is_number(value),
    "true, false or null": lambda value: value is None or isinstance(value, bool),
}
"""What the kinds of the table's fields are. Numbers count something: they are whole, and not negative."""


class NoEnvelope(ValueError):
    """A message is no envelope at all; one line. Its connection ends."""


class BadRequest(ValueError):
    """A client's envelope is wrong; one line.

    :ivar code: what is wrong
    :ivar message_id: of the message that it is about; None where there is none
    """

    def __init__(self, code: ErrorCode, line: str, message_id: str | None = None) -> None:
        super().__init__(line)
        self.code = code
        self.message_id = message_id


@dataclass(frozen=True, slots=True)
class Publish:
    """Send a message."""

    message_id: str
    payload: bytes
    is_binary: bool


@dataclass(frozen=True, slots=True)
class PresenceQuery:
    """Ask how many there are."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask whether the server is there."""


Request: TypeAlias = Publish | PresenceQuery | Ping


def is_message_id(text: object) -> bool:
    """Whether this may be the id of a message."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member is there twice")
    return found


_decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def _read(payload: bytes) -> dict[str, Any]:
    try:
        found = _decoder.decode(payload.decode())
    except (ValueError, RecursionError):
        # The exception quotes the peer.
        raise NoEnvelope("a message that is no JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("type"), str):
        raise NoEnvelope("a message that is no JSON object with a type")
    return found


def read_request(payload: bytes) -> Request:
    """Read what a client sent.

    :param payload: of a text message
    :raises NoEnvelope: for what is no JSON object with a type
    :raises BadRequest: for one that asks for nothing that there is
    """
    found = _read(payload)
    match found["type"]:
        case "publish":
            return _read_publish(found)
        case "presence":
            return PresenceQuery()
        case "ping":
            return Ping()
    given = found.get("id")
    raise BadRequest(
        ErrorCode.UNKNOWN_TYPE,
        "type: none that a client sends; there are publish, presence and ping",
        given if is_message_id(given) else None,
    )


def _read_publish(found: dict[str, Any]) -> Publish:
    message_id = found.get("id")
    if not is_message_id(message_id):
        raise BadRequest(
            ErrorCode.BAD_FIELD, f"id: not {SHORTEST_ID} to {LONGEST_ID} of A-Z a-z 0-9 _ -: take a UUID"
        )
    assert isinstance(message_id, str)

    def bad(line: str) -> BadRequest:
        return BadRequest(ErrorCode.BAD_FIELD, line, message_id)

    try:
        payload, is_binary = content(found)
    except ValueError as error:
        raise bad(str(error)) from None
    return Publish(message_id, payload, is_binary)


def read_from_server(payload: bytes) -> dict[str, Any]:
    """Read what a server sent.

    :param payload: of a text message
    :returns: the envelope; when its type is in the table, so is what it has
    :raises NoEnvelope: for what is no JSON object with a type, and for one that the table says is otherwise
    """
    found = _read(payload)
    row = _OF_SERVER.get(found["type"])
    if row is None:
        return found
    for field in row.fields:
        if field.name in found:
            if not _KINDS[field.kind](found[field.name]):
                raise NoEnvelope(f"{field.name} of {row.name}: not {field.kind}")
        elif not field.is_optional:
            raise NoEnvelope(f"{field.name} of {row.name}: missing")
    try:
        if _EPOCH_FIELD in row.fields:
            named = place(found)
            # Only a gap may be in an epoch, and at a place that is not known.
            if named is None and found["epoch"] is not None and _OFFSET_FIELD in row.fields:
                raise ValueError("epoch: there is no offset")
        if _TEXT in row.fields:
            content(found)
    except ValueError as error:
        raise NoEnvelope(str(error)) from None
    return found


def place(envelope: dict[str, Any]) -> tuple[str, int] | None:
    """The position in an envelope of a server, as `read_resume` takes it; None when it names none.

    :raises ValueError: one line, for one that could not be asked for again
    """
    epoch, offset = envelope["epoch"], envelope["offset"]
    if epoch is None and offset is not None:
        raise ValueError("offset: there is no epoch")
    if epoch is not None and _EPOCH.fullmatch(epoch) is None:
        raise ValueError("epoch: not 1 to 64 of A-Z a-z 0-9 _ -")
    return None if offset is None else (epoch, offset)


def content(envelope: dict[str, Any]) -> tuple[bytes, bool]:
    """The message in an envelope, and whether it is binary.

    :raises ValueError: one line, for what is neither text nor base64, and for both
    """
    if ("text" in envelope) == ("binary" in envelope):
        raise ValueError("text, binary: there has to be one of them")
    if "text" in envelope:
        text = envelope["text"]
        if not isinstance(text, str):
            raise ValueError("text: not a text")
        try:
            return text.encode(), False
        except UnicodeEncodeError:
            raise ValueError("text: has half of a surrogate pair") from None
    encoded = envelope["binary"]
    if not isinstance(encoded, str):
        raise ValueError("binary: not a text")
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    # More padding than there has to be is refused by Python from 3.13 on only.
    if len(encoded) != (len(decoded) + 2) // 3 * 4:
        raise ValueError("binary: not base64 with padding")
    return decoded, True


def read_resume(query: str) -> tuple[str, int] | None:
    """The position after which a client wants to go on, from the query of its URL; None when it names none.

    :raises ValueError: one line, for what is no position
    """
    given = [(name, value) for name, value in parse_qsl(query, True) if name in ("epoch", "since")]
    if not given:
        return None
    found = dict(given)
    if len(given) != len(found) or len(found) != 2:
        raise ValueError("epoch and since: each once, or none")
    if _EPOCH.fullmatch(found["epoch"]) is None:
        raise ValueError("epoch: not 1 to 64 of A-Z a-z 0-9 _ -")
    if _OFFSET.fullmatch(found["since"]) is None:
        raise ValueError("since: not a whole number of at most 15 digits")
    return found["epoch"], int(found["since"])


def write(kind: str, /, **members: object) -> bytes:
    """An envelope.

    :param members: values that JSON knows
    """
    return _encoder.encode({"type": kind, **members}).encode()
