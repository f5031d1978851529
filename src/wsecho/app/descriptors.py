"""File descriptors: the process's limit of open files is raised to what the connections need; where that is
not allowed, fewer connections are taken.

Rules of this file:

- only the soft limit is changed, never beyond the hard one and never beyond what is needed: a limit is also a
  protection, and what loops over all descriptors that there may be takes its time;
- who is refused for the limit of connections is told so in HTTP; for whom there is no descriptor is cut off
  without a word. So the former is kept below the latter;
- nothing here keeps a server from starting.

It counts nothing that is open, and knows no socket.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsecho.wire.room import Room

resource: Any
try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None

__all__ = ["RESERVED", "connections_that_fit", "descriptors_for", "provide_descriptors"]

_log = Logger(namespace="wsecho")

#: Descriptors for listeners, the log, the event loop, files that are read again, and whoever connects while
#: all places are taken. For whoever is in the opening handshake or on the way out there is, besides, one for
#: every ten connections.
RESERVED: Final = 100


def descriptors_for(connections: int) -> int:
    """How many descriptors a server of so many connections needs."""
    return connections + connections // 10 + RESERVED


def connections_that_fit(descriptors: int) -> int:
    """How many connections a server with so many descriptors may have: at least one."""
    # Of very few, half are kept for the rest.
    remaining = descriptors - min(RESERVED, descriptors // 2)
    return max(1, remaining * 10 // 11)


def _getrlimit() -> tuple[int, int]:
    limits: tuple[int, int] = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limits


def _setrlimit(limits: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def provide_descriptors(
    room: Room,
    *,
    getrlimit: Callable[[], tuple[int, int]] | None = None if resource is None else _getrlimit,
    setrlimit: Callable[[tuple[int, int]], object] = _setrlimit,
    infinity: int = -1 if resource is None else resource.RLIM_INFINITY,
) -> None:
    """Raise the limit of open files for the connections of `room`, or lower the limit of connections to what
    fits, and log either.

    :param getrlimit: returns the soft and the hard limit; None where there is none
    :param setrlimit: sets both
    :param infinity: the number that stands for no limit
    """
    if getrlimit is None:
        return
    soft, hard = getrlimit()
    before = _number(soft, infinity)
    wanted_connections = room.max_connections
    wanted = descriptors_for(wanted_connections) if wanted_connections else _number(hard, infinity)
    if before < wanted:
        target = min(wanted, _number(hard, infinity))
        # A system may know another bound than its hard limit, as macOS does, or forbid it altogether.
        with suppress(OSError, ValueError):
            setrlimit((infinity if target == math.inf else target, hard))
        soft, hard = getrlimit()
    allowed = _number(soft, infinity)
    if not wanted_connections:
        _log.info(
            "max-connections=0: the connections are limited by the files that the process may open: {files}",
            files=_text(allowed),
        )
    elif allowed < wanted and connections_that_fit(allowed) < wanted_connections:
        room.max_connections = connections_that_fit(allowed)
        _log.warn(
            "max-connections is lowered from {wanted} to {fitting}: the process may open {files} files, and "
            "{needed} are needed",
            wanted=wanted_connections,
            fitting=room.max_connections,
            files=_text(allowed),
            needed=wanted,
        )
    elif before < allowed:
        _log.info(
            "the process may open {files} files now, not {before}: enough for max-connections={wanted}",
            files=_text(allowed),
            before=_text(before),
            wanted=wanted_connections,
        )


def _number(limit: int, infinity: int) -> Any:
    return math.inf if limit == infinity else limit


def _text(limit: Any) -> str:
    return "any number" if limit == math.inf else str(limit)
