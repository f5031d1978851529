"""What the wire asks of the rooms above it."""

from __future__ import annotations

from typing import Any

from zope.interface import Interface

__all__ = ["IService"]


class IService(Interface):
    """What happens to the messages of the connections on one path.

    An exception from any of these ends that one connection with 1011 and is logged; it never reaches another
    connection. ``connection`` is the :class:`wsecho.wire.protocol.ServerProtocol` of the peer.

    A service may have

    - an attribute ``holds_back``; see :class:`wsecho.wire.messages.Messages`;
    - an attribute ``name``, under which its messages are counted;
    - an attribute ``keeps_off_lane``; see :mod:`wsecho.wire.lane`;
    - an attribute ``subprotocols``, names that it speaks whatever the factory supports. Which one was chosen,
      it learns from the ``websocket_protocol_in_use`` of the connection;
    - a method ``ready(connection)``, called once the connection is allowed. It opens when the Deferred that
      this returns has fired, unless that fails, with ``HeadRefused`` or as a decision may;
    - a method ``asked(connection, head)``, which is told of a valid opening handshake, a ``RequestHead``,
      before anybody decides on it. It may raise ``HeadRefused``, and set the ``compression`` of the
      connection.
    """

    def opened(connection: Any) -> None:
        """The opening handshake of ``connection`` is complete; it may be written to."""

    def message_arrived(connection: Any, payload: bytes, is_binary: bool) -> None:
        """``connection`` sent a whole message: ``payload`` is UTF-8 when ``is_binary`` is false."""

    def closed(connection: Any) -> None:
        """``connection``, opened before, takes no more messages. Called once."""
