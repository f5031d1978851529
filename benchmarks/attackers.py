"""What each attack does, in a process of its own.

    python -m benchmarks.attackers NAME HOST PORT [--certificate=PEM]

writes one line of JSON, a :class:`Report`. Each attack is bounded in bytes and in time, and knows nothing of
the server that it meets: it tells how it fared, and :mod:`benchmarks.attacks` judges.
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.peer import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEFLATE,
    PING,
    TEXT,
    Ended,
    Frame,
    Peer,
    close_frame,
    frame,
)
from benchmarks.processes import Address

__all__ = ["ATTACKS", "Report", "deflated", "main"]

_KIB = 1024
_MIB = 1024 * 1024
#: Of those who never read: the sooner their kernel takes no more, the more is left to the server.
_SMALL_WINDOW = 16 * _KIB
#: Who could send nothing for so long is held back.
_HELD_SECONDS = 1.5
_ECHO = "/echo"
_CHANNEL = "/broadcast"


@dataclass(frozen=True, slots=True)
class Report:
    """How the attackers fared.

    :ivar ends: how many of them ended how: ``held back`` (the server reads no more), ``took all`` (it took
        whatever was sent), ``served`` (it did, and answered), ``close CODE``, ``HTTP STATUS``, ``end``,
        ``reset``, ``not ended``
    :ivar sent_bytes: by all of them
    :ivar others: of those who took part and did no harm, how many got all that was for them
    :ivar expected_others: how many there were
    """

    ends: Mapping[str, int]
    sent_bytes: int = 0
    others: int = 0
    expected_others: int = 0


@dataclass(slots=True)
class _Attacker:
    """One attacker in :func:`_play`.

    :ivar data: what it sends, over and over
    :ivar total: bytes that it sends at most
    :ivar reads: whether it reads what comes
    :ivar done: whether these frames are all that it waits for
    """

    peer: Peer
    data: bytes
    total: int
    reads: bool = False
    done: Callable[[Frame], bool] = lambda _: False
    end: str = ""
    sent: int = 0
    moved_at: float = field(default_factory=time.monotonic)

    def events(self) -> int:
        wanted = select.POLLRDHUP
        if self.sent < self.total:
            wanted |= select.POLLOUT
        return wanted | select.POLLIN if self.reads else wanted

    def act(self, events: int, now: float) -> None:
        """Do what can be done now."""
        try:
            if self.reads and events & ~select.POLLOUT:
                self._read()
            if not self.end and events & select.POLLOUT:
                self._send(now)
            if not self.reads and events & (select.POLLERR | select.POLLHUP | select.POLLRDHUP):
                self.end = _last_word(self.peer)
        except Ended as ended:
            self.end = self.end or _last_word(self.peer, str(ended))

    def _read(self) -> None:
        while data := self.peer.read():
            self.moved_at = time.monotonic()
            for one in self.peer.frames.feed(data):
                if one.opcode == CLOSE:
                    self.end = f"close {one.code}"
                    return
                if self.done(one):
                    self.end = "served"

    def _send(self, now: float) -> None:
        place = self.sent % len(self.data)
        piece = memoryview(self.data)[place : place + self.total - self.sent]
        taken = self.peer.send(piece)
        self.sent += taken
        if taken:
            self.moved_at = now


def _last_word(peer: Peer, otherwise: str = "reset", seconds: float = 0.5) -> str:
    """What the server said last: its Close, if one can still be read."""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            for one in peer.frames.feed(peer.read()):
                if one.opcode == CLOSE:
                    return f"close {one.code}"
            peer.wait(select.POLLIN, 0.05)
    except Ended as ended:
        return str(ended)
    return otherwise


def _play(attackers: Sequence[_Attacker], seconds: float, *, until_end: bool = False) -> None:
    """Let them act until each has an end, or time is up.

    :param until_end: whether one that can send no more is waited for: the server is to end it, or to answer
    """
    deadline = time.monotonic() + seconds
    while True:
        now = time.monotonic()
        acting = [one for one in attackers if not one.end]
        if not acting or now > deadline:
            break
        poll = select.poll()
        by_descriptor = {}
        for one in acting:
            by_descriptor[one.peer.fileno()] = one
            poll.register(one.peer, one.events())
        for descriptor, events in poll.poll(100):
            by_descriptor[descriptor].act(events, now)
        if not until_end:
            for one in acting:
                if one.end:
                    continue
                if one.sent >= one.total:
                    one.end = "took all"
                elif now - one.moved_at > _HELD_SECONDS:
                    one.end = "held back"
    for one in attackers:
        if not one.end:
            one.end = "not ended" if until_end else "took all" if one.sent >= one.total else "kept busy"


def _report(attackers: Sequence[_Attacker], *, others: int = 0, expected_others: int = 0) -> Report:
    ends = Counter(one.end for one in attackers)
    return Report(dict(ends), sum(one.sent for one in attackers), others, expected_others)


def _silent(address: Address, path: str, *headers: str) -> Peer:
    """A peer that is open, and whose kernel takes little."""
    return Peer(address, receive_buffer=_SMALL_WINDOW).open(path, *headers)


# -- who does not read ---------------------------------------------------------------------------------------


def _echo_unread(address: Address, number: int, total: int) -> Report:
    data = frame(BINARY, bytes(64 * _KIB))
    attackers = [_Attacker(_silent(address, _ECHO), data, total) for _ in range(number)]
    _play(attackers, 10)
    return _report(attackers)


def echo_unread(address: Address) -> Report:
    """One peer sends 256 MiB to echo and reads nothing."""
    return _echo_unread(address, 1, 256 * _MIB)


def echo_unread_by_six(address: Address) -> Report:
    """Six peers do so with 48 MiB each."""
    return _echo_unread(address, 6, 48 * _MIB)


def pings_unread(address: Address) -> Report:
    """One peer sends 64 MiB of pings and reads no pong."""
    data = frame(PING, bytes(125)) * 500
    attackers = [_Attacker(_silent(address, _ECHO), data, 64 * _MIB)]
    _play(attackers, 10)
    return _report(attackers)


def _broadcast_unread(address: Address, number: int, messages: int, *, deflate: bool = False) -> Report:
    slow = [_Attacker(_silent(address, _CHANNEL), b"", 0) for _ in range(number)]
    reader = Peer(address).open(_CHANNEL)
    ahead = 16
    if deflate:
        # More would be more than even the one who reads may have waiting.
        ahead = 1
        publisher = Peer(address).open(_CHANNEL, DEFLATE)
        data = frame(BINARY, deflated(_MIB), rsv=4)
    else:
        publisher = Peer(address).open(_CHANNEL)
        data = frame(BINARY, bytes(16 * _KIB))
    received = sent = 0
    deadline = time.monotonic() + 20
    try:
        # Never far ahead of the one who reads, who would be slow otherwise.
        while received < messages and time.monotonic() < deadline:
            if sent < messages and sent - received < ahead:
                publisher.send_whole(data)
                sent += 1
            else:
                reader.wait(select.POLLIN, 0.1)
            while got := reader.read():
                received += sum(one.opcode == BINARY for one in reader.frames.feed(got))
    except Ended:
        pass
    for one in slow:
        one.reads = True
    # What they would have got had they read: a server that kept all of it for them delivers it now.
    _play(slow, 2, until_end=True)
    ends = Counter(one.end if one.end != "not ended" else "all kept for it" for one in slow)
    return Report(dict(ends), sent * len(data), int(received == messages), 1)


def broadcast_unread(address: Address) -> Report:
    """64 MiB are published to one subscriber that reads nothing, and to one that does."""
    return _broadcast_unread(address, 1, 4096)


def broadcast_unread_by_twenty(address: Address) -> Report:
    """16 MiB are published to twenty subscribers that read nothing, and to one that does."""
    return _broadcast_unread(address, 20, 1024)


def broadcast_inflated(address: Address) -> Report:
    """Messages of 1 MiB, compressed to 1 KiB, are published to five subscribers that know no compression and
    read nothing, and to one that does."""
    return _broadcast_unread(address, 5, 64, deflate=True)


# -- work for nothing ----------------------------------------------------------------------------------------


def _fragments(address: Address, payload: bytes, number: int) -> Report:
    peer = Peer(address).open(_ECHO)
    first, middle, last = (
        frame(opcode, payload, fin=fin)
        for opcode, fin in ((TEXT, False), (CONTINUATION, False), (CONTINUATION, True))
    )
    data = b"".join((first, middle * (number - 2), last))
    attackers = [_Attacker(peer, data, len(data), reads=True, done=lambda one: one.opcode == TEXT)]
    _play(attackers, 30, until_end=True)
    return _report(attackers)


def fragments(address: Address) -> Report:
    """One message in 1,000,000 fragments of one byte."""
    return _fragments(address, b"x", 1_000_000)


def empty_fragments(address: Address) -> Report:
    """One message in 3,000,000 empty fragments."""
    return _fragments(address, b"", 3_000_000)


def tiny_messages(address: Address) -> Report:
    """Messages of one byte at full speed for five seconds; each echo is read."""
    peer = Peer(address).open(_ECHO)
    blob, echo = frame(TEXT, b"x") * 8192, b"\x81\x01x"
    in_blob, sent, received = 8192 * len(echo), 0, 0
    deadline, last = time.monotonic() + 5, time.monotonic() + 20
    place = 0
    end = "not ended"
    try:
        while time.monotonic() < last:
            sending = place or time.monotonic() < deadline
            events = peer.wait(select.POLLIN | (select.POLLOUT if sending else 0), 0.1)
            if sending and events & select.POLLOUT:
                place += peer.send(memoryview(blob)[place:])
                if place == len(blob):
                    place, sent = 0, sent + 1
            while data := peer.read():
                # Every echo is alike, so that counting them is cheap enough not to slow the attack.
                if data.count(b"\x88"):
                    return Report({"closed": 1}, sent * len(blob))
                received += len(data)
            if not sending and received == sent * in_blob:
                end = "served"
                break
    except Ended as ended:
        end = str(ended)
    return Report({end: 1}, sent * len(blob))


def tiny_messages_unread(address: Address) -> Report:
    """Messages of one byte at full speed for five seconds; nothing is read."""
    attackers = [_Attacker(_silent(address, _ECHO), frame(TEXT, b"x") * 8192, 256 * _MIB)]
    _play(attackers, 5)
    return _report(attackers)


def tiny_messages_in_bursts(address: Address) -> Report:
    """200 peers send 1,024 messages of one byte each, all in the same moment, once a second, four times;
    each echo is read."""
    burst = frame(TEXT, b"x") * 1024
    expected = 4 * 1024 * 3
    peers = [Peer(address).open(_ECHO) for _ in range(200)]
    received = dict.fromkeys(peers, 0)
    ends: dict[Peer, str] = {}
    for _ in range(4):
        again = time.monotonic() + 1
        owed = {peer: memoryview(burst) for peer in peers if peer not in ends}
        while (left := again - time.monotonic()) > 0 or owed:
            if left < -10:
                break
            poll = select.poll()
            by_descriptor = {}
            for peer in peers:
                if peer not in ends:
                    by_descriptor[peer.fileno()] = peer
                    poll.register(peer, select.POLLIN | (select.POLLOUT if peer in owed else 0))
            for descriptor, events in poll.poll(max(0.0, left) * 1000):
                peer = by_descriptor[descriptor]
                try:
                    if events & select.POLLOUT:
                        rest = owed[peer][peer.send(owed[peer]) :]
                        if rest:
                            owed[peer] = rest
                        else:
                            del owed[peer]
                    received[peer] += len(peer.read())
                except Ended as ended:
                    ends[peer] = str(ended)
                    owed.pop(peer, None)
    deadline = time.monotonic() + 20
    for peer in peers:
        try:
            while peer not in ends and received[peer] < expected and time.monotonic() < deadline:
                peer.wait(select.POLLIN, 1)
                received[peer] += len(peer.read())
        except Ended as ended:
            ends[peer] = str(ended)
        if received[peer] == expected:
            ends[peer] = "served"
    counted = Counter(ends.get(peer, "not served") for peer in peers)
    return Report(dict(counted), len(peers) * 4 * len(burst))


def trickle(address: Address) -> Report:
    """A message of 1 MiB (over TLS 64 KiB), one byte in each segment."""
    size = _MIB if address.certificate is None else 64 * _KIB
    peer = Peer(address).open(_ECHO)
    data = memoryview(frame(BINARY, bytes(size)))
    attacker = _Attacker(peer, b"", 0, reads=True, done=lambda one: one.opcode == BINARY)
    deadline = time.monotonic() + 20
    try:
        while attacker.sent < len(data) and time.monotonic() < deadline:
            taken = peer.send(data[attacker.sent : attacker.sent + 1])
            attacker.sent += taken
            if not taken:
                peer.wait(select.POLLOUT, 0.1)
    except Ended:
        attacker.end = _last_word(peer)
    _play([attacker], 10, until_end=True)
    return _report([attacker])


# -- compression ---------------------------------------------------------------------------------------------


def deflated(size: int) -> bytes:
    """So many zeros, as permessage-deflate sends them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    whole = b"".join(packer.compress(bytes(min(_MIB, size - at))) for at in range(0, size, _MIB))
    return (whole + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def deflate_bomb(address: Address) -> Report:
    """A message of 256 MiB, compressed to 255 KiB."""
    data = frame(BINARY, deflated(256 * _MIB), rsv=4)
    peer = Peer(address).open(_ECHO, DEFLATE)
    attackers = [_Attacker(peer, data, len(data), reads=True, done=lambda one: one.opcode == BINARY)]
    _play(attackers, 15, until_end=True)
    return _report(attackers)


def deflate_echo_unread(address: Address) -> Report:
    """Messages of 1 MiB, compressed to 1 KiB, at full speed for six seconds; nothing is read."""
    peer = _silent(address, _ECHO, DEFLATE)
    attackers = [_Attacker(peer, frame(BINARY, deflated(_MIB), rsv=4), 64 * _MIB)]
    _play(attackers, 6)
    return _report(attackers)


# -- who never opens -----------------------------------------------------------------------------------------


def _http_end(peer: Peer) -> str:
    data = b""
    try:
        while True:
            data += peer.read()
            if data.startswith(b"HTTP/1.1 ") and len(data) > 11:
                return f"HTTP {data[9:12].decode('ascii', 'replace')}"
            if not peer.wait(select.POLLIN, 0.1):
                return ""
    except Ended as ended:
        return str(ended)


def slow_heads(address: Address) -> Report:
    """Fifty peers send a request head byte by byte, ten a second, and never finish it."""
    peers = [Peer(address) for _ in range(50)]
    ends: dict[int, str] = {}
    head = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Padding: " + b"a" * 1000
    deadline = time.monotonic() + 9
    sent = 0
    for byte in head:
        if len(ends) == len(peers) or time.monotonic() > deadline:
            break
        for number, peer in enumerate(peers):
            if number in ends:
                continue
            try:
                sent += peer.send(bytes([byte]))
            except Ended as ended:
                ends[number] = str(ended)
                continue
            if peer.wait(select.POLLIN, 0) and (end := _http_end(peer)):
                ends[number] = end
        time.sleep(0.1)
    for number in range(len(peers)):
        ends.setdefault(number, "not ended")
    return Report(dict(Counter(ends.values())), sent)


def endless_head(address: Address) -> Report:
    """A request head of 10 MiB that never ends, in segments of 512 bytes."""
    peer = Peer(address)
    peer.send_whole(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Padding: ")
    sent, deadline = 0, time.monotonic() + 20
    end = ""
    try:
        while sent < 10 * _MIB and time.monotonic() < deadline:
            taken = peer.send(b"a" * 512)
            sent += taken
            # Looked at now and then, so that the answer is found before a reset throws it away.
            if not taken or sent % (16 * _KIB) == 0:
                peer.wait(select.POLLOUT, 0.1)
                if peer.wait(select.POLLIN, 0) and (end := _http_end(peer)):
                    break
    except Ended as ended:
        end = str(ended)
    end = end or ("took all" if sent >= 10 * _MIB else "held back")
    return Report({end: 1}, sent)


def silent_peers(address: Address) -> Report:
    """2,000 peers connect and say nothing."""
    peers = {}
    for _ in range(2000):
        peer = Peer(address)
        peers[peer.fileno()] = peer
    poll = select.poll()
    for peer in peers.values():
        poll.register(peer, select.POLLIN | select.POLLRDHUP)
    deadline = time.monotonic() + 12
    number = len(peers)
    while peers and time.monotonic() < deadline:
        for descriptor, _ in poll.poll(100):
            peer = peers[descriptor]
            try:
                peer.read()
            except Ended:
                poll.unregister(descriptor)
                del peers[descriptor]
                peer.close()
    ends = {"end": number - len(peers), "not ended": len(peers)}
    return Report({end: count for end, count in ends.items() if count})


# -- who never ends ------------------------------------------------------------------------------------------


def _await_death(peers: Sequence[Peer], seconds: float) -> int:
    """How many of the connections have ended altogether after so long, told without reading from them."""
    deadline = time.monotonic() + seconds
    while True:
        alive = [one for one in peers if not one.wait(0, 0) & (select.POLLERR | select.POLLHUP)]
        if not alive or time.monotonic() > deadline:
            return len(peers) - len(alive)
        time.sleep(0.05)


def close_unread(address: Address) -> Report:
    """Six peers send to echo, three of them 384 KiB and three 8 MiB, then Close; they read nothing and do not
    end their side."""
    data = frame(BINARY, bytes(128 * _KIB))
    attackers = [
        _Attacker(Peer(address, receive_buffer=4 * _KIB).open(_ECHO), data, len(data) * count)
        for count in (3, 3, 3, 64, 64, 64)
    ]
    _play(attackers, 5)
    peers = [one.peer for one in attackers]
    for one in attackers:
        try:
            # Whoever is held back inside a frame cannot say it any more.
            if one.sent == one.total:
                one.peer.send(close_frame(1000))
        except Ended:
            pass
    ended = _await_death(peers, 12)
    ends = {"reset": ended, "not ended": len(peers) - ended}
    return Report({end: count for end, count in ends.items() if count}, sum(one.sent for one in attackers))


def close_unanswered(address: Address) -> Report:
    """Five peers send an illegal frame, read the server's Close, never answer it and do not end their
    side."""
    peers = [Peer(address).open(_ECHO) for _ in range(5)]
    for peer in peers:
        peer.send_whole(frame(TEXT, b"no mask", masked=False))
    ends = Counter([_last_word(peer, "nothing", 2) for peer in peers])
    ended = _await_death(peers, 8)
    if ended < len(peers):
        ends["not ended"] = len(peers) - ended
    return Report(dict(ends))


def stalled(address: Address) -> Report:
    """Five peers stop inside a frame, five between two fragments of a message."""
    whole = frame(TEXT, b"hello")
    peers = [Peer(address).open(_ECHO) for _ in range(10)]
    for number, peer in enumerate(peers):
        peer.send_whole(whole[:8] if number % 2 else frame(TEXT, b"hello", fin=False))
    attackers = [_Attacker(peer, b"", 0, reads=True) for peer in peers]
    _play(attackers, 10, until_end=True)
    return _report(attackers)


ATTACKS: Mapping[str, Callable[[Address], Report]] = {
    play.__name__: play
    for play in (
        echo_unread,
        echo_unread_by_six,
        pings_unread,
        broadcast_unread,
        broadcast_unread_by_twenty,
        broadcast_inflated,
        fragments,
        empty_fragments,
        tiny_messages,
        tiny_messages_unread,
        tiny_messages_in_bursts,
        trickle,
        deflate_bomb,
        deflate_echo_unread,
        slow_heads,
        endless_head,
        silent_peers,
        close_unread,
        close_unanswered,
        stalled,
    )
}


def main(arguments: Sequence[str]) -> None:
    """Play one attack and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attackers")
    parser.add_argument("name", choices=sorted(ATTACKS))
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--certificate")
    options = parser.parse_args(arguments)
    report = ATTACKS[options.name](Address(options.host, options.port, options.certificate))
    print(json.dumps({name: getattr(report, name) for name in Report.__slots__}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
