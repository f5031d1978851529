"""Threats to whoever reads the log."""

from __future__ import annotations

import unicodedata

from tests.threats.scenario import Outcome, Stage, scenario
from tests.threats.subjects import TUNED, UNTOUCHED
from tests.wire.harness import close, handshake

__all__: list[str] = []

#: What moves a terminal's cursor, turns text around, or begins a line of its own.
_HARMFUL = {
    "ESC": "\x1b",
    "BEL": "\x07",
    "C1": "\x9b",
    "bidi": "\u202e",
    "NEL": "\x85",
    "line": "\n",
    "return": "\r",
}


def _harm(entries: list[str]) -> list[str]:
    """The harmful characters in the log, by name; an entry may end in a line end."""
    text = "".join(entry.removesuffix("\n") for entry in entries)
    harm = {name for name, character in _HARMFUL.items() if character in text}
    if any(unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") for character in text):
        harm.add("control")
    named = [name for name in _HARMFUL if name in harm]
    return named or sorted(harm)


@scenario("Control characters in the request", "CWE-117", falls=[UNTOUCHED, TUNED])
def log_injection(stage: Stage) -> Outcome:
    esc = "\x1b[2J\x07"
    for head in (
        handshake("/", f"Origin: {esc}:"),
        handshake("/", "Origin: \x9b2J\x85https://good.example"),
        handshake("/", f"Sec-WebSocket-Protocol: {esc},{esc}"),
        handshake().replace(b"Version: 13", b"Version: \x1b[31m"),
        handshake().replace(b"GET", b"\x1b]0;owned\x07GET"),
        handshake(f"/{esc}"),
        handshake("/%1b%5b2J%0d%0aforged", "Origin: https://evil.example"),
    ):
        visitor = stage.visitor()
        visitor.send(head)
        visitor.finish()
    harm = _harm(stage.log)
    return Outcome(not harm, f"raw in the log: {', '.join(harm)}" if harm else "escaped")


@scenario("Control characters and text from right to left in a close reason", "CWE-117")
def close_reason_injection(stage: Stage) -> Outcome:
    visitor = stage.visitor()
    visitor.send(handshake())
    visitor.send(close(4000, "bye\r\n1 open: forged\x1b[2J\u202e".encode()))
    visitor.finish()
    harm = _harm(stage.log)
    return Outcome(not harm, f"raw in the log: {', '.join(harm)}" if harm else "escaped or not logged")
