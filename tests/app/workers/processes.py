"""Servers of several processes, from outside."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from tests.app.servers import Child, Conversation, LineWatcher, start, twistd

LISTEN = "--listen=tcp:0:interface=127.0.0.1"


class WorkersTestCase(TestCase):
    """Starts servers with ``--workers``."""

    timeout = 60

    async def serve(
        self, *arguments: str, workers: int = 2, listeners: int = 1, **others: Any
    ) -> tuple[Child, list[str]]:
        """Start a server; its supervisor, and its URLs."""
        command = [*twistd(), "-n", "--pidfile=", "wsecho", f"--workers={workers}", *arguments]
        child = start(self, command, listeners=listeners, **others)
        pids = LineWatcher(child, b", processes ")
        urls = await child.listening
        await pids.found
        return child, urls

    def pids(self, child: Child) -> list[int]:
        """The processes of the workers that were told at the start."""
        found = re.search(r"workers: \d+, processes ([\d, ]+)", child.out.decode())
        assert found is not None, child.out
        return [int(pid) for pid in found[1].split(", ")]

    async def stop(self, child: Child, *, signal: str = "TERM") -> None:
        """Let the server end, in good order."""
        child.kill(signal)
        await child.ended
        self.assertEqual((child.status, child.signal, child.err), (0, None, b""))
        for word in (b"Traceback", b"Unhandled", b"#critical", b"#error", b" wrote: "):
            self.assertNotIn(word, child.out)

    async def ask(self, child: Child, method: str, path: str, body: Any = None) -> Any:
        """Ask the admin endpoint; its JSON, or its text."""
        found = re.search(r"admin on http://127.0.0.1:(\d+)/", child.out.decode())
        assert found is not None, child.out
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", int(found[1]))
        connected: Any = endpoint.connect(Factory.forProtocol(Conversation))
        conversation = await connected
        payload = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
        conversation.say(head.encode() + b"\r\n" + payload)
        answer = (await conversation.lost).partition(b"\r\n\r\n")[2].decode()
        return json.loads(answer) if answer.startswith("{") else answer
