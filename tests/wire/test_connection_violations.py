"""A peer that breaks the rules or goes beyond a limit: the right code on the wire, a half close, and nothing
of what it sent is kept."""

from __future__ import annotations

import random
import zlib
from typing import Any

from tests.wire.harness import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    PING,
    TEXT,
    Frame,
    Peer,
    Program,
    WireTestCase,
    close,
    closing,
    frame,
    handshake,
    parse_frames,
)
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.lifecycle import Phase

#: What to send, by name: each is answered with Close 1002.
PROTOCOL_ERRORS: dict[str, bytes] = {
    "unmasked": frame(TEXT, b"x", mask=b""),
    **{f"RSV {rsv}": frame(TEXT, b"x", rsv=rsv) for rsv in range(1, 8)},
    **{f"opcode {opcode}": frame(opcode, b"x") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "16-bit length of 125": b"\x82\xfe\x00\x7d" + MASK + bytes(125),
    "64-bit length of 65535": b"\x82\xff" + (65535).to_bytes(8, "big") + MASK + bytes(10),
    "length of 2^63": b"\x82\xff" + (1 << 63).to_bytes(8, "big") + MASK,
    "fragmented ping": frame(PING, b"x", fin=False),
    "fragmented Close": frame(CLOSE, b"", fin=False),
    "ping of 126 bytes": frame(PING, bytes(126)),
    "Close of 126 bytes": frame(CLOSE, b"\x03\xe8" + bytes(124)),
    "continuation of nothing": frame(CONTINUATION, b"x"),
    "message inside a message": frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"),
    "Close of 1 byte": frame(CLOSE, b"\x03"),
    **{
        f"Close {code}": close(code)
        for code in (0, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
}

#: The same for Close 1007.
INVALID_PAYLOADS: dict[str, bytes] = {
    "no UTF-8": frame(TEXT, b"\xff"),
    "surrogate": frame(TEXT, b"\xed\xa0\x80"),
    "overlong": frame(TEXT, b"\xc0\xaf"),
    "ends inside a character": frame(TEXT, b"\xe2\x82"),
    "ends inside a character, in fragments": frame(TEXT, b"\xe2", fin=False) + frame(CONTINUATION, b"\x82"),
    "no UTF-8 in the second fragment": frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"\xff", fin=False),
    "no UTF-8 in a message that goes on": frame(TEXT, b"\xff" + bytes(100))[:20],
    "Close reason": close(1000, b"\xff"),
    "Close reason ends inside a character": close(1000, b"\xe2\x82"),
}


def held(connection: Any) -> int:
    """Bytes of input that a connection holds in its attributes."""
    size = 0
    for value in vars(connection).values():
        if isinstance(value, bytes | bytearray):
            size += len(value)
        elif isinstance(value, list):
            size += sum(len(one) for one in value if isinstance(one, bytes | bytearray))
    return size


class FailingTests(WireTestCase):
    """The connection is failed (RFC 6455 section 7.1.7)."""

    def assert_failed(self, peer: Peer, end: End, name: str) -> None:
        """The last frame is a Close with the code of `end` and a reason, the writing half is shut down after
        it, and nothing more is read."""
        self.assertEqual(peer.protocol.end, end, name)
        assert end.code is not None
        last = peer.frames[-1]
        self.assertEqual((last.opcode, last.payload[:2]), (CLOSE, end.code.to_bytes(2, "big")), name)
        self.assertGreater(len(last.payload), 2, name)
        self.assertEqual([one.opcode for one in peer.frames].count(CLOSE), 1, name)
        self.assertEqual(peer.transport.done[-2:], ["write", "loseWriteConnection"], name)
        before = peer.transport.value()
        peer.send(frame(TEXT, b"later"), close(1000))
        self.assertEqual(peer.transport.value(), before, name)
        self.assertEqual(peer.protocol.phase, Phase.FLUSHING, name)

    def test_code_on_the_wire(self) -> None:
        """Each violation gets its code on the wire and a half close; what was sent before it is answered,
        what follows is not; and the program learns of the end when the peer has ended."""
        for rows, reason, code in (
            (PROTOCOL_ERRORS, EndReason.PROTOCOL_ERROR, 1002),
            (INVALID_PAYLOADS, EndReason.INVALID_PAYLOAD, 1007),
        ):
            for name, data in rows.items():
                for byte_by_byte in (False, True):
                    peer = self.peer(self.factory(Program)).open()
                    stream = frame(TEXT, b"before") + data + frame(TEXT, b"after")
                    pieces = [stream[at : at + 1] for at in range(len(stream))] if byte_by_byte else [stream]
                    peer.send(*pieces)
                    self.assert_failed(peer, End(reason, code), name)
                    self.assertEqual(peer.frames[0], Frame(TEXT, b"before"))
                    self.assertEqual(len(peer.frames), 2, name)
                    peer.finish()
                    self.assertTrue(peer.transport.has_ended)
                    what, was_clean, told_code, told_reason = peer.protocol.told[-1]
                    self.assertEqual((what, was_clean, told_code), ("close", False, 1006))
                    self.assertTrue(told_reason.isprintable())

    def test_in_the_segment_of_the_handshake(self) -> None:
        """A violation that comes with the handshake is answered after it."""
        peer = self.peer(self.factory())
        peer.send(handshake() + frame(TEXT, b"x", mask=b""))
        self.assertEqual(peer.answer.status, "HTTP/1.1 101 Switching Protocols")
        self.assertEqual(next(parse_frames(peer.answer.rest)).payload[:2], b"\x03\xea")
        self.assertEqual(peer.transport.done, ["write", "loseWriteConnection"])

    def test_while_closing(self) -> None:
        """A violation after we sent Close gets no second Close; the reason of the end stays the first one."""
        for data in (frame(TEXT, b"x", mask=b""), close(1005), close(1000, b"\xff")):
            peer = self.peer(self.factory(Program)).open()
            peer.protocol.sendClose(4000)
            peer.send(data)
            self.assertEqual(peer.frames, [closing(4000)])
            self.assertEqual(peer.protocol.end, End(EndReason.SERVER_CLOSE, 4000))
            self.assertEqual(peer.transport.done, ["write", "loseWriteConnection"])
            peer.leave()
            self.assertEqual(peer.protocol.told[-1][:3], ("close", False, 1006))

    def test_peer_that_does_not_end(self) -> None:
        """A peer that goes on sending after it was failed is aborted by the close timer; nothing of what it
        sends is kept."""
        peer = self.peer(self.factory(Program, close_timeout=5)).open()
        peer.send(frame(TEXT, b"x", mask=b""))
        for _ in range(10):
            peer.send(bytes(65536))
            self.assertLess(held(peer.protocol), 1000)
        self.clock.advance(5)
        self.assertEqual(peer.transport.done[-1], "abortConnection")

    def test_nothing_is_kept(self) -> None:
        """Of what a peer had sent nothing is kept once the connection is failed, dropped or gone, even by a
        program that keeps the connection."""
        ways: dict[str, Any] = {
            "failed": lambda peer: peer.send(frame(TEXT, mask=b"")),
            "finished": lambda peer: peer.finish(),
            "gone": lambda peer: peer.reset(),
            "dropped": lambda peer: peer.protocol.dropConnection(),
            "aborted": lambda peer: peer.protocol.dropConnection(abort=True),
            "closed": lambda peer: peer.send(close(1000)),
        }
        for name, end in ways.items():
            peer = self.peer(self.factory(max_message_size=1 << 20)).open()
            peer.send(frame(BINARY, bytes(100_000), fin=False))
            if name not in ("failed", "closed"):
                peer.send(frame(CONTINUATION, bytes(100_000))[:50_000])
            self.assertGreaterEqual(held(peer.protocol), 100_000)
            end(peer)
            self.assertLess(held(peer.protocol), 1000, name)
            peer.send(bytes(100_000)) if not peer.transport.disconnecting else None
            self.assertLess(held(peer.protocol), 1000, name)


class LimitTests(WireTestCase):
    """Sizes: one beyond is 1009, and the close reason names the option."""

    def too_big(self, option: str, size: int) -> Frame:
        return closing(1009, b"larger than %s (%d bytes)" % (option.encode(), size))

    def sent(self, peer: Peer, data: bytes) -> list[Frame]:
        """What the server answers to `data`, sent whole and in segments of three bytes; both must agree."""
        peer.send(data)
        return peer.frames

    def test_message(self) -> None:
        """A message of exactly the limit passes, one byte more does not; whole or in fragments, with the
        limit for frames out of the way."""
        for parts in ([10], [4, 6], [0, 5, 5, 0], [1] * 10):
            for extra in (0, 1):
                factory = self.factory(Program, max_message_size=10, max_frame_size=0)
                for step in (1, 3, 1000):
                    peer = self.peer(factory).open()
                    sizes = [*parts[:-1], parts[-1] + extra]
                    data = b"".join(
                        frame(CONTINUATION if at else BINARY, bytes(size), fin=at == len(sizes) - 1)
                        for at, size in enumerate(sizes)
                    )
                    peer.send(*(data[at : at + step] for at in range(0, len(data), step)))
                    expected = self.too_big("max-message-size", 10) if extra else Frame(BINARY, bytes(10))
                    self.assertEqual(peer.frames, [expected], (parts, extra, step))

    def test_frame(self) -> None:
        """A frame of exactly the limit passes, one byte more does not; a message may have many of them."""
        for size in (10, 11):
            peer = self.peer(self.factory(Program, max_message_size=100, max_frame_size=10)).open()
            peer.send(frame(BINARY, bytes(10), fin=False) + frame(CONTINUATION, bytes(size)))
            expected = Frame(BINARY, bytes(20)) if size == 10 else self.too_big("max-frame-size", 10)
            self.assertEqual(peer.frames, [expected])

    def test_end_reason(self) -> None:
        """The end has its reason, whichever of the two limits it was."""
        for size, option in ((11, "frame"), (101, "message")):
            peer = self.peer(self.factory(max_message_size=100, max_frame_size=10)).open()
            peer.send(frame(BINARY, bytes(size)))
            self.assertEqual(peer.protocol.end, End(EndReason.MESSAGE_TOO_BIG, 1009), option)
            self.assertIn(option.encode(), peer.frames[0].payload)

    def test_header_is_enough(self) -> None:
        """A frame that will be too large is refused at its header: no byte of its payload is waited for."""
        for size in (1 << 21, 1 << 40, (1 << 63) - 1):
            peer = self.peer(self.factory()).open()
            peer.send(b"\x82\xff" + size.to_bytes(8, "big") + MASK)
            self.assertEqual(peer.protocol.end, End(EndReason.MESSAGE_TOO_BIG, 1009))

    def test_no_limit(self) -> None:
        """With limits of 0 there is none."""
        peer = self.peer(self.factory(Program, max_message_size=0, max_frame_size=0)).open()
        peer.send(frame(BINARY, bytes(3 << 20)))
        self.assertEqual(peer.frames, [Frame(BINARY, bytes(3 << 20))])

    def test_control_frames_have_none(self) -> None:
        """The limits are for messages: a ping passes whatever they are."""
        peer = self.peer(self.factory(max_message_size=1, max_frame_size=1)).open()
        peer.send(frame(PING, bytes(125)))
        self.assertEqual(len(peer.frames), 1)
        self.assertIsNone(peer.protocol.end)


def deflated(payload: bytes, level: int = 6) -> bytes:
    """The payload as permessage-deflate sends it (RFC 7692 section 7.2.1)."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert data.endswith(b"\0\0\xff\xff")
    return data[:-4]


def inflated(payload: bytes) -> bytes:
    """What a permessage-deflate payload is."""
    return zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")


#: Noise that no compressor makes smaller.
NOISE = random.Random(1).randbytes(100_000)


class CompressionLimitTests(WireTestCase):
    """The same limits with permessage-deflate: what counts is the message, not its compressed form."""

    def open(self, limit: int, **options: Any) -> Peer:
        """A connection with compression and a limit for messages."""
        factory = self.factory(Program, compression="deflate", max_message_size=limit, **options)
        return self.peer(factory).open("/", "Sec-WebSocket-Extensions: permessage-deflate")

    def fragments(self, data: bytes, count: int) -> bytes:
        """A compressed binary message in so many frames."""
        step = len(data) // count + 1
        parts = [data[at : at + step] for at in range(0, len(data), step)]
        return b"".join(
            frame(CONTINUATION if at else BINARY, part, fin=at == len(parts) - 1, rsv=0 if at else 4)
            for at, part in enumerate(parts)
        )

    def test_exactly_the_limit(self) -> None:
        """A compressed message of exactly the limit is echoed, also when compression makes it larger; one
        byte more is not; whole, in fragments, in segments of any size."""
        for payload in (NOISE, bytes(100_000), b"".join(bytes([n % 251]) * (n % 7) for n in range(33_000))):
            for level in (0, 1, 6):
                data = deflated(payload, level)
                for count in (1, 2, 7):
                    for step in (1000, 65536, 1 << 20):
                        for limit in (len(payload), len(payload) - 1):
                            peer = self.open(limit)
                            stream = self.fragments(data, count)
                            for at in range(0, len(stream), step):
                                peer.send(stream[at : at + step])
                            what = (len(payload), level, count, step, limit)
                            (one,) = peer.frames
                            if limit == len(payload):
                                self.assertEqual(inflated(one.payload), payload, what)
                            else:
                                reason = b"larger than max-message-size (%d bytes)" % limit
                                self.assertEqual(one, closing(1009, reason), what)
                            peer.leave()

    def test_bomb(self) -> None:
        """A small frame that would become a huge message is refused before it is inflated."""
        bomb = deflated(bytes(64 << 20), 9)
        self.assertLess(len(bomb), 70_000)
        for count in (1, 3):
            peer = self.open(100_000)
            peer.send(self.fragments(bomb, count))
            self.assertEqual(peer.frames, [closing(1009, b"larger than max-message-size (100000 bytes)")])
            self.assertEqual(peer.protocol.end, End(EndReason.MESSAGE_TOO_BIG, 1009))
            self.assertLess(held(peer.protocol), 1000)

    def test_frames_that_become_nothing(self) -> None:
        """Compressed bytes that become no message at all are bounded as well."""
        nothing = b"\0\0\0\xff\xff" * 30_000
        peer = self.open(100_000)
        peer.send(frame(BINARY, nothing, rsv=4))
        self.assertEqual(peer.protocol.end, End(EndReason.MESSAGE_TOO_BIG, 1009))
        peer = self.open(100_000)
        peer.send(frame(BINARY, nothing[:75_000], rsv=4, fin=False), frame(CONTINUATION, nothing[:75_000]))
        self.assertEqual(peer.protocol.end, End(EndReason.MESSAGE_TOO_BIG, 1009))

    def test_frame_limit(self) -> None:
        """The limit for frames holds for what a frame becomes, whatever it is on the wire; and for frames
        that become nothing, with room for what deflate adds to noise."""
        for payload in (NOISE, bytes(60_000)):
            for size, passes in ((50_000, True), (50_001, False), (60_000, False)):
                for step in (1000, 1 << 20):
                    peer = self.open(100_000, max_frame_size=50_000)
                    stream = frame(BINARY, deflated(payload[:size]), rsv=4)
                    for at in range(0, len(stream), step):
                        peer.send(stream[at : at + step])
                    self.assertEqual(peer.protocol.end is None, passes, size)
                    if not passes:
                        reason = b"larger than max-frame-size (50000 bytes)"
                        self.assertEqual(peer.frames, [closing(1009, reason)])
        peer = self.open(100_000, max_frame_size=50_000)
        peer.send(frame(BINARY, b"\0\0\0\xff\xff" * 12_000, rsv=4))
        self.assertEqual(peer.frames, [closing(1009, b"larger than max-frame-size (50000 bytes)")])

    def test_uncompressed_message(self) -> None:
        """A message that is not compressed has its plain limits, on a connection that compresses, too."""
        for size, passes in ((1000, True), (1001, False)):
            peer = self.open(1000)
            peer.send(frame(BINARY, bytes(size)))
            self.assertEqual(peer.protocol.end is None, passes, size)

    def test_corrupt(self) -> None:
        """Data that is not deflate is answered by 1007, in whichever frame it is, and a control frame or
        continuation that says it is compressed by 1002."""
        good = deflated(b"hello")
        for data, code in (
            (frame(TEXT, b"\xff\xff\xff", rsv=4), 1007),
            (frame(TEXT, good, rsv=4, fin=False) + frame(CONTINUATION, b"\xff\xff\xff"), 1007),
            (frame(PING, good, rsv=4), 1002),
            (frame(TEXT, good, rsv=4, fin=False) + frame(CONTINUATION, rsv=4), 1002),
            (frame(TEXT, deflated(b"\xff"), rsv=4), 1007),
            (frame(TEXT, good, rsv=6), 1002),
        ):
            peer = self.open(1000)
            peer.send(data)
            self.assertEqual(peer.frames[0].payload[:2], code.to_bytes(2, "big"), data)

    def test_corrupt_says_zlib(self) -> None:
        """Where Autobahn lets zlib's own exception through, as its version 26.7 does, it is 1007 all the
        same."""

        def corrupt(*arguments: Any, **options: Any) -> bytes:
            raise zlib.error("Error -3")

        peer = self.open(1000)
        peer.protocol._perMessageCompress.decompress_message_data = corrupt
        peer.send(frame(TEXT, b"x", rsv=4))
        self.assertEqual(peer.protocol.end, End(EndReason.INVALID_PAYLOAD, 1007))

    def test_no_context(self) -> None:
        """Each message is compressed by itself, in both directions, and nothing is kept between them."""
        peer = self.open(1000)
        for _ in range(3):
            peer.transport.clear()
            peer.send(frame(TEXT, deflated(b"the same again"), rsv=4))
            (one,) = peer.frames
            self.assertEqual(inflated(one.payload), b"the same again")
            deflate = peer.protocol._perMessageCompress
            self.assertEqual((deflate._compressor, deflate._decompressor), (None, None))
