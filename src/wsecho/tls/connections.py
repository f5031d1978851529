"""TLS connections that say what happens: the callbacks of OpenSSL's, and whom they tell.

Rules: OpenSSL calls back in the middle of a handshake, so nothing here raises: what an observer raises is
logged and counts as no. The callbacks are few, and find the observer at the connection: one of its own would
cost each connection memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL, crypto
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol

from wsecho.policy.authenticators import PreSharedKeyAuthenticator
from wsecho.tls.alerts import Alert
from wsecho.tls.beneath import set_alert_callback
from wsecho.tls.interfaces import ITlsObserver
from wsecho.tls.verification import VerifyCode, VerifyError

__all__ = ["ObservedConnection", "alerts_told", "is_accepted", "key_asked", "peer_of", "verify_error"]

_log = Logger(namespace="wsecho")

# SSL_CB_ALERT and SSL_CB_READ of OpenSSL's ssl.h.
_ALERT = 0x4000
_READ = 0x04

_KNOWN = {code.value: code for code in VerifyCode}


class ObservedConnection(SSL.Connection):
    """A connection and whom it tells.

    :param protocol: Twisted's, whose transport this is; also its application data
    :param observer: told of everything; None for nobody
    """

    def __init__(
        self, context: SSL.Context, protocol: TLSMemoryBIOProtocol, observer: ITlsObserver | None
    ) -> None:
        super().__init__(context, None)
        self.set_app_data(protocol)
        self.observer = observer
        if observer is not None:
            # OpenSSL calls for each step of a handshake, of which there are twenty: not for nobody.
            set_alert_callback(self, alerts_told)
        # Once SNI has put another context in its place, nobody else may hold this one, of which OpenSSL still
        # calls callbacks: for the second ClientHello after a HelloRetryRequest.
        self._first_context = context


def peer_of(protocol: Any) -> str:
    """The peer's address, ``host:port``; empty when it has none."""
    get_peer = getattr(protocol, "getPeer", None)
    address = None if get_peer is None else get_peer()
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is None:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _told(connection: Any, tell: Callable[[ITlsObserver, TLSMemoryBIOProtocol], Any]) -> Any:
    """What the connection's observer says; None when there is none, or it failed."""
    observer = getattr(connection, "observer", None)
    if observer is None:
        return None
    try:
        return tell(observer, connection.get_app_data())
    except Exception:
        _log.failure("an observer of TLS failed")
        return None


def alerts_told(connection: SSL.Connection, where: int, value: int) -> None:
    """The info callback: tells of alerts."""
    if where & _ALERT:
        alert = Alert.of_openssl(value)
        if where & _READ:
            _told(connection, lambda observer, protocol: observer.alert_received(protocol, alert))
        else:
            _told(connection, lambda observer, protocol: observer.alert_sent(protocol, alert))


def verify_error(
    connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, detail: str = ""
) -> VerifyError:
    """The error that the verify callback was called for."""
    return VerifyError(
        _KNOWN.get(code, code),
        certificate.to_cryptography(),
        depth,
        peer_of(connection.get_app_data()),
        detail,
    )


def is_accepted(connection: SSL.Connection, error: VerifyError) -> bool:
    """Whether the observer goes on in spite of an error."""
    return _told(connection, lambda observer, protocol: observer.verify_failed(protocol, error)) is True


def key_asked(
    connection: SSL.Connection | None,
    question: PreSharedKeyAuthenticator,
    answer: Callable[[PreSharedKeyAuthenticator], object] | None,
) -> tuple[bytes, bytes]:
    """Identity and key for a question, both empty when nobody knows.

    :param answer: answers it; None for the observer
    """
    if answer is None:
        _told(connection, lambda observer, protocol: observer.pre_shared_key_wanted(protocol, question))
    else:
        try:
            answer(question)
        except Exception:
            _log.failure("the callback for pre-shared keys failed")
            return b"", b""
    identity: object = question.identity
    key: object = question.key
    if not isinstance(identity, bytes) or not isinstance(key, bytes):
        _log.error("a pre-shared key and its identity must be bytes; the handshake is refused")
        return b"", b""
    return identity, key
