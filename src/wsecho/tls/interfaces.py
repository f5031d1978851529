"""Who is told what TLS does.

An observer is asked from inside OpenSSL, during a handshake, in the reactor's thread: it answers at once.
What it raises is logged and counts as no.
"""

from __future__ import annotations

from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import Interface

from wsecho.policy.authenticators import PreSharedKeyAuthenticator
from wsecho.tls.alerts import Alert
from wsecho.tls.verification import VerifyError

__all__ = ["ITlsObserver"]


class ITlsObserver(Interface):
    """Told of the TLS of connections. ``protocol`` is Twisted's of that connection: ``getPeer`` and
    ``wrappedProtocol`` say whose it is."""

    def alert_sent(protocol: TLSMemoryBIOProtocol, alert: Alert) -> None:
        """We sent an alert."""

    def alert_received(protocol: TLSMemoryBIOProtocol, alert: Alert) -> None:
        """The peer sent an alert."""

    def verify_failed(protocol: TLSMemoryBIOProtocol, error: VerifyError) -> bool:
        """Something is wrong with the peer's certificate. True goes on in spite of it; otherwise the
        handshake fails. Asked again for the next thing that is wrong."""

    def pre_shared_key_wanted(protocol: TLSMemoryBIOProtocol, question: PreSharedKeyAuthenticator) -> None:
        """Fill ``question`` in: a server knows the identity and needs the key, a client gives both. Left
        empty, it is refused."""
