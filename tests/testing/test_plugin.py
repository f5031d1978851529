"""Tests for `wsecho.testing.plugin`: suites of pytest, run by pytest."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.serving import run_python

PLUGIN = "wsecho.testing.plugin"

#: The suite of a client that blocks.
BLOCKING = """
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
import pytest

seen = []

def test_echo(wsecho):
    seen.append(wsecho.pid)
    with connect(wsecho.url("/echo"), proxy=None) as client:
        client.send("hello")
        assert client.recv(10) == "hello"

def test_same(wsecho):
    seen.append(wsecho.pid)

def test_tls(wsecho_tls):
    with connect(wsecho_tls.url(), ssl=wsecho_tls.ssl_context(), proxy=None) as client:
        client.send(b"in private")
        assert client.recv(10) == b"in private"

def test_own_options(wsecho_server):
    server = wsecho_server(options=["--max-message-size=10"])
    with connect(server.url(), proxy=None) as client, pytest.raises(ConnectionClosed) as closed:
        client.send("more than that")
        client.recv(10)
    assert closed.value.rcvd.code == 1009
"""

#: The suite of a client that is written with coroutines.
ASYNCIO = """
import asyncio
from websockets.asyncio.client import connect

def test_echo(wsecho_tls):
    async def echo():
        async with connect(wsecho_tls.url("/echo"), ssl=wsecho_tls.ssl_context(), proxy=None) as client:
            await client.send("hello")
            return await client.recv()

    assert asyncio.run(asyncio.wait_for(echo(), 10)) == "hello"
"""

#: Two tests that tell which server they got.
TELLING = """
def test_one(wsecho):
    print("\\npid", wsecho.pid, wsecho.log.count("/test programmable echo"))

def test_two(wsecho):
    print("\\npid", wsecho.pid, wsecho.log.count("/test programmable echo"))
"""


def plugin_arguments() -> list[str]:
    """What tells pytest about the plugin in a checkout that is not installed, and so has no entry points."""
    known = any(entry.value == PLUGIN for entry in metadata.entry_points(group="pytest11"))
    return [] if known else ["-p", PLUGIN]


class PluginTests(SynchronousTestCase):
    """The fixtures."""

    def suite(self, text: str, configuration: str = "") -> Path:
        """Write a suite, and return its folder."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        (folder / "test_client.py").write_text(text, encoding="utf-8")
        (folder / "pytest.ini").write_text(f"[pytest]\n{configuration}\n", encoding="utf-8")
        return folder

    def pytest(self, folder: Path, *arguments: str) -> str:
        """Run a suite; what pytest writes."""
        options = [*plugin_arguments(), "-p", "no:cacheprovider", *arguments]
        return run_python("-m", "pytest", *options, cwd=folder)

    def test_blocking(self) -> None:
        """Tests that block use a server with ws, one with wss, and one with options of their own."""
        self.assertIn("4 passed", self.pytest(self.suite(BLOCKING)))

    def test_asyncio(self) -> None:
        """Tests that run an event loop use them as well."""
        self.assertIn("1 passed", self.pytest(self.suite(ASYNCIO)))

    def test_scope(self) -> None:
        """One server serves all tests, or, where the configuration says so, each test has its own."""
        for configuration, servers in (("", 1), ("wsecho_scope = function", 2)):
            said = self.pytest(self.suite(TELLING, configuration), "-s")
            pids = re.findall(r"^pid (\d+) 1$", said, re.MULTILINE)
            self.assertEqual((len(pids), len(set(pids))), (2, servers), said)

    def test_options(self) -> None:
        """Options of the configuration are those of the server; what is wrong with them is wsecho's line."""
        with self.assertRaises(AssertionError) as failed:
            self.pytest(self.suite(TELLING, "wsecho_options = --max-message-size=much"))
        self.assertIn("ServerFailed: --max-message-size=much: accepted is a size", str(failed.exception))

    def test_optional(self) -> None:
        """wsecho and its servers for tests do without pytest."""
        script = "import sys, wsecho, wsecho.testing; print('pytest' in sys.modules)"
        self.assertEqual(run_python("-c", script), "False\n")

    def test_no_reactor(self) -> None:
        """The plugin installs no reactor: a suite may choose its own."""
        script = "import sys, wsecho.testing.plugin; print('twisted.internet.reactor' in sys.modules)"
        self.assertEqual(run_python("-c", script), "False\n")
