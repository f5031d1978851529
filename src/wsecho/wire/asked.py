"""What the client asked for in its opening handshake.

Rules of this file: while the connection opens, what admission has read is at hand; once it is open, only the
bytes of the request are kept, and read again should anybody ask. A request of a browser is ten times as large
when it is taken apart, and hardly anybody asks for it again.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from autobahn.websocket.types import ConnectionRequest

from wsecho.policy.clients import PeerCertificate
from wsecho.wire.admission import RequestHead, Upgrade, check_upgrade, parse_head
from wsecho.wire.start import Lazy

__all__ = ["Asked", "OpeningRequest"]

_Protocol: Any = object  # the class that stands behind this one in the order of bases


class OpeningRequest(ConnectionRequest):
    """Autobahn's, with who the client is.

    :ivar peer_certificate: the client's verified certificate; None when it showed none
    """

    __slots__ = ("peer_certificate",)

    peer_certificate: PeerCertificate | None


def _uri(connection: Asked) -> str:
    head, _ = connection._read()
    return head.path + ("?" + head.query if head.query else "")


class Asked(_Protocol):  # type: ignore[misc]
    """The request of a connection, in the attributes that Autobahn's own parser would set."""

    peer: str
    peer_certificate: PeerCertificate | None = None

    _head_bytes = b""
    _head_read: tuple[RequestHead, Upgrade] | None = None
    _request: OpeningRequest | None = None

    @property
    def request(self) -> OpeningRequest | None:
        """The opening handshake's ``ConnectionRequest``, with ``peer_certificate``; None before it."""
        if self._request is None and self._head_bytes:
            self._request = self._make_request()
        return self._request

    http_headers = Lazy(lambda self: dict(self._read()[0].headers))
    http_request_uri = Lazy(_uri)
    http_request_path = Lazy(lambda self: self._read()[0].path)
    http_request_params = Lazy(lambda self: parse_qs(self._read()[0].query))
    http_request_host = Lazy(lambda self: self._read()[0].host_name)
    websocket_version = Lazy(lambda self: self._read()[1].version)
    websocket_protocols = Lazy(lambda self: list(self._read()[1].subprotocols))
    websocket_origin = Lazy(lambda self: self._read()[0].headers.get("origin", ""))
    websocket_extensions = Lazy(lambda self: self._usable_extensions(self._read()[1].extensions))

    def _usable_extensions(self, header: str) -> list[tuple[str, dict[str, Any]]]:
        raise NotImplementedError

    def _keep_request(self, head_bytes: bytes, head: RequestHead, upgrade: Upgrade) -> None:
        self._head_bytes = head_bytes
        self._head_read = head, upgrade

    def _forget_what_was_read(self) -> None:
        self._head_read = None

    def _read(self) -> tuple[RequestHead, Upgrade]:
        if self._head_read is not None:
            return self._head_read
        if not self._head_bytes:
            raise AttributeError("there was no opening handshake yet")
        # It was within the limits when it came.
        size = len(self._head_bytes)
        head = parse_head(self._head_bytes, max_line=size, max_lines=size)
        return head, check_upgrade(head, self.versions)

    def _make_request(self) -> OpeningRequest:
        head, upgrade = self._read()
        make: Any = OpeningRequest
        request: OpeningRequest = make(
            self.peer,
            dict(head.headers),
            head.host_name,
            head.path,
            parse_qs(head.query),
            upgrade.version,
            head.headers.get("origin", ""),
            list(upgrade.subprotocols),
            self._usable_extensions(upgrade.extensions),
        )
        request.peer_certificate = self.peer_certificate
        return request
