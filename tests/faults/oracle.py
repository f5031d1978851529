"""Judges what publishers and subscribers of a broadcast have written down.

Rules of this file: it sees logs, never servers. A publisher logs what it sent and what was acknowledged, with
its place; a subscriber what it was told, in order. What is promised: every acknowledged message at least
once, or a word that something is missing; in order; twice only after a new connection; and no place for two
messages. Messages that were never acknowledged may arrive or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = [
    "Connected",
    "Judgement",
    "Message",
    "Place",
    "PublisherLog",
    "Received",
    "SubscriberLog",
    "Told",
    "judge",
]


@dataclass(frozen=True, slots=True, order=True)
class Message:
    """What a publisher numbered."""

    publisher: str
    number: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server put a message."""

    epoch: str
    offset: int


@dataclass(slots=True)
class PublisherLog:
    """What one publisher has done."""

    name: str
    sent: int = 0
    """It numbers from 0; this many were sent."""
    acks: dict[int, Place] = field(default_factory=dict)
    """By number."""
    errors: int = 0
    repeated: set[int] = field(default_factory=set)
    """Numbers that were sent again, with the same id, because nobody knew. Those may have been overtaken."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message arrived."""

    place: Place
    message: Message


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection opened, which begins behind a place."""

    place: Place
    recovered: bool | None
    """None when nothing was asked for."""


@dataclass(frozen=True, slots=True)
class Told:
    """The server said that something may be missing: a gap, or messages that were dropped."""


class SubscriberLog:
    """What one subscriber was told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.events: list[Received | Connected | Told] = []

    @property
    def messages(self) -> list[Received]:
        """The messages alone."""
        return [event for event in self.events if isinstance(event, Received)]


@dataclass(slots=True)
class Judgement:
    """What was found."""

    violations: list[str] = field(default_factory=list)
    acknowledged: int = 0
    missing: int = 0
    """Acknowledged messages that a subscriber did not get, and was told so; over all subscribers."""
    gaps: int = 0
    """How often a subscriber was told that something may be missing."""
    duplicates: int = 0
    """Messages that came again on a new connection; over all subscribers."""
    reconnects: int = 0


def judge(
    publishers: Sequence[PublisherLog], subscribers: Iterable[SubscriberLog], *, may_lose: bool = False
) -> Judgement:
    """Judge the logs of one channel, once everything that is on its way has arrived.

    :param may_lose: whether acknowledged messages may be missing where the subscriber was told
    """
    judgement = Judgement()
    acks = {Message(log.name, number): place for log in publishers for number, place in log.acks.items()}
    judgement.acknowledged = len(acks)
    taken: dict[Place, Message] = {}
    for message, place in acks.items():
        _take(judgement, taken, place, message, "acknowledged")
    repeated = {Message(log.name, number) for log in publishers for number in log.repeated}
    for log in subscribers:
        for event in log.messages:
            _take(judgement, taken, event.place, event.message, log.name)
        _judge_one(judgement, log, acks, may_lose)
        _judge_order(judgement, log, repeated)
    return judgement


def _take(
    judgement: Judgement, taken: dict[Place, Message], place: Place, message: Message, who: str
) -> None:
    other = taken.setdefault(place, message)
    if other != message:
        judgement.violations.append(f"{who}: {place} is of both {other} and {message}")


def _judge_one(judgement: Judgement, log: SubscriberLog, acks: dict[Message, Place], may_lose: bool) -> None:
    complain = judgement.violations.append
    at: Place | None = None
    begin: Place | None = None
    is_told = False
    here: set[Place] = set()
    seen: dict[Place, None] = {}
    holes: list[tuple[str, int, int]] = []
    for event in log.events:
        if isinstance(event, Told):
            is_told = True
            judgement.gaps += 1
        elif isinstance(event, Connected):
            here.clear()
            if at is None:
                at = begin = event.place
                continue
            judgement.reconnects += 1
            if event.recovered is not True:
                is_told = True
                judgement.gaps += 1
        elif event.place in seen:
            judgement.duplicates += 1
            if event.place in here:
                complain(f"{log.name}: {event.place} came twice on one connection")
            here.add(event.place)
        else:
            if at is None:
                complain(f"{log.name}: a message before any connection")
                at = begin = event.place
            follows = event.place.epoch == at.epoch and event.place.offset == at.offset + 1
            if not follows and not is_told:
                complain(f"{log.name}: {event.place} came after {at}, and nothing was said")
            if event.place.epoch == at.epoch and event.place.offset <= at.offset:
                complain(f"{log.name}: {event.place} came after {at}")
            if event.place.epoch == at.epoch and not follows:
                holes.append((at.epoch, at.offset, event.place.offset))
            seen[event.place] = None
            here.add(event.place)
            is_told = False
            at = event.place
    if begin is None:
        complain(f"{log.name}: never connected")
        return
    got = {event.message for event in log.messages}
    epochs = {place.epoch for place in seen} | {begin.epoch}
    for message, place in acks.items():
        if message in got or (place.epoch == begin.epoch and place.offset <= begin.offset):
            continue
        judgement.missing += 1
        is_covered = (
            place.epoch not in epochs
            or is_told
            or any(epoch == place.epoch and low < place.offset < high for epoch, low, high in holes)
        )
        # An epoch that is over ends wherever it ended: the next tells of what was behind the last that came.
        is_over = at is not None and place.epoch != at.epoch
        if not may_lose or not (is_covered or is_over):
            complain(f"{log.name}: {message} at {place} is missing")


def _judge_order(judgement: Judgement, log: SubscriberLog, repeated: set[Message]) -> None:
    """Per publisher numbers go up, once what came again is left out; and no message has two places."""
    last: dict[str, int] = {}
    places: dict[Message, Place] = {}
    for event in log.messages:
        message, place = event.message, event.place
        if message in places:
            first = places[message]
            # In another epoch the same entry may come again, and so may one that was sent again, because
            # Redis has lost the first: each after the word that the epoch is over.
            is_other = first.epoch != place.epoch
            may_be = is_other and (first.offset == place.offset or message in repeated)
            if first != place and not may_be:
                judgement.violations.append(
                    f"{log.name}: {message} is at both {first} and {place}: it was stored twice"
                )
            continue
        places[message] = place
        if message in repeated:
            continue
        if message.number <= last.get(message.publisher, -1):
            judgement.violations.append(
                f"{log.name}: {message} came after {message.publisher}'s {last[message.publisher]}"
            )
        last[message.publisher] = message.number
