"""Tests for `wsecho.policy.quantities`."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.quantities import (
    format_duration,
    format_size,
    parse_count,
    parse_duration,
    parse_size,
)


class SizeTests(SynchronousTestCase):
    """Sizes are read and written."""

    def test_units(self) -> None:
        """A size is plain bytes or a whole number of KiB, MiB or GiB."""
        for text, size in (
            ("0", 0),
            ("1", 1),
            ("65536", 65536),
            ("64KiB", 65536),
            ("1MiB", 1048576),
            ("2GiB", 2147483648),
        ):
            self.assertEqual(parse_size(text), size, text)

    def test_refused(self) -> None:
        """What is no such size is refused with a line that shows sizes that are."""
        wrong = ["", " 1", "1 ", "1 KiB", "1KB", "1kib", "1K", "-1", "+1", "1.5MiB", "0x10", "1_000", "KiB"]
        for text in [*wrong, "inf", "\u0661", "1\n", "1" * 16]:
            error = self.assertRaises(ValueError, parse_size, text)
            self.assertEqual(
                str(error), "accepted is a size in bytes, such as 65536, 64KiB, 1MiB or 1GiB", text
            )

    def test_largest_unit_that_divides(self) -> None:
        """A size is written without rounding, in the largest unit that leaves no rest."""
        for size, text in (
            (0, "0"),
            (1023, "1023"),
            (1024, "1KiB"),
            (1025, "1025"),
            (1536 * 1024, "1536KiB"),
            (1024**2, "1MiB"),
            (5 * 1024**3, "5GiB"),
        ):
            self.assertEqual(format_size(size), text)

    def test_negative_is_no_size(self) -> None:
        """A negative number cannot be written as a size."""
        self.assertRaises(ValueError, format_size, -1)

    # No deadline: a machine that does something else meanwhile is no fault of the code.
    @settings(deadline=None)
    @given(st.integers(min_value=0, max_value=10**15 - 1))
    def test_round_trip(self, size: int) -> None:
        """Every size that can be written is read back as the same number."""
        self.assertEqual(parse_size(format_size(size)), size)


class DurationTests(SynchronousTestCase):
    """Durations are read and written."""

    def test_units(self) -> None:
        """A duration is plain seconds or a number of ms, s or m, with or without a fraction."""
        for text, seconds in (
            ("0", 0.0),
            ("10", 10.0),
            ("0.5", 0.5),
            ("500ms", 0.5),
            ("10s", 10.0),
            ("2m", 120.0),
            ("0.03m", 1.8),
            ("1.1ms", 0.0011),
        ):
            self.assertEqual(parse_duration(text), seconds, text)
            self.assertIsInstance(parse_duration(text), float)

    def test_refused(self) -> None:
        """What is no such duration is refused with a line that shows durations that are."""
        wrong = ["", "s", "10 s", "10S", "1h", "-1", "+1", ".5", "5.", "1e3", "inf", "nan", "1,5"]
        for text in [*wrong, "\u0661s", "10s\n", "1" * 10]:
            error = self.assertRaises(ValueError, parse_duration, text)
            self.assertEqual(
                str(error), "accepted is a duration in seconds, such as 10, 0.5, 500ms, 10s or 2m", text
            )

    def test_unit_without_fraction(self) -> None:
        """A duration is written in the unit that needs no fraction, else in seconds."""
        for seconds, text in (
            (0.0, "0"),
            (0.25, "250ms"),
            (1.5, "1500ms"),
            (20.0, "20s"),
            (90.0, "90s"),
            (120.0, "2m"),
            (0.0005, "0.0005s"),
            (1e-07, "0.0000001s"),
        ):
            self.assertEqual(format_duration(seconds), text)

    def test_what_is_no_duration(self) -> None:
        """A negative or infinite number, and what is no number, cannot be written as a duration."""
        for seconds in (-1.0, math.inf, -math.inf, math.nan):
            self.assertRaises(ValueError, format_duration, seconds)

    # No deadline: a machine that does something else meanwhile is no fault of the code.
    @settings(deadline=None)
    @given(st.floats(min_value=1e-12, max_value=999999999, allow_nan=False))
    def test_round_trip(self, seconds: float) -> None:
        """Every duration that can be written is read back as the same number."""
        self.assertEqual(parse_duration(format_duration(seconds)), seconds)


class CountTests(SynchronousTestCase):
    """Counts are read."""

    def test_whole_numbers(self) -> None:
        """A count is a whole number in ASCII digits."""
        self.assertEqual(parse_count("0"), 0)
        self.assertEqual(parse_count("16384"), 16384)

    def test_refused(self) -> None:
        """Anything else is refused, also digits of another script and numbers without end."""
        for text in ("", "-1", "1.0", "1 ", "1e3", "\u0661", "9" * 5000):
            error = self.assertRaises(ValueError, parse_count, text)
            self.assertEqual(str(error), "accepted is a whole number")
