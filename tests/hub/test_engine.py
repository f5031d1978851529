"""The values of the engine's interface."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

from twisted.trial.unittest import SynchronousTestCase

from wsecho.hub.engine import EngineAway, EngineError, Position, Publication, PublicationTooLarge, Retention


class ValueTests(SynchronousTestCase):
    """`Position`, `Publication` and `Retention`."""

    def test_frozen(self) -> None:
        """A position does not change: it may be kept, compared and be a key."""
        position = Position("e", 1)
        self.assertRaises(FrozenInstanceError, setattr, position, "offset", 2)
        self.assertEqual({position: 1}[Position("e", 1)], 1)

    def test_defaults(self) -> None:
        """A publication without more is the server's own, and a channel without more keeps nothing."""
        self.assertEqual(Publication(b"x", True), Publication(b"x", True, "", ""))
        self.assertEqual(Retention(), Retention(0, 0.0))

    def test_errors(self) -> None:
        """Whoever handles an engine's errors handles each of them."""
        self.assertTrue(issubclass(EngineAway, EngineError) and issubclass(PublicationTooLarge, EngineError))
