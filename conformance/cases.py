"""Which cases the Autobahn suite has, by section and group, and which of them the quick sample takes.

The list stands here and is not asked of the suite: a suite that has lost cases, or a report that leaves some
out, must be seen as incomplete. Pure: no files, no processes.
"""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

__all__ = ["ALL_CASES", "GROUPS", "SAMPLE", "SECTIONS", "case_key", "select"]

SECTIONS: dict[int, str] = {
    1: "Framing",
    2: "Pings and pongs",
    3: "Reserved bits",
    4: "Opcodes",
    5: "Fragmentation",
    6: "UTF-8 handling",
    7: "Close handling",
    9: "Limits and performance",
    10: "Auto-fragmentation",
    12: "Compression, different payloads",
    13: "Compression, different parameters",
}
"""Subject of each section. The suite has no sections 8 and 11."""

# fmt: off
GROUPS: dict[str, int] = {
    "1.1": 8, "1.2": 8, "2": 11, "3": 7, "4.1": 5, "4.2": 5, "5": 20,
    "6.1": 3, "6.2": 4, "6.3": 2, "6.4": 4, "6.5": 5, "6.6": 11, "6.7": 4, "6.8": 2, "6.9": 4, "6.10": 3,
    "6.11": 5, "6.12": 8, "6.13": 5, "6.14": 10, "6.15": 1, "6.16": 3, "6.17": 5, "6.18": 5, "6.19": 5,
    "6.20": 7, "6.21": 8, "6.22": 34, "6.23": 7,
    "7.1": 6, "7.3": 6, "7.5": 1, "7.7": 13, "7.9": 9, "7.13": 2,
    "9.1": 6, "9.2": 6, "9.3": 9, "9.4": 9, "9.5": 6, "9.6": 6, "9.7": 6, "9.8": 6, "10.1": 1,
    "12.1": 18, "12.2": 18, "12.3": 18, "12.4": 18, "12.5": 18,
    "13.1": 18, "13.2": 18, "13.3": 18, "13.4": 18, "13.5": 18, "13.6": 18, "13.7": 18,
}
# fmt: on
"""Number of cases in each group of autobahntestsuite 25.10.1; in a group they count from 1 without a gap."""


def case_key(case: str) -> tuple[int, ...]:
    """Return what sorts cases in the suite's order: ``9.2.1`` before ``10.1.1``.

    :raises ValueError: *case* is no dotted number.
    """
    return tuple(int(part) for part in case.split("."))


ALL_CASES: tuple[str, ...] = tuple(
    f"{group}.{number}" for group, count in GROUPS.items() for number in range(1, count + 1)
)
"""Every case, in the suite's order."""


def select(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the cases that match one of *patterns*, each once, in the suite's order.

    :param patterns: a case (``7.1.6``) or a pattern with ``*`` (``7.*``), matched from end to end.
    :raises ValueError: a pattern matches no case; a misspelt one must not make an empty, successful run.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        matching = {case for case in ALL_CASES if fnmatchcase(case, pattern)}
        if not matching:
            raise ValueError(f"{pattern!r} matches no case; give a case like 7.1.6 or a pattern like 7.*")
        chosen |= matching
    return tuple(sorted(chosen, key=case_key))


def _sample() -> Iterator[str]:
    """Yield all cases of sections 1 to 10, and two of each compression group.

    A group of section 12 or 13 sends 1,000 messages in each of 18 cases: numbers 1 to 10 double their size
    from 16 bytes to 128 KiB, 11 to 18 are fragmented. All of them take ten minutes. One case of each kind
    from each group, the next number in the next group, still meets every group, size and fragmentation, in
    less than one.
    """
    compression = [group for group in GROUPS if group.startswith(("12.", "13."))]
    yield from (case for case in ALL_CASES if not case.startswith(("12.", "13.")))
    for place, group in enumerate(compression):
        yield f"{group}.{1 + place % 10}"
        yield f"{group}.{11 + place % 8}"


SAMPLE: tuple[str, ...] = tuple(_sample())
"""The quick choice, always the same, in the suite's order."""
