"""A client of raw bytes: it sends what it likes, when it likes, and reads only when it is told to.

Nothing waits in here but :meth:`Peer.open`: a peer says at once how many bytes it could send or what there
was to read, so that one loop can play many peers.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from benchmarks.processes import Address

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "DEFLATE",
    "PING",
    "PONG",
    "TEXT",
    "Ended",
    "Frame",
    "FrameReader",
    "Peer",
    "client_context",
    "close_frame",
    "frame",
    "handshake",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
#: The header line that offers compression.
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
_OPEN_SECONDS = 30.0
_READ_BYTES = 256 * 1024


@cache
def client_context() -> ssl.SSLContext:
    """TLS for clients of servers that this process started: who they are needs no proof."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Ended(Exception):
    """The server ended the connection: ``"end"`` for an end of stream, ``"reset"`` for anything worse."""


def handshake(path: str, *headers: str) -> bytes:
    """An opening handshake."""
    lines = (
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *headers,
    )
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """A client's frame (RFC 6455 section 5.2). The mask is of zeros: legal, and costs the client nothing."""
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        length = struct.pack("!B", bit | size)
    elif size < 65536:
        length = struct.pack("!BH", bit | 126, size)
    else:
        length = struct.pack("!BQ", bit | 127, size)
    return bytes([fin << 7 | rsv << 4 | opcode]) + length + (b"\0\0\0\0" if masked else b"") + payload


def close_frame(code: int) -> bytes:
    """A client's Close frame."""
    return frame(CLOSE, struct.pack("!H", code))


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of the server's."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def code(self) -> int:
        """Of a Close frame; 1005 when it has none."""
        code: int = struct.unpack("!H", self.payload[:2])[0] if len(self.payload) > 1 else 1005
        return code


class FrameReader:
    """Makes frames of a server's bytes, in whatever pieces they come."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now."""
        self._data += data
        at = 0
        try:
            while len(self._data) - at >= 2:
                first, size = self._data[at], self._data[at + 1]
                begin = at + 2
                if size == 126:
                    begin += 2
                    if len(self._data) < begin:
                        break
                    (size,) = struct.unpack_from("!H", self._data, begin - 2)
                elif size == 127:
                    begin += 8
                    if len(self._data) < begin:
                        break
                    (size,) = struct.unpack_from("!Q", self._data, begin - 8)
                if len(self._data) < begin + size:
                    break
                at = begin + size
                yield Frame(first & 15, bytes(self._data[begin:at]), bool(first & 0x80), first >> 4 & 7)
        finally:
            del self._data[:at]


class Peer:
    """One connection.

    :param receive_buffer: bytes that the kernel may hold for what is not read; None for its default
    """

    def __init__(self, address: Address, *, receive_buffer: int | None = None) -> None:
        plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            # Before connect: the window is agreed on then.
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(_OPEN_SECONDS)
        plain.connect((address.host, address.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket: socket.socket = plain
        if address.certificate is not None:
            self.socket = client_context().wrap_socket(plain, server_hostname="127.0.0.1")
        self.socket.setblocking(False)
        self.frames = FrameReader()

    def fileno(self) -> int:
        return self.socket.fileno()

    def open(self, path: str, *headers: str) -> Peer:
        """Do the opening handshake; what comes behind the answer is left to :attr:`frames`.

        :raises Ended: the server ended the connection, or answered with another status than 101
        """
        self.send_whole(handshake(path, *headers))
        head = self.read_until(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise Ended(head[9:12].decode("ascii", "replace"))
        # Nobody talks to a peer that has not spoken yet: nothing follows the head.
        return self

    def send(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes now; return how much that was.

        :raises Ended: the connection has ended
        """
        try:
            return self.socket.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except OSError:
            raise Ended("reset") from None

    def read(self) -> bytes:
        """Read what is there now; empty when nothing is.

        :raises Ended: the connection has ended
        """
        try:
            data = self.socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        except ssl.SSLEOFError:
            raise Ended("end") from None
        except OSError:
            raise Ended("reset") from None
        if not data:
            raise Ended("end")
        return data

    def send_whole(self, data: bytes, seconds: float = _OPEN_SECONDS) -> None:
        """Send all of it.

        :raises Ended: the connection has ended
        :raises TimeoutError: the server did not take it in time
        """
        view, deadline = memoryview(data), time.monotonic() + seconds
        while view:
            view = view[self.send(view) :]
            if view and not self.wait(select.POLLOUT, deadline - time.monotonic()):
                raise TimeoutError("the server does not read")

    def read_until(self, end: bytes, seconds: float = _OPEN_SECONDS) -> bytes:
        """Read until the bytes end so.

        :raises Ended: the connection has ended
        :raises TimeoutError: they did not come in time
        """
        data, deadline = b"", time.monotonic() + seconds
        while not data.endswith(end):
            data += self.read()
            if not data.endswith(end) and not self.wait(select.POLLIN, deadline - time.monotonic()):
                raise TimeoutError(f"no {end!r}")
        return data

    def wait(self, events: int, seconds: float) -> int:
        """Wait for events of ``select.poll``; 0 when none came in time."""
        if events & select.POLLIN and isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return select.POLLIN
        poll = select.poll()
        poll.register(self.socket, events)
        found = poll.poll(max(0.0, seconds) * 1000)
        return found[0][1] if found else 0

    @property
    def is_dead(self) -> bool:
        """Whether the connection has ended, told without reading from it."""
        return bool(self.wait(select.POLLRDHUP, 0) & (select.POLLRDHUP | select.POLLERR | select.POLLHUP))

    def close(self) -> None:
        """End it."""
        self.socket.close()
