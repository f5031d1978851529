"""Tests for `wsecho.app.admin`: the token, who reaches the endpoint, and servers that have one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import error
from twisted.internet import reactor as the_reactor
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from tests.web.overseen import FakeOverseer
from wsecho.app.admin import AdminEndpoint, build_admin, read_token
from wsecho.app.configuration import ConfigurationError, read_configuration
from wsecho.app.listeners import IListener, ListenError

from .logs import logged_lines
from .servers import (
    AS_SYSTEMD,
    ECHOED,
    HELLO,
    Child,
    Conversation,
    LineWatcher,
    connect,
    echoes,
    open_websocket,
    start,
    twistd,
)

reactor: Any = the_reactor

TOKEN = "correct-horse-battery-staple"
ADMIN = "--admin=tcp:0:interface=127.0.0.1"
LISTEN = "--listen=tcp:0:interface=127.0.0.1"
CLOSE_1001 = b"\x03\xe9server is stopping"


class ReadTokenTests(SynchronousTestCase):
    """The file of ``--admin-token-file``."""

    def read(self, content: bytes, mode: int = 0o600) -> tuple[str, list[str]]:
        """The token in a file, and what was logged."""
        path = Path(self.mktemp())
        path.write_bytes(content)
        path.chmod(mode)
        with logged_lines() as lines:
            return read_token(str(path), "--admin-token-file=F"), lines

    def test_token(self) -> None:
        """One line, with or without its end."""
        for end in (b"", b"\n", b"\r\n", b" \n"):
            self.assertEqual(self.read(TOKEN.encode() + end), (TOKEN, []))
        self.assertEqual(self.read(b"YWJjZGVmZ2hpamtsbW5vcA==")[0], "YWJjZGVmZ2hpamtsbW5vcA==")

    def test_nothing(self) -> None:
        """An empty file is an error: it would open every door, or none."""
        for content in (b"", b"\n", b" \n\n"):
            failed = self.assertRaises(ConfigurationError, self.read, content)
            self.assertEqual(
                str(failed), "--admin-token-file=F: is empty; accepted is a file with one line, the token"
            )

    def test_missing(self) -> None:
        """A file that is not there is an error."""
        failed = self.assertRaises(ConfigurationError, read_token, self.mktemp(), "--admin-token-file=F")
        self.assertEqual(
            str(failed), "--admin-token-file=F: No such file or directory; accepted is a file with one line"
        )

    def test_no_token(self) -> None:
        """Several lines, blanks, what no header can hold, and too much, are errors that do not tell the
        content."""
        for content in (b"secret1\nsecret2\n", b"secret secret", b"secret\xc3\xa9", b"secret\0", b"x" * 4097):
            failed = self.assertRaises(ConfigurationError, self.read, content)
            self.assertIn("holds no token; accepted is one line of letters", str(failed))
            self.assertNotIn("secret", str(failed))

    def test_warnings(self) -> None:
        """A token that everybody can read, or guess, is told."""
        self.assertIn("everybody on this machine can read", self.read(TOKEN.encode(), 0o644)[1][0])
        self.assertIn("the token is short", self.read(b"short")[1][0])
        self.assertEqual(self.read(TOKEN.encode(), 0o640)[1], [])


class FakePort:
    """A port at an address."""

    def __init__(self, address: IAddress) -> None:
        self.address = address
        self.is_open = True

    def getHost(self) -> IAddress:
        return self.address

    def stopListening(self) -> None:
        self.is_open = False


@implementer(IListener)
class FakeListener:
    """A listener that a test decides about."""

    name = "--admin=E"
    is_secure = False

    def __init__(self, result: Deferred[Any]) -> None:
        self.result = result

    def listen(self, factory: Any) -> Deferred[Any]:
        return self.result


class EndpointTests(SynchronousTestCase):
    """`AdminEndpoint`."""

    def endpoint(
        self, address: IAddress, token: str | None, hosts: Sequence[str] = ()
    ) -> tuple[AdminEndpoint, FakePort, Deferred[None]]:
        """An endpoint that listens at an address."""
        port = FakePort(address)
        endpoint = AdminEndpoint(Clock(), FakeListener(succeed([port])), token=token, hosts=hosts)
        return endpoint, port, endpoint.listen(FakeOverseer())

    def test_local(self) -> None:
        """Loopback and unix sockets need no token."""
        for address in (IPv4Address("TCP", "127.0.0.1", 1), UNIXAddress(b"/run/admin")):
            endpoint, port, listening = self.endpoint(address, None)
            self.successResultOf(listening)
            self.assertTrue(port.is_open)
            self.successResultOf(endpoint.stop())
            self.assertFalse(port.is_open)

    def test_beyond(self) -> None:
        """What other machines reach needs a token, and is warned of with one: it passes in the clear."""
        everywhere = IPv4Address("TCP", "0.0.0.0", 9001)
        endpoint, port, listening = self.endpoint(everywhere, None)
        failure = self.failureResultOf(listening, ListenError)
        self.assertIn("has no token; accepted is", failure.getErrorMessage())
        self.successResultOf(endpoint.stop())
        self.assertFalse(port.is_open)
        with logged_lines() as lines:
            self.successResultOf(self.endpoint(everywhere, TOKEN)[2])
        self.assertEqual(lines, ["--admin=E: the token passes in the clear; put TLS in front"])

    def test_hosts(self) -> None:
        """Without a token only loopback's names are served, whatever --allow-host says; with one, those of
        --allow-host as well, and beyond loopback any when there are none."""
        loopback, everywhere = IPv4Address("TCP", "127.0.0.1", 1), IPv4Address("TCP", "0.0.0.0", 1)
        for address, token, hosts, served in (
            (loopback, None, (), ("localhost",)),
            (loopback, None, ("*",), ("localhost",)),
            (loopback, TOKEN, ("a.example",), ("localhost", "a.example")),
            (loopback, TOKEN, (), ("localhost",)),
            (everywhere, TOKEN, ("a.example",), ("a.example",)),
            (everywhere, TOKEN, (), ("localhost", "a.example", "b.example")),
        ):
            endpoint, _, _ = self.endpoint(address, token, hosts)
            allowed: Any = endpoint._site.resource.hosts  # type: ignore[union-attr]
            names = ("localhost", "a.example", "b.example")
            self.assertEqual(tuple(name for name in names if allowed.allows(name)), served)

    def test_urls(self) -> None:
        """The log tells where it is."""
        endpoint, _, _ = self.endpoint(IPv4Address("TCP", "127.0.0.1", 9001), None)
        with logged_lines() as lines:
            endpoint.tell()
        self.assertEqual(lines, ["admin on http://127.0.0.1:9001/"])
        self.assertEqual(self.endpoint(UNIXAddress(b"/run/a"), None)[0].urls, ("http+unix:/run/a",))

    def test_never_listened(self) -> None:
        """One that never listened may be stopped."""
        endpoint = AdminEndpoint(Clock(), FakeListener(Deferred()), token=None)
        self.successResultOf(endpoint.stop())

    def test_cannot_listen(self) -> None:
        """A listener that fails is the failure."""
        endpoint = AdminEndpoint(Clock(), FakeListener(fail(ListenError("taken"))), token=None)
        self.failureResultOf(endpoint.listen(FakeOverseer()), ListenError)
        self.successResultOf(endpoint.stop())

    def test_build(self) -> None:
        """It is made of --admin and --admin-token-file."""
        path = Path(self.mktemp())
        path.write_text(TOKEN)
        path.chmod(0o600)
        given = {"admin": ["tcp:0:interface=127.0.0.1"], "admin-token-file": [str(path)]}
        endpoint = build_admin(read_configuration(given), Clock())
        self.assertEqual((endpoint._token, endpoint.listener.name), (TOKEN, f"--admin={given['admin'][0]}"))
        socket = read_configuration({"admin": ["systemd:domain=INET:index=0"]})
        self.assertRaises(ConfigurationError, build_admin, socket, Clock())


@implementer(IBodyProducer)
class Body:
    """A body of a request."""

    def __init__(self, data: bytes) -> None:
        self.data, self.length = data, len(data)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self.data)
        return succeed(None)

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


class ServedTestCase(TestCase):
    """A server in a process of its own, with an admin endpoint."""

    timeout = 60

    async def serve(self, *arguments: str) -> tuple[Child, str, str]:
        """Start a server; its process, its URL, and that of its admin endpoint."""
        child = start(self, [*twistd(), "-n", "--pidfile=", "wsecho", LISTEN, *arguments])
        admin = LineWatcher(child, b"admin on http://")
        (url,) = await child.listening
        await admin.found
        place = child.out.partition(b"admin on ")[2].partition(b"\n")[0].decode().rstrip("/")
        return child, url, place

    async def ask(self, method: str, url: str, value: Any = None, **headers: str) -> tuple[int, Any]:
        """Ask; the status and the JSON value, or the text."""
        fields = {name.replace("_", "-"): [text] for name, text in headers.items()}
        body = None
        if value is not None:
            fields["content-type"], body = ["application/json"], Body(json.dumps(value).encode())
        response = await Agent(reactor).request(method.encode(), url.encode(), Headers(fields), body)
        content = await readBody(response)
        (kind,) = response.headers.getRawHeaders("content-type")
        return response.code, json.loads(content) if kind == "application/json" else content.decode()

    async def watch(self, admin: str, query: str = "") -> IResponse:
        """Ask for a stream of messages, and wait until it has begun: the head of its answer has come."""
        response = await Agent(reactor).request(b"GET", f"{admin}/api/messages{query}".encode())
        self.assertEqual(response.code, 200)
        return response

    async def counted(self, admin: str, sample: str) -> float:
        """The value of a sample of /metrics."""
        _, text = await self.ask("GET", f"{admin}/metrics")
        (value,) = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{sample} ")]
        return float(value)


class ServedTests(ServedTestCase):
    """What an operator does."""

    async def test_one_hour(self) -> None:
        """Look at who is there, publish, disconnect, pause and resume; counts go on meanwhile."""
        _, url, admin = await self.serve(ADMIN)
        self.assertEqual(await self.ask("GET", f"{admin}/health/ready"), (200, {"status": "ready"}))
        ann, bob = [await open_websocket(self, url, path) for path in ("/", "/broadcast/kitchen")]
        await echoes(self, ann)
        _, listed = await self.ask("GET", f"{admin}/api/connections?path=/")
        self.assertEqual([one["received_bytes"] for one in listed["connections"]], [5])
        self.assertEqual(await self.counted(admin, 'wsecho_connections_open{service="echo"}'), 1)
        received = 'wsecho_messages_total{direction="received",service="echo"}'
        self.assertEqual(await self.counted(admin, received), 1)

        message = {"channel": "kitchen", "text": "tea?"}
        published = await self.ask("POST", f"{admin}/api/messages", message)
        self.assertEqual(published, (200, {"channel": "kitchen", "members": 1}))
        await bob.until(b"\x81\x04tea?")

        (connection,) = listed["connections"]
        place = f"{admin}/api/connections/{connection['id']}"
        self.assertEqual((await self.ask("DELETE", f"{place}?code=4001&reason=bye"))[0], 202)
        await ann.until(b"\x88\x05\x0f\xa1bye")
        ann.say(b"\x88\x82\0\0\0\0\x0f\xa1")
        await ann.lost
        self.assertEqual((await self.ask("GET", place))[0], 404)
        self.assertEqual(await self.counted(admin, received), 1)
        self.assertEqual(await self.counted(admin, 'wsecho_connection_ends_total{reason="server-close"}'), 1)

        self.assertEqual((await self.ask("PUT", f"{admin}/api/accepting", {"accepting": False}))[0], 200)
        self.assertEqual(await self.ask("GET", f"{admin}/health/ready"), (503, {"status": "paused"}))
        waiting = Deferred.fromCoroutine(open_websocket(self, url))
        await self.ask("GET", f"{admin}/health/live")
        self.assertFalse(waiting.called)
        self.assertEqual((await self.ask("PUT", f"{admin}/api/accepting", {"accepting": True}))[0], 200)
        await echoes(self, await waiting)

    async def test_closed_ports(self) -> None:
        """Closed, whoever connects is refused, and those who are there go on; opened again, the same port
        answers."""
        child, url, admin = await self.serve(ADMIN)
        ann = await open_websocket(self, url)
        closed = await self.ask("PUT", f"{admin}/api/listening", {"listening": False})
        self.assertEqual(closed, (200, {"listening": False}))
        self.assertEqual(await self.ask("GET", f"{admin}/health/ready"), (503, {"status": "closed"}))
        with self.assertRaises(error.ConnectionRefusedError):
            await connect(self, url)
        await echoes(self, ann)
        opened = await self.ask("PUT", f"{admin}/api/listening", {"listening": True})
        self.assertEqual(opened, (200, {"listening": True}))
        await echoes(self, await open_websocket(self, url))
        self.assertEqual(child.out.count(f"listening on {url}".encode()), 2)
        await self.ask("PUT", f"{admin}/api/listening", {"listening": False})
        child.kill("TERM")
        await ann.until(CLOSE_1001)
        ann.say(b"\x88\x82\0\0\0\0\x03\xe9")

    async def test_samples(self) -> None:
        """Messages are seen as they pass, of connections that the lane reads as well."""
        _, url, admin = await self.serve(ADMIN)
        ann = await open_websocket(self, url)
        await echoes(self, ann)
        stream = await self.watch(admin, "?count=2&seconds=20")
        for _ in range(2):
            ann.say(HELLO)
        await ann.until(ECHOED * 3)
        content = await readBody(stream)
        seen = [json.loads(line) for line in content.splitlines() if line]
        self.assertEqual([(one["service"], one["beginning"]) for one in seen], [("echo", "hello")] * 2)

    async def test_watcher_at_the_end(self) -> None:
        """A stream is complete when the server ends: its reader sees an end, not a break."""
        child, _, admin = await self.serve(ADMIN)
        stream = await self.watch(admin)
        child.kill("TERM")
        self.assertEqual(await readBody(stream), b"\n")
        await child.ended

    async def test_pause_on_systemds_socket(self) -> None:
        """Accepting is paused and resumed on a unix socket that systemd handed over; it is not closed."""
        path = os.path.relpath(self.mktemp())
        handed = socket.socket(socket.AF_UNIX)
        self.addCleanup(handed.close)
        handed.bind(path)
        handed.listen()
        command = [sys.executable, "-c", AS_SYSTEMD, *twistd(), "-n", "--pidfile=", "wsecho", ADMIN]
        child = start(
            self,
            [*command, "--listen=systemd:domain=UNIX:name=ws"],
            variables={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "ws"},
            descriptors={3: handed.fileno()},
            directory=".",
        )
        told = LineWatcher(child, b"admin on http://")
        await told.found
        admin = child.out.partition(b"admin on ")[2].partition(b"\n")[0].decode().rstrip("/")
        status, refused = await self.ask("PUT", f"{admin}/api/listening", {"listening": False})
        self.assertEqual(status, 409)
        self.assertIn("pause accepting instead", refused["error"])
        paused = await self.ask("PUT", f"{admin}/api/accepting", {"accepting": False})
        self.assertEqual(paused, (200, {"accepting": False}))
        waiting = Deferred.fromCoroutine(open_websocket(self, f"ws+unix:{path}"))
        await self.ask("GET", f"{admin}/health/live")
        self.assertFalse(waiting.called)
        await self.ask("PUT", f"{admin}/api/accepting", {"accepting": True})
        await echoes(self, await waiting)

    async def test_foreign_page(self) -> None:
        """A page of another origin gets nothing, nor does a name that was pointed at this machine."""
        _, _, admin = await self.serve(ADMIN)
        status, answer = await self.ask("GET", f"{admin}/metrics", origin="https://evil.example")
        self.assertEqual((status, set(answer)), (403, {"error"}))
        status, _ = await self.ask(
            "GET", f"{admin}/metrics", host="evil.example", origin="http://evil.example"
        )
        self.assertEqual(status, 421)

    async def test_token(self) -> None:
        """With a token the API needs it, health does not."""
        path = Path(self.mktemp()).resolve()
        path.write_text(TOKEN)
        path.chmod(0o600)
        _, _, admin = await self.serve(ADMIN, f"--admin-token-file={path}")
        self.assertEqual((await self.ask("GET", f"{admin}/api/server"))[0], 401)
        self.assertEqual((await self.ask("GET", f"{admin}/api/server", authorization="Bearer x"))[0], 401)
        right = await self.ask("GET", f"{admin}/api/server", authorization=f"Bearer {TOKEN}")
        self.assertEqual(right[0], 200)
        self.assertEqual((await self.ask("GET", f"{admin}/health/live"))[0], 200)
        status, shown = await self.ask("GET", f"{admin}/api/configuration", authorization=f"Bearer {TOKEN}")
        self.assertNotIn(TOKEN, json.dumps(shown))
        self.assertEqual(status, 200)

    async def test_draining(self) -> None:
        """It answers until the last connection has gone, and health says that the server drains."""
        child, url, admin = await self.serve(ADMIN, "--drain-timeout=10m")
        peers = [await open_websocket(self, url) for _ in range(2)]
        draining = LineWatcher(child, b"open connections: 2; they get Close 1001")
        child.kill("INT")
        await draining.found
        self.assertEqual(await self.ask("GET", f"{admin}/health/ready"), (503, {"status": "draining"}))
        self.assertEqual((await self.ask("GET", f"{admin}/health/live"))[0], 200)
        await self.leave(peers[0])
        self.assertEqual(await self.counted(admin, 'wsecho_connection_ends_total{reason="shutdown"}'), 1)
        self.assertEqual((await self.ask("PUT", f"{admin}/api/accepting", {"accepting": True}))[0], 409)
        await self.leave(peers[1])
        await child.ended
        self.assertEqual((child.status, child.err), (0, b""))
        self.assertNotIn(b"Traceback", child.out)

    async def leave(self, peer: Conversation) -> None:
        """Answer the Close of a server that stops."""
        await peer.until(CLOSE_1001)
        peer.say(b"\x88\x82\0\0\0\0\x03\xe9")
        await peer.lost

    async def test_open_admin_connection(self) -> None:
        """A client of the endpoint that says nothing does not keep the server from its end."""
        child, _, admin = await self.serve(ADMIN)
        idle = await self.open_socket(admin)
        child.kill("TERM")
        await child.ended
        self.assertEqual(child.status, 0)
        await idle.lost

    async def open_socket(self, admin: str) -> Conversation:
        """A connection to the endpoint."""
        return await connect(self, "ws" + admin.removeprefix("http"))

    async def test_unix_socket(self) -> None:
        """A unix socket needs no token, and curl reaches it."""
        curl = shutil.which("curl")
        if curl is None:
            raise SkipTest("curl not found: apt-get install curl")
        path = os.path.abspath(self.mktemp())
        child = start(self, [*twistd(), "-n", "--pidfile=", "wsecho", LISTEN, f"--admin=unix:{path}"])
        admin = LineWatcher(child, b"admin on http+unix:")
        await admin.found
        command = [curl, "-s", "--unix-socket", path, "http://localhost/health/ready"]
        done = await deferToThread(
            subprocess.run, command, capture_output=True, timeout=30, check=True, text=True
        )
        self.assertEqual(json.loads(done.stdout), {"status": "ready"})


class RefusedTests(TestCase):
    """What cannot be started."""

    timeout = 60

    async def refused(self, *arguments: str) -> str:
        """Assert that a server ends with status 1; all that it said."""
        child = await start(self, [*twistd(), "-n", "--pidfile=", "wsecho", LISTEN, *arguments]).ended
        self.assertEqual(child.status, 1)
        self.assertNotIn(b"Traceback", child.out + child.err)
        return (child.out + child.err).decode()

    async def test_beyond_loopback(self) -> None:
        """An endpoint that others reach, without a token, is one line and status 1."""
        said = await self.refused("--admin=tcp:0")
        self.assertIn("--admin=tcp:0: can be reached from other machines and has no token; accepted is", said)
        self.assertNotIn("listening on", said)

    async def test_token_file(self) -> None:
        """A token file that is missing is one line and status 1; so is one that nothing uses."""
        said = await self.refused(ADMIN, "--admin-token-file=/nowhere")
        self.assertEqual(
            said,
            "wsecho: --admin-token-file=/nowhere: No such file or directory; accepted is a file with one "
            "line\n",
        )
        said = await self.refused("--admin-token-file=/nowhere")
        self.assertIn("nothing uses it; accepted is --admin-token-file=FILE with --admin=ENDPOINT\n", said)

    async def test_taken(self) -> None:
        """A port that somebody has is one line and status 1, and nothing else listens on."""
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        admin = f"--admin=tcp:{port.getHost().port}:interface=127.0.0.1"
        said = await self.refused(admin)
        self.assertIn(f"{admin}: cannot listen: Address already in use", said)
