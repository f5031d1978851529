"""Tests for `wsecho.testing.process`."""

from __future__ import annotations

import os
import signal
import socket
import sys

from twisted.trial.unittest import SynchronousTestCase
from websockets.sync.client import connect

from tests.locked_tls import locked
from tests.serving import TIMEOUT, python_environment
from wsecho.testing import Server, ServerFailed

#: A server that says what it is told, and does not end when it is asked to.
STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("listening on ws://127.0.0.1:1/", flush=True)
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    """Whether there is such a process, zombies included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class ServerTests(SynchronousTestCase):
    """A server in a process of its own."""

    def test_plain(self) -> None:
        """A server echoes for as long as the block lasts; then its process is gone, and its port free."""
        with Server(environment=python_environment()) as server:
            with connect(server.url("/echo"), proxy=None) as client:
                client.send("hello")
                self.assertEqual(client.recv(TIMEOUT), "hello")
            pid, port = server.pid, server.port
            self.assertIn(f"listening on ws://127.0.0.1:{port}/", server.log)
        self.assertFalse(is_running(pid))
        with socket.socket() as probe:
            self.assertNotEqual(probe.connect_ex(("127.0.0.1", port)), 0)
        self.assertIn("1 closed: reason=peer-close", server.log)
        self.assertRaises(RuntimeError, lambda: server.port)
        self.assertRaises(RuntimeError, lambda: server.pid)

    def test_tls(self) -> None:
        """A secure one is verified with the context that it gives, and can start again, with another
        certificate."""
        server = Server(tls=True, mode="broadcast", environment=python_environment())
        authorities = []
        for _ in range(2):
            with server:
                assert server.ca_file is not None
                authorities.append(server.ca_file.read_bytes())
                context = locked(server.ssl_context())
                with (
                    connect(server.url(), ssl=context, proxy=None) as ann,
                    connect(server.url(), ssl=context, proxy=None) as bob,
                ):
                    ann.send("tea?")
                    self.assertEqual(bob.recv(TIMEOUT), "tea?")
        self.assertNotEqual(*authorities)

    def test_wrong_option(self) -> None:
        """What keeps a server from starting is raised as the line that wsecho writes."""
        with self.assertRaises(ServerFailed) as failed:
            Server(options=["--max-message-size=much"], environment=python_environment()).start()
        self.assertTrue(str(failed.exception).startswith("--max-message-size=much: accepted is a size"))
        self.assertNotIn("\n", str(failed.exception))

    def test_cannot_listen(self) -> None:
        """A listener that cannot be bound is told as well, in one line."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            listen = f"--listen=tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            with self.assertRaises(ServerFailed) as failed:
                Server(options=[listen], environment=python_environment()).start()
        self.assertEqual(str(failed.exception), f"{listen}: cannot listen: Address already in use")

    def test_other_end(self) -> None:
        """A process that ends without a line of its own is told with the last that it wrote."""
        command = [sys.executable, "-c", "import sys; print('so long'); sys.exit(3)"]
        with self.assertRaises(ServerFailed) as failed:
            Server(command=command).start()
        self.assertEqual(str(failed.exception), "the server ended before it listened:\nso long")

    def test_says_nothing(self) -> None:
        """A process that does not listen in time is killed."""
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        server = Server(command=command, timeout=0.2)
        with self.assertRaises(ServerFailed) as failed:
            server.start()
        self.assertTrue(str(failed.exception).startswith("no start line within 0.2 s"))
        self.assertRaises(RuntimeError, lambda: server.pid)

    def test_does_not_end(self) -> None:
        """A process that does not end on SIGTERM is killed, and that is an error."""
        server = Server(command=[sys.executable, "-c", STUBBORN], timeout=0.2)
        server._timeout = TIMEOUT
        server.start()
        pid, server._timeout = server.pid, 0.2
        with self.assertRaises(ServerFailed) as failed:
            server.stop()
        self.assertTrue(str(failed.exception).startswith("killed, 0.2 s after SIGTERM"))
        self.assertFalse(is_running(pid))
        server.stop()

    def test_ended_before(self) -> None:
        """A server that ends while it is needed is an error, unless the block has one of its own."""
        for own in (None, ZeroDivisionError()):
            with self.assertRaises(ServerFailed if own is None else ZeroDivisionError):  # noqa: SIM117
                with Server(environment=python_environment()) as server:
                    os.kill(server.pid, signal.SIGKILL)
                    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
                    if own is not None:
                        raise own
