"""The engine: what carries publications between those who are on a channel, in one process or in many.

Rules of this file: values and interfaces, nothing that happens. A hub asks an engine, an engine tells its
listener. An engine knows no WebSocket, and who uses it knows nothing of what is behind it: ``memory:`` and
``redis:`` implement the same interface and pass the same tests (``tests/hub/engine_contract.py``).

Vocabulary. A *channel* has an *epoch*, a name for one unbroken numbering: a new one begins whenever what was
numbered before can no longer be trusted, and none is used again. Within it *offsets* count up by one, from 1.
Epoch and offset are a *position*. What was stored and is still retained is the *history*. A process that
serves clients is a *node*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

__all__ = [
    "EngineAway",
    "EngineError",
    "EngineState",
    "Entry",
    "History",
    "IEngine",
    "IEngineListener",
    "Position",
    "Publication",
    "PublicationTooLarge",
    "Retention",
    "Retentions",
]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a channel's numbering."""

    epoch: str
    """1 to 64 of ``A-Z a-z 0-9 _ -``."""
    offset: int
    """0: before the first."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What somebody sent to a channel."""

    payload: bytes
    """UTF-8 when `is_binary` is false."""
    is_binary: bool
    sender: str = ""
    """The member that published, unique over all nodes: ``NODE-NUMBER``. Empty for the server itself."""
    message_id: str = ""
    """The publisher's own. A second publication of the same id on a channel, whoever sends it, is not stored
    while the first is retained. Empty for none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A publication and where it stands."""

    publication: Publication
    position: Position | None
    """None on a channel that keeps no history."""


@dataclass(frozen=True, slots=True)
class History:
    """What was stored on a channel after a position."""

    entries: Sequence[Entry]
    """In order, without a hole."""
    position: Position | None
    """Of the newest that was ever stored, 0 when nothing was: what comes next is what arrives live. None on a
    channel that keeps no history."""
    is_whole: bool
    """Whether nothing after the position asked for is gone. False as well for a position of another epoch, or
    one that this epoch has not reached: then `entries` is all that is retained. Always false on a channel
    that keeps no history, unless no position was asked for."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What a channel keeps."""

    size: int = 0
    """Messages; 0: nothing is kept, and publications have no position."""
    age: float = 0.0
    """Seconds; 0: no bound by age."""


Retentions: TypeAlias = Callable[[str], Retention]
"""What each channel keeps, by its name."""


class EngineState(StrEnum):
    """Whether an engine can carry anything."""

    UP = "up"
    AWAY = "away"


class EngineError(Exception):
    """What an engine was asked for was not carried out, or nobody knows; one line. Nothing was
    acknowledged."""


class EngineAway(EngineError):
    """The engine could not be reached within its bounded wait."""


class PublicationTooLarge(EngineError):
    """The payload is larger than the engine takes."""


class IEngineListener(Interface):
    """Who an engine tells. Always in the reactor's thread, and never inside a call of the listener's own on
    the engine, except where that call says so."""

    def arrived(channel: str, entry: Entry) -> None:
        """A publication on a subscribed channel, in the channel's order, each offset once; of this node's own
        members, too."""

    def lost(channel: str, since: Position | None) -> None:
        """Something may be missing on the channel after ``since``, and no history could fill the gap. What
        arrives next is behind it.

        :param since: the last position that arrived; None when that is not known
        """

    def state_changed(state: EngineState) -> None:
        """The link to the engine broke, or is there again. With ``UP``, each subscribed channel has caught
        up, or `lost` was said of it."""

    def presence_changed(channel: str, count: int) -> None:
        """On a subscribed channel, the number of members over all nodes has changed elsewhere. Told at most
        once a second for a channel."""


class IEngine(Interface):
    """Carries publications."""

    name: str = Attribute("What logs and metrics call it, such as ``memory``.")
    state: EngineState = Attribute("Now.")
    is_shared: bool = Attribute(
        """Whether other nodes may be on the same channels. If not, this node's own members are all there are,
        and nobody calls ``subscribe``, ``present`` and their opposites: ``arrived`` tells of every
        channel."""
    )
    counts: Mapping[str, int] = Attribute(
        "What happened so far, by name of a row of ``wsecho.policy.metrics.ENGINE_EVENTS``."
    )

    def retention(channel: str) -> Retention:
        """What a channel keeps."""

    def start(listener: object) -> Deferred[None]:
        """Connect; fires when first up.

        :param listener: an `IEngineListener`
        :returns: fails with `EngineError` for what no waiting mends, such as a wrong password; for all else
            it keeps trying
        """

    def stop() -> Deferred[None]:
        """Let go of everything; what waits for the engine fails with `EngineAway`. Nothing is told any
        more."""

    def publish(channel: str, publication: Publication) -> Deferred[Position | None]:
        """Store a publication where the channel keeps a history, and hand it to all nodes.

        Those on this node get it by ``arrived`` alone, which may be called before this returns.

        :returns: fires once the engine has it, and not before: with its position, or None without history;
            for a ``message_id`` that is retained, with the position of the first, and nothing arrives. Fails
            with `EngineError`
        """

    def subscribe(channel: str) -> Deferred[Position | None]:
        """Tell of a channel from now on. For a node and a channel once, however many members there are; while
        the engine is away, it waits.

        :returns: fires when it is so, with the position behind which ``arrived`` begins
        """

    def unsubscribe(channel: str) -> None:
        """Tell of a channel no longer."""

    def history(channel: str, since: Position | None) -> Deferred[History]:
        """What is retained of a channel after ``since``; all of it for None, and then it is whole.

        :returns: fails with `EngineError`
        """

    def present(channel: str, member: str) -> None:
        """A member is on a channel from now on. The engine repeats it while it lasts: where a node has died,
        its members expire."""

    def absent(channel: str, member: str) -> None:
        """A member is on a channel no longer."""

    def presence(channel: str) -> Deferred[int]:
        """How many members a channel has over all nodes.

        :returns: fails with `EngineError`
        """
