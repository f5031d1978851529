"""Tests for `wsecho.policy.options`."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.options import CHANNEL_OPTIONS, NOT_ALLOWED, OPTIONS, TABLE, Kind, option

DEFAULTS = {
    "port": 9000,
    "host": None,
    "listen": (),
    "listen-tls": (),
    "certificate": (),
    "private-key": (),
    "mode": "echo",
    "include-sender": False,
    "allow-origin": (),
    "deny-missing-origin": False,
    "allow-host": (),
    "trust-proxy": (),
    "subprotocol": (),
    "server-name": "",
    "compression": "off",
    "debug": False,
    "max-message-size": 1048576,
    "max-frame-size": None,
    "max-head-size": 65536,
    "max-head-line": 8192,
    "max-head-lines": 100,
    "max-fragments": 16384,
    "max-connections": 10000,
    "max-connections-per-address": 0,
    "max-message-rate": 0,
    "send-queue": 1048576,
    "slow-consumer": "close",
    "handshake-timeout": 10.0,
    "close-timeout": 5.0,
    "stall-timeout": 10.0,
    "ping-interval": 20.0,
    "ping-timeout": 20.0,
    "drain-timeout": 10.0,
    "client-ca": None,
    "allow-client": (),
    "workers": 1,
    "engine": "memory:",
    "history-size": 0,
    "history-age": 0.0,
    "admin": None,
    "admin-token-file": None,
    "test-endpoints": False,
    "log-format": "text",
    "config": None,
}


class TableTests(SynchronousTestCase):
    """The table is complete and consistent."""

    def test_defaults(self) -> None:
        """These are all options, in this order, with these defaults: none changes unnoticed."""
        self.assertEqual(list(DEFAULTS.items()), [(row.name, row.default) for row in TABLE])

    def test_zero(self) -> None:
        """Every quantity says what 0 means, or that it is not allowed; nothing else does."""
        quantities = (Kind.SIZE, Kind.DURATION, Kind.COUNT, Kind.PORT, Kind.WORKERS)
        for row in TABLE:
            self.assertEqual(row.zero is not None, row.kind in quantities, row.name)
        self.assertEqual(
            {row.name for row in TABLE if row.zero == NOT_ALLOWED},
            {
                "max-head-size",
                "max-head-line",
                "max-head-lines",
                "send-queue",
                "close-timeout",
                "workers",
            },
        )

    def test_defaults_are_accepted(self) -> None:
        """A default that is set is a value that the option itself takes."""
        for row in TABLE:
            if row.default not in (None, (), "") and row.kind is not Kind.FLAG:
                self.assertEqual(row.parse(row.format(row.default)), row.default, row.name)

    def test_repeatable(self) -> None:
        """The default of a repeatable option is an empty list, and that of no other."""
        for row in TABLE:
            self.assertEqual(row.default == (), row.repeatable, row.name)

    def test_choices(self) -> None:
        """A choice has choices, its default is the first one, and nothing else has any."""
        for row in TABLE:
            self.assertEqual(bool(row.choices), row.kind is Kind.CHOICE, row.name)
            if row.choices:
                self.assertEqual(row.default, row.choices[0], row.name)

    def test_names(self) -> None:
        """A name is lower case words joined by hyphens."""
        for row in TABLE:
            self.assertIsNotNone(re.fullmatch(r"[a-z]+(-[a-z]+)*", row.name), row.name)

    def test_words(self) -> None:
        """Every row has a meaning and a reason of whole sentences, and Qt's default."""
        for row in TABLE:
            for text in (row.meaning, row.reason):
                self.assertTrue(text[0].isupper() or text.startswith("permessage"), row.name)
                self.assertIn(text[-1], ".", row.name)
            self.assertTrue(row.qt, row.name)

    def test_no_numbers_of_plans(self) -> None:
        """No text of the table speaks of issues: a user has none."""
        for row in TABLE:
            for text in (row.meaning, row.reason, row.qt, row.zero or "", row.default_text):
                self.assertIsNone(re.search(r"issue|#[0-9]", text), row.name)

    def test_lookup(self) -> None:
        """A row is found by its name, and an unknown name is an error."""
        self.assertIs(option("mode"), OPTIONS["mode"])
        self.assertEqual(option("mode").name, "mode")
        self.assertRaises(KeyError, option, "modes")

    def test_channel_options(self) -> None:
        """What a channel may set for itself are options, too."""
        self.assertEqual(CHANNEL_OPTIONS, ("slow-consumer", "include-sender", "history-size", "history-age"))
        self.assertEqual([name for name in CHANNEL_OPTIONS if name not in OPTIONS], [])
