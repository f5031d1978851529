"""Tests for what a client asks for."""

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsecho.wire.admission import check_upgrade, parse_head
from wsecho.wire.request import ClientRequest, is_token, render_request

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def request(url: str = "ws://example.com/", **options: Any) -> ClientRequest:
    """A request of `url`."""
    return ClientRequest(url=url, **options)


class UrlTests(SynchronousTestCase):
    """What the URL says."""

    def test_plain(self) -> None:
        """A ws URL without port means port 80, and one without path the path ``/``."""
        asked = request("ws://example.com")
        self.assertEqual(
            (asked.is_secure, asked.host, asked.port, asked.resource), (False, "example.com", 80, "/")
        )

    def test_secure(self) -> None:
        """A wss URL without port means port 443; the scheme may be in capitals."""
        asked = request("WSS://example.com/")
        self.assertEqual((asked.is_secure, asked.port), (True, 443))

    def test_port(self) -> None:
        """A port is taken, and an empty one is the scheme's own."""
        self.assertEqual(request("ws://example.com:9000/").port, 9000)
        self.assertEqual(request("wss://example.com:/").port, 443)

    def test_path_and_query(self) -> None:
        """Path and query stay encoded as given."""
        resource = "/a%20b/%e2%82%ac/;x=1?q=%2F&r=a+b=c?d"
        self.assertEqual(request(f"ws://example.com{resource}").resource, resource)

    def test_query_without_path(self) -> None:
        """A query right behind the host belongs to the path ``/``."""
        self.assertEqual(request("ws://example.com?x=1").resource, "/?x=1")

    def test_unsafe_characters(self) -> None:
        """What a URL does not write literally is percent-encoded, as QUrl does."""
        self.assertEqual(
            request('ws://example.com/a b/"<>\\^`{|}').resource, "/a%20b/%22%3C%3E%5C%5E%60%7B%7C%7D"
        )

    def test_beyond_ascii(self) -> None:
        """Characters beyond ASCII are sent as percent-encoded UTF-8."""
        self.assertEqual(request("ws://example.com/é?ü=€").resource, "/%C3%A9?%C3%BC=%E2%82%AC")

    def test_lone_percent(self) -> None:
        """A percent sign that encodes nothing is encoded itself, and one that does is left."""
        self.assertEqual(request("ws://example.com/%zz%4%41%").resource, "/%25zz%254%41%25")

    def test_literal_delimiters(self) -> None:
        """What a URL may write literally is left as it is."""
        literal = "/!$&'()*+,-.:;=@[]_~"
        self.assertEqual(request(f"ws://example.com{literal}").resource, literal)

    def test_name_in_lower_case(self) -> None:
        """A host name is compared and sent in lower case."""
        self.assertEqual(request("ws://EXAMPLE.com/").host, "example.com")

    def test_international_name(self) -> None:
        """An international name is looked up by its A-labels (IDNA 2008)."""
        self.assertEqual(request("ws://BÜCHER.example/").host, "xn--bcher-kva.example")
        self.assertEqual(request("ws://faß.example/").host, "xn--fa-hia.example")

    def test_ipv4(self) -> None:
        """An IPv4 address is a host."""
        self.assertEqual(request("ws://127.0.0.1:9000").authority, "127.0.0.1:9000")

    def test_ipv6(self) -> None:
        """An IPv6 address stands in brackets in URL and authority, and without them as the host."""
        asked = request("ws://[0:0::1]:9000/")
        self.assertEqual((asked.host, asked.authority), ("::1", "[::1]:9000"))

    def test_user_and_password(self) -> None:
        """User and password of the URL are decoded and kept."""
        asked = request("ws://us%40er:p%3Aw:d@example.com/")
        self.assertEqual((asked.user, asked.password, asked.host), ("us@er", "p:w:d", "example.com"))

    def test_no_user(self) -> None:
        """A URL without user has an empty one, and so has its password."""
        self.assertEqual((request().user, request().password), ("", ""))
        self.assertEqual(request("ws://u@example.com/").password, "")

    def refused(self, url: Any, why: str) -> None:
        error = self.assertRaises(ValueError, ClientRequest, url=url)
        self.assertTrue(str(error).startswith("url: "), str(error))
        self.assertIn(why, str(error))
        self.assertEqual(len(str(error).splitlines()), 1)

    def test_other_schemes(self) -> None:
        """Only ws and wss are schemes of WebSocket."""
        for url in (
            "http://example.com/",
            "example.com",
            "//example.com/",
            "ws:example.com",
            "",
            "ws\u017f://h",
        ):
            self.refused(url, "ws://host")

    def test_no_text(self) -> None:
        """A URL that is no text is refused by name."""
        self.refused(None, "not NoneType")
        self.refused(b"ws://example.com/", "not bytes")

    def test_no_host(self) -> None:
        """A URL needs a host."""
        for url in ("ws://", "ws:///path", "ws://:80/", "ws://user@/"):
            self.refused(url, "no host")

    def test_malformed_hosts(self) -> None:
        """A host that two readers may take differently is refused."""
        for host in ("a b", "a\\b", "-a", "a..b", "127.1", "0x7f.1", "[::1", "[zz]", "a%41", "example.com."):
            self.refused(f"ws://{host}/", "url: ")

    def test_malformed_international_name(self) -> None:
        """A name that IDNA does not allow is refused."""
        self.refused("ws://☃.example/", "not an international host name")
        self.refused("ws://\ud800.example/", "not an international host name")

    def test_two_users(self) -> None:
        """A second @ is refused: who reads it otherwise connects elsewhere."""
        self.refused("ws://good.example@evil.example@x/", "host[:port]")

    def test_malformed_ports(self) -> None:
        """A port is a number from 1 to 65535."""
        for port in ("0", "65536", "99999"):
            self.refused(f"ws://example.com:{port}/", "1 to 65535")
        for port in ("123456", "-1", "x", "\uff18\uff10"):
            self.refused(f"ws://example.com:{port}/", "host[:port]")

    def test_fragment(self) -> None:
        """A fragment is refused, also an empty one (RFC 6455 section 3)."""
        self.refused("ws://example.com/#top", "fragment")
        self.refused("ws://example.com/?x#", "fragment")

    def test_control_characters(self) -> None:
        """A line end or another control character is refused wherever it stands."""
        for character in ("\r", "\n", "\t", "\0", "\x7f", "\x85", "\x9f"):
            for url in (
                f"ws://example.com/{character}",
                f"ws://ex{character}ample.com/",
                f"ws://h/?{character}",
            ):
                self.refused(url, "control character")

    def test_encoded_line_end(self) -> None:
        """An encoded line end in the path is refused, as in Qt; a query may have one."""
        self.refused("ws://example.com/a%0d%0Ab", "encoded line end")
        self.assertEqual(request("ws://example.com/?a%0D%0A").resource, "/?a%0D%0A")

    def test_surrogate(self) -> None:
        """Half a character is refused: it has no UTF-8."""
        self.refused("ws://example.com/\ud800", "surrogate")


class OriginTests(SynchronousTestCase):
    """The Origin header."""

    def test_any_text(self) -> None:
        """An origin is sent as given, also one that is no URL, as in Qt."""
        for origin in ("https://example.com", "qt-project.org", "null", "two words"):
            self.assertIn(
                f"\r\nOrigin: {origin}\r\n".encode(), render_request(request(origin=origin), key=KEY)
            )

    def test_none(self) -> None:
        """An empty origin sends no header."""
        self.assertNotIn(b"Origin", render_request(request(), key=KEY))

    def test_refused(self) -> None:
        """Line ends, other controls, outer blanks and everything beyond ASCII are refused by name."""
        for origin in ("a\r\nX: 1", "a\n", "\x00", " a", "a ", "é", None, b"a"):
            error = self.assertRaises(ValueError, request, origin=origin)
            self.assertIn("origin: ", str(error))
            self.assertEqual(len(str(error).splitlines()), 1)


class HeaderTests(SynchronousTestCase):
    """Headers of the program."""

    def test_sent_in_order(self) -> None:
        """Headers are sent behind the handshake's own, in order, each as often as given, without outer
        blanks."""
        asked = request(headers=[("Cookie", "a=1"), ("X-A", " \tb c "), ("Cookie", "d=é")])
        self.assertEqual(asked.headers, (("Cookie", "a=1"), ("X-A", "b c"), ("Cookie", "d=é")))
        self.assertTrue(
            render_request(asked, key=KEY).endswith(b"\r\nCookie: a=1\r\nX-A: b c\r\nCookie: d=\xe9\r\n\r\n")
        )

    def refused(self, headers: Any) -> None:
        error = self.assertRaises(ValueError, request, headers=headers)
        self.assertIn("headers: ", str(error))
        self.assertEqual(len(str(error).splitlines()), 1)

    def test_own_names(self) -> None:
        """The handshake's own headers, and those that announce a body, are refused, however they are
        written."""
        for name in ("Host", "UPGRADE", "connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"):
            self.refused([(name, "x")])
        for name in ("Sec-WebSocket-Extensions", "Sec-WebSocket-Accept", "Origin"):
            self.refused([(name, "x")])
        for name in ("Content-Length", "Transfer-Encoding"):
            self.refused([(name, "0")])

    def test_names(self) -> None:
        """A name that is no token is refused."""
        for name in ("", "a b", "a:", "a\r\nb", "é", None, b"x"):
            self.refused([(name, "x")])

    def test_values(self) -> None:
        """A value with a line end, another control or a character beyond ISO 8859-1 is refused."""
        for value in ("a\r\nb: c", "\n", "\0", "\x7f", "\x85", "€", None, b"x", 1):
            self.refused([("X-A", value)])

    def test_shape(self) -> None:
        """What is no list of pairs is refused."""
        for headers in ("ab", b"ab", ["ab"], [("a",)], [("a", "b", "c")], 1, None, {"a": "b"}):
            self.refused(headers)


class SubprotocolTests(SynchronousTestCase):
    """What is offered."""

    def test_offered(self) -> None:
        """Subprotocols are offered in order, each once, in one header."""
        asked = request(subprotocols=["chat", "superchat", "chat"])
        self.assertEqual(asked.offered, ("chat", "superchat"))
        self.assertIn(b"\r\nSec-WebSocket-Protocol: chat, superchat\r\n", render_request(asked, key=KEY))

    def test_none(self) -> None:
        """Without subprotocols there is no header."""
        self.assertNotIn(b"Protocol", render_request(request(), key=KEY))

    def test_raw_header(self) -> None:
        """Names of a raw header are offered behind the others; what is no token is dropped, as in Qt."""
        headers = [("sec-websocket-protocol", "foo, chat ,b(r"), ("Sec-WebSocket-Protocol", "bar,,")]
        asked = request(headers=headers, subprotocols=("chat",))
        self.assertEqual(asked.offered, ("chat", "foo", "bar"))
        head = render_request(asked, key=KEY)
        self.assertEqual(head.lower().count(b"sec-websocket-protocol"), 1)

    def test_refused(self) -> None:
        """A name that is no token, and a text in the place of a list, are refused by name."""
        for names in (["a b"], [""], ["a,b"], ["é"], [1], "chat", b"chat", None, 7):
            error = self.assertRaises(ValueError, request, subprotocols=names)
            self.assertIn("subprotocols: ", str(error))

    def test_token(self) -> None:
        """A token has visible ASCII characters and no separators."""
        self.assertTrue(is_token("v1.chat+json"))
        for name in ("", " ", "a/b", "a;b", "\x7f", 1, None):
            self.assertFalse(is_token(name))


class RenderTests(SynchronousTestCase):
    """The request head."""

    def test_whole(self) -> None:
        """The head has what RFC 6455 section 4.1 asks for, and neither version nor name of a program."""
        asked = request("wss://example.com/chat?x", origin="https://example.com", subprotocols=("chat",))
        self.assertEqual(
            render_request(asked, key=KEY, extensions="permessage-deflate"),
            b"GET /chat?x HTTP/1.1\r\n"
            b"Host: example.com\r\n"
            b"Upgrade: websocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n"
            b"Origin: https://example.com\r\n"
            b"Sec-WebSocket-Protocol: chat\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        )

    def test_host_header(self) -> None:
        """The Host header has brackets around IPv6 and the port unless it is the scheme's own."""
        for url, host in (
            ("ws://example.com:80/", "example.com"),
            ("ws://example.com:443/", "example.com:443"),
            ("wss://example.com:443/", "example.com"),
            ("wss://example.com:80/", "example.com:80"),
            ("ws://[::1]/", "[::1]"),
            ("ws://[::1]:9000/", "[::1]:9000"),
        ):
            self.assertEqual(request(url).host_header, host)

    def test_credentials_stay(self) -> None:
        """User and password of the URL are not sent."""
        head = render_request(request("ws://user:secret@example.com/"), key=KEY)
        self.assertNotIn(b"user", head)
        self.assertNotIn(b"secret", head)

    @given(
        st.text(st.characters(blacklist_categories=["Cs"]), max_size=20),
        st.lists(st.tuples(st.text(max_size=5), st.text(max_size=10)), max_size=3),
        st.text(max_size=10),
    )
    def test_one_request(self, rest: str, headers: list[tuple[str, str]], origin: str) -> None:
        """Whatever is asked is refused, or one request that the server's strict reading accepts as it was
        asked."""
        try:
            asked = request("ws://example.com/" + rest, headers=tuple(headers), origin=origin)
        except ValueError:
            return
        sent = render_request(asked, key=KEY)
        self.assertEqual(sent.count(b"\r\n\r\n"), 1)
        head = parse_head(sent, max_line=8192, max_lines=100)
        self.assertEqual(check_upgrade(head, [13]).subprotocols, asked.offered)
        self.assertEqual(head.headers.get("origin", ""), origin)
        self.assertEqual(head.path + ("?" + head.query if "?" in asked.resource else ""), asked.resource)


class ValueTests(SynchronousTestCase):
    """A request as a value."""

    def test_equal(self) -> None:
        """Requests of the same things are equal, and can be keys."""
        self.assertEqual(request(), request())
        self.assertEqual(len({request(), request(), request(origin="a")}), 2)

    def test_replace(self) -> None:
        """A copy with one field changed is checked anew."""
        asked = request(origin="a")
        copy = dataclasses.replace(asked, url="wss://b.example/x")
        self.assertEqual((copy.host, copy.origin, asked.host), ("b.example", "a", "example.com"))
        self.assertRaises(ValueError, dataclasses.replace, asked, url="ftp://b.example")

    def test_frozen(self) -> None:
        """A request cannot be changed into an unchecked one."""
        self.assertRaises(dataclasses.FrozenInstanceError, setattr, request(), "origin", "a\r\n")
