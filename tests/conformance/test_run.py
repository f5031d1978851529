"""Tests of the command: a server and a fuzzing client made for the purpose, both real processes."""

import io
import json
import os
import signal
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from conformance import run, server
from conformance.cases import ALL_CASES, SAMPLE
from conformance.run import main, parse
from conformance.suite import SuiteError
from conformance.verdict import WITHOUT_VERDICT

# A fuzzing client that reports what the test wants: `findings` by case, OK where nothing else is said.
CLIENT = """
import json, os, sys
from conformance.cases import ALL_CASES
findings = json.loads(sys.argv[1])
spec = json.load(open("spec.json"))
cases = ALL_CASES if spec["cases"] == ["*"] else spec["cases"]
index = {}
for case in cases:
    word = findings.get(case, "OK")
    index[case] = {"behavior": word, "behaviorClose": "OK", "reportfile": case + ".json"}
os.mkdir("reports")
json.dump({spec["servers"][0]["agent"]: index}, open("reports/index.json", "w"))
for case in findings:
    json.dump({"received": "something else"}, open("reports/" + case + ".json", "w"))
"""

WSECHO = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit({status}))
parts = "pure Python" if os.environ.get("WSECHO_PURE") == "1" else {compiled!r}
print("[wsecho#info] wsecho 1.2.3,", parts)
print("listening on ws://127.0.0.1:1/ : x\\nlistening on wss://127.0.0.1:2/ : x\\n{line}", flush=True)
while {lasting}:
    signal.pause()
"""


class Client:
    """A suite that finds what it was told to find."""

    description = "a client made for the test"

    def __init__(self, findings: dict[str, str]) -> None:
        self.findings = findings
        self.script = CLIENT

    def command(self, directory: Path) -> list[str]:
        """Return the command of the made client."""
        # The client does not inherit PYTHONPATH, and runs elsewhere.
        path = f"import sys; sys.path.insert(0, {str(run.ROOT)!r})\n"
        return [sys.executable, "-c", path + self.script, json.dumps(self.findings)]

    def server_command(self, directory: Path) -> list[str]:
        """Return no command: the suite's server is not run here."""
        raise NotImplementedError

    def cleanup(self, directory: Path) -> None:
        """Do nothing."""


class ParseTests(SynchronousTestCase):
    """The options of the command."""

    def setUp(self) -> None:
        """Keep what is said."""
        self.stderr = io.StringIO()
        self.patch(sys, "stderr", self.stderr)
        self.patch(os, "environ", {})

    def refusal(self, *arguments: str) -> str:
        """Return what is said about wrong *arguments*, which must be refused."""
        error = self.assertRaises(SystemExit, parse, arguments)
        self.assertEqual(error.code, 2)
        return self.stderr.getvalue()

    def test_everything_is_judged_unless_told_otherwise(self) -> None:
        """Without options: every case, both transports, wsecho with its compiled part and without."""
        options = parse([])
        self.assertEqual(
            (options.cases, options.transports, options.server), (ALL_CASES, ("ws", "wss"), None)
        )
        self.assertEqual(options.modes, ("compiled", "pure"))

    def test_one_mode_alone(self) -> None:
        """`--mode` leaves the other mode out; given twice it is as if it were not given."""
        self.assertEqual(parse(["--mode=pure"]).modes, ("pure",))
        self.assertEqual(parse(["--mode=pure", "--mode=compiled"]).modes, ("compiled", "pure"))

    def test_others_have_no_modes(self) -> None:
        """Another server or client is judged once on each transport, and a mode of it is refused."""
        for arguments in (["--server", "x"], ["--client", "x"]):
            self.assertEqual(parse(arguments).modes, (None,))
            self.assertIn("--mode is for wsecho", self.refusal("--mode=pure", *arguments))
        self.assertEqual(parse(["--client"]).modes, ("compiled", "pure"))

    def test_as_many_at_a_time_as_there_are_cores(self) -> None:
        """Each core judges something, unless `--jobs` says how many; none at all is refused."""
        self.patch(os, "cpu_count", lambda: 3)
        self.assertEqual(parse([]).jobs, 3)
        self.assertEqual(parse(["--jobs=1"]).jobs, 1)
        self.assertIn("--jobs=0: give 1 or more", self.refusal("--jobs=0"))

    def test_the_sample_is_shorter_and_has_less_time(self) -> None:
        """`--sample` takes the quick choice and does not wait an hour for it."""
        options = parse(["--sample"])
        self.assertEqual((options.cases, options.timeout), (SAMPLE, 600.0))

    def test_patterns_choose_cases(self) -> None:
        """`--cases` takes patterns."""
        self.assertEqual(parse(["--cases", "10.*", "2.1"]).cases, ("2.1", "10.1.1"))

    def test_a_pattern_without_cases_is_refused(self) -> None:
        """A misspelt pattern is no empty run."""
        self.assertIn("'14.*' matches no case", self.refusal("--cases", "14.*"))

    def test_a_template_with_unknown_places_is_refused(self) -> None:
        """A wrong command is told before the suite gets installed."""
        self.assertIn("'prot'", self.refusal("--server", "serve {prot}"))

    def test_the_page_is_written_from_full_runs_of_wsecho_only(self) -> None:
        """Results of a part, or of another server, do not get into the documentation."""
        for choice in (
            ["--sample"],
            ["--cases", "1.*"],
            ["--server", "x"],
            ["--transport", "ws"],
            ["--mode", "pure"],
        ):
            self.assertIn("--write-docs needs every case", self.refusal("--write-docs", *choice))

    def test_suite_and_reports_go_where_they_are_never_committed(self) -> None:
        """Under tox all stays in its environment, otherwise in .cache; `--output` moves the reports."""
        self.assertEqual(parse([]).cache, run.ROOT / ".cache")
        self.patch(os, "environ", {"TOX_ENV_DIR": "/t"})
        self.assertEqual(parse([]).output, Path("/t/conformance-reports"))
        self.assertEqual(parse(["--output", "/o"]).output, Path("/o"))


class MainTests(SynchronousTestCase):
    """A run from start to exit status."""

    def setUp(self) -> None:
        """Put the made client and a made wsecho in place, and keep what is said."""
        self.folder = Path(self.mktemp()).absolute()
        self.client = Client({})
        self.patch(run, "find_suite", lambda *_: self.client)
        self.wsecho()
        self.patch(run, "RESULTS_PAGE", self.folder / "results.md")
        self.stdout, self.stderr = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.stdout)
        self.patch(sys, "stderr", self.stderr)

    def wsecho(
        self,
        *,
        status: int = 0,
        line: str = "",
        lasting: bool = True,
        compiled: str = "with its compiled part",
    ) -> None:
        """Make a wsecho that logs *line* and ends with *status*, on SIGTERM or, not *lasting*, at once.

        :param compiled: what it says of its compiled part where it may use one
        """
        script = WSECHO.format(status=status, line=line, lasting=lasting, compiled=compiled)
        self.patch(server, "wsecho_command", lambda *_: [sys.executable, "-c", script])

    def run_main(self, *arguments: str) -> tuple[int, str]:
        """Run the command; return its exit status and what it said on stdout."""
        status = main([f"--cache={self.folder}", *arguments])
        return status, self.stdout.getvalue()

    def test_all_well(self) -> None:
        """When all 517 cases are OK on both transports in both modes the status is 0, and it is said."""
        status, said = self.run_main()
        self.assertEqual(status, 0, said)
        counts = "517 cases: 517 OK, 0 informational, 0 failed"
        names = ("compiled ws", "compiled wss", "pure ws", "pure wss")
        self.assertEqual(
            said.splitlines()[-1], "conformance PASSED: " + "; ".join(f"{name} {counts}" for name in names)
        )

    def test_the_mode_is_the_processes_own_word(self) -> None:
        """A wsecho that has no compiled part, or none for TLS on wss, is not judged as one that has."""
        for words, transport in (("pure Python", "ws"), ("with its compiled part, but not for TLS", "wss")):
            self.wsecho(compiled=words)
            status, _ = self.run_main("--cases", "1.1.1", "--transport", transport)
            self.assertEqual(status, 2)
            self.assertIn(f"compiled {transport}: what ran was wsecho, {words}", self.stderr.getvalue())
            self.assertEqual(self.run_main("--cases", "1.1.1", "--mode", "pure")[0], 0)

    def test_a_wsecho_that_does_not_tell_its_mode(self) -> None:
        """Without the server's word nothing is judged."""
        self.wsecho(compiled="odd")
        self.assertEqual(self.run_main("--cases", "1.1.1")[0], 2)
        self.assertIn("the log does not say whether", self.stderr.getvalue())

    def test_a_failed_case_is_told_with_what_was_received(self) -> None:
        """A case that is not OK makes the status 1, is explained, and the server's log is shown."""
        self.client = Client({"9.1.1": "NON-STRICT"})
        self.wsecho(line="a word of the server")
        status, said = self.run_main("--cases", "9.1.*")
        self.assertEqual(status, 1)
        self.assertIn(
            "pure ws 9.1.1 FAILED: behavior NON-STRICT, behaviorClose OK\n    received: something else\n",
            said,
        )
        self.assertIn("\na word of the server\n", said)
        self.assertIn(
            "conformance FAILED: compiled ws 6 cases: 5 OK, 0 informational, 1 failed; compiled wss", said
        )

    def test_a_failed_case_without_details_is_told_too(self) -> None:
        """The suite's detailed report may be missing: the case is told all the same."""
        self.client = Client({"9.1.1": "FAILED"})
        self.client.script = CLIENT.replace("for case in findings", "for case in ()")
        status, said = self.run_main("--cases", "9.1.1")
        self.assertEqual(status, 1)
        self.assertIn("ws 9.1.1 FAILED", said)

    def test_a_client_without_report_is_a_failure(self) -> None:
        """A client that ends well and leaves nothing has not found the server faultless."""
        self.client.script = ""
        status, said = self.run_main()
        self.assertEqual(status, 1)
        self.assertIn("FAULT: pure ws: ", said)
        self.assertIn("pure ws 0 cases", said)

    def test_a_client_that_fails_is_a_failure(self) -> None:
        """A client that ends with an error is told as a fault, on each transport."""
        self.client.script = "import sys; sys.exit(3)"
        status, said = self.run_main("--sample")
        self.assertEqual(status, 1)
        self.assertIn("FAULT: pure wss: the fuzzing client ended with status 3", said)

    def test_one_transport_alone(self) -> None:
        """`--transport` leaves the other one alone."""
        status, said = self.run_main("--transport", "wss", "--cases", "1.1.1")
        self.assertEqual((status, "ws 1" in said.replace("wss", "")), (0, False))

    def test_one_at_a_time(self) -> None:
        """With `--jobs=1` each is finished before the next begins."""
        status, said = self.run_main("--jobs=1", "--cases", "1.1.1")
        self.assertEqual(status, 0)
        begun = [line.partition(":")[0] for line in said.splitlines() if " cases at " in line]
        self.assertEqual(begun, ["compiled ws", "compiled wss", "pure ws", "pure wss"])

    def test_a_missing_suite_is_a_failure(self) -> None:
        """Without the suite the status is 2, and what is missing is said."""

        def missing(*_: object) -> None:
            raise SuiteError("no python2.7")

        self.patch(run, "find_suite", missing)
        self.assertEqual(self.run_main()[0], 2)
        self.assertEqual(self.stderr.getvalue(), "conformance: no python2.7\n")

    def test_a_server_that_does_not_start_is_a_failure(self) -> None:
        """Without the server the status is 2, and its own words are shown."""
        script = "import sys; sys.exit('unknown option')"
        self.patch(server, "wsecho_command", lambda *_: [sys.executable, "-c", script])
        self.assertEqual(self.run_main()[0], 2)
        self.assertIn("unknown option", self.stderr.getvalue())

    def test_a_server_that_ends_badly_is_a_failure(self) -> None:
        """SIGTERM must end wsecho with status 0, however good the cases were."""
        self.wsecho(status=5)
        status, said = self.run_main("--cases", "1.1.1")
        self.assertEqual(status, 1)
        self.assertIn("FAULT: pure ws: the server ended with status 5 after SIGTERM", said)

    def test_a_server_that_dies_is_a_failure(self) -> None:
        """A server that is gone before it is asked to has failed, even with status 0."""
        self.wsecho(lasting=False)
        status, said = self.run_main("--cases", "1.1.1")
        self.assertEqual(status, 1)
        self.assertIn("FAULT: compiled ws: the server ended by itself with status 0", said)

    def test_an_unhandled_exception_in_the_log_is_a_failure(self) -> None:
        """A case may pass while the server loses an exception: the log tells."""
        self.wsecho(line="Unhandled Error")
        status, said = self.run_main("--cases", "1.1.1")
        self.assertEqual(status, 1)
        self.assertIn("FAULT: compiled wss: in the server's log: Unhandled Error", said)

    def test_another_server_is_judged_by_its_cases(self) -> None:
        """A server given by its command is started for each transport; its way to end is its own affair."""
        script = self.folder / "listen.py"
        self.folder.mkdir()
        script.write_text(
            "import signal, socket, sys\n"
            "listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
            "print(sys.argv[2], 'Traceback (most recent call last):', flush=True)\n"
            "signal.pause()\n"
        )
        command = f"{sys.executable} {script} {{port}} {{scheme}}"
        status, said = self.run_main("--cases", "1.1.1", "--server", command)
        self.assertEqual(status, 0, said)
        for transport in ("ws", "wss"):
            log = self.folder / "conformance-reports" / transport / "server.log"
            self.assertTrue(log.read_text().startswith(f"{transport} "))

    def test_the_page_is_written_when_asked_for(self) -> None:
        """`--write-docs` writes the page with the versions of this environment; nothing else does."""
        self.client = Client(dict.fromkeys(WITHOUT_VERDICT, "INFORMATIONAL"))
        self.patch(run, "versions", lambda suite: {"suite": suite.description})
        self.assertEqual(self.run_main("--cases", "1.1.1")[0], 0)
        self.assertFalse(run.RESULTS_PAGE.exists())
        self.assertEqual(self.run_main("--write-docs")[0], 0)
        page = run.RESULTS_PAGE.read_text()
        self.assertIn("| suite | a client made for the test |", page)
        self.assertEqual(page.count("| | **all** | 517 | 514 | 3 | 0 |"), 4)
        self.assertIn("| [pure wss](#pure-wss) | pure Python | 517 | 514 | 3 | 0 | 0 |", page)

    def test_sigterm_is_given_back(self) -> None:
        """SIGTERM unwinds a run, so that nothing is left running; after it all is as before."""
        before = signal.getsignal(signal.SIGTERM)
        seen = []

        def find_suite(*_: object) -> Client:
            seen.append(signal.getsignal(signal.SIGTERM))
            signal.raise_signal(signal.SIGTERM)
            return self.client

        self.patch(run, "find_suite", find_suite)
        error = self.assertRaises(SystemExit, self.run_main)
        self.assertEqual(error.code, 143)
        self.assertNotEqual(seen, [before])
        self.assertEqual(signal.getsignal(signal.SIGTERM), before)
