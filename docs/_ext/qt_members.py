"""The tables of docs/reference/qt.md, from docs/qt_members.toml, which says what its fields are.

The page says `<!-- qt-members -->` where the classes stand, and `<!-- qt-differences -->` for what behaves
differently. Defaults that stand in the option table are read there and nowhere else.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsecho.policy.options import Value, option
from wsecho.policy.settings import Settings

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DATA = Path(__file__).resolve().parent.parent / "qt_members.toml"

_KINDS = {
    "class": "class",
    "enumeration": "enumeration",
    "method": "method",
    "property": "property",
    "setting": "property to set",
    "signal": "signal",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One row."""

    qt: tuple[str, ...]
    form: str = ""
    ours: str = ""
    kind: str = ""
    qt_default: str = ""
    default: str = ""
    option: str = ""
    note: str = ""
    shown_by: tuple[str, ...] = ()
    declared: str = ""
    not_applicable: str = ""

    @property
    def default_here(self) -> str:
        """What a new object has here; empty when there is nothing to compare."""
        return shown(library_default(self.option)) if self.option else self.default or self.qt_default

    @property
    def default_in_qt(self) -> str:
        """The same in Qt, for people."""
        return option(self.option).qt if self.option else self.qt_default


@dataclass(frozen=True, slots=True, kw_only=True)
class QtClass:
    """A class or enumeration of Qt and its rows."""

    qt: str
    ours: str
    about: str = ""
    members: tuple[Member, ...] = ()
    values: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that behaves differently."""

    topic: str
    qt: str
    ours: str
    why: str
    shown_by: tuple[str, ...]


def read() -> tuple[list[QtClass], list[Difference]]:
    """The data; raises TypeError for a field that nobody knows."""
    data: dict[str, list[dict[str, Any]]] = tomllib.loads(DATA.read_text(encoding="utf-8"))
    classes = [
        QtClass(
            members=tuple(Member(**_frozen(row)) for row in one.pop("member", ())),
            values=one.pop("values", {}),
            **one,
        )
        for one in data.pop("class")
    ]
    differences = [Difference(**_frozen(row)) for row in data.pop("difference")]
    if data:
        raise TypeError(f"{DATA.name}: unknown tables {sorted(data)}")
    return classes, differences


def _frozen(row: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def library_default(name: str) -> Value:
    """What an option is in the library, from the option table."""
    row = option(name)
    if row.library is not None:
        return row.library
    of_settings: Value = getattr(Settings(), name.replace("-", "_"))
    return of_settings


def shown(value: object) -> str:
    """A default as the data writes it."""
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


# -- as Markdown ---------------------------------------------------------------------------------------------


def members() -> str:
    """Every class with its table."""
    classes, _ = read()
    return "\n\n".join(_section(one) for one in classes)


def _section(one: QtClass) -> str:
    parts = [f"### `{one.qt}`", one.about]
    if one.members:
        lines = ["| Qt → here | default, differences, *shown by* |", "|---|---|"]
        parts.append(_table([*lines, *(_row(one, member) for member in one.members)]))
    if one.values:
        lines = [f"| Qt | `{one.ours.removeprefix('wsecho.')}` |", "|---|---|"]
        parts.append(_table([*lines, *(f"| `{qt}` | `{ours}` |" for qt, ours in one.values.items())]))
    return "\n\n".join(filter(None, parts))


def _table(lines: list[str]) -> str:
    return "```{rst-class} compact\n```\n\n" + "\n".join(lines)


def _row(one: QtClass, member: Member) -> str:
    names = f"`{member.form}`" if member.form else "<br>".join(f"`{name}`" for name in member.qt)
    if member.not_applicable:
        return f"| {names}<br>→ not applicable | {member.not_applicable} |"
    path = member.ours if "." in member.ours else f"{one.ours}.{member.ours}"
    here = f"{{py:obj}}`{member.ours.removeprefix('wsecho.')} <{path}>`, {_KINDS[member.kind]}"
    facts = []
    if member.default_here:
        facts.append(_default(member))
    if member.note:
        facts.append(member.note)
    if member.declared:
        facts.append(f"**Declared**; works when {member.declared}.")
    return f"| {names}<br>→ {here} | {' '.join([*facts, _tests(member.shown_by)])} |"


def _default(member: Member) -> str:
    here = (
        option(member.option).format(library_default(member.option)) if member.option else member.default_here
    )
    if here == member.default_in_qt:
        return f"Default {_value(here)}."
    return f"Default {_value(here)}, in Qt {_value(member.default_in_qt)}."


def _value(text: str) -> str:
    """Prose stays prose."""
    return text if " " in text and not text.startswith(("[", '"')) else f"`{text}`"


def _tests(names: tuple[str, ...]) -> str:
    return "*Shown by* " + ", ".join(f"`{name.removeprefix('tests.')}`" for name in names) + "."


def differences() -> str:
    """What behaves differently, as a table."""
    _, rows = read()
    lines = ["| | Qt | here | why, *shown by* |", "|---|---|---|---|"]
    cells = ((row.topic, row.qt, row.ours, f"{row.why}. {_tests(row.shown_by)}") for row in rows)
    return _table([*lines, *(f"| {' | '.join(row)} |" for row in cells)])


PARTS = {"<!-- qt-members -->": members, "<!-- qt-differences -->": differences}


def fill(page: str) -> str:
    """Return `page` with its tables."""
    for mark, part in PARTS.items():
        if mark in page:
            page = page.replace(mark, part())
    return page


def _source_read(app: Sphinx, _name: str, source: list[str]) -> None:
    if any(mark in source[0] for mark in PARTS):
        app.env.note_dependency(str(DATA))
        app.env.note_dependency(__file__)
        source[0] = fill(source[0])


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.connect("source-read", _source_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
