"""The table of close codes."""

from autobahn.websocket.protocol import WebSocketProtocol
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.close_codes import (
    CLOSE_CODES,
    LONGEST_REASON,
    Sender,
    cut_reason,
    may_be_received,
    may_be_sent,
)


class TableTests(SynchronousTestCase):
    """The rows."""

    def test_complete(self) -> None:
        """Each code from 1000 to 1015, 3000 to 3999 and 4000 to 4999 stands in one row, in ascending
        order."""
        codes = [code for row in CLOSE_CODES for code in range(row.first, row.last + 1)]
        self.assertEqual(codes, [*range(1000, 1016), *range(3000, 5000)])

    def test_texts(self) -> None:
        """Each row has a name and a meaning, one line each, without a full stop."""
        for row in CLOSE_CODES:
            for text in (row.name, row.meaning, row.sent or "never"):
                self.assertTrue(text and text.isprintable() and text == text.strip(), row)
            self.assertFalse((row.meaning + row.sent).endswith("."), row)

    def test_what_is_sent_may_be_sent(self) -> None:
        """Only a code that a server may send has an occasion on which wsecho sends it."""
        for row in CLOSE_CODES:
            self.assertTrue(row.sender is Sender.EITHER or not row.sent, row)


class WireTests(SynchronousTestCase):
    """What may be on the wire."""

    def test_agrees_with_autobahn(self) -> None:
        """The codes that may be received below 3000 are those that Autobahn accepts; above, all to 4999."""
        self.assertEqual(
            [code for code in range(65536) if may_be_received(code)],
            [*sorted(WebSocketProtocol.CLOSE_STATUS_CODES_ALLOWED), *range(3000, 5000)],
        )

    def test_agrees_with_the_autobahn_suite(self) -> None:
        """The codes that the suite calls valid may be received, those that it calls invalid may not."""
        valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
        invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999]
        self.assertEqual([code for code in valid + invalid if may_be_received(code)], valid)

    def test_what_a_server_may_send(self) -> None:
        """A server closes with any code of the wire but 1010, which is the client's."""
        unsendable = {code for code in range(-1, 65537) if may_be_received(code) and not may_be_sent(code)}
        self.assertEqual(unsendable, {1010})
        for code in (-1, 0, 999, 1004, 1005, 1006, 1014, 1015, 1016, 2999, 5000, 65536):
            self.assertFalse(may_be_sent(code), code)


class ReasonTests(SynchronousTestCase):
    """The reason beside the code."""

    def test_short_reasons_stay(self) -> None:
        """A reason of up to 123 bytes is sent whole."""
        for text in ("", "bye", "ä" * 61 + "a", "a" * 123):
            self.assertEqual(cut_reason(text), text.encode())

    def test_cut_before_the_character_that_does_not_fit(self) -> None:
        """A longer reason loses whole characters, as few as possible."""
        self.assertEqual(cut_reason("a" * 124), b"a" * 123)
        self.assertEqual(cut_reason("ä" * 62), "ä".encode() * 61)
        self.assertEqual(cut_reason("a" * 121 + "€"), b"a" * 121)
        self.assertEqual(cut_reason("a" * 120 + "€"), b"a" * 120 + "€".encode())
        self.assertEqual(cut_reason("a" * 120 + "👍"), b"a" * 120)

    def test_surrogates_are_replaced(self) -> None:
        """A lone surrogate becomes a question mark instead of an error."""
        self.assertEqual(cut_reason("a\ud800b"), b"a?b")

    @given(st.text(st.characters(), max_size=200))
    @example("👍" * 40)
    def test_always_valid_and_as_long_as_possible(self, text: str) -> None:
        """Whatever the reason, the result is UTF-8 of at most 123 bytes and cut only where the next does not
        fit."""
        whole = text.encode("utf-8", "replace").decode()
        data = cut_reason(text)
        self.assertLessEqual(len(data), LONGEST_REASON)
        kept = data.decode()
        self.assertTrue(whole.startswith(kept))
        if kept != whole:
            self.assertGreater(len((kept + whole[len(kept)]).encode()), LONGEST_REASON)
