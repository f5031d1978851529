"""The older form of Qt's echo server with wsecho: after the first text message it listens no more.

python examples/qt_echo_once.py [PORT]

Connections that are open go on. PORT is 1234 unless given, and 0 picks a free one. Ctrl-C ends it.
"""
