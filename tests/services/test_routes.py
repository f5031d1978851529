"""Paths and their services."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsecho.services.broadcast import BroadcastService, ChannelMember
from wsecho.services.echo import EchoService
from wsecho.services.routes import Routes, broadcast_channel

#: Near misses of every path that is served.
NOT_FOUND = (
    "",
    "//",
    "/echo/",
    "/Echo",
    "/echo/x",
    "/echo?",
    "/broadcast/",
    "/broadcast/a/",
    "/broadcast/a/b",
    "/broadcast/a b",
    "/broadcast/" + "x" * 129,
    "/broadcast/ä",
    "/broadcast/a\n",
    "/broadcasts",
    "/broadcasta",
    "/./echo",
    "/x/../echo",
    "echo",
    "/index.html",
)


class RoutesTests(SynchronousTestCase):
    """`Routes`."""

    def served(self, mode: str, path: str) -> Any:
        """ "echo", the channel's name after "broadcast ", or None."""
        service: Any = Routes(mode, EchoService(), BroadcastService())(path)
        if isinstance(service, ChannelMember):
            return f"broadcast {service.channel}"
        return "echo" if isinstance(service, EchoService) else service

    def test_always_there(self) -> None:
        """``/echo``, ``/broadcast`` and ``/broadcast/CHANNEL`` are served in both modes."""
        for mode in ("echo", "broadcast"):
            self.assertEqual(self.served(mode, "/echo"), "echo")
            self.assertEqual(self.served(mode, "/broadcast"), "broadcast ")
            self.assertEqual(self.served(mode, "/broadcast/a.b-c_d~e"), "broadcast a.b-c_d~e")

    def test_root(self) -> None:
        """``/`` is what the mode says; in broadcast it is the same channel as ``/broadcast``."""
        self.assertEqual(self.served("echo", "/"), "echo")
        self.assertEqual(self.served("broadcast", "/"), "broadcast ")

    def test_not_found(self) -> None:
        """Nothing that only looks like a path of ours is served."""
        for path in NOT_FOUND:
            self.assertIs(self.served("broadcast", path), None, path)

    def test_programmable(self) -> None:
        """``/test`` is a service for each connection where there is one, and nothing else is."""
        broadcast, made = BroadcastService(), [EchoService(), EchoService()]
        routes = Routes("echo", EchoService(), broadcast, iter(made).__next__)
        self.assertEqual([routes("/test"), routes("/test")], made)
        for path in ("/test/", "/tests", "/Test"):
            self.assertIs(routes(path), None)
        self.assertIs(Routes("echo", EchoService(), broadcast)("/test"), None)

    def test_wrong_mode(self) -> None:
        """Another mode is refused by name."""
        error = self.assertRaises(ValueError, Routes, "chat", EchoService(), BroadcastService())
        self.assertIn("'chat'", str(error))


class BroadcastChannelTests(SynchronousTestCase):
    """`broadcast_channel`."""

    def test_channels(self) -> None:
        """A broadcast path names its channel, other paths none."""
        self.assertEqual(broadcast_channel("/broadcast"), "")
        self.assertEqual(broadcast_channel("/broadcast/x"), "x")
        self.assertIs(broadcast_channel("/"), None)
        self.assertIs(broadcast_channel("/broadcast/"), None)
