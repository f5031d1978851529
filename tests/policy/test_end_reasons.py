"""The closed list of why connections end."""

from __future__ import annotations

import dataclasses
import re

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.close_codes import may_be_sent
from wsecho.policy.end_reasons import END_REASONS, End, EndReason, reason_for_code, reason_for_status
from wsecho.policy.http import REASON_PHRASES

#: Statuses that are somebody else's decision, and so have no reason of their own.
NOT_OURS = {301, 302, 303, 307, 308, 401, 402, 403, 406, 409, 410, 413, 414, 451, 501, 502, 504}


class TableTests(SynchronousTestCase):
    """`END_REASONS`."""

    def test_each_once(self) -> None:
        """Every reason has one row, in the order of the enumeration."""
        self.assertEqual([row.reason for row in END_REASONS], list(EndReason))

    def test_names(self) -> None:
        """A name is of lower-case words and hyphens: a label that needs no quoting in logs and metrics."""
        for reason in EndReason:
            self.assertTrue(re.fullmatch(r"[a-z]+(-[a-z]+)*", reason.value), reason)

    def test_on_the_wire(self) -> None:
        """The codes of the table may be sent, and its statuses have a phrase."""
        for row in END_REASONS:
            self.assertTrue(row.code is None or may_be_sent(row.code), row)
            self.assertTrue(row.status is None or row.status in REASON_PHRASES, row)

    def test_meanings(self) -> None:
        """Each row says what it means, in a sentence."""
        for row in END_REASONS:
            self.assertTrue(row.meaning.endswith("."), row)


class ReasonTests(SynchronousTestCase):
    """`reason_for_code` and `reason_for_status`."""

    def test_codes(self) -> None:
        """The codes by which a connection is failed give the reasons that the table has them for."""
        for code in (1002, 1007, 1008, 1009, 1011):
            rows = [row for row in END_REASONS if row.code == code]
            self.assertEqual([row.reason for row in rows], [reason_for_code(code)])

    def test_other_codes(self) -> None:
        """Any other code is a close by the server."""
        self.assertIs(reason_for_code(4000), EndReason.SERVER_CLOSE)

    def test_statuses(self) -> None:
        """Each status that wsecho answers by itself has the reason that the table has it for."""
        for status in REASON_PHRASES.keys() - NOT_OURS:
            self.assertIsNot(reason_for_status(status), EndReason.DENIED, status)
        for row in END_REASONS:
            if row.status is not None and row.reason not in (EndReason.SHUTDOWN, EndReason.ORIGIN_DENIED):
                self.assertIs(reason_for_status(row.status), row.reason)

    def test_other_statuses(self) -> None:
        """Any other status is a decision of the program."""
        self.assertIs(reason_for_status(418), EndReason.DENIED)


class EndTests(SynchronousTestCase):
    """`End`."""

    def test_value(self) -> None:
        """An end is a value: equal by its parts, and unchangeable."""
        end = End(EndReason.PEER_CLOSE, code=1000)
        self.assertEqual(end, End(EndReason.PEER_CLOSE, 1000, None))
        self.assertRaises(dataclasses.FrozenInstanceError, setattr, end, "code", 1001)
