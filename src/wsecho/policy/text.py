"""Text from a peer, made fit for a log line, a terminal or an error message.

Rules: every byte a peer chose goes through here exactly once, at the place where it is shown; what comes out
is one line of printable characters, is never longer than asked for (however much came in), and says without
ambiguity what was received.

This module knows nothing of protocols: it does not decide what is legal, only how it looks.
"""

import unicodedata

__all__ = ["escape_peer_text", "without_password"]

# Characters that `str.isprintable` lets through although nothing (or only blank) is drawn for them: one log
# line could look like another, or a host name like a trusted one. The combining grapheme joiner, Hangul
# fillers, Khmer inherent vowels, Mongolian and general variation selectors, the blank Braille pattern.
_INVISIBLE = frozenset(
    map(
        chr,
        (
            *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
            *range(0x180B, 0x1810),
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)

# Living scripts put one or two marks on a letter (Vietnamese, Thai, pointed Hebrew); a pile of them paints
# over the lines above and below on a terminal.
_MOST_MARKS = 2


def escape_peer_text(value: str | bytes, limit: int = 256) -> str:
    r"""Return *value* as one printable line that is safe between double quotes.

    Printable characters stay. Everything else is escaped: controls (C0, DEL, C1), line and paragraph
    separators, bidirectional controls, zero-width and other invisible characters, unusual spaces, surrogates,
    private, unassigned and non-characters, and combining marks that have no letter before them or are piled
    up. ``\xNN`` is an ASCII control or, in *bytes*, a byte that is no valid UTF-8; ``\uNNNN`` and
    ``\UNNNNNNNN`` are characters; the backslash is doubled and the double quote becomes ``\"``. So two
    different values never look the same, and a quoted field cannot be left.

    :param value: what the peer sent; bytes are read as UTF-8.
    :param limit: most characters of escaped text, at least 1. A longer result is cut, never inside an escape,
        and ends with ``\...(N characters in all)`` or ``\...(N bytes in all)``, which no value can imitate.
    """
    if isinstance(value, bytes):
        unit = "bytes"
        # A character takes at most four bytes, so this holds limit + 1 of them, and the sequence that the
        # slice may split comes after those. A message of many megabytes must not be decoded to show its first
        # line.
        text = value[: 4 * limit + 4].decode("utf-8", "surrogateescape")
    else:
        unit = "characters"
        text = value[: limit + 1]
    # Most of what peers send is shown as it is.
    if len(text) <= limit and text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text

    pieces: list[str] = []
    room = limit
    marks = _MOST_MARKS
    for character in text:
        if unicodedata.category(character).startswith("M"):
            marks += 1
            piece = character if marks <= _MOST_MARKS and character not in _INVISIBLE else _escaped(character)
        elif character in '\\"':
            marks = 0
            piece = "\\" + character
        elif character.isprintable() and character not in _INVISIBLE:
            # A mark after a space is drawn on its own, over whatever is near.
            marks = _MOST_MARKS if character == " " else 0
            piece = character
        elif unit == "bytes" and "\udc80" <= character <= "\udcff":
            marks = _MOST_MARKS
            piece = f"\\x{ord(character) - 0xDC00:02x}"
        else:
            marks = _MOST_MARKS
            piece = _escaped(character)
        room -= len(piece)
        if room < 0:
            return f"{''.join(pieces)}\\...({len(value)} {unit} in all)"
        pieces.append(piece)
    return "".join(pieces)


def _escaped(character: str) -> str:
    # \x is left to ASCII and raw bytes: were U+0085 written \x85, it could not be told from the single byte
    # 0x85.
    point = ord(character)
    if point < 0x80:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


def without_password(url: str) -> str:
    """A URL without the password that it may have."""
    scheme, separator, rest = url.partition("://")
    user_info, at, place = rest.rpartition("@")
    if not at:
        return url
    user, colon, _ = user_info.partition(":")
    return f"{scheme}{separator}{user}{':***' if colon else ''}@{place}"
