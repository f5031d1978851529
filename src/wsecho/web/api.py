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

from twisted.logger import Logger

from wsecho.policy.facts import ConnectionFacts, ServerState
from wsecho.policy.proxies import UNIX, PeerAddress
from wsecho.policy.text import escape_peer_text
from wsecho.web.interfaces import IOverseer
from wsecho.web.metrics import Exposition
from wsecho.web.openapi import description
from wsecho.web.operations import LONGEST_TEXT, Operation, is_channel

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

    def do(self, operation: Operation, arguments: Mapping[str, Any], body: Any, accept: str) -> Answer:
        """Carry out an operation.

        :param arguments: its parameters, read; with their defaults, or None, where they were not given
        :param body: the JSON value of its body, if it has one
        :param accept: the Accept header
        :raises Refused: the answer is an error
        """
        handler: Callable[..., Answer] = getattr(self, operation.name)
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
        facts, now = self._overseer.server(), self._now()
        return Answer(
            200,
            {
                "state": facts.state,
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

    # -- connections -----------------------------------------------------------------------------------------

    def connections(
        self, address: str | None, path: str | None, channel: str | None, after: int, limit: int
    ) -> Answer:
        """A page of open connections."""
        host = None if address in (None, UNIX) else PeerAddress.of(address).host
        passing = [
            one
            for one in self._overseer.connections()
            if (address is None or one.address == host)
            and (path is None or one.path == escape_peer_text(path))
            and (channel is None or one.channel == channel)
        ]
        page, following = _page((one for one in passing if one.id > after), limit, lambda one: one.id)
        return Answer(
            200,
            {
                "connections": [self._connection(one) for one in page],
                "total": len(passing),
                "next": page[-1].id if following else None,
            },
        )

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
        _log.info('admin: published on channel "{channel}", to {members}', channel=channel, members=members)
        return Answer(200, {"channel": channel, "members": members})


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
