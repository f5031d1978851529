"""What TLS does, told by signals: the observers of a ``WebSocketServer`` and of a ``WebSocket``.

Rules of this file: they know signals and nothing else of the objects whose events they tell. A slot is called
in the middle of a handshake: it may accept what is wrong, or close what it likes, but nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from zope.interface import implementer

from wsecho.policy.authenticators import PreSharedKeyAuthenticator
from wsecho.policy.signals import BoundSignal
from wsecho.tls.alerts import Alert
from wsecho.tls.connections import peer_of
from wsecho.tls.interfaces import ITlsObserver
from wsecho.tls.verification import VerifyError

__all__ = ["ServerTlsEvents", "SocketTlsEvents"]


class _Server(Protocol):
    """The signals of a server; of an alert the peer's address besides."""

    peer_verify_error: BoundSignal[[VerifyError]]
    ssl_errors: BoundSignal[[list[VerifyError]]]
    pre_shared_key_authentication_required: BoundSignal[[PreSharedKeyAuthenticator]]
    alert_sent: BoundSignal[[int, int, str, str]]
    alert_received: BoundSignal[[int, int, str, str]]
    handshake_interrupted_on_error: BoundSignal[[VerifyError]]


class _Socket(Protocol):
    """The signals of a socket."""

    peer_verify_error: BoundSignal[[VerifyError]]
    ssl_errors: BoundSignal[[list[VerifyError]]]
    pre_shared_key_authentication_required: BoundSignal[[PreSharedKeyAuthenticator]]
    alert_sent: BoundSignal[[int, int, str]]
    alert_received: BoundSignal[[int, int, str]]
    handshake_interrupted_on_error: BoundSignal[[VerifyError]]


@implementer(ITlsObserver)
class ServerTlsEvents:
    """Tells the signals of a server, and of the accepted socket that an alert is for."""

    def __init__(self, server: _Server) -> None:
        self._server = server

    def alert_sent(self, protocol: Any, alert: Alert) -> None:
        """We sent an alert."""
        told = (alert.level, alert.type, alert.description)
        self._server.alert_sent.emit(*told, peer_of(protocol))
        _emit_at_socket(protocol, "alert_sent", told)

    def alert_received(self, protocol: Any, alert: Alert) -> None:
        """The client sent an alert."""
        told = (alert.level, alert.type, alert.description)
        self._server.alert_received.emit(*told, peer_of(protocol))
        _emit_at_socket(protocol, "alert_received", told)

    def verify_failed(self, protocol: Any, error: VerifyError) -> bool:
        """A client's certificate is not good: it is told, and refused."""
        self._server.peer_verify_error.emit(error)
        self._server.ssl_errors.emit([error])
        self._server.handshake_interrupted_on_error.emit(error)
        return False

    def pre_shared_key_wanted(self, protocol: Any, question: PreSharedKeyAuthenticator) -> None:
        """The key of an identity is wanted."""
        self._server.pre_shared_key_authentication_required.emit(question)


def _emit_at_socket(protocol: Any, name: str, told: tuple[int, int, str]) -> None:
    # A connection that is no WebSocket yet, or is served by something else, has no such signal.
    service = getattr(getattr(protocol, "wrappedProtocol", None), "service", None)
    signal = getattr(service, name, None)
    if isinstance(signal, BoundSignal):
        signal.emit(*told)


def _nothing(error: VerifyError) -> bool:
    return False


@implementer(ITlsObserver)
class SocketTlsEvents:
    """Tells the signals of a client's socket about one attempt to connect.

    :param is_ignored: whether the program wants to go on in spite of an error; asked after each signal, since
        a slot may have said so
    """

    def __init__(self, socket: _Socket, is_ignored: Callable[[VerifyError], bool]) -> None:
        self._socket: _Socket | None = socket
        self._is_ignored = is_ignored
        self._errors: list[VerifyError] = []
        self._is_interrupted = False
        self._goes_on = False

    def forget(self) -> None:
        """Tell nothing more, accept nothing more."""
        self._socket = None
        self._is_ignored = _nothing

    def go_on(self) -> bool:
        """Go on with the handshake that was interrupted; False when none is."""
        self._goes_on = self._is_interrupted
        return self._is_interrupted

    def alert_sent(self, protocol: Any, alert: Alert) -> None:
        """We sent an alert."""
        if self._socket is not None:
            self._socket.alert_sent.emit(alert.level, alert.type, alert.description)

    def alert_received(self, protocol: Any, alert: Alert) -> None:
        """The server sent an alert."""
        if self._socket is not None:
            self._socket.alert_received.emit(alert.level, alert.type, alert.description)

    def verify_failed(self, protocol: Any, error: VerifyError) -> bool:
        """The server's certificate is not good: whether to go on in spite of it."""
        self._errors.append(error)
        steps: list[Callable[[_Socket], None]] = [
            # It may be ignored already.
            lambda socket: None,
            lambda socket: socket.peer_verify_error.emit(error),
            lambda socket: socket.ssl_errors.emit(list(self._errors)),
            lambda socket: socket.handshake_interrupted_on_error.emit(error),
        ]
        self._goes_on = False
        is_accepted = False
        for step in steps:
            if self._socket is None:
                return False
            self._is_interrupted = step is steps[-1]
            step(self._socket)
            is_accepted = self._goes_on or self._is_ignored(error)
            if is_accepted:
                break
        self._is_interrupted = False
        # A slot may have given the attempt up.
        return is_accepted and self._socket is not None

    def pre_shared_key_wanted(self, protocol: Any, question: PreSharedKeyAuthenticator) -> None:
        """Identity and key are wanted."""
        if self._socket is not None:
            self._socket.pre_shared_key_authentication_required.emit(question)
