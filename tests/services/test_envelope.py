"""Members that speak envelopes: what they are told, and when."""

from __future__ import annotations

import json
from typing import Any

from tests.services.enveloping import (
    PROTOCOL,
    EnvelopeTestCase,
    ask,
    envelopes,
    forget_answer,
    kinds,
    message_id,
    said,
)
from tests.wire.harness import BINARY, TEXT, Peer, close, frame, handshake, parse_answer
from wsecho.hub.engine import EngineError, Entry, Position, Publication, PublicationTooLarge, Retention
from wsecho.hub.memory import MemoryEngine
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.envelopes import ENVELOPES, Direction
from wsecho.policy.slow_consumers import SlowConsumer
from wsecho.services.broadcast import BroadcastService
from wsecho.services.envelope import MOST_EARLY, MOST_IN_FLIGHT, REPLAYED_AT_ONCE
from wsecho.services.publications import Relayed
from wsecho.services.relay import MOST_REPLAYED, MOST_REPLAYED_BYTES, REPLAYED_SECONDS
from wsecho.wire.frames import prepare


def publish(peer: Peer, text: str, number: int = 0) -> None:
    """Publish a text."""
    ask(peer, "publish", id=message_id(number), text=text)


def resume(epoch: str, since: int) -> str:
    """The path of a client that wants to go on."""
    return f"/broadcast/c?epoch={epoch}&since={since}"


class NegotiationTests(EnvelopeTestCase):
    """Who speaks envelopes."""

    def test_offered_on_channels(self) -> None:
        """Channels speak the subprotocol without an option, in the place that the client gives it; echo does
        not, and who does not ask for it is a plain client."""
        factory = self.served(subprotocols=["mine"])
        for offered, chosen in (
            ("wsecho.v1.json", "wsecho.v1.json"),
            ("other, wsecho.v1.json, mine", "wsecho.v1.json"),
            ("mine, wsecho.v1.json", "mine"),
            ("other", None),
        ):
            peer = self.peer(factory)
            peer.send(handshake("/broadcast", f"Sec-WebSocket-Protocol: {offered}"))
            self.assertEqual(peer.answer.headers.get("sec-websocket-protocol"), chosen, offered)
            rest = parse_answer(peer.transport.value()).rest
            self.assertEqual(bool(rest), chosen == "wsecho.v1.json", offered)

    def test_not_on_echo(self) -> None:
        """A path that is no channel does not speak it."""
        from wsecho.services.echo import EchoServerFactory

        peer = self.peer(self.factory(make=EchoServerFactory))
        peer.send(handshake("/", PROTOCOL))
        self.assertNotIn("sec-websocket-protocol", peer.answer.headers)

    def test_channel(self) -> None:
        """The connection knows its channel, and counts among those of broadcast."""
        factory = self.served()
        peer = self.speaker(factory)
        self.assertEqual((peer.protocol.channel, peer.protocol.service.name), ("c", "broadcast"))
        self.assertRegex(repr(peer.protocol.service), r"<connection node-\d+ with envelopes on channel 'c'>")


class ConversationTests(EnvelopeTestCase):
    """`EnvelopeMember` on the memory engine."""

    def test_welcome(self) -> None:
        """The first envelope says who one is, where the channel stands and how many are on it."""
        factory = self.served(size=10)
        first = self.plain(factory)
        first.send(frame(TEXT, b"x"))
        peer = self.speaker(factory)
        (welcome,) = envelopes(peer)
        self.assertEqual(welcome["id"], f"node-{peer.protocol.id}")
        position = self.service.relay.position("c")
        assert position is not None
        del welcome["id"]
        self.assertEqual(
            welcome,
            {
                "type": "welcome",
                "epoch": position.epoch,
                "offset": 1,
                "recovered": None,
                "replayed": 0,
                "presence": 2,
            },
        )

    def test_without_history(self) -> None:
        """On a channel that keeps nothing there are no positions, and nobody can go on anywhere."""
        factory = self.served()
        peer = self.speaker(factory)
        self.assertEqual(said(peer, "welcome", "epoch", "offset", "recovered"), [(None, None, None)])
        publish(peer, "x")
        self.assertEqual(said(peer, "ack", "id", "epoch", "offset"), [(message_id(0), None, None)])
        self.assertEqual(said(peer, "message", "text", "epoch", "offset"), [("x", None, None)])
        back = self.speaker(factory, resume("e", 1))
        self.assertEqual(said(back, "welcome", "epoch", "offset", "recovered"), [(None, None, False)])

    def test_message(self) -> None:
        """A message has its place, its sender, and what it says: text as text, binary as base64; one's own
        come as well."""
        factory = self.served(size=10)
        one, two = self.speaker(factory), self.speaker(factory)
        publish(one, 'grün "\0\u2028"')
        ask(one, "publish", id=message_id(1), binary="/wA=")
        self.service.publish("c", "from the server")
        sender = said(one, "welcome", "id")[0]
        expected = [
            (1, sender, 'grün "\0\u2028"', None),
            (2, sender, None, "/wA="),
            (3, "", "from the server", None),
        ]
        for peer in (one, two):
            self.assertEqual(said(peer, "message", "offset", "sender", "text", "binary"), expected)

    def test_mixed(self) -> None:
        """Plain clients and those with envelopes are on one channel, with a history or without: each gets
        what the others say, in one order, and a plain one not its own."""
        for size in (0, 10):
            factory = self.served(size=size)
            plain, other, speaker = self.plain(factory), self.plain(factory), self.speaker(factory)
            plain.send(frame(TEXT, b"a"))
            publish(speaker, "b")
            other.send(frame(BINARY, b"c"))
            self.assertEqual(plain.messages(), ["b", b"c"])
            self.assertEqual(other.messages(), ["a", "b"])
            self.assertEqual(
                said(speaker, "message", "text", "binary"), [("a", None), ("b", None), (None, "Yw==")]
            )
            senders = said(speaker, "message", "sender")
            self.assertEqual(senders[0], f"node-{plain.protocol.id}")
            self.assertEqual(len(set(senders)), 3)

    def test_past_the_engine(self) -> None:
        """What a program publishes on the hub by itself is a message of the server's, without a place."""
        factory = self.served(size=10)
        peer = self.speaker(factory)
        self.service.hub.publish("c", prepare(b"x", False))
        self.service.publish("c", "y")
        self.assertEqual(said(peer, "message", "offset", "sender", "text"), [(None, "", "x"), (1, "", "y")])

    def test_include_sender(self) -> None:
        """With include_sender a plain client on a channel with history gets its own as well, once."""
        factory = self.served(size=10, include_sender=True)
        plain, speaker = self.plain(factory), self.speaker(factory)
        plain.send(frame(TEXT, b"a"))
        self.assertEqual((plain.messages(), said(speaker, "message", "text")), (["a"], ["a"]))

    def test_framed_once(self) -> None:
        """The frame of each kind is made once for all who get it."""
        factory = self.served(size=10, send_queue=1000)
        peers = [self.speaker(factory), self.speaker(factory), self.plain(factory), self.plain(factory)]
        for peer in peers:
            peer.transport.reads_nothing = True
            peer.protocol.sendMessage(bytes(600), True)
        self.service.publish("c", "shared")
        waiting = [id(peer.protocol.link.outbox._waiting[-1][0]) for peer in peers]
        self.assertEqual(len(set(waiting)), 2)

    def test_compressed(self) -> None:
        """Envelopes are compressed for those who agreed on it."""
        factory = self.served(compression="deflate")
        peer = self.peer(factory).open(
            "/broadcast/c", PROTOCOL, "Sec-WebSocket-Extensions: permessage-deflate"
        )
        self.assertEqual([one.rsv for one in peer.frames], [4])

    def test_same_id(self) -> None:
        """The same id again is acknowledged with the first place, and neither stored nor sent again."""
        factory = self.served(size=10)
        peer = self.speaker(factory)
        publish(peer, "x")
        publish(peer, "x")
        other = self.speaker(factory)
        publish(other, "x")
        self.assertEqual(said(peer, "ack", "offset"), [1, 1])
        self.assertEqual(said(other, "ack", "offset"), [1])
        self.assertEqual(said(peer, "message", "offset"), [1])

    def test_answered_once(self) -> None:
        """Each publication is answered once, with ack or error."""
        peer = self.speaker(self.served(size=10))
        publish(peer, "x", 1)
        ask(peer, "publish", id=message_id(2), text=1)
        ask(peer, "publish", id="short", text="x")
        publish(peer, "y", 3)
        answers = [(one["type"], one["id"]) for one in envelopes(peer) if one["type"] in ("ack", "error")]
        self.assertEqual(
            answers,
            [("ack", message_id(1)), ("error", message_id(2)), ("error", None), ("ack", message_id(3))],
        )
        self.assertEqual(said(peer, "error", "code"), ["bad-field", "bad-field"])

    def test_other_requests(self) -> None:
        """A ping is answered, and so is the question how many there are; what is unknown is an error, and the
        connection goes on."""
        factory = self.served()
        peer = self.speaker(factory)
        self.plain(factory)
        ask(peer, "ping")
        ask(peer, "presence")
        ask(peer, "subscribe")
        self.assertEqual(kinds(peer), ["welcome", "join", "pong", "presence", "error"])
        self.assertEqual(said(peer, "presence", "count"), [2])
        self.assertEqual(said(peer, "error", "id", "code"), [(None, "unknown-type")])
        self.assertIsNone(peer.protocol.end)

    def test_count_of_who_comes(self) -> None:
        """Who comes is counted in what the others are told of it, and who goes is not."""
        factory = self.served()
        peer, other = self.speaker(factory), self.speaker(factory)
        other.leave()
        self.assertEqual(said(peer, "join", "count"), [2])
        self.assertEqual(said(peer, "leave", "count"), [1])

    def test_no_envelope(self) -> None:
        """What is no envelope ends the connection with 1007, and reaches nobody."""
        factory = self.served()
        for sent, line in (
            (frame(TEXT, b"\x1b[31mhello"), b"a message that is no JSON"),
            (frame(BINARY, b"{}"), b"a binary message"),
            (frame(TEXT, b"[" * 100_000), b"a message that is no JSON"),
        ):
            peer, other = self.speaker(factory), self.speaker(factory)
            peer.send(sent)
            peer.work_off()
            self.assertEqual(peer.protocol.end, End(EndReason.INVALID_PAYLOAD, 1007))
            self.assertEqual(peer.frames[-1].payload[2:], b"no envelope of wsecho.v1.json: " + line)
            self.assertEqual(said(other, "message", "text"), [])
        self.assertNotIn("\x1b", "".join(self.log))

    def test_too_large(self) -> None:
        """An envelope beyond max-message-size is closed with 1009, as any message."""
        peer = self.speaker(self.served(max_message_size=100))
        publish(peer, "x" * 100)
        self.assertEqual(peer.protocol.end, End(EndReason.MESSAGE_TOO_BIG, 1009))

    def test_bad_position(self) -> None:
        """A URL with half a position is closed with 1008; the client was on no channel."""
        factory = self.served(size=10)
        peer = self.speaker(factory, "/broadcast/c?epoch=e")
        self.assertEqual(peer.protocol.end, End(EndReason.POLICY_VIOLATION, 1008))
        self.assertEqual(peer.frames[-1].payload[2:], b"epoch and since: each once, or none")
        self.assertEqual(len(self.service.hub), 0)

    def test_what_is_sent_is_in_the_table(self) -> None:
        """Whatever the server sends is in the table of envelopes, with exactly the members that it says."""
        factory = self.served(size=1, slow_consumer=SlowConsumer.DROP_NEWEST)
        peer = self.speaker(factory)
        member = peer.protocol.service
        self.plain(factory).leave()
        publish(peer, "x")
        ask(peer, "publish", id=message_id(1), binary="")
        for kind in ("ping", "presence", "nonsense"):
            ask(peer, kind)
        member.missed(None)
        member.engine_changed("away")
        member._tell_dropped()
        rows = {row.name: row for row in ENVELOPES if row.direction is Direction.SERVER}
        self.assertEqual(set(kinds(peer)), set(rows))
        for one in envelopes(peer):
            fields = rows[one.pop("type")].fields
            self.assertLessEqual({field.name for field in fields if not field.is_optional}, set(one))
            self.assertLessEqual(set(one), {field.name for field in fields})


class ReplayTests(EnvelopeTestCase):
    """Going on after a position."""

    def numbered(self, factory: Any, count: int, first: int = 1) -> str:
        """Publish numbers, and return the epoch."""
        for number in range(first, first + count):
            self.service.publish("c", str(number))
        position = self.service.relay.position("c")
        assert position is not None
        return position.epoch

    def test_goes_on(self) -> None:
        """What came after the position follows, then what is live: each once, in order."""
        factory = self.served(size=10)
        epoch = self.numbered(factory, 5)
        peer = self.speaker(factory, resume(epoch, 3))
        self.numbered(factory, 2, first=6)
        self.assertEqual(
            said(peer, "welcome", "epoch", "offset", "recovered", "replayed"), [(epoch, 3, True, 2)]
        )
        self.assertEqual(said(peer, "message", "offset"), [4, 5, 6, 7])
        self.assertEqual(said(peer, "message", "text"), ["4", "5", "6", "7"])

    def test_nothing_missed(self) -> None:
        """Who has everything is told so."""
        factory = self.served(size=10)
        peer = self.speaker(factory, resume(self.numbered(factory, 5), 5))
        self.assertEqual(said(peer, "welcome", "offset", "recovered", "replayed"), [(5, True, 0)])

    def test_trimmed(self) -> None:
        """Where something is gone, that is said, and what is left follows from where it begins."""
        factory = self.served(size=3)
        epoch = self.numbered(factory, 10)
        peer = self.speaker(factory, resume(epoch, 3))
        self.assertEqual(said(peer, "welcome", "offset", "recovered", "replayed"), [(7, False, 3)])
        self.assertEqual(said(peer, "message", "offset"), [8, 9, 10])

    def test_foreign_epoch(self) -> None:
        """A position of another epoch, or of the future, is none."""
        factory = self.served(size=3)
        epoch = self.numbered(factory, 2)
        for path in (resume("another", 1), resume(epoch, 9)):
            peer = self.speaker(factory, path)
            self.assertEqual(said(peer, "welcome", "epoch", "offset", "recovered"), [(epoch, 0, False)])
            self.assertEqual(said(peer, "message", "offset"), [1, 2])

    def test_pace(self) -> None:
        """The history is given at the pace of the client, whatever the policy: it is neither closed nor loses
        a message, however long that takes, and what is live meanwhile comes behind."""
        for policy in SlowConsumer:
            factory = self.served(size=1000, send_queue=500, slow_consumer=policy, ping_interval=0)
            epoch = self.numbered(factory, 200)
            peer = self.peer(factory)
            peer.transport.reads_nothing = True
            peer.send(handshake(resume(epoch, 0), PROTOCOL))
            most = 0
            first = 201
            for _ in range(1000):
                peer.transport.read_once()
                self.clock.advance(0)
                most = max(most, peer.protocol.link.queued_bytes)
                if first <= 300:
                    self.numbered(factory, 1, first=first)
                    first += 1
            peer.transport.read()
            self.clock.pump([0.0] * 10)
            forget_answer(peer)
            self.assertEqual(said(peer, "message", "offset"), list(range(1, 301)), policy)
            self.assertEqual(said(peer, "gap", "offset"), [])
            self.assertLess(most, 1000)

    def test_turns(self) -> None:
        """A long history is given in slices, between which others have a turn."""
        factory = self.served(size=1000)
        epoch = self.numbered(factory, 3 * REPLAYED_AT_ONCE)
        peers = [self.speaker(factory, resume(epoch, 0)) for _ in range(2)]
        for peer in peers:
            self.assertEqual(len(said(peer, "message", "offset")), REPLAYED_AT_ONCE)
        self.clock.pump([0.0] * 5)
        for peer in peers:
            self.assertEqual(len(said(peer, "message", "offset")), 3 * REPLAYED_AT_ONCE)

    def test_replayed_once(self) -> None:
        """Those who go on after the same break are given the same frames, which are forgotten soon after."""
        engine = MemoryEngine(lambda channel: Retention(9))
        relay = BroadcastService(engine=engine, clock=self.clock).relay
        for number in range(3):
            engine.publish("c", Publication(b"%d" % number, False))

        def replayed() -> list[Relayed]:
            history = self.successResultOf(relay.history("c", Position("e", 0)))
            return [relay.replayed("c", entry) for entry in history.entries]

        made = replayed()
        self.assertEqual(replayed(), made)
        self.clock.advance(REPLAYED_SECONDS)
        again = replayed()
        self.assertEqual([one in made for one in again], [False] * 3)
        relay.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_frames_are_bounded(self) -> None:
        """Frames of the history are kept up to a number, and up to a sum of bytes; without a clock none
        are."""
        relay = BroadcastService(clock=self.clock).relay

        def entry(number: int, size: int) -> Entry:
            return Entry(Publication(bytes(size), True), Position("e", number))

        first = relay.replayed("c", entry(0, 1))
        for number in range(MOST_REPLAYED - 1):
            relay.replayed("c", entry(number, 1))
        self.assertIs(relay.replayed("c", entry(0, 1)), first)
        relay.replayed("c", entry(-1, MOST_REPLAYED_BYTES - 1))
        self.assertIs(relay.replayed("c", entry(0, 1)), first)
        relay.replayed("c", entry(-2, MOST_REPLAYED_BYTES))
        self.assertIsNot(relay.replayed("c", entry(0, 1)), first)
        relay.stop()
        other = BroadcastService().relay
        self.assertIsNot(other.replayed("c", entry(0, 1)), other.replayed("c", entry(0, 1)))

    def test_trimmed_meanwhile(self) -> None:
        """What goes out of the history before the client has taken it is a gap, told where it is."""
        factory = self.served(size=100, send_queue=300, ping_interval=0)
        epoch = self.numbered(factory, 10)
        peer = self.peer(factory)
        peer.transport.reads_nothing = True
        peer.send(handshake(resume(epoch, 0), PROTOCOL))
        self.numbered(factory, 300, first=11)
        peer.transport.read()
        self.clock.pump([0.0] * 20)
        forget_answer(peer)
        self.assertEqual(said(peer, "message", "offset"), [*range(1, 11), *range(211, 311)])
        self.assertEqual(said(peer, "gap", "epoch", "offset"), [(epoch, 210)])

    def test_leaves_meanwhile(self) -> None:
        """Who leaves before it has everything is forgotten."""
        factory = self.served(size=1000)
        peer = self.speaker(factory, resume(self.numbered(factory, 500), 0))
        peer.send(close(1000))
        self.clock.pump([0.0] * 20)
        self.assertEqual(len(self.service.hub), 0)


class SlowTests(EnvelopeTestCase):
    """Clients that do not read."""

    def slow(self, policy: SlowConsumer, size: int = 0) -> Peer:
        """A client that reads nothing, and a hundred messages for it."""
        factory = self.served(size=size, slow_consumer=policy, send_queue=2000, ping_interval=0)
        peer = self.speaker(factory)
        peer.transport.reads_nothing = True
        for number in range(100):
            self.service.publish("c", f"{number:03}")
        return peer

    def test_closed(self) -> None:
        """With close it is closed with 1013, as a plain client."""
        self.assertEqual(self.slow(SlowConsumer.CLOSE).protocol.end, End(EndReason.SLOW_CONSUMER, 1013))

    def test_dropped(self) -> None:
        """With a policy that drops it is told how many, as soon as it reads; offsets show which."""
        for policy in (SlowConsumer.DROP_OLDEST, SlowConsumer.DROP_NEWEST):
            peer = self.slow(policy, size=1000)
            queued = peer.protocol.link.queued_bytes
            self.assertLess(queued, 2200)
            peer.transport.read()
            got = said(peer, "message", "offset")
            self.assertEqual(said(peer, "dropped", "count"), [100 - len(got)], policy)
            self.assertEqual(got, sorted(set(got)))
            self.assertEqual(self.service.dropped, 100 - len(got))
            self.service.publish("c", "later")
            self.assertEqual(said(peer, "message", "text")[-1], "later")
            self.assertEqual(len(said(peer, "dropped", "count")), 1)
            peer.transport.reads_nothing = True
            for number in range(50):
                self.service.publish("c", f"{number:03}")
            peer.transport.read()
            got = said(peer, "message", "offset")
            self.assertEqual(sum(said(peer, "dropped", "count")), 151 - len(got))

    def test_closed_before_it_is_told(self) -> None:
        """Who is closed before it reads is told of no drops behind the Close."""
        peer = self.slow(SlowConsumer.DROP_NEWEST)
        peer.protocol.sendClose(1000)
        peer.transport.read()
        self.assertEqual(said(peer, "dropped", "count"), [])
        self.assertEqual(peer.frames[-1].opcode, 8)

    def test_answers_are_not_dropped(self) -> None:
        """Who does not read its answers is not read; each comes, and no more than the send queue waits."""
        factory = self.served(slow_consumer=SlowConsumer.DROP_NEWEST, send_queue=2000, ping_interval=0)
        peer = self.speaker(factory)
        peer.transport.reads_nothing = True
        sent = 0
        while peer.transport.producerState == "producing":
            publish(peer, "x", sent)
            sent += 1
        self.assertLess(sent, 100)
        self.assertLess(peer.protocol.link.queued_bytes, 2500)
        peer.transport.read()
        self.assertEqual(said(peer, "ack", "id"), [message_id(number) for number in range(sent)])
        self.assertEqual(peer.transport.producerState, "producing")

    def test_notices_do_not_close(self) -> None:
        """Who comes and goes is told to nobody who has no room for it."""
        peer = self.slow(SlowConsumer.DROP_NEWEST)
        before = peer.protocol.link.queued_bytes
        self.plain(peer.protocol.factory)
        self.assertEqual(peer.protocol.link.queued_bytes, before)


class FarTests(EnvelopeTestCase):
    """`EnvelopeMember` on an engine that takes its time."""

    def opened(self, broker: Any, factory: Any, path: str = "/broadcast/c", pump: bool = True) -> Peer:
        """A client with envelopes, whose channel is listened to."""
        peer = self.peer(factory)
        peer.send(handshake(path, PROTOCOL))
        if pump:
            broker.pump()
        if b"\r\n\r\n" in peer.transport.value():
            forget_answer(peer)
        return peer

    def test_acknowledged_late(self) -> None:
        """Nothing is acknowledged before the engine has it."""
        broker, (factory,) = self.far(size=10)
        peer = self.opened(broker, factory)
        publish(peer, "x")
        self.assertEqual(kinds(peer), ["welcome", "presence"])
        broker.pump()
        self.assertEqual(kinds(peer), ["welcome", "presence", "message", "ack"])

    def test_nodes(self) -> None:
        """Members of all nodes see one order, and each other in the count."""
        broker, (here, there) = self.far(size=10, nodes=2)
        one, two = self.opened(broker, here), self.opened(broker, there)
        publish(one, "a", 1)
        publish(two, "b", 2)
        broker.pump()
        self.assertEqual(said(one, "message", "offset", "text"), [(1, "a"), (2, "b")])
        self.assertEqual(said(two, "message", "offset", "text"), [(1, "a"), (2, "b")])
        self.assertEqual(said(two, "presence", "count"), [2])
        here.broadcast.relay.presence_changed("c", 2)
        self.clock.advance(1)
        broker.pump()
        self.assertEqual(said(one, "presence", "count")[-1], 2)

    def test_welcome_first(self) -> None:
        """While the history is on its way the client is not read, so that the welcome is the first word."""
        broker, (factory,) = self.far(size=10)
        self.opened(broker, factory)
        peer = self.opened(broker, factory, resume("e", 1), pump=False)
        self.assertEqual(peer.frames, [])
        self.assertEqual(peer.transport.producerState, "paused")
        factory.broadcast.relay.state_changed("away")
        factory.broadcast.relay.lost("c", None)
        self.opened(broker, factory, pump=False)
        broker.pump()
        self.assertEqual(kinds(peer)[0], "welcome")
        self.assertEqual(peer.transport.producerState, "producing")

    def test_live_before_history(self) -> None:
        """What arrives while the history is on its way comes once, in its place."""
        for between in (1, MOST_EARLY + 10):
            broker, (factory,) = self.far(size=1000)
            first = self.opened(broker, factory)
            publish(first, "0")
            broker.pump()
            epoch = said(first, "message", "epoch")[0]
            peer = self.opened(broker, factory, resume(epoch, 0), pump=False)
            broker.pump(1)  # the question is answered, and the answer on its way
            for number in range(1, between + 1):
                publish(first, str(number), number)
            for _ in range(10 * between):
                broker.pump(1)
                self.clock.advance(0)
            broker.pump()
            self.clock.pump([0.0] * 5)
            broker.pump()
            self.assertEqual(said(peer, "message", "offset"), list(range(1, between + 2)))
            self.assertEqual(said(peer, "gap", "offset"), [])

    def test_in_both(self) -> None:
        """What is in the history and arrives as well comes once."""
        broker, (factory,) = self.far(size=1000)
        first = self.opened(broker, factory)
        publish(first, "0")
        broker.pump()
        epoch = said(first, "message", "epoch")[0]
        for number in range(1, 6):
            publish(first, str(number), number)
        peer = self.opened(broker, factory, resume(epoch, 0), pump=False)
        broker.pump()
        self.assertEqual(said(peer, "message", "offset"), [1, 2, 3, 4, 5, 6])
        self.assertEqual(said(peer, "gap", "offset"), [])

    def test_forgotten_meanwhile(self) -> None:
        """A history that is gone when it is asked for again, with its epoch, is a gap."""
        broker, (factory,) = self.far(size=1000)
        first = self.opened(broker, factory)
        publish(first, "0")
        broker.pump()
        epoch = said(first, "message", "epoch")[0]
        for number in range(1, MOST_EARLY + 10):
            publish(first, str(number), number)
        peer = self.opened(broker, factory, resume(epoch, 0), pump=False)
        questions = factory.broadcast.relay.engine.questions
        for _ in range(1000):
            broker.pump(1)
            self.clock.advance(0)
            if len(questions) == 2:
                break
        self.assertEqual(len(questions), 2)
        broker.storage.stop()
        broker.storage.start(broker)
        broker.pump()
        ((told_epoch, offset),) = said(peer, "gap", "epoch", "offset")
        self.assertNotEqual(told_epoch, epoch)
        self.assertEqual(offset, 0)

    def test_presence_unknown(self) -> None:
        """While the number cannot be asked for, the welcome does without."""
        broker, (factory,) = self.far()
        self.opened(broker, factory)
        factory.broadcast.relay.engine.failure = EngineError("no")
        peer = self.opened(broker, factory)
        self.assertEqual(said(peer, "welcome", "presence"), [None])
        self.assertEqual(said(peer, "presence", "count"), [])

    def test_bug_in_the_history(self) -> None:
        """An exception of an engine's is logged, and the client may try again."""
        broker, (factory,) = self.far(size=10)
        self.opened(broker, factory)
        for leaves in (False, True):
            factory.broadcast.relay.engine.failure = ZeroDivisionError()
            peer = self.opened(broker, factory, resume("e", 1), pump=False)
            if leaves:
                peer.leave()
            broker.pump()
            reason = EndReason.PEER_GONE if leaves else EndReason.ENGINE_AWAY
            self.assertEqual(peer.protocol.end.reason, reason)
            self.assertGreaterEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_engine_fails(self) -> None:
        """A publication that the engine did not take is answered with an error that says what to do."""
        broker, (factory,) = self.far(size=10)
        peer = self.opened(broker, factory)
        engine = factory.broadcast.relay.engine
        engine.go_away()
        publish(peer, "a", 1)
        broker.pump()
        engine.failure = PublicationTooLarge("larger than 7 bytes")
        publish(peer, "b", 2)
        broker.pump()
        engine.failure = EngineError("it says: \x1b")
        publish(peer, "c", 3)
        ask(peer, "presence")
        broker.pump()
        self.assertEqual(said(peer, "engine", "state"), ["away"])
        self.assertEqual(
            said(peer, "error", "id", "code", "line"),
            [
                (message_id(1), "engine-away", "the engine cannot be reached"),
                (message_id(2), "too-large", "larger than 7 bytes"),
                (message_id(3), "engine-failed", "the engine failed"),
                (None, "engine-failed", "the engine failed"),
            ],
        )
        self.assertEqual(factory.broadcast.relay.counts["publish-failed"], 3)

    def test_bug_in_the_engine(self) -> None:
        """An exception of an engine's is logged, and answered all the same."""
        broker, (factory,) = self.far(size=10)
        peer = self.opened(broker, factory)
        factory.broadcast.relay.engine.failure = ZeroDivisionError()
        publish(peer, "a", 1)
        broker.pump()
        self.assertEqual(said(peer, "error", "code"), ["engine-failed"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_no_history_now(self) -> None:
        """Who wants to go on while the history cannot be reached is closed with 1013, and may try again."""
        broker, (factory,) = self.far(size=10)
        self.opened(broker, factory)
        factory.broadcast.relay.engine.failure = EngineError("no")
        peer = self.opened(broker, factory, resume("e", 1))
        self.assertEqual(peer.protocol.end, End(EndReason.ENGINE_AWAY, 1013))

    def test_gap(self) -> None:
        """What the engine lost is told at once, and the next message is taken as it comes."""
        broker, (factory,) = self.far(size=10)
        peer = self.opened(broker, factory)
        relay = factory.broadcast.relay
        publish(peer, "a", 1)
        broker.pump()
        relay.engine.go_away()
        relay.lost("c", None)
        relay.engine.come_back()
        publish(peer, "b", 2)
        broker.pump()
        self.assertEqual(kinds(peer)[-5:], ["engine", "gap", "engine", "message", "ack"])
        self.assertEqual(said(peer, "gap", "epoch", "offset"), [(None, None)])
        self.assertIsNone(peer.protocol.end)

    def test_silent_hole(self) -> None:
        """An engine that skips an offset without a word does not fool the client: the gap is told."""
        broker, (factory,) = self.far(size=10)
        peer = self.opened(broker, factory)
        engine = factory.broadcast.relay.engine
        engine.subscribed.clear()
        publish(peer, "a", 1)
        broker.pump()
        engine.subscribed.add("c")
        publish(peer, "b", 2)
        broker.pump()
        self.assertEqual(said(peer, "gap", "offset"), [1])
        self.assertEqual(said(peer, "message", "offset"), [2])

    def test_told_twice(self) -> None:
        """What an engine tells twice comes once, and is no gap."""
        broker, (factory,) = self.far(size=10)
        peer = self.opened(broker, factory)
        for number in range(3):
            publish(peer, "x", number)
        broker.pump()
        relay = factory.broadcast.relay
        asked = relay.history("c", Position(said(peer, "message", "epoch")[0], 0))
        broker.pump()
        for entry in self.successResultOf(asked).entries:
            relay.engine.hear("c", entry)
        publish(peer, "x", 3)
        broker.pump()
        self.assertEqual(said(peer, "message", "offset"), [1, 2, 3, 4])
        self.assertEqual(said(peer, "gap", "offset"), [])

    def test_in_flight(self) -> None:
        """Who sends faster than the engine takes is not read beyond a bound, and loses nothing."""
        broker, (factory,) = self.far(size=10)
        peer = self.opened(broker, factory)
        sent = 0
        while peer.transport.producerState == "producing":
            publish(peer, "x", sent)
            sent += 1
        self.assertEqual(sent, MOST_IN_FLIGHT)
        broker.pump()
        self.assertEqual(len(said(peer, "ack", "id")), MOST_IN_FLIGHT)
        self.assertEqual(peer.transport.producerState, "producing")

    def test_leaves_meanwhile(self) -> None:
        """Who leaves while something is on its way to it harms nobody."""
        broker, (factory,) = self.far(size=10)
        for path in ("/broadcast/c", resume("e", 1)):
            peer = self.opened(broker, factory, path)
            publish(peer, "x")
            peer.leave()
            broker.pump()
            peer = self.opened(broker, factory, path, pump=False)
            peer.leave()
            broker.pump()
        self.assertEqual(len(factory.broadcast.hub), 0)
        self.assertEqual(factory.broadcast.relay.engine.members, {"c": set()})


class JsonTests(EnvelopeTestCase):
    """What is on the wire."""

    def test_literal(self) -> None:
        """An envelope is what the page about the protocol shows."""
        factory = self.served()
        peer = self.speaker(factory)
        self.service.publish("c", "hello")
        self.assertEqual(
            peer.messages()[-1],
            '{"type":"message","epoch":null,"offset":null,"sender":"","text":"hello"}',
        )
        self.assertEqual(json.loads(str(peer.messages()[0]))["type"], "welcome")
