"""What wsecho uses of Autobahn, Twisted and pyOpenSSL below their public interfaces, in one list.

Autobahn's documentation promises ``onConnect``, ``onMessage``, ``sendMessage`` and their kind. The names
below are not promised: overridden or called because the public ones do not reach far enough, each with its
reason. One test asserts that they exist with the arguments that wsecho counts on, so that an upgrade of
Autobahn, Twisted or pyOpenSSL fails there first, by name.
"""

# A table reads best with a row in a line.
# ruff: noqa: E501

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket import protocol
from OpenSSL import SSL, _util
from twisted.internet import abstract, base, tcp
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.protocols import tls
from twisted.protocols.tls import TLSMemoryBIOProtocol

from wsecho.wire.accepted import SOCKETS, AcceptedTcp

__all__ = [
    "ATTRIBUTES",
    "BENEATH",
    "OPENSSL",
    "TWISTED",
    "AutobahnClientFactory",
    "AutobahnClientProtocol",
    "AutobahnFactory",
    "AutobahnServerProtocol",
    "AutobahnTrafficStats",
    "ReactorTimer",
    "SilentLogger",
    "attributes_of",
    "attributes_of_autobahn",
    "bottom_transport",
    "can_learn_peer",
    "certificate_problem",
    "epoll_of",
    "hand_over",
    "is_idle",
    "missing",
    "openssl",
    "openssl_addresses",
    "openssl_memory",
    "queued_bytes",
    "send_now",
]

# Autobahn's annotations are partial and wrong in places (a Failure is "str"); to mypy its classes are Any.
AutobahnServerProtocol: Any = WebSocketServerProtocol
AutobahnFactory: Any = WebSocketServerFactory
AutobahnClientProtocol: Any = WebSocketClientProtocol
AutobahnClientFactory: Any = WebSocketClientFactory
AutobahnTrafficStats: Any = protocol.TrafficStats

openssl: Any = _util.lib
openssl_memory: Any = _util.ffi

BENEATH: Mapping[tuple[type, str], tuple[tuple[str, ...], str]] = {
    (WebSocketServerProtocol, "__init__"): (("self",), "overridden: what it makes is made when it is asked for"),
    (WebSocketServerProtocol, "_connectionMade"): (("self",), "overridden: options, and what is so at the start, held once"),
    (WebSocketServerProtocol, "_connectionLost"): (("self", "reason"), "overridden: the same, without debug lines"),
    (WebSocketServerProtocol, "consumeData"): (("self",), "overridden: an exception in any callback of the program's ends one connection only"),
    (WebSocketServerProtocol, "sendData"): (("self", "data", "sync", "chopsize"), "overridden: everything is written at once, on no timer"),
    (WebSocketServerProtocol, "_dataReceived"): (("self", "data"), "called with frames once the connection is open"),
    (WebSocketServerProtocol, "_onOpen"): (("self",), "overridden: an exception of the program ends one connection only"),
    (WebSocketServerProtocol, "_onMessage"): (("self", "payload", "isBinary"), "overridden: likewise"),
    (WebSocketServerProtocol, "_onClose"): (("self", "wasClean", "code", "reason"), "overridden: likewise"),
    (WebSocketServerProtocol, "_onPing"): (("self", "payload"), "overridden: likewise"),
    (WebSocketServerProtocol, "_onPong"): (("self", "payload"), "overridden: likewise"),
    (WebSocketServerProtocol, "_fail_connection"): (("self", "code", "reason"), "overridden: RFC 6455 section 7.1.7, nothing is read any more"),
    (WebSocketServerProtocol, "_protocol_violation"): (("self", "reason"), "overridden: stop at the first violation"),
    (WebSocketServerProtocol, "_invalid_payload"): (("self", "reason"), "overridden: likewise"),
    (WebSocketServerProtocol, "_closeConnection"): (("self", "abort"), "overridden: the link ends connections"),
    (WebSocketServerProtocol, "_max_message_size_exceeded"): (("self", "msg_size", "max_msg_size", "reason"), "overridden: the close reason names the option"),
    (WebSocketServerProtocol, "_parseExtensionsHeader"): (("self", "header", "removeQuotes"), "called: offers of the client"),
    (WebSocketServerProtocol, "succeedHandshake"): (("self", "res"), "overridden: the same answer and state, without the steps before that admission has done"),
    (WebSocketServerProtocol, "failHandshake"): (("self", "reason", "code", "responseHeaders"), "overridden: complete answers"),
    (WebSocketServerProtocol, "sendCloseFrame"): (("self", "code", "reasonUtf8", "isReply"), "overridden: the link's one close timer"),
    (WebSocketServerProtocol, "dropConnection"): (("self", "abort"), "overridden: the link ends connections"),
    (WebSocketServerProtocol, "onCloseFrame"): (("self", "code", "reasonRaw"), "overridden: illegal Close frames get their answer"),
    (WebSocketServerProtocol, "onOpenHandshakeTimeout"): (("self",), "overridden: 408"),
    (WebSocketServerProtocol, "_sendAutoPing"): (("self",), "overridden: what had arrived by then"),
    (WebSocketServerProtocol, "onAutoPingTimeout"): (("self",), "overridden: 1001"),
    (WebSocketServerProtocol, "onMessageFrameBegin"): (("self", "length"), "overridden: compressed messages are limited by what they become"),
    (WebSocketServerProtocol, "onFrameData"): (("self", "payload"), "overridden: likewise"),
    (WebSocketServerProtocol, "onMessageEnd"): (("self",), "overridden: no Deferred for each message"),
    (WebSocketServerFactory, "resetProtocolOptions"): (("self",), "called by Autobahn's constructor; its attributes are the option set"),
    (WebSocketClientProtocol, "_connectionMade"): (("self",), "overridden: as the server's"),
    (WebSocketClientProtocol, "_connectionLost"): (("self", "reason"), "overridden: as the server's"),
    (WebSocketClientProtocol, "startHandshake"): (("self",), "overridden: a request head without a way in for line ends, and a right Host header"),
    (WebSocketClientProtocol, "processHandshake"): (("self",), "called: the 101 answer, checked and written anew"),
    (WebSocketClientProtocol, "failHandshake"): (("self", "reason"), "overridden: the attempt to connect learns why"),
    (WebSocketClientProtocol, "_onConnect"): (("self", "response"), "overridden: all header fields; an exception ends the attempt"),
    (WebSocketClientProtocol, "sendFrame"): (("self", "opcode", "payload", "fin", "rsv", "mask", "payload_len", "chopsize", "sync"), "overridden: masks that cannot be predicted"),
    (WebSocketClientProtocol, "beginMessage"): (("self", "isBinary", "doNotCompress"), "overridden: its frames have no such masks"),
    (WebSocketClientFactory, "resetProtocolOptions"): (("self",), "called by Autobahn's constructor; its attributes are the option set"),
    (TLSMemoryBIOProtocol, "_checkHandshakeStatus"): (("self",), "overridden: from then on bytes take the short way"),
    (TLSMemoryBIOProtocol, "_flushSendBIO"): (("self",), "overridden: to the kernel at once"),
    (TLSMemoryBIOProtocol, "_shutdownTLS"): (("self",), "called: says close_notify"),
    (TLSMemoryBIOProtocol, "_tlsShutdownFinished"): (("self", "reason"), "called: TLS has failed or ended"),
    (TLSMemoryBIOProtocol, "_write"): (("self", "bytes"), "called: what is written before the handshake is done"),
    (TLSMemoryBIOProtocol, "_bufferedWrite"): (("self", "octets"), "called: what OpenSSL does not take now"),
    (TLSMemoryBIOProtocol, "_unbufferPendingWrites"): (("self",), "called: likewise, later"),
    (SSL.Connection, "_raise_ssl_error"): (("self", "ssl", "result"), "called: pyOpenSSL's exception for a result of OpenSSL's"),
}  # fmt: skip


ATTRIBUTES = frozenset({
    "_batched_timer", "_isMessageCompressed", "_perMessageCompress", "autoPingPending",
    "autoPingPendingCall", "autoPingTimeoutCall", "closedByMe", "control_frame_data", "current_frame",
    "data", "droppedByMe", "failedByMe", "frame_data", "frame_length", "http_headers",
    "http_request_host", "http_request_params", "http_request_path", "http_request_uri", "is_closed",
    "localCloseCode", "localCloseReason", "message_data", "message_data_total_length",
    "message_is_binary", "openHandshakeTimeoutCall", "peer", "protocols", "remoteCloseCode",
    "remoteCloseReason", "state", "trafficStats", "wasClean", "wasCloseHandshakeTimeout",
    "wasMaxFramePayloadSizeExceeded", "wasNotCleanReason", "wasOpenHandshakeTimeout",
    "websocket_extensions", "websocket_extensions_in_use", "websocket_key", "websocket_origin",
    "websocket_protocol_in_use", "websocket_protocols", "websocket_version",
})  # fmt: skip
"""What Autobahn keeps of a connection, or of a factory, and wsecho reads or sets. Its options are elsewhere: in
the factories."""

TWISTED: Mapping[ModuleType, frozenset[str]] = {
    tls: frozenset({
        "_aborted", "_appSendBuffer", "_connectWrapped", "_creatorCallable", "_clock", "_handshakeDone",
        "_lostTLSConnection", "_producer", "_tlsConnection",
    }),
    tcp: frozenset({"numberAccepts", "server", "socket"}),
    base: frozenset({"_newTimedCalls", "_pendingTimedCalls"}),
    abstract: frozenset({"_tempDataLen", "_writeDisconnecting", "dataBuffer", "offset"}),
    SSL: frozenset({"_from_ssl", "_into_ssl", "_ssl"}),
}  # fmt: skip
"""What Twisted's TLS, its sockets and its reactor, and pyOpenSSL's connections, keep of themselves, and wsecho reads or
sets."""

if sys.platform == "linux":
    from twisted.internet import epollreactor

    TWISTED = {**TWISTED, epollreactor: frozenset({"_poller"})}

OPENSSL = frozenset({
    "BIO_read", "BIO_write", "ERR_clear_error", "SSL_ERROR_WANT_READ", "SSL_get_error", "SSL_get_verify_result", "SSL_read",
    "SSL_write", "X509_verify_cert_error_string",
})  # fmt: skip
"""What wsecho uses of the bindings to OpenSSL, without pyOpenSSL: it makes an exception of each "not yet"."""


OPENSSL_BY_ADDRESS: Mapping[str, str] = {
    "SSL_read": "int(*)(SSL *, void *, int)",
    "SSL_write": "int(*)(SSL *, void *, int)",
    "SSL_get_error": "int(*)(SSL *, int)",
    "BIO_write": "int(*)(BIO *, void *, int)",
    "BIO_read": "int(*)(BIO *, void *, int)",
    "ERR_clear_error": "void(*)()",
}
"""What compiled code calls of OpenSSL, and what it takes these functions to be."""


def attributes_of_autobahn() -> set[str]:
    """The attributes that Autobahn's protocols and factories set on themselves, as their source says."""
    return attributes_of(protocol)


def attributes_of(module: ModuleType) -> set[str]:
    """The attributes that the classes of a module set on themselves, as its source says."""
    targets: list[ast.expr] = []
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Assign):
            targets += node.targets
        elif isinstance(node, ast.AnnAssign):
            targets.append(node.target)
    found = (part for target in targets for part in ast.walk(target) if isinstance(part, ast.Attribute))
    return {part.attr for part in found if ast.unparse(part.value) == "self"}


def missing() -> list[str]:
    """One line for each name of these lists that is not there, or whose arguments differ; empty when all is
    well."""
    lines = [f"attribute {name} is gone" for name in sorted(ATTRIBUTES - attributes_of_autobahn())]
    for module, names in TWISTED.items():
        gone = sorted(names - attributes_of(module))
        lines += [f"attribute {name} of {module.__name__} is gone" for name in gone]
    lines += [f"{name} of OpenSSL is gone" for name in sorted(OPENSSL) if not hasattr(openssl, name)]
    for (owner, name), (arguments, _) in BENEATH.items():
        function = getattr(owner, name, None)
        if function is None:
            lines.append(f"{owner.__name__}.{name} is gone")
        elif (found := tuple(inspect.signature(function).parameters)) != arguments:
            lines.append(f"{owner.__name__}.{name} takes {found}, not {arguments}")
    return lines


def openssl_addresses() -> tuple[int, ...] | None:
    """Where the functions of :data:`OPENSSL_BY_ADDRESS` are, in that order; None when these bindings do not tell, or one
    is not what it should be.

    pyOpenSSL shows the functions themselves, and only the module beneath knows them as addresses.
    """
    try:
        bindings: Any = import_module("cryptography.hazmat.bindings._rust")._openssl
        ffi, found = bindings.ffi, []
        for name, kind in OPENSSL_BY_ADDRESS.items():
            address = ffi.addressof(bindings.lib, name)
            if ffi.typeof(address).cname != kind:
                return None
            found.append(int(ffi.cast("uintptr_t", address)))
    except (ImportError, AttributeError, TypeError):
        return None
    return tuple(found) if ffi is openssl_memory else None


def bottom_transport(transport: Any) -> Any:
    """The transport that owns the socket, beneath TLS and other wrappers, each of which has the next as its attribute
    ``transport``."""
    while (below := getattr(transport, "transport", None)) is not None:
        transport = below
    return transport


def queued_bytes(transport: Any) -> int:
    """Bytes that wait in a transport of Twisted's: no interface tells, so the attributes of ``FileDescriptor`` and, above it,
    ``TLSMemoryBIOProtocol`` are read. A transport without them, as in tests, has none."""
    queued = 0
    while transport is not None:
        waiting = getattr(transport, "_appSendBuffer", ())
        queued += sum(map(len, waiting))
        aggregator = getattr(transport, "_aggregator", None)
        queued += sum(map(len, getattr(aggregator, "_buffer", ())))
        # Of our own TLS.
        queued += getattr(transport, "plain_bytes", 0)
        below = getattr(transport, "transport", None)
        if below is None:
            data = getattr(transport, "dataBuffer", b"")
            queued += len(data) - getattr(transport, "offset", 0) + getattr(transport, "_tempDataLen", 0)
        transport = below
    return queued


def hand_over(transport: Any) -> None:
    """Let our own TLS encrypt what it keeps for the end of the turn."""
    flush = getattr(transport, "flush_written", None)
    if flush is not None:
        flush()


def is_idle(transport: Any) -> bool:
    """Whether a socket of Twisted's is open and has nothing to write, so that what is written to it directly stays in
    order."""
    return bool(
        transport.connected
        and not transport._tempDataLen
        and not transport.dataBuffer
        and not transport.disconnecting
        and not transport._writeDisconnecting
    )


def epoll_of(reactor: Any) -> int:
    """The descriptor in which a reactor of Twisted's for epoll waits; -1 when it is another, or does not tell what it
    waits for besides."""
    try:
        if not isinstance(reactor._newTimedCalls, list) or not isinstance(reactor._pendingTimedCalls, list):
            return -1
        descriptor: int = reactor._poller.fileno()
    except (AttributeError, ValueError):
        return -1
    return descriptor


def send_now(transport: Any, data: bytes) -> int:
    """Hand ``data`` to the kernel now, where nothing of Twisted's is in between: an ordinary connection of a
    server, TCP or Unix, without TLS. Only while nothing waits in the transport: that would come later.

    :returns: how many bytes the kernel took; 0 also when the transport is another, and when the connection is
        broken, which the transport will find out for itself
    """
    if type(transport) not in SOCKETS or transport.TLS or transport.disconnecting:
        return 0
    try:
        sent: int = transport.socket.send(data)
    except (OSError, AttributeError):
        # Twisted deletes the socket of a connection that has ended.
        return 0
    return sent


def can_learn_peer(transport: Any) -> bool:
    """Whether a transport may name another peer later: one that wraps another, for it may read a proxy's header."""
    return type(transport) not in (tcp.Server, AcceptedTcp)


def certificate_problem(handle: Any) -> str:
    """What OpenSSL found wrong with the peer's certificate, in its own words; empty when nothing, or when it
    cannot be told. pyOpenSSL's exception only says that verification failed, and its verify callback belongs
    to whoever made the connection.

    :param handle: a pyOpenSSL ``Connection``
    """
    try:
        code = _util.lib.SSL_get_verify_result(handle._ssl)
        text: bytes = _util.ffi.string(_util.lib.X509_verify_cert_error_string(code))
    except (AttributeError, TypeError):
        return ""
    return text.decode("ascii", "replace") if code else ""


class SilentLogger:
    """In place of Autobahn's logger on protocols.

    Autobahn builds the arguments of debug lines that are never written, writes a peer's bytes raw, and warns
    about each connection that it fails. wsecho logs one escaped line when a connection opens and one when it
    ends.
    """

    def _nothing(self, *args: object, **kwargs: object) -> None:
        return None

    trace = debug = info = warn = error = critical = failure = emit = _nothing


class _Call:
    """A call that can be cancelled at any time, also after it was made: Autobahn does both."""

    __slots__ = ("_delayed",)

    def __init__(self, delayed: IDelayedCall) -> None:
        self._delayed = delayed

    def cancel(self) -> None:
        if self._delayed.active():
            self._delayed.cancel()


class ReactorTimer:
    """In place of ``factory._batched_timer``, which counts on the global reactor and rounds to 200 ms."""

    __slots__ = ("_clock",)

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock

    def call_later(self, delay: float, function: Callable[..., Any], *args: Any, **kwargs: Any) -> _Call:
        """Like ``IReactorTime.callLater``; ``delay`` in seconds."""
        return _Call(self._clock.callLater(delay, function, *args, **kwargs))
