"""Tests for `wsecho.app.configuration`."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from wsecho.app.configuration import (
    COMMAND_LINE,
    DEFAULT,
    Configuration,
    ConfigurationError,
    Setting,
    read_configuration,
)
from wsecho.hub.engine import Retention
from wsecho.policy.clients import PeerCertificate
from wsecho.policy.options import TABLE
from wsecho.policy.origins import OriginRequest
from wsecho.policy.quantities import ACCEPTED_DURATIONS, ACCEPTED_SIZES
from wsecho.policy.settings import Settings


class ConfigurationTestCase(SynchronousTestCase):
    """A command line, and a file in the current directory."""

    def read(self, *arguments: str) -> Configuration:
        """Read arguments such as ``port=1``; a flag is written ``debug=true``."""
        given: dict[str, list[str]] = {}
        for argument in arguments:
            name, _, value = argument.partition("=")
            given.setdefault(name, []).append(value)
        return read_configuration(given)

    def file(self, *lines: str) -> str:
        """Write a file of these lines and return the argument that names it."""
        path = Path(self.mktemp())
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return f"config={path}"

    def refused(self, *arguments: str) -> str:
        """Assert that the arguments are refused and return the line."""
        line = str(self.assertRaises(ConfigurationError, self.read, *arguments))
        self.assertTrue(line.isprintable(), line)
        return line

    def refused_file(self, *lines: str) -> str:
        """Assert that a file is refused and return the line, with the file's name written FILE."""
        argument = self.file(*lines)
        return self.refused(argument).replace(argument.removeprefix("config="), "FILE")


class SourceTests(ConfigurationTestCase):
    """Where values come from."""

    def test_defaults(self) -> None:
        """With nothing given, every value is the table's and its source says so."""
        configuration = self.read()
        self.assertEqual(
            dict(configuration.values), {row.name: Setting(row.default, DEFAULT) for row in TABLE}
        )
        self.assertEqual(dict(configuration.channels), {})

    def test_command_line(self) -> None:
        """A value of the command line says that it is from there, even if it is the default's."""
        configuration = self.read("port=9000", "debug=true")
        self.assertEqual(configuration.values["port"], Setting(9000, COMMAND_LINE))
        self.assertEqual(configuration.values["debug"], Setting(True, COMMAND_LINE))
        self.assertTrue(configuration.is_given("port"))
        self.assertFalse(configuration.is_given("host"))

    def test_last_one_counts(self) -> None:
        """Of an option that is not repeatable, the last value counts; each has to be right."""
        self.assertEqual(self.read("port=1", "port=2")["port"], 2)
        self.assertEqual(self.refused("port=x", "port=2"), "--port=x: accepted is a port from 0 to 65535")

    def test_repeatable(self) -> None:
        """The values of a repeatable option are kept in order."""
        configuration = self.read("subprotocol=b", "subprotocol=a")
        self.assertEqual(configuration.texts("subprotocol"), ("b", "a"))

    def test_file(self) -> None:
        """A file gives values under the options' names, and is their source."""
        argument = self.file(
            "port = 8000",
            "debug = true",
            "server-name = 'x'",
            "max-message-size = '2MiB'",
            "max-head-size = 1000",
            "ping-interval = 0.5",
            "allow-origin = ['https://a.example', 'loopback']",
        )
        configuration = self.read(argument)
        path = argument.removeprefix("config=")
        for name, value in (
            ("port", 8000),
            ("debug", True),
            ("server-name", "x"),
            ("max-message-size", 2 * 1024**2),
            ("max-head-size", 1000),
            ("ping-interval", 0.5),
            ("allow-origin", ("https://a.example", "loopback")),
        ):
            self.assertEqual(configuration.values[name], Setting(value, path))
        self.assertEqual(configuration.values["mode"], Setting("echo", DEFAULT))

    def test_command_line_replaces_whole(self) -> None:
        """What the command line gives replaces the file's value whole, a list with all its items."""
        argument = self.file("port = 1", "subprotocol = ['a', 'b']", "mode = 'broadcast'")
        configuration = self.read(argument, "port=2", "subprotocol=c")
        self.assertEqual(configuration["port"], 2)
        self.assertEqual(configuration.texts("subprotocol"), ("c",))
        self.assertEqual(configuration["mode"], "broadcast")


class FileErrorTests(ConfigurationTestCase):
    """What is wrong in a file is told with the file and the key."""

    def test_missing(self) -> None:
        """A file that is not there, or a directory, is told with the system's reason."""
        line = "--config=nowhere.toml: No such file or directory; accepted is a TOML file that can be read"
        self.assertEqual(self.refused("config=nowhere.toml"), line)
        os.mkdir("folder.toml")
        self.assertIn("--config=folder.toml: Is a directory;", self.refused("config=folder.toml"))

    def test_no_toml(self) -> None:
        """What is no TOML is told with the place."""
        argument = self.file("port = 1", "port: 2")
        line = self.refused(argument)
        self.assertIn("(at line 2, column 5); accepted is a TOML file", line)
        self.assertTrue(line.startswith(f"--{argument}: "), line)

    def test_no_utf8(self) -> None:
        """A file in another encoding is told as such."""
        Path("latin.toml").write_bytes(b"server-name = '\xe9'")
        self.assertEqual(
            self.refused("config=latin.toml"), "--config=latin.toml: not UTF-8; accepted is a TOML file"
        )

    def test_unknown_key(self) -> None:
        """An unknown key is refused, with its characters escaped; so is a file that names another."""
        for written, shown in (("prot", "prot"), ('"a\\nb"', "a\\x0ab"), ("config", "config")):
            self.assertEqual(
                self.refused_file(f"{written} = 'x'"),
                f'FILE: unknown key "{shown}"; accepted are the names of options and [channel.NAME] tables',
            )

    def test_wrong_values(self) -> None:
        """A wrong value is told with its file, its key, itself and what is accepted."""
        for written, line in (
            ("port = 70000", "port = 70000: accepted is a port from 0 to 65535"),
            ("port = true", "port = true: accepted is a port from 0 to 65535"),
            ("mode = 'loud'", 'mode = "loud": accepted is echo or broadcast'),
            ("mode = 3", "mode = 3: accepted is echo or broadcast"),
            ("debug = 'false'", 'debug = "false": accepted is true or false, without quotes'),
            ("server-name = \"a\\nb\"", 'server-name = "a\\x0ab": accepted is printable ASCII text'),
            ("host = 1979-05-27", "host = 1979-05-27: accepted is an IP address, such as 127.0.0.1, ::1, "
             "0.0.0.0 or ::"),
        ):  # fmt: skip
            self.assertEqual(self.refused_file(written), f"FILE: {line}")

    def test_text_in_place_of_a_list(self) -> None:
        """A text where a list belongs is refused, and never taken letter by letter."""
        self.assertEqual(
            self.refused_file("allow-origin = '*'"),
            'FILE: allow-origin = "*": accepted is a list of texts',
        )
        self.assertEqual(
            self.refused_file("allow-origin = ['*', 3]"),
            "FILE: allow-origin = 3: accepted is a text that is not empty, without control characters",
        )

    def test_item_of_a_list(self) -> None:
        """Of a list, the wrong item is shown."""
        line = self.refused_file("subprotocol = ['chat', 'super chat']")
        self.assertTrue(line.startswith('FILE: subprotocol = "super chat": accepted is a name of'), line)


class ChannelTests(ConfigurationTestCase):
    """Tables for single channels."""

    def test_include_sender(self) -> None:
        """A channel may decide for itself whether a message returns to its sender."""
        configuration = self.read(
            self.file(
                "include-sender = true",
                "[channel.quiet]",
                "include-sender = false",
                '[channel."a.b~c"]',
                "include-sender = true",
                "[channel.plain]",
            )
        )
        self.assertTrue(configuration.flag("include-sender"))
        self.assertEqual(configuration.channel_flags("include-sender"), {"quiet": False, "a.b~c": True})

    def test_slow_consumer(self) -> None:
        """A channel may say what happens to its slow consumers."""
        configuration = self.read(
            self.file("[channel.latest]", "slow-consumer = 'drop-oldest'", "[channel.plain]")
        )
        self.assertEqual(configuration.text("slow-consumer"), "close")
        self.assertEqual(configuration.channel_texts("slow-consumer"), {"latest": "drop-oldest"})
        self.assertEqual(
            self.refused_file("[channel.x]", "slow-consumer = 'drop'"),
            'FILE: channel."x".slow-consumer = "drop": accepted is close, drop-oldest or drop-newest',
        )

    def test_history(self) -> None:
        """A channel may say how much it keeps, and how long; what it does not say is as for all."""
        keeps = self.read(
            "history-size=10",
            "history-age=1m",
            self.file("[channel.a]", "history-size = 3", "[channel.b]", "history-age = '5s'", "[channel.c]"),
        ).retention()
        self.assertEqual(
            [keeps(name) for name in ("a", "b", "c", "other")],
            [Retention(3, 60.0), Retention(10, 5.0), Retention(10, 60.0), Retention(10, 60.0)],
        )
        self.assertEqual(self.read().retention()("c"), Retention(0, 0.0))

    def test_age_of_nothing(self) -> None:
        """An age where nothing is kept is refused: it would promise what is not done."""
        self.assertEqual(
            self.refused("history-age=5s"),
            "--history-age=5s: nothing is kept without a size; "
            "accepted is --history-age=DURATION with --history-size=N",
        )
        self.assertEqual(
            self.refused_file("[channel.x]", "history-age = '5s'"),
            'FILE: channel."x".history-age = 5s: nothing is kept without a size; '
            "accepted is history-age with history-size",
        )
        line = self.refused_file("history-size = 9", "[channel.x]", "history-age = 5", "history-size = 0")
        self.assertIn('channel."x".history-age', line)
        self.read(self.file("[channel.x]", "history-age = 5", "history-size = 1"))

    def test_unknown_key(self) -> None:
        """Any other key is refused, also one that is an option elsewhere."""
        self.assertEqual(
            self.refused_file("[channel.x]", "mode = 'echo'"),
            'FILE: channel."x": unknown key "mode"; accepted are slow-consumer, include-sender, '
            "history-size, history-age",
        )

    def test_wrong_value(self) -> None:
        """A wrong value is told with its channel."""
        self.assertEqual(
            self.refused_file("[channel.x]", "include-sender = 1"),
            'FILE: channel."x".include-sender = 1: accepted is true or false, without quotes',
        )

    def test_names(self) -> None:
        """A name that no path can have is refused."""
        for name in ("a/b", "", "a b", "\u00e9", "a" * 129):
            line = self.refused_file(f'[channel."{name}"]')
            self.assertIn(": accepted is a channel name of 1 to 128 letters, digits and . _ ~ -", line)

    def test_no_tables(self) -> None:
        """What is no table is refused."""
        self.assertEqual(
            self.refused_file("channel = 3"),
            "FILE: channel = 3: accepted are tables such as [channel.NAME]",
        )
        self.assertEqual(self.refused_file("channel.x = 3"), 'FILE: channel."x" = 3: accepted is a table')


class EngineTests(ConfigurationTestCase):
    """The engine's URL."""

    def test_scheme(self) -> None:
        """A scheme that is not known is refused before anything is started."""
        self.assertEqual(
            self.refused("engine=nats://host"),
            "--engine=nats://host: accepted is memory: or redis:// or rediss:// with a host",
        )
        self.assertEqual(
            self.refused_file('engine = "nats://host"'),
            'FILE: engine = "nats://host": accepted is memory: or redis:// or rediss:// with a host',
        )
        for url in ("memory:", "redis://host", "rediss://u:p@host:1/0"):
            self.assertEqual(self.read(f"engine={url}").text("engine"), url)

    def test_password(self) -> None:
        """A password stands in no error line."""
        for line in (
            self.refused("engine=nats://user:secret@host"),
            self.refused_file('engine = "nats://user:secret@host"'),
            self.read("engine=redis://user:secret@host").named("engine"),
        ):
            self.assertNotIn("secret", line)
            self.assertIn("user:***@host", line)


class ValueErrorTests(ConfigurationTestCase):
    """What is wrong on the command line is told with the option, the value and what is accepted."""

    def test_lines(self) -> None:
        """Each kind of value has its line."""
        for argument, line in (
            ("max-message-size=1MB", f"accepted is {ACCEPTED_SIZES}"),
            ("max-head-size=0", f"accepted is {ACCEPTED_SIZES}, above 0"),
            ("close-timeout=0", f"accepted is {ACCEPTED_DURATIONS}, above 0"),
            ("max-head-lines=many", "accepted is a whole number, above 0"),
            ("compression=brotli", "accepted is off or deflate"),
            ("host=localhost", "accepted is an IP address, such as 127.0.0.1, ::1, 0.0.0.0 or ::"),
            ("server-name=\u00e9", "accepted is printable ASCII text"),
        ):  # fmt: skip
            self.assertEqual(self.refused(argument), f"--{argument}: {line}")

    def test_one_line(self) -> None:
        """A value that is not one line is escaped in the line that refuses it, and a long one shortened."""
        self.assertEqual(
            self.refused("server-name=a\nb\x1b[31m"),
            "--server-name=a\\x0ab\\x1b[31m: accepted is printable ASCII text",
        )
        self.assertLess(len(self.refused("port=" + "9" * 10000)), 250)

    def test_origins_and_hosts(self) -> None:
        """A wrong origin or Host value is refused with the reason of its policy."""
        line = self.refused("allow-origin=https://good.example/")
        self.assertTrue(line.startswith("--allow-origin=https://good.example/: not an origin: "), line)
        self.assertIn("accepted are scheme://host[:port]", line)
        line = self.refused("allow-host=good.example:")
        self.assertTrue(line.startswith("--allow-host=good.example:: not a Host value: "), line)
        self.assertIn("accepted are a host name", line)

    def test_wrong_proxies(self) -> None:
        """A proxy that is no address or network, or never matches, is refused."""
        for value in ("10.0.0.1/8", "proxy.example", "::ffff:10.0.0.0/104"):
            line = self.refused(f"trust-proxy={value}")
            self.assertTrue(line.startswith(f"--trust-proxy={value}: "), line)
            self.assertIn("accepted", line)

    def test_endpoints(self) -> None:
        """A wrong endpoint description is refused for both kinds of listeners."""
        for name in ("listen", "listen-tls"):
            self.assertTrue(self.refused(f"{name}=ssl:443").startswith(f"--{name}=ssl:443: ssl: ends TLS"))
            self.assertIn(
                "not a Twisted endpoint description; accepted is, for example, tcp:9000",
                self.refused(f"{name}=9000"),
            )


class TogetherTests(ConfigurationTestCase):
    """Values that are right each for itself, but not together."""

    def test_tls_needs_a_certificate(self) -> None:
        """A TLS listener without certificate and key is refused."""
        self.assertEqual(
            self.refused("listen-tls=tcp:443"),
            "--listen-tls=tcp:443: needs a certificate; accepted is --listen-tls=ENDPOINT with "
            "--certificate=FILE and --private-key=FILE",
        )

    def test_pairs(self) -> None:
        """A certificate without a key, or a key without a certificate, is refused."""
        self.assertEqual(
            self.refused("listen-tls=tcp:443", "certificate=c.pem"),
            "--certificate=c.pem: has no private key; accepted is --certificate=FILE with --private-key=FILE",
        )
        self.assertEqual(
            self.refused("listen-tls=tcp:443", "private-key=k.pem"),
            "--private-key=k.pem: has no certificate; accepted is --certificate=FILE with --private-key=FILE",
        )

    def test_several_certificates(self) -> None:
        """Certificates and keys are pairs in the order they are given."""
        configuration = self.read(
            "listen-tls=tcp:443", "certificate=a", "private-key=b", "certificate=c", "private-key=d"
        )
        self.assertEqual(configuration.certificates, (("a", "b"), ("c", "d")))

    def test_client_authority_without_use(self) -> None:
        """An authority of clients is refused where it would not be asked, or could be gone around."""
        self.assertEqual(
            self.refused("client-ca=ca.pem"),
            "--client-ca=ca.pem: nothing uses it; accepted is --client-ca=FILE with --listen-tls=ENDPOINT",
        )
        tls = ("listen-tls=tcp:443", "certificate=a", "private-key=b", "client-ca=ca.pem")
        for plain in ("listen=tcp:80", "port=80"):
            self.assertEqual(
                self.refused(*tls, plain),
                f"--client-ca=ca.pem: clients of --{plain} show no certificate; accepted is --client-ca=FILE "
                "with --listen-tls=ENDPOINT only",
            )
        self.assertIsNone(self.read(*tls).clients())

    def test_allowed_clients(self) -> None:
        """Names of clients are judged, and need an authority."""
        tls = ("listen-tls=tcp:443", "certificate=a", "private-key=b")
        clients = self.read(*tls, "client-ca=ca.pem", "allow-client=CN=a", "allow-client=b.example").clients()
        assert clients is not None
        self.assertIs(clients(PeerCertificate("", dns_names=("b.example",))), True)
        self.assertIs(clients(PeerCertificate("CN=a", common_names=("a",))), True)
        self.assertIs(clients(None), False)
        self.assertEqual(
            self.refused(*tls, "allow-client=b.example"),
            "--allow-client=b.example: needs an authority; accepted is --allow-client=NAME with "
            "--client-ca=FILE",
        )
        line = self.refused(*tls, "client-ca=ca.pem", "allow-client=192.0.2.1")
        self.assertTrue(line.startswith("--allow-client=192.0.2.1: "), line)
        self.assertIn("is no name of a client; accepted are a DNS name", line)

    def test_token_without_use(self) -> None:
        """A token that nothing asks for is refused: the operator believes that something is protected."""
        self.assertEqual(
            self.refused("admin-token-file=token"),
            "--admin-token-file=token: nothing uses it; accepted is --admin-token-file=FILE with "
            "--admin=ENDPOINT",
        )
        self.assertIsNone(self.read("admin=tcp:9001")["admin-token-file"])

    def test_certificate_without_use(self) -> None:
        """A certificate that no listener uses is refused: the operator believes that there is TLS."""
        line = self.refused("certificate=c.pem", "private-key=k.pem")
        self.assertTrue(line.startswith("--certificate=c.pem: nothing uses it; accepted is"), line)

    def test_pair(self) -> None:
        """A TLS listener with a pair is accepted, and the pair is at hand."""
        configuration = self.read("listen-tls=tcp:443", "certificate=c.pem", "private-key=k.pem")
        self.assertEqual(configuration.certificates, (("c.pem", "k.pem"),))
        self.assertEqual(self.read().certificates, ())

    def test_deflate_needs_limits(self) -> None:
        """Compression without a limit of size is refused, whoever gave the 0."""
        for name in ("max-message-size", "max-frame-size"):
            self.assertEqual(
                self.refused("compression=deflate", f"{name}=0"),
                f"--{name}=0: no limit is refused with --compression=deflate; accepted is a size above 0",
            )
            argument = self.file(f"{name} = 0")
            path = argument.removeprefix("config=")
            self.assertTrue(
                self.refused(argument, "compression=deflate").startswith(f"{path}: {name} = 0: no limit"),
            )

    def test_no_limits_without_deflate(self) -> None:
        """Without compression, no limit is the operator's choice."""
        settings = self.read("max-message-size=0").settings()
        self.assertEqual((settings.max_message_size, settings.max_frame_size), (0, 0))


class MeaningTests(ConfigurationTestCase):
    """What a configuration means to those who use it."""

    def test_port_applies_by_default(self) -> None:
        """Without other listeners there is the default port, on both loopback addresses."""
        configuration = self.read()
        self.assertEqual((configuration.port, configuration.host), (9000, None))

    def test_port_with_other_listeners(self) -> None:
        """With another listener, the port applies only when it or the host is given, also by the file."""
        self.assertIsNone(self.read("listen=tcp:1").port)
        self.assertIsNone(
            self.read("listen-tls=tcp:1", "certificate=c", "private-key=k").port,
        )
        self.assertEqual(self.read("listen=tcp:1", "port=2").port, 2)
        self.assertEqual(self.read("listen=tcp:1", "host=::1").port, 9000)
        self.assertEqual(self.read("listen=tcp:1", self.file("port = 3")).port, 3)

    def test_settings(self) -> None:
        """Limits and timers are handed on; the frame's limit is the message's unless given."""
        self.assertEqual(self.read().settings(), Settings())
        settings = self.read("max-message-size=2KiB", "ping-interval=0", "close-timeout=1").settings()
        self.assertEqual(
            settings,
            Settings(max_message_size=2048, max_frame_size=2048, ping_interval=0.0, close_timeout=1.0),
        )
        self.assertEqual(self.read("max-frame-size=1KiB").settings().max_frame_size, 1024)

    def test_seconds(self) -> None:
        """A duration is read as seconds."""
        self.assertEqual(self.read().seconds("drain-timeout"), 10.0)
        self.assertEqual(self.read("drain-timeout=250ms").seconds("drain-timeout"), 0.25)
        self.assertEqual(self.read("drain-timeout=0").seconds("drain-timeout"), 0.0)

    def test_origins(self) -> None:
        """Origins and the rule for a missing one make one policy."""
        request = OriginRequest(origin="https://a.example", host="b.example", path="/", peer="")
        self.assertFalse(self.read().origins()(request))
        self.assertTrue(self.read("allow-origin=https://a.example").origins()(request))
        missing = OriginRequest(origin=None, host="b.example", path="/", peer="")
        self.assertTrue(self.read().origins()(missing))
        self.assertFalse(self.read("deny-missing-origin=true").origins()(missing))

    def test_hosts(self) -> None:
        """Given Host values make a policy for all listeners; none given leaves it to each."""
        self.assertIsNone(self.read().hosts())
        hosts = self.read("allow-host=a.example").hosts()
        assert hosts is not None
        self.assertTrue(hosts.allows("a.example:80"))
        self.assertFalse(hosts.allows("b.example"))

    def test_proxies(self) -> None:
        """Given proxies are trusted, and nobody when none is given."""
        self.assertIsNone(self.read().proxies())
        proxies = self.read("trust-proxy=10.0.0.0/8", "trust-proxy=unix").proxies()
        assert proxies is not None
        self.assertTrue(proxies.trusts("10.1.2.3") and proxies.trusts(None))
        self.assertFalse(proxies.trusts("127.0.0.1"))

    def test_empty_list_of_hosts(self) -> None:
        """An empty list in a file gives no value: it does not shut everybody out."""
        self.assertIsNone(self.read(self.file("allow-host = []")).hosts())

    def test_named(self) -> None:
        """An error line calls a value as the operator wrote it."""
        argument = self.file("port = 1", "subprotocol = ['a', 'b']")
        path = argument.removeprefix("config=")
        configuration = self.read(argument, "debug=true", "max-head-size=1024")
        self.assertEqual(configuration.named("port"), f"{path}: port = 1")
        self.assertEqual(configuration.named("subprotocol", "b"), f'{path}: subprotocol = "b"')
        self.assertEqual(configuration.named("debug"), "--debug")
        self.assertEqual(configuration.named("max-head-size"), "--max-head-size=1KiB")
        self.assertEqual(configuration.named("mode"), "--mode=echo")
