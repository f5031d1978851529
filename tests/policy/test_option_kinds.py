"""Tests for `wsecho.policy.option_kinds`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.option_kinds import NOT_ALLOWED, Kind, Option


def row(kind: Kind, **others: Any) -> Option:
    """An option of a kind."""
    return Option(**{"name": "it", "kind": kind, "meaning": "m", "default": None, "reason": "r"} | others)


class ParseTests(SynchronousTestCase):
    """A value is read as its kind says."""

    def assert_refused(self, option: Option, *texts: str) -> None:
        """Assert that each text is refused with the line that says what is accepted."""
        for text in texts:
            error = self.assertRaises(ValueError, option.parse, text)
            self.assertEqual(str(error), f"accepted is {option.accepted}", text)

    def test_flag(self) -> None:
        """A flag is true or false and nothing that resembles it."""
        self.assertIs(row(Kind.FLAG).parse("true"), True)
        self.assertIs(row(Kind.FLAG).parse("false"), False)
        self.assert_refused(row(Kind.FLAG), "", "True", "1", "yes", "on")

    def test_quantities(self) -> None:
        """Sizes, durations and counts are read with their units into numbers."""
        self.assertEqual(row(Kind.SIZE).parse("2KiB"), 2048)
        self.assertEqual(row(Kind.DURATION).parse("500ms"), 0.5)
        self.assertEqual(row(Kind.COUNT).parse("7"), 7)
        for kind in (Kind.SIZE, Kind.DURATION, Kind.COUNT):
            self.assert_refused(row(kind), "", "x", "-1")

    def test_zero_not_allowed(self) -> None:
        """Where 0 is not allowed, every way to write it is refused, and the line says so."""
        for kind, zeros in (
            (Kind.SIZE, ("0", "0KiB", "00")),
            (Kind.DURATION, ("0", "0.0", "0ms")),
            (Kind.COUNT, ("0", "000")),
        ):
            option = row(kind, zero=NOT_ALLOWED)
            self.assert_refused(option, *zeros)
            self.assertTrue(option.accepted.endswith(", above 0"), option.accepted)

    def test_zero_allowed(self) -> None:
        """Where 0 means something, it is read."""
        self.assertEqual(row(Kind.SIZE, zero="no limit").parse("0"), 0)

    def test_port(self) -> None:
        """A port is a number up to 65535."""
        self.assertEqual(row(Kind.PORT).parse("0"), 0)
        self.assertEqual(row(Kind.PORT).parse("65535"), 65535)
        self.assert_refused(row(Kind.PORT), "65536", "-1", "http", "")

    def test_choice(self) -> None:
        """A choice is one of its words, in this case of letters."""
        option = row(Kind.CHOICE, choices=("close", "drop-oldest", "drop-newest"))
        self.assertEqual(option.parse("close"), "close")
        self.assert_refused(option, "Close", "", "drop")
        self.assertEqual(option.accepted, "close, drop-oldest or drop-newest")

    def test_text(self) -> None:
        """A text that becomes a header's value is printable ASCII without blanks at its ends, or empty."""
        for text in ("", "wsecho", "my server/1.0 (x)"):
            self.assertEqual(row(Kind.TEXT).parse(text), text)
        self.assert_refused(row(Kind.TEXT), "a\r\nX: y", "a\tb", "\x1b[1m", "caf\xe9", " a", "a ", "\x7f")

    def test_token(self) -> None:
        """A subprotocol is an RFC 7230 token: no separators, no blanks, not empty."""
        for text in ("chat", "wsecho.v1.json", "!#$%&'*+-.^_`|~09azAZ"):
            self.assertEqual(row(Kind.TOKEN).parse(text), text)
        self.assert_refused(
            row(Kind.TOKEN), "", "a b", "a,b", "a/b", "a:b", 'a"b', "(a)", "caf\xe9", "a\n", "a=b", "{a}"
        )

    def test_address(self) -> None:
        """An address is an IP address, never a name."""
        for text in ("127.0.0.1", "0.0.0.0", "::1", "::", "fe80::1%eth0"):
            self.assertEqual(row(Kind.ADDRESS).parse(text), text)
        self.assert_refused(row(Kind.ADDRESS), "", "localhost", "[::1]", "127.1", "1.2.3.4:80", "1.2.3.4/8")

    def test_cidr(self) -> None:
        """A network is an address with a prefix, or one address; no bits behind the prefix. Besides, unix."""
        self.assertEqual(row(Kind.CIDR).parse("10.0.0.0/8"), "10.0.0.0/8")
        self.assertEqual(row(Kind.CIDR).parse("::1"), "::1/128")
        self.assertEqual(row(Kind.CIDR).parse("unix"), "unix")
        self.assert_refused(row(Kind.CIDR), "", "10.0.0.1/8", "10.0.0.0/33", "proxy", "Unix")

    def test_workers(self) -> None:
        """A number of workers is above 0, or auto."""
        self.assertEqual(row(Kind.WORKERS).parse("4"), 4)
        self.assertEqual(row(Kind.WORKERS).parse("auto"), "auto")
        self.assert_refused(row(Kind.WORKERS), "0", "", "Auto", "-1")

    def test_other_texts(self) -> None:
        """What is judged elsewhere is a text of one line that can be shown."""
        for kind in (Kind.ENDPOINT, Kind.ORIGIN, Kind.HOST, Kind.FILE, Kind.URL):
            self.assertEqual(row(kind).parse("caf\xe9 1"), "caf\xe9 1")
            self.assert_refused(row(kind), "", "a\nb", "a\x00b", "a\x7f", "a\udcff")


class TomlTests(SynchronousTestCase):
    """A value of a TOML file is read by its type."""

    def test_texts_as_on_the_command_line(self) -> None:
        """A text is read as on the command line."""
        self.assertEqual(row(Kind.SIZE, zero="none").from_toml("1KiB"), 1024)
        self.assertEqual(row(Kind.PORT, zero="any").from_toml("80"), 80)

    def test_numbers(self) -> None:
        """A number is read where the option is one, with the same bounds."""
        self.assertEqual(row(Kind.SIZE, zero="none").from_toml(4096), 4096)
        self.assertEqual(row(Kind.DURATION, zero="none").from_toml(0.5), 0.5)
        self.assertEqual(row(Kind.DURATION, zero="none").from_toml(1e-05), 1e-05)
        self.assertEqual(row(Kind.PORT, zero="any").from_toml(80), 80)
        self.assertEqual(row(Kind.WORKERS, zero=NOT_ALLOWED).from_toml(3), 3)
        for value in (-1, float("inf"), float("nan"), 1.5):
            self.assertRaises(ValueError, row(Kind.COUNT, zero="none").from_toml, value)
        self.assertRaises(ValueError, row(Kind.PORT, zero="any").from_toml, 70000)
        self.assertRaises(ValueError, row(Kind.COUNT, zero=NOT_ALLOWED).from_toml, 0)

    def test_booleans(self) -> None:
        """A flag is a boolean of TOML; neither a text nor a number stands for one."""
        self.assertIs(row(Kind.FLAG).from_toml(True), True)
        values: tuple[object, ...] = ("true", "false", 1, 0, [])
        for value in values:
            error = self.assertRaises(ValueError, row(Kind.FLAG).from_toml, value)
            self.assertEqual(str(error), "accepted is true or false, without quotes")

    def test_wrong_types(self) -> None:
        """A boolean is no number, a number is no text, and a list or a table is no value."""
        for kind, value in (
            (Kind.SIZE, True),
            (Kind.TEXT, 1),
            (Kind.CHOICE, False),
            (Kind.FILE, ["a"]),
            (Kind.SIZE, {"a": 1}),
        ):
            option = row(kind, zero="none" if kind is Kind.SIZE else None, choices=("a", "b"))
            self.assertRaises(ValueError, option.from_toml, value)


class ShownTests(SynchronousTestCase):
    """An option is shown to people."""

    def test_placeholder(self) -> None:
        """What stands behind the equals sign is the option's own, its choices, its kind's, or nothing."""
        self.assertEqual(row(Kind.TEXT, metavar="NAME").placeholder, "NAME")
        self.assertEqual(row(Kind.CHOICE, choices=("a", "b")).placeholder, "a|b")
        self.assertEqual(row(Kind.SIZE).placeholder, "SIZE")
        self.assertEqual(row(Kind.FLAG).placeholder, "")

    def test_every_kind_has_words(self) -> None:
        """Each kind has a placeholder and says what it accepts."""
        for kind in Kind:
            option = row(kind, choices=("a", "b") if kind is Kind.CHOICE else ())
            self.assertTrue(option.placeholder or kind is Kind.FLAG, kind)
            self.assertTrue(option.accepted, kind)

    def test_values(self) -> None:
        """Values are written with their units; what is not set, empty or a flag in words."""
        for kind, value, text in (
            (Kind.SIZE, 65536, "64KiB"),
            (Kind.DURATION, 20.0, "20s"),
            (Kind.COUNT, 100, "100"),
            (Kind.FLAG, True, "on"),
            (Kind.FLAG, False, "off"),
            (Kind.TEXT, "", "empty"),
            (Kind.FILE, None, "none"),
            (Kind.ORIGIN, (), "none"),
            (Kind.ORIGIN, ("a", "b"), "a b"),
        ):
            self.assertEqual(row(kind).format(value), text)

    def test_default_in_words(self) -> None:
        """A default that says too little as a value is shown in words."""
        self.assertEqual(row(Kind.SIZE, default=1024).shown_default, "1KiB")
        self.assertEqual(row(Kind.SIZE, default_text="the other").shown_default, "the other")
