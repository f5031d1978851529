"""Admission: the request head is checked here, before Autobahn is told of it.

Rules of this file: it decides by bytes alone whether a head is well formed (RFC 9110, RFC 9112) and a valid
opening handshake (RFC 6455 section 4.2.1); it does not know origins, paths or services, nor any transport.
What it refuses carries an HTTP status and a fixed sentence for the log; nothing of the request is ever part
of an answer.

Why not Autobahn's parser: it takes a head of any size, searches it from its first byte at every segment
(quadratic), splits values at VT, FF, FS, GS, RS and NEL (``str.splitlines``, CVE-2026-44546 in daphne) and so
makes headers out of values, and accepts folding, blanks before the colon, NUL, and a body that it then reads
as frames. Why not a library: h11 accepts a bare LF and folding, httptools (llhttp) reports no sizes; what is
left of either after adding the checks is longer than this file.

A proxy in front of wsecho reads the same bytes: whatever two readers could understand differently is refused,
not repaired.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from wsecho.policy.hosts import parse_host

__all__ = [
    "TOKEN",
    "HeadBuffer",
    "HeadRefused",
    "RequestHead",
    "Upgrade",
    "check_upgrade",
    "parse_fields",
    "parse_head",
]

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""A name in HTTP (RFC 9110 section 5.6.2), as a regular expression."""
_REQUEST_LINE = re.compile(rb"(" + TOKEN.encode() + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
# A name that is no token covers folding, a blank before the colon, and a line without colon as well. Behind
# the colon is field-content of RFC 9110 section 5.5: visible characters, blanks, tabs and obs-text; no other
# control character.
_FIELDS = re.compile(rb"(?:" + TOKEN.encode() + rb":[\t\x20-\x7e\x80-\xff]*(?:\r\n|\Z))*")
_PROTOCOL = re.compile(TOKEN)
_ABSOLUTE = re.compile(r"(?:https?|wss?)://([^/?]*)(.*)", re.IGNORECASE)
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

# A second one of these would let two readers choose differently.
_ONCE = frozenset(
    {
        "content-length",
        "host",
        "origin",
        "sec-websocket-key",
        "sec-websocket-version",
        "transfer-encoding",
    }
)


class HeadRefused(Exception):
    """The peer's head was refused.

    :ivar status: the HTTP status to answer
    :ivar detail: a fixed sentence for the log, without bytes of the peer
    :ivar headers: header fields that the status asks for
    :ivar more: lines for the peer, below the sentence
    """

    def __init__(
        self, status: int, detail: str, headers: Sequence[tuple[str, str]] = (), more: str = ""
    ) -> None:
        super().__init__(detail)
        self.more = more
        self.status = status
        self.detail = detail
        self.headers = tuple(headers)


class RequestHead(NamedTuple):
    """A request head that is well formed.

    :ivar method: as sent, case-sensitive
    :ivar path: the path of the target, still percent-encoded
    :ivar query: what follows ``?``, without it; empty when there is none
    :ivar headers: by lower-case name; several fields of one name are joined by ``", "``. ISO 8859-1, as
        Autobahn gives them
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    @property
    def host(self) -> str:
        """The Host header."""
        return self.headers["host"]

    @property
    def host_name(self) -> str:
        """The Host header without its port."""
        return parse_host(self.host).host

    @property
    def wants_websocket(self) -> bool:
        """Whether ``Upgrade`` names websocket. Another upgrade (``h2c``) may be ignored (RFC 9110 section
        7.8)."""
        return _names("websocket", self.headers.get("upgrade", ""))


class Upgrade(NamedTuple):
    """What a valid opening handshake asks for.

    :ivar key: ``Sec-WebSocket-Key``
    :ivar version: ``Sec-WebSocket-Version``
    :ivar subprotocols: in the client's order, each once
    :ivar extensions: ``Sec-WebSocket-Extensions`` as sent, fields joined; empty when there are none
    """

    key: str
    version: int
    subprotocols: tuple[str, ...]
    extensions: str


class HeadBuffer:
    """Collects bytes until the end of a request head, searching each byte once.

    :param limit: bytes that a head may have, its closing empty line included
    """

    __slots__ = ("_data", "_limit")

    def __init__(self, limit: int) -> None:
        self._data = bytearray()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take ``data``; the complete head and what follows it, or None while it is incomplete.

        :raises HeadRefused: 431 when the head is, or must become, larger than the limit
        """
        searched = max(0, len(self._data) - 3)
        self._data += data
        end = self._data.find(b"\r\n\r\n", searched)
        size = len(self._data) + 1 if end < 0 else end + 4
        if size > self._limit:
            self._data = bytearray()
            raise HeadRefused(431, "the request head is larger than max-head-size")
        if end < 0:
            return None
        whole = bytes(self._data)
        self._data = bytearray()
        return whole[:size], whole[size:]


def parse_head(head: bytes, *, max_line: int, max_lines: int) -> RequestHead:
    """Parse a complete head, its closing empty line included.

    :param max_line: bytes that one line may have, without its end
    :param max_lines: header lines that a head may have
    :raises HeadRefused: 431 for a limit, 505 for another HTTP version than 1.1, else 400
    """
    lines = head[:-4].split(b"\r\n")
    if len(lines) - 1 > max_lines:
        raise HeadRefused(431, "the request head has more lines than max-head-lines")
    if max(map(len, lines)) > max_line:
        raise HeadRefused(431, "a line of the request head is longer than max-head-line")
    request = _REQUEST_LINE.fullmatch(lines[0])
    if request is None:
        raise HeadRefused(400, "malformed request line")
    if (request[3], request[4]) != (b"1", b"1"):
        raise HeadRefused(505, "HTTP version is not 1.1")
    headers = parse_fields(lines[1:], _ONCE)
    try:
        parse_host(headers["host"])
    except (KeyError, ValueError):
        raise HeadRefused(400, "no Host header, or a malformed one") from None
    path, query = _split_target(request[2].decode("ascii"), headers["host"])
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        # What follows the head is taken for frames: a request that announces a body is two requests to
        # somebody.
        raise HeadRefused(400, "the request has a body")
    return RequestHead(request[1].decode("ascii"), path, query, headers)


def parse_fields(lines: Sequence[bytes], once: Collection[str]) -> dict[str, str]:
    """Parse header lines, without their ends.

    :param once: names, in lower case, of which a second field is refused
    :returns: by lower-case name; several fields of one name are joined by ``", "``
    :raises HeadRefused: 400 for a line that is no header field, and for a second one of ``once``
    """
    headers: dict[str, str] = {}
    if not lines:
        return headers
    block = b"\r\n".join(lines)
    # All at once: to look at each line, and decode it, takes twice the time.
    if _FIELDS.fullmatch(block) is None or not lines[-1]:
        raise HeadRefused(400, "malformed header line")
    for line in block.decode("iso-8859-1").split("\r\n"):
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if name not in headers:
            headers[name] = value
        elif name in once:
            raise HeadRefused(400, "a header that may come once came twice")
        else:
            headers[name] = f"{headers[name]}, {value}"
    return headers


def _split_target(target: str, host: str) -> tuple[str, str]:
    if not target.startswith("/"):
        absolute = _ABSOLUTE.fullmatch(target)
        # A server must accept the absolute form (RFC 9112 section 3.2.2), but not two opinions about the
        # host.
        if absolute is None or not _same_authority(absolute[1], host):
            raise HeadRefused(400, "the request target is neither a path nor a URL of this host")
        target = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    if "#" in target:
        raise HeadRefused(400, "the request target has a fragment")
    if _PERCENT.search(target) is not None:
        raise HeadRefused(400, "the request target has a malformed percent-encoding")
    path, _, query = target.partition("?")
    return path, query


def _same_authority(authority: str, host: str) -> bool:
    try:
        return parse_host(authority) == parse_host(host)
    except ValueError:
        return False


def _names(token: str, value: str) -> bool:
    """Whether the list in a header has the token, in any case."""
    lowered = value.lower()
    # As a rule it is the only one.
    return lowered == token or token in [element.strip(" \t") for element in lowered.split(",")]


def check_upgrade(head: RequestHead, versions: Sequence[int]) -> Upgrade:
    """Check an opening handshake (RFC 6455 section 4.2.1).

    :param versions: protocol versions that are spoken
    :raises HeadRefused: 426 for another version, naming those that are spoken; else 400
    """
    headers = head.headers
    if not _names("upgrade", headers.get("connection", "")):
        raise HeadRefused(400, "the Connection header does not name Upgrade")
    version = headers.get("sec-websocket-version")
    if version is None:
        raise HeadRefused(400, "no Sec-WebSocket-Version header")
    spoken = next((number for number in versions if str(number) == version), None)
    if spoken is None:
        listed = ", ".join(str(number) for number in sorted(versions, reverse=True))
        raise HeadRefused(
            426,
            "unsupported Sec-WebSocket-Version",
            [("Upgrade", "websocket"), ("Sec-WebSocket-Version", listed)],
        )
    key = headers.get("sec-websocket-key", "")
    try:
        nonce = binascii.a2b_base64(key, strict_mode=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != 16:
        raise HeadRefused(400, "Sec-WebSocket-Key is not 16 bytes in base64")
    return Upgrade(key, spoken, _subprotocols(headers), headers.get("sec-websocket-extensions", ""))


def _subprotocols(headers: Mapping[str, str]) -> tuple[str, ...]:
    header = headers.get("sec-websocket-protocol")
    if header is None:
        return ()
    # Empty list elements are ignored (RFC 9110 section 5.6.1.2).
    offered = [name for name in (part.strip(" \t") for part in header.split(",")) if name]
    if any(_PROTOCOL.fullmatch(name) is None for name in offered):
        raise HeadRefused(400, "a subprotocol is not a token")
    if len(set(offered)) != len(offered):
        raise HeadRefused(400, "a subprotocol is offered twice")
    return tuple(offered)
