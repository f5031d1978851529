"""How a soak is judged, and the server's file for it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.scenes import POLICIES, SCENES, configuration
from benchmarks.soak import (
    BUCKET_SECONDS,
    MAY_RISE,
    WARM_UP,
    Sample,
    Soak,
    complaints,
    floor,
    page,
    rise,
    soak,
    soaked_wsecho,
)
from wsecho.app.configuration import read_configuration

MIB = 1024 * 1024


def samples(resident: Callable[[float], float], seconds: int = 100) -> list[Sample]:
    """A sample each second."""
    return [Sample(at, int(resident(at)), 20) for at in range(seconds + 1)]


def done(**changes: Any) -> Soak:
    """A soak with which nothing is wrong, but for the changes."""
    good = Soak(samples(lambda at: 50 * MIB), 11, 11, Counter(echoes=5, deliveries=5), [], [])
    return dataclasses.replace(good, **changes)


class FloorTests(SynchronousTestCase):
    """The floor of the memory and its rise."""

    def test_buckets(self) -> None:
        """Each bucket after the warm-up has its least."""
        found = floor(samples(lambda at: 1000 - at))
        begin = 100 * WARM_UP
        self.assertEqual(found[0], (begin + BUCKET_SECONDS / 2, 1000 - begin - BUCKET_SECONDS + 1))
        self.assertEqual(len(found), int(100 * (1 - WARM_UP) / BUCKET_SECONDS))

    def test_rise(self) -> None:
        """The rise is that of a straight line; what comes and goes is none."""
        self.assertAlmostEqual(rise([(0, 100), (10, 110), (20, 120)]), 20)
        self.assertAlmostEqual(rise([(0, 100), (10, 150), (20, 100)]), 0)
        self.assertEqual(rise([(0, 100)]), 0)

    def test_spikes(self) -> None:
        """A server that takes and gives back has a flat floor."""
        self.assertEqual(rise(floor(samples(lambda at: 50 * MIB + (at % 3) * 10 * MIB))), 0)


class JudgementTests(SynchronousTestCase):
    """What is wrong with a soak."""

    def test_nothing(self) -> None:
        """Nothing, when memory is flat after the warm-up and all descriptors are back."""
        self.assertEqual(complaints(done()), [])
        warming = samples(lambda at: min(at, 100 * WARM_UP) * MIB)
        self.assertEqual(complaints(done(samples=warming)), [])

    def test_leak(self) -> None:
        """Memory that goes on rising is a leak."""
        each = 2 * MAY_RISE / 100 / (1 - WARM_UP)
        (line,) = complaints(done(samples=samples(lambda at: 50 * MIB + at * each)))
        self.assertIn("memory rose", line)

    def test_descriptors(self) -> None:
        """A descriptor that is not back is a leak."""
        self.assertEqual(complaints(done(after=12)), ["12 descriptors after the load, 11 before"])

    def test_wrong(self) -> None:
        """Whatever a scene found wrong is, and an exception in the log."""
        self.assertEqual(complaints(done(wrong=["a"], faults=["b"])), ["a", "b"])

    def test_nothing_done(self) -> None:
        """A load that did nothing shows nothing."""
        self.assertEqual(len(complaints(done(counts=Counter()))), 1)


class ShortSoakTests(SynchronousTestCase):
    """A soak of a few seconds: too short for memory to say anything."""

    def test_short(self) -> None:
        """Every scene gets what it must get, and every descriptor comes back."""
        with soaked_wsecho() as running:
            result = soak(running, 5)
        flat = samples(lambda at: 50 * MIB)
        self.assertEqual(complaints(dataclasses.replace(result, samples=flat)), [])
        self.assertGreater(len(result.samples), 5)


class PageTests(SynchronousTestCase):
    """The part of docs/topics/soak.md that is measured."""

    def test_page(self) -> None:
        """The page tells when and on what, draws both curves, and counts what was done."""
        text = page(done(counts=Counter(echoes=1234567)), date=dt.date(2026, 11, 27))
        self.assertIn("100 seconds on 2026-11-27: ", text)
        self.assertEqual(text.count("<polyline"), 2)
        self.assertIn("| echoes | 1,234,567 |", text)
        self.assertIn("changed by +0.0 MiB", text)


class SceneTests(SynchronousTestCase):
    """The load."""

    def test_each_scene_says_what_it_does(self) -> None:
        """Each scene says in a sentence what happens in it."""
        self.assertEqual([scene for scene in SCENES if not scene.__doc__], [])

    def test_configuration(self) -> None:
        """The server's file has channels under each policy, and wsecho reads it."""
        path = Path(self.mktemp())
        path.write_text(configuration(), encoding="utf-8")
        for policy in POLICIES:
            self.assertIn(f'slow-consumer = "{policy}"', path.read_text(encoding="utf-8"))
        read_configuration({"config": [str(path)]})
