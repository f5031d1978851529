"""Tests that docs/reference/qt.md tells of Qt what is so: no member of PySide6's classes is
missing, and its defaults are Qt's."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import wsecho
from docs._ext import qt_members
from docs._ext.qt_members import Member
from tests.qt import missing_qt
from tests.serving import run_python

#: Classes and enumerations inside of others, which have tables of their own.
INSIDE = {"SslMode"}


class QtTableTests(SynchronousTestCase):
    """The tables of the page and Qt's own classes."""

    qt: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        if missing := missing_qt():
            raise SkipTest(missing)
        self.classes, _ = qt_members.read()
        if not self.qt:
            getters = {
                one.qt: [member.qt[0] for member in one.members if self.is_value(member) or member.option]
                for one in self.classes
            }
            script = Path(__file__).with_name("describe.py")
            self.qt.update(json.loads(run_python(str(script), json.dumps(getters))))

    def test_every_class(self) -> None:
        """Each class and enumeration of Qt has its table; QML's have two more."""
        tables = {one.qt for one in self.classes if "(QML)" not in one.qt}
        self.assertEqual(tables, {*self.qt["members"], *self.qt["enumerations"]})

    def test_every_member(self) -> None:
        """Each member of Qt has its row, and each row is about members that Qt has."""
        for one in self.classes:
            if one.qt in self.qt["members"]:
                listed = {name for member in one.members for name in member.qt}
                theirs = set(self.qt["members"][one.qt]) - INSIDE
                # PySide6 shows no constructors, destructors and operators.
                beyond = {one.qt, f"~{one.qt}", "operator=="}
                self.assertEqual(listed - beyond, theirs, one.qt)

    def test_enumerations(self) -> None:
        """Each name of an enumeration has its row, and ours has the same number."""
        for one in self.classes:
            if one.qt in self.qt["enumerations"]:
                enumeration = getattr(wsecho, one.ours.removeprefix("wsecho."))
                numbers = {qt: int(enumeration[ours]) for qt, ours in one.values.items()}
                self.assertEqual(numbers, self.qt["enumerations"][one.qt])

    def test_defaults(self) -> None:
        """What a row says of Qt's default, other than in words, is what a new object has in Qt."""
        compared = 0
        for one in self.classes:
            for member in one.members:
                if one.qt in self.qt["defaults"] and self.is_value(member):
                    default = self.qt["defaults"][one.qt][member.qt[0]]
                    self.assertEqual(self.written(member, default), member.qt_default, (one.qt, member.qt))
                    compared += 1
        self.assertGreater(compared, 35)

    def test_options(self) -> None:
        """Where the option table tells Qt's default, it is Qt's."""
        numbers = {
            "handshake-timeout": "10s",
            "max-frame-size": "2147483646",
            "max-message-size": "2147483646",
        }
        found = {}
        for one in self.classes:
            for member in one.members:
                if member.option:
                    self.assertIn(numbers[member.option], member.default_in_qt)
                    found[member.option] = self.qt["defaults"][one.qt][member.qt[0]]
        self.assertEqual(
            found,
            {"handshake-timeout": 10_000, "max-frame-size": 2147483646, "max-message-size": 2147483646},
        )

    @staticmethod
    def is_value(member: Member) -> bool:
        """Whether the row has Qt's default, and not in words."""
        return bool(member.qt_default) and (" " not in member.qt_default)

    def written(self, member: Member, value: object) -> str:
        """A value of Qt as the row writes it: a number of an enumeration by the name that it has here."""
        name = member.qt_default.strip("[]").partition(".")[0]
        enumeration = getattr(wsecho, name, None)
        if isinstance(enumeration, type) and issubclass(enumeration, Enum):
            value = [enumeration(one) for one in value] if isinstance(value, list) else enumeration(value)
        return qt_members.shown(value)
