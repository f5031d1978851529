"""The command line: `twisted.python.usage.Options` made from the option table.

Rules of this file:

- no option is written here: each row of `wsecho.policy.options` becomes a handler and a paragraph of the
  help text;
- what is wrong ends the program with one line and status 1. That is SystemExit, not `usage.UsageError`: for
  the latter, twistd prints its own help of a hundred lines before the line that matters.
"""

from __future__ import annotations

import textwrap
from importlib import metadata
from typing import TYPE_CHECKING, Any

from twisted.python import usage

from wsecho.app.configuration import ConfigurationError, read_configuration
from wsecho.policy.options import NOT_ALLOWED, TABLE, Kind
from wsecho.policy.text import escape_peer_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wsecho.app.configuration import Configuration
    from wsecho.policy.options import Option

__all__ = ["CommandOptions", "Options", "help_for", "version"]

_WIDTH = 80


def version() -> str:
    """Return the version of wsecho that is installed; "unknown" where it runs without being installed."""
    try:
        return metadata.version("wsecho")
    except metadata.PackageNotFoundError:
        return "unknown"


def help_for(row: Option, width: int = _WIDTH) -> str:
    """Return the paragraph of one option: how it is written, what it does, its default, and what 0 means."""
    head = f"--{row.name}={row.placeholder}" if row.placeholder else f"--{row.name}"
    facts = [row.meaning]
    if row.repeatable:
        facts.append("May be repeated.")
    facts.append(f"Default: {row.shown_default}.")
    if row.zero is not None:
        facts.append("0 is not allowed." if row.zero == NOT_ALLOWED else f"0: {row.zero}.")
    body = textwrap.fill(
        " ".join(facts),
        width,
        initial_indent="        ",
        subsequent_indent="        ",
        break_on_hyphens=False,
        break_long_words=False,
    )
    return f"    {head}\n{body}\n"


class CommandOptions(usage.Options):
    """The options of any command."""

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"wsecho {version()}")  # noqa: T201
        raise SystemExit(0)


class Options(CommandOptions):
    """The options of ``twistd wsecho``.

    After `parseOptions`, `configuration` holds what they and the file of ``--config`` say.
    """

    configuration: Configuration

    def __init__(self) -> None:
        self.given: dict[str, list[str]] = {}
        """The texts of each option that was given, in order."""
        super().__init__()  # type: ignore[no-untyped-call]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse and judge the arguments; SystemExit with one line when something is wrong."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except ConfigurationError as error:
            raise SystemExit(f"wsecho: {error}") from None
        except usage.UsageError as error:
            raise SystemExit(f"wsecho: {escape_peer_text(str(error))}; --help lists the options") from None

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what is no option."""
        if arguments:
            raise usage.UsageError(f"{arguments[0]} is no option")

    def postOptions(self) -> None:
        """Make the configuration."""
        self.configuration = read_configuration(self.given)

    def getUsage(self, width: int | None = None) -> str:
        """Return the help text: every row of the table in its order, which goes from what is needed first to
        what few need."""
        paragraphs = [help_for(row, width or _WIDTH) for row in TABLE]
        paragraphs.append("    --version\n        Print the version and exit.\n")
        paragraphs.append("    --help\n        Print this and exit.\n")
        return "Options:\n" + "".join(paragraphs)


def _handler(row: Option) -> Callable[..., None]:
    # usage.Options tells by the number of arguments whether an option takes a value.
    if row.kind is Kind.FLAG:

        def flag(self: Options) -> None:
            self.given.setdefault(row.name, []).append("true")

        handler: Callable[..., None] = flag
    else:

        def parameter(self: Options, value: Any) -> None:
            self.given.setdefault(row.name, []).append(value)

        handler = parameter
    handler.__doc__ = row.meaning
    return handler


for _row in TABLE:
    setattr(Options, f"opt_{_row.name.replace('-', '_')}", _handler(_row))
