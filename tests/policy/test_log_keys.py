"""Tests for `wsecho.policy.log_keys`."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.log_keys import EVENTS, EVERY_LINE, LOG_KEYS, OTHER_LINES, WORKER_LINE, keys_of


class LogKeysTests(SynchronousTestCase):
    """The table is complete and consistent."""

    def test_every_key_is_used(self) -> None:
        """Each key stands in some line, and each key of a line in the table."""
        used = {
            *EVERY_LINE,
            WORKER_LINE,
            "event",
            *OTHER_LINES,
            *(key for row in EVENTS.values() for key in row.keys),
        }
        self.assertEqual(used, set(LOG_KEYS))

    def test_order(self) -> None:
        """A line has each key once, those of every line first."""
        for name in EVENTS:
            keys = keys_of(name)
            self.assertEqual(len(set(keys)), len(keys))
            self.assertEqual(keys[:4], (*EVERY_LINE, "event"))
        self.assertRaises(KeyError, keys_of, "unheard-of")

    def test_names(self) -> None:
        """Keys are lower case words joined by underscores, events such words joined by hyphens."""
        for key in LOG_KEYS:
            self.assertIsNotNone(re.fullmatch("[a-z]+(_[a-z]+)*", key))
        for event in EVENTS:
            self.assertIsNotNone(re.fullmatch("[a-z]+(-[a-z]+)*", event))

    def test_words(self) -> None:
        """Each key and each event has its meaning, and a type in JSON's words."""
        meanings = [key.meaning for key in LOG_KEYS.values()] + [row.meaning for row in EVENTS.values()]
        self.assertEqual([meaning for meaning in meanings if not meaning.endswith(".")], [])
        self.assertEqual(
            [LOG_KEYS[name].shown_type for name in ("reason", "code", "seconds")],
            ["string", "integer or null", "number"],
        )
