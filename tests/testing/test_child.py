"""Tests for `wsecho.testing.child`."""

from __future__ import annotations

import contextlib
import os
import select
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.serving import TIMEOUT, run_python

#: A test run that is killed while its server runs.
KILLED = """
import os, signal
from wsecho.testing import Server
server = Server()
server.start()
print(server.pid, file=open("pid", "w"), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


class ChildTests(SynchronousTestCase):
    """The process of a `wsecho.testing.Server`."""

    def test_parent_is_killed(self) -> None:
        """A server ends when the process that started it is gone, and could not stop it."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        with self.assertRaises(AssertionError) as killed:
            run_python("-c", KILLED, cwd=folder)
        self.assertIn("ended with -9", str(killed.exception))
        # It may be gone already.
        with contextlib.suppress(ProcessLookupError):
            server = os.pidfd_open(int((folder / "pid").read_text(encoding="ascii")))
            self.addCleanup(os.close, server)
            poll = select.poll()
            poll.register(server, select.POLLIN)
            self.assertTrue(poll.poll(TIMEOUT * 1000), "the server goes on")
