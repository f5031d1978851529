"""The subprotocol wsecho.v1.json: what a client's envelopes may be."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.envelopes import (
    ENVELOPES,
    ERRORS,
    BadRequest,
    Direction,
    ErrorCode,
    NoEnvelope,
    Ping,
    PresenceQuery,
    Publish,
    content,
    is_message_id,
    place,
    read_from_server,
    read_request,
    read_resume,
    write,
)

ID = "0123456789abcdef"


def written(**members: Any) -> bytes:
    """An envelope as any client writes it."""
    return json.dumps(members).encode()


class TableTests(SynchronousTestCase):
    """`ENVELOPES` and `ERRORS`."""

    def test_once(self) -> None:
        """Each type stands once for each direction, and each of its members once."""
        names = [(row.direction, row.name) for row in ENVELOPES]
        self.assertEqual(len(set(names)), len(names))
        for row in ENVELOPES:
            self.assertEqual(len({field.name for field in row.fields}), len(row.fields), row.name)

    def test_every_request(self) -> None:
        """What a client may send is read, whatever its members: never as an unknown type."""
        for row in ENVELOPES:
            if row.direction is Direction.CLIENT:
                try:
                    read_request(written(type=row.name))
                except BadRequest as error:
                    self.assertEqual(error.code, ErrorCode.BAD_FIELD, row.name)

    def test_every_code(self) -> None:
        """Each error code has its meaning."""
        self.assertEqual(set(ERRORS), set(ErrorCode))


class FromServerTests(SynchronousTestCase):
    """`read_from_server`, and `place`."""

    #: Of each type one that is right.
    RIGHT: tuple[dict[str, Any], ...] = (
        {
            "type": "welcome",
            "id": "n-1",
            "epoch": "e",
            "offset": 0,
            "recovered": None,
            "replayed": 0,
            "presence": None,
        },
        {"type": "message", "epoch": "e", "offset": 10**15 - 1, "sender": "", "text": "gr\u00fcn \U0001f600"},
        {"type": "message", "epoch": None, "offset": None, "sender": "n-1", "binary": "/wA="},
        {"type": "join", "member": "n-1", "count": 2},
        {"type": "leave", "member": "n-1", "count": 1},
        {"type": "presence", "count": 0},
        {"type": "gap", "epoch": "e", "offset": None},
        {"type": "dropped", "count": 1},
        {"type": "ack", "id": ID, "epoch": "e", "offset": 1},
        {"type": "error", "id": None, "code": "new-code", "line": "x"},
        {"type": "engine", "state": "up"},
        {"type": "pong"},
    )

    def refused(self, members: dict[str, Any]) -> str:
        """The line about an envelope that is not as it should be."""
        return str(self.assertRaises(NoEnvelope, read_from_server, written(**members)))

    def test_right(self) -> None:
        """Each type of the table is read as it is, with members that are not known."""
        names = {row.name for row in ENVELOPES if row.direction is Direction.SERVER}
        self.assertEqual({one["type"] for one in self.RIGHT}, names)
        for one in self.RIGHT:
            self.assertEqual(read_from_server(written(**one, more=[1.5])), {**one, "more": [1.5]})

    def test_missing(self) -> None:
        """A member that is missing is named, unless the table says that it may be."""
        for one in self.RIGHT:
            for name in set(one) - {"type", "text", "binary"}:
                line = self.refused({key: value for key, value in one.items() if key != name})
                self.assertEqual(line, f"{name} of {one['type']}: missing")

    def test_kinds(self) -> None:
        """A member of another kind is named: numbers are whole, not negative, of 15 digits at most, and texts
        have no half of a surrogate pair."""
        kinds = {field.name: field.kind for row in ENVELOPES for field in row.fields}
        never: tuple[Any, ...] = (1.0, -1, 10**15, "\ud800", [], {"a": "b"})
        for one in self.RIGHT:
            for name in set(one) - {"type"}:
                kind = "text or null" if one["type"] == "error" and name == "id" else kinds[name]
                bad = list(never)
                bad += [] if "text" in kind else ["1"]
                bad += [] if "number" in kind else [1]
                bad += [] if "null" in kind or name in ("id", "offset") else [None]
                bad += [] if "true" in kind else [True]
                for value in bad:
                    line = self.refused({**one, name: value})
                    self.assertTrue(line.startswith(f"{name} of {one['type']}: not "), (one, name, value))
                    self.assertTrue(line.isascii() and line.isprintable(), line)
        self.assertRaises(NoEnvelope, read_from_server, b'{"type":"presence","count":1e999}')

    def test_message(self) -> None:
        """A message is text or base64, and not both."""
        place_ = {"type": "message", "epoch": None, "offset": None, "sender": ""}
        self.assertIn("one of them", self.refused(place_))
        self.assertIn("one of them", self.refused({**place_, "text": "", "binary": ""}))
        self.assertIn("base64", self.refused({**place_, "binary": "_w"}))

    def test_position(self) -> None:
        """A position is what may be asked for again: an epoch and an offset, or neither; a gap may have an
        epoch alone."""
        for epoch in ("", "e e", "e" * 65, "\u00e9"):
            self.assertIn("epoch", self.refused({"type": "gap", "epoch": epoch, "offset": 1}), epoch)
        self.assertIn("no epoch", self.refused({"type": "gap", "epoch": None, "offset": 1}))
        ack = {"type": "ack", "id": ID, "epoch": "e", "offset": None}
        self.assertIn("no offset", self.refused(ack))
        self.assertEqual(place({"epoch": "e", "offset": 1}), ("e", 1))
        self.assertIsNone(place({"epoch": "e", "offset": None}))
        self.assertIsNone(place({"epoch": None, "offset": None}))

    def test_of_a_later_server(self) -> None:
        """A type that is not known is nobody's to judge."""
        self.assertEqual(read_from_server(b'{"type":"novelty","id":1}'), {"type": "novelty", "id": 1})

    def test_no_envelope(self) -> None:
        """What is no JSON object with a type is no envelope, from this side either."""
        for payload in (
            b"",
            b"[]",
            b"{}",
            b"\xff",
            b'{"type":"pong","type":"pong"}',
            b'{"type":"x","a":NaN}',
        ):
            self.assertRaises(NoEnvelope, read_from_server, payload)
        self.assertRaises(NoEnvelope, read_from_server, '{"type":"pong"}'.encode("utf-16-le"))


class RequestTests(SynchronousTestCase):
    """`read_request`."""

    def refused(self, **members: Any) -> BadRequest:
        """The error of an envelope."""
        error = self.assertRaises(BadRequest, read_request, written(**members))
        assert isinstance(error, BadRequest)
        return error

    def test_text(self) -> None:
        """A text is published as its UTF-8."""
        wanted = Publish(ID, "grün\0".encode(), False)
        self.assertEqual(read_request(written(type="publish", id=ID, text="grün\0")), wanted)

    def test_binary(self) -> None:
        """Base64 is published as the bytes that it means."""
        wanted = Publish(ID, b"\xff\0", True)
        self.assertEqual(read_request(written(type="publish", id=ID, binary="/wA=")), wanted)

    def test_others(self) -> None:
        """The other requests have nothing but a type; what else is in them is passed over."""
        self.assertEqual(read_request(written(type="ping", more=[1])), Ping())
        self.assertEqual(read_request(written(type="presence")), PresenceQuery())

    def test_no_envelope(self) -> None:
        """What is no JSON object with a type is no envelope: not even an error can be answered to it by
        type."""
        for payload in (
            b"",
            b"hello",
            b"[]",
            b'"publish"',
            b"{}",
            b'{"type":1}',
            b'{"type":"ping"',
            b'{"type":"ping"}{}',
            b'{"type":"ping","type":"publish"}',
            b'{"type":"ping","x":NaN}',
            b'{"type":"ping","x":-Infinity}',
            b'{"type":"ping","x":' + b"9" * 5000 + b"}",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'\xef\xbb\xbf{"type":"ping"}',
        ):
            self.assertRaises(NoEnvelope, read_request, payload)

    def test_unknown_type(self) -> None:
        """An unknown type is an error, with the id if it has one."""
        self.assertEqual(self.refused(type="message").code, ErrorCode.UNKNOWN_TYPE)
        self.assertEqual(self.refused(type="x", id=ID).message_id, ID)
        self.assertIsNone(self.refused(type="x", id="\x1b").message_id)

    def test_bad_ids(self) -> None:
        """An id is 16 to 64 letters, digits, _ and -: a count, which others have too, is none."""
        for bad in (None, 1, "", "1", "a" * 15, "a" * 65, "a" * 16 + "\n", "ä" * 16, "a b" * 8, ["a" * 16]):
            error = self.refused(type="publish", id=bad, text="x")
            self.assertEqual((error.code, error.message_id), (ErrorCode.BAD_FIELD, None), bad)
            self.assertFalse(is_message_id(bad))
        for good in ("a" * 16, "a" * 64, "A-Z_0123456789-z"):
            self.assertTrue(is_message_id(good))

    def test_bad_content(self) -> None:
        """A message has text or binary, one of them, and what it says; the error names the message."""
        for members in (
            {},
            {"text": "x", "binary": ""},
            {"text": None},
            {"text": 1},
            {"text": "\ud800"},
            {"binary": 1},
            {"binary": "/wA"},
            {"binary": "/wA=\n"},
            {"binary": "mewA="},
            {"binary": "mewA===="},
            {"binary": "/w==="},
            {"binary": "="},
            {"binary": "_-A="},
            {"binary": "ä"},
        ):
            error = self.refused(type="publish", id=ID, **members)
            self.assertEqual((error.code, error.message_id), (ErrorCode.BAD_FIELD, ID), members)

    @given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
    def test_anything(self, payload: bytes) -> None:
        """Whatever comes is read, or refused in a line that quotes nothing."""
        try:
            read_request(payload)
        except (NoEnvelope, BadRequest) as error:
            self.assertTrue(str(error).isprintable())

    @given(st.binary(max_size=64), st.booleans())
    def test_there_and_back(self, payload: bytes, is_binary: bool) -> None:
        """What one side writes, the other reads as it was."""
        if is_binary:
            envelope = write("publish", id=ID, binary=base64.b64encode(payload).decode())
        else:
            payload = payload.decode("utf-8", "replace").encode()
            envelope = write("publish", id=ID, text=payload.decode())
        self.assertEqual(read_request(envelope), Publish(ID, payload, is_binary))
        self.assertEqual(content(json.loads(envelope)), (payload, is_binary))


class ResumeTests(SynchronousTestCase):
    """`read_resume`."""

    def test_position(self) -> None:
        """A position is an epoch and an offset; what else is in a URL is passed over."""
        self.assertEqual(read_resume("epoch=a-Z_9&since=0"), ("a-Z_9", 0))
        self.assertEqual(read_resume("x=1&since=17&epoch=%61&x"), ("a", 17))

    def test_none(self) -> None:
        """Without either there is none."""
        for query in ("", "x=1", "Epoch=a&Since=1"):
            self.assertIsNone(read_resume(query))

    def test_refused(self) -> None:
        """Half a position, two, or one that is none is refused in a line that quotes nothing."""
        for query in (
            "epoch=a",
            "since=1",
            "since",
            "epoch=a&epoch=a",
            "epoch=a&since=1&since=1",
            "epoch=&since=1",
            "epoch=a&since=",
            "epoch=a%0a&since=1",
            f"epoch={'a' * 65}&since=1",
            "epoch=a&since=-1",
            "epoch=a&since=1.0",
            "epoch=a&since=%D9%A1",
            f"epoch=a&since={10**15}",
        ):
            error = self.assertRaises(ValueError, read_resume, query)
            self.assertTrue(str(error).isprintable(), query)
            self.assertRegex(str(error), "^(epoch|since)", query)
