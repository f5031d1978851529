"""The channels that a configuration asks for."""

from __future__ import annotations

import sys

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsecho.app.channels import build_broadcast
from wsecho.app.configuration import Configuration, ConfigurationError, read_configuration
from wsecho.hub.engine import Retention
from wsecho.policy.slow_consumers import SlowConsumer


class BuildBroadcastTests(SynchronousTestCase):
    """`build_broadcast`."""

    def configuration(self, *lines: str, **given: str) -> Configuration:
        """A configuration of these options and the lines of a file."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
        options = {name.replace("_", "-"): [value] for name, value in given.items()}
        return read_configuration({**options, "config": [path]})

    def test_options(self) -> None:
        """Each option, and each channel's own, comes to where it counts."""
        broadcast = build_broadcast(
            self.configuration(
                "[channel.c]",
                "slow-consumer = 'drop-oldest'",
                "include-sender = false",
                "history-size = 3",
                include_sender="true",
            ),
            Clock(),
        )
        self.assertTrue(broadcast.include_sender)
        self.assertEqual(broadcast.member("c").slow_consumer, SlowConsumer.DROP_OLDEST)
        engine = broadcast.relay.engine
        self.assertEqual((engine.name, engine.retention("c")), ("memory", Retention(3)))
        self.assertTrue(broadcast.is_direct("d"))
        self.assertFalse(broadcast.is_direct("c"))

    def test_names(self) -> None:
        """Two processes have two names."""
        nodes = {build_broadcast(self.configuration(), Clock()).node for _ in range(3)}
        self.assertEqual(len(nodes), 3)

    def test_engine_that_cannot_be(self) -> None:
        """An engine that cannot be made is an error of the configuration that names the option, without its
        password."""
        self.patch(sys, "modules", {**sys.modules, "wsecho.engines.redis": None})
        configuration = self.configuration(engine="redis://user:secret@host")
        error = self.assertRaises(ConfigurationError, build_broadcast, configuration, Clock())
        self.assertEqual(
            str(error),
            "--engine=redis://user:***@host: needs what is not installed (wsecho.engines.redis); "
            "accepted with: pip install 'wsecho[redis]'",
        )
