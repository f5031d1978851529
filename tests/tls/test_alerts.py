"""The table of alerts."""

from twisted.trial.unittest import SynchronousTestCase

from wsecho.tls.alerts import ALERTS, Alert


class AlertTests(SynchronousTestCase):
    """One alert."""

    def test_of_openssl(self) -> None:
        """OpenSSL's number holds the level above and the type below."""
        self.assertEqual(Alert.of_openssl(0x0230), Alert(2, 48))
        self.assertEqual(Alert.of_openssl(0x0100), Alert(1, 0))

    def test_texts(self) -> None:
        """An alert has its registered name and its level; numbers without a name say so."""
        for alert, text in (
            (Alert(2, 48), "unknown_ca (fatal)"),
            (Alert(1, 0), "close_notify (warning)"),
            (Alert(2, 115), "unknown_psk_identity (fatal)"),
            (Alert(2, 116), "certificate_required (fatal)"),
            (Alert(3, 255), "unassigned (255) (level 3)"),
        ):
            self.assertEqual(str(alert), text)
        self.assertEqual([Alert(level, 0).is_fatal for level in (1, 2)], [False, True])

    def test_names(self) -> None:
        """Names are the registry's: lower case, each once, below 256."""
        self.assertEqual(len(set(ALERTS.values())), len(ALERTS))
        for number, name in ALERTS.items():
            self.assertRegex(name, r"\A[a-z_]+\Z")
            self.assertLess(number, 256)
