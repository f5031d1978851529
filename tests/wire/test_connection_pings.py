"""Pings find peers that are gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.wire.harness import (
    BINARY,
    PING,
    PONG,
    TEXT,
    Frame,
    Peer,
    Program,
    WireTestCase,
    close,
    closing,
    frame,
)
from wsecho.policy.end_reasons import End, EndReason


class PingTests(WireTestCase):
    """Pings find peers that are gone."""

    def open(self, **options: Any) -> Peer:
        """A connection that is pinged every 10 seconds and has 5 to answer."""
        options = {"ping_interval": 10, "ping_timeout": 5, "stall_timeout": 0} | options
        return self.peer(self.factory(Program, **options)).open()

    def ping(self, peer: Peer) -> bytes:
        """Let the time for a ping come; its payload."""
        peer.transport.clear()
        self.clock.advance(10)
        (one,) = peer.frames
        self.assertEqual(one.opcode, PING)
        peer.transport.clear()
        return one.payload

    def test_answered(self) -> None:
        """A peer that answers is kept, and pinged again after the interval."""
        peer = self.open()
        for _ in range(3):
            payload = self.ping(peer)
            self.clock.advance(4.9)
            peer.send(frame(PONG, payload))
        self.clock.advance(9.9)
        self.assertIsNone(peer.protocol.end)

    def test_unanswered(self) -> None:
        """A peer that does not answer in time gets Close 1001, and is not waited for longer than the close
        timeout."""
        peer = self.open(close_timeout=3)
        self.ping(peer)
        self.clock.advance(5)
        self.assertEqual(peer.frames, [closing(1001, b"no pong within ping-timeout")])
        self.assertEqual(peer.protocol.end, End(EndReason.PING_TIMEOUT, 1001))
        self.clock.advance(3)
        self.assertEqual(peer.transport.done[-1], "abortConnection")

    def test_wrong_pong(self) -> None:
        """A pong that answers another ping is no answer."""
        peer = self.open()
        self.ping(peer)
        peer.send(frame(PONG), frame(PONG, b"something"))
        self.clock.advance(5)
        self.assertEqual(peer.protocol.end, End(EndReason.PING_TIMEOUT, 1001))

    def test_slow_frame(self) -> None:
        """A large message over a slow line is no silence: the pong cannot overtake it."""
        peer = self.open()
        message = frame(BINARY, bytes(1000))
        peer.send(message[:10])
        payload = self.ping(peer)
        for at in range(10, 1000, 100):
            self.clock.advance(4)
            peer.send(message[at : at + 100])
        self.assertIsNone(peer.protocol.end)
        peer.send(message[1010:] + frame(PONG, payload))
        self.assertEqual(peer.frames, [Frame(BINARY, bytes(1000))])
        self.clock.advance(9.9)
        self.assertIsNone(peer.protocol.end)

    def test_pong_a_moment_behind_the_frame(self) -> None:
        """The pong has its time from the end of the frame that it could not overtake."""
        peer = self.open()
        message = frame(BINARY, bytes(1000))
        peer.send(message[:10])
        payload = self.ping(peer)
        self.clock.advance(4)
        peer.send(message[10:20])
        self.clock.advance(4)
        peer.send(message[20:])
        self.clock.advance(4)
        self.assertIsNone(peer.protocol.end)
        peer.send(frame(PONG, payload))
        self.clock.advance(9.9)
        self.assertIsNone(peer.protocol.end)

    def test_frame_that_stands_still(self) -> None:
        """A peer that stops in the middle of a frame is ended as a silent one."""
        peer = self.open()
        peer.send(frame(BINARY, bytes(1000))[:10])
        self.ping(peer)
        self.clock.advance(5)
        self.assertEqual(peer.protocol.end, End(EndReason.PING_TIMEOUT, 1001))

    def test_sends_but_never_answers(self) -> None:
        """A peer that sends frame after frame, small ones or large, but never answers, is ended: it is not
        alive in both directions."""
        for size in (1, 400, 5000):
            peer = self.open()
            stream = frame(BINARY, bytes(size)) * 100_000
            self.ping(peer)
            at = 0
            for _ in range(200):
                self.clock.advance(0.1)
                if peer.protocol.end is not None:
                    break
                peer.send(stream[at : at + 350])
                at += 350
            self.assertEqual(peer.protocol.end, End(EndReason.PING_TIMEOUT, 1001), size)

    def test_ping_of_the_program_while_output_is_blocked(self) -> None:
        """A program's own ping does not take the place of one that waits, whose pong is waited for."""
        peer = self.open(send_queue=1000)
        peer.transport.reads_nothing = True
        peer.protocol.sendMessage(bytes(1000), True)
        self.clock.advance(10)
        peer.protocol.sendPing(b"mine")
        peer.protocol.sendPing(b"mine, too")
        peer.transport.read()
        self.assertEqual(
            [one.payload for one in peer.frames if one.opcode == PING][1:],
            [b"mine, too"],
        )
        self.assertEqual(len([one for one in peer.frames if one.opcode == PING]), 2)

    def test_ping_of_the_program(self) -> None:
        """A program's own ping changes nothing of this, and its pong reaches the program."""
        peer = self.open()
        peer.protocol.sendPing(b"mine")
        self.assertEqual(peer.frames, [Frame(PING, b"mine")])
        peer.send(frame(PONG, b"mine"))
        self.ping(peer)

    def test_none_after_the_end(self) -> None:
        """No ping is sent, and no timer for one is left, once the connection is closing."""
        ends: tuple[Callable[[Peer], Any], ...] = (
            lambda peer: peer.protocol.sendClose(1000),
            lambda peer: peer.send(close(1000)),
            lambda peer: peer.send(frame(TEXT, mask=b"")),
            lambda peer: peer.protocol.dropConnection(),
            lambda peer: peer.protocol.readConnectionLost(),
        )
        for end in ends:
            for waiting_for_pong in (False, True):
                peer = self.open(close_timeout=100)
                peer.transport.reads_nothing = True
                payload = self.ping(peer) if waiting_for_pong else b""
                end(peer)
                before = peer.transport.value()
                peer.send(frame(PONG, payload))
                self.assertEqual(len(self.clock.getDelayedCalls()), 1)  # the close timer
                self.clock.advance(50)
                self.assertEqual(peer.transport.value(), before)
                peer.leave()

    def test_off(self) -> None:
        """Without an interval, or a time to answer, nobody is pinged."""
        settings: tuple[dict[str, Any], ...] = ({"ping_interval": 0}, {"ping_timeout": 0})
        for options in settings:
            peer = self.peer(self.factory(**options)).open()
            self.clock.advance(1000)
            self.assertEqual(peer.frames, [])
