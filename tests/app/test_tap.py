"""Tests for `wsecho.app.tap`: `twistd wsecho` in processes of its own, as users start it."""

from __future__ import annotations

import os
import re
import socket
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet import ssl
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from wsecho.app.options import Options
from wsecho.app.tap import makeService
from wsecho.tls.development import make_development_certificate

from .servers import (
    AS_SYSTEMD,
    CLOSING_SOON,
    ECHOED,
    HELLO,
    Child,
    LineWatcher,
    connect,
    echoes,
    open_websocket,
    request,
    start,
    twistd,
)

PATHS = "/ and /echo echo, /broadcast and /broadcast/CHANNEL broadcast"

#: Close 1001 "going away", from the server: what follows the code is a reason.
CLOSE_1001 = b"\x03\xe9"


class MakeServiceTests(SynchronousTestCase):
    """From parsed options to a service."""

    def options(self, *arguments: str) -> Options:
        """Parsed options."""
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def test_service(self) -> None:
        """A service is made on the reactor that is given, and nothing listens."""
        service: Any = makeService(self.options(), Clock())
        self.assertEqual((service.running, service.ports), (False, ()))

    def test_error(self) -> None:
        """What cannot be made ends the program with one line."""
        options = self.options("--listen=systemd:domain=INET:index=0")
        ended = self.assertRaises(SystemExit, makeService, options, Clock())
        self.assertTrue(str(ended.code).startswith("wsecho: --listen=systemd:domain=INET:index=0: systemd"))

    def test_who_sees_an_error(self) -> None:
        """An error is written to standard error only when twistd's log does not go there anyway."""
        for twistd_options, is_written in (
            ({"nodaemon": 1}, False),
            ({"nodaemon": 1, "logfile": "-"}, False),
            ({"nodaemon": 1, "logfile": "x.log"}, True),
            ({"nodaemon": 1, "syslog": 1}, True),
            ({"nodaemon": 1, "logger": "x"}, True),
            ({"nodaemon": 0}, True),
            (None, True),
        ):
            options = self.options()
            options.parent = twistd_options  # type: ignore[assignment]
            self.assertIs(makeService(options, Clock())._say is not None, is_written, twistd_options)


class TwistdTestCase(TestCase):
    """A server in a process of its own."""

    timeout = 60

    def run_twistd(self, *arguments: str, **others: Any) -> Child:
        """Start ``twistd -n --pidfile= wsecho`` with arguments."""
        return start(self, [*twistd(), "-n", "--pidfile=", "wsecho", *arguments], **others)

    async def refused(self, *arguments: str) -> str:
        """Assert that the arguments end the process with status 1, one line and nothing else; return it."""
        child = await self.run_twistd(*arguments).ended
        self.assertEqual((child.status, child.out), (1, b""))
        text = child.err.decode()
        self.assertEqual(text.count("\n"), 1, text)
        return text.removesuffix("\n")

    def no_tracebacks(self, child: Child) -> None:
        """Assert that nothing went wrong unseen."""
        self.assertEqual(child.err, b"")
        for word in (b"Traceback", b"Unhandled", b"#critical", b"#error"):
            self.assertNotIn(word, child.out)


class ForegroundTests(TwistdTestCase):
    """``twistd -n wsecho``."""

    async def test_serves(self) -> None:
        """Both loopback addresses are told on one port, and each echoes."""
        child = self.run_twistd("--port=0", listeners=2)
        urls = await child.listening
        port = urls[0].rsplit(":", 1)[1]
        self.assertEqual(urls, [f"ws://127.0.0.1:{port}", f"ws://[::1]:{port}"])
        self.assertIn(f"listening on ws://127.0.0.1:{port} : {PATHS}\n".encode(), child.out)
        for url in urls:
            await echoes(self, await open_websocket(self, url))
        self.no_tracebacks(child)

    async def test_broadcast_mode(self) -> None:
        """With --mode=broadcast, what one says on / reaches the other, and the start line says so."""
        child = self.run_twistd("--listen=tcp:0:interface=127.0.0.1", "--mode=broadcast")
        (url,) = await child.listening
        self.assertIn(b" : /echo echo, /, /broadcast and /broadcast/CHANNEL broadcast\n", child.out)
        one, other = await open_websocket(self, url), await open_websocket(self, url, "/broadcast")
        one.say(HELLO)
        await other.until(ECHOED)
        self.assertNotIn(ECHOED, one.received)

    async def test_max_connections(self) -> None:
        """--max-connections holds for all listeners together; who leaves makes room."""
        child = self.run_twistd(
            "--listen=tcp:0:interface=127.0.0.1",
            "--listen=tcp:0:interface=127.0.0.2",
            "--max-connections=2",
            listeners=2,
        )
        urls = await child.listening
        first, second = [await open_websocket(self, url) for url in urls]
        for url in urls:
            refused = await connect(self, url)
            refused.say(request())
            self.assertTrue((await refused.lost).startswith(b"HTTP/1.1 503 Service Unavailable\r\n"))
        await echoes(self, first)
        gone = LineWatcher(child, b"1 closed: reason=peer-close").found
        first.say(b"\x88\x82\0\0\0\0\x03\xe8")
        await gone
        await echoes(self, await open_websocket(self, urls[1]))
        await echoes(self, second)
        self.assertEqual(child.out.count(b"refused a connection: max-connections=2 is reached"), 1)
        self.no_tracebacks(child)

    async def test_max_connections_per_address(self) -> None:
        """--max-connections-per-address keeps one address from taking all places, and no other out."""
        child = self.run_twistd(
            "--listen=tcp:0:interface=127.0.0.1", "--max-connections-per-address=1", "--trust-proxy=127.0.0.1"
        )
        (url,) = await child.listening
        for client, status in (("192.0.2.1", b"101 "), ("192.0.2.1", b"429 "), ("192.0.2.2", b"101 ")):
            peer = await connect(self, url)
            peer.say(request("/", "localhost", f"X-Forwarded-For: {client}"))
            self.assertTrue((await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 " + status))
        self.no_tracebacks(child)

    async def test_terminate(self) -> None:
        """SIGTERM closes every connection with 1001 and ends with status 0."""
        await self.assert_ends_well("TERM")

    async def test_interrupt(self) -> None:
        """SIGINT does the same."""
        await self.assert_ends_well("INT")

    async def assert_ends_well(self, signal: str) -> None:
        """Assert that a signal ends a server in order."""
        child = self.run_twistd("--listen=tcp:0:interface=127.0.0.1")
        (url,) = await child.listening
        open_one, silent_one = await open_websocket(self, url), await connect(self, url)
        child.kill(signal)
        close = await open_one.until(CLOSE_1001)
        # A Close frame with a mask of zeros, as an answer.
        open_one.say(b"\x88\x82\0\0\0\0" + CLOSE_1001)
        self.assertIn(b"\x88", close)
        await open_one.lost
        await silent_one.lost
        await child.ended
        self.assertEqual((child.status, child.signal), (0, None))
        self.assertIn(f"SIG{signal}: closing all connections".encode(), child.out)
        self.no_tracebacks(child)

    async def test_second_signal(self) -> None:
        """A second signal does not wait for a peer that answers nothing, and the status tells."""
        child = self.run_twistd("--listen=tcp:0:interface=127.0.0.1", "--drain-timeout=10m")
        (url,) = await child.listening
        peer = await open_websocket(self, url)
        child.kill("TERM")
        await peer.until(CLOSE_1001)
        child.kill("TERM")
        await child.ended
        self.assertEqual((child.status, child.signal), (1, None))
        self.assertIn(b"SIGTERM: ending at once", child.out)

    async def test_hangup(self) -> None:
        """SIGHUP ends nothing: connections live on."""
        child = self.run_twistd("--listen=tcp:0:interface=127.0.0.1", CLOSING_SOON)
        (url,) = await child.listening
        peer = await open_websocket(self, url)
        child.kill("HUP")
        await echoes(self, peer)
        await echoes(self, await open_websocket(self, url))
        child.kill("TERM")
        await child.ended
        self.assertIn(b"reload: there is nothing to reload", child.out)
        self.assertEqual(child.status, 0)

    async def test_tls(self) -> None:
        """--listen-tls serves wss with the certificate that is given."""
        made = make_development_certificate(self.mktemp(), now=datetime.now(UTC))
        child = self.run_twistd(
            "--listen-tls=tcp:0:interface=127.0.0.1",
            f"--certificate={made.certificate.absolute()}",
            f"--private-key={made.private_key.absolute()}",
        )
        (url,) = await child.listening
        self.assertTrue(url.startswith("wss://127.0.0.1:"), url)
        authority = ssl.Certificate.loadPEM(made.ca.read_bytes())
        trusting = ssl.optionsForClientTLS("localhost", authority)
        await echoes(self, await open_websocket(self, url, tls=trusting))
        self.no_tracebacks(child)

    async def test_several_listeners(self) -> None:
        """All kinds of listeners serve side by side, and --port with them when it is given."""
        made = make_development_certificate(self.mktemp(), now=datetime.now(UTC))
        child = self.run_twistd(
            "--port=0",
            "--host=127.0.0.1",
            "--listen=unix:ws.sock",
            "--listen-tls=unix:wss.sock",
            f"--certificate={made.certificate.absolute()}",
            f"--private-key={made.private_key.absolute()}",
            listeners=3,
        )
        schemes = [url.partition(":")[0] for url in await child.listening]
        self.assertEqual(schemes, ["ws", "ws+unix", "wss+unix"])

    async def test_hosts(self) -> None:
        """On loopback, a name that an attacker points there is refused, unless it is allowed."""
        for option, status in (("--debug", b"421"), ("--allow-host=good.example", b"101")):
            child = self.run_twistd("--listen=tcp:0:interface=127.0.0.1", option)
            (url,) = await child.listening
            peer = await connect(self, url)
            peer.say(request(host="good.example"))
            head = await peer.until(b"\r\n\r\n")
            self.assertEqual(head.split()[1], status)

    async def test_trusted_proxy(self) -> None:
        """Behind a trusted proxy the log shows the client, whether it is told by PROXY or by a header; from
        anybody else neither is believed."""
        line = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"
        for proxy, expected in (
            ("127.0.0.0/8", ["101 203.0.113.7:4711 ", "101 203.0.113.7 "]),
            ("10.0.0.0/8", ["400 127.0.0.1:", "101 127.0.0.1:"]),
        ):
            child = self.run_twistd(
                "--listen=tcp:0:interface=127.0.0.1", f"--trust-proxy={proxy}", CLOSING_SOON
            )
            (url,) = await child.listening
            seen = []
            for sent in (line + request(), request("/", "localhost", "X-Forwarded-For: 203.0.113.7")):
                peer = await connect(self, url)
                peer.say(sent)
                head = await peer.until(b"\r\n\r\n")
                seen.append(head.split()[1].decode())
            child.kill("TERM")
            await child.exited
            ends = sorted(re.findall(r" ([0-9]+) (?:closed|not opened): .* peer=(\S+ )", child.out.decode()))
            for status, (_, shown), begin in zip(seen, ends, expected, strict=True):
                self.assertTrue(f"{status} {shown}".startswith(begin), (status, shown, begin))

    async def test_config_file(self) -> None:
        """A file configures the server; what it names is found from where twistd was started."""
        os.mkdir("place")
        Path("place/wsecho.toml").write_text("listen = ['tcp:0:interface=127.0.0.1']\nserver-name = 'it'\n")
        child = self.run_twistd("--config=wsecho.toml", directory="place")
        (url,) = await child.listening
        peer = await open_websocket(self, url)
        self.assertIn(b"\r\nServer: it\r\n", peer.received)


class UnixTests(TwistdTestCase):
    """Unix sockets."""

    def place(self) -> str:
        """A directory whose path is short enough for sockets in it."""
        path: str = os.path.relpath(self.mktemp())
        os.mkdir(path)
        return path

    async def test_serves(self) -> None:
        """A unix socket serves with the mode of its description and goes away with the server."""
        place = self.place()
        child = self.run_twistd("--listen=unix:ws.sock:mode=600", CLOSING_SOON, directory=place)
        self.assertEqual(await child.listening, ["ws+unix:ws.sock"])
        self.assertEqual(stat.S_IMODE(os.stat(f"{place}/ws.sock").st_mode), 0o600)
        await echoes(self, await open_websocket(self, f"ws+unix:{place}/ws.sock"))
        child.kill("TERM")
        await child.ended
        self.assertEqual(os.listdir(place), [])

    async def test_killed(self) -> None:
        """A socket that a killed server left does not keep the next one from serving."""
        place = self.place()
        first = self.run_twistd("--listen=unix:ws.sock", directory=place)
        await first.listening
        first.kill("KILL")
        await first.ended
        self.assertTrue(os.path.lexists(f"{place}/ws.sock"))
        second = self.run_twistd("--listen=unix:ws.sock", directory=place)
        await second.listening
        await echoes(self, await open_websocket(self, f"ws+unix:{place}/ws.sock"))

    async def test_in_use(self) -> None:
        """The socket of a server that lives is not taken from it."""
        place = self.place()
        first = self.run_twistd("--listen=unix:ws.sock", directory=place)
        await first.listening
        second = await self.run_twistd("--listen=unix:ws.sock", directory=place).ended
        self.assertEqual(second.status, 1)
        self.assertIn(b"--listen=unix:ws.sock: cannot listen: another server listens", second.out)
        await echoes(self, await open_websocket(self, f"ws+unix:{place}/ws.sock"))


class SystemdTests(TwistdTestCase):
    """Sockets that systemd hands over."""

    def socket(self) -> socket.socket:
        """A listening socket."""
        handed = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(handed.close)
        return handed

    async def assert_serves(self, description: str, scheme: str = "ws", *more: str) -> tuple[Child, str]:
        """Assert that a server with a socket of systemd tells its address."""
        handed = self.socket()
        child = start(
            self,
            [sys.executable, "-c", AS_SYSTEMD, *twistd(), "-n", "--pidfile=", "wsecho", description, *more],
            variables={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "ws"},
            descriptors={3: handed.fileno()},
        )
        (url,) = await child.listening
        self.assertEqual(url, f"{scheme}://127.0.0.1:{handed.getsockname()[1]}/")
        return child, url

    async def test_by_index(self) -> None:
        """A socket is adopted by its place."""
        child, url = await self.assert_serves("--listen=systemd:domain=INET:index=0", "ws", CLOSING_SOON)
        await echoes(self, await open_websocket(self, url))
        child.kill("TERM")
        await child.ended
        self.assertEqual(child.status, 0)
        self.no_tracebacks(child)

    async def test_by_name(self) -> None:
        """A socket is adopted by its name; on loopback, loopback names are what is answered to."""
        _, url = await self.assert_serves("--listen=systemd:domain=INET:name=ws")
        peer = await connect(self, url)
        peer.say(request(host="attacker.example"))
        self.assertEqual((await peer.until(b"\r\n\r\n")).split()[1], b"421")

    async def test_behind_haproxy(self) -> None:
        """Behind a proxy, the client's address comes first and the server reads it."""
        child, url = await self.assert_serves("--listen=haproxy:systemd:domain=INET:index=0")
        peer = await connect(self, url)
        peer.say(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n" + request())
        await peer.until(b"\r\n\r\n")
        await echoes(self, peer)
        self.no_tracebacks(child)

    async def test_unix(self) -> None:
        """A unix socket keeps its mode, and its place when the server ends: systemd listens on it still."""
        path = os.path.relpath(self.mktemp())
        handed = socket.socket(socket.AF_UNIX)
        self.addCleanup(handed.close)
        handed.bind(path)
        os.chmod(path, 0o600)
        handed.listen()
        description = "--listen=systemd:domain=UNIX:name=ws"
        child = start(
            self,
            [
                sys.executable,
                "-c",
                AS_SYSTEMD,
                *twistd(),
                "-n",
                "--pidfile=",
                "wsecho",
                CLOSING_SOON,
                description,
            ],
            variables={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "ws"},
            descriptors={3: handed.fileno()},
            directory=".",
        )
        await child.listening
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        peer = await open_websocket(self, f"ws+unix:{path}")
        await echoes(self, peer)
        child.kill("TERM")
        await peer.lost
        await child.ended
        self.assertEqual(child.status, 0)
        self.no_tracebacks(child)
        await connect(self, f"ws+unix:{path}")

    async def test_missing(self) -> None:
        """Without systemd, its sockets are one line and status 1."""
        self.assertEqual(
            await self.refused("--listen=systemd:domain=INET:index=0"),
            "wsecho: --listen=systemd:domain=INET:index=0: systemd handed over no such socket "
            "(LISTEN_FDS, LISTEN_FDNAMES)",
        )


class CannotStartTests(TwistdTestCase):
    """What keeps a server from starting."""

    def taken(self) -> int:
        """A port that is taken."""
        other = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(other.close)
        port: int = other.getsockname()[1]
        return port

    async def test_bad_value(self) -> None:
        """A bad value is one line: the option, the value, what is accepted; and status 1."""
        self.assertEqual(
            await self.refused("--port=70000"), "wsecho: --port=70000: accepted is a port from 0 to 65535"
        )

    async def test_bad_file(self) -> None:
        """A bad value of a file is one line: the file, the key, the value, what is accepted; and status 1."""
        path = Path(self.mktemp()).absolute()
        path.write_text("mode = 'loud'")
        self.assertEqual(
            await self.refused(f"--config={path}"),
            f'wsecho: {path}: mode = "loud": accepted is echo or broadcast',
        )

    async def test_bad_certificate(self) -> None:
        """A certificate that cannot be read is one line and status 1."""
        line = await self.refused("--listen-tls=tcp:0", "--certificate=no.pem", "--private-key=no.pem")
        self.assertTrue(line.startswith("wsecho: --certificate=no.pem: "), line)

    async def test_taken_port(self) -> None:
        """A port that is taken is one line and status 1, also of the last of several listeners."""
        port = self.taken()
        for arguments in (
            ("--host=127.0.0.1", f"--port={port}"),
            ("--listen=unix:a.sock", f"--listen=tcp:{port}:interface=127.0.0.1"),
        ):
            child = await self.run_twistd(*arguments).ended
            self.assertEqual((child.status, child.err), (1, b""))
            lines = [line for line in child.out.splitlines() if b"[wsecho#" in line]
            self.assertEqual(len(lines), 1, child.out)
            self.assertIn(b"[wsecho#critical] " + arguments[-1].encode() + b": cannot listen", lines[0])
            self.assertTrue(lines[0].endswith(b": Address already in use"), lines[0])
            self.assertNotIn(b"Traceback", child.out)

    async def test_taken_port_and_log_file(self) -> None:
        """When the log goes elsewhere, the line is on standard error as well."""
        command = [*twistd(), "-n", "--pidfile=", "--logfile=x.log", "wsecho", "--host=127.0.0.1"]
        child = await start(self, [*command, f"--port={self.taken()}"]).ended
        self.assertEqual((child.status, child.out, child.err.count(b"\n")), (1, b"", 1))
        self.assertIn(b": cannot listen on 127.0.0.1:", child.err)


class DaemonTests(TwistdTestCase):
    """``twistd wsecho``: in the background."""

    def run_daemon(self, place: str, *arguments: str) -> Child:
        """Start a daemon, which holds a pipe until it ends."""
        child = start(
            self,
            [*twistd(), "--pidfile=it.pid", "--logfile=it.log", "wsecho", *arguments],
            directory=place,
            descriptors={3: "r"},
        )
        self.addCleanup(self.kill_daemon, place)
        return child

    def kill_daemon(self, place: str) -> None:
        """Kill a daemon that has outlived its test."""
        pid_file = Path(place, "it.pid")
        if pid_file.exists():
            os.kill(int(pid_file.read_text()), 9)

    async def test_serves(self) -> None:
        """A daemon serves when its starter has returned, writes its pid, and ends in order."""
        place = os.path.relpath(self.mktemp())
        child = await self.run_daemon(place, CLOSING_SOON, "--listen=unix:ws.sock").exited
        self.assertEqual((child.status, child.out, child.err), (0, b"", b""))
        # The socket is bound by now: connecting waits in its backlog until the daemon's reactor runs.
        await echoes(self, await open_websocket(self, f"ws+unix:{place}/ws.sock"))
        log = Path(place, "it.log").read_text()
        self.assertIn(f"[wsecho#info] listening on ws+unix:ws.sock : {PATHS}\n", log)
        os.kill(int(Path(place, "it.pid").read_text()), 15)
        await child.ended
        self.assertEqual(os.listdir(place), ["it.log"])
        self.assertNotIn("Traceback", Path(place, "it.log").read_text())

    async def test_taken_port(self) -> None:
        """A port that is taken is status 1 of the starter, one line in the log, and no pid file."""
        other = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(other.close)
        place = os.path.relpath(self.mktemp())
        argument = f"--port={other.getsockname()[1]}"
        child = await self.run_daemon(place, argument, "--host=127.0.0.1").ended
        self.assertEqual(child.status, 1)
        self.assertIn(f"{argument}: cannot listen".encode(), child.err)
        log = Path(place, "it.log").read_text()
        self.assertEqual(log.count("[wsecho#critical]"), 1)
        self.assertNotIn("Traceback", log)
        self.assertEqual(os.listdir(place), ["it.log"])

    async def test_systemd(self) -> None:
        """Sockets of systemd belong to the process that was started; a daemon serves them all the same."""
        handed = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(handed.close)
        place = os.path.relpath(self.mktemp())
        command = [*twistd(), "--pidfile=it.pid", "--logfile=it.log", "wsecho"]
        child = start(
            self,
            [
                sys.executable,
                "-c",
                AS_SYSTEMD,
                *command,
                CLOSING_SOON,
                "--listen=systemd:domain=INET:index=0",
            ],
            variables={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "ws"},
            descriptors={3: handed.fileno(), 4: "r"},
            directory=place,
        )
        self.addCleanup(self.kill_daemon, place)
        await child.exited
        self.assertEqual(child.status, 0)
        await echoes(self, await open_websocket(self, f"ws://127.0.0.1:{handed.getsockname()[1]}/"))
        os.kill(int(Path(place, "it.pid").read_text()), 15)
        await child.ended
