"""``/metrics``: what the server has counted, in the formats of Prometheus.

Rules of this file: it counts nothing itself. Each scrape asks the overseer once and writes what the table
`wsecho.policy.metrics.METRICS` lists, in its order; a row that nothing is written for is a bug that a test
finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from wsecho.policy.facts import ServerState, WorkerFacts
from wsecho.policy.metrics import METRICS, Metric, MetricKind
from wsecho.web.interfaces import IOverseer

__all__ = ["Exposition", "ServerCollector", "samples"]

#: By the values of the labels.
_Values = Mapping[tuple[str, ...], float]


def samples(overseer: IOverseer) -> Mapping[str, _Values]:
    """The values of every metric that is one number, by name."""
    totals, server, lag = overseer.totals(), overseer.server(), overseer.lag()
    messages: dict[tuple[str, ...], float] = {}
    octets: dict[tuple[str, ...], float] = {}
    for service, traffic in totals.traffic.items():
        messages["received", service] = traffic.received_messages
        messages["sent", service] = traffic.sent_messages
        octets["received", service] = traffic.received_bytes
        octets["sent", service] = traffic.sent_bytes
    state = overseer.state()
    return {
        "wsecho_connections_open": {(name,): number for name, number in totals.open.items()},
        "wsecho_handshakes_total": dict(totals.handshakes.items()),
        "wsecho_connection_ends_total": {(reason,): number for reason, number in totals.ends.items()},
        "wsecho_messages_total": messages,
        "wsecho_message_bytes_total": octets,
        "wsecho_send_queue_bytes": {(): totals.queued_bytes},
        "wsecho_send_queue_largest_bytes": {(): totals.largest_queue_bytes},
        "wsecho_dropped_messages_total": {(policy,): number for policy, number in totals.dropped.items()},
        "wsecho_channels": {(): server.channels},
        "wsecho_reactor_lag_largest_seconds": {(): lag.largest},
        "wsecho_certificate_expiry_timestamp_seconds": {
            (str(number),): end.timestamp() for number, (_, end) in enumerate(server.certificates, 1)
        },
        "wsecho_engine_up": {(server.engine,): float(server.is_engine_up)},
        "wsecho_engine_events_total": {(name,): number for name, number in server.engine_events.items()},
        "wsecho_state": {(str(one),): float(one is state) for one in ServerState},
        **_of_workers(server.workers),
        "wsecho_build_info": {
            tuple(server.versions[name] for name in ("wsecho", "python", "twisted", "autobahn")): 1.0
        },
    }


def _of_workers(workers: Sequence[WorkerFacts]) -> Mapping[str, _Values]:
    def each(value: Callable[[WorkerFacts], float]) -> _Values:
        return {(str(one.number),): value(one) for one in workers}

    messages: dict[tuple[str, ...], float] = {}
    for one in workers:
        messages[str(one.number), "received"] = one.received_messages
        messages[str(one.number), "sent"] = one.sent_messages
    return {
        "wsecho_worker_up": each(lambda one: float(one.state == "ready")),
        "wsecho_worker_restarts_total": each(lambda one: one.restarts),
        "wsecho_worker_connections_open": each(lambda one: one.connections),
        "wsecho_worker_messages_total": messages,
        "wsecho_worker_reactor_lag_largest_seconds": each(lambda one: one.lag_largest),
        "wsecho_worker_cpu_seconds_total": each(lambda one: one.cpu_seconds),
    }


def _with_zeros(row: Metric, values: _Values) -> _Values:
    """The values, and 0 for each combination of label values that is known but has not occurred."""
    if not row.labels or not all(label.values for label in row.labels):
        return values
    known: list[tuple[str, ...]] = [()]
    for label in row.labels:
        known = [(*front, value) for front in known for value in label.values]
    return {**dict.fromkeys(known, 0.0), **values}


class ServerCollector(Collector):
    """Makes Prometheus's families from the table.

    :param overseer: is asked at each scrape
    """

    def __init__(self, overseer: IOverseer) -> None:
        self._overseer = overseer

    def describe(self) -> Iterable[Family]:
        """Nothing: a registry that asks need not make a scrape for it."""
        return ()

    def collect(self) -> Iterator[Family]:
        """Every family of the table."""
        values = samples(self._overseer)
        for row in METRICS:
            if row.kind is MetricKind.SUMMARY:
                lag = self._overseer.lag()
                yield SummaryMetricFamily(row.name, row.meaning, count_value=lag.count, sum_value=lag.sum)
            else:
                yield _family(row, _with_zeros(row, values[row.name]))


def _family(row: Metric, values: _Values) -> Family:
    names: Sequence[str] = [label.name for label in row.labels]
    make: Any = CounterMetricFamily if row.kind is MetricKind.COUNTER else GaugeMetricFamily
    family = make(row.name, row.meaning, labels=names)
    for labels, value in values.items():
        family.add_metric(list(labels), value)
    made: Family = family
    return made


class Exposition:
    """Everything that is told, the process's own numbers included (those of Linux, from /proc)."""

    def __init__(self, overseer: IOverseer) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(ServerCollector(overseer))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[str, bytes]:
        """The content type and the text of a scrape.

        :param accept: the request's Accept header, which may ask for OpenMetrics
        """
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)
