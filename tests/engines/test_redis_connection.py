"""Tests for wsecho.engines.redis_connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trustme
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.engines.redis_case import RedisCase
from tests.engines.redis_server import RedisServer
from tests.hub.engine_contract import Heard, publication
from wsecho.engines.redis_connection import ConnectionFactory, ConnectionGone, RedisError, connect, endpoint
from wsecho.engines.redis_url import parse_redis_url
from wsecho.hub.engine import EngineAway, EngineState


class ConnectionTests(RedisCase):
    """One connection."""

    def setUp(self) -> None:
        """Note what is told."""
        super().setUp()
        self.heard: list[tuple[bytes, bytes]] = []
        self.ended: Deferred[Any] = Deferred()
        self.oversized = 0

    def _oversized(self) -> None:
        self.oversized += 1

    async def connection(self, largest: int = 1024**2) -> Any:
        """An open one."""
        factory = ConnectionFactory(
            reactor,
            largest,
            lambda where, message: self.heard.append((where, message)),
            lambda connection, reason: self.ended.callback(connection),
            self._oversized,
        )
        connection = await connect(reactor, parse_redis_url(self.server.url()), factory)
        self.addCleanup(connection.abort)
        return connection

    async def test_bytes(self) -> None:
        """What looks like a number, or is no UTF-8, comes back as the bytes that it was."""
        connection = await self.connection()
        for value in (b"007", b"1.5", b"\xff\r\n", b""):
            await connection.ask("SET", "k", value)
            self.assertEqual(await connection.ask("GET", "k"), value)

    async def test_long_answers(self) -> None:
        """An answer of many elements comes whole, also one that looks like a message."""
        connection = await self.connection()
        words = [b"message", b"a", b"b"]
        await connection.ask("RPUSH", "l", *words)
        self.assertEqual(await connection.ask("LRANGE", "l", 0, -1), words)
        await connection.ask("RPUSH", "l", *words)
        self.assertEqual(await connection.ask("LRANGE", "l", 0, -1), words * 2)
        self.assertEqual(self.heard, [])

    async def test_subscriptions(self) -> None:
        """Each SUBSCRIBE gets its own answer, and messages are told while it can still be asked for signs of
        life."""
        connection = await self.connection()
        answers = [connection.ask("SUBSCRIBE", name) for name in (b"a", b"b")]
        self.assertEqual([(await one)[1] for one in answers], [b"a", b"b"])
        self.server.ask("PUBLISH", "b", "1")
        await self.until(lambda: self.heard == [(b"b", b"1")])
        self.assertEqual(await connection.ask("PING"), [b"pong", b""])
        self.assertEqual((await connection.ask("UNSUBSCRIBE", b"b"))[1], b"b")

    async def test_error(self) -> None:
        """An error of Redis is one line, and its first word is its kind."""
        connection = await self.connection()
        await connection.ask("SET", "k", "v")
        error = await self.assertFailure(connection.ask("LPUSH", "k", "x"), RedisError)
        self.assertEqual(error.kind, "WRONGTYPE")
        self.assertNotIn("\n", str(error))

    async def test_gone(self) -> None:
        """What was asked when the connection ends, and after it, is not answered."""
        connection = await self.connection()
        asked = connection.ask("BLPOP", "nothing", 0)
        self.server.ask("CLIENT", "KILL", "TYPE", "normal")
        await self.assertFailure(asked, ConnectionGone)
        self.assertIs(await self.ended, connection)
        await self.assertFailure(connection.ask("PING"), ConnectionGone)

    async def test_oversized(self) -> None:
        """An answer above the bound ends the connection before it is there; many below it do not."""
        connection = await self.connection(largest=300_000)
        await connection.ask("SET", "k", "x" * 200_000)
        for one in [connection.ask("GET", "k") for _ in range(5)]:
            self.assertEqual(len(await one), 200_000)
        await connection.ask("APPEND", "k", "x" * 200_000)
        await self.assertFailure(connection.ask("GET", "k"), ConnectionGone)
        self.assertEqual(self.oversized, 1)


class TlsTests(RedisCase):
    """rediss://"""

    def server_with_tls(self) -> tuple[RedisServer, Path]:
        """A server with a certificate for localhost, and who vouches for it."""
        authority = trustme.CA()
        folder = Path(self.mktemp())
        folder.mkdir()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
        plain = RedisServer()
        options = [
            "--tls-port", str(plain.port), "--tls-auth-clients", "no",
            "--tls-cert-file", str((folder / "cert.pem").absolute()),
            "--tls-key-file", str((folder / "key.pem").absolute()),
            "--requirepass", "secret",
        ]  # fmt: skip
        plain.options += options
        plain.is_tls = True
        self.addCleanup(plain.remove)
        return plain.start(), folder / "ca.pem"

    async def test_trusted(self) -> None:
        """A server whose name and authority are right is trusted, and its password is taken."""
        server, authority = self.server_with_tls()
        url = f"rediss://:secret@localhost:{server.port}/2?ca={authority}"
        engine, heard = await self.followed(url=url)
        await self.publish(engine, "x")
        await self.until(lambda: heard.payloads("c") == [b"x"])

    async def test_not_trusted(self) -> None:
        """One that nobody vouches for is not: the engine goes on trying, and says why."""
        server, _ = self.server_with_tls()
        engine = self.unstarted(url=f"rediss://:secret@localhost:{server.port}/?wait=1s&heartbeat=100ms")
        starting = engine.start(Heard())
        starting.addErrback(lambda _: None)
        await self.until(lambda: engine.attempts >= 2)
        self.assertEqual(engine.state, EngineState.AWAY)
        await self.assertFailure(engine.publish("c", publication("x")), EngineAway)

    def test_certificates(self) -> None:
        """A file of certificates that is missing, or has none, is refused with one line."""
        empty = Path(self.mktemp())
        empty.write_text("nothing")
        for path, word in (("/nonexistent", "cannot be read"), (str(empty), "no certificate")):
            address = parse_redis_url(f"rediss://h?ca={path}")
            error = self.assertRaises(ValueError, endpoint, reactor, address)
            self.assertIn(word, str(error))
