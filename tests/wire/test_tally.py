"""Tests for `wsecho.wire.tally`: counts of connections, which never go down."""

from __future__ import annotations

from typing import Any

from tests.wire.harness import BINARY, TEXT, WireTestCase, close, frame, handshake
from wsecho.policy.facts import Totals, Traffic
from wsecho.policy.origins import AllowedOrigins
from wsecho.policy.slow_consumers import SlowConsumer
from wsecho.services.broadcast import BroadcastServerFactory, BroadcastService
from wsecho.services.echo import EchoService
from wsecho.wire.tally import Tally, facts_of


class TallyTests(WireTestCase):
    """`Tally`, by way of factories."""

    def totals(self, *factories: Any) -> Totals:
        """What factories with one tally have counted."""
        tally: Tally = factories[0].tally
        return tally.totals(one for factory in factories for one in factory.alive)

    def echo(self, **options: Any) -> Any:
        """A factory that echoes."""
        service = EchoService()
        return self.factory(route=lambda path: service if path == "/" else None, **options)

    def test_nothing(self) -> None:
        """At the start everything is 0."""
        totals = self.totals(self.echo())
        self.assertEqual(totals, Totals({("opened", "101"): 0}, {}, {}, {}, {}, 0, 0))

    def test_in_handshake(self) -> None:
        """A connection that is not open yet counts nowhere, and is not made to count by being asked."""
        factory = self.echo()
        peer = self.peer(factory)
        peer.send(b"GET / HTTP/1.1\r\n")
        self.assertEqual(self.totals(factory), Totals({("opened", "101"): 0}, {}, {}, {}, {}, 0, 0))
        self.assertNotIn("trafficStats", vars(peer.protocol))

    def test_while_open(self) -> None:
        """What open connections have carried counts while they are open."""
        factory = self.echo()
        one, two = self.peer(factory).open(), self.peer(factory).open()
        one.send(frame(TEXT, b"hello"), frame(BINARY, b"x"))
        two.send(frame(TEXT, b"yes"))
        totals = self.totals(factory)
        self.assertEqual(totals.traffic, {"echo": Traffic(3, 9, 3, 9)})
        self.assertEqual((totals.open, totals.handshakes), ({"echo": 2}, {("opened", "101"): 2}))
        self.assertEqual(totals.ends, {})

    def test_never_down(self) -> None:
        """Nothing is lost, and nothing counted twice, on the way from open to closing and ended."""
        factory = self.echo()
        peer = self.peer(factory).open()
        peer.send(frame(TEXT, b"hello"))
        expected = {"echo": Traffic(1, 5, 1, 5)}
        self.assertEqual(self.totals(factory).traffic, expected)
        peer.send(close(1000))
        # Close was answered, and the transport has not ended.
        self.assertEqual(len(factory.connections), 0)
        self.assertEqual((self.totals(factory).traffic, self.totals(factory).open), (expected, {}))
        peer.finish()
        totals = self.totals(factory)
        self.assertEqual((totals.traffic, totals.ends), (expected, {"peer-close": 1}))
        self.assertEqual(len(factory.alive), 0)

    def test_outcomes(self) -> None:
        """A handshake that does not open has its end reason and its status, or none."""
        factory = self.echo(origins=AllowedOrigins())
        for head in (
            handshake("/nothing"),
            handshake("/", "Origin: https://evil.example"),
            b"GET / HTTP/1.1\r\n",
        ):
            peer = self.peer(factory)
            peer.send(head)
            peer.finish()
        totals = self.totals(factory)
        self.assertEqual(
            totals.handshakes,
            {
                ("opened", "101"): 0,
                ("not-found", "404"): 1,
                ("origin-denied", "403"): 1,
                ("handshake-abandoned", ""): 1,
            },
        )
        self.assertEqual((totals.ends, totals.traffic), ({}, {}))

    def test_shared(self) -> None:
        """One tally counts for several factories."""
        tally = Tally()
        factories = [self.echo(tally=tally) for _ in range(2)]
        for factory in factories:
            self.peer(factory).open()
        self.assertEqual(self.totals(*factories).open, {"echo": 2})

    def test_without_service(self) -> None:
        """Messages of a program's own protocol count as other."""
        factory = self.factory()
        self.peer(factory).open().send(frame(TEXT, b"hello"))
        self.assertEqual(self.totals(factory).traffic, {"other": Traffic(1, 5, 0, 0)})

    def test_dropped(self) -> None:
        """What was dropped, and what waits, counts; what was dropped under the policy of its channel, also
        when the connection has ended."""
        for policy in (SlowConsumer.DROP_OLDEST, SlowConsumer.DROP_NEWEST):
            broadcast = BroadcastService(slow_consumer=policy)
            factory = self.factory(make=BroadcastServerFactory, broadcast=broadcast, send_queue=1000)
            sender, slow = self.peer(factory).open(), self.peer(factory).open()
            slow.transport.reads_nothing = True
            sender.send(*(frame(BINARY, bytes(400)) for _ in range(20)))
            totals = self.totals(factory)
            self.assertGreater(broadcast.dropped, 0)
            self.assertEqual(totals.dropped, {policy.value: broadcast.dropped})
            queued = slow.protocol.link.queued_bytes
            self.assertGreater(queued, 0)
            self.assertEqual((totals.queued_bytes, totals.largest_queue_bytes), (queued, queued))
            slow.reset()
            self.assertEqual(self.totals(factory).dropped, {policy.value: broadcast.dropped})

    def test_facts(self) -> None:
        """The facts of a connection are its public numbers, and what the peer said, escaped."""
        factory = self.factory(make=BroadcastServerFactory)
        peer = self.peer(factory).open("/broadcast/kitchen", "Origin: http://example.com")
        self.clock.advance(5)
        peer.send(frame(TEXT, b"hello"))
        facts = facts_of(peer.protocol, self.clock.seconds())
        self.assertEqual((facts.id, facts.peer), (peer.protocol.id, peer.protocol.peer))
        self.assertEqual((facts.path, facts.origin), ("/broadcast/kitchen", "http://example.com"))
        self.assertEqual((facts.service, facts.channel), ("broadcast", "kitchen"))
        self.assertEqual((facts.seconds_open, facts.is_secure, facts.subprotocol), (5.0, False, None))
        self.assertEqual((facts.traffic, facts.queued_bytes), (Traffic(1, 5, 0, 0), 0))
