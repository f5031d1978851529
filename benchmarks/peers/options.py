"""What the servers of this folder have in common: their options, and how they say where they listen."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BACKLOG", "MOST", "Options", "announce", "read_options"]

#: Connections that may wait to be accepted: a burst of handshakes must not be a matter of retransmissions.
BACKLOG = 1024
#: The largest message, in bytes, where a server has a limit.
MOST = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Options:
    """The files of a certificate, PEM; empty: plain."""

    certificate: str
    private_key: str

    def context(self) -> ssl.SSLContext | None:
        """What asyncio's servers want."""
        if not self.certificate:
            return None
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.certificate, self.private_key)
        return made


def read_options(arguments: Sequence[str]) -> Options:
    """Read ``--certificate=PEM --private-key=PEM``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate", default="")
    parser.add_argument("--private-key", default="")
    given = parser.parse_args(arguments)
    return Options(given.certificate, given.private_key)


def announce(port: int, options: Options) -> None:
    """Say where the server listens, as wsecho does."""
    print(f"listening on {'wss' if options.certificate else 'ws'}://127.0.0.1:{port}/", flush=True)
