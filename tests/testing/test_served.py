"""Tests for `wsecho.testing.served`."""

from __future__ import annotations

import ssl
import stat

from twisted.trial.unittest import SynchronousTestCase

from wsecho.testing.served import Served


class Known(Served):
    """A server that never runs."""

    def begin(self, *urls: str) -> list[str]:
        """Return its command line; it listens on `urls`."""
        arguments = self._arguments()
        self.found = self._listens(urls)
        return arguments

    def end(self) -> None:
        """It is gone."""
        self._is_gone()


def make(*options: str, tls: bool = False, mode: str = "echo", test_endpoints: bool = True) -> Known:
    """A server with what the tests leave out."""
    return Known(tls=tls, mode=mode, test_endpoints=test_endpoints, options=options)


class ServedTests(SynchronousTestCase):
    """What a server is asked for, and where it is reached."""

    def test_plain(self) -> None:
        """A plain server is asked for a free port of loopback, and reached there; a path may have a query."""
        server = make()
        arguments = server.begin("ws://127.0.0.1:4321/")
        self.assertIn("--listen=tcp:0:interface=127.0.0.1", arguments)
        self.assertEqual((server.port, server.url()), (4321, "ws://127.0.0.1:4321/"))
        self.assertEqual(server.url("/test?size=1"), "ws://127.0.0.1:4321/test?size=1")
        self.assertIs(server.ca_file, None)

    def test_tls(self) -> None:
        """A secure one gets a certificate, whose files are the owner's only and are gone with the server."""
        server = make(tls=True)
        server.begin("ws://127.0.0.1:1/", "wss://127.0.0.1:4321/")
        self.addCleanup(server.end)
        self.assertEqual(server.url("/echo"), "wss://127.0.0.1:4321/echo")
        assert server.ca_file is not None
        folder = server.ca_file.parent
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        server.end()
        self.assertFalse(folder.exists())
        self.assertIs(server.ca_file, None)

    def test_trust(self) -> None:
        """The context trusts the server's authority, verifies names, and trusts nobody else."""
        server = make(tls=True)
        server.begin()
        self.addCleanup(server.end)
        context = server.ssl_context()
        self.assertEqual((context.verify_mode, context.check_hostname), (ssl.CERT_REQUIRED, True))
        (authority,) = context.get_ca_certs()
        self.assertIn("wsecho development authority", str(authority["subject"]))

    def test_options(self) -> None:
        """What the caller asks for stands in the command line, the options of its own last."""
        arguments = make("--drain-timeout=3s", mode="broadcast").begin()
        self.assertIn("--mode=broadcast", arguments)
        self.assertIn("--test-endpoints", arguments)
        self.assertEqual(arguments[-1], "--drain-timeout=3s")
        self.assertNotIn("--test-endpoints", make(test_endpoints=False).begin())

    def test_mistakes(self) -> None:
        """What cannot be answered raises: a port before the start, a context for ws, a path that is none,
        and a text for a list."""
        server = make()
        self.assertRaises(RuntimeError, lambda: server.port)
        self.assertRaises(RuntimeError, server.ssl_context)
        server.begin("ws://127.0.0.1:1/")
        self.assertRaises(ValueError, server.url, "echo")
        with self.assertRaises(TypeError):
            Served(tls=False, mode="echo", test_endpoints=True, options="--debug")

    def test_no_port(self) -> None:
        """Where the listener that was asked for is missing, there is no port."""
        server = make()
        server.begin("ws+unix:/tmp/socket", "ws://[::1]:9000/")
        self.assertFalse(server.found)
