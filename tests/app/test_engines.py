"""Which engine a URL names."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsecho.app.engines import MODULES, check_engine, make_engine
from wsecho.hub.engine import Retention
from wsecho.hub.memory import MemoryEngine


class EngineTests(SynchronousTestCase):
    """`check_engine` and `make_engine`."""

    def made(self, url: str) -> Any:
        """The engine of a URL."""
        return make_engine(url, Clock(), node="n", retention=lambda channel: Retention(3), max_payload=7)

    def test_memory(self) -> None:
        """``memory:`` is the memory engine, with the retention that was asked for."""
        engine = self.made("memory:")
        self.assertIsInstance(engine, MemoryEngine)
        self.assertEqual(engine.retention("c"), Retention(3))

    def test_unknown(self) -> None:
        """Another scheme is refused in one line that says what is accepted."""
        for url in ("memory", "memory://x", "redis:", "redis", "http://host", "nats://host", "Redis://host"):
            for judge in (check_engine, self.made):
                error = self.assertRaises(ValueError, judge, url)
                self.assertEqual(str(error), "accepted is memory: or redis:// or rediss:// with a host", url)

    def test_known(self) -> None:
        """A scheme that is known is accepted before anything is imported."""
        before = set(sys.modules)
        for scheme in MODULES:
            check_engine(f"{scheme}://user:secret@host:1/0")
        self.assertEqual(set(sys.modules), before)

    def test_made_by_its_module(self) -> None:
        """The module of a scheme makes the engine, and is told everything."""
        module: Any = ModuleType("wsecho.engines.redis")
        module.engine_from_url = lambda url, **given: (url, sorted(given))
        self.patch(sys, "modules", {**sys.modules, "wsecho.engines.redis": module})
        self.assertEqual(
            self.made("redis://host"), ("redis://host", ["max_payload", "node", "reactor", "retention"])
        )

    def test_extra_is_missing(self) -> None:
        """Where what an engine needs is not installed, the line says what is, and how to get it."""
        self.patch(sys, "modules", {**sys.modules, "wsecho.engines.redis": None})
        error = self.assertRaises(ValueError, self.made, "redis://host")
        self.assertEqual(
            str(error),
            "needs what is not installed (wsecho.engines.redis); accepted with: pip install 'wsecho[redis]'",
        )
