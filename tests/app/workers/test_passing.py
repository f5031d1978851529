"""Values of ours as JSON and back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.web.overseen import FakeOverseer, facts
from wsecho.app.configuration import read_configuration
from wsecho.app.workers.passing import (
    WorkerReport,
    configuration_from_json,
    configuration_to_json,
    report_from_json,
    report_to_json,
    share,
)
from wsecho.policy.facts import LagFacts


def report(**others: object) -> WorkerReport:
    """What a worker may tell."""
    told = WorkerReport(
        state="ready",
        connections_open=2,
        totals=FakeOverseer().sums,
        lag=LagFacts(3, 0.5, 0.25),
        channels={"": 1, "kitchen": 2},
        certificates=(("a.example", datetime(2027, 1, 2, tzinfo=UTC)),),
        engine="memory",
        is_engine_up=True,
        engine_events={"gap": 1},
        cpu_seconds=1.5,
        connections=(facts(1), facts(2, origin="http://a")),
    )
    return replace(told, **others)  # type: ignore[arg-type]


class ConfigurationTests(SynchronousTestCase):
    """Configurations."""

    def test_same(self) -> None:
        """A configuration comes out as it went in, with each value's source and the tables of channels."""
        file = Path(self.mktemp())
        file.write_text('allow-origin = ["null"]\n[channel."a"]\nslow-consumer = "drop-oldest"\n', "utf-8")
        configuration = read_configuration({"config": [str(file)], "port": ["0"], "close-timeout": ["1ms"]})
        passed = json.loads(json.dumps(configuration_to_json(configuration)))
        self.assertEqual(configuration_from_json(passed), configuration)

    def test_share(self) -> None:
        """A worker gets its part of the limits for the whole server, rounded up, and of no limit none."""
        configuration = read_configuration({"max-connections": ["10"]})
        shared = share(configuration, 3)
        self.assertEqual(
            (shared["max-connections"], shared["max-connections-per-address"], shared["send-queue"]),
            (4, 0, configuration["send-queue"]),
        )


class ReportTests(SynchronousTestCase):
    """Reports."""

    def test_same(self) -> None:
        """A report comes out as it went in, with its connections and without."""
        for told in (report(), report(connections=None)):
            passed = json.loads(json.dumps(report_to_json(told)))
            self.assertEqual(report_from_json(passed), told)
