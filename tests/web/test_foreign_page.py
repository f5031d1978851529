"""A web page of another origin, in a real browser, against the admin endpoint of a running server."""

from __future__ import annotations

import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from tests.app.servers import LineWatcher, open_websocket, start, twistd
from tests.serving import TIMEOUT

from .browser import missing_programs, new_window, shared_browser

#: What a page can send without asking first, and what it would have to ask for; gives what it could read.
_SCRIPT = """
    const [admin, done] = arguments;
    const attempts = [
      ['/api/connections', {}],
      ['/metrics', {}],
      ['/health/live', {}],
      ['/metrics', {mode: 'no-cors'}],
      ['/api/messages', {method: 'POST', mode: 'no-cors', body: '{"channel": "", "text": "evil"}'}],
      ['/api/messages', {method: 'POST', headers: {'Content-Type': 'application/json'},
                         body: '{"channel": "", "text": "evil"}'}],
      ['/api/accepting', {method: 'PUT', headers: {'Content-Type': 'application/json'},
                          body: '{"accepting": false}'}],
      ['/api/connections/1', {method: 'DELETE'}],
    ];
    const attempt = async ([path, options]) => {
      try { return await (await fetch(admin + path, options)).text(); } catch (error) { return ''; }
    };
    Promise.all(attempts.map(attempt)).then(done);
"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<p>")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in http.server
        pass


class ForeignPageTests(TestCase):
    """What a page can do that its user opened while a server runs on the same machine."""

    timeout = 120

    def setUp(self) -> None:
        """Start a web server for the page."""
        if missing := missing_programs():
            raise SkipTest(f"{' and '.join(missing)} not found: apt-get install chromium chromium-driver")
        # Chromium opens connections ahead; a server that takes one at a time waits for a request there.
        site = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
        self.addCleanup(site.server_close)
        threading.Thread(target=site.serve_forever, daemon=True).start()
        self.addCleanup(site.shutdown)
        self.site_port = site.server_address[1]

    async def test_nothing(self) -> None:
        """It reads nothing and changes nothing, whatever it calls itself and the server; without a token."""
        listen = "tcp:0:interface=127.0.0.1"
        child = start(
            self, [*twistd(), "-n", "--pidfile=", "wsecho", f"--listen={listen}", f"--admin={listen}"]
        )
        told = LineWatcher(child, b"admin on http://")
        (url,) = await child.listening
        await told.found
        port = int(child.out.partition(b"admin on http://127.0.0.1:")[2].partition(b"/")[0])
        member = await open_websocket(self, url, "/broadcast")
        read = await deferToThread(self.attempt, port)
        self.assertEqual(read, {""})
        server = await deferToThread(get_json, f"http://127.0.0.1:{port}/api/server")
        self.assertEqual((server["state"], server["connections"]), ("ready", 1))
        self.assertNotIn(b"admin: ", child.out)
        self.assertTrue(member.received.endswith(b"\r\n\r\n"))

    def attempt(self, port: int) -> set[str]:
        """Let pages try; all that they could read."""
        chrome = shared_browser()
        read: set[str] = set()
        with new_window(chrome):
            for name in ("127.0.0.1", "localhost"):
                chrome.get(f"http://{name}:{self.site_port}/")
                for host in ("127.0.0.1", "localhost"):
                    read |= set(chrome.execute_async_script(_SCRIPT, f"http://{host}:{port}"))
        return read


def get_json(url: str) -> Any:
    """What a program, which is no web page, reads."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        return json.load(answer)
