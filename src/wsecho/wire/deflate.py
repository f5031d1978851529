"""permessage-deflate (RFC 7692) as a server speaks it: no message needs to know of another.

Rules of this file: parameters and zlib; it knows no connection. What is agreed on is always
``server_no_context_takeover`` and ``client_no_context_takeover``, which a server may answer to any offer
(sections 7.1.1.1 and 7.1.1.2). So

- between messages a connection keeps neither a compressor nor an inflater, which with zlib's defaults have
  256 KiB and 39 KiB (zlib's ``zconf.h``), for a peer that says nothing;
- a message can be dropped before it is sent, without spoiling those behind it;
- a message for many is compressed once for all who agreed on the same window.

The price: a message is compressed without the help of those before it. A program whose messages are many,
short and alike sends more bytes than it would otherwise.
"""

from __future__ import annotations

import zlib
from typing import Any

from autobahn.websocket.compress import PerMessageDeflate, PerMessageDeflateOfferAccept

__all__ = ["Acceptance", "ServerDeflate", "deflated"]

_Acceptance: Any = PerMessageDeflateOfferAccept
_Deflate: Any = PerMessageDeflate


def deflated(payload: bytes, window_bits: int) -> bytes:
    """A whole message, compressed by itself (RFC 7692 section 7.2.1).

    :param window_bits: 9 to 15
    """
    compressor = zlib.compressobj(wbits=-window_bits)
    # The four bytes that are always the same are left out.
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Acceptance(_Acceptance):  # type: ignore[misc]
    """An offer of a client, accepted. Autobahn's own does not tell the client when the server declines to
    take over its context unasked.

    :param offer: Autobahn's ``PerMessageDeflateOffer``
    """

    def __init__(self, offer: Any) -> None:
        super().__init__(offer, request_no_context_takeover=True, no_context_takeover=True)

    def get_extension_string(self) -> str:
        """The value of ``Sec-WebSocket-Extensions``."""
        bits = self.offer.request_max_window_bits
        window = f"; server_max_window_bits={bits}" if bits else ""
        return f"permessage-deflate; server_no_context_takeover; client_no_context_takeover{window}"


class ServerDeflate(_Deflate):  # type: ignore[misc]
    """Compresses and inflates the messages of one connection, and keeps nothing from one to the next that it
    need not."""

    def end_compress_message(self) -> bytes:
        """A message is complete; the rest of it."""
        rest: bytes = super().end_compress_message()
        if self.server_no_context_takeover:
            self._compressor = None
        return rest

    def end_decompress_message(self) -> None:
        """A message is complete."""
        super().end_decompress_message()
        if self.client_no_context_takeover:
            self._decompressor = None
