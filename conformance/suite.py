"""Finds the Autobahn test suite, installs it where it is missing, and runs its fuzzing client.

The suite exists for Python 2.7 only, and as a Docker image. The order: a working `python2.7`, on PATH or
under pyenv, gets an environment of its own in the cache folder; without one, Docker runs the image; without
that, the caller is told what was looked for and where. A run without the suite is a failure, so there is no
third way.

Virtual environments for Python 2.7 need `virtualenv<20.22`. It goes into a folder of the cache that is put on
PYTHONPATH, never into the environment that runs this: tox needs a newer one there.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from conformance.side_by_side import Children

__all__ = [
    "VERSION",
    "DockerSuite",
    "PythonSuite",
    "Suite",
    "SuiteError",
    "find_python",
    "find_suite",
    "last_case",
    "python2_environment",
    "python_candidates",
    "run_client",
]

VERSION = "25.10.1"
IMAGE = f"crossbario/autobahn-testsuite:{VERSION}"
REQUIREMENTS = Path(__file__).with_name("suite-requirements.txt")

_VIRTUALENV = "virtualenv<20.22"

# The suite's server would listen on every interface, and fuzz whoever finds it.
_ON_LOOPBACK = """
from autobahntestsuite import fuzzing, wstest
listen = fuzzing.listenWS
fuzzing.listenWS = lambda factory, context=None: listen(factory, context, interface="127.0.0.1")
wstest.run()
"""

# An interpreter without ssl or zlib (built without their headers) would fail much later and less clearly.
_PROBE = "import sys, ssl, zlib; sys.stdout.write('%d.%d.%d' % sys.version_info[:3])"


# Without the suite's own web server, which would be on a fixed port.
_SERVER_OPTIONS = ("--mode", "fuzzingserver", "--webport", "0", "--spec", "spec.json")


class SuiteError(Exception):
    """The suite is missing, cannot be installed, or did not end; the text says what to do about it."""


class Suite(Protocol):
    """The suite, ready to run."""

    @property
    def description(self) -> str:
        """What runs, with versions."""

    def command(self, directory: Path) -> list[str]:
        """Return the fuzzing client's command: it reads ``spec.json`` in *directory* and writes ``reports/``
        there."""

    def server_command(self, directory: Path) -> list[str]:
        """Return the fuzzing server's command, which does likewise."""

    def cleanup(self, directory: Path) -> None:
        """End what ending the processes of the command for *directory* does not end."""


@dataclass(frozen=True, slots=True)
class PythonSuite:
    """The suite in an environment of Python 2.7."""

    python: Path
    """The environment's interpreter."""
    python_version: str

    @property
    def description(self) -> str:
        """What runs, with versions."""
        return f"autobahntestsuite {VERSION} on CPython {self.python_version}"

    def command(self, directory: Path) -> list[str]:
        """Return the command; it has to be run in *directory*."""
        # -u: the log must tell the last case that was begun even when the client has to be killed.
        options = ["-u", "-W", "ignore", "-m", "autobahntestsuite.wstest"]
        return [str(self.python), *options, "--mode", "fuzzingclient", "--spec", "spec.json"]

    def server_command(self, directory: Path) -> list[str]:
        """Return the fuzzing server's command; it has to be run in *directory*."""
        options = ["-u", "-W", "ignore", "-c", _ON_LOOPBACK]
        return [str(self.python), *options, *_SERVER_OPTIONS]

    def cleanup(self, directory: Path) -> None:
        """Do nothing: the client is the command's own process."""


@dataclass(frozen=True, slots=True)
class DockerSuite:
    """The suite in its Docker image."""

    docker: str
    container: str = field(default_factory=lambda: f"wsecho-conformance-{uuid.uuid4().hex[:12]}")

    @property
    def description(self) -> str:
        """What runs, with versions."""
        return f"the Docker image {IMAGE}"

    def command(self, directory: Path) -> list[str]:
        """Return the command; the container shares the host's network and so reaches a loopback server."""
        return self._run(directory, "--mode", "fuzzingclient", "--spec", "spec.json")

    def server_command(self, directory: Path) -> list[str]:
        """Return the fuzzing server's command. Its server listens on all interfaces of the host."""
        return self._run(directory, *_SERVER_OPTIONS)

    def _name(self, directory: Path) -> str:
        # Several run at a time, each in a folder of its own.
        return f"{self.container}-{directory.name}"

    def _run(self, directory: Path, *arguments: str) -> list[str]:
        options = ["--rm", "--name", self._name(directory), "--network", "host"]
        options += ["--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{directory}:/run/conformance"]
        return [self.docker, "run", *options, "--workdir", "/run/conformance", IMAGE, "wstest", *arguments]

    def cleanup(self, directory: Path) -> None:
        """End the container: it belongs to the Docker daemon and outlives the command."""
        subprocess.run(
            [self.docker, "kill", self._name(directory)], capture_output=True, check=False, timeout=60
        )


def python_candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield where a Python 2.7 may be, best first: on PATH, then the versions that pyenv has installed.

    pyenv's `python2.7` on PATH is a shim that fails unless that version is active, so the folders of the
    versions themselves are looked at too.
    """
    path = environ.get("PATH", os.defpath)
    for name in ("python2.7", "python2", "python"):
        for folder in path.split(os.pathsep):
            found = shutil.which(name, path=folder) if folder else None
            if found:
                yield Path(found)
    roots = [Path(environ["PYENV_ROOT"])] if environ.get("PYENV_ROOT") else []
    if environ.get("HOME"):
        roots.append(Path(environ["HOME"], ".pyenv"))
    for root in dict.fromkeys(roots):
        versions = root.glob("versions/2.7*/bin/python2.7")
        yield from sorted(
            versions, key=lambda path: list(map(int, re.findall(r"\d+", path.parts[-3]))), reverse=True
        )


def probe_python(python: Path) -> str | None:
    """Return the version of *python*, or None when it does not run or lacks what the suite needs."""
    try:
        done = subprocess.run(
            [str(python), "-c", _PROBE], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def find_python(
    environ: Mapping[str, str], probe: Callable[[Path], str | None] = probe_python
) -> tuple[Path, str] | None:
    """Return the first interpreter of version 2.7 that works, and its version; None when there is none."""
    for candidate in python_candidates(environ):
        version = probe(candidate)
        if version is not None and version.startswith("2.7."):
            return candidate, version
    return None


def find_suite(cache: Path, environ: Mapping[str, str]) -> Suite:
    """Return the suite, installing it into *cache* the first time.

    :raises SuiteError: it cannot be had on this machine.
    """
    found = find_python(environ)
    if found is not None:
        python, version = found
        return PythonSuite(install(python, cache), version)
    docker = shutil.which("docker", path=environ.get("PATH"))
    refusal = "there is no docker command"
    if docker:
        # The client alone proves nothing: the server's version needs a daemon that answers.
        info = subprocess.run(
            [docker, "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if info.returncode == 0:
            return DockerSuite(docker)
        refusal = "docker is installed, but its daemon does not answer"
    raise SuiteError(
        "the Autobahn test suite is missing. It needs CPython 2.7 with ssl and zlib: none was found as "
        "python2.7, python2 or python on PATH, nor in versions/2.7*/bin of $PYENV_ROOT and ~/.pyenv "
        f"(install one with 'pyenv install 2.7.18'). Its image {IMAGE} cannot be used instead: {refusal}."
    )


def install(python: Path, cache: Path) -> Path:
    """Return the interpreter of an environment in *cache* with the suite, built from *python* when needed.

    :raises SuiteError: a step of the installation failed.
    """
    environment = cache / f"autobahntestsuite-{VERSION}"
    interpreter = environment / "bin" / "python"
    # Written last: an installation that was interrupted, or made from other pins, is begun anew.
    stamp = environment / "installed-from.txt"
    wanted = f"{python}\n{REQUIREMENTS.read_text()}"
    if interpreter.exists() and stamp.exists() and stamp.read_text() == wanted:
        return interpreter
    print(f"installing autobahntestsuite {VERSION} for {python} into {environment}", flush=True)
    virtualenv = cache / "virtualenv"
    for folder in (environment, virtualenv):
        shutil.rmtree(folder, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _step([_python_with_pip(), *pip, "--target", str(virtualenv), _VIRTUALENV])
    create = [sys.executable, "-m", "virtualenv", "--quiet", "--python", str(python), str(environment)]
    _step(create, {**os.environ, "PYTHONPATH": str(virtualenv)})
    _step([str(interpreter), *pip, "--requirement", str(REQUIREMENTS)])
    stamp.write_text(wanted)
    return interpreter


def python2_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return *environ* without PYTHONPATH: it holds modules of Python 3, which Python 2.7 must not see."""
    return {name: value for name, value in environ.items() if name != "PYTHONPATH"}


def _python_with_pip() -> str:
    """Return the interpreter that runs this or, when its environment was made without pip, its base."""
    for python in (sys.executable, str(Path(sys.base_prefix, "bin", "python3"))):
        try:
            if (
                subprocess.run(
                    [python, "-m", "pip", "--version"], capture_output=True, check=False
                ).returncode
                == 0
            ):
                return python
        except OSError:
            continue
    raise SuiteError(f"installing the suite needs pip: neither {sys.executable} nor {sys.base_prefix} has it")


def _step(command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
    """Run one step of the installation; its output is shown only when it failed."""
    own = python2_environment(os.environ)
    done = subprocess.run(
        command,
        env=own if environ is None else environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise SuiteError(f"installing the suite failed ({' '.join(command)}):\n{tail}")


def run_client(
    suite: Suite,
    directory: Path,
    *,
    agent: str,
    url: str,
    cases: Sequence[str],
    timeout: float,
    children: Children | None = None,
) -> None:
    """Let the fuzzing client loose on *url*; its log and reports go into *directory*.

    The client does not verify certificates, so wss needs nothing more than the URL.

    :param agent: the name that the reports give to the server.
    :param cases: cases, or patterns in the suite's own form.
    :param timeout: seconds until the client is taken for hanging and ended.
    :raises SuiteError: the client hung, or ended with an error.
    """
    # Never judge what an earlier run left there.
    shutil.rmtree(directory / "reports", ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    spec = {"outdir": "./reports", "servers": [{"agent": agent, "url": url}], "cases": list(cases)}
    (directory / "spec.json").write_text(json.dumps(spec, indent=1))
    environ = python2_environment(os.environ)
    log = directory / "client.log"
    with log.open("wb") as output:
        client = (children or Children()).start(suite.command(directory), directory, environ, output)
        try:
            status = client.wait(timeout)
        except subprocess.TimeoutExpired:
            raise SuiteError(
                f"the fuzzing client did not end within {timeout:g} seconds and was ended; {last_case(log)}"
            ) from None
        finally:
            if client.poll() is None:
                client.kill()
                client.wait()
            if client.returncode != 0:
                suite.cleanup(directory)
    if status != 0:
        raise SuiteError(f"the fuzzing client ended with status {status}; {last_case(log)}")


def last_case(log: Path) -> str:
    """Tell where the client was, from its log: the last line that is not blank."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"its last words ({log}): {lines[-1][:300]!a}" if lines else f"it said nothing ({log})"
