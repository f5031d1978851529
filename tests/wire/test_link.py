"""The link: who holds reading, what is written, and how a connection ends."""

from __future__ import annotations

import ast
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import INegotiated, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import alsoProvides
from zope.interface.verify import verifyObject

import wsecho
from tests.wire.harness import Loopback, Socket, Transport, certificates
from wsecho.wire.beneath import queued_bytes
from wsecho.wire.link import Hold, Link


class Owner(Protocol):
    """What stands on a link: notes when the close timer fires, and tells the link of its transport's end."""

    link: Link

    def __init__(self) -> None:
        self.timed_out = 0

    def close_timed_out(self) -> None:
        self.timed_out += 1

    def input_released(self) -> None:
        """There is no input here."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.link.ended()


class Producer:
    """A push producer that counts how often it is stopped."""

    def __init__(self) -> None:
        self.stopped = 0

    def pauseProducing(self) -> None:
        raise AssertionError("nothing is full here")

    def resumeProducing(self) -> None:
        raise AssertionError("nothing was full here")

    def stopProducing(self) -> None:
        self.stopped += 1


class LinkTestCase(SynchronousTestCase):
    """A link on a transport without a socket."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = Transport(self.clock)
        self.owner = Owner()
        self.transport.protocol = self.owner
        self.link = self.owner.link = Link(self.transport, self.clock, self.owner, 1024**2)

    def tearDown(self) -> None:
        self.transport.end(ConnectionDone())
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ReadingTests(LinkTestCase):
    """Holding and releasing."""

    def test_hold_pauses(self) -> None:
        """A hold pauses reading, and its release resumes it."""
        self.assertTrue(self.link.is_reading)
        self.link.hold(Hold.PROGRAM)
        self.assertEqual((self.transport.done, self.link.is_reading), (["pauseProducing"], False))
        self.link.release(Hold.PROGRAM)
        self.assertEqual(self.transport.done, ["pauseProducing", "resumeProducing"])
        self.assertTrue(self.link.is_reading)

    def test_last_release_resumes(self) -> None:
        """Reading goes on when nobody holds it any more, in whatever order the holders let go."""
        self.link.hold(Hold.PROGRAM)
        self.link.hold(Hold.DECISION)
        self.assertTrue(self.link.is_held_by(Hold.DECISION))
        self.link.release(Hold.PROGRAM)
        self.assertEqual(self.transport.done, ["pauseProducing"])
        self.assertFalse(self.link.is_held_by(Hold.PROGRAM))
        self.link.release(Hold.DECISION)
        self.assertEqual(self.transport.done, ["pauseProducing", "resumeProducing"])

    def test_hold_twice_is_one_hold(self) -> None:
        """One holder holds once, however often it says so."""
        self.link.hold(Hold.PROGRAM)
        self.link.hold(Hold.PROGRAM)
        self.link.release(Hold.PROGRAM)
        self.assertTrue(self.link.is_reading)
        self.assertEqual(self.transport.done, ["pauseProducing", "resumeProducing"])

    def test_release_without_hold(self) -> None:
        """A release of what was not held touches nothing."""
        self.link.release(Hold.PROGRAM)
        self.assertEqual(self.transport.done, [])

    def test_hold_is_ignored_while_ending(self) -> None:
        """Once the connection is ending nobody holds reading: the peer's end must be seen."""
        self.link.finish(5)
        self.link.hold(Hold.PROGRAM)
        self.assertTrue(self.link.is_reading)
        self.assertNotIn("pauseProducing", self.transport.done)

    def test_release_after_abort(self) -> None:
        """A release after an abort does not make the transport read again."""
        self.link.hold(Hold.PROGRAM)
        self.link.abort()
        self.link.release(Hold.PROGRAM)
        self.assertNotIn("resumeProducing", self.transport.done)


class WritingTests(LinkTestCase):
    """Bytes and producers."""

    def test_write(self) -> None:
        """Bytes and sequences of bytes are written in order."""
        self.link.write(b"a")
        self.link.writeSequence([b"b", b"c"])
        self.assertEqual(self.transport.value(), b"abc")

    def test_nothing_after_finish(self) -> None:
        """What is written once the connection is ending is ignored: the Close frame is the last word."""
        self.link.write(b"last")
        self.link.finish(5)
        self.link.write(b"later")
        self.link.writeSequence([b"later"])
        self.assertEqual(self.transport.value(), b"last")

    def test_producer_follows_the_outbox(self) -> None:
        """A program's producer is registered with the outbox, and unregistered once."""
        producer = Producer()
        self.link.registerProducer(producer, True)
        self.assertIs(self.link.outbox.unregister_producer(), producer)
        self.link.registerProducer(producer, True)
        self.link.unregisterProducer()
        self.link.unregisterProducer()
        self.assertIsNone(self.link.outbox.unregister_producer())
        self.assertEqual(producer.stopped, 0)

    def test_urgent(self) -> None:
        """A control frame is written at once, and not at all behind the last word."""
        self.link.write_urgent("ping", b"ping")
        self.link.finish(5)
        self.link.write_urgent("ping", b"later")
        self.assertEqual(self.transport.value(), b"ping")

    def test_producer_too_late(self) -> None:
        """A producer that comes when the connection is ending is stopped at once."""
        self.link.finish(5)
        producer = Producer()
        self.link.registerProducer(producer, True)
        self.assertEqual((producer.stopped, self.transport.producer), (1, None))

    def test_producer_that_raises(self) -> None:
        """A producer that raises when it is stopped keeps the connection from nothing."""
        ways: list[tuple[Callable[[Link], None], str]] = [
            (lambda link: link.finish(5), "loseWriteConnection"),
            (lambda link: link.peer_finished(5), "loseConnection"),
            (Link.abort, "abortConnection"),
        ]
        for end, last in ways:
            self.setUp()
            producer = Producer()
            producer.stopped = "not a number"  # type: ignore[assignment]
            self.link.registerProducer(producer, True)
            self.assertRaises(TypeError, end, self.link)
            self.assertEqual(self.transport.done[-1], last)
            self.tearDown()

    def test_producer_is_stopped_once(self) -> None:
        """Whichever way the connection ends, a program's producer is told so, exactly once."""
        ways: dict[str, Callable[[Link], None]] = {
            "finish": lambda link: link.finish(5),
            "peer": lambda link: link.peer_finished(5),
            "abort": Link.abort,
            "await": lambda link: link.await_peer(5),
            "timer": lambda link: link.start_close_timer(0),
            "transport": lambda link: None,
        }
        for name, end in ways.items():
            self.setUp()
            producer = Producer()
            self.link.registerProducer(producer, True)
            end(self.link)
            self.clock.advance(0)
            self.transport.end(ConnectionDone())
            self.assertEqual(producer.stopped, 1, name)
            self.tearDown()


class EndingTests(LinkTestCase):
    """Finish, abort, and the close timer."""

    def test_finish_shuts_down_writing_and_reads_on(self) -> None:
        """After the last bytes the writing half is shut down, and reading goes on until the peer ends."""
        self.link.write(b"bye")
        self.link.finish(5)
        self.assertEqual(self.transport.done, ["write", "loseWriteConnection"])

    def test_finish_over_tls(self) -> None:
        """Over TLS close_notify takes the place of the half close."""
        alsoProvides(self.transport, INegotiated)
        link = self.owner.link = Link(self.transport, self.clock, self.owner, 1024**2)
        self.assertTrue(link.is_secure)
        link.finish(5)
        self.assertEqual(self.transport.done, ["loseConnection"])

    def test_finish_without_half_close(self) -> None:
        """A transport that cannot shut down one half is closed."""
        self.transport.loseWriteConnection = None  # type: ignore[assignment,method-assign]
        self.link.finish(5)
        self.assertEqual(self.transport.done, ["loseConnection"])

    def test_finish_reads_again(self) -> None:
        """A held connection reads again when it finishes, so that the peer's end is seen."""
        self.link.hold(Hold.PROGRAM | Hold.DECISION)
        self.link.finish(5)
        self.assertEqual(self.transport.done, ["pauseProducing", "resumeProducing", "loseWriteConnection"])

    def test_finish_once(self) -> None:
        """A second finish changes nothing, not the timer either."""
        self.link.finish(5)
        self.link.finish(50)
        self.assertEqual(self.transport.done, ["loseWriteConnection"])
        self.clock.advance(5)
        self.assertEqual(self.owner.timed_out, 1)

    def test_timer_aborts(self) -> None:
        """A peer that has not ended when the time is up is aborted, after its owner was told."""
        self.link.finish(5)
        self.clock.advance(4.9)
        self.assertEqual((self.owner.timed_out, self.transport.has_ended), (0, False))
        self.clock.advance(0.1)
        self.assertEqual(self.owner.timed_out, 1)
        self.assertEqual(self.transport.done, ["loseWriteConnection", "abortConnection"])

    def test_one_timer_for_all_of_it(self) -> None:
        """One timer covers the answer to Close, the flush and the end: the first call sets it."""
        self.link.start_close_timer(5)
        self.clock.advance(4)
        self.link.start_close_timer(5)
        self.link.finish(5)
        self.clock.advance(1)
        self.assertEqual(self.owner.timed_out, 1)

    def test_peer_finished_closes(self) -> None:
        """When the peer has ended its half, what is queued is flushed and the transport closed."""
        self.link.write(b"echo")
        self.link.peer_finished(5)
        self.link.write(b"later")
        self.assertEqual(self.transport.done, ["write", "loseConnection"])
        self.assertEqual(self.transport.value(), b"echo")
        self.clock.advance(0)
        self.assertTrue(self.transport.has_ended)

    def test_peer_finished_but_does_not_read(self) -> None:
        """A peer that ended its half but reads nothing meets the timer, too."""
        self.transport.reads_nothing = True
        self.link.peer_finished(5)
        self.clock.advance(5)
        self.assertEqual(self.transport.done, ["loseConnection", "abortConnection"])

    def test_await_peer(self) -> None:
        """A client that has said its last word writes nothing more and leaves the end to the server, for as
        long as the timer lets it."""
        self.link.hold(Hold.PROGRAM)
        self.link.write(b"close")
        self.link.await_peer(5)
        self.link.write(b"later")
        self.link.await_peer(50)
        self.assertEqual(self.transport.done, ["pauseProducing", "write", "resumeProducing"])
        self.assertEqual(self.transport.value(), b"close")
        self.clock.advance(5)
        self.assertEqual(self.transport.done[-1], "abortConnection")
        self.assertEqual(self.owner.timed_out, 1)

    def test_both_finished(self) -> None:
        """The peer's end after our half close ends the connection."""
        self.link.finish(5)
        self.link.peer_finished(5)
        self.clock.advance(0)
        self.assertTrue(self.transport.has_ended)
        self.assertEqual(self.owner.timed_out, 0)

    def test_abort(self) -> None:
        """An abort takes the timer along, and its owner is not told of a timeout."""
        self.link.start_close_timer(5)
        self.link.abort()
        self.link.abort()
        self.assertEqual(self.transport.done, ["abortConnection"])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)  # the transport's own
        self.clock.advance(5)
        self.assertEqual(self.owner.timed_out, 0)

    def test_no_timer_after_abort(self) -> None:
        """Nothing waits for a connection that was aborted."""
        self.link.abort()
        self.link.start_close_timer(5)
        self.link.finish(5)
        self.link.peer_finished(5)
        self.assertEqual(self.transport.done, ["abortConnection"])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)  # the transport's own

    def test_loseConnection(self) -> None:
        """Nobody ends a connection behind the protocol's back by Twisted's loseConnection."""
        error = self.assertRaises(NotImplementedError, self.link.loseConnection)
        self.assertIn("sendClose", str(error))
        self.assertEqual(self.transport.done, [])

    def test_nothing_is_touched_after_the_end(self) -> None:
        """Once the transport has ended every call is harmless, none reaches it, and no timer is left."""
        self.link.hold(Hold.PROGRAM)
        self.link.start_close_timer(5)
        self.transport.end(ConnectionAborted())
        self.transport.done.clear()
        producer = Producer()
        self.link.write(b"x")
        self.link.writeSequence([b"x"])
        self.link.hold(Hold.DECISION)
        self.link.release(Hold.PROGRAM)
        self.link.registerProducer(producer, True)
        self.link.unregisterProducer()
        self.link.set_no_delay(True)
        self.link.start_close_timer(5)
        self.link.finish(5)
        self.link.peer_finished(5)
        self.link.await_peer(5)
        self.link.abort()
        self.link.ended()
        self.assertEqual((self.transport.done, self.transport.value()), ([], b""))
        self.assertEqual(producer.stopped, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.link.getHandle())
        self.assertEqual(self.link.queued_bytes, 0)


class AddressTests(LinkTestCase):
    """Who is there."""

    def test_interface(self) -> None:
        """Link provides what a protocol may ask of its transport."""
        self.assertTrue(verifyObject(ITransport, self.link))

    def test_addresses(self) -> None:
        """The addresses are the transport's, and can still be asked for after its end."""
        before = self.link.getPeer(), self.link.getHost()
        self.assertEqual(before, (self.transport.getPeer(), self.transport.getHost()))
        self.transport.end(ConnectionDone())
        self.assertEqual((self.link.getPeer(), self.link.getHost()), before)

    def test_handle(self) -> None:
        """The transport's handle can be looked at."""
        handle = object()
        self.transport.getHandle = lambda: handle  # type: ignore[attr-defined]
        self.assertIs(self.link.getHandle(), handle)

    def test_no_delay(self) -> None:
        """Nagle's algorithm is switched where the transport has it."""
        self.link.set_no_delay(True)
        self.assertEqual(self.transport.no_delay, True)
        self.link.set_no_delay(False)
        self.assertEqual(self.transport.no_delay, False)

    def test_no_delay_where_there_is_none(self) -> None:
        """A transport without Nagle's algorithm, or whose socket refuses, is left alone."""

        def refuse(enabled: bool) -> None:
            raise OSError(22, "Invalid argument")

        for method in (None, refuse):
            self.transport.setTcpNoDelay = method  # type: ignore[assignment,method-assign]
            self.link.set_no_delay(True)


class OnlyOwnerTests(SynchronousTestCase):
    """The sources: nothing but the link calls a transport."""

    #: What ends or paces a transport, whoever it is called on; and what many objects have, when it is called
    #: on a transport.
    ENDING = frozenset({"abortConnection", "loseConnection", "loseWriteConnection", "stopConsuming"})
    PACING = frozenset({"pauseProducing", "resumeProducing", "stopProducing", "startReading", "stopReading"})
    SHARED = frozenset({"write", "writeSequence", "registerProducer", "unregisterProducer", "setTcpNoDelay"})

    #: A tunnel has a transport before there is a connection; the reader of PROXY headers is a transport's
    #: wrapper, and TLS and what a port accepts other transports, and so each itself the transport of a link.
    MODULES = (
        "accepted.py",
        "at_once.py",
        "link.py",
        "outbox.py",
        "tunnel.py",
        "proxy_header.py",
        "tls_transport.py",
    )

    #: The admin endpoint's connections are twisted.web's, and no WebSocket ever has one.
    HTTP = "web/beneath.py"

    #: Pipes between processes of ours, ports that nobody accepts from, and connections to Redis.
    NO_PEERS = (
        "app/workers/crew.py",
        "app/workers/sockets.py",
        "app/workers/worker.py",
        "engines/redis_connection.py",
    )

    #: A port listens, and pauses to accept.
    PORTS = frozenset({"port", "self._port"})

    #: A transport that no connection has got yet is refused.
    OTHERS = frozenset({"transport.abortConnection"})

    def calls(self, source: str) -> set[str]:
        """The calls of transports in a module's source."""
        found = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute) and node.attr in ("transport", "_transport"):
                found.add(f"{ast.unparse(node)} in line {node.lineno}")
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name, owner = node.func.attr, ast.unparse(node.func.value)
            if owner in self.PORTS or f"{owner}.{name}" in self.OTHERS:
                continue
            if name in self.ENDING | self.PACING or (name in self.SHARED and "transport" in owner):
                found.add(f"{owner}.{name} in line {node.lineno}")
        return found

    def test_sources(self) -> None:
        """No module but the link's names a transport, or calls what only transports have."""
        assert wsecho.__file__ is not None
        modules = sorted(Path(wsecho.__file__).parent.rglob("*.py"))
        self.assertIn("link.py", [module.name for module in modules])
        found = {
            str(module): calls
            for module in modules
            if module.name not in self.MODULES
            and not module.as_posix().endswith((self.HTTP, *self.NO_PEERS))
            and (calls := self.calls(module.read_text(encoding="utf-8")))
        }
        self.assertEqual(found, {})

    def test_reading_of_sources(self) -> None:
        """The reading above finds every kind of call that it looks for."""
        for line in ("self.transport.write(b'')", "a.abortConnection()", "x.pauseProducing()"):
            self.assertTrue(self.calls(line), line)
        self.assertEqual(self.calls("self.link.write(b'')\nself.link.registerProducer(p, True)"), set())


class Server(Socket):
    """The server's end of a real connection: a link, and what its transport reports."""

    link: Link

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.timed_out = 0

    def connectionMade(self) -> None:
        self.link = Link(self.transport, self.clock, self, 1024**2)

    def close_timed_out(self) -> None:
        self.timed_out += 1

    def input_released(self) -> None:
        """There is no input here."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.link.ended()
        super().connectionLost(reason)


class SocketTests(TestCase):
    """The same over real sockets: what the kernel and Twisted add."""

    timeout = 5

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = Server(self.clock)
        self.factory = Factory.forProtocol(lambda: self.server)

    def fill(self) -> None:
        """Queue more than the kernel takes for a peer that does not read."""
        handle: Any = self.server.transport
        handle.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.server.link.write(bytes(8 * 1024 * 1024))

    async def test_flushes_before_the_end(self) -> None:
        """All that was written before finish arrives, then the end; and the peer's end after that ends both
        sides without the timer."""
        client = await Loopback(self, self.factory).connect()
        self.server.link.write(bytes(1024 * 1024))
        self.server.link.finish(5)
        self.assertIsInstance(await client.ended, ConnectionDone)
        self.assertEqual(client.received, bytes(1024 * 1024))
        self.assertIsInstance(await self.server.ended, ConnectionDone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_output_is_written_at_once(self) -> None:
        """What is written while nothing waits is the kernel's at once, and what comes later follows in
        order."""
        client = await Loopback(self, self.factory).connect()
        link, handle = self.server.link, cast(Any, self.server.transport)
        link.write(b"first ")
        self.assertEqual(queued_bytes(handle), 0)
        link.write(b"second ")
        link.write(b"third")
        self.assertEqual(link.queued_bytes, 0)
        self.assertEqual(await client.until(lambda data: b"third" in data), b"first second third")

    async def test_output_is_taken_in_part(self) -> None:
        """What the kernel does not take follows."""

        class Narrow:
            """A socket whose kernel takes three bytes at first."""

            def __init__(self, real: Any) -> None:
                self.real = real

            def send(self, data: bytes) -> int:
                handle.socket = self.real
                return int(self.real.send(data[:3]))

        client = await Loopback(self, self.factory).connect()
        handle: Any = self.server.transport
        handle.socket = Narrow(handle.socket)
        self.server.link.write(b"first second")
        self.assertEqual(self.server.link.queued_bytes, len(b"st second"))
        self.assertEqual(await client.until(lambda data: b"second" in data), b"first second")

    async def test_output_to_a_peer_that_left(self) -> None:
        """A broken connection is found out by the transport, not by whoever writes."""
        client = await Loopback(self, self.factory).connect()
        handle: Any = self.server.transport

        class Broken:
            """A socket whose peer has reset the connection."""

            def send(self, data: bytes) -> int:
                handle.socket = real
                raise ConnectionResetError()

        real, handle.socket = handle.socket, Broken()
        self.server.link.write(b"first")
        self.assertEqual(await client.until(lambda data: data == b"first"), b"first")

    async def test_reads_after_the_half_close(self) -> None:
        """Bytes that arrive after finish are read: a reset would destroy what is on its way to the peer."""
        client = await Loopback(self, self.factory).connect()
        client.transport.write(b"x" * 100_000)
        self.server.link.write(b"bye")
        self.server.link.finish(5)
        self.assertIsInstance(await client.ended, ConnectionDone)
        self.assertEqual(client.received, b"bye")
        self.assertIsInstance(await self.server.ended, ConnectionDone)

    async def test_peer_that_reads_nothing(self) -> None:
        """A peer that never reads is aborted by the timer, though bytes are queued for it."""
        client = await Loopback(self, self.factory).connect()
        client.transport.pauseProducing()
        self.fill()
        self.assertGreater(self.server.link.queued_bytes, 1024 * 1024)
        self.server.link.finish(5)
        self.clock.advance(4.9)
        self.assertFalse(self.server.ended.called)
        self.clock.advance(0.1)
        self.assertIsInstance(await self.server.ended, ConnectionAborted)
        self.assertEqual(self.server.timed_out, 1)

    async def test_peer_without_close_notify(self) -> None:
        """Over TLS a peer that never answers close_notify is aborted by the timer."""
        client = await Loopback(self, self.factory, certificates(self.mktemp())).connect()
        client.transport.write(b"hello")
        await self.received(5)
        client.transport.pauseProducing()
        self.server.link.finish(5)
        self.clock.advance(5)
        # What Twisted's TLS makes of an abort.
        self.assertIsInstance(await self.server.ended, ConnectionLost)
        self.assertEqual(self.server.timed_out, 1)

    async def test_close_notify(self) -> None:
        """Over TLS a peer that answers close_notify ends the connection without the timer."""
        client = await Loopback(self, self.factory, certificates(self.mktemp())).connect()
        client.transport.write(b"hello")
        await self.received(5)
        self.assertTrue(self.server.link.is_secure)
        self.server.link.write(b"bye")
        self.server.link.finish(5)
        self.assertIsInstance(await client.ended, ConnectionDone)
        self.assertEqual(client.received, b"bye")
        self.assertIsInstance(await self.server.ended, ConnectionDone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_end_while_held(self) -> None:
        """The end of a peer that came while reading was held is seen after the release."""
        client = await Loopback(self, self.factory).connect()
        self.server.link.hold(Hold.PROGRAM)
        client.transport.write(b"last words")
        client.transport.loseConnection()
        await client.ended
        self.assertEqual((self.server.received, self.server.ended.called), (b"", False))
        self.server.link.release(Hold.PROGRAM)
        self.assertIsInstance(await self.server.ended, ConnectionDone)
        self.assertEqual(self.server.received, b"last words")

    async def test_end_while_held_and_finishing(self) -> None:
        """The end of a peer that came while reading was held is seen when the link finishes."""
        client = await Loopback(self, self.factory).connect()
        self.server.link.hold(Hold.PROGRAM)
        client.transport.loseConnection()
        await client.ended
        self.server.link.finish(5)
        self.assertIsInstance(await self.server.ended, ConnectionDone)

    async def test_unix(self) -> None:
        """A Unix socket has neither port nor Nagle's algorithm, and ends as TCP does."""
        from twisted.internet import reactor

        path = os.path.relpath(os.path.join(self.mktemp()))
        port = await UNIXServerEndpoint(reactor, path).listen(self.factory)
        self.addCleanup(port.stopListening)
        client: Any = await UNIXClientEndpoint(reactor, path).connect(Factory.forProtocol(Socket))
        client.transport.write(b"hello")
        await self.received(5)
        self.server.link.set_no_delay(True)
        self.assertIsInstance(self.server.link.getPeer(), UNIXAddress)
        self.server.link.write(b"bye")
        self.server.link.finish(5)
        self.assertIsInstance(await client.ended, ConnectionDone)
        self.assertEqual(client.received, b"bye")
        self.assertIsInstance(await self.server.ended, ConnectionDone)

    def received(self, size: int) -> Deferred[bytes]:
        """Fires when the server has received so many bytes."""
        return self.server.until(lambda data: len(data) >= size)
