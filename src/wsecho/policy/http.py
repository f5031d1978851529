"""What wsecho says in plain HTTP: a value for an answer, the fixed reason phrases, and the way to bytes.

A WebSocket server answers HTTP only beside the handshake: the page, and every refusal. Each such answer is
complete (status line, Content-Length, ``Connection: close``) and ends the connection, so that no byte behind
the request can be read as a second one.

Rules: nothing of the request reaches an answer; the phrase comes from `REASON_PHRASES`, headers and body from
our own code. (Autobahn puts the method, the version and the key into its status line; nothing here could.)
A header that is not visible ASCII raises: an answer that could be split is our bug and never sent. Where
a message ends is decided by `render` alone; an answer that brings such a header raises.

It must not know sockets, Autobahn, or why a request was refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["REASON_PHRASES", "HttpAnswer", "render"]

#: Every status that wsecho answers with, and its registered phrase (RFC 9110 15; RFC 6585 for 429 and 431).
#: Not `http.HTTPStatus`, whose phrases differ between Python versions (413 changed in 3.13).
REASON_PHRASES: Final[Mapping[int, str]] = MappingProxyType(
    {
        200: "OK",
        301: "Moved Permanently",
        302: "Found",
        303: "See Other",
        307: "Temporary Redirect",
        308: "Permanent Redirect",
        400: "Bad Request",
        401: "Unauthorized",
        402: "Payment Required",
        403: "Forbidden",
        404: "Not Found",
        405: "Method Not Allowed",
        406: "Not Acceptable",
        408: "Request Timeout",
        409: "Conflict",
        410: "Gone",
        413: "Content Too Large",
        414: "URI Too Long",
        421: "Misdirected Request",
        426: "Upgrade Required",
        429: "Too Many Requests",
        431: "Request Header Fields Too Large",
        451: "Unavailable For Legal Reasons",
        500: "Internal Server Error",
        501: "Not Implemented",
        502: "Bad Gateway",
        503: "Service Unavailable",
        504: "Gateway Timeout",
        505: "HTTP Version Not Supported",
    }
)

# RFC 9110 5.6.2, token.
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

# Narrower than RFC 9110 5.5, which still lets tabs and bytes above 127 through: wsecho needs neither, and
# readers disagree about them.
_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")

# Of a header that says where the message ends, or that render() writes itself, a second copy would let two
# readers disagree.
_WRITTEN_BY_RENDER: Final = frozenset(
    {"connection", "content-length", "keep-alive", "server", "trailer", "transfer-encoding"}
)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One answer in plain HTTP, without what `render` adds."""

    #: A status of `REASON_PHRASES`.
    status: int
    #: Names and values in the order sent; neither Content-Length nor Connection nor Server.
    headers: tuple[tuple[str, str], ...] = ()
    #: The content; may be empty.
    body: bytes = b""


def render(answer: HttpAnswer, *, head_only: bool = False, server_name: str = "") -> bytes:
    """Return the complete HTTP/1.1 response, to be written in one piece before the connection is closed.

    :param head_only: the request was a HEAD: the same head, the content's length included, and no content
        (RFC 9110 9.3.2).
    :param server_name: the value of the Server header; empty sends none.
    :raises ValueError: the status has no phrase in `REASON_PHRASES`; a header's name is no token; a value has
        anything but visible ASCII and blanks inside; or a header is this function's own to write.
    """
    phrase = REASON_PHRASES.get(answer.status)
    if phrase is None:
        known = ", ".join(str(status) for status in REASON_PHRASES)
        raise ValueError(f"HTTP status {answer.status!r} has no reason phrase; accepted are {known}")
    lines = [f"HTTP/1.1 {answer.status} {phrase}"]
    if server_name:
        lines.append(_header_line("Server", server_name))
    for name, value in answer.headers:
        if name.lower() in _WRITTEN_BY_RENDER:
            raise ValueError(f"HTTP header {name!r} is written by render() and must not be in the answer")
        lines.append(_header_line(name, value))
    lines.append(f"Content-Length: {len(answer.body)}")
    # Upgrade is for this hop only, so Connection must name it too (RFC 9110 7.8); 426 must have it (15.5.22).
    has_upgrade = any(name.lower() == "upgrade" for name, _ in answer.headers)
    lines.append("Connection: close, Upgrade" if has_upgrade else "Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode("ascii")
    return head if head_only else head + answer.body


def _header_line(name: str, value: str) -> str:
    # fullmatch: a pattern that ends in $ would let a line end through.
    if not _NAME.fullmatch(name):
        raise ValueError(f"HTTP header name {name!r} is not a token (RFC 9110 5.6.2)")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"HTTP header {name}: {value!r} is not visible ASCII with blanks inside only")
    return f"{name}: {value}"
