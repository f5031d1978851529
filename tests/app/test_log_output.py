"""Tests for `wsecho.app.log_output`."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase, TestCase

from wsecho.app import log_output
from wsecho.app.log_output import (
    MOST_WAITING,
    CannotLog,
    TurnObserver,
    flush_all,
    json_observer,
    text_line,
    text_observer,
)
from wsecho.app.options import Options
from wsecho.app.tap import makeService

from .servers import CLOSING_SOON, LineWatcher, environment, open_websocket, start, twistd
from .test_json_log import LISTEN, check


class Running(Clock):
    """A reactor that runs."""

    running = True


class Output:
    """Keeps each write."""

    def __init__(self) -> None:
        self.writes: list[str] = []
        self.flushed = 0

    def write(self, text: str) -> None:
        """Take text."""
        self.writes.append(text)

    def flush(self) -> None:
        """Count."""
        self.flushed += 1


def event(line: str, **more: Any) -> dict[str, Any]:
    """What a connection logs when it opens."""
    return {
        "log_time": 0.0,
        "log_level": LogLevel.info,
        "log_namespace": "wsecho",
        "log_format": "{line}",
        "line": line,
        "event": "open",
        **more,
    }


class TurnTests(SynchronousTestCase):
    """`TurnObserver`: when lines are written."""

    def setUp(self) -> None:
        """Make an observer whose reactor runs, in this thread."""
        self.reactor, self.output = Running(), Output()
        self.patch(log_output, "_is_in_reactor", lambda: True)
        self.observer = TurnObserver(self.output, lambda event: event["line"] + "\n", self.reactor)

    def test_turn(self) -> None:
        """Lines about connections are written together, when the turn is over; then the next ones are."""
        self.observer(event("a"))
        self.observer(event("b"))
        self.assertEqual(self.output.writes, [])
        self.reactor.advance(0)
        self.observer(event("c"))
        self.reactor.advance(0)
        self.assertEqual((self.output.writes, self.output.flushed), (["a\nb\n", "c\n"], 2))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_other_lines(self) -> None:
        """Every other line, and one of a program's with a field of that name, is written at once, behind
        those that wait."""
        self.observer(event("a"))
        self.observer(event("b", event="other"))
        self.observer(event("c"))
        self.observer(event("d", log_namespace="program"))
        self.assertEqual(self.output.writes, ["a\nb\n", "c\nd\n"])
        self.reactor.advance(0)
        self.assertEqual(len(self.output.writes), 2)

    def test_not_running(self) -> None:
        """While no reactor runs, and from other threads, a line is written at once."""
        self.reactor.running = False
        self.observer(event("a"))
        self.reactor.running = True
        self.patch(log_output, "_is_in_reactor", lambda: False)
        self.observer(event("b"))
        self.assertEqual(self.output.writes, ["a\n", "b\n"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_much(self) -> None:
        """A turn that logs much does not keep all of it."""
        self.observer(event("a" * (MOST_WAITING // 2)))
        self.assertEqual(self.output.writes, [])
        self.observer(event("a" * (MOST_WAITING // 2)))
        self.assertEqual(len(self.output.writes), 1)

    def test_flush_all(self) -> None:
        """What waits can be written before the process ends."""
        self.observer(event("a"))
        flush_all()
        self.assertEqual(self.output.writes, ["a\n"])

    def test_fork(self) -> None:
        """A fork takes no line with it that would be written twice."""
        self.observer(event("a"))
        child = os.fork()
        if not child:
            os._exit(len(self.observer._waiting))
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(self.output.writes, ["a\n"])

    def test_no_line(self) -> None:
        """What has no line leaves nothing."""
        observer = TurnObserver(self.output, lambda event: None, self.reactor)
        observer(event("a"))
        self.reactor.advance(0)
        self.assertEqual(self.output.writes, [])


class TextTests(SynchronousTestCase):
    """`text_line`."""

    def test_like_twisted(self) -> None:
        """Text is what twistd's own observer writes, whatever is logged, at whatever time."""
        events: list[Any] = []
        log = Logger("wsecho", observer=LogPublisher(cast(ILogObserver, events.append)))
        log.info("{line}", line="1 open: x", event="open")
        log.warn("a\nb")
        log.info("")
        log.info("{line}", line="{not} a field", event="closed")
        try:
            raise ValueError("v")
        except ValueError:
            log.failure("{id} failed", id=1)
        # Summer and winter.
        times = (0.0, 0.999, 1.0, 1_700_000_000.5, 1_690_000_000.0)
        events += [event("2 open: y", log_time=seconds) for seconds in times]
        out = io.StringIO()
        observer = textFileLogObserver(out)
        for one in events:
            observer(one)
        self.assertEqual("".join(text_line(one) or "" for one in events), out.getvalue())


class PlaceTests(SynchronousTestCase):
    """`json_observer` and `text_observer`: where the lines go."""

    def setUp(self) -> None:
        """Leave the signal that rotates as it was."""
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)

    def line_for(self, twistd_options: dict[str, Any] | None) -> str:
        """What an observer with these options of twistd's writes to the standard output."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        json_observer(twistd_options, Clock())({"log_time": 0.0, "log_format": "hello"})
        return out.getvalue()

    def test_standard_output(self) -> None:
        """In the foreground without a log file, and without twistd, lines go to the standard output."""
        for options in (
            None,
            {"nodaemon": 1},
            {"debug": 1, "logfile": None},
            {"nodaemon": 1, "logfile": "-"},
        ):
            self.assertEqual(check(self, self.line_for(options)[:-1])["text"], "hello", options)

    def test_refused(self) -> None:
        """Syslog, an observer of the operator's, and the output that a daemon lacks are refused in a line."""
        for options, words in (
            ({"syslog": 1}, "--log-format=json does not go with twistd's --syslog; accepted are --logfile"),
            ({"logger": "x", "nodaemon": 1}, "--log-format=json does not go with twistd's --logger"),
            ({"logfile": "-"}, "--logfile=-: a daemon has no standard output"),
            ({"logfile": "missing/x.log"}, "--logfile=missing/x.log: No such file or directory"),
        ):
            error = self.assertRaises(CannotLog, json_observer, options, Clock())
            self.assertTrue(str(error).startswith(words), str(error))

    def test_file(self) -> None:
        """With --logfile lines go to that file, which SIGUSR1 rotates in the reactor's own time."""
        os.mkdir(folder := self.mktemp())
        path, calls = os.path.join(folder, "x.log"), []

        class Reactor(Clock):
            def callFromThread(self, call: Any) -> None:
                calls.append(call)

        observer = json_observer({"nodaemon": 1, "logfile": path}, Reactor())
        observer({"log_time": 0.0, "log_format": "hello"})
        os.kill(os.getpid(), signal.SIGUSR1)
        self.assertEqual(len(calls), 1)
        calls[0]()
        observer({"log_time": 0.0, "log_format": "again"})
        for name, text in ((f"{path}.1", "hello"), (path, "again")):
            with open(name, encoding="ascii") as file:
                self.assertEqual(check(self, file.read()[:-1])["text"], text)

    def test_device(self) -> None:
        """A device such as /dev/null is written to and never moved aside, neither for its size nor by the
        signal."""
        opened: list[Any] = []

        class Log:
            @classmethod
            def fromFullPath(cls, name: str, **options: Any) -> Log:
                opened.append((name, options))
                return cls()

            def write(self, text: str) -> None:
                """As a device takes it."""

            def flush(self) -> None:
                """As a device takes it."""

            def rotate(self) -> None:
                opened.append("rotated")

        class Reactor(Clock):
            def callFromThread(self, call: Any) -> None:
                call()

        self.patch(log_output, "LogFile", Log)
        json_observer({"nodaemon": 1, "logfile": os.devnull}, Reactor())
        os.kill(os.getpid(), signal.SIGUSR1)
        self.assertEqual(opened, [(os.devnull, {"rotateLength": None})])

    def test_signal_is_taken(self) -> None:
        """A handler that somebody has set for SIGUSR1 stays."""
        os.mkdir(folder := self.mktemp())
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        json_observer({"nodaemon": 1, "logfile": os.path.join(folder, "x.log")}, Clock())
        self.assertEqual(signal.getsignal(signal.SIGUSR1), signal.SIG_IGN)

    def test_refused_by_command(self) -> None:
        """What is refused ends the program with its line."""
        options = Options()
        options.parseOptions(["--log-format=json"])
        options.parent = {"syslog": 1}  # type: ignore[assignment]
        ended = self.assertRaises(SystemExit, makeService, options, Clock())
        self.assertTrue(str(ended.code).startswith("wsecho: --log-format=json does not go with"))

    def test_text(self) -> None:
        """Text goes to the standard output, or to the file of --logfile."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        observer = text_observer({"nodaemon": 1}, Clock())
        assert observer is not None
        observer(event("hello"))
        self.assertTrue(out.getvalue().endswith(" [wsecho#info] hello\n"))
        os.mkdir(folder := self.mktemp())
        observer = text_observer({"logfile": os.path.join(folder, "x.log")}, Clock())
        assert observer is not None
        observer(event("hello"))
        self.assertTrue(Path(folder, "x.log").read_text().endswith(" [wsecho#info] hello\n"))

    def test_left_to_twistd(self) -> None:
        """Syslog, an observer of the operator's, and a daemon's standard output are twistd's affair."""
        for options in (None, {"syslog": 1}, {"logger": "x", "nodaemon": 1}, {"logfile": "-"}):
            self.assertIsNone(text_observer(options, Clock()), options)


class ThreadTests(TestCase):
    """The reactor of the process."""

    async def test_threads(self) -> None:
        """A line of another thread is written at once, one of the reactor's when the turn is over."""
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        output = Output()
        observer = TurnObserver(output, lambda event: event["line"], reactor)
        await deferToThread(observer, event("a"))
        self.assertEqual(output.writes, ["a"])
        observer(event("b"))
        self.assertEqual(output.writes, ["a"])
        await deferLater(cast(Any, reactor), 0)
        self.assertEqual(output.writes, ["a", "b"])


class RunTests(TestCase):
    """Whole runs, in processes of their own."""

    timeout = 60

    async def test_every_end(self) -> None:
        """However a server is told to end, the lines of all connections are there, and in order."""
        for signals, status, drain in (
            (["TERM"], 0, "100ms"),
            (["INT"], 0, "100ms"),
            (["INT", "INT"], 1, "1m"),
        ):
            command = [*twistd(), "-n", "--pidfile=", "wsecho", LISTEN, f"--drain-timeout={drain}"]
            child = start(self, command)
            (url,) = await child.listening
            for _ in range(3):
                await open_websocket(self, url)
            for name in signals:
                told = LineWatcher(child, b"INT: " if name == "INT" else b"TERM: ")
                child.kill(name)
                await told.found
            await child.ended
            self.assertEqual(child.status, status)
            lines = child.out.decode().splitlines()
            found = [tuple(line.split()[2:4]) for line in lines if "peer=" in line]
            numbers = ["1", "2", "3"]
            self.assertEqual(found[:3], [(number, "open:") for number in numbers])
            if status == 0:
                self.assertEqual(sorted(found[3:]), [(number, "closed:") for number in numbers])
            self.assertIn("Server Shut Down.", lines[-1])

    async def test_operators_logger(self) -> None:
        """With twistd's --logger, lines go to the operator's observer alone."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "mine.py").write_text(
            "import sys\n"
            "from twisted.logger import FileLogObserver, formatEvent\n"
            "def make():\n"
            "    return FileLogObserver(sys.__stdout__, lambda event: f'mine {formatEvent(event)}\\n')\n"
        )
        child = start(
            self,
            [*twistd(), "-n", "--pidfile=", "--logger=mine.make", "wsecho", LISTEN, CLOSING_SOON],
            variables={"PYTHONPATH": os.pathsep.join([environment()["PYTHONPATH"], str(folder)])},
        )
        (url,) = await child.listening
        await open_websocket(self, url)
        child.kill("TERM")
        await child.ended
        lines = child.out.decode().splitlines()
        self.assertTrue(all(line.startswith("mine ") for line in lines), lines)
        self.assertEqual(
            [line.split()[1:3] for line in lines if "peer=" in line], [["1", "open:"], ["1", "closed:"]]
        )
