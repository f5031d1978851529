"""Every scenario, against plain Autobahn where it is known to fall, and against wsecho."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.threats.catalogue import SCENARIOS
from tests.threats.scenario import Scenario
from tests.threats.subjects import SUBJECTS, WSECHO, Subject


class CatalogueTests(SynchronousTestCase):
    """The list of scenarios."""

    def test_names(self) -> None:
        """Each scenario has a name of its own, and falls name subjects other than wsecho."""
        self.assertEqual(len({one.name for one in SCENARIOS}), len(SCENARIOS))
        others = {subject.name for subject in SUBJECTS} - {WSECHO.name}
        self.assertEqual(set().union(*(one.falls for one in SCENARIOS)), others)

    def test_what_is_tuned_falls_untouched(self) -> None:
        """What falls with every option set falls with none set: otherwise the options would do harm."""
        for one in SCENARIOS:
            if "autobahn_tuned" in one.falls:
                self.assertIn("autobahn", one.falls, one.name)


class AutobahnTests(TestCase):
    """Plain Autobahn falls, which shows that the scenario can tell."""


class WsechoTests(TestCase):
    """wsecho withstands."""


def _falls(scenario: Scenario, subject: Subject) -> Callable[[Any], Any]:
    async def test(self: TestCase) -> None:
        outcome = await scenario.play(subject, self.mktemp())
        # What it left unhandled is its own affair, not this test's.
        gc.collect()
        self.flushLoggedErrors()
        self.assertFalse(outcome.withstood, outcome.happened)

    test.__doc__ = f"{subject.title}, falls: {scenario.threat}."
    return test


def _withstands(scenario: Scenario) -> Callable[[Any], Any]:
    async def test(self: TestCase) -> None:
        outcome = await scenario.play(WSECHO, self.mktemp())
        self.assertTrue(outcome.withstood, outcome.happened)

    test.__doc__ = f"wsecho withstands: {scenario.threat}."
    return test


for _scenario in SCENARIOS:
    setattr(WsechoTests, f"test_{_scenario.name}", _withstands(_scenario))
    for _subject in SUBJECTS:
        if _subject.name in _scenario.falls:
            setattr(AutobahnTests, f"test_{_scenario.name}_{_subject.name}", _falls(_scenario, _subject))
