"""The relay: plain clients on an engine that is shared, and what they are told when it breaks."""

from __future__ import annotations

from typing import Any

from tests.services.enveloping import EnvelopeTestCase, ask, forget_answer, message_id
from tests.wire.harness import TEXT, Peer, close, frame, handshake
from wsecho.hub.engine import EngineAway, EngineError, IEngineListener, PublicationTooLarge
from wsecho.policy.end_reasons import End, EndReason
from wsecho.services.broadcast import BroadcastService
from wsecho.services.relay import LINGER_SECONDS, Relay


class RelayTests(EnvelopeTestCase):
    """`Relay`, and so `EngineMember`."""

    def opening(self, factory: Any, path: str = "/broadcast/c") -> Peer:
        """A client whose opening handshake is on its way."""
        peer = self.peer(factory)
        peer.send(handshake(path))
        return peer

    def opened(self, broker: Any, factory: Any, path: str = "/broadcast/c") -> Peer:
        """A plain client, when everything has arrived."""
        peer = self.opening(factory, path)
        broker.pump()
        forget_answer(peer)
        return peer

    def test_interface(self) -> None:
        """It is what an engine tells."""
        self.assertTrue(IEngineListener.providedBy(BroadcastService().relay))

    def test_opens_when_subscribed(self) -> None:
        """A connection opens when its channel is listened to: whoever is open gets everything."""
        broker, (factory,) = self.far()
        peer = self.opening(factory)
        other = self.opening(factory)
        self.assertEqual(peer.transport.value(), b"")
        broker.pump()
        self.assertIn(b"101", peer.transport.value())
        self.assertIn(b"101", other.transport.value())
        at_once = self.opening(factory)
        self.assertIn(b"101", at_once.transport.value())

    def test_one_order(self) -> None:
        """All members of all nodes see one order; who sent a message does not get it, on its own node
        either."""
        broker, (here, there) = self.far(nodes=2)
        one, two, three = self.opened(broker, here), self.opened(broker, there), self.opened(broker, there)
        one.send(frame(TEXT, b"a"))
        two.send(frame(TEXT, b"b"))
        self.assertEqual(three.messages(), [])
        broker.pump()
        self.assertEqual((one.messages(), two.messages(), three.messages()), (["b"], ["a"], ["a", "b"]))

    def test_echo_untouched(self) -> None:
        """A path that is no channel waits for nobody."""
        from wsecho.services.echo import EchoServerFactory

        factory = self.factory(make=EchoServerFactory)
        peer = self.peer(factory).open("/")
        peer.send(frame(TEXT, b"x"))
        self.assertEqual(peer.messages(), ["x"])

    def test_refused_while_away(self) -> None:
        """While the engine is away nobody is let in who would hear nothing: 503."""
        broker, (factory,) = self.far()
        factory.broadcast.relay.engine.go_away()
        peer = self.opening(factory)
        self.assertEqual(peer.answer.status, "HTTP/1.1 503 Service Unavailable")
        self.assertEqual(peer.protocol.end, End(EndReason.UNAVAILABLE, None, 503))
        factory.broadcast.relay.engine.come_back()
        self.opened(broker, factory)

    def test_breaks_while_opening(self) -> None:
        """So it is when the link breaks while a connection opens; the next may try again."""
        for failure in (EngineAway("gone"), EngineError("no")):
            broker, (factory,) = self.far()
            peer = self.opening(factory)
            factory.broadcast.relay.engine.failure = failure
            broker.pump()
            self.assertEqual(peer.answer.status, "HTTP/1.1 503 Service Unavailable")
            factory.broadcast.relay.engine.failure = None
            self.opened(broker, factory)

    def test_bug_while_opening(self) -> None:
        """An exception of an engine's is logged, and answered with 500."""
        broker, (factory,) = self.far()
        peer = self.opening(factory)
        factory.broadcast.relay.engine.failure = ZeroDivisionError()
        broker.pump()
        self.assertIn("500", peer.answer.status)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_leaves_while_opening(self) -> None:
        """Who leaves before the channel is listened to is waited for no longer."""
        broker, (factory,) = self.far()
        self.opening(factory).leave()
        broker.pump()
        self.assertEqual(len(factory.broadcast.hub), 0)
        self.clock.advance(LINGER_SECONDS)
        self.assertEqual(factory.broadcast.relay.engine.subscribed, set())

    def test_lingers(self) -> None:
        """A channel is listened to for a while after the last has gone, and no longer."""
        broker, (factory,) = self.far()
        engine = factory.broadcast.relay.engine
        peer = self.opened(broker, factory)
        self.clock.advance(10 * LINGER_SECONDS)
        self.assertEqual(engine.subscribed, {"c"})
        peer.send(close(1000))
        self.clock.advance(LINGER_SECONDS - 0.1)
        self.assertEqual(engine.subscribed, {"c"})
        back = self.opening(factory)
        self.assertIn(b"101", back.transport.value())
        self.clock.advance(LINGER_SECONDS)
        self.assertEqual(engine.subscribed, {"c"})
        back.leave()
        self.assertEqual(factory.broadcast.relay._senders, {})
        self.clock.advance(LINGER_SECONDS)
        self.assertEqual(engine.subscribed, set())
        self.assertEqual(engine.members, {"c": set()})

    def test_slow_to_subscribe(self) -> None:
        """A channel that somebody waits for is not given up."""
        broker, (factory,) = self.far(handshake_timeout=0)
        peer = self.opening(factory)
        self.clock.advance(3 * LINGER_SECONDS)
        broker.pump()
        self.assertIn(b"101", peer.transport.value())

    def test_lost(self) -> None:
        """When messages may be missing, plain members are closed with 1012, one after the other; those of
        other channels, and echo, go on."""
        broker, (factory,) = self.far()
        peers = [self.opened(broker, factory) for _ in range(101)]
        other = self.opened(broker, factory, "/broadcast/d")
        factory.broadcast.relay.lost("c", None)
        self.assertIsNone(peers[0].protocol.end)
        self.clock.advance(0)
        self.assertEqual(peers[0].protocol.end, End(EndReason.MESSAGES_MISSED, 1012))
        closed = sum(peer.protocol.end is not None for peer in peers)
        self.assertLess(closed, 10)
        self.clock.pump([0.1] * 5)
        self.assertLess(sum(peer.protocol.end is not None for peer in peers), 70)
        self.clock.pump([0.1] * 10)
        self.assertEqual({peer.protocol.end for peer in peers}, {End(EndReason.MESSAGES_MISSED, 1012)})
        self.assertIsNone(other.protocol.end)
        self.assertEqual(factory.broadcast.relay.counts["gap"], 1)
        self.assertIn("engine far: messages may be missing; connections that get Close 1012: 101", self.log)
        self.assertEqual(peers[0].frames[-1].payload[2:], b"messages may be missing: connect again")

    def test_lost_twice(self) -> None:
        """Two breaks, one after the other, close everybody once; who came in between stays."""
        broker, (factory,) = self.far()
        first = [self.opened(broker, factory) for _ in range(50)]
        factory.broadcast.relay.lost("c", None)
        self.clock.advance(0)
        later = self.opened(broker, factory)
        second = self.opened(broker, factory, "/broadcast/d")
        factory.broadcast.relay.lost("d", None)
        self.clock.pump([0.1] * 10)
        self.assertEqual(
            {peer.protocol.end for peer in [*first, second]}, {End(EndReason.MESSAGES_MISSED, 1012)}
        )
        self.assertIsNone(later.protocol.end)

    def test_stopped_while_telling(self) -> None:
        """A relay that is stopped tells nobody any more, and leaves no timer."""
        broker, (factory,) = self.far()
        for _ in range(50):
            self.opened(broker, factory)
        relay = factory.broadcast.relay
        relay.lost("c", None)
        self.clock.advance(0)
        relay.lost("c", None)
        relay.stop()

    def test_publishing_while_away(self) -> None:
        """A plain client whose message is not taken is closed with 1013, and knows: nothing is acknowledged
        that is not stored, nor taken in silence."""
        for failure, end, reason in (
            (
                EngineAway("gone"),
                End(EndReason.ENGINE_AWAY, 1013),
                b"the engine is away: a message may be lost",
            ),
            (
                EngineError("no"),
                End(EndReason.ENGINE_AWAY, 1013),
                b"the engine is away: a message may be lost",
            ),
            (PublicationTooLarge("x"), End(EndReason.MESSAGE_TOO_BIG, 1009), b"larger than the engine takes"),
        ):
            broker, (factory,) = self.far()
            peer, other = self.opened(broker, factory), self.opened(broker, factory)
            factory.broadcast.relay.engine.failure = failure
            peer.send(frame(TEXT, b"x"))
            broker.pump()
            self.assertEqual(peer.protocol.end, end)
            self.assertEqual(peer.frames[-1].payload[2:], reason)
            self.assertIsNone(other.protocol.end)

    def test_bug_while_publishing(self) -> None:
        """An exception of an engine's is logged, and the client knows as well."""
        broker, (factory,) = self.far()
        peer = self.opened(broker, factory)
        factory.broadcast.relay.engine.failure = ZeroDivisionError()
        peer.send(frame(TEXT, b"x"))
        broker.pump()
        self.assertEqual(peer.protocol.end, End(EndReason.ENGINE_AWAY, 1013))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_in_flight(self) -> None:
        """A plain client that sends faster than the engine takes is not read beyond a bound."""
        broker, (factory,) = self.far()
        peer, other = self.opened(broker, factory), self.opened(broker, factory)
        sent = 0
        while peer.transport.producerState == "producing":
            peer.send(frame(TEXT, b"%d" % sent))
            sent += 1
        broker.pump()
        self.assertEqual(other.messages(), [str(number) for number in range(sent)])
        self.assertEqual(peer.transport.producerState, "producing")

    def test_states_in_the_log(self) -> None:
        """The log says when the engine went and came back, and so are told those with envelopes alone."""
        broker, (factory,) = self.far()
        peer = self.opened(broker, factory)
        relay = factory.broadcast.relay
        self.assertFalse(relay.is_away)
        relay.engine.go_away()
        self.assertTrue(relay.is_away)
        relay.engine.come_back()
        self.assertEqual(
            [line for line in self.log if "engine" in line], ["engine far: away", "engine far: up"]
        )
        levels = [event["log_level"].name for event in self.events if "engine" in event["log_format"]]
        self.assertEqual(levels, ["warn", "info"])
        self.assertEqual(peer.frames, [])

    def test_program_publishes(self) -> None:
        """What a program publishes goes the same way; it learns whether the engine has it."""
        broker, (factory,) = self.far(size=10)
        peer = self.opened(broker, factory)
        published = factory.publish("c", "x")
        self.assertNoResult(published)
        broker.pump()
        self.assertEqual(self.successResultOf(published).offset, 1)
        self.assertEqual(peer.messages(), ["x"])
        factory.broadcast.relay.engine.go_away()
        failed = factory.publish("c", "x")
        broker.pump()
        self.failureResultOf(failed, EngineAway)

    def test_nobody_there(self) -> None:
        """What arrives on a channel that everybody has left is not framed."""
        broker, (factory,) = self.far()
        peer = self.opened(broker, factory)
        peer.send(frame(TEXT, b"x"))
        peer.leave()
        broker.pump()

    def test_foreign_members(self) -> None:
        """A member of a program's own on the hub gets what is published, and need know nothing of gaps."""
        broker, (factory,) = self.far()
        self.opened(broker, factory)
        got: list[Any] = []

        class Member:
            def deliver(self, publication: Any) -> None:
                got.append(publication.entry.publication.payload)

        factory.broadcast.hub.join("c", Member())
        factory.publish("c", "x")
        broker.pump()
        factory.broadcast.relay.lost("c", None)
        factory.broadcast.relay.state_changed("up")
        self.assertEqual(got, [b"x"])
        self.clock.advance(0)

    def test_repeated_id_of_a_dead_node(self) -> None:
        """The sender's name is the node's, so that no two connections have the same."""
        broker, factories = self.far(size=10, nodes=2)
        ids = {factory.broadcast.member_id(self.opened(broker, factory).protocol) for factory in factories}
        self.assertEqual(len(ids), 2)
        self.assertEqual({one.partition("-")[0] for one in ids}, {"node0", "node1"})

    def test_mixed_with_envelopes(self) -> None:
        """On a shared engine, a plain client's coming and going is told to those with envelopes, once."""
        broker, (factory,) = self.far(size=10)
        speaker = self.peer(factory)
        speaker.send(handshake("/broadcast/c", "Sec-WebSocket-Protocol: wsecho.v1.json"))
        broker.pump()
        forget_answer(speaker)
        plain = self.opened(broker, factory)
        ask(speaker, "publish", id=message_id(0), text="x")
        broker.pump()
        self.assertEqual(plain.messages(), ["x"])
        plain.leave()
        broker.pump()
        text = b"".join(one.payload for one in speaker.frames)
        self.assertEqual((text.count(b'"join"'), text.count(b'"leave"')), (1, 1))
        self.assertEqual(len(factory.broadcast.relay.engine.members["c"]), 1)

    def test_stopped_while_subscribing(self) -> None:
        """A relay may be stopped while a channel is subscribed to, and while one is listened to."""
        broker, (factory,) = self.far()
        self.opened(broker, factory, "/broadcast/d")
        self.clock.advance(LINGER_SECONDS)
        peer = self.opening(factory)
        relay = factory.broadcast.relay
        relay.stop()
        relay.engine.failure = EngineAway("stopped")
        broker.pump()
        self.assertEqual(peer.answer.status, "HTTP/1.1 503 Service Unavailable")

    def test_presence_elsewhere(self) -> None:
        """What changed elsewhere is of no interest where nobody speaks envelopes."""
        broker, (factory,) = self.far()
        peer = self.opened(broker, factory)
        factory.broadcast.relay.presence_changed("c", 5)
        Relay(factory.broadcast.hub, factory.broadcast.relay.engine).presence_changed("c", 5)
        self.clock.advance(2)
        self.assertEqual(peer.frames, [])

    def test_local_engine_needs_no_clock(self) -> None:
        """A program that has no engine needs none of this."""
        service = BroadcastService()
        self.assertIsInstance(service.relay, Relay)
        self.assertFalse(service.relay.is_away)
        self.successResultOf(service.relay.stop())
