"""What wsecho uses below public interfaces is there, and does what wsecho counts on."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trustme
from autobahn.twisted.websocket import WebSocketClientProtocol, WebSocketServerProtocol
from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols import tls
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.wire.harness import Certificates, Loopback, Socket, certificates
from wsecho.wire import beneath
from wsecho.wire.beneath import (
    ATTRIBUTES,
    BENEATH,
    OPENSSL,
    OPENSSL_BY_ADDRESS,
    ReactorTimer,
    SilentLogger,
    attributes_of_autobahn,
    can_learn_peer,
    certificate_problem,
    epoll_of,
    is_idle,
    missing,
    openssl_addresses,
    queued_bytes,
    send_now,
)


class MissingTests(SynchronousTestCase):
    """The list of names."""

    def pretend(self, row: Mapping[tuple[type, str], tuple[tuple[str, ...], str]]) -> None:
        """Let the list be this."""
        self.patch(beneath, "BENEATH", row)

    def test_nothing_is_missing(self) -> None:
        """This Autobahn has every name, with the arguments that wsecho counts on."""
        self.assertEqual(missing(), [])

    def test_reasons(self) -> None:
        """Each name has its reason, which begins with what wsecho does with it."""
        for name, (_, reason) in BENEATH.items():
            self.assertRegex(reason, r"\A(called|overridden)[:, ]", name)

    def test_gone(self) -> None:
        """A name that is gone is reported."""
        self.pretend({(WebSocketServerProtocol, "_gone"): (("self",), "called: never")})
        self.assertEqual(missing(), ["WebSocketServerProtocol._gone is gone"])

    def test_attribute_gone(self) -> None:
        """An attribute that is gone is reported."""
        self.patch(beneath, "ATTRIBUTES", ATTRIBUTES | {"isGone"})
        self.assertEqual(missing(), ["attribute isGone is gone"])

    def test_attribute_of_twisted_gone(self) -> None:
        """So is one of Twisted's or of pyOpenSSL's, and a function of OpenSSL's."""
        self.patch(beneath, "TWISTED", {tls: frozenset({"_is_gone"})})
        self.patch(beneath, "OPENSSL", frozenset({"SSL_is_gone"}))
        self.assertEqual(
            missing(),
            ["attribute _is_gone of twisted.protocols.tls is gone", "SSL_is_gone of OpenSSL is gone"],
        )

    def test_names_of_openssl_are_listed(self) -> None:
        """The list has every function of OpenSSL's that our TLS uses."""
        assert beneath.__file__ is not None
        source = Path(beneath.__file__).with_name("tls_transport.py").read_text(encoding="utf-8")
        used = {
            node.attr
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "openssl"
        }
        self.assertEqual(used - OPENSSL, set())
        self.assertIn("SSL_read", used)

    def test_attributes_are_listed(self) -> None:
        """The list has every attribute of Autobahn's that our protocols and factories name, but for its
        options."""
        options = {*WebSocketServerProtocol.CONFIG_ATTRS, *WebSocketClientProtocol.CONFIG_ATTRS}
        known = attributes_of_autobahn() - options
        assert beneath.__file__ is not None
        wire = Path(beneath.__file__).parent
        named = {
            node.attr
            for module in ("connection", "messages", "protocol", "client_protocol", "observed", "factory")
            for node in ast.walk(ast.parse((wire / f"{module}.py").read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
        }
        self.assertEqual(named & known - ATTRIBUTES, set())
        self.assertIn("current_frame", named & known)

    def test_other_arguments(self) -> None:
        """A name that takes other arguments is reported, with both."""
        self.pretend({(WebSocketServerProtocol, "_onOpen"): (("self", "more"), "called: never")})
        self.assertEqual(missing(), ["WebSocketServerProtocol._onOpen takes ('self',), not ('self', 'more')"])


class TimerTests(SynchronousTestCase):
    """The timer in place of Autobahn's batched one."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.calls: list[tuple[Any, ...]] = []

    def call_later(self, delay: float) -> Any:
        """Make a call of `calls.append` later."""
        return ReactorTimer(self.clock).call_later(
            delay, lambda *args, **more: self.calls.append((args, more)), 1, b=2
        )

    def test_call(self) -> None:
        """A call is made in its time, with its arguments."""
        self.call_later(0.25)
        self.clock.advance(0.249)
        self.assertEqual(self.calls, [])
        self.clock.advance(0.001)
        self.assertEqual(self.calls, [((1,), {"b": 2})])

    def test_cancel(self) -> None:
        """A call can be cancelled before it was made, after it was made, and twice."""
        early = self.call_later(1)
        early.cancel()
        early.cancel()
        late = self.call_later(1)
        self.clock.advance(1)
        late.cancel()
        self.assertEqual(len(self.calls), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AddressTests(SynchronousTestCase):
    """Where OpenSSL's functions are."""

    def test_found(self) -> None:
        """The bindings tell, as long as each function is what compiled code takes it for."""
        addresses = openssl_addresses()
        assert addresses is not None
        self.assertEqual(len(set(addresses)), len(OPENSSL_BY_ADDRESS))
        self.assertNotIn(0, addresses)

    def test_another_kind(self) -> None:
        """When one is something else, or is gone, there are none."""
        for name, kind in (("SSL_read", "int(*)(SSL *, char *, int)"), ("SSL_gone", "int(*)(SSL *)")):
            self.patch(beneath, "OPENSSL_BY_ADDRESS", {name: kind})
            self.assertIsNone(openssl_addresses())

    def test_other_bindings(self) -> None:
        """Nor are there when pyOpenSSL works with others, or they are elsewhere."""
        self.patch(beneath, "openssl_memory", object())
        self.assertIsNone(openssl_addresses())
        self.patch(beneath, "import_module", lambda name: import_module("no.such.module"))
        self.assertIsNone(openssl_addresses())


class IsIdleTests(SynchronousTestCase):
    """Whether a socket may be written to past its transport."""

    def test_states(self) -> None:
        """It may when it is open, nothing waits, and nobody has ended it or its half."""
        transport: Any = tcp.Server.__new__(tcp.Server)
        transport.connected = 1
        transport._tempDataLen = 0
        self.assertTrue(is_idle(transport))
        for name, value in (
            ("connected", 0),
            ("_tempDataLen", 1),
            ("dataBuffer", b"x"),
            ("disconnecting", 1),
            ("_writeDisconnecting", True),
        ):
            before = getattr(transport, name)
            setattr(transport, name, value)
            self.assertFalse(is_idle(transport), name)
            setattr(transport, name, before)


class EpollTests(SynchronousTestCase):
    """Where a reactor waits."""

    def reactor(self) -> Any:
        """One that waits in 7."""
        poller = SimpleNamespace(fileno=lambda: 7)
        return SimpleNamespace(_poller=poller, _newTimedCalls=[], _pendingTimedCalls=[])

    def test_known(self) -> None:
        """The descriptor of its epoll, when it tells what it waits for besides."""
        self.assertEqual(epoll_of(self.reactor()), 7)

    def test_others(self) -> None:
        """Another reactor, and one that keeps its calls in another way, have none."""
        self.assertEqual(epoll_of(Clock()), -1)
        for name in ("_poller", "_newTimedCalls", "_pendingTimedCalls"):
            reactor = self.reactor()
            delattr(reactor, name)
            self.assertEqual(epoll_of(reactor), -1, name)
        for name in ("_newTimedCalls", "_pendingTimedCalls"):
            reactor = self.reactor()
            setattr(reactor, name, {})
            self.assertEqual(epoll_of(reactor), -1, name)


class SendNowTests(SynchronousTestCase):
    """What is handed to the kernel past a transport."""

    def transport(self, kind: Any = tcp.Server) -> Any:
        """A transport of Twisted's without a socket, that notes what is sent."""
        transport: Any = kind.__new__(kind)
        transport.disconnecting = False
        self.sent: list[bytes] = []

        def send(data: bytes) -> int:
            self.sent.append(data)
            return len(data)

        transport.socket = SimpleNamespace(send=send)
        return transport

    def test_plain(self) -> None:
        """A server's TCP connection takes it."""
        self.assertEqual(send_now(self.transport(), b"data"), 4)
        self.assertEqual(self.sent, [b"data"])

    def test_others(self) -> None:
        """Whatever is something else, has become TLS, or is ending, takes nothing."""

        class Other(tcp.Server):
            pass

        over_tls, ending = self.transport(), self.transport()
        over_tls.TLS, ending.disconnecting = True, True
        for transport in (StringTransport(), self.transport(Other), over_tls, ending):
            self.assertEqual(send_now(transport, b"data"), 0)
        self.assertEqual(self.sent, [])

    def test_who_can_learn_their_peer(self) -> None:
        """All but a server's TCP connection may be wrappers."""
        self.assertFalse(can_learn_peer(self.transport()))
        self.assertTrue(can_learn_peer(StringTransport()))


class LoggerTests(SynchronousTestCase):
    """The logger in place of Autobahn's."""

    def test_silent(self) -> None:
        """Each of its methods takes anything and says nothing."""
        logger = SilentLogger()
        for name in ("trace", "debug", "info", "warn", "error", "critical", "failure", "emit"):
            self.assertIsNone(getattr(logger, name)("{a}", 1, a=object()), name)


class QueueTests(TestCase):
    """Bytes that wait in a transport."""

    timeout = 10
    size = 8 * 1024 * 1024

    def test_transport_without_a_queue(self) -> None:
        """A transport whose queue cannot be seen has none."""
        transport = StringTransport()
        transport.write(b"x")
        self.assertEqual(queued_bytes(transport), 0)
        self.assertEqual(queued_bytes(None), 0)

    async def queued(self, tls: Certificates | None) -> tuple[int, int]:
        """The queue of a server that wrote `size` bytes to a peer that reads later: before and after that."""
        accepted: Deferred[Any] = Deferred()

        class Server(Socket):
            def dataReceived(self, data: bytes) -> None:
                accepted.callback(self.transport)

        client = await Loopback(self, Factory.forProtocol(Server), tls).connect()
        client.transport.write(b"x")
        transport = await accepted
        client.transport.pauseProducing()
        transport.write(bytes(self.size))
        before = queued_bytes(transport)
        client.transport.resumeProducing()
        await client.until(lambda data: len(data) >= self.size)
        return before, queued_bytes(transport)

    async def test_tcp(self) -> None:
        """Of a TCP transport what the kernel has not taken is counted."""
        self.assertEqual(await self.queued(None), (self.size, 0))

    async def test_tls(self) -> None:
        """Over TLS what waits above and below it is counted."""
        before, after = await self.queued(certificates(self.mktemp()))
        self.assertGreaterEqual(before, self.size)
        self.assertLess(before, self.size * 1.01)
        self.assertEqual(after, 0)


class CertificateProblemTests(SynchronousTestCase):
    """What OpenSSL found wrong with a certificate."""

    def client(self, *, trusts: bool) -> SSL.Connection:
        """A client's connection after a handshake with a server of an authority that it trusts, or not."""
        authority = trustme.CA()
        server_context = SSL.Context(SSL.TLS_METHOD)
        authority.issue_cert("localhost").configure_cert(server_context)
        client_context = SSL.Context(SSL.TLS_METHOD)
        client_context.set_verify(SSL.VERIFY_PEER)
        if trusts:
            authority.configure_trust(client_context)
        server, client = SSL.Connection(server_context, None), SSL.Connection(client_context, None)
        server.set_accept_state()
        client.set_connect_state()
        for _ in range(3):
            for here, there in ((client, server), (server, client)):
                with contextlib.suppress(SSL.Error):
                    here.do_handshake()
                with contextlib.suppress(SSL.Error):
                    there.bio_write(here.bio_read(65536))
        return client

    def test_problem(self) -> None:
        """A certificate of an unknown authority is named as the problem, in OpenSSL's words."""
        self.assertIn(
            "unable to get local issuer certificate", certificate_problem(self.client(trusts=False))
        )

    def test_no_problem(self) -> None:
        """A certificate that is trusted is no problem."""
        self.assertEqual(certificate_problem(self.client(trusts=True)), "")

    def test_cannot_be_told(self) -> None:
        """Of what is no connection of pyOpenSSL nothing can be told."""
        for handle in (None, object()):
            self.assertEqual(certificate_problem(handle), "")
