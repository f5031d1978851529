"""Tests of judging one transport in one mode; from the command to the exit status see `test_run`."""

import io
import json
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from conformance import server
from conformance.judging import Judge
from conformance.modes import Combination, ModeError

from .test_run import WSECHO, Client


class JudgeTests(SynchronousTestCase):
    """`Judge.judge`."""

    def setUp(self) -> None:
        """Make a suite, a wsecho and a judge of one case, and keep what is said."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.suite = Client({})
        self.script = WSECHO.format(status=0, line="", lasting=True, compiled="with its compiled part")
        self.patch(server, "wsecho_command", lambda *_: [sys.executable, "-c", self.script])
        self.stdout = io.StringIO()
        self.patch(sys, "stdout", self.stdout)
        self.judge = Judge(self.suite, ("1.1.1",), self.folder, self.folder / "output", 60.0)

    def test_a_process_of_each_mode(self) -> None:
        """The server runs in the mode that is judged, and its own word is kept with the verdicts."""
        for mode, words in (("compiled", "with its compiled part"), ("pure", "pure Python")):
            finding = self.judge.judge(Combination("ws", mode))
            self.assertEqual((finding.told, finding.faults), (words, []))
            self.assertEqual([verdict.case for verdict in finding.verdicts], ["1.1.1"])

    def test_folders(self) -> None:
        """Logs, reports and certificates of one combination are not those of another."""
        for name in ("ws", "wss"):
            self.judge.judge(Combination(name, "pure"))
        for name in ("pure-ws", "pure-wss"):
            self.assertTrue((self.folder / name / "certificate.pem").exists())
            spec = json.loads((self.folder / "output" / name / "spec.json").read_text())
            self.assertEqual(spec["servers"][0]["agent"], f"server-{name}")
            self.assertTrue((self.folder / "output" / name / "server.log").exists())

    def test_another_mode(self) -> None:
        """A server of another mode is ended before the suite is let loose on it."""
        self.script = self.script.replace("pure Python", "with its compiled part")
        self.assertRaises(ModeError, self.judge.judge, Combination("ws", "pure"))
        self.assertFalse((self.folder / "output" / "pure-ws" / "spec.json").exists())

    def test_a_failure_shows_the_log(self) -> None:
        """The end of a server's log is shown where something failed, but not when the run was broken off."""
        self.suite.script = "raise SystemExit(1)"
        self.assertTrue(self.judge.judge(Combination("ws", "pure")).faults)
        self.assertIn("the end of the server's log", self.stdout.getvalue())
        self.stdout.truncate(0)
        self.patch(self.suite, "cleanup", lambda _: self.judge.children.end())
        self.assertTrue(self.judge.judge(Combination("wss", "pure")).faults)
        self.assertNotIn("the end of the server's log", self.stdout.getvalue())
