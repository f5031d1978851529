"""The fuzz target of the subprotocol, with a server and a client that break its rules."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

import fuzz.envelopes
from fuzz.envelopes import envelopes
from tests.services.enveloping import message_id
from wsecho.envelope import EnvelopeClient
from wsecho.hub.engine import Position
from wsecho.policy.envelopes import ENVELOPES, BadRequest, ErrorCode, Ping, PresenceQuery, Publish
from wsecho.services.envelope import EnvelopeMember

#: To a server, and to a client that has been welcomed, on a channel with history.
TO_SERVER, TO_CLIENT = b"2", b"7"
PUBLISH = b'{"type":"publish","id":"%s","text":"x"}' % message_id(1).encode()
MESSAGE = b'{"type":"message","epoch":"e","offset":1,"sender":"n-2","text":"x"}'


class Case(SynchronousTestCase):
    """A test of what the target notices."""

    def caught(self, data: bytes, owner: Any, name: str, new: Any) -> str:
        """What the target says when this is so; without it, it says nothing."""
        envelopes(data)
        with patch.object(owner, name, new):
            return str(self.assertRaises(AssertionError, envelopes, data))


class TableTests(SynchronousTestCase):
    """The target's own reading of the table."""

    def test_kinds(self) -> None:
        """It knows each kind of member that a server's envelopes have."""
        kinds = {field.kind for row in ENVELOPES for field in row.fields}
        self.assertEqual(kinds, set(fuzz.envelopes._KINDS))


class ServerTests(Case):
    """It notices a server that does not as it should."""

    def test_exception(self) -> None:
        """A failure that is logged, since it ends a connection with 1011."""
        found = self.caught(TO_SERVER + b"{}", EnvelopeMember, "message_arrived", _raise)
        self.assertIn("ZeroDivisionError", found)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_parser_that_raises(self) -> None:
        """A parser that raises what it does not document."""
        with patch.object(fuzz.envelopes, "read_request", _raise):
            self.assertRaises(ZeroDivisionError, envelopes, TO_SERVER + PUBLISH)

    def test_lenient_parser(self) -> None:
        """A parser that takes what is no envelope."""
        self.caught(TO_SERVER + b'{"type":1}', fuzz.envelopes, "read_request", lambda payload: Ping())

    def test_other_content(self) -> None:
        """A message that is not what was sent."""

        def other(payload: bytes) -> Publish:
            return Publish(message_id(1), b"y", False)

        self.caught(TO_SERVER + PUBLISH, fuzz.envelopes, "read_request", other)

    def test_line_with_bytes_of_the_client(self) -> None:
        """An error whose line a terminal would obey."""

        def quoting(payload: bytes) -> None:
            raise BadRequest(ErrorCode.BAD_FIELD, "\x1b")

        self.caught(TO_SERVER + b'{"type":"x"}', fuzz.envelopes, "read_request", quoting)

    def test_no_answer(self) -> None:
        """A request that is not answered, or by what answers another."""
        for request in (PUBLISH, b'{"type":"ping"}', b'{"type":"presence"}'):
            self.caught(TO_SERVER + request, EnvelopeMember, "message_arrived", lambda *_: None)
        self.caught(
            TO_SERVER + b'{"type":"ping"}', fuzz.envelopes, "read_request", lambda payload: PresenceQuery()
        )

    def test_second_answer(self) -> None:
        """An answer that comes twice."""
        arrived = EnvelopeMember.message_arrived

        def twice(self: EnvelopeMember, *arguments: Any) -> None:
            arrived(self, *arguments)
            self._tell("pong")

        for request in (b'{"type":"ping"}', b'{"type":"x"}', PUBLISH):
            self.caught(TO_SERVER + request, EnvelopeMember, "message_arrived", twice)

    def test_shape(self) -> None:
        """An envelope that the table does not have so."""
        tell = EnvelopeMember._tell

        def without_line(self: EnvelopeMember, kind: str, **members: Any) -> None:
            members.pop("line", None)
            tell(self, kind, **members)

        self.caught(TO_SERVER + b'{"type":"x"}', EnvelopeMember, "_tell", without_line)

    def test_position(self) -> None:
        """A query that is understood as a position and is none."""
        query = TO_SERVER + b"?epoch=e&since=1\n{}"
        self.caught(query, fuzz.envelopes, "read_resume", lambda query: ("\ud800", 1))
        self.caught(query, fuzz.envelopes, "read_resume", lambda query: None)


class ClientTests(Case):
    """It notices a client that does not as it should."""

    def test_exception(self) -> None:
        """An exception of the client."""
        with patch.object(EnvelopeClient, "_take_message", _raise):
            self.assertRaises(ZeroDivisionError, envelopes, TO_CLIENT + MESSAGE)

    def test_takes_anything(self) -> None:
        """A client that takes what is no envelope, or leaves a server that sent one."""
        arrived = EnvelopeClient.message_arrived

        def lenient(self: EnvelopeClient, connection: Any, payload: bytes, is_binary: bool) -> None:
            if b"welcome" in payload:
                arrived(self, connection, payload, is_binary)

        def strict(self: EnvelopeClient, connection: Any, payload: bytes, is_binary: bool) -> None:
            connection.sendClose(1007)

        self.caught(TO_CLIENT + b"[]", EnvelopeClient, "message_arrived", lenient)
        self.caught(TO_CLIENT + MESSAGE, EnvelopeClient, "message_arrived", strict)

    def test_other_content(self) -> None:
        """A message that is handed out as another."""
        with_y = {"text": "y"}
        take = EnvelopeClient._take_message
        self.caught(
            TO_CLIENT + MESSAGE,
            EnvelopeClient,
            "_take_message",
            lambda self, found: take(self, {**found, **with_y}),
        )

    def test_kinds(self) -> None:
        """Something handed out that is not of its kind."""
        for data, name, value in (
            (b'{"type":"presence","count":1}', "_take_presence", -1),
            (b'{"type":"dropped","count":1}', "_take_dropped", 1.5),
        ):
            taken = getattr(EnvelopeClient, name)
            self.caught(
                TO_CLIENT + data,
                EnvelopeClient,
                name,
                lambda self, found, taken=taken, value=value: taken(self, {"count": value}),
            )

    def test_stays_away(self) -> None:
        """A client that does not come back, or with a position that no server takes."""
        self.caught(TO_CLIENT + MESSAGE, EnvelopeClient, "_lost", lambda self, why: None)
        take = EnvelopeClient._take_message

        def ahead(self: EnvelopeClient, found: dict[str, Any]) -> None:
            take(self, found)
            self.position = Position("e e", 1)

        with patch.object(EnvelopeClient, "_take_message", ahead):
            self.assertRaises(ValueError, envelopes, TO_CLIENT + MESSAGE)


def _raise(*arguments: object, **members: object) -> None:
    raise ZeroDivisionError
