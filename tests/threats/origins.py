"""Threats by pages of other origins."""

from __future__ import annotations

from tests.threats.heads import answered, counted
from tests.threats.scenario import Outcome, Stage, scenario
from tests.threats.subjects import TUNED, UNTOUCHED
from tests.wire.harness import handshake

__all__: list[str] = []

GOOD = "https://good.example:443"


@scenario(
    "A page of another site opens a connection with its visitor's cookies; no list of origins is given",
    "RFC 6455 section 10.2; CWE-1385",
    falls=[UNTOUCHED, TUNED],
)
def other_site(stage: Stage) -> Outcome:
    visitor = stage.visitor()
    visitor.send(handshake("/", "Origin: https://evil.example"))
    return Outcome(visitor.status == 403, answered(visitor))


@scenario(
    "An origin that is not on the list: the status", "RFC 6455 section 4.2.2: 403", falls=[UNTOUCHED, TUNED]
)
def denied_status(stage: Stage) -> Outcome:
    visitor = stage.visitor(origins=[GOOD])
    visitor.send(handshake("/", "Origin: https://evil.example"))
    return Outcome(visitor.status == 403, answered(visitor))


@scenario(
    "Origins that look like the good one to a lenient reader",
    "RFC 6454 section 6.1",
    falls=[UNTOUCHED, TUNED],
)
def loose_origins(stage: Stage) -> Outcome:
    tricks = {
        "backslash and user": "https://evil.example\\@good.example",
        "user": "https://evil.example@good.example",
        "slash": "https://good.example/",
        "path": "https://good.example/evil",
        "tab": "https://good.\texample",
        "empty port": "https://good.example:",
        "prefix": "https://good.example.evil.example",
        "suffix": "https://evilgood.example",
        "scheme": "http://good.example",
        "NEL": "https://good.example\x85https://evil.example",
    }
    passed = []
    for name, origin in tricks.items():
        visitor = stage.visitor(origins=[GOOD])
        visitor.send(handshake("/", f"Origin: {origin}"))
        if visitor.status == 101:
            passed.append(name)
    control = stage.visitor(origins=[GOOD])
    control.send(handshake("/", "Origin: https://good.example"))
    if control.status != 101:
        return Outcome(False, "the good origin was refused")
    return Outcome(not passed, counted(passed, tricks, "accepted"))


@scenario(
    "The origin null, which sandboxed frames of any site send", "RFC 6454 section 7.3", falls=[UNTOUCHED]
)
def null_origin(stage: Stage) -> Outcome:
    visitor = stage.visitor(origins=[GOOD])
    visitor.send(handshake("/", "Origin: null"))
    return Outcome(visitor.status in (400, 403), answered(visitor))
