"""Servers in processes of their own, started as users start them, from a directory that is not the checkout.

Nothing sleeps: a test waits for the start line, for the end of a process or for bytes on a connection.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol

import wsecho

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
    from twisted.python.failure import Failure
    from twisted.trial.unittest import TestCase

START_LINE = re.compile(r"listening on (wss?(?:\+unix)?:\S+)")

#: Runs what follows as systemd would: with the pid that the process has.
AS_SYSTEMD = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[1], sys.argv[1:])
"""

#: For tests whose peers do not answer a Close.
CLOSING_SOON = "--drain-timeout=100ms"

#: "hello" from a client, with a mask of zeros, and from the server.
HELLO = b"\x81\x85\0\0\0\0hello"
ECHOED = b"\x81\x05hello"


def twistd() -> list[str]:
    """The twistd of this Python."""
    script = shutil.which("twistd", path=os.path.dirname(sys.executable))
    return [script] if script else [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


def environment() -> dict[str, str]:
    """This process's environment, with which a child finds the same wsecho and its plugin from anywhere."""
    import twisted.plugins.wsecho_plugin as plugin

    assert wsecho.__file__ is not None
    folders = [Path(wsecho.__file__).resolve().parents[1], Path(plugin.__file__).resolve().parents[2]]
    inherited = [
        os.path.abspath(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder
    ]
    return os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, folders), *inherited])}


class _Moment:
    """Something that happens once. Everybody who waits for it has a Deferred of their own: a test that gives
    up takes nothing away from its clean-up."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._has_come = False
        self._waiting: list[Deferred[Any]] = []

    def wait(self) -> Deferred[Any]:
        if self._has_come:
            return succeed(self._value)
        self._waiting.append(Deferred(self._waiting.remove))
        return self._waiting[-1]

    def come(self) -> None:
        self._has_come = True
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(self._value)


class Child(ProcessProtocol):
    """One process: what it printed, when it listens, and how it ended."""

    def __init__(self, listeners: int = 1) -> None:
        self.out = b""
        self.err = b""
        self.status: int | None = None
        self.signal: int | None = None
        self.listening: Deferred[list[str]] = Deferred()
        """Fires with the URLs of the start lines when there are as many as expected."""
        self._exited = _Moment(self)
        self._ended = _Moment(self)
        self._listeners = listeners

    @property
    def exited(self) -> Deferred[Child]:
        """Fires when the process that was started has ended."""
        return self._exited.wait()

    @property
    def ended(self) -> Deferred[Child]:
        """Fires when, besides, nobody holds the other end of its pipes any more."""
        return self._ended.wait()

    def outReceived(self, data: bytes) -> None:
        self.out += data
        # A line may come in pieces, and half a port is a port.
        urls = START_LINE.findall(self.out[: self.out.rfind(b"\n") + 1].decode())
        if len(urls) >= self._listeners and not self.listening.called:
            self.listening.callback(urls)

    def errReceived(self, data: bytes) -> None:
        self.err += data

    def childDataReceived(self, fd: int, data: bytes) -> None:
        if fd in (1, 2):
            super().childDataReceived(fd, data)

    def processExited(self, reason: Failure) -> None:
        assert isinstance(reason.value, ProcessDone | ProcessTerminated)
        self.status, self.signal = reason.value.exitCode, reason.value.signal
        self._exited.come()

    def processEnded(self, reason: Failure) -> None:
        if not self.listening.called:
            self.listening.errback(AssertionError(f"never listened: {self.out!r} {self.err!r}"))
        # A test that does not wait for the start line is not to fail for it.
        self.listening.addErrback(lambda _: None)
        self._ended.come()

    def kill(self, name: str) -> None:
        """Send it the signal `name`: TERM, INT, HUP, KILL."""
        assert self.transport is not None
        self.transport.signalProcess(name)


class LineWatcher:
    """Waits for words in a child's output.

    :param times: how often they are to be there, with those that are there already
    """

    def __init__(self, child: Child, words: bytes, times: int = 1) -> None:
        self.found: Deferred[None] = Deferred()
        received = child.outReceived

        def look(data: bytes) -> None:
            received(data)
            if child.out.count(words) >= times and not self.found.called:
                self.found.callback(None)

        child.outReceived = look  # type: ignore[method-assign]


def start(
    test: TestCase,
    command: Sequence[str],
    *,
    listeners: int = 1,
    variables: Mapping[str, str] | None = None,
    descriptors: Mapping[int, Any] | None = None,
    directory: str | None = None,
) -> Child:
    """Start `command` for `test`, in an empty directory; it is killed should it outlive the test.

    :param listeners: how many start lines `Child.listening` waits for.
    :param descriptors: file descriptors besides 0, 1 and 2, as for spawnProcess.
    """
    child = Child(listeners)
    place = directory or test.mktemp()
    os.makedirs(place, exist_ok=True)
    reactor.spawnProcess(
        child,
        command[0],
        list(command),
        env=environment() | dict(variables or {}),
        path=place,
        childFDs={0: "w", 1: "r", 2: "r"} | dict(descriptors or {}),
    )

    def clean_up() -> Deferred[Child]:
        with contextlib.suppress(ProcessExitedAlready):
            child.kill("KILL")
        return child.ended

    test.addCleanup(clean_up)
    return child


class Conversation(Protocol):
    """A client that says what it is told and waits for bytes."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Deferred[bytes] = Deferred()
        """Fires with all that was received when the connection has ended."""
        self._awaited: tuple[bytes, Deferred[bytes]] | None = None

    def say(self, data: bytes) -> None:
        """Send bytes."""
        assert self.transport is not None
        self.transport.write(data)

    def until(self, awaited: bytes) -> Deferred[bytes]:
        """A Deferred that fires with all that was received as soon as `awaited` is in it."""
        waiting: Deferred[bytes] = Deferred()
        self._awaited = (awaited, waiting)
        self._look()
        return waiting

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._look()

    def _look(self) -> None:
        if self._awaited is not None and self._awaited[0] in self.received:
            (_, waiting), self._awaited = self._awaited, None
            waiting.callback(self.received)

    def connectionLost(self, reason: Failure | None = None) -> None:
        if self._awaited is not None:
            (awaited, waiting), self._awaited = self._awaited, None
            waiting.errback(AssertionError(f"no {awaited!r} in {self.received!r}"))
        self.lost.callback(self.received)


async def connect(
    test: TestCase, url: str, *, tls: IOpenSSLClientConnectionCreator | None = None
) -> Conversation:
    """Connect to the URL of a start line; the connection is dropped should it outlive the test."""
    scheme, rest = url.split(":", 1)
    if scheme.endswith("+unix"):
        endpoint: Any = UNIXClientEndpoint(reactor, rest)
    else:
        host, port = rest.strip("/").rsplit(":", 1)
        endpoint = HostnameEndpoint(reactor, host.strip("[]"), int(port))
    if scheme.startswith("wss"):
        assert tls is not None
        endpoint = wrapClientTLS(tls, endpoint)
    conversation = await endpoint.connect(Factory.forProtocol(Conversation))
    assert isinstance(conversation, Conversation)

    def clean_up() -> Deferred[bytes] | None:
        if conversation.transport is None or conversation.lost.called:
            return None
        conversation.transport.abortConnection()  # type: ignore[attr-defined]
        return conversation.lost

    test.addCleanup(clean_up)
    return conversation


def request(path: str = "/", host: str = "localhost", *headers: str) -> bytes:
    """An opening handshake."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def open_websocket(
    test: TestCase, url: str, path: str = "/", *, tls: IOpenSSLClientConnectionCreator | None = None
) -> Conversation:
    """Connect and complete the opening handshake."""
    conversation = await connect(test, url, tls=tls)
    conversation.say(request(path))
    head = await conversation.until(b"\r\n\r\n")
    test.assertIn(b"HTTP/1.1 101 ", head)
    return conversation


async def echoes(test: TestCase, conversation: Conversation) -> None:
    """Assert that what is said comes back."""
    conversation.say(HELLO)
    await conversation.until(ECHOED)
