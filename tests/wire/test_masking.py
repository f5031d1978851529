"""Tests for masked frames."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.client_harness import parse_masked
from tests.wire.harness import Frame
from wsecho.wire.masking import MaskSource, masked_frame, random_mask


class FrameTests(SynchronousTestCase):
    """The bytes of a frame."""

    def test_example(self) -> None:
        """The frame is that of RFC 6455 section 5.7."""
        self.assertEqual(
            masked_frame(1, b"Hello", bytes.fromhex("37fa213d")), bytes.fromhex("818537fa213d7f9f4d5158")
        )

    def test_qt_vector(self) -> None:
        """The mask goes through the payload as in Qt's own test."""
        frame = masked_frame(2, b"abcdefgh", bytes.fromhex("12345678"))
        self.assertEqual(frame[6:], bytes.fromhex("7356351c77523110"))

    def test_zero(self) -> None:
        """A mask of zeros leaves the payload, but the frame is a masked one."""
        self.assertEqual(masked_frame(1, b"hello", bytes(4)), b"\x81\x85\0\0\0\0hello")

    def test_bits(self) -> None:
        """A fragment has no FIN bit, a compressed message its RSV1."""
        self.assertEqual(masked_frame(0, b"", bytes(4), fin=False)[0], 0x00)
        self.assertEqual(masked_frame(1, b"", bytes(4), rsv=4)[0], 0xC1)

    @given(st.sampled_from([0, 1, 4, 125, 126, 127, 65535, 65536, 70001]), st.binary(min_size=4, max_size=4))
    def test_sizes(self, size: int, key: bytes) -> None:
        """A payload of any size comes out of the frame as it went in, and its length is written in the
        shortest form."""
        payload = bytes(range(256)) * (size // 256 + 1)
        frame = masked_frame(2, payload[:size], key)
        self.assertEqual(list(parse_masked(frame)), [(Frame(2, payload[:size]), key)])
        self.assertEqual(len(frame) - size, 6 if size < 126 else 8 if size < 65536 else 14)


class MaskSourceTests(SynchronousTestCase):
    """Where masks come from."""

    def test_random(self) -> None:
        """Masks differ from each other."""
        source = MaskSource()
        self.assertGreater(len({source.next_key() for _ in range(50)}), 45)
        self.assertTrue(0 <= random_mask() < 2**32)

    def test_generator(self) -> None:
        """A program's numbers are taken, most significant byte first, 0 and the largest included."""
        numbers = iter([0x12345678, 0, 2**32 - 1])
        source = MaskSource(lambda: next(numbers))
        self.assertEqual([source.next_key() for _ in range(3)], [b"\x12\x34\x56\x78", bytes(4), b"\xff" * 4])

    def test_failing_generator(self) -> None:
        """A generator that raises, or gives no 32-bit number, is logged, and a random mask is taken."""

        def raising() -> int:
            raise RuntimeError("no entropy")

        for generate, error in (
            (raising, RuntimeError),
            (lambda: 2**32, OverflowError),
            (lambda: -1, OverflowError),
            (lambda: "x", AttributeError),
        ):
            key = MaskSource(generate).next_key()  # type: ignore[arg-type]
            self.assertEqual(len(key), 4)
            self.assertEqual(len(self.flushLoggedErrors(error)), 1)
