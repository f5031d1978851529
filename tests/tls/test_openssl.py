"""``openssl s_client`` and raw sockets against a server: what an operator would try."""

from __future__ import annotations

import contextlib
import os
import shutil
from functools import partial
from typing import Any

import trustme
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.members import QUIET
from tests.tls.harness import Files, hello
from wsecho.policy.authenticators import PreSharedKeyAuthenticator
from wsecho.policy.clients import AllowedClients
from wsecho.policy.enumerations import SslMode
from wsecho.server import WebSocketServer
from wsecho.tls.certificates import CertificateAndKey
from wsecho.tls.configuration import TlsConfiguration
from wsecho.tls.preshared import PreSharedKeys

HEAD = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
#: What openssl itself would not even offer.
ANY_SECURITY = ("-cipher", "ALL:@SECLEVEL=0")


class Client(ProcessProtocol):
    """One run of ``openssl s_client``."""

    transport: Any

    def __init__(self, until: bytes) -> None:
        self.output = b""
        self.ended: Deferred[str] = Deferred()
        self._until = until

    def outReceived(self, data: bytes) -> None:
        self.output += data
        if self._until in self.output:
            with contextlib.suppress(ProcessExitedAlready):
                self.transport.signalProcess("TERM")

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(self.output.decode("utf-8", "replace"))


class Silent(Protocol):
    """A peer that says what it is told and waits for the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.received = b""
        self.lost: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.data)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(self.received)


class OpensslTestCase(TestCase):
    """A server in this process, and openssl in another."""

    def setUp(self) -> None:
        self.files = Files(self)
        self.ca = trustme.CA()
        self.ca_file = self.files.write("ca.pem", self.ca.cert_pem.bytes())

    def pair(self, *names: str) -> CertificateAndKey:
        return CertificateAndKey(*self.files.pair(self.ca.issue_cert(*names), names[0]))

    async def listening(self, configuration: TlsConfiguration, **options: Any) -> WebSocketServer:
        server = WebSocketServer("", SslMode.SECURE_MODE, settings=QUIET, **options)
        self.addCleanup(server.shutdown)
        server.ssl_configuration = configuration
        await server.listen("127.0.0.1")
        return server

    async def s_client(
        self, server: WebSocketServer, *options: str, say: bytes = HEAD, until: bytes = b"\r\n\r\n"
    ) -> str:
        """What openssl prints, until it ends by itself or has printed what is waited for."""
        from twisted.internet import reactor

        openssl = shutil.which("openssl")
        assert openssl is not None, "openssl is not installed"
        client = Client(until)
        command = [openssl, "s_client", "-connect", f"127.0.0.1:{server.server_port}"]
        command += ["-CAfile", self.ca_file, "-ign_eof", *options]
        spawn: Any = reactor.spawnProcess
        spawn(client, openssl, command, env=dict(os.environ))
        client.transport.write(say)
        return await client.ended


class CertificateTests(OpensslTestCase):
    """Which certificate is shown, and which is asked for."""

    async def test_name(self) -> None:
        """The certificate of the name that is asked for is shown, and openssl finds it good."""
        server = await self.listening(
            TlsConfiguration((self.pair("a.example"), self.pair("b.example"), self.pair("*.c.example")))
        )
        for asked, shown in (("a.example",) * 2, ("b.example",) * 2, ("x.c.example", "*.c.example")):
            for version in ("-tls1_2", "-tls1_3"):
                output = await self.s_client(
                    server, "-servername", asked, version, "-verify_hostname", asked, "-verify_return_error"
                )
                self.assertIn("HTTP/1.1 101 ", output)
                self.assertIn("Verify return code: 0 (ok)", output)
                self.assertIn(f"Verified peername: {shown}", output)
        output = await self.s_client(
            server, "-servername", "other.example", "-verify_hostname", "other.example",
            "-verify_return_error",
        )  # fmt: skip
        self.assertIn("hostname mismatch", output.lower())
        self.assertNotIn("HTTP/1.1", output)

    async def test_client_certificate(self) -> None:
        """Whose certificate is of the authority and named is let in; another name gets 403; no certificate,
        or one of another authority, no connection."""
        server = await self.listening(
            TlsConfiguration((self.pair("localhost"),), client_ca=self.ca_file),
            clients=AllowedClients(["device.example"]),
        )
        good, other = self.pair("device.example"), self.pair("other.example")
        stranger = CertificateAndKey(*self.files.pair(trustme.CA().issue_cert("device.example"), "stranger"))
        for version in ("-tls1_2", "-tls1_3"):
            for pair, answer in ((good, "HTTP/1.1 101 "), (other, "HTTP/1.1 403 Forbidden")):
                shown = ("-cert", str(pair.certificate), "-key", str(pair.private_key))
                self.assertIn(answer, await self.s_client(server, version, *shown))
            shown = ("-cert", str(stranger.certificate), "-key", str(stranger.private_key))
            output = await self.s_client(server, version, *shown)
            self.assertIn("alert unknown ca", output)
            self.assertNotIn("HTTP/1.1", output)
        self.assertIn("alert certificate required", await self.s_client(server, "-tls1_3"))
        self.assertIn("alert handshake failure", await self.s_client(server, "-tls1_2"))


class PreSharedKeyTests(OpensslTestCase):
    """``openssl s_client -psk``."""

    async def test_both_versions(self) -> None:
        """The right key gets in, a wrong key or an unknown identity does not, and there is no certificate."""

        def answer(question: PreSharedKeyAuthenticator) -> None:
            question.key = bytes.fromhex("0a" * 16) if question.identity == b"anna" else b""

        server = await self.listening(TlsConfiguration(pre_shared_keys=PreSharedKeys(b"which?", answer)))
        suites = ("-cipher", "PSK", "-ciphersuites", "TLS_AES_128_GCM_SHA256")
        for version in ("-tls1_2", "-tls1_3"):
            for identity, key, gets_in in (
                ("anna", "0a" * 16, True),
                ("anna", "0b" * 16, False),
                ("bert", "0a" * 16, False),
            ):
                output = await self.s_client(server, version, *suites, "-psk_identity", identity, "-psk", key)
                self.assertEqual("HTTP/1.1 101 " in output, gets_in, output)
                self.assertIn("no peer certificate available", output)
                if version == "-tls1_2" and gets_in:
                    self.assertIn("PSK identity hint: which?", output)
        self.assertNotIn("HTTP/1.1", await self.s_client(server))


class RefusalTests(OpensslTestCase):
    """What is not spoken."""

    async def secure(self) -> WebSocketServer:
        return await self.listening(TlsConfiguration((self.pair("localhost"),)))

    async def test_old_versions(self) -> None:
        """TLS 1.0 and 1.1 are answered by the alert protocol_version."""
        server = await self.secure()
        for version in ("-tls1", "-tls1_1"):
            output = await self.s_client(server, version, *ANY_SECURITY)
            self.assertIn("alert protocol version", output)

    async def test_weak_suites(self) -> None:
        """Suites without forward secrecy or authenticated encryption get handshake_failure."""
        server = await self.secure()
        for suites in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA", "PSK"):
            output = await self.s_client(server, "-tls1_2", "-cipher", f"{suites}:@SECLEVEL=0")
            self.assertNotIn("HTTP/1.1", output)
            self.assertRegex(output, "alert handshake failure|no ciphers available")

    async def test_renegotiation(self) -> None:
        """A client that wants to renegotiate is told no."""
        server = await self.secure()
        output = await self.s_client(server, "-tls1_2", "-no_ign_eof", say=b"R\n", until=b"no renegotiation")
        self.assertIn("no renegotiation", output)

    async def test_unfinished_handshakes(self) -> None:
        """A silent client, and one that sends half a ClientHello, are dropped after the handshake timeout."""
        from twisted.internet import reactor

        server = await self.secure()
        server.handshake_timeout = 0.1
        for data in (b"", hello(0x0303)[:40]):
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", server.server_port)
            peer = await endpoint.connect(Factory.forProtocol(partial(Silent, data)))
            assert isinstance(peer, Silent)
            self.assertEqual(await peer.lost, b"")

    async def test_plain_http(self) -> None:
        """Plain HTTP on the TLS port is ended, and harms nobody."""
        from twisted.internet import reactor

        server = await self.secure()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", server.server_port)
        peer = await endpoint.connect(Factory.forProtocol(lambda: Silent(HEAD)))
        assert isinstance(peer, Silent)
        self.assertNotIn(b"HTTP/1.1", await peer.lost)
        self.assertIn("HTTP/1.1 101 ", await self.s_client(server))
