"""Draining as users see it: signals to servers in processes of their own, with peers that read or do not."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError
from twisted.trial.unittest import TestCase

from .servers import HELLO, Child, Conversation, LineWatcher, connect, echoes, open_websocket, start, twistd

LISTEN = "--listen=tcp:0:interface=127.0.0.1"

#: What a peer gets from a server that stops, and what it answers, with a mask of zeros.
CLOSE_1001 = b"\x88\x14\x03\xe9server is stopping"
ANSWER = b"\x88\x82\0\0\0\0\x03\xe9"

#: More than the kernel holds on the way to a peer that does not read.
MUCH = 12 << 20
ROOM_FOR_MUCH = ("--max-message-size=16MiB", "--ping-interval=0", "--debug")
MUCH_SENT = b" sent binary %d: " % MUCH


class DrainingTestCase(TestCase):
    """A server in a process of its own."""

    timeout = 60

    async def serve(self, *arguments: str) -> tuple[Child, str]:
        """Start a server; its process, and its URL."""
        child, (url,) = await self.serve_at(LISTEN, *arguments)
        return child, url

    async def serve_at(self, *arguments: str) -> tuple[Child, list[str]]:
        """Start a server with these listeners; its process, and their URLs."""
        listeners = sum(argument.startswith("--listen") for argument in arguments)
        command = [*twistd(), "-n", "--pidfile=", "wsecho", *arguments]
        child = start(self, command, listeners=listeners)
        return child, await child.listening

    async def stuck(self, child: Child, url: str) -> Conversation:
        """A peer that has asked for a larger echo than the kernel holds, and does not read it."""
        peer = await open_websocket(self, url)
        transport: Any = peer.transport
        transport.pauseProducing()
        echoed = LineWatcher(child, MUCH_SENT)
        peer.say(b"\x82\xff" + MUCH.to_bytes(8, "big") + bytes(4 + MUCH))
        await echoed.found
        return peer

    async def ends(self, child: Child) -> list[dict[str, str]]:
        """Wait for an orderly end; the fields of each connection's last line, in the order of their ends."""
        await child.ended
        self.assertEqual((child.status, child.signal, child.err), (0, None, b""))
        for word in (b"Traceback", b"Unhandled", b"#critical", b"#error"):
            self.assertNotIn(word, child.out)
        lines = re.findall(r"([0-9]+) (?:closed|not opened): (.*)", child.out.decode())
        return [{"id": number} | dict(re.findall(r"(\w+)=(\S+)", fields)) for number, fields in lines]

    async def leave(self, peer: Conversation) -> None:
        """Wait for the Close of a server that stops, answer it, and wait for the end."""
        await peer.until(CLOSE_1001)
        peer.say(ANSWER)
        await peer.lost


class TerminateTests(DrainingTestCase):
    """SIGTERM."""

    async def test_queued(self) -> None:
        """What is queued for a peer that reads reaches it, and then Close 1001, though the close timeout is
        far too short for that."""
        child, url = await self.serve("--close-timeout=1ms", "--drain-timeout=10m", *ROOM_FOR_MUCH)
        peer = await self.stuck(child, url)
        head = len(peer.received)
        draining = LineWatcher(child, b"they get Close 1001 over 5m, what is left after 10m is dropped")
        child.kill("TERM")
        await draining.found
        peer.transport.resumeProducing()  # type: ignore[union-attr]
        await self.leave(peer)
        frame = b"\x82\x7f" + MUCH.to_bytes(8, "big") + bytes(MUCH)
        self.assertTrue(peer.received[head:] == frame + CLOSE_1001)
        (end,) = await self.ends(child)
        self.assertEqual((end["reason"], end["code"], end["ended"]), ("shutdown", "1001", "clean"))

    async def test_peer_that_never_reads(self) -> None:
        """A peer that never reads is dropped when the time is over, and the exit status is 0."""
        child, url = await self.serve("--drain-timeout=200ms", "--close-timeout=10m", *ROOM_FOR_MUCH)
        peer = await self.stuck(child, url)
        child.kill("TERM")
        (end,) = await self.ends(child)
        self.assertEqual((end["reason"], end["code"], end["ended"]), ("shutdown", "1001", "cut"))
        self.assertIn(b"shutdown: the time is over; connections dropped: 1\n", child.out)
        peer.transport.resumeProducing()  # type: ignore[union-attr]
        await peer.lost

    async def test_one_after_the_other(self) -> None:
        """The oldest is told at once. Until their turn, others echo and hear the channel as before; nobody
        new gets in."""
        child, url = await self.serve("--drain-timeout=10m")
        oldest, echo, ann, bob = [
            await open_websocket(self, url, path) for path in ("/", "/", "/broadcast", "/broadcast")
        ]
        child.kill("TERM")
        await self.leave(oldest)
        await echoes(self, echo)
        ann.say(HELLO)
        await bob.until(b"\x81\x05hello")
        await self.assertFailure(Deferred.fromCoroutine(connect(self, url)), ConnectError)
        for peer in (echo, ann, bob):
            self.assertNotIn(CLOSE_1001, peer.received)

    async def test_several_listeners(self) -> None:
        """Listeners spread at the same time, not one when the other is done."""
        child, urls = await self.serve_at(LISTEN, LISTEN, "--drain-timeout=10m")
        peers = [[await open_websocket(self, url) for _ in range(2)] for url in urls]
        draining = LineWatcher(child, b"open connections: 4; they get Close 1001 over 5m")
        child.kill("TERM")
        await draining.found
        for first, second in peers:
            await self.leave(first)
            await echoes(self, second)
            self.assertNotIn(CLOSE_1001, second.received)

    async def test_order(self) -> None:
        """All are told in the order in which they came, and the server ends as soon as the last one has."""
        child, url = await self.serve("--drain-timeout=3s")
        peers = [await open_websocket(self, url) for _ in range(4)]
        child.kill("TERM")
        await gatherResults([Deferred.fromCoroutine(self.leave(peer)) for peer in peers])
        ends = await self.ends(child)
        self.assertEqual([end["id"] for end in ends], ["1", "2", "3", "4"])
        self.assertEqual({(end["reason"], end["ended"]) for end in ends}, {("shutdown", "clean")})

    async def test_second_signal(self) -> None:
        """A second signal ends at once, though others still wait for their turn; the status tells."""
        child, url = await self.serve("--drain-timeout=10m")
        first, second = await open_websocket(self, url), await open_websocket(self, url)
        child.kill("TERM")
        await first.until(CLOSE_1001)
        child.kill("TERM")
        await child.ended
        self.assertEqual((child.status, child.signal), (1, None))
        self.assertNotIn(CLOSE_1001, await second.lost)

    async def test_zero(self) -> None:
        """With --drain-timeout=0 every connection is dropped at once, without Close, and the status is 0."""
        child, url = await self.serve("--drain-timeout=0")
        peers = [await open_websocket(self, url) for _ in range(2)]
        child.kill("TERM")
        for peer in peers:
            self.assertNotIn(b"\x88", (await peer.lost).partition(b"\r\n\r\n")[2])
        for end in await self.ends(child):
            self.assertEqual((end["reason"], end["code"], end["ended"]), ("shutdown", "-", "cut"))
        self.assertNotIn(b"they get Close", child.out)


class InterruptTests(DrainingTestCase):
    """SIGINT."""

    async def test_without_spread(self) -> None:
        """Ctrl-C tells all at once, however long the time is, and the server ends with the last of them."""
        child, url = await self.serve("--drain-timeout=10m")
        peers = [await open_websocket(self, url) for _ in range(4)]
        child.kill("INT")
        for peer in reversed(peers):
            await self.leave(peer)
        await self.ends(child)
        self.assertIn(b"they get Close 1001 now, what is left after 10m is dropped\n", child.out)
