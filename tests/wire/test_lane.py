"""Tests for the lane: what it takes, what it leaves, and that it does with a frame what Autobahn does."""

import gc
import os
import subprocess
import sys
from itertools import pairwise
from typing import Any
from weakref import ref

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.harness import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    PING,
    TEXT,
    Frame,
    frame,
    parse_frames,
)
from tests.wire.lane_harness import Case, Owner
from wsecho.wire import lane
from wsecho.wire.protocol import ServerProtocol


class ChoiceTests(SynchronousTestCase):
    """Whether the compiled part is used."""

    def compiled_part(self, **variables: str) -> str:
        script = "from wsecho.wire.lane import native; print(native is not None)"
        environment = {name: value for name, value in os.environ.items() if name != "WSECHO_PURE"} | variables
        command = [sys.executable, "-c", script]
        return subprocess.run(command, env=environment, check=True, text=True, stdout=subprocess.PIPE).stdout

    def test_pure(self) -> None:
        """With WSECHO_PURE=1 the compiled part is not used, although it is there."""
        self.assertEqual(self.compiled_part(WSECHO_PURE="1"), "False\n")

    def test_chosen(self) -> None:
        """Without it, the compiled part is used when there is one."""
        there = lane.native is not None or os.environ.get("WSECHO_PURE") == "1"
        if there:
            self.assertIn(self.compiled_part(), ("True\n", "False\n"))


class OpensslTests(SynchronousTestCase):
    """Whether lanes do TLS."""

    def test_no_addresses(self) -> None:
        """They do not where nobody knows where OpenSSL is."""
        self.patch(lane, "openssl_addresses", lambda: None)
        self.assertFalse(lane._finds_openssl())

    def test_no_compiled_part(self) -> None:
        """Nor without a compiled part, or with one from before it could."""
        for native in (None, object()):
            self.patch(lane, "native", native)
            self.assertFalse(lane._finds_openssl())


class DescribedTests(SynchronousTestCase):
    """What the log says of the compiled part."""

    def test_described(self) -> None:
        """It tells whether there is a compiled part, and when TLS has to do without."""
        for native, seals, words in (
            (None, False, "pure Python"),
            (object(), True, "with its compiled part"),
            (object(), False, "with its compiled part, but not for TLS"),
        ):
            self.patch(lane, "native", native)
            self.patch(lane, "seals", seals)
            self.assertEqual(lane.described(), words)


class ClassTests(SynchronousTestCase):
    """What is remembered of classes of connections."""

    def test_forgotten(self) -> None:
        """Each factory has a class of its own; those of factories that are gone are not kept for ever."""
        references = []
        for _ in range(3 * lane.REMEMBERED_CLASSES):
            made = type("Made", (ServerProtocol,), {})
            self.assertTrue(lane._is_ordinary(made, ServerProtocol))
            self.assertTrue(lane._leaves_messages_to_service(made, ServerProtocol))
            references.append(ref(made))
            del made
        gc.collect()
        alive = sum(one() is not None for one in references)
        self.assertLessEqual(alive, 2 * lane.REMEMBERED_CLASSES)


def cuts(data: bytes, at: list[int]) -> list[bytes]:
    """``data`` cut at these places."""
    edges = [0, *sorted({place % (len(data) + 1) for place in at}), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


messages = st.tuples(st.binary(max_size=300), st.just(True)) | st.tuples(
    st.text(max_size=200).map(lambda text: text.encode()), st.just(False)
)

if lane.native is not None:

    class TakeTests(SynchronousTestCase):
        """What a lane takes from bytes that came."""

        def test_whole_frames(self) -> None:
            """Text and binary messages of every length form are told of, in order, and nothing is left."""
            case = Case()
            sent = [
                (b"x" * size, is_binary) for size in (0, 1, 125, 126, 65535, 65536) for is_binary in (0, 1)
            ]
            data = b"".join(frame(BINARY if is_binary else TEXT, payload) for payload, is_binary in sent)
            self.assertEqual(case.take(data), b"")
            self.assertEqual(case.owner.told, [(payload, bool(is_binary)) for payload, is_binary in sent])

        def test_unusual(self) -> None:
            """From the first frame that is not ordinary on, the bytes are left as they are."""
            ordinary = frame(TEXT, b"hello")
            for name, unusual in (
                ("ping", frame(PING, b"?")),
                ("close", frame(CLOSE)),
                ("fragment", frame(TEXT, b"a", fin=False)),
                ("continuation", frame(CONTINUATION, b"a")),
                ("reserved bit", frame(TEXT, b"a", rsv=4)),
                ("reserved opcode", frame(3, b"a")),
                ("no mask", frame(TEXT, b"a", mask=b"")),
                ("long form, 16 bits", b"\x82\xfe\x00\x05" + MASK + b"abcde"),
                ("long form, 64 bits", b"\x82\xff" + bytes(6) + b"\x00\x05" + MASK + b"abcde"),
                ("length without end", b"\x82\xff" + b"\xff" * 8 + MASK),
                ("larger than the limit", frame(BINARY, b"x" * 2000)),
                ("not UTF-8", frame(TEXT, b"caf\xe9")),
                ("surrogate", frame(TEXT, b"\xed\xa0\x80")),
                ("cut character", frame(TEXT, "€".encode()[:2])),
            ):
                case = Case(limit=1000)
                self.assertEqual(case.take(ordinary + unusual + ordinary), unusual + ordinary, name)
                self.assertEqual(case.owner.told, [(b"hello", False)], name)
                self.assertEqual(case.counters.incomingOctetsWireLevel, len(ordinary), name)

        def test_owner_asks(self) -> None:
            """A lane that echoes tells its owner instead while it is asked to, also of a frame that was begun
            before; one that never echoes does not begin to."""
            case = Case(echoes=True)
            case.owner.do = lambda payload, is_binary: case.lane.echo_again()
            begun = frame(TEXT, b"1" * 100)
            case.take(begun[:50])
            case.lane.tell_owner()
            case.take(begun[50:] + frame(TEXT, b"2"))
            messages = [one for one in case.owner.told if isinstance(one, tuple)]
            self.assertEqual(messages, [(b"1" * 100, False)])
            self.assertEqual(case.link.queued, b"\x81\x012")
            never = Case()
            never.lane.echo_again()
            never.take(frame(TEXT, b"3"))
            self.assertEqual((never.owner.told, never.link.queued), ([(b"3", False)], b""))

        def test_limit(self) -> None:
            """A message of exactly the limit is taken."""
            case = Case(limit=1000)
            self.assertEqual(case.take(frame(BINARY, b"x" * 1000)), b"")

        def test_byte_by_byte(self) -> None:
            """A frame that comes byte by byte is a message when its last byte is there."""
            for size in (0, 5, 200, 70000):
                case = Case()
                data = frame(TEXT, b"x" * size)
                for byte in data[:-1]:
                    self.assertEqual(case.take(bytes([byte])), b"")
                self.assertEqual([one for one in case.owner.told if one != "part began"], [])
                self.assertIsNotNone(case.lane.frame_on_its_way)
                case.take(data[-1:])
                self.assertEqual(case.owner.told[-1], (b"x" * size, False))
                self.assertIsNone(case.lane.frame_on_its_way)

        def test_memory_is_used_again(self) -> None:
            """Memory of a large message is used for the next only when the program has not kept it."""
            case = Case()
            kept: list[bytes] = []
            seen: list[bytes] = []

            def look(payload: bytes, is_binary: bool) -> None:
                case.owner.told.clear()
                seen.append(payload[:1] + payload[-1:])
                hash(payload)
                if len(seen) % 2:
                    kept.append(payload)

            case.owner.do = look
            for i in range(12):
                size = 100_000 + 7_000 * (i % 3)
                data = frame(BINARY, bytes([i]) * size)
                self.assertEqual(case.take(data[:50_000]) + case.take(data[50_000:]), b"")
            self.assertEqual(seen, [bytes([i, i]) for i in range(12)])
            for i, payload in enumerate(kept):
                self.assertEqual(payload, bytes([2 * i]) * (100_000 + 7_000 * (2 * i % 3)))
                self.assertEqual(hash(payload), hash(bytes(payload + b"")))

        def test_small_memory_is_used_again(self) -> None:
            """So is that of small ones, of whatever sizes; a message that is kept stays as it was."""
            case = Case()
            kept: list[tuple[int, bytes, int]] = []
            told = 0

            def look(payload: bytes, is_binary: bool) -> None:
                nonlocal told
                case.owner.told.clear()
                self.assertEqual(payload, bytes([told % 251]) * sizes[told])
                self.assertEqual(payload + b"\0", bytes(bytearray(payload) + b"\0"))
                seen = hash(payload)
                if told % 3 == 0:
                    kept.append((told, payload, seen))
                told += 1

            case.owner.do = look
            sizes = [64, 64, 60, 64, 50, 49, 49, 48, 1, 1, 0, 0, 2, 2, 600, 590, 590, 64] * 5
            data = b"".join(frame(BINARY, bytes([i % 251]) * size) for i, size in enumerate(sizes))
            self.assertEqual(case.take(data), b"")
            self.assertEqual(told, len(sizes))
            for i, payload, seen in kept:
                self.assertEqual(payload, bytes([i % 251]) * sizes[i])
                self.assertEqual(seen, hash(bytes(bytearray(payload))))

        def test_part_that_is_not_utf8(self) -> None:
            """As soon as a part of a text cannot become UTF-8, all its bytes are left for Autobahn, which
            tells the peer: it does not wait for the rest."""
            case = Case()
            data = frame(TEXT, b"good\xff" + b"x" * 1000)
            self.assertEqual(case.take(data[:10]), b"")
            self.assertEqual(case.take(data[10:20]), data[:20])
            self.assertEqual(case.counters.incomingOctetsWireLevel, 0)

        def test_part_of_a_head_that_turns_out_unusual(self) -> None:
            """A head that came in parts, and is not ordinary, is left whole."""
            case = Case()
            data = b"\x82\xfe\x00\x05" + MASK + b"abcde"
            for byte in data[:3]:
                self.assertEqual(case.take(bytes([byte])), b"")
            self.assertEqual(case.take(data[3:]), data)

        def test_announced_only(self) -> None:
            """A peer that announces a gigabyte and sends a few bytes makes nothing large."""
            case = Case(limit=1 << 40)
            self.assertEqual(
                case.take(frame(BINARY, b"")[:1] + b"\xff" + (1 << 39).to_bytes(8, "big") + MASK), b""
            )
            self.assertEqual(case.take(b"few"), b"")

        def test_held(self) -> None:
            """The message during which the program holds reading is the last; the rest is left."""
            case = Case()
            case.owner.do = lambda *message: case.lane.hold()
            rest = frame(TEXT, b"two")
            self.assertEqual(case.take(frame(TEXT, b"one") + rest), rest)
            self.assertEqual(case.take(rest), rest)
            case.lane.release()
            self.assertEqual(case.take(rest), b"")
            self.assertEqual(case.owner.told, [(b"one", False), (b"two", False)])

        def test_closed(self) -> None:
            """The message during which the connection closes is the last, and a closed lane takes nothing."""
            case = Case()
            case.owner.do = lambda *message: case.lane.close()
            rest = frame(TEXT, b"two")
            self.assertEqual(case.take(frame(TEXT, b"one") + rest), rest)
            self.assertEqual(case.take(rest), rest)
            self.assertFalse(case.lane.is_open)

        def test_closed_inside_a_frame(self) -> None:
            """A lane that is closed gives back the part of a frame that it has: Autobahn must find the next
            frame, which may be Close."""
            case = Case()
            data = frame(BINARY, b"x" * 100)
            self.assertEqual(case.take(data[:50]), b"")
            case.lane.close()
            self.assertEqual(case.take(data[50:]), data)

        def test_budget(self) -> None:
            """No more messages are taken than asked for."""
            case = Case()
            one = frame(TEXT, b"one")
            self.assertEqual(case.take(one * 5, budget=2), one * 3)

        def test_exception(self) -> None:
            """An exception of the program's is reported to the protocol, and nothing is lost."""
            case = Case()

            def fail(payload: bytes, is_binary: bool) -> None:
                raise ValueError(payload)

            case.owner.do = fail
            case.take(frame(TEXT, b"one") + frame(TEXT, b"two"))
            self.assertEqual(case.owner.told, [(b"one", False), "failed", (b"two", False), "failed"])

        def test_fed_while_it_takes(self) -> None:
            """Feeding a lane from within is an error, not a message out of order."""
            case = Case()
            errors = []

            def feed(payload: bytes, is_binary: bool) -> None:
                try:
                    case.lane.take(frame(TEXT, b"two"), 0, 1)
                except RuntimeError as error:
                    errors.append(error)

            case.owner.do = feed
            self.assertEqual(case.take(frame(TEXT, b"one")), b"")
            self.assertEqual(len(errors), 1)

        def test_two_lanes(self) -> None:
            """A lane may be fed while another takes; each writes its own answers."""
            outer, inner = Case(), Case()
            inner.owner.do = lambda payload, is_binary: inner.lane.send(b"inner", True)

            def feed(payload: bytes, is_binary: bool) -> None:
                outer.lane.send(b"before", True)
                inner.take(frame(TEXT, b"x"))
                outer.lane.send(b"after", True)

            outer.owner.do = feed
            outer.take(frame(TEXT, b"x"))
            self.assertEqual(list(parse_frames(inner.link.queued)), [Frame(BINARY, b"inner")])
            self.assertEqual(
                list(parse_frames(outer.link.queued)), [Frame(BINARY, b"before"), Frame(BINARY, b"after")]
            )

        @settings(max_examples=100, deadline=None)
        @given(sent=st.lists(messages, max_size=8), at=st.lists(st.integers(0, 5000), max_size=12))
        def test_cut_anywhere(self, sent: list[Any], at: list[int]) -> None:
            """However the bytes are cut, the messages are the same, and so is what is counted."""
            case = Case()
            data = b"".join(
                frame(BINARY if is_binary else TEXT, payload, mask=bytes([i, 7, 0, 255]))
                for i, (payload, is_binary) in enumerate(sent)
            )
            for piece in cuts(data, at):
                self.assertEqual(case.take(piece), b"")
            self.assertEqual([one for one in case.owner.told if one != "part began"], sent)
            self.assertEqual(case.counters.incomingOctetsWireLevel, len(data))
            self.assertEqual(case.counters.incomingOctetsAppLevel, sum(len(payload) for payload, _ in sent))
            self.assertEqual(case.counters.incomingWebSocketMessages, len(sent))

        @settings(max_examples=150, deadline=None)
        @given(payload=st.binary(max_size=80), at=st.lists(st.integers(0, 90), max_size=4))
        def test_utf8(self, payload: bytes, at: list[int]) -> None:
            """A text is taken when, and only when, Python decodes it as UTF-8."""
            case = Case()
            left = b""
            for piece in cuts(frame(TEXT, payload), at):
                left = left + piece if left else case.take(piece)
            try:
                payload.decode()
                self.assertEqual(left, b"")
            except UnicodeDecodeError:
                self.assertEqual(left, frame(TEXT, payload))

    class SendTests(SynchronousTestCase):
        """What a lane writes."""

        def test_encode(self) -> None:
            """A frame has the shortest head that fits, and no mask."""
            for size in (0, 125, 126, 65535, 65536):
                for is_binary in (False, True):
                    made = lane.native.encode(b"x" * size, is_binary)
                    self.assertEqual(
                        list(parse_frames(made)), [Frame(BINARY if is_binary else TEXT, b"x" * size)]
                    )

        def test_answers_are_joined(self) -> None:
            """What is sent while messages are taken is written in one piece, in order, with what others put
            between it."""
            case = Case()

            def answer(payload: bytes, is_binary: bool) -> None:
                case.lane.send(payload, is_binary)
                case.lane.put(b"\x8a\x00")
                self.assertEqual(case.link.queued, b"")

            case.owner.do = answer
            case.take(frame(TEXT, b"one") + frame(TEXT, b"two"))
            self.assertEqual(case.link.queued, b"\x81\x03one\x8a\x00\x81\x03two\x8a\x00")

        def test_counted(self) -> None:
            """What is sent is counted as Autobahn counts it."""
            case = Case()
            self.assertTrue(case.lane.send(b"x" * 200, False))
            counters = case.counters
            self.assertEqual(
                (
                    counters.outgoingWebSocketMessages,
                    counters.outgoingWebSocketFrames,
                    counters.outgoingOctetsAppLevel,
                    counters.outgoingOctetsWebSocketLevel,
                    counters.outgoingOctetsWireLevel,
                ),
                (1, 1, 200, 200, 204),
            )

        def test_not_for_the_lane(self) -> None:
            """What is not bytes, a connection that closes, and a full outbox are left to the protocol."""
            case = Case()
            self.assertFalse(case.lane.send("text", False))
            self.assertFalse(case.lane.send(b"text", 0))
            case.link.is_full = True
            self.assertFalse(case.lane.send(b"text", False))
            case.link.is_full = False
            case.lane.close()
            self.assertFalse(case.lane.send(b"text", False))
            self.assertEqual(case.link.queued, b"")
            self.assertEqual(case.counters.outgoingWebSocketMessages, 0)

        def test_in_place_of_the_owners(self) -> None:
            """In the place of the owner's sendMessage, it sends what is for the lane and leaves the rest to
            that, also when the connection has gone; and keeps nothing of it alive."""
            case = Case()
            told: list[Any] = []

            def send(self: Any, *arguments: Any) -> None:
                told.append(arguments)

            case.owner.__class__ = type("Sending", (Owner,), {"sendMessage": send})
            send_message = case.lane.sendMessage
            send_message(b"one")
            send_message(b"two", True)
            send_message(payload=b"three", isBinary=False, doNotCompress=True)
            self.assertEqual(case.link.queued, b"\x81\x03one\x82\x03two\x81\x05three")
            send_message("text")
            send_message(b"parts", fragmentSize=1)
            self.assertRaises(TypeError, send_message)
            self.assertEqual(told, [("text", False, None, False, False), (b"parts", False, 1, False, False)])
            told.clear()
            case.lane.abandon()
            send_message(b"late")
            self.assertEqual(told, [(b"late", False, None, False, False)])
            del case.owner
            send_message(b"later")
            self.assertEqual(len(told), 1)
            self.assertEqual(case.counters.outgoingWebSocketMessages, 3)

        def test_echo(self) -> None:
            """A lane that echoes sends messages back without asking, text as text, whole or in parts, and
            nothing of one that is not UTF-8."""
            case = Case(echoes=True)
            wrong = frame(TEXT, b"\xff")
            data = frame(TEXT, b"one") + frame(BINARY, b"\xff" * 300) + wrong
            self.assertEqual(case.take(data[:100]) + case.take(data[100:]), wrong)
            self.assertEqual(
                list(parse_frames(case.link.queued)), [Frame(TEXT, b"one"), Frame(BINARY, b"\xff" * 300)]
            )
            self.assertEqual(case.counters.outgoingOctetsAppLevel, 303)
            self.assertEqual(case.counters.outgoingOctetsWireLevel, len(case.link.queued))
            self.assertEqual(
                [one for one in case.owner.told if one not in ("part began", "output waits")], []
            )
