"""The server's side of the opening handshake: heads, answers, pages, and the time for all of it."""

from __future__ import annotations

from typing import Any

from autobahn.websocket.types import ConnectionRequest

from tests.wire.harness import (
    ACCEPT,
    TEXT,
    Peer,
    Program,
    WireTestCase,
    frame,
    handshake,
)
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.hosts import AllowedHosts
from wsecho.policy.http import REASON_PHRASES, HttpAnswer
from wsecho.policy.lifecycle import Phase
from wsecho.policy.origins import OriginRequest
from wsecho.services.broadcast import BroadcastService
from wsecho.services.echo import EchoService
from wsecho.services.routes import Routes

SWITCHING = "HTTP/1.1 101 Switching Protocols"


def plain(path: str = "/", method: str = "GET", *headers: str) -> bytes:
    """A request without upgrade."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: example.com", *headers, "", ""]).encode()


class AcceptedTests(WireTestCase):
    """The answer to a good handshake."""

    def test_answer(self) -> None:
        """The answer is what RFC 6455 section 4.2.2 asks for, and tells nothing of the server."""
        peer = self.peer(self.factory())
        peer.send(handshake())
        self.assertEqual(peer.answer.status, SWITCHING)
        self.assertEqual(
            peer.answer.headers,
            {"upgrade": "WebSocket", "connection": "Upgrade", "sec-websocket-accept": ACCEPT},
        )

    def test_server_name(self) -> None:
        """The Server header is what the program says."""
        peer = self.peer(self.factory(server_name="mine"))
        peer.send(handshake())
        self.assertEqual(peer.answer.headers["server"], "mine")

    def test_in_pieces(self) -> None:
        """The head may come byte by byte."""
        peer = self.peer(self.factory())
        self.assertIsNone(peer.protocol.request)
        head = handshake()
        peer.send(*(head[at : at + 1] for at in range(len(head) - 1)))
        self.assertEqual(peer.transport.value(), b"")
        peer.send(head[-1:])
        self.assertEqual(peer.answer.status, SWITCHING)

    def test_request(self) -> None:
        """The program sees the request as Autobahn gives it: headers by lower-case name, the path as sent,
        the query parsed."""
        seen: list[ConnectionRequest] = []

        class Asking(Program):
            def onConnect(self, request: ConnectionRequest) -> Any:
                seen.append(request)
                return super().onConnect(request)

        peer = self.peer(self.factory(Asking, compression="deflate"))
        peer.send(
            handshake(
                "/a%20b?x=1&y=&x=2",
                "Origin: http://example.com",
                "X-Thing: one",
                "X-Thing: two",
                "Sec-WebSocket-Protocol: chat, soap",
                "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
            )
        )
        (request,) = seen
        self.assertIs(peer.protocol.request, request)
        self.assertEqual(request.peer, "127.0.0.1:40000")
        self.assertEqual(request.host, "example.com")
        self.assertEqual(request.path, "/a%20b")
        self.assertEqual(request.params, {"x": ["1", "2"]})
        self.assertEqual(request.version, 13)
        self.assertEqual(request.origin, "http://example.com")
        self.assertEqual(request.protocols, ["chat", "soap"])
        self.assertEqual(request.headers["x-thing"], "one, two")
        self.assertEqual(request.extensions, [("permessage-deflate", {"client_max_window_bits": [True]})])
        self.assertEqual(peer.protocol.http_request_uri, "/a%20b?x=1&y=&x=2")

    def test_path_is_decoded(self) -> None:
        """Routes and policies see the decoded path, without the query; what is no UTF-8 in it is replaced."""
        paths: list[str] = []
        asked: list[OriginRequest] = []

        def route(path: str) -> Any:
            paths.append(path)
            return EchoService()

        def policy(request: OriginRequest) -> bool:
            asked.append(request)
            return True

        factory = self.factory(route=route, origins=policy)
        for path in ("/a%2Fb%20c?d", "/%ff", "http://example.com/x"):
            self.peer(factory).open(path)
        self.assertEqual(paths, ["/a/b c", "/\ufffd", "/x"])
        self.assertEqual(asked[0], OriginRequest(None, "example.com", "/a/b c", "127.0.0.1:40000"))

    def test_service(self) -> None:
        """Messages go to the service of the path."""
        factory = self.factory(route=Routes("broadcast", EchoService(), BroadcastService()))
        peer = self.peer(factory).open("/echo")
        peer.send(frame(TEXT, b"x"))
        self.assertEqual(peer.messages(), ["x"])


class AnswerTests(WireTestCase):
    """Requests that are answered with another status."""

    def ask(self, head: bytes, **options: Any) -> Peer:
        """A peer that has sent a head."""
        peer = self.peer(self.factory(**options))
        peer.send(head)
        return peer

    def assert_complete(self, peer: Peer, status: int) -> None:
        """The answer is complete, the writing half is shut down after it, and what follows is not read."""
        answer = peer.answer
        self.assertEqual(answer.status, f"HTTP/1.1 {status} {REASON_PHRASES[status]}")
        self.assertEqual(int(answer.headers["content-length"]), len(answer.rest))
        self.assertTrue(answer.headers["connection"].startswith("close"))
        self.assertNotIn("server", answer.headers)
        self.assertEqual(peer.transport.done, ["write", "loseWriteConnection"])
        before = peer.transport.value()
        peer.send(handshake())
        self.assertEqual(peer.transport.value(), before)
        self.assertEqual(peer.protocol.phase, Phase.FLUSHING)

    def test_complete(self) -> None:
        """Each refusal is a complete answer, without a byte of the request."""
        large = "x" * 9000
        for head, status, options in (
            (b"\x16\x03\x01marker\r\n\r\n", 400, {}),
            (b"GET /marker HTTP/1.0\r\nHost: example.com\r\n\r\n", 505, {}),
            (plain("/marker", "DELETE"), 405, {}),
            (handshake("/marker", f"X: {large}"), 431, {}),
            (handshake("/marker"), 421, {"hosts": AllowedHosts(["other"])}),
            (handshake("/marker"), 404, {"route": lambda path: None}),
            (plain("/marker"), 404, {"route": lambda path: None}),
            (plain("/marker"), 426, {}),
            (handshake("/marker", "Origin: https://marker.example"), 403, {}),
            (handshake("/marker"), 500, {"origins": lambda request: None}),
        ):
            peer = self.ask(head, **options)
            self.assert_complete(peer, status)
            self.assertNotIn(b"marker", peer.transport.value())
            self.assertEqual(peer.answer.headers["content-type"], "text/plain; charset=utf-8")
            self.assertTrue(peer.answer.rest.endswith(b"\n"))
            peer.finish()
        self.flushLoggedErrors(TypeError)

    def test_needed_headers(self) -> None:
        """405 names the methods, 426 the protocol and its version."""
        self.assertEqual(self.ask(plain("/", "POST")).answer.headers["allow"], "GET, HEAD")
        headers = self.ask(plain()).answer.headers
        self.assertEqual((headers["upgrade"], headers["sec-websocket-version"]), ("websocket", "13"))
        other = handshake().replace(b"Version: 13", b"Version: 8")
        headers = self.ask(other).answer.headers
        self.assertEqual((headers["upgrade"], headers["sec-websocket-version"]), ("websocket", "13"))

    def test_page(self) -> None:
        """A plain GET of a page is answered with it; HEAD with its head."""
        page = HttpAnswer(200, (("Content-Type", "text/html"),), b"<p>page")
        paths: list[str] = []

        def pages(path: str) -> HttpAnswer | None:
            paths.append(path)
            return page if path == "/a b" else None

        peer = self.ask(plain("/a%20b?c"), page=pages)
        self.assert_complete(peer, 200)
        self.assertEqual((peer.answer.rest, peer.answer.headers["content-type"]), (b"<p>page", "text/html"))
        head = self.ask(plain("/a%20b", "HEAD"), page=pages)
        self.assertEqual(head.answer.rest, b"")
        self.assertEqual(head.answer.headers, peer.answer.headers)
        self.assertEqual(paths, ["/a b", "/a b"])

    def test_head_of_a_websocket(self) -> None:
        """HEAD with an upgrade is not a handshake: its answer has no content."""
        peer = self.ask(handshake().replace(b"GET", b"HEAD", 1))
        self.assertEqual(peer.answer.status, "HTTP/1.1 426 Upgrade Required")
        self.assertEqual(peer.answer.rest, b"")
        self.assertGreater(int(peer.answer.headers["content-length"]), 0)

    def test_no_room(self) -> None:
        """The factory may say that no further connection is taken, before the decision is asked for."""
        from wsecho.wire.admission import HeadRefused

        factory = self.factory(origins=lambda request: self.fail("asked"))

        def full(connection: Any) -> None:
            raise HeadRefused(503, "full")

        factory.check_room = full
        told: list[tuple[int, str]] = []
        factory.handshake_refused = lambda *arguments: told.append(arguments)
        peer = self.peer(factory)
        peer.send(handshake())
        self.assertEqual(peer.answer.rest, b"full\n")
        self.assertEqual(told, [(503, "full")])
        self.assertEqual(peer.protocol.end, End(EndReason.UNAVAILABLE, None, 503))

    def test_program_raises(self) -> None:
        """An exception in what the factory is asked is logged and answered by 500; the peer is not left
        waiting."""

        def broken(*arguments: Any) -> Any:
            raise ZeroDivisionError

        for head, options in (
            (handshake(), {"route": broken}),
            (plain(), {"page": broken}),
            (plain(), {"route": broken}),
            (handshake(), {"hosts": object()}),
        ):
            peer = self.ask(head, **options)
            self.assert_complete(peer, 500)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, AttributeError)), 1)
            self.assertIn(f"{peer.protocol.id} handshake failed", self.log)
            self.assertEqual(peer.protocol.end, End(EndReason.INTERNAL_ERROR, None, 500))

    def test_page_that_cannot_be_sent(self) -> None:
        """A page with a status or a header that cannot be sent is our fault: 500."""
        for page in (HttpAnswer(299), HttpAnswer(200, (("X", "a\nb"),)), HttpAnswer(200, (("Server", "x"),))):
            peer = self.ask(plain(), page=lambda path, page=page: page)
            self.assert_complete(peer, 500)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class TimeoutTests(WireTestCase):
    """The time for the opening handshake."""

    def test_silence(self) -> None:
        """Who says nothing is cut off: there may be nobody who speaks HTTP."""
        peer = self.peer(self.factory(handshake_timeout=10))
        self.clock.advance(10)
        self.assertEqual(peer.transport.done, ["abortConnection"])
        self.assertTrue(peer.protocol.wasOpenHandshakeTimeout)

    def test_unfinished(self) -> None:
        """Who does not finish the head gets 408, however steadily it sends."""
        peer = self.peer(self.factory(handshake_timeout=10))
        for _ in range(9):
            self.clock.advance(1)
            peer.send(b"G")
        self.assertEqual(peer.transport.value(), b"")
        self.clock.advance(1)
        self.assertEqual(peer.answer.status, "HTTP/1.1 408 Request Timeout")
        self.assertIsNone(peer.protocol._head)
        self.assertEqual(peer.transport.done, ["write", "loseWriteConnection"])
        self.assertTrue(peer.protocol.wasOpenHandshakeTimeout)

    def test_in_time(self) -> None:
        """It has nothing to say once the connection is open, or is ending."""
        peer = self.peer(self.factory(handshake_timeout=10, ping_interval=0)).open()
        refused = self.peer(self.factory(handshake_timeout=10, close_timeout=100))
        refused.send(plain())
        self.clock.advance(20)
        self.assertIsNone(peer.protocol.end)
        self.assertEqual(refused.protocol.end, End(EndReason.UPGRADE_REQUIRED, None, 426))

    def test_none(self) -> None:
        """0 is no timeout."""
        peer = self.peer(self.factory(handshake_timeout=0))
        self.clock.advance(10_000)
        peer.open()
