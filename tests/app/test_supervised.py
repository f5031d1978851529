"""A server under systemd: a socket that was handed over, and what is told. A test is in systemd's place."""

from __future__ import annotations

import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import DeferredQueue
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import TestCase

from wsecho.tls.development import make_development_certificate

from .servers import AS_SYSTEMD, echoes, open_websocket, start, twistd

reactor: Any = the_reactor


class Systemd(DatagramProtocol):
    """What is told, in order."""

    def __init__(self) -> None:
        self.told: DeferredQueue[dict[str, str]] = DeferredQueue()

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """Take one thing."""
        lines = datagram.decode().split("\n")
        self.told.put(dict(line.split("=", 1) for line in lines))

    async def heard(self, key: str) -> dict[str, str]:
        """Wait for `key`, past signs of life."""
        while True:
            told: dict[str, str] = await self.told.get()
            if key in told:
                return told
            assert "WATCHDOG" in told, told


class SupervisedTests(TestCase):
    """A server in a process of its own."""

    timeout = 60

    async def serve(self, address: str, *options: str, **variables: str) -> Any:
        """Start a server as systemd does, on a socket that this test listens on, and return its process."""
        self.systemd = Systemd()
        port = reactor.listenUNIXDatagram(address.replace("@", "\0"), self.systemd)
        self.addCleanup(port.stopListening)
        handed = socket.socket()
        self.addCleanup(handed.close)
        handed.bind(("127.0.0.1", 0))
        handed.listen()
        self.port = handed.getsockname()[1]
        command = [sys.executable, "-c", AS_SYSTEMD, *twistd(), "-n", "--pidfile=", "wsecho", *options]
        return start(
            self,
            command,
            variables={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "ws", "NOTIFY_SOCKET": address, **variables},
            descriptors={3: handed.fileno()},
        )

    async def test_life(self) -> None:
        """It is ready when clients may connect, alive as long as it runs, the connections counted, and stops
        when it is told to, for no longer than it may take."""
        options = ("--listen=systemd:domain=INET:name=ws", "--drain-timeout=30s")
        child = await self.serve(os.path.abspath(self.mktemp()), *options, WATCHDOG_USEC="200000")
        self.assertEqual(await self.systemd.heard("READY"), {"READY": "1", "STATUS": "ready, connections: 0"})
        peer = await open_websocket(self, f"ws://127.0.0.1:{self.port}/")
        await echoes(self, peer)
        alive = {"STATUS": "ready, connections: 0"}
        # What was told before the connection was open may not have been read yet.
        while alive["STATUS"] == "ready, connections: 0":
            alive = await self.systemd.heard("WATCHDOG")
        self.assertEqual(alive["STATUS"], "ready, connections: 1")
        child.kill("TERM")
        stopping = await self.systemd.heard("STOPPING")
        self.assertEqual(stopping["STATUS"], "draining, connections: 1")
        self.assertEqual(stopping["EXTEND_TIMEOUT_USEC"], "40000000")
        peer.transport.abortConnection()  # type: ignore[union-attr]
        await child.ended
        self.assertEqual((child.status, child.err), (0, b""))

    async def test_reload(self) -> None:
        """On SIGHUP it reloads, and is ready again; the socket of systemd may be an abstract one, and serve
        wss."""
        folder = Path(self.mktemp()).resolve()
        made = make_development_certificate(folder, now=datetime.now(UTC))
        child = await self.serve(
            f"@{folder}",
            "--listen-tls=systemd:domain=INET:name=ws",
            f"--certificate={made.certificate}",
            f"--private-key={made.private_key}",
        )
        await self.systemd.heard("READY")
        made.certificate.write_bytes(b"")
        child.kill("HUP")
        reloading = await self.systemd.heard("RELOADING")
        self.assertGreater(int(reloading["MONOTONIC_USEC"]), 0)
        ready = await self.systemd.heard("READY")
        self.assertIn("the old certificates stay", ready["STATUS"])
        child.kill("TERM")
        await self.systemd.heard("STOPPING")
        await child.ended
        self.assertEqual(child.status, 0)
