"""The seeds of the corpus, made from the handshakes and frames of the tests.

    python -m fuzz.seeds

writes those that are not there; nothing is removed, since other files of the corpus are finds.
"""

from __future__ import annotations

import hashlib
import sys
import zlib
from collections.abc import Iterator, Sequence

from fuzz.run import CORPUS
from tests.wire.harness import BINARY, CONTINUATION, KEY, PING, PONG, TEXT, close, frame, handshake

__all__ = ["main", "seeds"]


def _heads() -> Iterator[bytes]:
    yield handshake()
    yield handshake("/broadcast/room?a=b&c=%20", "Origin: https://example.com")
    yield handshake("/", "Sec-WebSocket-Protocol: chat, superchat, ,v1")
    yield handshake("/", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12, x")
    yield handshake("http://example.com/absolute")
    yield handshake("wss://example.com")
    yield handshake("/%zz")
    yield handshake("/#fragment")
    yield handshake("*")
    yield handshake("/", "Content-Length: 5") + b"12345"
    yield handshake("/", "Content-Length: 0")
    yield handshake("/", "Transfer-Encoding: chunked")
    yield handshake("/", "X : blank before the colon")
    yield handshake("/", " folded")
    yield handshake("/", "X: \x0b\x0c\x1c\x1d\x1e\x85 line ends elsewhere")
    yield handshake("/", "X: \0")
    yield handshake("/", "Connection: ")
    yield handshake("/", "X:", "X: a", "X:")
    yield handshake("/", "Host: other.example")
    yield handshake("/", *(f"X-{number}: a" for number in range(40)))
    yield handshake("/" + "a" * 600)
    yield handshake("/", "X: " + "b" * 700)
    yield handshake().replace(b"websocket", b"WebSocket").replace(b"Upgrade\r\n", b"keep-alive, Upgrade\r\n")
    yield handshake().replace(b"Version: 13", b"Version: 8")
    yield handshake().replace(KEY.encode(), b"dG9vIHNob3J0")
    yield handshake().replace(b"example.com", b"[::1]:9000")
    yield handshake().replace(b"example.com", b"user@example.com")
    yield handshake().replace(b"\r\n", b"\n")
    yield b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"
    yield b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"
    yield b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n"
    yield b"\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def _deflated(payload: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def _streams() -> Iterator[bytes]:
    yield frame(TEXT, "grüße".encode())
    yield frame(BINARY, bytes(range(256)))
    yield frame(TEXT, b"a" * 125) + frame(TEXT, b"a" * 126)
    yield frame(TEXT) + frame(BINARY) + frame(PING) + frame(PONG)
    yield frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"b")
    yield frame(BINARY, fin=False) + frame(CONTINUATION, fin=False) * 20 + frame(CONTINUATION)
    yield frame(TEXT, b"\xe2\x82", fin=False) + frame(CONTINUATION, b"\xac")
    yield frame(TEXT, b"\xff")
    yield frame(TEXT, b"ok\xc3")
    yield frame(TEXT, b"unmasked", mask=b"")
    yield frame(TEXT, b"reserved", rsv=4)
    yield frame(3, b"reserved opcode")
    yield frame(CONTINUATION, b"of nothing")
    yield frame(PING, b"in parts", fin=False)
    yield frame(PING, bytes(126))
    yield frame(BINARY, bytes(700))[:300]
    yield b"\x82\xff" + (5000).to_bytes(8, "big") + b"\0\0\0\0"
    yield b"\x82\xff" + (1 << 63).to_bytes(8, "big") + b"\0\0\0\0"
    yield b"\x81\xfe\x00\x7d\0\0\0\0" + bytes(125)
    yield close() + frame(TEXT, b"late")
    yield close(1000, b"done")
    yield close(1005)
    yield close(4000, b"\xff")
    yield b"".join(frame(TEXT, b"%d" % number) for number in range(60))


def _compressed_streams() -> Iterator[bytes]:
    packed = _deflated(b"hello " * 50)
    yield frame(TEXT, packed, rsv=4)
    yield frame(TEXT, packed[:5], rsv=4, fin=False) + frame(CONTINUATION, packed[5:])
    yield frame(TEXT, packed[:5], rsv=4)
    yield frame(BINARY, _deflated(bytes(100_000)), rsv=4)
    yield frame(BINARY, b"\xff\xff no deflate", rsv=4)


def seeds() -> dict[str, set[bytes]]:
    """The seeds of each target."""
    cuts = bytes([12])
    return {
        "head": set(_heads()),
        "frames": {cuts + one for one in _streams()} | {bytes([13]) + one for one in _compressed_streams()},
    }


def main(arguments: Sequence[str]) -> None:
    """Write the seeds that are missing."""
    if arguments:
        raise SystemExit("python -m fuzz.seeds takes no arguments")
    for target, inputs in seeds().items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for data in inputs:
            # libFuzzer names its finds likewise.
            (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1:])
