"""Any bytes of a client, cut anywhere, over a real connection to a server in a process of its own.

What is read from sockets may take another way than what a test hands to a protocol: here it takes its own.
The server is started as it is installed, and once more without its compiled part.
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.serving import TIMEOUT, python_environment, serving
from tests.wire.harness import CLOSE, TEXT, Frame, frame, handshake, parse_answer, parse_frames
from tests.wire.streams import DEFLATE, Heard, cut, wsecho_hears
from tests.wire.test_cuts import CUTS, LIMIT, streams


def exchange(port: int, pieces: Sequence[bytes], *, compression: bool) -> list[Frame]:
    """Send the pieces behind an opening handshake, then the end; return the server's frames up to its
    Close."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = handshake("/echo", *([DEFLATE] if compression else []))
        client.sendall(head.replace(b"example.com", b"127.0.0.1"))
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(65536)
        for piece in pieces:
            client.sendall(piece)
            # Whether a piece is read by itself is up to the machine: now and then it is.
            select.select([client], [], [], 0)
        client.shutdown(socket.SHUT_WR)
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

    def search(self, **environment: str) -> None:
        """Streams as hypothesis finds them, at one server."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        command = [sys.executable, "-m", "wsecho", "--port=0", "--host=127.0.0.1", "--compression=deflate"]
        command.append(f"--max-message-size={LIMIT}")
        env = python_environment() | environment

        @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.booleans().flatmap(lambda packed: st.tuples(st.just(packed), streams(packed))), CUTS)
        def test(case: tuple[bool, bytes], cuts: list[int]) -> None:
            compression, data = case
            heard = wsecho_hears([data] if data else [], compression=compression, max_message_size=LIMIT)
            found = exchange(port, cut(data, cuts), compression=compression)
            if found and found[-1].opcode == CLOSE and heard.echoed is None:
                found[-1] = Frame(CLOSE, found[-1].payload[:2])
            self.assertEqual(found, expected(heard))

        with serving(command, cwd=folder, env=env) as urls:
            port = int(urls[0].rstrip("/").rpartition(":")[2])
            test()
            many = b"".join(frame(TEXT, b"%d" % number) for number in range(5000))
            echoes = exchange(port, [many], compression=False)
            self.assertEqual([one.payload for one in echoes], [b"%d" % number for number in range(5000)])

    def test_as_installed(self) -> None:
        """Any stream over a socket means what it means when it is handed to a protocol in one piece."""
        self.search()

    def test_without_the_compiled_part(self) -> None:
        """So it does without the compiled part."""
        self.search(WSECHO_PURE="1")
