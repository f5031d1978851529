"""Tests for `wsecho.policy.settings`."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, asdict, fields, replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.options import OPTIONS
from wsecho.policy.settings import Settings, option_name


class SettingsTests(SynchronousTestCase):
    """The limits and timers of a server."""

    def refused(self, **values: Any) -> str:
        """Assert that the values are refused and return the line."""
        return str(self.assertRaises(ValueError, Settings, **values))

    def test_defaults(self) -> None:
        """These are all settings with their defaults."""
        self.assertEqual(
            asdict(Settings()),
            {
                "max_message_size": 1048576,
                "max_frame_size": 1048576,
                "max_head_size": 65536,
                "max_head_line": 8192,
                "max_head_lines": 100,
                "max_connections": 10000,
                "max_connections_per_address": 0,
                "max_fragments": 16384,
                "max_message_rate": 0,
                "send_queue": 1048576,
                "handshake_timeout": 10.0,
                "close_timeout": 5.0,
                "stall_timeout": 10.0,
                "ping_interval": 20.0,
                "ping_timeout": 20.0,
                "compression": "off",
            },
        )

    def test_defaults_are_the_tables(self) -> None:
        """Each setting is an option, whose default for the library it has."""
        for field in fields(Settings):
            row = OPTIONS[option_name(field.name)]
            if field.name != "max_frame_size":
                self.assertEqual(getattr(Settings(), field.name), row.library, field.name)

    def test_frame_size_follows_message_size(self) -> None:
        """Without a limit of its own, a frame may be as large as a message, also when that has no limit."""
        self.assertEqual(Settings(max_message_size=5).max_frame_size, 5)
        self.assertEqual(Settings(max_message_size=0).max_frame_size, 0)
        self.assertEqual(Settings(max_message_size=5, max_frame_size=3).max_frame_size, 3)
        self.assertEqual(Settings(max_message_size=5, max_frame_size=0).max_frame_size, 0)

    def test_frozen(self) -> None:
        """Settings do not change; `dataclasses.replace` makes others, which are judged again."""
        settings = Settings()
        self.assertRaises(FrozenInstanceError, setattr, settings, "close_timeout", 1.0)
        self.assertEqual(replace(settings, close_timeout=1.0).close_timeout, 1.0)
        self.assertRaises(ValueError, replace, settings, close_timeout=-1.0)

    def test_sizes(self) -> None:
        """A size or a number of lines is a whole number, not negative."""
        for name in (
            "max_message_size",
            "max_frame_size",
            "max_head_size",
            "max_head_line",
            "max_head_lines",
            "max_connections",
            "max_connections_per_address",
        ):
            for value in (-2, 1.0, True, "1", None, math.inf):
                self.assertIn(f"{name} = ", self.refused(**{name: value}))

    def test_times(self) -> None:
        """A time is a finite number, not negative; whole seconds will do."""
        for name in ("handshake_timeout", "close_timeout", "ping_interval", "ping_timeout"):
            for value in (-1, -0.5, math.inf, math.nan, True, "1", None):
                self.assertIn(f"{name} = ", self.refused(**{name: value}))
            given: dict[str, Any] = {name: 3}
            self.assertEqual(getattr(Settings(**given), name), 3)

    def test_zero(self) -> None:
        """0 is refused where it would mean nothing sensible, and accepted where it means no limit."""
        for name in ("max_head_size", "max_head_line", "max_head_lines", "close_timeout"):
            self.assertTrue(self.refused(**{name: 0}).startswith(f"{name} = 0: accepted is"))
        for name in (
            "max_message_size",
            "max_frame_size",
            "max_connections",
            "max_connections_per_address",
            "handshake_timeout",
            "ping_interval",
            "ping_timeout",
        ):
            given: dict[str, Any] = {name: 0}
            self.assertEqual(getattr(Settings(**given), name), 0)

    def test_compression(self) -> None:
        """Compression is off or deflate."""
        self.assertEqual(Settings(compression="deflate").compression, "deflate")
        for value in ("on", "", "Deflate", None, True):
            self.assertEqual(
                self.refused(compression=value), f"compression = {value!r}: accepted is off or deflate"
            )

    def test_compression_needs_limits(self) -> None:
        """Compression without a limit of size is refused, for a few bytes can become any number."""
        line = self.refused(compression="deflate", max_message_size=0)
        self.assertIn("max_message_size = 0: compression needs a limit", line)
        line = self.refused(compression="deflate", max_frame_size=0)
        self.assertIn("max_frame_size = 0: compression needs a limit", line)

    def test_pings(self) -> None:
        """There are pings unless their interval or the time for their pong is 0."""
        self.assertTrue(Settings().sends_pings)
        self.assertFalse(Settings(ping_interval=0).sends_pings)
        self.assertFalse(Settings(ping_timeout=0).sends_pings)
