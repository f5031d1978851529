"""A connection's life: the closing handshake, what a program and a service do about ends, half closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autobahn.exception import Disconnected
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from zope.interface import implementer

from tests.wire.harness import (
    CLOSE,
    TEXT,
    Peer,
    Program,
    Transport,
    WireTestCase,
    close,
    closing,
    frame,
    handshake,
)
from wsecho.policy.close_codes import may_be_received, may_be_sent
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.lifecycle import Phase
from wsecho.wire.interfaces import IService


class ClosingTests(WireTestCase):
    """The closing handshake (RFC 6455 section 7)."""

    def test_peer_begins(self) -> None:
        """The peer's Close is echoed, code and reason; then the writing half is shut down, and the program
        learns of it when the transport has ended."""
        for code, reason in ((1000, ""), (1001, "bye"), (3000, "x" * 123), (4999, "grüße")):
            peer = self.peer(self.factory(Program)).open()
            peer.send(close(code, reason.encode()))
            self.assertEqual(peer.frames, [closing(code, reason.encode())])
            self.assertEqual(peer.transport.done, ["write", "loseWriteConnection"])
            self.assertEqual(peer.protocol.told, [("open",)])
            self.assertFalse(peer.protocol.closedByMe)
            peer.finish()
            self.assertEqual(peer.protocol.told[1:], [("close", True, code, reason or None)])

    def test_peer_begins_without_a_code(self) -> None:
        """An empty Close is answered by an empty Close."""
        peer = self.peer(self.factory(Program)).open()
        peer.send(close())
        self.assertEqual(peer.frames, [closing()])
        peer.finish()
        self.assertEqual(peer.protocol.told[-1], ("close", True, None, None))

    def test_every_code_of_a_peer(self) -> None:
        """Each code that may be received is echoed."""
        for code in filter(may_be_received, range(1000, 5000, 7)):
            peer = self.peer(self.factory()).open()
            peer.send(close(code))
            self.assertEqual(peer.frames, [closing(code)])

    def test_without_echo(self) -> None:
        """A program that switches the echo off answers 1000 instead."""
        factory = self.factory()
        factory.setProtocolOptions(echoCloseCodeReason=False)
        peer = self.peer(factory).open()
        peer.send(close(4000, b"x"))
        self.assertEqual(peer.frames, [closing(1000)])

    def test_nothing_behind_it(self) -> None:
        """What the peer sends behind its Close is not read, and it gets no second Close."""
        peer = self.peer(self.factory(Program)).open()
        peer.send(close(1000) + frame(TEXT, b"x") + close(1001))
        peer.send(frame(TEXT, b"y"))
        self.assertEqual(peer.frames, [closing(1000)])
        self.assertEqual(peer.protocol.told, [("open",)])

    def test_we_begin(self) -> None:
        """After our Close the peer's answer ends the handshake; the program learns the peer's code."""
        peer = self.peer(self.factory(Program)).open()
        peer.protocol.sendClose(4000, "done")
        self.assertEqual(peer.frames, [closing(4000, b"done")])
        self.assertTrue(peer.protocol.closedByMe)
        self.assertEqual(peer.transport.done, ["write"])
        self.assertEqual(peer.protocol.phase, Phase.CLOSING)
        peer.send(close(4001, b"too"))
        self.assertEqual(peer.transport.done, ["write", "loseWriteConnection"])
        peer.finish()
        self.assertEqual(peer.protocol.told[-1], ("close", True, 4001, "too"))
        self.assertEqual(peer.protocol.end, End(EndReason.SERVER_CLOSE, 4000))

    def test_codes(self) -> None:
        """sendClose takes every code that may be sent, and no other; a refused one changes nothing."""
        for code in (*range(990, 1020), *range(2990, 3010), 4000, 4999, 5000, 65536, -1):
            peer = self.peer(self.factory()).open()
            if may_be_sent(code):
                peer.protocol.sendClose(code)
                self.assertEqual(peer.frames, [closing(code)])
            else:
                error = self.assertRaises(ValueError, peer.protocol.sendClose, code)
                self.assertIn(repr(code), str(error))
                self.assertEqual((peer.frames, peer.protocol.end), ([], None))
                self.assertEqual(peer.protocol.phase, Phase.OPEN)

    def test_not_a_code(self) -> None:
        """What is no code, or no reason, is refused before anything is sent."""
        for arguments in ((True,), (1000.0,), ("1000",), (None, "reason"), (1000, b"reason"), (1000, 7)):
            peer = self.peer(self.factory()).open()
            error = self.assertRaises((TypeError, ValueError), peer.protocol.sendClose, *arguments)
            self.assertIn("close", str(error))
            self.assertEqual((peer.frames, peer.protocol.end), ([], None))
            peer.protocol.sendClose()
            self.assertEqual(peer.frames, [closing()])

    def test_frames_of_ones_own(self) -> None:
        """A Close frame that must not be on the wire cannot be sent by Autobahn's sendCloseFrame either."""
        peer = self.peer(self.factory()).open()
        for arguments in ((1005,), (1006, b"x"), (1000, b"x" * 124), (None, b"x")):
            self.assertRaises(ValueError, peer.protocol.sendCloseFrame, *arguments)
        self.assertEqual((peer.frames, peer.protocol.end), ([], None))
        peer.protocol.sendCloseFrame(4000, b"mine")
        self.assertEqual(peer.frames, [closing(4000, b"mine")])
        self.assertEqual(peer.protocol.end, End(EndReason.SERVER_CLOSE, 4000))

    def test_reason_is_cut(self) -> None:
        """A reason is cut to what a control frame holds, between characters."""
        peer = self.peer(self.factory()).open()
        peer.protocol.sendClose(1000, "x" + "€" * 100)
        self.assertEqual(peer.frames, [closing(1000, ("x" + "€" * 40).encode())])

    def test_once(self) -> None:
        """Close is sent once, whatever comes later."""
        peer = self.peer(self.factory()).open()
        peer.protocol.sendClose(1000)
        peer.protocol.sendClose(1001)
        peer.protocol.sendCloseFrame(1002)
        peer.protocol.factory.shutdown()
        peer.send(close(1000))
        peer.protocol.sendClose(1001)
        self.assertEqual(peer.frames, [closing(1000)])
        peer.leave()
        peer.protocol.sendClose(1001)

    def test_not_open_yet(self) -> None:
        """A connection that is not open yet cannot be closed by a frame; saying so beats opening it
        nevertheless."""
        peer = self.peer(self.factory(origins=lambda _: Deferred()))
        self.assertRaises(Disconnected, peer.protocol.sendClose, 1000)
        peer.send(handshake())
        self.assertRaises(Disconnected, peer.protocol.sendClose, 1000)
        self.assertEqual(peer.transport.value(), b"")

    def test_unanswered(self) -> None:
        """A peer that does not answer Close is aborted after the close timeout; the program learns that it
        was not clean."""
        peer = self.peer(self.factory(Program, close_timeout=5)).open()
        peer.protocol.sendClose(1000)
        self.clock.advance(4.9)
        self.assertEqual(peer.transport.done, ["write"])
        self.clock.advance(0.1)
        self.assertEqual(peer.transport.done, ["write", "abortConnection"])
        self.clock.advance(0)
        self.assertEqual(peer.protocol.told[-1][:3], ("close", False, 1006))
        self.assertTrue(peer.protocol.wasCloseHandshakeTimeout)

    def test_more_time(self) -> None:
        """Whoever closes may give the peer more time than the close timeout, never less."""
        for at_least, expected in ((60, 60), (1, 5)):
            peer = self.peer(self.factory(close_timeout=5)).open()
            peer.protocol.close_with(EndReason.SHUTDOWN, 1001, at_least=at_least)
            self.clock.advance(expected - 0.5)
            self.assertFalse(peer.transport.disconnecting)
            self.clock.advance(0.5)
            self.assertTrue(peer.transport.disconnecting)

    def test_option_of_autobahn(self) -> None:
        """A program may set the close timeout by Autobahn's option; for ever, its 0, there is not."""
        for seconds, effective in ((2, 2), (0, 5)):
            factory = self.factory(close_timeout=5)
            factory.setProtocolOptions(closeHandshakeTimeout=seconds)
            peer = self.peer(factory).open()
            peer.protocol.sendClose(1000)
            self.clock.advance(effective - 0.1)
            self.assertEqual(peer.transport.done, ["write"])
            self.clock.advance(0.1)
            self.assertEqual(peer.transport.done, ["write", "abortConnection"])

    def test_one_time_for_all_of_it(self) -> None:
        """The close timeout runs from our Close to the end of TCP: a peer that answers late and then does not
        end has no more of it."""
        peer = self.peer(self.factory(close_timeout=5)).open()
        peer.protocol.sendClose(1000)
        self.clock.advance(4)
        peer.send(close(1000))
        self.clock.advance(1)
        self.assertEqual(peer.transport.done[-1], "abortConnection")

    def test_peer_that_does_not_read(self) -> None:
        """A peer that sent Close but does not read is aborted after the close timeout."""
        transport = Transport(self.clock)
        transport.reads_nothing = True
        peer = self.peer(self.factory(close_timeout=5), transport).open()
        peer.send(close(1000))
        self.clock.advance(5)
        self.assertEqual(transport.done[-1], "abortConnection")


class DroppingTests(WireTestCase):
    """A program that ends the transport itself."""

    def test_drop(self) -> None:
        """dropConnection flushes and shuts down, without a Close frame."""
        peer = self.peer(self.factory(Program)).open()
        peer.protocol.sendMessage(b"last")
        peer.protocol.dropConnection()
        self.assertEqual(peer.messages(), ["last"])
        self.assertEqual(peer.transport.done, ["write", "loseWriteConnection"])
        peer.finish()
        self.assertEqual(peer.protocol.told[-1][:3], ("close", False, 1006))

    def test_abort(self) -> None:
        """dropConnection(abort=True) ends at once."""
        peer = self.peer(self.factory(Program)).open()
        peer.protocol.dropConnection(abort=True)
        peer.protocol.dropConnection(abort=True)
        peer.protocol.dropConnection()
        self.assertEqual(peer.transport.done, ["write", "abortConnection"])

    def test_by_autobahns_name(self) -> None:
        """Autobahn's own name for it goes the same way."""
        peer = self.peer(self.factory()).open()
        peer.protocol._closeConnection(abort=True)
        self.assertEqual(peer.transport.done[-1], "abortConnection")

    def test_after_close(self) -> None:
        """A program that has no patience with the closing handshake may drop the connection."""
        peer = self.peer(self.factory()).open()
        peer.protocol.sendClose(1000)
        peer.protocol.dropConnection()
        self.assertEqual(peer.transport.done, ["write", "loseWriteConnection"])
        self.assertEqual(peer.protocol.end, End(EndReason.SERVER_CLOSE, 1000))
        peer.protocol.dropConnection(abort=True)
        self.assertEqual(peer.transport.done[-1], "abortConnection")

    def test_before_it_is_open(self) -> None:
        """A connection that is dropped before it is open never opens, though its decision comes."""
        for abort in (True, False):
            for head in (b"GET / HT", handshake()):
                verdict: Deferred[bool] = Deferred()
                peer = self.peer(self.factory(Program, origins=lambda _, verdict=verdict: verdict))
                peer.send(head)
                peer.protocol.dropConnection(abort=abort)
                self.assertEqual(peer.transport.done, ["abortConnection" if abort else "loseWriteConnection"])
                if not verdict.called:
                    verdict.callback(True)
                self.clock.advance(0)
                self.assertEqual(peer.transport.value(), b"")
                peer.leave()
                self.assertEqual([what for what, *_ in peer.protocol.told], ["close"])
                self.assertEqual(peer.protocol.end, End(EndReason.ABORTED))

    def test_in_onConnect(self) -> None:
        """A connection that is dropped in onConnect never opens."""

        class Dropping(Program):
            def onConnect(self, request: Any) -> Any:
                self.dropConnection()
                return super().onConnect(request)

        peer = self.peer(self.factory(Dropping))
        peer.send(handshake())
        self.assertEqual(peer.transport.value(), b"")
        peer.leave()
        self.assertEqual([what for what, *_ in peer.protocol.told], ["close"])


class HalfCloseTests(WireTestCase):
    """A peer that ends its sending half."""

    def test_replies_arrive(self) -> None:
        """A peer that sends and then shuts down its half gets its replies before the connection ends."""
        peer = self.peer(self.factory(Program)).open()
        peer.send(frame(TEXT, b"one") + frame(TEXT, b"two"))
        peer.protocol.readConnectionLost()
        self.assertEqual(peer.messages(), ["one", "two"])
        self.assertEqual(peer.transport.done, ["write", "loseConnection"])
        self.clock.advance(0)
        self.assertEqual(peer.protocol.told[-1][:3], ("close", False, 1006))
        self.assertEqual(peer.protocol.end, End(EndReason.PEER_GONE))

    def test_reads_nothing(self) -> None:
        """One that then does not read is aborted by the close timer."""
        transport = Transport(self.clock)
        transport.reads_nothing = True
        peer = self.peer(self.factory(Program, close_timeout=5), transport).open()
        peer.send(frame(TEXT, b"one"))
        peer.finish()
        self.assertFalse(transport.has_ended)
        self.clock.advance(5)
        self.assertEqual(transport.done[-1], "abortConnection")

    def test_our_half_is_done(self) -> None:
        """That our own half is shut down is no reason to do anything."""
        peer = self.peer(self.factory()).open()
        peer.send(close(1000))
        before = list(peer.transport.done)
        peer.protocol.writeConnectionLost()
        self.assertEqual(peer.transport.done, before)

    def test_no_more_messages(self) -> None:
        """Once the peer has ended its half nothing can be sent to it."""
        peer = self.peer(self.factory()).open()
        peer.protocol.readConnectionLost()
        self.assertRaises(Disconnected, peer.protocol.sendMessage, b"x")
        self.assertEqual(peer.protocol.factory.connections, set())


@implementer(IService)
class Meddler:
    """A service that, told of an end, does something to the connection."""

    def __init__(self, deed: Callable[[Any], Any]) -> None:
        self.deed = deed
        self.told: list[str] = []

    def opened(self, connection: Any) -> None:
        self.told.append("opened")

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        self.told.append("message")

    def closed(self, connection: Any) -> None:
        self.told.append("closed")
        self.deed(connection)


class ServiceTests(WireTestCase):
    """What a service is told of an end, and what it may do then."""

    DEEDS: tuple[Callable[[Any], Any], ...] = (
        lambda connection: None,
        lambda connection: connection.sendClose(1000),
        lambda connection: connection.dropConnection(),
        lambda connection: connection.dropConnection(abort=True),
        lambda connection: connection.pause_reading(),
        lambda connection: connection.is_closed.addCallback(lambda c: c.dropConnection(abort=True)),
        lambda connection: 1 / 0,
    )

    WAYS: tuple[Callable[[Peer], Any], ...] = (
        lambda peer: peer.send(close(1000)),
        lambda peer: peer.protocol.sendClose(1000),
        lambda peer: peer.send(frame(TEXT, mask=b"")),
        lambda peer: peer.protocol.dropConnection(),
        lambda peer: peer.protocol.dropConnection(abort=True),
        lambda peer: peer.finish(),
        lambda peer: peer.reset(),
        lambda peer: peer.protocol.factory.shutdown(),
    )

    def test_closed_once(self) -> None:
        """However a connection ends and whatever the service does about it, it is told once, at once, and all
        is over within the close timeout."""
        for deed in self.DEEDS:
            for way in self.WAYS:
                service = Meddler(deed)
                factory = self.factory(Program, route=lambda path, service=service: service)
                peer = self.peer(factory).open()
                way(peer)
                self.assertEqual(service.told, ["opened", "closed"])
                self.assertEqual(factory.connections, set())
                if not peer.transport.disconnecting and not peer.transport.has_ended:
                    peer.send(frame(TEXT, b"x"))
                self.clock.advance(5)
                self.clock.advance(0)
                self.assertTrue(peer.transport.has_ended)
                self.assertEqual(service.told, ["opened", "closed"])
                self.assertEqual([what for what, *_ in peer.protocol.told].count("close"), 1)
                self.assertEqual(factory.getConnectionCount(), 0)
                self.assertEqual(self.clock.getDelayedCalls(), [])
                self.flushLoggedErrors(ZeroDivisionError)

    def test_never_opened(self) -> None:
        """Of a connection that never opened a service hears nothing."""
        service = Meddler(lambda connection: None)
        factory = self.factory(route=lambda path: service, origins=lambda _: Deferred())
        peer = self.peer(factory)
        peer.send(handshake())
        peer.leave()
        self.assertEqual(service.told, [])

    def test_exception_is_logged(self) -> None:
        """An exception when it is told of the end is logged with the connection's number, and changes
        nothing."""
        service = Meddler(lambda connection: 1 / 0)
        peer = self.peer(self.factory(route=lambda path: service)).open()
        peer.send(close(1000))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn(f"{peer.protocol.id} closed failed", self.log)
        self.assertEqual(peer.frames, [closing(1000)])

    def test_ended_in_opened(self) -> None:
        """A service that ends the connection when it is told of the opening: onOpen is not called, and
        nothing that had arrived is read."""
        for deed in self.DEEDS[1:4]:

            class Closing(Meddler):
                def opened(self, connection: Any) -> None:
                    super().opened(connection)
                    self.deed(connection)

                def closed(self, connection: Any) -> None:
                    self.told.append("closed")

            service = Closing(deed)
            peer = self.peer(self.factory(Program, route=lambda path, service=service: service))
            peer.send(handshake() + frame(TEXT, b"early"))
            self.assertEqual(service.told, ["opened", "closed"])
            self.assertEqual(peer.protocol.told, [])

    def test_raises_in_opened(self) -> None:
        """A service that raises when it is told of the opening ends the connection with 1011."""

        class Raising(Meddler):
            def opened(self, connection: Any) -> None:
                raise ZeroDivisionError

        peer = self.peer(self.factory(Program, route=lambda path: Raising(lambda c: None))).open()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(peer.frames, [closing(1011, b"internal error")])


class DeferredTests(WireTestCase):
    """Autobahn's two Deferreds of a connection."""

    def test_open_and_closed(self) -> None:
        """is_open fires when it opens, is_closed once when it is dropped, whichever way."""
        for way in ServiceTests.WAYS:
            peer = self.peer(self.factory())
            opened, closed = peer.protocol.is_open, peer.protocol.is_closed
            self.assertNoResult(opened)
            peer.open()
            self.assertIsNone(self.successResultOf(opened))
            self.assertNoResult(closed)
            way(peer)
            self.clock.advance(5)
            peer.leave()
            self.assertIs(self.successResultOf(closed), peer.protocol)


class OrderTests(WireTestCase):
    """What follows what."""

    def test_peer_leaves_in_mid_frame(self) -> None:
        """A peer that leaves in the middle of a frame leaves nothing undone."""
        for reason in (ConnectionDone(), ConnectionLost()):
            peer = self.peer(self.factory(Program)).open()
            peer.send(frame(TEXT, b"hello")[:4])
            peer.transport.end(reason)
            self.assertEqual([what for what, *_ in peer.protocol.told], ["open", "close"])

    def test_close_frames_only_in_their_phase(self) -> None:
        """No Close frame is written to a connection that is not open any more."""
        peer = self.peer(self.factory()).open()
        peer.protocol.dropConnection()
        peer.protocol._fail_connection(1008, "too late")
        peer.protocol.sendClose(1000)
        self.assertNotIn(CLOSE, [one.opcode for one in peer.frames])

    def test_transport_is_the_link(self) -> None:
        """Autobahn, and the program, see the link as the transport."""
        peer = self.peer(self.factory()).open()
        self.assertIs(peer.protocol.transport, peer.protocol.link)
