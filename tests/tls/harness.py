"""Both ends of TLS in memory, and certificate files."""

import contextlib
import os
import struct
from collections.abc import Callable
from typing import Any

import trustme
from cryptography import x509
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import classImplements

from wsecho.policy.authenticators import PreSharedKeyAuthenticator
from wsecho.tls.alerts import Alert
from wsecho.tls.contexts import ServerConnectionCreator
from wsecho.tls.interfaces import ITlsObserver
from wsecho.tls.verification import VerifyError


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


class Memory:
    """An observer that remembers.

    :param accepts: what is said to what is wrong with a certificate
    :param fails: whether it raises
    """

    def __init__(self, *, accepts: bool = False, fails: bool = False) -> None:
        self.accepts = accepts
        self.fails = fails
        self.sent: list[str] = []
        self.received: list[str] = []
        self.errors: list[VerifyError] = []
        self.questions: list[tuple[bytes, bytes]] = []
        self.identity = b""
        self.key = b""

    def alert_sent(self, protocol: Any, alert: Alert) -> None:
        self.sent.append(str(alert))
        self._maybe_fail()

    def alert_received(self, protocol: Any, alert: Alert) -> None:
        self.received.append(str(alert))
        self._maybe_fail()

    def verify_failed(self, protocol: Any, error: VerifyError) -> bool:
        self.errors.append(error)
        self._maybe_fail()
        return self.accepts

    def pre_shared_key_wanted(self, protocol: Any, question: PreSharedKeyAuthenticator) -> None:
        self.questions.append((question.identity_hint, question.identity))
        question.identity = question.identity or self.identity
        question.key = self.key
        self._maybe_fail()

    def _maybe_fail(self) -> None:
        if self.fails:
            raise ZeroDivisionError("an observer's mistake")


classImplements(Memory, ITlsObserver)
