"""The service that twistd runs: factories for its listeners, the services they share, start lines, the end.

Rules of this file:

- `build_service` does what may fail without a socket and needs the process as it was started: reading files,
  finding systemd's sockets. It binds nothing, because a daemon forks afterwards;
- every listener is bound in ``privilegedStartService``: after the fork, while ports below 1024 may still be
  bound, and before twistd tells its parent that all is well. So a port that is taken is exit status 1, also
  of a daemon; none keeps running deaf;
- the start lines come when the reactor runs and the signals are handled: whoever has read one may connect,
  and may send a signal.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred, succeed
from twisted.logger import Logger

from wsecho.app.channels import build_broadcast
from wsecho.app.descriptors import provide_descriptors
from wsecho.app.listeners import IListener, ListenError, is_local, url_of
from wsecho.app.listening import CannotStart, ListeningService
from wsecho.app.ports import Ports
from wsecho.app.process import Process
from wsecho.app.sources import build_listeners, build_tls
from wsecho.hub.engine import EngineError
from wsecho.policy.enumerations import SslMode
from wsecho.policy.facts import ServerState
from wsecho.policy.hosts import LOOPBACK_HOSTS, AllowedHosts
from wsecho.policy.quantities import format_duration
from wsecho.server import WebSocketServer
from wsecho.services.echo import EchoService
from wsecho.services.programmable import ProgrammableEcho
from wsecho.services.routes import Routes
from wsecho.services.unserved import UnservedChannels
from wsecho.tls.certificates import CertificateError
from wsecho.tls.contexts import ConfiguredCreator
from wsecho.web.page import client_pages
from wsecho.wire.drain import spread_seconds
from wsecho.wire.room import Room
from wsecho.wire.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IListeningPort, IProtocolFactory
    from twisted.python.failure import Failure

    from wsecho.app.configuration import Configuration
    from wsecho.app.lag import LagMeter
    from wsecho.app.notify import Notifier
    from wsecho.services.broadcast import BroadcastService
    from wsecho.services.relay import Relay
    from wsecho.web.interfaces import IOverseer

__all__ = [
    "CannotStart",
    "WebSocketService",
    "build_service",
    "paths_served",
    "say_on_stderr",
    "server_maker",
]

_log = Logger(namespace="wsecho")

#: In which accepting and listening may be changed.
_MAY_CHANGE = (ServerState.READY, ServerState.PAUSED, ServerState.CLOSED, ServerState.ENGINE_AWAY)
_NOT_JOINED: Final = "broadcast over several processes needs --engine"


class IsServer(Protocol):
    """What the service needs of a `wsecho.WebSocketServer`."""

    @property
    def factory(self) -> Any:
        """Its `hosts` are set for each listener, its open `connections` counted."""

    @property
    def ports(self) -> Sequence[IListeningPort]:
        """What it listens on."""

    def listen_through(self, open_ports: Callable[[IProtocolFactory], Deferred[Any]]) -> Deferred[Any]:
        """Listen on the ports that `open_ports` opens."""

    def close(self) -> Deferred[Any]:
        """Stop to listen."""

    def shutdown(self, *, timeout: float | None, spread: bool) -> Deferred[Any]:
        """Stop to listen and end every connection with Close 1001; fires when all are gone."""

    def pause_accepting(self) -> None:
        """Leave new connections in the kernel."""

    def resume_accepting(self) -> None:
        """Accept again."""


class IsAdminEndpoint(Protocol):
    """What the service needs of a `wsecho.app.admin.AdminEndpoint`."""

    @property
    def listener(self) -> Any:
        """Its `name` is for the line about a failure."""

    def listen(self, overseer: IOverseer) -> Deferred[None]:
        """Begin to answer."""

    def tell(self) -> None:
        """Everything listens."""

    def stop(self) -> Deferred[Any]:
        """Answer no more."""


@dataclass(frozen=True, slots=True)
class Administration:
    """The admin endpoint of a service.

    :param endpoint: listens as soon as the service does, and answers until the last connection has gone
    :param meter: measures meanwhile
    :param oversee: makes what the endpoint looks at, of the service
    """

    endpoint: IsAdminEndpoint
    meter: LagMeter
    oversee: Callable[[WebSocketService], IOverseer]


class WebSocketService(ListeningService):
    """Listens on all listeners and ends all connections when it is stopped.

    :param listeners: each is listened on once, so a service starts once.
    :param make_server: makes the server of one listener, given whether it ends TLS.
    :param hosts: the Host values for all listeners; None for loopback names on those that only this machine
        reaches, and any on others.
    :param drain_timeout: seconds from the stop until every connection has ended; 0 drops all at once. On
        SIGTERM, which `process` tells, open ones are closed over the first half of it.
    :param paths: what is served where, for the start lines; empty for no such lines.
    :param tls: whose certificates are read again when that is asked for; None when no listener ends TLS.
    :param process: whose signals are handled, and which stops when a listener fails late; None for a service
        in somebody else's program.
    :param prepare: called before anything listens.
    :param say: besides the log, gets the line of what keeps the server from starting.
    :param administration: the admin endpoint, if there is one.
    :param relay: what joins the channels to their engine, which starts and stops with the service
    :param notifier: tells the supervisor that started the process, if there is one.
    """

    def __init__(
        self,
        reactor: Any,
        listeners: Sequence[IListener],
        make_server: Callable[[bool], IsServer],
        *,
        hosts: AllowedHosts | None,
        drain_timeout: float,
        paths: str,
        tls: ConfiguredCreator | None = None,
        process: Process | None = None,
        prepare: Callable[[], object] | None = None,
        say: Callable[[str], object] | None = None,
        administration: Administration | None = None,
        relay: Relay | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        super().__init__(reactor, paths=paths, process=process, say=say, notifier=notifier)
        self._listeners = listeners
        self._make_server = make_server
        self._hosts = hosts
        self._drain_timeout = drain_timeout
        self._tls = tls
        self._prepare = prepare
        self._administration = administration
        self._relay = relay
        self._ports = Ports()
        self._is_changing = False
        self._servers: list[tuple[IsServer, bool]] = []

    @property
    def ports(self) -> tuple[IListeningPort, ...]:
        """The ports that are listened on."""
        return tuple(port for server, _ in self._servers for port in server.ports)

    @property
    def servers(self) -> tuple[IsServer, ...]:
        """The servers, one for each listener."""
        return tuple(server for server, _ in self._servers)

    @property
    def urls(self) -> tuple[str, ...]:
        """What is listened on."""
        return tuple(
            url_of(port.getHost(), is_secure=is_secure)
            for server, is_secure in self._servers
            for port in server.ports
        )

    @property
    def state(self) -> ServerState:
        """Whether new connections are welcome."""
        if self._is_stopping:
            return ServerState.DRAINING
        if not self._is_announced:
            return ServerState.STARTING
        if not self._ports.are_open:
            return ServerState.CLOSED
        if self._pending:
            return ServerState.STARTING
        if self._relay is not None and self._relay.is_away:
            return ServerState.ENGINE_AWAY
        return ServerState.READY if self._is_accepting else ServerState.PAUSED

    @property
    def is_listening(self) -> bool:
        """Whether an operator has left the ports open."""
        return self._ports.are_open

    def set_accepting(self, accepting: bool) -> bool:
        """Pause or resume accepting on all listeners; whether that is possible now."""
        if self.state not in _MAY_CHANGE:
            return False
        self._is_accepting = accepting
        for server in self.servers:
            if accepting:
                server.resume_accepting()
            else:
                server.pause_accepting()
        return True

    def set_listening(self, listening: bool) -> Deferred[None]:
        """Close the ports, or open them again, at the same addresses; open connections go on.

        :returns: fails with `ListenError` when that is not possible; then nothing has changed
        """
        if self.state not in _MAY_CHANGE:
            return fail(ListenError(f"the server is {self.state}"))
        if self._is_changing:
            return fail(ListenError("the ports are being closed or opened"))
        if listening is self._ports.are_open:
            return succeed(None)
        self._is_changing = True

        def over(result: Any) -> Any:
            self._is_changing = False
            return result

        def tell(_: object) -> None:
            for server, is_secure in self._servers:
                self._tell(server, is_secure)

        done = self._ports.open() if listening else self._ports.close(self.servers)
        return done.addBoth(over).addCallback(tell)

    def privilegedStartService(self) -> None:
        """Listen on every listener.

        :raises CannotStart: one of them cannot listen; then none does.
        """
        super().privilegedStartService()
        if self._prepare is not None:
            self._prepare()
        for listener in self._listeners:
            self._bind(listener)
            self._give_up_after_failure()
        if self._administration is not None:
            self._begin_administration(self._administration)
            self._give_up_after_failure()

    def _give_up_after_failure(self) -> None:
        if self._failure is not None:
            self._call_off()
            for server in self.servers:
                server.close()
            if self._administration is not None:
                self._end_administration(self._administration)
            raise CannotStart(self._failure)

    def _begin_administration(self, administration: Administration) -> None:
        endpoint = administration.endpoint
        administration.meter.start()

        def listens() -> None:
            if self._is_announced:
                endpoint.tell()
                self._notify_ready()

        self._wait_for(endpoint.listen(administration.oversee(self)), endpoint.listener, listens)

    def _end_administration(self, administration: Administration) -> Deferred[Any]:
        administration.meter.stop()
        return administration.endpoint.stop()

    def startService(self) -> None:
        """Tell the URLs as soon as the reactor runs; listen first, where nobody called
        `privilegedStartService`."""
        if not self._is_bound:
            self.privilegedStartService()
        super().startService()  # type: ignore[no-untyped-call]
        if self._relay is not None and self._relay.engine.is_shared:
            # It has none of the sockets that a daemon's parent would close.
            self._relay.start().addErrback(self._engine_failed)
        self._reactor.callWhenRunning(self._announce)

    def stopService(self) -> Deferred[Any]:
        """Stop to listen and end all connections; fires when they are gone."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._is_stopping = True
        self._call_off()
        spread = self._process is not None and self._process.is_gradual
        self._tell_drain(spread=spread)
        if self._notifier is not None:
            self._notifier.stopping(self._describe, self._drain_timeout)
        gone = gatherResults(
            [
                maybeDeferred(server.shutdown, timeout=self._drain_timeout, spread=spread)
                for server in self.servers
            ]
        )
        if self._relay is not None:
            relay = self._relay
            gone.addBoth(lambda result: relay.stop().addCallback(lambda _: result))
        administration = self._administration
        if administration is not None:
            # The last to go: whoever watches sees the drain to its end.
            gone.addBoth(
                lambda result: self._end_administration(administration).addCallback(lambda _: result)
            )
        return gone.addBoth(self._notify_end)

    def _tell_drain(self, *, spread: bool) -> None:
        number = sum(len(server.factory.connections) for server, _ in self._servers)
        timeout = self._drain_timeout
        if not number or not timeout:
            return
        _log.info(
            "open connections: {number}; they get Close 1001 {how}, what is left after {timeout} is dropped",
            number=number,
            how=f"over {format_duration(spread_seconds(timeout))}" if spread else "now",
            timeout=format_duration(timeout),
        )

    def _engine_failed(self, failure: Failure) -> None:
        """What no waiting mends."""
        if not isinstance(failure.value, EngineError):
            _log.failure("the engine failed to start", failure)
        self._cannot_run(f"--engine: {failure.getErrorMessage()}")

    def reload(self) -> None:
        """Read the certificates again, for connections that come. Files that cannot be used are told, and the
        old ones stay."""
        if self._notifier is not None:
            self._notifier.reloading()
        if self._tls is None:
            outcome = "there is nothing to reload"
            _log.info("reload: {outcome}", outcome=outcome)
        else:
            try:
                self._tls.reload()
            except CertificateError as error:
                outcome = f"{error}; the old certificates stay"
                _log.error("reload: {outcome}", outcome=outcome)
            else:
                outcome = "new connections get the certificates as they are now; open ones go on"
                _log.info("reload: {outcome}", outcome=outcome)
        if self._notifier is not None:
            self._notifier.reloaded(outcome)

    def _bind(self, listener: IListener) -> None:
        server = self._make_server(listener.is_secure)
        self._servers.append((server, listener.is_secure))

        def listens() -> None:
            # No connection is accepted before the reactor's next turn: this is in time.
            local = all(is_local(port.getHost()) for port in server.ports)
            server.factory.hosts = self._hosts or AllowedHosts(LOOPBACK_HOSTS if local else None)
            if self._is_announced:
                self._tell(server, listener.is_secure)
                self._notify_ready()

        self._wait_for(server.listen_through(listener.listen), listener, listens)

    def _announce(self) -> None:
        if not self.running:
            return
        if self._process is not None:
            self._process.handle_signals(self.reload)
        self._is_announced = True
        for server, is_secure in self._servers:
            self._tell(server, is_secure)
        if self._administration is not None:
            self._administration.endpoint.tell()
        self._notify_ready()

    def _notify_ready(self) -> None:
        # Without its engine, too: waiting for that is no reason to be started anew.
        if self._notifier is not None and self.state not in (ServerState.STARTING, ServerState.DRAINING):
            self._notifier.ready(self._describe)

    def _describe(self) -> str:
        number = sum(len(server.factory.connections) for server, _ in self._servers)
        return f"{self.state.value}, connections: {number}"

    def _tell(self, server: IsServer, is_secure: bool) -> None:
        for port in server.ports:
            self._tell_port(port, is_secure=is_secure)


def paths_served(mode: str, *, has_test_endpoints: bool = False, has_channels: bool = True) -> str:
    """Return the part of a start line that tells what is served where."""
    more = ", /test programmable echo" if has_test_endpoints else ""
    if not has_channels:
        return f"/ and /echo echo{more}; no broadcast, which needs --engine over several processes"
    if mode == "broadcast":
        return f"/echo echo, /, /broadcast and /broadcast/CHANNEL broadcast{more}"
    return f"/ and /echo echo, /broadcast and /broadcast/CHANNEL broadcast{more}"


def server_maker(
    configuration: Configuration,
    reactor: Any,
    room: Room,
    *,
    broadcast: BroadcastService | None = None,
    tally: Tally | None = None,
) -> Callable[[bool], WebSocketServer]:
    """Return what makes a server for each listener; all share the services and so the channels, `room`, and
    `tally`. Connections go to the services without the pending queue."""
    broadcast = build_broadcast(configuration, reactor) if broadcast is None else broadcast
    route = Routes(
        configuration.text("mode"),
        EchoService(),
        broadcast if configuration.joins_channels else UnservedChannels(_NOT_JOINED),
        (lambda: ProgrammableEcho(reactor)) if configuration.flag("test-endpoints") else None,
    )
    settings, origins = configuration.settings(), configuration.origins()
    proxies, clients = configuration.proxies(), configuration.clients()
    pages = client_pages(
        mode=configuration.text("mode"), has_test_endpoints=configuration.flag("test-endpoints")
    )

    def make_server(is_secure: bool) -> WebSocketServer:
        return WebSocketServer(
            configuration.text("server-name"),
            SslMode.SECURE_MODE if is_secure else SslMode.NON_SECURE_MODE,
            reactor=reactor,
            settings=settings,
            origins=origins,
            proxies=proxies,
            clients=clients,
            subprotocols=configuration.texts("subprotocol"),
            route=route,
            page=pages,
            room=room,
            tally=tally,
            debug=configuration.flag("debug"),
        )

    return make_server


def build_administration(
    configuration: Configuration,
    reactor: Any,
    broadcast: BroadcastService,
    tally: Tally,
    tls: ConfiguredCreator | None,
    endpoint: IsAdminEndpoint | None = None,
) -> Administration | None:
    """Return what looks at a service; None without ``--admin``.

    :param endpoint: what listens, in place of ``--admin``
    :raises ConfigurationError: see `wsecho.app.admin.build_admin`.
    """
    if endpoint is None:
        if configuration["admin"] is None:
            return None
        # Only now: an HTTP server and Prometheus's client are memory that other servers do not need.
        from wsecho.app.admin import build_admin

        endpoint = build_admin(configuration, reactor)
    from wsecho.app.lag import LagMeter
    from wsecho.app.overseer import Overseer
    from wsecho.wire.sampling import Sampler

    meter = LagMeter(reactor)

    def oversee(service: WebSocketService) -> IOverseer:
        sampler = Sampler(reactor, lambda: [server.factory for server in service.servers])
        return Overseer(service, reactor, broadcast, tally, meter, sampler, configuration, tls)

    return Administration(endpoint, meter, oversee)


def say_on_stderr(line: str) -> None:
    """Write a line to the standard error of the process, also when twistd has made that a part of its log."""
    if sys.__stderr__ is not None:
        sys.__stderr__.write(f"wsecho: {line}\n")
        sys.__stderr__.flush()


def build_service(
    configuration: Configuration,
    reactor: Any,
    *,
    process: Process | None = None,
    say: Callable[[str], object] | None = None,
    notifier: Notifier | None = None,
    make_listeners: Callable[
        [Configuration, Any, ConfiguredCreator | None], Sequence[IListener]
    ] = build_listeners,
    endpoint: IsAdminEndpoint | None = None,
) -> WebSocketService:
    """Return the service of a configuration.

    :param process: see `WebSocketService`; the same for `say` and `notifier`.
    :param make_listeners: makes what is listened on
    :param endpoint: of another process that looks at the service in place of ``--admin``, and tells what is
        listened on
    :raises ConfigurationError: see `build_listeners` and `build_tls`.
    """
    tls = build_tls(configuration)
    settings = configuration.settings()
    room = Room(settings.max_connections, settings.max_connections_per_address)
    broadcast, tally = build_broadcast(configuration, reactor), Tally()
    return WebSocketService(
        reactor,
        make_listeners(configuration, reactor, tls),
        server_maker(configuration, reactor, room, broadcast=broadcast, tally=tally),
        hosts=configuration.hosts(),
        drain_timeout=configuration.seconds("drain-timeout"),
        paths=""
        if endpoint is not None
        else paths_served(
            configuration.text("mode"), has_test_endpoints=configuration.flag("test-endpoints")
        ),
        tls=tls,
        process=process,
        # The limits of somebody else's process are not ours to change.
        prepare=None if process is None else lambda: provide_descriptors(room),
        say=say,
        administration=build_administration(configuration, reactor, broadcast, tally, tls, endpoint),
        relay=broadcast.relay,
        notifier=notifier,
    )
