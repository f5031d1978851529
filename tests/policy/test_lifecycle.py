"""The life of a connection as a table."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.lifecycle import TRANSITIONS, Event, IllegalTransition, Phase, follow

#: The phases in the order of a life.
ORDER = list(Phase)


class TableTests(SynchronousTestCase):
    """`TRANSITIONS`."""

    def test_never_back(self) -> None:
        """No event leads back to an earlier phase."""
        for (before, event), after in TRANSITIONS.items():
            self.assertLessEqual(ORDER.index(before), ORDER.index(after), event)

    def test_every_phase_can_end(self) -> None:
        """In every phase the transport may end, and that leads to *gone*."""
        for phase in Phase:
            self.assertIs(TRANSITIONS[phase, Event.TRANSPORT_ENDED], Phase.GONE)

    def test_every_living_phase_can_be_aborted(self) -> None:
        """In every phase but *gone* the connection can be aborted, and the peer can end its half."""
        for phase in ORDER[:-1]:
            self.assertIs(TRANSITIONS[phase, Event.ABORTED], Phase.GONE)
            self.assertIs(TRANSITIONS[phase, Event.PEER_FINISHED], Phase.FLUSHING)

    def test_only_the_door_opens(self) -> None:
        """A connection opens only from *deciding*."""
        opening = [before for (before, event), after in TRANSITIONS.items() if after is Phase.OPEN]
        self.assertEqual(opening, [Phase.DECIDING])

    def test_failing_stops_reading(self) -> None:
        """A connection that was failed is not *closing*: no answer is read (RFC 6455 section 7.1.7)."""
        for phase in (Phase.OPEN, Phase.CLOSING):
            self.assertIs(TRANSITIONS[phase, Event.FAILED], Phase.FLUSHING)

    def test_cannot_be_changed(self) -> None:
        """The table is read-only."""
        with self.assertRaises(TypeError):
            TRANSITIONS[Phase.GONE, Event.OPENED] = Phase.OPEN  # type: ignore[index]


class FollowTests(SynchronousTestCase):
    """`follow`."""

    def test_allowed(self) -> None:
        """An event of the table gives its phase."""
        self.assertIs(follow(Phase.OPEN, Event.CLOSE_SENT), Phase.CLOSING)

    def test_not_allowed(self) -> None:
        """Any other raises, naming event and phase."""
        error = self.assertRaises(IllegalTransition, follow, Phase.GONE, Event.OPENED)
        self.assertIn("'opened'", str(error))
        self.assertIn("gone", str(error))
