"""The seeds of the corpus, made from the handshakes, frames and envelopes of the tests.

    python -m fuzz.seeds

writes those that are not there; nothing is removed, since other files of the corpus are finds.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from fuzz.run import CORPUS
from tests.services.enveloping import message_id
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


def _lines(*envelopes: dict[str, Any] | bytes) -> bytes:
    return b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in envelopes)


def _requests() -> Iterator[bytes]:
    """What a client says, behind the query of its URL where there is one."""
    publish = {"type": "publish", "id": message_id(1)}
    yield _lines({"type": "ping"}, {"type": "presence", "more": [1.5, None, {}]})
    yield _lines(publish | {"text": "grüße \0\u2028"}, publish | {"text": "the same id"})
    yield _lines(publish | {"binary": "/wA="}, publish | {"id": message_id(2), "binary": ""})
    yield _lines(publish | {"binary": "_-A="}, publish | {"binary": "/wB="}, publish | {"binary": "/wA"})
    yield _lines(publish, publish | {"text": "", "binary": ""}, publish | {"text": 1})
    yield _lines(publish | {"text": "\ud800"}, publish | {"text": "\U0001f600"})
    yield _lines({"type": "publish", "id": "1", "text": "x"}, {"type": "message", "id": message_id(1)})
    yield b"?epoch=e-_1&since=1\n" + _lines({"type": "ping"})
    yield b"?since=1&other=%20\n" + _lines({"type": "ping"})
    yield b"?epoch=\xff&since=-1\n" + _lines({"type": "ping"})
    yield b'\0{"type":"ping"}'
    yield b'{"type":"ping","type":"presence"}'
    yield b'{"type":"ping","x":NaN}'
    yield b'{"type":"ping","x":1e999}'
    yield b'{"type":"\xff"}'
    yield b'\xef\xbb\xbf{"type":"ping"}'
    yield b"[" * 1000
    yield b"{}"


def _answers() -> Iterator[bytes]:
    """What a server says."""
    place = {"epoch": "e", "offset": 1}
    welcome = {"type": "welcome", "id": "n-1", **place, "recovered": False, "replayed": 1, "presence": None}
    message = {"type": "message", "epoch": "e", "sender": "n-2"}
    yield _lines(welcome, message | {"offset": 2, "text": "grüße"}, message | {"offset": 4, "binary": "/wA="})
    yield _lines(message | {"offset": 1, "text": "x"}, message | {"offset": 1, "text": "again"})
    yield _lines(message | {"offset": 1, "epoch": "f", "text": "x"}, message | {"offset": 2, "text": "x"})
    yield _lines(message | {"epoch": None, "offset": None, "text": "no history"})
    yield _lines(message | {"offset": 1, "text": "\ud800"})
    yield _lines(message | {"offset": 1, "text": "", "binary": ""})
    yield _lines(message | {"offset": -1, "text": "x"})
    yield _lines({"type": "gap", "epoch": None, "offset": None}, message | {"offset": 9, "text": "x"})
    yield _lines({"type": "gap", "epoch": "e", "offset": 3}, {"type": "gap", "epoch": "e", "offset": None})
    yield _lines(
        {"type": "join", "member": "n-2", "count": 2}, {"type": "leave", "member": "n-2", "count": 1}
    )
    yield _lines({"type": "presence", "count": 7}, {"type": "dropped", "count": 3}, {"type": "pong"})
    yield _lines({"type": "engine", "state": "away"}, {"type": "novelty", "x": [1.5]})
    yield _lines({"type": "ack", "id": message_id(0), **place})
    yield _lines({"type": "error", "id": message_id(0), "code": "too-large", "line": "\x1b"})
    yield _lines({"type": "error", "id": message_id(0), "code": "engine-away", "line": ""})
    yield _lines({"type": "error", "id": None, "code": "bad-field", "line": "id"})
    yield _lines(welcome | {"epoch": "\ud800"})
    yield b'{"type":"presence","count":1e999}'
    yield '{"type":"pong"}'.encode("utf-16-le")
    yield b'\0{"type":"pong"}'
    yield b"{}"


def seeds() -> dict[str, set[bytes]]:
    """The seeds of each target."""
    cuts = bytes([12])
    return {
        "head": set(_heads()),
        "frames": {cuts + one for one in _streams()} | {bytes([13]) + one for one in _compressed_streams()},
        "envelopes": {b"2" + one for one in _requests()} | {b"7" + one for one in _answers()},
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
