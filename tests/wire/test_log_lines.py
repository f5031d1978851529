"""Tests for `wsecho.wire.log_lines`."""

from __future__ import annotations

from typing import Any, cast

from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.log_keys import EVENTS
from wsecho.wire import log_lines
from wsecho.wire.log_lines import log_end, log_message, log_open


class _Bare:
    """Whatever attributes it is given."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def connection(**attributes: Any) -> _Bare:
    """A connection to which a message came."""
    traffic = _Bare(
        incomingWebSocketMessages=1,
        incomingOctetsAppLevel=5,
        outgoingWebSocketMessages=2,
        outgoingOctetsAppLevel=10,
    )
    return _Bare(
        **{
            "id": 7,
            "peer": "127.0.0.1:1",
            "websocket_protocol_in_use": None,
            "_described_path": "/",
            "_described_origin": None,
            "_opened_at": 1.0,
            "_started_at": 0.5,
            "trafficStats": traffic,
            "end": End(EndReason.PEER_CLOSE, 1000, None),
            "closed_cleanly": True,
            "link": _Bare(outbox=_Bare(dropped=3)),
            "remoteCloseReason": None,
            **attributes,
        }
    )


class LogLinesTests(SynchronousTestCase):
    """`log_open`, `log_end` and `log_message`."""

    def setUp(self) -> None:
        """Collect the events."""
        self.events: list[Any] = []
        publisher = LogPublisher(cast(ILogObserver, self.events.append))
        self.patch(log_lines, "_log", Logger("wsecho", observer=publisher))

    def one(self) -> tuple[str, dict[str, Any]]:
        """The text of the one line, and its fields, which are those of the table."""
        (event,) = self.events
        self.events.clear()
        return formatEvent(event), {key: event[key] for key in EVENTS[event["event"]].keys}

    def test_open(self) -> None:
        """A connection that opens has its peer, path, origin and subprotocol, escaped, in text and fields."""
        log_open(connection())
        text, fields = self.one()
        self.assertEqual(text, '7 open: peer=127.0.0.1:1 path="/" origin="-" subprotocol="-"')
        self.assertEqual((fields["origin"], fields["subprotocol"]), (None, None))
        log_open(connection(_described_origin="http://a", websocket_protocol_in_use='a"'))
        text, fields = self.one()
        self.assertTrue(text.endswith(r'origin="http://a" subprotocol="a\""'), text)
        self.assertEqual(fields["subprotocol"], r"a\"")

    def test_closed(self) -> None:
        """One that ends has its reason, how long it was open, and what it carried."""
        log_end(connection(remoteCloseReason="\x1b"), 3.25)
        text, fields = self.one()
        self.assertEqual(
            text,
            "7 closed: reason=peer-close code=1000 status=- ended=clean peer=127.0.0.1:1 "
            r'path="/" origin="-" seconds=2.250 received=1/5 sent=2/10 dropped=3 close_reason="\x1b"',
        )
        self.assertEqual((fields["seconds"], fields["close_reason"], fields["status"]), (2.25, r"\x1b", None))

    def test_not_opened(self) -> None:
        """One that never opened says so, and how long it lasted."""
        end = End(EndReason.NOT_FOUND, None, 404)
        log_end(connection(_opened_at=None, _described_path=None, end=end, closed_cleanly=False), 1.0)
        text, fields = self.one()
        self.assertTrue(text.startswith("7 not opened: reason=not-found code=- status=404 ended=cut "), text)
        self.assertIn('path="-"', text)
        self.assertEqual((fields["seconds"], fields["code"], fields["path"]), (0.5, None, None))

    def test_message(self) -> None:
        """A message has its direction, type and size, and is escaped."""
        log_message(connection(), "sent", b"a\x00{b}", True)
        self.assertEqual(self.one()[0], r'7 sent binary 5: "a\x00{b}"')

    def test_like_logger(self) -> None:
        """The event has what Twisted's own logger gives to each."""
        log_open(connection())
        log_lines._log.info("{line}", line="x")
        ours, theirs = self.events
        self.assertLessEqual(set(theirs), set(ours))
        for name in ("log_logger", "log_level", "log_namespace", "log_source", "log_format"):
            self.assertEqual(ours[name], theirs[name], name)
        self.assertIs(ours["log_level"], LogLevel.info)
        self.assertLess(abs(ours["log_time"] - theirs["log_time"]), 60)
