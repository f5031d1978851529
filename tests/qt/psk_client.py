"""A process with Qt's QWebSocket that offers a pre-shared key: ``psk_client.py URL IDENTITY KEY``.

It prints the hint that it saw, and ``echo TEXT`` or ``error TEXT``. Nothing here knows wsecho.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["QT_QPA_PLATFORM"] = "offscreen"

try:
    from PySide6.QtCore import QCoreApplication, QUrl
    from PySide6.QtNetwork import QSsl, QSslCipher, QSslConfiguration, QSslSocket
    from PySide6.QtWebSockets import QWebSocket
except ImportError as error:
    sys.exit(f"no Qt peer: {error}. Install wsecho[test-qt], and on Debian libglib2.0-0 and libgssapi-krb5-2")


def tell(*words: str) -> None:
    """Print a line."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def main(url: str, identity: str, key: str) -> int:
    """Connect, say hello, and tell what came."""
    app = QCoreApplication([])
    socket = QWebSocket()
    configuration = QSslConfiguration.defaultConfiguration()
    configuration.setPeerVerifyMode(QSslSocket.PeerVerifyMode.VerifyNone)
    # In TLS 1.3 Qt offers no key.
    configuration.setProtocol(QSsl.SslProtocol.TlsV1_2)
    configuration.setCiphers([QSslCipher("PSK-AES256-GCM-SHA384")])
    socket.setSslConfiguration(configuration)

    def fill(question: Any) -> None:
        tell("hint", bytes(question.identityHint().data()).decode())
        question.setIdentity(identity.encode())
        question.setPreSharedKey(bytes.fromhex(key))

    def told(text: str) -> None:
        tell("echo", text)
        app.quit()

    def failed(_: object) -> None:
        tell("error", socket.errorString())
        app.quit()

    socket.preSharedKeyAuthenticationRequired.connect(fill)
    socket.connected.connect(lambda: socket.sendTextMessage("hello"))
    socket.textMessageReceived.connect(told)
    socket.errorOccurred.connect(failed)
    socket.open(QUrl(url))
    status: int = app.exec()
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
