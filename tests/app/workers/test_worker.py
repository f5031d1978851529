"""Workers as processes: what a client meets, and what happens when one dies."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

from tests.app.servers import (
    AS_SYSTEMD,
    HELLO,
    LineWatcher,
    connect,
    echoes,
    open_websocket,
    request,
    start,
    twistd,
)
from tests.serving import TIMEOUT

from .processes import LISTEN, WorkersTestCase

#: What a peer gets from a server that stops, and what it answers, with a mask of zeros.
CLOSE_1001 = b"\x88\x14\x03\xe9server is stopping"
ANSWER = b"\x88\x82\0\0\0\0\x03\xe9"


class ServeTests(WorkersTestCase):
    """Serving."""

    async def test_echo(self) -> None:
        """Connections are shared out and echo; their log lines say which worker tells, and no number of a
        connection is given twice."""
        child, (url,) = await self.serve(LISTEN)
        peers = [await open_websocket(self, url) for _ in range(20)]
        for peer in peers:
            await echoes(self, peer)
        numbers = LineWatcher(child, b" closed: ", times=20)
        for peer in peers:
            peer.say(ANSWER)
            await peer.lost
        await numbers.found
        lines = [line for line in child.out.decode().splitlines() if " open: " in line]
        told = [line.split("worker ")[1].split(" open")[0].split(": ") for line in lines]
        self.assertEqual(len({number for _, number in told}), 20)
        for worker, number in told:
            self.assertEqual(int(number) // 1_000_000_000, int(worker))
        await self.stop(child)

    async def test_listeners(self) -> None:
        """Every kind of listener is shared: both loopback addresses of --port, a unix socket, and one that
        reads PROXY headers itself."""
        child, urls = await self.serve(
            "--port=0",
            "--listen=unix:sock:mode=600",
            "--listen=haproxy:tcp:0:interface=127.0.0.1",
            listeners=4,
        )
        *plain, proxied = urls
        for url in plain:
            if url.startswith("ws+unix"):
                continue
            await echoes(self, await open_websocket(self, url))
        peer = await connect(self, proxied)
        peer.say(b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 80\r\n" + request())
        await peer.until(b"\r\n\r\n")
        seen = LineWatcher(child, b"peer=192.0.2.7:4000")
        await seen.found
        await self.stop(child)

    async def test_unix(self) -> None:
        """A unix socket keeps its mode, is served by the workers, and its file is gone after the end."""
        directory = self.mktemp()
        os.makedirs(directory)
        path = os.path.join(os.path.abspath(directory), "s")
        child, (url,) = await self.serve(f"--listen=unix:{path}:mode=600")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        await echoes(self, await open_websocket(self, url))
        await self.stop(child)
        self.assertFalse(os.path.exists(path))

    async def test_systemd(self) -> None:
        """A socket that systemd handed over is shared as well."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        command = [sys.executable, "-c", AS_SYSTEMD, *twistd(), "-n", "--pidfile=", "wsecho", "--workers=2"]
        child = start(
            self,
            [*command, "--listen=systemd:domain=INET:index=0"],
            variables={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a.socket"},
            descriptors={3: listening.fileno()},
        )
        (url,) = await child.listening
        await echoes(self, await open_websocket(self, url))
        await self.stop(child)

    async def test_no_broadcast(self) -> None:
        """Without an engine a channel is refused with 503 and the reason: it would not reach everybody."""
        child, (url,) = await self.serve(LISTEN)
        self.assertIn(b"no broadcast, which needs --engine", child.out)
        peer = await connect(self, url)
        peer.say(request("/broadcast/a"))
        answer = await peer.lost
        self.assertIn(b"HTTP/1.1 503 ", answer)
        self.assertIn(b"broadcast over several processes needs --engine", answer)
        await self.stop(child)


class DeathTests(WorkersTestCase):
    """Workers and supervisors that die."""

    async def test_killed(self) -> None:
        """A worker that is killed is replaced; connections of the others do not notice."""
        child, (url,) = await self.serve(LISTEN)
        peers = [await open_websocket(self, url) for _ in range(20)]
        first, _ = self.pids(child)
        replaced = LineWatcher(child, b"worker 1 serves, process ")
        os.kill(first, signal.SIGKILL)
        await replaced.found
        self.assertIn(b"worker 1, process %d, ended by signal 9" % first, child.out)
        lost = [peer for peer in peers if peer.lost.called]
        for peer in peers:
            if peer not in lost:
                await echoes(self, peer)
        for _ in range(10):
            await echoes(self, await open_websocket(self, url))
        child.kill("TERM")
        await child.ended
        self.assertEqual(child.status, 0)

    async def test_rolling(self) -> None:
        """SIGTERM to one worker closes its connections with 1001, and another one takes its place: a rolling
        restart refuses nobody."""
        child, (url,) = await self.serve(LISTEN, "--drain-timeout=200ms")
        for pid in self.pids(child):
            replaced = LineWatcher(
                child, b" serves, process ", times=child.out.count(b" serves, process ") + 1
            )
            os.kill(pid, signal.SIGTERM)
            await replaced.found
            await echoes(self, await open_websocket(self, url))
        self.assertNotIn(b"by signal", child.out)
        child.kill("TERM")
        await child.ended
        self.assertEqual(child.status, 0)

    async def test_orphans(self) -> None:
        """When the supervisor is killed, the workers close their connections with 1001 and end, so that the
        port is free."""
        child, (url,) = await self.serve(LISTEN)
        workers = [os.pidfd_open(pid) for pid in self.pids(child)]
        peer = await open_websocket(self, url)
        child.kill("KILL")
        await peer.until(CLOSE_1001)
        peer.say(ANSWER)
        await peer.lost
        await child.ended
        # The workers, which nobody waits for, hold the port until they have ended too.
        for worker in workers:
            self.assertTrue(select.select([worker], [], [], TIMEOUT)[0])
            os.close(worker)
        port = int(url.rsplit(":", 1)[1].strip("/"))
        socket.create_server(("127.0.0.1", port)).close()


class EndTests(WorkersTestCase):
    """The end of all."""

    async def test_drain(self) -> None:
        """SIGTERM closes all connections of all workers with 1001, and the status is 0."""
        child, (url,) = await self.serve(LISTEN)
        peers = [await open_websocket(self, url) for _ in range(6)]
        child.kill("TERM")
        for peer in peers:
            await peer.until(CLOSE_1001)
            peer.say(ANSWER)
            await peer.lost
        await child.ended
        self.assertEqual((child.status, child.signal), (0, None))
        self.assertEqual(child.out.count(b" closed: reason=shutdown"), 6)

    async def test_second_signal(self) -> None:
        """A second signal ends all processes at once, with status 1."""
        child, (url,) = await self.serve(LISTEN, "--drain-timeout=10m")
        peer = await open_websocket(self, url)
        draining = LineWatcher(child, b"they get Close 1001")
        child.kill("TERM")
        await draining.found
        child.kill("TERM")
        await peer.lost
        await child.ended
        self.assertEqual(child.status, 1)

    async def test_terminal(self) -> None:
        """SIGINT from a terminal, which all processes get, ends the server in good order."""
        child, (url,) = await self.serve(LISTEN)
        peer = await open_websocket(self, url)
        for pid in self.pids(child):
            os.kill(pid, signal.SIGINT)
        child.kill("INT")
        await peer.until(CLOSE_1001)
        peer.say(ANSWER)
        await peer.lost
        await child.ended
        self.assertEqual(child.status, 0)

    async def test_frozen(self) -> None:
        """A worker that is stopped keeps nobody from the end for longer than the drain and a margin."""
        child, (url,) = await self.serve(LISTEN, "--drain-timeout=100ms")
        peer = await open_websocket(self, url)
        peer.say(HELLO)
        first, _ = self.pids(child)
        os.kill(first, signal.SIGSTOP)
        child.kill("TERM")
        await child.ended
        self.assertEqual(child.status, 0)
        self.assertIn(b"worker 1 does not end: killed", child.out)
