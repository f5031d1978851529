"""What is wrong with certificates, in numbers and words."""

import trustme
from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from wsecho.tls.verification import VerifyCode, VerifyError

CERTIFICATE = x509.load_pem_x509_certificate(trustme.CA(organization_name="Evil\nCorp").cert_pem.bytes())


class VerifyErrorTests(SynchronousTestCase):
    """One error."""

    def test_texts(self) -> None:
        """An error says in one line what is wrong, with which certificate, and who showed it."""
        error = VerifyError(VerifyCode.CERTIFICATE_EXPIRED, CERTIFICATE, 1, "192.0.2.1:5")
        line = str(error)
        self.assertTrue(line.startswith("192.0.2.1:5: certificate has expired (certificate of "), line)
        self.assertTrue(line.isprintable(), line)
        self.assertEqual(str(VerifyError(10, CERTIFICATE)), error.text)
        self.assertTrue(
            VerifyError(62, CERTIFICATE, detail="it is for others").text.startswith("it is for others (")
        )
        self.assertNotIn("Certificate(", repr(error))

    def test_equality(self) -> None:
        """Errors are the same when code, certificate and depth are, whoever showed it."""
        self.assertEqual(VerifyError(10, CERTIFICATE, 0, "a", "b"), VerifyError(10, CERTIFICATE, 0, "c"))
        self.assertNotEqual(VerifyError(10, CERTIFICATE), VerifyError(9, CERTIFICATE))

    def test_numbers(self) -> None:
        """The numbers are those that OpenSSL has these words for."""
        words = {
            VerifyCode.CERTIFICATE_SIGNATURE_FAILED: "signature",
            VerifyCode.CERTIFICATE_NOT_YET_VALID: "not yet valid",
            VerifyCode.CERTIFICATE_EXPIRED: "expired",
            VerifyCode.SELF_SIGNED_CERTIFICATE: "self-signed",
            VerifyCode.SELF_SIGNED_CERTIFICATE_IN_CHAIN: "chain",
            VerifyCode.UNABLE_TO_GET_LOCAL_ISSUER_CERTIFICATE: "local issuer",
            VerifyCode.UNABLE_TO_VERIFY_FIRST_CERTIFICATE: "first certificate",
            VerifyCode.CERTIFICATE_REVOKED: "revoked",
            VerifyCode.INVALID_PURPOSE: "purpose",
            VerifyCode.HOST_NAME_MISMATCH: "hostname",
        }
        self.assertEqual(set(words), set(VerifyCode))
        for code, word in words.items():
            self.assertIn(word, VerifyError(code, CERTIFICATE).text)
