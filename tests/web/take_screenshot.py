"""The picture of the page in the documentation, made from a running server.

    python -m tests.web.take_screenshot docs/images/page.png

It needs the programs and packages of test_browser.py. Run it after a change of the page, look at the picture,
and keep it small: it is fetched by every reader of the page that shows it.
"""

import sys
import tempfile
from pathlib import Path

from tests.web.browser import Page, browser, wsecho_serving


def take_screenshot(file: Path) -> None:
    """Write a PNG of a short talk on a broadcast channel."""
    with tempfile.TemporaryDirectory() as folder:
        server = wsecho_serving(Path(folder) / "server", "--host=127.0.0.1", "--port=0")
        with server as address, browser() as chrome:
            page = Page(chrome, address)
            page.resize(1100, 790)
            page.prefer("light")
            other = page.another()
            page.connect("broadcast", "kitchen")
            other.connect("broadcast", "kitchen")
            _say(other, page, "text", "Is the kettle on?")
            _say(page, other, "text", "Since a minute ago.\nBring the biscuits!")
            _say(other, page, "hex", "89 50 4e 47 0d 0a 1a 0a")
            _say(other, page, "text", "\u0627\u0644\u0634\u0627\u064a \u062c\u0627\u0647\u0632")
            _say(page, other, "text", "Text stays text, <b>whatever</b> it holds.")
            page.wait(lambda: len(page.messages), 5)
            file.write_bytes(chrome.get_screenshot_as_png())


def _say(speaker: Page, listener: Page, kind: str, text: str) -> None:
    heard = len(listener.messages)
    speaker.choose(kind)
    speaker.type(kind, text)
    listener.wait(lambda: len(listener.messages), heard + 1)


if __name__ == "__main__":
    take_screenshot(Path(sys.argv[1]))
