"""A server's TLS as a value."""

from typing import Any

import trustme
from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from wsecho.tls.certificates import CertificateAndKey
from wsecho.tls.configuration import CIPHERS, TlsConfiguration, TlsVersion
from wsecho.tls.preshared import PSK_CIPHERS, PSK_SUITES, PreSharedKeys
from wsecho.tls.verification import Verification

PAIR = CertificateAndKey("a.pem", "b.pem")


class TlsConfigurationTests(SynchronousTestCase):
    """What goes together, and what does not."""

    def test_defaults(self) -> None:
        """By default: TLS 1.2, Mozilla's intermediate list, http/1.1, tickets, and no verification."""
        configuration = TlsConfiguration([PAIR])  # type: ignore[arg-type]
        self.assertEqual(configuration, TlsConfiguration(PAIR))  # type: ignore[arg-type]
        self.assertEqual(configuration.certificates, (PAIR,))
        self.assertIs(configuration.minimum_version, TlsVersion.TLS_1_2)
        self.assertEqual((configuration.ciphers, configuration.suites), (CIPHERS, ""))
        self.assertEqual(configuration.alpn, ("http/1.1",))
        self.assertIs(configuration.session_tickets, True)
        self.assertIs(configuration.verification, Verification.NONE)

    def test_authority_means_required(self) -> None:
        """Who names an authority wants certificates, unless it says that they are optional."""
        self.assertIs(TlsConfiguration((PAIR,), client_ca="ca.pem").verification, Verification.REQUIRED)
        optional = TlsConfiguration((PAIR,), client_ca=b"PEM", verification=Verification.OPTIONAL)
        self.assertIs(optional.verification, Verification.OPTIONAL)

    def test_authorities_as_objects(self) -> None:
        """Authorities may be certificates, which are kept as a tuple."""
        ca = x509.load_pem_x509_certificate(trustme.CA().cert_pem.bytes())
        self.assertEqual(TlsConfiguration((PAIR,), client_ca=[ca]).client_ca, (ca,))

    def test_pre_shared_keys(self) -> None:
        """With pre-shared keys there are suites for them and no tickets."""
        configuration = TlsConfiguration(pre_shared_keys=PreSharedKeys())
        self.assertEqual((configuration.ciphers, configuration.suites), (PSK_CIPHERS, PSK_SUITES))
        self.assertIs(configuration.session_tickets, False)

    def test_wrong_types(self) -> None:
        """A value of another type is told with its name."""
        values: dict[str, list[Any]] = {
            "certificates": [["a.pem"], [1]],
            "client_ca": [["ca.pem"]],
            "verification": ["required"],
            "alpn": ["http/1.1", [b"http/1.1"]],
            "session_tickets": [1],
            "pre_shared_keys": [b"secret"],
            "key_log": ["file"],
            "ciphers": [b"AES"],
        }
        for name, wrong in values.items():
            for value in wrong:
                given: dict[str, Any] = {"certificates": (PAIR,), name: value}
                if name == "pre_shared_keys":
                    del given["certificates"]
                with self.assertRaisesRegex(TypeError, name):
                    TlsConfiguration(**given)

    def test_wrong_values(self) -> None:
        """What cannot be, or does not go together, is told in one line that begins with the name."""
        keys = PreSharedKeys()
        cases: list[tuple[dict[str, Any], str]] = [
            ({}, "certificates: at least one is needed, or pre_shared_keys"),
            (
                {"certificates": [PAIR], "pre_shared_keys": keys},
                "pre_shared_keys: not with certificates, by which an unknown identity would get in",
            ),
            (
                {"certificates": [PAIR], "verification": Verification.REQUIRED},
                "verification: required needs client_ca",
            ),
            (
                {"certificates": [PAIR], "client_ca": "a", "verification": Verification.NONE},
                "client_ca: nothing uses it with verification none",
            ),
            (
                {"pre_shared_keys": keys, "client_ca": "a"},
                "client_ca: with pre_shared_keys there is no certificate to verify",
            ),
            (
                {"certificates": [PAIR], "ciphers": "NONSENSE"},
                "ciphers: OpenSSL knows no suite in 'NONSENSE'",
            ),
            ({"certificates": [PAIR], "ciphers": "é"}, "ciphers: OpenSSL knows no suite in 'é'"),
            ({"certificates": [PAIR], "suites": "AES"}, "suites: OpenSSL knows no suite in 'AES'"),
            ({"certificates": [PAIR], "alpn": [""]}, "alpn: '' is not 1 to 255 ASCII characters"),
            ({"certificates": [PAIR], "alpn": ["é"]}, "alpn: 'é' is not 1 to 255 ASCII characters"),
        ]
        for given, line in cases:
            self.assertEqual(str(self.assertRaises(ValueError, TlsConfiguration, **given)), line)
        self.assertRaises(ValueError, TlsConfiguration, (PAIR,), minimum_version=0x0301)
