"""A WebSocket server that lies, for tests of a load that must notice: threads and blocking sockets."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["Lie", "accept_for", "frame", "lying_server"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#: From a payload, its number on its connection and the number of the connection (both from 0) to what is sent
#: to each connection: by its number, bytes.
Lie = Callable[[bytes, int, int], dict[int, bytes]]


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """A frame from a server."""
    if len(payload) < 126:
        return bytes([first, len(payload)]) + payload
    return bytes([first, 126]) + len(payload).to_bytes(2, "big") + payload


def _receive(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        more = connection.recv(length - len(found))
        if not more:
            raise EOFError
        found += more
    return found


def _message(connection: socket.socket) -> tuple[int, bytes]:
    """The opcode and the payload of the next frame."""
    first, second = _receive(connection, 2)
    length = second & 127
    if length == 126:
        length = int.from_bytes(_receive(connection, 2), "big")
    mask = _receive(connection, 4)
    payload = _receive(connection, length)
    return first & 15, bytes(byte ^ mask[place & 3] for place, byte in enumerate(payload))


class _Server:
    def __init__(self, lie: Lie, accept: Callable[[bytes], bytes], greeting: bytes) -> None:
        self.lie, self.accept, self.greeting = lie, accept, greeting
        self.lock = threading.Lock()
        self.connections: list[socket.socket] = []
        self.pongs: list[bytes] = []

    def serve(self, connection: socket.socket, number: int) -> None:
        """One connection, to its end."""
        with connection, suppress(EOFError, OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096) or b"\r\n\r\n"
            key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
            answer = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + self.accept(key)
            connection.sendall(answer + b"\r\n\r\n" + self.greeting)
            place = 0
            while True:
                opcode, payload = _message(connection)
                if opcode == 10:
                    self.pongs.append(payload)
                    continue
                with self.lock:
                    for receiver, data in self.lie(payload, place, number).items():
                        self.connections[receiver].sendall(data)
                place += 1


def accept_for(key: bytes) -> bytes:
    """The right answer to a key."""
    return base64.b64encode(hashlib.sha1(key + _GUID).digest())


@contextmanager
def lying_server(
    lie: Lie, *, accept: Callable[[bytes], bytes] = accept_for, greeting: bytes = b""
) -> Iterator[tuple[int, list[bytes]]]:
    """Serve meanwhile; the port, and the payloads of the pongs that come.

    :param accept: makes the answer to a key
    :param greeting: sent right behind the answer to a handshake
    """
    server = _Server(lie, accept, greeting)
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def listen() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                server.connections.append(connection)
                arguments = (connection, len(server.connections) - 1)
                threads.append(threading.Thread(target=server.serve, args=arguments))
                threads[-1].start()

    accepting = threading.Thread(target=listen)
    accepting.start()
    try:
        yield listener.getsockname()[1], server.pongs
    finally:
        # close() alone leaves a thread in accept.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in server.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in [accepting, *threads]:
            thread.join()
