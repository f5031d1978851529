"""Tests for what docs/topics/architecture.md says of the source: which room imports what, and other rules."""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.checkout import CHECKOUT

SOURCE = CHECKOUT / "src" / "wsecho"
TESTS = CHECKOUT / "tests"
#: No module should grow much above 600 lines; this is where "much" begins.
LONGEST_MODULE = 660


@dataclass(frozen=True, slots=True)
class Room:
    """One row of the page's table."""

    may_import: frozenset[str]
    outside: frozenset[str]


def names(cell: str) -> frozenset[str]:
    """The names in a cell of the table; none in "nothing"."""
    return frozenset(re.findall(r"`([^`]+)`", cell))


def documented_rooms() -> dict[str, Room]:
    """The table of the page, by room."""
    page = (CHECKOUT / "docs" / "topics" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("<!-- rooms -->\n")[2].partition("\n\n")[0]
    rooms: dict[str, Room] = {}
    for row in table.splitlines()[2:]:
        name, _purpose, inside, outside = (cell.strip() for cell in row.strip("|").split("|"))
        rooms[name.strip("`")] = Room(names(inside), names(outside))
    return rooms


def modules() -> list[Path]:
    """Every source module."""
    return sorted(SOURCE.rglob("*.py"))


def room_of(module: Path) -> str:
    """The room that a source module is in."""
    parts = module.relative_to(SOURCE).parts
    if len(parts) > 1:
        return parts[0]
    return "wsecho" if module.stem == "__init__" else module.stem


def imported(tree: ast.AST) -> Iterator[str]:
    """The full names that a module imports, wherever in it: `from a import b` is `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import would escape this reading; ruff does not forbid them, so this does.
            assert node.level == 0 and node.module is not None, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def without_functions(module: Path) -> ast.Module:
    """The syntax tree of a module without what is executed only when somebody calls it."""

    class Emptied(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
            return None

    tree = Emptied().visit(parse(module))
    assert isinstance(tree, ast.Module)
    return tree


def is_below(name: str, package: str) -> bool:
    """Whether a full name is that package or something in it."""
    return name == package or name.startswith(f"{package}.")


def room_imports() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """By room: the other rooms it imports, and what it imports from outside, as full names."""
    inside: dict[str, set[str]] = {}
    outside: dict[str, set[str]] = {}
    for module in modules():
        room = room_of(module)
        inside.setdefault(room, set())
        outside.setdefault(room, set())
        for name in imported(parse(module)):
            top, _, rest = name.partition(".")
            if top == "wsecho":
                inside[room].add(rest.partition(".")[0] or "wsecho")
            elif top not in sys.stdlib_module_names:
                outside[room].add(name)
        inside[room].discard(room)
    return inside, outside


class RoomTests(SynchronousTestCase):
    """The table of rooms and the imports of the source."""

    def test_same_rooms(self) -> None:
        """The page lists the rooms that exist, and no other."""
        self.assertEqual(set(documented_rooms()), {room_of(module) for module in modules()})

    def test_imports_of_ours(self) -> None:
        """No room imports another that its row does not name."""
        inside, _ = room_imports()
        wrong = {room: inside[room] - row.may_import for room, row in documented_rooms().items()}
        self.assertEqual({room: names for room, names in wrong.items() if names}, {})

    def test_imports_from_outside(self) -> None:
        """No room imports from outside what its row does not name."""
        _, outside = room_imports()
        wrong = {
            room: {
                name for name in outside[room] if not any(is_below(name, allowed) for allowed in row.outside)
            }
            for room, row in documented_rooms().items()
        }
        self.assertEqual({room: names for room, names in wrong.items() if names}, {})

    def test_nothing_idle(self) -> None:
        """The page names nothing from outside that the room does not import."""
        _, outside = room_imports()
        idle = {
            room: {
                allowed
                for allowed in row.outside
                if not any(is_below(name, allowed) for name in outside[room])
            }
            for room, row in documented_rooms().items()
        }
        self.assertEqual({room: names for room, names in idle.items() if names}, {})

    def test_rooms_below(self) -> None:
        """A row names only rooms of rows above it, so that imports go one way."""
        seen: set[str] = set()
        for room, row in documented_rooms().items():
            self.assertEqual(row.may_import - seen, set(), room)
            seen.add(room)


class RuleTests(SynchronousTestCase):
    """The rules beside the table."""

    def test_no_reactor_at_the_top(self) -> None:
        """No module imports the reactor where the import of the module executes it."""
        for module in modules():
            self.assertNotIn(
                "twisted.internet.reactor", set(imported(without_functions(module))), str(module)
            )

    def test_no_reactor_below(self) -> None:
        """The hub and the policy never import the reactor, not even inside a function."""
        _, outside = room_imports()
        self.assertNotIn("twisted.internet.reactor", outside["hub"] | outside["policy"])

    def test_modules_are_short(self) -> None:
        """A reader can take in each module at one sitting."""
        lengths = {module.name: len(module.read_text(encoding="utf-8").splitlines()) for module in modules()}
        self.assertEqual({name: length for name, length in lengths.items() if length > LONGEST_MODULE}, {})

    def test_modules_say_what_they_are_for(self) -> None:
        """Each module begins with a docstring."""
        self.assertEqual([str(module) for module in modules() if not ast.get_docstring(parse(module))], [])


class MirrorTests(SynchronousTestCase):
    """The tests as the mirror of the source."""

    def test_each_module_has_its_tests(self) -> None:
        """src/wsecho/policy/origins.py is tested by tests/policy/test_origins.py, and so on."""
        missing = [
            str(module.relative_to(SOURCE))
            for module in modules()
            if not module.stem.startswith("__")
            and module.stem != "interfaces"
            and not (TESTS / module.relative_to(SOURCE).parent / f"test_{module.name}").exists()
        ]
        self.assertEqual(missing, [])

    def test_each_test_says_what_it_shows(self) -> None:
        """Each test method has a docstring."""
        silent = [
            f"{path.relative_to(TESTS)}:{node.lineno} {node.name}"
            for path in sorted(TESTS.rglob("*.py"))
            for node in ast.walk(parse(path))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test_")
            and not ast.get_docstring(node)
        ]
        self.assertEqual(silent, [])

    def test_folders_are_packages(self) -> None:
        """Each folder of tests is a package: trial passes over the modules of any other folder in silence."""
        folders = {path.parent for path in TESTS.rglob("test_*.py")}
        self.assertEqual([str(folder) for folder in folders if not (folder / "__init__.py").exists()], [])
