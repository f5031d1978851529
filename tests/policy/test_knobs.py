"""Tests for `wsecho.policy.knobs`."""

from __future__ import annotations

from dataclasses import fields

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.close_codes import may_be_sent
from wsecho.policy.knobs import BAD_FRAMES, COMBINATIONS, KNOBS, BadProgram, Program, knob_list, read_program

#: A value that is accepted at either end of the bounds, and those just beyond them.
BOUNDS = {
    "delay": (("1ms", "60s", "1m"), ("0", "61s", "-1", "x", "")),
    "rate": (("1", "16MiB"), ("0", "17MiB", "1KB")),
    "fragment": (("1", "16MiB"), ("0", "17MiB")),
    "size": (("0", "16MiB"), ("17MiB", "-1")),
    "count": (("1", "10000"), ("0", "10001")),
    "ping": (("100ms", "1m"), ("99ms", "61s", "0")),
    "close": (("1000", "1013", "3000", "4999"), ("999", "1004", "1005", "1006", "1015", "2000", "5000", "")),
    "reason": (("x" * 123, "%E2%82%AC" * 41, "a+b"), ("x" * 124, "%E2%82%AC" * 42, "%ff", "")),
    "abort": (("0", "10000"), ("10001", "x", "")),
    "read": (("stop",), ("go", "")),
    "bad": (tuple(BAD_FRAMES), ("good", "")),
    "after": (("0", "10000"), ("10001",)),
    "compress": (("on", "off"), ("maybe", "ON")),
    "status": (("400", "503"), ("101", "200x", "600", "999", "99")),
    "redirect": (
        ("/", "/echo", "/broadcast/a.b~c_d-e", "/" + "x" * 199),
        (
            *(
                "//evil.example",
                "https://evil.example",
                "echo",
                "/\\evil.example",
                "/%5cevil.example",
                "/a//b",
            ),
            *("/echo/", "/a%0d%0aX:1", "/a%0a", "/a?b", "/a%23b", "/a%20b", "/%c3%a4", "/" + "x" * 200, ""),
        ),
    ),
    "accept": (("wrong",), ("right",)),
    "subprotocol": (("unasked",), ("x",)),
}

#: What a knob needs beside it.
NEEDS = {"reason": "close=1000", "count": "size=1", "after": "close=1000"}


class TableTests(SynchronousTestCase):
    """The table is complete and consistent."""

    def test_fields(self) -> None:
        """Each knob is a field of a program, and each field a knob."""
        self.assertEqual({field.name for field in fields(Program)}, set(KNOBS))

    def test_words(self) -> None:
        """Each knob has its effect in sentences of ASCII, as an answer has them, and an example with it."""
        for knob in KNOBS.values():
            self.assertTrue(knob.effect.endswith("."), knob.name)
            self.assertIn(knob.name, [part.partition("=")[0] for part in knob.example.split("&")])
            read_program(knob.example)
        self.assertTrue(knob_list().isascii())

    def test_list(self) -> None:
        """The list has a line for each knob, which says how it is written."""
        lines = knob_list().splitlines()
        self.assertEqual([line.partition(": ")[0] for line in lines], [knob.usage for knob in KNOBS.values()])
        self.assertIn("abort[=N]", lines[list(KNOBS).index("abort")])

    def test_close_codes(self) -> None:
        """The codes that the table names are those that may be sent."""
        named = {*range(1000, 1004), *range(1007, 1010), *range(1011, 1014), *range(3000, 5000)}
        self.assertEqual(named, {code for code in range(6000) if may_be_sent(code)})


class ReadTests(SynchronousTestCase):
    """`read_program`."""

    def refusal(self, query: str) -> str:
        """The line for a query that is refused."""
        return str(self.assertRaises(BadProgram, read_program, query))

    def test_empty(self) -> None:
        """Without a query it is a plain echo."""
        self.assertEqual(read_program(""), Program())

    def test_bounds(self) -> None:
        """Each knob takes the values within its bounds, and none beyond; the refusal names it and them."""
        self.assertEqual(set(BOUNDS), set(KNOBS) - {"whoami"})
        for name, (good, bad) in BOUNDS.items():
            beside = f"&{NEEDS[name]}" if name in NEEDS else ""
            for value in good:
                read_program(f"{name}={value}{beside}")
            for value in bad:
                line = self.refusal(f"{name}={value}{beside}")
                self.assertEqual(line, f"{name}: accepted is {KNOBS[name].accepted}", value)

    def test_values(self) -> None:
        """Values are decoded as forms encode them."""
        program = read_program("delay=500ms&close=4000&reason=so%20long%2C+%C3%A4&after=2&fragment=1KiB")
        expected = Program(delay=0.5, close=4000, reason="so long, ä", after=2, fragment=1024)
        self.assertEqual(program, expected)
        self.assertEqual((read_program("abort").abort, read_program("abort=3").abort), (0, 3))
        self.assertEqual(read_program("whoami"), Program(whoami=True))

    def test_without_value(self) -> None:
        """A value is missing, or one is too many."""
        for query in ("delay", "close", "read", "whoami=", "whoami=1"):
            name = query.partition("=")[0]
            self.assertEqual(self.refusal(query), f"{name}: accepted is {KNOBS[name].accepted}")

    def test_unknown(self) -> None:
        """An unknown knob is told by its place, not by its name."""
        for query in ("x", "whoami&x=1", "Delay=1s", "&", "whoami&", "%64elay=1s", "delay%3d1s"):
            self.assertRegex(self.refusal(query), "^knob [12] of the query is unknown$")

    def test_twice(self) -> None:
        """A knob is given once."""
        self.assertEqual(self.refusal("delay=1s&delay=1s"), "delay: given twice")

    def test_long(self) -> None:
        """A query has an end."""
        self.assertEqual(self.refusal("x" * 2049), "the query is longer than 2048 bytes")

    def test_combinations(self) -> None:
        """What makes no sense together is refused by the rule that it breaks; each rule is broken once."""
        broken = {
            self.refusal(query)
            for query in (
                *("reason=x", "count=2", "after=1", "after=1&abort=1", "size=16MiB&count=5"),
                *("close=1000&abort", "abort&read=stop", "read=stop&close=1000", "bad=half-frame&close=1000"),
                *("status=503&delay=1s", "redirect=/&whoami", "status=503&redirect=/", "status=302"),
            )
        }
        self.assertEqual(broken, {rule for rule, _ in COMBINATIONS})

    def test_good_combinations(self) -> None:
        """Everything else can be combined."""
        for query in (
            "delay=1s&rate=1KiB&fragment=3&whoami&size=1&count=2&ping=1s&close=1000&reason=x&bad=rsv&after=2"
            "&compress=on&accept=wrong&subprotocol=unasked",
            *("status=307&redirect=/echo", "bad=length&abort=2", "bad=utf8&read=stop", "size=16MiB&count=4"),
        ):
            read_program(query)
        self.assertEqual(read_program("redirect=/").redirect_status, 302)
        self.assertEqual(read_program("status=308&redirect=/").redirect_status, 308)
