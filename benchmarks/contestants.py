"""Who is compared: the servers, how each is started, what it needs and how that is installed.

Every one echoes on ``/``, broadcasts to everybody but the sender on ``/broadcast``, listens on a free port
of 127.0.0.1 and says so as wsecho does. Each is written as its own documentation would have it, and as fast
as that allows: one process, no compression, uvloop where the event loop is a choice.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.building import Tools
from conformance.server import beside_python

__all__ = ["CONTESTANTS", "LIMIT", "NODE_FOLDER", "WSECHO", "Contestant", "missing", "versions"]

ROOT = Path(__file__).resolve().parent.parent
#: Where the packages of Node.js are looked for.
NODE_FOLDER = ROOT / ".cache" / "benchmarks"

WSECHO = "wsecho"
LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a server's certificate, PEM."""

    certificate: Path
    private_key: Path


@dataclass(frozen=True, slots=True)
class Contestant:
    """One server.

    :ivar command: from the compiled tools and the certificate (None: plain) to the command
    :ivar packages: Python distributions, each with the module that must be there
    :ivar programs: commands that must be found
    :ivar files: that must exist
    :ivar hint: the command that installs what it needs
    :ivar further: of its environment
    """

    name: str
    what: str
    command: Callable[[Tools, Certificate | None], list[str]]
    packages: Mapping[str, str]
    programs: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    hint: str = ""
    further: Mapping[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """What is added to its environment."""
        return {
            "NODE_PATH": str(NODE_FOLDER / "node_modules"),
            "QT_QPA_PLATFORM": "offscreen",
            **self.further,
        }


def _files(certificate: Certificate | None) -> list[str]:
    if certificate is None:
        return []
    return [f"--certificate={certificate.certificate}", f"--private-key={certificate.private_key}"]


def _wsecho(_tools: Tools, certificate: Certificate | None) -> list[str]:
    listening = (
        ["--port=0", "--host=127.0.0.1"]
        if certificate is None
        else ["--listen-tls=tcp:0:interface=127.0.0.1", *_files(certificate)]
    )
    return [beside_python("twistd"), "-n", "--pidfile=", "wsecho", *listening]


def _python(module: str) -> Callable[[Tools, Certificate | None], list[str]]:
    def command(_tools: Tools, certificate: Certificate | None) -> list[str]:
        return [sys.executable, "-m", f"benchmarks.{module}", *_files(certificate)]

    return command


def _node(_tools: Tools, certificate: Certificate | None) -> list[str]:
    return ["node", str(ROOT / "benchmarks" / "peers" / "ws.js"), *_files(certificate)]


def _limit(tools: Tools, certificate: Certificate | None) -> list[str]:
    files = [] if certificate is None else [str(certificate.certificate), str(certificate.private_key)]
    return [str(tools.limit), *files]


#: The module that wsecho has when it was installed with a compiler.
_COMPILED = "wsecho.wire._lane"
_EXTRA = "python3 -m pip --python .venv install '.[benchmarks]'"

_ALL = (
    Contestant(WSECHO, "`twistd wsecho`, its built-in services", _wsecho, {"wsecho": "wsecho"}),
    Contestant(
        "wsecho-onmessage",
        "wsecho's `ServerProtocol`, an `onMessage` in Python for each message",
        _python("onmessage"),
        {"wsecho": "wsecho"},
    ),
    Contestant(
        "wsecho-pure",
        "`twistd wsecho` without its compiled part",
        _wsecho,
        {"wsecho": _COMPILED},
        hint="it is the same as wsecho here; install wsecho with a C compiler",
        further={"WSECHO_PURE": "1"},
    ),
    Contestant(
        "autobahn",
        "Autobahn on Twisted alone",
        _python("plain_autobahn"),
        {"autobahn": "autobahn", "twisted": "twisted"},
    ),
    Contestant(
        "websockets",
        "websockets on uvloop",
        _python("peers.on_websockets"),
        {"websockets": "websockets", "uvloop": "uvloop"},
        hint=_EXTRA,
    ),
    Contestant(
        "aiohttp",
        "aiohttp on uvloop",
        _python("peers.on_aiohttp"),
        {"aiohttp": "aiohttp", "uvloop": "uvloop"},
        hint=_EXTRA,
    ),
    Contestant(
        "picows",
        "picows on uvloop",
        _python("peers.on_picows"),
        {"picows": "picows", "uvloop": "uvloop"},
        hint=_EXTRA,
    ),
    Contestant(
        "node-ws",
        "ws on Node.js, with bufferutil",
        _node,
        {},
        programs=("node",),
        files=(NODE_FOLDER / "node_modules" / "ws", NODE_FOLDER / "node_modules" / "bufferutil"),
        hint="apt-get install nodejs npm; npm install --prefix .cache/benchmarks ws bufferutil",
    ),
    Contestant(
        "qt",
        "Qt's QWebSocketServer, slots in Python (PySide6)",
        _python("peers.on_qt"),
        {"PySide6-Addons": "PySide6.QtWebSockets"},
        hint="apt-get install libglib2.0-0 libgssapi-krb5-2; "
        "python3 -m pip --python .venv install '.[test-qt]'",
    ),
    Contestant(LIMIT, "the limit: `benchmarks/limit.c`, which checks nothing", _limit, {}),
)

CONTESTANTS = {contestant.name: contestant for contestant in _ALL}


def _imports(module: str) -> bool:
    """Whether a module can be imported, in a process of its own: Qt's needs libraries that may be missing."""
    with suppress(ModuleNotFoundError):
        if importlib.util.find_spec(module) is None:
            return False
        command = [sys.executable, "-c", f"import {module}"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def missing(contestants: Iterable[Contestant]) -> dict[str, str]:
    """By the name of each that cannot be started here: what is not there, and what installs it."""
    found: dict[str, str] = {}
    for contestant in contestants:
        gone = [module for module in contestant.packages.values() if not _imports(module)]
        gone += [program for program in contestant.programs if shutil.which(program) is None]
        gone += [file.name for file in contestant.files if not file.exists()]
        if gone:
            found[contestant.name] = f"no {' and no '.join(gone)}: {contestant.hint}"
    return found


def _package_version(folder: Path) -> str:
    package = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    return f"{package['name']} {package['version']}"


def versions(contestants: Iterable[Contestant]) -> dict[str, str]:
    """By name, what was measured."""
    found = {}
    for contestant in contestants:
        parts = [f"{name} {importlib.metadata.version(name)}" for name in contestant.packages]
        for program in contestant.programs:
            said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
            parts.append(f"{program} {said.strip()}")
        parts += [_package_version(file) for file in contestant.files]
        if "wsecho" in contestant.packages:
            pure = "WSECHO_PURE" in contestant.further or not _imports(_COMPILED)
            parts.append("pure Python" if pure else "with its compiled part")
        found[contestant.name] = ", ".join(parts)
    return found


def machine() -> str:
    """The machine in one line."""
    model = platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return (
        f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )
