"""How a connection starts: with what Autobahn would give to each, but held once for all of them.

Autobahn copies every option into every connection, and beside it thirty attributes that say that nothing has
happened yet, a queue for its test suite, two Deferreds and an event table that hardly anybody asks for: 8 kB
for a connection that is idle, and most of the time that a handshake takes.

Rules of this file: to a program, and to Autobahn, each attribute is there under its name and can be set for
one connection. Options are attributes of a class that is made for each factory, the rest are attributes of
:class:`Start` itself, or are made when they are asked for (:class:`Lazy`). One test compares a connection
that started here with one that Autobahn has started.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from autobahn.wamp.types import TransportDetails
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.internet.defer import Deferred

__all__ = ["Lazy", "Start", "with_options"]

_Autobahn: Any = object  # the class that stands behind this one in the order of bases

T = TypeVar("T")


class Lazy(Generic[T]):
    """An attribute that is made when it is first asked for; from then on, or when it is set, it is like any
    other.

    :param make: makes it, given the object
    """

    __slots__ = ("_make", "_name")

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        value = self._make(instance)
        setattr(instance, self._name, value)
        return value


def _new(make: Callable[[], T]) -> Any:
    return Lazy(lambda _: make())


def with_options(base: Any, names: Iterable[str], options: object) -> Any:
    """A class like ``base`` whose attributes are the options that ``base`` does not set itself.

    :param base: a protocol class. Something else that makes protocols, or a class that does not let itself be
        subclassed, comes back as it is; its connections copy their options
    :param names: of the options
    :param options: whose attributes they are
    """
    if not isinstance(base, type):
        return base
    members: dict[str, Any] = {
        "__doc__": base.__doc__,
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "CONFIG_ATTRS": (),
    }
    for name in names:
        if not hasattr(base, name):
            value = getattr(options, name)
            # In a class, a function would become a method.
            members[name] = staticmethod(value) if hasattr(type(value), "__get__") else value
    try:
        return type(base)(base.__name__, (base,), members)
    except Exception:
        return base


class Start(_Autobahn):  # type: ignore[misc]
    """The state of a connection to which nothing has happened. To be mixed in before Autobahn's protocol
    class."""

    factory: Any
    CONFIG_ATTRS: Iterable[str]
    openHandshakeTimeout: float

    # In the order of Autobahn's _connectionMade.
    _perMessageCompress: Any = None
    trackedTimings: Any = None
    state = 1  # STATE_CONNECTING
    send_state = 0  # SEND_STATE_GROUND
    data = b""
    triggered = False
    wasMaxFramePayloadSizeExceeded = False
    wasMaxMessagePayloadSizeExceeded = False
    closedByMe = False
    failedByMe = False
    droppedByMe = False
    wasClean = False
    wasNotCleanReason: str | None = None
    wasServerConnectionDropTimeout = False
    wasOpenHandshakeTimeout = False
    wasCloseHandshakeTimeout = False
    wasServingFlashSocketPolicyFile = False
    localCloseCode: int | None = None
    localCloseReason: bytes | None = None
    remoteCloseCode: int | None = None
    remoteCloseReason: str | None = None
    serverConnectionDropTimeoutCall: Any = None
    openHandshakeTimeoutCall: Any = None
    closeHandshakeTimeoutCall: Any = None
    autoPingTimeoutCall: Any = None
    autoPingPending: Any = None
    autoPingPendingCall: Any = None
    autoPingPendingSeq = 0
    autoPingPendingSent: Any = None
    # Of succeedHandshake.
    inside_message = False
    current_frame: Any = None
    # Of the constructors.
    _valid_events = ("message",)

    trafficStats = _new(TrafficStats)
    send_queue = _new(deque)
    utf8validator = _new(Utf8Validator)
    _transport_details = _new(TransportDetails)
    _results = _new(lambda: {"message": None})

    _when_open: Deferred[None] | None = None
    _when_closed: Deferred[Any] | None = None
    _was_told_open = False
    _was_told_closed = False

    def __init__(self) -> None:
        """Not Autobahn's, which makes what is made here when it is asked for."""

    def _connectionMade(self) -> None:
        for name in self.CONFIG_ATTRS:
            if not hasattr(self, name):
                setattr(self, name, getattr(self.factory, name))

    def _start_open_timeout(self) -> None:
        if self.openHandshakeTimeout > 0:
            self.openHandshakeTimeoutCall = self.factory.timer.call_later(
                self.openHandshakeTimeout, self.onOpenHandshakeTimeout
            )

    def _cancel_open_timeout(self) -> None:
        timeout, self.openHandshakeTimeoutCall = self.openHandshakeTimeoutCall, None
        if timeout is not None:
            timeout.cancel()

    @property
    def is_open(self) -> Deferred[None]:
        """Fires with None when the opening handshake is complete."""
        if self._when_open is None:
            self._when_open = Deferred()
            if self._was_told_open:
                self._when_open.callback(None)
        return self._when_open

    @property
    def is_closed(self) -> Deferred[Any]:
        """Fires with the connection when it has ended."""
        if self._when_closed is None:
            self._when_closed = Deferred()
            if self._was_told_closed:
                self._when_closed.callback(self)
        return self._when_closed

    def _tell_open(self) -> None:
        self._was_told_open = True
        if self._when_open is not None:
            self._when_open.callback(None)

    def _tell_closed(self) -> None:
        self._was_told_closed = True
        if self._when_closed is not None:
            self._when_closed.callback(self)
