"""The raw client of the benchmarks."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.peer import BINARY, CLOSE, TEXT, Frame, FrameReader, close_frame, frame
from tests.wire import harness


class FrameTests(SynchronousTestCase):
    """Frames of a client."""

    def test_as_the_tests_make_them(self) -> None:
        """They are those of the tests' own client, with a mask of zeros, in each form of the length."""
        for size in (0, 1, 125, 126, 65535, 65536):
            for masked in (True, False):
                mask = bytes(4) if masked else b""
                expected = harness.frame(BINARY, bytes(size), fin=False, rsv=4, mask=mask)
                self.assertEqual(frame(BINARY, bytes(size), fin=False, rsv=4, masked=masked), expected)
        self.assertEqual(close_frame(1000), frame(CLOSE, b"\x03\xe8"))


class FrameReaderTests(SynchronousTestCase):
    """Frames of a server."""

    def test_any_cut(self) -> None:
        """Frames come as they were sent, wherever the bytes are cut."""
        sent = [(TEXT, b"hello"), (BINARY, bytes(126)), (BINARY, bytes(70_000)), (CLOSE, b"")]
        data = b"".join(frame(opcode, payload, masked=False) for opcode, payload in sent)
        expected = [Frame(opcode, payload) for opcode, payload in sent]
        for step in (1, 2, 7, 1000, len(data)):
            reader = FrameReader()
            got: list[Frame] = []
            for at in range(0, len(data), step):
                got += reader.feed(data[at : at + step])
            self.assertEqual(got, expected, step)

    def test_codes(self) -> None:
        """A Close frame's code; 1005 when it has none."""
        self.assertEqual(Frame(CLOSE, b"\x03\xf0").code, 1008)
        self.assertEqual(Frame(CLOSE, b"").code, 1005)
