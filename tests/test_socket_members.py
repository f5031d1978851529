"""Tests for wsecho.socket_members."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.ssl import optionsForClientTLS
from twisted.trial.unittest import SynchronousTestCase

from tests.members import MembersTestCase, signals_of
from tests.wire.harness import TEXT, Transport, frame
from wsecho.policy.enumerations import PauseMode, SocketError, SocketState, Version
from wsecho.policy.settings import Settings
from wsecho.socket_members import MAX_SIZE, HandshakeOptions, SocketMembers
from wsecho.wire.client import ClientRequest, HttpProxy

MIB = 1024 * 1024

#: Members that are properties, with what a new socket has.
PROPERTIES: dict[str, object] = {
    "bytes_to_write": 0,
    "close_code": 1000,
    "close_reason": "",
    "end": None,
    "error": SocketError.UNKNOWN_SOCKET_ERROR,
    "error_string": "",
    "handshake_options": HandshakeOptions(),
    "local_address": "",
    "local_port": 0,
    "mask_generator": None,
    "max_allowed_incoming_frame_size": MIB,
    "max_allowed_incoming_message_size": MIB,
    "origin": "",
    "outgoing_frame_size": 512 * 1024,
    "pause_mode": PauseMode.PAUSE_NEVER,
    "peer_address": "",
    "peer_certificate": None,
    "peer_name": "",
    "peer_port": 0,
    "proxy": None,
    "read_buffer_size": MIB,
    "request": None,
    "request_url": "",
    "resource_name": "",
    "ssl_configuration": None,
    "state": SocketState.UNCONNECTED,
    "subprotocol": "",
    "version": Version.VERSION_13,
}

SIGNALS = [
    "about_to_close",
    "alert_received",
    "alert_sent",
    "authentication_required",
    "binary_frame_received",
    "binary_message_received",
    "bytes_written",
    "connected",
    "disconnected",
    "error_occurred",
    "handshake_interrupted_on_error",
    "peer_verify_error",
    "pong",
    "pre_shared_key_authentication_required",
    "proxy_authentication_required",
    "read_channel_finished",
    "ssl_errors",
    "state_changed",
    "text_frame_received",
    "text_message_received",
]


class MembersTests(MembersTestCase):
    """What a new socket has."""

    def members(self, *arguments: Any, **options: Any) -> SocketMembers:
        """The members of a new socket."""
        return SocketMembers(*arguments, reactor=self.reactor, **options)

    def test_properties(self) -> None:
        """Each property has its default."""
        members = self.members()
        found = {name for name in dir(SocketMembers) if isinstance(getattr(SocketMembers, name), property)}
        self.assertEqual(found, set(PROPERTIES))
        self.assertEqual({name: getattr(members, name) for name in PROPERTIES}, PROPERTIES)
        self.assertFalse(members.is_valid())

    def test_signals(self) -> None:
        """Qt's signals are there."""
        self.assertEqual(signals_of(SocketMembers), SIGNALS)

    def test_largest_sizes(self) -> None:
        """The largest sizes are Qt's."""
        self.assertEqual(MAX_SIZE, 2_147_483_646)
        self.assertEqual(SocketMembers.max_incoming_frame_size(), MAX_SIZE)
        self.assertEqual(SocketMembers.max_incoming_message_size(), MAX_SIZE)
        self.assertEqual(SocketMembers.max_outgoing_frame_size(), MAX_SIZE)

    def test_origin_and_version(self) -> None:
        """Origin and version are kept."""
        members = self.members("http://example.com", Version.LATEST)
        self.assertEqual((members.origin, members.version), ("http://example.com", 13))

    def test_wrong_origin(self) -> None:
        """An origin that could not be sent as one header is refused."""
        for origin in ("http://a\r\nX: y", "http://a\n", "http://\x7f", "http://ä"):
            error = self.assertRaises(ValueError, self.members, origin)
            self.assertEqual(str(error), "origin must be printable ASCII")
        error = self.assertRaises(TypeError, self.members, None)
        self.assertEqual(str(error), "origin must be a str, not NoneType")

    def test_wrong_version(self) -> None:
        """Other versions than 13 are not spoken."""
        error = self.assertRaises(ValueError, self.members, "", Version.VERSION_8)
        self.assertIn("version must be Version.LATEST (13)", str(error))

    def test_limits_of_the_settings(self) -> None:
        """Limits begin as the settings have them; no limit is the largest."""
        members = self.members(settings=Settings(max_message_size=500, max_frame_size=400))
        self.assertEqual(members.max_allowed_incoming_message_size, 500)
        self.assertEqual(members.max_allowed_incoming_frame_size, 400)
        members = self.members(settings=Settings(max_message_size=0))
        self.assertEqual(members.max_allowed_incoming_message_size, MAX_SIZE)
        self.assertEqual(members.max_allowed_incoming_frame_size, MAX_SIZE)

    def test_global_reactor(self) -> None:
        """Without a reactor, the global one is used."""
        from twisted.internet import reactor

        self.assertIs(SocketMembers()._reactor, reactor)

    def test_holds_are_the_socket_s(self) -> None:
        """What pausing means is the socket's matter."""
        members = self.members()
        self.assertRaises(NotImplementedError, members._apply_holds)


class SettingsTests(MembersTestCase):
    """What can be set."""

    def setUp(self) -> None:
        super().setUp()
        self.socket = self.client()

    def test_sizes(self) -> None:
        """Sizes are kept, from the least to the largest."""
        for name, least in (
            ("read_buffer_size", 0),
            ("max_allowed_incoming_frame_size", 1),
            ("max_allowed_incoming_message_size", 1),
            ("outgoing_frame_size", 1),
        ):
            for size in (least, 128, MAX_SIZE):
                setattr(self.socket, name, size)
                self.assertEqual(getattr(self.socket, name), size)
            for size in (least - 1, -1, MAX_SIZE + 1):
                error = self.assertRaises(ValueError, setattr, self.socket, name, size)
                self.assertEqual(str(error), f"{name} must be {least} to {MAX_SIZE}, not {size}")
            for wrong in ("1", 1.5, True):
                error = self.assertRaises(TypeError, setattr, self.socket, name, wrong)
                self.assertEqual(str(error), f"{name} must be an int, not {type(wrong).__name__}")
            self.assertEqual(getattr(self.socket, name), MAX_SIZE)

    def test_limits_of_an_open_connection(self) -> None:
        """Limits count at once, also for a connection that is open."""
        self.socket, end = self.connected(self.socket)
        self.socket.max_allowed_incoming_frame_size = 100
        self.socket.max_allowed_incoming_message_size = 200
        connection = self.socket._connection
        self.assertEqual((connection.maxFramePayloadSize, connection.maxMessagePayloadSize), (100, 200))
        end.send(frame(TEXT, bytes(101), mask=b""))
        self.assertEqual(self.socket.close_code, 1009)

    def test_mask_generator(self) -> None:
        """A mask generator is what can be called, or None."""
        self.socket.mask_generator = generator = lambda: 0
        self.assertIs(self.socket.mask_generator, generator)
        self.socket.mask_generator = None
        self.assertIsNone(self.socket.mask_generator)
        error = self.assertRaises(TypeError, setattr, self.socket, "mask_generator", 5)
        self.assertEqual(str(error), "mask_generator must be callable or None, not int")

    def test_proxy(self) -> None:
        """A proxy is an HttpProxy, a value that nobody can change behind the socket's back, or None."""
        proxy = HttpProxy(host="proxy.example", port=3128)
        self.socket.proxy = proxy
        self.assertEqual(self.socket.proxy, proxy)
        self.assertRaises(AttributeError, setattr, proxy, "port", 1)
        self.socket.proxy = None
        self.assertIsNone(self.socket.proxy)
        error = self.assertRaises(TypeError, setattr, self.socket, "proxy", "proxy.example:3128")
        self.assertEqual(str(error), "proxy must be an HttpProxy or None, not str")

    def test_pause_mode(self) -> None:
        """The pause mode is kept."""
        self.socket.pause_mode = PauseMode.PAUSE_ON_SSL_ERRORS
        self.assertIs(self.socket.pause_mode, PauseMode.PAUSE_ON_SSL_ERRORS)
        self.assertRaises(ValueError, setattr, self.socket, "pause_mode", 7)

    def test_ssl_configuration(self) -> None:
        """A TLS configuration makes client connections, or is None."""
        creator = optionsForClientTLS("example.com")
        self.socket.ssl_configuration = creator
        self.assertIs(self.socket.ssl_configuration, creator)
        self.socket.ssl_configuration = None
        self.assertIsNone(self.socket.ssl_configuration)
        error = self.assertRaises(TypeError, setattr, self.socket, "ssl_configuration", "ca.pem")
        self.assertEqual(
            str(error), "ssl_configuration must be ClientTls, an IOpenSSLClientConnectionCreator or None"
        )


class FactsTests(MembersTestCase):
    """What is known of a connection."""

    def test_client(self) -> None:
        """A client knows what it asked for, and who is there."""
        socket = self.client("http://example.com")
        socket.open("ws://Example.com:9000/a b?c=d e", HandshakeOptions(["chat"]))
        self.reactor.resolver.answer("192.0.2.1")
        self.reach().open("Sec-WebSocket-Protocol: chat")
        self.assertIsInstance(socket.request, ClientRequest)
        self.assertEqual(socket.request_url, "ws://Example.com:9000/a b?c=d e")
        self.assertEqual(socket.resource_name, "/a%20b?c=d%20e")
        self.assertEqual(socket.handshake_options, HandshakeOptions(["chat"]))
        self.assertEqual(socket.subprotocol, "chat")
        self.assertEqual((socket.peer_name, socket.origin), ("example.com", "http://example.com"))
        self.assertEqual((socket.peer_address, socket.peer_port), ("127.0.0.1", 9000))
        self.assertEqual((socket.local_address, socket.local_port), ("10.0.0.1", 12345))
        self.assertEqual(socket.state, SocketState.CONNECTED)
        self.assertTrue(socket.is_valid())

    def test_server(self) -> None:
        """The server's side knows what was asked."""
        server = self.server()
        server.supported_subprotocols = ["chat"]
        peer = self.visit(server, "192.0.2.7", 4711)
        peer.open(
            "/room%201?x=y", "Origin: http://example.com", "Sec-WebSocket-Protocol: soap, chat", "X-Name: me"
        )
        socket = server.next_pending_connection()
        assert socket is not None
        self.assertEqual(socket.request_url, "ws://example.com/room%201?x=y")
        self.assertEqual(socket.resource_name, "/room%201?x=y")
        self.assertEqual(socket.request.headers["x-name"], "me")
        self.assertEqual(socket.handshake_options.subprotocols, ("soap", "chat"))
        self.assertEqual((socket.subprotocol, socket.origin), ("chat", "http://example.com"))
        self.assertEqual((socket.peer_address, socket.peer_port, socket.peer_name), ("192.0.2.7", 4711, ""))
        self.assertEqual((socket.local_address, socket.local_port), ("10.0.0.1", 12345))
        self.assertTrue(socket.is_valid())

    def test_after_the_end(self) -> None:
        """Addresses are known in the slots of the last signal, so that a program can say who went, and
        not after it; what was asked stays known."""
        socket, peer = self.pair()
        seen: list[tuple[str, int]] = []
        socket.disconnected.connect(lambda: seen.append((socket.peer_address, socket.peer_port)))
        peer.leave()
        self.assertEqual(seen, [("127.0.0.1", 40000)])
        self.assertEqual((socket.peer_address, socket.peer_port, socket.local_port), ("", 0, 0))
        self.assertEqual((socket.subprotocol, socket.request_url), ("", "ws://example.com/"))

    def test_bytes_to_write(self) -> None:
        """What waits in the transport is counted."""
        socket, peer = self.pair()
        self.assertEqual(socket.bytes_to_write, 0)
        peer.transport.dataBuffer = b"12345"
        self.assertEqual(socket.bytes_to_write, 5)
        peer.leave()
        self.assertEqual(socket.bytes_to_write, 0)

    def test_mapped(self) -> None:
        """IPv4 on a socket for both kinds has the form that people know."""
        socket, _ = self.pair_from(IPv6Address("TCP", "::ffff:192.0.2.7", 4711))
        self.assertEqual((socket.peer_address, socket.peer_port), ("192.0.2.7", 4711))

    def pair_from(self, address: Any) -> Any:
        """A connection from an address."""
        server = self.server()
        peer = self.peer(server.factory, Transport(self.reactor, address)).open()
        return server.next_pending_connection(), peer

    def test_unix(self) -> None:
        """A peer without IP address has none."""
        socket, _ = self.pair_from(UNIXAddress(b"/run/x"))
        self.assertEqual((socket.peer_address, socket.peer_port), ("", 0))


class HandshakeOptionsTests(SynchronousTestCase):
    """What a client offers."""

    def test_kept(self) -> None:
        """Names are kept, in order, and cannot be changed."""
        names = ["chat", "not a token"]
        options = HandshakeOptions(names)
        names.append("soap")
        self.assertEqual(options.subprotocols, ("chat", "not a token"))
        self.assertEqual(repr(options), "HandshakeOptions(['chat', 'not a token'])")

    def test_equal(self) -> None:
        """Two with the same names are equal, in the same order."""
        self.assertEqual(HandshakeOptions(["a", "b"]), HandshakeOptions(("a", "b")))
        self.assertNotEqual(HandshakeOptions(["a", "b"]), HandshakeOptions(["b", "a"]))
        self.assertNotEqual(HandshakeOptions(), ())
        self.assertEqual(len({HandshakeOptions(["a"]), HandshakeOptions(["a"])}), 1)

    def test_wrong(self) -> None:
        """One text is no list of names."""
        wrong: Any = [b"chat"]
        error = self.assertRaises(TypeError, HandshakeOptions, "chat")
        self.assertEqual(str(error), "subprotocols must be a list of names, not one str")
        error = self.assertRaises(TypeError, HandshakeOptions, wrong)
        self.assertEqual(str(error), "subprotocols must be a list of str, not of bytes")
