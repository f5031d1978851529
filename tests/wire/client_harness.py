"""The other end of a client's connection, for tests: a server that writes raw bytes and reads what the client
wrote. Without sockets; those of the tests that need some come from `tests.wire.harness`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from tests.wire.harness import Answer, Frame, Transport, WireTestCase, frame, masking, parse_answer
from wsecho.policy.settings import Settings
from wsecho.wire.client_protocol import ClientFactory, ClientProtocol
from wsecho.wire.interfaces import IService
from wsecho.wire.request import ClientRequest
from wsecho.wire.response import accept_value

DEFLATE = "permessage-deflate; client_no_context_takeover; client_max_window_bits"


def unmasked(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A server's frame."""
    return frame(opcode, payload, fin=fin, rsv=rsv, mask=b"")


def closing_frame(code: int | None = None, reason: bytes = b"") -> bytes:
    """A server's Close frame."""
    return unmasked(8, b"" if code is None else struct.pack("!H", code) + reason)


def parse_masked(data: bytes) -> Iterator[tuple[Frame, bytes]]:
    """Every frame of a client and its mask; AssertionError when one is not masked or incomplete."""
    at = 0
    while at < len(data):
        first, second = data[at : at + 2]
        assert second & 0x80, "a client masks each frame"
        at += 2
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack_from("!H", data, at)
            at += 2
        elif size == 127:
            (size,) = struct.unpack_from("!Q", data, at)
            at += 8
        mask = data[at : at + 4]
        payload = data[at + 4 : at + 4 + size]
        assert len(payload) == size, "the last frame is incomplete"
        at += 4 + size
        yield Frame(first & 15, masking(payload, mask), bool(first & 0x80), first >> 4 & 7), mask


@implementer(IService)
class Service:
    """Notes what it is told of a connection.

    :ivar told: the calls, ``("opened",)``, ``("message", payload, is_binary)``, ``("closed",)``
    :ivar raising: the name of a call that raises
    """

    def __init__(self, raising: str = "") -> None:
        self.told: list[tuple[Any, ...]] = []
        self.raising = raising

    def _tell(self, what: str, *arguments: Any) -> None:
        self.told.append((what, *arguments))
        if what == self.raising:
            raise RuntimeError(f"the service's {what} fails")

    def opened(self, connection: Any) -> None:
        self._tell("opened")

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        self._tell("message", payload, is_binary)

    def closed(self, connection: Any) -> None:
        self._tell("closed")


@implementer(IHostnameResolver)
class Resolver:
    """Resolves when it is told to.

    :ivar asked: names and ports that were looked up
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self._receivers: list[Any] = []

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        self.asked.append((hostName, portNumber))
        resolutionReceiver.resolutionBegan(None)
        self._receivers.append(resolutionReceiver)

    def answer(self, *hosts: str) -> None:
        """Answer the next question with these addresses."""
        receiver = self._receivers.pop(0)
        for host in hosts:
            kind: Any = IPv6Address if ":" in host else IPv4Address
            receiver.addressResolved(kind("TCP", host, self.asked[-1][1]))
        receiver.resolutionComplete()


@implementer(IReactorPluggableNameResolver)
class Reactor(MemoryReactorClock):
    """A reactor without sockets, with a resolver of the test's."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver = self.resolver = Resolver()

    def installNameResolver(self, resolver: Any) -> Any:
        raise NotImplementedError


class ServerEnd:
    """A server at the other end of a client's connection that has just been made."""

    def __init__(self, factory: ClientFactory, clock: Any, transport: Transport | None = None) -> None:
        peer = IPv4Address("TCP", "127.0.0.1", 9000)
        self.transport = Transport(clock, peer) if transport is None else transport
        self.protocol: Any = factory.buildProtocol(peer)
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        self._clock = clock

    @property
    def request(self) -> Answer:
        """The request head; its first line stands in the place of a status."""
        return parse_answer(self.transport.value())

    def send(self, *pieces: bytes) -> None:
        """Send each piece in a segment of its own."""
        for piece in pieces:
            assert self.transport.producerState == "producing", "the client does not read"
            self.protocol.dataReceived(piece)

    def head(self, *headers: str, status: str = "101 Switching Protocols") -> bytes:
        """A right answer to the request, with further header lines."""
        key = self.request.headers["sec-websocket-key"]
        lines = (
            f"HTTP/1.1 {status}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept_value(key)}",
            *headers,
        )
        return "\r\n".join([*lines, "", ""]).encode("iso-8859-1")

    def open(self, *headers: str, rest: bytes = b"") -> ServerEnd:
        """Answer the request and forget it."""
        answer = self.head(*headers)
        self.forget()
        self.send(answer + rest)
        return self

    def forget(self) -> None:
        """Forget what the client wrote."""
        self.transport.io.seek(0)
        self.transport.io.truncate()

    @property
    def frames(self) -> list[Frame]:
        """The frames that the client wrote since."""
        return [one for one, _ in parse_masked(self.transport.value())]

    @property
    def masks(self) -> list[bytes]:
        """Their masks."""
        return [mask for _, mask in parse_masked(self.transport.value())]

    def finish(self) -> None:
        """End the sending half: FIN."""
        self.protocol.readConnectionLost()
        self._clock.advance(0)

    def leave(self) -> None:
        """End both halves."""
        self.transport.end(ConnectionDone())

    def reset(self) -> None:
        """End with a reset: RST."""
        self.transport.end(ConnectionLost())


class ClientTestCase(WireTestCase):
    """A test with servers at the other end of clients.

    :ivar service: of the clients made here
    :ivar opened: the connections that opened
    :ivar failures: why the others did not
    """

    def setUp(self) -> None:
        super().setUp()
        self.service = Service()
        self.opened: list[ClientProtocol] = []
        self.failures: list[Any] = []

    def server(self, url: str = "ws://example.com/", **options: Any) -> ServerEnd:
        """A client that has connected and sent its request. Names of `ClientRequest` and `Settings` among the
        options go there."""
        asked = {name: options.pop(name) for name in ("headers", "origin", "subprotocols") if name in options}
        settings = {name: options.pop(name) for name in list(options) if name in Settings.__slots__}
        options.setdefault("service", self.service)
        factory = ClientFactory(
            ClientRequest(url=url, **asked),
            reactor=self.clock,
            settings=Settings(**settings),
            on_open=self.opened.append,
            on_failed=self.failures.append,
            **options,
        )
        end: Any = ServerEnd(factory, self.clock)
        self.peers.append(end)
        return end  # type: ignore[no-any-return]
