"""Tests for `wsecho.app.connecting`."""

from __future__ import annotations

import sys
from io import BytesIO, StringIO
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from websockets.sync.client import connect

from tests.app.terminals import CTRL_C, CTRL_D, Terminal
from tests.serving import TIMEOUT, python_environment
from wsecho.app.connecting import BAD_INPUT, CLEAN, LOST, OTHER_CODE, Conversation, Screen, lines_of
from wsecho.policy.enumerations import SocketError
from wsecho.testing import Server
from wsecho.wire.client import ClientRequest


class FakeSocket:
    """As much of a WebSocket as a conversation uses; it answers nothing by itself."""

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []
        self.closings = 0
        self.close_code, self.close_reason = 1000, ""
        self.error, self.error_string = SocketError.UNKNOWN_SOCKET_ERROR, ""
        self._next: Deferred[str | bytes | None] = Deferred()

    def open(self, request: ClientRequest) -> Deferred[FakeSocket]:
        return succeed(self)

    def arrives(self, message: str | bytes | None) -> None:
        """A message arrives, or, None, the end."""
        waiting, self._next = self._next, Deferred()
        waiting.callback(message)

    def __aiter__(self) -> FakeSocket:
        return self

    async def __anext__(self) -> str | bytes:
        message = await self._next
        if message is None:
            raise StopAsyncIteration
        return message

    def when_disconnected(self) -> Deferred[None]:
        return succeed(None)

    def send_text_message(self, message: str) -> None:
        self.sent.append(message)

    def send_binary_message(self, message: bytes) -> None:
        self.sent.append(message)

    def drained(self) -> Deferred[bool]:
        return succeed(True)

    def close(self) -> None:
        self.closings += 1


class ConversationTests(SynchronousTestCase):
    """What is sent, shown and returned."""

    def begin(self, *, is_binary: bool = False) -> None:
        """Connect."""
        self.socket, self.clock = FakeSocket(), Clock()
        self.out, self.err = StringIO(), StringIO()
        screen = Screen(self.out, self.err, is_terminal=False, has_colours=False)
        socket: Any = self.socket
        self.conversation = Conversation(socket, self.clock, screen, is_binary=is_binary)
        running = self.conversation.run(ClientRequest(url="ws://localhost/"), lambda: None)
        self.running = Deferred.fromCoroutine(running)

    def ends(self) -> int:
        """End the connection, and return the status."""
        self.socket.arrives(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return self.successResultOf(self.running)

    def test_answered(self) -> None:
        """At the end of the input the client closes when as many messages came as were sent."""
        self.begin()
        self.conversation.send(b"a")
        self.conversation.end_of_input()
        self.assertEqual(self.socket.closings, 0)
        self.socket.arrives("a\x1b")
        self.assertEqual((self.socket.sent, self.socket.closings), (["a"], 1))
        self.assertEqual((self.ends(), self.out.getvalue()), (CLEAN, "a\x1b\n"))

    def test_unanswered(self) -> None:
        """At the end of the input the client closes when nothing came for a second."""
        self.begin()
        for _ in range(3):
            self.conversation.send(b"a")
        self.conversation.end_of_input()
        self.clock.advance(0.9)
        self.socket.arrives("a")
        self.clock.advance(0.9)
        self.assertEqual(self.socket.closings, 0)
        self.clock.advance(0.1)
        self.assertEqual((self.socket.closings, self.ends()), (1, CLEAN))

    def test_talkative(self) -> None:
        """Ten seconds after the end of the input the client closes in any case."""
        self.begin()
        for _ in range(99):
            self.conversation.send(b"a")
        self.conversation.end_of_input()
        for _ in range(20):
            self.assertEqual(self.socket.closings, 0)
            self.clock.advance(0.5)
            if not self.socket.closings:
                self.socket.arrives("a")
        self.assertEqual((self.socket.closings, self.ends()), (1, CLEAN))

    def test_other_code(self) -> None:
        """Another close code is a status of its own, and the line tells it with its reason, escaped."""
        self.begin()
        self.socket.close_code, self.socket.close_reason = 1008, "no\x1b"
        self.assertEqual(self.ends(), OTHER_CODE)
        self.assertEqual(self.err.getvalue(), 'wsecho: connect: closed with 1008 "no\\x1b"\n')

    def test_lost(self) -> None:
        """An end without a Close frame is a status of its own."""
        self.begin()
        self.socket.close_code = 1006
        self.assertEqual(self.ends(), LOST)

    def test_binary(self) -> None:
        """With --binary lines are hexadecimal digits; others cannot be sent, and the status tells so."""
        self.begin(is_binary=True)
        self.conversation.send(b"00 fF")
        self.assertEqual(self.socket.sent, [b"\0\xff"])
        error = self.assertRaises(ValueError, self.conversation.send, b"xy")
        self.conversation.refuse(str(error))
        self.assertIn('"xy" cannot be sent: accepted with --binary are', self.err.getvalue())
        self.socket.arrives(b"\0\xff")
        self.assertEqual((self.ends(), self.out.getvalue()), (BAD_INPUT, "00ff\n"))


class ScreenTests(SynchronousTestCase):
    """What a terminal gets."""

    def test_terminal(self) -> None:
        """A message is escaped and coloured, and what is being typed stands below it again."""
        out = StringIO()
        screen = Screen(out, StringIO(), is_terminal=True, has_colours=True, typed=lambda: "hal")
        screen.message("a\x1b[2J")
        self.assertEqual(out.getvalue(), "\r\x1b[K\x1b[32ma\\x1b[2J\x1b[0m\n> hal")
        screen.end_typing()
        screen.message("b")
        self.assertTrue(out.getvalue().endswith("> hal\r\x1b[K\x1b[32mb\x1b[0m\n"), out.getvalue())

    def test_no_colours(self) -> None:
        """Without colours a message is escaped, and there is no escape sequence."""
        out = StringIO()
        Screen(out, StringIO(), is_terminal=True, has_colours=False).message("a\r\n")
        self.assertEqual(out.getvalue(), "a\\x0d\\x0a\n")


class LineTests(SynchronousTestCase):
    """How a stream becomes lines."""

    def test_lines(self) -> None:
        """Either line end ends a line, however it is read, and the last line needs none."""
        for size in (1, 2, 99):
            stream = BytesIO(b"a\r\n\nbc\nd")
            lines = lines_of(lambda _, stream=stream, size=size: stream.read(size))  # type: ignore[misc]
            self.assertEqual(list(lines), [b"a", b"", b"bc", b"d"])


class TerminalTests(SynchronousTestCase):
    """A user at a terminal, and a running server."""

    def open(self, path: str, *options: str, mode: str = "echo") -> Terminal:
        """Connect, and wait for the prompt."""
        self.server = Server(mode=mode, environment=python_environment())
        self.server.start()
        self.addCleanup(self.server.stop)
        command = [sys.executable, "-m", "wsecho", "connect", *options, self.server.url(path)]
        terminal = Terminal(command, python_environment())
        self.addCleanup(terminal.close)
        terminal.sees(f"connected to 127.0.0.1:{self.server.port}{path}; Ctrl-D closes\r\n")
        terminal.sees("> ")
        return terminal

    def test_talk(self) -> None:
        """What is typed goes out, what comes is shown in green and escaped, and Ctrl-D ends with 0; the
        terminal is then as it was."""
        terminal = self.open("/echo")
        terminal.type("hello\n")
        terminal.sees("\x1b[32mhello\x1b[0m\r\n")
        terminal.type("a\x16\x1b[2Jb\n")
        terminal.sees("\x1b[32ma\\x1b[2Jb\x1b[0m\r\n")
        terminal.type(CTRL_D)
        self.assertEqual(terminal.ends(), CLEAN)
        self.assertIn("closed with 1000", terminal.seen)
        self.assertEqual(terminal.settings(), terminal.before)

    def test_history(self) -> None:
        """The line before comes back with the arrow key."""
        terminal = self.open("/echo")
        terminal.type("once\n")
        terminal.sees("\x1b[32monce\x1b[0m\r\n")
        terminal.type("\x1b[A again\n")
        terminal.sees("\x1b[32monce again\x1b[0m\r\n")

    def test_message_while_typing(self) -> None:
        """A message that comes while a line is typed stands above it, and the line is whole."""
        terminal = self.open("/", mode="broadcast")
        terminal.type("half a li")
        terminal.sees("half a li")
        with connect(self.server.url("/"), proxy=None) as other:
            other.send("interrupting")
            self.assertTrue(terminal.sees("interrupting\x1b[0m\r\n> half a li").startswith("\r\x1b[K"))
            terminal.type("ne\n")
            self.assertEqual(other.recv(TIMEOUT), "half a line")

    def test_other_code(self) -> None:
        """A server that closes with another code ends the program with 2."""
        terminal = self.open("/test?close=4001&reason=enough&after=1")
        terminal.type("one\n")
        terminal.sees('closed with 4001 "enough"')
        self.assertEqual(terminal.ends(), OTHER_CODE)
        self.assertEqual(terminal.settings(), terminal.before)

    def test_lost(self) -> None:
        """A connection that is reset ends the program with 3, though a line is half typed."""
        terminal = self.open("/test?abort=1")
        terminal.type("one\nhalf")
        terminal.sees("wsecho: connect: lost: ")
        self.assertEqual(terminal.ends(), LOST)
        self.assertEqual(terminal.settings(), terminal.before)

    def test_interrupt(self) -> None:
        """Ctrl-C closes with 1000."""
        terminal = self.open("/echo")
        terminal.type(CTRL_C)
        terminal.sees("closed with 1000")
        self.assertEqual(terminal.ends(), CLEAN)
        self.assertEqual(terminal.settings(), terminal.before)
        self.server.stop()
        self.assertIn("reason=peer-close code=1000", self.server.log)
