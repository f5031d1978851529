"""Tests for wsecho.engines.redis_store: pages, and what is in a stream that is not ours."""

from __future__ import annotations

from tests.engines.redis_case import RedisCase
from tests.hub.engine_contract import publication
from wsecho.hub.engine import EngineError, Position, Publication


class ForeignTests(RedisCase):
    """What somebody else put there."""

    async def test_in_the_stream(self) -> None:
        """Foreign entries are left out of a history and removed, so that they are met once; what we stored
        before and after is whole."""
        engine, _ = await self.followed()
        positions = await self.publish(engine, "a")
        self.server.ask("XADD", "wsecho:s:c", "1-1", "some", "thing")
        self.server.ask("XADD", "wsecho:s:c", "1-2", "t", "1", "b", "x" * 5_000_000)
        positions += await self.publish(engine, "b")
        for _ in range(2):
            history = await engine.history("c", Position(positions[0].epoch, 0))
            self.assertEqual([entry.position for entry in history.entries], positions)
            self.assertTrue(history.is_whole)
            self.assertEqual(engine.counts["foreign-entry"], 2)

    async def test_body_that_is_none(self) -> None:
        """An entry that looks like ours and cannot be read is a hole, and is told as one."""
        engine, _ = await self.followed()
        positions = await self.publish(engine, "a", "b", "c")
        self.server.ask("XDEL", "wsecho:s:c", "2-0")
        self.server.ask("HSET", "wsecho:m:c", "offset", "4")
        self.server.ask("XADD", "wsecho:s:c", "4-0", "t", "99999999999999", "b", "no body")
        history = await engine.history("c", Position(positions[0].epoch, 0))
        self.assertEqual((list(history.entries), history.is_whole), ([], False))
        self.assertGreater(engine.counts["foreign-entry"], 0)

    async def test_larger_than_this_node_takes(self) -> None:
        """An entry of a node with a larger limit is a hole for one with a smaller, which does not remove
        it."""
        large, _ = await self.followed()
        small, heard = await self.followed(max_payload=10_000)
        positions = await self.publish(large, "x" * 20_000, "b")
        history = await small.history("c", Position(positions[0].epoch, 0))
        self.assertEqual([entry.position for entry in history.entries], positions[1:])
        self.assertFalse(history.is_whole)
        self.assertTrue((await large.history("c", Position(positions[0].epoch, 0))).is_whole)
        await self.until(lambda: bool(heard.payloads("c")))
        self.assertEqual((heard.payloads("c"), len(heard.losses)), ([b"b"], 1))

    async def test_other_kind_of_key(self) -> None:
        """Where a key of another kind stands, publishing and history fail with Redis's word for it; other
        channels go on."""
        engine, _ = await self.followed()
        self.server.ask("SET", "wsecho:s:bad", "x")
        for asked in (self.publish(engine, "x", channel="bad"), engine.history("bad", None)):
            try:
                await asked
            except EngineError as error:
                self.assertIn("WRONGTYPE", str(error))
            else:
                self.fail("nobody noticed")
        self.server.ask("SET", "wsecho:m:bad", "x")
        await self.assertFailure(engine.subscribe("bad"), EngineError)
        await self.publish(engine, "x")


class PageTests(RedisCase):
    """Long histories."""

    async def test_many_and_large(self) -> None:
        """A history of many entries, and one of many bytes, is read in pieces, and is whole."""
        engine, _ = await self.followed()
        many = [engine.publish("c", _numbered(number)) for number in range(900)]
        large = [engine.publish("d", _numbered(number, 300_000)) for number in range(12)]
        first, *_ = [await one for one in many]
        second, *_ = [await one for one in large]
        assert first is not None and second is not None
        for channel, since, count in (("c", first, 899), ("d", second, 11)):
            history = await engine.history(channel, since)
            self.assertTrue(history.is_whole)
            self.assertEqual(len(history.entries), count)


def _numbered(number: int, size: int = 0) -> Publication:
    return publication(f"{number}".ljust(size))
