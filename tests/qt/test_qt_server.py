"""Our WebSocket against PySide6's QWebSocketServer; and Qt's enumerations."""

from __future__ import annotations

from tests.behaviours.loopback import emitted
from tests.qt.peers import QtPeer, QtTestCase, digest, pattern
from wsecho import (
    ClientRequest,
    CloseCode,
    ConnectFailed,
    HandshakeOptions,
    PauseMode,
    Settings,
    SocketError,
    SocketState,
    SslMode,
    Version,
    WebSocket,
)


class QtServerTests(QtTestCase):
    """Our client, and a Qt server."""

    async def meet(self, **options: object) -> tuple[WebSocket, QtPeer]:
        """A client that is connected to a Qt server."""
        peer, url = await self.qt_server(**options)
        client = self.client()
        await client.open(url)
        await peer.event("new_connection")
        return client, peer

    async def test_text(self) -> None:
        """Texts go both ways."""
        client, peer = await self.meet()
        for text in ("hello", "", "µ€\U0001d11e\0"):
            client.send_text_message(text)
            self.assertEqual((await peer.event("text"))["text"], text)
            peer.do("send_text", text=text)
            self.assertEqual(await anext(client), text)

    async def test_binary(self) -> None:
        """Binary messages go both ways."""
        client, peer = await self.meet()
        for size in (0, 1, 125, 126, 65535, 65536):
            client.send_binary_message(pattern(size))
            self.assertEqual(await peer.event("binary"), {"event": "binary", **digest(pattern(size))})
            peer.do("send_binary", size=size)
            self.assertEqual(await anext(client), pattern(size))

    async def test_big_messages(self) -> None:
        """A message of 3 MiB, in fragments both ways, arrives whole."""
        size = 3 * 1024 * 1024
        _, url = await self.qt_server(echo=True)
        client = self.client(settings=Settings(ping_interval=0.0, max_message_size=size))
        await client.open(url)
        client.read_buffer_size = 0
        client.send_binary_message(pattern(size))
        self.assertEqual(await anext(client), pattern(size))

    async def test_request(self) -> None:
        """URL, origin, header and subprotocol arrive at Qt, and its choice arrives here."""
        peer, url = await self.qt_server(subprotocols=["chat", "superchat"])
        client = self.client("http://example.com")
        request = ClientRequest(url=f"{url}/a b?c=d", headers=(("X-Test", "a value"),))
        await client.open(request, HandshakeOptions(["foo", "superchat"]))
        seen = await peer.event("new_connection")
        self.assertEqual((seen["origin"], seen["header"]), ("http://example.com", "a value"))
        self.assertEqual((seen["subprotocol"], client.subprotocol), ("superchat", "superchat"))
        self.assertTrue(seen["url"].endswith("/a b?c=d"), seen["url"])

    async def test_closed_by_the_server(self) -> None:
        """Qt's close code and reason arrive."""
        peer, url = await self.qt_server()
        client = self.client()
        for code, reason in ((1000, ""), (1001, "going away"), (4001, "bye")):
            await client.open(url)
            await peer.event("new_connection")
            peer.do("close", code=code, reason=reason)
            await client.when_disconnected()
            self.assertEqual((client.close_code, client.close_reason), (code, reason))

    async def test_closed_by_the_client(self) -> None:
        """Ours arrive at Qt, and Qt ends the connection in time."""
        peer, url = await self.qt_server()
        client = self.client()
        for code, reason in ((1000, ""), (1001, "going away"), (4001, "bye")):
            await client.open(url)
            await peer.event("new_connection")
            client.close(code, reason)
            self.assertEqual(
                await peer.event("disconnected"), {"event": "disconnected", "code": code, "reason": reason}
            )
            await client.when_disconnected()
            self.assertEqual(client.close_code, code)

    async def test_pings(self) -> None:
        """Each side answers the other's ping."""
        client, peer = await self.meet()
        pong = emitted(client.pong)
        client.ping(b"from us")
        self.assertEqual((await pong)[1], b"from us")
        peer.do("ping", payload="from Qt")
        self.assertEqual((await peer.event("pong"))["payload"], "from Qt")

    async def test_refused_origin(self) -> None:
        """Qt's refusal of an origin is 403."""
        _, url = await self.qt_server(refuse=True)
        with self.assertRaises(ConnectFailed) as raised:
            await self.client("http://evil.example").open(url)
        self.assertEqual(raised.exception.status, 403)

    async def test_compression_is_declined(self) -> None:
        """Qt knows no compression: what our client offers is declined, and messages arrive."""
        _, url = await self.qt_server(echo=True)
        client = self.client(settings=Settings(ping_interval=0.0, compression="deflate"))
        await client.open(url)
        client.send_text_message("x" * 1000)
        self.assertEqual(await anext(client), "x" * 1000)

    async def test_tls(self) -> None:
        """wss with an authority that our client is given; without it our client does not connect."""
        files = self.files()
        peer, url = await self.qt_server(
            certificate=files.certificate, private_key=files.private_key, echo=True
        )
        url = url.replace("127.0.0.1", "localhost")
        client = self.client()
        client.ssl_configuration = files.client
        await client.open(url)
        seen = await peer.event("new_connection")
        self.assertTrue(seen["url"].startswith("wss://localhost:"), seen["url"])
        client.send_text_message("hello")
        self.assertEqual(await anext(client), "hello")
        stranger = self.client()
        with self.assertRaises(ConnectFailed):
            await stranger.open(url)
        self.assertIs(stranger.error, SocketError.SSL_HANDSHAKE_FAILED)


class EnumerationTests(QtTestCase):
    """Our enumerations and Qt's."""

    async def test_values(self) -> None:
        """Every member of ours has the value of the one of Qt's that it is named after."""
        peer = await self.qt()
        peer.do("enumerations")
        qt = await peer.event("enumerations")
        for ours, prefix, suffix in (
            (CloseCode, "CloseCode", ""),
            (SslMode, "", "Mode"),
            (SocketState, "", "State"),
            (SocketError, "", "Error"),
        ):
            theirs = qt[ours.__name__]
            for member in ours:
                words = member.name.title().replace("_", "")
                name = words if words.endswith(suffix) else words + suffix
                self.assertEqual(theirs.get(prefix + name), int(member), (ours.__name__, member.name))
        self.assertEqual(qt["PauseMode"], {"PauseOnSslErrors": int(PauseMode.PAUSE_ON_SSL_ERRORS)})
        versions = {name.replace("_", ""): int(version) for name, version in Version.__members__.items()}
        self.assertEqual(versions.pop("LATEST"), 13)
        theirs = {
            name.upper().replace("VERSIONUNKNOWN", "UNKNOWN"): number
            for name, number in qt["Version"].items()
        }
        self.assertEqual(versions, theirs)
