"""From measurements to figures: medians, and ratios within a round with their range.

Pure. A ratio compares what was measured in the same round, one after the other: what the machine did slowly
to both cancels out. The range is that of the rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.measuring import Measurement

__all__ = ["Figures", "Kind", "Ratio", "growth", "median", "ratio"]

#: What is compared: what was reached, or what was reached for each second that the server computed.
Kind = Literal["value", "per_cpu_second"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the rounds' ratios, the least and the largest."""

    median: float
    least: float
    most: float


def _by_round(measurements: Iterable[Measurement], kind: Kind) -> dict[int, float]:
    found = {}
    for one in measurements:
        value = one.value if kind == "value" else one.per_cpu_second
        if not one.error and value:
            found[one.round] = value
    return found


def median(measurements: Iterable[Measurement], kind: Kind = "value") -> float | None:
    """Of the rounds that have one."""
    values = _by_round(measurements, kind).values()
    return statistics.median(values) if values else None


def ratio(of: Iterable[Measurement], to: Iterable[Measurement], kind: Kind = "value") -> Ratio | None:
    """Of two contestants, or of one in two scenarios, over the rounds in which there are both."""
    above, below = _by_round(of, kind), _by_round(to, kind)
    ratios = [above[number] / below[number] for number in above if number in below]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios)) if ratios else None


class Figures:
    """All measurements of a run, to be asked by scenario and contestant."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self.all = tuple(measurements)
        self.scenarios = tuple(dict.fromkeys(one.scenario for one in measurements))
        self.contestants = tuple(dict.fromkeys(one.contestant for one in measurements))

    def of(self, scenario: str, contestant: str) -> tuple[Measurement, ...]:
        """Its measurements in a scenario, by round."""
        return tuple(one for one in self.all if (one.scenario, one.contestant) == (scenario, contestant))

    def ranked(self, scenario: str, kind: Kind = "value") -> list[tuple[str, float]]:
        """The contestants that have a figure, the largest first, with their medians."""
        found = [(name, median(self.of(scenario, name), kind)) for name in self.contestants]
        return sorted(
            ((name, value) for name, value in found if value is not None), key=lambda pair: -pair[1]
        )

    def errors(self) -> list[Measurement]:
        """Those that have no value."""
        return [one for one in self.all if one.error]

    @property
    def foreign(self) -> tuple[float, float]:
        """The share of a core that others took: the median of all measurements, and the worst."""
        shares = [one.foreign for one in self.all if not one.error]
        return (statistics.median(shares), max(shares)) if shares else (0.0, 0.0)


def growth(figures: Figures, contestant: str) -> Ratio | None:
    """What is left with 10,000 open connections of what a second of computing does with 1,000."""
    return ratio(figures.of("g2", contestant), figures.of("g1", contestant), "per_cpu_second")
