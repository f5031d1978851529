"""Behaviours of QWebSocketServer (Qt's tst_qwebsocketserver, and reports about servers)."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from tests.behaviours.loopback import LoopbackTestCase, emitted, the_reactor
from tests.members import MembersTestCase, Record
from tests.wire.harness import TEXT, close, closing, frame, handshake
from wsecho import (
    ClientRequest,
    CloseCode,
    ConnectFailed,
    CorsAuthenticator,
    HandshakeOptions,
    HttpAnswer,
    ListenError,
    Settings,
    SocketError,
    SslMode,
    Version,
    WebSocket,
    WebSocketServer,
)


class InitialisationTests(LoopbackTestCase):
    """A new server."""

    async def test_initialisation(self) -> None:
        """A new server has no name, does not listen, has no pending connections and no error; so it is after
        closing it."""
        server = WebSocketServer()
        for _ in range(2):
            self.assertEqual(server.server_name, "")
            self.assertIs(server.secure_mode, SslMode.NON_SECURE_MODE)
            self.assertFalse(server.is_listening())
            self.assertEqual(server.max_pending_connections, 30)
            self.assertEqual((server.server_port, server.server_address), (0, ""))
            self.assertEqual((server.server_url, server.socket_descriptor), ("", -1))
            self.assertFalse(server.has_pending_connections())
            self.assertIsNone(server.next_pending_connection())
            self.assertEqual((server.error, server.error_string), (CloseCode.NORMAL, ""))
            self.assertEqual(server.supported_versions, [Version.VERSION_13])
            await server.close()

    def test_secure_mode_is_kept(self) -> None:
        """The mode is fixed with the object."""
        self.assertIs(self.server("", SslMode.SECURE_MODE).secure_mode, SslMode.SECURE_MODE)

    def test_setters_and_getters(self) -> None:
        """What is set is kept; a TLS configuration only by a secure server; a bad descriptor is refused."""
        server = self.server()
        server.max_pending_connections = 23
        server.server_name = "wsecho"
        server.handshake_timeout = 64.0
        server.supported_subprotocols = ["chat"]
        self.assertEqual(server.max_pending_connections, 23)
        self.assertEqual((server.server_name, server.handshake_timeout), ("wsecho", 64.0))
        self.assertEqual(server.supported_subprotocols, ["chat"])
        self.assertFalse(server.set_socket_descriptor(-2))
        self.assertEqual(server.socket_descriptor, -1)


class ListeningTests(LoopbackTestCase):
    """Listening and closing."""

    async def test_listening(self) -> None:
        """It listens until it is closed, tells closed once, and no error."""
        server = self.server()
        record = Record(server)
        await server.listen("127.0.0.1")
        self.assertTrue(server.is_listening())
        closed = emitted(server.closed)
        await server.close()
        self.assertFalse(server.is_listening())
        await closed
        self.assertEqual(record.told, [("closed",)])

    async def test_address_not_available(self) -> None:
        """Listening on somebody else's address fails, with one server_error 1006 and no other signal."""
        server = self.server()
        record = Record(server)
        with self.assertRaises(ListenError):
            # Of TEST-NET-1: nobody has it (RFC 5737).
            await server.listen("192.0.2.1")
        self.assertEqual(record.told, [("server_error", CloseCode.ABNORMAL_DISCONNECTION)])
        self.assertIn(os.strerror(errno.EADDRNOTAVAIL), server.error_string)

    async def test_connectivity(self) -> None:
        """Bound to any address, the URL has 127.0.0.1; one client is one connected, one question, one new
        connection; closing tells closed once, and there is no error."""
        server, client = self.server(), self.client("http://example.com")
        record, told = Record(server), Record(client, "connected", "error_occurred")
        await server.listen("any")
        self.assertEqual(server.server_url, f"ws://127.0.0.1:{server.server_port}")
        await client.open(server.server_url)
        closed = emitted(server.closed)
        await server.close()
        await closed
        self.assertEqual(record.names, ["origin_authentication_required", "new_connection", "closed"])
        self.assertEqual(told.names, ["connected"])

    async def test_close_keeps_those_that_were_taken(self) -> None:
        """close ends the listening and the pending connections (1001), not those that were taken."""
        server = await self.listening()
        first, second = self.client(), self.client()
        await first.open(server.server_url)
        taken = await anext(server)
        new_connection = emitted(server.new_connection)
        await second.open(server.server_url)
        await new_connection
        ended = emitted(second.disconnected)
        await server.close()
        await ended
        self.assertEqual((second.close_code, second.close_reason), (1001, "Server closed."))
        first.send_text_message("still here")
        self.assertEqual(await anext(taken), "still here")
        with self.assertRaises(ConnectFailed):
            await self.client().open(f"ws://{taken.local_address}:{taken.local_port}")

    async def test_server_goes_away_while_clients_are_connected(self) -> None:
        """Leaving ``async with`` is what Qt does in its destructor: every client is disconnected. To let go
        of the object does nothing: the reactor keeps a server that listens."""
        async with self.server() as server:
            await server.listen("127.0.0.1")
            client = self.client()
            await client.open(server.server_url)
            taken = await anext(server)
            url, ended = server.server_url, emitted(client.disconnected)
            del server
            await self.client().open(url)
        await ended
        self.assertEqual(client.close_code, 1001)
        self.assertFalse(taken.is_valid())


class SubprotocolTests(LoopbackTestCase):
    """Which subprotocol is spoken."""

    async def test_subprotocols(self) -> None:
        """The client's first that the server knows, or none; both ends agree, and the server sees all that
        was offered."""
        server = await self.listening()
        server.supported_subprotocols = ["chat", "superchat"]
        for options, raw, offered, spoken in (
            ([], "", [], ""),
            (["chat", "superchat"], "", ["chat", "superchat"], "chat"),
            (["superchat", "chat"], "", ["superchat", "chat"], "superchat"),
            (["foo"], "", ["foo"], ""),
            (["foo", "chat"], "", ["foo", "chat"], "chat"),
            ([], "chat,superchat", ["chat", "superchat"], "chat"),
            (["superchat"], "chat", ["superchat", "chat"], "superchat"),
        ):
            client = self.client()
            headers = (("Sec-WebSocket-Protocol", raw),) if raw else ()
            request = ClientRequest(url=server.server_url, headers=headers)
            await client.open(request, HandshakeOptions(options))
            taken = await anext(server)
            self.assertEqual((client.subprotocol, taken.subprotocol), (spoken, spoken))
            self.assertEqual(list(taken.handshake_options.subprotocols), offered)


class PendingTests(LoopbackTestCase):
    """Connections that wait to be taken."""

    async def test_max_pending_connections(self) -> None:
        """With room for two, the third is not connected: no new connection, no question about its origin, one
        server_error 1006; two are taken, then there are none."""
        server = await self.listening()
        server.max_pending_connections = 2
        clients = [self.client() for _ in range(3)]
        for client in clients[:2]:
            await client.open(server.server_url)
        record = Record(server)
        with self.assertRaises(ConnectFailed) as raised:
            await clients[2].open(server.server_url)
        self.assertEqual(raised.exception.status, 503)
        self.assertEqual(record.told, [("server_error", CloseCode.ABNORMAL_DISCONNECTION)])
        self.assertEqual(server.error_string, "Too many pending connections.")
        self.assertIsNotNone(server.next_pending_connection())
        self.assertIsNotNone(server.next_pending_connection())
        self.assertIsNone(server.next_pending_connection())


class SchemeTests(LoopbackTestCase):
    """What the server's side knows of the URL."""

    async def test_scheme(self) -> None:
        """It is ws on a plain server and wss on a secure one."""
        _, taken = await self.pair()
        self.assertTrue(taken.request_url.startswith("ws://127.0.0.1:"))
        server, tls = await self.secure()
        client = self.client()
        client.ssl_configuration = tls.client
        await client.open(server.server_url + "/path?x=1")
        taken = await anext(server)
        self.assertEqual(taken.request_url, f"wss://127.0.0.1:{server.server_port}/path?x=1")


class HandleConnectionTests(LoopbackTestCase):
    """Connections that were accepted elsewhere."""

    async def test_handle_connection(self) -> None:
        """A connection that another port has accepted is upgraded, with what was read of it; texts go both
        ways, and what waits to be written gets written."""
        server = self.server()

        class Sniffer(Protocol):
            def dataReceived(self, data: bytes) -> None:
                server.handle_connection(self.transport, data)

        endpoint: Any = TCP4ServerEndpoint(the_reactor, 0, interface="127.0.0.1")
        port = await endpoint.listen(Factory.forProtocol(Sniffer))
        self.addCleanup(port.stopListening)
        client = self.client()
        new_connection = emitted(server.new_connection)
        await client.open(f"ws://127.0.0.1:{port.getHost().port}")
        await new_connection
        taken = server.next_pending_connection()
        assert taken is not None
        client.send_text_message("hello")
        self.assertEqual(await anext(taken), "hello")
        written = emitted(taken.bytes_written)
        self.assertEqual(taken.send_text_message("dummy"), 5)
        self.assertGreater(taken.bytes_to_write, 5)
        self.assertEqual(await written, (5,))
        self.assertEqual(taken.bytes_to_write, 0)
        self.assertEqual(await anext(client), "dummy")

    async def test_shared_with_http(self) -> None:
        """One port answers plain HTTP with a page and WebSocket clients with a connection."""
        server = await self.listening(
            page=lambda path: HttpAnswer(200, body=b"hello") if path == "/" else None
        )
        raw = await self.raw(server)
        raw.transport.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await raw.until(lambda data: data.endswith(b"\r\n\r\nhello"))
        await self.client().open(server.server_url)


class HandshakeTimeoutTests(MembersTestCase):
    """Handshakes that do not end (QTBUG-63312, QTBUG-57026)."""

    def silent(self, server: WebSocketServer) -> list[Any]:
        """Fifty connections that say nothing, or half of a request."""
        peers = [self.visit(server, port=port) for port in range(1, 51)]
        for peer in peers[25:]:
            peer.send(handshake()[:40])
        return peers

    def test_handshake_timeout_off(self) -> None:
        """Switched off, a handshake may take any time."""
        server = self.server()
        server.handshake_timeout = -1
        peer = self.visit(server)
        self.reactor.advance(3600)
        peer.open()
        self.assertTrue(server.has_pending_connections())

    def test_silent_connections_keep_nobody_out(self) -> None:
        """Among fifty silent connections a real client gets in, and all fifty are dropped in time."""
        server = self.server()
        server.handshake_timeout = 0.5
        silent = self.silent(server)
        self.visit(server).open()
        self.assertTrue(server.has_pending_connections())
        self.reactor.advance(0.5)
        self.assertEqual(
            {peer.transport.disconnecting or "loseWriteConnection" in peer.transport.done for peer in silent},
            {True},
        )

    def test_a_finished_handshake_is_safe(self) -> None:
        """A connection that is open is not dropped at twice the timeout."""
        server = self.server()
        server.handshake_timeout = 0.5
        socket, _ = self.pair(server)
        self.reactor.advance(1)
        self.assertTrue(socket.is_valid())


class SecureHandshakeTimeoutTests(LoopbackTestCase):
    """The same over TLS, where silence begins before TLS."""

    async def test_silent_connections_over_tls(self) -> None:
        """Fifty connections that do not begin TLS keep a real client not out, and are dropped in time; the
        timeout covers TLS and HTTP together."""
        server, tls = await self.secure()
        server.handshake_timeout = 0.3
        silent = [await self.raw(server) for _ in range(50)]
        client = self.client()
        client.ssl_configuration = tls.client
        server.handshake_timeout = 10
        await client.open(server.server_url)
        self.assertTrue((await anext(server)).is_valid())
        await gatherResults([raw.ended for raw in silent])
        self.assertTrue(client.is_valid())


class FrameTests(LoopbackTestCase):
    """Messages on their way."""

    async def test_multiple_frames(self) -> None:
        """Ten messages that are sent together all arrive, though TCP may bring them as one (QTBUG-77830)."""
        client, taken = await self.pair()
        for number in range(10):
            client.send_text_message(f"{number}")
        self.assertEqual([await anext(taken) for _ in range(10)], [f"{number}" for number in range(10)])

    async def test_large_messages(self) -> None:
        """Messages beyond 32 KiB, in many segments, arrive whole (QTBUG-74464)."""
        client, taken = await self.pair()
        message = "0123456789abcdef" * 60_000
        client.send_text_message(message)
        self.assertEqual(await anext(taken), message)
        taken.send_binary_message(message.encode())
        self.assertEqual(await anext(client), message.encode())

    async def test_no_wait_of_nagle_s(self) -> None:
        """Small messages are sent at once: TCP_NODELAY is on, on both sides."""
        client, taken = await self.pair()
        for socket in (client, taken):
            self.assertTrue(socket._connection.link._transport.getTcpNoDelay())


class OriginTests(MembersTestCase):
    """Who may connect."""

    def test_asked_about_every_request(self) -> None:
        """Every valid request is a question, also without Origin; no other is."""
        server = self.server()
        record = Record(server, "origin_authentication_required")
        self.visit(server).open()
        self.visit(server).open("/", "Origin: http://a")
        self.visit(server).send(b"nonsense\r\n\r\n")
        self.assertEqual([question.origin for _, question in record.told], ["", "http://a"])

    def test_refused_origin(self) -> None:
        """A refused origin gets 403 and server_error 1008, and is no new connection."""
        server = self.server()
        record = Record(server, "server_error", "new_connection")
        server.origin_authentication_required.connect(lambda question: question.set_allowed(False))
        peer = self.visit(server)
        peer.send(handshake("/", "Origin: http://evil.example"))
        self.assertEqual(peer.answer.status, "HTTP/1.1 403 Forbidden")
        self.assertEqual(record.told, [("server_error", CloseCode.POLICY_VIOLATED)])

    def test_decided_later(self) -> None:
        """What Qt lacks: a decision may take time."""
        server = self.server()
        decision: Deferred[bool] = Deferred()

        async def slot(question: CorsAuthenticator) -> None:
            question.allowed = await decision

        server.origin_authentication_required.connect(slot)
        peer = self.visit(server)
        peer.send(handshake() + frame(TEXT, b"early"))
        self.assertFalse(server.has_pending_connections())
        decision.callback(True)
        socket = server.next_pending_connection()
        assert socket is not None
        self.assertEqual(socket._inbox.take(), "early")
        peer.leave()


class LimitTests(MembersTestCase):
    """What one peer can make the server hold (QTBUG-70693, CVE-2018-21035)."""

    def test_default_limits(self) -> None:
        """Where Qt allows 2 GiB, the limits for frames and messages are 1 MiB, and can be as high as Qt's."""
        socket, _ = self.pair()
        self.assertEqual(socket.max_allowed_incoming_frame_size, 1024 * 1024)
        self.assertEqual(socket.max_allowed_incoming_message_size, 1024 * 1024)
        socket.max_allowed_incoming_frame_size = socket.max_incoming_frame_size()
        socket.max_allowed_incoming_message_size = socket.max_incoming_message_size()

    def test_memory_of_a_flood_is_bounded(self) -> None:
        """A peer whose messages nobody takes is not read any more: TCP holds it back."""
        socket, peer = self.pair()
        for _ in range(16):
            peer.send(frame(TEXT, bytes(64 * 1024)))
        self.assertEqual(peer.transport.producerState, "paused")
        self.assertEqual(len(socket._inbox), 16)


class ShutdownTests(MembersTestCase):
    """What users of Qt expect of close(), and do not get there."""

    def test_shutdown_ends_clients(self) -> None:
        """shutdown ends the clients that were taken as well, with 1001."""
        server = self.server()
        _, peer = self.pair(server)
        down = server.shutdown()
        self.assertEqual(peer.frames, [closing(1001, b"server is stopping")])
        peer.send(close(1001))
        peer.leave()
        self.successResultOf(down)
        self.turn()

    def test_keepalive(self) -> None:
        """What Qt lacks: a peer that is silently gone is found, by pings."""
        server = self.server(ping_interval=30.0, ping_timeout=10.0)
        socket, peer = self.pair(server)
        peer.transport.reads_nothing = True
        self.reactor.advance(30)
        self.reactor.advance(10)
        self.assertEqual(socket.close_code, 1001)
        self.reactor.advance(60)
        self.assertIs(socket.error, SocketError.SOCKET_TIMEOUT)


class CompressionTests(LoopbackTestCase):
    """What Qt lacks: permessage-deflate (RFC 7692)."""

    async def test_compression(self) -> None:
        """Both sides agree on compression when both want it, and messages arrive as they were."""
        settings = Settings(ping_interval=0.0, compression="deflate")
        server = await self.listening(settings=settings)
        client = WebSocket(settings=settings)
        self.addCleanup(self._end, client)
        await client.open(server.server_url)
        taken = await anext(server)
        message = "compress me " * 10_000
        client.send_text_message(message)
        self.assertEqual(await anext(taken), message)
        sent = taken._connection.trafficStats
        self.assertLess(sent.incomingOctetsWireLevel, len(message) / 10)
