"""What every service that listens has in common, whether it serves itself or has workers that do.

Rules of this file: it knows that something is being listened on, and what to do when that fails: before the
service has started nothing starts, later the process ends. What listens, and who is told when, stands in
`wsecho.app.service` and `wsecho.app.workers.supervisor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, Logger

from wsecho.app.listeners import ListenError, url_of
from wsecho.app.options import version
from wsecho.app.process import FAILED
from wsecho.wire.lane import described

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IListeningPort
    from twisted.python.failure import Failure

    from wsecho.app.notify import Notifier
    from wsecho.app.process import Process

__all__ = ["CannotStart", "ListeningService"]

_log = Logger(namespace="wsecho")


class CannotStart(Exception, SystemExit):
    """The server cannot start; one line.

    An Exception, so that twistd removes its pid file and tells the process that a daemon was started from. A
    SystemExit as well, so that the interpreter ends with status 1 and without a traceback.
    """

    def __init__(self, line: str) -> None:
        super().__init__(line)
        self.code = FAILED


class ListeningService(Service):
    """A service that listens.

    :param paths: what is served where, for the start lines; empty for no such lines
    :param process: whose signals are handled, and which stops when a listener fails late; None for a service
        in somebody else's program
    :param say: besides the log, gets the line of what keeps the server from starting
    :param notifier: tells the supervisor that started the process, if there is one
    """

    def __init__(
        self,
        reactor: Any,
        *,
        paths: str,
        process: Process | None,
        say: Callable[[str], object] | None,
        notifier: Notifier | None,
    ) -> None:
        self._reactor = reactor
        self._paths = paths
        self._process = process
        self._say = say
        self._notifier = notifier
        self._is_accepting = True
        self._is_stopping = False
        self._began = 0.0
        self._pending: list[Deferred[Any]] = []
        self._failure: str | None = None
        self._is_bound = False
        self._is_announced = False
        self._has_told_version = False
        self.log_observer: Any = None
        """What writes the log, in place of twistd's own; None to leave it to twistd."""

    def setServiceParent(self, parent: Any) -> None:
        """Become a part of the application; twistd asks that for the observer before it begins to log."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self.log_observer is not None:
            parent.setComponent(ILogObserver, self.log_observer)

    @property
    def is_accepting(self) -> bool:
        """Whether connections are accepted, as far as there are ports."""
        return self._is_accepting and not self._is_stopping

    @property
    def uptime_seconds(self) -> float:
        """Since the start."""
        return max(0.0, float(self._reactor.seconds()) - self._began)

    def privilegedStartService(self) -> None:
        """Begin; what is listened on is a subclass's."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._is_bound = True
        self._began = self._reactor.seconds()

    def _wait_for(
        self, listening: Deferred[Any], listener: Any, listens: Callable[[], object] | None = None
    ) -> None:
        """Remember a listener until it listens, or cannot.

        :param listener: its `name` is for the line about a failure
        :param listens: called when it does
        """
        self._pending.append(listening)

        def succeeded(_: object) -> None:
            self._pending.remove(listening)
            if listens is not None:
                listens()

        def failed(failure: Failure) -> None:
            self._pending.remove(listening)
            if isinstance(failure.value, CancelledError):
                return
            if not isinstance(failure.value, ListenError):
                _log.failure("{name}: failed to listen", failure, name=listener.name)
            self._cannot_run(f"{listener.name}: {failure.getErrorMessage()}")

        listening.addCallbacks(succeeded, failed)

    def _cannot_run(self, line: str) -> None:
        self._failure = line
        _log.critical("{line}", line=line)
        if self._say is not None:
            self._say(line)
        if self.running and self._process is not None:
            self._process.fail()

    def _call_off(self) -> None:
        for listening in list(self._pending):
            listening.cancel()

    def _tell_port(self, port: IListeningPort, *, is_secure: bool) -> None:
        if self._paths:
            # Not sooner: a server that cannot listen logs one line, which says why.
            if not self._has_told_version:
                self._has_told_version = True
                _log.info("wsecho {version}, {parts}", version=version(), parts=described())
            url = url_of(port.getHost(), is_secure=is_secure)
            _log.info("listening on {url} : {paths}", event="listening", url=url, paths=self._paths)

    def _notify_end(self, result: Any) -> Any:
        if self._notifier is not None:
            self._notifier.end()
        return result
