"""Drills: what the table of faults says is done to nodes and a Redis under load, and what must come of it.

Each test is one row, or one side of it; its docstring begins with the row's number. Rows that need a network
of their own are in tests/faults/namespaces.py.
"""

from __future__ import annotations

import json
import signal
import uuid
from functools import partial
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SkipTest

from tests.faults.cluster import Client, DrillCase, Node, Subscriber, reactor

HERD = 150

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

#: So that no acknowledged write is lost, whatever kills Redis.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


class NodeDrills(DrillCase):
    """Nodes that die, hang or are replaced."""

    async def test_f1_kill_a_node(self) -> None:
        """F1: kill -9 a node under load: its clients come back on others with everything, and nobody else
        notices."""
        self.redis()
        nodes = await self.start_nodes(3)
        await self.under_load(subscribers=30)
        killed, *others = nodes
        staying = [one for one in self.subscribers if one.nodes[0] in others]
        self.measure_from_here()
        killed.send("KILL")
        await self.until_more(100)
        await self.until_all_open()
        await self.finish()
        self.assertEqual([one.codes for one in staying], [[]] * len(staying))
        worst = self.worst_delay(staying)
        self.assertLess(worst, 1)
        self.note(f"worst delay on the other nodes {worst * 1000:.0f} ms")
        numsub = self.server.ask("PUBSUB", "NUMSUB", "wsecho:0:c:drill")
        self.assertTrue(numsub.endswith(b":2\r\n"), numsub)
        self.note("no subscription left behind in Redis")

    async def test_f2_kill_between_storing_and_telling(self) -> None:
        """F2: kill -9 a node when Redis has stored what it published, and it has heard neither the answer nor
        the message: it reaches everybody, also its own clients, though their publisher sends it again."""
        self.redis()
        proxy = self.proxy()
        doomed = await self.node(url=proxy.url(self.patience))
        other = await self.node()
        for nodes in ((doomed, other), (other,)):
            self.subscriber(*nodes)
        publisher = self.publisher(doomed, other)
        await self.until_all_open()
        await self.until_more(20)
        proxy.holds_answers = True
        acknowledged = len(publisher.log.acks)
        await self.until(lambda: self._stored() >= acknowledged + 10)
        doomed.send("KILL")
        publisher.pause()
        await self.until(lambda: not publisher.waits)
        await self.finish()
        unanswered = len(publisher.log.repeated)
        self.assertGreater(unanswered, 0)
        self.note(f"{unanswered} stored or on their way at the kill, and sent again")

    def _stored(self) -> int:
        return int(self.server.ask("HGET", "wsecho:m:drill", "offset").split()[1])

    async def test_f3_stop_a_node(self) -> None:
        """F3: SIGSTOP a node until Redis and the others have gone on for long, then SIGCONT: it catches up,
        and nobody else slows down or grows."""
        self.redis()
        nodes = await self.start_nodes(3)
        for number in range(9):
            self.subscriber(nodes[number % 3])
        self.publisher(*nodes[1:], rate=200)
        await self.until_all_open()
        await self.until_more(50)
        stopped, *others = nodes
        before = [node.memory() for node in others]
        stopped.send("STOP")
        staying = [one for one in self.subscribers if one.nodes[0] in others]
        self.measure_from_here()
        # Longer than two heartbeats, after which it would be given up.
        await self.until_more(400)
        worst = self.worst_delay(staying)
        stopped.send("CONT")
        await self.until_more(50)
        await self.finish()
        self.assertLess(worst, 1)
        growth = max(node.memory() - least for node, least in zip(others, before, strict=True))
        self.assertLess(growth, 16 * 1024**2)
        self.note(f"worst delay meanwhile {worst * 1000:.0f} ms, growth {growth // 1024} KiB")

    async def test_f9_cut_by_redis(self) -> None:
        """F9: a stopped node is cut by Redis for what it does not read: it notices when it goes on, and
        fetches what it missed."""
        self.redis("--client-output-buffer-limit", "pubsub 4mb 4mb 60")
        nodes = await self.start_nodes(2)
        stopped, other = nodes
        for node in nodes:
            self.subscriber(node)
        publisher = self.publisher(other, rate=50)
        await self.until_all_open()
        await self.until_more(10)
        await self.stop_until_cut(stopped, other)
        await self.until(lambda: stopped.log.count("engine redis: up") >= 2)
        await self.until_more(10)
        await self.finish()
        self.assertEqual(publisher.log.errors, 0)
        self.assertEqual(other.log.count("engine redis: away"), 0)
        self.note("the other node was not disturbed")

    async def stop_until_cut(self, stopped: Node, other: Node) -> None:
        """Stop a node until Redis has cut it for what it does not read, and let it go on."""
        stopped.send("STOP")
        filler = Filler("filler", [other])
        self.clients.append(filler)
        await self.until(lambda: self.server.ask("PUBSUB", "NUMSUB", "wsecho:0:c:drill").endswith(b":1\r\n"))
        filler.stop_filling()
        stopped.send("CONT")

    async def test_f9_cut_without_history(self) -> None:
        """F9: without history the same cut is told: plain clients are closed with 1012, and others get a
        gap."""
        self.history = 0
        self.redis("--client-output-buffer-limit", "pubsub 4mb 4mb 60")
        nodes = await self.start_nodes(2)
        stopped, other = nodes
        envelope = Listener("envelope", [stopped])
        plain = Plain("plain", [stopped])
        # Without one the other node would not listen, and the stopped one be the only one that does.
        self.clients += [envelope, plain, Listener("there", [other])]
        await self.until_all_open()
        await self.stop_until_cut(stopped, other)
        await self.until(lambda: 1012 in plain.codes and "gap" in envelope.kinds)
        self.assertEqual(self.died(), [])
        self.note("plain client closed with 1012, envelope client told of a gap")

    async def test_f12_herd(self) -> None:
        """F12: kill a node with many clients, which all come back to one other at once: each gets what it
        missed, Redis is asked for it a few times and not once for each, and old clients notice little."""
        self.redis()
        killed, other = await self.start_nodes(2)
        for _ in range(HERD):
            self.subscriber(killed, other)
        old = [self.subscriber(other) for _ in range(5)]
        await self.until_all_open()
        self.publisher(other, rate=20)
        await self.until_more(20)
        self.measure_from_here()
        self.server.ask("CONFIG", "RESETSTAT")
        killed.send("KILL")
        await self.until(
            lambda: all(one.log.events and len(one.codes) == 1 for one in self.subscribers[:HERD])
        )
        await self.until_all_open()
        worst = self.worst_delay(old)
        stats = self.server.ask("INFO", "commandstats").decode().splitlines()
        scripts = next(line for line in stats if line.startswith("cmdstat_evalsha:"))
        calls = int(scripts.split("calls=")[1].split(",")[0])
        await self.finish()
        self.assertLess(worst, 1)
        # Publications and signs of life are scripts, too.
        self.assertLess(calls, HERD)
        self.note(
            f"{HERD} clients back; {calls} scripts of Redis for all that; worst delay {worst * 1000:.0f} ms"
        )

    async def test_f14_clock(self) -> None:
        """F14: the clock of one node jumps an hour ahead, of another an hour back, while they serve: nobody
        is timed out, and offsets and what is kept do not depend on it."""
        if FAKETIME is None:
            raise SkipTest("needs libfaketime")
        self.heartbeat = 0.8
        self.redis()
        await self.node("--ping-interval=1s", "--ping-timeout=5s")
        clocks = []
        for _ in range(2):
            clock = Path(self.mktemp()).absolute()
            clock.write_text("+0")
            clocks.append(clock)
            await self.node("--ping-interval=1s", "--ping-timeout=5s", variables=shifted(clock))
        await self.under_load()
        clocks[0].write_text("+3600")
        clocks[1].write_text("-3600")
        # Longer than pings and heartbeats take.
        for _ in range(4):
            await self.until_more(100)
        await self.finish()
        self.assertEqual([one.codes for one in self.clients], [[]] * len(self.clients))
        self.assertEqual([node.log.count("engine redis: away") for node in self.nodes], [0, 0, 0])
        alive = self.server.ask("ZCARD", "wsecho:nodes")
        self.assertEqual(alive, b":3\r\n")
        self.note("no connection ended, all nodes counted as alive")

    async def test_f16_rolling_restart(self) -> None:
        """F16: replace all nodes one after the other with SIGTERM: clients are closed with 1001 or 1012, and
        nothing is lost."""
        self.redis()
        nodes = await self.start_nodes(3)
        await self.under_load()
        for node in tuple(nodes):
            fresh = await self.node()
            for client in self.clients:
                client.nodes = [*(one for one in client.nodes if one is not node), fresh]
            node.send("TERM")
            await node.child.exited
            await self.until_more(20)
        await self.finish()
        codes = {code for one in self.subscribers for code in one.codes}
        self.assertLessEqual(codes, {1001, 1012})
        self.note(f"closed with {', '.join(map(str, sorted(filter(None, codes))))}")


class RedisDrills(DrillCase):
    """Redis that goes away, comes back, or has something else in it."""

    async def restart(self, how: int) -> None:
        """End Redis while messages flow, see publishing fail, and start it again."""
        await self.start_nodes(2)
        await self.under_load()
        self.server.stop(how)
        await self.until(lambda: all(one.log.errors for one in self.publishers))
        acks = [len(one.log.acks) for one in self.publishers]
        await self.until(lambda: sum(one.log.errors for one in self.publishers) > 10)
        self.assertEqual([len(one.log.acks) for one in self.publishers], acks)
        self.server.start()
        await self.until_more(50)

    async def test_f4_durable(self) -> None:
        """F4: restart Redis, cleanly and by kill -9, where it writes before it answers: nothing is lost,
        clients keep their connections, and nobody is told of a gap."""
        self.redis(*DURABLE)
        await self.restart(signal.SIGTERM)
        # Nodes come back one after the other; messages flow as soon as one has.
        await self.until(lambda: all(node.log.count("engine redis: up") >= 2 for node in self.nodes))
        self.server.stop(signal.SIGKILL)
        await self.until(lambda: all(node.log.count("engine redis: away") >= 2 for node in self.nodes))
        self.server.start()
        await self.until_more(50)
        judgement = await self.finish()
        self.assertEqual((judgement.gaps, judgement.reconnects), (0, 0))
        self.note("no connection ended, no gap")

    async def test_f4_lost_everything(self) -> None:
        """F4: restart Redis by kill -9 where it keeps nothing: a new epoch, and everybody is told;
        connections of envelope clients stay."""
        self.redis()
        await self.restart(signal.SIGKILL)
        judgement = await self.finish(may_lose=True)
        self.assertGreaterEqual(judgement.gaps, len(self.subscribers))
        self.assertEqual(judgement.reconnects, 0)
        epochs = {event.place.epoch for one in self.subscribers for event in one.log.messages}
        self.assertEqual(len(epochs), 2)
        self.note("a second epoch, no connection ended")

    async def test_f5_away(self) -> None:
        """F5: Redis away for many times the bounded wait: publishing fails in time, memory stays, echo goes
        on, and the node is not ready."""
        self.redis(*DURABLE)
        await self.node("--admin=tcp:0:interface=127.0.0.1")
        (node,) = self.nodes
        await self.until(lambda: "admin" in node.log)
        admin = next(word for word in node.log.split() if word.startswith("http://"))
        self.subscriber()
        publisher = self.publisher(rate=200)
        await self.until_more(50)
        status, _ = await self.fetch(f"{admin.rstrip('/')}/health/ready")
        self.assertEqual(status, 200)
        self.server.stop(signal.SIGKILL)
        before = node.memory()
        await self.until(lambda: "engine redis: away" in node.log and publisher.waits == 100)
        # A publisher that does not give up, and more of them than the bounded wait lets pass at a time.
        for _ in range(3):
            failed = publisher.log.errors + publisher.waits
            publisher.repeat()
            await self.until(partial(lambda least: publisher.log.errors >= least, failed))
        status, _ = await self.fetch(f"{admin.rstrip('/')}/health/ready")
        self.assertEqual(status, 503)
        self.assertEqual(set(publisher.error_codes), {"engine-away"})
        growth = node.memory() - before
        self.assertLess(growth, 16 * 1024**2)
        echo = Echo("echo", [node], "/echo")
        self.clients.append(echo)
        await self.until(lambda: echo.echoed >= 20)
        echo.stop()
        self.clients.remove(echo)
        self.server.start()
        await self.until_more(50)
        await self.finish()
        self.note(
            f"{publisher.log.errors} publications failed, growth {growth // 1024} KiB; echo went on; 503"
        )

    async def test_f11_longer_than_kept(self) -> None:
        """F11: clients that are away for more messages than are kept are told that they have not
        recovered."""
        self.history = 50
        self.redis()
        gone, other = await self.start_nodes(2)
        away = [self.subscriber(gone) for _ in range(3)]
        self.subscriber(other)
        self.publisher(other, rate=300)
        await self.until_all_open()
        await self.until_more(20)
        gone.send("KILL")
        await self.until_more(300)
        for one in away:
            one.nodes = [other]
        judgement = await self.finish(may_lose=True)
        self.assertEqual(judgement.gaps, len(away))
        self.assertGreater(judgement.missing, 0)

    async def test_f13_lost_acknowledgements(self) -> None:
        """F13: what Redis answers is lost, and so is what the node would have said: publishers send again,
        with the same ids, and everything is there once."""
        self.redis()
        proxy = self.proxy()
        through = await self.node(url=proxy.url(self.patience))
        direct = await self.node()
        self.subscriber(direct)
        self.subscriber(through)
        publisher = self.publisher(through)
        await self.until_all_open()
        await self.until_more(20)
        proxy.holds_answers = True
        await self.until(lambda: publisher.log.errors > 0)
        proxy.cut()
        proxy.release()
        await self.until_more(50)
        await self.finish()
        self.assertGreater(len(publisher.log.repeated), 0)
        self.note(f"{len(publisher.log.repeated)} sent again")

    async def test_f15_poison(self) -> None:
        """F15: what no wsecho wrote, on the channel and in its stream, too large or not what it seems:
        dropped and counted, one line, and nobody dies, also not when history is read."""
        self.redis()
        nodes = await self.start_nodes(2, "--admin=tcp:0:interface=127.0.0.1")
        await self.under_load()
        where = "wsecho:0:c:drill"
        good = b"1 e 1 5\n\x01\x00\x00\x00x"
        for poison in (b"hello", b"{bad json", b"\xff" * 1000, b"x" * 20_000_000, good[:-1] + b"\xff"):
            self.server.ask("PUBLISH", where, poison)
        for entry in (("*", "foreign", "x"), ("*", "t", "1", "b", b"x" * 3_000_000)):
            self.server.ask("XADD", "wsecho:s:drill", *entry)
        await self.until_more(50)
        late = self.subscriber()
        late.stop()
        comer = Late("late", nodes)
        self.clients.remove(late)
        self.clients.append(comer)
        await self.until(lambda: comer.is_welcome)
        self.clients.remove(comer)
        comer.stop()
        await self.until_more(20)
        await self.finish()
        dropped = [node.log.count("no wsecho wrote") for node in nodes]
        self.assertEqual(dropped, [1, 1])
        self.note("one line on each node")


class Filler(Client):
    """Publishes much that nobody waits for."""

    number = 0
    is_filling = False

    def opened(self, connection: object) -> None:
        super().opened(connection)
        self.is_filling = True
        self._fill()

    def stop_filling(self) -> None:
        """Enough."""
        self.is_filling = False
        self.stop()

    def _fill(self) -> None:
        if self.is_filling and self.connection is not None:
            self.number += 1
            text = json.dumps({"p": "filler", "n": self.number, "t": reactor.seconds(), "x": "x" * 30_000})
            self.send(type="publish", id=uuid.uuid4().hex, text=text)
            reactor.callLater(0.005, self._fill)


class Listener(Client):
    """Keeps the kinds of what it is told."""

    def __init__(self, name: str, nodes: list[Node]) -> None:
        self.kinds: list[str] = []
        super().__init__(name, nodes)

    def told(self, envelope: dict[str, object]) -> None:
        self.kinds.append(str(envelope.get("type")))


class Plain(Client):
    """Knows no envelopes."""

    subprotocols: ClassVar[list[str]] = []

    def received(self, connection: object, payload: bytes, is_binary: bool) -> None:
        """Whatever it is."""


class Echo(Client):
    """Sends, and hears itself."""

    subprotocols: ClassVar[list[str]] = []
    echoed = 0

    def opened(self, connection: object) -> None:
        super().opened(connection)
        self.send(hello=1)

    def told(self, envelope: dict[str, object]) -> None:
        self.echoed += 1
        self.send(hello=1)


class Late(Subscriber):
    """Asks for everything from the beginning."""

    query = "?epoch=none&since=0"


def shifted(clock: Path) -> dict[str, str]:
    """What gives a program another clock: that which a file names, all the time. What time has passed stays
    true, as when an operator sets the clock."""
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
