"""What systemd is told: that the server is ready, reloads, stops, and is alive (sd_notify, Type=notify).

Rules of this file:

- it is one datagram for each thing told, to the socket that NOTIFY_SOCKET names; where there is none, nobody
  is told, and nothing else is different;
- telling is a courtesy: whatever goes wrong with it is a line in the log, and the server goes on. It never
  waits for a reader that does not read;
- that it is alive is told from a timer of the reactor: a reactor that hangs tells nothing, and is restarted;
- the variables are for this process only, and are taken away from what it may start.

It must not know what a server is: `wsecho.app.service` says when something has happened.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from wsecho.policy.text import escape_peer_text

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Notifier", "notifier_from", "sender_to"]

_log = Logger(namespace="wsecho")

_SOCKET: Final = "NOTIFY_SOCKET"
_WATCHDOG: Final = "WATCHDOG_USEC"
_WATCHDOG_PROCESS: Final = "WATCHDOG_PID"

#: Beyond what a server may take to stop, for systemd to wait: the end of the process itself.
_GRACE_SECONDS: Final = 10.0


class Notifier:
    """Tells systemd, or nobody.

    :param clock: of the watchdog
    :param send: sends a datagram; None to tell nobody
    :param watchdog_seconds: after how long without a sign of life the process is killed; None for never
    :param monotonic: microseconds of CLOCK_MONOTONIC
    """

    def __init__(
        self,
        clock: IReactorTime,
        send: Callable[[bytes], object] | None = None,
        watchdog_seconds: float | None = None,
        *,
        monotonic: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
    ) -> None:
        self._clock = clock
        self._send = send
        self._interval = None if watchdog_seconds is None else watchdog_seconds / 2
        self._monotonic = monotonic
        self._describe: Callable[[], str] = str
        self._outcome = ""
        self._call: IDelayedCall | None = None
        self._has_failed = False

    def ready(self, describe: Callable[[], str]) -> None:
        """Tell that clients may connect, and from now on that the process is alive.

        :param describe: returns what ``systemctl status`` shows, one line
        """
        self._describe = describe
        self._tell("READY=1", self._status())
        if self._send is not None and self._interval is not None and self._call is None:
            self._call = self._clock.callLater(self._interval, self._is_alive)

    def reloading(self) -> None:
        """Tell that files are read again."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={self._monotonic()}")

    def reloaded(self, outcome: str) -> None:
        """Tell that they were, or could not be.

        :param outcome: which of both, one line; shown from now on
        """
        self._outcome = f"; reload: {outcome}"
        self._tell("READY=1", self._status())

    def stopping(self, describe: Callable[[], str], seconds: float) -> None:
        """Tell that no clients are accepted any more, and how long those that are connected may take to
        leave: systemd then waits for so long, also where its own timeout is shorter.

        :param describe: see `ready`
        """
        self._describe = describe
        microseconds = round((seconds + _GRACE_SECONDS) * 1_000_000)
        self._tell("STOPPING=1", self._status(), f"EXTEND_TIMEOUT_USEC={microseconds}")

    def end(self) -> None:
        """Tell nothing more by itself; harmless when nothing is."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _is_alive(self) -> None:
        assert self._interval is not None
        self._call = self._clock.callLater(self._interval, self._is_alive)
        self._tell("WATCHDOG=1", self._status())

    def _status(self) -> str:
        return f"STATUS={self._describe()}{self._outcome}"

    def _tell(self, *lines: str) -> None:
        if self._send is None:
            return
        try:
            # A line end inside of one would begin another.
            self._send("\n".join(line.replace("\n", " ") for line in lines).encode())
        except OSError as error:
            if not self._has_failed:
                _log.warn(
                    "systemd cannot be told {what}: {reason}; told once",
                    what=lines[0],
                    reason=error.strerror or str(error),
                )
            self._has_failed = True


def sender_to(address: str) -> Callable[[bytes], object]:
    """Return what sends datagrams to a socket that systemd names: a path, or ``@`` and an abstract name.

    :raises ValueError: it is neither
    """
    if address[:1] not in ("/", "@") or len(address) < 2:
        raise ValueError("accepted is a path, or @ and an abstract name")
    place = b"\0" + os.fsencode(address[1:]) if address[0] == "@" else os.fsencode(address)

    def send(data: bytes) -> None:
        # For each one anew: a daemon closes what it does not know of, and there are few.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            sending.sendto(data, place)

    return send


def notifier_from(variables: MutableMapping[str, str], clock: Any, *, process_id: int) -> Notifier:
    """Return what tells whoever started this process, and take its variables away.

    :param variables: of the process
    :param process_id: its own; what is meant for another process's watchdog is left alone
    """
    address, microseconds, watched = (
        variables.pop(name, "") for name in (_SOCKET, _WATCHDOG, _WATCHDOG_PROCESS)
    )
    if not address:
        return Notifier(clock)
    try:
        send = sender_to(address)
    except ValueError as error:
        _log.warn("{name}={address}: {error}", name=_SOCKET, address=escape_peer_text(address), error=error)
        return Notifier(clock)
    is_ours = watched in ("", str(process_id))
    is_wanted = is_ours and microseconds.isascii() and microseconds.isdecimal() and int(microseconds) > 0
    return Notifier(clock, send, int(microseconds) / 1_000_000 if is_wanted else None)
