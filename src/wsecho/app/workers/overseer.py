"""The overseer of a server of several processes: one server, for the admin endpoint.

Rules of this file: what is asked is answered from the reports that `gather` brought, of the workers that
answered in time. Counts never go down: of a worker that has ended the last that it told stays in the sums,
which is what it had counted up to then.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from wsecho.app.overseer import described, versions
from wsecho.app.workers.crew import NUMBERS, WorkerState
from wsecho.app.workers.passing import report_from_json
from wsecho.policy.facts import (
    ConnectionFacts,
    LagFacts,
    MessageSample,
    ServerState,
    Totals,
    Traffic,
    WorkerFacts,
)
from wsecho.web.interfaces import IOverseer, ServerFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from wsecho.app.configuration import Configuration
    from wsecho.app.workers.crew import Crew, Worker
    from wsecho.app.workers.passing import WorkerReport
    from wsecho.app.workers.supervisor import Supervisor

__all__ = ["CrewOverseer", "sum_of_totals"]

_log = Logger(namespace="wsecho")

_NOTHING = Totals({}, {}, {}, {}, {}, 0, 0)


def sum_of_totals(totals: Iterable[Totals]) -> Totals:
    """Return the counts of several processes together."""
    handshakes: Counter[tuple[str, str]] = Counter()
    ends: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    now_open: Counter[str] = Counter()
    traffic: dict[str, list[int]] = {}
    queued = largest = 0
    for one in totals:
        # Counter's own addition would leave out what is 0.
        handshakes.update(one.handshakes)
        ends.update(one.ends)
        dropped.update(one.dropped)
        now_open.update(one.open)
        queued += one.queued_bytes
        largest = max(largest, one.largest_queue_bytes)
        for service, carried in one.traffic.items():
            sums = traffic.setdefault(service, [0, 0, 0, 0])
            for place, field in enumerate(fields(Traffic)):
                sums[place] += getattr(carried, field.name)
    return Totals(
        handshakes=dict(handshakes),
        ends=dict(ends),
        traffic={service: Traffic(*sums) for service, sums in traffic.items()},
        dropped=dict(dropped),
        open=dict(now_open),
        queued_bytes=queued,
        largest_queue_bytes=largest,
    )


def _that_stay(totals: Totals) -> Totals:
    """Of the counts of a process that has ended, those that only grow."""
    return Totals(totals.handshakes, totals.ends, totals.traffic, totals.dropped, {}, 0, 0)


@implementer(IOverseer)
class CrewOverseer:
    """Sees all workers.

    :param supervisor: of the server
    :param crew: its workers
    :param effective: the configuration of the whole
    """

    def __init__(self, supervisor: Supervisor, crew: Crew, effective: Configuration) -> None:
        self._supervisor = supervisor
        self._crew = crew
        self._effective = effective
        #: By the number of the process.
        self._reports: dict[int, WorkerReport] = {}
        self._ended = _NOTHING
        self._ended_events: Counter[str] = Counter()
        self._ended_lag = LagFacts(0, 0.0, 0.0)

    def gather(self, *, connections: bool) -> Deferred[None]:
        """See `IOverseer`."""

        def keep(answers: list[tuple[Worker, Any]]) -> None:
            for worker, answer in answers:
                report = report_from_json(answer)
                before = self._reports.get(worker.spawn)
                if report.connections is None and before is not None:
                    # Another request, which waits for its turn, may have asked for them.
                    report = replace(report, connections=before.connections)
                self._reports[worker.spawn] = report
            self._forget_ended()

        return self._crew.ask_all({"do": "report", "connections": connections}).addCallback(keep)

    def _forget_ended(self) -> None:
        living = {worker.spawn for worker in self._crew.workers if worker.process is not None}
        for spawn in set(self._reports) - living:
            report = self._reports.pop(spawn)
            self._ended = sum_of_totals([self._ended, _that_stay(report.totals)])
            self._ended_events.update(report.engine_events)
            lag = self._ended_lag
            self._ended_lag = LagFacts(lag.count + report.lag.count, lag.sum + report.lag.sum, 0.0)

    def _living(self) -> list[WorkerReport]:
        return [
            self._reports[worker.spawn]
            for worker in self._crew.workers
            if worker.process is not None and worker.spawn in self._reports
        ]

    def state(self) -> ServerState:
        """See `IOverseer`."""
        state = self._supervisor.state
        is_away = any(one.state == ServerState.ENGINE_AWAY for one in self._living())
        return ServerState.ENGINE_AWAY if is_away and state is ServerState.READY else state

    def server(self) -> ServerFacts:
        """See `IOverseer`."""
        supervisor, living = self._supervisor, self._living()
        events = self._ended_events.copy()
        for one in living:
            events.update(one.engine_events)
        return ServerFacts(
            state=self.state(),
            # Sockets are shared with processes that may start at any time.
            is_listening=True,
            is_accepting=supervisor.is_accepting,
            uptime_seconds=supervisor.uptime_seconds,
            urls=supervisor.urls,
            versions=versions(),
            connections=sum(one.connections_open for one in living),
            channels=len(self.channels()),
            engine=living[0].engine if living else "memory",
            is_engine_up=all(one.is_engine_up for one in living),
            engine_events=events,
            certificates=living[0].certificates if living else (),
            workers=tuple(self._facts_of(worker) for worker in self._crew.workers),
        )

    def _facts_of(self, worker: Worker) -> WorkerFacts:
        report = self._reports.get(worker.spawn) if worker.process is not None else None
        totals = _NOTHING if report is None else report.totals
        return WorkerFacts(
            number=worker.number,
            pid=worker.pid,
            state=worker.state,
            restarts=worker.restarts,
            connections=0 if report is None else report.connections_open,
            received_messages=sum(one.received_messages for one in totals.traffic.values()),
            sent_messages=sum(one.sent_messages for one in totals.traffic.values()),
            lag_largest=0.0 if report is None else report.lag.largest,
            cpu_seconds=0.0 if report is None else report.cpu_seconds,
        )

    def totals(self) -> Totals:
        """See `IOverseer`."""
        return sum_of_totals([self._ended, *(one.totals for one in self._living())])

    def lag(self) -> LagFacts:
        """See `IOverseer`."""
        lags = [self._ended_lag, *(one.lag for one in self._living())]
        return LagFacts(
            sum(one.count for one in lags), sum(one.sum for one in lags), max(one.largest for one in lags)
        )

    def connections(self, after: int = 0, limit: int | None = None) -> Iterable[ConnectionFacts]:
        """See `IOverseer`."""
        found = (facts for one in self._living() for facts in one.connections or () if facts.id > after)
        return list(found) if limit is None else heapq.nsmallest(limit, found, key=lambda facts: facts.id)

    def connection(self, number: int) -> ConnectionFacts | None:
        """See `IOverseer`."""
        return next((one for one in self.connections() if one.id == number), None)

    def channels(self) -> Mapping[str, int]:
        """See `IOverseer`."""
        members: Counter[str] = Counter()
        for one in self._living():
            members.update(one.channels)
        return dict(members)

    def publish(self, channel: str, message: str | bytes) -> int:
        """See `IOverseer`."""
        said = {"text": message} if isinstance(message, str) else {"hex": message.hex()}
        # To one alone: the engine brings it to the others.
        for worker in self._crew.workers:
            if worker.state is WorkerState.READY:
                self._crew.ask(worker, {"do": "publish", "channel": channel, **said}).addErrback(_log_error)
                break
        return self.channels().get(channel, 0)

    def close(self, number: int, code: int, reason: str) -> bool:
        """See `IOverseer`."""
        if self.connection(number) is None:
            return False
        for worker in self._crew.workers:
            if worker.spawn == number // NUMBERS:
                question = {"do": "close", "id": number, "code": code, "reason": reason}
                self._crew.ask(worker, question).addErrback(_log_error)
                return True
        return False

    def set_accepting(self, accepting: bool) -> bool:
        """See `IOverseer`."""
        return self._supervisor.set_accepting(accepting)

    def set_listening(self, listening: bool) -> Deferred[str]:
        """See `IOverseer`."""
        line = "ports that several processes share stay open; pause accepting instead"
        return succeed("" if listening else line)

    def watch(
        self, tell: Callable[[MessageSample], object], connection: int | None, channel: str | None
    ) -> Callable[[], None]:
        """See `IOverseer`. Processes that start later are not watched."""
        return self._crew.watch(
            lambda sample: tell(MessageSample(**sample)), {"connection": connection, "channel": channel}
        )

    def configuration(self) -> Mapping[str, Any]:
        """See `IOverseer`."""
        return described(self._effective)


def _log_error(failure: Any) -> None:
    _log.failure("a question to a worker failed", failure)
