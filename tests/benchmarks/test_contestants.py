"""Tests of the servers that are compared."""

from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.contestants import CONTESTANTS, Certificate, missing, versions
from benchmarks.measuring import load_command, run_load
from benchmarks.processes import running
from benchmarks.scenarios import Scenario
from conformance.server import make_certificate
from tests.benchmarks.tools import tools

ECHO = Scenario("", "", "echo", 3, window=2)
LARGE = Scenario("", "", "echo", 1, size=1024 * 1024)
BROADCAST = Scenario("", "", "broadcast", 3, size=100)


class ServingTests(SynchronousTestCase):
    """Every server that is installed here serves what is measured, to the letter."""

    def assert_serves(self, name: str, certificate: Certificate | None) -> None:
        """Echo, a large message, and broadcast."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        command = CONTESTANTS[name].command(tools(), certificate)
        shown = None if certificate is None else certificate.certificate
        with running(command, folder, shown, CONTESTANTS[name].environ) as target:
            for scenario in (ECHO, LARGE, BROADCAST):
                load = replace(scenario, tls=certificate is not None)
                report = run_load(load_command(tools(), target, load, messages=20), 0)
                self.assertEqual(report.get("error", ""), "", f"{name}: {scenario}")
                self.assertEqual("tls" in report and report["tls"] != "", load.tls)

    def test_plain(self) -> None:
        """Without TLS."""
        gone = missing(CONTESTANTS.values())
        for name in CONTESTANTS:
            if name not in gone:
                self.assert_serves(name, None)

    def test_tls(self) -> None:
        """With TLS, where the load speaks it."""
        if not tools().tls:
            return
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        certificate = Certificate(*make_certificate(folder))
        gone = missing(CONTESTANTS.values())
        for name in CONTESTANTS:
            if name not in gone:
                self.assert_serves(name, certificate)


class MissingTests(SynchronousTestCase):
    """`missing` and `versions`."""

    def test_what_is_not_there(self) -> None:
        """A server that lacks packages, programs or files is left out, with the command to install."""
        picows = CONTESTANTS["picows"]
        gone = missing(
            [
                replace(picows, name="a", packages={"picows": "no_such_module"}, hint="install it"),
                replace(picows, name="b", packages={}, programs=("no-such-program",), hint="do"),
                replace(picows, name="c", packages={}, files=(Path("/no/such/package"),), hint="do"),
                replace(picows, name="d", packages={"twisted": "twisted.web.no_such"}, hint="do"),
            ]
        )
        self.assertEqual(
            gone,
            {
                "a": "no no_such_module: install it",
                "b": "no no-such-program: do",
                "c": "no package: do",
                "d": "no twisted.web.no_such: do",
            },
        )

    def test_ours_are_there(self) -> None:
        """What needs nothing but wsecho is never missing."""
        ours = [CONTESTANTS[name] for name in ("wsecho", "wsecho-onmessage", "autobahn", "limit")]
        self.assertEqual(missing(ours), {})
        self.assertRegex(versions(ours)["autobahn"], r"^autobahn [\d.]+, twisted [\d.]+$")

    def test_hints(self) -> None:
        """Whoever may be missing comes with a command that installs it."""
        for contestant in CONTESTANTS.values():
            needs = set(contestant.packages.values()) - {"wsecho", "autobahn", "twisted"}
            self.assertEqual(bool(contestant.hint), bool(needs or contestant.programs), contestant.name)
