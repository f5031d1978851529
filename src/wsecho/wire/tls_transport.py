"""TLS of a server's connections: Twisted's, with a short way for bytes of a connection that is established.

Rules of this file: handshakes, alerts, failures, and how a connection begins and ends, are Twisted's
(``TLSMemoryBIOProtocol``). It knows neither WebSocket nor who listens, and none of the contexts.

The short way. What one read of the socket brings is decrypted as a whole and delivered in one piece, without
an exception at the end. What is written meanwhile leaves before the call returns, in as few records as there
can be, by a call of the kernel; only what the kernel does not take waits in the transport. What is written
at other times leaves in the next turn of the reactor, of all connections in one call. OpenSSL's two buffers
are fed and emptied a record at a time, since they never shrink: a connection that has once carried a large
message would keep its size for ever.

The peer's close_notify ends its half of the stream, as FIN does without TLS: what is queued is flushed, then
ours follows (RFC 8446 section 6.1). While reading is paused nothing is delivered, nor is the end seen.
"""

from __future__ import annotations

from typing import Any

from OpenSSL.SSL import Error, WantReadError, ZeroReturnError
from twisted.internet import main, tcp, unix
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IOpenSSLServerConnectionCreator,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from wsecho.wire.beneath import bottom_transport, is_idle, openssl, openssl_memory

__all__ = ["READ_SIZE", "TlsEndpoint", "TlsFactory", "TlsTransport"]

_log = Logger("wsecho")

READ_SIZE = 256 * 1024
"""Bytes that are read from a socket at a time."""

_RECORD = 16 * 1024
"""The largest payload of a record (RFC 8446 section 5.1)."""

_FED = _RECORD + 512
"""Bytes that OpenSSL is fed at a time: a full record and what is around it."""

_SENT = 256 * 1024
"""Bytes of records that are handed to the kernel at a time."""

# One of each for the process: nobody is called between the moment when one is filled and the moment when it
# is copied from. Each has room for one record more than it is filled with.
_incoming = openssl_memory.new("unsigned char[]", READ_SIZE)
_incoming_view = memoryview(openssl_memory.buffer(_incoming))
_plain = openssl_memory.new("unsigned char[]", READ_SIZE + _RECORD)
_plain_view = openssl_memory.buffer(_plain)
_records = openssl_memory.new("unsigned char[]", _SENT + _FED)
_records_view = openssl_memory.buffer(_records)
_records_memory = memoryview(_records_view)

_SOCKETS = (tcp.Server, unix.Server)
"""Transports that are nothing but a socket."""

# Looked up once: they are called for each message.
_feed, _fetch = openssl.BIO_write, openssl.BIO_read
_encrypt, _decrypt = openssl.SSL_write, openssl.SSL_read
_error_of = openssl.SSL_get_error
_WANT_READ = openssl.SSL_ERROR_WANT_READ
_pointer_to = openssl_memory.from_buffer


@implementer(IHalfCloseableProtocol)
class TlsTransport(TLSMemoryBIOProtocol):
    """One connection's TLS.

    :ivar plain_bytes: bytes that were written and are not encrypted yet
    """

    factory: Any
    transport: Any
    wrappedProtocol: Any

    plain_bytes = 0
    _written: list[bytes] | None = None
    _ssl: Any = None
    _into: Any = None
    _from: Any = None
    _is_direct = False
    _is_receiving = False
    _is_paused = False
    _has_unread = False
    """Whether something came that is not decrypted, or not acted on, because reading is paused."""
    _pending_end: Any = None
    """What ended the stream: an error of pyOpenSSL's, while it is not acted on."""
    _peer_finished = False

    # -- the beginning, and the handshake --------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """See ``IProtocol``. What Twisted's does, but for declaring the same interfaces once for each."""
        self._tlsConnection = self.factory._creatorCallable(self)
        self._appSendBuffer: list[bytes] = []
        self._is_direct = type(transport) in _SOCKETS and not transport.TLS
        directlyProvides(self, providedBy(transport))
        Protocol.makeConnection(self, transport)  # type: ignore[no-untyped-call]
        self.factory.registerProtocol(self)
        if self._is_direct:
            # The reactor calls it in place of the class's own.
            transport.doRead = self._read_socket
        if self._connectWrapped:
            self.wrappedProtocol.makeConnection(self)
        self._checkHandshakeStatus()

    def _checkHandshakeStatus(self) -> None:
        super()._checkHandshakeStatus()  # type: ignore[no-untyped-call]
        connection = self._tlsConnection
        if self._handshakeDone and connection is not None:
            self._ssl, self._into, self._from = connection._ssl, connection._into_ssl, connection._from_ssl

    def _begin(self) -> None:
        """Look whether anything came with the end of the handshake."""
        if self._ssl is not None:
            self._received(None, 0)

    # -- reading ---------------------------------------------------------------------------------------------

    def _read_socket(self) -> Any:
        """What ``tcp.Connection.doRead`` does, into memory that is there already."""
        try:
            size = self.transport.socket.recv_into(_incoming_view)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not size:
            return main.CONNECTION_DONE
        if self._ssl is None:
            self.dataReceived(_incoming_view[:size].tobytes())
        else:
            self._received(_incoming, size)
        return None

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        if self._ssl is not None:
            self._received(_pointer_to(data), len(data))
        elif self._tlsConnection is not None:
            self._tlsConnection.bio_write(data)
            self._checkHandshakeStatus()
            self._begin()

    def _received(self, data: Any, size: int) -> None:
        """Decrypt and deliver.

        :param data: a pointer
        """
        if self._peer_finished or self._lostTLSConnection:
            return
        if self._appSendBuffer:
            self._unbufferPendingWrites()  # type: ignore[no-untyped-call]
        ssl, into = self._ssl, self._into
        if self._is_paused:
            self._has_unread = True
            if size:
                _feed(into, data, size)
            return
        fed = total = 0
        while True:
            if fed < size:
                piece = min(size - fed, _FED)
                _feed(into, data + fed if fed else data, piece)
                fed += piece
            while (got := _decrypt(ssl, _plain + total, _RECORD)) > 0:
                total += got
                if total > READ_SIZE:
                    break
            if got <= 0 and _error_of(ssl, got) != _WANT_READ:
                self._pending_end = self._error(got)
                break
            if total > READ_SIZE:
                # More than one read brings: it waited while reading was paused.
                if fed < size:
                    _feed(into, data + fed, size - fed)
                self._has_unread = True
                self.factory.turns.add(self)
                break
            if fed == size:
                break
        self._deliver(_plain_view[:total] if total else b"")

    def _error(self, result: int) -> Error:
        """What pyOpenSSL raises for a result of OpenSSL's that is none."""
        try:
            self._tlsConnection._raise_ssl_error(self._ssl, result)
        except Error as error:
            return error
        return Error([])

    def _deliver(self, data: bytes) -> None:
        """Deliver, send what is written meanwhile, and act on the end of the stream."""
        if data and not self._aborted:
            self._is_receiving = True
            try:
                self.wrappedProtocol.dataReceived(data)
            finally:
                self._is_receiving = False
        if self._written is not None:
            self._flush()
        elif not self._lostTLSConnection:
            # Reading may have produced an answer: to a key update, for example.
            self._flushSendBIO()
        if self._pending_end is not None:
            if self._is_paused:
                self._has_unread = True
            else:
                self._act_on_end()

    def _act_on_end(self) -> None:
        error, self._pending_end = self._pending_end, None
        if self._lostTLSConnection:
            return
        if not isinstance(error, ZeroReturnError):
            self._tlsShutdownFinished(Failure(error))  # type: ignore[no-untyped-call]
        elif self.disconnecting or not IHalfCloseableProtocol.providedBy(self.wrappedProtocol):
            self._shutdownTLS()  # type: ignore[no-untyped-call]
            self._tlsShutdownFinished(None)  # type: ignore[no-untyped-call]
        else:
            self._peer_finished = True
            self.wrappedProtocol.readConnectionLost()

    def pauseProducing(self) -> None:
        """Deliver nothing more until :meth:`resumeProducing`."""
        self._is_paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Go on reading; what came before the pause follows in the next turn."""
        self._is_paused = False
        self.transport.resumeProducing()
        if self._has_unread:
            self.factory.turns.add(self)

    def stopProducing(self) -> None:
        """See ``IPushProducer``."""
        self.loseConnection()

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """See ``ITransport``. It leaves at the end of what is being received, or of the next turn."""
        if self._lostTLSConnection or (self.disconnecting and self._producer is None):
            return
        if type(data) is not bytes:
            data = data + b""
        if self._written is None:
            if not data:
                return
            self._written = [data]
            if not self._is_receiving:
                self.factory.turns.add(self)
        else:
            self._written.append(data)
        self.plain_bytes += len(data)

    def writeSequence(self, data: Any) -> None:
        """See ``ITransport``."""
        self.write(b"".join(data))

    def _flush(self) -> None:
        """Encrypt and send what was written."""
        written, self._written = self._written, None
        self.plain_bytes = 0
        if written is None or self._lostTLSConnection:
            return
        data = written[0] if len(written) == 1 else b"".join(written)
        if self._ssl is None or self._appSendBuffer:
            self._write(data)  # type: ignore[no-untyped-call]
            return
        ssl, source = self._ssl, self._from
        size = len(data)
        start: Any = data if size <= _RECORD else _pointer_to(data)
        at = filled = 0
        while at < size:
            done = _encrypt(ssl, start + at if at else start, min(size - at, _RECORD))
            if done <= 0:
                error = self._error(done)
                self._send(filled)
                if isinstance(error, WantReadError):
                    self._bufferedWrite(data[at:])  # type: ignore[no-untyped-call]
                else:
                    self._tlsShutdownFinished(Failure(error))  # type: ignore[no-untyped-call]
                return
            at += done
            filled += max(0, _fetch(source, _records + filled, _FED))
            if filled > _SENT:
                self._send(filled)
                filled = 0
        self._send(filled)
        if filled >= _FED:
            # Something else was there besides the record.
            self._flushSendBIO()
        self._tell_producer()

    def _flushSendBIO(self) -> None:
        """Send what OpenSSL has to say."""
        source = self._tlsConnection._from_ssl
        while (filled := _fetch(source, _records, _SENT)) > 0:
            self._send(filled)

    def _send(self, size: int) -> None:
        """Hand records to the kernel; what it does not take, and all when something waits, to the
        transport."""
        if not size or self._aborted:
            # What an aborted connection has to say nobody hears.
            return
        transport = self.transport
        sent = 0
        if self._is_direct and is_idle(transport):
            try:
                sent = transport.socket.send(_records_memory[:size])
            except OSError:
                # Full, or broken: the transport finds out.
                sent = 0
            if sent == size:
                return
        transport.write(_records_view[sent:size])

    def _tell_producer(self) -> None:
        """As the transport does when it has nothing left, which it has not been given."""
        transport = self.transport
        producer = transport.producer if self._is_direct else None
        if producer is None or (transport.streamingProducer and not transport.producerPaused):
            return
        if is_idle(transport):
            transport.producerPaused = False
            producer.resumeProducing()

    # -- turns -----------------------------------------------------------------------------------------------

    def work(self) -> bool:
        """The turn of the reactor in which this connection has something to do."""
        if self._has_unread and not self._is_paused and self._ssl is not None:
            self._has_unread = False
            if self._pending_end is not None:
                self._act_on_end()
            else:
                self._received(None, 0)
        if self._written is not None:
            self._flush()
        return False

    # -- the end ---------------------------------------------------------------------------------------------

    def readConnectionLost(self) -> None:
        """The peer has ended TCP. Without close_notify anybody may have cut the stream: it is over. Behind
        close_notify only its half is."""
        if not self._peer_finished:
            done = Failure(ConnectionDone())  # type: ignore[no-untyped-call]
            bottom_transport(self).connectionLost(done)

    def writeConnectionLost(self) -> None:
        """TLS has no half that ends alone."""

    def loseConnection(self) -> None:
        """See ``ITransport``."""
        if not self.disconnecting:
            self._flush()
        super().loseConnection()  # type: ignore[no-untyped-call]

    def abortConnection(self) -> None:
        """See ``ITCPTransport``."""
        self._written = None
        self.plain_bytes = 0
        super().abortConnection()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See ``IProtocol``."""
        error, self._pending_end = self._pending_end, None
        if error is not None and not (self._lostTLSConnection or isinstance(error, ZeroReturnError)):
            self._tlsShutdownFinished(Failure(error))  # type: ignore[no-untyped-call]
        self._ssl = self._into = self._from = self._written = None
        self.plain_bytes = 0
        if self._is_direct:
            self.transport.__dict__.pop("doRead", None)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class _Turns:
    """Connections with something to do, all in one call in the next turn of the reactor."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # A dict for its order.
        self._waiting: dict[TlsTransport, None] = {}

    def add(self, transport: TlsTransport) -> None:
        """Let ``transport`` work."""
        if not self._waiting:
            self._clock.callLater(0, self._turn)
        self._waiting[transport] = None

    def _turn(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for transport in waiting:
            try:
                transport.work()
            except Exception:
                # As the reactor does with an exception out of dataReceived.
                _log.failure("a connection over TLS failed")
                transport.abortConnection()


class TlsFactory(TLSMemoryBIOFactory):
    """Gives the connections of a factory their TLS; as Twisted's."""

    protocol = TlsTransport

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.turns = _Turns(self._clock)


@implementer(IStreamServerEndpoint)
class TlsEndpoint:
    """What ``wrapServerTLS`` makes of an endpoint, with our transport.

    :param creator: gives connections their TLS
    :param endpoint: what is listened on
    :param clock: the reactor; None for the global one
    """

    def __init__(
        self,
        creator: IOpenSSLServerConnectionCreator,
        endpoint: IStreamServerEndpoint,
        clock: IReactorTime | None = None,
    ) -> None:
        self._creator = creator
        self._endpoint = endpoint
        self._clock = clock

    def listen(self, protocolFactory: Any) -> Any:
        """See ``IStreamServerEndpoint``."""
        return self._endpoint.listen(TlsFactory(self._creator, False, protocolFactory, self._clock))
