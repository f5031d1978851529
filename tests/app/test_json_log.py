"""Tests for `wsecho.app.json_log`."""

from __future__ import annotations

import json
import os
import re
import signal
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.python.log import LogPublisher as LegacyPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from wsecho.app.json_log import json_line
from wsecho.policy.log_keys import EVERY_LINE, LOG_KEYS, OTHER_LINES, keys_of

from .servers import CLOSING_SOON, HELLO, Child, connect, open_websocket, request, start, twistd

LISTEN = "--listen=tcp:0:interface=127.0.0.1"


def check(test: TestCase | SynchronousTestCase, line: str) -> dict[str, Any]:
    """Assert that a line is a flat JSON object in ASCII with the keys of the table; return it."""
    test.assertTrue(line.isascii() and line.isprintable(), line)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        test.assertEqual(len(dict(pairs)), len(pairs), line)
        return dict(pairs)

    record: dict[str, Any] = json.loads(line, object_pairs_hook=unique, parse_constant=test.fail)
    if "event" in record:
        test.assertEqual(tuple(record), keys_of(record["event"]))
    else:
        optional = [key for key in OTHER_LINES if key != "text" and key not in record]
        expected = [key for key in (*EVERY_LINE, *OTHER_LINES) if key not in optional]
        test.assertEqual(list(record), expected)
    for name, value in record.items():
        key = LOG_KEYS[name]
        if value is None:
            test.assertTrue(key.may_be_null, line)
        elif key.type is float:
            test.assertIn(type(value), (float, int), line)
        else:
            test.assertIs(type(value), key.type, line)
    when = datetime.fromisoformat(record["time"])
    test.assertEqual((when.utcoffset(), record["time"][-1]), (timedelta(0), "Z"))
    test.assertIn(record["level"], {level.name for level in LogLevel.iterconstants()})
    return record


class LineTests(SynchronousTestCase):
    """`json_line`."""

    def setUp(self) -> None:
        """Collect what is logged."""
        self.events: list[Any] = []
        self.publisher = LogPublisher(cast(ILogObserver, self.events.append))
        self.log = Logger("wsecho", observer=self.publisher)

    def records(self) -> list[dict[str, Any]]:
        """The lines for what was logged, each checked."""
        lines = [json_line(event) for event in self.events]
        for line in lines:
            self.assertTrue(line.endswith("\n"))
        return [check(self, line[:-1]) for line in lines]

    def test_time(self) -> None:
        """The time is UTC, with microseconds even when there are none."""
        event = {"log_time": 0.0, "log_level": LogLevel.warn, "log_namespace": "x", "log_format": "a"}
        self.assertEqual(
            json_line(event),
            '{"time": "1970-01-01T00:00:00.000000Z", "level": "warn", "system": "x", "text": "a"}\n',
        )

    def test_event(self) -> None:
        """An event has the keys of its row, numbers as numbers and null where there is nothing."""
        fields = {"id": 7, "peer": "unix", "path": "/", "origin": None, "subprotocol": None}
        self.log.info("{line}", line="7 open: ...", event="open", **fields)
        (record,) = self.records()
        self.assertEqual({key: record[key] for key in fields}, fields)

    def test_event_of_others(self) -> None:
        """A field named event means nothing in a line of somebody else's."""
        Logger("program", observer=self.publisher).info("a {event} {id}", event="open", id="b")
        (record,) = self.records()
        self.assertEqual((record["system"], record["text"]), ("program", "a open b"))

    def test_failure(self) -> None:
        """What was raised is one string, with the number of the connection beside it."""
        try:
            raise ValueError("a\r\x1b[31mb\u2028\udc80")
        except ValueError:
            self.log.failure("{id} onMessage failed", id=7)
        (record,) = self.records()
        self.assertEqual((record["id"], record["text"]), (7, "7 onMessage failed"))
        self.assertTrue(record["traceback"].startswith("Traceback (most recent call last):\n"))
        self.assertIn(r"ValueError: a\x0d\x1b[31mb\u2028\udc80", record["traceback"])

    def test_legacy(self) -> None:
        """Lines of Twisted's older log have their system, and a traceback once."""
        legacy = LegacyPublisher(observerPublisher=self.publisher, publishPublisher=self.publisher)
        legacy.msg("hello\nworld", system="HTTP,1")
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            legacy.msg(failure=Failure(), why="why", isError=1)
        said, failed = self.records()
        self.assertEqual((said["system"], said["text"]), ("HTTP,1", "hello\nworld"))
        self.assertEqual((failed["level"], failed["text"]), ("critical", "why"))
        self.assertEqual(failed["traceback"].count("Traceback"), 1)

    def test_anything(self) -> None:
        """Whatever the text is, the line is valid JSON and one line, and shows no control character."""
        texts = ['"\\', "\x00\x07\r\x7f\x85", "é\U0001f600", "\ud800", "\u2028\u202e", "{", "{a.b}", "\t\n"]
        for text in texts:
            self.log.info("{text}", text=text)
            self.log.info(text)
        shown = "".join(record["text"] for record in self.records())
        self.assertIsNone(re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u202e]", shown))
        self.assertIn("é\U0001f600", shown)

    def test_unformattable(self) -> None:
        """A line that cannot be put together is a line nevertheless."""
        self.log.info("{nothing}")
        self.assertIn("nothing", self.records()[0]["text"])


class RunTests(TestCase):
    """Whole runs, in processes of their own."""

    timeout = 60

    def records(self, text: str) -> list[dict[str, Any]]:
        """The lines of a run, each checked."""
        self.assertTrue(text.endswith("\n"))
        return [check(self, line) for line in text.split("\n")[:-1]]

    async def use(self, child: Child) -> None:
        """Open, be refused, be wrong, and stop the server."""
        (url,) = await child.listening
        one = await open_websocket(self, url, "/echo")
        one.say(HELLO)
        await one.until(b"hello")
        one.say(b"\x88\x88\0\0\0\0\x0f\xa0\xe2\x80\xae\x1bhi")
        await one.lost
        refused = await connect(self, url)
        refused.say(request('/"%22\\?secret', "localhost", "Origin: https://evil.example"))
        await refused.lost
        broken = await open_websocket(self, url)
        broken.say(b"\xff\xff")
        await broken.lost
        child.kill("TERM")
        await child.ended

    async def test_standard_output(self) -> None:
        """Each line of a run is one of the table, the fields are those of the connections, and nothing is
        told twice."""
        command = [*twistd(), "-n", "--pidfile=", "wsecho", LISTEN, "--debug", "--log-format=json"]
        child = start(self, [*command, CLOSING_SOON])
        await self.use(child)
        self.assertEqual((child.status, child.err), (0, b""))
        records = self.records(child.out.decode())
        events = [record["event"] for record in records if "event" in record]
        self.assertEqual(
            sorted(events),
            ["closed", "closed", "listening", "message", "message", "not-opened", "open", "open"],
        )
        by_id = {
            record["id"]: record for record in records if record.get("event") in ("closed", "not-opened")
        }
        closed, refused, broken = (by_id[number] for number in (1, 2, 3))
        self.assertEqual(
            [closed[key] for key in ("reason", "code", "status", "ended", "path", "origin", "close_reason")],
            ["peer-close", 4000, None, "clean", "/echo", None, r"\u202e\x1bhi"],
        )
        counted = ("received", "received_bytes", "sent", "sent_bytes", "dropped")
        self.assertEqual([closed[key] for key in counted], [1, 5, 1, 5, 0])
        self.assertEqual(
            [refused[key] for key in ("reason", "code", "status", "path", "origin")],
            ["not-found", None, 404, r"/\"%22\\", "https://evil.example"],
        )
        self.assertEqual((broken["reason"], broken["code"]), ("protocol-error", 1002))
        texts = [record["text"] for record in records if "text" in record]
        self.assertEqual(len(set(texts)), len(texts))
        self.assertNotIn("secret", child.out.decode())

    async def test_daemon(self) -> None:
        """The lines of a daemon are in twistd's --logfile, and none elsewhere; the format may stand in the
        configuration file."""
        place = Path(os.path.relpath(self.mktemp()))
        place.mkdir()
        (place / "config.toml").write_text('log-format = "json"\n')
        command = [*twistd(), "--pidfile=it.pid", "--logfile=it.log", "wsecho", "--listen=unix:ws.sock"]
        child = start(
            self,
            [*command, CLOSING_SOON, "--config=config.toml"],
            directory=str(place),
            descriptors={3: "r"},
        )
        self.addCleanup(self.kill_daemon, place / "it.pid")
        await child.exited
        self.assertEqual((child.status, child.out, child.err), (0, b"", b""))
        await open_websocket(self, f"ws+unix:{place}/ws.sock")
        os.kill(int((place / "it.pid").read_text()), signal.SIGTERM)
        await child.ended
        records = self.records((place / "it.log").read_text(encoding="ascii"))
        events = [(record["event"], record.get("peer")) for record in records if "event" in record]
        self.assertEqual(events, [("listening", None), ("open", "unix"), ("closed", "unix")])
        self.assertEqual(records[-1]["text"], "Server Shut Down.")

    def kill_daemon(self, pid_file: Path) -> None:
        """Kill a daemon that has outlived its test."""
        if pid_file.exists():
            os.kill(int(pid_file.read_text()), signal.SIGKILL)
