"""Tests of compiling the parts in C."""

import subprocess
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import building
from benchmarks.building import BuildError, build, compiler
from tests.benchmarks.tools import tools


class BuildTests(SynchronousTestCase):
    """`build`."""

    def test_programs(self) -> None:
        """Both are there and run."""
        made = tools()
        done = subprocess.run([made.load], stdout=subprocess.PIPE, text=True, check=False)
        self.assertIn("--port is missing", done.stdout)
        self.assertTrue(made.limit.exists())

    def test_without_openssl(self) -> None:
        """Where OpenSSL cannot be compiled against, both are made without TLS and a warning, and say so."""
        tools()
        with patch.object(building, "_TLS_PROBE", "#include <no/such/header.h>\n"):
            made = build(Path(self.mktemp()), "-Werror")
        self.assertFalse(made.tls)
        done = subprocess.run(
            [made.limit.absolute(), "certificate", "key"], stderr=subprocess.PIPE, text=True, check=False
        )
        self.assertEqual(
            (done.returncode, done.stderr), (1, "limit: built without TLS: certificate cannot be used\n")
        )

    def test_error(self) -> None:
        """What the compiler says is in the error."""
        tools()
        source = Path(self.mktemp())
        source.mkdir()
        (source / "load.c").write_text("int main(void) { return nothing; }\n", encoding="ascii")
        with patch.object(building, "_HERE", source):
            error = self.assertRaises(BuildError, build, Path(self.mktemp()))
        self.assertRegex(str(error), r"^load\.c cannot be compiled:\n(.*\n)*.*nothing.* undeclared")


class CompilerTests(SynchronousTestCase):
    """`compiler`."""

    def test_none(self) -> None:
        """Without a compiler, the error has the command that installs one."""
        with patch.dict("os.environ", {"PATH": self.mktemp(), "CC": ""}):
            error = self.assertRaises(BuildError, compiler)
        self.assertEqual(str(error), "no C compiler: apt-get install gcc libc6-dev")

    def test_of_the_environment(self) -> None:
        """CC comes first, with its options."""
        with patch.dict("os.environ", {"CC": "sh -m32"}):
            self.assertEqual(compiler(), ["sh", "-m32"])
