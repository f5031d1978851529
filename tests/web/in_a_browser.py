"""A test case with a running server, and its page open in a browser.

A refusal by the page's policy, an error of its script or any other complaint in the browser's console fails
the test that caused it.
"""

import atexit
import functools
import tempfile
from contextlib import ExitStack
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.web.browser import Page, browser, missing_programs, new_window, shared_browser, wsecho_serving

__all__ = ["BrowserCase", "InABrowser"]


@functools.cache
def _shared_server(*options: str) -> str:
    """The address of the one server with these options: one for each test would double their time."""
    resources = ExitStack()
    atexit.register(resources.close)
    folder = resources.enter_context(tempfile.TemporaryDirectory())
    # As long as all tests together may take.
    return resources.enter_context(wsecho_serving(Path(folder) / "server", *options, seconds=3600))


class BrowserCase(SynchronousTestCase):
    """A test that needs a browser."""

    def setUp(self) -> None:
        """Skip without a browser; make a folder, and what is left in order at the end."""
        if missing := missing_programs():
            raise SkipTest(f"{' and '.join(missing)} not found: apt-get install chromium chromium-driver")
        # SynchronousTestCase has no enterContext.
        self.resources = ExitStack()
        self.addCleanup(self.resources.close)
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)


class InABrowser(BrowserCase):
    """A server, a browser, and the page open in it."""

    #: Whether `server` is the test's own, for it to close.
    stops_server = False

    def setUp(self) -> None:
        """Start both and open the page."""
        super().setUp()
        options, flags = self.listener()
        self.server = self.resources.enter_context(ExitStack())
        if self.stops_server or flags:
            address = self.server.enter_context(wsecho_serving(self.folder / "server", *options))
        else:
            address = _shared_server(*options)
        chrome = self.resources.enter_context(browser(*flags)) if flags else shared_browser()
        self.resources.enter_context(new_window(chrome))
        self.page = Page(chrome, address)
        self.addCleanup(self.check_console)

    def listener(self) -> tuple[list[str], list[str]]:
        """The options of the server; the flags of a browser of its own, or none."""
        return ["--host=127.0.0.1", "--port=0"], []

    def check_console(self) -> None:
        """Nothing was written to the console."""
        self.assertEqual(self.page.console, [])
