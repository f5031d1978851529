"""Tests for wsecho.engines.redis_link: what ends a link, what makes one, and what is said of it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.checkout import CHECKOUT
from tests.engines.redis_case import KEPT, RedisCase, reactor
from tests.hub.engine_contract import Heard, publication
from wsecho.engines.redis_link import Refusal
from wsecho.hub.engine import EngineAway, EngineState, Retention


class LogCase(RedisCase):
    """Tests that read the log."""

    def setUp(self) -> None:
        """Keep what is logged."""
        super().setUp()
        self.lines: list[str] = []

        keep = implementer(ILogObserver)(lambda event: self.lines.append(formatEvent(event)))
        globalLogPublisher.addObserver(keep)
        self.addCleanup(globalLogPublisher.removeObserver, keep)

    def said(self, words: str) -> list[str]:
        """The lines with these words."""
        return [line for line in self.lines if words in line]


class _Impostor(Protocol):
    """Answers everything with one and the same."""

    answer = b""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self.answer)


class RefusalTests(LogCase):
    """What no waiting mends: start fails with one line."""

    async def refusal(self, url: str) -> str:
        """Why."""
        engine = self.unstarted(url=url)
        error: Any = await self.assertFailure(engine.start(Heard()), Refusal)
        self.assertNotIn("\n", str(error))
        self.assertNotIn("secret", str(error))
        self.assertNotIn("secret", "".join(self.lines))
        await self.assertFailure(engine.publish("c", publication("x")), EngineAway)
        return str(error)

    async def test_wrong_password(self) -> None:
        """A wrong password, a wrong user, and none where one is needed."""
        self.own_server("--requirepass", "right")
        self.assertIn("WRONGPASS", await self.refusal(self.server.url(credentials=":secret@")))
        self.assertIn("WRONGPASS", await self.refusal(self.server.url(credentials="secret:right@")))
        self.assertIn("NOAUTH", await self.refusal(self.server.url()))

    async def test_password_not_wanted(self) -> None:
        """A password where Redis has none."""
        self.assertIn("WRONGPASS", await self.refusal(self.server.url(credentials=":secret@")))

    async def test_right_password(self) -> None:
        """The right password, alone and with its user, is taken."""
        self.own_server("--requirepass", "right")
        for credentials in (":right@", "default:right@"):
            await self.engine(KEPT, Heard(), self.server.url(credentials=credentials))

    async def test_unknown_database(self) -> None:
        """A database that is not there."""
        self.assertIn("DB index is out of range", await self.refusal(self.server.url(database=99)))

    async def test_no_permission(self) -> None:
        """A user who may not do what is needed."""
        self.own_server()
        self.server.ask("ACL", "SETUSER", "ann", "on", ">right", "~*", "&*", "+@all", "-info")
        self.assertIn("NOPERM", await self.refusal(self.server.url(credentials="ann:right@")))

    async def test_documented_user(self) -> None:
        """The user whom the page about Redis makes may do all that is needed, and nothing else."""
        page = (CHECKOUT / "docs" / "how-to" / "redis.md").read_text(encoding="utf-8")
        line = page.partition("<!-- acl -->\n```text\n")[2].partition("\n")[0]
        self.own_server()
        self.assertEqual(self.server.ask(*line.split()), b"+OK\r\n")
        url = self.server.url(credentials="wsecho:secret@", database=1)
        engine, heard = await self.followed(url=url, retention=Retention(3, 60))
        for number in range(5):
            await engine.publish("c", publication("x", f"0123456789abcdef{number}"))
        await self.until_told(heard, 5)
        engine.present("c", "node-1")
        self.assertEqual(await engine.presence("c"), 1)
        self.assertEqual(len((await engine.history("c", None)).entries), 3)
        engine.unsubscribe("c")
        self.assertEqual(engine.counts["reconnect"], 0)

    async def impostor(self, answer: bytes) -> str:
        """The URL of something that answers so."""
        factory: Any = Factory.forProtocol(type("Impostor", (_Impostor,), {"answer": answer}))
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        return f"redis://127.0.0.1:{port.getHost().port}/?heartbeat=100ms&wait=1s"

    async def test_too_old(self) -> None:
        """A Redis before 6.2, or something whose version cannot be read."""
        for version, shown in (("6.0.16", "6.0.16"), ("5", "5"), ("\x1b[31m", "x1b")):
            facts = f"redis_version:{version}\r\nrun_id:x\r\n".encode()
            url = await self.impostor(b"$%d\r\n%s\r\n" % (len(facts), facts))
            text = await self.refusal(url)
            self.assertIn("6.2 or newer is needed", text)
            self.assertIn(shown, text)
            self.assertTrue(text.isprintable())

    async def test_cluster(self) -> None:
        """A cluster, which is not supported."""
        self.own_server("--cluster-enabled", "yes")
        self.assertIn("cluster", await self.refusal(self.server.url()))

    async def test_no_redis(self) -> None:
        """What speaks another protocol, or ends the connection, may be mended: it is tried again."""
        engine = self.unstarted(url=await self.impostor(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        starting = engine.start(Heard())
        await self.until(lambda: engine.attempts >= 3)
        self.assertFalse(starting.called)
        self.assertEqual(len(self.said("is away")), 1)

    async def test_replica(self) -> None:
        """A replica may be promoted: it is tried again."""
        self.own_server("--replicaof", "127.0.0.1 1")
        engine = self.unstarted(url=self.server.url("heartbeat=100ms"))
        starting = engine.start(Heard())
        await self.until(lambda: engine.attempts >= 2)
        self.assertFalse(starting.called)
        self.assertEqual(len(self.said("it is a replica")), 1)
        self.server.ask("REPLICAOF", "NO", "ONE")
        await starting


class HeartbeatTests(LogCase):
    """Signs of life."""

    async def test_nothing_comes(self) -> None:
        """A link over which nothing comes, in whichever direction it is cut, is over before two heartbeats
        have passed."""
        for direction in ("holds_answers", "holds_commands"):
            proxy = await self.proxy()
            heard = Heard()
            engine = await self.engine(KEPT, heard, proxy.url("heartbeat=400ms&wait=5s"))
            begin = reactor.seconds()
            setattr(proxy, direction, True)
            await self.until_away(engine)
            span = reactor.seconds() - begin
            # On a machine that is busy with other tests, timers are late.
            self.assertLess(span, 2 * 0.4 + 0.5, direction)
            proxy.cut()
            proxy.release()
            await self.until_up(engine)
        self.assertEqual(len(self.said("no sign of life")), 2)

    async def test_idle(self) -> None:
        """An idle link stays."""
        heard = Heard()
        # Redis, which is a process of its own, has four fifths of a heartbeat for its answer.
        engine = await self.engine(KEPT, heard, self.server.url("heartbeat=400ms"))
        await deferLater(reactor, 1.5, lambda: None)
        self.assertEqual((heard.states, engine.counts["reconnect"]), ([EngineState.UP], 0))

    async def test_slow(self) -> None:
        """A link that is slower than the heartbeat, but alive, stays, and everything arrives."""
        proxy = await self.proxy()
        heard = Heard()
        engine = await self.engine(KEPT, heard, proxy.url("heartbeat=200ms&wait=20s"))
        await engine.subscribe("c")
        proxy.rate = 100_000
        for one in [engine.publish("c", publication("x" * 20_000)) for _ in range(10)]:
            await one
        await self.until(lambda: len(heard.payloads("c")) == 10)
        self.assertEqual(heard.states, [EngineState.UP])


class BreakingTests(LogCase):
    """Links that break, and come back."""

    async def test_said_once(self) -> None:
        """However often it is tried in vain, one line a minute says that Redis is away, and one that it is
        back."""
        server = self.own_server()
        engine, _ = await self.followed(url=server.url("heartbeat=50ms"))
        server.stop()
        await self.until_away(engine)
        await self.until(lambda: engine.attempts >= 5)
        self.assertEqual(len(self.said("is away")), 1)
        server.start()
        await self.until_up(engine)
        self.assertEqual(len(self.said("is there again")), 1)

    async def test_one_connection(self) -> None:
        """When Redis cuts either connection, both are made again."""
        for kind in ("pubsub", "normal"):
            engine, heard = await self.followed()
            self.server.ask("CLIENT", "KILL", "TYPE", kind)
            await self.until_away(engine)
            await self.until_up(engine)
            heard.entries.clear()
            await self.publish(engine, "x")
            await self.until_told(heard, 1)
            await engine.stop()

    async def test_scripts_forgotten(self) -> None:
        """When somebody flushes the scripts, they are loaded again; what was published meanwhile fails."""
        engine, _ = await self.followed()
        self.server.ask("SCRIPT", "FLUSH")
        await self.assertFailure(engine.publish("c", publication("x")), EngineAway)
        await self.until_up(engine)
        await self.publish(engine, "x")

    async def test_password_changed(self) -> None:
        """When its password is changed while it runs, the engine is away, says why, and goes on trying."""
        self.own_server("--requirepass", "right")
        engine, _ = await self.followed(url=self.server.url("heartbeat=50ms", credentials=":right@"))
        self.server.ask_as("right", "CONFIG", "SET", "requirepass", "other")
        self.server.ask_as("other", "CLIENT", "KILL", "TYPE", "pubsub")
        await self.until(lambda: engine.attempts >= 3)
        self.assertEqual(len(self.said("is away")), 1)
        self.server.ask_as("other", "CONFIG", "SET", "requirepass", "right")
        await self.until_up(engine)

    async def test_becomes_replica(self) -> None:
        """When it becomes a replica, the link is over."""
        self.own_server()
        engine, _ = await self.followed()
        self.server.ask("REPLICAOF", "127.0.0.1", "1")
        await self.until_away(engine)

    async def test_stopped_while_dialling(self) -> None:
        """An engine can be stopped at any time."""
        server = self.own_server()
        server.stop()
        engine = self.unstarted()
        engine.start(Heard()).addErrback(lambda _: None)
        await engine.stop()
        server.start()
        proxy = await self.proxy()
        proxy.holds_answers = True
        engine = self.unstarted(url=proxy.url())
        engine.start(Heard()).addErrback(lambda _: None)
        await self.until(lambda: proxy.accepted > 0)
        await engine.stop()
        engine = self.unstarted(url=server.url())
        await engine.start(Heard())
        engine.subscribe("c").addErrback(lambda _: None)
        await engine.stop()
