"""Messages of an open connection, in and out: what both sides do alike.

Rules of this file: what happens to a message stands in the connection's service, or in a subclass's
``onMessage``. Code above the wire may raise: it ends this one connection with 1011 and is logged, never more.
How a connection opens is :mod:`wsecho.wire.protocol` and :mod:`wsecho.wire.client`, how it ends
:mod:`wsecho.wire.connection`.
"""

from __future__ import annotations

import zlib
from typing import Any

from autobahn.exception import Disconnected
from twisted.logger import Logger

from wsecho.policy.end_reasons import EndReason
from wsecho.policy.lifecycle import Event, Phase
from wsecho.wire.connection import Connection
from wsecho.wire.link import Hold
from wsecho.wire.log_lines import log_message, log_open

__all__ = ["Messages"]

_log = Logger("wsecho")


#: Bytes that zlib may make beyond the limit, so that it shows whether there are more.
_ROOM = 1


def _compressed_limit(limit: int) -> int:
    """What a message, or frame, of ``limit`` bytes may have when it is compressed: zlib adds five bytes to
    each block of noise, which with the least memory has 128; and a few for an empty message."""
    return limit + (limit >> 4) + 64 if limit else 0


def _join(parts: list[Any], payload: bytes) -> None:
    """Append to the one buffer in ``parts``; a payload that comes in one piece is not copied."""
    if not parts:
        if payload:
            parts.append(payload)
    elif isinstance(parts[0], bytearray):
        parts[0] += payload
    else:
        parts[0] = bytearray(parts[0])
        parts[0] += payload


class Messages(Connection):
    """A connection that carries messages. To be mixed in before Autobahn's protocol class of its side."""

    _isMessageCompressed = False  # Autobahn sets it with the first data frame, and asks only then
    _compressed_size = 0
    _fragments = 0
    _rate_since = 0.0
    _rate_count = 0

    holds_back = True
    """Whether a peer that does not read what is sent to it is not read, either, so that TCP stops it. A
    service may say for itself, by an attribute of this name, that it is to be read all the same."""

    def _onOpen(self) -> None:
        if self.phase is not Phase.DECIDING:
            return
        self._advance(Event.OPENED)
        self._opened_at = self.factory.reactor.seconds()
        self.factory.connection_opened(self)
        log_open(self)
        self._enter_lane()
        try:
            self._tell_opened()
        except Exception:
            self._program_failed("onOpen")

    def _enter_lane(self) -> None:
        """Take the short cut for ordinary frames, on a side that has one."""

    # What the lane asks; see wsecho.wire.lane.LaneOwner.

    def lane_failed(self) -> None:
        """The program raised in ``onMessage``, which the lane called."""
        self._program_failed("onMessage")

    def lane_broke(self) -> None:
        """The lane met an exception that is nobody's but ours."""
        self._abort(EndReason.ABORTED)

    def lane_output_waits(self) -> None:
        if self.link.outbox.is_full:
            self._hold_back()

    def lane_part_began(self) -> None:
        """The lane has the beginning of a frame."""
        self._last_input_at = self.factory.reactor.seconds()
        self._watch_for_stall()

    def _tell_opened(self) -> None:
        if self.service is not None:
            self.service.opened(self)
        # The service may have ended the connection.
        if self.phase is Phase.OPEN:
            self.onOpen()

    def consumeData(self) -> None:
        try:
            super().consumeData()
        except zlib.error:
            # Autobahn 26.7 lets it through; later ones call this themselves.
            self._invalid_payload("compressed data is corrupt")
        except Exception:
            # Of any other callback of Autobahn's that a program overrides.
            self._program_failed("consumeData")

    # Autobahn counts a compressed frame by the size it has on the wire until it has inflated it, and so
    # refuses an incompressible message of exactly the limit. Here what was inflated counts; the compressed
    # size is bounded as well, since any number of compressed bytes may become no message at all.

    def onMessageBegin(self, isBinary: bool) -> None:
        super().onMessageBegin(isBinary)
        self._compressed_size = 0
        self._fragments = 0

    def onMessageFrameBegin(self, length: int) -> None:
        self._fragments += 1
        most = self.factory.settings.max_fragments
        if 0 < most < self._fragments:
            self._fail_connection(1008, f"more fragments than max-fragments ({most})")
            return
        if not self._isMessageCompressed:
            super().onMessageFrameBegin(length)
            return
        self.frame_length = length
        self.frame_data = []
        self._compressed_size += length
        if 0 < _compressed_limit(self.maxMessagePayloadSize) < self._compressed_size:
            self._max_message_size_exceeded(self._compressed_size, self.maxMessagePayloadSize, "")
        elif 0 < _compressed_limit(self.maxFramePayloadSize) < length:
            self.wasMaxFramePayloadSizeExceeded = True
            self._max_message_size_exceeded(length, self.maxFramePayloadSize, "")

    def onFrameData(self, payload: bytes) -> bool | None:
        if self._isMessageCompressed and self.current_frame.opcode < 8:
            # Autobahn's own takes the compressed size off again. It lets zlib make no more than what is
            # left up to the limit, and zlib may then have taken all input and still owe a byte: a message
            # of one byte more would be cut off and pass. So it is given room for that byte, which is
            # counted below.
            self.message_data_total_length += len(payload) - _ROOM
            going_on: bool | None = super().onFrameData(payload)
            self.message_data_total_length += _ROOM
            return going_on
        return super().onFrameData(payload)  # type: ignore[no-any-return]

    # Autobahn keeps the parts of a message, however small, an object each.

    def onMessageFrameData(self, payload: bytes) -> None:
        if self.failedByMe:
            return
        if self._isMessageCompressed:
            size = self.message_data_total_length + _ROOM
            if 0 < self.maxMessagePayloadSize < size:
                self._max_message_size_exceeded(size, self.maxMessagePayloadSize, "")
                return
        _join(self.frame_data, payload)
        if self._isMessageCompressed and self.frame_data:
            size = len(self.frame_data[0])
            if 0 < self.maxFramePayloadSize < size:
                self.wasMaxFramePayloadSizeExceeded = True
                self._max_message_size_exceeded(size, self.maxFramePayloadSize, "")

    def onMessageFrame(self, payload: list[bytes]) -> None:
        if not self.failedByMe:
            for part in payload:
                _join(self.message_data, part)

    def onMessageEnd(self) -> None:
        # Autobahn's own fires an observable, a Deferred for each message, which nothing here observes.
        parts = self.message_data
        self.message_data = []
        if self.phase is Phase.OPEN:
            self._onMessage(bytes(parts[0]) if parts else b"", self.message_is_binary)

    def _onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.factory.settings.max_message_rate and not self._is_within_rate():
            return
        if self.factory.debug:
            log_message(self, "received", payload, isBinary)
        try:
            self.onMessage(payload, isBinary)
        except Exception:
            self._program_failed("onMessage")
        if self.link.outbox.is_full:
            self._hold_back()

    def _is_within_rate(self) -> bool:
        """Count a message. A second begins with the first message after the last one."""
        most = self.factory.settings.max_message_rate
        now = self.factory.reactor.seconds()
        if now - self._rate_since >= 1 or not self._rate_count:
            self._rate_since, self._rate_count = now, 0
        self._rate_count += 1
        if self._rate_count > most:
            self._fail_connection(1008, f"more messages than max-message-rate ({most} per second)")
            return False
        return True

    def _hold_back(self) -> None:
        if self.phase is Phase.OPEN and self.holds_back and getattr(self.service, "holds_back", True):
            self.link.hold(Hold.OUTPUT)
            self.link.outbox.call_when_low(self._release_output)

    def _release_output(self) -> None:
        self.link.release(Hold.OUTPUT)

    @property
    def is_output_full(self) -> bool:
        """Whether as much waits for the peer as may (``Settings.send_queue``): no message is taken now."""
        return self.link.outbox.is_full

    def close_slow(self) -> None:
        """Close the connection of a peer that does not read, with 1013."""
        limit = self.link.outbox.limit
        self.close_with(EndReason.SLOW_CONSUMER, 1013, f"does not read: send-queue ({limit} bytes) is full")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A whole message arrived; hands it to the service.

        :param payload: the payload; UTF-8 when ``isBinary`` is false
        """
        if self.service is not None:
            self.service.message_arrived(self, payload, isBinary)

    def _onPing(self, payload: bytes) -> None:
        try:
            self.onPing(payload)
        except Exception:
            self._program_failed("onPing")

    def _onPong(self, payload: bytes) -> None:
        try:
            self.onPong(payload)
        except Exception:
            self._program_failed("onPong")

    def _onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        try:
            self.onClose(wasClean, code, reason)
        except Exception:
            _log.failure("{id} onClose failed", id=self.id)

    def _program_failed(self, where: str) -> None:
        """Code above the wire raised: this connection ends with 1011, no other notices."""
        _log.failure("{id} {where} failed", id=self.id, where=where)
        self._fail_connection(1011, "internal error")

    def sendMessage(
        self,
        payload: bytes,
        isBinary: bool = False,
        fragmentSize: int | None = None,
        sync: bool = False,
        doNotCompress: bool = False,
    ) -> None:
        """Send a message.

        While the peer's send queue is full (``Settings.send_queue``), no message is taken: the connection is
        closed with 1013 instead. ``is_output_full`` tells; a producer (:meth:`registerProducer`) waits.

        :param payload: bytes; UTF-8 when ``isBinary`` is false
        :raises Disconnected: when the connection is not open
        """
        if self.lane is not None and fragmentSize is None and self.lane.send(payload, isBinary):
            return
        if self.phase is not Phase.OPEN:
            raise Disconnected("the connection is not open")
        if not self.link.outbox.has_room():
            self.close_slow()
            return
        if self.factory.debug:
            log_message(self, "sent", payload, isBinary)
        # Autobahn applies the limit for what arrives to what is sent as well, and after compression, which
        # makes incompressible messages of exactly the limit larger than it: such a message could not be
        # echoed.
        limit, self.maxMessagePayloadSize = self.maxMessagePayloadSize, 0
        try:
            super().sendMessage(payload, isBinary, fragmentSize, sync, doNotCompress)
        finally:
            self.maxMessagePayloadSize = limit

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.link.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self.link.unregisterProducer()

    def pause_reading(self) -> None:
        """Read nothing from this peer until :meth:`resume_reading`: it is held back by TCP. Its leaving is
        not seen meanwhile, except by an unanswered ping. Has no effect once Close was sent, since the peer's
        must be seen."""
        if self.phase is not Phase.CLOSING:
            self.link.hold(Hold.PROGRAM)

    def resume_reading(self) -> None:
        """Read from this peer again."""
        self.link.release(Hold.PROGRAM)
