"""The wire: all that touches Autobahn, transports and sockets. It turns bytes into calls and calls into
bytes; what is allowed stands in ``policy``, what happens to a message in ``services``."""
