"""The crew, with processes that a test plays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.app.logs import logged_lines
from wsecho.app.workers.crew import FIRST_PAUSE, LASTED, LONGEST_PAUSE, NUMBERS, PATIENCE, Crew, WorkerState
from wsecho.app.workers.lines import encode_line

KILLED = ProcessTerminated(signal=9)
FAILED = ProcessTerminated(exitCode=1)
WELL = ProcessDone(0)


class FakeProcess:
    """A process: what it was told, and what a test lets it do."""

    def __init__(
        self, protocol: Any, pid: int, descriptors: Mapping[int, Any], env: Mapping[str, str]
    ) -> None:
        self.protocol = protocol
        self.pid = pid
        self.descriptors = descriptors
        self.env = env
        self.told: list[Any] = []
        self.signals: list[str] = []

    def write(self, data: bytes) -> None:
        self.told.append(json.loads(data))

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def say(self, **value: Any) -> None:
        """Write a line."""
        self.protocol.childDataReceived(1, encode_line(value))

    def end(self, how: Exception = KILLED) -> None:
        """Be gone."""
        self.protocol.processEnded(Failure(how))


class FakeReactor(Clock):
    """Starts such processes."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.error: OSError | None = None

    def spawnProcess(
        self, protocol: Any, executable: str, args: Any, env: Any, childFDs: Mapping[int, Any]
    ) -> FakeProcess:
        if self.error is not None:
            raise self.error
        process = FakeProcess(protocol, 100 + len(self.processes), childFDs, env)
        protocol.transport = process
        self.processes.append(process)
        return process


class CrewTestCase(SynchronousTestCase):
    """A crew of two."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.is_ready = 0
        self.failures: list[str] = []
        self.records: list[tuple[int, Any]] = []
        self.crew = Crew(self.reactor, 2, self, greeting=lambda: {"hello": 1}, descriptors=lambda: (7, 8))

    def all_ready(self) -> None:
        self.is_ready += 1

    def start_failed(self, line: str) -> None:
        self.failures.append(line)

    def logged(self, worker: int, record: Mapping[str, Any]) -> None:
        self.records.append((worker, record))

    @property
    def processes(self) -> list[FakeProcess]:
        return self.reactor.processes

    def serve(self) -> None:
        """Start, and let all be ready."""
        self.crew.start()
        for process in self.processes:
            process.say(ready=True)


class StartTests(CrewTestCase):
    """The start."""

    def test_greeting(self) -> None:
        """Each process gets the sockets from descriptor 3 on, as systemd hands them over, and a greeting with
        its number and that of its first connection."""
        self.crew.start()
        first, second = self.processes
        self.assertEqual(first.descriptors, {0: "w", 1: "r", 2: "r", 3: 7, 4: 8})
        self.assertEqual((first.env["LISTEN_FDS"], first.env["LISTEN_FDNAMES"]), ("2", "wsecho:wsecho"))
        self.assertEqual(first.told, [{"hello": 1, "worker": 1, "first_number": NUMBERS + 1}])
        self.assertEqual(second.told, [{"hello": 1, "worker": 2, "first_number": 2 * NUMBERS + 1}])

    def test_ready(self) -> None:
        """The server is ready when the last of them is, once."""
        self.crew.start()
        self.processes[1].say(ready=True)
        self.assertEqual(self.is_ready, 0)
        self.processes[0].say(ready=True)
        self.assertEqual(self.is_ready, 1)
        self.assertEqual({one.state for one in self.crew.workers}, {WorkerState.READY})

    def test_failure_told(self) -> None:
        """What a worker tells of its failure to start is the server's failure."""
        self.crew.start()
        self.processes[0].say(failed="--port=1: taken")
        self.assertEqual(self.failures, ["--port=1: taken"])

    def test_failure_told_late(self) -> None:
        """What one of the first workers tells is the server's failure also when all listen already; of one
        that took the place of another it is not."""
        self.serve()
        self.processes[0].say(failed="--engine: refused")
        self.assertEqual(self.failures, ["--engine: refused"])
        self.processes[1].end()
        self.reactor.advance(FIRST_PAUSE)
        self.processes[2].say(failed="--engine: refused")
        self.assertEqual(len(self.failures), 1)

    def test_death_at_the_start(self) -> None:
        """A worker that dies before all have served fails the start, and is not started again."""
        self.crew.start()
        self.processes[0].end(FAILED)
        self.assertEqual(self.failures, ["worker 1 ended with status 1"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_process(self) -> None:
        """A process that the system does not give fails the start."""
        self.reactor.error = OSError(12, "no memory")
        self.crew.start()
        self.assertEqual(self.failures[0], "worker 1 cannot be started: no memory")


class RestartTests(CrewTestCase):
    """Workers that die."""

    def test_again(self) -> None:
        """A worker that dies is started again after a pause, as another process of the same place, whose
        connections have numbers of their own; the other one is left alone."""
        self.serve()
        with logged_lines() as lines:
            self.processes[0].end()
        worker = self.crew.workers[0]
        self.assertEqual((worker.state, worker.pid, worker.restarts), (WorkerState.WAITING, None, 1))
        self.assertEqual(lines, ["worker 1, process 100, ended by signal 9; another one starts in 0.1 s"])
        self.reactor.advance(FIRST_PAUSE)
        self.assertEqual(len(self.processes), 3)
        self.assertEqual(self.processes[2].told[0]["first_number"], 3 * NUMBERS + 1)
        self.processes[2].say(ready=True)
        self.assertEqual((worker.state, worker.pid, self.is_ready), (WorkerState.READY, 102, 1))

    def test_pauses(self) -> None:
        """Pauses double while a worker does not last, up to the longest; one that lasted begins anew."""
        self.serve()
        pauses = []
        for _ in range(12):
            self.processes[-1].end()
            (call,) = self.reactor.getDelayedCalls()
            pauses.append(round(call.getTime() - self.reactor.seconds(), 6))
            self.reactor.advance(LONGEST_PAUSE)
        self.assertEqual(pauses[:3], [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE])
        self.assertEqual(pauses[-1], LONGEST_PAUSE)
        self.processes[-1].say(ready=True)
        self.reactor.advance(LASTED)
        self.processes[-1].end()
        (call,) = self.reactor.getDelayedCalls()
        self.assertEqual(round(call.getTime() - self.reactor.seconds(), 6), FIRST_PAUSE)
        call.cancel()

    def test_no_process(self) -> None:
        """Where no process is to be had, it is tried again."""
        self.serve()
        self.processes[0].end()
        self.reactor.error = OSError(11, "try again")
        self.reactor.advance(FIRST_PAUSE)
        self.reactor.error = None
        self.reactor.advance(2 * FIRST_PAUSE)
        self.assertEqual((len(self.processes), self.failures), (3, []))


class TalkTests(CrewTestCase):
    """What workers are told, asked, and say."""

    def test_answers(self) -> None:
        """Each is asked, and its answer is its own, whatever the order of the answers."""
        self.serve()
        answers = self.crew.ask_all({"do": "report"})
        for process in reversed(self.processes):
            process.say(answer=process.told[-1]["question"], value=process.pid)
        first, second = self.crew.workers
        self.assertEqual(self.successResultOf(answers), [(first, 100), (second, 101)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_answer(self) -> None:
        """Who does not answer in time is left out, and an answer that comes later is nobody's."""
        self.serve()
        answers = self.crew.ask_all({"do": "report"})
        first, second = self.processes
        second.say(answer=second.told[-1]["question"], value=2)
        self.assertNoResult(answers)
        self.reactor.advance(PATIENCE)
        self.assertEqual(self.successResultOf(answers), [(self.crew.workers[1], 2)])
        first.say(answer=first.told[-1]["question"], value=1)

    def test_death_answers(self) -> None:
        """Who dies while asked is left out at once."""
        self.serve()
        answers = self.crew.ask_all({"do": "report"})
        self.processes[1].say(answer=self.processes[1].told[-1]["question"], value=2)
        self.processes[0].end()
        self.assertEqual(self.successResultOf(answers), [(self.crew.workers[1], 2)])
        for call in self.reactor.getDelayedCalls():
            call.cancel()

    def test_nobody_to_ask(self) -> None:
        """Of a place without a process there is no answer."""
        self.assertEqual(self.successResultOf(self.crew.ask(self.crew.workers[0], {})), None)

    def test_log(self) -> None:
        """What a worker logs is handed on with its number."""
        self.serve()
        self.processes[1].say(log={"text": "a"})
        self.assertEqual(self.records, [(2, {"text": "a"})])

    def test_complaint(self) -> None:
        """What a worker writes on standard error is logged line by line, escaped, also what has no end."""
        self.serve()
        process = self.processes[0]
        with logged_lines() as lines:
            process.protocol.childDataReceived(2, b"Fatal \x1b[31m er")
            process.protocol.childDataReceived(2, b"ror\nmore")
            process.protocol.processEnded(Failure(KILLED))
        self.assertEqual(lines[:2], ["worker 1 wrote: Fatal \\x1b[31m error", "worker 1 wrote: more"])
        for call in self.reactor.getDelayedCalls():
            call.cancel()

    def test_stopping(self) -> None:
        """A worker that says that it stops of its own is no longer ready."""
        self.serve()
        self.processes[0].say(stopping=True)
        self.assertIs(self.crew.workers[0].state, WorkerState.STOPPING)


class StopTests(CrewTestCase):
    """The end."""

    def test_all_gone(self) -> None:
        """All are told how to stop, and the end is there when the last is gone; none is started again."""
        self.serve()
        gone = self.crew.stop(gradual=True, timeout=10)
        for process in self.processes:
            self.assertEqual(process.told[-1], {"do": "stop", "gradual": True})
        self.processes[0].end(WELL)
        self.assertNoResult(gone)
        with logged_lines() as lines:
            self.processes[1].end(FAILED)
        self.successResultOf(gone)
        self.assertEqual(lines, ["worker 2, process 101, ended with status 1"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_late(self) -> None:
        """Who does not end in time is killed."""
        self.serve()
        gone = self.crew.stop(gradual=False, timeout=10)
        self.processes[0].end(WELL)
        self.reactor.advance(10)
        self.assertEqual((self.processes[0].signals, self.processes[1].signals), ([], ["KILL"]))
        self.processes[1].end()
        self.successResultOf(gone)

    def test_waiting(self) -> None:
        """A worker that waits to be started again is not."""
        self.serve()
        self.processes[0].end()
        gone = self.crew.stop(gradual=False, timeout=10)
        self.processes[1].end(WELL)
        self.successResultOf(gone)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertIs(self.crew.workers[0].state, WorkerState.GONE)

    def test_none(self) -> None:
        """A crew that was never started is gone at once."""
        self.successResultOf(self.crew.stop(gradual=False, timeout=10))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
