"""The page's log beyond showing a message: filters, pause, more of a message, keys, bounds."""

from __future__ import annotations

from selenium.webdriver.common.keys import Keys

from tests.web.browser import both_ways
from tests.web.in_a_browser import InABrowser


class LogTests(InABrowser):
    """The log: filters, pause, more of a message, keys."""

    def setUp(self) -> None:
        """Connect, in a window that has room for the log."""
        super().setUp()
        self.page.resize(1280, 900)
        self.page.connect()

    def bodies(self) -> list[str]:
        """What the entries say."""
        return [line.body for line in self.page.lines]

    def test_filter(self) -> None:
        """Entries are shown by direction or kind and by what they hold; all come back afterwards."""
        page = self.page
        page.type("text", "An apple")
        page.choose("hex")
        page.type("hex", "c0ffee")
        page.wait(lambda: page.element("received").text, "2")
        page.wait(lambda: len(page.messages), 4)
        page.pick("show", "received")
        page.wait(self.bodies, ["An apple", "c0 ff ee"])
        page.pick("show", "binary")
        page.wait(self.bodies, ["c0 ff ee", "c0 ff ee"])
        self.assertEqual(page.element("dropped").text, "Showing 2 of the last 5 entries")
        page.pick("show", "note")
        page.wait(lambda: self.bodies()[0].startswith("Connected to "))
        page.pick("show", "all")
        page.element("search").send_keys("APPLE")
        page.wait(self.bodies, ["An apple", "An apple"])
        page.choose("text")
        page.type("text", "pear")
        page.type("text", "pineapple")
        page.wait(self.bodies, ["An apple", "An apple", "pineapple", "pineapple"])
        page.fill("search", "ff ee")
        page.wait(self.bodies, ["c0 ff ee", "c0 ff ee"])
        page.fill("search", "")
        page.wait(lambda: len(self.bodies()), 9)
        self.assertEqual(page.element("dropped").text, "")

    def test_pause(self) -> None:
        """While the log is paused nothing moves and all is counted; then it goes on."""
        page = self.page
        page.element("pause").click()
        self.assertEqual(page.element("pause").get_attribute("aria-pressed"), "true")
        page.type("text", "one")
        page.wait(lambda: page.element("pause").text, "Resume (2 new)")
        self.assertEqual((page.element("received").text, len(page.lines)), ("1", 1))
        page.element("pause").click()
        page.wait_for_messages(*both_ways("text", "3 B", "one"))
        self.assertEqual(page.element("pause").text, "Pause")

    def test_more(self) -> None:
        """A long message can be seen in full: text as it is, bytes as a dump."""
        page = self.page
        page.fill("text", "word " * 200)
        page.press_send()
        page.wait(lambda: len(page.messages), 2)
        self.assertTrue(self.bodies()[-1].endswith(" \u2026 500 more characters"))
        button = page.run("return document.querySelector('#entries > :last-child .more')")
        button.click()
        page.wait(lambda: self.bodies()[-1], "word " * 200)
        self.assertEqual((button.text, button.get_attribute("aria-expanded")), ("Less", "true"))
        button.click()
        page.wait(lambda: self.bodies()[-1].endswith("characters"))
        page.choose("hex")
        page.type("hex", "41" * 65)
        page.wait(lambda: len(page.messages), 4)
        self.assertTrue(self.bodies()[-1].endswith("41 \u2026 1 more bytes"))
        page.run("document.querySelector('#entries > :last-child .more').click()")
        self.assertEqual(self.bodies()[-1].split("\n")[-1], f"000040  41{' ' * 45}  A")

    def test_copy(self) -> None:
        """A message is copied whole, and that it is done is told."""
        page = self.page
        page.chrome.execute_cdp_cmd(
            "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        )
        text = "\u00e9\u202e" * 400
        page.fill("text", text)
        page.press_send()
        page.wait(lambda: len(page.messages), 2)
        page.run("document.querySelector('#entries > :last-child .copy').click()")
        page.wait(lambda: page.run("return document.getElementById('copied').textContent"), "Copied")
        read = "const done = arguments[0]; navigator.clipboard.readText().then(done, (e) => done(String(e)));"
        self.assertEqual(page.chrome.execute_async_script(read), text)

    def test_copy_without_clipboard(self) -> None:
        """Where browsers have no clipboard for pages, over http from elsewhere, copying goes another way."""
        page = self.page
        page.type("text", "one")
        page.wait(lambda: len(page.messages), 2)
        page.run("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        page.run(
            "window.copies = [];"
            "document.addEventListener('copy', () => copies.push(document.activeElement.value));"
            "document.querySelector('#entries > :last-child').focus()"
        )
        page.press(Keys.TAB, Keys.ENTER)
        page.wait(lambda: page.run("return document.getElementById('copied').textContent"), "Copied")
        self.assertEqual(page.run("return copies"), ["one"])
        self.assertEqual(page.focused.get_attribute("class"), "copy")

    def test_keys(self) -> None:
        """Arrow keys go from entry to entry; Tab reaches the buttons of one entry and then leaves the log."""
        page = self.page
        for text in ("one", "two"):
            page.type("text", text)
        page.wait(lambda: len(page.messages), 4)

        def entry() -> str:
            return str(page.run("return document.activeElement.querySelector('.body')?.textContent"))

        page.run("document.getElementById('log').focus()")
        page.press(Keys.ARROW_UP)
        self.assertEqual(entry(), "two")
        page.press(Keys.HOME)
        self.assertTrue(entry().startswith("Connected to "))
        page.press(Keys.ARROW_DOWN)
        self.assertEqual(entry(), "one")
        self.assertNotEqual(page.focused.value_of_css_property("outline-style"), "none")
        page.press(Keys.TAB)
        self.assertEqual(page.focused.text, "Copy")
        page.press(Keys.TAB)
        self.assertFalse(page.run("return document.getElementById('log').contains(document.activeElement)"))
        page.run("document.querySelector('#entries > :last-child').focus()")
        page.press(Keys.ESCAPE)
        self.assertEqual(page.focused.get_attribute("id"), "log")

    def test_follows(self) -> None:
        """The log follows its end, but not from under somebody who reads further up."""
        page = self.page
        gap = (
            "const {scrollHeight, scrollTop, clientHeight} = document.getElementById('log');"
            "return Math.round(scrollHeight - scrollTop - clientHeight)"
        )
        # More than there are rows, of all heights.
        send = (
            "const text = document.getElementById('text');"
            "for (let i = 1; i <= 200; i += 1) {"
            "  text.value = `line\\n`.repeat(i % 9) + i;"
            "  document.getElementById('composer').requestSubmit();"
            "}"
        )
        count = page.element("received")
        for received in ("200", "400", "600", "800"):
            page.run(send)
            page.wait(lambda: count.text, received)
            page.wait(lambda: self.bodies()[-1].endswith("200"))
            page.wait(lambda: page.run(gap) <= 1)
        page.scroll("log", -2000)
        page.wait(lambda: page.run(gap) > 1000)
        read = page.run(
            "const {left, top} = document.getElementById('log').getBoundingClientRect();"
            "return document.elementFromPoint(left + 50, top + 100).closest('.entry')"
        )
        place = read.rect["y"]
        page.type("text", "last")
        page.wait(lambda: self.bodies()[-1], "last")
        self.assertGreater(page.run(gap), 1000)
        self.assertAlmostEqual(read.rect["y"], place, delta=2)
        page.scroll("log", 10**6)
        page.wait(lambda: page.run(gap) <= 1)
        page.type("text", "at the end")
        page.wait(lambda: self.bodies()[-1], "at the end")
        page.wait(lambda: page.run(gap) <= 1)

    def test_old_messages_are_cut(self) -> None:
        """When the messages of the log are too many bytes, the oldest keep their beginning only."""
        page = self.page
        page.run("document.getElementById('many').open = true")
        for name, value in (("count", "40"), ("content", "text"), ("from", "1000000"), ("to", "1000000")):
            page.fill(name, value)
        page.element("start").click()
        page.wait(lambda: page.element("received").text, "40")
        page.wait(lambda: len(page.messages), 80)
        # The filter makes the rows anew.
        page.pick("show", "sent")
        page.wait(lambda: len(page.messages), 40)
        first, last = page.messages[0], page.messages[-1]
        self.assertTrue(first.body.endswith(" \u2026 the rest of 1,000,000 bytes is no longer kept"))
        self.assertTrue(last.body.endswith(" \u2026 999,500 more characters"))

    def test_read_out(self) -> None:
        """Entries that come one by one are read out."""
        self.page.type("text", "one")
        self.page.wait(lambda: len(self.page.messages), 2)
        self.assertEqual(self.page.element("log").get_attribute("aria-live"), "polite")
