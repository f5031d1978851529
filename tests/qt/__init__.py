"""Real Qt peers: PySide6's QWebSocket against our server, our WebSocket against its QWebSocketServer.

They need the extra ``test-qt``. Where PySide6 is missing they fail, and say so: a skip would hide it.
"""
