"""wsecho: a WebSocket server on Twisted and Autobahn, with two services, echo and broadcast, and a library to
build your own."""

from wsecho.hub.channels import Hub
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.hosts import AllowedHosts
from wsecho.policy.http import HttpAnswer
from wsecho.policy.origins import AllowedOrigins, OriginRequest
from wsecho.policy.settings import Settings
from wsecho.services.broadcast import BroadcastServerFactory, BroadcastServerProtocol, BroadcastService
from wsecho.services.echo import EchoServerFactory, EchoServerProtocol, EchoService
from wsecho.wire.factory import ServerFactory
from wsecho.wire.interfaces import IService
from wsecho.wire.protocol import ServerProtocol

__all__ = [
    "AllowedHosts",
    "AllowedOrigins",
    "BroadcastServerFactory",
    "BroadcastServerProtocol",
    "BroadcastService",
    "EchoServerFactory",
    "EchoServerProtocol",
    "EchoService",
    "End",
    "EndReason",
    "HttpAnswer",
    "Hub",
    "IService",
    "OriginRequest",
    "ServerFactory",
    "ServerProtocol",
    "Settings",
]
