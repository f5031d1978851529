"""A program that publishes: every second the time goes to everybody on /broadcast/time.

python examples/ticker.py [ENDPOINT]
"""

import sys
from datetime import UTC, datetime

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import LoopingCall, react

from wsecho import AllowedOrigins, BroadcastServerFactory


async def serve(reactor: IReactorCore, endpoint: str) -> None:
    """Listen and publish until the process is told to stop."""
    # Pages of any port of this machine may connect; without this, only those of the same origin.
    factory = BroadcastServerFactory(origins=AllowedOrigins(["loopback"]))
    port = await serverFromString(reactor, endpoint).listen(factory)
    print(f"listening on ws://127.0.0.1:{port.getHost().port}/broadcast/time", flush=True)
    reactor.addSystemEventTrigger("before", "shutdown", factory.shutdown)
    LoopingCall(lambda: factory.publish("time", datetime.now(UTC).isoformat(timespec="seconds"))).start(1.0)
    await Deferred()


if __name__ == "__main__":
    react(serve, sys.argv[1:] or ["tcp:9000:interface=127.0.0.1"])
