"""TLS for a client that reads in one thread and writes in another, as websockets' sync client does.

An OpenSSL connection is for one thread at a time, and Python before 3.13 does not see to it: once in some
hundred connections a read fails, or waits for ever, for a write that came between.
"""

from __future__ import annotations

import select
import ssl
import threading
from typing import Any

__all__ = ["LockedSocket", "locked"]


class LockedSocket(ssl.SSLSocket):
    """Reads without waiting and writes, each under one lock; waits without."""

    def _guard(self) -> threading.RLock:
        # ssl makes sockets by a method of its own, not by __init__.
        guard: threading.RLock = self.__dict__.setdefault("guard", threading.RLock())
        return guard

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Wait for data and return it; as of a socket, but that the end of it is never an error."""
        while True:
            with self._guard():
                before = self.gettimeout()
                try:
                    self.settimeout(0)
                    return super().recv(buflen, flags)
                except ssl.SSLWantReadError:
                    pass
                finally:
                    self.settimeout(before)
            ready, _, _ = select.select([self], [], [], before)
            if not ready:
                raise TimeoutError("the read operation timed out")

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some of the data."""
        with self._guard():
            return super().send(data, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of the data."""
        with self._guard():
            super().sendall(data, flags)


def locked(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let the sockets of a context be such."""
    context.sslsocket_class = LockedSocket
    return context
