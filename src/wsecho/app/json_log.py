"""Log lines as flat JSON: the observer of ``--log-format=json``, and where it writes.

Rules of this file:

- a line is valid JSON and one line, whatever was logged, in ASCII. The keys are those of
  `wsecho.policy.log_keys`;
- it writes where twistd's own observer would: an observer that is a component of the application takes its
  place, and then twistd opens no log file, nor does it handle the signal that rotates one;
- what has another form already (syslog, an observer of the operator's) is refused, not mixed.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

from twisted.logger import FileLogObserver, LogLevel, formatEvent
from twisted.python.logfile import LogFile

from wsecho.policy.log_keys import EVENTS, LOG_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.logger import LogEvent

__all__ = ["CannotLog", "Rotated", "json_line", "json_observer", "record_of"]

_OURS = "wsecho"
# What a terminal would obey, or a reader would take for something else, when the string is shown: the
# controls but for tab and line end, surrogates, separators of lines, and signs that turn the direction.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class CannotLog(Exception):
    """There is no place for the log, or one that does not take JSON; one line."""


class Rotated(Protocol):
    """A log file that can begin anew."""

    def rotate(self) -> object:
        """Put what was written aside."""


def record_of(event: LogEvent) -> dict[str, Any]:
    """Return the keys and values of the line for an event of Twisted's logging system."""
    level = event.get("log_level", LogLevel.info)
    record: dict[str, Any] = {
        "time": _rfc3339(event["log_time"]),
        "level": level.name,
        "system": _clean(str(event.get("log_system") or event.get("log_namespace") or "-")),
    }
    is_ours = event.get("log_namespace") == _OURS
    row = EVENTS.get(event.get("event", "")) if is_ours else None
    if row is not None:
        record["event"] = row.name
        for name in row.keys:
            record[name] = _value(name, event)
        return record
    if is_ours and "id" in event:
        record["id"] = int(event["id"])
    failure = event.get("log_failure") or (event.get("isError") and event.get("failure"))
    if not failure:
        record["text"] = _clean(formatEvent(event))
    else:
        traceback = failure.getTraceback()
        # The text of Twisted's older log has it as well.
        record["text"] = _clean(formatEvent(event).replace(traceback, "").rstrip("\n"))
        record["traceback"] = _clean(traceback)
    return record


def json_line(event: LogEvent) -> str:
    """Return the line for an event, with its end."""
    return json.dumps(record_of(event), allow_nan=False) + "\n"


def _value(name: str, event: LogEvent) -> Any:
    if name == "text":
        return _clean(formatEvent(event))
    value = event[name]
    return None if value is None else LOG_KEYS[name].type(value)


def _rfc3339(seconds: float) -> str:
    when = datetime.fromtimestamp(seconds, UTC)
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _clean(text: str) -> str:
    return _UNSAFE.sub(lambda found: _escaped(ord(found[0])), text)


def _escaped(point: int) -> str:
    return f"\\x{point:02x}" if point < 0x80 else f"\\u{point:04x}"


def json_observer(twistd: Mapping[str, Any] | None, reactor: Any) -> FileLogObserver:
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
    name = options.get("logfile") or ""
    is_foreground = twistd is None or options.get("nodaemon") or options.get("debug")
    if name == "-" and not is_foreground:
        raise CannotLog("--logfile=-: a daemon has no standard output")
    if name in ("", "-") and is_foreground:
        return FileLogObserver(sys.stdout, json_line)
    return FileLogObserver(cast(TextIO, _log_file(name or "twistd.log", reactor)), json_line)


def _log_file(name: str, reactor: Any) -> Rotated:
    try:
        file: Rotated = LogFile.fromFullPath(name)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise CannotLog(f"--logfile={_clean(name)}: {error.strerror}") from None
    # As twistd does: not where somebody handles, or ignores, the signal already.
    if signal.getsignal(signal.SIGUSR1) in (None, signal.SIG_DFL):
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
    return file
