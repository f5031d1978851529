"""Tests for `benchmarks.scale`."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import math
import os
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import scale
from benchmarks.scale import Costs, Measured, Plan, Row, ScaleError, costs, main, measure, needs, page
from tests.engines.redis_server import REASON


def measured(nodes: int, receivers: int, node: float, redis: float, **others: Any) -> Measured:
    """A row whose node took that many microseconds for each of 1,000 messages, and its Redis likewise."""
    row = Row(f"{nodes} nodes", nodes, receivers, 100, **others)
    return Measured(row, 1000, node * nodes / 1000, redis / 1000, 60 << 20, (0.001, 0.002, 0.1))


ALL = (
    measured(1, 200, 600, 0, is_shared=False),
    measured(1, 200, 1000, 100),
    measured(3, 200, 1000, 140),
    measured(3, 200, 2000, 300, options=("--history-size=1",)),
    measured(3, 0, 200, 130),
)


class CostTests(SynchronousTestCase):
    """What follows from the rows."""

    def test_costs(self) -> None:
        """What a message costs is told apart from what a delivery does, and a further node from the first."""
        found = costs(ALL)
        for name, value in (("publication", 200), ("delivery", 4), ("redis", 100), ("redis_node", 20)):
            self.assertAlmostEqual(getattr(found, name), value, msg=name)

    def test_clock(self) -> None:
        """A further node never pays the Redis back, whatever the ticks of the clock say."""
        rows = (measured(1, 200, 1000, 100), measured(3, 200, 1000, 90), measured(3, 0, 200, 100))
        self.assertEqual(costs(rows).redis_node, 0)


class PlanTests(SynchronousTestCase):
    """A million connections."""

    COST = Costs(publication=200, delivery=4, redis=100, redis_node=10)

    def test_deliveries(self) -> None:
        """Where deliveries are what costs, there are nodes enough for each to be half busy."""
        nodes, redis = needs(Plan("", 1, 10), self.COST)
        self.assertTrue(80 <= nodes <= 90, nodes)
        self.assertLess(redis, 1)

    def test_connections(self) -> None:
        """A quiet million still needs processes to hold it."""
        self.assertEqual(needs(Plan("", 1, 0.01), self.COST)[0], 20)

    def test_spread(self) -> None:
        """Members that are kept together need fewer nodes and less of the Redis than members anywhere."""
        anywhere = needs(Plan("", 10_000, 1), self.COST)
        together = needs(Plan("", 10_000, 1, 1), self.COST)
        self.assertLess(together[0], anywhere[0])
        self.assertLess(together[1], anywhere[1])

    def test_never(self) -> None:
        """What no number of nodes can carry ends the search."""
        nodes, _ = needs(Plan("", 1, 10_000_000), self.COST)
        self.assertGreaterEqual(nodes, 100_000)


class PageTests(SynchronousTestCase):
    """The page."""

    def test_rows(self) -> None:
        """Each arrangement is a row, with what does not apply left out."""
        text = page(ALL, date=dt.date(2026, 11, 27))
        self.assertIn("| 1 nodes | 200 | 600 µs | 3.00 µs | - | 2.0 and 100.0 ms | 60 MiB |", text)
        self.assertIn("| 3 nodes | 0 | 200 µs | - | 130 µs |", text)
        self.assertIn("| one channel, a message each second | 20 | 1 |", text)


class MeasureTests(SynchronousTestCase):
    """For real, if shortly."""

    skip = REASON

    def test_row(self) -> None:
        """Everybody on two nodes gets every message, and what that cost is told."""
        found = measure(Row("two", 2, 3, 50), seconds=0.2)
        self.assertEqual((found.publications, len(found.latencies)), (10, 20))
        self.assertTrue(0 < found.latencies[0] < math.inf)
        self.assertGreater(found.resident, 1 << 20)

    def test_no_redis(self) -> None:
        """Without a redis-server there is one line and status 1."""
        said = io.StringIO()
        row = Row("one", 1, 1, 10)
        with (
            mock.patch.dict(os.environ, {"PATH": "/nowhere"}),
            mock.patch.object(scale, "ROWS", (row,)),
            contextlib.redirect_stderr(said),
        ):
            self.assertEqual(main([]), 1)
        self.assertEqual(
            said.getvalue(),
            "benchmarks.scale: one: there is no redis-server: apt-get install redis-server\n",
        )

    def test_wrong(self) -> None:
        """A receiver that gets less than was published is an error, not a figure."""
        with mock.patch.object(scale, "_PATIENCE_SECONDS", 0.1):
            listening = scale._Receivers([], [])
            listening._counts[0] = 1
            self.assertRaises(ScaleError, listening.read_all, 2)
            self.assertRaises(ScaleError, listening.read_all, 0)
            listening.close()
