"""A server of downloads: who asks for a number of bytes gets as many, at the pace at which it reads.

python examples/download.py [ENDPOINT]
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import react

from wsecho import WebSocket, WebSocketServer

CHUNK = bytes(range(256)) * 256


async def serve_peer(socket: WebSocket) -> None:
    """Answer each number with so many bytes, then with the most that ever waited in memory for them."""
    async for message in socket:
        left = int(message) if isinstance(message, str) and message.isdecimal() else 0
        most = 0
        while left > 0 and await socket.drained():
            left -= socket.send_binary_message(CHUNK[:left])
            most = max(most, socket.bytes_to_write)
        socket.send_text_message(f"at most {most} bytes waited")


async def serve(reactor: IReactorCore, endpoint: str) -> None:
    """Listen until the process is told to stop."""
    async with WebSocketServer(reactor=reactor) as server:
        await server.listen(serverFromString(reactor, endpoint))
        print("listening on", server.server_url, flush=True)
        async for socket in server:
            Deferred.fromCoroutine(serve_peer(socket))


if __name__ == "__main__":
    react(serve, sys.argv[1:] or ["tcp:9000:interface=127.0.0.1"])
