"""Tests of with and without the compiled part."""

from twisted.trial.unittest import SynchronousTestCase

from conformance.modes import Combination, ModeError, mode_environment, told_mode

LOG = "2026-11-27T09:00:00+0000 [wsecho#info] wsecho 1.2.3, {}\n2026-11-27T09:00:00+0000 [-] more\n"
FULL, PLAIN_ONLY, PURE = "with its compiled part", "with its compiled part, but not for TLS", "pure Python"


class CombinationTests(SynchronousTestCase):
    """`Combination` names what is judged."""

    def test_names(self) -> None:
        """The mode stands before the transport; what has no mode is named by its transport alone."""
        self.assertEqual(str(Combination("wss", "pure")), "pure wss")
        self.assertEqual(str(Combination("wss", None)), "wss")
        self.assertEqual(Combination("wss", "pure").slug, "pure-wss")


class EnvironmentTests(SynchronousTestCase):
    """`mode_environment` makes a process what it shall be."""

    def test_pure(self) -> None:
        """A pure process is told to be, and keeps the rest of the environment."""
        self.assertEqual(mode_environment("pure", {"A": "b"}), {"A": "b", "WSECHO_PURE": "1"})

    def test_compiled(self) -> None:
        """A compiled one is not told otherwise by what the judge was told."""
        self.assertEqual(mode_environment("compiled", {"A": "b", "WSECHO_PURE": "1"}), {"A": "b"})

    def test_no_mode(self) -> None:
        """What is not wsecho gets the judge's environment."""
        self.assertEqual(mode_environment(None, {"WSECHO_PURE": "1"}), {"WSECHO_PURE": "1"})


class ToldTests(SynchronousTestCase):
    """`told_mode` takes the process at its word."""

    def test_what_was_asked_for(self) -> None:
        """A log that says what was asked for is believed, and its words returned; ws needs no TLS."""
        for mode, transport, words in (
            ("compiled", "ws", FULL),
            ("compiled", "wss", FULL),
            ("compiled", "ws", PLAIN_ONLY),
            ("pure", "ws", PURE),
            ("pure", "wss", PURE),
        ):
            self.assertEqual(told_mode(Combination(transport, mode), LOG.format(words)), words)

    def test_something_else(self) -> None:
        """A log that says something else is an error that quotes it."""
        for mode, transport, words in (
            ("compiled", "ws", PURE),
            ("compiled", "wss", PURE),
            ("compiled", "wss", PLAIN_ONLY),
            ("pure", "ws", FULL),
            ("pure", "wss", PLAIN_ONLY),
        ):
            error = self.assertRaises(ModeError, told_mode, Combination(transport, mode), LOG.format(words))
            self.assertIn(f"{mode} {transport}: what ran was wsecho, {words}", str(error))
            self.assertEqual("C compiler" in str(error), mode == "compiled")

    def test_nothing(self) -> None:
        """A log that does not say it, or says something unknown, is an error for every mode."""
        for log in ("", LOG.format("odd"), LOG.format(f"{PURE}!"), LOG.format(f"{FULL}, but")):
            for mode in ("compiled", "pure"):
                self.assertRaises(ModeError, told_mode, Combination("ws", mode), log)
