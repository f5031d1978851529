"""How wsecho speaks TLS."""

import gc
from collections.abc import Callable
from operator import methodcaller
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
)
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, wrapClientTLS, wrapServerTLS
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.tls.harness import (
    Files,
    alerts_of,
    carry,
    client_side,
    exchange,
    hello,
    nothing,
    received_certificate,
    server_side,
    shake_hands,
    tls12,
    tls12_with,
)
from wsecho.tls.beneath import set_groups
from wsecho.tls.certificates import CertificateAndKey, CertificateError
from wsecho.tls.configuration import TlsConfiguration, TlsVersion
from wsecho.tls.contexts import ConfiguredCreator, check_certificate, server_creator
from wsecho.tls.verification import Verification

# RFC 8446 6, RFC 5246 7.2.2
PROTOCOL_VERSION, HANDSHAKE_FAILURE, NO_RENEGOTIATION, CERTIFICATE_REQUIRED = 70, 40, 100, 116


class ContextTests(SynchronousTestCase):
    """What is agreed on with a client."""

    def setUp(self) -> None:
        self.files = Files(self)
        self.ca = trustme.CA()
        self.leaf = self.ca.issue_cert("localhost")
        self.creator = server_creator(*self.files.pair(self.leaf))

    def test_creator_provides_twisteds_interface(self) -> None:
        """The creator is what Twisted asks for, and its connections know the protocol they are made for."""
        self.assertTrue(verifyObject(IOpenSSLServerConnectionCreator, self.creator))
        protocol: Any = object()
        self.assertIs(self.creator.serverConnectionForTLS(protocol).get_app_data(), protocol)

    def test_tls_13_and_12(self) -> None:
        """A client gets TLS 1.3, or TLS 1.2 if it knows no better, and bytes go both ways."""
        for configure, version in ((nothing, "TLSv1.3"), (tls12, "TLSv1.2")):
            client, server = client_side(configure), server_side(self.creator)
            shake_hands(client, server)
            self.assertEqual(client.get_protocol_version_name(), version)
            self.assertEqual(exchange(client, server, b"there"), b"there")
            self.assertEqual(exchange(server, client, b"back"), b"back")

    def test_older_versions_are_refused(self) -> None:
        """A client that knows only TLS 1.0 or 1.1 gets the alert protocol_version."""
        for version in (0x0301, 0x0302):
            server = server_side(self.creator)
            server.bio_write(hello(version))
            self.assertRaises(SSL.Error, server.do_handshake)
            record = server.bio_read(1 << 14)
            self.assertEqual((record[0], record[-2:]), (21, bytes((2, PROTOCOL_VERSION))))

    def test_client_cannot_renegotiate(self) -> None:
        """A client of TLS 1.2 that wants to negotiate anew gets a warning, and the connection goes on as it
        was."""
        client, server = client_side(tls12), server_side(self.creator)
        shake_hands(client, server)
        alerts = alerts_of(server)
        client.renegotiate()
        self.assertRaises(SSL.WantReadError, client.do_handshake)
        carry(client, server)
        self.assertRaises(SSL.WantReadError, server.recv, 1)
        self.assertEqual(alerts, [NO_RENEGOTIATION])
        self.assertEqual(server.total_renegotiations(), 0)

    def test_options_are_set_on_purpose(self) -> None:
        """Versions, renegotiation, compression, buffers and cache are as chosen, whatever OpenSSL's defaults
        are."""
        context = self.creator.context
        wanted = SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE
        self.assertEqual(context.set_options(0) & wanted, wanted)
        self.assertEqual(context.set_mode(0) & SSL.MODE_RELEASE_BUFFERS, SSL.MODE_RELEASE_BUFFERS)
        self.assertEqual(context.get_session_cache_mode(), SSL.SESS_CACHE_OFF)

    def test_lowest_version_is_set_on_purpose(self) -> None:
        """TLS 1.2 is set as the lowest version, and not left to an OpenSSL that happens to refuse what is
        older."""
        versions: list[int] = []
        # A context cannot be asked for it.
        self.patch(SSL.Context, "set_min_proto_version", lambda _, version: versions.append(version))
        server_creator(*self.files.pair(self.leaf))
        self.assertEqual(versions, [SSL.TLS1_2_VERSION])

    def test_cipher_suites_of_tls_12(self) -> None:
        """In TLS 1.2 only suites with forward secrecy and authenticated encryption are on offer."""
        offered = [
            name for name in server_side(self.creator).get_cipher_list() if not name.startswith("TLS_")
        ]
        self.assertEqual(len(offered), 6)
        for name in offered:
            self.assertRegex(name, r"\AECDHE-(ECDSA|RSA)-(AES(128|256)-GCM-SHA(256|384)|CHACHA20-POLY1305)\Z")

    def test_weak_suites_are_refused(self) -> None:
        """A client that offers only CBC or static RSA suites gets no connection."""
        for suites in (b"ECDHE-ECDSA-AES128-SHA256", b"AES128-GCM-SHA256"):
            client = client_side(tls12_with(suites))
            server = server_side(self.creator)
            alerts = alerts_of(server)
            self.assertRaises(SSL.Error, shake_hands, client, server)
            self.assertEqual(alerts, [HANDSHAKE_FAILURE])

    def test_servers_order_decides(self) -> None:
        """Of the suites that both know, the server's first is taken."""
        order = b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"
        client = client_side(tls12_with(order))
        shake_hands(client, server_side(self.creator))
        self.assertEqual(client.get_cipher_name(), "ECDHE-ECDSA-AES128-GCM-SHA256")

    def test_application_protocol(self) -> None:
        """``http/1.1`` is chosen wherever it is offered; a client without it is served, with no protocol
        chosen."""
        for offered, chosen in (
            ([b"http/1.1"], b"http/1.1"),
            ([b"h2", b"http/1.1"], b"http/1.1"),
            ([b"h2"], b""),
            ([b"http/1.0", b"HTTP/1.1"], b""),
        ):
            client = client_side(methodcaller("set_alpn_protos", offered))
            server = server_side(self.creator)
            shake_hands(client, server)
            self.assertEqual(client.get_alpn_proto_negotiated(), chosen)
            self.assertEqual(exchange(client, server, b"x"), b"x")

    def test_clients_come_back_by_ticket(self) -> None:
        """A client that kept its session is let in without the certificate being sent again, in TLS 1.2 and
        1.3."""
        for limit in (nothing, tls12):
            seen: list[object] = []
            context = SSL.Context(SSL.TLS_METHOD)
            limit(context)
            context.set_verify(SSL.VERIFY_PEER, lambda *arguments, seen=seen: not seen.append(arguments))
            first, again = SSL.Connection(context, None), SSL.Connection(context, None)

            first.set_connect_state()
            server = server_side(self.creator)
            shake_hands(first, server)
            self.assertNotEqual(seen, [])
            # In TLS 1.3 the tickets come after the handshake, with the first data.
            exchange(server, first, b"x")

            again.set_connect_state()
            session = first.get_session()
            assert session is not None
            again.set_session(session)
            server = server_side(self.creator)
            seen.clear()
            shake_hands(again, server)
            self.assertEqual(exchange(again, server, b"back"), b"back")
            self.assertEqual(seen, [])

    def test_tickets_work_where_clients_are_asked_for_certificates(self) -> None:
        """A context that is made to ask for client certificates also lets clients come back by ticket."""
        self.creator.context.set_verify(SSL.VERIFY_PEER, lambda *arguments: True)
        self.test_clients_come_back_by_ticket()

    def test_intermediate_certificates_are_sent(self) -> None:
        """The whole chain of the file is sent, so that a client that knows only the root can check it."""
        leaf = self.ca.create_child_ca().issue_cert("localhost")
        self.assertEqual(len(leaf.cert_chain_pems), 2)
        client = client_side()
        shake_hands(client, server_side(server_creator(*self.files.pair(leaf, "child"))))
        chain = client.get_peer_cert_chain(as_cryptography=True) or []
        self.assertEqual(
            [one.public_bytes(Encoding.PEM).strip() for one in chain],
            [pem.bytes().strip() for pem in leaf.cert_chain_pems],
        )

    def test_key_and_certificate_in_one_file(self) -> None:
        """Both options may name one file, whichever comes first in it."""
        key, certificate = self.leaf.private_key_pem.bytes(), self.leaf.cert_chain_pems[0].bytes()
        for number, contents in enumerate(((key, certificate), (certificate, key))):
            path = self.files.write(f"both-{number}.pem", *contents)
            shake_hands(client_side(), server_side(server_creator(path, path)))

    def test_replaced_context_serves_new_connections_only(self) -> None:
        """A new context gives new connections the new certificate, and those that live go on with the old
        one."""
        old, old_server = client_side(), server_side(self.creator)
        shake_hands(old, old_server)
        renewed = self.ca.issue_cert("localhost")
        self.creator.context = server_creator(*self.files.pair(renewed, "renewed")).context
        new, new_server = client_side(), server_side(self.creator)
        shake_hands(new, new_server)
        self.assertEqual(exchange(old, old_server, b"still here"), b"still here")
        self.assertEqual(exchange(new, new_server, b"here too"), b"here too")
        for client, leaf in ((old, self.leaf), (new, renewed)):
            self.assertEqual(
                received_certificate(client), x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
            )


def knowing(groups: bytes) -> Callable[[SSL.Context], object]:
    """Let a client exchange keys in these groups only."""
    return lambda context: set_groups(context, groups)


class ConfiguredTests(SynchronousTestCase):
    """What a configuration makes of a context."""

    def setUp(self) -> None:
        self.files = Files(self)
        self.ca = trustme.CA()

    def pair(self, *names: str) -> CertificateAndKey:
        return CertificateAndKey(*self.files.pair(self.ca.issue_cert(*names), names[0]))

    def test_certificate_by_name(self) -> None:
        """The certificate is chosen by the name that the client asks for; the first is for all others."""
        pairs = [
            self.pair("first.example"),
            self.pair("second.example", "*.wild.example"),
            self.pair("own.wild.example", "first.example"),
        ]
        creator = ConfiguredCreator(TlsConfiguration(tuple(pairs)))
        for asked, position in (
            (None, 0),
            (b"first.example", 0),
            (b"second.example", 1),
            (b"SECOND.example", 1),
            (b"a.wild.example", 1),
            (b"own.wild.example", 2),
            (b"b.a.wild.example", 0),
            (b"wild.example", 0),
            (b"other.example", 0),
            (b"\xff", 0),
        ):
            for limit in (nothing, tls12):
                client, server = client_side(limit), server_side(creator)
                if asked is not None:
                    client.set_tlsext_host_name(asked)
                shake_hands(client, server)
                self.assertEqual(received_certificate(client), pairs[position].load().chain[0], asked)
                self.assertEqual(exchange(client, server, b"x"), b"x")

    def test_name_and_another_hello(self) -> None:
        """A client whose first ClientHello is turned back gets its certificate too, after a reload as
        well."""
        pairs = (self.pair("first.example"), self.pair("second.example"))
        creator = ConfiguredCreator(TlsConfiguration(pairs))
        # The first group is the one that a key is sent for.
        client, server = client_side(knowing(b"P-521:P-384")), server_side(creator)
        client.set_tlsext_host_name(b"second.example")
        self.assertRaises(SSL.WantReadError, client.do_handshake)
        carry(client, server)
        self.assertRaises(SSL.WantReadError, server.do_handshake)
        creator.reload()
        gc.collect()
        carry(server, client)
        shake_hands(client, server)
        self.assertEqual(client.get_group_name(), "secp384r1")
        self.assertEqual(received_certificate(client), pairs[1].load().chain[0])

    def test_client_certificates(self) -> None:
        """A certificate of the authority is let in; another, or none, only where it is not required."""
        for verification, admits_none in ((Verification.REQUIRED, False), (Verification.OPTIONAL, True)):
            creator = ConfiguredCreator(
                TlsConfiguration(
                    (self.pair("localhost"),),
                    client_ca=self.ca.cert_pem.bytes(),
                    verification=verification,
                    minimum_version=TlsVersion.TLS_1_3,
                )
            )
            with_one = client_side(self.ca.issue_cert("client.example").configure_cert)
            server = server_side(creator)
            shake_hands(with_one, server)
            self.assertEqual(exchange(with_one, server, b"x"), b"x")
            self.assertIsNotNone(server.get_peer_certificate(as_cryptography=True))
            self.assertEqual(len(with_one.get_client_ca_list()), 1)
            server = server_side(creator)
            alerts = alerts_of(server)
            if admits_none:
                shake_hands(client_side(), server)
            else:
                self.assertRaises(SSL.Error, shake_hands, client_side(), server)
                self.assertEqual(alerts, [CERTIFICATE_REQUIRED])
            other = client_side(trustme.CA().issue_cert("client.example").configure_cert)
            self.assertRaises(SSL.Error, shake_hands, other, server_side(creator))
            self.assertRaises(SSL.Error, shake_hands, client_side(tls12), server_side(creator))

    def test_wrong_authority_file(self) -> None:
        """The file of the authorities is named like others."""
        configuration = TlsConfiguration((self.pair("localhost"),), client_ca="nowhere.pem")
        line = str(self.assertRaises(CertificateError, ConfiguredCreator, configuration))
        self.assertEqual(line, 'client CA file "nowhere.pem": No such file or directory')

    def test_reload(self) -> None:
        """Reloading reads the files again, for new connections; open ones go on with what they have."""
        old = self.ca.issue_cert("localhost")
        creator = server_creator(*self.files.pair(old))
        client, server = client_side(), server_side(creator)
        shake_hands(client, server)
        new = self.ca.issue_cert("localhost")
        self.files.pair(new)
        with capturedLogs() as events:
            creator.reload()
        self.assertEqual(len(events), 1)
        renewed = x509.load_pem_x509_certificate(new.cert_chain_pems[0].bytes())
        self.assertEqual(creator.validity, [("localhost", renewed.not_valid_after_utc)])
        later, later_server = client_side(), server_side(creator)
        shake_hands(later, later_server)
        self.assertEqual(exchange(client, server, b"still here"), b"still here")
        for one, leaf in ((client, old), (later, new)):
            self.assertEqual(
                received_certificate(one), x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
            )

    def test_reload_of_broken_files(self) -> None:
        """Files that cannot be used change nothing."""
        certificate, key = self.files.pair(self.ca.issue_cert("localhost"))
        creator = server_creator(certificate, key)
        context = creator.context
        self.files.write("server.pem", self.ca.issue_cert("localhost").cert_chain_pems[0].bytes())
        line = str(self.assertRaises(CertificateError, creator.reload))
        self.assertTrue(
            line.endswith(f'does not belong to the certificate in certificate file "{certificate}"'), line
        )
        self.files.write("server.pem", b"")
        self.assertRaises(CertificateError, creator.reload)
        self.assertIs(creator.context, context)
        shake_hands(client_side(), server_side(creator))

    def test_check(self) -> None:
        """A pair can be judged by itself."""
        check_certificate(self.pair("localhost"))
        error = self.assertRaises(
            CertificateError, check_certificate, CertificateAndKey("nowhere", "nowhere")
        )
        self.assertEqual(str(error), 'certificate file "nowhere": No such file or directory')

    def test_another_configuration(self) -> None:
        """A creator takes another configuration, or keeps the old one when that cannot be used."""
        creator = ConfiguredCreator(TlsConfiguration((self.pair("a.example"),)))
        other = TlsConfiguration((self.pair("b.example"),))
        creator.use(other)
        self.assertIs(creator.configuration, other)
        self.assertRaises(
            CertificateError, creator.use, TlsConfiguration((CertificateAndKey("nowhere", "nowhere"),))
        )
        self.assertIs(creator.configuration, other)

    def test_no_tickets(self) -> None:
        """Without tickets, nobody comes back without a whole handshake."""
        for limit in (nothing, tls12):
            creator = ConfiguredCreator(TlsConfiguration((self.pair("localhost"),), session_tickets=False))
            context = SSL.Context(SSL.TLS_METHOD)
            limit(context)
            seen: list[object] = []
            context.set_verify(SSL.VERIFY_PEER, lambda *arguments, seen=seen: not seen.append(arguments))
            session = None
            for _ in range(2):
                client, server = SSL.Connection(context, None), server_side(creator)
                client.set_connect_state()
                if session is not None:
                    client.set_session(session)
                    seen.clear()
                shake_hands(client, server)
                exchange(server, client, b"x")
                session = client.get_session()
            self.assertNotEqual(seen, [])

    def test_key_log(self) -> None:
        """Lines for Wireshark are handed over where they are wanted."""
        lines: list[bytes] = []
        creator = ConfiguredCreator(TlsConfiguration((self.pair("localhost"),), key_log=lines.append))
        shake_hands(client_side(), server_side(creator))
        self.assertTrue(any(line.startswith(b"CLIENT_TRAFFIC_SECRET_0 ") for line in lines), lines)

    def test_groups(self) -> None:
        """Keys are exchanged in Mozilla's groups only, and the hybrid one is known where OpenSSL has it."""
        creator = ConfiguredCreator(TlsConfiguration((self.pair("localhost"),)))
        for offered, chosen in ((b"P-384:P-521", "secp384r1"), (b"X448:X25519", "x25519")):
            client = client_side(knowing(offered))
            shake_hands(client, server_side(creator))
            self.assertEqual((client.get_group_name() or "").lower(), chosen)
        weak = client_side(knowing(b"P-521:X448"))
        self.assertRaises(SSL.Error, shake_hands, weak, server_side(creator))

    def test_suites(self) -> None:
        """The suites of TLS 1.3 can be chosen."""
        configuration = TlsConfiguration((self.pair("localhost"),), suites="TLS_CHACHA20_POLY1305_SHA256")
        client = client_side()
        shake_hands(client, server_side(ConfiguredCreator(configuration)))
        self.assertEqual(client.get_cipher_name(), "TLS_CHACHA20_POLY1305_SHA256")


class Echo(Protocol):
    """Sends back what comes, and tells when it is gone."""

    def __init__(self) -> None:
        self.gone: Deferred[BaseException | None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Its value: a Deferred takes a Failure for its own.
        self.gone.callback(reason.value)


class Client(Protocol):
    """Says something, leaves when it hears it again, and tells how it went."""

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.heard = b""
        self.gone: Deferred[BaseException | None] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.message)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.heard += data
        if self.heard == self.message:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Its value: a Deferred takes a Failure for its own.
        self.gone.callback(reason.value)


class EndpointTests(TestCase):
    """Over loopback, as ``--listen-tls`` listens."""

    async def visit(
        self, ca: trustme.CA, leaf: trustme.LeafCert, name: str
    ) -> tuple[bytes, BaseException | None]:
        """Connect to a server with *leaf* under *name*, trusting *ca*; return what the client heard and its
        end."""
        from twisted.internet import reactor

        accepted: list[Echo] = []

        def accept() -> Echo:
            accepted.append(Echo())
            return accepted[-1]

        listening: IListeningPort = await wrapServerTLS(
            server_creator(*Files(self).pair(leaf)),
            TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"),
        ).listen(Factory.forProtocol(accept))
        self.addCleanup(listening.stopListening)
        client = Client(b"a message of some length" * 1000)
        endpoint = wrapClientTLS(
            optionsForClientTLS(name, trustRoot=Certificate.loadPEM(ca.cert_pem.bytes())),
            TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getHost().port),  # type: ignore[attr-defined]
        )
        await endpoint.connect(Factory.forProtocol(lambda: client))
        end = await client.gone
        await gatherResults([one.gone for one in accepted])
        return client.heard, end

    async def test_client_that_checks_the_name_connects(self) -> None:
        """A client that trusts the authority and asks for a name or address of the certificate is served."""
        ca = trustme.CA()
        leaf = ca.issue_cert("localhost", "127.0.0.1", "*.wild.example")
        for name in ("localhost", "127.0.0.1", "a.wild.example"):
            heard, end = await self.visit(ca, leaf, name)
            self.assertEqual(heard, b"a message of some length" * 1000)
            self.assertIsInstance(end, ConnectionClosed)

    async def test_wrong_name_does_not_connect(self) -> None:
        """A client that asks for a name that is not in the certificate leaves before it has sent anything."""
        ca = trustme.CA()
        leaf = ca.issue_cert("localhost", "127.0.0.1")
        for name in ("other.example", "localhost.example", "127.0.0.2"):
            heard, end = await self.visit(ca, leaf, name)
            self.assertEqual(heard, b"")
            self.assertIsInstance(end, VerificationError)

    async def test_unknown_authority_does_not_connect(self) -> None:
        """A client that does not trust the authority leaves before it has sent anything."""
        heard, end = await self.visit(trustme.CA(), trustme.CA().issue_cert("localhost"), "localhost")
        self.assertEqual(heard, b"")
        self.assertIsInstance(end, SSL.Error)
