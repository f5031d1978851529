"""The page keeping its place on a channel: in two windows of Chromium, from a server with a history."""

from __future__ import annotations

import json
import re
import urllib.request

from tests.web.browser import Line, Page, new_window, shared_browser
from tests.web.in_a_browser import BrowserCase
from tests.web.operator import Served, overseen

_ID = r"[0-9a-f]+-\d+"
_EPOCH = r"[\w-]+"


class KeepingTests(BrowserCase):
    """Broadcast with *Keep my place*."""

    def setUp(self) -> None:
        """Start a server with an admin endpoint, and open the page."""
        super().setUp()
        self.served: Served = self.resources.enter_context(
            overseen(self.folder / "server", "--history-size=10")
        )
        chrome = shared_browser()
        self.resources.enter_context(new_window(chrome))
        self.page = Page(chrome, "http" + self.served.url.removeprefix("ws"))
        self.addCleanup(lambda: self.assertEqual(self.page.console, []))

    def keep(self, page: Page) -> None:
        """Connect to a channel with the box ticked, and wait for the welcome."""
        page.choose("broadcast")
        page.element("keep").click()
        page.connect("broadcast", "kitchen")
        self.wait_for_note(page, rf"Welcome as {_ID}, at offset \d+, epoch {_EPOCH}; on the channel: \d")

    def wait_for_note(self, page: Page, pattern: str) -> None:
        """Wait until a note of the log is this."""
        try:
            page.wait(lambda: any(re.fullmatch(pattern, note) for note in self.notes(page)))
        except AssertionError:
            raise AssertionError(f"{pattern!r} is not in {self.notes(page)!r}") from None

    def notes(self, page: Page) -> list[str]:
        """The notes of a log."""
        return [line.body for line in page.lines if line.direction == "note"]

    def about(self, page: Page) -> list[str]:
        """What the log says of who sent each message that came, and of its place."""
        texts: list[str] = page.run(
            "return [...document.querySelectorAll('.entry.received .about')].map((one) => one.textContent)"
        )
        return texts

    def disconnect(self, page: Page) -> None:
        """Have the server close the connection of a page."""
        welcome = next(note for note in reversed(self.notes(page)) if note.startswith("Welcome as "))
        number = welcome.split()[2].rstrip(",").rpartition("-")[2]
        url = f"{self.served.admin.rstrip('/')}/api/connections"
        with urllib.request.urlopen(url, timeout=30) as answer:
            ids = [one["id"] for one in json.load(answer)["connections"]]
        self.assertIn(int(number), ids)
        request = urllib.request.Request(f"{url}/{number}?code=4000&reason=away", method="DELETE")
        with urllib.request.urlopen(request, timeout=30):
            pass

    def test_published(self) -> None:
        """What is published is acknowledged with its place, and comes with its sender and offset."""
        one, other = self.page, self.page.another()
        self.keep(one)
        self.keep(other)
        self.assertEqual(one.element("subprotocol").text, "wsecho.v1.json")
        self.wait_for_note(one, "On the channel: 2")
        one.type("text", "tea?")
        self.wait_for_note(one, rf"Acknowledged: offset 1, epoch {_EPOCH}")
        other.wait_for_messages(Line("received", "text", "4 B", "tea?"))
        [about] = self.about(other)
        self.assertRegex(about, rf"^from {_ID}, offset 1$")
        # Its own do not come back, as on a plain channel.
        self.assertEqual(one.messages, [Line("sent", "text", "4 B", "tea?")])
        other.choose("hex")
        other.type("hex", "00 ff")
        one.wait(lambda: one.messages[-1], Line("received", "binary", "2 B", "00 ff"))
        other.element("toggle").click()
        other.wait_for_state("Closed: 1000")
        self.wait_for_note(one, "On the channel: 1")

    def test_recovered(self) -> None:
        """A page that the server has disconnected comes back, says so, and has missed nothing."""
        one, other = self.page, self.page.another()
        self.keep(one)
        self.keep(other)
        one.type("text", "before")
        other.wait_for_messages(Line("received", "text", "6 B", "before"))
        self.disconnect(other)
        one.type("text", "after")
        self.wait_for_note(other, r"Disconnected: 4000 Private Use, \u201caway\u201d; again in [\d.]+ m?s")
        self.wait_for_note(other, "Recovered: nothing is missing since the last connection")
        other.wait_for_messages(
            Line("received", "text", "6 B", "before"), Line("received", "text", "5 B", "after")
        )
        self.assertEqual([text.rpartition(" ")[2] for text in self.about(other)], ["1", "2"])
        self.assertEqual((other.state, other.element("closed").text), ("Connected", "\u2013"))

    def test_came_back_by_hand(self) -> None:
        """Who disconnects and connects again goes on where it was; what is gone by then is told."""
        one, other = self.page, self.page.another()
        self.keep(one)
        self.keep(other)
        for count, outcome in ((2, "Recovered: "), (12, "Not recovered: ")):
            other.element("toggle").click()
            other.wait_for_state("Closed: 1000")
            one.run("document.getElementById('many').open = true")
            one.fill("count", str(count))
            one.fill("content", "text")
            one.element("start").click()
            acknowledged = {2: 2, 12: 14}[count]
            self.wait_for_note(one, rf"Acknowledged: offset {acknowledged}, .*")
            other.element("toggle").click()
            self.wait_for_note(other, f"{outcome}.*")
        self.wait_for_note(other, "Gap: missing behind offset 2: 2")
        other.wait(lambda: len(other.messages), 12)

    def test_asked_for_by_name(self) -> None:
        """The subprotocol in its field does the same on Broadcast; elsewhere its envelopes are text."""
        page = self.page
        page.fill("subprotocols", "wsecho.v1.json")
        page.connect("broadcast")
        self.wait_for_note(page, rf"Welcome as {_ID}, .*")
        self.assertEqual(page.messages, [])
        page.element("toggle").click()
        page.wait_for_state("Closed: 1000")
        page.fill("path", "/broadcast")
        page.connect("other")
        page.wait(lambda: page.messages[0].body.startswith('{"type":"welcome",'))

    def test_link(self) -> None:
        """The box is kept in the link, and a link ticks it."""
        page = self.page
        page.choose("broadcast")
        page.element("keep").click()
        page.wait(lambda: page.run("return location.hash"), "#service=broadcast&keep=yes")
        page.run("location.hash = 'service=broadcast'")
        page.wait(lambda: page.element("keep").is_selected(), False)
        linked = page.another("service=broadcast&keep=yes")
        linked.wait(lambda: linked.element("keep").is_selected())
