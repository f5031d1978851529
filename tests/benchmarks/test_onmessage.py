"""Tests of the program on wsecho's classes; what it serves is tested with the other servers."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.onmessage import EveryMessage, factory


class FactoryTests(SynchronousTestCase):
    """`factory`."""

    def test_every_message_passes_python(self) -> None:
        """Connections are of the class with the `onMessage`, which no service takes messages from."""
        self.assertIs(factory(reactor=Clock()).protocol, EveryMessage)
        self.assertIn("onMessage", vars(EveryMessage))
