"""A process with Qt's QWebSocket, or its QWebSocketServer, driven by JSON lines.

Its standard input says what to do, its standard output tells what happens:
``{"do": "open", "url": "ws://127.0.0.1:9000/"}`` in, ``{"event": "connected", "subprotocol": ""}`` out. It
ends with its input. Nothing here knows wsecho.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ["QT_QPA_PLATFORM"] = "offscreen"

try:
    from PySide6.QtCore import QByteArray, QCoreApplication, QSocketNotifier, QUrl
    from PySide6.QtNetwork import (
        QAbstractSocket,
        QHostAddress,
        QNetworkRequest,
        QSsl,
        QSslCertificate,
        QSslConfiguration,
        QSslKey,
    )
    from PySide6.QtWebSockets import (
        QWebSocket,
        QWebSocketHandshakeOptions,
        QWebSocketProtocol,
        QWebSocketServer,
    )
except ImportError as error:
    sys.exit(f"no Qt peer: {error}. Install wsecho[test-qt], and on Debian libglib2.0-0 and libgssapi-krb5-2")


def tell(event: str, **details: object) -> None:
    """Write one event."""
    sys.stdout.write(json.dumps({"event": event, **details}) + "\n")
    sys.stdout.flush()


def digest(data: bytes) -> dict[str, object]:
    """What is told of bytes."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def certificates(path: str) -> list[Any]:
    """The certificates in a PEM file."""
    return list(QSslCertificate.fromPath(path))


class Socket:
    """A QWebSocket, of either side, whose signals are told."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        socket.disconnected.connect(
            lambda: tell("disconnected", code=int(socket.closeCode().value), reason=socket.closeReason())
        )
        socket.textMessageReceived.connect(lambda text: tell("text", text=text))
        socket.binaryMessageReceived.connect(lambda data: tell("binary", **digest(bytes(data.data()))))
        socket.pong.connect(lambda elapsed, data: tell("pong", payload=bytes(data.data()).decode()))
        socket.errorOccurred.connect(
            lambda error: tell("error", error=error.value, text=socket.errorString())
        )

    def send_text(self, text: str, times: int = 1) -> None:
        """Send a text, repeated."""
        tell("accepted", bytes=self.socket.sendTextMessage(text * times))

    def send_binary(self, size: int) -> None:
        """Send a binary message of the bytes 0 to 255 in turn."""
        data = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
        tell("accepted", bytes=self.socket.sendBinaryMessage(QByteArray(data)))

    def ping(self, payload: str) -> None:
        """Send a ping."""
        self.socket.ping(QByteArray(payload.encode()))

    def close(self, code: int, reason: str = "") -> None:
        """Close."""
        self.socket.close(QWebSocketProtocol.CloseCode(code), reason)

    def abort(self) -> None:
        """Abort."""
        self.socket.abort()


class Client(Socket):
    """A client."""

    def __init__(self, origin: str = "", ca: str = "") -> None:
        super().__init__(QWebSocket(origin))
        self.socket.connected.connect(lambda: tell("connected", subprotocol=self.socket.subprotocol()))
        if ca:
            configuration = QSslConfiguration.defaultConfiguration()
            configuration.setCaCertificates(certificates(ca))
            self.socket.setSslConfiguration(configuration)
        self.socket.sslErrors.connect(lambda errors: tell("ssl_errors", count=len(errors)))

    def open(self, url: str, subprotocols: tuple[str, ...] = (), header: str = "") -> None:
        """Open; `header` is the value of a header X-Test."""
        options = QWebSocketHandshakeOptions()
        options.setSubprotocols(list(subprotocols))
        request = QNetworkRequest(QUrl(url))
        if header:
            request.setRawHeader(b"X-Test", header.encode())
        self.socket.open(request, options)


class Server:
    """A server; what is sent goes to the connection that came last."""

    def __init__(
        self,
        certificate: str = "",
        private_key: str = "",
        subprotocols: tuple[str, ...] = (),
        *,
        echo: bool = False,
        refuse: bool = False,
    ) -> None:
        mode = QWebSocketServer.SslMode.SecureMode if certificate else QWebSocketServer.SslMode.NonSecureMode
        self.server = QWebSocketServer("Qt", mode)
        self.server.setSupportedSubprotocols(list(subprotocols))
        if certificate:
            configuration = QSslConfiguration()
            chain = certificates(certificate)
            configuration.setLocalCertificateChain(chain)
            with open(private_key, "rb") as file:
                key = QSslKey(QByteArray(file.read()), QSsl.KeyAlgorithm.Ec)
            configuration.setPrivateKey(key)
            self.server.setSslConfiguration(configuration)
        self.echo = echo
        self.server.originAuthenticationRequired.connect(lambda asked: asked.setAllowed(not refuse))
        self.server.newConnection.connect(self.arrived)
        self.sockets: list[Socket] = []

    def listen(self) -> None:
        """Listen on 127.0.0.1."""
        tell(
            "listening",
            ok=self.server.listen(QHostAddress(QHostAddress.SpecialAddress.LocalHost)),
            url=self.server.serverUrl().toString(),
        )

    def arrived(self) -> None:
        """Take a connection."""
        socket = self.server.nextPendingConnection()
        self.sockets.append(Socket(socket))
        if self.echo:
            socket.textMessageReceived.connect(socket.sendTextMessage)
            socket.binaryMessageReceived.connect(socket.sendBinaryMessage)
        request = socket.request()
        tell(
            "new_connection",
            url=socket.requestUrl().toString(),
            origin=socket.origin(),
            subprotocol=socket.subprotocol(),
            header=bytes(request.rawHeader("X-Test").data()).decode(),
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sockets[-1], name)


def enumerations() -> None:
    """Tell the values of Qt's enumerations."""
    kinds = (
        QAbstractSocket.SocketError,
        QAbstractSocket.SocketState,
        QAbstractSocket.PauseMode,
        QWebSocketProtocol.CloseCode,
        QWebSocketProtocol.Version,
        QWebSocketServer.SslMode,
    )
    tell("enumerations", **{kind.__name__: {one.name: one.value for one in kind} for kind in kinds})


def main() -> None:
    """Do what is said until the input ends."""
    application = QCoreApplication([])
    actor: Any = None

    def act(line: bytes) -> None:
        nonlocal actor
        command = json.loads(line)
        verb = command.pop("do")
        makers: dict[str, Callable[..., Any]] = {"client": Client, "server": Server}
        if verb in makers:
            actor = makers[verb](**command)
            if verb == "server":
                actor.listen()
        elif verb == "enumerations":
            enumerations()
        else:
            getattr(actor, verb)(**command)

    rest = bytearray()

    def read() -> None:
        data = os.read(0, 65536)
        if not data:
            application.quit()
        rest.extend(data)
        while b"\n" in rest:
            line, _, behind = bytes(rest).partition(b"\n")
            rest[:] = behind
            act(line)

    notifier = QSocketNotifier(0, QSocketNotifier.Type.Read)
    notifier.activated.connect(lambda *_: read())
    tell("ready")
    application.exec()


if __name__ == "__main__":
    main()
