"""Frames that are made once for many receivers."""

from __future__ import annotations

from typing import Any

from autobahn.websocket.protocol import PreparedMessage

__all__ = ["prepare"]


def prepare(payload: bytes, is_binary: bool) -> Any:
    """The message as one unmasked frame (RFC 6455 section 5.2), for ``ServerProtocol.sendPreparedMessage``.

    :param payload: UTF-8 when ``is_binary`` is false
    :returns: Autobahn's ``PreparedMessage``; receivers with compression make a frame of their own from its
        payload
    """
    return PreparedMessage(payload, is_binary, applyMask=False, doNotCompress=False)
