"""What the client asked for."""

from __future__ import annotations

from typing import Any

from autobahn.websocket.types import ConnectionRequest

from tests.wire.harness import Program, WireTestCase, handshake

ASKED = handshake(
    "/a%20b?x=1&x=2",
    "Origin: http://example.com",
    "Sec-WebSocket-Protocol: chat, soap",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other",
)
EXPECTED = {
    "http_request_host": "example.com",
    "http_request_params": {"x": ["1", "2"]},
    "http_request_path": "/a%20b",
    "http_request_uri": "/a%20b?x=1&x=2",
    "websocket_extensions": [("permessage-deflate", {"client_max_window_bits": [True]})],
    "websocket_origin": "http://example.com",
    "websocket_protocols": ["chat", "soap"],
    "websocket_version": 13,
}


class Looking(Program):
    """Asks for everything in onConnect."""

    def onConnect(self, request: ConnectionRequest) -> Any:
        self.seen = {name: getattr(self, name) for name in EXPECTED}
        self.fields = self.http_headers
        return super().onConnect(request)


class AskedTests(WireTestCase):
    """The request of a connection."""

    def test_while_it_opens(self) -> None:
        """What Autobahn's parser would set is there in onConnect, under Autobahn's names."""
        peer = self.peer(self.factory(Looking, compression="deflate"))
        peer.send(ASKED)
        self.assertEqual(peer.protocol.seen, EXPECTED)
        self.assertEqual(peer.protocol.fields["origin"], "http://example.com")

    def test_afterwards(self) -> None:
        """It is the same for whoever asks when the connection is open, or has ended."""
        peers = [self.peer(self.factory(compression="deflate")) for _ in range(2)]
        for peer in peers:
            peer.send(ASKED)
        peers[1].leave()
        for peer in peers:
            self.assertEqual({name: getattr(peer.protocol, name) for name in EXPECTED}, EXPECTED)
            request = peer.protocol.request
            self.assertEqual(request.headers, peer.protocol.http_headers)
            self.assertEqual((request.path, request.params), ("/a%20b", {"x": ["1", "2"]}))
            self.assertIs(peer.protocol.request, request)

    def test_kept_as_bytes(self) -> None:
        """Of a connection that is open only the bytes of the request are kept."""
        peer = self.peer(self.factory())
        peer.send(ASKED)
        self.assertEqual(peer.protocol._head_bytes, ASKED)
        self.assertIsNone(peer.protocol._head_read)
        self.assertEqual(set(vars(peer.protocol)) & {"_request", "http_headers", *EXPECTED}, set())

    def test_before(self) -> None:
        """Before the request has come there is none, and Autobahn's attributes are not there."""
        peer = self.peer(self.factory())
        self.assertIsNone(peer.protocol.request)
        for name in EXPECTED:
            self.assertFalse(hasattr(peer.protocol, name), name)
