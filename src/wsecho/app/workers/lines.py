"""What passes between the supervisor and a worker: JSON values, one for each line.

Rules of this file: both ends are ours, so a line that is no JSON is a bug and raises. Nothing of a peer's is
believed here: what it sent is a string inside a value.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LineDecoder", "encode_line"]


def encode_line(value: Any) -> bytes:
    """Return a JSON value as one line, with its end."""
    # ASCII: whatever a string holds, the line end is the only one.
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


class LineDecoder:
    """Calls `take` with each value whose line is complete.

    :param take: gets the values in their order
    """

    __slots__ = ("_parts", "_take")

    def __init__(self, take: Callable[[Any], object]) -> None:
        self._take = take
        # Joined once a line has its end: a list of all connections comes in many pieces.
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        first, *rest = data.split(b"\n")
        self._parts.append(first)
        if not rest:
            return
        whole = b"".join(self._parts)
        self._parts = [rest.pop()]
        for line in (whole, *rest):
            self._take(json.loads(line))
