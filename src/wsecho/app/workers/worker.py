"""A worker: a process that serves on inherited sockets, and talks with its supervisor.

Rules of this file:

- the standard input and output are the supervisor's. The first line read says what to serve; whatever else
  may print goes to standard error;
- signals of a terminal are the supervisor's affair: SIGINT and SIGHUP reach all processes of it. SIGTERM ends
  this one worker in good order, as an operator may want;
- when the supervisor is gone the input ends, and the worker ends as by SIGTERM: nobody could tell it to any
  more, and nobody could start another server on the sockets that it holds;
- what is logged is a line to the supervisor. One that cannot keep up loses lines, which are counted, and
  never costs memory.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.logger import globalLogBeginner
from zope.interface import implementer

from wsecho.app.configuration import ConfigurationError
from wsecho.app.overseer import Overseer
from wsecho.app.process import FAILED, Process
from wsecho.app.service import CannotStart, build_service
from wsecho.app.workers.lines import LineDecoder, encode_line
from wsecho.app.workers.logs import record_to_relay
from wsecho.app.workers.passing import WorkerReport, configuration_from_json, report_to_json
from wsecho.app.workers.sockets import inherited_listeners
from wsecho.wire.connection import number_from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.logger import LogEvent

    from wsecho.app.service import WebSocketService
    from wsecho.policy.facts import MessageSample
    from wsecho.web.interfaces import IOverseer

__all__ = ["Control", "main"]

_INPUT: Final = 0
#: Its stub is that of Windows.
_standard_io: Any = StandardIO


def main() -> None:
    """Serve until the supervisor says otherwise; the exit status is 1 when serving could not begin."""
    output = os.dup(1)
    os.dup2(2, 1)
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    greeting = _first_line(_INPUT)
    import_module(greeting["reactor"]).install()
    from twisted.internet import reactor

    sys.exit(_serve(reactor, greeting, output))


def _first_line(descriptor: int) -> Mapping[str, Any]:
    # Byte by byte: what comes behind the line is for the reactor to read.
    line = bytearray()
    while not line.endswith(b"\n"):
        octet = os.read(descriptor, 1)
        if not octet:
            # The supervisor was gone before it could say anything.
            sys.exit(FAILED)
        line += octet
    greeting: Mapping[str, Any] = json.loads(line)
    return greeting


def _serve(reactor: Any, greeting: Mapping[str, Any], output: int) -> int:
    number_from(greeting["first_number"])
    process = Process(reactor, set_handler=_only_sigterm)
    control = Control(process, is_accepting=greeting["accepting"])
    _standard_io(control, stdin=_INPUT, stdout=output, reactor=reactor)
    observers: Any = [control.log]
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)
    try:
        service = _build(greeting, reactor, process, control)
        service.privilegedStartService()
    except (ConfigurationError, CannotStart) as error:
        control.say_last(output, {"failed": str(error)})
        return FAILED
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", control.stopping)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    control.say_last(output)
    return 0


def _only_sigterm(number: int, handler: Any) -> None:
    if number == signal.SIGTERM:
        signal.signal(number, handler)


def _build(greeting: Mapping[str, Any], reactor: Any, process: Process, control: Control) -> WebSocketService:
    return build_service(
        configuration_from_json(greeting["configuration"]),
        reactor,
        process=process,
        say=control.failed,
        make_listeners=lambda configuration, reactor, creator: inherited_listeners(
            reactor, greeting["sockets"], configuration, creator
        ),
        endpoint=control,
    )


def _nothing() -> None:
    """End what is not there."""


@implementer(IPushProducer)
class Control(Protocol):
    """What a worker says to its supervisor and hears from it; to the worker's service, its admin endpoint.

    :param process: which the supervisor may stop
    :param is_accepting: whether connections are accepted from the start
    """

    listener = None
    """It never fails to listen."""

    def __init__(self, process: Process, *, is_accepting: bool) -> None:
        self._process = process
        self._is_accepting = is_accepting
        self._decoder = LineDecoder(self._heard)
        self._overseer: Overseer | None = None
        self._is_behind = False
        self._lost_lines = 0
        self._ended: Deferred[None] | None = None
        self._late: list[Mapping[str, Any]] = []
        self._is_open = False
        self._watches: dict[int, Callable[[], None]] = {}

    # -- as the service's admin endpoint ---------------------------------------------------------------------

    def listen(self, overseer: IOverseer) -> Deferred[None]:
        """Begin to act on what the supervisor says.

        :param overseer: of this worker's service
        """
        assert isinstance(overseer, Overseer)
        self._overseer = overseer
        return succeed(None)

    def tell(self) -> None:
        """Tell the supervisor that everything listens."""
        if not self._is_accepting and self._overseer is not None:
            self._overseer.set_accepting(False)
        self._say({"ready": True})

    def failed(self, line: str) -> None:
        """Tell the supervisor what keeps this worker from serving."""
        self._say({"failed": line})

    def stopping(self) -> None:
        """Tell the supervisor that this worker serves no more."""
        self._say({"stopping": True})

    def stop(self) -> Deferred[None]:
        """End the conversation, once everything has been said."""
        if not self._is_open:
            return succeed(None)
        self._ended = Deferred()
        self.transport.loseConnection()  # type: ignore[union-attr]
        return self._ended

    # -- the pipes -------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Learn when the supervisor does not read."""
        self._is_open = True
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        """Hear the supervisor."""
        self._decoder.feed(data)

    def connectionLost(self, reason: Any = None) -> None:
        """The supervisor is gone, or this end has said all."""
        self._is_open = False
        ended, self._ended = self._ended, None
        if ended is not None:
            ended.callback(None)
        else:
            self._process.stop(gradual=True)

    def pauseProducing(self) -> None:
        """The supervisor does not keep up."""
        self._is_behind = True

    def resumeProducing(self) -> None:
        """It does again."""
        self._is_behind = False
        lost, self._lost_lines = self._lost_lines, 0
        if lost:
            record = {"level": "warn", "namespace": "wsecho", "time": time.time()}
            self._say({"log": {**record, "text": f"{lost} log lines were lost: too many at a time"}})

    def stopProducing(self) -> None:
        """See `connectionLost`."""

    def _say(self, value: Mapping[str, Any]) -> None:
        if self._is_open and self._ended is None:
            self.transport.write(encode_line(value))  # type: ignore[union-attr]
        else:
            self._late.append(value)

    def log(self, event: LogEvent) -> None:
        """Relay an event; the observer of Twisted's logging system."""
        if self._is_behind:
            self._lost_lines += 1
        else:
            self._say({"log": record_to_relay(event)})

    def say_last(self, output: int, *values: Mapping[str, Any]) -> None:
        """Say what is left when the reactor does not run, at the very end."""
        with suppress(OSError):
            os.set_blocking(output, True)
            os.write(output, b"".join(encode_line(value) for value in (*self._late, *values)))

    # -- what is heard ---------------------------------------------------------------------------------------

    def _heard(self, value: Mapping[str, Any]) -> None:
        match value["do"]:
            case "stop":
                self._process.stop(gradual=value["gradual"])
            case "reload":
                self._must_oversee().service.reload()
                self._answer(value, True)
            case "accept":
                self._is_accepting = value["accepting"]
                if self._overseer is not None:
                    self._overseer.set_accepting(self._is_accepting)
            case "watch":
                self._watch(value)
            case "unwatch":
                self._watches.pop(value["watch"], _nothing)()
            case "report":
                self._answer(value, report_to_json(self._report(has_connections=value["connections"])))
            case "close":
                overseer = self._must_oversee()
                self._answer(value, overseer.close(value["id"], value["code"], value["reason"]))
            case "publish":
                message = value.get("text")
                if message is None:
                    message = bytes.fromhex(value["hex"])
                self._answer(value, self._must_oversee().publish(value["channel"], message))

    def _watch(self, value: Mapping[str, Any]) -> None:
        number = value["watch"]

        def tell(sample: MessageSample) -> None:
            if not self._is_behind:
                self._say({"watch": number, "sample": asdict(sample)})

        overseer = self._must_oversee()
        self._watches[number] = overseer.watch(tell, value["connection"], value["channel"])

    def _answer(self, question: Mapping[str, Any], value: Any) -> None:
        self._say({"answer": question["question"], "value": value})

    def _must_oversee(self) -> Overseer:
        assert self._overseer is not None, "it is there before the reactor reads anything"
        return self._overseer

    def _report(self, *, has_connections: bool) -> WorkerReport:
        overseer = self._must_oversee()
        facts = overseer.server()
        return WorkerReport(
            state=facts.state,
            connections_open=facts.connections,
            totals=overseer.totals(),
            lag=overseer.lag(),
            channels=overseer.channels(),
            certificates=facts.certificates,
            engine=facts.engine,
            is_engine_up=facts.is_engine_up,
            engine_events=facts.engine_events,
            cpu_seconds=time.process_time(),
            connections=tuple(overseer.connections()) if has_connections else None,
        )
