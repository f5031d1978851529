"""Tests for examples/: each runs as a program and does what its first line says."""

import re
import sys

from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.checkout import CHECKOUT
from tests.serving import TIMEOUT, python_environment, serving


class ExampleTests(SynchronousTestCase):
    """The example programs, each on a port of its own."""

    def client(self, url: str) -> ClientConnection:
        """Connect a client."""
        return connect(url, open_timeout=TIMEOUT, close_timeout=TIMEOUT, proxy=None)

    def command(self, name: str) -> list[str]:
        """The command that runs an example."""
        return [sys.executable, str(CHECKOUT / "examples" / name), "tcp:0:interface=127.0.0.1"]

    def test_shout(self) -> None:
        """shout.py sends text back in capitals and closes with 1003 after binary."""
        with (
            serving(self.command("shout.py"), env=python_environment()) as (url,),
            self.client(url) as client,
        ):
            client.send("hello")
            self.assertEqual(client.recv(TIMEOUT), "HELLO")
            client.send(b"hello")
            closed = self.assertRaises(ConnectionClosed, client.recv, TIMEOUT)
            self.assertEqual((closed.rcvd.code, closed.rcvd.reason), (1003, "text only"))

    def test_ticker(self) -> None:
        """ticker.py sends the time to everybody on its channel."""
        with (
            serving(self.command("ticker.py"), env=python_environment()) as (url,),
            self.client(url) as first,
            self.client(url) as second,
        ):
            for client in (first, second):
                self.assertRegex(str(client.recv(TIMEOUT)), r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\Z")

    def test_download(self) -> None:
        """download.py sends as many bytes as it is asked for, of which no more wait in memory than may."""
        with (
            serving(self.command("download.py"), env=python_environment()) as (url,),
            self.client(url) as client,
        ):
            client.send("50000000")
            got = 0
            while isinstance(message := client.recv(TIMEOUT), bytes):
                got += len(message)
            self.assertEqual(got, 50_000_000)
            waited = re.fullmatch(r"at most (\d+) bytes waited", message)
            assert waited is not None
            self.assertTrue(1024 * 1024 <= int(waited[1]) < 1024 * 1024 + 65_546, message)
            client.send("nothing that is a number")
            self.assertEqual(client.recv(TIMEOUT), "at most 0 bytes waited")
