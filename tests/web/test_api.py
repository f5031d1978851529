"""Tests for `wsecho.web.api`: what each operation answers and does."""

from __future__ import annotations

import base64
from typing import Any

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.app.logs import logged_lines
from wsecho.policy.close_codes import CLOSE_CODES, Sender
from wsecho.policy.facts import ServerState
from wsecho.web.operations import LONGEST_TEXT

from .overseen import END, Admin, facts


class ApiTestCase(SynchronousTestCase):
    """An endpoint without a token."""

    def setUp(self) -> None:
        self.admin = Admin()
        self.overseer = self.admin.overseer

    def ids(self, query: str) -> list[int]:
        """The connections that a query gives."""
        return [one["id"] for one in self.admin.get(f"/api/connections?{query}").value["connections"]]


class HealthTests(ApiTestCase):
    """Health and metrics."""

    def test_live(self) -> None:
        """The process lives in every state."""
        for state in ServerState:
            self.overseer.now_state = state
            answer = self.admin.get("/health/live")
            self.assertEqual((answer.status, answer.value), (200, {"status": "live"}))

    def test_ready(self) -> None:
        """Ready is 200, everything else 503 with its name."""
        for state in ServerState:
            self.overseer.now_state = state
            answer = self.admin.get("/health/ready")
            self.assertEqual(answer.status, 200 if state == "ready" else 503)
            self.assertEqual(answer.value, {"status": state.value})

    def test_metrics(self) -> None:
        """Metrics come in Prometheus's text format, or in OpenMetrics for those who ask."""
        plain = self.admin.get("/metrics")
        self.assertTrue(plain.headers["content-type"].startswith("text/plain; version=0.0.4"))
        self.assertIn(b"\nwsecho_connections_open{", plain.body)
        asked = self.admin.get("/metrics", "Accept: application/openmetrics-text; version=1.0.0")
        self.assertTrue(asked.headers["content-type"].startswith("application/openmetrics-text"))
        self.assertTrue(asked.body.endswith(b"# EOF\n"))


class ServerTests(ApiTestCase):
    """The server as a whole."""

    def test_server(self) -> None:
        """State, URLs, versions and the days that certificates have left."""
        self.overseer.certificates = [("localhost", END)]
        value = self.admin.get("/api/server").value
        self.assertEqual(value["certificates"], [
            {"names": "localhost", "ends": "2026-12-27T01:00:01Z", "days_left": 30}
        ])  # fmt: skip
        self.assertEqual(
            (value["state"], value["accepting"], value["uptime_seconds"]), ("ready", True, 1.235)
        )
        self.assertEqual(value["engine"], {"name": "memory", "is_up": True})

    def test_configuration(self) -> None:
        """The configuration is what the overseer says."""
        self.assertEqual(self.admin.get("/api/configuration").value, {"options": [], "channels": {}})

    def test_accepting(self) -> None:
        """Accepting is paused and resumed; the log tells."""
        with logged_lines() as lines:
            for accepting in (False, True):
                answer = self.admin.send("PUT", "/api/accepting", {"accepting": accepting})
                self.assertEqual((answer.status, answer.value), (200, {"accepting": accepting}))
        self.assertEqual(self.overseer.done, [("accepting", False), ("accepting", True)])
        self.assertEqual(lines, ["admin: accepting is paused", "admin: accepting is resumed"])

    def test_not_now(self) -> None:
        """A server that stops cannot be paused: 409."""
        self.overseer.may_change, self.overseer.now_state = False, ServerState.DRAINING
        answer = self.admin.send("PUT", "/api/accepting", {"accepting": True})
        self.assertEqual((answer.status, answer.error), (409, "the server is draining"))

    def test_listening(self) -> None:
        """Ports are closed and opened; the log tells, and what cannot be is 409 with the reason."""
        with logged_lines() as lines:
            for listening in (False, True):
                answer = self.admin.send("PUT", "/api/listening", {"listening": listening})
                self.assertEqual((answer.status, answer.value), (200, {"listening": listening}))
            self.overseer.changing = succeed("cannot listen: taken")
            refused = self.admin.send("PUT", "/api/listening", {"listening": True})
        self.assertEqual((refused.status, refused.error), (409, "cannot listen: taken"))
        self.assertEqual(lines, ["admin: ports are closed", "admin: ports are open"])
        self.assertEqual(self.overseer.done[:2], [("listening", False), ("listening", True)])
        self.assertEqual(self.admin.send("PUT", "/api/listening", {"listening": 1}).status, 400)
        self.assertEqual(len(self.overseer.done), 3)

    def test_overview(self) -> None:
        """The overview has the server, its totals, the lag, and connections as they are filtered."""
        self.overseer.open = [facts(number, path=f"/{number}") for number in range(1, 5)]
        value = self.admin.get("/api/overview?limit=2&after=1&search=127.0.0.1").value
        self.assertEqual(value["server"], self.admin.get("/api/server").value)
        self.assertEqual(value["lag"], {"count": 10, "sum_seconds": 0.5, "largest_seconds": 0.25})
        self.assertEqual([one["id"] for one in value["connections"]["connections"]], [2, 3])
        self.assertEqual((value["connections"]["total"], value["connections"]["next"]), (4, 3))
        totals = value["totals"]
        self.assertEqual([one["name"] for one in totals["services"]], ["echo", "other"])
        self.assertEqual((totals["services"][0]["open"], totals["services"][1]["received_messages"]), (4, 5))
        self.assertEqual(totals["handshakes"], [
            {"outcome": "opened", "status": 101, "count": 7},
            {"outcome": "origin-denied", "status": 403, "count": 2},
            {"outcome": "peer-gone", "status": None, "count": 1},
        ])  # fmt: skip
        self.assertEqual(totals["ends"], [{"reason": "peer-close", "count": 3}])
        self.assertEqual((totals["dropped_messages"], totals["queued_bytes"]), (9, 10))

    def test_bad_bodies(self) -> None:
        """Anything but a boolean is refused."""
        values: list[Any] = [None, [], {}, {"accepting": 1}, {"accepting": "true"}]
        for value in (*values, {"accepting": True, "more": 1}):
            self.assertEqual(self.admin.send("PUT", "/api/accepting", value).status, 400)
        self.assertEqual(self.overseer.done, [])


class ConnectionTests(ApiTestCase):
    """Connections."""

    def test_connection(self) -> None:
        """One connection, with the time at which it opened."""
        self.overseer.open = [facts(3, channel="kitchen", subprotocol="chat", is_secure=True)]
        self.assertEqual(
            self.admin.get("/api/connections/3").value,
            {
                "id": 3,
                "peer": "127.0.0.1:40003",
                "address": "127.0.0.1",
                "path": "/",
                "origin": None,
                "service": "echo",
                "channel": "kitchen",
                "subprotocol": "chat",
                "is_secure": True,
                "since": "2026-11-27T00:59:00Z",
                "received_messages": 1,
                "received_bytes": 2,
                "sent_messages": 3,
                "sent_bytes": 4,
                "queued_bytes": 5,
                "dropped_messages": 6,
            },
        )
        self.assertEqual(self.admin.get("/api/connections/4").error, "no open connection has this number")

    def test_pages(self) -> None:
        """Pages are in the order of numbers, bounded, and lead to each other."""
        self.overseer.open = [facts(number) for number in (5, 3, 9, 1, 7)]
        seen: list[list[int]] = []
        after: Any = 0
        for _ in range(3):
            value: Any = self.admin.get(f"/api/connections?limit=2&after={after}").value
            seen.append([one["id"] for one in value["connections"]])
            self.assertEqual(value["total"], 5)
            after = value["next"]
        self.assertEqual((seen, after), ([[1, 3], [5, 7], [9]], None))

    def test_default_limit(self) -> None:
        """Without a limit, a page has a hundred."""
        self.overseer.open = [facts(number) for number in range(1, 103)]
        value = self.admin.get("/api/connections").value
        self.assertEqual((len(value["connections"]), value["next"]), (100, 100))

    def test_filters(self) -> None:
        """Address, path and channel narrow the list, together."""
        self.overseer.open = [
            facts(1, address="192.0.2.1", path="/echo?a=1"),
            facts(2, address="2001:db8::1", path="/broadcast", channel=""),
            facts(3, address=None, path="/broadcast/kitchen", channel="kitchen"),
            facts(4, address="192.0.2.1", path="/broadcast/kitchen", channel="kitchen"),
            facts(5, path=r"/\"x"),
        ]
        for query, expected in (
            ("address=192.0.2.1", [1, 4]),
            ("address=2001:0DB8:0::1", [2]),
            ("address=unix", [3]),
            ("address=nobody", []),
            ("path=/echo?a=1", [1]),
            ("path=/echo", []),
            ("path=/%22x", [5]),
            ("channel=kitchen", [3, 4]),
            ("channel=", [2]),
            ("channel=kitchen&address=192.0.2.1", [4]),
        ):
            self.assertEqual((query, self.ids(query)), (query, expected))

    def test_search(self) -> None:
        """A text is looked for in number, peer, path, service and channel, whatever its case."""
        self.overseer.open = [
            facts(12, peer="192.0.2.1:50000", path="/echo?Name=Ann"),
            facts(3, peer="[2001:db8::1]:2", service="broadcast", path="/x", channel="Kitchen"),
            facts(4, peer="unix", path=r"/\"y"),
        ]
        for text, expected in (
            ("", [3, 4, 12]),
            ("12", [12]),
            ("192.0.2.1:5", [12]),
            ("db8", [3]),
            ("ann", [12]),
            ("KITCHEN", [3]),
            ("broad", [3]),
            ("%22y", [4]),
            ("nobody", []),
            ("None", []),
        ):
            self.assertEqual((text, self.ids(f"search={text}")), (text, expected))

    def test_disconnect(self) -> None:
        """A connection is closed with 1000, or with the code and reason that are given."""
        self.overseer.open = [facts(1)]
        answer = self.admin.ask("DELETE", "/api/connections/1")
        self.assertEqual((answer.status, answer.value), (202, {"id": 1, "code": 1000}))
        self.admin.ask("DELETE", "/api/connections/1?code=4000&reason=bye%20%C3%A9")
        self.assertEqual(self.overseer.done, [("close", 1, 1000, ""), ("close", 1, 4000, "bye é")])
        self.assertEqual(self.admin.ask("DELETE", "/api/connections/2").status, 404)

    def test_codes(self) -> None:
        """Every code that a server may send is taken, and no other."""
        self.overseer.open = [facts(1)]
        for row in CLOSE_CODES:
            for code in (row.first, row.last):
                answer = self.admin.ask("DELETE", f"/api/connections/1?code={code}")
                self.assertEqual(answer.status, 202 if row.sender is Sender.EITHER else 400, code)
        for code in (0, 999, 1016, 2999, 5000):
            answer = self.admin.ask("DELETE", f"/api/connections/1?code={code}")
            self.assertIn("accepted is a close code that a server may send: 1000 to 1000"[:50], answer.error)

    def test_long_reason(self) -> None:
        """A reason has 123 characters at most."""
        self.overseer.open = [facts(1)]
        for length, status in ((123, 202), (124, 400)):
            answer = self.admin.ask("DELETE", f"/api/connections/1?reason={'x' * length}")
            self.assertEqual(answer.status, status)


class ChannelTests(ApiTestCase):
    """Channels."""

    def test_pages(self) -> None:
        """Channels are in the order of their names, the nameless first, on pages that lead to each other."""
        self.overseer.members = {"b": 2, "": 1, "a.1": 3, "a.2": 4}
        first = self.admin.get("/api/channels?limit=1").value
        self.assertEqual(first, {"channels": [{"name": "", "members": 1}], "total": 4, "next": ""})
        second = self.admin.get("/api/channels?limit=2&after=").value
        self.assertEqual(
            ([one["name"] for one in second["channels"]], second["next"]), (["a.1", "a.2"], "a.2")
        )
        last = self.admin.get("/api/channels?after=a.2").value
        self.assertEqual((last["channels"], last["next"]), ([{"name": "b", "members": 2}], None))

    def test_prefix(self) -> None:
        """A prefix narrows the list."""
        self.overseer.members = {"a.1": 1, "b": 1, "a.2": 1}
        value = self.admin.get("/api/channels?prefix=a.").value
        self.assertEqual(([one["name"] for one in value["channels"]], value["total"]), (["a.1", "a.2"], 2))

    def publish(self, **value: Any) -> Any:
        """Publish."""
        return self.admin.send("POST", "/api/messages", value)

    def test_publish(self) -> None:
        """Text and bytes are published, on channels that nobody is on as well; the log tells."""
        self.overseer.members = {"kitchen": 2}
        with logged_lines() as lines:
            text = self.publish(channel="kitchen", text="tea? \u00e9\x00")
            self.assertEqual((text.status, text.value), (200, {"channel": "kitchen", "members": 2}))
            self.assertEqual(self.publish(channel="", base64="AP8=").value, {"channel": "", "members": 0})
        self.assertEqual(
            self.overseer.done, [("publish", "kitchen", "tea? é\x00"), ("publish", "", b"\x00\xff")]
        )
        self.assertEqual(lines[0], 'admin: published on channel "kitchen", to 2')

    def test_refused(self) -> None:
        """What is no message is refused, with one line."""
        for value in (
            {},
            {"channel": "a"},
            {"text": "a"},
            {"channel": "a", "text": "a", "base64": "AA=="},
            {"channel": "a b", "text": "a"},
            {"channel": "a" * 129, "text": "a"},
            {"channel": "a\n", "text": "a"},
            {"channel": None, "text": "a"},
            {"channel": "a", "text": 1},
            {"channel": "a", "text": "\ud800"},
            {"channel": "a", "base64": "AA"},
            {"channel": "a", "base64": "A A="},
            {"channel": "a", "base64": "\u00e9"},
            {"channel": "a", "text": "x" * (LONGEST_TEXT + 1)},
            {"channel": "a", "base64": base64.b64encode(bytes(LONGEST_TEXT + 3)).decode()},
        ):
            self.assertEqual((value, self.publish(**value).status), (value, 400))
        self.assertEqual(self.admin.send("POST", "/api/messages", [1]).status, 400)
        self.assertEqual(self.overseer.done, [])

    def test_engine_away(self) -> None:
        """While the engine is away nothing is published, and that is said."""
        self.overseer.is_engine_away = True
        answer = self.publish(channel="a", text="x")
        self.assertEqual(
            (answer.status, answer.value["error"]), (503, "the engine is away: nothing was published")
        )

    def test_longest(self) -> None:
        """The longest text fits into a body, however it is escaped."""
        self.assertEqual(self.publish(channel="a", text="\U0001f600" * LONGEST_TEXT).status, 200)
