"""Why and how connections end, each with its reason, and the two lines of the log."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from autobahn.websocket.types import ConnectionDeny
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred

from tests.wire.harness import (
    BINARY,
    TEXT,
    Peer,
    Program,
    Transport,
    WireTestCase,
    close,
    frame,
    handshake,
)
from wsecho.policy.end_reasons import END_REASONS, Blame, End, EndReason
from wsecho.policy.hosts import AllowedHosts
from wsecho.policy.http import HttpAnswer
from wsecho.policy.lifecycle import Phase
from wsecho.policy.origins import AllowedOrigins
from wsecho.policy.proxies import PeerAddress
from wsecho.wire.room import Room

PLAIN_GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"


#: What to do with a connection so that it ends for the reason, and how: the End, and whether in good order.
Ending = tuple[Callable[["EndTests"], Peer], End, str]


class EndTests(WireTestCase):
    """Each end has its one reason."""

    def opened(self, protocol: Any = Program, **options: Any) -> Peer:
        return self.peer(self.factory(protocol, **options)).open()

    def asked(self, head: bytes, **options: Any) -> Peer:
        """A peer whose request head was answered, and which then left."""
        peer = self.peer(self.factory(**options))
        peer.send(head)
        peer.finish()
        return peer

    def then(self, peer: Peer, *actions: Callable[[Peer], Any]) -> Peer:
        for action in actions:
            action(peer)
        return peer

    def stuck(self, peer: Peer) -> Peer:
        """Two messages are sent to a peer that reads nothing, and has room for one."""
        peer.transport.reads_nothing = True
        peer.protocol.sendMessage(b"one")
        peer.protocol.sendMessage(b"two")
        return peer

    def raising(self) -> type[Program]:
        class Raising(Program):
            def onMessage(self, payload: bytes, isBinary: bool) -> None:
                raise ZeroDivisionError

        return Raising

    def denied(self, status: int) -> type[Program]:
        class Denying(Program):
            def onConnect(self, request: Any) -> Any:
                raise ConnectionDeny(status)

        return Denying

    def room(self, **limits: int) -> Room:
        room = Room(**limits)
        room.enter(PeerAddress.of("127.0.0.1"), self.clock.seconds())
        return room

    def after(self, peer: Peer, seconds: float) -> Peer:
        self.clock.advance(seconds)
        self.clock.advance(0)
        return peer

    def test_every_reason(self) -> None:
        """Each reason of the table has its ways here, with code or status, clean or cut; and so the log line
        says."""
        reasons = {end.reason for _, end, _ in ENDINGS.values()}
        of_clients = {EndReason.CLIENT_CLOSE, EndReason.REFUSED, EndReason.BAD_RESPONSE}
        self.assertEqual(reasons, set(EndReason) - of_clients)
        for name, (act, end, ended) in ENDINGS.items():
            self.events.clear()
            peer = act(self)
            self.flushLoggedErrors(ZeroDivisionError)
            self.clock.advance(0)
            peer.leave()
            self.assertEqual(peer.protocol.end, end, name)
            self.assertEqual(peer.protocol.closed_cleanly, ended == "clean", name)
            self.assertEqual(peer.protocol.phase, Phase.GONE)
            lines = [line for line in self.log if "reason=" in line]
            self.assertEqual(len(lines), 1, name)
            fields = dict(re.findall(r"(\w+)=(\S+)", lines[0]))
            self.assertEqual(
                (fields["reason"], fields["code"], fields["status"], fields["ended"]),
                (end.reason.value, str(end.code or "-"), str(end.status or "-"), ended),
                name,
            )

    def test_codes_of_the_table(self) -> None:
        """A reason whose row fixes a code or a status ends with that one, or with none."""
        rows = {row.reason: row for row in END_REASONS}
        for name, (_, end, _) in ENDINGS.items():
            row = rows[end.reason]
            if end.code is not None and row.code is not None:
                self.assertEqual(end.code, row.code, name)
            if end.status is not None and row.status is not None and end.reason is not EndReason.BAD_REQUEST:
                self.assertEqual(end.status, row.status, name)
            if row.blame is Blame.NETWORK and end.reason not in (EndReason.PING_TIMEOUT, EndReason.STALLED):
                self.assertEqual((end.code, end.status), (None, None), name)

    def test_first_cause_decides(self) -> None:
        """What happens to a connection after the first cause changes how it ended, never why."""
        peer = self.opened()
        peer.protocol.sendClose(4000)
        peer.send(close(4001))
        peer.protocol.factory.shutdown()
        peer.protocol.dropConnection(abort=True)
        peer.reset()
        self.assertEqual(peer.protocol.end, End(EndReason.SERVER_CLOSE, 4000))


def origin(value: str) -> bytes:
    return handshake("/", f"Origin: {value}")


ENDINGS: dict[str, Ending] = {
    "peer closes": (
        lambda t: t.then(t.opened(), lambda p: p.send(close(4000)), Peer.finish),
        End(EndReason.PEER_CLOSE, 4000),
        "clean",
    ),
    "peer closes without code": (
        lambda t: t.then(t.opened(), lambda p: p.send(close()), Peer.finish),
        End(EndReason.PEER_CLOSE),
        "clean",
    ),
    "peer closes and resets": (
        lambda t: t.then(t.opened(), lambda p: p.send(close(1000)), Peer.reset),
        End(EndReason.PEER_CLOSE, 1000),
        "cut",
    ),
    "peer closes and stays": (
        lambda t: t.after(t.then(t.opened(), lambda p: p.send(close(1000))), 5),
        End(EndReason.PEER_CLOSE, 1000),
        "cut",
    ),
    "program closes": (
        lambda t: t.then(
            t.opened(), lambda p: p.protocol.sendClose(4000), lambda p: p.send(close(4000)), Peer.finish
        ),
        End(EndReason.SERVER_CLOSE, 4000),
        "clean",
    ),
    "program closes, peer leaves without an answer": (
        lambda t: t.then(t.opened(), lambda p: p.protocol.sendClose(4000), Peer.finish),
        End(EndReason.SERVER_CLOSE, 4000),
        "cut",
    ),
    "program closes, peer does not answer": (
        lambda t: t.after(t.then(t.opened(), lambda p: p.protocol.sendClose()), 5),
        End(EndReason.SERVER_CLOSE),
        "cut",
    ),
    "program fails the connection with a code of its own": (
        lambda t: t.then(t.opened(), lambda p: p.protocol._fail_connection(4000, "no"), Peer.finish),
        End(EndReason.SERVER_CLOSE, 4000),
        "clean",
    ),
    "shutdown": (
        lambda t: t.then(
            t.opened(), lambda p: p.protocol.factory.shutdown(), lambda p: p.send(close(1001)), Peer.finish
        ),
        End(EndReason.SHUTDOWN, 1001),
        "clean",
    ),
    "shutdown before the head": (
        lambda t: t.then(t.peer(t.factory()), lambda p: p.protocol.factory.shutdown()),
        End(EndReason.SHUTDOWN),
        "cut",
    ),
    "shutdown in the head": (
        lambda t: t.then(
            t.peer(t.factory()),
            lambda p: p.send(b"GET"),
            lambda p: p.protocol.factory.shutdown(),
            Peer.finish,
        ),
        End(EndReason.SHUTDOWN, None, 503),
        "clean",
    ),
    "peer finishes": (lambda t: t.then(t.opened(), Peer.finish), End(EndReason.PEER_GONE), "cut"),
    "peer resets": (lambda t: t.then(t.opened(), Peer.reset), End(EndReason.PEER_GONE), "cut"),
    "program drops": (
        lambda t: t.then(t.opened(), lambda p: p.protocol.dropConnection(), Peer.finish),
        End(EndReason.ABORTED),
        "clean",
    ),
    "program aborts": (
        lambda t: t.then(t.opened(), lambda p: p.protocol.dropConnection(abort=True)),
        End(EndReason.ABORTED),
        "cut",
    ),
    "asked for it": (
        lambda t: t.then(t.opened(), lambda p: p.protocol.drop_with(EndReason.AS_ASKED, abort=True)),
        End(EndReason.AS_ASKED),
        "cut",
    ),
    "unmasked frame": (
        lambda t: t.then(t.opened(), lambda p: p.send(frame(TEXT, mask=b"")), Peer.finish),
        End(EndReason.PROTOCOL_ERROR, 1002),
        "clean",
    ),
    "no UTF-8": (
        lambda t: t.then(t.opened(), lambda p: p.send(frame(TEXT, b"\xff")), Peer.finish),
        End(EndReason.INVALID_PAYLOAD, 1007),
        "clean",
    ),
    "too big": (
        lambda t: t.then(t.opened(max_message_size=1), lambda p: p.send(frame(TEXT, b"xx")), Peer.finish),
        End(EndReason.MESSAGE_TOO_BIG, 1009),
        "clean",
    ),
    "policy": (
        lambda t: t.then(t.opened(), lambda p: p.protocol._fail_connection(1008, "no"), Peer.finish),
        End(EndReason.POLICY_VIOLATION, 1008),
        "clean",
    ),
    "no pong": (
        lambda t: t.after(t.after(t.opened(ping_interval=10, ping_timeout=5, close_timeout=1), 10), 6),
        End(EndReason.PING_TIMEOUT, 1001),
        "clean",
    ),
    "silent in a message": (
        lambda t: t.then(
            t.after(t.then(t.opened(ping_interval=0), lambda p: p.send(frame(TEXT, fin=False))), 10),
            Peer.finish,
        ),
        End(EndReason.STALLED, 1001),
        "clean",
    ),
    "reads nothing": (
        lambda t: t.after(t.stuck(t.opened(send_queue=1)), 5),
        End(EndReason.SLOW_CONSUMER, 1013),
        "cut",
    ),
    "engine lost messages": (
        lambda t: t.then(
            t.opened(),
            lambda p: p.protocol.close_with(EndReason.MESSAGES_MISSED, 1012),
            lambda p: p.send(close(1012)),
            Peer.finish,
        ),
        End(EndReason.MESSAGES_MISSED, 1012),
        "clean",
    ),
    "engine takes nothing": (
        lambda t: t.then(
            t.opened(),
            lambda p: p.protocol.close_with(EndReason.ENGINE_AWAY, 1013),
            lambda p: p.send(close(1013)),
            Peer.finish,
        ),
        End(EndReason.ENGINE_AWAY, 1013),
        "clean",
    ),
    "program raises": (
        lambda t: t.then(t.opened(t.raising()), lambda p: p.send(frame(TEXT)), Peer.finish),
        End(EndReason.INTERNAL_ERROR, 1011),
        "clean",
    ),
    "policy raises": (
        lambda t: t.asked(handshake(), origins=lambda _: 1 / 0),
        End(EndReason.INTERNAL_ERROR, None, 500),
        "clean",
    ),
    "page": (
        lambda t: t.asked(PLAIN_GET, page=lambda path: HttpAnswer(200, (), b"page")),
        End(EndReason.PAGE_SERVED, None, 200),
        "clean",
    ),
    "malformed head": (lambda t: t.asked(b"x\r\n\r\n"), End(EndReason.BAD_REQUEST, None, 400), "clean"),
    "other method": (
        lambda t: t.asked(b"POST / HTTP/1.1\r\nHost: h\r\n\r\n"),
        End(EndReason.BAD_REQUEST, None, 405),
        "clean",
    ),
    "other HTTP": (
        lambda t: t.asked(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n"),
        End(EndReason.BAD_REQUEST, None, 505),
        "clean",
    ),
    "no service": (
        lambda t: t.asked(handshake("/nowhere"), route=lambda path: None),
        End(EndReason.NOT_FOUND, None, 404),
        "clean",
    ),
    "no upgrade": (lambda t: t.asked(PLAIN_GET), End(EndReason.UPGRADE_REQUIRED, None, 426), "clean"),
    "large head": (
        lambda t: t.asked(handshake("/" + "x" * 10_000)),
        End(EndReason.HEAD_TOO_LARGE, None, 431),
        "clean",
    ),
    "other host": (
        lambda t: t.asked(handshake(), hosts=AllowedHosts(["other.example"])),
        End(EndReason.HOST_DENIED, None, 421),
        "clean",
    ),
    "other origin": (
        lambda t: t.asked(origin("https://other.example")),
        End(EndReason.ORIGIN_DENIED, None, 403),
        "clean",
    ),
    "no origin": (
        lambda t: t.asked(handshake(), origins=AllowedOrigins(allow_missing=False)),
        End(EndReason.ORIGIN_DENIED, None, 403),
        "clean",
    ),
    "program denies": (
        lambda t: t.then(t.peer(t.factory(t.denied(401))), lambda p: p.send(handshake()), Peer.finish),
        End(EndReason.DENIED, None, 401),
        "clean",
    ),
    "all places are taken": (
        lambda t: t.asked(handshake(), room=t.room(max_connections=1)),
        End(EndReason.UNAVAILABLE, None, 503),
        "clean",
    ),
    "all places of its address are taken": (
        lambda t: t.asked(handshake(), room=t.room(max_connections_per_address=1)),
        End(EndReason.ADDRESS_LIMIT, None, 429),
        "clean",
    ),
    "decision takes too long": (
        lambda t: t.then(
            t.after(
                t.then(t.peer(t.factory(origins=lambda _: Deferred())), lambda p: p.send(handshake())),
                10,
            ),
            Peer.finish,
        ),
        End(EndReason.UNAVAILABLE, None, 503),
        "clean",
    ),
    "head takes too long": (
        lambda t: t.then(t.after(t.then(t.peer(t.factory()), lambda p: p.send(b"GET")), 10), Peer.finish),
        End(EndReason.HANDSHAKE_TIMEOUT, None, 408),
        "clean",
    ),
    "no head": (lambda t: t.after(t.peer(t.factory()), 10), End(EndReason.HANDSHAKE_TIMEOUT), "cut"),
    "peer leaves before the head": (
        lambda t: t.then(t.peer(t.factory()), Peer.reset),
        End(EndReason.HANDSHAKE_ABANDONED),
        "cut",
    ),
    "peer finishes in the head": (
        lambda t: t.then(t.peer(t.factory()), lambda p: p.send(b"GET"), Peer.finish),
        End(EndReason.HANDSHAKE_ABANDONED),
        "cut",
    ),
    "peer finishes while it is decided on": (
        lambda t: t.then(
            t.peer(t.factory(origins=lambda _: Deferred())), lambda p: p.send(handshake()), Peer.finish
        ),
        End(EndReason.HANDSHAKE_ABANDONED),
        "cut",
    ),
    "TLS": (
        lambda t: t.then(t.peer(t.factory()), lambda p: p.transport.end(SSL.Error([("a", "b", "c")]))),
        End(EndReason.TLS_FAILED),
        "cut",
    ),
    "TLS record": (
        lambda t: t.then(t.opened(), lambda p: p.transport.end(SSL.Error([("a", "b", "c")]))),
        End(EndReason.TLS_FAILED),
        "cut",
    ),
}


class LogTests(WireTestCase):
    """One line when a connection opens, one when it ends."""

    def line(self, peer: Peer, word: str) -> str:
        """The one line of this kind."""
        (line,) = (line for line in self.log if line.startswith(f"{peer.protocol.id} {word}: "))
        return line

    def test_open_and_closed(self) -> None:
        """The lines have number, peer, path, origin, subprotocol; reason, code, duration, messages and bytes
        in both directions, and the peer's close reason."""
        peer = self.peer(self.factory(Program, subprotocols=["chat"]))
        self.clock.advance(3)
        peer.open("/some/path?q=secret", "Origin: http://example.com", "Sec-WebSocket-Protocol: chat")
        self.clock.advance(1.5)
        peer.send(frame(TEXT, b"12345"), frame(BINARY, b"123"))
        peer.protocol.sendMessage(b"1")
        peer.send(close(4000, b"enough"))
        peer.finish()
        self.assertEqual(
            self.log,
            [
                f'{peer.protocol.id} open: peer=127.0.0.1:40000 path="/some/path" '
                'origin="http://example.com" subprotocol="chat"',
                f"{peer.protocol.id} closed: reason=peer-close code=4000 status=- ended=clean "
                'peer=127.0.0.1:40000 path="/some/path" origin="http://example.com" '
                'seconds=1.500 received=2/8 sent=3/9 dropped=0 close_reason="enough"',
            ],
        )

    def test_not_opened(self) -> None:
        """A connection that never opened has one line, with the time since it was accepted."""
        peer = self.peer(self.factory())
        self.clock.advance(2)
        peer.send(b"GET /nowhere HTTP/1.1\r\nHost: example.com\r\n\r\n")
        peer.finish()
        self.assertEqual(
            self.log,
            [
                f"{peer.protocol.id} not opened: reason=upgrade-required code=- status=426 ended=clean "
                'peer=127.0.0.1:40000 path="/nowhere" origin="-" '
                'seconds=2.000 received=0/0 sent=0/0 dropped=0 close_reason="-"'
            ],
        )

    def test_two_lines_and_no_more(self) -> None:
        """There are two lines for each connection that opened and one for each other, however it ended."""
        for name, (act, _, _) in ENDINGS.items():
            self.events.clear()
            test = EndTests()
            test.clock, test.peers, test.events = self.clock, self.peers, self.events
            peer = act(test)
            self.clock.advance(0)
            peer.leave()
            self.flushLoggedErrors(ZeroDivisionError)
            mine = [line for line in self.log if line.startswith(f"{peer.protocol.id} ")]
            lines = [line for line in mine if not line.endswith("failed")]
            opened = peer.protocol.is_open.called
            words = [line.split(":")[0].partition(" ")[2] for line in lines]
            self.assertEqual(words, ["open", "closed"] if opened else ["not opened"], name)

    def test_escaped(self) -> None:
        """Control characters, bidi overrides, line ends and quotes of a peer are escaped, wherever in the
        line they stand."""
        tricks = 'x" y="\x1b[2J\x7f\x85\x9b\u202e\u2028\r\n'
        peer = self.peer(self.factory(origins=lambda _: True))
        peer.open("/%1b%0a%22", "Origin: \x85\x9b\xa0\"'")
        peer.send(close(1000, tricks.encode()))
        peer.finish()
        opening, ending = self.line(peer, "open"), self.line(peer, "closed")
        for line in (opening, ending):
            self.assertTrue(line.isprintable(), line)
            self.assertIn('path="/%1b%0a%22"', line)
            self.assertIn('origin="\\u0085\\u009b\\u00a0\\"\'"', line)
        self.assertTrue(
            ending.endswith('close_reason="x\\" y=\\"\\x1b[2J\\x7f\\u0085\\u009b\\u202e\\u2028\\x0d\\x0a"'),
            ending,
        )

    def test_raw_bytes_in_a_refused_head(self) -> None:
        """A head that is refused for what is in it puts none of it into the log, or only escaped."""
        for head in (
            b"GET /\x1b[2J HTTP/1.1\r\nHost: example.com\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: \x9b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: example.com\r\nOrigin: \x00\x0b\r\n\r\n",
            handshake("/", "Origin: https://\u00e2\u0080\u00ae.example"),
            handshake("/", "Sec-WebSocket-Protocol: a\x1bb"),
            handshake("/", "Sec-WebSocket-Protocol: \u202e".encode().decode("iso-8859-1")),
        ):
            peer = self.peer(self.factory())
            peer.send(head)
            peer.finish()
        for line in self.log:
            self.assertTrue(line.isprintable(), line)

    def test_long_path(self) -> None:
        """A long path is shortened."""
        peer = self.peer(self.factory()).open("/" + "x" * 5000)
        self.assertLess(len(self.line(peer, "open")), 500)

    def test_peers(self) -> None:
        """The peer is an address and a port, with brackets for IPv6, or a Unix socket."""
        for address, shown in (
            (IPv4Address("TCP", "192.0.2.1", 1), "192.0.2.1:1"),
            (IPv6Address("TCP", "2001:db8::1", 2), "[2001:db8::1]:2"),
            (UNIXAddress(None), "unix"),
        ):
            peer = self.peer(self.factory(), Transport(self.clock, address)).open()
            self.assertEqual(peer.protocol.peer, shown)
            self.assertIn(f" peer={shown} ", self.line(peer, "open"))

    def test_peer_behind_a_proxy(self) -> None:
        """The peer is the one that the transport knows when the head has arrived: a proxy tells the client's
        address only then."""
        transport = Transport(self.clock)
        peer = self.peer(self.factory(), transport)
        transport.peerAddr = IPv4Address("TCP", "192.0.2.7", 7)
        peer.open()
        self.assertEqual(peer.protocol.peer, "192.0.2.7:7")
        self.assertEqual(peer.protocol.request.peer, "192.0.2.7:7")

    def test_failure_of_the_transport(self) -> None:
        """What OpenSSL says of a peer's bytes does not reach the program's onClose."""
        peer = self.peer(self.factory(Program)).open()
        peer.transport.end(SSL.Error([("SSL routines", "", "\x1b[2J")]))
        self.assertEqual(
            peer.protocol.told[-1], ("close", False, 1006, 'connection was closed uncleanly ("tls-failed")')
        )
