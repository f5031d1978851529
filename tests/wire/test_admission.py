"""wire/admission.py: what passes for a request head, and for an opening handshake."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsecho.wire.admission import (
    HeadBuffer,
    HeadRefused,
    RequestHead,
    Upgrade,
    check_upgrade,
    parse_head,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3

#: Bytes at which one reader or another ends a line; CR LF alone is the end of a line (RFC 9112 section 2.2).
LINE_SPLITTERS = {
    "VT": b"\x0b",
    "FF": b"\x0c",
    "FS": b"\x1c",
    "GS": b"\x1d",
    "RS": b"\x1e",
    "CR": b"\r",
    "LF": b"\n",
    "NUL": b"\x00",
}


def parse(head: bytes, *, max_line: int = 8192, max_lines: int = 100) -> RequestHead:
    """Parse a complete head with the usual limits."""
    return parse_head(head, max_line=max_line, max_lines=max_lines)


def request(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"a.example") -> bytes:
    """A head with a Host field, unless told otherwise, and then `fields`."""
    hosts = () if host is None else (b"Host: " + host,)
    return b"\r\n".join((line, *hosts, *fields, b"", b""))


def handshake(without: Sequence[str] = (), **changed: str) -> RequestHead:
    """The head of a valid opening handshake, with the fields `changed` (``_`` for ``-``) or left out."""
    headers = {
        "host": "a.example",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": KEY,
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    return RequestHead("GET", "/", "", {name: headers[name] for name in headers if name not in without})


class _SearchedBytes(bytearray):
    """Notes how many bytes each search looks at."""

    seen: list[int]

    def find(self, sub: bytes, start: int = 0) -> int:  # type: ignore[override]
        self.seen.append(len(self) - start)
        return super().find(sub, start)


class RefusalTestCase(SynchronousTestCase):
    """How refusals are judged."""

    def status(self, head: bytes, **limits: int) -> int:
        """The status with which a head is refused."""
        refusal: HeadRefused = self.assertRaises(HeadRefused, parse, head, **limits)
        return refusal.status

    def assert_status(self, status: int, *heads: bytes) -> None:
        """Each of the heads is refused with this status."""
        for head in heads:
            self.assertEqual(self.status(head), status, head)


class HeadBufferTests(SynchronousTestCase):
    """Collecting a head from the stream."""

    def test_whole(self) -> None:
        """A head that comes in one piece is given back at once, with what follows it apart."""
        head = request()
        self.assertEqual(HeadBuffer(1000).feed(head + b"\x81\x80abcd"), (head, b"\x81\x80abcd"))

    def test_incomplete(self) -> None:
        """Nothing is given back before the empty line, and the buffer tells how much it holds."""
        buffer = HeadBuffer(1000)
        self.assertEqual(len(buffer), 0)
        self.assertIsNone(buffer.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r"))
        self.assertEqual(len(buffer), 26)

    def test_released(self) -> None:
        """Once the head is given back, or refused, the buffer holds no byte of it."""
        buffer = HeadBuffer(50)
        buffer.feed(request() + b"more")
        self.assertEqual(len(buffer), 0)
        self.assertRaises(HeadRefused, buffer.feed, bytes(51))
        self.assertEqual(len(buffer), 0)

    def test_limit(self) -> None:
        """A head of exactly the limit passes, one byte more is refused with 431, however it comes."""
        head = request()
        for size in (len(head), 1):
            for limit, passes in ((len(head), True), (len(head) - 1, False)):
                buffer = HeadBuffer(limit)
                pieces = [head[begin : begin + size] for begin in range(0, len(head), size)]
                if passes:
                    self.assertEqual([buffer.feed(piece) for piece in pieces][-1], (head, b""))
                else:
                    refusal = self.assertRaises(HeadRefused, lambda: [*map(buffer.feed, pieces)])  # noqa: B023
                    self.assertEqual((refusal.status, "max-head-size" in refusal.detail), (431, True))

    def test_limit_without_end(self) -> None:
        """A head that fills the limit and has not ended is refused without waiting for the next byte."""
        buffer = HeadBuffer(10)
        self.assertIsNone(buffer.feed(b"123456789"))
        self.assertEqual(self.assertRaises(HeadRefused, buffer.feed, b"0").status, 431)

    def test_what_follows_does_not_count(self) -> None:
        """Frames that come with the head do not count as part of it."""
        head = request()
        self.assertEqual(HeadBuffer(len(head)).feed(head + bytes(1000)), (head, bytes(1000)))

    def test_each_byte_is_searched_once(self) -> None:
        """What a search looks at is what came, and at most the three bytes before it: a head in many
        segments costs as much as in one (CVE-2023-43669 in tungstenite)."""
        searched = _SearchedBytes()
        searched.seen = []
        buffer = HeadBuffer(10_000)
        buffer._data = searched
        for _ in range(1000):
            buffer.feed(b"abc")
        self.assertEqual(len(searched.seen), 1000)
        self.assertLessEqual(max(searched.seen), 3 + 3)

    @settings(deadline=None)
    @given(
        st.lists(st.sampled_from([b"\r\n\r\n", b"\r\n", b"\r", b"\n", b"GET", b"\x81\x00"]), max_size=12),
        st.lists(st.integers(0, 40), max_size=12),
    )
    @example([b"\r", b"\n", b"\r", b"\n"], [1, 2, 3])
    def test_any_cut(self, parts: list[bytes], cuts: list[int]) -> None:
        """However the stream is cut into segments, the same head comes out, and the same rest."""
        stream = b"".join(parts)
        whole = HeadBuffer(1000).feed(stream)
        buffer = HeadBuffer(1000)
        places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
        found: tuple[bytes, bytes] | None = None
        for begin, end in itertools.pairwise(places):
            piece = stream[begin:end]
            if found is None:
                found = buffer.feed(piece)
            else:
                found = (found[0], found[1] + piece)
        self.assertEqual(found, whole)


class RequestLineTests(RefusalTestCase):
    """The first line of a head."""

    def test_parts(self) -> None:
        """Method, path and query are given as they were sent, still encoded."""
        head = parse(request(line=b"GET /broadcast/a%20b?x=1&y=%C3%A9 HTTP/1.1"))
        self.assertEqual((head.method, head.path, head.query), ("GET", "/broadcast/a%20b", "x=1&y=%C3%A9"))

    def test_other_methods(self) -> None:
        """A method is a token and case-sensitive; whether it is served is decided elsewhere."""
        self.assertEqual(parse(request(line=b"get / HTTP/1.1")).method, "get")
        self.assertEqual(parse(request(line=b"M-SEARCH / HTTP/1.1")).method, "M-SEARCH")

    def test_malformed(self) -> None:
        """Anything but token, blank, target, blank, version is a 400."""
        self.assert_status(
            400,
            *(
                request(line=line)
                for line in (
                    *(b"", b"GET", b"GET /", b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1"),
                    *(b"GET\t/ HTTP/1.1", b"GET /\tHTTP/1.1", b"GET /a b HTTP/1.1", b"GET / http/1.1"),
                    *(b"G(T / HTTP/1.1", b"GET / HTTP/11", b"GET / HTTP/1.10", b"GET / HTTP/1", b"GET / 1.1"),
                    *(b"GET /\xc3\xa9 HTTP/1.1", b"GET /\x7f HTTP/1.1", b"G\xcbT / HTTP/1.1"),
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                )
            ),
            b"\r\n\r\n",
            b"\r\n" + request(),
        )

    def test_line_splitters(self) -> None:
        """No byte but CR LF ends the request line, and none of the others may be in it."""
        for name, byte in {**LINE_SPLITTERS, "NEL": b"\x85"}.items():
            for line in (b"GET / HTTP/1.1" + byte + b"Origin: null", b"GET /" + byte + b" HTTP/1.1"):
                self.assertEqual(self.status(request(line=line)), 400, name)

    def test_versions(self) -> None:
        """Another version than 1.1 is a 505, the preface of HTTP/2 among them."""
        self.assert_status(
            505,
            *(request(line=b"GET / HTTP/" + version) for version in (b"1.0", b"0.9", b"1.2", b"2.0", b"3.0")),
            b"PRI * HTTP/2.0\r\n\r\n",
        )

    def test_absolute_form(self) -> None:
        """A URL of the same host is a target like its path (RFC 9112 section 3.2.2)."""
        for target, path, query in (
            (b"http://a.example/echo?x", "/echo", "x"),
            (b"WS://A.Example/", "/", ""),
            (b"https://a.example", "/", ""),
            (b"wss://a.example?x", "/", "x"),
        ):
            head = parse(request(line=b"GET " + target + b" HTTP/1.1"))
            self.assertEqual((head.path, head.query), (path, query), target)
        self.assertEqual(
            parse(request(line=b"GET http://[::1]:9000/ HTTP/1.1", host=b"[::1]:9000")).path, "/"
        )

    def test_absolute_form_of_another_host(self) -> None:
        """A URL and a Host header that name different hosts are a 400: two readers would choose
        differently."""
        self.assert_status(
            400,
            *(
                request(line=b"GET " + target + b" HTTP/1.1")
                for target in (
                    *(b"http://b.example/", b"http://a.example:81/", b"http://user@a.example/", b"http:///"),
                    *(
                        b"http://a.example@b.example/",
                        b"http://a.example\\@b.example/",
                        b"http://a.example:/",
                    ),
                )
            ),
        )

    def test_other_targets(self) -> None:
        """A target that is neither a path nor a URL of http or ws is a 400."""
        self.assert_status(
            400,
            *(
                request(line=b"GET " + target + b" HTTP/1.1")
                for target in (
                    b"*",
                    b"echo",
                    b"a.example:80",
                    b"ftp://a.example/",
                    b"?x",
                    b"\\echo",
                    b"http:/x",
                )
            ),
        )

    def test_fragment(self) -> None:
        """A target with a fragment is a 400 (RFC 6455 section 3)."""
        for target in (b"/#", b"/a?b#c", b"http://a.example/#x", b"http://a.example#x"):
            self.assertEqual(self.status(request(line=b"GET " + target + b" HTTP/1.1")), 400, target)

    def test_percent_encoding(self) -> None:
        """A percent sign is followed by two hexadecimal digits, in path and query, or it is a 400."""
        for target in (b"/%", b"/%2", b"/%zz", b"/%%41", b"/?%", b"/a%2", b"/%u0041", b"/%-1"):
            self.assertEqual(self.status(request(line=b"GET " + target + b" HTTP/1.1")), 400, target)
        self.assertEqual(parse(request(line=b"GET /%2f%2F?%00 HTTP/1.1")).path, "/%2f%2F")


class FieldTests(RefusalTestCase):
    """The header lines."""

    def test_values(self) -> None:
        """Names are in lower case, values without the blanks around them; bytes above 127 are ISO 8859-1."""
        head = parse(request(b"X-One:\t a \tb \t", b"x-empty:", b"X-Colon: a:b", b"X-High: \xc3\x85\xff"))
        self.assertEqual(
            head.headers,
            {
                "host": "a.example",
                "x-one": "a \tb",
                "x-empty": "",
                "x-colon": "a:b",
                "x-high": "\xc3\x85\xff",
            },
        )

    def test_nel_is_part_of_a_value(self) -> None:
        """The byte 0x85 ends no line and makes no header, as in daphne's CVE-2026-44546: it is a part of many
        characters in UTF-8."""
        head = parse(request(b"X-Name: \xc3\x85sa\x85Origin: https://a.example"))
        self.assertEqual(head.headers["x-name"], "\xc3\x85sa\x85Origin: https://a.example")
        self.assertNotIn("origin", head.headers)

    def test_line_splitters(self) -> None:
        """No byte but CR LF ends a header line, and none of the others may be in a name or a value."""
        for name, byte in LINE_SPLITTERS.items():
            for field in (
                *(b"X: a" + byte + b"Origin: https://a.example", b"X" + byte + b": a", byte + b"X: a"),
                *(b"X:" + byte, b"X: a" + byte, b"X: " + byte + b"a"),
            ):
                self.assertEqual(self.status(request(field)), 400, (name, field))

    def test_controls(self) -> None:
        """No control character but the tab may be in a value."""
        for byte in (*range(9), *range(10, 32), 127):
            self.assertEqual(self.status(request(b"X: a" + bytes([byte]) + b"b")), 400, byte)

    def test_malformed_lines(self) -> None:
        """Folding, a blank before the colon, a line without colon or without name: each is a 400."""
        self.assert_status(
            400,
            request(b"X: a", b" b"),
            request(b"X: a", b"\tb: c"),
            request(b" X: a"),
            request(b"X : a"),
            request(b"X\t: a"),
            request(b"X"),
            request(b": a"),
            request(b"X Y: a"),
            request(b'"X": a'),
            request(b"\xc3\x85: a"),
            request(line=b"GET / HTTP/1.1\r\n Host: b.example"),
        )

    def test_repeated(self) -> None:
        """Fields of one name are joined in their order, whatever their case (RFC 9110 section 5.3)."""
        head = parse(request(b"Sec-WebSocket-Protocol: a", b"X: y", b"sec-websocket-PROTOCOL: b, c"))
        self.assertEqual(head.headers["sec-websocket-protocol"], "a, b, c")

    def test_repeated_but_single(self) -> None:
        """A second field of a name of which there is one is a 400, even when both say the same."""
        for field in (
            *(b"Host: a.example", b"HOST: b.example", b"Origin: https://a.example", b"Content-Length: 0"),
            *(b"Sec-WebSocket-Key: " + KEY.encode(), b"Sec-WebSocket-Version: 13"),
        ):
            self.assertEqual(self.status(request(field, field)), 400, field)

    def test_host(self) -> None:
        """The Host header is given whole and without its port."""
        for value, name in (
            (b"A.example", "a.example"),
            (b"a.example:9000", "a.example"),
            (b"[::1]:80", "[::1]"),
        ):
            head = parse(request(host=value))
            self.assertEqual((head.host, head.host_name), (value.decode(), name))

    def test_no_host(self) -> None:
        """A head without Host, or with one that is not ``host[:port]``, is a 400."""
        self.assert_status(
            400,
            request(host=None),
            *(
                request(host=value)
                for value in (
                    *(
                        b"",
                        b"a.example:",
                        b"a.example:0",
                        b"a.example:65536",
                        b"user@a.example",
                        b"a.example/x",
                    ),
                    *(b"a example", b"a.example, b.example", b"::1", b"[::1", b"a.example.", b"\xe9.example"),
                )
            ),
        )

    def test_body(self) -> None:
        """A head that announces a body is a 400, since what follows would be read as frames."""
        self.assert_status(
            400,
            *(
                request(b"Content-Length: " + value)
                for value in (b"1", b"00", b"-0", b"+0", b"0, 0", b"0 0", b"", b"x", b"0x0")
            ),
            *(request(b"Transfer-Encoding: " + value) for value in (b"chunked", b"identity", b"", b"x")),
            request(b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        )
        self.assertEqual(parse(request(b"Content-Length: 0")).method, "GET")

    def test_wants_websocket(self) -> None:
        """A head wants WebSocket when Upgrade names it, among others and in any case."""
        for value, wants in (
            *((b"websocket", True), (b"WebSocket", True), (b"h2c, websocket", True), (b",websocket ,", True)),
            *((b"h2c", False), (b"websocket/13", False), (b"web socket", False), (b"", False)),
        ):
            self.assertEqual(parse(request(b"Upgrade: " + value)).wants_websocket, wants, value)
        self.assertFalse(parse(request()).wants_websocket)


class LimitTests(RefusalTestCase):
    """Limits of lines."""

    def test_line_length(self) -> None:
        """A line of exactly the limit passes, one byte more is a 431, the request line included."""
        field = b"X: " + b"a" * 97
        self.assertEqual(len(parse(request(field), max_line=100).headers["x"]), 97)
        self.assertEqual(self.status(request(field), max_line=99), 431)
        line = b"GET /" + b"a" * 86 + b" HTTP/1.1"
        self.assertEqual(len(parse(request(line=line), max_line=100).path), 87)
        self.assertEqual(self.status(request(line=line), max_line=99), 431)

    def test_line_count(self) -> None:
        """As many header lines as the limit pass, one more is a 431; the request line does not count."""
        fields = [b"X: a"] * 9
        self.assertEqual(len(parse(request(*fields), max_lines=10).headers), 2)
        self.assertEqual(self.status(request(*fields), max_lines=9), 431)

    def test_limits_come_first(self) -> None:
        """A line that is too long is a 431, whatever else is wrong with it."""
        self.assertEqual(self.status(request(b"\x00" * 200), max_line=100), 431)

    def test_option_is_named(self) -> None:
        """The detail names the option that was exceeded."""
        for limits, option in (({"max_line": 10}, "max-head-line"), ({"max_lines": 0}, "max-head-lines")):
            refusal = self.assertRaises(HeadRefused, parse, request(), **limits)
            self.assertTrue(refusal.detail.endswith(option), refusal.detail)


class RefusalTests(SynchronousTestCase):
    """What a refusal says."""

    @settings(deadline=None)
    @given(st.binary(max_size=60), st.sampled_from([b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET ", b""]))
    def test_nothing_is_mirrored(self, noise: bytes, start: bytes) -> None:
        """Whatever comes, the outcome is a head or a refusal, and the refusal is one of our own sentences."""
        try:
            head = parse(start + noise + b"\r\n\r\n")
        except HeadRefused as refusal:
            self.assertIn(refusal.status, (400, 431, 505))
            self.assertTrue(re.fullmatch(r"[a-zA-Z0-9 .,-]+", refusal.detail), refusal.detail)
            self.assertEqual(refusal.headers, ())
        else:
            self.assertEqual(head.path[:1], "/")


class UpgradeTests(SynchronousTestCase):
    """The fields of the opening handshake."""

    def refusal(self, head: RequestHead) -> HeadRefused:
        """How a handshake is refused."""
        refusal: HeadRefused = self.assertRaises(HeadRefused, check_upgrade, head, [13])
        return refusal

    def test_valid(self) -> None:
        """A valid handshake gives key, version, subprotocols and extensions."""
        upgrade = check_upgrade(
            handshake(sec_websocket_protocol="chat, v2", sec_websocket_extensions="permessage-deflate"), [13]
        )
        self.assertEqual(upgrade, Upgrade(KEY, 13, ("chat", "v2"), "permessage-deflate"))
        self.assertEqual(check_upgrade(handshake(), [13]), Upgrade(KEY, 13, (), ""))

    def test_connection(self) -> None:
        """Connection must name Upgrade, among others and in any case; else it is a 400."""
        for value in ("Upgrade", "upgrade", "keep-alive, Upgrade", "UPGRADE,close", " , upgrade"):
            self.assertEqual(check_upgrade(handshake(connection=value), [13]).version, 13, value)
        for value in ("", "keep-alive", "Upgrades", "up grade", "keep-alive Upgrade", '"Upgrade"'):
            self.assertEqual(self.refusal(handshake(connection=value)).status, 400, value)
        self.assertEqual(self.refusal(handshake(without=["connection"])).status, 400)

    def test_version(self) -> None:
        """Another version is a 426 that names Upgrade and the versions that are spoken (RFC 6455 section
        4.4)."""
        for value in ("8", "12", "14", "013", "13.0", "13, 8", "0", "-13", "", "abc", "\xb13", "9" * 400):
            refusal = self.refusal(handshake(sec_websocket_version=value))
            self.assertEqual(refusal.status, 426, value)
            self.assertEqual(refusal.headers, (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")))

    def test_no_version(self) -> None:
        """No version at all is a 400: that is no client that could try another."""
        refusal = self.refusal(handshake(without=["sec-websocket-version"]))
        self.assertEqual((refusal.status, refusal.headers), (400, ()))

    def test_several_versions(self) -> None:
        """Where several versions are spoken each is taken, and a refusal lists them from the highest."""
        self.assertEqual(check_upgrade(handshake(sec_websocket_version="8"), [8, 13]).version, 8)
        refusal = self.assertRaises(HeadRefused, check_upgrade, handshake(sec_websocket_version="7"), [8, 13])
        self.assertIn(("Sec-WebSocket-Version", "13, 8"), refusal.headers)

    def test_key(self) -> None:
        """The key is 16 bytes in base64, padded; else it is a 400."""
        for value in (
            *(
                "",
                "AAAA",
                KEY[:-1],
                KEY[:-2],
                KEY + "=",
                KEY + "A",
                "=" + KEY,
                f" {KEY}",
                KEY[:10] + " " + KEY[10:],
            ),
            *(
                KEY.replace("=", "A"),
                "dGhlIHNhbXBsZSBub25jZ-==",
                "dGhlIHNhbXBsZSBub25j_Q==",
                KEY[:-3] + "\xc5==",
            ),
            *(base64.b64encode(bytes(15)).decode(), base64.b64encode(bytes(17)).decode(), KEY + ", " + KEY),
            *(KEY[:12] + "\n" + KEY[12:], "A" * 8000),
        ):
            self.assertEqual(self.refusal(handshake(sec_websocket_key=value)).status, 400, value)
        self.assertEqual(self.refusal(handshake(without=["sec-websocket-key"])).status, 400)

    def test_key_that_is_not_canonical(self) -> None:
        """A key whose last character has bits to spare is taken: clients make keys of random letters, and the
        answer is made from the key's text."""
        self.assertEqual(
            check_upgrade(handshake(sec_websocket_key=KEY[:-3] + "R=="), [13]).key, KEY[:-3] + "R=="
        )

    def test_subprotocols(self) -> None:
        """Subprotocols keep the client's order and case; empty elements of the list are ignored."""
        for value, expected in (
            *(("b, a", ("b", "a")), (",a,, b\t,", ("a", "b")), ("", ()), ("A,a", ("A", "a"))),
            ("v1.json!#$%&'*+-.^_`|~", ("v1.json!#$%&'*+-.^_`|~",)),
        ):
            self.assertEqual(
                check_upgrade(handshake(sec_websocket_protocol=value), [13]).subprotocols, expected
            )

    def test_wrong_subprotocols(self) -> None:
        """A subprotocol that is no token, or is offered twice, is a 400 (RFC 6455 section 4.1)."""
        for value in ("a b", "a/b", 'a, "b"', "a;b", "a\xe9", "a,a", "a, b, a", "a\x85b"):
            self.assertEqual(self.refusal(handshake(sec_websocket_protocol=value)).status, 400, value)
