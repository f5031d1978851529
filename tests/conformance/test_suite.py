"""Tests of finding, installing and running the fuzzing client, with programs made for the purpose."""

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from conformance import suite
from conformance.suite import (
    VERSION,
    DockerSuite,
    PythonSuite,
    SuiteError,
    find_python,
    find_suite,
    install,
    probe_python,
    python_candidates,
    run_client,
)


def program(path: Path, script: str) -> Path:
    """Make an executable shell script at *path*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


class ScriptedSuite:
    """A suite whose client is a script of Python."""

    description = "a script"

    def __init__(self, script: str) -> None:
        self.script = script
        self.cleanups = 0

    def command(self, directory: Path) -> list[str]:
        """Return the command that runs the script."""
        return [sys.executable, "-u", "-c", self.script]

    def server_command(self, directory: Path) -> list[str]:
        """Return no command: the suite's server is not run here."""
        raise NotImplementedError

    def cleanup(self, directory: Path) -> None:
        """Count the calls."""
        self.cleanups += 1


class TemporaryFolderTestCase(SynchronousTestCase):
    """A test with a folder of its own."""

    def setUp(self) -> None:
        """Make the folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)


class FindPythonTests(TemporaryFolderTestCase):
    """Where Python 2.7 is looked for."""

    def test_path_comes_before_pyenv(self) -> None:
        """Candidates on PATH come first, then pyenv's versions, the newest first, each root once."""
        on_path = program(self.folder / "bin/python2.7", "")
        old = program(self.folder / ".pyenv/versions/2.7.9/bin/python2.7", "")
        new = program(self.folder / ".pyenv/versions/2.7.18/bin/python2.7", "")
        program(self.folder / ".pyenv/versions/3.11.7/bin/python3", "")
        environ = {
            "PATH": str(on_path.parent),
            "HOME": str(self.folder),
            "PYENV_ROOT": str(self.folder / ".pyenv"),
        }
        self.assertEqual(list(python_candidates(environ)), [on_path, new, old])

    def test_an_environment_with_nothing_set_has_no_candidates(self) -> None:
        """An empty PATH is not the current folder, and no HOME is no error."""
        self.assertEqual(list(python_candidates({"PATH": ""})), [])

    def test_the_first_that_works_and_is_2_7_is_taken(self) -> None:
        """A shim that fails and a Python 3 are passed over."""
        answers: dict[str, str | None] = {"a": None, "b": "3.11.7", "c": "2.7.18", "d": "2.7.16"}
        for name in answers:
            program(self.folder / name / "python2.7", "")
        environ = {"PATH": ":".join(str(self.folder / name) for name in answers)}
        self.assertEqual(
            find_python(environ, lambda path: answers[path.parent.name]),
            (self.folder / "c/python2.7", "2.7.18"),
        )

    def test_none_that_works_is_none(self) -> None:
        """No candidate, or none that works, gives None."""
        self.assertIsNone(find_python({"PATH": str(self.folder)}))

    def test_an_interpreter_tells_its_version(self) -> None:
        """The probe really runs the interpreter."""
        self.assertEqual(probe_python(Path(sys.executable)), "{}.{}.{}".format(*sys.version_info))

    def test_a_program_that_fails_has_no_version(self) -> None:
        """pyenv's shim of an inactive version ends with an error; a file may also not be runnable at all."""
        self.assertIsNone(probe_python(program(self.folder / "shim", "echo 2.7.18; exit 127")))
        self.assertIsNone(probe_python(self.folder / "nothing"))


class FindSuiteTests(TemporaryFolderTestCase):
    """What is used, and what is said when nothing is there."""

    def test_nothing_there(self) -> None:
        """The error says that the suite is missing, what would do, and where it was looked for."""
        error = self.assertRaises(SuiteError, find_suite, self.folder, {"PATH": str(self.folder)})
        for part in ("test suite is missing", "python2.7", "$PYENV_ROOT", VERSION, "no docker command"):
            self.assertIn(part, str(error))

    def test_docker_without_a_daemon_is_no_docker(self) -> None:
        """A docker command whose daemon does not answer is told as just that."""
        program(self.folder / "docker", "exit 1")
        error = self.assertRaises(SuiteError, find_suite, self.folder, {"PATH": str(self.folder)})
        self.assertIn("its daemon does not answer", str(error))

    def test_docker_that_answers_is_used(self) -> None:
        """Without Python 2.7 the image is used."""
        docker = program(self.folder / "docker", "echo 28.0.0")
        found = find_suite(self.folder, {"PATH": str(self.folder)})
        self.assertIsInstance(found, DockerSuite)
        self.assertIn(VERSION, found.description)
        self.assertEqual(found.command(self.folder)[:2], [str(docker), "run"])

    def test_python_is_preferred_to_docker(self) -> None:
        """With Python 2.7 at hand the suite is installed for it."""
        program(self.folder / "docker", "echo 28.0.0")
        python = program(self.folder / "python2.7", "echo 2.7.18")
        self.patch(suite, "install", lambda base, cache: cache / base.name / "environment")
        self.assertEqual(
            find_suite(self.folder, {"PATH": str(self.folder)}),
            PythonSuite(self.folder / python.name / "environment", "2.7.18"),
        )


class InstallTests(TemporaryFolderTestCase):
    """The installation is made once, and again when it was not finished."""

    def setUp(self) -> None:
        """Record the steps of the installation instead of taking them."""
        super().setUp()
        self.steps: list[Sequence[str]] = []
        self.fails = False
        self.patch(suite, "_step", self.step)
        self.patch(sys, "stdout", io.StringIO())
        self.interpreter = self.folder / f"autobahntestsuite-{VERSION}/bin/python"

    def step(self, command: Sequence[str], environ: object = None) -> None:
        """Note the step; the one that makes the environment makes its interpreter."""
        self.steps.append(command)
        if "virtualenv" in command:
            program(self.interpreter, "")
        elif self.fails and command[0] == str(self.interpreter):
            raise SuiteError("no network")

    def install(self, python: str = "/usr/bin/python2.7") -> Path:
        """Install for *python*."""
        return install(Path(python), self.folder)

    def test_virtualenv_then_environment_then_suite(self) -> None:
        """A virtualenv that still knows Python 2.7 makes the environment; the pinned suite goes into it."""
        self.assertEqual(self.install(), self.interpreter)
        virtualenv, environment, packages = self.steps
        self.assertEqual(virtualenv[-1], "virtualenv<20.22")
        self.assertEqual(
            environment[-3:], ["--python", "/usr/bin/python2.7", str(self.interpreter.parents[1])]
        )
        self.assertEqual(packages[0], str(self.interpreter))
        self.assertIn(f"autobahntestsuite=={VERSION}\n", Path(packages[-1]).read_text())

    def test_a_finished_installation_is_used_again(self) -> None:
        """The second time nothing is done."""
        self.install()
        self.steps.clear()
        self.assertEqual((self.install(), self.steps), (self.interpreter, []))

    def test_an_unfinished_installation_is_begun_anew(self) -> None:
        """What a failed step has left is not taken for the suite."""
        self.fails = True
        self.assertRaises(SuiteError, self.install)
        self.fails = False
        self.steps.clear()
        self.install()
        self.assertEqual(len(self.steps), 3)

    def test_another_python_needs_another_installation(self) -> None:
        """An environment made from an interpreter that is no longer the chosen one is made anew."""
        self.install()
        self.steps.clear()
        self.install("/opt/python2.7")
        self.assertEqual(len(self.steps), 3)


class StepTests(SynchronousTestCase):
    """One step of the installation."""

    def test_a_failed_step_shows_its_output(self) -> None:
        """The error has the command and the end of what it said."""
        script = "import sys; print('looking'); sys.exit('found nothing')"
        error = self.assertRaises(SuiteError, suite._step, [sys.executable, "-u", "-c", script])
        self.assertIn(sys.executable, str(error))
        self.assertTrue(str(error).endswith("looking\nfound nothing"))


class CommandTests(TemporaryFolderTestCase):
    """The two forms of the client's command."""

    def test_both_run_the_fuzzing_client_by_specification(self) -> None:
        """Python and Docker run the same mode of the same program on the same file."""
        for client in (PythonSuite(Path("/p"), "2.7.18"), DockerSuite("/d")):
            self.assertEqual(
                client.command(self.folder)[-4:], ["--mode", "fuzzingclient", "--spec", "spec.json"]
            )

    def test_the_container_sees_server_and_folder(self) -> None:
        """The container uses the host's network and works in the folder that is shared with it."""
        command = DockerSuite("docker").command(self.folder)
        self.assertEqual(command[command.index("--network") + 1], "host")
        volume = command[command.index("--volume") + 1]
        self.assertEqual(volume, f"{self.folder}:{command[command.index('--workdir') + 1]}")

    def test_the_container_is_ended_by_its_name(self) -> None:
        """Cleaning up kills the container that the command starts; a python suite has none."""
        calls = self.folder / "calls"
        docker = program(self.folder / "docker", f'echo "$@" > {calls}')
        container = DockerSuite(str(docker))
        container.cleanup(self.folder)
        name = container.command(self.folder)[container.command(self.folder).index("--name") + 1]
        self.assertEqual(calls.read_text(), f"kill {name}\n")
        PythonSuite(Path("/p"), "2.7.18").cleanup(self.folder)

    def test_containers_side_by_side(self) -> None:
        """Each folder has a container of its own, since several run at a time."""
        container = DockerSuite("docker")
        first, second = (container.command(self.folder / name) for name in ("a", "b"))
        place = first.index("--name") + 1
        self.assertNotEqual(first[place], second[place])


class RunClientTests(TemporaryFolderTestCase):
    """The client is run in a folder of its own, and ended when it hangs."""

    def run_script(self, script: str, timeout: float = 60) -> ScriptedSuite:
        """Run *script* as client."""
        client = ScriptedSuite(script)
        run_client(client, self.folder, agent="a", url="ws://u/", cases=["1.*"], timeout=timeout)
        return client

    def test_the_specification_names_server_and_cases(self) -> None:
        """The client finds in its folder which cases to run against which server, and where reports go."""
        self.run_script("")
        self.assertEqual(
            json.loads((self.folder / "spec.json").read_text()),
            {"outdir": "./reports", "servers": [{"agent": "a", "url": "ws://u/"}], "cases": ["1.*"]},
        )

    def test_the_client_works_in_the_folder_and_its_words_are_kept(self) -> None:
        """What the client says is in the log, what it writes stays."""
        client = self.run_script(
            "import os; print('hello'); os.mkdir('reports'); open('reports/index.json', 'w').close()"
        )
        self.assertEqual((self.folder / "client.log").read_text(), "hello\n")
        self.assertTrue((self.folder / "reports/index.json").exists())
        self.assertEqual(client.cleanups, 0)

    def test_reports_of_an_earlier_run_are_gone(self) -> None:
        """A client that leaves no report leaves none of yesterday's either."""
        (self.folder / "reports").mkdir()
        (self.folder / "reports/index.json").write_text("{}")
        self.run_script("")
        self.assertFalse((self.folder / "reports").exists())

    def test_python_2_does_not_see_modules_of_python_3(self) -> None:
        """PYTHONPATH does not reach the client."""
        self.patch(os, "environ", {**os.environ, "PYTHONPATH": "/somewhere"})
        self.run_script("import os; print(os.environ.get('PYTHONPATH'))")
        self.assertEqual((self.folder / "client.log").read_text(), "None\n")

    def test_a_client_that_fails_tells_where_it_was(self) -> None:
        """A client that ends with an error is a failure, and the last line of its log is quoted."""
        error = self.assertRaises(
            SuiteError, self.run_script, "import sys; print('Running test case ID 9.1.1\\n'); sys.exit(3)"
        )
        self.assertIn("status 3", str(error))
        self.assertIn("'Running test case ID 9.1.1'", str(error))

    def test_a_client_that_hangs_is_ended(self) -> None:
        """A client that does not end in time is killed, cleaned up and told."""
        client = ScriptedSuite(
            "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "open('pid', 'w').write(str(os.getpid()))\n"
            "while True: signal.pause()"
        )
        error = self.assertRaises(
            SuiteError, run_client, client, self.folder, agent="a", url="u", cases=["*"], timeout=0.3
        )
        self.assertIn("did not end within 0.3 seconds", str(error))
        self.assertIn("it said nothing", str(error))
        self.assertEqual(client.cleanups, 1)
        pid = self.folder / "pid"
        if pid.exists():
            self.assertRaises(ProcessLookupError, os.kill, int(pid.read_text()), 0)
