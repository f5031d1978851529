"""A server of your own: it sends every text back in capitals, and closes politely when somebody sends binary.

python examples/shout.py [ENDPOINT]
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import react

from wsecho import ServerFactory, ServerProtocol, Settings


class Shout(ServerProtocol):
    """One connection."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Called with each whole message."""
        if isBinary:
            self.sendClose(1003, "text only")
        else:
            self.sendMessage(payload.decode().upper().encode())


class ShoutFactory(ServerFactory):
    """Makes a Shout for each connection, on any path."""

    protocol = Shout


async def serve(reactor: IReactorCore, endpoint: str) -> None:
    """Listen until the process is told to stop."""
    factory = ShoutFactory(settings=Settings(max_message_size=64 * 1024))
    port = await serverFromString(reactor, endpoint).listen(factory)
    print(f"listening on ws://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.addSystemEventTrigger("before", "shutdown", factory.shutdown)
    await Deferred()


if __name__ == "__main__":
    react(serve, sys.argv[1:] or ["tcp:9000:interface=127.0.0.1"])
