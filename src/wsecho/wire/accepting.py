"""Connections that could not be accepted: Twisted logs them, without saying of which port, and tells nobody.

Rules of this file: it looks and tells, and changes nothing of what Twisted does: closing what cannot be
served when the process has no descriptors left, and trying again.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EAGAIN, EINTR, EPERM
from typing import Any

__all__ = ["watch_accepts"]

# Not failures: nobody is there (any more), or a packet filter had its say.
_QUIET = frozenset({EAGAIN, EINTR, EPERM})


class _WatchedSocket:
    """A listening socket that tells of its failures to accept."""

    def __init__(self, socket: Any, failed: Callable[[OSError], None]) -> None:
        self._socket = socket
        self._failed = failed

    def accept(self) -> Any:
        try:
            return self._socket.accept()
        except OSError as error:
            if error.errno not in _QUIET:
                self._failed(error)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def watch_accepts(port: Any, reactor: Any, failed: Callable[[OSError], object]) -> None:
    """Call ``failed`` when ``port`` cannot accept a connection: in a later turn of the reactor, because with
    no descriptor left, ``accept`` is no place to run code that may open one.

    :param port: a listening port of Twisted's, whose socket is its attribute ``socket``. On another, nothing
        is seen, and ``failed`` never called
    """
    socket = getattr(port, "socket", None)
    if socket is not None:
        port.socket = _WatchedSocket(socket, lambda error: reactor.callLater(0, failed, error))
