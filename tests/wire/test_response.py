"""Tests for reading and checking the answer to an opening handshake."""

import operator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.harness import ACCEPT, KEY
from wsecho.wire.response import (
    Agreement,
    BadResponse,
    ResponseHead,
    ResponseReader,
    accept_value,
    check_response,
)

SWITCH = b"HTTP/1.1 101 Switching Protocols"


def reader(*, max_size: int = 65536, max_line: int = 8192, max_lines: int = 100) -> ResponseReader:
    """A reader with these limits."""
    return ResponseReader(max_size=max_size, max_line=max_line, max_lines=max_lines)


def answer(*lines: bytes) -> bytes:
    """A head of these lines."""
    return b"\r\n".join([*lines, b"", b""])


class ReaderTests(SynchronousTestCase):
    """Collecting and parsing heads."""

    def read(self, data: bytes, **limits: int) -> ResponseHead:
        complete = reader(**limits).feed(data)
        assert complete is not None
        return complete[0]

    def refused(self, data: bytes, why: str, **limits: int) -> None:
        error = self.assertRaises(BadResponse, reader(**limits).feed, data)
        self.assertIn(why, str(error))
        self.assertEqual(len(str(error).splitlines()), 1)

    def test_whole(self) -> None:
        """A head is read into version, status, phrase and headers, and what follows it is returned."""
        complete = reader().feed(answer(b"HTTP/1.1 403 Access Forbidden", b"A: b ", b"a:c") + b"rest")
        assert complete is not None
        head, rest = complete
        self.assertEqual((head.version, head.status, head.phrase), ("1.1", 403, "Access Forbidden"))
        self.assertEqual((dict(head.headers), rest), ({"a": "b, c"}, b"rest"))
        self.assertEqual(head.shown, "403 Access Forbidden")

    def test_in_pieces(self) -> None:
        """A head may come byte by byte."""
        reading = reader()
        whole = answer(SWITCH, b"A: b")
        for index in range(len(whole) - 1):
            self.assertIs(reading.feed(whole[index : index + 1]), None)
        complete = reading.feed(whole[-1:])
        assert complete is not None
        self.assertEqual(complete[0].status, 101)

    def test_late_line_end(self) -> None:
        """A head whose last line end comes late is complete then and not before."""
        reading = reader()
        self.assertIs(reading.feed(answer(SWITCH, b"A: b")[:-2]), None)
        self.assertIsNot(reading.feed(b"\r\n"), None)

    def test_headers_are_read_only(self) -> None:
        """Nobody can change the headers that were read."""
        head: Any = self.read(answer(SWITCH, b"A: b"))
        self.assertRaises(TypeError, operator.setitem, head.headers, "a", "c")

    def test_old_version(self) -> None:
        """An answer in HTTP/1.0 is read: proxies and error pages come so."""
        head = self.read(answer(b"HTTP/1.0 503 Busy"))
        self.assertEqual((head.version, head.status), ("1.0", 503))

    def test_no_phrase(self) -> None:
        """The phrase may be missing, with the blank before it or without."""
        for line in (b"HTTP/1.1 200", b"HTTP/1.1 200 "):
            self.assertEqual(self.read(answer(line)).shown, "200")

    def test_phrase_is_escaped(self) -> None:
        """A phrase is the server's text: it is shown escaped and cut."""
        head = self.read(answer(b"HTTP/1.1 500 \x80\xe2\x80\xae" + b"x" * 1000))
        self.assertTrue(head.phrase.isprintable())
        self.assertIn("\\x80", head.phrase)
        self.assertLess(len(head.phrase), 120)

    def test_interim(self) -> None:
        """Interim answers are passed over, in one segment with the final one or in others."""
        for pieces in (
            [answer(b"HTTP/1.1 100 Continue") + answer(b"HTTP/1.1 103 Hints", b"A: b") + answer(SWITCH)],
            [answer(b"HTTP/1.1 100 Continue"), answer(b"HTTP/1.1 103 Hints"), answer(SWITCH)],
        ):
            reading = reader()
            results = [reading.feed(piece) for piece in pieces]
            complete = results[-1]
            assert complete is not None
            self.assertEqual(complete[0].status, 101)
            self.assertEqual(results[:-1], [None] * (len(pieces) - 1))

    def test_endless_interim(self) -> None:
        """Interim answers without end are refused."""
        self.refused(answer(b"HTTP/1.1 100 Continue") * 9, "more than 8 interim")

    def test_no_http(self) -> None:
        """What does not begin as HTTP is refused at its first bytes, which are shown escaped."""
        self.refused(b"SSH-2.0-\x1b[31m", '"SSH-2.0-\\x1b[31m"')
        self.refused(b"X", "not HTTP")
        self.refused(b"\x15\x03\x01\x00\x02", "not HTTP")
        self.assertIs(reader().feed(b"HT"), None)

    def test_size(self) -> None:
        """A head of the limit is read; a longer one is refused as soon as it must be longer."""
        whole = answer(SWITCH, b"A: b")
        self.read(whole, max_size=len(whole))
        self.refused(whole, f"larger than {len(whole) - 1} bytes", max_size=len(whole) - 1)
        self.refused(SWITCH + b" " * 1000, "larger than", max_size=1000)

    def test_lines(self) -> None:
        """A head of the most lines is read, one with more refused."""
        self.read(answer(SWITCH, *[b"A: b"] * 5), max_lines=5)
        self.refused(answer(SWITCH, *[b"A: b"] * 6), "more than 5 lines", max_lines=5)

    def test_line(self) -> None:
        """A line of the limit is read, a longer one refused."""
        self.read(answer(SWITCH, b"A: " + b"b" * 97), max_line=100)
        self.refused(answer(SWITCH, b"A: " + b"b" * 98), "longer than 100 bytes", max_line=100)

    def test_malformed_status_lines(self) -> None:
        """A status line that is not of RFC 9112 is refused."""
        for line in (
            b"HTTP/1.1",
            b"HTTP/1.1  101 X",
            b"HTTP/1.1 1O1 X",
            b"HTTP/1.1 99 X",
            b"HTTP/1.1 099 X",
            b"HTTP/1.1 1011 X",
            b"HTTP/2 101 X",
            b"HTTP/1.2 101 X",
            b"HTTP/1.1\t101 X",
            b"HTTP/1.1 101 X\x00",
            b"HTTP/1.1 101 X\nA: b",
            b"HTTP/1.1 101 X\rA: b",
        ):
            self.refused(answer(line), "malformed status line")

    def test_malformed_lines(self) -> None:
        """Folding, a bare line end, a missing colon, blanks in a name and controls are refused."""
        for line in (
            b"A: b\r\n c",
            b"A: b\nC: d",
            b"A: b\rC: d",
            b"no colon",
            b"A : b",
            b": b",
            b"A: \x00",
            b"A: \x0b",
            b"A: \x1c",
        ):
            self.refused(answer(SWITCH, line), "malformed header line")

    def test_bare_line_ends(self) -> None:
        """Bare line feeds end no head, and do not pass for one when it ends."""
        reading = reader()
        self.assertIs(reading.feed(b"HTTP/1.1 101 X\nA: b\n\n"), None)
        self.assertRaises(BadResponse, reading.feed, b"\r\n\r\n")

    def test_next_line_character(self) -> None:
        """U+0085 in a value stays in the value, where Autobahn's parser would see another header."""
        head = self.read(answer(SWITCH, b"A: b\x85Upgrade: websocket"))
        self.assertEqual(dict(head.headers), {"a": "b\x85Upgrade: websocket"})

    def test_once(self) -> None:
        """A second one of the headers that decide is refused."""
        for name in (b"Sec-WebSocket-Accept", b"sec-websocket-protocol", b"Sec-WebSocket-Extensions"):
            self.refused(answer(SWITCH, name + b": a", name.upper() + b": a"), "came twice")
        self.refused(answer(SWITCH, b"Content-Length: 0", b"Content-Length: 0"), "came twice")

    @given(st.binary(max_size=200), st.integers(1, 60))
    def test_any_bytes(self, data: bytes, size: int) -> None:
        """Any bytes, in any pieces, are refused, incomplete, or a head."""
        reading = reader()
        try:
            for at in range(0, len(data), size):
                complete = reading.feed(b"HTTP/1.1 101 X\r\n" * (at == 0) + data[at : at + size])
                if complete is not None:
                    self.assertEqual(complete[0].status, 101)
                    return
        except BadResponse:
            return


def agreed(*headers: tuple[str, str], version: str = "1.1", drop: str = "") -> ResponseHead:
    """A right 101 answer with further headers, or without one."""
    fields = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": ACCEPT}
    fields |= dict(headers)
    fields.pop(drop, None)
    return ResponseHead(version, 101, "Switching Protocols", fields)


class CheckTests(SynchronousTestCase):
    """Whether an answer agrees to what was asked."""

    def check(self, head: ResponseHead, *, compression: bool = True) -> Agreement:
        return check_response(head, key=KEY, offered=("chat", "superchat"), offers_compression=compression)

    def refused(self, head: ResponseHead, why: str, *, compression: bool = True) -> None:
        error = self.assertRaises(BadResponse, self.check, head, compression=compression)
        self.assertIn(why, str(error))
        self.assertEqual(len(str(error).splitlines()), 1)

    def test_accept_value(self) -> None:
        """The accept value is that of RFC 6455 section 1.3."""
        self.assertEqual(accept_value(KEY), ACCEPT)

    def test_least(self) -> None:
        """Upgrade, Connection and the accept value are enough."""
        self.assertEqual(self.check(agreed()), Agreement(ACCEPT, None, ""))

    def test_spellings(self) -> None:
        """Upgrade and Connection are compared without case, and Connection is a list."""
        self.check(agreed(("upgrade", "WebSocket"), ("connection", "keep-alive, \tUPGRADE")))

    def test_version(self) -> None:
        """Protocols are not switched in HTTP/1.0."""
        self.refused(agreed(version="1.0"), "HTTP/1.0")

    def test_upgrade(self) -> None:
        """Another upgrade, a list, or none is refused."""
        self.refused(agreed(drop="upgrade"), "Upgrade header")
        for value in ("h2c", "websocket, h2c", "websocket/13", ""):
            self.refused(agreed(("upgrade", value)), "Upgrade header")

    def test_connection(self) -> None:
        """A Connection header without Upgrade is refused."""
        self.refused(agreed(drop="connection"), "Connection header")
        for value in ("close", "upgraded", ""):
            self.refused(agreed(("connection", value)), "Connection header")

    def test_accept(self) -> None:
        """A wrong, empty or missing accept value is refused: it would be an answer to somebody else."""
        self.refused(agreed(drop="sec-websocket-accept"), "our key")
        for value in (accept_value("other"), "", ACCEPT.lower(), ACCEPT + "x"):
            self.refused(agreed(("sec-websocket-accept", value)), "our key")

    def test_body(self) -> None:
        """An answer that announces a body is refused; a length of 0 is none."""
        self.refused(agreed(("transfer-encoding", "chunked")), "body")
        self.refused(agreed(("content-length", "5")), "body")
        self.check(agreed(("content-length", "0")))

    def test_subprotocol(self) -> None:
        """A subprotocol that was offered is agreed on, as it was written."""
        self.assertEqual(self.check(agreed(("sec-websocket-protocol", "superchat"))).subprotocol, "superchat")

    def test_other_subprotocol(self) -> None:
        """A subprotocol that was not offered is refused, and shown escaped."""
        for value in ("foo", "Chat", "chat, superchat", ""):
            self.refused(agreed(("sec-websocket-protocol", value)), "not offered")
        self.refused(agreed(("sec-websocket-protocol", "\x85\x1b")), "\\u0085\\x1b")

    def test_compression(self) -> None:
        """permessage-deflate with the parameters of RFC 7692 is agreed on."""
        for value in (
            "permessage-deflate",
            "Permessage-Deflate; server_no_context_takeover",
            "permessage-deflate;client_no_context_takeover ; server_max_window_bits=8",
            'permessage-deflate; client_max_window_bits="15"; server_max_window_bits=10',
        ):
            self.assertEqual(self.check(agreed(("sec-websocket-extensions", value))).extensions, value)

    def test_other_extensions(self) -> None:
        """Another extension, two, or other parameters are refused, and shown escaped."""
        for value in (
            "permessage-bzip2",
            "permessage-deflate, permessage-deflate",
            "permessage-deflate, x",
            "permessage-deflate; x",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; server_max_window_bits=1_0",
            'permessage-deflate; server_max_window_bits="10',
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate;",
            "permes\u017fage-deflate",
            "permessage-deflate\x85Sec-WebSocket-Protocol: chat",
        ):
            self.refused(agreed(("sec-websocket-extensions", value)), "not offered")

    def test_compression_not_offered(self) -> None:
        """Compression that was not offered is refused."""
        self.refused(
            agreed(("sec-websocket-extensions", "permessage-deflate")), "not offered", compression=False
        )

    def test_no_extension(self) -> None:
        """An empty header agrees on no extension."""
        self.assertEqual(self.check(agreed(("sec-websocket-extensions", ""))).extensions, "")

    def test_written_anew(self) -> None:
        """What Autobahn reads has the checked values and nothing else of the server's."""
        self.assertEqual(
            Agreement(ACCEPT, "chat", "permessage-deflate").render(),
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\nSec-WebSocket-Protocol: chat\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        )
        self.assertEqual(Agreement(ACCEPT, None, "").render().count(b"\r\n"), 5)
