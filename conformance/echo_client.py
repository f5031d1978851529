"""The client that is judged: an echo client made with wsecho, as a program makes one.

`python echo_client.py URL AGENT` goes through the cases of a fuzzing server and has it write its report under
the name AGENT. It is run as a process of its own; the judge does not import it. Like the server, it
logs what it has of wsecho's compiled part.
"""

import sys
from importlib.metadata import version

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver

from wsecho import Settings, WebSocket
from wsecho.wire.lane import described

#: Compression, and room for the suite's largest messages, some of which come in 65,536 fragments; everything
#: else is at its default.
SETTINGS = Settings(compression="deflate", max_message_size=16 * 1024 * 1024, max_fragments=0)


async def echo(url: str) -> list[str | bytes]:
    """Send back what comes until the server closes; return the last message."""
    socket = WebSocket(settings=SETTINGS)
    await socket.open(url)
    last: list[str | bytes] = []
    async for message in socket:
        last = [message]
        if isinstance(message, str):
            socket.send_text_message(message)
        else:
            socket.send_binary_message(message)
    await socket.when_disconnected()
    return last


async def run(url: str, agent: str) -> None:
    """Go through the cases of the server at `url`, which ends in a slash."""
    (count,) = await echo(f"{url}getCaseCount")
    for case in range(1, int(count) + 1):
        await echo(f"{url}runCase?case={case}&agent={agent}")
    await echo(f"{url}updateReports?agent={agent}")


def main() -> None:
    """Run until the report is written; the log goes to the standard output."""
    _, url, agent = sys.argv
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    Logger().info("wsecho {version}, {parts}", version=version("wsecho"), parts=described())
    react(lambda _: Deferred.fromCoroutine(run(url, agent)))


if __name__ == "__main__":
    main()
