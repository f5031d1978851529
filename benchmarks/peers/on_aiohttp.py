"""aiohttp on uvloop."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import WSMsgType, web

from benchmarks.peers.options import BACKLOG, MOST, Options, announce, read_options

_members: set[web.WebSocketResponse] = set()


async def handle(request: web.Request) -> web.WebSocketResponse:
    """Echo, or relay to the others."""
    socket = web.WebSocketResponse(compress=False, max_msg_size=MOST)
    await socket.prepare(request)
    if request.path != "/broadcast":
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket
    _members.add(socket)
    try:
        async for message in socket:
            for member in list(_members):
                if member is not socket and message.type is WSMsgType.TEXT:
                    await member.send_str(message.data)
                elif member is not socket and message.type is WSMsgType.BINARY:
                    await member.send_bytes(message.data)
    finally:
        _members.discard(socket)
    return socket


async def main(options: Options) -> None:
    """Serve until the process is ended."""
    application = web.Application()
    application.router.add_get("/", handle)
    application.router.add_get("/broadcast", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=BACKLOG, ssl_context=options.context())
    await site.start()
    announce(runner.addresses[0][1], options)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main(read_options(sys.argv[1:])))
