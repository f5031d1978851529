"""Behaviours of frames (Qt's tst_dataprocessor, tst_websocketframe, tst_websocketprotocol)."""

from __future__ import annotations

from tests.members import MembersTestCase, Record
from tests.wire.client_harness import unmasked
from tests.wire.harness import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    PING,
    PONG,
    TEXT,
    Frame,
    Peer,
    close,
    frame,
    masking,
)
from wsecho import WebSocket
from wsecho.policy.close_codes import cut_reason, may_be_received

#: Sizes around the limits of the three forms of length, and Qt's largest.
SIZES = (0, 1, 124, 125, 126, 127, 128, 255, 256, 65_534, 65_535, 65_536, 65_537, 65_664)

#: Byte sequences that are no UTF-8 (Markus Kuhn's, as in part 6 of the Autobahn suite): each between letters.
CONTINUATIONS = [bytes(range(0x80, 0x80 + number)) for number in range(1, 8)] + [bytes(range(0x80, 0xC0))]
LONELY = [bytes([first]) + b" " for first in (*range(0xC0, 0xFE, 4), 0xFE, 0xFF)]
CUT = [
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",
    b"\xf8\x80",
    b"\xfb\xbf\xbf\xbf",
]
IMPOSSIBLE = [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]
OVERLONG = [
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
]
OVERLONG_NUL = [b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80"]
SURROGATES = [
    b"\xed" + bytes([second, third])
    for second in (0xA0, 0xAD, 0xAF, 0xB0, 0xBE, 0xBF)
    for third in (0x80, 0xBF)
]
PAIRS = [b"\xed\xa0\x80\xed\xb0\x80", b"\xed\xad\xbf\xed\xb0\x80", b"\xed\xaf\xbf\xed\xbf\xbf"]
BEYOND = [b"\xf4\x90\x80\x80", b"\xf4\xbf\xbf\xbf", b"\xf5\x80\x80\x80", b"\xf7\xbf\xbf\xbf"]
NO_UTF8 = [*CONTINUATIONS, *LONELY, *CUT, *IMPOSSIBLE, *OVERLONG, *OVERLONG_NUL, *SURROGATES, *PAIRS, *BEYOND]


class FramesTestCase(MembersTestCase):
    """A test of what a peer's frames do."""

    def setUp(self) -> None:
        super().setUp()
        self.web = self.server()

    def meet(self) -> tuple[WebSocket, Peer, Record]:
        """A connection whose data and pongs are recorded."""
        socket, peer = self.pair(self.web)
        names = [f"{kind}_{what}_received" for kind in ("text", "binary") for what in ("frame", "message")]
        return socket, peer, Record(socket, *names, "pong")

    def assertEnds(self, code: int, *pieces: bytes) -> Record:
        """These bytes end the connection with that code, on the wire and to the program, and no message."""
        socket, peer, record = self.meet()
        peer.send(*pieces)
        last = peer.frames[-1]
        self.assertEqual((last.opcode, last.payload[:2]), (CLOSE, code.to_bytes(2, "big")), pieces)
        self.assertEqual(socket.close_code, code, pieces)
        self.assertNotIn("text_message_received", record.names)
        self.assertNotIn("binary_message_received", record.names)
        peer.leave()
        return record


class GoodFrameTests(FramesTestCase):
    """Frames that are right."""

    def test_good_binary_frame(self) -> None:
        """Of every size: one frame and one message, and nothing else."""
        _, peer, record = self.meet()
        for size in SIZES:
            payload = bytes(size)
            record.clear()
            peer.send(frame(BINARY, payload))
            self.assertEqual(
                record.told, [("binary_frame_received", payload, True), ("binary_message_received", payload)]
            )

    def test_every_byte(self) -> None:
        """Of every byte value."""
        _, peer, record = self.meet()
        for value in range(256):
            record.clear()
            peer.send(frame(BINARY, bytes([value])))
            self.assertEqual(record.told[-1], ("binary_message_received", bytes([value])))

    def test_good_text_frame(self) -> None:
        """Of every size, all of ASCII, and characters of two, three and four bytes."""
        _, peer, record = self.meet()
        texts = ["x" * size for size in SIZES]
        texts += ["".join(map(chr, range(128))), "Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\U0001d11e"]
        for text in texts:
            record.clear()
            peer.send(frame(TEXT, text.encode()))
            self.assertEqual(
                record.told, [("text_frame_received", text, True), ("text_message_received", text)]
            )

    def test_good_control_frame(self) -> None:
        """A ping is answered by its payload and tells nothing; a pong tells only that it came."""
        _, peer, record = self.meet()
        for size in (0, 1, 124, 125):
            peer.send(frame(PING, bytes(size)))
            self.assertEqual(peer.frames[-1], Frame(PONG, bytes(size)))
            self.assertEqual(record.told, [])
        peer.send(frame(PONG, b"x"))
        self.assertEqual(record.told, [("pong", -1, b"x")])

    def test_ping_between_fragments(self) -> None:
        """A ping between fragments is answered at once; the message comes whole."""
        _, peer, record = self.meet()
        peer.send(frame(TEXT, b"a", fin=False), frame(PING, b"p"), frame(CONTINUATION, b"b"))
        self.assertEqual(peer.frames, [Frame(PONG, b"p")])
        self.assertEqual(record.told[-1], ("text_message_received", "ab"))

    def test_good_close_frame(self) -> None:
        """Every code that may be received, with reasons of every length: told, and echoed."""
        codes = [1000, 1001, 1002, 1003, *range(1007, 1012), 3000, 3999, 4000, 4999]
        for code in codes:
            for reason in (b"", b"x", b"y" * 123):
                socket, peer, _ = self.meet()
                peer.send(close(code, reason))
                self.assertEqual((socket.close_code, socket.close_reason), (code, reason.decode()))
                self.assertEqual(peer.frames, [Frame(CLOSE, code.to_bytes(2, "big") + reason)])
                peer.leave()

    def test_close_without_code(self) -> None:
        """Without a code it is 1005 (RFC 6455 section 7.1.5), where Qt says 1000; an empty Close answers."""
        socket, peer, _ = self.meet()
        peer.send(close())
        self.assertEqual((socket.close_code, peer.frames), (1005, [Frame(CLOSE, b"")]))

    def test_codes_registered_later(self) -> None:
        """1012 and 1013, registered after RFC 6455, are right, where Qt answers 1002."""
        for code in (1012, 1013):
            socket, peer, _ = self.meet()
            peer.send(close(code))
            self.assertEqual(socket.close_code, code)

    def test_non_character_codes(self) -> None:
        """U+FFFE, U+FFFF and their like in every plane are valid text."""
        _, peer, record = self.meet()
        for plane in range(17):
            for last in (0xFFFE, 0xFFFF):
                character = chr(plane << 16 | last)
                peer.send(frame(TEXT, character.encode()))
                self.assertEqual(record.told[-1], ("text_message_received", character))


class BadFrameTests(FramesTestCase):
    """Frames that are wrong."""

    def test_invalid_header(self) -> None:
        """Reserved bits and reserved opcodes are 1002, also inside a fragmented message."""
        beginning = frame(TEXT, b"x", fin=False)
        for rsv in range(1, 8):
            self.assertEnds(1002, frame(TEXT, b"x", rsv=rsv))
            self.assertEnds(1002, beginning, frame(CONTINUATION, b"x", rsv=rsv))
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            self.assertEnds(1002, frame(opcode, b"x"))
            self.assertEnds(1002, beginning, frame(opcode, b"x"))

    def test_invalid_control_frame(self) -> None:
        """Control frames of more than 125 bytes, or in fragments, are 1002."""
        for opcode in (CLOSE, PING, PONG):
            self.assertEnds(1002, frame(opcode, bytes(126)))
            self.assertEnds(1002, frame(opcode, b"\x03\xe8", fin=False))

    def test_invalid_close_frame(self) -> None:
        """A Close frame of one byte, and codes that may not be on the wire, are 1002."""
        self.assertEnds(1002, frame(CLOSE, b"\x03"))
        for code in (0, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
            self.assertEnds(1002, close(code))

    def test_valid_close_codes(self) -> None:
        """Of all codes, these may be received."""
        valid = {code for code in range(65536) if may_be_received(code)}
        self.assertEqual(valid, {1000, 1001, 1002, 1003, *range(1007, 1014), *range(3000, 5000)})

    def test_continuation_of_nothing(self) -> None:
        """A continuation without a beginning, and a second beginning, are 1002."""
        self.assertEnds(1002, frame(CONTINUATION, b"x"))
        for opcode in (TEXT, BINARY):
            self.assertEnds(1002, frame(TEXT, b"x", fin=False), frame(opcode, b"y"))

    def test_minimum_size(self) -> None:
        """A length that would fit a shorter form is 1002 (RFC 6455 section 5.2)."""
        first = bytes([0x80 | BINARY])
        for size in (0, 1, 125):
            self.assertEnds(1002, first + b"\xfe" + size.to_bytes(2, "big") + MASK + bytes(size))
        for size in (0, 125, 126, 65535):
            self.assertEnds(1002, first + b"\xff" + size.to_bytes(8, "big") + MASK + bytes(size))

    def test_length_with_the_highest_bit(self) -> None:
        """The highest bit of a 64-bit length must be 0."""
        self.assertEnds(1002, bytes([0x80 | BINARY]) + b"\xff" + (1 << 63).to_bytes(8, "big") + MASK)

    def test_frame_too_big(self) -> None:
        """A frame that announces more than the limit is 1009 at once, before its payload."""
        for size in (1024 * 1024 + 1, 2_147_483_647):
            self.assertEnds(1009, bytes([0x80 | BINARY]) + b"\xff" + size.to_bytes(8, "big") + MASK)

    def test_unmasked_frame(self) -> None:
        """A client's frame without a mask is 1002 (RFC 6455 section 5.1), where Qt takes it."""
        self.assertEnds(1002, unmasked(TEXT, b"x"))

    def test_masked_frame_from_the_server(self) -> None:
        """And so is a server's frame with one."""
        socket, end = self.connected()
        end.send(frame(TEXT, b"x"))
        self.assertEqual(socket.close_code, 1002)

    def test_invalid_payload(self) -> None:
        """Text that is no UTF-8 is 1007, in one frame, and in a continuation."""
        self.assertGreater(len(NO_UTF8), 60)
        for bad in NO_UTF8:
            self.assertRaises(UnicodeDecodeError, b"".join((b"a", bad, b"b")).decode)
            self.assertEnds(1007, frame(TEXT, b"a" + bad + b"b"))
            self.assertEnds(1007, frame(TEXT, b"a", fin=False), frame(CONTINUATION, bad + b"b"))

    def test_invalid_payload_in_close_frame(self) -> None:
        """A reason that is no UTF-8 is 1007."""
        for bad in NO_UTF8:
            if len(bad) < 120:
                self.assertEnds(1007, close(1000, b"a" + bad + b"b"))

    def test_nothing_after_a_violation(self) -> None:
        """What follows a wrong frame in the same segment is not read any more."""
        self.assertEnds(1002, frame(3) + frame(TEXT, b"later"))


class IncompleteFrameTests(FramesTestCase):
    """Frames that do not end."""

    def test_stalled_frame(self) -> None:
        """A peer that stops within a frame gets 1001 after ten idle seconds, as from Qt after five; what came
        before was told."""
        beginning, whole = frame(BINARY, b"first", fin=False), frame(CONTINUATION, bytes(200))
        for size in (1, 2, 3, 4, 7, 8, len(whole) - 1):
            socket, peer, record = self.meet()
            peer.send(beginning + whole[:size])
            self.reactor.advance(9.9)
            self.assertTrue(socket.is_valid())
            self.reactor.advance(0.1)
            self.assertEqual(socket.close_code, 1001, size)
            self.assertEqual(record.told, [("binary_frame_received", b"first", False)])
            peer.leave()

    def test_slow_frame(self) -> None:
        """A frame that comes slowly, but comes, is no silence."""
        self.web = self.server(ping_interval=30.0, ping_timeout=10.0)
        _, peer, record = self.meet()
        whole = frame(TEXT, b"x" * 100)
        self.reactor.advance(29)
        peer.send(whole[:10])
        self.reactor.advance(1)
        for at in range(10, 90, 10):
            peer.send(whole[at : at + 10])
            self.reactor.advance(9)
        peer.send(whole[90:])
        self.assertEqual(record.told[-1], ("text_message_received", "x" * 100))

    def test_leaving_within_a_frame(self) -> None:
        """A peer that leaves within a frame: no message, and 1006."""
        for size in range(1, 12):
            socket, peer, record = self.meet()
            peer.send(frame(TEXT, b"hello")[: min(size, 10)])
            peer.leave()
            self.assertEqual((record.told, socket.close_code), ([], 1006))

    def test_half_a_frame_does_not_leak(self) -> None:
        """Half a frame of one connection is nothing to the next (QTBUG-87279)."""
        _, first, _ = self.meet()
        first.send(frame(TEXT, b"half a message")[:9])
        first.leave()
        _, second, record = self.meet()
        second.send(frame(TEXT, b"whole"))
        self.assertEqual(
            record.told, [("text_frame_received", "whole", True), ("text_message_received", "whole")]
        )

    def test_several_frames_in_one_segment(self) -> None:
        """Frames that come in one segment are told one by one, those cut by its end later (QTBUG-77830)."""
        _, peer, record = self.meet()
        data = b"".join(frame(TEXT, bytes([letter])) for letter in b"abcde")
        peer.send(data[:-3])
        self.assertEqual(record.count("text_message_received"), 4)
        peer.send(data[-3:])
        messages = [one[1] for one in record.told if one[0] == "text_message_received"]
        self.assertEqual(messages, list("abcde"))


class BufferTests(FramesTestCase):
    """What one message leaves for the next."""

    def test_buffers_are_cleared(self) -> None:
        """Each message is told once, and nothing of it is in the next (QTBUG-88923, QTBUG-55506)."""
        _, peer, record = self.meet()
        peer.send(frame(TEXT, b"one", fin=False), frame(CONTINUATION, b"two"), frame(TEXT, b"three"))
        messages = [one[1] for one in record.told if one[0] == "text_message_received"]
        self.assertEqual(messages, ["onetwo", "three"])

    def test_data_while_the_slot_runs(self) -> None:
        """A slot that stops and resumes reading: what came behind its message are messages of their own."""
        socket, peer, record = self.meet()

        def slot(message: str) -> None:
            socket.pause_reading()
            socket.resume_reading()

        socket.text_message_received.connect(slot)
        peer.send(frame(TEXT, b"one") + frame(TEXT, b"two") + frame(TEXT, b"three")[:4])
        peer.send(frame(TEXT, b"three")[4:])
        messages = [one[1] for one in record.told if one[0] == "text_message_received"]
        self.assertEqual(messages, ["one", "two", "three"])

    def test_incoming_message_too_long(self) -> None:
        """A message above the limit ends the connection with 1009."""
        socket, peer, record = self.meet()
        socket.max_allowed_incoming_message_size = 1024
        peer.send(frame(TEXT, bytes(1024)))
        self.assertEqual(record.count("text_message_received"), 1)
        peer.send(frame(TEXT, bytes(1000), fin=False), frame(CONTINUATION, bytes(25)))
        self.assertEqual((socket.close_code, record.count("text_message_received")), (1009, 1))

    def test_incoming_frame_too_long(self) -> None:
        """So does a frame."""
        socket, peer, record = self.meet()
        socket.max_allowed_incoming_frame_size = 1024
        peer.send(frame(BINARY, bytes(1024)), frame(BINARY, bytes(1025)))
        self.assertEqual((socket.close_code, record.count("binary_message_received")), (1009, 1))


class MaskTests(MembersTestCase):
    """Masks of clients."""

    def test_mask(self) -> None:
        """Qt's vector: 0x12345678 over "abcdefgh"."""
        self.assertEqual(masking(b"abcdefgh", b"\x12\x34\x56\x78"), bytes.fromhex("7356351C77523110"))
        socket = self.client()
        socket.mask_generator = lambda: 0x12345678
        _, end = self.connected(socket)
        end.forget()
        socket.send_text_message("abcdefgh")
        self.assertTrue(end.transport.value().endswith(bytes.fromhex("12345678 7356351C77523110")))

    def test_every_frame_has_a_mask_of_its_own(self) -> None:
        """Also pings and Close (QTBUG-42298), by a generator that nobody can predict (QTBUG-61694)."""
        socket, end = self.connected()
        end.forget()
        for _ in range(20):
            socket.ping(b"x")
            socket.send_text_message("x")
        socket.close()
        self.assertEqual(len(set(end.masks)), 41)


class CloseReasonTests(MembersTestCase):
    """Reasons of Close frames (QTBUG-62949, QTBUG-42982)."""

    def test_overlong_close_reason(self) -> None:
        """A reason of 200 bytes is cut to 123, and the connection ends properly."""
        socket, peer = self.pair()
        socket.close(1000, "x" * 200)
        self.assertEqual(peer.frames, [Frame(CLOSE, b"\x03\xe8" + b"x" * 123)])
        peer.send(close(1000))
        peer.leave()
        self.assertEqual(socket.close_reason, "x" * 123)

    def test_no_character_is_split(self) -> None:
        """The cut is never inside a character, where Qt may split one."""
        for text in ("é" * 100, "x" + "é" * 100, "€" * 67, "xx" + "\U0001d11e" * 50):
            cut = cut_reason(text)
            self.assertTrue(120 <= len(cut) <= 123)
            self.assertTrue(text.startswith(cut.decode()))

    def test_code_and_reason_are_kept(self) -> None:
        """After the end they are known, on both sides."""
        socket, peer = self.pair()
        peer.send(close(4001, b"too late"))
        peer.leave()
        self.assertEqual((socket.close_code, socket.close_reason), (4001, "too late"))
