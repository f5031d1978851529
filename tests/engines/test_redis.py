"""Tests for wsecho.engines.redis: against a real redis-server, the contract of engines first."""

from __future__ import annotations

import signal
import subprocess
import sys

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.engines.redis_case import KEPT, PATIENCE, RedisCase
from tests.hub.engine_contract import EngineContract, Heard, publication
from wsecho.engines.redis import engine_from_url
from wsecho.hub.engine import (
    EngineAway,
    EngineError,
    EngineState,
    Position,
    Publication,
    PublicationTooLarge,
    Retention,
)


class ContractTests(RedisCase, EngineContract):
    """What holds for every engine."""

    async def pass_time(self, seconds: float) -> None:
        """Redis has its own clock, which cannot be moved."""
        await deferLater(reactor, seconds, lambda: None)

    async def settle(self) -> None:
        """Whatever was published before is told of before what another publishes now."""
        engine, heard = await self.followed("settled")
        await self.publish(engine, "x", channel="settled")
        await self.until(lambda: bool(heard.payloads("settled")))
        await deferLater(reactor, 0.05, lambda: None)


class ImportTests(RedisCase):
    """What importing does."""

    def test_no_reactor(self) -> None:
        """Importing the engine chooses no reactor, although txredisapi would."""
        script = "import sys, wsecho.engines.redis; sys.exit('twisted.internet.reactor' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", script], check=False).returncode, 0)

    def test_missing_package(self) -> None:
        """Without the extra, importing it says which package is missing and whence it comes."""
        script = (
            "import importlib.util as u; found = u.find_spec\n"
            "u.find_spec = lambda name, *more: None if name == 'hiredis' else found(name, *more)\n"
            "import wsecho.engines.redis"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        self.assertIn("ImportError: hiredis is not installed; it comes with the extra redis", done.stderr)


class PublishingTests(RedisCase):
    """What is published, by whom, and what is refused."""

    async def test_two_nodes(self) -> None:
        """Two nodes see what both publish, in one order, with the positions that were acknowledged."""
        one, heard_by_one = await self.followed()
        two, heard_by_two = await self.followed()
        waiting = [
            engine.publish("c", publication(f"{number}")) for number in range(100) for engine in (one, two)
        ]
        positions = [await each for each in waiting]
        for heard in (heard_by_one, heard_by_two):
            await self.until_told(heard, 200)
        self.assertEqual(heard_by_one.entries, heard_by_two.entries)
        offsets = [position.offset for position in positions if position is not None]
        self.assertEqual(sorted(offsets), list(range(1, 201)))
        self.assertEqual(heard_by_one.losses + heard_by_two.losses, [])

    async def test_one_turn_is_one_message(self) -> None:
        """What is published in one turn of the reactor leaves in one piece for each channel."""
        engine, heard = await self.followed("c", "d")
        self.server.ask("CONFIG", "RESETSTAT")
        waiting = [engine.publish(name, publication("x")) for name in ("c", "d", "c") for _ in range(30)]
        for one in waiting:
            await one
        await self.until(lambda: len(heard.payloads("c")) == 60)
        stats = self.server.ask("INFO", "commandstats").decode()
        (calls,) = (line for line in stats.splitlines() if line.startswith("cmdstat_xadd"))
        self.assertIn("calls=90,", calls)
        scripts = next(line for line in stats.splitlines() if line.startswith("cmdstat_evalsha"))
        self.assertLess(int(scripts.split("calls=")[1].split(",")[0]), 8)

    async def test_databases_apart(self) -> None:
        """Nodes on different databases of one Redis share nothing."""
        one, heard_by_one = await self.followed()
        two, heard_by_two = await self.followed(url=self.server.url(PATIENCE, database=3))
        await self.publish(one, "zero")
        await self.publish(two, "three")
        await self.until(lambda: bool(heard_by_one.payloads("c") and heard_by_two.payloads("c")))
        self.assertEqual((heard_by_one.payloads("c"), heard_by_two.payloads("c")), ([b"zero"], [b"three"]))

    async def test_too_large(self) -> None:
        """A payload above the limit is refused at once; one of exactly the limit goes through, and many of
        them."""
        engine, heard = await self.followed(max_payload=100_000)
        await self.assertFailure(engine.publish("c", publication("x" * 100_001)), PublicationTooLarge)
        for one in [engine.publish("c", publication("x" * 100_000)) for _ in range(20)]:
            await one
        await self.until(lambda: len(heard.payloads("c")) == 20)

    async def test_names_too_long(self) -> None:
        """A sender that does not fit is refused with one line."""
        engine, _ = await self.followed()
        await self.assertFailure(engine.publish("c", Publication(b"", True, "x" * 256)), EngineError)

    async def test_bounded_in_bytes(self) -> None:
        """Beyond the bound in bytes publishing fails at once, and goes on when Redis has answered."""
        engine, _ = await self.followed(most_waiting=10_000)
        waiting = [engine.publish("c", publication("x" * 4000)) for _ in range(2)]
        await self.assertFailure(engine.publish("c", publication("x" * 4000)), EngineAway)
        for one in waiting:
            await one
        self.assertEqual(engine.waiting_bytes, 0)
        await self.publish(engine, "x" * 4000)

    async def test_redis_refuses(self) -> None:
        """What Redis refuses fails with its reason; the engine stays up."""
        self.own_server("--maxmemory", "3mb")
        engine, _ = await self.followed()
        error = None
        for _ in range(20):
            try:
                await self.publish(engine, "x" * 1_000_000)
            except EngineError as refused:
                error = refused
                break
        self.assertIn("OOM", str(error))
        self.assertNotIsInstance(error, EngineAway)
        self.assertEqual((engine.state, engine.waiting_bytes), (EngineState.UP, 0))

    async def test_stopped(self) -> None:
        """What waits when the engine stops fails, and so does what comes later; nothing is told any more."""
        engine, heard = await self.followed()
        waiting = engine.publish("c", publication("x"))
        subscribing = engine.subscribe("d")
        await engine.stop()
        for one in (waiting, subscribing, engine.publish("c", publication("y")), engine.subscribe("e")):
            await self.assertFailure(one, EngineAway)
        await self.assertFailure(engine.history("c", None), EngineAway)
        await self.assertFailure(engine.presence("c"), EngineAway)
        self.assertEqual((heard.entries, heard.states), ({}, [EngineState.UP]))


class AwayTests(RedisCase):
    """Redis that is not there for a while."""

    async def test_waits(self) -> None:
        """What is published while Redis is away is stored when it is back in time, in order, before what
        comes later."""
        self.own_server("--appendonly", "yes", "--appendfsync", "always")
        engine, heard = await self.followed(url=self.server.url("heartbeat=500ms&wait=20s"))
        self.server.stop(signal.SIGKILL)
        await self.until_away(engine)
        waiting = [engine.publish("c", publication(str(number))) for number in range(10)]
        self.server.start()
        for one in waiting:
            await one
        await self.publish(engine, "later")
        await self.until(lambda: b"later" in heard.payloads("c"))
        self.assertEqual(heard.payloads("c"), [*(b"%d" % number for number in range(10)), b"later"])
        self.assertEqual(heard.losses, [])
        self.assertEqual(heard.states, [EngineState.UP, EngineState.AWAY, EngineState.UP])
        self.assertEqual(engine.counts["reconnect"], 1)

    async def test_gives_up_waiting(self) -> None:
        """What Redis has not taken within the bounded wait fails, whether it was sent or not, and nothing of
        it is left waiting; history and presence fail at once."""
        self.own_server()
        engine, _ = await self.followed(url=self.server.url("heartbeat=10s&wait=300ms"))
        self.server.send(signal.SIGSTOP)
        sent = engine.publish("c", publication("sent"))
        await self.assertFailure(sent, EngineAway)
        self.assertGreater(engine.waiting_bytes, 0)
        self.server.stop(signal.SIGKILL)
        await self.until_away(engine)
        self.assertEqual(engine.waiting_bytes, 0)
        await self.assertFailure(engine.publish("c", publication("unsent")), EngineAway)
        self.assertEqual(engine.waiting_bytes, 0)
        await self.assertFailure(engine.history("c", None), EngineAway)
        await self.assertFailure(engine.presence("c"), EngineAway)

    async def test_subscribe_waits(self) -> None:
        """Who subscribes while Redis is away is subscribed when it is back."""
        self.own_server()
        engine, heard = await self.followed()
        self.server.stop(signal.SIGKILL)
        await self.until_away(engine)
        subscribing = engine.subscribe("d")
        self.server.start()
        position = await subscribing
        assert position is not None
        self.assertEqual(position.offset, 0)
        await self.publish(engine, "x", channel="d")
        await self.until(lambda: heard.payloads("d") == [b"x"])

    async def test_started_without_redis(self) -> None:
        """An engine that is started before its Redis is up when that is."""
        server = self.own_server()
        server.stop(signal.SIGKILL)
        engine = self.unstarted()
        starting = engine.start(Heard())
        await deferLater(reactor, 0.2, lambda: None)
        self.assertFalse(starting.called)
        server.start()
        await starting
        self.assertEqual(engine.state, EngineState.UP)


class EpochTests(RedisCase):
    """When positions are no longer trusted."""

    async def test_flushed(self) -> None:
        """After a flush the next publication is told as behind a gap, in a new epoch that begins at 1."""
        engine, heard = await self.followed()
        before = await self.publish(engine, "a", "b")
        await self.until(lambda: len(heard.payloads("c")) == 2)
        self.server.ask("FLUSHALL")
        (after,) = await self.publish(engine, "c")
        await self.until(lambda: len(heard.payloads("c")) == 3)
        self.assertNotEqual(after.epoch, before[0].epoch)
        self.assertEqual(after.offset, 1)
        self.assertEqual(heard.losses, [("c", before[-1])])

    async def test_restart_without_persistence(self) -> None:
        """A restart that lost everything begins a new epoch, and each channel is told."""
        self.own_server()
        engine, heard = await self.followed("c", "d")
        (before,) = await self.publish(engine, "a")
        await self.until(lambda: bool(heard.payloads("c")))
        self.server.stop(signal.SIGKILL)
        await self.until_away(engine)
        self.server.start()
        await self.until_up(engine)
        self.assertEqual([name for name, _ in heard.losses], ["c", "d"])
        (after,) = await self.publish(engine, "b")
        self.assertNotEqual(after.epoch, before.epoch)

    async def test_restart_that_may_have_lost(self) -> None:
        """So does one that may have lost the last second: entries stay, and are of the new epoch."""
        self.own_server("--appendonly", "yes", "--appendfsync", "everysec")
        engine, heard = await self.followed()
        before = await self.publish(engine, "a", "b")
        await self.until(lambda: len(heard.payloads("c")) == 2)
        self.server.stop(signal.SIGKILL)
        await self.until_away(engine)
        self.server.start()
        await self.until_up(engine)
        self.assertEqual(heard.losses, [("c", before[-1])])
        (after,) = await self.publish(engine, "c")
        self.assertNotEqual(after.epoch, before[0].epoch)
        self.assertEqual(after.offset, 3)
        history = await engine.history("c", before[0])
        self.assertFalse(history.is_whole)
        self.assertEqual([entry.publication.payload for entry in history.entries], [b"a", b"b", b"c"])
        await self.until(lambda: len(heard.payloads("c")) == 3)
        self.assertEqual(heard.payloads("c"), [b"a", b"b", b"c"])

    async def test_restart_that_lost_nothing(self) -> None:
        """One that wrote to disk before it answered goes on in the same epoch, and nothing is told."""
        self.own_server("--appendonly", "yes", "--appendfsync", "always")
        engine, heard = await self.followed()
        before = await self.publish(engine, "a")
        self.server.stop(signal.SIGKILL)
        await self.until_away(engine)
        self.server.start()
        await self.until_up(engine)
        (after,) = await self.publish(engine, "b")
        self.assertEqual(after, Position(before[0].epoch, 2))
        await self.until(lambda: len(heard.payloads("c")) == 2)
        self.assertEqual(heard.losses, [])

    async def test_fewer_than_seen(self) -> None:
        """A Redis that knows less than a node has seen, for whatever reason, begins a new epoch, once for all
        nodes."""
        proxy = await self.proxy()
        one, heard_by_one = await self.followed(url=proxy.url())
        two, heard_by_two = await self.followed(url=proxy.url())
        (first, *_, last) = await self.publish(one, "a", "b", "c")
        await self.until(lambda: len(heard_by_one.payloads("c")) == len(heard_by_two.payloads("c")) == 3)
        self.server.ask("HSET", "wsecho:m:c", "offset", "1")
        self.server.ask("XTRIM", "wsecho:s:c", "MAXLEN", "1")
        proxy.cut()
        await self.until_away(one)
        await self.until_up(one, two)
        self.assertEqual((heard_by_one.losses, heard_by_two.losses), ([("c", last)], [("c", last)]))
        positions = await self.publish(one, "d")
        self.assertNotEqual(positions[0].epoch, first.epoch)
        await self.until(lambda: b"d" in heard_by_two.payloads("c"))
        self.assertEqual(heard_by_one.entries["c"][-1], heard_by_two.entries["c"][-1])


class HerdTests(RedisCase):
    """Many at once."""

    async def test_channels(self) -> None:
        """A thousand channels are followed again after a break, and none misses what was said meanwhile."""
        proxy = await self.proxy()
        names = [f"c{number}" for number in range(1000)]
        heard = Heard()
        engine = await self.engine(KEPT, heard, proxy.url("heartbeat=2s&wait=5s"))
        other, _ = await self.followed("elsewhere")
        for subscribing in [engine.subscribe(name) for name in names]:
            await subscribing
        proxy.cut()
        await self.until_away(engine)
        for publishing in [other.publish(name, publication(name)) for name in names]:
            await publishing
        await self.until_up(engine)
        self.assertEqual([heard.payloads(name) for name in names], [[name.encode()] for name in names])
        self.assertEqual(heard.losses, [])

    def test_url(self) -> None:
        """A URL that cannot be used is refused with one line."""
        for url in ("redis://", "rediss://h?ca=/nonexistent"):
            self.assertRaises(
                ValueError,
                engine_from_url,
                url,
                reactor=reactor,
                node="n",
                retention=lambda _: Retention(),
                max_payload=1,
            )
