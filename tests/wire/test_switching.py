"""The answer 101."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.harness import KEY, TEXT, Program, WireTestCase, frame, handshake, parse_frames
from wsecho.wire.switching import render_switching


class SwitchingTests(SynchronousTestCase):
    """The bytes of the answer."""

    def autobahns(self, server: str, headers: Any, result: Any) -> bytes:
        """What Autobahn answers."""
        written: list[bytes] = []

        protocol: Any = WebSocketServerProtocol()
        protocol.sendData = written.append
        protocol._onOpen = lambda: None
        protocol.openHandshakeTimeoutCall = protocol.trackedTimings = None
        protocol.autoPingInterval, protocol.data, protocol._wskey = 0, b"", KEY
        protocol.websocket_protocols, protocol.websocket_extensions = ["chat", "soap"], []
        protocol.factory = SimpleNamespace(server=server, headers=headers)
        protocol.succeedHandshake(result)
        return b"".join(written)

    def test_as_autobahn_writes_it(self) -> None:
        """Byte for byte it is Autobahn's: names, order, and how values become fields."""
        for server in ("", "mine"):
            for headers in ({}, {"X-A": "1", "X-B": ["2", "3"]}):
                for subprotocol in (None, "chat"):
                    for own in ({}, {"X-C": 4, "X-D": ("5", "\u00e9")}):
                        expected = self.autobahns(server, headers, (subprotocol, own))
                        found = render_switching(
                            KEY, server_name=server, headers=(headers, own), subprotocol=subprotocol
                        )
                        self.assertEqual(found, expected)

    def test_extensions(self) -> None:
        """Extensions stand last."""
        plain = render_switching(KEY)
        extended = render_switching(KEY, extensions="permessage-deflate")
        self.assertEqual(extended, plain[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")


class OpeningTests(WireTestCase):
    """The answer of a connection, and what comes behind it."""

    def test_results(self) -> None:
        """onConnect may return a subprotocol, a pair of it and headers, or a tuple without headers."""
        for result, subprotocol, header in (
            (None, None, None),
            ("chat", "chat", None),
            (("chat",), "chat", None),
            ((None, {"X-A": "1"}), None, "1"),
            (("chat", {"X-A": "1"}), "chat", "1"),
        ):

            class Choosing(Program):
                chosen: Any = result

                def onConnect(self, request: object) -> Any:
                    return self.chosen

            factory = self.factory(Choosing)
            factory.headers = {"X-All": "yes"}
            peer = self.peer(factory)
            peer.send(handshake("/", "Sec-WebSocket-Protocol: soap, chat"))
            headers = peer.answer.headers
            self.assertEqual(headers.get("sec-websocket-protocol"), subprotocol)
            self.assertEqual(peer.protocol.websocket_protocol_in_use, subprotocol)
            self.assertEqual((headers.get("x-a"), headers["x-all"]), (header, "yes"))

    def test_order(self) -> None:
        """The answer comes first, then what onOpen sends, then the answers to early frames."""

        class Greeting(Program):
            def onOpen(self) -> None:
                super().onOpen()
                self.sendMessage(b"hello")
                self.told.append(("is_open", self.is_open.called))

        peer = self.peer(self.factory(Greeting))
        peer.send(handshake() + frame(TEXT, b"early"))
        self.assertEqual([one.payload for one in parse_frames(peer.answer.rest)], [b"hello", b"early"])
        self.assertEqual(peer.protocol.told, [("open",), ("is_open", False), ("message", b"early", False)])
        self.assertTrue(peer.protocol.is_open.called)
