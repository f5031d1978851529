"""A Redis of a test's own: on a free port, in a folder of its own, started and stopped as a test wants.

`REASON` says why there is none; tests that need one skip with it. CI installs Debian's package.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["PROGRAM", "REASON", "RedisServer"]

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
REASON = None if PROGRAM else "needs redis-server"

#: Seconds until a server that does not answer is taken for broken.
TIMEOUT = 20


class RedisServer:
    """One server.

    :param options: of redis-server, such as ``("--appendonly", "yes")``
    """

    def __init__(self, *options: str, port: int = 0, host: str = "127.0.0.1") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="wsecho-redis-"))
        self.host = host
        self.port = port or _free_port(host)
        self.options = list(options)
        self.process: subprocess.Popen[bytes] | None = None
        self.start_with: tuple[str, ...] = ()
        """A command that starts what follows, such as ``ip netns exec NAME``."""
        self.is_tls = False
        """Whether its port is for TLS; then the options name it."""

    def url(self, query: str = "", credentials: str = "", database: int = 0) -> str:
        """Where it is."""
        return f"redis://{credentials}{self.host}:{self.port}/{database}{'?' if query else ''}{query}"

    def start(self) -> RedisServer:
        """Start it, and return when it answers."""
        assert PROGRAM is not None
        for _ in range(5):
            self.process = subprocess.Popen(
                [
                    *self.start_with,
                    PROGRAM,
                    *("--port", "0" if self.is_tls else str(self.port), "--bind", self.host),
                    *("--dir", str(self.folder), "--unixsocket", str(self.folder / "s")),
                    *("--save", "", "--daemonize", "no", *self.options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if self._answers():
                return self
            # Somebody else took the port meanwhile: only then it ends by itself.
            self.port = _free_port(self.host)
        raise AssertionError(f"redis-server does not start with {self.options}")

    def _answers(self) -> bool:
        assert self.process is not None
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end and self.process.poll() is None:
            try:
                answer = self.ask("PING")
            except OSError:
                # No event tells of a socket that appears; the kernel is asked again shortly.
                time.sleep(0.01)
            else:
                # Without a password it answers as well; while it loads, not yet.
                if not answer.startswith(b"-LOADING"):
                    return True
                time.sleep(0.01)
        return False

    def ask(self, *words: Any) -> bytes:
        """Send one command past everything, by its Unix socket, and return the answer as it came (64 KiB at
        most)."""
        with self._connection() as connection:
            return _asked(connection, words)

    def ask_as(self, password: str, *words: Any) -> bytes:
        """The same, where a password is needed."""
        with self._connection() as connection:
            _asked(connection, ("AUTH", password))
            return _asked(connection, words)

    def _connection(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT)
        connection.connect(str(self.folder / "s"))
        return connection

    def send(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it, and return when it has ended."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        self.process.wait(TIMEOUT)
        self.process = None

    def remove(self) -> None:
        """End it and remove its folder."""
        if self.process is not None:
            self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def _asked(connection: socket.socket, words: tuple[Any, ...]) -> bytes:
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    command = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    connection.sendall(command)
    return connection.recv(65536)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host if host in ("127.0.0.1", "localhost") else "0.0.0.0", 0))
        port: int = probe.getsockname()[1]
        return port


# One for tests of one process that leave nothing in it but keys.
_shared: RedisServer | None = None


def shared_server() -> RedisServer:
    """A server that all tests of this process share; it ends with the process."""
    global _shared
    if _shared is None or _shared.process is None or _shared.process.poll() is not None:
        import atexit

        _shared = RedisServer().start()
        atexit.register(_shared.remove)
    return _shared
