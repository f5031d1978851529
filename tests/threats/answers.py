"""What wsecho checks in a request before a connection opens, in order, and what it answers.

Each check comes with a change to a good request that makes it fail. The table of the documentation is what
the server then answered, and the order of the table is tested: a request with several faults gets the answer
of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from twisted.internet.task import Clock

from tests.threats.scenario import Visitor
from tests.wire.harness import KEY, Answer, parse_answer
from wsecho.policy.hosts import AllowedHosts
from wsecho.policy.proxies import PeerAddress, TrustedProxies
from wsecho.services.echo import EchoService
from wsecho.wire.factory import ServerFactory
from wsecho.wire.room import Room

__all__ = ["CHECKS", "Check", "Request", "answer_to", "table"]


@dataclass(slots=True)
class Request:
    """A good opening handshake, to be spoilt."""

    line: str = "GET / HTTP/1.1"
    fields: dict[str, str] = field(
        default_factory=lambda: {
            "Host": "example.com",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": KEY,
        }
    )
    further: list[str] = field(default_factory=list)
    room: dict[str, int] = field(default_factory=dict)
    """Limits of the server to which the request comes, where somebody of the same address is already."""

    def encode(self) -> bytes:
        """The bytes of the head."""
        lines = [self.line, *(f"{name}: {value}" for name, value in self.fields.items()), *self.further]
        return "\r\n".join([*lines, "", ""]).encode("iso-8859-1")


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    :ivar fault: what is wrong with the request
    :ivar reason: why it is not served all the same
    :ivar spoil: makes a request wrong in this way
    """

    fault: str
    reason: str
    spoil: Callable[[Request], None]


def _line(line: str) -> Callable[[Request], None]:
    def spoil(request: Request) -> None:
        request.line = line

    return spoil


def _value(name: str, value: str) -> Callable[[Request], None]:
    return lambda request: request.fields.update({name: value})


def _without(name: str) -> Callable[[Request], None]:
    def spoil(request: Request) -> None:
        request.fields.pop(name, None)

    return spoil


def _further(*lines: str) -> Callable[[Request], None]:
    def spoil(request: Request) -> None:
        # In front: lines are read one after the other.
        request.further[:0] = lines

    return spoil


def _room(**limits: int) -> Callable[[Request], None]:
    return lambda request: request.room.update(limits)


CHECKS = (
    Check(
        "the head is larger than `--max-head-size`",
        "memory; its end is not waited for",
        _further(*("X: " + "a" * 4000,) * 17),
    ),
    Check("it has more header lines than `--max-head-lines`", "memory and time", _further(*("X: a",) * 101)),
    Check("a line is longer than `--max-head-line`", "memory and time", _further("X: " + "a" * 8190)),
    Check(
        "the first line is not `METHOD TARGET HTTP/VERSION`",
        "what two readers understand differently is refused, not repaired",
        _line("GET / HTTP/1.1 "),
    ),
    Check(
        "the version is not 1.1",
        "an older one knows no upgrade, a newer one looks different",
        _line("GET / HTTP/1.0"),
    ),
    Check(
        "a header line is not `NAME: VALUE`",
        "folded lines, blanks before the colon and control characters are how headers are smuggled",
        _further("X : a"),
    ),
    Check(
        "a header comes twice that may come once",
        "one reader takes the first, another the last",
        _further("Origin: https://a.example", "Origin: https://b.example"),
    ),
    Check("Host is missing or not `host[:port]`", "it decides about the next checks", _value("Host", "a b")),
    Check(
        "the target names another host than Host",
        "two opinions about the host",
        _line("GET http://c.example/ HTTP/1.1"),
    ),
    Check("the target has a fragment", "RFC 6455, section 3", _line("GET /#a HTTP/1.1")),
    Check(
        "the target has a malformed percent-encoding",
        "readers repair it differently",
        _line("GET /% HTTP/1.1"),
    ),
    Check(
        "the request has a body",
        "it would be read as frames, or as another request by somebody else",
        _value("Content-Length", "5"),
    ),
    Check(
        "a trusted proxy sends `Forwarded` and `X-Forwarded-For`, naming different clients",
        "one of them the proxy only passed on; nobody here knows which",
        _further("Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.2"),
    ),
    Check(
        "Host is not among `--allow-host`",
        "a name that somebody points at this machine makes its pages same-origin (DNS rebinding)",
        _value("Host", "b.example"),
    ),
    Check("the method is neither GET nor HEAD", "nothing else is served", _line("POST / HTTP/1.1")),
    Check(
        "nothing is served at the path", "the same with and without Upgrade", _line("GET /nowhere HTTP/1.1")
    ),
    Check(
        "Upgrade does not name websocket, and there is no page at the path",
        "the path is for WebSocket clients",
        _without("Upgrade"),
    ),
    Check(
        "Connection does not name Upgrade", "a proxy in between would drop Upgrade", _without("Connection")
    ),
    Check("no Sec-WebSocket-Version", "no client that could try another", _without("Sec-WebSocket-Version")),
    Check(
        "another version than 13",
        "older ones are drafts; the answer tells the version that is spoken",
        _value("Sec-WebSocket-Version", "8"),
    ),
    Check(
        "Sec-WebSocket-Key is not 16 bytes in base64",
        "RFC 6455, section 4.2.1",
        _value("Sec-WebSocket-Key", "a"),
    ),
    Check(
        "a subprotocol is no token, or offered twice",
        "RFC 6455, section 4.1",
        _value("Sec-WebSocket-Protocol", "a, a"),
    ),
    Check(
        "there are `--max-connections` already",
        "memory and file descriptors; when somebody leaves, nobody knows, so there is no Retry-After",
        _room(max_connections=1),
    ),
    Check(
        "there are `--max-connections-per-address` of its address already",
        "one client must not take the places of all",
        _room(max_connections_per_address=1),
    ),
    Check(
        "the origin is neither the same nor among `--allow-origin`",
        "any page could connect with its visitor's cookies (RFC 6455, section 10.2)",
        _value("Origin", "https://evil.example"),
    ),
)


def answer_to(faults: Iterable[Check]) -> Answer:
    """What wsecho answers to a request with these faults. They are made from the last to the first, so that
    of two faults in one place the first is there."""
    request = Request()
    for fault in reversed(tuple(faults)):
        fault.spoil(request)
    clock = Clock()
    service = EchoService()
    room = Room(**request.room)
    room.enter(PeerAddress.of("127.0.0.1"), clock.seconds())
    factory = ServerFactory(
        reactor=clock,
        hosts=AllowedHosts(["example.com"]),
        proxies=TrustedProxies(["127.0.0.1"]),
        route=lambda path: service if path == "/" else None,
        room=room,
    )
    visitor = Visitor(factory, clock)
    visitor.send(request.encode())
    visitor.finish()
    return parse_answer(visitor.received)


def table() -> str:
    """The checks with their answers, as Markdown."""
    lines = ["| what is wrong | answer | besides | reason |", "|---|---|---|---|"]
    for check in CHECKS:
        answer = answer_to([check])
        usual = ("content-length", "content-type", "connection")
        besides = ", ".join(
            f"`{name}: {value}`" for name, value in answer.headers.items() if name not in usual
        )
        status = answer.status.removeprefix("HTTP/1.1 ")
        lines.append(f"| {check.fault} | {status} | {besides} | {check.reason} |")
    return "\n".join([*lines, ""])
