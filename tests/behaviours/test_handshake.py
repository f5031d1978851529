"""Behaviours of the opening handshake (Qt's tst_handshakerequest, tst_handshakeresponse, and reports)."""

from __future__ import annotations

import re

from tests.members import MembersTestCase, Record
from tests.wire.harness import KEY, TEXT, Answer, Peer, frame, handshake
from wsecho import CloseCode, WebSocket

GOOD = handshake().decode()


def changed(line: str, to: str) -> bytes:
    """A good request, but for one line."""
    assert line in GOOD, line
    return GOOD.replace(line, to).encode("iso-8859-1")


class HandshakeTestCase(MembersTestCase):
    """A test of what a server answers."""

    def setUp(self) -> None:
        super().setUp()
        self.web = self.server()

    def answer(self, *pieces: bytes) -> Answer:
        """The answer to these bytes."""
        peer = self.visit(self.web)
        peer.send(*pieces)
        return peer.answer

    def status(self, *pieces: bytes) -> int:
        """Its status."""
        return int(self.answer(*pieces).status.split()[1])

    def accepted(self, *pieces: bytes) -> WebSocket:
        """The connection that these bytes open."""
        self.assertEqual(self.status(*pieces), 101, pieces)
        socket = self.web.next_pending_connection()
        assert socket is not None
        return socket


class InvalidStreamTests(HandshakeTestCase):
    """Bytes that are no opening handshake."""

    def test_invalid_stream(self) -> None:
        """Each is answered by HTTP, where Qt ends TCP without a word, is told as an error, opens nothing."""
        for data, status in (
            (b"abcdefghijklmnopqrstuvwxyz\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
            (changed("GET / HTTP/1.1", "/ HTTP/1.1"), 400),
            (changed("GET /", "GOT /"), 405),
            (changed("GET /", "POST /"), 405),
            (changed("HTTP/1.1", "HTTP/1.0"), 505),
            (changed("HTTP/1.1", "HTTP/2.0"), 505),
            (changed("HTTP/1.1", "HTTP/1.a"), 400),
            (changed("HTTP/1.1", "FTP/1.1"), 400),
            (changed("GET / HTTP/1.1", "GET nowhere HTTP/1.1"), 400),
            (changed("GET / HTTP/1.1", "GET / HTTP/1.1 x"), 400),
            (changed("Connection: Upgrade", "Connection: Xxxxxxx"), 400),
            (changed("Upgrade: websocket", "Upgrade: ftp"), 426),
            (changed("Upgrade: websocket\r\n", ""), 426),
            (changed("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: thirteen"), 426),
            (changed("Sec-WebSocket-Version: 13\r\n", ""), 400),
            (changed(f"Sec-WebSocket-Key: {KEY}\r\n", ""), 400),
            (changed(KEY, "AAAA"), 400),
            (changed("Host: example.com\r\n", ""), 400),
            (changed("Host: example.com", " Host: example.com"), 400),
            (changed("Upgrade: websocket", "Upgrade websocket"), 400),
        ):
            record = Record(self.web)
            self.assertEqual(self.status(data), status, data)
            self.assertEqual(record.told, [("server_error", CloseCode.PROTOCOL_ERROR)], data)
            self.assertFalse(self.web.has_pending_connections())

    def test_nothing_of_the_peer_is_shown(self) -> None:
        """The answer to nonsense holds none of it, and names no software."""
        answer = self.answer(changed("GET /", "GET /<script>alert(1)</script>\r\nX-Injected: yes\r\n\r\n"))
        self.assertNotIn(b"script", answer.rest)
        self.assertNotIn("server", answer.headers)

    def test_several_upgrades(self) -> None:
        """websocket may stand in a list, where Qt refuses it (RFC 6455 section 4.2.1)."""
        self.accepted(changed("Upgrade: websocket", "Upgrade: websocket,ftp"))

    def test_multiple_values_in_connection_header(self) -> None:
        """So may Upgrade, as Firefox sends it."""
        self.accepted(changed("Connection: Upgrade", "Connection: keep-alive, Upgrade"))
        self.accepted(changed("Connection: Upgrade", "Connection: Upgrade,xxxx"))

    def test_case(self) -> None:
        """Header names, websocket and Upgrade are in any case."""
        self.accepted(changed("Upgrade: websocket", "UPGRADE: WebSocket"))
        self.accepted(changed("Connection: Upgrade", "connection: UPGRADE"))

    def test_multiple_versions(self) -> None:
        """A client names one version (RFC 6455 section 4.1); of several, where Qt takes 13, none is taken,
        and the answer says which is spoken."""
        for versions in ("4, 5, 6, 7, 8, 13", "8", "12", "14", "0"):
            answer = self.answer(changed("Version: 13", f"Version: {versions}"))
            self.assertEqual(answer.status, "HTTP/1.1 426 Upgrade Required")
            self.assertEqual(answer.headers["sec-websocket-version"], "13")

    def test_whitespace_in_headers(self) -> None:
        """Blanks around a value are no part of it; a folded line, which nobody may send any more, and a blank
        before the colon are refused (RFC 9112 section 5)."""
        self.accepted(changed("Upgrade: websocket", "Upgrade: \t websocket \t "))
        self.accepted(changed("Upgrade: websocket", "Upgrade:websocket"))
        self.assertEqual(self.status(changed(f"Key: {KEY}", f"Key:\r\n {KEY}")), 400)
        self.assertEqual(self.status(changed("Upgrade: websocket", "Upgrade : websocket")), 400)


class HostTests(HandshakeTestCase):
    """The Host header, and the URL from it (QTBUG-39355, QTBUG-57357, QTBUG-55927, QTBUG-77526)."""

    def test_good_hosts(self) -> None:
        """Names and addresses, with and without port, as they were sent."""
        for host in (
            "localhost",
            "localhost:1234",
            "1.2.3.4",
            "1.2.3.4:5",
            "[2001:db8::1]",
            "[::1]:9000",
            "a.b-c.d",
        ):
            socket = self.accepted(changed("Host: example.com", f"Host: {host}"))
            self.assertEqual(socket.request_url, f"ws://{host}/")

    def test_bad_hosts(self) -> None:
        """User information, a path, brackets without end, a port that is none, nothing; and the IPvFuture of
        RFC 3986, which Qt takes and nobody has."""
        for host in (
            "me@a",
            "me:pw@a",
            "a/b",
            "[::1",
            "::1",
            "a:b",
            "a:65536",
            "",
            ":80",
            "a b",
            "a,b",
            "[v1.a]",
        ):
            self.assertEqual(self.status(changed("Host: example.com", f"Host: {host}")), 400, host)

    def test_two_hosts(self) -> None:
        """Two Host headers are refused, also when they agree."""
        for second in ("other.example", "example.com"):
            self.assertEqual(
                self.status(changed("Host: example.com", f"Host: example.com\r\nHost: {second}")), 400
            )


class LimitTests(HandshakeTestCase):
    """Heads without end (QTBUG-48123, QTBUG-70691). Qt closes; here it is 431."""

    def test_line_without_colon(self) -> None:
        """A header line without colon is refused."""
        self.assertEqual(self.status(changed("Upgrade: websocket", "Upgrade: websocket\r\nnonsense")), 400)

    def test_longest_line(self) -> None:
        """8 KiB in one line are taken, one byte more is not."""
        for size, status in ((8192, 101), (8193, 431)):
            line = "X: " + "y" * (size - 3)
            self.assertEqual(
                self.status(changed("Upgrade: websocket", f"Upgrade: websocket\r\n{line}")), status
            )
        self.assertIs(self.web.error, CloseCode.TOO_MUCH_DATA)

    def test_longest_request_line(self) -> None:
        """The same holds for the request line."""
        for size, status in ((8192, 101), (8193, 431)):
            path = "/" + "y" * (size - len("GET / HTTP/1.1"))
            self.assertEqual(self.status(changed("GET /", f"GET {path}")), status)

    def test_most_lines(self) -> None:
        """100 header lines are taken, one more is not."""
        for number, status in ((100, 101), (101, 431)):
            more = "".join(f"X-{index}: y\r\n" for index in range(number - 5))
            self.assertEqual(self.status(changed("Upgrade: websocket", f"{more}Upgrade: websocket")), status)

    def test_endless_head(self) -> None:
        """A head that does not end is refused as soon as it is too large."""
        peer = self.visit(self.web)
        peer.send(b"GET / HTTP/1.1\r\n", *[b"X: " + b"y" * 1000] * 66)
        self.assertEqual(peer.answer.status, "HTTP/1.1 431 Request Header Fields Too Large")


class SegmentTests(HandshakeTestCase):
    """How the bytes of a handshake come."""

    def test_split_over_packets(self) -> None:
        """A handshake that comes byte by byte opens like any other (QTBUG-102111)."""
        data = handshake()
        self.accepted(*(data[at : at + 1] for at in range(len(data))))

    def test_data_behind_the_head(self) -> None:
        """Frames in the segment of the handshake are not lost (QTBUG-70000)."""
        socket = self.accepted(handshake() + frame(TEXT, b"early") + frame(TEXT, b"half")[:5])
        record = Record(socket, "text_message_received")
        self.turn()
        peer: Peer = self.peers[-1]
        peer.send(frame(TEXT, b"half")[5:])
        self.assertEqual([one[1] for one in record.told], ["early", "half"])

    def test_last_line_end_comes_late(self) -> None:
        """A client takes a 101 whose last line end comes late (Qt's customHeader), without spinning."""
        socket = self.client()
        socket.open("ws://192.0.2.1/")
        end = self.reach()
        head = end.head("X-Custom: yes")
        end.send(head[:-2])
        self.assertFalse(socket.is_valid())
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        end.send(head[-2:])
        self.assertTrue(socket.is_valid())


class AnswerTests(HandshakeTestCase):
    """The 101 answer."""

    def test_answer(self) -> None:
        """It has what RFC 6455 section 4.2.2 asks for and no more: no Server without a name (an empty one
        breaks Safari), no Date in somebody's language (QTBUG-40866), no CORS headers, which mean nothing."""
        answer = self.answer(handshake("/", "Origin: http://a"))
        self.assertEqual(answer.status, "HTTP/1.1 101 Switching Protocols")
        self.assertEqual(set(answer.headers), {"upgrade", "connection", "sec-websocket-accept"})

    def test_server_header(self) -> None:
        """With a name, the Server header is that name."""
        self.web.server_name = "wsecho"
        self.assertEqual(self.answer(handshake()).headers["server"], "wsecho")

    def test_answers_of_refusals(self) -> None:
        """A refusal says how long it is and that it is the last."""
        answer = self.answer(b"nonsense\r\n\r\n")
        self.assertEqual(int(answer.headers["content-length"]), len(answer.rest))
        self.assertEqual(answer.headers["connection"], "close")
        self.assertTrue(re.fullmatch(rb"[ -~]+\n", answer.rest))
