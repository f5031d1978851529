"""The admin endpoint of a running server, asked what its description allows, and much that it does not.

``python -m fuzz.api --seconds=30``: schemathesis makes the requests from ``/api/openapi.json`` and judges the
answers by it. It must be installed beside this Python (``pip install '.[api]'``). The server has clients to
tell of, which come back when they are disconnected; at the end it must stop in order, and have logged no
error.
"""

from __future__ import annotations

import argparse
import re
import secrets
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

_CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
_SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
_PATHS = ("/", "/echo?a=1", "/broadcast", "/broadcast/kitchen")
_URLS = re.compile(r"listening on (ws:\S+).*?admin on (http:\S+)", re.DOTALL)
#: What no request may bring into the log.
_ERRORS = ("Traceback", "#error", "#critical", "Unhandled")


class _Client(threading.Thread):
    """A client that says something and waits, again and again."""

    def __init__(self, url: str, ends: threading.Event) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._ends = ends

    def run(self) -> None:
        while not self._ends.is_set():
            try:
                with connect(self._url, proxy=None, open_timeout=5, close_timeout=1) as client:
                    client.send("hello")
                    while not self._ends.wait(0.05):
                        client.recv(timeout=1)
            except TimeoutError:
                continue
            except (OSError, WebSocketException):
                self._ends.wait(0.05)


def run(seconds: int, seed: int | None, schemathesis: Path = _SCHEMATHESIS) -> int:
    """Ask for so long; 0 when nothing was wrong.

    :param seed: of schemathesis, to repeat a run
    """
    if not schemathesis.exists():
        sys.exit("fuzz.api: schemathesis is not installed beside this Python: pip install '.[api]'")
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder, "token")
        token.write_text(secrets.token_hex(32), encoding="ascii")
        token.chmod(0o600)
        log = Path(folder, "log")
        with log.open("w", encoding="utf-8") as writing:
            command = [sys.executable, "-m", "wsecho", "--listen=tcp:0:interface=127.0.0.1"]
            admin = ["--admin=tcp:0:interface=127.0.0.1", f"--admin-token-file={token}"]
            server = subprocess.Popen([*command, *admin], stdout=writing, stderr=writing)
        try:
            status = _ask(
                schemathesis, folder, *_wait_for_urls(server, log), token.read_text(), seconds, seed
            )
            server.terminate()
            ended = server.wait(30)
        finally:
            server.kill()
        written = log.read_text(encoding="utf-8")
    wrong = [line for line in written.splitlines() if any(word in line for word in _ERRORS)]
    print(f"fuzz.api: schemathesis ended with {status}, the server with {ended}; errors logged: {len(wrong)}")
    print("\n".join(wrong[:20]))
    return 1 if status or ended or wrong else 0


def _wait_for_urls(server: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    waiting = threading.Event()
    for _ in range(600):
        found = _URLS.search(log.read_text(encoding="utf-8"))
        if found is not None:
            return found[1], found[2]
        if server.poll() is not None:
            break
        waiting.wait(0.1)
    sys.exit(f"fuzz.api: the server did not start:\n{log.read_text(encoding='utf-8')}")


def _ask(
    schemathesis: Path, folder: str, url: str, admin: str, token: str, seconds: int, seed: int | None
) -> int:
    ends = threading.Event()
    clients = [_Client(url.rstrip("/") + path, ends) for path in _PATHS for _ in range(2)]
    for client in clients:
        client.start()
    command = [str(schemathesis), f"--config-file={_CONFIGURATION}", "run", f"{admin}api/openapi.json"]
    command += ["-H", f"Authorization: Bearer {token}", f"--max-time={seconds}", "--continue-on-failure"]
    command += [] if seed is None else [f"--seed={seed}"]
    # It keeps what it found in its folder, for the next run: each run here is one of its own.
    status = subprocess.run(command, cwd=folder, timeout=seconds + 60, check=False).returncode
    ends.set()
    for client in clients:
        client.join(5)
    return status


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=30, help="for how long, about")
    parser.add_argument("--seed", type=int, help="of schemathesis, to repeat a run")
    arguments = parser.parse_args()
    return run(arguments.seconds, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
