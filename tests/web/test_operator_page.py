"""Tests for `wsecho.web.operator_page`: what is served, and the page in Chromium, against a running server.

A refusal by the page's policy, an error of its script or any other complaint in the browser's console fails
the test that caused it, unless the test expects it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.web.browser import new_window, shared_browser
from tests.web.contrasts import CONTRASTS
from tests.web.in_a_browser import BrowserCase
from tests.web.operator import OperatorPage, overseen
from wsecho.web.operator_page import operator_page
from wsecho.web.page import CONTENT_SECURITY_POLICY

TOKEN = "correct-horse-battery-staple"

_CONTROLS = """
    return [...document.querySelectorAll('button, input, select, textarea, [tabindex], [role=img], table')];
"""
_REQUESTS = "return performance.getEntriesByType('resource').map((entry) => entry.name);"
_WIDER_THAN_WINDOW = """
    const window = document.documentElement.clientWidth;
    return [...document.querySelectorAll('html, body, body *')]
      .filter((element) => element.checkVisibility() && !element.closest('.scroll > *, .unseen, svg'))
      .filter((element) => element.getBoundingClientRect().right > window + 1)
      .map((element) => element.outerHTML.slice(0, 80));
"""


class ServedTests(SynchronousTestCase):
    """The files."""

    def test_whole(self) -> None:
        """Whatever the document and its modules name is served, and nothing else is."""
        document = operator_page("/")
        assert document is not None
        names = set(re.findall(rb'(?:href|src)="([^"#]+)"', document.body))
        served: set[bytes] = set()
        while names - served:
            name = (names - served).pop()
            served.add(name)
            answer = operator_page(f"/{name.decode()}")
            assert answer is not None, name
            if name.endswith(b".js"):
                names |= set(re.findall(rb"from '\./([^']+)'", answer.body))
        self.assertGreater(len(served), 10)
        self.assertIsNone(operator_page("/index.html"))
        self.assertIsNone(operator_page("/operator.html"))

    def test_policy(self) -> None:
        """Each file comes with the policy of the pages."""
        for path in ("/", "/operator.js", "/operator.css"):
            answer = operator_page(path)
            assert answer is not None
            self.assertIn(("Content-Security-Policy", CONTENT_SECURITY_POLICY), answer.headers)

    def test_head_comments(self) -> None:
        """Each module begins with what it is for."""
        document = operator_page("/operator.js")
        assert document is not None
        for name in ("operator.js", *re.findall(r"from '\./([^']+)'", document.body.decode())):
            answer = operator_page(f"/{name}")
            assert answer is not None
            self.assertTrue(answer.body.startswith(b"/* "), name)


class _InABrowser(BrowserCase):
    """A server, the page open in a browser, and clients."""

    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        """Start both and open the page."""
        super().setUp()
        self.prepare()
        self.server = self.resources.enter_context(ExitStack())
        self.served = self.server.enter_context(overseen(self.folder / "server", *self.options))
        chrome = shared_browser()
        self.resources.enter_context(new_window(chrome))
        self.page = OperatorPage(chrome, self.served.admin)
        self.addCleanup(self.check_console)

    def prepare(self) -> None:
        """Make files that the options name."""

    def check_console(self) -> None:
        """Nothing was written to the console."""
        self.assertEqual(self.page.console, [])

    def client(self, path: str = "", **options: Any) -> ClientConnection:
        """A client, which leaves with the test."""
        # Its own pings would end in an exception on a thread when the server stops.
        client: ClientConnection = connect(
            self.served.url + path, proxy=None, ping_interval=None, close_timeout=1, **options
        )
        self.resources.enter_context(client)
        return client

    def wait_for(self, seen: Callable[[], object], expected: object = True) -> None:
        """Wait until the page shows it."""
        self.page.wait(seen, expected)

    def press(self, name: str) -> None:
        """Press the button of this id, when it can be pressed."""
        self.wait_for(self.page.element(name).is_enabled)
        self.page.element(name).click()


class ConnectionTests(_InABrowser):
    """Who is connected."""

    def test_table(self) -> None:
        """Clients are in the table with address and port, service and channel, and what they have carried."""
        ann, bob = self.client("echo"), self.client("broadcast/kitchen")
        host, port = ann.local_address[:2]
        ann.send("hello")
        ann.recv(timeout=10)
        self.wait_for(lambda: [row["received_messages"] for row in self.page.rows], ["1", "0"])
        first, second = self.page.rows
        self.assertEqual(
            (first["peer"], first["path"], first["service"], first["channel"], first["received_bytes"]),
            (f"{host}:{port}", "/echo", "echo", "\u2013", "5 B"),
        )
        self.assertEqual((second["service"], second["channel"]), ("broadcast", "kitchen"))
        self.assertEqual(self.page.element("connections-count").text, "2")
        bob.close()
        self.wait_for(lambda: [row["service"] for row in self.page.rows], ["echo"])
        self.wait_for(lambda: "peer-close" in self.page.element("ends").text)

    def test_filter(self) -> None:
        """A filter leaves those that it fits, and says of how many."""
        for path in ("echo", "broadcast/kitchen", "broadcast/cellar"):
            self.client(path)
        self.wait_for(lambda: len(self.page.rows), 3)
        self.page.write("search", "KITCHEN")
        self.wait_for(lambda: [row["channel"] for row in self.page.rows], ["kitchen"])
        self.page.write("search", "nobody")
        self.wait_for(lambda: self.page.element("nobody").text, "Nobody passes the filter.")

    def test_pages(self) -> None:
        """More than a page of connections is shown page by page."""
        for _ in range(101):
            self.client()
        self.wait_for(lambda: self.page.element("connections-count").text, "100 of 101")
        self.page.element("next-page").click()
        self.wait_for(lambda: len(self.page.rows), 1)
        self.page.element("first-page").click()
        self.wait_for(lambda: len(self.page.rows), 100)

    def test_rows_stay(self) -> None:
        """A row is the same element from second to second: the keys are not taken from whoever is on it."""
        client = self.client()
        self.wait_for(lambda: len(self.page.rows), 1)
        self.page.run("document.querySelector('#rows button').focus();")
        client.send("hello")
        self.wait_for(lambda: self.page.rows[0]["received_messages"], "1")
        self.assertEqual(self.page.focused.accessible_name, "Watch connection 1")

    def test_disconnect(self) -> None:
        """Disconnect asks for code and reason, and the client gets both."""
        client = self.client()
        self.wait_for(lambda: len(self.page.rows), 1)
        self.page.named("Disconnect connection 1").click()
        self.page.write("code", "4001")
        self.page.write("reason", "Not you, <b>again</b>")
        self.page.press(Keys.ENTER)
        with self.assertRaises(ConnectionClosed):
            client.recv(timeout=30)
        self.assertEqual((client.close_code, client.close_reason), (4001, "Not you, <b>again</b>"))
        self.wait_for(lambda: self.page.rows, [])
        self.assertEqual(self.page.element("disconnected").text, "Connection 1 is being closed with 4001.")

    def test_wrong_code(self) -> None:
        """A code that no server may send is refused in the dialog, and nobody is disconnected."""
        client = self.client()
        self.wait_for(lambda: len(self.page.rows), 1)
        self.page.named("Disconnect connection 1").click()
        self.page.write("code", "1006")
        self.page.press(Keys.ENTER)
        self.wait_for(
            lambda: "a close code that a server may send" in self.page.element("disconnect-problem").text
        )
        self.page.press(Keys.ESCAPE)
        self.wait_for(lambda: self.page.element("disconnect").is_displayed(), False)
        client.send("still here")
        self.assertEqual(client.recv(timeout=10), "still here")
        self.expect_in_console("400")

    def expect_in_console(self, status: str) -> None:
        """The browser tells of each answer that is an error."""
        self.wait_for(lambda: bool([one for one in self.page.console if status in one["message"]]))


class ServerTests(_InABrowser):
    """Start, pause, stop."""

    def test_state(self) -> None:
        """What is listened on, since when, and with what."""
        self.wait_for(lambda: self.page.state, "Listening")
        self.assertEqual(self.page.element("urls").text, self.served.url)
        for name in ("since", "lag", "engine", "versions"):
            self.assertTrue(self.page.element(name).text, name)
        self.assertIn("twisted", self.page.element("versions").text)

    def test_pause(self) -> None:
        """Paused, a new client waits, those who are there go on; started again, it is served. The keys follow
        to the button that is of use next."""
        ann = self.client()
        self.press("pause")
        self.wait_for(lambda: self.page.state, "Paused")
        self.assertRaises(TimeoutError, self.client, open_timeout=1)
        ann.send("hello")
        self.assertEqual(ann.recv(timeout=10), "hello")
        self.wait_for(lambda: self.page.focused.accessible_name, "Start")
        self.page.press(Keys.ENTER)
        self.wait_for(lambda: self.page.state, "Listening")
        self.client()

    def test_stop(self) -> None:
        """Stopped, after a question, a new client is refused, those who are there go on; started again, the
        same address answers."""
        ann = self.client()
        self.wait_for(lambda: len(self.page.rows), 1)
        self.press("stop")
        self.assertIn("The open connection stays.", self.page.element("confirm-text").text)
        self.page.press(Keys.ESCAPE)
        self.assertEqual(self.page.state, "Listening")
        self.press("stop")
        self.page.element("confirm-yes").click()
        self.wait_for(lambda: self.page.state, "Stopped")
        self.assertEqual(self.page.element("urls").text, "nothing")
        self.assertRaises(ConnectionRefusedError, self.client)
        ann.send("hello")
        self.assertEqual(ann.recv(timeout=10), "hello")
        self.press("start")
        self.wait_for(lambda: self.page.state, "Listening")
        self.client()

    def test_away(self) -> None:
        """A server that has gone is told, and nothing can be pressed."""
        self.wait_for(lambda: self.page.state, "Listening")
        self.server.close()
        self.wait_for(lambda: self.page.state, "Not reachable")
        for name in ("start", "pause", "stop"):
            self.assertFalse(self.page.element(name).is_enabled())
        # The browser itself complains about each refused connection.
        self.assertEqual([one for one in self.page.console if "net::ERR_" not in one["message"]], [])
        self.page.run("stop()")
        self.page.chrome.get("about:blank")


class MessageTests(_InABrowser):
    """Messages, in and out."""

    def test_broadcast(self) -> None:
        """A text that is published reaches everybody on the channel, and how many is told."""
        ann, bob = self.client("broadcast/kitchen"), self.client("broadcast/kitchen")
        self.page.write("publish-channel", "kitchen")
        self.page.write("publish-text", "Tea? \u00e9")
        self.page.named("Publish").click()
        self.assertEqual([one.recv(timeout=10) for one in (ann, bob)], ["Tea? \u00e9"] * 2)
        self.wait_for(lambda: self.page.element("published").text, "Given to 2 members.")
        self.assertEqual(self.page.element("publish-text").get_attribute("value"), "")

    def test_no_channel(self) -> None:
        """A name that no channel can have is refused where it is typed."""
        self.page.write("publish-channel", "my room")
        self.page.named("Publish").click()
        self.wait_for(lambda: self.page.element("publish-problem").text.startswith("channel: accepted is"))
        self.assertEqual(self.page.element("publish-channel").get_attribute("aria-invalid"), "true")
        self.wait_for(lambda: bool([one for one in self.page.console if "400" in one["message"]]))

    def test_watch(self) -> None:
        """Nothing is shown before Watch is pressed; then messages are, as text, whatever they hold."""
        ann, bob = self.client("echo"), self.client("broadcast/kitchen")
        markup = "<img src=x onerror=console.error(1)>"
        ann.send("unseen")
        ann.recv(timeout=10)
        self.assertEqual(self.page.entries, [])
        self.watch()
        ann.send(markup)
        bob.send(b"\x00\xff")
        host, port = ann.local_address[:2]
        self.wait_for(lambda: len(self.page.entries), 2)
        first, second = sorted(self.page.entries)
        self.assertEqual(first, [f"no. 1, {host}:{port}", "echo", f"text, {len(markup)} B", markup])
        self.assertEqual(second[1:], ["broadcast kitchen", "binary, 2 B", "00 ff"])
        self.assertEqual(self.page.run("return document.querySelectorAll('#log img').length"), 0)

    def test_watch_one(self) -> None:
        """One connection can be watched alone, from its row; watching ends when it is asked to."""
        ann, bob = self.client("echo"), self.client("echo")
        self.wait_for(lambda: len(self.page.rows), 2)
        self.page.named("Watch connection 2").click()
        self.wait_until_watched()
        ann.send("of the other")
        bob.send("of this one")
        self.wait_for(lambda: [entry[3] for entry in self.page.entries], ["of this one"])
        self.press("watch-toggle")
        self.wait_for(lambda: self.page.element("watch-toggle").text, "Watch")
        self.page.element("watch-clear").click()
        self.assertEqual(self.page.entries, [])

    def test_bounded(self) -> None:
        """The list keeps its last entries, however many come."""
        self.wait_for(lambda: self.page.element("console").is_displayed())
        self.page.run(
            "return import('./operator-messages.js').then(({ Messages }) => {"
            "  const messages = new Messages();"
            "  for (let size = 1; size <= 300; size += 1) {"
            "    const beginning = `${size}`;"
            "    const time = '2026-11-27T01:00:00Z';"
            "    messages.add({ time, kind: 'text', size, beginning, service: 'echo' });"
            "  }"
            "  messages.draw();"
            "});"
        )
        contents = [entry[3] for entry in self.page.entries]
        self.assertEqual((len(contents), contents[-1]), (200, "300"))

    def watch(self) -> None:
        """Press Watch, and wait until the server knows."""
        self.press("watch-toggle")
        self.wait_until_watched()

    def wait_until_watched(self) -> None:
        """Wait until the stream has begun: the head of its answer has come."""
        self.wait_for(
            lambda: self.page.run("return document.getElementById('log').dataset.isRead === 'true'")
        )


class PlotTests(_InABrowser):
    """Live plots."""

    def test_move(self) -> None:
        """The plots follow connections and messages."""
        self.wait_for(lambda: "open 0" in self.page.plot("connections"))
        clients = [self.client("echo") for _ in range(3)]
        self.wait_for(lambda: "open 3, from 0 to 3" in self.page.plot("connections"))
        for client in clients:
            client.send("hello")
            client.recv(timeout=10)
        self.wait_for(
            lambda: re.search(r"in [\d.]+, from 0 to [\d.]*[1-9]", self.page.plot("messages")) is not None
        )
        self.assertIn("all 0 B", self.page.plot("queue"))
        self.assertIn(
            "M",
            self.page.run("return document.querySelector('#plot-connections .series-1').getAttribute('d')"),
        )


class WorkerTests(_InABrowser):
    """A server of several processes."""

    options = ("--workers=2",)

    def test_processes(self) -> None:
        """The processes are listed; connections, pause and samples are those of all."""
        clients = [self.client("echo") for _ in range(4)]
        self.wait_for(lambda: len(self.page.rows), 4)
        rows = self.page.element("worker-rows").text.splitlines()
        self.assertEqual([row.split()[:2] for row in rows], [["1", "ready"], ["2", "ready"]])
        self.assertEqual(sum(int(row.split()[2]) for row in rows), 4)
        self.press("watch-toggle")
        self.wait_for(
            lambda: self.page.run("return document.getElementById('log').dataset.isRead === 'true'")
        )
        for client in clients:
            client.send("hello")
        self.wait_for(lambda: len(self.page.entries), 4)
        self.press("pause")
        self.wait_for(lambda: self.page.state, "Paused")

    def test_stop(self) -> None:
        """Ports that several processes share are not closed, and the page says what to do instead."""
        self.press("stop")
        self.page.element("confirm-yes").click()
        self.wait_for(lambda: "pause accepting instead" in self.page.element("server-problem").text)
        self.wait_for(lambda: bool([one for one in self.page.console if "409" in one["message"]]))


class TokenTests(_InABrowser):
    """A server that has a token."""

    def prepare(self) -> None:
        """Write the token's file."""
        file = (self.folder / "token").resolve()
        file.write_text(TOKEN)
        file.chmod(0o600)
        self.options = (f"--admin-token-file={file}",)

    def check_console(self) -> None:
        """The browser tells of 401; nothing else is there."""
        self.assertEqual([one for one in self.page.console if "401" not in one["message"]], [])

    def sign_in(self, token: str) -> None:
        """Type the token, and press Enter."""
        self.wait_for(lambda: self.page.element("sign-in").is_displayed())
        self.page.type("token", token)

    def test_asked(self) -> None:
        """The page asks for the token, says when it is wrong, and keeps it in this tab alone."""
        self.wait_for(lambda: self.page.state, "Token needed")
        self.assertFalse(self.page.element("console").is_displayed())
        self.assertEqual(self.page.focused.get_attribute("id"), "token")
        self.sign_in("not a token")
        self.wait_for(lambda: self.page.element("token-problem").text.startswith("A token is one line"))
        self.page.element("token").clear()
        self.sign_in("wrong-token-wrong-token")
        self.wait_for(lambda: self.page.element("token-problem").text, "The server does not know this token.")
        self.sign_in(TOKEN)
        self.wait_for(lambda: self.page.state, "Listening")
        self.assertEqual(self.page.element("token").get_attribute("value"), "")
        kept = self.page.run("return [JSON.stringify(localStorage), document.cookie, location.href]")
        self.assertNotIn(TOKEN, "".join(kept))
        self.assertNotIn(TOKEN, "".join(self.page.run(_REQUESTS)))
        self.page.chrome.refresh()
        self.wait_for(lambda: self.page.state, "Listening")

    def test_sign_out(self) -> None:
        """Signed out, the token is forgotten."""
        self.sign_in(TOKEN)
        self.press("sign-out")
        self.wait_for(lambda: self.page.state, "Token needed")
        self.assertEqual(self.page.run("return sessionStorage.length"), 0)
        self.page.chrome.refresh()
        self.wait_for(lambda: self.page.element("sign-in").is_displayed())

    def test_all(self) -> None:
        """With the token everything works: the table, a broadcast, the stream."""
        self.sign_in(TOKEN)
        client = self.client("broadcast")
        self.wait_for(lambda: len(self.page.rows), 1)
        self.press("watch-toggle")
        self.wait_for(
            lambda: self.page.run("return document.getElementById('log').dataset.isRead === 'true'")
        )
        self.page.write("publish-text", "hello")
        self.page.named("Publish").click()
        self.assertEqual(client.recv(timeout=10), "hello")
        self.wait_for(lambda: [entry[0] for entry in self.page.entries], ["published here"])


class PollTests(_InABrowser):
    """What the page asks of the server."""

    def overviews(self, page: OperatorPage) -> int:
        """How often it has asked."""
        return sum("/api/overview" in name for name in page.run(_REQUESTS))

    def hide(self, hidden: str) -> None:
        """Let the tab seem hidden, or shown."""
        self.page.run(
            f"Object.defineProperty(document, 'hidden', {{ configurable: true, get: () => {hidden} }});"
            "document.dispatchEvent(new Event('visibilitychange'));"
        )

    def test_hidden(self) -> None:
        """While the tab is hidden nothing is asked; when it is shown again, it goes on."""
        self.wait_for(lambda: self.overviews(self.page) > 1)
        self.hide("true")
        before = self.overviews(self.page)
        other = OperatorPage(self.page.chrome, self.new_window())
        self.wait_for(lambda: self.overviews(other) > 3)
        self.assertLessEqual(self.overviews(self.page), before + 1)
        self.hide("false")
        self.wait_for(lambda: self.overviews(self.page) > before + 1)

    def new_window(self) -> str:
        """Open one; the address for it."""
        self.page.chrome.switch_to.new_window("window")
        return self.served.admin

    def test_own_requests(self) -> None:
        """One request a second is made, and none to another server."""
        self.wait_for(lambda: self.overviews(self.page) > 2)
        requests = self.page.run(_REQUESTS)
        self.assertEqual([one for one in requests if not one.startswith(self.served.admin)], [])
        self.assertEqual(
            {one.partition("?")[0] for one in requests if "/api/" in one},
            {f"{self.served.admin}api/overview"},
        )


class AccessTests(_InABrowser):
    """That nobody is left out."""

    def fill(self) -> None:
        """Something in each part of the page."""
        client = self.client("broadcast/" + "x" * 128)
        self.client("echo?" + "q" * 200)
        self.press("watch-toggle")
        self.wait_for(lambda: len(self.page.rows), 2)
        self.wait_for(
            lambda: self.page.run("return document.getElementById('log').dataset.isRead === 'true'")
        )
        client.send("w" * 200)
        self.wait_for(lambda: len(self.page.entries), 1)

    def test_names(self) -> None:
        """Each control, plot and table has a name; those that are only seen later as well."""
        self.fill()
        nameless = [
            one.get_attribute("outerHTML")
            for one in self.page.run(_CONTROLS)
            if one.is_displayed() and not one.accessible_name
        ]
        self.assertEqual(nameless, [])
        self.assertEqual(self.page.element("log").aria_role, "log")
        self.assertEqual(self.page.element("state").aria_role, "status")
        self.page.named("Disconnect connection 1").click()
        for one in self.page.element("disconnect").find_elements(By.CSS_SELECTOR, "button, input"):
            self.assertTrue(one.accessible_name)
        self.assertEqual(self.page.element("disconnect").accessible_name, "Disconnect connection 1")

    def test_keyboard(self) -> None:
        """Keys alone open the dialog of a connection, and give the focus back to where it was."""
        self.client()
        self.wait_for(lambda: len(self.page.rows), 1)
        self.page.element("search").click()
        # The table, which can be scrolled, and the two buttons of its row.
        self.page.press(Keys.TAB, Keys.TAB, Keys.TAB)
        self.assertEqual(self.page.focused.accessible_name, "Disconnect connection 1")
        self.assertNotEqual(self.page.focused.value_of_css_property("outline-style"), "none")
        self.page.press(Keys.ENTER)
        self.wait_for(lambda: self.page.focused.get_attribute("id"), "code")
        self.page.press(Keys.ESCAPE)
        self.wait_for(lambda: self.page.focused.accessible_name, "Disconnect connection 1")

    def test_widths(self) -> None:
        """At 1280 and at 390 CSS pixels nothing is wider than the window."""
        self.fill()
        for width in (1280, 390):
            self.page.resize(width, 900)
            self.assertEqual((width, self.page.run(_WIDER_THAN_WINDOW)), (width, []))

    def test_colour_schemes(self) -> None:
        """In both schemes every text stands out from its background by 4.5:1 at least (WCAG 1.4.3)."""
        self.fill()
        for scheme in ("light", "dark"):
            self.page.prefer(scheme)
            texts = self.page.run(CONTRASTS)
            self.assertGreater(len(texts), 40)
            self.assertEqual([text for text in texts if text[1] < 4.5], [], scheme)
