"""The first hour, walked through; and tests for tests/walk.py: it notices what is not as the page says."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from docs._ext.commands import ROOT, commands, fences
from tests import walk
from tests.checkout import CHECKOUT
from tests.walk import Walk, WalkError, is_same, without_log

#: Seconds for the pages of one test.
_TIMEOUT = 300

_SERVER = """<!-- serve -->
```shell
trap 'echo bye; exit_now=1' INT
echo listening on ws://127.0.0.1:1/
until [ "$exit_now" ]; do sleep 0.05; done
true
```
"""


class PageTests(SynchronousTestCase):
    """The pages, as a reader goes through them."""

    def failure(self, *pages: str) -> str:
        """Walk through pages; what was said when something is not as they say, else nothing."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.walk", *pages],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        return done.stdout if done.returncode else ""

    def test_first_hour(self) -> None:
        """README and tutorial, one after the other in one fresh checkout."""
        self.assertEqual(self.failure("README.md", "docs/tutorial.md"), "")

    def test_recipes(self) -> None:
        """Each other page with commands to be pasted, in a fresh checkout of its own."""
        for program in ("curl", "openssl"):
            if shutil.which(program) is None:
                raise SkipTest(f"{program} not found: apt-get install {program}")
        pages = {one.page for one in commands() if one.mark in ("", "serve", "status")}
        pages -= {"README.md", "docs/tutorial.md"}
        self.assertTrue(pages >= {"docs/how-to/tls.md", "docs/topics/origins.md"})
        # Side by side only where each walk has a network of its own.
        with ThreadPoolExecutor(2 if walk.isolation() else 1) as pool:
            self.assertEqual("".join(pool.map(self.failure, sorted(pages))), "")


class WalkTests(SynchronousTestCase):
    """A walk through a small page.

    :ivar before: what is to happen before a fence with this word
    """

    def setUp(self) -> None:
        """Nothing is."""
        self.before: dict[str, Callable[[], object]] = {}

    def walk(self, page: str) -> str:
        """Walk through a page, and return what was said."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        said: list[str] = []
        way = Walk(folder, os.environ, said.append)
        try:
            for fence in fences(page, "page"):
                for word, happens in self.before.items():
                    if word in fence.text:
                        happens()
                way.step(fence)
            way.end()
        finally:
            way.close()
        return "".join(said)

    def assert_noticed(self, page: str, what: str) -> None:
        """The walk ends with an error of these words."""
        self.assertIn(what, str(self.assertRaises(WalkError, self.walk, page)))

    def test_output(self) -> None:
        """What a command writes is compared, both streams, and without the log of a server."""
        log = "2026-11-27T03:00:00+0000 [-] log"
        page = f"```shell\necho a; echo b >&2\necho '{log}'\n```\n\n```text\na\nb\n```\n"
        self.assertEqual(self.walk(page), f"$ echo a; echo b >&2\necho '{log}'\na\nb\n{log}\n")
        self.assert_noticed(page.replace("a\nb\n```", "a\n```"), "the page shows another output:\na\n")

    def test_no_end_of_line(self) -> None:
        """The last line of an output need not have an end."""
        self.walk("```shell\nprintf 'a\\nb'\n```\n\n```text\na\nb\n```\n")

    def test_one_terminal(self) -> None:
        """A command finds what the one before it left: variables and folders."""
        self.walk("```shell\nx=1; cd /\n```\n\n```shell\necho $x $PWD\n```\n\n```text\n1 /\n```\n")

    def test_standard_input(self) -> None:
        """A command that reads does not read what is pasted next."""
        self.walk("```shell\ncat\n```\n\n```shell\necho a\n```\n\n```text\na\n```\n")

    def test_status(self) -> None:
        """A command has to succeed, or to end with the status that the page says."""
        self.walk("<!-- status 3 -->\n```shell\n(exit 3)\n```\n")
        self.assert_noticed("```shell\n(exit 3)\n```\n", "exit status 3, not 0")
        self.assert_noticed("<!-- status 3 -->\n```shell\ntrue\n```\n", "exit status 0, not 3")

    def test_file(self) -> None:
        """What the page has one write to a file is there."""
        self.walk(
            "<!-- file: a.txt -->\n```text\nhello\n```\n\n```shell\ncat a.txt\n```\n\n```text\nhello\n```\n"
        )

    def test_server(self) -> None:
        """A server runs in a terminal of its own until Ctrl-C, which it has to survive with status 0."""
        self.assertEqual(self.walk(_SERVER).splitlines()[-2:], ["listening on ws://127.0.0.1:1/", "(Ctrl-C)"])
        self.assert_noticed(_SERVER.replace("echo bye;", "exit 9;"), "did not end")

    def test_no_server(self) -> None:
        """What ends in place of listening is noticed."""
        self.assert_noticed("<!-- serve -->\n```shell\necho oh\n```\n", "it does not listen:\noh\n")

    def test_log(self) -> None:
        """The lines of a log are looked for in what servers wrote."""
        log = "<!-- log -->\n```text\non ws://…/\n```\n"
        self.walk(_SERVER + log)
        self.patch(walk, "LOG_TIMEOUT", 0.1)
        self.assert_noticed(_SERVER + log.replace("ws:", "wss:"), "no server has logged 'on wss://…/'")

    def test_stop(self) -> None:
        """A server that is stopped is gone."""
        self.walk(_SERVER + "\n<!-- stop -->\n\n<!-- log -->\n```text\nbye\n```\n")

    def test_unknown(self) -> None:
        """A text that is neither output nor log nor file is noticed, and so is an unknown mark."""
        self.assert_noticed("```text\na\n```\n", "is this an output")
        self.assert_noticed("<!-- sevre -->\n```shell\ntrue\n```\n", "unknown mark 'sevre'")

    def test_not_run(self) -> None:
        """What is not to be run is not run."""
        for mark in ("not run: because", "curl", "test"):
            self.assertEqual(self.walk(f"<!-- {mark} -->\n```shell\nfalse\n```\n"), "")

    def test_beyond(self) -> None:
        """What would change the machine is refused."""
        self.assert_noticed("```shell\necho /etc/x\n```\n", "this reaches beyond the folder (/etc/)")

    def test_never_ends(self) -> None:
        """A command that does not end is noticed, and does not outlive the walk."""
        # The shell is to have been started by then.
        self.before["sleep"] = lambda: self.patch(walk, "TIMEOUT", 1)
        page = "```shell\ntrue\n```\n\n```shell\necho a; sleep 1000\n```\n"
        self.assert_noticed(page, "it did not end within 1 seconds:\na\n")


class ComparisonTests(SynchronousTestCase):
    """What counts as the same."""

    def test_same(self) -> None:
        """An ellipsis stands for anything on its line, ports and times for any, all else for itself."""
        self.assertTrue(is_same("a … c\n", "a b c"))
        self.assertTrue(is_same("127.0.0.1:40002 x", "127.0.0.1:51234 x"))
        self.assertTrue(is_same("2026-11-27T09:00:00+0000 [x", "2027-01-02T10:11:12+0000 [x"))
        self.assertFalse(is_same("127.0.0.1:9000", "127.0.0.1:9001"))
        self.assertFalse(is_same("a.c", "abc"))
        self.assertFalse(is_same("a…", "b\na"))

    def test_log(self) -> None:
        """Only what is a log's is left out, also inside a line."""
        text = "a\n2026-11-27T03:00:00+0000 [wsecho#info] x\nb2026-11-27T03:00:00+0000 [-] y\n [c]\n"
        self.assertEqual(without_log(text), "a\nb [c]\n")


class StandInTests(SynchronousTestCase):
    """What `python3` does on a walk."""

    def test_environment(self) -> None:
        """A new environment is that of this Python, and stays where there is one."""
        folder = Path(self.mktemp())
        for _ in range(2):
            walk.as_python(["-m", "venv", "--without-pip", str(folder)])
        self.assertEqual(folder.readlink(), Path(sys.prefix))

    def test_install(self) -> None:
        """What is to be installed has to be there, extras too."""
        install = ["-m", "pip", "--python", ".venv", "install", "--quiet"]
        walk.as_python([*install, ".", "websockets", ".[test]", "wsecho[test]"])
        for missing in ("no-such-package", ".[no-such-extra]"):
            self.assertRaises(PackageNotFoundError, walk.as_python, [*install, missing])

    def test_pages_exist(self) -> None:
        """Pages are named from the top of the checkout."""
        self.assertEqual(ROOT, CHECKOUT)
