"""The choices of ``slow-consumer``."""

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.options import option
from wsecho.policy.slow_consumers import SlowConsumer


class SlowConsumerTests(SynchronousTestCase):
    """`SlowConsumer`."""

    def test_choices_of_the_option(self) -> None:
        """They are the choices of the option, under the same names, and its default is one."""
        row = option("slow-consumer")
        self.assertEqual(row.choices, ("close", "drop-oldest", "drop-newest"))
        self.assertEqual([SlowConsumer(choice) for choice in row.choices], list(SlowConsumer))
        self.assertIs(SlowConsumer(str(row.default)), SlowConsumer.CLOSE)
