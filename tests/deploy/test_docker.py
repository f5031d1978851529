"""Tests for the Dockerfile, without Docker: what it copies is enough, its commands do what they should."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.checkout import CHECKOUT, build
from tests.serving import TIMEOUT, python_environment
from wsecho.app.configuration import read_configuration
from wsecho.testing import Server, ServerFailed


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile: each with the rest of its line."""
    text = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines() if line.strip())
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def last(name: str) -> str:
    """The last instruction of that name: of the image, not of what built it."""
    return [rest for instruction, rest in instructions() if instruction == name][-1]


def command(name: str) -> list[str]:
    """A command in its exec form: a list, which no shell reads, so that signals reach the program itself."""
    words: list[str] = json.loads(last(name)[last(name).index("[") :])
    return words


class DockerfileTests(SynchronousTestCase):
    """The image."""

    def test_context(self) -> None:
        """What is copied into the image passes .dockerignore, and a wheel can be built of it."""
        copied = [
            word
            for name, rest in instructions()
            if name == "COPY" and not rest.startswith("--from")
            for word in rest.split()[:-1]
        ]
        ignored = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        self.assertEqual({line[1:] for line in ignored if line.startswith("!")}, set(copied))
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        for name in copied:
            source = CHECKOUT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copy(source, folder)
        wheel = build("wheel", folder, folder / "dist", WSECHO_PURE="1", WSECHO_REQUIRE_LANE="")
        self.assertTrue(wheel.exists())

    def test_user(self) -> None:
        """It does not run as root, and says so by a number."""
        self.assertRegex(last("USER"), r"^[1-9][0-9]*:[1-9][0-9]*$")

    def test_commands(self) -> None:
        """What it runs serves where its port is, answers its health check while it is ready, and not while it
        drains, which the signal that stops it begins."""
        entry, more, health = command("ENTRYPOINT"), command("CMD"), command("HEALTHCHECK")
        self.assertEqual(entry[0], "wsecho")
        given = dict(option.removeprefix("--").split("=", 1) for option in [*entry[1:], *more])
        configuration = read_configuration({name: [value] for name, value in given.items()})
        self.assertEqual(configuration.texts("listen"), (f"tcp:{last('EXPOSE')}",))
        self.assertEqual(configuration.text("admin"), "tcp:9100:interface=127.0.0.1")
        self.assertIn("http://127.0.0.1:9100/health/ready", health[-1])

        admin = ["--admin=tcp:0:interface=127.0.0.1", "--drain-timeout=30s"]
        server = Server(options=admin, environment=python_environment())
        server.start()
        self.addCleanup(self.stop, server)
        check = [sys.executable, *health[1:-1], health[-1].replace("9100", self.admin_port(server))]
        self.assertEqual(subprocess.run(check, timeout=TIMEOUT, check=False).returncode, 0)
        with (
            connect(server.url(), proxy=None, close_timeout=TIMEOUT) as oldest,
            connect(server.url(), proxy=None, close_timeout=TIMEOUT),
        ):
            os.kill(server.pid, signal.Signals[last("STOPSIGNAL")])
            self.assertRaises(ConnectionClosed, oldest.recv, TIMEOUT)
            failed = subprocess.run(check, stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)
            self.assertNotEqual(failed.returncode, 0)
            self.assertIn(b"503", failed.stderr)

    def admin_port(self, server: Server) -> str:
        """The port of a server's admin endpoint, which it tells after its URL."""
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            if told := re.search(r"admin on http://127\.0\.0\.1:(\d+)/\n", server.log):
                return told[1]
        raise AssertionError(server.log)

    def stop(self, server: Server) -> None:
        """Stop a server that may be about to end by itself."""
        with contextlib.suppress(ServerFailed):
            server.stop()
