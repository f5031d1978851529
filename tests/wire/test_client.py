"""Tests for connecting as a client, without sockets and over loopback."""

from __future__ import annotations

import datetime as dt
import gc
import os
import socket
import weakref
from typing import Any
from unittest.mock import patch

import trustme
from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
    wrapServerTLS,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.wire.client_harness import Reactor, Service, parse_masked, unmasked
from tests.wire.harness import TEXT, Transport, parse_answer
from wsecho.policy.end_reasons import EndReason
from wsecho.policy.settings import Settings
from wsecho.services.echo import EchoServerFactory
from wsecho.tls.contexts import ServerConnectionCreator
from wsecho.wire.client import (
    ClientPhase,
    ClientProtocol,
    ClientRequest,
    ConnectError,
    ConnectFailed,
    HttpProxy,
    connect,
)
from wsecho.wire.response import accept_value

PROXY = HttpProxy(host="proxy.example", port=3128)


class Phases(list[ClientPhase]):
    """A list that can be referred to weakly."""


class UnderTls(Transport):
    """Twisted's TLS has its last words when the transport below it has ended."""

    def _note(self, what: str) -> None:
        if not self.has_ended:
            super()._note(what)


class AttemptTests(SynchronousTestCase):
    """One attempt, step by step."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.service = Service()
        self.phases: list[ClientPhase] = []

    def tearDown(self) -> None:
        self.assertEqual(self.reactor.getDelayedCalls(), [], "timers that outlive the attempt")

    def connect(self, url: str = "ws://example.com/", **options: Any) -> Deferred[Any]:
        options.setdefault("on_phase", self.phases.append)
        options.setdefault("settings", Settings(ping_interval=0.0))
        self.result: Deferred[Any] = connect(
            self.reactor, ClientRequest(url=url), service=self.service, **options
        )
        return self.result

    def reach(self) -> Transport:
        """The connection that was asked for is made."""
        host, port, factory, *_ = self.reactor.tcpClients[-1]
        transport = UnderTls(self.reactor, IPv4Address("TCP", host, port))
        transport.protocol = factory.buildProtocol(transport.getPeer())
        transport.protocol.makeConnection(transport)
        self.reactor.advance(0)
        return transport

    def answer(self, transport: Transport, rest: bytes = b"") -> None:
        """The server accepts the handshake."""
        key = parse_answer(transport.value().partition(b"GET")[2]).headers["sec-websocket-key"]
        transport.protocol.dataReceived(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_value(key).encode() + b"\r\n\r\n" + rest
        )

    def failure(self, kind: ConnectError) -> ConnectFailed:
        failed = self.failureResultOf(self.result, ConnectFailed).value
        assert isinstance(failed, ConnectFailed)
        self.assertIs(failed.error, kind)
        self.assertEqual(len(failed.text.splitlines()), 1)
        return failed

    def end(self, transport: Transport) -> None:
        transport.end(error.ConnectionDone())

    def test_opens(self) -> None:
        """Name, connection, request, answer: then the connection is there, and no timer is left."""
        self.connect()
        self.assertEqual(self.phases, [ClientPhase.HOST_LOOKUP])
        self.reactor.resolver.answer("192.0.2.1")
        self.assertEqual(self.phases, [ClientPhase.HOST_LOOKUP, ClientPhase.CONNECTING])
        transport = self.reach()
        self.assertNoResult(self.result)
        self.answer(transport)
        connection = self.successResultOf(self.result)
        self.assertIsInstance(connection, ClientProtocol)
        self.assertEqual(connection.peer, "192.0.2.1:80")
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.end(transport)

    def test_before_the_first_message(self) -> None:
        """The service knows first, then whoever connected, and then messages come."""
        self.connect("ws://192.0.2.1/")
        self.result.addCallback(lambda _: self.service.told.append(("connected",)))
        transport = self.reach()
        self.answer(transport, unmasked(TEXT, b"hi"))
        self.assertEqual(self.service.told, [("opened",), ("connected",), ("message", b"hi", False)])
        self.end(transport)

    def test_defaults(self) -> None:
        """Settings, phases and masks have defaults; the attempt is bounded by ten seconds."""
        self.result = connect(self.reactor, ClientRequest(url="ws://192.0.2.1/"), service=None)
        transport = self.reach()
        self.reactor.advance(9.9)
        self.assertNoResult(self.result)
        self.reactor.advance(0.2)
        self.reactor.advance(0)
        self.assertIn("not connected within 10 seconds", self.failure(ConnectError.TIMEOUT).text)
        self.assertTrue(transport.has_ended)

    def test_protocol_and_mask(self) -> None:
        """The connection is of the class that is asked for, and masks as it is told to."""

        class Own(ClientProtocol):
            """A program's own."""

        self.connect("ws://192.0.2.1/", protocol=Own, mask=lambda: 7)
        transport = self.reach()
        self.answer(transport)
        connection = self.successResultOf(self.result)
        self.assertIs(type(connection), Own)
        transport.io.truncate(0)
        transport.io.seek(0)
        connection.sendMessage(b"x")
        ((_, mask),) = parse_masked(transport.value())
        self.assertEqual(mask, b"\0\0\0\7")
        self.end(transport)

    def test_host_not_found(self) -> None:
        """A name without address is told, and no timer is left."""
        self.connect()
        self.reactor.resolver.answer()
        self.assertEqual(self.failure(ConnectError.HOST_NOT_FOUND).text, "example.com:80: host not found")

    def test_refused(self) -> None:
        """A refused connection is told, and no timer is left."""
        self.connect("ws://[::1]:9000/")
        factory: Any = self.reactor.tcpClients[0][2]
        factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
        failed = self.failure(ConnectError.CONNECTION_REFUSED)
        self.assertEqual(failed.text, "[::1]:9000: connection refused")

    def test_status(self) -> None:
        """Another status than 101 is told when the transport has ended."""
        self.connect("ws://192.0.2.1/")
        transport = self.reach()
        transport.protocol.dataReceived(b"HTTP/1.1 403 Forbidden\r\nA: b\r\n\r\n")
        self.assertNoResult(self.result)
        self.reactor.advance(0)
        failed = self.failure(ConnectError.HTTP_STATUS)
        self.assertEqual((failed.status, dict(failed.headers)), (403, {"a": "b"}))

    def test_timeout_of_the_look_up(self) -> None:
        """The time of the whole attempt bounds the look-up."""
        self.connect(settings=Settings(handshake_timeout=3.0))
        self.reactor.advance(3)
        self.assertIn("example.com:80: not connected within 3 s", self.failure(ConnectError.TIMEOUT).text)

    def test_timeout_of_the_connection(self) -> None:
        """It bounds the connection, which is given up."""
        self.connect("ws://192.0.2.1/", settings=Settings(handshake_timeout=0.5))
        self.reactor.advance(0.5)
        self.assertIn("within 0.5 seconds", self.failure(ConnectError.TIMEOUT).text)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)

    def test_timeout_of_the_answer(self) -> None:
        """It bounds the answer, counted from the beginning."""
        self.connect(settings=Settings(handshake_timeout=3.0, ping_interval=0.0))
        self.reactor.advance(1)
        self.reactor.resolver.answer("192.0.2.1")
        self.reactor.advance(1)
        transport = self.reach()
        transport.protocol.dataReceived(b"HTTP/1.1 101")
        self.reactor.advance(0.9)
        self.assertNoResult(self.result)
        self.reactor.advance(0.1)
        self.reactor.advance(0)
        self.failure(ConnectError.TIMEOUT)
        self.assertTrue(transport.has_ended)

    def test_no_timeout(self) -> None:
        """A timeout of 0 is none."""
        self.connect("ws://192.0.2.1/", settings=Settings(handshake_timeout=0.0))
        transport = self.reach()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.end(transport)
        self.failure(ConnectError.NETWORK)

    def test_cancelled_in_look_up(self) -> None:
        """Giving up while the name is looked up connects to nothing."""
        self.connect().cancel()
        self.assertIn("given up", self.failure(ConnectError.CANCELLED).text)
        self.reactor.resolver.answer("192.0.2.1")
        self.assertEqual(self.reactor.tcpClients, [])

    def test_cancelled_while_connecting(self) -> None:
        """Giving up while connecting gives the connection up."""
        self.connect("ws://192.0.2.1/").cancel()
        self.failure(ConnectError.CANCELLED)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)

    def test_cancelled_in_handshake(self) -> None:
        """Giving up while the answer is waited for aborts, and fails without waiting for the end."""
        self.connect("ws://192.0.2.1/")
        transport = self.reach()
        self.result.cancel()
        self.failure(ConnectError.CANCELLED)
        self.reactor.advance(0)
        self.assertTrue(transport.has_ended)
        self.assertEqual(self.service.told, [])

    def test_cancelled_by_the_service(self) -> None:
        """Giving up while the service is told that the connection is open ends the connection."""
        self.service.opened = lambda connection: self.result.cancel()  # type: ignore[method-assign]
        self.connect("ws://192.0.2.1/")
        transport = self.reach()
        self.answer(transport)
        self.failure(ConnectError.CANCELLED)
        self.reactor.advance(0)
        self.assertTrue(transport.has_ended)

    def test_cancelled_too_late(self) -> None:
        """Cancelling when the connection is open changes nothing."""
        self.connect("ws://192.0.2.1/")
        transport = self.reach()
        self.answer(transport)
        self.result.cancel()
        self.successResultOf(self.result)
        self.assertFalse(transport.disconnecting)
        self.end(transport)

    def test_forgets(self) -> None:
        """What the program gave is let go when the attempt has failed, and when the connection has ended:
        without waiting for the garbage collector."""

        def refuse() -> None:
            factory: Any = self.reactor.tcpClients[-1][2]
            factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))

        def unknown() -> None:
            self.reactor.resolver.answer()

        def status() -> None:
            self.reach().protocol.dataReceived(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        def end() -> None:
            self.reactor.resolver.answer("192.0.2.1")
            transport = self.reach()
            self.answer(transport)
            self.end(transport)

        gc.disable()
        self.addCleanup(gc.enable)
        for url, happen in (
            ("ws://192.0.2.1/", refuse),
            ("ws://example.com/", unknown),
            ("ws://192.0.2.1/", status),
            ("ws://example.com/", end),
        ):
            service, phases = Service(), Phases()
            gone = weakref.ref(service), weakref.ref(phases)
            result = connect(
                self.reactor,
                ClientRequest(url=url),
                service=service,
                on_phase=phases.append,
                settings=Settings(ping_interval=0.0),
            )
            result.addBoth(lambda _: None)
            happen()
            self.reactor.advance(0)
            del service, phases, result
            self.assertEqual([reference() for reference in gone], [None, None], happen.__name__)

    def test_wrong_tls(self) -> None:
        """What makes no TLS connections is refused at the call, by name."""
        raised = self.assertRaises(TypeError, self.connect, tls=object())
        self.assertIn("tls: object", str(raised))

    def test_impossible_name(self) -> None:
        """A name that no certificate can have fails before anything is connected to."""
        self.connect("wss://my_service/")
        self.assertIn("my_service:443", self.failure(ConnectError.TLS).text)
        self.assertEqual((self.reactor.tcpClients, self.reactor.resolver.asked, self.phases), ([], [], []))

    def test_no_tls_for_ws(self) -> None:
        """A creator of TLS connections is not used for ws."""
        self.connect("ws://192.0.2.1/", tls=optionsForClientTLS("example.com"))
        transport = self.reach()
        self.assertTrue(transport.value().startswith(b"GET / HTTP/1.1\r\n"))
        self.result.cancel()
        self.failure(ConnectError.CANCELLED)
        self.reactor.advance(0)

    def test_tls(self) -> None:
        """For wss TLS is spoken from the first byte."""
        self.connect("wss://192.0.2.1/")
        transport = self.reach()
        self.assertTrue(transport.value().startswith(b"\x16\x03\x01"))
        self.result.cancel()
        self.failure(ConnectError.CANCELLED)
        self.reactor.advance(0)

    def test_proxy(self) -> None:
        """With a proxy that one is looked up and asked; the request follows its consent."""
        self.connect("ws://example.com:81/", proxy=PROXY)
        self.assertEqual(self.reactor.resolver.asked, [("proxy.example", 3128)])
        self.reactor.resolver.answer("192.0.2.9")
        transport = self.reach()
        self.assertTrue(transport.value().startswith(b"CONNECT example.com:81 HTTP/1.1\r\n"))
        self.assertNotIn(b"GET", transport.value())
        transport.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertIn(b"GET / HTTP/1.1\r\nHost: example.com:81\r\n", transport.value())
        self.answer(transport)
        self.successResultOf(self.result)
        self.assertEqual(self.phases, [ClientPhase.HOST_LOOKUP, ClientPhase.CONNECTING])
        self.end(transport)

    def test_tls_through_a_proxy(self) -> None:
        """TLS goes through the tunnel, not to the proxy."""
        self.connect("wss://example.com/", proxy=PROXY)
        self.reactor.resolver.answer("192.0.2.9")
        transport = self.reach()
        asked = len(transport.value())
        self.assertTrue(transport.value().endswith(b"\r\n\r\n"))
        transport.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertTrue(transport.value()[asked:].startswith(b"\x16\x03\x01"))
        self.assertIn(b"example.com", transport.value()[asked:])
        self.result.cancel()
        self.failure(ConnectError.CANCELLED)
        self.reactor.advance(0)

    def test_proxy_fails(self) -> None:
        """What the proxy refuses is told as the proxy's."""
        self.connect(proxy=PROXY)
        self.reactor.resolver.answer("192.0.2.9")
        transport = self.reach()
        transport.protocol.dataReceived(b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\n\r\n")
        self.reactor.advance(0)
        failed = self.failure(ConnectError.PROXY_AUTHENTICATION)
        self.assertEqual(failed.headers["proxy-authenticate"], "Basic")

    def test_timeout_in_the_tunnel(self) -> None:
        """A proxy that does not answer is bounded by the time of the attempt."""
        self.connect(proxy=PROXY, settings=Settings(handshake_timeout=3.0))
        self.reactor.resolver.answer("192.0.2.9")
        transport = self.reach()
        self.reactor.advance(3)
        self.reactor.advance(0)
        self.failure(ConnectError.TIMEOUT)
        self.assertTrue(transport.has_ended)

    def test_endpoint_raises(self) -> None:
        """A reactor that refuses to connect leaves no timer."""

        def refuse(*args: object, **kwargs: object) -> None:
            raise RuntimeError("no sockets today")

        self.patch(self.reactor, "connectTCP", refuse)
        self.connect("ws://192.0.2.1/")
        self.assertIn("no sockets today", self.failure(ConnectError.NETWORK).text)


class Messages(Service):
    """Keeps messages until they are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: DeferredQueue[bytes] = DeferredQueue()

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        super().message_arrived(connection, payload, is_binary)
        self.queue.put(payload)


class Ending(ClientProtocol):
    """Tells when its transport has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: Deferred[None] = Deferred()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.ended.callback(None)


class Relay(Protocol):
    """One half of a connection through a proxy."""

    other: Relay | None = None

    def dataReceived(self, data: bytes) -> None:
        assert self.other is not None
        assert self.other.transport is not None
        self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.loseConnection()


class Proxy(Relay):
    """A proxy that connects, when asked with the right credentials, to a port of loopback."""

    credentials = b"Basic dTpw"

    def __init__(self) -> None:
        self.buffer = b""

    def dataReceived(self, data: bytes) -> None:
        if self.other is not None:
            super().dataReceived(data)
            return
        self.buffer += data
        if self.buffer.endswith(b"\r\n\r\n"):
            assert self.transport is not None
            if b"Proxy-Authorization: " + self.credentials not in self.buffer:
                self.transport.write(b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n')
                return
            from twisted.internet import reactor

            port = int(self.buffer.split()[1].rpartition(b":")[2])
            reaching = connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Relay())
            reaching.addCallback(self._reached)

    def _reached(self, other: Relay) -> None:
        assert self.transport is not None
        self.other, other.other = other, self
        self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")


class LoopbackTests(TestCase):
    """Real connections to wsecho's own server."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.authority = trustme.CA()
        self.service = Messages()

    async def listen(self, factory: Any, certificate: trustme.LeafCert | None = None) -> int:
        """Listen for the time of the test; the port."""
        endpoint: Any = TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        if certificate is not None:
            context = SSL.Context(SSL.TLS_METHOD)
            certificate.configure_cert(context)
            endpoint = wrapServerTLS(ServerConnectionCreator(context), endpoint)
        port = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def serve(self, certificate: trustme.LeafCert | None = None) -> int:
        """An echo server; the port. It ends every connection at the end of the test."""
        factory = EchoServerFactory(reactor=self.reactor, settings=Settings(compression="deflate"))
        port = await self.listen(factory, certificate)
        self.addCleanup(factory.shutdown)
        return port

    def trusting(self, host: str = "localhost") -> Any:
        """A creator that trusts the test's authority."""
        return optionsForClientTLS(host, Certificate.loadPEM(self.authority.cert_pem.bytes()))

    async def connect(self, url: str, **options: Any) -> Ending:
        request = ClientRequest(url=url, origin=options.pop("origin", ""))
        connection = await connect(self.reactor, request, service=self.service, protocol=Ending, **options)
        assert isinstance(connection, Ending)
        return connection

    async def echoes(self, connection: Ending, size: int = 100_000) -> None:
        """Whether messages come back, and the connection ends in order."""
        sent = os.urandom(size)
        connection.sendMessage(sent, True)
        self.assertEqual(await self.service.queue.get(), sent)
        connection.sendClose(1000, "done")
        await connection.ended
        self.assertTrue(connection.closed_cleanly)
        self.assertTrue(connection.wasClean)
        assert connection.end is not None
        self.assertEqual((connection.end.reason, connection.end.code), (EndReason.CLIENT_CLOSE, 1000))

    async def fails(self, url: str, kind: ConnectError, **options: Any) -> ConnectFailed:
        try:
            await self.connect(url, **options)
        except ConnectFailed as failed:
            self.assertIs(failed.error, kind, failed.text)
            self.assertEqual(len(failed.text.splitlines()), 1)
            return failed
        raise AssertionError("it connected")

    async def test_echo(self) -> None:
        """A client that connects by name has its messages echoed, and both ends close in order."""
        port = await self.serve()
        phases: list[ClientPhase] = []
        connection = await self.connect(f"ws://localhost:{port}/", on_phase=phases.append)
        self.assertEqual(phases, [ClientPhase.HOST_LOOKUP, ClientPhase.CONNECTING])
        await self.echoes(connection)

    async def test_address(self) -> None:
        """A client connects by address."""
        await self.echoes(await self.connect(f"ws://127.0.0.1:{await self.serve()}/echo"))

    async def test_compression(self) -> None:
        """Compression is agreed on when both sides have it."""
        settings = Settings(compression="deflate")
        connection = await self.connect(f"ws://127.0.0.1:{await self.serve()}/", settings=settings)
        self.assertEqual(len(connection.websocket_extensions_in_use), 1)
        connection.sendMessage(b"hello " * 1000)
        self.assertEqual(await self.service.queue.get(), b"hello " * 1000)
        await self.echoes(connection)

    async def test_server_closes(self) -> None:
        """A server that stops ends the connection in order."""
        factory = EchoServerFactory(reactor=self.reactor)
        connection = await self.connect(f"ws://127.0.0.1:{await self.listen(factory)}/")
        await factory.shutdown()
        await connection.ended
        self.assertEqual((connection.remoteCloseCode, connection.closed_cleanly), (1001, True))

    async def test_refusals(self) -> None:
        """Statuses of the server are told: an origin that is not allowed, a path that is not there."""
        port = await self.serve()
        failed = await self.fails(
            f"ws://127.0.0.1:{port}/", ConnectError.HTTP_STATUS, origin="https://evil.example"
        )
        self.assertEqual(failed.status, 403)

    async def test_nobody_listens(self) -> None:
        """A port that nobody listens on refuses."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            for host in ("127.0.0.1", "localhost"):
                failed = await self.fails(f"ws://{host}:{port}/", ConnectError.CONNECTION_REFUSED)
                self.assertEqual(failed.text, f"{host}:{port}: connection refused")

    async def test_tls(self) -> None:
        """wss echoes as ws does, and ends in order."""
        port = await self.serve(self.authority.issue_cert("localhost"))
        await self.echoes(await self.connect(f"wss://localhost:{port}/", tls=self.trusting()))

    async def test_tls_by_address(self) -> None:
        """A certificate may be for an address."""
        port = await self.serve(self.authority.issue_cert("127.0.0.1"))
        await self.echoes(await self.connect(f"wss://127.0.0.1:{port}/", tls=self.trusting("127.0.0.1")))

    async def test_tls_of_the_system(self) -> None:
        """Without a creator of its own, a client trusts the system's authorities, and checks the name."""
        port = await self.serve(self.authority.issue_cert("localhost"))
        file = self.mktemp()
        self.authority.cert_pem.write_to_path(file)
        with patch.dict(os.environ, {"SSL_CERT_FILE": file}):
            await self.echoes(await self.connect(f"wss://localhost:{port}/"))
            failed = await self.fails(f"wss://127.0.0.1:{port}/", ConnectError.TLS)
        self.assertIn("certificate is for another name", failed.text)

    async def test_unknown_authority(self) -> None:
        """A certificate of an authority that the system does not know is refused, and OpenSSL says why."""
        port = await self.serve(self.authority.issue_cert("localhost"))
        failed = await self.fails(f"wss://localhost:{port}/", ConnectError.TLS)
        self.assertIn("not accepted: unable to get local issuer certificate", failed.text)

    async def test_expired(self) -> None:
        """An expired certificate is refused, and OpenSSL says why."""
        expired = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        certificate = self.authority.issue_cert(
            "localhost", not_before=expired - dt.timedelta(days=1), not_after=expired
        )
        port = await self.serve(certificate)
        failed = await self.fails(f"wss://localhost:{port}/", ConnectError.TLS, tls=self.trusting())
        self.assertIn("not accepted: certificate has expired", failed.text)

    async def test_other_name(self) -> None:
        """A certificate for another name is refused."""
        port = await self.serve(self.authority.issue_cert("other.example"))
        failed = await self.fails(f"wss://localhost:{port}/", ConnectError.TLS, tls=self.trusting())
        self.assertIn("the server's certificate is for another name", failed.text)

    async def test_no_tls_there(self) -> None:
        """A server that answers without TLS is told."""

        class Plain(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        port = await self.listen(Factory.forProtocol(Plain))
        failed = await self.fails(f"wss://localhost:{port}/", ConnectError.TLS, tls=self.trusting())
        self.assertIn("TLS failed: wrong version number", failed.text)

    async def test_server_goes(self) -> None:
        """A server that ends the connection at once is told."""

        class Rude(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.loseConnection()

        port = await self.listen(Factory.forProtocol(Rude))
        failed = await self.fails(f"ws://localhost:{port}/", ConnectError.NETWORK)
        self.assertIn("before the opening handshake was answered", failed.text)

    async def test_proxy(self) -> None:
        """ws and wss go through a proxy that wants credentials, and end in order."""
        proxy = await self.listen(Factory.forProtocol(Proxy))
        there = HttpProxy(host="localhost", port=proxy, user="u", password="p")
        port = await self.serve()
        await self.echoes(await self.connect(f"ws://some.invalid:{port}/", proxy=there))
        port = await self.serve(self.authority.issue_cert("some.invalid"))
        tls = self.trusting("some.invalid")
        await self.echoes(await self.connect(f"wss://some.invalid:{port}/", proxy=there, tls=tls))

    async def test_proxy_wants_credentials(self) -> None:
        """A proxy's 407 is told with its challenge, with wrong credentials as well as without."""
        proxy = await self.listen(Factory.forProtocol(Proxy))
        for there in (
            HttpProxy(host="127.0.0.1", port=proxy),
            HttpProxy(host="127.0.0.1", port=proxy, user="u", password="wrong"),
        ):
            failed = await self.fails("ws://some.invalid/", ConnectError.PROXY_AUTHENTICATION, proxy=there)
            self.assertEqual((failed.status, failed.headers["proxy-authenticate"]), (407, 'Basic realm="x"'))
