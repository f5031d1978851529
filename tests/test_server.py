"""Tests for wsecho.server."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.internet.error import CannotListenError, ConnectionAborted
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.members import QUIET, MembersTestCase, Record
from tests.wire.harness import (
    CLOSE,
    TEXT,
    Socket,
    Transport,
    certificates,
    close,
    closing,
    frame,
    handshake,
    parse_answer,
)
from wsecho.policy.authenticators import CorsAuthenticator
from wsecho.policy.enumerations import CloseCode, SocketError, SocketState, SslMode
from wsecho.policy.origins import AllowedOrigins
from wsecho.policy.proxies import TrustedProxies
from wsecho.server import ListenError, WebSocketServer
from wsecho.services.echo import EchoService
from wsecho.tls.certificates import CertificateAndKey, CertificateError
from wsecho.tls.configuration import TlsConfiguration
from wsecho.websocket import WebSocket

the_reactor: Any = reactor
ORIGIN = "Origin: http://example.com"


class MakingTests(MembersTestCase):
    """What a server is made with."""

    def test_global_reactor(self) -> None:
        """Without a reactor, the global one is used."""
        self.assertIs(WebSocketServer().factory.reactor, the_reactor)

    def test_log_name(self) -> None:
        """Twisted's log lines name the class that a program knows."""
        self.assertEqual(self.server().factory.logPrefix(), "WebSocketServer")


class ConnectionTests(MembersTestCase):
    """Connections, from the request to the pending queue."""

    def setUp(self) -> None:
        super().setUp()
        self.web = self.server()
        self.record = Record(self.web)

    def test_new_connection(self) -> None:
        """A connection asks one question and emits one signal; it is taken once."""
        peer = self.visit(self.web).open("/", ORIGIN)
        (name, question), *rest = self.record.told
        self.assertEqual((name, question.origin), ("origin_authentication_required", "http://example.com"))
        self.assertEqual(rest, [("new_connection",)])
        self.assertTrue(self.web.has_pending_connections())
        socket = self.web.next_pending_connection()
        self.assertIsInstance(socket, WebSocket)
        self.assertFalse(self.web.has_pending_connections())
        self.assertIsNone(self.web.next_pending_connection())
        peer.send(close(1000))

    def test_first_come_first_served(self) -> None:
        """Connections are taken in the order in which they came."""
        for port in (1, 2, 3):
            self.visit(self.web, port=port).open()
        taken = [self.web.next_pending_connection() for _ in range(3)]
        self.assertEqual([one.peer_port for one in taken if one is not None], [1, 2, 3])

    def test_too_many_pending(self) -> None:
        """The connection beyond the limit gets 503, before its origin is asked; one that is taken makes
        room."""
        self.web.max_pending_connections = 2
        for _ in range(2):
            self.visit(self.web).open()
        self.record.clear()
        refused = self.visit(self.web)
        refused.send(handshake("/", ORIGIN))
        self.assertEqual(refused.answer.status, "HTTP/1.1 503 Service Unavailable")
        self.assertEqual(self.record.told, [("server_error", CloseCode.ABNORMAL_DISCONNECTION)])
        self.assertEqual(self.web.error, CloseCode.ABNORMAL_DISCONNECTION)
        self.assertEqual(self.web.error_string, "Too many pending connections.")
        self.web.next_pending_connection()
        self.visit(self.web).open()

    def test_too_many_decided_at_once(self) -> None:
        """Of connections that were decided on at the same time, those beyond the limit get 1013."""
        self.web.max_pending_connections = 1
        answers: Deferred[None] = Deferred()

        async def slot(question: CorsAuthenticator) -> None:
            await answers

        self.web.origin_authentication_required.connect(slot)
        first, second = self.visit(self.web), self.visit(self.web)
        first.send(handshake())
        second.send(handshake())
        self.record.clear()
        answers.callback(None)
        self.assertEqual(self.record.names, ["new_connection", "server_error"])
        self.assertTrue(second.answer.rest.endswith(b"\x03\xf5too many connections are pending"))
        self.assertEqual(second.answer.rest[0], 0x80 | CLOSE)

    def test_left_while_pending(self) -> None:
        """A connection that ends before it is taken takes no place."""
        peer = self.visit(self.web).open()
        other = self.visit(self.web, port=2).open()
        peer.leave()
        taken = self.web.next_pending_connection()
        assert taken is not None
        self.assertEqual(taken.peer_port, 2)
        self.assertFalse(self.web.has_pending_connections())
        other.leave()

    def test_other_slots_of_the_end(self) -> None:
        """One that was taken and ends leaves the queue alone."""
        self.visit(self.web).open()
        taken = self.web.next_pending_connection()
        self.visit(self.web, port=2).open()
        assert taken is not None
        taken.abort()
        self.turn()
        self.assertTrue(self.web.has_pending_connections())

    def port(self) -> Any:
        """A port, so that the server listens."""
        return Port()

    def test_iteration(self) -> None:
        """``async for`` gives connections as they come, to as many as iterate."""
        got: list[int] = []

        async def program() -> None:
            got.append((await anext(self.web)).peer_port)

        self.web._ports.append(self.port())
        self.visit(self.web, port=1).open()
        first = Deferred.fromCoroutine(program())
        second, third = Deferred.fromCoroutine(program()), Deferred.fromCoroutine(program())
        self.successResultOf(first)
        self.visit(self.web, port=2).open()
        self.successResultOf(second)
        third.cancel()
        self.failureResultOf(third, CancelledError)
        self.visit(self.web, port=3).open()
        self.successResultOf(Deferred.fromCoroutine(program()))
        self.assertEqual(got, [1, 2, 3])

    def test_iteration_ends(self) -> None:
        """It ends when the server closes."""

        async def program() -> int:
            return len([socket async for socket in self.web])

        self.web._ports.append(self.port())
        running = Deferred.fromCoroutine(program())
        self.visit(self.web).open()
        self.assertNoResult(running)
        self.web.close()
        self.assertEqual(self.successResultOf(running), 1)
        self.turn()

    def test_refusals(self) -> None:
        """Each refusal sets the error and emits server_error: 1002 for a bad request, 1009 for a head that is
        too large."""
        for head, code, text in (
            (b"nonsense\r\n\r\n", CloseCode.PROTOCOL_ERROR, "malformed request line"),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                CloseCode.PROTOCOL_ERROR,
                "this path is for WebSocket clients",
            ),
            (
                handshake().replace(b"Version: 13", b"Version: 8"),
                CloseCode.PROTOCOL_ERROR,
                "unsupported Sec-WebSocket-Version",
            ),
            (
                b"GET / HTTP/1.1\r\nX: " + bytes(100_000),
                CloseCode.TOO_MUCH_DATA,
                "the request head is larger than max-head-size",
            ),
        ):
            self.record.clear()
            self.visit(self.web).send(head)
            self.assertEqual(self.record.told, [("server_error", code)])
            self.assertEqual((self.web.error, self.web.error_string), (code, text))

    def test_same_refusal_twice(self) -> None:
        """Each is told, not only a change."""
        for _ in range(2):
            self.visit(self.web).send(b"nonsense\r\n\r\n")
        self.assertEqual(self.record.count("server_error"), 2)

    def test_no_error_of_the_server(self) -> None:
        """A peer that is too slow is none."""
        peer = self.visit(self.web)
        peer.send(b"GET / HT")
        self.reactor.advance(10)
        self.assertEqual(peer.answer.status, "HTTP/1.1 408 Request Timeout")
        self.assertEqual(self.record.told, [])

    def test_subprotocol(self) -> None:
        """The client's first subprotocol that is supported is spoken."""
        self.web.supported_subprotocols = ["chat", "superchat"]
        peer = self.visit(self.web)
        peer.send(handshake("/", "Sec-WebSocket-Protocol: soap, superchat, chat"))
        self.assertEqual(peer.answer.headers["sec-websocket-protocol"], "superchat")

    def test_services(self) -> None:
        """With a route, its services take connections themselves: no queue, no limit, no signal for each."""
        self.web = self.server(route={"/echo": EchoService()}.get)
        self.web.max_pending_connections = 0
        record = Record(self.web, "new_connection")
        peer = self.visit(self.web).open("/echo")
        peer.send(frame(TEXT, b"hello"))
        self.assertEqual(peer.messages(), ["hello"])
        self.assertEqual(record.told, [])
        self.assertFalse(self.web.has_pending_connections())
        other = self.visit(self.web)
        other.send(handshake("/other"))
        self.assertEqual(other.answer.status, "HTTP/1.1 404 Not Found")

    def test_handle_connection(self) -> None:
        """A connection that was accepted elsewhere is upgraded, with the bytes that were read of it."""
        for read, later in ((b"", handshake()), (handshake()[:20], handshake()[20:])):
            transport = Transport(self.reactor)
            self.web.handle_connection(transport, read)
            protocol = transport.protocol
            protocol.dataReceived(later)
            self.assertEqual(parse_answer(transport.value()).status, "HTTP/1.1 101 Switching Protocols")
            socket = self.web.next_pending_connection()
            assert socket is not None
            protocol.dataReceived(frame(TEXT, b"hello"))
            self.assertEqual(socket._inbox.take(), "hello")
            transport.end(ConnectionAborted())

    def test_handle_connection_times_out(self) -> None:
        """The handshake timeout holds for it as well."""
        transport = Transport(self.reactor)
        self.web.handle_connection(transport)
        self.reactor.advance(10)
        self.assertIn("abortConnection", transport.done)

    def test_handle_connection_too_late(self) -> None:
        """After shutdown it is dropped."""
        self.web.shutdown()
        self.turn()
        transport = Transport(self.reactor)
        self.web.handle_connection(transport)
        self.assertEqual(transport.done, ["abortConnection"])

    def test_intake(self) -> None:
        """Whoever waits for the decision has no messages yet."""
        intake: Any = self.web.factory.route("/")
        self.assertRaises(NotImplementedError, intake.message_arrived, None, b"", False)


class OriginTests(MembersTestCase):
    """The question about the origin."""

    def setUp(self) -> None:
        super().setUp()
        self.web = self.server()

    def status(self, *headers: str) -> str:
        """The status of the answer to a request."""
        peer = self.visit(self.web)
        peer.send(handshake("/", *headers))
        return peer.answer.status[9:]

    def test_nobody_is_asked(self) -> None:
        """With no slot every origin is accepted, as in Qt."""
        for headers in ((), (ORIGIN,), ("Origin: null",), ("Origin: qt-project.org",), ("Origin:",)):
            self.assertEqual(self.status(*headers), "101 Switching Protocols")

    def test_asked(self) -> None:
        """A slot is asked about every valid request, also without Origin, and with one that is no URL."""
        record = Record(self.web, "origin_authentication_required")
        for headers in ((), (ORIGIN,), ("Origin: null",), ("Origin: qt-project.org",)):
            self.status(*headers)
        self.assertEqual(
            [question.origin for _, question in record.told],
            ["", "http://example.com", "null", "qt-project.org"],
        )

    def test_refused(self) -> None:
        """What a slot refuses gets 403, and is told as 1008; no new connection."""
        record = Record(self.web, "server_error", "new_connection")
        self.web.origin_authentication_required.connect(lambda question: question.set_allowed(False))
        self.assertEqual(self.status(ORIGIN), "403 Forbidden")
        self.assertEqual(record.told, [("server_error", CloseCode.POLICY_VIOLATED)])
        self.assertEqual(self.web.error_string, "the origin is not allowed")
        self.assertFalse([line for line in self.log if "--allow-origin" in line])

    def test_waits(self) -> None:
        """A slot may take its time."""
        answer: Deferred[bool] = Deferred()

        async def slot(question: CorsAuthenticator) -> None:
            question.allowed = await answer

        self.web.origin_authentication_required.connect(slot)
        peer = self.visit(self.web)
        peer.send(handshake())
        self.assertEqual(peer.transport.value(), b"")
        answer.callback(False)
        self.assertEqual(peer.answer.status, "HTTP/1.1 403 Forbidden")

    def test_client_leaves_meanwhile(self) -> None:
        """When the client leaves, the slot that is waited for is cancelled, and nothing is logged."""
        cancelled: list[object] = []
        answer: Deferred[None] = Deferred(cancelled.append)

        async def slot(question: CorsAuthenticator) -> None:
            await answer

        self.web.origin_authentication_required.connect(slot)
        peer = self.visit(self.web)
        peer.send(handshake())
        self.assertEqual(cancelled, [])
        peer.leave()
        self.assertEqual(cancelled, [answer])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_slot_that_raises(self) -> None:
        """A slot that raises has not said yes: the connection is refused."""
        self.web.origin_authentication_required.connect(lambda question: 1 // 0)
        self.assertEqual(self.status(ORIGIN), "500 Internal Server Error")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, RuntimeError)), 2)

    def test_a_policy_of_one_s_own(self) -> None:
        """With a policy among the options, that one is asked, and the log says what would admit an origin."""
        self.web = self.server(origins=AllowedOrigins())
        record = Record(self.web, "origin_authentication_required")
        self.assertEqual(self.status(ORIGIN.replace("example", "other")), "403 Forbidden")
        self.assertEqual(record.told, [])
        self.assertTrue([line for line in self.log if "--allow-origin" in line])


class Port:
    """A port that stops at once."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def getHost(self) -> Any:
        raise NotImplementedError

    def stopListening(self) -> None:
        self.calls.append("stop")

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")


@implementer(IStreamServerEndpoint)
class Endpoint:
    """Listens when the test says."""

    def __init__(self) -> None:
        self.listening: Deferred[Any] = Deferred()

    def listen(self, protocolFactory: Any) -> Deferred[Any]:
        return self.listening


class ListenTests(MembersTestCase):
    """Beginning and ending to listen, without sockets."""

    def setUp(self) -> None:
        super().setUp()
        self.web = self.server()
        self.record = Record(self.web)
        self.endpoint = Endpoint()
        self.port = Port()

    def test_endpoint(self) -> None:
        """An endpoint may take its time."""
        listening = self.web.listen(self.endpoint)
        self.assertNoResult(listening)
        self.assertFalse(self.web.is_listening())
        self.endpoint.listening.callback(self.port)
        self.assertIs(self.successResultOf(listening), self.web)
        self.assertTrue(self.web.is_listening())
        self.assertEqual(self.record.told, [])

    def test_ports_of_somebody_else(self) -> None:
        """Somebody else may open the ports, several of them, and is given the factory for it."""
        given: list[Any] = []
        opening: Deferred[Any] = Deferred()

        def open_ports(factory: Any) -> Deferred[Any]:
            given.append(factory)
            return opening

        listening = self.web.listen_through(open_ports)
        error = self.failureResultOf(self.web.listen_through(open_ports), ListenError)
        self.assertEqual(str(error.value), "the server is listening already")
        other = Port()
        opening.callback([self.port, other])
        self.assertIs(self.successResultOf(listening), self.web)
        self.assertEqual((given, self.web.ports), ([self.web.factory], (self.port, other)))
        self.successResultOf(self.web.close())
        self.assertEqual((self.port.calls, other.calls, self.web.ports), (["stop"], ["stop"], ()))
        self.listen()
        self.turn()

    def test_ports_that_cannot_be_opened(self) -> None:
        """What kept somebody else from opening the ports is the Deferred's failure and the server's error."""
        opening: Deferred[Any] = Deferred()
        listening = self.web.listen_through(lambda factory: opening)
        opening.errback(ZeroDivisionError("oops"))
        self.failureResultOf(listening, ZeroDivisionError)
        self.assertEqual((self.web.error, self.web.error_string), (1006, "oops"))
        self.assertFalse(self.web.is_listening())
        self.listen()

    def test_ports_called_off(self) -> None:
        """Cancelling calls off who opens the ports."""
        opening: Deferred[Any] = Deferred()
        listening = self.web.listen_through(lambda factory: opening)
        listening.cancel()
        self.failureResultOf(listening, CancelledError)
        self.assertTrue(opening.called)
        self.assertFalse(self.web.is_listening())

    def test_fails(self) -> None:
        """A failure sets the error, emits server_error once, and fails the Deferred with the same text."""
        self.record = Record(self.web, "new_connection", "closed", "accept_error")
        codes: list[CloseCode] = []
        self.web.server_error.connect(codes.append)
        listening = self.web.listen(self.endpoint)
        self.endpoint.listening.errback(
            CannotListenError("1.2.3.4", 80, OSError(errno.EADDRNOTAVAIL, "The address is not available"))
        )
        error = self.failureResultOf(listening, ListenError)
        self.assertEqual(str(error.value), "cannot listen: The address is not available")
        self.assertEqual(self.web.error_string, "cannot listen: The address is not available")
        self.assertEqual((self.web.error, codes), (1006, [1006]))
        self.assertEqual((self.web.is_listening(), self.record.told), (False, []))
        self.turn()

    def test_failure_counts_as_handled(self) -> None:
        """Who listens to server_error need not ask the Deferred."""
        listening = self.web.listen(self.endpoint)
        self.endpoint.listening.errback(OSError(errno.EACCES, "Permission denied"))
        self.turn()
        self.assertIs(self.successResultOf(listening), self.web)

    def test_failure_that_nobody_hears(self) -> None:
        """Without a slot the failure stays the Deferred's."""
        self.web.server_error.disconnect()
        listening = self.web.listen(self.endpoint)
        self.endpoint.listening.errback(OSError(errno.EACCES, "Permission denied"))
        self.turn()
        self.failureResultOf(listening, ListenError)

    def test_again_after_a_failure(self) -> None:
        """After a failure it can be tried again."""
        self.web.listen(self.endpoint).addErrback(lambda _: None)
        self.endpoint.listening.errback(OSError(errno.EACCES, "Permission denied"))
        other = Endpoint()
        listening = self.web.listen(other)
        other.listening.callback(self.port)
        self.successResultOf(listening)
        self.turn()

    def test_twice(self) -> None:
        """A server that listens, or is about to, does not begin again."""
        self.web.listen(self.endpoint)
        for _ in range(2):
            second = self.web.listen("127.0.0.1")
            error = self.failureResultOf(second, ListenError)
            self.assertEqual(str(error.value), "the server is listening already")
            if not self.endpoint.listening.called:
                self.endpoint.listening.callback(self.port)
        self.assertTrue(self.web.is_listening())
        self.turn()

    def test_secure_without_certificate(self) -> None:
        """A secure server without certificate does not listen."""
        server = self.server("", SslMode.SECURE_MODE)
        error = self.failureResultOf(server.listen("127.0.0.1"), ListenError)
        self.assertEqual(str(error.value), "a secure server needs ssl_configuration")
        self.assertFalse(server.set_socket_descriptor(0))
        self.assertEqual(server.error_string, "a secure server needs ssl_configuration")

    def test_certificates_that_cannot_be_used(self) -> None:
        """A configuration whose files cannot be used is why the server does not listen."""
        folder = self.mktemp()
        certificates(folder)
        key = os.path.join(folder, "server-key.pem")
        pair = CertificateAndKey(os.path.join(folder, "server.pem"), key)
        server = self.server("", SslMode.SECURE_MODE)
        server.ssl_configuration = TlsConfiguration((pair,))
        os.remove(key)
        error = self.failureResultOf(server.listen(self.endpoint), ListenError)
        self.assertIn("server-key.pem", str(error.value))
        self.assertEqual(server.error_string, str(error.value))
        self.turn()

    def test_reload_tls(self) -> None:
        """Certificates are read again, or taken from the configuration that was set meanwhile."""
        folder = self.mktemp()
        made = certificates(folder)
        key = os.path.join(folder, "server-key.pem")
        pair = CertificateAndKey(os.path.join(folder, "server.pem"), key)
        server = self.server("", SslMode.SECURE_MODE)
        error = self.assertRaises(RuntimeError, server.reload_tls)
        self.assertIn("there is no TLS to reload", str(error))
        for configuration in (TlsConfiguration((pair,)), made.server):
            server.ssl_configuration = configuration
            endpoint = Endpoint()
            listening = server.listen(endpoint)
            endpoint.listening.callback(Port())
            self.successResultOf(listening)
            server.reload_tls()
            os.rename(key, "aside")
            self.assertRaises(CertificateError, server.reload_tls)
            os.rename("aside", key)
            self.successResultOf(server.close())
        self.turn()

    def test_wrong_arguments(self) -> None:
        """Wrong arguments raise at the call, and are no error of the server."""
        wrong: Any = None
        self.assertRaises(TypeError, self.web.listen, wrong)
        self.assertRaises(ValueError, self.web.listen, "localhost")
        self.assertRaises(ValueError, self.web.listen, "127.0.0.1", 65536)
        for descriptor in ("3", True):
            wrong = descriptor
            error = self.assertRaises(TypeError, self.web.set_socket_descriptor, wrong)
            self.assertIn("descriptor must be an int", str(error))
        self.assertEqual(self.record.told, [])

    def test_closed_meanwhile(self) -> None:
        """Closing gives up an endpoint that is not ready yet."""
        self.record = Record(self.web, "closed")
        listening = self.web.listen(self.endpoint)
        self.web.close()
        error = self.failureResultOf(listening, ListenError)
        self.assertEqual(str(error.value), "cannot listen: the server was closed")
        self.turn()
        self.assertEqual(self.record.told, [("closed",)])

    def test_cancelled(self) -> None:
        """So does cancelling the Deferred; when it is over, that does nothing."""
        listening = self.web.listen(self.endpoint)
        listening.cancel()
        self.failureResultOf(listening, ListenError)
        listening.cancel()
        self.turn()

    def listen(self) -> None:
        """Listen on the test's port."""
        listening = self.web.listen(self.endpoint)
        self.endpoint.listening.callback(self.port)
        self.assertIs(self.successResultOf(listening), self.web)

    def test_close(self) -> None:
        """The port is stopped, pending connections get 1001, taken ones go on, and closed is told later."""
        self.listen()
        taken_peer = self.visit(self.web).open()
        taken = self.web.next_pending_connection()
        pending = self.visit(self.web).open()
        self.record.clear()
        self.successResultOf(self.web.close())
        self.assertEqual((self.port.calls, self.web.is_listening()), (["stop"], False))
        self.assertEqual(pending.frames, [closing(1001, b"Server closed.")])
        self.assertFalse(self.web.has_pending_connections())
        self.assertEqual(self.record.told, [])
        self.turn()
        self.assertEqual(self.record.told, [("closed",)])
        assert taken is not None
        taken.send_text_message("still here")
        self.assertEqual(taken_peer.messages(), ["still here"])

    def test_closed_without_listening(self) -> None:
        """closed is told also by a server that never listened, each time."""
        for _ in range(2):
            self.web.close()
        self.turn()
        self.assertEqual(self.record.told, [("closed",), ("closed",)])

    def test_listens_again(self) -> None:
        """A server that was closed, or shut down, listens again, and takes connections."""
        self.listen()
        self.web.close()
        self.turn()
        self.endpoint = Endpoint()
        self.listen()
        self.web.shutdown()
        self.turn()
        self.endpoint = Endpoint()
        self.listen()
        self.visit(self.web).open()
        self.assertTrue(self.web.has_pending_connections())

    def test_shutdown(self) -> None:
        """Every connection gets 1001; it is done when they have ended."""
        self.listen()
        socket, peer = self.pair(self.web)
        down = self.web.shutdown()
        self.assertEqual(peer.frames, [closing(1001, b"server is stopping")])
        self.assertEqual(self.port.calls, ["stop"])
        self.assertNoResult(down)
        peer.send(close(1001))
        peer.leave()
        self.assertIsNone(self.successResultOf(down))
        self.assertEqual(socket.close_code, 1001)
        self.turn()

    def test_drain(self) -> None:
        """With a timeout and spread, taken connections are closed one after the other, pending ones at once;
        what is left in the end is dropped."""
        self.listen()
        first, first_peer = self.pair(self.web)
        second, second_peer = self.pair(self.web)
        pending = self.visit(self.web).open()
        down = self.web.shutdown(timeout=8, spread=True)
        self.assertEqual(self.port.calls, ["stop"])
        self.assertEqual(pending.frames, [closing(1001, b"Server closed.")])
        self.assertEqual(first_peer.frames, [closing(1001, b"server is stopping")])
        second.send_text_message("still here")
        self.assertEqual(second_peer.messages(), ["still here"])
        self.clock.advance(2)
        self.assertEqual(second_peer.frames[1:], [closing(1001, b"server is stopping")])
        self.clock.advance(5.9)
        self.assertNoResult(down)
        self.clock.advance(0.1)
        self.turn()
        self.assertIsNone(self.successResultOf(down))
        self.assertEqual([first.state, second.state], [SocketState.UNCONNECTED] * 2)

    def test_drop(self) -> None:
        """With a timeout of 0 every connection is dropped at once."""
        self.listen()
        socket, peer = self.pair(self.web)
        down = self.web.shutdown(timeout=0)
        self.assertEqual(peer.frames, [])
        self.turn()
        self.assertIsNone(self.successResultOf(down))
        self.assertEqual(socket.close_code, CloseCode.ABNORMAL_DISCONNECTION)

    def test_wrong_shutdown(self) -> None:
        """A shutdown with wrong arguments closes nothing."""
        self.listen()
        self.assertRaises(ValueError, self.web.shutdown, spread=True)
        self.assertRaises(ValueError, self.web.shutdown, timeout=-1)
        wrong: Any = "10s"
        self.assertRaises(TypeError, self.web.shutdown, timeout=wrong)
        self.assertEqual((self.port.calls, self.web.is_listening()), ([], True))

    def test_context(self) -> None:
        """Leaving ``async with`` shuts down."""
        body: Deferred[None] = Deferred()

        async def program() -> None:
            async with self.web as entered:
                self.assertIs(entered, self.web)
                await body

        self.listen()
        _, peer = self.pair(self.web)
        running = Deferred.fromCoroutine(program())
        self.assertTrue(self.web.is_listening())
        body.callback(None)
        self.assertEqual(peer.frames[0].opcode, CLOSE)
        peer.leave()
        self.successResultOf(running)
        self.turn()

    def test_pause(self) -> None:
        """Accepting is paused and resumed once each, and a pause holds for ports that come later."""
        self.listen()
        for call in (
            self.web.pause_accepting,
            self.web.pause_accepting,
            self.web.resume_accepting,
            self.web.resume_accepting,
        ):
            call()
        self.assertEqual(self.port.calls, ["pause", "resume"])
        self.assertTrue(self.web.is_listening())
        self.web.pause_accepting()
        self.web.close()
        self.endpoint, self.port = Endpoint(), Port()
        self.listen()
        self.assertEqual(self.port.calls, ["pause"])
        self.turn()

    def test_accept_error(self) -> None:
        """A connection that cannot be accepted is told, by whose fault."""

        class Failing:
            def accept(self) -> None:
                raise OSError(number, "no")

        port: Any = self.port
        port.socket = Failing()
        self.listen()
        for number, error in (  # noqa: B007 - read by Failing
            (errno.EMFILE, SocketError.SOCKET_RESOURCE),
            (errno.ENOMEM, SocketError.SOCKET_RESOURCE),
            (errno.ECONNABORTED, SocketError.NETWORK),
        ):
            self.record.clear()
            self.assertRaises(OSError, port.socket.accept)
            self.turn()
            self.assertEqual(self.record.told, [("accept_error", error)])
        self.assertTrue(self.web.is_listening())
        self.clock.advance(1)
        self.assertEqual(port.calls, ["pause", "resume"])

    def test_rest_and_pause(self) -> None:
        """A port that rests, since it could not accept, does not end a pause of the program's."""

        class Failing:
            def accept(self) -> None:
                raise OSError(errno.ENFILE, "no")

        port: Any = self.port
        port.socket = Failing()
        self.listen()
        for _ in range(2):
            self.assertRaises(OSError, port.socket.accept)
        self.web.pause_accepting()
        self.clock.advance(1)
        self.assertEqual(port.calls, ["pause", "pause"])
        self.web.resume_accepting()
        self.assertEqual(port.calls, ["pause", "pause", "resume"])


class LoopbackTests(TestCase):
    """Listening on real sockets."""

    def server(self, *arguments: Any, **options: Any) -> WebSocketServer:
        """A server that ends with the test."""
        options.setdefault("settings", QUIET)
        server = WebSocketServer(*arguments, **options)
        self.addCleanup(server.shutdown)
        return server

    async def visit(self, server: WebSocketServer, host: str = "127.0.0.1") -> Any:
        """Connect and do the opening handshake."""
        endpoint: Any = TCP4ClientEndpoint(the_reactor, host, server.server_port)
        client = await endpoint.connect(Factory.forProtocol(Socket))
        self.addCleanup(self.end, client)
        client.transport.write(handshake())
        await client.until(lambda data: b"\r\n\r\n" in data)
        return client

    def end(self, client: Any) -> Deferred[Exception]:
        """End a client."""
        client.transport.abortConnection()
        return client.ended  # type: ignore[no-any-return]

    async def test_address(self) -> None:
        """On one address; where it listens is known until it is closed."""
        server = self.server()
        self.assertIs(await server.listen("127.0.0.1"), server)
        self.assertTrue(server.is_listening())
        self.assertEqual(server.server_address, "127.0.0.1")
        self.assertEqual(server.server_url, f"ws://127.0.0.1:{server.server_port}")
        self.assertGreater(server.socket_descriptor, 2)
        await self.visit(server)
        await server.close()
        self.assertEqual((server.server_address, server.server_port, server.server_url), ("", 0, ""))
        self.assertEqual(server.socket_descriptor, -1)

    async def test_any(self) -> None:
        """On all interfaces, by one socket for IPv4 and IPv6; the URL is one that can be opened."""
        server = self.server()
        await server.listen()
        self.assertEqual(server.server_address, "::")
        self.assertEqual(server.server_url, f"ws://127.0.0.1:{server.server_port}")
        await self.visit(server)
        with socket.create_connection(("::1", server.server_port)):
            pass

    async def test_any_ipv4(self) -> None:
        """The same for IPv4 alone."""
        server = self.server()
        await server.listen("0.0.0.0")
        self.assertEqual(server.server_url, f"ws://127.0.0.1:{server.server_port}")

    async def test_ipv6(self) -> None:
        """An IPv6 address stands in brackets in the URL."""
        server = self.server()
        await server.listen("::1")
        self.assertEqual(server.server_url, f"ws://[::1]:{server.server_port}")

    async def test_taken(self) -> None:
        """A port that somebody has: what, where and why in one line."""
        first, second = self.server(), self.server()
        await first.listen("127.0.0.1")
        with self.assertRaises(ListenError) as raised:
            await second.listen("127.0.0.1", first.server_port)
        self.assertEqual(
            str(raised.exception),
            f"cannot listen on 127.0.0.1:{first.server_port}: {os.strerror(errno.EADDRINUSE)}",
        )

    async def test_taken_for_ipv6_only(self) -> None:
        """Where somebody has the port for IPv6, all interfaces are not quietly IPv4's alone."""
        with socket.socket(socket.AF_INET6) as other:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            other.bind(("::", 0))
            other.listen()
            server = self.server()
            with self.assertRaises(ListenError):
                await server.listen("any", other.getsockname()[1])

    async def test_endpoint(self) -> None:
        """On an endpoint, which has its own port."""
        server = self.server()
        await server.listen(TCP4ServerEndpoint(the_reactor, 0, interface="127.0.0.1"))
        await self.visit(server)

    async def test_unix(self) -> None:
        """On a unix socket, which has a path and no port."""
        server = self.server()
        path = os.path.relpath(self.mktemp())
        await server.listen(UNIXServerEndpoint(the_reactor, path))
        self.assertEqual(os.path.relpath(server.server_address), path)
        self.assertEqual((server.server_port, server.server_url), (0, ""))

    async def test_secure(self) -> None:
        """A secure server speaks TLS, and says so in its URL and its sockets'."""
        tls = certificates(self.mktemp())
        server = self.server("", SslMode.SECURE_MODE)
        server.ssl_configuration = tls.server
        await server.listen("127.0.0.1")
        self.assertEqual(server.server_url, f"wss://127.0.0.1:{server.server_port}")
        client = WebSocket(settings=QUIET)
        client.ssl_configuration = tls.client
        async with await client.open(server.server_url):
            taken = await anext(server)
            self.assertTrue(taken.request_url.startswith("wss://127.0.0.1"))

    async def test_socket_descriptor(self) -> None:
        """On a socket that listens already; the one who gave it may close his descriptor."""
        server = self.server()
        with socket.create_server(("127.0.0.1", 0)) as given:
            self.assertTrue(server.set_socket_descriptor(given.fileno()))
            self.assertEqual(server.server_port, given.getsockname()[1])
            self.assertNotEqual(server.socket_descriptor, given.fileno())
            self.assertFalse(server.set_socket_descriptor(given.fileno()))
            self.assertEqual(server.error_string, "the server is listening already")
        await self.visit(server)

    async def test_wrong_descriptor(self) -> None:
        """What is no listening socket is refused, with the reason."""
        server = self.server()
        record = Record(server, "server_error")
        self.assertFalse(server.set_socket_descriptor(-2))
        self.assertEqual(server.error_string, f"cannot listen on descriptor -2: {os.strerror(errno.EBADF)}")
        self.assertEqual(record.told, [("server_error", CloseCode.ABNORMAL_DISCONNECTION)])
        self.assertEqual(server.socket_descriptor, -1)

    async def test_secure_descriptor(self) -> None:
        """A secure server speaks TLS on it."""
        tls = certificates(self.mktemp())
        server = self.server("", SslMode.SECURE_MODE)
        server.ssl_configuration = tls.server
        with socket.create_server(("127.0.0.1", 0)) as given:
            self.assertTrue(server.set_socket_descriptor(given.fileno()))
        client = WebSocket(settings=QUIET)
        client.ssl_configuration = tls.client
        async with await client.open(server.server_url):
            self.assertTrue((await anext(server)).is_valid())

    async def test_proxy(self) -> None:
        """A trusted proxy's PROXY header says where its client is, on an address and on a descriptor."""
        for inherited in (False, True):
            server = self.server()
            server.proxy = TrustedProxies(["127.0.0.1"])
            if inherited:
                with socket.create_server(("127.0.0.1", 0)) as given:
                    server.set_socket_descriptor(given.fileno())
            else:
                await server.listen("127.0.0.1")
            endpoint: Any = TCP4ClientEndpoint(the_reactor, "127.0.0.1", server.server_port)
            client = await endpoint.connect(Factory.forProtocol(Socket))
            self.addCleanup(self.end, client)
            client.transport.write(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n" + handshake())
            taken = await anext(server)
            self.assertEqual((taken.peer_address, taken.peer_port), ("192.0.2.7", 4711))

    async def test_pause(self) -> None:
        """While accepting is paused, connections wait in the kernel, and are served afterwards."""
        server = self.server()
        record = Record(server, "new_connection")
        await server.listen("127.0.0.1")
        server.pause_accepting()
        endpoint: Any = TCP4ClientEndpoint(the_reactor, "127.0.0.1", server.server_port)
        client = await endpoint.connect(Factory.forProtocol(Socket))
        self.addCleanup(self.end, client)
        client.transport.write(handshake())
        self.assertTrue(server.is_listening())
        self.assertEqual((client.received, record.told), (b"", []))
        server.resume_accepting()
        await client.until(lambda data: b"\r\n\r\n" in data)
        self.assertEqual(record.told, [("new_connection",)])
