"""Tests for the pump: who is read, in which order, and that a connection that has left is never mistaken for
another."""

import contextlib
import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.internet import reactor as _reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.harness import BINARY, PING, TEXT, Frame, frame, parse_frames
from tests.wire.lane_harness import Case
from wsecho.wire import pump
from wsecho.wire.lane import native
from wsecho.wire.pump import Pump, plain_socket, pump_of

reactor: Any = _reactor


class ChoiceTests(SynchronousTestCase):
    """Who has a pump."""

    def test_other_reactors(self) -> None:
        """A reactor that is not the one for epoll has none."""
        self.assertIsNone(pump_of(Clock()))

    def test_other_transports(self) -> None:
        """A transport that is not exactly a socket of Twisted's, as TLS and wrappers, is not read."""
        self.assertIsNone(plain_socket(mock.Mock()))

    def test_without_compiled_part(self) -> None:
        """Without the compiled part there is none."""
        self.patch(pump, "native", None)
        self.assertIsNone(pump_of(reactor))


class Reactor(Clock):
    """Notes who is read.

    :ivar readers: the descriptors that are watched
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)


if native is not None:

    class Member(Case):
        """A lane in a pump, with the peer's end of its socket."""

        def __init__(self, pump: Pump, **options: Any) -> None:
            self.ours, self.peer = socket.socketpair()
            self.ours.setblocking(False)
            self.peer.setblocking(False)
            super().__init__(fd=self.ours.fileno(), **options)
            self.adopted = pump.adopt(self.lane)

        def received(self) -> bytes:
            """What the peer can read now."""
            try:
                return self.peer.recv(1 << 20)
            except BlockingIOError:
                return b""

        def end(self) -> None:
            """Close both ends, the pump's as Twisted does: the socket first."""
            self.ours.close()
            self.peer.close()
            self.lane.abandon()

    class PumpTestCase(SynchronousTestCase):
        """A test with a pump on a reactor of its own."""

        def setUp(self) -> None:
            self.reactor = Reactor()
            self.pump = Pump(self.reactor)
            self.addCleanup(self.pump.stop)
            self.members: list[Member] = []

        def member(self, **options: Any) -> Member:
            member = Member(self.pump, **options)
            self.assertTrue(member.adopted)
            self.members.append(member)
            self.addCleanup(member.end)
            return member

    class Waiting(Clock):
        """A reactor that would wait for the pump.

        :ivar poller: where it waits
        """

        def __init__(self) -> None:
            super().__init__()
            self._poller = self.poller = select.epoll()
            self._newTimedCalls: list[Any] = []
            self._pendingTimedCalls: list[Any] = []

        def addReader(self, reader: Any) -> None:
            self.poller.register(reader.fileno(), select.EPOLLIN)

        def removeReader(self, reader: Any) -> None:
            self.poller.unregister(reader.fileno())

        def timeout(self) -> float | None:
            """As Twisted's."""
            self._pendingTimedCalls = sorted(
                self._pendingTimedCalls + self._newTimedCalls, key=lambda call: call.time
            )
            self._newTimedCalls = []
            return self._pendingTimedCalls[0].time if self._pendingTimedCalls else None

        def soon(self) -> None:
            """Have something to do at once."""
            self._newTimedCalls.append(mock.Mock(time=0.0))

        def later(self) -> Any:
            """Have something to do in an hour."""
            self._newTimedCalls.append(mock.Mock(time=3600.0))
            return self._newTimedCalls[-1]

    class AwaitTests(SynchronousTestCase):
        """When the pump waits for the next message itself, in place of the reactor."""

        def setUp(self) -> None:
            self.reactor = Waiting()
            self.addCleanup(self.reactor.poller.close)
            self.pump = Pump(self.reactor)
            self.addCleanup(self.pump.stop)
            # However slow this machine is.
            self.pump.seconds_between_turns = self.pump.seconds_without_reactor = float("inf")
            self.member = Member(self.pump)
            self.addCleanup(self.member.end)
            self.member.owner.do = self.answer
            self.second: Callable[[], Any] = lambda: None

        def answer(self, payload: bytes, _: bool) -> None:
            """Let the peer send another message, until there are three."""
            if payload == b"2":
                self.second()
            if payload != b"3":
                self.member.peer.send(frame(TEXT, b"%d" % (int(payload) + 1)))

        def turn(self) -> list[bytes]:
            """The messages of a turn."""
            self.member.peer.send(frame(TEXT, b"1"))
            self.pump.turn()
            return [one[0] for one in self.member.owner.told if isinstance(one, tuple)]

        def test_next(self) -> None:
            """What comes next is served without a turn of the reactor, which has nothing to do."""
            self.assertEqual(self.turn(), [b"1", b"2", b"3"])

        def test_next_long_before_a_call(self) -> None:
            """So it is when a call of the reactor is due much later, of which the reactor is asked once."""
            self.reactor.later()
            with mock.patch.object(self.reactor, "timeout", side_effect=self.reactor.timeout) as timeout:
                self.assertEqual(self.turn(), [b"1", b"2", b"3"])
            timeout.assert_called_once_with()

        def test_rare(self) -> None:
            """Turns that do not follow each other soon leave waiting to the reactor."""
            self.pump.seconds_between_turns = 0
            self.assertEqual(self.turn(), [b"1"])

        def test_has_an_end(self) -> None:
            """The reactor has its turn at last, however busy the peers are: it may have been stopped."""
            self.pump.seconds_without_reactor = 0
            self.assertEqual(self.turn(), [b"1"])

        def test_new_call(self) -> None:
            """A call for at once, which a message made, comes before the next message."""
            self.reactor.later()
            self.second = self.reactor.soon
            self.assertEqual(self.turn(), [b"1", b"2"])

        def test_due(self) -> None:
            """So does one that is due already."""
            self.reactor.soon()
            self.assertEqual(self.turn(), [b"1"])

        def test_sooner(self) -> None:
            """So does one that a message makes due sooner."""
            call = self.reactor.later()
            self.second = lambda: setattr(call, "time", 0.0)
            self.assertEqual(self.turn(), [b"1", b"2"])

        def test_another_descriptor(self) -> None:
            """What else is readable comes before the next message, too."""
            ours, theirs = socket.socketpair()
            self.addCleanup(ours.close)
            self.addCleanup(theirs.close)
            self.reactor.poller.register(ours.fileno(), select.EPOLLIN)
            self.second = lambda: theirs.send(b"x")
            self.assertEqual(self.turn(), [b"1", b"2"])

        def test_stopped(self) -> None:
            """When a message ends the pump, nothing is awaited."""
            self.second = self.pump.stop
            with mock.patch.object(self.reactor, "timeout", side_effect=self.reactor.timeout) as timeout:
                self.assertEqual(self.turn(), [b"1", b"2"])
            timeout.assert_called_once_with()

    class ReadTests(PumpTestCase):
        """What the pump reads."""

        def test_messages(self) -> None:
            """Messages of every connection are told of, and answers leave in one piece for each."""
            members = [self.member() for _ in range(5)]
            for i, member in enumerate(members):
                member.owner.do = member.lane.send
                member.peer.send(frame(TEXT, b"a%d" % i) + frame(BINARY, b"b%d" % i))
            self.pump.turn()
            for i, member in enumerate(members):
                self.assertEqual(member.owner.told, [(b"a%d" % i, False), (b"b%d" % i, True)])
                self.assertEqual(
                    list(parse_frames(member.received())),
                    [Frame(TEXT, b"a%d" % i), Frame(BINARY, b"b%d" % i)],
                )

        def test_large_message(self) -> None:
            """A message larger than what is read at a time arrives whole, and so does its echo."""
            member = self.member(limit=1 << 30, echoes=True)
            payload = os.urandom(3_000_000)
            data, got = frame(BINARY, payload) + frame(TEXT, b"next"), b""
            for _ in range(10_000):
                if data:
                    with contextlib.suppress(BlockingIOError):
                        data = data[member.peer.send(data) :]
                self.pump.turn()
                got += member.received()
                if not data and len(got) + len(member.link.queued) >= len(payload) + 16:
                    break
            got += member.link.queued
            self.assertEqual(list(parse_frames(got)), [Frame(BINARY, payload), Frame(TEXT, b"next")])

        def test_unusual(self) -> None:
            """A ping among messages goes to the protocol in its place; what follows it is taken again."""
            member = self.member()
            ping = frame(PING, b"?")
            member.peer.send(frame(TEXT, b"one") + ping + frame(TEXT, b"two"))
            self.pump.turn()
            self.assertEqual(member.owner.told, [(b"one", False), ping, (b"two", False)])

        def test_fragments(self) -> None:
            """From a fragment on, everything goes to the protocol, until it stands between messages again."""
            member = self.member()
            member.owner.is_between_messages = True
            member.peer.send(frame(TEXT, b"one") + frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"))
            self.pump.turn()
            self.assertEqual(
                member.owner.told, [(b"one", False), frame(TEXT, b"a", fin=False) + frame(TEXT, b"b")]
            )
            member.owner.is_between_messages = False
            member.peer.send(frame(TEXT, b"two"))
            self.pump.turn()
            self.assertEqual(member.owner.told[2:], [frame(TEXT, b"two")])
            member.owner.is_between_messages = True
            member.peer.send(frame(TEXT, b"three"))
            self.pump.turn()
            self.assertEqual(member.owner.told[3:], [(b"three", False)])

        def test_budget(self) -> None:
            """A peer that sends more than its share of a turn is told of as far as that goes; the protocol
            keeps the rest."""
            member, other = self.member(), self.member()
            one = frame(BINARY, b"")
            member.peer.send(one * 1000)
            other.peer.send(frame(TEXT, b"other"))
            self.pump.turn()
            *told, rest = member.owner.told
            self.assertEqual(set(told), {(b"", True)})
            self.assertLess(len(told), 500)
            self.assertEqual(len(told) * len(one) + len(rest), 1000 * len(one))
            self.assertEqual(other.owner.told, [(b"other", False)])

        def test_paused(self) -> None:
            """A paused connection is not read, and one that is resumed is."""
            member = self.member()
            member.lane.pause()
            member.peer.send(frame(TEXT, b"one"))
            self.pump.turn()
            self.assertEqual(member.owner.told, [])
            member.lane.resume()
            self.pump.turn()
            self.assertEqual(member.owner.told, [(b"one", False)])

        def test_paused_and_reset(self) -> None:
            """A paused connection whose peer resets does not make the pump readable for ever."""
            member = self.member()
            member.lane.pause()
            member.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            member.peer.close()
            with self.assertRaises(BlockingIOError):
                self.members_ready()

        def members_ready(self) -> None:
            if not select.select([self.pump], [], [], 0)[0]:
                raise BlockingIOError

        def test_pausing_and_resuming_in_a_message(self) -> None:
            """A program that pauses and resumes while it handles a message is read on."""
            member = self.member()

            def both(payload: bytes, is_binary: bool) -> None:
                member.lane.pause()
                member.lane.resume()

            member.owner.do = both
            for name in (b"one", b"two"):
                member.peer.send(frame(TEXT, name))
                self.pump.turn()
            self.assertEqual(member.owner.told, [(b"one", False), (b"two", False)])

        def test_exception(self) -> None:
            """An exception out of one connection's own code ends that connection, and nobody else notices."""
            member, other = self.member(), self.member()
            member.owner.dataReceived = mock.Mock(side_effect=ValueError)  # type: ignore[method-assign]
            member.peer.send(frame(PING))
            other.peer.send(frame(TEXT, b"other"))
            self.pump.turn()
            self.assertEqual(member.owner.told, ["broke"])
            self.assertEqual(other.owner.told, [(b"other", False)])
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

        def test_turn_in_a_turn(self) -> None:
            """A program that makes the reactor turn while it handles a message reads nothing out of order."""
            member = self.member()
            member.owner.do = lambda *message: self.pump.turn()
            member.peer.send(frame(TEXT, b"one") + frame(TEXT, b"two"))
            self.pump.turn()
            self.assertEqual(member.owner.told, [(b"one", False), (b"two", False)])

    class WriteTests(PumpTestCase):
        """What is sent, and when."""

        def test_at_once(self) -> None:
            """Outside a turn, what is written is sent at once."""
            member = self.member()
            member.lane.send(b"one", False)
            self.assertEqual(member.received(), b"\x81\x03one")

        def test_joined(self) -> None:
            """What others send to a connection in a turn is sent at its end, in order."""
            member, sender = self.member(), self.member()

            def tell(payload: bytes, is_binary: bool) -> None:
                member.lane.send(payload, is_binary)
                member.lane.post(b"\x81\x01!")
                self.assertEqual(member.received(), b"")

            sender.owner.do = tell
            sender.peer.send(frame(TEXT, b"one") + frame(TEXT, b"two"))
            self.pump.turn()
            self.assertEqual(member.received(), b"\x81\x03one\x81\x01!\x81\x03two\x81\x01!")
            self.assertEqual(member.counters.outgoingWebSocketMessages, 4)

        def test_posted_outside_a_turn(self) -> None:
            """What is posted outside a turn is sent in the next, with what was posted after it; what is
            written meanwhile does not overtake it."""
            member = self.member()
            self.assertTrue(member.lane.post(b"\x81\x01a"))
            member.lane.send(b"b", False)
            self.assertTrue(member.lane.post(b"\x81\x01c"))
            self.assertEqual(member.received(), b"")
            self.reactor.advance(0)
            self.assertEqual(member.received(), b"\x81\x01a\x81\x01b\x81\x01c")

        def test_posted_before_close(self) -> None:
            """What was posted is sent before the connection closes."""
            member = self.member()
            member.lane.post(b"\x81\x01a")
            member.lane.close()
            self.assertEqual(member.received(), b"\x81\x01a")
            self.reactor.advance(0)

        def test_much_is_not_kept(self) -> None:
            """What is posted to one connection in one turn is sent when it is much."""
            member = self.member()
            for _ in range(10):
                member.lane.post(lane_frame(20_000))
            self.assertGreater(len(member.received()), 100_000)
            self.reactor.advance(0)

        def test_peer_that_does_not_read(self) -> None:
            """What the kernel does not take is queued, in order, and nothing is sent around it until that has
            been flushed."""
            member = self.member()
            member.link.has_flushed = False
            sent = b""
            for i in range(200):
                member.lane.send(b"%05d" % i * 2000, False)
                sent += native.encode(b"%05d" % i * 2000, False)
            self.assertFalse(member.lane.post(b"\x81\x01a"))
            self.assertFalse(member.lane.put(b"\x81\x01a"))
            got = member.received()
            while more := member.received():
                got += more
            self.assertGreater(len(member.link.queued), 0)
            self.assertEqual(got + member.link.queued, sent)
            member.link.has_flushed = True
            member.lane.send(b"x", False)
            self.assertEqual(member.received(), b"\x81\x01x")

        def test_reset_while_writing(self) -> None:
            """What cannot be written because the peer is gone is left to the transport, which finds out."""
            member = self.member()
            member.peer.close()
            member.lane.send(b"x", False)
            self.assertEqual(member.link.queued, b"\x81\x01x")

    class LeavingTests(PumpTestCase):
        """Connections that come and leave."""

        def test_reader(self) -> None:
            """The reactor watches the pump while it has something to read."""
            self.assertEqual(self.reactor.readers, [])
            member = self.member()
            self.assertEqual(self.reactor.readers, [self.pump])
            member.lane.close()
            self.assertEqual(self.reactor.readers, [])
            self.assertEqual(len(self.pump), 0)

        def test_finished(self) -> None:
            """A connection whose peer has finished is given back: the transport reports the end."""
            member = self.member()
            member.peer.send(frame(TEXT, b"last"))
            member.peer.shutdown(socket.SHUT_WR)
            self.pump.turn()
            self.pump.turn()
            self.assertEqual(member.owner.told, [(b"last", False)])
            self.assertTrue(member.link.reads)
            self.assertFalse(member.lane.is_in_pump)

        def test_gone(self) -> None:
            """So is one whose peer is gone, with what it sent before unread: the transport reads that."""
            member, _ = self.member(), self.member()
            member.peer.send(frame(TEXT, b"last"))
            member.peer.close()
            self.pump.turn()
            self.assertTrue(member.link.reads)
            self.assertEqual(member.ours.recv(100), frame(TEXT, b"last"))

        def test_gone_and_alone(self) -> None:
            """Of one that is the only one, the pump reads that, before it is given back."""
            member = self.member()
            member.peer.send(frame(TEXT, b"last"))
            member.peer.close()
            self.pump.turn()
            self.pump.turn()
            self.assertEqual(member.owner.told, [(b"last", False)])
            self.assertTrue(member.link.reads)

        def test_one_left(self) -> None:
            """Whoever comes, pauses and leaves: those who read are read, and nobody else, also when only
            one is left."""
            one, two, three = (self.member() for _ in range(3))

            def told() -> list[int]:
                for member in (one, two, three):
                    member.owner.told.clear()
                    member.peer.send(frame(TEXT, b"x"))
                for _ in range(3):
                    self.pump.turn()
                return [len(member.owner.told) for member in (one, two, three)]

            self.assertEqual(told(), [1, 1, 1])
            one.lane.pause()
            two.lane.pause()
            self.assertEqual([told(), told()], [[0, 0, 1], [0, 0, 1]])
            three.lane.pause()
            self.assertEqual(told(), [0, 0, 0])
            two.lane.resume()
            self.assertEqual(told()[1:], [4, 0])
            one.lane.resume()
            self.assertEqual(told()[1:], [1, 0])
            two.lane.close()
            self.assertEqual(told(), [1, 0, 0])
            one.lane.abandon()
            self.assertEqual(told(), [0, 0, 0])
            three.lane.resume()
            self.assertGreater(told()[2], 0)
            self.assertEqual(told(), [0, 0, 1])

        def test_closed(self) -> None:
            """A connection that closes, in a message or outside, makes the pump readable no more, although
            its socket lives on."""
            inside, outside = self.member(), self.member()
            inside.owner.do = lambda *message: inside.lane.close()
            outside.lane.close()
            inside.peer.send(frame(TEXT, b"one"))
            self.pump.turn()
            for member in (inside, outside):
                self.assertFalse(member.lane.is_in_pump)
                member.peer.send(frame(TEXT, b"for the transport"))
            self.assertEqual(select.select([self.pump], [], [], 0)[0], [])

        def test_closed_in_a_message(self) -> None:
            """When a program closes while it handles a message, the rest goes to the protocol, and only then
            is the connection given back: the transport may not read what came later first."""
            member = self.member()
            order = member.owner.told
            member.owner.do = lambda *message: member.lane.close()
            member.link.read_by_transport = lambda: order.append("back")  # type: ignore[method-assign]
            member.peer.send(frame(TEXT, b"one") + frame(TEXT, b"two"))
            self.pump.turn()
            self.assertEqual(order, [(b"one", False), frame(TEXT, b"two"), "back"])

        def test_ended_while_its_event_waits(self) -> None:
            """A connection that one handled earlier in the same turn has ended is not read, although the
            kernel told of it: not even when another has its descriptor's number and its place by then."""
            first, second = self.member(), self.member()
            late: list[Member] = []

            def end_the_other(payload: bytes, is_binary: bool) -> None:
                other = second if payload == b"first" else first
                other.end()
                late.append(self.member())
                late[0].peer.send(frame(TEXT, b"late"))

            for name, member in ((b"first", first), (b"second", second)):
                member.owner.do = end_the_other
                member.peer.send(frame(TEXT, name))
            self.pump.turn()
            self.assertEqual(len(first.owner.told) + len(second.owner.told), 1)
            self.assertEqual(late[0].owner.told, [])
            self.pump.turn()
            self.assertEqual(late[0].owner.told, [(b"late", False)])

        def test_copy_of_the_descriptor(self) -> None:
            """A descriptor of which a copy lives on, as in a child process, is not read under the number of
            another connection."""
            member = self.member()
            copy = os.dup(member.ours.fileno())
            self.addCleanup(os.close, copy)
            peer = member.peer.dup()
            self.addCleanup(peer.close)
            member.end()
            other = self.member()
            peer.send(frame(TEXT, b"to nobody"))
            self.pump.turn()
            self.assertEqual(other.owner.told, [])
            self.assertEqual(member.owner.told, [])

        def test_stop(self) -> None:
            """A pump that stops gives everything back, and takes nobody any more."""
            member = self.member()
            member.lane.post(b"\x81\x01a")
            self.pump.stop()
            self.assertTrue(member.link.reads)
            self.assertEqual(member.received(), b"\x81\x01a")
            self.assertEqual(self.reactor.readers, [])
            self.assertFalse(Member(self.pump).adopted)
            self.reactor.advance(0)

        def test_fork(self) -> None:
            """A child process leaves the parent's registrations alone."""
            member = self.member()
            child = os.fork()
            if not child:
                status = 1
                try:
                    self.pump.forget_all()
                    member.lane.pause()
                    member.lane.close()
                    status = 0
                finally:
                    os._exit(status)
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            member.peer.send(frame(TEXT, b"one"))
            self.pump.turn()
            self.assertEqual(member.owner.told, [(b"one", False)])

    def lane_frame(size: int) -> bytes:
        """A server's binary frame with a payload of ``size`` bytes."""
        made: bytes = native.encode(b"x" * size, True)
        return made
