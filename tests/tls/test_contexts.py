"""How wsecho speaks TLS, and what it says about certificate files."""

import contextlib
import os
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import methodcaller
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, wrapClientTLS, wrapServerTLS
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.logger import LogEvent, LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from wsecho.tls.contexts import CertificateError, ServerConnectionCreator, server_context, server_creator

# RFC 8446 6, RFC 5246 7.2.2
PROTOCOL_VERSION, HANDSHAKE_FAILURE, NO_RENEGOTIATION = 70, 40, 100


class Files:
    """Certificate files in the working directory of a test."""

    def __init__(self, test: SynchronousTestCase) -> None:
        self._directory = test.mktemp()
        os.makedirs(self._directory)

    def write(self, name: str, *contents: bytes) -> str:
        path = os.path.join(self._directory, name)
        with open(path, "wb") as file:
            file.write(b"".join(contents))
        return path

    def pair(self, leaf: trustme.LeafCert, name: str = "server") -> tuple[str, str]:
        """Write a certificate with its chain, and its key."""
        return (
            self.write(f"{name}.pem", *(pem.bytes() for pem in leaf.cert_chain_pems)),
            self.write(f"{name}-key.pem", leaf.private_key_pem.bytes()),
        )


def server_side(creator: ServerConnectionCreator) -> SSL.Connection:
    protocol: Any = object()
    connection = creator.serverConnectionForTLS(protocol)
    connection.set_accept_state()
    return connection


def nothing(context: SSL.Context) -> None:
    """Configure nothing: the client does what it likes best, which is TLS 1.3."""


def tls12(context: SSL.Context) -> None:
    context.set_max_proto_version(SSL.TLS1_2_VERSION)


def tls12_with(suites: bytes) -> Callable[[SSL.Context], None]:
    def configure(context: SSL.Context) -> None:
        tls12(context)
        context.set_cipher_list(suites)

    return configure


def client_side(configure: Callable[[SSL.Context], object] = nothing) -> SSL.Connection:
    context = SSL.Context(SSL.TLS_METHOD)
    configure(context)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    return connection


def carry(source: SSL.Connection, target: SSL.Connection) -> int:
    """Hand over what one side has to send, and return how many bytes that was."""
    try:
        data = source.bio_read(1 << 20)
    except SSL.WantReadError:
        return 0
    target.bio_write(data)
    return len(data)


def shake_hands(client: SSL.Connection, server: SSL.Connection) -> None:
    """Let both sides do their handshake."""
    moved = 1
    while moved:
        moved = 0
        for side in (client, server):
            with contextlib.suppress(SSL.WantReadError):
                side.do_handshake()
            moved += carry(client, server) + carry(server, client)


def exchange(source: SSL.Connection, target: SSL.Connection, data: bytes) -> bytes:
    source.send(data)
    carry(source, target)
    return target.recv(1 << 14)


def received_certificate(client: SSL.Connection) -> x509.Certificate:
    certificate = client.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return certificate


def alerts_of(connection: SSL.Connection) -> list[int]:
    """Return the list in which the alerts that this side sends will be noted."""
    alerts: list[int] = []

    def note(_: SSL.Connection, where: int, value: int) -> None:
        # SSL_CB_ALERT and SSL_CB_WRITE of OpenSSL's ssl.h; the low byte is the kind of alert.
        if where & 0x4000 and where & 0x08:
            alerts.append(value & 0xFF)

    connection.set_info_callback(note)
    return alerts


def hello(version: int) -> bytes:
    """Return the ClientHello of a client that knows nothing above *version* (0x0301 TLS 1.0, 0x0302 TLS
    1.1)."""
    # TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA and its like, all of TLS 1.0
    suites = struct.pack(">4H", 0xC009, 0xC013, 0xC00A, 0xC014)
    extensions = bytes.fromhex("000a00040002 0017 000b00020100")
    body = struct.pack(">H", version) + bytes(32) + b"\0"
    body += struct.pack(">H", len(suites)) + suites + b"\1\0"
    body += struct.pack(">H", len(extensions)) + extensions
    message = b"\1" + struct.pack(">I", len(body))[1:] + body
    return b"\x16" + struct.pack(">HH", 0x0301, len(message)) + message


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
        server_context(*self.files.pair(self.leaf))
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
        self.creator.context = server_context(*self.files.pair(renewed, "renewed"))
        new, new_server = client_side(), server_side(self.creator)
        shake_hands(new, new_server)
        self.assertEqual(exchange(old, old_server, b"still here"), b"still here")
        self.assertEqual(exchange(new, new_server, b"here too"), b"here too")
        for client, leaf in ((old, self.leaf), (new, renewed)):
            self.assertEqual(
                received_certificate(client), x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
            )


class WrongFileTests(SynchronousTestCase):
    """Each wrong file is named in one line."""

    def setUp(self) -> None:
        self.files = Files(self)
        self.ca = trustme.CA()
        self.leaf = self.ca.issue_cert("localhost")
        self.certificate, self.key = self.files.pair(self.leaf)

    def error(self, certificate: str, key: str) -> str:
        error = self.assertRaises(CertificateError, server_creator, certificate, key)
        line = str(error)
        self.assertTrue(line.isprintable(), line)
        self.assertIsInstance(error, ValueError)
        return line

    def test_missing(self) -> None:
        """A file that is not there."""
        self.assertEqual(
            self.error("nowhere.pem", self.key), 'certificate file "nowhere.pem": No such file or directory'
        )
        self.assertEqual(
            self.error(self.certificate, "nowhere.pem"),
            'private key file "nowhere.pem": No such file or directory',
        )
        self.assertEqual(self.error("", self.key), 'certificate file "": No such file or directory')

    def test_unreadable(self) -> None:
        """A file that cannot be read, such as a directory, and a name that no file can have."""
        directory = os.path.dirname(self.key)
        self.assertEqual(self.error(directory, self.key), f'certificate file "{directory}": Is a directory')
        self.assertEqual(
            self.error(self.certificate, "a\0\x1b"), r'private key file "a\x00\x1b": not a file name'
        )

    def test_not_pem(self) -> None:
        """A file without a certificate or without a key, be it empty, another format, the other file, or
        damaged."""
        certificate = x509.load_pem_x509_certificate(self.leaf.cert_chain_pems[0].bytes())
        for number, data in enumerate(
            (
                b"",
                b"garbage\n",
                certificate.public_bytes(Encoding.DER),
                self.leaf.private_key_pem.bytes(),
                self.leaf.cert_chain_pems[0].bytes()[:200],
                self.leaf.cert_chain_pems[0].bytes().replace(b"MII", b"NII"),
            )
        ):
            path = self.files.write(f"wrong-{number}.pem", data)
            self.assertEqual(
                self.error(path, self.key),
                f'certificate file "{path}": holds no readable PEM certificate (-----BEGIN CERTIFICATE-----)',
            )
        key = self.leaf.private_key_pem.bytes()
        for number, data in enumerate((b"", b"garbage\n", self.leaf.cert_chain_pems[0].bytes(), key[:60])):
            path = self.files.write(f"wrong-key-{number}.pem", data)
            self.assertEqual(
                self.error(self.certificate, path),
                f'private key file "{path}": holds no readable PEM private key (-----BEGIN PRIVATE KEY-----)',
            )

    def test_encrypted_key(self) -> None:
        """A key with a passphrase is refused, and nobody is asked for it."""
        key = load_pem_private_key(self.leaf.private_key_pem.bytes(), None)
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            data = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
            path = self.files.write("encrypted.pem", data)
            self.assertEqual(
                self.error(self.certificate, path),
                f'private key file "{path}": the key is encrypted; wsecho takes it without passphrase only',
            )

    def test_key_of_another_certificate(self) -> None:
        """A key that does not fit names both files."""
        _, other = self.files.pair(self.ca.issue_cert("localhost"), "other")
        self.assertEqual(
            self.error(self.certificate, other),
            f'private key file "{other}": the key does not belong to the certificate in certificate file '
            f'"{self.certificate}"',
        )

    def test_chain_in_the_wrong_order(self) -> None:
        """A chain that begins with the authority is told from a wrong key."""
        path = self.files.write("turned.pem", self.ca.cert_pem.bytes(), self.leaf.cert_chain_pems[0].bytes())
        self.assertEqual(
            self.error(path, self.key),
            f'certificate file "{path}": the server\'s own certificate must come first; it is number 2',
        )

    def test_refused_by_openssl(self) -> None:
        """A certificate that OpenSSL finds too weak is refused with OpenSSL's reason."""
        key = rsa.generate_private_key(65537, 1024)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        ca_key = load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        weak = builder.sign(ca_key, hashes.SHA256())
        certificate = self.files.write("weak.pem", weak.public_bytes(Encoding.PEM))
        key_file = self.files.write(
            "weak-key.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self.assertEqual(
            self.error(certificate, key_file),
            f'certificate file "{certificate}": OpenSSL refuses it (ee key too small)',
        )


class TimeTests(SynchronousTestCase):
    """A certificate out of its time."""

    def setUp(self) -> None:
        leaf = trustme.CA().issue_cert("localhost", not_after=datetime(2030, 1, 1, tzinfo=UTC))
        self.pair = Files(self).pair(leaf)
        certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        self.begin, self.end = certificate.not_valid_before_utc, certificate.not_valid_after_utc

    def warnings(self, now: datetime) -> list[str]:
        with capturedLogs() as events:
            server_context(*self.pair, now=lambda: now)
        return [self.line(event) for event in events]

    def line(self, event: LogEvent) -> str:
        self.assertIs(event["log_level"], LogLevel.warn)
        return str(event["log_format"]).format(**event)

    def test_in_its_time(self) -> None:
        """Nothing is said about a certificate that is valid now, from its first to its last second."""
        for now in (self.begin, self.begin + timedelta(days=1), self.end):
            self.assertEqual(self.warnings(now), [])

    def test_expired(self) -> None:
        """An expired certificate is used, and one warning names the file and the day."""
        self.assertEqual(
            self.warnings(self.end + timedelta(seconds=1)),
            [f'certificate file "{self.pair[0]}": expired on {self.end}; clients will refuse it'],
        )

    def test_not_yet_valid(self) -> None:
        """A certificate of the future is used, and one warning names the file and the day."""
        self.assertEqual(
            self.warnings(self.begin - timedelta(seconds=1)),
            [f'certificate file "{self.pair[0]}": valid from {self.begin} only; clients will refuse it'],
        )


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
