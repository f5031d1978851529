"""The intake: the pace at which input is worked off, and silence in the middle of it."""

from __future__ import annotations

from typing import Any

from tests.wire.harness import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    Peer,
    Program,
    WireTestCase,
    close,
    closing,
    frame,
    handshake,
)
from wsecho.policy.end_reasons import End, EndReason
from wsecho.wire.intake import PIECE
from wsecho.wire.turns import ONE_GO_SECONDS, SLICE_SECONDS, SLICE_UNITS, TURN_SECONDS


class Pausing(Program):
    """A program that pauses reading at a message "pause", and sends Close at "close"."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        super().onMessage(payload, isBinary)
        if payload == b"pause":
            self.pause_reading()
        elif payload == b"close":
            self.sendClose(1000)


class Slow(Program):
    """A program that needs a whole slice for each message."""

    factory: Any

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        super().onMessage(payload, isBinary)
        self.factory.reactor.rightNow += SLICE_SECONDS


def texts(*messages: bytes) -> bytes:
    return b"".join(frame(TEXT, message) for message in messages)


class SliceTests(WireTestCase):
    """How much is worked off before others have their turn."""

    def heard(self, peer: Peer) -> list[bytes]:
        """The messages that the program was told."""
        return [told[1] for told in peer.protocol.told if told[0] == "message"]

    def test_units(self) -> None:
        """Of many small messages, a slice is worked off at once, and nothing is read until the rest is."""
        peer = self.peer(self.factory(Program)).open()
        messages = [b"%d" % number for number in range(3 * SLICE_UNITS)]
        peer.send(texts(*messages))
        self.assertEqual(peer.transport.producerState, "paused")
        at_once = len(self.heard(peer))
        self.assertTrue(0 < at_once <= SLICE_UNITS, at_once)
        peer.work_off()
        self.assertEqual(self.heard(peer), messages)
        self.assertEqual(peer.transport.producerState, "producing")

    def test_seconds(self) -> None:
        """A program that is slow with its messages has one in a slice."""
        peer = self.peer(self.factory(Slow)).open()
        peer.send(texts(b"one", b"two", b"three"))
        self.assertEqual(self.heard(peer), [b"one"])
        peer.work_off()
        self.assertEqual(self.heard(peer), [b"one", b"two", b"three"])

    def test_answers_are_collected(self) -> None:
        """Where a plain socket is written at once, the answers of a slice leave in one piece."""

        class Writer:
            waiting_bytes = 0

            def __init__(self) -> None:
                self.done: list[Any] = []

            def collect(self) -> None:
                self.done.append("collect")

            def put(self, data: bytes) -> bool:
                self.done.append(data)
                return True

            def flush(self) -> None:
                self.done.append("flush")

        peer = self.peer(self.factory(Program)).open()
        # A lane collects for itself.
        peer.protocol.lane = None
        vars(peer.protocol).pop("sendMessage", None)
        peer.protocol.link.outbox.writer = writer = Writer()
        peer.send(texts(b"one", b"two"))
        self.assertEqual(writer.done, ["collect", b"\x81\x03one", b"\x81\x03two", "flush"])

    def test_deliveries_in_one_go(self) -> None:
        """What a transport delivers in one go, as TLS does with each of its records, shares a slice; what it
        delivers later has a new one."""
        peer = self.peer(self.factory(Slow)).open()
        for message in (b"one", b"two", b"three"):
            peer.protocol.dataReceived(texts(message))
        self.assertEqual(self.heard(peer), [b"one"])
        self.assertEqual(peer.transport.producerState, "paused")
        peer.work_off()
        self.assertEqual(self.heard(peer), [b"one", b"two", b"three"])
        self.assertEqual(peer.transport.producerState, "producing")
        self.clock.advance(2 * ONE_GO_SECONDS)
        peer.send(texts(b"four"))
        self.assertEqual(self.heard(peer)[-1], b"four")

    def test_many_in_the_same_moment(self) -> None:
        """When many have sent in the same moment, those whose turn would come late wait for a slice; who sent
        little is served at once."""
        factory = self.factory(Slow)
        most = int(TURN_SECONDS / SLICE_SECONDS)
        peers = [self.peer(factory).open() for _ in range(2 * most)]
        for peer in peers:
            peer.send(texts(b"x" * PIECE))
        served = [bool(self.heard(peer)) for peer in peers]
        self.assertEqual(served, [True] * (most + 1) + [False] * (most - 1))
        bystander = self.peer(factory).open()
        bystander.send(texts(b"y"))
        self.assertEqual(self.heard(bystander), [b"y"])
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertTrue(all(self.heard(peer) for peer in peers))

    def test_others_between(self) -> None:
        """While one peer has work left, another that speaks is served at once."""
        factory = self.factory(Program)
        greedy, other = self.peer(factory).open(), self.peer(factory).open()
        greedy.send(frame(TEXT, b"x") * 3 * SLICE_UNITS)
        other.send(frame(TEXT, b"y"))
        self.assertEqual(other.messages(), ["y"])
        self.assertTrue(greedy.protocol.has_backlog)

    def test_fragments(self) -> None:
        """The fragments of one message are many units, not one."""
        peer = self.peer(self.factory(Program)).open()
        middle = frame(CONTINUATION, b"x", fin=False) * 2 * SLICE_UNITS
        peer.send(frame(TEXT, b"", fin=False) + middle + frame(CONTINUATION))
        self.assertEqual(self.heard(peer), [])
        peer.work_off()
        self.assertEqual(self.heard(peer), [b"x" * 2 * SLICE_UNITS])

    def test_pieces(self) -> None:
        """Autobahn is given small pieces, but a large frame in one."""
        given: list[int] = []

        class Noting(Program):
            def _dataReceived(self, data: bytes) -> None:
                given.append(len(data))
                super()._dataReceived(data)

        peer = self.peer(self.factory(Noting)).open()
        small = frame(TEXT, b"x" * 100) * 100
        peer.send(small)
        self.assertEqual(max(given), PIECE)
        given.clear()
        large = frame(BINARY, bytes(300_000))
        peer.send(large[:14])
        peer.send(large[14:])
        self.assertEqual(given, [14, len(large) - 14])
        self.assertEqual(self.heard(peer)[-1], bytes(300_000))

    def test_early_messages(self) -> None:
        """What comes with the opening handshake is worked off in slices as well."""
        peer = self.peer(self.factory(Program))
        peer.send(handshake() + frame(TEXT, b"x") * 2 * SLICE_UNITS)
        self.assertTrue(peer.protocol.has_backlog)
        peer.work_off()
        self.assertEqual(len(self.heard(peer)), 2 * SLICE_UNITS)

    def test_more_while_there_is_work(self) -> None:
        """What a transport delivers although it was paused, as TLS does, waits behind what is there."""
        peer = self.peer(self.factory(Program)).open()
        messages = [b"%d" % number for number in range(SLICE_UNITS)]
        peer.send(texts(*messages[:-2]))
        peer.protocol.dataReceived(texts(*messages[-2:]))
        peer.work_off()
        self.assertEqual(self.heard(peer), messages)

    def test_end_behind_the_work(self) -> None:
        """When the transport ends while there is work left, all of it is done before the end is told."""
        peer = self.peer(self.factory(Program)).open()
        peer.send(frame(TEXT, b"x") * 2 * SLICE_UNITS)
        peer.leave()
        self.assertNotIn("close", [told[0] for told in peer.protocol.told])
        self.clock.advance(0)
        self.assertEqual(len(self.heard(peer)), 2 * SLICE_UNITS)
        self.assertEqual(peer.protocol.told[-1][0], "close")
        self.assertEqual(peer.protocol.end, End(EndReason.PEER_GONE))
        self.assertEqual(peer.protocol.factory.connections, set())

    def test_dropped_behind_the_end(self) -> None:
        """A program that drops a connection whose transport has ended, while there is work left, ends it."""
        peer = self.peer(self.factory(Program)).open()
        peer.send(frame(TEXT, b"x") * 2 * SLICE_UNITS)
        peer.leave()
        peer.protocol.dropConnection(abort=True)
        self.clock.advance(0)
        self.assertLess(len(self.heard(peer)), 2 * SLICE_UNITS)
        self.assertEqual(peer.protocol.told[-1][0], "close")
        self.assertEqual(peer.protocol.end, End(EndReason.ABORTED))

    def test_failed_with_work_left(self) -> None:
        """A violation ends the connection, and what came behind it is forgotten."""
        peer = self.peer(self.factory(Program)).open()
        peer.send(texts(b"one") + frame(TEXT, mask=b"") + frame(TEXT, b"x") * 2 * SLICE_UNITS)
        self.assertFalse(peer.protocol.has_backlog)
        self.assertEqual(self.heard(peer), [b"one"])
        self.assertEqual(len(peer.protocol.factory.turns), 0)


class HeldTests(WireTestCase):
    """Input while reading is held."""

    def test_stops_at_once(self) -> None:
        """When the program pauses, not one message more is delivered, not even of what was read already."""
        peer = self.peer(self.factory(Pausing)).open()
        peer.send(texts(b"pause", b"later", b"pause", b"last"))
        self.clock.advance(0)
        self.assertEqual(peer.messages(), ["pause"])
        peer.protocol.resume_reading()
        self.clock.advance(0)
        self.assertEqual(peer.messages(), ["pause", "later", "pause"])
        self.assertEqual(peer.transport.producerState, "paused")
        peer.protocol.resume_reading()
        self.clock.advance(0)
        self.assertEqual(peer.messages(), ["pause", "later", "pause", "last"])
        self.assertEqual(peer.transport.producerState, "producing")

    def test_read_only_when_worked_off(self) -> None:
        """When the program resumes, the transport is read again only behind what was read already."""
        peer = self.peer(self.factory(Pausing)).open()
        peer.send(texts(b"pause", b"later"))
        peer.protocol.resume_reading()
        self.assertEqual(peer.transport.producerState, "paused")
        self.clock.advance(0)
        self.assertEqual(peer.transport.producerState, "producing")

    def test_close_of_ours(self) -> None:
        """Once Close was sent, nobody holds the peer's Close back."""
        peer = self.peer(self.factory(Pausing)).open()
        peer.send(texts(b"pause", b"lost") + close(1000))
        peer.protocol.sendClose(4000)
        self.clock.advance(0)
        self.assertEqual(peer.frames[-1], closing(4000))
        self.assertEqual(peer.protocol.remoteCloseCode, 1000)


class StallTests(WireTestCase):
    """Silence inside a frame or a message."""

    def opened(self, **options: Any) -> Peer:
        options = {"stall_timeout": 10, "ping_interval": 0} | options
        return self.peer(self.factory(Pausing, **options)).open()

    def test_inside(self) -> None:
        """Silence in a frame's head, in its payload, and between fragments ends the connection with 1001,
        when the time is over, not before."""
        for begun in (frame(TEXT, b"x")[:1], frame(TEXT, b"xyz")[:-1], frame(TEXT, b"x", fin=False)):
            peer = self.opened()
            peer.send(frame(TEXT, b"whole") + begun)
            self.clock.advance(9.9)
            self.assertIsNone(peer.protocol.end)
            self.clock.advance(0.1)
            self.assertEqual(peer.protocol.end, End(EndReason.STALLED, 1001))
            self.assertEqual(
                peer.frames[-1], closing(1001, b"silent inside a message for stall-timeout (10 s)")
            )

    def test_between_messages(self) -> None:
        """Silence between messages is nobody's fault."""
        peer = self.opened()
        peer.send(frame(TEXT, b"x", fin=False))
        peer.send(frame(CONTINUATION))
        self.clock.advance(60)
        self.assertIsNone(peer.protocol.end)

    def test_slow_but_not_silent(self) -> None:
        """A byte now and then, or a ping, is no silence; the time begins anew with each."""
        peer = self.opened()
        message = frame(TEXT, b"x" * 5)
        for at in range(len(message) - 1):
            peer.send(message[at : at + 1])
            self.clock.advance(9)
        self.assertIsNone(peer.protocol.end)
        self.clock.advance(1)
        self.assertEqual(peer.protocol.end, End(EndReason.STALLED, 1001))
        peer = self.opened()
        peer.send(frame(TEXT, b"x", fin=False))
        self.clock.advance(9)
        peer.send(frame(PING))
        self.clock.advance(9)
        self.assertIsNone(peer.protocol.end)

    def test_silence_of_our_own_making(self) -> None:
        """While reading is held, and for the whole time after that, the peer is not silent."""
        peer = self.opened()
        peer.send(texts(b"pause") + frame(TEXT, b"x", fin=False))
        self.clock.advance(25)
        self.assertIsNone(peer.protocol.end)
        peer.protocol.resume_reading()
        self.clock.advance(0)
        self.clock.advance(9.9)
        self.assertIsNone(peer.protocol.end)
        self.clock.advance(0.1)
        self.assertEqual(peer.protocol.end, End(EndReason.STALLED, 1001))

    def test_off(self) -> None:
        """0 is no timeout."""
        peer = self.opened(stall_timeout=0)
        peer.send(frame(TEXT, b"x", fin=False))
        self.clock.advance(1000)
        self.assertIsNone(peer.protocol.end)

    def test_closing(self) -> None:
        """Once Close was sent, the close timer has the say."""
        peer = self.opened(close_timeout=30)
        peer.send(frame(TEXT, b"x", fin=False))
        peer.protocol.sendClose(1000)
        self.clock.advance(20)
        self.assertEqual(peer.protocol.end, End(EndReason.SERVER_CLOSE, 1000))
        self.assertFalse(peer.transport.has_ended)
        peer.send(close(1000))

    def test_pongs(self) -> None:
        """A pong between messages starts no timer."""
        peer = self.opened()
        peer.send(frame(PONG))
        self.clock.advance(1000)
        self.assertIsNone(peer.protocol.end)
        self.assertEqual(peer.frames, list[Frame]())
