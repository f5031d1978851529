"""The page that a browser gets from wsecho: a small client for the services of the server it came from.

The files in ``static/`` are sent as they are, and beside them one script with facts from the tables of
`wsecho.policy` and about this server. They come with a policy under which a browser runs no script
and applies no style but these files', connects nowhere but back to this server, and turns no text into
markup; what a peer sends can therefore not act, however it gets into the page.

Rules: no build step, no inline script or style, nothing from another server. Files and facts are the only
content; nothing of a request gets into it, and nothing that its reader may not know.

It must not know sockets or WebSocket; what is no page here is somebody else's to answer.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from pathlib import PurePath
from types import MappingProxyType
from typing import Final

from wsecho.policy.close_codes import CLOSE_CODES, LONGEST_REASON
from wsecho.policy.http import HttpAnswer
from wsecho.policy.knobs import KNOBS, Knob
from wsecho.web.operations import CHANNEL_PATTERN

__all__ = ["CONTENT_SECURITY_POLICY", "FACTS", "answer_with", "client_pages", "static_answers"]

#: What the page may do in a browser. ``'self'`` in connect-src covers ws and wss of the same host and port
#: (CSP level 3). Other servers would need ``ws: wss:``, which is any server of the world: then a flaw in the
#: page could carry off what its reader sees and types, and a link to the page could name a server to connect
#: to. A client for other servers is ``wsecho connect``. The two about trusted types make any use of innerHTML
#: and the like an error in browsers that know them; the others ignore them.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

_HEADERS: Final = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    # Pages of others share no process with it. Browsers give such a page a clock of microseconds instead of
    # tenths of a millisecond; echoes of the same machine are measured with it.
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # After an upgrade of wsecho, a browser must not run the old script on the new page.
    ("Cache-Control", "no-cache"),
)

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}

#: What the client's page consists of, beside its document and `FACTS`.
_FILES: Final = (
    "base.css",
    "composer.js",
    "connection.js",
    "console.css",
    "console.js",
    "dom.js",
    "entry.js",
    "envelope.js",
    "favicon.svg",
    "format.js",
    "keeping.js",
    "log.js",
    "many.js",
    "measure.js",
    "plot.js",
    "setup.js",
    "target.js",
    "theme.js",
)

#: The script that is no file: what the page has to know of this server and of `wsecho.policy`.
FACTS: Final = "/facts.js"


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


def client_pages(*, mode: str, has_test_endpoints: bool) -> Callable[[str], HttpAnswer | None]:
    """Return what answers a plain GET (or HEAD): from the decoded path, without query and compared as it is,
    to the answer, or None when there is no page under it.

    :param mode: the service at ``/``, ``echo`` or ``broadcast``
    :param has_test_endpoints: whether there is a programmable echo at ``/test``
    """
    facts = {
        "mode": mode,
        "channel": CHANNEL_PATTERN,
        "knobs": [_knob_facts(knob) for knob in KNOBS.values()] if has_test_endpoints else None,
        "closeCodes": [
            {"first": row.first, "last": row.last, "name": row.name, "meaning": row.meaning}
            for row in CLOSE_CODES
        ],
        "longestReason": LONGEST_REASON,
    }
    # JSON is an expression of JavaScript. A module, so that the others find it where they are read.
    script = f"export default {json.dumps(facts, indent=1)};\n".encode("ascii")
    return {**_ANSWERS, FACTS: answer_with(FACTS, script)}.get


def _knob_facts(knob: Knob) -> dict[str, str]:
    return {
        "usage": knob.usage,
        "accepted": knob.accepted,
        "effect": knob.effect,
        "example": knob.example,
    }
