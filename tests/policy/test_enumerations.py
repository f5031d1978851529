"""Tests for wsecho.policy.enumerations. That the values are Qt's is shown with Qt's own, in tests/qt."""

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.close_codes import may_be_sent
from wsecho.policy.enumerations import CloseCode, PauseMode, SocketError, SocketState, SslMode, Version


class EnumerationTests(SynchronousTestCase):
    """The values, as a program sees them."""

    def test_close_codes_are_numbers(self) -> None:
        """A close code is the number on the wire, and codes of one's own are plain numbers."""
        self.assertEqual([int(code) for code in CloseCode], [*range(1000, 1012), 1015])
        self.assertEqual(CloseCode(1001), CloseCode.GOING_AWAY)
        self.assertRaises(ValueError, CloseCode, 4001)

    def test_close_codes_that_may_be_sent(self) -> None:
        """Those that RFC 6455 reserves are among them, but are never sent, and 1010 only by clients."""
        unsent = [int(code) for code in CloseCode if not may_be_sent(code)]
        self.assertEqual(unsent, [1004, 1005, 1006, 1010, 1015])

    def test_latest_version(self) -> None:
        """The latest version is 13, RFC 6455."""
        self.assertIs(Version.LATEST, Version.VERSION_13)
        self.assertEqual(int(Version.LATEST), 13)

    def test_at_rest(self) -> None:
        """What a new object has: no error, no connection, nothing that pauses, no TLS."""
        values = [SocketError.UNKNOWN_SOCKET_ERROR, SocketState.UNCONNECTED, PauseMode.PAUSE_NEVER]
        self.assertEqual([int(value) for value in values], [-1, 0, 0])
        self.assertEqual(int(SslMode.NON_SECURE_MODE), 1)
