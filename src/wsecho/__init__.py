"""wsecho: a WebSocket server on Twisted and Autobahn, with two services, echo and broadcast, and a library to
build your own."""

from wsecho.hub.channels import Hub
from wsecho.policy.authenticators import Authenticator, CorsAuthenticator, PreSharedKeyAuthenticator
from wsecho.policy.end_reasons import End, EndReason
from wsecho.policy.enumerations import CloseCode, PauseMode, SocketError, SocketState, SslMode, Version
from wsecho.policy.hosts import AllowedHosts
from wsecho.policy.http import HttpAnswer
from wsecho.policy.origins import AllowedOrigins, OriginRequest
from wsecho.policy.proxies import TrustedProxies
from wsecho.policy.settings import Settings
from wsecho.policy.signals import BoundSignal, Signal
from wsecho.policy.slow_consumers import SlowConsumer
from wsecho.server import ListenError, WebSocketServer
from wsecho.services.broadcast import BroadcastServerFactory, BroadcastServerProtocol, BroadcastService
from wsecho.services.echo import EchoServerFactory, EchoServerProtocol, EchoService
from wsecho.socket_members import HandshakeOptions
from wsecho.websocket import WebSocket
from wsecho.wire.client import ClientRequest, ConnectError, ConnectFailed, HttpProxy
from wsecho.wire.factory import ServerFactory
from wsecho.wire.interfaces import IService
from wsecho.wire.protocol import ServerProtocol
from wsecho.wire.room import Room

__all__ = [
    "AllowedHosts",
    "AllowedOrigins",
    "Authenticator",
    "BoundSignal",
    "BroadcastServerFactory",
    "BroadcastServerProtocol",
    "BroadcastService",
    "ClientRequest",
    "CloseCode",
    "ConnectError",
    "ConnectFailed",
    "CorsAuthenticator",
    "EchoServerFactory",
    "EchoServerProtocol",
    "EchoService",
    "End",
    "EndReason",
    "HandshakeOptions",
    "HttpAnswer",
    "HttpProxy",
    "Hub",
    "IService",
    "ListenError",
    "OriginRequest",
    "PauseMode",
    "PreSharedKeyAuthenticator",
    "Room",
    "ServerFactory",
    "ServerProtocol",
    "Settings",
    "Signal",
    "SlowConsumer",
    "SocketError",
    "SocketState",
    "SslMode",
    "TrustedProxies",
    "Version",
    "WebSocket",
    "WebSocketServer",
]
