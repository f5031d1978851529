"""Tests for the client's side of one connection, against a server that writes raw bytes."""

import base64
import zlib
from typing import Any

from autobahn.exception import Disconnected
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from OpenSSL import SSL
from twisted.internet.defer import Deferred

from tests.wire.client_harness import (
    DEFLATE,
    ClientTestCase,
    ServerEnd,
    Service,
    closing_frame,
    parse_masked,
    unmasked,
)
from tests.wire.harness import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    closing,
    frame,
)
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.lifecycle import Phase
from wsecho.policy.settings import Settings
from wsecho.wire.client_protocol import ClientFactory, ClientProtocol
from wsecho.wire.failures import ConnectError, ConnectFailed
from wsecho.wire.frames import prepare
from wsecho.wire.request import ClientRequest
from wsecho.wire.turns import SLICE_UNITS


class RequestTests(ClientTestCase):
    """What is sent when there is a transport."""

    def test_request(self) -> None:
        """The request is that of the URL, options included."""
        request = self.server(
            "ws://example.com:9000/a?b", origin="https://o.example", subprotocols=["chat"]
        ).request
        self.assertEqual(request.status, "GET /a?b HTTP/1.1")
        key = request.headers.pop("sec-websocket-key")
        self.assertEqual(
            request.headers,
            {
                "host": "example.com:9000",
                "upgrade": "websocket",
                "connection": "Upgrade",
                "sec-websocket-version": "13",
                "origin": "https://o.example",
                "sec-websocket-protocol": "chat",
            },
        )
        self.assertEqual(len(base64.b64decode(key, validate=True)), 16)

    def test_key(self) -> None:
        """Each connection has a key of its own."""
        keys = {self.server().request.headers["sec-websocket-key"] for _ in range(5)}
        self.assertEqual(len(keys), 5)

    def test_offer(self) -> None:
        """Compression is offered when the settings have it, with all that a client can do."""
        request = self.server(compression="deflate").request
        self.assertEqual(request.headers["sec-websocket-extensions"], DEFLATE)
        self.assertNotIn("sec-websocket-extensions", self.server().request.headers)

    def test_no_delay(self) -> None:
        """Nagle's algorithm is switched off."""
        self.assertIs(self.server().transport.no_delay, True)


class AnswerTests(ClientTestCase):
    """What the server may answer."""

    def test_opens(self) -> None:
        """After a right answer the connection is open, and the service knows before whoever connected."""
        order: list[str] = []
        self.service.opened = lambda connection: order.append("service")  # type: ignore[method-assign]
        server = self.server()
        server.protocol.factory._on_open = lambda connection: order.append("connect")
        server.open()
        self.assertEqual(order, ["service", "connect"])
        self.assertIs(server.protocol.phase, Phase.OPEN)
        self.assertEqual(self.failures, [])

    def test_agreement(self) -> None:
        """Subprotocol, headers and request can be read from the connection."""
        server = self.server(subprotocols=["chat", "superchat"])
        self.assertEqual((server.protocol.subprotocol, dict(server.protocol.response_headers)), (None, {}))
        server.open("Sec-WebSocket-Protocol: superchat", "Server: x", "server: y")
        self.assertEqual(server.protocol.subprotocol, "superchat")
        self.assertEqual(server.protocol.response_headers["server"], "x, y")
        self.assertEqual(server.protocol.request.offered, ("chat", "superchat"))
        self.assertIs(server.protocol.failure, None)

    def test_no_subprotocol(self) -> None:
        """A server that chooses none of the offered subprotocols is spoken to without, as in Qt."""
        server = self.server(subprotocols=["chat"]).open()
        self.assertIs(server.protocol.subprotocol, None)
        self.assertEqual(self.opened, [server.protocol])

    def test_log(self) -> None:
        """One line is logged when the connection opens, and one when it has ended."""
        server = self.server("ws://example.com/a?secret=1", origin="null").open()
        server.protocol.sendMessage(b"abc")
        server.send(closing_frame(1000, b"by\x07e"))
        server.finish()
        opened, closed = self.log
        self.assertIn('open: peer=127.0.0.1:9000 path="/a" origin="null" subprotocol="-"', opened)
        self.assertIn("closed: reason=peer-close code=1000", closed)
        self.assertIn("sent=1/3", closed)
        self.assertIn('close_reason="by\\x07e"', closed)

    def test_in_pieces(self) -> None:
        """An answer whose last line end comes late opens the connection then."""
        server = self.server()
        answer = server.head()
        server.send(answer[:-2])
        self.assertEqual(self.opened, [])
        server.send(answer[-2:])
        self.assertEqual(self.opened, [server.protocol])

    def test_frames_behind_the_answer(self) -> None:
        """Frames in the segment of the answer are kept, a half one as well."""
        server = self.server()
        server.open(rest=unmasked(TEXT, b"one") + unmasked(BINARY, b"two") + unmasked(TEXT, b"three")[:3])
        server.send(unmasked(TEXT, b"three")[3:])
        self.assertEqual(
            self.service.told,
            [
                ("opened",),
                ("message", b"one", False),
                ("message", b"two", True),
                ("message", b"three", False),
            ],
        )

    def test_close_behind_the_answer(self) -> None:
        """A Close in the segment of the answer ends a connection that was open."""
        self.server().open(rest=closing_frame(1013))
        self.assertEqual(self.service.told, [("opened",), ("closed",)])
        self.assertEqual(len(self.opened), 1)

    def test_many_in_the_segment_of_the_answer(self) -> None:
        """More messages with the answer than a slice of work has come all, and those behind them, too."""
        server = self.server()
        server.open(rest=unmasked(TEXT, b"x") * 2 * SLICE_UNITS)
        server.protocol.dataReceived(unmasked(TEXT, b"last"))
        self.clock.advance(0)
        self.assertEqual(len(self.service.told), 1 + 2 * SLICE_UNITS + 1)
        self.assertEqual(self.service.told[-1], ("message", b"last", False))

    def test_interim_answers(self) -> None:
        """Interim answers are passed over."""
        server = self.server()
        server.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + server.head())
        self.assertEqual(self.opened, [server.protocol])

    def fails(self, server: ServerEnd, *pieces: bytes) -> ConnectFailed:
        """The failure after `pieces`; it comes when the transport has ended, and to nobody else."""
        server.send(*pieces)
        self.assertEqual(server.transport.done[-1:], ["abortConnection"])
        self.assertEqual(self.failures, [])
        self.clock.advance(0)
        self.assertTrue(server.transport.has_ended)
        self.assertEqual((self.service.told, self.opened), ([], []))
        (failed,) = self.failures
        assert isinstance(failed, ConnectFailed)
        self.assertTrue(failed.text.startswith("example.com:80: "), failed.text)
        self.assertEqual(len(failed.text.splitlines()), 1)
        self.assertIs(server.protocol.failure, failed)
        return failed

    def test_status(self) -> None:
        """Another status than 101 is told with its headers; the body is not read."""
        server = self.server()
        failed = self.fails(
            server,
            b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 9\r\n\r\n'
            + unmasked(TEXT, b"message"),
            b"more body",
        )
        self.assertEqual((failed.error, failed.status), (ConnectError.HTTP_STATUS, 401))
        self.assertEqual(failed.headers["www-authenticate"], 'Basic realm="x"')
        self.assertIn("401 Unauthorized", failed.text)
        self.assertEqual(server.protocol.end, End(EndReason.REFUSED, None, 401))
        self.assertIn("not opened: reason=refused code=- status=401", self.log[0])

    def test_redirect(self) -> None:
        """A redirect is not followed: where it leads is the program's to judge."""
        failed = self.fails(self.server(), b"HTTP/1.0 302 Found\r\nLocation: ws://evil.example/\r\n\r\n")
        self.assertEqual((failed.status, failed.headers["location"]), (302, "ws://evil.example/"))

    def test_bad_answers(self) -> None:
        """An answer that is malformed, or agrees to what was not asked, is refused."""
        for answer in (
            lambda server: b"SSH-2.0-x\r\n",
            lambda server: server.head().replace(b"Upgrade: ", b"Upgrade : "),
            lambda server: server.head().replace(b"Accept: ", b"Accept: x"),
            lambda server: server.head("Sec-WebSocket-Protocol: chat"),
            lambda server: server.head("Sec-WebSocket-Extensions: permessage-deflate"),
            lambda server: server.head("X: " + "y" * 9000),
        ):
            server = self.server()
            failed = self.fails(server, answer(server))
            self.assertIs(failed.error, ConnectError.BAD_RESPONSE)
            self.assertIs(server.protocol.end.reason, EndReason.BAD_RESPONSE)
            self.failures.clear()

    def test_window_of_eight_bits(self) -> None:
        """A compression window of 8 bits, which zlib has not, is refused by Autobahn, and its words are
        told."""
        server = self.server(compression="deflate")
        failed = self.fails(
            server, server.head("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=8")
        )
        self.assertIs(failed.error, ConnectError.BAD_RESPONSE)
        self.assertIn("client_max_window_bits", failed.text)

    def test_header_in_a_value(self) -> None:
        """A value with U+0085 makes no header: Autobahn does not read it."""
        server = self.server(subprotocols=["chat"]).open("X: y\x85Sec-WebSocket-Protocol: chat")
        self.assertIs(server.protocol.subprotocol, None)

    def test_nothing_after_refusal(self) -> None:
        """What comes behind a refused answer, even a right one, changes nothing."""
        server = self.server()
        failed = self.fails(server, b"HTTP/1.1 503 Busy\r\n\r\n", server.head())
        self.assertEqual(failed.status, 503)

    def test_ended_early(self) -> None:
        """A server that ends or resets the connection before it has answered is a network error."""
        for end in (ServerEnd.finish, ServerEnd.leave, ServerEnd.reset):
            server = self.server()
            server.send(b"HTTP/1.1 101")
            end(server)
            failed = self.failures.pop()
            self.assertIs(failed.error, ConnectError.NETWORK)
            self.assertEqual(server.protocol.end, End(EndReason.HANDSHAKE_ABANDONED))

    def test_tls_failed(self) -> None:
        """A failure of TLS is told as one."""
        server = self.server("wss://example.com/")
        server.transport.getHandle = lambda: None  # type: ignore[attr-defined]
        server.transport.end(SSL.Error([("SSL routines", "", "wrong version number")]))
        self.assertIs(self.failures[0].error, ConnectError.TLS)
        self.assertEqual(server.protocol.end, End(EndReason.TLS_FAILED))

    def test_given_up(self) -> None:
        """An attempt that is given up ends the transport, once, with the first cause."""
        server = self.server()
        first, second = (ConnectFailed(ConnectError.TIMEOUT, text) for text in ("one", "two"))
        server.protocol.reject(first, EndReason.HANDSHAKE_TIMEOUT)
        server.protocol.reject(second, EndReason.ABORTED)
        self.clock.advance(0)
        self.assertEqual(self.failures, [first])
        self.assertEqual(server.protocol.end, End(EndReason.HANDSHAKE_TIMEOUT))

    def test_given_up_too_late(self) -> None:
        """An open connection cannot be refused any more."""
        server = self.server().open()
        server.protocol.reject(ConnectFailed(ConnectError.TIMEOUT, "x"), EndReason.HANDSHAKE_TIMEOUT)
        self.assertIs(server.protocol.phase, Phase.OPEN)
        self.assertIs(server.protocol.failure, None)


class Program(ClientProtocol):
    """A program's protocol that notes what it is told.

    :ivar told: the callbacks with their arguments
    :ivar raising: the name of a callback that raises
    """

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []
        self.raising = ""

    def _tell(self, what: str, *arguments: Any) -> None:
        self.told.append((what, *arguments))
        if what == self.raising:
            raise RuntimeError(f"the program's {what} fails")

    def onConnect(self, response: Any) -> Any:
        self._tell("connect", response.protocol, response.headers.get("x"), response.version)
        return Deferred()

    def onOpen(self) -> None:
        self._tell("open")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self._tell("message", payload, isBinary)

    def onPong(self, payload: bytes) -> None:
        self._tell("pong", payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self._tell("close", wasClean, code, reason)


class ProgramTests(ClientTestCase):
    """Subclasses."""

    def test_callbacks(self) -> None:
        """A subclass is told of answer, opening, messages, pongs and end; a Deferred of onConnect is not
        waited for."""
        server = self.server(protocol=Program, service=None, subprotocols=["chat"])
        server.open("Sec-WebSocket-Protocol: chat", "X: y")
        server.send(unmasked(TEXT, b"hi"), unmasked(PONG, b"p"), closing_frame(1000, b"bye"))
        server.finish()
        self.assertEqual(
            server.protocol.told,
            [
                ("connect", "chat", "y", 13),
                ("open",),
                ("message", b"hi", False),
                ("pong", b"p"),
                ("close", True, 1000, "bye"),
            ],
        )

    def test_connect_raises(self) -> None:
        """An exception in onConnect refuses the connection, and is logged."""
        server = self.server(protocol=Program, service=None, ping_interval=10.0, ping_timeout=5.0)
        server.protocol.raising = "connect"
        server.open(rest=unmasked(TEXT, b"hi"))
        self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertIs(self.failures[0].error, ConnectError.CANCELLED)
        self.assertEqual(self.opened, [])
        self.assertEqual([what for what, *_ in server.protocol.told], ["connect", "close"])

    def test_open_raises(self) -> None:
        """An exception in onOpen, or of the service, ends the open connection with 1011."""
        server = self.server(protocol=Program, service=None)
        server.protocol.raising = "open"
        server.open()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(server.frames, [closing(1011, b"internal error")])
        self.assertEqual(self.opened, [server.protocol])
        server = self.server(service=Service("message")).open()
        server.send(unmasked(TEXT, b"hi"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(server.frames, [closing(1011, b"internal error")])

    def test_nobody_told(self) -> None:
        """Without anybody to tell, a factory still makes connections that open, or fail."""
        for answer in (b"", b"HTTP/1.1 500 X\r\n\r\n"):
            factory = ClientFactory(ClientRequest(url="ws://example.com/"), reactor=self.clock)
            server: Any = ServerEnd(factory, self.clock)
            self.peers.append(server)
            server.send(answer or server.head())
            self.clock.advance(0)
            self.assertEqual(server.protocol.phase, Phase.GONE if answer else Phase.OPEN)

    def test_made(self) -> None:
        """Whoever connects is told of the connection as soon as there is a transport."""
        made: list[Any] = []
        server = self.server(on_made=made.append)
        self.assertEqual(made, [server.protocol])


class FrameTests(ClientTestCase):
    """Frames out and in."""

    def test_masked(self) -> None:
        """Every frame is masked, each with another mask."""
        server = self.server().open()
        protocol = server.protocol
        protocol.sendMessage(b"text")
        protocol.sendMessage(b"\x00\xff", True)
        protocol.sendMessage(b"")
        protocol.sendPing(b"ping")
        server.send(unmasked(PING, b"pong"))
        protocol.sendClose(1000, "bye")
        self.assertEqual(
            server.frames,
            [
                Frame(TEXT, b"text"),
                Frame(BINARY, b"\x00\xff"),
                Frame(TEXT, b""),
                Frame(PING, b"ping"),
                Frame(PONG, b"pong"),
                closing(1000, b"bye"),
            ],
        )
        self.assertEqual(len(set(server.masks)), 6)

    def test_generator(self) -> None:
        """The program's masks are taken; 0 leaves the payload as it is."""
        numbers = iter([0, 0x12345678])
        server = self.server(mask=lambda: next(numbers)).open()
        server.protocol.sendMessage(b"hello")
        self.assertEqual(server.transport.value(), b"\x81\x85\0\0\0\0hello")
        server.forget()
        server.protocol.sendMessage(b"abcdefgh", True)
        self.assertEqual(server.masks, [b"\x12\x34\x56\x78"])
        self.assertEqual(server.transport.value()[6:], bytes.fromhex("7356351c77523110"))

    def test_failing_generator(self) -> None:
        """A mask generator that raises is logged, and the frame goes out masked."""
        server = self.server(mask=lambda: 1 // 0).open()
        server.protocol.sendMessage(b"hello")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(server.frames, [Frame(TEXT, b"hello")])

    def test_fragments(self) -> None:
        """A message goes out in fragments of the size that is asked for."""
        server = self.server().open()
        server.protocol.sendMessage(b"abcde", True, fragmentSize=2)
        self.assertEqual(
            server.frames,
            [
                Frame(BINARY, b"ab", fin=False),
                Frame(CONTINUATION, b"cd", fin=False),
                Frame(CONTINUATION, b"e"),
            ],
        )
        self.assertEqual(server.protocol.trafficStats.outgoingWebSocketFrames, 3)

    def test_prepared(self) -> None:
        """A prepared message, whose frame is a server's, goes out masked."""
        server = self.server().open()
        server.protocol.sendPreparedMessage(prepare(b"hello", True))
        self.assertEqual(server.frames, [Frame(BINARY, b"hello")])

    def test_no_streaming(self) -> None:
        """Autobahn's streaming, which would mask with numbers that can be predicted, is refused."""
        server = self.server().open()
        self.assertRaises(NotImplementedError, server.protocol.beginMessage)

    def test_not_open(self) -> None:
        """Nothing can be sent before the connection is open, nor after Close."""
        server = self.server()
        self.assertRaises(Disconnected, server.protocol.sendMessage, b"x")
        server.open().protocol.sendClose(1000)
        self.assertRaises(Disconnected, server.protocol.sendMessage, b"x")
        self.assertRaises(Disconnected, server.protocol.sendPreparedMessage, prepare(b"x", False))
        self.assertEqual(server.frames, [closing(1000)])

    def test_messages(self) -> None:
        """Messages arrive whole, from fragments as well, with a ping between answered."""
        server = self.server().open()
        server.send(
            unmasked(TEXT, b"on", fin=False) + unmasked(PING, b"?"),
            unmasked(CONTINUATION, b"e") + unmasked(BINARY, b"\x00"),
        )
        self.assertEqual(
            self.service.told, [("opened",), ("message", b"one", False), ("message", b"\x00", True)]
        )
        self.assertEqual(server.frames, [Frame(PONG, b"?")])

    def fails(self, server: ServerEnd, code: int) -> bytes:
        """Close with `code` is the client's last frame; what follows is not read. Its reason."""
        last = server.frames[-1]
        self.assertEqual((last.opcode, last.payload[:2]), (CLOSE, code.to_bytes(2, "big")))
        told = list(self.service.told)
        server.send(unmasked(TEXT, b"late") + closing_frame(1000))
        self.assertEqual(self.service.told, told)
        self.assertEqual(server.frames[-1], last)
        return last.payload[2:]

    def test_masked_server(self) -> None:
        """A masked frame of the server fails the connection with 1002 (RFC 6455 section 5.1)."""
        server = self.server().open()
        server.send(frame(TEXT, b"hello"))
        self.fails(server, 1002)
        self.assertEqual(self.service.told, [("opened",), ("closed",)])
        self.assertEqual(server.protocol.end, End(EndReason.PROTOCOL_ERROR, 1002))

    def test_violations(self) -> None:
        """Reserved bits and opcodes, and a continuation of nothing, fail with 1002."""
        for data in (unmasked(TEXT, b"", rsv=4), unmasked(3), unmasked(CONTINUATION, b"x")):
            server = self.server().open()
            server.send(data)
            self.fails(server, 1002)

    def test_no_utf8(self) -> None:
        """Text that is not UTF-8 fails with 1007."""
        server = self.server().open()
        server.send(unmasked(TEXT, b"\xff"))
        self.fails(server, 1007)

    def test_limits(self) -> None:
        """A message or frame above the limit fails with 1009; the reason names which."""
        server = self.server(max_message_size=10).open()
        server.send(unmasked(BINARY, b"x" * 10), unmasked(BINARY, b"x" * 11)[:2])
        self.assertIn(b"max-message-size (10 bytes)", self.fails(server, 1009))
        server = self.server(max_message_size=10, max_frame_size=5).open()
        server.send(unmasked(BINARY, b"x" * 6))
        self.assertIn(b"max-frame-size (5 bytes)", self.fails(server, 1009))

    def test_pause(self) -> None:
        """Reading pauses and goes on for the program."""
        server = self.server().open()
        server.protocol.pause_reading()
        self.assertEqual(server.transport.producerState, "paused")
        server.protocol.resume_reading()
        self.assertEqual(server.transport.producerState, "producing")

    def test_keepalive(self) -> None:
        """The client pings; a server that does not answer is left with 1001."""
        server = self.server(ping_interval=10.0, ping_timeout=5.0).open()
        self.clock.advance(10)
        (ping,) = server.frames
        server.send(unmasked(PONG, ping.payload))
        self.clock.advance(10)
        self.assertEqual([one.opcode for one in server.frames], [PING, PING])
        self.clock.advance(5)
        self.assertEqual(server.frames[-1], closing(1001, b"no pong within ping-timeout"))
        self.assertIs(server.protocol.end.reason, EndReason.PING_TIMEOUT)


class CompressionTests(ClientTestCase):
    """permessage-deflate (RFC 7692)."""

    def compressing(self, parameters: str = "", **settings: Any) -> ServerEnd:
        return self.server(compression="deflate", **settings).open(
            f"Sec-WebSocket-Extensions: permessage-deflate{parameters}"
        )

    @staticmethod
    def deflated(data: bytes) -> bytes:
        compressor = zlib.compressobj(wbits=-15)
        return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def test_both_ways(self) -> None:
        """Messages are compressed both ways."""
        server = self.compressing()
        server.protocol.sendMessage(b"hello " * 100)
        (sent,) = server.frames
        self.assertEqual((sent.opcode, sent.rsv), (TEXT, 4))
        self.assertEqual(zlib.decompressobj(-15).decompress(sent.payload + b"\0\0\xff\xff"), b"hello " * 100)
        server.send(unmasked(BINARY, self.deflated(b"\x00" * 1000), rsv=4))
        self.assertEqual(self.service.told[-1], ("message", b"\x00" * 1000, True))

    def test_parameters(self) -> None:
        """The server's parameters are followed: no context is taken over, and the window is small."""
        server = self.compressing("; client_no_context_takeover; client_max_window_bits=9")
        for _ in range(2):
            server.protocol.sendMessage(b"hello " * 100)
        first, second = server.frames
        self.assertEqual(first, second)
        self.assertEqual(zlib.decompressobj(-9).decompress(first.payload + b"\0\0\xff\xff"), b"hello " * 100)

    def test_bomb(self) -> None:
        """A small frame that would be a large message fails with 1009."""
        server = self.compressing(max_message_size=1000)
        server.send(unmasked(BINARY, self.deflated(b"\x00" * 1_000_000), rsv=4))
        self.assertEqual(server.frames[-1].payload[:2], (1009).to_bytes(2, "big"))
        self.assertEqual(self.service.told, [("opened",), ("closed",)])

    def test_corrupt(self) -> None:
        """Data that is not deflate fails with 1007."""
        server = self.compressing()
        server.send(unmasked(BINARY, b"\xff\xff\xff", rsv=4))
        self.assertEqual(server.frames[-1].payload[:2], (1007).to_bytes(2, "big"))


class EndTests(ClientTestCase):
    """Who ends what (RFC 6455 section 7.1.1)."""

    def test_own_close(self) -> None:
        """After both Close frames the client reads and writes nothing, and waits for the server to end
        TCP."""
        server = self.server().open()
        server.transport.done.clear()
        server.protocol.sendClose(4000, "bye")
        server.send(unmasked(TEXT, b"late"), closing_frame(4000, b"bye"), b"more")
        self.assertEqual(server.frames, [closing(4000, b"bye")])
        self.assertEqual(server.transport.done, ["write"])
        server.finish()
        self.assertEqual(server.transport.done, ["write", "loseConnection"])
        self.assertTrue(server.transport.has_ended)
        self.assertEqual(self.service.told, [("opened",), ("closed",)])
        self.assertEqual(server.protocol.end, End(EndReason.CLIENT_CLOSE, 4000))
        self.assertTrue(server.protocol.closed_cleanly)

    def test_peers_close(self) -> None:
        """The server's Close is echoed, and the server ends TCP."""
        server = self.server(protocol=Program, service=None).open()
        server.transport.done.clear()
        server.send(closing_frame(1001, b"restart"))
        self.assertEqual(server.frames, [closing(1001, b"restart")])
        self.assertEqual(server.transport.done, ["write"])
        server.finish()
        self.assertEqual(server.protocol.end, End(EndReason.PEER_CLOSE, 1001))
        self.assertEqual(server.protocol.told[-1], ("close", True, 1001, "restart"))

    def test_behind_close(self) -> None:
        """What stands behind Close in its segment is not read, another Close as little as a message."""
        for rest in (closing_frame(4001), unmasked(TEXT, b"late"), unmasked(3)):
            server = self.server().open()
            server.send(closing_frame(4000) + rest)
            self.assertEqual(server.frames, [closing(4000)])
            self.assertEqual(server.protocol.end, End(EndReason.PEER_CLOSE, 4000))

    def test_empty_close(self) -> None:
        """A Close without code is answered by one without code."""
        server = self.server().open()
        server.send(closing_frame())
        self.assertEqual(server.frames, [closing()])

    def test_server_does_not_end(self) -> None:
        """A server that does not end TCP is cut off after the close timeout."""
        server = self.server(close_timeout=3.0).open()
        server.send(closing_frame(1000))
        self.clock.advance(2.9)
        self.assertFalse(server.transport.has_ended)
        self.clock.advance(0.2)
        self.clock.advance(0)
        self.assertEqual(server.transport.done[-1], "abortConnection")
        self.assertTrue(server.transport.has_ended)
        self.assertFalse(server.protocol.closed_cleanly)

    def test_server_does_not_answer(self) -> None:
        """A server that does not answer Close is cut off after the close timeout, the whole time counted
        once."""
        server = self.server(close_timeout=3.0).open()
        server.protocol.sendClose(1000)
        self.clock.advance(2)
        server.send(closing_frame(1000))
        self.clock.advance(1.1)
        self.clock.advance(0)
        self.assertTrue(server.transport.has_ended)
        self.assertIs(server.protocol.end.reason, EndReason.CLIENT_CLOSE)

    def test_failing(self) -> None:
        """A client that fails the connection sends Close and leaves TCP to the server, too."""
        server = self.server(close_timeout=3.0).open()
        server.transport.done.clear()
        server.send(unmasked(3))
        self.assertEqual(server.transport.done, ["write"])
        server.leave()
        self.assertEqual(server.transport.done, ["write"])

    def test_paused(self) -> None:
        """A program that reads nothing does not keep the server's end from being seen."""
        server = self.server().open()
        server.protocol.pause_reading()
        server.protocol.sendClose(1000)
        self.assertEqual(server.transport.producerState, "producing")

    def test_dropped(self) -> None:
        """A program may end the connection without Close: then the client ends TCP itself."""
        server = self.server().open()
        server.protocol.dropConnection()
        self.assertEqual(server.transport.done[-1], "loseWriteConnection")
        server.finish()
        self.assertIs(server.protocol.end.reason, EndReason.ABORTED)

    def test_aborted(self) -> None:
        """A program may abort."""
        server = self.server().open()
        server.protocol.dropConnection(abort=True)
        self.clock.advance(0)
        self.assertTrue(server.transport.has_ended)
        self.assertEqual(self.failures, [])

    def test_gone(self) -> None:
        """A server that goes away without Close is told as that."""
        for end in (ServerEnd.finish, ServerEnd.leave, ServerEnd.reset):
            server = self.server(protocol=Program, service=None).open()
            end(server)
            self.assertEqual(server.protocol.end, End(EndReason.PEER_GONE))
            self.assertEqual(server.protocol.told[-1][:3], ("close", False, 1006))
            self.assertEqual(self.failures, [])

    def test_codes(self) -> None:
        """A client may close with any code that may be sent, 1010 included."""
        for code in (1000, 1001, 1010, 1013, 3000, 4999):
            server = self.server().open()
            server.protocol.sendClose(code)
            self.assertEqual(server.frames, [closing(code)])
        server = self.server().open()
        for code in (0, 999, 1004, 1005, 1006, 1014, 1015, 2999, 5000):
            self.assertRaises(ValueError, server.protocol.sendClose, code)
        self.assertEqual(server.frames, [])

    def test_producer(self) -> None:
        """A program's producer is stopped when Close is exchanged."""
        stopped: list[bool] = []

        class Producer:
            def stopProducing(self) -> None:
                stopped.append(True)

        server = self.server().open()
        server.protocol.registerProducer(Producer(), True)
        server.send(closing_frame(1000))
        self.assertEqual(stopped, [True])


class OptionTests(ClientTestCase):
    """Autobahn's options."""

    def test_complete(self) -> None:
        """Every option that Autobahn's clients have is set on purpose."""
        names: set[str] = set()

        class Noting(WebSocketClientFactory):
            def __setattr__(self, name: str, value: object) -> None:
                names.add(name)
                super().__setattr__(name, value)

        noting: Any = Noting(reactor=self.clock)
        names.clear()
        noting.resetProtocolOptions()
        factory = ClientFactory(ClientRequest(url="ws://example.com/"), reactor=self.clock)
        options = set(factory._options())
        self.assertEqual(options - {"logOctets", "logFrames", "trackTimings"}, names)
        self.assertEqual(options, set(WebSocketClientProtocol.CONFIG_ATTRS))

    def test_values(self) -> None:
        """The values are those that the settings have, and a violation is answered by its code."""
        settings = Settings(
            max_message_size=7,
            max_frame_size=5,
            close_timeout=3.0,
            ping_interval=8.0,
            ping_timeout=9.0,
            compression="deflate",
        )
        factory: Any = ClientFactory(
            ClientRequest(url="wss://example.com/"), reactor=self.clock, settings=settings
        )
        offers = factory.perMessageCompressionOffers
        self.assertEqual([offer.get_extension_string() for offer in offers], [DEFLATE])
        self.assertIs(factory.isSecure, True)
        self.assertEqual(
            {name: getattr(factory, name) for name in factory._options() if "Compression" not in name},
            {
                "version": 18,
                "utf8validateIncoming": True,
                "acceptMaskedServerFrames": False,
                "maskClientFrames": True,
                "applyMask": True,
                "maxFramePayloadSize": 5,
                "maxMessagePayloadSize": 7,
                "autoFragmentSize": 0,
                "failByDrop": False,
                "echoCloseCodeReason": True,
                "serverConnectionDropTimeout": 0,
                "openHandshakeTimeout": 0,
                "closeHandshakeTimeout": 3.0,
                "tcpNoDelay": True,
                "autoPingInterval": 8.0,
                "autoPingTimeout": 9.0,
                "autoPingSize": 12,
                "autoPingRestartOnAnyTraffic": False,
                "logOctets": False,
                "logFrames": False,
                "trackTimings": False,
            },
        )

    def test_no_pings(self) -> None:
        """Settings without pings send none."""
        factory: Any = ClientFactory(
            ClientRequest(url="ws://example.com/"), reactor=self.clock, settings=Settings(ping_timeout=0.0)
        )
        self.assertEqual((factory.autoPingInterval, factory.isSecure), (0, False))

    def test_debug(self) -> None:
        """With debug, messages are logged, escaped."""
        server = self.server()
        server.protocol.factory.debug = True
        server.open(rest=unmasked(TEXT, b"a\x1b"))
        server.protocol.sendMessage(b"b\x1b")
        self.assertIn('received text 2: "a\\x1b"', self.log[1])
        self.assertIn('sent text 2: "b\\x1b"', self.log[2])


class HarnessTests(ClientTestCase):
    """The other end is strict itself."""

    def test_strict(self) -> None:
        """A frame that is not masked, or is cut, is an error of the client."""
        self.assertRaises(AssertionError, list, parse_masked(unmasked(TEXT, b"x")))
        self.assertRaises(AssertionError, list, parse_masked(frame(TEXT, b"xyz")[:-1]))
