"""Bar charts as SVG, readable on light and dark pages.

Pure, and without a library: rectangles and texts. A drawing brings its own background and asks the reader's
preference for dark; an image cannot see what colours the page around it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["Bar", "Panel", "draw"]

_WIDTH = 760
_MARGIN = 20
_GAP = 30
_LABEL = 126
_VALUE = 58
_ROW = 20
_BAR = 13
_TITLE = 34

_STYLE = (
    "svg{--ground:#fff;--text:#24292f;--quiet:#57606a;--bar:#9aa7b4;--ours:#1a6fb5;--limit:#d0d7de}"
    "@media(prefers-color-scheme:dark){svg{--ground:#16191d;--text:#e6edf3;--quiet:#9da7b1;--bar:#5b6875;"
    "--ours:#58a6ff;--limit:#39424c}}"
    "text{font:12px system-ui,sans-serif;fill:var(--text)}"
    ".title{font-weight:600;font-size:13px}.unit{fill:var(--quiet);font-size:11px}"
    ".value{fill:var(--quiet)}.ground{fill:var(--ground)}"
    ".bar{fill:var(--bar)}.ours{fill:var(--ours)}.limit{fill:var(--limit)}"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One server: its figure, and as which of the three kinds it is drawn (``bar``, ``ours``, ``limit``)."""

    name: str
    value: float
    kind: str = "bar"


@dataclass(frozen=True, slots=True)
class Panel:
    """One scenario; bars in the order to show."""

    title: str
    unit: str
    bars: tuple[Bar, ...]

    @property
    def height(self) -> int:
        """In pixels."""
        return _TITLE + _ROW * len(self.bars)


def short(value: float) -> str:
    """Three digits and k or M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            value, suffix = value / size, letter
            break
    else:
        suffix = ""
    text = f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return text + suffix


def _panel(panel: Panel, left: int, top: int, width: int) -> list[str]:
    most = max((bar.value for bar in panel.bars), default=0.0) or 1.0
    room = width - _LABEL - _VALUE
    lines = [
        f'<text class="title" x="{left}" y="{top + 12}">{escape(panel.title)}</text>',
        f'<text class="unit" x="{left}" y="{top + 26}">{escape(panel.unit)}</text>',
    ]
    for place, bar in enumerate(panel.bars):
        y = top + _TITLE + place * _ROW
        length = max(1.0, bar.value / most * room)
        start, base, end = left + _LABEL, y + 11, left + _LABEL + length + 5
        lines += [
            f'<text x="{start - 6}" y="{base}" text-anchor="end">{escape(bar.name)}</text>',
            f'<rect class="{bar.kind}" x="{start}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2"/>',
            f'<text class="value" x="{end:.1f}" y="{base}">{short(bar.value)}</text>',
        ]
    return lines


def draw(title: str, panels: Sequence[Panel]) -> str:
    """One drawing of panels, two beside each other."""
    width = (_WIDTH - 2 * _MARGIN - _GAP) // 2
    lines: list[str] = []
    top = _MARGIN
    for first in range(0, len(panels), 2):
        row = panels[first : first + 2]
        for place, panel in enumerate(row):
            lines += _panel(panel, _MARGIN + place * (width + _GAP), top, width)
        top += max(panel.height for panel in row) + _GAP
    height = top - _GAP + _MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
            f'height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="ground" width="{_WIDTH}" height="{height}" rx="8"/>',
            *lines,
            "</svg>",
            "",
        ]
    )
