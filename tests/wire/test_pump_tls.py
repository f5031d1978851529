"""Tests for TLS in the pump: that no byte is lost or overtaken, whatever the peer's TLS says, and who is told
of what is not bytes."""

import contextlib
import gc
import os
import select
import socket
from collections.abc import Callable
from typing import Any
from unittest import mock

import trustme
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.harness import client_side, nothing, shake_hands, tls12
from tests.wire.harness import BINARY, PING, TEXT, Frame, frame, parse_frames
from tests.wire.lane_harness import Case
from tests.wire.test_pump import Reactor
from wsecho.wire.beneath import openssl, openssl_memory
from wsecho.wire.lane import native, seals
from wsecho.wire.pump import Pump

_FULL = 16 * 1024
_ALERT, _APPLICATION_DATA = 21, 23


class Tls:
    """Stands for a connection's TLS: it notes what it is told among what the owner is told."""

    def __init__(self, server: SSL.Connection, told: list[Any]) -> None:
        self.server: Any = server
        self.told = told
        self.reason: Exception | None = None

    def error(self, result: int) -> Exception:
        try:
            self.server._raise_ssl_error(self.server._ssl, result)
        except SSL.Error as error:
            return error
        raise AssertionError(f"{result} is no error")

    def stopped(self, error: Exception) -> None:
        self.reason = error
        self.told.append(type(error))

    def refused(self, error: Exception, data: bytes) -> None:
        self.told.append((type(error), data))


class SealedMember(Case):
    """A lane over TLS in a pump, with the peer's end of its socket and the peer's TLS.

    :ivar records: the kinds of records that came, in order
    :ivar raw: records of which a part came
    """

    def __init__(self, pump: Pump, configure: Callable[[SSL.Context], object], **options: Any) -> None:
        self.ours, self.peer = socket.socketpair()
        self.ours.setblocking(False)
        self.peer.setblocking(False)
        super().__init__(**options)
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_options(SSL.OP_NO_RENEGOTIATION)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        server: Any = SSL.Connection(context, None)
        server.set_accept_state()
        self.client = client_side(configure)
        shake_hands(self.client, server)
        with contextlib.suppress(SSL.WantReadError):
            # The tickets.
            self.client.recv(1)
        self.records: list[int] = []
        self.raw = b""
        self.said_close = False
        self.tls: Tls | None = Tls(server, self.owner.told)
        self.server = server
        addresses = [
            int(openssl_memory.cast("uintptr_t", one))
            for one in (server._ssl, server._into_ssl, server._from_ssl)
        ]
        self.lane.seal(self.tls, server._ssl, self.ours.fileno(), *addresses)
        self.adopted = pump.adopt(self.lane)

    def said(self) -> bytes:
        """What the peer's TLS has to say."""
        said = b""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                said += self.client.bio_read(1 << 20)
        return said

    def sealed(self, *pieces: bytes) -> bytes:
        """A record, or more, for each piece."""
        for piece in pieces:
            for at in range(0, len(piece), _FULL):
                self.client.send(piece[at : at + _FULL])
        return self.said()

    def send(self, *pieces: bytes) -> None:
        """Send records."""
        self.peer.send(self.sealed(*pieces))

    def close_notify(self) -> bytes:
        """The record that ends the peer's half."""
        self.client.shutdown()
        return self.said()

    def opened(self, data: bytes) -> bytes:
        """What records say to the peer."""
        self.raw += data
        while len(self.raw) >= 5 and len(self.raw) >= 5 + int.from_bytes(self.raw[3:5], "big"):
            self.records.append(self.raw[0])
            self.raw = self.raw[5 + int.from_bytes(self.raw[3:5], "big") :]
        self.client.bio_write(data)
        found = b""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                found += self.client.recv(1 << 16)
        return found

    def received(self) -> bytes:
        """What the peer can read now."""
        try:
            return self.opened(self.peer.recv(1 << 20))
        except BlockingIOError:
            return b""

    def end(self) -> None:
        """Close both ends, the pump's as Twisted does: the socket first."""
        self.ours.close()
        self.peer.close()
        self.lane.abandon()


if seals:

    class SealedTestCase(SynchronousTestCase):
        """A test with a pump on a reactor of its own."""

        configure: Any = staticmethod(nothing)

        def setUp(self) -> None:
            self.reactor = Reactor()
            self.pump = Pump(self.reactor)
            self.addCleanup(self.pump.stop)

        def member(self, **options: Any) -> SealedMember:
            member = SealedMember(self.pump, self.configure, **options)
            self.assertTrue(member.adopted)
            self.addCleanup(member.end)
            return member

    class ReadTests(SealedTestCase):
        """What the pump reads over TLS 1.3; in `OldReadTests` over TLS 1.2."""

        def test_messages(self) -> None:
            """Messages of every connection are told of, and answers leave in one record for each."""
            members = [self.member() for _ in range(5)]
            for i, member in enumerate(members):
                member.owner.do = member.lane.send
                member.send(frame(TEXT, b"a%d" % i), frame(BINARY, b"b%d" % i))
            self.pump.turn()
            for i, member in enumerate(members):
                self.assertEqual(member.owner.told, [(b"a%d" % i, False), (b"b%d" % i, True)])
                self.assertEqual(
                    list(parse_frames(member.received())),
                    [Frame(TEXT, b"a%d" % i), Frame(BINARY, b"b%d" % i)],
                )
                self.assertEqual(member.records, [_APPLICATION_DATA])

        def test_echo(self) -> None:
            """What is echoed without Python comes back in one record."""
            member = self.member(echoes=True)
            member.send(frame(TEXT, b"one"), frame(BINARY, b"two"))
            self.pump.turn()
            self.assertEqual(
                list(parse_frames(member.received())), [Frame(TEXT, b"one"), Frame(BINARY, b"two")]
            )
            self.assertEqual((member.owner.told, member.records), ([], [_APPLICATION_DATA]))

        def test_cut_anywhere(self) -> None:
            """Records and frames may be cut anywhere: each message is told of once, when it is whole."""
            data = frame(TEXT, b"one") + frame(BINARY, b"x" * 300) + frame(TEXT, b"last")
            for step in (1, 2, 7, 50):
                member = self.member()
                whole = member.sealed(data[:4], data[4:5], data[5:200], data[200:])
                for at in range(0, len(whole), step):
                    member.peer.send(whole[at : at + step])
                    self.pump.turn()
                told = [one for one in member.owner.told if one != "part began"]
                self.assertEqual(told, [(b"one", False), (b"x" * 300, True), (b"last", False)])

        def test_large_messages(self) -> None:
            """Messages larger than each buffer on the way arrive whole, in whatever pieces."""
            member = self.member(limit=1 << 24)
            payload = os.urandom(1_500_000)
            rest = member.sealed(frame(BINARY, payload) + frame(BINARY, payload) + frame(TEXT, b"last"))
            while rest:
                with contextlib.suppress(BlockingIOError):
                    rest = rest[member.peer.send(rest[:77_777]) :]
                self.pump.turn()
            self.pump.turn()
            told = [one for one in member.owner.told if one != "part began"]
            self.assertTrue(told == [(payload, True), (payload, True), (b"last", False)])

        def test_unusual(self) -> None:
            """A frame that is not for the lane is handed over, decrypted, and ordinary ones go on."""
            member = self.member()
            member.send(frame(TEXT, b"one") + frame(PING, b"?") + frame(TEXT, b"two"))
            self.pump.turn()
            self.assertEqual(member.owner.told, [(b"one", False), frame(PING, b"?"), (b"two", False)])

        def test_held_in_a_message(self) -> None:
            """What was decrypted when the program held its messages is handed over: none of it stays
            behind."""
            member = self.member()
            member.owner.do = lambda *message: member.lane.hold()
            member.send(*[frame(TEXT, b"%d" % number) for number in range(100)])
            self.pump.turn()
            rest = b"".join(frame(TEXT, b"%d" % number) for number in range(1, 100))
            self.assertEqual(member.owner.told, [(b"0", False), rest])

        def test_end_behind_messages(self) -> None:
            """A close_notify in the same segment is told of behind the messages, when the connection was
            given back; what follows it is nobody's."""
            member = self.member()
            member.owner.do = member.lane.send
            last = member.sealed(frame(TEXT, b"last"), frame(TEXT, b"half")[:7]) + member.close_notify()
            member.peer.send(last + last)
            self.pump.turn()
            self.assertEqual(member.owner.told, [(b"last", False), "part began", SSL.ZeroReturnError])
            self.assertTrue(member.link.reads)
            self.assertFalse(member.lane.is_in_pump)
            self.assertEqual(member.received(), b"\x81\x04last")

        def test_end_alone(self) -> None:
            """So is one that comes alone."""
            member = self.member()
            member.peer.send(member.close_notify())
            self.pump.turn()
            self.assertEqual((member.owner.told, member.link.reads), ([SSL.ZeroReturnError], True))

        def test_ended_in_a_message(self) -> None:
            """A connection that ends while its program handles a message is told of nothing more, not even
            of the peer's end."""
            member = self.member()
            member.owner.do = lambda *message: member.end()
            member.peer.send(member.sealed(frame(TEXT, b"one"), frame(TEXT, b"two")) + member.close_notify())
            self.pump.turn()
            self.assertEqual(member.owner.told, [(b"one", False)])
            self.assertEqual(len(self.pump), 0)

        def test_forged_record(self) -> None:
            """A record that nobody has sealed ends the stream behind what came before it, with OpenSSL's
            reason, and the peer is told why."""
            member, other = self.member(), self.member()
            member.peer.send(member.sealed(frame(TEXT, b"true")) + b"\x17\x03\x03\x00\x30" + bytes(48))
            other.send(frame(TEXT, b"other"))
            self.pump.turn()
            self.assertEqual(member.owner.told, [(b"true", False), SSL.Error])
            self.assertEqual(other.owner.told, [(b"other", False)])
            with self.assertRaises(SSL.Error):
                member.received()

        def test_somebody_elses_error(self) -> None:
            """An error that OpenSSL remembers from somebody else ends no connection, and is not the reason
            when one ends."""
            member = self.member()
            self.addCleanup(openssl.ERR_clear_error)
            for data in (member.sealed(frame(TEXT, b"one")), b"\x17\x03\x03\x00\x30" + bytes(48)):
                self.assertEqual(openssl.BIO_new_file(b"/no/such/file", b"r"), openssl_memory.NULL)
                member.peer.send(data)
                self.pump.turn()
            self.assertEqual(member.owner.told, [(b"one", False), SSL.Error])
            assert member.tls is not None
            self.assertNotIn("file", str(member.tls.reason))

        def test_finished_without_tls(self) -> None:
            """A peer that ends TCP alone is the transport's to find."""
            member = self.member()
            member.send(frame(TEXT, b"last"))
            member.peer.shutdown(socket.SHUT_WR)
            self.pump.turn()
            self.pump.turn()
            self.assertEqual((member.owner.told, member.link.reads), ([(b"last", False)], True))

        def test_paused(self) -> None:
            """A paused connection is not read, and one that is resumed is."""
            member = self.member()
            member.lane.pause()
            member.send(frame(TEXT, b"one"))
            self.pump.turn()
            self.assertEqual(member.owner.told, [])
            member.lane.resume()
            self.pump.turn()
            self.assertEqual(member.owner.told, [(b"one", False)])

    class OldReadTests(ReadTests):
        """Over TLS 1.2."""

        configure = staticmethod(tls12)

        def test_renegotiation(self) -> None:
            """A client that wants another handshake is told no at once, and the connection goes on."""
            member = self.member()
            member.client.renegotiate()
            with self.assertRaises(SSL.Error):
                member.client.do_handshake()
            member.peer.send(member.said())
            self.pump.turn()
            self.assertEqual(member.peer.recv(1000)[0], _ALERT)
            self.assertEqual(member.owner.told, [])
            self.assertTrue(member.lane.is_in_pump)

        def test_refusal_behind_what_waits(self) -> None:
            """So it is when something waits for the peer: behind that."""
            member = self.member()
            member.link.has_flushed = False
            member.lane.block()
            member.client.renegotiate()
            with self.assertRaises(SSL.Error):
                member.client.do_handshake()
            member.peer.send(member.said())
            self.pump.turn()
            self.assertEqual(member.received(), b"")
            self.assertEqual(member.link.sealed[0], _ALERT)

    class WriteTests(SealedTestCase):
        """What is sent, and when."""

        def test_at_once(self) -> None:
            """Outside a turn, what is written is sent at once."""
            member = self.member()
            member.lane.send(b"one", False)
            self.assertEqual(member.received(), b"\x81\x03one")
            self.assertTrue(member.lane.put(b"\x8a\x00"))
            self.assertEqual(member.received(), b"\x8a\x00")

        def test_posted(self) -> None:
            """What is posted to a connection in a turn leaves in one record, in order."""
            member = self.member()
            member.lane.post(b"\x81\x01a")
            member.lane.send(b"b", False)
            member.lane.post(b"\x81\x01c")
            self.assertEqual(member.received(), b"")
            self.reactor.advance(0)
            self.assertEqual(member.received(), b"\x81\x01a\x81\x01b\x81\x01c")
            self.assertEqual(len(member.records), 1)

        def test_full_records(self) -> None:
            """A large message leaves in full records, together with what was collected before it."""
            member = self.member()
            payload = os.urandom(6 * _FULL - 20)

            def answer(*message: object) -> None:
                member.lane.send(b"before", False)
                member.lane.send(payload, True)
                member.lane.send(b"behind", False)

            member.owner.do = answer
            member.send(frame(TEXT, b"?"))
            self.pump.turn()
            found = list(parse_frames(member.received()))
            self.assertTrue(found == [Frame(TEXT, b"before"), Frame(BINARY, payload), Frame(TEXT, b"behind")])
            self.assertEqual(len(member.records), 7)

        def test_peer_that_does_not_read(self) -> None:
            """What the kernel does not take goes ahead of what waits, encrypted as it is; the rest waits as
            it was written, and nothing is sent around either until both have been flushed."""
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
            self.assertGreater(len(member.link.sealed), 0)
            self.assertGreater(len(member.link.queued), 0)
            self.assertTrue(got + member.opened(member.link.sealed) + member.link.queued == sent)
            member.link.has_flushed = True
            member.lane.send(b"x", False)
            self.assertEqual(member.received(), b"\x81\x01x")

        def test_window(self) -> None:
            """Of a large message not more is encrypted than half of what may wait: a queue that is cleared
            can drop only what is not."""
            member = self.member(send_queue=100_000, limit=1 << 24)
            with contextlib.suppress(BlockingIOError):
                while True:
                    member.ours.send(bytes(1 << 16))
            member.lane.send(bytes(1 << 20), True)
            self.assertGreater(len(member.link.sealed), 0)
            self.assertLess(len(member.link.sealed), 51_000)

        def test_refused(self) -> None:
            """What OpenSSL does not encrypt is given to whoever has the connection otherwise, with the
            reason, and so is the connection."""
            member = self.member()
            member.server.shutdown()
            member.lane.send(b"one", False)
            self.assertEqual(member.owner.told, [(SSL.Error, b"\x81\x03one")])
            self.assertTrue(member.link.reads)
            member.lane.send(b"two", False)
            self.assertEqual(member.link.queued, b"\x81\x03two")
            member.peer.send(b"for the transport")
            self.assertEqual(select.select([self.pump], [], [], 0)[0], [])

        def test_refused_in_a_message(self) -> None:
            """So it is when the program has answered a message, and what came behind it is told of first."""
            member = self.member()

            def answer(payload: bytes, is_binary: bool) -> None:
                if payload == b"one":
                    member.server.shutdown()
                member.lane.send(payload, is_binary)

            member.owner.do = answer
            member.send(frame(TEXT, b"one"), frame(TEXT, b"two"))
            self.pump.turn()
            self.assertEqual(
                member.owner.told,
                [(b"one", False), (b"two", False), (SSL.Error, b"\x81\x03one\x81\x03two")],
            )
            self.assertTrue(member.link.reads)

        def test_reset_while_writing(self) -> None:
            """What cannot be sent because the peer is gone is left to the transport, which finds out."""
            member = self.member()
            member.peer.close()
            member.lane.send(b"x", False)
            self.assertGreater(len(member.link.sealed), 0)
            self.assertEqual(member.link.queued, b"")

    class LifetimeTests(SealedTestCase):
        """Whose memory it is."""

        def test_connection_that_nobody_else_has(self) -> None:
            """OpenSSL's connection lives as long as the lane may use it."""
            member = self.member()
            member.owner.do = member.lane.send
            member.server = member.tls = None
            gc.collect()
            member.send(frame(TEXT, b"one"))
            self.pump.turn()
            self.assertEqual(member.received(), b"\x81\x03one")

        def test_abandoned(self) -> None:
            """A lane whose connection has ended keeps nothing of it, and writes nothing."""
            member = self.member()
            handle = member.server._ssl
            self.assertIn(member.lane, gc.get_referrers(handle))
            member.end()
            self.assertNotIn(member.lane, gc.get_referrers(handle))
            self.assertFalse(member.lane.send(b"one", False))

        def test_stop(self) -> None:
            """A pump that stops gives connections back, and what comes then is read elsewhere with the same
            keys."""
            member = self.member()
            member.send(frame(TEXT, b"one"))
            self.pump.turn()
            self.pump.stop()
            self.assertTrue(member.link.reads)
            member.send(frame(TEXT, b"two"))
            member.server.bio_write(member.ours.recv(1000))
            self.assertEqual(member.server.recv(1000), frame(TEXT, b"two"))
            member.lane.send(b"three", False)
            self.assertEqual(member.received(), b"\x81\x05three")

        def test_exception(self) -> None:
            """An exception out of one connection's own code ends that connection, and nobody else notices."""
            member, other = self.member(), self.member()
            assert member.tls is not None
            member.tls.stopped = mock.Mock(side_effect=ValueError)  # type: ignore[method-assign]
            member.peer.send(member.close_notify())
            other.send(frame(TEXT, b"other"))
            self.pump.turn()
            self.assertEqual(member.owner.told, ["broke"])
            self.assertEqual(other.owner.told, [(b"other", False)])
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
