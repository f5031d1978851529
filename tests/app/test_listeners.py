"""Tests for `wsecho.app.listeners`."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.wire.harness import Socket, certificates
from wsecho.app import listeners
from wsecho.app.listeners import (
    DescriptionListener,
    IListener,
    ListenError,
    PortListener,
    check_description,
    is_local,
    url_of,
)
from wsecho.policy.proxies import TrustedProxies
from wsecho.wire.binding import BACKLOG
from wsecho.wire.proxy_header import ProxyHeaderFactory

from .logs import logged_lines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class DescriptionTests(SynchronousTestCase):
    """A description is judged before anything listens."""

    def refused(self, description: str) -> str:
        """Assert that a description is refused and return the line."""
        line = str(self.assertRaises(ValueError, check_description, description))
        self.assertTrue(line.isprintable(), line)
        return line

    def test_accepted(self) -> None:
        """What Twisted can listen on, directly or behind haproxy:, is accepted."""
        for description in (
            "tcp:0",
            "tcp:port=9000:interface=127.0.0.1",
            "tcp6:9000:interface=\\:\\:1",
            "unix:/run/wsecho.sock:mode=660",
            "unix:address=/run/a\\:b",
            "haproxy:tcp:9000",
            "haproxy:unix:/run/wsecho.sock",
        ):
            check_description(description)

    def test_systemd(self) -> None:
        """A socket of systemd is not looked for, since a configuration may be checked where it is not."""
        check_description("systemd:domain=INET:index=0")
        check_description("systemd:domain=UNIX:name=ws")
        check_description("haproxy:systemd:domain=INET:index=0")
        self.assertIn("not a Twisted endpoint description", self.refused("systemd:domain=INET"))
        self.assertIn(
            "not a Twisted endpoint description", self.refused("systemd:domain=INET:index=0:name=a")
        )

    def test_tls(self) -> None:
        """A description that ends TLS itself is refused, however it is written or wrapped."""
        for description in (
            "ssl:443",
            "tls:/etc/certs:tcp:443",
            "SSL:443",
            "haproxy:ssl:443",
            "haproxy:haproxy:tls:x:tcp:1",
            "HAProxy:ssl:443",
            "ss\\l:443",
            "ha\\proxy:\\ssl:443",
        ):
            self.assertIn("ends TLS itself; accepted is --listen-tls with tcp:", self.refused(description))

    def test_stdio(self) -> None:
        """Standard input is no listener."""
        self.assertIn("stdio: is no listener", self.refused("stdio:"))

    def test_wrong(self) -> None:
        """What Twisted cannot read is refused with examples of what it can."""
        for description in (
            "",
            ":",
            "9000",
            "tcp",
            "tcp:",
            "tcp:http",
            "tcp:80:interfaces=x",
            "tcp:1:2:3:4",
            "udp:80",
            "unix",
            "a=b",
            "tcp:80\\",
            "haproxy",
            "haproxy:",
            "haproxy:tcp",
            "unix:/x:mode=rw",
        ):
            line = self.refused(description)
            self.assertIn("not a Twisted endpoint description; accepted is, for example, tcp:9000", line)

    def test_ports(self) -> None:
        """A port beyond the last one is refused here, not by the socket."""
        for description in ("tcp:65536", "tcp:port=65536", "tcp6:-1", "haproxy:tcp:70000"):
            self.assertEqual(self.refused(description), "a port is a number from 0 to 65535")


class AddressTests(SynchronousTestCase):
    """What an address of a port tells."""

    def test_local(self) -> None:
        """Loopback addresses and unix sockets are reached by this machine only."""
        for host, kind, local in (
            ("127.0.0.1", IPv4Address, True),
            ("127.8.9.1", IPv4Address, True),
            ("0.0.0.0", IPv4Address, False),
            ("192.0.2.1", IPv4Address, False),
            ("::1", IPv6Address, True),
            ("::", IPv6Address, False),
            ("::ffff:127.0.0.1", IPv6Address, True),
            ("::ffff:192.0.2.1", IPv6Address, False),
        ):
            self.assertIs(is_local(kind("TCP", host, 1)), local, host)
        self.assertTrue(is_local(UNIXAddress(b"/run/x")))
        self.assertFalse(is_local(HostnameAddress(b"localhost", 1)))

    def test_urls(self) -> None:
        """A URL names the scheme, and the address and port or the path, without blanks."""
        for address, is_secure, url in (
            (IPv4Address("TCP", "127.0.0.1", 9000), False, "ws://127.0.0.1:9000/"),
            (IPv4Address("TCP", "0.0.0.0", 443), True, "wss://0.0.0.0:443/"),
            (IPv6Address("TCP", "::1", 9000), False, "ws://[::1]:9000/"),
            (IPv6Address("TCP", "fe80::1%eth0", 1), False, "ws://[fe80::1%25eth0]:1/"),
            (UNIXAddress(b"/run/wsecho.sock"), False, "ws+unix:/run/wsecho.sock"),
            (UNIXAddress(b"/run/my sock\n\xff"), True, "wss+unix:/run/my%20sock%0A%FF"),
            (UNIXAddress(b"\0abstract"), False, "ws+unix:@abstract"),
            (HostnameAddress(b"a b", 1), False, "ws:"),
        ):
            found = url_of(address, is_secure=is_secure)
            self.assertTrue(found.startswith(url) if url == "ws:" else found == url, found)
            self.assertNotIn(" ", found)


class FakePort:
    """A port that listens until it is stopped."""

    def __init__(self, host: str, port: int) -> None:
        self.address = (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
        self.is_listening = True

    def getHost(self) -> IPv4Address | IPv6Address:
        return self.address

    def stopListening(self) -> None:
        self.is_listening = False


class FakeReactor:
    """Binds what `failures` does not forbid: by host and port, an errno each time it is asked for."""

    def __init__(self, failures: dict[tuple[str, int], list[int]] | None = None) -> None:
        self.failures = failures or {}
        self.ports: list[FakePort] = []
        self._free = iter(range(50001, 60000))

    def listenTCP(self, port: int, factory: Any, backlog: int, interface: str) -> FakePort:
        numbers = self.failures.get((interface, port))
        if numbers:
            number = numbers.pop(0)
            raise CannotListenError(interface, port, OSError(number, os.strerror(number)))
        self.ports.append(FakePort(interface, port or next(self._free)))
        return self.ports[-1]

    @property
    def listening(self) -> list[tuple[str, int]]:
        """What is still listened on."""
        return [(port.address.host, port.address.port) for port in self.ports if port.is_listening]


class PortTests(SynchronousTestCase):
    """A port of the short form."""

    def listen(self, world: FakeReactor, port: int, host: str | None = None) -> Deferred[Any]:
        """Listen in a world."""
        listener = PortListener(world, "--port", port, host)
        self.assertTrue(verifyObject(IListener, listener))
        self.assertFalse(listener.is_secure)
        return listener.listen(Factory())

    def test_both_addresses(self) -> None:
        """Without a host, both loopback addresses are listened on."""
        world = FakeReactor()
        ports = self.successResultOf(self.listen(world, 9000))
        self.assertEqual(world.listening, [("127.0.0.1", 9000), ("::1", 9000)])
        self.assertEqual(ports, world.ports)

    def test_one_host(self) -> None:
        """With a host, only it is listened on."""
        for host in ("0.0.0.0", "::"):
            world = FakeReactor()
            self.successResultOf(self.listen(world, 9000, host))
            self.assertEqual(world.listening, [(host, 9000)])

    def test_trusted_proxies(self) -> None:
        """With trusted proxies, their PROXY headers are taken on both addresses."""
        world = FakeReactor()
        factories: list[Any] = []
        listen = world.listenTCP

        def noting(port: int, factory: Any, backlog: int, interface: str) -> FakePort:
            factories.append(factory)
            return listen(port, factory, backlog, interface)

        self.patch(world, "listenTCP", noting)
        proxies = TrustedProxies(["127.0.0.1"])
        self.successResultOf(PortListener(world, "--port", 9000, None, proxies).listen(Factory()))
        self.successResultOf(PortListener(world, "--port", 9000, "::1").listen(Factory()))
        self.assertEqual([isinstance(one, ProxyHeaderFactory) for one in factories], [True, True, False])
        self.assertTrue(factories[0].trusts(IPv4Address("TCP", "127.0.0.1", 1)))

    def test_backlog(self) -> None:
        """The kernel keeps a burst of connections until they are accepted; a description may say how many."""
        world = FakeReactor()
        backlogs: list[int] = []
        listen = world.listenTCP

        def noting(port: int, factory: Any, backlog: int, interface: str) -> FakePort:
            backlogs.append(backlog)
            return listen(port, factory, backlog, interface)

        self.patch(world, "listenTCP", noting)
        self.successResultOf(self.listen(world, 9000, "127.0.0.1"))
        for description in (
            "tcp:9001",
            "tcp6:9001",
            "haproxy:tcp:9002",
            "tcp:9003:backlog=7",
            "tcp:9004:127.0.0.1:8",
            "tcp6:9005:9",
        ):
            self.successResultOf(DescriptionListener(world, "--listen", description).listen(Factory()))
        self.assertEqual(backlogs, [BACKLOG, BACKLOG, BACKLOG, BACKLOG, 7, 8, 9])

    def test_any_port_is_the_same_for_both(self) -> None:
        """Port 0 gives both addresses the same port."""
        world = FakeReactor()
        self.successResultOf(self.listen(world, 0))
        self.assertEqual(world.listening, [("127.0.0.1", 50001), ("::1", 50001)])

    def test_any_port_that_is_taken(self) -> None:
        """When the port that IPv4 got is taken for IPv6, another is tried, and the first one given up."""
        world = FakeReactor({("::1", 50001): [errno.EADDRINUSE], ("::1", 50002): [errno.EADDRINUSE]})
        self.successResultOf(self.listen(world, 0))
        self.assertEqual(world.listening, [("127.0.0.1", 50003), ("::1", 50003)])

    def test_any_port_and_none_fits(self) -> None:
        """When no port fits both after some attempts, it fails and nothing is listened on."""
        world = FakeReactor({("::1", port): [errno.EADDRINUSE] for port in range(50001, 60000)})
        self.failureResultOf(self.listen(world, 0), ListenError)
        self.assertEqual(world.listening, [])

    def test_without_ipv6(self) -> None:
        """Where there is no IPv6, its address is left out, and the log says so."""
        for number in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT):
            world = FakeReactor({("::1", 9000): [number]})
            with logged_lines() as lines:
                ports = self.successResultOf(self.listen(world, 9000))
            self.assertEqual(len(ports), 1)
            self.assertEqual(world.listening, [("127.0.0.1", 9000)])
            self.assertEqual(lines, ["no IPv6 here: ::1 is left out"])

    def test_ipv6_that_does_not_resolve(self) -> None:
        """Where the system does not even read an IPv6 address, it is left out, too."""
        world = FakeReactor()
        listen = world.listenTCP

        def no_ipv6(port: int, factory: Any, backlog: int, interface: str) -> FakePort:
            if ":" in interface:
                raise socket.gaierror(socket.EAI_FAMILY, "no")
            return listen(port, factory, backlog, interface)

        self.patch(world, "listenTCP", no_ipv6)
        self.assertEqual(len(self.successResultOf(self.listen(world, 9000))), 1)

    def test_taken(self) -> None:
        """A port that is taken for either address fails with one line, and nothing is listened on."""
        for host, shown in (("127.0.0.1", "127.0.0.1:9000"), ("::1", "[::1]:9000")):
            world = FakeReactor({(host, 9000): [errno.EADDRINUSE]})
            failure = self.failureResultOf(self.listen(world, 9000), ListenError)
            self.assertEqual(failure.getErrorMessage(), f"cannot listen on {shown}: Address already in use")
            self.assertEqual(world.listening, [])

    def test_whatever_fails(self) -> None:
        """An error that is not the socket's becomes one line, too."""
        world = FakeReactor()

        def broken(port: int, factory: Any, backlog: int, interface: str) -> FakePort:
            raise OverflowError("bind(): port must be 0-65535.\n")

        self.patch(world, "listenTCP", broken)
        failure = self.failureResultOf(self.listen(world, 9000, "127.0.0.1"), ListenError)
        self.assertEqual(
            failure.getErrorMessage(),
            "cannot listen on 127.0.0.1:9000: bind(): port must be 0-65535.\\x0a",
        )


class SocketTests(TestCase):
    """Descriptions that are really listened on."""

    def listener(self, description: str) -> DescriptionListener:
        """A listener for a description."""
        listener = DescriptionListener(reactor, f"--listen={description}", description)
        self.assertTrue(verifyObject(IListener, listener))
        return listener

    async def listen(self, description: str) -> Any:
        """Listen until the test ends and return the port."""
        (port,) = await self.listener(description).listen(Factory.forProtocol(Protocol))
        self.addCleanup(maybeDeferred, port.stopListening)
        return port

    async def refused(self, listen: Callable[[], Awaitable[Any]]) -> str:
        """Assert that listening fails and return the line."""
        try:
            await listen()
        except ListenError as error:
            return str(error)
        raise AssertionError("nothing was refused")

    def socket_file(self) -> str:
        """A path that is short enough for a socket: an absolute one of trial's may not be."""
        path: str = os.path.relpath(self.mktemp())
        return path

    async def test_tcp(self) -> None:
        """A TCP port is listened on where the description says."""
        port = await self.listen("tcp:0:interface=127.0.0.1")
        self.assertEqual(port.getHost().host, "127.0.0.1")

    async def test_trusted_proxies(self) -> None:
        """With trusted proxies a listener takes their PROXY headers, beneath TLS as well as without."""
        tls = certificates(self.mktemp())
        seen: Deferred[Any] = Deferred()

        class Server(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                seen.callback((data, self.transport.getPeer()))
                self.transport.loseConnection()

        for creator in (None, tls.server):
            seen = Deferred()
            listener = DescriptionListener(
                reactor, "it", "tcp:0:interface=127.0.0.1", creator, TrustedProxies(["127.0.0.1"])
            )
            (port,) = await listener.listen(Factory.forProtocol(Server))
            self.addCleanup(maybeDeferred, port.stopListening)
            address: Any = port.getHost()
            client = TCP4ClientEndpoint(reactor, "127.0.0.1", address.port)
            socket: Any = await client.connect(Factory.forProtocol(Socket))
            socket.transport.write(b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n")
            if creator is not None:
                socket.transport.startTLS(tls.client)
            socket.transport.write(b"hello")
            self.assertEqual(await seen, (b"hello", IPv4Address("TCP", "203.0.113.7", 4711)))
            await socket.ended

    async def test_tcp_taken(self) -> None:
        """A TCP port that is taken fails with one line."""
        port = (await self.listen("tcp:0:interface=127.0.0.1")).getHost().port
        line = await self.refused(lambda: self.listen(f"tcp:{port}:interface=127.0.0.1"))
        self.assertEqual(line, "cannot listen: Address already in use")

    async def test_unix(self) -> None:
        """A unix socket is made with the mode of the description, and removed at the end with its lock."""
        path = self.socket_file()
        port = await self.listen(f"unix:{path}:mode=620")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o620)
        await port.stopListening()
        self.assertEqual([name for name in os.listdir(os.path.dirname(path) or ".") if path in name], [])

    async def test_unix_left_behind(self) -> None:
        """A socket file that nobody serves is replaced, whether its server had a lock or not."""
        for lock in (None, "999999999"):
            path = self.socket_file()
            left = socket.socket(socket.AF_UNIX)
            left.bind(path)
            left.close()
            if lock is not None:
                os.symlink(lock, path + ".lock")
            await self.listen(f"unix:{path}")

    async def test_unix_behind_haproxy_left_behind(self) -> None:
        """The same goes for a socket behind haproxy:, and for a named part of the description."""
        for description in ("haproxy:unix:{}", "unix:address={}:lockfile=0"):
            path = self.socket_file()
            left = socket.socket(socket.AF_UNIX)
            left.bind(path)
            left.close()
            await self.listen(description.format(path))

    async def test_unix_in_use(self) -> None:
        """A socket that somebody serves stays theirs, even if a lock beside it is stale."""
        path = self.socket_file()
        live = socket.socket(socket.AF_UNIX)
        self.addCleanup(live.close)
        live.bind(path)
        live.listen(5)
        os.symlink("999999999", path + ".lock")
        for _ in range(2):
            line = await self.refused(lambda: self.listen(f"unix:{path}"))
            self.assertEqual(line, "cannot listen: another server listens on this socket")
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        self.addCleanup(client.close)
        client.connect(path)

    async def test_unix_in_use_and_busy(self) -> None:
        """A server whose backlog is full serves its socket still."""
        path = self.socket_file()
        live = socket.socket(socket.AF_UNIX)
        self.addCleanup(live.close)
        live.bind(path)
        live.listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.connect(path)
        line = await self.refused(lambda: self.listen(f"unix:{path}"))
        self.assertEqual(line, "cannot listen: another server listens on this socket")

    async def test_unix_path_is_a_file(self) -> None:
        """A file that is no socket is never removed, and no lock is left beside it."""
        path = self.socket_file()
        Path(path).write_text("precious")
        line = await self.refused(lambda: self.listen(f"unix:{path}"))
        self.assertEqual(line, "cannot listen: Address already in use")
        self.assertEqual(Path(path).read_text(), "precious")
        self.assertFalse(os.path.lexists(path + ".lock"))

    async def test_unix_without_directory(self) -> None:
        """A socket in a directory that is not there fails with one line."""
        line = await self.refused(lambda: self.listen("unix:nowhere/x.sock"))
        self.assertEqual(line, "cannot listen: No such file or directory")

    def test_systemd_without_socket(self) -> None:
        """A socket that systemd did not hand over is told at once."""
        for description in ("systemd:domain=INET:index=0", "haproxy:systemd:domain=INET:name=ws"):
            error = self.assertRaises(ListenError, self.listener, description)
            self.assertEqual(str(error), "systemd handed over no such socket (LISTEN_FDS, LISTEN_FDNAMES)")

    def handed_over(self, path: str, outcome: Exception) -> DescriptionListener:
        """A listener for a socket of systemd's at `path`, on which listening fails."""
        handed = socket.socket(socket.AF_UNIX)
        self.addCleanup(handed.close)
        handed.bind(path)

        class Endpoint:
            fileno = handed.fileno()

            def listen(self, factory: Any) -> None:
                raise outcome

        self.patch(listeners, "serverFromString", lambda reactor, description: Endpoint())
        return self.listener("systemd:domain=UNIX:index=0")

    async def test_systemd_and_another_user(self) -> None:
        """A socket of systemd's whose file belongs to another user, which Twisted cannot handle, is told with
        what helps."""
        listener = self.handed_over(self.socket_file(), PermissionError(errno.EPERM, "no"))
        line = await self.refused(lambda: listener.listen(Factory()))
        self.assertEqual(
            line,
            "cannot listen: the socket file belongs to another user; give it to that of the service "
            "(SocketUser=)",
        )

    async def test_systemd_and_another_error(self) -> None:
        """Any other error with a socket of systemd's is told as it is, and the file stays."""
        path = self.socket_file()
        listener = self.handed_over(path, OSError(errno.EBADF, "Bad file descriptor"))
        line = await self.refused(lambda: listener.listen(Factory()))
        self.assertEqual(line, "cannot listen: Bad file descriptor")
        self.assertTrue(os.path.lexists(path))

    def test_systemd_with_a_descriptor_that_is_closed(self) -> None:
        """A descriptor that systemd announced and that is not there is one line."""

        class Endpoint:
            fileno = -1

        self.patch(listeners, "serverFromString", lambda reactor, description: Endpoint())
        error = self.assertRaises(ListenError, self.listener, "systemd:domain=UNIX:index=0")
        self.assertEqual(str(error), "Bad file descriptor")

    def test_what_cannot_be_parsed(self) -> None:
        """A description that Twisted refuses is one line."""
        self.assertRaises(ListenError, self.listener, "udp:1")
