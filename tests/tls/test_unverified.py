"""Tests for wsecho.tls.unverified."""

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.trial.unittest import SynchronousTestCase

from wsecho.tls.unverified import unverified_creator


class UnverifiedCreatorTests(SynchronousTestCase):
    """Connections whose certificates nobody looks at."""

    def connection(self, host: str) -> SSL.Connection:
        """A connection to a host."""
        protocol: Any = None
        creator = unverified_creator(host)
        self.assertTrue(IOpenSSLClientConnectionCreator.providedBy(creator))
        return creator.clientConnectionForTLS(protocol)

    def hello(self, connection: SSL.Connection) -> bytes:
        """The ClientHello."""
        connection.set_connect_state()
        self.assertRaises(SSL.WantReadError, connection.do_handshake)
        return connection.bio_read(4096)

    def test_nothing_is_verified(self) -> None:
        """OpenSSL is told to verify nothing."""
        context = self.connection("example.com").get_context()
        self.assertEqual(context.get_verify_mode(), SSL.VERIFY_NONE)

    def test_server_name(self) -> None:
        """A name is sent, an address is not (RFC 6066 section 3); http/1.1 is the only protocol."""
        named = self.hello(self.connection("example.com"))
        self.assertIn(b"example.com", named)
        self.assertIn(b"\x08http/1.1", named)
        for address in ("192.0.2.1", "2001:db8::1"):
            self.assertNotIn(address.encode(), self.hello(self.connection(address)))

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3 are offered, no older version."""
        # The supported_versions extension (RFC 8446 section 4.2.1): type 43, 5 bytes, 4 of versions.
        self.assertIn(b"\x00\x2b\x00\x05\x04\x03\x04\x03\x03", self.hello(self.connection("example.com")))
