"""Tests for `wsecho.wire.misbehaviour`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.test_architecture import imported, modules, parse
from tests.wire.harness import Program, WireTestCase, parse_answer
from wsecho.policy.end_reasons import EndReason
from wsecho.policy.knobs import BAD_FRAMES
from wsecho.wire.misbehaviour import HALF_FRAME, Fault, bad_frame, send_bad_frame, unasked_subprotocol
from wsecho.wire.switching import render_switching

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class ReachTests(SynchronousTestCase):
    """Who may use the module."""

    def test_one_service_only(self) -> None:
        """Nothing but the programmable echo imports it."""
        users = [
            module.name
            for module in modules()
            if any(name.startswith("wsecho.wire.misbehaviour") for name in imported(parse(module)))
        ]
        self.assertEqual(users, ["programmable.py"])


class FrameTests(WireTestCase):
    """`bad_frame` and `send_bad_frame`."""

    def test_frames(self) -> None:
        """Each value of the knob has its frame, with the fault that it is named after."""
        frames = {kind: bad_frame(kind) for kind in BAD_FRAMES}
        self.assertEqual(frames["masked"][:2], bytes([0x81, 0x80 | 11]))
        self.assertEqual(len(frames["masked"]), 2 + 4 + 11)
        self.assertEqual(frames["rsv"], b"\xa1\x0ba bad frame")
        self.assertEqual(frames["opcode"], b"\x83\x0ba bad frame")
        self.assertRaises(UnicodeDecodeError, frames["utf8"][2:].decode)
        self.assertEqual(frames["utf8"][:2], bytes([0x81, len(frames["utf8"]) - 2]))
        self.assertEqual(frames["length"], b"\x81\x7f\x80" + bytes(7))
        self.assertEqual(frames[HALF_FRAME], b"\x81\x0ba bad")

    def test_sent(self) -> None:
        """A bad frame is written among others; after half a one comes nothing but the end."""
        for kind in BAD_FRAMES:
            peer = self.peer(self.factory(Program)).open()
            send_bad_frame(peer.protocol, kind)
            peer.protocol.sendPing(b"x")
            is_half = kind == HALF_FRAME
            more = b"" if is_half else b"\x89\x01x"
            self.assertEqual(peer.transport.value(), bad_frame(kind) + more, kind)
            self.assertEqual(peer.protocol.end is not None, is_half)
            if is_half:
                self.assertEqual(peer.transport.done[-1], "loseWriteConnection")
                self.assertIs(peer.protocol.end.reason, EndReason.AS_ASKED)


class FaultTests(SynchronousTestCase):
    """`Fault` and `unasked_subprotocol`."""

    def test_right(self) -> None:
        """Without a fault the answer stays."""
        head = render_switching(KEY, subprotocol="chat")
        self.assertEqual(Fault().spoil(head), head)
        self.assertIs(Fault().answer, None)

    def test_accept(self) -> None:
        """The key's answer is that of another key, and nothing else differs."""
        head = render_switching(KEY, subprotocol="chat")
        right = parse_answer(head)
        wrong = parse_answer(Fault(has_wrong_accept=True).spoil(head))
        accept = wrong.headers.pop("sec-websocket-accept")
        self.assertNotEqual(accept, right.headers.pop("sec-websocket-accept"))
        self.assertEqual(len(accept), 28)
        self.assertEqual(wrong, right)

    def test_subprotocol(self) -> None:
        """The subprotocol is named once, whether one was agreed on or not."""
        for subprotocol in (None, "chat"):
            head = render_switching(KEY, subprotocol=subprotocol)
            answer = parse_answer(Fault(subprotocol="other").spoil(head))
            self.assertEqual(answer.headers["sec-websocket-protocol"], "other")
            self.assertEqual(answer.rest, b"")

    def test_unasked(self) -> None:
        """The name is not one of those that were offered."""
        self.assertEqual(unasked_subprotocol([]), "wsecho.unasked")
        self.assertNotIn(unasked_subprotocol(["wsecho.unasked"]), ["wsecho.unasked"])
