"""The seeds of the corpus."""

from __future__ import annotations

import hashlib

from twisted.trial.unittest import SynchronousTestCase

from fuzz import seeds
from fuzz.run import CORPUS


class SeedTests(SynchronousTestCase):
    """fuzz/corpus."""

    def test_stored(self) -> None:
        """Each seed is stored under its hash, as libFuzzer names its finds."""
        for target, inputs in seeds.seeds().items():
            names = {hashlib.sha1(data, usedforsecurity=False).hexdigest() for data in inputs}
            self.assertEqual(names - {path.name for path in (CORPUS / target).iterdir()}, set(), target)

    def test_small(self) -> None:
        """The corpus is of small files and not many, so that a reader of a diff sees what came."""
        files = [path for path in CORPUS.rglob("*") if path.is_file()]
        self.assertLess(len(files), 120)
        self.assertEqual([path.name for path in files if path.stat().st_size > 1024], [])

    def test_arguments(self) -> None:
        """Arguments are refused, since there are none."""
        self.assertRaises(SystemExit, seeds.main, ["--help"])
