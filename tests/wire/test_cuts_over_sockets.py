"""Any bytes of a client, cut anywhere, over a real connection to a server in a process of its own.

What is read from sockets may take another way than what a test hands to a protocol: here it takes its own.
The server is started as it is installed, and once more without its compiled part; plain and over TLS.
"""

from __future__ import annotations

import select
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.serving import TIMEOUT, python_environment, serving
from tests.wire.harness import (
    CLOSE,
    TEXT,
    Frame,
    certificates,
    frame,
    handshake,
    parse_answer,
    parse_frames,
)
from tests.wire.streams import DEFLATE, Heard, cut, wsecho_hears
from tests.wire.test_cuts import CUTS, LIMIT, streams


class Plain:
    """A stream as it is."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client

    def sendall(self, data: bytes) -> None:
        """Send a piece."""
        self._client.sendall(data)

    def recv(self, size: int) -> bytes:
        """What came; empty at the end."""
        return self._client.recv(size)

    def finish(self) -> None:
        """End our half."""
        self._client.shutdown(socket.SHUT_WR)


class Secure(Plain):
    """A stream over TLS: a record for each piece, cut in its middle; close_notify ends it."""

    def __init__(self, client: socket.socket) -> None:
        super().__init__(client)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        while self._waits(self._tls.do_handshake):
            client.sendall(self._outgoing.read())
            self._incoming.write(client.recv(65536))
        client.sendall(self._outgoing.read())

    def _waits(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except ssl.SSLWantReadError:
            return True
        return False

    def sendall(self, data: bytes) -> None:
        if data:
            self._tls.write(data)
        records = self._outgoing.read()
        self._client.sendall(records[: len(records) // 2])
        select.select([self._client], [], [], 0)
        self._client.sendall(records[len(records) // 2 :])

    def recv(self, size: int) -> bytes:
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                data = self._client.recv(size)
                assert data, "TCP has ended without close_notify"
                self._incoming.write(data)
            except ssl.SSLZeroReturnError:
                return b""

    def finish(self) -> None:
        self._waits(self._tls.unwrap)
        self._client.sendall(self._outgoing.read())


def exchange(
    port: int, pieces: Sequence[bytes], *, compression: bool, stream: type[Plain] = Plain
) -> list[Frame]:
    """Send the pieces behind an opening handshake, then the end; return the server's frames up to its
    Close."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = stream(connection)
        head = handshake("/echo", *([DEFLATE] if compression else []))
        client.sendall(head.replace(b"example.com", b"127.0.0.1"))
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(65536)
        for piece in pieces:
            client.sendall(piece)
            # Whether a piece is read by itself is up to the machine: now and then it is.
            select.select([connection], [], [], 0)
        client.finish()
        while data := client.recv(65536):
            received += data
    answer = parse_answer(received)
    assert answer.status == "HTTP/1.1 101 Switching Protocols", answer
    return list(parse_frames(answer.rest))


def expected(heard: Heard) -> list[Frame]:
    """The frames that a server writes that hears this, with no reason in a Close of its own."""
    if heard.close_code is None:
        return list(heard.frames)
    payload = heard.echoed
    if payload is None:
        payload = heard.close_code.to_bytes(2, "big")
    return [*heard.frames, Frame(CLOSE, payload)]


class SocketTests(SynchronousTestCase):
    """Streams over loopback."""

    stream: type[Plain] = Plain

    def listening(self, folder: Path) -> list[str]:
        """The options that say where the server listens."""
        return ["--port=0", "--host=127.0.0.1"]

    def search(self, **environment: str) -> None:
        """Streams as hypothesis finds them, at one server."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        command = [sys.executable, "-m", "wsecho", *self.listening(folder), "--compression=deflate"]
        command.append(f"--max-message-size={LIMIT}")
        env = python_environment() | environment

        @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.booleans().flatmap(lambda packed: st.tuples(st.just(packed), streams(packed))), CUTS)
        def test(case: tuple[bool, bytes], cuts: list[int]) -> None:
            compression, data = case
            heard = wsecho_hears([data] if data else [], compression=compression, max_message_size=LIMIT)
            found = exchange(port, cut(data, cuts), compression=compression, stream=self.stream)
            if found and found[-1].opcode == CLOSE and heard.echoed is None:
                found[-1] = Frame(CLOSE, found[-1].payload[:2])
            self.assertEqual(found, expected(heard))

        # The server lives for the whole search, and what it does not answer is TIMEOUT's affair all the same.
        with serving(command, cwd=folder, env=env, seconds=10 * TIMEOUT) as urls:
            port = int(urls[0].rstrip("/").rpartition(":")[2])
            test()
            many = b"".join(frame(TEXT, b"%d" % number) for number in range(5000))
            echoes = exchange(port, [many], compression=False, stream=self.stream)
            self.assertEqual([one.payload for one in echoes], [b"%d" % number for number in range(5000)])

    def test_as_installed(self) -> None:
        """Any stream over a socket means what it means when it is handed to a protocol in one piece."""
        self.search()

    def test_without_the_compiled_part(self) -> None:
        """So it does without the compiled part."""
        self.search(WSECHO_PURE="1")


class SecureSocketTests(SocketTests):
    """The same streams over TLS."""

    stream = Secure

    def listening(self, folder: Path) -> list[str]:
        certificates(str(folder / "tls"))
        return [
            "--listen-tls=tcp:0:interface=127.0.0.1",
            f"--certificate={folder / 'tls' / 'server.pem'}",
            f"--private-key={folder / 'tls' / 'server-key.pem'}",
        ]
