"""What must hold for any bytes. A target takes bytes and raises when it does not hold.

No atheris in here: tests run the targets on the stored corpus. Those of this file know the wire and its test
harness, nothing above; `fuzz.envelopes` is about the channels that stand on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fuzz.envelopes import envelopes
from tests.wire.streams import Heard, cut, wsecho_hears
from wsecho.policy.http import HttpAnswer, render
from wsecho.wire.admission import HeadBuffer, HeadRefused, RequestHead, Upgrade, check_upgrade, parse_head

__all__ = ["TARGETS", "frames", "head"]

#: Smaller than by default, so that the fuzzer reaches them.
_MAX_HEAD, _MAX_LINE, _MAX_LINES = 2048, 512, 30
_MAX_MESSAGE = 4096

_LINE_ENDS = frozenset("\r\n\0\x0b\x0c\x1c\x1d\x1e")


def _read_head(pieces: Sequence[bytes]) -> tuple[object, ...]:
    """What admission makes of a head that comes in these pieces."""
    buffer = HeadBuffer(_MAX_HEAD)
    try:
        for number, piece in enumerate(pieces):
            complete = buffer.feed(piece)
            if complete is not None:
                whole, rest = complete
                parsed = parse_head(whole, max_line=_MAX_LINE, max_lines=_MAX_LINES)
                _check_head(parsed)
                upgrade = check_upgrade(parsed, [13]) if parsed.wants_websocket else None
                _check_upgrade(upgrade)
                return "head", parsed, upgrade, rest + b"".join(pieces[number + 1 :])
            assert len(buffer) < _MAX_HEAD, "more is kept than the limit"
    except HeadRefused as refusal:
        # Answers are complete whatever was refused, and have nothing of the request in them.
        answer = render(HttpAnswer(refusal.status, refusal.headers, refusal.detail.encode("ascii")))
        assert answer.startswith(b"HTTP/1.1 "), answer
        return "refused", refusal.status, refusal.detail, refusal.headers
    return "incomplete", len(buffer)


def _check_head(parsed: RequestHead) -> None:
    assert parsed.path.startswith("/"), parsed.path
    for text in (parsed.method, parsed.path, parsed.query, *parsed.headers, *parsed.headers.values()):
        assert not _LINE_ENDS.intersection(text), f"a line end in {text!r}"
    for name, value in parsed.headers.items():
        assert name == name.lower() and name.isascii() and " " not in name and name, name
        # Of fields that are joined, the first or the last may be empty.
        is_joined = value.startswith(", ") or value.endswith(", ")
        assert is_joined or value == value.strip(" \t"), value
    assert "transfer-encoding" not in parsed.headers
    assert parsed.host_name


def _check_upgrade(upgrade: Upgrade | None) -> None:
    if upgrade is not None:
        assert upgrade.version == 13 and len(upgrade.key) == 24, upgrade
        assert len(set(upgrade.subprotocols)) == len(upgrade.subprotocols)


def head(data: bytes) -> None:
    """A request head: it is read, refused with a status, or incomplete, and which of them does not depend on
    how it is cut into segments."""
    whole = _read_head([data])
    for pieces in (cut(data, range(len(data))), cut(data, range(0, len(data), 7))):
        found = _read_head(pieces or [data])
        # A head without end is refused as soon as it is too large, and nothing is kept of it.
        assert found == whole, f"{found} in pieces, {whole} in one"


def frames(data: bytes) -> None:
    """Frames behind an opening handshake: nothing raises, what is written is bounded by what came, and what
    it all means does not depend on how it is cut. The first byte chooses compression and the cuts."""
    if not data:
        return
    compression, step = bool(data[0] & 1), 2 + (data[0] >> 1)
    stream = data[1:]
    whole = _hear([stream] if stream else [], compression)
    for places in (range(0, len(stream), step), range(min(len(stream), 300))):
        found = _hear(cut(stream, places), compression)
        assert found == whole, f"{found} in pieces, {whole} in one"
    arrived = sum(len(event[1]) for event in whole.told)
    written = sum(len(frame.payload) for frame in whole.frames)
    # An echo is as long as its message; compressed noise is a little longer.
    assert written <= arrived + (arrived >> 4) + 64 * (len(whole.told) + 1), (written, arrived)
    assert all(len(event[1]) <= _MAX_MESSAGE for event in whole.told)


def _hear(pieces: Sequence[bytes], compression: bool) -> Heard:
    return wsecho_hears(pieces, compression=compression, max_message_size=_MAX_MESSAGE)


TARGETS: Mapping[str, Callable[[bytes], None]] = {"head": head, "frames": frames, "envelopes": envelopes}
