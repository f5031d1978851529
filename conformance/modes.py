"""With wsecho's compiled part and without it: how a process is made to have which, and what it says it has.

What a mode means stands in docs/topics/path-of-a-frame.md. A process of the wrong mode is never judged by
assumption: wsecho says in its log what it runs with, and that has to be what was asked for.

Pure: no files, no processes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["MODES", "TRANSPORTS", "Combination", "ModeError", "mode_environment", "told_mode"]

TRANSPORTS = ("ws", "wss")
MODES = ("compiled", "pure")

_COMPILED = "with its compiled part"
_PURE = "pure Python"
_LINE = re.compile(rf"wsecho \S+, ({_COMPILED}(?:, but not for TLS)?|{_PURE})$", re.MULTILINE)


class ModeError(Exception):
    """A process is not what it was asked to be; the text says what it is."""


@dataclass(frozen=True, slots=True)
class Combination:
    """What is judged by itself: one transport, and of wsecho one mode."""

    transport: str
    mode: str | None
    """None for what is not wsecho."""

    def __str__(self) -> str:
        return f"{self.mode} {self.transport}" if self.mode else self.transport

    @property
    def slug(self) -> str:
        """Its name in paths and for the suite."""
        return str(self).replace(" ", "-")


def mode_environment(mode: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return *environ* as it has to be for a process of *mode*; None leaves it as it is."""
    if mode is None:
        return dict(environ)
    others = {name: value for name, value in environ.items() if name != "WSECHO_PURE"}
    return {**others, "WSECHO_PURE": "1"} if mode == "pure" else others


def told_mode(combination: Combination, log: str) -> str:
    """Return what a process of wsecho says in its *log* of its compiled part.

    :raises ModeError: it says nothing, or something else than it was asked for.
    """
    found = _LINE.search(log)
    if found is None:
        raise ModeError(f"{combination}: the log does not say whether the compiled part is used")
    told = found[1]
    if combination.mode == "pure":
        wanted = told == _PURE
    else:
        wanted = told == _COMPILED or (combination.transport == "ws" and told.startswith(_COMPILED))
    if not wanted:
        hint = "" if combination.mode == "pure" else "; install it with a C compiler, or give --mode=pure"
        raise ModeError(f"{combination}: what ran was wsecho, {told}{hint}")
    return told
