"""policy/http.py: complete answers, fixed phrases, and no way to split a response."""

import dataclasses
import http.client
import io

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.http import REASON_PHRASES, HttpAnswer, render

# Few characters, so that accepted headers come up as well as refused ones.
_TRICKY_TEXT = st.text("Aa-: \t\r\n\x00\x0b\x1c\x85é", max_size=6)


class _Canned:
    """The socket that http.client reads its response from."""

    def __init__(self, response: bytes) -> None:
        self._response = response

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._response)


def _read(response: bytes, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    """`response` as the standard library's client understands it: an independent reader."""
    reader = http.client.HTTPResponse(_Canned(response), method=method)  # type: ignore[arg-type]
    reader.begin()
    return reader, reader.read()


class RenderTests(SynchronousTestCase):
    """What a rendered answer looks like on the wire."""

    def test_exact_bytes(self) -> None:
        """An answer is status line, own headers in order, length, connection and content, byte for byte."""
        answer = HttpAnswer(404, (("Content-Type", "text/plain"), ("X-A", "")), b"nothing here\n")
        self.assertEqual(
            render(answer),
            b"HTTP/1.1 404 Not Found\r\n"
            b"Content-Type: text/plain\r\n"
            b"X-A: \r\n"
            b"Content-Length: 13\r\n"
            b"Connection: close\r\n"
            b"\r\n"
            b"nothing here\n",
        )

    def test_empty_content_has_a_length(self) -> None:
        """An answer without content says Content-Length: 0, so that no client waits for more."""
        self.assertEqual(
            render(HttpAnswer(400)),
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )

    def test_head_only(self) -> None:
        """The answer to a HEAD is the head of the answer to a GET, the length of the content included."""
        answer = HttpAnswer(200, (("Content-Type", "text/html"),), b"<!doctype html>")
        head, separator, content = render(answer).partition(b"\r\n\r\n")
        self.assertEqual(render(answer, head_only=True), head + separator)
        self.assertIn(b"\r\nContent-Length: 15\r\n", head + separator)
        self.assertEqual(content, answer.body)

    def test_server_name(self) -> None:
        """A server name is sent as the Server header; an empty one sends no such header."""
        self.assertIn(b"\r\nServer: wsecho/1\r\n", render(HttpAnswer(503), server_name="wsecho/1"))
        self.assertNotIn(b"Server", render(HttpAnswer(503), server_name=""))

    def test_upgrade_is_named_in_connection(self) -> None:
        """An answer with an Upgrade header names it in Connection too, in whatever case it is written."""
        for name in ("Upgrade", "upgrade"):
            rendered = render(HttpAnswer(426, ((name, "websocket"),)))
            self.assertIn(b"\r\nConnection: close, Upgrade\r\n", rendered)

    def test_every_status_is_read_back(self) -> None:
        """Python's own HTTP client reads every status, phrase, header and content as they were meant."""
        for status, phrase in REASON_PHRASES.items():
            content = f"{status}\r\n\r\nHTTP/1.1 200 OK\r\n".encode()
            answer = HttpAnswer(status, (("X-Test", "a b"),), content)
            reader, received = _read(render(answer, server_name="s"))
            self.assertEqual((reader.status, reader.reason), (status, phrase))
            self.assertEqual(reader.getheader("X-Test"), "a b")
            self.assertEqual(reader.getheader("Server"), "s")
            self.assertTrue(reader.will_close)
            self.assertEqual(received, content)


class RefusalTests(SynchronousTestCase):
    """What render() does not let out."""

    def accepted(self, *answers: HttpAnswer) -> list[HttpAnswer]:
        """Those of `answers` that render() does not refuse."""
        accepted = []
        for answer in answers:
            try:
                render(answer)
            except ValueError as error:
                self.assertEqual(len(str(error).splitlines()), 1, str(error))
            else:
                accepted.append(answer)
        return accepted

    def test_unknown_status(self) -> None:
        """A status without a phrase raises and names the known ones."""
        self.assertEqual(self.accepted(*(HttpAnswer(status) for status in (0, 101, 204, 299, 600, -1))), [])
        error = self.assertRaises(ValueError, render, HttpAnswer(299))
        self.assertIn("299", str(error))
        self.assertIn("426", str(error))

    def test_header_names(self) -> None:
        """A header name that is not a token raises."""
        names = ("", "A B", "A:", "A\r\nB", "A\n", "\tA", "A\x00", "\xc4", "A\x7f", "(A)")
        self.assertEqual(self.accepted(*(HttpAnswer(200, ((name, "v"),)) for name in names)), [])

    def test_header_values(self) -> None:
        """A value with a line end, a control character, anything above ASCII or outer blanks raises."""
        controls = tuple(f"a{chr(code)}b" for code in (*range(0x20), *range(0x7F, 0xA1), 0x2028))
        values = ("v\r\nX: y", "v\n", "v\r", " v", "v ", " ", *controls)
        self.assertEqual(self.accepted(*(HttpAnswer(200, (("X-A", value),)) for value in values)), [])

    def test_refusal_names_the_header(self) -> None:
        """The error about a wrong value names the header and shows the value escaped."""
        error = self.assertRaises(ValueError, render, HttpAnswer(200, (("X-A", "v\r\nX: y"),)))
        self.assertIn(r"X-A: 'v\r\nX: y'", str(error))

    def test_server_name_is_checked(self) -> None:
        """A server name is held to the same rule as any header value."""
        self.assertRaises(ValueError, render, HttpAnswer(200), server_name="a\r\nb: c")

    def test_framing_headers(self) -> None:
        """An answer cannot bring its own length, connection, transfer coding or server header."""
        names = (
            "Content-Length",
            "content-length",
            "Connection",
            "Keep-Alive",
            "Transfer-Encoding",
            "SERVER",
        )
        self.assertEqual(self.accepted(*(HttpAnswer(200, ((name, "1"),)) for name in names)), [])

    @given(_TRICKY_TEXT, _TRICKY_TEXT)
    def test_no_header_splits_an_answer(self, name: str, value: str) -> None:
        """Whatever name and value are given: render() raises, or one more line holds exactly the two."""
        plain = render(HttpAnswer(200, (), b"x")).split(b"\r\n")
        try:
            lines = render(HttpAnswer(200, ((name, value),), b"x")).split(b"\r\n")
        except ValueError:
            return
        self.assertEqual(lines[1], f"{name}: {value}".encode("ascii"))
        self.assertEqual([lines[0], *lines[2:]][:-3], plain[:-3])
        self.assertEqual([line for line in lines if len(line.splitlines()) > 1], [])


class TableTests(SynchronousTestCase):
    """The values themselves."""

    def test_phrases_are_frozen(self) -> None:
        """The table of phrases cannot be changed by whoever imports it."""
        with self.assertRaises(TypeError):
            REASON_PHRASES[200] = "Fine"  # type: ignore[index]

    def test_phrases_are_errors_or_ok(self) -> None:
        """The table holds 200, redirects and errors only: 1xx, 204 and 304 have no content and need other
        framing."""
        others = [status for status in REASON_PHRASES if not 400 <= status <= 599]
        self.assertEqual(others, [200, 301, 302, 303, 307, 308])

    def test_answer_is_frozen(self) -> None:
        """An answer is a value: it cannot be changed, and its defaults are no headers and no content."""
        answer = HttpAnswer(200)
        self.assertEqual((answer.headers, answer.body), ((), b""))
        with self.assertRaises(dataclasses.FrozenInstanceError):
            answer.status = 500  # type: ignore[misc]
