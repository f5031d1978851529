"""Parts of pages that are made from the tables of the code, so that they cannot differ from it.

A page says `<!-- generated: NAME -->` on a line of its own, and while Sphinx reads the page that line is
replaced with the Markdown that the function of this name in `PARTS` returns. Nothing generated is committed.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from wsecho.policy import options
from wsecho.policy.close_codes import CLOSE_CODES
from wsecho.policy.end_reasons import END_REASONS
from wsecho.policy.lifecycle import TRANSITIONS
from wsecho.policy.settings import Settings, option_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sphinx.application import Sphinx

_MARK = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)
_CODE = re.compile(r"(`[^`]+`|(?<!\S)--[a-z][a-z-]*(?:=[a-z-]+)?)")
_SPECIAL = re.compile(r"[*_<\[\]|\\`]")


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
    """Every option that works, as a table with its default and what 0 means."""
    lines = ["| option | default | 0 means |", "|---|---|---|"]
    lines += [
        f"| [`--{row.name}`](#{_anchor(row)}) | {_default(row)} | {_prose(row.zero or '')} |"
        for row in options.TABLE
        if row.enforced
    ]
    return "\n".join(lines)


def option_details() -> str:
    """A section for every option that works: meaning, defaults, reason."""
    return "\n\n".join(_section(row) for row in options.TABLE if row.enforced)


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


def reserved_options() -> str:
    """The options that have a name but no effect yet, as a table."""
    lines = ["| option | will mean |", "|---|---|"]
    lines += [f"| `--{row.name}` | {_prose(row.meaning)} |" for row in options.TABLE if not row.enforced]
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


def life_cycle() -> str:
    """The phases of a connection and what leads from one to the next, as a table."""
    lines = ["| phase | event | next phase |", "|---|---|---|"]
    lines += [
        f"| {before.value} | {event.value} | {after.value} |"
        for (before, event), after in TRANSITIONS.items()
    ]
    return "\n".join(lines)


PARTS: Mapping[str, Callable[[], str]] = {
    "option-overview": option_overview,
    "option-details": option_details,
    "reserved-options": reserved_options,
    "limits": limits,
    "end-reasons": end_reasons,
    "close-codes": close_codes,
    "life-cycle": life_cycle,
}


def fill(page: str) -> str:
    """Return `page` with every mark replaced by its part; raises KeyError for a part that nobody makes."""
    return _MARK.sub(lambda mark: PARTS[mark[1]](), page)


def _source_read(app: Sphinx, _name: str, source: list[str]) -> None:
    if _MARK.search(source[0]):
        for name in ("options", "settings", "close_codes", "end_reasons", "lifecycle"):
            app.env.note_dependency(str(Path(options.__file__).with_name(f"{name}.py")))
        app.env.note_dependency(__file__)
        source[0] = fill(source[0])


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.connect("source-read", _source_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
