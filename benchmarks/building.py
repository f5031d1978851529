"""Compiles the parts in C, load and limit, into a folder that the caller gives."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BuildError", "Tools", "build", "compiler"]

_HERE = Path(__file__).resolve().parent
_FLAGS = ("-O2", "-Wall", "-Wextra")
_TLS_PROBE = "#include <openssl/ssl.h>\nint main(void) { return SSL_CTX_new(TLS_method()) == NULL; }\n"


class BuildError(Exception):
    """A part in C cannot be compiled; one line, with the command that would help."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The compiled programs.

    :ivar tls: whether they speak TLS
    """

    load: Path
    limit: Path
    tls: bool


def compiler() -> list[str]:
    """The C compiler: that of ``CC``, else ``cc``, else ``gcc``.

    :raises BuildError: there is none
    """
    for words in (shlex.split(os.environ.get("CC", "")), ["cc"], ["gcc"]):
        if words and shutil.which(words[0]):
            return words
    raise BuildError("no C compiler: apt-get install gcc libc6-dev")


def _compile(source: Path, program: Path, *flags: str) -> str:
    """What the compiler said; nothing when it succeeded."""
    command = [*compiler(), *_FLAGS, "-o", str(program), str(source), *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout or f"status {done.returncode}" if done.returncode else ""


def build(folder: Path, *further: str) -> Tools:
    """Compile both, with TLS where OpenSSL can be compiled against (apt-get install libssl-dev).

    :param further: flags of the compiler

    :raises BuildError: there is no compiler, or it fails
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / "probe.c"
    probe.write_text(_TLS_PROBE, encoding="ascii")
    libraries = ("-lssl", "-lcrypto")
    tls = not _compile(probe, folder / "probe", *libraries)
    flags = ("-DWITH_TLS", *libraries) if tls else ()
    for name in ("load", "limit"):
        if said := _compile(_HERE / f"{name}.c", folder / name, *flags, *further):
            raise BuildError(f"{name}.c cannot be compiled:\n{said}")
    return Tools(folder / "load", folder / "limit", tls)
