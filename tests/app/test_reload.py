"""Renewing certificates under load, in a process of its own.

WSECHO_CONNECTIONS says how many connections are open meanwhile: 100, when it is not set.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.trial.unittest import TestCase

from wsecho.tls.development import make_development_certificate

from .servers import ECHOED, HELLO, Conversation, LineWatcher, open_websocket, start, twistd

CONNECTIONS = int(os.environ.get("WSECHO_CONNECTIONS", "100"))

#: Handshakes that are under way at the same time.
_AT_ONCE = 50


class Busy:
    """Says hello again whenever it was echoed, until it is told to rest."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.rounds = 0
        self.rested: Deferred[None] = Deferred()
        self._is_to_rest = False
        self._say()

    def _say(self) -> None:
        self.conversation.received = b""
        self.conversation.say(HELLO)
        self.conversation.until(ECHOED).addCallbacks(self._echoed, self.rested.errback)

    def _echoed(self, _: bytes) -> None:
        self.rounds += 1
        if self._is_to_rest:
            self.rested.callback(None)
        else:
            self._say()

    def rest(self) -> Deferred[None]:
        """Stop after the next echo; fires then, or fails when the connection was lost."""
        self._is_to_rest = True
        return self.rested


class ReloadTests(TestCase):
    """SIGHUP while clients talk."""

    timeout = 300

    async def test_under_load(self) -> None:
        """New connections get the new certificate, and of those that talk meanwhile none is lost."""
        folder = Path(self.mktemp())
        made = make_development_certificate(folder, now=datetime.now(UTC))
        child = start(
            self,
            [
                *twistd(),
                "--nodaemon",
                "--pidfile=",
                "wsecho",
                "--listen-tls=tcp:0:interface=127.0.0.1",
                f"--certificate={made.certificate.absolute()}",
                f"--private-key={made.private_key.absolute()}",
            ],
        )
        (url,) = await child.listening
        trusting: Any = optionsForClientTLS("localhost", trustRoot=Certificate.loadPEM(made.ca.read_bytes()))
        busy: list[Busy] = []
        while len(busy) < CONNECTIONS:
            some = min(_AT_ONCE, CONNECTIONS - len(busy))
            opened = [Deferred.fromCoroutine(open_websocket(self, url, tls=trusting)) for _ in range(some)]
            busy += [Busy(conversation) for conversation in await gatherResults(opened)]

        renewed = make_development_certificate(folder, now=datetime.now(UTC), force=True)
        told = LineWatcher(child, b"reload: new connections get the certificates as they are now")
        child.kill("HUP")
        await told.found
        newly: Any = optionsForClientTLS("localhost", trustRoot=Certificate.loadPEM(renewed.ca.read_bytes()))
        late = await open_websocket(self, url, tls=newly)
        handle: Any = late.transport
        certificate: x509.Certificate = handle.getHandle().get_peer_certificate(as_cryptography=True)
        self.assertEqual(certificate, x509.load_pem_x509_certificate(renewed.certificate.read_bytes()))

        renewed.certificate.write_bytes(b"")
        refused = LineWatcher(child, b"the old certificates stay")
        child.kill("HUP")
        await refused.found
        await open_websocket(self, url, tls=newly)

        await gatherResults([one.rest() for one in busy], consumeErrors=True)
        self.assertEqual(len(busy), CONNECTIONS)
        self.assertTrue(all(one.rounds > 0 for one in busy))
