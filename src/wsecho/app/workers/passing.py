"""Values of ours as JSON and back: the configuration, and what is told of connections and of a server.

Rules of this file: whatever `to_json` of a value makes, `from_json` of it is equal to the value. Text stays
text, also with halves of surrogate pairs, which stand for bytes of the command line that are no UTF-8.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wsecho.app.configuration import Configuration, Setting
from wsecho.policy.facts import ConnectionFacts, LagFacts, Totals, Traffic
from wsecho.policy.options import option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "WorkerReport",
    "configuration_from_json",
    "configuration_to_json",
    "report_from_json",
    "report_to_json",
    "share",
]


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker tells of itself when it is asked."""

    state: str
    """A `ServerState`."""
    connections_open: int
    totals: Totals
    lag: LagFacts
    channels: Mapping[str, int]
    certificates: Sequence[tuple[str, datetime]]
    engine: str
    is_engine_up: bool
    engine_events: Mapping[str, int]
    cpu_seconds: float
    connections: Sequence[ConnectionFacts] | None
    """The open ones; None when they were not asked for."""


def configuration_to_json(configuration: Configuration) -> dict[str, Any]:
    """Return a configuration as JSON knows it."""
    return {
        "values": _settings_to_json(configuration.values),
        "channels": {name: _settings_to_json(table) for name, table in configuration.channels.items()},
    }


def configuration_from_json(value: Mapping[str, Any]) -> Configuration:
    """Return the configuration that `configuration_to_json` was given."""
    return Configuration(
        MappingProxyType(_settings_from_json(value["values"])),
        MappingProxyType(
            {name: MappingProxyType(_settings_from_json(table)) for name, table in value["channels"].items()}
        ),
    )


def _settings_to_json(settings: Mapping[str, Setting]) -> dict[str, Any]:
    return {name: [setting.value, setting.source] for name, setting in settings.items()}


def _settings_from_json(value: Mapping[str, Any]) -> dict[str, Setting]:
    return {
        name: Setting(tuple(given) if option(name).repeatable else given, source)
        for name, (given, source) in value.items()
    }


def share(configuration: Configuration, workers: int) -> Configuration:
    """Return the configuration of one of so many workers: its part of what is limited for the whole server,
    rounded up."""
    shared = {
        name: Setting(-(-int(str(configuration[name])) // workers), configuration.values[name].source)
        for name in ("max-connections", "max-connections-per-address")
    }
    return Configuration(MappingProxyType({**configuration.values, **shared}), configuration.channels)


def report_to_json(report: WorkerReport) -> dict[str, Any]:
    """Return a report as JSON knows it."""
    made = asdict(report)
    # The only keys that are no strings.
    made["totals"]["handshakes"] = [[*key, number] for key, number in report.totals.handshakes.items()]
    made["certificates"] = [[names, end.isoformat()] for names, end in report.certificates]
    return made


def report_from_json(value: Mapping[str, Any]) -> WorkerReport:
    """Return the report that `report_to_json` was given."""
    totals = dict(value["totals"])
    totals["handshakes"] = {(outcome, status): number for outcome, status, number in totals["handshakes"]}
    totals["traffic"] = {name: Traffic(**traffic) for name, traffic in totals["traffic"].items()}
    connections = value["connections"]
    return WorkerReport(
        **{
            **value,
            "totals": Totals(**totals),
            "lag": LagFacts(**value["lag"]),
            "certificates": tuple(
                (names, datetime.fromisoformat(end)) for names, end in value["certificates"]
            ),
            "connections": None
            if connections is None
            else tuple(
                ConnectionFacts(**{**one, "traffic": Traffic(**one["traffic"])}) for one in connections
            ),
        }
    )
