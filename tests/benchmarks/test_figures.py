"""Tests of medians and ratios."""

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.figures import Figures, Ratio, growth, median, ratio
from tests.benchmarks.samples import SAMPLES, measurement

FIGURES = Figures(SAMPLES)


class MedianTests(SynchronousTestCase):
    """`median`."""

    def test_of_the_rounds(self) -> None:
        """The middle of the rounds, of either kind; a round that failed is none."""
        self.assertEqual(median(FIGURES.of("e2", "wsecho")), 180)
        self.assertEqual(median(FIGURES.of("e2", "wsecho"), "per_cpu_second"), 200)
        self.assertEqual(median(FIGURES.of("e2", "aiohttp")), 70)

    def test_of_nothing(self) -> None:
        """No measurement has no median."""
        self.assertIsNone(median(FIGURES.of("e2", "qt")))
        self.assertIsNone(median(FIGURES.of("m1", "wsecho"), "per_cpu_second"))


class RatioTests(SynchronousTestCase):
    """`ratio` and `growth`."""

    def test_within_rounds(self) -> None:
        """Each round is compared with itself: the ratio is not that of the medians."""
        found = ratio(FIGURES.of("e2", "wsecho"), FIGURES.of("e2", "limit"))
        self.assertEqual(found, Ratio(0.75, 0.5, 0.9))

    def test_rounds_without_a_pair(self) -> None:
        """A round in which one of them failed does not count."""
        found = ratio(FIGURES.of("e2", "wsecho"), FIGURES.of("e2", "aiohttp"))
        assert found is not None
        self.assertEqual((found.least, found.most), (2.0, 300 / 90))
        self.assertIsNone(ratio(FIGURES.of("e2", "wsecho"), FIGURES.of("e2", "qt")))

    def test_growth(self) -> None:
        """What many open connections leave of the rate."""
        self.assertEqual(growth(FIGURES, "wsecho"), Ratio(0.9, 0.9, 0.9))
        self.assertIsNone(growth(FIGURES, "limit"))


class FiguresTests(SynchronousTestCase):
    """`Figures`."""

    def test_ranked(self) -> None:
        """The largest first, and nobody who has no figure."""
        self.assertEqual(FIGURES.ranked("e2"), [("limit", 200), ("wsecho", 180), ("aiohttp", 70)])

    def test_errors(self) -> None:
        """What failed is kept, to be told."""
        self.assertEqual([one.contestant for one in FIGURES.errors()], ["aiohttp"])

    def test_foreign(self) -> None:
        """The middle and the worst of what others took; nothing of nothing."""
        self.assertEqual(Figures([measurement("wsecho", "e1", 1, 1)]).foreign, (0.02, 0.02))
        self.assertEqual(Figures([]).foreign, (0.0, 0.0))
