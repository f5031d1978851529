"""Tests for wsecho.wire.observed."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from tests.wire.client_harness import ClientTestCase, Service, unmasked
from tests.wire.harness import BINARY, CONTINUATION, PING, PONG, TEXT, Peer, closing, frame
from wsecho.wire.observed import IObserver, ObservedClientProtocol, ObservedServerProtocol


@implementer(IObserver)
class Observer(Service):
    """Notes frames, pongs and ends as well."""

    def frame_arrived(self, connection: Any, payload: bytes, is_binary: bool, is_last: bool) -> None:
        self._tell("frame", payload, is_binary, is_last)

    def pong_arrived(self, connection: Any, payload: bytes) -> None:
        self._tell("pong", payload)

    def ended(self, connection: Any) -> None:
        self._tell("ended")


class ObservedTests(ClientTestCase):
    """What an observer is told, on the server's side."""

    def observed(self, raising: str = "", **options: Any) -> Peer:
        """A client of a server whose connections are observed."""
        self.service = Observer(raising)
        factory = self.factory(ObservedServerProtocol, route=lambda path: self.service, **options)
        return self.peer(factory)

    def test_frames(self) -> None:
        """Each data frame is told as it comes, the message after its last one, control frames not."""
        self.observed().open().send(
            frame(TEXT, b"he", fin=False),
            frame(PING, b"x"),
            frame(CONTINUATION, b"llo"),
            frame(BINARY, b"\0"),
        )
        self.assertEqual(
            self.service.told,
            [
                ("opened",),
                ("frame", b"he", False, False),
                ("frame", b"llo", False, True),
                ("message", b"hello", False),
                ("frame", b"\0", True, True),
                ("message", b"\0", True),
            ],
        )

    def test_empty_frames(self) -> None:
        """Empty frames are frames."""
        self.observed().open().send(frame(TEXT, fin=False), frame(CONTINUATION))
        self.assertEqual(
            self.service.told[1:],
            [("frame", b"", False, False), ("frame", b"", False, True), ("message", b"", False)],
        )

    def test_segments(self) -> None:
        """A frame that comes in pieces is told once, whole."""
        data = frame(TEXT, b"hello")
        self.observed().open().send(*(data[at : at + 1] for at in range(len(data))))
        self.assertEqual(
            self.service.told[1:], [("frame", b"hello", False, True), ("message", b"hello", False)]
        )

    def test_compressed(self) -> None:
        """Frames of a compressed message are told decompressed, and together are the message."""
        peer = self.observed(compression="deflate")
        peer.open("/", "Sec-WebSocket-Extensions: permessage-deflate")
        # "Hello" of RFC 7692 section 7.2.3.1, in two frames.
        packed = bytes.fromhex("f248cdc9c90700")
        peer.send(frame(TEXT, packed[:3], fin=False, rsv=4), frame(CONTINUATION, packed[3:]))
        frames = [one for one in self.service.told if one[0] == "frame"]
        self.assertEqual(b"".join(one[1] for one in frames), b"Hello")
        self.assertEqual([one[3] for one in frames], [False, True])
        self.assertEqual(self.service.told[-1], ("message", b"Hello", False))

    def test_pongs(self) -> None:
        """A pong is told, also one that nobody asked for."""
        self.observed().open().send(frame(PONG, b"x"))
        self.assertEqual(self.service.told[1:], [("pong", b"x")])

    def test_keepalive_pongs(self) -> None:
        """The answer to a keepalive ping is not told, the next pong is."""
        peer = self.observed(ping_interval=10.0, ping_timeout=5.0).open()
        self.clock.advance(10)
        (ping,) = peer.frames
        peer.send(frame(PONG, ping.payload), frame(PONG, b"x"))
        self.assertEqual(self.service.told[1:], [("pong", b"x")])

    def test_nothing_after_close(self) -> None:
        """Once Close was sent, neither frames nor pongs are told."""
        peer = self.observed().open()
        peer.protocol.sendClose(1000)
        peer.send(frame(TEXT, b"late"), frame(PONG, b"late"))
        self.assertEqual(self.service.told, [("opened",), ("closed",)])

    def test_ended(self) -> None:
        """The end of the transport is told last, once."""
        peer = self.observed().open()
        peer.leave()
        self.assertEqual(self.service.told, [("opened",), ("closed",), ("ended",)])

    def test_refused(self) -> None:
        """Of a connection that was refused, its end is all that is told; before that, nobody is there."""
        self.observed(origins=lambda request: False).send(frame(TEXT))
        peer = self.observed(origins=lambda request: False)
        peer.send(b"GET / HTTP/1.1\r\n")
        peer.leave()
        self.assertEqual(self.service.told, [])
        peer = self.observed(origins=lambda request: False)
        self.assertRaises(AssertionError, peer.open)
        peer.leave()
        self.assertEqual(self.service.told, [("ended",)])

    def test_observer_raises(self) -> None:
        """An exception ends the connection with 1011, and is logged."""
        for raising, data in (("frame", frame(TEXT, b"x")), ("pong", frame(PONG, b"x"))):
            peer = self.observed(raising).open()
            peer.send(data)
            self.assertEqual(peer.frames, [closing(1011, b"internal error")])
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
            self.assertNotIn("message", [one[0] for one in self.service.told])

    def test_client(self) -> None:
        """A client's connection is observed alike."""
        self.service = Observer()
        end = self.server(protocol=ObservedClientProtocol).open()
        end.send(unmasked(TEXT, b"hello"), unmasked(PONG, b"x"))
        end.leave()
        self.assertEqual(
            self.service.told,
            [
                ("opened",),
                ("frame", b"hello", False, True),
                ("message", b"hello", False),
                ("pong", b"x"),
                ("closed",),
                ("ended",),
            ],
        )
