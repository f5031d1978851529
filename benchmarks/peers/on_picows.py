"""picows on uvloop."""

from __future__ import annotations

import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from benchmarks.peers.options import BACKLOG, Options, announce, read_options

_members: set[WSTransport] = set()


def _closes(transport: WSTransport, frame: WSFrame) -> bool:
    if frame.msg_type != WSMsgType.CLOSE:
        return False
    transport.send_close(frame.get_close_code(), frame.get_close_message())
    transport.disconnect()
    return True


class Echo(WSListener):
    """Sends each frame back, without a copy."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if not _closes(transport, frame):
            transport.send(frame.msg_type, frame.get_payload_as_memoryview(), frame.fin)


class Broadcast(WSListener):
    """Sends each message to the others."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        _members.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        _members.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if _closes(transport, frame):
            return
        payload = frame.get_payload_as_bytes()
        for member in _members:
            if member is not transport:
                member.send(frame.msg_type, payload)


def listener(request: WSUpgradeRequest) -> WSListener:
    """One for each connection."""
    return Broadcast() if request.path == b"/broadcast" else Echo()


async def main(options: Options) -> None:
    """Serve until the process is ended."""
    server = await ws_create_server(listener, "127.0.0.1", 0, backlog=BACKLOG, ssl=options.context())
    announce(server.sockets[0].getsockname()[1], options)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(read_options(sys.argv[1:])))
