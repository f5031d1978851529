"""Bytes that no server may send, for those who test whether a client notices.

Rules of this file: it must not be used for anything but the programmable echo
(:mod:`wsecho.services.programmable`), which is there only with ``--test-endpoints``, and only on a connection
whose client asked for it; nothing else imports it, and a test says so. It makes bytes and decides nothing:
which fault, and when, is the service's affair. A fault goes through the link like any other bytes, so that
the limits of the connection hold.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from wsecho.policy.end_reasons import EndReason
from wsecho.policy.http import HttpAnswer
from wsecho.wire.frames import unmasked_frame
from wsecho.wire.masking import masked_frame
from wsecho.wire.response import accept_value

__all__ = ["HALF_FRAME", "Fault", "bad_frame", "send_bad_frame", "unasked_subprotocol"]

HALF_FRAME = "half-frame"
_TEXT = b"a bad frame"
_MASK = b"\x37\xfa\x21\x3d"
_ACCEPT = re.compile(rb"(?m)^Sec-WebSocket-Accept: [^\r\n]*")
_SUBPROTOCOL = re.compile(rb"(?m)^Sec-WebSocket-Protocol: [^\r\n]*\r\n")

_FRAMES: Mapping[str, bytes] = MappingProxyType(
    {
        "masked": masked_frame(1, _TEXT, _MASK),
        "rsv": unmasked_frame(1, _TEXT, rsv=2),
        "opcode": unmasked_frame(3, _TEXT),
        # A surrogate; the letters before it are good.
        "utf8": unmasked_frame(1, b"bad \xed\xa0\x80"),
        "length": struct.pack("!BBQ", 0x81, 127, 1 << 63),
        HALF_FRAME: unmasked_frame(1, _TEXT)[: 2 + len(_TEXT) // 2],
    }
)


def bad_frame(kind: str) -> bytes:
    """The bytes of a value of :data:`wsecho.policy.knobs.BAD_FRAMES`."""
    return _FRAMES[kind]


def send_bad_frame(connection: Any, kind: str) -> None:
    """Write a bad frame; half a one is the last that is written."""
    connection.link.write(bad_frame(kind))
    if kind == HALF_FRAME:
        connection.drop_with(EndReason.AS_ASKED)


def unasked_subprotocol(offered: Collection[str]) -> str:
    """The name of a subprotocol that is not among those offered."""
    name = "wsecho.unasked"
    while name in offered:
        name += ".unasked"
    return name


class Fault:
    """What is wrong with the answer to one opening handshake.

    :ivar answer: is given instead of 101; None to open the connection
    :param subprotocol: is named in the answer 101; None to leave that as it is
    """

    __slots__ = ("_has_wrong_accept", "_subprotocol", "answer")

    def __init__(
        self,
        answer: HttpAnswer | None = None,
        *,
        has_wrong_accept: bool = False,
        subprotocol: str | None = None,
    ) -> None:
        self.answer = answer
        self._has_wrong_accept = has_wrong_accept
        self._subprotocol = subprotocol

    def spoil(self, head: bytes) -> bytes:
        """The answer 101, with the fault."""
        if self._has_wrong_accept:
            # What another key would be answered.
            wrong = accept_value("d3JvbmcgYXMgYXNrZWQgZg==").encode("ascii")
            head = _ACCEPT.sub(b"Sec-WebSocket-Accept: " + wrong, head)
        if self._subprotocol is not None:
            line = b"Sec-WebSocket-Protocol: " + self._subprotocol.encode("ascii") + b"\r\n"
            head = _SUBPROTOCOL.sub(b"", head)[:-2] + line + b"\r\n"
        return head
