"""The option table: every option of wsecho, once, with its default and the reason for it.

Rules of this file:

- the command line, the TOML file, the help text, ``show-config``, the generated documentation and the
  defaults of `wsecho.policy.settings.Settings` all come from `TABLE`; nobody repeats a default or a meaning;
- each row states the default three times: Qt's (WebSockets 6.12, as text, because Qt often has no such
  setting), the library's and the command line's. Where ours differs from Qt's, `Option.reason` says why.
How a value is read stands in `wsecho.policy.option_kinds`; where values come from and which of them fit
together is the application's affair.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from wsecho.policy.option_kinds import NOT_ALLOWED, Kind, Option, Scalar, Value
from wsecho.policy.slow_consumers import SlowConsumer

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CHANNEL_OPTIONS",
    "NOT_ALLOWED",
    "OPTIONS",
    "TABLE",
    "Kind",
    "Option",
    "Scalar",
    "Value",
    "option",
]

_NOT_IN_QT = "none: no such setting"

TABLE: Final[tuple[Option, ...]] = (
    Option(
        name="port",
        kind=Kind.PORT,
        meaning=(
            "Plain WebSocket on this TCP port, on 127.0.0.1 and ::1 or on --host. ::1 is left out where "
            "there is no IPv6. With any --listen or --listen-tls, only when given."
        ),
        default=9000,
        qt="0 (any free port)",
        reason="A number to remember; a program that wants any free port gives 0 and reads the start line.",
        zero="any free port, the same for both addresses; the start line tells it",
    ),
    Option(
        name="host",
        kind=Kind.ADDRESS,
        meaning="The address that --port listens on. With any --listen or --listen-tls, only when given.",
        default=None,
        default_text="127.0.0.1 and ::1",
        qt="any address",
        reason="Nobody outside this machine is served before somebody decides so.",
    ),
    Option(
        name="listen",
        kind=Kind.ENDPOINT,
        meaning=(
            "Plain WebSocket on a Twisted endpoint description: tcp:, tcp6:, unix:, systemd:, haproxy:..."
        ),
        default=(),
        qt=_NOT_IN_QT,
        reason="Whatever Twisted can listen on, without an option for each.",
        repeatable=True,
    ),
    Option(
        name="listen-tls",
        kind=Kind.ENDPOINT,
        meaning=(
            "WebSocket over TLS (wss) on a Twisted endpoint description. ssl: and tls: are refused: that "
            "would be TLS inside TLS. Needs --certificate and --private-key."
        ),
        default=(),
        qt="the SecureMode of the server",
        reason="TLS needs a certificate, which only the operator has.",
        repeatable=True,
    ),
    Option(
        name="certificate",
        kind=Kind.FILE,
        meaning="The certificate for --listen-tls and the chain to its root, PEM; several are chosen by SNI.",
        default=(),
        qt="the QSslConfiguration of the server",
        reason="Only the operator has one; `wsecho make-certificate` makes one for development.",
        repeatable=True,
    ),
    Option(
        name="private-key",
        kind=Kind.FILE,
        meaning="The private key of --certificate, PEM.",
        default=(),
        qt="the QSslConfiguration of the server",
        reason="Only the operator has one; `wsecho make-certificate` makes one for development.",
        repeatable=True,
    ),
    Option(
        name="mode",
        kind=Kind.CHOICE,
        choices=("echo", "broadcast"),
        meaning="What the path / serves. /echo, /broadcast and /broadcast/CHANNEL are always there.",
        default="echo",
        qt=_NOT_IN_QT,
        reason="Echo needs no second client to show that the connection works.",
    ),
    Option(
        name="include-sender",
        kind=Kind.FLAG,
        meaning="Broadcast returns a message to its sender, too.",
        default=False,
        library=False,
        qt=_NOT_IN_QT,
        reason="The sender knows what it sent; Qt's chat example leaves it out as well.",
    ),
    Option(
        name="allow-origin",
        kind=Kind.ORIGIN,
        meaning=(
            "Web pages that may connect besides those of the same origin, which always may (its host and "
            "port equal the Host header's, its scheme giving the default port): an exact origin, "
            "https://*.example.com (whole labels), loopback (any port of localhost, 127.0.0.0/8, ::1), null,"
            " or * for any."
        ),
        default=(),
        library=(),
        qt="any origin",
        reason=(
            "Any page in a user's browser could connect otherwise, with the user's cookies (RFC 6455 10.2)."
        ),
        repeatable=True,
    ),
    Option(
        name="deny-missing-origin",
        kind=Kind.FLAG,
        meaning=(
            "Refuse clients that send no Origin. Otherwise they pass: programs are no browsers and may send "
            "any."
        ),
        default=False,
        library=False,
        qt="off",
        reason="Native clients seldom send an Origin, and a hostile one is free to invent it.",
    ),
    Option(
        name="allow-host",
        kind=Kind.HOST,
        meaning=(
            "Values of the Host header that are served: a host with or without port, *.example.com, "
            "loopback, or * for any. Others are refused."
        ),
        default=(),
        default_text="loopback on a loopback or unix listener, else any",
        library=(),
        qt="any",
        reason=(
            "A name that an attacker points at 127.0.0.1 is of the same origin as its own page (DNS "
            "rebinding)."
        ),
        repeatable=True,
    ),
    Option(
        name="trust-proxy",
        kind=Kind.CIDR,
        meaning=(
            "Believe the PROXY protocol and Forwarded or X-Forwarded-For headers from these peers only: an "
            "address, a network, or unix for peers on unix sockets."
        ),
        default=(),
        library=(),
        qt=_NOT_IN_QT,
        reason="Anybody can write these headers; only a proxy in front is to be believed.",
        repeatable=True,
    ),
    Option(
        name="subprotocol",
        kind=Kind.TOKEN,
        meaning=(
            "A subprotocol that is supported. The first one of the client's that is supported is taken; none"
            " is fine, too."
        ),
        default=(),
        library=(),
        qt="none",
        reason="Echo and broadcast carry any payload.",
        repeatable=True,
    ),
    Option(
        name="server-name",
        kind=Kind.TEXT,
        meaning="The value of the Server header; empty sends none.",
        default="",
        library="",
        qt="empty",
        reason="A version in a header tells attackers what to try, and users nothing.",
    ),
    Option(
        name="compression",
        kind=Kind.CHOICE,
        choices=("off", "deflate"),
        meaning="permessage-deflate (RFC 7692). It needs both size limits.",
        default="off",
        library="off",
        qt="off: no extensions",
        reason="It costs memory and time for each connection, and a small message can become a large one.",
    ),
    Option(
        name="debug",
        kind=Kind.FLAG,
        meaning="Log every message, escaped and shortened.",
        default=False,
        library=False,
        qt=_NOT_IN_QT,
        reason="Messages are the users' affair, and logging each is slow.",
    ),
    Option(
        name="max-message-size",
        kind=Kind.SIZE,
        meaning="The largest message from a peer, after decompression; above it, close 1009.",
        default=1024**2,
        library=1024**2,
        qt="2147483646 bytes",
        reason="One peer must not make the server hold 2 GiB; 1 MiB is what most servers take.",
        zero="no limit (refused with --compression=deflate)",
    ),
    Option(
        name="max-frame-size",
        kind=Kind.SIZE,
        meaning="The largest frame from a peer; above it, close 1009.",
        default=None,
        default_text="the value of --max-message-size",
        qt="2147483646 bytes",
        reason="A message may come in a single frame.",
        zero="no limit (refused with --compression=deflate)",
    ),
    Option(
        name="max-head-size",
        kind=Kind.SIZE,
        meaning="The largest request head, from the first byte to the empty line; above it, HTTP 431.",
        default=64 * 1024,
        library=64 * 1024,
        qt="819204 bytes",
        reason="Ten times what browsers send with many cookies.",
        zero=NOT_ALLOWED,
    ),
    Option(
        name="max-head-line",
        kind=Kind.SIZE,
        meaning="The longest line of a request head; above it, HTTP 431.",
        default=8 * 1024,
        library=8 * 1024,
        qt="8192 bytes",
        reason="Qt's own limit.",
        zero=NOT_ALLOWED,
    ),
    Option(
        name="max-head-lines",
        kind=Kind.COUNT,
        meaning="The most header lines of a request head; above it, HTTP 431.",
        default=100,
        library=100,
        qt="100",
        reason="Qt's own limit.",
        zero=NOT_ALLOWED,
    ),
    Option(
        name="max-fragments",
        kind=Kind.COUNT,
        meaning="The most fragments of one message, empty ones counted; above it, close 1008.",
        default=16384,
        library=16384,
        qt=_NOT_IN_QT,
        reason="Empty fragments never reach a size limit, yet each costs memory.",
        zero="no limit",
    ),
    Option(
        name="max-connections",
        kind=Kind.COUNT,
        meaning="The most connections at a time; above it, HTTP 503.",
        default=10000,
        library=10000,
        qt="30 that nobody has taken yet; no limit for those taken",
        reason="Every connection takes memory and a file descriptor.",
        zero="no limit",
    ),
    Option(
        name="max-connections-per-address",
        kind=Kind.COUNT,
        meaning="The most connections of one address at a time, IPv6 counted by /64; above it, HTTP 429.",
        default=0,
        library=0,
        qt=_NOT_IN_QT,
        reason="Behind a proxy or a NAT, many users share one address.",
        zero="no limit",
    ),
    Option(
        name="max-message-rate",
        kind=Kind.COUNT,
        meaning="The most messages per second and connection; above it, close 1008.",
        default=0,
        library=0,
        qt=_NOT_IN_QT,
        reason="What is too fast depends on the use.",
        zero="no limit",
    ),
    Option(
        name="send-queue",
        kind=Kind.SIZE,
        meaning=(
            "Bytes held for one peer. A message is admitted while the queue is below it, so the bound is "
            "this plus one message."
        ),
        default=1024**2,
        library=1024**2,
        qt="no limit",
        reason="A peer that does not read must not take the memory of all.",
        zero=NOT_ALLOWED,
    ),
    Option(
        name="slow-consumer",
        kind=Kind.CHOICE,
        choices=tuple(SlowConsumer),
        meaning="What happens above the send queue in broadcast; close is 1013. Echo stops reading instead.",
        default="close",
        library="close",
        qt=_NOT_IN_QT,
        reason=(
            "A client that is closed knows that it missed something; one whose messages are dropped does not."
        ),
    ),
    Option(
        name="handshake-timeout",
        kind=Kind.DURATION,
        meaning="From the accepted TCP connection to the open WebSocket, TLS included.",
        default=10.0,
        library=10.0,
        qt="10s, twice that with TLS",
        reason="Qt's own; one timer for all of it.",
        zero="no timeout",
    ),
    Option(
        name="close-timeout",
        kind=Kind.DURATION,
        meaning="From the Close frame sent to the end of the TCP connection; then it is aborted.",
        default=5.0,
        library=5.0,
        qt="0: TCP ends at once",
        reason="Long enough for a slow network, too short to hold connections that are over.",
        zero=NOT_ALLOWED,
    ),
    Option(
        name="stall-timeout",
        kind=Kind.DURATION,
        meaning="Silence inside a frame or a message; then close 1001.",
        default=10.0,
        library=10.0,
        qt="5s",
        reason="Twice Qt's, for networks that lose packets.",
        zero="no timeout",
    ),
    Option(
        name="ping-interval",
        kind=Kind.DURATION,
        meaning="The time between pings.",
        default=20.0,
        library=20.0,
        qt="no pings",
        reason=(
            "Routers and proxies forget an idle connection after 30 to 60 seconds, and a dead peer says "
            "nothing."
        ),
        zero="no pings",
    ),
    Option(
        name="ping-timeout",
        kind=Kind.DURATION,
        meaning="The time for a pong to come; then close 1001.",
        default=20.0,
        library=20.0,
        qt="no pings",
        reason="A peer that does not answer for so long is gone.",
        zero="no pings",
    ),
    Option(
        name="drain-timeout",
        kind=Kind.DURATION,
        meaning=(
            "On SIGTERM: no longer listening, Close 1001 to one connection after the other over the first "
            "half, what is queued is flushed, and what is left at the end is dropped. SIGINT: the same, with "
            "Close to all at once. A second signal ends at once."
        ),
        default=10.0,
        qt=_NOT_IN_QT,
        reason="Clients that all reconnect in the same moment would be a storm.",
        zero="drop at once",
    ),
    Option(
        name="client-ca",
        kind=Kind.FILE,
        meaning="Let in only clients with a certificate of this authority, PEM.",
        default=None,
        qt="no verification",
        reason="Only the operator has one.",
    ),
    Option(
        name="allow-client",
        kind=Kind.TEXT,
        metavar="NAME",
        meaning=(
            "Admit clients whose certificate has this name only, as it stands there: a DNS name, a URI, an "
            "email address, or CN=..., a common name."
        ),
        default=(),
        qt=_NOT_IN_QT,
        reason="Every certificate of the authority is good unless somebody narrows it.",
        repeatable=True,
    ),
    Option(
        name="workers",
        kind=Kind.WORKERS,
        meaning=(
            "Processes that share the listening sockets; auto is one for each CPU. max-connections and "
            "max-connections-per-address are divided between them. Channels reach over all of them with "
            "--engine only; without, broadcast is not served."
        ),
        default=1,
        qt="1",
        reason="One process needs nothing else to broadcast to all.",
        zero=NOT_ALLOWED,
    ),
    Option(
        name="engine",
        kind=Kind.URL,
        meaning=(
            "What connects the channels of several processes, and keeps their history: memory:, "
            "redis://[user:password@]host:port/db or rediss://... for TLS. A password is better given in the "
            "file of --config, since everybody on a machine sees command lines."
        ),
        default="memory:",
        qt=_NOT_IN_QT,
        reason="One process needs no other.",
    ),
    Option(
        name="history-size",
        kind=Kind.COUNT,
        meaning=(
            "Messages kept per channel for replay to clients that speak wsecho.v1.json. memory: keeps "
            "256 MiB "
            "in all at most, and 10000 channels."
        ),
        default=0,
        qt=_NOT_IN_QT,
        reason="Keeping what people sent is a decision of its own.",
        zero="nothing kept",
    ),
    Option(
        name="history-age",
        kind=Kind.DURATION,
        meaning="How long a message is kept for replay at most. Needs --history-size.",
        default=0.0,
        qt=_NOT_IN_QT,
        reason="How long is too long depends on the use.",
        zero="as long as there is room",
    ),
    Option(
        name="admin",
        kind=Kind.ENDPOINT,
        meaning=(
            "Health, metrics, admin API and operator console on this endpoint. Beyond loopback it needs "
            "--admin-token-file. Host and Origin are checked here, too."
        ),
        default=None,
        qt=_NOT_IN_QT,
        reason="What can end connections is not open unasked.",
    ),
    Option(
        name="admin-token-file",
        kind=Kind.FILE,
        meaning="The file that holds the token for --admin.",
        default=None,
        qt=_NOT_IN_QT,
        reason="A token has to be made by the operator.",
    ),
    Option(
        name="test-endpoints",
        kind=Kind.FLAG,
        meaning="The programmable echo under /test.",
        default=False,
        qt=_NOT_IN_QT,
        reason="It delays, cuts and misbehaves on demand: for tests, not for the public.",
    ),
    Option(
        name="log-format",
        kind=Kind.CHOICE,
        choices=("text", "json"),
        meaning=(
            "How log lines are written: as text, or each as a flat JSON object. JSON does not go with "
            "--syslog and --logger, where the program that serves has them."
        ),
        default="text",
        qt=_NOT_IN_QT,
        reason="People read it first.",
    ),
    Option(
        name="config",
        kind=Kind.FILE,
        meaning=(
            "A TOML file with options under the same names, a repeatable one as a list. A table "
            '[channel."NAME"] may set slow-consumer, include-sender, history-size and history-age for one '
            "channel. What the command line gives replaces the file's value whole."
        ),
        default=None,
        qt=_NOT_IN_QT,
        reason="Nothing is read that was not named.",
    ),
)

#: The table by name.
OPTIONS: Final[Mapping[str, Option]] = MappingProxyType({row.name: row for row in TABLE})

#: What a table [channel."NAME"] of the TOML file may set.
CHANNEL_OPTIONS: Final[tuple[str, ...]] = ("slow-consumer", "include-sender", "history-size", "history-age")


def option(name: str) -> Option:
    """Return the row of the option `name`; raises `KeyError` for an unknown one."""
    return OPTIONS[name]
