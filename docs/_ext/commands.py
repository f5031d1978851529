"""The commands that pages show, and which of them no test runs.

Every fence `shell` of README.md and docs/ is run by a test, unless a comment in the line above says why not:

* no comment: `tests/walk.py` pastes it, and it must succeed;
* `<!-- serve -->`: the same in a terminal of its own, where it goes on until the end of the page, or until a
  line `<!-- stop -->`;
* `<!-- status N -->`: it must end with this exit status;
* `<!-- curl -->`, `<!-- watch -->`, `<!-- test -->`: `tests/test_docs.py` and `.ci/run` run it;
* `<!-- not run: REASON -->`: nobody does, and the page about limitations has it in its list.

A fence `text` right below is what the command writes. Under `<!-- log -->` a fence `text` has lines of the
log of a server that runs, and under `<!-- file: NAME -->` any fence has what the reader writes to a file. An
ellipsis stands for anything.

A command that changes the machine (`systemctl`, a path in `/etc`, …) is never pasted; it needs "not run".

Rules: reading needs no Sphinx, because the tests read as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent.parent
_LIST_MARK = "<!-- commands-not-run -->"
#: What a fence and what a comment on a line of its own look like; the comment may belong to the fence.
_PART = re.compile(
    r"^(?:<!-- (?P<mark>[^>\n]+) -->\n)?(?P<fence>```+)(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=fence)$"
    r"|^<!-- (?P<alone>[^>\n]+) -->$",
    re.MULTILINE | re.DOTALL,
)
#: The comments that a fence of a shell may have, without their arguments.
MARKS = frozenset({"", "serve", "status", "curl", "watch", "test", "not run"})

#: What reaches beyond the folder that a reader works in: programs that change the machine, and the places of
#: the system. No test pastes that.
_BEYOND = re.compile(
    r"(?<![\w./-])(?:sudo|su|systemctl|apt|apt-get|dpkg|docker|podman|useradd|mount|npm)(?![\w.-])"
    r"|(?<![\w.:$}/-])/(?:boot|etc|home|lib|opt|root|run|srv|usr|var)/"
)


@dataclass(frozen=True, slots=True)
class Fence:
    """A fence of a page, or a comment that stands alone."""

    #: The page, from the top of the checkout, and the line in which the fence begins.
    page: str
    line: int
    #: What stands behind the backticks; empty for a comment.
    language: str
    #: The first word of its comment, "not run" being one, and what follows it.
    mark: str
    argument: str
    text: str
    #: What the fence right below it shows, if that has no comment and is a `text`.
    output: str | None = None

    def __str__(self) -> str:
        return f"{self.page}, line {self.line}"

    @property
    def beyond(self) -> str | None:
        """What of a command would change the machine and not only the folder that it is run in."""
        match = _BEYOND.search(self.text)
        return match[0] if match else None


def _mark(comment: str | None) -> tuple[str, str]:
    name, _, argument = (comment or "").partition(":")
    if not argument:
        name, _, argument = name.partition(" ")
    return name.strip(), argument.strip()


def fences(text: str, page: str = "") -> list[Fence]:
    """The fences of a page in their order, outputs with their commands, and the comments between them."""
    found: list[Fence] = []
    end_of_command = -1
    for part in _PART.finditer(text):
        begin = part.start("fence") if part["alone"] is None else part.start()
        mark, argument = _mark(part["mark"] or part["alone"])
        is_output = (
            part["language"] == "text" and not mark and not text[max(end_of_command, 0) : begin].strip("\n")
        )
        if is_output and end_of_command >= 0:
            command = found.pop()
            found.append(
                Fence(
                    command.page,
                    command.line,
                    command.language,
                    command.mark,
                    command.argument,
                    command.text,
                    part["text"],
                )
            )
        else:
            line = text.count("\n", 0, begin) + 1
            found.append(Fence(page, line, part["language"] or "", mark, argument, part["text"] or ""))
        end_of_command = part.end() if part["language"] == "shell" else -1
    return found


def pages() -> Iterator[Path]:
    """README.md and every page of the documentation."""
    yield ROOT / "README.md"
    yield from sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)


def commands() -> Iterator[Fence]:
    """Every command of every page."""
    for path in pages():
        name = path.relative_to(ROOT).as_posix()
        yield from (one for one in fences(path.read_text(encoding="utf-8"), name) if one.language == "shell")


def not_run() -> str:
    """The commands that no test runs, by page and reason, as a list."""
    lines = []
    for fence in commands():
        if fence.mark == "not run":
            first, _, rest = fence.text.strip().partition("\n")
            code = first.partition("  #")[0].rstrip(" \\") + (" …" if rest else "")
            lines.append(f"* [{fence.page}]({_link(fence.page)}), `{code}`: {fence.argument}.")
    return "\n".join(lines)


def _link(page: str) -> str:
    return page.removeprefix("docs/") if page.startswith("docs/") else f"../{page}"


def _source_read(_app: Sphinx, _name: str, source: list[str]) -> None:
    if _LIST_MARK in source[0]:
        source[0] = source[0].replace(_LIST_MARK, not_run())


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.connect("source-read", _source_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
