"""Tests for docs/_ext/commands.py: which commands a page shows, what they write, and who runs them."""

from twisted.trial.unittest import SynchronousTestCase

from docs._ext import commands
from docs._ext.commands import MARKS, Fence, fences

PAGE = """# A page

```shell
ls
```

```text
a
```

```text
no output
```

<!-- status 2 -->
```shell
false
```
<!-- not run: it takes hours -->
```shell
rm -rf / \\
    --no-preserve-root
```

Words.

```text
no output
```
<!-- stop -->

<!-- file: a.toml -->
```toml
b = 1
```
"""


class FenceTests(SynchronousTestCase):
    """What is read from a page."""

    def test_page(self) -> None:
        """Commands have their marks, arguments and outputs; what stands elsewhere is no output."""
        self.assertEqual(
            [
                (one.line, one.language, one.mark, one.argument, one.text, one.output)
                for one in fences(PAGE, "p")
            ],
            [
                (3, "shell", "", "", "ls\n", "a\n"),
                (11, "text", "", "", "no output\n", None),
                (16, "shell", "status", "2", "false\n", None),
                (20, "shell", "not run", "it takes hours", "rm -rf / \\\n    --no-preserve-root\n", None),
                (27, "text", "", "", "no output\n", None),
                (30, "", "stop", "", "", None),
                (33, "toml", "file", "a.toml", "b = 1\n", None),
            ],
        )

    def test_beyond(self) -> None:
        """A command that changes the machine is known by a program or by a place of the system."""
        for text, beyond in (
            ("cd x && systemctl daemon-reload\n", "systemctl"),
            ("install -m 644 a /etc/wsecho/a\n", "/etc/"),
            ("x=/opt/a\n", "/opt/"),
            ("docker run x\n", "docker"),
            ("ls >/dev/null; cat etc/x a/var/log docker.txt my-sudo su.d\n", None),
            ("curl http://127.0.0.1:9000/home/\n", None),
        ):
            self.assertEqual(Fence("p", 1, "shell", "", "", text).beyond, beyond, text)

    def test_where(self) -> None:
        """A fence tells where it is."""
        self.assertEqual(str(Fence("docs/a.md", 3, "shell", "", "", "ls\n")), "docs/a.md, line 3")


class CommandTests(SynchronousTestCase):
    """The commands of all pages."""

    def test_marks(self) -> None:
        """Each command of each page is run by somebody, or says why not."""
        for fence in commands.commands():
            self.assertIn(fence.mark, MARKS, str(fence))
            if fence.mark != "not run":
                self.assertIsNone(fence.beyond, str(fence))
            self.assertEqual(bool(fence.argument), fence.mark in ("not run", "status"), str(fence))

    def test_who_runs(self) -> None:
        """What is left to other tests stands on the pages that they read."""
        for mark, page in (
            ("curl", "docs/how-to/admin.md"),
            ("watch", "docs/how-to/admin.md"),
            ("test", "README.md"),
        ):
            self.assertEqual({one.page for one in commands.commands() if one.mark == mark}, {page})

    def test_not_run(self) -> None:
        """The list has each command that nobody runs, with its reason and the way to its page."""
        listed = commands.not_run().splitlines()
        known = [one for one in commands.commands() if one.mark == "not run"]
        self.assertEqual(len(listed), len(known))
        for line, fence in zip(listed, known, strict=True):
            link = fence.page.removeprefix("docs/")
            self.assertRegex(line, rf"^\* \[{fence.page}\]\({link}\), `[^`]+`: ")
            self.assertIn(fence.argument, line)
