"""Threats by peers that do not end, or end wrongly. Where the kernel decides, over loopback."""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet.error import ConnectionDone

from tests.threats.scenario import Outcome, Stage, Visit, scenario
from tests.threats.subjects import TUNED, UNTOUCHED
from tests.wire.harness import TEXT, close, frame, handshake, parse_frames

__all__: list[str] = []

BOTH = (UNTOUCHED, TUNED)

#: Timers of the server on loopback, and how long it is waited for them, in seconds of real time.
_TIMERS: dict[str, Any] = {"close_timeout": 0.2, "ping_interval": 0.2, "ping_timeout": 0.2}
_PATIENCE = 3.0


async def _open(stage: Stage, *, tls: bool = False) -> Visit:
    visit = await stage.visit(tls=tls, **_TIMERS)
    visit.socket.transport.write(handshake())
    await visit.socket.until(lambda received: b"\r\n\r\n" in received)
    return visit


async def _code_of_end(stage: Stage, sent: bytes) -> str:
    """What a peer sees that sends this and then only reads: the close code, or how the connection ended."""
    visit = await _open(stage)
    visit.socket.transport.write(sent)
    if not await stage.within(_PATIENCE, visit.freed()):
        return "not ended"
    reason = await visit.socket.ended
    _, _, rest = visit.socket.received.partition(b"\r\n\r\n")
    codes = [struct.unpack("!H", one.payload[:2])[0] for one in parse_frames(rest) if one.opcode == 8]
    if codes:
        return str(codes[0])
    return "ended without Close" if isinstance(reason, ConnectionDone) else "reset without Close"


async def _ends(stage: Stage, illegal: dict[str, tuple[bytes, int]]) -> Outcome:
    """Each of these must be answered with its close code."""
    wrong: dict[str, list[str]] = {}
    for name, (sent, code) in illegal.items():
        seen = await _code_of_end(stage, sent)
        if seen != str(code):
            wrong.setdefault(seen, []).append(name)
    if not wrong:
        return Outcome(True, f"all {len(illegal)} answered with their code")
    return Outcome(False, "; ".join(f"{seen}: {', '.join(names)}" for seen, names in wrong.items()))


@scenario("Frames that RFC 6455 forbids", "RFC 6455 section 7.1.7", falls=[UNTOUCHED])
async def illegal_frames(stage: Stage) -> Outcome:
    return await _ends(
        stage,
        {
            "unmasked": (frame(TEXT, b"a", mask=b""), 1002),
            "reserved bit": (frame(TEXT, b"a", rsv=4), 1002),
            "opcode 3": (frame(3, b"a"), 1002),
            "long ping": (frame(9, bytes(126)), 1002),
            "fragmented ping": (frame(9, fin=False), 1002),
            "continuation of nothing": (frame(0, b"a"), 1002),
            "text that is not UTF-8": (frame(TEXT, b"\xc3\x28"), 1007),
        },
    )


@scenario("Close frames that RFC 6455 forbids", "RFC 6455 sections 7.4 and 7.1.7", falls=BOTH)
async def illegal_closes(stage: Stage) -> Outcome:
    return await _ends(
        stage,
        {
            "one byte": (frame(8, b"\x03"), 1002),
            **{str(code): (close(code), 1002) for code in (0, 999, 1005, 1006, 1015, 2000, 5000)},
            "reason that is not UTF-8": (close(1000, b"\xff"), 1007),
        },
    )


@scenario(
    "Close from a peer that does not read what waits for it",
    "RFC 6455 section 7.1.1; CVE-2024-23672 in Tomcat",
    falls=BOTH,
)
async def close_with_unread(stage: Stage) -> Outcome:
    visit = await _open(stage)
    visit.socket.transport.pauseProducing()
    message = frame(2, bytes(1_000_000))
    for _ in range(16):
        visit.socket.transport.write(message)
    visit.socket.transport.write(close(1000))
    freed = await stage.within(_PATIENCE, visit.freed())
    return Outcome(freed, "freed after the close timeout" if freed else "held without end")


@scenario(
    "A TLS peer that does not answer close_notify", "RFC 8446 section 6.1; RFC 6455 section 7.1.1", falls=BOTH
)
async def silent_tls_end(stage: Stage) -> Outcome:
    visit = await _open(stage, tls=True)
    visit.socket.transport.write(close(1000))
    # From here on TLS sees nothing that comes, and so answers nothing.
    visit.socket.transport.transport.pauseProducing()
    freed = await stage.within(_PATIENCE, visit.freed())
    return Outcome(freed, "freed after the close timeout" if freed else "held without end")


@scenario("A peer that does not answer Close", "RFC 6455 section 7.1.1")
def unanswered_close(stage: Stage) -> Outcome:
    visitor = stage.visitor(close_timeout=5.0)
    visitor.send(handshake())
    visitor.protocol.sendClose(1000)
    stage.clock.advance(5)
    stage.clock.advance(0)
    gone = visitor.transport.has_ended
    return Outcome(gone, "ended after the close timeout" if gone else "held without end")


@scenario("A peer that vanishes without a word (half-open TCP)", "RFC 9293 section 3.5.1", falls=[UNTOUCHED])
def half_open(stage: Stage) -> Outcome:
    visitor = stage.visitor(ping_interval=20.0, ping_timeout=20.0, close_timeout=5.0)
    visitor.send(handshake())
    visitor.transport.reads_nothing = True
    for _ in range(600):
        stage.clock.advance(1)
        if visitor.transport.has_ended:
            return Outcome(stage.clock.seconds() <= 46, "ended after a ping without pong")
    return Outcome(False, "never noticed")


@scenario("A TCP connection to the TLS port that never speaks", "CVE-2026-45416 in Netty")
def silent_tls(stage: Stage) -> Outcome:
    visitor = stage.tls_visitor(handshake_timeout=10.0)
    for _ in range(20):
        stage.clock.advance(1)
    gone = visitor.transport.has_ended
    return Outcome(gone, "ended after the handshake timeout" if gone else "never ended")
