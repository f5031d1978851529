"""Who comes and goes on a channel, told to those on it who speak envelopes.

Rules of this file: what it tells is of no use later, so it may leave something out, but the last word is
always the number as it is. A channel on which thousands come and go must not have millions of notices: what
is told costs, in deliveries a second, the same however many there are (`DELIVERIES_PER_SECOND`). Beyond that
comings and goings are summed up, and the number is told at the end of the second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["DELIVERIES_PER_SECOND", "Announcer"]

DELIVERIES_PER_SECOND = 1000
"""Notices to single members of a channel within a second."""


class Announcer:
    """Tells of one channel.

    :param tell: given the kind of envelope and its members, tells everybody who is to know; returns to how
        many
    :param count: how many are on the channel now
    """

    def __init__(
        self, clock: Any, tell: Callable[..., int], count: Callable[[Callable[[int], object]], object]
    ) -> None:
        self._clock = clock
        self._tell = tell
        self._count = count
        self._window = 0.0
        self._spent = 0
        self._later: Any = None

    def came(self, member: str) -> None:
        """A member is there."""
        self._announce("join", member)

    def left(self, member: str) -> None:
        """A member is gone."""
        self._announce("leave", member)

    def changed(self) -> None:
        """The number is another one, for a reason elsewhere."""
        self._sum_up()

    def stop(self) -> None:
        """Tell nothing any more."""
        later, self._later = self._later, None
        if later is not None:
            later.cancel()

    def _announce(self, kind: str, member: str) -> None:
        if self._later is not None:
            return
        now = self._clock.seconds()
        if now - self._window >= 1:
            self._window, self._spent = now, 0
        if self._spent >= DELIVERIES_PER_SECOND:
            self._sum_up()
            return
        self._count(lambda count: self._spend(self._tell(kind, member=member, count=count)))

    def _spend(self, deliveries: int) -> None:
        self._spent += deliveries

    def _sum_up(self) -> None:
        if self._later is None:
            seconds = max(1.0, self._spent / DELIVERIES_PER_SECOND)
            self._later = self._clock.callLater(seconds, self._tell_number)

    def _tell_number(self) -> None:
        self._later = None
        self._window, self._spent = self._clock.seconds(), 0
        self._count(lambda count: self._spend(self._tell("presence", count=count)))
