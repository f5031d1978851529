"""wsecho as a library: every message goes through an ``onMessage`` in Python.

    python -m benchmarks.onmessage [--certificate=PEM --private-key=PEM]

Echo on every path but ``/broadcast``, which is a channel. This is what a program on wsecho's classes
costs, where ``twistd wsecho`` may do better for the services that it knows.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from benchmarks.peers.options import Options, announce, read_options
from wsecho import BroadcastServerProtocol, BroadcastService, EchoService, IService, ServerFactory
from wsecho.tls.contexts import server_creator
from wsecho.wire.tls_transport import TlsEndpoint

__all__ = ["EveryMessage", "factory"]

#: Without annotations in Twisted.
_endpoint: Any = serverFromString


class EveryMessage(BroadcastServerProtocol):
    """Echoes, or relays to the channel."""

    echoes = False

    def onOpen(self) -> None:
        self.echoes = isinstance(self.service, EchoService)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.echoes:
            self.sendMessage(payload, isBinary)
        else:
            super().onMessage(payload, isBinary)


def factory(**options: Any) -> ServerFactory:
    """Serves both paths."""
    channels = BroadcastService()
    echo = EchoService()

    def route(path: str) -> IService:
        return channels.member("") if path == "/broadcast" else echo

    made = ServerFactory(route=route, **options)
    made.protocol = EveryMessage
    return made


async def serve(reactor: Any, options: Options) -> None:
    """Listen, say so, and serve until SIGTERM."""
    endpoint: Any = _endpoint(reactor, "tcp:0:interface=127.0.0.1")
    if options.certificate:
        endpoint = TlsEndpoint(server_creator(options.certificate, options.private_key), endpoint)
    port = await endpoint.listen(factory(reactor=reactor))
    announce(port.getHost().port, options)
    await Deferred()


if __name__ == "__main__":
    react(serve, [read_options(sys.argv[1:])])
