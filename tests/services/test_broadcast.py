"""Broadcast: what is sent on a channel reaches the others on it."""

from __future__ import annotations

from typing import Any
from zlib import decompressobj

from tests.wire.harness import BINARY, CONTINUATION, TEXT, Frame, Peer, WireTestCase, close, frame
from wsecho.hub.channels import Hub
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.slow_consumers import SlowConsumer
from wsecho.services.broadcast import BroadcastServerFactory, BroadcastServerProtocol, BroadcastService


class BroadcastTests(WireTestCase):
    """`BroadcastServerFactory`, and so `BroadcastService` and `ChannelMember`."""

    def opened(self, factory: Any, *paths: str) -> list[Peer]:
        """A peer on each path."""
        return [self.peer(factory).open(path) for path in paths]

    def test_everybody_else(self) -> None:
        """A message reaches everybody on the channel but its sender, with its type."""
        factory = self.factory(make=BroadcastServerFactory)
        one, two, three = self.opened(factory, "/broadcast/c", "/broadcast/c", "/broadcast/c")
        one.send(frame(TEXT, b"text"))
        two.send(frame(BINARY, b"binary"))
        self.assertEqual(one.messages(), [b"binary"])
        self.assertEqual(two.messages(), ["text"])
        self.assertEqual(three.messages(), ["text", b"binary"])

    def test_include_sender(self) -> None:
        """With ``include_sender`` it reaches its sender as well."""
        factory = self.factory(make=BroadcastServerFactory, broadcast=BroadcastService(include_sender=True))
        one, two = self.opened(factory, "/", "/")
        one.send(frame(TEXT, b"x"))
        self.assertEqual((one.messages(), two.messages()), (["x"], ["x"]))

    def test_include_sender_on_a_channel(self) -> None:
        """A channel's own setting goes before that of the server, either way."""
        for default in (False, True):
            service = BroadcastService(include_sender=default, include_sender_on={"c": not default})
            factory = self.factory(make=BroadcastServerFactory, broadcast=service)
            on_it, elsewhere = self.opened(factory, "/broadcast/c", "/broadcast/d")
            on_it.send(frame(TEXT, b"x"))
            elsewhere.send(frame(TEXT, b"y"))
            self.assertEqual(len(on_it.frames), int(not default))
            self.assertEqual(len(elsewhere.frames), int(default))

    def test_channels_apart(self) -> None:
        """Channels know nothing of each other; ``/`` and ``/broadcast`` are the same one."""
        factory = self.factory(make=BroadcastServerFactory)
        root, plain, named = self.opened(factory, "/", "/broadcast", "/broadcast/c")
        root.send(frame(TEXT, b"x"))
        named.send(frame(TEXT, b"y"))
        self.assertEqual((root.messages(), plain.messages(), named.messages()), ([], ["x"], []))

    def test_not_found(self) -> None:
        """Another path is 404."""
        peer = self.peer(self.factory(make=BroadcastServerFactory))
        peer.send(b"GET /echo HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\r\n")
        self.assertEqual(peer.answer.status, "HTTP/1.1 404 Not Found")

    def test_whole_messages(self) -> None:
        """Fragments are relayed as one frame, when the last has come."""
        one, two = self.opened(self.factory(make=BroadcastServerFactory), "/", "/")
        one.send(frame(TEXT, b"a", fin=False))
        self.assertEqual(two.frames, [])
        one.send(frame(CONTINUATION, b"b"))
        self.assertEqual(two.frames, [Frame(TEXT, b"ab")])

    def test_order_of_a_sender(self) -> None:
        """Messages of one sender reach each receiver in the order sent."""
        one, two, three = self.opened(self.factory(make=BroadcastServerFactory), "/", "/", "/")
        messages = [str(number) for number in range(100)]
        one.send(b"".join(frame(TEXT, message.encode()) for message in messages))
        self.assertEqual(two.messages(), messages)
        self.assertEqual(three.messages(), messages)

    def test_framed_once(self) -> None:
        """All receivers are given the same frame object."""
        sent = []

        class Noting(BroadcastServerProtocol):
            def offer(self, prepared: Any, policy: SlowConsumer) -> bool:
                sent.append(prepared)
                return super().offer(prepared, policy)

        one, *_ = self.opened(self.factory(Noting, make=BroadcastServerFactory), "/", "/", "/")
        one.send(frame(TEXT, b"x"))
        self.assertEqual(len(sent), 2)
        self.assertIs(sent[0], sent[1])

    def test_compressed_receivers(self) -> None:
        """A receiver with compression gets a compressed frame, one without the plain one."""
        factory = self.factory(make=BroadcastServerFactory, compression="deflate")
        sender, plain = self.opened(factory, "/", "/")
        compressed = self.peer(factory).open("/", "Sec-WebSocket-Extensions: permessage-deflate")
        sender.send(frame(TEXT, b"x" * 100))
        self.assertEqual(plain.frames, [Frame(TEXT, b"x" * 100)])
        self.assertEqual([one.rsv for one in compressed.frames], [4])

    def test_leaves(self) -> None:
        """Who began to close is on no channel any more, though TCP goes on; an empty channel is forgotten."""
        hub: Hub[Any] = Hub()
        factory = self.factory(make=BroadcastServerFactory, broadcast=BroadcastService(hub))
        one, two = self.opened(factory, "/broadcast/c", "/broadcast/c")
        self.assertEqual(hub.members("c"), 2)
        one.protocol.sendClose(1000)
        self.assertEqual(hub.members("c"), 1)
        two.send(close(1000))
        self.assertEqual(list(hub), [])

    def test_dies_in_delivery(self) -> None:
        """A receiver that dies while it is written to harms neither the others nor the sender."""

        class Dying(BroadcastServerProtocol):
            def offer(self, prepared: Any, policy: SlowConsumer) -> bool:
                if self.dies:
                    self.dropConnection(abort=True)
                return super().offer(prepared, policy)

            dies = False

        factory = self.factory(Dying, make=BroadcastServerFactory)
        one, two, three = self.opened(factory, "/", "/", "/")
        two.protocol.dies = True
        one.send(frame(TEXT, b"x"), frame(TEXT, b"y"))
        self.assertEqual(three.messages(), ["x", "y"])
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        number = two.protocol.id
        self.assertIn(f"<connection {number} on channel ''> could not take a publication", self.log)
        self.assertEqual(repr(factory.broadcast.member("c")), "<connection None on channel 'c'>")

    def slow(self, policy: SlowConsumer, **options: Any) -> tuple[Any, Peer, Peer, Peer]:
        """A factory, a sender, a receiver that reads nothing and one that reads."""
        service = BroadcastService(slow_consumer=policy)
        options = {"send_queue": 1000, "ping_interval": 0} | options
        factory = self.factory(make=BroadcastServerFactory, broadcast=service, **options)
        sender, slow, other = self.opened(factory, "/", "/", "/")
        slow.transport.reads_nothing = True
        return factory, sender, slow, other

    def numbered(self, count: int) -> list[bytes]:
        """Messages of 100 bytes on the wire."""
        return [b"%098d" % number for number in range(count)]

    def test_slow_receiver_is_closed(self) -> None:
        """A receiver that reads nothing is closed with 1013 when its send queue is full, and off the channel;
        the others get everything."""
        factory, sender, slow, other = self.slow(SlowConsumer.CLOSE)
        messages = self.numbered(30)
        sender.send(*[frame(BINARY, message) for message in messages])
        self.assertEqual(slow.protocol.end, End(EndReason.SLOW_CONSUMER, 1013))
        self.assertEqual(factory.broadcast.hub.members(""), 2)
        self.assertEqual(other.messages(), messages)
        slow.transport.read()
        self.assertEqual(slow.messages()[:-1], messages[:10])
        self.assertEqual(factory.broadcast.dropped, 0)

    def test_drop_newest(self) -> None:
        """With drop-newest it keeps what came first, loses what came behind, and goes on when it reads."""
        factory, sender, slow, other = self.slow(SlowConsumer.DROP_NEWEST)
        messages = self.numbered(30)
        sender.send(*[frame(BINARY, message) for message in messages])
        self.assertEqual(slow.protocol.link.queued_bytes, 1000)
        slow.transport.read()
        sender.send(frame(BINARY, b"later"))
        self.assertEqual(slow.messages(), [*messages[:10], b"later"])
        self.assertEqual(other.messages(), [*messages, b"later"])
        self.assertEqual((slow.protocol.link.outbox.dropped, factory.broadcast.dropped), (20, 20))

    def test_drop_oldest(self) -> None:
        """With drop-oldest it loses what waited longest; what is on its way already it gets whole."""
        factory, sender, slow, _ = self.slow(SlowConsumer.DROP_OLDEST)
        messages = self.numbered(30)
        sender.send(*[frame(BINARY, message) for message in messages])
        self.assertEqual(slow.protocol.link.queued_bytes, 1000)
        slow.transport.read()
        self.assertEqual(slow.messages(), [*messages[:5], *messages[25:]])
        self.assertEqual((slow.protocol.link.outbox.dropped, factory.broadcast.dropped), (20, 20))
        slow.leave()
        self.assertIn("dropped=20", self.log[-1])

    def test_nothing_to_drop(self) -> None:
        """When what waits cannot be dropped, drop-oldest drops the new message."""
        factory, _, slow, _ = self.slow(SlowConsumer.DROP_OLDEST)
        slow.protocol.sendMessage(bytes(2000), True)
        factory.publish("", b"new")
        self.assertEqual((slow.protocol.link.outbox.dropped, factory.broadcast.dropped), (1, 1))
        slow.transport.read()
        self.assertEqual(slow.messages(), [bytes(2000)])

    def test_policy_of_a_channel(self) -> None:
        """A channel may have a policy of its own."""
        service = BroadcastService(slow_consumer_on={"c": SlowConsumer.DROP_NEWEST})
        factory = self.factory(make=BroadcastServerFactory, broadcast=service, send_queue=10)
        on_it, elsewhere = self.opened(factory, "/broadcast/c", "/broadcast/d")
        for peer in (on_it, elsewhere):
            peer.transport.reads_nothing = True
        for channel in ("c", "d"):
            for _ in range(3):
                service.publish(channel, b"0123456789")
        self.assertIsNone(on_it.protocol.end)
        self.assertEqual(elsewhere.protocol.end, End(EndReason.SLOW_CONSUMER, 1013))

    def test_slow_receiver_is_read(self) -> None:
        """A receiver that reads nothing is read all the same: its Close is seen."""
        _, sender, slow, _ = self.slow(SlowConsumer.DROP_NEWEST)
        sender.send(frame(BINARY, bytes(2000)))
        slow.send(frame(BINARY, b"x"), close(1000))
        self.assertEqual(slow.protocol.end, End(EndReason.PEER_CLOSE, 1000))

    def test_held_once(self) -> None:
        """A frame that many receivers wait for is held once."""
        factory = self.factory(make=BroadcastServerFactory, send_queue=1000)
        peers = self.opened(factory, *["/"] * 4)
        for peer in peers:
            peer.transport.reads_nothing = True
            peer.protocol.sendMessage(bytes(600), True)
        factory.publish("", b"shared")
        waiting = {id(peer.protocol.link.outbox._waiting[-1][0]) for peer in peers}
        self.assertEqual(len(waiting), 1)

    def test_compressed_and_slow(self) -> None:
        """Dropping messages does not harm a compressed stream: what arrives can be inflated."""
        factory, sender, _, _ = self.slow(SlowConsumer.DROP_OLDEST, compression="deflate", send_queue=100)
        slow = self.peer(factory).open("/", "Sec-WebSocket-Extensions: permessage-deflate")
        slow.transport.reads_nothing = True
        messages = self.numbered(30)
        sender.send(*[frame(BINARY, message) for message in messages])
        slow.transport.read()
        inflate = decompressobj(-15)
        got = [inflate.decompress(one.payload + b"\x00\x00\xff\xff") for one in slow.frames]
        self.assertEqual(got[-1], messages[-1])
        self.assertEqual([message for message in got if message not in messages], [])
        self.assertLess(len(got), len(messages))

    def test_program_publishes(self) -> None:
        """The program sends text and binary to a channel: to everybody on it, and to nobody elsewhere."""
        factory = self.factory(make=BroadcastServerFactory)
        on_it, elsewhere = self.opened(factory, "/broadcast/c", "/")
        factory.publish("c", "grün")
        factory.publish("c", b"\xff")
        factory.publish("", "to all")
        self.assertEqual(on_it.messages(), ["grün", b"\xff"])
        self.assertEqual(elsewhere.messages(), ["to all"])

    def test_publish_refuses(self) -> None:
        """Publishing tells which argument is wrong."""
        service = BroadcastService()
        self.assertIn("'a b'", str(self.assertRaises(ValueError, service.publish, "a b", "x")))
        self.assertIn("int", str(self.assertRaises(TypeError, service.publish, "c", 1)))

    def test_channel_name(self) -> None:
        """A connection knows its channel."""
        factory = self.factory(make=BroadcastServerFactory)
        root, named = self.opened(factory, "/", "/broadcast/c")
        self.assertEqual((root.protocol.channel, named.protocol.channel), ("", "c"))

    def test_shared_channels(self) -> None:
        """Factories of several listeners that share a service share its channels."""
        service = BroadcastService()
        first = self.factory(make=BroadcastServerFactory, broadcast=service)
        second = self.factory(make=BroadcastServerFactory, broadcast=service)
        one, two = *self.opened(first, "/"), *self.opened(second, "/")
        one.send(frame(TEXT, b"x"))
        self.assertEqual(two.messages(), ["x"])
