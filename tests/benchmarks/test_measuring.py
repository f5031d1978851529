"""Tests of single measurements."""

from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import measuring
from benchmarks.building import Tools
from benchmarks.contestants import CONTESTANTS, Certificate, Contestant
from benchmarks.measuring import Measurement, Times, foreign_share, measure
from benchmarks.scenarios import SCENARIOS, Scenario
from conformance.server import beside_python
from tests.benchmarks.tools import tools

NOWHERE = Certificate(Path("certificate"), Path("key"))
SHORT = Times(time=0.1, warmup=0.05, retries=0)


class MeasureTests(SynchronousTestCase):
    """`measure`, with the limit as the server."""

    def test_rate(self) -> None:
        """A rate comes with what it cost."""
        found = measure(CONTESTANTS["limit"], SCENARIOS["e1"], tools(), NOWHERE, SHORT)
        self.assertEqual(found.error, "")
        self.assertGreater(found.value, 0)
        assert found.per_cpu_second is not None
        self.assertGreater(found.per_cpu_second, found.value)

    def test_open_connections(self) -> None:
        """Idle connections are held open meanwhile, and memory is counted for one of them."""
        load = Scenario("g", "", "echo", 2, held=20)
        self.assertEqual(measure(CONTESTANTS["limit"], load, tools(), NOWHERE, SHORT).error, "")
        idle = Scenario("m", "", "hold", 500, held=100)
        found = measure(CONTESTANTS["limit"], idle, tools(), NOWHERE, SHORT)
        self.assertEqual((found.error, found.per_cpu_second), ("", None))
        self.assertTrue(0 < found.value < 10, found)

    def test_server_that_does_not_start(self) -> None:
        """That is the measurement's error, and no end of the run."""
        broken = Contestant("limit", "", lambda *_: ["false"], {})
        found = measure(broken, SCENARIOS["e1"], tools(), NOWHERE, SHORT)
        self.assertIn("the server ended with status 1", found.error)

    def test_server_that_refuses(self) -> None:
        """Nor is one that refuses the load."""
        command = [beside_python("twistd"), "-n", "--pidfile=", "wsecho", "--port=0", "--host=127.0.0.1"]
        refusing = Contestant("", "", lambda *_: [*command, "--allow-host=example.com"], {})
        found = measure(refusing, SCENARIOS["e1"], tools(), NOWHERE, SHORT)
        self.assertRegex(found.error, r"^connection 0: refused: HTTP/1\.1 4\d\d ")


class DisturbedTests(SynchronousTestCase):
    """Others compute, too."""

    def measured(self, *foreign: float, retries: int = 2) -> Measurement:
        """What is made of measurements with these shares of others, one after the other."""
        results = [
            Measurement("limit", "e1", 0, value=place, foreign=one) for place, one in enumerate(foreign)
        ]
        never = Tools(Path(), Path(), False)
        with patch.object(measuring, "_measure_once", side_effect=results):
            times = Times(foreign=0.1, retries=retries)
            return measure(CONTESTANTS["limit"], SCENARIOS["e1"], never, NOWHERE, times)

    def test_quiet(self) -> None:
        """An undisturbed measurement is made once."""
        self.assertEqual(self.measured(0.05).attempts, 1)

    def test_repeated(self) -> None:
        """A disturbed one is repeated until one is not."""
        found = self.measured(0.5, 0.02)
        self.assertEqual((found.foreign, found.value, found.attempts), (0.02, 1, 2))

    def test_least_disturbed(self) -> None:
        """When all are, the least disturbed counts, and the number of attempts is told."""
        found = self.measured(0.5, 0.3, 0.4)
        self.assertEqual((found.foreign, found.attempts), (0.3, 3))

    def test_share(self) -> None:
        """Of a core, what is not the server's or the load's own; never less than nothing."""
        report = {"server_cpu": 0.7, "server_core": 0.9, "client_cpu": 0.5, "client_core": 0.4}
        one, two = frozenset({0}), frozenset({1})
        with patch.object(measuring, "SERVER_CORES", one), patch.object(measuring, "CLIENT_CORES", two):
            self.assertAlmostEqual(foreign_share(report), 0.2)
            self.assertEqual(foreign_share(report | {"server_core": 0.6}), 0.0)
        with patch.object(measuring, "SERVER_CORES", one), patch.object(measuring, "CLIENT_CORES", one):
            self.assertEqual(foreign_share(report | {"server_core": 1.0}), 0.0)
