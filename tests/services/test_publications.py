"""Publications as frames."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.wire.harness import BINARY, TEXT, Frame, parse_frames
from wsecho.hub.engine import Entry, Position, Publication
from wsecho.services.publications import Relayed, envelope


class RelayedTests(SynchronousTestCase):
    """`Relayed` and `envelope`."""

    def test_plain(self) -> None:
        """Plain clients get the message as it was, with its type."""
        for is_binary, opcode in ((False, TEXT), (True, BINARY)):
            relayed = Relayed(Entry(Publication(b"x", is_binary), None))
            self.assertEqual(list(parse_frames(relayed.payloadHybi)), [Frame(opcode, b"x")])

    def test_envelope(self) -> None:
        """Others get an envelope, which is made once."""
        relayed = Relayed(Entry(Publication(b"\xff", True, "node-1", "id"), Position("e", 3)))
        (frame,) = parse_frames(relayed.envelope.payloadHybi)
        self.assertEqual(
            json.loads(frame.payload),
            {"type": "message", "epoch": "e", "offset": 3, "sender": "node-1", "binary": "/w=="},
        )
        self.assertIs(relayed.envelope, relayed.envelope)

    def test_id_stays_private(self) -> None:
        """The publisher's id is nobody else's: who knew it could keep its messages from being stored."""
        relayed = Relayed(Entry(Publication(b"x", False, "node-1", "0123456789abcdef"), None))
        self.assertNotIn(b"0123456789abcdef", relayed.envelope.payloadHybi)

    def test_notice(self) -> None:
        """Any other envelope is a text message."""
        (frame,) = parse_frames(envelope("pong").payloadHybi)
        self.assertEqual(frame, Frame(TEXT, b'{"type":"pong"}'))
