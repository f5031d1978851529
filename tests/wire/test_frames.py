"""Frames that are made once for many receivers."""

from __future__ import annotations

import zlib

from twisted.trial.unittest import SynchronousTestCase

from tests.wire.harness import BINARY, TEXT, Frame, parse_frames
from wsecho.wire.frames import prepare


def inflated(payload: bytes, window_bits: int) -> bytes:
    """A compressed message, as a peer reads it that has a window of this size."""
    return zlib.decompressobj(-window_bits).decompress(payload + b"\0\0\xff\xff")


class PrepareTests(SynchronousTestCase):
    """`prepare`."""

    def test_one_frame(self) -> None:
        """A message is one unmasked, final frame of its type, in the shortest form of its length."""
        for size in (0, 1, 125, 126, 65535, 65536):
            for opcode, is_binary in ((TEXT, False), (BINARY, True)):
                frames = list(parse_frames(prepare(b"x" * size, is_binary).payloadHybi))
                self.assertEqual(frames, [Frame(opcode, b"x" * size)], size)

    def test_compressed_once(self) -> None:
        """The compressed frame of a message is made once for each window, and becomes the message again."""
        for opcode, is_binary in ((TEXT, False), (BINARY, True)):
            message = prepare(b"hello " * 100, is_binary)
            made = message.compressed_frame(15)
            self.assertIs(message.compressed_frame(15), made)
            self.assertIsNot(message.compressed_frame(9), made)
            for bits in (9, 15):
                (one,) = parse_frames(message.compressed_frame(bits))
                self.assertEqual((one.opcode, one.rsv), (opcode, 4))
                self.assertEqual(inflated(one.payload, bits), b"hello " * 100)

    def test_not_to_be_compressed(self) -> None:
        """A message that is not worth compressing says so."""
        self.assertTrue(prepare(b"noise", True, is_compressible=False).doNotCompress)
        self.assertFalse(prepare(b"hello", True).doNotCompress)
