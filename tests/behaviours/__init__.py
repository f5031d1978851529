"""What Qt's own tests and bug reports say of QWebSocketServer and QWebSocket, as tests of ours: one test for
each behaviour, named after it."""
