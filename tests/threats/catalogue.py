"""All scenarios, in the order of the table."""

from __future__ import annotations

from collections.abc import Mapping

from tests.threats import decisions, ends, forwarding, heads, logs, origins
from tests.threats.scenario import Scenario

__all__ = ["CHAPTERS", "SCENARIOS"]

CHAPTERS: Mapping[str, tuple[Scenario, ...]] = {
    title: tuple(value for value in vars(module).values() if isinstance(value, Scenario))
    for title, module in (
        ("The request head", heads),
        ("Pages of other origins", origins),
        ("Proxies", forwarding),
        ("While a connection is decided on", decisions),
        ("Ends", ends),
        ("Logs", logs),
    )
}

SCENARIOS: tuple[Scenario, ...] = tuple(scenario for chapter in CHAPTERS.values() for scenario in chapter)
