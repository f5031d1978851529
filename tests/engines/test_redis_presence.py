"""Tests for wsecho.engines.redis_presence: nodes that count together."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.engines.redis_case import PATIENCE, RedisCase


class PresenceTests(RedisCase):
    """Members over several nodes."""

    async def test_two_nodes(self) -> None:
        """Members of all nodes are added up, and a node that stops takes its own along."""
        one, _ = await self.followed()
        two, _ = await self.followed()
        for number in range(3):
            one.present("c", f"one-{number}")
        two.present("c", "two-0")
        await two.presence("c")
        self.assertEqual(await one.presence("c"), 4)
        one.absent("c", "one-0")
        one.absent("c", "one-0")
        self.assertEqual(await one.presence("c"), 3)
        await one.stop()
        while await two.presence("c") != 1:
            await deferLater(reactor, 0.01, lambda: None)

    async def test_told(self) -> None:
        """A change on one node is told to the others, and not to itself."""
        one, heard_by_one = await self.followed()
        _two, heard_by_two = await self.followed()
        one.present("c", "one-1")
        one.present("c", "one-2")
        await self.until(lambda: heard_by_two.presences == [("c", 2)])
        self.assertEqual(heard_by_one.presences, [])

    async def test_dead_node(self) -> None:
        """A node that gives no sign of life is not counted after three heartbeats, and is again when it is
        back."""
        proxy = await self.proxy()
        one, _ = await self.followed(url=proxy.url("heartbeat=200ms&wait=5s"))
        two, _ = await self.followed(url=self.server.url("heartbeat=200ms&wait=5s"))
        one.present("c", "one-1")
        await one.presence("c")
        self.assertEqual(await two.presence("c"), 1)
        proxy.holds_answers = proxy.holds_commands = True
        while await two.presence("c") != 0:
            await deferLater(reactor, 0.02, lambda: None)
        proxy.cut()
        proxy.release()
        while await two.presence("c") != 1:
            await deferLater(reactor, 0.02, lambda: None)

    async def test_forgotten(self) -> None:
        """When Redis has forgotten everything while the link lasted, members are told again."""
        one, _ = await self.followed(url=self.server.url("heartbeat=400ms"))
        one.present("c", "one-1")
        self.assertEqual(await one.presence("c"), 1)
        self.server.ask("FLUSHALL")
        while await one.presence("c") != 1:
            await deferLater(reactor, 0.02, lambda: None)

    async def test_while_away(self) -> None:
        """Who comes and goes while Redis is away is counted when it is back."""
        proxy = await self.proxy()
        one, _ = await self.followed(url=proxy.url(PATIENCE))
        one.present("c", "gone")
        await one.presence("c")
        proxy.cut()
        await self.until_away(one)
        one.absent("c", "gone")
        one.present("c", "new-1")
        one.present("c", "new-2")
        await self.until_up(one)
        self.assertEqual(await one.presence("c"), 2)
