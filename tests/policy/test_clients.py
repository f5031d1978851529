"""Which clients are admitted by their certificates."""

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.clients import AllowedClients, PeerCertificate


class AllowedClientsTests(SynchronousTestCase):
    """The policy of ``--allow-client``."""

    def test_names(self) -> None:
        """A client is admitted by any of its names, compared whole and by its kind."""
        certificate = PeerCertificate(
            "CN=Device 7",
            common_names=("Device 7",),
            dns_names=("device.Example", "*.wild.example"),
            uris=("spiffe://example/device",),
            emails=("Anna@Example.com",),
            ip_addresses=("192.0.2.1",),
        )
        for name in (
            "device.example",
            "DEVICE.example",
            "spiffe://example/device",
            "Anna@example.COM",
            "CN=Device 7",
        ):
            self.assertIs(AllowedClients([name])(certificate), True, name)
        for name in (
            "example",
            "other.device.example",
            "a.wild.example",
            "spiffe://example/Device",
            "spiffe://example/device/",
            "anna@example.com",
            "CN=device 7",
            "CN=device.Example",
        ):
            self.assertIs(AllowedClients([name])(certificate), False, name)
        self.assertIs(AllowedClients(["other.example", "device.example"])(certificate), True)

    def test_nobody(self) -> None:
        """Who shows no certificate, or one without names, is not admitted."""
        allowed = AllowedClients(["device.example", "CN=device"])
        self.assertIs(allowed(None), False)
        self.assertIs(allowed(PeerCertificate("")), False)

    def test_several_common_names(self) -> None:
        """Of a subject with several common names, none counts."""
        allowed = AllowedClients(["CN=device"])
        self.assertIs(allowed(PeerCertificate("CN=device", common_names=("device",))), True)
        two = PeerCertificate("CN=device,CN=other", common_names=("other", "device"))
        self.assertIs(allowed(two), False)

    def test_common_name_is_no_dns_name(self) -> None:
        """A common name that looks like a DNS name does not admit by that name, nor the other way round."""
        certificate = PeerCertificate("CN=a.example", common_names=("a.example",), dns_names=("b.example",))
        self.assertIs(AllowedClients(["a.example", "CN=b.example"])(certificate), False)

    def test_wrong_names(self) -> None:
        """What is no name is refused in one line that says what is accepted."""
        for name in (
            "",
            "CN=",
            "CN= ",
            "O=Example",
            "192.0.2.1",
            "2001:db8::1",
            ":x",
            "a b:c",
            "@example.com",
            "anna@",
            "a@b@c",
            "a b@c",
            "*.example.com",
            "a\nb",
            "under score",
        ):
            line = str(self.assertRaises(ValueError, AllowedClients, [name]))
            self.assertIn("is no name of a client; accepted are a DNS name", line)
            self.assertTrue(line.isprintable(), line)
