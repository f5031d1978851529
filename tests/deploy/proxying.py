"""A proxy as a page of docs/how-to/deploy shows it, in front of a wsecho as that page starts it.

The configuration and the command line are read from the page. Changed are ports, and where files are: the
proxy listens on loopback. Each of the three goes to the background when it listens, so nobody waits or polls.
"""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.checkout import CHECKOUT
from tests.locked_tls import locked
from tests.serving import TIMEOUT, python_environment, serving
from wsecho.tls.development import make_development_certificate

PAGES = CHECKOUT / "docs" / "how-to" / "deploy"
NAME = "echo.example.com"
#: Where clients come from; proxies come from 127.0.0.1.
CLIENT = "127.0.0.2"
#: The largest message, unless told otherwise.
LARGEST = 1024 * 1024

#: In Debian's package libnginx-mod-stream.
NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Page:
    """The blocks of a page."""

    def __init__(self, name: str) -> None:
        text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        blocks = _BLOCK.findall(text)
        commands = [block for language, block in blocks if language == "shell"]
        self.commands = [shlex.split(block.replace("\\\n", "")) for block in commands]
        self.configurations = [block for language, block in blocks if language in ("nginx", "text")]


class Place:
    """The folder of a test: the certificate of `NAME`, and what else the programs write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made = make_development_certificate(folder, [NAME], now=datetime.now(UTC))
        both = made.certificate.read_bytes() + made.private_key.read_bytes()
        (folder / "both.pem").write_bytes(both)
        self.trusting = locked(ssl.create_default_context(cafile=made.ca))
        # A worker that has given up root still reads its files.
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755)

    def files(self, text: str) -> str:
        """A text of the page with the names of the test's files."""
        return text.replace("/etc/wsecho/", f"{self.folder}/")

    @contextmanager
    def wsecho(self, command: list[str], *options: str) -> Iterator[int]:
        """Serve as the page does, with the programmable echo; gives the port."""
        program, *arguments = command
        assert program == "wsecho"
        arguments = [re.sub(r"tcp:\d+:", "tcp:0:", self.files(argument)) for argument in arguments]
        full = [sys.executable, "-m", "wsecho", *arguments, "--test-endpoints", *options]
        with serving(full, cwd=self.folder, env=python_environment()) as (url,):
            yield int(url.rstrip("/").rpartition(":")[2])

    @contextmanager
    def running(self, command: list[str], pid_file: str) -> Iterator[None]:
        """Start a proxy, which is in the background then, and end it."""
        # A file, not a pipe: what goes to the background keeps it open.
        output = self.folder / "output"
        with output.open("wb") as file:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=dict(os.environ, HOME=str(self.folder), XDG_DATA_HOME=str(self.folder)),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT,
                check=False,
            )
        if done.returncode:
            said = output.read_text(encoding="utf-8", errors="replace")
            raise AssertionError(f"{command}: status {done.returncode}\n{said}")
        proxy = int((self.folder / pid_file).read_text(encoding="ascii"))
        try:
            yield
        finally:
            end(proxy)


def end(process: int) -> None:
    """End a process that is nobody's child any more, and wait until it has ended."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if not poll.poll(TIMEOUT * 1000):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)


def free_port() -> int:
    """A port that nobody has; none of the proxies tells which one it got."""
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        port: int = probing.getsockname()[1]
        return port


class Proxied:
    """A proxy in front of a server."""

    def __init__(self, place: Place, port: int) -> None:
        self._place = place
        self._port = port
        self.stop_server: Callable[[], object] = lambda: None
        """Stop the server, not the proxy, and wait for its end."""

    def connect(self, path: str, **options: Any) -> ClientConnection:
        """Connect to the proxy, by its name, from `CLIENT`."""
        reached = socket.create_connection(("127.0.0.1", self._port), TIMEOUT, source_address=(CLIENT, 0))
        options.setdefault("close_timeout", TIMEOUT)
        client: ClientConnection = connect(
            f"wss://{NAME}:{self._port}{path}", sock=reached, ssl=self._place.trusting, proxy=None, **options
        )
        return client

    def whoami(self, **options: Any) -> dict[str, Any]:
        """What the server says of a client."""
        with self.connect("/test?whoami", **options) as client:
            told: dict[str, Any] = json.loads(client.recv(TIMEOUT))
            return told


@contextmanager
def nginx(place: Place, configuration: str, backend: int) -> Iterator[Proxied]:
    """nginx with a block of its page, `server` or `stream`."""
    port = free_port()
    block = place.files(re.sub(r"listen \d+", f"listen 127.0.0.1:{port}", configuration))
    block = re.sub(r"127\.0\.0\.1:9\d{3}", f"127.0.0.1:{backend}", block)
    is_stream = block.startswith("stream")
    temporary = "".join(
        f"{kind}_temp_path {place.folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = f"pid {place.folder}/nginx.pid;\nerror_log {place.folder}/error.log;\n"
    if os.geteuid() == 0:
        text += "user root;\n"
    if is_stream:
        text += f"load_module {NGINX_STREAM};\n"
    text += "events {}\n"
    text += block if is_stream else f"http {{\naccess_log off;\n{temporary}{block}}}\n"
    (place.folder / "nginx.conf").write_text(text, encoding="utf-8")
    command = ["nginx", "-e", "error.log", "-p", str(place.folder), "-c", "nginx.conf"]
    with place.running(command, "nginx.pid"):
        yield Proxied(place, port)


@contextmanager
def haproxy(place: Place, configuration: str, backend: int) -> Iterator[Proxied]:
    """HAProxy with a configuration of its page."""
    port = free_port()
    text = place.files(re.sub(r"bind :\d+", f"bind 127.0.0.1:{port}", configuration))
    text = re.sub(r"127\.0\.0\.1:9\d{3}", f"127.0.0.1:{backend}", text)
    (place.folder / "haproxy.cfg").write_text(text, encoding="utf-8")
    command = ["haproxy", "-D", "-q", "-f", "haproxy.cfg", "-p", "haproxy.pid"]
    with place.running(command, "haproxy.pid"):
        yield Proxied(place, port)


@contextmanager
def caddy(place: Place, configuration: str, backend: int) -> Iterator[Proxied]:
    """Caddy with a site of its page."""
    port = free_port()
    text = place.files(configuration.replace(f"{NAME} {{", f"{NAME}:{port} {{\n    bind 127.0.0.1"))
    text = re.sub(r"127\.0\.0\.1:9\d{3}", f"127.0.0.1:{backend}", text)
    text = f"{{\n    admin off\n    auto_https disable_redirects\n    skip_install_trust\n}}\n{text}"
    (place.folder / "Caddyfile").write_text(text, encoding="utf-8")
    command = ["caddy", "start", "--config", "Caddyfile", "--adapter", "caddyfile", "--pidfile", "caddy.pid"]
    with place.running(command, "caddy.pid"):
        yield Proxied(place, port)


PROXIES = {"nginx": nginx, "haproxy": haproxy, "caddy": caddy}


class ProxyTestCase(SynchronousTestCase):
    """What holds behind every proxy.

    :cvar page: the name of the page, and of the program
    :cvar number: which command and configuration of the page it is
    :cvar is_passed_on: whether wsecho ends TLS itself
    :cvar is_idle_ended: whether the proxy ends a connection on which nothing passes
    """

    page = ""
    number = 0
    is_passed_on = False
    is_idle_ended = True

    def setUp(self) -> None:
        """Make the certificate."""
        if shutil.which(self.page) is None:
            raise SkipTest(f"there is no {self.page}; it is in Debian's package of that name")
        if self.page == "nginx" and self.is_passed_on and not NGINX_STREAM.exists():
            raise SkipTest(f"there is no {NGINX_STREAM}; it is in Debian's package libnginx-mod-stream")
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        self.place = Place(folder)

    @contextmanager
    def behind(self, *options: str, **changes: str) -> Iterator[Proxied]:
        """The page's server behind the page's proxy.

        :param options: more, of the server's command line
        :param changes: what is replaced in the configuration
        """
        page = Page(self.page)
        configuration = page.configurations[self.number]
        for old, new in changes.items():
            self.assertIn(old, configuration)
            configuration = configuration.replace(old, new)
        with ExitStack() as server:
            backend = server.enter_context(self.place.wsecho(page.commands[self.number], *options))
            with PROXIES[self.page](self.place, configuration, backend) as proxied:
                proxied.stop_server = server.close
                yield proxied

    def test_talk(self) -> None:
        """A client with wss is seen by its own address, whatever it says of itself, and gets its messages
        back, also the largest."""
        lie = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"}
        with self.behind() as proxied:
            for headers in ({}, lie):
                told = proxied.whoami(additional_headers=headers)
                self.assertEqual(told["peer"].partition(":")[0], CLIENT)
                self.assertEqual(told["tls"] is not None, self.is_passed_on)
            with proxied.connect("/echo", max_size=None) as client:
                for message in ("hello", bytes(LARGEST), "x" * LARGEST):
                    client.send(message)
                    self.assertTrue(client.recv(TIMEOUT) == message)

    def test_drain(self) -> None:
        """A server that stops closes the connections behind the proxy with 1001."""
        with self.behind() as proxied, proxied.connect("/echo") as client:
            client.send("hello")
            self.assertEqual(client.recv(TIMEOUT), "hello")
            proxied.stop_server()
            with self.assertRaises(ConnectionClosed) as closed:
                client.recv(TIMEOUT)
            assert closed.exception.rcvd is not None
            self.assertEqual(closed.exception.rcvd.code, 1001)

    def test_idle(self) -> None:
        """Pings keep a connection open on which nothing else passes, for longer than the proxy's times; it is
        the pings that do."""
        times = {"120s": "1s"} if self.is_idle_ended else {}
        with self.behind("--ping-interval=200ms", **times) as proxied, proxied.connect("/echo") as client:
            self.assertRaises(TimeoutError, client.recv, 2.5)
            client.send("still here")
            self.assertEqual(client.recv(TIMEOUT), "still here")
        if self.is_idle_ended:
            with self.behind("--ping-interval=0", **times) as proxied, proxied.connect("/echo") as client:
                self.assertRaises(ConnectionClosed, client.recv, TIMEOUT)
