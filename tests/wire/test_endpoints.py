"""Tests for the way to a server."""

from typing import Any

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.wire.client_harness import Reactor, Resolver
from wsecho.wire.endpoints import _WatchedReactor, host_endpoint, verifying_creator


class HostTests(SynchronousTestCase):
    """Names and addresses."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.resolver = self.reactor.resolver
        self.phases: list[str] = []

    def connect(self, host: str) -> Deferred[Any]:
        endpoint = host_endpoint(
            self.reactor,
            host,
            9000,
            lambda: self.phases.append("lookup"),
            lambda: self.phases.append("connecting"),
        )
        return endpoint.connect(Factory.forProtocol(Protocol))

    def targets(self) -> list[tuple[str, int]]:
        return [(client[0], client[1]) for client in self.reactor.tcpClients]

    def test_addresses(self) -> None:
        """An address is connected to without a look-up."""
        for host in ("127.0.0.1", "::1"):
            self.connect(host)
        self.assertEqual(self.targets(), [("127.0.0.1", 9000), ("::1", 9000)])
        self.assertEqual(self.phases, ["connecting", "connecting"])
        self.assertEqual(self.resolver.asked, [])

    def test_name(self) -> None:
        """A name is looked up, then its address connected to."""
        self.connect("example.com")
        self.assertEqual(self.phases, ["lookup"])
        self.assertEqual(self.resolver.asked, [("example.com", 9000)])
        self.resolver.answer("192.0.2.1")
        self.assertEqual(self.phases, ["lookup", "connecting"])
        self.assertEqual(self.targets(), [("192.0.2.1", 9000)])

    def test_strange_names(self) -> None:
        """Names that are no international ones are looked up as they are."""
        for name in ("my_service", "r3---sn-x.example", "xn--bcher-kva.example"):
            self.connect(name)
        self.assertEqual(
            [name for name, _ in self.resolver.asked],
            ["my_service", "r3---sn-x.example", "xn--bcher-kva.example"],
        )

    def test_several_addresses(self) -> None:
        """While one address does not answer, the next is tried as well."""
        self.connect("example.com")
        self.resolver.answer("2001:db8::1", "192.0.2.1")
        self.assertEqual(self.targets(), [("2001:db8::1", 9000)])
        self.reactor.advance(0.5)
        self.assertEqual(self.targets(), [("2001:db8::1", 9000), ("192.0.2.1", 9000)])

    def test_unknown_name(self) -> None:
        """A name without address fails the look-up; nothing was connected to."""
        failing = self.connect("nowhere.example")
        self.resolver.answer()
        self.failureResultOf(failing, error.DNSLookupError)
        self.assertEqual(self.phases, ["lookup"])
        self.assertEqual(self.targets(), [])

    def test_refused(self) -> None:
        """When no address takes the connection, the reason is told."""
        failing = self.connect("example.com")
        self.resolver.answer("192.0.2.1")
        factory: Any = self.reactor.tcpClients[0][2]
        factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
        self.reactor.advance(0.5)
        self.failureResultOf(failing, error.ConnectionRefusedError)

    def test_no_timeout(self) -> None:
        """Neither names nor addresses have a timeout of their own."""
        self.connect("::1")
        self.connect("example.com")
        self.resolver.answer("192.0.2.1")
        self.assertEqual([client[3] for client in self.reactor.tcpClients], [None, None])

    def test_cancelled_lookup(self) -> None:
        """A look-up that is given up connects to nothing when it is answered."""
        failing = self.connect("example.com")
        failing.cancel()
        self.failureResultOf(failing)
        self.resolver.answer("192.0.2.1")
        self.assertEqual(self.targets(), [])


class ReactorTests(SynchronousTestCase):
    """What HostnameEndpoint gets for a reactor."""

    def test_interface(self) -> None:
        """It provides a name resolver, into which no other can be installed."""
        watched = _WatchedReactor(Reactor(), "example.com", lambda: None)
        verifyObject(IReactorPluggableNameResolver, watched)
        verifyObject(IHostnameResolver, watched.nameResolver)
        self.assertRaises(NotImplementedError, watched.installNameResolver, Resolver())


class CreatorTests(SynchronousTestCase):
    """TLS connections to a host."""

    def connection(self, host: str) -> tuple[SSL.Connection, bytes]:
        """A client's connection to `host`, and its ClientHello."""
        factory = TLSMemoryBIOFactory(verifying_creator(host), True, Factory.forProtocol(Protocol))
        protocol: Any = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 9000))
        transport = StringTransport()
        protocol.makeConnection(transport)
        return protocol.getHandle(), transport.value()

    def test_verifies(self) -> None:
        """The server's certificate is asked for and verified."""
        connection, _ = self.connection("example.com")
        self.assertEqual(connection.get_verify_mode(), SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)

    def test_server_name(self) -> None:
        """A name is sent to the server, an address is not (RFC 6066 section 3)."""
        self.assertEqual(self.connection("example.com")[0].get_servername(), b"example.com")
        for address in ("192.0.2.1", "::1"):
            self.assertIs(self.connection(address)[0].get_servername(), None)

    def test_version(self) -> None:
        """TLS 1.2 is the least that is spoken."""
        # The extension supported_versions (43) has two: TLS 1.3 and 1.2.
        self.assertIn(bytes.fromhex("002b00050403040303"), self.connection("example.com")[1])

    def test_application_protocol(self) -> None:
        """HTTP/1.1 is asked for, so that a server which also has HTTP/2 does not choose it."""
        self.assertIn(b"\x08http/1.1", self.connection("example.com")[1])

    def test_impossible_names(self) -> None:
        """A name that no certificate can have is refused."""
        for host in ("my_service", "r3---sn-x.example"):
            self.assertRaises(ValueError, verifying_creator, host)
