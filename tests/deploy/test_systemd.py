"""Tests for deploy/systemd: the units say what wsecho needs, and systemd finds nothing wrong with them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.checkout import CHECKOUT
from wsecho.app.configuration import read_configuration
from wsecho.app.descriptors import descriptors_for

UNITS = CHECKOUT / "deploy" / "systemd"
PROGRAM = "/opt/wsecho/bin/wsecho"


def settings(name: str) -> dict[str, list[str]]:
    """The settings of a unit, by name, in order."""
    found: dict[str, list[str]] = {}
    text = (UNITS / name).read_text(encoding="utf-8")
    for key, value in re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


class UnitTests(SynchronousTestCase):
    """The units beside what they are about."""

    def setUp(self) -> None:
        """Read them."""
        self.service = settings("wsecho.service")

    def test_time_to_stop(self) -> None:
        """systemd waits for longer than wsecho drains, unless told otherwise, and sends the signal that
        drains to wsecho itself."""
        (seconds,) = self.service["TimeoutStopSec"]
        self.assertGreater(int(seconds), read_configuration({}).seconds("drain-timeout"))
        self.assertEqual((self.service["KillSignal"], self.service["KillMode"]), (["SIGTERM"], ["mixed"]))

    def test_descriptors(self) -> None:
        """There are descriptors for as many connections as wsecho takes, unless told otherwise."""
        connections = read_configuration({})["max-connections"]
        assert isinstance(connections, int)
        self.assertEqual(self.service["LimitNOFILE"], [str(descriptors_for(connections))])

    def test_sockets(self) -> None:
        """The sockets that the configuration names are those that are handed over."""
        path = str(CHECKOUT / "deploy" / "wsecho.toml")
        configuration = read_configuration({"config": [path]})
        named = [*configuration.texts("listen"), configuration.text("admin")]
        (sockets,) = self.service["Sockets"]
        handed = [settings(socket)["FileDescriptorName"][0] for socket in sockets.split()]
        self.assertEqual([name.rpartition("name=")[2] for name in named], handed)


class SystemdTests(SynchronousTestCase):
    """What systemd says of the units."""

    def setUp(self) -> None:
        """Copy them, with a program that is there."""
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("there is no systemd-analyze; it is in Debian's package systemd")
        self.folder = Path(self.mktemp()).resolve()
        shutil.copytree(UNITS, self.folder)
        service = self.folder / "wsecho.service"
        program = shutil.which("true")
        assert program is not None
        service.write_text(service.read_text(encoding="utf-8").replace(PROGRAM, program), encoding="utf-8")

    def analyze(self, *arguments: str) -> str:
        """What systemd-analyze says of the units; AssertionError when they do not pass."""
        done = subprocess.run(
            ["systemd-analyze", *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_verify(self) -> None:
        """They are valid, and name nothing that systemd does not know."""
        units = [
            str(self.folder / name) for name in ("wsecho.service", "wsecho.socket", "wsecho-admin.socket")
        ]
        self.assertEqual(self.analyze("verify", "--man=no", *units), "")

    def test_security(self) -> None:
        """The service may do little: systemd's measure of exposure is at most 1 of 10."""
        self.analyze("security", "--offline=true", "--no-pager", "--threshold=10", "./wsecho.service")
