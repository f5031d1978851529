"""What every service that listens has in common."""

from __future__ import annotations

from typing import Any

from twisted.application.service import MultiService
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver
from twisted.python.components import Componentized
from twisted.trial.unittest import SynchronousTestCase

from wsecho.app import listening
from wsecho.app.listeners import ListenError
from wsecho.app.listening import CannotStart, ListeningService

from .logs import logged_lines


class Named:
    """A listener."""

    name = "--listen=x"


class FakeProcess:
    """A process that may be told to fail."""

    failures = 0

    def fail(self) -> None:
        self.failures += 1


class Port:
    """A port."""

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 7)


class ListeningServiceTests(SynchronousTestCase):
    """`ListeningService`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.process = FakeProcess()
        process: Any = self.process
        self.said: list[str] = []
        self.service = ListeningService(
            self.clock, paths="/ echo", process=process, say=self.said.append, notifier=None
        )

    def test_waits(self) -> None:
        """A listener is waited for until it listens; what is to be done then is done once."""
        listening: Deferred[Any] = Deferred()
        done: list[bool] = []
        self.service._wait_for(listening, Named(), lambda: done.append(True))
        self.assertEqual((self.service._pending, done), ([listening], []))
        listening.callback([])
        self.assertEqual((self.service._pending, done), ([], [True]))

    def test_failure_before_the_start(self) -> None:
        """A listener that fails before the service runs leaves its line, in the log and for whoever asks."""
        listening: Deferred[Any] = Deferred()
        self.service._wait_for(listening, Named())
        with logged_lines() as lines:
            listening.errback(ListenError("taken"))
        line = "--listen=x: taken"
        self.assertEqual((self.service._failure, self.said, lines), (line, [line], [line]))
        self.assertEqual((self.service._pending, self.process.failures), ([], 0))

    def test_failure_later(self) -> None:
        """One that fails while the service runs ends the process; what is no `ListenError` is a bug, with its
        traceback."""
        self.service.startService()
        listening: Deferred[Any] = Deferred()
        self.service._wait_for(listening, Named())
        listening.errback(ZeroDivisionError("odd"))
        self.assertEqual((self.said, self.process.failures), (["--listen=x: odd"], 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_called_off(self) -> None:
        """One that is called off is no failure."""
        self.service._wait_for(Deferred(), Named())
        self.service._call_off()
        self.assertEqual((self.service._pending, self.service._failure, self.said), ([], None, []))

    def test_begin(self) -> None:
        """The time is counted from the moment in which it begins to listen."""
        self.service.privilegedStartService()
        self.clock.advance(5)
        self.assertEqual((self.service._is_bound, self.service.uptime_seconds), (True, 5.0))

    def test_start_lines(self) -> None:
        """A port is told with its URL and what is served, the first one behind the version and whether the
        compiled part is used; by a service without paths nothing is told."""
        self.patch(listening, "version", lambda: "1.2.3")
        self.patch(listening, "described", lambda: "pure Python")
        port: Any = Port()
        with logged_lines() as lines:
            self.service._tell_port(port, is_secure=True)
            self.service._tell_port(port, is_secure=False)
            ListeningService(self.clock, paths="", process=None, say=None, notifier=None)._tell_port(
                port, is_secure=True
            )
        ports = [f"listening on {scheme}://127.0.0.1:7/ : / echo" for scheme in ("wss", "ws")]
        self.assertEqual(lines, ["wsecho 1.2.3, pure Python", *ports])

    def test_observer(self) -> None:
        """The application gets the observer, where there is one."""

        class Application(MultiService, Componentized):
            def __init__(self) -> None:
                MultiService.__init__(self)
                Componentized.__init__(self)

        application: Any = Application()
        self.service.setServiceParent(application)
        self.assertIsNone(application.getComponent(ILogObserver))
        self.service.disownServiceParent()
        self.service.log_observer = observer = object()
        self.service.setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), observer)

    def test_cannot_start(self) -> None:
        """The error ends an interpreter with status 1 and its line."""
        error = CannotStart("no")
        self.assertIsInstance(error, SystemExit)
        self.assertEqual((error.code, str(error)), (1, "no"))
