"""The development certificates."""

import ipaddress
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, ServerVerifier, Store, VerificationError
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from wsecho.tls.certificates import CertificateAndKey, CertificateError
from wsecho.tls.configuration import TlsConfiguration
from wsecho.tls.contexts import server_context
from wsecho.tls.development import LONGEST_DAYS, DevelopmentCertificate, make_development_certificate

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def certificate_in(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


class DevelopmentTestCase(SynchronousTestCase):
    """A directory, and what is made in it."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())

    def make(
        self, *names: str, now: datetime = NOW, days: int = 90, force: bool = False
    ) -> DevelopmentCertificate:
        return make_development_certificate(self.directory, names, now=now, days=days, force=force)

    def error(self, *names: str, days: int = 90, force: bool = False) -> str:
        line = str(self.assertRaises(CertificateError, self.make, *names, days=days, force=force))
        self.assertTrue(line.isprintable(), line)
        return line


class CertificateTests(DevelopmentTestCase):
    """What the certificates say."""

    def verifier(self, made: DevelopmentCertificate, name: str, when: datetime = NOW) -> ServerVerifier:
        builder = PolicyBuilder().store(Store([certificate_in(made.ca)])).time(when)
        try:
            return builder.build_server_verifier(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            return builder.build_server_verifier(x509.DNSName(name))

    def test_clients_that_trust_the_authority_accept_it(self) -> None:
        """Checked as a browser does, the certificate is good for each of its names and for no other."""
        made = self.make(
            "localhost", "127.0.0.1", "::1", "Dev.Example.TEST", "*.wild.test", "xn--bcher-kva.example"
        )
        certificate = certificate_in(made.certificate)
        for name in (
            *("localhost", "127.0.0.1", "::1", "dev.example.test", "a.wild.test", "xn--bcher-kva.example"),
        ):
            self.verifier(made, name).verify(certificate, [])
        for name in ("other.test", "wild.test", "a.b.wild.test", "127.0.0.2", "::2", "a.localhost"):
            self.assertRaises(VerificationError, self.verifier(made, name).verify, certificate, [])

    def test_default_names(self) -> None:
        """Without names it is a certificate for this machine's own."""
        made = make_development_certificate(self.directory, now=NOW)
        names = certificate_in(made.certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        self.assertEqual(names.value.get_values_for_type(x509.DNSName), ["localhost"])
        self.assertEqual(
            [str(address) for address in names.value.get_values_for_type(x509.IPAddress)],
            ["127.0.0.1", "::1"],
        )

    def test_names_are_kept_in_order_and_once(self) -> None:
        """Names come in the order given, those that mean the same only once."""
        made = self.make("b.test", "a.test", "B.TEST", "::1", "0:0::1")
        names = certificate_in(made.certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        self.assertEqual(
            list(names.value),
            [x509.DNSName("b.test"), x509.DNSName("a.test"), x509.IPAddress(ipaddress.IPv6Address("::1"))],
        )

    def test_time(self) -> None:
        """Both certificates are valid from an hour before now, and for the number of days asked for."""
        made = self.make("localhost", days=7)
        certificate = certificate_in(made.certificate)
        begin = NOW - timedelta(hours=1)
        for one in (certificate, certificate_in(made.ca)):
            self.assertEqual(one.not_valid_before_utc, begin)
            self.assertEqual(one.not_valid_after_utc, begin + timedelta(days=7) - timedelta(seconds=1))
        for when in (begin - timedelta(seconds=1), begin + timedelta(days=7)):
            self.assertRaises(
                VerificationError, self.verifier(made, "localhost", when).verify, certificate, []
            )

    def test_authority_signs_servers_only(self) -> None:
        """The authority may sign certificates but no further authorities, and the server's may sign none."""
        made = self.make("localhost")
        ca, certificate = certificate_in(made.ca), certificate_in(made.certificate)
        constraints = [
            one.extensions.get_extension_for_class(x509.BasicConstraints) for one in (ca, certificate)
        ]
        self.assertEqual(
            [(one.critical, one.value.ca, one.value.path_length) for one in constraints],
            [(True, True, 0), (True, False, None)],
        )
        usages = [one.extensions.get_extension_for_class(x509.KeyUsage).value for one in (ca, certificate)]
        self.assertEqual(
            [(one.key_cert_sign, one.digital_signature) for one in usages], [(True, False), (False, True)]
        )

    def test_keys(self) -> None:
        """All keys are P-256, the server's differs from the authority's, and the authority's is nowhere."""
        made = self.make("localhost")
        keys = [certificate_in(path).public_key() for path in (made.ca, made.certificate)]
        for key in keys:
            assert isinstance(key, ec.EllipticCurvePublicKey)
            self.assertIsInstance(key.curve, ec.SECP256R1)
        self.assertNotEqual(keys[0], keys[1])
        found = b"".join(path.read_bytes() for path in self.directory.iterdir())
        self.assertEqual(found.count(b"PRIVATE KEY-----"), 2)

    def test_each_authority_is_another(self) -> None:
        """Two runs make two authorities, told apart by name and number, and neither vouches for the other's
        server."""
        first = self.make("localhost")
        ca, certificate = certificate_in(first.ca), certificate_in(first.certificate)
        second = self.make("localhost", now=NOW + timedelta(seconds=1), force=True)
        self.assertNotEqual(certificate_in(second.ca).subject, ca.subject)
        self.assertNotEqual(certificate_in(second.ca).serial_number, ca.serial_number)
        self.assertRaises(VerificationError, self.verifier(second, "localhost").verify, certificate, [])

    def test_server_starts_with_it(self) -> None:
        """The files are what a server context takes."""
        made = self.make("localhost")
        context = server_context(
            TlsConfiguration((CertificateAndKey(made.certificate, made.private_key),)), now=lambda: NOW
        )
        self.assertIsInstance(context, SSL.Context)


class FileTests(DevelopmentTestCase):
    """Where the files go."""

    def test_files(self) -> None:
        """Three files are written into a directory that is made for them, and nothing else is left there."""
        self.directory /= "new/and/deep"
        made = self.make("localhost")
        self.assertEqual(
            made,
            DevelopmentCertificate(
                ca=self.directory / "ca.pem",
                certificate=self.directory / "certificate.pem",
                private_key=self.directory / "private-key.pem",
            ),
        )
        self.assertEqual(sorted(os.listdir(self.directory)), ["ca.pem", "certificate.pem", "private-key.pem"])

    def test_only_the_owner_reads_the_key(self) -> None:
        """The key is readable by its owner only, whatever the umask, also when it replaces one that was open
        to all."""
        self.addCleanup(os.umask, os.umask(0))
        for force in (False, True):
            made = self.make("localhost", force=force)
            modes = [
                stat.S_IMODE(path.stat().st_mode) for path in (made.ca, made.certificate, made.private_key)
            ]
            self.assertEqual(modes, [0o644, 0o644, 0o600])
            made.private_key.chmod(0o666)

    def test_existing_files_stay(self) -> None:
        """If any of the files exists, be it a dangling link, nothing is written and the line names it."""
        for name in ("ca.pem", "certificate.pem", "private-key.pem"):
            self.directory = Path(self.mktemp())
            self.directory.mkdir()
            (self.directory / name).symlink_to("nowhere")
            self.assertEqual(
                self.error("localhost"),
                f'"{self.directory / name}": not overwritten; --force replaces files that exist',
            )
            self.assertEqual(os.listdir(self.directory), [name])

    def test_force_replaces(self) -> None:
        """With force the files are replaced, a link itself and not what it points to, and nothing else is
        left."""
        target = Path(self.mktemp())
        target.write_bytes(b"precious")
        self.make("localhost")
        (self.directory / "private-key.pem").unlink()
        (self.directory / "private-key.pem").symlink_to(target.absolute())
        before = (self.directory / "ca.pem").read_bytes()
        made = self.make("localhost", force=True)
        self.assertNotEqual(made.ca.read_bytes(), before)
        self.assertEqual(target.read_bytes(), b"precious")
        self.assertIn(b"PRIVATE KEY", made.private_key.read_bytes())
        self.assertEqual(sorted(os.listdir(self.directory)), ["ca.pem", "certificate.pem", "private-key.pem"])

    def test_file_that_appears_meanwhile(self) -> None:
        """A file that comes to be after the first look is not overwritten, and what was written is taken
        back."""
        self.directory.mkdir()
        (self.directory / "private-key.pem").write_bytes(b"precious")
        self.patch(os.path, "lexists", lambda path: False)
        self.assertEqual(self.error("localhost"), f'"{self.directory / "private-key.pem"}": File exists')
        self.assertEqual(os.listdir(self.directory), ["private-key.pem"])
        self.assertEqual((self.directory / "private-key.pem").read_bytes(), b"precious")

    def test_no_place_to_write(self) -> None:
        """A directory that cannot be made, and a file that cannot be replaced, are named in one line."""
        self.directory.write_bytes(b"a file")
        self.assertEqual(self.error("localhost"), f'"{self.directory}": File exists')
        self.directory = Path(self.mktemp())
        (self.directory / "certificate.pem").mkdir(parents=True)
        self.assertEqual(
            self.error("localhost", force=True), f'"{self.directory / "certificate.pem"}": Is a directory'
        )
        self.assertNotIn("private-key.pem", os.listdir(self.directory))


class WrongArgumentTests(DevelopmentTestCase):
    """What cannot be made."""

    def test_wrong_names(self) -> None:
        """A name that no client could ask for is refused before anything is written."""
        for name in (
            *(
                "",
                " ",
                "a b",
                "a.test:80",
                "https://a.test",
                "a.test/",
                "a..test",
                "a.test.",
                "*",
                "*.com",
                "a.*.test",
            ),
            *(
                "*.a.test:80",
                "*.127.0.0.1",
                "127.1",
                "127.0.0.256",
                "[::1]",
                "fe80::1%eth0",
                "::1/128",
                "b\xfccher.test",
            ),
            *("a\nb", "a\0", "user@a.test", "a" * 64 + ".test"),
        ):
            line = self.error("localhost", name)
            self.assertIn("is no name for a certificate", line)
            self.assertFalse(self.directory.exists())

    def test_no_names(self) -> None:
        """A certificate without a name is refused, and so is a single text in place of a list."""
        self.assertEqual(self.error(), "a certificate needs at least one name")
        error = self.assertRaises(
            ValueError, make_development_certificate, self.directory, "localhost", now=NOW
        )
        self.assertEqual(str(error), "names must be a list of texts, not str")

    def test_days(self) -> None:
        """The number of days goes from 1 to what clients accept at most."""
        for days in (-1, 0, LONGEST_DAYS + 1):
            self.assertEqual(
                self.error("localhost", days=days),
                f"{days} days of validity: accepted are 1 to {LONGEST_DAYS}",
            )
        for days in (1, LONGEST_DAYS):
            self.make("localhost", days=days, force=True)

    def test_authority_is_not_in_the_chain(self) -> None:
        """The file for the server holds its own certificate only, since clients must have the authority's
        anyway."""
        made = self.make("localhost")
        certificates = x509.load_pem_x509_certificates(made.certificate.read_bytes())
        self.assertEqual(
            [one.public_bytes(Encoding.PEM) for one in certificates], [made.certificate.read_bytes()]
        )
