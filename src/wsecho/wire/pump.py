"""The pump: one descriptor for many sockets, plain or with our TLS, read in one native loop.

Rules of this file: it says which connections the pump reads, and joins the compiled part to the reactor. A
transport that the pump reads is in none of the reactor's lists of readers: the link owns that, and takes it
back before anything is ended. Only the reactor for epoll has a pump; everywhere else transports read as
always.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsecho.wire.accepted import SOCKETS
from wsecho.wire.beneath import epoll_of
from wsecho.wire.lane import native

if TYPE_CHECKING:
    from wsecho.wire._lane import Pump as _Native
else:
    _Native = object if native is None else native.Pump

__all__ = ["Pump", "plain_socket", "pump_of"]

_log = Logger("wsecho")
_EPOLL = "twisted.internet.epollreactor.EPollReactor"
_pumps: WeakKeyDictionary[Any, Pump] = WeakKeyDictionary()


@implementer(IReadDescriptor)
class Pump(_Native):
    """Reads the connections of one reactor.

    :param reactor: ``IReactorFDSet`` and ``IReactorTime``
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor, epoll_of(reactor))
        self._call: IDelayedCall | None = None

    def doRead(self) -> None:
        """A socket is readable."""
        self.turn()

    def logPrefix(self) -> str:
        """The name of what runs, for ``twisted.python.log``."""
        return "wsecho"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor drops everything that it reads: transports shall hear of it, too."""
        self.stop()

    # Watched only while it has something to read: a reader that stays behind keeps a reactor that is cleaned
    # up, as trial does, from being empty.

    def begin_watching(self) -> None:
        self.reactor.addReader(self)

    def end_watching(self) -> None:
        self.reactor.removeReader(self)

    def need_turn(self) -> None:
        if self._call is None:
            self._call = self.reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        self._call = None
        self.turn()

    def broke(self, lane: Any) -> None:
        # Nothing of the program's comes here; whatever it is, it must not stop the others.
        _log.failure("a connection broke in the pump")
        lane.drop()


def pump_of(reactor: Any) -> Pump | None:
    """The pump of a reactor that runs; None when it can have none.

    It is made when the reactor runs, not before: a daemon forks first, and a fork shares what is registered.
    """
    if native is None:
        return None
    pump = _pumps.get(reactor)
    if pump is not None:
        return pump
    # By name: where there is no epoll, there is no such class to compare with.
    kind = type(reactor)
    if f"{kind.__module__}.{kind.__name__}" == _EPOLL and reactor.running:
        pump = _pumps[reactor] = Pump(reactor)
        # A transport that the pump reads would hear nothing of the reactor's end.
        reactor.addSystemEventTrigger("before", "shutdown", pump.stop)
    return pump


def plain_socket(transport: Any) -> Any:
    """The socket of a transport that is nothing but a socket; None for TLS and for every wrapper."""
    if type(transport) not in SOCKETS or transport.TLS or not transport.connected:
        return None
    return transport.getHandle()


def _forget_all() -> None:
    for pump in _pumps.values():
        pump.forget_all()
    _pumps.clear()


if native is not None:
    os.register_at_fork(after_in_child=_forget_all)
