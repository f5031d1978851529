"""Where log lines go, and when: text and JSON, to the standard output or a file.

Rules of this file:

- it writes where twistd's own observer would, and text as that would: an observer that is a component of the
  application takes its place, and then twistd opens no log file, nor does it handle the signal that rotates
  one;
- what has another form already (syslog, an observer of the operator's) is left to twistd, or refused for
  JSON; never mixed;
- lines about connections and messages are written once for each turn of the reactor, since a write for each
  takes longer than all else about a line. Any other line is written at once, behind those that wait, and so
  is every line while no reactor runs. So the order stays, and what waits is at most a turn old;
- nothing waits when the process ends or forks.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from twisted.logger import ILogObserver, formatEventAsClassicLogText, formatTime
from twisted.python.logfile import LogFile
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from wsecho.app.json_log import clean, json_line
from wsecho.policy.log_keys import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.logger import LogEvent

__all__ = [
    "MOST_WAITING",
    "CannotLog",
    "Rotated",
    "TurnObserver",
    "flush_all",
    "json_observer",
    "text_line",
    "text_observer",
]

#: Characters that wait before they are written in the middle of a turn.
MOST_WAITING = 64 * 1024

_NAMESPACE = "wsecho"


class CannotLog(Exception):
    """There is no place for the log, or one that does not take JSON; one line."""


class Output(Protocol):
    """What lines are written to."""

    def write(self, text: str, /) -> object:
        """Take text."""

    def flush(self) -> object:
        """Hand it over."""


class Rotated(Output, Protocol):
    """A log file that can begin anew."""

    def rotate(self) -> object:
        """Put what was written aside."""


#: Without annotations in Twisted.
_is_in_reactor: Any = isInIOThread
_observers: WeakSet[TurnObserver] = WeakSet()


def flush_all() -> None:
    """Write what waits, of all observers."""
    for observer in tuple(_observers):
        observer.flush()


atexit.register(flush_all)
os.register_at_fork(before=flush_all)


@implementer(ILogObserver)
class TurnObserver:
    """Writes the lines of events.

    :param output: where
    :param format_event: from an event to its line, with its end; None for none
    :param reactor: whose turns they are
    """

    def __init__(self, output: Output, format_event: Callable[[LogEvent], str | None], reactor: Any) -> None:
        self._output = output
        self._format = format_event
        self._reactor = reactor
        self._waiting: list[str] = []
        self._size = 0
        self._call: Any = None
        _observers.add(self)

    def __call__(self, event: LogEvent) -> None:
        """Write the line of an event, now or when this turn is over."""
        line = self._format(event)
        if not line:
            return
        self._waiting.append(line)
        self._size += len(line)
        if (
            self._size >= MOST_WAITING
            or event.get("event") not in EVENTS
            or event.get("log_namespace") != _NAMESPACE
            or not getattr(self._reactor, "running", False)
            or not _is_in_reactor()
        ):
            self.flush()
        elif self._call is None:
            self._call = self._reactor.callLater(0, self._turn_ended)

    def _turn_ended(self) -> None:
        self._call = None
        self.flush()

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        self._size = 0
        if waiting:
            self._output.write("".join(waiting))
            self._output.flush()


# -- text ----------------------------------------------------------------------------------------------------

_second = -1
_head = ""


def text_line(event: LogEvent) -> str | None:
    """Return the line for an event as Twisted would write it; None where it would write none."""
    if "line" not in event or event.get("event") not in EVENTS or event.get("log_namespace") != _NAMESPACE:
        return formatEventAsClassicLogText(event)
    global _second, _head
    # Without fractions, and so the same for all lines of a second; making it takes ten times as long as the
    # rest.
    second = int(event["log_time"])
    if second != _second:
        _second, _head = second, f"{formatTime(second)} [{_NAMESPACE}#"
    return f"{_head}{event['log_level'].name}] {event['line']}\n"


def text_observer(twistd: Mapping[str, Any] | None, reactor: Any) -> TurnObserver | None:
    """Return what writes text where twistd, with these options of its own, would; None where that is
    twistd's to do, or to refuse.

    :param twistd: None where there is no twistd
    :raises CannotLog: when the file cannot be opened
    """
    if twistd is None or twistd.get("syslog") or twistd.get("logger"):
        return None
    if twistd.get("logfile") == "-" and not _is_foreground(twistd):
        return None
    return TurnObserver(_output(twistd, reactor), text_line, reactor)


# -- JSON ----------------------------------------------------------------------------------------------------


def json_observer(twistd: Mapping[str, Any] | None, reactor: Any) -> TurnObserver:
    """Return what writes JSON where twistd, with these options of its own, would write text.

    :param twistd: None for the standard output
    :raises CannotLog: when twistd was told of a place that does not take it, or the file cannot be opened
    """
    options = twistd or {}
    for name in ("syslog", "logger"):
        if options.get(name):
            raise CannotLog(
                f"--log-format=json does not go with twistd's --{name}; accepted are --logfile and none"
            )
    if options.get("logfile") == "-" and not _is_foreground(twistd):
        raise CannotLog("--logfile=-: a daemon has no standard output")
    return TurnObserver(_output(twistd, reactor), json_line, reactor)


# -- places --------------------------------------------------------------------------------------------------


def _is_foreground(twistd: Mapping[str, Any] | None) -> bool:
    return twistd is None or bool(twistd.get("nodaemon") or twistd.get("debug"))


def _output(twistd: Mapping[str, Any] | None, reactor: Any) -> Output:
    name = (twistd or {}).get("logfile") or ""
    if name in ("", "-") and _is_foreground(twistd):
        return sys.stdout
    return _log_file(name or "twistd.log", reactor)


def _log_file(name: str, reactor: Any) -> Rotated:
    is_file = os.path.isfile(name) or not os.path.exists(name)
    # Of what is no file nothing grows. Twisted would count what it wrote, and move a device such as /dev/null
    # aside for a file of its name.
    length: Any = {} if is_file else {"rotateLength": None}
    try:
        file: Rotated = LogFile.fromFullPath(name, **length)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise CannotLog(f"--logfile={clean(name)}: {error.strerror}") from None
    # As twistd does: not where somebody handles, or ignores, the signal already.
    if signal.getsignal(signal.SIGUSR1) in (None, signal.SIG_DFL):
        rotate: Callable[[], object] = file.rotate if is_file else lambda: None
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(rotate))
    return file
