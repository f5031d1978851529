"""`wsecho connect`: lines go out as messages, messages come in as lines, and the exit status tells the end.

Rules of this file:

- standard output has messages only; what else there is to say goes to standard error;
- on a terminal whatever the peer chose is escaped. Into a pipe text goes as it came: it is data there;
- lines are read in a thread, since a file cannot be polled and readline blocks; everything else happens in
  the reactor. The thread waits while the peer reads too slowly, so that nothing piles up here.

It must not know how options are written: `wsecho.app.commands` does.
"""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.threads import blockingCallFromThread

from wsecho.policy.enumerations import CloseCode, SocketError
from wsecho.policy.text import escape_peer_text
from wsecho.wire.client import ClientRequest, ConnectFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from wsecho.websocket import WebSocket

__all__ = [
    "BAD_INPUT",
    "CLEAN",
    "LOST",
    "NOT_CONNECTED",
    "OTHER_CODE",
    "Conversation",
    "Screen",
    "converse",
    "lines_of",
]

#: The exit statuses.
CLEAN: Final = 0
NOT_CONNECTED: Final = 1
OTHER_CODE: Final = 2
LOST: Final = 3
BAD_INPUT: Final = 4

#: After the end of the input, how long without a message until the client closes, and how long in all.
QUIET_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 10.0

PROMPT: Final = "> "
_MOST_SHOWN = 4096
_MOST_LINE_BYTES = 16 * 1024 * 1024
_ERASE_LINE = "\r\x1b[K"
_in_reactor: Any = blockingCallFromThread  # annotated for Deferreds of nothing


class Screen:
    """What the user sees.

    :param out: for messages
    :param err: for everything else
    :param is_terminal: whether ``out`` is one
    :param has_colours: whether colours may be written to it
    :param typed: gives what the user is typing, when a prompt stands on the terminal; None without a prompt
    """

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        *,
        is_terminal: bool,
        has_colours: bool,
        typed: Callable[[], str] | None = None,
    ) -> None:
        self._out = out
        self._err = err
        self._is_terminal = is_terminal
        self._has_colours = has_colours
        self.typed = typed

    def message(self, message: str | bytes) -> None:
        """Show a message: text, or the hexadecimal digits of a binary one."""
        text = message.hex() if isinstance(message, bytes) else message
        if self._is_terminal:
            text = escape_peer_text(text, _MOST_SHOWN)
            if self._has_colours:
                text = f"\x1b[{'33' if isinstance(message, bytes) else '32'}m{text}\x1b[0m"
        self._write(self._out, text)

    def notice(self, line: str) -> None:
        """Tell something that is no message; peer's text in it is escaped already."""
        self._write(self._err, f"wsecho: connect: {line}")

    def end_typing(self) -> None:
        """Erase the prompt, if there is one; no other follows."""
        if self.typed is not None:
            self.typed = None
            self._out.write(_ERASE_LINE)
            self._out.flush()

    def _write(self, stream: TextIO, line: str) -> None:
        if self.typed is None:
            stream.write(f"{line}\n")
            stream.flush()
            return
        # The line being typed is erased and drawn again below; readline does not know, and need not.
        self._out.write(_ERASE_LINE)
        self._out.flush()
        stream.write(f"{line}\n")
        stream.flush()
        self._out.write(f"{PROMPT}{self.typed()}")
        self._out.flush()


class Conversation:
    """One connection and its input, until the end.

    :param socket: a client that is not open yet
    :param reactor: ``IReactorTime``, and ``IReactorFromThreads`` for `read`
    :param is_binary: whether lines are hexadecimal digits of binary messages
    """

    def __init__(self, socket: WebSocket, reactor: Any, screen: Screen, *, is_binary: bool = False) -> None:
        self._socket = socket
        self._reactor = reactor
        self._screen = screen
        self._is_binary = is_binary
        self._is_at_end = False
        self._has_bad_input = False
        self._sent = self._received = 0
        self._quiet: Any = None
        self._longest: Any = None

    async def run(self, request: ClientRequest, begin: Callable[[], object]) -> int:
        """Connect, show what arrives, and return the exit status.

        :param begin: called when the connection is open
        """
        try:
            await self._socket.open(request)
        except ConnectFailed as failed:
            self._screen.notice(failed.text)
            return NOT_CONNECTED
        begin()
        try:
            async for message in self._socket:
                self._received += 1
                self._screen.message(message)
                if self._is_at_end:
                    self._wait_for_answers()
            await self._socket.when_disconnected()
        except OSError:
            # Whoever read the output has left.
            self._socket.abort()
            raise
        finally:
            self._stop_waiting()
        self._screen.end_typing()
        return self._status()

    def read(self, lines: Iterator[bytes]) -> None:
        """Send each line; to be called in a thread."""
        bad = False
        try:
            for line in lines:
                if not _in_reactor(self._reactor, self.send, line):
                    return
        except ValueError as error:
            bad, text = True, str(error)
        if bad:
            self._reactor.callFromThread(self.refuse, text)
        else:
            self._reactor.callFromThread(self.end_of_input)

    def send(self, line: bytes) -> Deferred[bool]:
        """Send a line as a message.

        :returns: fires when the next one may be sent; with False when none can be any more
        :raises ValueError: for a line that cannot be sent
        """
        if self._is_binary:
            try:
                self._socket.send_binary_message(bytes.fromhex(line.decode("ascii")))
            except ValueError:
                raise ValueError(
                    f'"{escape_peer_text(line, 80)}" cannot be sent: accepted with --binary are pairs of '
                    "hexadecimal digits"
                ) from None
        else:
            try:
                self._socket.send_text_message(line.decode("utf-8"))
            except UnicodeDecodeError:
                raise ValueError(f'"{escape_peer_text(line, 80)}" cannot be sent: it is no UTF-8') from None
        self._sent += 1
        return self._socket.drained()

    def tell(self, line: str) -> None:
        """Tell the user something about the input, and go on."""
        self._screen.notice(line)

    def refuse(self, line: str) -> None:
        """End because of input that cannot be sent."""
        self._screen.notice(line)
        self._has_bad_input = True
        self.end_of_input()

    def end_of_input(self) -> None:
        """Close with 1000, after what was sent is answered, or nothing has come for a while."""
        if not self._is_at_end:
            self._is_at_end = True
            self._longest = self._reactor.callLater(LONGEST_WAIT_SECONDS, self._close)
            self._wait_for_answers()

    def leave(self) -> Deferred[None]:
        """Close with 1000 at once.

        :returns: fires when the connection has ended
        """
        self._close()
        return self._socket.when_disconnected()

    def _wait_for_answers(self) -> None:
        if self._received >= self._sent:
            self._close()
        elif self._quiet is None:
            self._quiet = self._reactor.callLater(QUIET_SECONDS, self._close)
        elif self._quiet.active():
            self._quiet.reset(QUIET_SECONDS)

    def _close(self) -> None:
        self._stop_waiting()
        self._socket.close()

    def _stop_waiting(self) -> None:
        for timer in (self._quiet, self._longest):
            if timer is not None and timer.active():
                timer.cancel()

    def _status(self) -> int:
        code, reason = self._socket.close_code, escape_peer_text(self._socket.close_reason, 512)
        is_broken = self._socket.error is not SocketError.UNKNOWN_SOCKET_ERROR
        if is_broken or code == CloseCode.ABNORMAL_DISCONNECTION:
            why = self._socket.error_string or "the connection ended without a Close frame"
            self._screen.notice(f"lost: {why}")
            return LOST
        self._screen.notice(f"closed with {int(code)}" + (f' "{reason}"' if reason else ""))
        if code not in (CloseCode.NORMAL, CloseCode.GOING_AWAY):
            return OTHER_CODE
        return BAD_INPUT if self._has_bad_input else CLEAN


def lines_of(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Return the lines of a stream without their ends; the last one needs none.

    :param read: as ``os.read`` of one descriptor. Not ``sys.stdin``: a thread that is inside its lock when
        Python ends makes Python fail
    :raises ValueError: for a line of more than 16 MiB
    """
    rest = bytearray()
    while chunk := read(65536):
        rest += chunk
        if b"\n" in chunk:
            *lines, last = rest.split(b"\n")
            yield from (bytes(line.removesuffix(b"\r")) for line in lines)
            rest = last
        if len(rest) > _MOST_LINE_BYTES:
            raise ValueError("a line of the input is longer than 16 MiB")
    if rest:
        yield bytes(rest)


def converse(
    conversation: Conversation, request: ClientRequest, screen: Screen, reactor: Any, *, is_interactive: bool
) -> int:
    """Run the reactor until the conversation has ended, and return the exit status."""
    result: list[int] = []
    failures: list[Any] = []

    def begin() -> None:
        if is_interactive:
            # Not the URL, which may hold a password.
            screen.notice(f"connected to {request.authority}{request.resource}; Ctrl-D closes")
        target = _type if is_interactive else _pipe
        Thread(target=target, args=(conversation, screen, reactor), daemon=True).start()

    def run() -> None:
        running = Deferred.fromCoroutine(conversation.run(request, begin))
        running.addCallbacks(result.append, failures.append)
        running.addBoth(lambda _: stop())

    def stop() -> None:
        if reactor.running:
            reactor.callLater(0, _stop, reactor)

    def interrupted() -> Deferred[None] | None:
        if result or failures:
            return None
        return conversation.leave()

    reactor.callWhenRunning(run)
    reactor.addSystemEventTrigger("before", "shutdown", interrupted)
    with _TerminalRestored(is_interactive):
        reactor.run()
    if failures:
        failures[0].raiseException()
    return result[0] if result else NOT_CONNECTED


def _stop(reactor: Any) -> None:
    # Ctrl-C may have stopped it already.
    with suppress(ReactorNotRunning):
        reactor.stop()


def _pipe(conversation: Conversation, screen: Screen, reactor: Any) -> None:
    conversation.read(lines_of(lambda size: os.read(0, size)))


def _type(conversation: Conversation, screen: Screen, reactor: Any) -> None:
    import readline

    screen.typed = readline.get_line_buffer
    while True:
        try:
            line = input(PROMPT)
        except EOFError:
            break
        except UnicodeDecodeError:
            reactor.callFromThread(conversation.tell, "this line is no UTF-8: not sent")
            continue
        typed = line.encode("utf-8", "surrogateescape")
        try:
            if not _in_reactor(reactor, conversation.send, typed):
                return
        except ValueError as error:
            reactor.callFromThread(conversation.tell, str(error))
    reactor.callFromThread(conversation.end_of_input)


class _TerminalRestored:
    """readline, cut off in its thread, leaves the terminal without echo."""

    def __init__(self, is_interactive: bool) -> None:
        self._is_interactive = is_interactive

    def __enter__(self) -> None:
        if self._is_interactive:
            import termios

            self._before = termios.tcgetattr(0)

    def __exit__(self, *_: object) -> None:
        if self._is_interactive:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._before)
