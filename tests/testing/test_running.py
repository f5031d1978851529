"""Tests for `wsecho.testing.running`, with clients on the same reactor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from tests.app.servers import Conversation, echoes, request
from tests.serving import run_python
from wsecho import HandshakeOptions, WebSocket
from wsecho.testing import Running, ServerFailed, running
from wsecho.tls.client import ClientTls

reactor: Any = the_reactor

#: Tests that leave a connection open.
LEAVING = """
from twisted.trial.unittest import TestCase
from wsecho import WebSocket
from wsecho.testing import running
from wsecho.tls.client import ClientTls

class ClientTests(TestCase):
    async def leave(self, tls):
        server = await running(self, tls=tls)
        socket = WebSocket()
        socket.ssl_configuration = ClientTls(ca=server.ca_file) if tls else None
        await socket.open(server.url())

    async def test_plain(self):
        await self.leave(False)

    async def test_tls(self):
        await self.leave(True)
"""


class RunningTests(TestCase):
    """A server on the test's reactor."""

    timeout = 60

    async def open(self, server: Running, path: str, *subprotocols: str) -> WebSocket:
        """A connection, until the test ends."""
        socket = WebSocket(reactor=reactor)
        if server.ca_file is not None:
            socket.ssl_configuration = ClientTls(ca=server.ca_file)
        self.addCleanup(socket.when_disconnected)
        self.addCleanup(socket.abort)
        return await socket.open(server.url(path), HandshakeOptions(subprotocols))

    async def test_plain(self) -> None:
        """A server echoes, and misbehaves when a client asks for it."""
        server = await running(self)
        socket = await self.open(server, "/")
        socket.send_text_message("hello")
        self.assertEqual(await anext(socket), "hello")
        closed = await self.open(server, "/test?close=4000&reason=enough")
        await closed.when_disconnected()
        self.assertEqual((closed.close_code, closed.close_reason), (4000, "enough"))

    async def test_tls(self) -> None:
        """A secure one is trusted by clients that trust its authority: wsecho's, and any of Twisted's."""
        server = await running(self, tls=True)
        socket = await self.open(server, "/")
        socket.send_text_message("hello")
        self.assertEqual(await anext(socket), "hello")
        endpoint = wrapClientTLS(
            server.connection_creator(), TCP4ClientEndpoint(reactor, "127.0.0.1", server.port)
        )
        peer: Any = await endpoint.connect(Factory.forProtocol(Conversation))
        peer.say(request())
        await peer.until(b"\r\n\r\n")
        await echoes(self, peer)
        peer.transport.abortConnection()
        await peer.lost

    async def test_options(self) -> None:
        """Mode, endpoints and options are the caller's."""
        server = await running(
            self, mode="broadcast", test_endpoints=False, options=["--subprotocol=chat", "--include-sender"]
        )
        socket = await self.open(server, "/", "chat")
        socket.send_text_message("heard")
        self.assertEqual((socket.subprotocol, await anext(socket)), ("chat", "heard"))
        with self.assertRaises(Exception) as refused:
            await self.open(server, "/test")
        self.assertIn("404", str(refused.exception))

    @inlineCallbacks
    def test_yield(self) -> Any:
        """`yield` does, for tests that are no coroutines."""
        server = yield running(self)
        self.assertTrue(server.url().startswith("ws://127.0.0.1:"))

    async def test_stop(self) -> None:
        """A server that is stopped closes its connections with 1001 and listens no more; again, that is
        harmless."""
        server = await running(self, tls=True)
        assert server.ca_file is not None
        port, folder = server.port, server.ca_file.parent
        socket = await self.open(server, "/")
        await server.stop()
        await socket.when_disconnected()
        self.assertEqual(socket.close_code, 1001)
        self.assertFalse(folder.exists())
        await server.stop()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        await self.assertFailure(endpoint.connect(Factory.forProtocol(Protocol)), ConnectError)

    def test_nothing_is_left(self) -> None:
        """When a test has ended its server is gone, though a client is still connected: trial, which calls
        that dirty, finds nothing."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        (folder / "test_client.py").write_text(LEAVING, encoding="utf-8")
        said = run_python("-m", "twisted.trial", "test_client", cwd=folder)
        self.assertIn("PASSED (successes=2)", said)

    async def test_failures(self) -> None:
        """What keeps a server from starting is raised as the line that wsecho writes, and nothing is left."""
        for options, line in (
            (["--max-message-size=much"], "--max-message-size=much: accepted is "),
            (["--nonsense"], "option --nonsense not recognized"),
            (["--certificate=a", "--private-key=b"], "--certificate=a: nothing uses it"),
            (["--listen=tcp:0:interface=192.0.2.1"], "--listen=tcp:0:interface=192.0.2.1: cannot listen"),
        ):
            with self.assertRaises(ServerFailed) as failed:
                await running(self, options=options)
            self.assertTrue(str(failed.exception).startswith(line), failed.exception)
