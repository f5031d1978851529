"""The admin endpoint as a listener: its token, who reaches it, its beginning and its end.

Rules of this file: without a token, only this machine may reach it. That is judged by the address of the port
that was bound, before the reactor accepts anybody: of a socket that systemd hands over, nothing else tells.
"""

from __future__ import annotations

import os
import re
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger

from wsecho.app.configuration import ConfigurationError
from wsecho.app.listeners import DescriptionListener, ListenError, is_local, url_of
from wsecho.policy.hosts import LOOPBACK_HOSTS, AllowedHosts
from wsecho.policy.text import escape_peer_text
from wsecho.web.admin import AdminResource, no_pages
from wsecho.web.beneath import BoundedSite
from wsecho.web.operator_page import operator_page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IListeningPort

    from wsecho.app.configuration import Configuration
    from wsecho.app.listeners import IListener
    from wsecho.policy.http import HttpAnswer
    from wsecho.web.interfaces import IOverseer

__all__ = ["AdminEndpoint", "build_admin", "read_token"]

_log = Logger(namespace="wsecho")

_MOST_BYTES: Final = 4096
_LEAST_CHARACTERS: Final = 16
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")

_BEYOND: Final = (
    "can be reached from other machines and has no token; accepted is an address of loopback or a unix "
    "socket, or --admin-token-file=FILE"
)


def read_token(path: str, name: str) -> str:
    """Read the file of a token: one line.

    :param name: how error lines call it
    :raises ConfigurationError: there is no token in it
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{name}: {error.strerror}; accepted is a file with one line") from None
    line = content.decode("ascii", "replace").strip()
    if not line:
        raise ConfigurationError(f"{name}: is empty; accepted is a file with one line, the token")
    if len(content) > _MOST_BYTES or not _TOKEN.fullmatch(line):
        # RFC 6750 section 2.1: what an Authorization header can hold. The content itself is a secret.
        raise ConfigurationError(
            f"{name}: holds no token; accepted is one line of letters, digits and - . _ ~ + /"
        )
    if len(line) < _LEAST_CHARACTERS:
        _log.warn("{name}: the token is short; `openssl rand -hex 32` makes a good one", name=name)
    if mode & stat.S_IROTH:
        _log.warn("{name}: everybody on this machine can read the token; chmod 600", name=name)
    return line


class AdminEndpoint:
    """What ``--admin`` listens on. Once it listens, it answers until `stop`.

    :param reactor: of the connections
    :param listener: what is listened on
    :param token: what clients have to show; None when nobody has to
    :param hosts: the Host headers of ``--allow-host``; empty for none
    :param pages: from the path of a GET to its page, None when there is none; see `wsecho.web.page`
    """

    def __init__(
        self,
        reactor: Any,
        listener: IListener,
        *,
        token: str | None,
        hosts: Sequence[str] = (),
        pages: Callable[[str], HttpAnswer | None] = no_pages,
    ) -> None:
        self._reactor = reactor
        self.listener = listener
        self._token = token
        self._hosts = hosts
        self._pages = pages
        self._site: BoundedSite | None = None
        self._ports: Sequence[IListeningPort] = ()

    def listen(self, overseer: IOverseer) -> Deferred[None]:
        """Listen; the Deferred fails with `ListenError`.

        :param overseer: of the server that it is about
        """
        resource = AdminResource(
            overseer,
            lambda: datetime.now(UTC),
            token=self._token,
            hosts=AllowedHosts(LOOPBACK_HOSTS),
            pages=self._pages,
        )
        self._site = BoundedSite(resource, self._reactor)

        def listens(ports: Sequence[IListeningPort]) -> None:
            self._ports = ports
            local = all(is_local(port.getHost()) for port in ports)
            if not local and self._token is None:
                raise ListenError(_BEYOND)
            resource.hosts = self._allowed_hosts(local)
            if not local:
                _log.warn("{name}: the token passes in the clear; put TLS in front", name=self.listener.name)

        return self.listener.listen(self._site).addCallback(listens)

    def _allowed_hosts(self, local: bool) -> AllowedHosts:
        if self._token is None:
            # Not those of --allow-host: behind a name that anybody may point here, nothing would be left.
            return AllowedHosts(LOOPBACK_HOSTS)
        if local:
            return AllowedHosts([*LOOPBACK_HOSTS, *self._hosts])
        return AllowedHosts(self._hosts or None)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it is reached."""
        return tuple(re.sub(r"^ws", "http", url_of(port.getHost(), is_secure=False)) for port in self._ports)

    def tell(self) -> None:
        """Log where it is reached."""
        for url in self.urls:
            _log.info("admin on {url}", url=url)

    def stop(self) -> Deferred[Any]:
        """Listen no more, and end what is being answered; harmless when it does not listen."""
        ports, self._ports = self._ports, ()
        stopped: list[Deferred[Any]] = [maybeDeferred(port.stopListening) for port in ports]
        if self._site is not None:
            self._site.resource.end()
            stopped.append(self._site.end())
        return gatherResults(stopped)


def build_admin(configuration: Configuration, reactor: Any) -> AdminEndpoint:
    """Return the endpoint of ``--admin``, which must be given.

    :raises ConfigurationError: the token cannot be read, or systemd has not handed over the socket
    """
    description = configuration.text("admin")
    name = configuration.named("admin")
    token = None
    if configuration["admin-token-file"] is not None:
        token = read_token(configuration.text("admin-token-file"), configuration.named("admin-token-file"))
    try:
        listener = DescriptionListener(reactor, name, description)
    except ListenError as error:
        raise ConfigurationError(f"{name}: {escape_peer_text(str(error))}") from None
    return AdminEndpoint(
        reactor, listener, token=token, hosts=configuration.texts("allow-host"), pages=operator_page
    )
