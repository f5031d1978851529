"""Tests for `wsecho.app.ports`: ports that are closed, and opened again where they were."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from wsecho.app.listeners import ListenError
from wsecho.app.ports import Ports

reactor: Any = the_reactor


class FakeServer:
    """Has ports."""

    def __init__(self, *ports: Any) -> None:
        self.ports: Sequence[Any] = ports

    def listen_through(self, open_ports: Callable[[Any], Deferred[Any]]) -> Deferred[Any]:
        def opened(ports: Sequence[Any]) -> None:
            self.ports = ports

        return open_ports(None).addCallback(opened)

    async def _close(self) -> None:
        ports, self.ports = self.ports, ()
        for port in ports:
            await port.stopListening()

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._close())


class PortsTests(TestCase):
    """Real ports, on loopback."""

    timeout = 30

    def setUp(self) -> None:
        self.ports = Ports()

    async def server(self, *descriptions: str) -> FakeServer:
        """A server that listens."""
        factory = Factory.forProtocol(Protocol)
        opened = [await serverFromString(reactor, text).listen(factory) for text in descriptions]
        server = FakeServer(*opened)
        self.addCleanup(server.close)
        return server

    def connects(self, server_port: int) -> bool:
        """Whether somebody listens on a port."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", server_port)) == 0

    async def test_again(self) -> None:
        """A port that the kernel chose is closed, and opened with the same number."""
        server = await self.server("tcp:0:interface=127.0.0.1")
        number = server.ports[0].getHost().port
        await self.ports.close([server])
        self.assertFalse(self.ports.are_open)
        self.assertFalse(self.connects(number))
        await self.ports.open()
        self.assertTrue(self.ports.are_open)
        self.assertEqual([port.getHost().port for port in server.ports], [number])
        self.assertTrue(self.connects(number))

    async def test_unix(self) -> None:
        """A unix socket is gone while it is closed, and there again with its mode."""
        path = os.path.relpath(self.mktemp())
        server = await self.server(f"unix:{path}:mode=600")
        await self.ports.close([server])
        self.assertFalse(os.path.exists(path))
        await self.ports.open()
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

    async def test_taken(self) -> None:
        """When somebody else has taken one of the ports, none is opened, and it may be tried again."""
        one, two = [await self.server("tcp:0:interface=127.0.0.1") for _ in range(2)]
        first, second = one.ports[0].getHost().port, two.ports[0].getHost().port
        await self.ports.close([one, two])
        with socket.create_server(("127.0.0.1", second)):
            with self.assertRaises(ListenError) as caught:
                await self.ports.open()
            self.assertIn("cannot listen: ", str(caught.exception))
            self.assertFalse(self.ports.are_open or self.connects(first))
        await self.ports.open()
        self.assertTrue(self.connects(first) and self.connects(second))

    async def test_taken_beside(self) -> None:
        """The same for two ports of one server."""
        server = await self.server("tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1")
        first, second = [port.getHost().port for port in server.ports]
        await self.ports.close([server])
        with socket.create_server(("127.0.0.1", second)):
            with self.assertRaises(ListenError):
                await self.ports.open()
            self.assertFalse(self.connects(first))

    async def test_handed_over(self) -> None:
        """A socket that somebody else has opened stays open: it could not be opened again."""
        with socket.create_server(("127.0.0.1", 0)) as handed:
            handed.setblocking(False)
            port = reactor.adoptStreamPort(handed.fileno(), socket.AF_INET, Factory.forProtocol(Protocol))
            server = FakeServer(port)
            self.addCleanup(server.close)
            with self.assertRaises(ListenError) as caught:
                await self.ports.close([server])
        self.assertIn("pause accepting instead", str(caught.exception))
        self.assertTrue(self.ports.are_open)
        self.assertEqual(len(server.ports), 1)

    async def test_other_ports(self) -> None:
        """Ports of another kind are started again as they are."""
        done: list[str] = []

        class Other:
            def startListening(self) -> None:
                done.append("start")

            def stopListening(self) -> Deferred[None]:
                done.append("stop")
                return succeed(None)

        await self.ports.close([FakeServer(Other())])
        await self.ports.open()
        self.assertEqual(done, ["stop", "start"])
