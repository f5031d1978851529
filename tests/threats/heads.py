"""Threats in the request head: its size, its syntax, and what it makes a server say."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tests.threats.scenario import Outcome, Stage, Visitor, scenario
from tests.threats.subjects import TUNED, UNTOUCHED
from tests.wire.harness import KEY, frame, handshake

__all__: list[str] = []

BOTH = (UNTOUCHED, TUNED)
SEPARATORS = {
    "VT": "\x0b",
    "FF": "\x0c",
    "FS": "\x1c",
    "GS": "\x1d",
    "RS": "\x1e",
    "NEL": "\x85",
    "CR": "\r",
    "LF": "\n",
}
MARK = "m4rk"


class Counted(bytes):
    """Bytes that stay counted when they are joined, and count what is searched of them.

    :cvar searched: bytes that searches looked at
    """

    searched = 0

    def __add__(self, other: bytes) -> Counted:  # type: ignore[override]
        return Counted(bytes.__add__(self, other))

    def __radd__(self, other: bytes | bytearray) -> Counted:  # type: ignore[misc]
        return Counted(bytes.__add__(bytes(other), self))

    def find(self, sub: bytes, start: int = 0, end: int | None = None) -> int:  # type: ignore[override]
        found = super().find(sub, start) if end is None else super().find(sub, start, end)
        Counted.searched += (found if found >= 0 else len(self)) - start
        return found


def answered(visitor: Visitor) -> str:
    """How the server answered, in words."""
    if visitor.status == 101:
        return "101, opened"
    return f"answered {visitor.status}" if visitor.status else "no answer"


def refused(stage: Stage, head: bytes, status: int) -> Outcome:
    """The head must be refused with this status."""
    visitor = stage.visitor()
    visitor.send(head)
    return Outcome(visitor.status == status, answered(visitor))


def openings(stage: Stage, heads: dict[str, bytes], what: str) -> Outcome:
    """None of these heads may open a connection."""
    opened = []
    for name, head in heads.items():
        visitor = stage.visitor()
        visitor.send(head)
        if visitor.status == 101:
            opened.append(name)
    return Outcome(not opened, counted(opened, heads, what))


def counted(fallen: Sequence[str], tried: Collection[str], what: str) -> str:
    """How many of the tried ones came through, and which."""
    if not fallen:
        return "both refused" if len(tried) == 2 else f"all {len(tried)} refused"
    return f"{len(fallen)} of {len(tried)} {what}: {', '.join(fallen)}"


def without(head: bytes, name: str) -> bytes:
    """The head without a field."""
    start = head.index(b"\r\n" + name.encode() + b":")
    return head[:start] + head[head.index(b"\r\n", start + 2) :]


@scenario("A request head without end, 4 MiB of it", "CWE-770", falls=BOTH)
def endless_head(stage: Stage) -> Outcome:
    visitor = stage.visitor()
    taken = 0
    visitor.send(b"GET / HTTP/1.1\r\nHost: example.com\r\n")
    while taken < 4 * 1024**2 and not visitor.is_ending:
        visitor.send(b"X: " + b"a" * 65531 + b"\r\n")
        taken += 65536
    if visitor.status == 431:
        return Outcome(taken <= 131072, f"answered 431 after {taken // 1024} KiB")
    return Outcome(False, f"{taken // 1024**2} MiB taken and kept, {answered(visitor)}")


@scenario("10,000 header lines", "CVE-2024-37890 in ws", falls=BOTH)
def many_header_lines(stage: Stage) -> Outcome:
    return refused(stage, handshake("/", *("X: a",) * 10_000), 431)


@scenario("A target of 60 KiB", "RFC 9110 section 4.1", falls=BOTH)
def long_target(stage: Stage) -> Outcome:
    return refused(stage, handshake("/" + "a" * 61_440), 431)


@scenario("A head of 60 KiB in segments of 512 bytes", "CVE-2023-43669 in tungstenite", falls=BOTH)
def head_in_segments(stage: Stage) -> Outcome:
    head = handshake("/", *("X: " + "a" * 5995,) * 10)
    visitor = stage.visitor()
    Counted.searched = 0
    visitor.send(*(Counted(head[place : place + 512]) for place in range(0, len(head), 512)))
    times = round(Counted.searched / len(head))
    happened = "each byte searched once" if times == 1 else f"each byte searched {times} times"
    return Outcome(times == 1 and visitor.status == 101, f"{happened}; {answered(visitor)}")


@scenario(
    "A value with a character that ends lines in other places, and a header behind it",
    "RFC 9112 section 2.2; CVE-2026-44546 in daphne",
    falls=BOTH,
)
def line_splitting(stage: Stage) -> Outcome:
    key = f"Sec-WebSocket-Key: {KEY}"
    keyless = without(handshake("/", "X-Note: here"), "Sec-WebSocket-Key")
    heads = {
        name: keyless.replace(b"here", f"a{separator}{key}".encode("iso-8859-1"))
        for name, separator in SEPARATORS.items()
    }
    return openings(stage, heads, "became a header")


@scenario(
    "Header lines that two readers understand differently",
    "RFC 9112 sections 5.1 and 5.2; RFC 9110 section 5.5",
    falls=BOTH,
)
def header_syntax(stage: Stage) -> Outcome:
    lines = {
        "blank before the colon": "X : a",
        "folding": "X: a\r\n b",
        "NUL": "X: a\x00b",
        "bell": "X: a\x07b",
        "no colon": "X",
        "no name": ": a",
        "blank in front": " X: a",
        "quoted name": '"X": a',
    }
    return openings(stage, {name: handshake("/", line) for name, line in lines.items()}, "accepted")


@scenario(
    "An opening handshake with a body, which is read as frames",
    "RFC 9112 section 6; request smuggling",
    falls=BOTH,
)
def body(stage: Stage) -> Outcome:
    frames = frame(1, b"smuggled")
    fields = {"Content-Length": str(len(frames)), "Transfer-Encoding": "chunked"}
    read = []
    for name, value in fields.items():
        visitor = stage.visitor()
        visitor.send(handshake("/", f"{name}: {value}") + frames)
        if visitor.received.endswith(b"smuggled"):
            read.append(name)
    return Outcome(not read, counted(read, fields, "read as a message"))


@scenario("Two Host headers, none, and malformed ones", "RFC 9112 section 3.2", falls=BOTH)
def host_syntax(stage: Stage) -> Outcome:
    plain = handshake()
    heads = {
        "two": handshake("/", "Host: other.example"),
        "none": without(plain, "Host"),
        **{
            value: plain.replace(b"Host: example.com", b"Host: " + value.encode())
            for value in ("user@example.com", "example.com/path", "a, b", "example.com:99999")
        },
    }
    return openings(stage, heads, "accepted")


@scenario(
    "A page of evil.example whose name was made to resolve to this machine (DNS rebinding)",
    "RFC 9110 section 7.4",
    falls=BOTH,
)
def rebinding(stage: Stage) -> Outcome:
    visitor = stage.visitor(hosts=["loopback"])
    head = handshake("/", "Origin: http://evil.example:9000")
    visitor.send(head.replace(b"Host: example.com", b"Host: evil.example:9000"))
    return Outcome(visitor.status == 421, answered(visitor))


@scenario("A target that names another host than the Host header", "RFC 9112 section 3.2.2", falls=BOTH)
def absolute_target(stage: Stage) -> Outcome:
    return refused(stage, handshake("http://other.example/"), 400)


@scenario("Text of the request in the answer", "CWE-116", falls=BOTH)
def reflection(stage: Stage) -> Outcome:
    plain = handshake()
    changes = {
        "method": (b"GET", MARK.encode()),
        "version": (b"HTTP/1.1", b"HTTP/" + MARK.encode()),
        "key": (KEY.encode(), MARK.encode()),
        "Host port": (b"example.com", b"example.com:" + MARK.encode()),
        "Upgrade": (b"websocket", MARK.encode()),
        "Connection": (b"Connection: Upgrade", b"Connection: " + MARK.encode()),
        "WebSocket version": (b"Version: 13", b"Version: " + MARK.encode()),
        "subprotocol": (b"Upgrade\r\n", f"Upgrade\r\nSec-WebSocket-Protocol: {MARK},{MARK}\r\n".encode()),
        "origin": (b"Upgrade\r\n", f"Upgrade\r\nOrigin: {MARK}:\r\n".encode()),
        "fragment": (b"GET /", b"GET /#" + MARK.encode()),
    }
    mirrored = []
    for name, (old, new) in changes.items():
        visitor = stage.visitor()
        visitor.send(plain.replace(old, new, 1))
        if MARK.encode() in visitor.received:
            mirrored.append(name)
    if mirrored:
        return Outcome(False, f"mirrored: {', '.join(mirrored)}")
    return Outcome(True, "nothing mirrored")


@scenario(
    "A refusal of which a client cannot know where it ends", "RFC 9112 sections 6.3 and 9.6", falls=BOTH
)
def incomplete_answers(stage: Stage) -> Outcome:
    incomplete = []
    for name, old, new in (
        ("400", b"Host", b"X-Host"),
        ("405", b"GET", b"POST"),
        ("426", b"Version: 13", b"Version: 12"),
        ("505", b"HTTP/1.1", b"HTTP/1.0"),
    ):
        visitor = stage.visitor()
        visitor.send(handshake().replace(old, new, 1))
        head = visitor.received.partition(b"\r\n\r\n")[0].lower()
        if b"\r\ncontent-length: " not in head or b"\r\nconnection: close" not in head:
            incomplete.append(name)
    if incomplete:
        return Outcome(False, "no Content-Length or no Connection: close")
    return Outcome(True, "complete")


@scenario("The draft version 8, and the unknown version 12", "RFC 6455 section 4.4", falls=[UNTOUCHED])
def versions(stage: Stage) -> Outcome:
    seen = []
    for version in ("8", "12"):
        visitor = stage.visitor()
        visitor.send(handshake().replace(b"Version: 13", f"Version: {version}".encode()))
        offered = b"\r\nSec-WebSocket-Version: 13\r\n" in visitor.received
        seen.append((visitor.status, offered))
    happened = "; ".join(
        f"{version}: {status}" + (", offers 13" if offered else "")
        for version, (status, offered) in zip(("8", "12"), seen, strict=True)
    )
    return Outcome(all(status != 101 and offered for status, offered in seen), happened)


@scenario(
    "Looking for versions, a default page, and a redirect to anywhere",
    "CWE-200, CWE-601; CVE-2020-35678 in Autobahn",
    falls=[UNTOUCHED],
)
def leaks(stage: Stage) -> Outcome:
    plain = b"GET %s HTTP/1.1\r\nHost: example.com\r\n\r\n"
    shown = []
    for target in (b"/", b"/?redirect=https://evil.example/"):
        visitor = stage.visitor()
        visitor.send(plain % target)
        if b"autobahn" in visitor.received.lower():
            shown.append("version shown")
        if b"evil.example" in visitor.received:
            shown.append(f"redirected ({visitor.status})")
    visitor = stage.visitor()
    visitor.send(handshake())
    if b"autobahn" in visitor.received.lower():
        shown.append("version in the 101")
    return Outcome(not shown, ", ".join(dict.fromkeys(shown)) or "nothing shown")


@scenario(
    "The first frame in the segment of the handshake, and 1,000 messages behind", "RFC 6455 section 4.1"
)
def early_frames(stage: Stage) -> Outcome:
    sent = [b"%d" % number for number in range(1000)]
    visitor = stage.visitor()
    visitor.send(handshake() + b"".join(frame(1, payload) for payload in sent))
    _, _, frames = visitor.received.partition(b"\r\n\r\n")
    expected = b"".join(bytes([0x81, len(payload)]) + payload for payload in sent)
    return Outcome(frames == expected, "echoed in order" if frames == expected else "not echoed in order")


@scenario("A head that comes byte by byte and never ends", "slowloris; CWE-400")
def slow_head(stage: Stage) -> Outcome:
    visitor = stage.visitor(handshake_timeout=10.0)
    for byte in handshake()[:-2] + b"X" * 60:
        if visitor.is_ending:
            break
        visitor.send(bytes([byte]))
        stage.clock.advance(1)
    seconds = round(stage.clock.seconds())
    return Outcome(
        visitor.is_ending and seconds <= 11, f"ended after {seconds} s" if visitor.is_ending else "not ended"
    )
