"""Publications as the frames that receivers get: one for plain clients, one for those that speak envelopes,
each made once however many receive it.

Rules of this file: it knows entries and frames, and nobody who sends or receives them.
"""

from __future__ import annotations

import base64

from wsecho.hub.engine import Entry
from wsecho.policy.envelopes import write
from wsecho.wire.frames import Prepared, prepare

__all__ = ["Relayed", "envelope"]


def envelope(kind: str, /, **members: object) -> Prepared:
    """An envelope, framed."""
    return prepare(write(kind, **members), False)


class Relayed(Prepared):
    """A publication on its way to the members of a channel. As a prepared message, it is what plain clients
    get.

    :ivar entry: what it is
    """

    _envelope: Prepared | None = None

    def __init__(self, entry: Entry) -> None:
        publication = entry.publication
        super().__init__(publication.payload, publication.is_binary, applyMask=False, doNotCompress=False)
        self.entry = entry

    @property
    def envelope(self) -> Prepared:
        """The same as an envelope."""
        if self._envelope is None:
            publication, position = self.entry.publication, self.entry.position
            if publication.is_binary:
                content = {"binary": base64.b64encode(publication.payload).decode("ascii")}
            else:
                content = {"text": publication.payload.decode()}
            self._envelope = envelope(
                "message",
                epoch=None if position is None else position.epoch,
                offset=None if position is None else position.offset,
                sender=publication.sender,
                **content,
            )
        return self._envelope
