"""Tests of the table of loads."""

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.scenarios import DEFAULT, GROUPS, SCENARIOS, select


class SelectTests(SynchronousTestCase):
    """`select`."""

    def test_names_and_groups(self) -> None:
        """A group stands for its scenarios; the order is the table's, and none comes twice."""
        self.assertEqual([one.name for one in select(["b1", "e1", "broadcast"])], ["e1", "b1", "b2"])

    def test_unknown(self) -> None:
        """An unknown name is an error that tells the known ones."""
        error = self.assertRaises(ValueError, select, ["e1", "x9"])
        self.assertIn("there is no scenario 'x9'; there are echo, ", str(error))

    def test_groups_cover_the_table(self) -> None:
        """Each scenario is in one group, so that the default run leaves none out."""
        grouped = [name for names in GROUPS.values() for name in names]
        self.assertEqual(sorted(grouped), sorted(SCENARIOS))
        self.assertEqual({one.name for one in select(DEFAULT)}, set(SCENARIOS))


class ScenarioTests(SynchronousTestCase):
    """What a scenario says of itself."""

    def test_growth_is_at_equal_load(self) -> None:
        """g1 and g2 differ in nothing but what is open, which is 1,000 and 10,000 together with the load."""
        small, large = SCENARIOS["g1"], SCENARIOS["g2"]
        self.assertEqual([one.held + one.connections for one in (small, large)], [1_000, 10_000])
        self.assertEqual((small.window, small.size, small.mode), (large.window, large.size, large.mode))

    def test_tls_counterparts(self) -> None:
        """t2 is e2 over TLS, and so on: the loads are the same."""
        for plain, secure in (("e2", "t2"), ("e3", "t3"), ("e4", "t4"), ("e5", "t5"), ("b1", "tb1")):
            ours, theirs = SCENARIOS[plain], SCENARIOS[secure]
            self.assertEqual(
                (ours.mode, ours.connections, ours.window, ours.size, False, True),
                (theirs.mode, theirs.connections, theirs.window, theirs.size, ours.tls, theirs.tls),
            )

    def test_paths(self) -> None:
        """Broadcasts have a path of their own."""
        self.assertEqual((SCENARIOS["b1"].path, SCENARIOS["e1"].path), ("/broadcast", "/"))
