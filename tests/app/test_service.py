"""Tests for `wsecho.app.service`: listeners, start lines and the end, without sockets and processes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import StringIO
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from wsecho.app import service as service_module
from wsecho.app.configuration import Configuration, ConfigurationError, read_configuration
from wsecho.app.listeners import IListener, ListenError
from wsecho.app.notify import Notifier
from wsecho.app.options import version
from wsecho.app.service import (
    CannotStart,
    WebSocketService,
    build_service,
    paths_served,
    say_on_stderr,
    server_maker,
)
from wsecho.app.sources import build_listeners, build_tls
from wsecho.hub.engine import EngineError
from wsecho.policy.hosts import AllowedHosts
from wsecho.policy.origins import OriginRequest
from wsecho.policy.settings import Settings
from wsecho.services.broadcast import ChannelMember
from wsecho.services.echo import EchoService
from wsecho.tls.certificates import CertificateError
from wsecho.web.page import FACTS
from wsecho.wire.lane import described
from wsecho.wire.room import Room

from .logs import logged_lines

FIRST_LINE = f"wsecho {version()}, {described()}"
PATHS = "/ and /echo echo, /broadcast and /broadcast/CHANNEL broadcast"


class FakePort:
    """A port at an address, which stops when it is told that it has."""

    def __init__(self, address: IAddress) -> None:
        self.address = address
        self.stopped: Deferred[None] | None = None

    def getHost(self) -> IAddress:
        return self.address

    def startListening(self) -> None:
        self.stopped = None

    def stopListening(self) -> Deferred[None]:
        self.stopped = Deferred()
        return self.stopped


@implementer(IListener)
class FakeListener:
    """A listener whose outcome the test decides."""

    def __init__(self, name: str, result: Deferred[Any], *, is_secure: bool = False) -> None:
        self.name = name
        self.is_secure = is_secure
        self.result = result
        self.factory: Any = None
        self.times = 0

    def listen(self, factory: Any) -> Deferred[Any]:
        self.times += 1
        self.factory = factory
        return self.result


class FakeFactory:
    """A factory that is gone when the test says so."""

    def __init__(self, is_secure: bool) -> None:
        self.is_secure = is_secure
        self.hosts = AllowedHosts(["nobody.example"])
        self.connections: set[object] = set()
        self.gone: Deferred[None] = Deferred()
        self.shutdowns: list[tuple[float | None, bool]] = []


class FakeServer:
    """A server that opens and closes the ports of a listener, and does nothing else."""

    def __init__(self, is_secure: bool) -> None:
        self.factory = FakeFactory(is_secure)
        self.ports: list[Any] = []
        self.is_paused = False

    def listen_through(self, open_ports: Callable[[Any], Deferred[Any]]) -> Deferred[Any]:
        return open_ports(self.factory).addCallback(self.ports.extend)

    def pause_accepting(self) -> None:
        self.is_paused = True

    def resume_accepting(self) -> None:
        self.is_paused = False

    def close(self) -> Deferred[Any]:
        ports, self.ports = self.ports, []
        return gatherResults([port.stopListening() for port in ports])

    def shutdown(self, *, timeout: float | None, spread: bool) -> Deferred[Any]:
        self.factory.shutdowns.append((timeout, spread))
        return gatherResults([self.close(), self.factory.gone])


class FakeReactor:
    """Runs when it is told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waiting: list[Callable[[], object]] = []

    def callWhenRunning(self, function: Callable[[], object]) -> None:
        self.waiting.append(function)

    def seconds(self) -> float:
        return self.now

    def run(self) -> None:
        for function in self.waiting:
            function()


class FakeProcess:
    """Counts."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.handling: list[int] = []
        self.failures = 0
        self.is_gradual = False

    def handle_signals(self, reload: Callable[[], object]) -> None:
        self.reload = reload
        self.handling.append(len(self.lines))

    def fail(self) -> None:
        self.failures += 1


class FakeAdministration:
    """An `Administration`, its endpoint, its meter and its listener in one, which notes what it is told."""

    name = "--admin=E"

    def __init__(self, result: Deferred[None]) -> None:
        self.result = result
        self.calls: list[str] = []
        self.seen: object = None
        self.endpoint = self.listener = self
        self.meter = FakeMeter(self.calls)

    def oversee(self, service: object) -> object:
        self.seen = service
        return self

    def listen(self, overseer: object) -> Deferred[None]:
        self.calls.append("listen")
        return self.result

    def tell(self) -> None:
        self.calls.append("tell")

    def stop(self) -> Deferred[None]:
        self.calls.append("stop")
        return succeed(None)


class FakeRelay:
    """A relay to a shared engine that is away."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.is_away = True
        self.engine = SimpleNamespace(is_shared=True)
        self.started: Deferred[None] = Deferred()

    def start(self) -> Deferred[None]:
        self.calls.append("start")
        return self.started

    def stop(self) -> Deferred[None]:
        self.calls.append("stop")
        return succeed(None)


class FakeMeter:
    """Notes as well."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop measuring")


def tcp(host: str, port: int) -> FakePort:
    """A port on an IPv4 address."""
    return FakePort(IPv4Address("TCP", host, port))


class WebSocketServiceTests(SynchronousTestCase):
    """Listening, telling and stopping."""

    def setUp(self) -> None:
        collecting = logged_lines()
        self.lines = collecting.__enter__()
        self.addCleanup(collecting.__exit__, None, None, None)
        self.reactor = FakeReactor()
        self.process = FakeProcess(self.lines)
        self.said: list[str] = []

    def service(
        self,
        *listeners: FakeListener,
        hosts: AllowedHosts | None = None,
        tls: Any = None,
        drain_timeout: float = 10.0,
        administration: Any = None,
        relay: Any = None,
        notifier: Any = None,
    ) -> WebSocketService:
        """A service on these listeners."""
        return WebSocketService(
            self.reactor,
            listeners,
            FakeServer,
            hosts=hosts,
            drain_timeout=drain_timeout,
            paths=PATHS,
            tls=tls,
            process=self.process,  # type: ignore[arg-type]
            say=self.said.append,
            administration=administration,
            relay=relay,
            notifier=notifier,
        )

    def test_engine(self) -> None:
        """A shared engine is started with the service, which is not ready while it is away, and stopped when
        all connections have gone."""
        relay = FakeRelay()
        port = tcp("127.0.0.1", 1)
        listener = FakeListener("a", succeed([port]))
        service = self.service(listener, relay=relay)
        service.privilegedStartService()
        self.assertEqual(relay.calls, [])
        service.startService()
        self.reactor.run()
        self.assertEqual((relay.calls, service.state), (["start"], "engine-away"))
        self.assertTrue(service.set_accepting(False))
        self.assertTrue(service.set_accepting(True))
        relay.is_away = False
        self.assertEqual(service.state, "ready")
        stopped = service.stopService()
        self.assertEqual(relay.calls, ["start"])
        listener.factory.gone.callback(None)
        port.stopped.callback(None)  # type: ignore[union-attr]
        self.assertEqual(relay.calls, ["start", "stop"])
        self.successResultOf(stopped)

    def test_engine_that_cannot(self) -> None:
        """What no waiting mends, such as a wrong password, is one line, and the process ends with 1."""
        for error, logged in ((EngineError("wrong password"), 0), (ZeroDivisionError("wrong password"), 1)):
            relay = FakeRelay()
            self.said.clear()
            service = self.service(FakeListener("a", succeed([tcp("127.0.0.1", 1)])), relay=relay)
            service.startService()
            self.reactor.run()
            relay.started.errback(error)
            self.assertEqual(self.said, ["--engine: wrong password"])
            self.assertEqual(self.process.failures, 1 + logged)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), logged)

    def test_local_engine(self) -> None:
        """One that is not shared has started already."""
        relay = FakeRelay()
        relay.engine.is_shared = relay.is_away = False
        service = self.service(FakeListener("a", succeed([tcp("127.0.0.1", 1)])), relay=relay)
        service.startService()
        self.reactor.run()
        self.assertEqual((relay.calls, service.state), ([], "ready"))

    def test_notified(self) -> None:
        """The supervisor is told when all listen and the reactor runs, not before; when certificates are read
        again; and when the server stops, until all connections are gone."""
        listener, late = FakeListener("a", succeed([tcp("127.0.0.1", 1)])), FakeListener("b", Deferred())
        clock, told = Clock(), list[str]()
        notifier = Notifier(clock, lambda data: told.append(data.decode()), 60, monotonic=lambda: 7)
        service = self.service(listener, late, notifier=notifier)
        service.startService()
        self.reactor.run()
        self.assertEqual(told, [])
        late.result.callback([tcp("127.0.0.1", 2)])
        self.assertEqual(told, ["READY=1\nSTATUS=ready, connections: 0"])
        service.servers[0].factory.connections.add(object())
        clock.advance(30)
        self.assertEqual(told.pop(), "WATCHDOG=1\nSTATUS=ready, connections: 1")
        self.process.reload()
        self.assertEqual(
            told[1:],
            [
                "RELOADING=1\nMONOTONIC_USEC=7",
                "READY=1\nSTATUS=ready, connections: 1; reload: there is nothing to reload",
            ],
        )
        status = "STATUS=draining, connections: 1; reload: there is nothing to reload"
        ports: list[Any] = [port for server in service.servers for port in server.ports]
        service.stopService()
        self.assertEqual(told[3:], [f"STOPPING=1\n{status}\nEXTEND_TIMEOUT_USEC=20000000"])
        clock.advance(30)
        self.assertEqual(told[4:], [f"WATCHDOG=1\n{status}"])
        for server in service.servers:
            server.factory.gone.callback(None)
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        for port in ports:
            port.stopped.callback(None)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_not_ready(self) -> None:
        """A server that stops before all listen was never ready."""
        told = list[str]()
        notifier = Notifier(Clock(), lambda data: told.append(data.decode()))
        service = self.service(FakeListener("a", Deferred()), notifier=notifier)
        service.startService()
        self.reactor.run()
        service.stopService()
        self.assertEqual([line.partition("\n")[0] for line in told], ["STOPPING=1"])

    def test_states(self) -> None:
        """A service is starting until all listen and the reactor runs, ready, paused by an operator, and
        draining to its end; only a ready one may be paused, only a paused one goes on."""
        listener, late = FakeListener("a", succeed([tcp("127.0.0.1", 1)])), FakeListener("b", Deferred())
        service = self.service(listener, late)
        states = [service.state]
        service.startService()
        self.reactor.run()
        states.append(service.state)
        self.assertFalse(service.set_accepting(False))
        late.result.callback([tcp("127.0.0.1", 2)])
        states.append(service.state)
        self.assertTrue(service.set_accepting(False))
        states.append(service.state)
        servers: Any = service.servers
        self.assertEqual(([one.is_paused for one in servers], service.is_accepting), ([True, True], False))
        self.assertTrue(service.set_accepting(True))
        self.assertEqual(([one.is_paused for one in servers], service.is_accepting), ([False, False], True))
        self.assertEqual(service.urls, ("ws://127.0.0.1:1/", "ws://127.0.0.1:2/"))
        service.stopService()
        states.append(service.state)
        self.assertFalse(service.set_accepting(True))
        self.assertFalse(service.is_accepting)
        self.assertEqual(states, ["starting", "starting", "ready", "paused", "draining"])

    def test_closed(self) -> None:
        """An operator closes the ports and opens them again; meanwhile the service is closed, whatever else
        it is, and what is there already changes nothing."""
        port = tcp("127.0.0.1", 1)
        service = self.service(FakeListener("a", succeed([port])))
        self.failureResultOf(service.set_listening(False), ListenError)
        service.startService()
        self.reactor.run()
        before = len(self.lines)
        self.successResultOf(service.set_listening(True))
        self.assertEqual((port.stopped, self.lines[before:]), (None, []))
        closing = service.set_listening(False)
        self.assertEqual((service.state, service.is_listening, service.urls), ("closed", False, ()))
        failure = self.failureResultOf(service.set_listening(True), ListenError)
        self.assertEqual(failure.getErrorMessage(), "the ports are being closed or opened")
        self.assertNoResult(closing)
        (stopped,) = [one for one in (port.stopped,) if one is not None]
        stopped.callback(None)
        self.successResultOf(closing)
        self.assertTrue(service.set_accepting(False))
        self.assertEqual(service.state, "closed")
        before = len(self.lines)
        self.successResultOf(service.set_listening(True))
        self.assertEqual((service.state, service.urls), ("paused", ("ws://127.0.0.1:1/",)))
        self.assertEqual(self.lines[before:], [f"listening on ws://127.0.0.1:1/ : {PATHS}"])
        service.stopService()
        failure = self.failureResultOf(service.set_listening(False), ListenError)
        self.assertEqual(failure.getErrorMessage(), "the server is draining")

    def test_administration(self) -> None:
        """The admin endpoint listens when the service does, is told last, and ends when all connections
        have gone."""
        admin = FakeAdministration(succeed(None))
        port = tcp("127.0.0.1", 1)
        listener = FakeListener("a", succeed([port]))
        service = self.service(listener, administration=admin)
        service.startService()
        self.assertEqual(admin.calls, ["start", "listen"])
        self.assertIs(admin.seen, service)
        self.reactor.run()
        self.assertEqual(admin.calls, ["start", "listen", "tell"])
        self.reactor.now += 5
        self.assertEqual(service.uptime_seconds, 5.0)
        stopped = service.stopService()
        self.assertEqual(admin.calls[3:], [])
        listener.factory.gone.callback(None)
        port.stopped.callback(None)  # type: ignore[union-attr]
        self.assertEqual(admin.calls[3:], ["stop measuring", "stop"])
        self.successResultOf(stopped)

    def test_administration_fails(self) -> None:
        """An admin endpoint that cannot listen keeps the service from starting, with its line."""
        admin = FakeAdministration(fail(ListenError("is taken")))
        port = tcp("127.0.0.1", 1)
        service = self.service(FakeListener("a", succeed([port])), administration=admin)
        failure = self.assertRaises(CannotStart, service.privilegedStartService)
        self.assertEqual((str(failure), self.said), ("--admin=E: is taken", ["--admin=E: is taken"]))
        self.assertIsNotNone(port.stopped)
        self.assertEqual(admin.calls, ["start", "listen", "stop measuring", "stop"])

    def test_administration_is_late(self) -> None:
        """One that takes its time is told when it listens, and until then the service is starting."""
        admin = FakeAdministration(Deferred())
        service = self.service(FakeListener("a", succeed([tcp("127.0.0.1", 1)])), administration=admin)
        service.startService()
        self.reactor.run()
        admin.calls.clear()
        self.assertEqual(service.state, "starting")
        admin.result.callback(None)
        self.assertEqual((admin.calls, service.state), (["tell"], "ready"))

    def test_order_of_a_start(self) -> None:
        """Listening comes first; signals and start lines only when the reactor runs, signals before lines."""
        listener = FakeListener("--port=9000", succeed([tcp("127.0.0.1", 9000)]))
        service = self.service(listener)
        self.assertIsNone(listener.factory)
        service.privilegedStartService()
        self.assertIsNotNone(listener.factory)
        service.startService()
        self.assertEqual((self.lines, self.process.handling), ([], []))
        self.reactor.run()
        self.assertEqual(listener.times, 1)
        self.assertEqual(self.lines, [FIRST_LINE, f"listening on ws://127.0.0.1:9000/ : {PATHS}"])
        self.assertEqual(self.process.handling, [0])

    def test_reload(self) -> None:
        """A signal to reload reads the certificates again; what is wrong is told, and nothing ends."""

        class Certificates:
            problem = ""

            def reload(self) -> None:
                if self.problem:
                    raise CertificateError(self.problem)

        tls = Certificates()
        service = self.service(FakeListener("a", succeed([tcp("127.0.0.1", 1)])), tls=tls)
        service.startService()
        self.reactor.run()
        self.lines.clear()
        self.process.reload()
        tls.problem = 'certificate file "a": Permission denied'
        self.process.reload()
        self.assertEqual(
            self.lines,
            [
                "reload: new connections get the certificates as they are now; open ones go on",
                'reload: certificate file "a": Permission denied; the old certificates stay',
            ],
        )
        self.assertTrue(service.running)

    def test_nothing_to_reload(self) -> None:
        """Without TLS a signal to reload does nothing."""
        self.service().reload()
        self.assertEqual(self.lines, ["reload: there is nothing to reload"])

    def test_start_without_privileges(self) -> None:
        """A service that is only started listens then, and once."""
        listener = FakeListener("--port=9000", succeed([tcp("127.0.0.1", 9000)]))
        service = self.service(listener)
        service.startService()
        self.reactor.run()
        self.assertEqual(len(service.ports), 1)
        self.assertEqual(self.lines, [FIRST_LINE, f"listening on ws://127.0.0.1:9000/ : {PATHS}"])

    def test_each_url_is_told(self) -> None:
        """Every port of every listener has its line, with the scheme of its listener."""
        service = self.service(
            FakeListener("a", succeed([tcp("127.0.0.1", 1), tcp("127.0.0.2", 1)])),
            FakeListener("b", succeed([tcp("0.0.0.0", 2)]), is_secure=True),
            FakeListener("c", succeed([FakePort(UNIXAddress(b"/run/x"))])),
        )
        service.startService()
        self.reactor.run()
        self.assertEqual(
            self.lines[1:],
            [
                f"listening on {url} : {PATHS}"
                for url in (
                    "ws://127.0.0.1:1/",
                    "ws://127.0.0.2:1/",
                    "wss://0.0.0.0:2/",
                    "ws+unix:/run/x",
                )
            ],
        )

    def test_factory_for_each_listener(self) -> None:
        """Every listener has a factory of its own, which knows whether TLS ends here."""
        plain = FakeListener("a", succeed([tcp("127.0.0.1", 1)]))
        secure = FakeListener("b", succeed([tcp("127.0.0.1", 2)]), is_secure=True)
        self.service(plain, secure).startService()
        self.assertIsNot(plain.factory, secure.factory)
        self.assertEqual((plain.factory.is_secure, secure.factory.is_secure), (False, True))

    def test_default_hosts(self) -> None:
        """A listener that only this machine reaches answers to loopback names only, others to any."""
        for ports, is_open in (
            ([tcp("127.0.0.1", 1)], False),
            ([FakePort(UNIXAddress(b"/run/x"))], False),
            ([tcp("0.0.0.0", 1)], True),
            ([tcp("127.0.0.1", 1), tcp("192.0.2.1", 1)], True),
        ):
            listener = FakeListener("a", succeed(ports))
            self.service(listener).startService()
            self.assertTrue(listener.factory.hosts.allows("localhost:1"))
            self.assertTrue(listener.factory.hosts.allows("127.0.0.1"))
            self.assertTrue(listener.factory.hosts.allows("[::1]:9"))
            self.assertIs(listener.factory.hosts.allows("attacker.example"), is_open)

    def test_given_hosts(self) -> None:
        """Given Host values hold for every listener and are not added to."""
        hosts = AllowedHosts(["a.example"])
        local = FakeListener("a", succeed([tcp("127.0.0.1", 1)]))
        public = FakeListener("b", succeed([tcp("0.0.0.0", 2)]))
        self.service(local, public, hosts=hosts).startService()
        self.assertIs(local.factory.hosts, hosts)
        self.assertIs(public.factory.hosts, hosts)

    def test_listener_that_cannot(self) -> None:
        """When one cannot listen the start fails with its line, and those that listened stop."""
        port = tcp("127.0.0.1", 1)
        last = FakeListener("--listen=c", succeed([tcp("127.0.0.1", 3)]))
        service = self.service(
            FakeListener("--listen=a", succeed([port])),
            FakeListener("--listen=b", fail(ListenError("cannot listen: Address already in use"))),
            last,
        )
        error = self.assertRaises(CannotStart, service.privilegedStartService)
        line = "--listen=b: cannot listen: Address already in use"
        self.assertEqual(str(error), line)
        self.assertEqual((self.lines, self.said), ([line], [line]))
        self.assertIsNotNone(port.stopped)
        self.assertEqual(service.ports, ())
        self.assertIsNone(last.factory)

    def test_error_of_ours(self) -> None:
        """An error that no listener should raise ends the start as well, and is logged whole."""
        service = self.service(FakeListener("--listen=a", fail(ZeroDivisionError("oops"))))
        self.assertEqual(str(self.assertRaises(CannotStart, service.startService)), "--listen=a: oops")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_listener_that_is_slow(self) -> None:
        """A listener that takes its time is told when it listens."""
        result: Deferred[Any] = Deferred()
        listener = FakeListener("--listen=onion:80", result)
        self.service(listener).startService()
        self.reactor.run()
        self.assertEqual(self.lines, [])
        result.callback([tcp("127.0.0.1", 1)])
        self.assertEqual(self.lines, [FIRST_LINE, f"listening on ws://127.0.0.1:1/ : {PATHS}"])

    def test_listener_that_fails_late(self) -> None:
        """A listener that fails when all else runs ends the process with its line."""
        result: Deferred[Any] = Deferred()
        self.service(FakeListener("--listen=onion:80", result)).startService()
        self.reactor.run()
        result.errback(ListenError("cannot listen: no"))
        self.assertEqual(self.lines, ["--listen=onion:80: cannot listen: no"])
        self.assertEqual(self.process.failures, 1)

    def test_stop(self) -> None:
        """Stopping stops to listen and ends the connections of every factory, and waits for both."""
        ports = [tcp("127.0.0.1", 1), tcp("127.0.0.1", 2)]
        listeners = [FakeListener(port.address.__repr__(), succeed([port])) for port in ports]
        service = self.service(*listeners)
        service.startService()
        stopped = service.stopService()
        for port in ports:
            assert port.stopped is not None
            port.stopped.callback(None)
        listeners[0].factory.gone.callback(None)
        self.assertNoResult(stopped)
        listeners[1].factory.gone.callback(None)
        self.successResultOf(stopped)
        self.assertFalse(service.running)

    def drained(self, drain_timeout: float, *, is_gradual: bool) -> list[tuple[float | None, bool]]:
        """What the servers of two listeners, with three open connections, are told when a service stops."""
        listeners = [FakeListener(name, succeed([tcp("127.0.0.1", 1)])) for name in "ab"]
        service = self.service(*listeners, drain_timeout=drain_timeout)
        self.process.is_gradual = is_gradual
        service.startService()
        listeners[0].factory.connections = {1, 2}
        listeners[1].factory.connections = {3}
        service.stopService()
        (one,), (other,) = (listener.factory.shutdowns for listener in listeners)
        return [one, other]

    def test_drain(self) -> None:
        """Every server gets the whole time and, when the process ends gradually, spreads over it; the log
        tells how many, and by when."""
        self.assertEqual(self.drained(10, is_gradual=True), [(10, True)] * 2)
        self.assertEqual(self.drained(0.5, is_gradual=False), [(0.5, False)] * 2)
        self.assertEqual(
            self.lines,
            [
                "open connections: 3; they get Close 1001 over 5s, what is left after 10s is dropped",
                "open connections: 3; they get Close 1001 now, what is left after 500ms is dropped",
            ],
        )

    def test_drop(self) -> None:
        """With a timeout of 0 servers are told so, and the log does not speak of a Close."""
        self.assertEqual(self.drained(0, is_gradual=True), [(0, True)] * 2)
        self.assertEqual(self.lines, [])

    def test_stop_without_process(self) -> None:
        """In somebody else's program nothing is spread: whoever stops it knows of no signal."""
        listener = FakeListener("a", succeed([tcp("127.0.0.1", 1)]))
        service = WebSocketService(
            self.reactor, [listener], FakeServer, hosts=None, drain_timeout=10, paths=PATHS
        )
        service.startService()
        service.stopService()
        self.assertEqual(listener.factory.shutdowns, [(10, False)])
        self.assertEqual(self.lines, [])

    def test_stop_before_all_listen(self) -> None:
        """A listener that is still on its way is called off, which is no failure."""
        cancelled: list[object] = []
        listener = FakeListener("--listen=onion:80", Deferred(cancelled.append))
        service = self.service(listener)
        service.startService()
        stopped = service.stopService()
        listener.factory.gone.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(len(cancelled), 1)
        self.assertEqual((self.lines, self.process.failures), ([], 0))

    def test_stop_before_the_reactor_runs(self) -> None:
        """A service that was stopped meanwhile tells nothing and takes no signals."""
        service = self.service(FakeListener("a", succeed([tcp("127.0.0.1", 1)])))
        service.startService()
        service.stopService()
        self.reactor.run()
        self.assertEqual((self.lines, self.process.handling), ([], []))


class CannotStartTests(SynchronousTestCase):
    """The exception that ends a start."""

    def test_both_kinds(self) -> None:
        """It is an Exception, which twistd reports, and a SystemExit of status 1 without a text."""
        error = CannotStart("line")
        self.assertIsInstance(error, Exception)
        self.assertIsInstance(error, SystemExit)
        self.assertEqual((str(error), error.code), ("line", 1))


class BuildTests(SynchronousTestCase):
    """From a configuration to what it means."""

    def configuration(self, **given: str | list[str]) -> Configuration:
        """A configuration of these options."""
        return read_configuration(
            {
                name.replace("_", "-"): [value] if isinstance(value, str) else value
                for name, value in given.items()
            }
        )

    def test_paths(self) -> None:
        """The start line tells what / is in each mode."""
        self.assertEqual(paths_served("echo"), PATHS)
        self.assertEqual(
            paths_served("broadcast"), "/echo echo, /, /broadcast and /broadcast/CHANNEL broadcast"
        )

    def test_certificate(self) -> None:
        """A certificate that cannot be read is an error of the configuration that names the option."""
        configuration = self.configuration(
            listen_tls="tcp:0", certificate="nowhere.pem", private_key="nowhere.key"
        )
        for build in (lambda: build_tls(configuration), lambda: build_service(configuration, Clock())):
            line = str(self.assertRaises(ConfigurationError, build))
            self.assertTrue(line.startswith("--certificate=nowhere.pem: certificate file"), line)
            self.assertTrue(line.endswith("No such file or directory"), line)
        self.assertIsNone(build_tls(self.configuration()))

    def test_factories(self) -> None:
        """A factory has what the configuration says."""
        configuration = self.configuration(
            server_name="x", subprotocol=["b", "a"], max_message_size="2KiB", debug="true",
            allow_origin="https://a.example",
        )  # fmt: skip
        clock = Clock()
        make = server_maker(configuration, clock, Room())
        plain, secure = make(False).factory, make(True).factory
        for factory in (plain, secure):
            self.assertEqual(factory.settings, Settings(max_message_size=2048))
            self.assertEqual((factory.server, list(factory.protocols)), ("x", ["b", "a"]))
            self.assertIs(factory.reactor, clock)
            self.assertIs(factory.debug, True)
            facts = factory.page(FACTS)
            assert facts is not None
            self.assertIn(b'"mode": "echo"', facts.body)
            self.assertIn(b'"knobs": null', facts.body)
            request = OriginRequest(origin="https://a.example", host="b.example", path="/", peer="")
            self.assertIs(factory.origins(request), True)
        self.assertEqual((plain.isSecure, secure.isSecure), (False, True))

    def test_page(self) -> None:
        """The page is told the mode, and the knobs of the test endpoints if there are any."""
        configuration = self.configuration(mode="broadcast", test_endpoints="true")
        facts = server_maker(configuration, Clock(), Room())(False).factory.page(FACTS)
        assert facts is not None
        self.assertIn(b'"mode": "broadcast"', facts.body)
        self.assertIn(b'"example": "delay=200ms"', facts.body)

    def test_proxies(self) -> None:
        """Headers of trusted proxies are believed by every factory, and PROXY headers by every listener."""
        configuration = self.configuration(trust_proxy="10.0.0.0/8", port="1", listen="tcp:2")
        self.assertEqual(
            server_maker(configuration, Clock(), Room())(False).factory.proxies.trusted, ("10.0.0.0/8",)
        )
        for listener in build_listeners(configuration, Clock()):
            proxies: Any = listener._proxies  # type: ignore[attr-defined]
            self.assertEqual(proxies.trusted, ("10.0.0.0/8",))
        self.assertEqual(
            server_maker(self.configuration(), Clock(), Room())(False).factory.proxies.trusted, ()
        )

    def test_services_are_shared(self) -> None:
        """Connections of all listeners meet on the same channels."""
        make = server_maker(self.configuration(), Clock(), Room())
        one: Any
        other: Any
        one, other = make(False).factory.route("/broadcast/x"), make(True).factory.route("/broadcast/x")
        assert isinstance(one, ChannelMember)
        assert isinstance(other, ChannelMember)
        self.assertIs(one._hub, other._hub)

    def test_mode(self) -> None:
        """The mode decides what / is."""
        make = server_maker(self.configuration(), Clock(), Room())
        self.assertIsInstance(make(False).factory.route("/"), EchoService)
        make = server_maker(self.configuration(mode="broadcast"), Clock(), Room())
        self.assertIsInstance(make(False).factory.route("/"), ChannelMember)
        self.assertIsInstance(make(False).factory.route("/echo"), EchoService)

    def test_include_sender(self) -> None:
        """Whether a message returns to its sender is the option's, but for channels that say otherwise."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write("include-sender = true\n[channel.quiet]\ninclude-sender = false\n")
        route = server_maker(self.configuration(config=path), Clock(), Room())(False).factory.route
        for name, expected in (("loud", True), ("quiet", False)):
            member: Any = route(f"/broadcast/{name}")
            assert isinstance(member, ChannelMember)
            self.assertIs(member._include_sender, expected)

    def test_service(self) -> None:
        """A service is built without listening."""
        service = build_service(self.configuration(drain_timeout="2m"), Clock())
        self.assertEqual(service.ports, ())
        self.assertFalse(service.running)
        self.assertEqual(service._drain_timeout, 120)

    def test_room(self) -> None:
        """All listeners share one room, which has the limits of the options; a program's own process gets
        what it needs before anything listens, and somebody else's is left alone."""
        configuration = read_configuration(
            {"max-connections": ["7"], "max-connections-per-address": ["3"], "port": ["0"]}
        )
        provided: list[Room] = []
        self.patch(service_module, "provide_descriptors", provided.append)
        process: Any = FakeProcess([])
        for its_process, count in ((None, 0), (process, 1)):
            service = build_service(configuration, Clock(), process=its_process)
            rooms = [service._make_server(is_secure).factory.room for is_secure in (False, True)]
            self.assertIs(rooms[0], rooms[1])
            self.assertEqual((rooms[0].max_connections, rooms[0].max_connections_per_address), (7, 3))
            self.assertEqual(provided, [])
            listener = FakeListener("a", succeed([tcp("127.0.0.1", 1)]))
            service._listeners = [listener]
            service.privilegedStartService()
            self.assertEqual(len(provided), count)
            self.assertEqual(provided, rooms[:count])

    def test_prepare(self) -> None:
        """What is to be prepared is, before anything listens."""
        listener = FakeListener("a", succeed([tcp("127.0.0.1", 1)]))
        times: list[int] = []
        WebSocketService(
            FakeReactor(),
            [listener],
            FakeServer,
            hosts=None,
            drain_timeout=10,
            paths=PATHS,
            prepare=lambda: times.append(listener.times),
        ).startService()
        self.assertEqual((times, listener.times), ([0], 1))

    def test_say(self) -> None:
        """What must be seen goes to the standard error that the process was started with."""
        stream = StringIO()
        self.patch(sys, "__stderr__", stream)
        say_on_stderr("line")
        self.assertEqual(stream.getvalue(), "wsecho: line\n")
        self.patch(sys, "__stderr__", None)
        say_on_stderr("line")
