"""TLS of a server's connections: Twisted's, with a short way for bytes of a connection that is established.

Rules of this file: handshakes, alerts, failures, and how a connection begins and ends, are Twisted's
(``TLSMemoryBIOProtocol``). It knows neither WebSocket nor who listens, and none of the contexts.

The short way. What one read of the socket brings is decrypted as a whole and delivered in one piece, without
an exception at the end. What is written meanwhile leaves before the call returns, in as few records as there
can be, by a call of the kernel; only what the kernel does not take waits in the transport. What is written
at other times leaves in the next turn of the reactor, of all connections in one call. OpenSSL's two buffers
are fed and emptied a record at a time, since they never shrink: a connection that has once carried a large
message would keep its size for ever.

A lane (:mod:`wsecho.wire.lane`) may be lent an open connection: it then reads and writes in the short way's
place, by the same OpenSSL's connection, and leaves to this file whatever is not bytes.

The peer's close_notify ends its half of the stream, as FIN does without TLS: what is queued is flushed, then
ours follows (RFC 8446 section 6.1). While reading is paused nothing is delivered, nor is the end seen.
"""

from __future__ import annotations

from functools import partial
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
_failure: Any = Failure

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

# Looked up once: they are called for each message.
_feed, _fetch = openssl.BIO_write, openssl.BIO_read
_encrypt, _decrypt = openssl.SSL_write, openssl.SSL_read
_error_of = openssl.SSL_get_error
_WANT_READ = openssl.SSL_ERROR_WANT_READ
_pointer_to = openssl_memory.from_buffer


class _ShortWay:
    """The bytes of one connection, once its handshake is done.

    An object of its own because each look at an attribute of Twisted's class, which passes on what it does
    not have, takes ten times as long.

    :ivar ssl: OpenSSL's connection; None as long as the handshake is not done
    :ivar is_deaf: whether what comes is nobody's
    :ivar is_closed: whether nothing more is written
    :ivar is_silent: whether nothing more is sent, not even what TLS has to say
    :ivar has_unread: whether something came that is not decrypted, or not acted on, because reading is paused
    :ivar end: what ended the stream, while it is not acted on: an error of pyOpenSSL's
    :ivar lane: what else seals and opens its records, while nothing waits here; see ``wsecho.wire.lane``
    """

    __slots__ = (
        "end",
        "has_unread",
        "into",
        "is_closed",
        "is_deaf",
        "is_paused",
        "is_receiving",
        "is_silent",
        "lane",
        "owner",
        "plain_bytes",
        "protocol",
        "socket_transport",
        "source",
        "ssl",
        "transport",
        "turns",
        "written",
    )

    def __init__(self, owner: TlsTransport, transport: Any, turns: _Turns) -> None:
        self.owner: Any = owner
        self.protocol: Any = owner.wrappedProtocol
        self.transport = transport
        # What is written to and read from directly; None when something is between TLS and the socket.
        is_socket = type(transport) in (tcp.Server, unix.Server) and not transport.TLS
        self.socket_transport: Any = transport if is_socket else None
        self.turns = turns
        self.ssl: Any = None
        self.into: Any = None
        self.source: Any = None
        self.written: list[bytes] | None = None
        self.plain_bytes = 0
        self.is_receiving = self.is_paused = self.has_unread = False
        self.is_deaf = self.is_closed = self.is_silent = False
        self.end: Any = None
        self.lane: Any = None

    # -- reading ---------------------------------------------------------------------------------------------

    def read(self) -> Any:
        """What ``tcp.Connection.doRead`` does, into memory that is there already."""
        try:
            size = self.transport.socket.recv_into(_incoming_view)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not size:
            return main.CONNECTION_DONE
        if self.ssl is None:
            self.owner.dataReceived(_incoming_view[:size].tobytes())
        else:
            self.receive(_incoming, size)
        return None

    def receive(self, data: Any, size: int) -> None:
        """Decrypt and deliver.

        :param data: a pointer
        """
        ssl, into = self.ssl, self.into
        if self.is_deaf:
            return
        if self.is_paused:
            self.has_unread = True
            if size:
                _feed(into, data, size)
            return
        fed = total = 0
        while True:
            if fed < size:
                piece = size - fed
                if piece > _FED:
                    piece = _FED
                _feed(into, data + fed if fed else data, piece)
                fed += piece
            while (got := _decrypt(ssl, _plain + total if total else _plain, _RECORD)) > 0:
                total += got
                if total > READ_SIZE:
                    break
            if got <= 0 and _error_of(ssl, got) != _WANT_READ:
                self.end = self.error(got)
                break
            if total > READ_SIZE:
                # More than one read brings: it waited while reading was paused.
                if fed < size:
                    _feed(into, data + fed, size - fed)
                self.has_unread = True
                self.turns.add(self)
                break
            if fed == size:
                break
        if total:
            self.is_receiving = True
            try:
                self.protocol.dataReceived(_plain_view[:total])
            finally:
                self.is_receiving = False
        if self.written is not None:
            self.flush()
        elif not self.is_silent:
            # Reading may have produced an answer: to a key update, for example.
            self.flush_openssl()
        if self.end is not None:
            self.act_on_end()

    def error(self, result: int) -> Error:
        """What pyOpenSSL raises for a result of OpenSSL's that is none."""
        try:
            self.owner.getHandle()._raise_ssl_error(self.ssl, result)
        except Error as error:
            return error
        return Error([])

    def act_on_end(self) -> None:
        """Tell the owner of what ended the stream, unless reading is paused."""
        if self.is_paused:
            self.has_unread = True
            return
        error, self.end = self.end, None
        if not self.is_deaf:
            self.is_deaf = True
            self.owner.stream_ended(error)

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """See ``ITransport``. It leaves at the end of what is being received, or of the next turn."""
        if self.is_closed:
            return
        if type(data) is not bytes:
            data = data + b""
        if self.written is None:
            if not data:
                return
            self.written = [data]
            if not self.is_receiving:
                self.turns.add(self)
        else:
            self.written.append(data)
        self.plain_bytes += len(data)

    def flush(self) -> None:
        """Encrypt and send what was written."""
        written, self.written = self.written, None
        self.plain_bytes = 0
        if written is None or self.is_silent:
            return
        data = written[0] if len(written) == 1 else b"".join(written)
        ssl, source = self.ssl, self.source
        if ssl is None:
            self.owner.write_early(data)
            return
        size = len(data)
        start: Any = data if size <= _RECORD else _pointer_to(data)
        at = filled = 0
        while at < size:
            done = _encrypt(ssl, start + at if at else start, size - at if size - at < _RECORD else _RECORD)
            if done <= 0:
                error = self.error(done)
                self.send(filled)
                self.owner.write_failed(error, data[at:])
                return
            at += done
            filled += max(0, _fetch(source, _records + filled if filled else _records, _FED))
            if filled > _SENT:
                self.send(filled)
                filled = 0
        has_sent_all = self.send(filled)
        if filled >= _FED:
            # Something else was there besides the record.
            self.flush_openssl()
        if has_sent_all:
            self.tell_producer()

    def flush_openssl(self) -> None:
        """Send what OpenSSL has to say."""
        while (filled := _fetch(self.source, _records, _SENT)) > 0:
            self.send(filled)

    def send(self, size: int) -> bool:
        """Hand records to the kernel; what it does not take, and all when something waits, to the transport.

        :returns: whether the kernel has taken all
        """
        if self.is_silent or not size:
            return False
        sent = 0
        transport = self.socket_transport
        if transport is not None and is_idle(transport):
            try:
                sent = transport.socket.send(_records_memory[:size])
            except OSError:
                # Full, or broken: the transport finds out.
                sent = 0
            if sent == size:
                return True
        if self.lane is not None:
            # It must not overtake this.
            self.lane.block()
        self.transport.write(_records_view[sent:size])
        return False

    def tell_producer(self) -> None:
        """As the socket's transport does when it has nothing left, which it was not given this time."""
        transport = self.socket_transport
        producer = transport.producer
        if producer is not None and (not transport.streamingProducer or transport.producerPaused):
            transport.producerPaused = False
            producer.resumeProducing()

    # -- a lane that reads and writes ------------------------------------------------------------------------

    def stopped(self, error: Error) -> None:
        """See :class:`wsecho.wire.lane.LaneTls`."""
        self.end = error
        self.act_on_end()

    def refused(self, error: Error, data: bytes) -> None:
        """See :class:`wsecho.wire.lane.LaneTls`."""
        self.owner.write_failed(error, data)

    # -- turns, and the end ----------------------------------------------------------------------------------

    def work(self) -> None:
        """The turn of the reactor in which this connection has something to do."""
        if self.has_unread and not self.is_paused:
            self.has_unread = False
            if self.end is not None:
                self.act_on_end()
            elif self.ssl is not None:
                self.receive(None, 0)
        if self.written is not None:
            self.flush()

    def close(self) -> None:
        """Write nothing more."""
        self.is_closed = True
        if self.lane is not None:
            # It asks whether it may go on, from now on, and may not.
            self.lane.block()

    def drop(self) -> None:
        """Write and send nothing more."""
        self.close()
        self.is_deaf = self.is_silent = True
        self.written = None
        self.plain_bytes = 0


@implementer(IHalfCloseableProtocol)
class TlsTransport(TLSMemoryBIOProtocol):
    """One connection's TLS."""

    factory: Any
    transport: Any
    wrappedProtocol: Any

    _way: _ShortWay

    @property
    def plain_bytes(self) -> int:
        """Bytes that were written and are not encrypted yet."""
        return self._way.plain_bytes

    @property
    def has_sent_all(self) -> bool:
        """Whether what is sent around this transport now comes in its turn: nothing waits, here or below."""
        way = self._way
        return not (way.is_closed or way.written or self._appSendBuffer) and is_idle(way.socket_transport)

    @property
    def can_lend(self) -> bool:
        """Whether a lane may seal and send: an open connection, with nothing between TLS and the socket."""
        way = self._way
        return not (way.ssl is None or way.socket_transport is None or way.is_closed or way.is_deaf)

    def lend(self, lane: Any) -> bool:
        """Let a lane seal and send, while :attr:`has_sent_all`; only if :attr:`can_lend`.

        :returns: whether it may also read in place of the socket's transport: nothing that was read waits
        """
        way = self._way
        address = partial(openssl_memory.cast, "uintptr_t")
        lane.seal(
            way,
            way.ssl,
            way.socket_transport.getHandle().fileno(),
            *(int(address(one)) for one in (way.ssl, way.into, way.source)),
        )
        way.lane = lane
        return not way.has_unread and way.end is None

    # -- the beginning, and the handshake --------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """See ``IProtocol``. What Twisted's does, but for declaring the same interfaces once for each."""
        self._tlsConnection = self.factory._creatorCallable(self)
        self._appSendBuffer: list[bytes] = []
        self._way = _ShortWay(self, transport, self.factory.turns)
        self._way.source = self._tlsConnection._from_ssl
        # Found before the method of the class, which is Twisted's.
        self.write = self._way.write  # type: ignore[method-assign]
        directlyProvides(self, providedBy(transport))
        Protocol.makeConnection(self, transport)  # type: ignore[no-untyped-call]
        self.factory.registerProtocol(self)
        if self._way.socket_transport is not None:
            # The reactor calls it in place of the class's own.
            transport.doRead = self._way.read
        if self._connectWrapped:
            self.wrappedProtocol.makeConnection(self)
        self._checkHandshakeStatus()  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        way = self._way
        if way.ssl is not None:
            way.receive(_pointer_to(data), len(data))
        elif self._tlsConnection is not None:
            self._tlsConnection.bio_write(data)
            if not self._handshakeDone:
                self._checkHandshakeStatus()  # type: ignore[no-untyped-call]
            if self._handshakeDone and self._tlsConnection is not None:
                self._begin(self._tlsConnection)

    def _begin(self, connection: Any) -> None:
        way = self._way
        if self._appSendBuffer:
            self._unbufferPendingWrites()  # type: ignore[no-untyped-call]
            if self._appSendBuffer:
                self._flushReceiveBIO()  # type: ignore[no-untyped-call]
                return
        way.ssl, way.into = connection._ssl, connection._into_ssl
        # What came with the end of the handshake.
        way.receive(None, 0)

    # -- reading ---------------------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """Deliver nothing more until :meth:`resumeProducing`."""
        self._way.is_paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Go on reading; what came before the pause follows in the next turn."""
        way = self._way
        way.is_paused = False
        self.transport.resumeProducing()
        if way.has_unread:
            way.turns.add(way)

    def stopProducing(self) -> None:
        """See ``IPushProducer``."""
        self.loseConnection()

    def stream_ended(self, error: Error) -> None:
        """Nothing more can be read."""
        if not isinstance(error, ZeroReturnError):
            self._tlsShutdownFinished(_failure(error))
        elif self.disconnecting or not IHalfCloseableProtocol.providedBy(self.wrappedProtocol):
            self._shutdownTLS()
            self._tlsShutdownFinished(None)
        else:
            self.wrappedProtocol.readConnectionLost()

    # -- writing ---------------------------------------------------------------------------------------------

    def writeSequence(self, data: Any) -> None:
        """See ``ITransport``."""
        self._way.write(b"".join(data))

    def flush_written(self) -> None:
        """Encrypt and send now what was written."""
        self._way.flush()

    def write_early(self, data: bytes) -> None:
        """Write before the handshake is done, behind what waits for that."""
        if self._appSendBuffer:
            self._bufferedWrite(data)  # type: ignore[no-untyped-call]
        else:
            self._write(data)  # type: ignore[no-untyped-call]

    def write_failed(self, error: Error, data: bytes) -> None:
        """OpenSSL has not encrypted ``data``."""
        if isinstance(error, WantReadError):
            # It waits for something of the peer's, as before the handshake is done.
            self._bufferedWrite(data)  # type: ignore[no-untyped-call]
            self._way.ssl = None
        else:
            self._tlsShutdownFinished(_failure(error))

    def _flushSendBIO(self) -> None:
        self._way.flush_openssl()

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""
        super().unregisterProducer()  # type: ignore[no-untyped-call]
        if self.disconnecting:
            self._way.close()

    # -- the end ---------------------------------------------------------------------------------------------

    def readConnectionLost(self) -> None:
        """The peer has ended TCP. Without close_notify anybody may have cut the stream: it is over. Behind
        close_notify only its half is."""
        if not self._way.is_deaf:
            bottom_transport(self).connectionLost(_failure(ConnectionDone()))

    def writeConnectionLost(self) -> None:
        """TLS has no half that ends alone."""

    def loseConnection(self) -> None:
        """See ``ITransport``."""
        if not self.disconnecting:
            self._way.flush()
        super().loseConnection()  # type: ignore[no-untyped-call]
        if self._producer is None:
            self._way.close()

    def abortConnection(self) -> None:
        """See ``ITCPTransport``. What an aborted connection has to say nobody hears."""
        self._way.drop()
        super().abortConnection()  # type: ignore[no-untyped-call]

    def _shutdownTLS(self) -> None:
        self._way.flush()
        super()._shutdownTLS()  # type: ignore[no-untyped-call]

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        way = self._way
        way.is_deaf = True
        way.close()
        super()._tlsShutdownFinished(reason)  # type: ignore[no-untyped-call]
        way.drop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See ``IProtocol``."""
        way = self._way
        error, way.end = way.end, None
        if error is not None and not (self._lostTLSConnection or isinstance(error, ZeroReturnError)):
            self._tlsShutdownFinished(_failure(error))
        way.drop()
        if way.socket_transport is not None:
            self.transport.__dict__.pop("doRead", None)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        way.owner = way.protocol = way.transport = way.socket_transport = way.lane = None
        way.ssl = way.into = way.source = None


class _Turns:
    """Connections with something to do, all in one call in the next turn of the reactor."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # A dict for its order.
        self._waiting: dict[_ShortWay, None] = {}

    def add(self, way: _ShortWay) -> None:
        """Let ``way`` work."""
        if not self._waiting:
            self._clock.callLater(0, self._turn)
        self._waiting[way] = None

    def _turn(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for way in waiting:
            try:
                way.work()
            except Exception:
                # As the reactor does with an exception out of dataReceived.
                _log.failure("a connection over TLS failed")
                if way.owner is not None:
                    way.owner.abortConnection()


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
