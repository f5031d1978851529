"""Servers with limits on real sockets, plain, over TLS and compressed, and clients that go beyond them.

The kernel is given small buffers, so that a client that does not read is noticed soon. The time is the
test's; nothing sleeps: a test lets the reactor turn until something is so.
"""

from __future__ import annotations

import socket
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from tests.wire.harness import (
    BINARY,
    CLOSE,
    CONTINUATION,
    Certificates,
    Frame,
    Loopback,
    Socket,
    frame,
    handshake,
)
from tests.wire.streams import DEFLATE
from tests.wire.test_connection_sockets import SocketClock
from wsecho import EchoServerFactory
from wsecho.policy.settings import Settings
from wsecho.wire.beneath import bottom_transport

the_reactor: Any = reactor

#: Bytes that the kernel is told to keep for each direction at each end; it keeps about twice as many.
KERNEL_BUFFER = 32 * 1024

#: Any payload that has no effect and is not changed by its mask.
NO_MASK = bytes(4)


class Client(Socket):
    """A client's end, which takes the server's frames apart as they come.

    :ivar frames: those that came, decompressed
    :ivar on_frame: called with each
    """

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self.on_frame: Callable[[Frame], object] = lambda one: None
        self._is_open = False
        self._rest = bytearray()

    def dataReceived(self, data: bytes) -> None:
        if not self._is_open:
            super().dataReceived(data)
            head, end, rest = self.received.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101 "), head
            self._is_open, data = True, rest
        self._rest += data
        at = 0
        while (found := self._frame_at(at)) is not None:
            at, one = found
            self.frames.append(one)
            self.on_frame(one)
        del self._rest[:at]

    def _frame_at(self, at: int) -> tuple[int, Frame] | None:
        rest = self._rest
        if len(rest) < at + 2:
            return None
        first, size = rest[at], rest[at + 1]
        at += 2
        for code, form in ((126, "!H"), (127, "!Q")):
            if size == code:
                if len(rest) < at + struct.calcsize(form):
                    return None
                (size,) = struct.unpack_from(form, rest, at)
                at += struct.calcsize(form)
                break
        if len(rest) < at + size:
            return None
        payload = bytes(rest[at : at + size])
        if first & 0x40:
            payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
        return at + size, Frame(first & 15, payload, bool(first & 0x80), first >> 4 & 7)

    def payloads(self) -> list[bytes]:
        """Of data frames."""
        return [one.payload for one in self.frames if one.opcode < CLOSE]

    def of(self, opcode: int) -> list[bytes]:
        """The payloads of frames of one kind."""
        return [one.payload for one in self.frames if one.opcode == opcode]

    def stop_reading(self) -> None:
        """Read no more: the kernel fills."""
        cast(Any, self.transport).pauseProducing()

    def read_on(self) -> None:
        """Read again."""
        cast(Any, self.transport).resumeProducing()

    def send(self, *frames: bytes) -> None:
        """Send bytes; what the server does not read waits on this side."""
        cast(Any, self.transport).write(b"".join(frames))


class LimitsTestCase(TestCase):
    """A test with a server that has limits.

    :ivar clock: the server's time
    :ivar log: the lines of wsecho's log
    """

    #: Seconds, of which each of these tests takes few.
    timeout = 30

    compresses = False

    def setUp(self) -> None:
        self.clock = SocketClock()
        self.log: list[str] = []
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self._loopback: Any = None

    def _observe(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "wsecho":
            self.log.append(formatEvent(event))

    def tls_of_the_test(self) -> Certificates | None:
        """The certificates; None for plain TCP."""
        return None

    def settings(self, **options: Any) -> Settings:
        """Settings without pings, compressed or not."""
        return Settings(ping_interval=0, compression="deflate" if self.compresses else "off", **options)

    def listen(self, make: Any = EchoServerFactory, **options: Any) -> Any:
        """A factory that listens. Names of `Settings` among the options become its settings."""
        names = [name for name in options if name in Settings.__slots__]
        settings = self.settings(**{name: options.pop(name) for name in names})
        return self.listen_with(make(reactor=self.clock, settings=settings, **options))

    def listen_with(self, factory: Any) -> Any:
        """Listen with this factory."""
        self._factory = factory
        self._loopback = Loopback(self, factory, self.tls_of_the_test())
        return factory

    async def open(self, path: str = "/") -> tuple[Client, Any]:
        """A client whose connection is open, and the server's end of it."""
        await self._loopback.port()
        # What is accepted inherits it.
        self._shrink(self._loopback._port.socket)
        before = set(self._factory.connections)
        client = await self._loopback.connect(Client)
        self._shrink(bottom_transport(client.transport).socket)
        client.send(handshake(path, *([DEFLATE] if self.compresses else [])))
        await self.until(lambda: client._is_open)
        (server,) = set(self._factory.connections) - before
        self.assertEqual(server._perMessageCompress is not None, self.compresses)
        return client, server

    @staticmethod
    def _shrink(end: socket.socket) -> None:
        for name in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            end.setsockopt(socket.SOL_SOCKET, name, KERNEL_BUFFER)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Let the reactor turn until the condition holds."""
        while not condition():
            await deferLater(the_reactor, 0)

    async def has(self, client: Client, number: int) -> None:
        """Wait until a client has so many messages."""
        await self.until(lambda: len(client.payloads()) == number)

    async def turns(self, number: int = 50) -> None:
        """Let the reactor turn, so that whatever can happen has happened."""
        for _ in range(number):
            await deferLater(the_reactor, 0)

    def message(self, payload: bytes, opcode: int = BINARY) -> bytes:
        """A message in one frame."""
        return self.fragments([payload], opcode)

    def fragments(self, parts: Sequence[bytes], opcode: int = BINARY) -> bytes:
        """A message in a frame for each part."""
        rsv = 0
        if self.compresses:
            deflate, rsv = zlib.compressobj(1, wbits=-15), 4
            parts = [deflate.compress(part) + deflate.flush(zlib.Z_SYNC_FLUSH) for part in parts]
            parts[-1] = parts[-1].removesuffix(b"\x00\x00\xff\xff") or b"\x00"
        frames = [
            frame(
                CONTINUATION if number else opcode,
                part,
                fin=number == len(parts) - 1,
                rsv=0 if number else rsv,
                mask=NO_MASK,
            )
            for number, part in enumerate(parts)
        ]
        return b"".join(frames)

    async def close_of(self, client: Client) -> tuple[int, bytes]:
        """Code and reason of the Close that the server sent."""
        await self.until(lambda: client.of(CLOSE))
        (payload,) = client.of(CLOSE)
        return int.from_bytes(payload[:2], "big"), payload[2:]
