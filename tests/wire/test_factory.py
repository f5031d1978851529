"""The factory: Autobahn's options, compression, who is connected, shutdown, hints about origins."""

from __future__ import annotations

import inspect
import re
from types import SimpleNamespace
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from tests.wire.harness import (
    TEXT,
    Loopback,
    Program,
    WireTestCase,
    certificates,
    close,
    closing,
    frame,
    handshake,
)
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.settings import Settings
from wsecho.wire.factory import ServerFactory
from wsecho.wire.protocol import ServerProtocol

#: Every option of Autobahn's servers, in the options and session parameters, with wsecho's defaults.
OPTIONS: dict[str, Any] = {
    "allowNullOrigin": True,
    "allowedOrigins": ["*"],
    "allowedOriginsPatterns": [re.compile("^.*$")],
    "applyMask": True,
    "autoFragmentSize": 0,
    "autoPingInterval": 20.0,
    "autoPingRestartOnAnyTraffic": False,
    "autoPingSize": 12,
    "autoPingTimeout": 20.0,
    "closeHandshakeTimeout": 5.0,
    "echoCloseCodeReason": True,
    "externalPort": None,
    "failByDrop": False,
    "flashSocketPolicy": "",
    "headers": {},
    "host": "localhost",
    "isSecure": False,
    "logFrames": False,
    "logOctets": False,
    "maskServerFrames": False,
    "maxConnections": 0,
    "maxFramePayloadSize": 1024 * 1024,
    "maxMessagePayloadSize": 1024 * 1024,
    "openHandshakeTimeout": 10.0,
    "params": {},
    "path": "/",
    "port": 80,
    "protocols": [],
    "requireMaskedClientFrames": True,
    "resource": "/",
    "serveFlashSocketPolicy": False,
    "server": "",
    "tcpNoDelay": True,
    "trackTimings": False,
    "trustXForwardedFor": 0,
    "url": "ws://localhost",
    "utf8validateIncoming": True,
    "versions": [13],
    "webStatus": False,
}

#: The one whose value belongs to the factory.
ACCEPT = "perMessageCompressionAccept"


def option_names() -> set[str]:
    """The options that this Autobahn has: those it copies to connections, those its factory sets, and those
    that can be given."""
    options, session = SimpleNamespace(), SimpleNamespace()
    WebSocketServerFactory.resetProtocolOptions(options)  # type: ignore[arg-type]
    WebSocketServerFactory.setSessionParameters(session)  # type: ignore[arg-type]
    given = set(inspect.signature(WebSocketServerFactory.setProtocolOptions).parameters) - {"self"}
    return set(vars(options)) | set(vars(session)) | set(WebSocketServerProtocol.CONFIG_ATTRS) | given


class OptionTests(WireTestCase):
    """Every option of Autobahn is set on purpose."""

    def options(self, factory: Any) -> dict[str, Any]:
        """The factory's options, without the one whose value is its own method."""
        return {name: getattr(factory, name) for name in OPTIONS}

    def test_complete(self) -> None:
        """The options known here are those that Autobahn has, so that a new one cannot slip in."""
        self.assertEqual(option_names(), {*OPTIONS, ACCEPT})

    def test_defaults(self) -> None:
        """A factory of which nothing is asked has wsecho's defaults."""
        factory = ServerFactory(reactor=self.clock)
        self.assertEqual(self.options(factory), OPTIONS)
        self.assertEqual(factory.perMessageCompressionAccept, factory._accept_compression)
        self.assertFalse(factory.noisy)

    def test_settings(self) -> None:
        """Limits, timers and session parameters come from the arguments."""
        factory = ServerFactory(
            reactor=self.clock,
            settings=Settings(
                max_message_size=1000,
                max_frame_size=100,
                handshake_timeout=1,
                close_timeout=2,
                ping_interval=3,
                ping_timeout=4,
            ),
            subprotocols=("chat", "soap"),
            server_name="mine",
            is_secure=True,
        )
        expected = OPTIONS | {
            "autoPingInterval": 3,
            "autoPingTimeout": 4,
            "closeHandshakeTimeout": 2,
            "isSecure": True,
            "maxFramePayloadSize": 100,
            "maxMessagePayloadSize": 1000,
            "openHandshakeTimeout": 1,
            "port": 443,
            "protocols": ["chat", "soap"],
            "server": "mine",
            "url": "wss://localhost",
        }
        self.assertEqual(self.options(factory), expected)

    def test_no_pings_without_a_timeout(self) -> None:
        """Without a time for the pong no ping is sent: it would find no dead peer."""
        self.assertEqual(self.factory(ping_timeout=0).autoPingInterval, 0)

    def test_setProtocolOptions_changes_what_is_given(self) -> None:
        """setProtocolOptions() without arguments changes nothing, and with one changes that one."""
        factory = ServerFactory(reactor=self.clock)
        factory.setProtocolOptions()
        self.assertEqual(self.options(factory), OPTIONS)
        factory.setProtocolOptions(autoPingInterval=7)
        self.assertEqual(self.options(factory), OPTIONS | {"autoPingInterval": 7})
        factory.setProtocolOptions(allowNullOrigin=False)
        self.assertFalse(factory.allowNullOrigin)

    def test_reset(self) -> None:
        """A reset goes back to wsecho's options, not to Autobahn's."""
        factory = ServerFactory(reactor=self.clock)
        factory.setProtocolOptions(webStatus=True, versions=[8], failByDrop=True)
        factory.resetProtocolOptions()
        self.assertEqual(self.options(factory), OPTIONS)

    def test_use_settings(self) -> None:
        """Other settings hold for the connections that come, and leave those that are."""
        factory = self.factory(max_message_size=10)
        before = self.peer(factory).open()
        factory.use_settings(Settings(max_message_size=5, ping_interval=0))
        after = self.peer(factory).open()
        for peer in (before, after):
            peer.send(frame(TEXT, b"123456"))
        self.assertEqual(before.protocol.end, None)
        self.assertEqual(after.protocol.end, End(EndReason.MESSAGE_TOO_BIG, 1009))
        self.assertEqual(factory.autoPingInterval, 0)

    def test_options_reach_the_connection(self) -> None:
        """A connection has the factory's options."""
        factory = self.factory()
        peer = self.peer(factory)
        for name in WebSocketServerProtocol.CONFIG_ATTRS:
            self.assertEqual(getattr(peer.protocol, name), getattr(factory, name), name)
        self.assertTrue(peer.transport.no_delay)

    def test_options_set_later(self) -> None:
        """Options that are set later, one by one or together, hold for the connections that come."""
        factory = self.factory()
        before = self.peer(factory)
        factory.maxMessagePayloadSize = 7
        between = self.peer(factory)
        factory.setProtocolOptions(maxMessagePayloadSize=8)
        after = self.peer(factory)
        sizes = [one.protocol.maxMessagePayloadSize for one in (before, between, after)]
        self.assertEqual(sizes, [1048576, 7, 8])

    def test_another_protocol(self) -> None:
        """The protocol can be set at any time, also after the options; connections of one have one class."""
        factory = self.factory()
        first, second = self.peer(factory), self.peer(factory)
        self.assertIs(type(first.protocol), type(second.protocol))
        factory.setProtocolOptions(autoPingInterval=7)
        factory.protocol = Program
        third = self.peer(factory)
        self.assertIsInstance(third.protocol, Program)
        self.assertEqual(third.protocol.autoPingInterval, 7)
        self.assertIs(third.protocol.factory, factory)

    def test_timers_of_the_given_reactor(self) -> None:
        """Autobahn's timers run on the given reactor's clock, to the millisecond."""
        factory = self.factory(handshake_timeout=1.234)
        peer = self.peer(factory)
        self.clock.advance(1.233)
        self.assertIsNone(peer.protocol.end)
        self.clock.advance(0.002)
        self.assertEqual(peer.protocol.end, End(EndReason.HANDSHAKE_TIMEOUT))

    def test_global_reactor(self) -> None:
        """Without a reactor the global one is used."""
        from twisted.internet import reactor

        self.assertIs(ServerFactory().reactor, reactor)


class CompressionTests(WireTestCase):
    """permessage-deflate is accepted as RFC 7692 says, and only when it is on."""

    def agreed(self, offers: str, compression: str = "deflate") -> str | None:
        """The extension header of the answer to these offers; None when it has none."""
        peer = self.peer(self.factory(compression=compression))
        peer.send(handshake("/", f"Sec-WebSocket-Extensions: {offers}"))
        self.assertEqual(peer.answer.status, "HTTP/1.1 101 Switching Protocols")
        return peer.answer.headers.get("sec-websocket-extensions")

    def test_accepted(self) -> None:
        """An offer is accepted with the window that the client asks for, and never so that one message
        depends on another."""
        alone = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        for offers, agreed in (
            ("permessage-deflate", alone),
            ("permessage-deflate; client_max_window_bits", alone),
            (
                "permessage-deflate; server_no_context_takeover; server_max_window_bits=10",
                f"{alone}; server_max_window_bits=10",
            ),
        ):
            self.assertEqual(self.agreed(offers), agreed, offers)

    def test_first_offer_that_is_valid(self) -> None:
        """An offer that is unknown or wrong is passed over, and the next one taken."""
        for wrong in (
            "permessage-brotli",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits=99",
            "permessage-deflate; nonsense=1",
        ):
            good = "permessage-deflate; server_max_window_bits=9"
            self.assertIn("window_bits=9", str(self.agreed(f"{wrong}, {good}")), wrong)
            self.assertEqual(self.agreed(wrong), None, wrong)

    def test_off(self) -> None:
        """While compression is off every offer is declined."""
        self.assertIsNone(self.agreed("permessage-deflate", "off"))

    def test_no_other_codec(self) -> None:
        """Autobahn's further codecs are never accepted, should it ever offer them to the factory."""
        factory = self.factory(compression="deflate")
        self.assertIsNone(factory.perMessageCompressionAccept([object()]))
        self.assertIsNone(self.factory().perMessageCompressionAccept([object()]))


class SubprotocolTests(WireTestCase):
    """The client's first subprotocol that is supported is spoken."""

    def test_choice(self) -> None:
        """The order is the client's; none fitting is fine, and says so by silence."""
        factory = self.factory(subprotocols=("chat", "soap"))
        for offered, chosen in (
            ("soap, chat", "soap"),
            ("xmpp, chat", "chat"),
            ("xmpp", None),
            ("CHAT", None),
        ):
            peer = self.peer(factory)
            peer.send(handshake("/", f"Sec-WebSocket-Protocol: {offered}"))
            self.assertEqual(peer.answer.headers.get("sec-websocket-protocol"), chosen, offered)


class ConnectedTests(WireTestCase):
    """Who is connected."""

    def test_counts(self) -> None:
        """A connection counts as open from its handshake to its Close, and is forgotten at its end."""
        factory = self.factory()
        peer = self.peer(factory)
        self.assertEqual((len(factory.connections), factory.getConnectionCount()), (0, 1))
        peer.open()
        self.assertEqual(factory.connections, {peer.protocol})
        peer.send(close(1000))
        self.assertEqual((len(factory.connections), factory.getConnectionCount()), (0, 1))
        peer.leave()
        self.assertEqual(factory.getConnectionCount(), 0)
        self.assertEqual(factory._alive, set())

    def test_counts_go_to_zero(self) -> None:
        """However connections end, none is left in a count."""
        factory = self.factory()
        self.peer(factory).reset()
        self.peer(factory).open().reset()
        self.peer(factory).open().leave()
        refused = self.peer(factory)
        refused.send(b"nonsense\r\n\r\n")
        refused.leave()
        dropped = self.peer(factory).open()
        dropped.protocol.dropConnection(abort=True)
        self.clock.advance(0)
        self.assertEqual(
            (factory.connections, factory._alive, factory.getConnectionCount()), (set(), set(), 0)
        )

    def test_numbers(self) -> None:
        """Connections are numbered over all factories."""
        first, second = self.peer(self.factory()), self.peer(self.factory())
        self.assertEqual(second.protocol.id, first.protocol.id + 1)

    def test_defaults_serve_any_path(self) -> None:
        """Without a route every path is accepted, and messages go to the protocol's onMessage."""
        peer = self.peer(self.factory(Program)).open("/any/path")
        peer.send(frame(TEXT, b"hello"))
        self.assertEqual(peer.messages(), ["hello"])
        self.assertIsNone(peer.protocol.service)

    def test_defaults_have_no_page(self) -> None:
        """Without a page a plain GET is told that this is for WebSocket clients."""
        peer = self.peer(self.factory())
        peer.send(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        self.assertEqual(peer.answer.status, "HTTP/1.1 426 Upgrade Required")


class ShutdownTests(WireTestCase):
    """The end of all connections of a factory."""

    def test_open_connections(self) -> None:
        """Open connections get Close 1001, and the Deferred fires when the last transport has ended."""
        factory = self.factory(Program)
        peers = [self.peer(factory).open() for _ in range(2)]
        gone = factory.shutdown()
        for peer in peers:
            self.assertEqual(peer.frames, [closing(1001, b"server is stopping")])
            self.assertEqual(peer.protocol.end, End(EndReason.SHUTDOWN, 1001))
        self.assertEqual(factory.connections, set())
        for peer in peers:
            self.assertNoResult(gone)
            peer.send(close(1001))
            peer.leave()
        self.assertIsNone(self.successResultOf(gone))

    def test_connections_that_are_not_open(self) -> None:
        """A handshake that has begun is answered 503, also while it is decided on; silence is cut."""
        factory = self.factory(origins=lambda _: Deferred())
        deciding, begun, silent = (self.peer(factory) for _ in range(3))
        deciding.send(handshake("/", "Origin: https://example.com"))
        begun.send(b"GET / HTTP/1.1\r\n")
        gone = factory.shutdown()
        for peer in (deciding, begun):
            self.assertEqual(peer.answer.status, "HTTP/1.1 503 Service Unavailable")
            self.assertEqual(peer.protocol.end, End(EndReason.SHUTDOWN, None, 503))
        self.assertEqual(silent.transport.value(), b"")
        self.assertEqual(silent.protocol.end, End(EndReason.SHUTDOWN))
        deciding.leave()
        begun.leave()
        self.clock.advance(0)
        self.assertIsNone(self.successResultOf(gone))

    def test_bounded(self) -> None:
        """A peer that does not answer, or does not read, holds the shutdown no longer than the close
        timeout."""
        factory = self.factory(Program, close_timeout=5)
        silent, deaf, closing_already = (self.peer(factory).open() for _ in range(3))
        deaf.transport.reads_nothing = True
        closing_already.protocol.sendClose(1000)
        self.clock.advance(1)
        gone = factory.shutdown()
        self.clock.advance(4.9)
        self.assertNoResult(gone)
        self.assertTrue(closing_already.transport.has_ended)
        self.clock.advance(0.1)
        self.clock.advance(0)
        self.assertIsNone(self.successResultOf(gone))
        self.assertEqual(closing_already.protocol.end, End(EndReason.SERVER_CLOSE, 1000))
        self.assertTrue(silent.transport.has_ended and deaf.transport.has_ended)

    def test_nobody_there(self) -> None:
        """Without connections it is done at once, however often it is asked for."""
        factory = self.factory()
        for _ in range(2):
            self.assertIsNone(self.successResultOf(factory.shutdown()))

    def test_twice(self) -> None:
        """Asked for twice, both are told."""
        factory = self.factory()
        peer = self.peer(factory).open()
        gone = [factory.shutdown(), factory.shutdown()]
        self.assertEqual(len(peer.frames), 1)
        peer.leave()
        for deferred in gone:
            self.assertIsNone(self.successResultOf(deferred))

    def test_accepts_nobody(self) -> None:
        """Whoever connects afterwards is cut off before saying anything."""
        factory = self.factory()
        factory.shutdown()
        peer = self.peer(factory)
        self.assertEqual(peer.transport.done, ["abortConnection"])
        self.clock.advance(0)
        self.assertEqual(peer.protocol.end, End(EndReason.SHUTDOWN))


class DrainTests(WireTestCase):
    """A shutdown with a time for all connections."""

    def test_spread(self) -> None:
        """Open connections get Close one after the other, the oldest first; until then each goes on."""
        factory = self.factory(Program)
        peers = [self.peer(factory).open() for _ in range(2)]
        gone = factory.shutdown(timeout=8, spread=True)
        self.assertEqual(peers[0].frames, [closing(1001, b"server is stopping")])
        peers[0].send(close(1001))
        peers[0].leave()
        self.clock.advance(1.9)
        peers[1].send(frame(TEXT, b"still here"))
        self.assertEqual(peers[1].messages(), ["still here"])
        self.clock.advance(0.1)
        self.assertEqual(peers[1].frames[1:], [closing(1001, b"server is stopping")])
        self.assertEqual(peers[1].protocol.end, End(EndReason.SHUTDOWN, 1001))
        self.assertNoResult(gone)
        peers[1].send(close(1001))
        peers[1].leave()
        self.assertIsNone(self.successResultOf(gone))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_handshakes_take_no_turn(self) -> None:
        """A handshake that has begun is answered 503 at once, however long the others have."""
        factory = self.factory(origins=lambda _: Deferred())
        deciding, silent = self.peer(factory), self.peer(factory)
        deciding.send(handshake("/", "Origin: https://example.com"))
        factory.shutdown(timeout=8, spread=True)
        self.assertEqual(deciding.answer.status, "HTTP/1.1 503 Service Unavailable")
        self.assertEqual(silent.transport.done, ["abortConnection"])

    def test_time_to_read(self) -> None:
        """A peer that reads slowly has until the end of the time, not only the close timeout, to read and to
        answer."""
        factory = self.factory(Program, close_timeout=5)
        peer = self.peer(factory).open()
        gone = factory.shutdown(timeout=60)
        self.clock.advance(59)
        self.assertFalse(peer.transport.disconnecting)
        peer.send(close(1001))
        peer.finish()
        self.assertIsNone(self.successResultOf(gone))
        self.assertTrue(peer.protocol.closed_cleanly)

    def test_answered_but_not_ended(self) -> None:
        """Nor does the close timeout begin anew with the peer's answer."""
        factory = self.factory(Program, close_timeout=5)
        peer = self.peer(factory).open()
        factory.shutdown(timeout=60)
        self.clock.advance(10)
        peer.send(close(1001))
        self.clock.advance(49)
        self.assertFalse(peer.transport.disconnecting)
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertEqual(peer.protocol.end, End(EndReason.SHUTDOWN, 1001))
        self.assertFalse(peer.protocol.closed_cleanly)

    def test_deadline(self) -> None:
        """At the end of the time all that is left is dropped, also where the close timeout is longer, and the
        log counts them."""
        factory = self.factory(Program, close_timeout=30)
        silent, deaf, closing_already = (self.peer(factory).open() for _ in range(3))
        deaf.transport.reads_nothing = True
        closing_already.protocol.sendClose(1000)
        refused = self.peer(factory)
        refused.send(b"GET / HTTP/1.1\r\n")
        gone = factory.shutdown(timeout=8, spread=True)
        self.clock.pump([1] * 7)
        self.assertNoResult(gone)
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertIsNone(self.successResultOf(gone))
        self.assertEqual([silent.protocol.end, deaf.protocol.end], [End(EndReason.SHUTDOWN, 1001)] * 2)
        self.assertEqual(closing_already.protocol.end, End(EndReason.SERVER_CLOSE, 1000))
        self.assertEqual(refused.protocol.end, End(EndReason.SHUTDOWN, None, 503))
        for peer in (silent, deaf, closing_already, refused):
            self.assertEqual(peer.transport.done[-1], "abortConnection")
            self.assertFalse(peer.protocol.closed_cleanly)
        self.assertIn("shutdown: the time is over; connections dropped: 4", self.log)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_zero(self) -> None:
        """With a timeout of 0 all are dropped at once, without a word."""
        factory = self.factory(Program)
        opened, silent = self.peer(factory).open(), self.peer(factory)
        gone = factory.shutdown(timeout=0)
        self.assertEqual((opened.frames, factory.connections), ([], set()))
        self.clock.advance(0)
        self.assertIsNone(self.successResultOf(gone))
        for peer in (opened, silent):
            self.assertEqual(peer.protocol.end, End(EndReason.SHUTDOWN))
            self.assertFalse(peer.protocol.closed_cleanly)

    def test_sooner(self) -> None:
        """Asked for once more, without a spread, it tells the others at once; the time of the first stays."""
        factory = self.factory(Program, close_timeout=60)
        peers = [self.peer(factory).open() for _ in range(3)]
        gone = [factory.shutdown(timeout=20, spread=True)]
        gone.append(factory.shutdown())
        self.assertEqual([len(peer.frames) for peer in peers], [1, 1, 1])
        self.clock.pump([1] * 20)
        self.clock.advance(0)
        self.assertEqual([self.successResultOf(one) for one in gone], [None, None])
        self.assertEqual([len(peer.frames) for peer in peers], [1, 1, 1])

    def test_never_later(self) -> None:
        """Asked for once more, with more time, nobody gets more."""
        factory = self.factory(Program)
        peer = self.peer(factory).open()
        gone = [factory.shutdown(timeout=8), factory.shutdown(timeout=80)]
        self.clock.advance(8)
        self.clock.advance(0)
        self.assertEqual([self.successResultOf(one) for one in gone], [None, None])
        self.assertTrue(peer.transport.has_ended)

    def test_connects_meanwhile(self) -> None:
        """Whoever connects meanwhile is cut off, and waited for."""
        factory = self.factory(Program)
        first = self.peer(factory).open()
        gone = factory.shutdown(timeout=8)
        self.peer(factory)
        first.leave()
        self.assertNoResult(gone)
        self.clock.advance(0)
        self.assertIsNone(self.successResultOf(gone))

    def test_wrong_time(self) -> None:
        """What is no time is refused, and nothing has happened."""
        factory = self.factory(Program)
        peer = self.peer(factory).open()
        self.assertRaises(ValueError, factory.shutdown, timeout=-1)
        self.assertRaises(ValueError, factory.shutdown, spread=True)
        self.assertEqual(peer.frames, [])
        self.peer(factory).open()


class ShutdownOverSocketsTests(TestCase):
    """What Twisted makes of a factory that accepts nobody."""

    timeout = 10

    async def test_accepts_nobody(self) -> None:
        """A stopping factory cuts connections off without a traceback, plain and over TLS."""
        factory = ServerFactory(reactor=Clock())
        factory.shutdown()
        for tls in (None, certificates(self.mktemp())):
            socket = await Loopback(self, factory, tls).connect()
            self.assertIsInstance(await socket.ended, ConnectionLost)
            self.assertEqual(socket.received, b"")


class OriginHintTests(WireTestCase):
    """Log lines about refused origins."""

    def refuse(self, origin: str) -> None:
        """Have a connection of this origin refused."""
        peer = self.peer(self.origins)
        peer.send(handshake("/", f"Origin: {origin}"))
        self.assertEqual(peer.answer.status, "HTTP/1.1 403 Forbidden")
        peer.leave()

    def setUp(self) -> None:
        super().setUp()
        self.origins = self.factory()

    def hints(self) -> list[str]:
        """The log lines that are hints."""
        return [line for line in self.log if line.startswith("refused ")]

    def test_option(self) -> None:
        """The hint names the option that would admit the origin."""
        self.refuse("https://Other.example:8443")
        self.assertEqual(
            self.hints(),
            [
                'refused origin "https://Other.example:8443"; '
                "--allow-origin=https://other.example:8443 would admit it"
            ],
        )

    def test_once_a_minute(self) -> None:
        """Hints come once a minute at most, so that a peer cannot fill the log with them."""
        for _ in range(3):
            self.refuse("https://a.example")
        self.clock.advance(59.9)
        self.refuse("https://b.example")
        self.assertEqual(len(self.hints()), 1)
        self.clock.advance(0.1)
        self.refuse("https://c.example")
        self.assertEqual(len(self.hints()), 2)

    def test_missing(self) -> None:
        """A refused connection without Origin is told from one with an empty Origin."""
        factory = self.origins = self.factory(origins=lambda _: False)
        self.peer(factory).send(handshake())
        self.clock.advance(60)
        self.refuse("")
        self.assertEqual(
            self.hints(),
            ["refused a connection without an Origin header", 'refused origin "", which is no origin'],
        )

    def test_no_origin(self) -> None:
        """What is no origin is shown escaped, and no option is named for it."""
        self.refuse('https://a.example/"\x9b')
        self.assertEqual(self.hints(), ['refused origin "https://a.example/\\"\\u009b", which is no origin'])


class SubclassTests(WireTestCase):
    """What a program may override."""

    def test_protocol(self) -> None:
        """The protocol class is the factory's attribute, as everywhere in Twisted."""

        class Mine(ServerProtocol):
            pass

        class MyFactory(ServerFactory):
            protocol = Mine

        peer = self.peer(self.factory(make=MyFactory))
        self.assertIsInstance(peer.protocol, Mine)
        self.assertIs(peer.protocol.factory.protocol, Mine)
