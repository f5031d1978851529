"""Plain Autobahn on Twisted, as its own examples have it: echo on every path, broadcast on ``/broadcast``.

    python -m benchmarks.plain_autobahn [--deflate] [--certificate=PEM --private-key=PEM]

Every option of Autobahn is left as it is, but ``--deflate`` accepts permessage-deflate. It stands for what
one gets without wsecho, so nothing of wsecho is imported.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString

__all__ = ["EchoAndBroadcast", "factory"]

_Protocol: Any = WebSocketServerProtocol
_Factory: Any = WebSocketServerFactory
_accept: Any = PerMessageDeflateOfferAccept
_reactor: Any = reactor
_endpoint: Any = serverFromString


class EchoAndBroadcast(_Protocol):  # type: ignore[misc]
    """Echo, or a member of the one channel."""

    is_member = False

    def onConnect(self, request: Any) -> None:
        self.is_member = request.path.startswith("/broadcast")

    def onOpen(self) -> None:
        if self.is_member:
            self.factory.members.add(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if not self.is_member:
            self.sendMessage(payload, isBinary)
            return
        prepared = self.factory.prepareMessage(payload, isBinary)
        for member in self.factory.members:
            if member is not self:
                member.sendPreparedMessage(prepared)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.members.discard(self)


def _accept_deflate(offers: Any) -> Any:
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return _accept(offer)
    return None


def factory(*, deflate: bool) -> Any:
    """A factory with Autobahn's defaults."""
    made = _Factory()
    made.protocol = EchoAndBroadcast
    made.members = set()
    if deflate:
        made.setProtocolOptions(perMessageCompressionAccept=_accept_deflate)
    return made


def main(arguments: list[str]) -> None:
    """Listen on a port that the kernel chooses, say so, and serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain_autobahn")
    parser.add_argument("--deflate", action="store_true")
    parser.add_argument("--certificate")
    parser.add_argument("--private-key")
    options = parser.parse_args(arguments)
    description, scheme = "tcp:0:interface=127.0.0.1", "ws"
    if options.certificate:
        files = f"certKey={options.certificate}:privateKey={options.private_key}"
        description = f"ssl:0:interface=127.0.0.1:{files}"
        scheme = "wss"

    def listening(port: Any) -> None:
        print(f"listening on {scheme}://127.0.0.1:{port.getHost().port}/", flush=True)

    _endpoint(_reactor, description).listen(factory(deflate=options.deflate)).addCallback(listening)
    _reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
