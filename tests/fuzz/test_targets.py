"""The fuzz targets, on the stored corpus and without atheris."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from fuzz import targets
from fuzz.run import CORPUS
from fuzz.targets import TARGETS
from tests.wire.harness import TEXT, frame, handshake
from tests.wire.streams import Heard, wsecho_hears
from wsecho.wire.admission import HeadBuffer, parse_head


def stored(target: str) -> dict[str, bytes]:
    """The inputs of a target by file name."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}


class CorpusTests(SynchronousTestCase):
    """What was found once stays found."""

    def replay(self, target: str) -> None:
        """Run a target on each stored input."""
        for name, data in stored(target).items():
            try:
                TARGETS[target](data)
            except Exception as error:
                raise AssertionError(f"fuzz/corpus/{target}/{name}: {error}") from error

    def test_head(self) -> None:
        """What must hold for a request head holds for each stored one."""
        self.replay("head")

    def test_frames(self) -> None:
        """What must hold for frames holds for all that are stored."""
        self.replay("frames")

    def test_envelopes(self) -> None:
        """What must hold for both ends of the subprotocol holds for all messages that are stored."""
        self.replay("envelopes")

    def test_both_outcomes(self) -> None:
        """Some stored heads are good and some are not, of frames likewise: the corpus reaches both."""
        results = {targets._read_head([data])[0] for data in stored("head").values()}
        self.assertEqual(results, {"head", "refused", "incomplete"})
        heard = [targets._hear([data[1:]], bool(data[0] & 1)) for data in stored("frames").values()]
        self.assertTrue(any(one.told for one in heard))
        self.assertTrue({1000, 1002, 1007, 1009} <= {one.close_code for one in heard})


class TargetTests(SynchronousTestCase):
    """A target notices what it is there to notice."""

    def test_nothing(self) -> None:
        """No bytes at all are as good as any."""
        for target in TARGETS.values():
            target(b"")

    def test_head_that_depends_on_cuts(self) -> None:
        """A head that is read differently in pieces fails the target."""

        def forgetful(self: HeadBuffer, data: bytes) -> tuple[bytes, bytes] | None:
            return (data, b"") if data.endswith(b"\r\n\r\n") else None

        with patch.object(HeadBuffer, "feed", forgetful):
            self.assertRaises(AssertionError, targets.head, handshake())

    def test_head_with_line_ends(self) -> None:
        """A header that holds a line end of any kind fails the target."""
        parsed = parse_head(handshake(), max_line=512, max_lines=30)
        for end in targets._LINE_ENDS:
            parsed.headers["x"] = f"a{end}b"  # type: ignore[index]
            self.assertRaises(AssertionError, targets._check_head, parsed)

    def frames_heard(self, change: Callable[[list[bytes], Heard], Heard]) -> None:
        """The target with a server that hears otherwise."""

        def hears(pieces: list[bytes], **options: object) -> Heard:
            return change(pieces, wsecho_hears(pieces))

        with patch.object(targets, "wsecho_hears", hears):
            targets.frames(b"\x04" + frame(TEXT, b"hello"))

    def test_frames_that_depend_on_cuts(self) -> None:
        """Frames that mean something else in pieces fail the target."""
        self.frames_heard(lambda pieces, heard: heard)

        def other(pieces: list[bytes], heard: Heard) -> Heard:
            return heard if len(pieces) == 1 else Heard((), (), None, None)

        self.assertRaises(AssertionError, self.frames_heard, other)

    def test_much_output(self) -> None:
        """A server that writes much more than came fails the target."""

        def much(pieces: list[bytes], heard: Heard) -> Heard:
            return Heard(heard.told, heard.frames * 100, None, None)

        self.assertRaises(AssertionError, self.frames_heard, much)
