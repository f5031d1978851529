"""Tests for the programs of Qt's examples: echo servers and chat, each run as its docstring says, and talked
to by other people's clients and through its terminal."""

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from tests.checkout import CHECKOUT
from tests.serving import LISTENING, TIMEOUT, python_environment


class Program:
    """An example that runs: what is typed into it, and what it prints, line by line."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        self.printed: list[str] = []
        # In the background of a shell SIGINT is ignored, and a child would inherit that;
        # a handler it does not.
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self._process = subprocess.Popen(
                [sys.executable, str(CHECKOUT / "examples" / name), *arguments],
                cwd=folder,
                env=python_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        finally:
            signal.signal(signal.SIGINT, previous)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        # Reading has no timeout of its own: a killed process ends it.
        self._watchdog = threading.Timer(TIMEOUT, self._process.kill)
        self._watchdog.start()

    def type(self, text: str) -> None:
        """Type a text."""
        self._stdin.write(text)
        self._stdin.flush()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read on until a line matches as a whole."""
        while line := self._stdout.readline():
            self.printed.append(line)
            if found := re.fullmatch(pattern, line.rstrip("\n")):
                return found
        raise AssertionError(f"no {pattern!r} in:\n{''.join(self.printed)}")

    def url(self) -> str:
        """Wait for the start line and give its URL."""
        return self.wait_for(LISTENING.pattern)[1]

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def end_input(self) -> None:
        """Press Ctrl-D."""
        self._stdin.close()

    def status(self) -> int:
        """Wait for its end."""
        self.printed += self._stdout.readlines()
        return self._process.wait(TIMEOUT)

    def clean_up(self) -> None:
        """End it whatever it does."""
        self._watchdog.cancel()
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()


class ProgramTestCase(SynchronousTestCase):
    """Starts programs and clients that do not outlive the test."""

    def setUp(self) -> None:
        """Nobody is connected."""
        self.addresses: dict[ClientConnection, str] = {}

    def start(self, name: str, *arguments: str) -> Program:
        """Start an example from an empty folder."""
        folder = Path(self.mktemp())
        folder.mkdir()
        program = Program(name, arguments, folder)
        self.addCleanup(program.clean_up)
        return program

    def client(self, url: str) -> ClientConnection:
        """Connect a client."""
        client = connect(url, open_timeout=TIMEOUT, close_timeout=TIMEOUT, proxy=None)
        self.addCleanup(client.close)
        host, port = client.local_address[:2]
        self.addresses[client] = re.escape(f"{host} port {port}")
        return client

    def address(self, client: ClientConnection) -> str:
        """How the servers name a client, as a pattern."""
        return self.addresses[client]

    def assert_closed(self, client: ClientConnection, code: int) -> None:
        """The server closed the connection with that code."""
        closed: Any = self.assertRaises(ConnectionClosed, client.recv, TIMEOUT)
        self.assertEqual(closed.rcvd.code, code)

    def assert_refused(self, host: str, url: str) -> None:
        """Nobody listens on the port of a URL at that address."""
        port = int(url.rpartition(":")[2])
        self.assertRaises(ConnectionRefusedError, socket.create_connection, (host, port), TIMEOUT)


class EchoServerTests(ProgramTestCase):
    """qt_echo_server.py."""

    def test_echo(self) -> None:
        """Text and binary come back on all interfaces; it says who comes and goes and, with --debug, tells of
        each message, escaped."""
        program = self.start("qt_echo_server.py", "--debug", "0")
        url = program.url()
        first, second = self.client(url), self.client(url.replace("127.0.0.1", "[::1]"))
        program.wait_for(f"{self.address(first)} connected; clients: 1")
        program.wait_for(f"{self.address(second)} connected; clients: 2")
        for client in (first, second):
            for message in ("\x1b[31mgrüße", b"\0\xff"):
                client.send(message)
                self.assertEqual(client.recv(TIMEOUT), message)
            program.wait_for(rf'{self.address(client)} sent the text "\\x1b\[31mgrüße"; clients: 2')
            program.wait_for(f"{self.address(client)} sent 2 bytes, 0x00ff; clients: 2")
        first.close()
        program.wait_for(f"{self.address(first)} disconnected; clients: 1")

    def test_interrupt(self) -> None:
        """Ctrl-C closes each connection with 1001 and ends it with status 0; without --debug it told of no
        message."""
        program = self.start("qt_echo_server.py", "0")
        client = self.client(program.url())
        client.send("hello")
        self.assertEqual(client.recv(TIMEOUT), "hello")
        program.interrupt()
        self.assert_closed(client, 1001)
        self.assertEqual(program.status(), 0)
        told = "".join(program.printed[1:])
        named = self.address(client)
        self.assertRegex(told, rf"\A{named} connected; .*\n{named} disconnected; clients: 0\nclosed\n\Z")

    def test_port_in_use(self) -> None:
        """A port that somebody has is one line, and status 1."""
        with socket.create_server(("", 0)) as somebody:
            program = self.start("qt_echo_server.py", str(somebody.getsockname()[1]))
            self.assertEqual(program.status(), 1)
        self.assertRegex("".join(program.printed), r"\Acannot listen: .*in use.*\n\Z")


class EchoOnceTests(ProgramTestCase):
    """qt_echo_once.py."""

    def test_once(self) -> None:
        """After the first text nobody else can connect; who is there goes on, and the program ends with the
        last."""
        program = self.start("qt_echo_once.py", "0")
        url = program.url()
        first, second = self.client(url), self.client(url)
        first.send(b"\0\xff")
        self.assertEqual(first.recv(TIMEOUT), b"\0\xff")
        third = self.client(url)
        for text in ("one", "two"):
            first.send(text)
            self.assertEqual(first.recv(TIMEOUT), text)
        program.wait_for("closed")
        self.assert_refused("127.0.0.1", url)
        for client in (first, third):
            client.close()
            program.wait_for(f"{self.address(client)} disconnected")
        second.send("three")
        self.assertEqual(second.recv(TIMEOUT), "three")
        second.close()
        self.assertEqual(program.status(), 0)
        self.assertRegex(program.printed[-1], self.address(second) + " disconnected")

    def test_interrupt(self) -> None:
        """Ctrl-C closes each connection with 1001 and ends it with status 0, also as soon as it listens."""
        early = self.start("qt_echo_once.py", "0")
        early.url()
        early.interrupt()
        program = self.start("qt_echo_once.py", "0")
        client = self.client(program.url())
        program.interrupt()
        self.assert_closed(client, 1001)
        self.assertEqual(program.status(), 0)
        self.assertEqual(early.status(), 0, "".join(early.printed))


class ChatServerTests(ProgramTestCase):
    """chat_server.py."""

    def chat(self) -> tuple[Program, str]:
        """A server that listens."""
        program = self.start("chat_server.py", "0")
        program.wait_for("commands: .*")
        program.type("start\n")
        return program, program.url()

    def test_relay(self) -> None:
        """What one says goes to all others, unchanged, and not back; what is typed goes to all, until
        quit."""
        program, url = self.chat()
        first, second, third = (self.client(url) for _ in range(3))
        program.wait_for(f"{self.address(third)} connected")
        first.send("\x1b[31mhello")
        program.wait_for(rf'{self.address(first)} says "\\x1b\[31mhello"')
        program.type("starting soon, grüße\n")
        for client in (second, third):
            self.assertEqual(client.recv(TIMEOUT), "\x1b[31mhello")
        for client in (first, second, third):
            self.assertEqual(client.recv(TIMEOUT), "starting soon, grüße")
        second.close()
        program.wait_for(f"{self.address(second)} disconnected")
        program.type("last\nquit\nnever sent\n")
        for client in (first, third):
            self.assertEqual(client.recv(TIMEOUT), "last")
            self.assert_closed(client, 1001)
        self.assertEqual(program.status(), 0)

    def test_stop(self) -> None:
        """After stop nobody can connect, and who is here chats on; start lets others in again. It listens on
        IPv4 only, and ends with its input, whose last line needs no end."""
        program, url = self.chat()
        self.assert_refused("::1", url)
        first, second = self.client(url), self.client(url)
        program.wait_for(f"{self.address(second)} connected")
        program.type("stop\n")
        program.wait_for("closed")
        self.assert_refused("127.0.0.1", url)
        first.send("still here?")
        self.assertEqual(second.recv(TIMEOUT), "still here?")
        program.type("stop\n")
        program.wait_for("not listening")
        program.type("start\n")
        third = self.client(program.url())
        third.send("hello")
        for client in (first, second):
            self.assertEqual(client.recv(TIMEOUT), "hello")
        program.type("start\n")
        program.wait_for("cannot listen: the server is listening already")
        program.type("last")
        program.end_input()
        for client in (first, second, third):
            self.assertEqual(client.recv(TIMEOUT), "last")
            self.assert_closed(client, 1001)
        self.assertEqual(program.status(), 0)

    def test_interrupt(self) -> None:
        """Ctrl-C closes each connection with 1001, says so, and ends it with status 0."""
        program, url = self.chat()
        client = self.client(url)
        program.interrupt()
        self.assert_closed(client, 1001)
        self.assertEqual(program.status(), 0)
        self.assertRegex(program.printed[-1], self.address(client) + " disconnected")


class ChatClientTests(ProgramTestCase):
    """chat_client.py."""

    def server(self, handler: Callable[[ServerConnection], None]) -> str:
        """Serve with other people's library until the test ends; its URL."""
        server = serve(handler, "127.0.0.1", 0)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        return f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"

    def test_chat(self) -> None:
        """With chat_server.py: what is typed reaches the others, and what they say is printed, escaped. quit
        and the end of input close with 1000, after what was typed before."""
        server = self.start("chat_server.py", "0")
        server.type("start\n")
        url = server.url()
        first, second = (self.start("chat_client.py", f"  {url}\n") for _ in range(2))
        for program in (first, second):
            program.wait_for(f"connected to {re.escape(url)}/?")
        other = self.client(url)
        first.type("grüße\n")
        second.wait_for('"grüße"')
        self.assertEqual(other.recv(TIMEOUT), "grüße")
        other.send("\x1b[31mred")
        for program in (first, second):
            program.wait_for(r'"\\x1b\[31mred"')
        self.assertNotIn('"grüße"\n', first.printed)
        first.type("last\nquit\nnever sent\n")
        server.wait_for('.* says "last"')
        self.assertEqual(first.status(), 0)
        second.wait_for('"last"')
        second.type("no end")
        second.end_input()
        server.wait_for('.* says "no end"')
        self.assertEqual(second.status(), 0)
        for program in (first, second):
            self.assertRegex(program.printed[-1], r"\Adisconnected: 1000 ")
        self.assertEqual([other.recv(TIMEOUT), other.recv(TIMEOUT)], ["last", "no end"])

    def test_frames(self) -> None:
        """A text in several frames is printed frame by frame. When the server has gone, it says so, and that
        what is typed was not sent."""

        def handler(connection: ServerConnection) -> None:
            connection.send(["one ", "\x07", "two"])
            connection.recv(TIMEOUT)
            connection.close(4000, "\x1b[2Jbye")

        program = self.start("chat_client.py", self.server(handler))
        for frame in ("one ", r"\x07", "two"):
            program.wait_for(re.escape(f'"{frame}"'))
        program.type("I am here\n")
        program.wait_for(re.escape(r'disconnected: 4000 "\x1b[2Jbye"'))
        program.type("hello?\n")
        program.wait_for("not connected, not sent")
        program.type("quit\n")
        self.assertEqual(program.status(), 0)

    def test_interrupt(self) -> None:
        """Ctrl-C closes with 1000 and ends it with status 0."""
        codes: SimpleQueue[int | None] = SimpleQueue()

        def handler(connection: ServerConnection) -> None:
            self.assertRaises(ConnectionClosed, connection.recv, TIMEOUT)
            codes.put(connection.close_code)

        program = self.start("chat_client.py", self.server(handler))
        program.wait_for("connected to .*")
        program.interrupt()
        self.assertEqual(program.status(), 0)
        self.assertEqual(codes.get(timeout=TIMEOUT), 1000)

    def test_cannot_connect(self) -> None:
        """A server that is not there, and what is no URL, are one line, and status 1."""
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        urls = (f"ws://127.0.0.1:{port}", "http://127.0.0.1/")
        for program in [self.start("chat_client.py", url) for url in urls]:
            self.assertEqual(program.status(), 1)
            self.assertRegex("".join(program.printed), r"\Acannot connect: .+\n\Z")

    def test_gives_up_connecting(self) -> None:
        """quit and Ctrl-C end it with status 0 also while a server does not answer."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
            programs = [self.start("chat_client.py", url) for _ in range(2)]
            for program in programs:
                program.type("hello?\n")
                program.wait_for("not connected, not sent")
            programs[0].type("quit\n")
            programs[1].interrupt()
            for program in programs:
                self.assertEqual(program.status(), 0, "".join(program.printed))
