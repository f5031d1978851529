"""A chat server with wsecho, for a terminal: what a client says goes to all others, what you type to all.

python examples/chat_server.py [PORT]

Type ``start`` to listen, on every IPv4 address of this machine; ``stop`` to listen no more, while those who
are here chat on; ``quit``, or the end of input, to end, as Ctrl-C does. Any other line goes to all. PORT is
9000 unless given; 0 picks a free one at each start. Pages of every origin may connect.
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

from wsecho import ListenError, WebSocket, WebSocketServer
from wsecho.policy.text import escape_peer_text

#: Characters of a text that are shown; what is relayed is whole.
MOST_SHOWN = 4096


@implementer(IHalfCloseableProtocol)
class ChatServer(LineReceiver):
    """The server, and its operator's terminal; ``finished`` fires when the operator has had enough."""

    delimiter = b"\n"
    MAX_LENGTH = 1024 * 1024

    def __init__(self, reactor: Any, port: int) -> None:
        self.finished: Deferred[None] = Deferred()
        self.terminal_lost: Deferred[None] = Deferred()
        self.reactor = reactor
        self.port = port
        self.clients: list[WebSocket] = []
        self.server = WebSocketServer("Chat Server", reactor=reactor)
        self.server.new_connection.connect(self.client_connected)

    # -- the operator ----------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """The terminal is there."""
        self.say("commands: start, stop, quit; any other line goes to all clients")

    def lineReceived(self, line: bytes) -> None:
        """The operator typed a line."""
        text = line.decode("utf-8", "replace").rstrip("\r")
        match text.strip():
            case "" if not text:
                pass
            case _ if self.finished.called:
                """Lines after ``quit``, which came with it."""
            case "start":
                Deferred.fromCoroutine(self.start())
            case "stop":
                Deferred.fromCoroutine(self.stop())
            case "quit":
                self.finish()
            case _:
                self.send_to_all(text)

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
        """The operator has had enough."""
        if not self.finished.called:
            self.finished.callback(None)

    async def end(self) -> None:
        """End each connection with 1001, and print what is left to print, to a terminal that takes it."""
        await self.server.shutdown()
        assert self.transport is not None
        self.transport.loseConnection()
        await self.terminal_lost.addTimeout(1, self.reactor, lambda result, seconds: None)

    def say(self, line: str) -> None:
        """Print a line. Not with ``print``: the terminal does not block any more, and refuses when it is
        full."""
        self.sendLine(line.encode())

    # -- the server ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen."""
        try:
            await self.server.listen("0.0.0.0", self.port)
        except (ListenError, ValueError) as error:
            self.say(f"cannot listen: {error}")
        else:
            self.say(f"listening on {self.server.server_url}")

    async def stop(self) -> None:
        """Listen no more; who is here chats on."""
        if self.server.is_listening():
            await self.server.close()
            self.say("closed")
        else:
            self.say("not listening")

    def client_connected(self) -> None:
        """Somebody waits to be taken."""
        client = self.server.next_pending_connection()
        assert client is not None
        self.clients.append(client)
        client.text_message_received.connect(lambda text: self.relay(client, text))
        client.disconnected.connect(lambda: self.client_disconnected(client))
        self.say(f"{client.peer_address} port {client.peer_port} connected")

    def client_disconnected(self, client: WebSocket) -> None:
        """A client has left."""
        self.clients.remove(client)
        self.say(f"{client.peer_address} port {client.peer_port} disconnected")

    def relay(self, sender: WebSocket, text: str) -> None:
        """Send what a client says to all others."""
        self.say(f'{sender.peer_address} port {sender.peer_port} says "{escape_peer_text(text, MOST_SHOWN)}"')
        self.send_to_all(text, but=sender)

    def send_to_all(self, text: str, *, but: WebSocket | None = None) -> None:
        """Send a text to all clients, or to all but one."""
        for client in self.clients:
            if client is not but:
                client.send_text_message(text)


async def serve(reactor: Any, port: int) -> None:
    """Chat until the operator has had enough, or the process is told to stop."""
    chat = ChatServer(reactor, port)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(chat.end()))
    StandardIO(chat, reactor=reactor)
    await chat.finished


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat server; see its first lines for what can be typed.")
    parser.add_argument("port", nargs="?", type=int, default=9000, help="default 9000; 0 picks a free one")
    react(serve, (parser.parse_args().port,))
