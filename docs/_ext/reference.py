"""The reference: public classes from their docstrings, by sphinx.ext.autodoc.

A page says `<!-- reference: wsecho.NAME -->` on a line of its own and gets the class with all its public
members, signals first; `<!-- reference: wsecho.NAME: one, two -->` gets these members only, for classes most
of whose members are Autobahn's. Which members there are is read from the source (`members`), so a new one is
on its page without anybody listing it.

Rules: reading needs no Sphinx, because the tests read as well.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zope.interface.interface import InterfaceClass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

_MARK = re.compile(r"^<!-- reference: ([\w.]+)(?:: ([\w, ]+))? -->$", re.MULTILINE)
_INDEX_MARK = "<!-- reference-index -->"
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_FIRST_SENTENCE = re.compile(r".*?[.:;](?=\s|$)|.*", re.DOTALL)
_FOLDER = Path(__file__).resolve().parent.parent / "reference" / "api"

#: Public for other modules of wsecho, not for programs: what the wire tells a socket, and how a server hands
#: one out.
INNER = {
    "wsecho.envelope.EnvelopeClient": {"closed", "message_arrived", "opened"},
    "wsecho.WebSocket": {
        "ask_proxy_user",
        "ask_user",
        "closed",
        "ended",
        "frame_arrived",
        "message_arrived",
        "of_server",
        "opened",
        "pong_arrived",
        "taken",
        "wait_to_be_taken",
    },
}


@dataclass(frozen=True, slots=True)
class Member:
    """A public member of a class."""

    name: str
    kind: str
    """``signal``, ``setting`` (a property that can be set), ``property``, ``value`` or ``method``."""
    doc: str
    arguments: str = ""
    """Of a signal: the types that its slots are called with."""


def find(path: str) -> Any:
    """The object with this full name."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@cache
def _class_bodies(module: str) -> dict[str, ast.ClassDef]:
    source = inspect.getsource(importlib.import_module(module))
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}


@cache
def _lines(module: str) -> list[str]:
    return inspect.getsource(importlib.import_module(module)).splitlines()


def _attributes(cls: type) -> Iterator[tuple[str, ast.expr | None, str]]:
    """Name, value and documentation (a string below, or ``#:`` above) of what the class's body assigns."""
    body = _class_bodies(cls.__module__)[cls.__name__].body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        else:
            continue
        doc = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            doc = str(after.value.value)
        above = _lines(cls.__module__)[node.lineno - 2].strip()
        yield name, node.value, doc or (above[2:] if above.startswith("#:") else "")


def _signal_arguments(value: ast.expr | None) -> str | None:
    """The types of a signal's arguments; None when it is no signal."""
    match value:
        case ast.Call(func=ast.Subscript(value=ast.Name(id="Signal"), slice=ast.List(elts=types))):
            return ", ".join(ast.unparse(one) for one in types)
    return None


def members(cls: type) -> list[Member]:
    """The public members of a class that wsecho defines, its bases' first, in the order of the source."""
    found: dict[str, Member] = {}
    for owner in reversed(cls.__mro__):
        if owner.__module__.partition(".")[0] != "wsecho":
            continue
        for name, value, doc in _attributes(owner):
            arguments = _signal_arguments(value)
            kind = "value" if arguments is None else "signal"
            found[name] = Member(name, kind, doc, arguments or "")
        for name, thing in vars(owner).items():
            doc = inspect.getdoc(getattr(cls, name, None)) or ""
            if isinstance(thing, property):
                found[name] = Member(name, "setting" if thing.fset else "property", doc)
            elif inspect.isfunction(thing) or isinstance(thing, classmethod | staticmethod):
                found[name] = Member(name, "method", doc)
    return [member for name, member in found.items() if not name.startswith("_")]


def is_of_autobahn(cls: type) -> bool:
    """Whether a class is built on one of Autobahn's."""
    return any(base.__module__.startswith("autobahn.") for base in cls.__mro__)


def reference(path: str, chosen: str | None = None) -> str:
    """The Markdown of one name."""
    thing = find(path)
    if isinstance(thing, InterfaceClass):
        return _interface(path, thing)
    if not isinstance(thing, type):
        return _rst(f".. autofunction:: {path}")
    if issubclass(thing, Enum):
        return _rst(f".. autoclass:: {path}\n   :no-members:") + "\n\n" + _enumeration(thing)
    known = members(thing)
    if chosen is None:
        hidden = INNER.get(path, set())
        known = [member for member in known if member.name not in hidden]
        if is_of_autobahn(thing):
            # Its bases are on the page, too, or Autobahn's affair: only what it adds.
            known = [member for member in known if member.name in vars(thing)]
    else:
        by_name = {member.name: member for member in known}
        known = [by_name[name] for name in chosen.split(", ")]
    parts = [_rst(f".. autoclass:: {path}\n   :no-members:")]
    for title, kind in _GROUPS:
        directives = [_directive(path, member) for member in known if member.kind == kind]
        if directives:
            parts += [f"```{{rubric}} {title}\n```", _rst("\n\n".join(directives))]
    return "\n\n".join(parts)


_GROUPS = (
    ("Signals", "signal"),
    ("Values", "value"),
    ("Properties that can be set", "setting"),
    ("Properties", "property"),
    ("Methods", "method"),
)


def _directive(path: str, member: Member) -> str:
    if member.kind == "signal":
        # Without documentation of its own, autodoc would give that of the class Signal.
        directive = "autoattribute" if member.doc else "py:attribute"
        return f".. {directive}:: {path}.{member.name}\n   :annotation: ({member.arguments})"
    if member.kind == "value":
        return f".. autoattribute:: {path}.{member.name}\n   :no-value:"
    kind = "method" if member.kind == "method" else "property"
    return f".. auto{kind}:: {path}.{member.name}"


def _enumeration(cls: type[Enum]) -> str:
    documentation = {name: " ".join(doc.split()) for name, _, doc in _attributes(cls)}
    is_documented = any(documentation.values())
    lines = (
        ["| name | value | meaning |", "|---|---|---|"]
        if is_documented
        else ["| name | value |", "|---|---|"]
    )
    for name, one in cls.__members__.items():
        meaning = f" {documentation[name]} |" if is_documented else ""
        lines.append(f"| `{name}` | `{one.value}` |{meaning}")
    return "\n".join(lines)


def _interface(path: str, interface: InterfaceClass) -> str:
    lines = [f".. py:class:: {path}", "", *_indented(inspect.cleandoc(interface.__doc__ or ""))]
    for name, method in interface.namesAndDescriptions():
        lines += ["", f"   .. py:method:: {name}{method.getSignatureString()}", ""]
        lines += _indented(inspect.cleandoc(method.__doc__ or ""), "      ")
    return _rst("\n".join(lines))


def _indented(text: str, by: str = "   ") -> list[str]:
    return [by + line if line else "" for line in text.splitlines()]


def _rst(text: str) -> str:
    return f"```{{eval-rst}}\n{text}\n```"


def fill(page: str) -> str:
    """Return `page` with every mark replaced by its reference."""
    page = _MARK.sub(lambda mark: reference(mark[1], mark[2]), page)
    return page.replace(_INDEX_MARK, index()) if _INDEX_MARK in page else page


def marked(page: str) -> list[str]:
    """The full names that `page` has a reference of."""
    return [mark[1] for mark in _MARK.finditer(page)]


def pages() -> dict[str, str]:
    """The text of each page of the reference but the index, by name, in the order of the index."""
    names = re.findall(r"^(\w+)$", (_FOLDER / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {name: (_FOLDER / f"{name}.md").read_text(encoding="utf-8") for name in names}


def summary(path: str) -> str:
    """The first sentence of a docstring, as reStructuredText."""
    doc = " ".join(inspect.cleandoc(find(path).__doc__ or "").split("\n\n")[0].split())
    match = _FIRST_SENTENCE.match(doc)
    return match[0].rstrip(".:;") if match else doc


def index() -> str:
    """Every name that has a reference, by page."""
    parts = []
    for name, page in pages().items():
        title = _TITLE.search(page)
        assert title is not None, name
        lines = [f"* :py:obj:`{path} <{path}>`: {summary(path)}." for path in marked(page)]
        parts += [f"**[{title[1]}]({name}.md)**", _rst("\n".join(lines))]
    return "\n\n".join(parts)


def _source_read(app: Sphinx, _name: str, source: list[str]) -> None:
    for mark in _MARK.finditer(source[0]):
        app.env.note_dependency(str(importlib.import_module(find(mark[1]).__module__).__file__))
    app.env.note_dependency(__file__)
    source[0] = fill(source[0])


def _plain_interfaces(
    _app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Interfaces in annotations by their name, not by their repr."""

    def plain(text: str | None) -> str | None:
        return None if text is None else re.sub(r"<InterfaceClass [\w.]*?(\w+)>", r"\1", text)

    return plain(signature), plain(returns)


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("source-read", _source_read)
    app.connect("autodoc-process-signature", _plain_interfaces)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
