"""Qt's QWebSocketServer with slots in Python."""

from __future__ import annotations

import signal
import sys
from typing import Any

from PySide6.QtCore import QByteArray, QCoreApplication, QObject, Slot
from PySide6.QtNetwork import (
    QHostAddress,
    QSsl,
    QSslCertificate,
    QSslConfiguration,
    QSslKey,
    QSslSocket,
)
from PySide6.QtWebSockets import QWebSocket, QWebSocketServer

from benchmarks.peers.options import MOST, Options, announce, read_options

#: All of them: somebody has to hold the objects.
_peers: set[Peer] = set()


class Peer(QObject):
    """One connection."""

    def __init__(self, socket: QWebSocket) -> None:
        super().__init__()
        self.socket = socket
        self.is_member = socket.requestUrl().path() == "/broadcast"
        # Qt would make fragments of what is above 512 KiB, and the load expects a message as it was sent.
        socket.setOutgoingFrameSize(MOST)
        text: Any = self.text_arrived if self.is_member else self.echo_text
        binary: Any = self.binary_arrived if self.is_member else self.echo_binary
        socket.textMessageReceived.connect(text)
        socket.binaryMessageReceived.connect(binary)
        socket.disconnected.connect(self.gone)

    @Slot(str)
    def echo_text(self, message: str) -> None:
        """Send it back."""
        self.socket.sendTextMessage(message)

    @Slot(QByteArray)
    def echo_binary(self, message: QByteArray) -> None:
        """Send it back."""
        self.socket.sendBinaryMessage(message)

    @Slot(str)
    def text_arrived(self, message: str) -> None:
        """Send it to the others."""
        for peer in _peers:
            if peer.is_member and peer is not self:
                peer.socket.sendTextMessage(message)

    @Slot(QByteArray)
    def binary_arrived(self, message: QByteArray) -> None:
        """Send it to the others."""
        for peer in _peers:
            if peer.is_member and peer is not self:
                peer.socket.sendBinaryMessage(message)

    @Slot()
    def gone(self) -> None:
        """Forget it."""
        _peers.discard(self)
        self.socket.deleteLater()


def tls_configuration(options: Options) -> QSslConfiguration:
    """The certificate, and no question for the client's."""
    made = QSslConfiguration.defaultConfiguration()
    made.setProtocol(QSsl.SslProtocol.TlsV1_2OrLater)
    made.setPeerVerifyMode(QSslSocket.PeerVerifyMode.VerifyNone)
    with open(options.certificate, "rb") as file:
        made.setLocalCertificate(QSslCertificate(file.read(), QSsl.EncodingFormat.Pem))
    with open(options.private_key, "rb") as file:
        made.setPrivateKey(QSslKey(file.read(), QSsl.KeyAlgorithm.Ec, QSsl.EncodingFormat.Pem))
    return made


def main(options: Options) -> int:
    """Serve until the process is ended."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    application = QCoreApplication([])
    modes = QWebSocketServer.SslMode
    server = QWebSocketServer("peer", modes.SecureMode if options.certificate else modes.NonSecureMode)
    if options.certificate:
        server.setSslConfiguration(tls_configuration(options))
    server.setMaxPendingConnections(2000)

    def accept() -> None:
        while server.hasPendingConnections():
            _peers.add(Peer(server.nextPendingConnection()))

    server.newConnection.connect(accept)
    if not server.listen(QHostAddress("127.0.0.1"), 0):
        sys.exit(server.errorString())
    announce(server.serverPort(), options)
    return application.exec()


if __name__ == "__main__":
    sys.exit(main(read_options(sys.argv[1:])))
