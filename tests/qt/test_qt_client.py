"""PySide6's QWebSocket against our WebSocketServer."""

from __future__ import annotations

from tests.behaviours.loopback import emitted
from tests.members import QUIET
from tests.qt.peers import QtPeer, QtTestCase, digest, pattern
from tests.wire.harness import CLOSE
from wsecho import Settings, SslMode, WebSocket, WebSocketServer


class QtClientTests(QtTestCase):
    """A Qt client, and the server's side of its connection."""

    async def meet(self, server: WebSocketServer | None = None) -> tuple[QtPeer, WebSocket]:
        """A Qt client that has connected."""
        server = await self.listening() if server is None else server
        peer = await self.qt_client()
        return peer, await self.open(server, peer)

    async def open(self, server: WebSocketServer, peer: QtPeer) -> WebSocket:
        """Connect a Qt client."""
        peer.do("open", url=server.server_url)
        taken = await anext(server)
        await peer.event("connected")
        return taken

    async def test_text(self) -> None:
        """Texts go both ways, of every kind of character."""
        peer, taken = await self.meet()
        for text in ("hello", "", "µ€\U0001d11e\0"):
            peer.do("send_text", text=text)
            self.assertEqual(await anext(taken), text)
            taken.send_text_message(text)
            self.assertEqual((await peer.event("text"))["text"], text)

    async def test_binary(self) -> None:
        """Binary messages go both ways."""
        peer, taken = await self.meet()
        for size in (0, 1, 125, 126, 65535, 65536):
            peer.do("send_binary", size=size)
            self.assertEqual(await anext(taken), pattern(size))
            taken.send_binary_message(pattern(size))
            self.assertEqual(await peer.event("binary"), {"event": "binary", **digest(pattern(size))})

    async def test_big_messages(self) -> None:
        """A message of 3 MiB, in fragments both ways, arrives whole."""
        size = 3 * 1024 * 1024
        server = await self.listening(settings=Settings(ping_interval=0.0, max_message_size=size))
        peer, taken = await self.meet(server)
        taken.read_buffer_size = 0
        peer.do("send_binary", size=size)
        self.assertEqual(await anext(taken), pattern(size))
        taken.send_binary_message(pattern(size))
        self.assertEqual(await peer.event("binary"), {"event": "binary", **digest(pattern(size))})

    async def test_subprotocol(self) -> None:
        """Both agree on the client's first that the server knows."""
        server = await self.listening()
        server.supported_subprotocols = ["chat", "superchat"]
        peer = await self.qt_client()
        for offered, spoken in (
            (["superchat", "chat"], "superchat"),
            (["foo"], ""),
            (["foo", "chat"], "chat"),
        ):
            peer.do("open", url=server.server_url, subprotocols=offered)
            taken = await anext(server)
            self.assertEqual((await peer.event("connected"))["subprotocol"], spoken)
            self.assertEqual(
                (taken.subprotocol, list(taken.handshake_options.subprotocols)), (spoken, offered)
            )

    async def test_request(self) -> None:
        """URL, query, origin and headers arrive as Qt sends them."""
        server = await self.listening()
        peer = await self.qt_client(origin="http://example.com")
        peer.do("open", url=server.server_url + "/a b?c=d e", header="a value")
        taken = await anext(server)
        self.assertEqual(taken.resource_name, "/a%20b?c=d%20e")
        self.assertEqual((taken.origin, taken.request.headers["x-test"]), ("http://example.com", "a value"))

    async def test_closed_by_the_client(self) -> None:
        """Qt's close code and reason arrive."""
        server = await self.listening()
        peer = await self.qt_client()
        for code, reason in ((1000, ""), (1001, "going away"), (4001, "bye")):
            taken = await self.open(server, peer)
            peer.do("close", code=code, reason=reason)
            await taken.when_disconnected()
            self.assertEqual((taken.close_code, taken.close_reason), (code, reason))

    async def test_closed_by_the_server(self) -> None:
        """Ours arrive at Qt."""
        server = await self.listening()
        peer = await self.qt_client()
        for code, reason in ((1000, ""), (1001, "going away"), (4001, "bye")):
            taken = await self.open(server, peer)
            taken.close(code, reason)
            self.assertEqual(
                await peer.event("disconnected"), {"event": "disconnected", "code": code, "reason": reason}
            )
            await taken.when_disconnected()

    async def test_our_answer_to_close(self) -> None:
        """Qt does not read the server's Close, so it is read off the wire: it echoes code and reason."""
        peer, taken = await self.meet()
        connection = taken._connection
        sent: list[tuple[int, bytes]] = []
        send = connection.sendFrame

        def send_frame(opcode: int, payload: bytes = b"", **options: object) -> None:
            sent.append((opcode, payload))
            send(opcode=opcode, payload=payload, **options)

        connection.sendFrame = send_frame
        peer.do("close", code=4001, reason="bye")
        await taken.when_disconnected()
        self.assertEqual(sent, [(CLOSE, b"\x0f\xa1bye")])

    async def test_aborted(self) -> None:
        """A Qt client that aborts is an error, without a Close frame."""
        peer, taken = await self.meet()
        error = emitted(taken.error_occurred)
        peer.do("abort")
        await error
        self.assertEqual(taken.close_code, 1006)

    async def test_pings(self) -> None:
        """Each side answers the other's ping."""
        peer, taken = await self.meet()
        peer.do("ping", payload="from Qt")
        self.assertEqual((await peer.event("pong"))["payload"], "from Qt")
        pong = emitted(taken.pong)
        taken.ping(b"from us")
        elapsed, payload = await pong
        self.assertEqual(payload, b"from us")
        self.assertGreaterEqual(elapsed, 0)

    async def test_refused_origin(self) -> None:
        """A refused origin reaches Qt as an error with the status."""
        server = await self.listening()
        server.origin_authentication_required.connect(lambda question: question.set_allowed(False))
        peer = await self.qt_client(origin="http://evil.example")
        peer.do("open", url=server.server_url)
        error = await peer.event("error")
        self.assertIn("403", error["text"])

    async def test_too_big(self) -> None:
        """A Qt client that sends too much is closed with 1009."""
        server = await self.listening(settings=Settings(ping_interval=0.0, max_message_size=1024))
        peer, taken = await self.meet(server)
        peer.do("send_binary", size=1025)
        self.assertEqual((await peer.event("disconnected"))["code"], 1009)
        await taken.when_disconnected()
        self.assertEqual(taken.close_code, 1009)

    async def test_tls(self) -> None:
        """wss with an authority that Qt is given; without it Qt does not connect."""
        files = self.files()
        server = self.server("", SslMode.SECURE_MODE, settings=QUIET)
        server.ssl_configuration = files.server
        await server.listen("127.0.0.1")
        url = f"wss://localhost:{server.server_port}/"
        peer = await self.qt_client(ca=files.ca)
        peer.do("open", url=url)
        taken = await anext(server)
        await peer.event("connected")
        peer.do("send_text", text="hello")
        self.assertEqual(await anext(taken), "hello")
        taken.send_text_message("there")
        self.assertEqual((await peer.event("text"))["text"], "there")
        self.assertTrue(taken.request_url.startswith("wss://localhost:"))
        stranger = await self.qt_client()
        stranger.do("open", url=url)
        await stranger.event("ssl_errors")
        await stranger.event("error")
        self.assertNotIn("connected", [event["event"] for event in stranger.told])
