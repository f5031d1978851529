"""wsecho's page in a real browser: Debian's Chromium without a screen, driven by Selenium.

A test asks for what a user sees and does: names, keys, the lines of the log. What a user sees only in the
developer's tools (errors of the script, refusals by the page's policy) is in `Page.console`.
"""

import atexit
import functools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.app.servers import environment, twistd
from tests.serving import TIMEOUT as SERVER_TIMEOUT
from tests.serving import serving

#: Seconds until what a user would see at once is taken for missing: generous, for machines with much to do.
TIMEOUT = 30

#: Under these names the programs come in Debian's packages chromium and chromium-driver.
PROGRAMS: Final = ("chromium", "chromedriver")

# Without them, Chromium looks for Google's services at every start, and fills a container's small /dev/shm.
_FLAGS: Final = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
)

_READ_LOG: Final = """
    return Array.from(document.querySelectorAll('#entries > li'), (entry) => {
      const text = (part) => entry.querySelector(part)?.textContent ?? '';
      const direction = entry.classList.contains('note') ? 'note' : text('.direction');
      return [direction, text('.kind'), text('.size'), text('.body')];
    });
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the page's log, as it is shown."""

    #: ``sent``, ``received`` or ``note`` (about the connection; then there is no kind and no size).
    direction: str
    kind: str
    size: str
    body: str


def missing_programs() -> list[str]:
    """Those of `PROGRAMS` that are not installed."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@contextmanager
def wsecho_serving(folder: Path, *options: str, seconds: float = SERVER_TIMEOUT) -> Iterator[str]:
    """Run ``twistd wsecho`` with `options` in an empty `folder`; give the address of its page.

    Args:
        seconds: after which it is killed.
    """
    folder.mkdir()
    command = [*twistd(), "--nodaemon", "--pidfile=", "wsecho", *options]
    with serving(command, cwd=folder, env=environment() | {"PYTHONUNBUFFERED": "1"}, seconds=seconds) as urls:
        # http for ws, https for wss.
        yield "http" + urls[0].removeprefix("ws")


@contextmanager
def browser(*flags: str) -> Iterator[webdriver.Chrome]:
    """A fresh Chromium with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location, driver = map(str, map(shutil.which, PROGRAMS))
    # Chromium's sandbox does not start for root.
    for flag in (*_FLAGS, *flags, *(("--no-sandbox",) if os.geteuid() == 0 else ())):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Both programs are named, so that Selenium does not go and fetch its own.
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


@functools.cache
def shared_browser() -> webdriver.Chrome:
    """The one Chromium of this process, for `new_window`: one for each test would double their time."""
    # trial knows no fixtures beyond one test.
    resources = ExitStack()
    atexit.register(resources.close)
    return resources.enter_context(browser())


@contextmanager
def new_window(chrome: webdriver.Chrome) -> Iterator[None]:
    """Look at a new window, and close it and all that were opened since."""
    before = chrome.window_handles
    # What was written to the console in windows before this one is nobody's any more.
    chrome.get_log("browser")
    chrome.switch_to.new_window("window")
    try:
        yield
    finally:
        for window in set(chrome.window_handles) - set(before):
            chrome.switch_to.window(window)
            chrome.close()
        chrome.switch_to.window(before[0])


class Page:
    """One window with wsecho's page."""

    def __init__(self, chrome: webdriver.Chrome, address: str) -> None:
        self.chrome = chrome
        self.address = address.partition("#")[0]
        chrome.get(address)
        self.window = chrome.current_window_handle

    def another(self, link: str = "") -> "Page":
        """Open the page in one more window, by a link with this setup."""
        self.chrome.switch_to.new_window("window")
        return Page(self.chrome, self.address + (link and f"#{link}"))

    # --- What a user sees ---

    def element(self, name: str) -> WebElement:
        """The element with this id, in this window."""
        self._look_here()
        return self.chrome.find_element(By.ID, name)

    @property
    def state(self) -> str:
        """The state of the connection in words."""
        return self.element("state").text

    @property
    def lines(self) -> list[Line]:
        """The log."""
        self._look_here()
        return [Line(*parts) for parts in self.chrome.execute_script(_READ_LOG)]

    @property
    def messages(self) -> list[Line]:
        """The log without the notes about the connection."""
        return [line for line in self.lines if line.direction != "note"]

    @property
    def focused(self) -> WebElement:
        """The element that gets the keys."""
        self._look_here()
        return self.chrome.switch_to.active_element

    @property
    def console(self) -> list[dict[str, Any]]:
        """What was written to the console, in any window, since this was last asked for.

        Not about the icon: the browser loads it when it pleases, also when a test has stopped the server.
        """
        entries: list[dict[str, Any]] = self.chrome.get_log("browser")
        return [entry for entry in entries if "/favicon.svg" not in entry["message"]]

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page and return what it returns."""
        self._look_here()
        return self.chrome.execute_script(script, *arguments)

    def imported(self, module: str, script: str, *arguments: Any) -> Any:
        """Run a script with what one of the page's modules exports as ``its`` and return what it returns; an
        Error it throws is ``{"error": its line}``."""
        self._look_here()
        return self.chrome.execute_async_script(
            "const [module, ...given] = arguments;"
            "const done = given.pop();"
            "import(new URL(module, document.baseURI)).then((its) => {"
            f"  const run = (its, given) => {{ {script} }};"
            "  return run(its, given);"
            "}).then(done, (error) => done({error: error.message}));",
            module,
            *arguments,
        )

    def wait(self, seen: Callable[[], object], expected: object = True) -> None:
        """Wait until `seen` returns `expected`; AssertionError with both when that takes too long."""
        try:
            # The last line of a log that has none yet.
            waiting = WebDriverWait(
                self.chrome, TIMEOUT, poll_frequency=0.05, ignored_exceptions=(IndexError,)
            )
            waiting.until(lambda _: seen() == expected)
        except TimeoutException:
            raise AssertionError(f"the page shows {seen()!r}, not {expected!r}") from None

    def wait_for_state(self, expected: str) -> None:
        """Wait until the page tells this state."""
        self.wait(lambda: self.state, expected)

    def wait_for_messages(self, *expected: Line) -> None:
        """Wait until the log has exactly these messages."""
        self.wait(lambda: self.messages, list(expected))

    # --- What a user does ---

    def choose(self, value: str) -> None:
        """Choose a service (``echo``, ``broadcast``, ``test``, ``other``) or a kind of message (``text``,
        ``hex``, ``file``)."""
        self._look_here()
        self.chrome.find_element(By.CSS_SELECTOR, f'input[value="{value}"]').click()

    def connect(self, service: str = "echo", channel: str = "") -> None:
        """Connect to a service, and wait until it is done and the log says so."""
        before = self._times_connected()
        self.choose(service)
        if channel:
            self.element("channel").send_keys(channel)
        self.element("toggle").click()
        self.wait_for_state("Connected")
        self.wait(lambda: self._times_connected() > before)

    def _times_connected(self) -> int:
        return sum(line.body.startswith("Connected to ") for line in self.lines)

    def type(self, field: str, text: str) -> None:
        """Write into a field and press Enter; a line end in the text is typed as Shift+Enter."""
        lines = text.split("\n")
        keys = [part for line in lines[:-1] for part in (line, Keys.SHIFT, Keys.ENTER, Keys.NULL)]
        self.element(field).send_keys(*keys, lines[-1], Keys.ENTER)

    def fill(self, field: str, text: str) -> None:
        """Put a text into a field, in place of what is there; also one that cannot be typed."""
        self.run(
            "const [field, text] = arguments;"
            "field.value = text;"
            "for (const name of ['input', 'change']) field.dispatchEvent(new Event(name, {bubbles: true}));",
            self.element(field),
            text,
        )

    def pick(self, field: str, value: str) -> None:
        """Choose an option of a list by its value."""
        Select(self.element(field)).select_by_value(value)

    def press_send(self) -> None:
        """Press the Send button."""
        self.element("send").click()

    def press(self, *keys: str) -> None:
        """Press keys wherever the focus is."""
        self._look_here()
        webdriver.ActionChains(self.chrome).send_keys(*keys).perform()

    def press_back(self, times: int) -> None:
        """Press Shift+Tab."""
        self._look_here()
        actions = webdriver.ActionChains(self.chrome).key_down(Keys.SHIFT)
        actions.send_keys(Keys.TAB * times).key_up(Keys.SHIFT).perform()

    def scroll(self, name: str, pixels: int) -> None:
        """Turn the wheel over an element; down is positive."""
        origin = ScrollOrigin.from_element(self.element(name))
        webdriver.ActionChains(self.chrome).scroll_from_origin(origin, 0, pixels).perform()

    def resize(self, width: int, height: int) -> None:
        """Give the page a viewport of this many CSS pixels; Chromium's windows cannot be that narrow."""
        self._emulate(
            "setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def prefer(self, value: str, *, feature: str = "prefers-color-scheme") -> None:
        """Prefer the ``light`` or the ``dark`` colour scheme, or what another feature of media is about."""
        self._emulate("setEmulatedMedia", features=[{"name": feature, "value": value}])

    def _emulate(self, command: str, **arguments: Any) -> None:
        self._look_here()
        self.chrome.execute_cdp_cmd(f"Emulation.{command}", arguments)

    def _look_here(self) -> None:
        if self.chrome.current_window_handle != self.window:
            self.chrome.switch_to.window(self.window)


def both_ways(kind: str, size: str, body: str) -> Sequence[Line]:
    """The two lines of a message that an echo brought back."""
    return [Line(direction, kind, size, body) for direction in ("sent", "received")]
