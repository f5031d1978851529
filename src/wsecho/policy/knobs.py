"""What a client may ask the programmable echo for: the knobs of ``/test?KNOB&KNOB=VALUE``.

Rules of this file:

- every knob stands once, in `KNOBS`; the page of the documentation and the text of a refusal come from
  there, and a test runs each example;
- every knob is bounded, so that a `Program` that exists can be carried out. What the server's own limits
  are, and that they hold as well, is not known here;
- a query is read strictly: what is unknown, doubled, out of bounds or without sense is a `BadProgram`, whose
  line quotes nothing of the query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote_plus

from wsecho.policy.close_codes import LONGEST_REASON, may_be_sent
from wsecho.policy.http import REASON_PHRASES
from wsecho.policy.quantities import format_duration, format_size, parse_count, parse_duration, parse_size

__all__ = [
    "BAD_FRAMES",
    "COMBINATIONS",
    "KNOBS",
    "LONGEST_STOP_SECONDS",
    "MOST_FRAGMENTS",
    "BadProgram",
    "Knob",
    "Program",
    "knob_list",
    "read_program",
]

_LONGEST_DELAY = 60.0
_SHORTEST_PING, _LONGEST_PING = 0.1, 60.0
_LARGEST = 16 * 1024**2
_MOST_MESSAGES = 10_000
_MOST_BYTES = 64 * 1024**2
_LONGEST_QUERY = 2048
_ANSWERS = frozenset({"status", "redirect"})
_REDIRECTS = (301, 302, 303, 307, 308)

#: Fragments of one message at most; those of a larger one are larger than was asked for.
MOST_FRAGMENTS: Final = 4096

#: Seconds after which a server that stopped reading reads again: where pings are off, nothing else would
#: notice that the client has left.
LONGEST_STOP_SECONDS: Final = 300.0

#: The values of the knob ``bad``, and what each frame is.
BAD_FRAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "masked": "a text with a mask, which servers do not use (RFC 6455 section 5.1)",
        "rsv": "a text with the bit RSV2, which nobody agreed on (section 5.2)",
        "opcode": "a frame with the reserved opcode 3 (section 5.2)",
        "utf8": "a text that is not UTF-8 (section 8.1)",
        "length": "a head whose length has the highest of its 64 bits set (section 5.2)",
        "half-frame": "half of a frame, and then the end of the TCP connection",
    }
)

_OWN_PATH = re.compile(r"/(?:[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*)?")


class BadProgram(ValueError):
    """The query is wrong; one line without a byte of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a client asked for. Fields are named after the knobs."""

    delay: float = 0.0
    """Seconds."""
    rate: int = 0
    """Bytes per second; 0 for as fast as it goes."""
    fragment: int = 0
    """Bytes of payload in a frame; 0 for whole messages."""
    whoami: bool = False
    size: int | None = None
    """Bytes of each message that the server sends of itself; None when it sends none."""
    count: int = 1
    ping: float = 0.0
    """Seconds; 0 for no pings besides those of the server."""
    close: int | None = None
    reason: str = ""
    abort: int | None = None
    """After how many messages; None for never."""
    read: str = ""
    """``"stop"`` or empty."""
    bad: str = ""
    """One of `BAD_FRAMES` or empty."""
    after: int = 0
    """After how many messages `close`, `read` and `bad` happen."""
    compress: str = ""
    """``"on"``, ``"off"``, or empty for what the server does anyway."""
    status: int | None = None
    redirect: str = ""
    accept: str = ""
    """``"wrong"`` or empty."""
    subprotocol: str = ""
    """``"unasked"`` or empty."""

    @property
    def redirect_status(self) -> int:
        """The status of a redirect."""
        return self.status or 302


@dataclass(frozen=True, slots=True)
class Knob:
    """A row of the table."""

    name: str
    values: str
    """What stands behind the equals sign; empty for a knob without a value."""
    accepted: str
    """The values that are accepted, with their bounds."""
    effect: str
    example: str
    """A query with it."""
    read: Callable[[str], Any]
    """From the value to that of the field; ValueError for one that is not accepted."""
    is_value_optional: bool = False

    @property
    def usage(self) -> str:
        """How it is written."""
        if not self.values:
            return self.name
        return f"{self.name}[={self.values}]" if self.is_value_optional else f"{self.name}={self.values}"


def _within(value: Any, least: Any, most: Any) -> Any:
    if not least <= value <= most:
        raise ValueError
    return value


def _duration(least: float, most: float) -> Callable[[str], float]:
    return lambda text: float(_within(parse_duration(text), least, most))


def _size(least: int, most: int) -> Callable[[str], int]:
    return lambda text: int(_within(parse_size(text), least, most))


def _number(least: int, most: int) -> Callable[[str], int]:
    return lambda text: int(_within(parse_count(text), least, most))


def _one_of(*choices: str) -> Callable[[str], str]:
    return lambda text: choices[choices.index(text)]


def _close_code(text: str) -> int:
    code = parse_count(text)
    if not may_be_sent(code):
        raise ValueError
    return code


def _reason(text: str) -> str:
    _within(len(text.encode("utf-8")), 1, LONGEST_REASON)
    return text


def _status(text: str) -> int:
    status = parse_count(text)
    if status not in REASON_PHRASES:
        raise ValueError
    return status


def _own_path(text: str) -> str:
    # One slash: with two, what follows would be another host. Nothing else that could be a host, a query or
    # a line end.
    if len(text) > 200 or _OWN_PATH.fullmatch(text) is None:
        raise ValueError
    return text


_MESSAGES = f"0 to {_MOST_MESSAGES} messages"

_TABLE = (
    Knob(
        "delay",
        "DURATION",
        f"a duration such as 500ms or 2s, up to {format_duration(_LONGEST_DELAY)}",
        "Whatever the server sends of itself or echoes, Close included, comes that much later.",
        "delay=200ms",
        _duration(0.001, _LONGEST_DELAY),
    ),
    Knob(
        "rate",
        "BYTES",
        f"bytes per second, 1 to {format_size(_LARGEST)}",
        "Messages trickle: a tenth of a second's worth at a time, as fragments.",
        "rate=2KiB",
        _size(1, _LARGEST),
    ),
    Knob(
        "fragment",
        "SIZE",
        f"bytes, 1 to {format_size(_LARGEST)}",
        f"Messages come in fragments of that size, {MOST_FRAGMENTS} at most: those of a larger message are "
        "larger.",
        "fragment=2",
        _size(1, _LARGEST),
    ),
    Knob(
        "whoami",
        "",
        "no value",
        "The first message is the opening handshake as JSON: request, peer, TLS, and what was agreed on.",
        "whoami",
        lambda text: True,
    ),
    Knob(
        "size",
        "SIZE",
        f"bytes, 0 to {format_size(_LARGEST)} and to --max-message-size",
        "The server sends a text of that size, of itself.",
        "size=1KiB&count=3",
        _size(0, _LARGEST),
    ),
    Knob(
        "count",
        "N",
        f"1 to {_MOST_MESSAGES}, with size {format_size(_MOST_BYTES)} in all",
        "It sends that many of them; 1 without it.",
        "size=0&count=2",
        _number(1, _MOST_MESSAGES),
    ),
    Knob(
        "ping",
        "DURATION",
        f"a duration, {format_duration(_SHORTEST_PING)} to {format_duration(_LONGEST_PING)}",
        "The server pings at that interval, besides its own pings; the payload counts from 1.",
        "ping=100ms",
        _duration(_SHORTEST_PING, _LONGEST_PING),
    ),
    Knob(
        "close",
        "CODE",
        "a close code that a server may send: 1000 to 1003, 1007 to 1009, 1011 to 1013, 3000 to 4999",
        "The server closes with that code, once the echo of the last message is sent.",
        "close=4001&reason=so+long&after=1",
        _close_code,
    ),
    Knob(
        "reason",
        "TEXT",
        f"1 to {LONGEST_REASON} bytes of UTF-8, percent-encoded",
        "The reason in that Close.",
        "close=1000&reason=done",
        _reason,
    ),
    Knob(
        "abort",
        "N",
        f"{_MESSAGES}; 0 without a value",
        "After N messages the TCP connection is reset; what is on its way to the client may be lost.",
        "abort=1",
        _number(0, _MOST_MESSAGES),
        is_value_optional=True,
    ),
    Knob(
        "read",
        "stop",
        "stop",
        "The server stops reading, for "
        f"{format_duration(LONGEST_STOP_SECONDS)} at most. It sees no pong either: --ping-timeout goes on.",
        "read=stop&after=1",
        _one_of("stop"),
    ),
    Knob(
        "bad",
        "FRAME",
        ", ".join(BAD_FRAMES),
        "The server sends a frame that is not allowed, and goes on; half-frame ends the connection.",
        "bad=rsv",
        _one_of(*BAD_FRAMES),
    ),
    Knob(
        "after",
        "N",
        _MESSAGES,
        "After how many messages close, read and bad happen; at once without it.",
        "bad=utf8&after=2",
        _number(0, _MOST_MESSAGES),
    ),
    Knob(
        "compress",
        "on|off",
        "on or off",
        "permessage-deflate is agreed on, if the client offers it, or not, whatever --compression says.",
        "compress=on&whoami",
        _one_of("on", "off"),
    ),
    Knob(
        "status",
        "CODE",
        "one of " + ", ".join(map(str, REASON_PHRASES)),
        "The opening handshake is answered with that HTTP status.",
        "status=503",
        _status,
    ),
    Knob(
        "redirect",
        "PATH",
        "a path of this server without a query: / and letters, digits, . _ ~ - /",
        "The opening handshake is redirected there, with 302 or the 3xx of status.",
        "redirect=/echo",
        _own_path,
    ),
    Knob(
        "accept",
        "wrong",
        "wrong",
        "The answer 101 has a wrong Sec-WebSocket-Accept.",
        "accept=wrong",
        _one_of("wrong"),
    ),
    Knob(
        "subprotocol",
        "unasked",
        "unasked",
        "The answer 101 names a subprotocol that the client did not offer.",
        "subprotocol=unasked",
        _one_of("unasked"),
    ),
)

#: By name, in the order of the documentation.
KNOBS: Final[Mapping[str, Knob]] = MappingProxyType({knob.name: knob for knob in _TABLE})


def _is_redirect_whole(given: Mapping[str, Any]) -> bool:
    if given.get("status") in _REDIRECTS:
        return "redirect" in given
    return not given.keys() >= _ANSWERS


def _is_one_end(given: Mapping[str, Any]) -> bool:
    ends = [name for name in ("close", "abort", "read") if name in given]
    return len(ends) + (given.get("bad") == "half-frame") < 2


#: What makes no sense together, and how one finds out.
COMBINATIONS: Final[tuple[tuple[str, Callable[[Mapping[str, Any]], bool]], ...]] = (
    ("reason needs close", lambda given: "reason" not in given or "close" in given),
    ("count needs size", lambda given: "count" not in given or "size" in given),
    (
        "after needs close, read or bad",
        lambda given: "after" not in given or not given.keys().isdisjoint({"close", "read", "bad"}),
    ),
    ("of close, abort, read and bad=half-frame one is enough", _is_one_end),
    (
        "status and redirect go with nothing but each other: the connection does not open",
        lambda given: (
            given.keys().isdisjoint({"status", "redirect"}) or given.keys() <= {"status", "redirect"}
        ),
    ),
    (
        f"redirect needs a status of {', '.join(map(str, _REDIRECTS))}, and these need redirect",
        _is_redirect_whole,
    ),
    (
        f"size times count is {format_size(_MOST_BYTES)} at most",
        lambda given: given.get("size", 0) * given.get("count", 1) <= _MOST_BYTES,
    ),
)


def read_program(query: str) -> Program:
    """Read the query of a URL; an empty one is a plain echo.

    :raises BadProgram: for one that is wrong
    """
    if len(query) > _LONGEST_QUERY:
        raise BadProgram(f"the query is longer than {_LONGEST_QUERY} bytes")
    given: dict[str, Any] = {}
    for number, part in enumerate(query.split("&") if query else (), 1):
        name, equals, text = part.partition("=")
        knob = KNOBS.get(name)
        if knob is None:
            raise BadProgram(f"knob {number} of the query is unknown")
        if name in given:
            raise BadProgram(f"{name}: given twice")
        given[name] = _value(knob, bool(equals), text)
    for rule, holds in COMBINATIONS:
        if not holds(given):
            raise BadProgram(rule)
    return Program(**given)


def _value(knob: Knob, has_value: bool, text: str) -> Any:
    try:
        if not has_value:
            if knob.values and not knob.is_value_optional:
                raise ValueError
            return knob.read("0")
        if not knob.values:
            raise ValueError
        return knob.read(unquote_plus(text, errors="strict"))
    except ValueError:
        raise BadProgram(f"{knob.name}: accepted is {knob.accepted}") from None


def knob_list() -> str:
    """The knobs, a line each."""
    return "".join(f"{knob.usage}: {knob.effect} Accepted: {knob.accepted}.\n" for knob in KNOBS.values())
