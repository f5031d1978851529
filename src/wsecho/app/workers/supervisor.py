"""The service of the supervisor: listens without accepting, keeps the workers, and is the server to whoever
looks from outside: signals, start lines, admin endpoint, exit status.

Rules of this file: what `wsecho.app.service.WebSocketService` does for one process this does for several, in
the same order and with the same lines. It serves no connection itself, so that nothing that a peer sends can
take it down.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger, globalLogPublisher

from wsecho.app.listeners import url_of
from wsecho.app.listening import CannotStart, ListeningService
from wsecho.app.service import paths_served
from wsecho.app.sources import build_listeners, build_tls
from wsecho.app.workers.crew import Crew, WorkerState
from wsecho.app.workers.logs import event_of_record
from wsecho.app.workers.passing import configuration_to_json, share
from wsecho.app.workers.sockets import SharedSockets
from wsecho.policy.facts import ServerState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wsecho.app.admin import AdminEndpoint
    from wsecho.app.configuration import Configuration
    from wsecho.app.listeners import IListener
    from wsecho.app.notify import Notifier
    from wsecho.app.process import Process

__all__ = ["Supervisor", "build_supervisor"]

_log = Logger(namespace="wsecho")

#: Seconds that workers have, besides the time for the drain, to end.
MARGIN: Final = 5.0


class Supervisor(ListeningService):
    """Listens, and keeps workers that serve.

    :param configuration: of the whole server
    :param listeners: each is listened on once, so a service starts once
    :param sockets: binds them
    :param size: how many workers there are
    :param paths: what is served where, for the start lines
    :param process: whose signals are handled; None for a service in somebody else's program
    :param say: besides the log, gets the line of what keeps the server from starting
    :param endpoint: the admin endpoint, if there is one
    :param notifier: tells systemd, where that started the process
    """

    def __init__(
        self,
        reactor: Any,
        configuration: Configuration,
        listeners: Sequence[IListener],
        sockets: SharedSockets,
        size: int,
        *,
        paths: str,
        process: Process | None = None,
        say: Callable[[str], object] | None = None,
        endpoint: AdminEndpoint | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        super().__init__(reactor, paths=paths, process=process, say=say, notifier=notifier)
        self._configuration = configuration
        self._listeners = listeners
        self._sockets = sockets
        self._endpoint = endpoint
        self._drain_timeout = configuration.seconds("drain-timeout")
        self.crew = Crew(
            reactor,
            size,
            self,
            greeting=self._greeting,
            descriptors=lambda: self._sockets.descriptors,
        )

    # -- what is seen of it ----------------------------------------------------------------------------------

    @property
    def urls(self) -> tuple[str, ...]:
        """What is listened on."""
        return tuple(url_of(port.getHost(), is_secure=is_secure) for port, is_secure in self._sockets.ports)

    @property
    def state(self) -> ServerState:
        """Whether new connections are welcome."""
        if self._is_stopping:
            return ServerState.DRAINING
        if not self._is_announced:
            return ServerState.STARTING
        return ServerState.READY if self._is_accepting else ServerState.PAUSED

    def set_accepting(self, accepting: bool) -> bool:
        """Pause or resume accepting in all workers; whether that is possible now."""
        if self.state not in (ServerState.READY, ServerState.PAUSED):
            return False
        self._is_accepting = accepting
        self.crew.tell({"do": "accept", "accepting": accepting})
        return True

    # -- the start -------------------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind every socket.

        :raises CannotStart: one of them cannot be bound; then none is.
        """
        super().privilegedStartService()
        for listener in self._listeners:
            self._wait_for(self._sockets.listen(listener), listener)
            self._give_up_after_failure()
        if self._endpoint is not None:
            from wsecho.app.workers.overseer import CrewOverseer

            overseer = CrewOverseer(self, self.crew, self._configuration)
            self._wait_for(self._endpoint.listen(overseer), self._endpoint.listener)
            self._give_up_after_failure()

    def _give_up_after_failure(self) -> None:
        if self._failure is not None:
            self._call_off()
            self._sockets.close()
            if self._endpoint is not None:
                self._endpoint.stop()
            raise CannotStart(self._failure)

    def startService(self) -> None:
        """Start the workers as soon as the reactor runs; bind first, where nobody called
        `privilegedStartService`."""
        if not self._is_bound:
            self.privilegedStartService()
        super().startService()  # type: ignore[no-untyped-call]
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        if not self.running:
            return
        if self._process is not None:
            self._process.at_crash = self.crew.kill
            self._process.handle_signals(self.reload)
        self.crew.start()

    def _greeting(self) -> Mapping[str, Any]:
        return {
            "configuration": configuration_to_json(share(self._configuration, len(self.crew.workers))),
            "sockets": [asdict(told) for told in self._sockets.inherited],
            "reactor": type(self._reactor).__module__,
            "accepting": self._is_accepting,
        }

    # -- what the crew tells ---------------------------------------------------------------------------------

    def all_ready(self) -> None:
        """Tell the URLs: whoever has read one may connect."""
        self._is_announced = True
        for port, is_secure in self._sockets.ports:
            self._tell_port(port, is_secure=is_secure)
        if self._endpoint is not None:
            self._endpoint.tell()
        _log.info(
            "workers: {number}, processes {pids}",
            number=len(self.crew.workers),
            pids=", ".join(str(worker.pid) for worker in self.crew.workers),
        )
        if self._notifier is not None:
            self._notifier.ready(self._describe)

    def _describe(self) -> str:
        ready = sum(worker.state is WorkerState.READY for worker in self.crew.workers)
        return f"{self.state.value}, workers: {ready} of {len(self.crew.workers)}"

    def start_failed(self, line: str) -> None:
        """Give up: what fails in one worker at the start fails in all."""
        if self._failure is None and not self._is_stopping:
            self._cannot_run(line)

    def logged(self, worker: int, record: Mapping[str, Any]) -> None:
        """Log it here."""
        globalLogPublisher(event_of_record(worker, record))

    # -- the end ---------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Let every worker read the certificates again."""
        if self._notifier is not None:
            self._notifier.reloading()

        def reloaded(answers: Sequence[object]) -> None:
            if self._notifier is not None:
                self._notifier.reloaded(f"done by {len(answers)} workers, the log has more")

        self.crew.ask_all({"do": "reload"}).addCallback(reloaded)

    def stopService(self) -> Deferred[Any]:
        """Close the sockets and let the workers end; fires when all are gone."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._is_stopping = True
        self._call_off()
        gradual = self._process is not None and self._process.is_gradual
        gone: Deferred[Any] = self.crew.stop(gradual=gradual, timeout=self._drain_timeout + MARGIN)
        if self._notifier is not None:
            self._notifier.stopping(self._describe, self._drain_timeout + MARGIN)
        # Before they are gone: a port that is listened on by nobody who accepts keeps clients waiting.
        self._sockets.close()
        endpoint = self._endpoint
        if endpoint is not None:
            # The last to go: whoever watches sees the drain to its end.
            gone.addBoth(lambda _: endpoint.stop())
        return gone.addBoth(self._notify_end)


def build_supervisor(
    configuration: Configuration,
    reactor: Any,
    *,
    process: Process | None = None,
    say: Callable[[str], object] | None = None,
    notifier: Notifier | None = None,
) -> Supervisor:
    """Return the service of a configuration with several workers.

    :param process: see `Supervisor`; the same for `say` and `notifier`
    :raises ConfigurationError: see `wsecho.app.service.build_service`
    """
    # Not used here, but what is wrong with it is told before anything starts.
    tls = build_tls(configuration)
    listeners = build_listeners(configuration, reactor, tls)
    endpoint = None
    if configuration["admin"] is not None:
        from wsecho.app.admin import build_admin

        endpoint = build_admin(configuration, reactor)
    return Supervisor(
        reactor,
        configuration,
        listeners,
        SharedSockets(listeners, configuration),
        configuration.workers,
        paths=paths_served(
            configuration.text("mode"),
            has_test_endpoints=configuration.flag("test-endpoints"),
            has_channels=configuration.joins_channels,
        ),
        process=process,
        say=say,
        endpoint=endpoint,
        notifier=notifier,
    )
