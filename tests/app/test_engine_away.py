"""A server whose engine cannot be reached, or cannot be used, as its users see it: in a process of its
own."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from wsecho.envelope import Backoff, EnvelopeClient, ReceivedMessage
from wsecho.hub.engine import Position

from .servers import Child, connect, echoes, open_websocket, request, start, twistd

reactor: Any = the_reactor
LISTEN = "--listen=tcp:0:interface=127.0.0.1"


class EngineTestCase(TestCase):
    """A server in a process of its own."""

    timeout = 60

    def begin(self, *arguments: str) -> Child:
        """Start a server."""
        return start(self, [*twistd(), "-n", "--pidfile=", "wsecho", LISTEN, *arguments])

    def closed_port(self) -> int:
        """A port of loopback that refuses connections until the test ends."""
        bound = socket.socket()
        self.addCleanup(bound.close)
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


class AwayTests(EngineTestCase):
    """An engine that cannot be reached."""

    async def test_away(self) -> None:
        """The server starts, echoes, lets nobody onto a channel, and ends in order."""
        child = self.begin(f"--engine=redis://:secret@127.0.0.1:{self.closed_port()}/0")
        (url,) = await child.listening
        peer = await open_websocket(self, url, "/echo")
        await echoes(self, peer)
        refused = await connect(self, url)
        refused.say(request("/broadcast/c"))
        answer = await refused.lost
        self.assertIn(b"HTTP/1.1 503 ", answer)
        self.assertIn(b"the engine is away", answer)
        child.kill("TERM")
        await child.ended
        self.assertEqual((child.status, child.err), (0, b""))
        for word in (b"Traceback", b"Unhandled", b"secret"):
            self.assertNotIn(word, child.out)

    async def test_unusable(self) -> None:
        """A URL that no engine has ends the start with one line and status 1, without its password."""
        child = self.begin("--engine=nats://user:secret@host")
        await child.ended
        self.assertEqual(child.status, 1)
        self.assertIn(b"wsecho: --engine=nats://user:***@host: accepted is memory: or redis://", child.err)
        self.assertNotIn(b"secret", child.out + child.err)


class HistoryTests(EngineTestCase):
    """A server that keeps what was said."""

    def client(self, url: str, **options: Any) -> tuple[EnvelopeClient, list[ReceivedMessage]]:
        """A client that keeps its place, and what it was handed out."""
        client = EnvelopeClient(url + "broadcast/c", reactor=reactor, backoff=Backoff(0.05, 0.1), **options)
        self.addCleanup(client.stop)
        got: list[ReceivedMessage] = []
        client.message_received.connect(got.append)
        client.start()
        return client, got

    async def test_goes_on(self) -> None:
        """A client goes on where another one stopped, and gets what was said in between, once."""
        child = self.begin("--history-size=10")
        (url,) = await child.listening
        speaker, _ = self.client(url)
        first = await speaker.publish("one")
        for text in ("two", "three"):
            await speaker.publish(text)
        later, got = self.client(url, position=first)
        heard: Deferred[ReceivedMessage] = Deferred()
        later.message_received.connect(
            lambda message: heard.callback(message) if message.content == "four" else None
        )
        fourth = await speaker.publish("four")
        await heard
        self.assertEqual([message.content for message in got], ["two", "three", "four"])
        self.assertEqual(later.position, fourth)
        child.kill("TERM")
        await child.ended
        self.assertEqual((child.status, child.err), (0, b""))

    async def test_restart(self) -> None:
        """A server that was restarted forgot its histories, and its clients are told so."""
        child = self.begin("--history-size=10")
        (url,) = await child.listening
        client, _ = self.client(url)
        place = await client.publish("one")
        client.stop()
        child.kill("KILL")
        await child.ended
        again = self.begin("--history-size=10")
        (url,) = await again.listening
        client, _ = self.client(url, position=place)
        found: Deferred[Any] = Deferred()
        client.gap_found.connect(found.callback)
        gap = await found
        self.assertEqual((gap.after, gap.missing), (place, None))
        assert isinstance(client.position, Position)
        self.assertEqual(client.position.offset, 0)
        again.kill("TERM")
        await again.ended
