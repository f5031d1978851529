"""What clients do in a soak: scenes, each played from its first connection to the end of its last, over and
over.

A scene verifies whatever it gets and raises :class:`Wrong` when that is not what it must be. Scenes know
nothing of each other; a broadcast scene has a channel of its own while it lasts.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peer import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEFLATE,
    PING,
    PONG,
    TEXT,
    Frame,
    FrameReader,
    client_context,
    close_frame,
    frame,
    handshake,
)
from benchmarks.processes import Address

__all__ = ["POLICIES", "SCENES", "Client", "Stage", "Wrong", "configuration"]

_KIB = 1024
_STEP_SECONDS = 20.0
_SIZES = (0, 1, 125, 126, 1000, 4096, 65535, 65536, 200_000)
#: Small, so that a peer that does not read is noticed soon.
_WINDOW = 16 * _KIB

POLICIES = ("close", "drop-oldest", "drop-newest")
_ROOMS_EACH = 2


def configuration() -> str:
    """The TOML file of a server in a soak: channels under each policy for slow consumers."""
    return "".join(f'[channel."{room}"]\nslow-consumer = "{policy}"\n\n' for room, policy in _rooms().items())


def _rooms() -> dict[str, str]:
    return {f"{policy}-{number}": policy for policy in POLICIES for number in range(_ROOMS_EACH)}


class Wrong(Exception):
    """A server did what it must not do."""


@dataclass(slots=True)
class Stage:
    """What all scenes share.

    :ivar addresses: where the server listens, plain and over TLS
    :ivar rooms: the channels that nobody uses now, with their policies
    :ivar counts: what was done how often
    """

    addresses: Sequence[Address]
    chance: random.Random
    rooms: dict[str, str] = field(default_factory=_rooms)
    counts: Counter[str] = field(default_factory=Counter)

    async def connect(self, path: str, *headers: str, window: int | None = None) -> Client:
        """A client that is open, on either listener."""
        client = await Client.connect(self.chance.choice(self.addresses), window)
        await client.open(path, *headers)
        self.counts["connections"] += 1
        return client


class Client:
    """One connection, which sends raw bytes and reads frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()
        self._waiting: list[Frame] = []
        self._inflate: Any = None

    @classmethod
    async def connect(cls, address: Address, window: int | None = None) -> Client:
        """Connect, with a small window if one is given."""
        plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if window is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (address.host, address.port))
        context = None
        if address.certificate is not None:
            context = client_context()
        # The limit is what is read ahead without being asked for.
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=context, server_hostname="127.0.0.1" if context else None, limit=4 * _KIB
        )
        return cls(reader, writer)

    async def open(self, path: str, *headers: str) -> None:
        """Do the opening handshake."""
        status, head = await self.request(handshake(path, *headers))
        if status != 101:
            raise Wrong(f"{path} was answered {status}")
        if b"permessage-deflate" in head:
            self._inflate = zlib.decompressobj(-15)

    async def request(self, data: bytes) -> tuple[int, bytes]:
        """Send a request; return the status and the head of the answer."""
        await self.send(data)
        async with asyncio.timeout(_STEP_SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
        return int(head[9:12]), head

    async def send(self, data: bytes) -> None:
        """Send, and wait until the kernel has taken most of it."""
        self._writer.write(data)
        async with asyncio.timeout(_STEP_SECONDS):
            await self._writer.drain()

    def push(self, data: bytes) -> None:
        """Send without waiting."""
        self._writer.write(data)

    async def frame(self) -> Frame:
        """The next frame.

        :raises EOFError: the connection has ended
        """
        async with asyncio.timeout(_STEP_SECONDS):
            while not self._waiting:
                data = await self._reader.read(65536)
                if not data:
                    raise EOFError
                self._waiting += self._frames.feed(data)
        one = self._waiting.pop(0)
        if one.rsv == 4:
            payload = self._inflate.decompress(one.payload + b"\0\0\xff\xff")
            return Frame(one.opcode, payload, one.fin)
        return one

    async def end_of_stream(self) -> None:
        """Read until the server has ended its side, whatever comes."""
        async with asyncio.timeout(_STEP_SECONDS):
            while await self._reader.read(65536):
                pass

    async def close(self) -> None:
        """The orderly end: Close, the server's Close, its end of stream."""
        await self.send(close_frame(1000))
        while (await self.frame()).opcode != CLOSE:
            pass
        await self.end_of_stream()
        self.drop()

    def drop(self) -> None:
        """End without a word."""
        self._writer.close()

    def reset(self) -> None:
        """End with a reset, whatever is under way."""
        plain: Any = self._writer.get_extra_info("socket")
        if plain is not None and plain.fileno() >= 0:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


async def _leave(stage: Stage, client: Client) -> None:
    """End a connection in one of the ways in which connections end."""
    how = stage.chance.choice(("close", "close", "drop", "reset", "inside a frame", "violation"))
    stage.counts[f"ended by {how}"] += 1
    if how == "close":
        await client.close()
    elif how == "drop":
        client.drop()
    elif how == "reset":
        client.reset()
    elif how == "inside a frame":
        await client.send(frame(BINARY, bytes(1000))[:500])
        client.drop()
    else:
        await client.send(frame(TEXT, b"\xff"))
        while (end := await client.frame()).opcode != CLOSE:
            pass
        if end.code != 1007:
            raise Wrong(f"no UTF-8 was answered with {end.code}")
        await client.end_of_stream()
        client.drop()


def _fragments(opcode: int, payload: bytes, number: int) -> bytes:
    size = len(payload) // number + 1
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    return b"".join(
        frame(CONTINUATION if at else opcode, piece, fin=at == len(pieces) - 1)
        for at, piece in enumerate(pieces)
    )


async def echoes(stage: Stage) -> None:
    """Messages of all sizes, whole and in fragments, with pings between; each echo is compared."""
    chance = stage.chance
    client = await stage.connect("/echo", *([DEFLATE] if chance.random() < 0.3 else []))
    for _ in range(chance.randrange(1, 30)):
        opcode = chance.choice((TEXT, BINARY))
        size = chance.choice(_SIZES)
        payload = b"%0*d" % (size, chance.getrandbits(32)) if size else b""
        data = _fragments(opcode, payload, chance.choice((1, 1, 1, 3, 50)))
        ping = b""
        if chance.random() < 0.2:
            ping = b"%d" % chance.getrandbits(32)
            data = frame(PING, ping) + data
        client.push(data)
        if ping and await client.frame() != Frame(PONG, ping):
            raise Wrong("a ping was not answered by its pong")
        if await client.frame() != Frame(opcode, payload):
            raise Wrong(f"the echo of a message of {size} bytes is another message")
        stage.counts["echoes"] += 1
    await _leave(stage, client)


async def echoes_at_once(stage: Stage) -> None:
    """Many small messages in one go; the echoes come in order."""
    client = await stage.connect("/echo")
    number = stage.chance.randrange(1, 3000)
    client.push(b"".join(frame(TEXT, b"%d" % one) for one in range(number)))
    for one in range(number):
        if await client.frame() != Frame(TEXT, b"%d" % one):
            raise Wrong("echoes came in another order")
    stage.counts["echoes"] += number
    await _leave(stage, client)


async def echo_unread(stage: Stage) -> None:
    """Somebody who sends and never reads, and is gone after a while."""
    client = await stage.connect("/echo", window=_WINDOW)
    data = frame(BINARY, bytes(65536))
    try:
        for _ in range(64):
            client.push(data)
            await asyncio.sleep(0.01)
    except OSError:
        pass
    client.reset()
    stage.counts["unread echoes"] += 1


async def broadcast(stage: Stage) -> None:
    """A channel with members that read and one that does not: the former get all in order, the latter what
    the channel's policy says."""
    if not stage.rooms:
        await asyncio.sleep(0.05)
        return
    room = stage.chance.choice(list(stage.rooms))
    policy = stage.rooms.pop(room)
    clients: list[Client] = []
    try:
        path = f"/broadcast/{room}"
        has_slow = stage.chance.random() < 0.5
        readers = [await stage.connect(path) for _ in range(4)]
        clients += readers
        slow = await stage.connect(path, window=_WINDOW) if has_slow else None
        clients += [slow] if slow else []
        sender = await stage.connect(path)
        clients.append(sender)
        number = 400 if has_slow else stage.chance.randrange(1, 200)
        size = 16 * _KIB if has_slow else stage.chance.choice((8, 100, 5000))
        await _publish(sender, readers, number, size)
        stage.counts["deliveries"] += number * len(readers)
        if slow is not None:
            await _check_slow(slow, policy, number)
            stage.counts[f"slow consumers under {policy}"] += 1
        for client in (*readers, sender):
            await _leave(stage, client)
    finally:
        for client in clients:
            client.drop()
        # Not before all have left: a channel keeps its members until their connections have ended.
        await asyncio.sleep(0.2)
        stage.rooms[room] = policy


async def _publish(sender: Client, readers: Sequence[Client], number: int, size: int) -> None:
    # Never far ahead of those who read, who would be slow otherwise.
    ahead = 16
    for begin in range(0, number, ahead):
        batch = range(begin, min(begin + ahead, number))
        await sender.send(b"".join(frame(BINARY, b"%08d" % one + bytes(size - 8)) for one in batch))
        for reader in readers:
            for one in batch:
                got = await reader.frame()
                if got.opcode != BINARY or got.payload[:8] != b"%08d" % one or len(got.payload) != size:
                    raise Wrong(f"a member that reads got {got.payload[:8]!r} instead of {one}")


async def _check_slow(slow: Client, policy: str, number: int) -> None:
    """What the one that did not read finds when it begins to."""
    got: list[int] = []
    code = None
    try:
        while code is None and (not got or got[-1] != number - 1):
            async with asyncio.timeout(1.0):
                one = await slow.frame()
            if one.opcode == BINARY:
                got.append(int(one.payload[:8]))
            elif one.opcode == CLOSE:
                code = one.code
    except (EOFError, TimeoutError, OSError):
        pass
    if got != sorted(set(got)):
        raise Wrong(f"a slow member got messages out of order or twice under {policy}")
    if policy == "close":
        if got != list(range(len(got))) or len(got) == number:
            raise Wrong(f"a slow member got {len(got)} of {number}, with a gap, under close")
        if code not in (1013, None):
            raise Wrong(f"a slow member was closed with {code}")
    elif code is not None:
        raise Wrong(f"a slow member was closed with {code} under {policy}")
    elif policy == "drop-oldest" and (not got or got[-1] != number - 1):
        raise Wrong("a slow member did not get the newest message under drop-oldest")
    elif policy == "drop-newest" and got[:1] != [0]:
        raise Wrong("a slow member did not get the oldest message under drop-newest")


_REQUESTS: Mapping[bytes, int] = {
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n": 200,
    b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n": 404,
    b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n": 426,
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n": 405,
    b"nonsense\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 10_000 + b"\r\n\r\n": 431,
    handshake("/echo", "Origin: https://evil.example"): 403,
}


async def requests(stage: Stage) -> None:
    """Requests that open no WebSocket; each gets its status, and then the connection ends."""
    for data, expected in _REQUESTS.items():
        client = await Client.connect(stage.chance.choice(stage.addresses))
        status, _ = await client.request(data)
        if status != expected:
            raise Wrong(f"{data[:40]!r} was answered {status}, not {expected}")
        await client.end_of_stream()
        client.drop()
        stage.counts["requests"] += 1


async def strangers(stage: Stage) -> None:
    """Connections that never open: silent, with half a head, reset in the middle."""
    for data in (b"", b"GET / HTTP/1.1\r\nHost:", b"\x16\x03\x01\x02\x00"):
        client = await Client.connect(stage.chance.choice(stage.addresses))
        client.push(data)
        await asyncio.sleep(0.01)
        if stage.chance.random() < 0.5:
            client.reset()
        else:
            client.drop()
        stage.counts["strangers"] += 1


#: Each scene and how many play it at a time.
SCENES: Mapping[Callable[[Stage], Awaitable[None]], int] = {
    echoes: 16,
    echoes_at_once: 2,
    echo_unread: 2,
    broadcast: 4,
    requests: 1,
    strangers: 2,
}
