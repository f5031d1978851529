"""A server on the reactor of a trial test: it needs no process, and its connections are closed before the
test has ended.

Rules of this file: the process is the test's. Its signals, its limit of open files and its log are left
alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.ssl import Certificate, optionsForClientTLS

from wsecho.app.configuration import ConfigurationError
from wsecho.app.options import Options
from wsecho.app.service import CannotStart, build_service
from wsecho.testing.served import HOST, Served, ServerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

    from wsecho.app.service import WebSocketService

__all__ = ["Running", "running"]


class HasCleanups(Protocol):
    """A test of trial."""

    def addCleanup(self, f: Callable[..., object], /, *arguments: Any, **options: Any) -> None:
        """Call something when the test has ended, and wait for its Deferred."""


class Running(Served):
    """A server on this process's reactor; `running` makes one."""

    _service: WebSocketService | None = None

    def connection_creator(self) -> IOpenSSLClientConnectionCreator:
        """Return what Twisted's `wrapClientTLS` takes, for clients that trust the server's authority and
        nobody else."""
        if self.ca_file is None:
            raise RuntimeError("the server speaks ws, not wss; tls=True makes one with a certificate")
        authority = Certificate.loadPEM(self.ca_file.read_bytes())
        creator: IOpenSSLClientConnectionCreator = optionsForClientTLS(HOST, trustRoot=authority)
        return creator

    def stop(self) -> Deferred[None]:
        """Close all connections with 1001, and stop to listen; harmless when that was done.

        :returns: fires when nothing is left
        """
        service, self._service = self._service, None
        if service is None:
            return succeed(None)
        return service.stopService().addCallback(lambda _: self._is_gone())

    def _start(self, reactor: Any) -> None:
        options = Options()
        try:
            options.parseOptions(self._arguments())
            service = build_service(options.configuration, reactor)
            service.startService()
        except (ConfigurationError, CannotStart) as error:
            self._is_gone()
            raise ServerFailed(str(error)) from None
        except SystemExit as error:
            self._is_gone()
            raise ServerFailed(str(error).removeprefix("wsecho: ")) from None
        self._service = service
        self._listens(service.urls)


def running(
    test: HasCleanups,
    *,
    tls: bool = False,
    mode: str = "echo",
    test_endpoints: bool = True,
    options: Sequence[str] = (),
    reactor: Any = None,
) -> Deferred[Running]:
    """Serve on a free port of 127.0.0.1 until a test has ended.

    :param test: a trial test, whose ``addCleanup`` is called
    :param tls: serve wss, with a certificate that was made for this server
    :param mode: what ``/`` serves, ``"echo"`` or ``"broadcast"``
    :param test_endpoints: whether there is ``/test``, the programmable echo
    :param options: more of the command line; what they name counts
    :param reactor: the global one when None
    :returns: fires when clients may connect; fails with `ServerFailed`
    """
    if reactor is None:
        # Only now: importing it installs it.
        from twisted.internet import reactor
    server = Running(tls=tls, mode=mode, test_endpoints=test_endpoints, options=options)

    async def start() -> Running:
        server._start(reactor)
        test.addCleanup(server.stop)
        return server

    return Deferred.fromCoroutine(start())
