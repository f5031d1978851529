"""Tests for writing at once: what goes to the socket, what to the queue, and in which order."""

import socket
from typing import Any

from twisted.internet import tcp
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.lane_harness import Output
from wsecho.wire.at_once import AtOnce


class AtOnceTests(SynchronousTestCase):
    """A writer on one end of a pair of sockets."""

    def setUp(self) -> None:
        self.ours, self.peer = socket.socketpair()
        self.ours.setblocking(False)
        self.peer.setblocking(False)
        self.addCleanup(self.ours.close)
        self.addCleanup(self.peer.close)
        self.link = Output()
        transport: Any = tcp.Server.__new__(tcp.Server)
        transport.socket = self.ours
        self.writer = AtOnce(self.link, transport, 1000)

    def received(self) -> bytes:
        """What the peer can read now."""
        got = b""
        try:
            while data := self.peer.recv(1 << 20):
                got += data
        except BlockingIOError:
            pass
        return got

    def test_at_once(self) -> None:
        """What is written is sent in the same call."""
        self.assertTrue(self.writer.put(b"one"))
        self.assertEqual(self.received(), b"one")

    def test_behind_what_waits(self) -> None:
        """While something waits, nothing is sent around it."""
        self.link.has_flushed = False
        self.assertFalse(self.writer.put(b"one"))
        self.assertEqual(self.received(), b"")

    def test_more_than_the_kernel_takes(self) -> None:
        """What the kernel does not take is queued."""
        data = bytes(range(256)) * 20_000
        self.assertTrue(self.writer.put(data))
        self.assertGreater(len(self.link.queued), 0)
        self.assertEqual(self.received() + self.link.queued, data)

    def test_failing(self) -> None:
        """What cannot be sent is left to the link, whose transport finds out what is wrong."""
        self.ours.close()
        self.assertFalse(self.writer.put(b"one"))

    def test_collected(self) -> None:
        """What is collected is sent in one piece, and then no more is collected."""
        self.writer.collect()
        self.writer.put(b"one")
        self.writer.put(b"two")
        self.assertEqual(self.writer.waiting_bytes, 6)
        self.assertEqual(self.received(), b"")
        self.writer.flush()
        self.assertEqual(self.writer.waiting_bytes, 0)
        self.assertEqual(self.received(), b"onetwo")
        self.writer.put(b"three")
        self.assertEqual(self.received(), b"three")

    def test_much(self) -> None:
        """Not more is collected than the send queue may hold."""
        self.writer.collect()
        for _ in range(3):
            self.writer.put(bytes(400))
        self.assertEqual(self.received(), bytes(1200))
        self.writer.put(b"one")
        self.assertEqual(self.received(), b"")

    def test_collected_for_one_that_waits(self) -> None:
        """What was collected is queued when something waits by then."""
        self.writer.collect()
        self.writer.put(b"one")
        self.link.has_flushed = False
        self.writer.flush()
        self.assertEqual(self.link.queued, b"one")

    def test_nothing_is_collected_while_something_waits(self) -> None:
        """What could not be sent anyway goes to the link at once, which counts it and drops earlier pongs."""
        self.link.has_flushed = False
        self.writer.collect()
        self.assertFalse(self.writer.put(b"one"))
        self.assertEqual(self.writer.waiting_bytes, 0)
