"""Nothing of the built site is fetched from anybody else: whoever reads it is seen by nobody but its host.

The build fails on a page that loads a script, a style, an image, a font or a frame from another site, or that
prepares the browser for one. Links are for readers to follow, and are free.

Rules: looking needs no Sphinx, because the tests look as well.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: What follows by itself, by the tag; a link by its rel, since that of a canonical address loads nothing.
_LOADING = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "input": "src",
    "link": "href",
    "object": "data",
    "script": "src",
    "source": "src",
    "track": "src",
    "video": "src",
}
_HARMLESS_LINKS = {"canonical", "next", "prev", "index", "search", "author"}
_FOREIGN = re.compile(r"(?:https?:)?//", re.IGNORECASE)
_IN_STYLE = re.compile(r"(?:url\(\s*|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)


class _Loads(HTMLParser):
    """What a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "link" and set((attributes.get("rel") or "").split()) <= _HARMLESS_LINKS:
            return
        self.found += [attributes.get(_LOADING.get(tag, "")) or ""]
        self.found += [
            part.split()[0] for part in (attributes.get("srcset") or "").split(",") if part.strip()
        ]
        self.found += _IN_STYLE.findall(attributes.get("style") or "")


def foreign_of_page(html: str) -> list[str]:
    """The addresses of others that a page loads something from."""
    parser = _Loads()
    parser.feed(html)
    styles = re.findall(r"<style.*?</style>", html, re.DOTALL | re.IGNORECASE)
    return [*filter(_FOREIGN.match, parser.found), *_IN_STYLE.findall("".join(styles))]


def foreign(folder: Path) -> list[str]:
    """The same of a built site, pages and styles, each with its file."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".html":
            found += [f"{path.name}: {one}" for one in foreign_of_page(path.read_text(encoding="utf-8"))]
        elif path.suffix in (".css", ".svg"):
            found += [f"{path.name}: {one}" for one in _IN_STYLE.findall(path.read_text(encoding="utf-8"))]
    return found


def _build_finished(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html" and (found := foreign(Path(app.outdir))):
        from sphinx.errors import SphinxError

        raise SphinxError(f"the site loads from others: {', '.join(found)}")


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.connect("build-finished", _build_finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
