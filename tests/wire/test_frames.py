"""Frames that are made once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.wire.harness import BINARY, TEXT, Frame, parse_frames
from wsecho.wire.frames import prepare


class PrepareTests(SynchronousTestCase):
    """`prepare`."""

    def test_frame(self) -> None:
        """The message is one unmasked frame of its type, at every length of the length field."""
        for size in (0, 125, 126, 65535, 65536):
            payload = b"x" * size
            self.assertEqual(list(parse_frames(prepare(payload, False).payloadHybi)), [Frame(TEXT, payload)])
            self.assertEqual(list(parse_frames(prepare(payload, True).payloadHybi)), [Frame(BINARY, payload)])

    def test_payload(self) -> None:
        """The payload stays beside it, for receivers with compression."""
        prepared = prepare(b"x", True)
        self.assertEqual((prepared.payload, prepared.binary), (b"x", True))
