"""What the operations of the admin endpoint do.

Rules of this file: each operation of `wsecho.web.operations` is a method of `Api` of the same name. It gets
parameters that were read and judged by the table, and judges a body itself; what is wrong is a `Refused` with
one line. It knows the server by its overseer only, and HTTP by statuses only.
"""

from __future__ import annotations

import base64
import binascii
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from wsecho.policy.facts import ConnectionFacts, ServerState, Totals, Traffic
from wsecho.policy.proxies import UNIX, PeerAddress
from wsecho.policy.text import escape_peer_text
from wsecho.web.interfaces import IOverseer
from wsecho.web.metrics import Exposition
from wsecho.web.openapi import description
from wsecho.web.operations import LINES, LONGEST_TEXT, Operation, is_channel
from wsecho.web.stream import MOST_WATCHERS, SampleStream, Watchers

__all__ = ["Answer", "Api", "Refused"]

_log = Logger("wsecho")
T = TypeVar("T")

_NO_CONNECTION: Final = "no open connection has this number"


class Refused(Exception):
    """A request is answered with an error; one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: a JSON value, or, with a content type, bytes."""

    status: int
    content: Any
    content_type: str = ""


class Api:
    """The handlers.

    :param overseer: of the server
    :param now: the time, aware
    :param has_token: whether clients need a token
    """

    def __init__(self, overseer: IOverseer, now: Callable[[], datetime], *, has_token: bool) -> None:
        self._overseer = overseer
        self._has_token = has_token
        self._now = now
        self._exposition = Exposition(overseer)
        self.watchers = Watchers(overseer, now)

    def do(
        self, operation: Operation, arguments: Mapping[str, Any], body: Any, accept: str
    ) -> Answer | Deferred[Answer]:
        """Carry out an operation.

        :param arguments: its parameters, read; with their defaults, or None, where they were not given
        :param body: the JSON value of its body, if it has one
        :param accept: the Accept header
        :raises Refused: the answer is an error
        """
        handler: Callable[..., Answer | Deferred[Answer]] = getattr(self, operation.name)
        given = dict(arguments)
        if operation.body:
            given["body"] = body
        if operation.name == "metrics":
            given["accept"] = accept
        return handler(**given)

    # -- health and metrics ----------------------------------------------------------------------------------

    def live(self) -> Answer:
        """Whoever answers lives."""
        return Answer(200, {"status": "live"})

    def ready(self) -> Answer:
        """200 in one state, 503 in the others."""
        state = self._overseer.state()
        return Answer(200 if state is ServerState.READY else 503, {"status": state})

    def metrics(self, accept: str) -> Answer:
        """A scrape."""
        content_type, text = self._exposition.render(accept)
        return Answer(200, text, content_type)

    # -- the server ------------------------------------------------------------------------------------------

    def openapi(self) -> Answer:
        """The description."""
        version = self._overseer.server().versions["wsecho"]
        return Answer(200, description(version, has_token=self._has_token))

    def server(self) -> Answer:
        """The server as a whole."""
        return Answer(200, self._server())

    def _server(self) -> dict[str, Any]:
        facts, now = self._overseer.server(), self._now()
        return {
            "state": facts.state,
            "listening": facts.is_listening,
            "accepting": facts.is_accepting,
            "uptime_seconds": round(facts.uptime_seconds, 3),
            "urls": list(facts.urls),
            "versions": dict(facts.versions),
            "connections": facts.connections,
            "channels": facts.channels,
            "engine": {"name": facts.engine, "is_up": facts.is_engine_up},
            "certificates": [
                {"names": names, "ends": _time(end), "days_left": (end - now).days}
                for names, end in facts.certificates
            ],
            "workers": [
                {
                    "number": one.number,
                    "pid": one.pid,
                    "state": one.state,
                    "restarts": one.restarts,
                    "connections": one.connections,
                }
                for one in facts.workers
            ],
        }

    def overview(self, search: str | None, after: int, limit: int) -> Answer:
        """The server, its totals, and a page of connections."""
        lag = self._overseer.lag()
        return Answer(
            200,
            {
                "server": self._server(),
                "totals": _totals(self._overseer.totals()),
                "lag": {"count": lag.count, "sum_seconds": lag.sum, "largest_seconds": lag.largest},
                "connections": self._connections(_search(search), after, limit),
            },
        )

    def configuration(self) -> Answer:
        """The effective configuration."""
        return Answer(200, self._overseer.configuration())

    def accepting(self, body: Any) -> Answer:
        """Pause or resume."""
        accepting = _members(body, "accepting")["accepting"]
        if not isinstance(accepting, bool):
            raise Refused(400, "accepting: accepted is true or false")
        if not self._overseer.set_accepting(accepting):
            raise Refused(409, f"the server is {self._overseer.state()}")
        _log.info("admin: accepting is {what}", what="resumed" if accepting else "paused")
        return Answer(200, {"accepting": accepting})

    def listening(self, body: Any) -> Deferred[Answer]:
        """Close the ports, or open them again."""
        listening = _members(body, "listening")["listening"]
        if not isinstance(listening, bool):
            raise Refused(400, "listening: accepted is true or false")

        def done(problem: str) -> Answer:
            if problem:
                raise Refused(409, problem)
            _log.info("admin: ports are {what}", what="open" if listening else "closed")
            return Answer(200, {"listening": listening})

        return self._overseer.set_listening(listening).addCallback(done)

    # -- connections -----------------------------------------------------------------------------------------

    def connections(
        self,
        address: str | None,
        path: str | None,
        channel: str | None,
        search: str | None,
        after: int,
        limit: int,
    ) -> Answer:
        """A page of open connections."""
        if address is None and path is None and channel is None and not search:
            return Answer(200, self._connections(None, after, limit))
        host = None if address in (None, UNIX) else PeerAddress.of(address).host
        has_text = _search(search)

        def passes(one: ConnectionFacts) -> bool:
            return (
                (address is None or one.address == host)
                and (path is None or one.path == escape_peer_text(path))
                and (channel is None or one.channel == channel)
                and (has_text is None or has_text(one))
            )

        return Answer(200, self._connections(passes, after, limit))

    def _connections(
        self, passes: Callable[[ConnectionFacts], bool] | None, after: int, limit: int
    ) -> dict[str, Any]:
        if passes is None:
            total, found = self._overseer.server().connections, self._overseer.connections(after, limit + 1)
        else:
            passing = [one for one in self._overseer.connections() if passes(one)]
            total, found = len(passing), (one for one in passing if one.id > after)
        page, following = _page(found, limit, lambda one: one.id)
        return {
            "connections": [self._connection(one) for one in page],
            "total": total,
            "next": page[-1].id if following else None,
        }

    def connection(self, id: int) -> Answer:  # noqa: A002 - the parameter's name in the table
        """One open connection."""
        facts = self._overseer.connection(id)
        if facts is None:
            raise Refused(404, _NO_CONNECTION)
        return Answer(200, self._connection(facts))

    def _connection(self, facts: ConnectionFacts) -> dict[str, Any]:
        traffic = facts.traffic
        return {
            "id": facts.id,
            "peer": facts.peer,
            "address": facts.address,
            "path": facts.path,
            "origin": facts.origin,
            "service": facts.service,
            "channel": facts.channel,
            "subprotocol": facts.subprotocol,
            "is_secure": facts.is_secure,
            "since": _time(self._now() - timedelta(seconds=facts.seconds_open)),
            "received_messages": traffic.received_messages,
            "received_bytes": traffic.received_bytes,
            "sent_messages": traffic.sent_messages,
            "sent_bytes": traffic.sent_bytes,
            "queued_bytes": facts.queued_bytes,
            "dropped_messages": facts.dropped_messages,
        }

    def disconnect(self, id: int, code: int, reason: str) -> Answer:  # noqa: A002
        """Close a connection."""
        if not self._overseer.close(id, code, reason):
            raise Refused(404, _NO_CONNECTION)
        _log.info("admin: closed connection {id} with {code}", id=id, code=code)
        return Answer(202, {"id": id, "code": code})

    # -- channels --------------------------------------------------------------------------------------------

    def channels(self, prefix: str | None, after: str | None, limit: int) -> Answer:
        """A page of channels."""
        members = self._overseer.channels()
        passing = [name for name in members if name.startswith(prefix or "")]
        # The name of the nameless channel is empty, so after="" is not the same as no after.
        page, following = _page(
            (name for name in passing if after is None or name > after), limit, lambda name: name
        )
        return Answer(
            200,
            {
                "channels": [{"name": name, "members": members[name]} for name in page],
                "total": len(passing),
                "next": page[-1] if following else None,
            },
        )

    def publish(self, body: Any) -> Answer:
        """Publish a message."""
        kind = "base64" if isinstance(body, dict) and "base64" in body else "text"
        given = _members(body, "channel", kind)
        channel = given["channel"]
        if not is_channel(channel):
            raise Refused(400, "channel: accepted is a channel name of up to 128 of A-Z a-z 0-9 . _ ~ -")
        members = self._overseer.publish(channel, _payload(kind, given[kind]))
        if members is None:
            raise Refused(503, "the engine is away: nothing was published")
        _log.info('admin: published on channel "{channel}", to {members}', channel=channel, members=members)
        return Answer(200, {"channel": channel, "members": members})

    def samples(self, seconds: int, count: int | None, connection: int | None, channel: str | None) -> Answer:
        """Messages as they pass."""
        if self.watchers.are_full:
            raise Refused(429, f"{MOST_WATCHERS} watch already, as many as may")
        return Answer(200, SampleStream(self.watchers, seconds, count, connection, channel), LINES)


def _search(text: str | None) -> Callable[[ConnectionFacts], bool] | None:
    """Whether a connection has a text somewhere, whatever its case; None for no text."""
    if not text:
        return None
    wanted = escape_peer_text(text).casefold()

    def has(one: ConnectionFacts) -> bool:
        shown = f"{one.id}\n{one.peer}\n{one.path}\n{one.service}\n{one.channel or ''}"
        return wanted in shown.casefold()

    return has


def _totals(totals: Totals) -> dict[str, Any]:
    nothing = Traffic()
    services = sorted({*totals.traffic, *totals.open})
    return {
        "services": [
            {
                "name": name,
                "open": totals.open.get(name, 0),
                "received_messages": (traffic := totals.traffic.get(name, nothing)).received_messages,
                "received_bytes": traffic.received_bytes,
                "sent_messages": traffic.sent_messages,
                "sent_bytes": traffic.sent_bytes,
            }
            for name in services
        ],
        "handshakes": [
            {"outcome": outcome, "status": int(status) if status else None, "count": count}
            for (outcome, status), count in totals.handshakes.items()
        ],
        "ends": [{"reason": reason, "count": count} for reason, count in totals.ends.items()],
        "dropped_messages": sum(totals.dropped.values()),
        "queued_bytes": totals.queued_bytes,
        "largest_queue_bytes": totals.largest_queue_bytes,
    }


def _payload(kind: str, value: Any) -> str | bytes:
    if not isinstance(value, str):
        raise Refused(400, f"{kind}: accepted is a text")
    if kind == "text":
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise Refused(400, "text: half of a surrogate pair is no character") from None
        if len(value) > LONGEST_TEXT:
            raise Refused(400, f"text: accepted are up to {LONGEST_TEXT} characters")
        return value
    try:
        payload = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(400, "base64: accepted is Base64 with its padding (RFC 4648 section 4)") from None
    if len(payload) > LONGEST_TEXT + 2:
        raise Refused(400, f"base64: accepted are up to {LONGEST_TEXT} bytes")
    return payload


def _members(body: Any, *names: str) -> Mapping[str, Any]:
    """The members of a JSON object that has these and no others."""
    if not isinstance(body, dict) or set(body) != set(names):
        raise Refused(400, f"accepted is a JSON object with {' and '.join(names)}, and nothing else")
    return body


def _page(items: Iterable[T], limit: int, key: Callable[[T], Any]) -> tuple[Sequence[T], bool]:
    """The first of the items in the order of their keys, and whether there are more."""
    first = heapq.nsmallest(limit + 1, items, key=key)
    return first[:limit], len(first) > limit


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
