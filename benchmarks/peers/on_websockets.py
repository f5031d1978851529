"""websockets on uvloop."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from benchmarks.peers.options import BACKLOG, MOST, Options, announce, read_options

_members: set[ServerConnection] = set()


async def handle(connection: ServerConnection) -> None:
    """Echo, or relay to the others."""
    if connection.request is None or connection.request.path != "/broadcast":
        async for message in connection:
            await connection.send(message)
        return
    _members.add(connection)
    try:
        async for message in connection:
            broadcast(_members - {connection}, message)
    finally:
        _members.discard(connection)


async def main(options: Options) -> None:
    """Serve until the process is ended."""
    async with serve(
        handle,
        "127.0.0.1",
        0,
        max_size=MOST,
        compression=None,
        backlog=BACKLOG,
        ssl=options.context(),
    ) as server:
        announce(next(iter(server.sockets)).getsockname()[1], options)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main(read_options(sys.argv[1:])))
