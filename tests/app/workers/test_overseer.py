"""One server of several reports."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tests.web.overseen import facts
from wsecho.app.configuration import read_configuration
from wsecho.app.workers.crew import NUMBERS, PATIENCE
from wsecho.app.workers.overseer import CrewOverseer
from wsecho.app.workers.passing import report_to_json
from wsecho.policy.facts import LagFacts, MessageSample, ServerState, Traffic

from .test_crew import CrewTestCase, FakeProcess
from .test_passing import report


class FakeSupervisor:
    """What the overseer asks of a supervisor."""

    state = ServerState.READY
    is_accepting = True
    uptime_seconds = 5.0
    urls = ("ws://127.0.0.1:1/",)

    def __init__(self) -> None:
        self.accepting: list[bool] = []

    def set_accepting(self, accepting: bool) -> bool:
        self.accepting.append(accepting)
        return True


class OverseerTests(CrewTestCase):
    """What is seen of two workers."""

    def setUp(self) -> None:
        super().setUp()
        self.supervisor = FakeSupervisor()
        supervisor: Any = self.supervisor
        self.overseer = CrewOverseer(supervisor, self.crew, read_configuration({"workers": ["2"]}))
        self.serve()

    def answer(self, process: FakeProcess, **others: Any) -> None:
        """Let a worker answer its last question with a report."""
        process.say(answer=process.told[-1]["question"], value=report_to_json(report(**others)))

    def gather(self, *each: dict[str, Any], connections: bool = False) -> None:
        """Let the workers that run report."""
        gathered = self.overseer.gather(connections=connections)
        running = [process for process in self.processes if "question" in process.told[-1]]
        for process, others in zip(running, each, strict=False):
            self.answer(process, **others)
        self.reactor.advance(PATIENCE)
        self.successResultOf(gathered)

    def test_sums(self) -> None:
        """Counts are added, the largest is kept of what is a largest, and channels are counted once."""
        self.gather(
            {"channels": {"a": 1, "b": 1}, "lag": LagFacts(1, 0.5, 0.5), "connections_open": 1},
            {"channels": {"b": 2}, "lag": LagFacts(2, 0.5, 0.25), "connections_open": 3},
        )
        totals, server = self.overseer.totals(), self.overseer.server()
        self.assertEqual(totals.handshakes["opened", "101"], 14)
        self.assertEqual(totals.traffic["echo"], Traffic(2, 4, 6, 8))
        self.assertEqual((totals.queued_bytes, totals.largest_queue_bytes), (20, 8))
        self.assertEqual(self.overseer.lag(), LagFacts(3, 1.0, 0.5))
        self.assertEqual(self.overseer.channels(), {"a": 1, "b": 3})
        self.assertEqual((server.connections, server.channels), (4, 2))
        self.assertEqual([one.connections for one in server.workers], [1, 3])

    def test_never_down(self) -> None:
        """What a worker had counted stays in the sums when it has died; what it held does not."""
        self.gather({}, {})
        self.processes[0].end()
        self.processes[0].told.append({})
        self.gather({})
        totals = self.overseer.totals()
        self.assertEqual(totals.handshakes["opened", "101"], 14)
        self.assertEqual(totals.ends, {"peer-close": 6})
        self.assertEqual((totals.queued_bytes, totals.open), (10, {"echo": 4}))
        self.assertEqual(self.overseer.server().engine_events, {"gap": 2})
        for call in self.reactor.getDelayedCalls():
            call.cancel()

    def test_silent(self) -> None:
        """Of a worker that does not answer, the last that it told is kept."""
        self.gather({}, {})
        gathered = self.overseer.gather(connections=False)
        self.reactor.advance(PATIENCE)
        self.successResultOf(gathered)
        self.assertEqual(self.overseer.server().connections, 4)

    def test_connections(self) -> None:
        """Connections are found wherever they are, and closed by the worker that has them."""
        number = 2 * NUMBERS + 7
        self.gather({"connections": ()}, {"connections": (facts(number),)}, connections=True)
        self.assertEqual([one.id for one in self.overseer.connections()], [number])
        self.assertTrue(self.overseer.close(number, 4000, "bye"))
        self.assertFalse(self.overseer.close(number + 1, 4000, "bye"))
        told = self.processes[1].told[-1]
        self.assertEqual(
            {key: told[key] for key in ("do", "id", "code", "reason")},
            {"do": "close", "id": number, "code": 4000, "reason": "bye"},
        )
        self.assertNotIn("close", [one["do"] for one in self.processes[0].told if "do" in one])
        self.reactor.advance(PATIENCE)

    def test_first_connections(self) -> None:
        """The first so many after a number come in order, whichever worker has them."""
        one, two = [facts(NUMBERS + 1), facts(NUMBERS + 2)], [facts(2 * NUMBERS + 1), facts(2 * NUMBERS + 2)]
        self.gather({"connections": tuple(one)}, {"connections": tuple(two)}, connections=True)
        found = [facts.id for facts in self.overseer.connections(NUMBERS + 1, 2)]
        self.assertEqual(found, [NUMBERS + 2, 2 * NUMBERS + 1])

    def test_connections_kept(self) -> None:
        """A request that asks for less takes nothing away from one that asked for connections."""
        self.gather({"connections": (facts(NUMBERS + 1),)}, {"connections": ()}, connections=True)
        self.gather({"connections": None}, {"connections": None})
        self.assertEqual(len(list(self.overseer.connections())), 1)

    def test_publish(self) -> None:
        """A publication is given to one worker alone, for the engine brings it to the others; text as text,
        bytes as bytes."""
        self.gather({"channels": {"a": 1}}, {"channels": {"a": 2}})
        self.assertEqual(self.overseer.publish("a", "hi"), 3)
        self.overseer.publish("a", b"\0\xff")
        told = [one for one in self.processes[0].told if one.get("do") == "publish"]
        self.assertEqual([one.get("text", one.get("hex")) for one in told], ["hi", "00ff"])
        self.assertEqual([one for one in self.processes[1].told if one.get("do") == "publish"], [])
        self.reactor.advance(PATIENCE)

    def test_watch(self) -> None:
        """Whoever watches is told of what passes through every worker, until the end of it."""
        self.gather({}, {})
        seen: list[Any] = []
        end = self.overseer.watch(seen.append, None, "a")
        told = [process.told[-1] for process in self.processes]
        self.assertEqual([(one["do"], one["channel"]) for one in told], [("watch", "a")] * 2)
        sample = MessageSample(7, "127.0.0.1:1", "broadcast", "a", False, 2, "hi")
        self.processes[1].say(watch=told[1]["watch"], sample=asdict(sample))
        self.assertEqual(seen, [sample])
        end()
        self.assertEqual([process.told[-1]["do"] for process in self.processes], ["unwatch"] * 2)
        self.processes[1].say(watch=told[1]["watch"], sample=asdict(sample))
        self.assertEqual(len(seen), 1)

    def test_ports(self) -> None:
        """Ports are not closed while the server runs, and why is told."""
        self.assertIn("pause accepting instead", self.successResultOf(self.overseer.set_listening(False)))
        self.assertEqual(self.successResultOf(self.overseer.set_listening(True)), "")

    def test_engine_away(self) -> None:
        """When one worker has lost the engine, the server is not ready."""
        self.gather({}, {"state": "engine-away", "is_engine_up": False})
        self.assertIs(self.overseer.state(), ServerState.ENGINE_AWAY)
        self.assertFalse(self.overseer.server().is_engine_up)

    def test_accepting(self) -> None:
        """Pausing is the supervisor's."""
        self.assertTrue(self.overseer.set_accepting(False))
        self.assertEqual(self.supervisor.accepting, [False])

    def test_configuration(self) -> None:
        """The configuration is that of the whole."""
        options = {one["name"]: one["value"] for one in self.overseer.configuration()["options"]}
        self.assertEqual((options["workers"], options["max-connections"]), (2, 10000))
