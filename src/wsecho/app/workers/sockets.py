"""The listening sockets: bound by the supervisor, inherited by the workers.

Rules of this file:

- the supervisor listens as a server without workers does, with the same listeners, errors and lines, and
  takes every port off the reactor before it could accept;
- a worker gets the sockets as systemd would hand them over, as descriptors from 3 on, and listens on them
  through Twisted's ``systemd:`` endpoint. That makes a copy that does not block (one that blocks would hang
  in the accept that another worker was faster for), and leaves the file of a unix socket alone.

Several sockets on one port (SO_REUSEPORT) were rejected: those who wait in the backlog of a worker that ends
are reset, and neither unix sockets nor systemd's can be had so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.protocol import Factory

from wsecho.app.listeners import DescriptionListener

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator

    from wsecho.app.configuration import Configuration
    from wsecho.app.listeners import IListener

__all__ = ["FIRST_DESCRIPTOR", "Inherited", "SharedSockets", "environment_for", "inherited_listeners"]

#: Where systemd, and so a worker, finds its sockets.
FIRST_DESCRIPTOR: Final = 3

_HAPROXY = re.compile(r"(?:haproxy:)*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Inherited:
    """A listening socket, as a worker is told of it."""

    name: str
    """How the operator wrote the listener, for error lines."""
    is_secure: bool
    domain: str
    """``INET``, ``INET6`` or ``UNIX``."""
    prefix: str
    """``haproxy:`` where the endpoint reads PROXY headers itself."""


class _Nobody(Factory):
    """The factory of ports that do not accept."""

    noisy = False

    def logPrefix(self) -> str:
        """What Twisted's own lines about these ports call it."""
        return "Supervisor"


class SharedSockets:
    """The sockets of all listeners.

    :param listeners: each is listened on once
    :param configuration: theirs
    """

    def __init__(self, listeners: Sequence[IListener], configuration: Configuration) -> None:
        self._listeners = listeners
        # In the order of `wsecho.app.sources.build_listeners`: --port, which has no prefix, comes first.
        described = [*configuration.texts("listen"), *configuration.texts("listen-tls")]
        missing = len(listeners) - len(described)
        self._prefixes = [""] * missing + [_HAPROXY.match(one)[0] for one in described]  # type: ignore[index]
        self._ports: list[tuple[IListeningPort, Inherited]] = []

    @property
    def inherited(self) -> tuple[Inherited, ...]:
        """What the workers are told, in the order of `descriptors`."""
        return tuple(told for _, told in self._ports)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Of the sockets, in this process."""
        return tuple(_bare(port).fileno() for port, _ in self._ports)

    @property
    def ports(self) -> tuple[tuple[IListeningPort, bool], ...]:
        """The ports, and whether TLS ends behind each."""
        return tuple((port, told.is_secure) for port, told in self._ports)

    def listen(self, listener: IListener) -> Deferred[None]:
        """Bind one of the listeners; fails with `ListenError`."""
        prefix = self._prefixes[self._listeners.index(listener)]

        def bound(ports: Sequence[IListeningPort]) -> None:
            for port in ports:
                # Nothing was accepted yet: that is the reactor's next turn.
                _bare(port).stopReading()
                told = Inherited(listener.name, listener.is_secure, _domain(port), prefix)
                self._ports.append((port, told))

        return listener.listen(_Nobody()).addCallback(bound)

    def close(self) -> Deferred[Any]:
        """Close them here; a socket goes on listening as long as a worker has it."""
        ports, self._ports = self._ports, []
        return gatherResults([maybeDeferred(port.stopListening) for port, _ in ports])


def _bare(port: Any) -> Any:
    # What hides a socket of systemd's from Twisted's tidiness.
    return getattr(port, "bare", port)


def _domain(port: IListeningPort) -> str:
    host = port.getHost()
    if isinstance(host, UNIXAddress):
        return "UNIX"
    return "INET6" if isinstance(host, IPv6Address) else "INET"


def environment_for(sockets: int) -> dict[str, str]:
    """Return what a worker's environment says of its sockets; its own process id, which it must add as
    ``LISTEN_PID``, is not known before it runs."""
    # Without names of the same number, Twisted believes in none.
    return {"LISTEN_FDS": str(sockets), "LISTEN_FDNAMES": ":".join(["wsecho"] * sockets)}


def inherited_listeners(
    reactor: Any,
    told: Sequence[Mapping[str, Any]],
    configuration: Configuration,
    creator: IOpenSSLServerConnectionCreator | None,
) -> list[IListener]:
    """Return what a worker listens on.

    :param told: each `Inherited`, as a mapping
    :param creator: what gives connections their TLS
    """
    made: list[IListener] = []
    for index, values in enumerate(told):
        one = Inherited(**values)
        description = f"{one.prefix}systemd:domain={one.domain}:index={index}"
        made.append(
            DescriptionListener(
                reactor,
                one.name,
                description,
                creator if one.is_secure else None,
                configuration.proxies(),
            )
        )
    return made
