"""Connections that say what happens."""

from typing import Any

import trustme
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.harness import Memory, carry, client_side, exchange, shake_hands
from wsecho.tls import connections
from wsecho.tls.certificates import CertificateAndKey
from wsecho.tls.configuration import TlsConfiguration
from wsecho.tls.connections import ObservedConnection, peer_of
from wsecho.tls.contexts import ConfiguredCreator
from wsecho.tls.verification import VerifyCode


class FakeProtocol:
    """As much of Twisted's protocol as is looked at."""

    def __init__(self, address: object) -> None:
        self.address = address

    def getPeer(self) -> object:
        return self.address


class ObservedConnectionTests(SynchronousTestCase):
    """What an observer is told."""

    def setUp(self) -> None:
        self.ca = trustme.CA()
        leaf = self.ca.issue_cert("localhost")
        self.pair = CertificateAndKey(
            b"".join(pem.bytes() for pem in leaf.cert_chain_pems), leaf.private_key_pem.bytes()
        )

    def server(self, memory: Memory, **options: Any) -> SSL.Connection:
        creator = ConfiguredCreator(TlsConfiguration((self.pair,), **options)).observed_by(memory)
        protocol: Any = FakeProtocol(IPv4Address("TCP", "192.0.2.1", 5))
        connection = creator.serverConnectionForTLS(protocol)
        self.assertIs(connection.get_app_data(), protocol)
        connection.set_accept_state()
        return connection

    def with_certificate(self, authority: trustme.CA, **times: Any) -> SSL.Connection:
        return client_side(authority.issue_cert("client.example", **times).configure_cert)

    def test_nobody(self) -> None:
        """OpenSSL calls back for a connection that tells somebody, and not for one that tells nobody."""
        asked: list[object] = []
        self.patch(connections, "set_alert_callback", lambda connection, tell: asked.append(connection))
        context = SSL.Context(SSL.TLS_METHOD)
        protocol: Any = object()
        ObservedConnection(context, protocol, None)
        self.assertEqual(asked, [])
        observer: Any = object()
        told = ObservedConnection(context, protocol, observer)
        self.assertEqual(asked, [told])

    def test_alerts(self) -> None:
        """Both directions are told, the end included."""
        memory = Memory()
        client, server = client_side(), self.server(memory)
        shake_hands(client, server)
        client.shutdown()
        carry(client, server)
        self.assertRaises(SSL.ZeroReturnError, server.recv, 1)
        server.shutdown()
        self.assertEqual(
            (memory.received, memory.sent), (["close_notify (warning)"], ["close_notify (warning)"])
        )

    def test_distrust(self) -> None:
        """A client that does not trust the server says why."""
        memory = Memory()

        def verify(context: SSL.Context) -> None:
            context.set_verify(SSL.VERIFY_PEER, lambda *_: False)

        self.assertRaises(SSL.Error, shake_hands, client_side(verify), server := self.server(memory))
        self.assertEqual(memory.received, [])
        client = client_side(verify)
        server = self.server(memory)
        with self.assertRaises(SSL.Error):
            shake_hands(client, server)
        carry(client, server)
        self.assertRaises(SSL.Error, server.recv, 1)
        self.assertEqual(memory.received, ["unknown_ca (fatal)"])

    def test_verify_errors(self) -> None:
        """What is wrong with a client's certificate is told with the peer's address; it is refused."""
        other = trustme.CA()
        memory = Memory()
        server = self.server(memory, client_ca=self.ca.cert_pem.bytes())
        self.assertRaises(SSL.Error, shake_hands, self.with_certificate(other), server)
        (error,) = memory.errors
        self.assertIs(error.code, VerifyCode.UNABLE_TO_GET_LOCAL_ISSUER_CERTIFICATE)
        self.assertEqual((error.depth, error.peer), (0, "192.0.2.1:5"))
        self.assertEqual(memory.sent, ["unknown_ca (fatal)"])

    def test_observer_that_accepts(self) -> None:
        """An observer may go on in spite of it, and is asked about each error."""
        memory = Memory(accepts=True)
        server = self.server(memory, client_ca=self.ca.cert_pem.bytes())
        client = self.with_certificate(trustme.CA())
        shake_hands(client, server)
        self.assertEqual(exchange(client, server, b"x"), b"x")
        self.assertEqual([error.code for error in memory.errors], [20, 21])

    def test_observer_that_fails(self) -> None:
        """What an observer raises is logged and counts as no."""
        memory = Memory(accepts=True, fails=True)
        server = self.server(memory, client_ca=self.ca.cert_pem.bytes())
        self.assertRaises(SSL.Error, shake_hands, self.with_certificate(trustme.CA()), server)
        # Of the error, and of the alert.
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_end_without_close_notify(self) -> None:
        """A peer that ends TCP without close_notify causes no alert: nobody attacks."""
        memory = Memory()
        client, server = client_side(), self.server(memory)
        shake_hands(client, server)
        server.bio_shutdown()
        self.assertRaises(SSL.ZeroReturnError, server.recv, 1)
        self.assertEqual(memory.sent, [])

    def test_address(self) -> None:
        """An address reads as in URLs; what has none is empty."""
        for address, text in (
            (IPv4Address("TCP", "192.0.2.1", 5), "192.0.2.1:5"),
            (IPv6Address("TCP", "2001:db8::1", 5), "[2001:db8::1]:5"),
            (UNIXAddress(None), ""),
            (None, ""),
        ):
            self.assertEqual(peer_of(FakeProtocol(address)), text)
        self.assertEqual(peer_of(object()), "")
