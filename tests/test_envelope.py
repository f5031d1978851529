"""The client of a channel that keeps its place."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.services.far_engine import Broker
from tests.wire.client_harness import ClientTestCase, ServerEnd, closing_frame, unmasked
from tests.wire.harness import BINARY, TEXT, Peer
from wsecho.envelope import (
    MOST_PENDING,
    Backoff,
    EnvelopeClient,
    Gap,
    NotPublished,
    ReceivedMessage,
    Unsure,
    Welcome,
)
from wsecho.hub.engine import Position, Retention
from wsecho.hub.memory import MemoryEngine
from wsecho.policy.settings import Settings
from wsecho.services.broadcast import BroadcastServerFactory, BroadcastService
from wsecho.wire.client import ClientFactory, ConnectError, ConnectFailed

SPEAKS = "Sec-WebSocket-Protocol: wsecho.v1.json"
URL = "ws://example.com/broadcast/c"


class Dialed:
    """The attempts of a client to connect, and the servers at their other ends.

    :ivar urls: what was asked for
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.urls: list[str] = []
        self.ends: list[ServerEnd] = []
        self.refusal: Exception | None = None

    def connect(
        self, reactor: Any, request: Any, *, service: Any, settings: Settings | None, tls: Any
    ) -> Deferred[Any]:
        self.urls.append(request.url)
        if self.refusal is not None:
            return fail(self.refusal)
        result: Deferred[Any] = Deferred()
        factory = ClientFactory(
            request,
            reactor=self.clock,
            service=service,
            settings=Settings(ping_interval=0, handshake_timeout=0),
            on_open=result.callback,
            on_failed=result.errback,
        )
        self.ends.append(ServerEnd(factory, self.clock))
        return result


class EnvelopeClientTests(ClientTestCase):
    """`EnvelopeClient`."""

    def setUp(self) -> None:
        super().setUp()
        self.dialed = Dialed(self.clock)
        self.told: list[Any] = []
        self.numbers = iter(range(10**6))

    def client(self, **options: Any) -> EnvelopeClient:
        """A client that has begun to connect, and whose signals are noted."""
        options.setdefault("backoff", Backoff(1.0, 8.0, lambda: 1.0))
        client = EnvelopeClient(
            options.pop("url", URL),
            reactor=self.clock,
            make_id=lambda: f"message-{next(self.numbers):010}",
            connect=self.dialed.connect,
            **options,
        )
        for name in ("message_received", "opened_channel", "gap_found"):
            getattr(client, name).connect(self.told.append)
        for name in ("presence_changed", "dropped", "engine_changed", "disconnected"):
            getattr(client, name).connect(lambda value, name=name: self.told.append((name, value)))
        client.start()
        self.addCleanup(client.stop)
        return client

    @property
    def end(self) -> Any:
        """The server of the latest connection."""
        end: Any = self.dialed.ends[-1]
        if end not in self.peers:
            self.peers.append(end)
        return end

    def say(self, kind: str, **members: Any) -> None:
        """Send an envelope to the client."""
        self.end.send(unmasked(TEXT, json.dumps({"type": kind, **members}).encode()))

    def welcome(
        self,
        offset: int | None = 0,
        *,
        epoch: str = "e",
        recovered: bool | None = None,
        name: str = "node-1",
        opens: bool = True,
    ) -> None:
        """Open the connection, and say welcome."""
        if opens:
            self.end.open(SPEAKS)
        self.say(
            "welcome",
            id=name,
            epoch=None if offset is None else epoch,
            offset=offset,
            recovered=recovered,
            replayed=0,
            presence=1,
        )

    def message(
        self, offset: int | None, text: str = "x", *, epoch: str = "e", sender: str = "node-9"
    ) -> None:
        """Send a message to the client."""
        self.say("message", epoch=None if offset is None else epoch, offset=offset, sender=sender, text=text)

    def sent(self) -> list[dict[str, Any]]:
        """What the client sent on the latest connection."""
        return [json.loads(one.payload) for one in self.end.frames if one.opcode == TEXT]

    def lose(self, seconds: float | None = 8.0) -> None:
        """Lose the connection, and let the client connect again."""
        self.end.reset()
        if seconds is not None:
            self.clock.advance(seconds)

    # -- receiving -------------------------------------------------------------------------------------------

    def test_receives(self) -> None:
        """It hands out what comes, text as str and binary as bytes, in order and with its place."""
        client = self.client()
        self.assertFalse(client.is_open)
        self.welcome(3)
        self.assertTrue(client.is_open)
        self.message(4, "grün")
        self.say("message", epoch="e", offset=5, sender="", binary="/wA=")
        self.assertEqual(
            self.told,
            [
                Welcome("node-1", Position("e", 3), None, 1),
                ReceivedMessage("grün", "node-9", Position("e", 4)),
                ReceivedMessage(b"\xff\0", "", Position("e", 5)),
            ],
        )
        self.assertEqual(client.position, Position("e", 5))

    def test_own(self) -> None:
        """Its own messages are not handed out, unless it is asked to, and keep their place; those of its
        earlier connections are its own."""
        for with_own in (False, True):
            self.told.clear()
            client = self.client(with_own=with_own)
            self.welcome(0, name="node-1")
            self.message(1, "mine", sender="node-1")
            self.lose()
            self.welcome(1, recovered=True, name="node-2")
            self.message(2, "mine", sender="node-1")
            self.message(3, "other")
            got = [one.content for one in self.told if isinstance(one, ReceivedMessage)]
            self.assertEqual(got, ["mine", "mine", "other"] if with_own else ["other"])
            self.assertEqual(client.position, Position("e", 3))
            self.assertEqual([one for one in self.told if isinstance(one, Gap)], [])
            client.stop()

    def test_duplicates(self) -> None:
        """What comes twice is handed out once."""
        self.client()
        self.welcome(0)
        for offset in (1, 1, 2, 1, 2, 3):
            self.message(offset, str(offset))
        self.assertEqual([one.content for one in self.told[1:]], ["1", "2", "3"])

    def test_hole(self) -> None:
        """A hole in the offsets is a gap, whatever the server says, and is told before what is behind it."""
        self.client()
        self.welcome(0)
        self.message(1)
        self.message(5, "behind")
        self.assertEqual(
            self.told[2:], [Gap(Position("e", 1), 3), ReceivedMessage("behind", "node-9", Position("e", 5))]
        )

    def test_gap(self) -> None:
        """A gap of which the server knows no place is told at once, once, and until the next message the old
        place stands."""
        client = self.client()
        self.welcome(4)
        self.say("gap", epoch=None, offset=None)
        self.assertEqual(self.told[1:], [Gap(Position("e", 4), None)])
        self.assertEqual(client.position, Position("e", 4))
        self.message(1, epoch="f")
        self.message(2, epoch="f")
        self.assertEqual(len([one for one in self.told if isinstance(one, Gap)]), 1)
        self.say("gap", epoch="f", offset=7)
        self.message(8, epoch="f")
        self.assertEqual(self.told[-2], Gap(Position("f", 2), 5))

    def test_other_epoch(self) -> None:
        """Another epoch is a gap, too."""
        self.client()
        self.welcome(4)
        self.message(1, epoch="f")
        self.assertEqual(self.told[1], Gap(Position("e", 4), None))

    def test_without_history(self) -> None:
        """On a channel that keeps nothing there are no places, and so nothing to go on from."""
        client = self.client()
        self.welcome(None)
        self.message(None, "a")
        self.lose()
        self.assertEqual(self.dialed.urls, [URL, URL])
        self.assertIsNone(client.position)

    def test_notices(self) -> None:
        """The other envelopes are told; what a later server may add is passed over."""
        self.client()
        self.welcome(0)
        self.told.clear()
        self.say("join", member="node-2", count=2)
        self.say("leave", member="node-2", count=1)
        self.say("presence", count=7)
        self.say("dropped", count=3)
        self.say("engine", state="away")
        self.say("pong")
        self.say("novelty", x=1)
        self.assertEqual(
            self.told,
            [
                ("presence_changed", 2),
                ("presence_changed", 1),
                ("presence_changed", 7),
                ("dropped", 3),
                ("engine_changed", "away"),
            ],
        )

    def test_nonsense(self) -> None:
        """A server that sends what is no envelope, or one with members that are none, is left, and tried
        again."""
        for sent in (
            unmasked(TEXT, b"hello"),
            unmasked(TEXT, b"[]"),
            unmasked(TEXT, b"{}"),
            unmasked(TEXT, b"[" * 50_000),
            unmasked(BINARY, b"{}"),
            unmasked(TEXT, b'{"type":"message"}'),
            unmasked(TEXT, b'{"type":"message","epoch":1,"offset":1,"sender":"","text":""}'),
            unmasked(TEXT, b'{"type":"message","epoch":"e","offset":true,"sender":"","text":""}'),
            unmasked(TEXT, b'{"type":"message","epoch":"e","offset":1,"sender":"","text":1}'),
            unmasked(TEXT, b'{"type":"presence","count":"many"}'),
            unmasked(TEXT, b'{"type":"ack","id":[],"epoch":null,"offset":null}'),
            unmasked(TEXT, b'{"type":"presence","count":1e999}'),
            unmasked(TEXT, b'{"type":"presence","count":"7"}'),
            unmasked(TEXT, b'{"type":"dropped","count":-1}'),
            unmasked(TEXT, b'{"type":"engine","state":"\\ud800"}'),
            unmasked(TEXT, b'{"type":"engine","state":' + b"[" * 800 + b"]" * 800 + b"}"),
            unmasked(TEXT, b'{"type":"message","epoch":"e","offset":-1,"sender":"","text":""}'),
            unmasked(TEXT, b'{"type":"message","epoch":"e","offset":1,"sender":"","text":"","binary":""}'),
            unmasked(TEXT, b'{"type":"message","epoch":"e","offset":null,"sender":"","text":""}'),
            unmasked(TEXT, b'{"type":"pong","type":"engine"}'),
            unmasked(TEXT, '{"type":"pong"}'.encode("utf-16-le")),
        ):
            client = self.client()
            self.welcome(0)
            self.end.send(sent)
            if self.end.protocol.has_backlog:
                self.clock.advance(0)
            self.assertTrue(self.end.frames, sent[:40])
            self.assertEqual(self.end.frames[-1].payload[:2], (1007).to_bytes(2, "big"), sent[:40])
            self.assertFalse(client.is_open)
            client.stop()

    def test_position_that_no_server_takes(self) -> None:
        """A position that could not be named in a URL, or that a server would refuse there, is never taken:
        the client comes back as if it had not been said."""
        for epoch, offset in (("\ud800", 1), ("", 1), ("e e", 1), ("e" * 65, 1), ("e", -1), ("e", 10**15)):
            client = self.client()
            self.welcome(offset, epoch=epoch)
            self.assertEqual(self.end.frames[-1].payload[:2], (1007).to_bytes(2, "big"), (epoch, offset))
            self.lose()
            self.assertEqual(self.dialed.urls[-1], URL)
            client.stop()

    def test_before_the_welcome(self) -> None:
        """What comes before the welcome is nobody's."""
        self.client()
        self.end.open(SPEAKS)
        self.message(1)
        self.assertEqual(self.told, [])

    # -- connecting ------------------------------------------------------------------------------------------

    def test_resumes(self) -> None:
        """Another connection goes on behind the last message, and tells whether anything is missing."""
        client = self.client()
        self.welcome(0)
        self.message(1)
        self.lose()
        self.assertEqual(self.dialed.urls[1], f"{URL}?epoch=e&since=1")
        self.welcome(1, recovered=True)
        self.message(2)
        self.lose()
        self.welcome(7, recovered=False)
        self.message(8)
        self.lose()
        self.welcome(2, epoch="f", recovered=False)
        self.assertEqual(
            [one for one in self.told if isinstance(one, Gap)],
            [Gap(Position("e", 2), 5), Gap(Position("e", 8), None)],
        )
        self.assertEqual(client.position, Position("f", 2))

    def test_position_given(self) -> None:
        """A client may begin where an earlier one ended; the URL keeps its own query."""
        self.client(position=Position("e-_", 17), url=f"{URL}?x=1")
        self.assertEqual(self.dialed.urls, [f"{URL}?x=1&epoch=e-_&since=17"])

    def test_backoff(self) -> None:
        """Each failure doubles the wait, up to a bound; who was welcome for long enough begins anew."""
        self.dialed.refusal = ConnectFailed(ConnectError.TIMEOUT, "example.com:80: no answer")
        self.client()
        waits = []
        for _ in range(6):
            before = len(self.dialed.urls)
            waits.append(0.0)
            while len(self.dialed.urls) == before:
                self.clock.advance(0.5)
                waits[-1] += 0.5
        self.assertEqual(waits, [1.0, 2.0, 4.0, 8.0, 8.0, 8.0])
        self.assertEqual(self.told[0], ("disconnected", "example.com:80: no answer"))
        self.dialed.refusal = None
        self.clock.advance(8)
        self.welcome(0)
        self.clock.advance(7)
        self.lose(7.5)
        self.assertEqual(len(self.dialed.ends), 1)
        self.clock.advance(0.5)
        self.welcome(0)
        self.clock.advance(8)
        self.lose(1)
        self.assertEqual(len(self.dialed.ends), 3)

    def test_random_part(self) -> None:
        """Half of the wait is random; nothing overflows however often it failed."""
        self.assertEqual(Backoff(1.0, 8.0, lambda: 0.0).seconds(1), 0.5)
        self.assertEqual(Backoff(1.0, 8.0, lambda: 1.0).seconds(10**9), 8.0)
        waits = {Backoff().seconds(3) for _ in range(50)}
        self.assertGreater(len(waits), 10)
        self.assertTrue(all(1.0 <= wait <= 2.0 for wait in waits))

    def test_reason(self) -> None:
        """Why a connection ended is told, with the server's words escaped."""
        self.client()
        self.welcome(0)
        self.end.send(closing_frame(1012, b"\x1b[31m"))
        self.assertEqual(self.told[-1], ("disconnected", "peer-close: Close 1012 \\x1b[31m"))

    def test_does_not_speak_it(self) -> None:
        """A server that does not speak the subprotocol is left, and nothing of it is believed."""
        self.client()
        self.end.open()
        self.assertEqual(self.end.frames[-1].payload[2:], b"this client speaks wsecho.v1.json")
        self.end.send(unmasked(TEXT, b'{"type":"welcome"}'))
        self.assertEqual(self.told, [("disconnected", "client-close")])

    def test_bug_in_connecting(self) -> None:
        """An unexpected failure is logged, and tried again like any other."""
        self.dialed.refusal = ZeroDivisionError("oh")
        self.client()
        self.assertEqual(self.told, [("disconnected", "oh")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self) -> None:
        """A client that is stopped says goodbye, connects no more, and may start again."""
        client = self.client()
        self.welcome(3)
        stopped = client.stop()
        self.assertEqual(self.end.frames[-1].payload[:2], (1000).to_bytes(2, "big"))
        self.end.send(closing_frame(1000))
        self.end.leave()
        self.successResultOf(stopped)
        self.clock.advance(100)
        self.assertEqual((len(self.dialed.urls), self.told[1:]), (1, []))
        client.start()
        client.start()
        self.assertEqual(self.dialed.urls[1:], [f"{URL}?epoch=e&since=3"])

    def test_stop_while_waiting(self) -> None:
        """It may be stopped while it waits for its next attempt, and while it connects."""
        client = self.client()
        self.welcome(0)
        self.lose(None)
        self.successResultOf(client.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        client.start()
        self.successResultOf(client.stop())
        self.end.open(SPEAKS)
        self.assertEqual(self.end.frames[-1].opcode, 8)

    # -- publishing ------------------------------------------------------------------------------------------

    def test_publish(self) -> None:
        """A message is acknowledged once, with its place."""
        client = self.client()
        self.welcome(0)
        text, binary = client.publish("grün"), client.publish(b"\xff")
        self.assertEqual(
            self.sent(),
            [
                {"type": "publish", "id": "message-0000000000", "text": "grün"},
                {"type": "publish", "id": "message-0000000001", "binary": "/w=="},
            ],
        )
        self.assertNoResult(text)
        self.assertEqual(client.pending, 2)
        for _ in range(2):
            self.say("ack", id="message-0000000000", epoch="e", offset=4)
        self.assertEqual(self.successResultOf(text), Position("e", 4))
        self.assertNoResult(binary)
        self.say("ack", id="message-0000000001", epoch="e", offset=5)
        self.successResultOf(binary)

    def test_sent_again(self) -> None:
        """What is not acknowledged is sent again on the next connection, in order and with the same id."""
        client = self.client()
        early = client.publish("a")
        self.welcome(0)
        late = client.publish("b")
        self.lose(None)
        waiting = client.publish("c")
        self.clock.advance(1)
        self.end.open(SPEAKS)
        self.assertEqual(self.sent(), [])
        self.welcome(0, recovered=True, opens=False)
        self.assertEqual([one["text"] for one in self.sent()], ["a", "b", "c"])
        self.assertEqual([one["id"][-1] for one in self.sent()], ["0", "1", "2"])
        for number, one in enumerate((early, late, waiting)):
            self.say("ack", id=f"message-000000000{number}", epoch="e", offset=number + 1)
            self.successResultOf(one)

    def test_unsure(self) -> None:
        """On a channel without history a message that was sent is not sent again; one that was not, is."""
        client = self.client()
        self.welcome(None)
        sent = client.publish("a")
        self.lose(None)
        waiting = client.publish("b")
        self.clock.advance(1)
        self.welcome(None)
        self.failureResultOf(sent, Unsure)
        self.assertEqual([one["text"] for one in self.sent()], ["b"])
        self.say("ack", id="message-0000000001", epoch=None, offset=None)
        self.assertIsNone(self.successResultOf(waiting))

    def test_refused(self) -> None:
        """An error about the message is its end, and tells why."""
        client = self.client()
        self.welcome(0)
        published = client.publish("a")
        self.say("error", id=None, code="unknown-type", line="?")
        self.assertNoResult(published)
        self.say("error", id="message-0000000000", code="too-large", line="larger\x1b")
        error = self.failureResultOf(published, NotPublished).value
        self.assertEqual((error.code, str(error)), ("too-large", "larger\\x1b"))

    def test_engine_away(self) -> None:
        """What the engine could not take is sent again after a while, longer each time, until it is
        acknowledged."""
        client = self.client()
        self.welcome(0)
        published = client.publish("a")
        for number, seconds in enumerate((1.0, 2.0, 4.0), 2):
            self.say("error", id="message-0000000000", code="engine-away", line="away")
            self.say("error", id="message-0000000000", code="engine-failed", line="away")
            self.clock.advance(seconds - 0.1)
            self.assertEqual(len(self.sent()), number - 1)
            self.clock.advance(0.1)
            self.assertEqual(len(self.sent()), number)
        self.say("error", id="message-0000000000", code="engine-away", line="away")
        self.lose()
        self.welcome(0, recovered=True)
        self.assertEqual(len(self.sent()), 1)
        self.clock.advance(100)
        self.assertEqual(len(self.sent()), 1)
        self.say("ack", id="message-0000000000", epoch="e", offset=1)
        self.successResultOf(published)

    def test_engine_away_without_history(self) -> None:
        """Without history that would be a guess."""
        client = self.client()
        self.welcome(None)
        published = client.publish("a")
        self.say("error", id="message-0000000000", code="engine-away", line="away")
        self.failureResultOf(published, Unsure)

    def test_cancelled(self) -> None:
        """A message that is given up is not sent again, and its acknowledgement is nobody's."""
        client = self.client()
        self.welcome(0)
        published = client.publish("a")
        published.cancel()
        self.failureResultOf(published, CancelledError)
        self.say("ack", id="message-0000000000", epoch="e", offset=1)
        self.lose()
        self.welcome(0, recovered=True)
        self.assertEqual(self.sent(), [])

    def test_stopped_with_messages(self) -> None:
        """Stopping fails what is not acknowledged; what was sent may have been published."""
        client = self.client()
        self.welcome(0)
        sent = client.publish("a")
        self.lose(None)
        waiting = client.publish("b")
        client.stop()
        self.failureResultOf(sent, Unsure)
        error = self.failureResultOf(waiting, NotPublished)
        self.assertNotIsInstance(error.value, Unsure)

    def test_too_many(self) -> None:
        """What waits is bounded."""
        client = self.client()
        waiting = [client.publish("a") for _ in range(MOST_PENDING)]
        self.failureResultOf(client.publish("b"), NotPublished)
        self.assertEqual(client.pending, MOST_PENDING)
        for one in waiting:
            one.addErrback(lambda _: None)

    def test_global_reactor(self) -> None:
        """Without a reactor it is the program's."""
        from twisted.internet import reactor

        self.assertIs(EnvelopeClient(URL)._reactor, reactor)

    def test_bad_messages(self) -> None:
        """What cannot be sent raises, and waits for nothing."""
        client = self.client()
        self.assertRaises(TypeError, client.publish, 1)
        self.assertRaises(ValueError, client.publish, "\ud800")
        self.assertEqual(client.pending, 0)


class Joined:
    """A client's connection and the server's, without sockets between them."""

    def __init__(self, clock: Clock, end: ServerEnd, factory: Any) -> None:
        self.end = end
        self.peer = Peer(factory, clock)
        self.is_cut = False
        self._moved = [0, 0]

    def pump(self) -> None:
        """Move what either wrote to the other."""
        for _ in range(50):
            if not (self._move(0) | self._move(1)):
                return

    def _move(self, side: int) -> bool:
        source, sink = ((self.end.transport, self.peer), (self.peer.transport, self.end))[side]
        data = source.value()[self._moved[side] :]
        if not data or self.is_cut or self.end.transport.has_ended or self.peer.transport.has_ended:
            return False
        if sink.transport.producerState != "producing":
            return False
        self._moved[side] += len(data)
        sink.protocol.dataReceived(data)
        return True

    def cut(self) -> None:
        """Break both ends."""
        self.is_cut = True
        for one in (self.end.transport, self.peer.transport):
            one.end(ConnectionDone())


class ResumeMachine(RuleBasedStateMachine):
    """A client that keeps its place, a server that keeps some messages, others who publish, a link that
    breaks, in any order.

    The model is what the server stored. What the client handed out is, in order, a part of it; whatever it
    left out between two messages was told as a gap before the second; and each of its own messages that was
    acknowledged was stored once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.keeps = 4
        self.service = self.make_service()
        self.factory = BroadcastServerFactory(
            broadcast=self.service,
            reactor=self.clock,
            settings=Settings(ping_interval=0, handshake_timeout=0),
        )
        self.stored: list[tuple[Position, str]] = []
        self.got: list[Any] = []
        self.acknowledged: dict[str, Position] = {}
        self.published = 0
        self.dialed = Dialed(self.clock)
        self.joined: list[Joined] = []
        self.client = EnvelopeClient(
            URL, reactor=self.clock, backoff=Backoff(1.0, 1.0), connect=self.dialed.connect, with_own=True
        )
        for signal in (self.client.message_received, self.client.gap_found, self.client.opened_channel):
            signal.connect(self.got.append)
        watched = self.engine.publish

        def publish(channel: str, publication: Any) -> Any:
            before = self.newest()
            result = watched(channel, publication)
            after = self.newest()
            if channel == "c" and after != before:
                assert after is not None
                self.stored.append((after, publication.payload.decode()))
            return result

        self.engine.publish = publish  # type: ignore[method-assign]
        self.client.start()
        self.settle()

    def make_service(self) -> BroadcastService:
        """The channels, on an engine whose storage is ``engine``."""
        self.engine = MemoryEngine(lambda channel: Retention(self.keeps), self.clock, most_channels=2)
        return BroadcastService(engine=self.engine)

    def settle(self) -> None:
        """Let the connection carry what there is."""
        while len(self.joined) < len(self.dialed.ends):
            self.joined.append(Joined(self.clock, self.dialed.ends[len(self.joined)], self.factory))
        for _ in range(3):
            self.joined[-1].pump()
            self.clock.advance(0)

    def newest(self) -> Position | None:
        """The place of the newest message, as the engine has it."""
        found: list[Position | None] = []
        self.engine.subscribe("c").addCallback(found.append)
        return found[0]

    @rule(number=st.integers(1, 6))
    def others_publish(self, number: int) -> None:
        """Somebody else says something."""
        for _ in range(number):
            self.published += 1
            self.service.publish("c", f"other {self.published}")

    @rule()
    def client_publishes(self) -> None:
        """The client says something, whether it is connected or not."""
        self.published += 1
        text = f"own {self.published}"

        def acknowledged(position: Position | None) -> None:
            assert text not in self.acknowledged
            assert position is not None
            self.acknowledged[text] = position

        self.client.publish(text).addCallback(acknowledged).addErrback(lambda _: None)

    @rule()
    def carry(self) -> None:
        """What was written arrives."""
        self.settle()

    @rule()
    def cut(self) -> None:
        """The link breaks; whatever is on its way is lost, in both directions."""
        self.joined[-1].cut()

    @rule()
    def time_passes(self) -> None:
        """Long enough to connect again."""
        self.clock.advance(1)
        self.settle()

    @rule()
    def forget(self) -> None:
        """The channel is forgotten, with its epoch, for others that came."""
        for name in ("d", "e"):
            self.service.publish(name, "x")

    @precondition(lambda self: self.client.is_open and not self.joined[-1].is_cut)
    @rule()
    def catch_up(self) -> None:
        """A client that is connected has, when nothing is on its way, the newest message, or what came before
        it began."""
        self.settle()
        if self.client.is_open and self.stored and self.newest() == self.stored[-1][0]:
            assert self.client.position == self.stored[-1][0]

    @invariant()
    def nothing_twice_nothing_silent(self) -> None:
        """See the class."""
        places = {position: number for number, (position, _) in enumerate(self.stored)}
        assert len(places) == len(self.stored)
        at: int | None = None
        may_skip = True
        for one in self.got:
            if isinstance(one, Gap):
                may_skip = True
            elif isinstance(one, ReceivedMessage):
                assert one.position is not None
                number = places[one.position]
                assert self.stored[number][1] == one.content
                assert at is None or number > at, "twice, or out of order"
                assert at is None or number == at + 1 or may_skip, "a silent gap"
                at, may_skip = number, False

    @invariant()
    def acknowledged_is_stored_once(self) -> None:
        """See the class."""
        texts = [text for _, text in self.stored]
        for text, position in self.acknowledged.items():
            assert (position, text) in self.stored
        for text in {text for text in texts if text.startswith("own")}:
            # Once, unless the server forgot it before it was sent again.
            assert texts.count(text) == 1 or self.forgotten(text)

    def forgotten(self, text: str) -> bool:
        """Whether a message was out of the history when it was stored again."""
        at = [number for number, (_, other) in enumerate(self.stored) if other == text]
        return all(
            second - first > self.keeps or self.stored[first][0].epoch != self.stored[second][0].epoch
            for first, second in pairwise(at)
        )

    def teardown(self) -> None:
        self.client.stop()
        for one in self.joined:
            one.cut()
        self.clock.advance(60)
        self.service.relay.stop()
        assert not self.clock.getDelayedCalls()


class FarResumeMachine(ResumeMachine):
    """The same on an engine that takes its time: answers and arrivals come in any interleaving."""

    def make_service(self) -> BroadcastService:
        self.broker = Broker(self.keeps, self.clock)
        service = BroadcastService(engine=self.broker.node(), clock=self.clock)
        service.relay.start()
        self.engine = self.broker.storage
        return service

    def settle(self) -> None:
        for _ in range(3):
            super().settle()
            self.broker.pump()
        super().settle()

    @rule(steps=st.integers(1, 5))
    def engine_works(self, steps: int) -> None:
        """A little of what is on its way to and from the engine arrives."""
        self.broker.pump(steps)
        for joined in self.joined[-1:]:
            joined.pump()

    def teardown(self) -> None:
        super().teardown()
        self.broker.pump()


class ResumeTests(SynchronousTestCase):
    """A client and a server together."""

    def test_any_order(self) -> None:
        """Whatever happens in whatever order, the client has each retained message once, and knows when it
        has not."""
        run_state_machine_as_test(
            ResumeMachine, settings=settings(max_examples=100, stateful_step_count=30, deadline=None)
        )

    def test_any_interleaving(self) -> None:
        """So it is on a shared engine, however its answers and arrivals come."""
        run_state_machine_as_test(
            FarResumeMachine, settings=settings(max_examples=100, stateful_step_count=30, deadline=None)
        )
