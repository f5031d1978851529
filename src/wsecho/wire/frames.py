"""Frames as a server sends them, and those that are made once for many receivers."""

from __future__ import annotations

import struct

from autobahn.websocket.protocol import PreparedMessage

from wsecho.wire.deflate import deflated

__all__ = ["Prepared", "frame_head", "prepare", "rest_of_head", "unmasked_frame"]


def frame_head(first: int, size: int, mask_bit: int = 0) -> bytes:
    """The head of a frame, to the end of the payload length, in the shortest form (RFC 6455 section 5.2).

    :param first: the first byte: FIN, RSV and opcode
    :param size: of the payload, up to 2**63 - 1
    :param mask_bit: 0x80 when a masking key follows, else 0
    """
    if size <= 125:
        return struct.pack("!BB", first, mask_bit | size)
    if size <= 0xFFFF:
        return struct.pack("!BBH", first, mask_bit | 126, size)
    return struct.pack("!BBQ", first, mask_bit | 127, size)


def unmasked_frame(opcode: int, payload: bytes, rsv: int = 0) -> bytes:
    """A whole frame without a mask (RFC 6455 section 5.2).

    :param payload: up to 2**63 - 1 bytes
    """
    return frame_head(0x80 | (rsv << 4) | opcode, len(payload)) + payload


def rest_of_head(begun: bytes, more: bytes) -> int:
    """How many bytes are missing of a frame's head, or of the part of it that tells its size; 1 at least.

    :param begun: the head's first bytes
    :param more: what follows them
    """
    head = begun + more
    if len(head) < 2:
        return 2 - len(begun)
    size = 2 + {126: 2, 127: 8}.get(head[1] & 0x7F, 0) + (4 if head[1] & 0x80 else 0)
    return max(1, size - len(begun))


class Prepared(PreparedMessage):
    """A message as frames, each made once for all who get it: as it is, and compressed for each window that
    was agreed on.

    :ivar payloadHybi: the frame as it is
    :ivar payload: the message; absent when it is not to be compressed, as Autobahn has it
    :ivar binary: its type; likewise
    """

    _compressed: dict[int, bytes] | None = None

    def compressed_frame(self, window_bits: int) -> bytes:
        """The frame of the compressed message (RFC 7692 section 7.2.1).

        :param window_bits: 9 to 15
        """
        if self._compressed is None:
            self._compressed = {}
        frame = self._compressed.get(window_bits)
        if frame is None:
            frame = unmasked_frame(2 if self.binary else 1, deflated(self.payload, window_bits), rsv=4)
            self._compressed[window_bits] = frame
        return frame


def prepare(payload: bytes, is_binary: bool, *, is_compressible: bool = True) -> Prepared:
    """The message as unmasked frames (RFC 6455 section 5.2), for ``ServerProtocol.sendPreparedMessage``.

    :param payload: UTF-8 when ``is_binary`` is false
    :param is_compressible: whether it is worth compressing for receivers that agreed on it
    """
    return Prepared(payload, is_binary, applyMask=False, doNotCompress=not is_compressible)
