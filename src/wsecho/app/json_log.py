"""Log lines as flat JSON: what ``--log-format=json`` makes of what is logged.

Rules of this file: a line is valid JSON and one line, whatever was logged, in ASCII. The keys are those of
`wsecho.policy.log_keys`. Where lines go is :mod:`wsecho.app.log_output`.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from twisted.logger import LogLevel, formatEvent

from wsecho.policy.log_keys import EVENTS, LOG_KEYS, WORKER_LINE

if TYPE_CHECKING:
    from twisted.logger import LogEvent

__all__ = ["clean", "json_line", "record_of"]

_OURS = "wsecho"
# json.dumps would make an encoder for each line.
_encode = json.JSONEncoder(allow_nan=False).encode
# What a terminal would obey, or a reader would take for something else, when the string is shown: the
# controls but for tab and line end, surrogates, separators of lines, and signs that turn the direction.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def record_of(event: LogEvent) -> dict[str, Any]:
    """Return the keys and values of the line for an event of Twisted's logging system."""
    level = event.get("log_level", LogLevel.info)
    record: dict[str, Any] = {
        "time": _rfc3339(event["log_time"]),
        "level": level.name,
        "system": clean(str(event.get("log_system") or event.get("log_namespace") or "-")),
    }
    if WORKER_LINE in event:
        record[WORKER_LINE] = int(event[WORKER_LINE])
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
    traceback = failure.getTraceback() if failure else event.get("traceback")
    if traceback is None:
        record["text"] = clean(formatEvent(event))
    else:
        # The text of Twisted's older log has it as well.
        record["text"] = clean(formatEvent(event).replace(traceback, "").rstrip("\n"))
        record["traceback"] = clean(traceback)
    return record


def json_line(event: LogEvent) -> str:
    """Return the line for an event, with its end."""
    return _encode(record_of(event)) + "\n"


def _value(name: str, event: LogEvent) -> Any:
    if name == "text":
        return clean(formatEvent(event))
    value = event[name]
    return None if value is None else LOG_KEYS[name].type(value)


def _rfc3339(seconds: float) -> str:
    when = datetime.fromtimestamp(seconds, UTC)
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def clean(text: str) -> str:
    """Return a text of which nothing that is shown is obeyed by a terminal."""
    return _UNSAFE.sub(lambda found: _escaped(ord(found[0])), text)


def _escaped(point: int) -> str:
    return f"\\x{point:02x}" if point < 0x80 else f"\\u{point:04x}"
