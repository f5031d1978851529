"""Drills in a network of their own: partitions and slow lines. ``tox -e faults`` runs them, as
root.

Each node here stands in a network namespace with a line of its own to Redis, on which packets can be dropped
or slowed down. Its clients reach it over another line, which stays whole.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from tests.engines.redis_server import RedisServer
from tests.faults.cluster import DrillCase, Node, reactor

_MISSING = [name for name in ("ip", "iptables", "tc") if shutil.which(name) is None]


class NamespaceCase(DrillCase):
    """Drills with namespaces, which are removed when they end."""

    timeout = 60
    if os.geteuid() != 0:
        skip = "needs root, for network namespaces"
    elif _MISSING:
        skip = f"needs {' and '.join(_MISSING)}"

    def setUp(self) -> None:
        """No lines yet."""
        super().setUp()
        self.lines = 0

    def run_as_root(self, command: str) -> None:
        """Run a command, which must succeed."""
        done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stderr}")

    def line(self) -> tuple[str, str, str]:
        """A namespace with two lines to here; its name, and the addresses here and there of the first, which
        is for Redis. The second is numbered alike, 10.99 instead of 10.98, and is for clients."""
        self.lines += 1
        number = self.lines
        name = f"wsecho-{os.getpid() % 10000}-{number}"
        self.run_as_root(f"ip netns add {name}")
        self.addCleanup(self.run_as_root, f"ip netns del {name}")
        for kind, subnet in (("r", 98), ("c", 99)):
            here, there = f"we{kind}{os.getpid() % 10000}-{number}", f"{kind}0"
            self.run_as_root(f"ip link add {here} type veth peer name {there} netns {name}")
            self.run_as_root(f"ip addr add 10.{subnet}.{number}.1/24 dev {here}")
            self.run_as_root(f"ip link set {here} up")
            self.run_as_root(f"ip netns exec {name} ip addr add 10.{subnet}.{number}.2/24 dev {there}")
            self.run_as_root(f"ip netns exec {name} ip link set {there} up")
        self.run_as_root(f"ip netns exec {name} ip link set lo up")
        return name, f"10.98.{number}.1", f"10.99.{number}.2"

    async def far_node(self, name: str, redis: str, host: str) -> Node:
        """A node in a namespace."""
        url = f"redis://{redis}:{self.server.port}/0?{self.patience}"
        node = await self.node(url=url, prefix=("ip", "netns", "exec", name), host=host)
        node.host = host
        return node

    def open_redis(self) -> RedisServer:
        """A Redis that listens on every line; nothing else reaches them."""
        server = RedisServer("--protected-mode", "no", host="0.0.0.0")
        server.start()
        self.server = server
        self.addCleanup(server.remove)
        return server

    async def partition(self, rules: tuple[str, ...]) -> None:
        """Cut one node's line to Redis so, under load, for longer than its patience."""
        self.open_redis()
        name, redis, host = self.line()
        near = await self.node(url=f"redis://127.0.0.1:{self.server.port}/0?{self.patience}")
        far = await self.far_node(name, redis, host)
        for node in (near, far, near, far):
            self.subscriber(node)
        publisher = self.publisher(near)
        await self.until_all_open()
        await self.until_more(20)
        begin = reactor.seconds()
        for rule in rules:
            self.run_as_root(f"ip netns exec {name} iptables -I {rule} -j DROP")
        await self.until(lambda: "engine redis: away" in far.log)
        span = reactor.seconds() - begin
        # Two heartbeats, and what a busy machine is late.
        self.assertLess(span, 2 * self.heartbeat + 0.7)
        await self.until_more(100)
        self.run_as_root(f"ip netns exec {name} iptables -F")
        await self.until(lambda: far.log.count("engine redis: up") >= 2)
        await self.until_more(20)
        judgement = await self.finish()
        self.assertEqual((judgement.gaps, publisher.log.errors), (0, 0))
        self.note(f"noticed after {span * 1000:.0f} ms, with a heartbeat of {self.heartbeat * 1000:.0f} ms")


class PartitionDrills(NamespaceCase):
    """Lines that are cut."""

    async def test_f6_partition(self) -> None:
        """F6: cut a node off from Redis, both ways: its heartbeat notices, and it goes on by offset."""
        await self.partition(("INPUT -i r0", "OUTPUT -o r0"))

    async def test_f7_one_way(self) -> None:
        """F7: cut the way from Redis to a node alone: the same, since the heartbeat goes all the way
        round."""
        await self.partition(("INPUT -i r0",))


class SlowDrills(NamespaceCase):
    """Lines that are slow."""

    heartbeat = 1.0

    async def test_f8_narrow_line(self) -> None:
        """F8: 256 kbit/s between a node and Redis for a while, with three times as much to tell: the node is
        late or away, does not grow and does not connect again and again; later everything is there."""
        self.open_redis()
        name, redis, host = self.line()
        near = await self.node(url=f"redis://127.0.0.1:{self.server.port}/0?{self.patience}")
        far = await self.far_node(name, redis, host)
        self.subscriber(near)
        self.subscriber(far)
        # Three times what the line can carry.
        fast = self.publisher(near, rate=50, padding=800)
        publisher = self.publisher(far, rate=50, padding=800)
        await self.until_all_open()
        await self.until_more(20)
        before = far.memory()
        for where, device in ((f"ip netns exec {name} ", "r0"), ("", f"wer{os.getpid() % 10000}-1")):
            self.run_as_root(f"{where}tc qdisc add dev {device} root tbf rate 256kbit burst 4kb latency 2s")
        self.measure_from_here()
        least = len(fast.log.acks) + 300
        await self.until(lambda: len(fast.log.acks) >= least)
        growth = far.memory() - before
        worst = self.worst_delay(self.subscribers)
        for where, device in ((f"ip netns exec {name} ", "r0"), ("", f"wer{os.getpid() % 10000}-1")):
            self.run_as_root(f"{where}tc qdisc del dev {device} root")
        await self.until_more(20)
        await self.finish()
        self.assertLess(growth, 32 * 1024**2)
        away = far.log.count("engine redis: away")
        self.assertLessEqual(away, 5)
        self.note(
            f"worst delay {worst:.1f} s, growth {max(growth, 0) // 1024} KiB, away {away} times, "
            f"{publisher.log.errors} publications failed at first"
        )
