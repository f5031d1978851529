"""Tests for `wsecho.policy.metrics`: the table of metrics."""

import re

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.end_reasons import EndReason
from wsecho.policy.metrics import METRICS, MetricKind, metric
from wsecho.policy.slow_consumers import SlowConsumer
from wsecho.services.broadcast import ChannelMember
from wsecho.services.echo import EchoService


class MetricsTests(SynchronousTestCase):
    """The rows."""

    def test_names(self) -> None:
        """Names are Prometheus's, each is there once, and only what grows ends in _total."""
        self.assertEqual(len({row.name for row in METRICS}), len(METRICS))
        for row in METRICS:
            self.assertRegex(row.name, re.compile(r"wsecho_[a-z_]+\Z"))
            self.assertEqual(row.name.endswith("_total"), row.kind is MetricKind.COUNTER, row.name)
            self.assertTrue(row.meaning.endswith("."), row.name)

    def test_label_values(self) -> None:
        """The values of labels are those of the tables, and of the services that there are."""
        values = {(row.name, label.name): label.values for row in METRICS for label in row.labels}
        self.assertEqual(
            set(values["wsecho_connection_ends_total", "reason"]), {reason.value for reason in EndReason}
        )
        self.assertLess(set(values["wsecho_dropped_messages_total", "policy"]), set(SlowConsumer))
        self.assertEqual(
            set(values["wsecho_messages_total", "service"]), {EchoService.name, ChannelMember.name}
        )

    def test_by_name(self) -> None:
        """A row is found by its name."""
        self.assertIs(metric(METRICS[0].name), METRICS[0])
        self.assertRaises(KeyError, metric, "wsecho_unheard")
