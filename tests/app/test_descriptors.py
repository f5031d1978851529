"""Tests for `wsecho.app.descriptors`: the arithmetic, and a process that has no descriptors left."""

from __future__ import annotations

import re
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.checkout import CHECKOUT
from wsecho.app.descriptors import RESERVED, connections_that_fit, descriptors_for, provide_descriptors
from wsecho.wire.room import Room

from .logs import logged_lines
from .servers import Child, Conversation, LineWatcher, connect, echoes, open_websocket, request, start, twistd

if TYPE_CHECKING:
    from collections.abc import Sequence

INFINITY = -1


class System:
    """Limits of open files, as a system keeps them.

    :param most: beyond this the system sets none, whatever the hard limit says
    """

    def __init__(self, soft: int, hard: int, most: int | None = None) -> None:
        self.limits = (soft, hard)
        self.most = most
        self.set: list[tuple[int, int]] = []

    def getrlimit(self) -> tuple[int, int]:
        return self.limits

    def setrlimit(self, limits: tuple[int, int]) -> None:
        soft, hard = limits
        assert hard == self.limits[1], "the hard limit is not ours to change"
        if hard != INFINITY and not 0 <= soft <= hard:
            raise ValueError("current limit exceeds maximum limit")
        if self.most is not None and not 0 <= soft <= self.most:
            raise OSError(22, "Invalid argument")
        self.set.append(limits)
        self.limits = limits


class ProvideTests(SynchronousTestCase):
    """Raising the limit, or lowering that of connections."""

    def provide(self, connections: int, system: System) -> tuple[int, list[str]]:
        """The limit of connections afterwards, and what was logged."""
        room = Room(connections)
        with logged_lines() as lines:
            provide_descriptors(
                room, getrlimit=system.getrlimit, setrlimit=system.setrlimit, infinity=INFINITY
            )
        return room.max_connections, lines

    def test_raised(self) -> None:
        """Where it is allowed the soft limit is raised to what is needed, and no further."""
        for hard in (524288, 2**40, INFINITY):
            system = System(1024, hard)
            self.assertEqual(
                self.provide(10000, system),
                (
                    10000,
                    ["the process may open 11100 files now, not 1024: enough for max-connections=10000"],
                ),
            )
            self.assertEqual(system.set, [(11100, hard)])

    def test_enough(self) -> None:
        """Where there is enough, nothing is changed and nothing said."""
        for soft, hard in ((11100, 11100), (524288, 524288), (20000, INFINITY), (INFINITY, INFINITY)):
            system = System(soft, hard)
            self.assertEqual(self.provide(10000, system), (10000, []))
            self.assertEqual(system.set, [])

    def test_lowered(self) -> None:
        """Where not even the hard limit is enough, the soft one is raised to it, and as many connections are
        taken as fit; one line says so."""
        system = System(1024, 4096)
        self.assertEqual(
            self.provide(10000, system),
            (
                3632,
                [
                    "max-connections is lowered from 10000 to 3632: the process may open 4096 files, and "
                    "11100 are needed"
                ],
            ),
        )
        self.assertEqual(system.set, [(4096, 4096)])

    def test_not_allowed(self) -> None:
        """A system that refuses what its hard limit promises is taken at its word."""
        for hard, most in ((INFINITY, 10240), (524288, 1024)):
            system = System(1024, hard, most)
            limit, lines = self.provide(10000, system)
            self.assertEqual((limit, len(lines)), (connections_that_fit(1024), 1))
            self.assertEqual(system.set, [])

    def test_no_limit(self) -> None:
        """Without a limit of connections the soft limit is raised to the hard one, and the line says how far
        that is; the connections stay without one."""
        begin = "max-connections=0: the connections are limited by the files that the process may open: "
        for soft, hard, after in ((1024, 524288, "524288"), (512, 512, "512"), (256, INFINITY, "any number")):
            system = System(soft, hard)
            limit, lines = self.provide(0, system)
            self.assertEqual((limit, lines), (0, [begin + after]))
            self.assertEqual(system.limits, (hard, hard))
        refusing = System(1024, INFINITY, 10240)
        self.assertEqual(self.provide(0, refusing), (0, [begin + "1024"]))

    def test_documented(self) -> None:
        """The lines that the documentation shows are those that are logged."""
        page = (CHECKOUT / "docs" / "reference" / "limits.md").read_text(encoding="utf-8")
        shown = re.findall(r"^```text\n(.*)\n```$", page, re.MULTILINE)
        _, raised = self.provide(10000, System(1024, 524288))
        _, lowered = self.provide(10000, System(1024, 4096))
        self.assertEqual(shown, raised + lowered)

    def test_elsewhere(self) -> None:
        """A system without such limits is left alone, without a word."""
        room = Room(10000)
        with logged_lines() as lines:
            provide_descriptors(room, getrlimit=None)
        self.assertEqual((room.max_connections, lines), (10000, []))

    def test_fits(self) -> None:
        """What is said to fit fits, with the reserve; and whoever has enough is lowered by nothing."""
        for descriptors in range(2 * RESERVED, 20000):
            connections = connections_that_fit(descriptors)
            self.assertLessEqual(descriptors_for(connections), descriptors)
            self.assertGreater(descriptors_for(connections + 2), descriptors)
        for connections in (1, 2, 46, 47, 1000):
            for soft in (64, 101, 150, 1200):
                limit, lines = self.provide(connections, System(soft, soft))
                self.assertEqual(limit, min(connections, connections_that_fit(soft)))
                self.assertEqual(len(lines), int(limit < connections))

    def test_very_few(self) -> None:
        """Half of very few descriptors are for connections, and one connection there always is."""
        self.assertEqual([connections_that_fit(number) for number in (0, 1, 2, 64)], [1, 1, 1, 29])


#: Runs what follows with these limits of open files, soft and hard.
AS_LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
os.execv(sys.argv[3], sys.argv[3:])
"""

#: twistd without the descriptor that Twisted keeps for a time without any.
WITHOUT_RESERVE = """
from twisted.internet import tcp
from twisted.scripts.twistd import run
tcp._reservedFD = tcp._NullFileDescriptorReservation()
run()
"""

#: What wsecho says of a connection that said nothing and left.
ABANDONED = b" not opened: reason=handshake-abandoned "


class LimitedProcessTestCase(TestCase):
    """A server in a process that may open few files."""

    timeout = 60

    def run_twistd(self, soft: int, hard: int, *arguments: str, program: Sequence[str] = ()) -> Child:
        """Start ``twistd -n --pidfile= wsecho --port=0`` with these limits.

        :param program: what is started as twistd
        """
        command = [
            *(program or twistd()),
            "-n",
            "--pidfile=",
            "wsecho",
            "--port=0",
            "--host=127.0.0.1",
            *arguments,
        ]
        return start(self, [sys.executable, "-c", AS_LIMITED, str(soft), str(hard), *command])

    def pid(self, child: Child) -> int:
        """The process's number."""
        pid = child.transport.pid  # type: ignore[union-attr]
        assert isinstance(pid, int)
        return pid


class LimitsOfAProcessTests(LimitedProcessTestCase):
    """What a process makes of its limits when it starts."""

    def limits(self, child: Child) -> tuple[int, int]:
        """The limits that the process has."""
        return resource.prlimit(self.pid(child), resource.RLIMIT_NOFILE)

    async def test_raised(self) -> None:
        """The soft limit of the process is raised to what max-connections needs."""
        child = self.run_twistd(64, 4096, "--max-connections=1000")
        await child.listening
        self.assertEqual(self.limits(child), (1200, 4096))
        self.assertIn(b"may open 1200 files now, not 64: enough for max-connections=1000", child.out)

    async def test_lowered(self) -> None:
        """Where the hard limit is too low, the connections are, and the one too many is told so."""
        child = self.run_twistd(24, 24)
        (url,) = await child.listening
        self.assertEqual(self.limits(child), (24, 24))
        self.assertIn(
            b"max-connections is lowered from 10000 to 10: the process may open 24 files", child.out
        )
        for _ in range(10):
            await open_websocket(self, url)
        refused = await connect(self, url)
        refused.say(request())
        self.assertIn(b"HTTP/1.1 503 Service Unavailable\r\n", await refused.lost)
        self.assertIn(b"refused a connection: max-connections=10 is reached", child.out)


class Pinged:
    """Answers the pings that a client gets, and keeps them out of what it received."""

    def __init__(self, client: Conversation) -> None:
        self._client = client
        self._begun = b""
        self._count = 0
        self._awaited: tuple[int, Deferred[None]] | None = None
        self._received = client.dataReceived
        client.dataReceived = self._look  # type: ignore[method-assign]
        client.received, _, frames = client.received.partition(b"\r\n\r\n")
        self._look(frames)

    def _look(self, data: bytes) -> None:
        data = self._begun + data
        while len(data) >= 2 and len(data) >= 2 + data[1]:
            end = 2 + data[1]
            frame, data = data[:end], data[end:]
            if frame[0] == 0x89:
                self._client.say(b"\x8a" + bytes([0x80 | frame[1], 0, 0, 0, 0]) + frame[2:])
                self._count += 1
                self._tell()
            else:
                self._received(frame)
        self._begun = data

    def _tell(self) -> None:
        if self._awaited is not None and self._count >= self._awaited[0]:
            (_, waiting), self._awaited = self._awaited, None
            waiting.callback(None)

    def further(self, number: int) -> Deferred[None]:
        """Fires when so many more pings have come."""
        waiting: Deferred[None] = Deferred()
        self._awaited = (self._count + number, waiting)
        return waiting


class OutOfDescriptorsTests(LimitedProcessTestCase):
    """A process that has no descriptors left."""

    def cpu_seconds(self, child: Child) -> float:
        """The time that the process has been computing."""
        nanoseconds = Path(f"/proc/{self.pid(child)}/schedstat").read_text(encoding="ascii").split()[0]
        return int(nanoseconds) / 1e9

    def open_files(self, child: Child) -> int:
        """How many descriptors the process has."""
        return len(list(Path(f"/proc/{self.pid(child)}/fd").iterdir()))

    async def fill(self, child: Child, url: str, limit: int) -> tuple[list[Conversation], list[Conversation]]:
        """Connect a few more than there are descriptors left, and say nothing; those that get one, and those
        that do not. They are accepted in order."""
        left = limit - self.open_files(child)
        self.assertGreater(left, 10)
        silent = [await connect(self, url) for _ in range(left + 5)]
        return silent[:left], silent[left:]

    async def leave(self, child: Child, silent: list[Conversation]) -> None:
        """Have them all leave, and wait until the server has noticed."""
        noticed = LineWatcher(child, ABANDONED, child.out.count(ABANDONED) + len(silent)).found
        for one in silent:
            one.transport.abortConnection()  # type: ignore[union-attr]
        await gatherResults([one.lost for one in silent])
        await noticed

    async def seconds_for_an_echo(self, client: Conversation) -> float:
        """How long an echo takes."""
        client.received = b""
        begin = time.monotonic()
        await echoes(self, client)
        return time.monotonic() - begin

    async def assert_calm(self, child: Child, pinged: Pinged) -> None:
        """Assert that the process does next to nothing for a second in which pings come."""
        begin, cpu = time.monotonic(), self.cpu_seconds(child)
        # Not a number of pings: some may be here already, unread.
        while time.monotonic() - begin < 1:
            await pinged.further(1)
        span = time.monotonic() - begin
        # Ten pings take a hundredth of it. A loop around accept takes all that it can get: on a machine with
        # much else to do still a fifth.
        self.assertLess(self.cpu_seconds(child) - cpu, span / 10)

    async def test_out_of_descriptors(self) -> None:
        """When connections that say nothing have taken all descriptors, who is there is served, who comes is
        cut off, and the process does not spin; when they have left, everybody is served again; and all that
        once more."""
        limit = 40
        child = self.run_twistd(
            limit, limit, "--max-connections=1000", "--handshake-timeout=0", "--ping-interval=100ms"
        )
        (url,) = await child.listening
        bystander = await open_websocket(self, url)
        pinged = Pinged(bystander)
        # Then it has all descriptors that an open connection takes, the pump's included.
        await self.seconds_for_an_echo(bystander)
        for _ in range(2):
            silent, too_many = await self.fill(child, url, limit)
            await gatherResults([one.lost for one in too_many])
            for _ in range(5):
                late = await connect(self, url)
                late.say(request())
                self.assertEqual(await late.lost, b"")
                self.assertLess(await self.seconds_for_an_echo(bystander), 2)
            self.assertEqual(self.open_files(child), limit)
            self.assertFalse(any(one.lost.called for one in silent))
            await self.assert_calm(child, pinged)
            await self.leave(child, silent)
            await self.seconds_for_an_echo(bystander)
            await self.seconds_for_an_echo(await open_websocket(self, url))
        self.assertNotIn(b"Traceback", child.out)
        self.assertEqual(child.err, b"")

    async def test_not_even_in_reserve(self) -> None:
        """Where Twisted has no descriptor to cut anybody off with, whoever comes waits, the process does not
        spin, and they are served when others have left."""
        limit = 40
        child = self.run_twistd(
            limit,
            limit,
            "--handshake-timeout=0",
            "--ping-interval=100ms",
            program=[sys.executable, "-c", WITHOUT_RESERVE],
        )
        (url,) = await child.listening
        bystander = await open_websocket(self, url)
        pinged = Pinged(bystander)
        stuck = LineWatcher(child, b"Could not accept new connection (EMFILE)", 2).found
        silent, waiting = await self.fill(child, url, limit)
        for one in waiting:
            one.say(request())
        await stuck
        self.assertEqual(self.open_files(child), limit)
        self.assertLess(await self.seconds_for_an_echo(bystander), 2)
        await self.assert_calm(child, pinged)
        await self.leave(child, silent)
        for one in waiting:
            self.assertIn(b"HTTP/1.1 101 ", await one.until(b"\r\n\r\n"))
        self.assertNotIn(b"Traceback", child.out)
        self.assertEqual(child.err, b"")
