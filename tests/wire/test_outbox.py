"""The outbox: what waits for one peer, its bound, and what is dropped."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import IPullProducer, IWriteDescriptor
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from wsecho.wire.outbox import LEAST_COST, WINDOW, Outbox


class Kernel:
    """A transport of Twisted's, and the kernel behind it, which takes what the test lets it take.

    :ivar taken: what the kernel has taken
    :ivar at_once: whether it takes everything in the moment in which it is written
    """

    def __init__(self) -> None:
        self.taken = b""
        self.at_once = False
        self.disconnecting = False
        self.dataBuffer = b""
        self.producer: Any = None
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.dataBuffer += data
        if self.at_once:
            self.take()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None and not streaming
        self.producer = producer
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None

    def take(self, size: int | None = None) -> None:
        """Take some of what was written, by default all."""
        size = len(self.dataBuffer) if size is None else size
        self.taken += self.dataBuffer[:size]
        self.dataBuffer = self.dataBuffer[size:]
        if not self.dataBuffer and self.producer is not None:
            self.producer.resumeProducing()

    def take_all(self) -> None:
        """Take everything, also what is written because of that."""
        while self.dataBuffer:
            self.take()


@implementer(IWriteDescriptor)
class Descriptor(Kernel):
    """A transport that can be told to write, as Twisted's that own a socket.

    :ivar room: bytes that the kernel takes
    """

    room = 0
    told = 0

    def doWrite(self) -> None:
        self.told += 1
        size = min(self.room, len(self.dataBuffer))
        self.room -= size
        if size:
            self.take(size)

    def fileno(self) -> int:
        return -1

    def logPrefix(self) -> str:
        return "test"

    def connectionLost(self, reason: object) -> None:
        """Nobody asks."""


class Wrapper:
    """A transport above another, as TLS is."""

    def __init__(self, transport: Kernel) -> None:
        self.transport = transport

    def write(self, data: bytes) -> None:
        self.transport.write(data.upper())


class Producer:
    """A program's producer that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        raise AssertionError("not the outbox's to tell")


LIMIT = 1024
ROOM = LIMIT // 2
"""What the transport is given at a time, of an outbox with this limit."""


class OutboxTestCase(SynchronousTestCase):
    """An outbox of 1024 bytes."""

    def setUp(self) -> None:
        self.kernel = Kernel()
        self.outbox = Outbox(self.kernel, LIMIT)


class WritingTests(OutboxTestCase):
    """Order, and what waits where."""

    def test_at_once(self) -> None:
        """What fits is written at once, and nothing waits."""
        self.outbox.write(b"a")
        self.outbox.write(b"b")
        self.assertEqual(self.kernel.dataBuffer, b"ab")
        self.assertFalse(self.outbox.is_blocked)
        verifyObject(IPullProducer, self.outbox)

    def test_window(self) -> None:
        """The transport is given half of the limit; the rest waits, and is given when that is taken."""
        for letter in b"abcd":
            self.outbox.write(bytes([letter]) * 300)
        self.assertEqual(self.kernel.dataBuffer, b"a" * 300)
        self.assertTrue(self.outbox.is_blocked)
        self.kernel.take()
        self.assertEqual(self.kernel.dataBuffer, b"b" * 300)
        self.kernel.take_all()
        self.assertEqual(self.kernel.taken, b"a" * 300 + b"b" * 300 + b"c" * 300 + b"d" * 300)
        self.assertFalse(self.outbox.is_blocked)

    def test_largest_window(self) -> None:
        """However large the limit is, the transport is given no more than Twisted writes in one call."""
        outbox = Outbox(self.kernel, 1 << 30)
        outbox.write(bytes(WINDOW))
        outbox.write(b"x")
        self.assertEqual(len(self.kernel.dataBuffer), WINDOW)

    def test_larger_than_the_window(self) -> None:
        """A chunk larger than the window is given in pieces."""
        data = bytes(range(256)) * 10
        self.outbox.write(data)
        self.assertEqual(self.kernel.dataBuffer, data[:ROOM])
        self.kernel.take_all()
        self.assertEqual(self.kernel.taken, data)

    def test_joined(self) -> None:
        """Small chunks that wait are written in one call."""
        self.outbox.write(bytes(ROOM))
        for _ in range(100):
            self.outbox.write(b"x")
        self.kernel.take()
        self.assertEqual(self.kernel.writes, 2)
        self.assertEqual(self.kernel.dataBuffer, b"x" * 100)

    def test_kernel_that_takes_at_once(self) -> None:
        """A kernel that takes everything while it is written to gets everything, in order."""
        self.kernel.at_once = True
        data = bytes(range(256)) * 10
        self.outbox.write(data)
        self.outbox.write(b"end")
        self.assertEqual(self.kernel.taken, data + b"end")
        self.assertEqual(self.outbox.queued_bytes, 0)

    def test_beneath_tls(self) -> None:
        """What is written goes through TLS, and the transport beneath it is asked what the kernel has
        taken."""
        outbox = Outbox(Wrapper(self.kernel), LIMIT)
        outbox.write(b"a" * ROOM)
        outbox.write(b"b")
        self.kernel.take_all()
        self.assertEqual(self.kernel.taken, b"A" * ROOM + b"B")

    def test_sealed(self) -> None:
        """Records that a lane has made go straight to the bottom, count as what the transport was given, and
        what is written after them waits for its turn."""
        bottom = Kernel()
        box = Outbox(Wrapper(bottom), 100)
        box.queue_sealed(b"r" * 40)
        self.assertEqual((bottom.dataBuffer, box.queued_bytes, box.is_clear), (b"r" * 40, 40, False))
        box.write(b"a" * 40)
        self.assertTrue(box.is_blocked)
        bottom.take_all()
        self.assertTrue(box.is_clear)
        self.assertTrue(bottom.taken.startswith(b"r" * 40))
        box.ended()
        box.queue_sealed(b"late")
        self.assertEqual(bottom.dataBuffer, b"")

    def test_transport_that_ends_by_itself(self) -> None:
        """A transport that TLS is ending is not waited for by its producer."""
        self.outbox.write(b"x")
        self.kernel.disconnecting = True
        self.kernel.take()
        self.assertIsNone(self.kernel.producer)


class BoundTests(OutboxTestCase):
    """How much waits."""

    def test_queued_bytes(self) -> None:
        """Bytes count until the kernel has taken them, wherever they wait."""
        self.outbox.write(bytes(500))
        self.outbox.write(bytes(500))
        self.assertEqual(self.outbox.queued_bytes, 1000)
        self.kernel.take(100)
        self.assertEqual(self.outbox.queued_bytes, 900)
        self.kernel.take_all()
        self.assertEqual(self.outbox.queued_bytes, 0)

    def test_full_at_the_limit(self) -> None:
        """It is full when as many bytes wait as the limit says, not one earlier."""
        self.outbox.write(bytes(ROOM))
        self.outbox.write(bytes(LIMIT - ROOM - 1))
        self.assertFalse(self.outbox.is_full)
        self.outbox.write_urgent("pong", b"x")
        self.assertTrue(self.outbox.is_full)
        self.kernel.take(1)
        self.assertFalse(self.outbox.is_full)

    def test_full_in_the_transport(self) -> None:
        """What the transport has counts as well."""
        outbox = Outbox(self.kernel, 2)
        outbox.write(b"a")
        self.assertFalse(outbox.is_full)
        outbox.write(b"b")
        self.assertTrue(outbox.is_full)

    def test_empty_messages(self) -> None:
        """Chunks that wait cost something, however small they are."""
        self.outbox.write(bytes(ROOM))
        count = 0
        while not self.outbox.is_full:
            self.outbox.write(b"x")
            count += 1
        self.assertEqual(count, (LIMIT - ROOM) // LEAST_COST)
        self.kernel.take_all()
        self.assertFalse(self.outbox.is_full)
        self.assertTrue(self.outbox.is_low)

    def test_low(self) -> None:
        """Who waits for it is called once, when half of the limit waits, not before."""
        calls: list[int] = []
        for _ in range(4):
            self.outbox.write(bytes(300))
        self.outbox.call_when_low(lambda: calls.append(self.outbox.queued_bytes))
        self.kernel.take()
        self.assertEqual(calls, [])
        self.kernel.take()
        self.kernel.take()
        self.assertEqual(calls, [300])
        self.kernel.take_all()
        self.assertEqual(calls, [300])

    def test_progress(self) -> None:
        """Whether the kernel takes something can be seen, while something waits."""
        self.outbox.write(bytes(500))
        self.outbox.write(bytes(500))
        seen = {self.outbox.progress}
        self.assertIn(self.outbox.progress, seen)
        self.kernel.take(1)
        self.assertNotIn(self.outbox.progress, seen)
        seen.add(self.outbox.progress)
        self.kernel.take()
        self.assertNotIn(self.outbox.progress, seen)


class RoomTests(SynchronousTestCase):
    """Whether there is room for a message."""

    def setUp(self) -> None:
        self.kernel = Descriptor()
        self.outbox = Outbox(self.kernel, LIMIT)
        for letter in b"abcd":
            self.outbox.write(bytes([letter]) * ROOM)

    def test_kernel_takes_it(self) -> None:
        """A queue that the kernel empties as soon as it is asked is not full; no more is given to it than
        makes room."""
        self.kernel.room = 3 * ROOM
        self.assertTrue(self.outbox.is_full)
        self.assertTrue(self.outbox.has_room())
        self.assertEqual(self.kernel.taken, b"a" * ROOM + b"b" * ROOM + b"c" * ROOM)
        self.assertEqual(self.outbox.queued_bytes, ROOM)
        self.assertTrue(self.outbox.has_room())
        self.assertEqual(self.kernel.told, 3)

    def test_kernel_does_not(self) -> None:
        """A kernel that takes nothing, or too little, is asked once, until it has taken a window by
        itself."""
        for room in (0, 10):
            self.kernel.room = room
            told = self.kernel.told
            self.assertFalse(self.outbox.has_room())
            self.assertGreater(self.kernel.told, told)
            told = self.kernel.told
            self.assertFalse(self.outbox.has_room())
            self.assertEqual(self.kernel.told, told)
            self.kernel.take()
            self.outbox.write(bytes(ROOM))

    def test_who_writes_because_of_it(self) -> None:
        """Who is told that there is room, and writes, does not hand over again in the middle of it."""
        self.kernel.room = 10 * ROOM

        def write() -> None:
            for _ in range(4):
                self.outbox.write(bytes(ROOM))
            self.assertFalse(self.outbox.has_room())

        self.outbox.call_when_low(write)
        self.outbox.has_room()
        self.assertEqual(
            self.kernel.taken[: 4 * ROOM], b"".join(bytes([letter]) * ROOM for letter in b"abcd")
        )

    def test_transport_that_ends(self) -> None:
        """A transport that is ending is told nothing, nor one that cannot be."""
        self.kernel.disconnecting = True
        self.assertFalse(self.outbox.has_room())
        self.assertEqual(self.kernel.told, 0)
        plain = Outbox(Kernel(), LIMIT)
        plain.write(bytes(LIMIT))
        self.assertFalse(plain.has_room())


class DroppingTests(OutboxTestCase):
    """Messages that make room."""

    def fill(self, *, is_droppable: bool) -> None:
        """Five messages: the first is on its way."""
        for letter in b"abcde":
            self.outbox.write(bytes([letter]) * 256, is_droppable=is_droppable)

    def test_oldest(self) -> None:
        """The oldest that wait are dropped, as many as it takes, and counted; what is on its way is not."""
        self.fill(is_droppable=True)
        self.assertTrue(self.outbox.make_room())
        self.assertEqual(self.outbox.dropped, 2)
        self.kernel.take_all()
        self.assertEqual(self.kernel.taken, b"a" * 256 + b"b" * 256 + b"e" * 256)

    def test_nothing_to_drop(self) -> None:
        """What must not be dropped stays, and no room is made."""
        self.fill(is_droppable=False)
        self.assertFalse(self.outbox.make_room())
        self.assertEqual((self.outbox.dropped, self.outbox.queued_bytes), (0, 5 * 256))

    def test_not_what_has_begun(self) -> None:
        """A message of which a byte was written is written to its end."""
        self.outbox.write(b"x" * 2000, is_droppable=True)
        self.assertFalse(self.outbox.make_room())
        self.kernel.take_all()
        self.assertEqual(self.kernel.taken, b"x" * 2000)

    def test_with_room(self) -> None:
        """Nothing is dropped while there is room."""
        self.outbox.write(b"x", is_droppable=True)
        self.assertTrue(self.outbox.make_room())
        self.assertEqual(self.outbox.dropped, 0)


class UrgentTests(OutboxTestCase):
    """Pings and pongs."""

    def test_between_messages(self) -> None:
        """A control frame overtakes the messages that wait, but not inside one."""
        self.outbox.write(b"a" * 600)
        self.outbox.write(b"b" * 100)
        self.outbox.write_urgent("pong", b"P")
        self.kernel.take_all()
        self.assertEqual(self.kernel.taken, b"a" * 600 + b"P" + b"b" * 100)

    def test_latest_of_a_kind(self) -> None:
        """Of a kind that waits, only the latest is written."""
        self.outbox.write(b"a" * 600)
        self.outbox.write(b"b")
        for number in range(1000):
            self.outbox.write_urgent("pong", b"pong %03d" % number)
        self.outbox.write_urgent("ping", b"ping")
        self.assertEqual(self.outbox.queued_bytes, 600 + 1 + 8 + 4)
        self.kernel.take_all()
        self.assertEqual(self.kernel.taken, b"a" * 600 + b"pong 999" + b"ping" + b"b")
        self.assertEqual(self.outbox.queued_bytes, 0)

    def test_each_while_nothing_waits(self) -> None:
        """While output is not blocked, every one is written."""
        for _ in range(3):
            self.outbox.write_urgent("pong", b"P")
        self.assertEqual(self.kernel.dataBuffer, b"PPP")

    def test_behind_a_chunk_on_its_way(self) -> None:
        """A control frame that comes when the last chunk is on its way is written behind it."""
        self.outbox.write(b"a" * 600)
        self.outbox.write_urgent("pong", b"P")
        self.kernel.take_all()
        self.assertEqual(self.kernel.taken, b"a" * 600 + b"P")

    def test_alone(self) -> None:
        """A control frame that waits is written also when all messages were dropped."""
        self.outbox.write(bytes(ROOM))
        self.outbox.write(bytes(2000), is_droppable=True)
        self.outbox.write_urgent("pong", b"P")
        self.assertTrue(self.outbox.make_room())
        self.kernel.take_all()
        self.assertEqual(self.kernel.taken, bytes(ROOM) + b"P")
        self.assertEqual(self.outbox.queued_bytes, 0)

    def test_behind_the_window(self) -> None:
        """When the transport has its window, a control frame waits, and blocks the output."""
        self.outbox.write(bytes(ROOM))
        self.outbox.write_urgent("pong", b"P")
        self.assertTrue(self.outbox.is_blocked)
        self.kernel.take_all()
        self.assertEqual(self.kernel.taken, bytes(ROOM) + b"P")
        self.assertFalse(self.outbox.is_blocked)


class ProducerTests(OutboxTestCase):
    """A program's producer."""

    def test_push(self) -> None:
        """A push producer is paused while something waits."""
        producer = Producer()
        self.outbox.register_producer(producer, True)
        self.outbox.write(b"x")
        self.kernel.take()
        self.assertEqual(producer.told, [])
        self.outbox.write(bytes(600))
        self.outbox.write(b"x")
        self.assertEqual(producer.told, ["pause"])
        self.kernel.take_all()
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_push_when_blocked(self) -> None:
        """One that is registered while something waits is paused at once."""
        self.outbox.write(bytes(600))
        producer = Producer()
        self.outbox.register_producer(producer, True)
        self.assertEqual(producer.told, ["pause"])
        self.kernel.take_all()
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_pull(self) -> None:
        """A pull producer is asked at once, and whenever all is taken."""
        producer = Producer()
        self.outbox.register_producer(producer, False)
        self.assertEqual(producer.told, ["resume"])
        self.outbox.write(bytes(600))
        self.kernel.take()
        self.assertEqual(producer.told, ["resume"])
        self.kernel.take()
        self.assertEqual(producer.told, ["resume", "resume"])

    def test_pull_when_blocked(self) -> None:
        """One that is registered while something waits is asked later."""
        self.outbox.write(bytes(600))
        producer = Producer()
        self.outbox.register_producer(producer, False)
        self.assertEqual(producer.told, [])
        self.kernel.take_all()
        self.assertEqual(producer.told, ["resume"])

    def test_large_chunk_that_is_taken_at_once(self) -> None:
        """A push producer that was paused for a large chunk is resumed when the kernel took it at once."""
        self.kernel.at_once = True
        producer = Producer()
        self.outbox.register_producer(producer, True)
        self.outbox.write(bytes(600))
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_second(self) -> None:
        """There is one producer at a time, and it can be taken back."""
        producer = Producer()
        self.outbox.register_producer(producer, True)
        self.assertRaises(RuntimeError, self.outbox.register_producer, Producer(), True)
        self.assertIs(self.outbox.unregister_producer(), producer)
        self.assertIsNone(self.outbox.unregister_producer())
        self.outbox.write(bytes(600))
        self.assertEqual(producer.told, [])


class EndTests(OutboxTestCase):
    """Flushing and forgetting."""

    def test_finish_at_once(self) -> None:
        """When nothing waits, the transport has everything: it asks no more, and can be shut down."""
        self.outbox.write(b"x")
        calls: list[str] = []
        self.outbox.finish(lambda: calls.append("shut"))
        self.assertEqual(calls, ["shut"])
        self.assertIsNone(self.kernel.producer)

    def test_finish_flushes(self) -> None:
        """What waits is given to the transport first."""
        self.outbox.write(bytes(600))
        self.outbox.write(b"last")
        seen: list[bytes] = []
        self.outbox.finish(lambda: seen.append(self.kernel.taken + self.kernel.dataBuffer))
        self.assertEqual(seen, [])
        self.kernel.take_all()
        self.assertEqual(seen, [bytes(600) + b"last"])

    def test_nobody_waits_after_finish(self) -> None:
        """Who waits for room is not called at the end."""
        self.outbox.write(bytes(2000))
        self.outbox.call_when_low(lambda: self.fail("called"))
        self.outbox.finish(lambda: None)
        self.kernel.take_all()

    def test_discard(self) -> None:
        """What waits is forgotten, and nobody is called any more."""
        self.outbox.write(bytes(2000))
        self.outbox.call_when_low(lambda: self.fail("called"))
        self.outbox.finish(lambda: self.fail("called"))
        self.outbox.discard()
        self.assertEqual(self.outbox.queued_bytes, 0)
        self.assertIsNone(self.kernel.producer)
        self.kernel.take_all()
        self.assertEqual(self.kernel.taken, bytes(ROOM))

    def test_stopProducing(self) -> None:
        """That the transport tells its producer to stop changes nothing: the link is told of its end."""
        self.outbox.write(b"x")
        self.outbox.stopProducing()
        self.assertEqual(self.outbox.queued_bytes, 1)


class AnyOrderTests(SynchronousTestCase):
    """Whatever is written and taken, in any order."""

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_any_order(self, data: st.DataObject) -> None:
        """What was not dropped arrives once, in order, but for control frames; counts are true at every
        step, and drop to 0."""
        kernel = Kernel()
        kernel.at_once = data.draw(st.booleans())
        limit = data.draw(st.sampled_from([1, 10, 100, 1000]))
        outbox = Outbox(kernel, limit)
        kept: list[bytes] = []
        written: list[bytes] = []
        for number in range(data.draw(st.integers(1, 60))):
            step = data.draw(st.sampled_from(["keep", "offer", "urgent", "take", "room"]))
            chunk = b"%d." % number + b"x" * data.draw(st.integers(0, 80)) + b";"
            if step == "keep":
                outbox.write(chunk)
                kept.append(chunk)
                written.append(chunk)
            elif step == "offer" and not outbox.is_full:
                outbox.write(chunk, is_droppable=True)
                written.append(chunk)
            elif step == "urgent":
                outbox.write_urgent("pong", b"P;")
            elif step == "take":
                kernel.take(data.draw(st.integers(0, len(kernel.dataBuffer))))
            elif step == "room" and outbox.make_room():
                self.assertFalse(outbox.is_full)
            self.assertLessEqual(len(kernel.dataBuffer), max(1, limit // 2) + len(b"P;"))
            self.assertGreaterEqual(outbox.queued_bytes, len(kernel.dataBuffer))
        kernel.take_all()
        self.assertEqual(outbox.queued_bytes, 0)
        self.assertTrue(outbox.is_low)
        arrived = [chunk + b";" for chunk in kernel.taken.split(b";")[:-1] if chunk != b"P"]
        self.assertEqual(len(written) - len(arrived), outbox.dropped)
        self.assertEqual(arrived, [chunk for chunk in written if chunk in arrived])
        self.assertEqual([chunk for chunk in kept if chunk not in arrived], [])
