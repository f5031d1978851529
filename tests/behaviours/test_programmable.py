"""The examples of docs/how-to/test-endpoints.md, each tried with the client of `websockets`, ws and wss."""

from __future__ import annotations

import json
import ssl
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.locked_tls import locked
from tests.serving import TIMEOUT, python_environment, serving
from wsecho.policy.knobs import BAD_FRAMES, KNOBS
from wsecho.tls.development import make_development_certificate

LISTEN = "tcp:0:interface=127.0.0.1"

Open = Callable[[str], ClientConnection]
Try = Callable[["ExampleTests", Open, str], None]


def _echo(client: ClientConnection, *texts: str) -> list[Any]:
    for text in texts:
        client.send(text)
    return [client.recv(TIMEOUT) for _ in texts]


def _closed(test: ExampleTests, client: ClientConnection) -> ConnectionClosed:
    """How the connection ended."""
    ended: ConnectionClosed = test.assertRaises(ConnectionClosed, client.recv, TIMEOUT)
    return ended


def _slow(least: float, *texts: str) -> Try:
    def attempt(test: ExampleTests, opened: Open, query: str) -> None:
        with opened(query) as client:
            begin = time.monotonic()
            test.assertEqual(_echo(client, *texts), list(texts))
            test.assertGreaterEqual(time.monotonic() - begin, least)

    return attempt


def _fragments(test: ExampleTests, opened: Open, query: str) -> None:
    with opened(query) as client:
        client.send("hello")
        test.assertEqual(list(client.recv_streaming()), ["he", "ll", "o"])


def _whoami(test: ExampleTests, opened: Open, query: str) -> None:
    with opened(query) as client:
        told = json.loads(client.recv(TIMEOUT))
        test.assertEqual((told["path"], told["query"]), ("/test", query))
        test.assertEqual(told["extensions"], ["permessage-deflate"] if "compress=on" in query else [])
        test.assertEqual(told["tls"] is not None, test.is_secure)
        if test.is_secure:
            test.assertEqual(told["tls"]["version"], "TLSv1.3")
            test.assertEqual(told["tls"]["client_certificate"], None)
            test.assertEqual(told["tls"]["server_name"], "localhost")
        test.assertEqual(_echo(client, "x"), ["x"])


def _sizes(*sizes: int) -> Try:
    def attempt(test: ExampleTests, opened: Open, query: str) -> None:
        with opened(query) as client:
            test.assertEqual([len(client.recv(TIMEOUT)) for _ in sizes], list(sizes))

    return attempt


def _pings(test: ExampleTests, opened: Open, query: str) -> None:
    # The client answers pings by itself; what tells of them is that the connection stays.
    with opened(query) as client:
        test.assertRaises(TimeoutError, client.recv, 0.3)
        test.assertEqual(_echo(client, "x"), ["x"])


def _close(code: int, reason: str, *texts: str) -> Try:
    def attempt(test: ExampleTests, opened: Open, query: str) -> None:
        with opened(query) as client:
            test.assertEqual(_echo(client, *texts), list(texts))
            received = _closed(test, client).rcvd
            assert received is not None
            test.assertEqual((received.code, received.reason), (code, reason))

    return attempt


def _abort(test: ExampleTests, opened: Open, query: str) -> None:
    with opened(query) as client:
        client.send("x")
        # The echo may be lost with the connection.
        try:
            client.recv(TIMEOUT)
        except ConnectionClosed as ended:
            test.assertIs(ended.rcvd, None)
        else:
            test.assertIs(_closed(test, client).rcvd, None)


def _stop(test: ExampleTests, opened: Open, query: str) -> None:
    with opened(query) as client:
        test.assertEqual(_echo(client, "x"), ["x"])
        client.send("y")
        test.assertRaises(TimeoutError, client.recv, 0.3)
        client.socket.close()


def _bad(code: int | None, *texts: str) -> Try:
    def attempt(test: ExampleTests, opened: Open, query: str) -> None:
        with opened(query) as client:
            test.assertEqual(_echo(client, *texts), list(texts))
            sent = _closed(test, client).sent
            test.assertEqual(None if sent is None else sent.code, code)

    return attempt


def _status(status: int) -> Try:
    def attempt(test: ExampleTests, opened: Open, query: str) -> None:
        refused = test.assertRaises(InvalidStatus, opened, query)
        test.assertEqual(refused.response.status_code, status)

    return attempt


def _refused(test: ExampleTests, opened: Open, query: str) -> None:
    refused = test.assertRaises(InvalidHandshake, opened, query)
    test.assertNotIsInstance(refused, InvalidStatus)


#: What each example of the table does to the client.
EXAMPLES: dict[str, Try] = {
    "delay": _slow(0.2, "x"),
    "rate": _slow(0.9, "x" * 2048),
    "fragment": _fragments,
    "whoami": _whoami,
    "size": _sizes(1024, 1024, 1024),
    "count": _sizes(0, 0),
    "ping": _pings,
    "close": _close(4001, "so long", "x"),
    "reason": _close(1000, "done"),
    "abort": _abort,
    "read": _stop,
    "bad": _bad(1002),
    "after": _bad(1007, "x", "y"),
    "compress": _whoami,
    "status": _status(503),
    "redirect": _slow(0, "x"),
    "accept": _refused,
    "subprotocol": _refused,
}

#: What this client says of each bad frame; of a length beyond all limits, that it is beyond its own.
BAD = {"masked": 1002, "rsv": 1002, "opcode": 1002, "utf8": 1007, "length": 1009, "half-frame": None}


class ExampleTests(SynchronousTestCase):
    """Against a server in a process of its own."""

    is_secure = False

    def run_against(self, *attempts: tuple[Try, str], option: str = "--test-endpoints") -> None:
        """Try each on ws and on wss."""
        folder = Path(self.mktemp()).resolve()
        make_development_certificate(folder, now=datetime.now(UTC))
        tls = locked(ssl.create_default_context(cafile=folder / "ca.pem"))
        command = [sys.executable, "-m", "wsecho", f"--listen={LISTEN}", f"--listen-tls={LISTEN}", option]
        pems = [f"--certificate={folder / 'certificate.pem'}", f"--private-key={folder / 'private-key.pem'}"]
        with serving([*command, *pems], env=python_environment(), listeners=2) as urls:
            for url in urls:
                self.is_secure = url.startswith("wss")
                host = url.replace("127.0.0.1", "localhost").rstrip("/")

                def opened(query: str, host: str = host) -> ClientConnection:
                    return connect(
                        f"{host}/test?{query}",
                        ssl=tls if self.is_secure else None,
                        open_timeout=TIMEOUT,
                        close_timeout=TIMEOUT,
                        proxy=None,
                    )

                for attempt, query in attempts:
                    attempt(self, opened, query)

    def test_examples(self) -> None:
        """Each example of the table does what its row says."""
        self.assertEqual(list(EXAMPLES), list(KNOBS))
        self.run_against(*((EXAMPLES[knob.name], knob.example) for knob in KNOBS.values()))

    def test_bad_frames(self) -> None:
        """The client fails the connection at each bad frame."""
        self.assertEqual(list(BAD), list(BAD_FRAMES))
        self.run_against(*((_bad(code), f"bad={kind}") for kind, code in BAD.items()))

    def test_refused(self) -> None:
        """What is not there is 400."""
        self.run_against(*((_status(400), query) for query in ("x", "delay=1h", "reason=x", "redirect=//x")))

    def test_without_option(self) -> None:
        """Without the option there is no such path."""
        self.run_against((_status(404), ""), (_status(404), "whoami"), option="--mode=echo")
