"""What wsecho logged, as lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer


@implementer(ILogObserver)
class _Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "wsecho":
            self.lines.append(formatEvent(event))


@contextmanager
def logged_lines() -> Iterator[list[str]]:
    """Collect the text of what wsecho logs meanwhile."""
    observer = _Lines()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer.lines
    finally:
        globalLogPublisher.removeObserver(observer)
