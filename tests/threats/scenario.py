"""What a scenario is, and the stage on which it is played."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import wrapServerTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogEvent, formatEventAsClassicLogText, globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.threats.subjects import WSECHO, Situation, Subject
from tests.wire.harness import Loopback, Transport, certificates
from wsecho.wire.link import Link
from wsecho.wire.tls_transport import TlsEndpoint, TlsFactory

__all__ = ["Outcome", "Scenario", "Stage", "Visit", "Visitor", "scenario"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a server did.

    :ivar withstood: whether it did what is asked of it
    :ivar happened: what was seen, for the table; no figure that differs from run to run
    """

    withstood: bool
    happened: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """One threat.

    :ivar name: for the test methods
    :ivar threat: what the peer does
    :ivar clause: what says how it should end, or where it went wrong before
    :ivar falls: names of the subjects that are known to fall; the tests assert that they do
    :ivar attack: plays it and judges
    """

    name: str
    threat: str
    clause: str
    falls: frozenset[str]
    attack: Callable[[Stage], Outcome | Awaitable[Outcome]]

    def play(self, subject: Subject, directory: str) -> Deferred[Outcome]:
        """Play it against a server; `directory` is made when certificates are needed."""
        return Deferred.fromCoroutine(self._play(Stage(subject, directory)))

    async def _play(self, stage: Stage) -> Outcome:
        try:
            outcome = self.attack(stage)
            return outcome if isinstance(outcome, Outcome) else await outcome
        finally:
            await stage.clear()


def scenario(
    threat: str, clause: str, *, falls: Collection[Subject] = ()
) -> Callable[[Callable[[Stage], Outcome | Awaitable[Outcome]]], Scenario]:
    """Make a function a scenario of the same name."""

    def make(attack: Callable[[Stage], Outcome | Awaitable[Outcome]]) -> Scenario:
        names = frozenset(subject.name for subject in falls)
        return Scenario(attack.__name__, threat, clause, names, attack)

    return make


class _Transport(Transport):
    """A transport that, like Twisted's own, bears being used after its end and without a producer."""

    def _note(self, what: str) -> None:
        if not self.has_ended:
            super()._note(what)

    def unregisterProducer(self) -> None:
        if self.producer is not None:
            super().unregisterProducer()


class Visitor:
    """A peer without a socket.

    :ivar protocol: the server's protocol
    :ivar transport: the server's transport
    """

    def __init__(self, factory: Any, clock: Clock, host: str = "127.0.0.1") -> None:
        self.transport = _Transport(clock, IPv4Address("TCP", host, 40000))
        self.protocol: Any = factory.buildProtocol(self.transport.getPeer())
        self.transport.protocol = self.protocol
        self._clock = clock
        self.protocol.makeConnection(self.transport)

    def send(self, *pieces: bytes) -> None:
        """Send each piece in a segment of its own, as long as the server takes any."""
        for piece in pieces:
            if self.transport.has_ended:
                break
            self.protocol.dataReceived(piece)
            self._clock.advance(0)

    @property
    def received(self) -> bytes:
        """What the server wrote."""
        written: bytes = self.transport.value()
        return written

    @property
    def status(self) -> int | None:
        """The status of the server's first HTTP answer; None when there is none."""
        line = self.received.partition(b"\r\n")[0].split(b" ")
        return int(line[1]) if len(line) > 1 and line[0] == b"HTTP/1.1" else None

    @property
    def is_ending(self) -> bool:
        """Whether the server has begun to end the connection."""
        return self.transport.disconnecting or "loseWriteConnection" in self.transport.done

    def finish(self) -> None:
        """End the connection from the peer's side."""
        if not self.transport.has_ended:
            self.transport.end(ConnectionDone())
            self._clock.advance(0)


class Visit:
    """A connection over loopback.

    :ivar socket: the peer's end
    :ivar protocol: the server's protocol
    :ivar is_held: whether the server still has the descriptor
    """

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.socket: Any = None
        self.is_held = True
        self._waiting: list[Deferred[None]] = []
        lost = protocol.connectionLost

        def note(reason: Any) -> None:
            self.is_held = False
            lost(reason)
            for deferred in self._waiting:
                deferred.callback(None)

        protocol.connectionLost = note

    def freed(self) -> Deferred[None]:
        """Fires when the server has given the connection up."""
        deferred: Deferred[None] = Deferred()
        if self.is_held:
            self._waiting.append(deferred)
        else:
            deferred.callback(None)
        return deferred

    def abort(self) -> Deferred[None]:
        """End it on the server's side, whatever the server thinks."""
        if self.is_held:
            transport = self.protocol.transport
            if isinstance(transport, Link):
                transport.abort()
            else:
                transport.abortConnection()
        return self.freed()


class Stage:
    """Where a scenario is played: a server of one kind, its peers, its log.

    :ivar subject: the kind of server
    :ivar clock: the time, for peers without sockets
    :ivar log: what the log file would have, an entry for each event
    """

    def __init__(self, subject: Subject, directory: str) -> None:
        self.subject = subject
        self.clock = Clock()
        self.log: list[str] = []
        self._directory = directory
        self._cleanups: list[Callable[[], Any]] = []
        self._loopback: Loopback | None = None
        self._visits: list[Visit] = []
        globalLogPublisher.addObserver(self._observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def _observe(self, event: LogEvent) -> None:
        self.log.append(formatEventAsClassicLogText(event) or "")

    def addCleanup(self, function: Callable[..., Any], *args: Any) -> None:
        """Call it at the end; the last first."""
        self._cleanups.append(lambda: function(*args))

    async def clear(self) -> None:
        """End everything."""
        while self._cleanups:
            await maybeDeferred(self._cleanups.pop())

    # -- without sockets -----------------------------------------------------------------------------

    def factory(self, **situation: Any) -> Any:
        """A factory of the server on the stage's clock."""
        return self.subject.factory(self.clock, Situation(**situation))

    def visitor(self, factory: Any = None, host: str = "127.0.0.1", **situation: Any) -> Visitor:
        """A peer at the address `host` that has connected and sent nothing."""
        visitor = Visitor(self.factory(**situation) if factory is None else factory, self.clock, host)
        self.addCleanup(visitor.finish)
        return visitor

    def tls_visitor(self, **situation: Any) -> Visitor:
        """A peer that has connected to a TLS listener and sent nothing."""
        creator = certificates(self._directory).server
        make: Any = TlsFactory if self.subject is WSECHO else TLSMemoryBIOFactory
        return self.visitor(make(creator, False, self.factory(**situation), clock=self.clock))

    # -- over loopback -------------------------------------------------------------------------------

    async def visit(self, *, tls: bool = False, **situation: Any) -> Visit:
        """A peer that has connected over loopback; the first decides about TLS and the situation."""
        from twisted.internet import reactor

        if self._loopback is None:
            factory = self.subject.factory(reactor, Situation(**situation))
            build = factory.buildProtocol

            def build_noted(address: Any) -> Any:
                protocol = build(address)
                self._visits.append(Visit(protocol))
                return protocol

            factory.buildProtocol = build_noted
            test: Any = self  # of a TestCase, it needs addCleanup
            self._loopback = Loopback(
                test,
                factory,
                certificates(self._directory) if tls else None,
                TlsEndpoint if self.subject is WSECHO else wrapServerTLS,
            )
        before = len(self._visits)
        socket = await self._loopback.connect()
        while len(self._visits) == before:
            # The kernel has accepted the connection; the server may not have.
            await self.passed(0)
        visit = self._visits[before]
        visit.socket = socket
        self.addCleanup(visit.abort)
        return visit

    async def passed(self, seconds: float) -> None:
        """Real time."""
        from twisted.internet import reactor

        await deferLater(reactor, seconds)

    async def within(self, seconds: float, deferred: Deferred[Any]) -> bool:
        """Whether it fires in so many seconds of real time; it is cancelled if not."""
        from twisted.internet import reactor

        in_time = True

        def late(_: object, __: float) -> None:
            nonlocal in_time
            in_time = False

        deferred.addTimeout(seconds, reactor, late)
        await deferred
        return in_time
