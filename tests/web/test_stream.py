"""Tests for `wsecho.web.stream`: messages as they pass, and what their watchers may cost."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsecho.web.beneath import REQUEST_SECONDS
from wsecho.web.operations import LONGEST_WATCH
from wsecho.web.stream import MOST_WATCHERS

from .overseen import TOKEN, Admin, Transport, parse

GONE = Failure(ConnectionDone())


class StreamTests(SynchronousTestCase):
    """``GET /api/messages``."""

    def setUp(self) -> None:
        self.admin = Admin()
        self.overseer = self.admin.overseer

    def watch(self, query: str = "", *, method: str = "GET") -> tuple[Any, Transport]:
        """Begin to watch; the connection and its transport."""
        channel, transport = self.admin.connect()
        channel.dataReceived(f"{method} /api/messages{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return channel, transport

    def lines(self, transport: Transport) -> list[Any]:
        """The samples that came."""
        return [json.loads(line) for line in transport.value().splitlines() if line.startswith(b"{")]

    def texts(self, transport: Transport) -> list[str]:
        """Their contents."""
        return [line["beginning"] for line in self.lines(transport)]

    def test_lines(self) -> None:
        """The head comes at once, a line for each message as it passes."""
        _, transport = self.watch()
        head = parse(transport.value())
        self.assertEqual((head.status, head.headers["content-type"]), (200, "application/x-ndjson"))
        self.assertEqual(head.headers["cache-control"], "no-store")
        self.overseer.pass_message("hello")
        self.overseer.pass_message("tea?", None)
        first, second = self.lines(transport)
        self.assertEqual(
            first,
            {
                "time": "2026-11-27T01:00:00.000Z",
                "connection": 1,
                "peer": "127.0.0.1:40001",
                "service": "echo",
                "channel": None,
                "kind": "text",
                "size": 5,
                "beginning": "hello",
                "dropped": 0,
            },
        )
        self.assertEqual((second["connection"], second["peer"]), (None, None))
        self.assertFalse(transport.disconnecting)

    def test_filters(self) -> None:
        """The overseer is asked for a connection, or for a channel."""
        self.watch("?connection=7")
        self.watch("?channel=kitchen")
        self.assertEqual([watch[1:] for watch in self.overseer.watches], [(7, None), (None, "kitchen")])

    def test_count(self) -> None:
        """It ends after as many as were asked for, with its last chunk, and nobody is watched any more."""
        _, transport = self.watch("?count=2")
        for text in "abc":
            self.overseer.pass_message(text)
        self.assertEqual(self.texts(transport), ["a", "b"])
        self.assertTrue(transport.value().endswith(b"\r\n0\r\n\r\n"))
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.overseer.watches, [])

    def test_seconds(self) -> None:
        """It ends after the time that was asked for, beyond that of other requests, and leaves no timer."""
        channel, transport = self.watch("?seconds=90")
        self.admin.clock.advance(REQUEST_SECONDS + 5)
        self.assertFalse(getattr(transport, "aborting", False))
        self.overseer.pass_message("still there")
        self.admin.clock.advance(90 - REQUEST_SECONDS - 5)
        self.overseer.pass_message("too late")
        self.assertEqual(self.texts(transport), ["still there"])
        self.assertTrue(transport.disconnecting)
        channel.connectionLost(GONE)
        self.assertEqual(self.admin.clock.getDelayedCalls(), [])

    def test_longest(self) -> None:
        """Nobody watches for ever, and one that does not let go is cut off."""
        self.assertEqual(self.admin.get(f"/api/messages?seconds={LONGEST_WATCH + 1}").status, 400)
        _, transport = self.watch()
        self.admin.clock.advance(LONGEST_WATCH)
        self.assertTrue(transport.disconnecting)
        self.admin.clock.advance(1)
        self.assertTrue(transport.aborting)

    def test_number(self) -> None:
        """Beyond the number of watchers the next is told so, until one leaves."""
        channels = [self.watch()[0] for _ in range(MOST_WATCHERS)]
        refused = self.admin.get("/api/messages")
        self.assertEqual((refused.status, refused.error), (429, "4 watch already, as many as may"))
        channels[0].connectionLost(GONE)
        self.assertEqual(len(self.overseer.watches), MOST_WATCHERS - 1)
        self.assertEqual(parse(self.watch()[1].value()).status, 200)

    def test_slow(self) -> None:
        """While a watcher does not read, samples are left out and counted, and nothing is kept for it."""
        channel, transport = self.watch()
        self.overseer.pass_message("read")
        channel.pauseProducing()
        before = len(transport.value())
        for _ in range(3):
            self.overseer.pass_message("left out")
        self.assertEqual(len(transport.value()), before)
        channel.resumeProducing()
        self.overseer.pass_message("read again")
        self.overseer.pass_message("and again")
        self.assertEqual(
            [(line["beginning"], line["dropped"]) for line in self.lines(transport)],
            [("read", 0), ("read again", 3), ("and again", 0)],
        )

    def test_leaves(self) -> None:
        """A watcher that leaves is told nothing more, and leaves no timer."""
        channel, _ = self.watch()
        channel.connectionLost(GONE)
        self.overseer.pass_message("to nobody")
        self.assertEqual(self.overseer.watches, [])
        self.assertEqual(self.admin.clock.getDelayedCalls(), [])

    def test_head(self) -> None:
        """HEAD has the head of the answer, and watches nothing."""
        _, transport = self.watch(method="HEAD")
        self.assertEqual(parse(transport.value()).headers["content-type"], "application/x-ndjson")
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.overseer.watches, [])

    def test_end(self) -> None:
        """When the endpoint ends, streams are complete, not cut."""
        channel, transport = self.watch()
        resource: Any = self.admin.site.resource
        resource.end()
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))
        channel.connectionLost(GONE)
        self.assertEqual(self.admin.clock.getDelayedCalls(), [])

    def test_token(self) -> None:
        """Content is not for everybody: the token is needed."""
        admin = Admin(token=TOKEN)
        self.assertEqual(admin.get("/api/messages").status, 401)
        self.assertEqual(admin.overseer.watches, [])
