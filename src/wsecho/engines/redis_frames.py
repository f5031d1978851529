"""How publications look in Redis: the body of an entry, and the message that tells nodes of several.

Rules of this file: pure functions over bytes. Whatever did not come from a wsecho is `Foreign`, whoever sent
it and however large it is: nothing here trusts what it reads, and nothing quotes it.

A body is one byte of version, one of flags, one each for the length of the sender and of the id, then sender,
id and payload. A message is a line ``1 EPOCH FIRST LENGTH...`` and then so many bodies, or a line
``P NODE COUNT``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wsecho.hub.engine import Publication

__all__ = ["LONGEST_NAME", "Batch", "Foreign", "Presence", "pack_body", "read_body", "read_message"]

#: Bytes of a sender or of an id.
LONGEST_NAME = 255

_VERSION = 1
_BINARY = 1
_HEAD = 4
_BATCH = re.compile(rb"1 ([A-Za-z0-9_-]{1,64}) ([0-9]{1,16})((?: [0-9]{1,10})+)")
_PRESENCE = re.compile(rb"P ([A-Za-z0-9._-]{1,128}) ([0-9]{1,10})")
#: A longer first line is foreign; a batch is cut long before (`wsecho.engines.redis`).
_LONGEST_LINE = 16 * 1024


class Foreign(ValueError):
    """Not written by a wsecho, or by one of a later version."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Publications that were stored in one go."""

    epoch: str
    first: int
    """The offset of the first; the others follow without a gap."""
    publications: tuple[Publication, ...]

    @property
    def last(self) -> int:
        """The offset of the last."""
        return self.first + len(self.publications) - 1


@dataclass(frozen=True, slots=True)
class Presence:
    """How many are on the channel, after a change by `node`."""

    node: str
    count: int


def pack_body(publication: Publication) -> bytes:
    """Write a publication.

    Raises:
        ValueError: its sender or id is longer than `LONGEST_NAME` bytes.
    """
    sender, message_id = publication.sender.encode(), publication.message_id.encode()
    if len(sender) > LONGEST_NAME or len(message_id) > LONGEST_NAME:
        raise ValueError(f"a sender or an id of more than {LONGEST_NAME} bytes")
    head = bytes((_VERSION, _BINARY if publication.is_binary else 0, len(sender), len(message_id)))
    return b"".join((head, sender, message_id, publication.payload))


def read_body(body: bytes) -> Publication:
    """Read a publication; `Foreign` when it is none."""
    if len(body) < _HEAD or body[0] != _VERSION or body[1] > _BINARY:
        raise Foreign
    sender_end = _HEAD + body[2]
    id_end = sender_end + body[3]
    if len(body) < id_end:
        raise Foreign
    payload = body[id_end:]
    is_binary = body[1] == _BINARY
    try:
        sender, message_id = body[_HEAD:sender_end].decode(), body[sender_end:id_end].decode()
        if not is_binary:
            # Text that is not UTF-8 would make every client close its connection (RFC 6455 section 8.1).
            payload.decode()
    except UnicodeDecodeError:
        raise Foreign from None
    return Publication(payload, is_binary, sender, message_id)


def read_message(message: bytes, largest: int) -> Batch | Presence:
    """Read what came over a subscription; `Foreign` when it is not of a wsecho, or has a payload of more than
    `largest` bytes (0: no limit)."""
    end = message.find(b"\n", 0, _LONGEST_LINE)
    if end < 0:
        found = _PRESENCE.fullmatch(message[: _LONGEST_LINE + 1])
        if found is None:
            raise Foreign
        return Presence(found[1].decode(), int(found[2]))
    head = _BATCH.fullmatch(message[:end])
    if head is None:
        raise Foreign
    publications = []
    at = end + 1
    for length in map(int, head[3].split()):
        publication = read_body(message[at : at + length])
        if largest and len(publication.payload) > largest:
            raise Foreign
        publications.append(publication)
        at += length
    first = int(head[2])
    if at != len(message) or first < 1:
        raise Foreign
    return Batch(head[1].decode(), first, tuple(publications))
