"""The certificate of a peer."""

from typing import Any

import trustme
from cryptography import x509
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.wire.harness import Peer, Transport, handshake
from wsecho.policy.clients import AllowedClients
from wsecho.policy.end_reasons import EndReason
from wsecho.wire.factory import ServerFactory
from wsecho.wire.peer_certificate import peer_certificate
from wsecho.wire.protocol import ServerProtocol


class Handle:
    """As much of a pyOpenSSL connection as is looked at."""

    def __init__(self, certificate: object) -> None:
        self.certificate = certificate

    def get_peer_certificate(self, *, as_cryptography: bool) -> object:
        assert as_cryptography
        return self.certificate


class Unreadable:
    """A certificate with an extension that is no DER."""

    @property
    def extensions(self) -> object:
        raise ValueError("error parsing asn1 value")


class PeerCertificateTests(SynchronousTestCase):
    """What is read."""

    def test_names(self) -> None:
        """Subject and alternative names are read, by their kinds."""
        leaf = trustme.CA().issue_cert(
            "device.example", "192.0.2.1", "anna@example.com", common_name="Device 7", organization_name="Org"
        )
        certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        found = peer_certificate(Handle(certificate))
        assert found is not None
        self.assertIn("CN=Device 7", found.subject)
        self.assertEqual(found.common_names, ("Device 7",))
        self.assertEqual(
            (found.dns_names, found.emails, found.ip_addresses, found.uris),
            (("device.example",), ("anna@example.com",), ("192.0.2.1",), ()),
        )
        self.assertEqual(found.serial_number, certificate.serial_number)
        self.assertRegex(found.fingerprint, r"\A[0-9a-f]{64}\Z")
        self.assertEqual(x509.load_pem_x509_certificate(found.pem.encode()), certificate)

    def test_without_alternative_names(self) -> None:
        """A certificate may have none."""
        certificate = x509.load_pem_x509_certificate(trustme.CA().cert_pem.bytes())
        found = peer_certificate(Handle(certificate))
        assert found is not None
        self.assertEqual((found.dns_names, found.common_names), ((), ()))

    def test_none(self) -> None:
        """No TLS, no certificate, and one that cannot be read, give none."""
        handle: Any
        for handle in (None, object(), Handle(None), Handle(Unreadable())):
            self.assertIsNone(peer_certificate(handle))


@implementer(ISSLTransport)
class TlsTransport(Transport):
    """A transport whose client showed a certificate, or none."""

    certificate: Any = None

    def getHandle(self) -> Any:
        return Handle(self.certificate)

    def getPeerCertificate(self) -> Any:
        raise NotImplementedError


class AdmissionTests(SynchronousTestCase):
    """What a connection does with it."""

    def setUp(self) -> None:
        leaf = trustme.CA().issue_cert("device.example")
        self.certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())

    def peer(self, certificate: Any, transport: type[Transport] = TlsTransport, **options: Any) -> Peer:
        clock = Clock()
        made = transport(clock)
        made.certificate = certificate  # type: ignore[attr-defined]
        return Peer(ServerFactory(reactor=clock, **options), clock, made)

    def test_known_to_the_program(self) -> None:
        """The certificate is at the connection and in the request that onConnect gets."""
        asked: list[Any] = []

        class Program(ServerProtocol):
            def onConnect(self, request: Any) -> Any:
                asked.append(request.peer_certificate)
                return super().onConnect(request)

        for certificate, names in ((self.certificate, ("device.example",)), (None, None)):
            asked.clear()
            clock = Clock()
            factory = ServerFactory(reactor=clock)
            factory.protocol = Program
            transport = TlsTransport(clock)
            transport.certificate = certificate
            peer = Peer(factory, clock, transport).open()
            found = peer.protocol.peer_certificate
            self.assertEqual(None if found is None else found.dns_names, names)
            self.assertEqual(asked, [found])
            self.assertEqual(peer.protocol.request.peer_certificate, found)

    def test_not_looked_for_without_tls(self) -> None:
        """A connection without TLS has none, and is not asked for one."""
        peer = self.peer(self.certificate, Transport).open()
        self.assertIsNone(peer.protocol.peer_certificate)
        self.assertIsNone(peer.protocol.request.peer_certificate)

    def test_admitted(self) -> None:
        """Clients that are admitted connect."""
        self.peer(self.certificate, clients=AllowedClients(["device.example"])).open()

    def test_refused(self) -> None:
        """Others get 403, before a path is looked at, pages included; so do clients without a certificate."""
        for certificate, transport in (
            (self.certificate, TlsTransport),
            (None, TlsTransport),
            (self.certificate, Transport),
        ):
            for head in (handshake("/"), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"):
                peer = self.peer(certificate, transport, clients=AllowedClients(["other.example"]))
                peer.send(head)
                self.assertEqual(peer.answer.status, "HTTP/1.1 403 Forbidden")
                self.assertEqual(peer.answer.rest, b"the client certificate is not allowed\n")
                self.assertIs(peer.protocol.end.reason, EndReason.DENIED)

    def test_policy_that_forgets(self) -> None:
        """A policy that returns something else than True opens no door."""
        wrong: Any
        for wrong in (None, 1, "yes"):
            peer = self.peer(self.certificate, clients=lambda _, wrong=wrong: wrong)
            peer.send(handshake("/"))
            self.assertEqual(peer.answer.status, "HTTP/1.1 403 Forbidden")
