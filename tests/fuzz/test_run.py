"""The fuzzer's command line."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

from twisted.trial.unittest import SynchronousTestCase

from fuzz import run
from fuzz.targets import TARGETS


class RunTests(SynchronousTestCase):
    """`python -m fuzz.run`, with something in atheris's place."""

    def fuzz(self, *arguments: str) -> tuple[list[str], Any]:
        """What atheris is told: the command line of libFuzzer and the target."""
        atheris: Any = SimpleNamespace(instrument_imports=MagicMock(), Setup=MagicMock(), Fuzz=MagicMock())
        with patch.dict(sys.modules, {"atheris": atheris}):
            run.main(arguments)
        atheris.Fuzz.assert_called_once_with()
        (command, target), _ = atheris.Setup.call_args
        return command, target

    def test_bounded(self) -> None:
        """The time is bounded unless one asks for it not to be, and each input has a bound."""
        command, target = self.fuzz("head")
        self.assertIn("-max_total_time=30", command)
        self.assertIn("-timeout=20", command)
        self.assertIs(target, TARGETS["head"])
        self.assertIn("-max_total_time=5", self.fuzz("frames", "--seconds=5")[0])

    def test_corpus_stays(self) -> None:
        """The stored corpus is read; new inputs go to a folder before it, which is where libFuzzer writes."""
        command, _ = self.fuzz("frames")
        self.assertEqual(command[-1], str(run.CORPUS / "frames"))
        self.assertNotIn(str(run.CORPUS), command[-2])
        self.assertEqual(self.fuzz("head", "--keep=finds")[0][-2], "finds")

    def test_options_of_libfuzzer(self) -> None:
        """Other options are libFuzzer's."""
        self.assertIn("-seed=1", self.fuzz("head", "-seed=1")[0])

    def test_targets(self) -> None:
        """The command line has each target."""
        for name in TARGETS:
            self.fuzz(name)

    def test_no_atheris(self) -> None:
        """Without atheris one line says what to install."""
        with patch.dict(sys.modules, {"atheris": None}):
            error = self.assertRaises(SystemExit, run.main, ["head"])
        self.assertIn("'.[fuzz]'", str(error))
