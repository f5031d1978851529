"""The metrics table: everything that ``/metrics`` tells, with its labels and what they may be.

Rules of this file: the page about metrics, and the collector, come from `METRICS`. Names and units are
Prometheus's (base units, ``_total`` for what only grows). The values of a label come from a table of this
room, or are bounded by the configuration: never a peer's text, never a channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wsecho.policy.end_reasons import END_REASONS
from wsecho.policy.facts import ServerState
from wsecho.policy.slow_consumers import SlowConsumer

__all__ = ["ENGINE_EVENTS", "METRICS", "OPENED", "OTHER_SERVICE", "Label", "Metric", "MetricKind", "metric"]

OPENED: Final = "opened"
"""The outcome of an opening handshake that was answered with 101."""

OTHER_SERVICE: Final = "other"
"""What a service without a name, of an embedding program, is counted under."""


ENGINE_EVENTS: Final = {
    "publish-failed": "a message was not stored, or nobody knows; its sender was told",
    "gap": "messages of a channel may be missing; its members were told",
    "foreign-entry": "an entry that no wsecho wrote was passed over",
    "reconnect": "the link broke, and is there again",
    "replayed": "messages that were missed while the link was broken came from the history",
}
"""What can happen between a server and its engine."""


class MetricKind(StrEnum):
    """A Prometheus type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True)
class Label:
    """A label of a metric."""

    name: str
    meaning: str
    values: tuple[str, ...] = ()
    """All that there are, each told from the start with 0; empty where they come as they occur."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row."""

    name: str
    kind: MetricKind
    meaning: str
    labels: tuple[Label, ...] = ()


_COUNTER, _GAUGE = MetricKind.COUNTER, MetricKind.GAUGE
_DIRECTION = Label("direction", "received or sent", ("received", "sent"))
_WORKER = Label("worker", "its number, from 1; there are none without --workers")
_SERVICE = Label("service", "what the path serves", ("echo", "broadcast"))

METRICS: Final = (
    Metric("wsecho_connections_open", _GAUGE, "Open connections.", (_SERVICE,)),
    Metric(
        "wsecho_handshakes_total",
        _COUNTER,
        "Opening handshakes, and whatever else came in place of one, by outcome.",
        (
            Label("outcome", f"{OPENED}, or the end reason of a connection that was not"),
            Label("status", "the HTTP status that was answered; empty when there was no answer"),
        ),
    ),
    Metric(
        "wsecho_connection_ends_total",
        _COUNTER,
        "Ends of connections that were open.",
        (Label("reason", "the end reason", tuple(row.reason.value for row in END_REASONS)),),
    ),
    Metric("wsecho_messages_total", _COUNTER, "Messages.", (_DIRECTION, _SERVICE)),
    Metric(
        "wsecho_message_bytes_total",
        _COUNTER,
        "Payload bytes of messages, decompressed.",
        (_DIRECTION, _SERVICE),
    ),
    Metric("wsecho_send_queue_bytes", _GAUGE, "Bytes that wait for all peers together."),
    Metric("wsecho_send_queue_largest_bytes", _GAUGE, "Bytes that wait for the peer for which most do."),
    Metric(
        "wsecho_dropped_messages_total",
        _COUNTER,
        "Messages that did not reach a channel's member because its send queue was full, by the channel's "
        "policy. With close there are none: the connection ends with slow-consumer.",
        (
            Label(
                "policy",
                "of --slow-consumer",
                tuple(str(policy) for policy in SlowConsumer if policy is not SlowConsumer.CLOSE),
            ),
        ),
    ),
    Metric("wsecho_channels", _GAUGE, "Channels that somebody is on."),
    Metric(
        "wsecho_reactor_lag_seconds",
        MetricKind.SUMMARY,
        "How late the reactor was with a timer of one second. While it is late, everybody waits.",
    ),
    Metric("wsecho_reactor_lag_largest_seconds", _GAUGE, "The largest lag of the last minute."),
    Metric(
        "wsecho_certificate_expiry_timestamp_seconds",
        _GAUGE,
        "When a certificate in use ends, in Unix time.",
        (Label("certificate", "its number in the order of --certificate, from 1"),),
    ),
    Metric(
        "wsecho_engine_up",
        _GAUGE,
        "Whether what connects the channels of several processes can be reached; memory always can.",
        (Label("engine", "of --engine"),),
    ),
    Metric(
        "wsecho_engine_events_total",
        _COUNTER,
        "What happened between the server and its engine: "
        + "; ".join(f"{name}, {meaning}" for name, meaning in ENGINE_EVENTS.items())
        + ".",
        (Label("event", "one of these", tuple(ENGINE_EVENTS)),),
    ),
    Metric(
        "wsecho_state",
        _GAUGE,
        "1 for the state that the server is in, 0 for the others; /health/ready is 200 in ready alone.",
        (Label("state", "see /health/ready", tuple(ServerState)),),
    ),
    Metric("wsecho_worker_up", _GAUGE, "Whether the worker serves.", (_WORKER,)),
    Metric(
        "wsecho_worker_restarts_total",
        _COUNTER,
        "How often a process ended in this place while the server did not stop.",
        (_WORKER,),
    ),
    Metric("wsecho_worker_connections_open", _GAUGE, "Its open connections.", (_WORKER,)),
    Metric(
        "wsecho_worker_messages_total",
        _COUNTER,
        "Messages of the process that has this place now.",
        (_WORKER, _DIRECTION),
    ),
    Metric(
        "wsecho_worker_reactor_lag_largest_seconds",
        _GAUGE,
        "Its largest lag of the last minute.",
        (_WORKER,),
    ),
    Metric(
        "wsecho_worker_cpu_seconds_total",
        _COUNTER,
        "What the process that has this place now has computed. process_cpu_seconds_total is the "
        "supervisor's.",
        (_WORKER,),
    ),
    Metric(
        "wsecho_build_info",
        _GAUGE,
        "Always 1.",
        (
            Label("version", "of wsecho"),
            Label("python", "its version"),
            Label("twisted", "its version"),
            Label("autobahn", "its version"),
        ),
    ),
)

_BY_NAME: Final = {row.name: row for row in METRICS}


def metric(name: str) -> Metric:
    """Return the row of the metric `name`; raises `KeyError` for an unknown one."""
    return _BY_NAME[name]
