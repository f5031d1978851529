"""One combination of transport and mode, judged from the start of the server, or client, to its end."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conformance.cases import ALL_CASES
from conformance.client import judged_command, judged_environment, run_judged, started_fuzzing_server
from conformance.modes import Combination, mode_environment, told_mode
from conformance.report import Finding, failure_lines, has_passed
from conformance.server import Server, fill_template, log_faults, started_command, started_wsecho
from conformance.side_by_side import Children
from conformance.suite import Suite, SuiteError, last_case, run_client
from conformance.verdict import Outcome, ReportError, explain, judge, read_index

__all__ = ["Judge"]


@dataclass(frozen=True, slots=True)
class Judge:
    """What all combinations of a run have in common."""

    suite: Suite
    cases: Sequence[str]
    folder: Path
    """Where servers and clients run; outside the checkout, so that what is installed gets judged."""
    output: Path
    """Where logs and raw reports go."""
    timeout: float
    """Seconds for one combination."""
    server: str | None = None
    """The command of another server."""
    client: str | None = None
    """The command of another client, or empty for wsecho's; None when a server is judged."""
    children: Children = field(default_factory=Children)

    def judge(self, combination: Combination) -> Finding:
        """Judge one combination."""
        finding = Finding()
        folder = self.folder / combination.slug
        folder.mkdir()
        if self.client is not None:
            self._judge_client(combination, finding, folder, self.client)
        elif self.server:
            self._judge_command(combination, finding, folder, self.server)
        else:
            self._judge_wsecho(combination, finding, folder)
        return finding

    def _say(self, text: str) -> None:
        """Print *text*, which stays whole beside that of other threads, unless the run was broken off."""
        if not self.children.is_over:
            print(f"{text}\n", end="", flush=True)

    def _judge_wsecho(self, combination: Combination, finding: Finding, folder: Path) -> None:
        """Judge wsecho, which must also end well and leave a clean log."""
        log = self.output / combination.slug / "server.log"
        environ = mode_environment(combination.mode, os.environ)
        with started_wsecho(folder, log, environ, self.children) as (server, urls):
            finding.told = told_mode(combination, server.text())
            self._judge_url(combination, finding, urls[combination.transport])
            if server.status is None and (status := server.end()) != 0:
                finding.faults.append(f"the server ended with status {status} after SIGTERM")
            finding.faults += [f"in the server's log: {line}" for line in log_faults(server.text())]
            self._close_the_case(combination, finding, server)

    def _judge_command(self, combination: Combination, finding: Finding, folder: Path, template: str) -> None:
        """Judge another server, started by *template*."""
        log = self.output / combination.slug / "server.log"
        with started_command(template, combination.transport, folder, log, self.children) as (server, url):
            self._judge_url(combination, finding, url)
            self._close_the_case(combination, finding, server)

    def _judge_client(self, combination: Combination, finding: Finding, folder: Path, template: str) -> None:
        """Judge wsecho's client or, unless *template* is empty, another."""
        agent = f"client-{combination.slug}"
        directory = self.output / agent
        try:
            with started_fuzzing_server(
                self.suite, directory, combination.transport, self._cases, self.children
            ) as (server, url):
                values = {"url": url, "agent": agent}
                command = fill_template(template, values) if template else judged_command(url, agent)
                self._say(f"{combination}: {len(self.cases)} cases at {url}, logs and reports in {directory}")
                environ = judged_environment(mode_environment(combination.mode, os.environ), directory)
                log = directory / "client.log"
                status = run_judged(
                    command, folder, log, environ, timeout=self.timeout, children=self.children
                )
                if status != 0:
                    finding.faults.append(f"the client ended with status {status}; {last_case(log)}")
                text = log.read_text(errors="replace")
                finding.faults += [f"in the client's log: {line}" for line in log_faults(text)]
                if combination.mode is not None:
                    finding.told = told_mode(combination, text)
                if server.died:
                    raise SuiteError(f"the fuzzing server ended; {last_case(server.log)}")
        except SuiteError as error:
            finding.faults.append(str(error))
            return
        self._judge_report(combination, finding, directory, agent)

    @property
    def _cases(self) -> Sequence[str]:
        """What the suite is told: all by its own count, so that a case this judge does not know comes to
        light."""
        return ["*"] if self.cases == ALL_CASES else self.cases

    def _judge_url(self, combination: Combination, finding: Finding, url: str) -> None:
        """Run the suite's client against *url* and judge what it reports."""
        agent = f"server-{combination.slug}"
        directory = self.output / combination.slug
        self._say(f"{combination}: {len(self.cases)} cases at {url}, log and reports in {directory}")
        try:
            run_client(
                self.suite,
                directory,
                agent=agent,
                url=url,
                cases=self._cases,
                timeout=self.timeout,
                children=self.children,
            )
        except SuiteError as error:
            finding.faults.append(str(error))
            return
        self._judge_report(combination, finding, directory, agent)

    def _judge_report(self, combination: Combination, finding: Finding, directory: Path, agent: str) -> None:
        """Judge what the suite reports about *agent*."""
        try:
            entries = read_index((directory / "reports" / "index.json").read_text(), agent)
        except (ReportError, OSError) as error:
            finding.faults.append(str(error))
            return
        finding.verdicts = judge(self.cases, entries)
        failed = [verdict.case for verdict in finding.verdicts if verdict.outcome is Outcome.FAILED]
        explanations = {case: _explanation(directory / "reports", entries.get(case)) for case in failed}
        for line in failure_lines(str(combination), finding.verdicts, explanations):
            self._say(line)

    def _close_the_case(self, combination: Combination, finding: Finding, server: Server) -> None:
        """Note a server that has died, and show the log where anything failed."""
        if server.died:
            finding.faults.append(f"the server ended by itself with status {server.status}")
        if not has_passed({str(combination): finding}):
            self._say(f"the end of the server's log, {server.log}:\n{server.tail()}")


def _explanation(reports: Path, entry: object) -> list[str]:
    """Return what the suite's detailed report of a case says; nothing where there is none."""
    try:
        name = entry["reportfile"] if isinstance(entry, Mapping) else ""
        report = json.loads((reports / Path(name).name).read_text())
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return explain(report) if isinstance(report, dict) else []
