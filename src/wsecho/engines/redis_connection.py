"""One connection to Redis: commands and their answers, subscriptions and what comes over them.

Rules of this file: it knows the protocol's quirks and nothing of channels. txredisapi is imported when the
first connection is made, since it imports the reactor, and with that chooses one for the whole process.

What of txredisapi is used, and what is not. ``RedisProtocol``, with ``charset=None`` and
``convertNumbers=False``: otherwise the message ``007`` arrives as the number 7. Not its authentication, which
gives up for ever when Redis refuses once, nor its pools, its factories and their reconnects: they hide that a
connection was lost. Not ``SubscriberProtocol``, which cuts each answer down to its last three elements. One
channel for each SUBSCRIBE: with several, answers are given to the wrong callers. And ``hiredis`` has to be
there: without it, each string of an answer costs a turn of the reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from cryptography.x509 import Certificate, load_pem_x509_certificates
from OpenSSL.crypto import X509
from twisted.internet import ssl
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from wsecho.engines.redis_url import RedisAddress

__all__ = ["ConnectionFactory", "ConnectionGone", "RedisError", "connect", "endpoint"]


class RedisError(Exception):
    """Redis answered with an error; one line, as it came."""

    @property
    def kind(self) -> str:
        """Its first word, such as ``WRONGPASS``."""
        return str(self).partition(" ")[0]


class ConnectionGone(Exception):
    """There was no answer: the connection has ended."""


def endpoint(reactor: Any, address: RedisAddress) -> IStreamClientEndpoint:
    """Where to connect to.

    Raises:
        ValueError: the file of certificates cannot be used; one line.
    """
    plain: IStreamClientEndpoint = HostnameEndpoint(reactor, address.host, address.port)
    if not address.is_tls:
        return plain
    trusted = _trusted(address.ca) if address.ca else None
    return wrapClientTLS(ssl.optionsForClientTLS(address.host, trustRoot=trusted), plain)


def _trusted(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            found = load_pem_x509_certificates(file.read())
    except OSError as error:
        raise ValueError(f"redis: the file of ca in the URL cannot be read: {error.strerror}") from None
    except ValueError:
        found = []
    if not found:
        raise ValueError("redis: the file of ca in the URL has no certificate in PEM")
    authorities = [_certificate(one) for one in found]
    return ssl.trustRootFromCertificates(authorities)  # type: ignore[no-untyped-call]


def _certificate(found: Certificate) -> Any:
    return ssl.Certificate(X509.from_cryptography(found))  # type: ignore[no-untyped-call]


@cache
def _protocol() -> type[Any]:
    import txredisapi

    class RedisConnection(txredisapi.RedisProtocol):  # type: ignore[misc]
        """A connection that tells what it hears, and when."""

        def __init__(self, factory: ConnectionFactory) -> None:
            super().__init__(charset=None, convertNumbers=False)
            self.factory = factory
            self.last_heard = 0.0
            self._unread = 0
            # An answer to a command may look like a message.
            self._is_following = False

        def connectionMade(self) -> None:
            # Answers to commands are awaited one by one: Nagle's algorithm would hold each second one back.
            self.transport.setTcpNoDelay(True)
            self.last_heard = self.factory.clock.seconds()
            super().connectionMade()

        def dataReceived(self, data: bytes, unpause: bool = False) -> None:
            if not unpause:
                self.last_heard = self.factory.clock.seconds()
                self._unread += len(data)
            try:
                super().dataReceived(data, unpause)
            except txredisapi.InvalidData:
                # What speaks there is no Redis.
                self.abort()
                return
            if self._unread > self.factory.largest:
                self.factory.oversized()
                self.abort()

        def replyReceived(self, reply: Any) -> None:
            self._unread = 0
            if self._is_following and isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message":
                self.factory.heard(reply[1], reply[2])
            else:
                super().replyReceived(reply)

        def connectionLost(self, reason: Failure) -> None:
            super().connectionLost(reason)
            self.factory.ended(self, reason)

        def ask(self, *words: Any) -> Deferred[Any]:
            """Send a command; fires with the answer, or fails with `RedisError` or `ConnectionGone`."""
            if not self.connected:
                return fail(ConnectionGone("not connected"))
            if words[0] == "SUBSCRIBE":
                self._is_following = True
            answer: Deferred[Any] = self.execute_command(*words)
            return answer.addErrback(_translated)

        def abort(self) -> None:
            """End the connection at once, unless it has ended."""
            # Twisted's TLS does not take it a second time.
            if self.connected:
                self.transport.abortConnection()

    def _translated(failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, txredisapi.ResponseError):
            raise RedisError(" ".join(str(error).split()))
        if isinstance(error, txredisapi.RedisError):
            raise ConnectionGone(str(error))
        return failure

    return RedisConnection


class ConnectionFactory(Factory):
    """Makes connections that tell one owner what happens.

    :param clock: an ``IReactorTime``
    :param largest: bytes of one answer or message, above which the connection is ended
    :param heard: called with where a message was published, and the message
    :param ended: called with a connection and why it ended
    :param oversized: called when something was larger than `largest`
    """

    noisy = False

    def __init__(
        self,
        clock: Any,
        largest: int,
        heard: Callable[[bytes, bytes], None],
        ended: Callable[[Any, Failure], None],
        oversized: Callable[[], None],
    ) -> None:
        self.clock = clock
        self.largest = largest
        self.heard = heard
        self.ended = ended
        self.oversized = oversized

    def buildProtocol(self, addr: object) -> Any:
        """Make one."""
        return _protocol()(self)

    # What txredisapi expects of a factory, and what only its own authentication would need.

    isLazy = True

    def stopTrying(self) -> None:
        """Nothing: trying is not the factory's business."""

    def connectionError(self, why: str) -> None:
        """Nothing: errors are those of commands."""


def connect(reactor: Any, address: RedisAddress, factory: ConnectionFactory) -> Deferred[Any]:
    """Open a connection; fires with it, before anything was said."""
    return endpoint(reactor, address).connect(factory)
