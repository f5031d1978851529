"""Tests for `wsecho.web.admin`: who may ask, and how answers are written."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.facts import ServerState
from wsecho.policy.http import HttpAnswer
from wsecho.web.beneath import LARGEST_BODY
from wsecho.web.operations import OPERATIONS

from .overseen import TOKEN, Admin, facts

PAGE = HttpAnswer(200, (("Content-Type", "text/html"), ("X-Page", "1")), b"<p>")


def pages(path: str) -> HttpAnswer | None:
    """A page at /."""
    return PAGE if path == "/" else None


class PlaceTests(SynchronousTestCase):
    """Host, Origin and what browsers say besides."""

    def test_hosts(self) -> None:
        """A name that is not this machine's is refused, whatever is asked for: it may be a rebound one."""
        admin = Admin(pages=pages)
        for path in ("/", "/health/live", "/metrics", "/nothing"):
            refused = admin.ask("GET", path, "Origin: http://evil.example:9001", host="evil.example:9001")
            self.assertEqual(refused.status, 421)
            self.assertIn("Host", refused.error)
        for host in ("localhost", "127.0.0.1:1", "[::1]:9001"):
            self.assertEqual(admin.ask("GET", "/health/live", host=host).status, 200)

    def test_no_host(self) -> None:
        """A request without Host is refused, and one with two, of which a proxy may have seen the other."""
        admin = Admin()
        self.assertIn(b" 421 ", admin.raw(b"GET /health/live HTTP/1.0\r\n\r\n"))
        two = admin.get("/health/live", "Host: localhost")
        self.assertEqual(two.status, 400)

    def test_foreign_page(self) -> None:
        """A page of another origin gets 403 from everything and changes nothing, also without a token."""
        admin = Admin(pages=pages)
        admin.overseer.open = [facts(1)]
        for origin in ("https://evil.example", "http://localhost:1", "null", "http://127.0.0.1:9001/"):
            for method, path in (
                ("GET", "/"),
                ("GET", "/health/ready"),
                ("DELETE", "/api/connections/1"),
                ("PUT", "/api/accepting"),
                ("POST", "/api/messages"),
                ("OPTIONS", "/api/messages"),
            ):
                refused = admin.ask(method, path, f"Origin: {origin}")
                self.assertEqual((refused.status, method, path), (403, method, path))
                self.assertNotIn("access-control-allow-origin", refused.headers)
        self.assertEqual(admin.overseer.done, [])

    def test_own_page(self) -> None:
        """The page that came from here may ask."""
        admin = Admin()
        self.assertEqual(admin.get("/api/server", "Origin: http://127.0.0.1:9001").status, 200)

    def test_without_origin(self) -> None:
        """A request of another page without Origin, such as an image, is refused; a link that was followed
        is not."""
        admin = Admin(pages=pages)
        for site in ("cross-site", "same-site"):
            self.assertEqual(admin.get("/metrics", f"Sec-Fetch-Site: {site}").status, 403)
            link = (f"Sec-Fetch-Site: {site}", "Sec-Fetch-Mode: navigate")
            self.assertEqual(admin.get("/", *link).status, 200)
            self.assertEqual(admin.ask("POST", "/", *link).status, 403)
        self.assertEqual(admin.get("/metrics", "Sec-Fetch-Site: same-origin").status, 200)

    def test_forms(self) -> None:
        """A body that a form can send is not taken."""
        admin = Admin()
        body = b'{"channel": "", "text": "x"}'
        for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            refused = admin.ask("POST", "/api/messages", f"Content-Type: {content_type}", body=body)
            self.assertEqual(refused.status, 415)
        self.assertEqual(admin.ask("POST", "/api/messages", body=body).status, 415)
        self.assertEqual(admin.overseer.done, [])


class TokenTests(SynchronousTestCase):
    """The token."""

    def setUp(self) -> None:
        self.admin = Admin(token=TOKEN, pages=pages)

    def test_needed(self) -> None:
        """Everything but health and pages needs it, paths that are not there as well."""
        for operation in OPERATIONS:
            path = operation.path.replace("{id}", "1")
            answer = self.admin.ask(operation.method, path)
            self.assertEqual(answer.status == 401, operation.needs_token, path)
        self.assertEqual(self.admin.get("/api/nothing").status, 401)
        self.assertEqual(self.admin.get("/").status, 200)
        self.assertEqual(
            {one.path for one in OPERATIONS if not one.needs_token}, {"/health/live", "/health/ready"}
        )

    def test_wrong(self) -> None:
        """A wrong one is answered 401, with what is needed."""
        for shown in (
            "",
            "Bearer",
            f"Basic {TOKEN}",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            "Bearer \xe9",
        ):
            answer = self.admin.get("/metrics", f"Authorization: {shown}")
            self.assertEqual((answer.status, shown), (401, shown))
            self.assertEqual(answer.headers["www-authenticate"], 'Bearer realm="wsecho"')
            self.assertNotIn(TOKEN, answer.error)

    def test_right(self) -> None:
        """The right one opens; the scheme's letters are of either case."""
        for scheme in ("Bearer", "bearer"):
            self.assertEqual(self.admin.get("/metrics", f"Authorization: {scheme} {TOKEN}").status, 200)

    def test_constant_time(self) -> None:
        """Tokens are compared in a time that tells nothing of how much was right."""
        compared: list[tuple[bytes, bytes]] = []

        def compare(one: bytes, other: bytes) -> bool:
            compared.append((one, other))
            return True

        self.patch(__import__("wsecho.web.admin", fromlist=["admin"]), "compare_digest", compare)
        self.assertEqual(self.admin.get("/metrics", "Authorization: Bearer x").status, 200)
        self.assertEqual(compared, [(b"x", TOKEN.encode())])

    def test_none(self) -> None:
        """Without a token nobody has to show one."""
        self.assertEqual(Admin().get("/metrics").status, 200)


class DispatchTests(SynchronousTestCase):
    """From a request to an operation, and back."""

    def setUp(self) -> None:
        self.admin = Admin(pages=pages)

    def test_headers(self) -> None:
        """Answers are not stored, not embedded, not taken for something else, and tell no version."""
        answer = self.admin.get("/health/live")
        self.assertEqual(answer.headers["cache-control"], "no-store")
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
        self.assertEqual(answer.headers["cross-origin-resource-policy"], "same-origin")
        self.assertIn("default-src 'none'", answer.headers["content-security-policy"])
        self.assertEqual(answer.headers["connection"], "close")
        self.assertNotIn("server", answer.headers)

    def test_page(self) -> None:
        """A page is sent as it is, with its own headers, to GET and HEAD only."""
        page = self.admin.get("/")
        self.assertEqual((page.status, page.body, page.headers["x-page"]), (200, b"<p>", "1"))
        self.assertEqual(self.admin.ask("HEAD", "/").body, b"")
        self.assertEqual(self.admin.ask("POST", "/").headers["allow"], "GET, HEAD")

    def test_head(self) -> None:
        """HEAD is GET without the body."""
        get, head = self.admin.get("/api/server"), self.admin.ask("HEAD", "/api/server")
        self.assertEqual(head.status, 200)
        self.assertEqual(head.headers["content-length"], get.headers["content-length"])
        self.assertEqual(head.body, b"")

    def test_unknown(self) -> None:
        """A path that is not there is 404, a method that is not is 405 with those that are."""
        self.assertIn("/api/openapi.json", self.admin.get("/api").error)
        self.assertEqual(self.admin.get("/api/connections/1/more").status, 404)
        refused = self.admin.ask("PATCH", "/api/connections/1")
        self.assertEqual((refused.status, refused.headers["allow"]), (405, "GET, HEAD, DELETE"))
        self.assertEqual(self.admin.ask("PUT", "/api/messages").headers["allow"], "GET, HEAD, POST")
        self.assertEqual(self.admin.ask("GET", "/api/accepting").headers["allow"], "PUT")

    def test_parameters(self) -> None:
        """A parameter that is unknown, there twice, or not accepted is one line that says what is."""
        for query, line in (
            (
                "limits=1",
                'unknown parameter "limits"; accepted: address, after, channel, limit, path, search',
            ),
            ("limit=1&limit=2", "limit: accepted once"),
            ("limit=0", 'limit="0": accepted is a whole number from 1 to 1000'),
            ("limit=1001", 'limit="1001": accepted is a whole number from 1 to 1000'),
            ("limit=", 'limit="": accepted is a whole number from 1 to 1000'),
            ("limit=%D9%A1", 'limit="\u0661": accepted is a whole number from 1 to 1000'),
            (
                "channel=a%20b",
                'channel="a b": accepted is a channel name of up to 128 of A-Z a-z 0-9 . _ ~ -',
            ),
            (
                "channel=a%0A",
                r'channel="a\x0a": accepted is a channel name of up to 128 of A-Z a-z 0-9 . _ ~ -',
            ),
            ("path=%FF", "the query is not UTF-8, percent-encoded"),
            ("&".join(f"a{n}=" for n in range(21)), "accepted are 20 parameters at most"),
        ):
            answer = self.admin.get(f"/api/connections?{query}")
            self.assertEqual((answer.status, answer.error), (400, line))
        self.assertEqual(self.admin.get("/api/server?x=1").error, 'unknown parameter "x"; accepted: none')
        self.assertEqual(self.admin.get("/api/connections/zero").status, 400)
        self.assertEqual(self.admin.get("/api/connections/%FF").error, "the path is not UTF-8")

    def test_bodies(self) -> None:
        """A body that is no JSON, or too large, is refused and forgotten."""
        for body in (b"", b"{", b"\xff", b"[" * 100_000, b'{"accepting": 1' + b"0" * 5000 + b"}"):
            refused = self.admin.ask("PUT", "/api/accepting", "Content-Type: application/json", body=body)
            self.assertEqual((refused.status, refused.error), (400, "the body is no JSON"))
        large = self.admin.ask(
            "PUT", "/api/accepting", "Content-Type: application/json", body=b" " * (LARGEST_BODY + 1)
        )
        self.assertEqual(large.status, 413)
        self.assertEqual(self.admin.overseer.done, [])

    def test_has_left(self) -> None:
        """An answer that comes when the client has left goes nowhere, and is no error."""
        self.admin.overseer.changing = Deferred()
        channel, transport = self.admin.connect()
        body = b'{"listening": false}'
        head = f"PUT /api/listening HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        channel.dataReceived(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        channel.connectionLost(Failure(ConnectionDone()))
        self.admin.overseer.changing.callback("")
        self.assertEqual(transport.value(), b"")

    def test_bug(self) -> None:
        """What goes wrong here is logged, and answered without a word of it."""

        def fail() -> ServerState:
            raise RuntimeError("secret")

        overseer: Any = self.admin.overseer
        overseer.state = fail
        answer = self.admin.get("/health/ready")
        self.assertEqual((answer.status, answer.error), (500, "internal error; the log has more"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
