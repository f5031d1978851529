"""Tests for wsecho.websocket."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

from twisted.internet import error as internet_error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.members import QUIET, MembersTestCase, Record
from tests.wire.client_harness import closing_frame, unmasked
from tests.wire.harness import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, close, frame
from wsecho.policy.authenticators import Authenticator
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.enumerations import CloseCode, SocketError, SocketState
from wsecho.policy.settings import Settings
from wsecho.socket_members import HandshakeOptions
from wsecho.tls.client import ClientTls
from wsecho.tls.verification import VerifyCode, VerifyError
from wsecho.websocket import WebSocket
from wsecho.wire.client import ClientRequest, ConnectError, ConnectFailed, HttpProxy

CLOSING, CONNECTED, CONNECTING = SocketState.CLOSING, SocketState.CONNECTED, SocketState.CONNECTING
UNCONNECTED = SocketState.UNCONNECTED


class OpenTests(MembersTestCase):
    """Opening, from the call to the signal or the failure."""

    def setUp(self) -> None:
        super().setUp()
        self.socket = self.client()
        self.record = Record(self.socket)

    def failure(self, opened: Deferred[WebSocket]) -> ConnectFailed:
        """Why it did not open."""
        failed = self.failureResultOf(opened, ConnectFailed).value
        assert isinstance(failed, ConnectFailed)
        return failed

    def refuse(self) -> None:
        """Nobody listens where the client connects to."""
        factory: Any = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(internet_error.ConnectionRefusedError()))

    def test_address(self) -> None:
        """An address is connected to at once; then it is open, and the Deferred gives the socket."""
        opened = self.socket.open("ws://192.0.2.1/")
        self.assertEqual(self.record.told, [("state_changed", CONNECTING)])
        end = self.reach()
        self.assertNoResult(opened)
        end.open()
        self.assertIs(self.successResultOf(opened), self.socket)
        self.assertEqual(self.record.told[1:], [("state_changed", CONNECTED), ("connected",)])

    def test_name(self) -> None:
        """A name is looked up first."""
        self.socket.open("ws://example.com/")
        self.assertEqual(self.socket.state, SocketState.HOST_LOOKUP)
        self.reactor.resolver.answer("192.0.2.1")
        self.assertEqual(self.socket.state, CONNECTING)
        self.socket.abort()

    def test_in_a_coroutine(self) -> None:
        """``await socket.open(...)`` and then the messages, none of them lost."""

        async def program() -> list[str | bytes]:
            async with await self.client().open("ws://192.0.2.1/") as socket:
                return [await anext(socket), await anext(socket)]

        running = Deferred.fromCoroutine(program())
        end = self.reach()
        end.open(rest=unmasked(TEXT, b"one") + unmasked(BINARY, b"two"))
        self.assertEqual(end.frames, [Frame(CLOSE, b"\x03\xe8")])
        self.assertNoResult(running)
        end.send(closing_frame(1000))
        end.leave()
        self.assertEqual(self.successResultOf(running), ["one", b"two"])

    def test_refused(self) -> None:
        """A port where nobody listens: the error, two changes of state in all, and the end, once each."""
        opened = self.socket.open("ws://192.0.2.1:9/")
        self.refuse()
        self.assertEqual(
            self.record.told,
            [
                ("state_changed", CONNECTING),
                ("error_occurred", SocketError.CONNECTION_REFUSED),
                ("state_changed", UNCONNECTED),
                ("disconnected",),
            ],
        )
        self.assertEqual(self.failure(opened).error, ConnectError.CONNECTION_REFUSED)
        self.assertEqual(self.socket.error_string, "192.0.2.1:9: connection refused")
        self.assertFalse(self.socket.is_valid())

    def test_failure_counts_as_handled(self) -> None:
        """Who listens to error_occurred need not ask the Deferred: the log has no unhandled error."""
        opened = self.socket.open("ws://192.0.2.1:9/")
        self.refuse()
        self.turn()
        self.assertIs(self.successResultOf(opened), self.socket)

    def test_failure_that_nobody_hears(self) -> None:
        """Without a slot and without anybody who asks, the failure is logged."""
        self.socket.error_occurred.disconnect()
        opened = self.socket.open("ws://192.0.2.1:9/")
        self.refuse()
        self.turn()
        self.assertEqual(self.failure(opened).error, ConnectError.CONNECTION_REFUSED)

    def test_status(self) -> None:
        """Another status than 101 is a refusal, with the status in the text."""
        opened = self.socket.open("ws://192.0.2.1/")
        end = self.reach()
        self.socket.error_occurred.disconnect()
        end.send(end.head(status="403 Forbidden"))
        self.turn()
        self.assertEqual(self.socket.error, SocketError.CONNECTION_REFUSED)
        self.assertEqual(self.failure(opened).status, 403)
        self.assertEqual(self.socket.error_string, "192.0.2.1:80: the server answered 403 Forbidden")

    def test_timeout(self) -> None:
        """An attempt takes as long as the settings say."""
        self.socket = self.client(settings=Settings(handshake_timeout=3.0))
        opened = self.socket.open("ws://192.0.2.1/")
        self.reactor.advance(3)
        self.assertEqual(self.socket.error, SocketError.SOCKET_TIMEOUT)
        self.failure(opened)

    def test_reset_by_the_next(self) -> None:
        """The next attempt begins without the error and the close code of the last."""
        self.socket.open("ws://192.0.2.1:9/").addErrback(lambda _: None)
        self.refuse()
        socket, end = self.connected(self.socket)
        self.assertEqual((socket.error, socket.error_string), (SocketError.UNKNOWN_SOCKET_ERROR, ""))
        end.send(closing_frame(4001, b"bye"))
        end.leave()
        self.assertEqual((socket.close_code, socket.close_reason), (4001, "bye"))
        self.assertIsNotNone(socket.end)
        socket.open("ws://192.0.2.1:9/").addErrback(lambda _: None)
        self.assertEqual((socket.close_code, socket.close_reason, socket.end), (1000, "", None))
        self.refuse()

    def test_given_up(self) -> None:
        """abort gives an attempt up: it ends at once, without an error."""
        opened = self.socket.open("ws://192.0.2.1/")
        self.socket.abort()
        self.assertEqual(
            self.record.told,
            [("state_changed", CONNECTING), ("state_changed", UNCONNECTED), ("disconnected",)],
        )
        self.assertEqual(self.failure(opened).error, ConnectError.CANCELLED)
        self.turn()

    def test_closed_while_connecting(self) -> None:
        """So does close; that nobody asks the Deferred is no error."""
        self.socket.open("ws://192.0.2.1/")
        self.socket.close()
        self.assertEqual(self.socket.state, UNCONNECTED)
        self.turn()

    def test_cancelled(self) -> None:
        """So does cancelling the Deferred."""
        opened = self.socket.open("ws://192.0.2.1/")
        opened.cancel()
        self.assertEqual(self.socket.state, UNCONNECTED)
        self.failure(opened)

    def test_abort_in_the_first_signal(self) -> None:
        """A slot that is told that connecting begins may give it up at once."""
        self.socket.state_changed.connect(lambda state: self.socket.abort())
        opened = self.socket.open("ws://192.0.2.1/")
        self.assertEqual(self.failure(opened).error, ConnectError.CANCELLED)
        self.assertEqual(self.socket.state, UNCONNECTED)
        self.assertEqual(self.record.count("disconnected"), 1)

    def test_abort_after_the_look_up(self) -> None:
        """An attempt that was given up changes no state any more."""
        self.socket.open("ws://example.com/")
        self.socket.abort()
        self.record.clear()
        self.reactor.resolver.answer("192.0.2.1")
        self.turn()
        self.assertEqual(self.record.told, [])

    def test_abort_in_connected(self) -> None:
        """A slot of connected may abort; the attempt has then failed."""
        self.socket.connected.connect(self.socket.abort)
        opened = self.socket.open("ws://192.0.2.1/")
        self.reach().open()
        self.assertEqual(self.failure(opened).error, ConnectError.CANCELLED)
        self.turn()
        self.assertEqual(self.record.names[-2:], ["read_channel_finished", "disconnected"])

    def test_abort_in_state_changed(self) -> None:
        """When a slot aborts as soon as the state is connected, connected is not told any more."""

        def slot(state: SocketState) -> None:
            if state is CONNECTED:
                self.socket.abort()

        self.socket.state_changed.connect(slot)
        self.socket.open("ws://192.0.2.1/")
        self.reach().open()
        self.turn()
        self.assertEqual(self.record.count("connected"), 0)
        self.assertEqual(self.record.count("disconnected"), 1)

    def test_internal_error(self) -> None:
        """What fails otherwise is logged, and ends the attempt."""
        self.socket.ssl_configuration = optionsForClientTLS("example.com")

        def broken(phase: object) -> None:
            raise LookupError

        # A program's own Settings, say, that lies about its numbers.
        self.socket._settings = None  # type: ignore[assignment]
        opened = self.socket.open("ws://192.0.2.1/")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertEqual(
            (self.socket.error, self.socket.error_string), (SocketError.OPERATION, "internal error")
        )
        self.failureResultOf(opened, TypeError)

    def test_on_the_server_s_side(self) -> None:
        """The server's side of a connection is no client."""
        socket, _ = self.pair()
        error = self.assertRaises(RuntimeError, socket.open, "ws://192.0.2.1/")
        self.assertEqual(str(error), "the server's side of a connection cannot be opened again")


class RequestTests(MembersTestCase):
    """What is asked of the server."""

    def asked(self, url: Any, options: Any = None, origin: str = "") -> dict[str, str]:
        """The headers that the server got."""
        socket = self.client(origin)
        socket.open(url, options).addErrback(lambda _: None)
        end = self.reach()
        socket.abort()
        return end.request.headers

    def test_origin(self) -> None:
        """The Origin is the request's own, or else the socket's."""
        self.assertNotIn("origin", self.asked("ws://192.0.2.1/"))
        self.assertEqual(self.asked("ws://192.0.2.1/", origin="http://a")["origin"], "http://a")
        request = ClientRequest(url="ws://192.0.2.1/", origin="http://b")
        self.assertEqual(self.asked(request, origin="http://a")["origin"], "http://b")

    def test_headers(self) -> None:
        """A request has headers of its own."""
        request = ClientRequest(url="ws://192.0.2.1/", headers=(("X-Name", "me"),))
        self.assertEqual(self.asked(request)["x-name"], "me")

    def test_subprotocols(self) -> None:
        """Options first, then those of the request, then those of a raw header, each once."""
        request = ClientRequest(
            url="ws://192.0.2.1/",
            headers=(("Sec-WebSocket-Protocol", "raw, b"),),
            subprotocols=("b", "a"),
        )
        headers = self.asked(request, HandshakeOptions(["c", "a"]))
        self.assertEqual(headers["sec-websocket-protocol"], "c, a, b, raw")

    def test_invalid_subprotocols(self) -> None:
        """Names that are no tokens are dropped with a warning; when none is left there is no header."""
        headers = self.asked("ws://192.0.2.1/", HandshakeOptions(["not\na token", "chat", ""]))
        self.assertEqual(headers["sec-websocket-protocol"], "chat")
        self.assertIn('subprotocol "not\\x0aa token" is no token: not offered', self.log)
        self.assertNotIn("sec-websocket-protocol", self.asked("ws://192.0.2.1/", HandshakeOptions(["a b"])))

    def test_wrong(self) -> None:
        """What cannot be sent is refused at the call, and nothing is connected to."""
        socket = self.client()
        for error, arguments, message in (
            (TypeError, (b"ws://a/",), "url must be a str or a ClientRequest, not bytes"),
            (TypeError, ("ws://a/", ["chat"]), "options must be HandshakeOptions, not list"),
            (ValueError, ("ws://a/\r\nX: y",), "url: it has a control character"),
            (ValueError, ("ws://u%0A:p@a/",), "url: user must hold printable characters only"),
            (
                ValueError,
                ("http://a/",),
                "url: accepted is ws://host[:port][/path][?query], or the same with wss",
            ),
        ):
            self.assertEqual(str(self.assertRaises(error, socket.open, *arguments)), message)
        self.assertEqual((socket.state, self.reactor.tcpClients), (UNCONNECTED, []))

    def test_limits(self) -> None:
        """Limits that were set before, and while connecting, count."""
        socket = self.client()
        socket.max_allowed_incoming_frame_size = 10
        socket.open("ws://192.0.2.1/")
        end = self.reach()
        self.assertEqual(end.protocol._wrappedProtocol.factory.settings.max_frame_size, 10)
        socket.max_allowed_incoming_frame_size = 15
        socket.max_allowed_incoming_message_size = 20
        end.open()
        connection = socket._connection
        self.assertEqual((connection.maxFramePayloadSize, connection.maxMessagePayloadSize), (15, 20))

    def test_masks(self) -> None:
        """A mask generator gives the masks."""
        socket = self.client()
        socket.mask_generator = lambda: 0x01020304
        _, end = self.connected(socket)
        socket.send_text_message("x")
        self.assertEqual(end.masks, [b"\1\2\3\4"])

    def test_authentication(self) -> None:
        """A 401 asks the slots, which are waited for, and what they answer is sent."""
        socket = self.client()
        answer: Deferred[None] = Deferred()

        async def slot(question: Authenticator) -> None:
            await answer
            question.user, question.password = "me", question.realm

        socket.authentication_required.connect(slot)
        opened = socket.open("ws://192.0.2.1/")
        end = self.reach()
        end.send(end.head('WWW-Authenticate: Basic realm="staff"', status="401 Unauthorized"))
        self.turn()
        answer.callback(None)
        end = self.reach()
        self.assertEqual(end.request.headers["authorization"], Authenticator("", "me", "staff").basic())
        end.open()
        self.successResultOf(opened)

    def test_proxy(self) -> None:
        """A proxy is asked for a tunnel, and a 407 asks the slots."""
        socket = self.client()
        socket.proxy = HttpProxy(host="192.0.2.9", port=3128)
        record = Record(socket, "proxy_authentication_required", "error_occurred")
        failures: list[Failure] = []
        socket.open("ws://example.com/").addErrback(failures.append)
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("192.0.2.9", 3128))
        end = self.reach()
        end.send(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n")
        self.turn()
        (name, proxy, question), error = record.told
        self.assertEqual((name, proxy), ("proxy_authentication_required", socket.proxy))
        self.assertIsInstance(question, Authenticator)
        self.assertEqual(error, ("error_occurred", SocketError.PROXY_AUTHENTICATION_REQUIRED))
        self.assertEqual([failure.type for failure in failures], [ConnectFailed])

    def hello(self, socket: WebSocket) -> bytes:
        """What a client writes first on wss."""
        socket.open("wss://example.com/").addErrback(lambda _: None)
        self.reactor.resolver.answer("192.0.2.1")
        transport = StringTransport()
        factory: Any = self.reactor.tcpClients[-1][2]
        factory.buildProtocol(transport.getPeer()).makeConnection(transport)
        hello: bytes = transport.value()
        socket.abort()
        return hello

    def test_tls(self) -> None:
        """For wss TLS is spoken; by the socket's own configuration when it has one."""
        for configuration in (None, optionsForClientTLS("other.example")):
            socket = self.client()
            socket.ssl_configuration = configuration
            hello = self.hello(socket)
            self.assertEqual(b"other.example" in hello, configuration is not None)
            self.assertEqual(b"example.com" in hello, configuration is None)

    def test_ignore_ssl_errors(self) -> None:
        """Of a socket that ignores TLS errors, no certificate is verified on wss; ws is not touched."""
        socket = self.client()
        socket.ssl_configuration = optionsForClientTLS("other.example")
        socket.ignore_ssl_errors()
        hello = self.hello(socket)
        self.assertIn(b"example.com", hello)
        self.assertNotIn(b"other.example", hello)
        self.connected(socket)

    def test_errors_to_ignore_by_name(self) -> None:
        """Errors may be named, by what ssl_errors told or by their code; nothing else is a name."""
        socket = self.client()
        any_certificate: Any = "certificate"
        told = VerifyError(VerifyCode.CERTIFICATE_EXPIRED, any_certificate)
        socket.ignore_ssl_errors([told, VerifyCode.SELF_SIGNED_CERTIFICATE_IN_CHAIN])
        self.assertTrue(socket._is_ignored(told))
        self.assertFalse(socket._is_ignored(replace(told, depth=1)))
        self.assertTrue(socket._is_ignored(replace(told, code=VerifyCode.SELF_SIGNED_CERTIFICATE_IN_CHAIN)))
        error = self.assertRaises(TypeError, socket.ignore_ssl_errors, ["all"])
        self.assertEqual(str(error), "errors must be VerifyError or VerifyCode, not str")

    def test_tls_that_cannot_be_made(self) -> None:
        """A configuration whose files cannot be used is why the socket does not open."""
        socket = self.client()
        socket.ssl_configuration = ClientTls(ca="nowhere.pem")
        opened = socket.open("wss://example.com/")
        self.turn()
        failed: Any = self.failureResultOf(opened, ConnectFailed).value
        self.assertIs(failed.error, ConnectError.TLS)
        self.assertIn("nowhere.pem", failed.text)
        self.assertIs(socket.error, SocketError.SSL_HANDSHAKE_FAILED)

    def test_going_on(self) -> None:
        """An interrupted handshake goes on when a slot says so."""

        class Interrupted:
            has_gone_on = False

            def go_on(self) -> bool:
                self.has_gone_on = True
                return True

        socket = self.client()
        events: Any = Interrupted()
        socket._tls_events = events
        socket.continue_interrupted_handshake()
        self.assertTrue(events.has_gone_on)

    def test_nothing_to_go_on_with(self) -> None:
        """No handshake is interrupted, nothing is paused: to go on is a mistake, and told as one."""
        socket = self.client()
        error = self.assertRaises(RuntimeError, socket.continue_interrupted_handshake)
        self.assertEqual(str(error), "no handshake is interrupted")
        error = self.assertRaises(RuntimeError, socket.resume)
        self.assertEqual(str(error), "nothing is paused by pause_mode; resume_reading ends pause_reading")


class ReplaceTests(MembersTestCase):
    """Opening again."""

    def test_while_open(self) -> None:
        """The connection that was there is aborted, and no signal tells of it: as in Qt."""
        socket, first = self.connected()
        record = Record(socket)
        waiting = socket.when_disconnected()
        message = Deferred.fromCoroutine(socket._inbox.next())
        opened = socket.open("ws://192.0.2.2/")
        self.assertIn("abortConnection", first.transport.done)
        self.successResultOf(waiting)
        self.assertIsNone(self.successResultOf(message))
        self.turn()
        self.reach().open()
        self.successResultOf(opened)
        self.assertEqual(
            record.told,
            [("state_changed", CONNECTING), ("state_changed", CONNECTED), ("connected",)],
        )

    def test_while_connecting(self) -> None:
        """The attempt that was there has failed, silently but for its Deferred."""
        socket = self.client()
        record = Record(socket)
        first = socket.open("ws://192.0.2.1/")
        socket.open("ws://192.0.2.2/")
        self.assertEqual(self.failureResultOf(first, ConnectFailed).value.error, ConnectError.CANCELLED)
        self.assertEqual(record.told, [("state_changed", CONNECTING)])
        self.reach().open()
        self.assertEqual(socket.request_url, "ws://192.0.2.2/")
        self.assertTrue(socket.is_valid())

    def test_nothing_leaks(self) -> None:
        """Half a frame, half a message, half a character, waiting messages, a pause: the next connection has
        nothing of it."""
        socket = self.client()
        self.connected(socket)
        end = self.peers[-1]
        end.send(
            unmasked(TEXT, b"waits"),
            unmasked(TEXT, b"half \xc3", fin=False),
            unmasked(CONTINUATION, b"\xa9" + b"x" * 8)[:5],
        )
        socket.ping(b"old")
        socket.pause_reading()
        self.assertTrue(socket.is_valid())
        record = Record(socket, "text_message_received", "text_frame_received", "pong")
        self.connected(socket)
        end = self.peers[-1]
        end.send(unmasked(TEXT, b"\xc2\xa3"), unmasked(PONG, b"old"))
        self.assertEqual(
            record.told,
            [("text_frame_received", "£", True), ("text_message_received", "£"), ("pong", -1, b"old")],
        )
        self.assertEqual(len(socket._inbox), 0)

    def test_bytes_written_begin_anew(self) -> None:
        """Bytes of the old connection are not told as written on the new one."""
        socket, end = self.connected()
        record = Record(socket, "bytes_written")
        transport: Any = end.transport
        transport.dataBuffer = bytes(10)
        socket.send_binary_message(bytes(10))
        self.connected(socket)
        socket.send_binary_message(bytes(5))
        self.turn()
        self.assertEqual(record.told, [("bytes_written", 5)])

    def test_in_the_slot_of_disconnected(self) -> None:
        """A program that connects again when it was disconnected."""
        socket, end = self.connected()
        record = Record(socket, "connected", "disconnected", "state_changed")
        socket.disconnected.connect(lambda: socket.open("ws://192.0.2.2/"))
        end.leave()
        self.assertEqual(socket.state, CONNECTING)
        self.reach().open()
        self.assertEqual(record.names[2:], ["disconnected", "state_changed", "state_changed", "connected"])
        self.assertEqual(socket.peer_port, 9000)
        socket.disconnected.disconnect()

    def test_in_an_earlier_slot(self) -> None:
        """A slot that opens again before everything was told: nothing more is told of the old connection."""
        socket, end = self.connected()
        record = Record(socket)
        socket.error_occurred.connect(lambda error: socket.open("ws://192.0.2.2/"))
        end.leave()
        self.assertEqual(record.names, ["state_changed", "about_to_close", "error_occurred", "state_changed"])
        self.assertEqual(socket.state, CONNECTING)
        socket.abort()
        self.turn()

    def test_slots_stay(self) -> None:
        """Slots are connected once, and each message is told once, however often the socket was opened."""
        socket = self.client()
        record = Record(socket, "text_message_received")
        for _ in range(3):
            _, end = self.connected(socket)
            end.send(unmasked(TEXT, b"x"))
            end.leave()
        self.assertEqual(record.count("text_message_received"), 3)


class MessageTests(MembersTestCase):
    """Messages that come."""

    def test_signals(self) -> None:
        """Text comes as str, binary as bytes; each frame first, then the message."""
        socket, peer = self.pair()
        record = Record(socket)
        peer.send(frame(TEXT, b"h\xc3\xa9"), frame(BINARY, b"\0"))
        self.assertEqual(
            record.told,
            [
                ("text_frame_received", "hé", True),
                ("text_message_received", "hé"),
                ("binary_frame_received", b"\0", True),
                ("binary_message_received", b"\0"),
            ],
        )

    def test_a_character_in_two_frames(self) -> None:
        """A character that frames split comes whole, with the later one."""
        socket, peer = self.pair()
        record = Record(socket)
        peer.send(
            frame(TEXT, b"h\xc3", fin=False), frame(CONTINUATION, b"\xa9", fin=False), frame(CONTINUATION)
        )
        self.assertEqual(
            record.told,
            [
                ("text_frame_received", "h", False),
                ("text_frame_received", "é", False),
                ("text_frame_received", "", True),
                ("text_message_received", "hé"),
            ],
        )

    def test_other_kinds_are_dropped(self) -> None:
        """A program that goes by signals gets the kinds that it listens to; the others pile up nowhere."""
        for signal in (
            "text_message_received",
            "binary_message_received",
            "text_frame_received",
            "binary_frame_received",
        ):
            socket, peer = self.pair()
            record = Record(socket, signal)
            peer.send(frame(TEXT, b"x"), frame(BINARY, b"x"))
            self.assertEqual((len(record.told), len(socket._inbox)), (1, 0), signal)

    def test_iteration(self) -> None:
        """Without slots, messages wait for ``async for``, which ends with the connection."""
        socket, peer = self.pair()
        got: list[str | bytes] = []

        async def program() -> None:
            async for message in socket:
                got.append(message)  # noqa: PERF401 - looked at meanwhile

        peer.send(frame(TEXT, b"early"))
        running = Deferred.fromCoroutine(program())
        peer.send(frame(BINARY, b"late"))
        self.assertEqual(got, ["early", b"late"])
        peer.send(frame(TEXT, b"last"), close(1000))
        peer.leave()
        self.successResultOf(running)
        self.assertEqual(got, ["early", b"late", "last"])

    def test_back_pressure(self) -> None:
        """A peer whose messages nobody takes is not read any more, until somebody does."""
        socket, peer = self.pair()
        socket.read_buffer_size = 10
        peer.send(frame(TEXT, b"12345"))
        self.assertEqual(peer.transport.producerState, "producing")
        peer.send(frame(TEXT, b"67890"))
        self.assertEqual(peer.transport.producerState, "paused")
        Deferred.fromCoroutine(socket.__anext__())
        self.assertEqual(peer.transport.producerState, "producing")

    def test_pause_reading(self) -> None:
        """A program may stop reading, and go on."""
        socket, peer = self.pair()
        socket.pause_reading()
        self.assertEqual(peer.transport.producerState, "paused")
        socket.resume_reading()
        self.assertEqual(peer.transport.producerState, "producing")

    def test_both_must_agree(self) -> None:
        """Reading goes on when neither the program nor the buffer holds it."""
        socket, peer = self.pair()
        socket.read_buffer_size = 1
        peer.send(frame(TEXT, b"1"))
        socket.pause_reading()
        Deferred.fromCoroutine(socket.__anext__())
        self.assertEqual(peer.transport.producerState, "paused")
        socket.resume_reading()
        self.assertEqual(peer.transport.producerState, "producing")

    def test_paused_before(self) -> None:
        """A pause that is wished for before opening holds from the first byte."""
        socket = self.client()
        socket.pause_reading()
        socket.resume_reading()
        socket.pause_reading()
        _, end = self.connected(socket)
        self.assertEqual(end.transport.producerState, "paused")

    def test_closing_is_read(self) -> None:
        """A connection that is closing is read, whoever holds it: the peer's Close must be seen."""
        socket, peer = self.pair()
        socket.read_buffer_size = 1
        peer.send(frame(TEXT, b"1"))
        socket.close()
        self.assertEqual(peer.transport.producerState, "producing")
        socket.pause_reading()
        self.assertEqual(peer.transport.producerState, "producing")
        peer.send(close(1000))
        self.assertEqual(socket.end.reason, EndReason.SERVER_CLOSE)  # type: ignore[union-attr]

    def test_pings(self) -> None:
        """A pong tells the milliseconds since the last ping, -1 without one, and its payload."""
        socket, peer = self.pair()
        record = Record(socket, "pong")
        peer.send(frame(PONG, b"unasked"))
        socket.ping(b"abc")
        self.assertEqual(peer.frames, [Frame(PING, b"abc")])
        self.reactor.advance(0.25)
        peer.send(frame(PONG, b"abc"))
        self.assertEqual(record.told, [("pong", -1, b"unasked"), ("pong", 250, b"abc")])

    def test_ping_is_cut(self) -> None:
        """A ping has 125 bytes at most; it has none by default."""
        socket, peer = self.pair()
        socket.ping(bytes(200))
        socket.ping()
        self.assertEqual(peer.frames, [Frame(PING, bytes(125)), Frame(PING, b"")])
        wrong: Any = "abc"
        error = self.assertRaises(TypeError, socket.ping, wrong)
        self.assertEqual(str(error), "payload must be bytes, not str")

    def test_ping_when_not_connected(self) -> None:
        """Nothing happens."""
        self.client().ping()

    def test_slots_that_raise(self) -> None:
        """A slot that raises is logged, and harms neither the connection nor the next message."""
        socket, peer = self.pair()
        record = Record(socket, "text_message_received")
        socket.text_message_received.connect(lambda message: 1 // 0)
        peer.send(frame(TEXT, b"1"), frame(TEXT, b"2"))
        self.assertEqual(record.count("text_message_received"), 2)
        self.assertTrue(socket.is_valid())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_freed(self) -> None:
        """A socket whose connection has ended is freed at once when the program lets go of it."""
        socket, peer = self.pair()
        record = Record(socket, "text_message_received")
        peer.send(frame(TEXT, b"x"))
        peer.leave()
        self.turn()
        gone = weakref.ref(socket)
        self.peers.clear()
        del socket, peer
        self.assertEqual(record.count("text_message_received"), 1)
        self.assertIsNone(gone())


class SendTests(MembersTestCase):
    """Messages that go."""

    def test_send(self) -> None:
        """Both give the bytes that were accepted."""
        socket, peer = self.pair()
        self.assertEqual(socket.send_text_message("hé"), 3)
        self.assertEqual(socket.send_binary_message(b"\0\1"), 2)
        self.assertEqual(socket.send_binary_message(bytearray(b"\2")), 1)
        self.assertEqual(socket.send_binary_message(memoryview(b"\3")), 1)
        self.assertEqual(socket.send_text_message(""), 0)
        self.assertEqual(
            peer.frames,
            [
                Frame(TEXT, b"h\xc3\xa9"),
                Frame(BINARY, b"\0\1"),
                Frame(BINARY, b"\2"),
                Frame(BINARY, b"\3"),
                Frame(TEXT, b""),
            ],
        )

    def test_not_connected(self) -> None:
        """Unconnected, connecting, closing, ended: 0, and nothing is sent."""
        socket = self.client()
        self.assertEqual((socket.send_text_message("x"), socket.send_binary_message(b"x")), (0, 0))
        socket.open("ws://192.0.2.1/")
        self.assertEqual(socket.send_text_message("x"), 0)
        end = self.reach().open()
        socket.close()
        self.assertEqual(socket.send_text_message("x"), 0)
        end.leave()
        self.assertEqual(socket.send_text_message("x"), 0)
        self.assertEqual([one.opcode for one in end.frames], [CLOSE])

    def test_wrong(self) -> None:
        """Wrong types, and text that is no Unicode, raise at the call."""
        socket, _ = self.pair()
        text: Any = socket.send_text_message
        binary: Any = socket.send_binary_message
        for send, error, message, expected in (
            (text, TypeError, b"x", "message must be a str, not bytes"),
            (text, ValueError, "\ud800", "message holds a surrogate, which is no character"),
            (binary, TypeError, "x", "message must be bytes, not str"),
            (binary, TypeError, 7, "message must be bytes, not int"),
        ):
            self.assertEqual(str(self.assertRaises(error, send, message)), expected)

    def test_fragments(self) -> None:
        """Messages larger than the outgoing frame size are sent in fragments."""
        socket, peer = self.pair()
        socket.outgoing_frame_size = 2
        socket.send_text_message("abcde")
        socket.send_text_message("ab")
        self.assertEqual(
            peer.frames,
            [
                Frame(TEXT, b"ab", fin=False),
                Frame(CONTINUATION, b"cd", fin=False),
                Frame(CONTINUATION, b"e"),
                Frame(TEXT, b"ab"),
            ],
        )

    def test_bytes_written(self) -> None:
        """Payload bytes are told when the kernel has them, in all as many as were accepted."""
        socket, peer = self.pair()
        record = Record(socket, "bytes_written")
        transport: Any = peer.transport
        transport.dataBuffer = bytes(12)
        socket.send_binary_message(bytes(10))
        socket.send_binary_message(bytes(10))
        self.turn()
        self.assertEqual(record.told, [("bytes_written", 8)])
        transport.dataBuffer = b""
        self.reactor.advance(0.1)
        self.assertEqual(record.told, [("bytes_written", 8), ("bytes_written", 12)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_bytes_written_nothing_yet(self) -> None:
        """Nothing is told while everything waits."""
        socket, peer = self.pair()
        record = Record(socket, "bytes_written")
        transport: Any = peer.transport
        transport.dataBuffer = bytes(12)
        socket.send_binary_message(bytes(10))
        self.turn()
        self.assertEqual(record.told, [])
        peer.leave()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_nobody_asks_what_is_written(self) -> None:
        """Without a slot nothing is looked at."""
        socket, _ = self.pair()
        socket.send_binary_message(bytes(10))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def filled(self, size: int = 400) -> tuple[WebSocket, Any]:
        """A connection whose peer does not read, with a send queue of 1000 bytes that is full of messages."""
        socket, peer = self.pair(self.server(send_queue=1000))
        peer.transport.reads_nothing = True
        while self.successResultOf(socket.drained()):
            socket.send_binary_message(bytes(size))
            if socket.bytes_to_write >= 1000:
                break
        return socket, peer

    def test_full(self) -> None:
        """A message for which there is no room is not taken, which 0 tells; the peer is closed with 1013."""
        socket, peer = self.filled()
        record = Record(socket, "bytes_written", "about_to_close")
        self.assertEqual(socket.bytes_to_write, 3 * 404)
        self.assertEqual((socket.send_text_message("x"), socket.send_binary_message(b"x")), (0, 0))
        self.assertEqual(record.told, [("about_to_close",)])
        self.assertEqual((socket.close_code, socket.end), (1013, End(EndReason.SLOW_CONSUMER, 1013)))
        peer.transport.read()
        self.assertEqual(
            [one.payload for one in peer.frames],
            [*[bytes(400)] * 3, b"\x03\xf5does not read: send-queue (1000 bytes) is full"],
        )

    def test_drained(self) -> None:
        """Who waits is woken when the peer has read half, and not before; who need not wait does not."""
        socket, peer = self.filled()
        first, second = socket.drained(), socket.drained()
        peer.transport.read_once()
        self.assertEqual(socket.bytes_to_write, 2 * 404)
        self.assertNoResult(first)
        self.assertTrue(self.successResultOf(socket.drained()))
        peer.transport.read_once()
        self.assertEqual(socket.bytes_to_write, 404)
        self.assertTrue(self.successResultOf(first) and self.successResultOf(second))

    def test_drained_by_many(self) -> None:
        """Of many who wait, one that fills the queue again keeps the next waiting: nobody is closed."""
        socket, peer = self.filled()

        async def send() -> int:
            await socket.drained()
            return socket.send_binary_message(bytes(2000))

        first, second = Deferred.fromCoroutine(send()), Deferred.fromCoroutine(send())
        peer.transport.read_once()
        peer.transport.read_once()
        self.assertEqual(self.successResultOf(first), 2000)
        self.assertNoResult(second)
        peer.transport.read()
        self.assertEqual(self.successResultOf(second), 2000)
        self.assertEqual([len(one.payload) for one in peer.frames], [400, 400, 400, 2000, 2000])

    def test_drained_at_the_end(self) -> None:
        """Who waits is told when nothing can be sent any more, and may have given up before."""
        for end in (
            lambda socket, _: socket.close(),
            lambda socket, _: socket.abort(),
            lambda _, peer: peer.leave(),
            lambda _, peer: peer.send(close(1000)),
        ):
            socket, peer = self.filled()
            waiting, cancelled = socket.drained(), socket.drained()
            cancelled.cancel()
            self.failureResultOf(cancelled, CancelledError)
            end(socket, peer)
            self.assertFalse(self.successResultOf(waiting))
            self.assertFalse(self.successResultOf(socket.drained()))

    def test_drained_of_the_connection_before(self) -> None:
        """Who waited when another connection took the place of this one is told that it is over."""
        socket, end = self.connected(self.client(settings=replace(QUIET, send_queue=1000)))
        end.transport.reads_nothing = True
        socket.send_binary_message(bytes(1000))
        waiting = socket.drained()
        socket.open("ws://192.0.2.2/")
        self.assertFalse(self.successResultOf(waiting))
        self.assertFalse(self.successResultOf(self.client().drained()))
        self.reach().open()
        self.assertTrue(self.successResultOf(socket.drained()))

    def test_flush(self) -> None:
        """flush tells whether nothing waits."""
        socket, peer = self.pair()
        transport: Any = peer.transport
        self.assertTrue(self.client().flush())
        self.assertTrue(socket.flush())
        transport.dataBuffer = b"x"
        self.assertFalse(socket.flush())


class CloseTests(MembersTestCase):
    """The end of a connection."""

    def test_close(self) -> None:
        """The closing handshake, with the signals in this order on the side that began it."""
        socket, peer = self.pair()
        record = Record(socket)
        socket.close(CloseCode.GOING_AWAY, "going away")
        self.assertEqual(peer.frames, [Frame(CLOSE, b"\x03\xe9going away")])
        self.assertEqual(record.told, [("state_changed", CLOSING), ("about_to_close",)])
        peer.send(close(1001, b"going away"))
        peer.leave()
        self.assertEqual(
            record.told[2:],
            [("state_changed", UNCONNECTED), ("read_channel_finished",), ("disconnected",)],
        )
        self.assertEqual((socket.close_code, socket.close_reason), (1001, "going away"))
        self.assertEqual(socket.error, SocketError.UNKNOWN_SOCKET_ERROR)

    def test_closed_by_the_peer(self) -> None:
        """The same signals on the other side, with the peer's code and reason."""
        socket, peer = self.pair()
        record = Record(socket)
        peer.send(close(4001, b"bye"))
        peer.leave()
        self.assertEqual(
            record.told,
            [
                ("state_changed", CLOSING),
                ("about_to_close",),
                ("state_changed", UNCONNECTED),
                ("read_channel_finished",),
                ("disconnected",),
            ],
        )
        self.assertEqual((socket.close_code, socket.close_reason), (4001, "bye"))

    def test_default(self) -> None:
        """By default the code is 1000, without a reason."""
        socket, peer = self.pair()
        socket.close()
        self.assertEqual(peer.frames, [Frame(CLOSE, b"\x03\xe8")])
        self.assertEqual((socket.close_code, socket.close_reason), (1000, ""))

    def test_without_code(self) -> None:
        """A Close frame without code is 1005 (RFC 6455 section 7.1.5)."""
        socket, peer = self.pair()
        peer.send(close())
        self.assertEqual((socket.close_code, socket.close_reason), (1005, ""))

    def test_without_close(self) -> None:
        """A connection that ends without a Close frame is 1006 and an error."""
        socket, peer = self.pair()
        record = Record(socket)
        peer.leave()
        self.assertEqual(
            record.told,
            [
                ("state_changed", CLOSING),
                ("about_to_close",),
                ("error_occurred", SocketError.REMOTE_HOST_CLOSED),
                ("state_changed", UNCONNECTED),
                ("read_channel_finished",),
                ("disconnected",),
            ],
        )
        self.assertEqual((socket.close_code, socket.close_reason), (1006, ""))
        self.assertEqual(socket.error_string, "the peer ended the connection without a Close frame")
        self.assertEqual(socket.end.reason, EndReason.PEER_GONE)  # type: ignore[union-attr]

    def test_ping_timeout(self) -> None:
        """A peer that answers no keepalive ping is an error as well; the code is the one we sent."""
        server = self.server(ping_interval=10.0, ping_timeout=5.0, close_timeout=1.0)
        socket, peer = self.pair(server)
        peer.transport.reads_nothing = True
        self.reactor.advance(10)
        self.reactor.advance(5)
        self.reactor.advance(1)
        self.turn()
        self.assertEqual((socket.close_code, socket.error), (1001, SocketError.SOCKET_TIMEOUT))
        self.assertEqual(socket.error_string, "the peer did not answer a ping in time")

    def test_violation(self) -> None:
        """What the peer does wrong ends the connection with its code; the reason is ours."""
        socket, peer = self.pair()
        peer.send(frame(3, b""))
        self.assertEqual(socket.close_code, 1002)
        self.assertNotEqual(socket.close_reason, "")

    def test_abort(self) -> None:
        """abort ends at once, without a Close frame."""
        socket, peer = self.pair()
        record = Record(socket)
        socket.abort()
        socket.abort()
        self.assertEqual((peer.frames, socket.state), ([], CLOSING))
        self.turn()
        self.assertEqual(
            record.names,
            ["state_changed", "about_to_close", "state_changed", "read_channel_finished", "disconnected"],
        )
        self.assertEqual((socket.close_code, socket.error), (1006, SocketError.UNKNOWN_SOCKET_ERROR))

    def test_twice(self) -> None:
        """Closing again changes nothing."""
        socket, peer = self.pair()
        socket.close(4001)
        socket.close(4002)
        self.assertEqual(len(peer.frames), 1)
        self.assertEqual(socket.close_code, 4001)

    def test_not_connected(self) -> None:
        """Closing or aborting what is not connected does nothing."""
        socket = self.client()
        record = Record(socket)
        socket.close()
        socket.abort()
        self.assertEqual(record.told, [])

    def test_long_reason(self) -> None:
        """A reason is cut to 123 bytes, never inside a character."""
        socket, peer = self.pair()
        socket.close(1000, "x" + "é" * 100)
        (sent,) = peer.frames
        self.assertEqual(sent.payload[2:].decode("utf-8"), "x" + "é" * 61)
        self.assertEqual(socket.close_reason, "x" + "é" * 61)

    def test_wrong(self) -> None:
        """Codes that must not be sent, and wrong types, raise at the call."""
        socket, peer = self.pair()
        wrong: Any = socket.close
        for error, arguments, message in (
            (ValueError, (1005,), "code 1005 must not be sent; see RFC 6455 section 7.4"),
            (
                ValueError,
                (CloseCode.MISSING_EXTENSION,),
                "code 1010 must not be sent; see RFC 6455 section 7.4",
            ),
            (ValueError, (0,), "code 0 must not be sent; see RFC 6455 section 7.4"),
            (TypeError, ("1000",), "code must be an int, not str"),
            (TypeError, (True,), "code must be an int, not bool"),
            (TypeError, (1000, b"bye"), "reason must be a str, not bytes"),
        ):
            self.assertEqual(str(self.assertRaises(error, wrong, *arguments)), message)
        self.assertEqual(peer.frames, [])

    def test_missing_extension(self) -> None:
        """1010 is a client's to send."""
        socket, end = self.connected()
        socket.close(CloseCode.MISSING_EXTENSION)
        self.assertEqual(end.frames, [Frame(CLOSE, b"\x03\xf2")])

    def test_when_disconnected(self) -> None:
        """It fires with the end, and at once where there is no connection."""
        socket = self.client()
        self.successResultOf(socket.when_disconnected())
        socket.open("ws://192.0.2.1/").addErrback(lambda _: None)
        connecting = socket.when_disconnected()
        self.assertNoResult(connecting)
        socket.abort()
        self.successResultOf(connecting)
        socket, end = self.connected()
        gone, there = socket.when_disconnected(), socket.when_disconnected()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        end.leave()
        self.successResultOf(there)

    def test_context(self) -> None:
        """Leaving ``async with`` closes, and waits for the end."""
        socket, peer = self.pair()

        async def program() -> None:
            async with socket as entered:
                self.assertIs(entered, socket)

        running = Deferred.fromCoroutine(program())
        self.assertEqual([one.opcode for one in peer.frames], [CLOSE])
        self.assertNoResult(running)
        peer.send(close(1000))
        peer.leave()
        self.successResultOf(running)


class PendingTests(MembersTestCase):
    """Messages that come before somebody has taken the connection."""

    def test_kept(self) -> None:
        """They are kept, and told in the turn after the taking, when slots are connected; later ones after
        them."""
        server = self.server()
        peer = self.visit(server).open()
        peer.send(frame(TEXT, b"1"), frame(BINARY, b"2"))
        socket = server.next_pending_connection()
        assert socket is not None
        record = Record(socket, "text_message_received", "binary_message_received")
        peer.send(frame(TEXT, b"3"))
        self.assertEqual(record.told, [])
        self.turn()
        peer.send(frame(TEXT, b"4"))
        self.assertEqual([one[1] for one in record.told], ["1", b"2", "3", "4"])

    def test_iteration(self) -> None:
        """Or they wait for ``async for``."""
        server = self.server()
        peer = self.visit(server).open()
        peer.send(frame(TEXT, b"1"))
        socket = server.next_pending_connection()
        assert socket is not None
        self.turn()
        peer.send(frame(TEXT, b"2"))
        got = [Deferred.fromCoroutine(socket.__anext__()) for _ in range(2)]
        self.assertEqual([self.successResultOf(one) for one in got], ["1", "2"])

    def test_at_once(self) -> None:
        """When nothing came early, messages are told at once."""
        socket, peer = self.pair()
        record = Record(socket, "text_message_received")
        peer.send(frame(TEXT, b"1"))
        self.assertEqual(record.told, [("text_message_received", "1")])

    def test_bounded(self) -> None:
        """A connection that nobody takes is read until the buffer is full; before that, its end is seen."""
        server = self.server()
        peer = self.visit(server).open()
        peer.send(frame(BINARY, bytes(1024 * 1024 - 1)))
        self.assertEqual(peer.transport.producerState, "producing")
        peer.send(frame(BINARY, b"x"))
        self.assertEqual(peer.transport.producerState, "paused")

    def test_read_on(self) -> None:
        """When it is taken and its messages are told, reading goes on."""
        server = self.server()
        peer = self.visit(server).open()
        peer.send(frame(BINARY, bytes(1024 * 1024)))
        socket = server.next_pending_connection()
        assert socket is not None
        record = Record(socket, "binary_message_received")
        self.assertEqual(peer.transport.producerState, "paused")
        self.turn()
        self.assertEqual(
            (record.count("binary_message_received"), peer.transport.producerState), (1, "producing")
        )

    def test_before_the_end(self) -> None:
        """A peer that sends and closes at once: its message is told before the end."""
        server = self.server()
        peer = self.visit(server).open()
        peer.send(frame(TEXT, b"1"))
        socket = server.next_pending_connection()
        assert socket is not None
        record = Record(socket)
        peer.send(close(1000))
        peer.leave()
        self.turn()
        self.assertEqual(
            record.names,
            [
                "text_message_received",
                "state_changed",
                "about_to_close",
                "state_changed",
                "read_channel_finished",
                "disconnected",
            ],
        )

    def test_taken_while_closing(self) -> None:
        """A connection that is taken when its peer has closed still has its messages."""
        server = self.server()
        peer = self.visit(server).open()
        peer.send(frame(TEXT, b"1"), close(1000))
        socket = server.next_pending_connection()
        assert socket is not None
        record = Record(socket)
        self.turn()
        peer.leave()
        self.assertEqual(record.names[0], "text_message_received")
        self.assertEqual(record.names[-1], "disconnected")

    def test_slots_that_go(self) -> None:
        """When the slot goes while the early messages are told, the rest waits for ``async for``."""
        server = self.server()
        peer = self.visit(server).open()
        peer.send(frame(TEXT, b"1"), frame(TEXT, b"2"))
        socket = server.next_pending_connection()
        assert socket is not None
        socket.text_message_received.connect(lambda message: socket.text_message_received.disconnect())
        self.turn()
        self.assertEqual(len(socket._inbox), 1)
