"""The operator's page in a real browser: a server with an admin endpoint, and what an operator sees."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.app.servers import environment, twistd
from tests.serving import serving
from tests.web.browser import Page

_BOTH = re.compile(r"(?:listening|admin) on ((?:ws|http):\S+)")

_READ_ROWS = """
    return [...document.querySelectorAll('#rows > tr')].map((row) => Object.fromEntries([
      ['id', row.cells[0].textContent],
      ...[...row.querySelectorAll('[data-name]')].map((line) => [line.dataset.name, line.textContent]),
    ]));
"""
_READ_ENTRIES = """
    return [...document.querySelectorAll('#entries > li')].map((entry) =>
      ['.who', '.where', '.kind', '.content'].map((part) => entry.querySelector(part).textContent));
"""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs."""

    url: str
    admin: str


@contextmanager
def overseen(folder: Path, *options: str) -> Iterator[Served]:
    """Run ``twistd wsecho`` with an admin endpoint in an empty `folder`."""
    folder.mkdir()
    listeners = ["--listen=tcp:0:interface=127.0.0.1", "--admin=tcp:0:interface=127.0.0.1"]
    command = [*twistd(), "--nodaemon", "--pidfile=", "wsecho", *listeners, *options]
    variables = environment() | {"PYTHONUNBUFFERED": "1"}
    with serving(command, cwd=folder, env=variables, listeners=2, start_line=_BOTH) as (url, admin):
        yield Served(url, admin)


class OperatorPage(Page):
    """One window with the operator's page."""

    @property
    def rows(self) -> list[Mapping[str, str]]:
        """The table of connections."""
        rows: list[Mapping[str, str]] = self.run(_READ_ROWS)
        return rows

    def column(self, name: str) -> list[str]:
        """One column of it."""
        return [row[name] for row in self.rows]

    @property
    def entries(self) -> list[list[str]]:
        """The messages: who, where, kind and size, content."""
        entries: list[list[str]] = self.run(_READ_ENTRIES)
        return entries

    def named(self, name: str) -> WebElement:
        """The button with this accessible name."""
        self.element("state")
        (found,) = [
            one for one in self.chrome.find_elements(By.CSS_SELECTOR, "button") if one.accessible_name == name
        ]
        return found

    def write(self, field: str, text: str) -> None:
        """Replace what a field holds."""
        element = self.element(field)
        element.clear()
        element.send_keys(text)

    def plot(self, name: str) -> str:
        """What a plot tells those who do not see it."""
        text: Any = self.run(f"return document.querySelector('#plot-{name} svg.canvas').ariaLabel")
        return str(text)
