"""Runs the other way round: the suite's fuzzing server, and the client that is judged against it.

wsecho's client is `echo_client.py` in a process of its own, in a folder that is not the checkout; it trusts
the certificate of the test's authority as clients trust any, by its system's authorities. Another client is a
command line with places for what it must be told. Either goes through all cases and ends.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from conformance.server import Server, ServerError, free_port
from conformance.side_by_side import Children
from conformance.suite import Suite, SuiteError, last_case, python2_environment

__all__ = ["judged_command", "judged_environment", "run_judged", "started_fuzzing_server"]

_AUTHORITY = "authority.pem"


@contextmanager
def started_fuzzing_server(
    suite: Suite, directory: Path, transport: str, cases: Sequence[str], children: Children | None = None
) -> Iterator[tuple[Server, str]]:
    """Run the fuzzing server for one *transport*; give it and its URL.

    Its log and reports go into *directory*, where its certificate and the authority's are, too.

    :param cases: cases, or patterns in the suite's own form.
    :raises ServerError: it did not start.
    """
    # Never judge what an earlier run left there.
    shutil.rmtree(directory / "reports", ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"{transport}://127.0.0.1:{port}"
    spec = {"url": url, "outdir": "./reports", "cases": list(cases)}
    if transport == "wss":
        spec |= _certificate(directory)
    (directory / "spec.json").write_text(json.dumps(spec, indent=1))
    command = suite.server_command(directory)
    server = Server(command, directory, directory / "server.log", python2_environment(os.environ), children)
    try:
        server.wait_for_port(port)
        yield server, f"{url}/"
    finally:
        server.end()
        suite.cleanup(directory)


def _certificate(directory: Path) -> dict[str, str]:
    """Make a certificate for 127.0.0.1; return what the fuzzing server has to know of it."""
    try:
        import trustme
    except ImportError as error:
        raise ServerError(
            f"wss needs a certificate, and the package that makes one is missing: {error}"
        ) from error
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(directory / "certificate.pem")
    issued.private_key_pem.write_to_path(directory / "key.pem")
    authority.cert_pem.write_to_path(directory / _AUTHORITY)
    # Relative: in a container the folder has another name.
    return {"cert": "certificate.pem", "key": "key.pem"}


def judged_command(url: str, agent: str) -> list[str]:
    """Return the command that runs wsecho's client, with the wsecho that is installed (`-P`)."""
    return [sys.executable, "-P", str(Path(__file__).with_name("echo_client.py")), url, agent]


def judged_environment(environ: Mapping[str, str], directory: Path) -> dict[str, str]:
    """Return the environment of a client that trusts the authority in *directory* and no other."""
    return {**environ, "SSL_CERT_FILE": str(directory / _AUTHORITY)}


def run_judged(
    command: Sequence[str],
    folder: Path,
    log: Path,
    environ: Mapping[str, str],
    *,
    timeout: float,
    children: Children | None = None,
) -> int:
    """Run the client in *folder* until it ends; return its exit status.

    :param timeout: seconds until it is taken for hanging and ended, with its children.
    :raises SuiteError: it hung, or there is no such command.
    """
    with log.open("wb") as output:
        try:
            client = (children or Children()).start(command, folder, environ, output)
        except OSError as error:
            raise SuiteError(f"the client cannot be started: {error}") from error
        try:
            return client.wait(timeout)
        except subprocess.TimeoutExpired:
            raise SuiteError(
                f"the client did not end within {timeout:g} seconds and was ended; {last_case(log)}"
            ) from None
        finally:
            # The group keeps the client's process id as long as a child lives; else nobody is found.
            with suppress(ProcessLookupError):
                os.killpg(client.pid, signal.SIGKILL)
            client.wait()
