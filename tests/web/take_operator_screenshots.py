"""The pictures of the operator's page in the documentation, made from a running server.

    python -m tests.web.take_operator_screenshots docs/images

It needs the programs and packages of test_operator_page.py. Run it after a change of the page, look at the
pictures, and keep them small: they are fetched by every reader of the page that shows them.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from websockets.sync.client import ClientConnection, connect

from tests.web.browser import browser
from tests.web.operator import OperatorPage, overseen

_PATHS = ("", "echo", "broadcast/kitchen", "broadcast/kitchen", "broadcast/cellar", "broadcast")
_SAYINGS = ("Is the kettle on?", "Since a minute ago.", "Bring the biscuits!", "<b>Which</b> biscuits?")
_SECONDS = 40
_SIZES = {"operator-light": ("light", 1280, 1220), "operator-dark": ("dark", 1280, 1220)}


def take_screenshots(folder: Path) -> None:
    """Write a PNG for each colour scheme, of a server with some clients that talk."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        served = stack.enter_context(overseen(Path(place) / "server"))
        chrome = stack.enter_context(browser())
        clients = [
            stack.enter_context(connect(served.url + path, proxy=None, ping_interval=None)) for path in _PATHS
        ]
        for client in clients:
            # One that does not read would not be read, either.
            threading.Thread(target=list, args=(client,), daemon=True).start()
        _come_and_go(served.url)
        page = OperatorPage(chrome, served.admin)
        page.resize(1280, 1220)
        page.wait(lambda: len(page.rows), len(clients))
        page.element("watch-toggle").click()
        _talk(clients, served.url)
        for name, (scheme, width, height) in _SIZES.items():
            page.resize(width, height)
            page.prefer(scheme)
            (folder / f"{name}.png").write_bytes(chrome.get_screenshot_as_png())


def _talk(clients: Sequence[ClientConnection], url: str) -> None:
    """Let the clients talk, for the plots."""
    pause = threading.Event()
    for step in range(_SECONDS * 2):
        # More and less, as it is in life.
        for number in range(1 + step * 7 % 11):
            clients[number % 2].send(bytes([step, number, 255]) if number % 3 else "hello")
        if step % 8 == 0:
            clients[2 + step // 8 % 2].send(_SAYINGS[step // 8 % len(_SAYINGS)])
        if step == _SECONDS:
            _come_and_go(url)
        pause.wait(0.5)
    for number, saying in enumerate(_SAYINGS):
        clients[2 + number % 2].send(saying)
    # Until the next answer has them.
    pause.wait(1.5)


def _come_and_go(url: str) -> None:
    with connect(url, proxy=None):
        pass


if __name__ == "__main__":
    take_screenshots(Path(sys.argv[1]))
