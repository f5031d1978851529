"""Tests of the load, load.c: that it counts what an honest server returns, and believes no other."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.processes import running
from tests.benchmarks.lying import Lie, accept_for, frame, lying_server
from tests.benchmarks.tools import tools

#: Messages that a run sends, unless it fails.
MESSAGES = 50


def load(port: int, *options: str) -> dict[str, Any]:
    """What the load reports; it gives a server half a second for each message."""
    command = [str(tools().load), f"--port={port}", f"--messages={MESSAGES}", "--stall=0.5", *options]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    report["status"] = done.returncode
    return report


def honest(payload: bytes, _place: int, number: int) -> dict[int, bytes]:
    """An echo."""
    return {number: frame(payload)}


def lie_once(third: bytes | None = None, *, change: Any = None) -> Lie:
    """An echo, but for the third message: `third`, or what `change` makes of its payload."""

    def lie(payload: bytes, place: int, number: int) -> dict[int, bytes]:
        if place != 2:
            return {number: frame(payload)}
        return {number: change(payload) if third is None else third}

    return lie


class EchoTests(SynchronousTestCase):
    """`--mode=echo`."""

    def assert_noticed(self, lie: Lie, error: str, *options: str) -> None:
        """Such a server is found out."""
        with lying_server(lie) as (port, _):
            report = load(port, *options)
        self.assertRegex(report.get("error", "nothing"), error)
        self.assertEqual(report["status"], 2)

    def test_honest(self) -> None:
        """An echo of each message is counted, and all are sent that were asked for."""
        for options in ((), ("--connections=3", "--window=4"), ("--size=1",), ("--size=300", "--window=70")):
            with lying_server(honest) as (port, _):
                report = load(port, *options)
            self.assertNotIn("error", report)
            self.assertEqual((report["count"], report["status"]), (MESSAGES, 0), options)

    def test_lost(self) -> None:
        """A message that does not come back is missed, also when others come behind it."""
        self.assert_noticed(lie_once(b""), "nothing came for 0.5 s; 1 messages are missing")
        self.assert_noticed(lie_once(b""), "was lost", "--window=4")

    def test_all_of_a_ring_lost(self) -> None:
        """Messages repeat after a while; as many lost as that takes are missed all the same."""

        def lie(payload: bytes, place: int, number: int) -> dict[int, bytes]:
            return {number: b"" if 8 <= place < 16 else frame(payload)}

        self.assert_noticed(lie, "are missing", "--window=2")

    def test_changed(self) -> None:
        """One bit of the payload, the length, or the kind of message."""
        self.assert_noticed(
            lie_once(change=lambda payload: frame(payload[:-1] + bytes([payload[-1] ^ 1]))), "byte 65 "
        )
        self.assert_noticed(lie_once(change=lambda payload: frame(payload[:-1])), "byte 1 ")
        self.assert_noticed(lie_once(change=lambda payload: frame(payload, 0x82)), "is 0x82 instead of 0x81")

    def test_doubled(self) -> None:
        """A message that comes twice."""
        self.assert_noticed(lie_once(change=lambda payload: 2 * frame(payload)), "doubled")

    def test_last_doubled(self) -> None:
        """A message that comes back though nobody sent it, which looks as the next one would."""

        def lie(payload: bytes, place: int, number: int) -> dict[int, bytes]:
            kept.append(payload)
            return {number: frame(payload) + (frame(kept[0]) if place == 7 else b"")}

        kept: list[bytes] = []
        self.assert_noticed(lie, "more messages came back than were sent")

    def test_order(self) -> None:
        """Two messages that change places, next to each other or as far apart as the window lets them."""
        for apart in range(1, 9):
            kept: list[bytes] = []

            def lie(
                payload: bytes, place: int, number: int, kept: list[bytes] = kept, apart: int = apart
            ) -> dict[int, bytes]:
                if not 2 <= place <= 2 + apart:
                    return honest(payload, place, number)
                kept.append(payload)
                if place < 2 + apart:
                    return {}
                kept[0], kept[-1] = kept[-1], kept[0]
                return {number: b"".join(map(frame, kept))}

            self.assert_noticed(lie, "out of order", "--window=9")

    def test_another_connections(self) -> None:
        """A message of one connection that comes out of another."""

        def lie(payload: bytes, place: int, number: int) -> dict[int, bytes]:
            return {1 - number if place == 2 else number: frame(payload)}

        self.assert_noticed(lie, "not this connection's", "--connections=2")

    def test_fragments(self) -> None:
        """A server that makes two frames of a message does other work than the others."""
        self.assert_noticed(
            lie_once(change=lambda payload: frame(payload[:9], 0x01) + frame(payload[9:], 0x80)), "is 0x01"
        )

    def test_closed(self) -> None:
        """A server that closes has not answered, and the code is told."""
        self.assert_noticed(lie_once(frame(b"\x03\xf1", 0x88)), "the server closed, code 1009")

    def test_pings(self) -> None:
        """Pings between messages, even in pieces, are answered and harm nothing."""

        def lie(payload: bytes, place: int, number: int) -> dict[int, bytes]:
            return {number: frame(payload) + frame(b"ping %d" % place, 0x89)}

        with lying_server(lie) as (port, pongs):
            report = load(port)
        self.assertEqual(report.get("count"), MESSAGES)
        self.assertEqual(pongs[:3], [b"ping 0", b"ping 1", b"ping 2"])


class HandshakeTests(SynchronousTestCase):
    """The opening of connections, and `--mode=connect` and `--mode=hold`."""

    def test_connect(self) -> None:
        """Each connection that opened is counted."""
        with lying_server(honest) as (port, _):
            report = load(port, "--mode=connect", "--connections=20", "--at-once=3")
        self.assertEqual((report["count"], report["status"]), (20, 0))

    def test_wrong_accept(self) -> None:
        """An answer to another key is none."""
        with lying_server(honest, accept=lambda key: b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") as (port, _):
            self.assertIn("the accept is wrong", load(port)["error"])

    def test_extension(self) -> None:
        """An extension that nobody offered."""

        def accept(key: bytes) -> bytes:
            return accept_for(key) + b"\r\nSec-WebSocket-Extensions: permessage-deflate"

        with lying_server(honest, accept=accept) as (port, _):
            self.assertIn("an extension that nobody offered", load(port)["error"])

    def test_nobody(self) -> None:
        """Nobody listens: that is an error, not a rate."""
        with lying_server(honest) as (port, _):
            pass
        self.assertIn("error", load(port))

    def test_hold(self) -> None:
        """Connections are held until the input ends; pings are answered, and a message to one is an error."""
        for greeting, expected in ((frame(b"", 0x89), '"held": 3'), (frame(b"hello"), "a message to nobody")):
            with lying_server(honest, greeting=greeting) as (port, pongs):
                command = [str(tools().load), f"--port={port}", "--mode=hold", "--connections=3"]
                done = subprocess.run(
                    command, input="", stdout=subprocess.PIPE, text=True, timeout=60, check=False
                )
            self.assertIn(expected, done.stdout)
            self.assertEqual(len(pongs), 3 if "held" in expected else 0)


def relay(payload: bytes, _place: int, number: int) -> dict[int, bytes]:
    """A broadcast to two receivers; the publisher is the first to connect."""
    return {receiver: frame(payload) for receiver in range(3) if receiver != number}


class BroadcastTests(SynchronousTestCase):
    """`--mode=broadcast`."""

    def report(self, lie: Lie) -> dict[str, Any]:
        """Of a publisher and two receivers, who connect one after the other."""
        options = ("--mode=broadcast", "--connections=2", "--window=2", "--at-once=1")
        with lying_server(lie) as (port, _):
            return load(port, *options)

    def assert_noticed(self, change: Any, error: str) -> None:
        """What `change` makes of the third message for the last receiver is found out."""

        def lie(payload: bytes, place: int, number: int) -> dict[int, bytes]:
            sent = relay(payload, place, number)
            if place == 2:
                sent[2] = change(payload)
            return sent

        self.assertRegex(self.report(lie).get("error", "nothing"), error)

    def test_honest(self) -> None:
        """What each receiver gets is counted."""
        self.assertEqual(self.report(relay).get("count"), 2 * MESSAGES)

    def test_lies(self) -> None:
        """Lost, doubled, changed, for one receiver of two."""
        self.assert_noticed(lambda payload: b"", "lost")
        self.assert_noticed(lambda payload: 2 * frame(payload), "doubled")
        self.assert_noticed(lambda payload: frame(payload[:-1] + b"?"), "was changed")
        self.assert_noticed(lambda payload: frame(payload[:-1]), "is not what was published")

    def test_to_the_publisher(self) -> None:
        """The sender does not hear itself."""

        def lie(payload: bytes, place: int, number: int) -> dict[int, bytes]:
            return {receiver: frame(payload) for receiver in range(3)}

        self.assertEqual(self.report(lie).get("error"), "the publisher got a message")


class LimitTests(SynchronousTestCase):
    """limit.c, judged by the load."""

    def test_all_modes(self) -> None:
        """Echo of small and large messages, and broadcast, are without an error."""
        folder = Path(self.mktemp())
        folder.mkdir()
        with running([str(tools().limit)], folder.absolute()) as target:
            for options in (
                ("--connections=5", "--window=9"),
                ("--size=70000", "--window=3"),
                ("--size=1048576",),
                ("--mode=broadcast", "--path=/broadcast", "--connections=4", "--size=200"),
                ("--mode=connect", "--connections=50"),
            ):
                report = load(target.address.port, *options)
                self.assertNotIn("error", report, options)


class OptionTests(SynchronousTestCase):
    """Wrong options."""

    def test_wrong(self) -> None:
        """Each is one line that says what is wrong."""
        for options, error in (
            (("--mode=shout",), "--mode: shout is not echo, broadcast, connect or hold"),
            (("--window=0",), "--window: 0 is not a number from 1"),
            (("--mode=broadcast", "--size=15"), "--size: a broadcast has at least 16 bytes"),
        ):
            self.assertEqual(load(1, *options)["error"], error)
