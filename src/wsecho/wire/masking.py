"""Masked frames, as a client sends them (RFC 6455 sections 5.2 and 5.3).

Autobahn's ``sendFrame`` takes its masks from Python's Mersenne Twister, whose next numbers follow from those
seen; section 5.3 demands masks that nobody can predict. Given a mask of the caller's, it leaves the mask out
of the frame. And where Autobahn has no compiled part, it masks byte by byte in Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.logger import Logger

from wsecho.wire.frames import frame_head

__all__ = ["MaskSource", "masked_frame", "random_mask"]

_log = Logger("wsecho")


def random_mask() -> int:
    """A mask that cannot be predicted."""
    return int.from_bytes(os.urandom(4), "big")


class MaskSource:
    """Gives the masking key of each frame.

    :param generate: returns 0 to 2**32 - 1. When it raises or returns something else, this is logged and a
        random mask taken: a program's generator is no reason to lose a connection, or to send unmasked
    """

    __slots__ = ("_generate",)

    def __init__(self, generate: Callable[[], int] = random_mask) -> None:
        self._generate = generate

    def next_key(self) -> bytes:
        """Four bytes."""
        try:
            return self._generate().to_bytes(4, "big")
        except Exception:
            _log.failure("the mask generator failed; a random mask was taken")
            return random_mask().to_bytes(4, "big")


def masked_frame(opcode: int, payload: bytes, key: bytes, *, fin: bool = True, rsv: int = 0) -> bytes:
    """Return a frame, masked.

    :param payload: up to 2**63 - 1 bytes
    :param key: the four bytes of the mask; zeros leave the payload as it is, and are a mask all the same
    """
    first = (fin << 7) | (rsv << 4) | opcode
    size = len(payload)
    head = frame_head(first, size, 0x80)
    # One exclusive or of two large numbers: as fast as Python gets.
    repeated = (key * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")
    return b"".join((head, key, masked))
