"""Talking to a Qt peer in its process."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest

from tests.behaviours.loopback import LoopbackTestCase, the_reactor
from tests.qt import missing_qt
from wsecho.tls.contexts import server_creator

SCRIPT = Path(__file__).with_name("peer.py")

Event = dict[str, Any]


class QtPeer(ProcessProtocol):
    """One process.

    :ivar told: every event so far
    :ivar ended: fires when the process has ended
    """

    transport: Any

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.ended: Deferred[None] = Deferred()
        self._rest = b""
        self._errors = b""
        self._read = 0
        self._waiting: tuple[str, Deferred[Event]] | None = None

    def do(self, verb: str, **details: object) -> None:
        """Tell the peer what to do."""
        self.transport.write(json.dumps({"do": verb, **details}).encode() + b"\n")

    def event(self, name: str) -> Deferred[Event]:
        """The next event of that name; those before it are passed over."""
        assert self._waiting is None, "one at a time"
        waiting: Deferred[Event] = Deferred()
        self._waiting = name, waiting
        self._look()
        return waiting

    def _look(self) -> None:
        while self._waiting is not None and self._read < len(self.told):
            event = self.told[self._read]
            self._read += 1
            name, waiting = self._waiting
            if event["event"] == name:
                self._waiting = None
                waiting.callback(event)

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.told += map(json.loads, lines)
        self._look()

    def errReceived(self, data: bytes) -> None:
        self._errors += data

    def processEnded(self, reason: Failure) -> None:
        if self._waiting is not None:
            name, waiting = self._waiting
            self._waiting = None
            waiting.errback(AssertionError(f"no {name}: {self.told} {self._errors.decode()}"))
        self.ended.callback(None)

    def stop(self) -> Deferred[None]:
        """End the process."""
        if not self.ended.called:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")
        return self.ended


@dataclass(frozen=True, slots=True)
class Files:
    """A certificate for localhost, its key and its authority, as files; and our two sides' TLS."""

    certificate: str
    private_key: str
    ca: str
    server: Any
    client: Any


def digest(data: bytes) -> dict[str, object]:
    """What a peer tells of bytes."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def pattern(size: int) -> bytes:
    """The binary message of a peer."""
    return bytes(range(256)) * (size // 256) + bytes(range(size % 256))


class QtTestCase(LoopbackTestCase):
    """A test with Qt peers."""

    #: Seconds; starting Qt takes one of them.
    timeout = 20

    def setUp(self) -> None:
        super().setUp()
        if missing := missing_qt():
            raise SkipTest(missing)

    async def qt(self) -> QtPeer:
        """A peer that is ready."""
        peer = QtPeer()
        # Not our environment's path: the peer needs nothing of the checkout.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        the_reactor.spawnProcess(peer, sys.executable, [sys.executable, str(SCRIPT)], env=environment)
        self.addCleanup(peer.stop)
        await peer.event("ready")
        return peer

    async def qt_client(self, **options: object) -> QtPeer:
        """A peer with a QWebSocket."""
        peer = await self.qt()
        peer.do("client", **options)
        return peer

    async def qt_server(self, **options: object) -> tuple[QtPeer, str]:
        """A peer with a QWebSocketServer that listens, and its URL."""
        peer = await self.qt()
        peer.do("server", **options)
        listening = await peer.event("listening")
        self.assertTrue(listening["ok"])
        return peer, listening["url"]

    def files(self) -> Files:
        """A certificate."""
        folder = Path(self.mktemp())
        folder.mkdir()
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        leaf = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        certificate, key, ca = (str(folder / name) for name in ("cert.pem", "key.pem", "ca.pem"))
        Path(certificate).write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(key)
        authority.cert_pem.write_to_path(ca)
        trusted = Certificate.loadPEM(authority.cert_pem.bytes())
        return Files(
            certificate, key, ca, server_creator(certificate, key), optionsForClientTLS("localhost", trusted)
        )
