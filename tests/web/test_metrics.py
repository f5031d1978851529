"""Tests for `wsecho.web.metrics`: what the server counted, as Prometheus reads it."""

from __future__ import annotations

import re
import shutil
import subprocess

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from wsecho.policy.metrics import METRICS, MetricKind
from wsecho.web.metrics import Exposition, samples

from .overseen import END, FakeOverseer


class ExpositionTests(SynchronousTestCase):
    """The text of a scrape."""

    def setUp(self) -> None:
        self.overseer = FakeOverseer()
        self.overseer.certificates = [("localhost", END)]
        self.content_type, text = Exposition(self.overseer).render("")
        self.text = text.decode()
        self.values = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def test_every_row(self) -> None:
        """Each row of the table is written, with its meaning, kind and labels, and nothing else is."""
        for row in METRICS:
            self.assertIn(f"# HELP {row.name} {row.meaning}\n# TYPE {row.name} {row.kind}\n", self.text)
            found = {
                tuple(name for name, _ in labels)
                for name, *labels in self.values
                if name == row.name and row.kind is not MetricKind.SUMMARY
            }
            self.assertLessEqual(found, {tuple(sorted(label.name for label in row.labels))}, row.name)
        told = set(re.findall(r"^# TYPE (\S+)", self.text, re.MULTILINE))
        self.assertEqual(
            {name for name in told if not name.startswith("process_")}, {row.name for row in METRICS}
        )
        single = {row.name for row in METRICS if row.kind is not MetricKind.SUMMARY}
        self.assertEqual(set(samples(self.overseer)), single)

    def test_values(self) -> None:
        """Values are those of the overseer."""
        for name, labels, value in (
            ("wsecho_connections_open", {"service": "echo"}, 4),
            ("wsecho_handshakes_total", {"outcome": "origin-denied", "status": "403"}, 2),
            ("wsecho_handshakes_total", {"outcome": "peer-gone", "status": ""}, 1),
            ("wsecho_connection_ends_total", {"reason": "peer-close"}, 3),
            ("wsecho_messages_total", {"direction": "received", "service": "echo"}, 1),
            ("wsecho_message_bytes_total", {"direction": "received", "service": "echo"}, 2),
            ("wsecho_messages_total", {"direction": "sent", "service": "other"}, 7),
            ("wsecho_message_bytes_total", {"direction": "sent", "service": "other"}, 8),
            ("wsecho_send_queue_bytes", {}, 10),
            ("wsecho_send_queue_largest_bytes", {}, 8),
            ("wsecho_dropped_messages_total", {"policy": "drop-oldest"}, 9),
            ("wsecho_reactor_lag_seconds_count", {}, 10),
            ("wsecho_reactor_lag_seconds_sum", {}, 0.5),
            ("wsecho_reactor_lag_largest_seconds", {}, 0.25),
            ("wsecho_certificate_expiry_timestamp_seconds", {"certificate": "1"}, END.timestamp()),
            ("wsecho_engine_up", {"engine": "memory"}, 1),
            ("wsecho_state", {"state": "ready"}, 1),
            ("wsecho_state", {"state": "draining"}, 0),
        ):
            self.assertEqual(self.values[(name, *sorted(labels.items()))], value, (name, labels))

    def test_zeros(self) -> None:
        """What is known but has not happened is told as 0: a rate needs a beginning."""
        for name, labels in (
            ("wsecho_connections_open", {"service": "broadcast"}),
            ("wsecho_connection_ends_total", {"reason": "slow-consumer"}),
            ("wsecho_dropped_messages_total", {"policy": "drop-newest"}),
            ("wsecho_messages_total", {"direction": "sent", "service": "broadcast"}),
        ):
            self.assertEqual(self.values[(name, *sorted(labels.items()))], 0)

    def test_process(self) -> None:
        """The numbers of the process come along."""
        for name in ("process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"):
            self.assertGreater(self.values[name,], 0)

    def test_promtool(self) -> None:
        """promtool finds nothing to complain about."""
        promtool = shutil.which("promtool")
        if promtool is None:
            raise SkipTest("promtool not found: apt-get install prometheus")
        done = subprocess.run(
            [promtool, "check", "metrics"],
            input=self.text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
