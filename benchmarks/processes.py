"""The servers that are measured, each in a process of its own, and what the kernel says of that process.

Linux only: memory and descriptors are read below /proc. What the kernel holds for a socket (its buffers) is
no part of a process's memory, and so of no figure here.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import wsecho
from conformance.server import Server, beside_python, make_certificate

__all__ = [
    "CLIENT_CORES",
    "SERVER_CORES",
    "Address",
    "MemoryWatch",
    "Running",
    "cpu_seconds",
    "descriptors",
    "environment",
    "machine",
    "on_cores",
    "pin",
    "resident_bytes",
    "running",
    "running_autobahn",
    "running_wsecho",
]

_KIB = 1024
_CORES = sorted(os.sched_getaffinity(0))
#: Where the server runs, and where everybody else does. With one core there is no choice.
SERVER_CORES = frozenset(_CORES[:1])
CLIENT_CORES = frozenset(_CORES[1:] or _CORES)
_SAMPLE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    :ivar certificate: of the server, which a client over TLS has to trust; None for plain ws
    """

    host: str
    port: int
    certificate: str | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens.

    :ivar addresses: where; plain first, if it listens there
    """

    server: Server
    pid: int
    addresses: tuple[Address, ...]

    @property
    def address(self) -> Address:
        """The first address."""
        return self.addresses[0]


def pin(pid: int, cores: frozenset[int]) -> None:
    """Let the process run on these cores only, where the system has such a thing."""
    with suppress(OSError):
        os.sched_setaffinity(pid, cores)


def _status(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise ProcessLookupError(f"process {pid} has no {name}: it has ended")
    return int(found[1]) * _KIB


def resident_bytes(pid: int) -> int:
    """Memory of the process that is in RAM."""
    return _status(pid, "VmRSS")


def descriptors(pid: int) -> int:
    """How many files and sockets the process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_seconds(pid: int) -> float:
    """What the process has computed so far, in user and kernel mode."""
    fields = (
        Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    )
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class MemoryWatch:
    """The largest resident memory of a process since the watch began.

    The kernel's own record (VmHWM) is reset for it where that is allowed; beside it samples are taken, since
    it is not allowed everywhere.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
        self.baseline = resident_bytes(pid)
        self._record_at_begin = _status(pid, "VmHWM")
        self._peak = self.baseline
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            with suppress(OSError):
                self._peak = max(self._peak, resident_bytes(self._pid))

    def finish(self) -> int:
        """End the watch; return the growth in bytes.

        :raises OSError: the process has ended
        """
        self._stop.set()
        self._thread.join()
        record = _status(self._pid, "VmHWM")
        if record > self._record_at_begin:
            self._peak = max(self._peak, record)
        return self._peak - self.baseline


def machine() -> str:
    """The machine and the versions, for the pages that carry figures."""
    model = ""
    with suppress(OSError):
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE
        )
        model = f"{found[1].strip()}, " if found else ""
    packages = ", ".join(f"{name} {version(name)}" for name in ("Twisted", "autobahn", "pyOpenSSL"))
    return (
        f"{model}{len(_CORES)} cores, Linux {platform.release().split('-')[0]}, "
        f"CPython {platform.python_version()}, {packages}"
    )


@contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """Processes that are started meanwhile run on these cores from their first thread on: a runtime that
    starts threads at once (V8 does) would have some of them elsewhere when it is pinned afterwards."""
    before = frozenset(os.sched_getaffinity(0))
    pin(0, cores)
    try:
        yield
    finally:
        pin(0, before)


def environment() -> dict[str, str]:
    """The environment of a process that imports these benchmarks, and the same wsecho, in whatever folder it
    runs."""
    here = str(Path(__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    # The wsecho that is imported here: an installed one, which may have its compiled part, or a checkout's.
    source = str(Path(wsecho.__file__).resolve().parent.parent)
    path = os.pathsep.join([source, here, *([inherited] if inherited else [])])
    return os.environ | {"PYTHONPATH": path}


@contextmanager
def running(
    command: Sequence[str],
    folder: Path,
    certificate: Path | None = None,
    environ: Mapping[str, str] | None = None,
    seconds: float | None = None,
    schemes: Sequence[str] = (),
) -> Iterator[Running]:
    """A server that says where it listens as wsecho does: ``listening on ws://127.0.0.1:PORT/``.

    :param folder: where it runs and logs
    :param certificate: that it shows; then it has to say ``wss``
    :param environ: added to its environment
    :param seconds: for the start; None: 30
    :param schemes: what it says, in the order in which its addresses are wanted, if that is more than one
    :raises conformance.server.ServerError: it did not start; with what it wrote
    """
    inside = environment() | {"PYTHONUNBUFFERED": "1"} | dict(environ or {})
    with on_cores(SERVER_CORES):
        server = Server(command, folder, folder / "server.log", inside)
    try:
        schemes = schemes or ["ws" if certificate is None else "wss"]
        urls = server.wait_for_urls(schemes, seconds)
        addresses = tuple(
            Address(
                "127.0.0.1",
                int(urls[scheme].rstrip("/").rpartition(":")[2]),
                str(certificate) if scheme == "wss" else None,
            )
            for scheme in schemes
        )
        yield Running(server, server.pid, addresses)
    finally:
        server.end()


@contextmanager
def running_wsecho(
    *options: str,
    tls: bool = False,
    plain: bool = False,
    configuration: str = "",
    environ: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """``twistd -n wsecho`` with these options, on ports that the kernel chooses.

    :param tls: listen over TLS
    :param plain: listen on plain ws as well
    :param configuration: of the TOML file for ``--config``
    :param environ: added to its environment
    :raises conformance.server.ServerError: it did not start; with what it wrote
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [beside_python("twistd"), "-n", "--pidfile=", "wsecho", *options]
        if configuration:
            file = folder / "wsecho.toml"
            file.write_text(configuration, encoding="utf-8")
            command.append(f"--config={file}")
        schemes, certificate = [], None
        if plain or not tls:
            command += ["--port=0", "--host=127.0.0.1"]
            schemes.append("ws")
        if tls:
            certificate, key = make_certificate(folder)
            command += ["--listen-tls=tcp:0:interface=127.0.0.1", f"--certificate={certificate}"]
            command += [f"--private-key={key}"]
            schemes.append("wss")
        with running(command, folder, certificate, environ, schemes=schemes) as started:
            yield started


@contextmanager
def running_autobahn(*options: str, tls: bool = False) -> Iterator[Running]:
    """Plain Autobahn (:mod:`benchmarks.plain_autobahn`), likewise."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "benchmarks.plain_autobahn", *options]
        certificate = None
        if tls:
            certificate, key = make_certificate(folder)
            command += [f"--certificate={certificate}", f"--private-key={key}"]
        with running(command, folder, certificate) as started:
            yield started
