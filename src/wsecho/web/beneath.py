"""twisted.web, bounded: one request for each connection, of a bounded size and within a bounded time.

Twisted's own server keeps connections, reads a body of any size into a file, takes forms apart before anybody
is asked, and has an idle timer that each byte starts anew. What is overridden of it, in part below its
documented interface, is here and nowhere else: `Request.gotLength`, ``handleContentChunk`` and
``requestReceived``, which its channel calls, and ``HTTPFactory.startFactory`` and ``log``, which are about an
access log that there is none of.

It must not know what is served.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from twisted.web.server import Request as ServerRequest
from twisted.web.server import Site

__all__ = ["LARGEST_BODY", "MOST_CONNECTIONS", "REQUEST_SECONDS", "BoundedRequest", "BoundedSite"]

LARGEST_BODY: Final = 1024 * 1024
"""Bytes of a request's body that are kept; the rest is read and forgotten."""

MOST_CONNECTIONS: Final = 32
"""Connections at a time; further ones are closed at once. Their descriptors are of those that the process
keeps besides the clients'."""

REQUEST_SECONDS: Final = 30.0
"""From the accepted connection to its end, whatever happens; more for an answer that says so."""

_END_SECONDS: Final = 1.0


class BoundedRequest(ServerRequest):
    """A request whose body is in memory, or too large."""

    channel: BoundedChannel
    content: BytesIO
    is_too_large = False
    query = b""
    """What stands behind the question mark."""

    def gotLength(self, length: int | None) -> None:
        """A body begins."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body came."""
        if self.is_too_large or self.content.tell() + len(data) > LARGEST_BODY:
            # Read on, so that the answer reaches a client that looks for it only when it has sent all.
            self.is_too_large = True
        else:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The request is complete."""
        self.content.seek(0)
        self.args = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, self.query = path.partition(b"?")
        self.process()

    @property
    def clock(self) -> Any:
        """Of the timers that an answer needs."""
        return self.channel.factory.reactor

    def stay(self, seconds: float) -> None:
        """Take so long for the answer, from now on, in place of the usual time."""
        self.channel.stay(seconds + _END_SECONDS)

    def process(self) -> None:
        """Answer."""
        super().process()  # type: ignore[no-untyped-call]


class BoundedChannel(HTTPChannel):
    """A connection with one request."""

    maxHeaders = 100
    factory: BoundedSite
    transport: Any
    _deadline: Any = None

    def connectionMade(self) -> None:
        """A client connected."""
        super().connectionMade()  # type: ignore[no-untyped-call]
        self._deadline = self.factory.reactor.callLater(REQUEST_SECONDS, self.cut)
        self.factory.channels.add(self)

    def stay(self, seconds: float) -> None:
        """End in so many seconds."""
        self._deadline.reset(seconds)

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Whether another request may come: none does."""
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection has ended."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self._deadline.active():
            self._deadline.cancel()
        self.factory.ended(self)

    def cut(self) -> None:
        """End the connection now."""
        self.transport.abortConnection()


class BoundedSite(Site):
    """A site with a bounded number of connections, which can be ended.

    :param resource: answers everything
    :param reactor: its clock
    """

    protocol = BoundedChannel  # type: ignore[assignment]
    noisy = False

    def __init__(self, resource: Any, reactor: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            resource, requestFactory=BoundedRequest, reactor=reactor, timeout=REQUEST_SECONDS
        )
        self.displayTracebacks = False
        self.channels: set[BoundedChannel] = set()
        self._ending: Deferred[None] | None = None

    def logPrefix(self) -> str:
        """Of Twisted's own lines."""
        return "Admin"

    def startFactory(self) -> None:
        """A port listens. Twisted's own would wake up each second, to tell the time to an access log."""

    def log(self, request: Request) -> None:
        """Nothing: what an operator changes is logged where it is done."""

    def buildProtocol(self, addr: Any) -> Any:
        """Make a connection, or none."""
        if len(self.channels) >= MOST_CONNECTIONS or self._ending is not None:
            return None
        return super().buildProtocol(addr)  # type: ignore[no-untyped-call]

    def ended(self, channel: BoundedChannel) -> None:
        """A connection has ended."""
        self.channels.discard(channel)
        if self._ending is not None and not self.channels and not self._ending.called:
            self._ending.callback(None)

    def end(self) -> Deferred[None]:
        """Take no more connections, and end those there are: within a second, so that an answer on its way
        arrives."""
        if not self.channels:
            return succeed(None)
        self._ending = Deferred()
        due = self.reactor.callLater(_END_SECONDS, self._cut_all)

        def is_over(_: None) -> None:
            if due.active():
                due.cancel()

        self._ending.addCallback(is_over)
        for channel in tuple(self.channels):
            channel.loseConnection()  # type: ignore[no-untyped-call]
        return self._ending

    def _cut_all(self) -> None:
        for channel in tuple(self.channels):
            channel.cut()
