"""Tests for wsecho.wire.binding."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.wire.harness import certificates
from wsecho.policy.proxies import TrustedProxies
from wsecho.wire.binding import ANY, BACKLOG, CannotBind, Place, adopt, bind, places
from wsecho.wire.proxy_header import ProxyHeaderFactory

the_reactor: Any = reactor


@implementer(IStreamServerEndpoint)
class Endpoint:
    """Gives what the test says, or waits."""

    def __init__(self, result: Any = None) -> None:
        self.result = result
        self.factories: list[Any] = []
        self.waiting: Deferred[Any] = Deferred()

    def listen(self, factory: Any) -> Deferred[Any]:
        self.factories.append(factory)
        if isinstance(self.result, Exception):
            self.waiting.errback(self.result)
        elif self.result is not None:
            self.waiting.callback(self.result)
        return self.waiting


class PlacesTests(SynchronousTestCase):
    """Where to listen."""

    def test_any(self) -> None:
        """All interfaces are IPv6's, whose socket takes IPv4 as well, or else IPv4's."""
        six, four = places(Clock(), ANY, 80)
        self.assertEqual((six[0], four[0]), (" on [::]:80", " on 0.0.0.0:80"))
        self.assertIsInstance(six[1], TCP6ServerEndpoint)
        self.assertIsInstance(four[1], TCP4ServerEndpoint)

    def test_addresses(self) -> None:
        """An address is of its family."""
        for address, name, kind in (
            ("127.0.0.1", " on 127.0.0.1:9", TCP4ServerEndpoint),
            ("::1", " on [::1]:9", TCP6ServerEndpoint),
        ):
            ((told, endpoint),) = places(Clock(), address, 9)
            self.assertEqual(told, name)
            self.assertIsInstance(endpoint, kind)

    def test_backlog(self) -> None:
        """The kernel keeps a burst of connections until they are accepted."""
        for address, port in (("127.0.0.1", 8), ("::1", 9)):
            reactor = MemoryReactorClock()
            ((_, endpoint),) = places(reactor, address, port)
            self.successResultOf(endpoint.listen(Factory()))
            self.assertEqual([one[2:] for one in reactor.tcpServers], [(BACKLOG, address)])

    def test_endpoint(self) -> None:
        """An endpoint is taken as it is, whatever the port."""
        endpoint = Endpoint()
        self.assertEqual(places(Clock(), endpoint, "ignored"), [("", endpoint)])

    def test_wrong(self) -> None:
        """What is no address, endpoint or port is refused; the message names the argument."""
        for error, arguments, message in (
            (ValueError, ("localhost", 0), "address must be \"any\" or an IP address, not 'localhost'"),
            (ValueError, ("", 0), "address must be \"any\" or an IP address, not ''"),
            (TypeError, (b"127.0.0.1", 0), "address must be a str or an endpoint, not bytes"),
            (TypeError, ("any", "80"), "port must be an int, not str"),
            (TypeError, ("any", True), "port must be an int, not bool"),
            (ValueError, ("any", -1), "port must be 0 to 65535, not -1"),
            (ValueError, ("any", 65536), "port must be 0 to 65535, not 65536"),
        ):
            self.assertEqual(str(self.assertRaises(error, places, Clock(), *arguments)), message)
        self.assertEqual(len(places(Clock(), "any", 65535)), 2)


class BindTests(SynchronousTestCase):
    """Listening on the first place that works."""

    def bind(self, *results: Any, tls: Any = None, proxies: Any = None) -> Deferred[Any]:
        """Bind to endpoints that give these results."""
        self.endpoints = [Endpoint(result) for result in results]
        where: list[Place] = [(f" on {number}", one) for number, one in enumerate(self.endpoints)]
        self.factory = Factory()
        return Deferred.fromCoroutine(bind(where, self.factory, tls, proxies))

    def cannot(self, binding: Deferred[Any]) -> str:
        """Why it failed."""
        return str(self.failureResultOf(binding, CannotBind).value)

    def tried(self) -> int:
        """How many places were tried."""
        return sum(len(endpoint.factories) for endpoint in self.endpoints)

    def test_first(self) -> None:
        """When the first place works, there is no second."""
        self.assertEqual(self.successResultOf(self.bind("port", "other")), "port")
        self.assertEqual(self.endpoints[0].factories, [self.factory])
        self.assertEqual(self.tried(), 1)

    def test_no_ipv6(self) -> None:
        """On a machine without IPv6 the next place is tried."""
        for error in (
            OSError(errno.EAFNOSUPPORT, "no"),
            OSError(errno.EPROTONOSUPPORT, "no"),
            CannotListenError("::", 80, OSError(errno.EADDRNOTAVAIL, "no")),
            CannotListenError("::", 80, socket.gaierror(socket.EAI_ADDRFAMILY, "no")),
        ):
            self.assertEqual(self.successResultOf(self.bind(error, "port")), "port")

    def test_taken(self) -> None:
        """A place that somebody else has is not replaced by another: half of the clients would be his."""
        taken = CannotListenError("::", 80, OSError(errno.EADDRINUSE, "Address already in use"))
        self.assertEqual(self.cannot(self.bind(taken, "port")), "cannot listen on 0: Address already in use")
        self.assertEqual(self.tried(), 1)

    def test_last(self) -> None:
        """The last place's failure is told."""
        nowhere = OSError(errno.EADDRNOTAVAIL, "The address is not available")
        self.assertEqual(self.cannot(self.bind(nowhere)), "cannot listen on 0: The address is not available")

    def test_other_failures(self) -> None:
        """An endpoint may fail with anything: the text is its own, or the kind of error."""
        self.assertEqual(self.cannot(self.bind(RuntimeError("full moon"))), "cannot listen on 0: full moon")
        self.assertEqual(self.cannot(self.bind(LookupError())), "cannot listen on 0: LookupError")

    def test_given_up(self) -> None:
        """Cancelled, it is told as a failure, and no other place is tried."""
        binding = self.bind(None, "port")
        binding.cancel()
        self.assertEqual(self.cannot(binding), "cannot listen on 0: the server was closed")
        self.assertEqual(self.tried(), 1)

    def test_tls(self) -> None:
        """With TLS, its factory stands before ours."""
        tls = certificates(self.mktemp()).server
        self.assertEqual(self.successResultOf(self.bind("port", tls=tls)), "port")
        (wrapper,) = self.endpoints[0].factories
        self.assertIsInstance(wrapper, TLSMemoryBIOFactory)
        self.assertIs(wrapper.wrappedFactory, self.factory)

    def test_proxies(self) -> None:
        """With trusted proxies, their header is read before TLS."""
        tls = certificates(self.mktemp()).server
        proxies = TrustedProxies(["192.0.2.1"])
        self.bind("port", tls=tls, proxies=proxies)
        (wrapper,) = self.endpoints[0].factories
        self.assertIsInstance(wrapper, ProxyHeaderFactory)
        self.assertIsInstance(wrapper.wrappedFactory, TLSMemoryBIOFactory)


class AdoptTests(TestCase):
    """Sockets that listen already."""

    def descriptors(self) -> set[str]:
        """The descriptors of this process."""
        return set(os.listdir("/proc/self/fd"))

    async def test_listens(self) -> None:
        """Connections of an inherited socket are accepted, without blocking, also when it was closed here."""
        made: Deferred[None] = Deferred()
        ended: Deferred[None] = Deferred()

        class Noting(Protocol):
            def connectionMade(self) -> None:
                made.callback(None)
                self.transport.loseConnection()  # type: ignore[union-attr]

            def connectionLost(self, reason: Any = None) -> None:
                ended.callback(None)

        with socket.create_server(("127.0.0.1", 0)) as given:
            address = given.getsockname()
            port = adopt(the_reactor, given.fileno(), Factory.forProtocol(Noting), None)
            self.addCleanup(port.stopListening)
            self.assertFalse(given.getblocking() and os.get_blocking(given.fileno()))
        with socket.create_connection(address):
            await made
        await ended

    def test_tls(self) -> None:
        """With TLS, its factory stands before ours."""
        tls = certificates(self.mktemp()).server
        with socket.create_server(("127.0.0.1", 0)) as given:
            port: Any = adopt(the_reactor, given.fileno(), Factory(), tls)
            self.addCleanup(port.stopListening)
            self.assertIsInstance(port.factory, TLSMemoryBIOFactory)

    def test_proxies(self) -> None:
        """With trusted proxies, their header is read before TLS."""
        tls = certificates(self.mktemp()).server
        with socket.create_server(("127.0.0.1", 0)) as given:
            port: Any = adopt(the_reactor, given.fileno(), Factory(), tls, TrustedProxies(["192.0.2.1"]))
            self.addCleanup(port.stopListening)
            self.assertIsInstance(port.factory, ProxyHeaderFactory)
            self.assertIsInstance(port.factory.wrappedFactory, TLSMemoryBIOFactory)

    def test_wrong(self) -> None:
        """What is no descriptor, no socket, or does not listen is refused, and nothing is left open."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        with socket.socket() as idle:
            before = self.descriptors()
            for descriptor, why in (
                (-2, "Bad file descriptor"),
                (reader, "Socket operation on non-socket"),
                (idle.fileno(), "it is no listening socket"),
            ):
                error = self.assertRaises(CannotBind, adopt, the_reactor, descriptor, Factory(), None)
                self.assertEqual(str(error), f"cannot listen on descriptor {descriptor}: {why}")
            self.assertEqual(self.descriptors(), before)
