"""Certificates and keys from files, PEM and objects."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.harness import Files
from wsecho.tls.certificates import CertificateAndKey, CertificateError, load_authorities, utc_now
from wsecho.tls.contexts import server_creator


class WrongFileTests(SynchronousTestCase):
    """Each wrong file is named in one line."""

    def setUp(self) -> None:
        self.files = Files(self)
        self.ca = trustme.CA()
        self.leaf = self.ca.issue_cert("localhost")
        self.certificate, self.key = self.files.pair(self.leaf)

    def error(self, certificate: str, key: str) -> str:
        error = self.assertRaises(CertificateError, server_creator, certificate, key)
        line = str(error)
        self.assertTrue(line.isprintable(), line)
        self.assertIsInstance(error, ValueError)
        return line

    def test_missing(self) -> None:
        """A file that is not there."""
        self.assertEqual(
            self.error("nowhere.pem", self.key), 'certificate file "nowhere.pem": No such file or directory'
        )
        self.assertEqual(
            self.error(self.certificate, "nowhere.pem"),
            'private key file "nowhere.pem": No such file or directory',
        )
        self.assertEqual(self.error("", self.key), 'certificate file "": No such file or directory')

    def test_unreadable(self) -> None:
        """A file that cannot be read, such as a directory, and a name that no file can have."""
        directory = os.path.dirname(self.key)
        self.assertEqual(self.error(directory, self.key), f'certificate file "{directory}": Is a directory')
        self.assertEqual(
            self.error(self.certificate, "a\0\x1b"), r'private key file "a\x00\x1b": not a file name'
        )

    def test_not_pem(self) -> None:
        """A file without a certificate or without a key, be it empty, another format, the other file, or
        damaged."""
        certificate = x509.load_pem_x509_certificate(self.leaf.cert_chain_pems[0].bytes())
        for number, data in enumerate(
            (
                b"",
                b"garbage\n",
                certificate.public_bytes(Encoding.DER),
                self.leaf.private_key_pem.bytes(),
                self.leaf.cert_chain_pems[0].bytes()[:200],
                self.leaf.cert_chain_pems[0].bytes().replace(b"MII", b"NII"),
            )
        ):
            path = self.files.write(f"wrong-{number}.pem", data)
            self.assertEqual(
                self.error(path, self.key),
                f'certificate file "{path}": holds no readable PEM certificate (-----BEGIN CERTIFICATE-----)',
            )
        key = self.leaf.private_key_pem.bytes()
        for number, data in enumerate((b"", b"garbage\n", self.leaf.cert_chain_pems[0].bytes(), key[:60])):
            path = self.files.write(f"wrong-key-{number}.pem", data)
            self.assertEqual(
                self.error(self.certificate, path),
                f'private key file "{path}": holds no readable PEM private key (-----BEGIN PRIVATE KEY-----)',
            )

    def test_encrypted_key(self) -> None:
        """A key with a passphrase is refused, and nobody is asked for it."""
        key = load_pem_private_key(self.leaf.private_key_pem.bytes(), None)
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            data = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
            path = self.files.write("encrypted.pem", data)
            self.assertEqual(
                self.error(self.certificate, path),
                f'private key file "{path}": the key is encrypted; wsecho takes it without passphrase only',
            )

    def test_key_of_another_certificate(self) -> None:
        """A key that does not fit names both files."""
        _, other = self.files.pair(self.ca.issue_cert("localhost"), "other")
        self.assertEqual(
            self.error(self.certificate, other),
            f'private key file "{other}": the key does not belong to the certificate in certificate file '
            f'"{self.certificate}"',
        )

    def test_chain_in_the_wrong_order(self) -> None:
        """A chain that begins with the authority is told from a wrong key."""
        path = self.files.write("turned.pem", self.ca.cert_pem.bytes(), self.leaf.cert_chain_pems[0].bytes())
        self.assertEqual(
            self.error(path, self.key),
            f'certificate file "{path}": the server\'s own certificate must come first; it is number 2',
        )

    def test_refused_by_openssl(self) -> None:
        """A certificate that OpenSSL finds too weak is refused with OpenSSL's reason."""
        key = rsa.generate_private_key(65537, 1024)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        ca_key = load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        weak = builder.sign(ca_key, hashes.SHA256())
        certificate = self.files.write("weak.pem", weak.public_bytes(Encoding.PEM))
        key_file = self.files.write(
            "weak-key.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self.assertEqual(
            self.error(certificate, key_file),
            f'certificate file "{certificate}": OpenSSL refuses it (ee key too small)',
        )


class TimeTests(SynchronousTestCase):
    """A certificate out of its time."""

    def setUp(self) -> None:
        leaf = trustme.CA().issue_cert("localhost", not_after=datetime(2030, 1, 1, tzinfo=UTC))
        self.pair = Files(self).pair(leaf)
        certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        self.begin, self.end = certificate.not_valid_before_utc, certificate.not_valid_after_utc

    def warnings(self, now: datetime) -> list[str]:
        return [line for level, line in self.lines(now) if level is LogLevel.warn]

    def lines(self, now: datetime) -> list[tuple[LogLevel, str]]:
        with capturedLogs() as events:
            CertificateAndKey(*self.pair).load().tell_time(now)
        return [(event["log_level"], str(event["log_format"]).format(**event)) for event in events]

    def test_in_its_time(self) -> None:
        """Of a certificate that is valid for long, the names and the days that are left are told."""
        for left, days in ((timedelta(days=14), 14), (timedelta(days=400, hours=1), 400)):
            line = f"for localhost; {days} days left, until {self.end}"
            self.assertEqual(
                self.lines(self.end - left), [(LogLevel.info, f'certificate file "{self.pair[0]}": {line}')]
            )

    def test_less_than_14_days(self) -> None:
        """Below 14 days, the same line is a warning."""
        for now, days in ((self.end - timedelta(days=14, seconds=-1), 13), (self.end, 0)):
            self.assertEqual(
                self.warnings(now),
                [f'certificate file "{self.pair[0]}": for localhost; {days} days left, until {self.end}'],
            )

    def test_short_life(self) -> None:
        """A certificate that lives for days only is warned about in the last third."""
        certificate, key = self_signed(self.end - timedelta(days=6), self.end)
        loaded = CertificateAndKey([certificate], key).load()
        for left, level in ((timedelta(days=2), LogLevel.info), (timedelta(days=1, hours=23), LogLevel.warn)):
            with capturedLogs() as events:
                loaded.tell_time(self.end - left)
            self.assertEqual([event["log_level"] for event in events], [level])

    def test_names_in_the_line(self) -> None:
        """Names and addresses are told, five at most, and a certificate without any says so."""
        for names, told in (
            (["a.example", "192.0.2.1"], "a.example, 192.0.2.1"),
            (
                [f"{letter}.example" for letter in "abcdefg"],
                "a.example, b.example, c.example, d.example, e.example and 2 more",
            ),
        ):
            leaf = trustme.CA().issue_cert(*names)
            self.pair = Files(self).pair(leaf)
            self.assertIn(f": for {told}; ", self.lines(datetime.now(UTC))[0][1])
        certificate, key = self_signed(self.begin, self.end)
        with capturedLogs() as events:
            CertificateAndKey([certificate], key).load().tell_time(self.begin)
        self.assertEqual(events[0]["names"], "no name")

    def test_expired(self) -> None:
        """An expired certificate is used, and one warning names the file and the day."""
        self.assertEqual(
            self.warnings(self.end + timedelta(seconds=1)),
            [f'certificate file "{self.pair[0]}": expired on {self.end}; clients will refuse it'],
        )

    def test_not_yet_valid(self) -> None:
        """A certificate of the future is used, and one warning names the file and the day."""
        self.assertEqual(
            self.warnings(self.begin - timedelta(seconds=1)),
            [f'certificate file "{self.pair[0]}": valid from {self.begin} only; clients will refuse it'],
        )


def self_signed(begin: datetime, end: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate without alternative names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    return x509.CertificateBuilder(name, name, key.public_key(), 1, begin, end).sign(
        key, hashes.SHA256()
    ), key


class SourceTests(SynchronousTestCase):
    """Where certificates may come from."""

    def setUp(self) -> None:
        self.leaf = trustme.CA().issue_cert("Localhost", "*.wild.example")
        self.chain = [x509.load_pem_x509_certificate(pem.bytes()) for pem in self.leaf.cert_chain_pems]
        self.pem = b"".join(pem.bytes() for pem in self.leaf.cert_chain_pems)
        self.key_pem = self.leaf.private_key_pem.bytes()

    def test_all_kinds(self) -> None:
        """Paths, PEM and objects give the same."""
        key = load_pem_private_key(self.key_pem, None)
        certificate, key_file = Files(self).pair(self.leaf)
        for pair in (
            CertificateAndKey(certificate, key_file),
            CertificateAndKey(Path(certificate), Path(key_file)),
            CertificateAndKey(self.pem, self.key_pem),
            CertificateAndKey(self.chain, key),
        ):
            loaded = pair.load()
            self.assertEqual(loaded.chain, tuple(self.chain))
            self.assertEqual(loaded.server_names, ("localhost", "*.wild.example"))
            self.assertNotIn("KEY", repr(pair))
            self.assertNotIn("KEY", repr(loaded))
        self.assertEqual(repr(CertificateAndKey(self.pem, self.key_pem)), "CertificateAndKey(certificate)")

    def test_wrong_kinds(self) -> None:
        """What is no certificate or no key is told when the pair is made."""
        wrong: Any
        for wrong in (None, 1, [b"x"], [self.chain[0], "x"]):
            with self.assertRaisesRegex(TypeError, "certificate must be"):
                CertificateAndKey(wrong, self.key_pem)
        for wrong in (None, 1, []):
            with self.assertRaisesRegex(TypeError, "private_key must be"):
                CertificateAndKey(self.pem, wrong)

    def test_wrong_content(self) -> None:
        """Of what comes from no file, the line says what it is."""
        for source, line in (
            (b"x", "certificate: holds no readable PEM certificate (-----BEGIN CERTIFICATE-----)"),
            ([], "certificate: holds no certificate"),
        ):
            error = self.assertRaises(CertificateError, CertificateAndKey(source, self.key_pem).load)
            self.assertEqual(str(error), line)
        error = self.assertRaises(CertificateError, load_authorities, b"", "client CA")
        self.assertTrue(str(error).startswith("client CA: holds no readable"), error)

    def test_authorities(self) -> None:
        """Authorities are read like chains."""
        self.assertEqual(load_authorities(self.pem, "client CA"), tuple(self.chain))

    def test_clock(self) -> None:
        """The clock is aware."""
        self.assertEqual(utc_now().tzinfo, UTC)
