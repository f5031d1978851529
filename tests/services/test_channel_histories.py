"""Peers that join channels, send, stall, read on and die, under each policy for slow consumers, in any order.

The model is a list for each member: what others have published on its channel since it joined. Whoever reads
has got exactly that. Whoever does not has got a beginning of it and is closed with 1013, or has all but
what was counted as dropped, as its channel's policy says; and never is more kept for it than its send queue
and one message.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.harness import BINARY, CLOSE, PING, PONG, Frame, Peer, Transport, close, frame
from wsecho.policy.lifecycle import Phase
from wsecho.policy.settings import Settings
from wsecho.policy.slow_consumers import SlowConsumer
from wsecho.services.broadcast import BroadcastServerFactory, BroadcastService

SEND_QUEUE = 4096
CLOSE_TIMEOUT = 5.0
#: None beyond the queue, so that a message may be as large as all that may wait.
SIZES = (8, 9, 100, 1000, 3000, SEND_QUEUE)
#: A frame's header, and one ping and one pong, which are not counted among messages.
FRAME, CONTROL = 10, 2 * 127
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


def complete_frames(data: bytes) -> Iterator[Frame]:
    """The server's frames; an incomplete one at the end is on its way still."""
    at = 0
    while len(data) - at >= 2:
        size, begin = data[at + 1], at + 2
        if size > 125:
            begin += 2 if size == 126 else 8
            size = int.from_bytes(data[at + 2 : begin], "big")
        if len(data) < begin + size:
            return
        yield Frame(data[at] & 15, data[begin : begin + size], bool(data[at] & 0x80), data[at] >> 4 & 7)
        at = begin + size


class Member:
    """A peer on a channel, and what it should have got."""

    def __init__(self, factory: Any, clock: Clock, policy: SlowConsumer, is_deflating: bool) -> None:
        self.policy = policy
        self.transport = Transport(clock, IPv4Address("TCP", "127.0.0.1", 40000))
        headers = [DEFLATE] if is_deflating else []
        self.peer = Peer(factory, clock, self.transport).open(f"/broadcast/{policy}", *headers)
        self.expected: list[bytes] = []
        self.has_stalled = False

    @property
    def is_open(self) -> bool:
        """Whether it is on its channel."""
        return self.peer.protocol.phase is Phase.OPEN

    @property
    def has_read_all(self) -> bool:
        """Whether nothing is on its way to it."""
        return not self.transport.reads_nothing and not self.peer.protocol.link.outbox.queued_bytes

    def frames(self) -> list[Frame]:
        """What it has got."""
        written = self.transport.value()
        return list(complete_frames(written[: len(written) - len(self.transport.dataBuffer)]))

    def received(self) -> list[bytes]:
        """The messages that it has got."""
        inflate = zlib.decompressobj(-15)
        messages = []
        for one in self.frames():
            if one.opcode == BINARY:
                is_packed = one.rsv == 4
                messages.append(
                    inflate.decompress(one.payload + b"\0\0\xff\xff") if is_packed else one.payload
                )
        return messages


class Channels(RuleBasedStateMachine):
    """Histories, as hypothesis finds them."""

    members = Bundle("members")

    @initialize(target=members, deflating=st.lists(st.booleans(), min_size=9, max_size=9))
    def begin(self, deflating: list[bool]) -> Any:
        """A server with a channel for each policy, and on each two members that read and one that does
        not."""
        self.clock = Clock()
        broadcast = BroadcastService(slow_consumer_on={policy.value: policy for policy in SlowConsumer})
        self.factory = BroadcastServerFactory(
            reactor=self.clock,
            broadcast=broadcast,
            settings=Settings(
                send_queue=SEND_QUEUE, compression="deflate", close_timeout=CLOSE_TIMEOUT, ping_interval=0
            ),
        )
        self.all: list[Member] = []
        self.published = 0
        for place, is_deflating in enumerate(deflating):
            self.join(list(SlowConsumer)[place % 3], is_deflating)
        for member in self.all[:3]:
            self.stall(member)
        return multiple(*self.all)

    @rule(target=members, policy=st.sampled_from(list(SlowConsumer)), is_deflating=st.booleans())
    def join(self, policy: SlowConsumer, is_deflating: bool) -> Member:
        """Somebody opens a connection."""
        member = Member(self.factory, self.clock, policy, is_deflating)
        self.all.append(member)
        return member

    @rule(member=members, size=st.sampled_from(SIZES), number=st.integers(1, 8), is_noise=st.booleans())
    def send(self, member: Member, size: int, number: int, is_noise: bool) -> None:
        """A member publishes, some messages at once."""
        if not member.is_open:
            return
        data = b""
        for _ in range(number):
            self.published += 1
            payload = b"%08d" % self.published + bytes(size - 8)
            if is_noise:
                # What does not become smaller by compression.
                noise = (self.published * 0x9E3779B97F4A7C15 % 2**61) ** (size // 7 + 1)
                payload = payload[:8] + noise.to_bytes(size * 9 + 16, "big")[-size + 8 :][: size - 8]
            data += frame(BINARY, payload)
            for other in self.all:
                if other is not member and other.policy is member.policy and other.is_open:
                    other.expected.append(payload)
        member.peer.send(data)
        member.peer.work_off()

    @rule(member=members)
    def ping(self, member: Member) -> None:
        """A member pings; nobody else notices."""
        if member.is_open:
            member.peer.send(frame(PING, b"are you there"))
            member.peer.work_off()

    @rule(member=members)
    def stall(self, member: Member) -> None:
        """A member stops reading."""
        if not member.transport.has_ended:
            member.transport.reads_nothing = True
            member.has_stalled = True

    @rule(member=members)
    def read_some(self, member: Member) -> None:
        """A member that does not read takes what has arrived, and no more."""
        if not member.transport.has_ended:
            member.transport.read_once()

    @rule(member=members)
    def read_on(self, member: Member) -> None:
        """A member reads again."""
        if not member.transport.has_ended:
            member.transport.read()

    @rule(member=consumes(members), how=st.sampled_from(("close", "reset", "leave")))
    def die(self, member: Member, how: str) -> None:
        """A member leaves, in the middle of whatever it is."""
        if member.transport.has_ended:
            return
        if how == "close":
            if member.is_open:
                member.peer.send(close(1000))
                member.peer.work_off()
        elif how == "reset":
            member.peer.reset()
        else:
            member.peer.leave()
        self.all.remove(member)

    @rule()
    def close_timeout(self) -> None:
        """The close timeout is over: whoever was closed is gone, whether it read or not."""
        self.clock.advance(CLOSE_TIMEOUT)
        self.clock.advance(0)
        for member in self.all:
            assert member.is_open or member.transport.has_ended

    @invariant()
    def who_reads_gets_all(self) -> None:
        """Whoever has always read is open and has got every message, in order, once."""
        for member in self.all:
            if not member.has_stalled:
                assert member.is_open
                assert member.received() == member.expected

    @invariant()
    def who_stalls_loses_no_more_than_is_said(self) -> None:
        """Whoever has not always read has got what the policy says."""
        for member in self.all:
            if member.has_stalled:
                self._check_slow(member)

    def _check_slow(self, member: Member) -> None:
        got, dropped = member.received(), member.peer.protocol.link.outbox.dropped
        if member.policy is SlowConsumer.CLOSE:
            assert got == member.expected[: len(got)], "a message is missing in the middle"
            assert not dropped
            if not member.is_open:
                assert member.peer.protocol.end.code == 1013, member.peer.protocol.end
                return
        else:
            assert member.is_open, "a channel that drops does not close"
            left = iter(member.expected)
            assert all(one in left for one in got), "out of order, twice, or never sent"
        if member.has_read_all:
            assert len(member.expected) - len(got) == dropped, "lost without being counted"
        # A message that fills the queue alone cannot make room once its first byte is on its way.
        is_small = all(len(one) < SEND_QUEUE for one in member.expected)
        if member.policy is SlowConsumer.DROP_OLDEST and member.has_read_all and is_small:
            assert got[-1:] == member.expected[-1:], "the latest is missing"
        if member.policy is SlowConsumer.DROP_NEWEST and got:
            assert got[0] == member.expected[0], "the first is missing"

    @invariant()
    def queues_are_bounded(self) -> None:
        """For nobody is more kept than the send queue and one message."""
        for member in self.all:
            queued = member.peer.protocol.link.outbox.queued_bytes
            assert queued < SEND_QUEUE + max(SIZES) + FRAME + CONTROL, queued

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """On the channels are those who are open, and nobody else."""
        hub = self.factory.broadcast.hub
        for policy in SlowConsumer:
            here = sum(member.is_open and member.policy is policy for member in self.all)
            assert hub.members(policy.value) == here

    def teardown(self) -> None:
        """Whoever reads at last gets the rest; then all leave, and nothing is left."""
        if not hasattr(self, "all"):
            return
        for member in self.all:
            if not member.transport.has_ended:
                member.transport.read()
        self.who_stalls_loses_no_more_than_is_said()
        for member in self.all:
            # The Close of whoever was closed arrives behind what it had been sent.
            if not member.is_open and not member.transport.has_ended:
                last = member.frames()[-1]
                assert (last.opcode, last.payload[:2]) == (CLOSE, (1013).to_bytes(2, "big"))
            assert all(one.opcode in (BINARY, CLOSE, PONG) for one in member.frames())
            member.peer.leave()
        self.clock.advance(CLOSE_TIMEOUT)
        self.clock.advance(0)
        assert not self.clock.getDelayedCalls(), "timers that outlive their connection"
        assert len(self.factory.broadcast.hub) == 0


class AnyHistoryTests(SynchronousTestCase):
    """Histories of channels."""

    def test_any_history(self) -> None:
        """Whatever members do: who reads gets all, who does not gets what its policy says, and no queue
        grows."""
        run_state_machine_as_test(
            Channels, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
        )
