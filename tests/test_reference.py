"""Tests for docs/reference/api/: every public name is there, and every public member says what it is."""

import inspect
import re
from enum import Enum

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interface import InterfaceClass

import wsecho
import wsecho.testing
from docs._ext import reference
from tests.checkout import CHECKOUT
from wsecho.wire.observed import IObserver

FOLDER = CHECKOUT / "docs" / "reference" / "api"


def marked() -> list[str]:
    """The full names on all pages."""
    return [path for page in reference.pages().values() for path in reference.marked(page)]


def undocumented(thing: object) -> list[str]:
    """The public members of a class or interface without documentation.

    The names of an enumeration say what they mean, and a signal ``state_changed`` what ``state`` does not; a
    field may be described where the class is, and what overrides a method of Twisted or Autobahn is described
    there. Their attributes are described nowhere.
    """
    if isinstance(thing, InterfaceClass):
        return [name for name, method in thing.namesAndDescriptions() if not method.__doc__]
    if not isinstance(thing, type) or issubclass(thing, Enum):
        return []
    known = reference.members(thing)
    described = set(re.findall(r":(?:param|ivar) (\w+):", thing.__doc__ or ""))
    described |= {name for base in thing.__mro__ if not is_ours(base) for name in dir(base)}
    described |= {f"{member.name}_changed" for member in known if member.kind in ("property", "setting")}
    if reference.is_of_autobahn(thing):
        described |= {member.name for member in known if member.kind == "value"}
    return [member.name for member in known if not member.doc and member.name not in described]


def is_ours(cls: type) -> bool:
    """Whether wsecho defines a class."""
    return cls.__module__.partition(".")[0] == "wsecho"


class ReferenceTests(SynchronousTestCase):
    """The pages of the reference."""

    def test_every_name(self) -> None:
        """Each name that `import wsecho` gives is on exactly one page."""
        on_pages = [path.removeprefix("wsecho.") for path in marked() if path.count(".") == 1]
        self.assertEqual(sorted(on_pages), sorted(wsecho.__all__))

    def test_every_name_for_tests(self) -> None:
        """Each name that `import wsecho.testing` gives is there, too."""
        on_pages = [path.removeprefix("wsecho.testing.") for path in marked() if ".testing." in path]
        self.assertEqual(sorted(on_pages), sorted(wsecho.testing.__all__))

    def test_every_page(self) -> None:
        """The index lists each page."""
        written = {path.stem for path in FOLDER.glob("*.md")}
        self.assertEqual({*reference.pages(), "index"}, written)

    def test_every_member(self) -> None:
        """Each public class, method, property, signal and value has a docstring."""
        silent = {path: undocumented(reference.find(path)) for path in marked()}
        self.assertEqual({path: names for path, names in silent.items() if names}, {})
        self.assertEqual([path for path in marked() if not inspect.getdoc(reference.find(path))], [])

    def test_summaries(self) -> None:
        """The index has a sentence for each name."""
        lines = re.findall(r"^\* :py:obj:`([\w.]+) <\1>`: \S.*\.$", reference.index(), re.MULTILINE)
        self.assertEqual(lines, marked())

    def test_marks(self) -> None:
        """Each mark of a page is filled, and an unknown name is an error."""
        for path in FOLDER.glob("*.md"):
            self.assertNotRegex(reference.fill(path.read_text(encoding="utf-8")), "<!-- reference")
        self.assertRaises(AttributeError, reference.fill, "<!-- reference: wsecho.Unheard -->\n")
        self.assertRaises(KeyError, reference.fill, "<!-- reference: wsecho.ServerProtocol: unheard -->\n")


class ReadingTests(SynchronousTestCase):
    """How members are read from the source."""

    def setUp(self) -> None:
        """Read a class."""
        self.members = {member.name: member for member in reference.members(wsecho.WebSocket)}

    def test_kinds(self) -> None:
        """Signals, properties with and without setter, and methods are told apart, those of bases too."""
        wanted = {"pong": "signal", "proxy": "setting", "state": "property", "ping": "method"}
        self.assertEqual({name: self.members[name].kind for name in wanted}, wanted)

    def test_signal(self) -> None:
        """A signal has its argument types and its documentation."""
        pong = self.members["pong"]
        self.assertEqual(pong.arguments, "int, bytes")
        self.assertIn(":annotation: (int, bytes)", reference.reference("wsecho.WebSocket"))
        self.assertIn("Milliseconds", pong.doc)

    def test_values(self) -> None:
        """The field of a dataclass has its documentation, written below it or above."""
        for cls, name, words in (
            (wsecho.Settings, "close_timeout", "Seconds from the Close frame"),
            (wsecho.OriginRequest, "host", "The Host header's value"),
        ):
            docs = {member.name: member.doc for member in reference.members(cls)}
            self.assertIn(words, docs[name])

    def test_inner(self) -> None:
        """What is hidden is there, and it holds all that the wire tells a socket."""
        for path, names in reference.INNER.items():
            known = {member.name for member in reference.members(reference.find(path))}
            self.assertEqual(names - known, set())
            self.assertFalse(names & set(re.findall(r"auto\w+:: [\w.]+\.(\w+)", reference.reference(path))))
        self.assertEqual(set(IObserver.names(all=True)) - reference.INNER["wsecho.WebSocket"], set())
