"""Sizes and durations as people write them: ``64KiB``, ``1MiB``, ``500ms``, ``10s``.

Rules of this file:

- reading and writing are inverse: ``parse_size(format_size(n)) == n`` and the same for durations, so that
  what ``show-config`` prints can be given back;
- only the binary units exist. ``KB`` is refused instead of guessed: it is 1000 for some and 1024 for others;
- digits are ASCII and their number is bounded, so that neither another script's digits nor a number that
  becomes infinite ever gets through;
- every error is a `ValueError` of one line that says what is accepted.

This file knows no option and no default.
"""

from __future__ import annotations

import re
from decimal import Decimal

ACCEPTED_SIZES = "a size in bytes, such as 65536, 64KiB, 1MiB or 1GiB"
ACCEPTED_DURATIONS = "a duration in seconds, such as 10, 0.5, 500ms, 10s or 2m"
ACCEPTED_COUNTS = "a whole number"

_SIZE_UNITS = {"GiB": 1024**3, "MiB": 1024**2, "KiB": 1024}
_SIZE = re.compile(r"([0-9]{1,15})(KiB|MiB|GiB)?")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,30})?)(ms|s|m)?")
_COUNT = re.compile(r"[0-9]{1,15}")


def parse_size(text: str) -> int:
    """Return the number of bytes that `text` means.

    Raises `ValueError` when it is not plain bytes or a whole number of KiB, MiB or GiB.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"accepted is {ACCEPTED_SIZES}")
    number, unit = found.groups()
    return int(number) * (_SIZE_UNITS[unit] if unit else 1)


def format_size(size: int) -> str:
    """Write `size` bytes in the largest unit that divides it, so that nothing is rounded."""
    if size < 0:
        raise ValueError("a size is not negative")
    for unit, factor in _SIZE_UNITS.items():
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def parse_duration(text: str) -> float:
    """Return the seconds that `text` means.

    Raises `ValueError` when it is not plain seconds or a number of ``ms``, ``s`` or ``m``.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"accepted is {ACCEPTED_DURATIONS}")
    number, unit = found.groups()
    # Decimal, because 0.1 * 60 or 1.1 / 1000 in binary would not come back as what was written.
    seconds = Decimal(number)
    if unit == "ms":
        seconds /= 1000
    elif unit == "m":
        seconds *= 60
    return float(seconds)


def format_duration(seconds: float) -> str:
    """Write `seconds` in the unit that needs no fraction, if there is one; plain seconds otherwise."""
    exact = Decimal(repr(float(seconds)))
    if not exact.is_finite() or exact < 0:
        raise ValueError("a duration is finite and not negative")
    if not exact:
        return "0"
    if exact % 60 == 0:
        return f"{int(exact / 60)}m"
    if exact % 1 == 0:
        return f"{int(exact)}s"
    if exact * 1000 % 1 == 0:
        return f"{int(exact * 1000)}ms"
    return f"{exact:f}s"


def parse_count(text: str) -> int:
    """Return the whole number that `text` means; raises `ValueError` for anything else."""
    if _COUNT.fullmatch(text) is None:
        raise ValueError(f"accepted is {ACCEPTED_COUNTS}")
    return int(text)
