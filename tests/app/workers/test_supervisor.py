"""The supervisor as users see it: the start, bad input, certificates, pausing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from datetime import UTC, datetime
from typing import Any
from unittest import skipIf

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from tests.app.servers import LineWatcher, connect, echoes, open_websocket, request, start, twistd
from tests.engines.redis_server import REASON, RedisServer
from wsecho.tls.development import make_development_certificate

from .processes import LISTEN, WorkersTestCase


class FailedStartTests(WorkersTestCase):
    """A start that fails."""

    async def fails(self, *arguments: str) -> bytes:
        """Start a server that cannot start; what it wrote."""
        child = start(self, [*twistd(), "-n", "--pidfile=", "wsecho", "--workers=2", *arguments])
        await child.ended
        self.assertEqual(child.status, 1)
        self.assertNotIn(b"Traceback", child.out + child.err)
        return child.out + child.err

    async def test_taken(self) -> None:
        """A port that is taken is one line and status 1, and no worker is started."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        written = await self.fails(f"--listen=tcp:{port}:interface=127.0.0.1")
        self.assertIn(b"cannot listen: Address already in use", written)
        self.assertNotIn(b" worker ", written)

    async def test_broadcast(self) -> None:
        """Broadcast over several processes without an engine is refused."""
        written = await self.fails("--port=0", "--mode=broadcast")
        self.assertIn(b"--workers=2: broadcast over 2 processes needs an engine", written)

    @skipIf(REASON is not None, REASON or "")
    async def test_engine(self) -> None:
        """A password that the engine refuses is a line and status 1, and no worker is started again."""
        server = RedisServer("--requirepass", "right").start()
        self.addCleanup(server.stop)
        written = await self.fails("--port=0", f"--engine={server.url(credentials=':wrong@')}")
        self.assertIn(b"does not take the user or the password of the URL", written)
        self.assertNotIn(b"another one starts", written)

    async def test_number(self) -> None:
        """What is no number of processes is refused."""
        child = start(self, [*twistd(), "-n", "--pidfile=", "wsecho", "--workers=0"])
        await child.ended
        self.assertEqual(child.status, 1)
        self.assertIn(b"--workers=0: accepted is a whole number above 0, or auto", child.err + child.out)


class AdminTests(WorkersTestCase):
    """The admin endpoint of the whole."""

    async def test_whole(self) -> None:
        """Connections of all workers are listed, counted and closed in one place, and each worker is told
        of."""
        child, (url,) = await self.serve(LISTEN, "--admin=tcp:0:interface=127.0.0.1")
        peers = [await open_websocket(self, url) for _ in range(8)]
        for peer in peers:
            await echoes(self, peer)
        listed = (await self.ask(child, "GET", "/api/connections"))["connections"]
        transports: list[Any] = [peer.transport for peer in peers]
        ports = [transport.getHost().port for transport in transports]
        self.assertEqual({one["peer"] for one in listed}, {f"127.0.0.1:{port}" for port in ports})
        server = await self.ask(child, "GET", "/api/server")
        self.assertEqual(server["connections"], 8)
        self.assertEqual(
            [(one["number"], one["state"]) for one in server["workers"]], [(1, "ready"), (2, "ready")]
        )
        self.assertEqual(sum(one["connections"] for one in server["workers"]), 8)
        metrics = await self.ask(child, "GET", "/metrics")
        self.assertIn('wsecho_messages_total{direction="received",service="echo"} 8.0', metrics)
        self.assertIn('wsecho_worker_up{worker="2"} 1.0', metrics)
        number = next(one["id"] for one in listed if one["peer"].endswith(f":{ports[3]}"))
        await self.ask(child, "DELETE", f"/api/connections/{number}?code=4000&reason=bye")
        await peers[3].until(b"\x88\x05\x0f\xa0bye")
        await self.stop(child, signal="INT")

    async def test_pause(self) -> None:
        """Pausing reaches every worker, and a worker that is started meanwhile."""
        child, (url,) = await self.serve(LISTEN, "--admin=tcp:0:interface=127.0.0.1")
        await self.ask(child, "PUT", "/api/accepting", {"accepting": False})
        self.assertEqual(await self.ask(child, "GET", "/health/ready"), {"status": "paused"})
        replaced = LineWatcher(child, b"worker 1 serves, process ")
        os.kill(self.pids(child)[0], signal.SIGKILL)
        await replaced.found
        peer = await connect(self, url)
        peer.say(request())
        # The kernel connects it; nobody answers, for as long as it takes to ask twice.
        await self.ask(child, "GET", "/api/connections")
        await self.ask(child, "GET", "/api/connections")
        self.assertEqual(peer.received, b"")
        await self.ask(child, "PUT", "/api/accepting", {"accepting": True})
        await peer.until(b"\r\n\r\n")
        child.kill("TERM")
        await child.ended
        self.assertEqual(child.status, 0)


class ReloadTests(WorkersTestCase):
    """SIGHUP."""

    async def test_certificates(self) -> None:
        """Every worker reads the certificates again, and systemd is told when they have."""
        # The path of a socket may not be long.
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        made = make_development_certificate(directory, now=datetime.now(UTC))
        heard = _Datagrams()
        path = os.path.join(directory, "notify")
        port: Any = reactor.listenUNIXDatagram(path, heard)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        child, _ = await self.serve(
            "--listen-tls=tcp:0:interface=127.0.0.1",
            f"--certificate={made.certificate}",
            f"--private-key={made.private_key}",
            variables={"NOTIFY_SOCKET": path},
        )
        await heard.until("READY=1", 1)
        told = LineWatcher(child, b": reload: new connections get the certificates", times=2)
        child.kill("HUP")
        await told.found
        await heard.until("READY=1", 2)
        self.assertIn("STATUS=ready, workers: 2 of 2; reload: done by 2 workers", heard.datagrams[-1])
        child.kill("TERM")
        await child.ended
        self.assertEqual(child.status, 0)
        await heard.until("STOPPING=1", 1)


class _Datagrams(DatagramProtocol):
    """What systemd would be told."""

    def __init__(self) -> None:
        self.datagrams: list[str] = []
        self._waiting: list[tuple[str, int, Deferred[None]]] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.datagrams.append(datagram.decode())
        self._look()

    def until(self, line: str, times: int) -> Deferred[None]:
        """Wait until a line was told so often."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((line, times, waiting))
        self._look()
        return waiting

    def _look(self) -> None:
        for one in list(self._waiting):
            line, times, waiting = one
            if sum(line in datagram.split("\n") for datagram in self.datagrams) >= times:
                self._waiting.remove(one)
                waiting.callback(None)
