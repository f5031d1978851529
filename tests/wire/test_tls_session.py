"""Tests for `wsecho.wire.tls_session`."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from wsecho.wire.tls_session import tls_session


class TlsSessionTests(SynchronousTestCase):
    """`tls_session`; with a real connection, see tests.behaviours.test_programmable."""

    def test_plain(self) -> None:
        """A connection without TLS has none."""
        self.assertIs(tls_session(object()), None)
        self.assertIs(tls_session(None), None)

    def test_server_name(self) -> None:
        """Before a handshake there is a version and no cipher; the name is the one that is asked for."""
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        connection.set_tlsext_host_name(b"example.com")
        session = tls_session(connection)
        assert session is not None
        self.assertEqual((session["server_name"], session["cipher"]), ("example.com", None))
        nameless = tls_session(SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None))
        assert nameless is not None
        self.assertIs(nameless["server_name"], None)
