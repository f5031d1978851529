"""Tests for wsecho.engines.redis_following: what is told in order, what is read again, and what is lost."""

from __future__ import annotations

from tests.engines.redis_case import KEPT, RedisCase
from tests.engines.test_redis_frames import message
from tests.hub.engine_contract import Heard, publication
from wsecho.hub.engine import EngineState, Retention

NOTHING = Retention()


class FollowCase(RedisCase):
    """Tests in which a message is forged, or a link is cut."""

    def forge(self, channel: str, first: int, *payloads: str, epoch: str) -> None:
        """Publish past the scripts."""
        forged = message(*(publication(one) for one in payloads), epoch=epoch, first=first)
        self.server.ask("PUBLISH", f"wsecho:0:c:{channel}", forged)

    def epoch(self, channel: str = "c") -> str:
        """The channel's."""
        return self.server.ask("HGET", f"wsecho:m:{channel}", "epoch").decode().split("\r\n")[1]


class WithHistoryTests(FollowCase):
    """Channels from which gaps can be closed."""

    async def test_gap_is_closed(self) -> None:
        """A number that was skipped is fetched, and nobody is told of a loss."""
        engine, heard = await self.followed()
        await self.publish(engine, "a")
        await self.until(lambda: bool(heard.payloads("c")))
        other, _ = await self.followed("elsewhere")
        await self.publish(other, "b", "c")
        await self.until(lambda: len(heard.payloads("c")) == 3)
        self.forge("c", 9, "future", epoch=self.epoch())
        await self.publish(other, "d")
        await self.until(lambda: len(heard.payloads("c")) >= 4)
        self.assertEqual(heard.payloads("c"), [b"a", b"b", b"c", b"d"])

    async def test_replayed_after_a_break(self) -> None:
        """What was said while the link was broken is told before it counts as up, once."""
        proxy = await self.proxy()
        engine, heard = await self.followed(url=proxy.url())
        other, _ = await self.followed("elsewhere")
        await self.publish(other, "a")
        await self.until(lambda: bool(heard.payloads("c")))
        proxy.cut()
        await self.until_away(engine)
        await self.publish(other, "b", "c")
        self.assertEqual(heard.payloads("c"), [b"a"])
        await self.until_up(engine)
        self.assertEqual(heard.payloads("c"), [b"a", b"b", b"c"])
        self.assertEqual((heard.losses, engine.counts["replayed"]), ([], 2))

    async def test_more_than_is_kept(self) -> None:
        """What is retained of it is told after the word that something is lost."""
        proxy = await self.proxy()
        kept = Retention(3)
        engine, heard = await self.followed(url=proxy.url(), retention=kept)
        other, _ = await self.followed("elsewhere", retention=kept)
        (last,) = await self.publish(other, "a")
        await self.until(lambda: bool(heard.payloads("c")))
        proxy.cut()
        await self.until_away(engine)
        await self.publish(other, *map(str, range(10)))
        await self.until_up(engine)
        self.assertEqual(heard.losses, [("c", last)])
        self.assertEqual(heard.payloads("c"), [b"a", b"7", b"8", b"9"])

    async def test_everything_gone(self) -> None:
        """Where nothing of it is left, the loss is told, and what comes next is taken."""
        proxy = await self.proxy()
        engine, heard = await self.followed(url=proxy.url())
        other, _ = await self.followed("elsewhere")
        proxy.cut()
        await self.until_away(engine)
        await self.publish(other, "a", "b")
        self.server.ask("DEL", "wsecho:s:c")
        await self.until_up(engine)
        self.assertEqual(len(heard.losses), 1)
        await self.publish(other, "c")
        await self.until(lambda: heard.payloads("c") == [b"c"])

    async def test_told_twice(self) -> None:
        """A message that comes again, whole or in part, is told once."""
        engine, heard = await self.followed()
        await self.publish(engine, "a", "b")
        await self.until(lambda: len(heard.payloads("c")) == 2)
        self.forge("c", 1, "a", "b", epoch=self.epoch())
        self.forge("c", 2, "b", "c", epoch=self.epoch())
        await self.until(lambda: len(heard.payloads("c")) == 3)
        self.assertEqual(heard.payloads("c"), [b"a", b"b", b"c"])

    async def test_busy_while_it_comes_back(self) -> None:
        """Publications without a pause, while links break again and again, all arrive, in order, once."""
        proxy = await self.proxy()
        engine, heard = await self.followed(url=proxy.url("heartbeat=500ms&wait=5s"))
        other, _ = await self.followed("elsewhere")
        for number in range(600):
            if number % 150 == 75:
                proxy.cut()
            await self.publish(other, str(number))
        await self.until(lambda: len(heard.payloads("c")) >= 600 and engine.state is EngineState.UP)
        self.assertEqual(heard.payloads("c"), [b"%d" % number for number in range(600)])
        self.assertEqual(heard.losses, [])

    async def test_slow_subscription(self) -> None:
        """What comes between subscribing and knowing the position is neither lost nor told twice."""
        proxy = await self.proxy()
        heard = Heard()
        engine = await self.engine(KEPT, heard, proxy.url("heartbeat=2s&wait=5s"))
        other, _ = await self.followed("elsewhere")
        proxy.seconds = 0.05
        subscribing = engine.subscribe("c")
        count = 0
        while not subscribing.called or count % 10:
            await self.publish(other, str(count))
            count += 1
        position = await subscribing
        assert position is not None
        proxy.seconds = 0
        await self.publish(other, "last")
        await self.until(lambda: b"last" in heard.payloads("c"))
        expected = [b"%d" % number for number in range(position.offset, count)]
        self.assertEqual(heard.payloads("c"), [*expected, b"last"])
        self.assertEqual(heard.losses, [])


class WithoutHistoryTests(FollowCase):
    """Channels from which nothing can be fetched."""

    async def test_idle_break(self) -> None:
        """A break in which nothing was said is no loss."""
        proxy = await self.proxy()
        engine, heard = await self.followed(url=proxy.url(), retention=NOTHING)
        await self.publish(engine, "a")
        await self.until(lambda: bool(heard.payloads("c")))
        for _ in range(2):
            proxy.cut()
            await self.until_away(engine)
            await self.until_up(engine)
        await self.publish(engine, "b")
        await self.until(lambda: len(heard.payloads("c")) == 2)
        self.assertEqual(heard.losses, [])

    async def test_loss(self) -> None:
        """A break in which something was said is, and it is told before the link counts as up."""
        proxy = await self.proxy()
        engine, heard = await self.followed(url=proxy.url(), retention=NOTHING)
        other, _ = await self.followed("elsewhere", retention=NOTHING)
        proxy.cut()
        await self.until_away(engine)
        await self.publish(other, "a")
        await self.until_up(engine)
        self.assertEqual(heard.losses, [("c", None)])
        await self.publish(other, "b")
        await self.until(lambda: heard.payloads("c") == [b"b"])
        self.assertEqual(len(heard.losses), 1)

    async def test_skipped_number(self) -> None:
        """A number that was skipped while the link lasts is a loss, and so is another epoch."""
        engine, heard = await self.followed(retention=NOTHING)
        await self.publish(engine, "a")
        await self.until(lambda: bool(heard.payloads("c")))
        self.forge("c", 3, "c", epoch=self.epoch())
        await self.until(lambda: len(heard.payloads("c")) == 2)
        self.assertEqual(heard.losses, [("c", None)])
        self.server.ask("FLUSHALL")
        await self.publish(engine, "d")
        await self.until(lambda: len(heard.payloads("c")) == 3)
        self.assertEqual(len(heard.losses), 2)

    async def test_positions_stay_inside(self) -> None:
        """Numbers without history are nobody else's business."""
        engine, heard = await self.followed(retention=NOTHING)
        self.assertEqual(await self.publish(engine, "a"), [None])
        await self.until(lambda: bool(heard.payloads("c")))
        self.assertIsNone(heard.entries["c"][0].position)


class SubscribingTests(FollowCase):
    """Beginning and ending."""

    async def test_unsubscribed(self) -> None:
        """After unsubscribing nothing is told, and Redis has no subscription left but the node's own."""
        engine, heard = await self.followed("c", "d")
        engine.unsubscribe("c")
        engine.unsubscribe("c")
        await self.publish(engine, "x")
        await self.publish(engine, "x", channel="d")
        await self.until(lambda: bool(heard.payloads("d")))
        self.assertEqual(heard.payloads("c"), [])
        self.assertEqual(self.server.ask("PUBSUB", "NUMSUB", "wsecho:0:c:c").split()[-1], b":0")

    async def test_unsubscribed_meanwhile(self) -> None:
        """Who unsubscribes before it is so is not subscribed, and may subscribe again at once."""
        engine, heard = await self.followed()
        first = engine.subscribe("d")
        engine.unsubscribe("d")
        second = engine.subscribe("d")
        await self.assertFailure(first, Exception)
        position = await second
        assert position is not None
        self.assertEqual(position.offset, 0)
        await self.publish(engine, "x", channel="d")
        await self.until(lambda: heard.payloads("d") == [b"x"])

    async def test_twice(self) -> None:
        """A channel that is followed is not followed twice."""
        engine, _ = await self.followed()
        self.assertRaises(ValueError, engine.subscribe, "c")

    async def test_listener_that_raises(self) -> None:
        """What a listener raises is logged and stops nothing."""
        engine, heard = await self.followed()

        def raise_once(channel: str, entry: object) -> None:
            del engine._listener.arrived
            raise ZeroDivisionError

        engine._listener.arrived = raise_once
        await self.publish(engine, "a", "b")
        await self.until(lambda: heard.payloads("c") == [b"b"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
