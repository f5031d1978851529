"""Tests for what goes into the wheel and the sdist.

Installing them in fresh environments needs a package index and a minute: tests.installation does that.
"""

import ast
import subprocess
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.checkout import CHECKOUT, build, copy_checkout


def package_files() -> set[str]:
    """The files that belong to the package, as paths below src/."""
    files = (path for path in (CHECKOUT / "src" / "wsecho").rglob("*") if path.is_file())
    names = {path.relative_to(CHECKOUT / "src").as_posix() for path in files}
    return {name for name in names if "__pycache__" not in name and not name.endswith((".pyc", ".so"))}


def is_source_of_compiled_part(name: str) -> bool:
    """Whether a wheel, which has the compiled part itself, leaves this file out."""
    return name.endswith((".pyx", ".pxi", ".h"))


def compiled_parts(names: Iterable[str]) -> list[str]:
    """The modules among `names` that were compiled."""
    return [name for name in names if name.endswith(".so")]


@cache
def packed() -> tuple[frozenset[str], frozenset[str]]:
    """The names in the wheel and in the sdist of a checkout that was used before.

    Its leftovers are in place: what Twisted and a compiler write there must not be packed.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkout = copy_checkout(Path(folder) / "checkout")
        (checkout / "twisted" / "plugins" / "dropin.cache").write_bytes(b"stale")
        (checkout / "src" / "wsecho" / "stale.cpython-311-x86_64-linux-gnu.so").write_bytes(b"stale")
        with zipfile.ZipFile(build("wheel", checkout, Path(folder))) as wheel:
            in_wheel = frozenset(wheel.namelist())
        with tarfile.open(build("sdist", checkout, Path(folder))) as sdist:
            in_sdist = frozenset(name.partition("/")[2] for name in sdist.getnames())
    return in_wheel, in_sdist


class PackageTests(SynchronousTestCase):
    """What the two published files hold."""

    def setUp(self) -> None:
        """Build them, once for all tests."""
        self.wheel, self.sdist = packed()

    def test_wheel_has_the_package(self) -> None:
        """The wheel holds every file of the package: modules, py.typed and the static files of the page."""
        self.assertIn("wsecho/py.typed", self.wheel)
        packed = {name for name in self.wheel if name.startswith("wsecho/")}
        source = {name for name in package_files() if not is_source_of_compiled_part(name)}
        self.assertEqual(packed - set(compiled_parts(packed)), source)

    def test_wheel_has_the_plugin(self) -> None:
        """Of `twisted` the wheel holds the plugin and nothing else."""
        names = {name for name in self.wheel if name.startswith("twisted/")}
        self.assertEqual(names, {"twisted/plugins/wsecho_plugin.py"})

    def test_wheel_has_nothing_else(self) -> None:
        """The wheel puts nothing into site-packages but the package, the plugin and its metadata."""
        tops = {name.split("/")[0] for name in self.wheel}
        self.assertEqual({top for top in tops if not top.endswith(".dist-info")}, {"wsecho", "twisted"})

    def test_sdist_has_what_builds_and_tests(self) -> None:
        """The sdist holds package, plugin, tests, docs and what else a builder reads."""
        for name in (
            "twisted/plugins/wsecho_plugin.py",
            "src/wsecho/py.typed",
            "tests/test_packaging.py",
            "docs/conf.py",
            "conformance/run.py",
            "benchmarks/load.c",
            "benchmarks/peers/ws.js",
            "benchmarks/attacks.py",
            "fuzz/run.py",
            "hatch_build.py",
            "tox.ini",
            "pyproject.toml",
            "README.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            "LICENSE",
        ):
            self.assertIn(name, self.sdist)
        self.assertEqual({f"src/{name}" for name in package_files()} - self.sdist, set())

    def test_leftovers_stay_behind(self) -> None:
        """Neither file holds Twisted's plugin cache, Python's caches, or a module that was compiled before;
        the wheel holds the one that was compiled for it, if any."""
        for name in self.wheel | self.sdist:
            self.assertFalse(name.endswith((".pyc", "dropin.cache")) or "stale" in name, name)
        self.assertEqual(compiled_parts(self.sdist), [])
        self.assertLessEqual(len(compiled_parts(self.wheel)), 1)


class CompiledPartTests(SynchronousTestCase):
    """The compiled part, which a wheel has when there is a compiler."""

    def setUp(self) -> None:
        """Make a folder to build in."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.checkout = copy_checkout(self.folder / "checkout")

    def test_without_compiler(self) -> None:
        """Without a compiler the wheel is for every machine, and holds no compiled module."""
        wheel = build("wheel", self.checkout, self.folder, CC="false", WSECHO_REQUIRE_LANE="")
        self.assertTrue(wheel.name.endswith("-py3-none-any.whl"), wheel.name)
        with zipfile.ZipFile(wheel) as file:
            self.assertEqual(compiled_parts(file.namelist()), [])

    def test_unwanted(self) -> None:
        """With WSECHO_PURE=1 nothing is compiled."""
        wheel = build("wheel", self.checkout, self.folder, WSECHO_PURE="1", WSECHO_REQUIRE_LANE="1")
        self.assertTrue(wheel.name.endswith("-py3-none-any.whl"), wheel.name)

    def test_required(self) -> None:
        """With WSECHO_REQUIRE_LANE=1 a build that cannot compile fails."""
        with self.assertRaises(subprocess.CalledProcessError):
            build("wheel", self.checkout, self.folder, CC="false", WSECHO_REQUIRE_LANE="1", WSECHO_PURE="")

    def test_nothing_left(self) -> None:
        """A build leaves nothing in the checkout."""
        before = sorted(self.checkout.rglob("*"))
        build("wheel", self.checkout, self.folder / "dist", WSECHO_PURE="")
        after = sorted(path for path in self.checkout.rglob("*") if "__pycache__" not in path.parts)
        self.assertEqual(after, [path for path in before if "__pycache__" not in path.parts])


class PluginFolderTests(SynchronousTestCase):
    """What makes the plugin visible to Twisted."""

    def test_no_package_in_the_way(self) -> None:
        """No __init__.py stands in twisted/ or below: with one, either Twisted or our plugin is lost."""
        self.assertEqual(list((CHECKOUT / "twisted").rglob("__init__.py")), [])

    def test_plugin_imports_nothing_of_ours(self) -> None:
        """The plugin imports Twisted only: every twistd of the machine executes it to fill its cache."""
        plugin = CHECKOUT / "twisted" / "plugins" / "wsecho_plugin.py"
        imports = [node for node in ast.walk(ast.parse(plugin.read_text())) if isinstance(node, ast.Import)]
        froms = [node for node in ast.walk(ast.parse(plugin.read_text())) if isinstance(node, ast.ImportFrom)]
        self.assertEqual(imports, [])
        self.assertEqual([node.module for node in froms], ["twisted.application.service"])


class MetadataTests(SynchronousTestCase):
    """pyproject.toml."""

    def test_console_script(self) -> None:
        """The console script is the main function of wsecho.__main__."""
        project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        self.assertEqual(project["scripts"], {"wsecho": "wsecho.__main__:main"})
