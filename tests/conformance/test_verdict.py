"""Tests of the judgement."""

import json

from twisted.trial.unittest import SynchronousTestCase

from conformance.cases import ALL_CASES
from conformance.verdict import Outcome, ReportError, Verdict, explain, judge, judge_case, read_index


def entry(behavior: str = "OK", close: str = "OK") -> dict[str, object]:
    """Return an entry of ``index.json`` as the suite writes it."""
    return {"behavior": behavior, "behaviorClose": close, "duration": 1, "remoteCloseCode": 1000}


class ReadIndexTests(SynchronousTestCase):
    """`read_index` takes the report of one server."""

    def test_the_entries_of_the_agent_are_returned(self) -> None:
        """The report of the server asked about is given by case."""
        entries = read_index(json.dumps({"ours": {"1.1.1": entry()}}), "ours")
        self.assertEqual(entries, {"1.1.1": entry()})

    def test_another_servers_report_is_refused(self) -> None:
        """A report on another server, or on more than one, is not judged."""
        for text in ('{"other": {}}', '{"ours": {}, "other": {}}', "{}"):
            self.assertRaises(ReportError, read_index, text, "ours")

    def test_what_is_no_report_is_refused(self) -> None:
        """Text that is no JSON, or JSON of another shape, gives one clear error."""
        for text in ("", "{", "[]", "null", '{"ours": []}'):
            self.assertRaises(ReportError, read_index, text, "ours")


class JudgeCaseTests(SynchronousTestCase):
    """`judge_case` looks at both findings of one case."""

    def test_both_findings_ok(self) -> None:
        """A case has passed when messages and close are both OK."""
        self.assertEqual(judge_case("1.1.1", entry()), Verdict("1.1.1", Outcome.OK))

    def test_one_finding_that_is_not_ok_fails_the_case(self) -> None:
        """Whatever else the suite finds, in either place, is a failure; NON-STRICT too."""
        for word in (
            "NON-STRICT",
            "UNIMPLEMENTED",
            "FAILED",
            "WRONG CODE",
            "UNCLEAN",
            "FAILED BY CLIENT",
            "",
            "ok",
        ):
            for findings in ((word, "OK"), ("OK", word)):
                self.assertIs(judge_case("1.1.1", entry(*findings)).outcome, Outcome.FAILED, findings)

    def test_informational_where_the_suite_has_no_verdict(self) -> None:
        """Three cases are informational by nature, and that is no failure."""
        for case in ("7.1.6", "7.13.1", "7.13.2"):
            self.assertEqual(
                judge_case(case, entry("INFORMATIONAL", "INFORMATIONAL")),
                Verdict(case, Outcome.INFORMATIONAL),
            )

    def test_informational_anywhere_else_is_a_failure(self) -> None:
        """The word excuses no other case, be it in only one finding."""
        for findings in (
            ("INFORMATIONAL", "INFORMATIONAL"),
            ("INFORMATIONAL", "OK"),
            ("OK", "INFORMATIONAL"),
        ):
            self.assertIs(judge_case("7.1.5", entry(*findings)).outcome, Outcome.FAILED, findings)

    def test_a_case_without_verdict_can_still_fail(self) -> None:
        """The three informational cases are excused for that word alone."""
        self.assertIs(judge_case("7.1.6", entry("INFORMATIONAL", "FAILED")).outcome, Outcome.FAILED)
        self.assertIs(judge_case("7.1.6", entry("NON-STRICT", "INFORMATIONAL")).outcome, Outcome.FAILED)

    def test_the_reason_names_both_findings(self) -> None:
        """A failure tells what the suite found about messages and about the close."""
        self.assertEqual(
            judge_case("7.9.1", entry("OK", "UNCLEAN")).reason, "behavior OK, behaviorClose UNCLEAN"
        )

    def test_an_entry_that_lacks_a_finding_is_a_failure(self) -> None:
        """Nothing is OK unless the report says so."""
        for broken in ({"behavior": "OK"}, {"behaviorClose": "OK"}, {}, None, "OK", ["OK", "OK"]):
            self.assertIs(judge_case("1.1.1", broken).outcome, Outcome.FAILED, broken)

    def test_findings_of_another_type_are_a_failure(self) -> None:
        """A finding that is no text, even one that cannot be hashed, fails its case and nothing else."""
        for finding in (None, True, ["OK"], {"OK": 1}):
            broken = {"behavior": finding, "behaviorClose": "OK"}
            for case in ("1.1.1", "7.1.6"):
                self.assertIs(judge_case(case, broken).outcome, Outcome.FAILED, finding)


class JudgeTests(SynchronousTestCase):
    """`judge` wants exactly the cases that were asked for."""

    def test_a_complete_report_passes(self) -> None:
        """All 517 cases, all OK, are 517 verdicts without a failure."""
        verdicts = judge(ALL_CASES, dict.fromkeys(ALL_CASES, entry()))
        self.assertEqual(
            [(verdict.case, verdict.outcome) for verdict in verdicts], [(c, Outcome.OK) for c in ALL_CASES]
        )

    def test_a_missing_case_is_a_failure(self) -> None:
        """A case that the report leaves out is judged all the same, and has failed."""
        verdicts = judge(["1.1.1", "1.1.2"], {"1.1.1": entry()})
        self.assertEqual([verdict.outcome for verdict in verdicts], [Outcome.OK, Outcome.FAILED])
        self.assertIn("missing", verdicts[1].reason)

    def test_a_case_that_nobody_asked_for_is_a_failure(self) -> None:
        """A case unknown to the list is told, even when it is OK and has no number."""
        verdicts = judge(["1.1.1"], {"1.1.1": entry(), "14.1.1": entry(), "x": entry()})
        self.assertEqual(
            [(verdict.case, verdict.outcome) for verdict in verdicts],
            [("1.1.1", Outcome.OK), ("14.1.1", Outcome.FAILED), ("x", Outcome.FAILED)],
        )

    def test_verdicts_come_in_the_suites_order(self) -> None:
        """The order of the verdicts is by number, whatever the order of the question."""
        verdicts = judge(["10.1.1", "9.1.1", "2.10", "2.9"], {})
        self.assertEqual([verdict.case for verdict in verdicts], ["2.9", "2.10", "9.1.1", "10.1.1"])


class ExplainTests(SynchronousTestCase):
    """`explain` quotes the suite's detailed report."""

    def test_expected_and_received_are_told(self) -> None:
        """A failed case shows what should happen, what came, and how the connection ended."""
        lines = explain(
            {
                "expectation": "Receive echo'ed text message.",
                "expected": {"OK": [["message", "hello", False]]},
                "received": [["message", "HELLO", False]],
                "resultClose": "Connection was properly closed",
                "remoteCloseCode": 1000,
                "wirelog": ["not shown"],
            }
        )
        self.assertEqual(
            lines,
            [
                "should: Receive echo'ed text message.",
                'expected: {"OK": [["message", "hello", false]]}',
                'received: [["message", "HELLO", false]]',
                "close: Connection was properly closed",
                "close code: 1000",
            ],
        )

    def test_bytes_of_the_server_cannot_leave_the_line(self) -> None:
        """Control characters and what is not ASCII are escaped: the server chose them."""
        (line,) = explain({"result": "a\x1b[2Jb\nc\u202e\x9bé"})
        self.assertEqual(line, r"result: a\x1b[2Jb c\u202e\x9b\xe9")

    def test_a_long_quote_is_cut(self) -> None:
        """A report that quotes a whole message does not flood the terminal."""
        (line,) = explain({"result": "x" * 16_777_216})
        self.assertEqual(line, "result: " + "x" * 400 + " ... (16777216 characters)")
