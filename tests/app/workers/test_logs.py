"""Log events from a worker in the supervisor's log."""

from __future__ import annotations

import json
from typing import Any

from twisted.logger import Logger, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsecho.app.json_log import json_line
from wsecho.app.workers.logs import event_of_record, record_to_relay


class RelayTests(SynchronousTestCase):
    """An event, relayed."""

    def relayed(self, log: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """What `log`, given a logger, logs, and the same after it was relayed by worker 7."""
        events: list[dict[str, Any]] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        log(Logger("wsecho"))
        (event,) = events
        return event, event_of_record(7, json.loads(json.dumps(record_to_relay(event))))

    def test_text(self) -> None:
        """The text says which worker tells, whatever braces are in it, and nothing else changes."""
        event, relayed = self.relayed(lambda log: log.warn("{what} went", what="{a}"))
        self.assertEqual(formatEvent(relayed), "worker 7: {a} went")
        for key in ("log_level", "log_time", "log_namespace"):
            self.assertEqual(relayed[key], event[key])

    def test_json(self) -> None:
        """The keys of an event are those of the event that was relayed, and the worker's number."""
        event, relayed = self.relayed(
            lambda log: log.info(
                "{id} open", event="open", id=3, peer="unix", path="/", origin=None, subprotocol=None
            )
        )
        wanted, got = json.loads(json_line(event)), json.loads(json_line(relayed))
        self.assertEqual(got.pop("worker"), 7)
        self.assertEqual(got, wanted)

    def test_connection(self) -> None:
        """A line about one connection keeps its number."""
        _, relayed = self.relayed(lambda log: log.info("{id}: odd", id=12))
        self.assertEqual(json.loads(json_line(relayed))["id"], 12)

    def test_failure(self) -> None:
        """A traceback comes through, in text below the line and in JSON under its own key."""

        def fail(log: Logger) -> None:
            try:
                raise ValueError("odd")
            except ValueError:
                log.failure("it failed", Failure())

        _, relayed = self.relayed(fail)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        text = formatEvent(relayed)
        self.assertTrue(text.startswith("worker 7: it failed\nTraceback"), text)
        line = json.loads(json_line(relayed))
        self.assertEqual(line["text"], "worker 7: it failed")
        self.assertIn("ValueError: odd", line["traceback"])
