"""Whatever happens to a connection, in whatever order: it ends once, with a reason, and leaves nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from autobahn.exception import Disconnected
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from zope.interface import implementer

from tests.wire.harness import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Peer,
    Program,
    WireTestCase,
    close,
    frame,
    handshake,
    parse_frames,
)
from wsecho.policy.lifecycle import Phase
from wsecho.wire.frames import prepare
from wsecho.wire.interfaces import IService

#: More than the close timeout.
DRAIN_SECONDS = 8

#: What a program may do with a connection, at any time.
DEEDS: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda connection: None,
    "message": lambda connection: connection.sendMessage(b"hello"),
    "prepared": lambda connection: connection.sendPreparedMessage(prepare(b"hello", True)),
    "ping": lambda connection: connection.sendPing(b"mine"),
    "close": lambda connection: connection.sendClose(4000, "enough"),
    "fail": lambda connection: connection._fail_connection(1008, "no"),
    "drop": lambda connection: connection.dropConnection(),
    "abort": lambda connection: connection.dropConnection(abort=True),
    "pause": lambda connection: connection.pause_reading(),
    "resume": lambda connection: connection.resume_reading(),
    "raise": lambda connection: 1 / 0,
    "shutdown": lambda connection: connection.factory.shutdown(),
    "drain": lambda connection: connection.factory.shutdown(timeout=DRAIN_SECONDS, spread=True),
    "drop all": lambda connection: connection.factory.shutdown(timeout=0),
}

#: What a peer may send, each in a segment.
SEGMENTS: dict[str, bytes] = {
    "half a head": b"GET / HTTP/1.1\r\nHost: h\r\n",
    "head": handshake(),
    "head and message": handshake() + frame(TEXT, b"early"),
    "wrong head": b"nonsense\r\n\r\n",
    "message": frame(TEXT, b"hello"),
    "messages": frame(TEXT, b"one") + frame(BINARY, b"two"),
    "half a frame": frame(TEXT, b"hello")[:5],
    "fragment": frame(TEXT, b"a", fin=False),
    "last fragment": frame(CONTINUATION, b"b"),
    "ping": frame(PING, b"p"),
    "pong": frame(PONG),
    "violation": frame(TEXT, mask=b""),
    "close": close(1000),
    "close and more": close(1000) + frame(TEXT, b"late"),
    "wrong close": close(1005),
    "much": bytes(70_000),
}

STEPS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(sorted(SEGMENTS))),
    st.tuples(st.just("do"), st.sampled_from(sorted(DEEDS))),
    st.tuples(st.just("wait"), st.sampled_from((0.0, 1.0, 5.0, 10.0, 21.0))),
    st.tuples(st.just("decide"), st.sampled_from((True, False, None))),
    st.tuples(st.just("peer"), st.sampled_from(("finish", "reset", "answer", "read nothing"))),
)

#: What the service and the program do when they are told of something.
REACTIONS = st.fixed_dictionaries(
    {
        what: st.sampled_from(sorted(DEEDS)) | st.just("nothing")
        for what in ("onConnect", "opened", "onOpen", "message", "closed", "onClose", "onPing")
    }
)


@implementer(IService)
class Service:
    """Does what the history says when it is told of something."""

    def __init__(self, react: Callable[[str, Any], None]) -> None:
        self.react = react
        self.told: list[str] = []

    def opened(self, connection: Any) -> None:
        self.told.append("opened")
        self.react("opened", connection)

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        self.told.append("message")
        self.react("message", connection)

    def closed(self, connection: Any) -> None:
        self.told.append("closed")
        self.react("closed", connection)


class Reacting(Program):
    """Likewise."""

    def onConnect(self, request: Any) -> Any:
        self.factory.react("onConnect", self)
        return super().onConnect(request)

    def onOpen(self) -> None:
        super().onOpen()
        self.factory.react("onOpen", self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        assert self.service is not None
        self.service.message_arrived(self, payload, isBinary)

    def onPing(self, payload: bytes) -> None:
        super().onPing(payload)
        self.factory.react("onPing", self)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        super().onClose(wasClean, code, reason)
        self.factory.react("onClose", self)


class AnyHistoryTests(WireTestCase):
    """Histories, as hypothesis finds them."""

    def step(self, peer: Peer, kind: str, value: Any) -> None:
        """One step of a history."""
        transport = peer.transport
        can_speak = not (transport.has_ended or transport.disconnecting)
        if kind == "send":
            if can_speak and transport.producerState == "producing":
                peer.send(SEGMENTS[value])
        elif kind == "do":
            with contextlib.suppress(Disconnected, ZeroDivisionError):
                DEEDS[value](peer.protocol)
        elif kind == "wait":
            self.clock.advance(value)
        elif kind == "decide":
            if not self.verdict.called:
                self.verdict.callback(value)
        elif value == "finish":
            if can_speak and transport.producerState == "producing":
                peer.protocol.readConnectionLost()
        elif value == "reset":
            peer.reset()
        elif value == "read nothing":
            transport.reads_nothing = True
        elif can_speak and transport.producerState == "producing" and peer.protocol.phase is Phase.OPEN:
            pings = peer.transport.value().rpartition(b"\x89\x0c")
            if pings[1]:
                peer.send(frame(PONG, pings[2][:12]))

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.booleans(), st.booleans(), REACTIONS, st.lists(STEPS, max_size=12))
    def test_any_history(
        self, decides_later: bool, opens: bool, reactions: dict[str, str], steps: list[tuple[str, Any]]
    ) -> None:
        """However a connection is treated by peer, program, service, clock and policy: there is one answer
        and one Close at most; open is told first and closed once, last; what has begun to end has ended after
        the close timeout, or a drain's time; no timer is left and no count."""
        self.events.clear()
        self.verdict: Deferred[Any] = Deferred()

        def react(what: str, connection: Any) -> None:
            DEEDS[reactions[what]](connection)

        service = Service(react)
        factory = self.factory(
            Reacting,
            route=lambda path: service,
            origins=lambda request: self.verdict if decides_later else True,
            max_head_size=65536,
            max_connections_per_address=2,
        )
        factory.react = react
        peer = self.peer(factory)
        if opens:
            self.step(peer, "send", "head")
            self.step(peer, "decide", True)
        for kind, value in steps:
            self.step(peer, kind, value)
        if peer.protocol.phase in (Phase.CLOSING, Phase.FLUSHING):
            is_drained = "drain" in reactions.values() or ("do", "drain") in steps
            self.clock.advance(DRAIN_SECONDS if is_drained else 5)
            self.clock.advance(0)
            self.assertTrue(peer.transport.has_ended)
        peer.reset()
        self.step(peer, "decide", True)
        self.clock.advance(0)
        for error in self.flushLoggedErrors():
            is_policy = "the origin policy returned" in error.getErrorMessage()
            self.assertTrue(is_policy or error.check(ZeroDivisionError, Disconnected), error)
        protocol = peer.protocol
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIs(protocol.phase, Phase.GONE)
        self.assertIsNotNone(protocol.end)
        self.assertEqual((factory.connections, factory._alive), (set(), set()))
        self.assertEqual(factory.getConnectionCount(), 0)
        self.assertEqual((len(factory.room), factory.room.addresses), (0, 0))
        self.assertEqual(self.successResultOf(protocol.is_closed), protocol)
        written = peer.transport.value()
        self.assertLessEqual(written.count(b"HTTP/1.1 "), 1)
        if written.startswith(b"HTTP/1.1 101 "):
            # Not the bytes: a ping's payload is random, and may have that of a Close in it.
            opcodes = [one.opcode for one in parse_frames(written.partition(b"\r\n\r\n")[2])]
            self.assertLessEqual(opcodes.count(CLOSE), 1)
        opened = bool(service.told)
        self.assertEqual(service.told[:1] + service.told[-1:], ["opened", "closed"] if opened else [])
        self.assertEqual(service.told.count("closed"), int(opened))
        told = [what for what, *_ in protocol.told]
        self.assertEqual(told[-1], "close")
        self.assertIn(told, (["open", "close"], ["close"]))
        mine = [line for line in self.log if line.startswith(f"{protocol.id} ")]
        self.assertEqual(len([line for line in mine if " open: " in line]), int(opened))
        self.assertEqual(len([line for line in mine if " reason=" in line]), 1)
