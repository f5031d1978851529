"""The options of Autobahn that both sides of a connection have, each set on purpose.

What only a server or only a client has stands with its factory; one test for each factory compares the
complete set.
"""

from __future__ import annotations

from typing import Any

from wsecho.policy.settings import Settings

__all__ = ["common_options"]


def common_options(settings: Settings) -> dict[str, Any]:
    """The options by Autobahn's names, from ``settings`` or with the reason beside it."""
    return {
        "utf8validateIncoming": True,  # RFC 6455 section 8.1
        "applyMask": True,
        "maxFramePayloadSize": settings.max_frame_size,
        "maxMessagePayloadSize": settings.max_message_size,
        "autoFragmentSize": 0,  # unfragmented, unless a program asks for fragments, message by message
        "failByDrop": False,  # a violation is answered by its close code, not by a reset
        "echoCloseCodeReason": True,  # section 5.5.1: typically echoes the status code received
        # The link keeps this time: see Connection.sendCloseFrame.
        "closeHandshakeTimeout": settings.close_timeout,
        "tcpNoDelay": True,  # small messages must not wait for the ACK of the one before
        "autoPingInterval": settings.ping_interval if settings.sends_pings else 0,
        "autoPingTimeout": settings.ping_timeout,
        "autoPingSize": 12,
        # A peer that sends, but never answers, is not alive in both directions.
        "autoPingRestartOnAnyTraffic": False,
        "logOctets": False,
        "logFrames": False,
        "trackTimings": False,
    }
