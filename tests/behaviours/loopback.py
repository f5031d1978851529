"""Servers and clients on real sockets that end with their test."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from tests.members import QUIET
from tests.wire.harness import Certificates, Socket, certificates
from wsecho import SslMode, WebSocket, WebSocketServer
from wsecho.policy.signals import BoundSignal

the_reactor: Any = reactor


def emitted(signal: BoundSignal[Any]) -> Deferred[tuple[Any, ...]]:
    """Fires at the next emission, with its arguments."""
    told: Deferred[tuple[Any, ...]] = Deferred()

    def slot(*arguments: Any) -> None:
        signal.disconnect(slot)
        told.callback(arguments)

    signal.connect(slot)
    return told


class LoopbackTestCase(TestCase):
    """A test with servers and clients."""

    #: Seconds; each of these tests takes a fraction of one.
    timeout = 30

    def server(self, *arguments: Any, **options: Any) -> WebSocketServer:
        """A server that does not listen yet."""
        options.setdefault("settings", QUIET)
        server = WebSocketServer(*arguments, **options)
        self.addCleanup(server.shutdown)
        return server

    async def listening(self, **options: Any) -> WebSocketServer:
        """A server that listens."""
        return await self.server(**options).listen("127.0.0.1")

    async def secure(self) -> tuple[WebSocketServer, Certificates]:
        """A server that listens for wss, and what a client needs."""
        tls = certificates(self.mktemp())
        server = self.server("", SslMode.SECURE_MODE)
        server.ssl_configuration = tls.server
        return await server.listen("127.0.0.1"), tls

    def client(self, *arguments: Any, **options: Any) -> WebSocket:
        """A client that is not connected yet."""
        options.setdefault("settings", QUIET)
        client = WebSocket(*arguments, **options)
        self.addCleanup(self._end, client)
        return client

    async def pair(self, **options: Any) -> tuple[WebSocket, WebSocket]:
        """A client that is open, and the server's side of it."""
        server = await self.listening(**options)
        client = self.client()
        await client.open(server.server_url)
        return client, await anext(server)

    async def raw(self, server: WebSocketServer) -> Any:
        """A TCP connection to a server, as a `Socket` of the harness."""
        endpoint: Any = TCP4ClientEndpoint(the_reactor, "127.0.0.1", server.server_port)
        raw = await endpoint.connect(Factory.forProtocol(Socket))
        self.addCleanup(self._drop, raw)
        return raw

    @staticmethod
    def _end(client: WebSocket) -> Deferred[None]:
        client.abort()
        return client.when_disconnected()

    @staticmethod
    def _drop(raw: Any) -> Deferred[Exception]:
        raw.transport.abortConnection()
        return raw.ended  # type: ignore[no-any-return]
