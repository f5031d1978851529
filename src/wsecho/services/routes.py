"""Which service a path has.

``/echo``, ``/broadcast`` and ``/broadcast/CHANNEL`` are always there; ``/`` is what the mode says. A path is
decoded and compared whole: no trailing slash, no dot segments, no letter case is forgiven, so that a rule
about a path in a proxy in front means the same here. ``/test`` is there when it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from wsecho.hub.channels import DEFAULT_CHANNEL, is_channel_name
from wsecho.wire.interfaces import IService

__all__ = ["Routes", "broadcast_channel"]

_CHANNELS = "/broadcast/"


class _Channels(Protocol):
    def member(self, channel: str) -> IService: ...


def broadcast_channel(path: str) -> str | None:
    """The channel of a broadcast path; None when it is none."""
    if path == "/broadcast":
        return DEFAULT_CHANNEL
    name = path[len(_CHANNELS) :]
    return name if path.startswith(_CHANNELS) and is_channel_name(name) else None


class Routes:
    """The routes of ``twistd wsecho``, for :class:`wsecho.ServerFactory`.

    :param mode: what ``/`` serves, ``"echo"`` or ``"broadcast"``
    :param echo: the echo service
    :param broadcast: gives each connection its place on a channel
    :param programmable: makes the programmable echo for a connection; None for no such path
    :raises ValueError: for another mode
    """

    def __init__(
        self,
        mode: str,
        echo: IService,
        broadcast: _Channels,
        programmable: Callable[[], IService] | None = None,
    ) -> None:
        if mode not in ("echo", "broadcast"):
            raise ValueError(f"mode {mode!r} is neither echo nor broadcast")
        self._root = "/echo" if mode == "echo" else "/broadcast"
        self._echo = echo
        self._broadcast = broadcast
        self._programmable = programmable

    def __call__(self, path: str) -> IService | None:
        if path == "/":
            path = self._root
        if path == "/echo":
            return self._echo
        if path == "/test" and self._programmable is not None:
            return self._programmable()
        channel = broadcast_channel(path)
        return None if channel is None else self._broadcast.member(channel)
