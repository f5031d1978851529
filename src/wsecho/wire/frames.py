"""Frames as a server sends them, and those that are made once for many receivers."""

from __future__ import annotations

import struct
from typing import Any

from autobahn.websocket.protocol import PreparedMessage

__all__ = ["prepare", "unmasked_frame"]


def unmasked_frame(opcode: int, payload: bytes, rsv: int = 0) -> bytes:
    """A whole frame without a mask (RFC 6455 section 5.2).

    :param payload: up to 2**63 - 1 bytes
    """
    first = 0x80 | (rsv << 4) | opcode
    size = len(payload)
    if size <= 125:
        head = struct.pack("!BB", first, size)
    elif size <= 0xFFFF:
        head = struct.pack("!BBH", first, 126, size)
    else:
        head = struct.pack("!BBQ", first, 127, size)
    return head + payload


def prepare(payload: bytes, is_binary: bool) -> Any:
    """The message as one unmasked frame (RFC 6455 section 5.2), for ``ServerProtocol.sendPreparedMessage``.

    :param payload: UTF-8 when ``is_binary`` is false
    :returns: Autobahn's ``PreparedMessage``; receivers with compression make a frame of their own from its
        payload
    """
    return PreparedMessage(payload, is_binary, applyMask=False, doNotCompress=False)
