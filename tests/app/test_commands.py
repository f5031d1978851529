"""Tests for `wsecho.app.commands`."""

from __future__ import annotations

import os
import sys
import tomllib
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from wsecho.app.commands import COMMANDS, main, show
from wsecho.app.configuration import read_configuration
from wsecho.app.options import help_for, version
from wsecho.policy.options import TABLE
from wsecho.tls.contexts import server_creator

from .servers import CLOSING_SOON, echoes, open_websocket, start


class CommandTestCase(SynchronousTestCase):
    """A command that ends by itself."""

    def run_command(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command and return its status, output and errors."""
        out, err = StringIO(), StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        return main(arguments), out.getvalue(), err.getvalue()

    def succeeds(self, *arguments: str) -> str:
        """Assert that a command succeeds without complaint, and return what it prints."""
        status, out, err = self.run_command(*arguments)
        self.assertEqual((status, err), (0, ""))
        return out

    def fails(self, *arguments: str) -> str:
        """Assert that a command fails with one line, and return it."""
        status, out, err = self.run_command(*arguments)
        self.assertEqual((status, out), (1, ""))
        self.assertTrue(err.startswith("wsecho: ") and err.count("\n") == 1, err)
        return err.removeprefix("wsecho: ").removesuffix("\n")


class MainTests(CommandTestCase):
    """Which command is run."""

    def test_help(self) -> None:
        """The help lists every command and every option."""
        text = self.succeeds("--help")
        for name in COMMANDS:
            self.assertIn(f"\n    {name} ", text)
        for row in TABLE:
            self.assertIn(help_for(row).rstrip(), text)

    def test_version(self) -> None:
        """The version is told."""
        self.assertEqual(self.succeeds("--version"), f"wsecho {version()}\n")

    def test_unknown_command(self) -> None:
        """An unknown command is one line that lists those there are."""
        self.assertEqual(
            self.fails("sreve\n"),
            '"sreve\\x0a" is no command; accepted are serve, check-config, show-config, make-certificate, '
            "connect",
        )

    def test_connect(self) -> None:
        """What cannot be asked for is one line."""
        self.assertIn("Usage: wsecho connect", self.succeeds("connect", "--help"))
        self.assertEqual(
            self.fails("connect", "http://localhost/"),
            "connect: url: accepted is ws://host[:port][/path][?query], or the same with wss",
        )
        self.assertEqual(
            self.fails("connect", "--header=x", "ws://localhost/"),
            "connect: --header=x: accepted is 'Name: value'",
        )

    def test_reader_that_leaves(self) -> None:
        """A reader of the output who has seen enough is no error to complain about."""
        read, write = os.pipe()
        os.close(read)
        err = StringIO()
        with open(write, "w", encoding="utf-8") as out:
            self.patch(sys, "stdout", out)
            self.patch(sys, "stderr", err)
            self.assertEqual(main(["--help"]), 1)
        self.assertEqual(err.getvalue(), "")


class CheckConfigTests(CommandTestCase):
    """``wsecho check-config``."""

    def test_valid(self) -> None:
        """A valid configuration is told so."""
        self.assertEqual(self.succeeds("check-config", "--port=1"), "The configuration is valid.\n")

    def test_sockets_are_not_needed(self) -> None:
        """Sockets of systemd are not needed for it."""
        self.succeeds("check-config", "--listen=systemd:domain=INET:index=0")

    def test_wrong(self) -> None:
        """What is wrong is one line and status 1."""
        self.assertEqual(
            self.fails("check-config", "--port=x"), "--port=x: accepted is a port from 0 to 65535"
        )

    def test_certificate(self) -> None:
        """A certificate is looked into."""
        line = self.fails(
            "check-config", "--listen-tls=tcp:1", "--certificate=no.pem", "--private-key=no.pem"
        )
        self.assertTrue(line.startswith("--certificate=no.pem: "), line)


class ShowConfigTests(CommandTestCase):
    """``wsecho show-config``."""

    def test_every_option(self) -> None:
        """Every option has one line, in the order of the table, with its source."""
        lines = self.succeeds("show-config").splitlines()[1:]
        for line, row in zip(lines, TABLE, strict=True):
            self.assertTrue(line.removeprefix("# ").startswith((f"{row.name} = ", f"{row.name}: ")), line)
            self.assertIn("  # default", line)

    def test_toml(self) -> None:
        """What is printed is TOML with every value that applies."""
        shown = tomllib.loads(self.succeeds("show-config", "--host=::1", "--subprotocol=a", "--debug"))
        self.assertEqual(
            shown,
            {
                "port": 9000,
                "host": "::1",
                "mode": "echo",
                "include-sender": False,
                "deny-missing-origin": False,
                "subprotocol": ["a"],
                "server-name": "",
                "compression": "off",
                "debug": True,
                "max-message-size": "1MiB",
                "max-frame-size": "1MiB",
                "max-head-size": "64KiB",
                "max-head-line": "8KiB",
                "max-head-lines": 100,
                "max-fragments": 16384,
                "max-connections": 10000,
                "max-connections-per-address": 0,
                "max-message-rate": 0,
                "send-queue": "1MiB",
                "slow-consumer": "close",
                "handshake-timeout": "10s",
                "close-timeout": "5s",
                "stall-timeout": "10s",
                "ping-interval": "20s",
                "ping-timeout": "20s",
                "drain-timeout": "10s",
                "workers": 1,
                "engine": "memory:",
                "history-size": 0,
                "history-age": "0",
                "test-endpoints": False,
                "log-format": "text",
            },
        )

    def test_sources(self) -> None:
        """Each value tells where it came from."""
        Path("it.toml").write_text("port = 1\nmode = 'broadcast'\n[channel.x]\ninclude-sender = true\n")
        lines = self.succeeds("show-config", "--config=it.toml", "--port=2").splitlines()
        self.assertIn("port = 2  # command line", lines)
        self.assertIn('mode = "broadcast"  # it.toml', lines)
        self.assertIn("debug = false  # default", lines)
        self.assertIn('# config = "it.toml"  # command line', lines)
        self.assertEqual(lines[-3:], ["", '[channel."x"]', "include-sender = true  # it.toml"])

    def test_round_trip(self) -> None:
        """Given back by --config, what was printed means the same."""
        Path("in.toml").write_text('[channel."a.b"]\ninclude-sender = true\n')
        for arguments in (
            (),
            ("--port=0", "--ping-interval=500ms", "--max-message-size=2000", "--compression=deflate"),
            ("--listen=tcp:0", "--listen=unix:a\\\\b", "--allow-origin=*", "--include-sender"),
            ("--listen=unix:caf\u00e9 \U0001f600", "--config=in.toml", '--server-name=a "b" \\'),
        ):
            Path("out.toml").write_text(self.succeeds("show-config", *arguments), encoding="utf-8")
            again = read_configuration({"config": ["out.toml"]})
            self.assertEqual(self.succeeds("check-config", "--config=out.toml")[:3], "The")
            options = [argument.removeprefix("--").partition("=") for argument in arguments]
            command_line: dict[str, list[str]] = {}
            for name, _, value in options:
                command_line.setdefault(name, []).append(value or "true")
            first = read_configuration(command_line)
            for row in TABLE:
                if row.name not in ("config", "port", "max-frame-size"):
                    self.assertEqual(again[row.name], first[row.name], row.name)
            self.assertEqual((again.port, again.settings()), (first.port, first.settings()))
            self.assertEqual(again.channel_flags("include-sender"), first.channel_flags("include-sender"))

    def test_password_of_the_engine(self) -> None:
        """The password of an engine is not shown; its line is a comment, since it would not mean the same."""
        shown = show(read_configuration({"engine": ["redis://ann:secret@h:1/0"]}))
        self.assertNotIn("secret", shown)
        self.assertIn('\n# engine = "redis://ann:***@h:1/0"  # ', shown)
        self.assertIn(
            '\nengine = "redis://h:1/0"  # ', show(read_configuration({"engine": ["redis://h:1/0"]}))
        )

    def test_port_that_does_not_apply(self) -> None:
        """A default port that does not apply stands in a comment that says so."""
        self.assertIn(
            "# port = 9000  # default (does not apply with --listen)",
            show(read_configuration({"listen": ["tcp:1"]})),
        )

    def test_characters(self) -> None:
        """Characters that TOML does not take are escaped."""
        shown = show(read_configuration({"listen": ['unix:a"b\\\\c']}))
        self.assertEqual(tomllib.loads(shown)["listen"], ['unix:a"b\\\\c'])

    def test_wrong(self) -> None:
        """What is wrong is one line and status 1, and nothing is shown."""
        self.assertTrue(self.fails("show-config", "--workers=0").startswith("--workers=0: "))


class MakeCertificateTests(CommandTestCase):
    """``wsecho make-certificate``."""

    def test_makes(self) -> None:
        """It writes an authority, a certificate and its key, and tells how to serve with them."""
        text = self.succeeds("make-certificate", "--directory=made", "a.example", "192.0.2.1")
        self.assertEqual(sorted(os.listdir("made")), ["ca.pem", "certificate.pem", "private-key.pem"])
        server_creator("made/certificate.pem", "made/private-key.pem")
        command = text.splitlines()[-1].removeprefix("Serve with: wsecho ")
        self.succeeds("check-config", *command.split(" "))

    def test_not_overwritten(self) -> None:
        """Files that exist are replaced only when that is asked for."""
        self.succeeds("make-certificate", "--directory=twice")
        before = Path("twice/ca.pem").read_bytes()
        self.assertIn("--force", self.fails("make-certificate", "--directory=twice"))
        self.assertEqual(Path("twice/ca.pem").read_bytes(), before)
        self.succeeds("make-certificate", "--directory=twice", "--force")
        self.assertNotEqual(Path("twice/ca.pem").read_bytes(), before)

    def test_wrong(self) -> None:
        """A wrong name, number of days or option is one line and status 1."""
        for argument, words in (
            ("a b", "is no name for a certificate"),
            ("--days=0", "accepted are 1 to 825"),
            ("--days=many", "--days=many: accepted is a whole number"),
            ("--foo", "option --foo not recognized"),
        ):
            self.assertIn(words, self.fails("make-certificate", "--directory=wrong", argument))
        self.assertFalse(os.path.exists("wrong"))

    def test_help(self) -> None:
        """Its help tells its own options."""
        text = self.succeeds("make-certificate", "--help")
        self.assertTrue(text.startswith("Usage: wsecho make-certificate [options] [NAME...]"), text)
        for option in ("--directory=", "--days=", "--force"):
            self.assertIn(option, text)

    def test_version(self) -> None:
        """Its version is wsecho's."""
        self.assertEqual(self.succeeds("make-certificate", "--version"), f"wsecho {version()}\n")


class ServeTests(TestCase):
    """``wsecho``: serving in the foreground."""

    timeout = 60

    async def test_serves(self) -> None:
        """With options only, or with the command before them, it serves, writes no pid file, and ends with
        status 0."""
        for arguments in (("--listen=tcp:0:interface=127.0.0.1",), ("serve", "--port=0", "--host=127.0.0.1")):
            place = self.mktemp()
            child = start(self, [sys.executable, "-m", "wsecho", *arguments, CLOSING_SOON], directory=place)
            (url,) = await child.listening
            await echoes(self, await open_websocket(self, url))
            child.kill("INT")
            await child.ended
            self.assertEqual((child.status, child.signal, child.err), (0, None, b""))
            self.assertEqual(os.listdir(place), [])

    async def test_wrong(self) -> None:
        """What is wrong is one line and status 1."""
        child = await start(self, [sys.executable, "-m", "wsecho", "--port=x"]).ended
        self.assertEqual(
            (child.status, child.out, child.err),
            (1, b"", b"wsecho: --port=x: accepted is a port from 0 to 65535\n"),
        )

    async def test_cannot_listen(self) -> None:
        """What cannot be listened on is one line in the log and status 1."""
        child = await start(self, [sys.executable, "-m", "wsecho", "--listen=unix:no/x"]).ended
        self.assertEqual((child.status, child.err), (1, b""))
        self.assertIn(b"--listen=unix:no/x: cannot listen: No such file or directory\n", child.out)
        self.assertNotIn(b"Traceback", child.out)

    async def test_help(self) -> None:
        """The help of the command is wsecho's, not twistd's."""
        child = await start(self, [sys.executable, "-m", "wsecho", "serve", "--help"]).ended
        self.assertEqual((child.status, child.err), (0, b""))
        self.assertIn(b"    --port=N\n", child.out)
        self.assertNotIn(b"twistd", child.out)
