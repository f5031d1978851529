"""The wheel test: install wsecho as users do, and use it from outside the checkout.

    python -m twisted.trial tests.installation

Each form (wheel, sdist, editable) gets an environment of its own that holds nothing but what pip puts there,
and every command runs in another folder, without PYTHONPATH: a test that imports from the checkout shows
nothing about what was packed. It needs a package index and about a minute; that is why this module is named
so that `tests` as a whole passes it by, and CI runs it as a step of its own.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from websockets.sync.client import connect

from tests.checkout import build, copy_checkout
from tests.serving import TIMEOUT, serving

#: Seconds for a command that installs.
_INSTALL_TIMEOUT = 600


class Installation:
    """A fresh virtual environment and an empty folder to run its commands in."""

    def __init__(self, folder: Path) -> None:
        self._environment = folder / "environment"
        self._elsewhere = folder / "elsewhere"
        self._elsewhere.mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._variables = kept | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        subprocess.run([sys.executable, "-m", "venv", str(self._environment)], check=True, timeout=TIMEOUT)

    def pip(self, *arguments: str) -> None:
        """Run the environment's own pip."""
        self.run("python", "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments)

    def run(self, program: str, *arguments: str) -> str:
        """Run a program of the environment and return what it prints; raises with all of it when it fails."""
        done = subprocess.run(
            [str(self._environment / "bin" / program), *arguments],
            cwd=self._elsewhere,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_INSTALL_TIMEOUT,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"{program} {' '.join(arguments)}: status {done.returncode}\n{done.stdout}")
        return done.stdout

    def serving(self, program: str, *arguments: str) -> AbstractContextManager[list[str]]:
        """Start a server of the environment; see `tests.serving`."""
        command = [str(self._environment / "bin" / program), *arguments]
        return serving(command, cwd=self._elsewhere, env=self._variables)


class InstallationTests(SynchronousTestCase):
    """wsecho, installed in each of the three ways."""

    def setUp(self) -> None:
        """Copy the checkout to a folder that has nothing to do with it."""
        folder = tempfile.TemporaryDirectory(prefix="wsecho-installation-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.checkout = copy_checkout(self.folder / "checkout")

    def assert_serves(self, installation: Installation) -> None:
        """twistd knows wsecho, and a client of another make gets its messages back."""
        self.assertRegex(installation.run("twistd", "--help"), r"(?m)^ +wsecho +WebSocket server")
        with (
            installation.serving("twistd", "-n", "--pidfile=", "wsecho", "--port=0", "--host=127.0.0.1") as (
                url,
            ),
            connect(url, open_timeout=TIMEOUT, close_timeout=TIMEOUT, proxy=None) as client,
        ):
            for message in ("text: \N{SNOWMAN}", b"binary: \xff", ""):
                client.send(message)
                self.assertEqual(client.recv(timeout=TIMEOUT), message)

    def test_wheel(self) -> None:
        """A wheel serves by twistd, `wsecho` and `python -m wsecho`, and brings fixtures for pytest;
        uninstalled, it leaves Twisted whole."""
        installation = Installation(self.folder)
        installation.pip("install", str(build("wheel", self.checkout, self.folder / "dist")))
        self.assert_serves(installation)
        for program in (("wsecho",), ("python", "-m", "wsecho")):
            with (
                installation.serving(*program, "--port=0", "--host=127.0.0.1") as (url,),
                connect(url, proxy=None) as client,
            ):
                client.send("the same")
                self.assertEqual(client.recv(timeout=TIMEOUT), "the same")
        installation.run("python", "-c", "import wsecho")
        if os.environ.get("WSECHO_REQUIRE_LANE") == "1":
            installation.run("python", "-c", "import wsecho.wire._lane")
        installation.pip("install", "pytest")
        suite = self.folder / "test_fixture.py"
        suite.write_text("def test(wsecho_tls): assert wsecho_tls.ssl_context()\n", encoding="utf-8")
        self.assertIn("1 passed", installation.run("python", "-m", "pytest", str(suite)))
        installation.pip("uninstall", "--yes", "wsecho")
        installation.run("python", "-c", "import twisted.internet.reactor, twisted.plugins, autobahn")
        self.assertRaises(AssertionError, installation.run, "python", "-c", "import wsecho")
        self.assertNotIn("wsecho", installation.run("twistd", "--help"))

    def test_sdist(self) -> None:
        """An sdist, built by pip with an isolated backend, serves."""
        installation = Installation(self.folder)
        installation.pip("install", str(build("sdist", self.checkout, self.folder / "dist")))
        self.assert_serves(installation)

    def test_pure_wheel(self) -> None:
        """A wheel that was built without a compiler serves."""
        installation = Installation(self.folder)
        wheel = build("wheel", self.checkout, self.folder / "dist", CC="false", WSECHO_REQUIRE_LANE="")
        installation.pip("install", str(wheel))
        self.assert_serves(installation)
        script = "from wsecho.wire.lane import native; print(native)"
        self.assertEqual(installation.run("python", "-c", script), "None\n")

    def test_editable(self) -> None:
        """An editable install of the checkout serves."""
        installation = Installation(self.folder)
        installation.pip("install", "--editable", str(self.checkout))
        self.assert_serves(installation)
