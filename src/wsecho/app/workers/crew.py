"""The worker processes: started, heard, told, and started again when they die.

Rules of this file:

- a worker is started again however it ended, after a pause that doubles while it does not last; until the
  server stops. Only at the very start, before all have served, one that dies is the server's failure, and
  so is what one of the first ones says to be wrong (a password of the engine, which answers late);
- what a worker writes is lines of JSON on its standard output; what comes on its standard error is logged;
- a question to the workers is answered within a bound, by those that could. One that is stopped, or busy
  for ever, keeps nobody waiting, and is not killed for it: it may come back, and its connections with it.

This file does not know what a worker serves.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from wsecho.app.workers.lines import LineDecoder, encode_line
from wsecho.app.workers.sockets import FIRST_DESCRIPTOR, environment_for
from wsecho.policy.text import escape_peer_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

__all__ = ["Crew", "IListensToCrew", "Worker", "WorkerState"]

_log = Logger(namespace="wsecho")

#: What a worker runs. Twisted looks for inherited sockets once, when its endpoints are imported: by then the
#: process must have said that they are its own.
PROGRAM: Final = (
    "import os; os.environ['LISTEN_PID'] = str(os.getpid()); "
    "from wsecho.app.workers.worker import main; main()"
)

#: Seconds until a worker that died is started again: the first time, and at most.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 30.0

#: A worker that served so many seconds has lasted: its next end is a first one again.
LASTED: Final = 60.0

#: Seconds that an answer of a worker is waited for.
PATIENCE: Final = 2.0

#: The numbers of connections of one process: the first process has those from this one on, the second from
#: twice this, so that a number is never that of two.
NUMBERS: Final = 1_000_000_000

_LONGEST_ERROR: Final = 2000


class WorkerState(StrEnum):
    """Where a worker is."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    """It was told to stop, or stops of its own, and ends its connections."""
    WAITING = "waiting"
    """It died, and will be started again."""
    GONE = "gone"
    """It has ended, and the server is stopping."""


class IListensToCrew(Protocol):
    """What a crew tells."""

    def all_ready(self) -> None:
        """Every worker serves, for the first time."""

    def start_failed(self, line: str) -> None:
        """A worker of the first ones cannot serve, and no retry would mend it; one line."""

    def logged(self, worker: int, record: Mapping[str, Any]) -> None:
        """A worker has logged something."""


@dataclass(slots=True)
class Worker:
    """One place in the crew, and the process that has it now."""

    number: int
    """From 1."""
    state: WorkerState = WorkerState.WAITING
    pid: int | None = None
    restarts: int = 0
    spawn: int = 0
    """The number of the process among all that were started: whose connections are numbered from
    `NUMBERS` times this."""
    pause: float = FIRST_PAUSE
    started_at: float = 0.0
    process: _WorkerProcess | None = None
    again: IDelayedCall | None = None


class _WorkerProcess(ProcessProtocol):
    """A process's pipes."""

    def __init__(self, crew: Crew, worker: Worker) -> None:
        self._crew = crew
        self._worker = worker
        self._decoder = LineDecoder(lambda value: crew.said(worker, self, value))
        self._errors = b""
        self.asked: dict[int, Deferred[Any]] = {}

    def tell(self, value: Mapping[str, Any]) -> None:
        """Write a line to the process, if it still lives."""
        if self.transport is not None:
            self.transport.write(encode_line(value))

    def signal(self, name: str) -> None:
        """Send the process a signal, if it still lives."""
        try:
            if self.transport is not None:
                self.transport.signalProcess(name)
        except ProcessExitedAlready:
            pass

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Take what the process wrote."""
        if childFD == 1:
            self._decoder.feed(data)
            return
        *lines, self._errors = (self._errors + data).split(b"\n")
        self._errors = self._errors[:_LONGEST_ERROR]
        for line in lines:
            self._crew.complained(self._worker, line)

    def processEnded(self, reason: Failure) -> None:
        """The process is gone, and its pipes are read to their end."""
        if self._errors:
            self._crew.complained(self._worker, self._errors)
        for waiting in self.asked.values():
            waiting.callback(None)
        self.asked.clear()
        self._crew.ended(self._worker, reason)


class Crew:
    """All workers.

    :param reactor: starts processes, and is the clock
    :param size: how many workers there are
    :param listener: is told what happens
    :param greeting: the first line of a worker that starts now, without its number and that of its
        connections
    :param descriptors: of the sockets that each gets, in this process
    """

    def __init__(
        self,
        reactor: Any,
        size: int,
        listener: IListensToCrew,
        *,
        greeting: Callable[[], Mapping[str, Any]],
        descriptors: Callable[[], Sequence[int]],
    ) -> None:
        self._reactor = reactor
        self._listener = listener
        self._greeting = greeting
        self._descriptors = descriptors
        self.workers = tuple(Worker(number) for number in range(1, size + 1))
        self._spawned = 0
        self._questions = 0
        self._watchers: dict[int, Callable[[Any], object]] = {}
        self._has_served = False
        self._is_stopping = False
        self._gone: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None

    def start(self) -> None:
        """Start all; the reactor runs."""
        for worker in self.workers:
            self._start(worker)

    def _start(self, worker: Worker) -> None:
        worker.again = None
        self._spawned += 1
        worker.spawn = self._spawned
        worker.state = WorkerState.STARTING
        worker.started_at = self._reactor.seconds()
        process = worker.process = _WorkerProcess(self, worker)
        descriptors = {FIRST_DESCRIPTOR + n: number for n, number in enumerate(self._descriptors())}
        try:
            transport = self._reactor.spawnProcess(
                process,
                sys.executable,
                [sys.executable, "-c", PROGRAM],
                env={**_environment(), **environment_for(len(descriptors))},
                childFDs={0: "w", 1: "r", 2: "r", **descriptors},
            )
        except OSError as error:
            worker.process = None
            self._failed_to_start(worker, f"worker {worker.number} cannot be started: {error.strerror}")
            return
        worker.pid = transport.pid
        process.tell(
            {
                **self._greeting(),
                "worker": worker.number,
                "first_number": worker.spawn * NUMBERS + 1,
            }
        )

    def said(self, worker: Worker, process: _WorkerProcess, value: Mapping[str, Any]) -> None:
        """A worker wrote a line."""
        if (record := value.get("log")) is not None:
            self._listener.logged(worker.number, record)
        elif (number := value.get("answer")) is not None:
            waiting = process.asked.pop(number, None)
            if waiting is not None:
                waiting.callback(value["value"])
        elif (number := value.get("watch")) is not None:
            if (watcher := self._watchers.get(number)) is not None:
                watcher(value["sample"])
        elif "ready" in value:
            self._is_ready(worker)
        elif (line := value.get("failed")) is not None:
            # Whoever took its place knows that it once was right: it is tried again.
            if not worker.restarts:
                self._listener.start_failed(line)
        elif "stopping" in value and worker.state in (WorkerState.STARTING, WorkerState.READY):
            worker.state = WorkerState.STOPPING

    def complained(self, worker: Worker, line: bytes) -> None:
        """A worker wrote on its standard error, where nothing of ours writes."""
        text = escape_peer_text(line.decode("utf-8", "replace"), _LONGEST_ERROR)
        _log.warn("worker {worker} wrote: {line}", worker=worker.number, line=text)

    def _is_ready(self, worker: Worker) -> None:
        if worker.state is WorkerState.STARTING:
            worker.state = WorkerState.READY
        if self._has_served:
            _log.info("worker {worker} serves, process {pid}", worker=worker.number, pid=worker.pid)
        elif all(one.state is WorkerState.READY for one in self.workers):
            self._has_served = True
            self._listener.all_ready()

    def ended(self, worker: Worker, reason: Failure) -> None:
        """The process of a worker is gone."""
        pid, worker.pid, worker.process = worker.pid, None, None
        how = _how(reason)
        if self._is_stopping:
            worker.state = WorkerState.GONE
            if how:
                _log.warn(
                    "worker {worker}, process {pid}, ended {how}", worker=worker.number, pid=pid, how=how
                )
            self._check_gone()
            return
        if not self._has_served:
            self._failed_to_start(worker, f"worker {worker.number} ended {how or 'at once'}")
            return
        if self._reactor.seconds() - worker.started_at >= LASTED:
            worker.pause = FIRST_PAUSE
        worker.state = WorkerState.WAITING
        worker.restarts += 1
        pause = worker.pause
        worker.pause = min(2 * pause, LONGEST_PAUSE)
        _log.error(
            "worker {worker}, process {pid}, ended {how}; another one starts in {pause:g} s",
            worker=worker.number,
            pid=pid,
            how=how or "by itself",
            pause=pause,
        )
        worker.again = self._reactor.callLater(pause, self._start, worker)

    def _failed_to_start(self, worker: Worker, line: str) -> None:
        if not self._has_served:
            worker.state = WorkerState.GONE
            self._listener.start_failed(line)
            return
        _log.error("{line}", line=line)
        worker.state = WorkerState.WAITING
        worker.again = self._reactor.callLater(worker.pause, self._start, worker)
        worker.pause = min(2 * worker.pause, LONGEST_PAUSE)

    # -- telling and asking ----------------------------------------------------------------------------------

    def tell(self, value: Mapping[str, Any]) -> None:
        """Write a line to every worker that lives."""
        for worker in self.workers:
            if worker.process is not None:
                worker.process.tell(value)

    def ask(self, worker: Worker, value: Mapping[str, Any]) -> Deferred[Any]:
        """Ask one worker; fires with its answer, or with None when none came in time."""
        process = worker.process
        if process is None:
            return succeed(None)
        self._questions += 1
        number = self._questions
        answer: Deferred[Any] = Deferred()
        process.asked[number] = answer
        process.tell({**value, "question": number})

        def give_up() -> None:
            waiting = process.asked.pop(number, None)
            if waiting is not None:
                waiting.callback(None)

        late = self._reactor.callLater(PATIENCE, give_up)

        def in_time(result: Any) -> Any:
            if late.active():
                late.cancel()
            return result

        return answer.addBoth(in_time)

    def ask_all(self, value: Mapping[str, Any]) -> Deferred[list[tuple[Worker, Any]]]:
        """Ask every worker that lives; fires with each and its answer, those left out that gave none."""
        asked = [worker for worker in self.workers if worker.process is not None]
        answers = DeferredList([self.ask(worker, value) for worker in asked], consumeErrors=True)

        def pair(results: Any) -> list[tuple[Worker, Any]]:
            return [
                (worker, answer)
                for worker, (success, answer) in zip(asked, results, strict=True)
                if success and answer is not None
            ]

        paired: Deferred[list[tuple[Worker, Any]]] = answers.addCallback(pair)
        return paired

    def watch(self, tell: Callable[[Any], object], what: Mapping[str, Any]) -> Callable[[], None]:
        """Have every worker that lives tell of messages that pass; what is returned ends it."""
        self._questions += 1
        number = self._questions
        self._watchers[number] = tell
        self.tell({"do": "watch", "watch": number, **what})

        def end() -> None:
            if self._watchers.pop(number, None) is not None:
                self.tell({"do": "unwatch", "watch": number})

        return end

    # -- the end ---------------------------------------------------------------------------------------------

    def stop(self, *, gradual: bool, timeout: float) -> Deferred[None]:
        """Let every worker end its connections, and end; fires when all are gone.

        :param gradual: whether connections end one after the other
        :param timeout: seconds after which whoever is left is killed
        """
        self._is_stopping = True
        for worker in self.workers:
            if worker.again is not None:
                worker.again.cancel()
                worker.again = None
            if worker.process is None:
                worker.state = WorkerState.GONE
            else:
                worker.state = WorkerState.STOPPING
        self.tell({"do": "stop", "gradual": gradual})
        self._gone = Deferred()
        gone = self._gone
        self._deadline = self._reactor.callLater(timeout, self._kill_late)
        self._check_gone()
        return gone

    def kill(self) -> None:
        """End every worker at once."""
        for worker in self.workers:
            if worker.process is not None:
                worker.process.signal("KILL")

    def _kill_late(self) -> None:
        self._deadline = None
        for worker in self.workers:
            if worker.process is not None:
                _log.error("worker {worker} does not end: killed", worker=worker.number)
        self.kill()

    def _check_gone(self) -> None:
        if self._gone is not None and all(worker.process is None for worker in self.workers):
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            gone, self._gone = self._gone, None
            gone.callback(None)


def _environment() -> dict[str, str]:
    """The environment of a worker: this one's, with which it finds the same modules, wherever this process
    found them."""
    path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
    return {**os.environ, "PYTHONPATH": path}


def _how(reason: Failure) -> str:
    """How a process ended; empty when all was well."""
    if isinstance(reason.value, ProcessDone):
        return ""
    value: Any = reason.value
    if value.signal is not None:
        return f"by signal {value.signal}"
    return f"with status {value.exitCode}"
