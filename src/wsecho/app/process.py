"""The process that serves: its signals and its exit status.

Rules of this file:

- twistd ends by the signal it got, and a reactor takes SIGTERM and SIGINT for itself when it begins to run;
  so the handlers are installed when it runs, and the exit status of an orderly end is 0;
- a handler does nothing but hand over to the reactor: Python may call it in the middle of anything;
- SIGHUP must not end a server, which is what it does to a process that has no handler.

This file does not know what is served: stopping is the reactor's affair, and services take part in it by
their stopService.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from wsecho.app.log_output import flush_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["FAILED", "Process", "exit_at_once"]

_log = Logger(namespace="wsecho")

#: The exit status when something could not be done, or was cut off.
FAILED: Final = 1


def exit_at_once(status: int) -> None:
    """End this process, at the very end of what it does, with `status`.

    twistd has no other way to say, after its reactor has run, that something failed: it returns, and that is
    status 0.
    """
    flush_all()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class Process:
    """Signals and exit status of one process.

    :param reactor: what the signals stop.
    :param set_handler: `signal.signal`, or a test's own.
    :param at_exit: `atexit.register`, or a test's own.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        set_handler: Callable[[int, Any], object] = signal.signal,
        at_exit: Callable[..., object] = atexit.register,
    ) -> None:
        self._reactor = reactor
        self._set_handler = set_handler
        self._at_exit = at_exit
        self._is_stopping = False
        self._is_gradual = False
        self._reload: Callable[[], object] | None = None
        self.at_crash: Callable[[], object] | None = None
        """Called when a second signal ends this process at once: ends what nobody else would."""

    def handle_signals(self, reload: Callable[[], object]) -> None:
        """Take the signals over; to be called when the reactor runs, not before.

        :param reload: called in the reactor for each SIGHUP.
        """
        self._reload = reload
        for number in (signal.SIGTERM, signal.SIGINT):
            self._set_handler(number, self._stop_requested)
        self._set_handler(signal.SIGHUP, self._reload_requested)

    @property
    def is_gradual(self) -> bool:
        """Whether connections are to end one after the other: SIGTERM asked for the end, as supervisors do,
        whose clients come back. Whoever pressed Ctrl-C is waiting."""
        return self._is_gradual

    def stop(self, *, gradual: bool) -> None:
        """Stop the reactor, as a signal would.

        :param gradual: see `is_gradual`
        """
        if not self._is_stopping:
            self._is_gradual = gradual
            self._stop()

    def fail(self) -> None:
        """Stop the reactor; the exit status will say that something failed."""
        self._at_exit(exit_at_once, FAILED)
        self._stop()

    def _stop_requested(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._stop_or_crash, number)

    def _reload_requested(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._reload)

    def _stop_or_crash(self, number: int) -> None:
        name = signal.Signals(number).name
        if not self._is_stopping:
            _log.info("{name}: closing all connections; a second signal ends at once", name=name)
            self._is_gradual = number == signal.SIGTERM
            self._stop()
            return
        _log.warn("{name}: ending at once", name=name)
        # Should even this hang, the next signal is the system's to handle.
        for again in (signal.SIGTERM, signal.SIGINT):
            self._set_handler(again, signal.SIG_DFL)
        self._at_exit(exit_at_once, FAILED)
        if self.at_crash is not None:
            self.at_crash()
        # Not os._exit: twistd removes its pid file when the reactor has come to an end.
        self._reactor.crash()

    def _stop(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            # Somebody else may have stopped it already.
            with suppress(ReactorNotRunning):
                self._reactor.stop()
