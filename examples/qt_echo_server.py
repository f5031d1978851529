"""Qt's echo server with wsecho: what a client sends comes back, text as text and binary as binary.

python examples/qt_echo_server.py [PORT] [--debug]

It listens on all interfaces, as Qt's does; PORT is 1234 unless given, and 0 picks a free one. Ctrl-C ends it.
"""
