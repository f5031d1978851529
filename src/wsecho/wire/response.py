"""The answer to a client's request is checked here, before Autobahn is told of it.

Rules of this file: it decides by bytes alone whether an answer is well formed (RFC 9112) and agrees to what
was asked (RFC 6455 section 4.1). It knows no transport. What comes from the server is hostile until it is
checked: a head has a limit, a number of lines and a length of each, and what Autobahn gets to read is written
anew from checked values, because it would split a value at NEL and take folded and malformed lines.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wsecho.policy.text import escape_peer_text
from wsecho.wire.admission import HeadBuffer, HeadRefused, parse_fields

__all__ = ["Agreement", "BadResponse", "ResponseHead", "ResponseReader", "accept_value", "check_response"]

_STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
# The response side of RFC 7692 section 7.1: these parameters and no other, sizes without leading zeros.
_BITS = r"(?:[89]|1[0-5])"
_PARAMETER = rf'(?:server|client)_(?:no_context_takeover|max_window_bits=(?:{_BITS}|"{_BITS}"))'
_DEFLATE = re.compile(rf"permessage-deflate(?:[ \t]*;[ \t]*{_PARAMETER})*", re.IGNORECASE | re.ASCII)
# RFC 6455 sections 11.3.2 to 11.3.4 for a response, and what says where a message ends.
_ONCE = frozenset(
    {
        "content-length",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "transfer-encoding",
    }
)
_MOST_INTERIM = 8


class BadResponse(Exception):
    """What came is no answer that can be taken; the text is one line, the peer's bytes in it escaped."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response head that is well formed.

    :ivar version: ``"1.0"`` or ``"1.1"``
    :ivar status: three digits
    :ivar phrase: the reason phrase, escaped; for people only
    :ivar headers: by lower-case name; several fields of one name are joined by ``", "``. ISO 8859-1
    """

    version: str
    status: int
    phrase: str
    headers: Mapping[str, str]

    @property
    def shown(self) -> str:
        """Status and phrase in one line."""
        return f"{self.status} {self.phrase}".rstrip()


class ResponseReader:
    """Collects bytes until the head of a final answer is complete. Interim answers (100, 103) are passed over
    (RFC 9110 section 15.2).

    :param max_size: bytes that a head may have, its closing empty line included
    :param max_line: bytes that one line may have, without its end
    :param max_lines: header lines that a head may have
    """

    __slots__ = ("_buffer", "_interim", "_max_line", "_max_lines", "_max_size")

    def __init__(self, *, max_size: int, max_line: int, max_lines: int) -> None:
        self._buffer = HeadBuffer(max_size)
        self._max_size = max_size
        self._max_line = max_line
        self._max_lines = max_lines
        self._interim = 0

    def feed(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """Take ``data``; the head of the final answer and what follows it, or None while it is incomplete.

        :raises BadResponse: when it is malformed or beyond a limit
        """
        # Whatever answers is not HTTP: say so now and not when the time is over.
        if not len(self._buffer) and not b"HTTP/".startswith(data[:5]):
            raise BadResponse(f"the answer is not HTTP, it begins {_quoted(data[:32])}")
        try:
            complete = self._buffer.feed(data)
        except HeadRefused:
            raise BadResponse(f"the head of the answer is larger than {self._max_size} bytes") from None
        if complete is None:
            return None
        head = self._parse(complete[0])
        if head.status >= 200 or head.status == 101:
            return head, complete[1]
        self._interim += 1
        if self._interim > _MOST_INTERIM:
            raise BadResponse(f"more than {_MOST_INTERIM} interim answers")
        return self.feed(complete[1]) if complete[1] else None

    def _parse(self, head: bytes) -> ResponseHead:
        lines = head[:-4].split(b"\r\n")
        if len(lines) - 1 > self._max_lines:
            raise BadResponse(f"the head of the answer has more than {self._max_lines} lines")
        if max(map(len, lines)) > self._max_line:
            raise BadResponse(f"a line of the answer is longer than {self._max_line} bytes")
        status = _STATUS_LINE.fullmatch(lines[0])
        if status is None:
            raise BadResponse(f"malformed status line {_quoted(lines[0])}")
        try:
            headers = parse_fields(lines[1:], _ONCE)
        except HeadRefused as refused:
            raise BadResponse(f"{refused.detail} in the answer") from None
        phrase = escape_peer_text((status[3] or b"").strip(b" \t"), 64)
        return ResponseHead(status[1].decode("ascii"), int(status[2]), phrase, MappingProxyType(headers))


@dataclass(frozen=True, slots=True)
class Agreement:
    """What an accepted handshake agreed on.

    :ivar accept: the ``Sec-WebSocket-Accept`` that was expected and came
    :ivar subprotocol: None when there is none
    :ivar extensions: the ``Sec-WebSocket-Extensions`` header; empty when there are none
    """

    accept: str
    subprotocol: str | None
    extensions: str

    def render(self) -> bytes:
        """The same answer, written anew: what Autobahn's parser gets to read."""
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {self.accept}",
        ]
        if self.subprotocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {self.subprotocol}")
        if self.extensions:
            lines.append(f"Sec-WebSocket-Extensions: {self.extensions}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")


def accept_value(key: str) -> str:
    """The ``Sec-WebSocket-Accept`` that answers a ``Sec-WebSocket-Key``."""
    return base64.b64encode(hashlib.sha1(key.encode("ascii") + _GUID).digest()).decode("ascii")


def check_response(
    head: ResponseHead, *, key: str, offered: Collection[str], offers_compression: bool
) -> Agreement:
    """Check a 101 answer (RFC 6455 section 4.1, the client's requirements).

    :param key: the ``Sec-WebSocket-Key`` that was sent
    :param offered: the subprotocols that were offered
    :param offers_compression: whether permessage-deflate was offered
    :raises BadResponse: when it answers another request, or agrees to what was not asked
    """
    headers = head.headers
    if head.version != "1.1":
        raise BadResponse("the answer switches protocols in HTTP/1.0")
    if headers.get("upgrade", "").lower() != "websocket":
        raise BadResponse("the Upgrade header of the answer is not websocket")
    if "upgrade" not in (part.strip(" \t").lower() for part in headers.get("connection", "").split(",")):
        raise BadResponse("the Connection header of the answer does not name Upgrade")
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        # What follows the head is frames to us and a body to a proxy between.
        raise BadResponse("the answer switches protocols and announces a body")
    accept = accept_value(key)
    if headers.get("sec-websocket-accept") != accept:
        raise BadResponse("no Sec-WebSocket-Accept header, or one that does not answer our key")
    subprotocol = headers.get("sec-websocket-protocol")
    if subprotocol is not None and subprotocol not in offered:
        raise BadResponse(
            f'the server chose a subprotocol not offered, "{escape_peer_text(subprotocol, 64)}"'
        )
    extensions = headers.get("sec-websocket-extensions", "")
    if extensions and not (offers_compression and _DEFLATE.fullmatch(extensions)):
        raise BadResponse(f"the server chose the extension {_quoted(extensions)}, which was not offered")
    return Agreement(accept, subprotocol, extensions)


def _quoted(value: str | bytes) -> str:
    return f'"{escape_peer_text(value, 64)}"'
