"""Who comes and goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsecho.services.announcing import DELIVERIES_PER_SECOND, Announcer


class AnnouncerTests(SynchronousTestCase):
    """`Announcer`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.count = 0
        self.listeners = 1
        self.announcer = Announcer(self.clock, self.tell, self.ask)

    def tell(self, kind: str, **members: Any) -> int:
        self.told.append((kind, members))
        return self.listeners

    def ask(self, tell: Callable[[int], object]) -> None:
        tell(self.count)

    def test_each(self) -> None:
        """A few who come and go are told one by one, with the number that there are."""
        self.count = 2
        self.announcer.came("node-1")
        self.count = 1
        self.announcer.left("node-1")
        self.assertEqual(
            self.told,
            [("join", {"member": "node-1", "count": 2}), ("leave", {"member": "node-1", "count": 1})],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many(self) -> None:
        """Of many within a second the first are told, and at its end how many there are now."""
        self.listeners = DELIVERIES_PER_SECOND // 2
        for number in range(100):
            self.count = number
            self.announcer.came(f"node-{number}")
        self.assertEqual([kind for kind, _ in self.told], ["join", "join"])
        self.count = 77
        self.clock.advance(1)
        self.assertEqual(self.told[2:], [("presence", {"count": 77})])
        self.announcer.came("node-1")
        self.assertEqual(self.told[-1][0], "join")

    def test_window(self) -> None:
        """Who comes once a second is told each time, however large the channel."""
        self.listeners = DELIVERIES_PER_SECOND
        for number in range(3):
            self.announcer.came(f"node-{number}")
            self.clock.advance(1)
        self.assertEqual([kind for kind, _ in self.told], ["join"] * 3)

    def test_large_channel(self) -> None:
        """Where one notice already costs more than a second's worth, what follows waits the longer."""
        self.listeners = 5 * DELIVERIES_PER_SECOND
        self.announcer.came("node-1")
        self.announcer.came("node-2")
        self.clock.advance(4)
        self.assertEqual(len(self.told), 1)
        self.clock.advance(1)
        self.assertEqual([kind for kind, _ in self.told], ["join", "presence"])

    def test_elsewhere(self) -> None:
        """What changed elsewhere is told as a number, within a second."""
        self.announcer.changed()
        self.announcer.changed()
        self.assertEqual(self.told, [])
        self.count = 5
        self.clock.advance(1)
        self.assertEqual(self.told, [("presence", {"count": 5})])

    def test_stop(self) -> None:
        """Nothing is told behind the end."""
        self.announcer.changed()
        self.announcer.stop()
        self.announcer.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
