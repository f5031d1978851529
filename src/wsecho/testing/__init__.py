"""A running wsecho for the tests of WebSocket clients: `running` on the reactor of a trial test, `Server` as
a process of its own for everything else. For pytest there are fixtures in `wsecho.testing.plugin`."""

from wsecho.testing.process import Server
from wsecho.testing.running import Running, running
from wsecho.testing.served import ServerFailed

__all__ = ["Running", "Server", "ServerFailed", "running"]
