"""Channels that are not served."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsecho.services.unserved import UnservedChannels
from wsecho.wire.admission import HeadRefused


class UnservedTests(SynchronousTestCase):
    """Asking for one."""

    def test_refused(self) -> None:
        """Whoever asks for a channel is answered with 503 and the reason."""
        service = UnservedChannels("none here").member("kitchen")
        error = self.assertRaises(HeadRefused, service.asked, None, None)
        self.assertEqual((error.status, str(error)), (503, "none here"))
