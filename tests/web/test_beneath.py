"""Tests for `wsecho.web.beneath`: twisted.web, bounded."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsecho.web.beneath import LARGEST_BODY, MOST_CONNECTIONS, REQUEST_SECONDS

from .overseen import Admin, parse

GONE = Failure(ConnectionDone())
GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


class BoundTests(SynchronousTestCase):
    """Time, size and number."""

    def setUp(self) -> None:
        self.admin = Admin()

    def test_one_request(self) -> None:
        """A connection has one request; what is sent behind it is not answered."""
        answer = self.admin.raw(GET + b"\r\n" + GET + b"\r\n")
        self.assertEqual(answer.count(b"HTTP/1.1 "), 1)

    def test_deadline(self) -> None:
        """A client that sends a byte now and then is cut off all the same."""
        channel, transport = self.admin.connect()
        for byte in GET[:29]:
            channel.dataReceived(bytes([byte]))
            self.admin.clock.advance(1)
        self.assertFalse(transport.disconnected or getattr(transport, "aborting", False))
        self.admin.clock.advance(REQUEST_SECONDS - 29)
        self.assertTrue(transport.aborting)
        channel.connectionLost(GONE)
        self.assertEqual(self.admin.clock.getDelayedCalls(), [])

    def test_number(self) -> None:
        """Beyond the number of connections none is taken, until one ends."""
        channels = [self.admin.connect()[0] for _ in range(MOST_CONNECTIONS)]
        self.assertIsNone(self.admin.site.buildProtocol(None))
        channels[0].connectionLost(GONE)
        self.assertIsNotNone(self.admin.site.buildProtocol(None))

    def test_body_is_not_kept(self) -> None:
        """Of a body that is too large, no more than the limit is ever held, chunked or not."""
        for head, body in (
            (b"Content-Length: %d\r\n" % (4 * LARGEST_BODY), bytes(4 * LARGEST_BODY)),
            (b"Transfer-Encoding: chunked\r\n", b"10000\r\n%b\r\n" % bytes(65536) * 64 + b"0\r\n\r\n"),
        ):
            channel, transport = self.admin.connect()
            channel.dataReceived(
                b"PUT /api/accepting HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                + head
                + b"\r\n"
            )
            request = channel.requests[-1]
            for at in range(0, len(body), 65536):
                channel.dataReceived(body[at : at + 65536])
                if request.content is not None:
                    self.assertLessEqual(len(request.content.getvalue()), LARGEST_BODY)
            self.assertEqual(parse(transport.value()).status, 413)

    def test_large_head(self) -> None:
        """A head that is too large, or malformed, ends the connection."""
        for head in (b"X: " + bytes(20_000) + b"\r\n", b"X: y\r\n" * 200, b"no header\r\n"):
            channel, transport = self.admin.connect()
            channel.dataReceived(GET + head + b"\r\n")
            self.assertTrue(transport.disconnecting)
            self.assertNotIn(b" 200 ", transport.value())

    def test_no_idle_work(self) -> None:
        """A site that nobody asks has no timer."""
        self.admin.site.doStart()
        self.assertEqual(self.admin.clock.getDelayedCalls(), [])
        self.admin.site.doStop()


class EndTests(SynchronousTestCase):
    """The end of a site."""

    def test_nobody(self) -> None:
        """Without connections it is over at once."""
        self.assertIsNone(self.successResultOf(Admin().site.end()))

    def test_in_order(self) -> None:
        """Connections are told to end, and nobody else is taken."""
        admin = Admin()
        channel, transport = admin.connect()
        ended = admin.site.end()
        self.assertNoResult(ended)
        self.assertTrue(transport.disconnecting)
        self.assertIsNone(admin.site.buildProtocol(None))
        channel.connectionLost(GONE)
        self.successResultOf(ended)
        self.assertEqual(admin.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """One that does not end is cut off after a second."""
        admin = Admin()
        channel, transport = admin.connect()
        ended = admin.site.end()
        admin.clock.advance(1)
        self.assertTrue(transport.aborting)
        channel.connectionLost(GONE)
        self.successResultOf(ended)
