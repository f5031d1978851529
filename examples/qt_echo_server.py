"""Qt's echo server with wsecho: what a client sends comes back, text as text and binary as binary.

python examples/qt_echo_server.py [PORT] [--debug]

As Qt's, it listens on all interfaces and admits pages of every origin. PORT is 1234 unless given; 0 picks a
free one. With --debug it also tells of each message. Ctrl-C ends it.
"""

import argparse

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import react

from wsecho import ListenError, WebSocket, WebSocketServer
from wsecho.policy.text import escape_peer_text


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


class EchoServer:
    """The server and the list of its clients."""

    def __init__(self, reactor: IReactorCore, debug: bool) -> None:
        self.debug = debug
        self.clients: list[WebSocket] = []
        self.server = WebSocketServer("Echo Server", reactor=reactor)
        self.server.new_connection.connect(self.client_connected)

    def client_connected(self) -> None:
        """Somebody waits to be taken."""
        client = self.server.next_pending_connection()
        assert client is not None
        # It is the program's now, and its slots hold it: the list is for the program's own use.
        self.clients.append(client)
        client.text_message_received.connect(lambda text: self.echo_text(client, text))
        client.binary_message_received.connect(lambda data: self.echo_binary(client, data))
        client.disconnected.connect(lambda: self.client_disconnected(client))
        self.tell(client, "connected")

    def echo_text(self, client: WebSocket, text: str) -> None:
        """Send a text back."""
        if self.debug:
            self.tell(client, f'sent the text "{escape_peer_text(text)}"')
        client.send_text_message(text)

    def echo_binary(self, client: WebSocket, data: bytes) -> None:
        """Send bytes back."""
        if self.debug:
            self.tell(client, f"sent {len(data)} bytes, 0x{data[:16].hex()}{'...' * (len(data) > 16)}")
        client.send_binary_message(data)

    def client_disconnected(self, client: WebSocket) -> None:
        """A client has left."""
        self.clients.remove(client)
        self.tell(client, "disconnected")

    async def close(self) -> None:
        """Listen no more, and end each connection with 1001."""
        await self.server.shutdown()
        say("closed")

    def tell(self, client: WebSocket, what: str) -> None:
        """Say what a client did, and how many there are."""
        say(f"{client.peer_address} port {client.peer_port} {what}; clients: {len(self.clients)}")


async def serve(reactor: IReactorCore, port: int, debug: bool) -> None:
    """Echo until the process is told to stop."""
    echo = EchoServer(reactor, debug)
    # Ctrl-C is the reactor's only when it runs; whoever reads that we listen may press it.
    running: Deferred[None] = Deferred()
    reactor.callWhenRunning(running.callback, None)
    await running
    try:
        await echo.server.listen("any", port)
    except (ListenError, ValueError) as error:
        raise SystemExit(f"cannot listen: {error}") from None
    say(f"listening on {echo.server.server_url}")
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(echo.close()))
    await Deferred()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A WebSocket echo server.")
    parser.add_argument("port", nargs="?", type=int, default=1234, help="default 1234; 0 picks a free one")
    parser.add_argument("--debug", action="store_true", help="tell of each message")
    arguments = parser.parse_args()
    react(serve, (arguments.port, arguments.debug))
