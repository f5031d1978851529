"""A client's TLS, in memory."""

import contextlib
from datetime import UTC, datetime
from typing import Any

import trustme
from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.tls.harness import Files, Memory, carry, exchange, server_side, shake_hands
from wsecho.tls.beneath import verify_error_text
from wsecho.tls.certificates import CertificateAndKey, CertificateError
from wsecho.tls.client import CertificateRefused, ClientTls
from wsecho.tls.configuration import CIPHERS, TlsConfiguration, TlsVersion
from wsecho.tls.contexts import ConfiguredCreator
from wsecho.tls.preshared import PSK_CIPHERS, PSK_SUITES, PreSharedKeys
from wsecho.tls.verification import VerifyCode


def pair_of(leaf: trustme.LeafCert) -> CertificateAndKey:
    """A certificate with its chain and key."""
    return CertificateAndKey(
        b"".join(pem.bytes() for pem in leaf.cert_chain_pems), leaf.private_key_pem.bytes()
    )


class ClientTlsTests(SynchronousTestCase):
    """Connections to a server in memory."""

    def setUp(self) -> None:
        self.ca = trustme.CA()
        self.pem = self.ca.cert_pem.bytes()
        self.leaf = self.ca.issue_cert("localhost", "*.wild.example", "127.0.0.1", "::1")
        self.server = self.server_with(self.leaf)

    def server_with(self, leaf: trustme.LeafCert, **options: Any) -> ConfiguredCreator:
        return ConfiguredCreator(TlsConfiguration((pair_of(leaf),), **options))

    def client(self, tls: ClientTls, host: str = "localhost", memory: Memory | None = None) -> SSL.Connection:
        protocol: Any = object()
        creator = tls.creator(host, memory)
        verifyObject(IOpenSSLClientConnectionCreator, creator)
        connection = creator.clientConnectionForTLS(protocol)
        connection.set_connect_state()
        return connection

    def refused(
        self, tls: ClientTls, host: str = "localhost", server: ConfiguredCreator | None = None
    ) -> SSL.Error:
        with self.assertRaises(SSL.Error) as caught:
            shake_hands(self.client(tls, host), server_side(server or self.server))
        assert isinstance(caught.exception, SSL.Error)
        return caught.exception

    def test_names_and_addresses(self) -> None:
        """Who trusts the authority connects by every name and address of the certificate."""
        for host in ("localhost", "LOCALHOST", "a.wild.example", "127.0.0.1", "::1"):
            client, server = self.client(ClientTls(ca=self.pem), host), server_side(self.server)
            shake_hands(client, server)
            self.assertEqual(exchange(client, server, b"x"), b"x")
            self.assertEqual(client.get_alpn_proto_negotiated(), b"http/1.1")
            self.assertEqual(server.get_servername(), None if ":" in host or "127" in host else host.encode())

    def test_other_names(self) -> None:
        """Another name or address is refused, in one line that says both, before anything is sent."""
        for host in ("other.example", "a.b.wild.example", "127.0.0.2", "::2"):
            error = self.refused(ClientTls(ca=self.pem), host)
            assert isinstance(error, CertificateRefused)
            ((_, _, reason),) = error.args[0]
            self.assertEqual(
                reason,
                "the server's certificate is for localhost, *.wild.example, 127.0.0.1, ::1, not for " + host,
            )
            self.assertIs(error.error.code, VerifyCode.HOST_NAME_MISMATCH)

    def test_certificate_without_names(self) -> None:
        """A certificate without alternative names is for nobody, whatever its common name is."""
        error = self.refused(
            ClientTls(ca=self.pem), "localhost", self.server_with(self.ca.issue_cert(common_name="localhost"))
        )
        self.assertIn("for no name, not for localhost", error.args[0][0][2])

    def test_server_name(self) -> None:
        """Another name than the URL's may be expected, and is asked for."""
        client, server = (
            self.client(ClientTls(ca=self.pem, server_name="localhost"), "192.0.2.1"),
            server_side(self.server),
        )
        shake_hands(client, server)
        self.assertEqual(server.get_servername(), b"localhost")
        self.refused(ClientTls(ca=self.pem, server_name="other.example"), "localhost")

    def test_authorities(self) -> None:
        """The system's authorities count only where none is named; files and objects are taken as well."""
        self.refused(ClientTls())
        self.refused(ClientTls(ca=trustme.CA().cert_pem.bytes()))
        path = Files(self).write("ca.pem", self.pem)
        for source in (path, [x509.load_pem_x509_certificate(self.pem)]):
            shake_hands(self.client(ClientTls(ca=source)), server_side(self.server))
        line = str(self.assertRaises(CertificateError, ClientTls(ca="nowhere.pem").creator, "localhost"))
        self.assertEqual(line, 'CA file "nowhere.pem": No such file or directory')

    def test_no_verification(self) -> None:
        """Without verification anybody is taken, under any name."""
        shake_hands(self.client(ClientTls(verify=False), "other.example"), server_side(self.server))

    def test_own_certificate(self) -> None:
        """The client shows its certificate to a server that asks."""
        server = self.server_with(self.leaf, client_ca=self.pem)
        tls = ClientTls(ca=self.pem, certificate=pair_of(self.ca.issue_cert("client.example")))
        client, accepted = self.client(tls), server_side(server)
        shake_hands(client, accepted)
        self.assertIsNotNone(accepted.get_peer_certificate(as_cryptography=True))
        # In TLS 1.3 a client without one learns of it after its own handshake.
        self.refused(ClientTls(ca=self.pem), "localhost", server)

    def test_certificate_stays_with_us(self) -> None:
        """A server under a wrong name does not get to see the client's certificate."""
        server = server_side(self.server_with(self.leaf, client_ca=self.pem))
        tls = ClientTls(ca=self.pem, certificate=pair_of(self.ca.issue_cert("client.example")))
        client = self.client(tls, "other.example")
        with contextlib.suppress(SSL.Error):
            shake_hands(client, server)
        carry(client, server)
        with contextlib.suppress(SSL.Error):
            server.do_handshake()
        self.assertIsNone(server.get_peer_certificate(as_cryptography=True))

    def test_observer(self) -> None:
        """What is wrong is told, and refused unless the observer accepts it: the name as well."""
        memory = Memory()
        client = self.client(ClientTls(ca=self.pem), "other.example", memory)
        with self.assertRaises(CertificateRefused):
            shake_hands(client, server_side(self.server))
        self.assertEqual([error.code for error in memory.errors], [VerifyCode.HOST_NAME_MISMATCH])
        memory = Memory(accepts=True)
        expired = self.ca.issue_cert("localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC))
        client = self.client(ClientTls(ca=self.pem), "other.example", memory)
        shake_hands(client, server_side(self.server_with(expired)))
        self.assertEqual(
            [error.code for error in memory.errors],
            [VerifyCode.CERTIFICATE_EXPIRED, VerifyCode.HOST_NAME_MISMATCH],
        )
        self.assertEqual(verify_error_text(10), "certificate has expired")

    def test_versions_and_suites(self) -> None:
        """Versions, suites and protocols are what was said."""
        tls = ClientTls(ca=self.pem, minimum_version=TlsVersion.TLS_1_3, alpn=())
        client = self.client(tls)
        shake_hands(client, server_side(self.server))
        self.assertEqual(client.get_protocol_version_name(), "TLSv1.3")
        self.assertEqual(client.get_alpn_proto_negotiated(), b"")
        self.assertEqual((ClientTls().ciphers, ClientTls().suites), (CIPHERS, ""))

    def test_pre_shared_keys(self) -> None:
        """A client with a pre-shared key offers suites for it."""
        memory = Memory()
        memory.identity, memory.key = b"anna", b"k" * 32
        tls = ClientTls(pre_shared_keys=PreSharedKeys())
        self.assertEqual((tls.ciphers, tls.suites), (PSK_CIPHERS, PSK_SUITES))

        def answer(question: Any) -> None:
            question.key = b"k" * 32

        server = ConfiguredCreator(TlsConfiguration(pre_shared_keys=PreSharedKeys(answer=answer)))
        shake_hands(self.client(tls, "localhost", memory), server_side(server))
        self.assertEqual(memory.questions, [(b"", b"")])

    def test_key_and_a_certificate(self) -> None:
        """A server that answers with a certificate instead of the key has it verified."""
        tls = ClientTls(ca=trustme.CA().cert_pem.bytes(), pre_shared_keys=PreSharedKeys())
        self.refused(tls)

    def test_wrong_values(self) -> None:
        """What cannot be is told when it is made."""
        wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({"verify": 1}, TypeError, "verify must be a bool"),
            ({"server_name": b"x"}, TypeError, "server_name must be a str"),
            ({"certificate": "a.pem"}, TypeError, "certificate must be CertificateAndKey or None"),
            ({"pre_shared_keys": b"x"}, TypeError, "pre_shared_keys must be PreSharedKeys or None"),
            ({"server_name": "a b"}, ValueError, '"a b" is no name that a certificate can have'),
            ({"server_name": "é"}, ValueError, '"é" is no name that a certificate can have'),
            ({"ciphers": "NONSENSE"}, ValueError, "ciphers: OpenSSL knows no suite in 'NONSENSE'"),
        ]
        for given, kind, line in wrong:
            self.assertEqual(str(self.assertRaises(kind, ClientTls, **given)), line)
        self.assertRaises(ValueError, ClientTls().creator, "a b")
