"""Tests for what README.md and docs/ say: commands, outputs and tables are those of the code."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree as ET

from twisted.trial.unittest import SkipTest, SynchronousTestCase
from websockets.sync.client import connect

from docs._ext import generated, own_site, pages
from tests.checkout import CHECKOUT
from tests.serving import TIMEOUT, python_environment, serving
from tests.wire.harness import BINARY, Peer, WireTestCase, close, frame
from wsecho import (
    AllowedOrigins,
    BroadcastServerFactory,
    BroadcastService,
    EchoServerProtocol,
    OriginRequest,
    SlowConsumer,
)
from wsecho.app.commands import COMMANDS
from wsecho.app.configuration import read_configuration
from wsecho.policy.close_codes import CLOSE_CODES
from wsecho.policy.end_reasons import END_REASONS
from wsecho.policy.lifecycle import TRANSITIONS, Phase
from wsecho.policy.log_keys import EVENTS, LOG_KEYS, keys_of
from wsecho.policy.metrics import METRICS
from wsecho.policy.options import TABLE, option
from wsecho.policy.settings import Settings
from wsecho.web import beneath, operations
from wsecho.web.stream import MOST_WATCHERS
from wsecho.wire import sampling

DOCS = CHECKOUT / "docs"
README = CHECKOUT / "README.md"
TUTORIAL = DOCS / "tutorial.md"

_TOML = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(path: Path) -> str:
    """The text of a page."""
    return path.read_text(encoding="utf-8")


class CommandTests(SynchronousTestCase):
    """The commands and files that the pages show."""

    def test_readme_lines(self) -> None:
        """The README has one line that serves and one that tests, marked for those who run them."""
        for mark, end in (
            ("serve", ".venv/bin/twistd -n wsecho"),
            ("test", ".venv/bin/python -m twisted.trial tests"),
        ):
            found = re.findall(rf"<!-- {mark} -->\n```shell\n(.+)\n```\n", read(README))
            self.assertEqual([line.endswith(f" && {end}") for line in found], [True], mark)

    def test_links(self) -> None:
        """What pages outside of the documentation link to is there."""
        for page in (README, CHECKOUT / "CONTRIBUTING.md"):
            for target in re.findall(r"\]\((?!https?:)([^)#]+)", read(page)):
                self.assertTrue((CHECKOUT / target).is_file(), target)

    def test_toml(self) -> None:
        """Each TOML file that a page shows is a valid configuration."""
        shown = [toml for page in sorted(DOCS.rglob("*.md")) for toml in _TOML.findall(read(page))]
        self.assertGreater(len(shown), 3)
        for toml in shown:
            path = Path(self.mktemp())
            path.write_text(toml, encoding="utf-8")
            read_configuration({"config": [str(path)]})

    def test_options_exist(self) -> None:
        """Each option that the text of a page names is in the table; commands are tried by the walk."""
        names = {row.name for row in TABLE}
        foreign = {"help", "json", "logfile", "nodaemon", "pidfile", "stop-timeout", "uid"}
        others = ("reference/command-line.md", "limitations.md", "topics/draining.md", "how-to/admin.md")
        for page in (README, TUTORIAL, *(DOCS / name for name in others)):
            text = re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
            shown = set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", text))
            self.assertEqual(shown - names - foreign, set(), page.name)


class LogTests(SynchronousTestCase):
    """What docs/reference/logging.md shows."""

    def test_line(self) -> None:
        """The line that the page shows has the keys of its event."""
        (shown,) = re.findall(r"^```json\n(.+)\n```$", read(DOCS / "reference" / "logging.md"), re.MULTILINE)
        line = json.loads(shown)
        self.assertEqual(tuple(line), keys_of(line["event"]))


class SupervisorTests(SynchronousTestCase):
    """What docs/topics/draining.md says of supervisors."""

    def test_times(self) -> None:
        """Each time that it recommends is longer than the drain; what it calls not enough is not."""
        page, drain = read(DOCS / "topics" / "draining.md"), option("drain-timeout").default
        assert isinstance(drain, float)
        recommended = re.findall(r"(?:stop-timeout|stopwaitsecs)=([0-9]+)", page)
        self.assertEqual(len(recommended), 2)
        self.assertEqual([seconds for seconds in recommended if float(seconds) <= drain], [])
        defaults = re.findall(r"\| ([0-9]+) seconds([^|]*)\|", page)
        self.assertEqual(len(defaults), 4)
        for seconds, verdict in defaults:
            self.assertEqual(float(seconds) <= drain, "not enough" in verdict, seconds)


class SlowConsumerTests(WireTestCase):
    """What docs/topics/slow-consumers.md says of the log."""

    def channel(self, policy: SlowConsumer) -> tuple[Peer, Peer]:
        """A sender and a receiver that does not read."""
        service = BroadcastService(slow_consumer=policy)
        factory = self.factory(make=BroadcastServerFactory, broadcast=service, send_queue=1000)
        sender, slow = self.peer(factory).open(), self.peer(factory).open()
        slow.transport.reads_nothing = True
        return sender, slow

    def test_log(self) -> None:
        """The lines are those of the four connections that it describes."""
        message = frame(BINARY, bytes(99))
        sender, slow = self.channel(SlowConsumer.CLOSE)
        sender.send(message * 11)
        sender.leave()
        slow.transport.read()
        slow.send(close(1013))
        slow.leave()
        sender, dropping = self.channel(SlowConsumer.DROP_NEWEST)
        sender.send(message * 30)
        sender.leave()
        dropping.transport.read()
        dropping.send(close(1000))
        dropping.leave()
        silent = self.peer(self.factory(EchoServerProtocol, send_queue=1000)).open()
        silent.transport.reads_nothing = True
        silent.send(message * 11)
        for seconds in (20, 20, 5, 0):
            self.clock.advance(seconds)
        stalled = self.peer(self.factory(EchoServerProtocol)).open()
        stalled.send(message[:-1])
        self.clock.advance(10)
        stalled.leave()
        ends = [line for line in self.log if " closed: " in line and "reason=peer-gone" not in line]
        page = (
            read(DOCS / "topics" / "slow-consumers.md").partition("<!-- log -->")[2].partition("```\n\n")[0]
        )
        self.assertEqual(
            [self.facts(line) for line in page.splitlines() if " closed: " in line], [*map(self.facts, ends)]
        )

    @staticmethod
    def facts(line: str) -> dict[str, str]:
        """What does not depend on time and port."""
        fields = dict(re.findall(r"(\w+)=(\S+)", line))
        return {name: fields[name] for name in ("reason", "code", "status", "ended", "sent", "dropped")}


class OriginTests(SynchronousTestCase):
    """The table of docs/topics/origins.md."""

    def test_options(self) -> None:
        """Each origin is refused without its option and admitted with it."""
        table = read(DOCS / "topics" / "origins.md").partition("<!-- origins -->")[2].partition("\n\n")[0]
        rows = re.findall(r"\| `([^`]+)` \| `--allow-origin=([^`]+)` \|$", table, re.MULTILINE)
        self.assertEqual(len(rows), table.count("\n") - 2)
        for origin, pattern in rows:
            request = OriginRequest(origin, "127.0.0.1:9000", "/", "127.0.0.1")
            self.assertEqual(
                (AllowedOrigins()(request), AllowedOrigins([pattern])(request)), (False, True), origin
            )


class AdminTests(SynchronousTestCase):
    """docs/how-to/admin.md."""

    def test_commands(self) -> None:
        """Each curl of the page, one after the other, writes what the page says, but for ports and times."""
        curl = shutil.which("curl")
        if curl is None:
            raise SkipTest("curl not found: apt-get install curl")
        page = read(DOCS / "how-to" / "admin.md")
        shown = re.findall(r"<!-- curl -->\n```shell\ncurl (.+)\n```\n\n```text\n(.+)\n```\n", page)
        self.assertEqual((len(shown), page.count("<!-- curl -->")), (10, 10))
        socket = Path(self.mktemp()).resolve()
        command = ["-m", "wsecho", "--port=0", "--host=127.0.0.1", f"--admin=unix:{socket}"]
        with serving([sys.executable, *command], env=python_environment()) as (url,), ExitStack() as stack:
            for path in ("", "broadcast/kitchen"):
                stack.enter_context(connect(url + path, proxy=None))
            for arguments, expected in shown:
                done = subprocess.run(
                    [curl, "--unix-socket", socket, *shlex.split(arguments)],
                    capture_output=True,
                    text=True,
                    timeout=TIMEOUT,
                    check=True,
                )
                self.assertEqual(without_moments(done.stdout), without_moments(expected + "\n"))

    def test_watch(self) -> None:
        """The line of a message that passes is as the page shows it."""
        curl = shutil.which("curl")
        if curl is None:
            raise SkipTest("curl not found: apt-get install curl")
        page = read(DOCS / "how-to" / "admin.md")
        ((arguments, expected),) = re.findall(
            r"<!-- watch -->\n```shell\ncurl (.+)\n```\n\n```text\n(.+)\n```\n", page
        )
        socket = Path(self.mktemp()).resolve()
        command = ["-m", "wsecho", "--port=0", "--host=127.0.0.1", f"--admin=unix:{socket}"]
        with (
            serving([sys.executable, *command], env=python_environment()) as (url,),
            connect(url, proxy=None) as client,
            subprocess.Popen(
                [curl, "--unix-socket", socket, *shlex.split(arguments)], stdout=subprocess.PIPE, text=True
            ) as watcher,
        ):
            assert watcher.stdout is not None
            # The empty line says that it has begun.
            self.assertEqual(watcher.stdout.readline(), "\n")
            client.send("hello")
            self.assertEqual(without_moments(watcher.stdout.read()), without_moments(expected + "\n"))

    def test_watchers(self) -> None:
        """What the page says of watchers is so in the code."""
        part = read(DOCS / "how-to" / "admin.md").partition("## Messages as they pass\n")[2]
        for bound in (
            f"{sampling.CHARACTERS_SHOWN} characters",
            f"{sampling.BYTES_SHOWN} bytes",
            f"{sampling.SAMPLES_PER_SECOND} messages each second",
            f"{MOST_WATCHERS} watchers",
        ):
            self.assertIn(bound, part)
        self.assertEqual(operations.LONGEST_WATCH, 3600)

    def test_bounds(self) -> None:
        """The bounds that the page names are those of the code."""
        bounds = (
            read(DOCS / "how-to" / "admin.md").partition("## Bounds\n")[2].partition("These are fixed")[0]
        )
        self.assertEqual(
            re.findall("[0-9]+", bounds),
            [
                f"{beneath.REQUEST_SECONDS:g}",
                f"{beneath.BoundedChannel.totalHeadersSize // 1024}",
                f"{beneath.LARGEST_BODY // 1024**2}",
                f"{beneath.MOST_CONNECTIONS}",
                f"{operations.LONGEST_TEXT}",
                f"{operations.LONGEST_PAGE}",
            ],
        )

    def test_generated(self) -> None:
        """Each metric and each operation has its row."""
        for table, names in (
            (generated.metrics(), [row.name for row in METRICS]),
            (generated.admin_operations(), [f"{row.method} {row.path}" for row in operations.OPERATIONS]),
        ):
            self.assertEqual(re.findall(r"^\| `([^`]+)`", table, re.MULTILINE), names)


def without_moments(text: str) -> str:
    """An answer of the admin endpoint without what is different each time."""
    text = re.sub(r'"(since|time)": "20[-0-9T:.]+Z"', r'"\1": "..."', text)
    return re.sub(r'"peer": "127.0.0.1:[0-9]+"', '"peer": "..."', text)


class GeneratedTests(SynchronousTestCase):
    """Parts of pages that are made from the tables of the code."""

    def test_every_option(self) -> None:
        """Every option has a section, and a row in the table of all."""
        for row in TABLE:
            self.assertIn(f"(option-{row.name})=", generated.option_details())
            self.assertIn(f"(#option-{row.name})", generated.option_overview())

    def test_facts(self) -> None:
        """A section tells the default, what 0 means, Qt's default and the reason."""
        details = generated.option_details()
        section = details.partition("(option-max-message-size)=")[2].partition("\n(")[0]
        self.assertIn("### `--max-message-size=SIZE`", section)
        self.assertIn(":Default: `1MiB`", section)
        self.assertIn(":0 means: no limit", section)
        self.assertIn(":Qt's default: 2147483646 bytes", section)
        self.assertIn(":Reason: One peer", section)

    def test_ends(self) -> None:
        """Each end reason, close code and transition has its row."""
        for table, rows in (
            (generated.end_reasons(), END_REASONS),
            (generated.close_codes(), CLOSE_CODES),
            (generated.life_cycle(), TRANSITIONS),
            (generated.log_events(), EVENTS),
            (generated.log_keys(), LOG_KEYS),
        ):
            self.assertEqual(len(table.splitlines()), 2 + len(rows))
        self.assertRegex(
            generated.end_reasons(), r"\| `origin-denied` \| peer \|  \| 403 \| The origin policy"
        )
        self.assertRegex(generated.close_codes(), r"\| 1001 \| Going Away \| .* `--ping-timeout`; .* \|")
        self.assertIn("| open | Close sent | closing |", generated.life_cycle())

    def test_limits(self) -> None:
        """Each limit and timer has its row."""
        self.assertEqual(
            re.findall(r"^\| `(\w+)` ", generated.limits(), re.MULTILINE),
            [field.name for field in fields(Settings)],
        )

    def test_own_help(self) -> None:
        """A command has a section with its help, unless it takes the options of the server."""
        described = generated.own_help()
        for name, (run, _) in COMMANDS.items():
            section = f"### `wsecho {name}`\n\n```text\nUsage: wsecho {name} [options]"
            self.assertEqual(section in described, name in generated.COMMANDS_WITH_OPTIONS)
            if section not in described and name != "serve":
                self.assertRaises(SystemExit, run, ["--max-message-size=no"])

    def test_connect(self) -> None:
        """The page about the client has all of its options."""
        of_help = generated.own_help().partition("wsecho connect")[2]
        on_page = read(DOCS / "how-to" / "connect.md").partition("\n## Options\n")[2].partition("\n## ")[0]
        self.assertEqual(
            set(re.findall(r"--[a-z]+", on_page)),
            set(re.findall(r"--[a-z]+", of_help)) - {"--help", "--version"},
        )

    def test_everywhere(self) -> None:
        """Each part is on one page."""
        pattern = re.compile("<!-- generated: (.+) -->")
        marks = [mark for page in DOCS.rglob("*.md") for mark in pattern.findall(read(page))]
        self.assertEqual(sorted(marks), sorted(generated.PARTS))

    def test_life_cycle_diagram(self) -> None:
        """The drawing has a box for each phase, and an arrow with its events for each change of phase."""
        drawing = generated.life_cycle_diagram()
        self.assertNotIn("\n\n", drawing)
        root = ET.fromstring(drawing)
        texts = [text.text for text in root.iter("text")]
        changes: dict[tuple[Phase, Phase], list[str]] = {}
        for (before, event), after in TRANSITIONS.items():
            if before is not after:
                changes.setdefault((before, after), []).append(event.value)
        self.assertEqual(
            sorted(map(str, texts)),
            sorted([*(phase.value for phase in Phase), *(", ".join(events) for events in changes.values())]),
        )
        arrows = [path for path in root.iter("path") if "marker-end" in path.attrib]
        self.assertEqual((len(list(root.iter("rect"))), len(arrows)), (len(Phase), len(changes)))

    def test_markup(self) -> None:
        """Characters that Markdown would take for markup are shown as they are; options become code."""
        self.assertIn(r"https://\*.example.com", generated.option_details())
        self.assertIn("the value of `--max-message-size`", generated.option_overview())

    def test_marks(self) -> None:
        """Each mark in a page is filled, and an unknown one is an error."""
        for page in DOCS.rglob("*.md"):
            self.assertNotIn("<!-- generated:", generated.fill(read(page)))
        self.assertRaises(KeyError, generated.fill, "<!-- generated: unheard-of -->\n")


class DependencyTests(SynchronousTestCase):
    """docs/dependencies.md."""

    def test_every_dependency_has_a_reason(self) -> None:
        """The page lists the packages of pyproject.toml, with the same lower bounds and extras."""
        project = tomllib.loads(read(CHECKOUT / "pyproject.toml"))["project"]
        declared = {tuple(requirement.split(">=")) for requirement in project["dependencies"]}
        extras = {
            (re.split("[<>=]", requirement)[0], extra)
            for extra, requirements in project["optional-dependencies"].items()
            for requirement in requirements
            if not requirement.startswith("wsecho[")
        }
        rows = set(re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", read(DOCS / "dependencies.md"), re.MULTILINE))
        self.assertEqual(rows, declared | extras)


class PageTests(SynchronousTestCase):
    """docs/_ext/pages.py: every page says what it is for, and an index has it."""

    def test_first_sentences(self) -> None:
        """Each page begins with a sentence."""
        for page in DOCS.rglob("*.md"):
            self.assertIn(" ", pages.first_sentence(read(page)), str(page))

    def test_every_page_is_listed(self) -> None:
        """Each page of a folder that has lists of pages is in one of them, once."""
        for index in DOCS.rglob("index.md"):
            listed = pages.listed(read(index))
            if listed and index.parent != DOCS:
                written = {
                    path.relative_to(index.parent).with_suffix("") for path in index.parent.rglob("*.md")
                }
                # A folder below with an index of its own is listed by that index.
                inner = {name for name in listed if name.endswith("/index")}
                wanted = {
                    str(name)
                    for name in written
                    if str(name) in inner or (f"{name.parent}/index" not in inner and str(name) != "index")
                }
                self.assertEqual(sorted(listed), sorted(wanted), str(index))

    def test_list(self) -> None:
        """A fence becomes a list of titles and first sentences, without their links, and a toctree."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "one.md").write_text("<!-- x -->\n# One\n\nSays [`a.b` this](x.md),\nand 1.5 more. Rest.\n")
        self.assertEqual(
            pages.fill("# Two\n\n```{pages}\none\n```\n", folder),
            "# Two\n\n* [One](one.md): Says `a.b` this, and 1.5 more.\n"
            "\n```{toctree}\n:hidden:\n\none\n```\n",
        )
        self.assertRaises(FileNotFoundError, pages.fill, "```{pages}\nthree\n```\n", folder)

    def test_no_sentence(self) -> None:
        """A page that begins with something else is an error."""
        for text in (
            "# One\n",
            "# One\n\n## Two\n\nText.",
            "# One\n\n```shell\nls\n```",
            "# One\n\nNo end",
            "# One\n\n* One.",
        ):
            self.assertRaises(ValueError, pages.first_sentence, text)
        self.assertRaises(ValueError, pages.first_sentence, "Text.")


class SiteTests(SynchronousTestCase):
    """docs/_ext/own_site.py: the site loads nothing from others."""

    def test_foreign(self) -> None:
        """What a page loads from another site is found, links are not."""
        for html, wanted in (
            ('<script src="https://cdn.example/a.js"></script>', ["https://cdn.example/a.js"]),
            ('<link rel="preconnect" href="//fonts.example">', ["//fonts.example"]),
            ('<img src="a.png" srcset="b.png 1x, http://c.example/c.png 2x">', ["http://c.example/c.png"]),
            ("<p style='background: url(\"https://d.example/d\")'>", ["https://d.example/d"]),
            ("<style>@import 'https://e.example/e.css';</style>", ["https://e.example/e.css"]),
            ('<a href="https://f.example/">f</a><script src="_static/f.js"></script>', []),
            (
                '<link rel="canonical" href="https://g.example/g.html"><svg xmlns="http://www.w3.org/2000/svg">',
                [],
            ),
            ("<style>a { background: url('data:image/svg+xml,https://') }</style>", []),
        ):
            self.assertEqual(own_site.foreign_of_page(html), wanted)

    def test_site(self) -> None:
        """Pages and styles of all folders are looked at."""
        site = Path(self.mktemp())
        (site / "a").mkdir(parents=True)
        (site / "a" / "a.html").write_text('<iframe src="https://h.example/">')
        (site / "b.css").write_text("@font-face { src: url(https://i.example/i.woff2) }")
        self.assertEqual(
            own_site.foreign(site), ["a.html: https://h.example/", "b.css: https://i.example/i.woff2"]
        )
