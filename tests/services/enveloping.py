"""Clients that speak envelopes, for tests."""

from __future__ import annotations

import json
from typing import Any

from tests.services.far_engine import Broker
from tests.wire.harness import TEXT, Peer, WireTestCase, frame, parse_answer
from wsecho.hub.engine import Retention
from wsecho.hub.memory import MemoryEngine
from wsecho.services.broadcast import BroadcastServerFactory, BroadcastService

__all__ = ["PROTOCOL", "EnvelopeTestCase", "ask", "envelopes", "forget_answer", "kinds", "message_id", "said"]

PROTOCOL = "Sec-WebSocket-Protocol: wsecho.v1.json"


def message_id(number: int) -> str:
    """An id of a message."""
    return f"message-{number:010}"


def ask(peer: Peer, kind: str, **members: Any) -> None:
    """Send an envelope."""
    peer.send(frame(TEXT, json.dumps({"type": kind, **members}).encode()))


def envelopes(peer: Peer) -> list[dict[str, Any]]:
    """Every envelope that the server wrote."""
    return [json.loads(one.payload) for one in peer.frames if one.opcode == TEXT]


def kinds(peer: Peer) -> list[str]:
    """Their types."""
    return [one["type"] for one in envelopes(peer)]


def forget_answer(peer: Peer) -> None:
    """Leave the frames behind the answer to the opening handshake."""
    output = peer.transport.io
    rest = parse_answer(peer.transport.value()).rest
    output.seek(0)
    output.truncate()
    output.write(rest)


def said(peer: Peer, kind: str, *names: str) -> list[Any]:
    """Of the envelopes of a type, the member of this name, or a tuple of several."""
    found = [tuple(one.get(name) for name in names) for one in envelopes(peer) if one["type"] == kind]
    return [one[0] for one in found] if len(names) == 1 else found


class EnvelopeTestCase(WireTestCase):
    """A test with channels on an engine."""

    def served(self, size: int = 0, **options: Any) -> Any:
        """A factory whose channels keep so many messages in memory."""
        names = ("include_sender", "slow_consumer")
        given = {name: options.pop(name) for name in names if name in options}
        engine = MemoryEngine(lambda channel: Retention(size), self.clock)
        self.service = BroadcastService(engine=engine, node="node", **given)
        return self.factory(make=BroadcastServerFactory, broadcast=self.service, **options)

    def far(self, size: int = 0, nodes: int = 1, **options: Any) -> tuple[Broker, list[Any]]:
        """A broker, and the factories of nodes that share it."""
        broker = Broker(size, self.clock)
        factories = []
        for number in range(nodes):
            service = BroadcastService(engine=broker.node(), clock=self.clock, node=f"node{number}")
            service.relay.start()
            self.addCleanup(service.relay.stop)
            factories.append(self.factory(make=BroadcastServerFactory, broadcast=service, **options))
        return broker, factories

    def speaker(self, factory: Any, path: str = "/broadcast/c") -> Peer:
        """A client that speaks envelopes."""
        return self.peer(factory).open(path, PROTOCOL)

    def plain(self, factory: Any, path: str = "/broadcast/c") -> Peer:
        """A client that does not."""
        return self.peer(factory).open(path)
