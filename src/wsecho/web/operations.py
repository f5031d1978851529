"""The operations table: every path of the admin endpoint that is no page, what it takes and what it answers.

Rules of this file: requests are dispatched by this table, their parameters read by it, and the OpenAPI
description made from it, so that the three cannot differ. What happens is in `wsecho.web.api`, by the
operation's name. Every parameter is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from wsecho.policy.close_codes import CLOSE_CODES, LONGEST_REASON, Sender, may_be_sent
from wsecho.policy.text import escape_peer_text

__all__ = [
    "LINES",
    "LONGEST_PAGE",
    "LONGEST_TEXT",
    "LONGEST_WATCH",
    "OPERATIONS",
    "Operation",
    "Parameter",
    "find",
    "is_channel",
]

LONGEST_PAGE: Final = 1000
"""The most connections or channels in one answer."""

LONGEST_TEXT: Final = 65536
"""Characters of a text, or bytes of a binary message, that may be published here."""

LONGEST_WATCH: Final = 3600
"""Seconds of one stream of messages."""

LINES: Final = "application/x-ndjson"
"""In place of a schema: the body is no JSON, but lines of JSON."""

CHANNEL_PATTERN: Final = "[A-Za-z0-9._~-]{0,128}"
_HIGHEST_ID: Final = 2**63 - 1
_NUMBER = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter in the query, or, when the operation's path has its name in braces, in the path."""

    name: str
    meaning: str
    is_number: bool = False
    least: int = 0
    most: int = _HIGHEST_ID
    longest: int = 0
    """Characters of a text."""
    pattern: str = ""
    """What a text has to match; empty for any."""
    default: int | str | None = None

    @property
    def accepted(self) -> str:
        """What is accepted, in the words of an error line."""
        if self.name == "code":
            return "a close code that a server may send: " + ", ".join(
                str(first) if first == last else f"{first} to {last}" for first, last in sendable_codes()
            )
        if self.is_number:
            return f"a whole number from {self.least} to {self.most}"
        if self.pattern == CHANNEL_PATTERN:
            return "a channel name of up to 128 of A-Z a-z 0-9 . _ ~ -"
        return f"a text of up to {self.longest} characters"

    def read(self, text: str) -> int | str:
        """Read a value; `ValueError` with one line when it is not accepted."""
        if not self.is_number:
            if len(text) <= self.longest and (not self.pattern or re.fullmatch(self.pattern, text)):
                return text
        elif _NUMBER.fullmatch(text) and self._admits(int(text)):
            return int(text)
        raise ValueError(f'{self.name}="{escape_peer_text(text, 80)}": accepted is {self.accepted}')

    def _admits(self, number: int) -> bool:
        return self.least <= number <= self.most and (self.name != "code" or may_be_sent(number))

    @property
    def schema(self) -> dict[str, Any]:
        """The same as JSON Schema."""
        if self.name == "code":
            schema: dict[str, Any] = {
                "type": "integer",
                "anyOf": [{"minimum": first, "maximum": last} for first, last in sendable_codes()],
            }
        elif self.is_number:
            schema = {"type": "integer", "minimum": self.least, "maximum": self.most}
        else:
            schema = {"type": "string", "maxLength": self.longest}
            if self.pattern:
                schema["pattern"] = f"^{self.pattern}$"
        if self.default is not None:
            schema["default"] = self.default
        return schema


def sendable_codes() -> list[tuple[int, int]]:
    """The ranges of close codes that a server may send."""
    return [(row.first, row.last) for row in CLOSE_CODES if row.sender is Sender.EITHER]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path."""

    name: str
    """Of the handler in `wsecho.web.api.Api`, and OpenAPI's operationId."""
    method: str
    path: str
    """With parameters in braces, each a whole segment."""
    meaning: str
    parameters: tuple[Parameter, ...] = ()
    body: str = ""
    """The schema of the JSON body; empty when there is none."""
    answers: Mapping[int, tuple[str, str]]
    """By status: what it means, and the schema of the JSON body; empty for a body that is no JSON."""
    needs_token: bool = True
    about_connections: bool = False
    """Whether it looks at single connections, which is more to ask of several processes."""

    def match(self, path: str) -> Mapping[str, str] | None:
        """The texts of the parameters in a path; None when the path is another one.

        :raises ValueError: one of them is not UTF-8
        """
        wanted, given = self.path.split("/"), path.split("/")
        if len(wanted) != len(given):
            return None
        found: dict[str, str] = {}
        for want, have in zip(wanted, given, strict=True):
            if want.startswith("{"):
                found[want.strip("{}")] = unquote_to_bytes(have).decode("utf-8")
            elif want != have:
                return None
        return found


_CHANNEL = Parameter(
    name="channel",
    meaning='Only members of this channel; empty is the one without a name, "/broadcast".',
    longest=128,
    pattern=CHANNEL_PATTERN,
)
_SEARCH = Parameter(
    name="search",
    meaning="Only those with this in their number, peer, path, service or channel.",
    longest=128,
)
_AFTER = Parameter(name="after", meaning="Only those with a higher number.", is_number=True, default=0)
_LIMIT = Parameter(
    name="limit",
    meaning="The most entries of the answer.",
    is_number=True,
    least=1,
    most=LONGEST_PAGE,
    default=100,
)
_ID = Parameter(name="id", meaning="The connection's number, as in the log.", is_number=True, least=1)

OPERATIONS: Final = (
    Operation(
        name="live",
        method="GET",
        path="/health/live",
        meaning="Whether the process works: 200 as long as it answers at all. No token is needed.",
        answers={200: ("It works.", "Health")},
        needs_token=False,
    ),
    Operation(
        name="ready",
        method="GET",
        path="/health/ready",
        meaning="Whether new connections are welcome. No token is needed.",
        answers={
            200: ("They are.", "Health"),
            503: ("They are not; the status says why.", "Health"),
        },
        needs_token=False,
    ),
    Operation(
        name="metrics",
        method="GET",
        path="/metrics",
        meaning="Counts, for Prometheus.",
        answers={200: ("Prometheus's text format, or OpenMetrics when Accept asks for it.", "")},
    ),
    Operation(
        name="openapi",
        method="GET",
        path="/api/openapi.json",
        meaning="This description.",
        answers={200: ("An OpenAPI 3.1 description.", "Description")},
    ),
    Operation(
        name="server",
        method="GET",
        path="/api/server",
        meaning="The server as a whole: its state, what it listens on, versions, certificates.",
        answers={200: ("The server.", "Server")},
    ),
    Operation(
        name="overview",
        method="GET",
        path="/api/overview",
        meaning="What the operator's page shows, in one answer: the server, its totals, some connections.",
        parameters=(_SEARCH, _AFTER, _LIMIT),
        answers={200: ("The server, and a page of its connections.", "Overview")},
        about_connections=True,
    ),
    Operation(
        name="configuration",
        method="GET",
        path="/api/configuration",
        meaning="The effective value of every option, and where it came from. Secrets are left out.",
        answers={200: ("The configuration.", "Configuration")},
    ),
    Operation(
        name="accepting",
        method="PUT",
        path="/api/accepting",
        meaning=(
            "Pause or resume accepting. Paused, new connections wait in the kernel; those that are open go "
            "on, and /health/ready is 503."
        ),
        body="Accepting",
        answers={
            200: ("It is so.", "Accepting"),
            409: ("The server is starting or stopping.", "Error"),
        },
    ),
    Operation(
        name="listening",
        method="PUT",
        path="/api/listening",
        meaning=(
            "Close the ports, or open them again at the same addresses. Closed, new connections are refused; "
            "those that are open go on, and /health/ready is 503."
        ),
        body="Listening",
        answers={
            200: ("It is so.", "Listening"),
            409: ("It cannot be so now; the line says why, and nothing has changed.", "Error"),
        },
    ),
    Operation(
        name="connections",
        method="GET",
        path="/api/connections",
        meaning="Open connections, by their numbers. Filters are combined.",
        parameters=(
            Parameter(
                name="address",
                meaning='Only those of this IP address; "unix" for peers on unix sockets.',
                longest=64,
            ),
            Parameter(
                name="path", meaning="Only those that asked for this path, query included.", longest=256
            ),
            _CHANNEL,
            _SEARCH,
            _AFTER,
            _LIMIT,
        ),
        answers={200: ("A page of connections; next is the after of the next page, if any.", "Connections")},
        about_connections=True,
    ),
    Operation(
        name="connection",
        method="GET",
        path="/api/connections/{id}",
        meaning="One open connection.",
        parameters=(_ID,),
        answers={
            200: ("The connection.", "Connection"),
            404: ("No open connection has this number.", "Error"),
        },
        about_connections=True,
    ),
    Operation(
        name="disconnect",
        method="DELETE",
        path="/api/connections/{id}",
        meaning="Close a connection, with a closing handshake.",
        parameters=(
            _ID,
            Parameter(
                name="code",
                meaning="The close code.",
                is_number=True,
                least=1000,
                most=4999,
                default=1000,
            ),
            Parameter(
                name="reason",
                meaning=f"The close reason; cut to {LONGEST_REASON} bytes of UTF-8.",
                longest=LONGEST_REASON,
                default="",
            ),
        ),
        answers={
            202: ("Close is on its way.", "Disconnected"),
            404: ("No open connection has this number.", "Error"),
        },
        about_connections=True,
    ),
    Operation(
        name="channels",
        method="GET",
        path="/api/channels",
        meaning="The channels that somebody is on, by name; who, tells /api/connections?channel=NAME.",
        parameters=(
            Parameter(
                name="prefix",
                meaning="Only those whose name begins so.",
                longest=128,
                pattern=CHANNEL_PATTERN,
            ),
            Parameter(
                name="after",
                meaning="Only those behind this name.",
                longest=128,
                pattern=CHANNEL_PATTERN,
            ),
            _LIMIT,
        ),
        answers={200: ("A page of channels; next is the after of the next page, if any.", "Channels")},
    ),
    Operation(
        name="samples",
        method="GET",
        path="/api/messages",
        meaning=(
            "Messages as clients send them, a line of JSON for each: a sample when they are many. Content is "
            "shown."
        ),
        parameters=(
            Parameter(
                name="seconds",
                meaning="Until the end.",
                is_number=True,
                least=1,
                most=LONGEST_WATCH,
                default=LONGEST_WATCH,
            ),
            Parameter(
                name="count",
                meaning="Or until there were so many; without it there may be any number.",
                is_number=True,
                least=1,
                most=1_000_000,
            ),
            Parameter(
                name="connection",
                meaning="Only those of the connection of this number.",
                is_number=True,
                least=1,
            ),
            _CHANNEL,
        ),
        answers={
            200: (
                "Lines of JSON, each an object as the schema Sample says; empty lines mean nothing.",
                LINES,
            ),
            429: ("As many watch as may.", "Error"),
        },
    ),
    Operation(
        name="publish",
        method="POST",
        path="/api/messages",
        meaning="Publish a message on a channel: to everybody who is on it.",
        body="Message",
        answers={
            200: ("It was given to so many members.", "Published"),
            503: ("The engine is away; nothing was published.", "Error"),
        },
    ),
)


def is_channel(value: object) -> bool:
    """Whether a JSON value names a channel; the empty text is the one without a name."""
    return isinstance(value, str) and re.fullmatch(CHANNEL_PATTERN, value) is not None


def find(path: str) -> Mapping[str, tuple[Operation, Mapping[str, str]]]:
    """The operations of a path, by method, each with the texts of the parameters in the path.

    :param path: of the request, still encoded
    :raises ValueError: a parameter in the path is not UTF-8
    """
    found: dict[str, tuple[Operation, Mapping[str, str]]] = {}
    for operation in OPERATIONS:
        texts = operation.match(path)
        if texts is not None:
            found[operation.method] = (operation, texts)
    return MappingProxyType(found)
