"""The intake: what has been read from the peer of an open connection, and the pace at which it is worked off.

Rules of this file: it gives Autobahn bytes, in order, and decides when, never what they mean. It stops
between two frames when reading is held, and when the slice of :mod:`wsecho.wire.turns` is used up; what is
left waits, and nothing is read meanwhile.

Autobahn cuts each frame off the front of its buffer, which copies the rest: with everything that was read in
that buffer, the cost of small frames grows with the square of their number. So it gets small pieces, and a
piece that ends with the frame when a frame is larger; each byte is then copied a bounded number of times,
however the peer cuts them.

Silence inside a frame or a message holds memory, and may last for ever: the stall timer ends it. Silence that
we cause ourselves, by not reading, does not count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from wsecho.policy.end_reasons import EndReason
from wsecho.policy.lifecycle import Phase
from wsecho.wire.frames import rest_of_head
from wsecho.wire.link import Hold, Link
from wsecho.wire.turns import ONE_GO_SECONDS, SLICE_SECONDS, SLICE_UNITS

_Autobahn: Any = object  # the class that stands behind this one in the order of bases

__all__ = ["PIECE", "Intake"]

PIECE = 4096
"""Bytes that Autobahn is given at a time: some hundred small frames."""


class Intake(_Autobahn):  # type: ignore[misc]
    """The input side of :class:`wsecho.wire.connection.Connection`."""

    factory: Any
    link: Link
    phase: Phase
    data: bytes
    trafficStats: Any
    current_frame: Any
    inside_message: bool

    lane: Any = None
    """The short cut for ordinary frames; see :mod:`wsecho.wire.lane`. None where there is none."""

    _backlog = b""
    _backlog_at = 0
    _was_cut_short = False
    """Whether Autobahn's buffer holds more that can be worked on now."""
    end_after_input: Callable[[], object] | None = None
    """What is to be done when the backlog is worked off: the transport has ended already."""
    _units_left = SLICE_UNITS
    _slice_ends = float("inf")
    _worked_until = float("-inf")
    _last_input_at = 0.0
    _stall_call: IDelayedCall | None = None

    def fail_with(self, why: EndReason, code: int, reason: str) -> None:
        """Fail the connection."""
        raise NotImplementedError

    def lane_output_waits(self) -> None:
        """Answers were written: the outbox may be full."""
        raise NotImplementedError

    def take_input(self, data: bytes) -> None:
        """Work on what was read, for one slice at most; deliveries in one go share a slice."""
        if self._was_cut_short or self._backlog_at < len(self._backlog):
            # TLS delivers what it has decrypted even when it was paused.
            self._backlog = self._backlog[self._backlog_at :] + data
            self._backlog_at = 0
            return
        self._backlog, self._backlog_at = data, 0
        now = self.factory.reactor.seconds()
        is_new = now - self._worked_until > ONE_GO_SECONDS
        if is_new:
            self._slice_ends = now + SLICE_SECONDS
        if (not is_new and now >= self._slice_ends) or (
            len(data) >= PIECE and self.factory.turns.is_used_up(now)
        ):
            self.link.hold(Hold.INPUT)
            self.factory.turns.add(self)
            return
        self._units_left = SLICE_UNITS
        if not self._lane_takes_all(now) and self._work_in_slice(now):
            self.factory.turns.add(self)

    def _lane_takes_all(self, now: float) -> bool:
        """The same for most deliveries, of which the lane leaves nothing, by a shorter way.

        :returns: whether nothing is left
        """
        lane = self.lane
        if lane is None or not self.link.is_reading or self._autobahn_is_inside or lane.is_taking:
            return False
        self._offer_to_lane()
        if self.end_after_input is not None or self.has_backlog:
            return False
        self._backlog, self._backlog_at = b"", 0
        self._last_input_at = now
        self._worked_until = self.factory.reactor.seconds()
        self.factory.turns.worked(now, self._worked_until)
        return True

    @property
    def has_backlog(self) -> bool:
        """Whether something was read that is not worked off."""
        return self._was_cut_short or self._backlog_at < len(self._backlog)

    def work(self) -> bool:
        """Work off what waits, for one slice. See :class:`wsecho.wire.turns.Worker`.

        :returns: whether there is more that can be done now
        """
        now = self.factory.reactor.seconds()
        self._slice_ends = now + SLICE_SECONDS
        self._units_left = SLICE_UNITS
        return self._work_in_slice(now)

    def _work_in_slice(self, now: float) -> bool:
        # A lane collects for itself.
        writer = self.link.outbox.writer if self.lane is None else None
        if writer is None:
            self._work_off()
        else:
            writer.collect()
            try:
                self._work_off()
            finally:
                writer.flush()
                self.lane_output_waits()
        self._last_input_at = now
        self._worked_until = self.factory.reactor.seconds()
        self.factory.turns.worked(now, self._worked_until)
        self._watch_for_stall()
        if not self.has_backlog:
            self._backlog, self._backlog_at = b"", 0
            if self.link.is_held_by(Hold.INPUT):
                self.link.release(Hold.INPUT)
            end, self.end_after_input = self.end_after_input, None
            if end is not None:
                end()
            return False
        self.link.hold(Hold.INPUT)
        return self.link.takes_input

    def _work_off(self) -> None:
        if self._was_cut_short:
            self._was_cut_short = False
            self.consumeData()
        while self._backlog_at < len(self._backlog) and not self._was_cut_short:
            if not self._may_go_on():
                return
            if self.lane is not None and not self._autobahn_is_inside and self._offer_to_lane():
                continue
            piece = self._next_piece()
            self._backlog_at += len(piece)
            self._dataReceived(piece)

    def _offer_to_lane(self) -> bool:
        """Let the lane take what it can of the backlog.

        :returns: whether it took something; else the next frame is for Autobahn
        """
        lane, backlog, at = self.lane, self._backlog, self._backlog_at
        if lane.is_taking:
            return False
        before = self.trafficStats.incomingWebSocketMessages
        end = lane.take(backlog, at, max(1, self._units_left))
        taken: int = end - at
        self._units_left -= self.trafficStats.incomingWebSocketMessages - before
        if self._backlog is not backlog:
            # More came while it was being told of a message, or the connection is gone.
            end -= at
        self._backlog_at = min(end, len(self._backlog))
        untaken = lane.untaken()
        if untaken:
            self._backlog = untaken + self._backlog[self._backlog_at :]
            self._backlog_at = 0
            return False
        return taken > 0

    def _next_piece(self) -> bytes:
        data, at = self._backlog, self._backlog_at
        frame = self.current_frame
        size = PIECE
        if frame is not None:
            rest: int = frame.length - self.current_frame_masker.pointer()
            # Behind the last frame of a message the lane may go on.
            size = rest if self.lane is not None and frame.fin and rest else max(size, rest)
        elif self.lane is not None and not self.inside_message:
            size = rest_of_head(self.data, data[at : at + 14])
        return data if not at and size >= len(data) else data[at : at + size]

    def consumeData(self) -> None:
        """Autobahn's loop over frames, with an end."""
        while self.state in (self.STATE_OPEN, self.STATE_CLOSING) and self.processData():
            if not self._may_go_on():
                self._was_cut_short = True
                return

    def _may_go_on(self) -> bool:
        self._units_left -= 1
        return (
            self._units_left >= 0
            and self.link.takes_input
            and self.factory.reactor.seconds() < self._slice_ends
        )

    def input_released(self) -> None:
        """Reading goes on: first with what was read already."""
        self._last_input_at = self.factory.reactor.seconds()
        if self.has_backlog:
            # Before the transport delivers more.
            self.link.hold(Hold.INPUT)
            self.factory.turns.add(self)

    def stands_between_messages(self) -> bool:
        """Whether Autobahn is in the middle of nothing, so that the lane may take the next frame."""
        return self.phase is Phase.OPEN and not self.has_backlog and not self._autobahn_is_inside

    @property
    def _autobahn_is_inside(self) -> bool:
        return self.inside_message or self.current_frame is not None or bool(self.data)

    @property
    def frame_on_its_way(self) -> Any:
        """Something that is equal as long as the frame is the same that has begun, and not ended; None when
        there is none."""
        token = None if self.lane is None else self.lane.frame_on_its_way
        return self.current_frame if token is None else token

    def _forget_backlog(self) -> None:
        self._backlog, self._backlog_at, self._was_cut_short = b"", 0, False
        if self.end_after_input is None:
            self.factory.turns.remove(self)

    # -- silence ---------------------------------------------------------------------------------------------

    @property
    def _is_inside(self) -> bool:
        """Whether a frame or a message has begun, and not ended."""
        return self._autobahn_is_inside or self.frame_on_its_way is not None

    def _watch_for_stall(self) -> None:
        # One call serves until it is due, however much arrives before that.
        if self._stall_call is None and self._is_inside and self.phase is Phase.OPEN:
            seconds = self.factory.settings.stall_timeout
            if seconds:
                self._stall_call = self.factory.reactor.callLater(seconds, self._look_for_stall)

    def _look_for_stall(self) -> None:
        self._stall_call = None
        if not self._is_inside:
            return
        timeout = self.factory.settings.stall_timeout
        now = self.factory.reactor.seconds()
        silent = now - self._last_input_at if self.link.is_reading else 0.0
        if self.lane is not None and self.lane.is_in_pump:
            # What the pump reads does not come here.
            silent = min(silent, self.lane.silence)
        if silent < timeout:
            self._stall_call = self.factory.reactor.callLater(timeout - silent, self._look_for_stall)
        else:
            self.fail_with(
                EndReason.STALLED, 1001, f"silent inside a message for stall-timeout ({timeout:g} s)"
            )

    def _stop_watching_for_stall(self) -> None:
        call, self._stall_call = self._stall_call, None
        if call is not None:
            call.cancel()
