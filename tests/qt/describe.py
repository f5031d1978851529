"""A program that writes what Qt's WebSocket classes have, as JSON: members, defaults, enumerations.

Its argument names, as JSON as well, the getters whose defaults are wanted, by class. It runs in a process of
its own, because Qt stays out of the tests' process. Nothing here knows wsecho.
"""

from __future__ import annotations

import json
import os
import sys
from enum import Enum
from typing import Any

os.environ["QT_QPA_PLATFORM"] = "offscreen"

try:
    from PySide6 import QtWebSockets
    from PySide6.QtCore import QCoreApplication, QUrl
    from PySide6.QtNetwork import QHostAddress
except ImportError as error:
    sys.exit(f"no Qt: {error}. Install wsecho[test-qt]")


def value(thing: object) -> object:
    """What a getter gave, as JSON; a text in brackets for what JSON cannot say."""
    if isinstance(thing, Enum):
        return int(thing.value)
    if isinstance(thing, QUrl | QHostAddress):
        return thing.toString()
    if isinstance(thing, list):
        return [value(one) for one in thing]
    if thing is None or isinstance(thing, bool | int | str):
        return thing
    return f"<{type(thing).__name__}>"


def members(cls: type) -> list[str]:
    """The public members that a class defines."""
    return [name for name in vars(cls) if not name.startswith("_") and name != "staticMetaObject"]


def enumeration(cls: Any) -> dict[str, int]:
    """The values of an enumeration by name, aliases too."""
    return {name: int(member.value) for name, member in cls.__members__.items()}


def main() -> None:
    """Write it."""
    getters: dict[str, list[str]] = json.loads(sys.argv[1])
    application = QCoreApplication([])
    server, protocol = QtWebSockets.QWebSocketServer, QtWebSockets.QWebSocketProtocol
    objects = [
        server("", server.SslMode.NonSecureMode),
        QtWebSockets.QWebSocket(),
        QtWebSockets.QWebSocketCorsAuthenticator("https://example.com"),
        QtWebSockets.QWebSocketHandshakeOptions(),
    ]
    classes = [*map(type, objects), QtWebSockets.QMaskGenerator]
    sys.stdout.write(
        json.dumps(
            {
                "members": {cls.__name__: members(cls) for cls in classes},
                "defaults": {
                    type(one).__name__: {
                        name: value(getattr(one, name)()) for name in getters[type(one).__name__]
                    }
                    for one in objects
                },
                "enumerations": {
                    "QWebSocketServer::SslMode": enumeration(server.SslMode),
                    "QWebSocketProtocol::Version": enumeration(protocol.Version),
                    "QWebSocketProtocol::CloseCode": enumeration(protocol.CloseCode),
                },
            }
        )
    )
    application.quit()


if __name__ == "__main__":
    main()
