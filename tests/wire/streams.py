"""What becomes of a client's bytes at wsecho, and at plain Autobahn as its model.

A stream is what a client sends once its opening handshake is done, in one piece or in many. `Heard` is all
that can be seen of what a server made of it, and comparable: the same stream, cut elsewhere, must give an
equal one, and so must Autobahn alone, but for `DIFFERENCES`.

Bytes go in by ``dataReceived`` of the protocol that the factory builds, as a transport would bring them: no
more while reading is paused, and with the turns of the reactor that a paused connection asks for. So whatever
stands between them and Autobahn is tested along.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from tests.wire.harness import CLOSE, Frame, Transport, handshake, parse_answer, parse_frames
from wsecho.policy.end_reasons import End
from wsecho.policy.settings import Settings
from wsecho.wire.beneath import ReactorTimer
from wsecho.wire.factory import ServerFactory
from wsecho.wire.protocol import ServerProtocol

__all__ = ["DEFLATE", "DIFFERENCES", "Heard", "autobahn_hears", "cut", "nothing_fails", "wsecho_hears"]

#: A header line that offers compression.
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"

DIFFERENCES = (
    "After a violation, Autobahn reads on and may find further ones; wsecho reads nothing more (RFC 6455 "
    "section 7.1.7). So events count up to the first Close.",
    "Autobahn's close reasons are its own; wsecho's name the option. So codes are compared, and reasons only "
    "where they are echoed.",
    "Autobahn measures a compressed message by what it has on the wire until it is inflated, wsecho by what "
    "it becomes. So compressed streams are compared with limits that none of them reaches.",
    "Autobahn knows no limit for the number of fragments. Streams stay below it.",
)
"""Where wsecho differs from Autobahn alone on purpose, and what the comparison makes of it."""

#: Turns of the reactor that a connection may ask for between two pieces; far more than it can need.
_TURNS = 10_000


@dataclass(frozen=True, slots=True)
class Heard:
    """What a server made of a stream.

    :ivar told: what the program was told, in order, up to the Close: messages, pings and pongs
    :ivar frames: what the server wrote up to its Close, in order
    :ivar close_code: of the server's Close frame; None when it sent none
    :ivar echoed: payload of the server's Close when it answered the peer's
    :ivar end: wsecho's own name for the end
    """

    told: tuple[tuple[Any, ...], ...]
    frames: tuple[Frame, ...]
    close_code: int | None
    echoed: bytes | None
    end: End | None = None


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """The pieces of `data` when it is cut at `places`; empty ones are left out."""
    ends = sorted(place for place in set(places) if 0 < place < len(data))
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True) if a < b]


class _Noting:
    """A program that echoes and notes what it is told while the connection is open."""

    told: list[tuple[Any, ...]]

    def onMessage(self: Any, payload: bytes, isBinary: bool) -> None:
        self.told.append(("message", bytes(payload), isBinary))
        self.sendMessage(payload, isBinary)

    def onPing(self: Any, payload: bytes) -> None:
        if self.state == self.STATE_OPEN:
            self.told.append(("ping", bytes(payload)))
        super().onPing(payload)  # type: ignore[misc]

    def onPong(self: Any, payload: bytes) -> None:
        if self.state == self.STATE_OPEN:
            self.told.append(("pong", bytes(payload)))


class _OnWsecho(_Noting, ServerProtocol):
    pass


_Autobahn: Any = WebSocketServerProtocol


class _OnAutobahn(_Noting, _Autobahn):  # type: ignore[misc]
    pass


class _Server:
    """A factory with one connection that is open."""

    def __init__(self, factory: Any, clock: Clock, compression: bool) -> None:
        self.clock = clock
        self.transport = _Lenient(clock, IPv4Address("TCP", "127.0.0.1", 40000))
        self.protocol: Any = factory.buildProtocol(self.transport.getPeer())
        self.protocol.told = []
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        self.receive(handshake("/", *([DEFLATE] if compression else [])))
        answer = parse_answer(self.transport.value())
        assert answer.status == "HTTP/1.1 101 Switching Protocols", answer
        self.transport.clear()

    def receive(self, data: bytes) -> None:
        """Bring bytes, as soon as the server reads."""
        self.settle()
        if not self.transport.has_ended:
            assert self.transport.producerState == "producing", "the server does not read on by itself"
            self.protocol.dataReceived(data)

    def settle(self) -> None:
        """Give the server the turns of the reactor that it asked for; no time passes."""
        for _ in range(_TURNS):
            now = self.clock.seconds()
            if not any(call.getTime() <= now for call in self.clock.getDelayedCalls()):
                return
            self.clock.advance(0)
        raise AssertionError("the server asks for turns without end")

    def written(self) -> tuple[Frame, ...]:
        """The server's frames, up to its Close."""
        return tuple(_until_close(parse_frames(self.transport.value())))

    def finish(self) -> None:
        """End the connection, so that nothing is left of it."""
        if not self.transport.has_ended:
            self.transport.abortConnection()
        self.settle()


class _Lenient(Transport):
    """A transport that, like Twisted's own, bears being used after its end and without a producer."""

    def _note(self, what: str) -> None:
        if not self.has_ended:
            super()._note(what)

    def unregisterProducer(self) -> None:
        if self.producer is not None:
            super().unregisterProducer()


def _until_close(frames: Iterator[Frame]) -> Iterator[Frame]:
    for frame in frames:
        yield frame
        if frame.opcode == CLOSE:
            return


def _heard(server: _Server, pieces: Sequence[bytes], *, has_end: bool) -> Heard:
    for piece in pieces:
        server.receive(piece)
    server.settle()
    frames = server.written()
    last = frames[-1] if frames and frames[-1].opcode == CLOSE else None
    code = None if last is None else int.from_bytes(last.payload[:2], "big") if last.payload else 1005
    protocol = server.protocol
    is_answer = last is not None and not protocol.closedByMe
    heard = Heard(
        tuple(protocol.told),
        frames if last is None else frames[:-1],
        code,
        last.payload if is_answer and last is not None else None,
        protocol.end if has_end else None,
    )
    server.finish()
    return heard


@contextmanager
def nothing_fails() -> Iterator[None]:
    """What is done in here logs no failure; AssertionError otherwise."""
    failures: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(event)

    observer = cast(ILogObserver, observe)
    globalLogPublisher.addObserver(observer)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observer)
        # Rather than what else went wrong, which comes of it.
        assert not failures, failures[0]["log_failure"].getTraceback()


def wsecho_hears(
    pieces: Sequence[bytes], *, compression: bool = False, program: Any = None, **settings: Any
) -> Heard:
    """What wsecho makes of a stream that comes in these pieces.

    :param program: the protocol class; by default one that notes what it is told
    :param settings: of `Settings`
    :raises AssertionError: an exception was logged, or the server read no further
    """
    clock = Clock()
    factory = ServerFactory(
        reactor=clock, settings=Settings(compression="deflate" if compression else "off", **settings)
    )
    factory.protocol = program or _OnWsecho
    with nothing_fails():
        heard = _heard(_Server(factory, clock, compression), pieces, has_end=True)
    assert not clock.getDelayedCalls(), "timers that outlive their connection"
    return heard


def autobahn_hears(pieces: Sequence[bytes], *, compression: bool = False, max_message_size: int) -> Heard:
    """What plain Autobahn makes of it, with the options that wsecho sets and nothing else of wsecho."""
    clock = Clock()
    make: Any = WebSocketServerFactory
    factory = make(reactor=clock)
    factory._batched_timer = ReactorTimer(clock)
    factory.protocol = _OnAutobahn
    factory.setProtocolOptions(
        failByDrop=False,
        echoCloseCodeReason=True,
        maxFramePayloadSize=max_message_size,
        maxMessagePayloadSize=max_message_size,
        # What wsecho answers the client's offer with.
        perMessageCompressionAccept=ServerFactory(
            reactor=clock, settings=Settings(compression="deflate")
        )._accept_compression,
    )
    return _heard(_Server(factory, clock, compression), pieces, has_end=False)
