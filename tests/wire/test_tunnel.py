"""Tests for the way through an HTTP proxy."""

from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.wire.harness import Transport
from wsecho.wire.failures import ConnectError, ConnectFailed
from wsecho.wire.response import ResponseReader
from wsecho.wire.tunnel import HttpProxy, TunnelEndpoint

PROXY = HttpProxy(host="proxy.example", port=3128)
TARGET = "example.com:443"


class ProxyTests(SynchronousTestCase):
    """A proxy as a value."""

    def test_authority(self) -> None:
        """The authority has brackets around IPv6."""
        self.assertEqual(PROXY.authority, "proxy.example:3128")
        self.assertEqual(HttpProxy(host="::1", port=8080).authority, "[::1]:8080")

    def test_authorization(self) -> None:
        """Credentials are those of RFC 7617 section 2, in UTF-8 as its section 2.1 has them; without a user
        there are none."""
        self.assertEqual(PROXY.authorization, "")
        proxy = HttpProxy(host="p", port=1, user="Aladdin", password="open sesame")
        self.assertEqual(proxy.authorization, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        proxy = HttpProxy(host="p", port=1, user="test", password="123£")
        self.assertEqual(proxy.authorization, "Basic dGVzdDoxMjPCow==")
        self.assertEqual(HttpProxy(host="p", port=1, user="test").authorization, "Basic dGVzdDo=")

    def test_repr(self) -> None:
        """The password is not shown."""
        self.assertNotIn("secret", repr(HttpProxy(host="p", port=1, user="u", password="secret")))

    def refused(self, argument: str, **options: Any) -> None:
        text = str(self.assertRaises(ValueError, HttpProxy, **{"host": "p", "port": 1} | options))
        self.assertTrue(text.startswith(f"{argument}: "), text)
        self.assertEqual(len(text.splitlines()), 1)

    def test_hosts(self) -> None:
        """A host that is no name or address is refused."""
        for host in ("", "a b", "[::1]", "a\r\nb", "a/", None, 7):
            self.refused("host", host=host)

    def test_ports(self) -> None:
        """A port that is none is refused."""
        for port in (0, 65536, -1, "80", None, True, 1.0):
            self.refused("port", port=port)

    def test_credentials(self) -> None:
        """Control characters, half characters, a colon in the user, and a password without user are
        refused."""
        self.refused("user", user="a:b")
        self.refused("user", password="x")
        for text in ("a\nb", "\x7f", "\ud800", b"x", 1):
            self.refused("user", user=text)
            self.refused("password", user="u", password=text)


class Inside(Protocol):
    """What goes through the tunnel.

    :ivar received: the bytes that came
    :ivar lost: the reason of the end
    """

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"inside")

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


@implementer(IStreamClientEndpoint)
class ToProxy:
    """Leads to a proxy that the test plays.

    :ivar connecting: fires when the test has connected
    """

    def __init__(self) -> None:
        self.connecting: Deferred[Any] = Deferred()

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        self.factory = protocolFactory
        return self.connecting

    def reach(self, clock: Clock) -> Transport:
        """The connection to the proxy is made."""
        transport = Transport(clock, IPv4Address("TCP", "192.0.2.1", 3128))
        protocol = self.factory.buildProtocol(transport.getPeer())
        transport.protocol = protocol
        protocol.makeConnection(transport)
        self.connecting.callback(protocol)
        return transport


class TunnelTests(SynchronousTestCase):
    """CONNECT and its answers."""

    def setUp(self) -> None:
        self.clock = Clock()

    def start(self, proxy: HttpProxy = PROXY, target: str = TARGET) -> None:
        self.way = ToProxy()
        endpoint = TunnelEndpoint(
            self.way, proxy, target, lambda: ResponseReader(max_size=1000, max_line=500, max_lines=10)
        )
        verifyObject(IStreamClientEndpoint, endpoint)
        self.result: Deferred[Any] = endpoint.connect(Factory.forProtocol(Inside))

    def reach(self, proxy: HttpProxy = PROXY, target: str = TARGET) -> Transport:
        self.start(proxy, target)
        self.transport = self.way.reach(self.clock)
        return self.transport

    def answer(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.transport.protocol.dataReceived(piece)
        self.clock.advance(0)

    def failure(self) -> ConnectFailed:
        failed = self.failureResultOf(self.result, ConnectFailed).value
        assert isinstance(failed, ConnectFailed)
        self.assertTrue(failed.text.startswith("proxy proxy.example:3128: "), failed.text)
        self.assertEqual(len(failed.text.splitlines()), 1)
        return failed

    def test_request(self) -> None:
        """CONNECT names the server twice and nothing else."""
        self.assertEqual(
            self.reach().value(), b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
        )

    def test_credentials(self) -> None:
        """Credentials are sent with the first request."""
        transport = self.reach(HttpProxy(host="p", port=1, user="u", password="p"), "[::1]:80")
        self.assertEqual(
            transport.value(),
            b"CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\nProxy-Authorization: Basic dTpw\r\n\r\n",
        )

    def test_established(self) -> None:
        """After any 2xx, in HTTP/1.0 or 1.1, the transport belongs to the protocol inside."""
        for line in (b"HTTP/1.1 200 OK", b"HTTP/1.0 200 Connection established", b"HTTP/1.1 299"):
            transport = self.reach()
            transport.io.truncate(0)
            self.answer(line + b"\r\nVia: x\r\n\r\n")
            inside = self.successResultOf(self.result)
            self.assertIs(transport.protocol, inside)
            self.assertTrue(transport.value().endswith(b"inside"))
            self.answer(b"a", b"b")
            self.assertEqual(inside.received, b"ab")
            transport.end(ConnectionLost())
            self.assertIsInstance(inside.lost.value, ConnectionLost)

    def test_announced_body(self) -> None:
        """A length in a 2xx is ignored (RFC 9110 section 9.3.6): what follows is the server's."""
        self.reach()
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxyz")
        self.assertEqual(self.successResultOf(self.result).received, b"xyz")

    def test_in_pieces(self) -> None:
        """The answer may come byte by byte."""
        self.reach()
        answer = b"HTTP/1.1 200 OK\r\n\r\nx"
        self.answer(*[answer[index : index + 1] for index in range(len(answer))])
        self.assertEqual(self.successResultOf(self.result).received, b"x")

    def test_authentication(self) -> None:
        """A 407 is told apart, with its challenge, and the connection is gone by then."""
        transport = self.reach()
        self.answer(
            b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\n\r\nbody'
        )
        failed = self.failure()
        self.assertIs(failed.error, ConnectError.PROXY_AUTHENTICATION)
        self.assertEqual((failed.status, failed.headers["proxy-authenticate"]), (407, 'Basic realm="x"'))
        self.assertTrue(transport.has_ended)

    def test_refused(self) -> None:
        """Another status is the proxy's refusal."""
        self.reach()
        self.answer(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        failed = self.failure()
        self.assertEqual((failed.error, failed.status), (ConnectError.PROXY, 502))
        self.assertIn("502 Bad Gateway", failed.text)

    def test_malformed(self) -> None:
        """What is no HTTP, or beyond the limits, is refused, and nothing that follows is read."""
        for data in (b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", b"HTTP/1.1 200 OK" + b" " * 1000):
            self.reach()
            self.transport.protocol.dataReceived(data)
            self.answer(b"HTTP/1.1 200 OK\r\n\r\n")
            self.assertIs(self.failure().error, ConnectError.PROXY)
            self.assertTrue(self.transport.has_ended)

    def test_ended(self) -> None:
        """A proxy that ends the connection before it has answered is told."""
        self.reach().end(ConnectionLost())
        failed = self.failure()
        self.assertIs(failed.error, ConnectError.PROXY)
        self.assertIn("ended before CONNECT was answered", failed.text)

    def test_not_reached(self) -> None:
        """A proxy that cannot be reached is the proxy's error, except that time is nobody's."""
        for cause, expected in (
            (error.ConnectionRefusedError(), ConnectError.PROXY),
            (error.TimeoutError(), ConnectError.TIMEOUT),
        ):
            self.start()
            self.way.connecting.errback(cause)
            self.assertIs(self.failure().error, expected)

    def test_cancelled(self) -> None:
        """Giving up ends the connection to the proxy."""
        transport = self.reach()
        self.result.cancel()
        self.failureResultOf(self.result, CancelledError)
        self.clock.advance(0)
        self.assertTrue(transport.has_ended)

    def test_cancelled_before(self) -> None:
        """Giving up before there is a connection gives that up."""
        self.start()
        self.result.cancel()
        self.assertIs(self.failure().error, ConnectError.PROXY)
        self.assertTrue(self.way.connecting.called)
