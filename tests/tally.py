"""Add up what the steps of a CI run say, and close its log with one line that a machine can read.

    python -m tests.tally STEPS

STEPS is a text file with a line `KIND STATUS LOG NAME` for each step: KIND is `trial` or `check`, STATUS the
exit status, LOG the file that holds the step's output, NAME what a reader calls it. The numbers are trial's
own, read from the last line of each trial run; they are never counted anew here. Two rules keep them honest:

* whatever is not a success counts against the run: errors and unexpected successes are failures, and a test
  marked as a known failure ("todo") counts as skipped, because it shows nothing;
* a step without numbers counts as one failure if its exit status is not 0 and as nothing otherwise; so does a
  trial run that ended without its closing line, or with a bad exit status and no failure to show for it.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_SUMMARY = re.compile(r"^(?P<verdict>PASSED|FAILED)(?: \((?P<counts>[^()]*)\))?$", re.MULTILINE)
_COUNT = re.compile(r"(\w+)=(\d+)")
_PASSED = ("successes",)
_FAILED = ("failures", "errors", "unexpectedSuccesses")
_SKIPPED = ("skips", "expectedFailures")


@dataclass(frozen=True, slots=True)
class Tally:
    """Numbers of tests by outcome."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    @property
    def is_clean(self) -> bool:
        """Whether tests ran and every one of them passed."""
        return self.passed > 0 and self.failed == 0 and self.skipped == 0


def tally_trial(output: str, status: int) -> Tally:
    """Return the numbers of one trial run from its whole output and its exit status."""
    summaries = list(_SUMMARY.finditer(output))
    if not summaries:
        return Tally(failed=1)
    counts = {name: int(number) for name, number in _COUNT.findall(summaries[-1]["counts"] or "")}
    unknown = counts.keys() - {*_PASSED, *_FAILED, *_SKIPPED}
    failed = sum(counts.get(name, 0) for name in (*_FAILED, *unknown))
    is_unexplained = failed == 0 and (status != 0 or summaries[-1]["verdict"] == "FAILED")
    return Tally(
        passed=sum(counts.get(name, 0) for name in _PASSED),
        failed=failed + is_unexplained,
        skipped=sum(counts.get(name, 0) for name in _SKIPPED),
    )


def tally_steps(steps: Iterable[str]) -> Tally:
    """Return the sum over the lines of a steps file.

    Raises:
        ValueError: a line is not `KIND STATUS LOG NAME`, or its KIND is neither `trial` nor `check`.
    """
    total = Tally()
    for step in steps:
        kind, status, log, _name = step.split(maxsplit=3)
        if kind == "trial":
            total += tally_trial(Path(log).read_text(encoding="utf-8", errors="replace"), int(status))
        elif kind == "check":
            total += Tally(failed=int(int(status) != 0))
        else:
            raise ValueError(f"unknown kind of step: {step!r}")
    return total


def main(arguments: Sequence[str]) -> int:
    """Print the closing line for the steps file in `arguments`; return 0 when it is clean, else 1."""
    (steps,) = arguments
    total = tally_steps(Path(steps).read_text(encoding="utf-8").splitlines())
    print(total)
    return 0 if total.is_clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
