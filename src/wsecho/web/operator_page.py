"""The page that the admin endpoint gives a browser: what an operator sees of a server, and does to it.

Rules of this file: the page is files, like the client's (`wsecho.web.page`), under the same policy. It holds
no secret, and nothing of the server: what it shows it asks the API for, with the operator's token.
"""

from typing import Final

from wsecho.policy.http import HttpAnswer
from wsecho.web.page import static_answers

__all__ = ["FILES", "operator_page"]

#: What the page consists of, beside its document.
FILES: Final = (
    "base.css",
    "dom.js",
    "favicon.svg",
    "format.js",
    "operator-api.js",
    "operator-connections.js",
    "operator-ends.js",
    "operator-messages.js",
    "operator-publish.js",
    "operator-server.js",
    "operator-traffic.js",
    "operator-workers.js",
    "operator.css",
    "operator.js",
    "plot.js",
    "theme.js",
)

_ANSWERS: Final = static_answers("operator.html", FILES)


def operator_page(path: str) -> HttpAnswer | None:
    """Return the answer to a GET (or HEAD) of *path*, or None when there is no page under it.

    :param path: of the request, still encoded; compared as it is.
    """
    return _ANSWERS.get(path)
