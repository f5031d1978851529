"""The configuration: defaults, TOML file and command line, merged and judged, each value with its source.

Rules of this file:

- the table in `wsecho.policy.options` says what there is; here is only what several values mean together;
- a value of the command line replaces the file's whole, and the file's the default; a list is never added to;
- a `Configuration` that exists is valid. What is wrong is one `ConfigurationError` of one line that names the
  option (or the file and its key), the value, and what is accepted;
- nothing is opened but the file of ``--config``: whether a port is free or a certificate good is found out by
  whoever uses it.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from wsecho.app.engines import check_engine
from wsecho.app.listeners import check_description
from wsecho.hub.channels import is_channel_name
from wsecho.hub.engine import Retention, Retentions
from wsecho.policy.clients import AllowedClients
from wsecho.policy.hosts import AllowedHosts
from wsecho.policy.options import CHANNEL_OPTIONS, OPTIONS, TABLE, Kind, option
from wsecho.policy.origins import AllowedOrigins
from wsecho.policy.proxies import TrustedProxies
from wsecho.policy.settings import SAME_AS_MESSAGE_SIZE, Settings, option_name
from wsecho.policy.text import escape_peer_text, without_password

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wsecho.policy.options import Option, Scalar, Value

__all__ = ["COMMAND_LINE", "DEFAULT", "Configuration", "ConfigurationError", "Setting", "read_configuration"]

#: `Setting.source` of a value that nobody gave.
DEFAULT: Final = "default"
#: `Setting.source` of a value that the command line gave; any other source is a file's path.
COMMAND_LINE: Final = "command line"


class ConfigurationError(Exception):
    """A configuration is wrong; one line."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One value and where it came from."""

    value: Value
    source: str
    """`DEFAULT`, `COMMAND_LINE` or the path of the file."""

    @property
    def is_given(self) -> bool:
        """Whether somebody gave the value, even if it is the default's."""
        return self.source != DEFAULT


@dataclass(frozen=True, slots=True)
class Configuration:
    """A valid configuration. Read values by option name: ``configuration["mode"]``."""

    values: Mapping[str, Setting]
    """Every option, by name."""
    channels: Mapping[str, Mapping[str, Setting]]
    """The tables [channel."NAME"], by channel name."""

    def __getitem__(self, name: str) -> Value:
        return self.values[name].value

    def is_given(self, name: str) -> bool:
        """Tell whether the file or the command line gave the option `name`."""
        return self.values[name].is_given

    def text(self, name: str) -> str:
        """Return the value of an option that is a text."""
        return str(self[name])

    def flag(self, name: str) -> bool:
        """Return the value of a flag."""
        return self[name] is True

    def seconds(self, name: str) -> float:
        """Return the value of an option that is a duration."""
        value = self[name]
        assert isinstance(value, int | float)
        return float(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the values of a repeatable option."""
        value = self[name]
        return value if isinstance(value, tuple) else ()

    def named(self, name: str, value: Value = None) -> str:
        """Return how an error line calls the option `name` with its value or, of several, the one given:
        ``--port=1`` or ``FILE: port = 1``."""
        setting = self.values[name]
        return _named(option(name), setting.value if value is None else value, setting.source)

    @property
    def port(self) -> int | None:
        """The port of ``--port``; None when it does not apply."""
        others = self.texts("listen") or self.texts("listen-tls")
        if others and not self.is_given("port") and not self.is_given("host"):
            return None
        value = self["port"]
        return value if isinstance(value, int) else None

    @property
    def host(self) -> str | None:
        """The address for `port`; None for 127.0.0.1 and ::1."""
        value = self["host"]
        return None if value is None else str(value)

    @property
    def certificates(self) -> tuple[tuple[str, str], ...]:
        """The files of each certificate and its key; empty without TLS."""
        return tuple(zip(self.texts("certificate"), self.texts("private-key"), strict=True))

    @property
    def workers(self) -> int:
        """How many processes serve; ``auto`` is one for each CPU that this process may use."""
        value = self["workers"]
        if value != "auto":
            return int(str(value))
        try:
            return len(os.sched_getaffinity(0))
        except AttributeError:  # Linux and few others have it
            return os.cpu_count() or 1

    @property
    def joins_channels(self) -> bool:
        """Whether a channel reaches over all processes."""
        return self.workers == 1 or self.text("engine") != "memory:"

    def clients(self) -> AllowedClients | None:
        """Return the policy of ``--allow-client``; None for any client."""
        return AllowedClients(self.texts("allow-client")) if self.texts("allow-client") else None

    def settings(self) -> Settings:
        """Return the limits and timers."""
        values: dict[str, Any] = {field.name: self[option_name(field.name)] for field in fields(Settings)}
        if values["max_frame_size"] is None:
            values["max_frame_size"] = SAME_AS_MESSAGE_SIZE
        return Settings(**values)

    def origins(self) -> AllowedOrigins:
        """Return the policy of ``--allow-origin`` and ``--deny-missing-origin``."""
        return AllowedOrigins(self.texts("allow-origin"), allow_missing=not self.flag("deny-missing-origin"))

    def hosts(self) -> AllowedHosts | None:
        """Return the policy of ``--allow-host``; None when each listener has its own default."""
        return AllowedHosts(self.texts("allow-host")) if self.texts("allow-host") else None

    def proxies(self) -> TrustedProxies | None:
        """Return the proxies of ``--trust-proxy``; None when nobody is trusted."""
        return TrustedProxies(self.texts("trust-proxy")) if self.texts("trust-proxy") else None

    def retention(self) -> Retentions:
        """Return what each channel keeps."""
        default = self._retention_of({})
        own = {channel: self._retention_of(table) for channel, table in self.channels.items()}
        return lambda channel: own.get(channel, default)

    def _retention_of(self, table: Mapping[str, Setting]) -> Retention:
        size, age = (
            table[name].value if name in table else self[name] for name in ("history-size", "history-age")
        )
        assert isinstance(size, int)
        assert isinstance(age, int | float)
        return Retention(size, float(age))

    def channel_texts(self, name: str) -> Mapping[str, str]:
        """Return the channels that set the option `name`, a text, for themselves."""
        return {channel: str(table[name].value) for channel, table in self.channels.items() if name in table}

    def channel_flags(self, name: str) -> Mapping[str, bool]:
        """Return the channels that set the flag `name` for themselves."""
        return {
            channel: table[name].value is True for channel, table in self.channels.items() if name in table
        }


def read_configuration(command_line: Mapping[str, Sequence[str]]) -> Configuration:
    """Merge the defaults, the file that ``config`` of the command line names, and the command line.

    :param command_line: by option name, the texts that were given for it, in order; ``"true"`` for a flag. Of
        an option that is not repeatable, the last one counts.
    :raises ConfigurationError: something is wrong.
    """
    values: dict[str, Setting] = {row.name: Setting(row.default, DEFAULT) for row in TABLE}
    given: dict[str, Setting] = {}
    for name, texts in command_line.items():
        row = option(name)
        items = tuple(_read(row, text, COMMAND_LINE) for text in texts)
        given[name] = Setting(_whole(row, items), COMMAND_LINE)
    channels: Mapping[str, Mapping[str, Setting]] = {}
    if "config" in given:
        from_file, channels = _read_file(str(given["config"].value))
        values |= from_file
    configuration = Configuration(MappingProxyType(values | given), MappingProxyType(dict(channels)))
    _check_together(configuration)
    return configuration


def _named(row: Option, value: object, source: str) -> str:
    if row.kind is Kind.URL and isinstance(value, str):
        value = without_password(value)
    if source in (COMMAND_LINE, DEFAULT):
        if row.kind is Kind.FLAG:
            return f"--{row.name}"
        shown = value if isinstance(value, str) else row.format(value)  # type: ignore[arg-type]
        return f"--{row.name}={_one_line(shown)}"
    return f"{escape_peer_text(source)}: {row.name} = {_toml_like(value)}"


def _toml_like(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{escape_peer_text(value, 80)}"'
    return _one_line(str(value))


def _one_line(text: str) -> str:
    """Return a value of the operator's, who may have pasted anything, as one line; unchanged if it is one."""
    return text if text.isprintable() and len(text) <= 120 else escape_peer_text(text, 120)


def _whole(row: Option, items: Sequence[Scalar]) -> Value:
    return tuple(str(item) for item in items) if row.repeatable else items[-1]


def _read(row: Option, raw: object, source: str) -> Scalar:
    """Read and judge one value of one option, as far as it stands for itself."""
    try:
        value = row.parse(raw) if source == COMMAND_LINE and isinstance(raw, str) else row.from_toml(raw)
        if row.kind is Kind.ORIGIN:
            AllowedOrigins([str(value)])
        elif row.kind is Kind.HOST:
            AllowedHosts([str(value)])
        elif row.kind is Kind.CIDR:
            TrustedProxies([str(value)])
        elif row.name == "allow-client":
            AllowedClients([str(value)])
        elif row.kind is Kind.ENDPOINT:
            check_description(str(value))
        elif row.name == "engine":
            check_engine(str(value))
    except ValueError as error:
        raise ConfigurationError(f"{_named(row, raw, source)}: {error}") from None
    return value


def _read_file(
    path: str,
) -> tuple[dict[str, Setting], Mapping[str, Mapping[str, Setting]]]:
    shown = escape_peer_text(path)
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(
            f"--config={shown}: {error.strerror}; accepted is a TOML file that can be read"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"--config={shown}: not UTF-8; accepted is a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"--config={shown}: {escape_peer_text(str(error))}; accepted is a TOML file"
        ) from None
    tables = content.pop("channel", {})
    values: dict[str, Setting] = {}
    for key, raw in content.items():
        row = OPTIONS.get(key)
        if row is None or key == "config":
            raise ConfigurationError(
                f'{shown}: unknown key "{escape_peer_text(key, 80)}"; accepted are the names of options '
                "and [channel.NAME] tables"
            )
        values[key] = Setting(_read_whole(row, raw, path), path)
    return values, _read_channels(tables, path)


def _read_whole(row: Option, raw: object, path: str) -> Value:
    if not row.repeatable:
        return _read(row, raw, path)
    # A text is a list of letters, too: what looks like one origin must not become many.
    if not isinstance(raw, list):
        raise ConfigurationError(f"{_named(row, raw, path)}: accepted is a list of texts")
    return _whole(row, [_read(row, item, path) for item in raw])


def _read_channels(tables: object, path: str) -> Mapping[str, Mapping[str, Setting]]:
    shown = escape_peer_text(path)
    if not isinstance(tables, dict):
        raise ConfigurationError(
            f"{shown}: channel = {_toml_like(tables)}: accepted are tables such as [channel.NAME]"
        )
    channels: dict[str, Mapping[str, Setting]] = {}
    for channel, table in tables.items():
        where = f'{shown}: channel."{escape_peer_text(channel, 80)}"'
        if not is_channel_name(channel):
            raise ConfigurationError(
                f"{where}: accepted is a channel name of 1 to 128 letters, digits and . _ ~ -"
            )
        if not isinstance(table, dict):
            raise ConfigurationError(f"{where} = {_toml_like(table)}: accepted is a table")
        settings: dict[str, Setting] = {}
        for key, raw in table.items():
            if key not in CHANNEL_OPTIONS:
                raise ConfigurationError(
                    f'{where}: unknown key "{escape_peer_text(key, 80)}"; accepted are '
                    f"{', '.join(CHANNEL_OPTIONS)}"
                )
            try:
                settings[key] = Setting(_read(option(key), raw, path), path)
            except ConfigurationError as error:
                reason = str(error).removeprefix(f"{shown}: ")
                raise ConfigurationError(f"{where}.{reason}") from None
        channels[channel] = MappingProxyType(settings)
    return channels


def _check_together(configuration: Configuration) -> None:
    """Raise `ConfigurationError` for values that are good each for itself, but not together."""
    named, texts = configuration.named, configuration.texts
    certificates, keys = texts("certificate"), texts("private-key")
    if len(certificates) > len(keys):
        raise ConfigurationError(
            f"{named('certificate', certificates[len(keys)])}: has no private key; "
            "accepted is --certificate=FILE with --private-key=FILE"
        )
    if len(keys) > len(certificates):
        raise ConfigurationError(
            f"{named('private-key', keys[len(certificates)])}: has no certificate; "
            "accepted is --certificate=FILE with --private-key=FILE"
        )
    if texts("listen-tls") and not certificates:
        raise ConfigurationError(
            f"{named('listen-tls', texts('listen-tls')[0])}: needs a certificate; "
            "accepted is --listen-tls=ENDPOINT with --certificate=FILE and --private-key=FILE"
        )
    if certificates and not texts("listen-tls"):
        # Otherwise a server would be plain whose operator meant it to be secure.
        raise ConfigurationError(
            f"{named('certificate', certificates[0])}: nothing uses it; "
            "accepted is --certificate=FILE with --listen-tls=ENDPOINT"
        )
    _check_clients(configuration)
    _check_history(configuration)
    if configuration["admin-token-file"] is not None and configuration["admin"] is None:
        raise ConfigurationError(
            f"{named('admin-token-file')}: nothing uses it; "
            "accepted is --admin-token-file=FILE with --admin=ENDPOINT"
        )
    if configuration["mode"] == "broadcast" and not configuration.joins_channels:
        raise ConfigurationError(
            f"{named('workers')}: broadcast over {configuration.workers} processes needs an engine; accepted "
            "is --workers with --engine=redis://..., or --workers=1"
        )
    if configuration["compression"] == "deflate":
        for name in ("max-message-size", "max-frame-size"):
            if configuration[name] == 0:
                raise ConfigurationError(
                    f"{named(name)}: no limit is refused with --compression=deflate; "
                    "accepted is a size above 0"
                )


def _check_history(configuration: Configuration) -> None:
    """Raise `ConfigurationError` for an age where nothing is kept."""
    keeps = configuration["history-size"]
    if configuration["history-age"] and not keeps:
        raise ConfigurationError(
            f"{configuration.named('history-age')}: nothing is kept without a size; "
            "accepted is --history-age=DURATION with --history-size=N"
        )
    for channel, table in configuration.channels.items():
        size, age = table.get("history-size"), table.get("history-age")
        if age is not None and age.value and not (keeps if size is None else size.value):
            raise ConfigurationError(
                f'{escape_peer_text(age.source)}: channel."{channel}".history-age = '
                f"{option('history-age').format(age.value)}: nothing is "
                "kept without a size; accepted is history-age with history-size"
            )


def _check_clients(configuration: Configuration) -> None:
    """Raise `ConfigurationError` where clients that must have a certificate could come without."""
    named, texts = configuration.named, configuration.texts
    if configuration["client-ca"] is None:
        if texts("allow-client"):
            raise ConfigurationError(
                f"{named('allow-client', texts('allow-client')[0])}: needs an authority; "
                "accepted is --allow-client=NAME with --client-ca=FILE"
            )
        return
    if not texts("listen-tls"):
        raise ConfigurationError(
            f"{named('client-ca')}: nothing uses it; accepted is --client-ca=FILE with --listen-tls=ENDPOINT"
        )
    plain = named("listen", texts("listen")[0]) if texts("listen") else None
    if plain is None and configuration.port is not None:
        plain = named("port")
    if plain is not None:
        raise ConfigurationError(
            f"{named('client-ca')}: clients of {plain} show no certificate; "
            "accepted is --client-ca=FILE with --listen-tls=ENDPOINT only"
        )
