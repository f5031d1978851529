"""The run of schemathesis against a server, with something in schemathesis's place."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fuzz import api


class RunTests(SynchronousTestCase):
    """`fuzz.api.run`."""

    def run_with(self, script: str) -> tuple[int, str]:
        """Run with a shell script for schemathesis; the status, and what was printed."""
        path = Path(self.mktemp()).resolve()
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o700)
        printed = StringIO()
        with redirect_stdout(printed):
            status = api.run(5, 7, path)
        return status, printed.getvalue()

    def test_good(self) -> None:
        """A run in which nothing was wrong ends with 0; it has the description, the token, and a seed."""
        folder = Path(self.mktemp()).resolve()
        status, printed = self.run_with(f'echo "$@" > {folder}')
        self.assertEqual(status, 0, printed)
        arguments = folder.read_text(encoding="utf-8")
        self.assertRegex(
            arguments,
            r"^--config-file=\S+/schemathesis.toml run http://127.0.0.1:[0-9]+/api/openapi.json "
            r"-H Authorization: Bearer [0-9a-f]{64} --max-time=5 --continue-on-failure --seed=7\n$",
        )

    def test_bad(self) -> None:
        """What schemathesis finds is a failure."""
        status, printed = self.run_with("exit 1")
        self.assertEqual(status, 1)
        self.assertIn("schemathesis ended with 1, the server with 0; errors logged: 0", printed)

    def test_missing(self) -> None:
        """Where it is not installed, the line says how to."""
        ended = self.assertRaises(SystemExit, api.run, 5, None, Path(self.mktemp()))
        self.assertIn("pip install '.[api]'", str(ended.code))
