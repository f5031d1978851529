"""Tests for `wsecho.app.notify`."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.app.logs import logged_lines
from wsecho.app.notify import Notifier, notifier_from, sender_to


class NotifierTests(SynchronousTestCase):
    """What is told, and when."""

    def setUp(self) -> None:
        """Take what is told."""
        self.clock = Clock()
        self.told: list[bytes] = []

    def make(self, watchdog: float | None = None) -> Notifier:
        """A notifier that tells this test."""
        return Notifier(self.clock, self.told.append, watchdog, monotonic=lambda: 123)

    def test_ready(self) -> None:
        """It is ready, with what `systemctl status` is to show."""
        self.make().ready(lambda: "ready")
        self.assertEqual(self.told, [b"READY=1\nSTATUS=ready"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_watchdog(self) -> None:
        """From then on it is alive at half of the time that systemd waits, with what is the case then, until
        the end."""
        connections = [1]
        notifier = self.make(watchdog=10)
        self.clock.advance(60)
        self.assertEqual(self.told, [])
        notifier.ready(lambda: f"connections: {len(connections)}")
        connections.append(2)
        self.clock.pump([4.9, 0.1, 4.9])
        self.assertEqual(self.told[1:], [b"WATCHDOG=1\nSTATUS=connections: 2"])
        self.clock.advance(0.1)
        self.assertEqual(len(self.told), 3)
        notifier.end()
        notifier.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reload(self) -> None:
        """It reloads, by the clock that systemd goes by, and is ready again; the watchdog goes on, and how
        the reload went stays to be seen."""
        notifier = self.make(watchdog=10)
        notifier.ready(lambda: "ready")
        notifier.reloading()
        notifier.reloaded("the old certificates stay")
        status = b"STATUS=ready; reload: the old certificates stay"
        self.assertEqual(self.told[1:], [b"RELOADING=1\nMONOTONIC_USEC=123", b"READY=1\n" + status])
        self.clock.advance(5)
        self.assertEqual(self.told[3:], [b"WATCHDOG=1\n" + status])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_stopping(self) -> None:
        """It stops, and tells for how long systemd must wait; it is alive meanwhile."""
        notifier = self.make(watchdog=10)
        notifier.ready(lambda: "ready")
        notifier.stopping(lambda: "draining", 60.5)
        expected = b"STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=70500000"
        self.assertEqual(self.told[1:], [expected])
        self.clock.advance(5)
        self.assertEqual(self.told[2:], [b"WATCHDOG=1\nSTATUS=draining"])

    def test_one_line(self) -> None:
        """What is told in one line stays in one."""
        self.make().reloaded("a\nSTOPPING=1")
        self.assertEqual(self.told, [b"READY=1\nSTATUS=; reload: a STOPPING=1"])

    def test_nobody(self) -> None:
        """Where nobody is to be told, nothing happens."""
        notifier = Notifier(self.clock, None, 10)
        notifier.ready(lambda: "ready")
        notifier.reloading()
        notifier.reloaded("")
        notifier.stopping(lambda: "", 1)
        notifier.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failure(self) -> None:
        """What cannot be told is a line in the log, once, and no error."""

        def fail(_: bytes) -> None:
            raise OSError(2, "No such file or directory")

        notifier = Notifier(self.clock, fail, 10)
        with logged_lines() as lines:
            notifier.ready(lambda: "ready")
            self.clock.advance(5)
        self.assertEqual(lines, ["systemd cannot be told READY=1: No such file or directory; told once"])


class SenderTests(SynchronousTestCase):
    """Datagrams to a real socket."""

    def test_addresses(self) -> None:
        """Either kind of address is reached: a path, and an abstract name."""
        path = os.path.abspath(self.mktemp())
        for bound, address in ((path, path), (f"\0{path}", f"@{path}")):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
                receiving.bind(bound)
                receiving.settimeout(10)
                sender_to(address)(b"READY=1")
                self.assertEqual(receiving.recv(100), b"READY=1")

    def test_never_waits(self) -> None:
        """A reader that does not read is an error at once, not a wait."""
        path = os.path.abspath(self.mktemp())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
            receiving.bind(path)
            send = sender_to(path)
            with self.assertRaises(BlockingIOError):
                for _ in range(100_000):
                    send(bytes(1000))

    def test_neither(self) -> None:
        """Any other address is refused."""
        for address in ("", "/", "@", "vsock:2:1", "relative"):
            self.assertRaises(ValueError, sender_to, address)


class VariablesTests(SynchronousTestCase):
    """What a process is told by its variables."""

    def read(self, **variables: str) -> Any:
        """The notifier of a process with number 42, whose variables must be gone then."""
        self.clock = Clock()
        left = {"PATH": "/bin", **variables}
        notifier = notifier_from(left, self.clock, process_id=42)
        self.assertEqual(left, {"PATH": "/bin"})
        return notifier

    def is_watched(self, **variables: str) -> bool:
        """Whether a notifier of these variables tells that it is alive."""
        notifier = self.read(NOTIFY_SOCKET=self.mktemp(), **variables)
        with logged_lines():
            notifier.ready(lambda: "")
        return bool(self.clock.getDelayedCalls())

    def mktemp(self) -> str:
        """An absolute path."""
        path: str = super().mktemp()
        return os.path.abspath(path)

    def test_socket(self) -> None:
        """The socket is the one that is named."""
        path = self.mktemp()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
            receiving.bind(path)
            receiving.settimeout(10)
            self.read(NOTIFY_SOCKET=path).ready(lambda: "ready")
            self.assertEqual(receiving.recv(100), b"READY=1\nSTATUS=ready")

    def test_none(self) -> None:
        """Without one nobody is told, and of one that cannot be used there is a line in the log."""
        self.read(WATCHDOG_USEC="1000000").ready(lambda: "")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        with logged_lines() as lines:
            self.read(NOTIFY_SOCKET="vsock:2:1").ready(lambda: "")
        self.assertEqual(lines, ["NOTIFY_SOCKET=vsock:2:1: accepted is a path, or @ and an abstract name"])

    def test_watchdog(self) -> None:
        """The watchdog is fed when it watches this process, and not when there is none, or another's."""
        self.assertTrue(self.is_watched(WATCHDOG_USEC="1000000"))
        self.assertEqual(self.clock.getDelayedCalls()[0].getTime(), 0.5)
        self.assertTrue(self.is_watched(WATCHDOG_USEC="1000000", WATCHDOG_PID="42"))
        self.assertFalse(self.is_watched(WATCHDOG_USEC="1000000", WATCHDOG_PID="43"))
        for wrong in ("0", "", "soon", "-1"):
            self.assertFalse(self.is_watched(WATCHDOG_USEC=wrong))
