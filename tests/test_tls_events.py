"""What TLS does, told by the signals of both ends."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime
from typing import Any

import trustme
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.members import QUIET
from tests.tls.harness import Files
from wsecho.policy.authenticators import PreSharedKeyAuthenticator
from wsecho.policy.enumerations import SocketError, SslMode
from wsecho.server import ListenError, WebSocketServer
from wsecho.tls.alerts import Alert
from wsecho.tls.certificates import CertificateAndKey, CertificateError
from wsecho.tls.client import ClientTls
from wsecho.tls.configuration import TlsConfiguration, TlsVersion
from wsecho.tls.contexts import server_creator
from wsecho.tls.preshared import PreSharedKeys
from wsecho.tls.verification import VerifyCode, VerifyError
from wsecho.tls_events import SocketTlsEvents
from wsecho.websocket import WebSocket
from wsecho.wire.client import ConnectError, ConnectFailed

TLS_SIGNALS = (
    "peer_verify_error",
    "ssl_errors",
    "handshake_interrupted_on_error",
    "alert_sent",
    "alert_received",
)


def pair_of(leaf: trustme.LeafCert) -> CertificateAndKey:
    """A certificate with its chain and key."""
    return CertificateAndKey(
        b"".join(pem.bytes() for pem in leaf.cert_chain_pems), leaf.private_key_pem.bytes()
    )


class TlsTestCase(TestCase):
    """A server and clients on loopback."""

    def setUp(self) -> None:
        self.ca = trustme.CA()
        self.pem = self.ca.cert_pem.bytes()
        self.pair = pair_of(self.ca.issue_cert("127.0.0.1", "localhost"))
        self.told: list[tuple[Any, ...]] = []

    async def listening(self, configuration: Any) -> WebSocketServer:
        server = WebSocketServer("", SslMode.SECURE_MODE, settings=QUIET)
        self.addCleanup(server.shutdown)
        server.ssl_configuration = configuration
        await server.listen("127.0.0.1")
        return server

    def client(self, **options: Any) -> WebSocket:
        socket = WebSocket(settings=QUIET)
        self.addCleanup(socket.abort)
        socket.ssl_configuration = ClientTls(**options)
        return socket

    def note(self, emitter: Any, *names: str) -> None:
        """Note what these signals tell, in order."""
        for name in names or TLS_SIGNALS:
            # A name of its own for each slot.
            getattr(emitter, name).connect(lambda *args, name=name: self.told.append((name, *args)))

    async def failed(self, socket: WebSocket, url: str) -> ConnectFailed:
        """Fail to open."""
        try:
            await socket.open(url)
        except ConnectFailed as failed:
            self.assertIs(failed.error, ConnectError.TLS)
            self.assertIs(socket.error, SocketError.SSL_HANDSHAKE_FAILED)
            return failed
        raise AssertionError("connected")


class ServerTests(TlsTestCase):
    """The signals of WebSocketServer, and of the sockets that it accepts."""

    async def test_client_certificate(self) -> None:
        """The verified certificate is at the socket and in its request."""
        server = await self.listening(TlsConfiguration((self.pair,), client_ca=self.pem))
        socket = self.client(ca=self.pem, certificate=pair_of(self.ca.issue_cert("device.example")))
        async with await socket.open(server.server_url):
            taken = await anext(server)
            found = taken.peer_certificate
            assert found is not None
            self.assertEqual(found.dns_names, ("device.example",))
            self.assertEqual(taken.request.peer_certificate, found)
            assert socket.peer_certificate is not None
            self.assertEqual(socket.peer_certificate.ip_addresses, ("127.0.0.1",))
        self.assertIsNone(socket.peer_certificate)

    async def test_bad_client_certificate(self) -> None:
        """A client's bad certificate is told with its address, and the client is refused."""
        server = await self.listening(
            TlsConfiguration((self.pair,), client_ca=self.pem, minimum_version=TlsVersion.TLS_1_3)
        )
        self.note(server)
        socket = self.client(ca=self.pem, certificate=pair_of(trustme.CA().issue_cert("device.example")))
        self.note(socket, "alert_received")
        failed = await self.failed(socket, server.server_url)
        self.assertIn("unknown ca", failed.text)
        names = [event[0] for event in self.told]
        self.assertEqual(
            names,
            [
                "peer_verify_error",
                "ssl_errors",
                "handshake_interrupted_on_error",
                "alert_sent",
                "alert_received",
            ],
        )
        error = self.told[0][1]
        self.assertIs(error.code, VerifyCode.UNABLE_TO_GET_LOCAL_ISSUER_CERTIFICATE)
        self.assertRegex(error.peer, r"\A127\.0\.0\.1:\d+\Z")
        self.assertEqual(self.told[1][1], [error])
        self.assertEqual(self.told[2][1], error)
        self.assertEqual(self.told[3][1:], (2, 48, "unknown_ca", error.peer))
        self.assertEqual(self.told[4][1:], (2, 48, "unknown_ca"))

    async def test_slots_that_fail(self) -> None:
        """What a slot raises is logged; the server goes on."""
        server = await self.listening(TlsConfiguration((self.pair,), client_ca=self.pem))

        def broken(*arguments: object) -> None:
            raise ZeroDivisionError

        for name in TLS_SIGNALS:
            getattr(server, name).connect(broken)
        await self.failed(
            self.client(ca=self.pem, certificate=pair_of(trustme.CA().issue_cert("x"))), server.server_url
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)
        for name in TLS_SIGNALS:
            getattr(server, name).disconnect()
        good = self.client(ca=self.pem, certificate=pair_of(self.ca.issue_cert("x")))
        async with await good.open(server.server_url):
            self.assertTrue(good.is_valid())

    async def test_alerts_of_a_socket(self) -> None:
        """The orderly end is told at the accepted socket too."""
        server = await self.listening(TlsConfiguration((self.pair,)))
        socket = self.client(ca=self.pem)
        await socket.open(server.server_url)
        taken = await anext(server)
        self.note(taken, "alert_received", "alert_sent")
        socket.close()
        await gatherResults([socket.when_disconnected(), taken.when_disconnected()])
        self.assertIn(("alert_sent", 1, 0, "close_notify"), self.told)

    async def test_pre_shared_key(self) -> None:
        """Both ends are asked by their signals, and connect; a wrong key does not."""
        for version in TlsVersion:
            server = await self.listening(TlsConfiguration(pre_shared_keys=PreSharedKeys(b"which?")))
            seen: list[tuple[bytes, bytes]] = []

            def knows(question: PreSharedKeyAuthenticator, seen: list[tuple[bytes, bytes]] = seen) -> None:
                seen.append((question.identity_hint, question.identity))
                question.key = b"k" * 32 if question.identity == b"anna" else b""

            server.pre_shared_key_authentication_required.connect(knows)
            for identity, connects in ((b"anna", True), (b"bert", False)):
                socket = self.client(minimum_version=version, pre_shared_keys=PreSharedKeys())

                def fill(question: PreSharedKeyAuthenticator, identity: bytes = identity) -> None:
                    question.identity, question.key = identity, b"k" * 32

                socket.pre_shared_key_authentication_required.connect(fill)
                if connects:
                    async with await socket.open(server.server_url):
                        self.assertIsNone(socket.peer_certificate)
                else:
                    await self.failed(socket, server.server_url)
                self.assertEqual(seen, [(b"which?", identity)])
                seen.clear()

    async def test_reload(self) -> None:
        """Reloading reads the files again; open connections go on, and broken files change nothing."""
        files = Files(self)
        leaf = self.ca.issue_cert("127.0.0.1")
        paths = files.pair(leaf)
        for configuration in (TlsConfiguration((CertificateAndKey(*paths),)), server_creator(*paths)):
            server = await self.listening(configuration)
            old = self.client(ca=self.pem)
            await old.open(server.server_url)
            files.pair(self.ca.issue_cert("127.0.0.1"))
            server.reload_tls()
            new = self.client(ca=self.pem)
            await new.open(server.server_url)
            assert old.peer_certificate is not None
            assert new.peer_certificate is not None
            self.assertNotEqual(old.peer_certificate.fingerprint, new.peer_certificate.fingerprint)
            files.write("server.pem", b"")
            self.assertRaises(CertificateError, server.reload_tls)
            async with await self.client(ca=self.pem).open(server.server_url):
                pass
            self.assertTrue(old.is_valid())
            files.pair(leaf)

    async def test_another_configuration(self) -> None:
        """Reloading takes a configuration that was set meanwhile."""
        server = await self.listening(TlsConfiguration((self.pair,)))
        server.ssl_configuration = TlsConfiguration((pair_of(self.ca.issue_cert("other.example")),))
        server.reload_tls()
        failed = await self.failed(self.client(ca=self.pem), server.server_url)
        self.assertIn("the server's certificate is for other.example, not for 127.0.0.1", failed.text)

    async def test_nothing_to_reload(self) -> None:
        """A server that does not listen, or whose TLS is not of our making, cannot reload."""
        server = WebSocketServer("", SslMode.SECURE_MODE, settings=QUIET)
        self.assertRaises(RuntimeError, server.reload_tls)

    async def test_files_that_are_not_there(self) -> None:
        """A server whose certificate cannot be read does not listen, and says why."""
        server = WebSocketServer("", SslMode.SECURE_MODE, settings=QUIET)
        server.ssl_configuration = TlsConfiguration((CertificateAndKey("nowhere", "nowhere"),))
        with self.assertRaises(ListenError):
            await server.listen("127.0.0.1")
        self.assertEqual(server.error_string, 'certificate file "nowhere": No such file or directory')
        self.assertFalse(server.is_listening())


class ClientTests(TlsTestCase):
    """The signals of a client's WebSocket."""

    async def test_unknown_authority(self) -> None:
        """What is wrong is told in Qt's order, and then in the error."""
        server = await self.listening(TlsConfiguration((self.pair,)))
        received: Deferred[tuple[Any, ...]] = Deferred()
        server.alert_received.connect(lambda *told: received.callback(told))
        socket = self.client(ca=trustme.CA().cert_pem.bytes())
        self.note(socket)
        failed = await self.failed(socket, server.server_url)
        self.assertIn("the server's certificate is not accepted: unable to get local issuer", failed.text)
        names = [event[0] for event in self.told]
        self.assertEqual(
            names[:4], ["peer_verify_error", "ssl_errors", "handshake_interrupted_on_error", "alert_sent"]
        )
        self.assertEqual(self.told[3][1:], (2, 48, "unknown_ca"))
        self.assertEqual(self.told[1][1], [self.told[0][1]])
        self.assertEqual(self.told[0][1].peer, server.server_url.removeprefix("wss://"))
        *alert, address = await received
        self.assertEqual(alert, [2, 48, "unknown_ca"])
        self.assertRegex(address, r"\A127\.0\.0\.1:\d+\Z")

    async def test_ignoring(self) -> None:
        """All errors, some by their code, or just these, may be ignored: before, or when they are told."""
        expired = pair_of(self.ca.issue_cert("localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC)))
        server = await self.listening(TlsConfiguration((expired,)))
        before = self.client(ca=self.pem)
        before.ignore_ssl_errors()
        self.note(before, "peer_verify_error", "ssl_errors", "handshake_interrupted_on_error")
        async with await before.open(server.server_url):
            self.assertEqual(self.told, [])
        slot = self.client(ca=self.pem)
        slot.ssl_errors.connect(lambda errors: slot.ignore_ssl_errors())
        async with await slot.open(server.server_url):
            pass
        codes = self.client(ca=self.pem)
        codes.ignore_ssl_errors([VerifyCode.CERTIFICATE_EXPIRED])
        self.told.clear()
        self.note(codes, "ssl_errors")
        failed = await self.failed(codes, server.server_url)
        self.assertIn("is for localhost, not for 127.0.0.1", failed.text)
        ((_, errors),) = self.told
        self.assertEqual([error.code for error in errors], [10, 62])
        codes.ignore_ssl_errors(errors)
        async with await codes.open(server.server_url):
            pass
        other = await self.listening(TlsConfiguration((pair_of(self.ca.issue_cert("localhost")),)))
        await self.failed(codes, other.server_url)

    async def test_going_on(self) -> None:
        """A slot of handshake_interrupted_on_error may let the handshake go on, and only then."""
        server = await self.listening(TlsConfiguration((self.pair,)))
        socket = self.client(ca=trustme.CA().cert_pem.bytes())
        told: list[VerifyError] = []

        def go_on(error: VerifyError) -> None:
            told.append(error)
            socket.continue_interrupted_handshake()

        socket.handshake_interrupted_on_error.connect(go_on)
        socket.peer_verify_error.connect(
            lambda error: self.assertRaises(RuntimeError, socket.continue_interrupted_handshake)
        )
        async with await socket.open(server.server_url):
            self.assertEqual([error.code for error in told], [20, 21])
            self.assertRaises(RuntimeError, socket.continue_interrupted_handshake)
        await self.failed(self.client(ca=trustme.CA().cert_pem.bytes()), server.server_url)

    async def test_giving_up(self) -> None:
        """A slot may abort; nothing more is told then, and nothing is accepted."""
        server = await self.listening(TlsConfiguration((self.pair,)))
        for name in ("peer_verify_error", "handshake_interrupted_on_error"):
            socket = self.client(ca=trustme.CA().cert_pem.bytes())

            def give_up(error: VerifyError, socket: WebSocket = socket) -> None:
                socket.ignore_ssl_errors()
                socket.abort()

            getattr(socket, name).connect(give_up)
            self.note(socket, "ssl_errors", "alert_sent")
            with self.assertRaises(ConnectFailed):
                await socket.open(server.server_url)
        self.assertEqual([event[0] for event in self.told], ["ssl_errors"])

    async def test_files_that_are_not_there(self) -> None:
        """A certificate file that cannot be read fails the attempt, by its name."""
        failed = await self.failed(self.client(ca="nowhere.pem"), "wss://127.0.0.1:1")
        self.assertEqual(failed.text, '127.0.0.1: CA file "nowhere.pem": No such file or directory')

    async def test_creators_of_others(self) -> None:
        """A creator that is not ours is used as it is; to ignore all errors, it is not used."""
        server = await self.listening(TlsConfiguration((self.pair,)))
        socket = self.client()
        socket.ssl_configuration = optionsForClientTLS("other.example")
        self.note(socket)
        await self.failed(socket, server.server_url)
        self.assertEqual(self.told, [])
        socket.ignore_ssl_errors()
        async with await socket.open(server.server_url):
            pass

    async def test_wrong_errors(self) -> None:
        """What is no error cannot be ignored."""
        wrong: Any = ["expired"]
        self.assertRaises(TypeError, self.client().ignore_ssl_errors, wrong)

    async def test_end_without_close_notify(self) -> None:
        """A server that drops TCP is no attack: no alert is sent."""
        server = await self.listening(TlsConfiguration((self.pair,)))
        self.note(server, "alert_sent")
        socket = self.client(ca=self.pem)
        await socket.open(server.server_url)
        taken = await anext(server)
        socket.abort()
        await taken.when_disconnected()
        self.assertEqual([event for event in self.told if event[1] == 2], [])

    async def test_nothing_is_kept(self) -> None:
        """A socket that has ended is freed."""
        from twisted.internet import reactor

        server = await self.listening(TlsConfiguration((self.pair,)))
        socket = WebSocket(settings=QUIET)
        socket.ssl_configuration = ClientTls(ca=self.pem)
        async with await socket.open(server.server_url):
            pass
        gone = weakref.ref(socket)
        del socket
        # We are called by the end itself: let it return.
        await deferLater(reactor, 0)
        gc.collect()
        self.assertIsNone(gone())


class SocketTlsEventsTests(SynchronousTestCase):
    """Events that nobody waits for any more."""

    def test_forgotten(self) -> None:
        """After it was forgotten, an attempt tells nothing and accepts nothing."""
        wrong: Any = None
        events = SocketTlsEvents(wrong, lambda error: True)
        events.alert_sent(None, Alert(2, 48))
        events.alert_received(None, Alert(2, 48))
        question = PreSharedKeyAuthenticator()
        events.pre_shared_key_wanted(None, question)
        self.assertEqual(question.key, b"")
        self.assertIs(events.verify_failed(None, wrong), False)
        self.assertIs(events.go_on(), False)
