"""The pictures of the console in the documentation, made from a running server.

    python -m tests.web.take_console_screenshots docs/images

It needs the programs and packages of test_console.py. Run it after a change of the page, look at the
pictures, and keep them small: they are fetched by every reader of the page that shows them.
"""

import sys
import tempfile
from pathlib import Path

from tests.web.browser import Page, browser, wsecho_serving

_WIDE = (1280, 800)
_NARROW = (390, 1180)
_MESSAGES = 700
_FOUND = "return [...document.querySelectorAll('#entries .more:not([hidden])')].at(-1).click()"


def take_screenshots(folder: Path) -> None:
    """Write a PNG of each: an echo that is measured, one that ends as asked, a small screen."""
    with tempfile.TemporaryDirectory() as place:
        options = ["--host=127.0.0.1", "--port=0", "--test-endpoints", "--subprotocol=chat"]
        server = wsecho_serving(Path(place) / "server", *options, seconds=600)
        with server as address, browser() as chrome:
            page = Page(chrome, address)
            page.resize(*_WIDE)
            page.prefer("light")
            _measured(page)
            (folder / "console-light.png").write_bytes(chrome.get_screenshot_as_png())
            page = page.another("service=test&query=delay%3D40ms&code=4001&reason=that+will+do")
            page.resize(*_WIDE)
            page.prefer("dark")
            _closed(page)
            (folder / "console-dark.png").write_bytes(chrome.get_screenshot_as_png())
            page = page.another("service=broadcast&channel=kitchen&count=250&content=text&to=200")
            page.resize(*_NARROW)
            page.prefer("light")
            page.element("toggle").click()
            page.wait_for_state("Connected")
            page.run("document.activeElement.blur(); scrollTo(0, 0);")
            (folder / "console-narrow.png").write_bytes(chrome.get_screenshot_as_png())


def _measured(page: Page) -> None:
    """An echo with a run, and a few messages after it."""
    page.fill("subprotocols", "chat")
    page.connect("echo")
    page.fill("pace", "interval")
    for field, value in (("count", str(_MESSAGES)), ("interval", "40"), ("content", "text"), ("to", "90")):
        page.fill(field, value)
    page.run("document.getElementById('run').requestSubmit()")
    page.wait(lambda: page.element("received").text, f"{_MESSAGES:,}")
    page.wait(lambda: any(line.direction == "note" for line in page.lines[1:]))
    page.choose("hex")
    page.type("hex", "89 50 4e 47 0d 0a 1a 0a")
    page.choose("text")
    page.type("text", "Text stays text, <b>whatever</b> it holds.")
    page.type("text", "\u0627\u0644\u0634\u0627\u064a \u062c\u0627\u0647\u0632")
    page.wait(lambda: page.element("received").text, f"{_MESSAGES + 3:,}")


def _closed(page: Page) -> None:
    """The programmable echo, a dump, and a close with a code."""
    page.connect("test")
    page.fill("pace", "interval")
    for field, value in (("count", "80"), ("interval", "100")):
        page.fill(field, value)
    page.fill("text", "tick")
    page.run("document.getElementById('run').requestSubmit()")
    page.wait(lambda: page.element("received").text, "80")
    page.fill("text", "")
    page.choose("hex")
    page.type("hex", bytes(range(32, 127)).hex(" "))
    page.wait(lambda: page.messages[-1].size, "95 B")
    page.wait(lambda: page.element("received").text, "81")
    page.wait(lambda: page.messages[-1].direction, "received")
    page.run(_FOUND)
    page.element("toggle").click()
    page.wait_for_state("Closed: 4001")
    page.wait(lambda: page.lines[-1].direction, "note")
    page.run("document.activeElement.blur(); scrollTo(0, 0);")


if __name__ == "__main__":
    take_screenshots(Path(sys.argv[1]))
