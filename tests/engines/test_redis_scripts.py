"""Tests for wsecho.engines.redis_scripts: each script by itself, in a real Redis."""

from __future__ import annotations

from typing import Any

from tests.engines.redis_case import RedisCase
from wsecho.engines import redis_scripts as scripts

META = ("wsecho:server", "wsecho:m:c")
ALL = (*META, "wsecho:s:c", "wsecho:i:c")


class ScriptCase(RedisCase):
    """Tests that run scripts."""

    def run_script(self, text: str, keys: tuple[str, ...], *arguments: Any) -> bytes:
        """The answer, as it came."""
        answer = self.server.ask("EVAL", text, len(keys), *keys, *arguments)
        self.assertFalse(answer.startswith(b"-"), answer)
        return answer

    def words(self, answer: bytes) -> list[str]:
        """The elements of a flat answer."""
        lines = answer.decode().split("\r\n")[1:-1]
        return [line.removeprefix(":") for line in lines if not line.startswith("$")]

    def connect(self, fresh: str, run: str, durable: str = "0") -> str:
        """The generation."""
        return self.words(b"\r\n" + self.run_script(scripts.CONNECT, META[:1], fresh, run, durable))[0]

    def position(self, fresh: str) -> list[str]:
        """Generation, epoch and offset."""
        return self.words(self.run_script(scripts.POSITION, META, fresh, 60_000))

    def store(self, fresh: str, *messages: str, size: int = 100, age: int = 0) -> list[str]:
        """Epoch, removed, offsets."""
        return self.words(self.run_script(scripts.PUBLISH, ALL, fresh, 60_000, age, size, "w", *messages))


class GenerationTests(ScriptCase):
    """What a node tells Redis of its runs."""

    def test_new_run(self) -> None:
        """Another run is another generation; the same again is not."""
        self.assertEqual(self.connect("g1", "run1"), "g1")
        self.assertEqual(self.connect("g2", "run1"), "g1")
        self.assertEqual(self.connect("g3", "run2"), "g3")

    def test_durable(self) -> None:
        """A generation outlives a run if both lose nothing, and not if one of them may."""
        self.assertEqual(self.connect("g1", "run1", "1"), "g1")
        self.assertEqual(self.connect("g2", "run2", "1"), "g1")
        self.assertEqual(self.connect("g3", "run3", "0"), "g3")
        self.assertEqual(self.connect("g4", "run4", "1"), "g4")

    def test_rotated_once(self) -> None:
        """Several nodes that see the same loss begin one generation."""
        self.connect("g1", "run1")
        for fresh in ("g2", "g3"):
            answer = self.run_script(scripts.ROTATE, META[:1], fresh, "g1")
            self.assertEqual(answer, b"$2\r\ng2\r\n")

    def test_new_generation_is_new_epoch(self) -> None:
        """In another generation a channel has another epoch, and its offsets go on."""
        self.connect("g1", "run1")
        self.assertEqual(self.store("e1", "", "a", "", "b"), ["e1", "0", "1", "2"])
        self.connect("g2", "run2")
        self.assertEqual(self.position("e2"), ["g2", "e2", "2"])
        self.assertEqual(self.store("e3", "", "c"), ["e2", "0", "3"])

    def test_forgotten_channel(self) -> None:
        """A channel that Redis no longer knows has another epoch, and begins at 0."""
        self.connect("g1", "run1")
        self.store("e1", "", "a")
        self.server.ask("DEL", "wsecho:m:c")
        self.assertEqual(self.position("e2"), ["g1", "e2", "0"])

    def test_expires(self) -> None:
        """What is known of a channel lasts as long as was asked, and publishing prolongs it."""
        self.store("e1", "", "a")
        for key in ALL[1:3]:
            answer = self.server.ask("PTTL", key)
            self.assertGreater(int(answer[1:]), 59_000, key)


class PublishTests(ScriptCase):
    """What storing does."""

    def test_large_numbers(self) -> None:
        """Offsets are written out where Lua would write 1e+15."""
        self.position("e1")
        self.server.ask("HSET", "wsecho:m:c", "offset", str(10**15))
        self.assertEqual(self.store("e2", "some-id", "a"), ["e1", "0", str(10**15 + 1)])
        self.assertEqual(self.store("e2", "some-id", "a"), ["e1", "0", str(10**15 + 1)])
        answer = self.server.ask("XRANGE", "wsecho:s:c", "-", "+").decode()
        self.assertIn(f"{10**15 + 1}-0", answer)

    def test_foreign_entries_in_the_way(self) -> None:
        """Entries that somebody else put where the next belong are removed and counted."""
        self.store("e1", "", "a")
        self.server.ask("XADD", "wsecho:s:c", "*", "foreign", "x")
        self.server.ask("XADD", "wsecho:s:c", "*", "foreign", "y")
        self.assertEqual(self.store("e2", "", "b"), ["e1", "2", "2"])
        self.assertEqual(self.store("e2", "", "c"), ["e1", "0", "3"])
        self.assertEqual(self.server.ask("XLEN", "wsecho:s:c"), b":3\r\n")

    def test_flood_of_foreign_entries(self) -> None:
        """So many that removing them would take long take the stream along."""
        self.store("e1", "", "a")
        flood = "for n = 1, 1500 do redis.call('XADD', KEYS[1], '*', 'x', 'y') end"
        self.server.ask("EVAL", flood, 1, "wsecho:s:c")
        self.assertEqual(self.store("e2", "", "b"), ["e1", "1000", "2"])
        self.assertEqual(self.server.ask("XLEN", "wsecho:s:c"), b":1\r\n")

    def test_time_does_not_go_back(self) -> None:
        """An entry is never older than the one before it, whatever Redis's clock does."""
        self.store("e1", "", "a")
        future = 4_000_000_000_000
        self.server.ask("HSET", "wsecho:m:c", "time", str(future))
        self.store("e1", "", "b")
        self.assertIn(
            str(future), self.server.ask("XREVRANGE", "wsecho:s:c", "+", "-", "COUNT", "1").decode()
        )

    def test_ids_are_trimmed(self) -> None:
        """Ids are kept as long as their messages, and no longer."""
        for number in range(5):
            self.store("e1", f"id-{number}", "x", size=2)
        self.assertEqual(self.words(self.server.ask("ZRANGE", "wsecho:i:c", 0, -1)), ["id-3", "id-4"])

    def test_without_history(self) -> None:
        """A channel that keeps nothing counts all the same, and stores nothing."""
        self.assertEqual(self.store("e1", "", "a", "", "b", size=0), ["e1", "0", "1", "2"])
        self.assertEqual(self.server.ask("EXISTS", "wsecho:s:c"), b":0\r\n")


class PresenceTests(ScriptCase):
    """Who counts."""

    def test_expired_node(self) -> None:
        """Only nodes that gave a sign of life count, and what others left is removed."""
        nodes, present = "wsecho:nodes", "wsecho:p:c"
        beat = self.run_script(scripts.BEAT, (nodes,), "one", 60_000, "w", 1)
        self.assertEqual(self.words(beat), ["0", "1"])
        beat = self.run_script(scripts.BEAT, (nodes,), "one", 60_000, "w", 2)
        self.assertEqual(self.words(beat), ["1", "1"])
        for node, count in (("one", 3), ("dead", 4)):
            answer = self.run_script(scripts.ANNOUNCE, (nodes, present), node, count, 60_000, "w")
        self.assertEqual(answer, b":3\r\n")
        self.assertEqual(self.words(self.server.ask("HKEYS", present)), ["one"])
        self.assertEqual(self.run_script(scripts.COUNT, (nodes, present)), b":3\r\n")

    def test_touch(self) -> None:
        """What nodes are on lasts longer when they say so."""
        self.position("e1")
        self.run_script(scripts.TOUCH, ("wsecho:m:c", "wsecho:m:nothing"), 120_000)
        self.assertGreater(int(self.server.ask("PTTL", "wsecho:m:c")[1:]), 119_000)
