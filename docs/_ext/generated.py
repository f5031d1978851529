"""Parts of pages that are made from the tables of the code, so that they cannot differ from it.

A page says `<!-- generated: NAME -->` on a line of its own, and while Sphinx reads the page that line is
replaced with the Markdown that the function of this name in `PARTS` returns. Nothing generated is committed.
"""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout, suppress
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from wsecho.app.commands import COMMANDS
from wsecho.policy import options
from wsecho.policy.close_codes import CLOSE_CODES
from wsecho.policy.end_reasons import END_REASONS
from wsecho.policy.envelopes import ENVELOPES, ERRORS, Direction
from wsecho.policy.knobs import BAD_FRAMES, COMBINATIONS, KNOBS
from wsecho.policy.lifecycle import TRANSITIONS, Event, Phase
from wsecho.policy.log_keys import EVENTS, LOG_KEYS
from wsecho.policy.metrics import METRICS
from wsecho.policy.settings import Settings, option_name
from wsecho.web import operations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sphinx.application import Sphinx

_MARK = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)
_CODE = re.compile(r"(`[^`]+`|(?<!\S)--[a-z][a-z-]*(?:=[a-z-]+)?)")
_SPECIAL = re.compile(r"[*_<\[\]|\\`]")
#: The others take the options of the server.
COMMANDS_WITH_OPTIONS = ("make-certificate", "connect")
#: Of the drawing, in pixels: a phase's box, and the distance from one to the next.
_WIDTH, _HEIGHT, _PITCH = 110, 36, 92
_LEFT, _TOP = 8, 8
_RIGHT = _LEFT + _WIDTH
#: Where the first arrow runs that passes phases over, right of the labels, and how far they are apart.
_LANES, _LANE = 470, 18


def _prose(text: str) -> str:
    """Plain text of a table as Markdown: options become code, nothing else becomes markup."""
    parts = _CODE.split(text)
    parts[::2] = [_SPECIAL.sub(r"\\\g<0>", part) for part in parts[::2]]
    parts[1::2] = [f"`{part.strip('`')}`" for part in parts[1::2]]
    return "".join(parts)


def _anchor(row: options.Option) -> str:
    return f"option-{row.name}"


def _usage(row: options.Option) -> str:
    return f"--{row.name}={row.placeholder}" if row.placeholder else f"--{row.name}"


def _default(row: options.Option) -> str:
    """A value as one types it; words, such as "the value of ..." and "none", as prose."""
    is_word = row.default_text or row.default in (None, (), "")
    return _prose(row.shown_default) if is_word else f"`{row.shown_default}`"


def option_overview() -> str:
    """Every option, as a table with its default and what 0 means."""
    lines = ["| option | default | 0 means |", "|---|---|---|"]
    lines += [
        f"| [`--{row.name}`](#{_anchor(row)}) | {_default(row)} | {_prose(row.zero or '')} |"
        for row in options.TABLE
    ]
    return "\n".join(lines)


def option_details() -> str:
    """A section for every option: meaning, defaults, reason."""
    return "\n\n".join(_section(row) for row in options.TABLE)


def _section(row: options.Option) -> str:
    lines = [f"({_anchor(row)})=", f"### `{_usage(row)}`", "", _prose(row.meaning)]
    if row.repeatable:
        lines.append("It may be given more than once.")
    lines += ["", f":Default: {_default(row)}"]
    if row.library is not None and row.library != row.default:
        lines.append(f":In the library: `{row.format(row.library)}`")
    if row.zero is not None:
        lines.append(f":0 means: {_prose(row.zero)}")
    lines += [f":Qt's default: {_prose(row.qt)}", f":Reason: {_prose(row.reason)}"]
    return "\n".join(lines)


def limits() -> str:
    """The limits and timers of `Settings` as a table: Qt, library, command line, reason."""
    lines = [
        "| in `Settings` | Qt | library | command line | 0 means | reason |",
        "|---|---|---|---|---|---|",
    ]
    for field in fields(Settings):
        row = options.option(option_name(field.name))
        library = _default(row) if row.library is None else f"`{row.format(row.library)}`"
        cells = (_prose(row.qt), library, _default(row), _prose(row.zero or ""), _prose(row.reason))
        lines.append(f"| `{field.name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def end_reasons() -> str:
    """Why connections end, as a table."""
    lines = ["| reason | whose doing | code | status | meaning |", "|---|---|---|---|---|"]
    for row in END_REASONS:
        cells = (
            f"`{row.reason.value}`",
            row.blame.value,
            str(row.code or ""),
            str(row.status or ""),
            row.meaning,
        )
        lines.append("| " + " | ".join(map(_prose, cells)) + " |")
    return "\n".join(lines)


def close_codes() -> str:
    """Close codes, who may send them, and when wsecho does, as a table."""
    lines = [
        "| code | name | tells the receiver | may be sent by | wsecho sends it when |",
        "|---|---|---|---|---|",
    ]
    for row in CLOSE_CODES:
        codes = str(row.first) if row.first == row.last else f"{row.first} to {row.last}"
        cells = (codes, row.name, row.meaning, row.sender.value, row.sent)
        lines.append("| " + " | ".join(map(_prose, cells)) + " |")
    return "\n".join(lines)


def log_events() -> str:
    """What lines of the log in JSON tell of, as a table."""
    lines = ["| event | when | keys |", "|---|---|---|"]
    lines += [
        f"| `{row.name}` | {_prose(row.meaning)} | {', '.join(f'`{key}`' for key in row.keys)} |"
        for row in EVENTS.values()
    ]
    return "\n".join(lines)


def log_keys() -> str:
    """The keys of lines of the log in JSON, as a table."""
    lines = ["| key | type | meaning |", "|---|---|---|"]
    lines += [f"| `{key.name}` | {key.shown_type} | {_prose(key.meaning)} |" for key in LOG_KEYS.values()]
    return "\n".join(lines)


def knobs() -> str:
    """What the programmable echo can be asked for, as a table."""
    lines = ["| knob | accepted | what happens | example |", "|---|---|---|---|"]
    for knob in KNOBS.values():
        cells = (_prose(knob.accepted), _prose(knob.effect), f"`/test?{knob.example}`")
        # A bar would end the cell.
        usage = knob.usage.replace("|", r"\|")
        lines.append(f"| `{usage}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def bad_frames() -> str:
    """The bad frames of the programmable echo, as a table."""
    lines = ["| value | the frame |", "|---|---|"]
    lines += [f"| `{name}` | {_prose(what)} |" for name, what in BAD_FRAMES.items()]
    return "\n".join(lines)


def knob_rules() -> str:
    """What makes no sense together, as a list."""
    return "\n".join(f"* {_prose(rule)};" for rule, _ in COMBINATIONS)[:-1] + "."


def life_cycle() -> str:
    """The phases of a connection and what leads from one to the next, as a table."""
    lines = ["| phase | event | next phase |", "|---|---|---|"]
    lines += [
        f"| {before.value} | {event.value} | {after.value} |"
        for (before, event), after in TRANSITIONS.items()
    ]
    return "\n".join(lines)


def _edges() -> Mapping[tuple[Phase, Phase], list[Event]]:
    edges: dict[tuple[Phase, Phase], list[Event]] = {}
    for (before, event), after in TRANSITIONS.items():
        if before is not after:
            edges.setdefault((before, after), []).append(event)
    return edges


def _label(x: float, y: float, events: Iterable[Event]) -> str:
    return f'<text x="{x}" y="{y}">{escape(", ".join(event.value for event in events))}</text>'


def _arrow(path: str) -> str:
    return f'<path d="{path}" marker-end="url(#life-cycle-arrow)"/>'


def life_cycle_diagram() -> str:
    """The same as a drawing: SVG without blank lines, so that it can stand in Markdown.

    Phases stand one below the other in the order of their lives. What leads to the next one is an arrow down;
    what passes phases over leaves at the right and comes back in at the right. What changes nothing is left
    out.
    """
    phases = list(Phase)
    middle = {phase: _TOP + place * _PITCH + _HEIGHT // 2 for place, phase in enumerate(phases)}
    arrows, texts = [], []
    passing: list[tuple[Phase, Phase, list[Event]]] = []
    for (before, after), events in _edges().items():
        if phases.index(after) == phases.index(before) + 1:
            x, y = _LEFT + _WIDTH // 2, middle[before] + _HEIGHT // 2
            arrows.append(_arrow(f"M{x} {y}V{middle[after] - _HEIGHT // 2 - 1}"))
            texts.append(_label(x + 8, (middle[before] + middle[after]) // 2 + 4, events))
        else:
            passing.append((before, after, events))
    # Shorter ways run further in, so that lanes cross as little as may be.
    passing.sort(key=lambda way: phases.index(way[1]) - phases.index(way[0]))
    for lane, (before, after, events) in enumerate(passing):
        others = [way for way in passing if way[0] is before]
        upper = len(others) > 1 and others[0][1] is not after
        y = middle[before] + (-7 if upper else 7)
        x = _LANES + lane * _LANE
        arrows.append(_arrow(f"M{_RIGHT} {y}H{x}V{middle[after]}H{_RIGHT + 1}"))
        texts.append(_label(_RIGHT + 8, y - 5 if upper else y + 14, events))
    boxes = [
        f'<rect x="{_LEFT}" y="{y - _HEIGHT // 2}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>'
        f'<text class="phase" x="{_LEFT + _WIDTH // 2}" y="{y + 5}">{escape(phase.value)}</text>'
        for phase, y in middle.items()
    ]
    width = _LANES + len(passing) * _LANE
    height = _TOP * 2 + (len(phases) - 1) * _PITCH + _HEIGHT
    return "\n".join(
        [
            f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="The phases of a connection" '
            f'style="max-width: {width}px">',
            "<style>.life-cycle path,.life-cycle rect{fill:none;stroke:currentColor}"
            ".life-cycle text{fill:currentColor;font-size:12px}.life-cycle .phase{text-anchor:middle;"
            "font-size:14px;font-weight:600}</style>",
            '<defs><marker id="life-cycle-arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
            'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>',
            '<g class="life-cycle">',
            *arrows,
            *boxes,
            *texts,
            "</g>",
            "</svg>",
        ]
    )


def metrics() -> str:
    """Every metric with its labels, as a table."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for row in METRICS:
        labels = ", ".join(
            f"`{label.name}`: {_prose(label.meaning)}"
            + (f" ({', '.join(f'`{value}`' for value in label.values)})" if 0 < len(label.values) < 8 else "")
            for label in row.labels
        )
        lines.append(f"| `{row.name}` | {row.kind.value} | {labels} | {_prose(row.meaning)} |")
    return "\n".join(lines)


def admin_operations() -> str:
    """Every operation of the API with its parameters, as a table."""
    lines = ["| method and path | parameters | what it does |", "|---|---|---|"]
    for row in operations.OPERATIONS:
        parameters = ", ".join(f"`{parameter.name}`" for parameter in row.parameters)
        lines.append(f"| `{row.method} {row.path}` | {parameters} | {_prose(row.meaning)} |")
    return "\n".join(lines)


def own_help() -> str:
    """What commands with options of their own say to ``--help``, a section for each."""
    parts = []
    for name in COMMANDS_WITH_OPTIONS:
        written = io.StringIO()
        with redirect_stdout(written), suppress(SystemExit):
            COMMANDS[name][0](["--help"])
        parts += [f"### `wsecho {name}`", f"```text\n{written.getvalue().strip()}\n```"]
    return "\n\n".join(parts)


def _envelopes(direction: Direction) -> str:
    parts = []
    for row in ENVELOPES:
        if row.direction is not direction:
            continue
        parts.append(f"### `{row.name}`\n\n{row.meaning}")
        if row.fields:
            lines = ["| member | | |", "|---|---|---|"]
            lines += [
                f"| `{field.name}` | {_prose(field.kind)} | {_prose(field.meaning)} |" for field in row.fields
            ]
            parts.append("\n".join(lines))
    return "\n\n".join(parts)


def envelope_errors() -> str:
    """The codes of ``error``, as a table."""
    lines = ["| code | meaning |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{code}` | {_prose(meaning)} |" for code, meaning in ERRORS.items())])


PARTS: Mapping[str, Callable[[], str]] = {
    "option-overview": option_overview,
    "option-details": option_details,
    "limits": limits,
    "end-reasons": end_reasons,
    "close-codes": close_codes,
    "log-events": log_events,
    "log-keys": log_keys,
    "knobs": knobs,
    "bad-frames": bad_frames,
    "knob-rules": knob_rules,
    "life-cycle": life_cycle,
    "life-cycle-diagram": life_cycle_diagram,
    "metrics": metrics,
    "operations": admin_operations,
    "own-help": own_help,
    "envelopes-of-server": lambda: _envelopes(Direction.SERVER),
    "envelopes-of-client": lambda: _envelopes(Direction.CLIENT),
    "envelope-errors": envelope_errors,
}


def fill(page: str) -> str:
    """Return `page` with every mark replaced by its part; raises KeyError for a part that nobody makes."""
    return _MARK.sub(lambda mark: PARTS[mark[1]](), page)


def _source_read(app: Sphinx, _name: str, source: list[str]) -> None:
    if _MARK.search(source[0]):
        tables = (
            "options",
            "settings",
            "close_codes",
            "end_reasons",
            "lifecycle",
            "knobs",
            "log_keys",
            "envelopes",
        )
        for name in (*tables, "metrics"):
            app.env.note_dependency(str(Path(options.__file__).with_name(f"{name}.py")))
        app.env.note_dependency(str(operations.__file__))
        app.env.note_dependency(__file__)
        source[0] = fill(source[0])


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.connect("source-read", _source_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
