"""Threats while a server makes up its mind: ``onConnect`` has returned a Deferred."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.threats.scenario import Outcome, Stage, scenario
from tests.threats.subjects import TUNED, UNTOUCHED
from tests.wire.harness import frame, handshake

__all__: list[str] = []

BOTH = (UNTOUCHED, TUNED)


@scenario(
    "A second handshake while the first is decided on", "RFC 6455 section 4.2.2: one answer", falls=BOTH
)
def second_handshake(stage: Stage) -> Outcome:
    asked: list[Deferred[None]] = []

    def decide() -> Deferred[None]:
        asked.append(Deferred())
        return asked[-1]

    visitor = stage.visitor(decide=decide)
    visitor.send(handshake())
    visitor.send(handshake("/other"))
    for decision in asked:
        decision.addErrback(lambda _: None)
        decision.callback(None)
    stage.clock.advance(1)
    answers = visitor.received.count(b"HTTP/1.1 101")
    return Outcome(
        (len(asked), answers) == (1, 1), f"program asked {_times(len(asked))}, 101 sent {_times(answers)}"
    )


def _times(count: int) -> str:
    return {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")


@scenario("A peer that leaves while it is decided on", "no onOpen after onClose", falls=BOTH)
def gone_before_the_decision(stage: Stage) -> Outcome:
    decision: Deferred[None] = Deferred()
    factory = stage.factory(decide=lambda: decision)
    visitor = stage.visitor(factory)
    visitor.send(handshake())
    visitor.finish()
    if not decision.called:
        decision.callback(None)
    stage.clock.advance(1)
    order = ", ".join(factory.told)
    return Outcome("onOpen" not in factory.told, f"program was told: {order or 'nothing'}")


@scenario("8 MiB of frames while it is decided on", "CWE-770", falls=BOTH)
def flood_before_the_decision(stage: Stage) -> Outcome:
    decision: Deferred[None] = Deferred()
    visitor = stage.visitor(decide=lambda: decision)
    visitor.send(handshake())
    taken = 0
    while taken < 8 * 1024**2 and visitor.transport.producerState == "producing":
        visitor.send(frame(2, bytes(65528)))
        taken += 65536
    is_bounded = taken <= 131072
    return Outcome(
        is_bounded, f"{taken // 1024} KiB taken, then paused" if is_bounded else "all taken and kept"
    )


@scenario(
    "A decision that comes after the handshake timeout", "no 101 to a connection that was ended", falls=BOTH
)
def late_decision(stage: Stage) -> Outcome:
    decision: Deferred[None] = Deferred()
    factory = stage.factory(decide=lambda: decision, handshake_timeout=10.0)
    visitor = stage.visitor(factory)
    visitor.send(handshake())
    # The peer does not read, so the end of the connection is not over when the decision comes.
    visitor.transport.reads_nothing = True
    stage.clock.advance(10)
    ended = visitor.is_ending
    if not decision.called:
        decision.callback(None)
    answers = visitor.received.count(b"HTTP/1.1 101")
    happened = f"{'ended' if ended else 'not ended'} in time, 101 sent {_times(answers)}"
    return Outcome(
        ended and not answers and "onOpen" not in factory.told,
        happened + (", onOpen told" if "onOpen" in factory.told else ""),
    )


@scenario("A frame that comes while it is decided on", "RFC 6455 section 4.1")
def frame_before_the_decision(stage: Stage) -> Outcome:
    decision: Deferred[None] = Deferred()
    visitor = stage.visitor(decide=lambda: decision)
    visitor.send(handshake())
    visitor.send(frame(1, b"early"))
    decision.callback(None)
    stage.clock.advance(1)
    echoed = visitor.received.endswith(b"\x81\x05early")
    return Outcome(echoed, "echoed after the decision" if echoed else "lost")
