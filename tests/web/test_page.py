"""web/page.py: which paths have a page, what is sent with it, and what its files may hold."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.http import HttpAnswer, render
from wsecho.web.operator_page import FILES
from wsecho.web.page import CONTENT_SECURITY_POLICY, page

_STATIC = files("wsecho.web") / "static"
_PATHS = (
    "/",
    "/base.css",
    "/console.css",
    "/console.js",
    "/envelope.js",
    "/favicon.svg",
    "/plot.js",
    "/theme.js",
)


class _Elements(HTMLParser):
    """The elements of a document: (name, attributes, text directly inside)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), []))

    def handle_data(self, data: str) -> None:
        if self.found and data.strip():
            self.found[-1][2].append(data.strip())

    def named(self, *tags: str) -> Iterator[dict[str, str | None]]:
        return (attributes for tag, attributes, _ in self.found if tag in tags)


def _source(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


class PageTests(SynchronousTestCase):
    """What page() answers."""

    def answer(self, path: str) -> HttpAnswer:
        """The answer for a path that must have one."""
        answer = page(path)
        assert answer is not None, path
        return answer

    def test_files(self) -> None:
        """Each path is answered with 200 and its file, byte for byte."""
        for path in _PATHS:
            answer = self.answer(path)
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.body, (_STATIC / (path[1:] or "index.html")).read_bytes())

    def test_nothing_lies_around(self) -> None:
        """Every file of the folder is served, so that none is forgotten in the table."""
        names = {path[1:] or "index.html" for path in _PATHS}
        self.assertEqual({file.name for file in _STATIC.iterdir()}, names | {"operator.html", *FILES})

    def test_content_types(self) -> None:
        """Each file is sent with its own type and with the charset it is written in."""
        types = {path: dict(self.answer(path).headers)["Content-Type"] for path in _PATHS}
        self.assertEqual(
            types,
            {
                "/": "text/html; charset=utf-8",
                "/base.css": "text/css; charset=utf-8",
                "/console.css": "text/css; charset=utf-8",
                "/console.js": "text/javascript; charset=utf-8",
                "/envelope.js": "text/javascript; charset=utf-8",
                "/favicon.svg": "image/svg+xml; charset=utf-8",
                "/plot.js": "text/javascript; charset=utf-8",
                "/theme.js": "text/javascript; charset=utf-8",
            },
        )

    def test_protective_headers(self) -> None:
        """Every file comes with the policy, against sniffing, without referrer, and is asked for again."""
        for path in _PATHS:
            headers = dict(self.answer(path).headers)
            del headers["Content-Type"]
            self.assertEqual(
                headers,
                {
                    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
                    "X-Content-Type-Options": "nosniff",
                    "Referrer-Policy": "no-referrer",
                    "Cache-Control": "no-cache",
                },
            )

    def test_policy(self) -> None:
        """The policy allows nothing by default, this server's own files and connections, and no framing."""
        self.assertEqual(
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'",
        )

    def test_other_paths(self) -> None:
        """Anything but the exact path of a file has no page."""
        others = [
            "",
            "//",
            "/echo",
            "/broadcast",
            "/index.html",
            "/console.js/",
            "/Console.js",
            "/console.js?",
        ]
        others += ["/../page.py", "/static/console.js", "/./console.js", "/%2e/console.js", "console.js", "*"]
        self.assertEqual([path for path in others if page(path) is not None], [])

    def test_can_be_rendered(self) -> None:
        """Each answer passes the checks of render()."""
        for path in _PATHS:
            self.assertTrue(render(self.answer(path)).endswith(self.answer(path).body))


class FileTests(SynchronousTestCase):
    """What the files hold: nothing the policy would refuse, and what the script and a reader count on."""

    def setUp(self) -> None:
        """Read the page's elements."""
        self.elements = _Elements(_source("index.html"))

    def test_nothing_inline(self) -> None:
        """The page has no script or style of its own, neither in elements nor in attributes."""
        for tag, attributes, text in self.elements.found:
            self.assertNotEqual(tag, "style")
            self.assertEqual(
                [name for name in attributes if name == "style" or name.startswith("on")], [], tag
            )
            if tag == "script":
                self.assertEqual(text, [])

    def test_references(self) -> None:
        """What the page loads is served beside it and named relative to it, as a proxy's path needs."""
        references = [
            value
            for attributes in self.elements.named("link", "script", "img")
            for name in ("href", "src")
            if (value := attributes.get(name)) is not None
        ]
        self.assertEqual({f"/{reference}" for reference in references} - set(_PATHS), set())

    def test_no_other_server(self) -> None:
        """No file names another server: no address but the name space of SVG, no import, no url()."""
        for path in _PATHS:
            text = _source(path[1:] or "index.html").replace("http://www.w3.org/2000/svg", "")
            self.assertEqual(re.findall(r"(?:https?|wss?)://\S|@import|\burl\(|\bimport\b", text), [], path)

    def test_ids_are_unique(self) -> None:
        """No two elements of the page have the same id."""
        ids = [attributes["id"] for _, attributes, _ in self.elements.found if "id" in attributes]
        self.assertEqual(sorted(ids, key=str), sorted(set(ids), key=str))

    def test_references_to_ids(self) -> None:
        """Each id that the script, a label or a description names is there."""
        ids = {attributes.get("id") for _, attributes, _ in self.elements.found}
        named = set(re.findall(r"(?:byId|setText|showProblem)\('([^']+)'", _source("console.js")))
        self.assertIn("log", named)
        for _, attributes, _ in self.elements.found:
            for name in ("for", "aria-describedby", "aria-labelledby"):
                named |= set((attributes.get(name) or "").split())
        self.assertEqual(named - ids, set())

    def test_fields_are_labelled(self) -> None:
        """Each field has a label, beside it or around it, and each group of choices a legend."""
        labelled = {attributes.get("for") for attributes in self.elements.named("label")}
        fields = list(self.elements.named("input", "textarea"))
        self.assertEqual(len(fields), 9)
        for field in fields:
            # A radio button stands inside its label, which test_browser.py checks by name.
            self.assertTrue(field.get("type") == "radio" or field.get("id") in labelled, field)
        self.assertEqual(len(list(self.elements.named("fieldset"))), len(list(self.elements.named("legend"))))
