"""The lane's face: whether there is a compiled part, and which connections take the short cut.

Rules of this file: the lane is a short cut for ordinary frames, never a second protocol. A connection has a
lane only when nothing in its class or its options looks at single frames, or changes them, on the way
between ``dataReceived`` and ``onMessage``, or between ``sendMessage`` and the link; else Autobahn does all,
as it does without the compiled part. docs/topics/path-of-a-frame.md tells the rest.
"""

from __future__ import annotations

import os
from functools import lru_cache
from types import ModuleType
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorCore

from wsecho.wire.beneath import AutobahnTrafficStats, openssl, openssl_addresses
from wsecho.wire.turns import SLICE_SECONDS

__all__ = [
    "ECHO",
    "REMEMBERED_CLASSES",
    "LaneLink",
    "LaneOwner",
    "LaneTls",
    "described",
    "lane_for",
    "native",
    "seals",
]

native: Any
"""The compiled part; None without it."""

ECHO = "echo"
"""The native action of a service that sends back what came."""


def _compiled_part() -> ModuleType | None:
    if os.environ.get("WSECHO_PURE") == "1":
        return None
    try:
        from wsecho.wire import _lane
    except ImportError:
        return None
    return _lane


native = _compiled_part()


def _finds_openssl() -> bool:
    addresses = openssl_addresses()
    # A checkout may have a compiled part that is older than it.
    if not hasattr(native, "use_openssl") or addresses is None:
        return False
    native.use_openssl(*addresses, openssl.SSL_ERROR_WANT_READ)
    return True


seals = _finds_openssl()
"""Whether lanes can do TLS: whether there is a compiled part, and it knows where OpenSSL is."""


def described() -> str:
    """What this process has of the compiled part, in the words of the log."""
    if native is None:
        return "pure Python"
    return "with its compiled part" if seals else "with its compiled part, but not for TLS"


class LaneOwner(Protocol):
    """What the lane asks of the protocol."""

    def onMessage(self, payload: bytes, isBinary: bool) -> Any:
        """A message came."""

    def lane_failed(self) -> None:
        """``onMessage`` raised the exception that is being handled."""

    def lane_output_waits(self) -> None:
        """An answer went to the outbox."""

    def lane_part_began(self) -> None:
        """A frame has begun, of which the rest is on its way."""

    def lane_broke(self) -> None:
        """An exception came out of one of these calls."""

    def stands_between_messages(self) -> bool:
        """Whether Autobahn is in the middle of nothing, so that the lane may take the next frame."""

    def dataReceived(self, data: bytes) -> None:
        """These bytes are not for the lane."""


class LaneLink(Protocol):
    """What the lane asks of the link."""

    def queue(self, data: bytes) -> None:
        """Write this behind what waits already."""

    def queue_sealed(self, records: bytes) -> None:
        """Give these records to the socket's transport, ahead of what waits."""

    @property
    def has_flushed(self) -> bool:
        """Whether nothing waits any more."""

    @property
    def is_full(self) -> bool:
        """Whether no further message may be written."""

    def read_by_transport(self) -> None:
        """The pump does not read this connection any more."""


class LaneTls(Protocol):
    """What the lane asks of its connection's TLS."""

    def error(self, result: int) -> Exception:
        """What OpenSSL's last result means, that is neither bytes nor "not yet"."""

    def stopped(self, error: Exception) -> None:
        """Nothing more can be read, for that reason; what came before was told of."""

    def refused(self, error: Exception, data: bytes) -> None:
        """OpenSSL did not encrypt ``data``, for that reason. The lane writes and reads no more."""


_READING = (
    "_dataReceived", "_onMessage", "_onMessageBegin", "_onMessageEnd", "_onMessageFrame",
    "_onMessageFrameBegin", "_onMessageFrameData", "_onMessageFrameEnd", "consumeData", "dataReceived",
    "onFrameBegin", "onFrameData", "onFrameEnd", "onMessageBegin", "onMessageEnd", "onMessageFrame",
    "onMessageFrameBegin", "onMessageFrameData", "onMessageFrameEnd", "processData",
)  # fmt: skip
"""Between ``dataReceived`` and ``onMessage``."""

_NO_LIMIT = 1 << 40

_WRITING = ("sendData", "sendFrame")
"""Between ``sendMessage`` and the link."""

_ON_THE_WAY = frozenset(_READING + _WRITING)

REMEMBERED_CLASSES = 32
"""Of which it is remembered what they override. A class that is remembered lives on, and each factory, each
change of its options, makes one."""


@lru_cache(REMEMBERED_CLASSES)
def _is_ordinary(given: Any, known: Any) -> bool:
    """Whether a class takes no look at single frames."""
    return all(getattr(given, name) is getattr(known, name) for name in _READING + _WRITING)


@lru_cache(REMEMBERED_CLASSES)
def _leaves_messages_to_service(given: Any, known: Any) -> bool:
    return all(getattr(given, name) is getattr(known, name) for name in ("onMessage", "sendMessage"))


if native is not None:

    class _Traffic(native.Counters, AutobahnTrafficStats):  # type: ignore[misc]
        """Autobahn's statistics, in memory that compiled code counts in."""

        def __init__(self) -> None:
            """Everything is 0 as it is."""


def lane_for(connection: Any, known: type, fd: int = -1) -> Any:
    """The lane of a connection that has opened; None when it has to do without.

    :param connection: a server's protocol
    :param known: the class whose way of handling frames the lane abbreviates
    :param fd: the socket to write to, when there is nothing between it and the link; else -1
    """
    if native is None or not _is_ordinary(connection.__class__, known) or _looks_at_frames(connection):
        return None
    traffic = _Traffic()
    # As a rule nothing was counted before.
    before = vars(connection).get("trafficStats")
    if before is not None:
        for name, value in vars(before).items():
            setattr(traffic, name, value)
    connection.trafficStats = traffic
    settings = connection.factory.settings
    if settings.max_message_rate:
        method = "_onMessage"
    elif _echoes(connection, known):
        method = None
    else:
        method = "onMessage"
    limit = min(connection.maxMessagePayloadSize or _NO_LIMIT, connection.maxFramePayloadSize or _NO_LIMIT)
    reactor = connection.factory.reactor
    # A reactor that runs goes by the system's clock; a clock of a test does not.
    clock = None if IReactorCore.providedBy(reactor) else reactor.seconds
    return native.Lane(
        connection, connection.link, traffic, method, limit, fd, settings.send_queue, SLICE_SECONDS, clock
    )


def _echoes(connection: Any, known: type) -> bool:
    return getattr(connection.service, "native_action", None) == ECHO and _leaves_messages_to_service(
        connection.__class__, known
    )


def _looks_at_frames(connection: Any) -> bool:
    """Whether an option, the service, or an attribute that was set on this one connection asks for more than
    the lane does. A service says so by an attribute ``keeps_off_lane``."""
    return bool(
        connection._perMessageCompress is not None
        or connection.factory.debug
        or not connection.utf8validateIncoming
        or not connection.applyMask
        or connection.autoFragmentSize
        or connection.autoPingRestartOnAnyTraffic
        or connection.logFrames
        or connection.logOctets
        or connection.trackedTimings
        or getattr(connection.service, "keeps_off_lane", False)
        or not _ON_THE_WAY.isdisjoint(vars(connection))
    )
