"""Frames that are made once for many receivers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.wire.harness import BINARY, TEXT, Frame, parse_frames
from wsecho.wire.frames import prepare


class PrepareTests(SynchronousTestCase):
    """`prepare`."""

    def test_one_frame(self) -> None:
        """A message is one unmasked, final frame of its type, in the shortest form of its length."""
        for size in (0, 1, 125, 126, 65535, 65536):
            for opcode, is_binary in ((TEXT, False), (BINARY, True)):
                frames = list(parse_frames(prepare(b"x" * size, is_binary).payloadHybi))
                self.assertEqual(frames, [Frame(opcode, b"x" * size)], size)

    def test_payload_is_kept(self) -> None:
        """The payload and its type are kept, for receivers that need a frame of their own."""
        message = prepare(b"hello", True)
        self.assertEqual((message.payload, message.binary), (b"hello", True))
        self.assertFalse(message.doNotCompress)
