"""A chat client with wsecho, for a terminal: prints what comes, and sends each line that is typed.

python examples/chat_client.py URL

URL is what the chat server shows, ws://127.0.0.1:9000 for example. Lines are sent while there is a
connection; ``quit``, the end of input and Ctrl-C end the program.
"""

import argparse
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from wsecho import ConnectFailed, WebSocket
from wsecho.policy.text import escape_peer_text

#: Characters of a text that are shown.
MOST_SHOWN = 4096


@implementer(IHalfCloseableProtocol)
class ChatClient(LineReceiver):
    """The connection, and its user's terminal; ``finished`` fires when the user has had enough."""

    delimiter = b"\n"
    MAX_LENGTH = 1024 * 1024

    def __init__(self, reactor: Any) -> None:
        self.finished: Deferred[None] = Deferred()
        self.terminal_lost: Deferred[None] = Deferred()
        self.reactor = reactor
        self.socket = WebSocket(reactor=reactor)
        self.socket.connected.connect(self.connected_to_server)
        self.socket.text_frame_received.connect(self.text_frame_arrived)

    # -- the user --------------------------------------------------------------------------------------------

    def lineReceived(self, line: bytes) -> None:
        """The user typed a line."""
        text = line.decode("utf-8", "replace").rstrip("\r")
        if not text or self.finished.called:
            return
        if text.strip() == "quit":
            self.finish()
        elif self.socket.is_valid():
            self.socket.send_text_message(text)
        else:
            self.say("not connected, not sent")

    def readConnectionLost(self) -> None:
        """The end of input, whose last line may have no end."""
        self.lineReceived(self.clearLineBuffer())
        self.finish()

    def writeConnectionLost(self) -> None:
        """Nobody reads what is printed."""
        self.finish()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """All was printed."""
        self.terminal_lost.callback(None)

    def finish(self) -> None:
        """The user has had enough: close the connection, or give up the attempt to connect."""
        if not self.finished.called:
            self.finished.callback(None)
            self.socket.close()

    async def end(self) -> None:
        """Wait for the server's Close, and print what is left to print, to a terminal that takes it."""
        self.finish()
        await self.socket.when_disconnected()
        assert self.transport is not None
        self.transport.loseConnection()
        await self.terminal_lost.addTimeout(1, self.reactor, lambda result, seconds: None)

    def say(self, line: str) -> None:
        """Print a line. Not with ``print``: the terminal does not block any more, and refuses when it is
        full."""
        self.sendLine(line.encode())

    # -- the connection --------------------------------------------------------------------------------------

    def connected_to_server(self) -> None:
        """The connection is there. Only then is its end worth a line: an attempt that fails is told by
        ``open``."""
        self.socket.disconnected.connect(self.disconnected_from_server)
        self.say(f"connected to {self.socket.request_url}")

    def text_frame_arrived(self, text: str, is_last: bool) -> None:
        """A text, or a part of a long one."""
        self.say(f'"{escape_peer_text(text, MOST_SHOWN)}"')

    def disconnected_from_server(self) -> None:
        """The connection has ended."""
        self.say(f'disconnected: {self.socket.close_code} "{escape_peer_text(self.socket.close_reason)}"')


async def chat(reactor: Any, url: str) -> None:
    """Connect, and chat until the user has had enough."""
    client = ChatClient(reactor)
    StandardIO(client, reactor=reactor)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(client.end()))
    try:
        await client.socket.open(url.strip())
    except (ConnectFailed, ValueError) as error:
        if not client.finished.called:
            raise SystemExit(f"cannot connect: {error}") from None
    await client.finished


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat client; each line that is typed is sent.")
    parser.add_argument("url", help="what the chat server shows: ws://127.0.0.1:9000 for example")
    react(chat, (parser.parse_args().url,))
