"""An admin endpoint without sockets: an overseer that a test fills, and a client that asks over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from wsecho.policy.facts import ConnectionFacts, LagFacts, MessageSample, ServerState, Totals, Traffic
from wsecho.policy.hosts import LOOPBACK_HOSTS, AllowedHosts
from wsecho.web.admin import AdminResource
from wsecho.web.beneath import BoundedSite
from wsecho.web.interfaces import IOverseer, ServerFacts

NOW = datetime(2026, 11, 27, 1, 0, 0, tzinfo=UTC)
END = datetime(2026, 12, 27, 1, 0, 1, tzinfo=UTC)
TOKEN = "correct-horse-battery-staple"
VERSIONS = {"wsecho": "1.2.3", "python": "3.11.9", "twisted": "26.10.0", "autobahn": "26.10.2"}


def facts(number: int, **others: Any) -> ConnectionFacts:
    """A connection."""
    values: dict[str, Any] = {
        "id": number,
        "peer": f"127.0.0.1:{40000 + number}",
        "address": "127.0.0.1",
        "path": "/",
        "origin": None,
        "service": "echo",
        "channel": None,
        "subprotocol": None,
        "is_secure": False,
        "seconds_open": 60.0,
        "traffic": Traffic(1, 2, 3, 4),
        "queued_bytes": 5,
        "dropped_messages": 6,
    }
    return ConnectionFacts(**values | others)


@implementer(IOverseer)
class FakeOverseer:
    """Tells what a test has put in, and keeps what it was asked to do."""

    def __init__(self) -> None:
        self.now_state = ServerState.READY
        self.may_change = True
        self.open: list[ConnectionFacts] = []
        self.members: dict[str, int] = {}
        self.certificates: list[tuple[str, datetime]] = []
        self.is_engine_away = False
        self.done: list[tuple[Any, ...]] = []
        self.changing: Deferred[str] | None = None
        self.watches: list[tuple[Callable[[MessageSample], object], int | None, str | None]] = []
        self.gathered: list[bool] = []
        self.sums = Totals(
            handshakes={("opened", "101"): 7, ("origin-denied", "403"): 2, ("peer-gone", ""): 1},
            ends={"peer-close": 3},
            traffic={"echo": Traffic(1, 2, 3, 4), "other": Traffic(5, 6, 7, 8)},
            dropped={"drop-oldest": 9},
            open={"echo": 4},
            queued_bytes=10,
            largest_queue_bytes=8,
        )

    def gather(self, *, connections: bool) -> Deferred[None]:
        self.gathered.append(connections)
        return succeed(None)

    def state(self) -> ServerState:
        return self.now_state

    def server(self) -> ServerFacts:
        return ServerFacts(
            state=self.now_state,
            is_listening=self.now_state is not ServerState.CLOSED,
            is_accepting=self.now_state is ServerState.READY,
            uptime_seconds=1.23456,
            urls=["ws://127.0.0.1:9000/"],
            versions=VERSIONS,
            connections=len(self.open),
            channels=len(self.members),
            engine="memory",
            is_engine_up=True,
            engine_events={"reconnect": 2},
            certificates=self.certificates,
        )

    def totals(self) -> Totals:
        return self.sums

    def lag(self) -> LagFacts:
        return LagFacts(10, 0.5, 0.25)

    def connections(self, after: int = 0, limit: int | None = None) -> list[ConnectionFacts]:
        found = [one for one in self.open if one.id > after]
        return found if limit is None else sorted(found, key=lambda one: one.id)[:limit]

    def connection(self, number: int) -> ConnectionFacts | None:
        return next((one for one in self.open if one.id == number), None)

    def channels(self) -> Mapping[str, int]:
        return self.members

    def publish(self, channel: str, message: str | bytes) -> int | None:
        if self.is_engine_away:
            return None
        self.done.append(("publish", channel, message))
        return self.members.get(channel, 0)

    def close(self, number: int, code: int, reason: str) -> bool:
        self.done.append(("close", number, code, reason))
        return self.connection(number) is not None

    def set_accepting(self, accepting: bool) -> bool:
        self.done.append(("accepting", accepting))
        return self.may_change

    def set_listening(self, listening: bool) -> Deferred[str]:
        self.done.append(("listening", listening))
        return succeed("") if self.changing is None else self.changing

    def watch(
        self, tell: Callable[[MessageSample], object], connection: int | None, channel: str | None
    ) -> Callable[[], None]:
        watch = (tell, connection, channel)
        self.watches.append(watch)
        return lambda: self.watches.remove(watch)

    def pass_message(self, text: str, number: int | None = 1) -> None:
        """A message passes, and all who watch are told."""
        peer = None if number is None else "127.0.0.1:40001"
        sample = MessageSample(number, peer, "echo", None, False, len(text), text)
        for tell, _, _ in tuple(self.watches):
            tell(sample)

    def configuration(self) -> Mapping[str, Any]:
        return {"options": [], "channels": {}}


@dataclass(frozen=True, slots=True)
class Response:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        """The body as JSON."""
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The line of an error."""
        assert set(self.value) == {"error"}, self
        line: str = self.value["error"]
        assert "\n" not in line
        return line


class Transport(StringTransport):
    """Ends when it is told to."""

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.aborting = True


def parse(data: bytes) -> Response:
    """One response, of which nothing is missing."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Response(int(first.split(" ")[1]), headers, body)


class Admin:
    """A site, and a client of it."""

    def __init__(self, *, token: str | None = None, pages: Any = None) -> None:
        self.overseer = FakeOverseer()
        self.clock = Clock()
        options = {} if pages is None else {"pages": pages}
        resource = AdminResource(
            self.overseer, lambda: NOW, token=token, hosts=AllowedHosts(LOOPBACK_HOSTS), **options
        )
        self.site = BoundedSite(resource, self.clock)

    def connect(self) -> tuple[Any, Transport]:
        """A connection to the site: its protocol and its transport."""
        channel, transport = self.site.buildProtocol(None), Transport()
        channel.makeConnection(transport)
        return channel, transport

    def raw(self, data: bytes) -> bytes:
        """Send bytes; what comes back until the connection ends."""
        channel, transport = self.connect()
        channel.dataReceived(data)
        assert transport.disconnecting, "one request, one answer, and the end"
        channel.connectionLost(Failure(ConnectionDone()))
        answer: bytes = transport.value()
        return answer

    def ask(
        self,
        method: str,
        path: str,
        *headers: str,
        body: bytes = b"",
        host: str = "127.0.0.1:9001",
    ) -> Response:
        """Send a request."""
        length = [f"Content-Length: {len(body)}"] if body else []
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, *length]
        return parse(self.raw("\r\n".join([*lines, "", ""]).encode("utf-8") + body))

    def get(self, path: str, *headers: str) -> Response:
        """Send a GET."""
        return self.ask("GET", path, *headers)

    def send(self, method: str, path: str, value: Any) -> Response:
        """Send a JSON value."""
        return self.ask(method, path, "Content-Type: application/json", body=json.dumps(value).encode())
