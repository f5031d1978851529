"""Messages of an open connection: what arrives, what is sent, and what the program above does with them."""

from __future__ import annotations

from typing import Any

from autobahn.exception import Disconnected
from hypothesis import given, settings
from hypothesis import strategies as st

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
    parse_answer,
    parse_frames,
)
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.lifecycle import Phase
from wsecho.policy.slow_consumers import SlowConsumer
from wsecho.wire.frames import prepare
from wsecho.wire.link import Hold

#: A client's stream: every kind of frame, messages in fragments, a control frame between them.
STREAM = b"".join(
    (
        handshake(),
        frame(TEXT, "grüße".encode()),
        frame(BINARY, bytes(range(256))),
        frame(PING, b"are you there"),
        frame(TEXT),
        frame(BINARY, b"one ", fin=False),
        frame(PING, b"between"),
        frame(CONTINUATION, b"", fin=False),
        frame(CONTINUATION, b"message"),
        frame(PONG, b"unasked"),
        frame(TEXT, b"last"),
        close(4000, b"done"),
        frame(TEXT, b"behind Close"),
    )
)
#: What the server makes of it.
REPLIES = [
    Frame(TEXT, "grüße".encode()),
    Frame(BINARY, bytes(range(256))),
    Frame(PONG, b"are you there"),
    Frame(TEXT, b""),
    Frame(PONG, b"between"),
    Frame(BINARY, b"one message"),
    Frame(TEXT, b"last"),
    closing(4000, b"done"),
]


class ReceivingTests(WireTestCase):
    """A program that echoes gives back what was sent."""

    def test_types_and_sizes(self) -> None:
        """Text comes back as text and binary as binary, in each form of the length."""
        peer = self.peer(self.factory(Program)).open()
        for size in (0, 1, 125, 126, 127, 65535, 65536, 70000):
            for opcode in (TEXT, BINARY):
                peer.transport.clear()
                peer.send(frame(opcode, b"a" * size))
                self.assertEqual(peer.frames, [Frame(opcode, b"a" * size)])

    def test_fragments(self) -> None:
        """A message in fragments is one message, whatever control frames come between them."""
        peer = self.peer(self.factory(Program)).open()
        peer.send(
            frame(TEXT, b"a", fin=False)
            + frame(PING, b"p")
            + frame(CONTINUATION, fin=False)
            + frame(PONG)
            + frame(CONTINUATION, b"b")
        )
        self.assertEqual(peer.frames, [Frame(PONG, b"p"), Frame(TEXT, b"ab")])

    def test_character_across_fragments(self) -> None:
        """A character may be split between fragments and between segments."""
        peer = self.peer(self.factory(Program)).open()
        first, second = frame(TEXT, b"\xe2\x82", fin=False), frame(CONTINUATION, b"\xac")
        peer.send(first[:-1], first[-1:], second)
        self.assertEqual(peer.messages(), ["€"])

    def test_large(self) -> None:
        """A message of 16 MiB passes when the limits allow it, whole and in fragments."""
        size = 16 * 1024 * 1024
        peer = self.peer(self.factory(Program, max_message_size=size)).open()
        payload = b"0123456789abcdef" * (size // 16)
        whole = frame(BINARY, payload)
        halves = frame(BINARY, payload[: size // 2], fin=False) + frame(CONTINUATION, payload[size // 2 :])
        for data in (whole, halves):
            peer.transport.clear()
            peer.send(*(data[at : at + 65536] for at in range(0, len(data), 65536)))
            self.assertEqual(peer.frames, [Frame(BINARY, payload)])

    def test_many_in_one_segment(self) -> None:
        """Many messages in one segment come back in their order."""
        peer = self.peer(self.factory(Program)).open()
        peer.send(b"".join(frame(TEXT, b"%d" % number) for number in range(2000)))
        peer.work_off()
        self.assertEqual(peer.messages(), [str(number) for number in range(2000)])

    def test_in_the_segment_of_the_handshake(self) -> None:
        """What arrives with the handshake is kept until the connection is open."""
        peer = self.peer(self.factory(Program))
        peer.send(handshake() + frame(TEXT, b"early") + frame(TEXT, b"bird")[:-1])
        peer.send(frame(TEXT, b"bird")[-1:])
        self.assertEqual(list(parse_frames(peer.answer.rest)), [Frame(TEXT, b"early"), Frame(TEXT, b"bird")])
        self.assertEqual(peer.protocol.told[0], ("open",))

    def result(self, *pieces: bytes) -> tuple[list[Frame], End, list[str]]:
        """What becomes of a client's stream: the server's frames, the end, and what was done to the
        transport."""
        peer = self.peer(self.factory(Program))
        peer.send(*pieces)
        answer = parse_answer(peer.transport.value())
        return list(parse_frames(answer.rest)), peer.protocol.end, peer.transport.done

    def test_every_cut(self) -> None:
        """A stream of bytes means the same wherever it is cut into segments, and byte by byte."""
        expected = REPLIES, End(EndReason.PEER_CLOSE, 4000), ["write", "loseWriteConnection"]
        self.assertEqual(self.result(STREAM), expected)
        self.assertEqual(self.result(*(STREAM[at : at + 1] for at in range(len(STREAM)))), expected)
        for cut in range(1, len(STREAM)):
            self.assertEqual(self.result(STREAM[:cut], STREAM[cut:]), expected, cut)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Frame], list[int]]:
    """Frames of a client, what an echo answers, and where the stream is cut."""
    data, replies = b"", []
    for _ in range(draw(st.integers(0, 8))):
        if draw(st.booleans()):
            parts = draw(st.lists(st.text(max_size=40).map(str.encode), min_size=1, max_size=4))
            opcode = TEXT
        else:
            parts = draw(st.lists(st.binary(max_size=300), min_size=1, max_size=4))
            opcode = BINARY
        whole = b"".join(parts)
        # Fragments may end anywhere, inside a character as well.
        ends = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=3)))
        pieces = [whole[start:end] for start, end in zip([0, *ends], [*ends, len(whole)], strict=True)]
        for number, piece in enumerate(pieces):
            mask = draw(st.binary(min_size=4, max_size=4))
            last = number == len(pieces) - 1
            data += frame(CONTINUATION if number else opcode, piece, fin=last, mask=mask)
            if not last and draw(st.booleans()):
                ping = draw(st.binary(max_size=125))
                data += frame(PING, ping)
                replies.append(Frame(PONG, ping))
        replies.append(Frame(opcode, whole))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=20)))
    return data, replies, cuts


class AnyConversationTests(WireTestCase):
    """Valid sequences of frames, as hypothesis finds them."""

    @settings(max_examples=60, deadline=None)
    @given(conversations())
    def test_any(self, conversation: tuple[bytes, list[Frame], list[int]]) -> None:
        """Any valid sequence of frames gives the same messages, wherever it is cut."""
        data, replies, cuts = conversation
        peer = self.peer(self.factory(Program)).open()
        peer.send(*(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)))
        self.assertEqual(peer.frames, replies)
        peer.leave()


class Failing(Program):
    """A program whose callbacks raise where they are told to."""

    def fail(self, where: str) -> None:
        if self.factory.failing == where:
            raise ZeroDivisionError(where)

    def onOpen(self) -> None:
        super().onOpen()
        self.fail("onOpen")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.fail("onMessage")
        super().onMessage(payload, isBinary)

    def onMessageFrame(self, payload: Any) -> None:
        self.fail("onMessageFrame")
        super().onMessageFrame(payload)

    def onPing(self, payload: bytes) -> None:
        self.fail("onPing")
        super().onPing(payload)

    def onPong(self, payload: bytes) -> None:
        self.fail("onPong")
        super().onPong(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        super().onClose(wasClean, code, reason)
        self.fail("onClose")


class ProgramTests(WireTestCase):
    """Code above the wire: what it may do, and what happens when it raises."""

    def failing(self, where: str) -> Any:
        """A factory whose program raises there."""
        factory = self.factory(Failing)
        factory.failing = where
        return factory

    def assert_logged(self, where: str, connection: Any) -> None:
        """The exception was logged once, with the connection's number."""
        (error,) = self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(error.getErrorMessage(), where)
        self.assertEqual(len([line for line in self.log if line == f"{connection.id} {where} failed"]), 1)

    def test_exceptions(self) -> None:
        """An exception ends that one connection with 1011, and no other notices."""
        data = frame(PING) + frame(PONG) + frame(TEXT, b"x")
        for where in ("onOpen", "onMessage", "onPing", "onPong"):
            factory = self.failing("nowhere")
            other = self.peer(factory).open()
            factory.failing = where
            peer = self.peer(factory)
            peer.send(handshake(), data)
            frames = list(parse_frames(peer.answer.rest))
            self.assertEqual(frames[-1], closing(1011, b"internal error"), where)
            self.assertEqual(peer.protocol.end, End(EndReason.INTERNAL_ERROR, 1011))
            self.assertEqual(peer.transport.done[-1], "loseWriteConnection")
            self.assert_logged(where, peer.protocol)
            factory.failing = "nowhere"
            other.send(frame(TEXT, b"still here"))
            self.assertEqual(other.messages(), ["still here"])

    def test_exception_beneath(self) -> None:
        """An exception from any other callback of Autobahn's ends the connection likewise, not by a reset."""
        for early in (True, False):
            peer = self.peer(self.failing("onMessageFrame"))
            pieces = handshake(), frame(TEXT, b"x")
            peer.send(*([b"".join(pieces)] if early else pieces))
            self.assertEqual(list(parse_frames(peer.answer.rest)), [closing(1011, b"internal error")])
            self.assertEqual(peer.protocol.end, End(EndReason.INTERNAL_ERROR, 1011))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_exception_in_onClose(self) -> None:
        """An exception from onClose is logged; the connection has ended anyway."""
        peer = self.peer(self.failing("onClose")).open()
        peer.leave()
        self.assert_logged("onClose", peer.protocol)
        self.assertEqual(peer.protocol.factory.getConnectionCount(), 0)

    def test_nothing_after_the_program_ended_it(self) -> None:
        """A program that ends the connection while it is told of a message hears of no further message,
        though more have arrived."""
        for end, done in (
            (lambda connection: connection.sendClose(1000), ["write"]),
            (lambda connection: connection.dropConnection(), ["loseWriteConnection"]),
            (lambda connection: connection.dropConnection(abort=True), ["abortConnection"]),
        ):

            class Ending(Program):
                def onMessage(self, payload: bytes, isBinary: bool) -> None:
                    self.told.append(("message", payload, isBinary))
                    end(self)  # noqa: B023

            peer = self.peer(self.factory(Ending)).open()
            del peer.transport.done[:]
            peer.send(frame(TEXT, b"1") + frame(TEXT, b"2") + frame(TEXT, b"3", fin=False))
            self.assertEqual(peer.protocol.told, [("open",), ("message", b"1", False)])
            self.assertEqual(peer.transport.done, done)

    def test_ended_between_fragments(self) -> None:
        """A program that drops the connection from a callback of Autobahn's inside a message hears nothing
        more of it, and nothing breaks."""

        class Ending(Program):
            def onMessageFrame(self, payload: Any) -> None:
                super().onMessageFrame(payload)
                self.dropConnection()

        for fin in (True, False):
            peer = self.peer(self.factory(Ending)).open()
            peer.send(frame(TEXT, b"1", fin=fin) + frame(CONTINUATION, b"2"))
            self.assertEqual(peer.protocol.told, [("open",)])
            self.assertEqual(peer.transport.done, ["write", "loseWriteConnection"])

    def test_ended_in_onOpen(self) -> None:
        """A program may end the connection in onOpen; what had arrived is not read any more."""

        class Ending(Program):
            def onOpen(self) -> None:
                super().onOpen()
                self.dropConnection(abort=True)

        peer = self.peer(self.factory(Ending))
        peer.send(handshake() + frame(TEXT, b"early"))
        self.clock.advance(0)
        self.assertEqual([what for what, *_ in peer.protocol.told], ["open", "close"])
        self.assertEqual(peer.protocol.end, End(EndReason.ABORTED))

    def test_messages_after_our_close(self) -> None:
        """Messages that arrive after we sent Close are discarded, pings not answered, and the peer's Close
        ends it cleanly."""
        peer = self.peer(self.factory(Program)).open()
        peer.protocol.sendClose(1000)
        peer.send(frame(TEXT, b"x") + frame(PING, b"p") + close(1000))
        peer.leave()
        self.assertEqual(peer.frames, [closing(1000)])
        self.assertEqual(peer.protocol.told, [("open",), ("close", True, 1000, None)])


class SendingTests(WireTestCase):
    """What a program sends."""

    def test_types(self) -> None:
        """A message is text unless it is said to be binary."""
        peer = self.peer(self.factory()).open()
        peer.protocol.sendMessage(b"text")
        peer.protocol.sendMessage(b"binary", True)
        self.assertEqual(peer.frames, [Frame(TEXT, b"text"), Frame(BINARY, b"binary")])

    def test_fragments(self) -> None:
        """A message is sent in fragments where the program asks for it."""
        peer = self.peer(self.factory()).open()
        peer.protocol.sendMessage(b"abcde", True, fragmentSize=2)
        self.assertEqual(
            peer.frames,
            [
                Frame(BINARY, b"ab", fin=False),
                Frame(CONTINUATION, b"cd", fin=False),
                Frame(CONTINUATION, b"e"),
            ],
        )

    def test_no_limit(self) -> None:
        """The limits are for what arrives: a program may send more, and they hold again afterwards."""
        peer = self.peer(self.factory(max_message_size=10)).open()
        peer.protocol.sendMessage(bytes(1000), True)
        self.assertEqual(peer.frames, [Frame(BINARY, bytes(1000))])
        peer.transport.clear()
        peer.send(frame(BINARY, bytes(11)))
        self.assertEqual(peer.frames[-1].payload[:2], (1009).to_bytes(2, "big"))

    def test_written_at_once(self) -> None:
        """What Autobahn would chop or delay for its tests is written at once, on no timer."""
        peer = self.peer(self.factory()).open()
        peer.protocol.sendMessage(b"1", sync=True)
        peer.protocol.sendFrame(2, b"234", chopsize=1)
        peer.protocol.sendClose(1000)
        self.assertEqual(peer.frames, [Frame(TEXT, b"1"), Frame(BINARY, b"234"), closing(1000)])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)  # the close timer

    def test_frame_by_frame(self) -> None:
        """Autobahn's ways to send a message frame by frame, or piece by piece, are there."""
        peer = self.peer(self.factory()).open()
        peer.protocol.beginMessage(isBinary=True)
        peer.protocol.sendMessageFrame(b"one")
        peer.protocol.beginMessageFrame(6)
        peer.protocol.sendMessageFrameData(b"two")
        peer.protocol.sendMessageFrameData(b"two")
        peer.protocol.endMessage()
        self.assertEqual(
            peer.frames,
            [
                Frame(BINARY, b"one", fin=False),
                Frame(CONTINUATION, b"twotwo", fin=False),
                Frame(CONTINUATION, b""),
            ],
        )

    def test_nothing_behind_close(self) -> None:
        """Nothing is written behind our Close, by whatever name a program has for it."""
        peer = self.peer(self.factory()).open()
        peer.protocol.beginMessage()
        peer.protocol.sendClose(1000)
        peer.protocol.sendMessageFrame(b"x")
        peer.protocol.endMessage()
        peer.protocol.sendFrame(1, b"x")
        peer.protocol.sendPing()
        peer.protocol.sendPong()
        self.assertEqual(peer.frames, [closing(1000)])

    def test_not_open(self) -> None:
        """A message cannot be sent before the connection is open, nor once it is closing."""
        messages = (
            lambda connection: connection.sendMessage(b"x"),
            lambda connection: connection.sendPreparedMessage(prepare(b"x", False)),
        )
        connecting, closing_, failed, gone = (self.peer(self.factory()) for _ in range(4))
        for peer in (closing_, failed, gone):
            peer.open()
        closing_.protocol.sendClose(1000)
        failed.send(frame(TEXT, b"x", mask=b""))
        gone.leave()
        for peer in (connecting, closing_, failed, gone):
            before = peer.transport.value()
            for send in messages:
                self.assertRaises(Disconnected, send, peer.protocol)
            self.assertEqual(peer.transport.value(), before)

    def test_prepared(self) -> None:
        """A message that was framed once is sent as it is, and counted."""
        peer = self.peer(self.factory()).open()
        message = prepare(b"hello", True)
        peer.protocol.sendPreparedMessage(message)
        self.assertEqual(peer.transport.value(), message.payloadHybi)
        stats = peer.protocol.trafficStats
        self.assertEqual((stats.outgoingWebSocketMessages, stats.outgoingOctetsAppLevel), (1, 5))

    def test_inserted(self) -> None:
        """What was promised is sent also when the send queue is full, behind what waits, and is never
        dropped; when the connection is over it is not sent."""
        peer = self.peer(self.factory(send_queue=100, ping_interval=0)).open()
        peer.transport.reads_nothing = True
        for number in range(3):
            peer.protocol.offer(prepare(b"%d" % number * 100, True), SlowConsumer.DROP_OLDEST)
        peer.protocol.insert(prepare(b"promised", True))
        peer.protocol.offer(prepare(b"last", True), SlowConsumer.DROP_OLDEST)
        peer.transport.read()
        self.assertEqual([one.payload[:8] for one in peer.frames], [b"00000000", b"promised"])
        self.assertEqual(peer.protocol.link.outbox.dropped, 3)
        self.assertIsNone(peer.protocol.end)
        before = peer.protocol.trafficStats.outgoingWebSocketMessages
        peer.protocol.sendClose(1000)
        peer.protocol.insert(prepare(b"late", True))
        self.assertEqual(peer.protocol.trafficStats.outgoingWebSocketMessages, before)
        self.assertNotIn(b"late", peer.transport.value())

    def test_prepared_by_the_factory(self) -> None:
        """Autobahn's own prepareMessage makes messages that can be sent, also those that are not to be
        compressed, which know no payload."""
        for compression in ("off", "deflate"):
            factory = self.factory(compression=compression)
            offer = ["Sec-WebSocket-Extensions: permessage-deflate"]
            for size in (3, 300, 70000):
                peer = self.peer(factory).open("/", *offer)
                peer.protocol.sendPreparedMessage(
                    factory.prepareMessage(b"x" * size, isBinary=True, doNotCompress=True)
                )
                self.assertEqual(peer.frames, [Frame(BINARY, b"x" * size)])
                self.assertEqual(peer.protocol.trafficStats.outgoingOctetsAppLevel, size)

    def test_prepared_for_a_compressing_receiver(self) -> None:
        """A receiver with compression gets a frame of its own."""
        peer = self.peer(self.factory(compression="deflate"))
        peer.open("/", "Sec-WebSocket-Extensions: permessage-deflate")
        peer.protocol.sendPreparedMessage(prepare(b"a" * 1000, False))
        (one,) = peer.frames
        self.assertEqual((one.opcode, one.rsv), (TEXT, 4))
        self.assertLess(len(one.payload), 100)
        self.assertEqual(peer.protocol.trafficStats.outgoingOctetsAppLevel, 1000)

    def test_producer(self) -> None:
        """A program's producer follows the pace of the connection."""

        class Producer:
            def __init__(self) -> None:
                self.told: list[str] = []

            def pauseProducing(self) -> None:
                self.told.append("pause")

            def resumeProducing(self) -> None:
                self.told.append("resume")

            def stopProducing(self) -> None:
                raise AssertionError("still wanted")

        peer = self.peer(self.factory()).open()
        producer = Producer()
        peer.protocol.registerProducer(producer, True)
        peer.transport.reads_nothing = True
        peer.protocol.sendMessage(bytes(300_000), True)
        self.assertEqual(producer.told, ["pause"])
        peer.transport.read()
        self.assertEqual(producer.told, ["pause", "resume"])
        peer.protocol.unregisterProducer()
        peer.transport.reads_nothing = True
        peer.protocol.sendMessage(bytes(300_000), True)
        self.assertEqual(producer.told, ["pause", "resume"])


class LimitTests(WireTestCase):
    """Limits that are not about size."""

    def test_fragments(self) -> None:
        """A message of as many fragments as the limit says is delivered, empty ones counted; one more ends
        the connection with 1008."""
        empty = frame(CONTINUATION, fin=False)
        peer = self.peer(self.factory(Program, max_fragments=4)).open()
        peer.send(frame(TEXT, b"a", fin=False) + empty * 2 + frame(CONTINUATION, b"b"))
        peer.send(frame(TEXT, b"c", fin=False) + empty * 2 + frame(CONTINUATION, b"d"))
        self.assertEqual(peer.messages(), ["ab", "cd"])
        peer.send(frame(TEXT, b"e", fin=False) + empty * 3)
        self.assertIsNone(peer.protocol.end)
        peer.send(empty)
        self.assertEqual(peer.protocol.end, End(EndReason.POLICY_VIOLATION, 1008))
        self.assertEqual(peer.frames[-1], closing(1008, b"more fragments than max-fragments (4)"))

    def test_no_limit_of_fragments(self) -> None:
        """0 is no limit."""
        peer = self.peer(self.factory(Program, max_fragments=0)).open()
        peer.send(frame(TEXT, b"a", fin=False) + frame(CONTINUATION, fin=False) * 300 + frame(CONTINUATION))
        peer.work_off()
        self.assertEqual(peer.messages(), ["a"])

    def test_parts_are_joined(self) -> None:
        """The parts of a message, however many they are, are kept in one piece."""
        peer = self.peer(self.factory(Program)).open()
        peer.send(frame(BINARY, b"x", fin=False))
        for _ in range(100):
            peer.send(frame(CONTINUATION, b"yz", fin=False))
        large = frame(CONTINUATION, bytes(1000))
        for at in range(len(large) - 1):
            peer.send(large[at : at + 1])
        self.assertEqual((len(peer.protocol.message_data), len(peer.protocol.frame_data)), (1, 1))
        peer.send(large[-1:])
        self.assertEqual(peer.messages(), [b"x" + b"yz" * 100 + bytes(1000)])

    def test_rate(self) -> None:
        """As many messages in a second as the limit says are delivered; one more ends the connection with
        1008. The next second begins with a message."""
        peer = self.peer(self.factory(Program, max_message_rate=2)).open()
        for _ in range(3):
            peer.send(frame(TEXT, b"x"), frame(TEXT, b"x"))
            self.clock.advance(1)
        self.assertIsNone(peer.protocol.end)
        peer.send(frame(TEXT, b"x"))
        self.clock.advance(0.9)
        peer.send(frame(TEXT, b"x"), frame(TEXT, b"lost"))
        self.assertEqual(peer.protocol.end, End(EndReason.POLICY_VIOLATION, 1008))
        self.assertEqual(peer.messages()[:-1], ["x"] * 8)
        self.assertEqual(
            peer.frames[-1], closing(1008, b"more messages than max-message-rate (2 per second)")
        )


class SlowPeerTests(WireTestCase):
    """Peers that do not read what they are sent."""

    def opened(self, protocol: Any = Program, **options: Any) -> Peer:
        options = {"send_queue": 1000, "ping_interval": 0} | options
        peer = self.peer(self.factory(protocol, **options)).open()
        peer.transport.reads_nothing = True
        return peer

    def test_held_back(self) -> None:
        """A peer that sends, but does not read, is not read when its send queue is full, until half of it is
        empty: the queue holds its limit and one message, and nothing is lost."""
        peer = self.opened()
        message = frame(BINARY, bytes(398))
        peer.send(message * 10)
        self.assertEqual(peer.protocol.link.queued_bytes, 3 * 402)
        self.assertEqual(peer.transport.producerState, "paused")
        peer.transport.read_once()
        self.clock.advance(0)
        self.assertEqual(peer.transport.producerState, "paused")
        peer.transport.read()
        peer.work_off()
        self.assertEqual(peer.messages(), [bytes(398)] * 10)
        self.assertEqual(peer.transport.producerState, "producing")

    def test_not_held_back(self) -> None:
        """A protocol that says so reads on, and is closed with 1013 when a message more is sent."""

        class Reading(Program):
            holds_back = False

        peer = self.opened(Reading)
        peer.send(frame(BINARY, bytes(1000)) * 2)
        self.assertEqual(peer.protocol.end, End(EndReason.SLOW_CONSUMER, 1013))
        self.assertEqual(peer.protocol.link.outbox.dropped, 0)

    def test_closed(self) -> None:
        """A message for a peer whose send queue is full ends the connection with 1013; what it was sent
        before is flushed when it reads again."""
        peer = self.opened()
        for _ in range(3):
            peer.protocol.sendMessage(bytes(498), True)
        self.assertEqual(peer.protocol.end, End(EndReason.SLOW_CONSUMER, 1013))
        self.assertRaises(Disconnected, peer.protocol.sendMessage, b"x")
        peer.transport.read()
        reason = b"does not read: send-queue (1000 bytes) is full"
        self.assertEqual(peer.frames, [*[Frame(BINARY, bytes(498))] * 2, closing(1013, reason)])

    def test_exactly_full(self) -> None:
        """A message is taken while the queue is below its limit by one byte, however large it is."""
        peer = self.opened()
        peer.protocol.sendMessage(bytes(995), True)
        self.assertEqual(peer.protocol.link.queued_bytes, 999)
        peer.protocol.sendMessage(bytes(5000), True)
        self.assertIsNone(peer.protocol.end)
        peer.transport.read()
        self.assertEqual(peer.messages(), [bytes(995), bytes(5000)])

    def test_pings(self) -> None:
        """While output is blocked, only the latest ping is answered, and nothing grows; otherwise every
        one."""
        peer = self.opened()
        peer.send(frame(PING, b"1") + frame(PING, b"2"))
        self.assertEqual(peer.frames, [Frame(PONG, b"1"), Frame(PONG, b"2")])
        peer.protocol.sendMessage(bytes(900), True)
        before = peer.protocol.link.queued_bytes
        for number in range(1000):
            peer.send(frame(PING, b"%03d" % number))
        self.assertEqual(peer.protocol.link.queued_bytes, before + 5)
        peer.transport.read()
        self.assertEqual(peer.frames[2:], [Frame(PONG, b"999"), Frame(BINARY, bytes(900))])

    def test_long_pings(self) -> None:
        """A ping or pong of more than 125 bytes is refused."""
        peer = self.opened()
        self.assertRaises(ValueError, peer.protocol.sendPing, bytes(126))
        self.assertRaises(ValueError, peer.protocol.sendPong, bytes(126))

    def test_slow_but_there(self) -> None:
        """A peer that reads slowly is not taken for a dead one, though its pong cannot be read; one that
        reads nothing is."""
        peer = self.opened(send_queue=1000, ping_interval=10, ping_timeout=5)
        peer.send(frame(BINARY, bytes(3000)))
        self.clock.advance(10)
        for _ in range(3):
            peer.transport.read_once()
            self.clock.advance(4)
        self.assertIsNone(peer.protocol.end)
        self.assertTrue(peer.protocol.link.outbox.is_blocked)
        self.clock.advance(10)
        self.clock.advance(5)
        self.assertEqual(peer.protocol.end, End(EndReason.PING_TIMEOUT, 1001))


class DebugTests(WireTestCase):
    """The line for each message."""

    def lines(self) -> list[str]:
        """The lines that are neither of the opening nor of the end."""
        return [line for line in self.log if " open:" not in line and " closed:" not in line]

    def test_off(self) -> None:
        """Without debug no message is logged."""
        self.peer(self.factory(Program)).open().send(frame(TEXT, b"x"))
        self.assertEqual(self.lines(), [])

    def test_escaped_and_shortened(self) -> None:
        """Messages in both directions are logged in one line each, escaped and shortened."""
        peer = self.peer(self.factory(Program, debug=True)).open()
        number = peer.protocol.id
        peer.send(frame(TEXT, 'a"\x1b[2J\n\u202e\x85'.encode()))
        escaped = 'a\\"\\x1b[2J\\x0a\\u202e\\u0085'
        self.assertEqual(
            self.lines(),
            [f'{number} received text 12: "{escaped}"', f'{number} sent text 12: "{escaped}"'],
        )
        self.events.clear()
        peer.send(frame(BINARY, b"\xff" * 100_000))
        for line in self.lines():
            self.assertLess(len(line), 400)
            self.assertIn("binary 100000:", line)
        self.assertEqual(len(self.lines()), 2)

    def test_prepared(self) -> None:
        """A message that was framed once is logged once for each receiver, compressed or not."""
        for compression in ("off", "deflate"):
            factory = self.factory(debug=True, compression=compression)
            peer = self.peer(factory).open("/", "Sec-WebSocket-Extensions: permessage-deflate")
            self.events.clear()
            peer.protocol.sendPreparedMessage(prepare(b"x", False))
            peer.protocol.sendPreparedMessage(factory.prepareMessage(b"y", doNotCompress=True))
            number = peer.protocol.id
            self.assertEqual(
                self.lines(), [f'{number} sent text 1: "x"', f'{number} sent text 1: "y"'], compression
            )


class PauseTests(WireTestCase):
    """A program that wants to read later."""

    def test_pause_and_resume(self) -> None:
        """A program holds reading, and takes it up again."""
        peer = self.peer(self.factory()).open()
        peer.protocol.pause_reading()
        self.assertTrue(peer.protocol.link.is_held_by(Hold.PROGRAM))
        self.assertEqual(peer.transport.producerState, "paused")
        peer.protocol.resume_reading()
        self.assertEqual(peer.transport.producerState, "producing")

    def test_close_while_paused(self) -> None:
        """A program that closes a connection it does not read from reads again: the peer's Close must be
        seen."""
        peer = self.peer(self.factory(Program)).open()
        peer.protocol.pause_reading()
        peer.protocol.sendClose(1000)
        self.assertEqual(peer.transport.producerState, "producing")
        peer.send(close(1000))
        self.assertEqual(peer.protocol.phase, Phase.FLUSHING)

    def test_end_while_paused(self) -> None:
        """However a connection ends that is not read from, nothing of it is resumed afterwards."""
        ended, aborted, shut_down = (self.peer(self.factory(Program)).open() for _ in range(3))
        for peer in (ended, aborted, shut_down):
            peer.protocol.pause_reading()
        ended.reset()
        aborted.protocol.dropConnection(abort=True)
        self.clock.advance(0)
        shut_down.protocol.factory.shutdown()
        for peer in (ended, aborted, shut_down):
            peer.protocol.resume_reading()
        self.assertEqual(shut_down.transport.producerState, "producing")
