"""What must hold for any messages of the subprotocol ``wsecho.v1.json``, at both of its ends.

The first byte chooses the end (bit 0: a client's messages to a server, or a server's to a client), whether
the channel keeps a history (bit 1), and whether the server has said welcome (bit 2). The rest is one message
a line: binary when it begins with NUL; to a server, a first line that begins with ``?`` is the query of the
client's URL.

What an envelope looks like is read off the documented table, and judged here, not by the code under test.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from tests.services.enveloping import PROTOCOL, message_id
from tests.wire.harness import BINARY, CLOSE, TEXT, Frame, Peer, frame
from tests.wire.streams import nothing_fails
from wsecho.envelope import Backoff, EnvelopeClient, Gap, NotPublished, ReceivedMessage, Welcome
from wsecho.hub.engine import Position, Retention
from wsecho.hub.memory import MemoryEngine
from wsecho.policy.envelopes import (
    ENVELOPES,
    SUBPROTOCOL,
    BadRequest,
    Direction,
    ErrorCode,
    NoEnvelope,
    Ping,
    PresenceQuery,
    Publish,
    Request,
    read_request,
    read_resume,
    write,
)
from wsecho.policy.settings import Settings
from wsecho.services.broadcast import BroadcastServerFactory, BroadcastService

__all__ = ["envelopes"]

_OF_SERVER = {row.name: row for row in ENVELOPES if row.direction is Direction.SERVER}
_EPOCH = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_OFFSETS = range(10**15)


def envelopes(data: bytes) -> None:
    """Messages to a server: each is done, refused by one ``error``, or ends the connection, as documented,
    and what is published arrives. Messages to a client: each is taken or ends the connection, and the client
    comes back."""
    if not data:
        return
    flags, lines = data[0], data[1:].split(b"\n")
    messages = [(line[1:], True) if line.startswith(b"\0") else (line, False) for line in lines]
    if flags & 1:
        _to_client(messages, has_history=bool(flags & 2), is_welcome=bool(flags & 4))
    else:
        query = messages.pop(0)[0][1:] if lines[0].startswith(b"?") else b""
        _to_server(messages, query, has_history=bool(flags & 2))


# -- what an envelope is ---------------------------------------------------------------------------------


def _is_text(value: object) -> bool:
    # Half of a surrogate pair is no text: it can neither be sent on nor printed.
    return isinstance(value, str) and not any("\ud800" <= one <= "\udfff" for one in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in _OFFSETS


_KINDS: Mapping[str, Callable[[object], bool]] = {
    "text": _is_text,
    "text or null": lambda value: value is None or _is_text(value),
    "number": _is_number,
    "number or null": lambda value: value is None or _is_number(value),
    "true, false or null": lambda value: value is None or isinstance(value, bool),
}


def _is_of_server(found: Any) -> bool:
    """Whether this is an envelope of the table; members that the table does not have are no matter."""
    row = _OF_SERVER[found["type"]]
    for field in row.fields:
        if field.name in found:
            if not _KINDS[field.kind](found[field.name]):
                return False
        elif not field.is_optional:
            return False
    if row.name == "message":
        if ("text" in found) == ("binary" in found):
            return False
        if "binary" in found and _BASE64.fullmatch(found["binary"]) is None:
            return False
    if "epoch" not in {field.name for field in row.fields}:
        return True
    epoch, offset = found["epoch"], found["offset"]
    if epoch is not None and _EPOCH.fullmatch(epoch) is None:
        return False
    return (epoch is None) == (offset is None) or (row.name == "gap" and offset is None)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a member is there twice")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse(payload: bytes) -> dict[str, Any] | None:
    """The object with a type that strict JSON reads in it; None when there is none."""
    try:
        found = json.loads(payload.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("type"), str) else None


# -- to a server -----------------------------------------------------------------------------------------


class _Channel:
    """A server with a channel, somebody on it who speaks envelopes, and somebody who does not."""

    def __init__(self, query: bytes, has_history: bool) -> None:
        self.clock = Clock()
        engine = MemoryEngine(lambda _: Retention(100 if has_history else 0), self.clock)
        factory = BroadcastServerFactory(
            reactor=self.clock,
            settings=Settings(ping_interval=0),
            broadcast=BroadcastService(engine=engine, node="node"),
        )
        self.plain = Peer(factory, self.clock).open("/broadcast/c")
        path = "/broadcast/c" + ("?" + quote(query, safe="=&+;/?") if query else "")
        self.query = path.partition("?")[2]
        self.speaker = Peer(factory, self.clock).open(path, PROTOCOL)
        self._read: dict[Peer, int] = {}

    def hears(self, peer: Peer) -> list[Frame]:
        """The frames that came since this was asked last."""
        peer.work_off()
        frames, begin = peer.frames, self._read.get(peer, 0)
        self._read[peer] = len(frames)
        return frames[begin:]

    def finish(self) -> None:
        """End both connections."""
        for peer in (self.speaker, self.plain):
            peer.leave()
        self.clock.advance(0)
        assert not self.clock.getDelayedCalls(), "timers that outlive their connection"


def _to_server(messages: Sequence[tuple[bytes, bool]], query: bytes, *, has_history: bool) -> None:
    told: list[bytes] = []
    published: dict[str, Publish] = {}
    copies: list[Publish] = []
    with nothing_fails():
        channel = _Channel(query, has_history)
        if _is_let_in(channel, told, has_history):
            for payload, is_binary in messages:
                channel.speaker.send(frame(BINARY if is_binary else TEXT, payload))
                answers, copied = channel.hears(channel.speaker), channel.hears(channel.plain)
                request = _read(payload, is_binary)
                if request is None:
                    assert [_close_code(one) for one in answers] == [1007] and not copied, answers
                    break
                told += _envelopes_in(answers)
                is_new = isinstance(request, Publish) and not (
                    has_history and request.message_id in published
                )
                if isinstance(request, Publish) and is_new:
                    published[request.message_id] = request
                    copies.append(request)
                    assert copied == [Frame(BINARY if request.is_binary else TEXT, request.payload)], copied
                else:
                    assert not copied, copied
                _check_answers([json.loads(one.payload) for one in answers], request, is_new)
        channel.finish()
    _check_reading(told, copies)


def _is_let_in(channel: _Channel, told: list[bytes], has_history: bool) -> bool:
    """The answer to the opening handshake: the welcome, or 1008 for a query that is no position."""
    answers = channel.hears(channel.speaker)
    try:
        position = read_resume(channel.query)
    except ValueError as error:
        assert str(error).isprintable() and str(error).isascii(), error
        assert [_close_code(one) for one in answers] == [1008], answers
        return False
    told += _envelopes_in(answers)
    (welcome,) = [json.loads(one.payload) for one in answers]
    assert welcome["type"] == "welcome" and (welcome["epoch"] is not None) == has_history, welcome
    assert (welcome["recovered"] is None) == (position is None), welcome
    if position is not None:
        assert _EPOCH.fullmatch(position[0]) and position[1] in _OFFSETS, position
    return True


def _read(payload: bytes, is_binary: bool) -> Request | BadRequest | None:
    """What the server's parser makes of it; None when it ends the connection."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        # Ended by the wire; the parser is safe all the same.
        is_binary = True
    try:
        request = read_request(payload)
    except NoEnvelope as error:
        assert str(error).isprintable() and str(error).isascii(), error
        return None
    except BadRequest as error:
        assert str(error).isprintable() and str(error).isascii(), error
        return None if is_binary else error
    assert _parse(payload) is not None, "what is no envelope was taken for one"
    if isinstance(request, Publish):
        _check_publish(request, json.loads(text))
    return None if is_binary else request


def _check_publish(request: Publish, found: dict[str, Any]) -> None:
    assert re.fullmatch("[A-Za-z0-9_-]{16,64}", request.message_id), request
    said = _check_content(request.payload if request.is_binary else request.payload.decode(), found)
    assert read_request(write("publish", id=request.message_id, **said)) == request


def _check_content(content: str | bytes, found: dict[str, Any]) -> dict[str, str]:
    """That this is the message in an envelope; returns how it is written."""
    assert ("text" in found) != ("binary" in found), found
    if isinstance(content, str):
        assert content == found["text"], found
        return {"text": content}
    assert _BASE64.fullmatch(found["binary"]), found
    said = base64.b64encode(content).decode()
    # The last bits before the padding mean nothing.
    assert said.rstrip("=")[:-1] == found["binary"].rstrip("=")[:-1], found
    return {"binary": said}


def _check_answers(answers: list[dict[str, Any]], request: Request | BadRequest, is_new: bool) -> None:
    kinds = sorted(one["type"] for one in answers)
    match request:
        case BadRequest():
            assert kinds == ["error"], answers
            (error,) = answers
            assert (error["id"], error["code"]) == (request.message_id, request.code), error
            assert error["line"] == str(request) and error["code"] in list(ErrorCode), error
        case Publish():
            assert kinds == (["ack", "message"] if is_new else ["ack"]), answers
            assert {one["id"] for one in answers if one["type"] == "ack"} == {request.message_id}, answers
        case PresenceQuery():
            assert kinds == ["presence"] and answers[0]["count"] == 2, answers
        case Ping():
            assert kinds == ["pong"], answers


def _close_code(one: Frame) -> int | None:
    return int.from_bytes(one.payload[:2], "big") if one.opcode == CLOSE else None


def _envelopes_in(frames: Sequence[Frame]) -> Iterator[bytes]:
    """Their payloads, each an envelope of the table, in the one form that it has."""
    for one in frames:
        assert one.opcode == TEXT, one
        found = _parse(one.payload)
        assert found is not None and _is_of_server(found), one
        assert write(found.pop("type"), **found) == one.payload, one
        yield one.payload


def _check_reading(told: Sequence[bytes], copies: Sequence[Publish]) -> None:
    """A client that is told this is content, and hands out what was published, as it was."""
    with nothing_fails():
        client = _Client(with_own=True)
        for payload in told:
            client.connection.service.message_arrived(client.connection, payload, False)
        assert client.connection.closed_with is None, client.connection.closed_with
        received = [one.content for one in client.told if isinstance(one, ReceivedMessage)]
        wanted = [one.payload if one.is_binary else one.payload.decode() for one in copies]
        assert received == wanted, f"{received}, and not {wanted}"
        client.finish()


# -- to a client -----------------------------------------------------------------------------------------


class _Connection:
    """A connection that a client made; it notes how the client ended it."""

    websocket_protocol_in_use = SUBPROTOCOL
    end = remoteCloseCode = remoteCloseReason = None

    def __init__(self, service: Any) -> None:
        self.service = service
        self.closed_with: int | None = None
        self.is_closed: Deferred[None] = Deferred()

    def sendMessage(self, payload: bytes, is_binary: bool) -> None:
        assert self.closed_with is None and not is_binary
        read_request(payload)

    def sendClose(self, code: int, reason: str = "") -> None:
        assert self.closed_with is None, "closed twice"
        self.closed_with = code


class _Client:
    """A client, connected, that has a message to publish.

    :ivar told: what it handed out
    """

    def __init__(self, *, with_own: bool = False) -> None:
        self.clock = Clock()
        self.urls: list[str] = []
        self.told: list[Any] = []
        self.client = EnvelopeClient(
            "ws://example.com/broadcast/c",
            reactor=self.clock,
            backoff=Backoff(1.0, 8.0, lambda: 1.0),
            with_own=with_own,
            make_id=lambda: message_id(0),
            connect=self._connect,
        )
        for name in ("message_received", "opened_channel", "gap_found"):
            getattr(self.client, name).connect(self.told.append)
        for name in ("presence_changed", "dropped", "engine_changed"):
            getattr(self.client, name).connect(lambda value, name=name: self.told.append((name, value)))
        self.client.start()

    def _connect(self, reactor: Any, request: Any, *, service: Any, **others: Any) -> Deferred[Any]:
        self.urls.append(request.url)
        self.connection = _Connection(service)
        service.opened(self.connection)
        return succeed(self.connection)

    def lose(self) -> None:
        """Lose the connection."""
        self.connection.service.closed(self.connection)

    def finish(self) -> None:
        """Stop it."""
        self.client.stop()
        assert not self.clock.getDelayedCalls(), "timers that outlive their client"


def _to_client(messages: Sequence[tuple[bytes, bool]], *, has_history: bool, is_welcome: bool) -> None:
    with nothing_fails():
        client = _Client()
        published: list[Any] = []
        client.client.publish("x").addBoth(published.append)
        if is_welcome:
            position = {"epoch": "e", "offset": 0} if has_history else {"epoch": None, "offset": None}
            members = {"id": "node-1", **position, "recovered": None, "replayed": 0, "presence": 1}
            messages = [(write("welcome", **members), False), *messages]
        for payload, is_binary in messages:
            if not is_binary and not _is_utf_8(payload):
                # Ended by the wire.
                continue
            connection, before = client.connection, len(client.told)
            connection.service.message_arrived(connection, payload, is_binary)
            found = None if is_binary else _parse(payload)
            is_good = found is not None and (found["type"] not in _OF_SERVER or _is_of_server(found))
            assert connection.closed_with == (None if is_good else 1007), (connection.closed_with, payload)
            for one in client.told[before:]:
                if isinstance(one, ReceivedMessage):
                    assert found is not None
                    _check_content(one.content, found)
            if not is_good:
                break
        _check_told(client.told)
        for one in published:
            result = getattr(one, "value", one)
            assert result is None or isinstance(result, NotPublished) or _is_position(result), result
        _check_return(client)
        client.finish()


def _is_utf_8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_position(value: object) -> bool:
    return (
        isinstance(value, Position) and _EPOCH.fullmatch(value.epoch) is not None and _is_number(value.offset)
    )


def _check_told(told: Sequence[Any]) -> None:
    """What is handed out has its types, and no message comes twice."""
    for one in told:
        match one:
            case Welcome():
                assert _is_text(one.id) and one.recovered in (None, True, False), one
                assert one.presence is None or _is_number(one.presence), one
                assert one.position is None or _is_position(one.position), one
            case ReceivedMessage():
                assert isinstance(one.content, bytes) or _is_text(one.content), one
                assert _is_text(one.sender) and (one.position is None or _is_position(one.position)), one
            case Gap():
                assert one.after is None or _is_position(one.after), one
                assert one.missing is None or (_is_number(one.missing) and one.missing), one
            case "engine_changed", state:
                assert _is_text(state), one
            case _, count:
                assert _is_number(count), one


def _check_return(client: _Client) -> None:
    """Whatever it was told, it connects again, and names a position that a server takes."""
    client.lose()
    client.clock.advance(8)
    assert len(client.urls) == 2, "it does not come back"
    position, place = read_resume(urlsplit(client.urls[1]).query), client.client.position
    assert position == (None if place is None else (place.epoch, place.offset)), client.urls[1]
