"""JSON values as lines."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsecho.app.workers.lines import LineDecoder, encode_line

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)


class LineTests(SynchronousTestCase):
    """There and back."""

    @given(st.lists(VALUES, max_size=5), st.data())
    def test_cut_anywhere(self, values: list[Any], data: st.DataObject) -> None:
        """Values arrive whole and in order, however their bytes are cut."""
        stream = b"".join(encode_line(value) for value in values)
        taken: list[Any] = []
        decoder = LineDecoder(taken.append)
        while stream:
            cut = data.draw(st.integers(1, len(stream)))
            decoder.feed(stream[:cut])
            stream = stream[cut:]
        self.assertEqual(taken, values)

    def test_one_line(self) -> None:
        """A text with line ends and separators of lines is one line of ASCII."""
        line = encode_line("a\nb\u2028c\x85")
        self.assertEqual((line.count(b"\n"), line.isascii()), (1, True))

    def test_no_json(self) -> None:
        """A line that is no JSON raises, for only a bug writes one."""
        self.assertRaises(ValueError, LineDecoder(lambda _: None).feed, b"{\n")
