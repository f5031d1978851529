"""Echo: what is sent comes back."""

from __future__ import annotations

from tests.wire.harness import BINARY, CLOSE, CONTINUATION, TEXT, Frame, WireTestCase, close, frame, handshake
from wsecho.services.echo import EchoServerFactory, EchoService

SIXTEEN_MIB = 16 * 1024 * 1024


class EchoTests(WireTestCase):
    """`EchoServerFactory`, and so `EchoServerProtocol` and `EchoService`."""

    def test_type(self) -> None:
        """Text comes back as text, binary as binary, and each once."""
        peer = self.peer(self.factory(make=EchoServerFactory)).open()
        peer.send(frame(TEXT, "grün".encode()), frame(BINARY, b"\xff\x00"))
        self.assertEqual(peer.messages(), ["grün", b"\xff\x00"])

    def test_empty(self) -> None:
        """An empty message comes back empty."""
        peer = self.peer(self.factory(make=EchoServerFactory)).open()
        peer.send(frame(TEXT), frame(BINARY))
        self.assertEqual(peer.frames, [Frame(TEXT, b""), Frame(BINARY, b"")])

    def test_fragments(self) -> None:
        """A fragmented message comes back whole, in one frame."""
        peer = self.peer(self.factory(make=EchoServerFactory)).open()
        peer.send(
            frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"b", fin=False), frame(CONTINUATION, b"c")
        )
        self.assertEqual(peer.frames, [Frame(TEXT, b"abc")])

    def test_large(self) -> None:
        """16 MiB come back when the limit allows them."""
        peer = self.peer(self.factory(make=EchoServerFactory, max_message_size=SIXTEEN_MIB)).open()
        payload = bytes(range(256)) * (SIXTEEN_MIB // 256)
        peer.send(frame(BINARY, payload))
        self.assertTrue(peer.frames == [Frame(BINARY, payload)], "not the same 16 MiB")

    def test_many_in_one_segment(self) -> None:
        """A thousand messages in one segment come back in order."""
        peer = self.peer(self.factory(make=EchoServerFactory)).open()
        messages = [str(number) for number in range(1000)]
        peer.send(b"".join(frame(TEXT, message.encode()) for message in messages))
        peer.work_off()
        self.assertEqual(peer.messages(), messages)

    def test_with_the_handshake(self) -> None:
        """A message in the segment of the handshake is echoed behind the answer."""
        peer = self.peer(self.factory(make=EchoServerFactory))
        peer.send(handshake() + frame(TEXT, b"early"))
        self.assertTrue(peer.answer.rest.endswith(b"\x81\x05early"), peer.answer)

    def test_any_path(self) -> None:
        """Every path echoes."""
        peer = self.peer(self.factory(make=EchoServerFactory)).open("/any/where?at=all")
        peer.send(frame(TEXT, b"x"))
        self.assertEqual(peer.messages(), ["x"])

    def test_nothing_unasked(self) -> None:
        """The service says nothing when a connection opens, and nothing but the Close when it ends."""
        peer = self.peer(self.factory(route=lambda path: EchoService())).open()
        self.assertEqual(peer.frames, [])
        peer.send(close(1000))
        self.assertEqual([one.opcode for one in peer.frames], [CLOSE])
