"""The command of the judge: `python -m conformance.run`; `--help` tells its options.

Exit status: 0 when every case passed and the server showed no fault, 1 when something failed, 2 when nothing
could be judged (no suite, no server, wrong options).
"""

import argparse
import datetime as dt
import importlib.metadata
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from conformance.cases import ALL_CASES, SAMPLE, select
from conformance.client import judged_command, judged_environment, run_judged, started_fuzzing_server
from conformance.report import failure_lines, has_passed, markdown_page, summary_line
from conformance.server import (
    TRANSPORTS,
    Server,
    ServerError,
    fill_template,
    log_faults,
    started_command,
    started_wsecho,
)
from conformance.suite import Suite, SuiteError, find_suite, last_case, run_client
from conformance.verdict import Outcome, ReportError, Verdict, explain, judge, read_index

__all__ = ["main"]

ROOT = Path(__file__).parents[1]
RESULTS_PAGE = ROOT / "docs" / "conformance" / "results.md"
CLIENT_PAGE = ROOT / "docs" / "conformance" / "client-results.md"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; wrong ones end the process with status 2 and one line."""
    tox = os.environ.get("TOX_ENV_DIR")
    parser = argparse.ArgumentParser(
        prog="python -m conformance.run",
        description="Judge a WebSocket server, or a client, by the Autobahn test suite, on ws and on wss.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--cases", metavar="PATTERN", nargs="+", help="these cases only: 7.1.6, or patterns like '7.*' (all)"
    )
    which.add_argument(
        "--sample", action="store_true", help="the quick choice: sections 1 to 10 and some of 12 and 13"
    )
    parser.add_argument(
        "--transport", choices=TRANSPORTS, action="append", help="this transport only (ws and wss)"
    )
    judged = parser.add_mutually_exclusive_group()
    judged.add_argument(
        "--client",
        metavar="COMMAND",
        nargs="?",
        const="",
        help="judge wsecho's client instead of its server; or another client, which goes through the cases "
        "of the fuzzing server at {url}, as {agent}, and ends",
    )
    judged.add_argument(
        "--server",
        metavar="COMMAND",
        help="judge this server instead of 'twistd -n wsecho', started once for each transport: {scheme} is "
        "ws or wss, {port} where to listen on 127.0.0.1, {cert} and {key} the PEM files of a certificate",
    )
    parser.add_argument(
        "--cache",
        metavar="DIR",
        type=Path,
        default=Path(tox) if tox else ROOT / ".cache",
        help="where the suite is installed (the tox environment, else .cache)",
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="where logs and raw reports go (CACHE/conformance-reports)"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        help="time for one transport, after which its client is taken for hanging (3600; 600 with --sample)",
    )
    parser.add_argument(
        "--write-docs",
        action="store_true",
        help="write the page of results in docs/conformance; needs a full run of wsecho",
    )
    options = parser.parse_args(arguments)
    options.transports = tuple(name for name in TRANSPORTS if name in (options.transport or TRANSPORTS))
    options.cache = options.cache.absolute()
    options.output = (options.output or options.cache / "conformance-reports").absolute()
    options.timeout = options.timeout or (600.0 if options.sample else 3600.0)
    other = options.server or options.client
    if options.write_docs and (options.cases or options.sample or other or options.transport):
        parser.error(
            "--write-docs needs every case of wsecho on both transports: give it without other choices"
        )
    try:
        options.cases = select(options.cases) if options.cases else SAMPLE if options.sample else ALL_CASES
        if options.server:
            fill_template(options.server, dict.fromkeys(("scheme", "port", "cert", "key"), "0"))
        if options.client:
            fill_template(options.client, dict.fromkeys(("url", "agent"), "0"))
    except ValueError as error:
        parser.error(str(error))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with *arguments* (those of the process, when None) and return the exit status."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    with _sigterm_unwinds(), tempfile.TemporaryDirectory(prefix="wsecho-conformance-") as folder:
        try:
            suite = find_suite(options.cache, os.environ)
            print(f"judging with {suite.description}", flush=True)
            run = Run(options, suite, Path(folder))
            if options.client is not None:
                run.judge_client(options.client)
            elif options.server:
                run.judge_command(options.server)
            else:
                run.judge_wsecho()
        except (SuiteError, ServerError) as error:
            print(f"conformance: {error}", file=sys.stderr)
            return 2
    if options.write_docs:
        write_page(run, versions(suite))
    for fault in run.faults:
        print(f"FAULT: {fault}")
    print(summary_line(run.results, run.faults))
    return 0 if has_passed(run.results, run.faults) else 1


class Run:
    """One run of the suite: what is asked for, and what has come to light so far."""

    def __init__(self, options: argparse.Namespace, suite: Suite, folder: Path) -> None:
        self.options = options
        self.suite = suite
        self.folder = folder
        """Where the server runs; outside the checkout, so that what is installed gets judged."""
        self.results: dict[str, tuple[Verdict, ...]] = {}
        """The verdicts by transport; none where the suite left no report."""
        self.faults: list[str] = []
        """What went wrong besides the cases."""

    def judge_wsecho(self) -> None:
        """Judge wsecho: one process for all transports, which must also end well and leave a clean log."""
        with started_wsecho(self.folder, self.options.output / "server.log") as (server, urls):
            for transport in self.options.transports:
                self._judge_url(transport, urls[transport])
            if server.status is None and (status := server.end()) != 0:
                self.faults.append(f"the server ended with status {status} after SIGTERM")
            self.faults += [f"in the server's log: {line}" for line in log_faults(server.text())]
            self._close_the_case(server)

    def judge_command(self, template: str) -> None:
        """Judge another server, started by *template* for each transport."""
        for transport in self.options.transports:
            log = self.options.output / transport / "server.log"
            with started_command(template, transport, self.folder, log) as (server, url):
                self._judge_url(transport, url)
                self._close_the_case(server)

    def judge_client(self, template: str) -> None:
        """Judge wsecho's client or, unless *template* is empty, another, once for each transport."""
        for transport in self.options.transports:
            directory = self.options.output / f"client-{transport}"
            try:
                with started_fuzzing_server(self.suite, directory, transport, self._cases) as (server, url):
                    self._run_judged(template, transport, url, directory)
                    if server.died:
                        raise SuiteError(f"the fuzzing server ended; {last_case(server.log)}")
            except SuiteError as error:
                self.faults.append(f"{transport}: {error}")
                self.results[transport] = ()
                continue
            self._judge_report(transport, directory, f"client-{transport}")

    def _run_judged(self, template: str, transport: str, url: str, directory: Path) -> None:
        """Run the client against the fuzzing server at *url*, and look at its end and its log."""
        agent = f"client-{transport}"
        values = {"url": url, "agent": agent}
        command = fill_template(template, values) if template else judged_command(url, agent)
        log = directory / "client.log"
        print(f"{url}: {len(self.options.cases)} cases, logs and reports in {directory}", flush=True)
        environ = judged_environment(os.environ, directory)
        status = run_judged(command, self.folder, log, environ, timeout=self.options.timeout)
        if status != 0:
            self.faults.append(f"{transport}: the client ended with status {status}; {last_case(log)}")
        lines = log_faults(log.read_text(errors="replace"))
        self.faults += [f"in the client's log: {line}" for line in lines]

    @property
    def _cases(self) -> Sequence[str]:
        """What the suite is told: all by its own count, so that a case this judge does not know comes to
        light."""
        cases: Sequence[str] = self.options.cases
        return ["*"] if cases == ALL_CASES else cases

    def _judge_url(self, transport: str, url: str) -> None:
        """Run the suite's client against *url* and judge what it reports."""
        directory = self.options.output / transport
        agent = f"server-{transport}"
        print(f"{url}: {len(self.options.cases)} cases, log and reports in {directory}", flush=True)
        try:
            run_client(
                self.suite,
                directory,
                agent=agent,
                url=url,
                cases=self._cases,
                timeout=self.options.timeout,
            )
        except SuiteError as error:
            self.faults.append(f"{transport}: {error}")
            self.results[transport] = ()
            return
        self._judge_report(transport, directory, agent)

    def _judge_report(self, transport: str, directory: Path, agent: str) -> None:
        """Judge what the suite reports about *agent*."""
        try:
            entries = read_index((directory / "reports" / "index.json").read_text(), agent)
        except (ReportError, OSError) as error:
            self.faults.append(f"{transport}: {error}")
            self.results[transport] = ()
            return
        verdicts = judge(self.options.cases, entries)
        self.results[transport] = verdicts
        failed = [verdict.case for verdict in verdicts if verdict.outcome is Outcome.FAILED]
        explanations = {case: _explanation(directory / "reports", entries.get(case)) for case in failed}
        for line in failure_lines(transport, verdicts, explanations):
            print(line, flush=True)

    def _close_the_case(self, server: Server) -> None:
        """Note a server that has died, and show the log where anything failed."""
        if server.died:
            self.faults.append(f"the server ended by itself with status {server.status}")
        if not has_passed(self.results, self.faults):
            print(f"the end of the server's log, {server.log}:\n{server.tail()}", flush=True)


def write_page(run: Run, versions: Mapping[str, str]) -> None:
    """Write the page of results for the documentation, the server's or the client's."""
    today = dt.datetime.now(dt.UTC).date()
    if run.options.client is None:
        path, page = RESULTS_PAGE, markdown_page(run.results, versions, today)
    else:
        path = CLIENT_PAGE
        page = markdown_page(run.results, versions, today, title="Results of the client", options="--client ")
    path.write_text(page, encoding="utf-8")
    print(f"written: {path}")


def _explanation(reports: Path, entry: object) -> list[str]:
    """Return what the suite's detailed report of a case says; nothing where there is none."""
    try:
        name = entry["reportfile"] if isinstance(entry, dict) else ""
        report = json.loads((reports / Path(name).name).read_text())
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return explain(report) if isinstance(report, dict) else []


def versions(suite: Suite) -> dict[str, str]:
    """Return what was judged and by what, by name, in the order to show."""
    from OpenSSL import SSL

    return {
        "wsecho": importlib.metadata.version("wsecho"),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Twisted": importlib.metadata.version("twisted"),
        "Autobahn": importlib.metadata.version("autobahn"),
        "pyOpenSSL": importlib.metadata.version("pyopenssl"),
        "OpenSSL": SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii").removeprefix("OpenSSL "),
        "suite": suite.description,
    }


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """Let SIGTERM, which tox and CI send, leave through the `finally` clauses that end server and client."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
