"""How text from a peer looks in a log line."""

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.text import escape_peer_text, without_password

_ESCAPE = re.compile(r'\\(?:([\\"])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))')
_CUT = re.compile(r"\\\.\.\.\((\d+) (characters|bytes) in all\)\Z")
_ALL = 10**6


def unescaped(line: str) -> str:
    """Undo the escapes; raw bytes come back as they came in with surrogateescape."""

    def character(match: re.Match[str]) -> str:
        plain, byte, short, long = match.groups()
        if byte is not None and int(byte, 16) >= 0x80:
            return chr(0xDC00 + int(byte, 16))
        return plain or chr(int(byte or short or long, 16))

    return _ESCAPE.sub(character, line)


class EscapeTests(SynchronousTestCase):
    """What stays, what is escaped, and how."""

    def test_ordinary_text_stays(self) -> None:
        """Letters, digits, punctuation and spaces of any living script are shown as they are."""
        for text in ("GET /echo?a=b HTTP/1.1", "grüße, привет", "日本語", "👍", "שלום", "Việt", "ประเทศ"):
            self.assertEqual(escape_peer_text(text), text)
            self.assertEqual(escape_peer_text(text.encode()), text)

    def test_what_could_deceive_is_escaped(self) -> None:
        """Each character that moves the cursor, turns the direction, breaks the line or cannot be seen is
        escaped."""
        table = {
            "\x00": r"\x00",
            "\x07": r"\x07",
            "\t": r"\x09",
            "\n": r"\x0a",
            "\x0b": r"\x0b",
            "\r": r"\x0d",
            "\x1b[2J": r"\x1b[2J",
            "\x1c": r"\x1c",
            "\x7f": r"\x7f",
            "\x85": r"\u0085",
            "\x9b31m": r"\u009b31m",
            "\xa0": r"\u00a0",
            "\xad": r"\u00ad",
            "a\u034f": r"a\u034f",
            "\u061c": r"\u061c",
            "\u115f": r"\u115f",
            "\u200b": r"\u200b",
            "\u200d": r"\u200d",
            "\u200e": r"\u200e",
            "\u2028": r"\u2028",
            "\u2029": r"\u2029",
            "\u202e": r"\u202e",
            "\u2066": r"\u2066",
            "\u2069": r"\u2069",
            "\u2800": r"\u2800",
            "\u3000": r"\u3000",
            "\u3164": r"\u3164",
            "\ufeff": r"\ufeff",
            "a\ufe0f": r"a\ufe0f",
            "\ufffe": r"\ufffe",
            "\ufdd0": r"\ufdd0",
            "\ue000": r"\ue000",
            "\ud800": r"\ud800",
            "\U0001fffe": r"\U0001fffe",
            "\U000e0041": r"\U000e0041",
            "a\U000e0100": r"a\U000e0100",
            "\U0010ffff": r"\U0010ffff",
            "\\": r"\\",
            '"': r"\"",
        }
        self.assertEqual({text: escape_peer_text(text) for text in table}, table)

    def test_piled_marks_are_escaped(self) -> None:
        """Two combining marks stay on a letter; more of them, or any without a letter, are escaped."""
        self.assertEqual(escape_peer_text("e\u0323\u0302"), "e\u0323\u0302")
        self.assertEqual(escape_peer_text("e\u0323\u0302\u0301\u0300"), "e\u0323\u0302\\u0301\\u0300")
        for lonely in ("\u0301", " \u0301", "\n\u0301", "\u200b\u0301"):
            self.assertNotIn("\u0301", escape_peer_text(lonely))

    def test_undecodable_bytes_are_told_from_characters(self) -> None:
        r"""A byte that is no UTF-8 is \xNN, the character of the same number \u00NN."""
        self.assertEqual(escape_peer_text(b"\x85"), r"\x85")
        self.assertEqual(escape_peer_text(b"\xc2\x85"), r"\u0085")
        self.assertEqual(escape_peer_text("\udc85"), r"\udc85")
        self.assertEqual(
            escape_peer_text(b"caf\xe9 \xed\xa0\x80 \xf4\x90\x80\x80"),
            r"caf\xe9 \xed\xa0\x80 \xf4\x90\x80\x80",
        )

    @given(st.text(st.characters()))
    def test_text_can_be_read_back(self, text: str) -> None:
        """Undoing the escapes gives exactly the text that came in, so two texts never look the same."""
        self.assertEqual(unescaped(escape_peer_text(text, _ALL)), text)

    @given(st.binary())
    def test_bytes_can_be_read_back(self, data: bytes) -> None:
        """Undoing the escapes gives exactly the bytes that came in."""
        self.assertEqual(unescaped(escape_peer_text(data, _ALL)).encode("utf-8", "surrogateescape"), data)

    @given(st.one_of(st.text(st.characters()), st.binary()), st.integers(1, 40))
    def test_result_is_one_printable_line(self, value: str | bytes, limit: int) -> None:
        """Whatever comes in, every character that goes out is printable and a quotation is never left."""
        line = escape_peer_text(value, limit)
        self.assertTrue(line.isprintable())
        self.assertEqual(line.splitlines(), [line] if line else [])
        self.assertNotIn('"', line.replace("\\\\", "").replace('\\"', ""))

    @given(st.characters(categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"]))
    def test_every_control_is_escaped(self, character: str) -> None:
        """No control, format, surrogate, private, unassigned or separator character goes out, wherever it
        stands."""
        line = escape_peer_text("a" + character + "b")
        self.assertEqual({unicodedata.category(one) for one in line} - {"Ll", "Lu", "Nd", "Po"}, set())


class LimitTests(SynchronousTestCase):
    """Long values are cut."""

    def test_what_fits_is_whole(self) -> None:
        """A text of exactly the limit is not cut."""
        self.assertEqual(escape_peer_text("a" * 256), "a" * 256)
        self.assertEqual(escape_peer_text(b"a" * 256), "a" * 256)
        self.assertEqual(escape_peer_text("", 1), "")

    def test_what_does_not_fit_tells_its_length(self) -> None:
        """A longer text ends with a mark that names its whole length, in characters or in bytes."""
        self.assertEqual(escape_peer_text("a" * 257), "a" * 256 + r"\...(257 characters in all)")
        self.assertEqual(escape_peer_text("é".encode() * 9, 8), "é" * 8 + r"\...(18 bytes in all)")
        self.assertEqual(escape_peer_text("ab\ncd", 5), r"ab\...(5 characters in all)")

    def test_mark_cannot_be_imitated(self) -> None:
        """A peer that sends the mark itself gets its backslash doubled."""
        self.assertEqual(escape_peer_text(r"a\...(9 bytes in all)"), r"a\\...(9 bytes in all)")

    @given(st.one_of(st.text(st.characters()), st.binary()), st.integers(1, 40))
    def test_cut_is_never_inside_an_escape(self, value: str | bytes, limit: int) -> None:
        """What stands before the mark is at most the limit long and the exact beginning of the value."""
        line = escape_peer_text(value, limit)
        cut = _CUT.search(line)
        kept = line[: cut.start()] if cut else line
        self.assertLessEqual(len(kept), limit)
        shown: str | bytes = unescaped(kept)
        if isinstance(value, bytes):
            shown = unescaped(kept).encode("utf-8", "surrogateescape")
            self.assertTrue(value.startswith(shown))
        else:
            self.assertTrue(value.startswith(unescaped(kept)))
        self.assertEqual(shown != value, cut is not None)
        if cut:
            self.assertEqual(
                cut.groups(), (str(len(value)), "bytes" if isinstance(value, bytes) else "characters")
            )

    def test_only_the_beginning_of_bytes_is_read(self) -> None:
        """Showing the beginning of a large message does not decode the rest of it."""

        class Large(bytes):
            def __len__(self) -> int:
                return 2**40

        self.assertEqual(escape_peer_text(Large(b"a" * 64), 4), rf"aaaa\...({2**40} bytes in all)")


class PasswordTests(SynchronousTestCase):
    """`without_password`."""

    def test_secrets(self) -> None:
        """A password in a URL is left out."""
        for url, shown in (
            ("redis://user:secret@host:1/0", "redis://user:***@host:1/0"),
            ("redis://:se@cret@host", "redis://:***@host"),
            ("redis://host", "redis://host"),
            ("memory:", "memory:"),
        ):
            self.assertEqual(without_password(url), shown)
