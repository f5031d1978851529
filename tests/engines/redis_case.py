"""What tests of the Redis engine share: a server, engines on it, and a proxy that fails on demand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.engines.redis_server import REASON, RedisServer, shared_server
from tests.hub.engine_contract import Heard, publication
from wsecho.engines.redis import RedisEngine, engine_from_url
from wsecho.hub.engine import EngineState, Retention

#: Short enough for a test, long enough for a busy machine.
PATIENCE = "heartbeat=500ms&wait=10s"
KEPT = Retention(1000)

reactor: Any = _reactor


class RedisCase(TestCase):
    """Tests with engines on a server that is empty at the beginning of each."""

    skip = REASON
    timeout = 30

    def setUp(self) -> None:
        """Empty the server that tests share."""
        self.server = shared_server()
        self.server.ask("FLUSHALL")

    def own_server(self, *options: str) -> RedisServer:
        """A server of the test's own."""
        self.server = RedisServer(*options).start()
        self.addCleanup(self.server.remove)
        return self.server

    def unstarted(self, retention: Retention = KEPT, url: str = "", **arguments: Any) -> RedisEngine:
        """An engine that has not started; it is stopped when the test ends."""
        arguments.setdefault("max_payload", 1024**2)
        engine = engine_from_url(
            url or self.server.url(PATIENCE),
            reactor=reactor,
            node="node",
            retention=lambda _: retention,
            **arguments,
        )
        self.addCleanup(engine.stop)
        return engine

    async def engine(
        self, retention: Retention, listener: Heard, url: str = "", **arguments: Any
    ) -> RedisEngine:
        """An engine that has started."""
        engine = self.unstarted(retention, url, **arguments)
        await engine.start(listener)
        return engine

    async def followed(
        self, *channels: str, retention: Retention = KEPT, url: str = "", **arguments: Any
    ) -> tuple[RedisEngine, Heard]:
        """An engine that tells of these channels, and who it tells."""
        heard = Heard()
        engine = await self.engine(retention, heard, url, **arguments)
        for channel in channels or ("c",):
            await engine.subscribe(channel)
        return engine, heard

    async def until(self, condition: Callable[[], bool]) -> None:
        """Turn the reactor until it holds; the test's own timeout ends it."""
        while not condition():
            await deferLater(reactor, 0.002, lambda: None)

    async def until_told(self, heard: Heard, count: int, channel: str = "c") -> None:
        """Wait until so many have arrived."""
        await self.until(lambda: len(heard.payloads(channel)) == count)

    async def until_away(self, engine: RedisEngine) -> None:
        """Wait until it says so."""
        await self.until(lambda: engine.state is EngineState.AWAY)

    async def until_up(self, *engines: RedisEngine) -> None:
        """Wait until all are."""
        await self.until(lambda: all(engine.state is EngineState.UP for engine in engines))

    async def publish(self, engine: RedisEngine, *payloads: str, channel: str = "c") -> list[Any]:
        """Publish one after the other, and return the positions."""
        return [await engine.publish(channel, publication(payload)) for payload in payloads]

    async def proxy(self) -> Proxy:
        """A proxy to the server; it ends with the test."""
        proxy = Proxy(self.server.host, self.server.port)
        proxy.listen()
        self.addCleanup(proxy.stop)
        return proxy


class Proxy:
    """Passes bytes between nodes and a server, unless told not to.

    :ivar holds_answers: what the server says is kept back
    :ivar holds_commands: what nodes say is kept back
    :ivar seconds: that each piece is late
    :ivar rate: bytes of a second, towards nodes; 0 for all at once
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.server_port = port
        self.holds_answers = self.holds_commands = False
        self.seconds = 0.0
        self.rate = 0
        self.accepted = 0
        self.pairs: list[_Side] = []
        self._port: Any = None
        self._timers: set[Any] = set()

    def listen(self) -> None:
        """Begin."""
        self._port = reactor.listenTCP(0, _SideFactory(self, True), interface="127.0.0.1")

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._port.getHost().port)

    def url(self, query: str = PATIENCE) -> str:
        """The same, as a URL."""
        return f"redis://127.0.0.1:{self.port}/0?{query}"

    def release(self) -> None:
        """Pass on what was kept back, and keep nothing more."""
        self.holds_answers = self.holds_commands = False
        for side in list(self.pairs):
            side.flush()

    def cut(self) -> None:
        """End all connections, as a broken network does."""
        for side in list(self.pairs):
            side.transport.abortConnection()  # type: ignore[union-attr]

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Call it later, unless the proxy has ended."""

        def due() -> None:
            self._timers.discard(timer)
            call()

        timer: Any = reactor.callLater(delay, due)
        self._timers.add(timer)

    async def stop(self) -> None:
        """End."""
        self.cut()
        for timer in self._timers:
            timer.cancel()
        await maybeDeferred(self._port.stopListening)
        while self.pairs:
            await deferLater(reactor, 0.002, lambda: None)


class _SideFactory(Factory):
    """Makes one side, or hands out the one that was made."""

    noisy = False

    def __init__(self, proxy: Proxy, is_node: bool, side: _Side | None = None) -> None:
        self.proxy = proxy
        self.is_node = is_node
        self.side = side

    def buildProtocol(self, addr: object) -> Any:
        return self.side or _Side(self.proxy, self.is_node)


class _Side(Protocol):
    """One of the two connections of a pair."""

    def __init__(self, proxy: Proxy, is_node: bool) -> None:
        self.proxy = proxy
        self.is_node = is_node
        self.other: _Side | None = None
        self.kept: list[bytes] = []
        self.free_at = 0.0
        self.coming: deque[bytes] = deque()

    def connectionMade(self) -> None:
        proxy = self.proxy
        proxy.pairs.append(self)
        if self.is_node:
            proxy.accepted += 1
            other = _Side(proxy, False)
            self.other, other.other = other, self
            endpoint = HostnameEndpoint(reactor, proxy.host, proxy.server_port)
            made: Deferred[Any] = endpoint.connect(_SideFactory(proxy, False, other))
            made.addCallbacks(lambda _: self.flush(), lambda _: self.transport.abortConnection())  # type: ignore[union-attr]
        else:
            assert self.other is not None
            self.other.flush()

    def dataReceived(self, data: bytes) -> None:
        self.kept.append(data)
        self.flush()

    def flush(self) -> None:
        proxy, other = self.proxy, self.other
        held = proxy.holds_commands if self.is_node else proxy.holds_answers
        if held or other is None or other.transport is None:
            return
        kept, self.kept = b"".join(self.kept), []
        now = reactor.seconds()
        # In small pieces where there is a rate: over a slow line, too, something comes all the time.
        size = 1024 if proxy.rate and not self.is_node else max(len(kept), 1)
        for begin in range(0, len(kept), size):
            piece = kept[begin : begin + size]
            if proxy.rate and not self.is_node:
                self.free_at = max(self.free_at, now) + len(piece) / proxy.rate
            self.free_at = max(self.free_at, now + proxy.seconds)
            other.coming.append(piece)
            if self.free_at > now or len(other.coming) > 1:
                proxy.later(max(self.free_at - now, 0), other.pass_on)
            else:
                other.pass_on()

    def pass_on(self) -> None:
        # Whoever is called, the first in the row is passed on: pieces do not overtake each other.
        piece = self.coming.popleft()
        if self.transport is not None and self.connected:
            self.transport.write(piece)

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        self.proxy.pairs.remove(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.loseConnection()
