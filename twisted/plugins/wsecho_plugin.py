"""Tell twistd that `wsecho` exists.

Twisted imports this module to fill its plugin cache, also when somebody asks for another plugin: it names
wsecho.app.tap as a string and imports nothing of ours. No __init__.py may stand in this folder or above it.
"""

from twisted.application.service import ServiceMaker

wsecho = ServiceMaker("wsecho", "wsecho.app.tap", "WebSocket server: echo and broadcast", "wsecho")
