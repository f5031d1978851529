"""Tests of the drawings."""

import xml.etree.ElementTree as ET

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.charts import Bar, Panel, draw, short

SVG = "{http://www.w3.org/2000/svg}"
BARS = (Bar("fast & small", 3000, "ours"), Bar("slow", 1500), Bar("limit", 6000, "limit"))


class DrawTests(SynchronousTestCase):
    """`draw`."""

    def setUp(self) -> None:
        """Draw three panels."""
        panels = [Panel(f"title {place}", "messages/s", BARS[: place + 1]) for place in range(3)]
        self.root = ET.fromstring(draw("A title", panels))

    def test_bars(self) -> None:
        """Each bar is there, as long as its share of the longest in its panel, with its name and figure."""
        bars = [rect for rect in self.root.iter(f"{SVG}rect") if rect.get("class") != "ground"]
        widths = [float(rect.attrib["width"]) for rect in bars]
        self.assertEqual([rect.get("class") for rect in bars[-3:]], ["ours", "bar", "limit"])
        self.assertEqual(len(bars), 1 + 2 + 3)
        self.assertAlmostEqual(widths[-3] / widths[-1], 0.5, places=2)
        self.assertAlmostEqual(widths[-2] / widths[-1], 0.25, places=2)
        texts = [text.text for text in self.root.iter(f"{SVG}text")]
        self.assertIn("fast & small", texts)
        self.assertIn("1.50k", texts)

    def test_inside(self) -> None:
        """Nothing reaches beyond the drawing, and panels do not overlap."""
        width, height = (float(part) for part in self.root.attrib["viewBox"].split()[2:])
        for rect in self.root.iter(f"{SVG}rect"):
            right = float(rect.get("x", 0)) + float(rect.attrib["width"])
            bottom = float(rect.get("y", 0)) + float(rect.attrib["height"])
            self.assertTrue(right <= width and bottom <= height)
        places = [(rect.get("x"), rect.get("y")) for rect in self.root.iter(f"{SVG}rect")]
        self.assertEqual(len(places), len(set(places)))

    def test_light_and_dark(self) -> None:
        """It has a ground of its own and other colours for those who prefer dark."""
        style = self.root.findtext(f"{SVG}style") or ""
        light, _, dark = style.partition("@media(prefers-color-scheme:dark)")
        for colour in ("--ground", "--text", "--quiet", "--bar", "--ours", "--limit"):
            self.assertIn(f"{colour}:#", light)
            self.assertIn(f"{colour}:#", dark)

    def test_title(self) -> None:
        """Who cannot see it is told what it is."""
        self.assertEqual(self.root.findtext(f"{SVG}title"), "A title")


class ShortTests(SynchronousTestCase):
    """`short`."""

    def test_digits(self) -> None:
        """Three digits, and k or M."""
        self.assertEqual(
            [short(value) for value in (0.5, 12.34, 999, 1000, 45_600, 1_234_567)],
            ["0.50", "12.3", "999", "1.00k", "45.6k", "1.23M"],
        )
