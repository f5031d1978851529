"""The channels that a configuration asks for, on their engine.

Rules of this file: nothing is connected here; that begins with the service.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from wsecho.app.configuration import ConfigurationError
from wsecho.app.engines import make_engine
from wsecho.hub.channels import Hub
from wsecho.policy.slow_consumers import SlowConsumer
from wsecho.services.broadcast import BroadcastService

if TYPE_CHECKING:
    from wsecho.app.configuration import Configuration

__all__ = ["build_broadcast"]


def build_broadcast(configuration: Configuration, reactor: Any = None) -> BroadcastService:
    """Return the channels, on their engine.

    :raises ConfigurationError: the engine cannot be used
    """
    node = secrets.token_hex(4)
    try:
        engine = make_engine(
            configuration.text("engine"),
            reactor,
            node=node,
            retention=configuration.retention(),
            max_payload=configuration.settings().max_message_size,
        )
    except ValueError as error:
        raise ConfigurationError(f"{configuration.named('engine')}: {error}") from None
    return BroadcastService(
        Hub(),
        include_sender=configuration.flag("include-sender"),
        include_sender_on=configuration.channel_flags("include-sender"),
        slow_consumer=SlowConsumer(configuration.text("slow-consumer")),
        slow_consumer_on={
            channel: SlowConsumer(choice)
            for channel, choice in configuration.channel_texts("slow-consumer").items()
        },
        engine=engine,
        clock=reactor,
        node=node,
    )
