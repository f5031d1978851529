"""Which web pages may open a connection."""

import re
from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.origins import AllowedOrigins, Origin, OriginRequest, admitting_option, parse_origin


def asked(origin: str | None, host: str = "server.example") -> OriginRequest:
    return OriginRequest(origin=origin, host=host, path="/", peer="tcp4:192.0.2.1:50000")


def admitted(
    policy: Callable[[OriginRequest], bool], origins: list[str], host: str = "server.example"
) -> list[str]:
    return [origin for origin in origins if policy(asked(origin, host))]


# What has been tried to get past an allow-list that holds https://good.example, and past the rule of the same
# origin at Host: good.example. Every row must be refused by both.
TRICKS = {
    "suffix": "https://good.example.evil.example",
    "suffix without a dot": "https://good.exampleevil",
    "prefix": "https://evilgood.example",
    "prefix with a hyphen": "https://evil-good.example",
    "below": "https://evil.good.example",
    "above": "https://example",
    "other host": "https://evil.example",
    "other port": "https://good.example:8443",
    "http's port": "https://good.example:80",
    "other scheme with https's port": "ftp://good.example:443",
    "scheme without a host": "file://",
    "unknown scheme": "chrome-extension://good.example",
    "user": "https://good.example@evil.example",
    "user that is a host and port": "https://good.example:443@evil.example",
    "good host behind a user": "https://evil.example@good.example",
    "empty user": "https://@good.example",
    "backslash and at sign": "https://evil.example\\@good.example",
    "backslash behind": "https://good.example\\",
    "backslash and host": "https://good.example\\.evil.example",
    "backslashes for slashes": "https:\\\\good.example",
    "trailing slash": "https://good.example/",
    "path": "https://good.example/x",
    "path with a host": "https://evil.example/https://good.example",
    "three slashes": "https:///good.example",
    "one slash": "https:/good.example",
    "no slashes": "https:good.example",
    "no scheme": "//good.example",
    "host only": "good.example",
    "host and port only": "good.example:443",
    "query": "https://good.example?",
    "query with a host": "https://evil.example?good.example",
    "fragment": "https://good.example#",
    "fragment with a host": "https://evil.example#good.example",
    "semicolon": "https://good.example;evil.example",
    "space in front": " https://good.example",
    "space behind": "https://good.example ",
    "space inside": "https://good .example",
    "tab inside": "https://good\t.example",
    "tab behind": "https://good.example\t",
    "newline behind": "https://good.example\n",
    "carriage return and newline": "https://good.example\r\nOrigin: https://evil.example",
    "vertical tab": "https://good.example\x0b",
    "form feed": "https://good.example\x0c",
    "unit separator": "https://good.example\x1f",
    "next line and another": "https://good.example\x85https://evil.example",
    "another and next line": "https://evil.example\x85https://good.example",
    "line separator": "https://good.example\u2028",
    "no-break space": "https://good.example\xa0",
    "zero-width space": "https://good\u200b.example",
    "soft hyphen": "https://go\xadod.example",
    "right-to-left override": "https://\u202egood.example",
    "byte order mark": "\ufeffhttps://good.example",
    "NUL inside": "https://good.example\x00.evil.example",
    "NUL behind": "https://good.example\x00",
    "lone surrogate": "https://good.example\udc85",
    "Cyrillic letter": "https://g\u043eod.example",
    "its A-label": "https://xn--god-sed.example",
    "fullwidth letters": "https://\uff47\uff4f\uff4f\uff44.example",
    "fullwidth dot": "https://good\uff0eexample",
    "ideographic dot": "https://good\u3002example",
    "fullwidth slashes": "https:\uff0f\uff0fgood.example",
    "long s in the scheme": "http\u017f://good.example",
    "Kelvin sign": "https://good.example\u212a",
    "other digits in the port": "https://good.example:\u0664\u0664\u0663",
    "percent-encoded dot": "https://good%2eexample",
    "percent-encoded NUL": "https://good.example%00",
    "percent-encoded slash": "https://good.example%2f.evil.example",
    "zone": "https://good.example%25eth0",
    "trailing dot": "https://good.example.",
    "two trailing dots": "https://good.example..",
    "leading dot": "https://.good.example",
    "two dots inside": "https://good..example",
    "dot replaced": "https://goodxexample",
    "dot left out": "https://goodexample",
    "leading hyphen": "https://-good.example",
    "trailing hyphen": "https://good.example-",
    "empty port": "https://good.example:",
    "zero-led port": "https://good.example:0443",
    "port 0": "https://good.example:0",
    "port 65536": "https://good.example:65536",
    "port beyond 2^16": "https://good.example:65979",
    "port with a plus": "https://good.example:+443",
    "port with a minus": "https://good.example:-443",
    "port with a blank": "https://good.example: 443",
    "port with an underscore": "https://good.example:4_43",
    "hexadecimal port": "https://good.example:0x1bb",
    "two ports": "https://good.example:443:443",
    "empty host": "https://",
    "empty host, port": "https://:443",
    "in brackets": "https://[good.example]",
    "asterisk": "*",
    "asterisk as host": "https://*",
    "asterisk as label": "https://*.example",
    "null": "null",
    "NULL": "NULL",
    "loopback": "loopback",
    "localhost": "http://localhost",
    "undefined": "undefined",
    "empty": "",
    "two with a comma": "https://good.example,https://evil.example",
    "two with comma and blank": "https://good.example, https://evil.example",
    "two headers joined, ours last": "https://evil.example, https://good.example",
    "origin-list of RFC 6454": "https://good.example https://evil.example",
    "quoted": '"https://good.example"',
    "in angle brackets": "<https://good.example>",
    "scheme with a blank": "https ://good.example",
    "scheme that starts with a digit": "1https://good.example",
    "nested scheme": "view-source:https://good.example",
    "blob": "blob:https://good.example",
    "javascript": "javascript://good.example",
    "header name inside": "Origin: https://good.example",
    "label of 64": f"https://{'a' * 64}.good.example",
    "very long": "https://good.example" + ".evil" * 20000,
}


class TrickTests(SynchronousTestCase):
    """Attempts to look like an allowed origin."""

    def test_each_trick_is_refused(self) -> None:
        """No trick is admitted by an exact pattern, nor taken for the same origin; the true origin is
        admitted by both."""
        listed, same = AllowedOrigins(["https://good.example"]), AllowedOrigins()
        tricks = list(TRICKS.values())
        self.assertEqual(admitted(listed, tricks), [])
        self.assertEqual(admitted(same, tricks, host="good.example"), [])
        self.assertTrue(listed(asked("https://good.example")))
        self.assertTrue(same(asked("https://good.example", "good.example")))

    def test_tricks_get_past_no_wildcard(self) -> None:
        """No trick gets below a wildcard for the good host, but for the one that is below it."""
        policy = AllowedOrigins(["https://*.good.example"])
        self.assertEqual(admitted(policy, list(TRICKS.values())), [TRICKS["below"]])

    def test_wildcard_tricks_are_refused(self) -> None:
        """A wildcard covers whole labels in front of its name, with its scheme and its port."""
        policy = AllowedOrigins(["https://*.good.example"])
        self.assertEqual(
            admitted(
                policy,
                [
                    "https://good.example",
                    "https://.good.example",
                    "https://evilgood.example",
                    "https://evil-good.example",
                    "https://a..good.example",
                    "https://a.good.example.",
                    "https://a.good.example.evil.example",
                    "https://evil.example/.good.example",
                    "https://evil.example#.good.example",
                    "https://evil.example\\.good.example",
                    "https://evil.example\x00.good.example",
                    "https://evil.example%00.good.example",
                    "https://evil.example:443.good.example",
                    "https://user@a.good.example",
                    "https://*.good.example",
                    "https://a.goodxexample",
                    "http://a.good.example",
                    "https://a.good.example:8443",
                    "wss://a.good.example",
                ],
            ),
            [],
        )

    @given(
        st.sampled_from(sorted(TRICKS)),
        st.sampled_from(["", "https://good.example", "https://a.good.example"]),
    )
    def test_tricks_stay_tricks_in_front_and_behind(self, name: str, other: str) -> None:
        """A trick joined to a good origin, on either side, is refused too, unless both together are another
        plain origin."""
        policy = AllowedOrigins(["https://good.example"])
        for origin in (TRICKS[name] + other, other + TRICKS[name]):
            if origin != "https://good.example":
                self.assertFalse(policy(asked(origin)), origin)


class SameOriginTests(SynchronousTestCase):
    """The page comes from where it connects to."""

    def test_host_and_port_decide(self) -> None:
        """The same origin is admitted, with the port that the origin's scheme implies."""
        same = [
            ("http://localhost:9000", "localhost:9000"),
            ("http://example.com", "example.com"),
            ("https://example.com", "example.com"),
            ("https://example.com", "example.com:443"),
            ("https://example.com:443", "example.com"),
            ("http://example.com:80", "example.com"),
            ("http://example.com", "example.com:80"),
            ("https://example.com:8443", "example.com:8443"),
            ("HTTPS://EXAMPLE.COM", "example.com"),
            ("https://example.com", "EXAMPLE.com"),
            ("http://127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://[::1]:9000", "[::1]:9000"),
            ("http://[0:0:0:0:0:0:0:1]:9000", "[::1]:9000"),
            ("https://my_host", "my_host"),
            ("ws://example.com:9000", "example.com:9000"),
            ("wss://example.com", "example.com"),
        ]
        policy = AllowedOrigins()
        self.assertEqual([(origin, host) for origin, host in same if not policy(asked(origin, host))], [])

    def test_anything_else_is_foreign(self) -> None:
        """Another host or port is refused, and so is everything when the Host header cannot be read."""
        foreign = [
            ("http://example.com", "example.com:9000"),
            ("http://example.com:9000", "example.com"),
            ("https://example.com", "example.com:80"),
            ("http://example.com", "example.com:443"),
            ("http://example.com:443", "example.com"),
            ("http://www.example.com", "example.com"),
            ("http://example.com", "www.example.com"),
            ("http://localhost:9000", "127.0.0.1:9000"),
            ("http://127.0.0.1:9000", "[::1]:9000"),
            ("http://[::ffff:127.0.0.1]", "127.0.0.1"),
            ("chrome-extension://example.com", "example.com"),
            ("ftp://example.com:9000", "example.com:9000"),
            ("file://", ""),
            ("file://example.com", "example.com"),
            ("null", "null"),
            ("", ""),
            ("https://", ""),
            ("https://example.com", ""),
            ("https://example.com", "example.com."),
            ("https://example.com", "example.com:"),
            ("https://example.com", "example.com, example.com"),
            ("https://example.com", "user@example.com"),
            ("https://example.com", " example.com"),
            ("https://example.com/", "example.com/"),
            ("https://*", "*"),
        ]
        policy = AllowedOrigins()
        self.assertEqual([(origin, host) for origin, host in foreign if policy(asked(origin, host))], [])

    def test_same_origin_passes_beside_patterns(self) -> None:
        """Listing other origins does not shut out the server's own page."""
        policy = AllowedOrigins(["https://good.example"], allow_missing=False)
        self.assertTrue(policy(asked("http://localhost:9000", "localhost:9000")))


class PatternTests(SynchronousTestCase):
    """What each kind of pattern admits."""

    def check(self, pattern: str, admits: list[str], refuses: list[str]) -> None:
        policy = AllowedOrigins([pattern])
        self.assertEqual(admitted(policy, admits + refuses), admits)

    def test_exact(self) -> None:
        """An exact pattern admits one origin, in whatever case and with or without its default port."""
        self.check(
            "https://good.example",
            ["https://good.example", "https://good.example:443", "HTTPS://Good.Example"],
            [
                "http://good.example",
                "http://good.example:443",
                "https://good.example:80",
                "wss://good.example",
            ],
        )
        self.check("HTTPS://GOOD.example:443", ["https://good.example"], ["https://good.example:444"])
        self.check(
            "http://good.example:8080",
            ["http://good.example:8080"],
            ["http://good.example", "https://good.example:8080"],
        )

    def test_addresses(self) -> None:
        """Addresses are compared as addresses; forms that programs read differently are refused."""
        self.check(
            "http://[2001:DB8::1]:9000",
            ["http://[2001:db8::1]:9000", "http://[2001:db8:0:0:0:0:0:1]:9000"],
            ["http://[2001:db8::2]:9000", "http://2001:db8::1:9000", "http://[2001:db8::1%25eth0]:9000"],
        )
        self.check(
            "http://127.0.0.1:9000",
            ["http://127.0.0.1:9000"],
            [
                "http://127.1:9000",
                "http://2130706433:9000",
                "http://0x7f.0.0.1:9000",
                "http://0177.0.0.1:9000",
                "http://127.0.0.01:9000",
                "http://127.0.0.1.:9000",
                "http://[::ffff:127.0.0.1]:9000",
            ],
        )

    def test_other_schemes(self) -> None:
        """Extensions and embedded browsers are admitted by their exact origin only."""
        extension = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"
        self.check(
            extension, [extension], [extension[:-1], extension + ":443", "chrome-extension://", "null"]
        )
        self.check(
            "capacitor://localhost", ["capacitor://localhost"], ["http://localhost", "ionic://localhost"]
        )

    def test_scheme_without_host(self) -> None:
        """``file://`` and its like can be listed, and are neither ``null`` nor one another."""
        self.check(
            "file://",
            ["file://", "FILE://"],
            ["null", "file:///", "file:///x", "file:", "qrc://", "file://x"],
        )
        self.check("qrc://", ["qrc://"], ["file://", "qrc:/", "qrc:"])

    def test_wildcard(self) -> None:
        """A wildcard admits names with one or more labels in front, and not the name itself."""
        self.check(
            "https://*.example.com",
            [
                "https://a.example.com",
                "https://b.a.example.com",
                "https://A.EXAMPLE.COM:443",
                "https://xn--a.example.com",
            ],
            [
                "https://example.com",
                "https://badexample.com",
                "http://a.example.com",
                "https://a.example.com:444",
            ],
        )
        self.check(
            "http://*.example.com:8080",
            ["http://a.example.com:8080"],
            ["http://a.example.com", "https://a.example.com:8080", "http://example.com:8080"],
        )
        self.check("http://*.localhost:3000", ["http://app.localhost:3000"], ["http://localhost:3000"])

    def test_loopback(self) -> None:
        """``loopback`` admits this machine's own names and addresses with any port, and nothing that looks
        like them."""
        self.check(
            "loopback",
            [
                "http://localhost",
                "https://localhost:3000",
                "http://LOCALHOST:8080",
                "http://127.0.0.1:5173",
                "http://127.255.255.254",
                "https://[::1]:1",
                "ws://localhost:9000",
            ],
            [
                "http://localhost.evil.example",
                "http://evil.localhost",
                "http://localhost.",
                "http://localhostess",
                "http://127.0.0.1.evil.example",
                "http://127.example.com",
                "http://128.0.0.1",
                "http://0.0.0.0",
                "http://[::]",
                "http://[::2]",
                "http://[::ffff:127.0.0.1]",
                "http://[fe80::1]",
                "http://192.168.0.1",
                "http://127.1",
                "chrome-extension://localhost",
                "capacitor://localhost",
                "file://",
                "null",
                "loopback",
            ],
        )

    def test_null(self) -> None:
        """``null`` admits the word null and nothing else."""
        self.check(
            "null", ["null"], ["NULL", "Null", "null ", "", "null://", "https://null", "file://", "undefined"]
        )

    def test_asterisk(self) -> None:
        """``*`` admits every Origin that is there, even one that is no origin."""
        self.check(
            "*", ["https://evil.example", "null", "file://", "qt-project.org", "", *TRICKS.values()], []
        )

    def test_patterns_add_up(self) -> None:
        """Of several patterns each admits its own, and the order does not matter."""
        patterns = ["https://a.example", "null", "https://*.b.example", "loopback"]
        origins = ["https://a.example", "null", "https://x.b.example", "http://localhost:1"]
        self.assertEqual(admitted(AllowedOrigins(patterns), origins), origins)
        self.assertEqual(admitted(AllowedOrigins(iter(reversed(patterns))), origins), origins)
        self.assertEqual(admitted(AllowedOrigins(patterns), ["https://b.example", "https://x.a.example"]), [])

    def test_representation(self) -> None:
        """The policy shows what it was made of."""
        self.assertEqual(
            repr(AllowedOrigins(["null"], allow_missing=False)),
            "AllowedOrigins(('null',), allow_missing=False)",
        )


class WrongPatternTests(SynchronousTestCase):
    """A wrong value stops the start; it never opens the door."""

    def test_each_wrong_pattern_is_named(self) -> None:
        """A wrong pattern raises one line of ValueError with the value and what is accepted."""
        wrong = [
            *(trick for name, trick in TRICKS.items() if not is_pattern(name)),
            "*.example.com",
            "https://*",
            "https://*.",
            "https://*.com",
            "https://*.COM",
            "https://*.1",
            "https://*.0.0.1",
            "https://*.127.0.0.1",
            "https://*.[::1]",
            "https://*.*.example.com",
            "https://a.*.example.com",
            "https://a*.example.com",
            "https://**.example.com",
            "https://*example.com",
            "https://example.*",
            "https://*.example.com/",
            "https://*.example.com:*",
            "https://*.example.com:0",
            "https://example.com:*",
            "http*://example.com",
            "*://example.com",
            "https?://example.com",
            "https://[::1",
            "https://::1",
            "https://[::g]",
            "https://[v1.a]",
            "https://256.0.0.1",
            "Loopback",
            " null",
            "none",
            "all",
            "any",
            "same",
            "a,b",
        ]
        for pattern in wrong:
            error = self.assertRaises(ValueError, AllowedOrigins, ["https://good.example", pattern])
            line = str(error)
            self.assertTrue(line.isprintable(), line)
            self.assertLess(len(line), 600)
            self.assertIn("accepted are", line)

    def test_message(self) -> None:
        """The line of a typical mistake says what is wrong with it."""
        self.assertEqual(
            str(self.assertRaises(ValueError, AllowedOrigins, ["https://good.example/"])),
            'not an origin: "https://good.example/" is not scheme://host[:port]; accepted are '
            "scheme://host[:port] with nothing after it, https://*.example.com[:port], loopback, null, "
            "or * for any",
        )
        self.assertIn(
            '"*.com" would cover every name under .com',
            str(self.assertRaises(ValueError, AllowedOrigins, ["https://*.com"])),
        )

    def test_text_in_place_of_a_list(self) -> None:
        """A single text instead of a list of texts is refused, even one whose every letter would be a
        pattern."""
        for value in ("https://good.example", "*", "", b"*", None, 5):
            error = self.assertRaises(ValueError, AllowedOrigins, value)
            self.assertIn("must be a list of texts", str(error))

    def test_something_else_in_the_list(self) -> None:
        """A list with anything but texts is refused."""
        for value in (None, b"*", 443, ["*"], re.compile(".*")):
            error = self.assertRaises(ValueError, AllowedOrigins, ["null", value])
            self.assertIn("must hold texts only", str(error))


def is_pattern(trick: str) -> bool:
    """Tell whether an attack on https://good.example is in itself a value that an operator may list."""
    return trick in {
        "suffix",
        "suffix without a dot",
        "prefix",
        "prefix with a hyphen",
        "below",
        "above",
        "other host",
        "other port",
        "http's port",
        "other scheme with https's port",
        "scheme without a host",
        "unknown scheme",
        "its A-label",
        "dot replaced",
        "dot left out",
        "asterisk",
        "null",
        "loopback",
        "localhost",
        "javascript",
    }


class MissingOriginTests(SynchronousTestCase):
    """Programs that are no browsers send no Origin."""

    def test_missing_passes_unless_denied(self) -> None:
        """A request without Origin passes by default, and not with allow_missing=False."""
        self.assertTrue(AllowedOrigins()(asked(None)))
        self.assertFalse(AllowedOrigins(allow_missing=False)(asked(None)))

    def test_no_pattern_stands_for_a_missing_origin(self) -> None:
        """Neither ``*`` nor ``null`` overrides the decision about missing origins."""
        self.assertFalse(AllowedOrigins(["*", "null", "loopback"], allow_missing=False)(asked(None)))

    def test_empty_is_not_missing(self) -> None:
        """An empty Origin header is there, and wrong."""
        self.assertFalse(AllowedOrigins()(asked("")))


_STRICT = re.compile(
    r"[a-z][a-z0-9+.-]*://([a-z0-9_][a-z0-9_.-]*|\[[0-9a-f:.]+\])?(:[1-9][0-9]{0,4})?",
    re.ASCII | re.IGNORECASE,
)
_PATTERNS = [
    "https://good.example",
    "https://*.good.example",
    "loopback",
    "null",
    "file://",
    "http://[::1]:9000",
]
_NEAR = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "https",
                "http",
                "wss",
                "file",
                "://",
                ":",
                "/",
                "good",
                ".",
                "example",
                "evil",
                "@",
                "\\",
                "%",
                "*",
                "null",
            ]
        ),
        st.sampled_from(
            ["localhost", "127.0.0.1", "[::1]", ":443", ":9000", "\t", " ", "\x85", "\n", "\u212a", "-"]
        ),
        st.characters(),
    ),
    max_size=8,
).map("".join)


class GrammarTests(SynchronousTestCase):
    """The grammar, against texts nobody thought of."""

    @given(_NEAR)
    @example("https://good.example")
    @example("https://a.good.example:443")
    @example("null")
    @example("file://")
    def test_only_the_strict_grammar_is_admitted(self, origin: str) -> None:
        """What is admitted without ``*`` is ``null`` or, byte for byte, of the strict grammar."""
        if AllowedOrigins(_PATTERNS)(asked(origin, "good.example")) and origin != "null":
            self.assertTrue(origin.isascii())
            self.assertIsNotNone(_STRICT.fullmatch(origin), origin)

    @given(_NEAR)
    @example("HTTPS://GOOD.EXAMPLE:0443")
    @example("https://good.example:443")
    @example("http://[0:0::1]:80")
    @example("qrc://")
    @example("null")
    @example("*")
    @example("https://*.good.example")
    def test_suggested_option_admits_the_origin(self, origin: str) -> None:
        """The suggested option is None, or a pattern that admits this origin and can itself be an origin."""
        option = admitting_option(origin)
        if option is not None:
            self.assertTrue(AllowedOrigins([option])(asked(origin)))
            self.assertFalse(AllowedOrigins([option])(asked("https://other.example")))
            self.assertEqual(admitting_option(option), option)

    @given(
        st.from_regex(r"[a-z][a-z0-9+.-]{0,20}", fullmatch=True),
        st.lists(
            st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9_])?", fullmatch=True), min_size=1, max_size=4
        ),
        st.one_of(st.none(), st.integers(1, 65535)),
    )
    def test_canonical_form_is_stable(self, scheme: str, labels: list[str], port: int | None) -> None:
        """An origin's text reads back as the same origin, in upper case too."""
        host = ".".join([*labels, "example"])
        origin = parse_origin(f"{scheme}://{host}" + ("" if port is None else f":{port}"))
        self.assertEqual((origin.scheme, origin.host), (scheme, host))
        self.assertEqual(parse_origin(str(origin)), origin)
        self.assertEqual(parse_origin(str(origin).upper()), origin)


class ParseOriginTests(SynchronousTestCase):
    """Reading an origin."""

    def test_parts(self) -> None:
        """An origin is read into scheme, host and port, with the default port of its scheme."""
        table = {
            "http://example.com": Origin("http", "example.com", 80),
            "HTTPS://Example.COM": Origin("https", "example.com", 443),
            "ws://example.com": Origin("ws", "example.com", 80),
            "wss://example.com:65535": Origin("wss", "example.com", 65535),
            "https://[2001:DB8::0:1]:1": Origin("https", "[2001:db8::1]", 1),
            "moz-extension://0a1b-2c": Origin("moz-extension", "0a1b-2c", None),
            "app://host:7": Origin("app", "host", 7),
            "file://": Origin("file", "", None),
        }
        self.assertEqual({text: parse_origin(text) for text in table}, table)

    def test_error_is_one_printable_line(self) -> None:
        """What cannot be read is named in one line, escaped and shortened."""
        for trick in ("https://good.example\n\x1b[2J\u202e", "x" * 9000):
            line = str(self.assertRaises(ValueError, parse_origin, trick))
            self.assertTrue(line.isprintable())
            self.assertLess(len(line), 400)

    def test_suggestions(self) -> None:
        """The suggested option is the canonical origin; for what is no origin there is none."""
        table = {
            "https://Good.Example:443": "https://good.example",
            "http://good.example:443": "http://good.example:443",
            "http://[0:0::1]:80": "http://[::1]",
            "null": "null",
            "file://": "file://",
            "*": None,
            "loopback": None,
            "https://*.good.example": None,
            "https://good.example/": None,
            "": None,
        }
        self.assertEqual({text: admitting_option(text) for text in table}, table)
