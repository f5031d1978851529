"""A drill with two servers of Redis, one of which takes over from the other."""

from __future__ import annotations

import signal

from twisted.internet.threads import deferToThread

from tests.engines.redis_server import RedisServer
from tests.faults.cluster import DrillCase


class FailoverDrills(DrillCase):
    """A primary that dies, and a replica that takes over."""

    async def test_f10_failover(self) -> None:
        """F10: kill Redis before it has told its replica of the last writes, and promote that: a new epoch,
        clients are told, and no offset is given to something else."""
        primary = self.redis(*("--appendonly", "yes", "--appendfsync", "always"))
        between = self.proxy()
        replica = RedisServer("--appendonly", "yes", "--appendfsync", "always").start()
        self.addCleanup(replica.remove)
        await self.in_thread(replica, "REPLICAOF", "127.0.0.1", between.port)
        front = self.proxy()
        for _ in range(2):
            await self.node(url=front.url(self.patience))
        await self.under_load()
        await self.until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"))
        await self.until_more(20)
        between.holds_answers = True
        await self.until_more(50)
        primary.stop(signal.SIGKILL)
        await self.in_thread(replica, "REPLICAOF", "NO", "ONE")
        front.server_port = replica.port
        front.cut()
        self.server = replica
        await self.until_more(50)
        judgement = await self.finish(may_lose=True)
        self.assertGreaterEqual(judgement.gaps, len(self.subscribers))
        offsets: dict[str, list[int]] = {}
        for event in self.subscribers[0].log.messages:
            offsets.setdefault(event.place.epoch, []).append(event.place.offset)
        old, new = offsets.values()
        twice = max(old) + 1 - min(new)
        self.assertGreater(twice, 0)
        self.note(f"{twice} offsets are there in both epochs")

    async def in_thread(self, server: RedisServer, *words: object) -> None:
        """Ask without keeping the proxies waiting."""
        answer = await deferToThread(server.ask, *words)
        self.assertEqual(answer, b"+OK\r\n")
