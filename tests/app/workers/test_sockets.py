"""The sockets that workers inherit."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from wsecho.app.configuration import read_configuration
from wsecho.app.sources import build_listeners
from wsecho.app.workers.sockets import SharedSockets, environment_for


class SharedSocketsTests(TestCase):
    """In the supervisor."""

    async def shared(self, *listen: str) -> SharedSockets:
        """Bind."""
        configuration = read_configuration({"listen": listen})
        listeners = build_listeners(configuration, reactor)
        sockets = SharedSockets(listeners, configuration)
        self.addCleanup(sockets.close)
        for listener in listeners:
            await sockets.listen(listener)
        return sockets

    async def test_told(self) -> None:
        """A worker is told the kind of each socket, how the operator wrote it, and whether the endpoint reads
        PROXY headers."""
        path = os.path.abspath(self.mktemp())
        tcp, unix = "haproxy:tcp:0:interface=127.0.0.1", f"unix:{path}"
        sockets = await self.shared(tcp, unix)
        told = [(one.name, one.domain, one.prefix, one.is_secure) for one in sockets.inherited]
        self.assertEqual(
            told,
            [(f"--listen={tcp}", "INET", "haproxy:", False), (f"--listen={unix}", "UNIX", "", False)],
        )
        kinds = [socket.socket(fileno=os.dup(number)) for number in sockets.descriptors]
        self.assertEqual([one.family for one in kinds], [socket.AF_INET, socket.AF_UNIX])
        for one in kinds:
            one.close()

    async def test_does_not_accept(self) -> None:
        """The supervisor's reactor reads none of the ports, so that every connection is a worker's."""
        sockets = await self.shared("tcp:0:interface=127.0.0.1")
        ((port, _),) = sockets.ports
        watched: Any = reactor
        self.assertNotIn(port, watched.getReaders())

    async def test_close(self) -> None:
        """After the close, nothing listens here."""
        sockets = await self.shared("tcp:0:interface=127.0.0.1")
        ((port, _),) = sockets.ports
        number = port.getHost().port  # type: ignore[attr-defined]
        await sockets.close()
        self.assertEqual((sockets.ports, sockets.descriptors), ((), ()))
        socket.create_server(("127.0.0.1", number)).close()


class EnvironmentTests(TestCase):
    """What a worker's environment says."""

    def test_names(self) -> None:
        """There are as many names as sockets, without which Twisted finds none."""
        self.assertEqual(environment_for(2), {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "wsecho:wsecho"})
