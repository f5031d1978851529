"""Tests for `wsecho.wire.options`."""

from __future__ import annotations

from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.settings import Settings
from wsecho.wire.options import common_options


class CommonOptionsTests(SynchronousTestCase):
    """`common_options`."""

    def test_complete(self) -> None:
        """Every option that Autobahn's two sides have in common but the opening handshake's time is set."""
        common = {*WebSocketServerProtocol.CONFIG_ATTRS_COMMON} - {"openHandshakeTimeout"}
        self.assertEqual({*common_options(Settings())}, common)

    def test_from_settings(self) -> None:
        """Limits and times are those of the settings; without a time for the pong there are no pings."""
        options = common_options(Settings(max_message_size=2, max_frame_size=1, close_timeout=3.0))
        self.assertEqual((options["maxMessagePayloadSize"], options["maxFramePayloadSize"]), (2, 1))
        self.assertEqual(options["closeHandshakeTimeout"], 3.0)
        self.assertEqual((options["autoPingInterval"], options["autoPingTimeout"]), (20.0, 20.0))
        self.assertEqual(common_options(Settings(ping_timeout=0.0))["autoPingInterval"], 0)
