"""Tests for why a client did not connect."""

from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsecho.wire.failures import (
    ConnectError,
    ConnectFailed,
    connection_lost,
    is_tls_failure,
    transport_failed,
)

TARGET = "example.com:443"


class ConnectFailedTests(SynchronousTestCase):
    """The exception."""

    def test_text(self) -> None:
        """The text is the exception's own, and without an answer there are no headers."""
        failed = ConnectFailed(ConnectError.TIMEOUT, "too late")
        self.assertEqual(
            (str(failed), failed.text, failed.status, dict(failed.headers)),
            ("too late", "too late", None, {}),
        )

    def test_answer(self) -> None:
        """An answer's status and headers can be read."""
        failed = ConnectFailed(ConnectError.HTTP_STATUS, "401", status=401, headers={"a": "b"})
        self.assertEqual(
            (failed.error, failed.status, failed.headers["a"]), (ConnectError.HTTP_STATUS, 401, "b")
        )


class TransportTests(SynchronousTestCase):
    """Failures of endpoints."""

    def assertFailed(self, cause: BaseException, kind: ConnectError, text: str) -> None:
        failed = transport_failed(Failure(cause), TARGET)
        self.assertEqual((failed.error, failed.text), (kind, f"{TARGET}: {text}"))

    def test_host_not_found(self) -> None:
        """A name that nobody knows is told apart."""
        self.assertFailed(error.DNSLookupError("x"), ConnectError.HOST_NOT_FOUND, "host not found")

    def test_refused(self) -> None:
        """A port that nobody listens on is told apart."""
        self.assertFailed(
            error.ConnectionRefusedError(),
            ConnectError.CONNECTION_REFUSED,
            "connection refused",
        )

    def test_timeout(self) -> None:
        """A host that does not answer is a timeout, whether Twisted's or the kernel's."""
        for cause in (error.TimeoutError(), error.TCPTimedOutError()):
            self.assertFailed(cause, ConnectError.TIMEOUT, "the host does not answer")

    def test_other(self) -> None:
        """Anything else is a network error with its own words, one line, escaped."""
        failed = transport_failed(Failure(error.NoRouteError(101, "no\nroute")), TARGET)
        self.assertIs(failed.error, ConnectError.NETWORK)
        self.assertIn("no\\x0aroute", failed.text)
        self.assertFailed(KeyError(), ConnectError.NETWORK, "KeyError")

    def test_known(self) -> None:
        """What is a ConnectFailed already, as a tunnel's, stays as it is."""
        failed = ConnectFailed(ConnectError.PROXY, "x")
        self.assertIs(transport_failed(Failure(failed), TARGET), failed)


class LostTests(SynchronousTestCase):
    """Transports that end too early."""

    def text(self, cause: BaseException, handle: Any = None) -> tuple[ConnectError, str]:
        failed = connection_lost(Failure(cause), TARGET, handle)
        self.assertTrue(failed.text.startswith(TARGET + ": "))
        return failed.error, failed.text.removeprefix(TARGET + ": ")

    def test_ended(self) -> None:
        """An end in order, or a reset, before the answer is a network error."""
        end = "the connection was {} before the opening handshake was answered"
        self.assertEqual(self.text(error.ConnectionDone()), (ConnectError.NETWORK, end.format("ended")))
        self.assertEqual(self.text(error.ConnectionLost()), (ConnectError.NETWORK, end.format("lost")))

    def test_tls(self) -> None:
        """What OpenSSL says is told."""
        cause = SSL.Error([("SSL routines", "", "wrong version number"), ("", "", "x")])
        self.assertEqual(self.text(cause), (ConnectError.TLS, "TLS failed: wrong version number, x"))

    def test_own_words(self) -> None:
        """What wsecho's own TLS says is told as it is, whatever OpenSSL makes of it."""
        cause = SSL.Error([("wsecho", "verify", "the server's certificate is for a, not for b")])
        self.assertEqual(self.text(cause), (ConnectError.TLS, "the server's certificate is for a, not for b"))

    def test_tls_silent(self) -> None:
        """OpenSSL's exceptions without words come when the server goes away."""
        for cause in (SSL.Error(), SSL.Error([]), SSL.SysCallError(-1, "Unexpected EOF")):
            self.assertEqual(
                self.text(cause), (ConnectError.TLS, "TLS failed: the server ended the connection")
            )

    def test_other_name(self) -> None:
        """A certificate for another name is told apart."""
        self.assertEqual(
            self.text(VerificationError(errors=[])),
            (ConnectError.TLS, "the server's certificate is for another name"),
        )

    def test_is_tls(self) -> None:
        """TLS failures are those of OpenSSL and of service-identity."""
        self.assertTrue(is_tls_failure(Failure(SSL.ZeroReturnError())))
        self.assertTrue(is_tls_failure(Failure(VerificationError(errors=[]))))
        self.assertFalse(is_tls_failure(Failure(error.ConnectionLost())))
