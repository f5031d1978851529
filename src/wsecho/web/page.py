"""The page that a browser gets from wsecho: a small client for the services of the server it came from.

The files in ``static/`` are sent as they are. They come with a policy under which a browser runs no script
and applies no style but these files', connects nowhere but back to this server, and turns no text into
markup; what a peer sends can therefore not act, however it gets into the page.

Rules: no build step, no inline script or style, nothing from another server. The text of the files is the
only content; nothing of a request gets into it.

It must not know sockets or WebSocket; what is no page here is somebody else's to answer.
"""

from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from wsecho.policy.http import HttpAnswer

__all__ = ["CONTENT_SECURITY_POLICY", "page"]

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

# (path, file, Content-Type)
_FILES: Final = (
    ("/", "index.html", "text/html; charset=utf-8"),
    ("/console.css", "console.css", "text/css; charset=utf-8"),
    ("/console.js", "console.js", "text/javascript; charset=utf-8"),
    ("/favicon.svg", "favicon.svg", "image/svg+xml; charset=utf-8"),
)


def _read_answers() -> Mapping[str, HttpAnswer]:
    folder = files("wsecho.web") / "static"
    return MappingProxyType(
        {
            path: HttpAnswer(200, (("Content-Type", content_type), *_HEADERS), (folder / name).read_bytes())
            for path, name, content_type in _FILES
        }
    )


# Read at import: an installation without its files fails at the start, not at the first visitor.
_ANSWERS: Final = _read_answers()


def page(path: str) -> HttpAnswer | None:
    """Return the answer to a plain GET (or HEAD) of *path*, or None when there is no page under it.

    :param path: the decoded path of the request, without query; compared as it is.
    """
    return _ANSWERS.get(path)
