"""Back-pressure as a peer feels it: how much can be pushed into a server whose other side does not read.

In the manner of magic-wormhole-transit-relay: a server in a process of its own, and a receiver that the
reactor is told not to read any more.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor

from wsecho.wire.beneath import queued_bytes

from .servers import Conversation, open_websocket
from .test_draining import DrainingTestCase

reactor: Any = the_reactor

KIB, MIB = 1024, 1024 * 1024

QUEUE, SIZE = 64 * KIB, 64 * KIB

#: A message with a mask of zeros.
MESSAGE = b"\x82\xff" + SIZE.to_bytes(8, "big") + bytes(4 + SIZE)

#: Bytes that the kernel keeps at the end of a peer that does not read, in each direction.
SMALL = 128 * KIB

#: Bytes on offer.
OFFER = 64 * MIB

#: The server's own buffers, its code that was not in memory before, and what the allocator keeps.
SLACK = 12 * MIB

HELLO, ECHOED = b"\x81\x85\0\0\0\0hello", b"\x81\x05hello"


def kernel_memory() -> int:
    """The most that the kernel keeps for a connection at the server's end, both directions, in bytes."""
    most = 0
    for name in ("tcp_wmem", "tcp_rmem"):
        most += int(Path(f"/proc/sys/net/ipv4/{name}").read_text(encoding="ascii").split()[2])
    return most


class BackPressureTests(DrainingTestCase):
    """A receiver that does not read, and what its sender notices."""

    async def pushed(self, sender: Conversation, bystander: Conversation) -> int:
        """Offer messages, until no more are taken.

        :returns: the bytes of them that have left this process
        """
        sender.say(MESSAGE * (OFFER // len(MESSAGE)))
        left, rounds = -1, 0
        while rounds < 20:
            now = queued_bytes(sender.transport)
            left, rounds = now, rounds + 1 if now == left else 0
            if not now:
                break
            # The server has had its turns when it has answered somebody else.
            bystander.received = b""
            bystander.say(HELLO)
            await bystander.until(ECHOED)
        return OFFER // len(MESSAGE) * len(MESSAGE) - left

    @staticmethod
    def stop_reading(peer: Any) -> None:
        """Let the reactor read no more, and the kernel keep little at the peer's end."""
        for name in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            # It keeps twice as much.
            peer.transport.socket.setsockopt(socket.SOL_SOCKET, name, SMALL // 2)
        reactor.removeReader(peer.transport)

    @staticmethod
    def memory(child: Any) -> int:
        """The server's resident memory."""
        pages = Path(f"/proc/{child.transport.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * 4096

    async def test_echo(self) -> None:
        """A client that does not read its echoes can push what the kernel holds on the way there and back,
        the send queue, one message, and one read; the rest stays with it, and the server's memory is the
        queue's.

        In practice, on Linux with tcp_wmem of 4 MiB and tcp_rmem of 32 MiB at most, it is 4 to 5 MiB.
        """
        child, url = await self.serve(f"--send-queue={QUEUE}", "--ping-interval=0")
        peer, bystander = await open_websocket(self, url), await open_websocket(self, url)
        before = self.memory(child)
        self.stop_reading(peer)
        pushed = await self.pushed(peer, bystander)
        self.assertLess(pushed, kernel_memory() + 4 * SMALL + QUEUE + 2 * SIZE + 64 * KIB)
        self.assertGreater(pushed, QUEUE)
        self.assertLess(self.memory(child) - before, QUEUE + SIZE + SLACK)
        # What it has pushed comes back as soon as it reads, and so does the rest.
        reactor.addReader(peer.transport)
        await peer.until(b"\x82\x7f" + SIZE.to_bytes(8, "big") + bytes(SIZE))
        peer.transport.abortConnection()  # type: ignore[union-attr]

    async def test_broadcast(self) -> None:
        """The sender of a broadcast is not held back by a receiver that does not read, and can push all;
        the server's memory is the queue's, and another channel is served."""
        child, url = await self.serve(
            f"--send-queue={QUEUE}", "--slow-consumer=drop-oldest", "--ping-interval=0"
        )
        sender, receiver = [await open_websocket(self, url, "/broadcast/x") for _ in range(2)]
        bystander = await open_websocket(self, url)
        before = self.memory(child)
        self.stop_reading(receiver)
        pushed = 0
        while pushed < OFFER // len(MESSAGE) * len(MESSAGE):
            pushed = await self.pushed(sender, bystander)
        self.assertLess(self.memory(child) - before, QUEUE + SIZE + SLACK)
        receiver.transport.abortConnection()  # type: ignore[union-attr]
