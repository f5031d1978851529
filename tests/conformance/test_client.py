"""Tests of judging a client: a fuzzing server and clients made for the purpose, all real processes."""

import io
import json
import os
import ssl
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from conformance import judging, run
from conformance.client import judged_command, judged_environment, run_judged, started_fuzzing_server
from conformance.run import main, parse
from conformance.server import ServerError
from conformance.suite import DockerSuite, PythonSuite, SuiteError

# A fuzzing server as the judge sees one: it listens where spec.json says, and its report is there before a
# client comes.
SERVER = """
import json, os, socket, sys, urllib.parse
from conformance.cases import ALL_CASES
findings = json.loads(sys.argv[1])
spec = json.load(open("spec.json"))
print(os.environ.get("PYTHONPATH"), flush=True)
if not {starts}:
    sys.exit(3)
url = urllib.parse.urlsplit(spec["url"])
cases = ALL_CASES if spec["cases"] == ["*"] else spec["cases"]
index = {{}}
for case in cases:
    word = findings.get(case, "OK")
    index[case] = {{"behavior": word, "behaviorClose": "OK", "reportfile": case + ".json"}}
os.mkdir("reports")
json.dump({{os.path.basename(os.getcwd()): index}}, open("reports/index.json", "w"))
with socket.create_server((url.hostname, url.port)) as listening:
    listening.accept()[0].close()
    while True:
        listening.accept()[0].close()
"""

#: What wsecho's client says at first.
TELLING = """
import os
print("wsecho 1.2.3,", "pure Python" if os.environ.get("WSECHO_PURE") == "1" else "with its compiled part")
"""

#: A client that comes and goes.
CLIENT = (
    "import socket, sys, urllib.parse; url = urllib.parse.urlsplit(sys.argv[1]); "
    "socket.create_connection((url.hostname, url.port)); print(sys.argv[2])"
)

#: A client that comes again and again, until nobody listens.
UNTIL_REFUSED = """
import socket, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
while True:
    try:
        socket.create_connection((url.hostname, url.port)).close()
    except OSError:
        break
"""


class FuzzingServer:
    """A suite whose server finds what it was told to find.

    :ivar cleaned: how often its remains were ended
    """

    description = "a server made for the test"

    def __init__(self) -> None:
        self.findings: dict[str, str] = {}
        self.script = SERVER.format(starts=True)
        self.cleaned = 0

    def command(self, directory: Path) -> list[str]:
        """Return no command: the suite's client is not run here."""
        raise NotImplementedError

    def server_command(self, directory: Path) -> list[str]:
        """Return the command of the made server."""
        path = f"import sys; sys.path.insert(0, {str(run.ROOT)!r})\n"
        return [sys.executable, "-c", path + self.script, json.dumps(self.findings)]

    def cleanup(self, directory: Path) -> None:
        """Count."""
        self.cleaned += 1


class ServerTests(SynchronousTestCase):
    """The fuzzing server's start and end."""

    def setUp(self) -> None:
        """Make a suite and a folder."""
        self.suite = FuzzingServer()
        self.folder = Path(self.mktemp()).absolute()

    def spec(self) -> dict[str, object]:
        """Return what the server was told."""
        spec: dict[str, object] = json.loads((self.folder / "spec.json").read_text())
        return spec

    def test_it_listens_on_loopback_until_it_is_left(self) -> None:
        """The server is there with the URL, the cases and a report folder of its own, and gone afterwards."""
        with started_fuzzing_server(self.suite, self.folder, "ws", ["1.*"]) as (server, url):
            self.assertRegex(url, r"\Aws://127\.0\.0\.1:[0-9]+/\Z")
            self.assertEqual(self.spec(), {"url": url.rstrip("/"), "outdir": "./reports", "cases": ["1.*"]})
            self.assertIsNone(server.status)
        self.assertIsNotNone(server.status)
        self.assertFalse(server.died)
        self.assertEqual(self.suite.cleaned, 1)

    def test_it_sees_no_modules_of_python_3(self) -> None:
        """Python 2.7 does not inherit PYTHONPATH."""
        self.patch(os, "environ", {**os.environ, "PYTHONPATH": "/somewhere"})
        with started_fuzzing_server(self.suite, self.folder, "ws", ["*"]) as (server, _):
            self.assertIn("None", server.text())

    def test_earlier_reports_are_removed(self) -> None:
        """What an earlier run left is not judged."""
        (self.folder / "reports").mkdir(parents=True)
        (self.folder / "reports" / "index.json").write_text("old")
        with started_fuzzing_server(self.suite, self.folder, "ws", ["*"]):
            self.assertNotEqual((self.folder / "reports" / "index.json").read_text(), "old")

    def test_its_certificate_is_for_the_address(self) -> None:
        """On wss the server has a certificate for 127.0.0.1, of an authority that the client is told of."""
        with started_fuzzing_server(self.suite, self.folder, "wss", ["*"]) as (_, url):
            self.assertTrue(url.startswith("wss://127.0.0.1:"))
        spec = self.spec()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.folder / str(spec["cert"]), self.folder / str(spec["key"]))
        authority = judged_environment({"A": "b"}, self.folder)
        self.assertEqual(authority["A"], "b")
        ssl.create_default_context(cafile=authority["SSL_CERT_FILE"])

    def test_a_server_that_does_not_start_is_told(self) -> None:
        """A server that ends at once is no fault of the client's."""
        self.suite.script = SERVER.format(starts=False)
        starting = started_fuzzing_server(self.suite, self.folder, "ws", ["*"])
        error = self.assertRaises(ServerError, starting.__enter__)
        self.assertIn("ended with status 3", str(error))
        self.assertEqual(self.suite.cleaned, 1)

    def test_commands_of_the_suite(self) -> None:
        """The suite's own server listens on loopback, and never has its web server."""
        ours = PythonSuite(Path("python"), "2.7.18").server_command(self.folder)
        self.assertIn('interface="127.0.0.1"', ours[ours.index("-c") + 1])
        for command in (ours, DockerSuite("docker").server_command(self.folder)):
            self.assertEqual(
                command[-6:], ["--mode", "fuzzingserver", "--webport", "0", "--spec", "spec.json"]
            )


class JudgedTests(SynchronousTestCase):
    """The client's process."""

    def setUp(self) -> None:
        """Make a folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.log = self.folder / "client.log"

    def run_python(self, script: str, timeout: float = 60.0) -> int:
        """Run *script* as the client."""
        command = [sys.executable, "-c", script]
        return run_judged(command, self.folder, self.log, os.environ, timeout=timeout)

    def test_its_status_and_its_words_are_kept(self) -> None:
        """The exit status is returned, and what the client says is in the log."""
        self.assertEqual(self.run_python("import os; print(os.getcwd()); raise SystemExit(5)"), 5)
        self.assertIn(self.folder.name, self.log.read_text())

    def test_a_hanging_client_is_ended(self) -> None:
        """A client that does not end in time is ended, and its last words are told."""
        error = self.assertRaises(
            SuiteError, self.run_python, "print('case 7', flush=True); import signal; signal.pause()", 1.0
        )
        self.assertIn("did not end within 1 seconds", str(error))
        self.assertIn("case 7", str(error))

    def test_a_missing_command_is_told(self) -> None:
        """A command that is not there is one line."""
        error = self.assertRaises(
            SuiteError, run_judged, ["/nowhere"], self.folder, self.log, {}, timeout=1.0
        )
        self.assertIn("cannot be started", str(error))

    def test_wsechos_client_is_the_installed_one(self) -> None:
        """The judged program is run with -P: a folder beside it is not what gets judged."""
        command = judged_command("ws://h/", "agent")
        self.assertEqual((command[1], command[3:]), ("-P", ["ws://h/", "agent"]))
        self.assertTrue(Path(command[2]).is_file())


class MainTests(SynchronousTestCase):
    """`--client` from start to exit status."""

    def setUp(self) -> None:
        """Put the made server in place, and keep what is said."""
        self.folder = Path(self.mktemp()).absolute()
        self.suite = FuzzingServer()
        self.patch(run, "find_suite", lambda *_: self.suite)
        self.patch(run, "CLIENT_PAGE", self.folder / "client-results.md")
        self.client(CLIENT)
        self.stdout, self.stderr = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.stdout)
        self.patch(sys, "stderr", self.stderr)

    def client(self, script: str) -> None:
        """Put *script* in the place of wsecho's client, behind what it says of its compiled part."""
        script = TELLING + script
        self.patch(judging, "judged_command", lambda *arguments: [sys.executable, "-c", script, *arguments])

    def run_main(self, *arguments: str) -> tuple[int, str]:
        """Run the command; return its exit status and what it said on stdout."""
        status = main([f"--cache={self.folder}", "--client", *arguments])
        return status, self.stdout.getvalue()

    def test_all_well(self) -> None:
        """When all 517 cases are OK on both transports in both modes the status is 0, and it is said."""
        status, said = self.run_main()
        self.assertEqual(status, 0)
        self.assertIn(
            "conformance PASSED: compiled ws 517 cases: 517 OK, 0 informational, 0 failed; compiled wss 517",
            said,
        )
        logs = self.folder / "conformance-reports"
        self.assertEqual(
            (logs / "client-pure-ws" / "client.log").read_text(),
            "wsecho 1.2.3, pure Python\nclient-pure-ws\n",
        )

    def test_the_mode_is_the_processes_own_word(self) -> None:
        """A client that does not say that it has the compiled part is not judged as one that has."""
        self.patch(judging, "mode_environment", lambda *_: {**os.environ, "WSECHO_PURE": "1"})
        self.assertEqual(self.run_main("--cases", "1.1.1")[0], 2)
        self.assertIn("what ran was wsecho, pure Python", self.stderr.getvalue())

    def test_a_failed_case(self) -> None:
        """A case that is not OK makes the status 1, and is told."""
        self.suite.findings = {"2.1": "NON-STRICT"}
        status, said = self.run_main("--cases", "2.*")
        self.assertEqual(status, 1)
        self.assertIn("pure wss 2.1 FAILED: behavior NON-STRICT", said)

    def test_a_client_that_ends_badly(self) -> None:
        """A client that ends with another status than 0 has failed, whatever the report says."""
        self.client(CLIENT + "; sys.exit(9)")
        status, said = self.run_main("--transport", "ws")
        self.assertEqual(status, 1)
        self.assertIn("FAULT: pure ws: the client ended with status 9", said)

    def test_an_exception_in_the_log(self) -> None:
        """An exception that nobody handled is a fault, whatever the report says."""
        self.client(CLIENT + "; print('Unhandled Error')")
        status, said = self.run_main("--transport", "ws")
        self.assertEqual(status, 1)
        self.assertIn("FAULT: pure ws: in the client's log: Unhandled Error", said)

    def test_a_hanging_client(self) -> None:
        """A client that hangs is a fault, and the other transport is judged all the same."""
        self.client("import signal, sys; 'wss' in sys.argv[2] or signal.pause(); " + CLIENT)
        status, said = self.run_main("--timeout", "1")
        self.assertEqual(status, 1)
        self.assertIn("FAULT: pure ws: the client did not end", said)
        self.assertIn("pure wss 517 cases: 517 OK", said)

    def test_a_server_that_dies(self) -> None:
        """A fuzzing server that ends by itself leaves nothing to judge by."""
        forever = "    while True:\n        listening.accept()[0].close()\n"
        self.suite.script = SERVER.format(starts=True).replace(
            forever, "    listening.accept()\n    os._exit(0)\n"
        )
        # The listening socket lives as long as the process: a refused connection tells that it is over.
        self.client(UNTIL_REFUSED)
        status, said = self.run_main("--transport", "ws")
        self.assertEqual(status, 1)
        self.assertIn("FAULT: pure ws: the fuzzing server ended", said)

    def test_no_report(self) -> None:
        """A report about somebody else is a fault."""
        self.suite.script = SERVER.format(starts=True).replace("os.path.basename(os.getcwd())", "'other'")
        status, said = self.run_main("--transport", "ws")
        self.assertEqual(status, 1)
        self.assertIn("FAULT: pure ws: index.json should report on client-pure-ws alone", said)

    def test_another_client(self) -> None:
        """Another client is a command with places for URL and agent."""
        script = self.folder / "client.py"
        self.folder.mkdir()
        script.write_text(CLIENT)
        status, said = self.run_main(f"{sys.executable} {script} {{url}} {{agent}}", "--transport", "ws")
        self.assertEqual(status, 0, said)

    def test_a_template_with_unknown_places(self) -> None:
        """A wrong command is told before the suite gets installed."""
        self.assertRaises(SystemExit, parse, ["--client", "run {port}"])
        self.assertIn("'port'", self.stderr.getvalue())

    def test_server_or_client(self) -> None:
        """One run judges a server or a client, and results of another's do not get into the
        documentation."""
        for arguments in (["--client", "--server", "x"], ["--client", "x {url}", "--write-docs"]):
            self.assertRaises(SystemExit, parse, arguments)

    def test_the_page(self) -> None:
        """A full run writes the client's own page."""
        self.folder.mkdir()
        # The checkout on the path has no metadata.
        self.patch(run, "versions", lambda _: {"wsecho": "1.2.3"})
        status, _ = self.run_main("--write-docs")
        self.assertEqual(status, 0)
        page = (self.folder / "client-results.md").read_text()
        self.assertIn("# Results of the client", page)
        self.assertIn("tox -e conformance -- --client --write-docs", page)
