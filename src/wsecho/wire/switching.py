"""The server's answer 101, Switching Protocols (RFC 6455 section 4.2.2).

Rules of this file: the bytes are those that Autobahn would send, field by field and in its order; one test
compares them. It knows no connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wsecho.wire.response import accept_value

__all__ = ["render_switching"]


def render_switching(
    key: str,
    *,
    server_name: str = "",
    headers: Iterable[Mapping[str, Any]] = (),
    subprotocol: str | None = None,
    extensions: str = "",
) -> bytes:
    """Return the head of the answer.

    :param key: the client's ``Sec-WebSocket-Key``
    :param server_name: value of the ``Server`` header; empty for none
    :param headers: more header fields; a value that is a list stands for several of that name
    :param subprotocol: the one that is spoken; None for none
    :param extensions: value of ``Sec-WebSocket-Extensions``; empty for none
    """
    server = f"Server: {server_name}\r\n" if server_name else ""
    own = "".join(
        f"{name}: {value}\r\n"
        for fields in headers
        for name, given in fields.items()
        for value in _values(given)
    )
    chosen = "" if subprotocol is None else f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    extended = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    return (
        f"HTTP/1.1 101 Switching Protocols\r\n{server}Upgrade: WebSocket\r\nConnection: Upgrade\r\n"
        f"{own}{chosen}Sec-WebSocket-Accept: {accept_value(key)}\r\n{extended}\r\n"
    ).encode()


def _values(given: Any) -> Iterable[Any]:
    return (given,) if isinstance(given, str) or not isinstance(given, Iterable) else given
