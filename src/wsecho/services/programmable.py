"""The programmable echo: an echo that delays, trickles, cuts and misbehaves, as its client asks in the URL.

Rules of this file: what may be asked for, and within which bounds, stands in :mod:`wsecho.policy.knobs`; the
bytes of what no server may send, in :mod:`wsecho.wire.misbehaviour`. Whatever is sent waits in one queue, so
that knobs can be combined and the order stays: messages, then the end that was asked for. The limits of the
server hold: nothing is written to a full outbox, what waits here counts against the send queue (nothing is
read while it is full), and a server that stops ends these connections as all others. Every timer ends with
the connection.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from zope.interface import implementer

from wsecho.policy.end_reasons import EndReason
from wsecho.policy.http import HttpAnswer
from wsecho.policy.knobs import (
    LONGEST_STOP_SECONDS,
    MOST_FRAGMENTS,
    BadProgram,
    Program,
    knob_list,
    read_program,
)
from wsecho.wire.admission import HeadRefused, RequestHead
from wsecho.wire.fragments import Fragments
from wsecho.wire.interfaces import IService
from wsecho.wire.misbehaviour import HALF_FRAME, Fault, send_bad_frame, unasked_subprotocol
from wsecho.wire.outbox import LEAST_COST
from wsecho.wire.tls_session import tls_session

__all__ = ["FRAMES_AT_ONCE", "ProgrammableEcho"]

FRAMES_AT_ONCE = 64
"""Frames that are written before everybody else has a turn."""

_TICK_SECONDS = 0.1
_ROUNDING_SECONDS = 1e-6
_PATTERN = b"0123456789abcdef"

_Steps = Iterator[int]


@implementer(IService)
class ProgrammableEcho:
    """The service of one connection.

    :param clock: the reactor, an ``IReactorTime``
    """

    keeps_off_lane = True

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._program = Program()
        self._connection: Any = None
        self._head: RequestHead | None = None
        self._arrived = 0
        self._is_over = False
        self._has_stopped_reading = False
        # When it is due, what it counts as while it waits, and the steps in which it is sent: each writes a
        # frame at most, and gives its size.
        self._waiting: deque[tuple[float, int, _Steps]] = deque()
        self._waiting_cost = 0
        self._paced_until = 0.0
        self._pings = 0
        self._next: Any = None
        self._waits_for_room = False
        self._is_working = False
        self._others: dict[str, Any] = {}

    # -- the opening handshake -------------------------------------------------------------------------------

    def asked(self, connection: Any, head: RequestHead) -> None:
        """Read what the client asks for.

        :raises HeadRefused: 400, with the list of knobs
        """
        settings = connection.factory.settings
        try:
            program = self._program = read_program(head.query)
            if program.size is not None and 0 < settings.max_message_size < program.size:
                raise BadProgram(f"size: beyond max-message-size ({settings.max_message_size} bytes)")
            if program.compress == "on" and not (settings.max_message_size and settings.max_frame_size):
                raise BadProgram("compress: needs a server with max-message-size and max-frame-size")
        except BadProgram as error:
            raise HeadRefused(
                400, "the query asks for what is not there", more=f"{error}\n\n{knob_list()}"
            ) from None
        if program.compress:
            connection.compression = "deflate" if program.compress == "on" else "off"
        if program.redirect:
            answer = HttpAnswer(program.redirect_status, (("Location", program.redirect),))
            connection.fault = Fault(answer)
        elif program.status is not None:
            connection.fault = Fault(HttpAnswer(program.status))
        elif program.accept or program.subprotocol:
            offered = head.headers.get("sec-websocket-protocol", "")
            name = unasked_subprotocol([one.strip() for one in offered.split(",")])
            connection.fault = Fault(
                has_wrong_accept=bool(program.accept), subprotocol=name if program.subprotocol else None
            )
        if program.whoami:
            self._head = head

    # -- what the wire tells ---------------------------------------------------------------------------------

    def opened(self, connection: Any) -> None:
        """Send what was asked for without a message."""
        self._connection = connection
        program = self._program
        if self._head is not None:
            self._put(self._messages(self._who(self._head), False))
            self._head = None
        if program.size is not None:
            text = _PATTERN * (program.size // len(_PATTERN) + 1)
            self._put(self._messages(text[: program.size], False, program.count))
        if program.ping:
            self._call_later("ping", program.ping, self._ping)
        self._see_what_is_due()
        self._work()

    def message_arrived(self, connection: Any, payload: bytes, is_binary: bool) -> None:
        """Send it back, as was asked for."""
        if self._is_over:
            return
        self._arrived += 1
        self._put(self._messages(payload, is_binary), max(len(payload), LEAST_COST))
        self._see_what_is_due()
        self._work()
        self._hold_back()

    def closed(self, connection: Any) -> None:
        """Forget what waits."""
        self._is_over = True
        self._waiting.clear()
        self._waiting_cost = 0
        calls = [*self._others.values(), *([] if self._next is None else [self._next])]
        self._others, self._next = {}, None
        for call in calls:
            call.cancel()

    # -- after so many messages ------------------------------------------------------------------------------

    def _see_what_is_due(self) -> None:
        program = self._program
        if self._arrived == program.abort:
            self._put(self._abort())
            self._is_over = True
        if self._arrived != program.after:
            return
        if program.bad:
            self._put(self._bad())
        if program.close is not None:
            self._put(self._close())
        if program.read:
            self._has_stopped_reading = True
            self._connection.pause_reading()
            self._call_later("read", LONGEST_STOP_SECONDS, self._read_after_all)
        self._is_over = self._is_over or program.close is not None or program.bad == HALF_FRAME

    def _read_after_all(self) -> None:
        self._has_stopped_reading = False
        self._read_on()

    def _ping(self) -> None:
        self._pings += 1
        self._call_later("ping", self._program.ping, self._ping)
        self._connection.sendPing(str(self._pings).encode("ascii"))

    # -- steps -----------------------------------------------------------------------------------------------

    def _messages(self, payload: bytes, is_binary: bool, count: int = 1) -> _Steps:
        for _ in range(count):
            size = self._piece_size(len(payload))
            if len(payload) <= size:
                self._connection.sendMessage(payload, is_binary)
                yield len(payload)
                continue
            fragments = Fragments(self._connection, payload, is_binary)
            while not fragments.is_sent:
                yield fragments.send(size)

    def _piece_size(self, length: int) -> int:
        program = self._program
        sizes = [length]
        if program.fragment:
            sizes.append(program.fragment)
        if program.rate:
            sizes.append(math.ceil(program.rate * _TICK_SECONDS))
        return max(min(sizes), math.ceil(length / MOST_FRAGMENTS))

    def _bad(self) -> _Steps:
        send_bad_frame(self._connection, self._program.bad)
        yield 0

    def _close(self) -> _Steps:
        self._connection.close_with(EndReason.AS_ASKED, self._program.close, self._program.reason or None)
        yield 0

    def _abort(self) -> _Steps:
        self._connection.drop_with(EndReason.AS_ASKED, abort=True)
        yield 0

    # -- the queue -------------------------------------------------------------------------------------------

    def _put(self, steps: _Steps, cost: int = 0) -> None:
        self._waiting.append((self._clock.seconds() + self._program.delay, cost, steps))
        self._waiting_cost += cost

    def _work(self) -> None:
        if self._next is None and not self._waits_for_room and not self._is_working:
            self._is_working = True
            try:
                self._send_what_is_due()
            finally:
                self._is_working = False

    def _send_what_is_due(self) -> None:
        outbox = self._connection.link.outbox
        frames = 0
        while self._waiting:
            due, cost, steps = self._waiting[0]
            now = self._clock.seconds()
            wait = max(due, self._paced_until) - now
            if wait > _ROUNDING_SECONDS or frames == FRAMES_AT_ONCE:
                self._next = self._clock.callLater(max(wait, 0.0), self._go_on)
                return
            if outbox.is_full:
                self._waits_for_room = True
                outbox.call_when_low(self._has_room)
                return
            size = next(steps, None)
            if size is not None:
                frames += 1
                if self._program.rate:
                    # An empty message takes a moment, too.
                    self._paced_until = max(self._paced_until, now) + max(size, 1) / self._program.rate
            elif self._waiting:
                self._waiting.popleft()
                self._waiting_cost -= cost
                self._read_on()

    def _go_on(self) -> None:
        self._next = None
        self._work()

    def _has_room(self) -> None:
        self._waits_for_room = False
        self._work()

    def _hold_back(self) -> None:
        outbox = self._connection.link.outbox
        if self._waiting_cost and self._waiting_cost + outbox.queued_bytes >= outbox.limit:
            self._connection.pause_reading()

    def _read_on(self) -> None:
        if not self._has_stopped_reading and self._waiting_cost <= self._connection.link.outbox.limit // 2:
            self._connection.resume_reading()

    def _call_later(self, name: str, seconds: float, call: Any) -> None:
        self._others[name] = self._clock.callLater(seconds, self._called, name, call)

    def _called(self, name: str, call: Any) -> None:
        del self._others[name]
        call()

    # -- whoami ----------------------------------------------------------------------------------------------

    def _who(self, head: RequestHead) -> bytes:
        connection = self._connection
        session: dict[str, Any] | None = None
        if connection.link.is_secure:
            found = tls_session(connection.link.getHandle()) or {}
            session = {**found, "client_certificate": self._certificate()}
        told = {
            "id": connection.id,
            "peer": connection.peer,
            "path": head.path,
            "query": head.query,
            "headers": dict(head.headers),
            "subprotocol": connection.websocket_protocol_in_use,
            "extensions": [one.EXTENSION_NAME for one in connection.websocket_extensions_in_use],
            "tls": session,
        }
        return json.dumps(told).encode("ascii")

    def _certificate(self) -> dict[str, Any] | None:
        certificate = self._connection.peer_certificate
        if certificate is None:
            return None
        told = asdict(certificate)
        del told["pem"]
        # Larger than what a reader of JSON takes for a whole number.
        told["serial_number"] = str(certificate.serial_number)
        return told
