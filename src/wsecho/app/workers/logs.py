"""Log events on their way from a worker to the supervisor, which writes them where it writes its own.

Rules of this file: an event that was relayed gives the same line as it would without workers, with
``worker N:`` before the text, or the key ``worker`` in JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.logger import LogLevel, formatEvent

from wsecho.policy.log_keys import EVENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.logger import LogEvent

__all__ = ["event_of_record", "record_to_relay"]

_OURS: Final = "wsecho"


def record_to_relay(event: LogEvent) -> dict[str, Any]:
    """Return what the supervisor is told of an event, as JSON knows it."""
    record: dict[str, Any] = {
        "level": event.get("log_level", LogLevel.info).name,
        "time": event["log_time"],
        "namespace": str(event.get("log_namespace") or ""),
        "system": str(event.get("log_system") or ""),
    }
    is_ours = event.get("log_namespace") == _OURS
    row = EVENTS.get(event.get("event", "")) if is_ours else None
    if row is not None:
        record["event"] = row.name
        record["fields"] = {name: _plain(event[name]) for name in row.keys if name != "text"}
    elif is_ours and "id" in event:
        record["fields"] = {"id": int(event["id"])}
    failure = event.get("log_failure") or (event.get("isError") and event.get("failure"))
    text = formatEvent(event)
    if failure:
        record["traceback"] = failure.getTraceback()
        # The text of Twisted's older log has it as well.
        text = text.replace(record["traceback"], "").rstrip("\n")
    record["text"] = text
    return record


def _plain(value: Any) -> Any:
    return value if value is None or type(value) in (bool, int, float, str) else str(value)


def event_of_record(worker: int, record: Mapping[str, Any]) -> LogEvent:
    """Return the event to log in the supervisor for what `record_to_relay` made in a worker."""
    event: dict[str, Any] = {
        "log_level": LogLevel.lookupByName(record["level"]),
        "log_namespace": record["namespace"],
        "log_time": record["time"],
        "log_format": "worker {worker}: {text}",
        **record.get("fields", {}),
        "text": record["text"],
        "worker": worker,
    }
    if "event" in record:
        event["event"] = record["event"]
    if record.get("system"):
        event["log_system"] = record["system"]
    if "traceback" in record:
        event["traceback"] = record["traceback"]
        event["log_format"] = "worker {worker}: {text}\n{traceback}"
    return event
