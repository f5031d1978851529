"""The command of the judge: `python -m conformance.run`; `--help` tells its options.

Exit status: 0 when every case passed and the server showed no fault, 1 when something failed, 2 when nothing
could be judged (no suite, no server, no compiled part where it was asked for, wrong options).
"""

import argparse
import datetime as dt
import importlib.metadata
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
from conformance.judging import Judge
from conformance.modes import MODES, TRANSPORTS, Combination, ModeError
from conformance.report import Finding, has_passed, markdown_page, summary_line
from conformance.server import ServerError, fill_template
from conformance.side_by_side import side_by_side
from conformance.suite import Suite, SuiteError, find_suite

__all__ = ["main"]

ROOT = Path(__file__).parents[1]
RESULTS_PAGE = ROOT / "docs" / "conformance" / "results.md"
CLIENT_PAGE = ROOT / "docs" / "conformance" / "client-results.md"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; wrong ones end the process with status 2 and one line."""
    tox = os.environ.get("TOX_ENV_DIR")
    parser = argparse.ArgumentParser(
        prog="python -m conformance.run",
        description="Judge a WebSocket server, or a client, by the Autobahn test suite, on ws and on wss; "
        "wsecho's with its compiled part and without.",
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
    parser.add_argument(
        "--mode",
        choices=MODES,
        action="append",
        help="wsecho in this mode only: with its compiled part, which must be there, or pure Python (both)",
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
        help="time for one transport in one mode, after which its client is taken for hanging (3600; 600 "
        "with --sample)",
    )
    parser.add_argument(
        "--jobs",
        metavar="NUMBER",
        type=int,
        default=os.cpu_count() or 1,
        help="how many transports and modes to judge at a time, each with processes of its own (as many as "
        "there are cores)",
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
    if options.write_docs and (options.cases or options.sample or other or options.transport or options.mode):
        parser.error(
            "--write-docs needs every case of wsecho on both transports in both modes: give it without other "
            "choices"
        )
    if other and options.mode:
        parser.error("--mode is for wsecho: another server or client has no compiled part")
    if options.jobs < 1:
        parser.error(f"--jobs={options.jobs}: give 1 or more")
    options.modes = (None,) if other else tuple(name for name in MODES if name in (options.mode or MODES))
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
    combinations = [Combination(name, mode) for mode in options.modes for name in options.transports]
    with _sigterm_unwinds(), tempfile.TemporaryDirectory(prefix="wsecho-conformance-") as folder:
        try:
            suite = find_suite(options.cache, os.environ)
            print(f"judging with {suite.description}", flush=True)
            judge = Judge(
                suite,
                options.cases,
                Path(folder),
                options.output,
                options.timeout,
                options.server,
                options.client,
            )
            found = side_by_side(judge.judge, combinations, options.jobs, judge.children)
        except (SuiteError, ServerError, ModeError) as error:
            print(f"conformance: {error}", file=sys.stderr)
            return 2
    findings = dict(zip(map(str, combinations), found, strict=True))
    if options.write_docs:
        write_page(findings, versions(suite), is_client=options.client is not None)
    for name, finding in findings.items():
        for fault in finding.faults:
            print(f"FAULT: {name}: {fault}")
    print(summary_line(findings))
    return 0 if has_passed(findings) else 1


def write_page(findings: Mapping[str, Finding], versions: Mapping[str, str], *, is_client: bool) -> None:
    """Write the page of results for the documentation, the server's or the client's."""
    today = dt.datetime.now(dt.UTC).date()
    if is_client:
        path = CLIENT_PAGE
        page = markdown_page(findings, versions, today, title="Results of the client", options="--client ")
    else:
        path, page = RESULTS_PAGE, markdown_page(findings, versions, today)
    path.write_text(page, encoding="utf-8")
    print(f"written: {path}")


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
