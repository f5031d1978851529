"""permessage-deflate, as a server speaks it."""

from __future__ import annotations

import random
import zlib
from typing import Any

from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.harness import BINARY, TEXT, Peer, WireTestCase, frame, handshake
from wsecho.wire.deflate import Acceptance, ServerDeflate, deflated

_offer: Any = PerMessageDeflateOffer
_accept: Any = PerMessageDeflateOfferAccept
TAIL = b"\0\0\xff\xff"


class DeflatedTests(SynchronousTestCase):
    """Messages that are compressed by themselves."""

    def test_inflated(self) -> None:
        """Inflated with a window of the same size it is the message again; its end is left out."""
        noise = random.Random(7).randbytes(3000)
        for bits in range(9, 16):
            for message in (b"", b"x", b"hello " * 20_000, noise, noise * 30):
                data = deflated(message, bits)
                self.assertFalse(data.endswith(TAIL))
                self.assertEqual(zlib.decompressobj(-bits).decompress(data + TAIL), message)


class AcceptanceTests(SynchronousTestCase):
    """The answer to an offer."""

    def test_header(self) -> None:
        """Neither side takes over its context, whatever the client offers; a window that it asks for is
        confirmed."""
        for parameters, window in (
            ({}, ""),
            ({"server_no_context_takeover": [True]}, ""),
            ({"client_no_context_takeover": [True], "client_max_window_bits": [True]}, ""),
            ({"server_max_window_bits": ["9"]}, "; server_max_window_bits=9"),
        ):
            self.assertEqual(
                Acceptance(_offer.parse(parameters)).get_extension_string(),
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover" + window,
            )


class ServerDeflateTests(SynchronousTestCase):
    """Compressor and inflater of a connection."""

    def deflate(self, accepted: Any) -> Any:
        """One that was agreed on."""
        return ServerDeflate.create_from_offer_accept(True, accepted)

    def test_alone(self) -> None:
        """Between messages there is neither compressor nor inflater."""
        deflate = self.deflate(Acceptance(_offer()))
        for _ in range(2):
            deflate.start_compress_message()
            data = deflate.compress_message_data(b"hello ") + deflate.compress_message_data(b"hello ")
            data += deflate.end_compress_message()
            deflate.start_decompress_message()
            self.assertEqual(deflate.decompress_message_data(data), b"hello hello ")
            deflate.end_decompress_message()
            self.assertEqual((deflate._compressor, deflate._decompressor), (None, None))

    def test_agreed_otherwise(self) -> None:
        """Where a program has agreed on contexts, they are kept."""
        deflate = self.deflate(_accept(_offer()))
        deflate.start_compress_message()
        data = deflate.compress_message_data(b"hello") + deflate.end_compress_message()
        deflate.start_decompress_message()
        deflate.decompress_message_data(data)
        deflate.end_decompress_message()
        self.assertIsNotNone(deflate._compressor)
        self.assertIsNotNone(deflate._decompressor)


class SharedTests(WireTestCase):
    """One message for many receivers."""

    def receivers(self, factory: Any, *offers: str) -> list[Peer]:
        """Open connections with these offers, each a header; empty for none."""
        return [
            self.peer(factory).open("/", *([f"Sec-WebSocket-Extensions: {offer}"] if offer else []))
            for offer in offers
        ]

    def test_compressed_once(self) -> None:
        """A message is compressed once for all who agreed on the same window, and everybody gets it."""
        factory = self.factory(compression="deflate")
        nine = "permessage-deflate; server_max_window_bits=9"
        peers = self.receivers(factory, "permessage-deflate", "permessage-deflate", nine, nine, "")
        message = factory.prepareMessage(b"hello " * 100, False)
        for peer in peers:
            peer.protocol.sendPreparedMessage(message)
        self.assertEqual(sorted(message._compressed), [9, 15])
        for peer, bits in zip(peers, (15, 15, 9, 9, 0), strict=True):
            (one,) = peer.frames
            payload = one.payload
            if bits:
                payload = zlib.decompressobj(-bits).decompress(payload + TAIL)
            self.assertEqual((one.opcode, one.rsv, payload), (TEXT, 4 if bits else 0, b"hello " * 100))
            stats = peer.protocol.trafficStats
            self.assertEqual(stats.outgoingOctetsAppLevel, 600)
            self.assertEqual(stats.outgoingOctetsWebSocketLevel, len(one.payload))

    def test_not_to_be_compressed(self) -> None:
        """A message that says so is sent as it is."""
        factory = self.factory(compression="deflate")
        (peer,) = self.receivers(factory, "permessage-deflate")
        peer.protocol.sendPreparedMessage(factory.prepareMessage(b"noise", True, doNotCompress=True))
        self.assertEqual([(one.opcode, one.rsv, one.payload) for one in peer.frames], [(BINARY, 0, b"noise")])

    def test_program_s_own_agreement(self) -> None:
        """A peer with whom a program agreed on contexts gets a frame of its own, in its context."""
        factory = self.factory(compression="deflate")
        factory.setProtocolOptions(perMessageCompressionAccept=lambda offers: _accept(offers[0]))
        (peer,) = self.receivers(factory, "permessage-deflate")
        inflater = zlib.decompressobj(-15)
        for _ in range(2):
            peer.transport.clear()
            peer.protocol.sendPreparedMessage(factory.prepareMessage(b"hello", False))
            (one,) = peer.frames
            self.assertEqual(inflater.decompress(one.payload + TAIL), b"hello")
        self.assertLess(len(one.payload), 6)

    def test_answer_and_message(self) -> None:
        """An early compressed message behind the handshake is read as agreed."""
        peer = self.peer(self.factory(compression="deflate", protocol=None))
        peer.send(
            handshake("/", "Sec-WebSocket-Extensions: permessage-deflate")
            + frame(TEXT, deflated(b"early", 15), rsv=4)
        )
        self.assertEqual(peer.protocol.trafficStats.incomingOctetsAppLevel, 5)
