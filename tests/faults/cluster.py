"""Nodes, clients and what goes wrong between them: the stage on which drills are played.

Rules of this file: nodes are real ``twistd wsecho`` in processes of their own, Redis is a real redis-server.
Clients are Autobahn's, which share no code with what they judge; they write down what they are told and judge
nothing. Nothing sleeps: whoever waits names what has to come true.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar
from urllib.request import urlopen

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.app.servers import Child, start, twistd
from tests.engines.redis_case import Proxy
from tests.engines.redis_server import REASON, RedisServer
from tests.faults.oracle import (
    Connected,
    Judgement,
    Message,
    Place,
    PublisherLog,
    Received,
    SubscriberLog,
    Told,
    judge,
)

__all__ = ["Client", "DrillCase", "Node", "Publisher", "Subscriber"]

reactor: Any = _reactor

CHANNEL = "drill"
#: The environment variable that names the file for what came of drills.
REPORT = "WSECHO_DRILL_REPORT"
_SUBPROTOCOL = "wsecho.v1.json"
_LONGEST_BACKOFF = 0.4
_LOOK_EVERY = 0.02


class Node:
    """One server.

    :ivar port: where it serves clients
    :ivar admin: where it serves its operator
    """

    def __init__(self, child: Child) -> None:
        self.child = child
        self.port = 0
        self.host = "127.0.0.1"
        self.is_expected_to_end = False
        transport: Any = child.transport
        self.pid: int = transport.pid

    @property
    def log(self) -> str:
        """What it has written."""
        return self.child.out.decode(errors="replace")

    @property
    def has_ended(self) -> bool:
        """Whether its process has."""
        return self.child.status is not None or self.child.signal is not None

    def send(self, name: str) -> None:
        """Send it a signal: KILL, STOP, CONT, TERM."""
        if name in ("KILL", "TERM"):
            self.is_expected_to_end = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.Signals[f"SIG{name}"])

    def memory(self) -> int:
        """Bytes that it occupies."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            (line,) = (line for line in status if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


class _Protocol(WebSocketClientProtocol):
    """One connection of a client."""

    client: Client

    def onOpen(self) -> None:
        self.client.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.client.received(self, payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.client.closed(self, code)


class Client:
    """Connects, and connects again, to one node after the other, until it is stopped.

    :param ports: of the nodes
    """

    query = ""
    subprotocols: ClassVar[list[str]] = [_SUBPROTOCOL]

    def __init__(self, name: str, nodes: Sequence[Node], path: str = f"/broadcast/{CHANNEL}") -> None:
        self.name = name
        self.nodes = nodes
        self.path = path
        self.connection: Any = None
        self.is_open = False
        self.codes: list[int | None] = []
        """With which its connections ended."""
        self.refused = 0
        self._turn = 0
        self._timer: Any = None
        self._connector: Any = None
        self.is_stopped = False
        self._failures = 0
        self.connect()

    def connect(self) -> None:
        """Try the next node."""
        self._timer = None
        node = self.nodes[self._turn % len(self.nodes)]
        self._turn += 1
        factory: Any = WebSocketClientFactory(
            f"ws://{node.host}:{node.port}{self.path}{self.query}", protocols=self.subprotocols
        )
        factory.noisy = False
        factory.setProtocolOptions(openHandshakeTimeout=5, closeHandshakeTimeout=1)
        factory.protocol = type("Protocol", (_Protocol,), {"client": self})
        factory.clientConnectionFailed = lambda connector, reason: self._again()
        self._connector = reactor.connectTCP(node.host, node.port, factory, timeout=5)

    def _again(self) -> None:
        if not self.is_stopped and self._timer is None:
            self._failures += 1
            delay = min(0.02 * 2**self._failures, _LONGEST_BACKOFF) * random.uniform(0.5, 1)
            self._timer = reactor.callLater(delay, self.connect)

    def opened(self, connection: Any) -> None:
        """A connection is open."""
        self.connection = connection
        self.is_open = True
        self._failures = 0

    def received(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        """A message came."""
        self.told(json.loads(payload))

    def told(self, envelope: dict[str, Any]) -> None:
        """An envelope came."""

    def closed(self, connection: Any, code: int | None) -> None:
        """A connection has ended, or never opened."""
        if connection is self.connection:
            self.codes.append(code)
        else:
            self.refused += 1
        self.connection = None
        self.is_open = False
        self._again()

    def send(self, **envelope: Any) -> None:
        """Send an envelope, if there is a connection."""
        # One that is closing takes nothing more, and is told as closed a moment later.
        if self.connection is not None and self.connection.state == self.connection.STATE_OPEN:
            self.connection.sendMessage(json.dumps(envelope).encode())

    def stop(self) -> None:
        """Connect no more."""
        self.is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connector is not None:
            self._connector.disconnect()


class Subscriber(Client):
    """Writes down what it is told, and asks for what it missed."""

    def __init__(self, name: str, nodes: Sequence[Node], path: str = f"/broadcast/{CHANNEL}") -> None:
        self.log = SubscriberLog(name)
        self.is_welcome = False
        self.states: list[str] = []
        self.worst_delay = 0.0
        """Seconds between sending and arrival, at most, of messages that came live."""
        self._place: Place | None = None
        self._replayed = 0
        super().__init__(name, nodes, path)

    @property
    def query(self) -> str:  # type: ignore[override]
        """What it asks for."""
        return "" if self._place is None else f"?epoch={self._place.epoch}&since={self._place.offset}"

    def closed(self, connection: Any, code: int | None) -> None:
        self.is_welcome = False
        super().closed(connection, code)

    def told(self, envelope: dict[str, Any]) -> None:
        kind = envelope["type"]
        if kind == "message":
            if envelope.get("epoch") is None:
                return
            data = json.loads(envelope["text"])
            self._place = Place(envelope["epoch"], envelope["offset"])
            self.log.events.append(Received(self._place, Message(data["p"], data["n"])))
            if self._replayed:
                self._replayed -= 1
            else:
                self.worst_delay = max(self.worst_delay, reactor.seconds() - data["t"])
        elif kind == "welcome":
            self.is_welcome = True
            self._replayed = envelope["replayed"]
            place = Place(envelope["epoch"], envelope["offset"])
            self.log.events.append(Connected(place, envelope["recovered"]))
            if self._place is None or envelope["recovered"] is False:
                self._place = place
        elif kind in ("gap", "dropped"):
            self.log.events.append(Told())
        elif kind == "engine":
            self.states.append(envelope["state"])


class Publisher(Client):
    """Publishes without a pause, a few messages at a time, and repeats what nobody acknowledged.

    :param rate: messages a second
    :param padding: bytes that each has besides
    """

    def __init__(self, name: str, nodes: Sequence[Node], rate: int = 100, padding: int = 0) -> None:
        self._padding = "x" * padding
        self.log = PublisherLog(name)
        self.error_codes: list[str] = []
        self._interval = 1 / rate
        self._ids: dict[str, tuple[int, dict[str, Any]]] = {}
        self._publishing: Any = None
        self._is_paused = False
        self._failed: set[str] = set()
        self._is_away = False
        self._number = 0
        super().__init__(name, nodes)
        self._next()

    @property
    def waits(self) -> int:
        """How many are not acknowledged."""
        return len(self._ids)

    def pause(self) -> None:
        """Publish nothing new."""
        self._is_paused = True

    def go_on(self) -> None:
        """Publish again."""
        self._is_paused = False

    def _next(self) -> None:
        self._publishing = reactor.callLater(self._interval, self._next)
        if self._failed and self.is_open and not self._is_away:
            # It failed when the engine was back already: nothing else will say that it is time.
            self._repeat_these(sorted(self._failed, key=lambda one: self._ids[one][0]))
        # One that cannot get through does not pile up more.
        if self._is_paused or not self.is_open or len(self._ids) >= 100:
            return
        message_id = uuid.uuid4().hex
        text = json.dumps({"p": self.name, "n": self._number, "t": reactor.seconds(), "x": self._padding})
        envelope = {"type": "publish", "id": message_id, "text": text}
        self._ids[message_id] = (self._number, envelope)
        self._number += 1
        self.log.sent += 1
        self.send(**envelope)

    def told(self, envelope: dict[str, Any]) -> None:
        kind = envelope["type"]
        if kind == "welcome":
            self._is_away = False
            self.repeat()
        elif kind == "ack":
            self._failed.discard(envelope["id"])
            number, _ = self._ids.pop(envelope["id"], (None, None))
            if number is not None:
                self.log.acks[number] = Place(envelope["epoch"], envelope["offset"])
        elif kind == "error":
            self.log.errors += 1
            self.error_codes.append(envelope["code"])
            if envelope["id"] in self._ids:
                self._failed.add(envelope["id"])
        elif kind == "engine":
            self._is_away = envelope["state"] == "away"
            if not self._is_away:
                self.repeat()

    def repeat(self) -> None:
        """Send again what was not acknowledged."""
        # In their order: those that were stored are recognized, and none overtakes another.
        self._repeat_these(list(self._ids))

    def _repeat_these(self, ids: Sequence[str]) -> None:
        self._failed.clear()
        for one in ids:
            number, envelope = self._ids[one]
            self.log.repeated.add(number)
            self.send(**envelope)

    def stop(self) -> None:
        super().stop()
        if self._publishing is not None and self._publishing.active():
            self._publishing.cancel()


class DrillCase(TestCase):
    """Drills on nodes and a Redis of their own."""

    skip = REASON
    timeout = 60
    #: Of the nodes; short, so that a drill is.
    heartbeat = 0.6
    history = 5000

    @property
    def patience(self) -> str:
        """The same, for a URL."""
        return f"heartbeat={self.heartbeat * 1000:.0f}ms&wait=1s"

    def setUp(self) -> None:
        """Nothing runs yet."""
        self.nodes: list[Node] = []
        self.clients: list[Client] = []
        self.facts: list[str] = []
        self.addCleanup(self._stop_clients)
        self.addCleanup(self._report)
        self.lag = 0.0
        self._due = reactor.seconds()
        self._watch()
        self.addCleanup(self._stop_watching)

    def _watch(self) -> None:
        """Note how late this process itself is: what it measures of others is late by as much."""
        now = reactor.seconds()
        self.lag = max(self.lag, now - self._due)
        self._due = now + _LOOK_EVERY
        self._watching = reactor.callLater(_LOOK_EVERY, self._watch)

    def _stop_watching(self) -> None:
        self._watching.cancel()

    def measure_from_here(self) -> None:
        """Forget how late everything was so far."""
        self.lag = 0.0
        self._due = reactor.seconds() + _LOOK_EVERY
        for one in self.subscribers:
            one.worst_delay = 0.0

    def worst_delay(self, subscribers: Sequence[Subscriber]) -> float:
        """Seconds from sending to arrival, at most, without what this process itself was late."""
        return max(0.0, max(one.worst_delay for one in subscribers) - self.lag)

    def redis(self, *options: str) -> RedisServer:
        """A Redis that is started."""
        self.server = RedisServer(*options).start()
        self.addCleanup(self.server.remove)
        return self.server

    def proxy(self) -> Proxy:
        """A proxy to the Redis."""
        proxy = Proxy(self.server.host, self.server.port)
        proxy.listen()
        self.addCleanup(proxy.stop)
        return proxy

    async def node(
        self,
        *options: str,
        url: str = "",
        prefix: Sequence[str] = (),
        variables: dict[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> Node:
        """A server that is up."""
        command = [
            *prefix,
            *twistd(),
            "-n",
            "wsecho",
            f"--listen=tcp:0:interface={host}",
            f"--engine={url or self.server.url(self.patience)}",
            f"--history-size={self.history}",
            "--drain-timeout=5s",
            *options,
        ]
        node = Node(start(self, command, variables=variables))
        (listening, *_) = await node.child.listening
        node.port = int(listening.rsplit(":", 1)[1].strip("/"))
        await self.until(lambda: "engine redis: up" in node.log)
        self.nodes.append(node)
        return node

    async def start_nodes(self, count: int, *options: str) -> list[Node]:
        """So many servers."""
        for _ in range(count):
            await self.node(*options)
        return self.nodes

    def subscriber(self, *nodes: Node) -> Subscriber:
        """One on these nodes, the first first; on all when none is named."""
        subscriber = Subscriber(f"s{len(self.clients)}", nodes or self._shuffled())
        self.clients.append(subscriber)
        return subscriber

    def publisher(self, *nodes: Node, rate: int = 100, padding: int = 0) -> Publisher:
        """Likewise."""
        publisher = Publisher(f"p{len(self.clients)}", nodes or self._shuffled(), rate, padding)
        self.clients.append(publisher)
        return publisher

    def _shuffled(self) -> list[Node]:
        return random.sample(self.nodes, len(self.nodes))

    @property
    def subscribers(self) -> list[Subscriber]:
        """All of them."""
        return [client for client in self.clients if isinstance(client, Subscriber)]

    @property
    def publishers(self) -> list[Publisher]:
        """All of them."""
        return [client for client in self.clients if isinstance(client, Publisher)]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Turn the reactor until it holds; the test's own timeout ends it."""
        while not condition():
            await deferLater(reactor, 0.005, lambda: None)

    async def until_more(self, count: int) -> None:
        """Wait until each publisher has so many more acknowledgements."""
        wanted = {publisher: len(publisher.log.acks) + count for publisher in self.publishers}
        await self.until(lambda: all(len(one.log.acks) >= least for one, least in wanted.items()))

    async def until_all_open(self) -> None:
        """Wait until everybody is connected."""
        await self.until(lambda: all(client.is_open or client.is_stopped for client in self.clients))
        await self.until(lambda: all(one.is_welcome or one.is_stopped for one in self.subscribers))

    async def under_load(self, *, subscribers: int = 6, publishers: int = 2, messages: int = 30) -> None:
        """Clients that are connected, and messages that flow."""
        for number in range(subscribers):
            node = self.nodes[number % len(self.nodes)]
            others = [one for one in self.nodes if one is not node]
            self.subscriber(node, *others)
        await self.until_all_open()
        for _ in range(publishers):
            self.publisher()
        await self.until_more(messages)

    async def finish(self, *, may_lose: bool = False) -> Judgement:
        """Let everything arrive, and judge."""
        for publisher in self.publishers:
            publisher.pause()
        await self.until(lambda: all(not one.waits for one in self.publishers))
        await self.until_all_open()
        # One more, behind everything else: who has got it has got all that will come.
        if self.publishers:
            await self._one_more(self.publishers[0])
        judgement = judge(
            [one.log for one in self.publishers], [one.log for one in self.subscribers], may_lose=may_lose
        )
        self.assertEqual(judgement.violations[:5], [])
        self.assertGreater(judgement.acknowledged, 0)
        self.assertEqual(self.died(), [])
        self.note(f"{judgement.acknowledged} acknowledged")
        self.note(f"{judgement.missing} missing" if judgement.missing else "none missing")
        if judgement.gaps:
            self.note(f"{judgement.gaps} gaps told")
        if judgement.duplicates:
            self.note(f"{judgement.duplicates} came again after a reconnect")
        return judgement

    async def _one_more(self, publisher: Publisher) -> None:
        before = len(publisher.log.acks)
        publisher.go_on()
        await self.until(lambda: len(publisher.log.acks) > before)
        publisher.pause()
        await self.until(lambda: not publisher.waits)
        last = Message(publisher.name, max(publisher.log.acks))
        await self.until(
            lambda: all(one.log.messages and one.log.messages[-1].message == last for one in self.subscribers)
        )

    def died(self) -> list[str]:
        """Nodes that ended, or logged a traceback, though nobody told them to."""
        return [
            node.log[-2000:]
            for node in self.nodes
            if (node.has_ended and not node.is_expected_to_end) or "Traceback" in node.log
        ]

    def note(self, fact: str) -> None:
        """Something for the table; the last thing that a drill does."""
        self.facts.append(fact)

    def _report(self) -> None:
        """For tests/faults/table.py, what came of it."""
        path = os.environ.get(REPORT)
        if path is None:
            return
        words = " ".join((getattr(self, self._testMethodName).__doc__ or "").split())
        row, _, what = words.partition(": ")
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"row": row, "what": what, "test": self.id(), "facts": self.facts}) + "\n")

    async def fetch(self, url: str) -> tuple[int, str]:
        """Status and body of a page."""

        def get() -> tuple[int, str]:
            from urllib.error import HTTPError

            try:
                with urlopen(url, timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except HTTPError as error:
                return error.code, error.read().decode()

        result: tuple[int, str] = await deferToThread(get)
        return result

    async def _stop_clients(self) -> None:
        for client in self.clients:
            client.stop()
        await self.until(lambda: all(client.connection is None for client in self.clients))
        await deferLater(reactor, 0.01, lambda: None)
