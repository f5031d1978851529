"""Tests for `wsecho.app.overseer`: what is seen of a service, and done to it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from tests.wire.harness import TEXT, Frame, Peer, WireTestCase, closing, frame
from wsecho.app.channels import build_broadcast
from wsecho.app.configuration import read_configuration
from wsecho.app.lag import LagMeter
from wsecho.app.listeners import ListenError
from wsecho.app.overseer import Overseer, described
from wsecho.app.service import server_maker
from wsecho.policy.facts import LagFacts, ServerState, Traffic
from wsecho.policy.options import TABLE
from wsecho.web.interfaces import IOverseer
from wsecho.wire.room import Room
from wsecho.wire.sampling import Sampler
from wsecho.wire.tally import Tally


class FakeService:
    """Two listeners."""

    state = ServerState.READY
    is_accepting = True
    is_listening = True
    uptime_seconds = 5.0
    urls = ("ws://127.0.0.1:9000/",)

    def __init__(self, servers: tuple[Any, ...]) -> None:
        self.servers = servers
        self.told: list[bool] = []
        self.changing: Deferred[None] = succeed(None)

    def set_accepting(self, accepting: bool) -> bool:
        self.told.append(accepting)
        return True

    def set_listening(self, listening: bool) -> Deferred[None]:
        self.told.append(listening)
        return self.changing


class OverseerTests(WireTestCase):
    """`Overseer`."""

    overseer: Any

    def setUp(self) -> None:
        super().setUp()
        configuration = read_configuration({})
        broadcast, tally = build_broadcast(configuration), Tally()
        make = server_maker(configuration, self.clock, Room(), broadcast=broadcast, tally=tally)
        self.servers = (make(False), make(False))
        self.service = FakeService(self.servers)
        service: Any = self.service
        meter = LagMeter(self.clock)
        sampler = Sampler(self.clock, lambda: [one.factory for one in self.servers])
        self.overseer = Overseer(service, self.clock, broadcast, tally, meter, sampler, configuration, None)

    def open(self, server: int, path: str) -> Peer:
        """A connection to one of the listeners."""
        return self.peer(self.servers[server].factory).open(path)

    def test_interface(self) -> None:
        """It is what the endpoint asks."""
        self.assertTrue(IOverseer.providedBy(self.overseer))

    def test_server(self) -> None:
        """The server as a whole is that of all listeners."""
        self.open(0, "/")
        self.open(1, "/broadcast/kitchen")
        facts = self.overseer.server()
        self.assertEqual((facts.connections, facts.channels, facts.uptime_seconds), (2, 1, 5.0))
        self.assertEqual((facts.state, facts.urls), (ServerState.READY, FakeService.urls))
        self.assertEqual(set(facts.versions), {"wsecho", "python", "twisted", "autobahn"})
        self.assertEqual((facts.engine, facts.is_engine_up, facts.certificates), ("memory", True, ()))
        self.assertEqual(self.overseer.state(), ServerState.READY)
        self.assertEqual(self.overseer.lag(), LagFacts(0, 0.0, 0.0))
        self.assertEqual(self.overseer.configuration(), described(read_configuration({})))

    def test_connections(self) -> None:
        """Open connections of all listeners, by number as well."""
        one, two = self.open(0, "/"), self.open(1, "/broadcast/kitchen")
        self.assertEqual(
            {facts.id: facts.channel for facts in self.overseer.connections()},
            {one.protocol.id: None, two.protocol.id: "kitchen"},
        )
        found = self.overseer.connection(two.protocol.id)
        self.assertEqual(found.path, "/broadcast/kitchen")
        self.assertIsNone(self.overseer.connection(two.protocol.id + 1))

    def test_first_connections(self) -> None:
        """The first so many after a number come in order, whichever listener they are of."""
        peers = [self.open(number % 2, "/") for number in range(4)]
        first, *others = [peer.protocol.id for peer in peers]
        self.assertEqual([one.id for one in self.overseer.connections(first, 2)], others[:2])
        self.assertEqual({one.id for one in self.overseer.connections(first)}, set(others))

    def test_totals(self) -> None:
        """The totals are those of all listeners."""
        for server in (0, 1):
            self.open(server, "/").send(frame(TEXT, b"hello"))
        self.assertEqual(self.overseer.totals().traffic, {"echo": Traffic(2, 10, 2, 10)})

    def test_publish(self) -> None:
        """A message reaches the members on all listeners, whose number comes back."""
        one, two = self.open(0, "/broadcast/kitchen"), self.open(1, "/broadcast/kitchen")
        self.assertEqual(self.overseer.channels(), {"kitchen": 2})
        self.assertEqual(self.overseer.publish("kitchen", "tea?"), 2)
        self.assertEqual(self.overseer.publish("cellar", b"\0"), 0)
        self.assertEqual((one.messages(), two.messages()), (["tea?"], ["tea?"]))

    def test_close(self) -> None:
        """A connection gets Close with code and reason; from then on it is none of the open ones."""
        peer, other = self.open(0, "/"), self.open(1, "/")
        self.assertTrue(self.overseer.close(peer.protocol.id, 4000, "bye"))
        self.assertEqual(peer.frames, [closing(4000, b"bye")])
        self.assertFalse(self.overseer.close(peer.protocol.id, 4000, "bye"))
        self.assertTrue(self.overseer.close(other.protocol.id, 1000, ""))
        self.assertEqual(other.frames, [Frame(8, b"\x03\xe8")])

    def test_accepting(self) -> None:
        """The service pauses and resumes."""
        self.assertTrue(self.overseer.set_accepting(False))
        self.assertEqual(self.service.told, [False])

    def test_listening(self) -> None:
        """The service closes its ports and opens them; what keeps it from that is told in one line."""
        self.assertEqual(self.successResultOf(self.overseer.set_listening(False)), "")
        self.service.changing = fail(ListenError("cannot listen: taken"))
        self.assertEqual(self.successResultOf(self.overseer.set_listening(True)), "cannot listen: taken")
        self.service.changing = fail(RuntimeError("a bug"))
        self.failureResultOf(self.overseer.set_listening(True), RuntimeError)
        self.assertEqual(self.service.told, [False, True, True])

    def test_watch(self) -> None:
        """Messages of all listeners are seen, and those that are published here, until the watch ends."""
        one, two = self.open(0, "/"), self.open(1, "/broadcast/kitchen")
        seen: list[Any] = []
        stop = self.overseer.watch(seen.append, None, None)
        one.send(frame(TEXT, b"hello"))
        two.send(frame(TEXT, b"hi"))
        self.overseer.publish("kitchen", "tea?")
        stop()
        one.send(frame(TEXT, b"unseen"))
        self.assertEqual([sample.beginning for sample in seen], ["hello", "hi", "tea?"])


class DescribedTests(WireTestCase):
    """The configuration as JSON."""

    def options(self, **given: list[str]) -> dict[str, dict[str, Any]]:
        """Every option of a configuration, by name."""
        configuration = read_configuration({name.replace("_", "-"): texts for name, texts in given.items()})
        return {row["name"]: row for row in described(configuration)["options"]}

    def test_every_option(self) -> None:
        """Each option is there, with value, source, and whether it works."""
        options = self.options(port=["0"], allow_origin=["null", "loopback"], close_timeout=["2s"])
        self.assertEqual(list(options), [row.name for row in TABLE])
        self.assertEqual(
            options["close-timeout"],
            {
                "name": "close-timeout",
                "value": 2.0,
                "shown": "2s",
                "source": "command line",
            },
        )
        self.assertEqual(options["allow-origin"]["value"], ["null", "loopback"])
        self.assertEqual((options["debug"]["value"], options["debug"]["source"]), (False, "default"))
        self.assertEqual(options["host"]["shown"], "127.0.0.1 and ::1")

    def test_effective(self) -> None:
        """A value that depends on others is what it comes to."""
        options = self.options(listen=["tcp:1"], max_message_size=["5"])
        self.assertIsNone(options["port"]["value"])
        self.assertEqual((options["max-frame-size"]["value"], options["port"]["shown"]), (5, "none"))

    def test_channels(self) -> None:
        """The tables of channels are there as well."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write('[channel."kitchen"]\nslow-consumer = "drop-oldest"\n')
        (row,) = described(read_configuration({"config": [path]}))["channels"]["kitchen"]
        self.assertEqual((row["name"], row["value"], row["source"]), ("slow-consumer", "drop-oldest", path))
