"""The page that a browser gets from wsecho: a small client for the services of the server it came from.

The files in ``static/`` are sent as they are. They come with a policy under which a browser runs no script
and applies no style but these files', connects nowhere but back to this server, and turns no text into
markup; what a peer sends can therefore not act, however it gets into the page.

Rules: no build step, no inline script or style, nothing from another server. The text of the files is the
only content; nothing of a request gets into it.

It must not know sockets or WebSocket; what is no page here is somebody else's to answer.
"""

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import PurePath
from types import MappingProxyType
from typing import Final

from wsecho.policy.http import HttpAnswer

__all__ = ["CONTENT_SECURITY_POLICY", "answer_with", "page", "static_answers"]

#: What the page may do in a browser. ``'self'`` in connect-src covers ws and wss of the same host and port
#: (CSP level 3). The two about trusted types make any use of innerHTML and the like an error in browsers that
#: know them; the others ignore them.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

_HEADERS: Final = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    # After an upgrade of wsecho, a browser must not run the old script on the new page.
    ("Cache-Control", "no-cache"),
)

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}

#: What the client's page consists of, beside its document.
_FILES: Final = ("base.css", "console.css", "console.js", "envelope.js", "favicon.svg", "plot.js", "theme.js")


def answer_with(name: str, content: bytes) -> HttpAnswer:
    """Return the answer that sends a file, with the headers above.

    :param name: of the file; its ending decides about the Content-Type.
    """
    content_type = _TYPES[PurePath(name).suffix]
    return HttpAnswer(200, (("Content-Type", content_type), *_HEADERS), content)


def static_answers(document: str, names: Iterable[str]) -> Mapping[str, HttpAnswer]:
    """Return the answers of a page, by path: a document of ``static/`` under ``/``, files by their names."""
    folder = files("wsecho.web") / "static"
    paths = {"/": document} | {f"/{name}": name for name in names}
    return MappingProxyType(
        {path: answer_with(name, (folder / name).read_bytes()) for path, name in paths.items()}
    )


# Read at import: an installation without its files fails at the start, not at the first visitor.
_ANSWERS: Final = static_answers("index.html", _FILES)


def page(path: str) -> HttpAnswer | None:
    """Return the answer to a plain GET (or HEAD) of *path*, or None when there is no page under it.

    :param path: the decoded path of the request, without query; compared as it is.
    """
    return _ANSWERS.get(path)
