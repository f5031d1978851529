"""Connections that could not be accepted: Twisted logs them, without saying of which port, and tells nobody.

Out of descriptors, Twisted accepts and closes whoever comes, with a descriptor that it keeps for this. Where
it has none, or the system itself has no descriptors or memory left, the queue of the kernel stays as it is,
and Twisted finds it there in every turn of the reactor: a loop that takes all processor time and fills the
log.

Rules of this file:

- it tells of each failure, and changes nothing of what Twisted does at the first one: closing what cannot be
  served, and trying again;
- a port that fails again, with nothing accepted in between, rests before it tries the next time. Who has
  connected waits in the queue meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EAGAIN, ECONNABORTED, EINTR, EPERM
from typing import Any, Final

from wsecho.wire.accepted import ListeningSocket, can_be_quick

__all__ = ["REST_SECONDS", "watch_accepts"]

#: Between two attempts of a port that cannot accept.
REST_SECONDS: Final = 1.0

# Not failures: nobody is there (any more), or a packet filter had its say.
_QUIET = frozenset({EAGAIN, EINTR, EPERM})


class _WatchedSocket:
    """A listening socket that tells of its failures to accept."""

    def __init__(self, listening: Any, failed: Callable[[OSError], None], rest: Callable[[], None]) -> None:
        self._socket = listening
        self._failed = failed
        self._rest = rest
        self._is_stuck = False

    def accept(self) -> Any:
        try:
            accepted = self._socket.accept()
        except OSError as error:
            self._judge(error)
            raise
        self._is_stuck = False
        return accepted

    def _judge(self, error: OSError) -> None:
        if error.errno in _QUIET:
            self._is_stuck = False
            return
        self._failed(error)
        if error.errno == ECONNABORTED:
            # Of the peer, who is not in the queue any more: no peer is to keep the others waiting.
            return
        if self._is_stuck:
            self._rest()
        self._is_stuck = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def watch_accepts(
    port: Any,
    reactor: Any,
    failed: Callable[[OSError], object],
    is_paused: Callable[[], bool] = lambda: False,
) -> None:
    """Call ``failed`` when ``port`` cannot accept a connection: in a later turn of the reactor, because with
    no descriptor left, ``accept`` is no place to run code that may open one. Let the port rest when it still
    cannot.

    :param port: a listening port of Twisted's, whose socket is its attribute ``socket``. On another, nothing
        is seen, and ``failed`` never called
    :param is_paused: whether the port is to accept nothing, for another reason, when it has rested
    """

    def rest() -> None:
        port.pauseProducing()
        reactor.callLater(REST_SECONDS, go_on)

    def go_on() -> None:
        # Of a port that was closed meanwhile, Twisted knows it.
        if not is_paused():
            port.resumeProducing()

    listening: Any = getattr(port, "socket", None)
    if can_be_quick(listening):
        listening = ListeningSocket(listening)
    if listening is not None:
        port.socket = _WatchedSocket(listening, lambda error: reactor.callLater(0, failed, error), rest)
