"""The console script `wsecho`: serving in the foreground, and the subcommands that do something else.

Rules of this file:

- `wsecho OPTIONS` is `twistd --nodaemon --pidfile= wsecho OPTIONS`, run by twistd's own code, so that logs,
  signals and exit statuses are the same;
- what is wrong is one line on standard error and status 1, as everywhere.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.python import usage
from twisted.scripts import twistd

from wsecho.app.configuration import ConfigurationError
from wsecho.app.connecting import Conversation, Screen, converse
from wsecho.app.options import CommandOptions, Options, help_for, version
from wsecho.app.process import FAILED
from wsecho.app.sources import build_tls
from wsecho.policy.options import TABLE, Kind, option
from wsecho.policy.text import escape_peer_text, without_password
from wsecho.tls.client import ClientTls
from wsecho.tls.contexts import CertificateError
from wsecho.tls.development import make_development_certificate
from wsecho.websocket import WebSocket
from wsecho.wire.client import ClientRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wsecho.app.configuration import Configuration, Setting
    from wsecho.policy.options import Option, Value

__all__ = ["COMMANDS", "main", "show"]


def main(arguments: Sequence[str]) -> int:
    """Run the command line `arguments`, without the program's name, and return the exit status."""
    first = arguments[0] if arguments else "serve"
    if first.startswith("-") and first not in ("--help", "--version"):
        first, rest = "serve", list(arguments)
    else:
        rest = list(arguments[1:])
    try:
        if first == "--help":
            print(_help(), flush=True)
        elif first == "--version":
            print(f"wsecho {version()}")
        elif first in COMMANDS:
            COMMANDS[first][0](rest)
        else:
            raise SystemExit(
                f'wsecho: "{escape_peer_text(first, 80)}" is no command; accepted are {", ".join(COMMANDS)}'
            )
    except ConfigurationError as error:
        return _status(SystemExit(f"wsecho: {error}"))
    except SystemExit as ended:
        return _status(ended)
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return 0


def _status(ended: SystemExit) -> int:
    """Return the exit status of a SystemExit, after writing the line it may carry instead of one."""
    if isinstance(ended.code, str):
        print(ended.code, file=sys.stderr)
        return FAILED
    return ended.code or 0


def _serve(arguments: Sequence[str]) -> None:
    # First on our own: the help of twistd would tell of a program and a subcommand that nobody called.
    _parse(arguments)
    sys.argv = ["wsecho", "--nodaemon", "--pidfile=", "wsecho", *arguments]
    twistd.run()  # type: ignore[no-untyped-call]


def _check_config(arguments: Sequence[str]) -> None:
    build_tls(_parse(arguments))
    print("The configuration is valid.")


def _show_config(arguments: Sequence[str]) -> None:
    print(show(_parse(arguments)), end="", flush=True)


def _parse(arguments: Sequence[str]) -> Configuration:
    options = Options()
    options.parseOptions(arguments)
    return options.configuration


class _CertificateOptions(CommandOptions):
    """The options of ``wsecho make-certificate``."""

    synopsis = "Usage: wsecho make-certificate [options] [NAME...]"
    longdesc = (
        "Makes an authority and a certificate for servers called NAME (localhost, 127.0.0.1 and ::1 when "
        "none is given), for development: ca.pem for clients to trust, certificate.pem and private-key.pem "
        "for the server."
    )
    optFlags = [["force", None, "Replace files that exist."]]
    optParameters = [
        ["directory", None, ".", "Where the files are written; made if it is not there."],
        ["days", None, "365", "How long the certificate is valid, 1 to 825 days."],
    ]

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        super().__init__()  # type: ignore[no-untyped-call]

    def parseArgs(self, *names: str) -> None:
        self.names = names


def _make_certificate(arguments: Sequence[str]) -> None:
    options = _CertificateOptions()
    try:
        options.parseOptions(list(arguments))  # type: ignore[no-untyped-call]
    except usage.UsageError as error:
        raise SystemExit(f"wsecho: make-certificate: {escape_peer_text(str(error))}") from None
    days = options["days"]
    if not (days.isascii() and days.isdecimal() and len(days) < 10):
        raise SystemExit(f"wsecho: --days={escape_peer_text(days, 80)}: accepted is a whole number")
    names: dict[str, Any] = {"names": options.names} if options.names else {}
    try:
        made = make_development_certificate(
            options["directory"], now=datetime.now(UTC), days=int(days), force=bool(options["force"]), **names
        )
    except CertificateError as error:
        raise SystemExit(f"wsecho: make-certificate: {error}") from None
    print(f"{made.ca}: the authority, for clients to trust")
    print(f"{made.certificate}: the certificate")
    print(f"{made.private_key}: its private key")
    print("Serve with: wsecho --listen-tls=tcp:9443:interface=127.0.0.1", end=" ")
    print(f"--certificate={made.certificate} --private-key={made.private_key}")


class _ConnectOptions(CommandOptions):
    """The options of ``wsecho connect``."""

    synopsis = "Usage: wsecho connect [options] URL"
    longdesc = (
        "Connects to ws://... or wss://...; each line of the input goes out as a message, each message "
        "comes out as a line, a binary one as hexadecimal digits. The end of the input closes. Exit status: "
        "0 closed with 1000 or 1001, 1 not connected, 2 closed with another code, 3 connection lost, "
        "4 input that cannot be sent."
    )
    optFlags = [["binary", None, "Lines are hexadecimal digits, sent as binary messages."]]
    optParameters = [
        ["origin", None, "", "The Origin header to send."],
        ["ca", None, "", "The authorities of wss to trust, a PEM file, in place of the system's."],
    ]

    def __init__(self) -> None:
        self.url = ""
        self.headers: list[tuple[str, str]] = []
        self.subprotocols: list[str] = []
        super().__init__()  # type: ignore[no-untyped-call]

    def parseArgs(self, url: str) -> None:  # type: ignore[override]
        self.url = url

    def opt_header(self, field: str) -> None:
        """A header field to send, 'Name: value'; may be given more than once."""
        name, colon, value = field.partition(":")
        if not colon:
            raise usage.UsageError(f"--header={field}: accepted is 'Name: value'")
        self.headers.append((name, value))

    def opt_subprotocol(self, name: str) -> None:
        """A subprotocol to offer; may be given more than once."""
        self.subprotocols.append(name)


def _connect(arguments: Sequence[str]) -> None:
    options = _ConnectOptions()
    try:
        options.parseOptions(list(arguments))  # type: ignore[no-untyped-call]
        request = ClientRequest(
            url=options.url,
            headers=tuple(options.headers),
            origin=options["origin"],
            subprotocols=tuple(options.subprotocols),
        )
    except (usage.UsageError, ValueError) as error:
        raise SystemExit(f"wsecho: connect: {escape_peer_text(str(error))}") from None
    from twisted.internet import reactor

    is_terminal = sys.stdout.isatty()
    has_colours = is_terminal and not os.environ.get("NO_COLOR")
    screen = Screen(sys.stdout, sys.stderr, is_terminal=is_terminal, has_colours=has_colours)
    socket = WebSocket(reactor=reactor)
    if options["ca"]:
        socket.ssl_configuration = ClientTls(ca=Path(options["ca"]))
    conversation = Conversation(socket, reactor, screen, is_binary=bool(options["binary"]))
    is_interactive = is_terminal and sys.stdin.isatty()
    raise SystemExit(converse(conversation, request, screen, reactor, is_interactive=is_interactive))


#: By name, what runs a command and what the help says about it.
COMMANDS: Mapping[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "serve": (_serve, "serve in the foreground; the default"),
    "check-config": (_check_config, "tell whether the options and the file of --config are valid"),
    "show-config": (_show_config, "print the effective configuration, and where each value came from"),
    "make-certificate": (_make_certificate, "make a development authority and certificate; see its --help"),
    "connect": (_connect, "talk to a server, line by line; see its --help"),
}


def _help() -> str:
    lines = ["Usage: wsecho [COMMAND] [options]", "Commands:"]
    lines += [f"    {name:18}{what}" for name, (_, what) in COMMANDS.items()]
    lines.append("Options of serve, check-config and show-config:")
    return "\n".join(lines) + "\n" + "".join(help_for(row) for row in TABLE).rstrip()


def show(configuration: Configuration) -> str:
    """Return the effective configuration as a TOML file that means the same when it is given by ``--config``.

    A value that is not set, does not apply or is a secret stands in a comment.
    """
    lines = ["# The effective configuration of wsecho, and where each value came from."]
    lines += [_line(configuration, row) for row in TABLE]
    for channel, table in configuration.channels.items():
        lines += ["", f"[channel.{_toml(channel)}]"]
        lines += [
            f"{name} = {_toml_value(option(name), setting.value)}  # {_source(setting)}"
            for name, setting in table.items()
        ]
    return "\n".join(lines) + "\n"


def _line(configuration: Configuration, row: Option) -> str:
    setting = configuration.values[row.name]
    source = _source(setting)
    if row.name == "config":
        return f"# config = {_toml_value(row, setting.value)}  # {source}"
    if row.name == "max-frame-size" and setting.value is None:
        size = configuration.settings().max_frame_size
        return f"{row.name} = {_toml_value(row, size)}  # {source}: {row.default_text}"
    if row.kind is Kind.URL and "@" in str(setting.value):
        shown = without_password(str(setting.value))
        return f"# {row.name} = {_toml(shown)}  # {source} (its password is not shown)"
    if row.name == "port" and configuration.port is None:
        return f"# port = {_toml_value(row, setting.value)}  # {source} (does not apply with --listen)"
    if setting.value is None or setting.value == ():
        return f"# {row.name}: {row.shown_default}  # {source}"
    return f"{row.name} = {_toml_value(row, setting.value)}  # {source}"


def _source(setting: Setting) -> str:
    return escape_peer_text(setting.source)


def _toml_value(row: Option, value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if value is None:
        return '""'
    if isinstance(value, bool):
        return str(value).lower()
    if row.kind in (Kind.SIZE, Kind.DURATION):
        return _toml(row.format(value))
    return str(value) if isinstance(value, int) else _toml(str(value))


def _toml(text: str) -> str:
    # A JSON string is a TOML basic string, unless it escapes surrogate pairs.
    return json.dumps(text, ensure_ascii=False)
