"""What a configuration wants to be listened on, and the TLS for it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsecho.app.configuration import Configuration, ConfigurationError, read_configuration
from wsecho.app.listeners import DescriptionListener, PortListener
from wsecho.app.service import server_maker
from wsecho.app.sources import build_listeners, build_tls
from wsecho.policy.clients import PeerCertificate
from wsecho.tls.development import make_development_certificate
from wsecho.tls.verification import Verification
from wsecho.wire.room import Room


class BuildTests(SynchronousTestCase):
    """`build_listeners` and `build_tls`."""

    def configuration(self, **given: str | list[str]) -> Configuration:
        """A configuration of these options."""
        return read_configuration(
            {
                name.replace("_", "-"): [value] if isinstance(value, str) else value
                for name, value in given.items()
            }
        )

    def test_listeners(self) -> None:
        """The short form comes first, then the descriptions in order; each knows how it was written."""
        clock = Clock()
        (port,) = build_listeners(self.configuration(), clock)
        self.assertIsInstance(port, PortListener)
        self.assertEqual(port.name, "--port=9000")
        found = build_listeners(self.configuration(port="1", listen=["tcp:2", "unix:x"]), clock)
        self.assertEqual([one.name for one in found], ["--port=1", "--listen=tcp:2", "--listen=unix:x"])
        self.assertIsInstance(found[1], DescriptionListener)
        (only,) = build_listeners(self.configuration(listen="tcp:2"), clock)
        self.assertEqual(only.name, "--listen=tcp:2")
        (host,) = build_listeners(self.configuration(host="::1"), clock)
        self.assertEqual(host.name, "--host=::1")

    def test_systemd(self) -> None:
        """A socket that systemd did not hand over is an error before anything listens."""
        configuration = self.configuration(listen="systemd:domain=INET:index=0")
        error = self.assertRaises(ConfigurationError, build_listeners, configuration, Clock())
        self.assertEqual(
            str(error),
            "--listen=systemd:domain=INET:index=0: systemd handed over no such socket "
            "(LISTEN_FDS, LISTEN_FDNAMES)",
        )

    def test_several_certificates(self) -> None:
        """All pairs are read, each error names the option of its own file, and a reload reads the same
        files."""
        names = [self.mktemp(), self.mktemp()]
        made = [make_development_certificate(name, now=datetime.now(UTC)) for name in names]
        given: dict[str, Any] = {
            "listen_tls": "tcp:0",
            "certificate": [os.path.relpath(one.certificate) for one in made],
            "private_key": [os.path.relpath(one.private_key) for one in made],
        }
        creator = build_tls(self.configuration(**given))
        assert creator is not None
        self.assertEqual(
            [pair.certificate for pair in creator.configuration.certificates],
            [str(one.certificate.absolute()) for one in made],
        )
        self.assertIs(creator.configuration.verification, Verification.NONE)
        made[1].certificate.write_bytes(b"")
        line = str(self.assertRaises(ConfigurationError, build_tls, self.configuration(**given)))
        self.assertTrue(line.startswith(f"--certificate={given['certificate'][1]}: certificate file"), line)

    def test_client_authority(self) -> None:
        """With --client-ca clients need a certificate, --allow-client says whose; a wrong file is told."""
        made = make_development_certificate(self.mktemp(), now=datetime.now(UTC))
        given: dict[str, str | list[str]] = {
            "listen_tls": "tcp:0",
            "certificate": str(made.certificate),
            "private_key": str(made.private_key),
        }
        configuration = self.configuration(**given, client_ca=str(made.ca), allow_client="device.example")
        creator = build_tls(configuration)
        assert creator is not None
        self.assertIs(creator.configuration.verification, Verification.REQUIRED)
        clients = server_maker(configuration, Clock(), Room())(True).factory.clients
        assert clients is not None
        self.assertIs(clients(PeerCertificate("", dns_names=("device.example",))), True)
        self.assertIs(clients(PeerCertificate("", dns_names=("other.example",))), False)
        self.assertIsNone(server_maker(self.configuration(), Clock(), Room())(False).factory.clients)
        error = self.assertRaises(
            ConfigurationError, build_tls, self.configuration(**given, client_ca="nowhere.pem")
        )
        self.assertTrue(str(error).startswith("--client-ca=nowhere.pem: client CA file"), error)
