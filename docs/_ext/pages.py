"""The lists of pages that the index of a folder shows: each page's title and its first sentence.

A fence `{pages}` holds one name of a page a line, as a toctree would, and becomes the list and the toctree.
So a page says once what it is for, in its first sentence, and no index can say something else.

Rules: reading needs no Sphinx, because the tests read as well.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_DOCS = Path(__file__).resolve().parent.parent
_FENCE = re.compile(r"^```\{pages\}\n((?:[\w/.-]+\n)+)```$", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
#: A full stop ends a sentence unless it stands in code or in a number.
_FIRST_SENTENCE = re.compile(r"(?:`[^`]*`|[^`])*?[.:](?=\s|$)")
#: A link would be wrong from another folder.
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def title(text: str) -> str:
    """The title of a page."""
    match = _TITLE.search(text)
    if match is None:
        raise ValueError("the page has no title")
    return match[1]


def first_sentence(text: str) -> str:
    """What a page says first, without links and without its last character."""
    begin = _COMMENT.sub("", text).partition(title(text))[2].strip()
    if not begin[:1].isalnum() and begin[:1] not in "[`":
        raise ValueError(f"the page {title(text)!r} does not begin with a sentence")
    paragraph = " ".join(begin.partition("\n\n")[0].split())
    match = _FIRST_SENTENCE.match(_LINK.sub(r"\1", paragraph))
    if match is None:
        raise ValueError(f"the first sentence of {title(text)!r} does not end in its paragraph")
    return match[0][:-1]


def fill(text: str, folder: Path) -> str:
    """Return a page of a folder with each fence replaced by a list and a toctree."""

    def filled(fence: re.Match[str]) -> str:
        lines = []
        for name in fence[1].split():
            page = (folder / f"{name}.md").read_text(encoding="utf-8")
            lines.append(f"* [{title(page)}]({name}.md): {first_sentence(page)}.")
        return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", fence[1] + "```"])

    return _FENCE.sub(filled, text)


def listed(text: str) -> list[str]:
    """The names of pages in the fences of a page."""
    return [name for fence in _FENCE.finditer(text) for name in fence[1].split()]


def _source_read(app: Sphinx, name: str, source: list[str]) -> None:
    folder = (_DOCS / name).parent
    for page in listed(source[0]):
        app.env.note_dependency(str(folder / f"{page}.md"))
    source[0] = fill(source[0], folder)


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.connect("source-read", _source_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
