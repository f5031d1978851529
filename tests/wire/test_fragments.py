"""Tests for `wsecho.wire.fragments`."""

from __future__ import annotations

import zlib

from tests.wire.harness import BINARY, CONTINUATION, TEXT, Frame, Program, WireTestCase
from wsecho.wire.fragments import Fragments


class FragmentsTests(WireTestCase):
    """`Fragments`."""

    def test_fragments(self) -> None:
        """A message comes in fragments of the sizes that were asked for, the last one marked, and is counted
        as one."""
        peer = self.peer(self.factory(Program)).open()
        fragments = Fragments(peer.protocol, b"abcde", False)
        self.assertEqual(len(fragments), 5)
        self.assertEqual([fragments.send(2), fragments.send(1), fragments.send(9)], [2, 1, 2])
        self.assertTrue(fragments.is_sent)
        expected = [Frame(TEXT, b"ab", False), Frame(CONTINUATION, b"c", False), Frame(CONTINUATION, b"de")]
        self.assertEqual(peer.frames, expected)
        stats = peer.protocol.trafficStats
        self.assertEqual((stats.outgoingWebSocketMessages, stats.outgoingOctetsAppLevel), (1, 5))

    def test_control_frame_between(self) -> None:
        """A ping passes between two fragments."""
        peer = self.peer(self.factory(Program)).open()
        fragments = Fragments(peer.protocol, b"ab", True)
        fragments.send(1)
        peer.protocol.sendPing(b"x")
        fragments.send(1)
        self.assertEqual([frame.opcode for frame in peer.frames], [BINARY, 9, CONTINUATION])

    def test_empty(self) -> None:
        """An empty message is one empty frame."""
        peer = self.peer(self.factory(Program)).open()
        fragments = Fragments(peer.protocol, b"", True)
        fragments.send(4)
        self.assertTrue(fragments.is_sent)
        self.assertEqual(peer.frames, [Frame(BINARY, b"")])

    def test_compressed(self) -> None:
        """With compression the fragments are of the compressed message, and the first says so."""
        peer = self.peer(self.factory(Program, compression="deflate"))
        peer.open("/", "Sec-WebSocket-Extensions: permessage-deflate")
        fragments = Fragments(peer.protocol, b"hello" * 20, False)
        while not fragments.is_sent:
            fragments.send(3)
        frames = peer.frames
        self.assertEqual([frame.rsv for frame in frames], [4] + [0] * (len(frames) - 1))
        data = b"".join(frame.payload for frame in frames) + b"\x00\x00\xff\xff"
        self.assertEqual(zlib.decompressobj(wbits=-15).decompress(data), b"hello" * 20)

    def test_debug(self) -> None:
        """With debug the message is logged, once."""
        peer = self.peer(self.factory(Program, debug=True)).open()
        Fragments(peer.protocol, b"ab", False).send(1)
        self.assertEqual(
            [line for line in self.log if " sent " in line], [f'{peer.protocol.id} sent text 2: "ab"']
        )

    def test_closed_meanwhile(self) -> None:
        """Behind a Close nothing is written."""
        peer = self.peer(self.factory(Program)).open()
        fragments = Fragments(peer.protocol, b"ab", True)
        fragments.send(1)
        peer.protocol.sendClose(1000)
        fragments.send(1)
        self.assertEqual([frame.opcode for frame in peer.frames], [BINARY, 8])
