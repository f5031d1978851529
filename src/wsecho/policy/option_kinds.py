"""One option: what its row holds, and how its value is read and written.

Rules of this file:

- a value is read by its row alone (`Option.parse` for the command line, `Option.from_toml` for the file), and
  what `Option.format` writes is what `Option.parse` reads;
- every error is a `ValueError` of one line that says what is accepted. The option's name and the value are
  added by whoever knows where the value came from;
- what needs more than the row to be judged (an origin, a Host value, an endpoint description) is judged
  elsewhere.

This file knows no single option: those stand in `wsecho.policy.options`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from wsecho.policy import quantities

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NOT_ALLOWED", "Kind", "Option", "Scalar", "Value"]

Scalar: TypeAlias = bool | int | float | str
#: None: not set. A tuple: what a repeatable option holds.
Value: TypeAlias = Scalar | tuple[str, ...] | None

#: `Option.zero` of an option whose value must not be 0.
NOT_ALLOWED: Final = "not allowed"


class Kind(StrEnum):
    """How the value of an option is read, and what it is after that."""

    FLAG = "flag"
    """Given or not; `bool`."""
    SIZE = "size"
    """Bytes; `int`."""
    DURATION = "duration"
    """Seconds; `float`."""
    COUNT = "count"
    """A whole number; `int`."""
    PORT = "port"
    """A TCP port; `int`."""
    CHOICE = "choice"
    """One of `Option.choices`; `str`."""
    TEXT = "text"
    """Free text; `str`."""
    TOKEN = "token"
    """A name as HTTP writes them (RFC 7230 3.2.6); `str`."""
    ENDPOINT = "endpoint"
    """A Twisted endpoint description; `str`."""
    ADDRESS = "address"
    """An IP address of this machine; `str`."""
    ORIGIN = "origin"
    """A value of `wsecho.policy.origins.AllowedOrigins`; `str`."""
    HOST = "host"
    """A value of `wsecho.policy.hosts.AllowedHosts`; `str`."""
    CIDR = "cidr"
    """A network of IP addresses, or ``unix`` for peers on unix sockets; `str`."""
    FILE = "file"
    """The path of a file; `str`."""
    URL = "url"
    """`str`."""
    WORKERS = "workers"
    """A number of processes or ``auto``; `int` or `str`."""


_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

_METAVARS: Mapping[Kind, str] = {
    Kind.FLAG: "",
    Kind.SIZE: "SIZE",
    Kind.DURATION: "DURATION",
    Kind.COUNT: "N",
    Kind.PORT: "N",
    Kind.CHOICE: "",
    Kind.TEXT: "TEXT",
    Kind.TOKEN: "NAME",
    Kind.ENDPOINT: "ENDPOINT",
    Kind.ADDRESS: "ADDR",
    Kind.ORIGIN: "ORIGIN",
    Kind.HOST: "HOST",
    Kind.CIDR: "CIDR",
    Kind.FILE: "FILE",
    Kind.URL: "URL",
    Kind.WORKERS: "N|auto",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One row of the table."""

    name: str
    """As on the command line after ``--`` and in the TOML file."""
    kind: Kind
    meaning: str
    """What the option does, for the help text and the documentation; no default and nothing about 0."""
    default: Value
    """The command line's default, as a value; an empty tuple for a repeatable option that is not given."""
    library: Value = None
    """The default of a server that a program builds itself; None when the library has no such setting."""
    qt: str = "none"
    """Qt's default, as text."""
    reason: str
    """Why the default is what it is; where it differs from Qt's, why."""
    zero: str | None = None
    """What 0 means; `NOT_ALLOWED`; None when the value is no quantity."""
    default_text: str = ""
    """What is shown instead of the default when the value alone would say too little."""
    metavar: str = ""
    choices: tuple[str, ...] = ()
    repeatable: bool = False

    @property
    def placeholder(self) -> str:
        """What stands after ``--name=`` in the help text; empty for a flag."""
        return self.metavar or "|".join(self.choices) or _METAVARS[self.kind]

    @property
    def is_number(self) -> bool:
        """Whether the value is a quantity, for which 0 means something or is not allowed."""
        return self.zero is not None

    @property
    def shown_default(self) -> str:
        """The default as the help text and the documentation show it."""
        return self.default_text or self.format(self.default)

    @property
    def accepted(self) -> str:
        """What this option accepts, in the words of an error line."""
        match self.kind:
            case Kind.FLAG:
                return "true or false"
            case Kind.SIZE:
                accepted = quantities.ACCEPTED_SIZES
            case Kind.DURATION:
                accepted = quantities.ACCEPTED_DURATIONS
            case Kind.COUNT:
                accepted = quantities.ACCEPTED_COUNTS
            case Kind.PORT:
                return "a port from 0 to 65535"
            case Kind.CHOICE:
                return " or ".join((", ".join(self.choices[:-1]), self.choices[-1]))
            case Kind.TEXT:
                return "printable ASCII text"
            case Kind.TOKEN:
                return "a name of letters, digits and !#$%&'*+-.^_`|~"
            case Kind.ADDRESS:
                return "an IP address, such as 127.0.0.1, ::1, 0.0.0.0 or ::"
            case Kind.CIDR:
                return "an IP address or network, such as 10.0.0.0/8 or ::1, or unix"
            case Kind.WORKERS:
                return "a whole number above 0, or auto"
            case _:
                return "a text that is not empty, without control characters"
        if self.zero == NOT_ALLOWED:
            accepted += ", above 0"
        return accepted

    def parse(self, text: str) -> Scalar:
        """Read one value as it is written on the command line.

        Raises `ValueError`, without the option's name, when this row does not accept it. What needs more than
        the row to be judged (an origin, a Host value, an endpoint) is only checked for being a text.
        """
        try:
            value = self._read(text)
        except ValueError:
            raise ValueError(f"accepted is {self.accepted}") from None
        if self.zero == NOT_ALLOWED and value == 0:
            raise ValueError(f"accepted is {self.accepted}")
        return value

    def _read(self, text: str) -> Scalar:
        match self.kind:
            case Kind.FLAG:
                return {"true": True, "false": False}[text] if text in ("true", "false") else _refuse()
            case Kind.SIZE:
                return quantities.parse_size(text)
            case Kind.DURATION:
                return quantities.parse_duration(text)
            case Kind.COUNT:
                return quantities.parse_count(text)
            case Kind.PORT:
                port = quantities.parse_count(text)
                return port if port <= 65535 else _refuse()
            case Kind.CHOICE:
                return text if text in self.choices else _refuse()
            case Kind.TEXT:
                # It becomes a header's value: RFC 9110 5.5 allows more than ASCII only as a relic, and a
                # blank at either end would not arrive.
                return text if text.isascii() and text.isprintable() and text == text.strip() else _refuse()
            case Kind.TOKEN:
                return text if text and _TOKEN.issuperset(text) else _refuse()
            case Kind.ADDRESS:
                # Not a host name: resolving one would block the start, and may give any number of addresses.
                return str(ipaddress.ip_address(text))
            case Kind.CIDR:
                return text if text == "unix" else str(ipaddress.ip_network(text))
            case Kind.WORKERS:
                return "auto" if text == "auto" else quantities.parse_count(text) or _refuse()
            case _:
                # isprintable would also refuse file names that are legal, if ugly.
                # A lone surrogate is a byte of the command line that is no UTF-8: it could not be shown.
                is_one_line = not any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in text)
                return text if text and is_one_line else _refuse()

    def from_toml(self, value: object) -> Scalar:
        """Read one value of a TOML file: a text as on the command line, or a number or a boolean where the
        option is one. The items of a repeatable option's list are read one by one.

        Raises `ValueError` like `parse`; also for another type, because "false" in place of false would mean
        something else than it says.
        """
        if self.kind is Kind.FLAG:
            if not isinstance(value, bool):
                raise ValueError(f"accepted is {self.accepted}, without quotes")
            return value
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and self.is_number:
            # Decimal spells what float writes as 1e-05; a negative or infinite number fails in parse.
            return self.parse(f"{Decimal(repr(value)):f}")
        raise ValueError(f"accepted is {self.accepted}")

    def format(self, value: Value) -> str:
        """Write a value of this option for people: quantities with their units as `parse` reads them, "none"
        for what is not set, a flag as "on" or "off", the items of a repeatable option joined by a blank."""
        if value is None or value == ():
            return "none"
        if isinstance(value, tuple):
            return " ".join(value)
        if self.kind is Kind.FLAG:
            return "on" if value else "off"
        if self.kind is Kind.SIZE and isinstance(value, int):
            return quantities.format_size(value)
        if self.kind is Kind.DURATION and isinstance(value, int | float):
            return quantities.format_duration(value)
        return str(value) or "empty"


def _refuse() -> Scalar:
    raise ValueError
