"""Tests for `wsecho.web.operations`: the table, and how requests find their way by it."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from wsecho.hub.channels import is_channel_name
from wsecho.web.api import Api
from wsecho.web.operations import CHANNEL_PATTERN, OPERATIONS, find, is_channel


class TableTests(SynchronousTestCase):
    """The rows."""

    def test_unique(self) -> None:
        """Each name, and each method of a path, is there once, and has its handler."""
        self.assertEqual(len({one.name for one in OPERATIONS}), len(OPERATIONS))
        self.assertEqual(len({(one.method, one.path) for one in OPERATIONS}), len(OPERATIONS))
        for operation in OPERATIONS:
            self.assertTrue(callable(getattr(Api, operation.name)))

    def test_bounded(self) -> None:
        """Each parameter has an end."""
        for operation in OPERATIONS:
            for parameter in operation.parameters:
                self.assertTrue(parameter.is_number or 0 < parameter.longest <= 256, parameter.name)

    def test_channels(self) -> None:
        """A channel's name is what it is to the hub, or empty."""
        for name in ("a", "A-Z.~_9", "a" * 128, "a" * 129, "a b", "é", "a\n", "."):
            self.assertEqual(is_channel(name), is_channel_name(name), name)
            self.assertEqual(re.fullmatch(CHANNEL_PATTERN, name) is not None, is_channel_name(name), name)
        self.assertTrue(is_channel(""))
        self.assertFalse(is_channel(1))


class FindTests(SynchronousTestCase):
    """From a path to its operations."""

    def test_find(self) -> None:
        """A path has its methods, and the texts of its parameters, decoded."""
        found = find("/api/connections/%31%32")
        self.assertEqual(
            {method: texts for method, (_, texts) in found.items()},
            {"GET": {"id": "12"}, "DELETE": {"id": "12"}},
        )
        for path in (
            "",
            "/",
            "*",
            "/api",
            "/api/connections/",
            "/api/connections/1/",
            "/API/server",
            "/api%2Fserver",
        ):
            found = find(path)
            self.assertEqual([one.path for one, _ in found.values() if "{" not in one.path], [], path)
        self.assertRaises(ValueError, find, "/api/connections/%FF")
