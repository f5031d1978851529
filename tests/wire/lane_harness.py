"""An owner and a link for lanes, which note what they are asked."""

from __future__ import annotations

from typing import Any

from wsecho.wire.lane import native


class Owner:
    """Stands for a protocol: notes messages, and echoes them when told to.

    :ivar told: messages, bytes that were handed over, and other calls, in order
    :ivar do: called with each message
    """

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.do: Any = lambda payload, is_binary: None
        self.is_between_messages = True

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.told.append((payload, isBinary))
        self.do(payload, isBinary)

    def lane_failed(self) -> None:
        self.told.append("failed")

    def lane_output_waits(self) -> None:
        self.told.append("output waits")

    def lane_part_began(self) -> None:
        self.told.append("part began")

    def lane_broke(self) -> None:
        self.told.append("broke")

    def stands_between_messages(self) -> bool:
        return self.is_between_messages

    def dataReceived(self, data: bytes) -> None:
        self.told.append(data)


class Output:
    """Stands for a link.

    :ivar queued: what was queued
    :ivar sealed: records that were
    """

    def __init__(self) -> None:
        self.queued = b""
        self.sealed = b""
        self.has_flushed = True
        self.is_full = False
        self.reads = False

    def queue(self, data: bytes) -> None:
        self.queued += data

    def queue_sealed(self, records: bytes) -> None:
        self.sealed += records

    def read_by_transport(self) -> None:
        self.reads = True


class Case:
    """A lane with its owner and link.

    :param fd: the socket to write to
    :param send_queue: bytes that may be held
    """

    def __init__(
        self, *, limit: int = 1 << 20, echoes: bool = False, fd: int = -1, send_queue: int = 1 << 20
    ) -> None:
        self.owner = Owner()
        self.link = Output()
        self.counters = native.Counters()
        method = None if echoes else "onMessage"
        self.lane = native.Lane(
            self.owner, self.link, self.counters, method, limit, fd, send_queue, 10.0, None
        )

    def take(self, data: bytes, budget: int = 1000) -> bytes:
        """Give ``data`` to the lane, and return what is left for others."""
        end = self.lane.take(data, 0, budget)
        left: bytes = self.lane.untaken() + data[end:]
        return left
