"""Tests for `wsecho.policy.facts`."""

from dataclasses import FrozenInstanceError

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.facts import ServerState, Traffic


class FactsTests(SynchronousTestCase):
    """Values."""

    def test_frozen(self) -> None:
        """What was told does not change afterwards."""
        traffic = Traffic(1)
        with self.assertRaises(FrozenInstanceError):
            traffic.received_messages = 2  # type: ignore[misc]

    def test_states(self) -> None:
        """A state is the word that health tells."""
        self.assertEqual(
            [f"{state}" for state in ServerState],
            ["starting", "ready", "paused", "closed", "draining", "engine-away"],
        )
