"""What the server listens on: endpoint descriptions, the two loopback addresses, and the URL of each.

Rules of this file:

- a description is judged before anything listens (`check_description`), as far as that can be done without
  the sockets of systemd and without binding;
- a listener that cannot listen fails with one `ListenError` of one line, whatever went wrong below;
- a unix socket that somebody serves is never taken away, and one that nobody serves never keeps us from
  starting.

This file does not know what is served.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import stat
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.endpoints import (
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    quoteStringArgument,
    serverFromString,
)
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from zope.interface import Attribute, Interface, implementer

from wsecho.policy.text import escape_peer_text
from wsecho.wire.binding import BACKLOG
from wsecho.wire.proxy_header import ProxyHeaderEndpoint
from wsecho.wire.tls_transport import TlsEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from twisted.internet.interfaces import (
        IAddress,
        IOpenSSLServerConnectionCreator,
        IProtocolFactory,
        IStreamServerEndpoint,
    )

    from wsecho.policy.proxies import TrustedProxies

__all__ = [
    "DescriptionListener",
    "IListener",
    "ListenError",
    "PortListener",
    "check_description",
    "is_local",
    "reason_of",
    "url_of",
]

_log = Logger(namespace="wsecho")

#: The address and the interface of plain loopback.
_LOOPBACK = "127.0.0.1"
_LOOPBACK6 = "::1"

#: What bind and socket answer on a machine without IPv6.
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})

#: How often another port is tried when the one that IPv4 got is taken for IPv6.
_ATTEMPTS = 20

_PART = re.compile(r"(?:^|:)((?:[^:\\]|\\.)*)", re.DOTALL)
_NAMED = re.compile(r"((?:[^=\\]|\\.)*)=(.*)", re.DOTALL)
_QUOTED = re.compile(r"\\(.)", re.DOTALL)


class ListenError(Exception):
    """A listener cannot listen; one line without the name of the option."""


class IListener(Interface):
    """Something to listen on."""

    name: str = Attribute("""How the operator wrote it, for error lines: ``--listen=tcp:80``.""")
    is_secure: bool = Attribute("""Whether TLS ends here.""")

    def listen(factory: IProtocolFactory) -> Deferred[list[IListeningPort]]:
        """Start to listen, once; the Deferred fires with the ports or fails with `ListenError`."""


def _words(description: str) -> tuple[list[str], dict[str, str]]:
    """Split an endpoint description into positional and named parts, as `serverFromString` documents it:
    ``:`` separates, the first ``=`` of a part names it, a backslash quotes."""
    positional: list[str] = []
    named: dict[str, str] = {}
    for part in _PART.findall(description):
        if found := _NAMED.fullmatch(part):
            named[_QUOTED.sub(r"\1", found[1])] = _QUOTED.sub(r"\1", found[2])
        else:
            positional.append(_QUOTED.sub(r"\1", part))
    while len(positional) > 1 and positional[0].lower() == "haproxy":
        # haproxy: hands everything behind it on, as it is.
        del positional[0]
    return positional or [""], named


def check_description(description: str) -> None:
    """Raise `ValueError` with one line when `description` cannot be listened on.

    Descriptions that end TLS themselves are refused, also behind ``haproxy:``: with ``--listen-tls`` that
    would be TLS inside TLS, and with ``--listen`` a wss server that calls itself ws. Sockets of systemd are
    not looked for: a configuration may be checked where they are not.
    """
    positional, named = _words(description)
    kind = positional[0].lower()
    if kind in ("ssl", "tls"):
        raise ValueError(
            f"{kind}: ends TLS itself; accepted is --listen-tls with tcp:, tcp6:, unix: or systemd:"
        )
    if kind == "stdio":
        raise ValueError("stdio: is no listener; accepted is tcp:, tcp6:, unix:, systemd: or haproxy:...")
    try:
        # Parsing only stores the reactor.
        serverFromString(None, description)  # type: ignore[no-untyped-call]
    except (IndexError, KeyError):
        if kind != "systemd":
            raise ValueError(_not_a_description()) from None
    except Exception:
        # Wrong arguments raise whatever the parser's code makes of them: TypeError, ValueError...
        raise ValueError(_not_a_description()) from None
    if kind in ("tcp", "tcp6") and not 0 <= int((positional[1:] or [named.get("port", "0")])[0]) <= 65535:
        raise ValueError("a port is a number from 0 to 65535")


def _not_a_description() -> str:
    return (
        "not a Twisted endpoint description; accepted is, for example, tcp:9000:interface=127.0.0.1, "
        "tcp6:9000, unix:/run/wsecho.sock:mode=660, systemd:domain=INET:index=0, haproxy:tcp:9000"
    )


@implementer(IListener)
class DescriptionListener:
    """A Twisted endpoint description, with TLS in front of the protocol when a `creator` is given, and with
    the PROXY headers of `proxies` beneath both.

    Raises `ListenError` when the description needs what is not there: a socket of systemd. Make it in the
    process that was started: systemd's sockets belong to its process id, which a daemon does not keep.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        description: str,
        creator: IOpenSSLServerConnectionCreator | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        self.name = name
        self.is_secure = creator is not None
        self._proxies = proxies
        positional, named = _words(description)
        self._socket_path = ""
        self._systemds_path = ""
        if positional[0] == "unix":
            self._socket_path = (positional[1:] or [named.get("address", "")])[0]
        try:
            endpoint: IStreamServerEndpoint = serverFromString(  # type: ignore[no-untyped-call]
                reactor, description + _own_backlog(positional, named)
            )
            if positional[0].lower() == "systemd":
                self._systemds_path = _socket_path_of_systemd(positional, named)
        except (IndexError, KeyError):
            raise ListenError("systemd handed over no such socket (LISTEN_FDS, LISTEN_FDNAMES)") from None
        except Exception as error:
            raise ListenError(reason_of(error)) from None
        if proxies is not None:
            endpoint = ProxyHeaderEndpoint(endpoint, proxies)
        self._endpoint = endpoint if creator is None else TlsEndpoint(creator, endpoint, reactor)

    @inlineCallbacks
    def listen(self, factory: IProtocolFactory) -> Generator[Deferred[Any], Any, list[IListeningPort]]:
        """See `IListener`."""
        if self._socket_path:
            _clear_socket(self._socket_path)
        mode = stat.S_IMODE(os.stat(self._systemds_path).st_mode) if self._systemds_path else 0
        try:
            port = yield maybeDeferred(self._endpoint.listen, factory)
        except PermissionError as error:
            if not self._systemds_path:
                raise ListenError(f"cannot listen: {reason_of(error)}") from None
            raise ListenError(
                "cannot listen: the socket file belongs to another user; give it to that of the service "
                "(SocketUser=)"
            ) from None
        except Exception as error:
            if self._socket_path:
                _drop_own_lock(self._socket_path)
            raise ListenError(f"cannot listen: {reason_of(error)}") from None
        if self._systemds_path:
            # Twisted has made it 666, whatever SocketMode= says.
            os.chmod(self._systemds_path, mode)
            return [_SystemdsPort(port)]
        return [port]


def _own_backlog(positional: list[str], named: dict[str, str]) -> str:
    """Return what is to be added to a description, that it has our backlog and not Twisted's when it names
    none."""
    # tcp:PORT:INTERFACE:BACKLOG, tcp6:PORT:BACKLOG, unix:PATH:MODE:BACKLOG
    parts_without = {"tcp": 3, "tcp6": 2, "unix": 3}.get(positional[0].lower(), 0)
    return "" if "backlog" in named or len(positional) > parts_without else f":backlog={BACKLOG}"


def _socket_path_of_systemd(positional: list[str], named: dict[str, str]) -> str:
    """Return the path of the socket that a systemd: description means; empty when it has none."""
    quote_part = cast("Callable[[str], str]", quoteStringArgument)
    parts = [*map(quote_part, positional)]
    parts += [f"{quote_part(name)}={quote_part(value)}" for name, value in named.items()]
    endpoint = serverFromString(None, ":".join(parts))  # type: ignore[no-untyped-call]
    with socket.socket(fileno=os.dup(endpoint.fileno)) as handed:
        path = handed.getsockname() if handed.family == socket.AF_UNIX else ""
    return path if isinstance(path, str) else ""


@implementer(IListeningPort)
class _SystemdsPort:
    """A unix socket of systemd's.

    Twisted removes the file of every unix socket that it stops to listen on; this one is still listened on by
    systemd, which would start us again for a client that could not find it any more.
    """

    is_handed_over = True
    """Whoever connects waits, whatever this process does."""

    def __init__(self, port: Any) -> None:
        self.bare = self._port = port
        """Twisted's own port."""

    def startListening(self) -> None:
        """Twisted has done so."""

    def stopListening(self) -> Deferred[None]:
        """Accept no more. Those who connect from now on wait for the next process that systemd starts."""
        self._port.stopReading()
        return succeed(None)

    def pauseProducing(self) -> None:
        """Accept nobody for a while."""
        self._port.pauseProducing()

    def resumeProducing(self) -> None:
        """Accept again."""
        self._port.resumeProducing()

    def getHost(self) -> IAddress:
        """The address of the socket."""
        address: IAddress = self._port.getHost()
        return address


@implementer(IListener)
class PortListener:
    """A TCP port: on one address, or on 127.0.0.1 and ::1.

    With port 0, one free port is found that both addresses have: a browser that resolves ``localhost`` to
    either of them finds the server. ::1 is left out, with a log line, where there is no IPv6. PROXY
    headers of `proxies` are taken.
    """

    is_secure = False

    def __init__(
        self,
        reactor: Any,
        name: str,
        port: int,
        host: str | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        self.name = name
        self._proxies = proxies
        self._reactor = reactor
        self._port = port
        self._host = host

    def listen(self, factory: IProtocolFactory) -> Deferred[list[IListeningPort]]:
        """See `IListener`."""
        if self._host is None:
            return self._listen_on_both(factory)
        return self._listen_on_one(factory, self._host)

    @inlineCallbacks
    def _listen_on_one(
        self, factory: IProtocolFactory, host: str
    ) -> Generator[Deferred[Any], Any, list[IListeningPort]]:
        port = yield self._bind(factory, host, self._port)
        return [port]

    @inlineCallbacks
    def _listen_on_both(
        self, factory: IProtocolFactory
    ) -> Generator[Deferred[Any], Any, list[IListeningPort]]:
        attempts = _ATTEMPTS if self._port == 0 else 1
        while True:
            attempts -= 1
            port = yield self._bind(factory, _LOOPBACK, self._port)
            try:
                port6 = yield self._bind(factory, _LOOPBACK6, port.getHost().port)
            except ListenError as error:
                number = _errno(error.__cause__)
                if number in _NO_IPV6:
                    _log.info("no IPv6 here: {host} is left out", host=_LOOPBACK6)
                    return [port]
                yield maybeDeferred(port.stopListening)
                if number != errno.EADDRINUSE or attempts == 0:
                    raise
            else:
                return [port, port6]

    @inlineCallbacks
    def _bind(
        self, factory: IProtocolFactory, host: str, port: int
    ) -> Generator[Deferred[Any], Any, IListeningPort]:
        kind = TCP6ServerEndpoint if ":" in host else TCP4ServerEndpoint
        endpoint: IStreamServerEndpoint = kind(self._reactor, port, BACKLOG, host)
        if self._proxies is not None:
            endpoint = ProxyHeaderEndpoint(endpoint, self._proxies)
        try:
            bound: IListeningPort = yield maybeDeferred(endpoint.listen, factory)
        except Exception as error:
            shown = f"[{host}]" if ":" in host else host
            raise ListenError(f"cannot listen on {shown}:{port}: {reason_of(error)}") from error
        return bound


def _errno(error: BaseException | None) -> int | None:
    cause = getattr(error, "socketError", error)
    if isinstance(cause, socket.gaierror):
        # The only name that is resolved is ::1, in digits: it fails where there is no IPv6 at all.
        return errno.EAFNOSUPPORT
    return cause.errno if isinstance(cause, OSError) else None


def reason_of(error: BaseException) -> str:
    """What went wrong, in one line of the system's words where it has some."""
    cause = error.socketError if isinstance(error, CannotListenError) else error
    text = (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__
    return escape_peer_text(text)


def _clear_socket(path: str) -> None:
    """Remove the socket file that a server left which did not end well; raise `ListenError` when somebody
    serves it.

    Twisted goes by its lock file alone: it removes a socket whose lock is stale though another program may
    serve it by now, and refuses to start on one that was left without a lock.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A server whose backlog is full answers EAGAIN to this and would make a blocking connect wait.
    probe.setblocking(False)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        _log.info("{path} was left by a server that is gone: removed", path=escape_peer_text(path))
        _remove(path)
    except OSError as error:
        if error.errno != errno.EAGAIN:
            return
        raise ListenError("cannot listen: another server listens on this socket") from None
    else:
        raise ListenError("cannot listen: another server listens on this socket")
    finally:
        probe.close()


def _drop_own_lock(path: str) -> None:
    # Twisted takes the lock before it binds and keeps it when that fails; the next start would find it stale.
    lock = path + ".lock"
    try:
        if os.readlink(lock) == str(os.getpid()):
            _remove(lock)
    except OSError:
        return


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError as error:
        _log.warn("{path} cannot be removed: {reason}", path=escape_peer_text(path), reason=error.strerror)


def is_local(address: IAddress) -> bool:
    """Tell whether only this machine reaches the address of a port: loopback, or a unix socket."""
    if isinstance(address, UNIXAddress):
        return True
    if not isinstance(address, IPv4Address | IPv6Address):
        return False
    host = ipaddress.ip_address(address.host)
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return (mapped or host).is_loopback


def url_of(address: IAddress, *, is_secure: bool) -> str:
    """Return the URL under which a port is reached, without blanks: ``ws://[::1]:9000/``, or, as
    ``ws+unix:/run/wsecho.sock``, the path of a unix socket, percent-encoded."""
    scheme = "wss" if is_secure else "ws"
    if isinstance(address, UNIXAddress):
        name = address.name or b""
        path = os.fsencode(name)
        # An abstract name begins with a NUL, which tools write as @.
        return f"{scheme}+unix:{quote(b'@' + path[1:] if path[:1] == bytes(1) else path, safe='/@')}"
    if isinstance(address, IPv4Address | IPv6Address):
        host = address.host.replace("%", "%25")
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{address.port}/"
    # An endpoint of somebody's own: whatever it calls itself.
    return f"{scheme}:{quote(str(address), safe='')}"
