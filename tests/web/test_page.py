"""web/page.py: which paths have a page, what is sent with it, and what its files may hold."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.close_codes import CLOSE_CODES, LONGEST_REASON
from wsecho.policy.http import HttpAnswer, render
from wsecho.policy.knobs import KNOBS
from wsecho.web.operator_page import FILES
from wsecho.web.page import CONTENT_SECURITY_POLICY, FACTS, client_pages

_STATIC = files("wsecho.web") / "static"
_STYLES = ("/base.css", "/console.css")
_SCRIPTS = (
    "/composer.js",
    "/connection.js",
    "/console.js",
    "/dom.js",
    "/entry.js",
    "/envelope.js",
    "/format.js",
    "/keeping.js",
    "/log.js",
    "/many.js",
    "/measure.js",
    "/plot.js",
    "/setup.js",
    "/target.js",
    "/theme.js",
)
_PATHS = ("/", *_STYLES, *_SCRIPTS, "/favicon.svg")

page = client_pages(mode="echo", has_test_endpoints=False)


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
        types = {path: dict(self.answer(path).headers)["Content-Type"] for path in (*_PATHS, FACTS)}
        expected = {"/": "text/html; charset=utf-8", "/favicon.svg": "image/svg+xml; charset=utf-8"}
        expected |= dict.fromkeys(_STYLES, "text/css; charset=utf-8")
        expected |= dict.fromkeys((*_SCRIPTS, FACTS), "text/javascript; charset=utf-8")
        self.assertEqual(types, expected)

    def test_protective_headers(self) -> None:
        """Everything comes with the policy, against sniffing, for this origin alone, without referrer, and is
        asked for again."""
        for path in (*_PATHS, FACTS):
            headers = dict(self.answer(path).headers)
            del headers["Content-Type"]
            self.assertEqual(
                headers,
                {
                    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
                    "X-Content-Type-Options": "nosniff",
                    "Referrer-Policy": "no-referrer",
                    "Cross-Origin-Opener-Policy": "same-origin",
                    "Cross-Origin-Embedder-Policy": "require-corp",
                    "Cross-Origin-Resource-Policy": "same-origin",
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
        for path in (*_PATHS, FACTS):
            self.assertTrue(render(self.answer(path)).endswith(self.answer(path).body))


class FactsTests(SynchronousTestCase):
    """What the script of facts tells the page."""

    def facts(self, **about: object) -> dict[str, object]:
        """Its only statement, as a value."""
        answer = client_pages(**({"mode": "echo", "has_test_endpoints": False} | about))(FACTS)  # type: ignore[arg-type]
        assert answer is not None
        found = re.fullmatch(r"export default (\{.*\});\n", answer.body.decode("ascii"), re.DOTALL)
        assert found is not None, answer.body
        facts: dict[str, object] = json.loads(found[1])
        return facts

    def test_close_codes(self) -> None:
        """Every row of the table of close codes is there, and how long a reason may be."""
        rows = [
            {"first": row.first, "last": row.last, "name": row.name, "meaning": row.meaning}
            for row in CLOSE_CODES
        ]
        self.assertEqual(self.facts()["closeCodes"], rows)
        self.assertEqual(self.facts()["longestReason"], LONGEST_REASON)

    def test_knobs(self) -> None:
        """The knobs of the programmable echo are told where there is one, and only there."""
        self.assertIsNone(self.facts()["knobs"])
        knobs = self.facts(has_test_endpoints=True)["knobs"]
        assert isinstance(knobs, list)
        self.assertEqual([one["example"] for one in knobs], [knob.example for knob in KNOBS.values()])
        self.assertEqual(set(knobs[0]), {"usage", "accepted", "effect", "example"})

    def test_mode(self) -> None:
        """The service at the top is told, and which channels there can be."""
        self.assertEqual(self.facts(mode="broadcast")["mode"], "broadcast")
        self.assertEqual(self.facts()["channel"], "[A-Za-z0-9._~-]{0,128}")


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
        """No file names another server: no address but the name space of SVG, no url(), no other import than
        of a file beside it."""
        for path in _PATHS:
            text = _source(path[1:] or "index.html").replace("http://www.w3.org/2000/svg", "")
            self.assertEqual(re.findall(r"(?:https?|wss?)://\w|@import|\burl\(|\bimport\(", text), [], path)
            imported = re.findall(r"^import .* from '(.+)';$", text, re.MULTILINE)
            self.assertEqual(len(re.findall(r"^import\b", text, re.MULTILINE)), len(imported), path)
            self.assertEqual({name.removeprefix(".") for name in imported} - {*_SCRIPTS, FACTS}, set(), path)

    def test_scripts_say_what_they_are_for(self) -> None:
        """Each script begins with what it is for, and none is longer than 400 lines."""
        for path in _SCRIPTS:
            lines = _source(path[1:]).splitlines()
            self.assertTrue(lines[0].startswith("/* "), path)
            self.assertLessEqual(len(lines), 400, path)
            self.assertLessEqual(max(map(len, lines)), 120, path)

    def test_ids_are_unique(self) -> None:
        """No two elements of the page have the same id."""
        ids = [attributes["id"] for _, attributes, _ in self.elements.found if "id" in attributes]
        self.assertEqual(sorted(ids, key=str), sorted(set(ids), key=str))

    def test_references_to_ids(self) -> None:
        """Each id that the script, a label or a description names is there."""
        ids = {attributes.get("id") for _, attributes, _ in self.elements.found}
        named: set[str] = set()
        for path in _SCRIPTS:
            named |= set(re.findall(r"(?:byId|setText|showProblem)\('([^']+)'", _source(path[1:])))
        self.assertIn("log", named)
        for _, attributes, _ in self.elements.found:
            for name in ("for", "aria-describedby", "aria-labelledby"):
                named |= set((attributes.get(name) or "").split())
        self.assertEqual(named - ids, set())

    def test_fields_are_labelled(self) -> None:
        """Each field has a label, beside it or around it, and each group of choices a legend."""
        labelled = {attributes.get("for") for attributes in self.elements.named("label")}
        fields = list(self.elements.named("input", "textarea", "select"))
        self.assertEqual(len(fields), 28)
        for field in fields:
            # A radio button stands inside its label, which test_browser.py checks by name.
            self.assertTrue(field.get("type") == "radio" or field.get("id") in labelled, field)
        self.assertEqual(len(list(self.elements.named("fieldset"))), len(list(self.elements.named("legend"))))
