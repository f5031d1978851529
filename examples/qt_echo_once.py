"""The older form of Qt's echo server with wsecho: after the first text message it listens no more.

python examples/qt_echo_once.py [PORT]

Connections that were made before go on, and when the last one has ended, so does the program; Ctrl-C ends it
at any time. PORT is 1234 unless given; 0 picks a free one. As Qt's, it listens on all interfaces and admits
pages of every origin.
"""

import argparse

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import react

from wsecho import ListenError, WebSocket, WebSocketServer


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


class EchoOnceServer:
    """The server and its clients; ``finished`` fires when it neither listens nor has any."""

    def __init__(self, reactor: IReactorCore) -> None:
        self.finished: Deferred[None] = Deferred()
        self.clients: list[WebSocket] = []
        self.server = WebSocketServer("Echo Server", reactor=reactor)
        self.server.new_connection.connect(self.client_connected)
        self.is_closed = False

    def client_connected(self) -> None:
        """Somebody waits to be taken."""
        client = self.server.next_pending_connection()
        assert client is not None
        self.clients.append(client)
        client.text_message_received.connect(lambda text: self.echo_text(client, text))
        client.binary_message_received.connect(client.send_binary_message)
        client.disconnected.connect(lambda: self.client_disconnected(client))
        say(f"{client.peer_address} port {client.peer_port} connected")

    def echo_text(self, client: WebSocket, text: str) -> None:
        """Send a text back, and let nobody else in."""
        client.send_text_message(text)
        if self.server.is_listening():
            self.server.close().addCallback(lambda _: self.closed())

    def closed(self) -> None:
        """Nobody else can connect."""
        self.is_closed = True
        say("closed")
        self.finish_when_alone()

    def client_disconnected(self, client: WebSocket) -> None:
        """A client has left; the last one may have been waited for."""
        self.clients.remove(client)
        say(f"{client.peer_address} port {client.peer_port} disconnected")
        self.finish_when_alone()

    def finish_when_alone(self) -> None:
        """Nothing can happen any more when nobody is here and nobody can come."""
        if self.is_closed and not self.clients and not self.finished.called:
            self.finished.callback(None)


async def serve(reactor: IReactorCore, port: int) -> None:
    """Echo until nobody is left, or the process is told to stop."""
    echo = EchoOnceServer(reactor)
    # Ctrl-C is the reactor's only when it runs; whoever reads that we listen may press it.
    running: Deferred[None] = Deferred()
    reactor.callWhenRunning(running.callback, None)
    await running
    try:
        await echo.server.listen("any", port)
    except (ListenError, ValueError) as error:
        raise SystemExit(f"cannot listen: {error}") from None
    say(f"listening on {echo.server.server_url}")
    reactor.addSystemEventTrigger("before", "shutdown", echo.server.shutdown)
    await echo.finished


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A WebSocket echo server that listens until the first text.")
    parser.add_argument("port", nargs="?", type=int, default=1234, help="default 1234; 0 picks a free one")
    react(serve, (parser.parse_args().port,))
