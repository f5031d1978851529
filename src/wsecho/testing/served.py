"""What a server for tests is asked for, and where it is reached.

Rules of this file:

- nothing beyond this machine: one listener, on 127.0.0.1, on a port that is free;
- a certificate is made for one server, and its authority is for that server's clients; both end with it;
- whatever else a caller wants is an option of the command line, and the caller's own comes last, so that it
  counts.

It must not know how the server runs.
"""

from __future__ import annotations

import ssl
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from wsecho.tls.development import make_development_certificate

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HOST", "Served", "ServerFailed"]

HOST = "127.0.0.1"

#: A client that does not answer the Close of a server that stops must not hold up a test for long.
_DRAIN_TIMEOUT = "1s"


class ServerFailed(Exception):
    """The server did not start, or did not end as it should; wsecho's own line, where there is one."""


class Served:
    """A server for tests.

    :ivar is_secure: whether it speaks wss
    :ivar ca_file: the authority that its certificate is from, a PEM file; None for ws
    """

    def __init__(self, *, tls: bool, mode: str, test_endpoints: bool, options: Sequence[str]) -> None:
        if isinstance(options, str):
            raise TypeError('options is a list of texts, such as ["--max-message-size=1KiB"]')
        self.is_secure = tls
        self.ca_file: Path | None = None
        self._mode = mode
        self._has_test_endpoints = test_endpoints
        self._options = options
        self._port: int | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def port(self) -> int:
        """The port of 127.0.0.1 that it listens on."""
        if self._port is None:
            raise RuntimeError("the server is not running")
        return self._port

    def url(self, path: str = "/") -> str:
        """Return the URL of a path, which may have a query: ``server.url("/test?close=4000")``."""
        if not path.startswith("/"):
            raise ValueError(f"{path!r}: a path begins with /")
        return f"{'wss' if self.is_secure else 'ws'}://{HOST}:{self.port}{path}"

    def ssl_context(self) -> ssl.SSLContext:
        """Return a client's context that trusts the server's authority and nobody else."""
        if self.ca_file is None:
            raise RuntimeError("the server speaks ws, not wss; tls=True makes one with a certificate")
        return ssl.create_default_context(cafile=self.ca_file)

    def _arguments(self) -> list[str]:
        """Make the certificate, and return the command line."""
        listen = f"tcp:0:interface={HOST}"
        if self.is_secure:
            self._folder = tempfile.TemporaryDirectory(prefix="wsecho-testing-")
            made = make_development_certificate(self._folder.name, [HOST, "localhost"], now=datetime.now(UTC))
            self.ca_file = made.ca
            arguments = [f"--listen-tls={listen}", f"--certificate={made.certificate}"]
            arguments.append(f"--private-key={made.private_key}")
        else:
            arguments = [f"--listen={listen}"]
        arguments += [f"--mode={self._mode}", f"--drain-timeout={_DRAIN_TIMEOUT}"]
        if self._has_test_endpoints:
            arguments.append("--test-endpoints")
        return [*arguments, *self._options]

    def _listens(self, urls: Sequence[str]) -> bool:
        """Take the port from the URLs of all listeners; whether it was among them."""
        scheme = "wss" if self.is_secure else "ws"
        prefix = f"{scheme}://{HOST}:"
        # Of several, the one that was asked for first is ours: `_arguments`.
        found = next((url for url in urls if url.startswith(prefix)), None)
        if found is not None:
            self._port = int(found.removeprefix(prefix).rstrip("/"))
        return found is not None

    def _is_gone(self) -> None:
        """Forget the port, and remove the certificate."""
        self._port = self.ca_file = None
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()
