"""All scenarios, in the order of the table."""

from __future__ import annotations

from tests.threats import decisions, ends, heads, logs, origins
from tests.threats.scenario import Scenario

__all__ = ["SCENARIOS"]

SCENARIOS: tuple[Scenario, ...] = tuple(
    value
    for module in (heads, origins, decisions, ends, logs)
    for value in vars(module).values()
    if isinstance(value, Scenario)
)
