"""Any bytes of a client, cut anywhere: the same as in one piece, and the same as at Autobahn alone."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.harness import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame
from tests.wire.streams import Heard, autobahn_hears, cut, wsecho_hears
from wsecho.services.echo import EchoServerProtocol

#: Small, so that streams reach it.
LIMIT = 2000
#: As far above what a stream can hold as LIMIT is below.
AMPLE = 1024 * 1024

Maker = Callable[..., bytes]


def deflated(payload: bytes) -> bytes:
    """The payload as permessage-deflate has it on the wire (RFC 7692 section 7.2.1), without context
    takeover."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


MASKS = st.binary(min_size=4, max_size=4)
#: Each form of the length, and both sides of the limit.
SIZES = st.sampled_from(
    (0, 1, 2, 3, 4, 5, 7, 8, 9, 124, 125, 126, 127, 128, 700, LIMIT - 1, LIMIT, LIMIT + 1)
)
TEXTS = st.text(max_size=60).map(str.encode) | SIZES.map(lambda size: b"a" * size)
#: Damaged in the ways that UTF-8 knows: cut, overlong, a surrogate, beyond the last character.
NO_TEXTS = st.sampled_from(
    (b"\xff", b"ok\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a" * 200 + b"\x80", b"\xe2\x82")
)
BINARIES = st.binary(max_size=60) | SIZES.map(bytes)


@st.composite
def messages(draw: st.DrawFn, compressed: bool) -> bytes:
    """A message in one frame or in fragments, with control frames between them."""
    is_text = draw(st.booleans())
    payload = draw(TEXTS | NO_TEXTS if is_text else BINARIES)
    rsv = 0
    if compressed and draw(st.booleans()):
        payload, rsv = deflated(payload), 4
    ends = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    pieces = [payload[a:b] for a, b in zip([0, *ends], [*ends, len(payload)], strict=True)]
    data = b""
    for number, piece in enumerate(pieces):
        opcode = CONTINUATION if number else TEXT if is_text else BINARY
        last = number == len(pieces) - 1
        data += frame(opcode, piece, fin=last, rsv=0 if number else rsv, mask=draw(MASKS))
        if not last and draw(st.booleans()):
            data += draw(CONTROLS)
    return data


CONTROLS = st.builds(
    lambda opcode, payload, mask: frame(opcode, payload, mask=mask),
    st.sampled_from((PING, PONG)),
    st.binary(max_size=125),
    MASKS,
)

CLOSES = st.builds(
    close, st.sampled_from((None, 1000, 1001, 1011, 3000, 4999)), st.just(b"") | st.just("grüße".encode())
).filter(lambda data: len(data) != 6 + len("grüße".encode()))

#: Illegal, each in its own way.
DAMAGES = st.sampled_from(
    (
        frame(TEXT, b"unmasked", mask=b""),
        frame(TEXT, b"reserved bit", rsv=1),
        frame(TEXT, b"other reserved bit", rsv=2),
        frame(TEXT, b"no compression was agreed on", rsv=4),
        frame(CONTINUATION, b"of nothing"),
        frame(TEXT, b"never finished", fin=False) + frame(TEXT, b"another"),
        frame(TEXT, b"never finished", fin=False) + frame(CONTINUATION, b"compressed", rsv=4),
        frame(3, b"reserved opcode"),
        frame(7),
        frame(11, b"reserved control"),
        frame(15),
        frame(PING, b"in parts", fin=False),
        frame(PING, bytes(126)),
        frame(CLOSE, bytes(126)),
        frame(PONG, b"compressed", rsv=4),
        frame(CLOSE, b"\x03"),
        close(1005),
        close(1006),
        close(1015),
        close(999),
        close(2999),
        close(5000),
        close(1000, b"\xff"),
        # Lengths in a longer form than needed, and with the first bit set (RFC 6455 section 5.2).
        b"\x81\xfe\x00\x7d" + b"\0\0\0\0" + bytes(125),
        b"\x82\xff" + (65535).to_bytes(8, "big") + b"\0\0\0\0" + bytes(10),
        b"\x82\xff" + (1 << 63).to_bytes(8, "big") + b"\0\0\0\0",
        b"\x82\xff" + (1 << 62).to_bytes(8, "big") + b"\0\0\0\0",
        # The end is missing.
        frame(TEXT, b"half a frame")[:-4],
        frame(BINARY, bytes(300))[:3],
        b"\x81",
    )
)


@st.composite
def streams(draw: st.DrawFn, compressed: bool = False) -> bytes:
    """A client's frames, most of them legal."""
    legal = draw(st.lists(messages(compressed) | CONTROLS, max_size=6))
    data = b"".join([*legal, draw(st.just(b"") | st.just(b"") | CLOSES | DAMAGES)])
    if draw(st.booleans()):
        data += draw(messages(compressed) | CONTROLS | CLOSES | DAMAGES)
    # A byte that the line changed.
    if data and draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(data) - 1))
        data = data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
    return data


CUTS = st.lists(st.integers(0, 3000), max_size=30)


class CutTests(SynchronousTestCase):
    """Streams as hypothesis finds them."""

    def assert_same_everywhere(
        self, data: bytes, cuts: list[int], *, compression: bool = False, limit: int = LIMIT
    ) -> Heard:
        """The stream means the same in one piece, cut there, and in single bytes; its meaning is returned."""
        whole = wsecho_hears([data] if data else [], compression=compression, max_message_size=limit)
        pieces = wsecho_hears(cut(data, cuts), compression=compression, max_message_size=limit)
        self.assertEqual(pieces, whole)
        if len(data) < 1500:
            single = wsecho_hears(
                cut(data, range(len(data))), compression=compression, max_message_size=limit
            )
            self.assertEqual(single, whole)
        return whole

    @settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(streams(), CUTS)
    def test_any_stream(self, data: bytes, cuts: list[int]) -> None:
        """Any stream means the same wherever it is cut, and what it means at Autobahn alone."""
        heard = self.assert_same_everywhere(data, cuts)
        model = autobahn_hears([data] if data else [], max_message_size=LIMIT)
        self.assertEqual(dataclasses.replace(heard, end=None), model)

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(streams(), CUTS)
    def test_any_stream_at_the_echo_service(self, data: bytes, cuts: list[int]) -> None:
        """The echo service, which may take a way of its own, answers what a program does that echoes."""
        model = autobahn_hears([data] if data else [], max_message_size=LIMIT)
        for pieces in (cut(data, []), cut(data, cuts)):
            heard = wsecho_hears(pieces, program=EchoServerProtocol, max_message_size=LIMIT)
            self.assertEqual(dataclasses.replace(heard, end=None), dataclasses.replace(model, told=()))

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(streams(compressed=True), CUTS)
    def test_any_compressed_stream(self, data: bytes, cuts: list[int]) -> None:
        """So does any stream with compressed messages in it."""
        heard = self.assert_same_everywhere(data, cuts, compression=True, limit=AMPLE)
        try:
            model = autobahn_hears([data] if data else [], compression=True, max_message_size=AMPLE)
        except zlib.error:
            # Autobahn 26.7.1, the oldest that wsecho takes, has no answer to what cannot be inflated.
            self.assertEqual(heard.close_code, 1007)
        else:
            self.assertEqual(dataclasses.replace(heard, end=None), model)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(streams(compressed=True), CUTS)
    def test_limits_of_compressed_streams(self, data: bytes, cuts: list[int]) -> None:
        """So does one that reaches the limit, whatever it means."""
        self.assert_same_everywhere(data, cuts, compression=True)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=600), CUTS)
    def test_noise(self, data: bytes, cuts: list[int]) -> None:
        """So does noise."""
        heard = self.assert_same_everywhere(data, cuts)
        model = autobahn_hears([data] if data else [], max_message_size=LIMIT)
        self.assertEqual(dataclasses.replace(heard, end=None), model)

    def test_one_byte_too_many(self) -> None:
        """A compressed message that becomes one byte more than the limit is 1009 wherever it is cut, also
        when zlib has taken all of it before the last byte is asked for; one of exactly the limit is
        taken."""
        packed = bytes.fromhex("62601805a360148c8251300a46c150070400")
        for payload, code in (
            (packed, 1009),
            (deflated(bytes(LIMIT + 1)), 1009),
            (deflated(bytes(LIMIT)), None),
        ):
            data = frame(BINARY, payload, rsv=4)
            heard = self.assert_same_everywhere(data, [10], compression=True)
            self.assertEqual((heard.close_code, len(heard.told)), (code, int(code is None)))

    def test_many_at_once(self) -> None:
        """A segment with more messages than are worked on in one turn gives all of them, in order."""
        data = b"".join(frame(TEXT, b"%d" % number) for number in range(3000))
        whole = wsecho_hears([data], max_message_size=LIMIT)
        self.assertEqual([payload for _, payload, _ in whole.told], [b"%d" % n for n in range(3000)])
        self.assertEqual(wsecho_hears(cut(data, range(0, len(data), 1000)), max_message_size=LIMIT), whole)
        self.assertEqual(dataclasses.replace(whole, end=None), autobahn_hears([data], max_message_size=LIMIT))

    def test_model_can_tell(self) -> None:
        """Two streams that mean different things are heard as different, by both."""
        one, other = frame(TEXT, b"1"), frame(BINARY, b"1")
        self.assertNotEqual(
            wsecho_hears([one], max_message_size=LIMIT), wsecho_hears([other], max_message_size=LIMIT)
        )
        self.assertNotEqual(
            autobahn_hears([one], max_message_size=LIMIT), autobahn_hears([other], max_message_size=LIMIT)
        )
