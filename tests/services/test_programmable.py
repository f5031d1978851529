"""Tests for `wsecho.services.programmable`."""

from __future__ import annotations

import json
import zlib
from typing import Any

from tests.wire.harness import BINARY, CLOSE, PING, TEXT, Peer, WireTestCase, close, frame, handshake
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.knobs import MOST_FRAGMENTS, knob_list
from wsecho.policy.origins import AllowedOrigins
from wsecho.services.programmable import FRAMES_AT_ONCE, ProgrammableEcho
from wsecho.wire.misbehaviour import bad_frame

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


class ProgrammableTestCase(WireTestCase):
    """Connections to the programmable echo."""

    def server(self, **options: Any) -> Any:
        """A factory on which every path is the programmable echo."""
        return self.factory(route=lambda path: ProgrammableEcho(self.clock), **options)

    def asking(self, query: str, *headers: str, **options: Any) -> Peer:
        """A peer that has asked for something, and been answered."""
        peer = self.peer(self.server(**options))
        peer.send(handshake(f"/test?{query}", *headers))
        return peer

    def opened(self, query: str, *headers: str, **options: Any) -> Peer:
        """A peer whose connection is open."""
        return self.peer(self.server(**options)).open(f"/test?{query}", *headers)

    def say(self, peer: Peer, *texts: bytes) -> None:
        """Send texts."""
        for text in texts:
            peer.send(frame(TEXT, text))


class EchoTests(ProgrammableTestCase):
    """What becomes of messages."""

    def test_plain(self) -> None:
        """Without a query it echoes, text as text and binary as binary, in the same call."""
        peer = self.opened("")
        self.say(peer, b"one")
        peer.send(frame(BINARY, b"\xff"))
        self.assertEqual(peer.messages(), ["one", b"\xff"])

    def test_delay(self) -> None:
        """Each echo comes later, by the delay, and in order."""
        peer = self.opened("delay=2s")
        self.say(peer, b"one")
        self.clock.advance(1)
        self.say(peer, b"two")
        self.assertEqual(peer.messages(), [])
        self.clock.advance(1)
        self.assertEqual(peer.messages(), ["one"])
        self.clock.advance(1)
        self.assertEqual(peer.messages(), ["one", "two"])

    def test_rate(self) -> None:
        """Messages trickle, one after the other, at the rate."""
        peer = self.opened("rate=20")
        self.say(peer, b"abcde", b"xy")
        sizes = [len(b"".join(one.payload for one in peer.frames))]
        for _ in range(4):
            self.clock.advance(0.1)
            sizes.append(len(b"".join(one.payload for one in peer.frames)))
        self.assertEqual(sizes, [2, 4, 5, 7, 7])
        self.assertEqual([one.fin for one in peer.frames], [False, False, True, True])

    def test_rate_of_empty_messages(self) -> None:
        """Empty messages are not sent without end in a moment."""
        peer = self.opened("rate=1")
        self.say(peer, b"", b"")
        self.assertEqual(len(peer.frames), 1)
        self.clock.advance(1)
        self.assertEqual(len(peer.frames), 2)

    def test_fragment(self) -> None:
        """Messages come in fragments, and one after the other."""
        peer = self.opened("fragment=2")
        self.say(peer, b"abcde", b"xy")
        self.assertEqual([one.payload for one in peer.frames], [b"ab", b"cd", b"e", b"xy"])

    def test_most_fragments(self) -> None:
        """A large message has no more than so many fragments, and others have their turn in between."""
        peer = self.opened("fragment=1")
        peer.send(frame(BINARY, bytes(3 * MOST_FRAGMENTS)))
        self.assertEqual(len(peer.frames), FRAMES_AT_ONCE)
        for _ in range(MOST_FRAGMENTS // FRAMES_AT_ONCE + 1):
            self.clock.advance(0)
        self.assertEqual([len(one.payload) for one in peer.frames], [3] * MOST_FRAGMENTS)

    def test_size(self) -> None:
        """The server sends of itself, then echoes."""
        peer = self.opened("size=20&count=2")
        self.say(peer, b"x")
        self.assertEqual(peer.messages(), ["0123456789abcdef0123"] * 2 + ["x"])

    def test_compress(self) -> None:
        """Compression is agreed on as was asked for, whatever the server does otherwise."""
        for setting, asked, is_on in (
            *(("off", "compress=on", True), ("off", "", False)),
            *(("deflate", "compress=off", False), ("deflate", "", True)),
        ):
            peer = self.asking(asked, DEFLATE, compression=setting)
            self.assertEqual("sec-websocket-extensions" in peer.answer.headers, is_on, (setting, asked))
        peer = self.asking("compress=on")
        self.assertEqual(peer.answer.status, "HTTP/1.1 101 Switching Protocols")

    def test_ping(self) -> None:
        """The server pings at the interval, and no longer than the connection is open."""
        peer = self.opened("ping=1s")
        self.clock.pump([1, 1])
        self.assertEqual([(one.opcode, one.payload) for one in peer.frames], [(PING, b"1"), (PING, b"2")])
        peer.send(close(1000))
        self.clock.pump([1, 1])
        self.assertEqual([one.opcode for one in peer.frames], [PING, PING, CLOSE])

    def test_whoami(self) -> None:
        """The first message is the handshake as JSON, without anything of TLS where there is none."""
        chat = "Sec-WebSocket-Protocol: chat"
        peer = self.opened("whoami&compress=on", DEFLATE, chat, subprotocols=["chat"])
        (sent,) = peer.frames
        told = json.loads(zlib.decompressobj(wbits=-15).decompress(sent.payload + b"\x00\x00\xff\xff"))
        self.assertEqual(
            [told[key] for key in ("id", "peer", "path", "query", "subprotocol", "extensions", "tls")],
            [
                *(peer.protocol.id, "127.0.0.1:40000", "/test", "whoami&compress=on"),
                *("chat", ["permessage-deflate"], None),
            ],
        )
        self.assertEqual(told["headers"]["host"], "example.com")


class EndTests(ProgrammableTestCase):
    """Ends that were asked for."""

    def test_close_at_once(self) -> None:
        """The server closes as soon as the connection is open."""
        peer = self.opened("close=4001&reason=so+long")
        self.assertEqual([(one.opcode, one.payload) for one in peer.frames], [(CLOSE, b"\x0f\xa1so long")])
        self.assertEqual(peer.protocol.end, End(EndReason.AS_ASKED, 4001))

    def test_close_after(self) -> None:
        """The last message is echoed before the Close, and further ones are not."""
        peer = self.opened("close=1000&after=2&delay=1s")
        self.say(peer, b"one", b"two", b"three")
        self.clock.advance(1)
        self.assertEqual([one.payload for one in peer.frames], [b"one", b"two", b"\x03\xe8"])

    def test_abort(self) -> None:
        """The connection is reset after so many messages."""
        peer = self.opened("abort=1")
        self.say(peer, b"one")
        self.assertEqual(peer.messages(), ["one"])
        self.assertEqual(peer.transport.done[-1], "abortConnection")
        self.assertEqual(peer.protocol.end, End(EndReason.AS_ASKED))
        self.assertEqual(self.opened("abort").transport.done[-1], "abortConnection")

    def test_bad(self) -> None:
        """A bad frame comes once, after so many messages, and the echo goes on."""
        peer = self.opened("bad=rsv&after=1")
        self.say(peer, b"one", b"two")
        self.assertEqual(peer.transport.value(), b"\x81\x03one" + bad_frame("rsv") + b"\x81\x03two")

    def test_half_frame(self) -> None:
        """After half a frame nothing is echoed."""
        peer = self.opened("bad=half-frame&after=1")
        self.say(peer, b"one", b"two")
        self.assertEqual(peer.transport.value(), b"\x81\x03one" + bad_frame("half-frame"))

    def test_read_stop(self) -> None:
        """The server stops reading after so many messages, and reads again in the end."""
        peer = self.opened("read=stop&after=1", ping_interval=0.0)
        self.say(peer, b"one")
        self.assertEqual((peer.messages(), peer.transport.producerState), (["one"], "paused"))
        self.clock.advance(299)
        self.assertEqual(peer.transport.producerState, "paused")
        self.clock.advance(1)
        self.say(peer, b"two")
        self.assertEqual(peer.messages(), ["one", "two"])

    def test_read_stop_and_pings(self) -> None:
        """A server that does not read gets no pong, and ends the connection as any other."""
        peer = self.opened("read=stop", ping_interval=1.0, ping_timeout=1.0)
        self.clock.pump([1, 1])
        self.assertIs(peer.protocol.end.reason, EndReason.PING_TIMEOUT)

    def test_shutdown(self) -> None:
        """A server that stops closes these connections at once, and nothing that waits is sent."""
        peer = self.opened("delay=1m&ping=10s")
        self.say(peer, b"one")
        peer.protocol.factory.shutdown()
        self.assertEqual([one.payload[:2] for one in peer.frames], [b"\x03\xe9"])
        self.clock.advance(3)
        self.assertEqual(len(peer.frames), 1)


class LimitTests(ProgrammableTestCase):
    """The server's limits hold."""

    def test_delayed_messages_are_bounded(self) -> None:
        """What waits counts against the send queue: nothing is read while it is full."""
        peer = self.opened("delay=1s", send_queue=1000)
        for _ in range(15):
            self.say(peer, b"x")
        self.assertEqual(peer.transport.producerState, "producing")
        self.say(peer, b"x")
        self.assertEqual(peer.transport.producerState, "paused")
        self.clock.advance(1)
        self.assertEqual(len(peer.frames), 16)
        self.assertEqual(peer.transport.producerState, "producing")

    def test_slow_reader(self) -> None:
        """A peer that does not read is sent the send queue and one message at most, and is not closed."""
        stuck = self.peer(self.server(send_queue=1000))
        stuck.transport.reads_nothing = True
        stuck.send(handshake("/test?size=400&count=100"))
        self.assertLess(stuck.protocol.link.outbox.queued_bytes, 1000 + 400 + 200)
        stuck.transport.read()
        self.clock.pump([0] * 100)
        self.assertIs(stuck.protocol.end, None)
        self.assertEqual(stuck.protocol.trafficStats.outgoingWebSocketMessages, 100)

    def test_message_size(self) -> None:
        """The server sends nothing larger than it takes, and compresses only within limits."""
        for query, options, line in (
            ("size=101", {"max_message_size": 100}, "size: beyond max-message-size (100 bytes)"),
            ("compress=on", {"max_message_size": 0}, "compress: needs a server with max-message-size"),
        ):
            peer = self.asking(query, **options)
            self.assertEqual(peer.answer.status, "HTTP/1.1 400 Bad Request")
            self.assertIn(line, peer.answer.rest.decode())
        self.assertEqual(len(self.opened("size=100", max_message_size=100).frames), 1)

    def test_rate_of_messages(self) -> None:
        """The limit of messages per second holds."""
        peer = self.opened("", max_message_rate=1)
        self.say(peer, b"one", b"two")
        self.assertEqual([one.opcode for one in peer.frames], [TEXT, CLOSE])

    def test_no_timer_is_left(self) -> None:
        """A peer that leaves takes every timer with it."""
        for query in ("delay=1s", "rate=1", "read=stop&after=1", "ping=1s&delay=1s&rate=1&fragment=1"):
            peer = self.opened(query)
            self.say(peer, b"abc")
            peer.reset()
            self.clock.advance(0)
            self.assertEqual(self.clock.getDelayedCalls(), [], query)


class HandshakeTests(ProgrammableTestCase):
    """Answers to the opening handshake."""

    def test_refused(self) -> None:
        """What is not there is 400 with the list of knobs, and quotes nothing of the query."""
        peer = self.asking("whoami&secret=1")
        self.assertEqual(peer.answer.status, "HTTP/1.1 400 Bad Request")
        body = peer.answer.rest.decode()
        self.assertIn("knob 2 of the query is unknown\n", body)
        self.assertTrue(body.endswith(knob_list()))
        self.assertNotIn("secret", body)
        self.assertEqual(peer.protocol.end, End(EndReason.BAD_REQUEST, None, 400))

    def test_status(self) -> None:
        """The status is the one that was asked for."""
        peer = self.asking("status=503")
        self.assertEqual(peer.answer.status, "HTTP/1.1 503 Service Unavailable")
        self.assertEqual(peer.protocol.end, End(EndReason.AS_ASKED, None, 503))

    def test_redirect(self) -> None:
        """The redirect leads to the path, with the status that was asked for or 302."""
        for query, status in (
            ("redirect=/echo", "302 Found"),
            ("redirect=/echo&status=307", "307 Temporary Redirect"),
        ):
            peer = self.asking(query)
            self.assertEqual(peer.answer.status, f"HTTP/1.1 {status}")
            self.assertEqual(peer.answer.headers["location"], "/echo")

    def test_faults(self) -> None:
        """The answer 101 has the faults that were asked for, and the connection is open."""
        peer = self.asking("accept=wrong&subprotocol=unasked", "Sec-WebSocket-Protocol: wsecho.unasked, b")
        self.assertNotEqual(peer.answer.headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        self.assertEqual(peer.answer.headers["sec-websocket-protocol"], "wsecho.unasked.unasked")
        self.assertIs(peer.protocol.end, None)

    def test_origin_first(self) -> None:
        """Who may not connect is refused, whatever it asks for."""
        for query in ("status=503", "abort", "redirect=/echo"):
            peer = self.asking(query, "Origin: https://evil.example", origins=AllowedOrigins())
            self.assertEqual(peer.answer.status, "HTTP/1.1 403 Forbidden", query)

    def test_off_the_lane(self) -> None:
        """These connections do without the compiled short cut for frames."""
        peer = self.opened("")
        self.assertIs(peer.protocol.lane, None)
        self.assertTrue(peer.protocol.service.keeps_off_lane)
