"""Tests for wsecho.wire.accepting, with ports of Twisted's own: what it watches is no public interface."""

import errno
import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from wsecho.wire.accepting import watch_accepts

the_reactor: Any = reactor


class FakeSocket:
    """Accepts what the test says."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)

    def accept(self) -> Any:
        result = self.results.pop(0)
        if isinstance(result, int):
            raise OSError(result, os.strerror(result))
        return result

    def fileno(self) -> int:
        return 7


class Port:
    """Has a socket."""

    def __init__(self, *results: Any) -> None:
        self.socket: Any = FakeSocket(*results)
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")


class WatchTests(SynchronousTestCase):
    """What is told, and when."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.failures: list[OSError] = []

    def watched(self, *results: Any) -> Any:
        """The socket of a port that is watched."""
        port = Port(*results)
        watch_accepts(port, self.clock, self.failures.append)
        return port.socket

    def test_accepted(self) -> None:
        """What is accepted goes through, and nothing is told."""
        watched = self.watched(("client", "address"))
        self.assertEqual(watched.accept(), ("client", "address"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failure(self) -> None:
        """A failure goes through at once, and is told in a later turn."""
        watched = self.watched(errno.EMFILE)
        self.assertRaises(OSError, watched.accept)
        self.assertEqual(self.failures, [])
        self.clock.advance(0)
        self.assertEqual([failure.errno for failure in self.failures], [errno.EMFILE])

    def test_no_failures(self) -> None:
        """That nobody is there any more, or a packet filter refused, is no failure."""
        for number in (errno.EAGAIN, errno.EINTR, errno.EPERM):
            self.assertRaises(OSError, self.watched(number).accept)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def accept_all(self, *results: Any, is_paused: bool = False) -> Port:
        """Have a port accept once for each result; the port."""
        port = Port(*results)
        watch_accepts(port, self.clock, self.failures.append, lambda: is_paused)
        for result in results:
            if isinstance(result, int):
                self.assertRaises(OSError, port.socket.accept)
            else:
                port.socket.accept()
        return port

    def test_rest(self) -> None:
        """A port that fails twice in a row rests for a second, and then tries again; while it still fails, it
        tries once for each rest."""
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            port = self.accept_all(number, number)
            self.assertEqual(port.calls, ["pause"])
            self.clock.advance(0.9)
            self.assertEqual(port.calls, ["pause"])
            self.clock.advance(0.1)
            self.assertEqual(port.calls, ["pause", "resume"])
            port.socket._socket.results = [number, ("client", "address"), number]
            self.assertRaises(OSError, port.socket.accept)
            self.assertEqual(port.calls, ["pause", "resume", "pause"])
            self.clock.advance(1)
            port.socket.accept()
            self.assertRaises(OSError, port.socket.accept)
            self.assertEqual(port.calls, ["pause", "resume", "pause", "resume"])
            self.assertEqual([failure.errno for failure in self.failures[-3:]], [number] * 3)

    def test_no_rest(self) -> None:
        """A port that has accepted in between, or found the queue empty, or lost a peer, does not rest."""
        for results in (
            (errno.EMFILE, ("client", "address"), errno.EMFILE),
            (errno.EMFILE, errno.EAGAIN, errno.EMFILE),
            (errno.ECONNABORTED, errno.ECONNABORTED, errno.EMFILE),
        ):
            self.assertEqual(self.accept_all(*results).calls, [])

    def test_rest_while_paused(self) -> None:
        """A port that is paused for another reason when it has rested stays so."""
        port = self.accept_all(errno.EMFILE, errno.EMFILE, is_paused=True)
        self.clock.advance(1)
        self.assertEqual(port.calls, ["pause"])

    def test_everything_else_goes_through(self) -> None:
        """The socket is otherwise the port's own."""
        self.assertEqual(self.watched().fileno(), 7)

    def test_other_ports(self) -> None:
        """A port without a socket is left as it is."""
        port: Any = object()
        watch_accepts(port, self.clock, self.failures.append)


class TwistedTests(TestCase):
    """Ports of Twisted's reactor."""

    async def show(self, port: Any, family: int, address: Any) -> None:
        """A port goes on accepting after a failure that was told."""
        failures: list[OSError] = []
        told: Deferred[None] = Deferred()

        def failed(error: OSError) -> None:
            failures.append(error)
            told.callback(None)

        # Fails once, as with no descriptor left and none in reserve.
        real = port.socket

        class Failing:
            def accept(self) -> Any:
                port.socket._socket = real
                raise OSError(errno.ENFILE, "no")

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

        port.socket = Failing()
        watch_accepts(port, the_reactor, failed)
        with socket.socket(family) as client:
            client.connect(address)
            await told
            self.assertEqual([failure.errno for failure in failures], [errno.ENFILE])
            await port.factory.accepted

    def port_factory(self) -> Any:
        """Notes the first connection, and ends it."""

        class Noting(Protocol):
            def connectionMade(self) -> None:
                port_factory.accepted.callback(None)
                self.transport.loseConnection()  # type: ignore[union-attr]

        port_factory: Any = Factory.forProtocol(Noting)
        port_factory.noisy = False
        port_factory.accepted = Deferred()
        return port_factory

    async def test_tcp(self) -> None:
        """A TCP port uses the socket that is its attribute."""
        port = the_reactor.listenTCP(0, self.port_factory(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        await self.show(port, socket.AF_INET, ("127.0.0.1", port.getHost().port))

    async def test_unix(self) -> None:
        """So does the port of a unix socket."""
        path = os.path.relpath(self.mktemp())
        port = the_reactor.listenUNIX(path, self.port_factory())
        self.addCleanup(port.stopListening)
        await self.show(port, socket.AF_UNIX, path)
