"""Tests for wsecho.engines.redis_frames."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsecho.engines.redis_frames import (
    LONGEST_NAME,
    Batch,
    Foreign,
    Presence,
    pack_body,
    read_body,
    read_message,
)
from wsecho.hub.engine import Publication


def message(*publications: Publication, epoch: str = "e", first: int = 1) -> bytes:
    """What the script publishes for these."""
    bodies = [pack_body(one) for one in publications]
    lengths = " ".join(str(len(body)) for body in bodies)
    return f"1 {epoch} {first} {lengths}\n".encode() + b"".join(bodies)


TEXT = Publication(b"text", False, "node-1", "0123456789abcdef")
BINARY = Publication(b"\xff\x00\n", True)


class BodyTests(SynchronousTestCase):
    """One publication."""

    def test_same_again(self) -> None:
        """What was packed is read as it was."""
        for one in (TEXT, BINARY, Publication(b"", False)):
            self.assertEqual(read_body(pack_body(one)), one)

    def test_names_too_long(self) -> None:
        """A sender or an id that does not fit is refused."""
        long = "x" * (LONGEST_NAME + 1)
        self.assertRaises(ValueError, pack_body, Publication(b"", True, long))
        self.assertRaises(ValueError, pack_body, Publication(b"", True, "", long))
        pack_body(Publication(b"", True, long[1:], long[1:]))

    def test_foreign(self) -> None:
        """What no wsecho wrote is foreign: another version, cut short, text or names that are not UTF-8."""
        good = pack_body(TEXT)
        for body in (b"", good[:3], b"\x02" + good[1:], good[:1] + b"\x02" + good[2:], good[:8]):
            self.assertRaises(Foreign, read_body, body)
        self.assertRaises(Foreign, read_body, b"\x01\x00\x00\x00\xff")
        self.assertRaises(Foreign, read_body, b"\x01\x01\x01\x00\xff")

    @given(st.binary(max_size=64))
    def test_anything(self, body: bytes) -> None:
        """Any bytes are a publication or foreign, never an error of another kind."""
        with contextlib.suppress(Foreign):
            read_body(body)


class MessageTests(SynchronousTestCase):
    """What comes over a subscription."""

    def test_batch(self) -> None:
        """A batch has its publications in order, and knows the offset of the last."""
        batch = read_message(message(TEXT, BINARY, first=7), 0)
        self.assertEqual(batch, Batch("e", 7, (TEXT, BINARY)))
        assert isinstance(batch, Batch)
        self.assertEqual(batch.last, 8)

    def test_presence(self) -> None:
        """A change of presence names the node and the number."""
        self.assertEqual(read_message(b"P node.0a 12", 0), Presence("node.0a", 12))

    def test_foreign(self) -> None:
        """Everything else is foreign: other words, other lengths, offset 0, a line without end."""
        good = message(TEXT, BINARY)
        for one in (
            b"",
            b"hello",
            b'{"json": true}',
            good + b"x",
            good[:-1],
            message(TEXT, first=0),
            b"1 e 1\n",
            b"1 e! 1 4\n\x01\x01\x00\x00",
            b"1 " * 10_000,
            b"P node x",
            b"P node 1\n",
        ):
            self.assertRaises(Foreign, read_message, one, 0)

    def test_too_large(self) -> None:
        """A payload above the limit is foreign; one of exactly the limit is not."""
        self.assertRaises(Foreign, read_message, message(TEXT), 3)
        self.assertEqual(read_message(message(TEXT), 4), Batch("e", 1, (TEXT,)))

    @given(st.binary(max_size=64))
    def test_anything(self, body: bytes) -> None:
        """Any bytes are a message or foreign, never an error of another kind."""
        for one in (body, b"1 e 1 4\n" + body, b"1 " + body, b"P " + body):
            with contextlib.suppress(Foreign):
                read_message(one, 0)
