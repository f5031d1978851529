"""Tests for `wsecho.app.options`."""

from __future__ import annotations

import sys
from io import StringIO

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from wsecho.app.options import Options, help_for, version
from wsecho.policy.options import TABLE, option


class OptionsTests(SynchronousTestCase):
    """The command line."""

    def parse(self, *arguments: str) -> Options:
        """Parse arguments."""
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def refused(self, *arguments: str) -> str:
        """Assert that the arguments end the program with one line, and return it."""
        ended = self.assertRaises(SystemExit, self.parse, *arguments)
        self.assertIsInstance(ended.code, str)
        line = str(ended.code)
        self.assertTrue(line.isprintable() and line.startswith("wsecho: "), line)
        return line.removeprefix("wsecho: ")

    def printed(self, *arguments: str) -> str:
        """Assert that the arguments print something and end the program well; return what was printed."""
        out = StringIO()
        self.patch(sys, "stdout", out)
        self.assertEqual(self.assertRaises(SystemExit, self.parse, *arguments).code, 0)
        return out.getvalue()

    def test_nothing(self) -> None:
        """Without arguments, the configuration is the default one."""
        options = self.parse()
        self.assertEqual(options.given, {})
        self.assertEqual(options.configuration["port"], 9000)

    def test_every_option(self) -> None:
        """Each row of the table is an option: the flags without a value, the others with one."""
        options = Options()
        for row in TABLE:
            self.assertIn(row.name if row.placeholder == "" else f"{row.name}=", options.longOpt)

    def test_given(self) -> None:
        """What is given arrives in order, repeatable or not."""
        options = self.parse("--port=1", "--debug", "--subprotocol=b", "--subprotocol", "a")
        self.assertEqual(options.given, {"port": ["1"], "debug": ["true"], "subprotocol": ["b", "a"]})
        self.assertEqual(options.configuration.texts("subprotocol"), ("b", "a"))
        self.assertTrue(options.configuration.flag("debug"))

    def test_two_parsers_share_nothing(self) -> None:
        """What one parser was given, another was not."""
        self.parse("--port=1")
        self.assertEqual(self.parse().configuration["port"], 9000)

    def test_wrong_value(self) -> None:
        """A wrong value ends the program with the configuration's line and no help text."""
        self.assertEqual(self.refused("--port=70000"), "--port=70000: accepted is a port from 0 to 65535")

    def test_unknown_option(self) -> None:
        """An unknown option ends the program with one line, its characters escaped."""
        self.assertEqual(self.refused("--prot=1"), "option --prot not recognized; --help lists the options")
        self.assertIn("\\x1b", self.refused("--a\x1bb"))

    def test_value_missing_or_too_much(self) -> None:
        """An option without its value, or a flag with one, ends the program with one line."""
        self.assertIn("option --port requires argument", self.refused("--port"))
        self.assertIn("option --debug must not have an argument", self.refused("--debug=1"))

    def test_no_arguments(self) -> None:
        """What is no option ends the program with one line."""
        self.assertEqual(self.refused("9000"), "9000 is no option; --help lists the options")

    def test_version(self) -> None:
        """The version is wsecho's, not Twisted's."""
        self.assertEqual(self.printed("--version"), f"wsecho {version()}\n")

    def test_help(self) -> None:
        """The help text has a paragraph for every row of the table, in its order."""
        text = self.printed("--help")
        position = 0
        for row in TABLE:
            position = text.index(help_for(row), position)
        self.assertLess(max(map(len, text.splitlines()[1:])), 81)

    def test_help_as_a_subcommand(self) -> None:
        """Under twistd, the help begins with twistd's own way to call it."""

        class Twistd(usage.Options):
            synopsis = "Usage: twistd [options]"
            subCommands = [["wsecho", None, Options, "x"]]

        out = StringIO()
        self.patch(sys, "stdout", out)
        self.assertRaises(SystemExit, Twistd().parseOptions, ["wsecho", "--help"])
        self.assertTrue(
            out.getvalue().startswith("Usage: twistd [options] wsecho [options]\nOptions:\n    --port=N\n")
        )


class HelpTests(SynchronousTestCase):
    """The paragraph of one option."""

    def words(self, name: str) -> str:
        """The paragraph of an option, its lines joined."""
        return " ".join(help_for(option(name)).split())

    def test_quantity(self) -> None:
        """A quantity tells its default and what 0 means."""
        self.assertEqual(
            self.words("handshake-timeout"),
            "--handshake-timeout=DURATION From the accepted TCP connection to the open WebSocket, TLS "
            "included. Default: 10s. 0: no timeout.",
        )

    def test_zero_not_allowed(self) -> None:
        """Where 0 is not allowed, it says so."""
        self.assertTrue(self.words("close-timeout").endswith("Default: 5s. 0 is not allowed."))

    def test_repeatable(self) -> None:
        """A repeatable option says so."""
        self.assertIn("May be repeated. Default: none.", self.words("subprotocol"))

    def test_flag(self) -> None:
        """A flag stands without a placeholder."""
        self.assertEqual(
            self.words("debug"), "--debug Log every message, escaped and shortened. Default: off."
        )
