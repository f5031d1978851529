"""Tests for docs/reference/qt.md: each name in its tables is there, is of the kind and has the
default that it says, and is shown by tests that exist."""

import importlib
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

import wsecho
from docs._ext import generated, qt_members, reference
from docs._ext.qt_members import Member, QtClass
from tests.checkout import CHECKOUT
from wsecho.policy.options import OPTIONS
from wsecho.policy.signals import Signal

PAGE = CHECKOUT / "docs" / "reference" / "qt.md"

#: Rows for which qt-members says so, and no other.
NOT_APPLICABLE = {"nativeDescriptor", "setNativeDescriptor", "seed"}

#: How a docstring says so.
UNREADY = re.compile(r"(?:Not emitted|Without effect|not supported|always\s+so) yet\b")


def fresh(name: str) -> Any:
    """A new object of a class."""
    reactor = MemoryReactorClock()
    return {
        "wsecho.WebSocketServer": lambda: wsecho.WebSocketServer(reactor=reactor),
        "wsecho.WebSocket": lambda: wsecho.WebSocket(reactor=reactor),
        "wsecho.CorsAuthenticator": lambda: wsecho.CorsAuthenticator("https://example.com"),
        "wsecho.HandshakeOptions": wsecho.HandshakeOptions,
    }[name]()


def find(path: str) -> Any:
    """The object with this full name."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def is_of_kind(one: QtClass, member: Member) -> bool:
    """Whether a member is what its row says, and whether it can be set."""
    if member.kind == "class":
        return isinstance(find(member.ours), type)
    thing = getattr(find(one.ours), member.ours)
    if member.kind == "signal":
        return isinstance(thing, Signal)
    if isinstance(thing, property):
        return member.kind == ("property" if thing.fset is None else "setting")
    return member.kind == "method" and callable(thing) and not isinstance(thing, type)


def shown_by() -> Iterator[tuple[str, str]]:
    """What a row is about, and the name of a test that shows it."""
    classes, differences = qt_members.read()
    for one in classes:
        for member in one.members:
            for test in member.shown_by:
                yield f"{one.qt} {member.qt[0]}", test
    for difference in differences:
        for test in difference.shown_by:
            yield difference.topic, test


class TableTests(SynchronousTestCase):
    """The table and the code."""

    def setUp(self) -> None:
        self.classes, self.differences = qt_members.read()

    def rows(self) -> Iterator[tuple[QtClass, Member]]:
        """The rows that have a name here."""
        for one in self.classes:
            for member in one.members:
                if not member.not_applicable:
                    yield one, member

    def test_names_and_kinds(self) -> None:
        """Each name is there, and is a class, a method, a signal, or a property that can be set or not."""
        for one, member in self.rows():
            self.assertTrue(is_of_kind(one, member), f"{one.ours}.{member.ours} is no {member.kind}")

    def test_kinds_are_told_apart(self) -> None:
        """A row with the wrong kind is noticed."""
        server = next(one for one in self.classes if one.qt == "QWebSocketServer")
        kinds = {
            "listen": "method",
            "server_port": "property",
            "server_name": "setting",
            "closed": "signal",
        }
        for name, right in kinds.items():
            for kind in set(kinds.values()):
                row = Member(qt=("x",), ours=name, kind=kind)
                self.assertEqual(is_of_kind(server, row), kind == right, (name, kind))

    def test_defaults(self) -> None:
        """What a new object has is what the row says, or the option table."""
        compared = 0
        for one, member in self.rows():
            if member.default_here:
                value = getattr(fresh(one.ours), member.ours)
                value = value() if member.kind == "method" else value
                self.assertEqual(qt_members.shown(value), member.default_here, f"{one.ours}.{member.ours}")
                compared += 1
        self.assertGreater(compared, 50)

    def test_properties_have_defaults(self) -> None:
        """A property of which no default is compared takes its value from the constructor."""
        without = {
            f"{one.ours}.{member.ours}"
            for one, member in self.rows()
            if member.kind in ("property", "setting") and not member.default_here
        }
        given = {"wsecho.WebSocketServer.secure_mode", "wsecho.CorsAuthenticator.origin"}
        self.assertEqual(without - given, {"wsecho.WebSocket.mask_generator"})

    def test_options(self) -> None:
        """What the option table has is read there: a row names the option or has defaults of its own."""
        for one, member in self.rows():
            if member.option:
                self.assertIn(member.option, OPTIONS)
                self.assertEqual((member.default, member.qt_default), ("", ""), f"{one.qt} {member.ours}")

    def test_enumerations(self) -> None:
        """An enumeration has the names that its table has, and no other."""
        enumerations = [one for one in self.classes if one.values]
        self.assertEqual(len(enumerations), 3)
        for one in enumerations:
            enumeration = find(one.ours)
            self.assertTrue(issubclass(enumeration, Enum))
            self.assertEqual(list(one.values.values()), list(enumeration.__members__))

    def test_no_empty_row(self) -> None:
        """Each row has a name here, a kind, and a test; only what has no meaning here is not applicable."""
        for one in self.classes:
            self.assertTrue(one.members or one.values, one.qt)
            for member in one.members:
                self.assertTrue(member.qt)
                if member.not_applicable:
                    self.assertEqual(set(member.qt) - NOT_APPLICABLE, set())
                else:
                    self.assertTrue(member.ours and member.kind and member.shown_by, f"{one.qt} {member.qt}")

    def test_once(self) -> None:
        """Each name of Qt has one row in its class; ``error`` is a getter and a signal."""
        for one in self.classes:
            names = [name for member in one.members for name in member.qt]
            twice = {name for name in names if names.count(name) > 1}
            self.assertEqual(twice - {"error"}, set(), one.qt)

    def test_every_member_of_ours(self) -> None:
        """Each signal and property of a server and a socket has its row, but those that Qt does not have."""
        beyond = {"end", "peer_certificate", "ports"}
        for name in ("wsecho.WebSocketServer", "wsecho.WebSocket"):
            cls = find(name)
            ours = {member for member in dir(cls) if isinstance(getattr(cls, member), Signal | property)}
            listed = {member.ours for one, member in self.rows() if one.ours == name}
            self.assertEqual(ours - listed - beyond, set(), name)

    def test_declared(self) -> None:
        """What is declared only says so where it is defined, and what is not says nothing of the kind."""
        for name in ("wsecho.WebSocketServer", "wsecho.WebSocket"):
            declared = {member.ours for one, member in self.rows() if one.ours == name and member.declared}
            unready = {member.name for member in reference.members(find(name)) if UNREADY.search(member.doc)}
            self.assertEqual(declared, unready, name)


class EvidenceTests(SynchronousTestCase):
    """The tests that show it."""

    def test_tests_exist(self) -> None:
        """Each named test is there, and trial runs it."""
        for topic, name in shown_by():
            path, _, method = name.rpartition(".")
            case = find(path)
            self.assertTrue(issubclass(case, SynchronousTestCase | TestCase), f"{topic}: {name}")
            self.assertTrue(method.startswith("test_") and callable(getattr(case, method, None)), name)

    def test_a_missing_test(self) -> None:
        """A test that is not there is noticed."""
        self.assertRaises(AttributeError, find, "tests.test_coming_from_qt.UnheardTests")


class PageTests(SynchronousTestCase):
    """The page that is made of it."""

    def test_tables(self) -> None:
        """The page has a row for each member, and for each difference."""
        page = qt_members.fill(PAGE.read_text(encoding="utf-8"))
        classes, differences = qt_members.read()
        rows = sum(len(one.members) + len(one.values) for one in classes) + len(differences)
        heads = sum(bool(one.members) + bool(one.values) for one in classes) + 1
        tables = re.findall(r"^\|.*\|$", page, re.MULTILINE)
        self.assertEqual(len(tables), rows + 2 * heads)
        self.assertNotIn("<!-- qt-", page)

    def test_cells(self) -> None:
        """Each line of a table has as many cells as its head."""
        tables = re.findall(r"(?:^\|.*\|\n?)+", qt_members.members() + "\n", re.MULTILINE)
        for table in tables:
            self.assertEqual(len({line.count("|") for line in table.splitlines()}), 1, table.splitlines()[0])

    def test_row(self) -> None:
        """A row has Qt's names, ours with a link, both defaults, what differs, and the tests."""
        row = next(line for line in qt_members.members().splitlines() if "`readBufferSize`" in line)
        self.assertIn("`setReadBufferSize`", row)
        self.assertIn("`read_buffer_size <wsecho.WebSocket.read_buffer_size>`", row)
        self.assertIn("Default `1048576`, in Qt `0`.", row)
        self.assertIn("test_websocket.MessageTests.test_back_pressure", row)

    def test_option(self) -> None:
        """A default of the option table is shown as the table shows it."""
        row = next(line for line in qt_members.members().splitlines() if "`handshakeTimeout`" in line)
        self.assertIn(f"Default `10s`, in Qt {OPTIONS['handshake-timeout'].qt}.", row)

    def test_limits(self) -> None:
        """The table of limits has Qt's, the library's and the command line's value, and the reason."""
        rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", generated.limits(), re.MULTILINE))
        self.assertEqual(set(rows), set(wsecho.Settings.__slots__))
        for words in ("2147483646 bytes | `1MiB` | `1MiB` | no limit", "One peer must not"):
            self.assertIn(words, rows["max_message_size"])
        self.assertIn("the value of `--max-message-size`", rows["max_frame_size"])
