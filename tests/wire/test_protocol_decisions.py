"""What the program is asked before a connection opens, and what happens while it decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from tests.wire.harness import (
    TEXT,
    Frame,
    Peer,
    Program,
    WireTestCase,
    closing,
    frame,
    handshake,
    parse_frames,
)
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.http import REASON_PHRASES
from wsecho.policy.lifecycle import Phase
from wsecho.policy.origins import OriginRequest
from wsecho.services.broadcast import BroadcastService
from wsecho.services.echo import EchoService
from wsecho.services.routes import Routes
from wsecho.wire.admission import HeadRefused
from wsecho.wire.protocol import ServerProtocol

SWITCHING = "HTTP/1.1 101 Switching Protocols"


#: What a program's onConnect does.
Decide = Callable[[ServerProtocol, ConnectionRequest], Any]


def deciding(decide: Decide, *, wait: bool = False) -> type[Program]:
    """A program whose onConnect does this, as a coroutine with `wait`."""

    class Deciding(Program):
        def onConnect(self, request: ConnectionRequest) -> Any:
            return decide(self, request)

    class Waiting(Program):
        async def onConnect(self, request: ConnectionRequest) -> Any:
            answer = decide(self, request)
            return await answer if isinstance(answer, Awaitable) else answer

    return Waiting if wait else Deciding


class ServiceTests(WireTestCase):
    """What a service has to say before the connection opens."""

    def served(self, program: Any = None, **attributes: Any) -> Any:
        """A factory of which each path has a service with these attributes."""
        service = EchoService()
        vars(service).update(attributes)
        return self.factory(program, route=lambda path: service, subprotocols=["mine"])

    @staticmethod
    def note(asked: list[Any], answer: Deferred[None], connection: Any) -> Deferred[None]:
        """Be asked, and answer."""
        asked.append(connection)
        return answer

    def test_subprotocols(self) -> None:
        """A service may speak a subprotocol that the factory does not; the client's order decides."""
        factory = self.served(subprotocols=("its",))
        for offered, chosen in (("other, its, mine", "its"), ("mine, its", "mine"), ("other", None)):
            for factory.protocol in (ServerProtocol, Program):
                peer = self.peer(factory)
                peer.send(handshake("/", f"Sec-WebSocket-Protocol: {offered}"))
                self.assertEqual(peer.answer.headers.get("sec-websocket-protocol"), chosen)

    def test_ready(self) -> None:
        """A connection opens when its service is ready, and what came meanwhile is not lost; a program that
        decides is asked first."""
        for decide in (lambda *_: None, lambda *_: succeed(None)):
            ready: Deferred[None] = Deferred()
            asked: list[Any] = []
            factory = self.served(deciding(decide), ready=partial(self.note, asked, ready))
            peer = self.peer(factory)
            peer.send(handshake("/"), frame(TEXT, b"x"))
            self.assertEqual((asked, peer.transport.value()), ([peer.protocol], b""))
            ready.callback(None)
            self.assertEqual(peer.answer.status, SWITCHING)
            self.assertEqual(list(parse_frames(peer.answer.rest)), [Frame(TEXT, b"x")])

    def test_never_ready(self) -> None:
        """A service that says no is answered as it says; one that breaks is our fault; one that takes too
        long ends with the handshake's time, and is told."""
        for error, status, logged in (
            (HeadRefused(503, "not now"), 503, 0),
            (ConnectionDeny(403), 403, 0),
            (ZeroDivisionError(), 500, 1),
        ):
            peer = self.peer(self.served(ready=lambda connection, error=error: fail(error)))
            peer.send(handshake("/"))
            self.assertIn(str(status), peer.answer.status)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), logged)
        cancelled: list[Any] = []
        peer = self.peer(self.served(ready=lambda connection: Deferred(cancelled.append)))
        peer.send(handshake("/"))
        self.clock.advance(10)
        self.assertEqual((peer.answer.status[9:12], len(cancelled)), ("503", 1))


class DecisionTests(WireTestCase):
    """What a program's onConnect may answer."""

    def answers(self, decide: Decide, *headers: str, **options: Any) -> Peer:
        """A peer whose handshake was decided so; sync, by Deferred and by coroutine must not differ."""

        def later(connection: ServerProtocol, request: ConnectionRequest) -> Any:
            return succeed(None).addCallback(lambda _: decide(connection, request))

        peers = []
        for program in (
            deciding(decide),
            deciding(later),
            deciding(decide, wait=True),
            deciding(later, wait=True),
        ):
            peer = self.peer(self.factory(program, **options))
            peer.send(handshake("/", *headers))
            peers.append(peer)
        for peer in peers[1:]:
            self.assertEqual(peer.transport.value(), peers[0].transport.value())
            self.assertEqual(peer.protocol.end, peers[0].protocol.end)
            self.assertEqual(peer.protocol.told, peers[0].protocol.told)
        return peers[0]

    def test_subprotocol(self) -> None:
        """The subprotocol that it chooses is answered; None is no subprotocol."""
        for chosen in ("soap", None):
            peer = self.answers(lambda c, r, chosen=chosen: chosen, "Sec-WebSocket-Protocol: chat, soap")  # type: ignore[misc]
            self.assertEqual(peer.answer.headers.get("sec-websocket-protocol"), chosen)
            self.assertEqual(peer.protocol.websocket_protocol_in_use, chosen)
            self.assertEqual(peer.protocol.told, [("open",)])

    def test_headers(self) -> None:
        """It may add header fields to the answer."""
        peer = self.answers(lambda c, r: (None, {"Set-Cookie": ["a=1"], "X-Y": "z"}))
        self.assertEqual(peer.answer.status, SWITCHING)
        self.assertEqual((peer.answer.headers["set-cookie"], peer.answer.headers["x-y"]), ("a=1", "z"))

    def test_deny(self) -> None:
        """ConnectionDeny is answered with its status; its reason, which may quote the peer, is not sent."""
        for status in sorted(REASON_PHRASES):
            if status < 400:
                continue

            def deny(connection: ServerProtocol, request: ConnectionRequest, status: int = status) -> None:
                raise ConnectionDeny(status, "marker")

            peer = self.answers(deny)
            self.assertEqual(peer.answer.status, f"HTTP/1.1 {status} {REASON_PHRASES[status]}")
            self.assertNotIn(b"marker", peer.transport.value())
            self.assertEqual(peer.protocol.end, End(EndReason.DENIED, None, status))
            self.assertEqual(peer.protocol.told, [])
            self.assertEqual(peer.transport.done, ["write", "loseWriteConnection"])

    def test_deny_with_a_status_that_has_no_phrase(self) -> None:
        """A status that cannot be answered refuses all the same, by 500, and the log says why."""
        for status in (299, 418, 999, 0):

            def deny(connection: ServerProtocol, request: ConnectionRequest, status: int = status) -> None:
                raise ConnectionDeny(status)

            peer = self.answers(deny)
            self.assertEqual(peer.answer.status, "HTTP/1.1 500 Internal Server Error")
            self.assertEqual(peer.transport.done, ["write", "loseWriteConnection"])
            for error in self.flushLoggedErrors(ValueError):
                self.assertIn(str(status), error.getErrorMessage())

    def test_raises(self) -> None:
        """Any other exception is logged and answered by 500."""
        peer = self.answers(lambda c, r: 1 / 0)
        self.assertEqual(peer.answer.status, "HTTP/1.1 500 Internal Server Error")
        self.assertEqual(peer.protocol.end, End(EndReason.INTERNAL_ERROR, None, 500))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)
        self.assertIn(f"{peer.protocol.id} decision failed", self.log)

    def test_wrong_answers(self) -> None:
        """A subprotocol that was not offered, or what is no answer at all, is our fault: 500."""
        answers: tuple[Any, ...] = ("xmpp", "", 7, b"chat", [], (), ("xmpp", {}), (None, None))
        for answer in answers:
            peer = self.answers(lambda c, r, answer=answer: answer, "Sec-WebSocket-Protocol: chat")  # type: ignore[misc]
            self.assertEqual(peer.answer.status, "HTTP/1.1 500 Internal Server Error", answer)
            self.assertEqual(peer.protocol.told, [])
            self.assertEqual(len(self.flushLoggedErrors()), 4)

    def test_cancelled_by_the_program(self) -> None:
        """A decision that the program itself cancels is an exception like others."""

        def cancelled(connection: ServerProtocol, request: ConnectionRequest) -> Any:
            return fail(CancelledError())

        peer = self.peer(self.factory(deciding(cancelled)))
        peer.send(handshake())
        self.assertEqual(peer.answer.status, "HTTP/1.1 500 Internal Server Error")
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)

    def test_failHandshake(self) -> None:
        """Autobahn's failHandshake answers its status, complete, and with none of its text."""

        def refuse(connection: ServerProtocol, request: ConnectionRequest) -> None:
            connection.failHandshake("marker", 403, [("X-Why", "because")])

        peer = self.answers(refuse)
        self.assertEqual(peer.answer.status, "HTTP/1.1 403 Forbidden")
        self.assertEqual(peer.answer.headers["x-why"], "because")
        self.assertNotIn(b"marker", peer.transport.value())
        peer.protocol.failHandshake("too late")
        self.assertEqual(peer.transport.done, ["write", "loseWriteConnection"])

    def test_after_the_policy(self) -> None:
        """A program's onConnect is asked when the origin policy has let the peer in, and cannot forget it;
        what it calls upwards gives the subprotocol."""
        for allowed in (True, False):
            for verdict in (allowed, succeed(allowed)):
                asked: list[str] = []

                class Asking(Program):
                    def onConnect(self, request: ConnectionRequest) -> Any:
                        asked.append(super().onConnect(request))  # noqa: B023

                def policy(request: OriginRequest, verdict: Any = verdict) -> Any:
                    return verdict

                peer = self.peer(self.factory(Asking, origins=policy, subprotocols=["chat"]))
                peer.send(handshake("/", "Sec-WebSocket-Protocol: soap, chat"))
                self.assertEqual(asked, ["chat"] if allowed else [])
                end = None if allowed else End(EndReason.ORIGIN_DENIED, None, 403)
                self.assertEqual(peer.protocol.end, end)


class PolicyTests(WireTestCase):
    """What an origin policy may answer."""

    def ends(self, verdict: Any) -> End | None:
        """The end of a handshake on which the policy answers so, now and later."""
        ends = []
        for answer in (verdict, succeed(verdict)):
            peer = self.peer(self.factory(origins=lambda request, answer=answer: answer))
            peer.send(handshake("/", "Origin: https://other.example"))
            ends.append(peer.protocol.end)
        self.assertEqual(ends[0], ends[1])
        end: End | None = ends[0]
        return end

    def test_bool(self) -> None:
        """True admits and False refuses."""
        self.assertIsNone(self.ends(True))
        self.assertEqual(self.ends(False), End(EndReason.ORIGIN_DENIED, None, 403))

    def test_anything_else(self) -> None:
        """A policy that forgets its return statement, or returns a truthy mistake, opens no door."""
        for verdict in (None, 1, "yes", object()):
            self.assertEqual(self.ends(verdict), End(EndReason.INTERNAL_ERROR, None, 500), verdict)
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)

    def test_fails(self) -> None:
        """A policy that fails opens no door."""
        peer = self.peer(self.factory(origins=lambda request: fail(ZeroDivisionError())))
        peer.send(handshake())
        self.assertEqual(peer.protocol.end, End(EndReason.INTERNAL_ERROR, None, 500))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class PendingTests(WireTestCase):
    """While the decision is awaited."""

    def pending(self, **options: Any) -> Peer:
        """A peer whose handshake waits for `self.verdict`."""
        self.cancelled = 0

        def cancel(deferred: Any) -> None:
            self.cancelled += 1

        self.verdict: Deferred[bool] = Deferred(cancel)
        factory = self.factory(Program, origins=lambda request: self.verdict, **options)
        peer = self.peer(factory)
        peer.send(handshake())
        self.assertEqual((peer.transport.value(), peer.protocol.phase), (b"", Phase.DECIDING))
        return peer

    def test_what_arrives_is_kept(self) -> None:
        """What the peer sends meanwhile is read when the connection is open, in its order."""
        peer = self.pending()
        peer.send(frame(TEXT, b"one"), frame(TEXT, b"two")[:3])
        self.assertEqual(peer.protocol.told, [])
        self.verdict.callback(True)
        peer.send(frame(TEXT, b"two")[3:])
        self.assertEqual(list(parse_frames(peer.answer.rest)), [Frame(TEXT, b"one"), Frame(TEXT, b"two")])

    def test_second_head(self) -> None:
        """A second handshake on the connection is not one: there is one 101, and then a violation."""
        peer = self.pending()
        peer.send(handshake("/other"))
        self.verdict.callback(True)
        self.assertEqual(peer.transport.value().count(b"HTTP/1.1"), 1)
        (one,) = parse_frames(peer.answer.rest)
        self.assertEqual(one.payload[:2], (1002).to_bytes(2, "big"))
        self.assertEqual(peer.protocol.told, [("open",)])

    def test_buffer_is_bounded(self) -> None:
        """What is kept is bounded: a full buffer pauses reading, and less than a full one does not."""
        peer = self.pending(max_head_size=1000)
        peer.send(bytes(999))
        self.assertEqual(peer.transport.producerState, "producing")
        peer.send(bytes(1))
        self.assertEqual(peer.transport.producerState, "paused")

    def test_decision_after_a_pause(self) -> None:
        """After a pause the decision waits until reading has resumed, so that a peer that has left is seen;
        then all that arrived is read."""
        peer = self.pending(max_head_size=400)
        data = frame(TEXT, b"x" * 300)
        peer.send(data, data)
        self.assertEqual(peer.transport.producerState, "paused")
        self.verdict.callback(True)
        self.assertEqual((peer.transport.producerState, peer.transport.value()), ("producing", b""))
        peer.send(data)
        self.assertEqual(peer.transport.producerState, "paused")
        self.clock.advance(0)
        self.assertEqual(peer.transport.producerState, "producing")
        self.assertEqual(len(list(parse_frames(peer.answer.rest))), 3)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)  # the next ping

    def test_peer_that_left_during_the_pause(self) -> None:
        """A peer that left while reading was paused is not told open: its leaving is seen first."""
        for end in (Peer.finish, Peer.reset):
            peer = self.pending(max_head_size=400)
            peer.send(bytes(400))
            self.verdict.callback(True)
            end(peer)
            self.clock.advance(0)
            self.assertEqual(peer.transport.value(), b"")
            self.assertEqual([what for what, *_ in peer.protocol.told], ["close"])

    def test_denied_after_a_pause(self) -> None:
        """A connection that is refused after a pause reads again, so that the peer's end is seen."""
        peer = self.pending(max_head_size=400)
        peer.send(bytes(400))
        self.verdict.callback(False)
        self.assertEqual(peer.answer.status, "HTTP/1.1 403 Forbidden")
        self.assertEqual(peer.transport.producerState, "producing")

    def test_wrong_answer_after_a_pause(self) -> None:
        """A decision that turns out to be none after a pause is answered by 500."""
        answer: Deferred[Any] = Deferred()
        peer = self.peer(self.factory(deciding(lambda c, r: answer), max_head_size=400))
        peer.send(handshake(), bytes(400))
        answer.callback("xmpp")
        self.clock.advance(0)
        self.assertEqual(peer.answer.status, "HTTP/1.1 500 Internal Server Error")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_peer_that_left(self) -> None:
        """A peer that leaves is never told open: the decision is cancelled, and one that comes nevertheless
        has no effect."""
        for end in (Peer.finish, Peer.reset, Peer.leave):
            peer = self.pending()
            end(peer)
            self.assertEqual(self.cancelled, 1)
            self.assertTrue(peer.transport.has_ended)
            self.assertEqual([what for what, *_ in peer.protocol.told], ["close"])
            self.assertEqual(peer.protocol.end, End(EndReason.HANDSHAKE_ABANDONED))

    def test_peer_that_left_and_a_program_that_goes_on(self) -> None:
        """A program that goes on with its decision when it is cancelled opens nothing by it, whatever it
        decides; what it raises is logged."""
        for outcome in (lambda: None, lambda: 1 / 0):
            waiting: Deferred[None] = Deferred()

            async def stubborn(outcome: Callable[[], Any] = outcome, waiting: Any = waiting) -> Any:
                try:
                    await waiting
                except CancelledError:
                    return outcome()

            peer = self.peer(self.factory(deciding(lambda c, r, stubborn=stubborn: stubborn())))  # type: ignore[misc]
            peer.send(handshake())
            peer.leave()
            self.assertEqual([what for what, *_ in peer.protocol.told], ["close"])
            self.assertEqual(peer.transport.value(), b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_not_on_a_channel(self) -> None:
        """A peer that left while it was decided on is on no channel."""
        broadcast = BroadcastService()
        route = Routes("echo", EchoService(), broadcast)
        verdict: Deferred[bool] = Deferred()
        factory = self.factory(route=route, origins=lambda request: verdict)
        peer = self.peer(factory)
        peer.send(handshake("/broadcast/news"))
        peer.leave()
        self.assertEqual(list(broadcast.hub), [])

    def test_timeout(self) -> None:
        """The time for the handshake goes on: 503 when it is over, and the decision is cancelled."""
        peer = self.pending(handshake_timeout=10)
        self.clock.advance(10)
        self.assertEqual(peer.answer.status, "HTTP/1.1 503 Service Unavailable")
        self.assertEqual(self.cancelled, 1)
        self.assertEqual(peer.protocol.end, End(EndReason.UNAVAILABLE, None, 503))
        self.assertTrue(peer.protocol.wasOpenHandshakeTimeout)

    def test_nothing_is_kept(self) -> None:
        """What had arrived is forgotten when the connection is refused, and after it opened."""
        peer = self.pending(handshake_timeout=10)
        peer.send(bytes(1000))
        self.clock.advance(10)
        self.assertEqual(len(peer.protocol._pending), 0)
        peer = self.pending()
        peer.send(frame(TEXT, bytes(1000)))
        self.verdict.callback(True)
        self.assertEqual(len(peer.protocol._pending), 0)

    def test_exception_in_the_early_messages(self) -> None:
        """An exception that the program raises for a message that was kept ends the connection with 1011;
        it is not the decision's."""

        class Raising(Program):
            def onMessage(self, payload: bytes, isBinary: bool) -> None:
                raise ZeroDivisionError

        verdict: Deferred[bool] = Deferred()
        peer = self.peer(self.factory(Raising, origins=lambda request: verdict))
        peer.send(handshake() + frame(TEXT, b"x"))
        verdict.callback(True)
        self.assertEqual(list(parse_frames(peer.answer.rest)), [closing(1011, b"internal error")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertNotIn(f"{peer.protocol.id} decision failed", self.log)
