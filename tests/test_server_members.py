"""Tests for wsecho.server_members."""

from __future__ import annotations

from typing import Any

from twisted.internet.ssl import CertificateOptions

from tests.members import MembersTestCase, signals_of
from tests.wire.harness import certificates, handshake
from wsecho.policy.enumerations import CloseCode, SslMode, Version
from wsecho.policy.proxies import TrustedProxies
from wsecho.server import WebSocketServer

#: Members that are properties, with what a new server has.
PROPERTIES: dict[str, object] = {
    "error": CloseCode.NORMAL,
    "error_string": "",
    "handshake_timeout": 10.0,
    "max_pending_connections": 30,
    "ports": (),
    "proxy": None,
    "secure_mode": SslMode.NON_SECURE_MODE,
    "server_address": "",
    "server_name": "",
    "server_port": 0,
    "server_url": "",
    "socket_descriptor": -1,
    "ssl_configuration": None,
    "supported_subprotocols": [],
    "supported_versions": [Version.VERSION_13],
}

SIGNALS = [
    "accept_error",
    "alert_received",
    "alert_sent",
    "closed",
    "handshake_interrupted_on_error",
    "new_connection",
    "origin_authentication_required",
    "peer_verify_error",
    "pre_shared_key_authentication_required",
    "server_error",
    "ssl_errors",
]


class MembersTests(MembersTestCase):
    """What a new server has, and what can be set."""

    def test_properties(self) -> None:
        """Each property has its default, also after closing a server that never listened."""
        server = self.server()
        found = {
            name for name in dir(WebSocketServer) if isinstance(getattr(WebSocketServer, name), property)
        }
        self.assertEqual(found, set(PROPERTIES))
        for _ in range(2):
            self.assertEqual({name: getattr(server, name) for name in PROPERTIES}, PROPERTIES)
            self.assertFalse(server.is_listening())
            self.assertFalse(server.has_pending_connections())
            self.assertIsNone(server.next_pending_connection())
            self.successResultOf(server.close())
            self.turn()

    def test_signals(self) -> None:
        """Qt's signals are there."""
        self.assertEqual(signals_of(WebSocketServer), SIGNALS)

    def test_secure_mode(self) -> None:
        """The mode is kept, by its name or its number."""
        self.assertIs(self.server("x", SslMode.SECURE_MODE).secure_mode, SslMode.SECURE_MODE)
        mode: Any = 0
        self.assertIs(self.server("x", mode).secure_mode, SslMode.SECURE_MODE)
        self.assertRaises(ValueError, self.server, "x", 2)

    def test_server_name(self) -> None:
        """The name is the Server header of connections that come later; an empty one sends none."""
        server = self.server("first")
        self.assertEqual(server.server_name, "first")
        self.assertEqual(self.answer(server)["server"], "first")
        server.server_name = "second"
        self.assertEqual(self.answer(server)["server"], "second")
        server.server_name = ""
        self.assertNotIn("server", self.answer(server))

    def answer(self, server: WebSocketServer) -> dict[str, str]:
        """The headers of a 101 answer."""
        peer = self.visit(server)
        peer.send(handshake())
        return peer.answer.headers

    def test_wrong_server_name(self) -> None:
        """A name that could not be one header is refused."""
        for name in ("a\r\nX: y", "ä", "\x7f"):
            error = self.assertRaises(ValueError, self.server, name)
            self.assertEqual(str(error), "server_name must be printable ASCII")
        server = self.server("good")
        error = self.assertRaises(TypeError, setattr, server, "server_name", None)
        self.assertEqual(str(error), "server_name must be a str, not NoneType")
        self.assertEqual(server.server_name, "good")

    def test_max_pending_connections(self) -> None:
        """The number is kept; it is an int, not negative."""
        server = self.server()
        server.max_pending_connections = 0
        self.assertEqual(server.max_pending_connections, 0)
        error = self.assertRaises(ValueError, setattr, server, "max_pending_connections", -1)
        self.assertEqual(str(error), "max_pending_connections must not be negative: -1")
        for wrong in ("1", True, 1.5):
            error = self.assertRaises(TypeError, setattr, server, "max_pending_connections", wrong)
            self.assertIn("max_pending_connections must be an int", str(error))

    def test_handshake_timeout(self) -> None:
        """Seconds; negative and 0 are off, which reads as -1. What the settings have otherwise stays."""
        server = self.server(max_message_size=77)
        for seconds, expected in ((0.5, 0.5), (3, 3.0), (-1, -1.0), (-7.5, -1.0), (0, -1.0)):
            server.handshake_timeout = seconds
            self.assertEqual(server.handshake_timeout, expected)
        self.assertEqual(server.factory.settings.max_message_size, 77)
        for wrong in ("1", True, None):
            error = self.assertRaises(TypeError, setattr, server, "handshake_timeout", wrong)
            self.assertIn("handshake_timeout must be a number", str(error))
        for seconds in (float("nan"), float("inf")):
            error = self.assertRaises(ValueError, setattr, server, "handshake_timeout", seconds)
            self.assertIn("handshake_timeout must be finite", str(error))

    def test_supported_subprotocols(self) -> None:
        """Names are kept, as a copy; one text is no list, and a name is a token."""
        server = self.server()
        names = ["chat", "superchat"]
        server.supported_subprotocols = names
        names.append("soap")
        server.supported_subprotocols.append("soap")
        self.assertEqual(server.supported_subprotocols, ["chat", "superchat"])
        error = self.assertRaises(TypeError, setattr, server, "supported_subprotocols", "chat")
        self.assertEqual(str(error), "supported_subprotocols must be a list of names, not one str")
        for wrong in ("a b", "", "a,b", None):
            error = self.assertRaises(ValueError, setattr, server, "supported_subprotocols", [wrong])
            self.assertEqual(str(error), f"supported_subprotocols: {wrong!r} is not a token")

    def test_ssl_configuration(self) -> None:
        """It is kept by a secure server, and ignored by another, as in Qt."""
        creator = certificates(self.mktemp()).server
        secure, plain = self.server("", SslMode.SECURE_MODE), self.server()
        for configuration in (creator, CertificateOptions(), None):
            secure.ssl_configuration = plain.ssl_configuration = configuration
            self.assertIs(secure.ssl_configuration, configuration)
            self.assertIsNone(plain.ssl_configuration)
        error = self.assertRaises(TypeError, setattr, plain, "ssl_configuration", "cert.pem")
        self.assertEqual(
            str(error),
            "ssl_configuration must be a TlsConfiguration, an IOpenSSLServerConnectionCreator or None",
        )

    def test_proxy(self) -> None:
        """A proxy that is trusted says where its client is; who is not trusted says nothing."""
        server = self.server()
        server.proxy = proxies = TrustedProxies(["127.0.0.1"])
        self.assertIs(server.proxy, proxies)
        socket, _ = self.pair(server, "Forwarded: for=192.0.2.7")
        self.assertEqual((socket.peer_address, socket.peer_port), ("192.0.2.7", 0))
        server.proxy = None
        self.assertIsNone(server.proxy)
        socket, _ = self.pair(server, "Forwarded: for=192.0.2.7")
        self.assertEqual((socket.peer_address, socket.peer_port), ("127.0.0.1", 40000))
        error = self.assertRaises(TypeError, setattr, server, "proxy", "127.0.0.1")
        self.assertEqual(str(error), "proxy must be TrustedProxies or None, not str")
