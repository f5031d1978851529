"""Pre-shared keys with PySide6's QWebSocket."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.members import QUIET
from wsecho.policy.authenticators import PreSharedKeyAuthenticator
from wsecho.policy.enumerations import SslMode
from wsecho.server import WebSocketServer
from wsecho.tls.configuration import TlsConfiguration
from wsecho.tls.preshared import PreSharedKeys

SCRIPT = str(Path(__file__).with_name("psk_client.py"))


class PreSharedKeyTests(TestCase):
    """A Qt client and our server."""

    async def test_key(self) -> None:
        """A Qt client sees the hint, and is let in with the right key for its identity only."""
        server = WebSocketServer("", SslMode.SECURE_MODE, settings=QUIET)
        self.addCleanup(server.shutdown)
        server.ssl_configuration = TlsConfiguration(pre_shared_keys=PreSharedKeys(b"which?"))
        asked: list[bytes] = []

        def answer(question: PreSharedKeyAuthenticator) -> None:
            asked.append(question.identity)
            question.key = b"k" * 16 if question.identity == b"anna" else b""

        def echo() -> None:
            taken = server.next_pending_connection()
            assert taken is not None
            taken.text_message_received.connect(taken.send_text_message)
            accepted.append(taken)

        accepted: list[object] = []
        server.pre_shared_key_authentication_required.connect(answer)
        server.new_connection.connect(echo)
        await server.listen("127.0.0.1")
        for identity, key, last in (
            ("anna", b"k" * 16, "echo hello"),
            ("anna", b"x" * 16, "error"),
            ("bert", b"k" * 16, "error"),
        ):
            asked.clear()
            arguments = [SCRIPT, server.server_url, identity, key.hex()]
            out, err, status = await getProcessOutputAndValue(
                sys.executable, arguments, env=dict(os.environ), reactor=reactor
            )
            self.assertEqual(status, 0, err)
            lines = out.decode().splitlines()
            self.assertEqual(lines[0], "hint which?")
            self.assertTrue(lines[-1].startswith(last), (identity, lines, err))
            self.assertEqual(asked, [identity.encode()])
