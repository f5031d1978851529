"""How a connection starts."""

from __future__ import annotations

from functools import partial
from typing import Any

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.harness import Program, WireTestCase
from wsecho.wire.start import Lazy, Start, with_options


class LazyTests(SynchronousTestCase):
    """Attributes that are made when they are asked for."""

    class Thing:
        made = 0

        def _make(self) -> list[int]:
            self.made += 1
            return [self.made]

        wanted: Any = Lazy(_make)

    def test_made_once(self) -> None:
        """It is made when it is first asked for, and then stays the same."""
        thing = self.Thing()
        self.assertEqual(thing.made, 0)
        first = thing.wanted
        self.assertEqual(first, [1])
        self.assertIs(thing.wanted, first)

    def test_set(self) -> None:
        """What was set is never made."""
        thing = self.Thing()
        thing.wanted = None
        self.assertIsNone(thing.wanted)
        self.assertEqual(thing.made, 0)

    def test_of_the_class(self) -> None:
        """The class has the attribute as it was declared."""
        self.assertIsInstance(self.Thing.wanted, Lazy)


class StartTests(SynchronousTestCase):
    """What a connection has before anything happened."""

    def autobahns(self, factory: Any, protocol: Any) -> Any:
        """A connection of Autobahn's that has just been made."""
        protocol.factory = factory
        protocol.startHandshake = lambda: None
        protocol.makeConnection(StringTransport())
        self.addCleanup(protocol.openHandshakeTimeoutCall.cancel)
        return protocol

    def test_as_autobahn_starts_it(self) -> None:
        """Every attribute that Autobahn gives to a connection, of either side, is there and has its value."""
        clock: Any = Clock()
        for factory, protocol in (
            (WebSocketServerFactory(reactor=clock), WebSocketServerProtocol()),
            (WebSocketClientFactory(reactor=clock), WebSocketClientProtocol()),
        ):
            started: Any = Start()
            theirs = self.autobahns(factory, protocol)
            own = {"factory", "transport", "connected", "peer", "startHandshake", "_transport_details"}
            known = set(vars(theirs)) - own - set(protocol.CONFIG_ATTRS)
            self.assertGreater(len(known), 30)
            for name in sorted(known - {"openHandshakeTimeoutCall", "_valid_events"}):
                expected, found = getattr(theirs, name), getattr(started, name)
                if isinstance(expected, Deferred):
                    self.assertNoResult(found)
                elif isinstance(expected, int | bytes | dict | None):
                    self.assertEqual(found, expected, name)
                else:
                    self.assertIs(type(found), type(expected), name)
            self.assertEqual([*started._valid_events], theirs._valid_events)
            self.assertIsNone(started.openHandshakeTimeoutCall)

    def test_nothing_is_made_unasked(self) -> None:
        """A connection that starts has no attribute of its own."""
        self.assertEqual(vars(Start()), {})

    def test_deferreds_asked_for_late(self) -> None:
        """is_open and is_closed that are asked for afterwards have fired."""
        start = Start()
        start._tell_open()
        self.assertIsNone(self.successResultOf(start.is_open))
        self.assertIs(start.is_open, start.is_open)
        start._tell_closed()
        self.assertIs(self.successResultOf(start.is_closed), start)

    def test_deferreds_asked_for_early(self) -> None:
        """is_open and is_closed fire when it happens."""
        start = Start()
        opened, closed = start.is_open, start.is_closed
        self.assertNoResult(opened)
        self.assertNoResult(closed)
        start._tell_open()
        start._tell_closed()
        self.assertIsNone(self.successResultOf(opened))
        self.assertIs(self.successResultOf(closed), start)


class OptionsTests(WireTestCase):
    """Options as attributes of a class."""

    def test_same_to_look_at(self) -> None:
        """The class has the name of the one that it is made of, and is a subclass of it."""
        made = with_options(Program, (), None)
        self.assertTrue(issubclass(made, Program))
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            self.assertEqual(getattr(made, name), getattr(Program, name))

    def test_functions(self) -> None:
        """An option that is a function does not become a method."""

        class Options:
            accept = staticmethod(lambda offers: offers)

        self.assertEqual(with_options(Program, ["accept"], Options)().accept([1]), [1])

    def test_own_options(self) -> None:
        """What the protocol's class sets itself stays."""

        class Quick(Program):
            autoPingInterval = 3

        peer = self.peer(self.factory(Quick, ping_interval=30))
        self.assertEqual(peer.protocol.autoPingInterval, 3)

    def test_one_connection(self) -> None:
        """An option can be set for one connection."""
        factory = self.factory(max_message_size=10)
        first, second = self.peer(factory), self.peer(factory)
        first.protocol.maxMessagePayloadSize = 5
        self.assertEqual(second.protocol.maxMessagePayloadSize, 10)
        self.assertEqual(self.peer(factory).protocol.maxMessagePayloadSize, 10)

    def test_other_protocols(self) -> None:
        """What is no class, and a class that cannot be subclassed just so, make connections with the options,
        too."""

        class Named(Program):
            def __init_subclass__(cls, *, name: str) -> None:
                raise AssertionError(name)

        for protocol in (partial(Program), Named):
            factory = self.factory(protocol, max_message_size=10)
            peer = self.peer(factory).open()
            self.assertEqual(peer.protocol.maxMessagePayloadSize, 10)
            self.assertIsInstance(peer.protocol, Program)
