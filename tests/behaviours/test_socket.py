"""Behaviours of QWebSocket (Qt's tst_qwebsocket, its QML tests, and reports about sockets)."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet import error as internet_error
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.python.failure import Failure

from tests.behaviours.loopback import LoopbackTestCase, emitted, the_reactor
from tests.members import MembersTestCase, Record
from tests.wire.client_harness import ServerEnd, unmasked
from tests.wire.harness import TEXT, close, frame
from wsecho import (
    Authenticator,
    ClientRequest,
    CloseCode,
    ConnectError,
    ConnectFailed,
    HandshakeOptions,
    HttpProxy,
    PauseMode,
    SocketError,
    SocketState,
    Version,
    WebSocket,
)

CHALLENGE = 'WWW-Authenticate: Basic realm="staff"'
LAST_SIGNALS = ["state_changed", "about_to_close", "state_changed", "read_channel_finished", "disconnected"]


class InitialisationTests(MembersTestCase):
    """A new socket."""

    def test_initialisation(self) -> None:
        """Origin and version are kept; it is unconnected, sends nothing, and has nothing to flush."""
        for arguments, origin in (((), ""), (("test",), "test"), (("test", Version.LATEST), "test")):
            socket = self.client(*arguments)
            self.assertEqual((socket.origin, socket.version), (origin, Version.VERSION_13))
            self.assertEqual((socket.error, socket.error_string), (SocketError.UNKNOWN_SOCKET_ERROR, ""))
            self.assertFalse(socket.is_valid())
            self.assertEqual((socket.local_address, socket.local_port), ("", 0))
            self.assertEqual((socket.peer_address, socket.peer_port, socket.peer_name), ("", 0, ""))
            self.assertIs(socket.pause_mode, PauseMode.PAUSE_NEVER)
            self.assertEqual((socket.resource_name, socket.request_url), ("", ""))
            self.assertEqual((socket.close_code, socket.close_reason), (CloseCode.NORMAL, ""))
            self.assertTrue(socket.flush())
            self.assertEqual((socket.send_text_message("x"), socket.send_binary_message(b"x")), (0, 0))

    def test_setters_and_getters(self) -> None:
        """What is set is kept. A negative buffer size, to Qt none, is refused; 0 is none here as well."""
        socket = self.client()
        socket.pause_mode = PauseMode.PAUSE_ON_SSL_ERRORS
        self.assertIs(socket.pause_mode, PauseMode.PAUSE_ON_SSL_ERRORS)
        for size in (0, 128):
            socket.read_buffer_size = size
            self.assertEqual(socket.read_buffer_size, size)
        self.assertRaises(ValueError, setattr, socket, "read_buffer_size", -1)

    def test_frame_and_message_sizes(self) -> None:
        """Sizes are kept."""
        socket = self.client()
        for name in (
            "outgoing_frame_size",
            "max_allowed_incoming_frame_size",
            "max_allowed_incoming_message_size",
        ):
            setattr(socket, name, 2000)
            self.assertEqual(getattr(socket, name), 2000)

    def test_set_proxy(self) -> None:
        """A proxy is kept; it is a value that nobody can change afterwards."""
        socket = self.client()
        socket.proxy = HttpProxy(host="proxy.example", port=80)
        self.assertEqual(socket.proxy, HttpProxy(host="proxy.example", port=80))


class OpenTests(MembersTestCase):
    """Opening, and what keeps it from happening."""

    def test_invalid_open(self) -> None:
        """A port where nobody listens: ConnectionRefused, one disconnected, two changes of state."""
        socket = self.client()
        record = Record(socket)
        socket.open("ws://127.0.0.1:1/").addErrback(lambda _: None)
        factory: Any = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(internet_error.ConnectionRefusedError()))
        self.assertIs(socket.error, SocketError.CONNECTION_REFUSED)
        self.assertEqual((record.count("disconnected"), record.count("state_changed")), (1, 2))
        self.assertEqual((record.count("connected"), record.count("error_occurred")), (0, 1))
        self.turn()

    def test_invalid_url(self) -> None:
        """Line ends in host, path or query are refused, literal or encoded, and nothing is connected to."""
        socket = self.client()
        record = Record(socket)
        for url in (
            "ws://localhost\r\nX-Injected: yes/",
            "ws://localhost/\r\nX-Injected: yes",
            "ws://localhost/?\n",
            "ws://localhost/%0D%0AX-Injected:%20yes",
            "ws://%0d%0a/",
        ):
            self.assertRaises(ValueError, socket.open, url)
        self.assertEqual((self.reactor.tcpClients, record.told), ([], []))

    def test_invalid_origin(self) -> None:
        """A line end in an Origin never reaches the wire."""
        self.assertRaises(ValueError, self.client, "http://a\r\nX-Injected: yes")
        self.assertRaises(ValueError, ClientRequest, url="ws://a/", origin="http://a\nX-Injected: yes")

    def test_invalid_header(self) -> None:
        """Nor does one in a header of one's own."""
        for header in (("X-Name", "a\r\nb"), ("X\r\nName", "a")):
            self.assertRaises(ValueError, ClientRequest, url="ws://a/", headers=(header,))

    def test_error_string(self) -> None:
        """Empty at rest; a host that is not found, and a refusal, say who and what."""
        socket = self.client()
        self.assertEqual(socket.error_string, "")
        socket.open("ws://someserver.on.mars:9999/").addErrback(lambda _: None)
        self.reactor.resolver.answer()
        self.assertIs(socket.error, SocketError.HOST_NOT_FOUND)
        self.assertEqual(socket.error_string, "someserver.on.mars:9999: host not found")
        socket.open("ws://192.0.2.1/").addErrback(lambda _: None)
        end = self.reach()
        end.send(end.head(status="403 Access Forbidden"))
        self.turn()
        self.assertEqual(socket.error_string, "192.0.2.1:80: the server answered 403 Access Forbidden")

    def test_open_request(self) -> None:
        """Headers, query and subprotocols arrive as they were given; invalid names are dropped; without names
        there is no header, with one name no comma."""
        for options, raw, expected in (
            ([], "", None),
            (["foo"], "", "foo"),
            (["foo", "bar"], "", "foo, bar"),
            (["foo", "b\x1far", "b ar", "bär", "", "bar"], "", "foo, bar"),
            (["b,ar"], "", None),
            ([], "foo, bar", "foo, bar"),
            (["bar"], "foo, bar", "bar, foo"),
        ):
            socket = self.client()
            headers = (("X-Custom", "a value"), *((("Sec-WebSocket-Protocol", raw),) if raw else ()))
            request = ClientRequest(url="ws://192.0.2.1/path?a=b%20c&d=e f", headers=headers)
            socket.open(request, HandshakeOptions(options)).addErrback(lambda _: None)
            asked = self.reach().request
            self.assertEqual(asked.status, "GET /path?a=b%20c&d=e%20f HTTP/1.1")
            self.assertEqual(asked.headers["x-custom"], "a value")
            self.assertEqual(asked.headers.get("sec-websocket-protocol"), expected)
            socket.abort()

    def test_subprotocol(self) -> None:
        """Of foo and protocol2, the server speaks protocol2."""
        socket = self.client()
        socket.open("ws://192.0.2.1/", HandshakeOptions(["foo", "protocol2"]))
        self.reach().open("Sec-WebSocket-Protocol: protocol2")
        self.assertEqual(socket.subprotocol, "protocol2")
        self.assertEqual(socket.handshake_options.subprotocols, ("foo", "protocol2"))

    def test_host_header(self) -> None:
        """The Host header has the port when it is not the scheme's own, IPv6 in brackets (QTBUG-39355)."""
        for url, host in (
            ("ws://192.0.2.1/", "192.0.2.1"),
            ("ws://192.0.2.1:80/", "192.0.2.1"),
            ("ws://192.0.2.1:8080/", "192.0.2.1:8080"),
            ("ws://[2001:db8::1]:9000/", "[2001:db8::1]:9000"),
            ("ws://[2001:db8::1]/", "[2001:db8::1]"),
        ):
            socket = self.client()
            socket.open(url).addErrback(lambda _: None)
            self.assertEqual(self.reach().request.headers["host"], host)
            socket.abort()


class AuthenticationTests(MembersTestCase):
    """A server that asks for user and password (QTBUG-92858)."""

    #: Heads and bodies of a 401.
    ANSWERS = (
        ((), b""),
        (("Content-Length: 0",), b""),
        (("Content-Length: 12",), b"Who are you?"),
        (("Connection: close",), b"Who are you?"),
        (("Content-Length: 12", "Connection: close"), b"Who are you?"),
    )

    def refuse(self, answer: tuple[tuple[str, ...], bytes]) -> str:
        """The server asks; gives the credentials that came with the request."""
        headers, body = answer
        end: ServerEnd = self.reach()
        end.send(
            end.head(CHALLENGE, *headers, status="401 Unauthorized").replace(b"Upgrade: websocket\r\n", b"")
            + body
        )
        self.turn()
        return end.request.headers.get("authorization", "")

    def open(self, user: str, answers: list[tuple[str, str]]) -> tuple[WebSocket, Record]:
        """Open with the URL's credentials, and a slot that knows some answers."""
        socket = self.client()
        record = Record(socket, "connected", "error_occurred", "state_changed", "authentication_required")

        def slot(question: Authenticator) -> None:
            self.assertEqual(question.realm, "staff")
            if answers:
                question.user, question.password = answers.pop(0)

        socket.authentication_required.connect(slot)
        socket.open(f"ws://{user}192.0.2.1/").addErrback(lambda _: None)
        return socket, record

    def test_credentials_of_the_url(self) -> None:
        """They are sent when they are asked for, and no slot is asked."""
        for answer in self.ANSWERS:
            socket, record = self.open("me:secret@", [])
            self.assertEqual(self.refuse(answer), "")
            end = self.reach()
            self.assertEqual(end.request.headers["authorization"], Authenticator("", "me", "secret").basic())
            end.open()
            self.assertTrue(socket.is_valid())
            self.assertEqual(record.names, ["state_changed", "state_changed", "connected"])

    def test_credentials_of_a_slot(self) -> None:
        """A slot is asked, once."""
        for answer in self.ANSWERS:
            socket, record = self.open("", [("me", "secret")])
            self.refuse(answer)
            end = self.reach()
            self.assertEqual(end.request.headers["authorization"], Authenticator("", "me", "secret").basic())
            end.open()
            self.assertTrue(socket.is_valid())
            self.assertEqual(record.count("authentication_required"), 1)

    def test_wrong_in_the_url(self) -> None:
        """When those of the URL are wrong, the slot is asked."""
        for answer in self.ANSWERS:
            socket, record = self.open("me:wrong@", [("me", "secret")])
            sent = [self.refuse(answer), self.refuse(answer)]
            self.assertEqual(sent, ["", Authenticator("", "me", "wrong").basic()])
            self.reach().open()
            self.assertTrue(socket.is_valid())
            self.assertEqual(
                (record.count("authentication_required"), record.count("error_occurred")), (1, 0)
            )

    def test_wrong_twice(self) -> None:
        """The same wrong answer twice is a failure: one error, two changes of state."""
        for answer in self.ANSWERS:
            socket, record = self.open("", [("me", "wrong"), ("me", "wrong")])
            self.refuse(answer)
            self.refuse(answer)
            self.assertFalse(socket.is_valid())
            self.assertIn("401", socket.error_string)
            self.assertEqual((record.count("error_occurred"), record.count("state_changed")), (1, 2))

    def test_nobody_answers(self) -> None:
        """Without an answer it fails at once, and nothing was sent."""
        for answer in self.ANSWERS:
            socket, record = self.open("", [])
            self.assertEqual(self.refuse(answer), "")
            self.assertEqual((record.count("error_occurred"), record.count("state_changed")), (1, 2))
            self.assertIs(socket.state, SocketState.UNCONNECTED)


class MessageTests(LoopbackTestCase):
    """Messages between the two."""

    async def test_send_text_message(self) -> None:
        """A URL with blanks and a query reaches the server intact; a message is one message and one last
        frame; 1 MiB comes in several; opening again doubles no signal; the close code is kept."""
        server = await self.listening()
        socket = self.client()
        record = Record(socket)
        self.assertEqual(socket.send_text_message("1234"), 0)
        for _ in range(2):
            await socket.open(f"{server.server_url}/segment with spaces?query=with spaces")
            taken = await anext(server)
            self.assertEqual(taken.resource_name, "/segment%20with%20spaces?query=with%20spaces")
            taken.text_message_received.connect(taken.send_text_message)
            told = emitted(socket.text_message_received)
            self.assertEqual(socket.send_text_message("Hello world!"), 12)
            self.assertEqual(await told, ("Hello world!",))
            self.assertEqual(record.count("text_message_received"), 1)
            self.assertEqual(
                [one for one in record.told if one[0] == "text_frame_received"],
                [("text_frame_received", "Hello world!", True)],
            )
            record.clear()
            told = emitted(socket.text_message_received)
            socket.send_text_message("x" * 1024 * 1024)
            self.assertEqual(len((await told)[0]), 1024 * 1024)
            frames = [one[2] for one in record.told if one[0] == "text_frame_received"]
            # Autobahn ends a message that fills its frames exactly by an empty one.
            self.assertEqual(frames, [False, False, True])
            self.assertNotIn("binary_message_received", record.names)
            ended, other = emitted(socket.disconnected), emitted(taken.disconnected)
            socket.close(CloseCode.GOING_AWAY, "going away")
            await ended
            await other
            for one in (socket, taken):
                self.assertEqual((one.close_code, one.close_reason), (1001, "going away"))
            record.clear()

    async def test_send_binary_message(self) -> None:
        """Likewise, without any text signal."""
        client, taken = await self.pair()
        record = Record(client)
        taken.binary_message_received.connect(taken.send_binary_message)
        for message in (b"Hello world!", b"", bytes(range(256)) * 4096):
            told = emitted(client.binary_message_received)
            client.send_binary_message(message)
            self.assertEqual(await told, (message,))
        self.assertEqual({"text_message_received", "text_frame_received"} & set(record.names), set())

    async def test_other_thread(self) -> None:
        """Another thread sends through the reactor, as Twisted has it; QWebSocket is moved to the thread."""
        client, taken = await self.pair()
        taken.text_message_received.connect(taken.send_text_message)
        told = emitted(client.text_message_received)
        sent = await deferToThread(blockingCallFromThread, the_reactor, client.send_text_message, "Hello")
        self.assertEqual((sent, await told), (5, ("Hello",)))

    async def test_round_trip(self) -> None:
        """Text and binary there and back, as QML's tests do it; sending on a closed socket is 0."""
        client, taken = await self.pair()
        for message in ("hello", b"\0\1"):
            if isinstance(message, str):
                client.send_text_message(message)
            else:
                client.send_binary_message(message)
            self.assertEqual(await anext(taken), message)
        client.close()
        await client.when_disconnected()
        self.assertEqual(client.send_text_message("x"), 0)

    async def test_big_messages_both_ways(self) -> None:
        """Neither side waits for the other to read."""
        client, taken = await self.pair()
        big = b"x" * 1024 * 1024
        client.send_binary_message(big)
        taken.send_binary_message(big)
        self.assertEqual((await anext(client), await anext(taken)), (big, big))


class EndTests(LoopbackTestCase):
    """How connections end."""

    async def test_signal_order_at_disconnect(self) -> None:
        """On both sides: closing, about to close, unconnected, nothing more to read, disconnected."""
        for first in (0, 1):
            pair = await self.pair()
            records = [Record(socket) for socket in pair]
            ended = [emitted(socket.disconnected) for socket in pair]
            pair[first].close()
            for one in ended:
                await one
            for record in records:
                self.assertEqual(record.names, LAST_SIGNALS)

    async def test_last_message_before_disconnected(self) -> None:
        """A message that is sent right before the closing is told before the end (QTBUG-100054)."""
        client, taken = await self.pair()
        record = Record(client)
        taken.send_text_message("last words")
        taken.close()
        await client.when_disconnected()
        self.assertEqual(record.names, ["text_frame_received", "text_message_received", *LAST_SIGNALS])

    async def test_graceful_close(self) -> None:
        """What Qt lacks: who closes waits for the other's Close, so that nothing on its way is lost."""
        client, taken = await self.pair()
        client.send_binary_message(bytes(1024 * 1024))
        client.close(4000, "done")
        self.assertEqual(len(await anext(taken)), 1024 * 1024)
        await taken.when_disconnected()
        self.assertEqual((taken.close_code, taken.close_reason), (4000, "done"))

    async def test_abort(self) -> None:
        """abort is the end at once; the other side learns it as an error."""
        client, taken = await self.pair()
        record = Record(taken, "error_occurred")
        client.abort()
        await taken.when_disconnected()
        self.assertEqual(record.told, [("error_occurred", SocketError.REMOTE_HOST_CLOSED)])

    async def test_opening_again(self) -> None:
        """A socket is opened again and again; each connection is a new one."""
        server = await self.listening()
        client = self.client()
        record = Record(client, "connected", "disconnected")
        for number in range(3):
            await client.open(f"{server.server_url}/{number}")
            taken = await anext(server)
            self.assertEqual(taken.resource_name, f"/{number}")
            client.close()
            await client.when_disconnected()
        self.assertEqual(record.names, ["connected", "disconnected"] * 3)

    async def test_refused_origin(self) -> None:
        """A refused origin is an error of the client, with the status, and no connection of the server."""
        server = await self.listening()
        server.origin_authentication_required.connect(lambda question: question.set_allowed(False))
        record = Record(server, "new_connection")
        client = self.client("http://evil.example")
        with self.assertRaises(ConnectFailed) as raised:
            await client.open(server.server_url)
        self.assertEqual(raised.exception.status, 403)
        self.assertIn("403", client.error_string)
        self.assertEqual(record.told, [])

    async def test_certificate_that_is_not_trusted(self) -> None:
        """A certificate of nobody's is refused, unless the program says that it does not care."""
        server, _ = await self.secure()
        client = self.client()
        with self.assertRaises(ConnectFailed) as raised:
            await client.open(server.server_url)
        self.assertIs(raised.exception.error, ConnectError.TLS)
        self.assertIs(client.error, SocketError.SSL_HANDSHAKE_FAILED)
        client.ignore_ssl_errors()
        await client.open(server.server_url)
        taken = await anext(server)
        client.send_text_message("hello")
        self.assertEqual(await anext(taken), "hello")

    async def test_authentication_over_tls(self) -> None:
        """Credentials that a server asks for go through TLS as well."""
        server, tls = await self.secure()
        server.origin_authentication_required.connect(lambda question: None)
        client = self.client()
        client.ssl_configuration = tls.client
        asked: list[str] = []
        refuse = server.factory.protocol.onConnect

        def on_connect(connection: Any, request: Any) -> Any:
            asked.append(request.headers.get("authorization", ""))
            if not asked[-1]:
                connection.failHandshake("who?", 401, [("WWW-Authenticate", 'Basic realm="staff"')])
                return Deferred()
            return refuse(connection, request)

        self.patch(server.factory.protocol, "onConnect", on_connect)
        await client.open(server.server_url.replace("wss://", "wss://me:secret@"))
        self.assertEqual(asked, ["", Authenticator("", "me", "secret").basic()])


class MemoryTests(MembersTestCase):
    """Clients that are gone (QTBUG-56414, QTBUG-45331, QTBUG-59179)."""

    def test_closed_clients_are_freed(self) -> None:
        """Of clients that have left nothing is kept."""
        server = self.server()
        gone = []
        for _ in range(20):
            socket, peer = self.pair(server)
            peer.send(frame(TEXT, b"hello"), close(1000))
            peer.leave()
            gone.append(weakref.ref(socket))
            gone.append(weakref.ref(peer.protocol))
        self.turn()
        self.peers.clear()
        del socket, peer
        gc.collect()
        self.assertEqual([one() for one in gone if one() is not None], [])
        self.assertEqual((server.factory.connections, server.factory._alive), (set(), set()))

    def test_data_after_close(self) -> None:
        """Data behind a Close frame, or after the end, harms nobody."""
        socket, peer = self.pair()
        record = Record(socket, "text_message_received")
        peer.send(close(1000) + frame(TEXT, b"late"), frame(TEXT, b"later"), b"\xff" * 100)
        peer.leave()
        self.assertEqual(record.told, [])

    def test_socket_dropped_in_its_slot(self) -> None:
        """A program may drop its last reference to a socket, and end it, in the slot of its message."""
        server = self.server()
        clients: list[WebSocket] = []
        socket, peer = self.pair(server)
        clients.append(socket)

        def slot(message: str) -> None:
            clients.pop().abort()

        socket.text_message_received.connect(slot)
        del socket
        peer.send(frame(TEXT, b"1") + frame(TEXT, b"2"))
        self.turn()
        self.assertEqual(clients, [])


class PingTests(MembersTestCase):
    """Pings and pongs."""

    def test_pong(self) -> None:
        """Any pong is told, with the time since the last ping."""
        socket, end = self.connected()
        record = Record(socket, "pong")
        socket.ping(b"first")
        self.reactor.advance(1.5)
        end.send(unmasked(10, b"first"), unmasked(10, b"unasked"))
        self.assertEqual(record.told, [("pong", 1500, b"first"), ("pong", 1500, b"unasked")])
