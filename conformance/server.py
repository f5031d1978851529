"""Runs the server that is judged, as its users run it: a command, in a folder that is not the checkout.

`wsecho` means `twistd -n wsecho` of the environment that runs the judge, one process with a ws and a wss
listener on ports that the kernel chooses and the start lines tell. Any other server is a command line with
places for what it must be told, started once for each transport.

The server's log goes into a file, which is kept. An instance is a context manager; leaving it ends the
process and its children, whatever happened.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from conformance.modes import TRANSPORTS
from conformance.side_by_side import Children

__all__ = [
    "Server",
    "ServerError",
    "fill_template",
    "free_port",
    "log_faults",
    "make_certificate",
    "started_command",
    "started_wsecho",
    "urls_in",
    "wsecho_command",
]

_START_LINE = re.compile(r"listening on (wss?)(://[^\s/]+/)")

# What Twisted logs for an exception that nobody handled.
_FAULT = re.compile(r"Traceback \(most recent call last\)|Unhandled [Ee]rror")

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05
_LINES_SHOWN = 60


class ServerError(Exception):
    """The server could not be started; the text says why."""


class Server:
    """One running server process."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        log: Path,
        environ: Mapping[str, str] | None = None,
        children: Children | None = None,
    ) -> None:
        """Start *command* in *folder*, with everything it says going into *log*.

        :param environ: its environment; None for that of the judge.
        :param children: what starts it; None for nobody whom others share.
        :raises ServerError: there is no such command.
        """
        self.log = log
        self._ended_with: int | None = None
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            try:
                self._process = (children or Children()).start(command, folder, environ, output)
            except OSError as error:
                raise ServerError(f"the server cannot be started: {error}") from error

    def text(self) -> str:
        """Return the log as it is now."""
        return self.log.read_text(errors="replace")

    def tail(self) -> str:
        """Return the last lines of the log in printable ASCII: they may hold bytes of the client."""
        lines = self.text().splitlines()[-_LINES_SHOWN:]
        return "\n".join(line.encode("unicode_escape").decode("ascii") for line in lines)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def died(self) -> bool:
        """Whether the process has ended and nobody asked it to."""
        return self._ended_with is None and self.status is not None

    @property
    def status(self) -> int | None:
        """The exit status, or None while the server runs."""
        return self._process.poll()

    def wait_for_urls(self, transports: Sequence[str], seconds: float | None = None) -> dict[str, str]:
        """Return the URL of each of *transports* as soon as the log tells it.

        :param seconds: after which it is too late; None: 30
        :raises ServerError: the server ended, or did not tell them in time.
        """
        seconds = _START_SECONDS if seconds is None else seconds
        deadline = time.monotonic() + seconds
        while True:
            urls = urls_in(self.text())
            if all(transport in urls for transport in transports):
                return urls
            self._check_starting(
                deadline, seconds, f"its log names no listener for {' and '.join(transports)}"
            )

    def wait_for_port(self, port: int) -> None:
        """Return as soon as somebody listens on *port* of 127.0.0.1.

        :raises ServerError: the server ended, or did not listen in time.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                self._check_starting(deadline, _START_SECONDS, f"nobody listens on port {port}")

    def _check_starting(self, deadline: float, seconds: float, complaint: str) -> None:
        if self.status is not None:
            raise ServerError(f"the server ended with status {self.status} before it served:\n{self.tail()}")
        if time.monotonic() > deadline:
            late = f"the server did not start within {seconds:g} seconds: {complaint}"
            raise ServerError(f"{late}; its log:\n{self.tail()}")
        time.sleep(_POLL_SECONDS)

    def end(self) -> int:
        """End the server as an operator would, by SIGTERM, and return its exit status; insist if need be.

        Ended before, it stays ended, and the status is the same.
        """
        if self._ended_with is None:
            self._ended_with = self._end()
        return self._ended_with

    def _end(self) -> int:
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL
        finally:
            # The group keeps the server's process id as long as a child lives; else nobody is found.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def urls_in(log: str) -> dict[str, str]:
    """Return the listening URLs by scheme that the start lines in *log* tell; of two alike, the first."""
    urls: dict[str, str] = {}
    for line in log.splitlines(keepends=True):
        found = _START_LINE.search(line)
        # A line that is still being written may break in the middle of a port.
        if found and line.endswith("\n"):
            urls.setdefault(found[1], found[1] + found[2])
    return urls


def log_faults(log: str) -> list[str]:
    """Return the lines of *log* about exceptions nobody handled; a passed case excuses none."""
    return [line for line in log.splitlines() if _FAULT.search(line)]


def wsecho_command(certificate: Path, key: Path) -> list[str]:
    """Return the command that starts wsecho with room for the suite's largest messages, 16 MiB."""
    return [
        beside_python("twistd"),
        *("-n", "--pidfile=", "wsecho"),
        "--listen=tcp:0:interface=127.0.0.1",
        "--listen-tls=tcp:0:interface=127.0.0.1",
        f"--certificate={certificate}",
        f"--private-key={key}",
        "--compression=deflate",
        "--max-message-size=16MiB",
        "--max-frame-size=16MiB",
        "--max-fragments=0",
    ]


def beside_python(script: str) -> str:
    """Return the path of a command of the environment that runs this; of PATH, when it has none."""
    found = shutil.which(script, path=str(Path(sys.executable).parent)) or shutil.which(script)
    if found is None:
        raise ServerError(f"there is no {script} command beside {sys.executable} or on PATH")
    return found


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 in *folder*; return the paths of its chain and its key.

    :raises ServerError: trustme is not installed.
    """
    try:
        import trustme
    except ImportError as error:
        raise ServerError(
            f"wss needs a certificate, and the package that makes one is missing: {error}"
        ) from error
    issued = trustme.CA().issue_cert("127.0.0.1", "localhost")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


def fill_template(template: str, values: Mapping[str, object]) -> list[str]:
    """Return the words of *template* with ``{scheme}``, ``{port}``, ``{cert}`` and ``{key}`` filled in.

    :raises ValueError: another name stands in braces, or the template is empty or badly quoted.
    """
    words = shlex.split(template)
    if not words:
        raise ValueError("the server's command is empty")
    try:
        return [word.format_map(dict(values)) for word in words]
    except (KeyError, IndexError) as error:
        raise ValueError(f"unknown place {error} in {template!r}; there are: {', '.join(values)}") from error


@contextmanager
def started_wsecho(
    folder: Path, log: Path, environ: Mapping[str, str] | None = None, children: Children | None = None
) -> Iterator[tuple[Server, dict[str, str]]]:
    """Run wsecho in *folder*; give the server and its URLs by transport.

    The parameters are those of :class:`Server`.

    :raises ServerError: it did not start.
    """
    command = wsecho_command(*make_certificate(folder))
    with _ended(Server(command, folder, log, environ, children)) as server:
        yield server, server.wait_for_urls(TRANSPORTS)


@contextmanager
def started_command(
    template: str, transport: str, folder: Path, log: Path, children: Children | None = None
) -> Iterator[tuple[Server, str]]:
    """Run another server for one *transport*; give it and its URL.

    :param template: its command line, as :func:`fill_template` says.
    :raises ServerError: it did not start.
    """
    certificate, key = make_certificate(folder)
    port = free_port()
    values = {"scheme": transport, "port": port, "cert": certificate, "key": key}
    with _ended(Server(fill_template(template, values), folder, log, None, children)) as server:
        server.wait_for_port(port)
        yield server, f"{transport}://127.0.0.1:{port}/"


@contextmanager
def _ended(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.end()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    # Somebody else may take it before the server does; the server then ends at once and the run says so.
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
