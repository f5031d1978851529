"""Curves over time as SVG, to stand in a page: lines in the page's own colour, so that it does not matter
whether that is dark or light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Panel", "curves"]

_WIDTH, _HEIGHT = 720, 150
_LEFT, _TOP, _BOTTOM = 64, 26, 26
_STEPS = (1, 2, 2.5, 5)


@dataclass(frozen=True, slots=True)
class Panel:
    """One curve with its own scale.

    :ivar title: what is shown, with its unit
    :ivar points: seconds and values, at least one
    """

    title: str
    points: Sequence[tuple[float, float]]


def _round_up(value: float) -> float:
    """The next number that reads well on an axis."""
    power = 1.0
    while power * 10 <= value:
        power *= 10
    return next((power * step for step in _STEPS if power * step >= value), power * 10)


def _panel(panel: Panel, top: int, seconds: float) -> list[str]:
    highest = _round_up(max([1.0, *(value for _, value in panel.points)]))
    bottom = top + _HEIGHT - _BOTTOM
    height, width = bottom - top - _TOP, _WIDTH - _LEFT - 8

    def place(time: float, value: float) -> str:
        return f"{_LEFT + width * time / seconds:.1f},{bottom - height * value / highest:.1f}"

    lines = [f'<text x="0" y="{top + 14}">{escape(panel.title)}</text>']
    for share in (0.0, 0.5, 1.0):
        y = bottom - height * share
        lines.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - 8}"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{highest * share:g}</text>')
    lines.append(f'<polyline points="{" ".join(place(*point) for point in panel.points)}"/>')
    return lines


def curves(label: str, panels: Sequence[Panel]) -> str:
    """The panels, one below the other, over the same time.

    :param label: what a reader hears who does not see it
    """
    seconds = max(1.0, *(time for panel in panels for time, _ in panel.points))
    lines = []
    for number, panel in enumerate(panels):
        lines += _panel(panel, number * _HEIGHT, seconds)
    height = len(panels) * _HEIGHT + 10
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _LEFT + (_WIDTH - _LEFT - 8) * share
        lines.append(
            f'<text x="{x:.0f}" y="{height - 14}" text-anchor="middle">{seconds * share:.0f} s</text>'
        )
    return "\n".join(
        [
            f'<svg class="curves" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}" '
            f'style="max-width: {_WIDTH}px">',
            "<style>.curves polyline{fill:none;stroke:currentColor;stroke-width:1.5}"
            ".curves .grid{stroke:currentColor;stroke-opacity:.2}"
            ".curves text{fill:currentColor;font-size:12px}</style>",
            *lines,
            "</svg>",
        ]
    )
