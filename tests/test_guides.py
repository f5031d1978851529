"""Tests for the guides in docs/: each block of Python that a page shows is run, and does what the page says.

A block is marked `<!-- test: NAME -->`, and the test of that name in its page's class runs it.
"""

import inspect
import re
import sys
import unittest
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from websockets.asyncio.client import connect as asyncio_connect
from websockets.sync.client import connect as connect_program

from tests.app.servers import twistd
from tests.checkout import CHECKOUT
from tests.serving import TIMEOUT, python_environment, run_python, serving
from tests.testing.test_plugin import plugin_arguments
from wsecho import (
    BroadcastServerFactory,
    BroadcastService,
    ConnectError,
    ConnectFailed,
    EchoService,
    HandshakeOptions,
    PreSharedKeyAuthenticator,
    ServerFactory,
    Settings,
    WebSocket,
    WebSocketServer,
)
from wsecho.hub.engine import Retention
from wsecho.hub.memory import MemoryEngine
from wsecho.tls.client import ClientTls
from wsecho.tls.preshared import PreSharedKeys

reactor: Any = the_reactor

_BLOCK = re.compile(r"^<!-- test: ([a-z-]+) -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class GuideTestCase(TestCase):
    """A page whose blocks are run.

    :cvar page: its name in docs/
    """

    page = ""

    def blocks(self) -> dict[str, str]:
        """The page's blocks, by name."""
        text = (CHECKOUT / "docs" / self.page).read_text(encoding="utf-8")
        found = _BLOCK.findall(text)
        self.assertEqual(text.count("```python"), len(found), "a block without a name")
        self.assertEqual(len(dict(found)), len(found), "a name twice")
        return dict(found)

    def run_block(self, name: str, **names: Any) -> dict[str, Any]:
        """Run a block, in which `names` are known, and return the names that are known then."""
        exec(compile(self.blocks()[name], f"{self.page}: {name}", "exec"), names)
        return names

    def server(self, name: str) -> AbstractContextManager[list[str]]:
        """Run a block that is the program of a server, on a free port."""
        code = self.blocks()[name].replace("9000", "0")
        if "asyncio.run" in code:
            # Unlike Twisted's reactor, asyncio does nothing about the signal that ends a service.
            code = f"import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit())\n{code}"
        return serving([sys.executable, "-c", code], env=python_environment())

    def assert_echo(self, name: str) -> None:
        """A block is a program that echoes text and binary, and ends in order."""
        with (
            self.server(name) as (url,),
            connect_program(url, open_timeout=TIMEOUT, close_timeout=TIMEOUT, proxy=None) as client,
        ):
            for message in ("text", b"binary"):
                client.send(message)
                self.assertEqual(client.recv(TIMEOUT), message)

    async def listen(self, factory: ServerFactory) -> str:
        """Listen with a factory until the test ends, and return the URL without a path."""
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        self.addCleanup(factory.shutdown)
        return f"ws://127.0.0.1:{port.getHost().port}"

    async def start(self, server: WebSocketServer) -> str:
        """Listen with a server until the test ends, and return the URL."""
        self.addCleanup(server.shutdown)
        await server.listen("127.0.0.1")
        return server.server_url

    async def open(self, url: str, **options: Any) -> WebSocket:
        """A client's connection, until the test ends."""
        socket = WebSocket(reactor=reactor, **options)
        self.addCleanup(socket.when_disconnected)
        self.addCleanup(socket.abort)
        return await socket.open(url)

    async def refusal(self, url: str, **options: Any) -> int | None:
        """The status of the refusal of a client."""
        with self.assertRaises(ConnectFailed) as failed:
            await self.open(url, **options)
        status: int | None = failed.exception.status
        return status

    def assert_all_run(self, case: type) -> None:
        """Each block of the page has its test, and each test its block."""
        tests = {name.removeprefix("test_") for name in vars(case) if name.startswith("test_")}
        self.assertEqual(tests - {"every_block"}, {name.replace("-", "_") for name in self.blocks()})


class WritingAServerTests(GuideTestCase):
    """docs/how-to/writing-a-server.md."""

    page = "how-to/writing-a-server.md"

    def setUp(self) -> None:
        """Choose where certificates are made, by the tests that need them."""
        self.certificates = Path(self.mktemp()).resolve() / "development"

    def test_every_block(self) -> None:
        """Each block of the page is run."""
        self.assert_all_run(WritingAServerTests)

    def test_signals(self) -> None:
        """The echo server with signals echoes."""
        self.assert_echo("signals")

    def test_async_for(self) -> None:
        """The echo server with coroutines echoes."""
        self.assert_echo("async-for")

    def test_protocol(self) -> None:
        """The echo server with a protocol echoes."""
        self.assert_echo("protocol")

    async def test_route(self) -> None:
        """A route leads to two services, and any other path is 404."""
        url = await self.listen(self.run_block("route")["factory"])
        echo, shout = await self.open(f"{url}/echo"), await self.open(f"{url}/shout")
        for socket in (echo, shout):
            socket.send_text_message("hello")
        self.assertEqual(await anext(echo), "hello")
        self.assertEqual([await anext(shout), await anext(shout)], ["READY", "HELLO"])
        self.assertEqual(await self.refusal(f"{url}/other"), 404)

    async def test_origins(self) -> None:
        """A list of origins holds for a factory and for a server."""
        block = self.run_block("origins")
        for url in (await self.listen(block["factory"]), await self.start(block["server"])):
            for origin in ("https://app.example.com", "https://a.example.org"):
                await self.open(url, origin=origin)
            self.assertEqual(await self.refusal(url, origin="https://example.org"), 403)

    async def test_origin_signal(self) -> None:
        """A slot that is a coroutine function decides on the origin, in its time."""

        async def known_origins() -> set[str]:
            return await deferLater(reactor, 0, lambda: {"https://app.example.com"})

        url = await self.start(self.run_block("origin-signal", known_origins=known_origins)["server"])
        await self.open(url, origin="https://app.example.com")
        self.assertEqual(await self.refusal(url, origin="https://evil.example"), 403)

    async def test_on_connect(self) -> None:
        """onConnect decides on the whole request, in its time, after the origin policy."""

        async def find_user(token: str) -> str | None:
            return await deferLater(reactor, 0, {"secret": "ann"}.get, token)

        factory = ServerFactory()
        factory.protocol = self.run_block("on-connect", find_user=find_user)["Members"]
        url = await self.listen(factory)
        await self.open(f"{url}/?token=secret")
        self.assertEqual([connection.user for connection in factory.connections], ["ann"])
        self.assertEqual(await self.refusal(f"{url}/?token=guess"), 401)
        self.assertEqual(await self.refusal(f"{url}/?token=secret", origin="https://evil.example"), 403)

    async def test_publish(self) -> None:
        """A program speaks on the channel that a route leads to."""
        block = self.run_block("publish")
        url = await self.listen(block["factory"])
        first, second = await self.open(f"{url}/news"), await self.open(f"{url}/news")
        first.send_text_message("from a member")
        self.assertEqual(await anext(second), "from a member")
        block["broadcast"].publish("news", "it rains")
        self.assertEqual([await anext(first), await anext(second)], ["it rains", "it rains"])

    async def test_listeners(self) -> None:
        """A member that speaks where members only listen is closed with 1008."""
        block = self.run_block("listeners")
        url = await self.listen(block["factory"])
        socket = await self.open(f"{url}/broadcast/news")
        block["factory"].publish("news", "it rains")
        self.assertEqual(await anext(socket), "it rains")
        socket.send_text_message("does it?")
        await socket.when_disconnected()
        self.assertEqual(socket.close_code, 1008)

    def run_tls_block(self, name: str, port: str = "0") -> dict[str, Any]:
        """Run a block with the files of `make-certificate`."""
        if not self.certificates.exists():
            run_python("-m", "wsecho", "make-certificate", f"--directory={self.certificates}")
        code = self.blocks()[name].replace("9443", port)
        for file in ("ca.pem", "certificate.pem", "private-key.pem"):
            code = code.replace(f'"{file}"', repr(str(self.certificates / file)))
        names: dict[str, Any] = {}
        exec(code, names)
        return names

    async def connect_tls(self, port: int) -> WebSocket:
        """Connect by the block of the client."""
        socket: WebSocket = await self.run_tls_block("tls-client", str(port))["connect"](reactor)
        self.addCleanup(socket.when_disconnected)
        self.addCleanup(socket.abort)
        return socket

    async def test_tls(self) -> None:
        """A server in secure mode serves wss."""
        server = await self.run_tls_block("tls")["serve"](reactor)
        self.addCleanup(server.shutdown)
        await self.connect_tls(server.server_port)
        self.assertTrue(server.next_pending_connection().request_url.startswith("wss://"))

    async def test_tls_endpoint(self) -> None:
        """A factory behind an endpoint with TLS serves wss."""
        port = await self.run_tls_block("tls-endpoint")["serve"](reactor)
        self.addCleanup(port.stopListening)
        socket = await self.connect_tls(port.getHost().port)
        socket.send_text_message("hello in private")
        self.assertEqual(await anext(socket), "hello in private")

    async def test_tls_client(self) -> None:
        """The client trusts that authority, and no other."""
        server = await self.run_tls_block("tls")["serve"](reactor)
        self.addCleanup(server.shutdown)
        self.assertEqual((await self.connect_tls(server.server_port)).peer_port, server.server_port)
        self.certificates = self.certificates.with_name("others")
        with self.assertRaises(ConnectFailed) as failed:
            await self.connect_tls(server.server_port)
        self.assertIs(failed.exception.error, ConnectError.TLS)

    async def test_settings(self) -> None:
        """Settings hold for a factory and for a server."""
        block = self.run_block("settings")
        for url in (await self.listen(block["factory"]), await self.start(block["server"])):
            socket = await self.open(url)
            socket.send_binary_message(bytes(64 * 1024 + 1))
            await socket.when_disconnected()
            self.assertEqual(socket.close_code, 1009)

    async def test_room(self) -> None:
        """A factory and a server share the places of a room."""
        block = self.run_block("room")
        for url in (await self.listen(block["factory"]), await self.start(block["server"])):
            await self.open(url)
        self.assertEqual(len(block["room"]), 2)

    async def test_drained(self) -> None:
        """Who waits before each message sends any number of them, and stops when the connection is over."""
        send_all = self.run_block("drained")["send_all"]
        server = WebSocketServer(reactor=reactor)
        socket = await self.open(await self.start(server))
        socket.pause_reading()
        ours = await anext(server)
        chunk, most = bytes(64 * 1024), Settings().send_queue + 64 * 1024 + 10
        sending = Deferred.fromCoroutine(send_all(ours, [chunk] * 200))
        while not ours._connection.is_output_full:
            await deferLater(reactor, 0)
        self.assertFalse(sending.called)
        self.assertLessEqual(ours.bytes_to_write, most)
        socket.resume_reading()
        for _ in range(200):
            self.assertEqual(await anext(socket), chunk)
        await sending
        endless = Deferred.fromCoroutine(send_all(ours, iter(lambda: chunk, None)))
        socket.abort()
        await endless

    async def test_slow_socket(self) -> None:
        """States are left out while the peer does not read."""
        tell = self.run_block("slow-socket")["tell"]
        server = WebSocketServer(reactor=reactor)
        socket = await self.open(await self.start(server))
        socket.pause_reading()
        ours = await anext(server)
        for _ in range(1000):
            tell(ours, "x" * 256 * 1024)
            await deferLater(reactor, 0)
        self.assertTrue(ours.is_valid())
        self.assertTrue(64 * 1024 < ours.bytes_to_write < 400 * 1024, ours.bytes_to_write)

    async def test_producer(self) -> None:
        """A producer goes at the pace of the peer, and loses nothing."""
        factory = ServerFactory()
        factory.protocol = self.run_block("producer")["Counting"]
        socket = WebSocket(reactor=reactor)
        socket.pause_reading()
        await socket.open(await self.listen(factory))
        self.addCleanup(socket.when_disconnected)
        self.addCleanup(socket.abort)
        (ours,) = factory.connections
        paused: Deferred[None] = Deferred()
        pause = ours.pauseProducing

        def note() -> None:
            pause()
            if not paused.called:
                paused.callback(None)

        self.patch(ours, "pauseProducing", note)
        await paused
        self.assertLess(ours.link.queued_bytes, 1024 * 1024)
        socket.resume_reading()
        for number in range(100_000):
            self.assertEqual(await anext(socket), str(number))

    def test_in_memory(self) -> None:
        """The tests that the page shows pass."""
        case = self.run_block("in-memory", __name__="block")["EchoTests"]
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
        self.assertEqual((result.testsRun, result.errors, result.failures), (2, [], []))


class TestingTests(GuideTestCase):
    """docs/how-to/testing.md."""

    page = "how-to/testing.md"

    def run_suite(self, name: str, *arguments: str) -> str:
        """Write a block into a file of an empty folder, and run Python there with `arguments`."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        (folder / "test_client.py").write_text(self.blocks()[name], encoding="utf-8")
        return run_python("-m", *arguments, cwd=folder)

    def run_pytest(self, name: str) -> str:
        """Run a block with pytest, and with the plugin where wsecho is not installed."""
        return self.run_suite(name, "pytest", *plugin_arguments(), "-p", "no:cacheprovider")

    def test_every_block(self) -> None:
        """Each block of the page is run."""
        self.assert_all_run(TestingTests)

    def test_pytest(self) -> None:
        """The suite for pytest passes."""
        self.assertIn("4 passed", self.run_pytest("pytest"))

    def test_pytest_asyncio(self) -> None:
        """The one whose client is asyncio's passes."""
        self.assertIn("1 passed", self.run_pytest("pytest-asyncio"))

    def test_unittest(self) -> None:
        """The one for unittest passes."""
        self.assertIn("OK", self.run_suite("unittest", "unittest", "test_client"))

    def test_trial(self) -> None:
        """The one for trial passes."""
        self.assertIn("PASSED (successes=2)", self.run_suite("trial", "twisted.trial", "test_client"))


class KeepingPlaceTests(GuideTestCase):
    """docs/how-to/keeping-place.md."""

    page = "how-to/keeping-place.md"

    def test_every_block(self) -> None:
        """Each block of the page is run."""
        self.assert_all_run(KeepingPlaceTests)

    async def served(self) -> BroadcastService:
        """Channels with a history, at the port that the page's blocks are then run with."""
        service = BroadcastService(engine=MemoryEngine(lambda channel: Retention(10)))
        self.url = await self.listen(BroadcastServerFactory(broadcast=service, reactor=reactor))
        return service

    def blocks(self) -> dict[str, str]:
        """The page's blocks, with the test's port."""
        url = getattr(self, "url", "ws://127.0.0.1:9000")
        return {name: text.replace("ws://127.0.0.1:9000", url) for name, text in super().blocks().items()}

    async def client(self) -> tuple[BroadcastService, Any, list[tuple[Any, ...]]]:
        """The page's client, welcome on its channel, and what it prints."""
        service = await self.served()
        printed: list[tuple[Any, ...]] = []
        welcome: Deferred[Any] = Deferred()
        client = self.run_block("client", print=lambda *words: printed.append(words))["client"]
        self.addCleanup(client.stop)
        client.opened_channel.connect(welcome.callback)
        await welcome
        return service, client, printed

    async def test_client(self) -> None:
        """The client prints what is said on the channel."""
        service, client, printed = await self.client()
        heard: Deferred[Any] = Deferred()
        client.message_received.connect(heard.callback)
        service.publish("kitchen", "tea?")
        await heard
        self.assertEqual(printed, [(1, "tea?")])

    async def test_publish(self) -> None:
        """What is published has its place."""
        _, client, _ = await self.client()
        order = self.run_block("publish")["order"]
        self.assertEqual((await order(client), await order(client)), (1, 2))

    async def test_restart(self) -> None:
        """A client that is given a place goes on behind it."""
        service = await self.served()
        first = await service.publish("kitchen", "one")
        await service.publish("kitchen", "two")
        assert first is not None
        make = self.run_block("restart")["client_that_goes_on"]
        client = make(reactor, first.epoch, first.offset)
        self.addCleanup(client.stop)
        heard: Deferred[Any] = Deferred()
        client.message_received.connect(heard.callback)
        client.start()
        self.assertEqual((await heard).content, "two")


class DrainingTests(GuideTestCase):
    """docs/topics/draining.md."""

    page = "topics/draining.md"

    def test_every_block(self) -> None:
        """Each block of the page is run."""
        self.assert_all_run(DrainingTests)

    async def test_shutdown(self) -> None:
        """A program that stops closes its connections, and has stopped when they are gone."""
        server = WebSocketServer(reactor=reactor, route={"/": EchoService()}.get)
        socket = await self.open(await self.start(server))
        triggers: list[tuple[Any, ...]] = []

        class Reactor:
            def addSystemEventTrigger(self, *arguments: Any, **options: Any) -> None:
                triggers.append((arguments, options))

        self.run_block("shutdown", reactor=Reactor(), server=server)
        (((*when, shutdown), options),) = triggers
        self.assertEqual((when, options), (["before", "shutdown"], {"timeout": 10, "spread": True}))
        await shutdown(**options)
        await socket.when_disconnected()
        self.assertEqual(socket.close_code, 1001)


class ComingFromAsyncioTests(GuideTestCase):
    """docs/how-to/coming-from-asyncio.md."""

    page = "how-to/coming-from-asyncio.md"

    def test_every_block(self) -> None:
        """Each block of the page is run."""
        self.assert_all_run(ComingFromAsyncioTests)

    def test_websockets(self) -> None:
        """The server of websockets echoes."""
        self.assert_echo("websockets")

    def test_wsecho(self) -> None:
        """The server of wsecho echoes as well."""
        self.assert_echo("wsecho")

    def test_client(self) -> None:
        """The client prints what either server sends back."""
        for name in ("websockets", "wsecho"):
            with self.server(name) as (url,):
                client = self.blocks()["client"].replace("ws://127.0.0.1:9000/", url)
                self.assertEqual(run_python("-c", client), "hello\n")

    async def test_drain(self) -> None:
        """Sending waits while the peer does not read, goes on when it has read, and raises at the end."""
        server = WebSocketServer(reactor=reactor)
        socket = await self.open(await self.start(server))
        socket.pause_reading()
        ours = await anext(server)
        send = self.run_block("drain")["send"]

        async def send_all() -> None:
            for _ in range(200):
                await send(ours, "x" * 128 * 1024)

        sending = Deferred.fromCoroutine(send_all())
        while not ours._connection.is_output_full:
            await deferLater(reactor, 0)
        self.assertFalse(sending.called)
        self.assertLess(ours.bytes_to_write, Settings().send_queue + 128 * 1024 + 11)
        socket.resume_reading()
        for _ in range(200):
            self.assertEqual(len(await anext(socket)), 128 * 1024)
        await sending
        socket.close(4000)
        await socket.when_disconnected()
        with self.assertRaises(ConnectionError) as raised:
            await send(ours, "x")
        self.assertEqual(str(raised.exception), "closed with 4000")

    def test_mixed(self) -> None:
        """asyncio, websockets and wsecho work on one event loop."""
        self.assertEqual(run_python("-W", "error::ResourceWarning", "-c", self.blocks()["mixed"]), "HELLO\n")


class ComingFromQtTests(GuideTestCase):
    """docs/how-to/coming-from-qt.md."""

    page = "how-to/coming-from-qt.md"

    def test_every_block(self) -> None:
        """Each block of the page is run."""
        self.assert_all_run(ComingFromQtTests)

    async def test_names(self) -> None:
        """The server that is written with Qt's names does what it says."""
        server = self.run_block("names")["server"]
        socket = WebSocket(reactor=reactor)
        await socket.open(await self.start(server), HandshakeOptions(["chat"]))
        self.assertEqual(socket.subprotocol, "chat")
        socket.send_text_message("bye")
        await socket.when_disconnected()
        self.assertEqual((socket.close_code, socket.close_reason), (1000, "bye"))


class TlsTests(GuideTestCase):
    """docs/how-to/tls.md."""

    page = "how-to/tls.md"

    def test_every_block(self) -> None:
        """Each block of the page is run."""
        self.assert_all_run(TlsTests)

    async def test_client(self) -> None:
        """A client connects to a server whose authority it has in a file."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        run_python("-m", "wsecho", "make-certificate", cwd=folder)
        command = [*twistd(), "-n", "--pidfile=", "wsecho", "--listen-tls=tcp:0:interface=127.0.0.1"]
        pems = ["--certificate=certificate.pem", "--private-key=private-key.pem"]
        with serving([*command, *pems], cwd=folder, env=python_environment()) as (url,):
            code = self.blocks()["client"].replace('"wss://localhost:9443/"', repr(url))
            code = code.replace('"ca.pem"', repr(str(folder / "ca.pem")))
            names: dict[str, Any] = {}
            exec(compile(code, self.page, "exec"), names)
            socket = await names["connect"]()
            socket.send_text_message("hello in private")
            self.assertEqual(await anext(socket), "hello in private")
            socket.close()
            await socket.when_disconnected()

    async def test_keys(self) -> None:
        """A device whose key the server knows gets in, and no other."""
        block = self.run_block("keys")
        url = await self.start(block["server"])
        ((identity, key),) = block["keys"].items()
        for name in (identity, b"device 2"):

            def answer(question: PreSharedKeyAuthenticator, name: bytes = name) -> None:
                question.identity, question.key = name, key

            socket = WebSocket(reactor=reactor)
            socket.ssl_configuration = ClientTls(pre_shared_keys=PreSharedKeys(answer=answer))
            self.addCleanup(socket.when_disconnected)
            self.addCleanup(socket.abort)
            if name == identity:
                await socket.open(url)
            else:
                with self.assertRaises(ConnectFailed):
                    await socket.open(url)


class SignalsTests(GuideTestCase):
    """docs/reference/api/signals.md."""

    page = "reference/api/signals.md"

    def test_every_block(self) -> None:
        """Each block of the page is run."""
        self.assert_all_run(SignalsTests)

    def test_thermometer(self) -> None:
        """What is emitted is printed."""
        self.assertEqual(run_python("-c", self.blocks()["thermometer"]), "36.6\n")


class EveryPageTests(TestCase):
    """All pages of the documentation."""

    def test_blocks(self) -> None:
        """Each page that shows a block of Python has its tests here."""
        tested = {case.page for case in GuideTestCase.__subclasses__()}
        docs = CHECKOUT / "docs"
        pages = [path for path in docs.rglob("*.md") if "```python" in path.read_text(encoding="utf-8")]
        self.assertEqual({str(path.relative_to(docs)) for path in pages}, tested)


class ComparisonTests(TestCase):
    """What docs/how-to/coming-from-asyncio.md says beside its blocks."""

    def test_defaults(self) -> None:
        """The defaults in the table are those of websockets and of wsecho."""
        text = (CHECKOUT / "docs" / "how-to" / "coming-from-asyncio.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `(\w+)` \| (\S+) \| `(\w+)` \| (\S+) \|$", text, re.MULTILINE)
        self.assertEqual(len(rows), 7)
        theirs = inspect.signature(asyncio_connect.__init__).parameters
        for their_name, their_default, name, default in rows:
            self.assertEqual(their_default.strip("`"), str(theirs[their_name].default))
            self.assertEqual(default.strip("`"), str(getattr(Settings(), name)).removesuffix(".0"))

    def test_twistd(self) -> None:
        """twistd serves on asyncio's reactor."""
        options = ["--reactor=asyncio", "--pidfile=", "-n", "wsecho", "--port=0", "--host=127.0.0.1"]
        with (
            serving([*twistd(), *options], env=python_environment()) as (url,),
            connect_program(url, open_timeout=TIMEOUT, close_timeout=TIMEOUT, proxy=None) as client,
        ):
            client.send("hello")
            self.assertEqual(client.recv(TIMEOUT), "hello")
