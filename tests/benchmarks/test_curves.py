"""Curves as SVG."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.curves import Panel, curves


class CurveTests(SynchronousTestCase):
    """A drawing."""

    def test_places(self) -> None:
        """The curve begins at the left, ends at the right, and higher values stand higher."""
        root = ET.fromstring(curves("label", [Panel("Memory", [(0, 0), (5, 100), (10, 50)])]))
        (line,) = root.iter("polyline")
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        (x0, y0), (x1, y1), (x2, y2) = points
        self.assertTrue(x0 < x1 < x2)
        self.assertAlmostEqual(x1 - x0, x2 - x1, delta=0.2)
        self.assertAlmostEqual(y0 - y1, 2 * (y0 - y2), delta=0.2)
        self.assertTrue(0 < y1 < y0)

    def test_scale(self) -> None:
        """The axis ends at a round number that no value is above; a curve of zeros has one as well."""
        for highest, shown in ((0, "1"), (7, "10"), (41, "50"), (120, "200"), (240, "250")):
            root = ET.fromstring(curves("label", [Panel("Memory", [(0, highest), (1, 0)])]))
            self.assertIn(shown, [text.text for text in root.iter("text")], highest)

    def test_stands_in_a_page(self) -> None:
        """It has no colour of its own, no blank line that would end the HTML in Markdown, and text for who
        does not see it."""
        drawing = curves("Memory & more", [Panel("a < b", [(0, 1)]), Panel("other", [(3, 1)])])
        self.assertNotIn("\n\n", drawing)
        self.assertNotIn("#", drawing)
        self.assertEqual(ET.fromstring(drawing).attrib["aria-label"], "Memory & more")
